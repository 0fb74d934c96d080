"""The two inversions of a step, for people: labelled, checked, summed up.

    find_map            x = argmax p(x | o)
    sample_posterior    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

Both take one observation or a batch, and return the same tree of ArviZ groups, so that `compare` can lay them side by
side.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.batches import progress_bar
from bayesdiff.blocks import check_executor, cut, each, ready
from bayesdiff.checks import Seed, flag, path_like, positive_int, seed_of
from bayesdiff.compiled import CompiledPrior, compile_prior, compiled
from bayesdiff.inverters import (
    Drawn,
    Found,
    Length,
    Shared,
    Steps,
    climb_block,
    draw_block,
    find_modes_from,
    points_to_climb_from,
    points_to_sample_from,
    read_bank,
    read_steps,
    sample_from,
)
from bayesdiff.labels import Labels, describe, warn_once
from bayesdiff.results import begin, damaged, dataset, fill, finish, holes, load, save, tree
from bayesdiff.step import read_noise
from bayesdiff.stores import Place, concluded, digest, fingerprint, keep, kept, opened
from bayesdiff.trust import MOST_LEFT_OUT, too_few, trusted, worst_of

OBSERVATION = "observation"


def find_map(
    prior: pm.Model | CompiledPrior,
    o: ArrayLike | Mapping[str, ArrayLike],
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    jacobian: bool = True,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Compute the mode of p(x | o), for one observation or many.

    x = argmax N(o; alpha x, sigma^2 I) p0(x)

    Several climbs start for each observation: at o / alpha, around it at the scale of the step, and at likely draws of
    p0 (or around the initial point, where p0 cannot be drawn). In up to 16 dimensions the modes of p0 itself are
    searched first, until a set of climbs finds no other, and the likeliest of them are starts too. The best is the
    answer, all are reported. That it is the global mode cannot be guaranteed: ``starts_agreed`` says how many climbs
    ended there. Of a prior that is known by its density alone, modes far off with small basins may be missed, and
    nothing tells.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0: any model with continuous free variables.
    o : array_like or mapping
        The noisier x. For one free variable an array of its unconstrained shape, for several a mapping from their
        names. One leading axis more makes a batch, which becomes the dimension ``observation``.
    alpha, sigma : float or array_like (observation,)
        Signal (not 0) and noise (> 0) of the step, in units of the unconstrained x.
    jacobian : bool
        Whether the density that is maximised is that of the unconstrained coordinates, on which the noise acts. With
        ``False`` it is that of the constrained variables, as in ``pm.find_MAP``: for s ~ Exponential(1) without an
        observation the mode is then s = 0; with the Jacobian it is that of log s, s = 1.
    random_seed : int, Generator or None
        For the starts.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved (``.zarr`` or ``.nc``). Many observations are computed in blocks, each kept as soon as
        it is finished, and the same call again goes on from there, with the same numbers as a call that was not
        stopped. Of a ``.zarr`` memory holds a block at a time, and the arrays of a result of half a GB or more are read
        when they are used.
    executor : concurrent.futures.Executor, optional
        Who computes the blocks: a pool's processes (not forked ones), or a Dask client's, ``client.get_executor()``.
        The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain=1, draw=1): the mode, constrained, and Deterministics there. ``unconstrained_posterior``:
        the same in unconstrained coordinates. ``sample_stats``: ``lp`` = log p0(x) + log N(o; alpha x, sigma^2 I) with
        the Jacobian, ``converged`` (at a maximum: smooth, or up to 64 numbers a kink, as that of a Laplace density,
        which no small move improves), ``starts_agreed``, ``starts``, ``evaluations``. ``modes``: every mode found, best
        first (dimension ``mode``). ``laplace``: the Laplace sd in unconstrained coordinates (NaN where the Hessian is
        not that of a maximum, and at a kink, which has none). ``observed_data``, ``constant_data``, and ``prior`` and
        ``unconstrained_prior`` where p0 can be drawn.

    Raises
    ------
    TypeError, ValueError
        If `prior` cannot be a prior, `o` does not fit it, `sigma` is not > 0, `alpha` is 0, no observation is finite,
        or p0 is not finite at any start; if `store` is of another call, or `executor` is none.

    Warns
    -----
    UserWarning
        Once, if observations are not finite (their rows are NaN), climbs did not converge, or ended on an edge beside
        which p(x | o) is 0; if p0 has more modes than could be searched and one climb alone reached a MAP.

    References
    ----------
    Dauphin et al. (2014), Identifying and attacking the saddle point problem, section 4, for the climbs.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x", 0, 1)
    >>> tree = bd.find_map(prior, o=[5.05, -10.1], sigma=10, random_seed=1)
    >>> tree["posterior"]["x"].values.round(6).tolist()  # o / 101
    [[[0.05, -0.1]]]
    """
    begun = time.perf_counter()
    flag(jacobian, "jacobian")
    flag(progressbar, "progressbar")
    if store is not None:
        store = path_like(store, "store", "run.zarr")
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    check_executor(executor)
    maximised = prior if jacobian else compiled(prior.model, jacobian=False)
    label = Labels(prior, batched)

    def plan(seed: int) -> _Plan:
        rng = np.random.default_rng(seed)
        shared, key = points_to_climb_from(maximised, len(steps.o), rng)
        rows = cut(len(steps.o), climb_block(prior))
        return _Plan(
            work=find_modes_from,
            about=(maximised, shared, key, False),
            parts=[steps.part(row) for row in rows],
            rows=rows,
            groups=partial(_map_groups, label, bool(jacobian)),
            notes=_map_notes,
            common=label.prior(rng),
            texts=lambda notes: [
                _bad_text(notes["good"]),
                _dead_text(notes),
                _climb_text(notes),
                _edge_text(notes),
                _missed_text(notes, shared),
            ],
        )

    seed, about = seed_of(random_seed), {"jacobian": int(jacobian)}
    call = _call(prior, steps, batched, None if random_seed is None else seed) | about
    return _invert(plan, prior, "map", call, about, random_seed, seed, begun, progressbar, store, executor)


