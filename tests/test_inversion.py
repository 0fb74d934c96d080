"""The two inversions for people: exact answers, labels, warnings, bad input."""

import datetime as dt
import warnings
from dataclasses import replace
from functools import partial

import exact
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

import bayesdiff as bd
from bayesdiff import inversion
from bayesdiff.invert.tuning import SEARCH
from bayesdiff.step import clone
from models import eight_schools, linear_inverse, rings

QUIET = {"progressbar": False}


def article():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return model


@pytest.fixture(scope="module")
def gaussian():
    return bd.compile_prior(article())


SCHOOLS = {"mu": [5.0, 1.0], "tau": [0.5, 0.0], "z": np.zeros((2, 8))}
SCHOOLS_STEP = dict(sigma=[3.0, 0.3], random_seed=4, **QUIET)
SCHOOLS_LENGTH = {"draws": 1000, "tune": 300}


@pytest.fixture(scope="module")
def schools():
    prior = bd.compile_prior(eight_schools.prior())
    return (
        bd.find_map(prior, SCHOOLS, **SCHOOLS_STEP),
        bd.sample_posterior(prior, SCHOOLS, **SCHOOLS_LENGTH, **SCHOOLS_STEP),
    )


def z_scores(tree, name, truth):
    """Errors of the posterior means of `name`, in Monte Carlo standard errors by effective draws."""
    draws = tree["unconstrained_posterior"][name]
    ess = tree["diagnostics"][name].sel(diagnostic="ess_bulk")
    return ((draws.mean(("chain", "draw")) - truth) / (draws.std(("chain", "draw")) / np.sqrt(ess))).values


# ------------------------------------------------------------------------------------------------------- the article


def test_the_article(gaussian):
    o = np.random.default_rng(0).normal(0, np.sqrt(101), size=500)
    modes = bd.find_map(gaussian, o, sigma=10, random_seed=1, **QUIET)
    np.testing.assert_allclose(modes["posterior"]["x"].values[0, 0], o / 101, rtol=1e-9)
    np.testing.assert_allclose(modes["laplace"]["x"], np.sqrt(100 / 101), rtol=1e-9)
    tree = bd.sample_posterior(gaussian, o, sigma=10, draws=500, tune=500, random_seed=1, **QUIET)
    z = z_scores(tree, "x", o / 101)
    assert np.abs(z).max() < 4.5
    assert 0.85 < z.std() < 1.15
    variances = tree["posterior"]["x"].var(("chain", "draw"))
    assert abs(float(variances.mean()) - 100 / 101) < 4 * np.sqrt(2 / (500 * 2000))
    # Each draw of each chain is, over fresh o, a draw of the prior; the modes are not.
    assert abs(float(tree["posterior"]["x"].std()) - 1) < 4 * np.sqrt(1 / (2 * 500))
    assert abs(float(modes["posterior"]["x"].std()) - np.sqrt(101) / 101) < 4 * 0.1 / np.sqrt(2 * 500)
    assert tree["verdict"].attrs["code"] == "ok"


def test_without_the_jacobian_it_agrees_with_pymc():
    with pm.Model() as model:
        pm.Exponential("s", 1.0)
    o, sigma = -1.0, 2.0
    theirs = pm.find_MAP(
        model=bd.step_model(model, o, sigma=sigma), progressbar=False, return_inferencedata=True, jitter=False
    )
    ours = bd.find_map(model, o, sigma=sigma, jacobian=False, random_seed=0, **QUIET)
    np.testing.assert_allclose(ours["posterior"]["s"].values, theirs["posterior"]["s"].values, rtol=1e-4)
    # With the Jacobian: log s - s - (o - log s)^2 / 8 is highest where 1 - s + (o - log s) / 4 = 0.
    s = float(bd.find_map(model, o, sigma=sigma, random_seed=0, **QUIET)["posterior"]["s"].squeeze())
    assert abs(1 - s + (o - np.log(s)) / 4) < 1e-9
    # A step so wide that it says nothing leaves the prior's own modes: 1, and 0 as far as the noise lets it go.
    wide = dict(o=0.0, sigma=1e4, random_seed=0, **QUIET)
    assert abs(float(bd.find_map(model, **wide)["posterior"]["s"].squeeze()) - 1) < 1e-6
    assert float(bd.find_map(model, jacobian=False, **wide)["posterior"]["s"].squeeze()) < 1e-6


