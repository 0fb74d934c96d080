"""What of a run is to be trusted: which observations of a step, and which chains, by the rule of `bayesdiff.trust`.

Everything that a report says rests on this: what is not to be trusted is withheld, and so is all that rests on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy.stats import ks_2samp, norm

from bayesdiff.trust import (
    DIVERGING,
    ENOUGH_DRAWS,
    ENOUGH_IN_A_CHAIN,
    MOST_LOST,
    R_HAT,
    disagree,
    too_few,
    trusted,
    worst_of,
)

SAMPLE = ("chain", "draw")
NOT_INVERTED = "could not be inverted"
# Of a tempered run: the rules of `bayesdiff.multimodal.honesty`, which a report cannot import. A test compares them.
ENOUGH_ARRIVALS = 20
PARETO_K = 0.7
OF_WEIGHT = 0.005
IMPROPER = "probably improper"
EQUALLY_HIGH = 1e-3  # climbs end a little below a mode


def escaped(text: Any) -> str:
    """Text of a user as Markdown that shows it as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def components(values: xr.DataArray, leading: Sequence[str] = ()) -> Iterator[tuple[str, xr.DataArray]]:
    """Every number of a variable by its label, such as ``theta[school A]``: arrays of the ``leading`` dimensions."""
    dims = [dim for dim in values.dims if dim not in leading]
    for index in np.ndindex(*[values.sizes[dim] for dim in dims]):
        at = dict(zip(dims, index, strict=True))
        labels = ", ".join(str(values[dim].values[i]) for dim, i in at.items())
        yield f"{values.name}[{labels}]" if dims else str(values.name), values.isel(at)


# ---------------------------------------------------------------------------------------------------------------- step


@dataclass(frozen=True)
class Judgement:
    """Which draws are to be trusted: all arrays (observation,). ``few`` says why there are too few to be judged."""

    r_hat: np.ndarray
    ess: np.ndarray
    diverged: np.ndarray
    ok: np.ndarray
    good: np.ndarray
    few: str

    def reason(self, i: int) -> str:
        """Say why the draws of observation i are not to be trusted."""
        if not self.good[i]:
            return NOT_INVERTED
        if self.few:
            return self.few
        if self.r_hat[i] > R_HAT:
            return f"R-hat {self.r_hat[i]:.2f} > {R_HAT:.2f}"
        if self.ess[i] < ENOUGH_DRAWS:
            return f"{self.ess[i]:.0f} effective draws < {ENOUGH_DRAWS}"
        return f"{self.diverged[i]:.0%} diverging > {DIVERGING:.0%}"


@dataclass(frozen=True)
class Climbs:
    """Which MAPs are maxima: arrays (observation,). ``good``: those whose o could be inverted at all."""

    ok: np.ndarray
    good: np.ndarray

    def reason(self, i: int) -> str:
        """Say why the MAP of observation i is withheld."""
        return "the search for the MAP did not end at a maximum" if self.good[i] else NOT_INVERTED


def judge(posterior_tree: xr.DataTree) -> Judgement:
    """Judge the draws of every observation by the rule of `bayesdiff.trust`."""
    x = posterior_tree["unconstrained_posterior"].to_dataset()
    batch = "observation" in x.dims
    stats, told = posterior_tree["sample_stats"].to_dataset(), posterior_tree["diagnostics"].to_dataset()

    def flat(which: str) -> np.ndarray:
        parts = [values.sel(diagnostic=which) for values in told.data_vars.values()]
        size = x.sizes["observation"] if batch else 1
        ordered = [part.transpose("observation", ...) if batch else part for part in parts]
        return np.concatenate([part.values.reshape(size, -1) for part in ordered], axis=1)

    diverging = stats["diverging"].transpose(*(["observation"] if batch else []), *SAMPLE).values.astype(float)
    r_hat, fewest, diverged = worst_of(flat("r_hat"), flat("ess_bulk"), diverging if batch else diverging[None])
    good, few = _finite(x), too_few(x.sizes["chain"], x.sizes["draw"])
    ok = good & trusted(r_hat, fewest, diverged) & (not few)
    return Judgement(r_hat, fewest, diverged, ok, good, few)


def climbs(map_tree: xr.DataTree) -> Climbs:
    """Tell which searches for the MAP ended at a maximum."""
    good = _finite(map_tree["unconstrained_posterior"].to_dataset())
    return Climbs(good & map_tree["sample_stats"].to_dataset()["converged"].values.ravel().astype(bool), good)


def _finite(x: xr.Dataset) -> np.ndarray:
    """Which observations have finite x: (observation,)."""
    size = x.sizes.get("observation", 1)
    values = [each.transpose("observation", ...) if "observation" in each.dims else each for each in x.values()]
    return np.logical_and.reduce([np.isfinite(each.values.reshape(size, -1)).all(axis=1) for each in values])


