"""The priors in models/: each density against the formula in its docstring, each exact() against another route."""

import csv
import itertools
import sys
from pathlib import Path

import exact
import numpy as np
import pymc as pm
import pytest
from pymc.model.fgraph import clone_model
from scipy import stats
from test_step import PYTHON

import bayesdiff as bd
from models import (
    eight_gaussians,
    eight_schools,
    forty_gaussians,
    funnel,
    gaussian,
    label_switching,
    linear_inverse,
    logistic,
    mixture,
    rings,
    sensor_localization,
    two_modes,
)

MODELS = [
    gaussian,
    mixture,
    eight_schools,
    rings,
    linear_inverse,
    two_modes,
    eight_gaussians,
    forty_gaussians,
    funnel,
    label_switching,
    sensor_localization,
    logistic,
]
NAMES = [module.__name__.split(".")[-1] for module in MODELS]
STEPS = [(1.0, 1.0), (1.0, 10.0), (0.6, 0.5)]


@pytest.mark.parametrize("module", MODELS, ids=NAMES)
def test_every_prior_is_a_new_model_that_starts_somewhere(module):
    model = module.prior()
    assert isinstance(model, pm.Model)
    assert model is not module.prior()
    logp = model.compile_logp(mode=PYTHON)(model.initial_point())
    assert np.isfinite(logp)
    assert np.isfinite(model.compile_dlogp(mode=PYTHON)(model.initial_point())).all()
    assert "=" in module.__doc__ or "~" in module.__doc__
    copy = clone_model(model)
    assert copy.compile_logp(mode=PYTHON)(copy.initial_point()) == model.compile_logp(mode=PYTHON)(
        model.initial_point()
    )


def test_gaussian_is_the_article():
    assert gaussian.prior().compile_logp(mode=PYTHON)({"x": 0.7}) == pytest.approx(stats.norm.logpdf(0.7), rel=1e-12)
    with open(Path(__file__).parent / "article_r.csv", newline="") as file:
        rows = [(float(row["o"]), float(row["map"])) for row in csv.DictReader(file)]
    o, r = np.array(rows).T
    assert len(o) == 100
    answer = gaussian.exact(o, sigma=10.0)
    assert np.abs(answer["mean"] - r).max() < 4e-5  # R's optimize stops there
    np.testing.assert_allclose(answer["mean"], o / 101, rtol=1e-14)


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
def test_gaussian_exact(alpha, sigma):
    got = gaussian.exact(1.7, alpha, sigma)
    want = exact.gaussian_step(1.7, alpha, sigma)
    np.testing.assert_allclose([got["mean"], got["variance"], got["log_evidence"]], want, rtol=1e-13)


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
def test_mixture_exact(alpha, sigma):
    mix = exact.mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES)
    o = np.array([-20.0, -1.0, 0.3, 2.0, 11.0])
    got = mixture.exact(o, alpha, sigma)
    for i in range(len(o)):
        posterior, log_evidence = exact.mixture_posterior(mix, [o[i]], alpha, sigma)
        mean, variance = exact.mixture_moments(posterior)
        np.testing.assert_allclose(got["shares"][i], posterior.weights, rtol=1e-10)
        np.testing.assert_allclose(got["means"][i], posterior.means[:, 0], rtol=1e-10)
        np.testing.assert_allclose(got["variances"][i], posterior.covariances[:, 0, 0], rtol=1e-10)
        np.testing.assert_allclose([got["mean"][i], got["variance"][i]], [mean[0], variance[0, 0]], rtol=1e-9)
        assert got["log_evidence"][i] == pytest.approx(log_evidence, rel=1e-12)


def test_mixture_map_and_posterior_differ_as_its_docstring_says():
    mix = exact.mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES)
    heights = np.exp(exact.mixture_log_density(mix, np.array([[2.0], [-2.0]])))
    assert heights[0] / heights[1] == pytest.approx(1.7, abs=0.05)
    switch = [exact.mixture_mode(exact.mixture_posterior(mix, [o], 1.0, 10.0)[0])[0][0] for o in (-14.5, -12.5)]
    assert switch[0] < 0 < switch[1]

    rng = np.random.default_rng(0)
    x = exact.mixture_draws(mix, 300, rng)[:, 0]
    o = x + 10 * rng.standard_normal(300)
    modes = np.array([exact.mixture_mode(exact.mixture_posterior(mix, [each], 1.0, 10.0)[0])[0][0] for each in o])
    shares = mixture.exact(o, 1.0, 10.0)["shares"][:, 1]
    assert np.mean(modes > 0) > 0.8  # the mode with three of ten x
    assert abs(shares.mean() - 0.3) < 4 * shares.std() / np.sqrt(300)


