"""The two inversions of a step, for people: labelled, checked, summed up.

    find_map            x = argmax p(x | o)
    sample_posterior    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

Both take one observation or a batch, and return the same tree of ArviZ groups, so that `compare` can lay them side by
side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.batches import progress_bar
from bayesdiff.checks import Seed, flag, generator, positive_int
from bayesdiff.compiled import CompiledPrior, compile_prior, compiled
from bayesdiff.inverters import Found, Steps, find_modes_of, read_bank, read_steps, sample_steps
from bayesdiff.labels import Labels, describe, warn_once
from bayesdiff.results import dataset, tree
from bayesdiff.step import read_noise
from bayesdiff.trust import too_few, trusted, worst_of


def find_map(
    prior: pm.Model | CompiledPrior,
    o: ArrayLike | Mapping[str, ArrayLike],
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    jacobian: bool = True,
    random_seed: Seed = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Compute the mode of p(x | o), for one observation or many.

    x = argmax N(o; alpha x, sigma^2 I) p0(x)

    Several climbs start for each observation: at o / alpha, around it at the scale of the step, and at likely draws of
    p0 (or around the initial point, where p0 cannot be drawn). The best is the answer, all are reported. That it is the
    global mode cannot be guaranteed: ``starts_agreed`` says how many climbs ended there.

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

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain=1, draw=1): the mode, constrained, and Deterministics there. ``unconstrained_posterior``:
        the same in unconstrained coordinates. ``sample_stats``: ``lp`` = log p0(x) + log N(o; alpha x, sigma^2 I) with
        the Jacobian, ``converged``, ``starts_agreed``, ``starts``, ``evaluations``. ``modes``: every mode found, best
        first (dimension ``mode``). ``laplace``: the Laplace sd in unconstrained coordinates (NaN where the Hessian is
        not that of a maximum). ``observed_data``, ``constant_data``, and ``prior`` and ``unconstrained_prior`` where p0
        can be drawn.

    Raises
    ------
    TypeError, ValueError
        If `prior` cannot be a prior, `o` does not fit it, `sigma` is not > 0, `alpha` is 0, no observation is finite,
        or p0 is not finite at any start.

    Warns
    -----
    UserWarning
        Once, if observations are not finite (their rows are NaN), or climbs did not converge.

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
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    rng = generator(random_seed)
    maximised = prior if jacobian else compiled(prior.model, jacobian=False)
    with progress_bar("MAP", len(steps.o), progressbar) as progress:
        found = find_modes_of(maximised, steps, rng, progress=progress)
    x = steps.blank(found.x[:, 0])
    stats = {
        "lp": steps.blank(found.logp[:, 0]) if jacobian else _log_posterior(prior, x, steps),
        "converged": found.converged[:, 0] & steps.good,
        "starts_agreed": steps.blank(found.agreed[:, 0]),
        "starts": np.full(len(x), found.x.shape[1]),
        "evaluations": found.evaluations,
    }
    dead = steps.good & ~np.isfinite(found.logp[:, 0])
    text = warn_once([_bad_text(steps), _dead_text(dead), _climb_text(steps, found)])
    label = Labels(prior, batched)
    groups = {
        **label.states(x[:, None, None]),
        "sample_stats": label.stats({name: values[:, None, None] for name, values in stats.items()}),
        "modes": _mode_group(label, steps, found),
        "laplace": label.laplace(steps.blank(found.sd)),
        **label.step(steps.blank(steps.o), steps.alpha, steps.sigma),
        **label.prior(rng),
    }
    return tree(groups, describe(prior, "map", random_seed, begun, text) | {"jacobian": int(jacobian)})


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

    Notes
    -----
    A mode that no start reached is not seen by any diagnostic. R-hat is that of split chains (Gelman et al. 2013), not
    rank-normalised; ``arviz.summary`` gives the rank-normalised one.

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
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    given_bank = read_bank(prior, bank)
    rng = generator(random_seed)
    with progress_bar("posterior", len(steps.o), progressbar) as progress:
        drawn = sample_steps(
            prior, steps, rng, draws=draws, tune=tune, chains=chains, given=given_bank, progress=progress
        )
    given = steps  # an observation without a start loses its draws, not its o
    steps = Steps(given.o, given.alpha, given.sigma, given.start, given.good & drawn.alive)
    r_hat, ess = steps.blank(drawn.r_hat), steps.blank(drawn.ess)
    dead = _dead_text(given.good & ~drawn.alive)
    text = warn_once([_bad_text(given), dead, _doubt_text(steps, drawn.diverging, r_hat, ess)])
    label = Labels(prior, batched)
    by_draw = {"lp": drawn.lp, "acceptance_rate": drawn.acceptance, "diverging": drawn.diverging}
    once = {"step_size": drawn.step_size, "n_steps": drawn.leaps, "evaluations": drawn.evaluations}
    stats = label.stats({name: steps.blank(values) for name, values in by_draw.items()})
    stats = stats.assign({name: (label.observation, label.pick(steps.blank(values))) for name, values in once.items()})
    jumps = np.moveaxis(steps.blank(drawn.jumps), 0, 1)
    stats["jump_rate"] = (("chain", *label.observation), jumps if batched else jumps[:, 0])
    groups = {
        **label.states(steps.blank(drawn.x)),
        "sample_stats": stats,
        "diagnostics": label.diagnostics(r_hat, ess),
        **label.step(given.blank(given.o), given.alpha, given.sigma),
        **label.prior(rng),
    }
    attrs = describe(prior, "posterior", random_seed, begun, text)
    return tree(groups, attrs | {"draws": draws, "tune": tune, "chains": chains})


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


def _mode_group(label: Labels, steps: Steps, found: Found) -> xr.Dataset:
    most = max(1, int(np.isfinite(found.logp).sum(axis=1).max()))
    x, lp, agreed = (steps.blank(values[:, :most]) for values in (found.x, found.logp, found.agreed))
    lp = np.where(np.isfinite(lp), lp, np.nan)
    values, dims = label.modes(x)
    values |= {"lp": label.pick(lp), "starts": label.pick(agreed)}
    dims |= {name: [*label.observation, "mode"] for name in ("lp", "starts")}
    return dataset(values, dims=dims, coords=label.coords)


# ----------------------------------------------------------------------------------------------------------- warnings


def _some(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices[:5])) + ("..." if len(indices) > 5 else "")


def _bad_text(steps: Steps) -> str:
    bad = np.flatnonzero(~steps.good)
    if not len(bad):
        return ""
    return f"{len(bad)} of {len(steps.good)} observations are not finite and came back as NaN: index {_some(bad)}."


def _dead_text(dead: np.ndarray) -> str:
    lost = np.flatnonzero(dead)
    if not len(lost):
        return ""
    return (
        f"p(x | o) of {len(lost)} of {len(dead)} observations is not finite at any start; their rows are NaN: index "
        f"{_some(lost)}. Look at o, or give the prior's variables an initval where p(x | o) is positive."
    )


def _climb_text(steps: Steps, found: Found) -> str:
    lost = np.flatnonzero(steps.good & np.isfinite(found.logp[:, 0]) & ~found.converged[:, 0])
    if not len(lost):
        return ""
    return (
        f"The climb of {len(lost)} of {len(steps.good)} observations did not end at a maximum: index {_some(lost)}. "
        "Their MAP is the highest point seen; p(x | o) may be flat or unbounded there. Look at the group `modes`."
    )


def _doubt_text(steps: Steps, diverging: np.ndarray, r_hat: np.ndarray, ess: np.ndarray) -> str:
    """Sum up in one sentence which observations' draws are not to be trusted."""
    if too_few(*diverging.shape[1:]):
        return ""  # for any judgement, as asked for: a report withholds them
    worst_r, worst_ess, diverged = worst_of(r_hat, ess, diverging)
    doubtful = steps.good & ~trusted(worst_r, worst_ess, diverged)
    if not doubtful.any():
        return ""
    worst = int(np.argmax(np.where(doubtful, worst_r, 0.0)))
    return (
        f"The draws of {int(doubtful.sum())} of {len(doubtful)} observations are not to be trusted. The worst is "
        f"observation {worst}: R-hat {worst_r[worst]:.2f}, {worst_ess[worst]:.0f} effective draws, "
        f"{diverged[worst]:.0%} diverging. Ask for more (draws=, tune=), or look at its modes with find_map. Modes far "
        "apart in many dimensions need bd.sample, which tempers between them: pass its draws of p0 as bank=."
    )
