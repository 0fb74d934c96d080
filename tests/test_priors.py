"""density, tilt, gaussian_mixture: against scipy, against finite differences, against each other's closed forms."""

import exact
import jax
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.model.fgraph import clone_model
from pytensor.compile.mode import get_mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import vectorize_graph
from pytensor.link.jax.dispatch import jax_funcify
from scipy import stats
from test_step import PYTHON

import bayesdiff as bd
from bayesdiff.step import clone

FULL = np.array([[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.2]], [[1.0, -0.3], [-0.3, 0.4]]])
MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 2.0]])
WEIGHTS = np.array([0.5, 0.2, 0.3])
TEN = np.random.default_rng(10).normal(size=(2, 10, 10))
MIXTURES = {
    "1-d": ([0.7, 0.3], [-2.0, 2.0], [1.0, 0.0625]),
    "1-d, one variance": ([0.7, 0.3], [-2.0, 2.0], 0.5),
    "one component": ([1.0], [[1.0, 2.0]], [[[1.0, 0.5], [0.5, 1.0]]]),
    "2-d": (WEIGHTS, MEANS, FULL),
    "2-d, one variance": (WEIGHTS, MEANS, 0.5),
    "2-d, a variance each": (WEIGHTS, MEANS, [0.5, 1.0, 2.0]),
    "n = 1": ([0.4, 0.6], [[-1.0], [1.0]], [[[0.5]], [[2.0]]]),
    "10-d": ([0.5, 0.5], np.stack([np.zeros(10), np.ones(10)]), TEN @ TEN.swapaxes(1, 2) + np.eye(10)),
}


def banana(x):
    return -0.5 * (x[0] ** 2 / 4 + (x[1] - x[0] ** 2 / 4) ** 2)


def jax_logp(model):
    """The model's log density as a function in JAX, of its one free variable."""
    [value] = model.value_vars
    graph = FunctionGraph([value], [model.logp()], clone=True)
    get_mode("JAX").optimizer.rewrite(graph)
    function = jax_funcify(graph)
    return lambda x: function(x)[0]


def differences(function, x, h=1e-5):
    """Central differences of a function of an array."""
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([(function(x + step) - function(x - step)) / (2 * h) for step in steps])


def draws_within_error(values, want):
    """The means of draws (s, ...) lie within 4.5 Monte Carlo errors of `want`."""
    error = values.std(axis=0) / np.sqrt(len(values))
    return bool((np.abs(values.mean(axis=0) - want) < 4.5 * error).all())


# --- density


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_density_is_the_function_given(shape):
    centre = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)
    model = bd.density(lambda x: pt.sum(stats_normal(x, centre)), shape, initval=0.5)
    assert model.logp().type.shape == ()
    assert model.logp(sum=False)[0].type.shape == ()  # one number a variable, not one an entry
    x = np.random.default_rng(0).normal(size=shape)
    logp, gradient = model.compile_logp(mode=PYTHON), model.compile_dlogp(mode=PYTHON)
    want = stats.norm.logpdf(x, centre).sum()
    assert logp({"x": x}) == pytest.approx(want, rel=1e-12)
    numeric = differences(lambda z: float(logp({"x": z})), np.asarray(x))
    np.testing.assert_allclose(gradient({"x": x}), numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.initial_point()["x"], np.full(shape, 0.5))


def stats_normal(x, centre):
    return -0.5 * (x - centre) ** 2 - 0.5 * np.log(2 * np.pi)


def test_density_keeps_shape_dims_coords_name_and_start():
    coords = {"row": ["a", "b"], "column": [10, 20, 30]}
    model = bd.density(lambda x: -pt.sum(x**2), name="z", dims=("row", "column"), coords=coords, initval=np.eye(2, 3))
    assert [rv.name for rv in model.free_RVs] == ["z"]
    assert model["z"].type.shape == (2, 3)
    assert model.named_vars_to_dims["z"] == ("row", "column")
    assert {key: list(values) for key, values in model.coords.items()} == {k: list(v) for k, v in coords.items()}
    for copy in (model, clone_model(model), clone(clone(model))):
        np.testing.assert_array_equal(copy.initial_point()["z"], np.eye(2, 3))
        assert copy.compile_logp(mode=PYTHON)({"z": np.eye(2, 3)}) == -2
    counted = bd.density(lambda x: -pt.sum(x**2), 4, dims="time")
    assert list(counted.coords["time"]) == [0, 1, 2, 3]