def test_lp_has_the_jacobian_in_both(gaussian):
    with pm.Model() as model:
        pm.Exponential("s", 1.0)
    for jacobian in (True, False):
        tree = bd.find_map(model, -1.0, 0.5, 2.0, jacobian=jacobian, random_seed=0, **QUIET)
        s = tree["posterior"]["s"].values.item()
        truth = -s + np.log(s) - 0.5 * ((-1 - 0.5 * np.log(s)) / 2) ** 2 - np.log(2 * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(tree["sample_stats"]["lp"].values.item(), truth, rtol=1e-9)
    o = np.array([3.0, -1.0, 0.5, 20.0])
    x = (draws := bd.sample_posterior(gaussian, o, 0.5, 2.0, random_seed=0, **QUIET))["posterior"]["x"].values
    truth = -0.5 * x**2 - 0.5 * ((o - 0.5 * x) / 2) ** 2 - np.log(4 * np.pi)
    np.testing.assert_allclose(draws["sample_stats"]["lp"].values, truth, rtol=1e-12)


# --------------------------------------------------------------------------------------------------------- mixtures

SEPARATED = {
    "line": exact.mixture([0.7, 0.3], [[-4.0], [4.0]], [[[0.25]], [[0.5]]]),
    "plane": exact.mixture(
        [0.4, 0.3, 0.2, 0.1], [[-4.0, -4.0], [-4.0, 4.0], [4.0, -4.0], [4.0, 4.0]], [0.25 * np.eye(2)] * 4
    ),
}


def shares(x, mixture):
    """The mean share of each component (observation, m) in draws x (chain, draw, observation, n)."""
    log_share = np.stack(
        [
            np.log(w) - 0.5 * np.einsum("...i,ij,...j", x - m, np.linalg.inv(c), x - m) - 0.5 * np.linalg.slogdet(c)[1]
            for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        ],
        axis=-1,
    )
    share = np.exp(log_share - log_share.max(axis=-1, keepdims=True))
    return (share / share.sum(axis=-1, keepdims=True)).mean(axis=(0, 1))


def observations(mixture, count, sigma, seed):
    rng = np.random.default_rng(seed)
    x = exact.mixture_draws(mixture, count, rng)
    o = x + sigma * rng.normal(size=x.shape)
    return o, [exact.mixture_posterior(mixture, row, 1.0, sigma)[0] for row in o]


def known(mixture):
    """The mixture as a prior that can be drawn."""
    return bd.gaussian_mixture(mixture.weights, mixture.means, mixture.covariances)


def only_a_density(mixture):
    """The same prior, known only by its log density: no draws of it, so no jumps to it."""
    covariances = mixture.covariances
    assert all(np.array_equal(c, covariances[0][0, 0] * np.eye(len(c))) for c in covariances)
    heights = np.log(mixture.weights)

    def logp(x):
        return pt.logsumexp(heights - 0.5 * ((x - mixture.means) ** 2).sum(axis=-1) / covariances[0][0, 0])

    return bd.density(logp, mixture.means.shape[1])


# One length and one number of observations: a model keeps what was compiled for them.
LENGTH = {"draws": 1000, "tune": 500}
COUNT = 48


@pytest.fixture(scope="module")
def compiled_mixtures():
    return {name: bd.compile_prior(known(mixture)) for name, mixture in SEPARATED.items()}


@pytest.mark.parametrize(
    "name", ["plane", *(pytest.param(name, marks=pytest.mark.slow) for name in SEPARATED if name != "plane")]
)
@pytest.mark.parametrize("sigma", [1.0, 8.0, pytest.param(40.0, marks=pytest.mark.slow)])
def test_modes_far_apart_are_weighed_right_at_every_observation(compiled_mixtures, name, sigma):
    mixture = SEPARATED[name]
    o, posteriors = observations(mixture, COUNT, sigma, seed=3)
    # 4,000 draws: an exact sampler's share of 1/2 has a standard error of .008, and .033 is 4.2 of them.
    tree = bd.sample_posterior(compiled_mixtures[name], o, sigma=sigma, random_seed=4, **LENGTH, **QUIET)
    x = tree["posterior"]["x"].values
    assert np.abs(shares(x, mixture) - [p.weights for p in posteriors]).max() < 0.033
    truth = [exact.mixture_moments(p) for p in posteriors]
    assert np.abs(z_scores(tree, "x", [m for m, _ in truth])).max() < 5.5
    square = (x - np.array([m for m, _ in truth])) ** 2
    error = square.std(axis=(0, 1)) / np.sqrt(tree["diagnostics"]["x"].sel(diagnostic="ess_bulk").values)
    assert (np.abs(square.mean(axis=(0, 1)) - [np.diag(c) for _, c in truth]) < 5.5 * error).all()
    # MAP fails the same test: all of its mass is in one mode.
    modes = bd.find_map(compiled_mixtures[name], o, sigma=sigma, random_seed=4, **QUIET)["posterior"]["x"].values
    if sigma > 1:
        assert np.abs(shares(modes, mixture) - [p.weights for p in posteriors]).max() > 0.2


@pytest.mark.parametrize("sigma", [1.0, 8.0, 40.0])
def test_map_finds_the_highest_mode_and_says_how_sure_it_is(compiled_mixtures, sigma):
    mixture = SEPARATED["plane"]
    o, posteriors = observations(mixture, 200, sigma, seed=5)
    tree = bd.find_map(compiled_mixtures["plane"], o, sigma=sigma, random_seed=6, **QUIET)
    best = np.array([exact.mixture_mode(p)[0] for p in posteriors])
    missed = np.abs(tree["posterior"]["x"].values[0, 0] - best).max(axis=1) > 1e-6
    assert missed.mean() <= 0.05
    stats = tree["sample_stats"]
    assert stats["converged"].all()
    assert (stats["starts_agreed"] >= 1).all()
    assert (stats["starts_agreed"] <= stats["starts"]).all()
    lp = tree["modes"]["lp"].values
    np.testing.assert_array_equal(lp[:, 0], stats["lp"].values[0, 0])
    assert (np.diff(lp, axis=1)[np.isfinite(lp[:, 1:])] <= 0).all()
    assert (tree["modes"]["starts"].sum("mode").values <= stats["starts"].values[0, 0]).all()


OVERLAPPING = exact.mixture(
    [0.5, 0.3, 0.2],
    [np.full(10, -0.4), np.full(10, 0.4), np.r_[np.full(5, 0.4), np.full(5, -0.4)]],
    [0.25 * np.eye(10)] * 3,
)


@pytest.mark.parametrize("sigma", [0.3, pytest.param(3.0, marks=pytest.mark.slow)])
def test_ten_dimensions(sigma):
    o, posteriors = observations(OVERLAPPING, 32, sigma, seed=7)
    tree = bd.sample_posterior(known(OVERLAPPING), o, sigma=sigma, draws=400, tune=400, random_seed=8, **QUIET)
    truth = [exact.mixture_moments(p) for p in posteriors]
    z = z_scores(tree, "x", [m for m, _ in truth])
    assert np.abs(z).max() < 5.5
    assert z.std() < 1.25
    ratio = tree["posterior"]["x"].var(("chain", "draw")).values / [np.diag(c) for _, c in truth]
    assert abs(ratio.mean() - 1) < 0.02


FAR = exact.mixture([2 / 3, 1 / 3], [np.full(16, -1.0), np.full(16, 1.0)], [0.05 * np.eye(16)] * 2)


@pytest.mark.slow
def test_far_modes_in_many_dimensions_without_prior_draws_are_right_or_flagged():
    o, posteriors = observations(FAR, 100, 8.0, seed=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # flagged is allowed here
        tree = bd.sample_posterior(only_a_density(FAR), o, sigma=8.0, random_seed=10, **QUIET)
    share = shares(tree["posterior"]["x"].values, FAR)[:, 0]
    diagnostics = tree["diagnostics"]["x"]
    flagged = (diagnostics.sel(diagnostic="r_hat").max("x_dim_0") > 1.05) | (
        diagnostics.sel(diagnostic="ess_bulk").min("x_dim_0") < 100
    )
    right = np.abs(share - [p.weights[0] for p in posteriors]) < 4 * np.sqrt(0.25 / 1000)
    assert (right | flagged.values).sum() >= 95


def test_modes_that_no_move_crosses_are_flagged():
    """Two narrow shells in 80 dimensions: too many for jumps between modes, and no draws of p0. The message says so."""
    n = 80
    mixture = exact.mixture([0.5, 0.5], [np.full(n, -1.0), np.full(n, 1.0)], [0.01 * np.eye(n)] * 2)
    with pytest.warns(UserWarning, match=r"The draws of \d+ of 4 observations are not to be trusted.*bd\.sample"):
        bd.sample_posterior(
            only_a_density(mixture), np.zeros((4, n)), sigma=30.0, draws=100, tune=100, random_seed=1, **QUIET
        )


# ------------------------------------------------------------------------------------------- models with data,
# densities


def of_eight_schools(tree, o, sigma):
    """Compare with the integral at each observation."""
    step = [({name: values[i] for name, values in o.items()}, sigma[i]) for i in range(len(sigma))]
    truth = [eight_schools.exact(one, 1.0, noise) for one, noise in step]
    for name, known_as in (("mu", "mu"), ("tau", "log_tau"), ("z", "z")):
        z = z_scores(tree, name, [t[known_as]["mean"] for t in truth])
        assert np.abs(z).max() < 5
        spread = tree["unconstrained_posterior"][name].var(("chain", "draw")).values
        np.testing.assert_allclose(spread, [t[known_as]["variance"] for t in truth], rtol=0.25)
    theta = tree["posterior"]["theta"].mean(("chain", "draw")).values
    sd = np.sqrt([t["theta"]["variance"] for t in truth])
    assert (np.abs(theta - [t["theta"]["mean"] for t in truth]) < 0.2 * sd).all()


def test_eight_schools_against_its_integral(schools):
    of_eight_schools(schools[1], SCHOOLS, SCHOOLS_STEP["sigma"])
    with pytest.raises(AssertionError):  # the negative control
        of_eight_schools(schools[1], SCHOOLS, SCHOOLS_STEP["sigma"][::-1])


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 3.0, 30.0])
def test_eight_schools_at_many_observations(sigma):
    rng = np.random.default_rng(11)
    o = {"mu": 4 + sigma * rng.normal(size=8), "tau": 1 + sigma * rng.normal(size=8), "z": rng.normal(size=(8, 8))}
    tree = bd.sample_posterior(eight_schools.prior(), o, sigma=sigma, draws=4000, random_seed=12, **QUIET)
    of_eight_schools(tree, o, [sigma] * 8)


