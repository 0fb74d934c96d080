"""Models, and the graphs of PyTensor that they are made of."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

from bayesdiff.fingerprints.parts import Parts, home_of, importable, installed, kinds_of


def model_parts(model: Any, names: dict[int, str]) -> Parts:
    """A model by the names of its variables: their graphs, transforms, data, and where they begin."""
    from pymc.initial_point import make_initial_point_expression
    from pymc.logprob.abstract import _logprob
    from pytensor.graph.traversal import ancestors

    def written(variable: Any) -> bool:
        """Whether the density is more than the graph and the version of PyMC: code of the user's writes it."""
        kinds = {type(of.owner.op) for of in ancestors([variable]) if of.owner is not None}
        return any(
            kind.__name__ == "DensityRV"
            or installed(kind) is None
            or not importable(kind)
            or _registered(_logprob, kind) is not None
            for kind in kinds
        )

    names |= {id(variable): name for name, variable in model.named_vars.items()}
    begin = make_initial_point_expression(
        free_rvs=model.free_RVs,
        rvs_to_transforms=model.rvs_to_transforms,
        initval_strategies=model.rvs_to_initial_values,
        jitter_rvs=set(),
        default_strategy="support_point",
        return_transformed=True,
    )
    free = [rv.name for rv in model.free_RVs]
    here = [rv for rv in model.basic_RVs if written(rv)]
    densities = model.logp(vars=here, jacobian=False, sum=False) if here else []
    of = {
        "variables": dict(model.named_vars),
        "free": sorted(free),
        "transforms": {rv.name: model.rvs_to_transforms[rv] for rv in model.free_RVs},
        "observed": {rv.name: model.rvs_to_values[rv] for rv in model.observed_RVs},
        "potentials": sorted(potential.name for potential in model.potentials),
        "deterministics": sorted(variable.name for variable in model.deterministics),
        "densities": dict(zip((rv.name for rv in here), densities, strict=True)),
        "begin": dict(zip(free, begin, strict=True)),
        "dims": {name: tuple(dims) for name, dims in model.named_vars_to_dims.items()},
        "lengths": {dim: int(length.eval()) for dim, length in model.dim_lengths.items()},
        "coords": {dim: None if labels is None else tuple(labels) for dim, labels in model.coords.items()},
        "checked": model.check_bounds,
    }
    return Parts("model", [("", of)])


def _registered(dispatch: Any, kind: type) -> Any:
    """What the user has registered for a kind of operation with a dispatcher of PyMC's or PyTensor's, if anything."""
    function = dispatch.dispatch(kind)
    return (
        function
        if isinstance(function, FunctionType) and home_of(str(function.__globals__.get("__name__"))) is None
        else None
    )


def graph_parts(value: Any, kinds: set[str], names: dict[int, str]) -> Parts | None:
    """A variable of a graph of PyTensor, what it is computed by, an operation, or a type."""
    if "pytensor.Variable" in kinds:
        name = names.get(id(value), "")
        if kinds_of(type(value.type)) & {"pytensor.RandomType", "pytensor.RandomGeneratorType"}:
            return Parts("rng", [])
        about = [("type", value.type)]
        if "pytensor.NominalVariable" in kinds:
            return Parts(f"input {value.id}", about)
        if "pytensor.Constant" in kinds:
            return Parts(f"constant {name}", [*about, ("data", value.data)])
        if "pytensor.SharedVariable" in kinds:
            return Parts(f"shared {name}", [*about, (f"data {value.name!r}", value.get_value(borrow=True))])
        if value.owner is None:
            return Parts(f"input {name or value.name}", about)
        return Parts(f"variable {name} {value.owner.outputs.index(value)}", [*about, ("", value.owner)])
    if "pytensor.Apply" in kinds:
        return Parts("apply", [("", value.op), *(("", variable) for variable in value.inputs)])
    if "pytensor.Op" in kinds:
        return _operation(value, names)
    if "pytensor.Type" in kinds:
        # With its dtype, shape and dims, and never an address.
        return Parts(re.sub(r" at 0x[0-9a-f]+", "", f"{type(value).__name__} {value}"), [])
    if "pytensor.Function" in kinds:
        linker = type(value.maker.linker).__name__
        return Parts(f"compiled {linker}", [("", [variable.variable for variable in value.maker.outputs])])
    return None


def _operation(op: Any, names: dict[int, str]) -> Parts:
    from pytensor.link.jax.dispatch import jax_funcify

    cls = type(op)
    children: list[tuple[str, Any]] = [("", cls), ("", _registered(jax_funcify, cls))]
    has_graph = hasattr(op, "fgraph")
    state = dict(op._props_dict()) if hasattr(op, "_props_dict") else {} if has_graph else dict(vars(op))
    if has_graph:
        for i, variable in enumerate(op.inner_inputs):
            names.setdefault(id(variable), f"inner {i}")
        children += [("", variable) for variable in op.inner_outputs]
        state |= {name: vars(op)[name] for name in ("info", "truncate_gradient") if name in vars(op)}  # of a Scan
    elif installed(cls) is None:  # __props__ may leave out what is computed with
        state |= vars(op)
    kept = sorted(name for name in state if name != "fgraph")
    own = [(f"attribute {name!r} of {cls.__name__}", state[name]) for name in kept]
    return Parts(f"operation {kept} {len(children)}", children + own)
