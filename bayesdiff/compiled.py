"""The density of a prior, compiled once, for a batch of steps.

    log p(x | o) = log p0(x) + log N(o; alpha x, sigma^2 I) + const

log p0 is the prior's own log density on unconstrained coordinates, Jacobian included, translated from PyTensor to JAX. o, alpha
and sigma are arguments, one per state, so a new observation never compiles anything. Data of the prior stay live.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
from numpy.typing import ArrayLike
from pymc.initial_point import make_initial_point_fn
from pymc.logprob.utils import local_check_parameter_to_ninf_switch
from pymc.pytensorf import join_nonshared_inputs
from pytensor.compile.mode import Mode, get_mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.basic import in2out
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.link.jax.dispatch import jax_funcify

from bayesdiff.step import Layout, layout, real_array, unconstrained

# A mode in single precision is off in the eighth digit, and PyMC's models are in double. Networks name their own dtype.
jax.config.update("jax_enable_x64", True)

Data = tuple[np.ndarray, ...]
Density = Callable[[jax.Array, Data], jax.Array]

# Drawing compiles in milliseconds this way, in up to 30 s with PyTensor's default (numba).
_PYTHON = Mode(linker="py", optimizer="fast_compile")


@dataclass(frozen=True, eq=False)
class CompiledPrior:
    """Compute log p0(x) and its gradient for a batch of states, in JAX.

    log p0(x) = log p(constrain(x)) + log |d constrain / dx|

    Made by `compile_prior`. It is accepted wherever a prior is.

    Attributes
    ----------
    model : pm.Model
        The prior. ``pm.set_data`` on it is seen by the next call.
    layout : Layout
        Where each free variable lies in a flat state of `n` numbers: names sorted.
    density : callable
        (x of shape (n,), data) -> log p0(x), a pure JAX function: for ``jax.vmap``, ``jax.grad`` and ``jax.jit``.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as model:
    ...     s = pm.Exponential("s", 1.0)
    >>> prior = bd.compile_prior(model)
    >>> prior.logp([[0.0], [1.0]]).round(3).tolist()  # log s - s, at log s = 0 and 1
    [-1.0, -1.718]
    """

    model: pm.Model
    layout: Layout
    density: Density
    shared: tuple[SharedVariable, ...]
    _constrain: Callable[[jax.Array, Data], list[jax.Array]]
    _constrain_names: tuple[str, ...]
    _constrain_shared: tuple[SharedVariable, ...]

    @property
    def n(self) -> int:
        """How many unconstrained numbers a state has."""
        return self.layout.n

    @property
    def data(self) -> Data:
        """The prior's data as they are now: the second argument of `density`."""
        return _values(self.shared)

    def logp(self, x: ArrayLike) -> np.ndarray:
        """Compute log p0 of a batch of states.

        Parameters
        ----------
        x : array_like (batch, n)
            Unconstrained states.

        Returns
        -------
        ndarray (batch,)
            -inf or NaN where a state is invalid, and there alone.

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        return np.asarray(_batched_logp(self.density, self._check(x), self.data))

    def logp_and_gradient(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Compute log p0 and d log p0 / dx of a batch of states.

        Parameters
        ----------
        x : array_like (batch, n)
            Unconstrained states.

        Returns
        -------
        logp : ndarray (batch,)
        gradient : ndarray (batch, n)

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        logp, gradient = _batched_logp_and_gradient(self.density, self._check(x), self.data)
        return np.asarray(logp), np.asarray(gradient)

    def constrain(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Compute the values that people read: every free variable and every Deterministic.

        Parameters
        ----------
        x : array_like (batch, n)
            Unconstrained states.

        Returns
        -------
        dict of str to ndarray (batch, *shape)

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        values = _batched_constrain(self._constrain, self._check(x), _values(self._constrain_shared))
        return dict(zip(self._constrain_names, map(np.asarray, values), strict=True))

    def unconstrain(self, values: Mapping[str, ArrayLike]) -> np.ndarray:
        """Compute unconstrained states from constrained values: the inverse of `constrain`.

        Parameters
        ----------
        values : mapping of str to array_like (batch, *shape)
            Every free variable; other names are ignored.

        Returns
        -------
        ndarray (batch, n)
            Infinite or NaN where a value lies on the edge of its support or beyond.

        Raises
        ------
        ValueError
            If a free variable is missing, or the batch lengths differ.
        """
        missing = [name for name in self.layout.names if name not in values]
        if missing:
            raise ValueError(f"values has no {missing}; write one array per free variable, {list(self.layout.names)}")
        arrays = [real_array(values[name], name) for name in self.layout.names]
        if len({len(array) if array.ndim else None for array in arrays}) != 1 or not arrays[0].ndim:
            shapes = {name: array.shape for name, array in zip(self.layout.names, arrays, strict=True)}
            raise ValueError(f"values needs one leading batch axis of the same length everywhere, got {shapes}")
        function, shared = _unconstrain_function(self.model, self.layout)
        return np.asarray(jax.jit(jax.vmap(function, in_axes=(0, None)))(arrays, _values(shared)))

    def why_not_drawable(self) -> str:
        """Say why p0 cannot be drawn directly: because of data or a Potential; empty if it can."""
        if self.model.observed_RVs:
            return f"it has observed data, {[rv.name for rv in self.model.observed_RVs]}"
        if self.model.potentials:
            return f"it has a Potential, {[potential.name for potential in self.model.potentials]}"
        return ""

    def draws(self, draws: int, random_seed: np.random.Generator | int | None = None) -> np.ndarray | None:
        """Draw from p0 itself, where that can be done.

        Parameters
        ----------
        draws : int
            How many.
        random_seed : int, Generator or None
            The source of randomness.

        Returns
        -------
        ndarray (draws, n) or None
            Independent unconstrained states. None where p0 is known only through its density: with observed data, a Potential,
            or a distribution that has no random draws.
        """
        if self.why_not_drawable():
            return None
        names = self.layout.names
        try:
            with _quiet_blas():
                values = pm.draw([self.model[name] for name in names], draws, random_seed=random_seed, mode=_PYTHON)
        except NotImplementedError:  # pm.Flat, or a density without a `random`
            return None
        values = [np.asarray(value).reshape(draws, *np.shape(value)[1 if draws > 1 else 0 :]) for value in values]
        x = self.unconstrain(dict(zip(names, values, strict=True)))
        return x[np.isfinite(x).all(axis=1)]

    def initial_point(self) -> np.ndarray:
        """Compute PyMC's initial point of the model as a flat state (n,)."""
        with _quiet_blas():
            point = make_initial_point_fn(model=self.model)(0)
        parts = [point[self.model.rvs_to_values[self.model[name]].name] for name in self.layout.names]
        return np.concatenate([np.ravel(part) for part in parts]).astype(float)

    def _check(self, x: ArrayLike) -> np.ndarray:
        array = real_array(x, "x")
        if array.ndim != 2 or array.shape[1] != self.n:
            raise ValueError(f"x has shape {array.shape}; write (batch, {self.n}), columns {self.layout.labels[:6]}...")
        return array


