"""Maxima that have no curvature: kinks, as that of a Laplace density, and flat tops.

    x  <-  x + t B g        g: gradient of log p(x);  B: what gradients so far say of its inverse curvature

The quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno with the weak conditions of Wolfe on t. Across a kink
the gradients differ however short the step, so that B becomes as narrow there as it must, and x creeps along the kink
to its top (Lewis and Overton 2013). Whether it is one, moves in the directions of B say, long and short: a maximum is
what none of them improves. One state each, as in `newton`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayesdiff.invert.newton import Climb, Logp, climb, times
from bayesdiff.invert.tuning import SEARCH, Search

Point = tuple[jax.Array, jax.Array, jax.Array]


class Top(NamedTuple):
    """Where a search for a maximum without curvature ended, or moves from a point led.

    ``x`` (n,), ``logp`` (), ``is_top`` (): no move improves it, and all but flat ones make it worse; ``on_edge`` ():
    beside p = 0; ``root`` (n, n): with root root' the covariance of a Gaussian about as wide as p is there; ``better``
    (): whether the moves improved it; ``evaluations`` ().
    """

    x: jax.Array
    logp: jax.Array
    is_top: jax.Array
    on_edge: jax.Array
    root: jax.Array
    better: jax.Array
    evaluations: Any


class _Uphill(NamedTuple):
    """The state of a search: where it is, B, and the step t that is tried, between `low`, which is good, and `high`.

    ``at`` and ``best``: place, log p and gradient of where it is, and of the step `low`; ``began`` (): log p where it
    began.
    """

    at: Point
    best: Point
    inverse: jax.Array
    first: jax.Array
    t: jax.Array
    low: jax.Array
    high: jax.Array
    tries: jax.Array
    evaluations: jax.Array
    done: jax.Array
    began: jax.Array


def top(logp: Logp, start: jax.Array, precision: jax.Array, wanted: jax.Array, search: Search = SEARCH) -> Top:
    """Compute a maximum of `logp` near `start` (n,), whether or not it is smooth; nothing unless `wanted`.

    `precision` (n, n): -d^2 log p / dx^2 at the start, for a scale.
    """
    n = start.shape[0]
    # Far from a top that is not smooth the curvature may be next to nothing: then the slope says how wide p is.
    size = jnp.abs(jnp.diagonal(precision)) + jax.grad(logp)(start) ** 2
    unit = 1 / jnp.sqrt(jnp.where((size > 0) & jnp.isfinite(size), size, 1.0))

    def log(z: jax.Array) -> jax.Array:
        value = logp(start + unit * z)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    class Round(NamedTuple):
        moved: Top
        number: jax.Array
        evaluations: jax.Array
        endless: jax.Array

    def once(state: Round) -> Round:
        ended = _climb(log, state.moved.x, search)
        moved = _tried(log, ended.at[0], ended.at[1], ended.inverse, search)
        # From a place that moves at the end of a ridge do not see, a search that begins anew may still leave.
        gain = moved.logp - ended.began
        gained = gain > _rounding(ended.at[1])
        moved = moved._replace(better=gained, is_top=moved.is_top & ~gained)
        endless = (state.number > 0) & (gain > search.endless)
        return Round(moved, state.number + 1, state.evaluations + ended.evaluations + moved.evaluations, endless)

    def going(state: Round) -> jax.Array:
        return state.moved.better & (state.number < search.kink_searches) & ~state.endless

    no, origin = jnp.zeros((), bool), jnp.zeros(n)
    begun = Top(origin, jnp.full((), -jnp.inf), no, no, jnp.eye(n), wanted, jnp.zeros((), int))
    last = jax.lax.while_loop(going, once, Round(begun, jnp.zeros((), int), jnp.zeros((), int), no))
    moved = last.moved
    return moved._replace(x=start + unit * moved.x, root=unit[:, None] * moved.root, evaluations=last.evaluations)


def settle(logp: Logp, end: Climb, curvature: jax.Array, search: Search = SEARCH) -> Climb:
    """Go on from where a climb ended at no smooth maximum: it may be a kink, an edge, or a smooth one after all.

    Where there is no curvature, the precision is that of a Gaussian about as wide as p.
    """
    lost = jnp.isfinite(end.logp) & ~end.converged
    found = top(logp, end.x, end.precision, lost, search)
    again = climb(logp, jnp.where(lost, found.x, end.x), curvature, search.last_steps, search)
    # At the tip of a cone curvatures grow without end: there p is far wider than they say.
    sharp = (found.root * (again.precision[:, :, None] * found.root).sum(axis=1) > search.sharp).any()
    smooth = lost & again.converged & ~(found.is_top & sharp)
    still = lost & found.is_top & ~smooth
    inverse = jnp.linalg.inv(found.root)
    return Climb(
        x=again.x,
        logp=again.logp,
        precision=jnp.where(still, (inverse[:, :, None] * inverse[:, None]).sum(axis=0), again.precision),
        converged=end.converged | smooth | (still & ~found.on_edge),
        kink=still & ~found.on_edge,
        on_edge=still & found.on_edge,
        unfinished=jnp.zeros((), bool),
        evaluations=again.evaluations + found.evaluations,
    )


def _rounding(value: jax.Array) -> jax.Array:
    return 1e-13 * (1 + jnp.abs(value))


def _climb(log: Logp, start: jax.Array, search: Search) -> _Uphill:
    """Climb from `start`. The first step goes nowhere: it looks at the start, by the code of all others."""
    both = jax.value_and_grad(log)
    n = start.shape[0]
    eps = jnp.finfo(start.dtype).eps

    def step(state: _Uphill) -> _Uphill:
        at, height, uphill = state.at
        way = times(state.inverse, uphill)
        slope = (uphill * way).sum()
        x = at + state.t * way
        value, gradient = both(x)
        good = (value >= height + search.kept * state.t * slope) & jnp.isfinite(gradient).all()
        far = good & ((gradient * way).sum() <= search.left * slope)
        low, high = jnp.where(good, state.t, state.low), jnp.where(good, state.high, state.t)
        best = _chosen(good, (x, value, gradient), state.best)
        tries = state.tries + 1
        # What can be halved no more is left at the best of it, with B as it is: beyond a wall there is no slope.
        short = (high * jnp.abs(way) <= eps * jnp.abs(at)).all() | (high * slope <= 1e-20) | (tries > search.halvings)
        taken = far | (short & (low > 0))
        change, bend = x - at, uphill - gradient
        along = (change * bend).sum()
        narrow = times(state.inverse, bend)
        scale = jnp.where(state.first, along / (bend * narrow).sum(), 1.0)
        inverse, narrow = scale * state.inverse, scale * narrow
        new = (
            inverse
            + (along + (bend * narrow).sum()) / along**2 * change[:, None] * change
            - (narrow[:, None] * change + change[:, None] * narrow) / along
        )
        usable = far & (along > 0) & jnp.isfinite(new).all()
        inverse = jnp.where(usable, new, state.inverse)
        now = _chosen(taken, best, state.at)
        left = (now[2] * times(inverse, now[2])).sum()
        further = _Uphill(
            now,
            best,
            inverse,
            state.first & ~usable,
            jnp.where(taken, 1.0, jnp.where(jnp.isfinite(high), (low + high) / 2, 2 * low)),
            jnp.where(taken, 0.0, low),
            jnp.where(taken, jnp.inf, high),
            jnp.where(taken, 0, tries),
            state.evaluations + 1,
            (short & ~taken) | ~(left > 1e-20),
            state.began,
        )
        here, dead = (x, value, gradient), ~(jnp.isfinite(value) & jnp.isfinite(gradient).all())
        begun = state._replace(at=here, best=here, evaluations=state.evaluations + 1, done=dead, began=value)
        return _chosen(state.evaluations == 0, begun, further)

    still, zero, no = (start, jnp.zeros(()), jnp.zeros(n)), jnp.zeros(()), jnp.zeros((), bool)
    number, endless = jnp.zeros((), int), jnp.full((), jnp.inf)
    state = _Uphill(still, still, jnp.eye(n), ~no, jnp.ones(()), zero, endless, number, number, no, zero)
    most = search.kink_evaluations + 40 * n
    return jax.lax.while_loop(lambda state: ~state.done & (state.evaluations < most), step, state)


def _chosen(this: jax.Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(this, a, b), one, other)


def _tried(log: Logp, x: jax.Array, value: jax.Array, inverse: jax.Array, search: Search) -> Top:
    """Try to improve `x` by moves along the axes of B, and those of x, both ways, from long to short."""
    n = x.shape[0]
    axes = jnp.linalg.eigh(inverse)[1].T
    axes = jnp.where(jnp.isfinite(axes).all(), axes, jnp.eye(n))
    ways = jnp.concatenate([axes, jnp.eye(n)]) if n > 1 else jnp.eye(1)
    both = jnp.concatenate([ways, -ways])

    def cut(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        heights = jax.vmap(lambda move: log(x + move))(jnp.exp(middle)[:, None] * both)
        falls = ~(heights > value - 1)
        return jnp.where(falls, low, middle), jnp.where(falls, middle, high)

    ends = jax.lax.fori_loop(0, search.cuts, cut, (jnp.full(len(both), -search.way), jnp.full(len(both), search.way)))
    up, down = jnp.exp(ends[1]).reshape(2, -1)
    bounded = (ends[1] < search.way).all()
    # A parabola of these heights has its top here.
    middle = (up - down) / 2
    longest = jnp.tile(jnp.maximum(up, down), 2)
    moves = jnp.asarray(search.moves)
    lengths = longest * moves[:, None]
    where = jnp.concatenate([(lengths[:, :, None] * both).reshape(-1, n), middle[:, None] * ways])
    tried = jax.vmap(lambda move: log(x + move))(where)
    ladder = tried[: lengths.size].reshape(lengths.shape)
    best = jnp.argmax(tried)
    better = tried[best] > value + _rounding(value)
    near = ~jnp.isfinite(ladder) & (moves <= search.next_door)[:, None]
    width = (up + down)[:n] / 2**1.5
    return Top(
        x=jnp.where(better, x + where[best], x),
        logp=jnp.where(better, tried[best], value),
        is_top=~better & bounded & (value - 1 < value) & (ladder[0] < value - search.least_fall).all(),
        on_edge=near.any(),
        root=ways[:n].T * width,
        better=better,
        evaluations=search.cuts * len(both) + len(tried),
    )
