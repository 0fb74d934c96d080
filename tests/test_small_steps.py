"""The study of small steps: its closed forms against quadrature and draws, and a tiny run from end to end."""

import numpy as np
import pytest
import xarray as xr
from exact import gaussian_chain, mixture_moments, mixture_posterior
from exact import mixture as exact_mixture
from scipy.integrate import quad
from scipy.stats import norm

import bayesdiff as bd
from models import rings
from reports import small_steps
from reports.small_steps import (
    FORMS,
    INVERTERS,
    chain_sd,
    diffused,
    gaussianity,
    level_prior,
    mixture,
    mixture_draws,
    moments,
    not_gaussian,
    posterior,
    priors,
    ring_draws,
    ring_mean,
    set_schedule,
    step_posterior,
    study,
)

PRIORS = {prior.name: prior for prior in priors()}
MIXTURES = [name for name, prior in PRIORS.items() if prior.mix is not None]
HALVES = mixture([0.5, 0.5], [-1.0, 1.0], 1.0)


def batch(mix):
    """A mixture as a batch of one."""
    return small_steps.Mixture(mix.weights[None], mix.means[None], mix.variances)


@pytest.mark.parametrize("name", MIXTURES)
def test_posteriors_and_their_moments_are_the_exact_ones(name):
    mix = PRIORS[name].mix
    o = np.random.default_rng(1).normal(size=(4, mix.n)) * 3
    got = posterior(mix, o, 0.8, 1.3)
    mean, covariance = moments(got)
    for i, each in enumerate(o):
        want, _ = mixture_posterior(exact_mixture(mix.weights, mix.means, mix.variances), each, 0.8, 1.3)
        np.testing.assert_allclose(got.weights[i], want.weights, atol=1e-12)
        np.testing.assert_allclose(got.means[i], want.means, atol=1e-12)
        np.testing.assert_allclose(got.variances[:, None, None] * np.eye(mix.n), want.covariances, atol=1e-12)
        want_mean, want_covariance = mixture_moments(want)
        np.testing.assert_allclose(mean[i], want_mean, atol=1e-12)
        np.testing.assert_allclose(covariance[i], want_covariance, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2])
def test_a_gaussian_posterior_is_gaussian(n):
    mix = mixture([1.0], np.zeros((1, n)), 1.0)
    schedule = bd.geometric(4, 0.1, 10.0)
    for form in FORMS:
        got = gaussianity(mix, schedule, form, np.random.default_rng(0), observations=16)
        for values in got.values():
            np.testing.assert_allclose(values, 0, atol=1e-10)


@pytest.mark.parametrize("gap", [0.5, 3.0, 12.0])
def test_negentropy_and_total_variation_on_the_line_are_those_of_quadrature(gap):
    mix = mixture([0.7, 0.3], [0.0, gap], [1.0, 0.5])
    mean, covariance = moments(batch(mix))
    sd = np.sqrt(covariance.item())
    scale = np.sqrt(mix.variances)

    def p(x):
        return mix.weights @ norm.pdf(x, mix.means[:, 0], scale)

    def g(x):
        return norm.pdf(x, mean.item(), sd)

    ends = -8.0, gap + 8.0
    want = quad(lambda x: p(x) * (np.log(p(x)) - norm.logpdf(x, mean.item(), sd)), *ends, limit=500)[0]
    apart = quad(lambda x: abs(p(x) - g(x)) / 2, -60, gap + 60, limit=2000, points=[mean.item(), 0, gap])[0]
    negentropy, variation = not_gaussian(batch(mix))
    assert negentropy.item() == pytest.approx(want, abs=2e-4)
    assert variation.item() == pytest.approx(apart, abs=0.02)  # a kink where the two densities cross


