"""Inverters: a batch of steps in, a batch of x out.

    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

`mode` takes the x that maximises it, `draw` a draw from it, `mean` its mean, `laplace` a draw from the Gaussian at its
mode. An inverter is a function ``(prior, o, alpha, sigma, *, start, random_seed) -> (x, stats)`` on unconstrained
arrays (batch, n). Any function of that form serves, `from_pymc` makes one of any PyMC function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
from blackjax.diagnostics import effective_sample_size, potential_scale_reduction
from numpy.typing import ArrayLike

from bayesdiff.batches import chunk_rows, in_chunks, power_of_two
from bayesdiff.checks import Seed, generator, positive_int, real_array
from bayesdiff.compiled import CompiledPrior, Data, Density, compile_prior
from bayesdiff.kinks import settle
from bayesdiff.moves import Gaussians, Lanes, Metric, Target, hmc, mode_jump, prior_jump, slice_move
from bayesdiff.newton import (
    DENSE,
    MAX_STEPS,
    Modes,
    climb,
    distinct,
    find_modes,
    inverse_root,
    is_maximum,
    is_neck,
    magnitude,
    times,
)
from bayesdiff.newton import root as covariance_root
from bayesdiff.step import read_noise, step_model
from bayesdiff.tops import MOST_DIMENSIONS, Points, Tops, find_tops, joined, mere_points, padded

Stats = dict[str, np.ndarray]
Made = TypeVar("Made", bound=Callable[..., Any])

# Where climbs start: o / alpha and points around it, and the best of each of a few groups of modes and draws of p0. The
# modes make a wide step sure of its highest: draws of a narrow one are seldom near its top. In many dimensions climbing
# p0 first costs more than it finds, and in a few, points around o / alpha add nothing.
NEAR_STARTS = 3
FEW_DIMENSIONS = 3
GROUPS = 3
GROUP_SIZE = 8
# Where p0 cannot be drawn the search of its modes may take one part in so many of the time of all that follows, but so
# many climbs that find nothing at least, for a MAP and for draws, up to so many.
SEARCH_SHARE = 2
LEAST_OF_MAP = 2**7
LEAST_PATIENCE = 2**9
MOST_PATIENCE = 2**11
# Draws of p0 among which modes of it are looked for, where they are cheap.
TRIES = 2**12
# Draws need every mode of weight, a MAP only the best, so draws search longer: from the modes of p0 that are heaviest
# in the step, and from so many groups at least. Of what is found so many are kept at least, the heaviest, and more
# where more than LEFT_OUT of the mass would be left; at most as many as make KEPT_NUMBERS of precisions for an
# observation.
SAMPLE_GROUPS = 9
LEAST_GROUPS = 4
MODES = 6
LEFT_OUT = 1e-3
KEPT_NUMBERS = 2**13
MOST_KEPT = 128
# So many observations of a batch tell how many modes are kept.
PILOT = 2**12
# Where so many of LEAST_BANK draws of p0 are effective draws of p(x | o), jumps to them reach every mode.
BANK_SUFFICES = 16
# Observations that climb together, and the entries of their Hessians: chunks that fit a core's cache are fastest.
CLIMB_CHUNK = 2048
CLIMB_NUMBERS = 2**18
# Chunks of climbs in a block, and numbers that the draws of one may take (32 MB): what a store keeps at a time.
CLIMB_BLOCK = 128
BLOCK_NUMBERS = 2**22
FEW_STEPS = 4
# Numbers that the draws of one chunk may take: 64 MB.
DRAW_NUMBERS = 2**23
DRAW_LANES = 1024
PRIOR_JUMPS = 2
# Numbers in the bank of prior draws (16 MB), and draws in it where each is made alone, at a tenth of a millisecond.
BANK_NUMBERS = 2**21
SLOW_BANK = 2**13
LEAST_BANK = 2**10
BANK_PER_DRAW = 64
LEAST_OF_BANK = 16
# A lane that jumps this often needs few local moves; they are then made in every LOCAL_EVERY-th sweep.
JUMPS_SUFFICE = 0.5
LOCAL_EVERY = 8
# The longest trajectory, in units of the metric: steps are shortened at random, so this is a quarter to a half period.
TRAJECTORY = 4.0
MAX_LEAPS = 24
TARGET_ACCEPTANCE = 0.8


class Inverter(Protocol):
    """A function that turns a batch of steps into a batch of x: see the module."""

    def __call__(
        self,
        prior: CompiledPrior,
        o: ArrayLike,
        alpha: ArrayLike = ...,
        sigma: ArrayLike = ...,
        *,
        start: ArrayLike | None = ...,
        random_seed: Seed = ...,
    ) -> tuple[np.ndarray, Stats]:
        """Return x (batch, n) and statistics, each (batch, ...)."""
        ...


CARRIES = ("draw", "mode", "mean")


def carries(what: str, *, searches: bool = True) -> Callable[[Made], Made]:
    """Write on an inverter what it gives, and whether what it gives depends on where its search is started."""

    def written(inverter: Made) -> Made:
        inverter.__dict__ |= {"carries": what, "searches": searches}
        return inverter

    return written


def carried_by(invert: Any) -> str:
    """What an inverter says that it gives: ``"draw"``, ``"mode"``, ``"mean"``; nothing where it does not say.

    Examples
    --------
    >>> from functools import partial
    >>> carried_by(partial(mode)), carried_by(from_pymc(pm.sample)), carried_by(print)
    ('mode', 'draw', '')
    """
    while isinstance(invert, partial) and not hasattr(invert, "carries"):
        invert = invert.func
    what = getattr(invert, "carries", "")
    if what not in ("", *CARRIES):
        raise ValueError(f"the inverter's attribute `carries` is {what!r}; write one of {CARRIES}")
    return str(what)


def searches_from(invert: Any) -> bool:
    """Whether what an inverter gives depends on its ``start``: not where its attribute ``searches`` is False."""
    while isinstance(invert, partial) and not hasattr(invert, "searches"):
        invert = invert.func
    return bool(getattr(invert, "searches", True))


@dataclass(frozen=True)
class Steps:
    """A batch of steps, checked.

    ``o`` (batch, n), ``alpha`` and ``sigma`` (batch,), ``start`` (batch, starts, n), ``good`` (batch,).
    A bad observation (not finite) is replaced by 0 and its row is False in ``good``: it is computed along, and blanked
    later.
    """

    o: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    start: np.ndarray
    good: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What a kernel takes."""
        return self.o, self.alpha, self.sigma, self.start

    def part(self, rows: slice) -> Steps:
        """Some of them."""
        return Steps(*(values[rows] for values in (self.o, self.alpha, self.sigma, self.start, self.good)))

    def blank(self, values: np.ndarray) -> np.ndarray:
        """Make the rows of bad observations NaN (False, 0 where there is no NaN)."""
        if not self.good.all():
            values = values.copy()
            values[~self.good] = np.nan if values.dtype.kind == "f" else 0
        return values


