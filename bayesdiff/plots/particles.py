"""The particles of chains as they are drawn: read from runs, checked, and put at one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import xarray_sel_iter
from arviz_base.labels import BaseLabeller
from arviz_stats.base import array_stats

from bayesdiff.checks import flag
from bayesdiff.pictures import SAMPLE, even
from bayesdiff.plots import panels

# Okabe and Ito's colours, as in `step`.
PARTICLE, ALL, PRIOR = "#0072B2", "#56B4E9", "#333333"


@dataclass(frozen=True)
class Number:
    """One number of x: a variable, the place in it, and the limits of what is drawn of it, the same for all chains."""

    name: str
    at: Mapping[Any, int]
    label: str
    view: tuple[float, float] = (0.0, 1.0)

    def of(self, ds: xr.Dataset, *dims: str) -> np.ndarray:
        """Take it from a dataset."""
        return np.asarray(ds[self.name].isel(self.at, drop=True).transpose(*dims).values)


@dataclass(frozen=True)
class Chain:
    """A run as it is drawn: ``y`` (particle, level, ...), K first, and draws of p0 (prior_draw, ...), none if unknown.

    Drawn values are y_k = shift_k + scale_k o_k; o_k = alpha_k x + sigma_k noise.
    """

    label: str
    y: xr.Dataset
    p0: xr.Dataset
    shift: xr.Dataset
    scale: xr.Dataset
    noise: xr.Dataset

    @property
    def last(self) -> int:
        """K."""
        return int(self.noise["level"].max())

    @property
    def levels(self) -> list[int]:
        """Those in the path, K first."""
        return [int(level) for level in self.y["level"]]

    @property
    def knows_p0(self) -> bool:
        """Whether the run has draws of p0."""
        return self.p0.sizes["prior_draw"] > 0

    def say(self, level: int) -> str:
        """Name a level, with its noise."""
        if level == 0:
            return "level 0\nx"
        at = self.noise.sel(level=level)
        return f"level {level}\nsigma / alpha {at['sigma'].item() / abs(at['alpha'].item()):.2g}"

    def cloud(self, numbers: Sequence[Number], level: int, particles: int) -> np.ndarray:
        """Some particles at a level: (number, particle)."""
        y = np.stack([n.of(self.y.sel(level=level), "particle") for n in numbers])
        return y[:, even(y.shape[1], particles)]

    def prior(self, numbers: Sequence[Number], particles: int) -> np.ndarray:
        """As many draws of p0: (number, draw)."""
        p0 = np.stack([n.of(self.p0, "prior_draw") for n in numbers])
        return p0[:, even(p0.shape[1], particles)]

    def density(self, number: Number, level: int) -> np.ndarray:
        """Density of the particles at a level: (2, points)."""
        return _smooth(number.of(self.y.sel(level=level), "particle"), 0.0, 1.0, 0.0, number.view)

    def prior_density(self, number: Number, level: int) -> np.ndarray:
        """Density of p0, diffused to a level: (2, points)."""
        shift, scale = (float(number.of(ds.sel(level=level))) for ds in (self.shift, self.scale))
        slope, noise = (scale * self.noise[name].sel(level=level).item() for name in ("alpha", "sigma"))
        return _smooth(number.of(self.p0, "prior_draw"), shift, slope, noise, number.view)


def read(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None,
    coords: Mapping[str, Any] | None,
    rescale: bool,
    function: str,
    wanted: str = "",
    count: Sequence[int] = (),
) -> tuple[list[Chain], list[Number]]:
    """Check the runs, take the numbers of x that were asked for, and put them at the scale at which they are drawn.

    Before anything is computed: ``count`` is how many numbers a ``function`` can draw, and ``wanted`` says so in words;
    if it is empty, each number of each run has a panel.
    """
    given, o, p0 = panels.by_label(runs, "run"), {}, {}
    for label, run in given.items():
        _check_run(run, _quoted(label))
        o[label] = _choose(run["path"].to_dataset(), coords, var_names)
        beside, other = next(iter(o.items()))
        if _places(other) != _places(o[label]):
            raise ValueError(
                f"The runs {beside!r} and {label!r} have different variables or labels: {_shapes(other)}, and "
                f"{_shapes(o[label])}. Draw them apart, or choose what both have in var_names= or coords=."
            )
        p0[label] = o[label].isel(chain=slice(0, 0), level=0, drop=True)
        if "unconstrained_prior" in run.children:
            p0[label] = _choose(run["unconstrained_prior"].to_dataset(), coords, [*o[label]])
    flag(rescale, "rescale")
    first = next(iter(o.values())).isel(chain=0, draw=0, level=0, drop=True)
    each = xarray_sel_iter(first, skip_dims=set())
    numbers = [Number(name, at, BaseLabeller().make_label_flat(name, sel, at)) for name, sel, at in each]
    if count and len(numbers) not in count:
        names = f"{len(numbers)} are chosen: {', '.join(number.label for number in numbers[:10])}"
        raise ValueError(f"{function} {wanted}, and {names}. Name them in var_names= and coords=.")
    panels.check(len(numbers) * len(given), function)
    noise = {label: run["schedule"].to_dataset() for label, run in given.items()}
    moments = {label: (draws.mean(SAMPLE), draws.var(SAMPLE)) for label, draws in p0.items() if draws.sizes["chain"]}
    others = next(iter(moments.values()), None) or _end(*(next(iter(each.values())) for each in (o, noise)))
    chains = []
    for label, path in o.items():
        alpha, sigma = noise[label]["alpha"], noise[label]["sigma"]
        mean, variance = moments.get(label, others)
        scale = (variance / (alpha**2 * variance + sigma**2)) ** 0.5 if rescale else 0 * alpha + xr.ones_like(variance)
        shift = mean * (1 - scale * alpha) if rescale else 0 * scale
        y = (shift + scale * path).sortby("level", ascending=False).stack(particle=SAMPLE, create_index=False)
        draws = p0[label].stack(prior_draw=SAMPLE, create_index=False)
        chains.append(Chain(label, y, draws, shift, scale, noise[label]))

    known = next((chain.p0 for chain in chains if chain.knows_p0), chains[0].p0)
    return chains, [replace(number, view=_view(chains, known, number)) for number in numbers]


def _view(chains: Sequence[Chain], p0: xr.Dataset, number: Number) -> tuple[float, float]:
    """Limits of the drawn values, the same for all chains: all levels and p0, but for the last thousandths."""
    y = np.concatenate([number.of(chain.y, "particle", "level").ravel() for chain in chains])
    low, high = panels.view_of(y, number.of(p0, "prior_draw"), reach=np.inf)
    return float(low), float(high)


def _quoted(label: str) -> str:
    """A run, in a sentence."""
    return f"The run {label!r}" if label else "The run"


def _check_run(run: Any, who: str) -> None:
    if not isinstance(run, xr.DataTree):
        raise TypeError(f"{who} is a {type(run).__name__}. Pass the DataTree that reverse(..., path=True) returned.")
    for group in ("path", "schedule"):
        if group not in run.children or "level" not in run[group].coords:
            raise ValueError(f"{who} has no group {group!r} by level. Pass what reverse(..., path=True) returned.")
    levels = run["path"].coords["level"].values
    # What a ChainError holds may have come no further than this.
    if len(levels) < 2 and run.attrs.get("finished", 1):
        raise ValueError(f"{who} holds o_k at level {levels[0]} alone. Run reverse(..., path=True), which keeps all.")


def _choose(ds: xr.Dataset, coords: Mapping[str, Any] | None, var_names: str | Sequence[str] | None) -> xr.Dataset:
    """Take the variables and components that were asked for."""
    ds = ds[panels.names_of(var_names, ds)]
    return ds.sel(panels.labels_of(coords, ds, without=(*SAMPLE, "level")))


def _places(o: xr.Dataset) -> dict[str, dict[Any, list[Any]]]:
    """The labels of each variable, by dimension."""
    free = o.isel(chain=0, draw=0, level=0, drop=True)
    return {str(name): {dim: x[dim].values.tolist() for dim in x.dims} for name, x in free.items()}


def _shapes(o: xr.Dataset) -> str:
    return ", ".join(f"{name} {tuple(map(len, labels.values()))}" for name, labels in _places(o).items())


def _end(o: xr.Dataset, noise: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Mean and variance of x, from the lowest level of a path: what is known of p0 where there are no draws of it."""
    lowest = int(o["level"].min())
    low, at = o.sel(level=lowest, drop=True), noise.sel(level=lowest, drop=True)
    variance = (low.var(SAMPLE) - at["sigma"] ** 2) / at["alpha"] ** 2
    # Finer than the first level's noise nothing is told apart; and a spread of 0 could not be drawn.
    first = noise.isel(level=1)
    return low.mean(SAMPLE) / at["alpha"], variance.clip(min=float(first["sigma"] / first["alpha"]) ** 2)


