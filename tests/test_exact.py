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

# Levels 0..K. The first two never shrink x, the last two do; the last is the only one with an alpha below 0.
CHAINS = {
    "one step": ([1.0, 1.0], [0.0, 10.0]),
    "geometric": (np.ones(33), np.array([0.0, *np.geomspace(0.1, 10, 32)])),
    "cosine": (np.cos(np.linspace(0, 1.5, 21)), np.sin(np.linspace(0, 1.5, 21))),
    "uneven": ([1.0, 0.9, -0.9, 0.2], [0.0, 0.3, 2.0, 1.0]),
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


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
@pytest.mark.parametrize("name", MIXTURES)
def test_diffused_is_the_evidence_of_a_step(name, alpha, sigma):
    prior, rng = MIXTURES[name], np.random.default_rng(6)
    o = rng.normal(size=(20, prior.means.shape[1])) * 4
    np.testing.assert_allclose(
        exact.mixture_log_density(exact.diffused(prior, alpha, sigma), o),
        [exact.mixture_posterior(prior, row, alpha, sigma)[1] for row in o],
        rtol=1e-12,
    )


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
def test_diffused_in_1d_is_a_convolution(alpha, sigma):
    prior, o = MIXTURES["1-d"], np.array([-5.0, -1.2, 0.0, 0.9, 4.0])
    x = np.linspace(-14, 14, 4001)
    p0 = 0.7 * stats.norm.pdf(x, -2, 1) + 0.3 * stats.norm.pdf(x, 2, 0.25)
    want = np.trapezoid(p0 * stats.norm.pdf(o[:, None], alpha * x, sigma), x)
    got = exact.mixture_log_density(exact.diffused(prior, alpha, sigma), o[:, None])
    np.testing.assert_allclose(np.exp(got), want, rtol=1e-10)


def test_diffused_has_the_moments_of_blurred_draws():
    prior, alpha, sigma, size = MIXTURES["2-d"], -0.7, 1.5, 200_000
    rng = np.random.default_rng(7)
    o = alpha * exact.mixture_draws(prior, size, rng) + sigma * rng.standard_normal((size, 2))
    mean, covariance = exact.mixture_moments(exact.diffused(prior, alpha, sigma))
    gap = o - mean
    for values, want in [
        (o[:, 0], mean[0]),
        (o[:, 1], mean[1]),
        (gap[:, 0] ** 2, covariance[0, 0]),
        (gap[:, 1] ** 2, covariance[1, 1]),
        (gap[:, 0] * gap[:, 1], covariance[0, 1]),
    ]:
        assert abs(values.mean() - want) < 4 * values.std() / np.sqrt(size)


def test_diffused_by_nothing_is_the_mixture_and_twice_is_once():
    prior = MIXTURES["2-d"]
    x = np.random.default_rng(8).normal(size=(20, 2)) * 3
    same = exact.diffused(prior, 1.0, 0.0)
    np.testing.assert_array_equal(exact.mixture_log_density(same, x), exact.mixture_log_density(prior, x))
    # o_1 = .8 x + .5 e, o_2 = .6 o_1 + .7 e: alpha and sigma^2 as in the schedule's a_k and s_k^2.
    twice = exact.diffused(exact.diffused(prior, 0.8, 0.5), 0.6, 0.7)
    once = exact.diffused(prior, 0.8 * 0.6, np.hypot(0.6 * 0.5, 0.7))
    np.testing.assert_allclose(exact.mixture_log_density(twice, x), exact.mixture_log_density(once, x), rtol=1e-12)


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


@pytest.mark.parametrize("next_level", [False, True])
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_draws_keeps_the_truth_at_every_level(name, next_level):
    alpha, sigma = (np.asarray(values) for values in CHAINS[name])
    truth = alpha**2 * 2.5 + sigma**2
    got = exact.gaussian_chain(2.5, alpha, sigma, truth[-1], 1.0, next_level)
    np.testing.assert_allclose(got, truth, rtol=1e-12)
    # Any less noise and the chain is too narrow at every level below the last.
    assert (exact.gaussian_chain(2.5, alpha, sigma, truth[-1], 0.9, next_level) < truth * (1 - 1e-6))[:-1].all()


def test_one_step_is_the_article_in_either_form():
    # o ~ N(0, 101): modes o / 101 have variance 1 / 101, draws 1 / 101 + 100 / 101.
    for next_level in (False, True):
        for spread, want in [(0.0, 1 / 101), (0.5, 26 / 101), (1.0, 1.0)]:
            got = exact.gaussian_chain(1.0, *CHAINS["one step"], 101.0, spread, next_level)
            np.testing.assert_allclose(got, [want, 101.0], rtol=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 16, 512])
