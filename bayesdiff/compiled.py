"""The density of a prior, compiled once, for a batch of steps.

    log p(x | o) = log p0(x) + log N(o; alpha x, sigma^2 I) + const

log p0 is the prior's own log density on unconstrained coordinates, Jacobian included, translated from PyTensor to JAX.
o, alpha and sigma are arguments, one per state, so a new observation never compiles anything. Data of the prior stay
live.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import operator
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import RLock
from typing import Any, NamedTuple
from weakref import WeakSet

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
from numpy.typing import ArrayLike
from pymc.distributions.distribution import _support_point
from pymc.distributions.shape_utils import _change_dist_size
from pymc.distributions.simulator import SimulatorRV
from pymc.initial_point import make_initial_point_fn
from pymc.logprob.abstract import _icdf, _logcdf, _logprob
from pymc.pytensorf import find_rng_nodes, join_nonshared_inputs
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, graph_inputs, toposort

from bayesdiff.checks import generator, mapping, positive_int, real_array
from bayesdiff.derivatives import by_differences
from bayesdiff.forward import Forward
from bayesdiff.schedule import Schedule
from bayesdiff.step import LEVEL, Layout, batch_of, layout, schedule_of, unconstrained
from bayesdiff.translated import ONE_AT_A_TIME, Translated, named_failure, to_jax

# A mode in single precision is off in the eighth digit, and PyMC's models are in double. Networks name their own dtype.
jax.config.update("jax_enable_x64", True)

Data = tuple[np.ndarray, ...]
Density = Callable[[jax.Array, Data], jax.Array]


@dataclass(frozen=True, eq=False)
class CompiledPrior:
    """Compute log p0(x) and its gradient for a batch of states, in JAX.

    log p0(x) = log p(constrain(x)) + log |d constrain / dx|

    Made by `compile_prior`. Everything that inverts a prior accepts it.

    Attributes
    ----------
    model : pm.Model
        The prior. ``pm.set_data`` on it is seen by the next call; new lengths of its dimensions need a new compilation.
    layout : Layout
        Where each free variable lies in a flat state of `n` numbers: names sorted.
    density : callable
        (x of shape (n,), data) -> log p0(x), a pure JAX function: for ``jax.vmap``, ``jax.grad`` and ``jax.jit``.
    level : int or None
        Of a level prior: which diffused density this is. None: the one that the model's data ``level`` say, 0 at first.

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
    level: int | None
    _shared: tuple[SharedVariable, ...]
    _functions: _Functions
    _readable: Mapping[str, tuple[int, ...]]  # the shape of all that `constrain` gives
    _lengths: Mapping[str, int]  # of the dimensions, as they were compiled
    _jacobian: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again in another process: compiled code does not travel, the model does."""
        return _again, (self.model, self._jacobian, self.level, _known_of(self.model))

    @property
    def n(self) -> int:
        """How many unconstrained numbers a state has."""
        return self.layout.n

    @property
    def readable_names(self) -> tuple[str, ...]:
        """What `constrain` gives: names of the free variables, sorted, then of the Deterministics."""
        return tuple(self._readable)

    @property
    def data(self) -> Data:
        """The prior's data as they are now: the second argument of `density`.

        Raises
        ------
        ValueError
            If a dimension of the prior has got another length since it was compiled.
        """
        return self._values(self._shared)

    @property
    def schedule(self) -> Schedule | None:
        """The schedule that a level prior was made for; None for any other prior."""
        return schedule_of(self.model)

    def at_level(self, level: int) -> CompiledPrior:
        """Give the same prior diffused to a level; nothing is compiled again.

        p_level(o) = integral of N(o; alpha_level x, sigma_level^2 I) p0(x) dx

        Parameters
        ----------
        level : int
            0 (p0 itself) to K.

        Returns
        -------
        CompiledPrior
            All of a batch is then at that level.

        Raises
        ------
        ValueError
            If this is no level prior, or its schedule has no such level.
        """
        schedule = self.schedule
        if schedule is None:
            raise ValueError(
                "the prior's density does not depend on a level; make one that does, "
                "as gaussian_mixture(..., schedule=schedule)"
            )
        if not isinstance(level, int | np.integer) or isinstance(level, bool) or not 0 <= level <= schedule.levels:
            raise ValueError(f"level is {level!r}; the prior's schedule has the levels 0 to {schedule.levels}")
        return replace(self, level=int(level))

    def kernel(self, function: Callable[..., Any], *static: Hashable) -> Callable[..., Any]:
        """Give ``function(density, *static, ...)``, compiled: once for each `static`, kept here, freed with the prior.

        Parameters
        ----------
        function : callable
            (density, *static, *arrays) -> a tree of arrays, of JAX, defined at the top of its module.
        *static
            What another program is compiled for.

        Returns
        -------
        callable
            (*arrays) -> a tree of arrays. A ``jax.jit`` of a module that took the density as a static argument would
            keep what it compiles for every prior, for ever.
        """
        return self._functions.kernel(function, static)

    def logp(self, x: ArrayLike) -> np.ndarray:
        """Compute log p0 of a batch of states.

        Parameters
        ----------
        x : array_like (batch, n)
            Unconstrained states.

        Returns
        -------
        ndarray (batch,)
            -inf or NaN where a state is invalid, and there alone; NaN where PyMC's is +inf.

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        return np.asarray(self._functions.logp(self._check(x), self.data))

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
        logp, gradient = self._functions.logp_and_gradient(self._check(x), self.data)
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
        if not self.model.deterministics and not any(self.model.rvs_to_transforms[rv] for rv in self.model.free_RVs):
            return self.layout.split(self._check(x))
        function, shared = self._functions.constrain
        values = function(self._check(x), self._values(shared))
        return dict(zip(self._readable, map(np.asarray, values), strict=True))

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
            If a free variable is missing, a shape is wrong, or the batch lengths differ.
        """
        mapping(values, "values", f"values={{{', '.join(f'{name!r}: ...' for name in self.layout.names)}}}")
        missing = [name for name in self.layout.names if name not in values]
        if missing:
            raise ValueError(f"values has no {missing}; write one array per free variable, {list(self.layout.names)}")
        arrays = [real_array(values[name], name) for name in self.layout.names]
        for name, array in zip(self.layout.names, arrays, strict=True):
            if not array.ndim or array.shape[1:] != self._readable[name]:
                raise ValueError(f"values[{name!r}] has shape {array.shape}; write {batch_of(self._readable[name])}")
        if len({len(array) for array in arrays}) > 1:
            lengths = {name: len(array) for name, array in zip(self.layout.names, arrays, strict=True)}
            raise ValueError(f"values has different batch lengths: {lengths}; give every name the same")
        function, shared = self._functions.unconstrain
        return np.asarray(function(arrays, self._values(shared)))

    def given_back(self, values: Mapping[str, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
        """Compute unconstrained states of constrained values, and whether `constrain` gives these values back.

        Parameters
        ----------
        values : mapping of str to array_like (batch, *shape)
            Every free variable, as `unconstrain` takes them.

        Returns
        -------
        x : ndarray (batch, n)
            As `unconstrain` gives them.
        same : ndarray of bool (batch, variables)
            By free variable, names sorted: whether its x is finite and leads back to the value. If not, the value lies
            outside of the support or on its edge, or breaks a rule of the transform, as x sums to 0, and then its
            unconstrained numbers are those of another value.

        Raises
        ------
        ValueError
            As `unconstrain` does.
        """
        x = self.unconstrain(values)
        parts = self.layout.split(x)
        same = ~_by_variable(lambda part: ~np.isfinite(part), parts)
        changed = [self.model.rvs_to_transforms[self.model[name]] is not None for name in self.layout.names]
        if any(changed):
            function, shared = self._functions.back
            back = dict(zip(self.layout.names, map(np.asarray, function(x, self._values(shared))), strict=True))
            for i, (name, part) in enumerate(parts.items()):
                value = np.asarray(values[name], self.model[name].dtype)
                most = np.abs(value).max(axis=tuple(range(1, value.ndim)), initial=0.0, keepdims=True)
                # Rounding has the scale of the value, or that of the bounds. A transform that leaves fewer numbers
                # obeys a rule, as that the sum is 0, which has no scale of its own.
                slack = most * (1e-6 if value.dtype == np.float64 else 1e-4) + 1e-9 * (part.size == value.size)
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    far = {name: ~(np.abs(back[name] - value) <= slack)}
                same[i] &= ~_by_variable(np.asarray, far)[0]
        return x, same.T

    def why_not_drawable(self) -> str:
        """Say why p0 cannot be drawn directly; empty if it can.

        Because of data or a Potential, or because forward draws, as the model writes them, are no draws of its density:
        there are none, or of many draws, the same ones always, more than one in 10,000 is lost.
        """
        if self.model.observed_RVs:
            return f"it has observed data, {[rv.name for rv in self.model.observed_RVs]}"
        if self.model.potentials:
            return f"it has a Potential, {[potential.name for potential in self.model.potentials]}"
        # Of the data as they are now. Kept for the last ones alone: a long series of data would fill the memory.
        key = tuple(map(_digest, self.data))
        with self._functions.lock:
            if key not in self._functions.lost:
                self._functions.lost.clear()
                self._functions.lost[key] = self._lost()
            return self._functions.lost[key]

    def draws(self, draws: int, random_seed: np.random.Generator | int | None = None) -> np.ndarray | None:
        """Draw from p0 itself, where that can be done.

        Parameters
        ----------
        draws : int
            How many.
        random_seed : int, Generator or None
            The source of randomness.

        Raises
        ------
        TypeError, ValueError
            If `draws` is no int >= 1, or `random_seed` is no seed.

        Returns
        -------
        ndarray (draws, n) or None
            Independent unconstrained states. Fewer than `draws` where a transform narrows a distribution (an ordered
            Normal), since draws outside are rejected: p0 is the density, which has no place there. None where p0 is
            known only through its density: with observed data, a Potential, a distribution that has no random draws
            or one whose parameters may be invalid; and where more than 1e-4 of the draws that are not outside are none
            of the density, so that the others have another law: rounded to the edge of the support (of a Gamma or Beta
            of small shape), changed by the transform (a Normal with a ZeroSumTransform), or where the density is 0.
            `why_not_drawable` says which.
        """
        positive_int(draws, "draws")
        rng = generator(random_seed)
        if self.why_not_drawable():
            return None
        values = self._forward(draws, rng)
        if values is None:
            return None
        x, same = self.given_back(values)
        x = x[same.all(axis=1)]
        return x if len(x) else None

    def forward_draws(self, draws: int, random_seed: np.random.Generator | int | None = None) -> np.ndarray:
        """Draw the free variables as the model writes them, whatever its data and Potentials say: places to begin at.

        Parameters
        ----------
        draws : int
            How many.
        random_seed : int, Generator or None
            The source of randomness.

        Returns
        -------
        ndarray (any, n)
            Unconstrained states that are finite; none where a distribution has no random draws. They need not be draws
            of the density, not even without data: those are what `draws` gives.

        Raises
        ------
        TypeError, ValueError
            If `draws` is no int >= 1, or `random_seed` is no seed.
        """
        positive_int(draws, "draws")
        values = self._forward(draws, generator(random_seed))
        if values is None:
            return np.empty((0, self.n))
        x = self.unconstrain(values)
        return x[np.isfinite(x).all(axis=1)]

    def _forward(self, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray] | None:
        """Constrained values of the free variables, drawn as the model writes them; None where that cannot be done."""
        try:
            # PyTensor's functions and their generators are for one thread at a time. What overflows is looked at later.
            with self._functions.lock, _quiet_blas(), np.errstate(all="ignore"):
                values = self._functions.forward.draw(draws, rng, self.level)
        # pm.Flat; a negative scale, or an infinite range, which NumPy refuses to draw from
        except (NotImplementedError, ValueError, OverflowError):
            return None
        return dict(zip(self.layout.names, values, strict=True))

    def _lost(self) -> str:
        """Say why forward draws are no draws of the density, if they are not."""
        # So many are looked at, always the same ones: fewer where a state has many numbers, or each is drawn alone.
        count = int(np.clip(2**17 // self.n, 2**8, 2**14))
        values = self._forward(count if self._functions.forward.at_once else min(count, 2**9), generator(0))
        if values is None:
            return "a distribution has no random draws, or invalid parameters"
        x, same = self.given_back(values)
        asked = ~self._outside(values, x)
        if not asked.any():
            return f"none of {len(x):,} draws lies where the transforms of its variables allow"
        lost = ~same & asked[:, None]
        no_density = asked & same.all(axis=1) & ~np.isfinite(self.logp(x))
        count = int(lost.any(axis=1).sum() + no_density.sum())
        if count <= 1e-4 * asked.sum():  # where more are lost, those that are left are no draws of p0
            return self._atom(x[same.all(axis=1)])
        of = f"of {asked.sum():,} draws {count:,}"
        if not lost.any():
            return (
                f"{of} lie where its density is 0, infinite or no number: on an edge, or `random` and `logp` of a "
                "distribution differ"
            )
        worst = int(lost.sum(axis=0).argmax())
        name = self.layout.names[worst]
        finite = np.isfinite(list(self.layout.split(x).values())[worst]).reshape(len(x), -1).all(axis=1)
        if finite[lost[:, worst]].mean() > 0.5:
            return (
                f"{of} come back changed from the transform of {name!r}, and have another law than its density (a "
                "distribution whose draws obey the transform has none such, as pm.ZeroSumNormal)"
            )
        return (
            f"{of} are lost at the edge of {name!r}: they are rounded to it or overflow, so that their unconstrained "
            "values are infinite, and the others have another law (less extreme shapes or scales lose none)"
        )

    def _atom(self, x: np.ndarray) -> str:
        """Say which number is the same in many draws (draws, n), if one is: a density has no such atoms."""
        many = max(8, len(x) // 1000)
        ordered = np.sort(x, axis=0)
        for label, column in zip(self.layout.labels, ordered.T, strict=True):
            again = column[many:][column[many:] == column[: len(column) - many]] if len(column) > many else column[:0]
            if len(again):
                return (
                    f"of {len(x):,} draws {(column == again[0]).sum():,} have the same value of {label}, which its "
                    "density gives no mass to (it is rounded, or censored, and can then be drawn as pm.Truncated)"
                )
        return ""

    def _outside(self, values: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """Whether draws lie outside of what a transform allows (draws,), rather than on the edge of it.

        x is NaN outside; and on some edges, as an infinity less another. There a small move inwards makes it a number.
        """

        def nan(x: np.ndarray) -> np.ndarray:
            return _by_variable(np.isnan, self.layout.split(x)).T

        outside = nan(x) & ~_by_variable(lambda part: ~np.isfinite(part), values).T
        if outside.any():
            function, shared = self._functions.back
            inside = function(np.zeros((1, self.n)), self._values(shared))
            moved = {
                name: value
                + 4 * np.sign(np.asarray(at) - value) * np.maximum(np.spacing(np.abs(value)), np.finfo(float).tiny)
                for (name, value), at in zip(values.items(), inside, strict=True)
            }
            outside &= nan(self.unconstrain(moved))
        return outside.any(axis=1)

    @property
    def draws_at_once(self) -> bool:
        """Whether `draws` makes many draws about as quickly as one."""
        with self._functions.lock:
            return not self.why_not_drawable() and self._functions.forward.at_once

    def initial_point(self) -> np.ndarray:
        """Compute PyMC's initial point of the model as a flat state (n,)."""
        with self._functions.lock, _quiet_blas():
            point = make_initial_point_fn(model=self.model)(0)
        parts = [point[self.model.rvs_to_values[self.model[name]].name] for name in self.layout.names]
        return np.concatenate([np.ravel(part) for part in parts]).astype(float)

    def _check(self, x: ArrayLike) -> np.ndarray:
        array = real_array(x, "x")
        if array.ndim != 2 or array.shape[1] != self.n:
            columns = ", ".join(self.layout.labels[:6]) + ", ..." * (self.n > 6)
            raise ValueError(f"x has shape {array.shape}; write (batch, {self.n}), with the columns {columns}")
        return array

    def _values(self, shared: Sequence[SharedVariable]) -> Data:
        for dim, length in self._lengths.items():
            now = int(self.model.dim_lengths[dim].get_value())
            if now != length:
                raise ValueError(
                    f"dimension {dim!r} of the prior had {length} entries when it was compiled and has {now} now; "
                    "call compile_prior again"
                )
        return _current(shared, self.model, self.level)


