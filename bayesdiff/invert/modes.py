"""Modes: from where climbs start, to the modes of a batch of steps.

    x = argmax N(o; alpha x, sigma^2 I) p0(x)

Climbs start at o / alpha, around it, at likely draws of p0 and at the modes of p0, which are searched before. The best
end is the answer, all are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.compiled import CompiledPrior, Data, Density
from bayesdiff.invert.chunks import in_chunks, power_of_two
from bayesdiff.invert.kinks import settle
from bayesdiff.invert.newton import Modes, distinct, find_modes, inverse_root, is_maximum, looked_at
from bayesdiff.invert.steps import Step, Steps
from bayesdiff.invert.tops import Points, Tops, find_tops, joined, mere_points, padded
from bayesdiff.invert.tuning import SEARCH, Search

# -------------------------------------------------------------------------------------------------- where climbs start


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
    prior: CompiledPrior,
    rng: np.random.Generator,
    patience: int,
    search: Search,
    bank: int = 0,
    given: np.ndarray | None = None,
) -> Shared:
    """Draw the points that a whole batch shares: those to start from, and with a `bank` up to so many draws of p0.

    Without a bank they are those of a MAP, in groups of which each observation takes the highest. `patience`: climbs of
    p0 that must find nothing, where it cannot be drawn. `given` (any, n): draws of p0 to take them from.

    Raises
    ------
    ValueError
        If log p0 is not finite at any of them.
    """
    n, drawing = prior.n, bank > 0
    near = np.concatenate([np.zeros((1, n)), rng.normal(size=(search.near_starts - 1, n))])
    if n <= search.few_dimensions and _as_written(prior):
        near = near[:1]
    groups = search.groups_draws if drawing else search.groups
    count = groups * search.group_size
    # Beside the starts, enough draws to see narrow modes among them: of the bank, if there is one.
    at_once = n <= search.top_dimensions and (given is not None or prior.draws_at_once)
    tries = search.tries if at_once else count
    drawn, of_prior = _drawn(prior, rng, max(count + bank, tries), count, bank, given)
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
    good = np.resize(good, bank if search.bank_left * len(good) >= bank > 0 else 0).astype(int) + count
    nothing = mere_points(np.empty((0, n)), np.empty(0), search)
    found = Tops(nothing, np.empty(0, bool), nothing)
    if n <= search.top_dimensions:
        some = np.flatnonzero(usable[:tries])
        found = find_tops(prior, drawn[some], logp[some], of_prior, min(patience, search.most_patience), rng, search)
    ridge = padded(found.ridge, min(count // 2, len(found.ridge.x)))
    far = joined(ridge, mere_points(drawn[:count], logp[:count], search))
    depth, modes = search.group_size, len(found.late)
    many = power_of_two(modes) if modes else 0  # few sizes, few compilations
    if drawing:
        groups = max(search.least_groups_draws, groups - many)
    else:
        far = joined(found.points, far)
        while groups * depth < modes + count // 2:
            depth *= 2
    far = padded(far._replace(prior=np.where(np.isfinite(far.prior), far.prior, -np.inf)), groups * depth)
    most = many if drawing else 0
    return Shared(
        near=near,
        # Dealt to the groups in turn: the highest modes stand in different ones.
        far=Points(*(np.swapaxes(values.reshape(depth, groups, *values.shape[1:]), 0, 1) for values in far)),
        tops=padded(found.points, most),
        late=np.concatenate([found.late, np.zeros(many - modes, bool)]),
        most=most,
        bank=drawn[good],
        bank_prior=logp[good],
        initial=prior.initial_point(),
    )


def _as_written(prior: CompiledPrior) -> bool:
    return not (prior.model.observed_RVs or prior.model.potentials)


def _drawn(
    prior: CompiledPrior, rng: np.random.Generator, wanted: int, count: int, bank: int, given: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """Draws of p0 (wanted, n), or else places to begin at (count, n); and which of the two."""
    drawn = prior.draws(wanted, rng) if given is None else given[rng.integers(len(given), size=wanted)]
    if drawn is not None and len(drawn) >= count + min(bank, 1):
        return drawn, True
    # Where some are lost, the others are no bank, but good places to begin at.
    as_places = drawn is None and _as_written(prior)
    places = prior.forward_draws(count // 2, rng) if as_places else np.empty((0, prior.n))
    # Scales from a half to eight, so that some start is near whatever the prior's own scale is.
    scales = np.geomspace(0.5, 8.0, count - 1 - len(places))[:, None]
    start = prior.initial_point()
    drawn = np.concatenate([places, start[None], start + scales * rng.normal(size=(len(scales), prior.n))])
    rng.shuffle(drawn)
    return drawn, False


def starts_of(step: Step, shared: Shared, most: int, search: Search) -> jax.Array:
    """Where the climbs of one observation start (starts, n).

    As given, near o / alpha, at the highest of each group, and at the `most` heaviest modes of p0.
    """
    o, alpha, sigma, given = step
    near = (o + sigma * shared.near) / alpha

    def higher(best: tuple[jax.Array, jax.Array], points: Points) -> tuple[tuple[jax.Array, jax.Array], None]:
        centre, height, _ = points.stepped(o, alpha, sigma)
        more = height > best[1]
        return (jnp.where(more[:, None], centre, best[0]), jnp.where(more, height, best[1])), None

    by_depth = Points(*(jnp.moveaxis(values, 1, 0) for values in shared.far))
    best = (by_depth.x[0], jnp.full(by_depth.x.shape[1], -jnp.inf))
    if len(by_depth.x) <= search.group_size:
        # One after the other: an argmax is a slow reduction where a comparison is one instruction.
        for i in range(len(by_depth.x)):
            best, _ = higher(best, Points(*(values[i] for values in by_depth)))
    else:
        best, _ = jax.lax.scan(higher, best, by_depth)
    starts = [given, near, best[0]]
    if most:
        centre, mass = masses(shared, step)
        weight, which = jax.lax.top_k(mass, most)
        starts.append(jnp.where(jnp.isfinite(weight)[:, None], centre[which], jnp.nan))
    return jnp.concatenate(starts)


def masses(shared: Shared, step: Step) -> tuple[jax.Array, jax.Array]:
    """What a step makes of the modes of p0: where they are then (m, n), and the log mass of each (m,)."""
    centre, _, mass = shared.tops.stepped(step.o, step.alpha, step.sigma)
    return centre, jnp.where(jnp.isfinite(shared.tops.prior) & jnp.isfinite(mass), mass, -jnp.inf)


# ------------------------------------------------------------------------------------------------------- where they end


class Maxima(NamedTuple):
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


def modes_of(
    density: Density,
    data: Data,
    shared: Shared,
    step: Step,
    search: Search,
    steps: int | jax.Array | None = None,
    most: int = 0,
) -> Modes:
    """The modes of one observation, each climb of at most `steps`, some from the `most` heaviest modes of p0."""
    starts = starts_of(step, shared, most, search)
    return find_modes(step.logp(density, data), starts, (step.alpha / step.sigma) ** 2, steps, search)


def _find(
    density: Density, with_root: bool, search: Search, data: Data, shared: Shared, limit: int, steps: Step
) -> Maxima:
    def one(step: Step) -> Maxima:
        found = modes_of(density, data, shared, step, search, limit)
        precision = found.precision[0]
        if not precision.size:  # too many dimensions to form it at every step; once, at the best mode
            precision = -jax.hessian(step.logp(density, data))(found.x[0])
        return _at_best(found, precision, with_root)

    def chunk(steps: Step) -> Maxima:
        # In many dimensions one observation alone fills the memory with its Hessian.
        return jax.vmap(one)(steps) if steps.o.shape[-1] <= search.dense else jax.lax.map(one, steps)

    return jax.lax.map(chunk, steps)


def _at_best(found: Modes, precision: jax.Array, with_root: bool) -> Maxima:
    """The modes of one observation, and the Laplace approximation at the best, whose precision is given."""
    root = inverse_root(precision)[0]
    curved = is_maximum(precision) & ~(found.kink | found.on_edge)[0]
    sd = jnp.where(curved, jnp.sqrt((root**2).sum(axis=1)), jnp.nan)
    known = found._asdict()
    del known["precision"]
    return Maxima(**known, sd=sd, root=root if with_root else jnp.zeros((0, 0)))


def _settle(
    density: Density,
    with_root: bool,
    search: Search,
    data: Data,
    ended: Step,
    agreed: jax.Array,
    converged: jax.Array,
) -> Maxima:
    """Go on from where climbs ended at no smooth maximum: it may be a kink, and several may have met there.

    They are the starts of the steps `ended`.
    """

    def one(step: Step, agreed: jax.Array, converged: jax.Array) -> Maxima:
        logp, curvature = step.logp(density, data), (step.alpha / step.sigma) ** 2
        # Their precisions and heights once more: they are not kept, and few observations come here.
        ends = jax.vmap(lambda x, there: settle(logp, looked_at(logp, x, there), curvature, search))(
            step.start, converged
        )
        between = jax.vmap(lambda a: jax.vmap(lambda b: logp((a + b) / 2))(ends.x))(ends.x)
        lower = jnp.minimum(ends.logp[:, None], ends.logp)
        slack = 1e-6 * (1 + jnp.abs(lower))
        # Between two ends of one kink, or of one smooth top, p is nowhere lower.
        same = (jnp.abs(ends.logp[:, None] - ends.logp) < slack) & (between > lower - slack)
        found = distinct(ends, same | jnp.eye(len(step.start), dtype=bool), agreed)
        return _at_best(found, found.precision[0], with_root)

    return jax.lax.map(lambda chunk: jax.vmap(one)(*chunk), (ended, agreed, converged))


# --------------------------------------------------------------------------------------------------------- of a batch


def find_modes_of(
    prior: CompiledPrior,
    steps: Steps,
    rng: np.random.Generator,
    *,
    with_root: bool = False,
    search: Search = SEARCH,
) -> Maxima:
    """Compute the modes of a batch of steps, best first: arrays (batch, starts, ...)."""
    shared, seed = points_to_climb_from(prior, len(steps.o), rng, search)
    return find_modes_from(prior, shared, seed, with_root, search, steps)


def points_to_climb_from(
    prior: CompiledPrior, batch: int, rng: np.random.Generator, search: Search
) -> tuple[Shared, int]:
    """What all climbs of a call share, and their seed."""
    patience = max(search.least_patience_map, batch * (search.near_starts + search.groups) // search.share)
    return shared_points(prior, rng, patience, search), key_of(rng)


def key_of(rng: np.random.Generator) -> int:
    """Draw the seed of a key."""
    return int(rng.integers(2**31))


def climb_chunk(prior: CompiledPrior, search: Search) -> int:
    """How many observations climb together."""
    return max(1, min(search.chunk, search.chunk_numbers // prior.n**2))


def climb_part(prior: CompiledPrior, search: Search) -> int:
    """How many observations make a part of a call."""
    return search.part_chunks * climb_chunk(prior, search)


def find_modes_from(
    prior: CompiledPrior,
    shared: Shared,
    seed: int,
    with_root: bool,
    search: Search,
    steps: Steps,
    *,
    progress: Callable[[int], None] | None = None,
) -> Maxima:
    """Compute the modes of a batch of steps from points that are given.

    A chunk climbs until its last climb is done, and most are done at once. So all get a few steps first, and only the
    observations that need more are climbed again, to the end.
    """
    data, chunk = prior.data, climb_chunk(prior, search)
    find, finish = prior.kernel(_find, with_root, search), prior.kernel(_settle, with_root, search)

    def climbed(rows: slice | np.ndarray, limit: int, progress: Callable[[int], None] | None) -> Maxima:
        def run(keys: jax.Array, *arrays: np.ndarray) -> Maxima:
            return find(data, shared, limit, Step(*arrays))

        return in_chunks(run, steps.of(rows), chunk=chunk, random_seed=seed, progress=progress)

    found = climbed(slice(None), search.few_steps if len(steps.o) > chunk else search.most_steps, progress)
    rest = np.flatnonzero(found.unfinished)
    if len(rest) and len(steps.o) > chunk:
        for values, again in zip(found, climbed(rest, search.most_steps, None), strict=True):
            values[rest] = again
    rest = np.flatnonzero(((found.agreed > 0) & ~found.converged).any(axis=1))
    if prior.n <= search.dense and len(rest):
        settled = in_chunks(
            lambda keys, *arrays: finish(data, Step(*arrays[:4]), *arrays[4:]),
            [*steps.of(rest)._replace(start=found.x[rest]), found.agreed[rest], found.converged[rest]],
            chunk=chunk,
            random_seed=seed,
        )
        settled = settled._replace(evaluations=settled.evaluations + found.evaluations[rest])
        for values, again in zip(found, settled, strict=True):
            values[rest] = again
    return found