def test_far_modes_are_far_from_gaussian():
    """Two halves at distance d: (log(1 + d^2 / 4) / 2 - log 2) nats, as soon as they do not overlap."""
    far = mixture([0.5, 0.5], [-20.0, 20.0], 1.0)
    negentropy, variation = not_gaussian(batch(far))
    assert negentropy.item() == pytest.approx(0.5 * np.log1p(400) - np.log(2), abs=1e-8)
    assert variation.item() > 0.8


@pytest.mark.parametrize("gap", [0.8, 1.2, 4.0])
def test_in_space_draws_give_what_quadrature_gives_on_the_line(gap):
    """A second coordinate that is Gaussian and independent adds nothing."""
    line = mixture([0.7, 0.3], [0.0, gap], 1.0)
    plane = mixture([0.7, 0.3], [[0.0, 0.0], [gap, 0.0]], 1.0)
    want = np.array(not_gaussian(batch(line))).ravel()
    got = np.array(not_gaussian(batch(plane), np.random.default_rng(1), draws=200_000)).ravel()
    np.testing.assert_allclose(got, want, rtol=0.04)


def test_only_next_level_posteriors_become_gaussian():
    mix = PRIORS["two"].mix
    worst = {
        (form, k): gaussianity(mix, PRIORS["two"].schedule(k), form, np.random.default_rng(0))["negentropy"].max()
        for form in FORMS
        for k in (1, 8, 32)
    }
    assert worst["clean", 1] == pytest.approx(worst["next level", 1])
    assert worst["next level", 1] > 10 * worst["next level", 8] > 50 * worst["next level", 32]
    assert worst["clean", 32] > 0.9 * worst["clean", 1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schedule", [bd.geometric(1, 0.1, 10), bd.geometric(16, 0.1, 10), bd.cosine(8)])
def test_the_sd_of_a_chain_of_means_is_that_of_the_recursion(form, schedule):
    last = schedule.alpha[-1] ** 2 * 2.0 + schedule.sigma[-1] ** 2
    want = gaussian_chain(2.0, schedule.alpha, schedule.sigma, last, 0.0, next_level=form == "next level")
    assert chain_sd(schedule, form, 2.0) == pytest.approx(np.sqrt(want[0]), rel=1e-12)


def test_next_level_means_telescope_to_one_step():
    """On N(0, 1) with sigma up to 10 all K give o / 101, so sd 101^-1/2."""
    for k in (1, 4, 64):
        assert chain_sd(bd.geometric(k, 0.1, 10), "next level") == pytest.approx(101**-0.5, rel=1e-12)


@pytest.mark.parametrize("name", ["two", "eight", "ten"])
def test_the_level_prior_is_gaussian_mixture_for_any_schedule(name):
    prior = PRIORS[name]
    model = level_prior(prior.mix, 8)
    compiled = bd.compile_prior(model)
    x = np.random.default_rng(2).normal(size=(6, prior.n)) * 4
    for schedule in (bd.geometric(3, 0.1, 10.0), bd.cosine(8)):
        set_schedule(model, schedule)
        assert compiled.schedule == schedule
        want = bd.compile_prior(bd.gaussian_mixture(prior.mix.weights, prior.mix.means, prior.mix.variances, schedule))
        for level in (0, schedule.levels):
            np.testing.assert_allclose(compiled.at_level(level).logp(x), want.at_level(level).logp(x), rtol=1e-12)
    drawn = compiled.at_level(8).draws(20_000, 1)
    mix = diffused(prior.mix, schedule.alpha[8], schedule.sigma[8])
    mean, covariance = mixture_moments(exact_mixture(mix.weights, mix.means, mix.variances))
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=4 * sd.max() / 20_000**0.5)
    np.testing.assert_allclose(drawn.std(0), sd, rtol=0.03)