def test_density_knows_more_dims_than_it_uses():
    model = bd.density(lambda x: -(x**2), coords={"other": [1, 2]})
    assert list(model.coords["other"]) == [1, 2]
    assert model["x"].ndim == 0


@pytest.mark.parametrize("tool", ["prior predictive", "draw", "draw of a copy", "C", "fast_compile"])
def test_density_refuses_to_be_drawn_from_in_words(tool):
    model = bd.density(banana, 2)
    run = {
        "prior predictive": lambda: pm.sample_prior_predictive(5, model=model),
        "draw": lambda: pm.draw(model["x"]),
        "draw of a copy": lambda: pm.draw(clone(model)["x"]),
        "C": lambda: pm.draw(model["x"], mode="CVM"),
        "fast_compile": lambda: pm.draw(model["x"], mode="FAST_COMPILE"),
    }[tool]
    with pytest.raises(NotImplementedError, match="'x' is a density known up to a constant and cannot be drawn from"):
        run()


def test_density_works_with_find_map_and_a_normal_can_be_found_again():
    model = bd.density(lambda x: -0.5 * pt.sum((x - 3.0) ** 2), 2)
    found = pm.find_MAP(model=model, progressbar=False, return_inferencedata=True, jitter=False)
    np.testing.assert_allclose(found["posterior"]["x"].values.ravel(), 3.0, atol=1e-5)


def sample(model, draws=1500):
    # cores=1: PyMC forks its workers, and Python warns of that where JAX runs threads.
    run = pm.sample(
        draws, tune=500, chains=2, cores=1, model=model, random_seed=1, progressbar=False, nuts_sampler="pymc"
    )
    return run["posterior"]["x"].values


@pytest.mark.parametrize("copied", [False, True])
def test_density_is_sampled_by_nuts(copied):
    model = bd.density(banana, 2)
    x = sample(clone(model) if copied else model)
    # x0 ~ N(0, 4), x1 | x0 ~ N(x0^2 / 4, 1): E x1 = 1, and thinning makes the draws nearly independent.
    x = x[:, ::10].reshape(-1, 2)
    assert draws_within_error(x, [0.0, 1.0])
    assert draws_within_error(x[:, 0] ** 2, 4.0)
    assert not draws_within_error(x, [1.0, 1.0])


@pytest.mark.parametrize("tool", ["mermaid", "graphviz", "text"])
def test_pictures_of_models_need_no_draw(tool):
    if tool == "graphviz":
        pytest.importorskip("graphviz")
    models = {
        "Density": bd.density(banana, 2, dims="axis"),
        "GaussianMixture": bd.gaussian_mixture(*MIXTURES["2-d"]),
    }
    models["Potential"] = bd.tilt(models["Density"], lambda x: x[0])
    for word, model in models.items():
        picture = {
            "mermaid": pm.model_to_mermaid,
            "graphviz": lambda m: pm.model_to_graphviz(m).source,
            "text": lambda m: m.str_repr(),
        }[tool](model)
        assert word in picture
        assert "x" in picture