def ring_log_density(x):
    radius = np.linalg.norm(x, axis=-1)
    return np.logaddexp.reduce([-0.5 * ((radius - r) / rings.WIDTH) ** 2 for r in rings.RADII])


def test_rings_log_density_and_gradient():
    model = rings.prior()
    logp, gradient = model.compile_logp(mode=PYTHON), model.compile_dlogp(mode=PYTHON)
    rng = np.random.default_rng(0)
    for x in rng.normal(size=(5, 2)) * 4:
        assert logp({"x": x}) == pytest.approx(ring_log_density(x), rel=1e-9)
        numeric = [(ring_log_density(x + h) - ring_log_density(x - h)) / 2e-6 for h in 1e-6 * np.eye(2)]
        np.testing.assert_allclose(gradient({"x": x}), numeric, rtol=1e-4, atol=1e-5)
    for x in ([0.0, 0.0], [1e3, -1e3]):
        assert np.isfinite(gradient({"x": np.array(x)})).all()


@pytest.mark.parametrize(
    ("o", "alpha", "sigma"), [((2.0, 1.0), 1.0, 1.0), ((0.0, 0.0), 1.0, 3.0), ((4.0, -3.0), 0.7, 4.0)]
)
def test_rings_exact(o, alpha, sigma):
    got = rings.exact(o, alpha, sigma)
    mean, _, _, log_evidence, (x, p) = exact.grid_2d(ring_log_density, np.array(o), alpha, sigma, -8.0, 8.0, 641)
    radius = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(got["mean"], mean, atol=1e-4)
    assert got["radius"] == pytest.approx(p @ radius, abs=1e-4)
    assert got["shares"][0] == pytest.approx(p @ (radius < 3.5), abs=1e-4)
    assert got["shares"].sum() == pytest.approx(1, rel=1e-12)
    assert got["log_evidence"] == pytest.approx(log_evidence, abs=1e-4)


def test_linear_inverse_log_density():
    module, x = linear_inverse, np.sin(np.arange(24.0))
    want = stats.multivariate_normal(np.zeros(24), module.COVARIANCE).logpdf(x)
    want += stats.norm.logpdf(module.Y, module.BLUR @ x, module.NOISE).sum()
    assert module.prior().compile_logp(mode=PYTHON)({"x": x}) == pytest.approx(want, rel=1e-8)
    assert module.prior().named_vars_to_dims["x"] == ("time",)
    assert module.BLUR[:, module.SEEN :].sum() == 0  # the rest is never seen


@pytest.mark.parametrize(("alpha", "sigma"), STEPS)
@pytest.mark.parametrize("given", [False, True])
def test_linear_inverse_exact(given, alpha, sigma):
    module, o = linear_inverse, np.cos(np.arange(24.0)) if given else None
    got = module.exact(o, alpha, sigma)
    mean, covariance, _ = exact.linear_gaussian(
        module.BLUR, module.Y, module.NOISE**2, np.zeros(24), module.COVARIANCE, o, alpha, sigma
    )
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(got["covariance"], covariance, rtol=1e-6, atol=1e-8)


def test_linear_inverse_data_fit_the_signal_they_were_made_from():
    module = linear_inverse
    gap = (module.Y - module.BLUR @ module.SIGNAL) / module.NOISE
    assert stats.chi2(8).cdf(gap @ gap) < 0.999
    answer = module.exact()
    sd = np.sqrt(answer["covariance"].diagonal())
    assert sd[: module.SEEN].max() < 0.5 < sd[-1]  # known where it was seen, not where it was not
    assert np.abs((answer["mean"] - module.SIGNAL) / sd).max() < 4


def school_o():
    return {"mu": 3.0, "tau": 1.0, "z": np.linspace(-1.5, 1.5, 8)}


def test_eight_schools_log_density():
    module, rng = eight_schools, np.random.default_rng(0)
    mu, log_tau, z = 3.0, 0.8, rng.normal(size=8)
    want = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(np.exp(log_tau), scale=5) + log_tau
    want += stats.norm.logpdf(z).sum() + stats.norm.logpdf(module.Y, mu + np.exp(log_tau) * z, module.SE).sum()
    model = module.prior()
    point = {"mu": mu, "tau_log__": log_tau, "z": z}
    # PyTensor keeps a Python 5.0 as float32, and its logarithm: 3e-8 in each normalising constant.
    assert model.compile_logp(mode=PYTHON)(point) == pytest.approx(want, abs=2e-7)
    assert model.named_vars_to_dims["theta"] == ("school",)


