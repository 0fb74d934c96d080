"""Fingerprints of priors, here and in another process."""

import importlib
import io
import warnings
from pathlib import Path

import cloudpickle
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from other_process import TELL, other_process
from pytensor import wrap_jax
from pytensor.graph.op import Op
from pytensor.link.jax.dispatch import jax_funcify
from test_fingerprints_objects import OBJECTS
from test_step import PYTHON

import bayesdiff as bd
from bayesdiff.fingerprints import Unknown, of_function, of_object, of_prior
from bayesdiff.images.networks import Network, VectorNet
from bayesdiff.images.priors import classifier_prior
from bayesdiff.step import clone

FILES = (Path(__file__).parents[1] / "models").glob("*.py")
MODELS = sorted(file.stem for file in FILES if "def prior(" in file.read_text(encoding="utf-8"))


def same(first, second):
    return of_object(first) == of_object(second)


HANDLE = io.TextIOWrapper(io.BytesIO())


def normal(
    sd=1.0, name="x", observed=2.0, data=(1.0, 2.0), city=("a", "b"), read=2.0, initval=None, dims="city", far=50.0
):
    with pm.Model(coords={"city": city}) as model:
        x = pm.Normal(name, 0.0, sd, initval=initval)
        given = pm.Data("given", np.array(data), dims=dims)
        pm.Potential("far", pt.switch(x > far, -x, 0.0))
        pm.Deterministic("read", read * x)
        pm.Normal("y", x + given, pytensor.shared(1.5), observed=[observed, 1.0], dims="city")
    return model


def transformed(low=0.0, high=1.0, **how):
    with pm.Model() as model:
        pm.Uniform("a", low, high)
        pm.Dirichlet("b", np.ones(3))
        pm.HalfNormal("c", **how)
    return model


class Doubled(pm.distributions.transforms.LogTransform):
    name = "doubled"

    def forward(self, value, *inputs):
        return 2 * super().forward(value, *inputs)


def custom(factor=0.5, draw=1.0, begin=0.0):
    def logp(x):
        return -factor * x**2

    def random(rng=None, size=None):
        return draw * rng.normal(size=size)

    def support_point(rv, size):
        return pt.full_like(rv, begin)

    with pm.Model() as model:
        pm.CustomDist("x", logp=logp, random=random, support_point=support_point)
    return model


def custom_dist(sd=1.0):
    with pm.Model() as model:
        pm.CustomDist(
            "x",
            0.0,
            dist=lambda mu, size: pm.Normal.dist(mu, sd, size=size) + pm.Laplace.dist(0, 1, size=size),
            logp=lambda x, mu: -(x**2),
        )
    return model


def inferred(sd=1.0):
    with pm.Model() as model:
        pm.CustomDist("x", 0.0, dist=lambda mu, size: pt.exp(pm.Normal.dist(mu, sd, size=size)))
    return model


def mixture(sd=1.0):
    with pm.Model() as model:
        pm.Mixture("x", [0.5, 0.5], [pm.Normal.dist(0, 1), pm.CustomDist.dist(logp=lambda x: -(x**2) / sd)])
    return model


def scanned(factor=0.9, count=4):
    with pm.Model() as model:
        x = pm.Normal("x", shape=4)
        total = pytensor.scan(
            lambda a, b: factor * b + a, sequences=[x[:count]], outputs_info=[pt.zeros(())], return_updates=False
        )
        pm.Potential("p", total.sum())
    return model


def from_graph(factor=0.9):
    with pm.Model() as model:
        x = pm.Normal("x", shape=4)
        a = pt.vector("a", shape=(4,))
        pm.Potential("p", pytensor.compile.builders.OpFromGraph([a], [factor * a])(x).sum())
    return model


def mvnormal(rho=0.5, steps=3):
    with pm.Model() as model:
        pm.MvNormal("x", np.zeros((steps, 2)), [[1.0, rho], [rho, 1.0]])
        pm.GaussianRandomWalk("w", steps=steps, init_dist=pm.Normal.dist(0, 10 * rho))
        pm.LKJCholeskyCov("l", 2.0, 2, sd_dist=pm.Exponential.dist(rho))
    return model


def of_jax(factor=1.5, cut=50.0):
    weights = {"a": np.arange(3.0) * factor}
    f = wrap_jax(lambda x: jnp.where(x.sum() > cut, 0.0, -(weights["a"] * x**2).sum()))
    return bd.density(lambda x: f(pt.specify_shape(x, (3,))), 3)


