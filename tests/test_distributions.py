"""Every distribution of PyMC with all its parameters free: log density, gradient and Hessian in float64.

The value is PyMC's own. The gradient is compared with central differences of values, the Hessian with
central differences of gradients, both under vmap and jit: as the climbs use them.
"""

import functools
import warnings

import jax
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pytensor.scalar.math import BetaInc, Erfcx, GammaInc, GammaIncC
from scipy import integrate, special
from test_step import PYTHON, compile_logp

import bayesdiff as bd
from bayesdiff.derivatives import MENDED

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
LINE = pm.distributions.transforms.Interval(-np.pi, np.pi)  # an angle, cut open


def real(name):
    return pm.Normal(name, 0.3, 0.7)


def positive(name):
    return pm.LogNormal(name, 0.3, 0.5)


def unit(name):
    return pm.Beta(name, 2, 3)


def low(name):
    return pm.Normal(name, -4, 0.3)


def high(name):
    return pm.Normal(name, 4, 0.3)


# Each with its parameters, and values that it may have: the least and the greatest are where it is cut.
CONTINUOUS = {
    "AsymmetricLaplace": (pm.AsymmetricLaplace, {"kappa": positive, "mu": real, "b": positive}, [-1.0, 0.4, 2.0]),
    "Beta": (pm.Beta, {"alpha": positive, "beta": positive}, [0.1, 0.3, 0.8]),
    "BetaOfMoments": (pm.Beta, {"mu": unit, "nu": positive}, [0.1, 0.3, 0.8]),
    "Cauchy": (pm.Cauchy, {"alpha": real, "beta": positive}, [-1.0, 0.4, 2.0]),
    "ChiSquared": (pm.ChiSquared, {"nu": positive}, [0.4, 1.0, 2.5]),
    "ExGaussian": (pm.ExGaussian, {"mu": real, "sigma": positive, "nu": positive}, [-1.0, 0.4, 2.0]),
    "Exponential": (pm.Exponential, {"lam": positive}, [0.4, 1.0, 2.5]),
    "Gamma": (pm.Gamma, {"alpha": positive, "beta": positive}, [0.4, 1.0, 2.5]),
    "GammaOfMoments": (pm.Gamma, {"mu": positive, "sigma": positive}, [0.4, 1.0, 2.5]),
    "Gumbel": (pm.Gumbel, {"mu": real, "beta": positive}, [-1.0, 0.4, 2.0]),
    "HalfCauchy": (pm.HalfCauchy, {"beta": positive}, [0.4, 1.0, 2.5]),
    "HalfNormal": (pm.HalfNormal, {"sigma": positive}, [0.4, 1.0, 2.5]),
    "HalfStudentT": (pm.HalfStudentT, {"nu": positive, "sigma": positive}, [0.4, 1.0, 2.5]),
    "InverseGamma": (pm.InverseGamma, {"alpha": positive, "beta": positive}, [0.4, 1.0, 2.5]),
    "Kumaraswamy": (pm.Kumaraswamy, {"a": positive, "b": positive}, [0.1, 0.3, 0.8]),
    "Laplace": (pm.Laplace, {"mu": real, "b": positive}, [-1.0, 0.4, 2.0]),
    "LogNormal": (pm.LogNormal, {"mu": real, "sigma": positive}, [0.4, 1.0, 2.5]),
    "Logistic": (pm.Logistic, {"mu": real, "s": positive}, [-1.0, 0.4, 2.0]),
    "LogitNormal": (pm.LogitNormal, {"mu": real, "sigma": positive}, [0.1, 0.3, 0.8]),
    "Moyal": (pm.Moyal, {"mu": real, "sigma": positive}, [-1.0, 0.4, 2.0]),
    "Normal": (pm.Normal, {"mu": real, "sigma": positive}, [-1.0, 0.4, 2.0]),
    "Pareto": (pm.Pareto, {"alpha": positive, "m": unit}, [1.1, 1.5, 2.5]),
    "PolyaGamma": (pm.PolyaGamma, {"h": positive, "z": real}, [0.4, 1.0, 2.5]),
    "Rice": (pm.Rice, {"nu": positive, "sigma": positive}, [0.4, 1.0, 2.5]),
    "SkewNormal": (pm.SkewNormal, {"mu": real, "sigma": positive, "alpha": real}, [-1.0, 0.4, 2.0]),
    "SkewStudentT": (
        pm.SkewStudentT, {"a": positive, "b": positive, "mu": real, "sigma": positive}, [-1.0, 0.4, 2.0],
    ),
    "StudentT": (pm.StudentT, {"nu": positive, "mu": real, "sigma": positive}, [-1.0, 0.4, 2.0]),
    "Triangular": (pm.Triangular, {"lower": low, "c": real, "upper": high}, [-1.0, 0.4, 2.0]),
    "TruncatedNormal": (
        pm.TruncatedNormal, {"mu": real, "sigma": positive, "lower": low, "upper": high}, [-1.0, 0.4, 2.0],
    ),
    "TruncatedBelow": (pm.TruncatedNormal, {"mu": real, "sigma": positive, "lower": low}, [-1.0, 0.4, 2.0]),
    "TruncatedAbove": (pm.TruncatedNormal, {"mu": real, "sigma": positive, "upper": high}, [-1.0, 0.4, 2.0]),
    "Uniform": (pm.Uniform, {"lower": low, "upper": high}, [-1.0, 0.4, 2.0]),
    "VonMises": (pm.VonMises, {"mu": real, "kappa": positive}, [-1.0, 0.4, 2.0]),
    "Wald": (pm.Wald, {"mu": positive, "lam": positive, "alpha": lambda name: 0.1}, [0.4, 1.0, 2.5]),
    "Weibull": (pm.Weibull, {"alpha": positive, "beta": positive}, [0.4, 1.0, 2.5]),
}  # fmt: skip

