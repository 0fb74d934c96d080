"""compile_prior: PyMC's own log density and gradient as the truth, and states that must not disturb each other."""

import copy
import dataclasses
import functools
import gc
import importlib
import warnings
import weakref

import cloudpickle
import jax
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.link.jax.dispatch import jax_funcify
from scipy import optimize, special, stats
from test_step import PRIORS, PYTHON, compile_logp, named_point

import bayesdiff as bd
from bayesdiff.compiled import compiled
from bayesdiff.step import clone, layout

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")


def scan():
    with pm.Model() as model:
        a = pm.Normal("a")
        path = pytensor.scan(
            lambda before, a: a * before + 1,
            outputs_info=[pt.as_tensor(0.0, dtype="float64")],
            non_sequences=[a],
            n_steps=4,
            return_updates=False,
        )
        pm.Normal("y", path[-1], 1, observed=2.0)
    return model


def integer_index():
    with pm.Model() as model:
        group = pm.Data("group", np.array([0, 1, 1, 2]))
        pm.Normal("y", pm.Normal("a", shape=3)[group], 1, observed=np.ones(4))
    return model


def weak_types():
    """JAX makes float32 of an int64 with a float32, and of a float64 made from a Python number with a float32."""
    with pm.Model() as model:
        x = pm.Normal("x", shape=2)
        count = pm.Data("count", np.array([3, 7]))
        single = pt.constant(np.array([1.5, 3.0], "float32"))
        held = pt.set_subtensor(pt.zeros(2)[0], x[0])
        pm.Potential("p", pt.sum(x * pt.log(count * pt.exp(single))) + pt.sum(held * single))
    return model


def largest():
    with pm.Model() as model:
        x = pm.Normal("x", shape=3)
        group = pm.Data("group", np.array([0, 2, 1]))
        pm.Potential("p", pt.max(x) * pt.max(group) + pt.sum(pt.max(pt.outer(x, x), axis=1)))
    return model


MODELS = {**PRIORS, "scan": scan, "largest": largest, "integer_index": integer_index, "weak_types": weak_types}


def made(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*trace is deprecated")
        return MODELS[name]()


@pytest.fixture(scope="module")
def shared():
    """A model for all tests that change nothing of it: it keeps what is compiled."""
    return functools.cache(made)


def states(model, count=4, seed=1):
    return np.random.default_rng(seed).normal(size=(count, layout(model).n))


def normal_with(**data):
    with pm.Model() as model:
        values = {name: pm.Data(name, value) for name, value in data.items()}
        pm.Normal("x", *values.values())
    return model


# --- the density and its gradient


@pytest.mark.parametrize("name", MODELS)
def test_log_density_and_gradient_are_those_of_pymc(shared, name):
    model = shared(name)
    prior, x = bd.compile_prior(model), states(model)
    got, gradient = prior.logp_and_gradient(x)
    assert (got.dtype, gradient.dtype) == (np.float64, np.float64)
    logp = compile_logp(model)
    want = np.array([logp(state) for state in x])
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    variables = [model[key] for key in prior.layout.names]
    dlogp = model.compile_dlogp(variables, mode=PYTHON, on_unused_input="ignore")
    np.testing.assert_allclose(gradient, [dlogp(named_point(model, state)) for state in x], rtol=1e-8, atol=1e-9)

    steps = 1e-5 * np.eye(prior.n)
    around = np.concatenate([x[:, None] + steps, x[:, None] - steps, x[:, None]], axis=1)
    logp = prior.logp(around.reshape(-1, prior.n))
    up, down, at = np.split(logp.reshape(len(x), -1), [prior.n, 2 * prior.n], axis=1)
    np.testing.assert_allclose(at[:, 0], want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient, (up - down) / 2e-5, rtol=1e-5, atol=1e-6)

    # A clone has its variables in another order, a state has not.
    twice = bd.compile_prior(clone(clone(model)))
    np.testing.assert_array_equal(twice.logp(around.reshape(-1, prior.n)), logp)


@pytest.mark.parametrize("name", ["regression", "hierarchical"])
def test_a_clone_has_the_same_bits(shared, name):
    model = shared(name)
    x, once = states(model, 50), clone(model)
    assert [v.name for v in once.value_vars] != [v.name for v in model.value_vars]  # else this shows nothing
    want = bd.compile_prior(model).logp(x)
    for copied in (once, clone(once)):
        np.testing.assert_array_equal(bd.compile_prior(copied).logp(x), want)


def test_the_log_density_by_hand():
    z, s, theta = np.random.default_rng(3).normal(size=(3, 20))
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 2)
        pm.Normal("a", pm.Beta("p", 2, 3), scale)
    # sorted: a, p, scale
    p, tau = special.expit(s), np.exp(theta)
    want = stats.norm.logpdf(z, p, tau) + stats.beta.logpdf(p, 2, 3) + stats.halfnorm.logpdf(tau, scale=2)
    jacobian = np.log(p * (1 - p)) + theta
    x = np.stack([z, s, theta], axis=1)
    # PyMC has the constant of a HalfNormal in single precision: 2e-8.
    np.testing.assert_allclose(bd.compile_prior(model).logp(x), want + jacobian, atol=3e-8, rtol=0)
    np.testing.assert_allclose(compiled(model, jacobian=False).logp(x), want, atol=3e-8, rtol=0)