@pytest.mark.parametrize("step", [None, (1.0, 1.5), (0.7, 5.0)])
def test_eight_schools_exact_is_what_weighted_prior_draws_give(step):
    module, rng, size = eight_schools, np.random.default_rng(1), 400_000
    alpha, sigma = step or (1.0, 1.0)
    o = school_o() if step else None
    mu, tau = rng.normal(0, 5, size), np.abs(5 * rng.standard_cauchy(size))
    log_tau, z = np.log(tau), rng.normal(size=(size, 8))
    theta = mu[:, None] + tau[:, None] * z
    log_w = stats.norm.logpdf(module.Y, theta, module.SE).sum(axis=1)
    log_y = np.log(np.mean(np.exp(log_w)))
    if o is not None:
        log_w = (
            log_w + stats.norm.logpdf(o["mu"], alpha * mu, sigma) + stats.norm.logpdf(o["tau"], alpha * log_tau, sigma)
        )
        log_w = log_w + stats.norm.logpdf(o["z"], alpha * z, sigma).sum(axis=1)
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    assert 1 / np.sum(w**2) > 300  # enough effective draws for the errors to mean something
    got = module.exact(o, alpha, sigma)
    for name, draws in {"mu": mu[:, None], "log_tau": log_tau[:, None], "z": z, "theta": theta}.items():
        mean, variance = np.atleast_1d(got[name]["mean"]), np.atleast_1d(got[name]["variance"])
        error = np.sqrt(w**2 @ (draws - mean) ** 2)
        assert (np.abs(w @ draws - mean) < 4.5 * error).all(), name
        square = (draws - mean) ** 2
        error = np.sqrt(w**2 @ (square - variance) ** 2)
        assert (np.abs(w @ square - variance) < 4.5 * error).all(), name
    log_evidence = np.log(np.mean(np.exp(log_w))) - log_y
    assert got["log_evidence"] == pytest.approx(log_evidence, abs=4.5 * np.sqrt(np.sum(w**2)) + 1e-9)


MIXTURES = {
    two_modes: ([2 / 3, 1 / 3], [-np.ones(16), np.ones(16)], 0.05),
    eight_gaussians: (
        np.full(8, 1 / 8),
        [[10 * np.sin(k * np.pi / 4), 10 * np.cos(k * np.pi / 4)] for k in range(8)],
        0.7,
    ),
    forty_gaussians: (np.full(40, 1 / 40), forty_gaussians.MEANS, 1.3132616875182228**2),
}


@pytest.mark.parametrize("module", MIXTURES, ids=lambda module: module.__name__.split(".")[-1])
def test_gaussians_exact_and_log_density(module):
    mix = exact.mixture(*MIXTURES[module])
    got = module.exact()
    mean, covariance = exact.mixture_moments(mix)
    np.testing.assert_allclose(got["shares"], mix.weights, rtol=1e-12)
    np.testing.assert_allclose(got["means"], mix.means, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["variance"], covariance.diagonal(), rtol=1e-12)
    assert got["log_evidence"] == 0
    logp = module.prior().compile_logp(mode=PYTHON)
    for x in np.random.default_rng(0).normal(size=(5, len(mean))) * np.sqrt(covariance.diagonal()):
        assert logp({"x": x}) == pytest.approx(exact.mixture_log_density(mix, x), rel=1e-9)


def test_two_modes_in_any_dimension():
    assert two_modes.prior(n=3).initial_point()["x"].shape == (3,)
    assert two_modes.exact(n=3)["mean"] == pytest.approx(np.full(3, -1 / 3))
    apart = np.linalg.norm(np.diff(two_modes.exact()["means"], axis=0)) / np.sqrt(two_modes.VARIANCE)
    assert apart == pytest.approx(36, abs=0.5)


def test_forty_gaussians_lie_in_their_square_as_far_apart_as_its_docstring_says():
    gap = np.linalg.norm(forty_gaussians.MEANS[:, None] - forty_gaussians.MEANS, axis=-1) / forty_gaussians.SD
    nearest = np.where(gap > 0, gap, np.inf).min(axis=1)
    assert np.abs(forty_gaussians.MEANS).max() < 40
    assert nearest.min() < 2
    assert nearest.max() == pytest.approx(12, abs=0.5)


def test_funnel_log_density_and_exact():
    model, got = funnel.prior(), funnel.exact()
    v, x = 1.3, np.linspace(-3, 3, 9)
    want = stats.norm.logpdf(v, 0, 3) + stats.norm.logpdf(x, 0, np.exp(v / 2)).sum()
    assert model.compile_logp(mode=PYTHON)({"v": v, "x": x}) == pytest.approx(want, abs=1e-6)
    grid = np.linspace(-40, 60, 100_001)
    density = stats.norm.pdf(grid, 0, 3) * (grid[1] - grid[0])
    np.testing.assert_allclose(got["x"]["variance"], np.sum(density * np.exp(grid)), rtol=1e-9)
    assert got["v"]["variance"] == pytest.approx(np.sum(density * grid**2), rel=1e-9)
    assert np.log(density.sum()) == pytest.approx(got["log_evidence"], abs=1e-9)
    assert (
        np.abs(model.compile_dlogp(mode=PYTHON)({"v": -40.5, "x": np.zeros(9)})).max() < 1e-5
    )  # the mode, in the neck


