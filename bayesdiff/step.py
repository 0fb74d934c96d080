"""One diffusion step as a PyMC model.

    o | x ~ N(alpha x, sigma^2 I)                     forward
    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)          backward, by Bayes

p0 is any ``pm.Model`` with continuous free variables. x is these variables in PyMC's unconstrained coordinates, keyed
by name: cloning a model permutes its variables, so a position means nothing. Where a flat vector is needed, the names
are sorted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pymc.distributions.transforms import ChainedTransform, CircularTransform
from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from bayesdiff.checks import real_array, writable
from bayesdiff.schedule import Schedule
from bayesdiff.typed import check_labels

# Dimensions of our results. A model that has one of its own would be mixed up with them.
RESERVED_DIMS = ("chain", "draw", "observation", "level", "mode", "summary", "diagnostic")
STEP_DIM = "step::x"
# The data of a level prior: which level its density is at, and the schedule that it was made for.
LEVEL = "level"
SCHEDULE = ("schedule::alpha", "schedule::sigma")


@dataclass(frozen=True)
class Layout:
    """Where each free variable lies in a flat state: x = (x_a, x_b, ...), names sorted.

    Attributes
    ----------
    names : tuple of str
        Names of the free variables, sorted.
    shapes : tuple of tuple of int
        The unconstrained shape of each.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each variable takes."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def n(self) -> int:
        """How many numbers a state takes."""
        return sum(self.sizes)

    @property
    def labels(self) -> list[str]:
        """A name for every coordinate of the flat state: ``mu``, ``theta[0]``, ``theta[1]``, ..."""
        return [
            name + (f"[{', '.join(map(str, index))}]" if shape else "")
            for name, shape in zip(self.names, self.shapes, strict=True)
            for index in np.ndindex(shape)
        ]

    def split(self, flat: Any) -> dict[str, Any]:
        """Cut an array (..., n) into one array (..., *shape) per variable."""
        parts, start = {}, 0
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            parts[name] = flat[..., start : start + size].reshape(flat.shape[:-1] + shape)
            start += size
        return parts

    def read(self, o: ArrayLike | Mapping[str, ArrayLike], what: str = "o") -> tuple[np.ndarray, bool]:
        """Read a state, or a batch of them, into a flat array.

        Parameters
        ----------
        o : array_like or mapping
            For one variable an array of its unconstrained shape, for several a mapping from their names to such
            arrays. One leading axis more makes a batch.
        what : str
            How the errors call it.

        Returns
        -------
        flat : ndarray (batch, n)
            The states; batch is 1 where there was no batch.
        batched : bool
            Whether there was a leading axis.

        Raises
        ------
        TypeError
            If there are several variables and `o` is not a mapping, or if it does not hold real numbers.
        ValueError
            If a name is unknown or missing, or a shape is wrong.
        """
        if not isinstance(o, Mapping):
            if len(self.names) > 1:
                raise TypeError(
                    f"{what} is {type(o).__name__}, but the prior has {len(self.names)} variables; write a mapping "
                    f"from each name to its array, {what}={{{', '.join(f'{name!r}: ...' for name in self.names)}}}"
                )
            o = {self.names[0]: o}
        unknown, missing = sorted(set(o) - set(self.names), key=str), sorted(set(self.names) - set(o))
        if unknown or missing:
            raise ValueError(
                f"{what} has "
                + " and ".join([f"unknown names {unknown}"] * bool(unknown) + [f"no {missing}"] * bool(missing))
                + f"; write one entry per free variable, {list(self.names)}"
            )
        parts: list[np.ndarray] = []
        lengths: dict[str, int | None] = {}
        for name, shape in zip(self.names, self.shapes, strict=True):
            part = real_array(o[name], f"{what}[{name!r}]" if len(self.names) > 1 else what)
            if part.shape not in (shape, (*part.shape[:1], *shape)):
                raise ValueError(
                    f"{what} of {name!r} has shape {part.shape}; write its unconstrained shape {shape}, or "
                    f"{batch_of(shape)} for a batch"
                )
            lengths[name] = None if part.shape == shape else len(part)
            parts.append(part.reshape(1 if part.shape == shape else len(part), math.prod(shape)))
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"{what} has different batch lengths: {lengths} (None: no batch); give every name the same"
            )
        flat = np.concatenate(parts, axis=1)
        if not len(flat):
            raise ValueError(f"{what} is an empty batch; write at least one observation")
        return flat, None not in lengths.values()


