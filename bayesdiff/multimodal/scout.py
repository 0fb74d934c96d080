"""Scout: find the modes of p, the article's way: blur, and invert the blur by its mode, from many places.

    o = x + s v e,   x_1 = argmax N(o; x_1, s v) p(x_1),   x_2 = argmax p(x) uphill from x_1

x is a draw of the prior, a start of the user's, or a mode found before; v (n,) is the spread of all that was found,
s runs over noise levels from less than a mode's own width to more than all of them together. Again and again, until
nothing new is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.compiled import CompiledPrior, Data, Density
from bayesdiff.invert.kinks import settle
from bayesdiff.invert.newton import FLAT, Climb, climb, is_neck
from bayesdiff.invert.tuning import SEARCH
from bayesdiff.multimodal.mixtures import Fit

# Starts in a round, rounds at most, and rounds without anything new before it is over.
STARTS = 128
ROUNDS = 10
QUIET = 2
# Noise levels at which a blur is inverted, from a tenth to twice the spread of all that is known.
SCALES = 4
# Draws from which is climbed once more at the end, to see whose they are, and evaluations for that.
LOOKS = 2048
LOOK_BUDGET = 120_000
# A climb of a blurred density is to get near, not to arrive.
BLURRED_STEPS = 8
# More modes than this are counted, not kept.
MOST_MODES = 128
# So much less mass than the heaviest, and a mode is not worth a component.
NATS = 20.0
# Climbs that ended nowhere and are looked at together: there may be a kink.
LOST = 16
# Evaluations of log p with its gradient that a search may take.
BUDGET = 300_000
# Two modes are one if neither is this far from the other, in posterior sd.
SAME = 0.1


@dataclass
class Found:
    """What a search found.

    Attributes
    ----------
    x : ndarray (modes, n)
        The modes, best first.
    lp : ndarray (modes,)
        log p there.
    precision, covariance : ndarray (modes, n, n)
        Of the Gaussian at each: -d^2 log p / dx^2, and its inverse.
    by : ndarray (modes, groups)
        How many starts of each group ended there.
    kink, on_edge : ndarray (modes,)
        Whether it has no curvature (the Gaussian is then about as wide as p), and whether it is no maximum at all, but
        next to p = 0 and no move improves it.
    starts, lost : int
        Climbs made, and those that ended at no maximum.
    places : ndarray (groups, any, n)
        x_1 of each group: where p is not small, whether or not there is a mode.
    evaluations : float
        Of log p with its gradient; a Hessian counts as n of them.
    """

    x: np.ndarray
    lp: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    by: np.ndarray
    kink: np.ndarray
    on_edge: np.ndarray
    starts: int = 0
    lost: int = 0
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    evaluations: float = 0.0

    @property
    def log_mass(self) -> np.ndarray:
        """The log of the mass of the Gaussian at each mode (Laplace's approximation)."""
        n = self.x.shape[1]
        return self.lp + 0.5 * n * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(self.covariance)[1]

    def only(self, which: np.ndarray) -> Found:
        """The modes `which`, in that order."""
        names = ("x", "lp", "precision", "covariance", "by", "kink", "on_edge")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def gaussians(self) -> Fit:
        """The Gaussians at the modes, all with one weight."""
        return Fit(np.full(len(self.x), 1 / max(1, len(self.x))), self.x, self.covariance)

    @property
    def unseen(self) -> float:
        """The chance that one climb more ends at a new mode: modes seen once, over all climbs (Good 1953)."""
        climbs = self.by.sum()
        return float((self.by.sum(axis=1) == 1).sum() / climbs) if climbs else 1.0


def _climbs(density: Density, data: Data, starts: jax.Array, o: jax.Array, precision: jax.Array, steps: int) -> Climb:
    """Climb log p(x) - sum precision (x - o)^2 / 2 from each of `starts` (starts, n)."""

    def one(start: jax.Array, o: jax.Array, precision: jax.Array) -> Climb:
        def logp(x: jax.Array) -> jax.Array:
            return density(x, data) - 0.5 * (precision * (x - o) ** 2).sum()

        return climb(logp, start, jnp.ones(()) + precision.max(), steps)

    return jax.vmap(one)(starts, o, precision)


def _settled(density: Density, data: Data, ends: Climb) -> Climb:
    return jax.vmap(lambda end: settle(lambda x: density(x, data), end, jnp.ones(())))(ends)


def _necks(density: Density, data: Data, x: jax.Array, precision: jax.Array) -> jax.Array:
    return jax.vmap(lambda *end: is_neck(lambda x: density(x, data), *end))(x, precision)


def _precisions(density: Density, data: Data, x: jax.Array) -> jax.Array:
    return jax.lax.map(lambda one: -jax.hessian(lambda x: density(x, data))(one), x)


def scout(prior: CompiledPrior, given: np.ndarray, groups: int, rng: np.random.Generator) -> Found:
    """Search for the modes of p.

    Parameters
    ----------
    prior : CompiledPrior
        p: log density, data included.
    given : ndarray (starts, n)
        Starts of the user's, possibly none.
    groups : int
        Starts are dealt to as many groups, which know of each other only where to look next.
    rng : Generator
        Where to look.

    Raises
    ------
    ValueError
        If log p is not finite at any start.
    """
    n, data = prior.n, prior.data
    starts_each = _starts_each(n, groups)
    # Its forward draws, data or not: where the model's author expects x to be.
    drawn = prior.forward_draws(starts_each, rng)
    initial = prior.initial_point()
    pool = np.concatenate([given, initial[None], drawn])
    finite = np.isfinite(prior.logp(pool))
    if not finite.any():
        raise ValueError(
            f"log p is not finite at any of {len(pool)} starts, the first {pool[0].tolist()} (unconstrained "
            f"{prior.layout.labels[:6]}); give the model's variables an initval inside their support, or pass initvals"
        )
    pool = pool[finite]
    spread = drawn.std(axis=0) if len(drawn) > n else np.ones(n)
    no_matrix = np.empty((0, n, n))
    none, no = np.empty((0, groups), int), np.empty(0, bool)
    found = Found(np.empty((0, n)), np.empty(0), no_matrix, no_matrix, none, no, no)
    places: list[np.ndarray] = []
    quiet = 0
    for number in range(ROUNDS):
        before = len(found.x)
        x = _blurred(pool, found, spread, starts_each, number, rng)
        outside = ~np.isfinite(prior.logp(x))
        x[outside] = pool[rng.integers(len(pool), size=int(outside.sum()))]
        # Every group sees every scale.
        scale = np.geomspace(0.1, 2.0, SCALES)[np.arange(len(x)) // groups % SCALES, None] * spread
        near = _run(prior, data, x, x, 1 / scale**2, BLURRED_STEPS)
        group = np.arange(len(x)) % groups
        which, cost = _climbed(prior, found, near.x, group, SEARCH.most_steps, not number)
        found.evaluations += float(near.evaluations.sum() * (n + 1.0)) + cost
        found.starts += len(x)
        found.lost += int((which < 0).sum())
        places.append(_dealt(np.where(np.isfinite(near.x).all(axis=1)[:, None], near.x, x), groups))
        if len(found.x):
            own = np.sqrt(np.median(np.diagonal(found.covariance, axis1=1, axis2=2), axis=0))
            spread = np.sqrt(own**2 + found.x.var(axis=0))
        quiet = 0 if len(found.x) > before else quiet + 1
        if quiet >= QUIET or found.evaluations > BUDGET:
            break
    found.places = np.concatenate(places, axis=1)
    return found.only(_heaviest(found, np.zeros(len(found.x), bool)))


class Basins(NamedTuple):
    """Where climbs from some of the draws ended.

    ``sweep`` (chains, looks), ``mode`` (chains, looks): -1 for none, -2 for no climb.
    """

    sweep: np.ndarray
    mode: np.ndarray


def look_again(prior: CompiledPrior, found: Found, x: np.ndarray, rng: np.random.Generator) -> tuple[Found, Basins]:
    """Climb from some of the draws `x` (chains, draws, n): add modes that nobody had found, say which is whose."""
    chains, draws, n = x.shape
    # In batches of the search's size, which are compiled already.
    batch = _starts_each(n, chains)
    batches = int(np.clip(LOOK_BUDGET / (8.0 * (n + 1)) / batch, 1, LOOKS / batch))
    each = -(-batches * batch // chains)
    sweep = rng.integers(draws, size=(chains, each))
    starts = x[np.arange(chains)[:, None], sweep].reshape(-1, n)
    more = found.only(np.arange(len(found.x)))
    # Where the search found no maximum there is most likely none, and climbs would not end.
    steps = SEARCH.most_steps if len(found.x) else 2 * BLURRED_STEPS
    group, which, cost = np.repeat(np.arange(chains), each), [], 0.0
    for first in range(0, len(starts), batch):
        rows = np.arange(first, first + batch) % len(starts)
        ended, used = _climbed(prior, more, starts[rows], group[rows], steps, False)
        cost += used
        which.append(ended)
        if cost > LOOK_BUDGET:  # where there is no maximum, climbs do not end
            break
    mode = np.full(len(starts), -2)
    climbed = np.concatenate(which)[: len(starts)]
    mode[: len(climbed)] = climbed
    more.by[: len(found.x)] = found.by  # which chains' own search found it
    seen = np.isin(np.arange(len(more.x)), climbed)
    order = _heaviest(more, seen)
    new = np.append(np.full(len(more.x), -1), [-2, -1])  # the last two: those of no mode
    new[order] = np.arange(len(order))
    return replace(more.only(order), evaluations=cost), Basins(sweep, new[mode].reshape(chains, each))


def _starts_each(n: int, groups: int) -> int:
    """Climbs at a time: Newton needs n gradients for a Hessian, so in many dimensions fewer, which see more each."""
    return max(groups * 4, STARTS // (1 if n <= 16 else 2 if n <= SEARCH.dense else 4))


def _dealt(x: np.ndarray, groups: int) -> np.ndarray:
    """To each group its rows (groups, rows, n)."""
    rows = len(x) // groups
    return np.stack([x[group::groups][:rows] for group in range(groups)])


def _run(prior: CompiledPrior, data: Data, starts: Any, o: Any, precision: np.ndarray, steps: int) -> Any:
    """Climbs, in NumPy."""
    return jax.tree.map(np.asarray, prior.kernel(_climbs)(data, starts, o, precision, steps))


def _climbed(
    prior: CompiledPrior, found: Found, starts: np.ndarray, group: np.ndarray, steps: int, search: bool
) -> tuple[np.ndarray, float]:
    """Climb p, add the modes; return which each climb ended at (climbs,), -1 for none, and evaluations.

    Those that ended nowhere are looked at again where there are kinks: it was found so before, or `search` says to see.
    """
    n, data = prior.n, prior.data
    ends = _run(prior, data, starts, starts, np.zeros_like(starts), steps)
    cost = float(ends.evaluations.sum() * (n + 1.0))
    ends = _without_necks(prior, ends)
    which = _add(prior, data, found, ends, group)
    lost = np.flatnonzero((which < 0) & ~ends.converged & np.isfinite(ends.logp))
    lost = lost[np.argsort(-ends.logp[lost], kind="stable")]
    search = n <= SEARCH.dense and (search or bool((found.kink | found.on_edge).any()))
    for first in range(0, len(lost) if search else 0, LOST):
        rows = lost[first : first + LOST]
        padded = jax.tree.map(lambda values, rows=rows: values[np.resize(rows, LOST)], ends)
        settled = jax.tree.map(np.asarray, prior.kernel(_settled)(data, padded))
        settled = _without_necks(prior, settled)
        settled = jax.tree.map(lambda values, rows=rows: values[: len(rows)], settled)
        cost += float(settled.evaluations.sum())
        which[rows] = _add(prior, data, found, settled, group[rows])
        if (which[rows] < 0).all():
            break  # where the highest are none, others are none
    return which, cost


def _without_necks(prior: CompiledPrior, ends: Any) -> Any:
    """The climbs, of which those that ended in the neck of a funnel ended nowhere."""
    if not ends.precision.size:
        return ends
    size = np.abs(np.linalg.eigvalsh(np.where(np.isfinite(ends.precision), ends.precision, 0.0)))
    if not (ends.converged & (size.min(axis=1) < FLAT * size.max(axis=1))).any():
        return ends
    neck = np.asarray(prior.kernel(_necks)(prior.data, ends.x, ends.precision)) & ~ends.kink
    return ends._replace(converged=ends.converged & ~neck, logp=np.where(neck, -np.inf, ends.logp))


def _blurred(
    pool: np.ndarray, found: Found, spread: np.ndarray, count: int, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Points around what is known: the pool as it is at first, later with noise of all levels around all of it."""
    n = len(spread)
    if number == 0:
        own = pool[: count // 2]
        rest = pool[rng.integers(len(pool), size=count - len(own))]
        scales = 10.0 ** rng.uniform(-1, 2, size=(len(rest), 1))
        return np.concatenate([own, rest + scales * spread * rng.normal(size=rest.shape)])
    # Around modes more often than around the pool: that is where mass is known to be.
    at_modes = rng.integers(len(found.x), size=count) if len(found.x) else np.empty(0, int)
    at_pool = rng.integers(len(pool), size=count)
    use_mode = (rng.uniform(size=count) < 0.75) & bool(len(found.x))
    centre = pool[at_pool]
    if len(found.x):
        centre = np.where(use_mode[:, None], found.x[at_modes], centre)
    levels = 10.0 ** rng.uniform(-0.5, 1.0, size=(count, 1))
    return centre + levels * spread * rng.normal(size=(count, n))


def _add(prior: CompiledPrior, data: Data, found: Found, ends: Any, group: np.ndarray) -> np.ndarray:
    """Add the modes that climbs ended at; return which each ended at (climbs,), -1 for none."""
    n = prior.n
    which = np.full(len(ends.logp), -1)
    known = found.kink | found.on_edge
    # A climb that gave up beside a kink that is known ended there.
    good = (ends.converged | ends.on_edge | known.any()) & np.isfinite(ends.logp) & np.isfinite(ends.x).all(axis=1)
    for i in np.flatnonzero(good)[np.argsort(-ends.logp[good], kind="stable")]:
        x, lp = ends.x[i], float(ends.logp[i])
        if len(found.x):
            gap = found.x - x
            apart = np.einsum("ki,kij,kj->k", gap, found.precision, gap) / n
            near = (apart < SAME**2) & (np.abs(found.lp - lp) < 1e-3 * (1 + abs(lp)))
            near = np.flatnonzero(near & (ends.converged[i] | found.kink | found.on_edge))
            if len(near):
                which[i] = near[np.argmin(apart[near])]
                found.by[which[i], group[i]] += 1
                continue
        if not (ends.converged[i] or ends.on_edge[i]):
            continue
        precision = ends.precision[i] if ends.precision[i].size else prior.kernel(_precisions)(data, x[None])[0]
        precision = np.asarray(precision)
        unit = np.diagonal(precision)
        if not (unit > 0).all():
            continue
        # In units of each number's own: only then is what is small beside the rest lost in rounding.
        unit = 1 / np.sqrt(unit)
        values, vectors = np.linalg.eigh(precision * unit[:, None] * unit)
        if not values.min() > 1e-14 * values.max():
            continue
        which[i] = len(found.x)
        found.x = np.concatenate([found.x, x[None]])
        found.lp = np.append(found.lp, lp)
        covariance = ((vectors / values) @ vectors.T) * unit[:, None] * unit
        found.precision = np.concatenate([found.precision, precision[None]])
        found.covariance = np.concatenate([found.covariance, covariance[None]])
        found.kink = np.append(found.kink, ends.kink[i])
        found.on_edge = np.append(found.on_edge, ends.on_edge[i])
        row = np.zeros((1, found.by.shape[1]), int)
        row[0, group[i]] = 1
        found.by = np.concatenate([found.by, row])
    return which


def _heaviest(found: Found, seen: np.ndarray) -> np.ndarray:
    """Which modes to keep, heaviest first: those at which climbs from draws ended, and those that may have mass.

    The mass of a heavy tail is not seen in the curvature at its top: Cauchy's Gaussian, in n dimensions, is narrower
    by sqrt(1 + n) each way. Where one climb alone ended on an edge, another would have ended elsewhere on it.
    """
    n = found.x.shape[1]
    mass = found.log_mass
    order = np.lexsort([-mass, ~seen])[:MOST_MODES]
    worth = seen | (mass > mass.max(initial=-np.inf) - NATS - 0.5 * n * np.log1p(n))
    worth &= ~found.on_edge | (found.by.sum(axis=1) > 1)
    kept = order[worth[order]]
    return kept[np.argsort(-mass[kept], kind="stable")]
