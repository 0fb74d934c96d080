"""Inverters for pictures: a small step down, from o_k to the level below, in hundreds of dimensions.

    p(o_{k-1} | o_k) ∝ N(o_k; a o_{k-1}, s^2 I) p_{k-1}(o_{k-1})

The prior is a level prior, so both its density at level k - 1 and its gradient at level k are known. The latter gives
the mean of the step exactly (Tweedie's formula: Robbins 1956)

    E[o_{k-1} | o_k] = (o_k + s^2 d log p_k(o_k) / do_k) / a

`mean` takes it, `flow` follows the path without noise, `draw` starts there and makes moves of Hamiltonian Monte Carlo,
`mode` climbs. They take the place of `bayesdiff.draw` and so on, which search for modes by Newton's method: that is for
tens of dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayesdiff.checks import Seed, generator, positive_int, positive_number
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.invert.chunks import platform, power_of_two, threads
from bayesdiff.invert.inverters import Stats, carries
from bayesdiff.invert.moves import Leap, leapfrog
from bayesdiff.invert.steps import Steps, read_steps

# Pictures that move together.
CHUNK = 64
# Of these, so many are evaluated at a time by each core. With more, what a network computes on the way no longer fits
# the cache, and is more memory than malloc keeps: the system takes it back and clears it anew at every call. What has
# few numbers fits as a whole, and to start a thread takes longer than to compute it.
PIECE, FEW = 4, 128
# The sd of p0 in its narrowest direction: a network's own lowest noise.
NARROWEST = 0.018

Density = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class _Step(NamedTuple):
    """One step, taken by a batch: log p(x | o) and log p0, each with its gradient; the mean of the step and its sd.

    ``mean`` (batch, n) is o / alpha where the density at the level above is not known; ``sd`` (batch,).
    """

    posterior: Density
    prior: Density
    mean: np.ndarray
    sd: np.ndarray


@carries("draw", searches=False)
def draw(
    prior: CompiledPrior,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    moves: int = 3,
    leaps: int = 3,
    settle: int = 0,
    narrowest: float = NARROWEST,
) -> tuple[np.ndarray, Stats]:
    """Draw once from p(x | o) of a small step, for each picture of a batch.

    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

    It starts at a draw from the normal law that has the step's mean, and the sd that the step has in its narrowest
    direction (the step of Ho, Jain, Abbeel 2020), and makes a few moves of Hamiltonian Monte Carlo with p(x | o) as
    their target.

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        A level prior, at the level to be reached.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        Used where the step is none of the prior's own schedule: then there is no mean to start from.
    random_seed : int, Generator or None
        The source of randomness.
    moves, leaps : int
        Of Hamiltonian Monte Carlo; gradients in each.
    settle : int
        After the step from level 1 to level 0, so many moves more with p0 alone as their target. They leave p0 as it
        is, and mend what is near by where the densities on the way were approximations (`half_seen`, prompts of several
        words). For chains in the next-level form only: what comes back is no draw of p(x | o) any more. 0: none.
    narrowest : float
        The sd of p0 in its narrowest direction, which bounds the step size; .018 is that of the networks here. Data
        with less noise than that make p0 narrower.

    Returns
    -------
    x : ndarray (batch, n)
        NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``acceptance_rate``, ``step_size`` (in units of x), ``evaluations``.

    Raises
    ------
    TypeError, ValueError
        As `bayesdiff.draw` does; if `moves` or `leaps` is below 1, `settle` is no int >= 0, `narrowest` is not > 0, or
        moves are to settle where the step is not that of the prior's schedule from level 1 to level 0.

    References
    ----------
    Neal (2011), MCMC using Hamiltonian dynamics, section 5.3.

    Examples
    --------
    A step of a normal law in 100 dimensions:

    >>> from functools import partial
    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images import inverters
    >>> schedule = bd.geometric(8, 0.2, 4.0)
    >>> prior = bd.gaussian_mixture([1.0], np.zeros((1, 100)), 1.0, schedule)
    >>> o = np.random.default_rng(0).normal(0, 17**0.5, size=(64, 100))
    >>> draw = partial(inverters.draw, narrowest=1.0)
    >>> run = bd.reverse(prior, schedule, draw, o=o, draws=64, chains=1, random_seed=1, progressbar=False)
    >>> bool(abs(run["posterior"]["x"].std() - 1) < 0.05)
    True
    """
    positive_int(moves, "moves")
    positive_int(leaps, "leaps")
    if not isinstance(settle, int | np.integer) or isinstance(settle, bool) or settle < 0:
        raise ValueError(f"settle is {settle!r}; write an int >= 0")
    positive_number(narrowest, "narrowest", "a number > 0, the least sd of p0 in any direction")
    rng = generator(random_seed)
    prior = compile_prior(prior)
    at_end = _level(prior) == 0
    if settle and at_end and not _is_own_step(prior, read_steps(prior, o, alpha, sigma, start)):
        raise ValueError(
            f"settle is {settle}, and this is no step of the prior's schedule from level 1 to level 0: moves with p0 "
            "as target would forget o; write settle=0, or next_level=True for a chain"
        )

    def invert(step: _Step, steps: Steps) -> tuple[np.ndarray, Stats]:
        x = step.mean + step.sd[:, None] * rng.normal(size=step.mean.shape)
        x, stats = _moved(step.posterior, x, step.sd, steps.good, rng, moves, leaps)
        if settle and at_end:
            # Without the o above, p0 alone is the target; in its narrowest direction it is as wide as the step or more.
            x, last = _moved(step.prior, x, step.sd, steps.good, rng, settle, leaps)
            stats = {
                "lp": last["lp"],
                "acceptance_rate": (moves * stats["acceptance_rate"] + settle * last["acceptance_rate"])
                / (moves + settle),
                "step_size": last["step_size"],
                "evaluations": stats["evaluations"] + last["evaluations"],
            }
        return x, {**stats, "evaluations": stats["evaluations"] + 1}

    return _inverted(invert, prior, o, alpha, sigma, start, narrowest=narrowest)


@carries("mode", searches=False)
def mode(
    prior: CompiledPrior,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    climbs: int = 30,
) -> tuple[np.ndarray, Stats]:
    """Compute the x that maximises p(x | o) of a small step, for each picture of a batch.

    x = argmax N(o; alpha x, sigma^2 I) p0(x)

    It climbs from the step's mean along the gradient, with the step length of Barzilai and Borwein; a step down is
    taken back and halved.

    Parameters
    ----------
    prior, o, alpha, sigma, start
        As for `draw`.
    random_seed : int, Generator or None
        Not used.
    climbs : int
        Steps along the gradient.

    Returns
    -------
    x : ndarray (batch, n)
        NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``evaluations``, and ``slope``: the length of the gradient at x, in units of 1 / the step's sd: at a
        mode it is 0.

    Raises
    ------
    TypeError, ValueError
        As `bayesdiff.mode` does; if `climbs` is below 1.

    References
    ----------
    Barzilai, Borwein (1988), Two-point step size gradient methods, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images import inverters
    >>> prior = bd.compile_prior(bd.gaussian_mixture([1.0], np.zeros((1, 100)), 1.0, bd.geometric(8, 0.2, 4.0)))
    >>> x, stats = inverters.mode(prior, np.full((1, 100), 2.0))  # half of o, for a normal law and sigma = 1
    >>> bool(np.allclose(x, 1.0))
    True
    """
    positive_int(climbs, "climbs")

    def invert(step: _Step, steps: Steps) -> tuple[np.ndarray, Stats]:
        x = step.mean
        lp, gradient = step.posterior(x)
        length = step.sd**2
        for _ in range(climbs):
            y = x + length[:, None] * gradient
            there, slope = step.posterior(y)
            up = there > lp
            move, change = y - x, gradient - slope
            curvature = (move * change).sum(axis=1)
            bent = up & (curvature > 0)
            longer = (move**2).sum(axis=1) / np.where(bent, curvature, 1.0)
            # A step down is halved; where the density bends the wrong way a longer one is tried.
            length = np.where(bent, longer, np.where(up, 2 * length, 0.5 * length))
            x, lp = np.where(up[:, None], y, x), np.where(up, there, lp)
            gradient = np.where(up[:, None], slope, gradient)
        steepness = np.linalg.norm(gradient, axis=1) * step.sd
        return x, {"lp": lp, "slope": steepness, "evaluations": np.full(len(x), climbs + 2)}

    return _inverted(invert, prior, o, alpha, sigma, start)


@carries("mean", searches=False)
def mean(
    prior: CompiledPrior,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Compute the mean of p(x | o) of a small step, from the gradient of the density at the level above.

    x = E[x | o] = (o + sigma^2 d log p_k(o) / do) / alpha

    Parameters
    ----------
    prior, o, alpha, sigma
        As for `draw`; the step must be one of the prior's own schedule.
    start : array_like, optional
        Not used.
    random_seed : int, Generator or None
        Not used.

    Returns
    -------
    x : ndarray (batch, n)
    stats : dict of ndarray (batch,)
        ``evaluations``.

    Raises
    ------
    ValueError
        If the step is none of the schedule, from the level above the prior's to the prior's.

    References
    ----------
    Robbins (1956), An empirical Bayes approach to statistics.

    Examples
    --------
    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images import inverters
    >>> prior = bd.compile_prior(bd.gaussian_mixture([1.0], np.zeros((1, 3)), 1.0, bd.geometric(2, 1.0, 4.0)))
    >>> x, _ = inverters.mean(prior.at_level(0), [[2.0, 4.0, 6.0]], 1.0, 1.0)  # half of o
    >>> x.round(6).tolist()
    [[1.0, 2.0, 3.0]]
    """

    def invert(step: _Step, steps: Steps) -> tuple[np.ndarray, Stats]:
        return step.mean, {"evaluations": np.ones(len(step.mean), int)}

    return _inverted(invert, prior, o, alpha, sigma, None, needs_mean=True)


