"""The four families: their closed forms, flows and bounds against exact answers, and a tiny run from end to end."""

import re
import sys
import types
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact import mixture as exact_mixture
from exact import mixture_moments, mixture_posterior
from scipy.special import logsumexp

import bayesdiff as bd
from reports import families
from reports.families import Points, by_means, chain_bound, from_latent, ring, score, to_latent

PAGE = Path(families.__file__).with_suffix(".qmd")
TRUTH = ring()


@pytest.fixture
def double():
    """Networks in double precision: their algebra is tested, not their rounding."""
    with jax.enable_x64(True):
        yield


def shaken(params, scale=0.7, seed=0):
    """Weights far from those that training starts with."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + scale * rng.normal(size=leaf.shape), jnp.float64), params)


@pytest.fixture
def bent(double):
    return shaken(families.flow(jax.random.key(1)), 0.04)


def plane(half=8.0, n=401):
    """A grid of points (n^2, 2), and the area of a cell."""
    line = np.linspace(-half, half, n)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), (line[1] - line[0]) ** 2


# ---------------------------------------------------------------------------------------------------------- the truth


def test_the_truth_and_its_denoiser_are_the_exact_ones():
    mix = exact_mixture(TRUTH.weights, TRUTH.means, TRUTH.sd**2)
    o = TRUTH.draws(6, np.random.default_rng(1)) * 1.3
    for sigma in (0.1, 1.0, 20.0):
        want = [mixture_moments(mixture_posterior(mix, each, 1.0, sigma)[0])[0] for each in o]
        np.testing.assert_allclose(TRUTH.mean(o, sigma), want, atol=1e-10)
    x, area = plane(6.0, 601)
    assert np.exp(TRUTH.logp(x)).sum() * area == pytest.approx(1, abs=1e-6)


def test_scores_see_what_they_are_for():
    rng = np.random.default_rng(2)
    x = TRUTH.draws(4000, rng)
    apart, shares, between, width = score(TRUTH, x, rng)
    assert apart < 0.4
    assert shares < 0.05
    assert between < 0.003  # exp(-8), by chance
    assert width == pytest.approx(1, abs=0.05)
    lost = x[TRUTH.nearest(x)[0] != 0]
    assert score(TRUTH, lost, rng)[1] == pytest.approx(TRUTH.weights[0], abs=0.04)
    assert score(TRUTH, 0.5 * (x + x[::-1]), rng)[2] > 0.5  # half way between two points
    assert score(TRUTH, TRUTH.means[TRUTH.nearest(x)[0]], rng)[3] == 0


# ----------------------------------------------------------------------------------------------------------- the flow


def test_the_flow_inverts(bent):
    x = jnp.asarray(np.random.default_rng(3).normal(size=(500, 2)) * 2.5)
    z, _ = to_latent(bent, x)
    assert np.abs(z - x).max() > 0.5  # it does something
    np.testing.assert_allclose(from_latent(bent, z), x, atol=1e-5)
    np.testing.assert_allclose(to_latent(bent, from_latent(bent, x))[0], x, atol=1e-5)


def test_the_flows_log_det_is_that_of_its_jacobian(bent):
    x = jnp.asarray(np.random.default_rng(4).normal(size=(50, 2)) * 2.5)
    jacobian = jax.vmap(jax.jacfwd(lambda point: to_latent(bent, point)[0]))(x)
    np.testing.assert_allclose(to_latent(bent, x)[1], np.linalg.slogdet(jacobian)[1], atol=1e-8)


def test_the_flows_density_integrates_to_one(bent):
    x, area = plane()
    x = jnp.asarray(x)
    assert np.exp(families.flow_logp(bent, x)).sum() * area == pytest.approx(1, abs=2e-3)
    z, _ = to_latent(bent, x)
    without = np.exp(-0.5 * (z**2).sum(-1)).sum() * area / (2 * np.pi)
    assert abs(without - 1) > 0.01  # a density without the Jacobian is none


@pytest.mark.parametrize("loss", ["flow", "vae", "denoiser"])
def test_networks_stay_in_single_precision(double, loss):
    """Where double precision is switched on, as bayesdiff does: one number of numpy would turn all into doubles."""
    params = getattr(families, loss)(jax.random.key(2))
    x = jnp.asarray(np.random.default_rng(5).normal(size=(500, 2)), jnp.float32)
    assert getattr(families, f"{loss}_loss")(params, x, jax.random.key(0)).dtype == jnp.float32
    if loss == "flow":
        z, log_det = to_latent(params, x)
        assert z.dtype == log_det.dtype == jnp.float32
        np.testing.assert_allclose(from_latent(params, z), x, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ the VAE


def test_elbo_is_below_importance_is_below_the_likelihood(double):
    """z has two dimensions, so the likelihood is a sum over a grid."""
    params = shaken(families.vae(jax.random.key(0)), 0.05) | {"log s": jnp.asarray(-0.5)}
    x = jnp.asarray(np.random.default_rng(6).normal(size=(8, 2)))
    z, area = plane(7.0, 281)
    log_joint = families.decoder_logp(params, x[:, None], jnp.asarray(z)) - 0.5 * (z**2).sum(-1) - np.log(2 * np.pi)
    true = logsumexp(np.asarray(log_joint), axis=1) + np.log(area)
    low = np.asarray(families.mean_elbo(params, x, jax.random.key(1), draws=4000))
    near = np.asarray(families.importance(params, x, jax.random.key(2), draws=20_000))
    assert (low < true - 0.01).all()
    np.testing.assert_allclose(near, true, atol=0.05)
    assert (near > low).all()


def test_elbo_is_the_likelihood_where_the_encoder_is_the_inversion(double):
    """g(z) = z is linear: q(z | x) = N(x / (1 + s^2), s^2 / (1 + s^2) I) inverts it exactly."""
    s2 = 0.49
    eye, zero = jnp.eye(2), jnp.zeros(2)
    half_log_v = 0.5 * np.log(s2 / (1 + s2))
    exact = [(jnp.concatenate([eye / (1 + s2), 0 * eye], axis=1), jnp.concatenate([zero, zero + half_log_v]))]
    params = {"encoder": exact, "decoder": [(eye, zero)], "log s": jnp.asarray(0.5 * np.log(s2))}
    x = jnp.asarray([[0.3, -1.0], [2.0, 0.5]])
    true = -0.5 * (x**2).sum(-1) / (1 + s2) - np.log(2 * np.pi * (1 + s2))
    np.testing.assert_allclose(families.importance(params, x, jax.random.key(0), draws=16), true, atol=1e-12)
    np.testing.assert_allclose(families.mean_elbo(params, x, jax.random.key(0), draws=20_000), true, atol=0.03)
    wrong = params | {"encoder": [(exact[0][0], exact[0][1] + 0.3)]}
    assert (np.asarray(families.mean_elbo(wrong, x, jax.random.key(0), draws=20_000)) < true - 0.05).all()


# ---------------------------------------------------------------------------------------------------------- diffusion


def test_an_exact_denoiser_gives_the_truth():
    rng = np.random.default_rng(7)
    points = Points(TRUTH.draws(2000, rng))
    right, _, evaluations = by_means(TRUTH.mean, points, 0).sample(2000, 1)
    apart, shares, between, width = score(TRUTH, right, rng)
    assert apart < 0.4  # exact samples of this size: .2, seldom .35
    assert shares < 0.06
    assert between < 0.005
    assert 0.9 < width < 1.05
    assert evaluations == families.LEVELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the chain may see that this mean is wrong, and need not
        wrong, *_ = by_means(lambda o, sigma: TRUTH.mean(o, 3 * sigma), points, 0).sample(2000, 1)
    assert score(TRUTH, wrong, rng)[0] > 2 * apart


def test_the_chains_bound_is_below_the_likelihood_and_comes_nearer_with_levels():
    rng = np.random.default_rng(8)
    train, x = TRUTH.draws(1000, rng), TRUTH.draws(1000, rng)
    gaps = []
    for levels in (32, 128, 512):
        bound = chain_bound(TRUTH.mean, bd.geometric(levels, *families.NOISE), x, train, rng)
        gaps.append((TRUTH.logp(x) - bound).mean())
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.15
    worse = chain_bound(lambda o, s: 0.9 * TRUTH.mean(o, s), bd.geometric(128, *families.NOISE), x, train, rng)
    assert (TRUTH.logp(x) - worse).mean() > 2 * gaps[1]


def test_a_network_that_says_nothing_is_the_mean_of_a_gaussian():
    params = jax.tree.map(jnp.zeros_like, families.denoiser(jax.random.key(0)))
    o = jnp.asarray([[1.0, -2.0], [0.5, 3.0]], jnp.float32)
    sigma = jnp.asarray([0.5, 2.0], jnp.float32)
    np.testing.assert_allclose(families.denoised(params, o, sigma), o / (1 + sigma[:, None] ** 2), rtol=1e-6)


# --------------------------------------------------------------------------------------------------------- end to end


def cells(page):
    """The Python cells of a page, and the expressions in its text."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{python\}\n(.*?)^```", text, flags=re.M | re.S)
    outside = re.sub(r"^```\{python\}\n.*?^```", "", text, flags=re.M | re.S)
    return blocks, re.findall(r"`\{python\}\s+([^`]+)`", outside)