def test_eight_schools_and_pymc_agree(schools):
    ours = schools[1].isel(observation=0)
    o, sigma = {name: values[0] for name, values in SCHOOLS.items()}, SCHOOLS_STEP["sigma"][0]
    theirs = pm.sample(
        model=bd.step_model(eight_schools.prior(), o, sigma=sigma), draws=1000, tune=1000, chains=2, cores=1,
        nuts_sampler="pymc", random_seed=1, progressbar=False, compute_convergence_checks=False, target_accept=0.95,
    )  # fmt: skip
    for name in ("mu", "tau", "theta"):
        a, b = ours["posterior"][name], theirs["posterior"][name]
        gap = (
            np.abs(a.mean(("chain", "draw")).values - b.mean(("chain", "draw")).values)
            / b.std(("chain", "draw")).values
        )
        assert gap.max() < 0.15  # both have at least a few hundred effective draws: 4 standard errors of the difference
        assert list(a.dims[2:]) == list(b.dims[2:])
    np.testing.assert_array_equal(ours["posterior"]["school"], theirs["posterior"]["school"])


@pytest.mark.parametrize("sigma", [0.2, pytest.param(5.0, marks=pytest.mark.slow)])
def test_linear_inverse_is_a_prior_with_data(sigma):
    prior = linear_inverse.prior()
    n = bd.compile_prior(prior).n
    o = 0.5 * np.random.default_rng(13).normal(size=(8, n)) * np.hypot(1, sigma)
    modes = bd.find_map(prior, o, sigma=sigma, random_seed=1, **QUIET)
    tree = bd.sample_posterior(prior, o, sigma=sigma, draws=250, tune=250, random_seed=1, **QUIET)
    truth = [linear_inverse.exact(row, 1.0, sigma) for row in o]
    mean = np.array([t["mean"] for t in truth])
    sd = np.sqrt([np.diag(t["covariance"]) for t in truth])
    x = modes["posterior"]["x"].values[0, 0]
    np.testing.assert_allclose(x, mean, atol=1e-6 * sd.min())
    np.testing.assert_allclose(modes["laplace"]["x"].values, sd, rtol=1e-6)
    z = z_scores(tree, "x", mean)
    assert np.abs(z).max() < 5
    assert z.std() < 1.2
    np.testing.assert_allclose(tree["posterior"]["x"].std(("chain", "draw")).values, sd, rtol=0.12)
    assert "y" in tree["observed_data"]
    assert "prior" not in tree.children  # its p0 is p(x | y): not to be drawn from the model


