"""Mixtures: the density that tempering starts from, and the local scales that its moves use.

    q(x) = sum_k w_k q_k(x),   q_k = N(m_k, C_k), and the last few Student t's with heavy tails, wider and wider

In few dimensions all are Student t's: the ends of a curve lie far out in the scale of the component nearest to them.

Numbers with heavy tails are bent, so that a mixture can follow these (Johnson and Geyer 2012): all this is
in y, and

    x = c + s sinh(y / s),   log q(x) = log q(y) - sum log cosh(y / s);   s = 0 stands for x = c + y

Fitted to draws by expectation and maximisation (Dempster, Laird, Rubin 1977): one component at each mode to begin
with, and one more as long as draws that were held out become likelier.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln

from bayesdiff.multimodal.tuning import Fitting

# Degrees of freedom: finite variance, tails that outlast most posteriors'; and of the widest component, Cauchy's.
NU, WIDEST_NU = 4.0, 1.0


class Frame(NamedTuple):
    """How x is made of y: ``centre`` (n,), and ``bend`` (n,), beyond which y grows as log x; 0 where it never does."""

    centre: Any
    bend: Any

    def bent(self, y: Any, np: Any = np) -> tuple[Any, Any]:
        """x, and log dx/dy (..., n), by NumPy or by JAX."""
        size = np.where(self.bend > 0, self.bend, 1.0)
        z = np.clip(y / size, -150, 150)  # e^150 is as good as infinite, and can still be squared
        x = np.where(self.bend > 0, size * np.sinh(z), y)
        slope = np.where(self.bend > 0, np.logaddexp(z, -z) - np.log(2.0), 0.0)
        return self.centre + x, slope

    def unbent(self, x: np.ndarray) -> np.ndarray:
        """Compute y."""
        gap, size = x - self.centre, np.where(self.bend > 0, self.bend, 1.0)
        return np.where(self.bend > 0, size * np.arcsinh(gap / size), gap)

    def moved(self, fit: Fit, to: Frame) -> Fit:
        """Gaussians of this frame in another, each as it is at its mean."""
        x, slope = self.bent(fit.means)
        y = to.unbent(x)
        ratio = np.exp(slope - to.bent(y)[1])
        return Fit(fit.weights, y, fit.covariances * ratio[:, :, None] * ratio[:, None, :])


def straight(n: int) -> Frame:
    """The frame in which x is y."""
    return Frame(np.zeros(n), np.zeros(n))


def frame_for(x: np.ndarray, fitting: Fitting) -> Frame:
    """A frame for draws (draws, n), in which their tails are not heavy."""
    low, first, middle, third, high = np.quantile(x, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
    width = (third - first) / 1.349
    reach = np.maximum(high - middle, middle - low) / 2.326
    heavy = (reach > fitting.heavy * width) & (width > 0)
    return Frame(middle, np.where(heavy, fitting.bend * width, 0.0))


class Mixture(NamedTuple):
    """A mixture in arrays of fixed size: components that are not there have a log weight of -inf.

    ``log_weight`` (k,), ``mean`` (k, n), ``root`` (k, n, n) with root root' = covariance (scale matrix of the wide
    one), ``inverse`` (k, n, n) of root, ``log_norm`` (k,) of its density; ``nu`` (k,): of a Student t, 0 of a Gaussian.
    ``wide`` (k,): whether it is none of those that were fitted. ``frame``: how x is made of what this is a density of.
    """

    log_weight: np.ndarray
    mean: np.ndarray
    root: np.ndarray
    inverse: np.ndarray
    log_norm: np.ndarray
    nu: np.ndarray
    wide: np.ndarray
    frame: Frame

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
        """Which components are there and were fitted (k,)."""
        return np.isfinite(self.log_weight) & ~self.wide


def mixture(fit: Fit, wide: Spread, size: int, fitting: Fitting, frame: Frame | None = None) -> Mixture:
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
    curved = n <= fitting.curved_dimensions
    root[:k] = _roots(fit.covariances) * (fitting.of_curved if curved else 1.0) ** 0.5
    for i, (_, times) in enumerate(wide_ones):
        root[k + i] *= times
    inverse = np.linalg.inv(root)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    is_wide = np.arange(size) >= k
    nu = np.where(is_wide | curved, NU, 0.0)
    nu[k + len(wide_ones) - 1] = WIDEST_NU
    some = np.maximum(nu, WIDEST_NU)
    student = gammaln((some + n) / 2) - gammaln(some / 2) - 0.5 * n * np.log(some / 2)
    log_norm = np.where(nu > 0, student, 0.0) - 0.5 * n * np.log(2 * np.pi) - log_det
    return Mixture(log_weight, mean, root, inverse, log_norm, nu, is_wide, frame or straight(n))


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
    nu = jnp.maximum(mixture.nu, WIDEST_NU)
    shape = jnp.where(mixture.nu > 0, -0.5 * (nu + n) * jnp.log1p(square / nu), -0.5 * square)
    return mixture.log_weight + mixture.log_norm + shape, z


def log_density(mixture: Mixture, x: jax.Array) -> jax.Array:
    """Compute log q(x) ()."""
    return jax.scipy.special.logsumexp(component_logs(mixture, x)[0])


def draw_one(mixture: Mixture, key: jax.Array) -> jax.Array:
    """Draw x ~ q (n,)."""
    which, where, tail = jax.random.split(key, 3)
    k = jax.random.categorical(which, mixture.log_weight)
    z = jax.random.normal(where, (mixture.mean.shape[1],))
    nu = mixture.nu[k]
    chi_square = jnp.where(jnp.arange(int(NU)) < nu, jax.random.normal(tail, (int(NU),)) ** 2, 0.0).sum()
    z = z * jnp.where(nu > 0, jnp.sqrt(nu / chi_square), 1.0)
    return mixture.mean[k] + mixture.root[k] @ z


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
    failures, several = 0, 1
    while len(best.weights) < room and failures < 4:
        several = min(max(several, 1), room - len(best.weights), len(best.weights))
        tried = _em(kept, _split(kept, best, several, failures, rng), trust, fitting.rounds)
        new = score(tried)
        if new > reached + fitting.worth * several:
            best, reached, failures = tried, new, 0
            several *= 2
        elif several > 1 and failures < 3:
            several //= 4
        else:  # where none is worth it alone, all together may be: on a curve
            failures += 1
            several = len(best.weights) if failures == 3 else 1
    return best


def with_all(fit: Fit, modes: Fit, most: int) -> Fit:
    """The same with the Gaussians of those `modes` that it forgot, in place of its lightest where there is no room."""
    if not len(modes.weights):
        return fit
    own = _logs(modes.means, modes)[0].diagonal() - np.log(modes.weights)
    here = _logs(modes.means, fit._replace(weights=np.full(len(fit.weights), 1 / len(fit.weights))))[1]
    gone = np.flatnonzero(here < own - np.log(len(fit.weights)) - 3)[: most - 1]
    kept = np.sort(np.argsort(-fit.weights, kind="stable")[: most - len(gone)])
    weights = np.concatenate([fit.weights[kept], np.zeros(len(gone))])
    means, covariances = (np.concatenate([a[kept], b[gone]]) for a, b in zip(fit[1:], modes[1:], strict=True))
    return Fit(weights / weights.sum(), means, covariances)


def _roots(covariances: np.ndarray) -> np.ndarray:
    """A lower triangular root of each (k, n, n)."""
    try:
        scale = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        roots = np.linalg.cholesky(covariances / (scale[:, :, None] * scale[:, None, :]))
        return scale[:, :, None] * roots
    except np.linalg.LinAlgError:
        return np.stack([_root(covariance) for covariance in covariances])


def _logs(x: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Compute log w_k q_k(x) (draws, k), and log q(x) (draws,)."""
    n, roots = x.shape[1], _roots(fit.covariances)
    inverses = np.linalg.inv(roots)
    det = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    constant = np.log(np.maximum(fit.weights, 1e-300)) - det - 0.5 * n * np.log(2 * np.pi)
    logs = np.empty((len(x), len(fit.weights)))
    for some in _few(len(fit.weights), x.size):
        z = (x - fit.means[some, None]) @ np.swapaxes(inverses[some], 1, 2)
        logs[:, some] = constant[some] - 0.5 * np.einsum("kdi,kdi->dk", z, z)
    top = logs.max(axis=1, keepdims=True)
    return logs, (top + np.log(np.exp(logs - top).sum(axis=1, keepdims=True)))[:, 0]