def test_density_follows_shared_data_and_its_batch_has_one_number_per_x():
    centre = pm.pytensorf.floatX(np.zeros(2))
    with pm.Model() as holder:
        data = pm.Data("centre", centre)
    model = bd.density(lambda x: -0.5 * pt.sum((x - data) ** 2), 2)
    logp = model.compile_logp(mode=PYTHON)
    assert logp({"x": np.ones(2)}) == -1
    with holder:
        pm.set_data({"centre": np.ones(2)})
    assert logp({"x": np.ones(2)}) == 0

    batch = pt.matrix("batch", shape=(None, 2))
    out = vectorize_graph(model.logp(), {model.value_vars[0]: batch})
    assert out.type.ndim == 1
    np.testing.assert_allclose(out.eval({batch: np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 3.0]])}), [0.0, -0.5, -4.0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"logp": 3.0}, TypeError, "logp must be a function .* got float"),
        ({"logp": lambda x: -(x**2), "shape": 2}, ValueError, r"logp gave shape \(2,\) .* pt.sum"),
        ({"logp": lambda x: None}, TypeError, "logp gave NoneType .* PyTensor scalar"),
        ({"logp": lambda x: "x"}, TypeError, "logp gave str"),
        ({"logp": lambda x: x > 0}, TypeError, "logp gave a bool"),
        ({"logp": lambda x: 1.0}, ValueError, "logp does not depend on 'x'.*pm.Flat"),
        ({"logp": lambda x: -(x[0] ** 2)}, ValueError, r"logp raised .*'x' of shape \(\)"),
        ({"logp": lambda x, y: -(x**2)}, ValueError, "logp raised TypeError .*missing 1 required"),
        ({"logp": lambda x: stats.norm.logpdf(x)}, ValueError, "logp .*PyTensor|logp gave"),
        ({"shape": -1}, ValueError, "shape is -1; write a number > 0"),
        ({"shape": (2, 0)}, ValueError, r"shape is \(2, 0\)"),
        ({"shape": 2.5}, ValueError, "shape is 2.5"),
        ({"shape": "2"}, ValueError, "shape is '2'"),
        ({"name": ""}, TypeError, "name must be a string that is not empty"),
        ({"name": 3}, TypeError, "name must be a string .* got 3"),
        ({"dims": "time"}, ValueError, r"dims \('time',\) has 1 names for the shape \(\)"),
        ({"dims": ("a", "b"), "shape": 3}, ValueError, r"has 2 names for the shape \(3,\)"),
        ({"dims": "a", "shape": 3, "coords": {"a": [1, 2]}}, ValueError, "coords has 2 labels for 'a'; write 3"),
        ({"initval": np.nan}, ValueError, "initval is not finite: nan"),
        ({"initval": [1.0, 2.0]}, ValueError, r"initval has shape \(2,\); write one number"),
        ({"initval": "0"}, TypeError, "initval must hold real numbers"),
    ],
)
def test_density_says_what_is_wrong(arguments, error, words):
    with pytest.raises(error, match=words):
        bd.density(**{"logp": lambda x: -pt.sum(x**2), **arguments})


# --- tilt


def test_tilting_a_gaussian_moves_it():
    # N(0, 1) exp(2x) is N(2, 1) up to exp(2).
    with pm.Model() as prior:
        pm.Normal("x")
    logp = bd.tilt(prior, lambda x: 2 * x).compile_logp(mode=PYTHON)
    for x in (-1.0, 0.0, 3.0):
        assert logp({"x": x}) == pytest.approx(stats.norm.logpdf(x, 2, 1) + 2, rel=1e-12)
    assert prior.potentials == []
    assert prior.compile_logp(mode=PYTHON)({"x": 3.0}) == pytest.approx(stats.norm.logpdf(3.0), rel=1e-12)


@pytest.mark.slow
def test_tilt_twice_is_the_tilt_by_the_sum():
    prior = bd.gaussian_mixture(*MIXTURES["2-d"])
    weights = [lambda x: x[0], lambda x: -pt.sum(x**2), lambda x: pt.sin(x[1])]
    twice = prior
    for weight in weights:
        twice = bd.tilt(twice, weight)
    once = bd.tilt(prior, lambda x: sum(weight(x) for weight in weights))
    assert sorted(potential.name for potential in twice.potentials) == ["tilt", "tilt_2", "tilt_3"]
    assert [potential.name for potential in once.potentials] == ["tilt"]
    logp_twice, logp_once = twice.compile_logp(mode=PYTHON), once.compile_logp(mode=PYTHON)
    for x in np.random.default_rng(0).normal(size=(5, 2)):
        assert logp_twice({"x": x}) == pytest.approx(logp_once({"x": x}), rel=1e-12)


