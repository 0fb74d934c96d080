"""step_model: its density by hand, PyMC's tools on it, and the user's model untouched by all that."""

import warnings

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pymc.distributions import transforms
from pytensor.compile.mode import Mode
from scipy import stats

import bayesdiff as bd
from bayesdiff.checks import real_array
from bayesdiff.step import Layout, clone, layout, read_noise

# PyTensor from PyPI says so once; nothing here is bound by BLAS.
pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")

# Compiling costs milliseconds this way, seconds with PyTensor's default (numba).
PYTHON = Mode(linker="py", optimizer="fast_compile")
QUIET = {"progressbar": False, "random_seed": 1}

PRIORS = {}


def prior(build):
    """Collect a model, made anew at every call; the function's body is written inside the model."""

    def make():
        with warnings.catch_warnings(), pm.Model() as model:
            warnings.filterwarnings("ignore", message="Data in .* contains missing values")
            return build() or model

    PRIORS[build.__name__] = make
    return make


@prior
def number():
    pm.Normal("x", 1, 2)


@prior
def awkward_names():
    sigma = pm.HalfNormal("sigma", 1)
    o = pm.Normal("o", 0, sigma, shape=2)
    pm.Beta("alpha", 2, 1 + pt.exp(o[0]))


@prior
def bounds_that_depend():
    b = pm.HalfNormal("b", 2)
    a = pm.Normal("a", -3, 0.5)
    pm.Uniform("u", a - b, a + b, shape=3)


@prior
def bounds_on_data():
    y = pm.Normal("y", observed=1.0)
    shift = pm.Data("shift", 0.5)
    pm.Uniform("u", y - shift, y + 2)


@prior
def interval():
    pm.Normal("x", transform=transforms.Interval(-1, 2))
    pm.TruncatedNormal("t", lower=0, upper=3)


@prior
def simplex():
    pm.Dirichlet("w", np.array([1.0, 2.0, 3.0]), shape=(2, 3))


@prior
def cholesky():
    pm.LKJCholeskyCov("L", n=3, eta=2.0, sd_dist=pm.Exponential.dist(1.0, shape=3))


@prior
def zero_sum():
    pm.modelcontext(None).add_coord("g", list("abcd"))
    pm.ZeroSumNormal("z", dims="g")


@prior
def ordered():
    pm.Normal("c", np.arange(3.0), transform=transforms.ordered, initval=np.arange(3.0))
    pm.HalfNormal("s")


@prior
def hierarchical():
    pm.modelcontext(None).add_coord("school", list("abcde"))
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    theta = pm.Normal("theta", mu, tau, dims="school")
    pm.Deterministic("scaled", theta / tau, dims="school")
    pm.Normal("y", theta, 1.0, observed=np.arange(5.0), dims="school")


@prior
def regression():
    model = pm.modelcontext(None)
    model.add_coord("i", range(4))
    X, y = pm.Data("X", np.arange(4.0), dims="i"), pm.Data("y", np.ones(4), dims="i")
    b, s = pm.Normal("b", shape=2), pm.Exponential("s", 1)
    pm.Normal("obs", b[0] + b[1] * X, s, observed=y, dims="i")


@prior
def missing():
    mu = pm.HalfNormal("mu")
    pm.Gamma("y", mu, 1.0, observed=np.array([1.0, np.nan, 2.0, np.nan]))


@prior
def potential():
    x = pm.Normal("x", shape=2)
    pm.Potential("quartic", -pt.sum(x**4))


@prior
def custom():
    s = pm.Normal("s")
    pm.CustomDist("x", s, logp=lambda x, s: -pt.abs(x - s), random=lambda s, rng, size: rng.laplace(s, size=size))


@prior
def mixture():
    w = pm.Dirichlet("w", np.ones(2))
    pm.Mixture("x", w=w, comp_dists=[pm.Normal.dist(-2, 1), pm.Normal.dist(2, 1)])


@prior
def ring():
    return bd.density(lambda x: -5 * (pt.sqrt(pt.sum(x**2)) - 3) ** 2, shape=2, initval=[3.0, 0.0])