@pytest.mark.parametrize("name", ["awkward_names", "simplex", "bounds_that_depend", "ordered"])
def test_without_the_jacobian(shared, name):
    model = shared(name)
    x, logp = states(model), compile_logp(model, jacobian=False)
    got = compiled(model, jacobian=False).logp(x)
    np.testing.assert_allclose(got, [logp(state) for state in x], rtol=1e-10)
    assert not np.allclose(got, bd.compile_prior(model).logp(x))


def normal_as_scale():
    with pm.Model() as model:
        s = pm.Normal("s")
        pm.Normal("y", 0, s, observed=1.0)
    return model


def normal_as_shape():
    with pm.Model() as model:
        pm.Gamma("g", pm.Normal("s"), 1)
    return model


def normal_as_custom_scale():
    with pm.Model() as model:
        s = pm.Normal("s")
        pm.CustomDist("x", s, logp=lambda x, s: pm.logp(pm.Gamma.dist(s, 1), pt.exp(x)))
    return model


@pytest.mark.parametrize("make", [normal_as_scale, normal_as_shape, normal_as_custom_scale])
def test_an_invalid_state_is_invalid_alone(make):
    model = make()
    prior = bd.compile_prior(model)
    x = np.abs(states(model, 9))
    alone, gradient_alone = prior.logp_and_gradient(x)
    logp_alone, others = prior.logp(x), np.arange(9) != 4
    assert np.isfinite(alone).all()
    for bad in (-0.5, np.nan, np.inf, -np.inf):
        spoilt = x.copy()
        spoilt[4, prior.layout.labels.index("s")] = bad
        logp, gradient = prior.logp_and_gradient(spoilt)
        assert logp[4] == -np.inf or np.isnan(logp[4])
        np.testing.assert_array_equal(logp[others], alone[others])
        np.testing.assert_array_equal(gradient[others], gradient_alone[others])
        np.testing.assert_array_equal(prior.logp(spoilt)[others], logp_alone[others])
        if bad == -0.5:
            assert logp[4] == compile_logp(model)(spoilt[4]) == -np.inf


# --- data


def test_data_stay_live_and_nothing_is_compiled_again():
    model = normal_with(mean=1.0, scale=2.0)
    plain, traces = bd.compile_prior(model), []

    def counting(x, data):
        traces.append(x)
        return plain.density(x, data)

    functions = dataclasses.replace(plain._functions, density=counting)
    prior, x = dataclasses.replace(plain, density=counting, _functions=functions), np.array([[0.5], [3.0]])
    for mean, scale in ((1.0, 2.0), (-4.0, 2.0), (-4.0, 0.3)):
        pm.set_data({"mean": mean, "scale": scale}, model=model)
        np.testing.assert_allclose(prior.logp(x), stats.norm.logpdf(x[:, 0], mean, scale), rtol=1e-12)
    assert len(traces) == 1
    prior.logp(np.zeros((5, 1)))
    assert len(traces) == 2  # another batch size is: the counter can count


