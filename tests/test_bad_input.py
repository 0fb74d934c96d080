"""Bad input: every public function with every wrong kind of argument, and the exact words of each refusal.

A message says what was wrong, its value, and what to write instead; it comes before anything is computed. The table is
one row a mistake: the function, what is wrong, the call, and the error that it must raise, compared letter by letter.
"""

import functools
import inspect
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

import bayesdiff as bd
import bayesdiff.chain
import bayesdiff.invert.draws
import bayesdiff.invert.modes
import bayesdiff.multimodal.sampling
from bayesdiff import cli, explore, images, pictures, results
from bayesdiff.images import inverters as picture_inverters
from bayesdiff.report import render as renderer

NAN, INF = np.nan, np.inf


class Strange:
    """Is no array, no model, no number."""

    def __repr__(self):
        return "Strange()"


OBJECT = Strange()


@functools.cache
def normal():
    """x ~ N(0, 1), a number."""
    with pm.Model() as model:
        pm.Normal("x")
    return bd.compile_prior(model)


@functools.cache
def pair():
    """Two variables, one of them positive, and one a vector."""
    with pm.Model() as model:
        pm.Normal("mu", shape=2)
        pm.HalfNormal("tau")
    return bd.compile_prior(model)


SCHEDULE = bd.geometric(3, 0.5, 4.0)


@functools.cache
def observed():
    """A model with data."""
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("x"), observed=1.0)
    return model


def ranked(*names, draws=3):
    """A tree as `calibrate` returns it, of numbers that nobody computed."""
    at = {"fraction": np.arange(1, draws + 1) / (draws + 1)}
    curve, p = np.zeros(draws), np.array([0.5, 1.0])
    groups = {
        "ecdf": results.dataset({n: curve for n in names}, dims={n: ["fraction"] for n in names}, coords=at),
        "band": results.dataset(
            {"lower": curve - 0.1, "upper": curve + 0.1},
            dims={"lower": ["fraction"], "upper": ["fraction"]},
            coords=at,
        ),
        "diagnostics": results.dataset(
            {n: p for n in names},
            dims={n: ["diagnostic"] for n in names},
            coords={"diagnostic": ["p_value", "p_family"]},
        ),
        "verdict": results.dataset({"calibrated": True}),
    }
    return results.tree(groups, {"inversion": "calibration"})


@functools.cache
def levels():
    """A level prior in the plane."""
    return bd.compile_prior(bd.gaussian_mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 0.5, SCHEDULE))


def model_of(write):
    """A model whose variables `write` writes."""
    with pm.Model() as model:
        write()
    return model


def nested():
    with pm.Model() as outer:
        pm.Normal("x")
        with pm.Model("inner") as inner:
            pm.Normal("x")
    assert outer is inner.parent
    return inner


def axis_taken():
    """A variable has the name that results give to an axis of another."""
    with pm.Model() as model:
        pm.Normal("x", shape=2)
        pm.Normal("x_dim_0")
    return model


def with_coords(dim):
    with pm.Model(coords={dim: [0, 1]}) as model:
        pm.Normal("x", dims=dim)
    return model


STATS = ("lp", "converged", "starts", "starts_agreed", "diverging")


def inversion(kind, o=1.0, sigma=2.0):
    """A tree as `find_map` (kind map) or `sample_posterior` returns it, of numbers that nobody computed."""
    size = (1, 1) if kind == "map" else (2, 4)
    x = np.linspace(-1, 1, size[0] * size[1]).reshape(size)
    state = results.dataset({"x": x}, sample_dims=("chain", "draw"))
    groups = {
        "posterior": state,
        "unconstrained_posterior": state,
        "sample_stats": results.dataset(dict.fromkeys(STATS, -(x**2)), sample_dims=("chain", "draw")),
        "diagnostics": results.dataset({"x": 1.0}),
        "step": results.dataset({"alpha": 1.0, "sigma": sigma}),
        "step/o": results.dataset({"x": o}),
        **({"laplace": results.dataset({"x": 1.0})} if kind == "map" else {}),
    }
    return results.tree(groups, {"inversion": kind})


def with_groups(kind, *names):
    """The same with some of its groups alone."""
    tree = inversion(kind)
    return results.tree({name: tree[name].to_dataset() for name in names}, {"inversion": kind})


def chain(*shape, levels=3):
    """A tree as `reverse` returns it with path=True: x (2 chains, 4 draws, *shape)."""
    noise = bd.geometric(levels - 1, 0.5, 4.0)
    dims = {3: ["row", "column", "colour"], 1: ["place"], 0: []}[len(shape)]
    sample = ("chain", "draw")
    x, path = np.zeros((2, 4, *shape)), np.zeros((2, 4, levels, *shape))
    named = {"alpha": noise.alpha, "sigma": noise.sigma}
    groups = {
        "posterior": results.dataset({"x": x}, sample_dims=sample, dims={"x": dims}),
        "path": results.dataset({"x": path}, sample_dims=sample, dims={"x": ["level", *dims]}),
        "schedule": results.dataset(named, dims={name: ["level"] for name in named}),
    }
    return results.tree(groups, {"inversion": "reverse"})


