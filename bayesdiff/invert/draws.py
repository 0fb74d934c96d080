"""Draws: chains that begin in the modes, are tuned, and then drawn from with everything fixed.

    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

A sweep of a chain jumps to draws of p0 and between Gaussians at the modes, and moves locally where jumps are rare. Of a
chunk all chains of all observations move together: those of one observation follow each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.diagnostics import effective_sample_size, potential_scale_reduction

from bayesdiff.compiled import CompiledPrior, Data, Density
from bayesdiff.invert.chunks import chunk_rows, in_chunks, power_of_two
from bayesdiff.invert.modes import Shared, key_of, masses, modes_of, shared_points, starts_of
from bayesdiff.invert.moves import (
    Chance,
    Gaussians,
    Metric,
    States,
    Target,
    chances,
    hmc,
    mode_jump,
    prior_jump,
    slice_move,
)
from bayesdiff.invert.newton import Modes, inverse_root, is_neck, magnitude, times
from bayesdiff.invert.newton import root as covariance_root
from bayesdiff.invert.steps import Step, Steps
from bayesdiff.invert.tuning import SAMPLING, Sampling, Search


class Drawn(NamedTuple):
    """Draws from p(x | o) of a batch.

    ``x`` (batch, chains, draws, n), ``lp`` (batch, chains, draws) with constants, ``acceptance`` of HMC and
    ``diverging`` likewise; ``step_size`` (batch,), ``leaps`` (batch,), ``jumps`` (batch, chains): share of sweeps in
    which a chain jumped; ``evaluations`` (batch,) of log p0; ``r_hat`` and ``ess`` (batch, n); ``alive`` (batch,):
    whether a start was found; ``left`` (batch,): the share of the mass in modes that are known and left out.
    """

    x: Any
    lp: Any
    acceptance: Any
    diverging: Any
    step_size: Any
    leaps: Any
    jumps: Any
    evaluations: Any
    r_hat: Any
    ess: Any
    alive: Any
    left: Any


class Length(NamedTuple):
    """How much is drawn: draws kept of each chain, sweeps before them, and chains of each observation."""

    draws: int
    tune: int
    chains: int


# ------------------------------------------------------------------------------------------------------------- a chunk


class _Learnt(NamedTuple):
    """What warm-up learns.

    ``log_step`` (observations,) and its ``average`` over the ``moves``; from ``seen`` sweeps the ``mean`` (chains, n)
    and the sum of ``square`` deviations (chains, n, n), or (chains, n).
    """

    log_step: jax.Array
    average: jax.Array
    moves: jax.Array
    seen: jax.Array
    mean: jax.Array
    square: jax.Array


class _Chains(NamedTuple):
    """All chains of a chunk, between two sweeps.

    ``time``: sweeps made; ``since``: sweeps in which the ``jumps`` (chains,) were counted; ``enough``: whether these
    were so many that local moves are rarely made; ``acceptance`` and ``diverging`` (chains,) of the last local move.
    """

    time: jax.Array
    since: jax.Array
    states: States
    metric: Metric
    learnt: _Learnt
    jumps: jax.Array
    enough: jax.Array
    acceptance: jax.Array
    diverging: jax.Array
    evaluations: jax.Array


# The phases of warm-up: to reach the posterior, to learn its scale, and to fit the step size to that scale. Then come
# those of the draws, a sweep each.
_REACH, _LEARN, _FIT, _WARM_UP = range(4)


@dataclass(frozen=True)
class _Chunk:
    """What all sweeps of a chunk share.

    ``target``: p(x | o) of all chains; ``prior_and_gradient``: log p0 with its gradient; ``gaussians``: those at the
    modes; ``bank``: draws of p0, and ``offsets`` (chains,), where in it each chain begins; ``alive`` (observations,);
    ``dense``: whether there are matrices; ``key``: of the sweeps.
    """

    target: Target
    prior_and_gradient: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    gaussians: Gaussians
    bank: States
    offsets: jax.Array
    alive: jax.Array
    chains: int
    dense: bool
    key: jax.Array
    how: Sampling

    def by_chain(self, values: jax.Array) -> jax.Array:
        """An observation's row, once for each of its chains."""
        return jnp.repeat(values, self.chains, axis=0)

    def by_observation(self, values: jax.Array) -> jax.Array:
        """(observations, chains of each, ...)."""
        return values.reshape(len(self.alive), self.chains, *values.shape[1:])


