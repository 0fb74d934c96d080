"""The mixtures that tempering starts from: against SciPy's densities, and fitted to draws whose law is known."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import cauchy, kstest, multivariate_normal, multivariate_t, norm, t

from bayesdiff.multimodal.mixtures import (
    NU,
    WIDEST_NU,
    Fit,
    Spread,
    component_logs,
    draw_one,
    fit,
    frame_for,
    log_density,
    mixture,
    straight,
    with_all,
)
from bayesdiff.multimodal.tuning import TEMPERING

jax.config.update("jax_enable_x64", True)  # as `bayesdiff.compiled` does, which no module here needs
MEANS = np.array([[0.0, 1.0, -2.0], [5.0, -3.0, 0.5]])
COVARIANCES = np.array(
    [[[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]], [[0.1, 0.0, 0.02], [0.0, 3.0, 0.0], [0.02, 0.0, 1.0]]]
)
WEIGHTS = np.array([0.7, 0.3])
SPREAD = Spread(np.array([1.0, 0.0, -1.0]), np.diag([9.0, 4.0, 2.0]))
FITTING = TEMPERING.fitting


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# In few dimensions every component is a Student t; in many, all but the wide ones are Gaussians.
GAUSSIAN = replace(FITTING, curved_dimensions=2)


@pytest.fixture(scope="module", params=[FITTING, GAUSSIAN], ids=["students", "gaussians"])
def fitting(request):
    return request.param


@pytest.fixture(scope="module")
def q(fitting):
    return mixture(Fit(WEIGHTS, MEANS, COVARIANCES), SPREAD, 8, fitting)


def components(fitting):
    """Weight, centre, shape and degrees of freedom of each, infinite for a Gaussian."""
    rest = 1 - sum(weight for weight, _ in fitting.wide)
    nu, of = (np.inf, 1.0) if fitting is GAUSSIAN else (NU, fitting.of_curved)
    for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True):
        yield rest * weight, mean, of * covariance, nu
    for i, (weight, times) in enumerate(fitting.wide):
        shape = SPREAD.covariance * (NU - 2) / NU * times**2
        yield weight, SPREAD.centre, shape, WIDEST_NU if i == len(fitting.wide) - 1 else NU


def test_the_density_is_that_of_its_components(q, fitting, rng):
    x = rng.normal(scale=4.0, size=(50, 3))
    expected = sum(w * multivariate_t(m, shape, df=nu).pdf(x) for w, m, shape, nu in components(fitting))
    np.testing.assert_allclose(jax.vmap(lambda one: log_density(q, one))(x), np.log(expected), rtol=1e-10)


def test_places_that_are_empty_have_no_share(q, rng):
    logs, z = component_logs(q, rng.normal(size=3))
    assert np.isneginf(logs[len(WEIGHTS) + len(FITTING.wide) :]).all()
    assert np.isfinite(z).all()


def test_draws_have_the_density(q, fitting):
    keys = jax.random.split(jax.random.key(3), 40_000)
    x = np.asarray(jax.vmap(draw_one, in_axes=(None, 0))(jax.tree.map(jax.numpy.asarray, q), keys))
    for axis in range(3):

        def cdf(value, axis=axis):
            parts = ((w, m[axis], shape[axis, axis] ** 0.5, nu) for w, m, shape, nu in components(fitting))
            return sum(w * (norm(m, s) if np.isinf(nu) else t(nu, m, s)).cdf(value) for w, m, s, nu in parts)

        assert kstest(x[:, axis], cdf).pvalue > 1e-3


def test_a_frame_bends_what_has_heavy_tails_and_nothing_else(rng):
    x = np.stack(
        [cauchy.rvs(size=4000, random_state=rng), rng.normal(5, 2, 4000), t.rvs(4, size=4000, random_state=rng)]
    )
    frame = frame_for(x.T, FITTING)
    assert (frame.bend > 0).tolist() == [True, False, False]
    y = frame.unbent(x.T)
    back, slope = frame.bent(y)
    np.testing.assert_allclose(back, x.T, rtol=1e-9, atol=1e-9)
    step = 1e-6
    difference = (frame.bent(y + step)[0] - frame.bent(y - step)[0]) / (2 * step)
    np.testing.assert_allclose(np.log(difference[:, 0]), slope[:, 0], atol=1e-6)
    assert (slope[:, 1:] == 0).all()
    # Its last hundredth reaches no farther than a Laplace density's, where it was Cauchy's.
    assert np.quantile(np.abs(x[0]), 0.99) > 40
    assert np.quantile(np.abs(y[:, 0]), 0.99) < 20
    # A small Gaussian of one frame is the same in another: here far out, where the slope is e^3.
    small = Fit(np.ones(1), y[:1] * 0 + [20.0, 1.0, 0.0], 1e-6 * np.eye(3)[None])
    moved = frame.moved(small, straight(3))
    np.testing.assert_allclose(moved.means, frame.bent(small.means)[0])
    np.testing.assert_allclose(moved.covariances[0, 0, 0], 1e-6 * np.exp(2 * frame.bent(small.means)[1][0, 0]))
    again = straight(3).moved(moved, frame)
    np.testing.assert_allclose(again.means, small.means)
    np.testing.assert_allclose(again.covariances, small.covariances)


def test_a_mode_that_a_fit_forgot_is_put_back():
    modes = Fit(np.ones(3) / 3, np.array([[-20.0, 0.0], [0.0, 0.0], [20.0, 0.0]]), np.tile(np.eye(2), (3, 1, 1)))
    swallowed = Fit(np.array([0.6, 0.4]), np.array([[-10.0, 0.0], [20.0, 0.1]]), np.array([100 * np.eye(2), np.eye(2)]))
    whole = with_all(swallowed, modes, 8)
    assert sorted(whole.means[:, 0].tolist()) == [-20.0, -10.0, 0.0, 20.0]
    assert whole.weights.sum() == 1
    few = with_all(swallowed, modes, 3)  # no room: in place of the lightest
    assert sorted(few.means[:, 0].tolist()) == [-20.0, -10.0, 0.0]
    assert sorted(with_all(swallowed, modes, 2).means[:, 0].tolist()) == [-20.0, -10.0]  # never more than there is room
    assert with_all(modes, modes, 3).means.tolist() == modes.means.tolist()
    nothing = Fit(*(values[:0] for values in modes))
    assert with_all(swallowed, nothing, 8) is swallowed


def test_a_fit_recovers_the_gaussians_it_was_drawn_from(rng):
    size = 3000
    which = rng.uniform(size=2 * size) < WEIGHTS[0]
    x = np.where(
        which[:, None],
        rng.multivariate_normal(MEANS[0], COVARIANCES[0], size=2 * size),
        rng.multivariate_normal(MEANS[1], COVARIANCES[1], size=2 * size),
    )
    rough = Fit(np.full(2, 0.5), MEANS + 0.3, np.tile(np.eye(3), (2, 1, 1)))
    found = fit(x[:size], x[size:], rough, 8, rng, FITTING)
    order = np.argsort(-found.weights)[:2]
    assert found.weights[order].sum() > 0.99  # no third Gaussian where two are the truth
    np.testing.assert_allclose(found.weights[order], WEIGHTS, atol=4 * np.sqrt(0.21 / size))
    spread = np.sqrt(np.diagonal(COVARIANCES, axis1=1, axis2=2))
    assert (np.abs(found.means[order] - MEANS) < 5 * spread / np.sqrt(size * WEIGHTS)[:, None]).all()
    np.testing.assert_allclose(found.covariances[order], COVARIANCES, atol=0.3)


def test_a_fit_adds_gaussians_where_one_is_not_enough(rng):
    angle = rng.uniform(0, 2 * np.pi, size=4000)
    ring = 5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.normal(size=(4000, 2))
    one = Fit(np.ones(1), np.zeros((1, 2)), 12.5 * np.eye(2)[None])
    found = fit(ring[:3000], ring[3000:], one, 20, rng, FITTING)
    assert len(found.weights) > 5
    q = mixture(found, Spread(np.zeros(2), 12.5 * np.eye(2)), 24, FITTING)
    logs = np.asarray(jax.vmap(lambda one: log_density(q, one))(ring[3000:]))
    truth = -np.log(2 * np.pi * 5) - np.log(0.2 * np.sqrt(2 * np.pi)) - 0.5  # the ring's own mean log density, nearly
    gaussian = multivariate_normal(np.zeros(2), 12.5 * np.eye(2)).logpdf(ring[3000:]).mean()
    assert truth - logs.mean() < 0.3 * (truth - gaussian)


def test_a_component_that_no_draw_belongs_to_stays(rng):
    x = rng.normal(size=(500, 2))
    two = Fit(np.full(2, 0.5), np.array([[0.0, 0.0], [50.0, 50.0]]), np.tile(0.1 * np.eye(2), (2, 1, 1)))
    found = fit(x[:400], x[400:], two, 2, rng, FITTING)
    np.testing.assert_array_equal(found.means[1], [50.0, 50.0])
    np.testing.assert_array_equal(found.covariances[1], 0.1 * np.eye(2))


def test_few_draws_do_not_spoil_a_covariance_that_is_right(rng):
    n = 40
    right = np.diag(np.geomspace(0.1, 10, n))
    x = rng.multivariate_normal(np.zeros(n), right, size=90)
    found = fit(x[:60], x[60:], Fit(np.ones(1), np.zeros((1, n)), right[None]), 1, rng, FITTING)
    alone = np.cov(x[:60].T)  # what the draws alone would say

    def distance(covariance):  # of N(0, covariance) from the truth, in nats
        bend = np.trace(np.linalg.solve(covariance, right)) - n
        return 0.5 * (bend + np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(right)[1])

    assert distance(found.covariances[0]) < 1.0 < distance(alone + 1e-9 * np.eye(n))
