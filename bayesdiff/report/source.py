"""Write a report: a saved run becomes a Quarto source, and the source a page.

The source holds the words, with the numbers that they rest on; its cells load the run and draw. Nothing here samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
import tempfile
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.checks import flag, path_like
from bayesdiff.comparison import compare, holds
from bayesdiff.foreign import told
from bayesdiff.pictures import is_picture
from bayesdiff.report.document import ReportError
from bayesdiff.report.files import check_place, write_whole
from bayesdiff.report.reading import (
    SAMPLE,
    escaped,
    highest_mode,
    highest_modes,
    standing,
    stands,
    transformed,
    why_no_evidence,
    why_not_made,
    worded,
)
from bayesdiff.report.render import render
from bayesdiff.report.show import (
    MOST_MODES,
    MOST_PANELS,
    left_out,
    numbers_of,
    read_graph,
    rounded,
    shares_of,
    table,
    view_of,
    with_error,
)
from bayesdiff.results import levels_folder, load, save, unfinished
from bayesdiff.verdict import LIMITS, read, reason

HOW = {"map": "the mode of its posterior (MAP)", "posterior": "draws of its posterior"}
_PLAIN = " ._-+=,/"  # what a literal in a cell may hold beside letters and digits
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
    "sample": ["r_hat", "ess", "arrivals", "pareto_k", "pareto_ok", "evidence_ok"],
}  # fmt: skip
# Of what type an attribute is that a report reads, where it is there: somebody else may have written it.
ATTRS = {
    **dict.fromkeys(("inversion", "created_at", "inverter", "form", "carries"), str),
    **dict.fromkeys(("model", "model_equations", "model_graph"), str),
    **dict.fromkeys(("finished", "sampling_time"), Real),
    "versions": Mapping,
}
VERDICT_ATTRS = {"sentence": str, "code": str, "ok": Real}
FAR = 0.5  # so many posterior sd from the mean, a MAP is said not to be near it
MANY = 20  # of so many observations the spread is compared
OFF_THE_PICTURE = 20  # a MAP so many posterior sd off would squeeze its posterior to a line


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
        What ``find_map``, ``sample_posterior``, ``reverse`` or ``sample`` returned; both inversions of one step, as
        ``{"map": modes, "posterior": draws}``; several chains by label, as ``{"draws": run, "modes": other}``; or where
        such a run was saved. A chain of ``reverse`` that was stopped is reported as such, as far as it came.
    path : path
        Ends in ``.html``: a page in one file, which needs no network. It replaces an older one. Made by Quarto where
        that is installed, else by the route built in, which needs ``pip install "bayesdiff[report]"``. Or ends in
        ``.qmd``: the source, for Quarto or for changes of yours, with a run that was not saved yet beside it.
    title : str, optional
        The title. Unless given it says what was inverted, and how.
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
        several chains of different schedules, forms or variables, or `path` ends otherwise.
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
    'title: "From noise to x in 1 step"'
    """
    path = path_like(path, "path", "report.html")
    if path.suffix not in (".html", ".qmd"):
        raise ValueError(f"{path} must end in .html (a page) or in .qmd (its source).")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title is {title!r}; write a text, or None")
    flag(overwrite, "overwrite")
    saved = path_like(run, "run", "run.zarr") if isinstance(run, str | os.PathLike) else None
    given, who = (_load(saved), str(saved)) if saved is not None else (run, "run")
    parts = _parts(given, who)
    check_place(path, overwrite)
    if path.suffix == ".qmd":
        where = saved if saved is not None and saved.exists() else path.with_name(f"{path.stem}-run.zarr")
        text = _source_of(parts, os.path.relpath(where, path.parent), title, who)
        if where != saved:
            save(_joined(parts), where, overwrite=overwrite)
        write_whole(path, text)
        return path
    with tempfile.TemporaryDirectory(prefix="bayesdiff-run-") as folder:
        # Beside its source, so that the page shows no path of this machine; under a name of ours, which is no module's.
        name = f"run{saved.suffix if saved is not None and saved.exists() else '.zarr'}"
        beside = Path(folder, name)
        if saved is not None and saved.exists():
            beside.symlink_to(saved.resolve())
        else:
            save(_joined(parts), beside)
        source = Path(folder, f"{path.stem}.qmd")
        source.write_text(_source_of(parts, name, title, who), encoding="utf-8")
        # Labels of the user are no mathematics: a single $ would be, and could not be drawn.
        math = not any("$" in label for label in _labels(parts))
        return render(source, path, overwrite=overwrite, math=math, folder_on_path=False)


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
    """The inversions of a run by label: map and posterior of a step, or chains."""
    if isinstance(run, xr.DataTree):
        children = {str(name): child.copy() for name, child in run.children.items() if "inversion" in child.attrs}
        for child in children.values():  # the command line says once, at the root, which file the model is from
            child.attrs = {name: run.attrs[name] for name in ("model",) if name in run.attrs} | child.attrs
        parts = {str(run.attrs["inversion"]): run} if "inversion" in run.attrs else children
    elif isinstance(run, Mapping):
        parts = {str(name): part for name, part in run.items()}
        for name, part in parts.items():
            if "/" in name or not name:  # a path, to a DataTree
                raise ValueError(f"{name!r} cannot be the label of a run; write one without a slash.")
            if not isinstance(part, xr.DataTree):
                raise TypeError(
                    f"{name!r} of the run is a {type(part).__name__}. Pass what find_map and the like returned."
                )
    else:
        raise TypeError(
            f"The run is a {type(run).__name__}. Pass what find_map and the like returned, or where it was saved."
        )
    kinds = [part.attrs.get("inversion") for part in parts.values()]
    for name, part in parts.items():
        _check_groups(part, who if len(parts) == 1 else f"{name!r} of {who}")
    if parts and all(kind == "reverse" for kind in kinds):
        _check_alike(parts)
        return parts
    if kinds == ["sample"]:
        return parts
    step = dict(zip(kinds, parts.values(), strict=True))
    if parts and len(step) == len(parts) and step.keys() <= {"map", "posterior"}:
        return {kind: step[kind] for kind in ("map", "posterior") if kind in step}
    raise ValueError(
        f"{who} is not a run that can be reported: it holds {kinds or 'no inversion'}. Pass what find_map, "
        "sample_posterior, reverse or sample returned, both inversions of one step together, or several chains."
    )


