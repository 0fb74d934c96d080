"""Inverters on arrays, against closed forms."""

from dataclasses import replace
from functools import partial

import exact
import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff.checks import generator
from bayesdiff.invert import draws, inverters, kinks, modes, newton, tops
from bayesdiff.invert.draws import Length, sample_steps
from bayesdiff.invert.modes import find_modes_of
from bayesdiff.invert.steps import read_steps
from bayesdiff.invert.tuning import SAMPLING, SEARCH, Sampling, Search

R = np.loadtxt(__file__.replace("test_inverters.py", "article_r.csv"), delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def gaussian():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return bd.compile_prior(model)


@pytest.fixture(scope="module")
def plane():
    return bd.compile_prior(bd.gaussian_mixture([0.6, 0.4], [[-2.0, 0.0], [2.0, 1.0]], 0.5))


PLANE = exact.mixture([0.6, 0.4], [[-2.0, 0.0], [2.0, 1.0]], [0.5 * np.eye(2)] * 2)
INVERTERS = [bd.mode, bd.draw, bd.mean, bd.laplace]
# Whole chunks, as those of a test of 10,000: they are compiled once.
MANY = 2048
# The mean of many draws takes as long as the others together.
QUICK = [pytest.param(each, marks=pytest.mark.slow) if each is bd.mean else each for each in INVERTERS]


def test_the_mode_of_the_article(gaussian):
    o = np.random.default_rng(0).normal(0, np.sqrt(101), size=(10_000, 1))
    x, stats = bd.mode(gaussian, o, sigma=10.0, random_seed=0)
    np.testing.assert_allclose(x, o / 101, rtol=1e-9)
    assert stats["converged"].all()
    assert (stats["starts_agreed"] == stats["starts"]).all()
    np.testing.assert_allclose(stats["sd"], np.sqrt(100 / 101), rtol=1e-9)
    _, variance, log_evidence = exact.gaussian_step(o[:, 0], 1.0, 10.0)
    # log p(x, o) at the mode = log p(o) + log N(mode; mode, variance)
    np.testing.assert_allclose(stats["lp"], log_evidence - 0.5 * np.log(2 * np.pi * variance), rtol=1e-9)


def test_the_numbers_that_r_gave(gaussian):
    x, _ = bd.mode(gaussian, R[:, :1], sigma=10.0, random_seed=0)
    assert len(R) == 100
    assert np.abs(x[:, 0] - R[:, 1]).max() < 4e-5  # what is left is the tolerance of R's optimize


def test_draws_bring_the_prior_back_and_modes_do_not(gaussian):
    n = 20_000
    o = np.random.default_rng(1).normal(0, np.sqrt(101), size=(n, 1))
    drawn, _ = bd.draw(gaussian, o, sigma=10.0, random_seed=2)
    spread = 1 / np.sqrt(2 * n)  # standard error of a standard deviation of 1

    def is_prior(x):
        return abs(x.std() - 1) < 4 * spread and abs(x.mean()) < 4 / np.sqrt(n)

    assert is_prior(drawn)
    modes, _ = bd.mode(gaussian, o, sigma=10.0, random_seed=2)
    assert not is_prior(modes)  # the negative control
    assert abs(modes.std() / (np.sqrt(101) / 101) - 1) < 4 * spread
    # For a Gaussian prior Laplace is exact, and so it brings the prior back too.
    assert is_prior(bd.laplace(gaussian, o, sigma=10.0, random_seed=2)[0])


def mean_square_z(o, prior, sigma):
    """Mean of z^2 over repeats, z the mean of the draws in its own standard errors: 1 if draws share nothing."""
    squares = []
    for seed in range(len(o)):
        x, _ = bd.draw(prior, o[seed], sigma=sigma, random_seed=seed, tune=140)
        squares.append((x.mean(axis=0) / x.std(axis=0)) ** 2 * len(x))
    return np.mean(squares)


@pytest.mark.slow
def test_draws_of_a_batch_share_nothing_that_bends_their_average(monkeypatch):
    """A wide step is drawn by jumps to draws of p0. Were these few, all would share one error."""
    with pm.Model() as model:
        pm.StudentT("x", nu=5, shape=4)
    prior = bd.compile_prior(model)
    x = prior.draws(4 * 4096, 1)
    o = (x + 20 * np.random.default_rng(2).normal(size=x.shape)).reshape(4, 4096, 4)
    limit = 1 + 4 * np.sqrt(2 / 16)  # 16 values of z^2
    assert mean_square_z(o, prior, 20.0) < limit
    few = replace(SAMPLING, bank_numbers=4 * 32, least_bank=32)
    monkeypatch.setattr(inverters, "sample_steps", partial(sample_steps, sampling=few))
    assert mean_square_z(o, prior, 20.0) > limit  # the negative control


def test_one_draw_each_has_the_law_of_the_posterior(plane):
    """Each draw, turned into its exact share of the first mode, averages to that share over many equal observations."""
    n, o, sigma = 10_000, np.array([0.3, 0.2]), 2.5
    x, _ = bd.draw(plane, np.tile(o, (n, 1)), sigma=sigma, random_seed=3)
    posterior, _ = exact.mixture_posterior(PLANE, o, 1.0, sigma)
    mean, covariance = exact.mixture_moments(posterior)
    # Draws of one chunk share the draws of p0 that they jump to; what is left of that is small against 4 sd.
    assert (np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(np.diag(covariance) / n)).all()
    modes, _ = bd.mode(plane, np.tile(o, (n, 1)), sigma=sigma, random_seed=3)
    assert not (np.abs(modes.mean(axis=0) - mean) < 4 * np.sqrt(np.diag(covariance) / n)).all()


def test_the_mean_is_that_of_the_mixture(plane):
    o = np.random.default_rng(4).normal(0, 3, size=(50, 2))
    sigma = np.linspace(0.5, 6, 50)
    x, stats = bd.mean(plane, o, sigma=sigma, random_seed=5)
    truth = [exact.mixture_moments(exact.mixture_posterior(PLANE, a, 1.0, s)[0]) for a, s in zip(o, sigma, strict=True)]
    z = (x - [m for m, _ in truth]) / stats["mcse"]
    assert np.abs(z).max() < 5  # 100 numbers
    assert 0.7 < z.std() < 1.4  # and the error says how large it is
    # A relative error of a standard deviation from 800 draws; few are effective where modes are rare.
    np.testing.assert_allclose(stats["sd"], [np.sqrt(np.diag(c)) for _, c in truth], rtol=0.25)


def test_laplace_takes_one_mode(plane):
    o = np.tile([[0.3, 0.2]], (4000, 1))
    x, stats = bd.laplace(plane, o, sigma=2.5, random_seed=6)
    modes, _ = bd.mode(plane, o, sigma=2.5, random_seed=6)
    assert (np.abs(x.mean(axis=0) - modes[0]) < 4 * stats["sd"][0] / np.sqrt(4000)).all()
    assert (np.abs(x.std(axis=0) / stats["sd"][0] - 1) < 4 / np.sqrt(8000)).all()


@pytest.mark.parametrize("invert", QUICK)
def test_the_same_seed_gives_the_same_bits(plane, invert):
    o = np.random.default_rng(7).normal(size=(MANY, 2))
    first, again = invert(plane, o, sigma=1.0, random_seed=8)[0], invert(plane, o, sigma=1.0, random_seed=8)[0]
    np.testing.assert_array_equal(first, again)
    if invert is not bd.mode:
        assert not np.array_equal(first, invert(plane, o, sigma=1.0, random_seed=9)[0])


@pytest.mark.parametrize("invert", QUICK)
def test_a_bad_observation_is_nan_and_alone(plane, invert):
    o = np.random.default_rng(7).normal(size=(MANY, 2))
    o[5] = 0.0
    good, _ = invert(plane, o, sigma=1.0, random_seed=8)
    o[5, 1] = np.nan
    bad, stats = invert(plane, o, sigma=1.0, random_seed=8)
    assert np.isnan(bad[5]).all()
    rest = np.arange(MANY) != 5
    np.testing.assert_array_equal(bad[rest], good[rest])
    for values in stats.values():
        assert len(values) == MANY
    assert np.isfinite(bad[rest]).all()


@pytest.mark.parametrize("invert", QUICK)
def test_a_given_start_is_used(invert):
    """A narrow mode that no other start reaches is found from a start beside it."""
    prior = bd.gaussian_mixture([1 - 1e-9, 1e-9], [0.0, 60.0], [1.0, 1e-4])
    far = np.array([[60.0]])
    # At o = 60 the narrow mode wins by far; from o / alpha and near it, it is invisible at sigma = 8.
    x, _ = invert(prior, [[75.0]], sigma=8.0, start=far, random_seed=0)
    assert abs(x[0, 0] - 60) < 0.1


def test_a_batch_of_mixtures_has_no_holes():
    """JAX's gradient of a maximum is 0 / 0 where XLA rounds it and the entries differently: in some lanes only."""
    with pm.Model() as model:
        pm.NormalMixture("x", w=[0.7, 0.3], mu=[-4.0, 4.0], sigma=[0.5, 0.7])
    o = np.random.default_rng(3).normal(0, 4, size=(2000, 1))
    for prior in (model, bd.gaussian_mixture([0.7, 0.3], [-4.0, 4.0], [0.25, 0.5])):
        _, stats = bd.mode(prior, o, sigma=1.0, random_seed=4)
        assert stats["converged"].all()
        assert np.isfinite(stats["sd"]).all()


def test_each_observation_has_its_own_noise(gaussian):
    o, alpha, sigma = np.array([[1.0], [2.0], [-3.0]]), np.array([1.0, 0.5, 0.1]), np.array([0.1, 1.0, 10.0])
    x, _ = bd.mode(gaussian, o, alpha, sigma, random_seed=0)
    np.testing.assert_allclose(x[:, 0], exact.gaussian_step(o[:, 0], alpha, sigma)[0], rtol=1e-9)


def test_from_pymc(gaussian):
    find_map = bd.from_pymc(pm.find_MAP, progressbar=False, return_inferencedata=True, jitter=False)
    x, _ = find_map(gaussian, [[5.05], [np.nan], [-10.1]], sigma=10.0, random_seed=1)
    np.testing.assert_allclose(x[[0, 2], 0], [0.05, -0.1], atol=1e-4)
    assert np.isnan(x[1]).all()


def test_from_pymc_draws_and_unconstrains():
    with pm.Model() as model:
        pm.HalfNormal("b")
        pm.Normal("a", 3, 1, shape=2)
    sample = bd.from_pymc(
        pm.sample,
        draws=5,
        tune=200,
        chains=1,
        cores=1,
        nuts_sampler="pymc",
        progressbar=False,
        compute_convergence_checks=False,
    )
    x, _ = sample(bd.compile_prior(model), [[3.0, 3.0, np.log(2.0)]], sigma=1e-3, random_seed=1)
    np.testing.assert_allclose(x, [[3.0, 3.0, np.log(2.0)]], atol=0.01)


def test_from_pymc_says_what_it_cannot_use(gaussian):
    with pytest.raises(TypeError, match=r"function is 3; write one that takes a model, as pm\.sample"):
        bd.from_pymc(3)
    with pytest.raises(
        TypeError, match="the function returned int; it must return a DataTree with `posterior`, or a mapping"
    ):
        bd.from_pymc(lambda model, random_seed: 3)(gaussian, [[1.0]])


@pytest.mark.parametrize("invert", INVERTERS)
@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"o": [1.0]}, ValueError, r"o has shape \(1,\); an inverter takes \(batch, 1\), columns \['x'\]"),
        ({"o": [[1.0, 2.0]]}, ValueError, r"o has shape \(1, 2\); an inverter takes \(batch, 1\)"),
        ({"o": np.empty((0, 1))}, ValueError, r"o has shape \(0, 1\)"),
        ({"o": [["a"]]}, TypeError, "o must hold real numbers"),
        ({"o": [[np.nan], [np.inf]]}, ValueError, "none of the 2 observations is finite"),
        ({"sigma": 0.0}, ValueError, r"sigma is 0\.0; write a finite number > 0"),
        ({"sigma": [1.0, 2.0]}, ValueError, r"sigma has shape \(2,\)"),
        ({"alpha": 0.0}, ValueError, r"alpha is 0\.0; write a finite number other than 0"),
        ({"start": [[1.0], [2.0]]}, ValueError, r"start has shape \(2, 1\); write that of o, \(1, 1\)"),
        ({"random_seed": -1}, ValueError, "random_seed is -1; write an int >= 0"),
        ({"random_seed": "a"}, TypeError, "random_seed is 'a'; write an int, a numpy Generator or None"),
    ],
)
def test_bad_input(gaussian, invert, kwargs, error, message):
    with pytest.raises(error, match=message):
        invert(gaussian, **({"o": [[1.0]]} | kwargs))