@prior
def tilted():
    with pm.Model(model=None) as model:
        pm.HalfNormal("x", shape=2)
        pm.Normal("o")
    return bd.tilt(model, lambda x, o: pt.sum(x) * o)


@prior
def initial_values():
    start = pm.Data("start", np.array([1.0, 2.0, 3.0]))
    pm.Normal("x", shape=3, initval=np.array([1.0, 2.0, 3.0]))
    pm.Normal("y", shape=3, initval=start + 1)
    pm.HalfNormal("s", initval=2.0)
    pm.Normal("p", initval="prior")
    pm.Normal("q", 5, 1, initval="support_point")


@prior
def named():
    with pm.Model(name="sub", model=None) as model:
        s = pm.HalfNormal("s")
        pm.Normal("x", 0, s, shape=2)
    return model


@prior
def sized_by_data():
    count = pm.Data("count", 3)
    X = pm.Data("X", np.ones(2))
    pm.Normal("b", shape=X.shape[0])
    pm.HalfNormal("c", shape=count.astype(int))


@prior
def empty_variable():
    pm.Normal("none", shape=0)
    pm.Dirichlet("one", np.ones(1))
    pm.Normal("x")


def named_point(model, flat):
    """A flat state as PyMC takes it: under the names of its value variables."""
    return {model.rvs_to_values[model[name]].name: part for name, part in layout(model).split(flat).items()}


def compile_logp(model, **options):
    logp = model.compile_logp(mode=PYTHON, on_unused_input="ignore", **options)
    return lambda flat: float(logp(named_point(model, flat)))


def as_o(model, flat):
    """A flat o as a user writes it."""
    parts = layout(model).split(flat)
    return parts if len(parts) > 1 else next(iter(parts.values()))


def state_of(model):
    """All that a user can see of a model, as values."""
    return {
        "names": list(model.named_vars),
        "ids": [id(variable) for variable in model.named_vars.values()],
        "dims": dict(model.named_vars_to_dims),
        "coords": dict(model.coords),
        "lengths": {dim: int(length.get_value()) for dim, length in model.dim_lengths.items()},
        "data": {v.name: v.get_value().tolist() for v in model.data_vars},
        "initval": {rv.name: id(value) for rv, value in model.rvs_to_initial_values.items()},
        "transforms": {rv.name: id(value) for rv, value in model.rvs_to_transforms.items()},
        "initial_point": {name: value.tolist() for name, value in model.initial_point(0).items()},
    }


# --- the density, by hand, and the user's model


@pytest.mark.parametrize("name", PRIORS)
def test_the_log_density_is_that_of_the_prior_plus_the_noise(name):
    model = PRIORS[name]()
    before = state_of(model)
    rng = np.random.default_rng(1)
    o, *points = rng.normal(size=(3, layout(model).n))
    step = bd.step_model(model, as_o(model, o), alpha=-0.7, sigma=2.0)
    logp, logp_prior = step.compile_logp(mode=PYTHON, on_unused_input="ignore"), compile_logp(model)
    at_points = [logp_prior(x) for x in points]
    for x, value in zip(points, at_points, strict=True):
        want = value + stats.norm.logpdf(o, -0.7 * x, 2.0).sum()
        assert np.isfinite(want)
        assert float(logp(named_point(model, x))) == pytest.approx(want, rel=1e-10, abs=1e-10)

    # The copy is changed in every way a user would; the model stays what it was.
    pm.set_data({"step::alpha": 3.0, "step::sigma": 1e3}, model=step)
    for data in step.data_vars:
        pm.set_data({data.name: data.get_value() * 2}, model=step)
    for values in step.rvs_to_initial_values.values():
        if isinstance(values, np.ndarray):
            values += 1
    step.add_coord("more", range(3))
    assert state_of(model) == before
    assert [logp_prior(x) for x in points] == at_points


