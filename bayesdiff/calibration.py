"""Calibration: whether an inversion is what it says it is.

    x ~ p0,   o | x ~ N(alpha x, sigma^2 I),   x_1, ..., x_L ~ p(x | o)   =>   x, x_1, ..., x_L exchangeable given o

So the rank of the true x among draws of an exact inverter is uniform on 0..L, for every number that can be computed of
x and o: its coordinates, log p0(x), log N(o; alpha x, sigma^2 I). An inverter whose draws are too wide, too narrow or
beside the truth gives ranks that are not. `calibrate` does this for one step, `calibrate_chain` for a chain of small
steps, given the o_K that it starts from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from scipy.stats import norm

from bayesdiff.calls import Call, long_call, stream, told
from bayesdiff.chain import ChainError, check_chain, check_inverter, checked, ends
from bayesdiff.checks import Seed, positive_int, positive_number
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.fingerprints import name_of, of_function, of_prior
from bayesdiff.invert.inverters import Inverter, carried_by, draw
from bayesdiff.labels import Labels, describe
from bayesdiff.results import dataset
from bayesdiff.schedule import Schedule
from bayesdiff.step import read_noise
from bayesdiff.uniformity import band, below, cuts, p_value, statistic, tails
from bayesdiff.verdict import of_calibration

# Replicates of a block, and the numbers that its draws may take (128 MB).
BLOCK = 100
# Of the central intervals whose coverage is counted.
PROBABILITIES = (0.5, 0.8, 0.9, 0.95)
# What is ranked beside the coordinates of x, and dimensions of the result: a prior must have none of that name.
ALSO_RANKED = ("log_prior", "log_likelihood")


def calibrate(
    prior: pm.Model | CompiledPrior,
    alpha: float = 1.0,
    sigma: float = 1.0,
    invert: Inverter = draw,
    *,
    replicates: int = 1000,
    draws: int = 99,
    probability: float = 0.99,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    r"""Compute the ranks of true x among draws of an inverter, and whether they are uniform, as those of p(x | o) are.

    .. math:: x \sim p_0, \quad o \sim N(\alpha x, \sigma^2 I), \quad x_l \sim \mathrm{invert}(o), \quad
              R = \#\{l : f(x_l, o) < f(x, o)\} \sim U\{0, \dots, L\}

    for f each unconstrained coordinate of x, log p0(x), and log N(o; alpha x, sigma^2 I). The last one depends on the
    data: without it, an inverter that ignores o and draws from p0 would pass (Modrák et al. 2023).

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0. It must have draws, as `CompiledPrior.draws` gives them: no observed data, no Potential, none that are lost.
    alpha, sigma : float
        Signal (not 0) and noise (> 0) of the step, in units of the unconstrained x.
    invert : inverter
        What is checked: `draw`, `mode`, `mean`, `laplace`, ``from_pymc(...)``, or any function of their form, as
        `reverse` takes it. Options are bound by ``functools.partial(bd.draw, tune=1000)``.
    replicates : int
        How many x are drawn.
    draws : int
        L: how often each o is inverted. With 99, intervals of 50, 80 and 90% end between two ranks; that of
        95% ends within one, which counts in part, at random.
    probability : float
        With which an exact inverter passes, all quantities taken together. The default is ArviZ's of its envelopes.
    random_seed : int, Generator or None
        The source of randomness: same machine, same numbers.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved (``.zarr`` or ``.nc``). Blocks of replicates are kept as they finish, and the same
        call again goes on from them, with the same numbers. Inverters are told apart as by `reverse`.
    executor : concurrent.futures.Executor, optional
        Who computes the blocks; see `find_map`. The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``ranks`` (replicate): R of each quantity, NaN where a replicate was lost: the prior's variables in
        unconstrained coordinates, ``log_prior`` and ``log_likelihood``. ``prior_sbc`` (replicate): (R + u) / (L + 1)
        with u ~ U(0, 1), for ``arviz.plot_ecdf_pit``. ``ecdf`` (fraction): the share of ranks below fraction * (L + 1),
        less the fraction. ``band`` (fraction): ``lower`` and ``upper`` of it. ``diagnostics`` (diagnostic): the
        ``p_value`` of each quantity, and ``p_family``, times the number of quantities. ``coverage`` (probability,
        summary): the share of true values inside the central interval of the draws, and its Monte Carlo ``error``.
        ``verdict``: ``calibrated``, the least ``p_family``, ``replicates`` that count, ``lost`` ones; its attribute
        ``sentence`` says it all in words. ``truth`` and ``unconstrained_truth``, ``step`` (``alpha``, ``sigma``),
        ``step/o``. Of an inverter that gives a point with its ``sd`` (`mode`, `mean`) also ``offset`` (replicate):
        (x - point) / sd, and ``laplace`` (probability, summary): how often point +- z sd holds the true value.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used: a `prior` that cannot be drawn, or with a name that the result needs; an `alpha`
        or `sigma` that is no such number; an `invert` that is none, or fails for every replicate.

    Warns
    -----
    UserWarning
        Once: if fewer than 100 replicates count, if some were lost, if a point had no sd.

    Notes
    -----
    Ranks are uniform if the L draws are independent given o. Those of a Markov chain would have to be thinned. Here
    each o is repeated L times and each repeat is inverted by itself, so there is nothing to thin.

    The test of a quantity asks whether the ECDF of its ranks leaves a band that holds that of uniform ranks with the
    given probability at all ranks at once. p-values are exact. Each quantity's band has the error (1 - probability) /
    quantities (Bonferroni), so a curve in ``ecdf`` leaves ``band`` if and only if its ``p_family`` is at most
    1 - probability. To pass says that no error was seen, not that there is none: more replicates see smaller ones.

    A replicate in which the inverter raised, or gave an x that is not finite, is lost and left out. Where one raises,
    those that were inverted beside it are inverted again, each alone.

    References
    ----------
    Talts, Betancourt, Simpson, Vehtari, Gelman (2018), Validating Bayesian inference algorithms with simulation-based
    calibration, algorithm 1; Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison, section 2; Modrák, Moon, Kim, Bürkner,
    Huurre, Faltejsková, Gelman, Vehtari (2023), Simulation-based calibration checking for Bayesian computation: the
    choice of test quantities shapes sensitivity, section 3.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> prior = bd.compile_prior(prior)
    >>> small = {"replicates": 100, "draws": 9, "random_seed": 1, "progressbar": False}
    >>> bool(bd.calibrate(prior, sigma=2.0, **small)["verdict"]["calibrated"])
    True
    >>> modes = bd.calibrate(prior, sigma=2.0, invert=bd.mode, **small)
    >>> modes["verdict"].attrs["sentence"]
    'Not calibrated, by 3 of 3 quantities, most of all ... (p ...).'
    """
    if isinstance(alpha, Schedule):
        raise TypeError("alpha is a schedule; write calibrate_chain(prior, schedule)")
    prior = _readable(prior)
    check_inverter(invert)
    number, noise = (float(value) for value in read_noise(alpha, sigma, None))
    sizes = _sizes(replicates, draws, probability)
    task = _Task(number, noise, None, None, invert, *sizes)
    noises = {"step": dataset({"alpha": number, "sigma": noise})}
    return _calibrated(prior, task, noises, probability, random_seed, store, executor, progressbar)


def calibrate_chain(
    prior: pm.Model | CompiledPrior,
    schedule: Schedule,
    invert: Inverter = draw,
    *,
    next_level: bool | None = None,
    replicates: int = 1000,
    draws: int = 99,
    probability: float = 0.99,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    r"""Compute the ranks of true x among the ends of chains that start from its o_K, and whether they are uniform.

    .. math:: x \sim p_0, \quad o_K \sim N(\alpha_K x, \sigma_K^2 I), \quad o_K \to \dots \to o_0 = x_l, \quad
              R = \#\{l : f(x_l, o_K) < f(x, o_K)\} \sim U\{0, \dots, L\}

    A chain of exact draws, started from one o_K, ends in a draw from p(x | o_K), in both forms of `reverse`. So it
    passes, whatever the number of levels. The quantities f are those of `calibrate`, with the likelihood of o_K.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0. It must have draws, as `CompiledPrior.draws` gives them: no observed data, no Potential, none that are lost.
    schedule : Schedule
        The noise levels.
    invert : inverter
        How each step is inverted, as `reverse` takes it.
    next_level : bool, optional
        Which form of the chain, as `reverse` takes it.
    replicates, draws, probability, random_seed, progressbar, store, executor
        As `calibrate` takes them. `draws`: how many chains start from each o_K.

    Returns
    -------
    xarray.DataTree
        As `calibrate` does, and ``schedule`` (level). ``step`` is that from x to o_K.

    Raises
    ------
    TypeError, ValueError
        As `calibrate` does, or if `schedule` or `next_level` cannot be used.
    ChainError
        If `invert` fails for every replicate.

    Warns
    -----
    UserWarning
        As `calibrate` does; and if two lineages of the chains disagree, as `reverse` says it.

    References
    ----------
    Those of `calibrate`.

    Examples
    --------
    >>> import bayesdiff as bd
    >>> schedule = bd.geometric(3, 0.5, 4.0)
    >>> prior = bd.compile_prior(bd.gaussian_mixture([1.0], [0.0], 1.0, schedule))  # where a Laplace draw is exact
    >>> small = {"replicates": 100, "draws": 19, "random_seed": 1, "progressbar": False}
    >>> for inverter in (bd.laplace, bd.mode):
    ...     print(bool(bd.calibrate_chain(prior, schedule, inverter, **small)["verdict"]["calibrated"]))
    True
    False
    """
    prior = _readable(prior)
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as bd.geometric(16, 0.1, 10.0)")
    check_inverter(invert)
    sizes = _sizes(replicates, draws, probability)
    check_chain(prior, schedule, invert, next_level)
    last = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    task = _Task(*last, schedule, next_level, invert, *sizes)
    noise = {"alpha": schedule.alpha, "sigma": schedule.sigma}
    groups = {
        "schedule": dataset(noise, dims={name: ["level"] for name in noise}),
        "step": dataset({"alpha": last[0], "sigma": last[1]}),
    }
    return _calibrated(prior, task, groups, probability, random_seed, store, executor, progressbar)


# -------------------------------------------------------------------------------------------------------------- checks


def _readable(prior: pm.Model | CompiledPrior) -> CompiledPrior:
    """The compiled prior, if x can be drawn from it and its names leave room for those of the result."""
    prior = compile_prior(prior)
    if why := prior.why_not_drawable():
        raise ValueError(
            f"p0 cannot be drawn: {why}; calibration begins with true x ~ p0, so write the model without it, or with "
            "what can be drawn"
        )
    dims, reserved = {*prior.model.coords}, {*ALSO_RANKED, "replicate", "fraction", "probability"}
    of_the_plot = {"result", "point", "plot_axis"}
    taken = sorted({*prior.model.named_vars, *dims} & reserved | dims & of_the_plot)
    if taken:
        raise ValueError(f"the prior has the names {taken}, which the result needs for itself; rename them")
    return prior


def _sizes(replicates: int, draws: int, probability: float) -> tuple[int, int]:
    positive_int(replicates, "replicates")
    positive_int(draws, "draws")
    if positive_number(probability, "probability", "a number between 0 and 1") >= 1:
        raise ValueError(f"probability is {probability!r}; write a number between 0 and 1")
    return int(replicates), int(draws)


# -------------------------------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True)
class _Task:
    """What is asked, checked: all that a block needs to know beside the prior, the seed and its number.

    ``alpha`` and ``sigma`` of the step, or of the chain's last level.
    """

    alpha: float
    sigma: float
    schedule: Schedule | None
    next_level: bool | None
    invert: Inverter
    replicates: int
    draws: int

    def block(self, n: int) -> int:
        """Replicates of a block, for a prior of n numbers."""
        return max(1, min(BLOCK, 2**24 // (self.draws * n)))

    def blocks(self, n: int) -> int:
        """How many blocks there are."""
        return -(-self.replicates // self.block(n))

    def rows(self, n: int, number: int) -> int:
        """Replicates of this block: the last one may have fewer."""
        return min(self.block(n), self.replicates - number * self.block(n))


def _block(
    prior: CompiledPrior, task: _Task, seed: int, number: int, *, progress: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """Draw, diffuse, invert and rank the replicates of one block: of its seed and number alone, whoever computes it.

    Returns
    -------
    dict of str to ndarray (replicates of the block, ...)
        ``x`` and ``o`` (n); ``rank`` and ``pit`` (n + 2), NaN where the replicate was lost; ``offset`` (n), of a point;
        ``point`` (): whether all draws are one; ``lineages_p_value`` (): of the chain that the replicate was in.
    """
    size = task.block(prior.n)
    of_x, of_o, of_draws, of_ties = stream(seed, "replicates", number).spawn(4)
    whole, rows = _truth(prior, size, of_x), task.rows(prior.n, number)
    noise = of_o.normal(size=whole.shape)  # of the whole block: a longer run begins with the same replicates
    x = whole[:rows]
    o = task.alpha * x + task.sigma * noise[:rows]
    drawn, sd, lineages = _inverted(prior, task, o, int(of_draws.integers(2**31)))
    values, truth = _quantities(prior, task, drawn, o), _quantities(prior, task, x[:, None], o)
    lost = ~np.isfinite(drawn).all(axis=(1, 2)) | np.isnan(values).any(axis=(1, 2))
    less, equal = (values < truth).sum(axis=1), (values == truth).sum(axis=1)
    ties, place = of_ties.uniform(size=(2, size, less.shape[1]))[:, :rows]
    # Among equals the truth has any place: a sampler that stays may hit it, and a mode of a kinked density often does.
    rank = np.where(lost[:, None], np.nan, less + np.floor(ties * (equal + 1)))
    with np.errstate(invalid="ignore"):  # of draws that are not finite
        spread = np.abs(drawn - drawn[:, :1]).max(axis=1)
        offset = (x - drawn[:, 0]) / np.where(sd > 0, sd, np.nan)  # an sd of 0 is none
    scale = np.where(np.isfinite(sd), sd, np.abs(drawn[:, 0]))
    if progress:
        progress(rows)
    # Draws of an inverter that gives a point are equal up to this, in units of its sd.
    return {
        "x": x,
        "o": o,
        "rank": rank,
        "pit": (rank + place) / (task.draws + 1),
        "offset": np.where(lost[:, None], np.nan, offset),
        "point": ~lost & (task.draws > 1) & (spread <= 1e-6 * scale).all(axis=1),
        "lineages_p_value": np.full(rows, lineages),
    }


def _truth(prior: CompiledPrior, size: int, rng: np.random.Generator) -> np.ndarray:
    """So many x (size, n) of p0. What falls outside of its support is drawn again: p0 is what the density says."""
    parts: list[np.ndarray] = []
    # A draw of a transformed variable may fall outside of its support. So many rounds of draws are made up for.
    rounds = 100
    for _ in range(rounds):
        drawn = prior.draws(size, rng)
        parts += [] if drawn is None else [drawn]
        if sum(map(len, parts)) >= size:
            return np.concatenate(parts)[:size]
    raise ValueError(
        f"only {sum(map(len, parts))} of {rounds * size:,} draws of p0 lie inside of its own support; write a "
        "distribution that has its draws there"
    )


def _quantities(prior: CompiledPrior, task: _Task, x: np.ndarray, o: np.ndarray) -> np.ndarray:
    """What is ranked of x (replicates, draws, n), an array (replicates, draws, n + 2): see `calibrate`."""
    log_prior = prior.logp(x.reshape(-1, prior.n)).reshape(x.shape[:-1])
    square = (((o[:, None] - task.alpha * x) / task.sigma) ** 2).sum(axis=-1)
    return np.concatenate([x, log_prior[..., None], -0.5 * square[..., None]], axis=-1)


def _inverted(prior: CompiledPrior, task: _Task, o: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """L inversions of each o: x (replicates, L, n), the sd that came with it or NaN (replicates, n), the lineages' p.

    Where the inverter raises, each replicate is inverted alone, and those that raise again are NaN. If all do, or one
    that is alone does, it is the inverter, and its error is raised.
    """
    invert, fails = (_by_step, Exception) if task.schedule is None else (_by_chain, ChainError)
    try:
        return invert(prior, task, o, seed)
    except fails:
        if len(o) == 1:
            raise
        failed: list[Exception] = []
        parts = []
        for i in range(len(o)):
            try:
                parts.append(invert(prior, task, o[i : i + 1], (seed + 1 + i) % 2**31))
            except fails as error:  # of a step, whatever an inverter of someone else raises
                failed.append(error)
                parts.append((np.full((1, task.draws, prior.n), np.nan), np.full((1, prior.n), np.nan), np.nan))
        if len(failed) == len(o):
            raise
        x, sd, lineages = zip(*parts, strict=True)
        known = [p for p in lineages if np.isfinite(p)]
        return np.concatenate(x), np.concatenate(sd), min(1.0, len(known) * min(known)) if known else np.nan


def _by_step(prior: CompiledPrior, task: _Task, o: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    rows = np.repeat(o, task.draws, axis=0)
    # Copies: an inverter that writes into its o must not change ours.
    got = task.invert(prior, rows.copy(), task.alpha, task.sigma, start=rows / task.alpha, random_seed=seed)
    x, stats = checked(got, rows, {})
    sd = np.asarray(stats.get("sd", np.nan), float)
    sd = sd if sd.shape == x.shape else np.full(x.shape, np.nan)
    shape = (len(o), task.draws, prior.n)
    return x.reshape(shape).astype(float), sd.reshape(shape)[:, 0], np.nan


def _by_chain(prior: CompiledPrior, task: _Task, o: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    assert task.schedule is not None
    # All o once, then all again: the two halves of the trajectories, which are compared, then have one law.
    again = np.tile(o, (task.draws, 1))
    flat, p_values = ends(
        prior, task.schedule, task.invert, again, next_level=task.next_level, random_seed=seed
    )  # fmt: skip
    x = np.swapaxes(flat.reshape(task.draws, len(o), prior.n), 0, 1)
    least = min(1.0, task.schedule.levels * float(np.nanmin(p_values))) if np.isfinite(p_values).any() else np.nan
    return x, np.full((len(o), prior.n), np.nan), least


# -------------------------------------------------------------------------------------------------------------- result


def _calibrated(
    prior: CompiledPrior,
    task: _Task,
    noise: Mapping[str, xr.Dataset],
    probability: float,
    *how: Any,
) -> xr.DataTree:
    """All blocks, put together."""
    if prior.schedule is not None and (prior.level is None or task.schedule is not None):
        prior = prior.at_level(0)  # x is p0's; a chain takes the levels that it needs from there
    function, rows = "calibrate" if task.schedule is None else "calibrate_chain", partial(task.rows, prior.n)
    asked = partial(_asked, prior, task, probability)
    with long_call(function, asked, *how, total=task.replicates, units="blocks") as call:
        if call.finished is not None:
            return call.finished
        blocks = range(task.blocks(prior.n))
        found = dict(call.each(_block, (prior, task, call.seed), blocks, rows=rows))
        values = {name: np.concatenate([found[number][name] for number in blocks]) for name in found[0]}
        return _result(prior, task, call, values, noise, probability)


def _asked(prior: CompiledPrior, task: _Task, probability: float) -> dict[str, Any]:
    """What tells calls apart."""
    schedule = task.schedule
    return {
        "prior": told(of_prior, prior),
        "level": prior.level,
        "alpha": task.alpha if schedule is None else schedule.alpha.tolist(),
        "sigma": task.sigma if schedule is None else schedule.sigma.tolist(),
        "next_level": task.next_level,
        "invert": name_of(task.invert),
        "code of invert": told(of_function, task.invert),
        "replicates": task.replicates,
        "draws": task.draws,
        "probability": probability,
    }


def _result(
    prior: CompiledPrior,
    task: _Task,
    call: Call,
    values: Mapping[str, np.ndarray],
    noise: Mapping[str, xr.Dataset],
    probability: float,
) -> xr.DataTree:
    label = _Quantities(prior)
    rank, pit = values["rank"], values["pit"]
    kept = np.isfinite(rank).all(axis=1)
    count, quantities = int(kept.sum()), rank.shape[1]
    if not count:
        raise ValueError(
            f"all {len(rank)} replicates were lost: {name_of(task.invert)} gave no x that is finite; look at one, as "
            "invert(prior, o, alpha, sigma) gives it"
        )
    counts, tail = below(rank[kept].astype(int), task.draws), tails(count, task.draws)
    p_values = np.array([p_value(statistic(counts[:, i], tail), tail) for i in range(quantities)])
    p_family = np.minimum(quantities * p_values, 1.0)
    low, high = band(1 - (1 - probability) / quantities, tail)
    at = cuts(task.draws)
    fraction = {"fraction": at}
    groups = {
        "ranks": label.of(rank, leading=["replicate"], sample_dims=["replicate"]),
        "prior_sbc": label.of(pit, leading=["replicate"], sample_dims=["replicate"]),
        "ecdf": label.of(counts / count - at[:, None], leading=["fraction"], coords=fraction),
        "band": dataset(
            {"lower": low / count - at, "upper": high / count - at},
            dims={"lower": ["fraction"], "upper": ["fraction"]},
            coords=fraction,
        ),
        "diagnostics": label.of(
            np.stack([p_values, p_family]), leading=["diagnostic"], coords={"diagnostic": ["p_value", "p_family"]}
        ),
        "coverage": label.covered(pit[kept]),
        **label.truth(values["x"]),
        **noise,
        "step/o": label.states(values["o"]),
    }
    point = bool(values["point"][kept].all()) and bool(np.isfinite(values["offset"]).any())
    without = int((~np.isfinite(values["offset"][kept])).any(axis=1).sum())
    if point:
        groups["offset"] = label.states(values["offset"])
        # The normal quantile of an offset is where the truth lies in the interval: a PIT, as of draws.
        groups["laplace"] = label.laplace(values["offset"])

    groups["verdict"] = of_calibration(
        names=label.names,
        p_values=p_values,
        p_family=p_family,
        probability=probability,
        lost=~kept,
        width=float(high[len(at) // 2] / count - at[len(at) // 2]),
        lineages=values["lineages_p_value"],
        without=without if point else 0,
    )
    about = {
        "inverter": name_of(task.invert),
        "replicates": task.replicates,
        "draws": task.draws,
        "probability": float(probability),
        "carries": carried_by(task.invert),
    }
    return call.done(groups, describe(prior, "calibration") | about)


class _Quantities:
    """Puts names, dims and coords on arrays (..., n + 2) of all that is ranked, and (replicates, n) of x alone."""

    def __init__(self, prior: CompiledPrior) -> None:
        self.prior = prior
        self.label = Labels(prior, batched=True)
        self.names = [*prior.layout.labels, *ALSO_RANKED]

    def of(
        self,
        values: np.ndarray,
        *,
        leading: list[str],
        sample_dims: list[str] | None = None,
        coords: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """One variable of the dims `leading` and its own for each variable of the prior, and what else is ranked."""
        parts = dict(self.prior.layout.split(values[..., : self.prior.n]))
        own = {**self.label.unconstrained_dims}
        if values.shape[-1] > self.prior.n:
            parts |= {name: values[..., self.prior.n + i] for i, name in enumerate(ALSO_RANKED)}
        after = [dim for dim in leading if dim not in (sample_dims or [])]
        dims = {name: [*after, *own.get(name, [])] for name in parts}
        return dataset(parts, sample_dims=sample_dims or [], dims=dims, coords=self.label.coords | dict(coords or {}))

    def states(self, x: np.ndarray) -> xr.Dataset:
        """Unconstrained numbers (replicates, n)."""
        return self.of(x, leading=["replicate"], sample_dims=["replicate"])

    def truth(self, x: np.ndarray) -> dict[str, xr.Dataset]:
        """The true x, constrained, with Deterministics, and unconstrained."""
        read = dataset(
            self.prior.constrain(x), sample_dims=["replicate"], dims=self.label.dims, coords=self.label.coords
        )
        return {"truth": read, "unconstrained_truth": self.states(x)}

    def covered(self, pit: np.ndarray) -> xr.Dataset:
        """How often central intervals hold the truth, of its places in them (replicates, quantities); NaN: no place."""
        known = np.isfinite(pit).sum(axis=0)
        inside = np.stack([(np.abs(pit - 0.5) <= p / 2).sum(axis=0) for p in PROBABILITIES])
        # The sd of Beta(k + 1, N - k + 1): an interval that never or always holds the truth has an error too.
        smooth = (inside + 1) / (known + 2)
        error = np.sqrt(smooth * (1 - smooth) / (known + 3))
        share = np.where(known > 0, inside / np.maximum(known, 1), np.nan)
        return self.of(
            np.stack([share, error], axis=1),
            leading=["probability", "summary"],
            coords={"probability": list(PROBABILITIES), "summary": ["coverage", "error"]},
        )

    def laplace(self, offset: np.ndarray) -> xr.Dataset:
        """How often the normal interval around a point holds the truth, of its offsets (replicates, n)."""
        return self.covered(norm.cdf(offset))
