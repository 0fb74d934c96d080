"""A batch of steps, checked before anything is computed.

p(x | o) ∝ N(o; alpha x, sigma^2 I) p0(x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bayesdiff.checks import real_array
from bayesdiff.compiled import CompiledPrior, Data, Density
from bayesdiff.step import read_noise


class Step(NamedTuple):
    """What a kernel takes of one step, or of a batch (a leading axis more).

    ``o`` (n,), ``alpha`` and ``sigma`` (), ``start`` (starts, n): where to search, as given.
    """

    o: Any
    alpha: Any
    sigma: Any
    start: Any

    def logp(self, density: Density, data: Data) -> Callable[[jax.Array], jax.Array]:
        """Give x -> log p0(x) + log N(o; alpha x, sigma^2 I), of one step."""

        def logp(x: jax.Array) -> jax.Array:
            square = (((self.o - self.alpha * x) / self.sigma) ** 2).sum()
            return density(x, data) - 0.5 * square - self.o.shape[0] * (jnp.log(self.sigma) + 0.5 * jnp.log(2 * jnp.pi))

        return logp


class Steps(NamedTuple):
    """A batch of steps, checked.

    ``o`` (batch, n), ``alpha`` and ``sigma`` (batch,), ``start`` (batch, starts, n), ``good`` (batch,).
    A bad observation (not finite) is replaced by 0 and its row is False in ``good``: it is computed along, and blanked
    later.
    """

    o: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    start: np.ndarray
    good: np.ndarray

    def part(self, rows: slice) -> Steps:
        """Some of them."""
        return Steps(*(values[rows] for values in self))

    def of(self, rows: int | slice | np.ndarray = slice(None)) -> Step:
        """What a kernel takes of some of them."""
        return Step(*(values[rows] for values in self[:4]))

    def blank(self, values: np.ndarray) -> np.ndarray:
        """Make the rows of bad observations NaN (False, 0 where there is no NaN)."""
        if not self.good.all():
            values = values.copy()
            values[~self.good] = np.nan if values.dtype.kind == "f" else 0
        return values


def read_steps(
    prior: CompiledPrior, o: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, start: ArrayLike | None = None
) -> Steps:
    """Check a batch of steps before anything is computed.

    Raises
    ------
    ValueError
        If a shape is wrong, alpha or sigma is not to be used, or no observation at all is finite.
    """
    if isinstance(o, Mapping):
        raise TypeError(
            f"o is {type(o).__name__}; an inverter takes flat numbers (batch, {prior.n}), columns "
            f"{prior.layout.labels[:6]}; find_map and sample_posterior take a mapping"
        )
    array = real_array(o, "o")
    if array.ndim != 2 or array.shape[1] != prior.n or not len(array):
        raise ValueError(
            f"o has shape {array.shape}; an inverter takes (batch, {prior.n}), columns {prior.layout.labels[:6]}"
        )
    batch = len(array)
    alpha_, sigma_ = (np.broadcast_to(value, (batch,)) for value in read_noise(alpha, sigma, batch))
    good = np.isfinite(array).all(axis=1)
    if not good.any():
        raise ValueError(f"none of the {batch} observations is finite: o[0] is {array[0].tolist()}; write numbers")
    starts = np.empty((batch, 0, prior.n))
    if start is not None:
        starts = real_array(start, "start")
        if starts.shape != array.shape:
            raise ValueError(f"start has shape {starts.shape}; write that of o, {array.shape}")
        starts = starts[:, None, :]
    return Steps(np.where(good[:, None], array, 0.0), alpha_, sigma_, starts, good)


def read_bank(prior: CompiledPrior, bank: ArrayLike | Mapping[str, ArrayLike] | None) -> np.ndarray | None:
    """Read draws of p0 that the user has: unconstrained, flat (draws, n).

    Raises
    ------
    TypeError, ValueError
        If a name or a shape is wrong, or no draw is finite.
    """
    if bank is None:
        return None
    shapes = dict(zip(prior.layout.names, prior.layout.shapes, strict=True))
    if isinstance(bank, Mapping):
        if "unconstrained_posterior" in bank:  # a whole run
            bank = cast("Mapping[str, Any]", bank["unconstrained_posterior"])
        if getattr(bank, "name", None) == "posterior":
            raise ValueError('bank is the constrained group; write bank=run["unconstrained_posterior"]')
        # A group of a result has chains and draws before a variable's own dimensions.
        bank = {
            name: array.reshape(-1, *shapes[name]) if name in shapes and array.ndim == len(shapes[name]) + 2 else array
            for name, array in ((str(name), np.asarray(values)) for name, values in bank.items())
        }
    flat, batched = prior.layout.read(bank, "bank")
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not batched or not len(flat):
        wrong = f"has {len(flat)} finite draws" if batched else "is one state, without an axis for draws"
        raise ValueError(
            f"bank {wrong}; write draws of p0, unconstrained, along one leading axis, as "
            'bank=run["unconstrained_posterior"] of a run of bd.sample'
        )
    return flat
