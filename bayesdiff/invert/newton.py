"""Modes of a batch of steps: Newton's method that cannot be fooled by a saddle.

    x  <-  x + (|H| + damping)^-1 g        g, -H: gradient and Hessian of log p(x | o)

|H| has the eigenvectors of H and the absolute values of its eigenvalues, so every step goes uphill (Dauphin et al.
2014, section 4), and near a mode it is Newton's. A step that fails is tried again, damped (Levenberg 1944, Marquardt
1963). All this in units in which the diagonal of H is 1, so that no scale is too small beside another. A climb has
arrived where a step that is not damped would gain nothing. Functions here take one state; ``jax.vmap`` makes the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayesdiff.invert.tuning import SEARCH, Search

# A curvature below this share of the largest, in units in which it is not small, is rounding.
FLAT = 1e-12

Logp = Callable[[jax.Array], jax.Array]


class Climb(NamedTuple):
    """Where a climb ended.

    ``x`` (n,), ``logp`` (), ``precision`` = -d^2 log p / dx^2 (n, n) (or (0, 0) where none is formed), ``converged``
    (): at a maximum to rounding; ``kink`` (): at one that has no curvature, and ``on_edge`` (): at none, but next to
    p = 0 and no move improves it, both known of `kinks.top` alone; ``evaluations`` (): of log p with its derivatives.
    """

    x: jax.Array
    logp: jax.Array
    precision: jax.Array
    converged: jax.Array
    kink: jax.Array
    on_edge: jax.Array
    unfinished: jax.Array
    evaluations: jax.Array


def times(matrices: jax.Array, vectors: jax.Array) -> jax.Array:
    """Compute matrices @ vectors, (..., n, n) and (..., n), one by one.

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
    """Make eigenvalues positive: their absolute values, not below `FLAT` of the largest."""
    size = jnp.abs(values)
    return jnp.maximum(size, FLAT * size.max() + 1e-300)


def units(precision: jax.Array, gradient: jax.Array | float = 0.0) -> jax.Array:
    """Compute the units (n,) in which a precision has the diagonal 1; where it is 0, that in which log p falls by 1."""
    size = jnp.abs(jnp.diagonal(precision))
    size = jnp.where(size > 0, size, jnp.square(gradient))
    return 1 / jnp.sqrt(jnp.where(size > 0, size, 1.0))


def in_units(precision: jax.Array, unit: jax.Array) -> jax.Array:
    """Compute a precision (n, n) in other units (n,)."""
    return precision * unit[:, None] * unit


