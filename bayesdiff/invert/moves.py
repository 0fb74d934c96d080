"""Moves that leave p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x) as it is, for a batch of states.

    prior jump   x' ~ p0,                               accepted with  min(1, N(o; alpha x', ..) / N(o; alpha x, ..))
    mode jump    x' ~ q, Gaussians at the modes,         accepted with  min(1, p(x'|o) q(x) / (p(x|o) q(x')))
    slice        an ellipse through x and a draw of N(o / alpha, sigma^2 / alpha^2), down to where p0 is high enough
    HMC          a trajectory of the Hamiltonian -log p(x | o) + |v|^2 / 2, in coordinates scaled by a metric

Each owns a regime: the prior jump a wide step, the mode jump well separated modes, the slice a wide step whose prior
cannot be drawn (in one to three dimensions), HMC everything local. None moves a chain (a row of the states) by what
another one does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayesdiff.invert.newton import times
from bayesdiff.invert.tuning import SAMPLING

Batch = Callable[[jax.Array], jax.Array]
DIVERGENCE = 1000.0  # nats of energy error, as in PyMC and Stan


class States(NamedTuple):
    """The states of many chains: ``x`` (chains, n); ``prior`` (chains,): log p0(x)."""

    x: jax.Array
    prior: jax.Array


class Target(NamedTuple):
    """p(x | o) of every chain.

    ``prior`` (chains, n) -> (chains,) computes log p0; ``o`` (chains, n); ``alpha``, ``sigma`` (chains,).
    """

    prior: Batch
    o: jax.Array
    alpha: jax.Array
    sigma: jax.Array

    def likelihood(self, x: jax.Array) -> jax.Array:
        """Compute log N(o; alpha x, sigma^2 I) without its constant (chains,)."""
        return -0.5 * (((self.o - self.alpha[:, None] * x) / self.sigma[:, None]) ** 2).sum(-1)


def _accept(key: jax.Array, log_ratio: jax.Array) -> jax.Array:
    # NaN compares as false, so an invalid proposal is never taken.
    return jnp.log(jax.random.uniform(key, log_ratio.shape)) < log_ratio


def _take(accepted: jax.Array, new: States, old: States) -> States:
    return States(jnp.where(accepted[:, None], new.x, old.x), jnp.where(accepted, new.prior, old.prior))


def prior_jump(key: jax.Array, states: States, target: Target, proposal: States) -> tuple[States, jax.Array]:
    """Compute a Metropolis move to fresh draws of p0; p0 cancels, so none of it is evaluated."""
    accepted = _accept(key, target.likelihood(proposal.x) - target.likelihood(states.x))
    return _take(accepted, proposal, states), accepted


class Gaussians(NamedTuple):
    """A mixture of Gaussians for each observation: the proposal of `mode_jump`, for all chains of that observation.

    ``x`` (observations, m, n) centres, ``precision`` and ``root``, root root' = precision^-1, (observations, m, n, n),
    ``log_weight`` (observations, m), ``log_height`` = log of weight times sqrt(det precision); -inf where there is no
    centre. Chains of one observation follow each other.
    """

    x: jax.Array
    precision: jax.Array
    root: jax.Array
    log_height: jax.Array
    log_weight: jax.Array

    def logp(self, x: jax.Array) -> jax.Array:
        """Compute the log density at x (chains, n), without the constant."""
        observations, _, n = self.x.shape
        d = x.reshape(observations, -1, 1, n) - self.x[:, None]
        square = (times(self.precision[:, None], d) * d).sum(-1)
        return jax.scipy.special.logsumexp(self.log_height[:, None] - 0.5 * square, axis=-1).reshape(-1)

    def draw(self, key: jax.Array, chains: int) -> jax.Array:
        """Draw one state for each chain (chains, n)."""
        which, where = jax.random.split(key)
        observations, modes, n = self.x.shape
        shape = (observations, chains // observations)
        cumulative = jnp.cumsum(jnp.exp(self.log_weight), axis=1)
        u = jax.random.uniform(which, shape) * cumulative[:, -1:]
        one = (u[:, :, None] > cumulative[:, None]).sum(axis=-1)[:, :, None] == jnp.arange(modes)
        z = one[..., None] * jax.random.normal(where, (*shape, 1, n))  # 0 for all centres but the chosen one
        centre = jnp.where(one[..., None], self.x[:, None], 0.0)
        x = (centre + times(self.root[:, None], z)).sum(axis=2)
        return x.reshape(chains, n)


def mode_jump(key: jax.Array, states: States, target: Target, proposal: Gaussians) -> tuple[States, jax.Array]:
    """Compute a Metropolis move to a draw from Gaussians at the modes of p(x | o)."""
    to, coin = jax.random.split(key)
    x = proposal.draw(to, len(states.prior))
    new = States(x, target.prior(x))
    gain = new.prior + target.likelihood(x) - states.prior - target.likelihood(states.x)
    accepted = _accept(coin, gain + proposal.logp(states.x) - proposal.logp(x))
    return _take(accepted, new, states), accepted


def slice_move(
    key: jax.Array, states: States, target: Target, tries: int = SAMPLING.slice_tries
) -> tuple[States, jax.Array]:
    """Compute an elliptical slice move (Murray, Adams, MacKay 2010) with prior and likelihood in each other's place.

    The Gaussian factor is N(x; o / alpha, sigma^2 / alpha^2 I); the other factor is p0. Returns the states and the
    number of evaluations of p0 for each. After so many `tries` a chain stays.
    """
    normal, height, angle, rest = jax.random.split(key, 4)
    centre = target.o / target.alpha[:, None]
    x = states.x - centre
    other = jax.random.normal(normal, x.shape) * (target.sigma / jnp.abs(target.alpha))[:, None]
    level = states.prior + jnp.log(jax.random.uniform(height, states.prior.shape))
    theta = jax.random.uniform(angle, level.shape, maxval=2 * jnp.pi)

    class Arc(NamedTuple):
        states: States
        theta: jax.Array
        low: jax.Array
        high: jax.Array
        open: jax.Array
        evaluations: jax.Array
        tries: jax.Array

    def shrink(state: Arc) -> Arc:
        proposal = centre + x * jnp.cos(state.theta)[:, None] + other * jnp.sin(state.theta)[:, None]
        prior = target.prior(proposal)
        accepted = state.open & (prior > level)
        low = jnp.where(state.theta < 0, state.theta, state.low)
        high = jnp.where(state.theta < 0, state.high, state.theta)
        u = jax.random.uniform(jax.random.fold_in(rest, state.tries), low.shape)
        return Arc(
            states=_take(accepted, States(proposal, prior), state.states),
            theta=low + u * (high - low),
            low=low,
            high=high,
            open=state.open & ~accepted,
            evaluations=state.evaluations + state.open,
            tries=state.tries + 1,
        )

    # A chain whose density is not finite has no slice to stand on: it stays.
    start = Arc(
        states, theta, theta - 2 * jnp.pi, theta, jnp.isfinite(level), jnp.zeros(level.shape, int), jnp.zeros((), int)
    )
    last = jax.lax.while_loop(lambda s: s.open.any() & (s.tries < tries), shrink, start)
    return last.states, last.evaluations


class Metric(NamedTuple):
    """The scale of HMC: x = root z. ``root`` (chains, n, n), or (chains, n) for a diagonal one."""

    root: jax.Array

    def scale(self, z: jax.Array) -> jax.Array:
        """Compute root z for z (chains, n)."""
        return self.root * z if self.root.ndim == 2 else times(self.root, z)

    def slope(self, gradient: jax.Array) -> jax.Array:
        """Compute the gradient with respect to z, root' g, for g (chains, n)."""
        return self.root * gradient if self.root.ndim == 2 else times(jnp.swapaxes(self.root, -1, -2), gradient)


