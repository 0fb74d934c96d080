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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.compiled import Data, Density
from bayesdiff.invert.moves import Leap, leapfrog
from bayesdiff.invert.newton import times
from bayesdiff.multimodal.mixtures import NU, Mixture, component_logs, draw_one, log_density

# Sweeps in one call.
BLOCK = 64
TARGET_ACCEPTANCE = 0.8
# Of moves, so many are made with a step drawn from a hundredth of the usual to all of it: for necks of funnels.
SHORT = 0.25
SHORTEST = 1e-2
FIRST_STEP = 0.5
# Of the wide components, which are far from the shape of what lies in them.
FIRST_WIDE = 0.3
STEP_RANGE = (-9.0, 0.5)
# The longest trajectory in the scale of a component, where half a period is 3.1, and in leapfrog steps.
LONGEST = 2.0
MOST_LEAPS = 16


class Steps(NamedTuple):
    """Leapfrog steps in the scale of a component: log of ``rung`` (rungs,) times ``component`` (components,)."""

    rung: Any
    component: Any


class Ladder(NamedTuple):
    """The states of all rungs: ``x`` (rungs, n), ``gain`` = D (rungs,), ``slope`` = dD/dx (rungs, n), ``lp`` = log p.

    ``fresh`` (rungs,): whether it came from q since it was last at p.
    """

    x: Any
    gain: Any
    slope: Any
    lp: Any
    fresh: Any


class Block(NamedTuple):
    """What `BLOCK` sweeps gave.

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
    """What one move of all rungs did: see `Block`."""

    acceptance: jax.Array
    invalid: jax.Array
    evaluations: jax.Array


def begin(density: Density, data: Data, q: Mixture, x: jax.Array) -> Ladder:
    """The ladder with states `x` (rungs, n)."""
    gain, slope, lp = jax.vmap(lambda one: _gain(density, data, q, one))(x)
    return Ladder(x, gain, slope, lp, jnp.arange(len(gain)) == 0)


def _gain(density: Density, data: Data, q: Mixture, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """D, its slope, and log p of one state: -inf where p is not a number or infinite."""

    def gain(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        lp = density(x, data)
        return lp - log_density(q, x), lp

    (value, lp), slope = jax.value_and_grad(gain, has_aux=True)(x)
    good = jnp.isfinite(value)
    return jnp.where(good, value, -jnp.inf), slope, jnp.where(good, lp, jnp.where(jnp.isnan(lp), jnp.nan, -jnp.inf))


def sweeps(
    density: Density,
    data: Data,
    q: Mixture,
    ladder: Ladder,
    betas: jax.Array,
    steps: Steps,
    learning: jax.Array,
    key: jax.Array,
) -> tuple[Ladder, Steps, Block]:
    """Make `BLOCK` sweeps.

    `betas` (rungs,); the steps are learnt at the rate `learning` (0: kept as they are). Returns the ladder, the steps,
    and what was seen.
    """
    gain_of = jax.vmap(lambda x: _gain(density, data, q, x))
    rungs = betas.shape[0]
    place = jnp.arange(rungs)

    def move(key: jax.Array, ladder: Ladder, steps: Steps) -> tuple[Ladder, Steps, Moved]:
        """One trajectory for every rung but the first."""
        which, normal, coin, length, short, scale, jitter, lane = jax.random.split(key, 8)
        x, gain, slope, lp = (values[1:] for values in (ladder.x, ladder.gain, ladder.slope, ladder.lp))
        beta = betas[1:, None]
        logs, scaled = jax.vmap(lambda one: component_logs(q, one))(x)
        k = jax.random.categorical(which, logs)
        z0 = jnp.take_along_axis(scaled, k[:, None, None], axis=1)[:, 0]
        root, centre, heavy = q.root[k], q.mean[k], q.heavy[k]
        n = x.shape[1]

        is_short = jax.random.uniform(short, k.shape) < SHORT
        size = jnp.where(
            is_short,
            SHORTEST ** jax.random.uniform(scale, k.shape),
            jax.random.uniform(jitter, k.shape, minval=0.7, maxval=1.1),
        )
        usual = jnp.exp(steps.rung[1:] + steps.component[k])
        step = (usual * size)[:, None]
        # As long as one of the states needs, in turn: all make as many leaps.
        basis = usual[jax.random.randint(lane, (), 0, len(usual))]
        most = jnp.clip(jnp.round(LONGEST / basis), 1, MOST_LEAPS).astype(int)
        leaps = jax.random.randint(length, (), 1, most + 1)

        def down(z: jax.Array, slope: jax.Array) -> jax.Array:
            """The force: of q_k, and of beta D."""
            own = jnp.where(heavy, (NU + n) / (NU + (z**2).sum(-1)), 1.0)[:, None]
            return -own * z + beta * times(jnp.swapaxes(root, 1, 2), slope)

        def base(z: jax.Array) -> jax.Array:
            square = (z**2).sum(-1)
            return jnp.where(heavy, -0.5 * (NU + n) * jnp.log1p(square / NU), -0.5 * square)

        def look(z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            gain, slope, lp = gain_of(centre + times(root, z))
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
        error = learning * jnp.where(is_short, 0.0, acceptance - TARGET_ACCEPTANCE)
        learnt = Steps(
            jnp.clip(steps.rung.at[1:].add(error), *STEP_RANGE), jnp.clip(steps.component.at[k].add(error), *STEP_RANGE)
        )
        tally = Moved(jnp.concatenate([jnp.ones(1), acceptance]), jnp.isnan(new_lp).sum(), (rungs - 1) * leaps)
        return moved, learnt, tally

    def refresh(key: jax.Array, ladder: Ladder) -> Ladder:
        """Rung 0, drawn anew."""
        x = draw_one(q, key)
        gain, slope, lp = _gain(density, data, q, x)
        return ladder._replace(
            x=ladder.x.at[0].set(x),
            gain=ladder.gain.at[0].set(gain),
            slope=ladder.slope.at[0].set(slope),
            lp=ladder.lp.at[0].set(lp),
            fresh=ladder.fresh.at[0].set(True),
        )

    def exchange(key: jax.Array, ladder: Ladder, sweep: jax.Array) -> Ladder:
        """Neighbours change places, pairs that begin at even rungs and at odd ones in turn."""
        up = (place + sweep) % 2 == 0
        partner = jnp.where(up, place + 1, place - 1)
        partner = jnp.where((partner < 0) | (partner >= rungs), place, partner)
        ratio = (betas[place] - betas[partner]) * (ladder.gain[partner] - ladder.gain[place])
        first = jnp.minimum(place, partner)
        coin = jnp.log(jax.random.uniform(key, (rungs,)))[first]
        swapped = coin < jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)
        order = jnp.where(swapped, partner, place)
        return jax.tree.map(lambda values: values[order], ladder)

    def sweep(carry: tuple[Ladder, Steps], number: jax.Array) -> tuple[tuple[Ladder, Steps], Block]:
        ladder, steps = carry
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        ladder, steps, moved = move(keys[0], ladder, steps)
        ladder = refresh(keys[1], ladder)
        gain = ladder.gain
        ladder = exchange(keys[2], ladder, number)
        arrived = ladder.fresh[-1]
        ladder = ladder._replace(fresh=ladder.fresh.at[-1].set(False))
        seen = Block(ladder.x[-1], ladder.lp[-1], moved.acceptance, gain, arrived, moved.invalid, moved.evaluations + 1)
        return (ladder, steps), seen

    (ladder, steps), block = jax.lax.scan(sweep, (ladder, steps), jnp.arange(BLOCK))
    return ladder, steps, block


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
