"""Moves that leave p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x) as it is, for a batch of states.

    prior jump   x' ~ p0,                               accepted with  min(1, N(o; alpha x', ..) / N(o; alpha x, ..))
    mode jump    x' ~ q, Gaussians at the modes,         accepted with  min(1, p(x'|o) q(x) / (p(x|o) q(x')))
    slice        an ellipse through x and a draw of N(o / alpha, sigma^2 / alpha^2), down to where p0 is high enough
    HMC          a trajectory of the Hamiltonian -log p(x | o) + |v|^2 / 2, in coordinates scaled by a metric

Each owns a regime: the prior jump a wide step, the mode jump well separated modes, the slice a wide step whose prior
cannot be drawn (in one to three dimensions), HMC everything local. None moves a lane (a row of the batch) by what
another lane does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayesdiff.newton import times

Batch = Callable[[jax.Array], jax.Array]
DIVERGENCE = 1000.0  # nats of energy error, as in PyMC and Stan
# An ellipse's arc shrinks by more than half on average: after so many tries it is a point.
SLICE_TRIES = 50


class Lanes(NamedTuple):
    """A batch of states and their targets.

    ``x`` (lanes, n); ``prior`` (lanes,): log p0(x).
    """

    x: jax.Array
    prior: jax.Array


class Target(NamedTuple):
    """p(x | o) of every lane.

    ``prior`` (lanes, n) -> (lanes,) computes log p0; ``o`` (lanes, n); ``alpha``, ``sigma`` (lanes,).
    """

    prior: Batch
    o: jax.Array
    alpha: jax.Array
    sigma: jax.Array

    def likelihood(self, x: jax.Array) -> jax.Array:
        """Compute log N(o; alpha x, sigma^2 I) without its constant (lanes,)."""
        return -0.5 * (((self.o - self.alpha[:, None] * x) / self.sigma[:, None]) ** 2).sum(-1)


def _accept(key: jax.Array, log_ratio: jax.Array) -> jax.Array:
    # NaN compares as false, so an invalid proposal is never taken.
    return jnp.log(jax.random.uniform(key, log_ratio.shape)) < log_ratio


def _take(accepted: jax.Array, new: Lanes, old: Lanes) -> Lanes:
    return Lanes(jnp.where(accepted[:, None], new.x, old.x), jnp.where(accepted, new.prior, old.prior))


def prior_jump(key: jax.Array, lanes: Lanes, target: Target, proposal: Lanes) -> tuple[Lanes, jax.Array]:
    """Compute a Metropolis move to fresh draws of p0; p0 cancels, so none of it is evaluated."""
    accepted = _accept(key, target.likelihood(proposal.x) - target.likelihood(lanes.x))
    return _take(accepted, proposal, lanes), accepted


class Gaussians(NamedTuple):
    """A mixture of Gaussians for each observation: the proposal of `mode_jump`, for all lanes of that observation.

    ``x`` (observations, m, n) centres, ``precision`` and ``root``, root root' = precision^-1, (observations, m, n, n),
    ``log_weight`` (observations, m), ``log_height`` = log of weight times sqrt(det precision); -inf where there is no
    centre. Lanes of one observation follow each other.
    """

    x: jax.Array
    precision: jax.Array
    root: jax.Array
    log_height: jax.Array
    log_weight: jax.Array

    def logp(self, x: jax.Array) -> jax.Array:
        """Compute the log density at x (lanes, n), without the constant."""
        observations, _, n = self.x.shape
        d = x.reshape(observations, -1, 1, n) - self.x[:, None]
        square = (times(self.precision[:, None], d) * d).sum(-1)
        return jax.scipy.special.logsumexp(self.log_height[:, None] - 0.5 * square, axis=-1).reshape(-1)

    def draw(self, key: jax.Array, lanes: int) -> jax.Array:
        """Draw one state for each lane (lanes, n)."""
        which, where = jax.random.split(key)
        observations, modes, n = self.x.shape
        shape = (observations, lanes // observations)
        cumulative = jnp.cumsum(jnp.exp(self.log_weight), axis=1)
        u = jax.random.uniform(which, shape) * cumulative[:, -1:]
        one = (u[:, :, None] > cumulative[:, None]).sum(axis=-1)[:, :, None] == jnp.arange(modes)
        z = one[..., None] * jax.random.normal(where, (*shape, 1, n))  # 0 for all centres but the chosen one
        centre = jnp.where(one[..., None], self.x[:, None], 0.0)
        x = (centre + times(self.root[:, None], z)).sum(axis=2)
        return x.reshape(lanes, n)


def mode_jump(key: jax.Array, lanes: Lanes, target: Target, proposal: Gaussians) -> tuple[Lanes, jax.Array]:
    """Compute a Metropolis move to a draw from Gaussians at the modes of p(x | o)."""
    to, coin = jax.random.split(key)
    x = proposal.draw(to, len(lanes.prior))
    new = Lanes(x, target.prior(x))
    gain = new.prior + target.likelihood(x) - lanes.prior - target.likelihood(lanes.x)
    accepted = _accept(coin, gain + proposal.logp(lanes.x) - proposal.logp(x))
    return _take(accepted, new, lanes), accepted


def slice_move(key: jax.Array, lanes: Lanes, target: Target) -> tuple[Lanes, jax.Array]:
    """Compute an elliptical slice move (Murray, Adams, MacKay 2010) with prior and likelihood in each other's place.

    The Gaussian factor is N(x; o / alpha, sigma^2 / alpha^2 I); the other factor is p0. Returns the lanes and the
    number of evaluations of p0 for each.
    """
    normal, height, angle, rest = jax.random.split(key, 4)
    centre = target.o / target.alpha[:, None]
    x = lanes.x - centre
    other = jax.random.normal(normal, x.shape) * (target.sigma / jnp.abs(target.alpha))[:, None]
    level = lanes.prior + jnp.log(jax.random.uniform(height, lanes.prior.shape))
    theta = jax.random.uniform(angle, level.shape, maxval=2 * jnp.pi)

    class State(NamedTuple):
        lanes: Lanes
        theta: jax.Array
        low: jax.Array
        high: jax.Array
        open: jax.Array
        evaluations: jax.Array
        tries: jax.Array

    def shrink(state: State) -> State:
        proposal = centre + x * jnp.cos(state.theta)[:, None] + other * jnp.sin(state.theta)[:, None]
        prior = target.prior(proposal)
        accepted = state.open & (prior > level)
        low = jnp.where(state.theta < 0, state.theta, state.low)
        high = jnp.where(state.theta < 0, state.high, state.theta)
        u = jax.random.uniform(jax.random.fold_in(rest, state.tries), low.shape)
        return State(
            lanes=_take(accepted, Lanes(proposal, prior), state.lanes),
            theta=low + u * (high - low),
            low=low,
            high=high,
            open=state.open & ~accepted,
            evaluations=state.evaluations + state.open,
            tries=state.tries + 1,
        )

    # A lane whose density is not finite has no slice to stand on: it stays.
    start = State(
        lanes, theta, theta - 2 * jnp.pi, theta, jnp.isfinite(level), jnp.zeros(level.shape, int), jnp.zeros((), int)
    )
    last = jax.lax.while_loop(lambda s: s.open.any() & (s.tries < SLICE_TRIES), shrink, start)
    return last.lanes, last.evaluations


class Metric(NamedTuple):
    """The scale of HMC: x = root z. ``root`` (lanes, n, n), or (lanes, n) for a diagonal one."""

    root: jax.Array

    def scale(self, z: jax.Array) -> jax.Array:
        """Compute root z for z (lanes, n)."""
        return self.root * z if self.root.ndim == 2 else times(self.root, z)

    def slope(self, gradient: jax.Array) -> jax.Array:
        """Compute the gradient with respect to z, root' g, for g (lanes, n)."""
        return self.root * gradient if self.root.ndim == 2 else times(jnp.swapaxes(self.root, -1, -2), gradient)