@pytest.mark.parametrize("name", ["awkward_names", "number"])
def test_set_data_moves_the_density(name):
    model = PRIORS[name]()
    rng = np.random.default_rng(2)
    x, o = rng.normal(size=(2, layout(model).n))
    step = bd.step_model(model, as_o(model, np.zeros(x.size)))
    logp = step.compile_logp(mode=PYTHON)
    point, logp_prior = named_point(model, x), compile_logp(model)(x)
    assert float(logp(point)) == pytest.approx(logp_prior + stats.norm.logpdf(0, x, 1).sum(), rel=1e-10)
    for change, (new, alpha, sigma) in (
        ({"step::o": o if x.size > 1 else o[0]}, (o, 1, 1)),
        ({"step::alpha": 0.5}, (o, 0.5, 1)),
        ({"step::sigma": 3.0}, (o, 0.5, 3)),
    ):
        pm.set_data(change, model=step)
        assert float(logp(point)) == pytest.approx(
            logp_prior + stats.norm.logpdf(new, alpha * x, sigma).sum(), rel=1e-10
        )


def test_a_step_written_inside_a_model_is_no_part_of_it():
    with pm.Model() as model:
        pm.Normal("x")
        step = bd.step_model(model, 1.0)
    assert list(model.named_vars) == ["x"]
    assert step.parent is None
    assert set(step.named_vars) == {"x", "step::o", "step::alpha", "step::sigma", "step::likelihood"}


def test_o_is_labelled():
    step = bd.step_model(PRIORS["awkward_names"](), {"sigma": 1.0, "o": [2.0, 3.0], "alpha": 4.0})
    assert step.coords["step::x"] == ("alpha", "o[0]", "o[1]", "sigma")
    assert step["step::o"].get_value().tolist() == [4.0, 2.0, 3.0, 1.0]
    with pm.Model(coords={"g": list("abc")}) as model:
        pm.Normal("x", dims="g")
    step = bd.step_model(model, [1.0, 2.0, 3.0])
    assert step.named_vars_to_dims["step::o"] == step.named_vars_to_dims["step::likelihood"] == ("g",)
    # The unconstrained shape is another, so are the dims.
    assert "step::o" not in bd.step_model(PRIORS["zero_sum"](), [1.0, 2.0, 3.0]).named_vars_to_dims


def test_a_dimension_of_another_length():
    with pm.Model(coords={"i": range(3)}) as model:
        pm.Normal("b", pm.Data("X", np.arange(3.0), dims="i"), dims="i")
    step = bd.step_model(model, np.zeros(3))
    pm.set_data({"X": np.arange(4.0), "step::o": np.ones(4)}, coords={"i": range(4)}, model=step)
    want = stats.norm.logpdf(0.5, np.arange(4.0)).sum() + stats.norm.logpdf(1.0, 0.5 * np.ones(4)).sum()
    assert float(step.compile_logp(mode=PYTHON)({"b": np.full(4, 0.5)})) == pytest.approx(want, rel=1e-12)
    assert model.coords["i"] == (0, 1, 2)


# --- cloning


def test_a_clone_keeps_initial_values():
    model = PRIORS["initial_values"]()
    twice = clone(clone(model))
    for name, value in model.initial_point(3).items():
        np.testing.assert_array_equal(twice.initial_point(3)[name], value)
    pm.set_data({"start": np.zeros(3)}, model=twice)
    assert twice.initial_point()["y"].tolist() == [1.0, 1.0, 1.0]
    assert model.initial_point()["y"].tolist() == [2.0, 3.0, 4.0]
    twice.rvs_to_initial_values[twice["x"]] += 1
    assert model.initial_point()["x"].tolist() == [1.0, 2.0, 3.0]


def test_data_of_a_clone_are_its_own_and_other_shared_variables_are_not():
    scale = pytensor.shared(2.0, name="scale")
    with pm.Model() as model:
        pm.Normal("x", pm.Data("mean", 1.0), scale)
    copied = clone(model)
    scale.set_value(5.0)
    pm.set_data({"mean": 3.0}, model=copied)
    assert compile_logp(model)(np.zeros(1)) == pytest.approx(stats.norm.logpdf(0, 1, 5))
    assert compile_logp(copied)(np.zeros(1)) == pytest.approx(stats.norm.logpdf(0, 3, 5))


# --- PyMC's tools