def _sample(
    density: Density, length: Length, most: int, how: Sampling, data: Data, shared: Shared, random: _Random, steps: Step
) -> Drawn:
    return jax.lax.map(lambda chunk: _sample_chunk(density, length, most, how, data, shared, *chunk), (random, steps))


def _sample_chunk(
    density: Density, length: Length, most: int, how: Sampling, data: Data, shared: Shared, random: _Random, steps: Step
) -> Drawn:
    """Draw for the observations of one chunk: find the modes, warm up, then sample with everything fixed."""
    draws, tune, chains = length
    observations, n = steps.o.shape
    dense = n <= how.search.dense
    prior = jax.vmap(lambda x: density(x, data))
    target = Target(prior, *(jnp.repeat(values, chains, axis=0) for values in steps[:3]))
    modes = jax.vmap(lambda step: modes_of(density, data, shared, step, how.search, most=most))(steps)
    outside = jax.vmap(lambda step: _outside(density, data, shared, step, how.search))(steps)
    alive = jnp.isfinite(modes.logp[:, 0])
    if dense:
        modes, left = _heaviest(_without_necks(density, data, steps, modes, how.search), max(how.modes, most))
    else:
        left = jnp.zeros(observations)
    if most:
        left = jnp.maximum(left, jax.vmap(lambda step: _left_out(shared, most, step, how))(steps))
    gaussians, metric = _at_modes(modes, (steps.sigma / steps.alpha)[:, None], dense)
    states = _begin(random.begin, modes, outside, gaussians, prior, chains)
    chunk = _Chunk(
        target=target,
        prior_and_gradient=jax.vmap(jax.value_and_grad(lambda x: density(x, data))),
        gaussians=gaussians,
        bank=States(jnp.asarray(shared.bank), jnp.asarray(shared.bank_prior)),
        offsets=random.offsets,
        alive=alive,
        chains=chains,
        dense=dense,
        key=random.key,
        how=how,
    )
    last, kept = _swept(chunk, _at_first(chunk, states, metric), draws, tune)
    x, lp, acceptance, diverging = (_arranged(values[_WARM_UP:], observations) for values in kept)
    constant = -n * (jnp.log(steps.sigma) + 0.5 * jnp.log(2 * jnp.pi))
    step = jnp.exp(last.learnt.average)
    leaps = _leaps(step, how)
    return Drawn(
        x=x,
        lp=lp + constant[:, None, None],
        acceptance=acceptance,
        diverging=diverging,
        step_size=jnp.minimum(step, how.trajectory / leaps),
        leaps=jnp.full((observations,), leaps.astype(int)),
        jumps=chunk.by_observation(last.jumps) / draws,
        evaluations=chunk.by_observation(last.evaluations).sum(axis=1) + modes.evaluations,
        r_hat=None,
        ess=None,
        alive=alive,
        left=left,
    )


def _swept(chunk: _Chunk, run: _Chains, draws: int, tune: int) -> tuple[_Chains, Any]:
    """All phases, and what is kept after each: x, its lp, ``acceptance`` and ``diverging``. One body, compiled once."""
    reach, learn = tune // 4, tune // 2
    lengths = jnp.concatenate([jnp.array([reach, learn, tune - reach - learn]), jnp.ones(draws, int)])

    def phase(run: _Chains, step: tuple[jax.Array, jax.Array]) -> tuple[_Chains, Any]:
        number, length = step
        run = jax.lax.fori_loop(0, length, lambda _, run: _sweep(chunk, number, run), run)
        run = _ended(chunk, number, run)
        lp = run.states.prior + chunk.target.likelihood(run.states.x)
        return run, (run.states.x, lp, run.acceptance.astype(jnp.float32), run.diverging)

    return jax.lax.scan(phase, run, (jnp.arange(draws + _WARM_UP), lengths))


def _at_first(chunk: _Chunk, states: States, metric: Metric) -> _Chains:
    zero, number, never = jnp.zeros(states.prior.shape, int), jnp.zeros((), int), jnp.zeros((), bool)
    return _Chains(number, number, states, metric, _fresh(chunk), zero, never, zero * 0.0, zero > 0, zero)


