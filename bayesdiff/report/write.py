"""Write a report: the document of a run's kind, with the run laid beside it, becomes a page.

    what is a run of ours -> step, chain, sample or calibration.qmd, read through once -> .qmd, or rendered .html

The documents hold the words, and their cells read the run. Nothing of a run stands in a document but its file's name.
Nothing here samples.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import reprlib
import tempfile
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import xarray as xr

from bayesdiff.checks import flag, path_like
from bayesdiff.comparison import holds
from bayesdiff.foreign import told
from bayesdiff.pictures import SAMPLE
from bayesdiff.report import numbers
from bayesdiff.report.document import Inline, ReportError, blocks, inline
from bayesdiff.report.files import check_place, write_whole
from bayesdiff.report.render import render
from bayesdiff.report.show import escaped
from bayesdiff.results import levels_folder, load, save
from bayesdiff.stopped import unfinished

LOADED = 'bd.load("run.zarr")'  # as every document says it
# What a report reads of a run, by its kind.
NEEDED: dict[str, dict[str, list[str]]] = {
    "map": {
        "posterior": [], "unconstrained_posterior": [], "laplace": [],
        "step": ["alpha", "sigma"], "step/o": [], "sample_stats": ["starts", "starts_agreed", "lp"],
    },
    "posterior": {
        "posterior": [], "unconstrained_posterior": [],
        "step": ["alpha", "sigma"], "step/o": [], "sample_stats": ["lp"],
    },
    "reverse": {"schedule": ["alpha", "sigma"]},
    "calibration": {
        "ranks": [], "ecdf": [], "band": ["lower", "upper"], "diagnostics": [], "coverage": [],
        "step": ["alpha", "sigma"],
    },
    "sample": {
        "posterior": [], "unconstrained_posterior": [], "sample_stats": ["lp"], "diagnostics": [],
        "log_evidence": ["log_evidence", "log_evidence_se", "by_chain", "upwards", "downwards"],
        "modes": ["lp", "weight", "weight_se", "starts", "chains_found"], "mixture": ["weight"],
        "tempering": ["beta", "rejection", "pareto_k", "acceptance", "arrivals", "evaluations"],
    },
}  # fmt: skip
# What it reads of the run's verdict, where there is one: without one, nothing stands.
VERDICT = {
    "map": ["ok"], "posterior": ["ok", "r_hat", "ess", "diverging"], "reverse": ["trajectories", "arrived"],
    "sample": ["r_hat", "ess", "arrivals", "pareto_k", "pareto_ok", "evidence_ok"], "calibration": ["replicates"],
}  # fmt: skip


def write_report(
    run: xr.DataTree | Mapping[str, xr.DataTree] | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report of a run: what the model is, what came out of it, and whether to trust that.

    Parameters
    ----------
    run : DataTree, mapping of str to DataTree, or path
        What ``find_map``, ``sample_posterior``, ``reverse``, ``sample``, ``calibrate`` or ``calibrate_chain`` returned;
        both inversions of one step, as ``{"map": modes, "posterior": draws}``; several chains by label, as
        ``{"draws": run, "modes": other}``; or where such a run was saved. A chain of ``reverse`` that was stopped is
        reported as such, as far as it came.
    path : path
        Ends in ``.html``: a page in one file, which needs no network. It replaces an older one. Made by Quarto where
        that is installed, else by the route built in, which needs ``pip install "bayesdiff[report]"``. Or ends in
        ``.qmd``: the document that the page is made of, the same for every run of its kind, for Quarto or for changes
        of yours, with a run that was not saved yet beside it.
    title : str, optional
        The title.
    overwrite : bool
        Replace what is there even if it is not a page of ours: somebody may have written it, or changed a ``.qmd``.

    Returns
    -------
    pathlib.Path
        Where the report was written.

    Raises
    ------
    TypeError, ValueError
        If `run` is no run of ours, is damaged (it lacks what a report reads) or was saved by a newer version, if it is
        several chains of different schedules, forms or variables, if `title` is empty, or `path` ends otherwise.
    FileNotFoundError, FileExistsError
        If there is no run at that path; if another file than a page of ours, or the run beside it, is there already.
    ImportError
        If neither Quarto nor the extra is installed.
    OSError
        If the report cannot be written there.
    ReportError
        If the page cannot be made. Nothing is left there then.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x = dataset({"x": np.random.default_rng(1).normal(size=(4, 50))}, sample_dims=("chain", "draw"))
    >>> levels = dataset({"alpha": [1.0, 1.0], "sigma": [0.0, 9.0]}, dims={"alpha": ["level"], "sigma": ["level"]})
    >>> run = tree({"posterior": x, "schedule": levels}, {"inversion": "reverse"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(run, f"{folder}/report.qmd").read_text().splitlines()[1]
    'title: "From noise to x, by small steps"'
    """
    path = path_like(path, "path", "report.html")
    if path.suffix not in (".html", ".qmd"):
        raise ValueError(f"{path} must end in .html (a page) or in .qmd (its source).")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title is {title!r}; write a text, or None")
    if title is not None and (not title.strip() or any("\ud800" <= c <= "\udfff" for c in title)):
        raise ValueError(f"title is {title!r}; write letters that can be shown, or None for the document's own")
    flag(overwrite, "overwrite")
    saved = path_like(run, "run", "run.zarr") if isinstance(run, str | os.PathLike) else None
    given, who = (_load(saved), str(saved)) if saved is not None else (run, "run")
    parts = _parts(given, who)
    check_place(path, overwrite)
    document = _document(parts, title, who)
    if saved is not None and not saved.exists():  # of a chain that was stopped there are levels alone
        saved = None
    if path.suffix == ".qmd":
        where = saved or path.with_name(f"{path.stem}-run.zarr")
        if saved is None:
            save(_joined(parts), where, overwrite=overwrite)
        beside = os.path.relpath(where, path.parent)
        write_whole(path, document.replace(LOADED, f"bd.load({literal(beside)})"))
        return path
    with tempfile.TemporaryDirectory(prefix="bayesdiff-run-") as folder:
        # Beside its source, so that the page shows no path of this machine; under a name of ours, which is no module's.
        name = f"run{saved.suffix if saved else '.zarr'}"
        if saved is None:
            save(_joined(parts), Path(folder, name))
        else:
            Path(folder, name).symlink_to(saved.resolve())
        source = Path(folder, f"{path.stem}.qmd")
        source.write_text(document.replace(LOADED, f"bd.load({literal(name)})"), encoding="utf-8")
        return render(source, path, overwrite=overwrite, folder_on_path=False)


