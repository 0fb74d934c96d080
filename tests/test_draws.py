"""What is taken for a draw of p0 is one: it has the law that the density says, or it is not taken."""

import re

import exact
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.distributions import transforms
from pymc.distributions.transforms import Interval, ZeroSumTransform, ordered

import bayesdiff as bd

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")


def model(make):
    with pm.Model() as prior:
        make()
    return prior


def projected():
    pm.Normal("x", 0, pm.Gamma("s", 3, 1), shape=4, transform=ZeroSumTransform([0]))


def three():
    pm.Normal("x", [0.0, 4.0, 0.0], [1.0, 0.2, 2.0], transform=ZeroSumTransform([0]))


def custom():
    """Its `random` is another law than its `logp`, and leaves the support."""
    pm.CustomDist(
        "x",
        logp=lambda x: pt.switch((x > 0) & (x < 1), 0.0, -np.inf),
        random=lambda rng=None, size=None: rng.normal(size=size),
        initval=0.5,
        shape=(),
    )


CHANGED = r"of (\d+|\d+,\d+) draws \1 come back changed from the transform of 'x', "
EDGE = r"of 16,384 draws [\d,]+ are lost at the edge of '{}': they are rounded to it or overflow, "

NOT_DRAWN = {
    "projected": (projected, CHANGED),
    "projected, dependent": (
        lambda: pm.MvNormal("x", np.zeros(3), np.diag([1.0, 2.0, 3.0]), transform=ZeroSumTransform([0])),
        CHANGED,
    ),
    "projected, of a tiny scale": (lambda: pm.Normal("x", 0, 1e-10, shape=4, transform=ZeroSumTransform([0])), CHANGED),
    "rounded to 1": (lambda: pm.Beta("x", 0.08, 0.08), EDGE.format("x")),
    "rounded to 0": (lambda: pm.Gamma("x", 0.002, 0.002), EDGE.format("x")),
    "infinite": (lambda: pm.InverseGamma("x", 0.002, 1), EDGE.format("x")),
    "rounded to both ends": (lambda: pm.LogNormal("x", 0, 400), EDGE.format("x")),
    "infinity less infinity": (lambda: pm.Dirichlet("x", np.full(3, 0.01)), EDGE.format("x")),
    "too near to its bound": (lambda: pm.Pareto("x", 1e13, 1), EDGE.format("x")),
    "one of several": (lambda: (pm.Normal("y", shape=2), pm.Weibull("w", 0.002, 1)), EDGE.format("w")),
    "density 0": (custom, r"of 16,384 draws [\d,]+ lie where its density is 0, infinite or no number: "),
    "no transform": (
        lambda: pm.LogitNormal("x", 0, 20),
        r"of 16,384 draws [\d,]+ (lie where|have the same value of x)",
    ),
    "atoms": (
        lambda: pm.Censored("x", pm.Normal.dist(), lower=-1, upper=1),
        r"of 16,384 draws 2,\d{3} have the same value of x, which its density gives no mass to",
    ),
    "an infinite range": (lambda: pm.Uniform("x", 0, pm.LogNormal("b", 0, 400)), "a distribution has no random draws"),
}


@pytest.mark.parametrize("name", NOT_DRAWN)
def test_forward_draws_that_are_no_draws_of_the_density(name):
    make, why = NOT_DRAWN[name]
    prior = bd.compile_prior(model(make))
    assert re.match(why, prior.why_not_drawable())
    assert prior.draws(100, 1) is None
    assert not prior.draws_at_once


DRAWN = {
    "sums of zero": (lambda: pm.ZeroSumNormal("x", pm.Gamma("s", 3, 1), shape=4), 1),
    "sums of zero, tiny": (lambda: pm.ZeroSumNormal("x", 1e-10, shape=(3, 4), n_zerosum_axes=2), 1),
    "ordered": (lambda: pm.Normal("x", shape=5, transform=ordered, initval=np.arange(5.0)), 1 / 120),
    "a simplex in order": (lambda: pm.Dirichlet("x", np.ones(3), transform=ordered, initval=[0.1, 0.3, 0.6]), 1 / 2),
    "a half, of a tiny scale": (lambda: pm.Normal("x", 0, 1e-8, transform=transforms.log, initval=1e-9), 1 / 2),
    "an interval": (lambda: pm.Normal("x", 0, 1, transform=Interval(0, 1), initval=0.5), 0.3413),
    "heavy tails": (lambda: pm.HalfCauchy("x", 1e30), 1),
    "a simplex": (lambda: pm.Dirichlet("x", np.ones(3)), 1),
    "a bound that depends": (lambda: pm.Uniform("x", 0, pm.HalfNormal("b")), 1),
    "a circle cut open": (lambda: pm.VonMises("x", 0, 0.1, default_transform=Interval(-np.pi, np.pi)), 1),
    "truncated": (lambda: pm.TruncatedNormal("x", 0, 1, lower=2), 1),
    "correlations": (lambda: pm.LKJCorr("x", eta=2, n=2), 1),
    "far from 0, on a grid": (lambda: pm.Normal("x", 1e6, 1e-6), 1),
    "single precision": (lambda: pm.Gamma("x", 2, 1, dtype="float32"), 1),
}


