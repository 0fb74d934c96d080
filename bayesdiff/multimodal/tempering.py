"""Tempering: a ladder of densities from a mixture q to p, and states that are exchanged along it.

    p_b(x) ∝ q(x)^(1 - b) p(x)^b = q(x) exp(b D(x)),   D = log p - log q,   0 = b_0 < b_1 < ... < b_T = 1

Rung 0 is drawn anew at every sweep. Every other rung makes a move of Hamiltonian Monte Carlo in the scale of one
component of q, and neighbours are exchanged, even pairs and odd pairs in turn (Okabe et al. 2001): without reversing,
states travel from q to p in a number of sweeps that does not grow with the number of rungs (Syed et al. 2022). The
rungs are placed so that all pairs reject equally often (same, section 5.1), and the evidence comes from the D of all
of them (bridge sampling: Meng and Wong 1996; in both directions, stepping stones: Xie et al. 2011).

The component k that gives a move its scale is drawn from its share of x, r_k = w_k q_k / q. Given k the move leaves
r_k(x) p_b(x) ∝ w_k q_k(x) exp(b D(x)) as it is: in the scale of q_k nearly a standard normal, however curved q is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.compiled import Data, Density
from bayesdiff.invert.moves import Leap, leapfrog
from bayesdiff.invert.newton import times
from bayesdiff.multimodal.mixtures import Mixture, component_logs, draw_one, log_density
from bayesdiff.multimodal.tuning import Moving


class StepSizes(NamedTuple):
    """Of leapfrog, in the scale of a component: log of ``rung`` (rungs,) times ``component`` (components,)."""

    rung: Any
    component: Any


class Ladder(NamedTuple):
    """The states of all rungs: ``x`` (rungs, n) in q's frame, ``gain`` = D (rungs,), ``slope`` = dD/dx (rungs, n).

    ``lp`` (rungs,) = log p, without the frame; ``fresh`` (rungs,): whether it came from q since it was last at p.
    """

    x: Any
    gain: Any
    slope: Any
    lp: Any
    fresh: Any


class Walker(NamedTuple):
    """One chain between sweeps: the states of its ladder, and the step sizes that its moves have learnt."""

    ladder: Ladder
    sizes: StepSizes


class Sweeps(NamedTuple):
    """What sweeps gave.

    ``x`` (sweeps, n) and ``lp`` (sweeps,) of the last rung; ``acceptance`` (sweeps, rungs) of the moves, ``gain``
    (sweeps, rungs) = D after the moves, ``trips`` (sweeps,): whether a state that was drawn from q arrived at p;
    ``invalid`` (sweeps,): proposals whose density was NaN; ``evaluations`` (sweeps,): of log p with its gradient.
    """

    x: Any
    lp: Any
    acceptance: Any
    gain: Any
    trips: Any
    invalid: Any
    evaluations: Any


class Moved(NamedTuple):
    """What one move of all rungs did: see `Sweeps`."""

    acceptance: jax.Array
    invalid: jax.Array
    evaluations: jax.Array


def begin(density: Density, data: Data, q: Mixture, x: jax.Array) -> Ladder:
    """The ladder with states `x` (rungs, n), in the frame of q."""
    gain, slope, lp = jax.vmap(lambda one: _gain(density, data, q, one))(x)
    return Ladder(x, gain, slope, lp, jnp.arange(len(gain)) == 0)


def _gain(density: Density, data: Data, q: Mixture, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """D, its slope, and log p of one state: -inf where p is not a number or infinite."""

    def gain(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = q.frame.bent(x, jnp)
        lp = density(value, data)
        return lp + slope.sum() - log_density(q, x), lp

    (value, lp), slope = jax.value_and_grad(gain, has_aux=True)(x)
    good = jnp.isfinite(value)
    return jnp.where(good, value, -jnp.inf), slope, jnp.where(good, lp, jnp.where(jnp.isnan(lp), jnp.nan, -jnp.inf))


@dataclass(frozen=True)
class _Path:
    """What all sweeps share: q and the rungs, D of one state with its slope and log p, how moves go and are learnt."""

    q: Mixture
    betas: jax.Array
    gain: Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
    moving: Moving
    learning: jax.Array


def make_sweeps(
    density: Density,
    moving: Moving,
    data: Data,
    q: Mixture,
    betas: jax.Array,
    walker: Walker,
    learning: jax.Array,
    key: jax.Array,
) -> tuple[Walker, Sweeps]:
    """Make a chunk of sweeps on the rungs `betas`; step sizes are learnt at the rate `learning` (0: not at all)."""
    path = _Path(q, betas, lambda x: _gain(density, data, q, x), moving, learning)

    def sweep(walker: Walker, number: jax.Array) -> tuple[Walker, Sweeps]:
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        (ladder, sizes), moved = _moved(path, keys[0], *walker)
        ladder = _refreshed(path, keys[1], ladder)
        gain = ladder.gain
        ladder = _exchanged(path, keys[2], ladder, number)
        arrived = ladder.fresh[-1]
        ladder = ladder._replace(fresh=ladder.fresh.at[-1].set(False))
        tally = moved.acceptance, gain, arrived, moved.invalid, moved.evaluations + 1
        return Walker(ladder, sizes), Sweeps(q.frame.bent(ladder.x[-1], jnp)[0], ladder.lp[-1], *tally)

    return jax.lax.scan(sweep, walker, jnp.arange(moving.chunk))


def _moved(path: _Path, key: jax.Array, ladder: Ladder, sizes: StepSizes) -> tuple[Walker, Moved]:
    """One trajectory for every rung but the first."""
    q, moving = path.q, path.moving
    which, normal, coin, length, short, scale, jitter, lane = jax.random.split(key, 8)
    x, gain, slope, lp = (values[1:] for values in (ladder.x, ladder.gain, ladder.slope, ladder.lp))
    beta = path.betas[1:, None]
    logs, scaled = jax.vmap(lambda one: component_logs(q, one))(x)
    k = jax.random.categorical(which, logs)
    z0 = jnp.take_along_axis(scaled, k[:, None, None], axis=1)[:, 0]
    root, centre, nu = q.root[k], q.mean[k], q.nu[k]
    n = x.shape[1]

    is_short = jax.random.uniform(short, k.shape) < moving.short
    size = jnp.where(
        is_short,
        moving.shortest ** jax.random.uniform(scale, k.shape),
        jax.random.uniform(jitter, k.shape, minval=0.7, maxval=1.1),
    )
    usual = jnp.exp(sizes.rung[1:] + sizes.component[k])
    step = (usual * size)[:, None]
    # As long as one of the states needs, in turn: all make as many leaps.
    basis = usual[jax.random.randint(lane, (), 0, len(usual))]
    most = jnp.clip(jnp.round(moving.longest / basis), 1, moving.most_leaps).astype(int)
    leaps = jax.random.randint(length, (), 1, most + 1)

    def down(z: jax.Array, slope: jax.Array) -> jax.Array:
        """The force: of q_k, and of beta D."""
        own = jnp.where(nu > 0, (nu + n) / (nu + (z**2).sum(-1)), 1.0)[:, None]
        return -own * z + beta * times(jnp.swapaxes(root, 1, 2), slope)

    def base(z: jax.Array) -> jax.Array:
        square = (z**2).sum(-1)
        return jnp.where(nu > 0, -0.5 * (nu + n) * jnp.log1p(square / jnp.maximum(nu, 1.0)), -0.5 * square)

    def look(z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        gain, slope, lp = jax.vmap(path.gain)(centre + times(root, z))
        return slope, gain, lp

    def leap(_: Any, at: Leap) -> Leap:
        return leapfrog(at, step, look, lambda z, seen: down(z, seen[0]))

    v0 = jax.random.normal(normal, x.shape)
    z, v, (new_slope, new_gain, new_lp) = jax.lax.fori_loop(0, leaps, leap, Leap(z0, v0, (slope, gain, lp)))
    new_x = centre + times(root, z)
    rise = base(z) - base(z0) + beta[:, 0] * (new_gain - gain) + 0.5 * (v0**2 - v**2).sum(-1)
    rise = jnp.where(jnp.isnan(rise), -jnp.inf, rise)
    accepted = jnp.log(jax.random.uniform(coin, k.shape)) < rise

    def take(new: jax.Array, old: jax.Array) -> jax.Array:
        mask = accepted.reshape(-1, *[1] * (new.ndim - 1))
        return jnp.concatenate([jnp.zeros_like(old[:1]), jnp.where(mask, new, old)])

    acceptance = jnp.exp(jnp.minimum(rise, 0.0))
    moved = ladder._replace(
        x=take(new_x, x), gain=take(new_gain, gain), slope=take(new_slope, slope), lp=take(new_lp, lp)
    )
    error = path.learning * jnp.where(is_short, 0.0, acceptance - moving.target_acceptance)
    raised = sizes.rung.at[1:].add(error), sizes.component.at[k].add(error)
    learnt = StepSizes(*(jnp.clip(logs, *moving.step_range) for logs in raised))
    invalid = jnp.isnan(new_lp) & (jnp.abs(z).max(-1) < 1e3)  # not where a trajectory flew off
    tally = Moved(jnp.concatenate([jnp.ones(1), acceptance]), invalid.sum(), len(usual) * leaps)
    return Walker(moved, learnt), tally


def _refreshed(path: _Path, key: jax.Array, ladder: Ladder) -> Ladder:
    """Rung 0, drawn anew."""
    x = draw_one(path.q, key)
    first = Ladder(x, *path.gain(x), True)
    return Ladder(*(values.at[0].set(new) for values, new in zip(ladder, first, strict=True)))


def _exchanged(path: _Path, key: jax.Array, ladder: Ladder, sweep: jax.Array) -> Ladder:
    """Neighbours change places, pairs that begin at even rungs and at odd ones in turn."""
    betas, rungs = path.betas, len(path.betas)
    place = jnp.arange(rungs)
    up = (place + sweep) % 2 == 0
    partner = jnp.where(up, place + 1, place - 1)
    partner = jnp.where((partner < 0) | (partner >= rungs), place, partner)
    ratio = (betas[place] - betas[partner]) * (ladder.gain[partner] - ladder.gain[place])
    first = jnp.minimum(place, partner)
    coin = jnp.log(jax.random.uniform(key, (rungs,)))[first]
    swapped = coin < jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)
    order = jnp.where(swapped, partner, place)
    return jax.tree.map(lambda values: values[order], ladder)


# ----------------------------------------------------------------------------------------------- what the ladder tells


def rejections(betas: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Compute how often each pair of neighbours rejects, (rungs - 1,), from D (sweeps, rungs)."""
    ratio = np.diff(betas) * (gain[:, :-1] - gain[:, 1:])
    with np.errstate(invalid="ignore"):
        accepted = np.exp(np.minimum(np.where(np.isnan(ratio), -np.inf, ratio), 0.0))
    return 1 - accepted.mean(axis=0)