def read_steps(
    prior: CompiledPrior, o: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, start: ArrayLike | None = None
) -> Steps:
    """Check a batch of steps before anything is computed.

    Raises
    ------
    ValueError
        If a shape is wrong, alpha or sigma is not to be used, or no observation at all is finite.
    """
    if isinstance(o, Mapping):
        raise TypeError(
            f"o is {type(o).__name__}; an inverter takes flat numbers (batch, {prior.n}), columns "
            f"{prior.layout.labels[:6]}; find_map and sample_posterior take a mapping"
        )
    array = real_array(o, "o")
    if array.ndim != 2 or array.shape[1] != prior.n or not len(array):
        raise ValueError(
            f"o has shape {array.shape}; an inverter takes (batch, {prior.n}), columns {prior.layout.labels[:6]}"
        )
    batch = len(array)
    alpha_, sigma_ = (np.broadcast_to(value, (batch,)) for value in read_noise(alpha, sigma, batch))
    good = np.isfinite(array).all(axis=1)
    if not good.any():
        raise ValueError(f"none of the {batch} observations is finite: o[0] is {array[0].tolist()}; write numbers")
    starts = np.empty((batch, 0, prior.n))
    if start is not None:
        starts = real_array(start, "start")
        if starts.shape != array.shape:
            raise ValueError(f"start has shape {starts.shape}; write that of o, {array.shape}")
        starts = starts[:, None, :]
    return Steps(np.where(good[:, None], array, 0.0), alpha_, sigma_, starts, good)