def test_data_are_live_in_constrain_and_unconstrain():
    model = made("bounds_on_data")
    prior = bd.compile_prior(model)
    for shift in (0.5, 3.0):
        pm.set_data({"shift": shift}, model=model)
        values = prior.constrain([[0.0]])
        assert values["u"].tolist() == pytest.approx([((1 - shift) + 3) / 2])
        assert prior.unconstrain(values)[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_more_observations_are_no_trouble():
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("x") * pm.Data("X", np.arange(4.0)), 1, observed=pm.Data("Y", np.ones(4)))
    prior, x = bd.compile_prior(model), np.array([[0.5]])
    pm.set_data({"X": np.arange(6.0), "Y": np.zeros(6)}, model=model)
    want = stats.norm.logpdf(0.5) + stats.norm.logpdf(0, 0.5 * np.arange(6), 1).sum()
    assert prior.logp(x)[0] == pytest.approx(want, rel=1e-12)


def test_another_length_of_a_variable_is_an_error():
    with pm.Model(coords={"i": range(3)}) as model:
        pm.Normal("b", pm.Data("X", np.arange(3.0), dims="i"), dims="i")
    prior = bd.compile_prior(model)
    pm.set_data({"X": np.arange(4.0)}, coords={"i": range(4)}, model=model)
    for call in (prior.logp, prior.logp_and_gradient, lambda x: prior.data):
        with pytest.raises(ValueError, match=r"^dimension 'i'") as caught:
            call(np.zeros((1, 3)))
        assert str(caught.value) == (
            "dimension 'i' of the prior had 3 entries when it was compiled and has 4 now; call compile_prior again"
        )
    assert bd.compile_prior(model).logp(np.zeros((1, 4))) == pytest.approx(compile_logp(model)(np.zeros(4)))


# --- constrained values


@pytest.mark.parametrize("name", MODELS)
def test_constrain_and_unconstrain_invert_each_other(shared, name):
    model = shared(name)
    prior, x = bd.compile_prior(model), states(model)
    values = prior.constrain(x)
    assert tuple(values) == prior.readable_names
    np.testing.assert_allclose(prior.unconstrain(values), x, rtol=1e-9, atol=1e-9)
    readable = [model[key] for key in prior.readable_names]
    truth = model.compile_fn(
        model.replace_rvs_by_values(readable), inputs=model.value_vars, mode=PYTHON, on_unused_input="ignore"
    )
    for i, state in enumerate(x):
        for key, want in zip(prior.readable_names, truth(named_point(model, state)), strict=True):
            assert values[key].shape == (len(x), *np.shape(want))
            np.testing.assert_allclose(values[key][i], want, rtol=1e-10, atol=1e-12)


def test_deterministics_are_constrained_values(shared):
    prior = bd.compile_prior(shared("hierarchical"))
    assert prior.readable_names == ("mu", "tau", "theta", "scaled")
    values = prior.constrain(np.random.default_rng(1).normal(size=(4, 7)))
    np.testing.assert_allclose(values["scaled"], values["theta"] / values["tau"][:, None], rtol=1e-14)


def test_unconstrain_compiles_once():
    prior = bd.compile_prior(made("awkward_names"))
    values = prior.constrain(states(prior.model))
    prior.unconstrain(values)
    function, _ = prior._functions.unconstrain
    prior.unconstrain(values)
    assert prior._functions.unconstrain[0] is function
    assert function._cache_size() == 1


def test_values_on_the_edge_are_infinite(shared):
    prior = bd.compile_prior(shared("awkward_names"))
    x = prior.unconstrain({"alpha": [1.0, 0.5], "o": np.zeros((2, 2)), "sigma": [1.0, 0.0]})
    np.testing.assert_array_equal(np.isinf(x), [[True, False, False, False], [False, False, False, True]])


