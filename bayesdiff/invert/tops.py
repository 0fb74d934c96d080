"""Tops: the modes of p0 itself, each with its Gaussian, and what a step makes of them.

    p0(x) ~ sum_k c_k N(x; m_k, C_k)
    p(x | o) ~ sum_k c_k N(o; alpha m_k, alpha^2 C_k + sigma^2 I) N(x; m_k + G_k (o - alpha m_k), ...)

Exact for a mixture of Gaussians far apart; for any other prior it says where to begin, and how much lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.compiled import CompiledPrior, Data, Density
from bayesdiff.invert.newton import Climb, climb
from bayesdiff.invert.tuning import Search


class Points(NamedTuple):
    """Places where p0 is high, and the Gaussians there.

    ``x`` (..., n), ``prior`` (...,): log p0(x), -inf where there is none; ``axes`` (..., n, n) and ``variance``
    (..., n): eigenvectors, in columns, and eigenvalues of the covariance, all 0 for a mere point, and left out above
    `top_dimensions`; ``size`` (...,): half the log determinant of the covariance.
    """

    x: Any
    prior: Any
    axes: Any
    variance: Any
    size: Any

    def stepped(self, o: jax.Array, alpha: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Compute what one step makes of them: centres (..., n), log heights and log masses (...,), up to a constant.

        The height of p(x | o) at the centre, and its integral over the Gaussian.
        """
        if not self.variance.shape[-1]:
            height = self.prior - 0.5 * (((o - alpha * self.x) / sigma) ** 2).sum(axis=-1)
            return self.x, height, self.size
        gap = (self.axes * (o - alpha * self.x)[..., None]).sum(axis=-2)
        total = alpha**2 * self.variance + sigma**2
        pull = gap / total
        height = self.prior - 0.5 * (gap * pull).sum(axis=-1)
        along = alpha * self.variance * pull
        return (
            self.x + (self.axes * along[..., None, :]).sum(axis=-1),
            height,
            height + self.size - 0.5 * jnp.log(total).sum(axis=-1),
        )


def mere_points(x: np.ndarray, logp: np.ndarray, search: Search) -> Points:
    """Points (m, n) without a Gaussian, and their log p0 (m,)."""
    count, n = x.shape
    kept = n if n <= search.top_dimensions else 0
    axes = np.broadcast_to(np.eye(n, kept), (count, n, kept))
    return Points(x, logp, axes, np.zeros((count, kept)), np.full(count, -np.inf))


def joined(*parts: Points) -> Points:
    """Points one after the other."""
    return Points(*map(np.concatenate, zip(*parts, strict=True)))


def padded(points: Points, count: int) -> Points:
    """The first `count` of them, and where there are not so many, points of density 0."""
    missing = max(0, count - len(points.x))

    def more(values: np.ndarray) -> np.ndarray:
        return np.zeros((missing, *values.shape[1:]))

    nowhere = Points(*map(more, points))._replace(prior=np.full(missing, -np.inf))
    return Points(*(values[:count] for values in joined(points, nowhere)))


@dataclass(frozen=True)
class Tops:
    """The modes of p0 that a search found, highest first.

    ``points`` (m, ...); ``late`` (m,): found by the second half of a search that was cut short, which has therefore
    left others out; none where the search came to its end. ``ridge``: other ends of climbs, on a ridge or a ring.
    """

    points: Points
    late: np.ndarray
    ridge: Points


def _climb_prior(density: Density, search: Search, data: Data, starts: jax.Array) -> Climb:
    return jax.vmap(lambda start: climb(lambda x: density(x, data), start, jnp.ones(()), search=search))(starts)