@pytest.mark.parametrize("sigma", [0.5, pytest.param(10.0, marks=pytest.mark.slow)])
def test_rings(sigma):
    o = np.random.default_rng(14).normal(size=(20, 2)) * np.hypot(3, sigma)
    tree = bd.sample_posterior(rings.prior(), o, sigma=sigma, draws=1000, random_seed=15, **QUIET)
    truth = [rings.exact(row, 1.0, sigma) for row in o]
    assert np.abs(z_scores(tree, "x", [t["mean"] for t in truth])).max() < 5
    radius = np.hypot(*np.moveaxis(tree["posterior"]["x"].values, -1, 0))
    outer = (radius > 3.5).mean(axis=(0, 1))
    assert np.abs(outer - [t["shares"][1] for t in truth]).max() < 0.06


# ------------------------------------------------------------------------------------------------------ what was asked

TAKEN = ["alpha", "sigma", "o", "step"]


def collided(labels=("u", "v")):
    """A model whose names are those of the group `step`, with data of its own."""
    with pm.Model(coords={"d": labels}) as model:
        for name in TAKEN:
            pm.Normal(name, 0, 1, dims="d")
        pm.Data("observed_data", [3.0, 4.0], dims="d")
        size = pm.Data("constant_data", 2.0)
        pm.Normal("y", model["alpha"], size, observed=[1.0, 2.0], dims="d")
    return model