def test_the_two_forms_have_the_same_first_step():
    schedule = bd.one_step(3.0)
    o = np.array([[0.5]])
    clean, below = (step_posterior(HALVES, schedule, 1, form, o) for form in FORMS)
    np.testing.assert_allclose(clean.weights, below.weights)
    np.testing.assert_allclose(clean.means, below.means)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_the_mean_on_rings_is_exact(sigma):
    o = np.array([[0.0, 0.0], [1.5, 0.2], [-4.0, 3.0], [0.0, 6.0]])
    mean, covariance = ring_mean(None, o, 1.0, sigma)
    np.testing.assert_allclose(mean, [rings.exact(each, 1.0, sigma)["mean"] for each in o], atol=1e-6)
    x = ring_draws(400_000, np.random.default_rng(3))
    weight = np.exp(-0.5 * ((x - o[1]) ** 2).sum(1) / sigma**2)
    weight /= weight.sum()
    gap = x - weight @ x
    want = (gap * weight[:, None]).T @ gap
    np.testing.assert_allclose(covariance[1], want, atol=0.1 * want.max())


def test_exact_draws_of_rings_have_the_right_radii():
    x = ring_draws(200_000, np.random.default_rng(0))
    wide = rings.exact([0.0, 0.0], 1.0, 1e4)
    radius = np.linalg.norm(x, axis=1)
    assert radius.mean() == pytest.approx(wide["radius"], abs=0.02)
    np.testing.assert_allclose(PRIORS["rings"].shares(x), wide["shares"], atol=0.005)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.04)


@pytest.mark.parametrize("name", list(PRIORS))
def test_exact_samples_are_at_the_floor(name):
    prior = PRIORS[name]
    rng = np.random.default_rng(0)
    x, y = prior.draws(200, rng), prior.draws(200, rng)
    assert prior.distances(x, x).tolist() == [0, 0, 0]
    assert (prior.distances(x, 1.5 * y + 0.5)[:2] > prior.distances(x, y)[:2]).all()
    assert prior.shares(x).sum() == pytest.approx(1)


def test_exact_draws_of_a_mixture():
    mix = mixture([0.7, 0.3], [[0.0, 1.0], [4.0, 1.0]], [1.0, 0.25])
    x = mixture_draws(mix, 100_000, np.random.default_rng(0))
    mean, covariance = mixture_moments(exact_mixture(mix.weights, mix.means, mix.variances))
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.06)


def test_a_tiny_run_from_end_to_end(tmp_path):
    said = []
    out = tmp_path / "run.zarr"
    inverters = ("mode", "mean", "mean and variance")  # the others go the same way, and take seconds to compile
    few = {"steps": (1, 2), "limit_steps": (3,), "size": 32, "repeats": 2, "pairs": 20}
    run = study(out, **few, names=["two"], inverters=inverters, seed=3, say=said.append)
    assert len(said) == 2 + 2 * 2 * len(inverters)
    loaded = bd.load(out)
    assert loaded.attrs["finished"] == 1
    assert loaded.attrs["seed"] == 3
    scores = loaded["scores"].to_dataset().sel(prior="two")
    assert dict(scores.score.sizes) == {"form": 2, "inverter": len(INVERTERS), "steps": 2, "repeat": 2, "distance": 3}
    assert np.isfinite(scores.score.sel(inverter=list(inverters))).all()
    assert scores.score.sel(inverter=["draw", "laplace", "sampled mean"]).isnull().all()
    assert (scores.lost.fillna(0) == 0).all()
    # Modes go to the heavier one; draws from Gaussians of the right mean and covariance do not.
    at = scores.score.sel(form="next level", steps=2, distance="mode shares").mean("repeat")
    assert at.sel(inverter="mode") > 0.2 > at.sel(inverter="mean and variance")
    assert (scores.level_evaluations.sel(inverter="mode", steps=2, level=[1, 2]) > 0).all()
    assert loaded["gaussianity_two"]["negentropy"].sel(steps=1, level=2).isnull().all()
    assert np.isfinite(loaded["limit"]["score"]).all()
    assert loaded["example"]["density"].integrate("z").values == pytest.approx(1, abs=0.02)
    xr.testing.assert_identical(run["samples_two"].to_dataset(), loaded["samples_two"].to_dataset())