def standing(*trees: xr.DataTree) -> np.ndarray:
    """Which observations can be trusted in all of these inversions: (observation,)."""
    return np.logical_and.reduce([(climbs(t) if t.attrs["inversion"] == "map" else judge(t)).ok for t in trees])


def trusted_part(*trees: xr.DataTree) -> tuple[xr.DataTree, ...]:
    """Leave out the observations that cannot be trusted in all of these inversions of one batch.

    Parameters
    ----------
    *trees : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same step. One observation is given back as it is.

    Returns
    -------
    tuple of xarray.DataTree
    """
    rows = np.flatnonzero(standing(*trees))
    found = []
    for tree in trees:
        groups = {name: child.to_dataset() for name, child in tree.children.items()}
        part = xr.DataTree.from_dict({
            name: ds.isel(observation=rows) if "observation" in ds.dims else ds for name, ds in groups.items()
        })  # fmt: skip
        part.attrs = tree.attrs
        found.append(part)
    return tuple(found)


def transformed(tree: xr.DataTree) -> list[str]:
    """Name the variables whose unconstrained coordinates, where the noise acts, are others than their values."""
    x, free = (tree[group].to_dataset() for group in ("posterior", "unconstrained_posterior"))
    return [str(name) for name in free.data_vars if not x[name].variable.equals(free[name].variable)]


# --------------------------------------------------------------------------------------------------------------- chain


@dataclass(frozen=True)
class ChainJudgement:
    """What the checks of a chain say, in Markdown. ``failed``: those that failed; ``missing``: those not made, and why.

    ``few`` says why there are too few trajectories to be judged; ``arrived``: how many are finite, of ``sent``.
    """

    failed: Sequence[str]
    missing: Sequence[str]
    made: int
    few: str
    sent: int
    arrived: int
    finished: bool

    @cached_property
    def ok(self) -> bool:
        """Whether the numbers are shown."""
        return not self.failed and not self.few and self.made > 0

    @cached_property
    def reason(self) -> str:
        """Say why they are not."""
        return "; ".join([*([self.few] if self.few else []), *self.failed]) or "no check was made"


def judge_chain(run: xr.DataTree) -> ChainJudgement:
    """Judge a chain, finished or not, by the checks that its run holds, and by its draws of p0."""
    finished = bool(run.attrs.get("finished", 1)) and "posterior" in run.children
    x = _ends(run, finished)
    sent, arrived = x.shape[0], int(np.isfinite(x).all(axis=1).sum())
    few = ""
    if arrived < ENOUGH_DRAWS:
        few = f"too few trajectories to be judged: {arrived}, {ENOUGH_DRAWS} are needed"
    failed: list[str] = []
    missing: list[str] = []
    made = 0
    lost = max(sent - arrived, _most_lost(run))
    if lost > MOST_LOST * sent:
        failed.append(f"{lost:,} of {sent:,} trajectories were lost" if sent else f"{lost:,} trajectories were lost")
    if run.attrs.get("last_level_too_narrow"):
        failed.append("the last level is too narrow")
    # Before there is an x, nothing more can be checked.
    for check in (_halves, _again, _beside_prior) if finished else (_halves,):
        said, why = check(run, x)
        made += not why
        failed += [said] if said else []
        missing += [why] if why else []
    return ChainJudgement(failed, missing, made, few, sent, arrived, finished)


def _ends(run: xr.DataTree, finished: bool) -> np.ndarray:
    """Where the trajectories are (trajectory, n): x, or the lowest level that they came to."""
    group = "unconstrained_posterior" if "unconstrained_posterior" in run.children else "posterior"
    if finished:
        ds = run[group].to_dataset()
    elif "path" in run.children:
        ds = run["path"].to_dataset().isel(level=0)  # levels go upwards
    else:
        return np.zeros((0, 1))
    parts = [values.transpose(*SAMPLE, ...).values for values in ds.values()]
    return np.concatenate([part.reshape(part.shape[0] * part.shape[1], -1) for part in parts], axis=1)


def _most_lost(run: xr.DataTree) -> int:
    return int(run["level_stats"]["lost"].max()) if "level_stats" in run.children else 0


def _p_of_halves(run: xr.DataTree) -> np.ndarray:
    if "level_stats" not in run.children:
        return np.zeros(0)
    values = run["level_stats"].to_dataset()["lineages_p_value"].values
    return values[np.isfinite(values)]