def asked_for(tree, o, rows=slice(None)):
    np.testing.assert_array_equal(tree["step"]["alpha"], np.full(3, 0.5)[rows])
    np.testing.assert_array_equal(tree["step"]["sigma"], np.array([1.0, 2.0, 3.0])[rows])
    assert set(tree["step/o"].data_vars) == set(TAKEN)
    for name in TAKEN:
        np.testing.assert_array_equal(tree["step/o"][name], o[name][rows])
        assert tree["step/o"][name].dims[-1] == "d"


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_what_a_step_was_has_a_group_and_data_are_the_models_own(tmp_path, suffix):
    model, sigma = collided(), [1.0, 2.0, 3.0]
    o = {name: np.arange(6.0).reshape(3, 2) + i for i, name in enumerate(TAKEN)}
    how = {"random_seed": 1, **QUIET}
    theirs = pm.sample_prior_predictive(1, model=model, random_seed=1)  # PyMC's own groups of data
    modes = bd.find_map(model, o, 0.5, sigma, **how)
    draws = bd.sample_posterior(model, o, 0.5, sigma, draws=4, tune=4, chains=2, store=tmp_path / f"p{suffix}", **how)
    for tree in (modes, draws, bd.load(bd.save(modes, tmp_path / f"m{suffix}"))):
        asked_for(tree, o)
        for group in ("observed_data", "constant_data"):
            xr.testing.assert_equal(tree[group].to_dataset(), theirs[group].to_dataset())
    assert set(modes["constant_data"].data_vars) == {"observed_data", "constant_data"}
    single = bd.find_map(model, {name: values[1] for name, values in o.items()}, 0.5, 2.0, **how)
    asked_for(single, o, 1)
    assert single["step/o"]["o"].dims == ("d",)
    assert {"lp", *TAKEN} == set(bd.compare(modes, draws).data_vars)


def test_a_model_without_data_has_none_in_its_result():
    with pm.Model() as prior:
        pm.Normal("x")
    tree = bd.find_map(prior, 1.0, **QUIET)
    assert {"observed_data", "constant_data"} & set(tree.children) == set()


def test_labels_of_any_kind_are_those_of_a_result_that_grew(tmp_path, monkeypatch):
    monkeypatch.setattr(inversion, "SEARCH", replace(SEARCH, chunk=64, part_chunks=1))
    labels = [dt.date(2026, 1, 31), ("a", pd.Period("2026-01", "M"))]
    o = {name: np.random.default_rng(i).normal(size=(200, 2)) for i, name in enumerate(TAKEN)}
    tree = bd.find_map(collided(labels), o, store=tmp_path / "run.zarr", random_seed=1, **QUIET)
    for group in ("posterior", "unconstrained_posterior", "modes", "laplace", "step/o", "observed_data"):
        assert tree[group]["d"].values.tolist() == labels
    for name in TAKEN:
        np.testing.assert_array_equal(tree["step/o"][name], o[name])
    assert tree["step"]["sigma"].shape == (200,)


# ------------------------------------------------------------------------------------------------------- metamorphic


def test_scaling_the_step_changes_nothing(compiled_mixtures):
    prior, o = compiled_mixtures["plane"], observations(SEPARATED["plane"], COUNT, 3.0, seed=1)[0]
    for invert in (bd.find_map, partial(bd.sample_posterior, **LENGTH)):
        one = invert(prior, o, 1.0, 3.0, random_seed=2, **QUIET)["posterior"]["x"]
        two = invert(prior, 4 * o, 4.0, 12.0, random_seed=2, **QUIET)["posterior"]["x"]
        np.testing.assert_array_equal(one, two)  # a power of two: not even the rounding changes


def test_cloning_the_model_changes_nothing(schools):
    prior = eight_schools.prior()
    twice = clone(clone(prior))
    assert [v.name for v in twice.free_RVs] != [v.name for v in prior.free_RVs]  # a clone permutes its variables
    again = bd.sample_posterior(twice, SCHOOLS, **SCHOOLS_LENGTH, **SCHOOLS_STEP)
    for name in ("mu", "tau", "z", "theta"):
        np.testing.assert_array_equal(again["posterior"][name], schools[1]["posterior"][name])


def test_little_noise_gives_o_and_much_gives_the_prior(compiled_mixtures):
    prior, mixture = compiled_mixtures["plane"], SEPARATED["plane"]
    o = exact.mixture_draws(mixture, COUNT, np.random.default_rng(2))
    for invert in (bd.find_map, partial(bd.sample_posterior, **LENGTH)):
        x = invert(prior, 0.5 * o, 0.5, 1e-6, random_seed=2, **QUIET)["posterior"]["x"].values
        np.testing.assert_allclose(x, np.broadcast_to(o, x.shape), atol=2e-5)
    wide = bd.sample_posterior(prior, o, sigma=1e6, random_seed=2, **LENGTH, **QUIET)
    assert np.abs(shares(wide["posterior"]["x"].values, mixture) - mixture.weights).max() < 0.033


