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

import hashlib
import inspect
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike
from pytensor.graph.traversal import ancestors
from scipy.optimize import brentq
from scipy.stats import ks_2samp

from bayesdiff.batches import progress_bar
from bayesdiff.blocks import ExecutorError, check_executor, cut, each, ready
from bayesdiff.checks import Seed, flag, path_like, positive_int, seed_of
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.inverters import Inverter, draw, find_modes_of, read_steps, sample_steps
from bayesdiff.labels import SAMPLE, Labels, describe, warn_once
from bayesdiff.results import dataset, levels_folder, save, tree
from bayesdiff.schedule import Schedule, bridge
from bayesdiff.step import LEVEL
from bayesdiff.stores import concluded, digest, fingerprint, keep, kept, opened
from bayesdiff.trust import disagree

# Draws of p0 that its mean, covariance and shape are taken from.
PILOT = 2**14
# Of these so many must be left where a transform narrows p0, or its law is read from what a step draws.
FEWEST = 2**9
# How far from normal o_K may be, in nats: at 1e-3 the two laws differ by about .02 in total variation.
NEARLY_NORMAL = 1e-3
# Trajectories of a lineage that are inverted together.
BLOCK = 2**13
# Fewer trajectories say nothing of their law.
ENOUGH = 10
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
        their form. Options are bound by ``functools.partial(bd.draw, tune=50)``. Rows of NaN in ``o`` stand for
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
        names, bound options and own code, not by what a class of yours holds or a function does that yours calls.
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
        ``diffused_again_p_value``. ``prior`` and ``unconstrained_prior`` where p0 can be drawn.

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
        if the two lineages or the distribution that is diffused again disagree.

    Notes
    -----
    R-hat says nothing here: trajectories are independent, so it is 1 even where all share one error. Two checks stand
    in for it. Half of the trajectories start their inner search at their own position, the other half at that of
    another; at each level the two must have one distribution (Kolmogorov and Smirnov's test). And the final x, diffused
    again to level K, must be distributed as the o_K that was assumed. Both are necessary, not sufficient: they see
    neither a mode that no start reaches nor a collapse that level K hides in its noise.

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
    begun = time.perf_counter()
    flag(progressbar, "progressbar")
    if store is not None:
        store = path_like(store, "store", "run.zarr")
    plan = _plan(prior, schedule, invert, draws, chains, next_level, path, random_seed, o, executor)
    if store is None:
        return _chain(plan, o, begun, progressbar)
    given = random_seed is not None
    with opened(store, _call(plan, o), seed=plan.seed, given=given, what="reverse", units="levels") as place:
        if place.finished is not None:
            return place.finished
        plan = replace(plan, seed=place.call["seed"], store=place.store, call=place.call)
        result = _chain(plan, o, begun, progressbar)
        save(result, place.store)
        concluded(place)
        return result


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
    plan = _plan(prior, schedule, invert, len(o), 1, next_level, False, random_seed, of, None)
    state, _ = _start(plan, of)
    while state.level > 0:
        state = _step(plan, state)
    return state.o, np.array([float(stats["lineages_p_value"]) for stats in state.level_stats.values()])


def check_chain(prior: CompiledPrior, schedule: Schedule, invert: Inverter, next_level: bool | None) -> None:
    """Raise what `ends` would raise for these, before anything is computed."""
    if prior.schedule is not None:
        prior = prior.at_level(0)
    of = prior.layout.split(np.zeros((1, prior.n)))
    _plan(prior, schedule, invert, 1, 1, next_level, False, 0, of, None)


def _chain(plan: _Plan, o: ArrayLike | Mapping[str, ArrayLike] | None, begun: float, progressbar: bool) -> xr.DataTree:
    """From level K, or where a kept run stopped, to the result."""
    state, text = _start(plan, o)
    with progress_bar("reverse", plan.trajectories * plan.schedule.levels, progressbar) as progress:
        if progress and state.level < plan.schedule.levels:
            progress(plan.trajectories * (plan.schedule.levels - state.level))
        while state.level > 0:
            state = _step(plan, state)
            plan.keep(state)
            if progress:
                progress(plan.trajectories)
    return _result(plan, state, begun, o is None, text)


# --------------------------------------------------------------------------------------------------------------- plan


class _Block(NamedTuple):
    """Rows of the trajectories, and what tells their seed from others': the lineage, and the block in it."""

    rows: slice
    place: tuple[int, ...]


@dataclass(frozen=True)
class _Plan:
    """A call of `reverse`, checked: all that does not change from level to level."""

    prior: CompiledPrior
    schedule: Schedule
    invert: Inverter
    draws: int
    chains: int
    next_level: bool
    path: bool
    seed: int
    given: Seed
    executor: Executor | None
    store: Path | None = None
    call: Mapping[str, Any] = field(default_factory=dict)

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

    @cached_property
    def work(self) -> Callable[..., Any]:
        """How a block is inverted: made once for all levels, since each worker compiles it."""
        return ready(_inverted, (self.invert, self.prior), self.executor)

    @property
    def blocks(self) -> list[_Block]:
        """The trajectories that are inverted together: those of a lineage, some thousands at a time."""
        blocks = []
        for lineage, rows in enumerate(self.lineages):
            start, stop, _ = rows.indices(self.trajectories)
            for i, part in enumerate(cut(stop - start, BLOCK)):
                place = (lineage, i) if i else (lineage,)
                blocks.append(_Block(slice(start + part.start, start + part.stop), place))
        return blocks

    def rng(self, level: int, *purpose: int) -> np.random.Generator:
        """The generator of one purpose at one level: none depends on what was computed before."""
        return np.random.default_rng([self.seed, level, *purpose])

    # What was finished, kept beside the store until the store itself is written.

    @property
    def _folder(self) -> Path:
        assert self.store is not None
        return levels_folder(self.store)

    def keep(self, state: _State) -> None:
        if self.store is None:
            return
        stats = {f"stats/{name}": values for name, values in state.stats.items()}
        arrays = {"o": state.o, "x": state.x, "evaluations": state.evaluations, **stats}
        keep(self._folder / f"{state.level:06d}.npz", self.call, arrays)

    def kept(self, first: _State) -> _State:
        """Go on from the levels that were kept, if any."""
        state = first
        if self.store is None:
            return state
        for level in range(self.schedule.levels - 1, -1, -1):
            arrays = kept(self._folder / f"{level:06d}.npz", "the run goes on from the level above")
            if arrays is None:
                break
            stats = {key.removeprefix("stats/"): arrays[key] for key in arrays if key.startswith("stats/")}
            state = state.below(arrays["o"], arrays["x"], stats, arrays["evaluations"], self.path)
        return state


@dataclass(frozen=True)
class _State:
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

    def below(
        self, o: np.ndarray, x: np.ndarray, stats: Mapping[str, np.ndarray], evaluations: np.ndarray, path: bool
    ) -> _State:
        """The state one level down."""
        level = self.level - 1
        history = {**self.history, level: o} if path or level == 0 else self.history
        return _State(level, o, x, stats, evaluations, history, {**self.level_stats, self.level: stats})


def _plan(
    prior: pm.Model | CompiledPrior,
    schedule: Schedule,
    invert: Inverter,
    draws: int,
    chains: int,
    next_level: bool | None,
    path: bool,
    random_seed: Seed,
    o: ArrayLike | Mapping[str, ArrayLike] | None,
    executor: Executor | None,
) -> _Plan:
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
    check_executor(executor)
    plan = _Plan(prior, schedule, invert, draws, chains, form, path, seed_of(random_seed), random_seed, executor)
    if o is not None:
        _given(plan, o)  # an o that cannot be used is said before a store is begun
    return plan


def check_inverter(invert: Inverter) -> None:
    """Raise where a function cannot be called as an inverter is: now, not after the first level was begun."""
    if not callable(invert):
        raise TypeError(f"invert is {invert!r}; write a function, as bd.draw or bd.mode")
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


def _call(plan: _Plan, o: ArrayLike | Mapping[str, ArrayLike] | None) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": fingerprint(plan.prior),
        "variables": dict(zip(plan.prior.layout.names, map(list, plan.prior.layout.shapes), strict=True)),
        "alpha": plan.schedule.alpha.tolist(),
        "sigma": plan.schedule.sigma.tolist(),
        "invert": name_of(plan.invert),
        "code of invert": code_of(plan.invert),
        "draws": plan.draws,
        "chains": plan.chains,
        "next_level": plan.next_level,
        "path": plan.path,
        "o": None if o is None else digest([plan.prior.layout.read(o)[0]]),
        "random_seed": None if plan.given is None else plan.seed,
    }