class Scaled(Op):
    __props__ = ()
    itypes, otypes = (pt.dscalar,), (pt.dscalar,)

    def __init__(self, f):
        self.f = f

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(self.f(inputs[0]))


@jax_funcify.register(Scaled)
def jax_scaled(op, **kwargs):
    return op.f


def of_op(factor=1.5):
    with pm.Model() as model:
        pm.Potential("p", Scaled(lambda x: -factor * x**2)(pm.Normal("x")))
    return model


def levels(mean=0.0, high=10.0):
    return bd.gaussian_mixture([0.5, 0.5], [mean, 3.0], 1.0, bd.geometric(3, 0.1, high))


def density_of(factor=0.5, initval=0.0):
    return bd.density(lambda x: -factor * pt.sum(x**2), 2, initval=initval)


def tilted(factor=0.5):
    return bd.tilt(normal(), lambda x: factor * x)


def network(weight=0.0, word="left", strength=1.0, schedule=None):
    net = VectorNet((2,), ("left", "right"), mean=0.0, sd=1.0, width=8, depth=1)
    weights = net.initial(random_seed=0)
    weights[max(weights)].flat[-1] += weight
    return classifier_prior(Network(net, weights, np.zeros((3, 141))), word, schedule, strength=strength)


def two(second=0):
    with pm.Model() as model:
        x = [pm.Normal("a"), pm.Normal("b")]
        pm.Potential("p", x[0] * x[second])
    return model


def beginning(how):
    with pm.Model() as model:
        pm.Normal("x", initval=how)
    return model


def hierarchical(imputed=np.nan, length=3):
    with pm.Model(coords={"k": range(length)}) as model:
        mu = pm.Normal("mu", dims="k")
        pm.Normal("y", mu.sum(), 1.0, observed=np.array([1.0, 2.0, imputed]))
    return model


# Each is made twice, and all of a row are others.
PRIORS = {
    "numbers": [normal, lambda: normal(sd=1.0 + 1e-15), lambda: normal(read=2.1), lambda: normal(initval=1.0)],
    "names": [normal, lambda: normal(name="z"), lambda: normal(dims=None)],
    "data": [
        normal,
        lambda: normal(observed=2.0 + 1e-15),
        lambda: normal(data=(2.0, 1.0)),
        lambda: normal(data=(1.0, 2.0 + 1e-15)),
    ],
    "coordinates": [
        normal,
        lambda: normal(city=("b", "a")),
        lambda: normal(city=(1, 2)),
        lambda: normal(city=(1.0, 2.0)),
    ],
    "far away": [normal, lambda: normal(far=51.0)],
    "transforms": [
        transformed,
        lambda: transformed(high=2.0),
        lambda: transformed(default_transform=None),
        lambda: transformed(default_transform=Doubled()),
        lambda: transformed(default_transform=pm.distributions.transforms.Interval(0.0, 2.0)),
        lambda: transformed(default_transform=pm.distributions.transforms.Interval(0.0, 3.0)),
    ],
    "custom": [custom, lambda: custom(factor=0.6), lambda: custom(draw=1.1), lambda: custom(begin=1.0)],
    "custom dist": [custom_dist, lambda: custom_dist(1.1)],
    "inferred": [inferred, lambda: inferred(1.1)],
    "mixture": [mixture, lambda: mixture(1.1)],
    "scan": [scanned, lambda: scanned(0.8), lambda: scanned(count=3)],
    "inner graph": [from_graph, lambda: from_graph(0.8)],
    "many numbers": [mvnormal, lambda: mvnormal(0.4), lambda: mvnormal(steps=4)],
    "jax": [of_jax, lambda: of_jax(1.6), lambda: of_jax(cut=51.0)],
    "operation": [of_op, lambda: of_op(1.6)],
    "levels": [levels, lambda: levels(mean=0.1), lambda: levels(high=11.0)],
    "density": [density_of, lambda: density_of(0.6), lambda: density_of(initval=1.0)],
    "tilt": [tilted, lambda: tilted(0.6), normal],
    "network": [network, lambda: network(weight=1e-6), lambda: network(word="right"), lambda: network(strength=1.5)],
    "which variable": [two, lambda: two(1)],
    "where it begins": [
        lambda: beginning(None),
        lambda: beginning(1.0),
        lambda: beginning("prior"),
        lambda: beginning(np.array(2.0)),
    ],
    "imputed": [hierarchical, lambda: hierarchical(3.0), lambda: hierarchical(length=4)],
}


