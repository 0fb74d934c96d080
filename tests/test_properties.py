"""What holds for every prior: models, observations, alpha and sigma that nobody chose, found by hypothesis.

A model is compiled in a second or two, so a few random ones are looked at here, and a hundred by `-m slow`. What needs
a kernel (modes, draws) is asked of one prior whose parameters are data, compiled once: there, examples cost nothing.
"""

import copy
import functools

import cloudpickle
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymc.distributions.transforms import ordered
from pymc.model.fgraph import clone_model
from pytensor.compile.mode import Mode

import bayesdiff as bd
from bayesdiff import step

# The same examples in every run: a suite that fails must fail again. A compilation has no deadline, and to shrink an
# example by hundreds of them takes longer than a test may.
ALWAYS = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
FEW, MANY, CHEAP = (settings(max_examples=count, **ALWAYS) for count in (7, 100, 20))
# PyMC's own density, compiled in milliseconds rather than seconds.
PYTHON = Mode(linker="py", optimizer="fast_compile")
BAD = [np.nan, np.inf, -np.inf, 1e300, -1e9]


# ------------------------------------------------------------------------------------------------------- random models

positive = st.floats(0.3, 3.0)
anywhere = st.floats(-2.0, 2.0)


def on_the_line(name, shape, centre, a, b):
    return pm.Normal(name, centre, a, shape=shape)


def heavy(name, shape, centre, a, b):
    return pm.StudentT(name, nu=2 + b, mu=centre, sigma=a, shape=shape)


def bounded_by(name, shape, centre, a, b):
    # The bounds move with another variable: its transform needs that one too.
    return pm.Uniform(name, centre - a, centre + b, shape=shape)


def half(name, shape, centre, a, b):
    return pm.HalfNormal(name, a * pt.exp(centre / 4), shape=shape)


def exponential(name, shape, centre, a, b):
    return pm.Exponential(name, a * pt.exp(centre / 4), shape=shape)


def gamma(name, shape, centre, a, b):
    return pm.Gamma(name, a * pt.exp(centre / 4), b, shape=shape)


def log_normal(name, shape, centre, a, b):
    return pm.LogNormal(name, centre, a, shape=shape)


def beta(name, shape, centre, a, b):
    return pm.Beta(name, a, b * pt.exp(centre / 4), shape=shape)


def in_order(name, shape, centre, a, b):
    return pm.Normal(name, centre, a, shape=3, transform=ordered, initval=np.array([-1.0, 0.5, 1.5]))


def simplex(name, shape, centre, a, b):
    return pm.Dirichlet(name, np.array([a, b, 1.0]))


def together(name, shape, centre, a, b):
    return pm.MvNormal(name, np.zeros(2) + centre, np.array([[a + 1, 0.4], [0.4, b + 1]]))


def summing_to_nothing(name, shape, centre, a, b):
    return pm.ZeroSumNormal(name, a, shape=3)


def correlated(name, shape, centre, a, b):
    return pm.LKJCholeskyCov(name, n=2, eta=a + 0.5, sd_dist=pm.Exponential.dist(b), compute_corr=False)


BY_SHAPE = [on_the_line, heavy, bounded_by, half, exponential, gamma, log_normal, beta]
OF_THEIR_OWN = [in_order, simplex, together, summing_to_nothing, correlated]


@st.composite
def recipes(draw):
    """One to three variables, each told by its distribution, shape, parent and numbers; and what else the model has.

    A recipe and not a model: it can be written in another order.
    """
    names = draw(st.permutations(["a", "mu", "tau"]))[: draw(st.integers(1, 3))]
    variables = []
    for place, name in enumerate(names):
        distribution = draw(st.sampled_from(BY_SHAPE + OF_THEIR_OWN))
        shape = draw(st.sampled_from([(), (), (2,), (2, 2)])) if distribution in BY_SHAPE else None
        parents = [before for before, _, of_it, *_ in variables[:place] if of_it == ()]
        parent = draw(st.sampled_from([None, *parents]))
        variables.append((name, distribution, shape, parent, draw(anywhere), draw(positive), draw(positive)))
    return variables, draw(st.sampled_from(["nothing", "data", "potential"]))


def written(recipe, order=None):
    """The model of a recipe, its variables created in some order (parents first, whatever is asked for)."""
    variables, more = recipe
    todo = list(variables if order is None else [variables[i] for i in order])
    with pm.Model() as model:
        while todo:
            at = next(i for i, (_, _, _, parent, *_) in enumerate(todo) if parent is None or parent in model.named_vars)
            name, distribution, shape, parent, centre, a, b = todo.pop(at)
            distribution(name, shape, centre if parent is None else centre + 0.5 * pt.tanh(model[parent]), a, b)
        total = sum(pt.sum(model[name]) for name, *_ in sorted(variables))
        if more == "data":
            pm.Normal("y", total, 2.0, observed=0.7)
        elif more == "potential":
            pm.Potential("more", -((total / 3) ** 2))
        pm.Deterministic("total", total)
    return model


