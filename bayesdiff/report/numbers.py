"""Numbers: what a report counts and chooses, from the tree alone, and the digits that a number is written with.

It judges nothing: what may be shown is what the run's verdict says. It knows no Markdown.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from bayesdiff.comparison import compare, holds
from bayesdiff.pictures import SAMPLE, even, is_picture
from bayesdiff.verdict import read, reason

MOST_MODES = 12  # so many modes are listed and drawn, the heaviest
MOST_PANELS = 8
Parts = Mapping[str, xr.DataTree]


def parts(run: xr.DataTree) -> dict[str, xr.DataTree]:
    """The inversions that a run holds by label: map and posterior of a step, one chain or several, one sample.

    Examples
    --------
    >>> list(parts(xr.DataTree.from_dict({"a": xr.Dataset(attrs={"inversion": "reverse"})})))
    ['a']
    """
    if "inversion" in run.attrs:
        return {str(run.attrs["inversion"]): run}
    found = {str(name): child.copy() for name, child in run.children.items() if "inversion" in child.attrs}
    for child in found.values():  # the command line says once, at the root, which file the model is from
        child.attrs = {name: run.attrs[name] for name in ("model",) if name in run.attrs} | child.attrs
    step = {str(child.attrs["inversion"]): child for child in found.values()}
    if len(step) < len(found) or step.keys() - {"map", "posterior"}:
        return found
    return {kind: step[kind] for kind in ("map", "posterior") if kind in step}


# --------------------------------------------------------------------------------------------------------------- digits


def rounded(value: float, error: float | None = None, digits: int = 3) -> str:
    """A number with the digits that its error allows; without an error, with so many significant ones."""
    if not np.isfinite(value):
        return "–"
    if error is None or not np.isfinite(error) or error <= 0:
        return "0" if value == 0 else f"{value:.{digits}g}" if 1e-4 <= abs(value) < 1e5 else f"{value:.{digits - 1}e}"
    places = -math.floor(math.log10(error))
    value = round(value, places) + 0.0  # + 0: there is no -0.00
    if value and (places > 8 or abs(value) >= 1e6):
        return f"{value:.{max(math.floor(math.log10(abs(value))) + places, 0)}e}"
    return f"{value:.{max(places, 0)}f}"


def with_error(value: float, error: float) -> str:
    """Such as 1.24 ± 0.03."""
    if not np.isfinite(error) or error <= 0:
        return rounded(value)
    return f"{rounded(value, error)} ± {rounded(error, error)}"


# ------------------------------------------------------------------------------------------------------------------ any


def stands(run: xr.DataTree) -> bool:
    """Whether the numbers of a whole run are shown, as its verdict says."""
    return bool(read(run).attrs["ok"])


def fine(parts: Parts) -> bool:
    """Whether the verdicts have nothing to object."""
    return all(read(part).attrs["code"] == "ok" for part in parts.values())


def components(values: xr.DataArray, leading: Sequence[str] = ()) -> Iterator[tuple[str, xr.DataArray]]:
    """Every number of a variable by its label, such as ``theta[school A]``: arrays of the ``leading`` dimensions."""
    dims = [dim for dim in values.dims if dim not in leading]
    for index in np.ndindex(*[values.sizes[dim] for dim in dims]):
        at = dict(zip(dims, index, strict=True))
        labels = ", ".join(str(values[dim].values[i]) for dim, i in at.items())
        yield f"{values.name}[{labels}]" if dims else str(values.name), values.isel(at)


def transformed(tree: xr.DataTree) -> list[str]:
    """Name the variables whose unconstrained coordinates, where the noise acts, are others than their values."""
    x, free = (tree[group].to_dataset() for group in ("posterior", "unconstrained_posterior"))
    return [str(name) for name in free.data_vars if not x[name].variable.equals(free[name].variable)]


def checksum(part: xr.DataTree, groups: Sequence[str]) -> str:
    """The first digits of a SHA-256 of these groups, by name, shape, type and bytes; nothing where there is none."""
    there = [group for group in groups if holds(part, group)]
    digest = hashlib.sha256()
    for group in there:
        for name, values in sorted(part[group].to_dataset().data_vars.items(), key=lambda item: str(item[0])):
            digest.update(f"{group}/{name}{values.shape}{values.dtype.str}".encode())
            digest.update(np.ascontiguousarray(values.values).tobytes())
    return digest.hexdigest()[:16] if there else ""


# ---------------------------------------------------------------------------------------------------------------- step


def observations(parts: Parts) -> int:
    """How many o a step was inverted for."""
    return int(next(iter(parts.values()))["posterior"].sizes.get("observation", 1))


def size_of_x(ds: xr.Dataset) -> int:
    """How many numbers one x has."""
    others = {*SAMPLE, "observation", "level", "fraction"}
    return sum(math.prod(size for dim, size in v.sizes.items() if dim not in others) for v in ds.values())


def few(parts: Parts, group: str = "posterior", most: int = 8) -> bool:
    """Whether x has so few numbers that each can have a picture."""
    return size_of_x(next(iter(parts.values()))[group].to_dataset()) <= most


def standing(*trees: xr.DataTree) -> np.ndarray:
    """Which observations can be trusted in all of these inversions: (observation,). None, where no verdict says so."""
    found = []
    for tree in trees:
        size, verdict = tree["posterior"].sizes.get("observation", 1), read(tree)
        found.append(verdict["ok"].values.reshape(size).astype(bool) if "ok" in verdict else np.zeros(size, bool))
    return np.logical_and.reduce(found)


def trusted_part(*trees: xr.DataTree) -> tuple[xr.DataTree, ...]:
    """Leave out the observations that cannot be trusted in all of these inversions of one batch.

    Parameters
    ----------
    *trees : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same step. One observation is given back as it is.

    Returns
    -------
    tuple of xarray.DataTree
    """
    rows = np.flatnonzero(standing(*trees))
    return tuple(tree.isel(observation=rows, missing_dims="ignore") for tree in trees)


def farthest_map(parts: Parts) -> tuple[float, str]:
    """How many posterior sd the MAP is from the mean at most, of all that stands, and of what; NaN if not known."""
    modes, draws = parts["map"], parts["posterior"]
    ok, found = standing(modes, draws), [(np.nan, "")]
    for name, values in compare(modes, draws).data_vars.items() if ok.any() else ():
        if name != "lp":
            offset = values.sel(summary="offset")
            offset = offset.isel(observation=ok) if "observation" in offset.dims else offset
            found += [(float(each), str(name)) for each in np.abs(offset.values.ravel()) if np.isfinite(each)]
    return max(found[1:], key=lambda each: each[0], default=found[0])


def spread_of_maps(parts: Parts) -> tuple[float, str]:
    """How wide the MAPs spread over a batch, in units of how one draw of each does, where that differs most from 1."""
    modes, draws = parts["map"], parts["posterior"]
    ok, found = standing(modes, draws), []
    # Of so many observations the spread is compared
    for name, values in draws["unconstrained_posterior"].to_dataset().items() if ok.sum() >= 20 else ():
        mode = modes["unconstrained_posterior"].to_dataset()[name]
        sd = [each.isel(chain=0, draw=-1, observation=ok).std("observation", ddof=1) for each in (mode, values)]
        found += [(float(r), str(name)) for r in (sd[0] / sd[1]).values.ravel() if np.isfinite(r) and r > 0]
    return max(found, key=lambda each: abs(np.log(each[0])), default=(np.nan, ""))


def one_step(parts: Parts) -> dict[str, Any]:
    """Which observation and which variables one picture can show, as `plot_step` is asked for them."""
    draws, modes, ok = parts["posterior"], parts.get("map"), standing(*parts.values())
    batch = "observation" in draws["posterior"].dims
    asked: dict[str, Any] = {}
    if batch:
        asked["observation"] = draws["posterior"].to_dataset()["observation"].values[int(np.argmax(ok))]
    names = [str(name) for name in draws["posterior"].data_vars]
    if modes is not None:
        beside = compare(modes, draws)
        beside = beside.isel(observation=int(np.argmax(ok))) if batch else beside
        mode, mean, sd = (beside.sel(summary=each) for each in ("mode", "mean", "sd"))
        # A MAP so many posterior sd off would squeeze its posterior to a line
        names = [name for name in names if not (abs(mode[name] - mean[name]) / sd[name] > 20).any()]
    return asked | {"var_names": names}


def together(parts: Parts) -> bool:
    """Whether the MAPs of a batch can be compared with its draws."""
    return len(parts) == 2 and int(standing(*parts.values()).sum()) > 1


# --------------------------------------------------------------------------------------------------------------- chain


def why_not_made(run: xr.DataTree, check: str) -> str:
    """In a word why a check of a chain was not made; ``ok`` or ``failed`` where it was; nothing if none says."""
    verdict = read(run)
    if "check" not in verdict.coords or check not in verdict["check"].values:
        return ""
    return str(verdict["check_code"].sel(check=check).values)


def finished(run: xr.DataTree) -> bool:
    """Whether a chain came to x."""
    return bool(run.attrs.get("finished", 1)) and "posterior" in run.children


def particles(run: xr.DataTree) -> tuple[int, int]:
    """How many particles were sent, and how many are left."""
    verdict = read(run)
    sent, arrived = (int(verdict[name]) if name in verdict else 0 for name in ("trajectories", "arrived"))
    if sent:
        return sent, arrived
    done = finished(run)
    sizes: Mapping[Any, Any] = run["posterior"].sizes if done else run.attrs
    sent = math.prod(int(sizes.get(name, 0)) for name in (SAMPLE if done else ("chains", "draws")))
    return sent, sent


def of_pictures(runs: Parts) -> bool:
    """Whether what chains brought from noise is one picture each."""
    groups = [run["posterior"].to_dataset() for run in runs.values() if finished(run)]
    return len(groups) == len(runs) and all(
        len(ds.data_vars) == 1 and is_picture(next(iter(ds.data_vars.values()))) for ds in groups
    )


def with_path(runs: Parts) -> bool:
    """Whether chains kept more of their way than one level."""
    return all("path" in run.children and run["path"].sizes.get("level", 0) > 1 for run in runs.values())


def shown(runs: Parts) -> dict[str, xr.DataTree]:
    """The chains whose particles may be shown."""
    return {name: run for name, run in runs.items() if stands(run)}


def spread_beside_p0(run: xr.DataTree) -> float:
    """The sd of x in units of that of draws of p0, where it differs most from 1, of what may be shown; or NaN."""
    if "prior" not in run.children or not (stands(run) and finished(run)) or why_not_made(run, "prior") == "given":
        return np.nan
    prior = run["prior"].to_dataset()
    ratios = [
        float(values.std() / prior[name].std())
        for name, values in run["posterior"].to_dataset().items()
        if name in prior and prior[name].size and float(prior[name].std()) > 0 and values.sizes.keys() <= {*SAMPLE}
    ]
    return max(ratios, key=lambda ratio: abs(np.log(max(ratio, 1e-300))), default=np.nan)


# -------------------------------------------------------------------------------------------------------------- sample


def agreement_of(values: np.ndarray) -> tuple[float, float]:
    """R-hat and bulk effective draws of one number (chain, draw), as ArviZ computes them; NaN where no chain moves."""
    if not (values.std(axis=1) > 0).any():  # ArviZ takes what never moved for independent draws
        return np.nan, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = array_stats.rhat(values, chain_axis=0, draw_axis=1)
    return float(r_hat), float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="bulk"))


def why_no_evidence(run: xr.DataTree) -> str:
    """Why the log evidence is withheld, in a few words; nothing where it is shown."""
    verdict = read(run)
    if "evidence_ok" in verdict and bool(verdict["evidence_ok"]):
        return ""
    return reason(verdict, code=str(verdict["evidence_code"].values) if "evidence_code" in verdict else None)


def mode_of(run: xr.DataTree) -> np.ndarray:
    """At which mode each draw is (chain, draw): all at the first where none was found."""
    stats = run["sample_stats"].to_dataset()
    values = stats["mode"] if "mode" in stats else stats["lp"] * 0
    return np.asarray(values.transpose(*SAMPLE).values).astype(int)


def shares_of(run: xr.DataTree) -> np.ndarray:
    """The share of each chain's draws that is at each mode (chain, mode)."""
    at = mode_of(run)
    return np.stack([(at == k).mean(axis=1) for k in range(run["modes"].sizes["mode"])], axis=1)