@pytest.mark.filterwarnings("ignore:Data in y contains missing values:pymc.exceptions.ImputationWarning")
@pytest.mark.parametrize("kind", PRIORS)
def test_priors_are_told_by_what_they_are(kind):
    first = [of_object(make()) for make in PRIORS[kind]]
    assert first == [of_object(make()) for make in PRIORS[kind]]
    assert len(set(first)) == len(first)


def test_a_prior_is_its_model_at_a_level_and_its_data_as_they_are_now():
    prior = bd.compile_prior(levels())
    at = [of_prior(which) for which in (prior, prior.at_level(1), prior.at_level(2), bd.compile_prior(normal()))]
    assert len(set(at)) == 4
    assert at[0] == of_prior(bd.compile_prior(levels()))
    model = normal()
    prior = bd.compile_prior(model)
    before = of_prior(prior)
    with model:
        pm.set_data({"given": [3.0, 4.0]})
    assert of_prior(prior) != before
    with model:
        pm.set_data({"given": [1.0, 2.0]})
    assert of_prior(prior) == before


@pytest.mark.parametrize("make", [normal, transformed, levels, network, density_of])
def test_using_a_prior_changes_nothing(make):
    model = make()
    before = of_object(model)
    prior = bd.compile_prior(model)
    prior.logp(np.zeros((2, prior.n)))
    prior.draws(3, 0)
    prior.initial_point()
    if make is not network:  # of which PyMC has no program
        model.compile_logp(mode=PYTHON)(model.initial_point())
    assert of_object(model) == before
    assert of_prior(prior) == of_prior(cloudpickle.loads(cloudpickle.dumps(prior)))
    assert of_object(clone(clone(model))) == of_object(clone(model))


def test_functions_are_told_by_the_priors_that_they_hold():
    def holding(prior):
        return lambda o: prior.logp(o)

    one, again, other = (bd.compile_prior(normal(sd)) for sd in (1.0, 1.0, 1.1))
    assert of_function(holding(one)) == of_function(holding(again)) != of_function(holding(other))
    one, again, other = (normal(sd) for sd in (1.0, 1.0, 1.1))
    assert of_function(holding(one)) == of_function(holding(again)) != of_function(holding(other))
    compiled = [pytensor.function([x], factor * x) for factor in (2.0, 2.0, 3.0) for x in [pt.vector("x")]]
    assert of_function(holding(compiled[0])) == of_function(holding(compiled[1])) != of_function(holding(compiled[2]))


def test_an_operation_is_told_by_its_translation(monkeypatch):
    before = of_object(of_op())
    monkeypatch.setattr(jax_scaled, "__code__", (lambda op, **kwargs: jnp.sin).__code__)
    assert of_object(of_op()) != before


def test_what_a_model_holds_that_nothing_can_be_told_of_is_named():
    with pm.Model() as model:
        pm.Potential("p", Scaled(HANDLE)(pm.Normal("x")))
    with pytest.raises(Unknown, match=r"attribute 'f' of Scaled of .* of the prior: a TextIOWrapper"):
        of_object(model)


def test_a_prior_of_a_million_numbers_is_hashed_at_once():
    def many(last):
        y = np.arange(1e6)
        y[-1] = last
        with pm.Model(coords={"i": np.arange(10**6), "city": [str(i) for i in range(10**5)]}) as model:
            pm.Normal("y", pm.Normal("x"), 1.0, observed=y, dims="i")
        return model

    assert of_object(many(1.0)) == of_object(many(1.0)) != of_object(many(1.0 + 1e-9))


# ------------------------------------------------------------------------------------------------------ other processes


def test_another_process_tells_the_same_of_all_models():
    source = TELL + (
        "from importlib import import_module\n"
        f"print(json.dumps({{n: of_object(import_module('models.' + n).prior()) for n in {MODELS}}}))"
    )
    ours = {name: of_object(importlib.import_module(f"models.{name}").prior()) for name in MODELS}
    assert len(set(ours.values())) == len(MODELS) >= 15
    assert other_process(source) == ours


def test_another_process_tells_the_same_of_priors_and_objects():
    source = TELL + (
        "from test_fingerprints_objects import OBJECTS\nfrom test_fingerprints_priors import PRIORS\n"
        "rows = {**OBJECTS, **PRIORS}\n"
        "print(json.dumps({k: [of_object(f()) for f in row] for k, row in rows.items()}))"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = {kind: [of_object(make()) for make in row] for kind, row in {**OBJECTS, **PRIORS}.items()}
    theirs = other_process(source, folder=Path(__file__).parent)
    assert [kind for kind in ours if ours[kind] != theirs[kind]] == []