def _check_groups(part: xr.DataTree, who: str) -> None:
    """Raise where a run lacks what its report reads, or has something else in its place."""
    judged = part["verdict"].attrs if "verdict" in part.children else {}
    for attrs, forms in ((part.attrs, ATTRS), (judged, VERDICT_ATTRS)):
        for attr, form in forms.items():
            if attr in attrs and not isinstance(attrs[attr], form):
                what = {str: "text", Real: "number", Mapping: "list of names and values"}[form]
                raise _no_run(who, f"its attribute {attr!r} is no {what}: {reprlib.repr(attrs[attr])}")
    kind = str(part.attrs.get("inversion"))
    needed = NEEDED.get(kind, {})
    if kind == "reverse" and "posterior" not in part.children and part.attrs.get("finished", 1):
        needed = {"posterior": [], **needed}
    if "verdict" in part.children:
        if missing := VERDICT_ATTRS.keys() - judged.keys():
            raise _no_run(who, f"its group 'verdict' has no attribute {min(missing)!r}")
        needed = {**needed, "verdict": VERDICT.get(kind, [])}
    for group, names in needed.items():
        if not holds(part, group):
            raise ValueError(f"{who} has no group {group!r}, so it is damaged or only part of a run. Run it again.")
        for name in names:
            if name not in part[group]:
                raise ValueError(f"{who} has no {name!r} in its group {group!r}, so it is damaged. Run it again.")
        ds = part[group].to_dataset()
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
                (str(name), [(dim, size) for dim, size in values.sizes.items() if dim not in (*SAMPLE, "level")])
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


def _labels(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    """Every name that a figure may show: of runs, variables and dimensions, and the labels of these."""
    yield from parts
    for part in parts.values():
        for node in part.subtree:
            ds = node.to_dataset(inherit=False)
            yield from map(str, [*ds.variables, *ds.dims])
            for labels in ds.coords.values():
                if labels.dtype.kind in "UO":
                    yield from map(str, labels.values.ravel())


def _joined(parts: Mapping[str, xr.DataTree]) -> xr.DataTree:
    if len(parts) == 1:
        return next(iter(parts.values()))
    return xr.DataTree.from_dict({name: part.copy() for name, part in parts.items()})


# -------------------------------------------------------------------------------------------------------------- source


def _no_run(who: str, problem: object) -> ValueError:
    return ValueError(f"{who} is no run of bayesdiff, or it is damaged: {told(problem).rstrip('.')}. Run it again.")


def _source_of(parts: Mapping[str, xr.DataTree], where: str, title: str | None, who: str) -> str:
    try:
        return _source(parts, where, title)
    except Exception as error:  # a number of another shape, a label that is none: whatever somebody else may have saved
        raise _no_run(who, error) from error


def _source(parts: Mapping[str, xr.DataTree], where: str, title: str | None) -> str:
    chain = "reverse" in [part.attrs["inversion"] for part in parts.values()]
    tempered = "sample" in [part.attrs["inversion"] for part in parts.values()]
    told = list(_sample(parts) if tempered else _chain(parts) if chain else _step(parts))
    first, *rest = told
    load_code = f"run = bd.load({_literal(where)})"
    names = [] if len(parts) == 1 else list(parts)
    if tempered:
        pass
    elif chain:
        runs = ", ".join(f"{_literal(name)}: {f'run[{_literal(name)}]' if names else 'run'}" for name in parts)
        load_code += f"\nruns = {{{runs}}}"
    else:
        for kind, name in (("map", "modes"), ("posterior", "draws")):
            if kind in parts:
                load_code += f"\n{name} = {f'run[{kind!r}]' if names else 'run'}"
    setup = f"import bayesdiff as bd\nfrom bayesdiff.report import show\n\n{load_code}"
    date = _date(next(iter(parts.values())))
    head = [
        "---",
        f"title: {_quoted(_title(parts) if title is None else escaped(title))}",
        "lang: en",
        *([f"date: {date}"] if date else []),
        "abstract: |",
        *(f"  {line}" for line in first.strip().splitlines()),
        "format:",
        "  html:",
        "    toc: true",
        "    number-sections: true",
        "    code-fold: true",
        "    embed-resources: true",
        "    html-math-method: mathml",
        "    fig-format: svg",
        "execute:",
        "  warning: false",  # a library's warning names places of this machine; what matters is in the run's own words
        "jupyter: python3",
        "---",
        "",
    ]
    return "\n".join(head) + "\n\n".join([_cell(setup, label="setup", output=False), *rest, _reproduce(parts)]) + "\n"


def _title(parts: Mapping[str, xr.DataTree]) -> str:
    run = next(iter(parts.values()))
    if run.attrs["inversion"] == "sample":
        return "A posterior, its modes and its evidence"
    if run.attrs["inversion"] == "reverse":
        levels = run["schedule"].sizes["level"] - 1
        return f"From noise to x in {levels} step{'s' * (levels != 1)}"
    how = {"map": "its mode", "posterior": "its posterior"}
    return f"One diffusion step, inverted by {' and by '.join(how[kind] for kind in parts)}"


# What a run says must be shown, never run: not by us, and not by Quarto, which expands {{< ... >}} anywhere. In the
# text it is `escaped`; in cells and options it is written without any character that begins something there.


def _literal(text: Any) -> str:
    """Text as a Python literal whose source is plain letters, digits and a few harmless signs."""
    told = (
        c if c.isalnum() or c in _PLAIN else f"\\U{ord(c):08x}" if ord(c) > 255 else f"\\x{ord(c):02x}"
        for c in str(text)
    )
    return f"'{''.join(told)}'"


def _quoted(text: str) -> str:
    """Text as a string of JSON, and so of YAML, that holds nothing which Quarto would expand or YAML refuses."""
    told = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() and c not in "`{}<>" else f"\\u{ord(c):04x}" for c in told)


def _spoken(text: str) -> str:
    """Text to be read out, where nothing can be escaped: what is neither letter nor common sign is left out."""
    return " ".join(re.sub(r"[^\w .,;:=()\[\]+*/-]", " ", text).split())


def _date(run: xr.DataTree) -> str:
    """The day of a run; nothing where it is not known. What is no day is text of somebody's, and not shown."""
    created = str(run.attrs.get("created_at", ""))
    told = re.match(r"\d{4}-\d\d-\d\d", created)
    return told[0] if told else "undated" if created else ""


def _verdict(parts: Mapping[str, xr.DataTree]) -> tuple[str, bool]:
    """Whether the numbers are to be trusted, as the runs themselves say it; and whether nothing is to be said."""
    said, fine = [], True
    several = len(parts) > 1 and "map" not in parts
    for name, part in parts.items() if several else sorted(parts.items(), reverse=True):  # draws before their MAP
        verdict = read(part)
        said.append((f"{escaped(name)}: " if several else "") + worded(verdict.attrs["sentence"]))
        if not verdict.attrs["ok"]:
            said.append("What rests on it is withheld.")
        fine &= verdict.attrs["code"] == "ok"
    return " ".join(dict.fromkeys(said)), fine


