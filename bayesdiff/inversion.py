"""The two inversions of a step, for people: labelled, checked, summed up.

    find_map            x = argmax p(x | o)
    sample_posterior    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

Both take one observation or a batch, and return the same tree of ArviZ groups, so that `compare` can lay them side by
side.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike
from pymc.backends.arviz import find_observations

from bayesdiff import __version__
from bayesdiff.batches import progress_bar
from bayesdiff.compiled import CompiledPrior, compile_prior, compiled
from bayesdiff.inverters import Found, Seed, Steps, find_modes_of, generator, positive_int, read_steps, sample_steps
from bayesdiff.results import dataset, tree
from bayesdiff.step import read_noise

PRIOR_DRAWS = 1000
SAMPLE = ("chain", "draw")
# Above this R-hat the chains of an observation disagree; PyMC's own limit of 1.01 is met by chance in a large batch.
R_HAT = 1.05
ENOUGH_DRAWS = 100
# Trajectories fail at sharp bends; the other moves make up for some of it, not for most of it.
DIVERGING = 0.25


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
    text = _warn([_bad_text(steps), _dead_text(dead), _climb_text(steps, found)])
    label = _Labels(prior, batched)
    groups = {
        **label.states(x[:, None, None]),
        "sample_stats": label.stats({name: values[:, None, None] for name, values in stats.items()}),
        "modes": _mode_group(label, steps, found),
        "laplace": label.laplace(steps.blank(found.sd)),
        **label.step(steps),
        **label.prior(rng),
    }
    return tree(groups, _attrs(prior, "map", random_seed, begun, text) | {"jacobian": int(jacobian)})


def sample_posterior(
    prior: pm.Model | CompiledPrior,
    o: ArrayLike | Mapping[str, ArrayLike],
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
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
        As `find_map` does; if `draws`, `tune` or `chains` is below 1.

    Warns
    -----
    UserWarning
        Once for all observations, if some are not finite or their draws are not to be trusted: how many, the worst,
        what to do.

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
    prior = compile_prior(prior)
    steps, batched = _read(prior, o, alpha, sigma)
    rng = generator(random_seed)
    with progress_bar("posterior", len(steps.o), progressbar) as progress:
        drawn = sample_steps(prior, steps, rng, draws=draws, tune=tune, chains=chains, progress=progress)
    given = steps  # an observation without a start loses its draws, not its o
    steps = Steps(given.o, given.alpha, given.sigma, given.start, given.good & drawn.alive)
    r_hat, ess = steps.blank(drawn.r_hat), steps.blank(drawn.ess)
    dead = _dead_text(given.good & ~drawn.alive)
    text = _warn([_bad_text(given), dead, _doubt_text(steps, drawn.diverging, r_hat, ess, draws * chains)])
    label = _Labels(prior, batched)
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
        **label.step(given),
        **label.prior(rng),
    }
    attrs = _attrs(prior, "posterior", random_seed, begun, text)
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


# ------------------------------------------------------------------------------------------------------------- labels


class _Labels:
    """Puts the model's names, dims and coords on flat arrays (observation, ...)."""

    def __init__(self, prior: CompiledPrior, batched: bool) -> None:
        self.compiled = prior
        self.batched = batched
        self.observation = ("observation",) * batched
        model = prior.model
        self.coords = {name: values for name, values in model.coords.items() if values is not None}
        self.dims = {name: list(dims) for name, dims in model.named_vars_to_dims.items()}
        readable = prior.constrain(np.zeros((1, prior.n)))
        self.unconstrained_dims = {
            name: self.dims.get(name, [f"{name}_dim_{i}" for i in range(len(shape))])
            if readable[name].shape[1:] == shape
            else [f"{name}_unconstrained_dim_{i}" for i in range(len(shape))]
            for name, shape in zip(prior.layout.names, prior.layout.shapes, strict=True)
        }

    def pick(self, values: np.ndarray) -> np.ndarray:
        """The batch axis, or none."""
        return values if self.batched else values[0]

    def states(self, x: np.ndarray) -> dict[str, xr.Dataset]:
        """States (observation, chain, draw, n) as ``posterior`` and ``unconstrained_posterior``."""
        x = np.moveaxis(x, 0, 2)  # (chain, draw, observation, n)
        x = x if self.batched else x[:, :, 0]
        return self._both("posterior", x, (*SAMPLE, *self.observation))

    def prior(self, rng: np.random.Generator) -> dict[str, xr.Dataset]:
        """Draws of p0 as ``prior`` and ``unconstrained_prior``, where it can be drawn."""
        x = self.compiled.draws(PRIOR_DRAWS, rng)
        return {} if x is None else self._both("prior", x[None], SAMPLE)

    def _both(self, group: str, x: np.ndarray, leading: tuple[str, ...]) -> dict[str, xr.Dataset]:
        return {
            group: dataset(
                self._readable(x), sample_dims=SAMPLE, dims=self._lead(leading, self.dims), coords=self.coords
            ),
            f"unconstrained_{group}": dataset(
                self.compiled.layout.split(x),
                sample_dims=SAMPLE,
                dims=self._lead(leading, self.unconstrained_dims),
                coords=self.coords,
            ),
        }

    def _readable(self, x: np.ndarray) -> dict[str, np.ndarray]:
        values = self.compiled.constrain(x.reshape(-1, x.shape[-1]))
        return {name: value.reshape(*x.shape[:-1], *value.shape[1:]) for name, value in values.items()}

    def _lead(self, leading: tuple[str, ...], dims: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """`dims` behind those of `leading` that are not sample dims, for every variable."""
        extra = [dim for dim in leading if dim not in SAMPLE]
        return {name: [*extra, *dims.get(name, [])] for name in self.compiled.readable_names}

    def stats(self, values: Mapping[str, np.ndarray]) -> xr.Dataset:
        """Statistics (observation, chain, draw) as ``sample_stats``."""
        moved = {name: np.moveaxis(value, 0, 2) for name, value in values.items()}
        moved = {name: value if self.batched else value[:, :, 0] for name, value in moved.items()}
        return dataset(moved, sample_dims=SAMPLE, dims=dict.fromkeys(moved, self.observation))

    def flat(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Unconstrained numbers (observation, n) by variable."""
        return self.compiled.layout.split(self.pick(values))

    def laplace(self, sd: np.ndarray) -> xr.Dataset:
        """Laplace sd (observation, n)."""
        return dataset(self.flat(sd), dims=self._lead(self.observation, self.unconstrained_dims), coords=self.coords)

    def diagnostics(self, r_hat: np.ndarray, ess: np.ndarray) -> xr.Dataset:
        """R-hat and effective draws (observation, n)."""
        first, second = self.flat(r_hat), self.flat(ess)
        values = {name: np.stack([first[name], second[name]], axis=-1) for name in first}
        dims = self._lead(self.observation, {name: [*d, "diagnostic"] for name, d in self.unconstrained_dims.items()})
        return dataset(values, dims=dims, coords=self.coords | {"diagnostic": ["r_hat", "ess_bulk"]})

    def modes(self, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        """Modes (observation, mode, n), constrained, and their dims."""
        return self._readable(self.pick(x)), self._lead((*self.observation, "mode"), self.dims)

    def step(self, steps: Steps) -> dict[str, xr.Dataset]:
        """``observed_data`` and ``constant_data``."""
        o = np.where(steps.good[:, None], steps.o, np.nan)
        dims = self._lead(self.observation, self.unconstrained_dims)
        own = {name: np.asarray(value) for name, value in find_observations(self.compiled.model).items()}
        observed = dataset(self.flat(o), dims=dims, coords=self.coords)
        observed = observed.merge(
            dataset(own, dims={name: self.dims.get(name, []) for name in own}, coords=self.coords)
        )
        noise = {"alpha": self.pick(steps.alpha), "sigma": self.pick(steps.sigma)}
        return {
            "observed_data": observed,
            "constant_data": dataset(noise, dims=dict.fromkeys(noise, self.observation)),
        }


def _mode_group(label: _Labels, steps: Steps, found: Found) -> xr.Dataset:
    most = max(1, int(np.isfinite(found.logp).sum(axis=1).max()))
    x, lp, agreed = (steps.blank(values[:, :most]) for values in (found.x, found.logp, found.agreed))
    lp = np.where(np.isfinite(lp), lp, np.nan)
    values, dims = label.modes(x)
    values |= {"lp": label.pick(lp), "starts": label.pick(agreed)}
    dims |= {name: [*label.observation, "mode"] for name in ("lp", "starts")}
    return dataset(values, dims=dims, coords=label.coords)


def _attrs(prior: CompiledPrior, inversion: str, random_seed: Seed, begun: float, text: str) -> dict[str, Any]:
    return {
        "inference_library": "bayesdiff",
        "inference_library_version": __version__,
        "inversion": inversion,
        "random_seed": int(random_seed) if isinstance(random_seed, int | np.integer) else str(random_seed),
        "sampling_time": time.perf_counter() - begun,
        "model_graph": _graph(prior.model),
        "model_equations": prior.model.str_repr(),
        "warning": text,
    }


def _graph(model: pm.Model) -> str:
    """The model's graph as Mermaid text, or nothing: PyMC draws variables to learn shapes; pm.Flat has no draws."""
    try:
        return pm.model_to_mermaid(model)
    except NotImplementedError:
        return ""


# ----------------------------------------------------------------------------------------------------------- warnings


def _warn(texts: list[str]) -> str:
    """Warn once with all that is to be said, and return it."""
    text = " ".join(part for part in texts if part)
    if text:
        warnings.warn(text, UserWarning, stacklevel=3)
    return text


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


def _doubt_text(steps: Steps, diverging: np.ndarray, r_hat: np.ndarray, ess: np.ndarray, total: int) -> str:
    """Sum up in one sentence which observations' draws are not to be trusted."""
    if np.isnan(ess).all():
        return ""  # too few draws for any judgement, as asked for
    draws = total // diverging.shape[1]
    limit = max(R_HAT, 1 + 4 / draws)  # by chance alone, R-hat of few draws is that large
    worst_r, worst_ess = np.nan_to_num(r_hat, nan=1.0).max(axis=1), np.nan_to_num(ess, nan=np.inf).min(axis=1)
    diverged = diverging.mean(axis=(1, 2))
    doubtful = steps.good & ((worst_r > limit) | (worst_ess < min(ENOUGH_DRAWS, total / 10)) | (diverged > DIVERGING))
    if not doubtful.any():
        return ""
    worst = int(np.argmax(np.where(doubtful, worst_r, 0.0)))
    return (
        f"The draws of {int(doubtful.sum())} of {len(doubtful)} observations are not to be trusted. The worst is "
        f"observation {worst}: R-hat {worst_r[worst]:.2f}, {worst_ess[worst]:.0f} effective draws, "
        f"{diverged[worst]:.0%} diverging. Ask for more (draws=, tune=), or look at its modes with find_map. Modes far "
        "apart in many dimensions need bd.sample (planned), which tempers between them."
    )