# ------------------------------------------------------------------------------------------------------- the document


def literal(text: Any) -> str:
    r"""Text as a literal that Python and YAML read alike, of letters, digits and a few harmless signs.

    Quarto expands {{< ... >}} anywhere in a source, and `{python} ...` in its text.

    Examples
    --------
    >>> print(literal("a{b"))
    "a\x7bb"
    """
    # What a literal may hold beside letters and digits
    told = (
        c if c.isalnum() or c in " ._-+=,/" else f"\\U{ord(c):08x}" if ord(c) > 255 else f"\\x{ord(c):02x}"
        for c in str(text)
    )
    return f'"{"".join(told)}"'


def _document(parts: Mapping[str, xr.DataTree], title: str | None, who: str) -> str:
    """The document of this kind, with its title and its date, once it was read through with this run."""
    kind = str(next(iter(parts.values())).attrs["inversion"])
    name = {"reverse": "chain", "map": "step", "posterior": "step"}.get(kind, kind)
    text = importlib.resources.files(__package__).joinpath(f"{name}.qmd").read_text("utf-8")
    try:
        _read_through(text, name, _joined(parts))
        created = str(next(iter(parts.values())).attrs.get("created_at", ""))
    except Exception as error:  # a number of another shape, a label that is none: whatever somebody else may have saved
        raise _no_run(who, error) from error
    if title is not None:
        text = re.sub("^title: .*$", lambda _: f"title: {literal(escaped(title))}", text, count=1, flags=re.MULTILINE)
    if created:  # what is no day is text of somebody's, and not shown
        day = re.match(r"\d{4}-\d\d-\d\d", created)
        text = text.replace("\nlang: en\n", f"\nlang: en\ndate: {day[0] if day else 'undated'}\n", 1)
    return text


def _read_through(text: str, name: str, run: xr.DataTree) -> None:
    """Read all that a document of ours tells of a run, so that what is wrong is said now. Nothing is drawn."""
    names: dict[str, Any] = {"given": run}
    lines = text.replace(LOADED, "given").split("---\n", 2)[2].split("\n")
    for line, language, block in blocks(lines, 1, Path(f"{name}.qmd")):
        if language:
            exec("\n".join(block[1:-1]), names)
        elif language is None:
            for each in inline("\n".join(block), line):
                if isinstance(each, Inline):
                    eval(each.code, names)


# -------------------------------------------------------------------------------------------------- what a run must be


def _load(path: Path) -> xr.DataTree:
    """The run that was saved there, or the levels that a chain has finished."""
    if not path.exists():
        stopped = unfinished(path)
        if stopped is not None:
            return stopped
        call = levels_folder(path) / "call.json"
        if call.exists():
            function = json.loads(call.read_text(encoding="utf-8"))["function"]
            raise ValueError(
                f"The call of {told(function)} that is to write {path} has not ended. Nothing of it can be reported "
                "yet: the same call again goes on where it was stopped."
            )
    return load(path)


