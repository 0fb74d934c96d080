"""Modes of a batch of steps: Newton's method that cannot be fooled by a saddle.

    x  <-  x + (|H| + damping)^-1 g        g, -H: gradient and Hessian of log p(x | o)

|H| has the eigenvectors of H and the absolute values of its eigenvalues, so every step goes uphill (Dauphin et al.
2014, section 4), and near a mode it is Newton's. A step that fails is tried again, damped (Levenberg 1944, Marquardt
1963). Functions here take one state; ``jax.vmap`` makes the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Up to here the Hessian is formed; above, only its products with vectors are (n + 1 gradients against a few dozen).
DENSE = 64
MAX_STEPS = 100
# Two climbs found the same mode if they end within this many posterior sd of each other.
SAME_MODE = 1e-3

Logp = Callable[[jax.Array], jax.Array]


class Climb(NamedTuple):
    """Where a climb ended.

    ``x`` (n,), ``logp`` (), ``precision`` = -d^2 log p / dx^2 (n, n) (or (0, 0) above `DENSE`), ``converged`` (): at a
    maximum to rounding, ``evaluations`` (): of log p with its derivatives.
    """

    x: jax.Array
    logp: jax.Array
    precision: jax.Array
    converged: jax.Array
    unfinished: jax.Array
    evaluations: jax.Array


def times(matrices: jax.Array, vectors: jax.Array) -> jax.Array:
    """Compute matrices @ vectors, (..., n, n) and (..., n), lane by lane.

    Written out: XLA hands each small product to a thread pool, and on a busy machine waits for it.
    """
    return (matrices * vectors[..., None, :]).sum(axis=-1)


def matrix_function(symmetric: jax.Array, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Compute Q f(lambda) Q' for a symmetric matrix Q lambda Q' (n, n).

    In one and two dimensions in closed form: batches of these are what people run by the million, and LAPACK takes
    microseconds for each.
    """
    n = symmetric.shape[0]
    if n == 1:
        return function(symmetric)
    if n == 2:
        centre = (symmetric[0, 0] + symmetric[1, 1]) / 2
        radius = jnp.hypot((symmetric[0, 0] - symmetric[1, 1]) / 2, symmetric[0, 1])
        high, low = function(jnp.stack([centre + radius, centre - radius]))
        slope = jnp.where(radius > 0, (high - low) / (2 * jnp.where(radius > 0, radius, 1.0)), 0.0)
        return (high + low) / 2 * jnp.eye(2) + slope * (symmetric - centre * jnp.eye(2))
    values, vectors = jnp.linalg.eigh(symmetric)
    return (vectors * function(values)) @ vectors.T


def eigenvalues(symmetric: jax.Array) -> jax.Array:
    """Compute the eigenvalues (n,) of a symmetric matrix (n, n)."""
    n = symmetric.shape[0]
    if n == 1:
        return symmetric[0]
    if n == 2:
        centre = (symmetric[0, 0] + symmetric[1, 1]) / 2
        radius = jnp.hypot((symmetric[0, 0] - symmetric[1, 1]) / 2, symmetric[0, 1])
        return jnp.stack([centre - radius, centre + radius])
    return jnp.linalg.eigvalsh(symmetric)


def floored(values: jax.Array) -> jax.Array:
    """Make eigenvalues positive: their absolute values, not below 1e-12 of the largest."""
    size = jnp.abs(values)
    return jnp.maximum(size, 1e-12 * size.max() + 1e-300)