def _halves(run: xr.DataTree, x: np.ndarray) -> tuple[str, str]:
    """The first check: half of the trajectories searched from elsewhere. Why it failed, and why it was not made."""
    inverter = function_of(str(run.attrs.get("inverter", "")))
    if inverter.startswith("bayesdiff.images.inverters.") and run.attrs.get("form") == "next level":
        return "", "the two halves of the trajectories say nothing: this inverter begins every step at its mean"
    if not _p_of_halves(run).size:
        return "", "the two halves of the trajectories were not compared: too few of them"
    p = run["level_stats"].to_dataset()["lineages_p_value"]
    worst = float(p.min())
    if not disagree(worst, p.size):
        return "", ""
    level = int(p["level"].values[np.nanargmin(p.values)])
    return f"two halves of the trajectories disagree at level {level} ({_p(worst)})", ""


def _again(run: xr.DataTree, x: np.ndarray) -> tuple[str, str]:
    """The second check: x, diffused again."""
    if "diagnostics" not in run.children:
        return "", "the final x was not diffused again: the run does not say how it compares"
    p = float(run["diagnostics"]["diffused_again_p_value"])
    if np.isnan(p):
        return "", "the final x was not diffused again: its o was given, or there are too few trajectories"
    if not disagree(p):
        return "", ""
    return f"the final x, diffused again, is not distributed as the noise it came from ({_p(p)})", ""


def _beside_prior(run: xr.DataTree, x: np.ndarray) -> tuple[str, str]:
    """The third check: x against draws of p0, its mean in units of its error, and its distribution.

    Two tests for each number, and the least of their p-values times how many there are (Bonferroni): z of the mean, and
    Kolmogorov and Smirnov's, which sees a spread that is wrong and needs no moments.
    """
    for free in ("unconstrained_", ""):
        if {f"{free}prior", f"{free}posterior"} <= set(run.children):
            break
    else:
        return "", "x was not compared with draws of p~0~: the run holds none"
    if o_was_given(run):
        return "", "x was not compared with draws of p~0~: its o was given, so it need not be distributed as p~0~"
    prior, posterior = run[f"{free}prior"].to_dataset(), run[f"{free}posterior"].to_dataset()
    found = []
    for name in posterior.data_vars:
        if name not in prior:
            continue
        both = zip(components(posterior[name], SAMPLE), components(prior[name], SAMPLE), strict=False)
        for (label, ours), (_, theirs) in both:
            a, b = (values.values[np.isfinite(values.values)] for values in (ours, theirs))
            if min(a.size, b.size) > 1:
                found.append((min(_p_of_means(a, b), ks_2samp(a, b, method="asymp").pvalue), label, a, b))
    if not found:
        return "", "x was not compared with draws of p~0~: too few of them"
    p, label, a, b = min(found, key=lambda each: each[0])
    if not disagree(p, 2 * len(found)):
        return "", ""
    mean, sd = (f"{f(a):.3g} against {f(b):.3g}" for f in (np.mean, lambda v: np.std(v, ddof=1)))
    where = f"{escaped(label)}{', unconstrained' if free and transformed(run) else ''}"
    return f"x is not distributed as p~0~ (the mean of {where}: {mean}, its sd: {sd}; {_p(p)})", ""


def _p_of_means(a: np.ndarray, b: np.ndarray) -> float:
    error = np.hypot(a.std(ddof=1) / np.sqrt(a.size), b.std(ddof=1) / np.sqrt(b.size))
    return float(2 * norm.sf(abs(a.mean() - b.mean()) / error)) if error > 0 else 1.0


def o_was_given(run: xr.DataTree) -> bool:
    """Whether a chain began at an o of the user's: what it ends with then need not be a draw of p0."""
    return "diagnostics" in run.children and bool(np.isnan(run["diagnostics"]["diffused_again_p_value"]))


def _p(value: float) -> str:
    return f"p = {value:.1g}" if value > 1e-300 else "p < 1e-300"


def function_of(inverter: str) -> str:
    """Name the function of an inverter whose options are bound, as `reverse` stores it.

    Examples
    --------
    >>> function_of("bayesdiff.inverters.mode(draws=3)"), function_of("bayesdiff.inverters.draw")
    ('bayesdiff.inverters.mode', 'bayesdiff.inverters.draw')
    """
    return inverter.split("(", 1)[0]


# -------------------------------------------------------------------------------------------------------------- sample


@dataclass(frozen=True)
class SampleJudgement:
    """What of a run of `sample` is to be trusted.

    ``r_hat``, ``ess``: label and value, the worst of the unconstrained numbers and of the shares of the modes that have
    weight. ``draws``: why the draws and all that rests on them are withheld; ``evidence``: why the evidence is.
    """

    r_hat: tuple[str, float]
    ess: tuple[str, float]
    arrivals: int
    few: str
    draws: Sequence[str]
    evidence: Sequence[str]

    @cached_property
    def ok(self) -> bool:
        """Whether the numbers of the draws are shown."""
        return not self.draws

    @cached_property
    def reason(self) -> str:
        """Say why they are not."""
        return "; ".join(self.draws)