DISCRETE = {
    "BetaBinomial": (pm.BetaBinomial, {"n": lambda _: 6, "alpha": positive, "beta": positive}),
    "Binomial": (pm.Binomial, {"n": lambda _: 6, "p": unit}),
    "DiscreteWeibull": (pm.DiscreteWeibull, {"q": unit, "beta": positive}),
    "Geometric": (pm.Geometric, {"p": unit}),
    "HurdleNegativeBinomial": (pm.HurdleNegativeBinomial, {"psi": unit, "mu": positive, "alpha": positive}),
    "HurdlePoisson": (pm.HurdlePoisson, {"psi": unit, "mu": positive}),
    "NegativeBinomial": (pm.NegativeBinomial, {"mu": positive, "alpha": positive}),
    "Poisson": (pm.Poisson, {"mu": positive}),
    "ZeroInflatedBinomial": (pm.ZeroInflatedBinomial, {"psi": unit, "n": lambda _: 6, "p": unit}),
    "ZeroInflatedNegativeBinomial": (pm.ZeroInflatedNegativeBinomial, {"psi": unit, "mu": positive, "alpha": positive}),
    "ZeroInflatedPoisson": (pm.ZeroInflatedPoisson, {"psi": unit, "mu": positive}),
    "Bernoulli": (pm.Bernoulli, {"p": unit}),
}


def cut(kind, dist, bounds, values):
    """Both ends cut, and each alone. What is observed lies inside of a truncation, and on the ends of a censoring."""
    least, most = bounds
    distribution = {"truncated": pm.Truncated, "censored": pm.Censored}[kind]
    distribution("both", dist, lower=least, upper=most, observed=values)
    distribution("below", dist, lower=least, upper=None, observed=values)
    distribution("above", dist, lower=None, upper=most, observed=values)


def continuous(name, kind):
    distribution, parameters, values = CONTINUOUS[name]
    with pm.Model() as model:
        given = {key: make(key) for key, make in parameters.items()}
        if kind == "free":
            distribution("x", **given, **({"default_transform": LINE} if name == "VonMises" else {}))
            distribution("y", **given, observed=values)
        else:
            margin = 0.05 * (kind == "truncated")
            bounds = values[0] - margin, values[-1] + margin
            cut(kind, distribution.dist(**given), bounds, values)
            if kind == "truncated":
                pm.Truncated("x", distribution.dist(**given), *bounds)
    return model


