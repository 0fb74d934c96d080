"""What is there of a chain that was stopped: its finished levels, as a result that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.foreign import held_in
from bayesdiff.results import dataset, levels_folder, tree
from bayesdiff.verdict import of_chain


def unfinished(path: Path) -> xr.DataTree | None:
    """Read the levels that a chain had finished when it was stopped; None where there are none.

    Groups ``path`` (o_k, unconstrained), ``level_stats`` and ``schedule``, as in the result; the attribute ``finished``
    is 0.
    """
    folder = levels_folder(path)
    if not (folder / "call.json").exists():
        return None
    try:
        held_in(folder)
        call = json.loads((folder / "call.json").read_text(encoding="utf-8"))
        if call["function"] != "reverse":  # others' parts say nothing alone
            return None
        files = {int(file.stem): file for file in sorted(folder.glob("*.npz"))}
        o, stats = {}, {}
        for level, file in files.items():
            with np.load(file) as arrays:
                o[level] = arrays["o"].reshape(call["chains"], call["draws"], -1)
                stats[level + 1] = {
                    key.removeprefix("stats/"): arrays[key] for key in arrays if key.startswith("stats/")
                }
        groups = {}
        noise = {name: np.asarray(call[name]) for name in ("alpha", "sigma")}
        groups["schedule"] = dataset(noise, dims={name: ["level"] for name in noise})
        if o:
            flat, at, values = np.stack([o[level] for level in sorted(o)], axis=2), 0, {}
            for name, shape in call["variables"].items():
                size = int(np.prod(shape, dtype=int))
                values[name] = flat[..., at : at + size].reshape(*flat.shape[:3], *shape)
                at += size
            dims = {name: ["level"] for name in values}
            sample = ("chain", "draw")
            groups["path"] = dataset(values, sample_dims=sample, dims=dims, coords={"level": sorted(o)})
            names = sorted(set.intersection(*[set(row) for row in stats.values()]))
            by_level = {name: np.stack([stats[level][name] for level in sorted(stats)]) for name in names}
            dims = {name: ["level"] for name in by_level}
            groups["level_stats"] = dataset(by_level, dims=dims, coords={"level": sorted(stats)})
        groups["verdict"] = _of_stopped(call, o, stats)
    except Exception as error:  # the archives raise whatever they like on bytes that were changed
        raise ValueError(f"{folder} is damaged: {error}. Remove it to begin anew.") from error
    form = "next level" if call["next_level"] else "clean"
    about = {"inversion": "reverse", "finished": 0, "form": form, "inverter": call["invert"], "seed": call["seed"]}
    about |= {"draws": call["draws"], "chains": call["chains"], "carries": call.get("carries", "")}
    return tree(groups, {**about, "created_at": ""})


def _of_stopped(
    call: Mapping[str, Any], o: Mapping[int, np.ndarray], stats: Mapping[int, Mapping[str, np.ndarray]]
) -> xr.Dataset:
    """The verdict on what a chain had finished."""
    levels = sorted(stats)
    p_values, lost = (
        np.array([float(stats[level].get(name, missing)) for level in levels])
        for name, missing in (("lineages_p_value", np.nan), ("lost", 0))
    )
    x = o[min(o)].reshape(call["draws"] * call["chains"], -1) if o else np.zeros((0, 1))
    about = {"carries": call.get("carries", ""), "searches": call.get("searches", True)}
    return of_chain(x, levels=levels, p_values=p_values, lost=lost, **about, finished=False)
