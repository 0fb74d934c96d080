"""Calibration: whether a posterior is what it says it is.

    x ~ p0,   o ~ N(alpha x, sigma^2 I),   x_1 .. x_L ~ p(x | o)   =>   rank of x among x_1 .. x_L is uniform on 0..L

Whatever the prior, and of any number that is computed from x and o. So an inverter can be tested where no answer is
known: draw x, blur it, invert, and look at the ranks. A mode that is passed on as if it were a draw fails, and so does
a sampler that misses a part of the posterior or makes it too wide.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import binom

from bayesdiff.batches import progress_bar
from bayesdiff.blocks import check_executor, cut, each, ready
from bayesdiff.chain import check_inverter, ends, first_difference, name_of
from bayesdiff.checks import Seed, flag, path_like, positive_int, seed_of
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.inverters import Inverter, draw, mode
from bayesdiff.labels import Labels, describe, warn_once
from bayesdiff.results import dataset, save, tree
from bayesdiff.schedule import Schedule
from bayesdiff.step import read_noise
from bayesdiff.stores import Place, fingerprint, keep, kept, opened
from bayesdiff.trust import MOST_LOST

# Replicates that are computed together, and tried at most so often where a prior rejects some of its draws.
BLOCK = 128
TRIES = 50
# Numbers of x and o that are ranked beside the coordinates of x.
QUANTITIES = ("log_p0", "log_likelihood")
PROBABILITIES = (0.5, 0.8, 0.9, 0.95)
# Chance that a right inverter fails, all quantities together.
FAMILY = 0.01
# Samples of uniform numbers that ranks are compared with, and points at which.
NULL = 9999
POINTS = 128
# Fewer replicates see gross errors alone.
ENOUGH = 100


class _Task(NamedTuple):
    """What all replicates have in common. ``schedule`` is None for one step."""

    alpha: float
    sigma: float
    schedule: Schedule | None
    invert: Inverter
    next_level: bool | None
    draws: int


class _Ranked(NamedTuple):
    """Replicates, computed: the truth and its ranks.

    ``x``, ``o``, ``mode``, ``sd`` (replicates, n): sd is the Laplace approximation's; ``below`` and ``equal``
    (replicates, quantities): how many draws lie below the truth, and how many are equal to it; ``lost`` (replicates,).
    """

    x: np.ndarray
    o: np.ndarray
    mode: np.ndarray
    sd: np.ndarray
    below: np.ndarray
    equal: np.ndarray
    lost: np.ndarray


def calibrate(
    prior: pm.Model | CompiledPrior,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    invert: Inverter = draw,
    replicates: int = 512,
    draws: int = 63,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Compute where true x rank among the draws that an inverter makes of their blurred versions.

    x ~ p0, o ~ N(alpha x, sigma^2 I), x_1 .. x_L ~ invert(o): for draws from p(x | o), rank(x) is uniform on 0..L

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0. It must be possible to draw it: no observed data, no Potential. Of a level prior p0 itself is taken.
    alpha, sigma : float
        Signal (not 0) and noise (> 0) of the step.
    invert : inverter
        What is tested: `draw`, `mode`, `laplace`, or any function of their form. It is given each o `draws` times.
    replicates : int
        How many x are drawn.
    draws : int
        L, the draws of each posterior. They are independent of one another as far as the inverter makes them so, and
        need no thinning.
    random_seed : int, Generator or None
        The source of randomness: same machine, same numbers, whatever the number of cores.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved. Blocks of 128 replicates are kept as they finish, and the same call goes on from
        them, with the same numbers.
    executor : concurrent.futures.Executor, optional
        Who computes the blocks; see `find_map`.

    Returns
    -------
    xarray.DataTree
        ``prior_sbc`` (chain=1, draw=replicate): fractional ranks of every unconstrained coordinate, of ``log_p0`` and
        of ``log_likelihood``, ties broken at random; ArviZ's ``plot_ecdf_pit`` draws it, and `plot_calibration` with
        this result's own bands. ``ranks`` (replicate): 0..L. ``uniformity``: each quantity's p-value. ``coverage``
        (probability): the share of truths in central intervals, and ``mcse`` its Monte Carlo error, in a group each.
        ``laplace``: ``offset`` (replicate) of the truth from the mode, in Laplace sd, and the ``coverage`` and ``mcse``
        of intervals mode +- z sd. ``truth`` (replicate): the unconstrained x, and ``observed_data`` their o.
        Attributes: ``p_value``, of all quantities together (Bonferroni), ``passed`` (p_value >= 0.01), ``lost``.

    Raises
    ------
    TypeError, ValueError
        If p0 cannot be drawn, an argument cannot be used, or no replicate has finite draws.

    Warns
    -----
    UserWarning
        If ranks are not uniform, replicates were lost, or are so few that only gross errors are seen.

    Notes
    -----
    Uniform ranks are necessary, not sufficient: a posterior that is p0 itself, whatever o, has them in x. The rank of
    the likelihood, which depends on o as well, tells it apart (Modrák et al. 2023). The test compares the ranks'
    distribution function with binomial quantiles at 128 points, and its least p-value with that of uniform numbers.

    References
    ----------
    Cook, Gelman, Rubin (2006) and Talts et al. (2018), simulation-based calibration; Säilynoja, Bürkner, Vehtari
    (2022), Graphical test for discrete uniformity, section 2, for the bands; Modrák et al. (2023), Simulation-based
    calibration checking for Bayesian computation, for the quantities.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x", 0, 1)
    >>> right = bd.calibrate(prior, sigma=10, replicates=128, draws=15, random_seed=1, progressbar=False)
    >>> right.attrs["passed"]
    1
    """
    sigmas = read_noise(alpha, sigma, None)
    task = _Task(float(np.ravel(sigmas[0])[0]), float(np.ravel(sigmas[1])[0]), None, invert, None, _counts(draws))
    return _calibrate(prior, task, replicates, random_seed, progressbar, store, executor)


