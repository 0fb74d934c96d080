"""Inverters: a batch of steps in, a batch of x out.

    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

`mode` takes the x that maximises it, `draw` a draw from it, `mean` its mean, `laplace` a draw from the Gaussian at its
mode. An inverter is a function ``(prior, o, alpha, sigma, *, start, random_seed) -> (x, stats)`` on unconstrained
arrays (batch, n). Any function of that form serves, `from_pymc` makes one of any PyMC function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import pymc as pm
from numpy.typing import ArrayLike

from bayesdiff.checks import Seed, generator, positive_int
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.invert.draws import Length, sample_steps
from bayesdiff.invert.modes import Maxima, find_modes_of, key_of
from bayesdiff.invert.steps import Steps, read_bank, read_steps
from bayesdiff.step import step_model

Stats = dict[str, np.ndarray]
Made = TypeVar("Made", bound=Callable[..., Any])


class Inverter(Protocol):
    """A function that turns a batch of steps into a batch of x: see the module."""

    def __call__(
        self,
        prior: CompiledPrior,
        o: ArrayLike,
        alpha: ArrayLike = ...,
        sigma: ArrayLike = ...,
        *,
        start: ArrayLike | None = ...,
        random_seed: Seed = ...,
    ) -> tuple[np.ndarray, Stats]:
        """Return x (batch, n) and statistics, each (batch, ...)."""
        ...


def carries(what: str, *, searches: bool = True) -> Callable[[Made], Made]:
    """Write on an inverter what it gives, and whether what it gives depends on where its search is started."""

    def written(inverter: Made) -> Made:
        inverter.__dict__ |= {"carries": what, "searches": searches}
        return inverter

    return written


def carried_by(invert: Any) -> str:
    """What an inverter says that it gives: ``"draw"``, ``"mode"``, ``"mean"``; nothing where it does not say.

    Examples
    --------
    >>> from functools import partial
    >>> carried_by(partial(mode)), carried_by(from_pymc(pm.sample)), carried_by(print)
    ('mode', 'draw', '')
    """
    while isinstance(invert, partial) and not hasattr(invert, "carries"):
        invert = invert.func
    what = getattr(invert, "carries", "")
    carried = ("draw", "mode", "mean")
    if what not in ("", *carried):
        raise ValueError(f"the inverter's attribute `carries` is {what!r}; write one of {carried}")
    return str(what)


def searches_from(invert: Any) -> bool:
    """Whether what an inverter gives depends on its ``start``: not where its attribute ``searches`` is False."""
    while isinstance(invert, partial) and not hasattr(invert, "searches"):
        invert = invert.func
    return bool(getattr(invert, "searches", True))


@carries("mode")
def mode(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Compute the mode of p(x | o) for a batch of observations.

    x = argmax N(o; alpha x, sigma^2 I) p0(x), on unconstrained coordinates, Jacobian included

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for each observation.
    random_seed : int, Generator or None
        For the starts that all observations share.

    Returns
    -------
    x : ndarray (batch, n)
        The best mode found; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``converged``, ``starts_agreed`` (how many climbs ended there), ``starts``, ``evaluations``, and ``sd``
        (batch, n), the Laplace sd.

    Raises
    ------
    ValueError
        If a shape is wrong, `sigma` is not > 0, `alpha` is 0, or p0 is not finite at any start.

    Notes
    -----
    The best of several climbs, not surely the global mode: ``starts_agreed`` says how sure it is.

    References
    ----------
    Dauphin et al. (2014), Identifying and attacking the saddle point problem, section 4.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.mode(prior, [[5.05]], sigma=10.0, random_seed=0)  # o / 101
    >>> round(float(x[0, 0]), 12)
    0.05
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    found = find_modes_of(prior, steps, generator(random_seed))
    return _blanked(steps, found.x[:, 0], _mode_stats(found))


def _mode_stats(found: Maxima) -> Stats:
    return {
        "lp": found.logp[:, 0],
        "converged": found.converged[:, 0],
        "starts_agreed": found.agreed[:, 0],
        "starts": np.full(len(found.x), found.x.shape[1]),
        "evaluations": found.evaluations,
        "sd": found.sd,
    }


def _blanked(steps: Steps, x: np.ndarray, stats: Stats) -> tuple[np.ndarray, Stats]:
    """What an inverter gives, with nothing in the rows of bad observations."""
    return steps.blank(x), {name: steps.blank(values) for name, values in stats.items()}


@carries("draw")
def laplace(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Draw from the Gaussian at the mode of p(x | o), for a batch of observations.

    x ~ N(m, H^-1), m = argmax p(x | o), H = -d^2 log p(x | o) / dx^2 at m

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for each observation.
    random_seed : int, Generator or None
        For the starts and the draws.

    Returns
    -------
    x : ndarray (batch, n)
        One draw each; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        Those of `mode`.  Where H is not positive definite (``sd`` is NaN) the draw used its absolute eigenvalues, or
        at a kink a Gaussian about as wide as p(x | o).

    Raises
    ------
    ValueError
        As `mode` does.

    References
    ----------
    Tierney, Kadane (1986), Accurate approximations for posterior moments and marginal densities, section 2.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.laplace(prior, np.zeros((10_000, 1)), sigma=10.0, random_seed=0)
    >>> bool(abs(x.var() - 100 / 101) < 0.05)
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    rng = generator(random_seed)
    found = find_modes_of(prior, steps, rng, with_root=True)
    x = found.x[:, 0] + np.einsum("bij,bj->bi", found.root, rng.normal(size=steps.o.shape))
    return _blanked(steps, x, _mode_stats(found))


@carries("draw")
def draw(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    tune: int = 100,
    bank: ArrayLike | Mapping[str, ArrayLike] | None = None,
) -> tuple[np.ndarray, Stats]:
    """Draw once from p(x | o), for each observation of a batch.

    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for the search of modes.
    random_seed : int, Generator or None
        The source of randomness.
    tune : int
        Sweeps before the draw. Each is several prior jumps, a jump between modes, and local moves where these do not
        suffice.
    bank : array_like (draws, n) or mapping, optional
        Draws of p0, unconstrained, to jump to where p0 cannot be drawn (data, a Potential, a density known up to a
        constant): ``bank=run["unconstrained_posterior"]``, or all of ``run = bd.sample(model)``. They are taken to be
        p0's, unchecked.

    Returns
    -------
    x : ndarray (batch, n)
        One draw each; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``acceptance_rate`` of HMC, ``diverging``, ``jump_rate``, ``step_size``, ``evaluations`` of log p0.

    Raises
    ------
    TypeError, ValueError
        As `mode` does; if `tune` is below 1, or `bank` holds no draws of the prior's shape.

    References
    ----------
    Murray, Adams, MacKay (2010), Elliptical slice sampling; Neal (2011), MCMC using Hamiltonian dynamics, section 5.3.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> o = np.random.default_rng(0).normal(0, 101**0.5, size=(4000, 1))
    >>> x, stats = bd.draw(prior, o, sigma=10.0, random_seed=0)  # the prior comes back
    >>> bool(abs(x.std() - 1) < 0.05)
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    positive_int(tune, "tune")
    given = read_bank(prior, bank)
    drawn = sample_steps(prior, steps, generator(random_seed), Length(1, tune, 1), given=given)
    stats = {
        "lp": drawn.lp[:, 0, 0],
        "acceptance_rate": drawn.acceptance[:, 0, 0],
        "diverging": drawn.diverging[:, 0, 0],
        "jump_rate": drawn.jumps[:, 0],
        "step_size": drawn.step_size,
        "evaluations": drawn.evaluations,
    }
    x = np.where(drawn.alive[:, None], drawn.x[:, 0, 0], np.nan)
    return _blanked(steps, x, stats)