def highest_modes(run: xr.DataTree) -> np.ndarray:
    """Which of the modes found are the highest, in unconstrained coordinates: several where they are equally high."""
    lp = run["modes"].to_dataset()["lp"].values
    # Climbs end a little below a mode
    return np.flatnonzero(lp > lp.max() - 1e-3) if lp.size else np.zeros(0, int)


def highest_mode(run: xr.DataTree) -> int | None:
    """Which of the modes found is the MAP: the heaviest of those that are equally high."""
    return next(iter(map(int, highest_modes(run))), None)


def numbers_of(run: xr.DataTree) -> list[tuple[str, xr.DataArray, float]]:
    """Every number of the posterior: its label, its draws (chain, draw), and its value at the highest mode, or NaN."""
    found, highest = [], highest_mode(run)
    for name, values in run["posterior"].to_dataset().items():
        at = run["modes"].to_dataset()[name] if highest is not None else None
        modes = [float(one) for _, one in components(at.isel(mode=highest))] if at is not None else []
        for i, (label, draws) in enumerate(components(values, SAMPLE)):
            found.append((label, draws, modes[i] if modes else np.nan))
    return found


def farthest_highest(run: xr.DataTree) -> tuple[float, str]:
    """How many posterior sd the highest mode is from the mean at most, and of what; NaN if not known."""
    off = [
        (abs(mode - float(draws.mean())) / float(draws.std()), label)
        for label, draws, mode in numbers_of(run)
        if float(draws.std()) > 0 and np.isfinite(mode)
    ]
    return max(off, default=(np.nan, ""))