class _Jitted:
    """A function compiled to compute in float64, wherever JAX's switch stands now: others may have turned it back."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._made: Any = jax.jit(function)

    def __call__(self, *arrays: Any) -> Any:
        with jax.enable_x64(True):
            return self._made(*arrays)

    def _cache_size(self) -> int:
        """How many programs were compiled, as JAX counts them."""
        return int(self._made._cache_size())


@dataclass(frozen=True, eq=False)
class _Functions:
    """What is compiled of a prior, on first use: kept here and nowhere else, shared by its levels, freed with it."""

    model: pm.Model
    layout: Layout
    density: Density
    constrained: Translated
    forward: Forward
    lock: Any = field(default_factory=RLock)
    kernels: dict[tuple[Any, ...], Callable[..., Any]] = field(default_factory=dict)
    lost: dict[tuple[bytes, ...], str] = field(default_factory=dict)  # why forward draws are no draws of p0, by data

    def kernel(self, function: Callable[..., Any], static: tuple[Hashable, ...]) -> Callable[..., Any]:
        made = self.kernels.get((function, static))
        # Two threads that ask at once get the same one.
        return made or self.kernels.setdefault((function, static), _Jitted(partial(function, self.density, *static)))

    @cached_property
    def logp(self) -> Callable[[np.ndarray, Data], jax.Array]:
        return _Jitted(jax.vmap(self.density, in_axes=(0, None)))

    @cached_property
    def logp_and_gradient(self) -> Callable[[np.ndarray, Data], tuple[jax.Array, jax.Array]]:
        return _Jitted(jax.vmap(jax.value_and_grad(self.density), in_axes=(0, None)))

    @cached_property
    def constrain(self) -> tuple[Callable[[np.ndarray, Data], list[jax.Array]], tuple[SharedVariable, ...]]:
        function, shared = self.constrained
        return _Jitted(jax.vmap(lambda x, data: function(x, *data), in_axes=(0, None))), shared

    @cached_property
    def back(self) -> tuple[Callable[[np.ndarray, Data], list[jax.Array]], tuple[SharedVariable, ...]]:
        # The free variables alone: Deterministics may be large, and are not computed.
        (function, shared), count = self.constrained, len(self.layout.names)
        return _Jitted(jax.vmap(lambda x, data: function(x, *data)[:count], in_axes=(0, None))), shared

    @cached_property
    def unconstrain(self) -> tuple[Callable[[list[np.ndarray], Data], jax.Array], tuple[SharedVariable, ...]]:
        inputs = {name: self.model[name].type(name) for name in self.layout.names}
        outputs = [unconstrained(self.model, name, inputs) for name in self.layout.names]
        # Bounds may depend on an observed variable: its data, then.
        function, shared = to_jax(
            list(inputs.values()), self.model.replace_rvs_by_values(outputs), _dim_lengths(self.model)
        )

        def flat(arrays: list[jax.Array], data: Data) -> jax.Array:
            return jnp.concatenate([jnp.ravel(part) for part in function(*arrays, *data)])

        return _Jitted(jax.vmap(flat, in_axes=(0, None))), shared


def _by_variable(what: Callable[[np.ndarray], np.ndarray], parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of what variables something is true at any entry (variables, batch)."""
    return np.stack([what(part).reshape(len(part), -1).any(axis=1) for part in parts.values()])


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
        Whatever takes a prior takes it in place of the model. The model keeps it, so that a second call compiles
        nothing, and a model that has changed since is compiled again. It goes when the model goes.

    Raises
    ------
    TypeError, ValueError
        If `prior` cannot be a prior: see `step_model`.
    NotImplementedError
        If an operation of the model has no JAX translation. The message names it.

    Notes
    -----
    PyMC checks parameters (a negative scale, say) for a whole graph at once. Here each check is bound to its own state,
    so that an invalid state has density 0 and its neighbours are left alone.

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


