"""The two inversions of a step, for people: labelled, checked, summed up.

    find_map            x = argmax p(x | o)
    sample_posterior    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

Both take one observation or a batch, and return the same tree of ArviZ groups, so that `compare` can lay them side by
side.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.calls import Call, cut, long_call, told
from bayesdiff.checks import Seed, flag, positive_int
from bayesdiff.compiled import CompiledPrior, compile_prior, compiled
from bayesdiff.fingerprints import digest, of_prior
from bayesdiff.growing import Growth
from bayesdiff.invert.draws import Drawn, Length, draw_part, points_to_sample_from, sample_from
from bayesdiff.invert.modes import Maxima, climb_part, find_modes_from, points_to_climb_from
from bayesdiff.invert.steps import Steps, read_bank, read_steps
from bayesdiff.invert.tuning import SAMPLING, SEARCH
from bayesdiff.labels import Labels, describe
from bayesdiff.results import dataset, tree
from bayesdiff.step import read_noise
from bayesdiff.verdict import of_climbs, of_draws_by_observation, told_of_climbs, told_of_draws, too_few
from bayesdiff.verdict.rule import OBSERVATION


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
        Where the result is saved (``.zarr`` or ``.nc``). Many observations are computed in parts, each kept as soon as
        it is finished, and the same call again goes on from there, with the same numbers as a call that was not
        stopped. Of a ``.zarr`` memory holds a part at a time, and the arrays of a result of half a GB or more are read
        when they are used.
    executor : concurrent.futures.Executor, optional
        Who computes the parts: a pool's processes (not forked ones), or a Dask client's, ``client.get_executor()``.
        The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain=1, draw=1): the mode, constrained, and Deterministics there. ``unconstrained_posterior``:
        the same in unconstrained coordinates. ``sample_stats``: ``lp`` = log p0(x) + log N(o; alpha x, sigma^2 I) with
        the Jacobian, ``converged`` (at a maximum: smooth, or up to 64 numbers a kink, as that of a Laplace density,
        which no small move improves), ``starts_agreed``, ``starts``, ``evaluations``. ``modes``: every mode found, best
        first (dimension ``mode``). ``laplace``: the Laplace sd in unconstrained coordinates (NaN where the Hessian is
        not that of a maximum, and at a kink, which has none). ``verdict``: ``ok`` where the MAP is a maximum, ``code``
        why not; its attribute ``sentence`` says it all in words. ``step``: ``alpha`` and ``sigma``; ``step/o``: o by
        variable. ``prior`` and ``unconstrained_prior`` where p0 can be drawn; ``observed_data`` and ``constant_data``
        of the model, where it has any.

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
    flag(jacobian, "jacobian")
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    maximised = prior if jacobian else compiled(prior.model, jacobian=False)
    label = Labels(prior, batched)

    asked = partial(_asked, prior, steps, batched, {"jacobian": int(jacobian)})
    how = random_seed, store, executor, progressbar
    with long_call("find_map", asked, *how, total=len(steps.o)) as call:
        if call.finished is not None:
            return call.finished
        rng = call.rng("starts")
        shared, key = points_to_climb_from(maximised, len(steps.o), rng, SEARCH)
        rows = cut(len(steps.o), climb_part(prior, SEARCH))
        plan = _Inversion(
            work=find_modes_from,
            about=(maximised, shared, key, False, SEARCH),
            parts=[steps.part(row) for row in rows],
            steps=steps,
            rows=rows,
            made=Maxima,
            groups=partial(_map_groups, label, bool(jacobian), bool(shared.late.any())),
            told=told_of_climbs,
            common=label.prior(call.rng("prior")),
        )
        return _inverted(call, plan, describe(prior, "map") | {"jacobian": int(jacobian)})


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
        Where the result is saved (``.zarr`` or ``.nc``). Many observations are computed in parts, each kept as soon as
        it is finished, and the same call again goes on from there, with the same numbers as a call that was not
        stopped. Of a ``.zarr`` memory holds a part at a time, and the arrays of a result of half a GB or more are read
        when they are used.
    executor : concurrent.futures.Executor, optional
        Who computes the parts: a pool's processes (not forked ones), or a Dask client's, ``client.get_executor()``.
        The numbers do not depend on it.

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw): constrained variables and Deterministics. ``unconstrained_posterior``.
        ``sample_stats``: ``lp``, ``acceptance_rate`` of the last HMC move, ``diverging``, and for each chain
        ``step_size``, ``n_steps``, ``jump_rate`` (share of sweeps with a jump), ``evaluations`` of log p0.
        ``diagnostics``: split R-hat and effective draws, each the worse of x and (x - mean)^2, in unconstrained
        coordinates (dimension ``diagnostic``). ``verdict``: ``ok`` where the draws are to be trusted, ``code`` why not,
        and the worst ``r_hat``, ``ess`` and share ``diverging`` that this rests on; its attribute ``sentence`` says it
        all in words. ``step``: ``alpha`` and ``sigma``; ``step/o``: o by variable. ``prior`` and
        ``unconstrained_prior`` where p0 can be drawn; ``observed_data`` and ``constant_data`` of the model, where it
        has any.

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
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        positive_int(value, name)
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    given_bank = read_bank(prior, bank)
    length, label, batch = Length(int(draws), int(tune), int(chains)), Labels(prior, batched), len(steps.o)

    about, told_bank = length._asdict(), None if given_bank is None else digest(given_bank)
    asked = partial(_asked, prior, steps, batched, about | {"bank": told_bank})
    how = random_seed, store, executor, progressbar
    with long_call("sample_posterior", asked, *how, total=batch) as call:
        if call.finished is not None:
            return call.finished
        shared, key = points_to_sample_from(prior, steps, call.rng("starts"), length, SAMPLING, given_bank)
        # All at once where nothing asks for parts: the numbers are the same, and more cores find work.
        whole = store is None and executor is None
        rows = cut(batch, batch if whole else draw_part(prior, length, SAMPLING, batch))
        plan = _Inversion(
            work=sample_from,
            about=(prior, shared, key, length, SAMPLING, batch),
            parts=[(row.start, steps.part(row)) for row in rows],
            steps=steps,
            rows=rows,
            made=Drawn,
            groups=partial(_posterior_groups, label),
            told=partial(told_of_draws, few=too_few(length.chains, length.draws)),
            common=label.prior(call.rng("prior")),
        )
        return _inverted(call, plan, describe(prior, "posterior") | about)


# ---------------------------------------------------------------------------------------------------------- all parts

Groups = dict[str, xr.Dataset]


@dataclass(frozen=True)
class _Inversion:
    """An inversion of many observations, cut into parts.

    ``work(*about, parts[i])`` computes the ``rows[i]`` of all ``steps``, as a `made`. ``groups`` labels and judges what
    it gave, ``told`` says what the verdicts of all come to. ``common``: the groups that all share.
    """

    work: Callable[..., Any]
    about: tuple[Any, ...]
    parts: list[Any]
    steps: Steps
    rows: list[slice]
    made: Callable[..., Any]
    groups: Callable[[Steps, Any, bool], Groups]
    told: Callable[[xr.Dataset], dict[str, Any]]
    common: Groups


def _asked(prior: CompiledPrior, steps: Steps, batched: bool, more: Mapping[str, Any]) -> dict[str, Any]:
    """What tells calls apart."""
    return {
        "prior": told(of_prior, prior),
        "observations": len(steps.o),
        "o": digest(steps.o, steps.good),
        "alpha": digest(steps.alpha),
        "sigma": digest(steps.sigma),
        "batched": batched,
        **more,
    }


def _inverted(call: Call, plan: _Inversion, attrs: Mapping[str, Any]) -> xr.DataTree:
    """All parts, put together: in memory, or where there is a store for several of them, in a folder."""
    if call.folder is not None and len(plan.rows) > 1:
        return _grown(call, plan, attrs)
    each = dict(call.each(plan.work, plan.about, plan.parts, rows=_rows, made=plan.made))
    results = [each.pop(i) for i in range(len(plan.rows))]
    whole = results[0] if len(results) == 1 else type(results[0])(*map(np.concatenate, zip(*results, strict=True)))
    return call.done(plan.groups(plan.steps, whole, False) | plan.common, attrs)


def _grown(call: Call, plan: _Inversion, attrs: Mapping[str, Any]) -> xr.DataTree:
    """Write each part as it is finished, beside the store, and then its verdict, which says so."""
    assert call.folder is not None
    growth = Growth(call.folder / "run.zarr", OBSERVATION, plan.rows[0].stop, plan.rows[-1].stop)
    numbers = range(len(plan.rows))
    if not growth.restored():
        call.forget(numbers)

    def written(number: int, result: Any) -> dict[str, np.ndarray]:
        part = tree(plan.groups(plan.steps.part(plan.rows[number]), result, True) | plan.common)
        growth.write(part, number)
        group = part["verdict"].to_dataset()
        verdict = {str(name): values.values for name, values in group.items()}
        verdict["meanings"] = np.array(group["code"].attrs["flag_meanings"])
        # A tree's nodes know each other, so they would wait to be collected: apart, they go before the next part.
        for node in list(part.subtree):
            node.orphan()
        return verdict

    # How often a part is written that cannot be read back, before the disk is said to fail.
    for _ in range(3):
        verdicts = dict(call.each(plan.work, plan.about, plan.parts, rows=_rows, then=written))
        bad = growth.damaged()
        if not bad:
            break
        call.forget(bad)
    else:
        raise OSError(errno.EIO, f"{len(bad)} of its parts cannot be read back")
    meanings = verdicts[0].pop("meanings").item()
    together = {name: np.concatenate([verdicts[i][name] for i in numbers]) for name in verdicts[0]}
    judged = xr.Dataset({name: (OBSERVATION, values) for name, values in together.items()})
    judged["code"].attrs["flag_meanings"] = meanings
    if "modes" in judged:
        growth.lengths["mode"] = max(1, int(judged["modes"].max()))
    return call.done(growth, attrs, plan.told(judged))


def _rows(part: Any) -> int:
    return len((part if isinstance(part, Steps) else part[1]).o)


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


def _map_groups(label: Labels, jacobian: bool, cut_short: bool, steps: Steps, found: Maxima, all_modes: bool) -> Groups:
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
        "verdict": label.verdict(
            of_climbs(
                steps.good,
                np.isfinite(found.logp[:, 0]),
                found.converged[:, 0],
                found.on_edge[:, 0],
                found.agreed[:, 0],
                _mode_count(steps, found),
                cut_short=cut_short,
            )
        ),
        **label.step(steps.blank(steps.o), steps.alpha, steps.sigma),
    }


def _mode_group(label: Labels, steps: Steps, found: Maxima, all_modes: bool) -> xr.Dataset:
    """The modes found: as many as the observation with most has, or as many as any could have."""
    most = found.x.shape[1] if all_modes else max(1, int(_mode_count(steps, found).max()))
    x, lp, agreed = (steps.blank(values[:, :most]) for values in (found.x, found.logp, found.agreed))
    lp = np.where(np.isfinite(lp), lp, np.nan)
    values, dims = label.modes(x)
    values |= {"lp": label.pick(lp), "starts": label.pick(agreed)}
    dims |= {name: [*label.observation, "mode"] for name in ("lp", "starts")}
    return dataset(values, dims=dims, coords=label.coords)


def _mode_count(steps: Steps, found: Maxima) -> np.ndarray:
    return np.isfinite(found.logp).sum(axis=1)


def _posterior_groups(label: Labels, given: Steps, drawn: Drawn, all_modes: bool) -> Groups:
    # An observation without a start loses its draws, not its o.
    steps = given._replace(good=given.good & drawn.alive)
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
        "verdict": label.verdict(
            of_draws_by_observation(
                steps.blank(drawn.r_hat),
                steps.blank(drawn.ess),
                drawn.diverging,
                given.good,
                np.asarray(drawn.alive),
                np.asarray(drawn.left),
            )
        ),
        **label.step(given.blank(given.o), given.alpha, given.sigma),
    }