@pytest.mark.parametrize("name", DRAWN)
def test_draws_of_the_density_stay(name):
    """However many of them a transform leaves out: what lies outside is no part of p0."""
    make, share = DRAWN[name]
    prior = bd.compile_prior(model(make))
    assert prior.why_not_drawable() == ""
    count = 500 if not prior.draws_at_once else 4000
    x = prior.draws(count, 1)
    assert abs(len(x) - share * count) <= 4 * np.sqrt(count * share * (1 - share))
    np.testing.assert_array_equal(x, prior.draws(count, 1))


def test_whether_draws_are_lost_is_asked_of_the_data_as_they_are():
    with pm.Model() as prior:
        shape = pm.Data("shape", 2.0)
        pm.Gamma("x", shape, 1)
    compiled = bd.compile_prior(prior)
    said = []
    for value in (2.0, 0.002, 2.0):
        pm.set_data({"shape": value}, model=prior)
        said.append((compiled.why_not_drawable() == "", compiled.draws(100, 1) is not None))
    assert said == [(True, True), (False, False), (True, True)]


def test_what_leads_back_to_itself():
    with pm.Model() as prior:
        pm.ZeroSumNormal("a", shape=3)
        pm.Uniform("b", -1, 2)
        pm.Dirichlet("c", np.ones(2))
    values = {
        "a": [[1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1e-12, 0.0, 0.0]],
        "b": [0.0, 2.0, -1.0, 3.0],
        "c": [[0.5, 0.5], [0.5, 0.6], [1.0, 0.0], [0.5, 0.5]],
    }
    x, same = bd.compile_prior(prior).given_back(values)
    assert x.shape == (4, 4)
    np.testing.assert_array_equal(
        same, [[True, True, True], [False, False, False], [True, False, False], [False, False, True]]
    )


@pytest.mark.parametrize("how", ["calibrate", "calibrate_chain"])
def test_calibration_refuses_what_is_no_draw(how):
    """It would compare draws bent by a bank with truth bent alike, and see nothing."""
    of = bd.geometric(2, 0.5, 4.0) if how == "calibrate_chain" else 1.0
    for make, why in (NOT_DRAWN["rounded to 1"], NOT_DRAWN["projected"]):
        with pytest.raises(ValueError, match=rf"^p0 cannot be drawn: {why}.*; calibration begins with true x ~ p0, so"):
            getattr(bd, how)(model(make), of, replicates=100, draws=9, progressbar=False)


# ---------------------------------------------------------------------------------------------------------- posteriors


def drawn(make, sigma, *, observations=1, draws=1000):
    """Run `sample_posterior` with o = 0, for one observation or for many alike."""
    prior = bd.compile_prior(model(make))
    run = bd.sample_posterior(
        prior, prior.layout.split(np.zeros((observations, prior.n))), sigma=sigma, draws=draws, random_seed=1,
        progressbar=False,
    )  # fmt: skip
    assert "prior" not in run or prior.why_not_drawable() == ""
    return run


def errors(run, name="x"):
    """4 Monte Carlo errors of the mean of a draw, in its sd: of all observations together."""
    ess = run["diagnostics"][name].sel(diagnostic="ess_bulk")
    return 4 / np.sqrt(ess.sum("observation") if "observation" in ess.dims else ess).values


def test_a_normal_that_its_transform_projects():
    """s ~ Gamma(3, 1) and x ~ N(0, s^2 I) given that x sums to 0: one number fewer, so s ~ Gamma(2, 1)."""
    run = drawn(projected, 1e3, draws=3000)  # a funnel: some runs of 1,000 are not to be trusted
    s = run["posterior"]["s"].values
    assert abs(s.mean() - 2) < errors(run, "s") * np.sqrt(2)
    assert abs(3.02 - 2) > errors(run, "s") * np.sqrt(2)  # what forward draws have


