"""Small steps: from noise to x, one inversion at a time.

    o_K ~ N(alpha_K m, alpha_K^2 C + sigma_K^2 I)          m, C: mean and covariance of p0

and then, for k = K..1, in one of two forms,

    clean       x ~ p(x | o_k) ∝ N(o_k; alpha_k x, sigma_k^2 I) p0(x),   o_{k-1} ~ p(o_{k-1} | o_k, x)     (`bridge`)
    next level  o_{k-1} ~ p(o_{k-1} | o_k) ∝ N(o_k; a_k o_{k-1}, s_k^2 I) p_{k-1}(o_{k-1})

Each step is one diffusion step with a prior, so any inverter serves: the loop below is written once. With draws both
forms are exact. The clean form needs p0 alone, and its first inversion is the whole problem at once, however many
levels follow. The next-level form needs the diffused densities p_k (a level prior), and each of its inversions is
easier the closer the levels are.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike
from pytensor.graph.traversal import ancestors
from scipy.optimize import brentq

from bayesdiff.calls import Call, ExecutorError, cut, long_call, told
from bayesdiff.checks import Seed, flag, positive_int, seed_of
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.fingerprints import digest, name_of, of_function, of_prior
from bayesdiff.invert.draws import Length, sample_steps
from bayesdiff.invert.inverters import Inverter, carried_by, draw, searches_from
from bayesdiff.invert.modes import find_modes_of
from bayesdiff.invert.steps import read_steps
from bayesdiff.labels import SAMPLE, Labels, describe
from bayesdiff.results import dataset, tree
from bayesdiff.schedule import Schedule, bridge
from bayesdiff.step import LEVEL
from bayesdiff.verdict import apart, of_chain


def _down(plan: _Chain, call: Call, state: _Reached) -> _Reached:
    """The chain: from level K, or from where a kept run stopped, to level 0."""
    while state.level > 0:
        step = call.once(f"{state.level - 1:06d}", partial(_step, plan, call, state))
        state = state.below(step, plan.path)
        call.advance(plan.trajectories)
    return state


def _step(plan: _Chain, call: Call, state: _Reached) -> dict[str, np.ndarray]:
    """One level down, for all trajectories: what is kept of it."""
    k = state.level
    prior, alpha, sigma = plan.step(k)
    x, evaluations, stats = _inverted(plan, call, state, prior, alpha, sigma)
    o = x if plan.next_level else bridge(plan.schedule, k, state.o, x, call.rng("bridge", k))
    stats["lineages_p_value"] = np.array(_same_law(*[o[rows] for rows in plan.lineages]))
    return {"o": o, "x": x, "evaluations": evaluations} | {f"stats/{name}": stats[name] for name in stats}


# Of these so many must be left where a transform narrows p0, or its law is read from what a step draws.
FEWEST = 2**9
# How far from normal o_K may be, in nats: at 1e-3 the two laws differ by about .02 in total variation.
NEARLY_NORMAL = 1e-3
# Trajectories in a part.
PART = 2**13
# Of a last level that is too narrow: its alpha, its sigma, and the least sigma / alpha that would do, or NaN.
Narrow = tuple[float, float, float]
# What `level_stats` holds beside an inverter's statistics.
RESERVED = ("level", *SAMPLE, "lost", "lineages_p_value")


class ChainError(RuntimeError):
    """Raised when an inverter fails at a level; what was finished is kept.

    Attributes
    ----------
    level : int
        k of the step that failed.
    partial : xarray.DataTree
        The levels that are done: groups ``path`` (o_K and o_k, and those between if they were asked for),
        ``level_stats``, ``schedule``.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> def moody(prior, o, alpha, sigma, *, start, random_seed):
    ...     if sigma < 1:
    ...         raise ValueError("not today")
    ...     return bd.mode(prior, o, alpha, sigma, start=start, random_seed=random_seed)
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> try:
    ...     run = bd.reverse(prior, bd.geometric(3, 0.1, 10.0), moody, draws=10, random_seed=1, progressbar=False)
    ... except bd.ChainError as error:
    ...     print(error.level, error.partial["level_stats"]["level"].values.tolist())
    1 [2, 3]
    """

    def __init__(self, message: str, level: int, partial: xr.DataTree) -> None:
        super().__init__(message)
        self.level = level
        self.partial = partial

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again: an error that crosses processes must not lose what was finished."""
        return type(self), (str(self), self.level, self.partial)


