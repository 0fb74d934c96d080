"""Reports: what a page holds, what it withholds, and what it refuses. Pages are looked at in a real browser."""

import ast
import json
import os
import re
import stat
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pypandoc
import pytest
import xarray as xr
import yaml
from browser import browser, contrast, opened, overflow
from pages import executed, markdown_of, told

import bayesdiff as bd
from bayesdiff.cli import main
from bayesdiff.report import graph, numbers, show, tables
from bayesdiff.report.document import ReportError, parts_of, read_document
from bayesdiff.report.files import check_place
from bayesdiff.report.page import problems_of
from bayesdiff.report.render import EXTRA, MARK, _environment, _execute, _where, render
from bayesdiff.report.show import Markdown, escaped
from bayesdiff.report.write import write_report
from bayesdiff.results import tree
from models import gaussian, mixture

QUIET = {"random_seed": 1, "progressbar": False}
EVIL = "<script>alert('x')</script>|`*_$"
# What begins something in Quarto, in Markdown, in HTML or in a cell, without the slash that no name may hold.
WORSE = (
    "`{python} 40+2` {{< env HOME >}} ```\n:::\n```{python}\n1\n```\n<script>ran = 1<script>|$x$ ' \" \\ ~L",
    "{{< include secret >}}",
    "<b>x<b>",
    "<!-- x -->",
    "$x$ $$y$$",
    "\n\n# x",
    "\n\n1. x",
    "\n\n- x\n- y",
    "\n\n    x",
    "\n\n> x",
    "*x* _y_ ~z~ ^w^ ~~v~~",
    "[x](y) ![x](y) [^1]",
    "@fig-path",
    "\n\n---\ntitle: x\n---\n\n",
    "\n\n::: {.callout-tip}\nx\n:::",
    "\n\n```{=html}\n<i>\n```",
    "\n\n~~~\nx\n~~~",
    "\n\nx | y\n--|--\n1 | 2",
    "x {#a .b c=d}`y`{=html}",
    "\\begin{x}y\\end{x}",
)
SHORTCODES = WORSE[1:2]  # pandoc itself knows none


@pytest.fixture
def step(article):
    """One step for 100 observations, both ways."""
    return article


@pytest.fixture(scope="module")
def chain():
    schedule = bd.geometric(30, 0.1, 20.0)
    prior = bd.gaussian_mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES, schedule)
    return bd.reverse(prior, schedule, bd.laplace, draws=25, path=True, **QUIET)


@pytest.fixture(scope="module")
def tempered():
    """Two modes, a positive variable, and data."""
    with pm.Model() as model:
        x, tau = pm.Normal("x", 0, 3), pm.HalfNormal("tau", 2)
        pm.Normal("y", abs(x), tau, observed=[1.0, 2.0, 2.5, 1.5])
    return bd.sample(model, draws=250, chains=2, **QUIET)


@pytest.fixture
def no_kernel(monkeypatch):
    """Cells run in this process: what is made of what they gave is the same."""
    monkeypatch.setattr("bayesdiff.report.render._execute", executed)


@pytest.fixture(scope="module")
def pages(article, chain, tempered, tmp_path_factory):
    """One page of each kind, made once, without a kernel; below one is made with it, and is the same."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayesdiff.report.render._execute", executed)
        return {
            "step": write_report(article, folder / "step.html", title=f"A step {EVIL}"),
            "chain": write_report(bd.save(chain, folder / "chain.zarr"), folder / "chain.html"),
            "sample": write_report(tempered, folder / "sample.html"),
        }


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


# ----------------------------------------------------------------------------------------------------------- the page


def test_a_report_is_one_small_file_that_passes_the_checklist(pages):
    for name, page in pages.items():
        text = page.read_text(encoding="utf-8")
        assert problems_of(text) == []
        assert len(text) < 5e6
        verdicts = {"step": "The draws can be trusted", "chain": "No check failed."}
        assert verdicts.get(name, "The draws can be trusted") in text
        assert "checksum of what came out" in text
    assert "<script>alert" not in pages["step"].read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(chain, pages, tmp_path):
    again = write_report(bd.save(chain, tmp_path / "chain.zarr"), tmp_path / "chain.html")
    assert again.read_bytes() == pages["chain"].read_bytes()


@pytest.mark.parametrize("name", ["step", "chain", "sample"])
def test_a_browser_shows_it(pages, chromium, name):
    for scheme in ("light", "dark"):
        with opened(chromium, pages[name], width=360, scheme=scheme) as (page, seen):
            for width in (360, 768, 1280):
                page.set_viewport_size({"width": width, "height": 900})
                assert overflow(page) == [], (width, scheme)
                assert contrast(page) >= 4.5, (width, scheme)
        assert (seen.errors, seen.requests) == ([], [])


def test_the_theme_button_and_the_folded_code_work(pages, chromium):
    with opened(chromium, pages["step"], scheme="light") as (page, seen):
        back = "getComputedStyle(document.documentElement).backgroundColor"
        light = page.evaluate(back)
        page.click("#theme")
        assert page.evaluate(back) != light
        assert page.inner_text("#theme") == "Light"
        assert contrast(page) >= 4.5
        code = page.locator("details.code").first
        assert not code.locator("pre").is_visible()
        code.locator("summary").click()
        assert code.locator("pre").is_visible()
        assert page.locator("h1.title").inner_text() == f"A step {EVIL}"
        page.click("nav#toc a >> nth=0")
    assert (seen.errors, seen.requests) == ([], [])


TABS = r"""---
title: Tabs
---

::: {.panel-tabset}
## One

first

## Two \<b\>