def compile_prior(prior: pm.Model | CompiledPrior) -> CompiledPrior:
    """Compute a prior's batched log density in JAX, compiled once, to be used for any number of steps.

    log p0(x), x in PyMC's unconstrained coordinates, Jacobian included.

    Parameters
    ----------
    prior : pm.Model or CompiledPrior
        A model with continuous free variables. A compiled one is returned as it is.

    Returns
    -------
    CompiledPrior
        Pass it in place of the model, to `find_map`, `sample_posterior` and the inverters: they then compile nothing twice.

    Raises
    ------
    TypeError, ValueError
        If `prior` cannot be a prior: see `step_model`.
    NotImplementedError
        If an operation of the model has no JAX translation. The message names it.

    Notes
    -----
    PyMC checks parameters (a negative scale, say) for a whole graph at once. Here each check is bound to its own state, so that
    an invalid state has density 0 and its neighbours are left alone.

    Examples
    --------
    >>> import pymc as pm
    >>> import bayesdiff as bd
    >>> with pm.Model() as model:
    ...     x = pm.Normal("x", 0, 1)
    >>> prior = bd.compile_prior(model)
    >>> prior.logp_and_gradient([[2.0]])[1].tolist()
    [[-2.0]]
    """
    return prior if isinstance(prior, CompiledPrior) else compiled(prior, jacobian=True)