def name_of(invert: Any) -> str:
    """The name of an inverter and its bound options: the same in another process, whatever memory they lie in."""
    if isinstance(invert, partial):
        options = [_option(value) for value in invert.args]
        options += [f"{key}={_option(value)}" for key, value in sorted(invert.keywords.items())]
        return f"{name_of(invert.func)}({', '.join(options)})"
    return f"{getattr(invert, '__module__', '')}.{getattr(invert, '__qualname__', type(invert).__qualname__)}"


def code_of(invert: Any) -> str:
    """Tell functions of one name apart by their code, and the numbers and texts in it and in what they close over.

    Empty where there is no code to read, as of a class; what functions do that are called from there is not seen.
    """
    while isinstance(invert, partial):
        invert = invert.func
    code, held = getattr(invert, "__code__", None), [getattr(invert, "__defaults__", None) or ()]
    for cell in getattr(invert, "__closure__", None) or ():
        with suppress(ValueError):  # not filled yet
            held.append((cell.cell_contents,))
    plain = [repr(value) for values in held for value in values if isinstance(value, int | float | str | bool)]
    return "" if code is None else hashlib.sha256("".join([*_code(code), *plain]).encode()).hexdigest()[:16]


def _code(code: CodeType) -> list[str]:
    parts = [code.co_code.hex(), *code.co_names]
    for value in code.co_consts:
        if isinstance(value, CodeType):
            parts += _code(value)
        elif isinstance(value, int | float | str | bool):
            parts.append(repr(value))
    return parts