@pytest.mark.parametrize(
    ("invert", "name", "value", "error"),
    [
        (bd.draw, "tune", 0, ValueError),
        (bd.draw, "tune", 1.5, TypeError),
        (bd.mean, "draws", 0, ValueError),
        (bd.mean, "chains", True, TypeError),
        (bd.mean, "tune", -1, ValueError),
    ],
)
def test_bad_counts(gaussian, invert, name, value, error):
    with pytest.raises(error, match=f"{name} is {value}; write an int >= 1"):
        invert(gaussian, [[1.0]], **{name: value})


def test_a_generator_goes_on():
    rng = np.random.default_rng(3)
    assert generator(rng) is rng


def test_many_dimensions_of_many_observations():
    """Above 64 numbers no matrix is formed. o as the prior predicts it: then x has the prior's law."""
    with pm.Model() as prior:
        pm.Normal("x", shape=66)
    rng = np.random.default_rng(11)
    o = rng.normal(0, np.sqrt(2), size=(200, 66))
    x, _ = bd.draw(prior, o, random_seed=12)
    error = 4 * np.sqrt(2 / x.size)
    assert abs((x**2).mean() - 1) < error
    assert abs(((x - o / 2) ** 2).mean() / 0.5 - 1) < error
    assert abs(((x + o / 2) ** 2).mean() / 0.5 - 1) > error  # the negative control


