"""Moves that leave p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x) as it is, for a batch of states.

    prior jump   x' ~ p0,                               accepted with  min(1, N(o; alpha x', ..) / N(o; alpha x, ..))
    mode jump    x' ~ q, Gaussians at the modes,         accepted with  min(1, p(x'|o) q(x) / (p(x|o) q(x')))
    slice        an ellipse through x and a draw of N(o / alpha, sigma^2 / alpha^2), down to where p0 is high enough
    HMC          a trajectory of the Hamiltonian -log p(x | o) + |v|^2 / 2, in coordinates scaled by a metric

Each owns a regime: the prior jump a wide step, the mode jump well separated modes, the slice a wide step whose prior
cannot be drawn (in one to three dimensions), HMC everything local. None moves a chain (a row of the states) by what
another one does. What is random in a move is given to it: one loop draws for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.invert.newton import times
from bayesdiff.invert.tuning import SAMPLING

Batch = Callable[[jax.Array], jax.Array]


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


class Chance(NamedTuple):
    """The random numbers of a move of all chains: ``normal`` (chains, n) and ``uniform`` (any, chains) in (0, 1)."""

    normal: jax.Array
    uniform: jax.Array


def chances(keys: jax.Array, needed: int | jax.Array, chains: int, n: int, uniforms: int) -> Chance:
    """Draw the numbers of some moves (moves, ...), of the first `needed` of as many as there are `keys`.

    In a loop, as their code is long: it is compiled once, whatever the moves.
    """
    least = np.nextafter(-1.0, 0.0)  # what the normal of this one is, is finite

    def draw(number: jax.Array, drawn: Chance) -> Chance:
        values = jax.random.uniform(keys[number], ((n + uniforms) * chains,), minval=least, maxval=1.0)
        normal = np.sqrt(2) * jax.lax.erf_inv(values[: n * chains]).reshape(chains, n)
        uniform = (1 + values[n * chains :].reshape(uniforms, chains)) / 2
        return Chance(drawn.normal.at[number].set(normal), drawn.uniform.at[number].set(uniform))

    moves = len(keys)
    return jax.lax.fori_loop(
        0, needed, draw, Chance(jnp.zeros((moves, chains, n)), jnp.zeros((moves, uniforms, chains)))
    )


def _accept(uniform: jax.Array, log_ratio: jax.Array) -> jax.Array:
    # NaN compares as false, so an invalid proposal is never taken.
    return jnp.log(uniform) < log_ratio


def _take(accepted: jax.Array, new: States, old: States) -> States:
    return States(jnp.where(accepted[:, None], new.x, old.x), jnp.where(accepted, new.prior, old.prior))


def prior_jump(uniform: jax.Array, states: States, target: Target, proposal: States) -> tuple[States, jax.Array]:
    """Compute a Metropolis move to fresh draws of p0, by `uniform` (chains,); p0 cancels: none of it is evaluated."""
    accepted = _accept(uniform, target.likelihood(proposal.x) - target.likelihood(states.x))
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

    def draw(self, chance: Chance) -> jax.Array:
        """Draw one state for each chain (chains, n)."""
        observations, modes, n = self.x.shape
        cumulative = jnp.cumsum(jnp.exp(self.log_weight), axis=1)
        u = chance.uniform[0].reshape(observations, -1) * cumulative[:, -1:]
        one = (u[:, :, None] > cumulative[:, None]).sum(axis=-1)[:, :, None] == jnp.arange(modes)
        # 0 for all centres but the chosen one
        z = one[..., None] * chance.normal.reshape(observations, -1, 1, n)
        centre = jnp.where(one[..., None], self.x[:, None], 0.0)
        return (centre + times(self.root[:, None], z)).sum(axis=2).reshape(-1, n)


def mode_jump(chance: Chance, states: States, target: Target, proposal: Gaussians) -> tuple[States, jax.Array]:
    """Compute a Metropolis move to a draw from Gaussians at the modes of p(x | o)."""
    x = proposal.draw(chance)
    new = States(x, target.prior(x))
    gain = new.prior + target.likelihood(x) - states.prior - target.likelihood(states.x)
    accepted = _accept(chance.uniform[1], gain + proposal.logp(states.x) - proposal.logp(x))
    return _take(accepted, new, states), accepted


def slice_move(
    key: jax.Array, chance: Chance, states: States, target: Target, tries: int = SAMPLING.slice_tries
) -> tuple[States, jax.Array]:
    """Compute an elliptical slice move (Murray, Adams, MacKay 2010) with prior and likelihood in each other's place.

    The Gaussian factor is N(x; o / alpha, sigma^2 / alpha^2 I); the other factor is p0. Returns the states and the
    number of evaluations of p0 for each. After so many `tries`, which are drawn by `key`, a chain stays.
    """
    height, angle = chance.uniform[:2]
    centre = target.o / target.alpha[:, None]
    x = states.x - centre
    other = chance.normal * (target.sigma / jnp.abs(target.alpha))[:, None]
    level = states.prior + jnp.log(height)
    theta = 2 * jnp.pi * angle

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
        u = jax.random.uniform(jax.random.fold_in(key, state.tries), low.shape)
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
    chance: Chance,
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
    precision = (target.alpha / target.sigma**2)[:, None]

    def look(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The slope of log p(x | o) in the metric's units, and log p0."""
        prior, gradient = prior_and_gradient(x)
        return metric.slope(gradient + precision * (target.o - target.alpha[:, None] * x)), prior

    def leap(number: jax.Array, at: Leap) -> Leap:
        # The first turn goes nowhere and looks at the start, by the code of all others, which is long: compiled once.
        size = jnp.where(number == 0, 0.0, step_size)[:, None]
        return leapfrog(at, size, look, lambda _, seen: seen[0], metric.scale)

    v0 = chance.normal
    begun = Leap(states.x, v0, (jnp.zeros_like(v0), states.prior))
    x, v, (_, prior) = jax.lax.fori_loop(0, steps + 1, leap, begun)
    new = States(x, prior)
    kinetic = 0.5 * (v0**2 - v**2).sum(-1)
    gain = prior + target.likelihood(x) - states.prior - target.likelihood(states.x) + kinetic
    gain = jnp.where(jnp.isnan(gain), -jnp.inf, gain)
    accepted = _accept(chance.uniform[0], gain)
    # nats of energy error, as in PyMC and Stan
    return _take(accepted, new, states), jnp.exp(jnp.minimum(gain, 0.0)), gain < -1000.0