def options(block):
    return dict(re.findall(r"^#\| ([\w-]+): (.*)$", block, flags=re.M))


def test_the_page_has_what_a_page_needs():
    text = PAGE.read_text(encoding="utf-8")
    blocks, _ = cells(PAGE)
    labels = [options(block).get("label") for block in blocks]
    assert len(set(labels)) == len(labels)
    for block in blocks:
        of = options(block)
        if of["label"].startswith("fig-"):
            assert of["fig-cap"]
            assert of["fig-alt"]
        if of["label"].startswith("tbl-"):
            assert of["tbl-cap"]
    known = {*labels, *re.findall(r"\{#((?:sec|eq|tbl)-[\w-]+)\}", text)}
    assert set(re.findall(r"(?<![\w.])@((?:fig|tbl|eq|sec)-[\w-]+)", text)) <= known


@pytest.mark.slow
def test_a_quick_run_and_its_page(tmp_path, monkeypatch):
    said = []
    few = dict.fromkeys(families.STEPS, 60)
    run = families.study(
        tmp_path / "families.zarr", points=256, replicates=2, steps=few, exact_samples=5, say=said.append
    )
    assert len(said) == 2 * len(families.FAMILIES)
    scores = run["scores"].to_dataset()
    known = scores.scores.sel(score=["sliced W2", "mode shares", "between"])
    assert np.isfinite(known).all()
    exact = known.sel(family="diffusion, exact draws", score="between")
    assert (exact < 0.03).all()
    assert (known.sel(family=["GAN", "VAE"], score="between") > 0.03).all()  # after 60 steps
    assert (scores.bounds.sel(bound="ELBO gap") < 0).all()
    assert scores.scores.sel(family="GAN", score="log likelihood").isnull().all()
    assert (run["denoiser"]["mse"] > 0).all()

    # A kernel has IPython, this environment need not.
    display = types.SimpleNamespace(Markdown=str)
    monkeypatch.setitem(
        sys.modules, "IPython", types.SimpleNamespace(display=display, get_ipython=lambda: None, version_info=(9, 0))
    )
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    blocks, expressions = cells(PAGE)
    space = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), space)
    for expression in expressions:
        text = str(eval(expression, space))
        assert text
        assert "nan" not in text