def equalised(betas: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """Place the rungs so that all pairs reject equally often (Syed et al. 2022, algorithm 2)."""
    barrier = np.concatenate([[0.0], np.cumsum(np.maximum(rejected, 1e-3))])
    new = np.interp(np.linspace(0, barrier[-1], len(betas)), barrier, betas)
    new[0], new[-1] = 0.0, 1.0
    return new


def log_evidence(betas: np.ndarray, gain: np.ndarray) -> tuple[float, float, float]:
    """Compute log Z of p from D (sweeps, rungs): by bridge sampling, and by stepping stones upwards and downwards.

    bridge      sum_i log E_i[exp(d_i D / 2)] - log E_(i+1)[exp(-d_i D / 2)],   d_i = b_(i+1) - b_i
    upwards     sum_i log E_i[exp(d_i D)],   downwards   -sum_i log E_(i+1)[exp(-d_i D)]
    """
    steps = np.diff(betas)
    low, high = gain[:, :-1], gain[:, 1:]

    def mean(log: np.ndarray) -> np.ndarray:
        top = log.max(axis=0)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return top + np.log(np.exp(log - top).mean(axis=0))

    # Rungs above the first have no state of density 0: there exp(-d D) is finite.
    high = np.where(np.isfinite(high), high, np.nan)
    high = np.where(np.isnan(high), np.nanmax(high, axis=0), high)
    bridge = (mean(steps * low / 2) - mean(-steps * high / 2)).sum()
    return float(bridge), float(mean(steps * low).sum()), float(-mean(-steps * high).sum())