def view_of(draws: np.ndarray, mode: float) -> tuple[float, float]:
    """What of one number to draw: nearly all draws, and the mode where it is not far from them."""
    low, high = np.quantile(draws, [0.002, 0.998])
    reach = high - low
    if low - reach < mode < high + reach:
        low, high = min(low, mode), max(high, mode)
    pad = 0.04 * (high - low) or 0.5
    return float(low - pad), float(high + pad)


def outside(run: xr.DataTree) -> list[str]:
    """Of which numbers the highest mode lies outside of the picture."""
    found = []
    for label, draws, mode in numbers_of(run) if highest_mode(run) is not None else ():
        low, high = view_of(draws.values, mode)
        found += [] if low <= mode <= high else [label]
    return found


def chosen(names: Sequence[str], most: int) -> list[int]:
    """At most so many of numbers, given by the names of their variables: one of each variable before a second of any.

    Examples
    --------
    >>> chosen(["mu", "tau", "z", "z", "z", "z"], 4)
    [0, 1, 2, 5]
    """
    firsts = [k for k, name in enumerate(names) if name not in names[:k]]
    others = [k for k in range(len(names)) if k not in firsts][::-1]
    kept = firsts[:most]
    kept += [others[k] for k in even(len(others), most - len(kept))] if others and len(kept) < most else []
    return sorted(kept)