def compiled(model: pm.Model, *, jacobian: bool) -> CompiledPrior:
    """Compile `model` with or without the Jacobian of its transforms: without, a mode is that of the constrained density."""
    where = layout(model)
    by_name = {name: model.rvs_to_values[model[name]] for name in where.names}
    point = {by_name[name].name: np.zeros(shape) for name, shape in zip(where.names, where.shapes, strict=True)}

    def of_flat_state(outputs: Sequence[Variable]) -> tuple[Callable, tuple[SharedVariable, ...]]:
        joined, x = join_nonshared_inputs(point=point, outputs=list(outputs), inputs=list(by_name.values()))
        return _to_jax([x], joined, model)

    (log_density, shared) = of_flat_state([model.logp(jacobian=jacobian)])
    readable = [model[name] for name in where.names] + list(model.deterministics)
    constrain, constrain_shared = of_flat_state(model.replace_rvs_by_values(readable))
    result = CompiledPrior(
        model=model,
        layout=where,
        density=lambda x, data: log_density(x, *data)[0].astype(float).reshape(()),
        shared=shared,
        _constrain=lambda x, data: constrain(x, *data),
        _constrain_names=tuple(variable.name for variable in readable),
        _constrain_shared=constrain_shared,
    )
    with _named_failure():  # tracing finds what translation alone does not, before any computation
        state = jax.ShapeDtypeStruct((where.n,), float)
        jax.eval_shape(result.density, state, result.data)
        jax.eval_shape(result._constrain, state, _values(constrain_shared))
    return result


def _to_jax(
    inputs: list[Variable], outputs: list[Variable], model: pm.Model
) -> tuple[Callable[..., list[jax.Array]], tuple[SharedVariable, ...]]:
    """Translate a graph: a function of `inputs` and then of the values of the shared variables it uses."""
    shared = [variable for variable in graph_inputs(outputs) if isinstance(variable, SharedVariable)]
    lengths = [v for v in model.dim_lengths.values() if isinstance(v, SharedVariable)]
    # XLA compiles for fixed sizes, so lengths of dimensions are constants; all other data are arguments, read at every call.
    live = [v for v in shared if v not in lengths]
    as_input = {v: v.type() for v in live}
    frozen = {v: v.type.filter_variable(v.get_value()) for v in shared if v in lengths}
    outputs = clone_replace(outputs, replace={**as_input, **frozen})
    graph = FunctionGraph([*inputs, *as_input.values()], outputs, clone=True)
    # A failed check makes this state's density 0. Left to PyMC it is dropped under JAX, or fails for the whole batch.
    in2out(local_check_parameter_to_ninf_switch, name="checks").rewrite(graph)
    get_mode("JAX").optimizer.rewrite(graph)
    with _named_failure():
        return jax_funcify(graph), tuple(live)


def _values(shared: Sequence[SharedVariable]) -> Data:
    return tuple(np.asarray(variable.get_value(borrow=True)) for variable in shared)


def _unconstrain_function(
    model: pm.Model, where: Layout
) -> tuple[Callable[[list[np.ndarray], Data], jax.Array], tuple[SharedVariable, ...]]:
    values = {name: model[name].type(name) for name in where.names}
    outputs = [unconstrained(model, name, values) for name in where.names]
    used = list(explicit_graph_inputs(outputs))
    inputs = [values[name] for name in where.names]
    function, shared = _to_jax(inputs, outputs, model)
    assert all(v in inputs or isinstance(v, SharedVariable) for v in used)
    return lambda arrays, data: jnp.concatenate([jnp.ravel(part) for part in function(*arrays, *data)]), shared


@contextmanager
def _named_failure() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # Assertions of shapes, which PyTensor has already checked.
            warnings.filterwarnings("ignore", message="Skipping .* Op .* as JAX tracing would remove it")
            yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotImplementedError(
            f"the prior cannot be translated to JAX: {reason}. PyMC's own samplers do not need that: "
            "pm.sample(model=bd.step_model(prior, o, alpha, sigma)) works"
        ) from error


@contextmanager
def _quiet_blas() -> Iterator[None]:
    with warnings.catch_warnings():
        # PyTensor from PyPI says so once; nothing here is bound by BLAS.
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        yield


@partial(jax.jit, static_argnums=0)
def _batched_logp(density: Density, x: jax.Array, data: Data) -> jax.Array:
    return jax.vmap(density, in_axes=(0, None))(x, data)


@partial(jax.jit, static_argnums=0)
def _batched_logp_and_gradient(density: Density, x: jax.Array, data: Data) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(jax.value_and_grad(density), in_axes=(0, None))(x, data)


@partial(jax.jit, static_argnums=0)
def _batched_constrain(constrain: Callable[..., Any], x: jax.Array, data: Data) -> list[jax.Array]:
    return jax.vmap(constrain, in_axes=(0, None))(x, data)
