"""Level priors: one density a level, compiled once, exact at every level."""

import exact
import numpy as np
import pymc as pm
import pytest
from test_step import PYTHON

import bayesdiff as bd
from bayesdiff.step import clone, layout

SCHEDULE = bd.Schedule([1.0, 0.9, 0.5, 0.1], [0.0, 0.3, 0.9, 1.5])
PLANE = ([0.7, 0.3], [[-2.0, 0.0], [2.0, 1.0]], np.array([[[0.5, 0.1], [0.1, 0.2]], [[0.4, 0.0], [0.0, 0.3]]]))
LINE = ([0.7, 0.3], [-2.0, 2.0], [1.0, 0.1])


def diffused(arguments, level):
    return exact.diffused(exact.mixture(*arguments), SCHEDULE.alpha[level], SCHEDULE.sigma[level])


@pytest.fixture(scope="module", params=[PLANE, LINE], ids=["plane", "line"])
def case(request):
    return request.param, bd.compile_prior(bd.gaussian_mixture(*request.param, SCHEDULE))


def test_density_and_draws_at_every_level(case):
    arguments, prior = case
    x = 3 * np.random.default_rng(0).normal(size=(20, prior.n))
    for level in range(4):
        at, truth = prior.at_level(level), diffused(arguments, level)
        np.testing.assert_allclose(at.logp(x), exact.mixture_log_density(truth, x), rtol=1e-12)
        mean, covariance = exact.mixture_moments(truth)
        drawn = at.draws(50_000, 1)
        np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - mean), 4 * np.sqrt(covariance.diagonal() / 50_000))
        square = (drawn - mean) ** 2
        error = 4 * square.std(axis=0) / np.sqrt(50_000)
        np.testing.assert_array_less(np.abs(square.mean(axis=0) - covariance.diagonal()), error)
    gradient = prior.at_level(2).logp_and_gradient(x[:1])[1][0]
    shift = 1e-6 * np.eye(prior.n)
    slope = (prior.at_level(2).logp(x[0] + shift) - prior.at_level(2).logp(x[0] - shift)) / 2e-6
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-8)


def test_nothing_is_compiled_for_another_level(case):
    _, prior = case
    assert prior.at_level(1)._functions is prior._functions
    prior.at_level(1).logp(np.zeros((3, prior.n)))
    before = prior._functions.logp._cache_size()
    for level in range(4):
        prior.at_level(level).logp(np.zeros((3, prior.n)))
    assert prior._functions.logp._cache_size() == before


def test_the_model_says_its_level(case):
    arguments, _ = case
    model = bd.gaussian_mixture(*arguments, SCHEDULE)
    prior = bd.compile_prior(model)
    assert prior.schedule == SCHEDULE
    assert prior.level is None
    x = np.ones((4, prior.n))
    np.testing.assert_allclose(prior.logp(x), exact.mixture_log_density(diffused(arguments, 0), x))
    pm.set_data({"level": 3}, model=model)
    np.testing.assert_allclose(prior.logp(x), exact.mixture_log_density(diffused(arguments, 3), x))
    np.testing.assert_allclose(prior.draws(20_000, 1).std(axis=0), prior.at_level(3).draws(20_000, 1).std(axis=0))
    point = {"x": np.reshape(x[0], layout(model).shapes[0])}
    assert model.compile_logp(mode=PYTHON)(point) == pytest.approx(prior.logp(x)[0])
    # A clone is as good.
    copy = bd.compile_prior(clone(model))
    assert copy.schedule == SCHEDULE
    np.testing.assert_array_equal(copy.logp(x), prior.logp(x))


def test_a_step_to_the_next_level_is_the_mixture_posterior(case):
    """p(o_1 | o_2) by sample_posterior at level 1, against the algebra of mixtures."""
    arguments, prior = case
    a, s = SCHEDULE.step(2)
    o = np.random.default_rng(1).normal(size=(10, prior.n))
    tree = bd.sample_posterior(
        prior.at_level(1), o if prior.n > 1 else o[:, 0], a, s, draws=500, tune=200, random_seed=2, progressbar=False
    )
    x = tree["unconstrained_posterior"]["x"].values.reshape(4 * 500, 10, prior.n)
    for i in range(10):
        truth, _ = exact.mixture_posterior(diffused(arguments, 1), o[i], a, s)
        mean, covariance = exact.mixture_moments(truth)
        ess = np.reshape(tree["diagnostics"]["x"].sel(diagnostic="ess_bulk").values, (10, -1))[i]
        assert (np.abs(x[:, i].mean(axis=0) - mean) < 4 * np.sqrt(covariance.diagonal() / ess)).all()


def test_a_level_prior_is_a_step_like_any_other():
    model = bd.gaussian_mixture(*LINE, SCHEDULE)
    step = bd.step_model(model, 1.0, 1.0, 2.0)
    posterior = exact.grid_1d(
        lambda x: exact.mixture_log_density(exact.mixture(*LINE), x[:, None]), 1.0, 1.0, 2.0, -9, 9
    )
    logp = step.compile_logp(mode=PYTHON)
    assert float(logp({"x": 2.0}) - logp({"x": -2.0})) == pytest.approx(
        np.log(
            np.interp(2.0, posterior.x, posterior.probability) / np.interp(-2.0, posterior.x, posterior.probability)
        ),
        rel=1e-5,
    )
    assert "schedule" in pm.model_to_mermaid(model)


def own_level():
    with pm.Model() as model:
        pm.Data("level", 1.0)
        pm.Normal("x")
    return model


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bd.gaussian_mixture(*LINE, 10.0), TypeError, "schedule is float; write one, as bd.geometric"),
        (lambda: bd.compile_prior(own_level()), ValueError, "the prior has a variable 'level', which results use"),
        (
            lambda: bd.compile_prior(bd.gaussian_mixture(*LINE)).at_level(1),
            ValueError,
            "the prior's density does not depend on a level; make one that does, as gaussian_mixture",
        ),
        (
            lambda: bd.compile_prior(bd.gaussian_mixture(*LINE, SCHEDULE)).at_level(4),
            ValueError,
            "level is 4; the prior's schedule has the levels 0 to 3",
        ),
        (
            lambda: bd.compile_prior(bd.gaussian_mixture(*LINE, SCHEDULE)).at_level(1.0),
            ValueError,
            r"level is 1\.0; the prior's schedule has the levels 0 to 3",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