@carries("mean")
def mean(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    draws: int = 200,
    tune: int = 200,
    chains: int = 4,
) -> tuple[np.ndarray, Stats]:
    """Compute the mean of p(x | o), the denoiser, for a batch of observations.

    x = E[x | o] = (o + sigma^2 d log p(o) / do) / alpha

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for the search of modes.
    random_seed : int, Generator or None
        The source of randomness.
    draws, tune, chains : int
        How much to average: chains times draws.

    Returns
    -------
    x : ndarray (batch, n)
        The average of the draws; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``sd`` (batch, n) of p(x | o), ``mcse`` (batch, n) of the mean, ``r_hat``, ``ess`` (the worst coordinate),
        ``evaluations``.

    Raises
    ------
    ValueError
        As `mode` does; if `draws`, `tune` or `chains` is below 1.

    References
    ----------
    Robbins (1956), An empirical Bayes approach to statistics (Tweedie's formula, the second equation).

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.mean(prior, [[101.0]], sigma=10.0, random_seed=0)  # o / 101
    >>> bool(abs(x[0, 0] - 1) < 4 * stats["mcse"][0, 0])
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        positive_int(value, name)
    drawn = sample_steps(prior, steps, generator(random_seed), Length(draws, tune, chains))
    x = np.where(drawn.alive[:, None], drawn.x.mean(axis=(1, 2)), np.nan)
    sd = drawn.x.std(axis=(1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN rows: too few draws to judge
        r_hat, ess = np.nanmax(drawn.r_hat, axis=1), np.nanmin(drawn.ess, axis=1)
    stats = {"sd": sd, "mcse": sd / np.sqrt(drawn.ess), "r_hat": r_hat, "ess": ess, "evaluations": drawn.evaluations}
    return _blanked(steps, x, stats)


# ----------------------------------------------------------------------------------------------------------------- PyMC


def from_pymc(function: Callable[..., Any], **kwargs: Any) -> Inverter:
    """Make an inverter of a PyMC function: one that takes a model and gives a posterior or a point.

    x from function(model=step_model(prior, o, alpha, sigma))

    Parameters
    ----------
    function : callable
        Called as ``function(model=..., **kwargs)`` for each observation. It returns a DataTree with a group
        ``posterior``, whose last draw of the first chain is x (``pm.sample``, ``pm.sample_smc``), or a mapping from the
        constrained variables' names to values (``pm.find_MAP``).
    **kwargs
        Passed on. A ``random_seed`` of the chain is passed on too if the function takes one.

    Returns
    -------
    callable
        An inverter. Slow: every observation runs alone.

    Raises
    ------
    TypeError
        If `function` cannot be called; later, if it returns something else.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> find_map = bd.from_pymc(pm.find_MAP, progressbar=False, return_inferencedata=True, jitter=False)
    >>> x, stats = find_map(bd.compile_prior(prior), [[5.05]], sigma=10.0)
    >>> round(float(x[0, 0]), 4)
    0.05
    """
    if not callable(function):
        raise TypeError(f"function is {function!r}; write one that takes a model, as pm.sample")
    if "model" in kwargs:
        raise TypeError("model is set for each observation, to its step_model; leave model= out")
    # A partial shows what is bound: a stored chain tells them apart by it.
    inverter = partial(_by_pymc, function, kwargs)
    known = {pm.sample: "draw", pm.sample_smc: "draw", pm.find_MAP: "mode"}
    return carries(carried_by(function) or next((known[of] for of in known if of is function), ""))(inverter)


def _by_pymc(
    function: Callable[..., Any],
    kwargs: Mapping[str, Any],
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Invert each observation by a PyMC function: see `from_pymc`."""
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    rng = generator(random_seed)
    first = int(np.flatnonzero(steps.good)[0])
    model = step_model(prior.model, prior.layout.split(steps.o[first]), steps.alpha[first], steps.sigma[first])
    shape = prior.layout.shapes[0] if len(prior.layout.names) == 1 else (prior.n,)
    x = np.full(steps.o.shape, np.nan)
    for row in np.flatnonzero(steps.good):
        now = steps.of(int(row))
        pm.set_data({"step::o": now.o.reshape(shape), "step::alpha": now.alpha, "step::sigma": now.sigma}, model=model)
        x[row] = _point(function(model=model, random_seed=key_of(rng), **kwargs), prior)
    return x, {}


def _point(result: Any, prior: CompiledPrior) -> np.ndarray:
    """The flat state that a PyMC function returned."""
    of_draws = hasattr(result, "children") and "posterior" in result.children
    known = result["posterior"] if of_draws else result
    if not isinstance(known, Mapping):
        raise TypeError(
            f"the function returned {type(result).__name__}; it must return a DataTree with `posterior`, or a mapping"
        )
    missing = [name for name in prior.layout.names if name not in known]
    if missing:
        raise ValueError(
            f"the function returned no {missing}; it must give every free variable, {list(prior.layout.names)}"
        )
    values = {name: known[name].isel(chain=0, draw=-1) if of_draws else known[name] for name in prior.layout.names}
    return prior.unconstrain({name: np.asarray(value)[None] for name, value in values.items()})[0]