def hierarchy():
    with pm.Model(coords={"school": range(3)}) as prior:
        mu = pm.Normal("mu", 0, 2, initval=1.5)
        tau = pm.HalfNormal("tau", 2)
        theta = pm.Normal("theta", mu, tau, dims="school")
        pm.Deterministic("spread", theta.max() - theta.min())
        pm.Data("shift", 3.0)
        pm.Normal("y", theta, 1.0, observed=[1.0, 2.0, 3.0], dims="school")
    return prior


def test_tilt_gives_all_free_variables_by_name_and_constrained():
    prior, seen = hierarchy(), {}

    def weight(tau, theta, **others):
        seen.update(others)
        return -tau + 2 * pt.sum(theta)

    tilted = bd.tilt(prior, weight)
    assert list(seen) == ["mu"]
    point = {"mu": 0.3, "tau_log__": 0.7, "theta": np.array([0.1, 0.2, 0.3])}
    gap = tilted.compile_logp(mode=PYTHON)(point) - prior.compile_logp(mode=PYTHON)(point)
    assert gap == pytest.approx(-np.exp(0.7) + 1.2, rel=1e-9)  # tau itself, not its logarithm
    assert tilted.initial_point()["mu"] == prior.initial_point()["mu"] == 1.5  # initval survives, in both
    assert tilted.named_vars_to_dims == {**prior.named_vars_to_dims}
    assert tilted["mu"] is not prior["mu"]


def test_tilt_may_use_the_priors_other_variables_and_gets_the_copys():
    prior = hierarchy()
    tilted = bd.tilt(prior, lambda **free: prior["spread"] * prior["shift"])
    point = {"mu": 0.3, "tau_log__": 0.7, "theta": np.array([0.1, 0.2, 0.4])}
    base, logp = prior.compile_logp(mode=PYTHON)(point), tilted.compile_logp(mode=PYTHON)
    assert logp(point) - base == pytest.approx(0.9, rel=1e-9)
    with tilted:
        pm.set_data({"shift": 10.0})
    assert logp(point) - base == pytest.approx(3.0, rel=1e-9)
    assert prior["shift"].get_value() == 3.0


def test_a_tilted_density_is_sampled():
    # exp(-x^2/2) twice is N(0, 1/2).
    model = bd.tilt(bd.density(lambda x: -0.5 * x**2), lambda x: -0.5 * x**2)
    x = sample(model)[:, ::10].ravel()
    assert draws_within_error(x**2, 0.5)
    assert not draws_within_error(x**2, 1.0)


def test_a_tilted_prior_warns_when_it_is_drawn_from():
    model = bd.tilt(bd.gaussian_mixture([1.0], [0.0], 1.0), lambda x: x)
    with pytest.warns(UserWarning, match="The effect of Potentials"):
        pm.sample_prior_predictive(2, model=model)


def discrete():
    with pm.Model() as model:
        pm.Poisson("k", 3)
    return model


def normal():
    with pm.Model() as model:
        pm.Normal("x", shape=2)
    return model


@pytest.mark.parametrize(
    ("prior", "weight", "error", "words"),
    [
        (lambda: 3, lambda x: x, TypeError, "prior must be a pm.Model, got int"),
        (discrete, lambda k: k, TypeError, r"\['k'\] of the prior are discrete"),
        (pm.Model, lambda x: x, ValueError, "no free variable"),
        (normal, 1.0, TypeError, "log_weight must be a function, got float"),
        (normal, lambda x: x, ValueError, r"log_weight gave shape \(2,\)"),
        (normal, lambda x: None, TypeError, "log_weight gave NoneType"),
        (normal, lambda x: 1.0, ValueError, r"depends on no free variable of the prior; .*\['x'\]"),
        (normal, lambda x: x.nothing, ValueError, "log_weight raised AttributeError"),
        (hierarchy, lambda x: x, ValueError, "log_weight raised TypeError .*'mu'"),
    ],
)
def test_tilt_says_what_is_wrong(prior, weight, error, words):
    with pytest.raises(error, match=words):
        bd.tilt(prior(), weight)