class Untouched:
    """A record that nobody may read."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was read of a default")


def test_what_a_study_varies_reaches_every_stage(gaussian, monkeypatch):
    """With the defaults out of reach nothing misses them: each function hands on what it was given."""
    for module in (newton, kinks, tops, modes, draws):
        for function in vars(module).values():
            given = getattr(function, "__defaults__", None) or ()
            if any(isinstance(value, Search | Sampling) for value in given):
                poisoned = tuple(Untouched() if isinstance(value, Search | Sampling) else value for value in given)
                monkeypatch.setattr(function, "__defaults__", poisoned)
    search = replace(SEARCH, group_size=7, top_climbs=32, kink_searches=3)
    steps = read_steps(gaussian, [[3.0], [-1.0]], 1.0, 2.0)
    found = find_modes_of(gaussian, steps, generator(1), search=search)
    np.testing.assert_allclose(found.x[:, 0], steps.o / 5)
    sampling = replace(SAMPLING, search=search, least_bank=256)
    drawn = sample_steps(gaussian, steps, generator(1), Length(20, 20, 2), sampling=sampling)
    assert np.isfinite(drawn.x).all()
    with pytest.raises(AssertionError, match="was read of a default"):  # the negative control
        newton.climb(lambda x: -(x**2).sum(), np.zeros(1), 1.0)