def _option(value: Any) -> str:
    if hasattr(value, "__array__") and np.ndim(value):  # repr leaves out the middle of a long one
        return f"array({digest([np.asarray(value)])})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_option(value[key])}" for key in value) + "}"
    return name_of(value) if callable(value) else re.sub(r" at 0x[0-9a-f]+", "", repr(value))


# -------------------------------------------------------------------------------------------------------------- start


def _start(plan: _Plan, o: ArrayLike | Mapping[str, ArrayLike] | None) -> tuple[_State, str]:
    """o_K of every trajectory, or where a kept run stopped; and what is to be said of o_K."""
    levels, text = plan.schedule.levels, ""
    if o is not None:
        first = _given(plan, o)
    else:
        mean, covariance, text = _last_law(plan)
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        first = mean + plan.rng(levels, 0).normal(size=(plan.trajectories, plan.prior.n)) @ root.T
    nothing = np.full(first.shape, np.nan)
    zero = np.zeros(plan.trajectories)
    return plan.kept(_State(levels, first, nothing, evaluations=zero, history={levels: first})), text


def _given(plan: _Plan, o: ArrayLike | Mapping[str, ArrayLike]) -> np.ndarray:
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


def _last_law(plan: _Plan) -> tuple[np.ndarray, np.ndarray, str]:
    """Mean and covariance of o_K, and a warning if it is not nearly normal.

    How far it is from the normal of these moments is read from the cumulants of x along the axes of its covariance.
    With r = alpha^2 v / (alpha^2 v + sigma^2) the share of the signal in the variance along an axis, those of o_K are
    r^(3/2) kappa_3 and r^2 kappa_4, and the negentropy is about kappa_3^2 / 12 + kappa_4^2 / 48 (Comon 1994, eq. 3.7).
    """
    prior, schedule = plan.prior, plan.schedule
    alpha, sigma = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    rng = plan.rng(schedule.levels, 1)
    x = plan.clean.draws(PILOT, rng)
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
        return *law, ""
    if sigma == 0:
        return *law, "The prior's last level is not nearly normal; its schedule should end with more noise."
    high = sigma
    while negentropy(high) > NEARLY_NORMAL:
        high *= 2
    enough = brentq(lambda noise: negentropy(noise) - NEARLY_NORMAL, high / 2, high, rtol=1e-3)
    return (
        *law,
        f"The last level is too narrow: with alpha {alpha:.3g} and sigma {sigma:.3g}, o_K is not nearly normal, and "
        "the law that it is drawn from is wrong. Let the schedule end with sigma / alpha >= "
        f"{enough / abs(alpha):.2g}, or pass o=.",
    )