BAD_VALUES = [
    ({"alpha": [0.5]}, "values has no ['o', 'sigma']; write one array per free variable, ['alpha', 'o', 'sigma']"),
    ({"alpha": [0.5], "o": [0.0], "sigma": [1.0]}, "values['o'] has shape (1,); write (batch, 2)"),
    ({"alpha": 0.5, "o": [[0.0, 0.0]], "sigma": [1.0]}, "values['alpha'] has shape (); write (batch,)"),
    (
        {"alpha": [0.5], "o": np.zeros((2, 2)), "sigma": [1.0]},
        "values has different batch lengths: {'alpha': 1, 'o': 2, 'sigma': 1}; give every name the same",
    ),
]


@pytest.mark.parametrize(("values", "message"), BAD_VALUES)
def test_bad_values(shared, values, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared as a whole)
        bd.compile_prior(shared("awkward_names")).unconstrain(values)
    assert str(caught.value) == message


BAD_X = [
    ([0.0], "x has shape (1,); write (batch, 1), with the columns x"),
    ([[0.0, 1.0]], "x has shape (1, 2); write (batch, 1), with the columns x"),
]


@pytest.mark.parametrize("method", ["logp", "logp_and_gradient", "constrain"])
@pytest.mark.parametrize(("x", "message"), BAD_X)
def test_bad_x(shared, method, x, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared as a whole)
        getattr(bd.compile_prior(shared("number")), method)(x)
    assert str(caught.value) == message


def test_bad_x_of_many_columns_and_no_numbers(shared):
    prior = bd.compile_prior(shared("hierarchical"))
    with pytest.raises(ValueError, match=r"columns mu, tau, theta\[0\], theta\[1\], theta\[2\], theta\[3\], \.\.\.$"):
        prior.logp([[0.0]])
    with pytest.raises(TypeError, match=r"^x must hold real numbers, got None"):
        prior.logp(None)


# --- draws and the initial point


def test_draws_have_the_moments_of_the_prior(shared):
    count = 20_000
    x = bd.compile_prior(shared("awkward_names")).draws(count, 1)
    assert (x.shape, x.dtype) == ((count, 4), np.float64)
    o, sigma = x[:, 1:3], np.exp(x[:, 3])
    for values, mean in (
        (sigma, stats.halfnorm.mean()),
        (sigma**2, 1.0),
        (o / sigma[:, None], 0.0),
        ((o / sigma[:, None]) ** 2, 1.0),
        (special.expit(x[:, 0]) - 2 / (3 + np.exp(o[:, 0])), 0.0),
    ):
        error = values.std(axis=0) / np.sqrt(count)
        assert (np.abs(values.mean(axis=0) - mean) < 4 * error).all()
        assert (np.abs(values.mean(axis=0) - mean - 0.1) > 4 * error).all()  # the test can fail


def test_draws_of_a_narrowed_distribution_are_rejected():
    with pm.Model() as model:
        pm.Normal("c", shape=3, transform=pm.distributions.transforms.ordered, initval=[-1.0, 0.0, 1.0])
    prior = bd.compile_prior(model)
    x = prior.draws(6000, 1)
    assert abs(len(x) - 1000) < 4 * np.sqrt(6000 * 5 / 36)  # one order of six
    smallest, middle, largest = prior.constrain(x)["c"].T
    for values, mean in ((middle, 0.0), (largest, 1.5 / np.sqrt(np.pi)), (smallest, -1.5 / np.sqrt(np.pi))):
        assert abs(values.mean() - mean) < 4 * values.std() / np.sqrt(len(values))


def test_the_same_seed_gives_the_same_draws(shared):
    prior = bd.compile_prior(shared("awkward_names"))
    a, b, c = prior.draws(5, 1), prior.draws(5, 1), prior.draws(5, 2)
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    np.testing.assert_array_equal(prior.draws(5, np.random.default_rng(1)), prior.draws(5, np.random.default_rng(1)))
    # PyMC's own draws, in other coordinates: the meaning of a seed is PyMC's.
    names = prior.layout.names
    drawn = pm.draw([prior.model[name] for name in names], 5, random_seed=1, mode=PYTHON)
    for name, want in zip(names, drawn, strict=True):
        np.testing.assert_allclose(prior.constrain(a)[name], want, rtol=1e-12)


