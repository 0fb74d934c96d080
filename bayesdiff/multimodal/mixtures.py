"""Mixtures: the density that tempering starts from, and the local scales that its moves use.

    q(x) = sum_k w_k q_k(x),   q_k = N(m_k, C_k), and the last few Student t's with heavy tails, wider and wider

Fitted to draws by expectation and maximisation (Dempster, Laird, Rubin 1977): one component at each mode to begin
with, and one more as long as draws that were held out become likelier.
"""

from __future__ import annotations

from math import lgamma, log, pi
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesdiff.multimodal.tuning import Fitting

# Degrees of freedom of the wide components: finite variance, tails that outlast most posteriors'.
NU = 4.0


class Mixture(NamedTuple):
    """A mixture in arrays of fixed size: components that are not there have a log weight of -inf.

    ``log_weight`` (k,), ``mean`` (k, n), ``root`` (k, n, n) with root root' = covariance (scale matrix of the wide
    one), ``inverse`` (k, n, n) of root, ``log_det`` (k,) of root; ``heavy`` (k,): whether it is a Student t.
    """

    log_weight: np.ndarray
    mean: np.ndarray
    root: np.ndarray
    inverse: np.ndarray
    log_det: np.ndarray
    heavy: np.ndarray

    @property
    def n(self) -> int:
        """Numbers in a state."""
        return self.mean.shape[1]

    @property
    def covariance(self) -> np.ndarray:
        """Covariances (k, n, n); of the wide component, its scale matrix."""
        return self.root @ np.swapaxes(self.root, 1, 2)

    @property
    def real(self) -> np.ndarray:
        """Which components are there and are Gaussian (k,)."""
        return np.isfinite(self.log_weight) & ~self.heavy


def mixture(fit: Fit, wide: Spread, size: int, fitting: Fitting) -> Mixture:
    """Put Gaussians and the wide Student t's into a mixture of `size` places: few sizes, few compilations."""
    k, n = fit.means.shape
    wide_ones = fitting.wide[: fitting.wides(n)]
    total = sum(weight for weight, _ in wide_ones)
    shares = np.concatenate([(1 - total * (k > 0)) * fit.weights, [weight for weight, _ in wide_ones]])
    log_weight = np.full(size, -np.inf)
    log_weight[: len(shares)] = np.log(np.maximum(shares / shares.sum(), 1e-300))
    mean = np.tile(wide.centre, (size, 1))
    root = np.tile(_root(wide.covariance * (NU - 2) / NU), (size, 1, 1))
    mean[:k] = fit.means
    for i in range(k):
        root[i] = _root(fit.covariances[i])
    for i, (_, times) in enumerate(wide_ones):
        root[k + i] *= times
    inverse = np.linalg.inv(root)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    return Mixture(log_weight, mean, root, inverse, log_det, np.arange(size) >= k)


class Spread(NamedTuple):
    """Where something lies: ``centre`` (n,), ``covariance`` (n, n)."""

    centre: np.ndarray
    covariance: np.ndarray


def _root(covariance: np.ndarray) -> np.ndarray:
    """A lower triangular root, of the nearest covariance that has one."""
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 1e-300))
    correlation = covariance / scale[:, None] / scale[None, :]
    for ridge in (0.0, 1e-12, 1e-9, 1e-6, 1e-3):
        try:
            return scale[:, None] * np.linalg.cholesky(correlation + ridge * np.eye(len(scale)))
        except np.linalg.LinAlgError:
            continue
    return np.diag(scale)


# ------------------------------------------------------------------------------------------------ in JAX, for one state