def calibrate_chain(
    prior: pm.Model | CompiledPrior,
    schedule: Schedule,
    *,
    invert: Inverter = draw,
    next_level: bool | None = None,
    replicates: int = 256,
    draws: int = 31,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Compute where true x rank among the ends of chains that start from their own noise at level K.

    x ~ p0, o_K ~ N(alpha_K x, sigma_K^2 I), x_1 .. x_L = reverse(o_K): with draws at every level, rank(x) is uniform

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0, or a level prior. It must be possible to draw p0.
    schedule : Schedule
        The noise levels; of a level prior its own.
    invert : inverter
        How each step is inverted; see `reverse`.
    next_level : bool, optional
        Which form; see `reverse`.
    replicates : int
        How many x are drawn.
    draws : int
        L, the trajectories from each o_K.
    random_seed, progressbar, store, executor
        As in `calibrate`.

    Returns
    -------
    xarray.DataTree
        As `calibrate` gives it; alpha and sigma are those of level K.

    Raises
    ------
    TypeError, ValueError
        If p0 cannot be drawn, or an argument cannot be used.
    ChainError
        If the inverter fails at a level.

    Warns
    -----
    UserWarning
        As `calibrate` does.

    References
    ----------
    As for `calibrate`; for the chain Ho, Jain, Abbeel (2020).

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> schedule = bd.geometric(3, 0.5, 10.0)
    >>> prior = bd.gaussian_mixture([0.5, 0.5], [-2.0, 2.0], [0.25, 0.25], schedule=schedule)
    >>> run = bd.calibrate_chain(prior, schedule, replicates=100, draws=7, random_seed=1, progressbar=False)
    >>> run.attrs["passed"], run.attrs["form"]
    (1, 'next level')
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule is {type(schedule).__name__}; write one, as bd.geometric(16, 0.1, 10.0)")
    if not (next_level is None or isinstance(next_level, bool | np.bool_)):
        raise TypeError(f"next_level is {next_level!r}; write True, False or None")
    last = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    task = _Task(*last, schedule, invert, next_level, _counts(draws))
    return _calibrate(prior, task, replicates, random_seed, progressbar, store, executor)


def _counts(draws: int) -> int:
    return positive_int(draws, "draws")


def _calibrate(
    prior: pm.Model | CompiledPrior,
    task: _Task,
    replicates: int,
    random_seed: Seed,
    progressbar: bool,
    store: str | os.PathLike[str] | None,
    executor: Executor | None,
) -> xr.DataTree:
    begun = time.perf_counter()
    positive_int(replicates, "replicates")
    flag(progressbar, "progressbar")
    if store is not None:
        path_like(store, "store", "run.zarr")
    check_inverter(task.invert)
    check_executor(executor)
    seed = seed_of(random_seed)
    prior = compile_prior(prior)
    _check_prior(prior, task)
    call = {
        "prior": fingerprint(prior),
        "alpha": task.alpha if task.schedule is None else task.schedule.alpha.tolist(),
        "sigma": task.sigma if task.schedule is None else task.schedule.sigma.tolist(),
        "chain": task.schedule is not None,
        "next_level": task.next_level,
        "invert": name_of(task.invert),
        "replicates": replicates,
        "draws": task.draws,
        "random_seed": None if random_seed is None else seed,
    }
    with progress_bar("calibrate", replicates, progressbar) as progress:
        if store is None:
            ranked = _replicates(prior, task, replicates, seed, executor, progress, None)
            return _result(prior, task, ranked, seed, random_seed, begun, {})
        what = "calibrate" if task.schedule is None else "calibrate_chain"
        with opened(store, call, seed=seed, given=random_seed is not None, what=what, units="blocks") as place:
            if place.finished is not None:
                return place.finished
            seed = place.call["seed"]
            ranked = _replicates(prior, task, replicates, seed, executor, progress, place)
            result = _result(prior, task, ranked, seed, random_seed, begun, {"call": dict(place.call)})
            save(result, place.store)
            shutil.rmtree(place.folder, ignore_errors=True)
            return result


def _check_prior(prior: CompiledPrior, task: _Task) -> None:
    clean = _clean(prior)
    why = clean.why_not_drawable()
    if not why and clean.draws(1, 0) is None:
        why = "a distribution of it has no random draws"
    if why:
        raise ValueError(
            f"p0 cannot be drawn, since {why}, and calibration begins with draws of p0; calibrate the prior without it"
        )
    taken = [name for name in QUANTITIES if name in prior.layout.names]
    if taken:
        raise ValueError(f"the prior has a variable {taken[0]!r}, which the result needs; give it another name")
    if task.schedule is not None and prior.schedule is not None and prior.schedule != task.schedule:
        raise ValueError(
            f"the prior was made for another schedule: {first_difference(prior.schedule, task.schedule)}; pass the "
            "prior's own, bd.compile_prior(prior).schedule, or make the prior for this one"
        )
    if task.next_level and prior.schedule is None:
        raise ValueError(
            "next_level=True needs a prior whose density depends on the level, and this one's does not; make it so, as "
            "gaussian_mixture(..., schedule=schedule), or write next_level=False"
        )


def _clean(prior: CompiledPrior) -> CompiledPrior:
    return prior if prior.schedule is None else prior.at_level(0)


# ---------------------------------------------------------------------------------------------------------- replicates


def _replicates(
    prior: CompiledPrior,
    task: _Task,
    replicates: int,
    seed: int,
    executor: Executor | None,
    progress: Callable[[int], None] | None,
    place: Place | None,
) -> _Ranked:
    """All replicates, block by block; what a store has is read from there."""
    parts = [(i, row.stop - row.start) for i, row in enumerate(cut(replicates, BLOCK))]
    done: dict[int, _Ranked] = {}
    for i, count in parts:
        arrays = None if place is None else kept(place.folder / f"{i:06d}.npz", "the block is computed again")
        if arrays is not None:
            done[i] = _Ranked(**arrays)
            if progress:
                progress(count)
    for i, ranked in each(
        ready(_block, (prior, task, seed), executor),
        parts,
        done=done,
        executor=executor,
        progress=progress,
        rows=lambda part: part[1],
    ):
        done[i] = ranked
        if place is not None:
            keep(place.folder / f"{i:06d}.npz", place.call, ranked._asdict())
    return _Ranked(*(np.concatenate(values) for values in zip(*(done[i] for i, _ in parts), strict=True)))


def _block(
    prior: CompiledPrior,
    task: _Task,
    seed: int,
    part: tuple[int, int],
    *,
    progress: Callable[[int], None] | None = None,
) -> _Ranked:
    """The replicates of one block: nothing but the call and the block's number decides what comes out."""
    number, count = part
    rng = np.random.default_rng([seed, number])
    clean = _clean(prior)
    x = _drawn(clean, count, rng)
    o = task.alpha * x + task.sigma * rng.normal(size=x.shape)
    top, stats = mode(clean, o, task.alpha, task.sigma, random_seed=int(rng.integers(2**31)))
    # All o once, then all again: both lineages of a chain meet the same.
    again = np.tile(o, (task.draws, 1))
    inner = int(rng.integers(2**31))
    if task.schedule is None:
        states, _ = task.invert(clean, again, task.alpha, task.sigma, random_seed=inner)
    else:
        states = ends(prior, task.schedule, task.invert, again, next_level=task.next_level, random_seed=inner)
    states = np.swapaxes(np.asarray(states).reshape(task.draws, count, clean.n), 0, 1)
    lost = ~np.isfinite(states).all(axis=(1, 2))
    states = np.where(lost[:, None, None], x[:, None], states)
    found = _quantities(clean, task, states, o)
    truth = _quantities(clean, task, x[:, None], o)
    if progress:
        progress(count)
    below, equal = (found < truth).sum(axis=1), (found == truth).sum(axis=1)
    return _Ranked(x, o, top, stats["sd"], below, equal, lost)


def _drawn(prior: CompiledPrior, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of p0: again where a prior rejects some."""
    parts: list[np.ndarray] = []
    for _ in range(TRIES):
        more = prior.draws(count, rng)
        parts += [] if more is None else [more]
        if sum(map(len, parts)) >= count:
            return np.concatenate(parts)[:count]
    raise ValueError(
        f"p0 gave {sum(map(len, parts))} draws inside its support when asked {TRIES} times for {count}; write it so "
        "that its draws lie there"
    )


def _quantities(prior: CompiledPrior, task: _Task, x: np.ndarray, o: np.ndarray) -> np.ndarray:
    """What is ranked of x (replicates, draws, n): (replicates, draws, n + 2)."""
    log_p0 = prior.logp(x.reshape(-1, prior.n)).reshape(x.shape[:2])
    log_likelihood = -0.5 * (((o[:, None] - task.alpha * x) / task.sigma) ** 2).sum(axis=-1)
    return np.concatenate([x, log_p0[..., None], log_likelihood[..., None]], axis=-1)


# -------------------------------------------------------------------------------------------------------------- result


def _result(
    prior: CompiledPrior,
    task: _Task,
    ranked: _Ranked,
    seed: int,
    random_seed: Seed,
    begun: float,
    more: Mapping[str, Any],
) -> xr.DataTree:
    clean = _clean(prior)
    label = Labels(clean, batched=True)
    good = ~ranked.lost
    if not good.any():
        raise ValueError(
            f"all {len(good)} replicates were lost: {name_of(task.invert)} returned no finite draw; try it on one o"
        )
    rng = np.random.default_rng([seed, 2**31])
    # A truth that is equal to some draws is anywhere among them.
    ties = ranked.equal[good] + 1
    u = (ranked.below[good] + ties * rng.random(ties.shape)) / (task.draws + 1)
    ranks = np.minimum(np.floor(u * (task.draws + 1)).astype(int), task.draws)
    null = _null(len(u), rng)
    p_values = _p_values(u, null)
    family = float(min(1.0, len(p_values) * p_values.min()))
    lower, upper = _band(len(u), FAMILY / len(p_values), null)

    def by_name(values: np.ndarray, leading: tuple[str, ...], quantities: bool, coords: Any = None) -> xr.Dataset:
        """Numbers (..., n), or (..., n + 2), by variable."""
        named = dict(clean.layout.split(values[..., : clean.n]))
        dims = {name: [*leading, *label.unconstrained_dims[name]] for name in named}
        if quantities:
            named |= {name: values[..., clean.n + i] for i, name in enumerate(QUANTITIES)}
            dims |= {name: list(leading) for name in QUANTITIES}
        return dataset(named, dims=dims, coords={**label.coords, **(coords or {})})

    replicate = ("replicate",)
    at = {"probability": list(PROBABILITIES)}
    levels = np.array(PROBABILITIES)
    inside = np.stack([(np.abs(2 * u - 1) <= level).mean(axis=0) for level in levels])
    offset = (ranked.x - ranked.mode) / ranked.sd
    known = np.where(np.isfinite(offset), offset, np.inf)[good]
    laplace = np.stack([(2 * ndtr(np.abs(known)) - 1 <= level).mean(axis=0) for level in levels])

    def error(share: np.ndarray) -> np.ndarray:
        """Of a share of so many replicates; not 0 where all or none are inside (Agresti and Coull 1998)."""
        count = max(1, int(good.sum()))
        smoothed = (share * count + 2) / (count + 4)
        return np.sqrt(smoothed * (1 - smoothed) / (count + 4))

    sbc = by_name(u, replicate, True).rename(replicate="draw").expand_dims("chain")
    groups: dict[str, xr.Dataset | xr.DataTree] = {
        "prior_sbc": sbc.assign_attrs(sample_dims=["chain", "draw"]),
        "ranks": by_name(ranks, replicate, True),
        "uniformity": by_name(p_values, (), True),
        "band": dataset(
            {"lower": lower, "upper": upper}, dims={"lower": ["z"], "upper": ["z"]}, coords={"z": _points()}
        ),
        "coverage/share": by_name(inside, ("probability",), True, at),
        "coverage/mcse": by_name(error(inside), ("probability",), True, at),
        "laplace/offset": by_name(offset, replicate, False),
        "laplace/share": by_name(laplace, ("probability",), False, at),
        "laplace/mcse": by_name(error(laplace), ("probability",), False, at),
        "truth": by_name(ranked.x, replicate, False),
        "observed_data": by_name(ranked.o, replicate, False),
        "constant_data": dataset({"alpha": task.alpha, "sigma": task.sigma}),
    }
    how = {"draws": task.draws, "replicates": len(good), "inverter": name_of(task.invert), "seed": seed}
    if task.schedule is not None:
        next_level = prior.schedule is not None if task.next_level is None else task.next_level
        how |= {"form": "next level" if next_level else "clean", "levels": task.schedule.levels}
    said = warn_once(_texts(good, p_values, family, [*clean.layout.labels, *QUANTITIES]))
    about = describe(prior, "calibrate", random_seed, begun, said)
    judged = {"p_value": family, "passed": int(family >= FAMILY), "lost": int((~good).sum())}
    return tree(groups, {**about, **how, **judged, **more})


def _texts(good: np.ndarray, p_values: np.ndarray, family: float, names: list[str]) -> list[str]:
    texts = []
    lost = int((~good).sum())
    if lost > MOST_LOST * len(good):
        texts.append(
            f"{lost} of {len(good)} replicates were lost: their draws are not finite. The ranks of the others say "
            "nothing of them."
        )
    if good.sum() < ENOUGH:
        texts.append(f"{int(good.sum())} replicates show gross errors alone; ask for {ENOUGH} or more.")
    if family < FAMILY:
        worst = int(np.nanargmin(p_values))
        texts.append(
            f"The ranks are not uniform (p = {family:.1g}, all quantities together; the worst is {names[worst]}): what "
            "the inverter makes is not p(x | o). See plot_calibration."
        )
    return texts


def uniform_p_values(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compute each column's p-value of being uniform on 0..1.

    gamma = 2 min over z of min(P(B <= R_z), P(B >= R_z)), B ~ Binomial(N, z), R_z = #{u <= z}

    Parameters
    ----------
    u : ndarray (N, columns)
        Fractional ranks.
    rng : Generator
        Draws the samples of uniform numbers whose gamma is compared.

    Returns
    -------
    ndarray (columns,)

    References
    ----------
    Säilynoja, Bürkner, Vehtari (2022), equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.calibration import uniform_p_values
    >>> rng = np.random.default_rng(1)
    >>> u = rng.random((500, 2)) ** [1.0, 1.5]
    >>> p = uniform_p_values(u, rng)
    >>> bool(p[0] > 0.01), bool(p[1] < 0.01)
    (True, True)
    """
    return _p_values(u, _null(len(u), rng))


def _p_values(u: np.ndarray, null: np.ndarray) -> np.ndarray:
    z, table = _points(), _tails(len(u))
    counts = (u[:, :, None] <= z).sum(axis=0)
    found = table[np.arange(len(z)), counts].min(axis=1)
    simulated = (1 + (null[None] <= found[:, None]).sum(axis=1)) / (NULL + 1)
    # Where simulation sees no more, a bound: as many tests as points.
    return np.where(simulated > 5 / NULL, simulated, np.minimum(simulated, len(z) * found))


def _null(number: int, rng: np.random.Generator) -> np.ndarray:
    """Compute gamma of samples of so many uniform numbers (NULL,), from their counts in equal cells."""
    counts = rng.multinomial(number, np.full(POINTS, 1 / POINTS), size=NULL).cumsum(axis=1)[:, :-1]
    return _tails(number)[np.arange(POINTS - 1), counts].min(axis=1)


def _band(number: int, share: float, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the distribution function of uniform numbers stays, but for a `share` of all samples: below and above."""
    gamma = np.quantile(null, share)
    z = _points()
    return binom.ppf(gamma / 2, number, z) / number, binom.ppf(1 - gamma / 2, number, z) / number


def _points() -> np.ndarray:
    return np.arange(1, POINTS) / POINTS


def _tails(number: int) -> np.ndarray:
    """2 min(P(B <= r), P(B >= r)) for each point and each r = 0..number."""
    r, z = np.arange(number + 1), _points()[:, None]
    return np.minimum(1.0, 2 * np.minimum(binom.cdf(r, number, z), binom.sf(r - 1, number, z)))
