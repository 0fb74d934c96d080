"""A PyTensor graph as a function of JAX, and what must be mended on the way.

    f(inputs, data)        for ``jax.vmap``, ``jax.grad`` and ``jax.jit``

PyTensor promotes other types than JAX does, checks parameters for a whole batch at once, and the gradient of a maximum
may be 0 / 0. What has no derivative in JAX is mended in `derivatives`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from threading import RLock

import jax
import jax.numpy as jnp
import pytensor
import pytensor.tensor as pt
from pymc.logprob.utils import local_check_parameter_to_ninf_switch
from pytensor.compile.mode import get_mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.basic import in2out
from pytensor.graph.traversal import graph_inputs
from pytensor.link.jax.dispatch import jax_funcify
from pytensor.scalar import Cast
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Max

from bayesdiff.derivatives import mend

# A graph in JAX, a function of its inputs and then of its data, and where these data are kept.
Translated = tuple[Callable[..., list[jax.Array]], tuple[SharedVariable, ...]]

# Kinds of variables are known by process, and a copy of a model must not take the place of what it was copied from;
# PyTensor's flags are those of a process, too.
ONE_AT_A_TIME = RLock()


def to_jax(inputs: Sequence[Variable], outputs: Sequence[Variable], lengths: Collection[SharedVariable]) -> Translated:
    """Translate a graph: a function of `inputs` and then of the values of the shared variables it uses."""
    shared = [variable for variable in graph_inputs(outputs) if isinstance(variable, SharedVariable)]
    # XLA compiles for fixed sizes, so lengths of dimensions are constants; all other data are arguments, read at every
    # call.
    live: dict[Variable, Variable] = {v: v.type() for v in shared if v not in lengths}
    frozen: dict[Variable, Variable] = {v: v.type.filter_variable(v.get_value()) for v in shared if v in lengths}
    graph = FunctionGraph([*inputs, *live.values()], clone_replace(list(outputs), replace=live | frozen), clone=True)
    # A failed check makes this state's density 0. Left to PyMC it is dropped under JAX, or fails for the whole batch.
    in2out(local_check_parameter_to_ninf_switch, name="checks").rewrite(graph)
    get_mode("JAX").optimizer.rewrite(graph)
    _promote(graph)
    _steady(graph)
    mend(graph)
    # PyTensor writes the source of every function to a file, by default to one that stays for ever.
    with (
        named_failure(),
        ONE_AT_A_TIME,
        jax.enable_x64(True),  # of constants too
        TemporaryDirectory(prefix="bayesdiff-") as sources,
        pytensor.config.change_flags(generated_src_dir=sources),
    ):
        return jax_funcify(graph), tuple(v for v in shared if v in live)


def _promote(graph: FunctionGraph) -> None:
    """Cast to float64 where PyTensor would.

    PyTensor keeps constants in the smallest type that holds them, and float32 with float64 or with an integer gives
    float64. In JAX it gives float32 if the other is an integer, or a float64 made from a Python number ("weak type").
    """
    for node in graph.toposort():
        if not isinstance(node.op, Elemwise) or isinstance(node.op.scalar_op, Cast):
            continue
        [output] = node.outputs
        dtypes = {variable.type.dtype for variable in node.inputs}
        promoted = output.type.dtype == "float64" or (output.type.dtype == "bool" and "float64" in dtypes)
        if promoted and dtypes - {"float64", "bool"}:
            inputs = [v if v.type.dtype in ("float64", "bool") else pt.cast(v, "float64") for v in node.inputs]
            graph.replace(output, node.op.make_node(*inputs).outputs[0])


class _SteadyMax(Max):
    """The largest entry, with a gradient that is never 0 / 0."""


def _steady(graph: FunctionGraph) -> None:
    """Put `_SteadyMax` in place of every Max of floats: each mixture has one, in its log of a sum of exponentials."""
    for node in graph.toposort():
        if type(node.op) is Max and node.inputs[0].type.dtype == "float64":
            steady = _SteadyMax(node.op.axis, initial=node.op.initial)
            graph.replace(node.outputs[0], steady.make_node(node.inputs[0]).outputs[0])


@jax_funcify.register(_SteadyMax)
def _jax_steady_max(op: _SteadyMax, **kwargs: object) -> Callable[[jax.Array], jax.Array]:
    return lambda x: _largest(tuple(range(x.ndim)) if op.axis is None else tuple(op.axis), x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(axes: tuple[int, ...], x: jax.Array) -> jax.Array:
    return x.max(axis=axes, initial=-jnp.inf)


@_largest.defjvp
def _largest_jvp(
    axes: tuple[int, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    # JAX divides by the number of entries equal to the largest. Fused by XLA, an entry and the largest may be rounded
    # differently; then none is equal, and the gradient is 0 / 0 in some lanes of a batch. So: equal up to rounding.
    [x], [t] = primals, tangents
    largest = _largest(axes, x)  # not x.max: the second derivative passes here too
    at = jnp.expand_dims(largest, axes)
    slack = jnp.where(jnp.isfinite(at), 8 * jnp.finfo(x.dtype).eps * jnp.abs(at), 0.0)
    equal = (x >= at - slack).astype(x.dtype)
    return largest, (equal * t).sum(axis=axes) / jnp.maximum(equal.sum(axis=axes), 1.0)


@contextmanager
def named_failure(what: str = "cannot be translated to JAX") -> Iterator[None]:
    """Say of whatever fails inside that the prior cannot be what it must be, and what still works."""
    try:
        with warnings.catch_warnings():
            # Assertions of shapes, which PyTensor has already checked.
            warnings.filterwarnings("ignore", message="Skipping .* Op .* as JAX tracing would remove it")
            yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotImplementedError(
            f"the prior {what}: {reason}. PyMC's own samplers do not need that: "
            "pm.sample(model=bd.step_model(prior, o, alpha, sigma)) works"
        ) from error
