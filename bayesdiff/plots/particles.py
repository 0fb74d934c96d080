"""The particles of chains as they are drawn: read from runs, checked, and put at one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_base.labels import BaseLabeller
from arviz_stats.base import array_stats

from bayesdiff.checks import flag
from bayesdiff.plots.panels import at_labels, check_coords, names_of, per_number, some, view_of

# Okabe and Ito's colours, as in `step`.
PARTICLE, ALL, PRIOR = "#0072B2", "#56B4E9", "#333333"
SAMPLE = ("chain", "draw")
CURVE = ["plot_axis", "point"]
SPREAD = "o_k at the spread of p0"


@dataclass(frozen=True)
class Number:
    """One number of x: a variable, and the place in it."""

    name: str
    at: Mapping[Any, int]
    label: str

    def of(self, ds: xr.Dataset) -> xr.DataArray:
        """Take it from a dataset."""
        return ds[self.name].isel(self.at, drop=True)


@dataclass(frozen=True)
class Chain:
    """A run as it is drawn: ``y`` (particle, level, ...), and the law of p0 at the same scale.

    Drawn values are y_k = shift_k + scale_k o_k; o_k = alpha_k x + sigma_k noise.
    """

    label: str
    last: int  # K
    levels: list[int]  # those in the path, K first
    y: xr.Dataset
    p0: xr.Dataset | None
    shift: xr.Dataset
    scale: xr.Dataset
    alpha: xr.DataArray
    sigma: xr.DataArray

    def say(self, level: int) -> str:
        """Name a level, with its noise."""
        if level == 0:
            return "level 0\nx"
        ratio = self.sigma.sel(level=level).item() / abs(self.alpha.sel(level=level).item())
        return f"level {level}\nsigma / alpha {ratio:.2g}"

    def points(self, numbers: Sequence[Number], particles: int) -> tuple[np.ndarray, np.ndarray]:
        """Some particles (level, number, particle), and as many draws of p0 (number, particle)."""
        y = np.stack([n.of(self.y).transpose("level", "particle").values for n in numbers], axis=1)
        p0 = np.zeros((len(numbers), 0))
        if self.p0 is not None:
            p0 = np.stack([n.of(self.p0).values for n in numbers])
        return y[:, :, even(y.shape[2], particles)], p0[:, even(p0.shape[1], particles)]

    def prior_density(self, name: Any, level: int, view: xr.DataArray) -> xr.DataArray:
        """Density of p0, diffused to a level: (..., plot_axis, point)."""
        p0 = self.y[name].isel(level=0, particle=slice(0, 0), drop=True).rename(particle="prior_draw")
        p0 = p0 if self.p0 is None else self.p0[name]
        scale, shift = (ds[name].sel(level=level, drop=True) for ds in (self.scale, self.shift))
        slope, noise = (scale * factor.sel(level=level, drop=True) for factor in (self.alpha, self.sigma))
        core: list[list[str]] = [["prior_draw"], [], [], [], ["side"]]
        return per_number(smooth, p0, shift, slope, noise, view, core=core, out=CURVE)


@dataclass(frozen=True)
class Run:
    """What was chosen of a run: o_k (chain, draw, level, ...), draws of p0 (chain, draw, ...), and the schedule."""

    label: str
    o: xr.Dataset
    p0: xr.Dataset | None
    noise: xr.Dataset


def read(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    var_names: str | Sequence[str] | None,
    coords: Mapping[str, Any] | None,
) -> tuple[list[Run], list[Number]]:
    """Check the runs, and take the numbers of x that were asked for."""
    check_coords(coords)
    found: list[Run] = []
    for label, run in _by_label(runs).items():
        _check_run(run, quoted(label))
        o = _choose(run["path"].to_dataset(), coords, var_names)
        if found and not _same_numbers(found[0].o, o):
            first = found[0]
            raise ValueError(
                f"The runs {first.label!r} and {label!r} have different variables or labels: {_shapes(first.o)}, and "
                f"{_shapes(o)}. Draw them apart, or choose what both have in var_names= or coords=."
            )
        p0 = None
        if "unconstrained_prior" in run.children:
            p0 = _choose(run["unconstrained_prior"].to_dataset(), coords, [str(name) for name in o])
        found.append(Run(label, o, p0, run["schedule"].to_dataset()))
    return found, _numbers(found[0].o)


def drawn(runs: Sequence[Run], rescale: bool) -> list[Chain]:
    """Put the runs at the scale at which they are drawn."""
    flag(rescale, "rescale")
    moments = {run.label: (run.p0.mean(SAMPLE), run.p0.var(SAMPLE)) for run in runs if run.p0 is not None}
    others = next(iter(moments.values()), None) or _end(runs[0])
    chains = []
    for run in runs:
        alpha, sigma = run.noise["alpha"], run.noise["sigma"]
        mean, variance = moments.get(run.label, others)
        scale = (variance / (alpha**2 * variance + sigma**2)) ** 0.5 if rescale else 0 * alpha + xr.ones_like(variance)
        shift = mean * (1 - scale * alpha) if rescale else 0 * scale
        levels = np.sort(run.o["level"].values)[::-1]
        chains.append(
            Chain(
                label=run.label,
                last=int(alpha["level"].max()),
                levels=levels.tolist(),
                y=(shift + scale * run.o).sel(level=levels).stack(particle=SAMPLE, create_index=False),
                p0=None if run.p0 is None else run.p0.stack(prior_draw=SAMPLE, create_index=False),
                shift=shift,
                scale=scale,
                alpha=alpha,
                sigma=sigma,
            )
        )
    return chains


def _by_label(runs: Any) -> dict[str, Any]:
    """One run is without a label."""
    if isinstance(runs, xr.DataTree) or not isinstance(runs, Mapping):
        return {"": runs}
    if not runs:
        raise ValueError("There is no run to draw. Pass one, or a mapping {label: run}.")
    return {str(label): run for label, run in runs.items()}


def quoted(label: str) -> str:
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
    return at_labels(ds[names_of(var_names, ds)], coords, without=(*SAMPLE, "level"))


def _same_numbers(a: xr.Dataset, b: xr.Dataset) -> bool:
    one, two = (ds.isel(chain=0, draw=0, level=0, drop=True) for ds in (a, b))
    return set(one) == set(two) and all(one[n].dims == two[n].dims and _labels(one[n]) == _labels(two[n]) for n in one)


def _labels(x: xr.DataArray) -> list[list[Any]]:
    return [x[dim].values.tolist() for dim in x.dims]


def _shapes(ds: xr.Dataset) -> str:
    free = ds.isel(chain=0, draw=0, level=0, drop=True)
    return ", ".join(f"{name} {free[name].shape}" for name in free)


def _end(run: Run) -> tuple[xr.Dataset, xr.Dataset]:
    """Mean and variance of x, from the lowest level of a path: what is known of p0 where there are no draws of it."""
    lowest = int(run.o["level"].min())
    low, at = run.o.sel(level=lowest, drop=True), run.noise.sel(level=lowest, drop=True)
    variance = (low.var(SAMPLE) - at["sigma"] ** 2) / at["alpha"] ** 2
    # Finer than the first level's noise nothing is told apart; and a spread of 0 could not be drawn.
    first = run.noise.isel(level=1)
    return low.mean(SAMPLE) / at["alpha"], variance.clip(min=float(first["sigma"] / first["alpha"]) ** 2)


def _numbers(o: xr.Dataset) -> list[Number]:
    found = []
    for name, x in o.isel(chain=0, draw=0, level=0, drop=True).items():
        for index in np.ndindex(*x.shape):
            at = dict(zip(x.dims, index, strict=True))
            sel = {dim: x[dim].values[i] for dim, i in at.items()}
            found.append(Number(str(name), at, BaseLabeller().make_label_flat(str(name), sel, at)))
    return found


def chosen(numbers: Sequence[Number]) -> str:
    """The numbers that were chosen, where others are wanted."""
    return f"{len(numbers)} are chosen: {', '.join(n.label for n in numbers[:10])}. Name them in var_names= and coords="


def levels_to_show(run: Run, levels: int | Sequence[int]) -> list[int]:
    """The levels that were asked for, of those in the path."""
    known = np.sort(run.o["level"].values)[::-1].tolist()
    if isinstance(levels, int | np.integer):
        return spread(known, int(levels))
    if isinstance(levels, str) or not np.iterable(levels):
        raise TypeError(
            f"levels is {levels!r}. Write how many, or a list of levels. {quoted(run.label)} has {some(known)}."
        )
    for level in levels:
        if level not in known:
            raise ValueError(f"{quoted(run.label)} has no level {level!r} in its path. It has {some(known)}.")
    if len(levels) == 0:
        raise ValueError("levels is empty. Name some, or say how many.")
    return [int(level) for level in levels]


def check_whole(value: Any, name: str, least: int) -> None:
    """Refuse what is no whole number that is large enough."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}. Write a whole number >= {least}.")