def test_no_chunk_matters(gaussian, monkeypatch):
    from bayesdiff.invert import chunks

    o = np.random.default_rng(3).normal(0, 10, size=2000)
    a = bd.sample_posterior(gaussian, o, sigma=10, draws=5, tune=20, random_seed=1, **QUIET)
    monkeypatch.setattr(chunks.os, "cpu_count", lambda: 1)
    b = bd.sample_posterior(gaussian, o, sigma=10, draws=5, tune=20, random_seed=1, **QUIET)
    np.testing.assert_array_equal(a["posterior"]["x"], b["posterior"]["x"])


# -------------------------------------------------------------------------------------------------------------- trees


def test_the_trees_have_the_models_names_dims_and_labels(schools):
    for tree in schools:
        posterior = tree["posterior"]
        assert set(posterior.data_vars) == {"mu", "tau", "z", "theta"}
        assert posterior["theta"].dims == ("chain", "draw", "observation", "school")
        assert list(posterior["school"].values) == eight_schools.SCHOOLS
        inside = tree["unconstrained_posterior"]
        assert set(inside.data_vars) == {"mu", "tau", "z"}
        np.testing.assert_allclose(np.exp(inside["tau"]), posterior["tau"], rtol=1e-12)
        np.testing.assert_allclose(
            posterior["theta"], posterior["mu"] + posterior["tau"] * posterior["z"], rtol=1e-12, atol=1e-12
        )
        assert set(tree["step/o"].data_vars) == {"mu", "tau", "z"}
        assert tree["step/o"]["z"].dims == ("observation", "school")
        assert set(tree["observed_data"].data_vars) == {"y"}
        np.testing.assert_array_equal(tree["observed_data"]["y"], eight_schools.Y)
        np.testing.assert_array_equal(tree["step"]["sigma"], [3.0, 0.3])
        assert tree.name is None
        for key in ("inference_library", "model_graph", "model_equations", "inversion", "sampling_time"):
            assert tree.attrs[key]
    modes, draws = schools
    assert modes["posterior"].sizes["chain"] == modes["posterior"].sizes["draw"] == 1
    assert draws["sample_stats"]["lp"].dims == ("chain", "draw", "observation")
    assert list(draws["diagnostics"]["diagnostic"].values) == ["r_hat", "ess_bulk"]
    assert modes["laplace"]["z"].dims == ("observation", "school")
    assert modes["modes"]["theta"].dims == ("observation", "mode", "school")


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_the_trees_come_back_from_disk(schools, tmp_path, suffix):
    for tree in schools:
        path = bd.save(tree, tmp_path / f"{tree.attrs['inversion']}{suffix}")
        assert bd.load(path).identical(tree)


def test_arviz_reads_them(schools):
    import arviz as az

    table = az.summary(schools[1], var_names=["mu", "tau"])
    assert list(table.index) == ["mu[0]", "mu[1]", "tau[0]", "tau[1]"]


def test_shapes_that_differ_between_the_two_coordinates():
    with pm.Model(coords={"k": ["a", "b", "c"]}) as prior:
        pm.Dirichlet("w", np.ones(3), dims="k")
    tree = bd.find_map(prior, np.zeros(2), sigma=0.1, random_seed=1, **QUIET)
    assert tree["posterior"]["w"].dims == ("chain", "draw", "k")
    assert tree["unconstrained_posterior"]["w"].dims == ("chain", "draw", "w_unconstrained_dim_0")
    np.testing.assert_allclose(tree["posterior"]["w"].sum("k"), 1.0, rtol=1e-12)


def test_prior_draws_are_the_priors(schools, gaussian):
    assert "prior" not in schools[0].children
    tree = bd.find_map(gaussian, 1.0, random_seed=1, **QUIET)
    draws = tree["prior"]["x"].values
    assert draws.shape == (1, 1000)
    assert abs(draws.mean()) < 4 / np.sqrt(1000)
    assert abs(draws.std() - 1) < 4 / np.sqrt(2000)


# ---------------------------------------------------------------------------------------------------- warnings, errors