def batch_of(shape: tuple[int, ...]) -> str:
    """Write the shape of a batch as Python does: ``(batch,)``, ``(batch, 2)``."""
    return str(("batch", *shape)).replace("'", "")


def read_noise(alpha: ArrayLike, sigma: ArrayLike, batch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Check alpha and sigma: each a number or, for a batch, one number per observation.

    Returns
    -------
    alpha, sigma : ndarray () or (batch,)
        As they were given, in float64.

    Raises
    ------
    TypeError, ValueError
        If one of them is no number, not finite, alpha is 0, sigma is not positive, or the length is not that of the
        batch.
    """
    read = []
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        array = real_array(value, name)
        if np.asarray(value).dtype == bool:
            raise TypeError(f"{name} is {value!r}; write a number")
        if array.ndim and (batch is None or array.shape != (batch,)):
            want = "one number" if batch is None else f"one number, or one per observation (shape ({batch},))"
            raise ValueError(f"{name} has shape {array.shape}; write {want}")
        bad = ~np.isfinite(array) | ((array <= 0) if name == "sigma" else (array == 0))
        if bad.any():
            where = f" at observation {int(np.flatnonzero(bad)[0])}" if array.ndim else ""
            want = "a finite number > 0" if name == "sigma" else "a finite number other than 0"
            raise ValueError(f"{name} is {array[bad].flat[0]}{where}; write {want}")
        read.append(array)
    return read[0], read[1]


def schedule_of(model: pm.Model) -> Schedule | None:
    """Read the schedule that a level prior was made for; None if the model's density depends on no level."""
    if not {LEVEL, *SCHEDULE} <= set(model.named_vars):
        return None
    return Schedule(*(model[name].get_value() for name in SCHEDULE))


def add_level(model: pm.Model, schedule: Schedule) -> TensorVariable:
    """Add the data of a level prior to a model that is being written, and give its level (an integer scalar)."""
    with model:
        for name, values in zip(SCHEDULE, (schedule.alpha, schedule.sigma), strict=True):
            pm.Data(name, values)
        # Kept as a float: pm.set_data({"level": 3}) makes one of an int.
        return pt.cast(pm.Data(LEVEL, 0.0), "int64")


def layout(prior: pm.Model) -> Layout:
    """Check that `prior` can be a prior, and say where its variables lie in a flat state.

    Raises
    ------
    TypeError
        If it is no ``pm.Model``, or has discrete free variables.
    ValueError
        If it has no free variable, is nested in another model, uses a name of ours or one that no result can have, or
        has an angle on a circle, which has no coordinate on a line.
    """
    if not isinstance(prior, pm.Model):
        # A CompiledPrior, for one.
        hint = "prior.model" if isinstance(getattr(prior, "model", None), pm.Model) else "with pm.Model() as prior: ..."
        raise TypeError(f"prior must be a pm.Model, got {type(prior).__name__}; write `{hint}`")
    if prior.parent is not None:
        raise ValueError(f"prior is the sub-model {prior.name!r} of another model; pass the outermost model")
    if not prior.free_RVs:
        raise ValueError("prior has no free variable, so there is no x to infer; write at least one, as pm.Normal('x')")
    discrete = [rv.name for rv in prior.free_RVs if rv.dtype not in ("float64", "float32", "float16")]
    if discrete:
        raise TypeError(
            f"Gaussian noise needs continuous variables, but {discrete} of the prior are discrete; sum them out "
            "(pm.Mixture, or marginalize of pymc-extras) or observe them"
        )
    angles = [rv.name for rv in prior.free_RVs if _is_circular(prior.rvs_to_transforms[rv])]
    if angles:
        raise ValueError(
            f"{angles} of the prior are angles on a circle, and Gaussian noise needs a line; cut the circle open, as "
            "in pm.VonMises(..., default_transform=pm.distributions.transforms.Interval(-np.pi, np.pi))"
        )
    dims = dict.fromkeys((*prior.coords, *prior.dim_lengths, *chain.from_iterable(prior.named_vars_to_dims.values())))
    for name in dims:
        if name in RESERVED_DIMS:
            raise ValueError(f"the prior has a dimension {name!r}, which results use themselves; give it another name")
    _check_texts(prior, dims)
    ours = {LEVEL} if schedule_of(prior) is not None else set()
    for name in set(prior.named_vars) - ours:
        if name in (*RESERVED_DIMS, "lp", "starts") or name.startswith("step::"):
            raise ValueError(f"the prior has a variable {name!r}, which results use themselves; give it another name")
    for variable in (*prior.free_RVs, *prior.deterministics):
        own = {f"{variable.name}{kind}_dim_{axis}" for kind in ("", "_unconstrained") for axis in range(variable.ndim)}
        theirs = set(dims) - set(prior.named_vars_to_dims.get(variable.name, ()))
        for what, names in (("variable", prior.named_vars), ("dimension", theirs)):
            for name in sorted(own & set(names)):
                raise ValueError(
                    f"the prior has a {what} {name!r}, which is what results call an axis of {variable.name!r}; give "
                    "it another name"
                )
    shapes = prior.eval_rv_shapes()
    by_name = {rv.name: prior.rvs_to_values[rv].name for rv in prior.free_RVs}
    names = tuple(sorted(by_name))
    result = Layout(names, tuple(tuple(int(size) for size in shapes[by_name[name]]) for name in names))
    if not result.n:
        raise ValueError(
            f"the free variables {list(names)} of the prior hold no number: {list(result.shapes)}; give one a size"
        )
    return result


def _check_texts(prior: pm.Model, dims: Iterable[Any]) -> None:
    """Raise for names, labels and dimensions that a result cannot have."""
    named = [("variable", name) for name in prior.named_vars] + [("dimension", dim) for dim in dims]
    for what, name in named:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {what} of the prior is {name!r}; write a text")
        if not name:
            raise ValueError(f"a {what} of the prior has an empty name, ''; give it one of a letter at least")
        if "/" in name:
            raise ValueError(f"the prior has a {what} {name!r}, and a slash is what parts groups; write it without")
        if not writable(name):
            raise ValueError(
                f"the prior has a {what} {name!r}, with half of a surrogate pair, which is no letter; write it without"
            )
    check_labels(prior.coords)
    for name, own in prior.named_vars_to_dims.items():
        twice = next((dim for dim in own if list(own).count(dim) > 1), None)
        if twice is not None:
            raise ValueError(
                f"the variable {name!r} of the prior has the dimension {twice!r} twice, and no result can have that; "
                f"write another one with the same labels, as dims=({twice!r}, '{twice}_2')"
            )


def _is_circular(transform: Any) -> bool:
    if isinstance(transform, ChainedTransform):
        return any(map(_is_circular, transform.transform_list))
    return isinstance(transform, CircularTransform)


def clone(model: pm.Model) -> pm.Model:
    """Copy a model, its initial values included.

    Parameters
    ----------
    model : pm.Model
        Any model; it is left as it is.

    Returns
    -------
    pm.Model
        Random variables, values, data and coordinates are copies. Their order may differ, their names do not. A
        ``pytensor.shared`` that is not registered as ``pm.Data`` keeps one value for both.

    Notes
    -----
    ``pymc.model.fgraph.clone_model`` refuses models with ``initval=`` (PyMC pull request 8314). So they are hidden from
    it in a shallow copy, and set again by name.
    """
    hidden = object.__new__(type(model))
    hidden.__dict__.update(model.__dict__)
    hidden.rvs_to_initial_values = dict.fromkeys(model.rvs_to_initial_values)
    copied = model_from_fgraph(fgraph_from_model(hidden)[0], mutate_fgraph=True)
    to_copy = {old: copied.named_vars[name] for name, old in model.named_vars.items()}
    for rv, initval in model.rvs_to_initial_values.items():
        if isinstance(initval, Variable):  # in terms of pm.Data, say
            [initval] = graph_replace([initval], to_copy, strict=False)
        copied.set_initval(to_copy[rv], copy.copy(initval) if isinstance(initval, np.ndarray) else initval)
    return copied


def unconstrained(model: pm.Model, name: str, constrained: Mapping[str, TensorVariable]) -> TensorVariable:
    """Write variable `name` in PyMC's unconstrained coordinates, as a graph in the `constrained` variables."""
    rv = model.named_vars[name]
    transform = model.rvs_to_transforms[rv]
    value = constrained[name]
    if transform is None:
        return value
    # A transform may need other variables: Uniform(0, b) needs b.
    inputs = graph_replace(
        list(rv.owner.inputs),
        {model.named_vars[key]: var for key, var in constrained.items() if key != name},
        strict=False,
    )
    return transform.forward(value, *inputs)


def step_model(
    prior: pm.Model, o: ArrayLike | Mapping[str, ArrayLike], alpha: float = 1.0, sigma: float = 1.0
) -> pm.Model:
    """Compute one diffusion step as a PyMC model: the prior, observed through Gaussian noise.

    p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)

    The result is a copy of the prior with one observed variable, ``step::likelihood``, on PyMC's unconstrained
    coordinates of its free variables. Every PyMC tool works on it. Three ``pm.Data`` can be changed by ``pm.set_data``:
    ``step::o``, ``step::alpha`` and ``step::sigma``. With one free variable, ``step::o`` has its unconstrained shape;
    with several it is a flat vector whose dimension ``step::x`` is labelled by the variables' names.

    Parameters
    ----------
    prior : pm.Model
        p0: any model with continuous free variables. Observed data, potentials and deterministics are allowed. It is
        not touched.
    o : array_like or mapping
        The noisier x. For one free variable an array of its unconstrained shape, for several a mapping from their
        names. In units of alpha times the unconstrained x.
    alpha : float
        How much of x is left; not 0.
    sigma : float
        Standard deviation of the noise, > 0, in units of the unconstrained x.

    Returns
    -------
    pm.Model
        The step.

    Raises
    ------
    TypeError
        If `prior` is no model or has discrete free variables, or `o` holds no real numbers.
    ValueError
        If `o` has a wrong shape, wrong names or is not finite, if `sigma` is not > 0, if `alpha` is 0.

    Notes
    -----
    The likelihood stands on ``transform.forward(x)``, so that prior predictive draws work. It saturates where the
    transform does (a Uniform at unconstrained values beyond about 37). `compile_prior` works on the unconstrained
    values and does not.

    References
    ----------
    Ho, Jain, Abbeel (2020), Denoising diffusion probabilistic models, equation 4, for p(o | x).

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x")
    >>> step = bd.step_model(prior, o=5.0, sigma=10.0)
    >>> [rv.name for rv in step.observed_RVs]
    ['step::likelihood']
    >>> logp = step.compile_logp()
    >>> round(float(logp({"x": 0.0}) - logp({"x": 1.0})), 3)  # (1 + (5 - 1)^2 / 100 - 5^2 / 100) / 2
    0.455
    """
    where = layout(prior)
    flat, batched = where.read(o)
    if batched:
        raise ValueError(
            f"o is a batch of {len(flat)} observations, a step model has one; write one o, or use find_map or "
            "sample_posterior for all of them"
        )
    alpha_, sigma_ = read_noise(alpha, sigma, None)
    if not np.isfinite(flat).all():
        worst = int(np.flatnonzero(~np.isfinite(flat[0]))[0])
        raise ValueError(f"o is {flat[0, worst]} at {where.labels[worst]!r}; write a finite number")

    model = clone(prior)
    free = {name: model.named_vars[name] for name in where.names}
    # Those of pymc.dims are no tensors, and their values are.
    states = [pt.as_tensor(unconstrained(model, name, free), allow_xtensor_conversion=True) for name in where.names]
    with model:
        if len(states) == 1:
            [name], [shape], [x] = where.names, where.shapes, states
            dims = model.named_vars_to_dims.get(name) if shape == prior.eval_rv_shapes()[name] else None
            o_data = pm.Data("step::o", flat.reshape(shape), dims=dims)
        else:
            dims = (STEP_DIM,)
            model.add_coord(STEP_DIM, where.labels)
            o_data = pm.Data("step::o", flat[0], dims=dims)
            x = pt.concatenate([state.flatten() for state in states])
        alpha_data = pm.Data("step::alpha", float(alpha_))
        sigma_data = pm.Data("step::sigma", float(sigma_))
        pm.Normal("step::likelihood", alpha_data * x, sigma_data, observed=o_data, dims=dims)
    return model