@pytest.mark.parametrize("name", ["number", "simplex", "cholesky", "empty_variable", "mixture", "sized_by_data"])
def test_one_draw_has_the_shape_of_many(shared, name):
    prior = bd.compile_prior(shared(name))
    assert prior.draws(1, 1).shape == (1, prior.n)
    assert prior.draws(3, 1).shape == (3, prior.n)


def flat():
    with pm.Model() as model:
        pm.Flat("x")
    return model


NO_RANDOM = "a distribution has no random draws, or invalid parameters"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (PRIORS["hierarchical"], "it has observed data, ['y']"),
        (PRIORS["potential"], "it has a Potential, ['quartic']"),
        (PRIORS["ring"], NO_RANDOM),
        (flat, NO_RANDOM),
        (normal_as_shape, NO_RANDOM),
    ],
)
def test_priors_that_cannot_be_drawn(make, why):
    prior = bd.compile_prior(make())
    assert prior.why_not_drawable() == why
    assert prior.draws(50, 1) is None


def test_no_draws_is_an_error(shared):
    with pytest.raises(ValueError, match=r"^draws is 0; write an int >= 1$"):
        bd.compile_prior(shared("number")).draws(0)


def test_initial_point():
    prior = bd.compile_prior(made("initial_values"))
    point = prior.layout.split(prior.initial_point())
    assert point["x"].tolist() == [1.0, 2.0, 3.0]
    assert point["y"].tolist() == [2.0, 3.0, 4.0]
    assert point["s"].item() == pytest.approx(np.log(2.0))
    assert point["q"].item() == 5.0


# --- what it is


def test_a_compiled_prior_is_taken_as_it_is(shared):
    prior = bd.compile_prior(shared("number"))
    assert bd.compile_prior(prior) is prior
    assert (prior.n, prior.layout) == (1, layout(prior.model))


def test_a_compiled_prior_is_freed():
    prior = bd.compile_prior(made("awkward_names"))
    prior.unconstrain(prior.constrain(states(prior.model)))
    prior.logp_and_gradient(states(prior.model))
    gone = weakref.ref(prior.model)
    del prior
    gc.collect()
    assert gone() is None


# --- what a model keeps


def keeper():
    """A model with something of every kind that may change."""
    with pm.Model(coords={"i": range(2)}) as model:
        mu = pm.Normal("mu", 1.0, 2.0)
        shift = pm.Data("shift", 0.5)
        pm.HalfNormal("s", 1.5)
        pm.Normal("x", mu + shift, np.array([1.0, 2.0]), dims="i")
        pm.Normal("y", mu, 1, observed=np.array([0.0, 1.0, 2.0]))
        pm.Deterministic("twice", 2 * mu)
    return model


def test_a_model_keeps_what_was_compiled():
    model = keeper()
    prior = bd.compile_prior(model)
    assert bd.compile_prior(model) is prior
    constrained = compiled(model, jacobian=False)
    assert constrained is not prior
    assert compiled(model, jacobian=False) is constrained
    pm.set_data({"shift": 3.0}, model=model)
    assert bd.compile_prior(model) is prior
    x = np.random.default_rng(0).normal(size=prior.n)
    assert prior.logp([x])[0] == pytest.approx(compile_logp(model)(x))
    assert bd.compile_prior(keeper()) is not prior


def add_a_potential(model):
    with model:
        pm.Potential("p", -(model["mu"] ** 2))


def add_an_observation(model):
    with model:
        pm.Normal("z", model["mu"], 1, observed=3.0)


def add_a_variable(model):
    with model:
        pm.Normal("w", model["mu"], 1)


def take_a_term_away(model):
    with model:
        pm.Potential("p", -(model["mu"] ** 2))
    bd.compile_prior(model)
    model.potentials.pop()


class HalfLog(pm.distributions.transforms.LogTransform):
    """log s / 2, under the same name."""

    def forward(self, value, *inputs):
        return pt.log(value) / 2

    def backward(self, value, *inputs):
        return pt.exp(2 * value)

    def log_jac_det(self, value, *inputs):
        return 2 * value + np.log(2)