def discrete(name, kind):
    distribution, parameters = DISCRETE[name]
    with pm.Model() as model:
        given = {key: make(key) for key, make in parameters.items()}
        if kind == "free":
            distribution("y", **given, observed=[1, 2, 4] if name != "Bernoulli" else [1, 0])
            distribution("y0", **given, observed=1 if name == "Geometric" else 0)
        else:
            cut(kind, distribution.dist(**given), (1, 4), [1, 2, 4])
    return model


OTHER = {}


def other(build):
    def make():
        with warnings.catch_warnings(), pm.Model() as model:
            warnings.simplefilter("ignore")
            build()
        return model

    OTHER[build.__name__] = make
    return build


@other
def interpolated():
    pm.Interpolated("x", np.linspace(-4, 4, 9), np.arange(1.0, 10))
    pm.Interpolated("y", np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 1.0]))


@other
def mixture():
    w = pm.Dirichlet("w", np.ones(2))
    parts = [
        pm.StudentT.dist(positive("nu"), mu=real("m"), sigma=positive("s")),
        pm.Normal.dist(real("m2"), positive("s2")),
    ]
    pm.Mixture("x", w=w, comp_dists=parts)
    pm.Mixture("y", w=w, comp_dists=parts, observed=[0.1, 2.0])


@other
def normal_mixture():
    w = pm.Dirichlet("w", np.ones(3))
    pm.NormalMixture("y", w, pm.Normal("m", 0, 1, shape=3), pm.LogNormal("s", shape=3), observed=[0.1, 2.0])


@other
def mixture_of_cut():
    w = pm.Dirichlet("w", np.ones(2))
    parts = [pm.TruncatedNormal.dist(real("m"), positive("s"), lower=0), pm.Gamma.dist(positive("a"), positive("b"))]
    pm.Mixture("y", w=w, comp_dists=parts, observed=[0.1, 2.0])


@other
def hurdle_gamma():
    pm.HurdleGamma("y", unit("psi"), positive("a"), positive("b"), observed=[0.0, 0.4, 2.0])


@other
def hurdle_lognormal():
    pm.HurdleLogNormal("y", unit("psi"), real("a"), positive("b"), observed=[0.0, 0.4, 2.0])


@other
def ordered_logistic():
    cut = pm.Normal("cut", [-1.0, 1.0], 1, transform=pm.distributions.transforms.ordered, initval=[-1.0, 1.0])
    pm.OrderedLogistic("y", real("eta"), cut, observed=[0, 1, 2, 2])


@other
def ordered_probit():
    cut = pm.Normal("cut", [-1.0, 1.0], 1, transform=pm.distributions.transforms.ordered, initval=[-1.0, 1.0])
    pm.OrderedProbit("y", real("eta"), cut, sigma=positive("s"), observed=[0, 1, 2, 2])


@other
def ordered_multinomial():
    cut = pm.Normal("cut", [-1.0, 1.0], 1, transform=pm.distributions.transforms.ordered, initval=[-1.0, 1.0])
    pm.OrderedMultinomial("y", real("eta"), cut, n=5, observed=[2, 1, 2])


@other
def multinomial():
    pm.Multinomial("y", 5, pm.Dirichlet("p", np.ones(3)), observed=[2, 1, 2])


@other
def categorical():
    pm.Categorical("y", pm.Dirichlet("p", np.ones(3)), observed=[2, 1, 2])


@other
def dirichlet_multinomial():
    pm.DirichletMultinomial("y", 5, pm.LogNormal("a", shape=3), observed=[2, 1, 2])


@other
def dirichlet():
    a = pm.LogNormal("a", shape=3)
    pm.Dirichlet("x", a)
    pm.Dirichlet("y", a, observed=[0.2, 0.3, 0.5])


@other
def stick_breaking():
    pm.StickBreakingWeights("x", alpha=positive("a"), K=3)


@other
def mv_normal():
    chol, _, _ = pm.LKJCholeskyCov("L", n=2, eta=positive("eta"), sd_dist=pm.Exponential.dist(1.0, shape=2))
    m = pm.Normal("m", shape=2)
    pm.MvNormal("x", m, chol=chol)
    pm.MvNormal("y", m, cov=chol @ chol.T, observed=[0.1, 2.0])