second
:::
"""


@pytest.mark.usefixtures("no_kernel")
def test_tabs_work_by_keyboard(tmp_path, chromium):
    source = tmp_path / "a.qmd"
    source.write_text(TABS)
    with opened(chromium, render(source, tmp_path / "a.html")) as (page, seen):
        assert page.locator("text=first").is_visible()
        assert not page.locator("text=second").is_visible()
        page.locator(".tabset input").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("text=second").is_visible()
        assert page.locator(".tabset label").nth(1).inner_text() == "Two <b>"
    assert (seen.errors, seen.requests) == ([], [])


# --------------------------------------------------------------------------------------------------- numbers, withheld


def test_tables_hold_the_numbers_of_the_run(step):
    """Against the closed form: the table's posterior mean is within 5 of its own errors of the exact one."""
    text = tables.comparison_table(step["map"], step["posterior"], rows=100).text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:102]]
    o = step["map"]["step/o"]["x"].values
    off = []
    for i, row in enumerate(rows):
        mean, error = map(float, row[3].split("±"))
        off.append((mean - o[i] / 101) / error)
        assert float(row[2]) == pytest.approx(step["map"]["posterior"]["x"].values[0, 0, i], rel=1e-2)
    assert np.abs(off).max() < 5
    assert np.std(off) < 1.5


def test_numbers_that_are_not_to_be_trusted_are_withheld(step):
    """The same draws, but for one observation whose chains disagree, and one climb that did not end."""
    posterior, modes = step["posterior"].copy(deep=True), step["map"].copy(deep=True)
    for part, row, code in ((posterior, 3, "r_hat"), (modes, 5, "no_maximum")):
        part["verdict"]["ok"].values[row] = False
        meanings = part["verdict"]["code"].attrs["flag_meanings"].split()
        part["verdict"]["code"].values[row] = meanings.index(code)
    posterior["verdict"]["r_hat"].values[3] = 1.7
    assert step["posterior"]["verdict"]["ok"].values.all()
    lines = tables.comparison_table(modes, posterior, rows=100).text.splitlines()
    assert [i for i, line in enumerate(lines[2:102]) if tables.WITHHELD in line] == [3, 5]
    assert lines[2 + 3].count(tables.WITHHELD) == 5  # its MAP is shown
    assert "*Withheld* (observation 3): R-hat 1.70 > 1.05." in lines
    assert tables.WITHHELD not in tables.comparison_table(step["map"], step["posterior"], rows=100).text


def test_one_inversion_alone_is_summed_up(step):
    """The same means and errors as in the table of both, and a climb that did not end is withheld."""
    both = tables.comparison_table(step["map"], step["posterior"], rows=100).text.splitlines()
    alone = tables.summary_table(step["posterior"], rows=100).text.splitlines()
    means = [[line.split("|")[column].strip() for line in lines[2:102]] for lines, column in ((both, 4), (alone, 3))]
    assert means[0] == means[1]
    assert "5 of 100 rows are shown" in tables.summary_table(step["posterior"], rows=5).text
    modes = step["map"].copy(deep=True)
    modes["verdict"]["ok"].values[5] = False
    lines = tables.summary_table(modes, rows=100).text.splitlines()
    assert [i for i, line in enumerate(lines[2:]) if tables.WITHHELD in line] == [5]


def cells(markdown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.text.splitlines()[2:]]


def test_the_tables_of_a_tempered_run_hold_its_numbers(tempered):
    """Against the run, and against what is known: both signs of x are as likely."""
    variables, modes = cells(tables.variables_table(tempered)), cells(tables.modes_table(tempered))
    tau = next(row for row in variables if row[0] == "tau")
    mean, error = map(float, tau[1].split("±"))
    assert mean == pytest.approx(float(tempered["posterior"]["tau"].mean()), abs=error)
    highest = numbers.highest_mode(tempered)
    assert tempered["modes"]["lp"].values[highest] == pytest.approx(tempered["modes"]["lp"].values.max(), abs=1e-3)
    assert float(tau[4]) == pytest.approx(float(tempered["modes"]["tau"][highest]), rel=1e-2)
    share = float((tempered["posterior"]["tau"] < tempered["modes"]["tau"][highest]).mean())
    assert float(tau[5]) == pytest.approx(share, abs=0.01)
    assert float(tau[6]) == pytest.approx(float(tempered["diagnostics"]["tau"].sel(diagnostic="r_hat")), abs=1e-3)
    for row in modes:
        weight, error = map(float, row[1].split("±"))
        assert abs(weight - 0.5) < 5 * error
    by_chain = (tempered["sample_stats"]["mode"] == 0).mean("draw").values
    assert modes[0][2] == ", ".join(f"{share:.2f}" for share in by_chain)
    evidence = cells(tables.evidence_table(tempered))
    assert float(evidence[-1][1]) == pytest.approx(float(tempered["log_evidence"]["log_evidence"]), abs=0.01)
    assert [float(row[1]) for row in cells(tables.ladder_table(tempered))][
        :: len(tempered["tempering"]["beta"]) - 1
    ] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [(1.23456, 0.02, "1.23"), (1.23456, 0.2, "1.2"), (1234.5, 30.0, "1230"), (0.0, 0.1, "0.0"), (np.nan, 1.0, "–")],
)
def test_digits_follow_the_error(value, error, said):
    assert numbers.rounded(value, error) == said