def change_a_transform(model):
    model.rvs_to_transforms[model["s"]] = HalfLog()


def change_a_constant(model):
    [sd] = [v for v in model["x"].owner.inputs if isinstance(v, Constant) and np.array_equal(v.data, [1.0, 2.0])]
    sd.data[:] = 5.0


def change_the_data_that_were_given(model):
    [y] = model.observed_RVs
    model.rvs_to_values[y].data[:] = 9.0


def change_an_input(model):
    node = model["mu"].owner
    at = next(i for i, v in enumerate(node.inputs) if isinstance(v, Constant) and v.data == 2.0)
    node.inputs[at] = pt.constant(7.0)


def change_a_length(model):
    model.set_dim("i", 2, coord_values=["a", "b"])
    with model:
        model.add_coord("j", range(3))
        pm.Normal("w", dims="j")


def unchecked(model):
    model.check_bounds = False
    add_a_potential(model)


@pytest.mark.parametrize(
    "change",
    [
        add_a_potential,
        add_an_observation,
        add_a_variable,
        take_a_term_away,
        change_a_transform,
        change_a_constant,
        change_the_data_that_were_given,
        change_an_input,
        change_a_length,
        unchecked,
    ],
)
def test_a_changed_model_is_compiled_again(change):
    model = keeper()
    before = bd.compile_prior(model)
    change(model)
    after = bd.compile_prior(model)
    assert after is not before
    x = 0.5 * np.arange(1, after.n + 1)
    point = {model.rvs_to_values[model[n]]: v for n, v in after.layout.split(x).items()}
    truth = model.logp().eval(point, mode=PYTHON)
    assert after.logp([x])[0] == pytest.approx(float(truth))
    assert bd.compile_prior(model) is after


def only_logp():
    with pm.Model() as model:
        pm.CustomDist("x", logp=lambda value: -(value**2))
    return model


def of_a_mixture():
    with pm.Model() as model:
        pm.NormalMixture("x", [0.5, 0.5], [0.0, 1.0], [1.0, 1.0])
    return model


@pytest.mark.parametrize(
    "make", [flat, only_logp, of_a_mixture, PRIORS["ring"], lambda: bd.gaussian_mixture([0.5, 0.5], [0.0, 1.0], 1.0)]
)
def test_a_call_leaves_the_model_as_it_was(make):
    model = make()
    prior = bd.compile_prior(model)
    inputs = [list(rv.owner.inputs) for rv in model.free_RVs]
    prior.why_not_drawable()
    prior.draws(3, 1)
    prior.forward_draws(3, 1)
    for before, rv in zip(inputs, model.free_RVs, strict=True):
        assert list(map(id, before)) == list(map(id, rv.owner.inputs))
    assert bd.compile_prior(model) is prior


def test_what_a_logp_of_the_users_reads_is_seen():
    scale = [1.0]
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1)
        pm.CustomDist("y", x, logp=lambda value, mu: -0.5 * scale[0] * (value - mu) ** 2, observed=3.0)
    prior = bd.compile_prior(model)
    assert bd.compile_prior(model) is prior
    scale[0] = 100.0
    changed = bd.compile_prior(model)
    assert changed.logp_and_gradient([[1.0]])[1].item() == pytest.approx(-1 + 100 * (3 - 1))
    assert prior.logp_and_gradient([[1.0]])[1].item() == pytest.approx(-1 + (3 - 1))
    assert bd.compile_prior(model) is changed


def test_a_density_that_overflows_is_no_number():
    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Potential("p", pt.switch(x > 3, np.inf, 0.0))
    prior = bd.compile_prior(model)
    np.testing.assert_array_equal(np.isfinite(prior.logp([[0.0], [4.0], [1.0]])), [True, False, True])
    assert np.isnan(prior.logp([[4.0]])).all()
    draws = bd.sample_posterior(prior, 2.0, sigma=3.0, draws=100, tune=50, chains=2, random_seed=1, progressbar=False)
    assert draws["posterior"]["x"].max() < 3