def judge_sample(run: xr.DataTree) -> SampleJudgement:
    """Judge a run of `sample` by the rule of `bayesdiff.trust`, its arrivals, its weights and its evidences."""
    sizes = run["posterior"].sizes
    few = too_few(sizes["chain"], sizes["draw"])
    if not few and sizes["chain"] == 1:
        few = "one chain has no other to be compared with"
    found = {name: told for name, told in _agreements(run).items() if not few}
    r_hat = max(((name, told[0]) for name, told in found.items()), key=lambda each: each[1], default=("", np.nan))
    ess = min(((name, told[1]) for name, told in found.items()), key=lambda each: each[1], default=("", np.nan))
    tempering, evidence = run["tempering"].to_dataset(), run["log_evidence"].to_dataset()
    arrivals = int(tempering["arrivals"].min())
    draws = [few] if few else []
    if IMPROPER in str(run.attrs.get("warning", "")):
        draws.append("the posterior is probably improper")
    if not _finite(run["unconstrained_posterior"].to_dataset()).all():
        draws.append("not all draws are finite")
    if r_hat[1] > R_HAT:
        draws.append(f"the chains do not agree: R-hat of {escaped(r_hat[0])} is {r_hat[1]:.2f} > {R_HAT:.2f}")
    if ess[1] < ENOUGH_DRAWS:
        draws.append(f"{escaped(ess[0])} has {ess[1]:.0f} effective draws < {ENOUGH_DRAWS}")
    if arrivals < ENOUGH_ARRIVALS and run["modes"].sizes["mode"] > 1:
        # Chains that never came from q agree on the weights that they began with.
        draws.append(
            f"{arrivals} states of one chain came all the way from q, {ENOUGH_ARRIVALS} are needed for weights"
        )
    withheld = ["the draws that it rests on are not to be trusted"] if draws else []
    if not np.isfinite([evidence["log_evidence"], evidence["log_evidence_se"]]).all():
        withheld.append(
            "the log evidences of the chains are farther apart than their errors allow"
            if np.isfinite(evidence["by_chain"]).all()
            else "the log evidence of a chain is not a number"
        )
    pareto = float(tempering["pareto_k"].max())
    if pareto > PARETO_K:
        withheld.append(f"its importance weights have a heavy tail, Pareto k {pareto:.2f} > {PARETO_K}")
    return SampleJudgement(r_hat, ess, arrivals, few, draws, withheld)


def _agreements(run: xr.DataTree) -> dict[str, tuple[float, float]]:
    """R-hat and effective draws of every unconstrained number, and of the share of every mode that has weight."""
    found = {}
    for values in run["diagnostics"].to_dataset().values():
        for label, pair in components(values, ["diagnostic"]):
            r, ess = (float(pair.sel(diagnostic=which)) for which in ("r_hat", "ess_bulk"))
            found[label] = (r, ess)
    at = mode_of(run)
    shares = np.bincount(at.ravel(), minlength=1) / at.size
    heavy = np.flatnonzero(shares > OF_WEIGHT)
    for k in heavy if len(heavy) > 1 and at.shape[1] >= ENOUGH_IN_A_CHAIN else []:
        found[f"the share of mode {k}"] = agreement_of((at == k).astype(float))
    return {
        label: (float(np.nan_to_num(r, nan=np.inf)), float(np.nan_to_num(ess, nan=0.0)))
        for label, (r, ess) in found.items()
    }


def agreement_of(values: np.ndarray) -> tuple[float, float]:
    """R-hat and bulk effective draws of one number (chain, draw), as ArviZ computes them; NaN where no chain moves."""
    if not (values.std(axis=1) > 0).any():  # ArviZ takes what never moved for independent draws
        return np.nan, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = array_stats.rhat(values, chain_axis=0, draw_axis=1)
    return float(r_hat), float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="bulk"))


def mode_of(run: xr.DataTree) -> np.ndarray:
    """At which mode each draw is (chain, draw): all at the first where none was found."""
    stats = run["sample_stats"].to_dataset()
    values = stats["mode"] if "mode" in stats else stats["lp"] * 0
    return np.asarray(values.transpose(*SAMPLE).values).astype(int)


def highest_modes(run: xr.DataTree) -> np.ndarray:
    """Which of the modes found are the highest, in unconstrained coordinates: several where they are equally high."""
    lp = run["modes"].to_dataset()["lp"].values
    return np.flatnonzero(lp > lp.max() - EQUALLY_HIGH) if lp.size else np.zeros(0, int)


def highest_mode(run: xr.DataTree) -> int | None:
    """Which of the modes found is the MAP: the heaviest of those that are equally high."""
    return next(iter(map(int, highest_modes(run))), None)