@pytest.mark.parametrize("name", ["awkward_names", "zero_sum", "hierarchical", "missing", "named", "initial_values"])
def test_pymc_works_on_a_step(name):
    model = PRIORS[name]()
    where = layout(model)
    step = bd.step_model(model, as_o(model, np.full(where.n, 0.3)), sigma=0.5)
    options = {"compile_kwargs": {"mode": PYTHON}, "model": step}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="More chains .* than draws")
        trace = pm.sample(20, tune=20, chains=1, nuts_sampler="pymc", **QUIET, **options)
    assert all(np.isfinite(trace["posterior"][key]).all() for key in where.names)
    best = pm.find_MAP(return_inferencedata=True, jitter=False, **QUIET, **options)
    assert all(np.isfinite(best["posterior"][key]).all() for key in where.names)
    drawn = pm.sample_prior_predictive(20, random_seed=1, **options)
    assert drawn["prior_predictive"]["step::likelihood"].shape[:2] == (1, 20)
    assert all(key in pm.model_to_mermaid(step) for key in ("step::likelihood", "step::o", *where.names))


@pytest.mark.parametrize("name", ["number", "awkward_names"])
def test_log_likelihood_and_prior_predictive_by_hand(name):
    model = PRIORS[name]()
    o = np.linspace(-1, 1, layout(model).n)
    step = bd.step_model(model, as_o(model, o), alpha=0.5, sigma=0.1)
    options = {"compile_kwargs": {"mode": PYTHON}, "model": step}
    drawn = pm.sample_prior_predictive(500, random_seed=3, **options)
    x = bd.compile_prior(model).unconstrain({key: drawn["prior"][key].values[0] for key in layout(model).names})
    noise = (drawn["prior_predictive"]["step::likelihood"].values.reshape(x.shape) - 0.5 * x) / 0.1
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(1.5 * noise.ravel(), "norm").pvalue < 1e-3  # the test can fail
    got = pm.compute_log_likelihood(
        xr.DataTree.from_dict({"posterior": drawn["prior"].to_dataset()}),
        extend_inferencedata=False,
        progressbar=False,
        **options,
    )
    np.testing.assert_allclose(
        got["step::likelihood"].values.reshape(x.shape), stats.norm.logpdf(o, 0.5 * x, 0.1), rtol=1e-8, atol=1e-8
    )


def test_the_default_sampler():
    step = bd.step_model(PRIORS["number"](), 3.0, sigma=2.0)
    trace = pm.sample(200, tune=200, chains=1, model=step, **QUIET)
    # N(1, 2^2) and one observation 3 with sd 2: N(2, 2); 200 draws of NUTS are worth about 70
    assert abs(float(trace["posterior"]["x"].mean()) - 2.0) < 4.5 * np.sqrt(2 / 70)


def test_graphviz():
    pytest.importorskip("graphviz")
    assert "step::likelihood" in pm.model_to_graphviz(bd.step_model(PRIORS["hierarchical"](), HIERARCHICAL)).source


HIERARCHICAL = {"mu": 0.0, "tau": 0.0, "theta": np.zeros(5)}


# --- the layout


def test_layout_sorts_names_and_splits():
    where = layout(PRIORS["awkward_names"]())
    assert where == Layout(("alpha", "o", "sigma"), ((), (2,), ()))
    assert (where.n, where.sizes, where.labels) == (4, (1, 2, 1), ["alpha", "o[0]", "o[1]", "sigma"])
    parts = where.split(np.arange(8.0).reshape(2, 4))
    assert {name: part.tolist() for name, part in parts.items()} == {
        "alpha": [0, 4], "o": [[1, 2], [5, 6]], "sigma": [3, 7]
    }  # fmt: skip
    assert layout(PRIORS["simplex"]()).labels == ["w[0, 0]", "w[0, 1]", "w[1, 0]", "w[1, 1]"]
    assert layout(PRIORS["empty_variable"]()).shapes == ((0,), (0,), ())