def find_tops(
    prior: CompiledPrior,
    points: np.ndarray,
    logp: np.ndarray,
    drawn: bool,
    patience: int,
    rng: np.random.Generator,
    search: Search,
) -> Tops:
    """Search the modes of p0, by sets of climbs, until as many as found them all find no other.

    `points` (any, n), finite in `logp`: where to begin. If they are ``drawn`` from p0, the next sets begin where p0 is
    higher than the modes so far explain. Otherwise at their differences, around each, and at random, and so many climbs
    as `patience` says must find nothing.
    """
    n, size = prior.n, search.top_climbs
    most_climbs, most_tops = (most[n > 3] for most in (search.most_climbs, search.most_tops))
    x, heights, precisions, found_at = np.empty((0, n)), np.empty(0), np.empty((0, n, n)), np.empty(0, int)
    ridge: list[tuple[np.ndarray, float]] = []
    explained, waiting = np.full(len(points), -np.inf), np.ones(len(points), bool)
    climbed, last, begin = 0, 0, np.arange(min(size, len(points)))
    starts = points[begin]
    while True:
        waiting[begin] = False
        ends = jax.tree.map(np.asarray, prior.kernel(_climb_prior, search)(prior.data, np.resize(starts, (size, n))))
        climbed += size
        known = len(x)
        for i in np.argsort(-ends.logp, kind="stable"):
            if not ends.converged[i]:
                continue
            gaps = ends.x[i] - x
            mine = np.einsum("ki,ij,kj->k", gaps, ends.precision[i], gaps)
            theirs = np.einsum("ki,kij,kj->k", gaps, precisions, gaps)  # a narrow mode may stand on top of a wide one
            if (np.maximum(mine, theirs) <= search.same_mode).any():
                continue
            if not _is_resolved(ends.precision[i], search):
                ridge.append((ends.x[i], float(ends.logp[i])))
                continue
            x, heights = np.concatenate([x, ends.x[i : i + 1]]), np.append(heights, ends.logp[i])
            precisions, found_at = np.concatenate([precisions, ends.precision[i : i + 1]]), np.append(found_at, climbed)
        if len(x) > known:
            last = climbed
        cut = climbed >= most_climbs or len(x) >= most_tops
        if cut or climbed - last >= max(size if drawn else patience, last):
            break
        if drawn:
            for k in range(known, len(x)):
                gaps = points - x[k]
                square = ((gaps @ precisions[k]) * gaps).sum(axis=1)
                explained = np.logaddexp(explained, heights[k] - 0.5 * square)
            left = np.flatnonzero(waiting & (logp > explained + search.unexplained))
            if not len(left):
                break
            # The highest, where a narrow mode is, and as many as they come.
            highest = left[np.argsort(-logp[left], kind="stable")][: size // 2]
            begin = np.unique(np.concatenate([highest, left[: size // 2]]))
            starts = points[begin]
        else:
            begin = np.empty(0, int)
            starts = _further(points, x if len(x) else points, precisions, size, rng)
    order = np.argsort(-heights, kind="stable")[:most_tops]
    late = (found_at[order] > climbed // 2) & cut
    ridge_x = np.array([place for place, _ in ridge]).reshape(-1, n)
    ridge_logp = np.array([height for _, height in ridge])
    highest = np.argsort(-ridge_logp, kind="stable")
    return Tops(
        _gaussians(x[order], heights[order], precisions[order]),
        late,
        mere_points(ridge_x[highest], ridge_logp[highest], search),
    )


def _further(
    points: np.ndarray, x: np.ndarray, precisions: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Where to look on, without draws of p0 (size, n): around what is known, and where steps between that lead."""
    i, j, k = rng.integers(len(x), size=(3, size))
    spread = points.std(axis=0) * rng.normal(size=(size, x.shape[1]))
    own = spread
    if len(precisions):
        roots = np.array([np.linalg.cholesky(np.linalg.inv(precision)) for precision in precisions])
        own = np.einsum("sij,sj->si", roots[i], rng.normal(size=spread.shape))
    kinds = [
        x[i] + x[j] - x[k] + own,
        x[i] + own * np.geomspace(2.0, 32.0, size)[:, None],
        x.mean(axis=0) + x.std(axis=0) * rng.normal(size=spread.shape) + own,
        x.mean(axis=0) + 1.5 * x.std(axis=0) * rng.normal(size=spread.shape) + spread,
    ]
    return np.choose((np.arange(size) % len(kinds))[:, None], kinds)


def _is_resolved(precision: np.ndarray, search: Search) -> bool:
    """Whether a peak is one in all directions: judged in coordinates in which each has the same curvature."""
    if not (np.isfinite(precision).all() and (np.diag(precision) > 0).all()):
        return False
    scale = np.sqrt(np.diag(precision))
    return bool(np.linalg.eigvalsh(precision / scale[:, None] / scale).min() > search.resolved)


def _gaussians(x: np.ndarray, heights: np.ndarray, precisions: np.ndarray) -> Points:
    scale = np.sqrt(np.diagonal(precisions, axis1=1, axis2=2))
    even = precisions / scale[:, :, None] / scale[:, None, :]
    variance, axes = np.linalg.eigh(np.linalg.inv(even) / scale[:, :, None] / scale[:, None, :])
    size = -0.5 * np.linalg.slogdet(even)[1] - np.log(scale).sum(axis=1)
    return Points(x, heights, axes, np.maximum(variance, 0.0), size)
