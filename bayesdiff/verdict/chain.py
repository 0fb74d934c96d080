"""Of a chain of small steps: whether its particles are draws of p0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import ks_2samp, norm

from bayesdiff.verdict.rule import LIMITS, Said, codes, disagree, is_any, p_of, summed


def apart(first: np.ndarray, second: np.ndarray) -> tuple[int, float]:
    """The coordinate in which two samples (size, n) differ most, by Kolmogorov and Smirnov, and its p-value.

    Of coordinates with as many numbers, the one whose distributions are farthest apart has the least p-value: in
    hundreds of coordinates, a test of each would take as long as what is tested.

    Examples
    --------
    >>> import numpy as np
    >>> one, other = np.random.default_rng(1).normal(size=(2, 500, 3))
    >>> worst, p = apart(one, other + [0.0, 1.0, 0.0])
    >>> worst, p < 1e-9
    (1, True)
    """
    both = np.concatenate([first, second])
    order = both.argsort(axis=0, kind="stable")
    gap = np.cumsum(np.where(order < len(first), 1 / len(first), -1 / len(second)), axis=0)
    ranked = np.take_along_axis(both, order, axis=0)
    tied = np.zeros(both.shape, bool)  # with the next: between equal numbers there is no distance
    tied[:-1] = ranked[1:] == ranked[:-1]
    worst = int(np.where(tied, 0.0, np.abs(gap)).max(axis=0).argmax())
    return worst, float(ks_2samp(first[:, worst], second[:, worst], method="asymp").pvalue)


class _Check(NamedTuple):
    """A check of a chain: its p-value (NaN where it was not made), what failed, and why it was not made."""

    p_value: float
    code: str
    text: str

    @property
    def failed(self) -> bool:
        return np.isfinite(self.p_value) and bool(self.text)

    @property
    def made(self) -> bool:
        return bool(np.isfinite(self.p_value))


def of_chain(
    x: np.ndarray,
    *,
    levels: Sequence[int],
    p_values: np.ndarray,
    lost: np.ndarray,
    again: float = np.nan,
    prior: np.ndarray | None = None,
    labels: Sequence[str] = (),
    narrow: tuple[float, float, float] | None = None,
    given: bool = False,
    carries: str = "",
    searches: bool = True,
    finished: bool = True,
) -> xr.Dataset:
    """Judge by its checks whether the particles of a chain of small steps are draws of p0.

    Two tests compare x with draws of p0, for each coordinate: z of the mean, and Kolmogorov and Smirnov's, which sees a
    spread that is wrong and needs no moments. The least p-value counts, shared out over all (Bonferroni).

    Parameters
    ----------
    x : ndarray (trajectories, n)
        Where the trajectories are: at level 0, or of a chain that is not finished, how far they came.
    levels : sequence of int
        The levels that are done.
    p_values, lost : ndarray (levels,)
        Of each: whether the two halves of the trajectories have one law, and how many were lost by then.
    again : float
        The p-value of x, diffused again, beside o_K; NaN where they were not compared.
    prior : ndarray (draws, n), optional
        Draws of p0.
    labels : sequence of str
        How the coordinates are called.
    narrow : (float, float, float), optional
        Of a last level that is too narrow: its alpha, its sigma, and the least sigma / alpha that would do (NaN where
        the prior itself should end with more noise).
    given : bool
        Whether the trajectories began at an o of the user's.
    carries : str
        What the inverter gives: ``"draw"``, ``"mode"``, ``"mean"``, or nothing known.
    searches : bool
        Whether the inverter searches from where it is started: else the two halves say nothing.
    finished : bool
        Whether there is an x.

    Returns
    -------
    xarray.Dataset
        ``ok``, ``code`` (level): ``halves``, ``lost``, ``unchecked``; ``p_value``, ``lost`` (level). Of the checks
        ``halves``, ``again`` and ``prior`` (check): ``check_code``: ``ok``, ``failed``, or why it was not made, in a
        word; ``check_p_value``; ``check_words``: what failed, or why it was not made. ``trajectories``, and ``arrived``
        of them.

    Examples
    --------
    >>> import numpy as np
    >>> x, known = np.random.default_rng(1).normal(size=(2, 400, 1))
    >>> done = {"levels": [1, 2], "p_values": np.array([0.4, 0.7]), "lost": np.zeros(2), "again": 0.5}
    >>> of_chain(x, **done, prior=known, labels=["x"]).attrs["sentence"]
    'No check failed. The checks are necessary, not sufficient.'
    >>> of_chain(0.3 * x, **done, prior=known, labels=["x"])["check_code"].values.tolist()
    ['ok', 'ok', 'failed']
    """
    p_values, lost = np.asarray(p_values, float), np.asarray(lost, int)
    sent, arrived = len(x), int(np.isfinite(x).all(axis=1).sum())
    checks = {"halves": _halves(levels, p_values, searches)}
    if finished:  # before there is an x, nothing more can be checked
        checks |= {"again": _again(again, given), "prior": _beside(x, prior, labels, given)}
    code = codes(
        "level",
        len(levels),
        ("lost", lost > LIMITS.lost * sent),
        ("unchecked", np.isnan(p_values) | (not searches)),
        ("halves", disagree(p_values, max(1, len(p_values)))),
    )
    group = xr.Dataset(
        {
            "ok": ("level", is_any(code, "ok", "unchecked")),
            "code": code,
            "p_value": ("level", p_values),
            "lost": ("level", lost),
            "check_code": ("check", [check.code for check in checks.values()]),
            "check_p_value": ("check", [check.p_value for check in checks.values()]),
            "check_words": ("check", [check.text for check in checks.values()]),
            "trajectories": sent,
            "arrived": arrived,
        },
        coords={"level": list(levels), "check": list(checks)},
    )
    few = ""
    if arrived < LIMITS.draws:
        few = f"Too few trajectories to be judged: {arrived}, {LIMITS.draws} are needed."
    point = {"mode": "modes", "mean": "means"}.get(carries, "")
    said = [
        _narrow(narrow),
        _lost(levels, lost, sent, arrived),
        # Of a chain of modes it is known before: `modes are no draws` says it.
        *[Said(name, check.text if check.failed else "", loud=name != "prior" or not point)
          for name, check in checks.items()],
        Said("few_paths", few, loud=False),
        Said("unchecked", "" if any(c.made for c in checks.values()) else "No check was made.", loud=False),
        Said("no_draws", f"A chain of {point} is no sample of p0, whatever the checks say: {point} are no draws."
              if point else "", falls=False, loud=False),
    ]  # fmt: skip
    missing = [check.text for check in checks.values() if not check.made]
    if len(missing) > 1 and not any(each.text for each in said):
        said.append(Said("unchecked", "No check failed, but most were not made.", falls=False, loud=False))
    also = f"Not checked: {'; '.join(missing)}." if missing else ""
    attrs = summed(said, "No check failed. The checks are necessary, not sufficient.", also)
    if not finished:
        began = "" if attrs["code"] != "ok" else " No check failed so far."
        rest = attrs["sentence"].removeprefix("No check failed. The checks are necessary, not sufficient.").strip()
        attrs["sentence"] = " ".join(filter(None, [f"The run is not finished.{began}", rest]))
        attrs["code"] = "unfinished" if attrs["code"] == "ok" else attrs["code"]
    return group.assign_attrs(attrs)


def _narrow(narrow: tuple[float, float, float] | None) -> Said:
    if narrow is None:
        return Said("narrow", "")
    alpha, sigma, enough = narrow
    if np.isnan(enough):
        return Said("narrow", "The prior's last level is not nearly normal; its schedule should end with more noise.")
    return Said(
        "narrow",
        f"The last level is too narrow: with alpha {alpha:.3g} and sigma {sigma:.3g}, o_K is not nearly normal, and "
        f"the law that it is drawn from is wrong. Let the schedule end with sigma / alpha >= {enough:.2g}, or pass o=.",
    )


def _lost(levels: Sequence[int], lost: np.ndarray, sent: int, arrived: int) -> Said:
    """Which trajectories were lost, and where first: any is said, many let the others' numbers fall."""
    count = max(sent - arrived, int(lost.max(initial=0)))
    text = ""
    if count:
        where = [level for level, many in zip(levels, lost, strict=True) if many]
        first = f", the first at level {max(where)}, where their x was not finite" if where else ""
        text = f"{count:,} of {sent:,} trajectories were lost{first}; they came back as NaN."
    return Said("lost", text, falls=count > LIMITS.lost * sent)