@pytest.mark.slow  # the same kind as the one before, at several scales
def test_normals_of_other_scales_that_sum_to_zero():
    run = drawn(three, 1e3)
    x = run["posterior"]["x"].values.reshape(-1, 3)
    mean, sd = exact.normals_of_sum_zero([0.0, 4.0, 0.0], [1.0, 0.2, 2.0])
    error = errors(run).max()
    assert (np.abs(x.mean(axis=0) - mean) < error * sd).all()
    assert (np.abs(x.std(axis=0) / sd - 1) < error).all()  # of a normal, 1 / sqrt(2) of that
    np.testing.assert_allclose(sd, [0.895, 0.199, 0.909], atol=1e-3)


def log_beta(x):
    return -0.08 * (np.logaddexp(0, x) + np.logaddexp(0, -x))


# Without jumps each mixes slowly, and says so; all observations together have enough effective draws.
@pytest.mark.filterwarnings("ignore:The draws of . of 8 observations are not to be trusted")
@pytest.mark.parametrize("sigma", [30.0, pytest.param(1000.0, marks=pytest.mark.slow)])
def test_a_beta_that_rounds_to_1(sigma):
    run = drawn(lambda: pm.Beta("x", 0.08, 0.08), sigma, observations=8, draws=1500)
    x = run["unconstrained_posterior"]["x"].values.ravel()
    truth = exact.grid_1d(log_beta, 0.0, 1.0, sigma, -1500, 1500, points=60001)
    share = truth.probability[truth.x > 37].sum()
    error = errors(run)
    assert abs((x > 37).mean() - share) < error * np.sqrt(share)
    assert abs((x > 37).mean() - (x < -37).mean()) < error * np.sqrt(2 * share)
    assert share > error * np.sqrt(share)  # none beyond would be seen
    assert abs(x.mean()) < error * truth.sd
    assert abs(x.std() / truth.sd - 1) < 2 * error


def test_a_gamma_that_rounds_to_0():
    run = drawn(lambda: pm.Gamma("x", 0.002, 0.002), 1000.0)
    x = run["unconstrained_posterior"]["x"].values.ravel()
    truth = exact.grid_1d(lambda x: 0.002 * (x - np.exp(x)), 0.0, 1.0, 1000.0, -8000, 12, points=80121)
    assert abs(x.mean() - truth.mean) < errors(run)[()] * truth.sd
    lost = truth.probability[truth.x < -700].sum()
    assert abs((x < -700).mean() - lost) < errors(run)[()] * np.sqrt(lost)
    assert lost > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "log_prior", "ends"),
    [
        (lambda: pm.LogNormal("x", 0, 400), lambda x: -0.5 * (x / 400) ** 2, (-4000, 4000)),
        (lambda: pm.InverseGamma("x", 0.002, 1), lambda x: -0.002 * x - np.exp(-x), (-12, 9000)),
        (lambda: pm.Weibull("x", 0.002, 1), lambda x: 0.002 * x - np.exp(0.002 * x), (-9000, 3000)),
    ],
)
def test_others_that_round_to_an_edge(make, log_prior, ends):
    run = drawn(make, 1000.0)
    x = run["unconstrained_posterior"]["x"].values.ravel()
    truth = exact.grid_1d(log_prior, 0.0, 1.0, 1000.0, *ends, points=120001)
    assert abs(x.mean() - truth.mean) < errors(run)[()] * truth.sd
    assert abs(x.std() / truth.sd - 1) < 2 * errors(run)[()]


def test_five_numbers_in_order():
    """Rejection is exact, and leaves one draw of 120: too few for a bank that all chains share."""
    run = drawn(lambda: pm.Normal("x", shape=5, transform=ordered, initval=np.arange(5.0)), 1e3)
    x = run["posterior"]["x"].values.reshape(-1, 5)
    mean, sd = exact.ordered_normals(5)
    assert (np.abs(x.mean(axis=0) - mean) < errors(run) * sd).all()


@pytest.mark.slow
def test_a_chain_that_begins_with_the_right_o():
    """o_K is drawn from a normal of p0's moments: exact here, so that the ends of exact draws are p0's."""
    run = bd.reverse(
        bd.compile_prior(model(three)), bd.one_step(2.0), bd.draw, draws=500, random_seed=1, progressbar=False
    )
    x = run["posterior"]["x"].values.reshape(-1, 3)
    mean, sd = exact.normals_of_sum_zero([0.0, 4.0, 0.0], [1.0, 0.2, 2.0])
    assert (np.abs(x.mean(axis=0) - mean) < 4 * sd / np.sqrt(len(x))).all()
    assert (np.abs(x.std(axis=0) / sd - 1) < 4 / np.sqrt(2 * len(x))).all()