class _Anatomy(NamedTuple):
    """What a density is compiled from: ``parts``, objects that must be the same, and ``values`` that must be equal."""

    parts: list[Any]
    values: list[Any]

    def is_of(self, other: _Anatomy) -> bool:
        """Whether a model is still what it was."""
        same = len(self.parts) == len(other.parts) and all(map(operator.is_, self.parts, other.parts))
        return same and self.values == other.values


def _anatomy(model: pm.Model) -> _Anatomy:
    """List all that a density is compiled from. Data are arguments of it, so their values are left out."""
    terms = [*model.basic_RVs, *model.potentials, *model.deterministics]
    transforms = [model.rvs_to_transforms[rv] for rv in model.free_RVs]
    graph = list(ancestors([*terms, *(model.rvs_to_values[rv] for rv in model.basic_RVs), *model.named_vars.values()]))
    nodes = [variable.owner for variable in graph if variable.owner is not None]
    constants = [variable.data for variable in graph if isinstance(variable, Constant)]
    names = [list(model.named_vars), [variable.name for variable in terms], list(model.coords), model.check_bounds]
    lengths = {dim: int(length.get_value()) for length, dim in _dim_lengths(model).items()}
    # Bytes of numbers, since an array can be written to; of other constants (slices, None) the object.
    numbers = [_digest(data) for data in constants if isinstance(data, np.ndarray)]
    # A `logp` of the user's may read what stands outside of the model: what it writes now is compared.
    written = _structure(model.logp(jacobian=False)) if _made_here(model) else []
    values = [names, lengths, numbers, written]
    return _Anatomy([*terms, *transforms, *graph, *nodes, *(node.op for node in nodes)], values)