def _sweep(chunk: _Chunk, phase: jax.Array, run: _Chains) -> _Chains:
    """One sweep: jumps of all chains, local moves where jumps are rare, and in warm-up what is learnt from these."""
    enough = jnp.where(phase < _FIT, _often(chunk, run.since, run.jumps), run.enough)
    local = ~enough | (run.time % chunk.how.local_every == 0)
    log_step = jnp.where(phase < _WARM_UP, run.learnt.log_step, run.learnt.average)
    key, *keys = jax.random.split(jax.random.fold_in(chunk.key, run.time), 4)
    chains, n = run.states.x.shape
    drawn = chances(jnp.stack(keys), jnp.where(local, 3, 1), chains, n, chunk.how.prior_jumps + 2)
    jumping, *moving = (Chance(*values) for values in zip(*drawn, strict=True))
    states, jumped, evaluations = _jumps(chunk, jumping, run.states, run.time)

    def moved(states: States) -> tuple[States, jax.Array, jax.Array, jax.Array]:
        return _moved(chunk, key, moving, states, run.metric, log_step)

    def rest(states: States) -> tuple[States, jax.Array, jax.Array, jax.Array]:
        zeros = jnp.zeros(states.prior.shape)
        return states, zeros, zeros > 0, zeros.astype(int)

    states, acceptance, diverging, used = jax.lax.cond(local, moved, rest, states)
    evaluations = evaluations + used
    acceptance = jnp.where(local, acceptance, run.acceptance)
    learnt = jax.lax.cond(
        phase < _WARM_UP, partial(_tuned, chunk), lambda learnt, *_: learnt, run.learnt, states, acceptance, local
    )
    return run._replace(
        time=run.time + 1,
        since=run.since + 1,
        states=states,
        learnt=learnt,
        jumps=run.jumps + jumped,
        acceptance=acceptance,
        diverging=diverging,
        evaluations=run.evaluations + evaluations,
    )


def _jumps(chunk: _Chunk, chance: Chance, states: States, time: jax.Array) -> tuple[States, jax.Array, jax.Array]:
    """Jumps to draws of p0 and between the modes: the states, whether they jumped, evaluations."""
    jumped, evaluations = jnp.zeros(states.prior.shape, bool), jnp.zeros(states.prior.shape, int)
    jumps, bank = chunk.how.prior_jumps, chunk.bank
    for j in range(jumps if len(bank.x) else 0):
        at = (chunk.offsets + time * jumps + j) % len(bank.x)
        states, accepted = prior_jump(chance.uniform[2 + j], states, chunk.target, States(bank.x[at], bank.prior[at]))
        jumped |= accepted
    if chunk.dense:
        states, accepted = mode_jump(chance, states, chunk.target, chunk.gaussians)
        jumped |= accepted
        evaluations += 1
    return states, jumped, evaluations


def _moved(
    chunk: _Chunk, key: jax.Array, chance: list[Chance], states: States, metric: Metric, log_step: jax.Array
) -> tuple[States, jax.Array, jax.Array, jax.Array]:
    """Local moves: the states, HMC's acceptance, whether it diverged, evaluations."""
    used, (leaping, slicing) = jnp.zeros(states.prior.shape, int), chance
    if states.x.shape[1] <= chunk.how.slice_dimensions:
        states, used = slice_move(key, slicing, states, chunk.target, chunk.how.slice_tries)
    step = jnp.exp(log_step)
    leaps = _leaps(step, chunk.how).astype(int)
    # Mostly near the full step, at times down to an eighth of it: narrow places need that, and periods are broken.
    jitter = 2.0 ** (-3 * leaping.uniform[1] ** 2)
    size = chunk.by_chain(jnp.minimum(step, chunk.how.trajectory / leaps)) * jitter
    by_chain = Metric(chunk.by_chain(metric.root))
    return *hmc(leaping, states, chunk.target, chunk.prior_and_gradient, by_chain, size, leaps), used + leaps + 1


def _ended(chunk: _Chunk, phase: jax.Array, run: _Chains) -> _Chains:
    """The chains after a phase, and what the next ones go on with."""
    # After the first phase the second starts anew from the same metric, after the second from what it learnt.
    metric = jax.lax.cond(phase == _LEARN, _learned, lambda metric, _: metric, run.metric, run.learnt)
    average = run.learnt.average
    learnt = jax.lax.cond(
        phase < _FIT, lambda _: _fresh(chunk)._replace(log_step=average, average=average), lambda same: same, run.learnt
    )
    # What the draws are made with is settled here, once, and the third phase forgets what it was settled by: a choice
    # that follows the draws would bend them.
    enough = jnp.where(phase == _LEARN, _often(chunk, run.since, run.jumps), run.enough)
    new = (phase == _REACH) | (phase == _FIT)
    since, jumps = jnp.where(new, 0, run.since), jnp.where(new, 0, run.jumps)
    return run._replace(metric=metric, learnt=learnt, enough=enough, since=since, jumps=jumps)