@pytest.mark.usefixtures("no_kernel")
def test_names_of_users_are_shown_and_not_run(tmp_path, chromium):
    name = EVIL.replace("/", "")  # PyMC takes no slash
    with pm.Model(coords={f"{name} too": ["$\\frac", "<b>"]}) as prior:
        pm.Normal(name, dims=f"{name} too")
        pm.Normal("$a$")
        pm.Normal("`{python} 40+2`")
    o = {name: [1.0, 2.0], "$a$": 1.0, "`{python} 40+2`": 1.0}
    run = bd.find_map(prior, o, sigma=2, **QUIET)
    spy = tmp_path / "was run"
    run.attrs["model_equations"] += f"\n`{{python}} open({str(spy)!r}, 'w')`\n```{{python}}\n1 / 0\n```\n</pre>"
    with opened(chromium, write_report({"map": run}, tmp_path / "a.html")) as (page, seen):
        assert f"{name}[$\\frac]" in page.inner_text("table >> nth=0")
        assert "`{python} 40+2`" in page.inner_text("table >> nth=0")
        shown = page.inner_text("pre.equations")
        assert "`{python} 40+2` ~ Normal(0, 1)" in shown
        assert shown.splitlines() == run.attrs["model_equations"].splitlines()
    assert (seen.errors, seen.requests) == ([], [])
    assert not spy.exists()


def spelled(run, word):
    """The same run with a word in every place that holds text of a user: names, dimensions, labels, attributes."""
    groups = {}
    for node in run.subtree:
        ds = node.to_dataset(inherit=False)
        ds = ds.rename({name: name.replace("plain", word) for name in {*ds.variables, *ds.dims} if "plain" in name})
        groups[node.path] = ds.assign_coords({
            name: (values.dims, [f"{word} {label}" for label in values.values])
            for name, values in ds.coords.items()
            if values.dtype.kind in "UO" and name not in ("diagnostic", "summary", "check")
        })  # fmt: skip
    new = xr.DataTree.from_dict(groups)
    kept = ("inversion", "model_graph", "created_at", "sampling_time", "finished", "form")
    new.attrs = {
        name: value if name in kept else {each: word for each in value} if isinstance(value, dict) else word
        for name, value in (run.attrs | {"carries": "", "model": "", "inverter": ""}).items()
    }
    if "verdict" in new.children:
        new["verdict"].attrs["sentence"] = word
    new.attrs["created_at"] = run.attrs["created_at"] if word == "plain" else word
    new.attrs["model_graph"] = f"graph TD\nplain([{word.splitlines()[0]} ~ Normal])\nb([b ~ Normal])\nplain --> b"
    return new


def skeleton(node):
    """A document of pandoc's without its words: what is a list, a link, code, mathematics, HTML, and where."""
    if isinstance(node, list):
        found = [skeleton(each) for each in node]
        return [each for each in found if each not in ("Str", "Space", "SoftBreak")]
    if not isinstance(node, dict):
        return node
    if node.get("t") in ("Str", "Space", "SoftBreak"):
        return node["t"]
    if node.get("t") in ("RawBlock", "RawInline"):
        return [node["t"], re.findall(r"</?\w+", node["c"][1])]
    return {key: skeleton(value) for key, value in node.items()}


def spelled_run(kind, word, step, chain, tempered):
    if kind == "step":
        return {name: spelled(part.map_over_datasets(plainly), word) for name, part in step.items()}
    if kind == "sample":
        return spelled(tempered.map_over_datasets(plainly), word)
    again = spelled(chain.map_over_datasets(plainly), word)
    return {word: again, f"{word} b": again}


def blocks_of(markdown):
    found = json.loads(converted(markdown, "json", "--columns=9999"))
    return skeleton(found["blocks"]), sorted(found["meta"])


def converted(markdown, to, *options):
    """By pandoc itself: pypandoc asks it twice what it can do before each conversion."""
    command = [pypandoc.get_pandoc_path(), "--from", "markdown", "--to", to, *options]
    return subprocess.run(command, input=markdown, encoding="utf-8", capture_output=True, check=True).stdout


@pytest.mark.parametrize("kind", ["step", "chain", "sample"])
def test_no_text_of_a_run_is_in_its_document_or_means_anything_in_what_it_shows(step, chain, tempered, tmp_path, kind):
    """Real Quarto runs inline code, and expands {{< ... >}}, anywhere in a source: none comes from a run."""
    sources, seen = [], []
    for i, word in enumerate(("plain", "\n\n".join(WORSE))):
        run = spelled_run(kind, word, step, chain, tempered)
        written = write_report(run, tmp_path / f"{i}.qmd", title=f"{word} title")
        text = written.read_text(encoding="utf-8")
        title = yaml.safe_load(text.split("---\n")[1])["title"]
        assert title == escaped(f"{word} title")
        assert not re.search(r"[<{`]", text.split("\n")[1])
        sources.append(re.sub("^(title|date): .*$", "", text, flags=re.MULTILINE).replace(f"{i}-run", "0-run"))
        markdown, _ = markdown_of(written)
        assert "{{" not in markdown
        assert not re.search(r"(?<!\\)<script", markdown)
        seen.append(blocks_of(f"{title}\n\n{markdown}"))
    assert sources[1] == sources[0]
    assert seen[1] == seen[0]


def test_our_documents_load_and_plot_and_do_nothing_else():
    """A report cannot sample: what is in a cell is no import that the house's test could see."""
    documents = list(Path(show.__file__).parent.glob("*.qmd"))
    assert {file.stem for file in documents} == {"step", "chain", "sample", "calibration"}
    for file in documents:
        text = file.read_text(encoding="utf-8")
        assert {name for name in re.findall(r"\bbd\.(\w+)", text) if not name.startswith("plot_")} == {"load"}
        imports = re.findall(r"^(?:import|from) (\S+)", text, flags=re.MULTILINE)
        assert {*imports} <= {"bayesdiff", "bayesdiff.plots", "bayesdiff.report", "bayesdiff.verdict"}