class Trajectory(NamedTuple):
    """What `hmc` did: ``acceptance`` (lanes,) probability, ``diverging`` (lanes,)."""

    acceptance: jax.Array
    diverging: jax.Array


def hmc(
    key: jax.Array,
    lanes: Lanes,
    target: Target,
    prior_and_gradient: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    metric: Metric,
    step_size: jax.Array,
    steps: jax.Array,
) -> tuple[Lanes, Trajectory]:
    """Compute one Hamiltonian Monte Carlo move (Duane et al. 1987; Neal 2011, section 5.3.2).

    `step_size` (lanes,) in the metric's units, `steps` () leapfrog steps for all.
    """
    momentum, coin = jax.random.split(key)
    precision = (target.alpha / target.sigma**2)[:, None]

    def slope(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        prior, gradient = prior_and_gradient(x)
        return prior, metric.slope(gradient + precision * (target.o - target.alpha[:, None] * x))

    v0 = jax.random.normal(momentum, lanes.x.shape)
    size = step_size[:, None]

    def leap(
        _: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        x, v, g, _prior = state
        v = v + 0.5 * size * g
        x = x + metric.scale(size * v)
        prior, g = slope(x)
        return x, v + 0.5 * size * g, g, prior

    prior, gradient = slope(lanes.x)
    x, v, _, prior = jax.lax.fori_loop(0, steps, leap, (lanes.x, v0, gradient, prior))
    new = Lanes(x, prior)
    kinetic = 0.5 * (v0**2 - v**2).sum(-1)
    gain = prior + target.likelihood(x) - lanes.prior - target.likelihood(lanes.x) + kinetic
    gain = jnp.where(jnp.isnan(gain), -jnp.inf, gain)
    accepted = _accept(coin, gain)
    return _take(accepted, new, lanes), Trajectory(jnp.exp(jnp.minimum(gain, 0.0)), gain < -DIVERGENCE)
