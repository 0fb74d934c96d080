"""Closed forms and quadratures to test against. Nothing here comes from bayesdiff.

o | x ~ N(alpha x, sigma^2 I),   x ~ p0,   wanted: p(x | o) and log p(o)
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import factorial, logsumexp
from scipy.stats import norm


def gaussian_step(o, alpha, sigma, mean=0.0, variance=1.0):
    """p(x | o) for x ~ N(mean, variance): its mean and variance, and log p(o). Everything broadcasts."""
    total = alpha**2 * variance + sigma**2
    gap = o - alpha * mean
    return (
        mean + alpha * variance * gap / total,
        variance * sigma**2 / total,
        -0.5 * (gap**2 / total + np.log(2 * np.pi * total)),
    )


@dataclass(frozen=True)
class Mixture:
    """sum_k weights[k] N(means[k], covariances[k]): shapes (m,), (m, n), (m, n, n)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def mixture(weights, means, covariances):
    """A Mixture; 1-d means (m,) make n = 1, and variances () or (m,) mean variance times I."""
    weights, means, covariances = (np.asarray(value, float) for value in (weights, means, covariances))
    means = means.reshape(len(weights), -1)
    if covariances.ndim < 3:
        covariances = np.broadcast_to(covariances, weights.shape)[:, None, None] * np.eye(means.shape[1])
    return Mixture(weights, means, covariances)


def mixture_posterior(prior, o, alpha, sigma):
    """p(x | o), again a Mixture, and log p(o), for one o (n,).

    Component k is updated by itself; its weight is multiplied by N(o; alpha m_k, alpha^2 C_k + sigma^2 I).
    """
    gap = np.reshape(o, -1) - alpha * prior.means
    noise = sigma**2 * np.eye(gap.shape[1])
    log_joint, means, covariances = [], [], []
    for weight, mean, covariance, e in zip(prior.weights, prior.means, prior.covariances, gap, strict=True):
        total = alpha**2 * covariance + noise
        gain = alpha * np.linalg.solve(total, covariance).T
        log_joint.append(np.log(weight) + _log_normal(e, total))
        means.append(mean + gain @ e)
        covariances.append(covariance - alpha * gain @ covariance)
    log_evidence = logsumexp(log_joint)
    return Mixture(np.exp(np.array(log_joint) - log_evidence), np.array(means), np.array(covariances)), log_evidence


def mixture_moments(mix):
    """Mean (n,) and covariance (n, n) of a Mixture."""
    mean = mix.weights @ mix.means
    gap = mix.means - mean
    return mean, np.einsum("k,kij->ij", mix.weights, mix.covariances + gap[:, :, None] * gap[:, None, :])


def mixture_log_density(mix, x):
    """Log density of a Mixture at x (..., n)."""
    terms = [
        np.log(weight) + _log_normal(x - mean, covariance)
        for weight, mean, covariance in zip(mix.weights, mix.means, mix.covariances, strict=True)
    ]
    return logsumexp(terms, axis=0)


def mixture_draws(mix, size, rng):
    """Exact draws (size, n) of a Mixture."""
    k = rng.choice(len(mix.weights), size=size, p=mix.weights)
    factor = np.linalg.cholesky(mix.covariances)
    return mix.means[k] + np.einsum("sij,sj->si", factor[k], rng.standard_normal((size, mix.means.shape[1])))


def mixture_mode(mix, iterations=2000):
    """The highest mode (n,) of a Mixture and its log density.

    Fixed point of x = (sum_k r_k C_k^-1)^-1 sum_k r_k C_k^-1 m_k with r_k the shares at x, which never goes down (it
    is an EM step: Carreira-Perpinan 2000, eq. 7), from every mean and from points between every two of them.
    """
    m = len(mix.weights)
    between = [a * mix.means[i] + (1 - a) * mix.means[j] for i in range(m) for j in range(i) for a in (0.25, 0.5, 0.75)]
    precision = np.linalg.inv(mix.covariances)
    pull = np.einsum("kij,kj->ki", precision, mix.means)
    best, highest = None, -np.inf
    for x in [*mix.means, *between]:
        for _ in range(iterations):
            terms = [
                np.log(weight) + _log_normal(x - mean, covariance)
                for weight, mean, covariance in zip(mix.weights, mix.means, mix.covariances, strict=True)
            ]
            share = np.exp(terms - logsumexp(terms))
            new = np.linalg.solve(np.tensordot(share, precision, 1), share @ pull)
            done = np.max(np.abs(new - x)) < 1e-13 * (1 + np.max(np.abs(x)))
            x = new
            if done:
                break
        height = mixture_log_density(mix, x)
        if height > highest:
            best, highest = x, height
    return best, highest