@other
def mv_student_t():
    chol, _, _ = pm.LKJCholeskyCov("L", n=2, eta=2.0, sd_dist=pm.Exponential.dist(1.0, shape=2))
    m, nu = pm.Normal("m", shape=2), positive("nu")
    pm.MvStudentT("x", nu, mu=m, chol=chol)
    pm.MvStudentT("y", nu, mu=m, scale=chol @ chol.T, observed=[0.1, 2.0])


@other
def lkj_corr():
    pm.LKJCorr("C", n=3, eta=positive("eta"))


@other
def wishart():
    s = positive("s")
    pm.Wishart("W", nu=4, V=s * np.eye(2), observed=[[1.0, 0.2], [0.2, 2.0]])


@other
def wishart_free_nu():
    s = positive("s")
    pm.Wishart("W", nu=positive("nu") + 2, V=s * np.eye(2), observed=[[1.0, 0.2], [0.2, 2.0]])


@other
def kronecker_normal():
    s = positive("s")
    covs = [s * np.eye(2) + 0.1, np.eye(2) + 0.2]
    pm.KroneckerNormal("x", np.zeros(4), covs=covs, sigma=positive("e"))


@other
def kronecker_normal_exact():
    s = positive("s")
    covs = [s * np.eye(2) + 0.1, np.eye(2) + 0.2]
    pm.KroneckerNormal("x", np.zeros(4), covs=covs)


@other
def matrix_normal():
    s = positive("s")
    pm.MatrixNormal("x", np.zeros((2, 2)), rowcov=s * np.eye(2) + 0.1, colcov=np.eye(2) + 0.2)


@other
def car():
    w = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    pm.CAR("x", np.zeros(3), w, alpha=unit("alpha"), tau=positive("tau"))


@other
def icar():
    w = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    pm.ICAR("x", w, sigma=positive("tau"))


@other
def zero_sum_normal():
    pm.ZeroSumNormal("x", positive("s"), shape=3)


@other
def ar():
    pm.AR("x", pm.Normal("rho", shape=2), sigma=positive("s"), init_dist=pm.Normal.dist(0, 1, shape=2), steps=3)


@other
def random_walk():
    pm.GaussianRandomWalk("x", real("m"), positive("s"), init_dist=pm.Normal.dist(0, 1), steps=3)


@other
def mv_random_walk():
    chol, _, _ = pm.LKJCholeskyCov("L", n=2, eta=2.0, sd_dist=pm.Exponential.dist(1.0, shape=2))
    pm.MvGaussianRandomWalk("x", np.zeros(2), chol=chol, init_dist=pm.MvNormal.dist(np.zeros(2), np.eye(2)), steps=2)


@other
def mv_student_walk():
    chol, _, _ = pm.LKJCholeskyCov("L", n=2, eta=2.0, sd_dist=pm.Exponential.dist(1.0, shape=2))
    pm.MvStudentTRandomWalk(
        "x", nu=positive("nu"), mu=np.zeros(2), chol=chol, init_dist=pm.MvNormal.dist(np.zeros(2), np.eye(2)), steps=2
    )


@other
def garch():
    pm.GARCH11("x", omega=positive("o"), alpha_1=unit("a"), beta_1=0.3, initial_vol=positive("v"), shape=4)


@other
def euler_maruyama():
    pm.EulerMaruyama(
        "x", 0.1, lambda x, a, s: (-a * x, s), (real("a"), positive("s")), init_dist=pm.Normal.dist(0, 1), steps=3
    )


@other
def gp_latent():
    gp = pm.gp.Latent(cov_func=positive("eta") ** 2 * pm.gp.cov.ExpQuad(1, ls=positive("ls")))
    gp.prior("f", X=np.arange(3.0)[:, None])


@other
def gp_marginal():
    gp = pm.gp.Marginal(cov_func=positive("eta") ** 2 * pm.gp.cov.Matern52(1, ls=positive("ls")))
    gp.marginal_likelihood("y", X=np.arange(3.0)[:, None], y=np.array([0.1, 0.5, -1.0]), sigma=positive("s"))