def _few(components: int, numbers: int) -> list[slice]:
    """Components at a time: so many numbers are held at once."""
    size = max(1, 2**22 // numbers)
    return [slice(first, first + size) for first in range(0, components, size)]


def _em(x: np.ndarray, start: Fit, trust: float, rounds: int) -> Fit:
    """Expectation and maximisation from `start`, with covariances drawn towards those of `start`."""
    n = x.shape[1]
    fit, before = start, -np.inf
    prior = trust * (n + 1)
    inverses = np.linalg.inv(_roots(start.covariances))
    for _ in range(rounds):
        logs, total = _logs(x, fit)
        shares = np.exp(logs - total[:, None])
        size = shares.sum(axis=0)
        means, covariances = fit.means.copy(), fit.covariances.copy()
        own = np.flatnonzero(size > 1)
        means[own] = (shares[:, own].T @ x) / size[own, None]
        for some in _few(len(own), x.size):
            k = own[some]
            gap = x - means[k, None]
            scatter = np.swapaxes(gap * shares.T[k, :, None], 1, 2) @ gap
            # As many draws as it has numbers to learn say little; the anchor takes the shape of what was there.
            anchor = start.covariances[k]
            if trust <= 1e3:
                anchor = _like(anchor, inverses[k], scatter / size[k, None, None])
            covariances[k] = (scatter + prior * anchor) / (size[k, None, None] + prior)
        fit = Fit(size / len(x), means, covariances)
        if total.mean() < before + 1e-4:
            break
        before = total.mean()
    return fit


def _like(covariances: np.ndarray, inverses: np.ndarray, data: np.ndarray) -> np.ndarray:
    """`covariances`, made as large as `data` are, each in its own units; ``inverses`` of their roots."""
    n = data.shape[-1]
    ratio = np.einsum("kij,kjl,kil->k", inverses, data, inverses) / n
    like = covariances * np.clip(ratio, 1e-3, 1e3)[:, None, None]
    flat = data * np.eye(n)
    return np.where(np.isfinite(ratio)[:, None, None], like, flat)


def _split(x: np.ndarray, fit: Fit, several: int, but: int, rng: np.random.Generator) -> Fit:
    """So many components more: those whose draws look least like their Gaussian, but for the first, each cut in two."""
    logs, total = _logs(x, fit)
    shares = np.exp(logs - total[:, None])
    size = shares.sum(axis=0)
    n = x.shape[1]
    enough = np.flatnonzero(size > 4 * (n + 1))
    if not len(enough):
        return fit
    inverses = np.linalg.inv(_roots(fit.covariances))
    # Where the Gaussian is wrong, the draws' squared lengths in its scale vary more than a chi-square's do, or less.
    misfit = np.zeros(len(enough))
    for some in _few(len(enough), x.size):
        k = enough[some]
        z = (x - fit.means[k, None]) @ np.swapaxes(inverses[k], 1, 2)
        share = shares.T[k] / size[k, None]
        square = (z**2).sum(axis=2)
        mean = (share * square).sum(axis=1)
        variance = (share * (square - mean[:, None]) ** 2).sum(axis=1)
        # Three-fold moments find bananas, whose lengths look right.
        skew = np.abs(np.einsum("kd,kdi->ki", share, z**3)).max(axis=1)
        misfit[some] = (np.abs(variance - 2 * n) / (2 * n) + skew) * np.sqrt(size[k]) + 1e-9
    weights, means, covariances = fit
    for k in enough[np.argsort(-misfit, kind="stable")][but if several == 1 else 0 :][:several]:
        # Two centres among its draws, far from each other in its own scale.
        members = rng.choice(len(x), size=min(64, len(x)), p=shares[:, k] / size[k])
        z = (x[members] - fit.means[k]) @ inverses[k].T
        first = int(rng.integers(len(z)))
        apart = ((z - z[first]) ** 2).sum(axis=1)
        second = int(rng.choice(len(z), p=apart / apart.sum())) if apart.sum() > 0 else first
        weights, means, covariances = (np.concatenate([v, v[k : k + 1]]) for v in (weights, means, covariances))
        weights[[k, -1]] *= 0.5
        means[[k, -1]] = x[members[[first, second]]]
        covariances[[k, -1]] *= 0.5
    return Fit(weights, means, covariances)