@pytest.mark.parametrize("word", WORSE)
def test_any_text_comes_out_as_it_is(word):
    """As a paragraph, in a table, in a caption, in a box, to be read out: with a control that is not escaped."""

    def shown(word):
        cells = Markdown(tables.grid(["a", escaped(word)], [[escaped(word), "b"]]))
        plot = show.figure("fig-a", word, word, plt.figure)
        parts = [show.text(word), show.table("tbl-a", word, cells), show.callout("tip", "a", word), plot]
        return show.these(*parts)._repr_markdown_()

    assert blocks_of(shown(word)) == blocks_of(shown("plain"))
    assert blocks_of(f"a {word}\n\nb\n\n") != blocks_of("a plain\n\nb\n\n") or word in SHORTCODES
    plain = converted(show.text(word).text, "plain", "--wrap=none")
    assert plain.strip() == " ".join(word.split())
    assert "{{<" not in shown(word)


@pytest.mark.parametrize("kind", ["chain", "sample"])
@pytest.mark.usefixtures("no_kernel")
def test_a_page_shows_any_text_as_it_is(step, chain, tempered, tmp_path, chromium, kind):
    run = spelled_run(kind, "".join(WORSE), step, chain, tempered)
    with opened(chromium, write_report(run, tmp_path / "a.html", title="".join(WORSE))) as (page, seen):
        assert page.inner_text("h1.title") == " ".join("".join(WORSE).split())
        assert page.evaluate("window.ran === undefined")
    assert (seen.errors, seen.requests) == ([], [])


def plainly(ds):
    return ds.rename({name: f"{name} plain" for name in {*ds.variables, *ds.dims} & {"x"}})


# ----------------------------------------------------------------------------------------------------------- the graph


def graphs():
    """A graph of wide boxes, and ten random ones."""
    schools = {"mu": 1.0, "tau": 1.2, "theta": 3.0, "ratio": 2.0, "y": 1.0}
    yield schools, ["mu theta", "tau theta", "tau ratio", "theta ratio", "theta y"]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        names = [f"v{i}" for i in range(9)]
        edges = [f"{a} {b}" for i, a in enumerate(names) for b in names[i + 1 :] if rng.random() < 0.3]
        yield dict(zip(names, rng.uniform(0.5, 4, 9), strict=True)), edges


@pytest.mark.parametrize(("widths", "edges"), list(graphs()))
def test_arrows_of_a_graph_end_at_boxes_and_pass_behind_none(widths, edges):
    sizes = {name: (width, 0.3 + 0.2 * (i % 2)) for i, (name, width) in enumerate(widths.items())}
    edges = [tuple(edge.split()) for edge in edges]
    places, routes, (width, height) = graph.arrange(sizes, edges)
    assert routes.keys() == set(edges)
    halves = {name: np.array(sizes[name]) / 2 for name in places}
    boxes = {name: (np.array(place) - halves[name], np.array(place) + halves[name]) for name, place in places.items()}
    for name, (low, high) in boxes.items():
        assert (low >= 0).all()
        assert (high <= (width, height)).all()
        for other, (lower, upper) in boxes.items():
            assert other == name or (low >= upper).any() or (high <= lower).any(), (name, other)
    for (start, end), route in routes.items():
        assert route[0][1] == pytest.approx(boxes[start][0][1])
        assert route[-1][1] == pytest.approx(boxes[end][1][1])
        assert boxes[end][0][0] < route[-1][0] < boxes[end][1][0]
        points = np.concatenate([np.linspace(a, b, 50) for a, b in pairwise(route)])
        for low, high in boxes.values():
            assert not ((points > low + 1e-9) & (points < high - 1e-9)).all(axis=1).any()


def test_a_graph_that_goes_round_in_a_circle_is_drawn_too():
    """No model is one, but somebody may have written so."""
    run = tree({}, {"model_graph": "graph TD\na([a ~ Normal])\nb([b ~ Normal])\na --> b\nb --> a\na --> a"})
    assert len(show.draw_graph(run).axes[0].texts) == 4


def test_a_drawn_graph_has_its_texts_in_its_boxes_and_cuts_long_names():
    name = "L" + "o" * 90 + "ng"
    run = tree({}, {"model_graph": f"graph TD\na([{name} ~ Normal])\nb[b ~ Deterministic]\na --> b"})
    figure = show.draw_graph(run)
    figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
    texts = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(texts) == 3
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 < text.x0 < text.x1 < box.x1
        assert box.y0 < text.y0 < text.y1 < box.y1
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said[:2] == ["Looooooooooo…ooooooooong ~ Normal", "b ~ Deterministic"]
    assert graph.read_graph(run.attrs["model_graph"]).nodes["a"][0].startswith(name)


# ----------------------------------------------------------------------------------------------------- Quarto or not


def test_quarto_is_used_where_it_is_and_gets_the_same_source(step, tmp_path, monkeypatch):
    run = bd.save(step["map"], tmp_path / "run.zarr")
    here = write_report(run, tmp_path / "without.qmd").read_text(encoding="utf-8")
    bin_folder, kept = tmp_path / "bin", tmp_path / "kept"
    bin_folder.mkdir()
    kept.mkdir()
    stub = bin_folder / "quarto"
    stub.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" > {kept}/arguments\ncp "$2" {kept}/source.qmd\n'
        'while [ "$1" != --output-dir ]; do shift; done\n'
        'echo "<html lang=en><title>By Quarto</title><body></body></html>" > "$2/page.html"\n'
    )
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    page = write_report(run, tmp_path / "with.html")
    assert "By Quarto" in page.read_text()
    assert (kept / "source.qmd").read_text(encoding="utf-8") == here
    arguments = (kept / "arguments").read_text().split()
    assert arguments[:2] == ["render", "with.qmd"]
    assert "embed-resources:true" in arguments
    stub.write_text("#!/bin/sh\necho 'no such format' >&2\nexit 3\n")
    with pytest.raises(ReportError, match=r"quarto could not render .*: no such format"):
        write_report(run, tmp_path / "never.html")
    stub.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output-dir ]; do shift; done\necho "<img src=a.png>" > "$2/page.html"\n'
    )
    with pytest.raises(ReportError, match=r"img fetches a\.png; a picture has no alternative text"):
        write_report(run, tmp_path / "never.html")
    assert not (tmp_path / "never.html").exists()