def _often(chunk: _Chunk, since: jax.Array, jumps: jax.Array) -> jax.Array:
    """Whether every chain of the chunk jumped often in the sweeps `since`."""
    rate = jnp.where(chunk.by_chain(chunk.alive), jumps / jnp.maximum(since, 1), 1.0)
    return (since >= 4 * chunk.how.local_every) & (rate.min() >= chunk.how.jumps_suffice)


def _leaps(step: jax.Array, how: Sampling) -> jax.Array:
    """Leapfrog steps of a trajectory: as many as nearly all of the observations need."""
    return jnp.clip(jnp.ceil(how.trajectory / jnp.quantile(step, 0.1)), 1, how.most_leaps)


def _fresh(chunk: _Chunk) -> _Learnt:
    shape = chunk.target.o.shape
    step = jnp.full((len(chunk.alive),), -0.25 * jnp.log(shape[1] * 1.0))
    square = jnp.zeros((*shape, shape[1]) if chunk.dense else shape)
    return _Learnt(step, step, jnp.zeros(()), jnp.zeros(()), jnp.zeros(shape), square)


def _tuned(chunk: _Chunk, before: _Learnt, states: States, acceptance: jax.Array, local: jax.Array) -> _Learnt:
    """Learn from one sweep of warm-up."""
    gap = chunk.by_observation(acceptance).mean(axis=1) - chunk.how.target_acceptance
    moves = before.moves + local
    # Robbins and Monro (1951): towards the target, by less and less; the average of the path is what is used.
    gain = jnp.where(local, 2.0 / (1.0 + moves) ** 0.6, 0.0)
    log_step = jnp.clip(before.log_step + gain * gap, -12.0, 1.5)
    weight = jnp.where(local, jnp.minimum(1.0, 4.0 / (moves + 3.0)), 0.0)
    average = before.average + weight * (log_step - before.average)
    seen = before.seen + 1
    delta = states.x - before.mean
    mean = before.mean + delta / seen
    left = states.x - mean
    square = before.square + (delta[:, :, None] * left[:, None, :] if chunk.dense else delta * left)
    return _Learnt(log_step, average, moves, seen, mean, square)


def _learned(metric: Metric, learnt: _Learnt) -> Metric:
    """The metric after warm-up: covariances within chains, pooled over those of an observation.

    Shrunk towards the first metric by as many pseudo-draws as a covariance has rows and five: few draws change little.
    """
    n = learnt.mean.shape[1]
    observations = metric.root.shape[0]
    chains = learnt.mean.shape[0] // observations
    draws = learnt.seen * chains
    pooled = learnt.square.reshape(observations, chains, *learnt.square.shape[1:]).sum(axis=1)
    if learnt.square.ndim == 3:
        before = (metric.root[:, :, None] * metric.root[:, None]).sum(axis=-1)  # root root'
        covariance = (pooled + (n + 5) * before) / (draws + n + 5)
        root = jax.vmap(covariance_root)(covariance)
    else:
        root = jnp.sqrt((pooled + 5 * metric.root**2) / (draws + 5))
    shape = (observations,) + (1,) * (root.ndim - 1)
    usable = jnp.isfinite(root).reshape(observations, -1).all(axis=1).reshape(shape)
    return Metric(jnp.where(usable, root, metric.root))


def _arranged(values: jax.Array, observations: int) -> jax.Array:
    """(draws, all chains, ...) -> (observations, chains, draws, ...)."""
    values = jnp.moveaxis(values, 0, 1)
    return values.reshape(observations, -1, *values.shape[1:])