def _halves(levels: Sequence[int], p_values: np.ndarray, searches: bool) -> _Check:
    """Half of the trajectories searched from elsewhere: both must have one law at every level."""
    if not searches:
        why = "the two halves of the trajectories say nothing: this inverter begins every step at its mean"
        return _Check(np.nan, "at_mean", why)
    if not np.isfinite(p_values).any():
        return _Check(np.nan, "too_few", "the two halves of the trajectories were not compared: too few of them")
    worst = int(np.nanargmin(p_values))
    p = float(p_values[worst])
    if not disagree(p, len(p_values)):
        return _Check(p, "ok", "")
    return _Check(
        p,
        "failed",
        "Two halves of the trajectories, whose inner searches started at different places, disagree at level "
        f"{levels[worst]} ({p_of(p)}): the inversions there are not done. Give the inverter more, as "
        "functools.partial(bd.draw, tune=1000).",
    )


def _again(p: float, given: bool) -> _Check:
    """The final x, diffused again, must be distributed as the o_K that was assumed."""
    if given:
        return _Check(np.nan, "given", "the final x was not diffused again: its o was given")
    if np.isnan(p):
        return _Check(p, "too_few", "the final x was not diffused again: there are too few trajectories")
    if not disagree(p):
        return _Check(p, "ok", "")
    return _Check(
        p,
        "failed",
        "The final x, diffused again to the last level, is not distributed as the o_K that was assumed "
        f"({p_of(p)}): the chain is biased. Use bd.draw, more levels, or a wider last level.",
    )