def diffused(mix, alpha, sigma):
    """p(o) for o = alpha x + sigma e: the Mixture of N(alpha m_k, alpha^2 C_k + sigma^2 I), with the same weights."""
    return Mixture(mix.weights, alpha * mix.means, alpha**2 * mix.covariances + sigma**2 * np.eye(mix.means.shape[1]))


def linear_gaussian(design, y, noise_variance, prior_mean, prior_covariance, o=None, alpha=1.0, sigma=1.0):
    """Mean and covariance of p(x | y, o), and log p(y, o), where x ~ N(prior_mean, prior_covariance).

    y ~ N(design x, noise_variance I). Written as conditioning of one joint Gaussian of (x, y, o);
    without o, p(x | y) and log p(y).
    """
    n = len(prior_mean)
    rows, data, noise = design, np.asarray(y, float), np.full(len(y), float(noise_variance))
    if o is not None:
        rows = np.concatenate([rows, alpha * np.eye(n)])
        data, noise = np.concatenate([data, o]), np.concatenate([noise, np.full(n, float(sigma) ** 2)])
    cross = prior_covariance @ rows.T
    total = rows @ cross + np.diag(noise)
    gap = data - rows @ prior_mean
    mean = prior_mean + cross @ np.linalg.solve(total, gap)
    return mean, prior_covariance - cross @ np.linalg.solve(total, cross.T), _log_normal(gap, total)


def gaussian_chain(variance, alpha, sigma, last, spread, next_level=False):
    """Var(o_0), ..., Var(o_K), shape (K+1,), of a reverse chain on the line for x ~ N(0, variance), o_K ~ N(0, last).

    A step carries its posterior's mean, which is its mode, plus `spread` times the posterior's own noise, e ~ N(0, 1):
    spread = 0 is the chain of modes or of means, spread = 1 the chain of draws or of Laplace draws. `alpha` and `sigma`
    hold K+1 levels, alpha[0] = 1 and sigma[0] = 0; a = alpha_k / alpha_{k-1}, s^2 = sigma_k^2 - a^2 sigma_{k-1}^2.

    Clean form: x = m o_k + spread sd e with m, sd of p(x | o_k), and, with b = a sigma_{k-1}^2 / sigma_k^2,
        o_{k-1} ~ N(alpha_{k-1} x + b (o_k - alpha_k x), sigma_{k-1}^2 s^2 / sigma_k^2).
    Next-level form: o_{k-1} = m o_k + spread sd e, with m, sd of
        p(o_{k-1} | o_k) ∝ N(o_k; a o_{k-1}, s^2) N(o_{k-1}; 0, alpha_{k-1}^2 variance + sigma_{k-1}^2).
    """
    alpha, sigma = np.asarray(alpha, float), np.asarray(sigma, float)
    variances = np.empty(len(alpha))
    variances[-1] = last
    for k in range(len(alpha) - 1, 0, -1):
        a = alpha[k] / alpha[k - 1]
        s2 = sigma[k] ** 2 - a**2 * sigma[k - 1] ** 2
        if next_level:
            before = alpha[k - 1] ** 2 * variance + sigma[k - 1] ** 2
            m, v, _ = gaussian_step(1.0, a, np.sqrt(s2), 0.0, before)  # linear in o: the mean at o = 1 is the slope
            variances[k - 1] = m**2 * variances[k] + spread**2 * v
        else:
            m, v, _ = gaussian_step(1.0, alpha[k], sigma[k], 0.0, variance)
            b = a * sigma[k - 1] ** 2 / sigma[k] ** 2
            c = alpha[k - 1] - b * alpha[k]
            bridge = sigma[k - 1] ** 2 * s2 / sigma[k] ** 2
            variances[k - 1] = (c * m + b) ** 2 * variances[k] + (c * spread) ** 2 * v + bridge
    return variances