def by_pymc(model, layout, x):
    """PyMC's own log density of flat states, one at a time."""
    logp = model.compile_logp(mode=PYTHON)
    values = {name: model.rvs_to_values[model[name]].name for name in layout.names}
    points = [{values[name]: part[0] for name, part in layout.split(row[None]).items()} for row in x]
    return np.array([logp(point) for point in points])


def again(recipe, model, way):
    """The same model, made once more."""
    if way == "another order":
        return written(recipe, range(len(recipe[0]))[::-1])
    if way == "pickled":
        return cloudpickle.loads(cloudpickle.dumps(model))
    ways = {"cloned": step.clone, "copied": copy.deepcopy, "cloned by PyMC": clone_model, "itself": lambda same: same}
    return ways[way](model)


def close(found, wanted, relative, scale=1.0):
    """Whether numbers agree, relative to their size where that is more than `scale`."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return bool((np.abs(found - wanted) <= relative * np.maximum(scale, np.abs(wanted))).all())


# ------------------------------------------------------------------------------------------------ every prior of them


def holds(recipe, data):
    """All that must hold for a prior: it is compiled twice, so all is asked of the same two."""
    model = written(recipe)
    prior = bd.compile_prior(model)
    n, layout = prior.n, prior.layout
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    x = rng.normal(size=(5, n))
    x[0], x[1] = 0.0, 2 * x[1]
    logp, gradient = prior.logp_and_gradient(x)

    # The batched density is PyMC's.
    assert np.isfinite(logp).all()
    assert close(prior.logp(x), by_pymc(model, layout, x), 1e-8)
    assert close(logp, prior.logp(x), 1e-12)

    # Gradients are central differences. With h = eps^(1/3), the error of the difference is h^2 times a third derivative
    # and eps / h times the density, each about 1e-10 of what they multiply; third derivatives of these densities are
    # within some 1e3, as log(1 - exp(...)) has them near an edge. What a wrong term would give is of the order of 1.
    h = np.finfo(float).eps ** (1 / 3)
    steps = h * np.eye(n)
    above, below = (prior.logp((x[:, None] + sign * steps).reshape(-1, n)).reshape(-1, n) for sign in (1, -1))
    assert close(gradient, (above - below) / (2 * h), 1e-6, scale=1 + np.abs(logp).max())

    # A bad state is alone with that.
    for bad in BAD:
        spoilt = x.copy()
        spoilt[2, rng.integers(n)] = bad
        others = np.arange(5) != 2
        there = prior.logp_and_gradient(spoilt)
        assert np.array_equal(there[0][others], logp[others])
        assert np.array_equal(there[1][others], gradient[others])

    # Rows may come in any order.
    order = rng.permutation(5)
    assert close(prior.logp(x[order]), logp[order], 1e-12)

    # What people read leads back to x. Near the edge of a support digits are lost: these x are within some sd of 0.
    values = prior.constrain(x)
    assert close(prior.unconstrain(values), x, 1e-7)
    read = prior.constrain(prior.unconstrain(values))
    assert all(close(read[name], values[name], 1e-7) for name in values)

    # The step, as PyMC has it, and the model as it was.
    o, sigma = rng.normal(size=n), float(np.exp(rng.normal()))
    alpha = float(rng.choice([-1, 1]) * np.exp(rng.normal()))
    before = everything_of(model)
    parts = {name: part[0] for name, part in layout.split(o[None]).items()}
    of_step = bd.step_model(model, parts if len(parts) > 1 else parts[layout.names[0]], alpha, sigma)
    noise = -0.5 * (((o - alpha * x) / sigma) ** 2).sum(1) - n * np.log(sigma * np.sqrt(2 * np.pi))
    assert close(by_pymc(of_step, layout, x), logp + noise, 1e-8)
    assert everything_of(model) == before

    # The same model made once more is the same prior.
    ways = ["another order", "cloned", "pickled", "itself"]
    if all(value is None for value in model.rvs_to_initial_values.values()):  # PyMC copies no others (its issue 8314)
        ways += ["copied", "cloned by PyMC"]
    other = bd.compile_prior(again(recipe, model, data.draw(st.sampled_from(ways), label="made again")))
    assert other.layout == layout
    assert close(other.logp(x), logp, 1e-12)
    assert all(close(other.constrain(x)[name], values[name], 1e-12) for name in values)


def everything_of(model):
    """What a model holds, by identity: a copy that wrote into it would show."""
    return [
        model.str_repr(),
        list(model.named_vars.items()),
        list(model.rvs_to_values.items()),
        list(model.rvs_to_transforms.items()),
        list(map(str, model.rvs_to_initial_values.items())),
        list(model.coords.items()),
        list(model.named_vars_to_dims.items()),
        [*model.free_RVs, *model.observed_RVs, *model.potentials, *model.deterministics],
    ]


@FEW
@given(recipes(), st.data())
def test_what_holds_for_any_prior(recipe, data):
    holds(recipe, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@MANY
@given(recipes(), st.data())
def test_what_holds_for_a_hundred_priors(recipe, data):
    holds(recipe, data)


# ----------------------------------------------------------------------------------------------- one prior, any numbers

SIZE = 3


@functools.cache
def compiled():
    """x_i ~ Logistic(loc_i, scale_i): log-concave, so a step has one mode; its parameters are data."""
    with pm.Model() as model:
        pm.Logistic("x", pm.Data("loc", np.zeros(SIZE)), pm.Data("scale", np.ones(SIZE)), shape=SIZE)
    return bd.compile_prior(model)


def with_parameters(loc, scale):
    prior = compiled()
    pm.set_data({"loc": loc, "scale": scale}, model=prior.model)
    return prior


vectors = st.lists(st.floats(-4, 4), min_size=SIZE, max_size=SIZE).map(np.array)
scales = st.lists(st.floats(0.2, 5), min_size=SIZE, max_size=SIZE).map(np.array)
batches = st.lists(vectors, min_size=6, max_size=6).map(np.array)
alphas = st.lists(st.floats(0.2, 2) | st.floats(-2, -0.2), min_size=6, max_size=6).map(np.array)
sigmas = st.lists(st.floats(0.05, 20), min_size=6, max_size=6).map(np.array)
rows_of_steps = st.tuples(batches, alphas, sigmas)


@CHEAP
@given(vectors, scales, rows_of_steps, st.permutations(range(SIZE)), st.permutations(range(6)))
def test_permuting_permutes(loc, scale, batch, components, rows):
    o, alpha, sigma = batch
    components, rows = list(components), list(rows)
    prior = with_parameters(loc, scale)
    logp = prior.logp(o)
    x, stats = bd.mode(prior, o, alpha, sigma, random_seed=1)
    assert stats["converged"].all()
    by_row, _ = bd.mode(prior, o[rows], alpha[rows], sigma[rows], random_seed=1)
    assert close(by_row, x[rows], 1e-9)

    prior = with_parameters(loc[components], scale[components])
    assert close(prior.logp(o[:, components]), logp, 1e-12)
    permuted, _ = bd.mode(prior, o[:, components], alpha, sigma, random_seed=1)
    # A climb ends where the density no longer rises, which it does not within sqrt(eps) of a mode.
    assert close(permuted, x[:, components], 1e-6)


def spoilt(batch, row, bad, component):
    """The same batch with a bad observation, and the rows that are none."""
    o, alpha, sigma = batch
    worse = o.copy()
    worse[row, component] = bad
    return (worse, alpha, sigma), np.arange(len(o)) != row


def differing(one, other, rows):
    """The names of what differs, in any bit, in some rows: x and the statistics of two calls."""
    (x, stats), (y, others) = one, other
    assert stats.keys() == others.keys()
    pairs = {"x": (x, y), **{name: (stats[name], others[name]) for name in stats}}
    return {name for name, (a, b) in pairs.items() if not np.array_equal(a[rows], b[rows], equal_nan=True)}


bad_places = st.tuples(st.integers(0, 5), st.sampled_from(BAD), st.integers(0, SIZE - 1))


@CHEAP
@given(rows_of_steps, bad_places)
def test_a_bad_neighbour_disturbs_no_mode(batch, place):
    prior = with_parameters(np.zeros(SIZE), np.ones(SIZE))
    worse, others = spoilt(batch, *place)
    without, beside = (bd.mode(prior, *of, random_seed=1) for of in (batch, worse))
    assert differing(without, beside, others) == set()


@CHEAP
@given(rows_of_steps, bad_places)
def test_a_bad_neighbour_disturbs_no_draw(batch, place):
    # Trajectories have one length for a whole chunk, the one that suits the narrowest of its steps. So what lies beside
    # a row is seen in its bits, though not in its law; a row that is not finite counts there as one with o = 0.
    prior = with_parameters(np.zeros(SIZE), np.ones(SIZE))
    worse, others = spoilt(batch, *place)
    beside = bd.draw(prior, *worse, tune=3, random_seed=1)
    if np.isfinite(worse[0]).all():
        assert np.isfinite(beside[0][others]).all()
        assert np.isfinite(beside[1]["lp"][others]).all()
    else:
        worse[0][place[0]] = 0.0
        assert differing(bd.draw(prior, *worse, tune=3, random_seed=1), beside, others) == set()
