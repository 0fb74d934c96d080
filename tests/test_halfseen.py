"""Half-seen x: exact at level 0, exact everywhere for a normal p0, and how far off for a mixture."""

from functools import partial

import exact
import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff.images import blur, half_seen, inverters, noise

SCHEDULE = bd.geometric(24, 0.1, 6.0)
WEIGHTS, VARIANCES = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.2, 0.4])
MEANS = np.array([[-2.0, -1.0, 1.0, 0.0], [2.0, 1.0, -1.0, 0.5], [2.0, -1.0, 2.0, -2.0]])
SEEN, SD = np.array([True, False, False, False]), 0.8
Y = np.array([1.0, np.nan, np.nan, np.nan])
MATRIX = np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 0.3, -1.0, 0.2]])
Y_OF_MATRIX = np.array([0.7, -0.4])


@pytest.fixture(scope="module")
def mixture():
    return bd.gaussian_mixture(WEIGHTS, MEANS, VARIANCES, SCHEDULE)


def posterior_of_mixture(matrix, y, sd):
    """p0(x | y) of the mixture: weights (3,), means (3, 4), covariances (3, 4, 4)."""
    weights, means, covariances = [], [], []
    for w, m, v in zip(WEIGHTS, MEANS, VARIANCES, strict=True):
        marginal = v * matrix @ matrix.T + sd**2 * np.eye(len(y))
        gain = v * matrix.T @ np.linalg.inv(marginal)
        rest = y - matrix @ m
        weights.append(w * np.exp(-0.5 * rest @ np.linalg.solve(marginal, rest)) / np.sqrt(np.linalg.det(marginal)))
        means.append(m + gain @ rest)
        covariances.append(v * np.eye(4) - gain @ matrix * v)
    return np.array(weights) / np.sum(weights), np.array(means), np.array(covariances)