# --- gaussian_mixture


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("one component", "2-d, one variance") else name
        for name in MIXTURES
    ],
)
def test_mixture_density_and_gradient(name):
    arguments = MIXTURES[name]
    model, mix = bd.gaussian_mixture(*arguments), exact.mixture(*arguments)
    shape = np.shape(arguments[1])[1:]
    assert model["x"].type.shape == shape
    logp, gradient = model.compile_logp(mode=PYTHON), model.compile_dlogp(mode=PYTHON)
    for x in np.random.default_rng(0).normal(size=(5, *shape)) * 3:
        want = exact.mixture_log_density(mix, np.reshape(x, -1))
        assert logp({"x": x}) == pytest.approx(want, rel=1e-10)
        numeric = differences(lambda z: exact.mixture_log_density(mix, z.reshape(-1)), np.asarray(x))
        np.testing.assert_allclose(gradient({"x": x}), numeric, rtol=1e-5, atol=1e-7)
    start = model.initial_point()["x"]
    np.testing.assert_array_equal(start, np.asarray(arguments[1])[np.argmax(arguments[0])])


@pytest.mark.parametrize("name", ["1-d", "2-d", "10-d"])
def test_mixture_in_jax_is_the_same_and_finite_far_away(name):
    arguments = MIXTURES[name]
    model, mix = bd.gaussian_mixture(*arguments), exact.mixture(*arguments)
    shape = np.shape(arguments[1])[1:]
    x = np.random.default_rng(1).normal(size=(50, *shape)) * 3
    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(jax.value_and_grad(jax_logp(model))))
        value, gradient = (np.asarray(out) for out in both(x))
        assert value.dtype == np.float64
        far = [np.asarray(out) for sign in (1, -1) for out in both(sign * 1e3 * np.ones((1, *shape)))]
        hessian = np.asarray(jax.hessian(jax_logp(model))(1e3 * np.ones(shape)))
    np.testing.assert_allclose(value, exact.mixture_log_density(mix, x.reshape(50, -1)), rtol=1e-10)
    slope = model.compile_dlogp(mode=PYTHON)
    np.testing.assert_allclose(gradient.reshape(50, -1), [slope({"x": each}) for each in x], rtol=1e-9, atol=1e-11)
    assert all(np.isfinite(out).all() for out in far)
    assert np.isfinite(hessian).all()
    assert np.isfinite(slope({"x": 1e3 * np.ones(shape)})).all()


def test_density_in_jax_is_the_same():
    model = bd.density(banana, 2)
    x = np.random.default_rng(2).normal(size=(50, 2)) * 2
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(jax_logp(clone(model)))))(x)
        value, gradient = np.asarray(value), np.asarray(gradient)
    logp, slope = model.compile_logp(mode=PYTHON), model.compile_dlogp(mode=PYTHON)
    np.testing.assert_allclose(value, [logp({"x": each}) for each in x], rtol=1e-12)
    np.testing.assert_allclose(gradient, [slope({"x": each}) for each in x], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["1-d", "2-d", "2-d, a variance each", "10-d"])
def test_mixture_draws_have_its_moments(name):
    arguments = MIXTURES[name]
    model, mix = clone(bd.gaussian_mixture(*arguments)), exact.mixture(*arguments)
    x = pm.draw(model["x"], 20_000, random_seed=1).reshape(20_000, -1)
    mean, covariance = exact.mixture_moments(mix)
    assert draws_within_error(x, mean)
    assert draws_within_error((x - mean)[:, :, None] * (x - mean)[:, None, :], covariance)
    assert not draws_within_error(x, mean + 0.2 * np.sqrt(np.diag(covariance)))
    # Draws and density belong together: the mean of log p0 over the draws is the one over draws of our own.
    other = exact.mixture_draws(mix, 200_000, np.random.default_rng(2))
    assert draws_within_error(exact.mixture_log_density(mix, x), exact.mixture_log_density(mix, other).mean())