@other
def gp_rational():
    gp = pm.gp.Marginal(
        cov_func=pm.gp.cov.RatQuad(1, alpha=positive("eta"), ls=positive("ls"))
        + pm.gp.cov.Periodic(1, period=positive("p"), ls=1.0)
    )
    gp.marginal_likelihood("y", X=np.arange(3.0)[:, None], y=np.array([0.1, 0.5, -1.0]), sigma=positive("s"))


@other
def hsgp():
    gp = pm.gp.HSGP(m=[4], c=1.5, cov_func=positive("eta") ** 2 * pm.gp.cov.Matern52(1, ls=positive("ls")))
    gp.prior("f", X=np.arange(3.0)[:, None])


@other
def hsgp_periodic():
    gp = pm.gp.HSGPPeriodic(m=4, scale=positive("eta"), cov_func=pm.gp.cov.Periodic(1, period=1.0, ls=positive("ls")))
    gp.prior("f", X=np.arange(3.0)[:, None])


@other
def tp_latent():
    tp = pm.gp.TP(scale_func=positive("eta") ** 2 * pm.gp.cov.ExpQuad(1, ls=positive("ls")), nu=positive("nu"))
    tp.prior("f", X=np.arange(3.0)[:, None])


@other
def max_of_normals():
    m = real("m")
    pm.CustomDist("y", m, dist=lambda m, size: pt.max(pm.Normal.dist(m, 1, size=(3,)), axis=-1), observed=1.0)


def derivatives(prior, x, step=1e-5):
    """log p0, its gradient and its Hessian at x (batch, n), and both derivatives by central differences."""

    def gradient_first(x, data):
        value, gradient = jax.value_and_grad(prior.density)(x, data)
        return gradient, (value, gradient)

    function = jax.jit(jax.vmap(jax.jacfwd(gradient_first, has_aux=True), in_axes=(0, None)))
    # All in one batch: one compilation, and no state may disturb another.
    steps = step * np.concatenate([np.zeros((1, prior.n)), np.eye(prior.n), -np.eye(prior.n)])
    around = (x[:, None] + steps * np.maximum(1, abs(x[:, None]))).reshape(-1, prior.n)
    hessian, (value, gradient) = jax.tree.map(
        lambda a: np.asarray(a).reshape(len(x), -1, *a.shape[1:]), function(around, prior.data)
    )
    n = prior.n
    wide = 2 * step * np.maximum(1, abs(x))
    by_values = (value[:, 1 : n + 1] - value[:, n + 1 :]) / wide
    by_gradients = (gradient[:, 1 : n + 1] - gradient[:, n + 1 :]) / wide[..., None]
    return value[:, 0], gradient[:, 0], hessian[:, 0], by_values, by_gradients


