"""The closed forms, each by another route: quadrature, brute force, or an identity."""

import exact
import numpy as np
import pytest
from scipy import integrate, optimize, stats

STEPS = [(1.0, 1.0), (1.0, 8.0), (0.6, 0.5), (-2.0, 3.0)]
MIXTURES = {
    "1-d": exact.mixture([0.7, 0.3], [-2.0, 2.0], [1.0, 0.0625]),
    "2-d": exact.mixture(
        [0.5, 0.2, 0.3],
        [[0.0, 0.0], [4.0, 1.0], [-3.0, 2.0]],
        [[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.2]], [[1.0, -0.3], [-0.3, 0.4]]],
    ),
}


def weighted(values, log_weights):
    """Self-normalised importance estimate of a mean, and its Monte Carlo error."""
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    mean = w @ values
    return mean, np.sqrt(w**2 @ (values - mean) ** 2)


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
def test_gaussian_step_is_what_quadrature_gives(alpha, sigma):
    o, mean, sd = 1.7, -0.4, 1.3
    grid = exact.grid_1d(lambda x: stats.norm.logpdf(x, mean, sd), o, alpha, sigma, -15, 15)
    m, v, log_evidence = exact.gaussian_step(o, alpha, sigma, mean, sd**2)
    np.testing.assert_allclose(
        [grid.mean, grid.sd**2, grid.log_evidence, grid.mode], [m, v, log_evidence, m], rtol=1e-9
    )
    np.testing.assert_allclose(
        log_evidence, stats.norm.logpdf(o, alpha * mean, np.hypot(alpha * sd, sigma)), rtol=1e-12
    )
    q = np.array([0.05, 0.5, 0.9])
    np.testing.assert_allclose(grid.quantile(q), stats.norm.ppf(q, m, np.sqrt(v)), atol=1e-5)


def test_the_article_in_numbers():
    mean, variance, _ = exact.gaussian_step(5.0, 1.0, 10.0)
    assert (mean, variance) == pytest.approx((5 / 101, 100 / 101), rel=1e-14)


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
def test_mixture_posterior_in_1d_is_what_adaptive_quadrature_gives(alpha, sigma):
    prior, o = MIXTURES["1-d"], 0.9
    posterior, log_evidence = exact.mixture_posterior(prior, [o], alpha, sigma)
    mean, covariance = exact.mixture_moments(posterior)

    def joint(x):
        p0 = sum(stats.norm.pdf(x, m, s) * w for w, m, s in ((0.7, -2, 1), (0.3, 2, 0.25)))
        return p0 * stats.norm.pdf(o, alpha * x, sigma)

    z, first, second = (
        integrate.quad(lambda x, k=k: x**k * joint(x), -12, 12, points=[-2, 2], limit=200)[0] for k in range(3)
    )
    np.testing.assert_allclose(log_evidence, np.log(z), rtol=1e-8)
    np.testing.assert_allclose(mean, first / z, rtol=1e-8)
    np.testing.assert_allclose(covariance, second / z - (first / z) ** 2, rtol=1e-8)


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_posterior_is_bayes_at_any_point(name, alpha, sigma):
    # log p(x | o) + log p(o) = log p0(x) + log p(o | x), at points everywhere: shares, means and covariances at once.
    prior, rng = MIXTURES[name], np.random.default_rng(0)
    n = prior.means.shape[1]
    o, x = rng.normal(size=n) * 3, rng.normal(size=(50, n)) * 4
    posterior, log_evidence = exact.mixture_posterior(prior, o, alpha, sigma)
    likelihood = stats.norm.logpdf(o, alpha * x, sigma).sum(axis=-1)
    np.testing.assert_allclose(
        exact.mixture_log_density(posterior, x) + log_evidence,
        exact.mixture_log_density(prior, x) + likelihood,
        rtol=1e-9,
    )
    assert posterior.weights.sum() == pytest.approx(1, rel=1e-12)


def test_mixture_log_density_is_scipys():
    mix = MIXTURES["2-d"]
    x = np.random.default_rng(1).normal(size=(20, 2)) * 3
    want = np.log(
        sum(
            w * stats.multivariate_normal(m, c).pdf(x)
            for w, m, c in zip(mix.weights, mix.means, mix.covariances, strict=True)
        )
    )
    np.testing.assert_allclose(exact.mixture_log_density(mix, x), want, rtol=1e-10)


def test_mixture_draws_have_the_mixtures_moments_and_no_others():
    mix, size = MIXTURES["2-d"], 200_000
    x = exact.mixture_draws(mix, size, np.random.default_rng(2))
    mean, covariance = exact.mixture_moments(mix)
    for values, want in [
        (x[:, 0], mean[0]),
        (x[:, 1], mean[1]),
        ((x[:, 0] - mean[0]) ** 2, covariance[0, 0]),
        ((x[:, 1] - mean[1]) ** 2, covariance[1, 1]),
        ((x[:, 0] - mean[0]) * (x[:, 1] - mean[1]), covariance[0, 1]),
    ]:
        error = values.std() / np.sqrt(size)
        assert abs(values.mean() - want) < 4 * error
        assert abs(values.mean() - (want + 10 * error)) > 4 * error  # the tolerance is narrow enough to see this