def _diagnostics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split R-hat and effective sample size, the worse of x and (x - mean)^2, of each coordinate (observations, n).

    `x` (observations, chains, draws, n). NaN with fewer than 4 draws a half.
    """
    observations, chains, draws, n = x.shape
    half = draws // 2
    if half < 4:
        nothing = jnp.full((observations, n), jnp.nan)
        return nothing, nothing
    split = x[:, :, : 2 * half].reshape(observations, 2 * chains, half, n)
    split = jnp.moveaxis(split, (1, 2), (0, 1))  # (chains, draws, observations, n)
    both = jnp.stack([split, (split - split.mean(axis=(0, 1))) ** 2], axis=-1)
    shape = (observations, n, 2)
    r_hat = potential_scale_reduction(both).reshape(shape)
    ess = effective_sample_size(both).reshape(shape)
    return r_hat.max(axis=-1), ess.min(axis=-1)


_diagnostics_of_chunks = jax.jit(partial(jax.lax.map, _diagnostics))  # a program of its own, the same for all priors


# ------------------------------------------------------------------------------------------------- where chains begin


def _outside(density: Density, data: Data, shared: Shared, step: Step, search: Search) -> jax.Array:
    """Where to begin (n,) if no climb ends at a mode: the initial point, or the likeliest start if it has density 0.

    Not the likeliest at once: where climbs end nowhere, likely places are the wrong ones.
    """
    logp = step.logp(density, data)
    initial = jnp.asarray(shared.initial)
    starts = jnp.concatenate([initial[None], starts_of(step, shared, 0, search)])
    values = jax.vmap(logp)(starts)
    likeliest = starts[1 + jnp.argmax(jnp.where(jnp.isfinite(values[1:]), values[1:], -jnp.inf))]
    return jnp.where(jnp.isfinite(values[0]), initial, likeliest)


def _without_necks(density: Density, data: Data, steps: Step, modes: Modes, search: Search) -> Modes:
    """The modes of each observation, without places that are none.

    In the neck of a funnel the density grows almost without end, and its mass is nothing: chains that begin there stay.
    At a kink no climb converges either, but several meet.
    """

    def neck(x: jax.Array, precision: jax.Array, step: Step) -> jax.Array:
        return is_neck(step.logp(density, data), x, precision, search)

    in_neck = jax.vmap(jax.vmap(neck, (0, 0, None)))(modes.x, modes.precision, steps)
    is_mode = (modes.converged & ~in_neck) | (~modes.converged & (modes.agreed > 1))
    return modes._replace(logp=jnp.where(is_mode, modes.logp, -jnp.inf))


def _heaviest(modes: Modes, count: int) -> tuple[Modes, jax.Array]:
    """The modes of each observation that hold most of the mass, and the share of it in the others (observations,)."""
    log_det_root = jax.vmap(jax.vmap(lambda precision: inverse_root(precision)[1]))(jnp.nan_to_num(modes.precision))
    log_mass = jnp.where(jnp.isfinite(modes.logp), modes.logp + log_det_root, -jnp.inf)
    log_mass, order = jax.lax.top_k(log_mass, modes.x.shape[1])

    def some(values: jax.Array) -> jax.Array:
        return jax.vmap(lambda value, which: value[which])(values, order[:, :count])

    left = jax.nn.softmax(log_mass, axis=1)[:, count:].sum(axis=1)
    kept = Modes(*(values if values.ndim == 1 else some(values) for values in modes))
    return kept, jnp.nan_to_num(left)


def _left_out(shared: Shared, most: int, step: Step, how: Sampling) -> jax.Array:
    """The share of the mass in modes of p0 from which no climb of this observation starts, or that were not looked for.

    None where jumps to draws of p0 reach all of them.
    """
    share = jax.nn.softmax(masses(shared, step)[1])
    # What the second half of a search found, the whole of it has not found once more.
    unknown = jnp.where(jnp.asarray(shared.late), share, 0.0).sum()
    left = jnp.maximum(1 - jax.lax.top_k(share, most)[0].sum(), unknown)
    if len(shared.bank):
        away = (step.o - step.alpha * shared.bank[: how.least_bank]) / step.sigma
        weight = jax.nn.softmax(-0.5 * (away**2).sum(axis=-1))
        left = jnp.where((weight**2).sum() * how.bank_suffices < 1, 0.0, left)
    return jnp.nan_to_num(left)


def _at_modes(modes: Modes, scale: jax.Array, dense: bool) -> tuple[Gaussians, Metric]:
    """The Gaussians at the modes of each observation, as a proposal; the heaviest one's scale is HMC's first metric."""
    n = modes.x.shape[-1]
    if not dense:
        nothing = jnp.zeros((modes.x.shape[0], 0))
        return Gaussians(*[nothing] * 5), Metric(jnp.broadcast_to(scale, modes.x[:, 0].shape))
    found = jnp.isfinite(modes.logp)
    precision = jnp.where(found[:, :, None, None], modes.precision, jnp.eye(n))
    spread = jax.vmap(jax.vmap(magnitude))(precision)
    root, log_det = jax.vmap(jax.vmap(inverse_root))(precision)
    half_log_det = -log_det
    mass = jax.nn.softmax(jnp.where(found, modes.logp - half_log_det, -jnp.inf), axis=1)
    # A tenth is shared out evenly: the mass of a mode that is no Gaussian may be far from what its curvature says.
    even = found / jnp.maximum(found.sum(axis=1, keepdims=True), 1)
    log_weight = jnp.log(0.9 * jnp.where(jnp.isnan(mass), 0.0, mass) + 0.1 * even)
    # Half as much volume again, in any dimension: tails of the proposal should not be thinner than the posterior's.
    wider = 1.5 ** (1 / n)
    gaussians = Gaussians(
        x=jnp.where(found[:, :, None], modes.x, 0.0),
        precision=spread / wider**2,
        root=root * wider,
        log_height=log_weight + half_log_det - n * jnp.log(wider),
        log_weight=log_weight,
    )
    best = jnp.argmax(log_weight, axis=1)
    return gaussians, Metric(jnp.take_along_axis(root, best[:, None, None, None], axis=1)[:, 0])


def _begin(
    normal: jax.Array,
    modes: Modes,
    outside: jax.Array,
    gaussians: Gaussians,
    prior: Callable[[jax.Array], jax.Array],
    chains: int,
) -> States:
    """Where the chains start: one in each mode found, the others dispersed around them; `outside` if none is found."""
    _, most, n = modes.x.shape
    usable_modes = jnp.isfinite(modes.logp)
    found = usable_modes.sum(axis=1)
    chain = jnp.arange(chains)[None, :]
    order = jnp.argsort(~usable_modes, axis=1, stable=True)  # those found, heaviest first, before the others
    which = jnp.take_along_axis(order, jnp.minimum(chain % jnp.maximum(found, 1)[:, None], most - 1), axis=1)
    at = jnp.take_along_axis(modes.x, which[:, :, None], axis=1).reshape(-1, n)
    none = jnp.repeat(found == 0, chains)
    at = jnp.where((none[:, None] | ~jnp.isfinite(at)), jnp.repeat(outside, chains, axis=0), at)
    x = at
    if gaussians.x.size:
        # Around the centre by one sd, and by two once every mode has its chain.
        spread = jnp.where(chain < found[:, None], 1.0, 2.0).reshape(-1, 1)
        root = jnp.take_along_axis(gaussians.root, which[:, :, None, None], axis=1).reshape(-1, n, n)
        x = at + spread * times(root, normal)
    density, instead = prior(jnp.concatenate([x, at])).reshape(2, -1)
    usable = jnp.isfinite(density) & jnp.isfinite(x).all(axis=1)
    x = jnp.where(usable[:, None], x, at)
    return States(x, jnp.where(usable, density, instead))


class _Random(NamedTuple):
    """What is random of a chunk: ``begin`` (chains, n) is normal, ``offsets`` (chains,) in the bank, ``key`` of sweeps.

    Each chain takes the draws of the bank in turn, and so do the others of its observation: to all they are fresh draws
    of p0. Only runs longer than the bank meet a draw again.
    """

    begin: Any
    offsets: Any
    key: jax.Array


def _random(keys: jax.Array, bank: int, observations: int, chains: int, n: int) -> _Random:
    """What is random of some chunks, from their keys by NumPy: JAX would compile more for it than for all of HMC."""
    rngs = [np.random.default_rng(key) for key in np.asarray(jax.random.key_data(keys))]
    begin = np.stack([rng.normal(size=(observations * chains, n)) for rng in rngs])
    first = np.stack([rng.integers(max(bank, 1), size=(observations, 1)) for rng in rngs])
    return _Random(begin, (first + np.arange(chains) * (bank // chains)).reshape(len(keys), -1), keys)


# --------------------------------------------------------------------------------------------------------- of a batch


def sample_steps(
    prior: CompiledPrior,
    steps: Steps,
    rng: np.random.Generator,
    length: Length,
    *,
    given: np.ndarray | None = None,
    sampling: Sampling = SAMPLING,
) -> Drawn:
    """Draw from p(x | o) for a batch of steps: arrays (batch, chains, draws, ...). `given` as `read_bank` gives it."""
    shared, seed = points_to_sample_from(prior, steps, rng, length, sampling, given)
    return sample_from(prior, shared, seed, length, sampling, len(steps.o), (0, steps))


def points_to_sample_from(
    prior: CompiledPrior,
    steps: Steps,
    rng: np.random.Generator,
    length: Length,
    sampling: Sampling,
    given: np.ndarray | None = None,
) -> tuple[Shared, int]:
    """What all chains of a call share, and their seed."""
    draws, tune, chains = length
    batch, search = len(steps.o), sampling.search
    # A fresh draw of p0 for each prior jump of each chain, as far as memory goes: what chains share, an average over a
    # batch cannot average out. Where few draws are kept, a bank of many times their number is as good.
    kept = batch * chains * draws
    proposals = min(kept * sampling.bank_per_draw, batch * chains * (draws + tune) * sampling.prior_jumps)
    at_once = prior.draws_at_once or given is not None
    most = sampling.bank_numbers // prior.n if at_once else sampling.slow_bank
    bank = power_of_two(max(sampling.least_bank, min(proposals, most)))
    # A climb is some ten gradients and Hessians, a sweep some ten gradients.
    patience = max(batch * chains * (draws + tune) // (search.share * (prior.n + 1)), search.least_patience_draws)
    shared = shared_points(prior, rng, patience, search, bank, given)
    return shared._replace(most=_how_many(prior, shared, steps, sampling)), key_of(rng)


def _how_many(prior: CompiledPrior, shared: Shared, steps: Steps, sampling: Sampling) -> int:
    """From how many modes of p0 each observation starts: all of a few, and of many those that hold the mass."""
    few = sampling.search.group_size
    if shared.most <= few:
        return shared.most
    rows = np.flatnonzero(steps.good)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), sampling.pilot)).astype(int)]
    most = few
    cap = min(sampling.most_kept, shared.most, max(few, sampling.kept_numbers // prior.n**2))
    rows = np.resize(rows, power_of_two(len(rows)))  # few sizes, few compilations
    held = np.asarray(prior.kernel(_held)(shared, steps.of(rows)))
    while most < cap and (held[:, most - 1] < 1 - sampling.left_out).any():
        most *= 2
    return most


def _held(density: Density, shared: Shared, steps: Step) -> jax.Array:
    """The share of the mass in the heaviest mode of p0, in the two heaviest, and so on (observations, m)."""
    mass = jax.vmap(lambda step: masses(shared, step)[1])(steps)
    return jnp.cumsum(-jnp.sort(-jax.nn.softmax(mass, axis=1), axis=1), axis=1)


def draw_chunk(prior: CompiledPrior, length: Length, sampling: Sampling) -> int:
    """How many observations are sampled together."""
    numbers = max(length.draws, prior.n if prior.n <= sampling.search.dense else 1) * prior.n
    return max(1, min(sampling.chunk_chains, max(1, sampling.chunk_numbers // numbers)) // length.chains)


def draw_part(prior: CompiledPrior, length: Length, sampling: Sampling, whole: int) -> int:
    """How many observations of a `whole` batch make a part of a call."""
    rows = chunk_rows(draw_chunk(prior, length, sampling), whole)
    return rows * max(1, sampling.part_numbers // (rows * length.chains * length.draws * (prior.n + 3)))


def sample_from(
    prior: CompiledPrior,
    shared: Shared,
    seed: int,
    length: Length,
    sampling: Sampling,
    whole: int,
    part: tuple[int, Steps],
    *,
    progress: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw for some steps of a `whole` batch, from points that are given. `part`: the first one's row, and the steps.

    The first row is a multiple of `draw_part`; the draws are then those of the whole batch computed at once.
    """
    first, steps = part
    data, kernel = prior.data, prior.kernel(_sample, length, int(shared.most), sampling)

    def run(keys: jax.Array, *arrays: np.ndarray) -> Drawn:
        random = _random(keys, len(shared.bank), arrays[0].shape[1], length.chains, prior.n)
        drawn = kernel(data, shared, random, Step(*arrays))
        with jax.enable_x64(True):
            r_hat, ess = _diagnostics_of_chunks(drawn.x)
        return drawn._replace(r_hat=r_hat, ess=ess)

    return in_chunks(
        run,
        steps.of(),
        chunk=draw_chunk(prior, length, sampling),
        random_seed=seed,
        progress=progress,
        per_call=1,
        first_row=first,
        whole=whole,
    )