def _pilot(prior: CompiledPrior, rng: np.random.Generator) -> np.ndarray:
    """Draws of a prior that is known by its density: the posterior of a step so wide that it says nothing."""

    def step(sigma: float) -> Any:
        return read_steps(prior, prior.initial_point()[None], 1.0, sigma)

    found = find_modes_of(prior, step(1e6), rng)
    sd = np.nanmax(found.sd) if np.isfinite(found.sd).any() else 1.0
    for _ in range(2):  # the curvature at a mode may say little of the whole
        drawn = sample_steps(prior, step(1e3 * float(sd)), rng, draws=1000, tune=1000, chains=8)
        x, before = drawn.x.reshape(-1, prior.n), sd
        sd = x.std(axis=0).max()
    if sd > 100 * before:  # as wide as the step, which is a thousand times wider each time
        raise ValueError(
            f"p0 has no finite spread, as far as its draws say (sd {sd:.1g}, and more the wider one looks), so the law "
            "of o_K is not known; pass o=, or write a proper prior"
        )
    return x


# -------------------------------------------------------------------------------------------------------------- steps


def _step(plan: _Plan, state: _State) -> _State:
    """One level down, for all trajectories."""
    k, schedule = state.level, plan.schedule
    if plan.next_level:
        target = plan.prior.at_level(k - 1)
        alpha, sigma = schedule.step(k)
    else:
        target = plan.clean
        alpha, sigma = float(schedule.alpha[k]), float(schedule.sigma[k])
    start = _starts(plan, state, alpha)
    x = np.full(state.o.shape, np.nan)
    evaluations = state.evaluations.copy()
    parts = []
    shapes = {name: np.shape(values) for name, values in state.stats.items()}
    try:
        # All lost: nothing to invert.
        blocks = [block for block in plan.blocks if np.isfinite(state.o[block.rows]).all(axis=1).any()]
        todo = [
            # A copy: an inverter that writes into its o must not change the chain's.
            _Part(
                None if target.schedule is None else target.level,
                alpha,
                sigma,
                state.o[block.rows].copy(),
                start[block.rows],
                int(plan.rng(k, 2, *block.place).integers(2**31)),
            )
            for block in blocks
        ]
        done = dict(each(plan.work, todo, executor=plan.executor))
        for i, block in enumerate(blocks):
            rows = block.rows
            x[rows], stats = checked(done.pop(i), state.o[rows], shapes)
            shapes |= {name: values.shape[1:] for name, values in stats.items()}
            evaluations[rows] += stats.get("evaluations", 0.0)
            parts.append(stats)
        lost = ~np.isfinite(x).all(axis=1)
        if lost.all():
            raise ValueError("x is not finite for any of the trajectories")
    except ExecutorError:
        raise
    except Exception as error:
        raise ChainError(
            f"the inverter {name_of(plan.invert)} failed at level {k} of {schedule.levels} (alpha {alpha:.6g}, sigma "
            f"{sigma:.6g}): {type(error).__name__}: {error}. The levels above are done: they are in the error's "
            f"`partial`" + (f", and the same call goes on from {plan.store}" if plan.store else ""),
            k,
            _partial(plan, state),
        ) from error
    x[lost] = np.nan
    below = x if plan.next_level else bridge(schedule, k, state.o, x, plan.rng(k, 3))
    summary = _summary(parts) | {
        "lost": np.array(int(lost.sum())),
        "lineages_p_value": np.array(_same_law(*[below[rows] for rows in plan.lineages])),
    }
    return state.below(below, x, summary, evaluations, plan.path)


class _Part(NamedTuple):
    """Trajectories of one block: the step, where they are, where their search starts, and a seed."""

    level: int | None
    alpha: float
    sigma: float
    o: np.ndarray
    start: np.ndarray
    seed: int


def _inverted(
    invert: Inverter, prior: CompiledPrior, part: _Part, *, progress: Callable[[int], None] | None = None
) -> Any:
    target = prior if part.level is None else prior.at_level(part.level)
    return invert(target, part.o, part.alpha, part.sigma, start=part.start, random_seed=part.seed)