def _digest(data: np.ndarray) -> bytes:
    return hashlib.blake2b(data.tobytes()).digest()


def _structure(output: Variable) -> list[Any]:
    """Write a graph as a list: two graphs of the same inputs that compute the same in the same way have equal ones."""
    place: dict[Variable, int] = {}
    rows: list[Any] = []
    for node in toposort([output]):
        for variable in node.inputs:
            if variable not in place:
                place[variable] = len(place)
                data = variable.data if isinstance(variable, Constant) else None
                rows.append((variable.type, _digest(data)) if isinstance(data, np.ndarray) else variable)
        place.update((variable, len(place) + i) for i, variable in enumerate(node.outputs))
        rows.append((node.op, *(place[variable] for variable in node.inputs)))
    return rows


class _Kept(dict[bool, tuple[_Anatomy, "CompiledPrior"]]):
    """What was compiled of a model, with its Jacobian and without. The model keeps it, a copy of the model does not."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()


_KEPT = "_compiled_by_bayesdiff"

# What is compiled and still in memory. A model and what it keeps refer to each other, so both wait for the garbage
# collector; and that sees a few small objects where there are megabytes of programs, in hundreds of memory maps.
_IN_MEMORY: WeakSet[_Functions] = WeakSet()


def give_back_memory() -> None:
    """Free what nobody refers to any more, and give the pages back to the system.

    XLA's threads leave the C library's memory full of holes: a few models compiled, and all of them gone, a process
    held 1.4 GB, of which .9 GB were free, for it alone.
    """
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # glibc's; 50 ms
        trim(0)


def compiled(model: pm.Model, *, jacobian: bool) -> CompiledPrior:
    """Compile `model`, its density with or without the Jacobian: without, a mode is that of the constrained density.

    The model keeps what was compiled. The next call gets it, unless the model has changed.
    """
    if not isinstance(model, pm.Model):
        layout(model)  # says what to write
    kept = vars(model).get(_KEPT)
    if not isinstance(kept, _Kept):
        kept = vars(model)[_KEPT] = _Kept()
    anatomy = _anatomy(model)
    if jacobian not in kept or not kept[jacobian][0].is_of(anatomy):
        kept.pop(jacobian, None)
        if _IN_MEMORY:
            give_back_memory()
        with jax.enable_x64(True):  # shapes and constants are float64, wherever the switch stands now
            kept[jacobian] = anatomy, _compiled(model, jacobian)
        _IN_MEMORY.add(kept[jacobian][1]._functions)
    return kept[jacobian][1]


def _compiled(model: pm.Model, jacobian: bool) -> CompiledPrior:
    where = layout(model)
    values = {name: model.rvs_to_values[model[name]] for name in where.names}
    point = {values[name].name: np.zeros(shape) for name, shape in zip(where.names, where.shapes, strict=True)}
    lengths = _dim_lengths(model)

    def of_flat_state(outputs: Sequence[Variable]) -> Translated:
        joined, x = join_nonshared_inputs(point=point, outputs=list(outputs), inputs=list(values.values()))
        return to_jax([x], joined, lengths)

    # Sorted, since a clone has them in another order, and the order of a sum is seen in its last digit.
    terms = sorted([*model.basic_RVs, *model.potentials], key=lambda variable: variable.name)
    logp = model.logp(vars=terms, jacobian=jacobian)
    readable = [model[name] for name in where.names] + list(model.deterministics)
    read_from = model.replace_rvs_by_values(readable)
    if find_rng_nodes([logp, *read_from]):
        _refuse_random(model, terms, dict(zip((v.name for v in readable), read_from, strict=True)))
    log_density, shared = of_flat_state([logp])
    constrain, constrain_shared = of_flat_state(read_from)

    def density(x: jax.Array, data: Data) -> jax.Array:
        value = jnp.asarray(log_density(x, *data)[0], float).reshape(())
        # A formula that overflows says nothing, and must not be the best place of all.
        return jnp.where(value < jnp.inf, value, jnp.nan)

    state, batch = (jax.ShapeDtypeStruct(shape, float) for shape in ((where.n,), (2, where.n)))
    data = _current(shared, model)
    # Tracing finds what translation alone does not, before any computation. With the Hessian all else is traced too.
    with named_failure():
        twice = _traces(_hessian_times(density), batch, batch, data)
        if not twice:
            jax.eval_shape(density, state, data)
        shapes = [value.shape for value in jax.eval_shape(constrain, state, *_current(constrain_shared, model))]
    if not twice:
        with named_failure("has no gradient in JAX"):
            jax.eval_shape(jax.vmap(jax.grad(density), in_axes=(0, None)), batch, data)
    differentiable = density if twice else by_differences(density)
    used = set(graph_inputs([logp, *readable]))
    return CompiledPrior(
        model=model,
        layout=where,
        density=differentiable,
        level=None,
        _shared=shared,
        _functions=_Functions(model, where, differentiable, (constrain, constrain_shared), Forward(model, where)),
        _readable=dict(zip((variable.name for variable in readable), shapes, strict=True)),
        _lengths={dim: int(length.get_value()) for length, dim in lengths.items() if length in used},
        _jacobian=jacobian,
    )


def _refuse_random(model: pm.Model, terms: Sequence[Variable], readable: dict[str | None, Variable]) -> None:
    """Say what of a prior draws random numbers: data that are drawn anew at every call, a simulation, or what it is."""
    graphs = dict(zip([v.name for v in terms], model.logp(vars=list(terms), sum=False), strict=True)) | readable
    random = [name for name, graph in graphs.items() if find_rng_nodes([graph])]
    if any(isinstance(model[name].owner.op, SimulatorRV) for name in random):
        advice = "write a likelihood, or pm.sample_smc(model=bd.step_model(prior, o, alpha, sigma))"
    else:
        advice = "write all of the data in place of pm.Minibatch, and a variable of the model in place of a draw"
    raise NotImplementedError(
        f"{random} of the prior draw random numbers whenever they are computed, so the prior has no density that is a "
        f"function of x; {advice}"
    )


def _hessian_times(density: Density) -> Callable[[jax.Array, jax.Array, Data], jax.Array]:
    """(x, t, data) -> (d^2 log p0 / dx^2) t, for a batch of x and t."""
    return jax.vmap(lambda x, t, data: jax.jvp(lambda x: jax.grad(density)(x, data), (x,), (t,))[1], (0, 0, None))


def _traces(function: Callable[..., jax.Array], *arguments: object) -> bool:
    """Whether JAX can make a program of `function`; what it raises where a derivative is missing has any type."""
    try:
        jax.eval_shape(function, *arguments)
    except Exception:
        return False
    return True


# What PyMC knows of a kind of variable, by dispatch on its op.
_DISPATCHED = (_logprob, _logcdf, _icdf, _support_point, _change_dist_size)


def _known_of(model: pm.Model) -> dict[type, list[Any]]:
    """Give what PyMC knows of kinds of variables made in this process: it does not travel."""
    return {kind: [dispatch.registry.get(kind) for dispatch in _DISPATCHED] for kind in _made_here(model)}


def _made_here(model: pm.Model) -> list[type]:
    """The kinds of variables of a model that were made in this process, by pm.CustomDist."""
    graph = ancestors([*model.basic_RVs, *model.potentials, *model.deterministics])
    kinds = {type(variable.owner.op) for variable in graph if variable.owner is not None}
    return [kind for kind in kinds if getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind]


def _again(model: pm.Model, jacobian: bool, level: int | None, known: dict[type, list[Any]]) -> CompiledPrior:
    pairs = [(dispatch, kind, f) for kind, row in known.items() for dispatch, f in zip(_DISPATCHED, row, strict=True)]
    with ONE_AT_A_TIME:
        before = [(dispatch, kind, dispatch.registry.get(kind)) for dispatch, kind, _ in pairs]
        try:
            for dispatch, kind, function in pairs:
                if function is not None:
                    dispatch.register(kind, function)
            prior = replace(compiled(model, jacobian=jacobian), level=level)
            prior.forward_draws(1, 0)  # what is compiled on first use asks for the kinds too: now, while they are here
        finally:
            for dispatch, kind, function in before:
                if function is not None:
                    dispatch.register(kind, function)
    return prior


def _dim_lengths(model: pm.Model) -> dict[SharedVariable, str]:
    return {length: dim for dim, length in model.dim_lengths.items() if isinstance(length, SharedVariable)}


def _current(shared: Sequence[SharedVariable], model: pm.Model, level: int | None = None) -> Data:
    of_level = None if level is None else model[LEVEL]
    return tuple(
        np.asarray(level if variable is of_level else variable.get_value(borrow=True), variable.type.dtype)
        for variable in shared
    )


@contextmanager
def _quiet_blas() -> Iterator[None]:
    with warnings.catch_warnings():
        # PyTensor from PyPI says so once; nothing here is bound by BLAS.
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        yield