def normals_of_sum_zero(mean, sd):
    """Mean (n,) and sd (n,) of independent normals, given that their sum is 0."""
    variance = np.asarray(sd, float) ** 2
    share = variance / variance.sum()
    return mean - share * np.sum(mean), np.sqrt(variance * (1 - share))


def ordered_normals(n):
    """Means (n,) and sds (n,) of n standard normals put in order (David and Nagaraja 2003, equation 2.1.6)."""
    x = np.linspace(-12, 12, 24001)
    k = np.arange(1, n + 1)[:, None]
    log = (k - 1) * norm.logcdf(x) + (n - k) * norm.logsf(x) + norm.logpdf(x)
    density = factorial(n) / factorial(k - 1) / factorial(n - k) * np.exp(log) * (x[1] - x[0])
    mean = (density * x).sum(axis=1)
    return mean, np.sqrt((density * x**2).sum(axis=1) - mean**2)


@dataclass(frozen=True)
class Grid1:
    """A density on the line, as numbers: points (g,), their probabilities (g,), and what follows from them."""

    x: np.ndarray
    probability: np.ndarray
    log_evidence: float

    @property
    def mean(self):
        """Posterior mean."""
        return float(self.probability @ self.x)

    @property
    def sd(self):
        """Posterior standard deviation."""
        return float(np.sqrt(self.probability @ (self.x - self.mean) ** 2))

    @property
    def mode(self):
        """Where the density is highest: the top of a parabola through the best point and its neighbours."""
        log = np.log(np.maximum(self.probability, 1e-300))
        i = int(np.clip(np.argmax(log), 1, len(log) - 2))
        left, centre, right = log[i - 1 : i + 2]
        curvature = left - 2 * centre + right
        return float(self.x[i] + 0.5 * (left - right) / curvature * (self.x[1] - self.x[0])) if curvature else self.x[i]

    def quantile(self, q):
        """Posterior quantiles; `q` any shape."""
        cumulative = np.cumsum(self.probability) - 0.5 * self.probability
        return np.interp(q, cumulative, self.x)


def grid_1d(log_prior, o, alpha, sigma, lower, upper, points=20001):
    """p(x | o) for any log density of the line, normalised or not, by the trapezium rule between two ends.

    The log evidence is log p(o) under the *normalised* prior: both integrals run over the same grid, so it must hold
    both.
    """
    x = np.linspace(lower, upper, points)
    log_p0 = log_prior(x)
    log_joint = log_p0 - 0.5 * ((o - alpha * x) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    total = logsumexp(log_joint)
    return Grid1(x, np.exp(log_joint - total), float(total - logsumexp(log_p0)))


def grid_2d(log_prior, o, alpha, sigma, lower, upper, points=801):
    """p(x | o) in the plane by a sum over a grid: mean (2,), covariance (2, 2), mode (2,), log p(o), and the grid.

    `log_prior` takes (..., 2). The grid comes as points (g, 2) and probabilities (g,).
    """
    axis = np.linspace(lower, upper, points)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p0 = log_prior(x)
    log_joint = log_p0 - 0.5 * np.sum((o - alpha * x) ** 2, axis=-1) / sigma**2 - np.log(2 * np.pi * sigma**2)
    total = logsumexp(log_joint)
    probability = np.exp(log_joint - total)
    mean = probability @ x
    covariance = (x - mean).T @ ((x - mean) * probability[:, None])
    return mean, covariance, x[np.argmax(log_joint)], float(total - logsumexp(log_p0)), (x, probability)


def _log_normal(gap, covariance):
    """log N(gap; 0, covariance) for gap (..., n)."""
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, np.asarray(gap)[..., None])[..., 0]
    return -0.5 * np.sum(white**2, axis=-1) - np.log(factor.diagonal()).sum() - 0.5 * len(factor) * np.log(2 * np.pi)