def component_logs(mixture: Mixture, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute log w_k q_k(x) (k,) and the states in each component's own scale (k, n)."""
    k, n = mixture.mean.shape
    # One matrix product for all components: XLA hands many small ones to a thread pool, and waits for it.
    z = (mixture.inverse.reshape(k * n, n) @ x).reshape(k, n) - (mixture.inverse * mixture.mean[:, None, :]).sum(-1)
    square = (z * z).sum(-1)
    student = -0.5 * (NU + n) * jnp.log1p(square / NU) + _student_constant(n)
    gauss = -0.5 * square - 0.5 * n * jnp.log(2 * jnp.pi)
    return mixture.log_weight + jnp.where(mixture.heavy, student, gauss) - mixture.log_det, z


def log_density(mixture: Mixture, x: jax.Array) -> jax.Array:
    """Compute log q(x) ()."""
    return jax.scipy.special.logsumexp(component_logs(mixture, x)[0])


def draw_one(mixture: Mixture, key: jax.Array) -> jax.Array:
    """Draw x ~ q (n,)."""
    which, where, tail = jax.random.split(key, 3)
    k = jax.random.categorical(which, mixture.log_weight)
    z = jax.random.normal(where, (mixture.mean.shape[1],))
    chi_square = (jax.random.normal(tail, (int(NU),)) ** 2).sum()
    z = z * jnp.where(mixture.heavy[k], jnp.sqrt(NU / chi_square), 1.0)
    return mixture.mean[k] + mixture.root[k] @ z


def _student_constant(n: int) -> float:
    return lgamma((NU + n) / 2) - lgamma(NU / 2) - 0.5 * n * log(NU * pi)


# -------------------------------------------------------------------------------------------------------------- fitting


class Fit(NamedTuple):
    """Gaussians: ``weights`` (k,), ``means`` (k, n), ``covariances`` (k, n, n)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def fit(kept: np.ndarray, held: np.ndarray, start: Fit, most: int, rng: np.random.Generator, fitting: Fitting) -> Fit:
    """Fit Gaussians to draws: those of `start`, and more while draws held out become likelier.

    Parameters
    ----------
    kept, held : ndarray (draws, n)
        Draws to fit to, and draws held out, of other chains: neighbours in one chain are too much alike.
    start : Fit
        Where to begin. A component that no draw belongs to stays as it is, with a small weight: what was found is not
        forgotten because one round did not come by.
    most : int
        Components at most.
    rng : Generator
        Where components are added.
    fitting : Fitting
        What was tuned.
    """
    n = kept.shape[1]
    most_draws = max(fitting.draws, 40 * n)
    kept, held = kept[:: -(-len(kept) // most_draws)], held[:: -(-len(held) // most_draws)]

    def score(fit: Fit) -> float:
        return float(_logs(held, fit)[1].mean())

    # How far to trust the draws' covariances, against those that were there: what the draws held out say.
    tries = [_em(kept, start, trust, fitting.rounds) for trust in fitting.trusts]
    scores = [score(tried) for tried in tries]
    which = int(np.argmax(scores))
    best, reached, trust = tries[which], scores[which], fitting.trusts[which]
    # A component needs draws for its covariance; below, the mixture would learn the draws by heart.
    room = min(most, len(start.weights) + len(kept) // (4 * (n + 1)))
    failures = 0
    while len(best.weights) < room and failures < 3:
        tried = _em(kept, _split(kept, best, rng), trust, fitting.rounds)
        new = score(tried)
        if new > reached + fitting.worth:
            best, reached, failures = tried, new, 0
        else:
            failures += 1
    return best


def _logs(x: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Compute log w_k q_k(x) (draws, k), and log q(x) (draws,)."""
    n = x.shape[1]
    logs = np.empty((len(x), len(fit.weights)))
    for k, (weight, mean, covariance) in enumerate(zip(*fit, strict=True)):
        root = _root(covariance)
        z = (x - mean) @ np.linalg.inv(root).T
        logs[:, k] = (
            np.log(max(weight, 1e-300)) - 0.5 * (z**2).sum(axis=1) - np.log(np.diagonal(root)).sum()
        ) - 0.5 * n * np.log(2 * np.pi)
    top = logs.max(axis=1, keepdims=True)
    return logs, (top + np.log(np.exp(logs - top).sum(axis=1, keepdims=True)))[:, 0]


def _em(x: np.ndarray, start: Fit, trust: float, rounds: int) -> Fit:
    """Expectation and maximisation from `start`, with covariances drawn towards those of `start`."""
    n = x.shape[1]
    fit, before = start, -np.inf
    prior = trust * (n + 1)
    for _ in range(rounds):
        logs, total = _logs(x, fit)
        shares = np.exp(logs - total[:, None])
        size = shares.sum(axis=0)
        weights = size / len(x)
        means, covariances = fit.means.copy(), fit.covariances.copy()
        for k in np.flatnonzero(size > 1):
            means[k] = shares[:, k] @ x / size[k]
            gap = x - means[k]
            scatter = (gap * shares[:, k : k + 1]).T @ gap
            # As many draws as it has numbers to learn say little; the anchor takes the shape of what was there.
            anchor = start.covariances[k] if trust > 1e3 else _like(start.covariances[k], scatter / size[k])
            covariances[k] = (scatter + prior * anchor) / (size[k] + prior)
        fit = Fit(weights, means, covariances)
        if total.mean() < before + 1e-4:
            break
        before = total.mean()
    return fit


def _like(covariance: np.ndarray, data: np.ndarray) -> np.ndarray:
    """`covariance`, made as large as `data` is, in its own units."""
    inverse = np.linalg.inv(_root(covariance))
    ratio = np.trace(inverse @ data @ inverse.T) / len(data)
    return covariance * np.clip(ratio, 1e-3, 1e3) if np.isfinite(ratio) else np.diag(np.diagonal(data))


def _split(x: np.ndarray, fit: Fit, rng: np.random.Generator) -> Fit:
    """One component more: that whose draws look least like its Gaussian, cut in two along its longest excess."""
    logs, total = _logs(x, fit)
    shares = np.exp(logs - total[:, None])
    size = shares.sum(axis=0)
    n = x.shape[1]
    enough = size > 4 * (n + 1)
    if not enough.any():
        return fit
    # Where the Gaussian is wrong, the draws' squared lengths in its scale vary more than a chi-square's do, or less.
    misfit = np.zeros(len(size))
    for i in np.flatnonzero(enough):
        z = np.linalg.solve(_root(fit.covariances[i]), (x - fit.means[i]).T).T
        square = (z**2).sum(axis=1)
        mean = shares[:, i] @ square / size[i]
        variance = shares[:, i] @ (square - mean) ** 2 / size[i]
        # Three-fold moments find bananas, whose lengths look right.
        skew = np.abs(shares[:, i] @ z**3 / size[i]).max()
        misfit[i] = (abs(variance - 2 * n) / (2 * n) + skew) * np.sqrt(size[i]) + 1e-9
    k = int(rng.choice(len(size), p=misfit / misfit.sum()))
    # Two centres among its draws, far from each other in its own scale.
    members = rng.choice(len(x), size=min(64, len(x)), p=shares[:, k] / size[k])
    z = np.linalg.solve(_root(fit.covariances[k]), (x[members] - fit.means[k]).T).T
    first = int(rng.integers(len(z)))
    apart = ((z - z[first]) ** 2).sum(axis=1)
    second = int(rng.choice(len(z), p=apart / apart.sum())) if apart.sum() > 0 else first
    weights, means, covariances = (np.concatenate([values, values[k : k + 1]]) for values in fit)
    weights[[k, -1]] *= 0.5
    means[[k, -1]] = x[members[[first, second]]]
    covariances[[k, -1]] *= 0.5
    return Fit(weights, means, covariances)