def _beside(x: np.ndarray, prior: np.ndarray | None, labels: Sequence[str], given: bool) -> _Check:
    """X must be distributed as draws of p0 are."""
    if prior is None:
        return _Check(np.nan, "no_draws", "x was not compared with draws of p0: there are none")
    if given:
        why = "x was not compared with draws of p0: its o was given, so it need not be distributed as p0"
        return _Check(np.nan, "given", why)
    a, b = (sample[np.isfinite(sample).all(axis=1)] for sample in (x, prior))
    if min(len(a), len(b)) < LIMITS.draws:  # z of a few is not normal
        return _Check(np.nan, "too_few", "x was not compared with draws of p0: too few of them")
    error = np.hypot(*(sample.std(axis=0, ddof=1) / np.sqrt(len(sample)) for sample in (a, b)))
    gap = np.abs(a.mean(axis=0) - b.mean(axis=0))
    by_mean = np.where(error > 0, 2 * norm.sf(gap / np.where(error > 0, error, 1.0)), 1.0)
    where, p = min((int(by_mean.argmin()), float(by_mean.min())), apart(a, b), key=lambda each: each[1])
    if not disagree(p, 2 * x.shape[1]):
        return _Check(p, "ok", "")
    mean, sd = (f"{f(a[:, where]):.3g} against {f(b[:, where]):.3g}" for f in (np.mean, lambda v: np.std(v, ddof=1)))
    return _Check(
        p,
        "failed",
        f"x is not distributed as p0: the mean of its unconstrained {labels[where]} is {mean}, its sd {sd} "
        f"({p_of(p)}).",
    )