def sample_posterior(
    prior: pm.Model | CompiledPrior,
    o: ArrayLike | Mapping[str, ArrayLike],
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    bank: ArrayLike | Mapping[str, ArrayLike] | None = None,
    random_seed: Seed = None,
    progressbar: bool = True,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Draw from p(x | o), for one observation or many.

    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

    Chains start in every mode that a MAP search reached, and dispersed around them. Each sweep jumps to fresh draws of
    p0 (where p0 can be drawn) and between Gaussians at the modes; where jumps are rare, an elliptical slice with the
    Gaussian likelihood in the role of the prior (up to three dimensions) and Hamiltonian Monte Carlo move locally. All
    observations run in one batch.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        p0: any model with continuous free variables.
    o : array_like or mapping
        The noisier x. For one free variable an array of its unconstrained shape, for several a mapping from their
        names. One leading axis more makes a batch, which becomes the dimension ``observation``.
    alpha, sigma : float or array_like (observation,)
        Signal (not 0) and noise (> 0) of the step, in units of the unconstrained x.
    draws, tune, chains : int
        Draws kept of each chain, sweeps before them, chains of each observation.
    bank : array_like (draws, n) or mapping, optional
        Draws of p0 to jump to where p0 cannot be drawn, as `draw` takes them: those of `sample`.
    random_seed : int, Generator or None
        The source of randomness: same machine, same numbers, whatever the number of cores.
    progressbar : bool
        Whether to show one, if it takes more than half a second.
    store : path, optional
        Where the result is saved (``.zarr`` or ``.nc``). Many observations are computed in blocks, each kept as soon as
        it is finished, and the same call again goes on from there, with the same numbers as a call that was not
        stopped. Of a ``.zarr`` memory holds a block at a time, and the arrays of a result of half a GB or more are read
        when they are used.
    executor : concurrent.futures.Executor, optional
        Who computes the blocks: a pool's processes (not forked ones), or a Dask client's, ``client.get_executor()``.
        The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw): constrained variables and Deterministics. ``unconstrained_posterior``.
        ``sample_stats``: ``lp``, ``acceptance_rate`` of the last HMC move, ``diverging``, and for each chain
        ``step_size``, ``n_steps``, ``jump_rate`` (share of sweeps with a jump), ``evaluations`` of log p0.
        ``diagnostics``: split R-hat and effective draws, each the worse of x and (x - mean)^2, in unconstrained
        coordinates (dimension ``diagnostic``). ``observed_data``, ``constant_data``, and ``prior`` and
        ``unconstrained_prior`` where p0 can be drawn.

    Raises
    ------
    TypeError, ValueError
        As `find_map` does; if `draws`, `tune` or `chains` is below 1; if `bank` holds no draws of the prior's shape.

    Warns
    -----
    UserWarning
        Once for all observations, if some are not finite or their draws are not to be trusted: how many, the worst,
        what to do. Trusted are an R-hat of at most 1.05 and 100 effective draws. Fewer draws in all are not judged.
        Likewise if more than 1% of the mass, by Laplace's approximation, lies in modes that no chain was given.

    Notes
    -----
    Modes of p0 are searched in up to 16 dimensions, until as many climbs as found them all find no other; in more,
    climbs start only near o / alpha and at draws of p0. A mode that no climb reached is not seen by any diagnostic.
    R-hat is that of split chains (Gelman et al. 2013), not rank-normalised; ``arviz.summary`` gives the rank-normalised
    one.

    References
    ----------
    Murray, Adams, MacKay (2010), Elliptical slice sampling; Neal (2011), MCMC using Hamiltonian dynamics, section 5.3;
    Gelman et al. (2013), Bayesian Data Analysis, equation 11.4.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x", 0, 1)
    >>> tree = bd.sample_posterior(prior, o=101.0, sigma=10, random_seed=1)
    >>> draws = tree["posterior"]["x"]  # N(o / 101, 100 / 101)
    >>> dict(draws.sizes), bool(abs(draws.mean() - 1) < 0.1), bool(abs(draws.std() - 1) < 0.1)
    ({'chain': 4, 'draw': 1000}, True, True)
    """
    begun = time.perf_counter()
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        positive_int(value, name)
    flag(progressbar, "progressbar")
    if store is not None:
        store = path_like(store, "store", "run.zarr")
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    given_bank = read_bank(prior, bank)
    check_executor(executor)
    length, label, batch = Length(int(draws), int(tune), int(chains)), Labels(prior, batched), len(steps.o)

    def plan(seed: int) -> _Plan:
        rng = np.random.default_rng(seed)
        shared, key = points_to_sample_from(prior, steps, rng, length, given_bank)
        # All at once where nothing asks for blocks: the numbers are the same, and more cores find work.
        whole = store is None and executor is None
        rows = cut(batch, batch if whole else draw_block(prior, length, batch))
        return _Plan(
            work=sample_from,
            about=(prior, shared, key, length, batch),
            parts=[(row.start, steps.part(row)) for row in rows],
            rows=rows,
            groups=partial(_posterior_groups, label),
            notes=_posterior_notes,
            common=label.prior(rng),
            texts=lambda notes: [_bad_text(notes["good"]), _dead_text(notes), _doubt_text(notes), _left_text(notes)],
        )

    seed, about = seed_of(random_seed), length._asdict()
    call = _call(prior, steps, batched, None if random_seed is None else seed) | about
    call["bank"] = None if given_bank is None else digest([given_bank])
    return _invert(plan, prior, "posterior", call, about, random_seed, seed, begun, progressbar, store, executor)


# --------------------------------------------------------------------------------------------------------- all blocks

Groups = dict[str, xr.Dataset]
Notes = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Plan:
    """An inversion of many observations, cut into blocks.

    ``work(*about, parts[i])`` computes the observations ``rows[i]``. ``groups`` labels what it gave, ``notes`` sums up
    each observation in a few numbers, of which ``texts`` makes the warnings. ``common``: the groups that all share.
    """

    work: Callable[..., Any]
    about: tuple[Any, ...]
    parts: list[Any]
    rows: list[slice]
    groups: Callable[[Steps, Any, bool], Groups]
    notes: Callable[[Steps, Any], Notes]
    common: Groups
    texts: Callable[[Notes], list[str]]

    def steps(self, block: int) -> Steps:
        """The observations of a block."""
        part = self.parts[block]
        return part if isinstance(part, Steps) else part[1]


def _call(prior: CompiledPrior, steps: Steps, batched: bool, seed: int | None) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": fingerprint(prior),
        "observations": len(steps.o),
        "o": digest([steps.o, steps.good]),
        "alpha": digest([steps.alpha]),
        "sigma": digest([steps.sigma]),
        "batched": batched,
        "random_seed": seed,
    }


def _invert(
    plan: Callable[[int], _Plan],
    prior: CompiledPrior,
    inversion: str,
    call: Mapping[str, Any],
    about: Mapping[str, Any],
    random_seed: Seed,
    seed: int,
    begun: float,
    progressbar: bool,
    store: str | os.PathLike[str] | None,
    executor: Executor | None,
) -> xr.DataTree:
    """Work on all blocks, and put them together: in memory, or in a store."""
    with progress_bar("MAP" if inversion == "map" else inversion, call["observations"], progressbar) as progress:
        if store is None:
            planned = plan(seed)
            groups, notes = _together(planned, executor, progress)
            text = warn_once(planned.texts(notes))
            return tree(groups, describe(prior, inversion, random_seed, begun, text) | {"seed": seed, **about})
        what = "find_map" if inversion == "map" else "sample_posterior"
        with opened(store, call, seed=seed, given=random_seed is not None, what=what, units="blocks") as place:
            if place.finished is not None:
                return place.finished
            seed = place.call["seed"]
            planned = plan(seed)

            def attrs(text: str) -> dict[str, Any]:
                how = describe(prior, inversion, random_seed, begun, text)
                return how | {"seed": seed, **about, "call": dict(place.call)}

            if len(planned.rows) > 1:
                _stream(planned, place, executor, progress, attrs)
            else:
                groups, notes = _together(planned, executor, progress)
                save(tree(groups, attrs(warn_once(planned.texts(notes)))), place.store)
            return concluded(place)


def _together(plan: _Plan, executor: Executor | None, progress: Callable[[int], None] | None) -> tuple[Groups, Notes]:
    """All blocks in memory: the groups of the whole, and the notes."""
    done = dict(
        each(ready(plan.work, plan.about, executor), plan.parts, executor=executor, progress=progress, rows=_rows)
    )
    results = [done.pop(i) for i in range(len(plan.parts))]
    whole = results[0] if len(results) == 1 else type(results[0])(*map(np.concatenate, zip(*results, strict=True)))
    parts = [plan.steps(i) for i in range(len(plan.parts))]
    steps = parts[0] if len(parts) == 1 else Steps(*map(np.concatenate, zip(*map(_fields, parts), strict=True)))
    return plan.groups(steps, whole, False) | plan.common, plan.notes(steps, whole)


def _stream(
    plan: _Plan,
    place: Place,
    executor: Executor | None,
    progress: Callable[[int], None] | None,
    attrs: Callable[[str], dict[str, Any]],
) -> None:
    """Write each block as it is finished, beside the store, and then the notes that say so; at the end, rename."""
    growing, total = place.folder / "run.zarr", plan.rows[-1].stop
    notes: dict[int, Notes] = {}
    for i in range(len(plan.rows)):
        read = kept(_file(place, i), "the block is computed again")
        if read is not None:
            notes[i] = read
    if not notes:
        shutil.rmtree(growing, ignore_errors=True)  # of a call that finished nothing, maybe another one
    elif not growing.exists():
        raise ValueError(f"{growing} is missing; remove {place.folder}, and all is computed again")
    for i in _lost(holes, plan, place, growing) & set(notes) if notes else ():
        del notes[i]  # to be computed again
    if progress:
        progress(sum(len(read["good"]) for read in notes.values()))
    for i, result in each(
        ready(plan.work, plan.about, executor),
        plan.parts,
        done=notes,
        executor=executor,
        progress=progress,
        rows=_rows,
    ):
        steps = plan.steps(i)
        block = tree(plan.groups(steps, result, True) | plan.common)
        if not growing.exists():
            begin(block, growing, OBSERVATION, plan.rows[0].stop, total)
        fill(block, growing, OBSERVATION, plan.rows[i].start)
        notes[i] = plan.notes(steps, result)
        keep(_file(place, i), place.call, notes[i])
        # A tree's nodes know each other, so they would wait to be collected: apart, they go before the next block.
        for node in list(block.subtree):
            node.orphan()
        del result, block, node
    together = {name: np.concatenate([notes[i][name] for i in range(len(plan.rows))]) for name in notes[0]}
    lengths = {"mode": max(1, int(together["modes"].max()))} if "modes" in together else {}
    finish(growing, attrs(warn_once(plan.texts(together))), lengths)
    lost = _lost(damaged, plan, place, growing)
    for i in lost:
        _file(place, i).unlink()  # to be computed again
    if lost:
        raise OSError(errno.EIO, f"{len(lost)} of its blocks cannot be read back")
    if place.store.suffix == ".zarr":
        growing.rename(place.store)
    else:
        save(load(growing, in_memory=False), place.store)


def _lost(look: Callable[[Path, str, int], set[int]], plan: _Plan, place: Place, growing: Path) -> set[int]:
    """The blocks that are not there, as `look` sees it."""
    try:
        return look(growing, OBSERVATION, plan.rows[0].stop)
    except Exception as error:  # whatever reading raises on bytes that were changed
        raise ValueError(
            f"{growing} cannot be read back ({error}); remove {place.folder}, and all is computed again"
        ) from error


def _file(place: Place, block: int) -> Path:
    return place.folder / f"{block:06d}.npz"


def _rows(part: Any) -> int:
    return len((part if isinstance(part, Steps) else part[1]).o)


def _fields(steps: Steps) -> tuple[np.ndarray, ...]:
    return steps.o, steps.alpha, steps.sigma, steps.start, steps.good


def _read(
    prior: CompiledPrior, o: ArrayLike | Mapping[str, ArrayLike], alpha: ArrayLike, sigma: ArrayLike
) -> tuple[Steps, bool]:
    flat, batched = prior.layout.read(o)
    read_noise(alpha, sigma, len(flat) if batched else None)
    if not batched and not np.isfinite(flat).all():
        where = prior.layout.labels[int(np.flatnonzero(~np.isfinite(flat[0]))[0])]
        raise ValueError(f"o is {flat[~np.isfinite(flat)][0]} at {where!r}; write a finite number")
    return read_steps(prior, flat, alpha, sigma), batched


def _log_posterior(prior: CompiledPrior, x: np.ndarray, steps: Steps) -> np.ndarray:
    z = (steps.o - steps.alpha[:, None] * x) / steps.sigma[:, None]
    return prior.logp(x) - 0.5 * (z**2).sum(axis=1) - prior.n * np.log(steps.sigma * np.sqrt(2 * np.pi))


def _map_groups(label: Labels, jacobian: bool, steps: Steps, found: Found, all_modes: bool) -> Groups:
    x = steps.blank(found.x[:, 0])
    stats = {
        "lp": steps.blank(found.logp[:, 0]) if jacobian else _log_posterior(label.compiled, x, steps),
        "converged": found.converged[:, 0] & steps.good,
        "starts_agreed": steps.blank(found.agreed[:, 0]),
        "starts": np.full(len(x), found.x.shape[1]),
        "evaluations": found.evaluations,
    }
    return {
        **label.states(x[:, None, None]),
        "sample_stats": label.stats({name: values[:, None, None] for name, values in stats.items()}),
        "modes": _mode_group(label, steps, found, all_modes),
        "laplace": label.laplace(steps.blank(found.sd)),
        **label.step(steps.blank(steps.o), steps.alpha, steps.sigma),
    }


def _mode_group(label: Labels, steps: Steps, found: Found, all_modes: bool) -> xr.Dataset:
    """The modes found: as many as the observation with most has, or as many as any could have."""
    most = found.x.shape[1] if all_modes else max(1, int(_mode_count(steps, found).max()))
    x, lp, agreed = (steps.blank(values[:, :most]) for values in (found.x, found.logp, found.agreed))
    lp = np.where(np.isfinite(lp), lp, np.nan)
    values, dims = label.modes(x)
    values |= {"lp": label.pick(lp), "starts": label.pick(agreed)}
    dims |= {name: [*label.observation, "mode"] for name in ("lp", "starts")}
    return dataset(values, dims=dims, coords=label.coords)


def _mode_count(steps: Steps, found: Found) -> np.ndarray:
    return np.isfinite(found.logp).sum(axis=1)


def _map_notes(steps: Steps, found: Found) -> Notes:
    alive = np.isfinite(found.logp[:, 0])
    return {
        "good": steps.good,
        "alive": alive,
        "converged": found.converged[:, 0],
        "on_edge": found.on_edge[:, 0],
        "modes": _mode_count(steps, found),
        "agreed": found.agreed[:, 0],
    }


def _posterior_groups(label: Labels, given: Steps, drawn: Drawn, all_modes: bool) -> Groups:
    # An observation without a start loses its draws, not its o.
    steps = Steps(given.o, given.alpha, given.sigma, given.start, given.good & drawn.alive)
    by_draw = {"lp": drawn.lp, "acceptance_rate": drawn.acceptance, "diverging": drawn.diverging}
    once = {"step_size": drawn.step_size, "n_steps": drawn.leaps, "evaluations": drawn.evaluations}
    stats = label.stats({name: steps.blank(values) for name, values in by_draw.items()})
    stats = stats.assign({name: (label.observation, label.pick(steps.blank(values))) for name, values in once.items()})
    jumps = np.moveaxis(steps.blank(drawn.jumps), 0, 1)
    stats["jump_rate"] = (("chain", *label.observation), jumps if label.batched else jumps[:, 0])
    return {
        **label.states(steps.blank(drawn.x)),
        "sample_stats": stats,
        "diagnostics": label.diagnostics(steps.blank(drawn.r_hat), steps.blank(drawn.ess)),
        **label.step(given.blank(given.o), given.alpha, given.sigma),
    }


def _posterior_notes(given: Steps, drawn: Drawn) -> Notes:
    alive = np.asarray(drawn.alive)
    notes = {"good": given.good, "alive": alive, "left": np.asarray(drawn.left)}
    if too_few(*drawn.diverging.shape[1:]):
        return notes  # for any judgement, as asked for: a report withholds them
    steps = Steps(given.o, given.alpha, given.sigma, given.start, given.good & alive)
    worst = worst_of(steps.blank(drawn.r_hat), steps.blank(drawn.ess), drawn.diverging)
    return notes | dict(zip(("r_hat", "ess", "diverging"), worst, strict=True))


# ----------------------------------------------------------------------------------------------------------- warnings


def _some(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices[:5])) + ("..." if len(indices) > 5 else "")


def _bad_text(good: np.ndarray) -> str:
    bad = np.flatnonzero(~good)
    if not len(bad):
        return ""
    return f"{len(bad)} of {len(good)} observations are not finite and came back as NaN: index {_some(bad)}."


def _dead_text(notes: Notes) -> str:
    lost = np.flatnonzero(notes["good"] & ~notes["alive"])
    if not len(lost):
        return ""
    return (
        f"p(x | o) of {len(lost)} of {len(notes['good'])} observations is not finite at any start; their rows are NaN: "
        f"index {_some(lost)}. Look at o, or give the prior's variables an initval where p(x | o) is positive."
    )


def _climb_text(notes: Notes) -> str:
    lost = np.flatnonzero(notes["good"] & notes["alive"] & ~notes["converged"] & ~notes["on_edge"])
    if not len(lost):
        return ""
    return (
        f"The climb of {len(lost)} of {len(notes['good'])} observations did not end at a maximum: index {_some(lost)}. "
        "Their MAP is the highest point seen; p(x | o) may be flat, unbounded or cut off there. Look at the group "
        "`modes`."
    )


def _missed_text(notes: Notes, shared: Shared) -> str:
    """Say where a MAP may not be the highest: one climb found it, and the search for modes of p0 was cut short."""
    alone = np.flatnonzero(notes["good"] & notes["alive"] & (notes["agreed"] <= 1))
    if not shared.late.any() or not len(alone):
        return ""
    return (
        "p0 has more modes than the search for them came to the end of: a mode higher than the MAP may be missing, "
        f"above all for the {len(alone)} of {len(notes['good'])} observations whose MAP one climb alone reached: index "
        f"{_some(alone)}. Compare with sample_posterior, or with another random_seed."
    )


def _edge_text(notes: Notes) -> str:
    edge = np.flatnonzero(notes["good"] & notes["on_edge"])
    if not len(edge):
        return ""
    return (
        f"The MAP of {len(edge)} of {len(notes['good'])} observations lies on an edge: index {_some(edge)}. p(x | o) "
        "is 0 next to it, and no small move along an axis improves it, though one along the edge may. It is no maximum "
        "(`converged` is False)."
    )


def _doubt_text(notes: Notes) -> str:
    """Sum up in one sentence which observations' draws are not to be trusted."""
    if "r_hat" not in notes:
        return ""
    r_hat, ess, diverging = notes["r_hat"], notes["ess"], notes["diverging"]
    doubtful = notes["good"] & notes["alive"] & ~trusted(r_hat, ess, diverging)
    if not doubtful.any():
        return ""
    worst = int(np.argmax(np.where(doubtful, r_hat, 0.0)))
    return (
        f"The draws of {int(doubtful.sum())} of {len(doubtful)} observations are not to be trusted. The worst is "
        f"observation {worst}: R-hat {r_hat[worst]:.2f}, {ess[worst]:.0f} effective draws, "
        f"{diverging[worst]:.0%} diverging. Ask for more (draws=, tune=), or look at its modes with find_map. Modes "
        "far apart in many dimensions need bd.sample, which tempers between them: pass its draws of p0 as bank=."
    )


def _left_text(notes: Notes) -> str:
    """Say how much of the mass lies in modes that were known and left out."""
    left = np.where(notes["good"] & notes["alive"], notes["left"], 0.0)
    many = np.flatnonzero(left > MOST_LEFT_OUT)
    if not len(many):
        return ""
    return (
        f"p(x | o) of {len(many)} of {len(left)} observations has more modes than the chains were given, or than the "
        f"search for modes came to the end of: about {left[many].max():.0%} of the mass may be missing at the worst, "
        f"observation {int(np.argmax(left))}: index {_some(many)}. Draws of p0 reach all modes: pass those of "
        "bd.sample as bank=."
    )