def test_modes_from_level_to_level_are_one_step_whatever_their_number(steps):
    # Each factor is (1 + sigma_{k-1}^2) / (1 + sigma_k^2), so all but the ends cancel.
    sigma = np.array([0.0, *np.sort(np.random.default_rng(9).uniform(0, 10, steps - 1)), 10.0])
    for last in (101.0, 7.0):
        got = exact.gaussian_chain(1.0, np.ones(steps + 1), sigma, last, 0.0, next_level=True)
        assert got[0] == pytest.approx(last / 101**2, rel=1e-12)


@pytest.mark.parametrize(("steps", "sd"), [(1, 0.10), (16, 0.86), (128, 0.98), (512, 0.99)])
def test_modes_in_clean_form_widen_with_the_number_of_steps(steps, sd):
    sigma = np.array([0.0, *np.geomspace(10, 0.1, steps)[::-1]])
    got = exact.gaussian_chain(1.0, np.ones(steps + 1), sigma, 101.0, 0.0)
    assert np.sqrt(got[0]) == pytest.approx(sd, abs=0.01)


@pytest.mark.parametrize("next_level", [False, True])
@pytest.mark.parametrize("spread", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("name", ["uneven", "cosine"])
def test_a_simulated_chain_has_the_variances(name, spread, next_level):
    # Each step from the definitions: the bridge and both posteriors by conditioning, not by their formulas.
    (alpha, sigma), variance, last, size = CHAINS[name], 1.7, 4.0, 50_000
    rng = np.random.default_rng(10)
    want = exact.gaussian_chain(variance, alpha, sigma, last, spread, next_level)
    if spread < 1:  # the other form would not pass
        other = exact.gaussian_chain(variance, alpha, sigma, last, spread, not next_level)
        assert abs(other[0] / want[0] - 1) > 9 * np.sqrt(2 / size)
    o = np.sqrt(last) * rng.standard_normal(size)
    for k in range(len(alpha) - 1, 0, -1):
        a = alpha[k] / alpha[k - 1]
        s2 = sigma[k] ** 2 - a**2 * sigma[k - 1] ** 2
        slope, noise, before = (
            (a, s2, alpha[k - 1] ** 2 * variance + sigma[k - 1] ** 2)
            if next_level
            else (alpha[k], sigma[k] ** 2, variance)
        )
        m, v, _ = exact.linear_gaussian(np.full((1, 1), slope), [1.0], noise, np.zeros(1), np.full((1, 1), before))
        inverted = m[0] * o + spread * np.sqrt(v[0, 0]) * rng.standard_normal(size)
        if next_level:
            o = inverted
        else:
            # o_{k-1} given x and o_k: its prior is N(alpha_{k-1} x, sigma_{k-1}^2), and o_k observes it.
            mean, rest, _ = exact.gaussian_step(o, a, np.sqrt(s2), alpha[k - 1] * inverted, sigma[k - 1] ** 2)
            o = mean + np.sqrt(rest) * rng.standard_normal(size)
        error = want[k - 1] * np.sqrt(2 / size)
        assert abs(np.mean(o**2) - want[k - 1]) < 4.5 * error