def test_mixture_with_the_tools_of_pymc():
    model = bd.gaussian_mixture(*MIXTURES["2-d"])
    prior = pm.sample_prior_predictive(400, model=model, random_seed=1)["prior"]["x"].values
    assert prior.shape == (1, 400, 2)
    assert draws_within_error(prior[0], WEIGHTS @ MEANS)
    found = pm.find_MAP(model=model, progressbar=False, return_inferencedata=True, jitter=False)
    x, _ = exact.mixture_mode(exact.mixture([1.0], MEANS[:1], FULL[:1]))  # the others are far from the first
    np.testing.assert_allclose(found["posterior"]["x"].values.ravel(), x, atol=0.1)
    # One component: NUTS would not leave one of several modes.
    draws = sample(bd.gaussian_mixture(*MIXTURES["one component"]))[:, ::10].reshape(-1, 2)
    assert draws_within_error(draws, [1.0, 2.0])
    assert draws_within_error((draws[:, 0] - 1) * (draws[:, 1] - 2), 0.5)


def test_mixture_does_not_depend_on_the_order_or_the_form_of_its_components():
    x = np.array([0.3, -0.8])
    forms = [
        bd.gaussian_mixture(WEIGHTS[::-1], MEANS[::-1], FULL[::-1]),
        bd.gaussian_mixture([*WEIGHTS[:2], 0.15, 0.15], MEANS[[0, 1, 2, 2]], FULL[[0, 1, 2, 2]]),
    ]
    want = bd.gaussian_mixture(WEIGHTS, MEANS, FULL).compile_logp(mode=PYTHON)({"x": x})
    for model in forms:
        assert model.compile_logp(mode=PYTHON)({"x": x}) == pytest.approx(want, rel=1e-12)


def test_pymc_model_context_is_left_alone():
    with pm.Model() as outer:
        bd.density(lambda x: -(x**2))
        inner = bd.gaussian_mixture([1.0], [0.0], 1.0)
        bd.tilt(inner, lambda x: x)
    assert outer.named_vars == {}
    assert inner.parent is None


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([0.5, 0.4], [0, 1], 1.0), ValueError, "weights have sum 0.9; write weights / weights.sum()"),
        (([1.5, -0.5], [0, 1], 1.0), ValueError, r"weights\[1\] is -0.5; write weights > 0"),
        (([1.0, 0.0], [0, 1], 1.0), ValueError, r"weights\[1\] is 0;"),
        (([np.nan, 0.5], [0, 1], 1.0), ValueError, "weights holds nan"),
        ((1.0, [0], 1.0), ValueError, r"weights has shape \(\)"),
        (([], [], 1.0), ValueError, r"weights has shape \(0,\)"),
        ((["a", "b"], [0, 1], 1.0), TypeError, "weights must hold real numbers"),
        (([0.5, 0.5], [0.0, 1.0, 2.0], 1.0), ValueError, r"means has shape \(3,\), for 2 weights; write \(2,\)"),
        (([0.5, 0.5], 1.0, 1.0), ValueError, r"means has shape \(\)"),
        (([0.5, 0.5], np.zeros((2, 0)), 1.0), ValueError, r"means has shape \(2, 0\)"),
        (([0.5, 0.5], [0.0, np.inf], 1.0), ValueError, "means holds inf"),
        (
            ([0.5, 0.5], [0, 1], [1.0, 2.0, 3.0]),
            ValueError,
            r"covariances has shape \(3,\).*write one of \(\), \(2,\)$",
        ),
        (([0.5, 0.5], [0, 1], np.ones((2, 1, 1))), ValueError, r"covariances has shape \(2, 1, 1\)"),
        (
            ([0.5, 0.5], np.zeros((2, 3)), np.ones((2, 3))),
            ValueError,
            r"\(2, 3\).*write one of \(\), \(2,\), \(2, 3, 3\)",
        ),
        (([0.5, 0.5], [0, 1], [1.0, -2.0]), ValueError, "the variance -2; write variances > 0"),
        (([0.5, 0.5], [0, 1], 0.0), ValueError, "the variance 0"),
        (([0.5, 0.5], [0, 1], np.nan), ValueError, "covariances holds nan"),
        (
            ([1.0], [[0, 0]], [[[1, 2], [2, 1]]]),
            ValueError,
            r"covariances\[0\] has the eigenvalue -1; .*positive definite",
        ),
        (([1.0], [[0, 0]], [[[1, 1], [1, 1]]]), ValueError, r"covariances\[0\] .*positive definite"),
        (([1.0], [[0, 0]], [[[1, 0.5], [0, 1]]]), ValueError, r"covariances\[0\] is not symmetric"),
    ],
)
def test_mixture_says_what_is_wrong(arguments, error, words):
    with pytest.raises(error, match=words):
        bd.gaussian_mixture(*arguments)