def test_read_o():
    one, two = Layout(("x",), ((2,),)), Layout(("a", "b"), ((), (2,)))
    for o, want, batched in (
        ([1, 2], [[1, 2]], False),
        ({"x": [True, 2]}, [[1, 2]], False),
        ([[1, 2], [3, 4], [5, np.nan]], [[1, 2], [3, 4], [5, np.nan]], True),
    ):
        flat, got = one.read(o)
        np.testing.assert_array_equal(flat, want)
        assert (flat.dtype, got) == (np.float64, batched)
    flat, batched = two.read({"b": [[1.0, 2], [3, 4]], "a": [5, 6]})
    assert (flat.tolist(), batched) == ([[5, 1, 2], [6, 3, 4]], True)
    flat, batched = Layout(("none", "x"), ((0,), ())).read({"none": [], "x": 1})
    assert (flat.tolist(), batched) == ([[1]], False)
    given = np.zeros(2)
    assert not np.shares_memory(one.read(given)[0], given)


X, AB = Layout(("x",), ((2,),)), Layout(("a", "b"), ((), (2,)))
BAD_O = [
    (
        AB,
        [1.0],
        TypeError,
        "o is list, but the prior has 2 variables; write a mapping from each name to its array, o={'a': ..., 'b': ...}",
    ),
    (
        AB,
        {"a": 1, "c": 2},
        ValueError,
        "o has unknown names ['c'] and no ['b']; write one entry per free variable, ['a', 'b']",
    ),
    (X, {"x": [1, 2], 3: 1}, ValueError, "o has unknown names [3]; write one entry per free variable, ['x']"),
    (X, {}, ValueError, "o has no ['x']; write one entry per free variable, ['x']"),
    (
        X,
        [1.0, 2, 3],
        ValueError,
        "o of 'x' has shape (3,); write its unconstrained shape (2,), or (batch, 2) for a batch",
    ),
    (
        Layout(("x",), ((),)),
        [[1.0]],
        ValueError,
        "o of 'x' has shape (1, 1); write its unconstrained shape (), or (batch,) for a batch",
    ),
    (X, np.zeros((0, 2)), ValueError, "o is an empty batch; write at least one observation"),
    (
        AB,
        {"a": 1, "b": [[1, 2], [3, 4]]},
        ValueError,
        "o has different batch lengths: {'a': None, 'b': 2} (None: no batch); give every name the same",
    ),
    (X, None, TypeError, "o must hold real numbers, got None (dtype object)"),
    (X, ["a", "b"], TypeError, "o must hold real numbers, got ['a', 'b'] (dtype <U1)"),
    (X, [1j, 0], TypeError, "o must hold real numbers, got [1j, 0] (dtype complex128)"),
    (AB, {"a": "1", "b": [1, 2]}, TypeError, "o['a'] must hold real numbers, got '1' (dtype <U1)"),
    (
        X,
        np.ma.masked_invalid([1.0, np.nan]),
        TypeError,
        "o has masked entries, whose values would be used; write what stands for them",
    ),
]


@pytest.mark.parametrize(("where", "o", "error", "message"), BAD_O)
def test_bad_o(where, o, error, message):
    with pytest.raises(error) as caught:
        where.read(o)
    assert str(caught.value) == message


def test_ragged_o():
    with pytest.raises(
        TypeError, match=r"^o must be an array of real numbers, got \[\[1, 2\], \[3\]\] \(rows of different lengths\)$"
    ):
        X.read([[1, 2], [3]])
    with pytest.raises(TypeError) as caught:
        real_array(["a"] * 10**5, "o")
    assert len(str(caught.value)) < 200


BAD_NOISE = [
    (1.0, 0.0, None, ValueError, "sigma is 0.0; write a finite number > 0"),
    (1.0, -1, None, ValueError, "sigma is -1.0; write a finite number > 0"),
    (1.0, np.nan, None, ValueError, "sigma is nan; write a finite number > 0"),
    (1.0, np.inf, None, ValueError, "sigma is inf; write a finite number > 0"),
    (0.0, 1.0, None, ValueError, "alpha is 0.0; write a finite number other than 0"),
    (np.nan, 1.0, None, ValueError, "alpha is nan; write a finite number other than 0"),
    ("1", 1.0, None, TypeError, "alpha must hold real numbers, got '1' (dtype <U1)"),
    (1.0, None, None, TypeError, "sigma must hold real numbers, got None (dtype object)"),
    (1.0, [1.0], None, ValueError, "sigma has shape (1,); write one number"),
    ([1.0, 2], 1.0, 3, ValueError, "alpha has shape (2,); write one number, or one per observation (shape (3,))"),
    (1.0, [1.0, 2, 0], 3, ValueError, "sigma is 0.0 at observation 2; write a finite number > 0"),
]