# What PyMC has no distribution function of, or of single values alone: it can be neither truncated nor censored.
WITHOUT_CDF = {"AsymmetricLaplace", "HalfStudentT", "LogitNormal", "PolyaGamma", "Rice", "SkewNormal", "VonMises"}
# pymc/distributions/continuous.py, class _PolyaGammaLogDistFunc: it calls a compiled library, and has no gradient in
# PyMC either. pytensor/link/jax/dispatch/scalar.py, jax_funcify_Ive: it needs tensorflow-probability.
WITHOUT_GRADIENT = {"PolyaGamma-free", "hsgp_periodic"}
CASES = {
    **{
        f"{name}-{kind}": (continuous, name, kind)
        for name in CONTINUOUS
        for kind in ("free", "truncated", "censored")
        if kind == "free" or name not in WITHOUT_CDF
    },
    **{
        f"{name}-{kind}": (discrete, name, kind)
        for name in DISCRETE
        for kind in ("free", "truncated", "censored")
        if kind == "free" or name not in ("BetaBinomial", "Bernoulli")
    },
    **{name: (make,) for name, make in OTHER.items()},
}
# One for each derivative that was missing: erfcx, the incomplete gamma and beta functions, a spline, a power of 0.
QUICK = ("ExGaussian-free", "Gamma-censored", "Binomial-truncated", "interpolated", "DiscreteWeibull-censored")


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_value_gradient_and_hessian(case):
    make, *arguments = CASES[case]
    model = make(*arguments)
    if case in WITHOUT_GRADIENT:
        with pytest.raises(NotImplementedError, match=r"the prior (cannot be translated to|has no gradient in) JAX"):
            bd.compile_prior(model)
        return
    prior = bd.compile_prior(model)
    x = prior.initial_point() + 0.5 * np.random.default_rng(1).normal(size=(3, prior.n))
    value, gradient, hessian, by_values, by_gradients = derivatives(prior, x)
    logp = compile_logp(model)
    np.testing.assert_allclose(value, [logp(state) for state in x], rtol=1e-10, atol=1e-12)
    assert value.dtype == gradient.dtype == hessian.dtype == np.float64
    np.testing.assert_allclose(gradient, by_values, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(hessian, by_gradients, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_CDF)
def test_what_pymc_cannot_cut(name):
    distribution, parameters, values = CONTINUOUS[name]
    with pm.Model() as model:
        given = {key: make(key) for key, make in parameters.items()}
        with pytest.raises((NotImplementedError, ImportError)):
            pm.Truncated("x", distribution.dist(**given), lower=values[0]) and model.compile_logp(mode=PYTHON)


# --- the functions themselves


def moments(log_density, functions, least, most):
    def integral(f):
        return integrate.quad(lambda t: np.exp(log_density(t)) * f(t), least, most, epsabs=0, epsrel=1e-10, limit=200)[
            0
        ]

    return [integral(f) for f in functions]


@functools.cache
def slopes(kind, first, second):
    """The gradient by so many arguments, the Hessian by so many: one program for all places."""
    function = MENDED[kind]
    gradient = jax.grad(function, argnums=tuple(range(first)))
    hessian = jax.hessian(function, argnums=tuple(range(second)))
    return jax.jit(lambda *at: (gradient(*at), hessian(*at)))


@pytest.mark.parametrize(("k", "x"), [(1.3, 0.01), (1.7, 2.1), (50.0, 30.0), (50.0, 80.0), (900.0, 930.0)])
def test_derivatives_of_the_incomplete_gamma_function(k, x):
    """d P / dk = E[log t - psi(k); t < x] for t ~ Gamma(k), and the second likewise."""
    lower = x < k + 1

    def log_density(t):
        return (k - 1) * np.log(t) - t - special.gammaln(k)

    def score(t):
        return np.log(t) - special.psi(k)

    ends = (0, x) if lower else (x, x + 50 + 20 * np.sqrt(k))
    first, second = moments(log_density, [score, lambda t: score(t) ** 2 - special.polygamma(1, k)], *ends)
    at = np.exp(log_density(x))
    want = [second, at * score(x), at * ((k - 1) / x - 1)]
    for kind, sign in ((GammaInc, 1), (GammaIncC, -1)):
        sign = sign if lower else -sign
        gradient, hessian = slopes(kind, 2, 2)(k, x)
        np.testing.assert_allclose(gradient, [sign * first, at if kind is GammaInc else -at], rtol=1e-8)
        hessian = np.array(hessian)
        np.testing.assert_allclose(hessian[0, 0], sign * want[0], rtol=1e-8)
        others = hessian[[0, 1, 1], [1, 0, 1]] * (1 if kind is GammaInc else -1)
        np.testing.assert_allclose(others, [want[1], want[1], want[2]], rtol=1e-8)


BETAS = [(0.3, 0.4, 0.01), (1.7, 2.1, 0.3), (50.0, 30.0, 0.5), (20.0, 0.5, 0.9), (900.0, 930.0, 0.4)]


@pytest.mark.parametrize(("a", "b", "x"), BETAS)
def test_derivatives_of_the_incomplete_beta_function(a, b, x):
    """d I / da = E[log t - psi(a) + psi(a + b); t < x] for t ~ Beta(a, b), and the others likewise."""

    def log_density(t):
        return (a - 1) * np.log(t) + (b - 1) * np.log1p(-t) - special.betaln(a, b)

    def of_a(t):
        return np.log(t) - special.psi(a) + special.psi(a + b)

    def of_b(t):
        return np.log1p(-t) - special.psi(b) + special.psi(a + b)

    both = special.polygamma(1, a + b)
    functions = [
        of_a,
        of_b,
        lambda t: of_a(t) ** 2 - special.polygamma(1, a) + both,
        lambda t: of_a(t) * of_b(t) + both,
        lambda t: of_b(t) ** 2 - special.polygamma(1, b) + both,
    ]
    want = moments(log_density, functions, 0, x)
    gradient, hessian = slopes(BetaInc, 3, 2)(a, b, x)
    np.testing.assert_allclose(gradient, [*want[:2], np.exp(log_density(x))], rtol=1e-8)
    hessian = np.array(hessian)
    np.testing.assert_allclose(hessian[[0, 0, 1], [0, 1, 1]], want[2:], rtol=1e-8)


def test_derivatives_of_erfcx():
    x = np.array([-5.0, -0.3, 0.0, 0.7, 4.0, 30.0, 1e4])
    far = x > 20  # where the closed form cancels: erfcx(x) = (1 - 1 / (2 x^2) + ...) / (sqrt(pi) x)
    large, root = x.clip(1), np.sqrt(np.pi)
    series = -(1 - 1.5 / large**2 + 3.75 / large**4 - 13.125 / large**6) / (root * large**2)
    slope = np.where(far, series, 2 * x * special.erfcx(x) - 2 / root)
    erfcx = MENDED[Erfcx]
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(erfcx)))(x), slope, rtol=1e-8)
    bend = jax.jit(jax.jacfwd(jax.grad(lambda x: erfcx(x).sum())))(x)  # of an array: JAX's own is for a scalar
    np.testing.assert_allclose(np.diag(bend), 2 * special.erfcx(x) + 2 * x * slope, rtol=1e-8, atol=1e-11)