@pytest.mark.parametrize("invert", [bd.find_map, bd.sample_posterior])
def test_bad_observations_are_nan_and_said_once(gaussian, invert):
    o = np.array([1.0, np.nan, 3.0, np.inf])
    with pytest.warns(
        UserWarning, match=r"2 of 4 observations are not finite and came back as NaN: index 1, 3"
    ) as record:
        tree = invert(gaussian, o, sigma=10, random_seed=1, **QUIET)
    assert len(record) == 1
    assert "index 1, 3" in tree["verdict"].attrs["sentence"]
    x = tree["posterior"]["x"].mean(("chain", "draw")).values
    np.testing.assert_array_equal(np.isnan(x), [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(tree["step/o"]["x"]), [False, True, False, True])


def test_too_few_draws_are_said_to_be_too_few():
    prior = bd.density(lambda x: -0.5 * ((x[0] ** 2 + x[1] ** 2 - 25.0) / 0.1) ** 2, 2, initval=[5.0, 0.0])
    with pytest.warns(
        UserWarning, match=r"The draws of \d of 3 observations are not to be trusted\. The worst is observation"
    ):
        tree = bd.sample_posterior(prior, np.zeros((3, 2)), sigma=50.0, draws=60, tune=60, random_seed=1, **QUIET)
    assert "Ask for more" in tree["verdict"].attrs["sentence"]


def test_chains_that_never_move_are_flagged():
    """A spike narrower than any move can aim at: R-hat of a constant is NaN, and that must not read as fine."""
    spike = bd.density(lambda x: pt.switch(pt.abs(x) < 1e-40, 0.0, -np.inf))
    with pytest.warns(UserWarning, match=r"The draws are not to be trusted.*R-hat inf, 0 effec"):
        bd.sample_posterior(spike, 0.0, sigma=1.0, draws=50, tune=50, random_seed=1, **QUIET)


def test_an_observation_without_a_start_keeps_its_o():
    half = bd.density(lambda x: pt.switch(pt.abs(x) < 1e3, -0.5 * x**2, -np.inf))
    for invert in (bd.find_map, bd.sample_posterior):
        with pytest.warns(UserWarning, match=r"of 1 of 2 observations is not finite at any start.*index 1"):
            tree = invert(half, [1.0, 1e200], sigma=1e-3, random_seed=1, **QUIET)
        np.testing.assert_array_equal(np.isnan(tree["posterior"]["x"].mean(("chain", "draw"))), [False, True])
        np.testing.assert_array_equal(tree["step/o"]["x"], [1.0, 1e200])


@pytest.mark.parametrize("flat", [lambda: pm.Flat("x"), lambda: pm.CustomDist("x", logp=lambda v: 0 * v)])
def test_priors_that_cannot_be_drawn_or_shown_are_inverted(flat):
    with pm.Model() as model:
        flat()
    tree = bd.find_map(model, 3.0, alpha=2.0, sigma=0.5, random_seed=1, **QUIET)
    np.testing.assert_allclose(tree["posterior"]["x"].values, [[1.5]])
    assert "prior" not in tree.children


@pytest.mark.parametrize("sigma", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_a_heavy_tail_has_its_share_after_a_short_warm_up(sigma):
    """Heavy tails, known by density alone: where jumps suffice the other moves are few, and still enough."""
    prior = bd.density(lambda x: -1.5 * pt.log1p(x**2 / 2))
    truth = exact.grid_1d(lambda x: -1.5 * np.log1p(x**2 / 2), 0.0, 1.0, sigma, -12 * sigma, 12 * sigma)
    beyond = truth.probability[truth.x > 2].sum()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The draws of")  # 150 are few for each one: all together are judged
        tree = bd.sample_posterior(prior, np.zeros(1000), sigma=sigma, draws=150, tune=100, random_seed=3, **QUIET)
    share = (tree["posterior"]["x"] > 2).mean(("chain", "draw")).values  # one independent estimate per observation
    assert abs(share.mean() - beyond) < 4 * share.std() / np.sqrt(len(share))


def test_a_density_without_a_maximum_is_said():
    prior = bd.density(lambda x: 0.6 * x**2)  # with sigma = 1 the posterior grows as .1 x^2
    with pytest.warns(UserWarning, match="The climb did not end at a maximum"):
        tree = bd.find_map(prior, 1.0, sigma=1.0, random_seed=1, **QUIET)
    assert not tree["sample_stats"]["converged"].values.item()
    assert np.isnan(tree["laplace"]["x"].values)


def two_variables():
    with pm.Model() as model:
        pm.Normal("a")
        pm.Normal("b", shape=2)
    return model


def discrete():
    with pm.Model() as model:
        pm.Normal("a")
        pm.Poisson("k", 3)
    return model


def with_dim(name):
    with pm.Model(coords={name: [0, 1]}) as model:
        pm.Normal("x", dims=name)
    return model


def only_data():
    with pm.Model() as model:
        pm.Normal("y", observed=[1.0])
    return model


def impossible():
    return bd.density(lambda x: pt.log(-1.0 - x**2), initval=0.0)


BAD = [
    ({"prior": 3}, TypeError, r"prior must be a pm\.Model, got int"),
    ({"prior": discrete(), "o": {"a": 0.0, "k": 1}}, TypeError, r"\['k'\] of the prior are discrete"),
    ({"prior": only_data()}, ValueError, "prior has no free variable"),
    ({"prior": with_dim("observation"), "o": [0.0, 0.0]}, ValueError, "the prior has a dimension 'observation'"),
    ({"prior": with_dim("level"), "o": [0.0, 0.0]}, ValueError, "the prior has a dimension 'level'"),
    ({"prior": two_variables(), "o": 1.0}, TypeError, "o is float, but the prior has 2 variables; write a mapping"),
    ({"prior": two_variables(), "o": {"a": 1.0}}, ValueError, r"o has no \['b'\]; write one entry per free variable"),
    ({"prior": two_variables(), "o": {"a": 1.0, "b": [1.0, 2.0], "c": 0}}, ValueError, r"o has unknown names \['c'\]"),
    ({"prior": two_variables(), "o": {"a": [1.0], "b": [1.0, 2.0]}}, ValueError, "different batch lengths"),
    ({"o": [[1.0]]}, ValueError, r"o of 'x' has shape \(1, 1\)"),
    ({"o": []}, ValueError, "o is an empty batch"),
    ({"o": "five"}, TypeError, "o must hold real numbers"),
    ({"o": np.nan}, ValueError, "o is nan at 'x'; write a finite number"),
    ({"o": [np.nan, np.nan]}, ValueError, "none of the 2 observations is finite"),
    ({"sigma": 0}, ValueError, r"sigma is 0\.0; write a finite number > 0"),
    ({"sigma": -1}, ValueError, r"sigma is -1\.0"),
    ({"sigma": np.nan}, ValueError, "sigma is nan"),
    ({"o": [1.0, 2.0], "sigma": [1.0, 0.0]}, ValueError, r"sigma is 0\.0 at observation 1"),
    ({"sigma": [1.0, 2.0]}, ValueError, r"sigma has shape \(2,\); write one number"),
    ({"alpha": 0}, ValueError, r"alpha is 0\.0; write a finite number other than 0"),
    ({"alpha": np.inf}, ValueError, "alpha is inf"),
    ({"random_seed": 1.5}, TypeError, r"random_seed is 1\.5"),
    ({"prior": impossible()}, ValueError, "the prior's log density is not finite at any of"),
]


@pytest.mark.parametrize("invert", [bd.find_map, bd.sample_posterior])
@pytest.mark.parametrize(("kwargs", "error", "message"), BAD)
def test_bad_input(gaussian, invert, kwargs, error, message):
    with pytest.raises(error, match=message):
        invert(**({"prior": gaussian, "o": 1.0, "progressbar": False} | kwargs))


@pytest.mark.parametrize("name", ["draws", "tune", "chains"])
def test_bad_counts(gaussian, name):
    with pytest.raises(ValueError, match=f"{name} is 0; write an int >= 1"):
        bd.sample_posterior(gaussian, 1.0, **{name: 0})
    with pytest.raises(TypeError, match=rf"{name} is 2\.5; write an int >= 1"):
        bd.sample_posterior(gaussian, 1.0, **{name: 2.5})


def test_a_single_chain_and_a_single_draw(gaussian):
    tree = bd.sample_posterior(gaussian, [1.0, 2.0], sigma=10, draws=1, tune=5, chains=1, random_seed=1, **QUIET)
    assert isinstance(tree, xr.DataTree)
    assert tree["posterior"]["x"].shape == (1, 1, 2)
    assert np.isnan(tree["diagnostics"]["x"]).all()


def test_a_kink_is_a_maximum():
    """Soft thresholds. Warnings are errors: at a kink there is nothing to warn of."""
    with pm.Model() as prior:
        pm.Laplace("x", 0, 1)
    o, sigma = np.linspace(-6, 6, 41), 1.5
    run = bd.find_map(prior, o, sigma=sigma, random_seed=0, progressbar=False)
    at = np.sign(o) * np.maximum(np.abs(o) - sigma**2, 0)
    np.testing.assert_allclose(run["posterior"]["x"].values[0, 0], at, atol=1e-9)
    stats = run["sample_stats"].to_dataset()
    assert stats["converged"].values.all()
    np.testing.assert_array_equal(stats["starts_agreed"], stats["starts"])
    sd = run["laplace"].to_dataset()["x"].values.ravel()
    np.testing.assert_allclose(sd, np.where(at == 0, np.nan, sigma), rtol=1e-9)


def test_a_map_on_an_edge_is_flagged():
    prior = bd.density(lambda x: pt.switch(pt.gt(x[0], 1), -0.5 * x[0] ** 2, -np.inf), shape=1)
    with pytest.warns(
        UserWarning, match=r"The MAP of 1 of 2 observations lies on an edge: index 0\. p\(x \| o\) is 0 next"
    ):
        run = bd.find_map(prior, [[0.5], [5.0]], sigma=1.0, random_seed=0, progressbar=False)
    np.testing.assert_allclose(run["unconstrained_posterior"].to_dataset().to_dataarray().values.ravel(), [1.0, 2.5])
    assert run["sample_stats"]["converged"].values.ravel().tolist() == [False, True]