# ------------------------------------------------------------------------------------------------- runs of other people

RUNS = "open('ran', 'a').write(__file__)\n"


def test_a_run_whose_name_is_that_of_a_module_is_refused(chain, tmp_path, monkeypatch, capsys):
    """Such a folder would be imported, had it a place on the path of the kernel."""
    monkeypatch.chdir(tmp_path)
    run = bd.save(chain, "run.zarr")
    (run / "__init__.py").write_text(RUNS)
    Path("evil").mkdir()
    for name in ("bayesdiff", "xarray", "zarr", "IPython", "numpy.py", "x.pyc", "sitecustomize", "run"):
        run = run.rename(Path("evil", name))
        with pytest.raises(ValueError, match=r"is not a run saved by bayesdiff: that is a folder whose"):
            write_report(run, "a.html")
        assert main(["report", f"evil/{name}"]) != 0
        assert "that is a folder whose name ends in .zarr" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name in ("ran", "a.html")) == []


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_the_kernel_sees_no_name_of_a_run(chain, tmp_path, monkeypatch, suffix):
    """Whatever a run is called: its folder holds a source and ``run.zarr`` or ``run.nc``, and is on no path."""
    seen = {}

    def looks(path, out, **options):
        there = sorted(file.name for file in path.parent.iterdir())
        seen.update(options, there=there, code=path.read_text(encoding="utf-8"))
        assert bd.load(path.with_name(f"run{suffix}")).identical(chain)

    monkeypatch.setattr("bayesdiff.report.write.render", looks)
    monkeypatch.setenv("HOME", str(tmp_path))
    bd.save(chain, tmp_path / f"xarray{suffix}")
    (tmp_path / f"ipython_config{suffix}").symlink_to(tmp_path / f"xarray{suffix}")
    for name in (tmp_path / f"xarray{suffix}", f"~/ipython_config{suffix}"):
        write_report(name, tmp_path / "page.html")
        assert seen["there"] == ["page.qmd", f"run{suffix}"]
        assert seen["folder_on_path"] is False
        assert f'bd.load("run{suffix}")' in seen["code"]
        assert "ipython_config" not in seen["code"]


PATH = """---
title: Where modules come from
---

```{python}
import os, random, sys
import IPython, bayesdiff, ipykernel, matplotlib, numpy, xarray, zarr
from bayesdiff.report import show
```

Of the folder: `{python} sum(part in ("", ".") or os.path.realpath(part) == os.getcwd() for part in sys.path)`.
"""


def test_a_kernel_of_ours_imports_nothing_from_its_folder(tmp_path):
    """Nor does Python, IPython or Jupyter read its settings there."""
    names = ["IPython", "bayesdiff", "ipykernel", "matplotlib", "numpy", "random", "xarray", "zarr"]
    names += ["sitecustomize", "usercustomize", "traitlets", "zmq", ".ipython/profile_default/startup"]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(RUNS)
    for name in ("ipython_config", "ipython_kernel_config", "jupyter_config", "mine"):
        (tmp_path / f"{name}.py").write_text(f"TWO = 2\n{RUNS}")
    (tmp_path / "a.qmd").write_text(PATH)
    text = render(tmp_path / "a.qmd", tmp_path / "a.html", folder_on_path=False).read_text(encoding="utf-8")
    assert "Of the folder: 0." in text
    assert not list(tmp_path.rglob("ran"))


def test_quarto_is_told_the_same(step, tmp_path, monkeypatch):
    stub = tmp_path / "quarto"
    stub.write_text(
        "#!/bin/sh\n"
        f'echo "safe=$PYTHONSAFEPATH" >> {tmp_path}/told\n'
        'while [ "$1" != --output-dir ]; do shift; done\n'
        'echo "<html lang=en><title>By Quarto</title><body></body></html>" > "$2/page.html"\n'
    )
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (tmp_path / "a.qmd").write_text("---\ntitle: A\n---\n")
    write_report(step["map"], tmp_path / "ours.html")
    render(tmp_path / "a.qmd", tmp_path / "theirs.html")
    assert (tmp_path / "told").read_text() == "safe=1\nsafe=\n"


# ---------------------------------------------------------------------------------------------------------- bad input


GOOD = """---
title: A page
---

# One {#sec-one}

See @fig-a and @sec-one. There are `{python} 1 + 1`.

```{python}
#| label: fig-a
#| fig-cap: "It goes up."
#| fig-alt: "A line."
import matplotlib.pyplot as plt
plt.plot([1, 2]);
```
"""


def test_a_document_of_ones_own_that_imports_from_its_folder(tmp_path):
    (tmp_path / "mine.py").write_text("TWO = 2")
    (tmp_path / "a.qmd").write_text(f"{GOOD}\n`{{python}} __import__('mine').TWO` of them\n")
    made = render(tmp_path / "a.qmd", tmp_path / "a.html")
    text = made.read_text(encoding="utf-8")
    assert "There are 2." in text
    assert "Figure 1" in text
    assert "2 of them" in text
    assert sorted(file.name for file in tmp_path.iterdir() if file.name != "__pycache__") == [
        "a.html",
        "a.qmd",
        "mine.py",
    ]


@pytest.mark.usefixtures("no_kernel")
def test_an_abstract_that_is_computed_stands_in_the_head_alone(tmp_path):
    source = tmp_path / "a.qmd"
    source.write_text("---\ntitle: A\n---\n::: {.abstract}\n`{python} 40 + 2` of them\n:::\n\ntext\n")
    head, body = render(source, tmp_path / "a.html").read_text(encoding="utf-8").split("<main>")
    assert re.search(r'<div class="abstract">\s*<p>42 of them</p>', head)
    assert "42" not in body