# --- priors of people


def censored():
    with pm.Model() as model:
        mu = pm.Normal("mu", 45, 5)
        pm.Censored("t", pm.Normal.dist(mu, 1), lower=None, upper=50, observed=[50, 50, 50, 48])
    return model


def censored_logp(mu):
    tail = special.log_ndtr(mu - 50)
    return -0.5 * ((mu - 45) / 5) ** 2 - np.log(5) - 0.5 * (mu - 48) ** 2 - np.log(2 * np.pi) + 3 * tail


def test_a_censored_normal_has_its_mode_and_its_mean():
    def step(mu):
        return censored_logp(mu) - 0.5 * ((48 - mu) / 2) ** 2

    grid = np.linspace(40, 60, 200_001)
    density = np.exp(step(grid))
    mean = (grid * density).sum() / density.sum()
    sd = np.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    prior = bd.compile_prior(censored())
    modes = bd.find_map(prior, o=48.0, sigma=2, random_seed=1)
    assert modes["posterior"]["mu"].item() == pytest.approx(grid[density.argmax()], abs=1e-4)
    draws = bd.sample_posterior(prior, o=48.0, sigma=2, draws=500, random_seed=1)["posterior"]["mu"].values.ravel()
    assert abs(draws.mean() - mean) < 5 * sd / np.sqrt(len(draws) / 4)


def test_a_censored_normal_has_its_evidence():
    grid = np.linspace(20, 70, 200_001)
    truth = np.log(np.exp(censored_logp(grid)).sum() * (grid[1] - grid[0]))
    assert truth == pytest.approx(-7.626, abs=1e-3)
    found = bd.sample(censored(), draws=250, chains=2, random_seed=1, progressbar=False)["log_evidence"]
    assert abs(found["log_evidence"].item() - truth) < max(5 * found["log_evidence_se"].item(), 0.02)


def test_a_formula_that_is_not_chosen_leaves_no_nan():
    """Far from the data the other formula overflows, or is the log of 0."""
    mu = np.array([[-20.0], [5.0], [45.0], [95.0], [120.0]])
    value, gradient, hessian, *_ = derivatives(bd.compile_prior(censored()), mu)
    # PyMC has constants in single precision.
    np.testing.assert_allclose(value, censored_logp(mu[:, 0]), rtol=1e-9, atol=3e-7)
    z = mu[:, 0] - 50
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(z))
    np.testing.assert_allclose(gradient[:, 0], -(mu[:, 0] - 45) / 25 - (mu[:, 0] - 48) + 3 * ratio, rtol=1e-7)
    np.testing.assert_allclose(hessian[:, 0, 0], -1 / 25 - 1 - 3 * ratio * (z + ratio), rtol=1e-5)