# ------------------------------------------------------------------------------------------------ density, by its level


def diffused_normal(x, level):
    """N(0, 1) in noise: at level k of SCHEDULE its variance is alpha_k^2 + sigma_k^2."""
    return -0.5 * pt.sum(x**2) / pt.as_tensor(SCHEDULE.alpha**2 + SCHEDULE.sigma**2)[level]


SCHEDULE = bd.geometric(4, 0.5, 8.0)


def test_a_density_by_level_is_a_level_prior():
    prior = bd.density(diffused_normal, 2, schedule=SCHEDULE, initval=[1.0, 0.0])
    compiled = bd.compile_prior(prior)
    assert compiled.schedule == SCHEDULE
    x = np.array([[1.0, 2.0], [0.0, -3.0]])
    for level in range(5):
        variance = SCHEDULE.alpha[level] ** 2 + SCHEDULE.sigma[level] ** 2
        np.testing.assert_allclose(compiled.at_level(level).logp(x), -0.5 * (x**2).sum(1) / variance, rtol=1e-12)
    pm.set_data({"level": 2}, model=prior)
    np.testing.assert_allclose(
        prior.compile_logp(mode=PYTHON)({"x": x[0]}), -2.5 / (1 + SCHEDULE.sigma[2] ** 2), rtol=1e-12
    )
    np.testing.assert_array_equal(prior.initial_point()["x"], [1.0, 0.0])
    copy = clone_model(prior)
    pm.set_data({"level": 4}, model=copy)
    np.testing.assert_allclose(
        copy.compile_logp(mode=PYTHON)({"x": x[0]}), -2.5 / (1 + SCHEDULE.sigma[4] ** 2), rtol=1e-12
    )


def test_a_density_by_level_is_inverted_level_by_level():
    prior = bd.density(diffused_normal, 1, schedule=SCHEDULE)
    o = np.random.default_rng(0).normal(0, np.sqrt(65), size=(2000, 1))
    run = bd.reverse(prior, SCHEDULE, o=o, draws=2000, chains=1, random_seed=1, progressbar=False)
    assert run.attrs["form"] == "next level"
    assert stats.kstest(run["posterior"]["x"].values.ravel(), "norm").pvalue > 1e-3


def test_a_density_by_level_that_cannot_be():
    with pytest.raises(ValueError, match="logp does not depend on the level; write a function of x and level"):
        bd.density(lambda x, level: -pt.sum(x**2), 2, schedule=SCHEDULE)
    with pytest.raises(ValueError, match="logp raised TypeError"):
        bd.density(lambda x: -pt.sum(x**2), 2, schedule=SCHEDULE)
    with pytest.raises(TypeError, match="schedule is int; write one"):
        bd.density(diffused_normal, 2, schedule=4)