def test_mixture_posterior_in_2d_is_what_weighted_prior_draws_give():
    prior, o, alpha, sigma = MIXTURES["2-d"], np.array([1.0, 0.5]), 0.8, 2.0
    x = exact.mixture_draws(prior, 400_000, np.random.default_rng(3))
    log_w = stats.norm.logpdf(o, alpha * x, sigma).sum(axis=-1)
    posterior, log_evidence = exact.mixture_posterior(prior, o, alpha, sigma)
    mean, _ = exact.mixture_moments(posterior)
    for i in range(2):
        estimate, error = weighted(x[:, i], log_w)
        assert abs(estimate - mean[i]) < 4 * error
    w = np.exp(log_w)
    assert abs(w.mean() - np.exp(log_evidence)) < 4 * w.std() / np.sqrt(len(w))


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 1.0), (1.0, 10.0)])
@pytest.mark.parametrize("o", [-20.0, -3.0, 0.0, 1.0, 15.0])
def test_mixture_mode_is_the_highest_point_of_a_fine_grid(o, alpha, sigma):
    posterior, _ = exact.mixture_posterior(MIXTURES["1-d"], [o], alpha, sigma)
    x, height = exact.mixture_mode(posterior)
    grid = np.linspace(-25, 25, 500_001)[:, None]
    heights = exact.mixture_log_density(posterior, grid)
    assert height >= heights.max()
    np.testing.assert_allclose(x, grid[np.argmax(heights)], atol=1.1e-4)


def test_mixture_mode_in_2d_is_no_lower_than_an_optimiser_from_many_starts():
    posterior, _ = exact.mixture_posterior(MIXTURES["2-d"], [1.0, 1.5], 1.0, 6.0)
    x, height = exact.mixture_mode(posterior)
    starts = np.random.default_rng(4).uniform(-6, 6, size=(40, 2))
    found = [optimize.minimize(lambda z: -exact.mixture_log_density(posterior, z), start) for start in starts]
    best = min(found, key=lambda result: result.fun)
    assert height >= -best.fun - 1e-12
    np.testing.assert_allclose(x, best.x, atol=1e-4)


def test_linear_gaussian_is_what_weighted_prior_draws_give():
    rng = np.random.default_rng(5)
    design, prior_mean = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), np.array([0.3, -0.2, 0.0])
    prior_covariance = np.array([[1.0, 0.4, 0.1], [0.4, 1.0, 0.4], [0.1, 0.4, 1.0]])
    y, o, alpha, sigma = np.array([0.7, -0.4]), np.array([0.5, 0.1, 0.8]), 0.9, 1.5
    x = rng.multivariate_normal(prior_mean, prior_covariance, size=400_000)
    log_y = stats.norm.logpdf(y, x @ design.T, np.sqrt(0.5)).sum(axis=-1)
    log_o = stats.norm.logpdf(o, alpha * x, sigma).sum(axis=-1)
    for given_o, log_w in [(None, log_y), (o, log_y + log_o)]:
        mean, covariance, log_evidence = exact.linear_gaussian(
            design, y, 0.5, prior_mean, prior_covariance, given_o, alpha, sigma
        )
        for i in range(3):
            estimate, error = weighted(x[:, i], log_w)
            assert abs(estimate - mean[i]) < 4 * error
            for j in range(i + 1):
                estimate, error = weighted((x[:, i] - mean[i]) * (x[:, j] - mean[j]), log_w)
                assert abs(estimate - covariance[i, j]) < 4 * error
        w = np.exp(log_w)
        assert abs(w.mean() - np.exp(log_evidence)) < 4 * w.std() / np.sqrt(len(w))


def test_linear_gaussian_without_a_design_is_the_gaussian_step():
    mean, covariance, log_evidence = exact.linear_gaussian(np.eye(1), [1.7], 9.0, np.zeros(1), np.eye(1))
    np.testing.assert_allclose(
        [mean[0], covariance[0, 0], log_evidence], exact.gaussian_step(1.7, 1.0, 3.0), rtol=1e-12
    )


def test_grid_1d_does_not_care_about_the_priors_constant():
    grids = [exact.grid_1d(lambda x, c=c: c - np.abs(x), 2.0, 1.0, 1.5, -60, 60, 60001) for c in (0.0, 7.0)]
    assert grids[0].log_evidence == pytest.approx(grids[1].log_evidence, rel=1e-12)
    # x ~ Laplace(1): the mode is soft thresholding of o, o - sigma^2 = -0.25 < 0, so 0; the evidence by adaptive
    # quadrature.
    assert abs(grids[0].mode) < 2e-3
    z = integrate.quad(lambda x: 0.5 * np.exp(-abs(x)) * stats.norm.pdf(2.0, x, 1.5), -60, 60, points=[0], limit=200)[0]
    assert grids[0].log_evidence == pytest.approx(np.log(z), abs=1e-6)


def test_grid_2d_is_the_mixtures_posterior():
    prior, o, alpha, sigma = MIXTURES["2-d"], np.array([1.0, 0.5]), 0.8, 2.0
    posterior, want = exact.mixture_posterior(prior, o, alpha, sigma)
    mean, covariance, mode, log_evidence, (x, probability) = exact.grid_2d(
        lambda x: exact.mixture_log_density(prior, x), o, alpha, sigma, -9.0, 9.0
    )
    np.testing.assert_allclose(mean, exact.mixture_moments(posterior)[0], atol=1e-5)
    np.testing.assert_allclose(covariance, exact.mixture_moments(posterior)[1], atol=1e-4)
    np.testing.assert_allclose(mode, exact.mixture_mode(posterior)[0], atol=18 / 800)
    assert log_evidence == pytest.approx(want, abs=1e-6)
    assert x.shape == (801**2, 2)
    assert probability.sum() == pytest.approx(1, rel=1e-12)