@pytest.mark.parametrize(("alpha", "sigma", "batch", "error", "message"), BAD_NOISE)
def test_bad_noise(alpha, sigma, batch, error, message):
    with pytest.raises(error) as caught:
        read_noise(alpha, sigma, batch)
    assert str(caught.value) == message


def test_read_noise():
    alpha, sigma = read_noise(-1, [1, 2], 2)
    assert (alpha.shape, alpha.item(), sigma.tolist()) == ((), -1.0, [1.0, 2.0])


def discrete():
    with pm.Model() as model:
        pm.Poisson("k", 1)
        pm.Normal("x")
    return model


def sub_model():
    with pm.Model() as model:
        pm.Normal("x")
        with pm.Model(name="sub") as inner:
            pm.Normal("y")
    return inner if model else None


def with_dim(dim):
    with pm.Model(coords={dim: range(2)}) as model:
        pm.Normal("x", dims=dim)
    return model


def with_name(name):
    with pm.Model() as model:
        pm.Normal("x")
        pm.Deterministic(name, pt.as_tensor(1.0))
    return model


def only(distribution, *args, **options):
    with pm.Model() as model:
        distribution("x", *args, **options)
    return model


BAD_PRIOR = [
    (lambda: 3, TypeError, "prior must be a pm.Model, got int; write `with pm.Model() as prior: ...`"),
    (
        lambda: bd.compile_prior(only(pm.Normal)),
        TypeError,
        "prior must be a pm.Model, got CompiledPrior; write `prior.model`",
    ),
    (
        pm.Model,
        ValueError,
        "prior has no free variable, so there is no x to infer; write at least one, as pm.Normal('x')",
    ),
    (sub_model, ValueError, "prior is the sub-model 'sub' of another model; pass the outermost model"),
    (
        discrete,
        TypeError,
        "Gaussian noise needs continuous variables, but ['k'] of the prior are discrete; sum them out "
        "(pm.Mixture, or marginalize of pymc-extras) or observe them",
    ),
    (
        lambda: with_dim("observation"),
        ValueError,
        "the prior has a dimension 'observation', which results use themselves; give it another name",
    ),
    (
        lambda: with_name("lp"),
        ValueError,
        "the prior has a variable 'lp', which results use themselves; give it another name",
    ),
    (
        lambda: with_name("step::o"),
        ValueError,
        "the prior has a variable 'step::o', which results use themselves; give it another name",
    ),
    (
        lambda: only(pm.Dirichlet, np.ones(1)),
        ValueError,
        "the free variables ['x'] of the prior hold no number: [(0,)]; give one a size",
    ),
    (
        lambda: only(pm.VonMises, 0, 1),
        ValueError,
        "['x'] of the prior are angles on a circle, and Gaussian noise needs a line; cut the circle open, as "
        "in pm.VonMises(..., default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_PRIOR)
def test_bad_prior(make, error, message):
    with pytest.raises(error) as caught:
        bd.step_model(make(), 1.0)
    assert str(caught.value) == message


def test_a_circle_cut_open_as_the_message_says():
    model = only(pm.VonMises, 0, 1, default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))
    x, o = np.array([3.0]), np.array(9.0)
    want = compile_logp(model)(x) + stats.norm.logpdf(9, 3, 1)
    assert float(bd.step_model(model, o).compile_logp(mode=PYTHON)(named_point(model, x))) == pytest.approx(want)


BAD_STEP = [
    (
        {"o": [1.0, 2.0]},
        "o is a batch of 2 observations, a step model has one; write one o, or use find_map or "
        "sample_posterior for all of them",
    ),
    ({"o": np.nan}, "o is nan at 'x'; write a finite number"),
    ({"o": 1.0, "sigma": [1.0]}, "sigma has shape (1,); write one number"),
    ({"o": 1.0, "alpha": 0}, "alpha is 0.0; write a finite number other than 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_STEP)
def test_bad_step(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared as a whole)
        bd.step_model(PRIORS["number"](), **arguments)
    assert str(caught.value) == message
