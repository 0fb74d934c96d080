"""What is printed of a run."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesdiff.cli.refusals import refusals

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

MOST_ROWS = 20
WIDTH = 100  # of what is written to a file or a pipe


def console() -> Any:
    """Rich's console, of a fixed width where nobody looks."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=WIDTH)


def show(trees: Mapping[str, xr.DataTree]) -> None:
    """Print a run: MAP beside posterior, or what there is of it."""
    if len(trees) == 2:
        from bayesdiff.comparison import SUMMARY, compare

        with refusals():
            ds = compare(trees["map"], trees["posterior"])
        columns, last, total = list(SUMMARY), "summary", _count_of(ds, "summary")
        title = "MAP beside posterior (offset and laplace_ratio in unconstrained coordinates)"
    elif "map" in trees:
        ds = trees["map"]["modes"].to_dataset()
        ds = ds[["lp", "starts", *(name for name in ds.data_vars if name not in ("lp", "starts"))]]
        columns, last = [f"mode {i + 1}" for i in range(ds.sizes["mode"])], "mode"
        total = _count_of(ds, "mode")
        title = "Modes, best first: log density, starts that ended there, and x"
    else:
        draws = trees["posterior"]["posterior"].to_dataset()
        ds, columns = _summary(draws)
        last, total, title = "summary", _count_of(draws, "chain", "draw"), "Posterior"
    rows = list(itertools.islice(_rows(ds, last), MOST_ROWS))
    print(f"\n{title}\n")
    print_table([row for _, row in rows], [label for label, _ in rows], columns, float_format="{:.4g}".format)
    if total > len(rows):
        print(f"... and {total - len(rows):,} rows more, in the saved run")


def _count_of(ds: xr.Dataset, *without: str) -> int:
    """How many numbers there are, not counting along some dimensions."""
    return sum(values.isel(dict.fromkeys(without, 0)).size for values in ds.values())


def _summary(draws: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """ArviZ's summary, of the first observations if there are many."""
    import arviz as az

    if "observation" in draws.dims:
        draws = draws.isel(observation=slice(MOST_ROWS))
    ds = az.summary(draws, fmt="xarray", round_to="none")
    keep = [name for name in ds["summary"].values.tolist() if name not in ("ess_tail", "mcse_sd")]
    return ds.sel(summary=keep), keep


def _rows(ds: xr.Dataset, last: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each number's label and what is told of it, along the dimension `last`; observation by observation."""
    import numpy as np

    batch = ds.sizes.get("observation")
    for observation in range(1 if batch is None else batch):
        at = ds if batch is None else ds.isel(observation=observation)
        said = "" if batch is None else f" at observation {observation}"
        for name, values in at.items():
            dims = [dim for dim in values.dims if dim != last]
            told = values.transpose(*dims, last)
            for index in np.ndindex(told.shape[:-1]):
                labels = [str(told[dim].values[i]) for dim, i in zip(dims, index, strict=True)]
                yield (f"{name}[{', '.join(labels)}]" if labels else str(name)) + said, told.values[index]


def print_table(rows: Any, labels: Sequence[str] | None, columns: Sequence[str], **formats: Any) -> None:
    """Print rows of numbers."""
    import pandas as pd

    width = shutil.get_terminal_size((WIDTH, 0)).columns
    print(pd.DataFrame(rows, labels, columns).to_string(na_rep="", line_width=width, **formats), end="\n\n")


def show_sample(run: xr.DataTree) -> None:
    """Print the modes of a posterior, heaviest first, its evidence, and what they cost."""
    import numpy as np

    modes, found = run["modes"].to_dataset(), run["log_evidence"]
    if modes.sizes["mode"]:
        rows = np.stack([modes[name].values[:MOST_ROWS] for name in ("weight", "weight_se", "lp")], axis=1)
        formats = ["{:.4f}".format, "{:.4f}".format, "{:.2f}".format]
        print("\nModes, heaviest first: weight, its standard error, and log density\n")
        print_table(rows, None, ["weight", "+-", "log p"], formatters=formats)
        if modes.sizes["mode"] > MOST_ROWS:
            print(f"... and {modes.sizes['mode'] - MOST_ROWS:,} modes more, in the saved run")
    else:
        print("\nNo mode was found.")
    value, se = found["log_evidence"].item(), found["log_evidence_se"].item()
    said = f"{value:.3f} +- {se:.3f}" if value == value else "withheld, see the warning"
    print(f"log evidence  {said}")
    print(f"evaluations   {run['tempering']['evaluations'].item():,.0f} of log p and its gradient")
    print(f"seconds       {run.attrs['sampling_time']:.1f}")