@carries("draw", searches=False)
def flow(
    prior: CompiledPrior,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Compute the next point of the path without noise, which has the diffused law at every level.

    o_{k-1} = alpha_{k-1} m + (sigma_{k-1} / sigma_k) (o_k - alpha_k m),   m = E[x | o_k]

    Each path is a function of its o_K: the probability flow, in steps as long as the schedule's.

    Parameters
    ----------
    prior, o, alpha, sigma, start, random_seed
        As for `mean`.

    Returns
    -------
    x : ndarray (batch, n)
    stats : dict of ndarray (batch,)
        ``evaluations``.

    Raises
    ------
    ValueError
        As `mean` does.

    References
    ----------
    Song, Meng, Ermon (2021), Denoising diffusion implicit models, equation 12 with sigma = 0.

    Examples
    --------
    >>> import numpy as np
    >>> import bayesdiff as bd
    >>> from bayesdiff.images import inverters
    >>> schedule = bd.geometric(64, 0.02, 4.0)
    >>> prior = bd.gaussian_mixture([1.0], np.zeros((1, 3)), 1.0, schedule)
    >>> o = np.random.default_rng(0).normal(0, 17**0.5, size=(1000, 3))
    >>> run = bd.reverse(prior, schedule, inverters.flow, o=o, draws=1000, chains=1, random_seed=1, progressbar=False)
    >>> bool(abs(run["posterior"]["x"].std() - 1) < 0.05)
    True
    """
    prior = compile_prior(prior)
    schedule, level = prior.schedule, _level(prior)

    def invert(step: _Step, steps: Steps) -> tuple[np.ndarray, Stats]:
        assert schedule is not None
        a_k, s_k = schedule.alpha[level + 1], schedule.sigma[level + 1]
        a_j, s_j = schedule.alpha[level], schedule.sigma[level]
        # From the mean of o_{k-1} back to that of x: o_{k-1} = b o_k + c x + noise, so E[x | o_k] = (mean - b o_k) / c.
        a, _ = schedule.step(level + 1)
        b = a * s_j**2 / s_k**2
        x = (step.mean - b * steps.o) / (a_j - b * a_k)
        return a_j * x + s_j / s_k * (steps.o - a_k * x), {"evaluations": np.ones(len(x), int)}

    return _inverted(invert, prior, o, alpha, sigma, None, needs_mean=True)


def _moved(
    density: Density,
    x: np.ndarray,
    sd: np.ndarray,
    good: np.ndarray,
    rng: np.random.Generator,
    moves: int,
    leaps: int,
) -> tuple[np.ndarray, Stats]:
    """Make moves of Hamiltonian Monte Carlo from x (batch, n), with step sizes in units of sd (batch,)."""
    size = 1.3 * x.shape[1] ** -0.25
    lp, gradient = density(x)
    rates = np.zeros(len(x))
    for move in range(moves):
        # Shortened at random, so that no orbit closes on itself.
        epsilon = size * rng.uniform(0.8, 1.0) * sd[:, None]
        momentum = rng.normal(size=x.shape)
        at = Leap(x, momentum, (lp, gradient))
        for _ in range(leaps):
            at = leapfrog(at, epsilon, density, lambda _, seen: seen[1])
        y, v, (there, slope) = at
        with np.errstate(invalid="ignore"):
            gain = there - lp + 0.5 * (momentum**2 - v**2).sum(axis=1)
        gain = np.where(np.isnan(gain), -np.inf, gain)
        rate = np.exp(np.minimum(gain, 0.0))
        taken = rng.random(len(x)) < rate
        x, lp = np.where(taken[:, None], y, x), np.where(taken, there, lp)
        gradient = np.where(taken[:, None], slope, gradient)
        rates += rate / moves
        # The moves that count most are made with a step size that they did not choose.
        # What they aim at hardly depends on the dimension, nor does where they begin, divided by the fourth root of it
        # (Beskos et al. 2013).
        if move < min(moves - 1, 20) and good.any():
            size *= np.exp(rate[good].mean() - 0.7)
    calls = np.full(len(x), moves * leaps + 1)
    return x, {"lp": lp, "acceptance_rate": rates, "step_size": size * sd, "evaluations": calls}


def _inverted(
    invert: Callable[[_Step, Steps], tuple[np.ndarray, Stats]],
    prior: CompiledPrior,
    o: ArrayLike,
    alpha: ArrayLike,
    sigma: ArrayLike,
    start: ArrayLike | None,
    needs_mean: bool = False,
    narrowest: float = NARROWEST,
) -> tuple[np.ndarray, Stats]:
    """Check a batch of steps, and invert it chunk by chunk."""
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    own = _is_own_step(prior, steps)
    if needs_mean and not own:
        raise ValueError(
            f"alpha {steps.alpha[0]:.6g} and sigma {steps.sigma[0]:.6g} are no step of the prior's schedule to level "
            f"{_level(prior)}, so the density of o is not known; use bayesdiff.reverse with the prior's own schedule"
        )
    xs, all_stats = [], []
    for first in range(0, len(steps.o), CHUNK):
        part = steps.part(slice(first, first + CHUNK))
        x, stats = invert(_step(prior, part, own, narrowest), part)
        xs.append(part.blank(x))
        all_stats.append({name: part.blank(np.asarray(values)) for name, values in stats.items()})
    return np.concatenate(xs), {name: np.concatenate([stats[name] for stats in all_stats]) for name in all_stats[0]}


def _step(prior: CompiledPrior, steps: Steps, own: bool, narrowest: float) -> _Step:
    """The posterior of one chunk of steps."""
    alpha, variance = steps.alpha[:, None], (steps.sigma**2)[:, None]

    def posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lp, gradient = _evaluated(prior, x)
        rest = steps.o - alpha * x
        return lp - 0.5 * (rest**2 / variance).sum(axis=1), gradient + alpha * rest / variance

    def alone(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _evaluated(prior, x)

    level, schedule = _level(prior), prior.schedule
    below = narrowest if schedule is None else np.hypot(schedule.alpha[level] * narrowest, schedule.sigma[level])
    precision = (steps.alpha / steps.sigma) ** 2 + below**-2.0
    if own:
        gradient = _evaluated(prior.at_level(level + 1), steps.o)[1]
        return _Step(posterior, alone, (steps.o + variance * gradient) / alpha, precision**-0.5)
    begin = steps.start[:, 0] if steps.start.shape[1] else steps.o / alpha
    return _Step(posterior, alone, begin, precision**-0.5)


def _evaluated(prior: CompiledPrior, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log p0 and its gradient, of few sizes of batch, since each is compiled: piece by piece on a CPU's cores."""
    size = power_of_two(len(x)) if platform() != "cpu" else CHUNK if prior.n <= FEW else PIECE
    pieces = [_padded(x[i : i + size], size) for i in range(0, len(x), size)]
    if len(pieces) == 1:
        each = [prior.logp_and_gradient(pieces[0])]
    else:
        with threads(min(len(pieces), os.cpu_count() or 1)) as pool:
            each = list(pool.map(prior.logp_and_gradient, pieces))
    lps, gradients = zip(*each, strict=True)
    return np.concatenate(lps)[: len(x)], np.concatenate(gradients)[: len(x)]


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    """The states, and the last of them again, up to `size`."""
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)])


def _level(prior: CompiledPrior) -> int:
    return 0 if prior.level is None else prior.level


def _is_own_step(prior: CompiledPrior, steps: Steps) -> bool:
    """Whether the steps lead from the level above to the prior's level, by its own schedule."""
    schedule, level = prior.schedule, _level(prior)
    if schedule is None or level >= schedule.levels:
        return False
    a, s = schedule.step(level + 1)
    return bool(np.allclose(steps.alpha, a, rtol=1e-9) and np.allclose(steps.sigma, s, rtol=1e-9))
