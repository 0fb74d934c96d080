"""The search for modes: all of them are found, once each, with their curvature."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.stats import multivariate_t

import bayesdiff as bd
from bayesdiff.compiled import compile_prior
from bayesdiff.multimodal.scout import Scouted, _heaviest
from bayesdiff.multimodal.scout import scout as scout_with
from bayesdiff.multimodal.tuning import TEMPERING

CIRCLE = 10 * np.stack([np.sin(np.arange(8) * np.pi / 4), np.cos(np.arange(8) * np.pi / 4)], axis=1)
NONE = np.empty((0, 2))
SCOUTING = TEMPERING.scouting


def scout(prior, given, groups, rng):
    return scout_with(prior, given, groups, rng, SCOUTING)


def by_density(means, variance):
    """A mixture that cannot be drawn from: its prior's draws do not give the modes away."""
    return bd.density(lambda x: pt.logsumexp(-0.5 * ((x - means) ** 2).sum(-1) / variance), shape=means.shape[1])


def test_all_modes_are_found_once():
    found = scout(compile_prior(by_density(CIRCLE, 0.7)), NONE, 4, np.random.default_rng(0))
    assert len(found.x) == 8
    nearest = np.abs(found.x[:, None] - CIRCLE).max(axis=-1)
    assert sorted(nearest.argmin(axis=1)) == list(range(8))
    assert nearest.min(axis=1).max() < 1e-6
    np.testing.assert_allclose(found.covariance, np.tile(0.7 * np.eye(2), (8, 1, 1)), rtol=1e-6, atol=1e-8)
    assert (found.by > 0).all()  # by every group's own starts
    assert found.unseen == 0.0


def test_the_mass_of_a_gaussian_is_exact():
    with pm.Model() as model:
        pm.Normal("x", 3.0, 0.2, shape=2)
        pm.Potential("c", pt.constant(1.5))
    found = scout(compile_prior(model), NONE, 1, np.random.default_rng(0))
    np.testing.assert_allclose(found.log_mass, [1.5], atol=1e-8)


def test_scales_are_found():
    """Two modes 10,000 apart whose sd is 1, and a prior whose initial point is neither."""
    means = np.array([[-5000.0], [5000.0]])
    found = scout(compile_prior(by_density(means, 1.0)), np.empty((0, 1)), 2, np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(found.x[:, 0]), [-5000.0, 5000.0], atol=1e-3)


def test_a_start_of_the_users_is_followed():
    """A mode so narrow and far that no start comes near: unseen without a start, seen with one."""
    means = np.array([[0.0] * 8, [30.0] * 8])

    def logp(x):
        wide = -0.5 * ((x - means[0]) ** 2).sum()
        return pt.logaddexp(wide, -0.5 * ((x - means[1]) ** 2).sum() / 1e-4 + 4 * np.log(1e4))

    prior = compile_prior(bd.density(logp, shape=8))
    assert len(scout(prior, np.empty((0, 8)), 1, np.random.default_rng(0)).x) == 1
    found = scout(prior, np.full((1, 8), 30.001), 1, np.random.default_rng(0))
    assert sorted(found.x[:, 0].round(3)) == [0.0, 30.0]


def test_a_density_without_a_maximum_has_no_mode():
    with pm.Model() as funnel:
        v = pm.Normal("v", 0, 3)
        pm.Normal("x", 0, pm.math.exp(v / 2), shape=9)
    found = scout(compile_prior(funnel), np.empty((0, 10)), 2, np.random.default_rng(0))
    assert len(found.x) == 0
    assert found.places.shape[1] > 0
    assert np.isfinite(found.places).all()
    assert found.gaussians().means.shape == (0, 10)


def test_no_start_of_any_density():
    with pm.Model() as model:
        x = pm.Normal("x", shape=2)
        pm.Potential("nowhere", pt.switch(pt.gt(x.sum(), 1e9), 0.0, -np.inf))
    with pytest.raises(ValueError, match=r"log p is not finite at any of .* starts.*pass initvals"):
        scout(compile_prior(model), NONE, 1, np.random.default_rng(0))


def test_a_mode_has_any_scale():
    scales = np.array([1e-6, 1.0, 1e6])
    prior = compile_prior(bd.density(lambda x: -0.5 * ((x / scales) ** 2).sum(), shape=3))
    found = scout(prior, np.empty((0, 3)), 2, np.random.default_rng(0))
    assert len(found.x) == 1
    np.testing.assert_allclose(found.x[0] / scales, 0.0, atol=1e-8)
    np.testing.assert_allclose(found.covariance[0] / scales[:, None] / scales, np.eye(3), rtol=1e-8, atol=1e-8)
    assert found.by.sum() == found.places.shape[0] * found.places.shape[1]  # every climb ended there


def test_kinks_are_modes():
    with pm.Model() as model:
        pm.Mixture("x", w=[0.5, 0.5], comp_dists=[pm.Laplace.dist(-5, 1), pm.Laplace.dist(5, 0.5)])
    found = scout(compile_prior(model), np.empty((0, 1)), 2, np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(found.x[:, 0]), [-5.0, 5.0], atol=1e-8)
    assert found.kink.all()
    assert not found.on_edge.any()


def test_a_wall_is_no_row_of_modes():
    prior = compile_prior(bd.density(lambda x: pt.switch(x[0] > 1, -0.5 * (x**2).sum(), -np.inf), shape=2))
    found = scout(prior, np.full((1, 2), 2.0), 2, np.random.default_rng(0))
    assert len(found.x) <= 1  # (1, 0), which is the highest, or nothing
    assert found.on_edge.all()
    np.testing.assert_allclose(found.x, np.tile([1.0, 0.0], (len(found.x), 1)), atol=1e-4)


def test_a_heavy_tail_is_not_judged_by_its_top():
    """A Cauchy and a Gaussian of one mass each, in 20 dimensions: by its curvature the Cauchy has e^-10 and less."""
    n = 20
    at = multivariate_t(np.zeros(n), 1e3 * np.eye(n), df=1).logpdf(np.zeros(n))
    covariance = np.array([1e3 * np.eye(n) / (1 + n), np.eye(n), np.eye(n)])
    normal = -0.5 * n * np.log(2 * np.pi)
    found = Scouted(
        np.arange(3.0)[:, None] * np.ones(n),
        np.array([at, normal, normal - 60]),
        np.linalg.inv(covariance),
        covariance,
        np.ones((3, 1), int),
        *np.zeros((3, 3), bool),
    )
    assert found.log_mass[0] < found.log_mass[1] - 10
    no = np.zeros(3, bool)
    assert _heaviest(found, no, SCOUTING).tolist() == [1, 0]
    assert _heaviest(found, np.array([False, False, True]), SCOUTING).tolist() == [
        1,
        0,
        2,
    ]  # a draw's climb ended there
