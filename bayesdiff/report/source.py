"""Write a report: a saved run becomes a Quarto source, and the source a page.

The source holds the words, with the numbers that they rest on; its cells load the run and draw. Nothing here samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.comparison import compare
from bayesdiff.report.document import ReportError
from bayesdiff.report.files import check_place, write_whole
from bayesdiff.report.render import render
from bayesdiff.report.show import SAMPLE, escaped, judge, read_graph, rounded, table
from bayesdiff.results import load, save, unfinished

HOW = {"map": "the mode of its posterior (MAP)", "posterior": "draws of its posterior"}
_PLAIN = " ._-+=,/"  # what a literal in a cell may hold beside letters and digits
AGREE = 1e-3  # the p-value below which a chain warns


def write_report(
    run: xr.DataTree | Mapping[str, xr.DataTree] | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report of a run: what the model is, both inversions beside each other, and whether to trust them.

    Parameters
    ----------
    run : DataTree, mapping of str to DataTree, or path
        What ``find_map``, ``sample_posterior`` or ``reverse`` returned; both inversions of one step, as
        ``{"map": modes, "posterior": draws}``; several chains by label, as ``{"draws": run, "modes": other}``; or where
        such a run was saved. A chain that was stopped is reported as such, as far as it came.
    path : path
        Ends in ``.html``: a page in one file, which needs no network. It replaces an older one. Made by Quarto where
        that is installed, else by the route built in, which needs ``pip install "bayesdiff[report]"``. Or ends in
        ``.qmd``: the source, for Quarto or for changes of yours, with a run that was not saved yet beside it.
    title : str, optional
        The title. It is made from the model unless given.
    overwrite : bool
        Replace what is there even if it is not a page of ours: somebody may have written it, or changed a ``.qmd``.

    Returns
    -------
    pathlib.Path
        Where the report was written.

    Raises
    ------
    TypeError, ValueError
        If `run` is no run of ours, is damaged or was saved by a newer version, or `path` ends otherwise.
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
    path = Path(path)
    if path.suffix not in (".html", ".qmd"):
        raise ValueError(f"{path} must end in .html (a page) or in .qmd (its source).")
    saved = Path(run) if isinstance(run, str | os.PathLike) else None
    given = _load(saved) if saved is not None else run
    parts = _parts(given, "run" if saved is None else str(saved))
    check_place(path, overwrite)
    if path.suffix == ".qmd":
        where = saved if saved is not None and saved.exists() else path.with_name(f"{path.stem}-run.zarr")
        if where != saved:
            save(_joined(parts), where, overwrite=overwrite)
        write_whole(path, _source(parts, os.path.relpath(where, path.parent), title))
        return path
    with tempfile.TemporaryDirectory(prefix="bayesdiff-run-") as folder:
        # Beside its source under its own name: the page shows no path of this machine.
        name = saved.name if saved is not None else "run.zarr"
        beside = Path(folder, name)
        if saved is not None and saved.exists():
            beside.symlink_to(saved.resolve())
        else:
            save(_joined(parts), beside)
        source = Path(folder, f"{path.stem}.qmd")
        source.write_text(_source(parts, name, title), encoding="utf-8")
        # Labels of the user are no mathematics: a single $ would be, and could not be drawn.
        return render(source, path, overwrite=overwrite, math=not any("$" in label for label in _labels(parts)))


def _load(path: Path) -> xr.DataTree:
    """The run that was saved there, or the levels that a chain has finished."""
    if not path.exists():
        stopped = unfinished(path)
        if stopped is not None:
            return stopped
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
    if parts and all(kind == "reverse" for kind in kinds):
        return parts
    step = dict(zip(kinds, parts.values(), strict=True))
    if parts and len(step) == len(parts) and step.keys() <= {"map", "posterior"}:
        return {kind: step[kind] for kind in ("map", "posterior") if kind in step}
    raise ValueError(
        f"{who} is not a run that can be reported: it holds {kinds or 'no inversion'}. Pass what find_map, "
        f"sample_posterior or "
        "reverse returned, both inversions of one step together, or several chains."
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


def _source(parts: Mapping[str, xr.DataTree], where: str, title: str | None) -> str:
    chain = "reverse" in [part.attrs["inversion"] for part in parts.values()]
    told = list(_chain(parts)) if chain else list(_step(parts))
    first, *rest = told
    load_code = f"run = bd.load({_literal(where)})"
    names = [] if len(parts) == 1 else list(parts)
    if chain:
        runs = ", ".join(f"{_literal(name)}: {f'run[{_literal(name)}]' if names else 'run'}" for name in parts)
        load_code += f"\nruns = {{{runs}}}"
    else:
        for kind, name in (("map", "modes"), ("posterior", "draws")):
            if kind in parts:
                load_code += f"\n{name} = {f'run[{kind!r}]' if names else 'run'}"
    setup = f"import bayesdiff as bd\nfrom bayesdiff.report import show\n\n{load_code}"
    head = [
        "---",
        f"title: {_quoted(_title(parts, chain) if title is None else escaped(title))}",
        "lang: en",
        f"date: {_date(next(iter(parts.values())))}",
        "abstract: |",
        *(f"  {line}" for line in first.splitlines()),
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


def _title(parts: Mapping[str, xr.DataTree], chain: bool) -> str:
    run = next(iter(parts.values()))
    if chain:
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
    told = re.match(r"\d{4}-\d\d-\d\d", str(run.attrs.get("created_at", "")))
    return told[0] if told else "undated"


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


def _warning(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    for name, part in parts.items():
        if text := str(part.attrs.get("warning", "")):
            yield _callout("warning", "What the run warned of", f"{escaped(name)}: {escaped(text)}")


def _model(run: xr.DataTree, called: str, noise: str, equation: str) -> Iterator[str]:
    """The prior, the noise and the equation of a step. ``called``: what the cells call this run."""
    yield "# The model {#sec-model}"
    model = str(run.attrs.get("model", ""))
    yield f"The prior p~0~{f' is that of {escaped(model)}' if model else ''}. Noise acts on its unconstrained values."
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
        told = []
        for name, values in run["prior"].to_dataset().items():
            low, high = np.quantile(values.values, [0.05, 0.95])
            told.append(f"{escaped(name)} lies between {rounded(low)} and {rounded(high)}")
        yield f"Of {run['prior'].sizes['draw']:,} draws of the prior, nine in ten times: {'; '.join(told[:8])}."
    else:
        yield "The prior could not be drawn by itself: it has data, a Potential, or no random draws."


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
    many = n is not None
    noise = run["constant_data"].to_dataset()
    said = [f"{name} = {_range(noise[name].values)}" for name in ("alpha", "sigma")]
    verdict, told = _step_verdict(parts)
    beside = _beside(parts) if both else ""
    yield (
        f"{_count(n)} of x through noise, {', '.join(said)}, inverted by "
        f"{' and by '.join(HOW[kind] for kind in parts)}." + beside
    )
    yield _callout("tip" if told else "important", "Are these numbers to be trusted?", verdict)
    yield from _warning(parts)
    yield from _model(
        run,
        "modes" if "map" in parts else "draws",
        f"Here {' and '.join(said)}"
        + (f", for {n:,} observations." if many else ".")
        + " One step is inverted as in @eq-step.",
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
            f"MAP beside posterior.{beside}",
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
    numbers = sum(int(values.isel(chain=0, draw=0).size) // (n or 1) for values in x.values())
    if both and numbers <= 16:
        yield _figure(
            "compare",
            f"The posterior's mean and intervals, and the MAP beside it{', by observation' if many else ''}. "
            "Where the MAP is far from the middle, it misleads.",
            "A row for each number: a dot for the posterior mean, bars for its intervals, a marker for the MAP.",
            "bd.plot_compare(modes, draws);",
        )
    if "posterior" in parts and numbers <= 8 and judge(parts["posterior"]).ok[0]:
        yield _figure(
            "step",
            ("The first observation. " if many else "")
            + "The likelihood pulls x to o, the prior to where x usually is; the posterior is the compromise.",
            "Densities over x: prior, likelihood and posterior" + (", and the MAP as a line." if both else "."),
            f"bd.plot_step(draws{', modes' if both else ''});",
        )
    if both and n is not None and n > 1:
        yield "# All observations together {#sec-all}"
        yield (
            "If the o came from the model, one posterior draw for each is a draw of the prior again. The modes are "
            "not: they lie closer together. @tbl-all says how close."
        )
        yield _table(
            "all",
            f"How x spreads over {n:,} observations: the MAPs, and one posterior draw of each.",
            "show.population_table(modes, draws)",
        )
        if numbers <= 4:
            yield _figure(
                "all",
                "The MAPs of all observations, and one posterior draw of each, over the prior.",
                "Histograms of the MAPs and of one posterior draw of each observation, over the prior's density.",
                "\n".join(
                    ["from bayesdiff.plots import plot_population", ""]
                    + [f"plot_population(modes, draws, {_literal(name)});" for name in list(x.data_vars)[:1]]
                ),
            )
    yield "# Diagnostics {#sec-diagnostics}"
    yield verdict
    if "posterior" in parts:
        yield _table(
            "diagnostics",
            "The observations least to be trusted, worst first."
            if many
            else "R-hat near 1 and many effective draws: the chains agree.",
            "show.diagnostics_table(draws)",
        )
        yield (
            "R-hat compares the chains with each other: 1 means that they agree. Effective draws are how many "
            "independent ones would tell as much. A mode that no chain reached is seen by neither."
        )
    if "map" in parts:
        stats = parts["map"]["sample_stats"].to_dataset()
        agreed, starts = stats["starts_agreed"].values.ravel(), stats["starts"].values.ravel()
        if np.isfinite(agreed).any():
            yield (
                f"Of {int(np.nanmax(starts))} climbs to the mode, {int(np.nanmin(agreed))} ended there at least, "
                f"{rounded(float(np.nanmedian(agreed)))} in the median. It cannot be proved that no higher one was "
                f"missed."
            )
    yield from _evidence(parts)


def _count(n: int | None) -> str:
    return "One observation" if n is None or n == 1 else f"{n:,} observations"


def _range(values: np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return rounded(low) if low == high else f"{rounded(low)} to {rounded(high)}"


def _step_verdict(parts: Mapping[str, xr.DataTree]) -> tuple[str, bool]:
    """Say in words whether the numbers are to be trusted, and whether that is a yes."""
    words, fine = [], True
    if "posterior" in parts:
        verdict = judge(parts["posterior"])
        n, failed = len(verdict.ok), int((~verdict.ok).sum())
        if not verdict.judged:
            words.append("The draws are too few to be judged: ask for more before reading their numbers.")
            fine = False
        elif failed:
            worst = int(np.argmax(np.where(verdict.ok, -np.inf, np.nan_to_num(verdict.r_hat, posinf=1e9))))
            words.append(
                f"No: the draws of {failed} of {n} observations are not to be trusted, and their numbers are "
                f"withheld. The worst is observation {worst}: {verdict.reason(worst)}."
            )
            fine = False
        else:
            words.append(
                f"The draws {'of all ' + str(n) + ' observations ' if n > 1 else ''}can be trusted, as far as the "
                f"chains can tell: R-hat is at most {verdict.r_hat.max():.3f} (limit {verdict.most:.2f}), "
                f"{verdict.ess.min():,.0f} draws or more are effective ({verdict.fewest:.0f} are needed)."
            )
    if "map" in parts:
        ended = np.atleast_1d(parts["map"]["sample_stats"].to_dataset()["converged"].values.ravel())
        lost = int((~ended.astype(bool)).sum())
        if lost:
            words.append(f"{lost} of {len(ended)} climbs to the MAP did not end at a maximum.")
            fine = False
        else:
            words.append(
                "Every climb to the MAP ended at a maximum."
                if len(ended) > 1
                else "The climb to the MAP ended at a maximum."
            )
    return " ".join(words), fine


def _beside(parts: Mapping[str, xr.DataTree]) -> str:
    """Say how far the two inversions are apart, in a sentence after a space, if that is known."""
    compared, verdict = compare(parts["map"], parts["posterior"]), judge(parts["posterior"])
    worst, where = 0.0, ""
    for name, values in compared.data_vars.items():
        if name == "lp":
            continue
        offset = values.sel(summary="offset")
        offset = (
            offset.isel(observation=verdict.ok) if "observation" in offset.dims else offset.where(bool(verdict.ok[0]))
        )
        flat = np.abs(offset.values[np.isfinite(offset.values)])
        if flat.size and flat.max() > worst:
            worst, where = float(flat.max()), escaped(name)
    if not where:
        return ""
    end = (
        "so the MAP stands well for the posterior"
        if worst < 0.5
        else "so the MAP does not stand for the posterior there"
    )
    return f" The two are at most {worst:.2f} posterior sd apart (for {where}), {end}."


# --------------------------------------------------------------------------------------------------------------- chain


def _chain(parts: Mapping[str, xr.DataTree]) -> Iterator[str]:
    run = next(iter(parts.values()))
    schedule = run["schedule"].to_dataset()
    levels = schedule.sizes["level"] - 1
    done = all(part.attrs.get("finished", 1) and "posterior" in part.children for part in parts.values())
    verdict, fine = _chain_verdict(parts)
    sample = run["posterior" if done else "path"].sizes
    count = sample["chain"] * sample["draw"]
    first = (
        f"{count:,} particles were brought from noise to x in {levels} step{'s' * (levels != 1)}, from sigma = "
        f"{rounded(float(schedule['sigma'][-1]))} down. "
    )
    yield first + _prior_words(parts) if done else first
    if not done:
        reached = [int(part["path"].coords["level"].values.min()) for part in parts.values() if "path" in part.children]
        yield _callout(
            "important",
            "This run is not finished",
            f"It came down from level {levels} to level {min(reached, default=levels)}. What follows is what there is; "
            "there is no x yet. The same call with the same store goes on from there.",
        )
    yield _callout("tip" if fine else "important", "Are these numbers to be trusted?", verdict)
    yield from _warning(parts)
    forms = {str(part.attrs.get("form", "")) for part in parts.values()}
    clean = r"x \sim p(x \mid o_k), \qquad o_{k-1} \sim p(o_{k-1} \mid o_k, x)"
    below = r"o_{k-1} \sim p(o_{k-1} \mid o_k) \propto N(o_k; a_k o_{k-1}, s_k^2 I)\, p_{k-1}(o_{k-1})"
    yield from _model(
        run,
        f"runs[{_literal(next(iter(parts)))}]",
        f"Each of the {levels} levels is one step down, as in @eq-step, in the "
        f"{escaped(' and the '.join(sorted(filter(None, forms))) or 'unknown')} form. The inverter: "
        + "; ".join(
            f"{escaped(name)}: {escaped(part.attrs.get('inverter', 'unknown'))}" for name, part in parts.items()
        )
        + ".",
        r"o_k \mid x \sim N(\alpha_k x, \sigma_k^2 I), \qquad " + (below if forms == {"next level"} else clean),
    )
    yield _figure(
        "schedule",
        "The noise by level. The signal-to-noise ratio falls with every level; at the last one hardly any signal is "
        "left.",
        "Lines over the level: alpha, sigma, and the signal-to-noise ratio, which falls.",
        "bd.plot_schedule(next(iter(runs.values())));",
    )
    pathed = all("path" in part.children and part["path"].sizes.get("level", 0) > 1 for part in parts.values())
    free = run["path"].to_dataset() if "path" in run.children else xr.Dataset()
    numbers = sum(int(values.isel(chain=0, draw=0, level=0).size) for values in free.values())
    if pathed and 0 < numbers <= 8:
        yield "# From noise to x {#sec-path}"
        yield _figure(
            "path",
            "The particles from noise (left) to x (right), over how all of them are distributed at each level. Where "
            "the chain is exact, the two outlines agree at every level.",
            "Paths of particles against the level, over densities at each level.",
            f"bd.plot_chain({'runs' if len(parts) > 1 else 'run'});",
        )
        if numbers == 2:
            yield _figure(
                "plane",
                "The particles in the plane at some levels, from noise (left) to x (right).",
                "Scatter plots of the particles at five levels.",
                f"bd.plot_chain_plane({'runs' if len(parts) > 1 else 'run'});",
            )
    else:
        yield (
            "# From noise to x {#sec-path}\n\n"
            + (
                "x has too many numbers for a picture of each path. "
                if pathed
                else "The levels between were not kept. "
            )
            + ("" if pathed else "Run `reverse(..., path=True)` to see them.")
        )
    if done:
        yield "# What came out {#sec-result}"
        yield _table(
            "result",
            "The x that the chain ends with, with the errors of independent trajectories, beside draws of p0 "
            "where there are any. " + _prior_words(parts),
            "show.chain_table(runs)",
        )
    if all("level_stats" in part.children for part in parts.values()):
        yield "# By level {#sec-levels}"
        for i, (name, part) in enumerate(parts.items()):
            p = part["level_stats"].to_dataset()["lineages_p_value"].values
            low = float(np.nanmin(p)) if np.isfinite(p).any() else np.nan
            at = (
                ""
                if np.isnan(low)
                else f" The two halves of the trajectories differ most with p = {rounded(low, digits=2)}."
            )
            yield _table(
                f"levels-{i + 1}",
                f"{escaped(name)}: noise, work and agreement, from noise down.{at}",
                f"show.levels_table(runs[{_literal(name)}])",
            )
    yield "# Diagnostics {#sec-diagnostics}"
    yield verdict
    yield (
        "Trajectories are independent, so R-hat says nothing here. Two checks stand in for it: half of the "
        "trajectories begin their searches elsewhere, and must agree with the other half at every level; and the "
        "final x, diffused again, must be distributed as the noise that it came from. Both are necessary, not "
        "sufficient."
    )
    yield from _evidence(parts)


def _chain_verdict(parts: Mapping[str, xr.DataTree]) -> tuple[str, bool]:
    words, fine = [], True
    for name, part in parts.items():
        who = f"{escaped(name)}: " if len(parts) > 1 else ""
        told = []
        if "level_stats" in part.children:
            stats = part["level_stats"].to_dataset()
            p, lost = stats["lineages_p_value"].values, stats["lost"].values
            if np.isfinite(p).any() and np.nanmin(p) * len(p) < AGREE:
                level = int(stats["level"].values[np.nanargmin(p)])
                told.append(f"two halves of the trajectories disagree at level {level} (p = {np.nanmin(p):.1g})")
            if lost.max() > 0:
                told.append(f"{int(lost.max())} trajectories were lost")
        if "diagnostics" in part.children:
            again = float(part["diagnostics"]["diffused_again_p_value"])
            if again < AGREE:
                told.append(
                    f"the final x, diffused again, is not distributed as the noise it came from (p = {again:.1g})"
                )
        if "too narrow" in str(part.attrs.get("warning", "")):
            told.append("the last level is too narrow")
        if not part.attrs.get("finished", 1) or "posterior" not in part.children:
            told.append("the run is not finished")
        if told:
            fine = False
            words.append(f"{who}No: {'; '.join(told)}.")
        elif part.attrs.get("inverter", "").endswith(".mode"):
            fine = False
            words.append(
                f"{who}No check failed, but a chain of modes is no sample of p~0~ even then: modes are no draws."
            )
        else:
            words.append(f"{who}No check failed. The checks are necessary, not sufficient.")
    return " ".join(words), fine


def _prior_words(parts: Mapping[str, xr.DataTree]) -> str:
    """Say how far the spread of x is from that of p0."""
    told = []
    for label, run in parts.items():
        if "prior" not in run.children:
            continue
        ratios = [
            float(values.std() / known.std())
            for name, values in run["posterior"].to_dataset().items()
            for known in [run["prior"].to_dataset()[name]]
            if known.size and float(known.std()) > 0 and values.sizes.keys() <= {*SAMPLE}
        ]
        if ratios:
            worst = max(ratios, key=lambda ratio: abs(np.log(max(ratio, 1e-300))))
            who = f"Of {escaped(label)}, the" if len(parts) > 1 else "The"
            told.append(f"{who} sd is {worst:.2f} times that of p0.")
    return " ".join(told)


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
            "made at (UTC)": about.get("created_at") or "unknown",
            "wall time": f"{float(about['sampling_time']):.1f} s" if "sampling_time" in about else "unknown",
            "bayesdiff": about.get("inference_library_version", "unknown"),
            **{name: about.get("versions", {}).get(name, "unknown") for name in ("pymc", "jax", "numpy", "python")},
            "machine": about.get("machine", "unknown"),
            "checksum of what was inverted": _checksum(part, ("observed_data", "constant_data", "schedule")),
            "checksum of what came out": _checksum(part, ("unconstrained_posterior", "path")),
        })  # fmt: skip
    rows = [[key, *(escaped(column[key]) for column in columns)] for key in columns[0]]
    text = table(["", *map(escaped, parts)], rows, left=1 + len(parts))
    return "\n\n".join(["# To make it again {#sec-again}", text, ": How this run was made. {#tbl-again}"])


def _checksum(part: xr.DataTree, groups: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for group in groups:
        if group in part.children:
            for name, values in sorted(part[group].to_dataset().data_vars.items(), key=lambda item: str(item[0])):
                digest.update(f"{group}/{name}{values.shape}{values.dtype.str}".encode())
                digest.update(np.ascontiguousarray(values.values).tobytes())
    return digest.hexdigest()[:16]


__all__ = ["ReportError", "write_report"]