INLINE = """---
title: Text
---

`{python} "1. <b> {{< env HOME >}} ::: $x$" + 2 * chr(10) + "# no"`

`{python} "::: {.callout-tip}"` and $x = `{python} f"{-1.5e-7:.1e}"`$
"""


@pytest.mark.usefixtures("no_kernel")
def test_text_of_an_inline_expression_is_shown_as_it_is(tmp_path):
    source = tmp_path / "a.qmd"
    source.write_text(INLINE)
    page = render(source, tmp_path / "a.html").read_text(encoding="utf-8")
    body = page.split("<main>")[1].split("</main>")[0]
    assert "1. &lt;b&gt; {{&lt; env HOME &gt;}} ::: $x$ # no" in body
    assert "<p>::: {.callout-tip} and" in body
    assert re.findall(r"<(ol|h1|b|div)\b", body) == []
    assert "<mn>1.5</mn>" in body


QUOTED = """---
title: Quoted
execute:
  warning: false
---

Code spans: `` `{python} 1 / 0` `` and \\`{python} 1 / 0\\`. Run: `{python} 40 + 2`
and `{python} sum(
[1, 2])`.

````
```{python}
1 / 0
```
`{python} 1 / 0`
````

~~~
```{python}
1 / 0
~~~

```{python}
#| label: said
import warnings
warnings.warn("not shown")
print("`{python} 1 / 0`")
```
"""


def test_what_is_quoted_is_shown_and_not_run(tmp_path):
    (tmp_path / "a.qmd").write_bytes(QUOTED.replace("\n", "\r\n").encode())
    text = render(tmp_path / "a.qmd", tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Run: 42 and 3." in " ".join(text.split())
    assert text.count("{python} 1 / 0") == 4
    assert text.count("```{python}") == 2
    assert "not shown" not in text.replace('warn(<span class="st">&quot;not shown', "")


RAISES = """---
title: What raises
---

Of `{python} 1 + 1`, and
`{python} nothing`.

```{python}
import sys
1
sys.exit(3)
```

And `{python} 1 +`.

```{python}
#| label: ours
from bayesdiff.report import show
show.figure("fig-a", "A.", "a", lambda: 1 / 0)
```
"""


def test_what_raises_is_named_with_its_line(tmp_path, monkeypatch):
    """In one kernel that goes on: of each failure is told what would be told if it were the first."""
    import nbclient

    monkeypatch.setattr(nbclient, "NotebookClient", partial(nbclient.NotebookClient, allow_errors=True))
    source, work = tmp_path / "a.qmd", tmp_path / "work"
    source.write_text(RAISES)
    work.mkdir()
    _, body, line = read_document(source)
    parts = parts_of(body, line, dict.fromkeys(("echo", "eval", "output", "include", "warning"), True), source)
    told = []
    for i, outputs in enumerate(_execute(parts, source, work, _environment(work, True), "svg")):
        if any(out.output_type == "error" for out in outputs):
            alone = [SimpleNamespace(outputs=outputs if j == i + 1 else []) for j in range(len(parts) + 1)]
            told.append(_where(parts, SimpleNamespace(cells=alone), source).removeprefix(f"{source}, "))
    assert told[0] == "line 6: the inline expression nothing raised NameError: name 'nothing' is not defined"
    assert told[1] == "line 11: the cell at line 9 raised SystemExit: 3"
    assert told[2].startswith("line 14: the inline expression 1 + raised SyntaxError")
    # A figure of ours is drawn when it is shown, outside of the cell's own run.
    assert told[3:] == ["line 19: the cell ours raised ZeroDivisionError: division by zero"]


def makes_no_page(folder, before, after, message):
    assert before in GOOD
    text = GOOD.replace(before, after, 1).encode(errors="surrogateescape")
    (folder / "a.qmd").write_bytes(text)
    older = f"<!doctype html>\n{MARK}\nan older page"
    (folder / "a.html").write_text(older)
    with pytest.raises(ReportError) as caught:
        render(folder / "a.qmd", folder / "a.html")
    assert message in str(caught.value)
    assert (folder / "a.html").read_text() == older
    assert sorted(file.name for file in folder.iterdir()) == ["a.html", "a.qmd"]


def test_a_document_whose_cell_raises_makes_no_page(tmp_path):
    message = "line 14: the cell fig-a raised ZeroDivisionError: division by zero"
    makes_no_page(tmp_path, "plt.plot([1, 2]);", "1 / 0", message)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("plt.plot([1, 2]);", "1 + 1;", "line 10: the cell fig-a draws nothing"),
        ("plt.plot([1, 2]);", "plt.plot([1, 2]); print(plt.__file__)", "the page shows a path of this machine"),
        ("@sec-one.", "@tbl-two.", "@tbl-two refers to nothing"),
        ('#| fig-alt: "A line."\n', "", "line 10: the cell fig-a has no text for those who cannot see it"),
        ("```{python}\n", "```{r}\n", "line 9: a cell of r. Without Quarto"),
        ("plt.plot([1, 2]);\n```", "", "line 9: this cell has no end; write ``` after it"),
        ("#| label: fig-a", "#| label", "line 10: what #| says of the cell is not YAML"),
        ("#| label: fig-a", "#| label:", "line 10: the label of the cell is no name; write #| label: name"),
        ("#| label: fig-a", "#| label: [a]", "line 10: the label of the cell is no name; write #| label: name"),
        ("title: A page", "lang: en", "has no title. Begin it with three lines"),
        ("title: A page", "title: A page\nexecute: no", "execute is False in the front matter"),
        ("# One", "![x](https://example.com/a.png)\n\n# One", "example.com/a.png"),
        ("A page", "\udcff", "a.qmd is not text in UTF-8 (byte 12). Save it as UTF-8."),
    ],
)
@pytest.mark.usefixtures("no_kernel")
def test_a_document_that_makes_no_page(tmp_path, before, after, message):
    makes_no_page(tmp_path, before, after, message)