def reverse(
    prior: pm.Model | CompiledPrior,
    schedule: Schedule,
    invert: Inverter = draw,
    *,
    draws: int = 1000,
    chains: int = 4,
    o: ArrayLike | Mapping[str, ArrayLike] | None = None,
    next_level: bool | None = None,
    path: bool = False,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Draw from p0 by small steps: start from noise and invert one level after the other.

    o_K -> o_{K-1} -> ... -> o_0 = x

    clean form: x ~ p(x | o_k), o_{k-1} ~ N(alpha_{k-1} x + b_k (o_k - alpha_k x), sigma_{k-1}^2 s_k^2 / sigma_k^2)
    next-level form: o_{k-1} ~ p(o_{k-1} | o_k) ∝ N(o_k; a_k o_{k-1}, s_k^2 I) p_{k-1}(o_{k-1})

    with a_k, s_k and b_k as `Schedule` and `bridge` have them.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0: any model with continuous free variables. For the next-level form a level prior.
    schedule : Schedule
        The noise levels, in units of the unconstrained x.
    invert : inverter
        How each step is inverted: `draw`, `mode`, `mean`, `laplace`, ``from_pymc(...)``, or any function of
        their form. Options are bound by ``functools.partial(bd.draw, tune=50)``. One of your own may say what it gives,
        by its attribute ``carries``: ``"draw"``, ``"mode"`` or ``"mean"``. Rows of NaN in ``o`` stand for
        trajectories that were lost; what comes back for them does not matter.
    draws, chains : int
        ``draws * chains`` trajectories run together. They are independent; the chains only label them.
    o : array_like or mapping, optional
        o_K in place of the normal law above: one for all trajectories, or ``chains * draws`` of them (a leading axis,
        chain after chain). Written as for `find_map`.
    next_level : bool, optional
        Which form. By default the next-level form for a level prior, and the clean form for all others. A level prior
        to which data or a Potential were added is one of "all others", unless these depend on the level too: its
        density at level k is not p0 diffused to it.
    path : bool
        Whether to keep every o_k.
    random_seed : int, Generator or None
        The source of randomness: same machine, same numbers, whatever the number of cores.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved (``.zarr`` or ``.nc``). Every finished level is kept beside it, and the same call
        again goes on from there, with the same numbers as a run that was not stopped. Inverters are told apart by their
        code, with all that it reads and calls in modules of yours, their options and attributes; where one holds what
        cannot be compared (an open file), no call goes on from its store. An object whose attributes do not matter has
        a ``__getstate__`` that leaves them out.
    executor : concurrent.futures.Executor, optional
        Who inverts, 8,192 trajectories of a level at a time: a pool's processes (not forked ones), or a Dask client's,
        ``client.get_executor()``. The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw): x, constrained, with Deterministics. ``unconstrained_posterior``: the same in
        unconstrained coordinates. ``sample_stats``: ``evaluations`` of log densities by trajectory. ``path`` (chain,
        draw, level): o_k, unconstrained; all levels where asked for, else the last one alone. ``level_stats`` (level):
        the mean of each of the inverter's statistics over the trajectories, ``lost`` trajectories, and
        ``lineages_p_value`` (of o_{k-1}). ``schedule`` (level): alpha and sigma. ``diagnostics``:
        ``diffused_again_p_value``. ``verdict``: of each level ``ok`` and ``code``, of each check (below) its p-value
        and what it says; its attribute ``sentence`` says it all in words. ``prior`` and
        ``unconstrained_prior`` where p0 can be drawn.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used: the prior, a level prior made for another schedule, `next_level` without a level
        prior, an `o` of another shape or number, `draws` or `chains` below 1, a `store` of another call, an `executor`
        that is none.
    ChainError
        If `invert` raises, returns another shape, or NaN for every trajectory. It names the level and holds what was
        finished.

    Warns
    -----
    UserWarning
        Once: if level K is too narrow for o_K to be nearly normal (with the sigma to use), if trajectories were lost,
        if the two lineages or the distribution that is diffused again disagree, or x and draws of p0 do (but for modes
        and means, which are no draws, as the verdict says).

    Notes
    -----
    R-hat says nothing here: trajectories are independent, so it is 1 even where all share one error. Three checks stand
    in for it. Half of the trajectories start their inner search at their own position, the other half at that of
    another; at each level the two must have one distribution (Kolmogorov and Smirnov's test). And the final x, diffused
    again to level K, must be distributed as the o_K that was assumed. And x must be distributed as draws of p0, where
    there are any. All are necessary, not sufficient: without draws of p0 they see neither a mode that no start reaches
    nor a collapse that level K hides in its noise.

    References
    ----------
    Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, equations 4, 6 and 7, for the steps.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x", 0, 1)
    >>> run = bd.reverse(prior, bd.geometric(4, 0.3, 10.0), draws=500, random_seed=1, progressbar=False)
    >>> bool(abs(run["posterior"]["x"].std() - 1) < 0.1)
    True
    >>> run["level_stats"]["level"].values.tolist()
    [1, 2, 3, 4]
    """
    plan = _plan(prior, schedule, invert, draws, chains, next_level, path, o)
    how, total = (random_seed, store, executor, progressbar), plan.trajectories * schedule.levels
    with long_call("reverse", partial(_asked, plan, o), *how, total=total, units="levels") as call:
        if call.finished is not None:
            return call.finished
        state, narrow = _start(plan, call, o)
        return _result(plan, call, _down(plan, call, state), o is None, narrow)


def ends(
    prior: CompiledPrior,
    schedule: Schedule,
    invert: Inverter,
    o: np.ndarray,
    *,
    next_level: bool | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute where trajectories that start at ``o`` (trajectories, n) end, at level 0: `reverse` without its labels.

    And the p-values (levels,) of its two lineages having one law. Nothing is warned of: who calls this judges himself.
    """
    of = prior.layout.split(o)
    plan, call = _plan(prior, schedule, invert, len(o), 1, next_level, False, of), Call("reverse", seed_of(random_seed))
    state = _down(plan, call, _start(plan, call, of)[0])
    return state.o, np.array([float(stats["lineages_p_value"]) for stats in state.level_stats.values()])


def check_chain(prior: CompiledPrior, schedule: Schedule, invert: Inverter, next_level: bool | None) -> None:
    """Raise what `ends` would raise for these, before anything is computed."""
    if prior.schedule is not None:
        prior = prior.at_level(0)
    of = prior.layout.split(np.zeros((1, prior.n)))
    _plan(prior, schedule, invert, 1, 1, next_level, False, of)


# --------------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class _Chain:
    """A call of `reverse`, checked: all that does not change from level to level."""

    prior: CompiledPrior
    schedule: Schedule
    invert: Inverter
    draws: int
    chains: int
    next_level: bool
    path: bool

    @property
    def trajectories(self) -> int:
        return self.draws * self.chains

    @property
    def clean(self) -> CompiledPrior:
        """p0 itself."""
        return self.prior if self.prior.schedule is None else self.prior.at_level(0)

    @property
    def lineages(self) -> list[slice]:
        """The two halves of the trajectories, or the only one."""
        half = self.trajectories // 2
        return [slice(0, half), slice(half, None)] if half else [slice(None)]

    def step(self, k: int) -> tuple[CompiledPrior, float, float]:
        """The step from level k: what is inverted, its alpha and sigma."""
        if self.next_level:
            return self.prior.at_level(k - 1), *self.schedule.step(k)
        return self.clean, float(self.schedule.alpha[k]), float(self.schedule.sigma[k])

    @property
    def about_inverter(self) -> dict[str, Any]:
        """What the inverter gives, and whether where its searches begin tells anything."""
        return {"carries": carried_by(self.invert), "searches": not self.next_level or searches_from(self.invert)}

    @property
    def parts(self) -> list[tuple[slice, tuple[int, ...]]]:
        """The trajectories that are inverted together, those of a lineage, some thousands at a time.

        Their rows, and what tells their seed from others': the lineage, and the part of it.
        """
        parts: list[tuple[slice, tuple[int, ...]]] = []
        for lineage, rows in enumerate(self.lineages):
            start, stop, _ = rows.indices(self.trajectories)
            for i, part in enumerate(cut(stop - start, PART)):
                parts.append((slice(start + part.start, start + part.stop), (lineage, i) if i else (lineage,)))
        return parts


@dataclass(frozen=True)
class _Reached:
    """Where all trajectories are.

    ``o`` (trajectories, n) at ``level``; ``x``: where the search of the last step ended, from which the next one
    starts; ``stats`` of that step; ``evaluations`` (trajectories,) so far; ``history``: the levels above, by number.
    """

    level: int
    o: np.ndarray
    x: np.ndarray
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    evaluations: np.ndarray = field(default_factory=lambda: np.zeros(0))
    history: Mapping[int, np.ndarray] = field(default_factory=dict)
    level_stats: Mapping[int, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def below(self, step: Mapping[str, np.ndarray], path: bool) -> _Reached:
        """The state one level down, by what `_step` gave."""
        level, o = self.level - 1, step["o"]
        stats = {name.removeprefix("stats/"): step[name] for name in step if name.startswith("stats/")}
        history = {**self.history, level: o} if path or level == 0 else self.history
        of_levels = {**self.level_stats, self.level: stats}
        return _Reached(level, o, step["x"], stats, step["evaluations"], history, of_levels)


def _plan(
    prior: pm.Model | CompiledPrior,
    schedule: Schedule,
    invert: Inverter,
    draws: int,
    chains: int,
    next_level: bool | None,
    path: bool,
    o: ArrayLike | Mapping[str, ArrayLike] | None,
) -> _Chain:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as bd.geometric(16, 0.1, 10.0)")
    check_inverter(invert)
    positive_int(draws, "draws")
    positive_int(chains, "chains")
    flag(path, "path")
    prior = compile_prior(prior)
    of = prior.schedule
    if of is not None and of != schedule:
        raise ValueError(
            f"the prior was made for another schedule: {first_difference(of, schedule)}; pass the prior's own, "
            "bd.compile_prior(prior).schedule, or make the prior for this one"
        )
    if not (next_level is None or isinstance(next_level, bool | np.bool_)):
        raise TypeError(f"next_level is {next_level!r}; write True, False or None")
    added = [] if of is None else _same_at_all_levels(prior.model)
    if next_level and added:
        raise ValueError(
            f"next_level=True needs the density of p0 diffused to every level, and {added} of this level prior are the "
            "same at all; write next_level=False, or make them depend on the level"
        )
    if next_level and of is None:
        raise ValueError(
            "next_level=True needs a prior whose density depends on the level, and this one's does not; make it so, as "
            "gaussian_mixture(..., schedule=schedule), or write next_level=False"
        )
    form = (of is not None and not added) if next_level is None else bool(next_level)
    plan = _Chain(prior, schedule, invert, draws, chains, form, path)
    if o is not None:
        _given(plan, o)  # an o that cannot be used is said before a store is begun
    return plan


def check_inverter(invert: Inverter) -> None:
    """Raise where a function cannot be called as an inverter is: now, not after the first level was begun."""
    if not callable(invert):
        raise TypeError(f"invert is {invert!r}; write a function, as bd.draw or bd.mode")
    carried_by(invert)
    try:
        signature = inspect.signature(invert)
    except ValueError:  # a builtin, say: what it takes is not known
        return
    try:
        signature.bind(None, None, None, None, start=None, random_seed=None)
    except TypeError as error:
        raise TypeError(
            f"invert is {name_of(invert)}, which cannot be called as invert(prior, o, alpha, sigma, start=..., "
            f"random_seed=...): {error}; write an inverter, as bd.draw or bd.mode"
        ) from error


def _same_at_all_levels(model: pm.Model) -> list[str]:
    """Name the data and Potentials of a level prior that do not themselves depend on the level.

    The likelihood of y given x = o_k is not that of y given o_k: with it, the density is that of no diffused p0.
    """
    terms = [*model.observed_RVs, *model.potentials]
    return [term.name for term in terms if model[LEVEL] not in ancestors([term], blockers=model.free_RVs)]


def first_difference(theirs: Schedule, ours: Schedule) -> str:
    """Say where two schedules differ first."""
    if theirs.levels != ours.levels:
        return f"it has {theirs.levels} levels, this one {ours.levels}"
    k = int(np.flatnonzero((theirs.alpha != ours.alpha) | (theirs.sigma != ours.sigma))[0])
    there, here = (f"alpha {of.alpha[k]:.9g} and sigma {of.sigma[k]:.9g}" for of in (theirs, ours))
    return f"level {k} has {there} there and {here} here"


def _asked(plan: _Chain, o: ArrayLike | Mapping[str, ArrayLike] | None) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": told(of_prior, plan.prior),
        "variables": dict(zip(plan.prior.layout.names, map(list, plan.prior.layout.shapes), strict=True)),
        "alpha": plan.schedule.alpha.tolist(),
        "sigma": plan.schedule.sigma.tolist(),
        "invert": name_of(plan.invert),
        "code of invert": told(of_function, plan.invert),
        **plan.about_inverter,
        "draws": plan.draws,
        "chains": plan.chains,
        "next_level": plan.next_level,
        "path": plan.path,
        "o": None if o is None else digest(plan.prior.layout.read(o)[0]),
    }


# -------------------------------------------------------------------------------------------------------------- start


def _start(plan: _Chain, call: Call, o: ArrayLike | Mapping[str, ArrayLike] | None) -> tuple[_Reached, Narrow | None]:
    """o_K of every trajectory; and of a law of o_K that is wrong, what would do."""
    levels, narrow = plan.schedule.levels, None
    if o is not None:
        first = _given(plan, o)
    else:
        mean, covariance, narrow = _last_law(plan, call.rng("pilot"))
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        first = mean + call.rng("o_K").normal(size=(plan.trajectories, plan.prior.n)) @ root.T
    nothing = np.full(first.shape, np.nan)
    zero = np.zeros(plan.trajectories)
    return _Reached(levels, first, nothing, evaluations=zero, history={levels: first}), narrow


def _given(plan: _Chain, o: ArrayLike | Mapping[str, ArrayLike]) -> np.ndarray:
    flat, batched = plan.prior.layout.read(o)
    if not batched:
        flat = np.repeat(flat, plan.trajectories, axis=0)
    if len(flat) != plan.trajectories:
        raise ValueError(
            f"o has {len(flat)} observations, and draws={plan.draws} times chains={plan.chains} are "
            f"{plan.trajectories}; write as many, or draws={max(1, len(flat) // plan.chains)}"
        )
    if not np.isfinite(flat).all(axis=1).any():
        raise ValueError(f"none of the {len(flat)} observations is finite: o[0] is {flat[0].tolist()}; write numbers")
    return flat


def _last_law(plan: _Chain, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Narrow | None]:
    """Mean and covariance of o_K; if it is not nearly normal, alpha, sigma, and the least sigma / alpha that would do.

    How far it is from the normal of these moments is read from the cumulants of x along the axes of its covariance.
    With r = alpha^2 v / (alpha^2 v + sigma^2) the share of the signal in the variance along an axis, those of o_K are
    r^(3/2) kappa_3 and r^2 kappa_4, and the negentropy is about kappa_3^2 / 12 + kappa_4^2 / 48 (Comon 1994, eq. 3.7).
    """
    prior, schedule = plan.prior, plan.schedule
    alpha, sigma = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    # Draws of p0 that its mean, covariance and shape are taken from.
    x = plan.clean.draws(2**14, rng)
    if x is not None and len(x) < FEWEST:
        x = None
    if x is None and plan.next_level:
        # p_K itself is known, and is the easiest of all to draw from.
        x, alpha, sigma = _pilot(prior.at_level(schedule.levels), rng), 1.0, 0.0
    elif x is None:
        x = _pilot(plan.clean, rng)
    mean, covariance = x.mean(axis=0), np.atleast_2d(np.cov(x.T))
    law = alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(prior.n)
    values, axes = np.linalg.eigh(covariance)
    white = (x - mean) @ axes / np.sqrt(np.maximum(values, np.finfo(float).tiny))
    third, fourth = (white**3).mean(axis=0), (white**4).mean(axis=0) - 3
    # What cumulants of so many draws of a normal are by chance, squared.
    third, fourth = np.maximum(third**2 - 6 / len(x), 0.0), np.maximum(fourth**2 - 24 / len(x), 0.0)

    def negentropy(noise: float) -> float:
        share = alpha**2 * values / (alpha**2 * values + noise**2)
        return float((share**3 * third / 12 + share**4 * fourth / 48).sum())

    if negentropy(sigma) <= NEARLY_NORMAL:
        return *law, None
    if sigma == 0:  # of a level prior, whose last level it is that should end with more noise
        return *law, (alpha, sigma, np.nan)
    high = sigma
    while negentropy(high) > NEARLY_NORMAL:
        high *= 2
    enough = brentq(lambda noise: negentropy(noise) - NEARLY_NORMAL, high / 2, high, rtol=1e-3)
    return *law, (alpha, sigma, enough / abs(alpha))


def _pilot(prior: CompiledPrior, rng: np.random.Generator) -> np.ndarray:
    """Draws of a prior that is known by its density: the posterior of a step so wide that it says nothing."""

    def step(sigma: float) -> Any:
        return read_steps(prior, prior.initial_point()[None], 1.0, sigma)

    found = find_modes_of(prior, step(1e6), rng)
    sd = np.nanmax(found.sd) if np.isfinite(found.sd).any() else 1.0
    for _ in range(2):  # the curvature at a mode may say little of the whole
        drawn = sample_steps(prior, step(1e3 * float(sd)), rng, Length(1000, 1000, 8))
        x, before = drawn.x.reshape(-1, prior.n), sd
        sd = x.std(axis=0).max()
    if sd > 100 * before:  # as wide as the step, which is a thousand times wider each time
        raise ValueError(
            f"p0 has no finite spread, as far as its draws say (sd {sd:.1g}, and more the wider one looks), so the law "
            "of o_K is not known; pass o=, or write a proper prior"
        )
    return x


# -------------------------------------------------------------------------------------------------------------- steps


def _inverted(
    plan: _Chain, call: Call, state: _Reached, prior: CompiledPrior, alpha: float, sigma: float
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The x of all trajectories by the user's inverter, their evaluations so far, and its statistics."""
    k = state.level
    start = _starts(plan, call, state, alpha)
    x = np.full(state.o.shape, np.nan)
    evaluations = state.evaluations.copy()
    found = []
    shapes = {name: np.shape(values) for name, values in state.stats.items()}
    try:
        # All lost: nothing to invert.
        places = [part for part in plan.parts if np.isfinite(state.o[part[0]]).all(axis=1).any()]
        level = None if prior.schedule is None else prior.level
        seeds = [int(call.rng("inverter", k, *place).integers(2**31)) for _, place in places]
        # A copy: an inverter that writes into its o must not change the chain's.
        parts = [
            _Part(level, alpha, sigma, state.o[rows].copy(), start[rows], seed)
            for (rows, _), seed in zip(places, seeds, strict=True)
        ]
        for (rows, _), got in zip(places, call.spread(_invert, (plan.invert, plan.prior), parts), strict=True):
            x[rows], stats = checked(got, state.o[rows], shapes)
            shapes |= {name: values.shape[1:] for name, values in stats.items()}
            evaluations[rows] += stats.get("evaluations", 0.0)
            found.append(stats)
        lost = ~np.isfinite(x).all(axis=1)
        if lost.all():
            raise ValueError("x is not finite for any of the trajectories")
    except ExecutorError:
        raise
    except Exception as error:
        raise ChainError(
            f"the inverter {name_of(plan.invert)} failed at level {k} of {plan.schedule.levels} (alpha {alpha:.6g}, "
            f"sigma {sigma:.6g}): {type(error).__name__}: {error}. The levels above are done: they are in the error's "
            f"`partial`" + (f", and the same call goes on from {call.store}" if call.store else ""),
            k,
            _partial(plan, state),
        ) from error
    x[lost] = np.nan
    return x, evaluations, _summary(found) | {"lost": np.array(int(lost.sum()))}


class _Part(NamedTuple):
    """Trajectories of one part: the step, where they are, where their search starts, and a seed."""

    level: int | None
    alpha: float
    sigma: float
    o: np.ndarray
    start: np.ndarray
    seed: int


def _invert(
    invert: Inverter, prior: CompiledPrior, part: _Part, *, progress: Callable[[int], None] | None = None
) -> Any:
    target = prior if part.level is None else prior.at_level(part.level)
    return invert(target, part.o, part.alpha, part.sigma, start=part.start, random_seed=part.seed)


def _starts(plan: _Chain, call: Call, state: _Reached, alpha: float) -> np.ndarray:
    """Where the inner searches start: at the trajectory's own place, and in the second lineage at that of another."""
    own = state.o / alpha if plan.next_level else np.where(np.isfinite(state.x), state.x, state.o / alpha)
    start = own.copy()
    if len(plan.lineages) > 1:
        rows = plan.lineages[1]
        start[rows] = call.rng("lineages", state.level).permutation(own[rows])
    return np.where(np.isfinite(start), start, own)


def checked(got: Any, o: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What an inverter returned, if it is of use. ``shapes``: of one row of the statistics that came before."""
    if not (isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], Mapping)):
        raise TypeError(f"it returned {type(got).__name__}; an inverter returns (x, stats), an array and a mapping")
    x, stats = np.asarray(got[0]), {name: np.asarray(values) for name, values in got[1].items()}
    if x.shape != o.shape or x.dtype.kind not in "fiub":
        raise ValueError(f"x has shape {x.shape} and dtype {x.dtype}; return real numbers of the shape of o, {o.shape}")
    for name, values in stats.items():
        if values.shape[:1] != o.shape[:1] or values.dtype.kind not in "fiub":
            raise ValueError(f"stats[{name!r}] has shape {values.shape}; return one row per trajectory, {len(o)}")
        if not isinstance(name, str) or "/" in name or name in RESERVED:
            raise ValueError(f"stats has the name {name!r}, which the result needs or cannot hold; choose another")
        if values.shape[1:] != shapes.get(name, values.shape[1:]):
            raise ValueError(
                f"a row of stats[{name!r}] has shape {values.shape[1:]}, and had {shapes[name]} before; return one "
                "shape at all levels"
            )
    return x, stats


def _summary(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of every statistic over the trajectories."""
    means = {}
    for name in set.intersection(*[set(part) for part in parts]):
        values = np.concatenate([part[name] for part in parts]).astype(float)
        known = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
        means[name] = known.mean(axis=0) if len(known) else np.full(values.shape[1:], np.nan)
    return means


def _same_law(*samples: np.ndarray) -> float:
    """The p-value of two samples having one law: Kolmogorov and Smirnov's, the least of all coordinates, times n."""
    if len(samples) < 2:
        return np.nan
    first, second = (sample[np.isfinite(sample).all(axis=1)] for sample in samples)
    # Fewer trajectories say nothing of their law.
    if min(len(first), len(second)) < 10:
        return np.nan
    return min(1.0, first.shape[1] * apart(first, second)[1])


# ------------------------------------------------------------------------------------------------------------- result


def _result(plan: _Chain, call: Call, state: _Reached, assumed: bool, narrow: Narrow | None) -> xr.DataTree:
    schedule, x = plan.schedule, state.o
    label = Labels(plan.clean, batched=False)
    again = np.nan
    if assumed:
        noise = call.rng("diffused again").normal(size=x.shape)
        last = state.history[schedule.levels]
        again = _same_law(schedule.alpha[-1] * x + schedule.sigma[-1] * noise, last)
    known = label.prior(call.rng("prior"))
    drawn = None
    if known:
        free = known["unconstrained_prior"]
        drawn, _ = plan.prior.layout.read({str(name): values.values[0] for name, values in free.items()})
    groups = {
        **label.states(_by_chain(plan, x)[None]),
        "sample_stats": dataset({"evaluations": _by_chain(plan, state.evaluations)}, sample_dims=SAMPLE),
        **_level_groups(plan, state, label),
        "diagnostics": dataset({"diffused_again_p_value": again}),
        "verdict": _verdict(plan, state, again=again, prior=drawn, narrow=narrow, given=not assumed),
        **known,
    }
    how = {
        "draws": plan.draws,
        "chains": plan.chains,
        "form": "next level" if plan.next_level else "clean",
        "inverter": name_of(plan.invert),
        "carries": plan.about_inverter["carries"],
    }
    return call.done(groups, describe(plan.prior, "reverse") | how)


def _partial(plan: _Chain, state: _Reached) -> xr.DataTree:
    label = Labels(plan.clean, batched=False)
    history = {**state.history, state.level: state.o}
    kept = _Reached(state.level, state.o, state.x, history=history, level_stats=state.level_stats)
    groups = _level_groups(plan, kept, label) | {"verdict": _verdict(plan, state, finished=False)}
    about = {"inversion": "reverse", "finished": 0, "level": state.level}
    return tree(groups, about | {"carries": plan.about_inverter["carries"]})


def _verdict(plan: _Chain, state: _Reached, **more: Any) -> xr.Dataset:
    """The verdict on a chain, as far as it came."""
    levels = sorted(state.level_stats)
    p_values, lost = (
        np.array([float(state.level_stats[level][name]) for level in levels]) for name in ("lineages_p_value", "lost")
    )
    about: dict[str, Any] = {"levels": levels, "p_values": p_values, "lost": lost, "labels": plan.prior.layout.labels}
    return of_chain(state.o, **about, **plan.about_inverter, **more)


def _level_groups(plan: _Chain, state: _Reached, label: Labels) -> dict[str, xr.Dataset]:
    """``path``, ``level_stats`` and ``schedule``, each by level."""
    kept = sorted(level for level in state.history if plan.path or level > 0)
    o = np.stack([_by_chain(plan, state.history[level]) for level in kept], axis=2)
    groups = {"path": label.by_level(o, kept)}
    done = sorted(state.level_stats)
    if done:
        rows = [state.level_stats[level] for level in done]
        names = sorted(set.intersection(*[set(row) for row in rows]))
        stats = {name: np.stack([row[name] for row in rows]) for name in names}
        groups["level_stats"] = dataset(stats, dims={name: ["level"] for name in stats}, coords={"level": done})
    noise = {"alpha": plan.schedule.alpha, "sigma": plan.schedule.sigma}
    groups["schedule"] = dataset(noise, dims={name: ["level"] for name in noise})
    return groups


def _by_chain(plan: _Chain, values: np.ndarray) -> np.ndarray:
    return values.reshape(plan.chains, plan.draws, *values.shape[1:])