def forking():
    """A pool whose workers would be forks. Nothing is started before it is given work."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))


def net_of(*words):
    return images.VectorNet((2,), words, mean=0.0, sd=1.0, width=8, depth=1)


@functools.cache
def network():
    """A network of two words for vectors, that has learned nothing."""
    net = net_of("left", "right")
    return images.Network(net, net.initial(random_seed=0), np.zeros((3, 141)))


PICTURES = np.zeros((4, 8, 8, 1))
BYTES = np.zeros((4, 8, 8, 1), np.uint8)


def file(name, content=b""):
    """Write a file in the folder of the test."""
    Path(name).write_bytes(content)
    return name


def folder(name):
    """Make a folder in the folder of the test."""
    Path(name).mkdir()
    return name


def tree_of_y(**given):
    """Is called as pm.sample is, and gives a tree of something else than x."""
    return xr.DataTree.from_dict({"posterior": xr.Dataset({"y": 1.0})})


def without_levels(run):
    """A chain of which only the last level was kept."""
    return results.tree(
        {
            name: node.to_dataset().isel(level=[0]) if "level" in node.dims else node.to_dataset()
            for name, node in run.children.items()
        }
    )


# The public name, and for each mistake: what it is, the call, and the error: its type and all of its words.
TABLE = {
    "Schedule": [
        ("alpha of text", lambda: bd.Schedule("one", [0.0, 1.0]),
         "TypeError: alpha must hold real numbers, got 'one' (dtype <U3)"),
        ("alpha complex", lambda: bd.Schedule([1.0, 1j], [0.0, 1.0]),
         "TypeError: alpha must hold real numbers, got [1.0, 1j] (dtype complex128)"),
        ("sigma None", lambda: bd.Schedule([1.0, 1.0], None),
         "TypeError: sigma must hold real numbers, got None (dtype object)"),
        ("object array", lambda: bd.Schedule([1.0, 1.0], [0.0, OBJECT]),
         "TypeError: sigma must hold real numbers, got [0.0, Strange()] (dtype object)"),
        ("rows of different lengths", lambda: bd.Schedule([[1.0], [1.0, 2.0]], [0.0, 1.0]),
         "TypeError: alpha must be an array of real numbers, got [[1.0], [1.0, 2.0]] (rows of different lengths)"),
        ("one level", lambda: bd.Schedule([1.0], [0.0]),
         "ValueError: alpha has shape (1,) and sigma (1,); write K + 1 numbers each, for the levels 0..K"),
        ("shapes differ", lambda: bd.Schedule([1.0, 1.0], [0.0, 1.0, 2.0]),
         "ValueError: alpha has shape (2,) and sigma (3,); write K + 1 numbers each, for the levels 0..K"),
        ("not finite", lambda: bd.Schedule([1.0, NAN], [0.0, 1.0]),
         "ValueError: alpha[1] is nan; write finite numbers"),
        ("alpha 0", lambda: bd.Schedule([1.0, 0.0], [0.0, 1.0]),
         "ValueError: alpha[1] is 0, so nothing of x is left there; write a small number instead"),
        ("level 0 is not x", lambda: bd.Schedule([0.9, 0.5], [0.1, 1.0]),
         "ValueError: level 0 has alpha 0.9 and sigma 0.1; it is x itself: write 1 and 0"),
        ("sigma negative", lambda: bd.Schedule([1.0, 1.0], [0.0, -1.0]),
         "ValueError: sigma[1] is -1; write numbers > 0 after level 0"),
        ("noise that does not grow", lambda: bd.Schedule([1.0, 1.0, 1.0], [0.0, 2.0, 1.0]),
         "ValueError: the signal-to-noise ratio abs(alpha) / sigma goes from 0.5 at level 1 to 1 at level 2; each "
         "level must add noise: write a ratio that falls"),
        ("masked", lambda: bd.Schedule(np.ma.masked_array([1.0, 1.0], [False, True]), [0.0, 1.0]),
         "TypeError: alpha has masked entries, whose values would be used; write what stands for them"),
        ("step 0", lambda: SCHEDULE.step(0), "ValueError: level is 0; write a step of this schedule, 1 to 3"),
        ("step True", lambda: SCHEDULE.step(True), "ValueError: level is True; write a step of this schedule, 1 to 3"),
        ("step of a float", lambda: SCHEDULE.step(1.0),
         "ValueError: level is 1.0; write a step of this schedule, 1 to 3"),
        ("step beyond the last", lambda: SCHEDULE.step(4),
         "ValueError: level is 4; write a step of this schedule, 1 to 3"),
    ],
    "one_step": [
        ("zero", lambda: bd.one_step(0), "ValueError: sigma is 0; write a finite number > 0"),
        ("negative", lambda: bd.one_step(-1.0), "ValueError: sigma is -1.0; write a finite number > 0"),
        ("infinite", lambda: bd.one_step(INF), "ValueError: sigma is inf; write a finite number > 0"),
        ("text", lambda: bd.one_step("10"), "TypeError: sigma must hold real numbers, got '10' (dtype <U2)"),
        ("None", lambda: bd.one_step(None), "TypeError: sigma must hold real numbers, got None (dtype object)"),
        ("array", lambda: bd.one_step([1.0, 2.0]), "ValueError: sigma is [1.0, 2.0]; write a finite number > 0"),
        ("bool", lambda: bd.one_step(True), "TypeError: sigma is True; write a finite number > 0"),
    ],
    "geometric": [
        ("no steps", lambda: bd.geometric(0, 0.1, 1.0), "ValueError: steps is 0; write an int >= 1"),
        ("steps of a float", lambda: bd.geometric(4.0, 0.1, 1.0), "TypeError: steps is 4.0; write an int >= 1"),
        ("steps True", lambda: bd.geometric(True, 0.1, 1.0), "TypeError: steps is True; write an int >= 1"),
        ("not ordered", lambda: bd.geometric(4, 2.0, 1.0),
         "ValueError: sigma_min is 2 and sigma_max 1; write a larger sigma_max"),
        ("sigma_min 0", lambda: bd.geometric(4, 0.0, 1.0), "ValueError: sigma_min is 0.0; write a finite number > 0"),
        ("sigma_max nan", lambda: bd.geometric(4, 0.1, NAN), "ValueError: sigma_max is nan; write a finite number > 0"),
    ],
    "cosine": [
        ("text", lambda: bd.cosine("8"), "TypeError: steps is '8'; write an int >= 1"),
        ("negative", lambda: bd.cosine(-1), "ValueError: steps is -1; write an int >= 1"),
    ],
    "linear": [
        ("None", lambda: bd.linear(None), "TypeError: steps is None; write an int >= 1"),
    ],
    "diffuse": [
        ("x of text", lambda: bd.diffuse("x", 1.0, 1.0), "TypeError: x must hold real numbers, got 'x' (dtype <U1)"),
        ("alpha nan", lambda: bd.diffuse([1.0], NAN, 1.0), "ValueError: alpha is nan; write finite numbers"),
        ("sigma negative", lambda: bd.diffuse([1.0], 1.0, -1.0), "ValueError: sigma is -1; write numbers >= 0"),
        ("shapes that do not fit", lambda: bd.diffuse(np.zeros((3, 2)), [1.0, 1.0, 1.0], 1.0),
         "ValueError: x has shape (3, 2), alpha (3,) and sigma (), which do not fit; write numbers, or add axes of "
         "length 1"),
        ("seed of text", lambda: bd.diffuse([1.0], 1.0, 1.0, random_seed="1"),
         "TypeError: random_seed is '1'; write an int, a numpy Generator or None"),
        ("seed negative", lambda: bd.diffuse([1.0], 1.0, 1.0, random_seed=-1),
         "ValueError: random_seed is -1; write an int >= 0"),
        ("seed of a float", lambda: bd.diffuse([1.0], 1.0, 1.0, random_seed=1.5),
         "TypeError: random_seed is 1.5; write an int, a numpy Generator or None"),
        ("seed True", lambda: bd.diffuse([1.0], 1.0, 1.0, random_seed=True),
         "TypeError: random_seed is True; write an int, a numpy Generator or None"),
        ("seed a list", lambda: bd.diffuse([1.0], 1.0, 1.0, random_seed=[1, 2]),
         "TypeError: random_seed is [1, 2]; write an int, a numpy Generator or None"),
    ],
    "bridge": [
        ("no schedule", lambda: bd.bridge([1.0], 1, [0.0], [0.0]),
         "TypeError: schedule is list; write one, as bd.geometric(16, 0.1, 10.0)"),
        ("level 0", lambda: bd.bridge(SCHEDULE, 0, [0.0], [0.0]),
         "ValueError: level is 0; write a step of this schedule, 1 to 3"),
        ("level text", lambda: bd.bridge(SCHEDULE, "1", [0.0], [0.0]),
         "ValueError: level is '1'; write a step of this schedule, 1 to 3"),
        ("shapes differ", lambda: bd.bridge(SCHEDULE, 1, [0.0], [0.0, 1.0]),
         "ValueError: o has shape (1,) and x (2,); write the same shape for both"),
        ("seed", lambda: bd.bridge(SCHEDULE, 1, [0.0], [0.0], random_seed="a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
    ],
    "density": [
        ("coords a text", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims="a", coords={"a": "bc"}),
         "TypeError: coords['a'] is 'bc'; write a list of labels"),
        ("no function", lambda: bd.density(1.0),
         "TypeError: logp must be a function of x, got float; write lambda x: ..."),
        ("gives an array", lambda: bd.density(lambda x: -(x**2), 2),
         "ValueError: logp gave shape (2,) for 'x' of shape (2,); return one number, the log density of all of x, "
         "as in pt.sum(...)"),
        ("gives an int", lambda: bd.density(lambda x: pt.cast(x, "int64")),
         "TypeError: logp gave a int64 for 'x' of shape (); return a real number"),
        ("gives None", lambda: bd.density(lambda x: None),
         "TypeError: logp gave NoneType for 'x' of shape (); return a PyTensor scalar"),
        ("raises", lambda: bd.density(lambda x: x.nothing),
         "ValueError: logp raised AttributeError when called with 'x' of shape (): 'TensorVariable' object has no "
         "attribute 'nothing'; its arguments are PyTensor variables, so write it with pytensor.tensor functions"),
        ("forgets x", lambda: bd.density(lambda x: 1.0),
         "ValueError: logp does not depend on 'x'; write a function of it, or use pm.Flat for a flat density"),
        ("complex", lambda: bd.density(lambda x: 1j * x),
         "TypeError: logp gave a complex128 for 'x' of shape (); return a real number"),
        ("shape negative", lambda: bd.density(lambda x: -pt.sum(x**2), -2),
         "ValueError: shape is -2; write a number > 0, or a tuple of them, one for each axis of x"),
        ("shape float", lambda: bd.density(lambda x: -pt.sum(x**2), 2.0),
         "ValueError: shape is 2.0; write a number > 0, or a tuple of them, one for each axis of x"),
        ("shape True", lambda: bd.density(lambda x: -pt.sum(x**2), True),
         "ValueError: shape is True; write a number > 0, or a tuple of them, one for each axis of x"),
        ("shape text", lambda: bd.density(lambda x: -pt.sum(x**2), "2"),
         "ValueError: shape is '2'; write a number > 0, or a tuple of them, one for each axis of x"),
        ("shape a list", lambda: bd.density(lambda x: -pt.sum(x**2), [2]),
         "ValueError: shape is [2]; write a number > 0, or a tuple of them, one for each axis of x"),
        ("shape 0", lambda: bd.density(lambda x: -pt.sum(x**2), 0),
         "ValueError: shape is 0; write a number > 0, or a tuple of them, one for each axis of x"),
        ("name empty", lambda: bd.density(lambda x: -(x**2), name=""),
         "TypeError: name must be a string that is not empty, got ''"),
        ("name no text", lambda: bd.density(lambda x: -(x**2), name=3),
         "TypeError: name must be a string that is not empty, got 3"),
        ("name reserved", lambda: bd.density(lambda x: -(x**2), name="chain"),
         "ValueError: the prior has a variable 'chain', which results use themselves; give it another name"),
        ("dims too many", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims=("a", "b")),
         "ValueError: dims ('a', 'b') has 2 names for the shape (2,); write one name per axis"),
        ("dims no names", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims=3),
         "TypeError: dims is 3; write one name for each axis of x, as 'place' or ('row', 'column')"),
        ("dims of numbers", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims=(3,)),
         "TypeError: dims is (3,); write one name for each axis of x, as 'place' or ('row', 'column')"),
        ("dim reserved", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims="draw"),
         "ValueError: dims holds 'draw', which results use themselves; give it another name"),
        ("coords too few", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims="a", coords={"a": [1]}),
         "ValueError: coords has 1 labels for 'a'; write 2, as shape says"),
        ("coords no mapping", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims="a", coords=[1, 2]),
         "TypeError: coords is [1, 2]; write a mapping, coords={'place': ['a', 'b']}"),
        ("coords a number", lambda: bd.density(lambda x: -pt.sum(x**2), 2, dims="a", coords={"a": 2}),
         "TypeError: coords['a'] is 2; write a list of labels"),
        ("initval infinite", lambda: bd.density(lambda x: -(x**2), initval=INF),
         "ValueError: initval is not finite: inf; write numbers"),
        ("initval text", lambda: bd.density(lambda x: -(x**2), initval="0"),
         "TypeError: initval must hold real numbers, got '0' (dtype <U1)"),
        ("initval of another shape", lambda: bd.density(lambda x: -pt.sum(x**2), 2, initval=[0.0, 0.0, 0.0]),
         "ValueError: initval has shape (3,); write one number, or an array of shape (2,)"),
        ("no schedule", lambda: bd.density(lambda x, level: -(x**2), schedule=[1.0]),
         "TypeError: schedule is list; write one, as bd.geometric(16, 0.1, 10.0)"),
        ("level not used", lambda: bd.density(lambda x, level: -(x**2), schedule=SCHEDULE),
         "ValueError: logp does not depend on the level; write a function of x and level, or leave schedule out"),
    ],
    "tilt": [
        ("raises", lambda: bd.tilt(normal().model, lambda x: x.nothing),
         "ValueError: log_weight raised AttributeError when called with 'x' of shape (): 'TensorVariable' object "
         "has no attribute 'nothing'; its arguments are PyTensor variables, so write it with pytensor.tensor "
         "functions"),
        ("no function", lambda: bd.tilt(normal().model, 2.0),
         "TypeError: log_weight must be a function, got float; write lambda x: ..."),
        ("no model", lambda: bd.tilt("prior", lambda x: x),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
        ("compiled", lambda: bd.tilt(normal(), lambda x: x),
         "TypeError: prior must be a pm.Model, got CompiledPrior; write `prior.model`"),
        ("gives an array", lambda: bd.tilt(pair().model, lambda mu, tau: mu),
         "ValueError: log_weight gave shape (2,) for 'mu' of shape (2,), 'tau' of shape (); return one number, the "
         "log density of all of x, as in pt.sum(...)"),
        ("depends on nothing", lambda: bd.tilt(normal().model, lambda x: 2.0),
         "ValueError: log_weight depends on no free variable of the prior; write a function of ['x']"),
        ("takes other names", lambda: bd.tilt(pair().model, bd.one_step),
         "ValueError: log_weight raised TypeError when called with 'mu' of shape (2,), 'tau' of shape (): "
         "one_step() got an unexpected keyword argument 'mu'; its arguments are PyTensor variables, so write it "
         "with pytensor.tensor functions"),
    ],
    "gaussian_mixture": [
        ("no weights", lambda: bd.gaussian_mixture([], [0.0], 1.0),
         "ValueError: weights has shape (0,); write one weight per component, shape (m,)"),
        ("weights a number", lambda: bd.gaussian_mixture(1.0, [0.0], 1.0),
         "ValueError: weights has shape (); write one weight per component, shape (m,)"),
        ("sum not 1", lambda: bd.gaussian_mixture([0.5, 0.4], [0.0, 1.0], 1.0),
         "ValueError: weights have sum 0.9; write weights / weights.sum()"),
        ("weight 0", lambda: bd.gaussian_mixture([1.0, 0.0], [0.0, 1.0], 1.0),
         "ValueError: weights[1] is 0; write weights > 0, and leave out what has none"),
        ("weights text", lambda: bd.gaussian_mixture(["a"], [0.0], 1.0),
         "TypeError: weights must hold real numbers, got ['a'] (dtype <U1)"),
        ("weights None", lambda: bd.gaussian_mixture(None, [0.0], 1.0),
         "TypeError: weights must hold real numbers, got None (dtype object)"),
        ("means too many", lambda: bd.gaussian_mixture([1.0], [0.0, 1.0], 1.0),
         "ValueError: means has shape (2,), for 1 weights; write (1,) if x is a number, (1, n) if it is a vector"),
        ("means of three axes", lambda: bd.gaussian_mixture([1.0], [[[0.0]]], 1.0),
         "ValueError: means has shape (1, 1, 1), for 1 weights; write (1,) if x is a number, (1, n) if it is a "
         "vector"),
        ("means nan", lambda: bd.gaussian_mixture([1.0], [NAN], 1.0),
         "ValueError: means holds nan; write finite numbers"),
        ("covariances of another shape", lambda: bd.gaussian_mixture([1.0], [[0.0, 0.0]], [1.0, 1.0]),
         "ValueError: covariances has shape (2,), for means of shape (1, 2); write one of (), (1,), (1, 2, 2)"),
        ("variance negative", lambda: bd.gaussian_mixture([0.5, 0.5], [0.0, 1.0], [1.0, -1.0]),
         "ValueError: covariances holds the variance -1; write variances > 0"),
        ("not symmetric", lambda: bd.gaussian_mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]),
         "ValueError: covariances[0] is not symmetric: [[1.0, 0.5], [0.0, 1.0]]; write (C + C.T) / 2"),
        ("not positive definite", lambda: bd.gaussian_mixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]),
         "ValueError: covariances[0] has the eigenvalue -1; write a positive definite matrix"),
        ("no schedule", lambda: bd.gaussian_mixture([1.0], [0.0], 1.0, 4),
         "TypeError: schedule is int; write one, as bd.geometric(16, 0.1, 10.0)"),
    ],
    "step_model": [
        ("alpha True", lambda: bd.step_model(normal().model, 0.0, alpha=True),
         "TypeError: alpha is True; write a number"),
        ("sigma of bools", lambda: bd.find_map(normal(), [0.0, 1.0], sigma=[True, True]),
         "TypeError: sigma is [True, True]; write a number"),
        ("no model", lambda: bd.step_model(None, 0.0),
         "TypeError: prior must be a pm.Model, got NoneType; write `with pm.Model() as prior: ...`"),
        ("compiled", lambda: bd.step_model(normal(), 0.0),
         "TypeError: prior must be a pm.Model, got CompiledPrior; write `prior.model`"),
        ("class", lambda: bd.step_model(pm.Model, 0.0),
         "TypeError: prior must be a pm.Model, got ContextMeta; write `with pm.Model() as prior: ...`"),
        ("discrete", lambda: bd.step_model(model_of(lambda: pm.Poisson("n", 2.0)), 0.0),
         "TypeError: Gaussian noise needs continuous variables, but ['n'] of the prior are discrete; sum them out "
         "(pm.Mixture, or marginalize of pymc-extras) or observe them"),
        ("no free variable", lambda: bd.step_model(model_of(lambda: pm.Normal("y", observed=1.0)), 0.0),
         "ValueError: prior has no free variable, so there is no x to infer; write at least one, as pm.Normal('x')"),
        ("no numbers", lambda: bd.step_model(model_of(lambda: pm.Normal("x", shape=0)), 0.0),
         "ValueError: the free variables ['x'] of the prior hold no number: [(0,)]; give one a size"),
        ("sub-model", lambda: bd.step_model(nested(), 0.0),
         "ValueError: prior is the sub-model 'inner' of another model; pass the outermost model"),
        ("circle", lambda: bd.step_model(model_of(lambda: pm.VonMises("x", 0.0, 1.0)), 0.0),
         "ValueError: ['x'] of the prior are angles on a circle, and Gaussian noise needs a line; cut the circle "
         "open, as in pm.VonMises(..., default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))"),
        ("reserved name", lambda: bd.step_model(model_of(lambda: pm.Normal("starts")), 0.0),
         "ValueError: the prior has a variable 'starts', which results use themselves; give it another name"),
        ("reserved prefix", lambda: bd.step_model(model_of(lambda: pm.Normal("step::o")), 0.0),
         "ValueError: the prior has a variable 'step::o', which results use themselves; give it another name"),
        ("reserved dimension", lambda: bd.step_model(with_coords("observation"), [0.0, 0.0]),
         "ValueError: the prior has a dimension 'observation', which results use themselves; give it another name"),
        ("name of an axis", lambda: bd.step_model(axis_taken(), 0.0),
         "ValueError: the prior has a variable 'x_dim_0', which is what results call an axis of 'x'; give it "
         "another name"),
        ("o None", lambda: bd.step_model(normal().model, None),
         "TypeError: o must hold real numbers, got None (dtype object)"),
        ("o text", lambda: bd.step_model(normal().model, "5"),
         "TypeError: o must hold real numbers, got '5' (dtype <U1)"),
        ("o complex", lambda: bd.step_model(normal().model, 1j),
         "TypeError: o must hold real numbers, got 1j (dtype complex128)"),
        ("o nan", lambda: bd.step_model(normal().model, NAN), "ValueError: o is nan at 'x'; write a finite number"),
        ("o a batch", lambda: bd.step_model(normal().model, [0.0, 1.0]),
         "ValueError: o is a batch of 2 observations, a step model has one; write one o, or use find_map or "
         "sample_posterior for all of them"),
        ("o of two axes", lambda: bd.step_model(normal().model, [[0.0, 1.0]]),
         "ValueError: o of 'x' has shape (1, 2); write its unconstrained shape (), or (batch,) for a batch"),
        ("o no mapping", lambda: bd.step_model(pair().model, [0.0, 0.0, 0.0]),
         "TypeError: o is list, but the prior has 2 variables; write a mapping from each name to its array, "
         "o={'mu': ..., 'tau': ...}"),
        ("o unknown name", lambda: bd.step_model(normal().model, {"y": 0.0}),
         "ValueError: o has unknown names ['y'] and no ['x']; write one entry per free variable, ['x']"),
        ("o missing name", lambda: bd.step_model(pair().model, {"mu": [0.0, 0.0]}),
         "ValueError: o has no ['tau']; write one entry per free variable, ['mu', 'tau']"),
        ("o name a number", lambda: bd.step_model(pair().model, {1: 0.0, "mu": [0.0, 0.0], "tau": 0.0}),
         "ValueError: o has unknown names [1]; write one entry per free variable, ['mu', 'tau']"),
        ("o of another shape", lambda: bd.step_model(pair().model, {"mu": 0.0, "tau": 0.0}),
         "ValueError: o of 'mu' has shape (); write its unconstrained shape (2,), or (batch, 2) for a batch"),
        ("o infinite in one", lambda: bd.step_model(pair().model, {"mu": [0.0, INF], "tau": 0.0}),
         "ValueError: o is inf at 'mu[1]'; write a finite number"),
        ("alpha 0", lambda: bd.step_model(normal().model, 0.0, alpha=0.0),
         "ValueError: alpha is 0.0; write a finite number other than 0"),
        ("alpha nan", lambda: bd.step_model(normal().model, 0.0, alpha=NAN),
         "ValueError: alpha is nan; write a finite number other than 0"),
        ("alpha text", lambda: bd.step_model(normal().model, 0.0, alpha="1"),
         "TypeError: alpha must hold real numbers, got '1' (dtype <U1)"),
        ("alpha None", lambda: bd.step_model(normal().model, 0.0, alpha=None),
         "TypeError: alpha must hold real numbers, got None (dtype object)"),
        ("alpha a vector", lambda: bd.step_model(normal().model, 0.0, alpha=[1.0, 2.0]),
         "ValueError: alpha has shape (2,); write one number"),
        ("sigma 0", lambda: bd.step_model(normal().model, 0.0, sigma=0.0),
         "ValueError: sigma is 0.0; write a finite number > 0"),
        ("sigma negative", lambda: bd.step_model(normal().model, 0.0, sigma=-1.0),
         "ValueError: sigma is -1.0; write a finite number > 0"),
        ("sigma infinite", lambda: bd.step_model(normal().model, 0.0, sigma=INF),
         "ValueError: sigma is inf; write a finite number > 0"),
        ("sigma a schedule", lambda: bd.step_model(normal().model, 0.0, sigma=SCHEDULE),
         "TypeError: sigma must hold real numbers, got Schedule(alph... 4.        ])) (dtype object)"),
    ],
    "compile_prior": [
        ("None", lambda: bd.compile_prior(None),
         "TypeError: prior must be a pm.Model, got NoneType; write `with pm.Model() as prior: ...`"),
        ("function", lambda: bd.compile_prior(normal),
         "TypeError: prior must be a pm.Model, got _lru_cache_wrapper; write `with pm.Model() as prior: ...`"),
        ("distribution", lambda: bd.compile_prior(pm.Normal.dist()),
         "TypeError: prior must be a pm.Model, got TensorVariable; write `with pm.Model() as prior: ...`"),
        ("result", lambda: bd.compile_prior(inversion("map")),
         "TypeError: prior must be a pm.Model, got DataTree; write `with pm.Model() as prior: ...`"),
        ("discrete", lambda: bd.compile_prior(model_of(lambda: pm.Bernoulli("b", 0.5))),
         "TypeError: Gaussian noise needs continuous variables, but ['b'] of the prior are discrete; sum them out "
         "(pm.Mixture, or marginalize of pymc-extras) or observe them"),
        ("no free variable", lambda: bd.compile_prior(pm.Model()),
         "ValueError: prior has no free variable, so there is no x to infer; write at least one, as pm.Normal('x')"),
        ("reserved dimension", lambda: bd.compile_prior(with_coords("level")),
         "ValueError: the prior has a dimension 'level', which results use themselves; give it another name"),
    ],
    "CompiledPrior": [
        ("logp of a vector", lambda: normal().logp([0.0, 1.0]),
         "ValueError: x has shape (2,); write (batch, 1), with the columns x"),
        ("logp of too many columns", lambda: pair().logp(np.zeros((2, 4))),
         "ValueError: x has shape (2, 4); write (batch, 3), with the columns mu[0], mu[1], tau"),
        ("logp of text", lambda: normal().logp([["a"]]),
         "TypeError: x must hold real numbers, got [['a']] (dtype <U1)"),
        ("logp of None", lambda: normal().logp(None), "TypeError: x must hold real numbers, got None (dtype object)"),
        ("logp of a mapping", lambda: normal().logp({"x": [0.0]}),
         "TypeError: x must hold real numbers, got {'x': [0.0]} (dtype object)"),
        ("gradient of a number", lambda: normal().logp_and_gradient(0.0),
         "ValueError: x has shape (); write (batch, 1), with the columns x"),
        ("gradient of objects", lambda: normal().logp_and_gradient([[OBJECT]]),
         "TypeError: x must hold real numbers, got [[Strange()]] (dtype object)"),
        ("constrain too few columns", lambda: pair().constrain(np.zeros((2, 2))),
         "ValueError: x has shape (2, 2); write (batch, 3), with the columns mu[0], mu[1], tau"),
        ("unconstrain without one", lambda: pair().unconstrain({"mu": np.zeros((1, 2))}),
         "ValueError: values has no ['tau']; write one array per free variable, ['mu', 'tau']"),
        ("unconstrain of another shape", lambda: pair().unconstrain({"mu": np.zeros((1, 3)), "tau": np.ones(1)}),
         "ValueError: values['mu'] has shape (1, 3); write (batch, 2)"),
        ("unconstrain lengths differ", lambda: pair().unconstrain({"mu": np.zeros((1, 2)), "tau": np.ones(2)}),
         "ValueError: values has different batch lengths: {'mu': 1, 'tau': 2}; give every name the same"),
        ("unconstrain no mapping", lambda: pair().unconstrain(np.zeros((1, 3))),
         "TypeError: values is array([[0., 0., 0.]]); write a mapping, values={'mu': ..., 'tau': ...}"),
        ("draws 0", lambda: normal().draws(0), "ValueError: draws is 0; write an int >= 1"),
        ("draws of a float", lambda: normal().draws(2.5), "TypeError: draws is 2.5; write an int >= 1"),
        ("draws text", lambda: normal().draws("3"), "TypeError: draws is '3'; write an int >= 1"),
        ("draws True", lambda: normal().draws(True), "TypeError: draws is True; write an int >= 1"),
        ("draws seed", lambda: normal().draws(3, random_seed="a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
        ("forward_draws 0", lambda: normal().forward_draws(0), "ValueError: draws is 0; write an int >= 1"),
        ("at_level without levels", lambda: normal().at_level(0),
         "ValueError: the prior's density does not depend on a level; make one that does, as gaussian_mixture(..., "
         "schedule=schedule)"),
        ("at_level beyond", lambda: levels().at_level(4),
         "ValueError: level is 4; the prior's schedule has the levels 0 to 3"),
        ("at_level True", lambda: levels().at_level(True),
         "ValueError: level is True; the prior's schedule has the levels 0 to 3"),
        ("at_level text", lambda: levels().at_level("1"),
         "ValueError: level is '1'; the prior's schedule has the levels 0 to 3"),
    ],
    "draw": [
        ("o of one axis", lambda: bd.draw(normal(), [0.0]),
         "ValueError: o has shape (1,); an inverter takes (batch, 1), columns ['x']"),
        ("o of text", lambda: bd.draw(normal(), [["a"]]),
         "TypeError: o must hold real numbers, got [['a']] (dtype <U1)"),
        ("o a mapping", lambda: bd.draw(pair(), {"mu": [[0.0, 0.0]], "tau": [0.0]}),
         "TypeError: o is dict; an inverter takes flat numbers (batch, 3), columns ['mu[0]', 'mu[1]', 'tau']; "
         "find_map and sample_posterior take a mapping"),
        ("o all nan", lambda: bd.draw(normal(), [[NAN], [INF]]),
         "ValueError: none of the 2 observations is finite: o[0] is [nan]; write numbers"),
        ("o empty", lambda: bd.draw(normal(), np.empty((0, 1))),
         "ValueError: o has shape (0, 1); an inverter takes (batch, 1), columns ['x']"),
        ("start of another shape", lambda: bd.draw(normal(), [[0.0]], start=[[0.0, 1.0]]),
         "ValueError: start has shape (1, 2); write that of o, (1, 1)"),
        ("start of text", lambda: bd.draw(normal(), [[0.0]], start=[["a"]]),
         "TypeError: start must hold real numbers, got [['a']] (dtype <U1)"),
        ("tune 0", lambda: bd.draw(normal(), [[0.0]], tune=0), "ValueError: tune is 0; write an int >= 1"),
        ("tune a float", lambda: bd.draw(normal(), [[0.0]], tune=10.0), "TypeError: tune is 10.0; write an int >= 1"),
        ("seed", lambda: bd.draw(normal(), [[0.0]], random_seed="a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
        ("sigma of another length", lambda: bd.draw(normal(), [[0.0], [1.0]], sigma=[1.0, 1.0, 1.0]),
         "ValueError: sigma has shape (3,); write one number, or one per observation (shape (2,))"),
        ("bank text", lambda: bd.draw(normal(), [[0.0]], bank="bank"),
         "TypeError: bank must hold real numbers, got 'bank' (dtype <U4)"),
        ("bank of the wrong group", lambda: bd.draw(normal(), [[0.0]], bank=inversion("posterior")["posterior"]),
         'ValueError: bank is the constrained group; write bank=run["unconstrained_posterior"]'),
        ("bank of one draw without an axis", lambda: bd.draw(normal(), [[0.0]], bank=1.0),
         "ValueError: bank is one state, without an axis for draws; write draws of p0, unconstrained, along one "
         'leading axis, as bank=run["unconstrained_posterior"] of a run of bd.sample'),
        ("bank all nan", lambda: bd.draw(normal(), [[0.0]], bank=[NAN, NAN]),
         "ValueError: bank has 0 finite draws; write draws of p0, unconstrained, along one leading axis, as "
         'bank=run["unconstrained_posterior"] of a run of bd.sample'),
        ("bank of another prior", lambda: bd.draw(pair(), [[0.0, 0.0, 0.0]], bank={"x": [0.0, 1.0]}),
         "ValueError: bank has unknown names ['x'] and no ['mu', 'tau']; write one entry per free variable, ['mu', "
         "'tau']"),
        ("prior none", lambda: bd.draw("prior", [[0.0]]),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
    ],
    "mode": [
        ("o a number", lambda: bd.mode(normal(), 0.0),
         "ValueError: o has shape (); an inverter takes (batch, 1), columns ['x']"),
        ("alpha 0", lambda: bd.mode(normal(), [[0.0], [1.0]], alpha=[1.0, 0.0]),
         "ValueError: alpha is 0.0 at observation 1; write a finite number other than 0"),
        ("sigma nan", lambda: bd.mode(normal(), [[0.0]], sigma=NAN),
         "ValueError: sigma is nan; write a finite number > 0"),
        ("seed", lambda: bd.mode(normal(), [[0.0]], random_seed=1.0),
         "TypeError: random_seed is 1.0; write an int, a numpy Generator or None"),
    ],
    "mean": [
        ("draws 0", lambda: bd.mean(normal(), [[0.0]], draws=0), "ValueError: draws is 0; write an int >= 1"),
        ("chains text", lambda: bd.mean(normal(), [[0.0]], chains="4"), "TypeError: chains is '4'; write an int >= 1"),
        ("tune True", lambda: bd.mean(normal(), [[0.0]], tune=True), "TypeError: tune is True; write an int >= 1"),
        ("o of too many columns", lambda: bd.mean(normal(), [[0.0, 1.0]]),
         "ValueError: o has shape (1, 2); an inverter takes (batch, 1), columns ['x']"),
    ],
    "laplace": [
        ("o empty", lambda: bd.laplace(normal(), []),
         "ValueError: o has shape (0,); an inverter takes (batch, 1), columns ['x']"),
        ("seed", lambda: bd.laplace(normal(), [[0.0]], random_seed=object),
         "TypeError: random_seed is <class 'object'>; write an int, a numpy Generator or None"),
        ("prior none", lambda: bd.laplace(None, [[0.0]]),
         "TypeError: prior must be a pm.Model, got NoneType; write `with pm.Model() as prior: ...`"),
    ],
    "from_pymc": [
        ("no function", lambda: bd.from_pymc("pm.sample"),
         "TypeError: function is 'pm.sample'; write one that takes a model, as pm.sample"),
        ("model argument", lambda: bd.from_pymc(pm.sample, model=normal().model),
         "TypeError: model is set for each observation, to its step_model; leave model= out"),
        ("gives nothing", lambda: bd.from_pymc(lambda model, random_seed: None)(normal(), [[0.0]]),
         "TypeError: the function returned NoneType; it must return a DataTree with `posterior`, or a mapping"),
        ("gives another variable", lambda: bd.from_pymc(lambda model, random_seed: {"y": 1.0})(normal(), [[0.0]]),
         "ValueError: the function returned no ['x']; it must give every free variable, ['x']"),
        ("gives another shape", lambda: bd.from_pymc(lambda model, random_seed: {"x": [1.0, 2.0]})(normal(), [[0.0]]),
         "ValueError: values['x'] has shape (1, 2); write (batch,)"),
        ("gives a tree without x", lambda: bd.from_pymc(tree_of_y)(normal(), [[0.0]]),
         "ValueError: the function returned no ['x']; it must give every free variable, ['x']"),
    ],
    "find_map": [
        ("executor a number", lambda: bd.find_map(normal(), 0.0, executor=4),
         "TypeError: executor is 4; write a concurrent.futures.Executor, as ThreadPoolExecutor(4), or "
         "client.get_executor() of a Dask client"),
        ("executor forks", lambda: bd.find_map(normal(), 0.0, executor=forking()),
         "ValueError: executor forks its workers, and JAX does not survive a fork; write "
         'ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn"))'),
        ("store suffix", lambda: bd.find_map(normal(), 0.0, store="run.csv"),
         "ValueError: run.csv must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("store a number", lambda: bd.find_map(normal(), 0.0, store=3),
         "TypeError: store is 3; write a path, as 'run.zarr'"),
        ("store in a file", lambda: bd.find_map(normal(), 0.0, store=file("a-file") + "/run.zarr"),
         "ValueError: a-file/run.zarr cannot be written ([Errno 20] Not a directory: 'a-file/.run.zarr.levels'); "
         "choose another store"),
        ("no model", lambda: bd.find_map("prior", 0.0),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
        ("o None", lambda: bd.find_map(normal(), None), "TypeError: o must hold real numbers, got None (dtype object)"),
        ("o text", lambda: bd.find_map(normal(), "five"),
         "TypeError: o must hold real numbers, got 'five' (dtype <U4)"),
        ("o nan", lambda: bd.find_map(normal(), NAN), "ValueError: o is nan at 'x'; write a finite number"),
        ("o a batch of nan", lambda: bd.find_map(normal(), [NAN, NAN]),
         "ValueError: none of the 2 observations is finite: o[0] is [nan]; write numbers"),
        ("o empty", lambda: bd.find_map(normal(), []),
         "ValueError: o is an empty batch; write at least one observation"),
        ("o too many axes", lambda: bd.find_map(normal(), np.zeros((2, 3, 1))),
         "ValueError: o of 'x' has shape (2, 3, 1); write its unconstrained shape (), or (batch,) for a batch"),
        ("o a ragged list", lambda: bd.find_map(normal(), [[0.0], [0.0, 1.0]]),
         "TypeError: o must be an array of real numbers, got [[0.0], [0.0, 1.0]] (rows of different lengths)"),
        ("o of bytes", lambda: bd.find_map(normal(), b"5"),
         "TypeError: o must hold real numbers, got b'5' (dtype |S1)"),
        ("o of dates", lambda: bd.find_map(normal(), np.array(["2020-01-01"], dtype="datetime64[D]")),
         "TypeError: o must hold real numbers, got array(['2020-...atetime64[D]') (dtype datetime64[D])"),
        ("o batch lengths differ", lambda: bd.find_map(pair(), {"mu": np.zeros((2, 2)), "tau": np.zeros(3)}),
         "ValueError: o has different batch lengths: {'mu': 2, 'tau': 3} (None: no batch); give every name the same"),
        ("o a list for two variables", lambda: bd.find_map(pair(), [0.0, 0.0]),
         "TypeError: o is list, but the prior has 2 variables; write a mapping from each name to its array, "
         "o={'mu': ..., 'tau': ...}"),
        ("alpha of another length", lambda: bd.find_map(normal(), [0.0, 1.0], alpha=[1.0]),
         "ValueError: alpha has shape (1,); write one number, or one per observation (shape (2,))"),
        ("alpha for no batch", lambda: bd.find_map(normal(), 0.0, alpha=[1.0]),
         "ValueError: alpha has shape (1,); write one number"),
        ("sigma 0 at one", lambda: bd.find_map(normal(), [0.0, 1.0], sigma=[1.0, 0.0]),
         "ValueError: sigma is 0.0 at observation 1; write a finite number > 0"),
        ("sigma None", lambda: bd.find_map(normal(), 0.0, sigma=None),
         "TypeError: sigma must hold real numbers, got None (dtype object)"),
        ("jacobian text", lambda: bd.find_map(normal(), 0.0, jacobian="yes"),
         "TypeError: jacobian is 'yes'; write True or False"),
        ("jacobian None", lambda: bd.find_map(normal(), 0.0, jacobian=None),
         "TypeError: jacobian is None; write True or False"),
        ("seed text", lambda: bd.find_map(normal(), 0.0, random_seed="1"),
         "TypeError: random_seed is '1'; write an int, a numpy Generator or None"),
        ("seed a list", lambda: bd.find_map(normal(), 0.0, random_seed=[1]),
         "TypeError: random_seed is [1]; write an int, a numpy Generator or None"),
        ("progressbar text", lambda: bd.find_map(normal(), 0.0, progressbar="combined"),
         "TypeError: progressbar is 'combined'; write True or False"),
    ],
    "sample_posterior": [
        ("executor a number", lambda: bd.sample_posterior(normal(), 0.0, executor=4),
         "TypeError: executor is 4; write a concurrent.futures.Executor, as ThreadPoolExecutor(4), or "
         "client.get_executor() of a Dask client"),
        ("executor forks", lambda: bd.sample_posterior(normal(), 0.0, executor=forking()),
         "ValueError: executor forks its workers, and JAX does not survive a fork; write "
         'ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn"))'),
        ("store suffix", lambda: bd.sample_posterior(normal(), 0.0, store="run.csv"),
         "ValueError: run.csv must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("store a number", lambda: bd.sample_posterior(normal(), 0.0, store=3),
         "TypeError: store is 3; write a path, as 'run.zarr'"),
        ("store in a file", lambda: bd.sample_posterior(normal(), 0.0, store=file("a-file") + "/run.zarr"),
         "ValueError: a-file/run.zarr cannot be written ([Errno 20] Not a directory: 'a-file/.run.zarr.levels'); "
         "choose another store"),
        ("draws 0", lambda: bd.sample_posterior(normal(), 0.0, draws=0), "ValueError: draws is 0; write an int >= 1"),
        ("draws a float", lambda: bd.sample_posterior(normal(), 0.0, draws=1e3),
         "TypeError: draws is 1000.0; write an int >= 1"),
        ("tune negative", lambda: bd.sample_posterior(normal(), 0.0, tune=-1),
         "ValueError: tune is -1; write an int >= 1"),
        ("chains None", lambda: bd.sample_posterior(normal(), 0.0, chains=None),
         "TypeError: chains is None; write an int >= 1"),
        ("chains True", lambda: bd.sample_posterior(normal(), 0.0, chains=True),
         "TypeError: chains is True; write an int >= 1"),
        ("bank of one array", lambda: bd.sample_posterior(pair(), {"mu": [0.0, 0.0], "tau": 0.0}, bank=[[0.0, 0.0]]),
         "TypeError: bank is list, but the prior has 2 variables; write a mapping from each name to its array, "
         "bank={'mu': ..., 'tau': ...}"),
        ("bank a number", lambda: bd.sample_posterior(normal(), 0.0, bank=3.0),
         "ValueError: bank is one state, without an axis for draws; write draws of p0, unconstrained, along one "
         'leading axis, as bank=run["unconstrained_posterior"] of a run of bd.sample'),
        ("seed", lambda: bd.sample_posterior(normal(), 0.0, random_seed=2.0),
         "TypeError: random_seed is 2.0; write an int, a numpy Generator or None"),
        ("progressbar None", lambda: bd.sample_posterior(normal(), 0.0, progressbar=None),
         "TypeError: progressbar is None; write True or False"),
        ("sigma negative", lambda: bd.sample_posterior(normal(), 0.0, sigma=-2.0),
         "ValueError: sigma is -2.0; write a finite number > 0"),
    ],
    "reverse": [
        ("executor a number", lambda: bd.reverse(normal(), SCHEDULE, executor=4),
         "TypeError: executor is 4; write a concurrent.futures.Executor, as ThreadPoolExecutor(4), or "
         "client.get_executor() of a Dask client"),
        ("executor forks", lambda: bd.reverse(normal(), SCHEDULE, executor=forking()),
         "ValueError: executor forks its workers, and JAX does not survive a fork; write "
         'ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn"))'),
        ("no schedule", lambda: bd.reverse(normal(), 10.0),
         "TypeError: schedule is float; write one, as bd.geometric(16, 0.1, 10.0)"),
        ("schedule a list", lambda: bd.reverse(normal(), [0.0, 1.0]),
         "TypeError: schedule is list; write one, as bd.geometric(16, 0.1, 10.0)"),
        ("wrong schedule", lambda: bd.reverse(levels(), bd.geometric(4, 0.5, 4.0)),
         "ValueError: the prior was made for another schedule: it has 3 levels, this one 4; pass the prior's own, "
         "bd.compile_prior(prior).schedule, or make the prior for this one"),
        ("another last level", lambda: bd.reverse(levels(), bd.geometric(3, 0.5, 5.0)),
         "ValueError: the prior was made for another schedule: level 2 has alpha 1 and sigma 1.41421356 there and "
         "alpha 1 and sigma 1.58113883 here; pass the prior's own, bd.compile_prior(prior).schedule, or make the "
         "prior for this one"),
        ("invert text", lambda: bd.reverse(normal(), SCHEDULE, "draw"),
         "TypeError: invert is 'draw'; write a function, as bd.draw or bd.mode"),
        ("invert find_map", lambda: bd.reverse(normal(), SCHEDULE, bd.find_map),
         "TypeError: invert is bayesdiff.inversion.find_map, which cannot be called as invert(prior, o, alpha, "
         "sigma, start=..., random_seed=...): got an unexpected keyword argument 'start'; write an inverter, as "
         "bd.draw or bd.mode"),
        ("invert takes too few", lambda: bd.reverse(normal(), SCHEDULE, bd.one_step),
         "TypeError: invert is bayesdiff.schedule.one_step, which cannot be called as invert(prior, o, alpha, "
         "sigma, start=..., random_seed=...): too many positional arguments; write an inverter, as bd.draw or "
         "bd.mode"),
        ("invert is diffuse", lambda: bd.reverse(normal(), SCHEDULE, bd.diffuse),
         "TypeError: invert is bayesdiff.schedule.diffuse, which cannot be called as invert(prior, o, alpha, sigma, "
         "start=..., random_seed=...): multiple values for argument 'random_seed'; write an inverter, as bd.draw or "
         "bd.mode"),
        ("draws 0", lambda: bd.reverse(normal(), SCHEDULE, draws=0),
         "ValueError: draws is 0; write an int >= 1"),
        ("chains a float", lambda: bd.reverse(normal(), SCHEDULE, chains=4.0),
         "TypeError: chains is 4.0; write an int >= 1"),
        ("o of another number", lambda: bd.reverse(normal(), SCHEDULE, o=[0.0, 1.0, 2.0], draws=2, chains=1),
         "ValueError: o has 3 observations, and draws=2 times chains=1 are 2; write as many, or draws=3"),
        ("o all nan", lambda: bd.reverse(normal(), SCHEDULE, o=[NAN, NAN], draws=2, chains=1),
         "ValueError: none of the 2 observations is finite: o[0] is [nan]; write numbers"),
        ("o text", lambda: bd.reverse(normal(), SCHEDULE, o="noise"),
         "TypeError: o must hold real numbers, got 'noise' (dtype <U5)"),
        ("next_level text", lambda: bd.reverse(levels(), SCHEDULE, next_level="yes"),
         "TypeError: next_level is 'yes'; write True, False or None"),
        ("next_level without levels", lambda: bd.reverse(normal(), SCHEDULE, next_level=True),
         "ValueError: next_level=True needs a prior whose density depends on the level, and this one's does not; "
         "make it so, as gaussian_mixture(..., schedule=schedule), or write next_level=False"),
        ("path text", lambda: bd.reverse(normal(), SCHEDULE, path="run.zarr"),
         "TypeError: path is 'run.zarr'; write True or False"),
        ("path None", lambda: bd.reverse(normal(), SCHEDULE, path=None),
         "TypeError: path is None; write True or False"),
        ("seed text", lambda: bd.reverse(normal(), SCHEDULE, random_seed="1"),
         "TypeError: random_seed is '1'; write an int, a numpy Generator or None"),
        ("seed negative", lambda: bd.reverse(normal(), SCHEDULE, random_seed=-3),
         "ValueError: random_seed is -3; write an int >= 0"),
        ("progressbar text", lambda: bd.reverse(normal(), SCHEDULE, progressbar="yes"),
         "TypeError: progressbar is 'yes'; write True or False"),
        ("store suffix", lambda: bd.reverse(normal(), SCHEDULE, store="run.txt"),
         "ValueError: run.txt must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("store a number", lambda: bd.reverse(normal(), SCHEDULE, store=3),
         "TypeError: store is 3; write a path, as 'run.zarr'"),
        ("store in a file", lambda: bd.reverse(normal(), SCHEDULE, store=file("a-file") + "/run.zarr"),
         "ValueError: a-file/run.zarr cannot be written ([Errno 20] Not a directory: 'a-file/.run.zarr.levels'); "
         "choose another store"),
        ("store of something else", lambda: bd.reverse(normal(), SCHEDULE, store=file("run.zarr")),
         "FileExistsError: run.zarr is not a run, so it is not overwritten. Remove it, or choose another path."),
    ],
    "sample": [
        ("no model", lambda: bd.sample(),
         "TypeError: there is no model; write sample(model), or call it inside `with model:`"),
        ("text", lambda: bd.sample("model"),
         "TypeError: model is str; write a pm.Model, or leave it out inside `with model:`"),
        ("discrete", lambda: bd.sample(model_of(lambda: pm.Poisson("n", 2.0))),
         "TypeError: Gaussian noise needs continuous variables, but ['n'] of the prior are discrete; sum them out "
         "(pm.Mixture, or marginalize of pymc-extras) or observe them"),
        ("draws 0", lambda: bd.sample(normal(), draws=0), "ValueError: draws is 0; write an int >= 1"),
        ("chains a float", lambda: bd.sample(normal(), chains=2.0), "TypeError: chains is 2.0; write an int >= 1"),
        ("initvals a list", lambda: bd.sample(normal(), initvals=[0.0]),
         "TypeError: initvals is list; write a mapping, initvals={'x': ...}"),
        ("initvals unknown", lambda: bd.sample(normal(), initvals={"y": 0.0}),
         "ValueError: initvals has unknown names ['y'] and no ['x']; write a value for every free variable, ['x']"),
        ("initvals missing", lambda: bd.sample(pair(), initvals={"mu": [0.0, 0.0]}),
         "ValueError: initvals has no ['tau']; write a value for every free variable, ['mu', 'tau']"),
        ("initvals of another shape", lambda: bd.sample(pair(), initvals={"mu": 0.0, "tau": 1.0}),
         "ValueError: initvals['mu'] has shape (); write (2,), or (batch, 2) for several starts"),
        ("initvals outside", lambda: bd.sample(pair(), initvals={"mu": [0.0, 0.0], "tau": -1.0}),
         "ValueError: initvals number 0 lies outside the support of the free variables, or on its edge; write "
         "values inside"),
        ("initvals text", lambda: bd.sample(normal(), initvals={"x": "a"}),
         "TypeError: initvals['x'] must hold real numbers, got 'a' (dtype <U1)"),
        ("initvals numbers differ", lambda: bd.sample(pair(), initvals={"mu": np.zeros((2, 2)), "tau": np.ones(3)}),
         "ValueError: initvals['mu'] has 2 starts and others have 3; give each as many"),
        ("seed", lambda: bd.sample(normal(), random_seed="a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
        ("store suffix", lambda: bd.sample(normal(), store="run.npz"),
         "ValueError: run.npz must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("store a number", lambda: bd.sample(normal(), store=1.0),
         "TypeError: store is 1.0; write a path, as 'run.zarr'"),
        ("progressbar text", lambda: bd.sample(normal(), progressbar="no"),
         "TypeError: progressbar is 'no'; write True or False"),
        ("name of the result", lambda: bd.sample(model_of(lambda: pm.Normal("weight"))),
         "ValueError: the model has a variable 'weight', which the result needs; give it another name"),
    ],
    "compare": [
        ("swapped", lambda: bd.compare(inversion("posterior"), inversion("map")),
         "ValueError: The arguments are swapped. The mode comes first: compare(map_tree, posterior_tree)."),
        ("no tree", lambda: bd.compare(1.0, inversion("posterior")),
         "TypeError: map_tree is a float. Pass the DataTree that find_map returned: compare(map_tree, "
         "posterior_tree)."),
        ("datasets", lambda: bd.compare(inversion("map")["posterior"].to_dataset(), inversion("posterior")),
         "TypeError: map_tree is a Dataset. Pass the DataTree that find_map returned: compare(map_tree, "
         "posterior_tree)."),
        ("two maps", lambda: bd.compare(inversion("map"), inversion("map")),
         "ValueError: posterior_tree is an inversion by map. Pass what sample_posterior returned: "
         "compare(map_tree, posterior_tree)."),
        ("a chain", lambda: bd.compare(inversion("map"), chain()),
         "ValueError: posterior_tree is an inversion by reverse. Pass what sample_posterior returned: "
         "compare(map_tree, posterior_tree)."),
        ("group missing", lambda: bd.compare(inversion("map"), with_groups("posterior", "posterior")),
         "ValueError: posterior_tree has no group 'unconstrained_posterior'. Pass what sample_posterior returned."),
        ("another step", lambda: bd.compare(inversion("map"), inversion("posterior", sigma=3.0)),
         "ValueError: The two trees are about different steps: 'sigma' is 2.0 in map_tree and 3.0 in "
         "posterior_tree. Invert the same observations both ways."),
        ("another observation", lambda: bd.compare(inversion("map"), inversion("posterior", o=2.0)),
         "ValueError: The two trees are about different steps: 'x' is 1.0 in map_tree and 2.0 in posterior_tree. "
         "Invert the same observations both ways."),
    ],
    "pictures_of": [
        ("None", lambda: bd.pictures_of(None), "TypeError: run is NoneType; write what reverse returned"),
        ("an array", lambda: bd.pictures_of(PICTURES), "TypeError: run is ndarray; write what reverse returned"),
        ("numbers", lambda: bd.pictures_of(chain()),
         "ValueError: run holds no pictures but {'x': ('chain', 'draw')}; a picture's last dimensions are row, "
         "column, colour"),
        ("an inversion", lambda: bd.pictures_of(inversion("map")),
         "ValueError: run holds no pictures but {'x': ('chain', 'draw')}; a picture's last dimensions are row, "
         "column, colour"),
    ],
    "save_pictures": [
        ("text", lambda: bd.save_pictures("cat", "a.png"), "TypeError: pictures has dtype <U3; write numbers in -1..1"),
        ("three axes", lambda: bd.save_pictures(PICTURES[0], "a.png"),
         "ValueError: pictures has shape (8, 8, 1); write (n, height, width, colours), with 1 or 3 colours"),
        ("bytes", lambda: bd.save_pictures(BYTES, "a.png"),
         "TypeError: pictures has dtype uint8; write numbers in -1..1: pictures / 127.5 - 1 of bytes"),
        ("two colours", lambda: bd.save_pictures(np.zeros((1, 4, 4, 2)), "a.png"),
         "ValueError: pictures has shape (1, 4, 4, 2); write (n, height, width, colours), with 1 or 3 colours"),
        ("nan", lambda: bd.save_pictures(PICTURES * NAN, "a.png"),
         "ValueError: pictures holds numbers that are not finite; leave these pictures out"),
        ("suffix", lambda: bd.save_pictures(PICTURES, "a.jpg"),
         "ValueError: path is 'a.jpg'; write one that ends in .png"),
        ("path a number", lambda: bd.save_pictures(PICTURES, 3),
         "TypeError: path is 3; write a path, as 'pictures.png'"),
        ("columns 0", lambda: bd.save_pictures(PICTURES, "a.png", 0), "ValueError: columns is 0; write an int >= 1"),
        ("columns a float", lambda: bd.save_pictures(PICTURES, "a.png", 2.0),
         "TypeError: columns is 2.0; write an int >= 1"),
        ("zoom text", lambda: bd.save_pictures(PICTURES, "a.png", zoom="2"),
         "TypeError: zoom is '2'; write an int >= 1"),
        ("negative text", lambda: bd.save_pictures(PICTURES, "a.png", negative="yes"),
         "TypeError: negative is 'yes'; write True or False"),
        ("objects", lambda: bd.save_pictures([OBJECT], "a.png"),
         "TypeError: pictures has dtype object; write numbers in -1..1"),
        ("ragged", lambda: bd.save_pictures([[0.0], [0.0, 1.0]], "a.png"),
         "TypeError: pictures is no array: its rows have different lengths; write pictures of one shape"),
    ],
    "animate_pictures": [
        ("suffix", lambda: bd.animate_pictures(chain(4, 4, 1), "a.png"),
         "ValueError: path is 'a.png'; write one that ends in .gif"),
        ("no run", lambda: bd.animate_pictures(PICTURES, "a.gif"),
         "TypeError: run is ndarray; write what reverse returned"),
        ("no path", lambda: bd.animate_pictures(with_groups("map", "posterior"), "a.gif"),
         "ValueError: run has no group 'path'; write what reverse returned, whole"),
        ("pictures 0", lambda: bd.animate_pictures(chain(4, 4, 1), "a.gif", pictures=0),
         "ValueError: pictures is 0; write an int >= 1"),
        ("zoom 0", lambda: bd.animate_pictures(chain(4, 4, 1), "a.gif", zoom=0),
         "ValueError: zoom is 0; write an int >= 1"),
        ("path None", lambda: bd.animate_pictures(chain(4, 4, 1), None),
         "TypeError: path is None; write a path, as 'pictures.gif'"),
    ],
    "plot_step": [
        ("no tree", lambda: bd.plot_step(None),
         "TypeError: posterior_tree is a NoneType. Pass the DataTree that sample_posterior returned: "
         "plot_step(posterior_tree, map_tree)."),
        ("a map", lambda: bd.plot_step(inversion("map")),
         "ValueError: posterior_tree is an inversion by map. Pass what sample_posterior returned: "
         "plot_step(posterior_tree, map_tree)."),
        ("map_tree a posterior", lambda: bd.plot_step(inversion("posterior"), inversion("posterior")),
         "ValueError: map_tree is an inversion by posterior. Pass what find_map returned: "
         "compare(map_tree, posterior_tree)."),
        ("no group", lambda: bd.plot_step(xr.DataTree()),
         "ValueError: posterior_tree has no group 'posterior' with variables. Pass what sample_posterior returned."),
        ("unknown variable", lambda: bd.plot_step(inversion("posterior"), var_names="y"),
         "ValueError: There is no variable 'y'. There are 'x'."),
        ("unknown dimension", lambda: bd.plot_step(inversion("posterior"), coords={"place": 0}),
         "ValueError: There is no dimension 'place'. There are 'chain', 'draw'."),
        ("coords no mapping", lambda: bd.plot_step(inversion("posterior"), coords=3),
         "TypeError: coords is 3; write a mapping, as coords={'school': ['Choate', 'Deerfield']}"),
        ("observation without a batch", lambda: bd.plot_step(inversion("posterior"), observation=0),
         "ValueError: There is no dimension 'observation'. There are 'chain', 'draw'."),
        ("backend", lambda: bd.plot_step(inversion("posterior"), backend="matlab"),
         "ValueError: backend is 'matlab'. Write 'matplotlib', 'bokeh', 'plotly' or 'none'."),
        ("var_names a number", lambda: bd.plot_step(inversion("posterior"), var_names=3),
         "TypeError: var_names is 3. Write a name, or a list of names: there are 'x'."),
    ],
    "plot_compare": [
        ("swapped", lambda: bd.plot_compare(inversion("posterior"), inversion("map")),
         "ValueError: The arguments are swapped. The mode comes first: compare(map_tree, posterior_tree)."),
        ("no tree", lambda: bd.plot_compare(None, inversion("posterior")),
         "TypeError: map_tree is a NoneType. Pass the DataTree that find_map returned: compare(map_tree, "
         "posterior_tree)."),
        ("max_observations 0", lambda: bd.plot_compare(inversion("map"), inversion("posterior"), max_observations=0),
         "ValueError: max_observations is 0; write an int >= 1"),
        ("count a text", lambda: bd.plot_compare(inversion("map"), inversion("posterior"), max_observations="all"),
         "TypeError: max_observations is 'all'; write an int >= 1"),
        ("unknown variable", lambda: bd.plot_compare(inversion("map"), inversion("posterior"), var_names=["y"]),
         "ValueError: There is no variable 'y'. There are 'x'."),
        ("backend", lambda: bd.plot_compare(inversion("map"), inversion("posterior"), backend="matlab"),
         "ValueError: backend is 'matlab'. Write 'matplotlib', 'bokeh', 'plotly' or 'none'."),
    ],
    "calibrate": [
        ("text", lambda: bd.calibrate("model"),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
        ("data", lambda: bd.calibrate(observed()),
         "ValueError: p0 cannot be drawn: it has observed data, ['y']; calibration begins with true x ~ p0, so write "
         "the model without it, or with what can be drawn"),
        ("Potential", lambda: bd.calibrate(bd.tilt(normal().model, lambda x: -(x**2))),
         "ValueError: p0 cannot be drawn: it has a Potential, ['tilt']; calibration begins with true x ~ p0, so write "
         "the model without it, or with what can be drawn"),
        ("flat", lambda: bd.calibrate(model_of(lambda: pm.Flat("x"))),
         "ValueError: p0 cannot be drawn: a distribution has no random draws, or invalid parameters; "
         "calibration begins with true x ~ p0, so write the model without it, or with what can be drawn"),
        ("known up to a constant", lambda: bd.calibrate(bd.density(lambda x: -(x**4))),
         "ValueError: p0 cannot be drawn: a distribution has no random draws, or invalid parameters; "
         "calibration begins with true x ~ p0, so write the model without it, or with what can be drawn"),
        ("a name of the result", lambda: bd.calibrate(model_of(lambda: pm.Normal("log_prior"))),
         "ValueError: the prior has the names ['log_prior'], which the result needs for itself; rename them"),
        ("a dimension of the result", lambda: bd.calibrate(with_coords("replicate")),
         "ValueError: the prior has the names ['replicate'], which the result needs for itself; rename them"),
        ("alpha 0", lambda: bd.calibrate(normal(), 0.0),
         "ValueError: alpha is 0.0; write a finite number other than 0"),
        ("sigma negative", lambda: bd.calibrate(normal(), sigma=-1.0),
         "ValueError: sigma is -1.0; write a finite number > 0"),
        ("sigma a list", lambda: bd.calibrate(normal(), sigma=[1.0, 2.0]),
         "ValueError: sigma has shape (2,); write one number"),
        ("invert text", lambda: bd.calibrate(normal(), invert="draw"),
         "TypeError: invert is 'draw'; write a function, as bd.draw or bd.mode"),
        ("invert find_map", lambda: bd.calibrate(normal(), invert=bd.find_map),
         "TypeError: invert is bayesdiff.inversion.find_map, which cannot be called as invert(prior, o, alpha, "
         "sigma, start=..., random_seed=...): got an unexpected keyword argument 'start'; write an inverter, as "
         "bd.draw or bd.mode"),
        ("a schedule for alpha", lambda: bd.calibrate(normal(), SCHEDULE),
         "TypeError: alpha is a schedule; write calibrate_chain(prior, schedule)"),
        ("replicates 0", lambda: bd.calibrate(normal(), replicates=0),
         "ValueError: replicates is 0; write an int >= 1"),
        ("draws a float", lambda: bd.calibrate(normal(), draws=99.0),
         "TypeError: draws is 99.0; write an int >= 1"),
        ("probability 1", lambda: bd.calibrate(normal(), probability=1.0),
         "ValueError: probability is 1.0; write a number between 0 and 1"),
        ("probability negative", lambda: bd.calibrate(normal(), probability=-0.5),
         "ValueError: probability is -0.5; write a number between 0 and 1"),
        ("probability text", lambda: bd.calibrate(normal(), probability="most"),
         "TypeError: probability is 'most'; write a number between 0 and 1"),
        ("seed text", lambda: bd.calibrate(normal(), random_seed="1"),
         "TypeError: random_seed is '1'; write an int, a numpy Generator or None"),
        ("progressbar text", lambda: bd.calibrate(normal(), progressbar="yes"),
         "TypeError: progressbar is 'yes'; write True or False"),
    ],
    "calibrate_chain": [
        ("data", lambda: bd.calibrate_chain(observed(), SCHEDULE),
         "ValueError: p0 cannot be drawn: it has observed data, ['y']; calibration begins with true x ~ p0, so write "
         "the model without it, or with what can be drawn"),
        ("no schedule", lambda: bd.calibrate_chain(normal(), 10.0),
         "TypeError: schedule is float; write one, as bd.geometric(16, 0.1, 10.0)"),
        ("wrong schedule", lambda: bd.calibrate_chain(levels(), bd.geometric(4, 0.5, 4.0)),
         "ValueError: the prior was made for another schedule: it has 3 levels, this one 4; pass the prior's own, "
         "bd.compile_prior(prior).schedule, or make the prior for this one"),
        ("invert text", lambda: bd.calibrate_chain(normal(), SCHEDULE, "draw"),
         "TypeError: invert is 'draw'; write a function, as bd.draw or bd.mode"),
        ("next_level text", lambda: bd.calibrate_chain(levels(), SCHEDULE, next_level="yes"),
         "TypeError: next_level is 'yes'; write True, False or None"),
        ("next_level without levels", lambda: bd.calibrate_chain(normal(), SCHEDULE, next_level=True),
         "ValueError: next_level=True needs a prior whose density depends on the level, and this one's does not; "
         "make it so, as gaussian_mixture(..., schedule=schedule), or write next_level=False"),
        ("draws 0", lambda: bd.calibrate_chain(normal(), SCHEDULE, draws=0),
         "ValueError: draws is 0; write an int >= 1"),
        ("replicates a float", lambda: bd.calibrate_chain(normal(), SCHEDULE, replicates=1e3),
         "TypeError: replicates is 1000.0; write an int >= 1"),
        ("probability 0", lambda: bd.calibrate_chain(normal(), SCHEDULE, probability=0.0),
         "ValueError: probability is 0.0; write a number between 0 and 1"),
        ("seed negative", lambda: bd.calibrate_chain(normal(), SCHEDULE, random_seed=-3),
         "ValueError: random_seed is -3; write an int >= 0"),
    ],
    "plot_calibration": [
        ("no result", lambda: bd.plot_calibration(None),
         "TypeError: results is a NoneType. Pass what calibrate or calibrate_chain returned, or a mapping "
         "{label: result}."),
        ("empty", lambda: bd.plot_calibration({}),
         "ValueError: There is no result to draw. Pass one, or a mapping {label: result}."),
        ("an inversion", lambda: bd.plot_calibration(inversion("map")),
         "ValueError: results has no group 'ecdf'. Pass what calibrate or calibrate_chain returned."),
        ("a mapping of text", lambda: bd.plot_calibration({"a": "b"}),
         "TypeError: the result 'a' is a str. Pass what calibrate or calibrate_chain returned."),
        ("of other quantities", lambda: bd.plot_calibration({"a": ranked("x"), "b": ranked("y")}),
         "ValueError: the result 'b' ranks 'y' among 3 draws, and the first one 'x' among 3. Draw those of one prior "
         "and draws= alone."),
        ("of other draws", lambda: bd.plot_calibration({"a": ranked("x"), "b": ranked("x", draws=4)}),
         "ValueError: the result 'b' ranks 'x' among 4 draws, and the first one 'x' among 3. Draw those of one prior "
         "and draws= alone."),
        ("unknown variable", lambda: bd.plot_calibration(ranked("x"), "y"),
         "ValueError: There is no variable 'y'. There are 'x'."),
        ("unknown dimension", lambda: bd.plot_calibration(ranked("x"), coords={"school": 0}),
         "ValueError: There is no dimension 'school'. There are none."),
        ("coords no mapping", lambda: bd.plot_calibration(ranked("x"), coords=[0]),
         "TypeError: coords is [0]; write a mapping, as coords={'school': ['Choate', 'Deerfield']}"),
        ("backend", lambda: bd.plot_calibration(ranked("x"), backend="matlab"),
         "ValueError: backend is 'matlab'. Write 'matplotlib', 'bokeh', 'plotly' or 'none'."),
    ],
    "plot_chain": [
        ("one level", lambda: bd.plot_chain(without_levels(chain())),
         "ValueError: The run holds o_k at level 0 alone. Run reverse(..., path=True), which keeps all."),
        ("particles negative", lambda: bd.plot_chain(chain(), particles=-1),
         "ValueError: particles is -1; write an int >= 0"),
        ("no run", lambda: bd.plot_chain(None),
         "TypeError: The run is a NoneType. Pass the DataTree that reverse(..., path=True) returned."),
        ("empty", lambda: bd.plot_chain({}),
         "ValueError: There is no run to draw. Pass one, or a mapping {label: run}."),
        ("an inversion", lambda: bd.plot_chain(inversion("map")),
         "ValueError: The run has no group 'path' by level. Pass what reverse(..., path=True) returned."),
        ("particles text", lambda: bd.plot_chain(chain(), particles="all"),
         "TypeError: particles is 'all'; write an int >= 0"),
        ("unknown variable", lambda: bd.plot_chain(chain(), "y"),
         "ValueError: There is no variable 'y'. There are 'x'."),
        ("unknown dimension", lambda: bd.plot_chain(chain(2), coords={"component": 0}),
         "ValueError: There is no dimension 'component'. There are 'place'."),
        ("unknown label", lambda: bd.plot_chain(chain(2), coords={"place": 5}),
         "ValueError: 'place' has no label 5. It has 0, 1."),
        ("coords no mapping", lambda: bd.plot_chain(chain(2), coords=[0]),
         "TypeError: coords is [0]; write a mapping, as coords={'school': ['Choate', 'Deerfield']}"),
        ("rescale text", lambda: bd.plot_chain(chain(), rescale="yes"),
         "TypeError: rescale is 'yes'; write True or False"),
        ("different runs", lambda: bd.plot_chain({"a": chain(), "b": chain(2)}),
         "ValueError: The runs 'a' and 'b' have different variables or labels: x (), and x (2,). Draw them apart, "
         "or choose what both have in var_names= or coords=."),
        ("backend", lambda: bd.plot_chain(chain(), backend="matlab"),
         "ValueError: backend is 'matlab'. Write 'matplotlib', 'bokeh', 'plotly' or 'none'."),
    ],
    "plot_chain_plane": [
        ("one number", lambda: bd.plot_chain_plane(chain()),
         "ValueError: plot_chain_plane draws two numbers, and 1 are chosen: x. Name them in var_names= and coords=."),
        ("levels empty", lambda: bd.plot_chain_plane(chain(2), levels=[]),
         "ValueError: levels is empty. Name some, or say how many."),
        ("levels unknown", lambda: bd.plot_chain_plane(chain(2), levels=[9]),
         "ValueError: The run has no level 9 in its path. It has 2, 1, 0."),
        ("levels 0", lambda: bd.plot_chain_plane(chain(2), levels=0),
         "ValueError: levels is 0; write an int >= 1"),
        ("levels text", lambda: bd.plot_chain_plane(chain(2), levels="all"),
         "TypeError: levels is 'all'. Write how many, or a list of levels. The run has 2, 1, 0."),
        ("levels a float", lambda: bd.plot_chain_plane(chain(2), levels=2.5),
         "TypeError: levels is 2.5. Write how many, or a list of levels. The run has 2, 1, 0."),
        ("levels None", lambda: bd.plot_chain_plane(chain(2), levels=None),
         "TypeError: levels is None. Write how many, or a list of levels. The run has 2, 1, 0."),
        ("particles negative", lambda: bd.plot_chain_plane(chain(2), particles=-1),
         "ValueError: particles is -1; write an int >= 1"),
    ],
    "plot_schedule": [
        ("None", lambda: bd.plot_schedule(None),
         "TypeError: schedule is NoneType. Pass a schedule, as bd.geometric(16, 0.1, 10.0), or a run."),
        ("text", lambda: bd.plot_schedule("cosine"),
         "TypeError: schedule is str. Pass a schedule, as bd.geometric(16, 0.1, 10.0), or a run."),
        ("empty", lambda: bd.plot_schedule({}),
         "ValueError: There is no schedule to draw. Pass one, or a mapping {label: schedule}."),
        ("an inversion", lambda: bd.plot_schedule(inversion("map")),
         "ValueError: schedule is a tree without a group 'schedule'. Pass what reverse returned."),
        ("backend", lambda: bd.plot_schedule(SCHEDULE, backend="matlab"),
         "ValueError: backend is 'matlab'. Write 'matplotlib', 'bokeh', 'plotly' or 'none'."),
    ],
    "animate_chain": [
        ("suffix", lambda: bd.animate_chain(chain(), "a.mp4"),
         "ValueError: path is 'a.mp4'; write one that ends in .gif"),
        ("exists", lambda: bd.animate_chain(chain(), file("a.gif")),
         "FileExistsError: a.gif exists. To replace a file: overwrite=True. Or choose another path."),
        ("no run", lambda: bd.animate_chain(inversion("posterior"), "b.gif"),
         "ValueError: The run has no group 'path' by level. Pass what reverse(..., path=True) returned."),
        ("particles a float", lambda: bd.animate_chain(chain(), "b.gif", particles=10.0),
         "TypeError: particles is 10.0; write an int >= 1"),
        ("path None", lambda: bd.animate_chain(chain(), None), "TypeError: path is None; write a path, as 'chain.gif'"),
        ("three numbers", lambda: bd.animate_chain(chain(3), "b.gif"),
         "ValueError: animate_chain shows one number or two, and 3 are chosen: x[0], x[1], x[2]. Name them in "
         "var_names= and coords=."),
        ("overwrite text", lambda: bd.animate_chain(chain(), file("a.gif"), overwrite="no"),
         "TypeError: overwrite is 'no'; write True or False"),
    ],
    "write_report": [
        ("a folder", lambda: bd.write_report(inversion("map"), folder("folder.html")),
         "IsADirectoryError: folder.html is a folder. Write the name of a file in it."),
        ("suffix", lambda: bd.write_report(inversion("map"), "report.pdf"),
         "ValueError: report.pdf must end in .html (a page) or in .qmd (its source)."),
        ("no run", lambda: bd.write_report(None, "report.html"),
         "TypeError: The run is a NoneType. Pass what find_map and the like returned, or where it was saved."),
        ("no such run", lambda: bd.write_report("no-run.zarr", "report.html"),
         "FileNotFoundError: There is no run at no-run.zarr."),
        ("no inversion", lambda: bd.write_report(xr.DataTree(), "report.html"),
         "ValueError: run is not a run that can be reported: it holds no inversion. Pass what find_map, "
         "sample_posterior, reverse, sample or calibrate returned, both inversions of one step together, or several "
         "chains."),
        ("empty mapping", lambda: bd.write_report({}, "report.html"),
         "ValueError: run is not a run that can be reported: it holds no inversion. Pass what find_map, "
         "sample_posterior, reverse, sample or calibrate returned, both inversions of one step together, or several "
         "chains."),
        ("label with a slash", lambda: bd.write_report({"a/b": inversion("map")}, "report.html"),
         "ValueError: 'a/b' cannot be the label of a run; write a word, without a slash."),
        ("no tree in a mapping", lambda: bd.write_report({"a": 1.0}, "report.html"),
         "TypeError: 'a' of the run is a float. Pass what find_map and the like returned."),
        ("group missing", lambda: bd.write_report(with_groups("map", "posterior"), "report.html"),
         "ValueError: run has no group 'unconstrained_posterior', so it is damaged or only part of a run. Run it "
         "again."),
        ("path a number", lambda: bd.write_report(inversion("map"), 1.0),
         "TypeError: path is 1.0; write a path, as 'report.html'"),
        ("title a number", lambda: bd.write_report(inversion("map"), "report.html", title=3),
         "TypeError: title is 3; write a text, or None"),
        ("title of spaces", lambda: bd.write_report(inversion("map"), "report.html", title=" "),
         "ValueError: title is ' '; write letters that can be shown, or None for the document's own"),
        ("title half a letter", lambda: bd.write_report(inversion("map"), "report.qmd", title="a\ud800"),
         "ValueError: title is 'a\\ud800'; write letters that can be shown, or None for the document's own"),
        ("label a point", lambda: bd.write_report({".": inversion("reverse")}, "report.qmd"),
         "ValueError: '.' cannot be the label of a run; write a word, without a slash."),
        ("label a number", lambda: bd.write_report({1: inversion("reverse"), "1": inversion("reverse")}, "report.qmd"),
         "TypeError: 1 cannot be the label of a run; write a text."),
        ("somebody's page", lambda: bd.write_report(inversion("map"), file("page.html", b"mine")),
         "FileExistsError: page.html exists and is not a page of bayesdiff, so it is not replaced. Choose another "
         "place for it, or say overwrite=True (--overwrite on the command line)."),
        ("in a file", lambda: bd.write_report(inversion("map"), file("a-file") + "/report.html"),
         "FileExistsError: The folder a-file cannot be made (File exists). Choose another place for report.html."),
        ("overwrite text", lambda: bd.write_report(inversion("map"), "report.html", overwrite="no"),
         "TypeError: overwrite is 'no'; write True or False"),
    ],
    "save": [
        ("no tree", lambda: bd.save(np.zeros(3), "run.zarr"),
         "TypeError: save takes an xarray.DataTree, not a ndarray."),
        ("dataset", lambda: bd.save(results.dataset({"x": 1.0}), "run.zarr"),
         "TypeError: save takes an xarray.DataTree, not a Dataset."),
        ("suffix", lambda: bd.save(inversion("map"), "run.npz"),
         "ValueError: run.npz must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("path None", lambda: bd.save(inversion("map"), None), "TypeError: path is None; write a path, as 'run.zarr'"),
        ("exists", lambda: bd.save(inversion("map"), file("run.zarr")),
         "FileExistsError: run.zarr exists. To replace it: overwrite=True in Python, --overwrite on the command "
         "line. Or choose another path."),
        ("exists and is no run", lambda: bd.save(inversion("map"), file("run.zarr"), overwrite=True),
         "FileExistsError: run.zarr is not a run, so it is not overwritten. Remove it, or choose another path."),
        ("attribute", lambda: bd.save(results.tree({}, {"model": OBJECT}), "run.zarr"),
         "TypeError: Attributes must be text, numbers, bool, None, lists or dicts of them: Object of type Strange "
         "is not JSON serializable."),
        ("in a file", lambda: bd.save(inversion("map"), file("a-file") + "/run.zarr"),
         "FileExistsError: The folder a-file cannot be made (File exists). Choose another place for run.zarr."),
        ("overwrite text", lambda: bd.save(inversion("map"), file("run.zarr"), overwrite="no"),
         "TypeError: overwrite is 'no'; write True or False"),
    ],
    "load": [
        ("in_memory text", lambda: bd.load("run.zarr", in_memory="no"),
         "TypeError: in_memory is 'no'; write True, False or None"),
        ("no such run", lambda: bd.load("no-run.zarr"), "FileNotFoundError: There is no run at no-run.zarr."),
        ("path None", lambda: bd.load(None), "TypeError: path is None; write a path, as 'run.zarr'"),
        ("path a tree", lambda: bd.load(inversion("map")), "TypeError: path is DataTree; write a path, as 'run.zarr'"),
    ],
    "images.Network": [
        ("no net", lambda: images.Network("net", {}, np.zeros((3, 141))),
         "TypeError: net is str; write a PictureNet or a VectorNet"),
        ("constants", lambda: images.Network(network().net, network().weights, np.zeros((2, 141))),
         "ValueError: constants has shape (2, 141); write 3 rows, one for each of the 2 words and one for any"),
    ],
    "images.PictureNet": [
        ("not in fours", lambda: images.PictureNet((27, 28, 1), ("cat",), 0.0, 1.0),
         "ValueError: shape is (27, 28, 1); write (height, width, colours), the first two multiples of 4"),
        ("shape of two", lambda: images.PictureNet((28, 28), ("cat",), 0.0, 1.0),
         "TypeError: shape is (28, 28); write ints, (height, width, colours), the first two multiples of 4"),
        ("shape a number", lambda: images.PictureNet(28, ("cat",), 0.0, 1.0),
         "TypeError: shape is 28; write ints, (height, width, colours), the first two multiples of 4"),
        ("shape of floats", lambda: images.PictureNet((28.0, 28.0, 1.0), ("cat",), 0.0, 1.0),
         "TypeError: shape is (28.0, 28.0, 1.0); write ints, (height, width, colours), the first two multiples of 4"),
        ("words one text", lambda: images.PictureNet((28, 28, 1), "cat", 0.0, 1.0),
         "TypeError: words is 'cat'; write a tuple of texts, as ('cat', 'dog')"),
        ("sd 0", lambda: images.PictureNet((28, 28, 1), ("cat",), 0.0, 0.0),
         "ValueError: mean is 0.0 and sd 0.0; write a number and a number > 0, of all that pictures hold"),
        ("sd text", lambda: images.PictureNet((28, 28, 1), ("cat",), 0.0, "1"),
         "TypeError: sd is '1'; write a number, of all that pictures hold"),
        ("channels 0", lambda: images.PictureNet((28, 28, 1), ("cat",), 0.0, 1.0, channels=0),
         "ValueError: channels is 0; write an int >= 1"),
        ("heads", lambda: images.PictureNet((28, 28, 1), ("cat",), 0.0, 1.0, width=128, heads=3),
         "ValueError: width is 128 and heads 3; write a width that is a multiple of heads"),
        ("seed", lambda: images.PictureNet((4, 4, 1), ("cat",), 0.0, 1.0).initial("a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
    ],
    "images.VectorNet": [
        ("shape a number", lambda: images.VectorNet(2, ("a",), 0.0, 1.0),
         "TypeError: shape is 2; write ints, (n,), of vectors of n numbers"),
        ("shape empty", lambda: images.VectorNet((), ("a",), 0.0, 1.0),
         "TypeError: shape is (); write ints, (n,), of vectors of n numbers"),
        ("shape 0", lambda: images.VectorNet((0,), ("a",), 0.0, 1.0), "ValueError: shape[0] is 0; write an int >= 1"),
        ("words one text", lambda: images.VectorNet((2,), "left", 0.0, 1.0),
         "TypeError: words is 'left'; write a tuple of texts, as ('cat', 'dog')"),
        ("depth a float", lambda: images.VectorNet((2,), ("a",), 0.0, 1.0, depth=1.5),
         "TypeError: depth is 1.5; write an int >= 1"),
        ("mean nan", lambda: images.VectorNet((2,), ("a",), NAN, 1.0),
         "ValueError: mean is nan and sd 1.0; write a number and a number > 0, of all that pictures hold"),
    ],
    "images.load_network": [
        ("missing", lambda: images.load_network("no.npz"),
         "FileNotFoundError: no.npz does not exist; write the path of a file that save_network wrote"),
        ("None", lambda: images.load_network(None), "TypeError: path is None; write a path, as 'network.npz'"),
    ],
    "images.save_network": [
        ("suffix", lambda: images.save_network(network(), "net.pt"),
         "ValueError: path is 'net.pt'; write one that ends in .npz"),
        ("no network", lambda: images.save_network({"w": 1}, "net.npz"),
         "TypeError: network is dict; write a Network, as train gives it"),
        ("path None", lambda: images.save_network(network(), None),
         "TypeError: path is None; write a path, as 'network.npz'"),
    ],
    "images.classifier_prior": [
        ("no network", lambda: images.classifier_prior("network"),
         "TypeError: network is str; write a Network, as load_network gives it"),
        ("unknown word", lambda: images.classifier_prior(network(), "up"),
         "ValueError: the network knows no 'up'; write what it knows: left, right"),
        ("twice", lambda: images.classifier_prior(network(), "left and left"),
         "ValueError: prompt is 'left and left'; write each word once"),
        ("prompt a list", lambda: images.classifier_prior(network(), ["left"]),
         "TypeError: prompt is ['left']; write a text, as 'cat', or None"),
        ("prompt empty", lambda: images.classifier_prior(network(), ""),
         "ValueError: prompt is ''; write a word that the network knows: left, right"),
        ("prompt that ends in and", lambda: images.classifier_prior(network(), "left and"),
         "ValueError: prompt is 'left and'; write a word before and after each 'and' and 'not', as in 'cat and dog', "
         "'cat not dog'"),
        ("schedule", lambda: images.classifier_prior(network(), "left", 24),
         "TypeError: schedule is int; write one, as picture_schedule(24)"),
        ("schedule too noisy", lambda: images.classifier_prior(network(), "left", bd.geometric(3, 0.5, 1e4)),
         "ValueError: level 2 has a log signal-to-noise ratio of -8.52, and the network knows none below -6; end "
         "the schedule before, as picture_schedule does"),
        ("strength 0", lambda: images.classifier_prior(network(), "left", strength=0),
         "ValueError: strength is 0; write a number > 0; 1 is the density itself"),
        ("strength text", lambda: images.classifier_prior(network(), "left", strength="2"),
         "TypeError: strength is '2'; write a number > 0; 1 is the density itself"),
        ("strength None", lambda: images.classifier_prior(network(), "left", strength=None),
         "TypeError: strength is None; write a number > 0; 1 is the density itself"),
        ("dtype", lambda: images.classifier_prior(network(), "left", dtype="float16"),
         "ValueError: dtype is 'float16'; write 'float32' or 'float64'"),
        ("dtype a type", lambda: images.classifier_prior(network(), "left", dtype=np.float32),
         "ValueError: dtype is <class 'numpy.float32'>; write 'float32' or 'float64'"),
    ],
    "images.noise": [
        ("no prior", lambda: images.noise("prior", 3),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
        ("no level prior", lambda: images.noise(normal(), 3),
         "ValueError: prior is no level prior; write one of classifier_prior"),
        ("number 0", lambda: images.noise(levels(), 0), "ValueError: number is 0; write an int >= 1"),
        ("number text", lambda: images.noise(levels(), "3"), "TypeError: number is '3'; write an int >= 1"),
        ("seed", lambda: images.noise(levels(), 3, random_seed="a"),
         "TypeError: random_seed is 'a'; write an int, a numpy Generator or None"),
    ],
    "images.half_seen": [
        ("no prior", lambda: images.half_seen(None, [1.0, 0.0], [True, False], 1.0),
         "TypeError: prior must be a pm.Model, got NoneType; write `with pm.Model() as prior: ...`"),
        ("no level prior", lambda: images.half_seen(normal(), 1.0, True, 1.0),
         "ValueError: prior is no level prior; write one of classifier_prior, or gaussian_mixture(..., schedule)"),
        ("mask of another shape", lambda: images.half_seen(levels(), [1.0, 0.0], [True], 1.0),
         "ValueError: seen has shape (1,) and y (2,); write both in x's shape (2,): a mask, True where x is seen, "
         "and what is seen there"),
        ("nothing seen", lambda: images.half_seen(levels(), [1.0, 0.0], [False, False], 1.0),
         "ValueError: seen is False everywhere; nothing is seen: write True where x is seen"),
        ("matrix of another shape", lambda: images.half_seen(levels(), [1.0], [[1.0, 0.0, 0.0]], 1.0),
         "ValueError: seen has shape (1, 3) and y (1,); write a mask (True where x is seen, of shape (2,)), or a "
         "matrix (m, 2) and y (m,)"),
        ("matrix nan", lambda: images.half_seen(levels(), [1.0], [[NAN, 0.0]], 1.0),
         "ValueError: seen holds numbers that are not finite; write a matrix of finite ones"),
        ("y nan where seen", lambda: images.half_seen(levels(), [NAN, 0.0], [True, False], 1.0),
         "ValueError: y is not finite where it is seen; mask these places out"),
        ("y text", lambda: images.half_seen(levels(), "y", [True, False], 1.0),
         "TypeError: y must hold real numbers, got 'y' (dtype <U1)"),
        ("seen text", lambda: images.half_seen(levels(), [1.0, 0.0], "left", 1.0),
         "TypeError: seen must hold real numbers, got 'left' (dtype <U4)"),
        ("sd 0", lambda: images.half_seen(levels(), [1.0, 0.0], [True, False], 0.0),
         "ValueError: sd is 0.0; write a number > 0"),
        ("sd True", lambda: images.half_seen(levels(), [1.0, 0.0], [True, False], True),
         "ValueError: sd is True; write a number > 0"),
        ("spread text", lambda: images.half_seen(levels(), [1.0, 0.0], [True, False], 1.0, spread="1"),
         "ValueError: spread is '1'; write a number > 0"),
    ],
    "images.blur": [
        ("shape of two", lambda: images.blur((8, 8), 1.0),
         "ValueError: shape is (8, 8); write (height, width, colours)"),
        ("shape of floats", lambda: images.blur((8.0, 8.0, 1.0), 1.0),
         "ValueError: shape is (8.0, 8.0, 1.0); write (height, width, colours)"),
        ("shape a number", lambda: images.blur(8, 1.0), "ValueError: shape is 8; write (height, width, colours)"),
        ("sd 0", lambda: images.blur((8, 8, 1), 0.0), "ValueError: sd is 0.0; write a number of pixels > 0"),
        ("sd text", lambda: images.blur((8, 8, 1), "1"), "TypeError: sd is '1'; write a number of pixels > 0"),
        ("sd None", lambda: images.blur((8, 8, 1), None), "TypeError: sd is None; write a number of pixels > 0"),
        ("sd an array", lambda: images.blur((8, 8, 1), [1.0, 2.0]),
         "TypeError: sd is [1.0, 2.0]; write a number of pixels > 0"),
        ("every 0", lambda: images.blur((8, 8, 1), 1.0, every=0), "ValueError: every is 0; write an int >= 1"),
    ],
    "images.picture_schedule": [
        ("levels 0", lambda: images.picture_schedule(0), "ValueError: levels is 0; write an int >= 1"),
        ("levels 1", lambda: images.picture_schedule(1),
         "ValueError: levels is 1; write 2 or more: the first has `highest`, the last `lowest`"),
        ("levels a float", lambda: images.picture_schedule(4.0), "TypeError: levels is 4.0; write an int >= 1"),
        ("levels text", lambda: images.picture_schedule("24"), "TypeError: levels is '24'; write an int >= 1"),
        ("not ordered", lambda: images.picture_schedule(4, highest=-1.0, lowest=1.0),
         "ValueError: highest is -1.0 and lowest 1.0; write two numbers of -6 to 8, the first above the second"),
        ("highest text", lambda: images.picture_schedule(4, highest="high"),
         "TypeError: highest is 'high'; write a log signal-to-noise ratio, a number"),
        ("highest nan", lambda: images.picture_schedule(4, highest=NAN),
         "ValueError: highest is nan and lowest -5.5; write two numbers of -6 to 8, the first above the second"),
        ("lowest None", lambda: images.picture_schedule(4, lowest=None),
         "TypeError: lowest is None; write a log signal-to-noise ratio, a number"),
    ],
    "images.inverters.draw": [
        ("moves 0", lambda: picture_inverters.draw(levels(), [[0.0, 0.0]], moves=0),
         "ValueError: moves is 0; write an int >= 1"),
        ("leaps a float", lambda: picture_inverters.draw(levels(), [[0.0, 0.0]], leaps=2.0),
         "TypeError: leaps is 2.0; write an int >= 1"),
        ("settle negative", lambda: picture_inverters.draw(levels(), [[0.0, 0.0]], settle=-1),
         "ValueError: settle is -1; write an int >= 0"),
        ("settle elsewhere", lambda: picture_inverters.draw(levels().at_level(0), [[0.0, 0.0]], settle=3),
         "ValueError: settle is 3, and this is no step of the prior's schedule from level 1 to level 0: moves with "
         "p0 as target would forget o; write settle=0, or next_level=True for a chain"),
        ("narrowest 0", lambda: picture_inverters.draw(levels(), [[0.0, 0.0]], narrowest=0),
         "ValueError: narrowest is 0; write a number > 0, the least sd of p0 in any direction"),
        ("narrowest text", lambda: picture_inverters.draw(levels(), [[0.0, 0.0]], narrowest="thin"),
         "TypeError: narrowest is 'thin'; write a number > 0, the least sd of p0 in any direction"),
        ("no level prior", lambda: picture_inverters.draw("prior", [[0.0]]),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
    ],
    "images.inverters.mode": [
        ("climbs 0", lambda: picture_inverters.mode(levels(), [[0.0, 0.0]], climbs=0),
         "ValueError: climbs is 0; write an int >= 1"),
        ("o of one axis", lambda: picture_inverters.mode(levels(), [0.0, 0.0]),
         "ValueError: o has shape (2,); an inverter takes (batch, 2), columns ['x[0]', 'x[1]']"),
    ],
    "images.inverters.mean": [
        ("o of text", lambda: picture_inverters.mean(levels(), [["a", "b"]]),
         "TypeError: o must hold real numbers, got [['a', 'b']] (dtype <U1)"),
        ("no level prior", lambda: picture_inverters.mean(normal(), [[0.0]]),
         "ValueError: alpha 1 and sigma 1 are no step of the prior's schedule to level 0, so the density of o is "
         "not known; use bayesdiff.reverse with the prior's own schedule"),
    ],
    "images.inverters.flow": [
        ("no level prior", lambda: picture_inverters.flow(normal(), [[0.0]]),
         "ValueError: alpha 1 and sigma 1 are no step of the prior's schedule to level 0, so the density of o is "
         "not known; use bayesdiff.reverse with the prior's own schedule"),
        ("sigma 0", lambda: picture_inverters.flow(levels(), [[0.0, 0.0]], sigma=0.0),
         "ValueError: sigma is 0.0; write a finite number > 0"),
    ],
    "pictures.path_of": [
        ("no run", lambda: pictures.path_of("run"), "TypeError: run is str; write what reverse returned"),
        ("no path", lambda: pictures.path_of(inversion("map")),
         "ValueError: run has no group 'path'; write what reverse returned, whole"),
    ],
    "pictures.tiled": [
        ("columns", lambda: pictures.tiled(PICTURES, columns=-1), "ValueError: columns is -1; write an int >= 1"),
        ("None", lambda: pictures.tiled(None), "TypeError: pictures has dtype object; write numbers in -1..1"),
        ("0..255", lambda: pictures.tiled(PICTURES + 200.0),
         "ValueError: pictures goes from 200 to 200; write -1..1: of numbers 0..255 that is pictures / 127.5 - 1"),
    ],
    "pictures.strip": [
        ("steps 1", lambda: pictures.strip(chain(4, 4, 1), steps=1), "ValueError: steps is 1; write an int >= 2"),
        ("pictures text", lambda: pictures.strip(chain(4, 4, 1), pictures="all"),
         "TypeError: pictures is 'all'; write an int >= 1"),
    ],
    "explore.explore": [
        ("two numbers", lambda: explore.explore(levels()),
         "ValueError: the prior has 2 unconstrained numbers, x[0], x[1]; the page shows a prior of one: write a "
         "model with one free variable, and for this one use `bayesdiff run`"),
        ("no model", lambda: explore.explore("prior"),
         "TypeError: prior must be a pm.Model, got str; write `with pm.Model() as prior: ...`"),
        ("seed text", lambda: explore.explore(normal(), random_seed="1"),
         "TypeError: random_seed is '1'; write an int >= 0"),
        ("seed None", lambda: explore.explore(normal(), random_seed=None),
         "TypeError: random_seed is None; write an int >= 0"),
        ("seed negative", lambda: explore.explore(normal(), random_seed=-1),
         "ValueError: random_seed is -1; write an int >= 0"),
        ("seed True", lambda: explore.explore(normal(), random_seed=True),
         "TypeError: random_seed is True; write an int >= 0"),
    ],
    "explore.page": [
        ("no priors", lambda: explore.page([], seed=1), "ValueError: there is no prior to show; give one or more"),
        ("no mapping", lambda: explore.page([1.0], seed=1),
         "TypeError: priors[0] is 1.0; write a mapping, what bayesdiff.explore.explore returned, with title and "
         "about"),
    ],
    "report.render.render": [
        ("not UTF-8", lambda: renderer.render(file("latin.qmd", b"---\ntitle: \xe9\n---\n"), "page.html"),
         "ReportError: latin.qmd is not text in UTF-8 (byte 12). Save it as UTF-8."),
        ("suffix", lambda: renderer.render("run.zarr", "page.html"),
         "ValueError: run.zarr must end in .qmd: a Quarto document."),
        ("out suffix", lambda: renderer.render("report.qmd", "page.pdf"), "ValueError: page.pdf must end in .html."),
        ("missing", lambda: renderer.render("report.qmd", "page.html"),
         "FileNotFoundError: There is no report at report.qmd."),
        ("no title", lambda: renderer.render(file("untitled.qmd", b"text"), "page.html"),
         "ReportError: untitled.qmd has no title. Begin it with three lines: ---, title: ..., and ---."),
        ("path None", lambda: renderer.render(None, "page.html"),
         "TypeError: source is None; write a path, as 'report.qmd'"),
        ("overwrite text", lambda: renderer.render("report.qmd", "page.html", overwrite="no"),
         "TypeError: overwrite is 'no'; write True or False"),
    ],
    "results.dataset": [
        ("too many dims", lambda: results.dataset({"x": [0.0]}, dims={"x": ["a", "b"]}),
         "ValueError: 'x' has shape (1,), but 2 dimensions were named: ['a', 'b']."),
        ("labels of another length", lambda: results.dataset({"x": [0.0]}, dims={"x": ["a"]}, coords={"a": [1, 2]}),
         "ValueError: The dimension 'a' has 1 entries, its labels have shape (2,). Give one label for each entry, "
         "or none at all."),
    ],
}  # fmt: skip

# Of a user who types: what is wrong, the arguments, and all that is said on stderr.
TYPED = [
    ("no command", "",
     "bayesdiff: error: the following arguments are required: COMMAND (see bayesdiff --help)"),
    ("run without arguments", "run",
     "bayesdiff run: error: the following arguments are required: FILE.py, --o, --sigma, --out (see bayesdiff run "
     "--help)"),
    ("no such file", "run no.py --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: there is no file no.py"),
    ("no Python file", "run notes.txt --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: notes.txt is not a Python file; its name must end in .py"),
    ("a file that raises", "run raises.py --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: raises.py, line 2: it raised RuntimeError: not today"),
    ("a file without a prior", "run empty.py --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: empty.py has no function `prior`; write `def prior() -> pm.Model: ...`"),
    ("a prior that is a number", "run number.py --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: prior() of number.py returned int; it must return a pm.Model"),
    ("a discrete prior", "run discrete.py --o 1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: Gaussian noise needs continuous variables, but ['n'] of the prior are discrete; sum "
     "them out (pm.Mixture, or marginalize of pymc-extras) or observe them"),
    ("o of text", "run prior.py --o five --sigma 1 --out run.zarr",
     "bayesdiff run: error: --o five: 'five' is not a number, nor numbers with commas between them, nor a file that "
     "ends in .npy, .npz or .csv"),
    ("o nan", "run prior.py --o nan --sigma 1 --out run.zarr",
     "bayesdiff run: error: o is nan at 'x'; write a finite number"),
    ("o of another name", "run prior.py --o y=1 --sigma 1 --out run.zarr",
     "bayesdiff run: error: o has unknown names ['y'] and no ['x']; write one entry per free variable, ['x']"),
    ("o twice without names", "run prior.py --o 1 --o 2 --sigma 1 --out run.zarr",
     "bayesdiff run: error: several --o must each name another variable: --o mu=1 --o z=0,0,1"),
    ("no file of o", "run prior.py --o o.npy --sigma 1 --out run.zarr",
     "bayesdiff run: error: --o o.npy: there is no file o.npy"),
    ("o from an empty table", "run prior.py --o empty.csv --sigma 1 --out run.zarr",
     "bayesdiff run: error: --o empty.csv: empty.csv cannot be read: it has no line of numbers"),
    ("o from a ragged table", "run prior.py --o ragged.csv --sigma 1 --out run.zarr",
     "bayesdiff run: error: --o ragged.csv: ragged.csv cannot be read: Expected 1 fields in "
     "line 2, saw 2; write one number for each column into each line"),
    ("o from a table of other columns", "run prior.py --o named.csv --sigma 1 --out run.zarr",
     "bayesdiff run: error: the .csv has the columns y; the prior needs x"),
    ("sigma 0", "run prior.py --o 1 --sigma 0 --out run.zarr",
     "bayesdiff run: error: sigma is 0.0; write a finite number > 0"),
    ("sigma negative", "run prior.py --o 1 --sigma -1 --out run.zarr",
     "bayesdiff run: error: sigma is -1.0; write a finite number > 0"),
    ("sigma infinite", "run prior.py --o 1 --sigma inf --out run.zarr",
     "bayesdiff run: error: sigma is inf; write a finite number > 0"),
    ("sigma of text", "run prior.py --o 1 --sigma wide --out run.zarr",
     "bayesdiff run: error: argument --sigma: 'wide' is not a number, nor numbers with commas between them (see "
     "bayesdiff run --help)"),
    ("sigma missing", "run prior.py --o 1 --out run.zarr",
     "bayesdiff run: error: the following arguments are required: --sigma (see bayesdiff run --help)"),
    ("alpha of another number", "run prior.py --o 1,2 --sigma 1 --alpha 1,1,1 --out run.zarr",
     "bayesdiff run: error: alpha has shape (3,); write one number, or one per observation (shape (2,))"),
    ("draws 0", "run prior.py --o 1 --sigma 1 --draws 0 --out run.zarr",
     "bayesdiff run: error: argument --draws: '0' is not a whole number >= 1 (see bayesdiff run --help)"),
    ("chains of a float", "run prior.py --o 1 --sigma 1 --chains 2.5 --out run.zarr",
     "bayesdiff run: error: argument --chains: '2.5' is not a whole number >= 1 (see bayesdiff run --help)"),
    ("draws of a MAP", "run prior.py --o 1 --sigma 1 --invert map --draws 5 --out run.zarr",
     "bayesdiff run: error: --draws needs --invert posterior or both: a MAP has no draws"),
    ("out of another kind", "run prior.py --o 1 --sigma 1 --out run.txt",
     "bayesdiff run: error: run.txt must end in .zarr (a folder) or in .nc (a NetCDF file)."),
    ("out that exists", "run prior.py --o 1 --sigma 1 --out there.zarr",
     "bayesdiff run: error: there.zarr exists. To replace it: overwrite=True in Python, --overwrite on the command "
     "line. Or choose another path."),
    ("an option that is none", "run prior.py --o 1 --sigma 1 --out run.zarr --fast",
     "bayesdiff: error: unrecognized arguments: --fast (see bayesdiff --help)"),
    ("sample draws", "sample prior.py --out run.zarr --draws many",
     "bayesdiff sample: error: argument --draws: 'many' is not a whole number >= 1 (see bayesdiff sample --help)"),
    ("sample of a discrete model", "sample discrete.py --out run.zarr",
     "bayesdiff sample: error: Gaussian noise needs continuous variables, but ['n'] of the prior are discrete; sum "
     "them out (pm.Mixture, or marginalize of pymc-extras) or observe them"),
    ("sample into a file that is none", "sample prior.py --out there.zarr --overwrite",
     "bayesdiff sample: error: there.zarr is not a run, so it is not overwritten. Remove it, or choose another path."),
    ("explore no file", "explore no.py",
     "bayesdiff explore: error: there is no file no.py"),
    ("explore without models", "explore",
     "bayesdiff explore: error: there is no file models/gaussian.py: name a prior of yours, as bayesdiff explore "
     "FILE.py, or run this in a clone"),
    ("explore somebody's page", "explore prior.py --out mine.html",
     "bayesdiff explore: error: mine.html exists and is not a page of bayesdiff, so it is not replaced. Choose "
     "another place for it, or say overwrite=True (--overwrite on the command line)."),
    ("explore into a folder", "explore prior.py --out folder",
     "bayesdiff explore: error: folder is a folder. Write the name of a file in it."),
    ("explore two numbers", "explore pair.py",
     "bayesdiff explore: error: pair.py: the prior has 2 unconstrained numbers, x[0], x[1]; the page shows a prior "
     "of one: write a model with one free variable, and for this one use `bayesdiff run`"),
    ("report of nothing", "report no.zarr",
     "bayesdiff report: error: There is no run at no.zarr."),
    ("report of another kind", "report no.zarr --out report.pdf",
     "bayesdiff report: error: report.pdf must end in .html (a page) or in .qmd (its source)."),
    ("report with a title of a document", "report report.qmd --title Mine",
     "bayesdiff report: error: --title is for the report of a run; write title: into the front matter of a .qmd"),
    ("report of no document", "report report.qmd",
     "bayesdiff report: error: There is no report at report.qmd."),
    ("data, which has left", "data",
     "bayesdiff data: error: pictures are fetched by a script of the repository now: run `python "
     "models/pictures/data.py quickdraw` in a clone"),
    ("data, as it was written", "data fashion --cache there",
     "bayesdiff data: error: pictures are fetched by a script of the repository now: run `python "
     "models/pictures/data.py fashion --cache there` in a clone"),
    ("demo without models", "demo",
     "bayesdiff demo: error: there is no models/gaussian.py: the demo shows priors of the repository. Run `make "
     "demo` in a clone, or name the files: bayesdiff demo GAUSSIAN.py MIXTURE.py"),
    ("kittens none", "kittens --out k -n 0",
     "bayesdiff kittens: error: argument -n: '0' is not a whole number >= 1 (see bayesdiff kittens --help)"),
    ("kittens in one level", "kittens --out k --levels 1",
     "bayesdiff kittens: error: argument --levels: '1' is not a whole number >= 2 (see bayesdiff kittens --help)"),
    ("kittens of no strength", "kittens --out k --strength 0",
     "bayesdiff kittens: error: argument --strength: '0' is not a number > 0 (see bayesdiff kittens --help)"),
    ("kittens of an unknown word", "kittens --out k --prompt kat",
     "bayesdiff kittens: error: the network knows no 'kat'; did you mean 'cat'? It knows: cat, dog, face, smiley "
     "face, rabbit, lion, tiger, bear, panda, pig, mouse, owl, bird, fish, flower, tree, house, sun, star, apple, "
     "umbrella"),
    ("kittens of no network", "kittens --out k --network no.npz",
     "bayesdiff kittens: error: no.npz does not exist; write the path of a file that save_network wrote"),
    ("kittens into a file", "kittens --out prior.py",
     "bayesdiff kittens: error: prior.py is a file; choose another --out"),
    ("kittens into another folder", "kittens --out full",
     "bayesdiff kittens: error: full holds something else than kittens; choose another --out"),
]  # fmt: skip


def written(prior):
    return f"import pymc as pm\n\n\ndef prior():\n    with pm.Model() as model:\n        {prior}\n    return model\n"


FILES = {
    "prior.py": written("pm.Normal('x')"),
    "pair.py": written("pm.Normal('x', shape=2)"),
    "discrete.py": written("pm.Poisson('n', 2.0)"),
    "raises.py": "\nraise RuntimeError('not today')\n",
    "number.py": "def prior():\n    return 3\n",
    "empty.py": "",
    "notes.txt": "",
    "empty.csv": "x\n",
    "ragged.csv": "1\n1,2\n",
    "named.csv": "y\n1\n",
    "there.zarr": "a file",
    "mine.html": "mine",
    "full/mine.txt": "mine",
    "folder/mine.txt": "mine",
}

# What is public has rows here, or a reason why it has none. Beside these, functions without arguments have nothing to
# refuse.
NO_ROWS = {
    "ChainError": "an error, raised by reverse",
}
# Beyond the two lists of public names: what pages are made of, and the inverters of pictures.
ALSO_PUBLIC = {
    "explore.explore": explore.explore,
    "explore.page": explore.page,
    "report.render.render": renderer.render,
    **{
        f"images.inverters.{name}": function
        for name, function in vars(picture_inverters).items()
        if inspect.isfunction(function) and function.__module__ == picture_inverters.__name__ and name[0] != "_"
    },
}


@pytest.fixture(autouse=True)
def nothing_is_computed(tmp_path, monkeypatch):
    """Work in an empty folder, and fail where sampling or climbing begins before the arguments are read."""

    def begun(*args, **kwargs):
        raise AssertionError("something was computed before the arguments were checked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bayesdiff.invert.draws, "in_chunks", begun)
    monkeypatch.setattr(bayesdiff.invert.modes, "in_chunks", begun)
    monkeypatch.setattr(bayesdiff.chain, "_last_law", begun)
    monkeypatch.setattr(bayesdiff.multimodal.sampling, "scout", begun)


@pytest.mark.parametrize(
    ("call", "error"),
    [pytest.param(call, error, id=f"{name}: {what}") for name, rows in TABLE.items() for what, call, error in rows],
)
def test_refused_in_these_words(call, error):
    with pytest.raises(Exception) as raised:  # noqa: PT011  its type is compared as well, and all of its words
        call()
    assert f"{raised.type.__name__}: {raised.value}" == error


def test_good_input_would_be_computed():
    """The other side of the fixture: with arguments that can be used, the computation begins."""
    for call in (
        lambda: bd.find_map(normal(), 0.0),
        lambda: bd.draw(normal(), [[0.0]]),
        lambda: bd.reverse(normal(), SCHEDULE),
        lambda: bd.calibrate(normal()),
        lambda: bd.sample(normal()),
    ):
        with pytest.raises(AssertionError, match="before the arguments were checked"):
            call()


def test_every_public_name_has_rows():
    public = {name: getattr(bd, name) for name in bd.__all__}
    public |= {f"images.{name}": getattr(images, name) for name in images.__all__}
    public |= ALSO_PUBLIC
    plain = {name for name in public if not name.endswith("Error") and not inspect.signature(public[name]).parameters}
    assert set(NO_ROWS) <= set(public)
    assert sorted(set(public) - set(NO_ROWS) - plain - set(TABLE)) == []
    assert all(len({what for what, *_ in rows}) == len(rows) > 0 for rows in TABLE.values())


@pytest.mark.parametrize(("typed", "said"), [pytest.param(typed, said, id=what) for what, typed, said in TYPED])
def test_typed_wrongly(typed, said, capsys):
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    try:
        status = cli.main(typed.split())
    except SystemExit as error:  # as argparse leaves
        status = error.code
    out, err = capsys.readouterr()
    assert (status, out, err) == (2, "", f"{said}\n")  # one line: no traceback
