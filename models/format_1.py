"""Rewrite a run that was saved in format 1, so that it can be read.

    python models/format_1.py run.zarr              # in its place, as soon as all of it is written
    python models/format_1.py run.zarr new.zarr     # beside it, here or as a .nc

What the step was is moved: o from `observed_data` to `step/o`, alpha and sigma from `constant_data` to `step`. What is
left in `observed_data` is the model's own. No number changes. MAPs and draws of steps get the verdict that they have by
now. That of other runs rests on numbers that format 1 did not keep: they say that they hold none, and are to be run
again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from bayesdiff import results
from bayesdiff.foreign import check_arrays, held_in, read_layout
from bayesdiff.verdict import of_climbs, of_draws_by_observation

INVERSIONS = {"map": "unconstrained_posterior", "posterior": "unconstrained_posterior"}
JUDGED = ("sample_stats", "unconstrained_posterior", "diagnostics", "modes")
INVERSIONS["calibration"] = "unconstrained_truth"  # where the free variables are that o was of


def read(path: Path) -> xr.DataTree:
    """Read a run of format 1, its arrays when they are used. What is no such run is a ValueError."""
    if not path.exists():
        raise ValueError(f"there is no run at {path}")
    held, stamps = held_in(path), results._root_attrs(path)
    found = stamps.get("bayesdiff_format")
    if found != 1:
        raise ValueError(f"{path} is no run of format 1: its format is {found!r}, so there is nothing to rewrite")
    layout = read_layout(stamps.get("bayesdiff_layout"))
    check_arrays(path, held, layout)
    # Times and the like were left to xarray then, so it decodes what it has encoded.
    if path.is_dir():
        raw = xr.open_datatree(path.absolute(), engine="zarr", zarr_format=3, consolidated=False, chunks=None)
    else:
        raw = xr.open_datatree(path, engine="h5netcdf")
    return results._restore(raw, layout)


def moved(run: xr.DataTree) -> xr.DataTree:
    """The same run, and those inside it, with what a step was in a group of its own."""
    groups = {node.path.strip("/"): node.to_dataset(inherit=False) for node in run.subtree}
    for path, part in list(groups.items()):
        free = INVERSIONS.get(str(part.attrs.get("inversion")))
        if free is None:
            continue
        inside = f"{path}/" if path else ""
        names = list(groups[f"{inside}{free}"].data_vars)
        observed = groups.pop(f"{inside}observed_data")
        if f"{inside}constant_data" in groups:
            noise = groups.pop(f"{inside}constant_data")
        else:  # a calibrated chain: the step to its last level
            noise = groups[f"{inside}schedule"].isel(level=-1, drop=True)
        groups[f"{inside}step"], groups[f"{inside}step/o"] = noise[["alpha", "sigma"]], observed[names]
        if str(part.attrs["inversion"]) in ("map", "posterior"):
            groups[f"{inside}verdict"] = judged(
                {name: groups[f"{inside}{name}"] for name in JUDGED if f"{inside}{name}" in groups}
            )
        if own := [name for name in observed.data_vars if name not in names]:
            groups[f"{inside}observed_data"] = observed[own]
        if isinstance(call := part.attrs.get("call"), dict):  # the call that a store belongs to
            part.attrs["call"] = call | {"format": results.FORMAT}
    return xr.DataTree.from_dict({path or "/": ds for path, ds in groups.items()})


def judged(groups: dict[str, xr.Dataset]) -> xr.Dataset:
    """The verdict on the MAP or the draws of each observation of a step."""
    stats, x = groups["sample_stats"], groups["unconstrained_posterior"]
    batched, size = "observation" in x.dims, x.sizes.get("observation", 1)

    def rows(values: xr.DataArray) -> np.ndarray:
        values = values.transpose("observation", "chain", "draw", ..., missing_dims="ignore")
        return values.values.reshape(size, -1)

    good = np.concatenate([np.isfinite(rows(values)) for values in x.values()], axis=1).all(axis=1)
    if "diagnostics" in groups:
        told = groups["diagnostics"].transpose("observation", ..., missing_dims="ignore").values()
        r_hat, ess = (
            np.concatenate([rows(values.sel(diagnostic=which)) for values in told], axis=1)
            for which in ("r_hat", "ess_bulk")
        )
        diverging = rows(stats["diverging"]).reshape(size, x.sizes["chain"], x.sizes["draw"]).astype(float)
        group = of_draws_by_observation(r_hat, ess, diverging, good, np.ones(size, bool), np.zeros(size))
    else:
        converged, agreed = rows(stats["converged"])[:, 0].astype(bool), rows(stats["starts_agreed"])[:, 0]
        modes, nowhere = np.isfinite(rows(groups["modes"]["lp"])).sum(axis=1), np.zeros(size, bool)
        group = of_climbs(good, ~nowhere, converged, nowhere, agreed, modes, cut_short=False)
    return group if batched else group.isel(observation=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite what the command line names."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of format 1, .zarr or .nc")
    parser.add_argument("new", type=Path, nargs="?", help="where to write; in its place unless given")
    asked = parser.parse_args(argv)
    try:
        run = read(asked.run)
        with run:
            place = results.save(moved(run), asked.new or asked.run, overwrite=asked.new is None)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{place} has format {results.FORMAT}")


if __name__ == "__main__":
    main()