class Leap(NamedTuple):
    """Where a trajectory is: ``x``, its momentum ``v``, and ``seen``, all that was computed at x."""

    x: Any
    v: Any
    seen: Any


def leapfrog(
    at: Leap,
    size: Any,
    look: Callable[[Any], Any],
    force: Callable[[Any, Any], Any],
    scale: Callable[[Any], Any] = lambda way: way,
) -> Leap:
    """Compute one leapfrog step, of JAX's arrays or NumPy's.

    v <- v + size/2 force(x),   x <- x + scale(size v),   v <- v + size/2 force(x)

    `look` gives what is seen at x, of which `force` (x, seen) is made.
    """
    v = at.v + 0.5 * size * force(at.x, at.seen)
    x = at.x + scale(size * v)
    seen = look(x)
    return Leap(x, v + 0.5 * size * force(x, seen), seen)


def hmc(
    key: jax.Array,
    states: States,
    target: Target,
    prior_and_gradient: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    metric: Metric,
    step_size: jax.Array,
    steps: jax.Array,
) -> tuple[States, jax.Array, jax.Array]:
    """Compute one Hamiltonian Monte Carlo move (Duane et al. 1987; Neal 2011, section 5.3.2).

    `step_size` (chains,) in the metric's units, `steps` () leapfrog steps for all. Returns the states, the probability
    of acceptance, and whether the trajectory diverged (chains,).
    """
    momentum, coin = jax.random.split(key)
    precision = (target.alpha / target.sigma**2)[:, None]

    def look(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The slope of log p(x | o) in the metric's units, and log p0."""
        prior, gradient = prior_and_gradient(x)
        return metric.slope(gradient + precision * (target.o - target.alpha[:, None] * x)), prior

    v0 = jax.random.normal(momentum, states.x.shape)
    size = step_size[:, None]

    def leap(_: jax.Array, at: Leap) -> Leap:
        return leapfrog(at, size, look, lambda _, seen: seen[0], metric.scale)

    x, v, (_, prior) = jax.lax.fori_loop(0, steps, leap, Leap(states.x, v0, look(states.x)))
    new = States(x, prior)
    kinetic = 0.5 * (v0**2 - v**2).sum(-1)
    gain = prior + target.likelihood(x) - states.prior - target.likelihood(states.x) + kinetic
    gain = jnp.where(jnp.isnan(gain), -jnp.inf, gain)
    accepted = _accept(coin, gain)
    return _take(accepted, new, states), jnp.exp(jnp.minimum(gain, 0.0)), gain < -DIVERGENCE