def _starts(plan: _Plan, state: _State, alpha: float) -> np.ndarray:
    """Where the inner searches start: at the trajectory's own place, and in the second lineage at that of another."""
    own = state.o / alpha if plan.next_level else np.where(np.isfinite(state.x), state.x, state.o / alpha)
    start = own.copy()
    if len(plan.lineages) > 1:
        rows = plan.lineages[1]
        start[rows] = plan.rng(state.level, 4).permutation(own[rows])
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
    if min(len(first), len(second)) < ENOUGH:
        return np.nan
    # Of coordinates with as many numbers, the one whose distributions are farthest apart has the least p-value: in
    # hundreds of coordinates, a test of each would take as long as the inversions.
    both = np.concatenate([first, second])
    order = both.argsort(axis=0, kind="stable")
    apart = np.cumsum(np.where(order < len(first), 1 / len(first), -1 / len(second)), axis=0)
    ranked = np.take_along_axis(both, order, axis=0)
    tied = np.zeros(both.shape, bool)  # with the next: between equal numbers there is no distance
    tied[:-1] = ranked[1:] == ranked[:-1]
    worst = int(np.where(tied, 0.0, np.abs(apart)).max(axis=0).argmax())
    p_value = ks_2samp(first[:, worst], second[:, worst], method="asymp").pvalue
    return float(min(1.0, both.shape[1] * p_value))


# ------------------------------------------------------------------------------------------------------------- result


def _result(plan: _Plan, state: _State, begun: float, assumed: bool, text: str) -> xr.DataTree:
    prior, schedule = plan.prior, plan.schedule
    label = Labels(plan.clean, batched=False)
    x = state.o
    again = np.nan
    if assumed:
        noise = plan.rng(0, 5).normal(size=x.shape)
        last = state.history[schedule.levels]
        again = _same_law(schedule.alpha[-1] * x + schedule.sigma[-1] * noise, last)
    texts = [text, _lost_text(state), _lineage_text(state), _again_text(again)]
    said = warn_once(texts)
    groups = {
        **label.states(_by_chain(plan, x)[None]),
        "sample_stats": dataset({"evaluations": _by_chain(plan, state.evaluations)}, sample_dims=SAMPLE),
        **_level_groups(plan, state, label),
        "diagnostics": dataset({"diffused_again_p_value": again}),
        **label.prior(plan.rng(0, 6)),
    }
    how = {
        "draws": plan.draws,
        "chains": plan.chains,
        "form": "next level" if plan.next_level else "clean",
        "inverter": name_of(plan.invert),
        "seed": plan.seed,
        "last_level_too_narrow": int(bool(text)),
    }
    attrs = describe(prior, "reverse", plan.given, begun, said) | how
    return tree(groups, attrs | ({"call": dict(plan.call)} if plan.call else {}))


def _partial(plan: _Plan, state: _State) -> xr.DataTree:
    label = Labels(plan.clean, batched=False)
    history = {**state.history, state.level: state.o}
    kept = _State(state.level, state.o, state.x, history=history, level_stats=state.level_stats)
    return tree(_level_groups(plan, kept, label), {"inversion": "reverse", "finished": 0, "level": state.level})


def _level_groups(plan: _Plan, state: _State, label: Labels) -> dict[str, xr.Dataset]:
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


def _by_chain(plan: _Plan, values: np.ndarray) -> np.ndarray:
    return values.reshape(plan.chains, plan.draws, *values.shape[1:])


def _lost_text(state: _State) -> str:
    """Which trajectories were lost, and where first."""
    lost = {level: int(stats["lost"]) for level, stats in state.level_stats.items()}
    if not any(lost.values()):
        return ""
    first = max(level for level, count in lost.items() if count)
    return (
        f"{lost[min(lost)]} of {len(state.o)} trajectories were lost, the first at level {first}, where their x was "
        "not finite; they came back as NaN."
    )


def _lineage_text(state: _State) -> str:
    p_values = {level: float(stats["lineages_p_value"]) for level, stats in state.level_stats.items()}
    worst = min(p_values, key=lambda level: np.nan_to_num(p_values[level], nan=1.0))
    if not disagree(p_values[worst], len(p_values)):
        return ""
    return (
        f"Two halves of the trajectories, whose inner searches started at different places, disagree at level {worst} "
        f"(p = {p_values[worst]:.1g}): the inversions there are not done. Give the inverter more, as "
        "functools.partial(bd.draw, tune=1000)."
    )


def _again_text(p_value: float) -> str:
    if not disagree(p_value):
        return ""
    return (
        f"The final x, diffused again to the last level, is not distributed as the o_K that was assumed "
        f"(p = {p_value:.1g}): the chain is biased. Use bd.draw, more levels, or a wider last level."
    )