@pytest.mark.parametrize(("seen", "y", "matrix"), [(SEEN, Y, np.eye(4)[:1]), (MATRIX, Y_OF_MATRIX, MATRIX)])
def test_at_level_0_it_is_the_prior_with_data(mixture, seen, y, matrix):
    half = bd.compile_prior(half_seen(mixture, y, seen, SD)).at_level(0)
    law = exact.mixture(*posterior_of_mixture(matrix, y[: len(matrix)], SD))
    x = np.random.default_rng(0).normal(0, 2, size=(50, 4))
    gap = half.logp(x) - exact.mixture_log_density(law, x)
    np.testing.assert_allclose(gap, gap[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("level", [0, 3, 12, 24])
def test_for_a_normal_law_it_is_exact_at_every_level(level):
    # x ~ N(0, v^2 I): o_k and y are jointly normal, so p(y | o_k) is known.
    v = 1.7
    prior = bd.gaussian_mixture([1.0], np.zeros((1, 4)), v**2, SCHEDULE)
    half = bd.compile_prior(half_seen(prior, Y_OF_MATRIX, MATRIX, SD, spread=v)).at_level(level)
    alpha, sigma = SCHEDULE.alpha[level], SCHEDULE.sigma[level]
    of_o = alpha**2 * v**2 + sigma**2
    o = np.random.default_rng(1).normal(0, of_o**0.5, size=(20, 4))
    mean = alpha * v**2 / of_o * o @ MATRIX.T
    covariance = SD**2 * np.eye(2) + v**2 * sigma**2 / of_o * MATRIX @ MATRIX.T
    rest = Y_OF_MATRIX - mean
    wanted = (
        -0.5 * (o**2).sum(1) / of_o
        - 2 * np.log(2 * np.pi * of_o)
        - 0.5 * (rest * np.linalg.solve(covariance, rest.T).T).sum(1)
        - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    np.testing.assert_allclose(half.logp(o), wanted, rtol=1e-9)


def test_a_mask_is_a_matrix(mixture):
    x = np.random.default_rng(2).normal(0, 2, size=(20, 4))
    mask = np.array([True, False, True, False])
    y = np.array([0.3, np.nan, -1.0, np.nan])
    one, other = (
        bd.compile_prior(half_seen(mixture, *given, SD, spread=1.3)).at_level(7)
        for given in ((y, mask), (y[mask], np.eye(4)[mask]))
    )
    np.testing.assert_allclose(one.logp(x), other.logp(x), rtol=1e-10)
    step = 1e-6
    _, gradient = one.logp_and_gradient(x)
    for i in range(4):
        ahead, behind = (one.logp(x + sign * step * np.eye(4)[i]) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, i], (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


def modes_of(x, means):
    """Which mode each x is nearest to, by what is not seen."""
    return ((x[:, None, 1:] - means[None, :, 1:]) ** 2).sum(-1).argmin(1)


@pytest.mark.parametrize(
    ("size", "wide"),
    [(250, None), *(pytest.param(*how, marks=pytest.mark.slow) for how in ((1000, 4.0), (4000, 2.0)))],
)
def test_how_far_off_a_chain_ends_on_a_masked_mixture(mixture, size, wide):
    weights, means, covariances = posterior_of_mixture(np.eye(4)[:1], Y[:1], SD)
    drawn = exact.mixture_draws(exact.mixture(weights, means, covariances), 100_000, np.random.default_rng(3))
    wanted = np.bincount(modes_of(drawn, means), minlength=3) / 100_000
    half = bd.compile_prior(half_seen(mixture, Y, SEEN, SD, spread=1.0))

    def chain(prior, invert, size=250):
        o = noise(prior, size, random_seed=1)
        run = bd.reverse(prior, SCHEDULE, invert, o=o, draws=size, chains=1, random_seed=2, progressbar=False)
        return run["posterior"]["x"].values.reshape(-1, 4)

    def off(x):
        found = np.bincount(modes_of(x, means), minlength=3) / len(x)
        return 0.5 * np.abs(found - wanted).sum()

    draw = partial(inverters.draw, moves=4, narrowest=0.3)
    x = chain(half, partial(draw, settle=20), size)
    # With 8,192 trajectories the approximation was seen to shift .9% of the mass, and 8.6% with a spread twice as wide.
    error = np.sqrt(0.59 * 0.41 / size)  # Monte Carlo error of the largest share, and next to all there is
    assert off(x) < 0.009 + 4 * error
    if wide:
        too_wide = bd.compile_prior(half_seen(mixture, Y, SEEN, SD, spread=wide))
        assert off(chain(too_wide, draw, size)) > 0.009 + 4 * error
    # Within a mode the moves at level 0 are exact: mean and sd of what is not seen, in the heaviest one.
    heavy = modes_of(x, means) == 1
    z = (x[heavy] - means[1]) / np.sqrt(np.diag(covariances[1]))
    assert (np.abs(z.mean(0)) < 5 / np.sqrt(heavy.sum())).all()
    # Negative controls: what was seen is not used, and modes in place of draws.
    assert off(chain(bd.compile_prior(mixture), draw)) > 0.2
    collapsed = chain(half, inverters.mode)
    assert collapsed[((collapsed - means[1]) ** 2).sum(1) < 1].std(0).max() < 0.2


def test_a_blur_sums_to_1_and_keeps_some_pixels():
    matrix = blur((6, 8, 2), sd=1.0, every=2)
    assert matrix.shape == (3 * 4 * 2, 6 * 8 * 2)
    np.testing.assert_allclose(matrix.sum(1), 1.0)
    x = np.zeros((6, 8, 2))
    x[2, 4, 1] = 1.0
    blurred = (matrix @ x.ravel()).reshape(3, 4, 2)
    assert (blurred[..., 0] == 0).all()
    assert blurred[..., 1].argmax() == 1 * 4 + 2


def flat():
    with pm.Model() as model:
        pm.Normal("x", shape=4)
    return model


def seen_twice():
    return half_seen(bd.gaussian_mixture([1.0], np.zeros((1, 4)), 1.0, SCHEDULE), Y, SEEN, SD)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"prior": flat()}, ValueError, "prior is no level prior"),
        ({"prior": seen_twice()}, ValueError, "prior has a variable 'y' already"),
        ({"sd": 0.0}, ValueError, "sd is 0.0; write a number > 0"),
        ({"sd": np.ones(4)}, ValueError, "sd is array.*; write a number > 0"),
        ({"sd": None}, ValueError, "sd is None; write a number > 0"),
        ({"spread": np.nan}, ValueError, "spread is nan; write a number > 0"),
        ({"seen": np.zeros(4, bool)}, ValueError, "seen is False everywhere"),
        ({"seen": np.ones(3, bool)}, ValueError, r"seen has shape \(3,\) and y \(4,\)"),
        ({"seen": np.ones(4, bool)}, ValueError, "y is not finite where it is seen"),
        ({"seen": np.ones((2, 4))}, ValueError, r"seen has shape \(2, 4\) and y \(4,\)"),
        ({"seen": np.full((2, 4), np.inf), "y": [0.0, 0.0]}, ValueError, "seen holds numbers that are not finite"),
        ({"y": "abcd"}, TypeError, "y"),
    ],
)
def test_bad_input(mixture, change, error, words):
    call = {"prior": mixture, "y": Y, "seen": SEEN, "sd": SD, **change}
    with pytest.raises(error, match=words):
        half_seen(**call)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (8, {"sd": 1.0}, "shape is 8; write"),
        ((8, 8), {"sd": 1.0}, "write \\(height, width, colours\\)"),
        ((8, 8, 1), {"sd": 0.0}, "sd is 0.0; write a number of pixels > 0"),
        ((8, 8, 1), {"sd": 1.0, "every": 0}, "every is 0; write an int >= 1"),
    ],
)
def test_bad_blurs(shape, options, words):
    with pytest.raises(ValueError, match=words):
        blur(shape, **options)