def levels_to_show(chain: Chain, levels: int | Sequence[int]) -> list[int]:
    """The levels that were asked for, of those in the path."""
    known = chain.levels
    if isinstance(levels, int | np.integer):
        return [known[i] for i in even(len(known), int(levels))]
    who = _quoted(chain.label)
    if isinstance(levels, str) or not np.iterable(levels):
        raise TypeError(f"levels is {levels!r}. Write how many, or a list of levels. {who} has {panels.some(known)}.")
    for level in levels:
        if level not in known:
            raise ValueError(f"{who} has no level {level!r} in its path. It has {panels.some(known)}.")
    if len(levels) == 0:
        raise ValueError("levels is empty. Name some, or say how many.")
    return [int(level) for level in levels]


def plane(numbers: Sequence[Number]) -> list[tuple[float, float]]:
    """Limits of both axes: for two numbers of one variable of the same length, so that a circle is one."""
    ends = [number.view for number in numbers]
    if numbers[0].name == numbers[1].name:
        half = max(high - low for low, high in ends) / 2
        ends = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ends]
    return ends


def scale_of(rescale: bool) -> str:
    """What the axis of the drawn values is."""
    return "o_k at the spread of p0" if rescale else "o_k"


def _smooth(x: np.ndarray, shift: float, slope: float, noise: float, view: tuple[float, float]) -> np.ndarray:
    """Density of shift + slope x + noise z, z ~ N(0, 1), within a panel: a kernel estimate, which noise only widens."""
    points = 200  # there are up to 9 densities in a panel
    at = np.linspace(*view, points)
    known = x[np.isfinite(x)]
    if not known.size:
        return np.stack([at, np.zeros(points)])
    width = 0.0
    if np.ptp(known) > 1e-12 * np.abs(known).max():
        width = float(array_stats.kde(known, bw="isj")[2])
    # No narrower than the points: between them, particles that all are at one place would not be seen.
    sd = max(np.hypot(noise, slope * width), at[1] - at[0])
    share, edges = np.histogram(known, bins=4 * points)
    center = shift + slope * (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((at[:, None] - center) / sd) ** 2)
    return np.stack([at, kernel @ (share / share.sum()) / (sd * np.sqrt(2 * np.pi))])
