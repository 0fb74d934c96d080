"""Labels: the model's names, dims and coords on flat arrays, and what a result says of how it was made."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.backends.arviz import find_constants, find_observations

from bayesdiff.compiled import CompiledPrior
from bayesdiff.priors import equations
from bayesdiff.results import dataset
from bayesdiff.typed import labels_of
from bayesdiff.version import __version__

SAMPLE = ("chain", "draw")


class Labels:
    """Puts the model's names, dims and coords on flat arrays (observation, ...)."""

    def __init__(self, prior: CompiledPrior, batched: bool) -> None:
        self.compiled = prior
        self.batched = batched
        self.observation = ("observation",) * batched
        model = prior.model
        self.coords = {name: labels_of(values) for name, values in model.coords.items() if values is not None}
        self.dims = {name: list(dims) for name, dims in model.named_vars_to_dims.items()}
        readable = prior.constrain(np.zeros((1, prior.n)))
        self.unconstrained_dims = {
            name: self.dims.get(name, [f"{name}_dim_{i}" for i in range(len(shape))])
            if readable[name].shape[1:] == shape
            else [f"{name}_unconstrained_dim_{i}" for i in range(len(shape))]
            for name, shape in zip(prior.layout.names, prior.layout.shapes, strict=True)
        }

    def pick(self, values: np.ndarray) -> np.ndarray:
        """The batch axis, or none."""
        return values if self.batched else values[0]

    def states(self, x: np.ndarray) -> dict[str, xr.Dataset]:
        """States (observation, chain, draw, n) as ``posterior`` and ``unconstrained_posterior``."""
        x = np.moveaxis(x, 0, 2)  # (chain, draw, observation, n)
        x = x if self.batched else x[:, :, 0]
        return self._both("posterior", x, (*SAMPLE, *self.observation))

    def prior(self, rng: np.random.Generator) -> dict[str, xr.Dataset]:
        """Draws of p0 as ``prior`` and ``unconstrained_prior``, where it can be drawn."""
        x = self.compiled.draws(1000, rng)
        return {} if x is None else self._both("prior", x[None], SAMPLE)

    def _both(self, group: str, x: np.ndarray, leading: tuple[str, ...]) -> dict[str, xr.Dataset]:
        return {
            group: dataset(
                self._readable(x), sample_dims=SAMPLE, dims=self._lead(leading, self.dims), coords=self.coords
            ),
            f"unconstrained_{group}": dataset(
                self.compiled.layout.split(x),
                sample_dims=SAMPLE,
                dims=self._lead(leading, self.unconstrained_dims),
                coords=self.coords,
            ),
        }

    def _readable(self, x: np.ndarray) -> dict[str, np.ndarray]:
        values = self.compiled.constrain(x.reshape(-1, x.shape[-1]))
        return {name: value.reshape(*x.shape[:-1], *value.shape[1:]) for name, value in values.items()}

    def _lead(self, leading: tuple[str, ...], dims: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """`dims` behind those of `leading` that are not sample dims, for every variable."""
        extra = [dim for dim in leading if dim not in SAMPLE]
        return {name: [*extra, *dims.get(name, [])] for name in self.compiled.readable_names}

    def stats(self, values: Mapping[str, np.ndarray]) -> xr.Dataset:
        """Statistics (observation, chain, draw) as ``sample_stats``."""
        moved = {name: np.moveaxis(value, 0, 2) for name, value in values.items()}
        moved = {name: value if self.batched else value[:, :, 0] for name, value in moved.items()}
        return dataset(moved, sample_dims=SAMPLE, dims=dict.fromkeys(moved, self.observation))

    def flat(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Unconstrained numbers (observation, n) by variable."""
        return self.compiled.layout.split(self.pick(values))

    def by_level(self, o: np.ndarray, levels: list[int]) -> xr.Dataset:
        """Unconstrained states (chain, draw, level, n) at these levels."""
        dims = self._lead((*SAMPLE, "level"), self.unconstrained_dims)
        values = self.compiled.layout.split(o)
        return dataset(values, sample_dims=SAMPLE, dims=dims, coords=self.coords | {"level": levels})

    def laplace(self, sd: np.ndarray) -> xr.Dataset:
        """Laplace sd (observation, n)."""
        return dataset(self.flat(sd), dims=self._lead(self.observation, self.unconstrained_dims), coords=self.coords)

    def diagnostics(self, r_hat: np.ndarray, ess: np.ndarray) -> xr.Dataset:
        """R-hat and effective draws (observation, n)."""
        first, second = self.flat(r_hat), self.flat(ess)
        values = {name: np.stack([first[name], second[name]], axis=-1) for name in first}
        dims = self._lead(self.observation, {name: [*d, "diagnostic"] for name, d in self.unconstrained_dims.items()})
        return dataset(values, dims=dims, coords=self.coords | {"diagnostic": ["r_hat", "ess_bulk"]})

    def verdict(self, of: xr.Dataset) -> xr.Dataset:
        """A verdict (observation), as the group ``verdict``."""
        values = {str(name): self.pick(each.values) for name, each in of.items()}
        group = dataset(values, dims=dict.fromkeys(values, self.observation), attrs=of.attrs)
        group["code"].attrs.update(of["code"].attrs)
        return group

    def modes(self, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        """Modes (observation, mode, n), constrained, and their dims."""
        return self._readable(self.pick(x)), self._lead((*self.observation, "mode"), self.dims)

    def data(self) -> dict[str, xr.Dataset]:
        """``observed_data`` and ``constant_data`` of the model itself, as pm.sample has them, where it has any."""
        model = self.compiled.model
        own = {"observed_data": find_observations(model), "constant_data": find_constants(model)}
        return {group: dataset(data, dims=self.dims, coords=self.coords) for group, data in own.items() if data}

    def step(self, o: np.ndarray, alpha: np.ndarray, sigma: np.ndarray) -> dict[str, xr.Dataset]:
        """What the steps of observations (observation, n) were: ``step`` and ``step/o``; and the model's own data.

        o has a group to itself, as a variable may be called alpha, sigma or o, and one group has a name once.
        """
        dims = self._lead(self.observation, self.unconstrained_dims)
        noise = {"alpha": self.pick(alpha), "sigma": self.pick(sigma)}
        return {
            "step": dataset(noise, dims=dict.fromkeys(noise, self.observation)),
            "step/o": dataset(self.flat(o), dims=dims, coords=self.coords),
            **self.data(),
        }


def describe(prior: CompiledPrior, inversion: str) -> dict[str, Any]:
    """Say how a result was made: the attributes of its root, beside those of the call."""
    return {
        "inference_library": "bayesdiff",
        "inference_library_version": __version__,
        "inversion": inversion,
        "versions": {name: version(name) for name in ("pymc", "jax", "numpy")} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "model_graph": _graph(prior.model),
        "model_equations": equations(prior.model),
    }


def _graph(model: pm.Model) -> str:
    """The model's graph as Mermaid text, or nothing: PyMC draws variables to learn shapes; pm.Flat has no draws."""
    try:
        return pm.model_to_mermaid(model)
    except NotImplementedError:
        return ""