def test_label_switching_has_its_six_modes_alike():
    module, rng = label_switching, np.random.default_rng(0)
    model = module.prior()
    logp = model.compile_logp(jacobian=False, mode=PYTHON)
    log_w, mu, sd = rng.normal(size=3) / 2, np.array([-4.0, 0.5, 4.0]), np.array([1.2, 0.4, 0.9])
    w = np.exp(log_w) / np.exp(log_w).sum()
    want = stats.dirichlet.logpdf(w, np.ones(3)) + stats.norm.logpdf(mu, 0, 5).sum()
    want += stats.halfnorm.logpdf(sd, scale=2).sum()
    want += np.log((w * stats.norm.pdf(module.Y[:, None], mu, sd)).sum(axis=1)).sum()
    to_unconstrained = model.rvs_to_transforms[model["w"]].forward
    for order in map(list, itertools.permutations(range(3))):
        point = {"w_simplex__": to_unconstrained(w[order]).eval(), "mu": mu[order], "sd_log__": np.log(sd[order])}
        assert logp(point) == pytest.approx(want, rel=1e-6)
    assert module.exact()["shares"].sum() == pytest.approx(1)


def test_sensor_localization_log_density():
    module, rng = sensor_localization, np.random.default_rng(0)
    model = module.prior()
    logp = model.compile_logp(jacobian=False, mode=PYTHON)
    truth = module.PLACES[:8]
    for x in (truth, rng.uniform(size=(8, 2))):
        everywhere, want, data = np.concatenate([x, module.PLACES[8:]]), 0.0, iter(module.DISTANCE)
        pairs = [(i, j) for i in range(11) for j in range(i + 1, 11) if i < 8]
        for (i, j), seen in zip(pairs, module.SEEN, strict=True):
            apart = np.linalg.norm(everywhere[i] - everywhere[j])
            often = np.exp(-(apart**2) / (2 * 0.3**2))
            want += np.log(often if seen else 1 - often)
            want += stats.norm.logpdf(next(data), apart, 0.02) if seen else 0.0
        assert logp({"x_interval__": np.log(x) - np.log1p(-x)}) == pytest.approx(want, rel=1e-6)
        assert next(data, None) is None
    gap = (module.DISTANCE - module.TRUE[module.SEEN == 1]) / 0.02
    assert 0.001 < stats.chi2(len(gap)).cdf(gap @ gap) < 0.999


def test_logistic_log_density():
    from sklearn.datasets import load_breast_cancer

    model, rng = logistic.prior(), np.random.default_rng(0)
    data = load_breast_cancer()
    z = stats.zscore(data.data)
    b0, b = 0.3, rng.normal(size=30) / 4
    eta = (b0 + z @ b) * np.where(data.target == 0, 1, -1)  # 0 is malignant
    want = stats.norm.logpdf(b0, 0, 10) + stats.norm.logpdf(b).sum() - np.logaddexp(0, -eta).sum()
    assert model.compile_logp(mode=PYTHON)({"intercept": b0, "b": b}) == pytest.approx(want, rel=1e-6)
    assert model.named_vars_to_dims["b"] == ("feature",)


def test_logistic_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        logistic.prior()


@pytest.mark.slow  # a minute and a half
@pytest.mark.parametrize(
    "module",
    [two_modes, eight_gaussians, label_switching, funnel],
    ids=lambda module: module.__name__.split(".")[-1],
)
def test_sample_gives_the_exact_answers(module):
    got, run = module.exact(), bd.sample(module.prior(), random_seed=1, progressbar=False)
    if "shares" in got:
        modes = run["modes"]
        assert modes.sizes["mode"] == len(got["shares"])
        error = (modes["weight"] - np.sort(got["shares"])[::-1]) / modes["weight_se"]
        assert np.abs(error).max() < 4.5
    if "log_evidence" in got:
        found = run["log_evidence"]
        assert abs(found["log_evidence"].item()) < 4.5 * found["log_evidence_se"].item() + 0.005
    if "v" in got:
        v = run["posterior"]["v"]
        ess = run["diagnostics"]["v"].sel(diagnostic="ess_bulk").item()
        assert abs(v.mean().item()) < 4.5 * 3 / np.sqrt(ess)
        assert v.std().item() == pytest.approx(3, rel=4.5 / np.sqrt(ess))