def climb(logp: Logp, start: jax.Array, curvature: jax.Array, steps: int | jax.Array = MAX_STEPS) -> Climb:
    """Compute a mode of `logp` uphill from `start` (n,).

    `curvature`, alpha^2 / sigma^2, is what the observation adds to the precision: the scale of the damping above
    `DENSE`.
    """
    dense = start.shape[0] <= DENSE

    def evaluate(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        if not dense:
            value, gradient = jax.value_and_grad(logp)(x)
            return value, gradient, jnp.zeros((0, 0))

        def gradient_first(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            value, gradient = jax.value_and_grad(logp)(x)
            return gradient, (value, gradient)

        hessian, (value, gradient) = jax.jacfwd(gradient_first, has_aux=True)(x)
        return value, gradient, -(hessian + hessian.T) / 2

    def direction(
        x: jax.Array, gradient: jax.Array, precision: jax.Array, damping: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The step, and whether the surface is curved as at a maximum."""
        if not dense:
            return _conjugate_gradient(logp, x, gradient, damping * curvature)

        def inverse(values: jax.Array) -> jax.Array:
            size = floored(values)
            return 1 / (size + damping * size.max())

        return times(matrix_function(precision, inverse), gradient), eigenvalues(precision).min() > 0

    class State(NamedTuple):
        x: jax.Array
        value: jax.Array
        gradient: jax.Array
        precision: jax.Array
        step: jax.Array
        curved: jax.Array
        damping: jax.Array
        evaluations: jax.Array
        lost: jax.Array

    def gain(state: State) -> jax.Array:
        """Twice the nats that the next step would gain, were the surface quadratic."""
        return (state.gradient * state.step).sum()

    def arrived(state: State) -> jax.Array:
        # The next step is below 1e-10 posterior sd, or below the rounding of x itself, or its gain below that of log p.
        rounding = (jnp.abs(state.step) <= 4 * jnp.finfo(state.step.dtype).eps * jnp.abs(state.x)).all()
        return (gain(state) <= 1e-20) | rounding | state.lost

    def going(state: State) -> jax.Array:
        hopeless = (state.damping > 1e12) | ~jnp.isfinite(gain(state)) | ~jnp.isfinite(state.value)
        return ~arrived(state) & ~hopeless

    def advance(state: State) -> State:
        x = state.x + state.step
        value, gradient, precision = evaluate(x)
        better = (value >= state.value) & jnp.isfinite(gradient).all()
        less = jnp.where(state.damping > 1e-3, state.damping / 8, 0.0)
        damping = jnp.where(better, less, 8 * state.damping + 0.1)
        x, value = jnp.where(better, x, state.x), jnp.where(better, value, state.value)
        gradient = jnp.where(better, gradient, state.gradient)
        precision = jnp.where(better, precision, state.precision)
        step, curved = direction(x, gradient, precision, damping)
        lost = ~better & (gain(state) < 1e-12 * (1 + jnp.abs(state.value)))
        return State(x, value, gradient, precision, step, curved, damping, state.evaluations + 1, lost)

    value, gradient, precision = evaluate(start)
    damping = jnp.zeros(())
    step, curved = direction(start, gradient, precision, damping)
    first = State(start, value, gradient, precision, step, curved, damping, jnp.ones((), int), jnp.zeros((), bool))
    last = jax.lax.while_loop(lambda state: going(state) & (state.evaluations < steps), advance, first)
    value = jnp.where(jnp.isfinite(last.value), last.value, -jnp.inf)
    return Climb(last.x, value, last.precision, arrived(last) & last.curved, going(last), last.evaluations)


def _conjugate_gradient(
    logp: Logp, x: jax.Array, gradient: jax.Array, damping: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Solve (H + damping) step = gradient roughly, by products H v alone; stop where H curves the wrong way.

    Steihaug (1983), without the trust region: the caller's damping takes its place.
    """

    def product(v: jax.Array) -> jax.Array:
        return damping * v - jax.jvp(jax.grad(logp), (x,), (v,))[1]

    size = gradient @ gradient
    target = size * jnp.minimum(1e-2, size) + 1e-300

    def body(
        state: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
        step, residual, search, rest, count, _ = state
        along = product(search)
        bend = search @ along
        curved = bend > 0
        length = rest / jnp.where(curved, bend, 1.0)
        # Against the curvature: go as far as the gradient's own scale, on the first iteration; later keep what there
        # is.
        fallback = jnp.where(count == 0, search / (jnp.abs(bend) / size + damping + 1e-300), step)
        residual_ = residual - length * along
        rest_ = residual_ @ residual_
        return (
            jnp.where(curved, step + length * search, fallback),
            residual_,
            residual_ + rest_ / rest * search,
            rest_,
            count + 1,
            curved,
        )

    start = (jnp.zeros_like(x), gradient, gradient, size, jnp.zeros((), int), jnp.ones((), bool))
    last = jax.lax.while_loop(lambda s: (s[3] > target) & (s[4] < 2 * x.shape[0]) & (s[4] < 250) & s[5], body, start)
    return last[0], last[5]


class Modes(NamedTuple):
    """The modes that the climbs from several starts found, best first, padded with NaN.

    ``x`` (starts, n), ``logp`` (starts,), ``precision`` (starts, n, n), ``agreed`` (starts,): how many starts ended
    there, ``converged`` (starts,), ``evaluations`` (): all climbs together.
    """

    x: jax.Array
    logp: jax.Array
    precision: jax.Array
    agreed: jax.Array
    converged: jax.Array
    unfinished: jax.Array
    evaluations: jax.Array

    def best(self, count: int) -> Modes:
        """The first `count` of them."""
        x, logp, precision, agreed, converged, *rest = self
        return Modes(x[:count], logp[:count], precision[:count], agreed[:count], converged[:count], *rest)


def find_modes(logp: Logp, starts: jax.Array, curvature: jax.Array, steps: int | jax.Array = MAX_STEPS) -> Modes:
    """Compute the distinct modes of `logp` above `starts` (starts, n)."""
    ends = jax.vmap(lambda start: climb(logp, start, curvature, steps))(starts)
    count = starts.shape[0]
    alive = jnp.isfinite(ends.logp)

    def distance(a: jax.Array, b: jax.Array, precision: jax.Array) -> jax.Array:
        d = a - b
        return (d * (times(precision, d) if precision.size else curvature * d)).sum()

    apart = jax.vmap(lambda a: jax.vmap(lambda b, p: distance(a, b, p))(ends.x, ends.precision))(ends.x)
    level = jnp.abs(ends.logp[:, None] - ends.logp[None, :]) < 1e-6 * (1 + jnp.abs(ends.logp[None, :]))
    same = (jnp.abs(apart) < SAME_MODE**2) & level & alive[:, None] & alive[None, :]
    order = jnp.arange(count)
    new = alive & ~(same & (order[None, :] < order[:, None])).any(axis=1)
    # Place by counting: a sort costs more than all of the climbs of a cheap prior.
    key = jnp.where(new, ends.logp, -jnp.inf)
    ahead = (key[None, :] > key[:, None]) | ((key[None, :] == key[:, None]) & (order[None, :] < order[:, None]))
    place = ahead.sum(axis=1)
    chosen = (place[None, :] == order[:, None]) & new[None, :]  # (place, start)

    def pick(values: jax.Array, missing: float) -> jax.Array:
        mask = chosen.reshape(chosen.shape + (1,) * (values.ndim - 1))
        got = jnp.where(mask, values[None], 0).sum(axis=1)
        return jnp.where(mask.any(axis=1), got, missing).astype(values.dtype)

    return Modes(
        x=pick(ends.x, jnp.nan),
        logp=pick(ends.logp, -jnp.inf),
        precision=pick(ends.precision, jnp.nan),
        agreed=pick(same.sum(axis=1, dtype=jnp.int16), 0),
        converged=pick(ends.converged, False),
        unfinished=ends.unfinished.any(),
        evaluations=ends.evaluations.sum(),
    )