def inverse_root(precision: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute R (n, n) with R R' = |H|^-1, of a precision H, and log det R.

    |H| is that in units in which the diagonal of H is 1: whatever the units of x were, nothing is lost in rounding.
    """
    unit = units(precision)
    scaled = in_units(precision, unit)
    inverse = matrix_function(scaled, lambda values: 1 / jnp.sqrt(floored(values)))
    return unit[:, None] * inverse, jnp.log(unit).sum() - 0.5 * jnp.log(floored(eigenvalues(scaled))).sum()


def root(covariance: jax.Array) -> jax.Array:
    """Compute R (n, n) with R R' = |C| of a covariance C, in the same way."""
    unit = units(covariance)
    scaled = matrix_function(in_units(covariance, unit), lambda values: jnp.sqrt(floored(values)))
    return scaled / unit[:, None]


def magnitude(precision: jax.Array) -> jax.Array:
    """Compute |H| (n, n) of a precision H, in the same units: the inverse of R R' of `inverse_root`."""
    unit = units(precision)
    return in_units(matrix_function(in_units(precision, unit), floored), 1 / unit)


def is_neck(logp: Logp, x: jax.Array, precision: jax.Array, search: Search = SEARCH) -> jax.Array:
    """Whether a maximum is the neck of a funnel: as high as narrow, and its mass nothing beside that of the funnel.

    There a step of one sd along the widest direction leaves a place so much wider that it holds `neck` nats more.
    Asked only where scales are so different that their squares are lost beside each other: a mild funnel is a mode, and
    so are variables that are only measured in different units.
    """
    size = jnp.abs(eigenvalues(precision))
    inverse, _ = inverse_root(precision)
    covariance = (inverse[:, None] * inverse).sum(axis=-1)
    widest = jnp.argmax(jnp.diagonal(covariance))
    step = covariance[widest] / jnp.sqrt(covariance[widest, widest])

    def wider(x: jax.Array) -> jax.Array:
        """The nats by which a Gaussian of the curvatures at x, but for the widest, holds more than that at the mode."""
        now = jnp.abs(jnp.diagonal(jax.hessian(logp)(x)))
        return 0.5 * jnp.log(jnp.diagonal(precision) / now).at[widest].set(0.0).sum()

    more = jnp.nan_to_num(jax.vmap(wider)(jnp.stack([x + step, x - step])), nan=0.0).max()
    return (size.min() < FLAT * size.max()) & (more > search.neck)


def is_maximum(precision: jax.Array) -> jax.Array:
    """Whether a precision is positive definite."""
    return eigenvalues(in_units(precision, units(precision))).min() > 0


class _Ascent(NamedTuple):
    """A climb on its way: where it is, and the step that it tries next.

    ``gain`` (): of the step that is not damped, twice the nats that it would gain, were the surface quadratic;
    ``short`` (): whether that step is below the rounding of x; ``curved`` (): whether as at a maximum; ``lost`` (): a
    step was refused by rounding alone.
    """

    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    precision: jax.Array
    step: jax.Array
    gain: jax.Array
    short: jax.Array
    curved: jax.Array
    damping: jax.Array
    evaluations: jax.Array
    lost: jax.Array

    def arrived(self) -> jax.Array:
        """Whether at a place from which a step that is not damped leads nowhere.

        It is below 1e-10 posterior sd, or below the rounding of x itself, or its gain below that of log p. A damped one
        says nothing: before a wall it is as short as one likes.
        """
        return (self.gain <= 1e-20) | self.short | self.lost

    def going(self) -> jax.Array:
        """Whether there is a step to try."""
        lost = ~jnp.isfinite((self.gradient * self.step).sum()) | ~jnp.isfinite(self.value)
        return ~self.arrived() & ~(lost | (self.damping > 1e12))


def climb(
    logp: Logp,
    start: jax.Array,
    curvature: jax.Array,
    steps: int | jax.Array | None = None,
    search: Search = SEARCH,
) -> Climb:
    """Compute a mode of `logp` uphill from `start` (n,), by `steps` at most: else as many as a search has.

    `curvature`, alpha^2 / sigma^2, is what the observation adds to the precision: the scale of the damping where no
    Hessian is formed.
    """
    dense = start.shape[0] <= search.dense
    most = search.most_steps if steps is None else steps

    def towards(
        x: jax.Array, gradient: jax.Array, precision: jax.Array, damping: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """The next ``step``, ``gain``, ``short`` and ``curved``."""
        if dense:
            step, whole, curved = _direction(gradient, precision, damping)
        else:
            step, curved = _conjugate_gradient(logp, x, gradient, damping * curvature)
            whole = jnp.where(damping > 0, jnp.nan, step)
        return step, (gradient * whole).sum(), (jnp.abs(whole) <= 4 * jnp.finfo(x.dtype).eps * jnp.abs(x)).all(), curved

    def advance(state: _Ascent) -> _Ascent:
        first = state.evaluations == 0
        x = state.x + state.step
        value, gradient, precision = _evaluated(logp, x, dense)
        better = first | ((value >= state.value) & jnp.isfinite(gradient).all())
        # Refused by rounding alone; where p is 0 there is a wall, not a top.
        lost = ~better & jnp.isfinite(value) & (state.gain < 1e-12 * (1 + jnp.abs(state.value)))
        less = jnp.where(state.damping > 1e-3, state.damping / 8, 0.0)
        damping = jnp.where(better, less, 8 * state.damping + 0.1)
        x, value = jnp.where(better, x, state.x), jnp.where(better, value, state.value)
        gradient = jnp.where(better, gradient, state.gradient)
        precision = jnp.where(better, precision, state.precision)
        step, gain, short, curved = towards(x, gradient, precision, damping)
        if not dense:  # a damped search by products tells nothing of the one that is not
            gain, short = jnp.where(better, gain, state.gain), jnp.where(better, short, state.short)
        return _Ascent(x, value, gradient, precision, step, gain, short, curved, damping, state.evaluations + 1, lost)

    # The first turn takes no step: it looks at the start, by the code of all others, which is long and compiled once.
    still, zero, no = jnp.zeros_like(start), jnp.zeros(()), jnp.zeros((), bool)
    flat = jnp.zeros((len(start), len(start)) if dense else (0, 0))
    begun = _Ascent(start, zero, still, flat, still, zero, no, no, zero, jnp.zeros((), int), no)
    last = jax.lax.while_loop(
        lambda state: (state.evaluations == 0) | (state.going() & (state.evaluations < most)), advance, begun
    )
    value = jnp.where(jnp.isfinite(last.value), last.value, -jnp.inf)
    return Climb(last.x, value, last.precision, last.arrived() & last.curved, no, no, last.going(), last.evaluations)


def looked_at(logp: Logp, x: jax.Array, converged: jax.Array) -> Climb:
    """The end of a climb to x (n,), as `climb` gave it: precision and height are computed once more."""
    value, _, precision = _evaluated(logp, x, dense=True)
    no, once = jnp.zeros((), bool), jnp.ones((), int)
    return Climb(x, jnp.where(jnp.isfinite(value), value, -jnp.inf), precision, converged, no, no, no, once)


def _evaluated(logp: Logp, x: jax.Array, dense: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log p, its gradient and, if `dense`, its precision."""
    if not dense:
        value, gradient = jax.value_and_grad(logp)(x)
        return value, gradient, jnp.zeros((0, 0))

    def gradient_first(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        value, gradient = jax.value_and_grad(logp)(x)
        return gradient, (value, gradient)

    hessian, (value, gradient) = jax.jacfwd(gradient_first, has_aux=True)(x)
    return value, gradient, -(hessian + hessian.T) / 2


def _direction(gradient: jax.Array, precision: jax.Array, damping: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The step, the same not damped, and whether the surface is curved as at a maximum.

    In one and two dimensions in closed form: where a million climb, every operation counts, and divisions most.
    """
    n = gradient.shape[0]
    if n == 1:
        size = jnp.where(precision[0] == 0, jnp.square(gradient), jnp.abs(precision[0]))
        size, least = jnp.where(size > 0, size, 1.0), jnp.where(precision[0] == 0, FLAT, 1.0)
        step = gradient / (size * (least + damping))
        return step, step * (1 + damping * jnp.where(precision[0] == 0, 1 / FLAT, 1.0)), precision[0, 0] > 0
    unit = units(precision, gradient)
    scaled, slope = in_units(precision, unit), unit * gradient
    if n == 2:
        centre, half = (scaled[0, 0] + scaled[1, 1]) / 2, (scaled[0, 0] - scaled[1, 1]) / 2
        radius = jnp.sqrt(half**2 + scaled[0, 1] ** 2)
        high, low = jnp.abs(centre + radius), jnp.abs(centre - radius)
        largest = jnp.maximum(jnp.maximum(high, low), 1.0)
        high, low = jnp.maximum(high, FLAT * largest), jnp.maximum(low, FLAT * largest)
        more = damping * largest
        by_high, by_low = 1 / (high * (high + more)), 1 / (low * (low + more))
        across = jnp.stack([half * slope[0] + scaled[0, 1] * slope[1], scaled[0, 1] * slope[0] - half * slope[1]])
        across *= jnp.where(radius > 0, 1 / jnp.where(radius > 0, radius, 1.0), 0.0)

        def solved(high: jax.Array, low: jax.Array) -> jax.Array:
            return unit * ((high + low) / 2 * slope + (high - low) / 2 * across)

        step = solved(by_high * high, by_low * low)
        return step, solved(by_high * (high + more), by_low * (low + more)), centre > radius

    def inverse(values: jax.Array, damping: jax.Array | float) -> jax.Array:
        size = jnp.abs(values)
        largest = jnp.maximum(size.max(), 1.0)
        return 1 / (jnp.maximum(size, FLAT * largest) + damping * largest)

    values, vectors = jnp.linalg.eigh(scaled)
    along = times(vectors.T, slope)
    step, whole = (unit * times(vectors, inverse(values, d) * along) for d in (damping, 0.0))
    return step, whole, values.min() > 0


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
    there, ``converged``, ``kink`` and ``on_edge`` (starts,), ``evaluations`` (): all climbs together.
    """

    x: jax.Array
    logp: jax.Array
    precision: jax.Array
    agreed: jax.Array
    converged: jax.Array
    kink: jax.Array
    on_edge: jax.Array
    unfinished: jax.Array
    evaluations: jax.Array


def find_modes(
    logp: Logp,
    starts: jax.Array,
    curvature: jax.Array,
    steps: int | jax.Array | None = None,
    search: Search = SEARCH,
) -> Modes:
    """Compute the distinct modes of `logp` above `starts` (starts, n)."""
    ends = jax.vmap(lambda start: climb(logp, start, curvature, steps, search))(starts)

    def distance(a: jax.Array, b: jax.Array, precision: jax.Array) -> jax.Array:
        d = a - b
        return (d * (times(precision, d) if precision.size else curvature * d)).sum()

    apart = jax.vmap(lambda a: jax.vmap(lambda b, p: distance(a, b, p))(ends.x, ends.precision))(ends.x)
    level = jnp.abs(ends.logp[:, None] - ends.logp[None, :]) < 1e-6 * (1 + jnp.abs(ends.logp[None, :]))
    return distinct(ends, (jnp.abs(apart) < search.same_mode**2) & level, jnp.ones(len(starts), jnp.int16))


def distinct(ends: Climb, same: jax.Array, agreed: jax.Array) -> Modes:
    """Compute the distinct modes: `same` (ends, ends) says which are one, `agreed` (ends,) how many starts each had."""
    alive = jnp.isfinite(ends.logp)
    same = same & alive[:, None] & alive[None, :]
    order = jnp.arange(len(ends.logp))
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
        agreed=pick((same * agreed).sum(axis=1, dtype=jnp.int16), 0),
        converged=pick(ends.converged, False),
        kink=pick(ends.kink, False),
        on_edge=pick(ends.on_edge, False),
        unfinished=ends.unfinished.any(),
        evaluations=ends.evaluations.sum(),
    )