def _key(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


# ---------------------------------------------------------------------------------------------------------------- modes


class Shared(NamedTuple):
    """Points that a whole batch shares, made once a call.

    ``near`` (near, n): offsets around o / alpha, in units of sigma / alpha; ``far`` (groups, depth, ...): modes of p0
    (of a MAP), ends of climbs, and draws of p0, or points around the initial point where there are none; ``tops``
    (m, ...): modes of p0, if draws are wanted, ``late`` (all that were found,) as in `Tops`, and ``most``: from how
    many of them an observation starts; ``bank`` (bank, n) and ``bank_prior`` (bank,): draws of p0 for the prior jump,
    possibly none; ``initial`` (n,): PyMC's initial point.
    """

    near: np.ndarray
    far: Points
    tops: Points
    late: np.ndarray
    most: int
    bank: np.ndarray
    bank_prior: np.ndarray
    initial: np.ndarray


def shared_points(
    prior: CompiledPrior, rng: np.random.Generator, patience: int, bank: int = 0, given: np.ndarray | None = None
) -> Shared:
    """Draw the points that a whole batch shares: those to start from, and with a `bank` up to so many draws of p0.

    Without a bank they are those of a MAP, in groups of which each observation takes the highest. `patience`: climbs of
    p0 that must find nothing, where it cannot be drawn. `given` (any, n): draws of p0 to take them from.

    Raises
    ------
    ValueError
        If log p0 is not finite at any of them.
    """
    n = prior.n
    near = np.concatenate([np.zeros((1, n)), rng.normal(size=(NEAR_STARTS - 1, n))])
    as_written = not (prior.model.observed_RVs or prior.model.potentials)
    if n <= FEW_DIMENSIONS and as_written:
        near = near[:1]
    drawing, groups = bank > 0, SAMPLE_GROUPS if bank else GROUPS
    count = groups * GROUP_SIZE
    # Beside the starts, enough draws to see narrow modes among them: of the bank, if there is one.
    tries = TRIES if n <= MOST_DIMENSIONS and (given is not None or prior.draws_at_once) else count
    wanted = max(count + bank, tries)
    drawn = prior.draws(wanted, rng) if given is None else given[rng.integers(len(given), size=wanted)]
    of_prior = drawn is not None and len(drawn) >= count + min(bank, 1)
    if drawn is None or not of_prior:
        # Where some are lost, the others are no bank, but good places to begin at.
        places = prior.forward_draws(count // 2, rng) if drawn is None and as_written else np.empty((0, n))
        # Scales from a half to eight, so that some start is near whatever the prior's own scale is.
        scales = np.geomspace(0.5, 8.0, count - 1 - len(places))[:, None]
        start = prior.initial_point()
        drawn = np.concatenate([places, start[None], start + scales * rng.normal(size=(len(scales), n))])
        rng.shuffle(drawn)
    logp = prior.logp(drawn)
    usable = np.isfinite(logp)
    if not usable.any():
        raise ValueError(
            f"the prior's log density is not finite at any of {len(drawn)} starts, the first {drawn[0].tolist()} "
            f"(unconstrained {prior.layout.labels[:6]}); give its variables an initval inside their support"
        )
    good = np.flatnonzero(usable[count : count + bank])
    # Always the same size, whatever was rejected: another one would be compiled anew. Or none where few are left: all
    # chains would meet these again and again.
    good = np.resize(good, bank if LEAST_OF_BANK * len(good) >= bank > 0 else 0).astype(int) + count
    nothing = mere_points(np.empty((0, n)), np.empty(0))
    found = Tops(nothing, np.empty(0, bool), nothing)
    if n <= MOST_DIMENSIONS:
        some = np.flatnonzero(usable[:tries])
        found = find_tops(prior, drawn[some], logp[some], of_prior, min(patience, MOST_PATIENCE), rng)
    tops, modes = found.points, len(found.late)
    far = joined(padded(found.ridge, min(count // 2, len(found.ridge.x))), mere_points(drawn[:count], logp[:count]))
    depth, many = GROUP_SIZE, power_of_two(modes) if modes else 0  # few sizes, few compilations
    most = many if drawing else 0
    if drawing:
        groups = max(LEAST_GROUPS, groups - many)
    else:
        far = joined(tops, far)
        while groups * depth < modes + count // 2:
            depth *= 2
    far = padded(far._replace(prior=np.where(np.isfinite(far.prior), far.prior, -np.inf)), groups * depth)
    # Dealt to the groups in turn: the highest modes stand in different ones.
    dealt = Points(*(np.swapaxes(values.reshape(depth, groups, *values.shape[1:]), 0, 1) for values in far))
    return Shared(
        near=near,
        far=dealt,
        tops=padded(tops, most),
        late=np.concatenate([found.late, np.zeros(many - modes, bool)]),
        most=most,
        bank=drawn[good],
        bank_prior=logp[good],
        initial=prior.initial_point(),
    )


def _starts(o: jax.Array, alpha: jax.Array, sigma: jax.Array, given: jax.Array, shared: Shared, most: int) -> jax.Array:
    """Where the climbs of one observation start (starts, n).

    As given, near o / alpha, at the highest of each group, and at the `most` heaviest modes of p0.
    """
    near = (o + sigma * shared.near) / alpha

    def higher(best: tuple[jax.Array, jax.Array], points: Points) -> tuple[tuple[jax.Array, jax.Array], None]:
        centre, height, _ = points.stepped(o, alpha, sigma)
        more = height > best[1]
        return (jnp.where(more[:, None], centre, best[0]), jnp.where(more, height, best[1])), None

    by_depth = Points(*(jnp.moveaxis(jnp.asarray(values), 1, 0) for values in shared.far))
    best = (by_depth.x[0], jnp.full(by_depth.x.shape[1], -jnp.inf))
    if len(by_depth.x) <= GROUP_SIZE:
        # One after the other: an argmax is a slow reduction where a comparison is one instruction.
        for i in range(len(by_depth.x)):
            best, _ = higher(best, Points(*(values[i] for values in by_depth)))
    else:
        best, _ = jax.lax.scan(higher, best, by_depth)
    starts = [given, near, best[0]]
    if most:
        centre, mass = _masses(shared, o, alpha, sigma)
        weight, which = jax.lax.top_k(mass, most)
        starts.append(jnp.where(jnp.isfinite(weight)[:, None], centre[which], jnp.nan))
    return jnp.concatenate(starts)


def _masses(shared: Shared, o: jax.Array, alpha: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a step makes of the modes of p0: where they are then (m, n), and the log mass of each (m,)."""
    tops = Points(*map(jnp.asarray, shared.tops))
    centre, _, mass = tops.stepped(o, alpha, sigma)
    return centre, jnp.where(jnp.isfinite(tops.prior) & jnp.isfinite(mass), mass, -jnp.inf)


def _left_out(shared: Shared, most: int, o: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
    """The share of the mass in modes of p0 from which no climb of this observation starts, or that were not looked for.

    None where jumps to draws of p0 reach all of them.
    """
    if not most:
        return jnp.zeros(())
    _, mass = _masses(shared, o, alpha, sigma)
    share = jax.nn.softmax(mass)
    # What the second half of a search found, the whole of it has not found once more.
    unknown = jnp.where(jnp.asarray(shared.late), share, 0.0).sum()
    left = jnp.maximum(1 - jax.lax.top_k(share, most)[0].sum(), unknown)
    if len(shared.bank):
        weight = jax.nn.softmax(-0.5 * (((o - alpha * shared.bank[:LEAST_BANK]) / sigma) ** 2).sum(axis=-1))
        left = jnp.where((weight**2).sum() * BANK_SUFFICES < 1, 0.0, left)
    return jnp.nan_to_num(left)


def _log_posterior(
    density: Density, data: Data, o: jax.Array, alpha: jax.Array, sigma: jax.Array
) -> Callable[[jax.Array], jax.Array]:
    def logp(x: jax.Array) -> jax.Array:
        square = (((o - alpha * x) / sigma) ** 2).sum()
        return density(x, data) - 0.5 * square - o.shape[0] * (jnp.log(sigma) + 0.5 * jnp.log(2 * jnp.pi))

    return logp


def _modes(
    density: Density,
    data: Data,
    shared: Shared,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    given: jax.Array,
    steps: int | jax.Array = MAX_STEPS,
    most: int = 0,
) -> Modes:
    """The modes of one observation, each climb of at most `steps`, some from the `most` heaviest modes of p0."""
    logp = _log_posterior(density, data, o, alpha, sigma)
    return find_modes(logp, _starts(o, alpha, sigma, given, shared, most), (alpha / sigma) ** 2, steps)


def _outside(
    density: Density,
    data: Data,
    shared: Shared,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    given: jax.Array,
) -> jax.Array:
    """Where to begin (n,) if no climb ends at a mode: the initial point, or the likeliest start if it has density 0.

    Not the likeliest at once: where climbs end nowhere, likely places are the wrong ones.
    """
    logp = _log_posterior(density, data, o, alpha, sigma)
    starts = _starts(o, alpha, sigma, given, shared, 0)
    values = jax.vmap(logp)(starts)
    likeliest = starts[jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]
    return jnp.where(jnp.isfinite(logp(jnp.asarray(shared.initial))), shared.initial, likeliest)


class Found(NamedTuple):
    """`Modes` of a batch (without precisions), and the Laplace approximation at each one's best.

    ``sd`` (batch, n): NaN where the Hessian is not positive definite, or the mode is a kink, which has no curvature.
    ``root`` (batch, n, n) with root root' = |H|^-1 at the best mode, or (batch, 0, 0) if not asked for.
    """

    x: Any
    logp: Any
    agreed: Any
    converged: Any
    kink: Any
    on_edge: Any
    unfinished: Any
    evaluations: Any
    sd: Any
    root: Any


def _find(
    density: Density,
    with_root: bool,
    data: Data,
    shared: Shared,
    limit: int,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    given: jax.Array,
) -> Found:
    def one(o: jax.Array, alpha: jax.Array, sigma: jax.Array, given: jax.Array) -> Found:
        found = _modes(density, data, shared, o, alpha, sigma, given, limit)
        precision = found.precision[0]
        if not precision.size:  # too many dimensions to form it at every step; once, at the best mode
            precision = -jax.hessian(_log_posterior(density, data, o, alpha, sigma))(found.x[0])
        return _at_best(found, precision, with_root)

    def chunk(steps: tuple[jax.Array, ...]) -> Found:
        # Above DENSE one lane alone fills the memory with its Hessian.
        return jax.vmap(one)(*steps) if o.shape[-1] <= DENSE else jax.lax.map(lambda step: one(*step), steps)

    return jax.lax.map(chunk, (o, alpha, sigma, given))


def _at_best(found: Modes, precision: jax.Array, with_root: bool) -> Found:
    """The modes of one observation, and the Laplace approximation at the best, whose precision is given."""
    root = inverse_root(precision)[0]
    curved = is_maximum(precision) & ~(found.kink | found.on_edge)[0]
    sd = jnp.where(curved, jnp.sqrt((root**2).sum(axis=1)), jnp.nan)
    known = found._asdict()
    del known["precision"]
    return Found(**known, sd=sd, root=root if with_root else jnp.zeros((0, 0)))


def _settle(
    density: Density,
    with_root: bool,
    data: Data,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    x: jax.Array,
    agreed: jax.Array,
    converged: jax.Array,
) -> Found:
    """Go on from where climbs ended at no smooth maximum: it may be a kink, and several may have met there."""

    def one(
        o: jax.Array, alpha: jax.Array, sigma: jax.Array, x: jax.Array, agreed: jax.Array, converged: jax.Array
    ) -> Found:
        logp = _log_posterior(density, data, o, alpha, sigma)
        # Their precisions and heights once more: they are not kept, and few observations come here.
        ends = jax.vmap(lambda x: climb(logp, x, (alpha / sigma) ** 2, 1))(x)
        ends = jax.vmap(lambda end: settle(logp, end, (alpha / sigma) ** 2))(ends._replace(converged=converged))
        between = jax.vmap(lambda a: jax.vmap(lambda b: logp((a + b) / 2))(ends.x))(ends.x)
        lower = jnp.minimum(ends.logp[:, None], ends.logp)
        slack = 1e-6 * (1 + jnp.abs(lower))
        # Between two ends of one kink, or of one smooth top, p is nowhere lower.
        same = (jnp.abs(ends.logp[:, None] - ends.logp) < slack) & (between > lower - slack)
        found = distinct(ends, same | jnp.eye(len(x), dtype=bool), agreed)
        return _at_best(found, found.precision[0], with_root)

    return jax.lax.map(lambda step: jax.vmap(one)(*step), (o, alpha, sigma, x, agreed, converged))


def find_modes_of(prior: CompiledPrior, steps: Steps, rng: np.random.Generator, *, with_root: bool = False) -> Found:
    """Compute the modes of a batch of steps, best first: arrays (batch, starts, ...)."""
    return find_modes_from(prior, *points_to_climb_from(prior, len(steps.o), rng), with_root, steps)


def points_to_climb_from(prior: CompiledPrior, batch: int, rng: np.random.Generator) -> tuple[Shared, int]:
    """What all climbs of a call share, and their seed."""
    patience = max(LEAST_OF_MAP, batch * (NEAR_STARTS + GROUPS) // SEARCH_SHARE)
    return shared_points(prior, rng, patience), _key(rng)


def climb_chunk(prior: CompiledPrior) -> int:
    """How many observations climb together."""
    return max(1, min(CLIMB_CHUNK, CLIMB_NUMBERS // prior.n**2))


def climb_block(prior: CompiledPrior) -> int:
    """How many observations make a block."""
    return CLIMB_BLOCK * climb_chunk(prior)


def find_modes_from(
    prior: CompiledPrior,
    shared: Shared,
    seed: int,
    with_root: bool,
    steps: Steps,
    *,
    progress: Callable[[int], None] | None = None,
) -> Found:
    """Compute the modes of a batch of steps from points that are given.

    A chunk climbs until its last climb is done, and most are done at once. So all get a few steps first, and only the
    observations that need more are climbed again, to the end.
    """
    data, chunk, find = prior.data, climb_chunk(prior), prior.kernel(_find, with_root)

    def search(rows: slice | np.ndarray, limit: int, progress: Callable[[int], None] | None) -> Found:
        return in_chunks(
            lambda keys, *arrays: find(data, shared, limit, *arrays),
            [array[rows] for array in steps.arrays],
            chunk=chunk,
            random_seed=seed,
            progress=progress,
        )

    found = search(slice(None), FEW_STEPS if len(steps.o) > chunk else MAX_STEPS, progress)
    rest = np.flatnonzero(found.unfinished)
    if len(rest) and len(steps.o) > chunk:
        for values, again in zip(found, search(rest, MAX_STEPS, None), strict=True):
            values[rest] = again
    if prior.n <= DENSE:
        rest = np.flatnonzero(((found.agreed > 0) & ~found.converged).any(axis=1))
        if len(rest):
            settled = in_chunks(
                lambda keys, *arrays: prior.kernel(_settle, with_root)(data, *arrays),
                [array[rest] for array in (steps.o, steps.alpha, steps.sigma, found.x, found.agreed, found.converged)],
                chunk=chunk,
                random_seed=seed,
            )
            settled = settled._replace(evaluations=settled.evaluations + found.evaluations[rest])
            for values, again in zip(found, settled, strict=True):
                values[rest] = again
    return found


@carries("mode")
def mode(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Compute the mode of p(x | o) for a batch of observations.

    x = argmax N(o; alpha x, sigma^2 I) p0(x), on unconstrained coordinates, Jacobian included

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for each observation.
    random_seed : int, Generator or None
        For the starts that all observations share.

    Returns
    -------
    x : ndarray (batch, n)
        The best mode found; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``converged``, ``starts_agreed`` (how many climbs ended there), ``starts``, ``evaluations``, and ``sd``
        (batch, n), the Laplace sd.

    Raises
    ------
    ValueError
        If a shape is wrong, `sigma` is not > 0, `alpha` is 0, or p0 is not finite at any start.

    Notes
    -----
    The best of several climbs, not surely the global mode: ``starts_agreed`` says how sure it is.

    References
    ----------
    Dauphin et al. (2014), Identifying and attacking the saddle point problem, section 4.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.mode(prior, [[5.05]], sigma=10.0, random_seed=0)  # o / 101
    >>> round(float(x[0, 0]), 12)
    0.05
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    found = find_modes_of(prior, steps, generator(random_seed))
    return _best(steps, found), _mode_stats(steps, found)


def _best(steps: Steps, found: Found) -> np.ndarray:
    return steps.blank(found.x[:, 0])


def _mode_stats(steps: Steps, found: Found) -> Stats:
    stats = {
        "lp": found.logp[:, 0],
        "converged": found.converged[:, 0],
        "starts_agreed": found.agreed[:, 0],
        "starts": np.full(len(found.x), found.x.shape[1]),
        "evaluations": found.evaluations,
        "sd": found.sd,
    }
    return {name: steps.blank(values) for name, values in stats.items()}


@carries("draw")
def laplace(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Draw from the Gaussian at the mode of p(x | o), for a batch of observations.

    x ~ N(m, H^-1), m = argmax p(x | o), H = -d^2 log p(x | o) / dx^2 at m

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for each observation.
    random_seed : int, Generator or None
        For the starts and the draws.

    Returns
    -------
    x : ndarray (batch, n)
        One draw each; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        Those of `mode`.  Where H is not positive definite (``sd`` is NaN) the draw used its absolute eigenvalues, or
        at a kink a Gaussian about as wide as p(x | o).

    Raises
    ------
    ValueError
        As `mode` does.

    References
    ----------
    Tierney, Kadane (1986), Accurate approximations for posterior moments and marginal densities, section 2.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.laplace(prior, np.zeros((10_000, 1)), sigma=10.0, random_seed=0)
    >>> bool(abs(x.var() - 100 / 101) < 0.05)
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    rng = generator(random_seed)
    found = find_modes_of(prior, steps, rng, with_root=True)
    x = found.x[:, 0] + np.einsum("bij,bj->bi", found.root, rng.normal(size=steps.o.shape))
    return steps.blank(x), _mode_stats(steps, found)


# ---------------------------------------------------------------------------------------------------------------- draws


class Drawn(NamedTuple):
    """Draws from p(x | o) of a batch.

    ``x`` (batch, chains, draws, n), ``lp`` (batch, chains, draws) with constants, ``acceptance`` of HMC and
    ``diverging`` likewise; ``step_size`` (batch,), ``leaps`` (batch,), ``jumps`` (batch, chains): share of sweeps in
    which a lane jumped; ``evaluations`` (batch,) of log p0; ``r_hat`` and ``ess`` (batch, n); ``alive`` (batch,):
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


class _Tuning(NamedTuple):
    """What warm-up learns.

    ``log_step`` (observations,) and its ``average`` over the ``moves``; from ``seen`` sweeps the ``mean`` (lanes, n)
    and the sum of ``square`` deviations (lanes, n, n), or (lanes, n).
    """

    log_step: jax.Array
    average: jax.Array
    moves: jax.Array
    seen: jax.Array
    mean: jax.Array
    square: jax.Array


class _Sweep(NamedTuple):
    """What a sweep did: HMC's ``acceptance`` and ``diverging``, ``jumped`` (lanes,), ``evaluations`` (lanes,)."""

    acceptance: jax.Array
    diverging: jax.Array
    jumped: jax.Array
    evaluations: jax.Array


def _sample(
    density: Density,
    draws: int,
    tune: int,
    chains: int,
    most: int,
    data: Data,
    shared: Shared,
    keys: jax.Array,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    given: jax.Array,
) -> Drawn:
    def chunk(step: tuple[jax.Array, ...]) -> Drawn:
        return _sample_chunk(density, draws, tune, chains, most, data, shared, *step)

    return jax.lax.map(chunk, (keys, o, alpha, sigma, given))


def _sample_chunk(
    density: Density,
    draws: int,
    tune: int,
    chains: int,
    most: int,
    data: Data,
    shared: Shared,
    key: jax.Array,
    o: jax.Array,
    alpha: jax.Array,
    sigma: jax.Array,
    given: jax.Array,
) -> Drawn:
    """Draw for the observations of one chunk: find the modes, warm up, then sample with everything fixed."""
    observations, n = o.shape
    dense = n <= DENSE

    def by_chain(values: jax.Array) -> jax.Array:  # an observation's row, once for each chain
        return jnp.repeat(values, chains, axis=0)

    def by_observation(values: jax.Array) -> jax.Array:
        return values.reshape(observations, chains, *values.shape[1:])

    prior = jax.vmap(lambda x: density(x, data))
    prior_and_gradient = jax.vmap(jax.value_and_grad(lambda x: density(x, data)))
    target = Target(prior, by_chain(o), by_chain(alpha), by_chain(sigma))
    begin, offset, run = jax.random.split(key, 3)

    def found(o: jax.Array, alpha: jax.Array, sigma: jax.Array, given: jax.Array) -> Modes:
        return _modes(density, data, shared, o, alpha, sigma, given, most=most)

    modes = jax.vmap(found)(o, alpha, sigma, given)
    outside = jax.vmap(lambda *step: _outside(density, data, shared, *step))(o, alpha, sigma, given)
    alive = jnp.isfinite(modes.logp[:, 0])
    if dense:
        # In the neck of a funnel the density grows almost without end, and its mass is nothing: chains that begin there
        # stay. (At a kink none converges either, but they meet.)
        def neck(x: jax.Array, precision: jax.Array, *step: jax.Array) -> jax.Array:
            return is_neck(_log_posterior(density, data, *step), x, precision)

        in_neck = jax.vmap(jax.vmap(neck, (0, 0, None, None, None)))(modes.x, modes.precision, o, alpha, sigma)
        is_mode = (modes.converged & ~in_neck) | (~modes.converged & (modes.agreed > 1))
        modes, left = _heaviest(modes._replace(logp=jnp.where(is_mode, modes.logp, -jnp.inf)), max(MODES, most))
    else:
        modes, left = modes.best(MODES), jnp.zeros(observations)
    if most:
        left = jnp.maximum(left, jax.vmap(lambda *step: _left_out(shared, most, *step))(o, alpha, sigma))
    gaussians, metric = _at_modes(modes, (sigma / alpha)[:, None], dense)
    lanes = _begin(begin, modes, outside, gaussians, prior, chains)

    bank = shared.bank.shape[0]
    if bank:
        # A lane takes the draws of the bank in turn, from a place of its own, and so do the other chains of its
        # observation: to them they are fresh draws of p0. Only runs longer than the bank meet a draw again.
        spread = jnp.tile(jnp.arange(chains) * (bank // chains), observations)
        offsets = by_chain(jax.random.randint(offset, (observations,), 0, bank)) + spread

    def sweep(
        key: jax.Array, lanes: Lanes, time: jax.Array, metric: Metric, log_step: jax.Array, local: jax.Array
    ) -> tuple[Lanes, _Sweep]:
        keys = jax.random.split(key, PRIOR_JUMPS + 5)
        jumped = jnp.zeros(lanes.prior.shape, bool)
        evaluations = jnp.zeros(lanes.prior.shape, int)
        for j in range(PRIOR_JUMPS if bank else 0):
            at = (offsets + time * PRIOR_JUMPS + j) % bank
            lanes, accepted = prior_jump(keys[j], lanes, target, Lanes(shared.bank[at], shared.bank_prior[at]))
            jumped |= accepted
        if dense:
            lanes, accepted = mode_jump(keys[-1], lanes, target, gaussians)
            jumped |= accepted
            evaluations += 1

        def move(lanes: Lanes) -> tuple[Lanes, jax.Array, jax.Array, jax.Array]:
            used = jnp.zeros(lanes.prior.shape, int)
            if n <= 3:
                lanes, used = slice_move(keys[-2], lanes, target)
            step = jnp.exp(log_step)
            leaps = jnp.clip(jnp.ceil(TRAJECTORY / jnp.quantile(step, 0.1)), 1, MAX_LEAPS).astype(int)
            # Mostly near the full step, at times down to an eighth of it: narrow places need that, and periods are
            # broken.
            jitter = 2.0 ** (-3 * jax.random.uniform(keys[-3], lanes.prior.shape) ** 2)
            size = by_chain(jnp.minimum(step, TRAJECTORY / leaps)) * jitter
            by_lane = Metric(by_chain(metric.root))
            lanes, path = hmc(keys[-4], lanes, target, prior_and_gradient, by_lane, size, leaps)
            return lanes, path.acceptance, path.diverging, used + leaps + 1

        def rest(lanes: Lanes) -> tuple[Lanes, jax.Array, jax.Array, jax.Array]:
            zeros = jnp.zeros(lanes.prior.shape)
            return lanes, zeros, zeros > 0, zeros.astype(int)

        lanes, acceptance, diverging, used = jax.lax.cond(local, move, rest, lanes)
        return lanes, _Sweep(acceptance, diverging, jumped, evaluations + used)

    def often(since: jax.Array, jumps: jax.Array) -> jax.Array:
        """Whether every lane of the chunk jumped often in the sweeps `since`."""
        rate = jnp.where(by_chain(alive), jumps / jnp.maximum(since, 1), 1.0)
        return (since >= 4 * LOCAL_EVERY) & (rate.min() >= JUMPS_SUFFICE)

    def tuned(tuning: _Tuning, lanes: Lanes, acceptance: jax.Array, local: jax.Array) -> _Tuning:
        """Learn from one sweep of warm-up."""
        gap = by_observation(acceptance).mean(axis=1) - TARGET_ACCEPTANCE
        moves = tuning.moves + local
        # Robbins and Monro (1951): towards the target, by less and less; the average of the path is what is used.
        gain = jnp.where(local, 2.0 / (1.0 + moves) ** 0.6, 0.0)
        log_step = jnp.clip(tuning.log_step + gain * gap, -12.0, 1.5)
        weight = jnp.where(local, jnp.minimum(1.0, 4.0 / (moves + 3.0)), 0.0)
        average = tuning.average + weight * (log_step - tuning.average)
        seen = tuning.seen + 1
        delta = lanes.x - tuning.mean
        mean = tuning.mean + delta / seen
        left = lanes.x - mean
        square = tuning.square + (delta[:, :, None] * left[:, None, :] if dense else delta * left)
        return _Tuning(log_step, average, moves, seen, mean, square)

    def fresh() -> _Tuning:
        step = jnp.full((observations,), -0.25 * jnp.log(n * 1.0))
        square = jnp.zeros((*lanes.x.shape, n) if dense else lanes.x.shape)
        return _Tuning(step, step, jnp.zeros(()), jnp.zeros(()), jnp.zeros(lanes.x.shape), square)

    # Blocks of sweeps, the state of the lanes kept after each: two of warm-up, the first to reach the posterior, the
    # second to learn its scale; a third to fit the step size to that scale; then one sweep a draw. One body, so
    # compiled once.
    reach, learn = tune // 4, tune // 2
    lengths = jnp.concatenate([jnp.array([reach, learn, tune - reach - learn]), jnp.ones(draws, int)])

    def block(state: Any, step: tuple[jax.Array, jax.Array]) -> Any:
        index, length = step

        def one(_: jax.Array, state: Any) -> Any:
            time, since, lanes, metric, tuning, jumps, enough, acceptance, _, evaluations = state
            local = ~jnp.where(index < 2, often(since, jumps), enough) | (time % LOCAL_EVERY == 0)
            log_step = jnp.where(index < 3, tuning.log_step, tuning.average)
            lanes, did = sweep(jax.random.fold_in(run, time), lanes, time, metric, log_step, local)
            acceptance = jnp.where(local, did.acceptance, acceptance)
            tuning = jax.lax.cond(index < 3, tuned, lambda tuning, *_: tuning, tuning, lanes, acceptance, local)
            jumps, evaluations = jumps + did.jumped, evaluations + did.evaluations
            return time + 1, since + 1, lanes, metric, tuning, jumps, enough, acceptance, did.diverging, evaluations

        time, since, lanes, metric, tuning, jumps, enough, *rest = jax.lax.fori_loop(0, length, one, state)
        # After the first block the second starts anew from the same metric, after the second from what it learnt.
        metric = jax.lax.cond(index == 1, _learned, lambda metric, _: metric, metric, tuning)
        tuning = jax.lax.cond(
            index < 2, lambda _: fresh()._replace(log_step=tuning.average, average=tuning.average), lambda t: t, tuning
        )
        # What the draws are made with is settled here, once, and the third block forgets what it was settled by: a
        # choice that follows the draws would bend them.
        enough = jnp.where(index == 1, often(since, jumps), enough)
        new = (index == 0) | (index == 2)
        since, jumps = jnp.where(new, 0, since), jnp.where(new, 0, jumps)
        state = (time, since, lanes, metric, tuning, jumps, enough, *rest)
        lp = lanes.prior + target.likelihood(lanes.x)
        acceptance, diverging, _ = rest
        return state, (lanes.x, lp, acceptance.astype(jnp.float32), diverging)

    zero = jnp.zeros(lanes.prior.shape, int)
    start = (
        jnp.zeros((), int),
        jnp.zeros((), int),
        lanes,
        metric,
        fresh(),
        zero,
        jnp.zeros((), bool),
        zero * 0.0,
        zero > 0,
        zero,
    )
    last, kept = jax.lax.scan(block, start, (jnp.arange(draws + 3), lengths))
    _, _, _, _, tuning, jumps, _, _, _, evaluations = last
    x, lp, acceptance, diverging = (values[3:] for values in kept)

    def arrange(values: jax.Array) -> jax.Array:  # (draws, lanes, ...) -> (observations, chains, draws, ...)
        return jnp.moveaxis(values, 0, 1).reshape(observations, chains, draws, *values.shape[2:])

    constant = -n * (jnp.log(sigma) + 0.5 * jnp.log(2 * jnp.pi))
    x = arrange(x)
    r_hat, ess = _diagnostics(x)
    leaps = jnp.clip(jnp.ceil(TRAJECTORY / jnp.quantile(jnp.exp(tuning.average), 0.1)), 1, MAX_LEAPS)
    return Drawn(
        x=x,
        lp=arrange(lp) + constant[:, None, None],
        acceptance=arrange(acceptance),
        diverging=arrange(diverging),
        step_size=jnp.minimum(jnp.exp(tuning.average), TRAJECTORY / leaps),
        leaps=jnp.full((observations,), leaps.astype(int)),
        jumps=by_observation(jumps) / draws,
        evaluations=by_observation(evaluations).sum(axis=1) + modes.evaluations,
        r_hat=r_hat,
        ess=ess,
        alive=alive,
        left=left,
    )


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


def _at_modes(modes: Modes, scale: jax.Array, dense: bool) -> tuple[Gaussians, Metric]:
    """The Gaussians at the modes of each observation, as a proposal; the heaviest one's scale is HMC's first metric."""
    n = modes.x.shape[-1]
    if not dense:
        nothing = jnp.zeros((modes.x.shape[0], 0))
        return Gaussians(nothing, nothing, nothing, nothing, nothing), Metric(
            jnp.broadcast_to(scale, modes.x[:, 0].shape)
        )
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
    key: jax.Array,
    modes: Modes,
    outside: jax.Array,
    gaussians: Gaussians,
    prior: Callable[[jax.Array], jax.Array],
    chains: int,
) -> Lanes:
    """Where the lanes start: one in each mode found, the others dispersed around them; `outside` if none is found."""
    _, most, n = modes.x.shape
    usable_modes = jnp.isfinite(modes.logp)
    found = usable_modes.sum(axis=1)
    chain = jnp.arange(chains)[None, :]
    order = jnp.argsort(~usable_modes, axis=1, stable=True)  # those found, heaviest first, before the others
    which = jnp.take_along_axis(order, jnp.minimum(chain % jnp.maximum(found, 1)[:, None], most - 1), axis=1)
    at = jnp.take_along_axis(modes.x, which[:, :, None], axis=1).reshape(-1, n)
    none = jnp.repeat(found == 0, chains)
    at = jnp.where((none[:, None] | ~jnp.isfinite(at)), jnp.repeat(outside, chains, axis=0), at)
    if gaussians.x.size:
        # Around the centre by one sd, and by two once every mode has its lane.
        spread = jnp.where(chain < found[:, None], 1.0, 2.0).reshape(-1, 1)
        root = jnp.take_along_axis(gaussians.root, which[:, :, None, None], axis=1).reshape(-1, n, n)
        x = at + spread * times(root, jax.random.normal(key, at.shape))
    else:
        x = at
    density = prior(x)
    usable = jnp.isfinite(density) & jnp.isfinite(x).all(axis=1)
    x = jnp.where(usable[:, None], x, at)
    return Lanes(x, jnp.where(usable, density, prior(at)))


def _learned(metric: Metric, tuning: _Tuning) -> Metric:
    """The metric after warm-up: within-lane covariances, pooled over the chains of an observation.

    Shrunk towards the first metric by as many pseudo-draws as a covariance has rows and five: few draws change little.
    """
    n = tuning.mean.shape[1]
    observations = metric.root.shape[0]
    chains = tuning.mean.shape[0] // observations
    draws = tuning.seen * chains
    pooled = tuning.square.reshape(observations, chains, *tuning.square.shape[1:]).sum(axis=1)
    if tuning.square.ndim == 3:
        before = (metric.root[:, :, None] * metric.root[:, None]).sum(axis=-1)  # root root'
        covariance = (pooled + (n + 5) * before) / (draws + n + 5)
        root = jax.vmap(covariance_root)(covariance)
    else:
        root = jnp.sqrt((pooled + 5 * metric.root**2) / (draws + 5))
    shape = (observations,) + (1,) * (root.ndim - 1)
    usable = jnp.isfinite(root).reshape(observations, -1).all(axis=1).reshape(shape)
    return Metric(jnp.where(usable, root, metric.root))


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


def sample_steps(
    prior: CompiledPrior,
    steps: Steps,
    rng: np.random.Generator,
    *,
    draws: int,
    tune: int,
    chains: int,
    given: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw from p(x | o) for a batch of steps: arrays (batch, chains, draws, ...). `given` as `read_bank` gives it."""
    length = Length(draws, tune, chains)
    shared, seed = points_to_sample_from(prior, steps, rng, length, given)
    return sample_from(prior, shared, seed, length, len(steps.o), (0, steps), progress=progress)


class Length(NamedTuple):
    """How many draws, sweeps before them, and chains."""

    draws: int
    tune: int
    chains: int


def points_to_sample_from(
    prior: CompiledPrior, steps: Steps, rng: np.random.Generator, length: Length, given: np.ndarray | None = None
) -> tuple[Shared, int]:
    """What all chains of a call share, and their seed."""
    draws, tune, chains = length
    batch = len(steps.o)
    # A fresh draw of p0 for each prior jump of each lane, as far as memory goes: what lanes share, an average over a
    # batch cannot average out. Where few draws are kept, a bank of many times their number is as good.
    kept = batch * chains * draws
    proposals = min(kept * BANK_PER_DRAW, batch * chains * (draws + tune) * PRIOR_JUMPS)
    most = BANK_NUMBERS // prior.n if prior.draws_at_once or given is not None else SLOW_BANK
    bank = power_of_two(max(LEAST_BANK, min(proposals, most)))
    # A climb is some ten gradients and Hessians, a sweep some ten gradients.
    patience = batch * chains * (draws + tune) // (SEARCH_SHARE * (prior.n + 1))
    shared = shared_points(prior, rng, max(patience, LEAST_PATIENCE), bank=bank, given=given)
    return shared._replace(most=_how_many(prior, shared, steps)), _key(rng)


def _how_many(prior: CompiledPrior, shared: Shared, steps: Steps) -> int:
    """From how many modes of p0 each observation starts: all of a few, and of many those that hold the mass."""
    if shared.most <= GROUP_SIZE:
        return shared.most
    rows = np.flatnonzero(steps.good)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), PILOT)).astype(int)]
    most = GROUP_SIZE
    cap = min(MOST_KEPT, shared.most, max(GROUP_SIZE, KEPT_NUMBERS // prior.n**2))
    rows = np.resize(rows, power_of_two(len(rows)))  # few sizes, few compilations
    held = np.asarray(prior.kernel(_held)(shared, steps.o[rows], steps.alpha[rows], steps.sigma[rows]))
    while most < cap and (held[:, most - 1] < 1 - LEFT_OUT).any():
        most *= 2
    return most


def _held(density: Density, shared: Shared, o: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
    """The share of the mass in the heaviest mode of p0, in the two heaviest, and so on (observations, m)."""
    mass = jax.vmap(lambda *step: _masses(shared, *step)[1])(o, alpha, sigma)
    return jnp.cumsum(-jnp.sort(-jax.nn.softmax(mass, axis=1), axis=1), axis=1)


def draw_chunk(prior: CompiledPrior, length: Length) -> int:
    """How many observations are sampled together."""
    numbers = max(length.draws, prior.n if prior.n <= DENSE else 1) * prior.n
    return max(1, min(DRAW_LANES, max(1, DRAW_NUMBERS // numbers)) // length.chains)


def draw_block(prior: CompiledPrior, length: Length, whole: int) -> int:
    """How many observations of a `whole` batch make a block."""
    rows = chunk_rows(draw_chunk(prior, length), whole)
    return rows * max(1, BLOCK_NUMBERS // (rows * length.chains * length.draws * (prior.n + 3)))


def sample_from(
    prior: CompiledPrior,
    shared: Shared,
    seed: int,
    length: Length,
    whole: int,
    part: tuple[int, Steps],
    *,
    progress: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw for some steps of a `whole` batch, from points that are given. `part`: the first one's row, and the steps.

    The first row is a multiple of `draw_block`; the draws are then those of the whole batch computed at once.
    """
    first, steps = part
    data, kernel = prior.data, prior.kernel(_sample, *length, int(shared.most))
    return in_chunks(
        lambda keys, *arrays: kernel(data, shared, keys, *arrays),
        steps.arrays,
        chunk=draw_chunk(prior, length),
        random_seed=seed,
        progress=progress,
        per_call=1,
        first_row=first,
        whole=whole,
    )


def read_bank(prior: CompiledPrior, bank: ArrayLike | Mapping[str, ArrayLike] | None) -> np.ndarray | None:
    """Read draws of p0 that the user has: unconstrained, flat (draws, n).

    Raises
    ------
    TypeError, ValueError
        If a name or a shape is wrong, or no draw is finite.
    """
    if bank is None:
        return None
    shapes = dict(zip(prior.layout.names, prior.layout.shapes, strict=True))
    if isinstance(bank, Mapping):
        if "unconstrained_posterior" in bank:  # a whole run
            bank = cast("Mapping[str, Any]", bank["unconstrained_posterior"])
        if getattr(bank, "name", None) == "posterior":
            raise ValueError('bank is the constrained group; write bank=run["unconstrained_posterior"]')
        # A group of a result has chains and draws before a variable's own dimensions.
        bank = {
            name: array.reshape(-1, *shapes[name]) if name in shapes and array.ndim == len(shapes[name]) + 2 else array
            for name, array in ((str(name), np.asarray(values)) for name, values in bank.items())
        }
    flat, batched = prior.layout.read(bank, "bank")
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not batched or not len(flat):
        raise ValueError(
            f"bank has {len(flat)} finite draws with one leading axis; write draws of p0, unconstrained, as "
            'bank=run["unconstrained_posterior"] of a run of bd.sample'
        )
    return flat


@carries("draw")
def draw(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    tune: int = 100,
    bank: ArrayLike | Mapping[str, ArrayLike] | None = None,
) -> tuple[np.ndarray, Stats]:
    """Draw once from p(x | o), for each observation of a batch.

    x ~ p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for the search of modes.
    random_seed : int, Generator or None
        The source of randomness.
    tune : int
        Sweeps before the draw. Each is several prior jumps, a jump between modes, and local moves where these do not
        suffice.
    bank : array_like (draws, n) or mapping, optional
        Draws of p0, unconstrained, to jump to where p0 cannot be drawn (data, a Potential, a density known up to a
        constant): ``bank=run["unconstrained_posterior"]``, or all of ``run = bd.sample(model)``. They are taken to be
        p0's, unchecked.

    Returns
    -------
    x : ndarray (batch, n)
        One draw each; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``lp``, ``acceptance_rate`` of HMC, ``diverging``, ``jump_rate``, ``step_size``, ``evaluations`` of log p0.

    Raises
    ------
    TypeError, ValueError
        As `mode` does; if `tune` is below 1, or `bank` holds no draws of the prior's shape.

    References
    ----------
    Murray, Adams, MacKay (2010), Elliptical slice sampling; Neal (2011), MCMC using Hamiltonian dynamics, section 5.3.

    Examples
    --------
    >>> import numpy as np, pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> o = np.random.default_rng(0).normal(0, 101**0.5, size=(4000, 1))
    >>> x, stats = bd.draw(prior, o, sigma=10.0, random_seed=0)  # the prior comes back
    >>> bool(abs(x.std() - 1) < 0.05)
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    positive_int(tune, "tune")
    drawn = sample_steps(
        prior, steps, generator(random_seed), draws=1, tune=tune, chains=1, given=read_bank(prior, bank)
    )
    stats = {
        "lp": drawn.lp[:, 0, 0],
        "acceptance_rate": drawn.acceptance[:, 0, 0],
        "diverging": drawn.diverging[:, 0, 0],
        "jump_rate": drawn.jumps[:, 0],
        "step_size": drawn.step_size,
        "evaluations": drawn.evaluations,
    }
    x = np.where(drawn.alive[:, None], drawn.x[:, 0, 0], np.nan)
    return steps.blank(x), {name: steps.blank(values) for name, values in stats.items()}


@carries("mean")
def mean(
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
    draws: int = 200,
    tune: int = 200,
    chains: int = 4,
) -> tuple[np.ndarray, Stats]:
    """Compute the mean of p(x | o), the denoiser, for a batch of observations.

    x = E[x | o] = (o + sigma^2 d log p(o) / do) / alpha

    Parameters
    ----------
    prior : CompiledPrior or pm.Model
        p0.
    o : array_like (batch, n)
        Observations, flat as `CompiledPrior.layout` says.
    alpha, sigma : array_like () or (batch,)
        Signal and noise of the step.
    start : array_like (batch, n), optional
        One start more for the search of modes.
    random_seed : int, Generator or None
        The source of randomness.
    draws, tune, chains : int
        How much to average: chains times draws.

    Returns
    -------
    x : ndarray (batch, n)
        The average of the draws; NaN for an observation that is not finite.
    stats : dict of ndarray (batch,)
        ``sd`` (batch, n) of p(x | o), ``mcse`` (batch, n) of the mean, ``r_hat``, ``ess`` (the worst coordinate),
        ``evaluations``.

    Raises
    ------
    ValueError
        As `mode` does; if `draws`, `tune` or `chains` is below 1.

    References
    ----------
    Robbins (1956), An empirical Bayes approach to statistics (Tweedie's formula, the second equation).

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> x, stats = bd.mean(prior, [[101.0]], sigma=10.0, random_seed=0)  # o / 101
    >>> bool(abs(x[0, 0] - 1) < 4 * stats["mcse"][0, 0])
    True
    """
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        positive_int(value, name)
    drawn = sample_steps(prior, steps, generator(random_seed), draws=draws, tune=tune, chains=chains)
    x = np.where(drawn.alive[:, None], drawn.x.mean(axis=(1, 2)), np.nan)
    sd = drawn.x.std(axis=(1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN rows: too few draws to judge
        r_hat, ess = np.nanmax(drawn.r_hat, axis=1), np.nanmin(drawn.ess, axis=1)
    stats = {"sd": sd, "mcse": sd / np.sqrt(drawn.ess), "r_hat": r_hat, "ess": ess, "evaluations": drawn.evaluations}
    return steps.blank(x), {name: steps.blank(values) for name, values in stats.items()}


# ----------------------------------------------------------------------------------------------------------------- PyMC


def from_pymc(function: Callable[..., Any], **kwargs: Any) -> Inverter:
    """Make an inverter of a PyMC function: one that takes a model and gives a posterior or a point.

    x from function(model=step_model(prior, o, alpha, sigma))

    Parameters
    ----------
    function : callable
        Called as ``function(model=..., **kwargs)`` for each observation. It returns a DataTree with a group
        ``posterior``, whose last draw of the first chain is x (``pm.sample``, ``pm.sample_smc``), or a mapping from the
        constrained variables' names to values (``pm.find_MAP``).
    **kwargs
        Passed on. A ``random_seed`` of the chain is passed on too if the function takes one.

    Returns
    -------
    callable
        An inverter. Slow: every observation runs alone.

    Raises
    ------
    TypeError
        If `function` cannot be called; later, if it returns something else.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> find_map = bd.from_pymc(pm.find_MAP, progressbar=False, return_inferencedata=True, jitter=False)
    >>> x, stats = find_map(bd.compile_prior(prior), [[5.05]], sigma=10.0)
    >>> round(float(x[0, 0]), 4)
    0.05
    """
    if not callable(function):
        raise TypeError(f"function is {function!r}; write one that takes a model, as pm.sample")
    if "model" in kwargs:
        raise TypeError("model is set for each observation, to its step_model; leave model= out")
    # A partial shows what is bound: a stored chain tells them apart by it.
    inverter = partial(_by_pymc, function, kwargs)
    known = {pm.sample: "draw", pm.sample_smc: "draw", pm.find_MAP: "mode"}
    return carries(carried_by(function) or next((known[of] for of in known if of is function), ""))(inverter)


def _by_pymc(
    function: Callable[..., Any],
    kwargs: Mapping[str, Any],
    prior: CompiledPrior | pm.Model,
    o: ArrayLike,
    alpha: ArrayLike = 1.0,
    sigma: ArrayLike = 1.0,
    *,
    start: ArrayLike | None = None,
    random_seed: Seed = None,
) -> tuple[np.ndarray, Stats]:
    """Invert each observation by a PyMC function: see `from_pymc`."""
    prior = compile_prior(prior)
    steps = read_steps(prior, o, alpha, sigma, start)
    rng = generator(random_seed)
    first = int(np.flatnonzero(steps.good)[0])
    model = step_model(prior.model, prior.layout.split(steps.o[first]), steps.alpha[first], steps.sigma[first])
    single = len(prior.layout.names) == 1
    x = np.full(steps.o.shape, np.nan)
    for row in np.flatnonzero(steps.good):
        with model:
            shape = prior.layout.shapes[0] if single else (prior.n,)
            now = {
                "step::o": steps.o[row].reshape(shape),
                "step::alpha": steps.alpha[row],
                "step::sigma": steps.sigma[row],
            }
            pm.set_data(now)
        x[row] = _point(function(model=model, random_seed=_key(rng), **kwargs), prior)
    return x, {}


def _point(result: Any, prior: CompiledPrior) -> np.ndarray:
    """The flat state that a PyMC function returned."""
    tree = hasattr(result, "children") and "posterior" in result.children
    if tree or isinstance(result, Mapping):
        known = result["posterior"] if tree else result
        missing = [name for name in prior.layout.names if name not in known]
        if missing:
            raise ValueError(
                f"the function returned no {missing}; it must give every free variable, {list(prior.layout.names)}"
            )
    if tree:
        values: Mapping[str, Any] = {
            name: result["posterior"][name].isel(chain=0, draw=-1).values for name in prior.layout.names
        }
    elif isinstance(result, Mapping):
        values = result
    else:
        raise TypeError(
            f"the function returned {type(result).__name__}; it must return a DataTree with `posterior`, or a mapping"
        )
    return prior.unconstrain({name: np.asarray(values[name])[None] for name in prior.layout.names})[0]