def test_what_a_model_keeps_is_no_part_of_its_copies():
    model = keeper()
    prior = bd.compile_prior(model)
    for copied in (copy.copy(model), copy.deepcopy(model), clone(model)):
        assert bd.compile_prior(copied) is not prior
        x = np.ones((1, prior.n))
        np.testing.assert_allclose(bd.compile_prior(copied).logp(x), prior.logp(x))
    packed = cloudpickle.dumps(model)
    assert b"bayesdiff" not in packed.replace(b"_compiled_by_bayesdiff", b"")  # it can be read where that is missing
    unpacked = cloudpickle.loads(packed)
    assert bd.compile_prior(unpacked).model is unpacked
    assert bd.compile_prior(cloudpickle.loads(cloudpickle.dumps(prior))).logp(x) == pytest.approx(prior.logp(x))


def test_a_kernel_is_compiled_once_and_freed_with_its_prior():
    traced = []

    def kernel(density, sign, x):
        traced.append(sign)
        return sign * density(x, ())

    prior = bd.compile_prior(made("number"))
    values = [prior.kernel(kernel, sign)(np.ones(1)) for sign in (1, -1, 1, -1)]
    assert traced == [1, -1]
    assert values[0] == -values[1] == values[2]
    assert prior.kernel(kernel, 1) is prior.kernel(kernel, 1)
    gone = weakref.ref(prior.kernel(kernel, 1))
    del prior
    gc.collect()
    assert gone() is None


class Cube(Op):
    """An operation that JAX knows nothing of."""

    __props__ = ()

    def make_node(self, x):
        x = pt.as_tensor(x)
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(inputs[0] ** 3)

    def pullback(self, inputs, outputs, gradients):
        return [3 * inputs[0] ** 2 * gradients[0]]


def test_an_operation_without_translation_is_named_and_pymc_works():
    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Normal("y", Cube()(x), 1.0, observed=0.0)
    with pytest.raises(NotImplementedError) as caught:
        bd.compile_prior(model)
    assert str(caught.value) == (
        "the prior cannot be translated to JAX: No JAX conversion for the given `Op`: Cube. PyMC's own samplers do not "
        "need that: pm.sample(model=bd.step_model(prior, o, alpha, sigma)) works"
    )
    step = bd.step_model(model, 1.0, 1.0, 0.1)
    trace = pm.sample(
        300, tune=300, chains=1, nuts_sampler="pymc", model=step, progressbar=False, random_seed=1,
        compile_kwargs={"mode": PYTHON},
    )  # fmt: skip
    grid = np.linspace(0, 2, 2001)
    density = np.exp(-0.5 * (grid**2 + grid**6 + ((1 - grid) / 0.1) ** 2))
    mean = (grid * density).sum() / density.sum()
    draws = trace["posterior"]["x"].values.ravel()
    assert abs(draws.mean() - mean) < 4.5 * draws.std() / np.sqrt(len(draws) / 4)


class Called(Cube):
    """A cube that JAX calls as a black box: it can be differentiated as often as `derivatives` says."""

    __props__ = ("derivatives",)

    def __init__(self, derivatives):
        self.derivatives = derivatives


@jax_funcify.register(Called)
def _(op, **kwargs):
    def box(function):
        return lambda x: jax.pure_callback(
            function, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims"
        )

    cube = jax.custom_jvp(box(lambda x: np.asarray(x) ** 3))
    cube.defjvp(lambda x, t: (cube(*x), box(lambda x: 3 * np.asarray(x) ** 2)(*x) * t[0]))
    return cube if op.derivatives else box(lambda x: np.asarray(x) ** 3)


def called(derivatives):
    with pm.Model() as model:
        x = pm.Normal("x", shape=2)
        pm.Normal("y", Called(derivatives)(x[0]), 1.0, observed=3.0)
    return model