def _parts(run: Any, who: str) -> dict[str, xr.DataTree]:
    """The inversions of a run by label, once it is seen that a report can be made of them."""
    if isinstance(run, xr.DataTree):
        parts = numbers.parts(run)
    elif isinstance(run, Mapping):
        for name, part in run.items():
            if not isinstance(name, str):
                raise TypeError(f"{name!r} cannot be the label of a run; write a text.")
            if "/" in name or name in ("", ".", ".."):  # a path, to a DataTree
                raise ValueError(f"{name!r} cannot be the label of a run; write a word, without a slash.")
            if not isinstance(part, xr.DataTree):
                raise TypeError(
                    f"{name!r} of the run is a {type(part).__name__}. Pass what find_map and the like returned."
                )
        parts = dict(run)
    else:
        raise TypeError(
            f"The run is a {type(run).__name__}. Pass what find_map and the like returned, or where it was saved."
        )
    for name, part in parts.items():
        _check_groups(part, who if len(parts) == 1 else f"{name!r} of {who}")
    kinds = [part.attrs.get("inversion") for part in parts.values()]
    if parts and all(kind == "reverse" for kind in kinds):
        _check_alike(parts)
        return parts
    if kinds in (["sample"], ["calibration"]) or (
        parts and len({*kinds}) == len(parts) and {*kinds} <= {"map", "posterior"}
    ):
        return numbers.parts(_joined(parts))
    raise ValueError(
        f"{who} is not a run that can be reported: it holds {kinds or 'no inversion'}. Pass what find_map, "
        "sample_posterior, reverse, sample or calibrate returned, both inversions of one step together, or several "
        "chains."
    )


def _check_groups(part: xr.DataTree, who: str) -> None:
    """Raise where a run lacks what its report reads, or has something else in its place."""
    judged = part["verdict"].attrs if "verdict" in part.children else {}
    # Of what type an attribute is that a report reads, where it is there: somebody else may have written it.
    typed = {
        **dict.fromkeys(("inversion", "created_at", "inverter", "form", "carries"), str),
        **dict.fromkeys(("model", "model_equations", "model_graph"), str),
        **dict.fromkeys(("finished", "sampling_time"), Real),
        "versions": Mapping,
    }
    of_verdict = {"sentence": str, "code": str, "ok": Real}
    for attrs, forms in ((part.attrs, typed), (judged, of_verdict)):
        for attr, form in forms.items():
            if attr in attrs and not isinstance(attrs[attr], form):
                what = {str: "text", Real: "number", Mapping: "list of names and values"}[form]
                raise _no_run(who, f"its attribute {attr!r} is no {what}: {reprlib.repr(attrs[attr])}")
    kind = str(part.attrs.get("inversion"))
    needed = NEEDED.get(kind, {})
    if kind == "reverse" and "posterior" not in part.children and part.attrs.get("finished", 1):
        needed = {"posterior": [], **needed}
    if "verdict" in part.children:
        if missing := of_verdict.keys() - judged.keys():
            raise _no_run(who, f"its group 'verdict' has no attribute {min(missing)!r}")
        needed = {**needed, "verdict": VERDICT.get(kind, [])}
    for group, names in needed.items():
        if not holds(part, group):
            raise ValueError(f"{who} has no group {group!r}, so it is damaged or only part of a run. Run it again.")
        for name in names:
            if name not in part[group]:
                raise ValueError(f"{who} has no {name!r} in its group {group!r}, so it is damaged. Run it again.")
        ds = part[group].to_dataset()
        if group.endswith("posterior") and not {*SAMPLE} <= {*ds.dims}:
            raise _no_run(who, f"its group {group!r} has not the dimensions chain and draw")
        for name in names or map(str, ds.data_vars):
            if ds[name].dtype.kind not in "biuf":
                raise _no_run(who, f"{name!r} in its group {group!r} holds no numbers, but {ds[name].dtype}")


def _check_alike(parts: Mapping[str, xr.DataTree]) -> None:
    """Raise where chains differ in more than their inverter: one report tells one schedule, one form, one x."""

    def told(part: xr.DataTree) -> dict[str, Any]:
        group = "posterior" if "posterior" in part.children else "path"
        x = part[group].to_dataset() if group in part.children else xr.Dataset()
        schedule = part["schedule"].to_dataset()
        return {
            "schedules": [schedule[name].values.tolist() for name in ("alpha", "sigma")],
            "forms": part.attrs.get("form"),
            "variables": [
                (
                    str(name),
                    [(dim, size) for dim, size in values.sizes.items() if dim not in (*SAMPLE, "level")],
                )
                for name, values in x.items()
            ],
            "states (one is finished, one is not)": bool(part.attrs.get("finished", 1)),
        }

    (first, of_first), *rest = [(name, told(part)) for name, part in parts.items()]
    for name, of_this in rest:
        for what, value in of_this.items():
            if value != of_first[what]:
                raise ValueError(
                    f"The chains {first!r} and {name!r} have different {what}. Write one report for each: chains that "
                    "differ in more than their inverter are compared in a study of your own, a .qmd."
                )


def _joined(parts: Mapping[str, xr.DataTree]) -> xr.DataTree:
    if len(parts) == 1:
        return next(iter(parts.values()))
    return xr.DataTree.from_dict({name: part.copy() for name, part in parts.items()})


def _no_run(who: str, problem: object) -> ValueError:
    return ValueError(f"{who} is no run of bayesdiff, or it is damaged: {told(problem).rstrip('.')}. Run it again.")


__all__ = ["ReportError", "write_report"]