def _cell(code: str, **options: Any) -> str:
    told = [
        f"#| {name.replace('_', '-')}: {_quoted(value) if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    ]
    return "\n".join(["```{python}", *told, code, "```"])


def _figure(label: str, caption: str, alt: str, code: str) -> str:
    return _cell(code, label=f"fig-{label}", fig_cap=caption, fig_alt=alt)


def _table(label: str, caption: str, code: str) -> str:
    return _cell(code, label=f"tbl-{label}", tbl_cap=caption)


def _callout(kind: str, title: str, text: str) -> str:
    return f"::: {{.callout-{kind}}}\n## {title}\n\n{text}\n:::"


def _model(run: xr.DataTree, called: str, noise: str, equation: str) -> Iterator[str]:
    """The prior, the noise and the equation of a step. ``called``: what the cells call this run."""
    yield "# The model {#sec-model}"
    model = str(run.attrs.get("model", ""))
    known = f"that of {escaped(model)}" if model else "the model below" if run.attrs.get("model_equations") else ""
    yield (f"The prior p~0~ is {known}. " if known else "") + "Noise acts on the unconstrained values of x."
    if str(run.attrs.get("model_equations", "")).strip():
        yield _cell(f"show.equations({called})")
    yield f"$$ {equation} $$ {{#eq-step}}"
    yield noise
    if read_graph(str(run.attrs.get("model_graph", ""))) is not None:
        yield _figure(
            "graph",
            "The prior's variables, and what the noise makes of them. Each free variable (white) is seen through "
            "noise as its o (green). Grey was observed, square is computed.",
            "The graph of the model: " + _spoken("; ".join(_edges(run))) + ".",
            f"show.draw_graph({called});",
        )
    if "prior" in run.children:
        yield f"Of {run['prior'].sizes['draw']:,} draws of the prior, nine in ten times: {_lies(run, 'prior')}."
    elif not run.attrs.get("finished", 1):
        yield "The model's equations, its graph and draws of the prior are written at the end of a run, so not yet."
    else:
        yield "The run holds no draws of the prior: it has data, a Potential, or no random draws."


def _lies(run: xr.DataTree, group: str) -> str:
    """Say where nine in ten draws of each variable lie."""
    told = []
    for name, values in run[group].to_dataset().items():
        low, high = np.quantile(values.values, [0.05, 0.95])
        told.append(f"{escaped(name)} lies between {rounded(low)} and {rounded(high)}")
    return "; ".join(told[:8])


def _edges(run: xr.DataTree) -> list[str]:
    graph = read_graph(str(run.attrs["model_graph"]))
    assert graph is not None
    told = [f"{start} to {end}" for start, end in graph.edges]
    return told or [f"{name} alone" for name in graph.nodes]


# ---------------------------------------------------------------------------------------------------------------- step


def _step(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    run = next(iter(parts.values()))
    both = len(parts) == 2
    x = run["posterior"].to_dataset()
    n = x.sizes.get("observation")
    noise = run["step"].to_dataset()
    said = [f"{name} = {_range(noise[name].values)}" for name in ("alpha", "sigma")]
    verdict, fine = _verdict(parts)
    beside = _beside(parts) if both else ""
    yield (
        f"{verdict} {_count(n)} of x through noise, {', '.join(said)}, inverted by "
        f"{' and by '.join(HOW[kind] for kind in parts)}." + beside
    )
    yield _callout("tip" if fine else "important", "Are these numbers to be trusted?", verdict)
    each = "Each" if n and n > 1 else "It"
    yield from _model(
        run,
        "modes" if "map" in parts else "draws",
        f"Here {' and '.join(said)}, for {_count(n).lower()}. {each} is inverted as in @eq-step.",
        r"o \mid x \sim N(\alpha x, \sigma^2 I), \qquad p(x \mid o) \propto N(o; \alpha x, \sigma^2 I)\, p_0(x)",
    )
    yield "# MAP and posterior {#sec-compare}" if both else "# What came out {#sec-compare}"
    if both:
        yield (
            "The MAP is one number, the highest point of p(x | o). The posterior says where x is likely to be. The "
            "share below the MAP is 1/2 and the offset 0 where the two agree; the Laplace sd is that of a Gaussian "
            "at the mode."
        )
        yield _table(
            "compare",
            f"MAP beside posterior.{beside}" + (_where_free(run) if transformed(run) else ""),
            "show.comparison_table(modes, draws)",
        )
    else:
        kind = next(iter(parts))
        caption = (
            "The modes that were found."
            if kind == "map"
            else "The posterior, with the Monte Carlo errors of its means."
        )
        yield _table("summary", caption, f"show.summary_table({'modes' if kind == 'map' else 'draws'})")
    yield from _step_figures(parts, sum(int(v.isel(chain=0, draw=0).size) // (n or 1) for v in x.values()))
    if both and n is not None and n > 1:
        yield from _together(parts)
    yield "# Diagnostics {#sec-diagnostics}"
    yield verdict
    if "posterior" in parts:
        yield _table(
            "diagnostics",
            "The observations least to be trusted, worst first."
            if n is not None and n > 1
            else "R-hat near 1 and many effective draws say that the chains agree.",
            "show.diagnostics_table(draws)",
        )
        yield (
            "R-hat compares the chains with each other: 1 means that they agree. Effective draws are how many "
            "independent ones would tell as much. Both are of split chains and not rank-normalised, so ArviZ's differ "
            "a little. A mode that no chain reached is seen by neither."
        )
    if "map" in parts:
        stats = parts["map"]["sample_stats"].to_dataset()
        agreed, starts = (stats[name].values.ravel()[standing(parts["map"])] for name in ("starts_agreed", "starts"))
        if np.isfinite(agreed).any():
            low, middle = int(np.nanmin(agreed)), rounded(float(np.nanmedian(agreed)))
            yield (
                f"Each MAP is the highest end of {int(np.nanmax(starts))} climbs. "
                + (f"Between {low} and all" if low < np.nanmax(starts) else "All")
                + f" of them ended there{f', {middle} in the median' if len(agreed) > 1 else ''}. It cannot be proved "
                "that no higher one was missed."
            )
    yield from _evidence(parts)


def _where_free(run: xr.DataTree) -> str:
    return f" Offset and Laplace sd of {escaped(', '.join(transformed(run)))} are in unconstrained coordinates."


def _step_figures(parts: Mapping[str, xr.DataTree], numbers: int) -> Iterator[str]:
    """Both inversions beside each other, and one step. What is withheld in the tables is not drawn either."""
    ok = standing(*parts.values())
    names = ", ".join({"map": "modes", "posterior": "draws"}[kind] for kind in parts)
    both = len(parts) == 2
    n = next(iter(parts.values()))["posterior"].sizes.get("observation")
    if not ok.any():
        yield "There is no picture: no observation has numbers that can be trusted."
        return
    by = ", by observation" if n is not None and n > 1 else ""
    if both and numbers <= 16:
        yield _figure(
            "compare",
            f"The posterior's mean and intervals, and the MAP beside it{by}. "
            "Where the MAP is far from the middle, it misleads." + ("" if ok.all() else f" {left_out(ok)}"),
            "A row for each number: a dot for the posterior mean, bars for its intervals, a marker for the MAP.",
            f"bd.plot_compare({names});" if ok.all() else f"bd.plot_compare(*show.trusted_part({names}));",
        )
    if "posterior" in parts and numbers <= 8:
        yield from _one_step(parts, None if n is None else int(np.argmax(ok)))


def _one_step(parts: Mapping[str, xr.DataTree], row: int | None) -> Iterator[str]:
    """Prior, likelihood and posterior of one observation, as far as they are drawn."""
    draws, modes = parts["posterior"], parts.get("map")
    x = draws["posterior"].to_dataset()
    names, gone = [str(name) for name in x.data_vars], []
    if modes is not None:
        beside = compare(modes, draws)
        beside = beside if row is None else beside.isel(observation=row)
        off = {
            name: abs(beside[name].sel(summary="mode") - beside[name].sel(summary="mean"))
            / beside[name].sel(summary="sd")
            for name in names
        }
        gone = [name for name in names if bool((off[name] > OFF_THE_PICTURE).any())]
        names = [name for name in names if name not in gone]
    if not names:
        return
    where = [] if row is None else [f'observation=draws["posterior"]["observation"].values[{row}]']
    where += [f"var_names=[{', '.join(map(_literal, names))}]"] if gone else []
    label = None if row is None else x["observation"].values[row]
    by_prior = [name for name in names if "prior" in draws.children and name in draws["prior"]]
    free = set(map(str, draws["unconstrained_posterior"].data_vars)) - set(transformed(draws))
    by_likelihood = [name for name in names if name in free]  # what `plot_step` draws it for
    curves = [
        *(["prior"] if by_prior else []),
        *(["likelihood"] if by_likelihood else []),
        "posterior",
    ]
    words = ""
    if by_likelihood:
        only = "" if len(by_likelihood) == len(names) else f" (of {escaped(', '.join(by_likelihood))})"
        words += f" The likelihood{only} pulls x to o."
        words += " The prior pulls it to where x usually is: the posterior is the compromise." if by_prior else ""
    if not by_prior:
        words += " The run holds no draws of the prior to draw."
    if gone:
        words += f" Not drawn: {escaped(', '.join(gone))}, whose MAP is too far from the posterior for one picture."
    who = "" if row is None else f"Observation {escaped(label)}. " if x.sizes["observation"] > 1 else ""
    yield _figure(
        "step",
        f"{who}Densities over x: {_and(curves)}{', and the MAP as a line' if modes is not None else ''}.{words}",
        f"Densities over x: {_and(curves)}" + (", and the MAP as a line." if modes is not None else "."),
        f"bd.plot_step({', '.join(['draws', *(['modes'] if modes is not None else []), *where])});",
    )


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _together(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    """All observations of a batch: how the MAPs spread, and how the draws do."""
    modes, draws = parts["map"], parts["posterior"]
    ok = standing(modes, draws)
    yield "# All observations together {#sec-all}"
    if ok.sum() < 2:
        yield "Too few observations have numbers that can be trusted to say how x spreads over all of them."
        return
    yield (
        "If the o came from the model, one posterior draw for each is a draw of the prior again. The modes are no "
        "draws. @tbl-all puts the spread of both beside each other."
    )
    rest = "" if ok.all() else f" {left_out(ok)}"
    yield _table(
        "all",
        f"How x spreads over {int(ok.sum()):,} observations: the MAPs, and one posterior draw of each.{rest}",
        "show.population_table(modes, draws)",
    )
    x = modes["posterior"].to_dataset()
    if sum(int(values.isel(chain=0, draw=0, observation=0).size) for values in x.values()) <= 4:
        name = str(next(iter(x.data_vars)))
        trees = "modes, draws" if ok.all() else "*show.trusted_part(modes, draws)"
        over = ", over the prior" if "prior" in modes.children else ""
        yield _figure(
            "all",
            f"The MAPs of {'all' if ok.all() else 'these'} observations, and one posterior draw of each{over}.{rest}",
            f"Histograms of the MAPs and of one posterior draw of each observation{over}.",
            f"from bayesdiff.plots import plot_population\n\nplot_population({trees}, var_name={_literal(name)});",
        )


def _count(n: int | None) -> str:
    return "One observation" if n is None or n == 1 else f"{n:,} observations"


def _range(values: np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return rounded(low) if low == high else f"{rounded(low)} to {rounded(high)}"


def _beside(parts: Mapping[str, xr.DataTree]) -> str:
    """Say how far the two inversions are apart, in sentences after a space, as far as that is known.

    An offset says where the MAP is, and nothing of how wide the posterior is: so does the sentence.
    """
    modes, draws = parts["map"], parts["posterior"]
    ok = standing(modes, draws)
    if not ok.any():
        return ""
    worst, where = -1.0, ""
    for name, values in compare(modes, draws).data_vars.items():
        if name == "lp":
            continue
        offset = values.sel(summary="offset")
        offset = offset.isel(observation=ok) if "observation" in offset.dims else offset
        flat = np.abs(offset.values[np.isfinite(offset.values)])
        if flat.size and flat.max() > worst:
            worst, where = float(flat.max()), str(name)
    if not where:
        return ""
    free = where.removesuffix("_unconstrained") in transformed(draws) or where not in draws["posterior"]
    of = f"for {escaped(where)}{', in unconstrained coordinates' if free else ''}"
    far = "less than 0.01" if worst < 0.005 else f"{'at most ' if len(ok) > 1 else ''}{worst:.2f}"
    if worst < FAR:
        said = (
            f" {'Each' if len(ok) > 1 else 'The'} MAP is near the posterior mean ({far} posterior sd off, {of}). That "
            "says nothing of how wide the posterior is."
        )
    else:
        who = "MAPs are up to" if len(ok) > 1 else "The MAP is"
        said = f" {who} {worst:.2f} posterior sd from the posterior mean ({of}): there a MAP does not stand for it."
    return said + _spread(modes, draws, ok)


def _spread(modes: xr.DataTree, draws: xr.DataTree, ok: np.ndarray) -> str:
    """Say where the MAPs of a batch spread otherwise than one posterior draw of each does."""
    if ok.sum() < MANY:
        return ""
    found = []
    for name, values in draws["unconstrained_posterior"].to_dataset().items():
        of_draws = values.isel(chain=0, draw=-1, observation=ok).std("observation", ddof=1)
        mode = (
            modes["unconstrained_posterior"]
            .to_dataset()[name]
            .isel(chain=0, draw=0, observation=ok)
            .std("observation", ddof=1)
        )
        ratios = (mode / of_draws).values.ravel()
        found += [(float(r), str(name)) for r in ratios if np.isfinite(r) and r > 0]
    if not found:
        return ""
    ratio, name = max(found, key=lambda each: abs(np.log(each[0])))
    if 0.5 < ratio < 2:
        return ""
    free = ", in unconstrained coordinates" if name in transformed(draws) else ""
    return (
        f" Over all {int(ok.sum()):,} observations the MAPs have not the spread of the draws: their sd is "
        f"{rounded(ratio, digits=2)} times that of one posterior draw each (for {escaped(name)}{free})."
    )


# --------------------------------------------------------------------------------------------------------------- chain


def _chain(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    run = next(iter(parts.values()))
    schedule = run["schedule"].to_dataset()
    levels = schedule.sizes["level"] - 1
    done = all(map(_finished, parts.values()))
    verdict, fine = _verdict(parts)
    told = (
        f"{verdict} {_sent(parts)} {levels} step{'s' * (levels != 1)}, from sigma = {rounded(_last_sigma(run))} down. "
    )
    yield told + _prior_words(parts)
    if not done:
        yield _callout("important", "This run is not finished", _unfinished(parts, levels))
    yield _callout("tip" if fine else "important", "Are these numbers to be trusted?", verdict)
    forms = {str(part.attrs.get("form", "")) for part in parts.values()} - {""}
    form = f" in the {escaped(next(iter(forms)))} form" if forms else ""
    clean = r"x \sim p(x \mid o_k), \qquad o_{k-1} \sim p(o_{k-1} \mid o_k, x)"
    below = r"o_{k-1} \sim p(o_{k-1} \mid o_k) \propto N(o_k; a_k o_{k-1}, s_k^2 I)\, p_{k-1}(o_{k-1})"
    inverters = {name: str(part.attrs["inverter"]) for name, part in parts.items() if "inverter" in part.attrs}
    used = "; ".join(f"{f'{escaped(k)}: ' if len(parts) > 1 else ''}{escaped(v)}" for k, v in inverters.items())
    yield from _model(
        run,
        f"runs[{_literal(next(iter(parts)))}]",
        f"{f'Each of the {levels} levels' if levels > 1 else 'The one level'} is one step down, as in @eq-step{form}."
        + (f" The inverter: {used}." if used else ""),
        r"o_k \mid x \sim N(\alpha_k x, \sigma_k^2 I), \qquad " + (below if forms == {"next level"} else clean),
    )
    yield _figure(
        "schedule",
        "The noise by level. The signal-to-noise ratio falls with every level; at the last one hardly any signal is "
        "left.",
        "A line over the level: the signal-to-noise ratio, which falls.",
        "bd.plot_schedule(next(iter(runs.values())));",
    )
    yield "# From noise to x {#sec-path}"
    yield from _paths(parts, done)
    if done and _of_pictures(parts):
        yield "# What came out {#sec-result}"
        for name, part in parts.items():
            who = f"{escaped(name)}: the" if len(parts) > 1 else "The"
            count = _counts(part)[1]
            yield _figure(
                f"pictures-{1 + list(parts).index(name)}",
                f"{who} pictures that the chain ended with{f', 100 of {count:,}' if count > 100 else ''}. Look at "
                "them: they are shown whatever the checks say, and no check sees what a picture is of.",
                "A grid of pictures.",
                f"show.pictures(runs[{_literal(name)}]);",
            )
    elif done:
        yield "# What came out {#sec-result}"
        yield _table(
            "result",
            "The x that the chain ends with, with the errors of independent trajectories, beside draws of p0 "
            f"where there are any. {_prior_words(parts)}".strip(),
            "show.chain_table(runs)",
        )
    yield from _by_level(parts)
    yield "# Diagnostics {#sec-diagnostics}"
    yield verdict
    yield (
        f"Trajectories are independent, so R-hat says nothing here; {LIMITS.draws} of them are needed to be judged. "
        "Three checks stand in for it: half of the trajectories begin their searches elsewhere, and must agree with "
        "the other half at every level; the final x, diffused again, must be distributed as the noise that it came "
        "from; and x must be distributed as draws of p~0~, where there are any. All are necessary, none is sufficient."
    )
    yield from _evidence(parts)


def _last_sigma(run: xr.DataTree) -> float:
    return float(run["schedule"].to_dataset()["sigma"][-1])


def _finished(run: xr.DataTree) -> bool:
    return bool(run.attrs.get("finished", 1)) and "posterior" in run.children


def _counts(run: xr.DataTree) -> tuple[int, int]:
    """How many particles were sent, and how many are left."""
    verdict = read(run)
    sent, arrived = (int(verdict[name]) if name in verdict else 0 for name in ("trajectories", "arrived"))
    if not sent:
        sizes = run["posterior"].sizes if _finished(run) else run.attrs
        sent = arrived = np.prod(
            [int(sizes.get(name, 0)) for name in (SAMPLE if _finished(run) else ("chains", "draws"))]
        )
    return int(sent), int(arrived)


def _sent(parts: Mapping[str, xr.DataTree]) -> str:
    """Say how many particles were sent down, and how many are left."""
    told = []
    for name, part in parts.items():
        sent, arrived = _counts(part)
        who = f"{escaped(name)}: " if len(parts) > 1 else ""
        if not _finished(part):
            told.append(f"{who}{sent:,} particles are on their way from noise to x")
        elif arrived < sent:
            told.append(f"{who}of {sent:,} particles that were sent from noise, {arrived:,} came to x")
        else:
            told.append(f"{who}{sent:,} particle{'s were' if sent > 1 else ' was'} brought from noise to x")
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}, in" if len(parts) == 1 else f"{text}; in"


def _unfinished(parts: Mapping[str, xr.DataTree], levels: int) -> str:
    reached = [int(part["path"].coords["level"].values.min()) for part in parts.values() if "path" in part.children]
    low = min(reached, default=levels)
    came = f"It came down from level {levels} to level {low}" if low < levels else f"It is still at level {levels}"
    known: dict[str, Any] = {}
    for part in parts.values():
        known |= {name: part.attrs[name] for name in ("inverter", "draws", "chains", "seed") if name in part.attrs}
    told = ", ".join(f"{name} {escaped(value)}" for name, value in known.items())
    return (
        f"{came}. What follows is what there is; there is no x yet. "
        + (f"The call that began it: {told}. " if told else "")
        + "Where it has a store, the same call goes on from there."
    )


def _paths(parts: Mapping[str, xr.DataTree], done: bool) -> Iterator[str]:
    """The particles on their way, of the chains whose numbers are shown."""
    run = next(iter(parts.values()))
    if not all("path" in part.children and part["path"].sizes.get("level", 0) > 1 for part in parts.values()):
        yield "The levels between were not kept. " + ("Run `reverse(..., path=True)` to see them." if done else "")
        return
    numbers = sum(int(values.isel(chain=0, draw=0, level=0).size) for values in run["path"].to_dataset().values())
    if done and _of_pictures(parts):
        for name in parts:
            who = f"{escaped(name)}: the" if len(parts) > 1 else "The"
            yield _figure(
                f"way-{1 + list(parts).index(name)}",
                f"{who} way of some pictures from noise (left) to x (right), level by level, each in units of its "
                "level's spread.",
                "Rows of pictures, each from noise to a picture.",
                f"show.picture_paths(runs[{_literal(name)}]);",
            )
        return
    if numbers > 8:
        yield "x has too many numbers for a picture of each path."
        return
    shown = [name for name, part in parts.items() if stands(part)]
    if not shown:
        yield "There is no picture: the particles are not to be trusted."
        return
    left = ", ".join(escaped(name) for name in parts if name not in shown)
    rest = f" Left out, as not to be trusted: {left}." if left else ""
    runs = "run" if len(parts) == 1 else "runs"
    if left:
        runs = "{" + ", ".join(f"{_literal(name)}: runs[{_literal(name)}]" for name in shown) + "}"
    last = int(run["path"].coords["level"].values.min())
    end = "x (right)" if last == 0 else f"level {last} (right), as far as it came"
    yield _figure(
        "path",
        f"The particles from noise (left) to {end}, over how all of them are distributed at each level."
        + (
            " Where the chain is exact, the two outlines agree at every level."
            if any("unconstrained_prior" in parts[name].children for name in shown)
            else ""
        )
        + rest,
        "Paths of particles against the level, over densities at each level.",
        f"bd.plot_chain({runs});",
    )
    if numbers == 2:
        count = min(5, run["path"].sizes["level"])
        yield _figure(
            "plane",
            f"The particles in the plane at some levels, from noise (left) to {end}.{rest}",
            f"Scatter plots of the particles at {count} levels.",
            f"bd.plot_chain_plane({runs});",
        )


def _of_pictures(parts: Mapping[str, xr.DataTree]) -> bool:
    """Whether what the chains bring from noise is one picture each."""
    groups = [part["posterior"].to_dataset() for part in parts.values()]
    return all(len(ds.data_vars) == 1 and is_picture(next(iter(ds.data_vars.values()))) for ds in groups)


def _by_level(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    if not all("level_stats" in part.children for part in parts.values()):
        return
    yield "# By level {#sec-levels}"
    for i, (name, part) in enumerate(parts.items()):
        p = part["level_stats"].to_dataset()["lineages_p_value"].values
        at = "The two halves of the trajectories were not compared: too few of them."
        if np.isfinite(p).any():
            at = f"The two halves of the trajectories differ most with p = {rounded(float(np.nanmin(p)), digits=2)}."
        who = f"{escaped(name)}: noise" if len(parts) > 1 else "Noise"
        yield _table(
            f"levels-{i + 1}",
            f"{who}, work and agreement, from noise down. {at}",
            f"show.levels_table(runs[{_literal(name)}])",
        )


def _prior_words(parts: Mapping[str, xr.DataTree]) -> str:
    """Say how far the spread of x is from that of p0, of the chains whose numbers are shown."""
    told = []
    for label, run in parts.items():
        if "prior" not in run.children or not (stands(run) and _finished(run)) or why_not_made(run, "prior") == "given":
            continue
        ratios = [
            float(values.std() / known.std())
            for name, values in run["posterior"].to_dataset().items()
            if name in run["prior"]
            for known in [run["prior"].to_dataset()[name]]
            if known.size and float(known.std()) > 0 and values.sizes.keys() <= {*SAMPLE}
        ]
        if ratios:
            worst = max(ratios, key=lambda ratio: abs(np.log(max(ratio, 1e-300))))
            who = f"Of {escaped(label)}, the" if len(parts) > 1 else "The"
            told.append(f"{who} sd of x is {worst:.2f} times that of p0.")
    return " ".join(told)


# -------------------------------------------------------------------------------------------------------------- sample


def _sample(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    run = next(iter(parts.values()))
    verdict, fine = _verdict(parts)
    sizes, count = run["posterior"].sizes, run["modes"].sizes["mode"]
    found = f"{count} mode{'s' * (count != 1)} found" if count else "no mode found"
    chains = f"{sizes['chain']} chain{'s' * (sizes['chain'] != 1)}"
    yield (
        f"{verdict} {sizes['chain'] * sizes['draw']:,} draws of a posterior in {chains}, {found}. {_told_evidence(run)}"
        + _map_words(run)
    )
    yield _callout("tip" if fine else "important", "Are these numbers to be trusted?", verdict)
    yield from _posterior(run)
    yield "# What came out {#sec-result}"
    yield _table(
        "variables",
        "The posterior, with the Monte Carlo errors of its means"
        + ("." if not count else ", beside the highest mode found (MAP).")
        + (" The chains agree on every number." if stands(run) else f" Its numbers are withheld: {reason(read(run))}."),
        "show.variables_table(run)",
    )
    yield from _modes(run)
    yield from _sample_figures(run)
    yield from _log_evidence(run)
    yield from _ladder(run)
    yield "# Diagnostics {#sec-diagnostics}"
    yield verdict
    yield (
        "R-hat compares the chains with each other: 1 means that they agree. Effective draws are how many independent "
        "ones would tell as much. Both are of unconstrained numbers, and of the share of each mode that has weight. "
        "Every chain began for itself, so what all chains agree on was found by each. What no chain found is seen by "
        "none of this."
    )


def _told_evidence(run: xr.DataTree) -> str:
    told = run["log_evidence"].to_dataset()
    if why_no_evidence(run):
        return "The log evidence is withheld."
    value, error = (float(told[name]) for name in ("log_evidence", "log_evidence_se"))
    return f"The log evidence is {with_error(value, error)}."


def _map_words(run: xr.DataTree) -> str:
    """Say whether the highest mode stands for the posterior, in sentences after a space, as far as that is known."""
    highest = highest_mode(run)
    if highest is None or not stands(run):
        return ""
    said, count = "", run["modes"].sizes["mode"]
    if count > 1:
        weights = run["modes"].to_dataset()["weight"].values
        weight = float(weights[highest])
        same = len(highest_modes(run))
        of = (
            f"The MAP, one of {same} modes that are equally high,"
            if same > 1
            else f"The highest of {count} modes (MAP)"
        )
        said = f" {of} has {weight:.0%} of the weight"
        said += f", the heaviest {weights.max():.0%}." if highest else ", and is the heaviest."
    off = [
        (abs(mode - float(draws.mean())) / float(draws.std()), label)
        for label, draws, mode in numbers_of(run)
        if float(draws.std()) > 0 and np.isfinite(mode)
    ]
    worst, where = max(off, default=(np.nan, ""))
    if np.isnan(worst):
        return said
    if worst < FAR and count == 1:
        return (
            f" The MAP is near the posterior mean ({'less than 0.01' if worst < 0.005 else f'at most {worst:.2f}'} "
            f"posterior sd off, for {escaped(where)}). That says nothing of how wide the posterior is."
        )
    if worst < FAR:
        return said
    return f"{said} The MAP is {worst:.2f} posterior sd from the mean (for {escaped(where)}): it does not stand for it."


def _posterior(run: xr.DataTree) -> Iterator[str]:
    """The model of a tempered run, and the path that its states took."""
    yield "# The model {#sec-model}"
    file = str(run.attrs.get("model", ""))
    where = f"the model of {escaped(file)}" if file else "the model below"
    yield f"p is the density of {where}" + (f", with its data ({_data(run)})." if _data(run) else ".")
    if str(run.attrs.get("model_equations", "")).strip():
        yield _cell("show.equations(run)")
    graph = read_graph(str(run.attrs.get("model_graph", "")))
    if graph is not None and len(graph.nodes) > 1:  # a box alone tells nothing
        yield _figure(
            "graph",
            "The model. Its free variables (white) are what is drawn. Grey was observed, square is computed.",
            "The graph of the model: " + _spoken("; ".join(_edges(run))) + ".",
            "show.draw_graph(run, noise=False);",
        )
    components, rungs = run["mixture"]["weight"].size, run["tempering"].sizes["rung"]
    yield r"$$ p_\beta(x) \propto q(x)^{1-\beta}\, p(x)^{\beta} $$ {#eq-path}"
    yield (
        f"States wander along the path of @eq-path, on {rungs} rungs: from q, a mixture of {components} "
        f"Gaussian{'s' * (components != 1)} fitted to p and of wide Student t's, which can be drawn, to the posterior "
        "p, on unconstrained coordinates. A state that has come from q has forgotten where it began, so the modes get "
        "their right weights."
    )
    if "prior" in run.children:
        yield (
            f"The model can be drawn without any of this. Of {run['prior'].sizes['draw']:,} such draws, nine in ten "
            f"times: {_lies(run, 'prior')}."
        )


def _data(run: xr.DataTree) -> str:
    """Name what was observed, and how many numbers each is."""
    if "observed_data" not in run.children:
        return ""
    told = [
        f"{escaped(name)}: {values.size:,} number{'s' * (values.size != 1)}"
        for name, values in run["observed_data"].to_dataset().items()
    ]
    return "; ".join([*told[:8], *(["more"] if len(told) > 8 else [])])


def _modes(run: xr.DataTree) -> Iterator[str]:
    count, ok = run["modes"].sizes["mode"], stands(run)
    yield "# The modes {#sec-modes}"
    if not count:
        yield "No climb ended at a mode: the density is flat, or has no highest point." + (
            " Draws need none." if ok else ""
        )
        return
    weight, se = (run["modes"].to_dataset()[name].values for name in ("weight", "weight_se"))
    concludes = "Which mode is how heavy is withheld, as the chains cannot tell."
    if ok:
        concludes = (
            "All draws are at the one mode that was found."
            if count == 1
            else f"The heaviest has {with_error(float(weight[0]), float(se[0]))} of the weight, the second "
            f"{with_error(float(weight[1]), float(se[1]))}."
        )
    yield _table(
        "modes",
        f"The modes found, heaviest first. {concludes} The log density is that of unconstrained coordinates.",
        "show.modes_table(run)",
    )
    if count == 1:
        return
    apart = float(np.ptp(shares_of(run)[:, : min(count, MOST_MODES)], axis=0).max())
    several = run["posterior"].sizes["chain"] > 1
    agree = (
        f"The shares of the chains differ by at most {apart:.2f}: "
        + ("they agree on the weights." if ok else "no weight of all chains is shown.")
        if several
        else "There is one chain, which nothing was compared with."
    )
    yield _figure(
        "shares",
        ("Weights of the modes (bars), and" if ok else "The weights are withheld;")
        + f" each chain's own share of its draws (markers). {agree}",
        ("Bars for the weights of the modes, and m" if ok else "M")
        + "arkers for the share of each chain at each mode.",
        "show.shares(run);",
    )


def _sample_figures(run: xr.DataTree) -> Iterator[str]:
    """The posterior by mode, where its draws are to be trusted."""
    yield "# The posterior {#sec-posterior}"
    count = run["modes"].sizes["mode"]
    if not stands(run):
        yield f"There is no picture: {reason(read(run))}."
        return
    numbers, highest = numbers_of(run), highest_mode(run)
    outside = [
        label
        for label, draws, mode in numbers
        if highest is not None and not (lambda view: view[0] <= mode <= view[1])(view_of(draws.values, mode))
    ]
    colour = ", coloured by mode" if count > 1 else ""
    line = "" if highest is None else " The dashed line is the highest mode (MAP)."
    if outside:
        line += f" Of {escaped(', '.join(outside[:8]))} it lies outside the picture: it does not stand for these draws."
    some = f"{MOST_PANELS} of {len(numbers)} numbers" if len(numbers) > MOST_PANELS else "every number"
    yield _figure(
        "marginals",
        f"Marginal posterior of {some}{colour}: nearly all draws.{line}" + _map_words(run),
        f"Histograms of the draws of {some}{colour}, with a line at the highest mode.",
        "show.marginals(run);",
    )
    if len(numbers) == 2:
        both = " and ".join(escaped(label) for label, _, _ in numbers)
        r = float(np.corrcoef([draws.transpose(*SAMPLE).values.ravel() for _, draws, _ in numbers])[0, 1])
        yield _figure(
            "plane",
            f"Draws of {both}{colour}; the cross is the highest mode (MAP). "
            + (f"Over all draws their correlation is {r:.2f}." if np.isfinite(r) else "One of them does not vary."),
            "A scatter plot of draws of two numbers" + (", coloured by mode." if count > 1 else "."),
            "show.plane(run);",
        )


def _log_evidence(run: xr.DataTree) -> Iterator[str]:
    why, told = why_no_evidence(run), run["log_evidence"].to_dataset()
    yield "# Evidence {#sec-evidence}"
    if why:
        yield f"The log evidence is withheld: {why}."
        concludes = "What the chains say each is shown, to see how they differ; it is no estimate."
    else:
        yield (
            f"{_told_evidence(run)} It is the logarithm of the integral of p, as the model is written: where p is "
            "known up to a constant, or has a Potential, so is the evidence."
        )
        apart = float(np.abs(told["upwards"].mean() - told["downwards"].mean()))
        concludes = (
            f"Upwards and downwards differ by {rounded(apart, digits=2)}: the less, the better do the rungs overlap."
        )
    yield _table(
        "evidence",
        "The log evidence of each chain: by bridge sampling, and by stepping stones from q up to p and from p down to "
        f"q. {concludes}",
        "show.evidence_table(run)",
    )


def _ladder(run: xr.DataTree) -> Iterator[str]:
    told, verdict = run["tempering"].to_dataset(), read(run)
    yield "# The ladder {#sec-ladder}"
    arrived = ", ".join(f"{int(count):,}" for count in told["arrivals"].values[:12])
    more = " (the first 12 chains)" if told.sizes["chain"] > 12 else ""
    yield (
        f"States that came all the way from q, by chain: {arrived}{more}. The search and the ladder took "
        f"{float(told['evaluations']):,.0f} evaluations of the density with its gradient."
    )
    rejected, pareto = (float(told[name].max()) for name in ("rejection", "pareto_k"))
    heavy = "pareto_ok" in verdict and not bool(verdict["pareto_ok"])
    concludes = (
        f"Of exchanges between neighbours at most {rejected:.0%} were rejected; Pareto k is at most {pareto:.2f}"
        + (": too much for the evidence." if heavy else ", below its limit of 0.7.")
        if np.isfinite(pareto)
        else f"Of exchanges between neighbours at most {rejected:.0%} were rejected; for Pareto k there is too little."
    )
    yield _table("ladder", f"The rungs from q (beta = 0) to p (beta = 1). {concludes}", "show.ladder_table(run)")


# ------------------------------------------------------------------------------------------------------------- the end


def _evidence(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    for name, part in parts.items():
        for group in (child.to_dataset() for child in part.children.values()):
            if {"log_evidence", "log_evidence_se"} <= set(group.data_vars):
                value, error = (np.atleast_1d(group[key].values).ravel() for key in ("log_evidence", "log_evidence_se"))
                yield "# Evidence {#sec-evidence}"
                yield (
                    f"{escaped(name)}: the log evidence is "
                    + ", ".join(
                        f"{rounded(a, b)} ± {rounded(b, b)}" for a, b in zip(value[:10], error[:10], strict=True)
                    )
                    + (" (the first ten)." if len(value) > 10 else ".")
                )


def _reproduce(parts: Mapping[str, xr.DataTree]) -> str:
    columns = []
    for part in parts.values():
        about = part.attrs
        columns.append({
            "seed": about.get("seed", about.get("random_seed", "unknown")),
            "draws of each chain": about.get("draws", "–"),
            "chains": about.get("chains", "–"),
            "inverter": about.get("inverter", "–"),
            "prompt": about.get("prompt", "–"),
            "strength": about.get("strength", "–"),
            "network": _network(about.get("network")),
            "made at (UTC)": about.get("created_at") or "unknown",
            "wall time": f"{float(about['sampling_time']):.1f} s" if "sampling_time" in about else "unknown",
            "bayesdiff": about.get("inference_library_version", "unknown"),
            **{name: about.get("versions", {}).get(name, "unknown") for name in ("pymc", "jax", "numpy", "python")},
            "machine": about.get("machine", "unknown"),
            "evaluations": f"{float(part['tempering']['evaluations']):,.0f}" if "tempering" in part.children else "–",
            "checksum of what was inverted": _checksum(part, ("step", "step/o", "schedule")),
            "checksum of what came out": _checksum(part, ("unconstrained_posterior", "path")),
        })  # fmt: skip
    # What no part says is left out: a MAP has no chains, a run that is not finished no versions yet.
    told = [key for key in columns[0] if any(column[key] not in ("unknown", "–") for column in columns)]
    rows = [[key, *(escaped(column[key]) for column in columns)] for key in told]
    text = table(["", *(map(escaped, parts) if len(parts) > 1 else ["this run"])], rows, left=1 + len(parts))
    caption = "How this run was made."
    if not all(part.attrs.get("finished", 1) for part in parts.values()):
        caption += " Its time, versions and machine are written when it ends."
    return "\n\n".join(["# To make it again {#sec-again}", text, f": {caption} {{#tbl-again}}"])


def _network(made: Any) -> str:
    """Say how a network came about: the command that trained it, and the data's checksum."""
    if not isinstance(made, Mapping) or "command" not in made:
        return "–"
    return f"{made['command']} (data {str(made.get('sha256', 'unknown'))[:12]})"


def _checksum(part: xr.DataTree, groups: tuple[str, ...]) -> str:
    if not any(holds(part, group) for group in groups):
        return "–"
    digest = hashlib.sha256()
    for group in groups:
        if holds(part, group):
            for name, values in sorted(part[group].to_dataset().data_vars.items(), key=lambda item: str(item[0])):
                digest.update(f"{group}/{name}{values.shape}{values.dtype.str}".encode())
                digest.update(np.ascontiguousarray(values.values).tobytes())
    return digest.hexdigest()[:16]


__all__ = ["ReportError", "write_report"]
