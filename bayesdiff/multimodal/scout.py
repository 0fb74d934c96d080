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
from bayesdiff.invert.tuning import Search
from bayesdiff.multimodal.mixtures import Fit
from bayesdiff.multimodal.tuning import Scouting


@dataclass(frozen=True)
class Scouted:
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
    kink, on_edge, given : ndarray (modes,)
        Whether it has no curvature (the Gaussian is then about as wide as p), whether it is no maximum at all, but next
        to p = 0 and no move improves it, and whether a climb from a start of the user's ended there.
    places : ndarray (groups, any, n)
        x_1 of each group: where p is not small, whether or not there is a mode.
    evaluations : float
        Of log p with its gradient; a Hessian counts as n of them.
    wide : ndarray (any, n)
        Where the model's author or the noise of the search put x, whatever p is there.
    unseen : float
        The chance that one climb more ends at a mode that is not here: those that ended at one seen once (Good 1953),
        or at one that could not be kept, of all.
    """

    x: np.ndarray
    lp: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    by: np.ndarray
    kink: np.ndarray
    on_edge: np.ndarray
    given: np.ndarray
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    wide: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    unseen: float = 1.0
    evaluations: float = 0.0

    @property
    def log_mass(self) -> np.ndarray:
        """The log of the mass of the Gaussian at each mode (Laplace's approximation)."""
        n = self.x.shape[1]
        return self.lp + 0.5 * n * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(self.covariance)[1]

    def only(self, which: np.ndarray) -> Scouted:
        """The modes `which`, in that order."""
        names = ("x", "lp", "precision", "covariance", "by", "kink", "on_edge", "given")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def and_one(self, **of_mode: Any) -> Scouted:
        """With one mode more, of which all is given that there is by mode."""
        return replace(self, **{name: np.append(getattr(self, name), [new], axis=0) for name, new in of_mode.items()})

    def gaussians(self) -> Fit:
        """The Gaussians at the modes, all with one weight."""
        return Fit(np.full(len(self.x), 1 / max(1, len(self.x))), self.x, self.covariance)


def _climbs(
    density: Density, search: Search, data: Data, starts: jax.Array, o: jax.Array, precision: jax.Array, steps: int
) -> Climb:
    """Climb log p(x) - sum precision (x - o)^2 / 2 from each of `starts` (starts, n)."""

    def one(start: jax.Array, o: jax.Array, precision: jax.Array) -> Climb:
        def logp(x: jax.Array) -> jax.Array:
            return density(x, data) - 0.5 * (precision * (x - o) ** 2).sum()

        return climb(logp, start, jnp.ones(()) + precision.max(), steps, search)

    return jax.vmap(one)(starts, o, precision)


def _settled(density: Density, search: Search, data: Data, ends: Climb) -> Climb:
    return jax.vmap(lambda end: settle(lambda x: density(x, data), end, jnp.ones(()), search))(ends)


def _necks(density: Density, search: Search, data: Data, x: jax.Array, precision: jax.Array) -> jax.Array:
    return jax.vmap(lambda x, precision: is_neck(lambda x: density(x, data), x, precision, search))(x, precision)


def _precisions(density: Density, data: Data, x: jax.Array) -> jax.Array:
    return jax.lax.map(lambda one: -jax.hessian(lambda x: density(x, data))(one), x)


def scout(
    prior: CompiledPrior, given: np.ndarray, groups: int, rng: np.random.Generator, scouting: Scouting
) -> Scouted:
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
    scouting : Scouting
        How to.

    Raises
    ------
    ValueError
        If log p is not finite at any start.
    """
    n = prior.n
    count = _starts_each(n, groups, scouting)
    # Its forward draws, data or not: where the model's author expects x to be.
    drawn = prior.forward_draws(count, rng)
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
    none, no = np.empty((0, n, n)), np.empty(0, bool)
    found = Scouted(none[:, 0], none[:, 0, 0], none, none, np.empty((0, groups), int), no, no, no)
    places: list[np.ndarray] = []
    quiet, group = 0, np.arange(count) % groups
    for number in range(scouting.rounds):
        known = len(found.x)
        x = _blurred(pool, found, spread, count, number, rng)
        outside = ~np.isfinite(prior.logp(x))
        x[outside] = pool[rng.integers(len(pool), size=int(outside.sum()))]
        wide = x
        # Every group sees every scale.
        levels = np.geomspace(0.1, 2.0, scouting.scales)[np.arange(count) // groups % scouting.scales]
        near = _ends(prior, x, x, 1 / (levels[:, None] * spread) ** 2, scouting.blurred_steps, scouting.search)
        places.append(_dealt(np.where(np.isfinite(near.x).all(axis=1)[:, None], near.x, x), groups))
        found, ended, cost = _climbed(prior, found, near.x, group, scouting.search.most_steps, not number, scouting)
        if not number:  # the user's starts come first
            found = replace(found, given=np.isin(np.arange(len(found.x)), ended[: finite[: len(given)].sum()]))
        cost += float(near.evaluations.sum() * (n + 1.0))
        found = replace(found, evaluations=found.evaluations + cost)
        if len(found.x):
            own = np.sqrt(np.median(np.diagonal(found.covariance, axis1=1, axis2=2), axis=0))
            spread = np.sqrt(own**2 + found.x.var(axis=0))
        quiet = 0 if len(found.x) > known else quiet + 1
        many = len(found.x) > 4 * scouting.most_modes  # more than could be kept
        if many or quiet >= scouting.quiet or found.evaluations > scouting.evaluations:
            break
    found = found.only(_heaviest(found, np.zeros(len(found.x), bool), scouting))
    ends, kept = found.by.sum(axis=1), np.arange(len(found.x)) < scouting.most_modes
    return replace(
        found.only(np.flatnonzero(kept)),
        places=np.concatenate(places, axis=1),
        wide=pool if len(pool) > n else wide,
        unseen=float(ends[~kept | (ends == 1)].sum() / ends.sum()) if ends.sum() else 1.0,
    )


class Basins(NamedTuple):
    """Where climbs from some of the draws ended.

    ``sweep`` (chains, looks), ``mode`` (chains, looks): -1 for none, -2 for no climb; ``evaluations`` for all of them.
    """

    sweep: np.ndarray
    mode: np.ndarray
    evaluations: float


def look_again(
    prior: CompiledPrior, found: Scouted, x: np.ndarray, rng: np.random.Generator, scouting: Scouting
) -> tuple[Scouted, Basins]:
    """Climb from some of the draws `x` (chains, draws, n): add modes that nobody had found, say which is whose."""
    chains, draws, n = x.shape
    # In batches of the search's size, which are compiled already.
    batch = _starts_each(n, chains, scouting)
    batches = int(np.clip(scouting.look_evaluations / (8.0 * (n + 1)) / batch, 1, scouting.looks / batch))
    each = -(-batches * batch // chains)
    sweep = rng.integers(draws, size=(chains, each))
    starts = x[np.arange(chains)[:, None], sweep].reshape(-1, n)
    known = len(found.x)
    # Where the search found no maximum there is most likely none, and climbs would not end.
    steps = scouting.search.most_steps if known else 2 * scouting.blurred_steps
    group, more, which, cost = np.repeat(np.arange(chains), each), found, [], 0.0
    for first in range(0, len(starts), batch):
        rows = np.arange(first, first + batch) % len(starts)
        more, ended, used = _climbed(prior, more, starts[rows], group[rows], steps, False, scouting)
        cost += used
        which.append(ended)
        if cost > scouting.look_evaluations:  # where there is no maximum, climbs do not end
            break
    mode = np.full(len(starts), -2)
    climbed = np.concatenate(which)[: len(starts)]
    mode[: len(climbed)] = climbed
    more = replace(more, by=np.concatenate([found.by, more.by[known:]]))  # which chains' own search found it
    order = _heaviest(more, np.isin(np.arange(len(more.x)), climbed), scouting)[: scouting.most_modes]
    new = np.append(np.full(len(more.x), -1), [-2, -1])  # the last two: those of no mode
    new[order] = np.arange(len(order))
    return more.only(order), Basins(sweep, new[mode].reshape(chains, each), cost)


def _starts_each(n: int, groups: int, scouting: Scouting) -> int:
    """Climbs at a time: Newton needs n gradients for a Hessian, so in many dimensions fewer, which see more each."""
    return max(groups * 4, scouting.starts // (1 if n <= 16 else 2 if n <= scouting.search.dense else 4))


def _dealt(x: np.ndarray, groups: int) -> np.ndarray:
    """To each group its rows (groups, rows, n)."""
    rows = len(x) // groups
    return np.stack([x[group::groups][:rows] for group in range(groups)])


def _ends(prior: CompiledPrior, starts: Any, o: Any, precision: np.ndarray, steps: int, search: Search) -> Any:
    """Where climbs end, in NumPy."""
    return jax.tree.map(np.asarray, prior.kernel(_climbs, search)(prior.data, starts, o, precision, steps))


def _climbed(
    prior: CompiledPrior,
    found: Scouted,
    starts: np.ndarray,
    group: np.ndarray,
    steps: int,
    kinks: bool,
    scouting: Scouting,
) -> tuple[Scouted, np.ndarray, float]:
    """Climb p: give the modes with those that are new, which each climb ended at (climbs,), -1 for none, evaluations.

    Those that ended nowhere are looked at again where there are kinks: it was found so before, or `kinks` says to see.
    """
    search, at_once = scouting.search, scouting.lost
    ends = _ends(prior, starts, starts, np.zeros_like(starts), steps, search)
    cost = float(ends.evaluations.sum() * (prior.n + 1.0))
    ends = _without_necks(prior, ends, search)
    found, which = _added(prior, found, ends, group, scouting)
    lost = np.flatnonzero((which < 0) & ~ends.converged & np.isfinite(ends.logp))
    lost = lost[np.argsort(-ends.logp[lost], kind="stable")]
    kinks = prior.n <= search.dense and (kinks or bool((found.kink | found.on_edge).any()))
    for first in range(0, len(lost) if kinks else 0, at_once):
        rows = lost[first : first + at_once]
        padded = jax.tree.map(lambda values, rows=rows: values[np.resize(rows, at_once)], ends)
        settled = jax.tree.map(np.asarray, prior.kernel(_settled, search)(prior.data, padded))
        settled = _without_necks(prior, settled, search)
        settled = jax.tree.map(lambda values, rows=rows: values[: len(rows)], settled)
        cost += float(settled.evaluations.sum())
        found, which[rows] = _added(prior, found, settled, group[rows], scouting)
        if (which[rows] < 0).all():
            break  # where the highest are none, others are none
    return found, which, cost


def _without_necks(prior: CompiledPrior, ends: Any, search: Search) -> Any:
    """The climbs, of which those that ended in the neck of a funnel ended nowhere."""
    if not ends.precision.size:
        return ends
    size = np.abs(np.linalg.eigvalsh(np.where(np.isfinite(ends.precision), ends.precision, 0.0)))
    if not (ends.converged & (size.min(axis=1) < FLAT * size.max(axis=1))).any():
        return ends
    neck = np.asarray(prior.kernel(_necks, search)(prior.data, ends.x, ends.precision)) & ~ends.kink
    return ends._replace(converged=ends.converged & ~neck, logp=np.where(neck, -np.inf, ends.logp))


def _blurred(
    pool: np.ndarray, found: Scouted, spread: np.ndarray, count: int, number: int, rng: np.random.Generator
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


def _added(
    prior: CompiledPrior, found: Scouted, ends: Any, group: np.ndarray, scouting: Scouting
) -> tuple[Scouted, np.ndarray]:
    """The modes with those that climbs ended at; which each ended at (climbs,), -1 for none."""
    which = np.full(len(ends.logp), -1)
    # A climb that gave up beside a kink that is known ended there.
    beside = (found.kink | found.on_edge).any()
    good = (ends.converged | ends.on_edge | beside) & np.isfinite(ends.logp) & np.isfinite(ends.x).all(axis=1)
    for i in np.flatnonzero(good)[np.argsort(-ends.logp[good], kind="stable")]:
        x, lp = ends.x[i], float(ends.logp[i])
        gap = found.x - x
        apart = np.einsum("ki,kij,kj->k", gap, found.precision, gap) / prior.n
        near = (apart < scouting.same_mode**2) & (np.abs(found.lp - lp) < 1e-3 * (1 + abs(lp)))
        near = np.flatnonzero(near & (ends.converged[i] | found.kink | found.on_edge))
        if len(near):
            which[i] = near[np.argmin(apart[near])]
        elif ends.converged[i] or ends.on_edge[i]:
            precision = ends.precision[i]
            if not precision.size:
                precision = np.asarray(prior.kernel(_precisions)(prior.data, x[None])[0])
            covariance = _inverse(precision)
            if covariance is not None:
                which[i] = len(found.x)
                found = found.and_one(
                    x=x,
                    lp=lp,
                    precision=precision,
                    covariance=covariance,
                    by=np.zeros(found.by.shape[1], int),
                    kink=ends.kink[i],
                    on_edge=ends.on_edge[i],
                    given=False,
                )
    by, ended = found.by.copy(), which >= 0
    np.add.at(by, (which[ended], group[ended]), 1)
    return replace(found, by=by), which


def _inverse(precision: np.ndarray) -> np.ndarray | None:
    """The covariance; None where the precision is that of no Gaussian."""
    unit = np.diagonal(precision)
    if not (unit > 0).all():
        return None
    # In units of each number's own: only then is what is small beside the rest lost in rounding.
    unit = 1 / np.sqrt(unit)
    values, vectors = np.linalg.eigh(precision * unit[:, None] * unit)
    if not values.min() > 1e-14 * values.max():
        return None
    return ((vectors / values) @ vectors.T) * unit[:, None] * unit


def _heaviest(found: Scouted, seen: np.ndarray, scouting: Scouting) -> np.ndarray:
    """Which modes to keep, heaviest first: those at which climbs from draws ended, and those that may have mass.

    The mass of a heavy tail is not seen in the curvature at its top: Cauchy's Gaussian, in n dimensions, is narrower
    by sqrt(1 + n) each way. Where one climb alone ended on an edge, another would have ended elsewhere on it.
    """
    n = found.x.shape[1]
    mass = found.log_mass
    order = np.lexsort([-mass, ~seen])
    worth = seen | (mass > mass.max(initial=-np.inf) - scouting.nats - 0.5 * n * np.log1p(n))
    worth &= ~found.on_edge | (found.by.sum(axis=1) > 1)
    kept = order[worth[order]]
    return kept[np.argsort(-mass[kept], kind="stable")]
