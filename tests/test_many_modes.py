"""More modes than a few: draws have the share of each, a MAP is the highest, and what was not searched is said."""

from dataclasses import replace

import exact
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

import bayesdiff as bd
from bayesdiff import inversion
from bayesdiff.compiled import compile_prior
from bayesdiff.invert.tuning import SEARCH

QUIET = {"progressbar": False}


def only_a_density(mixture):
    """The mixture, known only by its log density."""
    variances, n = mixture.covariances[:, 0, 0], mixture.means.shape[1]
    heights = np.log(mixture.weights) - 0.5 * n * np.log(variances)
    return bd.density(lambda x: pt.logsumexp(heights - 0.5 * ((x - mixture.means) ** 2).sum(axis=-1) / variances), n)


def shares(x, posterior):
    """The mean share of each component of p(x | o), (m,), in draws x (draws, n)."""
    one = [
        exact.Mixture(*(value[k : k + 1] for value in vars(posterior).values())) for k in range(len(posterior.means))
    ]
    log_share = np.stack([exact.mixture_log_density(part, x) for part in one])
    share = np.exp(log_share - log_share.max(axis=0))
    return (share / share.sum(axis=0)).mean(axis=1)


def ten(light):
    """Ten modes in five dimensions, alike, or six of them narrow, light and high."""
    means = np.random.default_rng(0).uniform(-6, 6, size=(10, 5))
    if light:
        return exact.mixture([0.01] * 6 + [0.235] * 4, means, [0.25] * 6 + [1.0] * 4)
    return exact.mixture([0.1] * 10, means, 0.25)


@pytest.mark.parametrize("light", [False, True])
def test_ten_modes_of_a_density_have_their_shares(light):
    mixture, sigma = ten(light), 30.0
    o = mixture.means[[9]] + sigma
    tree = bd.sample_posterior(only_a_density(mixture), o, sigma=sigma, draws=500, tune=200, random_seed=1, **QUIET)
    posterior, _ = exact.mixture_posterior(mixture, o[0], 1.0, sigma)
    # Between modes every move is a jump by independent proposals: 2,000 draws are worth 1,000, and .05 is 3.5 errors.
    x = tree["posterior"]["x"].values[:, :, 0].reshape(-1, 5)
    wide = posterior.weights > 0.05
    assert np.abs(shares(x, posterior) - posterior.weights)[wide].max() < 0.05
    # Six of them, as many as were kept, fail the same test.
    fewer = exact.Mixture(*(value[:6] for value in vars(posterior).values()))
    fewer = exact.Mixture(fewer.weights / fewer.weights.sum(), fewer.means, fewer.covariances)
    draws = exact.mixture_draws(fewer, 1000, np.random.default_rng(2))
    assert np.abs(shares(draws, posterior) - posterior.weights)[wide].max() > 0.05


def highest(mixture, o, sigma):
    """The log p(x, o) of the highest mode, for components of one dimension so far apart that each has its own."""
    variance = mixture.covariances[:, 0, 0] * sigma**2 / (mixture.covariances[:, 0, 0] + sigma**2)
    x = variance * (mixture.means[:, 0] / mixture.covariances[:, 0, 0] + o[:, None] / sigma**2)
    logp = exact.mixture_log_density(mixture, x.reshape(-1, 1)).reshape(x.shape)
    return (logp - 0.5 * ((o[:, None] - x) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))).max(axis=1)


COMB = exact.mixture(np.random.default_rng(5).dirichlet(np.full(150, 5.0)), np.arange(150.0), np.full(150, 0.01))
SPIKE = exact.mixture([0.998, 0.002], [0.0, 1.5], [1.0, 1e-8])


def drawn(mixture):
    return bd.gaussian_mixture(mixture.weights, mixture.means[:, 0], mixture.covariances[:, 0, 0])


@pytest.mark.parametrize(("mixture", "sigmas"), [(COMB, (1.0, 30.0)), (SPIKE, (0.5, 10.0))], ids=["comb", "spike"])
def test_a_map_is_the_highest_of_many_modes(mixture, sigmas):
    prior = compile_prior(drawn(mixture))
    for sigma in sigmas:
        rng = np.random.default_rng(3)
        o = exact.mixture_draws(mixture, 300, rng)[:, 0] + sigma * rng.normal(size=300)
        tree = bd.find_map(prior, o, sigma=sigma, random_seed=4, **QUIET)
        assert (tree["sample_stats"]["lp"].values[0, 0] > highest(mixture, o, sigma) - 1e-6).all()


def test_a_comb_known_by_its_density_alone():
    variance = 0.01
    heights = np.log(COMB.weights / np.sqrt(2 * np.pi * variance))
    prior = bd.density(lambda x: pt.logsumexp(heights - 0.5 * (x - COMB.means[:, 0]) ** 2 / variance))
    o = np.random.default_rng(6).uniform(0, 149, size=300)
    tree = bd.find_map(prior, o, sigma=30.0, random_seed=4, **QUIET)
    assert (tree["sample_stats"]["lp"].values[0, 0] > highest(COMB, o, 30.0) - 1e-6).all()


def test_a_search_that_was_cut_short_is_said_and_others_are_not(monkeypatch):
    o = np.linspace(0, 149, 40)
    prior = compile_prior(drawn(COMB))
    monkeypatch.setattr(inversion, "SEARCH", replace(SEARCH, most_climbs=(64, 64)))
    with pytest.warns(UserWarning, match="p0 has more modes than the search for them came to the end of"):
        bd.find_map(prior, o, sigma=30.0, random_seed=4, **QUIET)
    with pm.Model() as one:
        pm.Normal("x")
    bd.find_map(one, o, sigma=30.0, random_seed=4, **QUIET)  # a warning would be an error