def even(total: int, most: int) -> np.ndarray:
    """At most so many of a range, spread evenly over it."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(int))


def spread(levels: Sequence[int], count: int, repeat: bool = False) -> list[int]:
    """So many levels, spread evenly, the first and the last among them."""
    at = np.linspace(0, len(levels) - 1, count).round().astype(int)
    return [levels[i] for i in (at if repeat else np.unique(at))]


def common_view(chains: Sequence[Chain], name: Any) -> xr.DataArray:
    """Limits of the drawn values, the same for all chains: all levels and p0, but for the last thousandths."""
    parts = [chain.y[name].transpose(..., "particle", "level") for chain in chains]
    values = np.concatenate([part.values.reshape(*part.shape[:-2], -1) for part in parts], axis=-1)
    every = array(values, parts[0], ["number"])
    p0 = next((chain.p0[name] for chain in chains if chain.p0 is not None), None)
    if p0 is None:
        p0 = every.isel(number=slice(0, 0)).rename(number="prior_draw")
    return per_number(view_of, every, p0, core=[["number"], ["prior_draw"]], out=["side"], reach=np.inf)


def plane(chains: Sequence[Chain], numbers: Sequence[Number]) -> list[tuple[float, float]]:
    """Limits of both axes: for two numbers of one variable of the same length, so that a circle is one."""
    ends = []
    for number in numbers:
        view = common_view(chains, number.name).isel(number.at).values
        ends.append((float(view[0]), float(view[1])))
    if numbers[0].name == numbers[1].name:
        half = max(high - low for low, high in ends) / 2
        ends = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ends]
    return ends


def smooth(x: np.ndarray, shift: float, slope: float, noise: float, view: np.ndarray) -> np.ndarray:
    """Density of shift + slope x + noise z, z ~ N(0, 1), within a panel: a kernel estimate, which noise only widens."""
    points = 200  # there are up to 9 densities in a panel
    at = np.linspace(view[0], view[1], points)
    known = x[np.isfinite(x)]
    if not known.size:
        return np.stack([at, np.full(points, np.nan)])
    width = 0.0
    if np.ptp(known) > 1e-12 * np.abs(known).max():
        width = float(array_stats.kde(known, bw="isj")[2])
    # No narrower than the points: between them, particles that all are at one place would not be seen.
    sd = max(np.hypot(noise, slope * width), at[1] - at[0])
    share, edges = np.histogram(known, bins=4 * points)
    center = shift + slope * (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((at[:, None] - center) / sd) ** 2)
    return np.stack([at, kernel @ (share / share.sum()) / (sd * np.sqrt(2 * np.pi))])


def array(values: np.ndarray, like: xr.DataArray, last: Sequence[str]) -> xr.DataArray:
    """Label values by the components of `like` (..., particle, level), and what follows."""
    dims = like.dims[:-2]
    return xr.DataArray(values, dims=[*dims, *last], coords={dim: like[dim] for dim in dims})