def test_a_cell_that_says_one_word_of_itself(tmp_path):
    (tmp_path / "a.qmd").write_text("---\ntitle: A\n---\n```{python}\n#| label\nx = 1\n```\n")
    with pytest.raises(
        ReportError, match=r"a\.qmd, line 5: what #\| says of the cell .*: 'label'. Write `name: value`"
    ):
        render(tmp_path / "a.qmd", tmp_path / "a.html")


@pytest.mark.usefixtures("no_kernel")
def test_a_chain_that_was_stopped_is_reported_as_such(tmp_path):
    def stops(prior, o, alpha, sigma, *, start, random_seed):
        if sigma < 1:
            raise ValueError("enough")
        return bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    store = tmp_path / "run.zarr"
    with pytest.raises(bd.ChainError):
        bd.reverse(gaussian.prior(), bd.geometric(5, 0.1, 20.0), stops, draws=20, store=store, **QUIET)
    text = told(write_report(store, tmp_path / "run.qmd"))[0]
    assert "This run is not finished" in text
    assert "from level 5 to level 2" in text
    page = write_report(store, tmp_path / "run.html").read_text(encoding="utf-8")
    assert "The run is not finished. " in page
    levels = tmp_path / ".run.zarr.levels"
    (levels / "000003.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"\.run\.zarr\.levels is damaged"):
        write_report(store, tmp_path / "other.html")


def test_a_tempered_run_that_was_stopped_is_not_called_damaged(tempered, tmp_path):
    """What it keeps is needed to go on: nobody should be told to remove it."""
    kept = tmp_path / ".run.zarr.levels"
    kept.mkdir()
    (kept / "call.json").write_text(json.dumps({"function": "sample", "draws": 250, "chains": 2, "seed": 1}))
    (kept / "0-0001.npz").write_bytes(b"of no interest here")
    with pytest.raises(ValueError, match=r"has not ended.*the same call again goes on"):
        write_report(tmp_path / "run.zarr", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()
    # Beside a run that is finished it does not matter.
    write_report(bd.save(tempered, tmp_path / "run.zarr"), tmp_path / "a.qmd")


def test_bad_input_is_said_before_anything_is_made(step, chain, tempered, tmp_path):
    for run, path, error, message in (
        (tmp_path / "none.zarr", "a.html", FileNotFoundError, r"no run at .*none\.zarr"),
        (step["map"], "a.pdf", ValueError, r"must end in \.html .* or in \.qmd"),
        (3, "a.html", TypeError, "The run is a int"),
        ({"a": 3}, "a.html", TypeError, "'a' of the run is a int"),
        ({"a/b": chain}, "a.html", ValueError, "'a/b' cannot be the label of a run"),
        (tree({}), "a.html", ValueError, "is not a run that can be reported"),
        ({"a": step["map"], "b": chain}, "a.html", ValueError, "is not a run that can be reported"),
        ({"a": tempered, "b": tempered}, "a.html", ValueError, "is not a run that can be reported"),
    ):
        with pytest.raises(error, match=message):
            write_report(run, tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_levels_that_are_text_are_shown_as_text(chain):
    groups = {
        node.path: node.to_dataset(inherit=False) for node in chain.subtree if node.path != "/path" and node.path != "/"
    }
    named = {
        path: ds.assign_coords(level=[f"<b onmouseover=a()>{k}</b> **b** [a](b)" for k in ds["level"].values])
        if "level" in ds.coords
        else ds
        for path, ds in groups.items()
    }
    shown = tables.levels_table(xr.DataTree.from_dict(named)).text
    assert "onmouseover" in shown
    assert not re.search(r"(?<!\\)[<*\[]", shown)


def test_a_label_is_no_mathematics(tmp_path):
    figure = show.figure("fig-a", "A.", "a", lambda: plt.figure().text(0, 0, r"$\frac{1$"))
    assert "data:image/svg" in figure._repr_markdown_()
    plt.figure().text(0, 0, r"$\frac{1$")
    with pytest.raises(ValueError, match="frac"):  # the negative control
        plt.savefig(tmp_path / "a.svg")


def test_a_damaged_run_and_one_of_a_newer_version(chain, tmp_path):
    run = bd.save(chain, tmp_path / "run.zarr")
    about = run / "zarr.json"
    text = json.loads(about.read_text())
    text["attributes"]["bayesdiff_format"] = 99
    about.write_text(json.dumps(text))
    with pytest.raises(ValueError, match="has format 99, this version of bayesdiff"):
        write_report(run, tmp_path / "a.html")
    about.write_text("{")
    with pytest.raises(ValueError, match="is not a run saved by bayesdiff"):
        write_report(run, tmp_path / "a.html")


def test_a_source_that_is_there_is_not_replaced_unasked(step, tmp_path):
    run = bd.save(step["map"], tmp_path / "run.zarr")
    source = write_report(run, tmp_path / "a.qmd")
    source.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_report(run, source)
    assert source.read_text() == "mine"
    assert 'bd.load("run.zarr")' in write_report(run, source, overwrite=True).read_text()


def test_the_file_of_the_model_is_named(step, tmp_path):
    run = bd.save(tree(step, {"model": "mixture.py"}), tmp_path / "run.zarr")
    assert "The prior p~0~ is the model of mixture.py." in told(write_report(run, tmp_path / "a.qmd"))[0]


def test_places_that_cannot_be_written(step, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file cannot be made .*Choose another place for a\.html"):
        write_report(step, tmp_path / "file" / "a.html")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_place(tmp_path)
    check_place(tmp_path / "new" / "a.html")
    assert (tmp_path / "new").is_dir()
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"new cannot be written to\. Choose another place for a\.html"):
        write_report(step, tmp_path / "new" / "a.html")
    monkeypatch.undo()

    def refused(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    run = bd.save(step["map"], tmp_path / "run.zarr")
    monkeypatch.setattr("os.replace", refused)
    with pytest.raises(PermissionError, match=r"a\.qmd cannot be written \(Permission denied\)"):
        write_report(run, tmp_path / "new" / "a.qmd")
    assert list((tmp_path / "new").iterdir()) == []


def test_only_pages_of_ours_are_replaced_unasked(tmp_path):
    page = tmp_path / "a.html"
    page.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.html exists and is not a page of bayesdiff.*overwrite=True"):
        check_place(page)
    check_place(page, overwrite=True)
    for mark in (MARK, "<!-- made by bayesdiff explore -->"):
        page.write_text(f"<!doctype html>\n{mark}\n")
        check_place(page)


def test_a_missing_or_broken_extra_is_named(step, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    run = bd.save(step["map"], tmp_path / "run.zarr")
    source = tmp_path / "mine.qmd"
    source.write_text("---\ntitle: A\n---\ntext\n")
    for name in EXTRA:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=rf'need {name}.*: pip install "bayesdiff\[report\]"'):
                render(source, tmp_path / "a.html")
    (tmp_path / "nbclient.py").write_text("raise ImportError('no kernel today')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nbclient", raising=False)
    with pytest.raises(ImportError, match=r"need nbclient \(no kernel today\): pip install"):
        write_report(run, tmp_path / "a.html")
    assert write_report(run, tmp_path / "a.qmd").exists()


def test_all_that_the_route_imports_is_named():
    """Against the source: whatever render.py and document.py import beside the standard library."""
    import bayesdiff.report.document
    import bayesdiff.report.render

    found = set()
    for module in (bayesdiff.report.render, bayesdiff.report.document):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
                found |= {name.partition(".")[0] for name in names}
    assert found - sys.stdlib_module_names - {"bayesdiff"} == {*EXTRA} - {"ipykernel"}  # the kernel is another process


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<img src="data:," alt="">', "a picture has no alternative text"),
        ('<link rel="stylesheet" href="a.css">', "link fetches a.css"),
        ("<style>a { background: url(https://b.c/d) }</style>", "a style fetches"),
        ("<style>@import 'x.css';</style>", "a style fetches"),
        ('<a href="#gone">x</a>', "the link #gone leads nowhere"),
        ("<figure></figure>", "a figure has no caption"),
        ("<p>?@fig-a</p>", "@fig-a is not resolved"),
        (f"<p>{Path(os.__file__).parent}/a.py:1: UserWarning</p>", "the page shows a path of this machine"),
        (f"<p>file://{Path.cwd()}</p>", "the page shows a path of this machine"),
    ],
)
def test_the_checklist_sees(page, problem):
    whole = f'<html lang="en"><head><title>A</title></head><body>{page}</body></html>'
    assert any(problem in found for found in problems_of(whole))
    assert problems_of(whole.replace(page, "")) == []


@pytest.mark.parametrize("title", ["", "-"])
def test_a_page_without_a_title_is_seen(title):
    assert problems_of(f'<html lang="en"><title>{title}</title>') == ["the page has no title"]


def test_short_places_and_pictures_are_no_paths():
    page = (
        '<html lang="en"><title>A</title><p>/home/abcd x/home/abc</p>'
        '<img alt="a" src="data:image/png;base64,/home/abc/">'
    )
    assert problems_of(page, [Path("/home/abc")]) == []
    assert problems_of(page + "<p>/home/abc/d", [Path("/home/abc")]) == [
        "the page shows a path of this machine, /home/abc"
    ]


@pytest.mark.slow
def test_the_same_step_gives_the_same_bytes(pages, step, tmp_path):
    again = write_report(step, tmp_path / "step.html", title=f"A step {EVIL}")
    assert again.read_bytes() == pages["step"].read_bytes()


def test_a_report_is_printed_legibly_whatever_theme_was_chosen(pages, chromium):
    for scheme in ("light", "dark"):
        with opened(chromium, pages["step"], scheme=scheme) as (page, _):
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.click("#theme")
            page.emulate_media(media="print")
            assert contrast(page) >= 4.5
            page.emulate_media(media="screen")
            page.click("#theme")
            page.emulate_media(media="print")
            assert contrast(page) >= 4.5


@pytest.mark.bench
@pytest.mark.parametrize("kind", ["step", "chain"])
def test_a_page_is_made_in_time(step, chain, tmp_path, kind):
    """30 s on an idle machine of two cores; twice that on a busy one. What it weighs is tested above."""
    run = bd.save({"step": tree(step, {}), "chain": chain}[kind], tmp_path / "run.zarr")
    begun = time.monotonic()
    write_report(run, tmp_path / "a.html")
    assert time.monotonic() - begun < 60


@pytest.mark.usefixtures("no_kernel")
def test_the_command_line_says_what_it_does_not_use(tmp_path, capsys):
    source = tmp_path / "a.qmd"
    source.write_text("---\ntitle: A\n---\ntext\n")
    (tmp_path / "a.html").write_text("mine")
    assert main(["report", str(source), "-o", str(tmp_path / "a.html"), "--title", "B"]) == 2
    assert "--title is for the report of a run; write title: into the front matter" in capsys.readouterr().err
    assert main(["report", str(source), "-o", str(tmp_path / "a.html")]) == 2
    assert "is not a page of bayesdiff" in capsys.readouterr().err
    assert (tmp_path / "a.html").read_text() == "mine"
    assert main(["report", str(source), "-o", str(tmp_path / "a.html"), "--overwrite"]) == 0
    assert MARK in (tmp_path / "a.html").read_text()