def test_a_density_with_a_gradient_alone_is_climbed_by_differences():
    prior = bd.compile_prior(called(1))
    x = np.array([[0.7, 5.0], [1e-3, 0.0], [30.0, -1e4]])
    gradient, hessian = jax.jit(
        jax.vmap(lambda x: (jax.grad(prior.density)(x, prior.data), jax.hessian(prior.density)(x, prior.data)))
    )(x)
    first = x[:, 0]
    np.testing.assert_allclose(gradient[:, 0], -first - 3 * first**2 * (first**3 - 3), rtol=1e-12)
    np.testing.assert_allclose(hessian[:, 0, 0], -1 - 15 * first**4 + 18 * first, rtol=1e-7)
    np.testing.assert_allclose(hessian[:, 1, 1], -1, rtol=1e-6)
    np.testing.assert_allclose(hessian[:, 0, 1], 0, atol=1e-3)
    mode = bd.find_map(prior, o=[[1.2, 2.0]], sigma=0.5, random_seed=1)["posterior"]["x"].values.ravel()
    want = optimize.minimize_scalar(
        lambda x: x**2 / 2 + (x**3 - 3) ** 2 / 2 + 2 * (x - 1.2) ** 2, bounds=(1, 2), options={"xatol": 1e-12}
    ).x
    np.testing.assert_allclose(mode, [want, 1.6], rtol=1e-6)


def test_a_density_without_a_gradient_is_refused():
    with pytest.raises(NotImplementedError, match=r"^the prior has no gradient in JAX: Pure callbacks"):
        bd.compile_prior(called(0))


def test_ordinary_densities_are_differentiated_by_jax(shared):
    for name in ("hierarchical", "mixture", "cholesky"):
        assert "by_differences" not in bd.compile_prior(shared(name)).density.__qualname__


def minibatch():
    with pm.Model() as model:
        y = pm.Minibatch(np.arange(100.0), batch_size=10)
        pm.Normal("y", pm.Normal("m"), 1, observed=y, total_size=100)
    return model


def simulator():
    with pm.Model() as model:
        m = pm.Normal("m")
        pm.Simulator("y", lambda rng, m, size: rng.normal(m, 1, size=size), m, sum_stat="mean", observed=np.ones(20))
    return model


def random_potential():
    with pm.Model() as model:
        pm.Potential("y", pm.Normal("m") * pt.random.normal())
    return model


@pytest.mark.filterwarnings("ignore:.*rng:DeprecationWarning")  # PyMC's simulator_logp
@pytest.mark.filterwarnings("ignore:RandomVariables .* were found in the derived graph")
@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (minibatch, "write all of the data in place of pm.Minibatch"),
        (random_potential, "and a variable of the model in place of a draw"),
        (simulator, r"write a likelihood, or pm.sample_smc\(model=bd.step_model\(prior, o, alpha, sigma\)\)$"),
    ],
)
def test_a_density_that_draws_is_refused(make, advice):
    with pytest.raises(
        NotImplementedError, match=r"^\['y'\] of the prior draw random numbers .* x; .*" + advice
    ) as caught:
        bd.compile_prior(make())
    assert "pm.sample(" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # it says that it is experimental
def test_a_prior_of_named_dimensions_has_a_step_too():
    dims = importlib.import_module("pymc.dims")
    with pm.Model(coords={"g": ["a", "b"]}) as model:
        scale = dims.HalfNormal("scale")
        dims.Normal("x", mu=1.0, sigma=scale, dims="g")
    x, o = np.array([0.3, 0.1, -0.5]), np.array([0.1, 0.2, 0.3])
    prior = bd.compile_prior(model)
    scale = np.exp(x[0])
    want = stats.halfnorm.logpdf(scale) + x[0] + stats.norm.logpdf(x[1:], 1, scale).sum()
    assert prior.logp(x[None])[0] == pytest.approx(want, rel=1e-7)
    step = bd.step_model(model, {"scale": o[0], "x": o[1:]}, 2.0, 0.5)
    got = float(step.compile_logp(mode=PYTHON)(named_point(model, x)))
    assert got == pytest.approx(want + stats.norm.logpdf(o, 2 * x, 0.5).sum(), rel=1e-7)


def test_bad_priors_are_refused():
    with pytest.raises(
        TypeError, match=r"^prior must be a pm.Model, got str; write `with pm.Model\(\) as prior: ...`$"
    ):
        bd.compile_prior("prior")
