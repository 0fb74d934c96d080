"""Reports: what a page holds, what it withholds, and what it refuses. Pages are looked at in a real browser."""

import json
import os
import stat

import numpy as np
import pymc as pm
import pytest
from browser import browser, contrast, opened, overflow

import bayesdiff as bd
from bayesdiff.report import show
from bayesdiff.report.page import problems_of
from bayesdiff.report.render import ReportError, render
from bayesdiff.report.source import write_report
from bayesdiff.results import tree
from models import gaussian, mixture

QUIET = {"random_seed": 1, "progressbar": False}
EVIL = "<script>alert('x')</script>|`*_$"


@pytest.fixture(scope="module")
def step():
    """The mixture's step for 100 observations, both ways."""
    prior = bd.compile_prior(mixture.prior())
    o = np.random.default_rng(1).normal(0, 101**0.5, 100)
    return {
        "map": bd.find_map(prior, o, sigma=10, **QUIET),
        "posterior": bd.sample_posterior(prior, o, sigma=10, draws=250, tune=100, **QUIET),
    }


@pytest.fixture(scope="module")
def chain():
    schedule = bd.geometric(30, 0.1, 20.0)
    prior = bd.gaussian_mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES, schedule)
    return bd.reverse(prior, schedule, bd.laplace, draws=25, path=True, **QUIET)


@pytest.fixture(scope="module")
def pages(step, chain, tmp_path_factory):
    """One page of each kind, made once."""
    folder = tmp_path_factory.mktemp("pages")
    step_page = write_report(step, folder / "step.html", title=f"A step {EVIL}")
    return {"step": step_page, "chain": write_report(bd.save(chain, folder / "chain.zarr"), folder / "chain.html")}


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
        assert {"step": "observations can be trusted", "chain": "No check failed."}[name] in text
        assert "checksum of what came out" in text
    assert "<script>alert" not in pages["step"].read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(chain, pages, tmp_path):
    again = write_report(bd.save(chain, tmp_path / "chain.zarr"), tmp_path / "chain.html")
    assert again.read_bytes() == pages["chain"].read_bytes()


@pytest.mark.parametrize("name", ["step", "chain"])
def test_a_browser_shows_it(pages, chromium, name):
    for width in (360, 768, 1280):
        for scheme in ("light", "dark"):
            with opened(chromium, pages[name], width=width, scheme=scheme) as (page, seen):
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
    text = show.comparison_table(step["map"], step["posterior"], rows=100).text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:102]]
    o = step["map"]["observed_data"]["x"].values
    truth = mixture.exact(o, 1.0, 10.0)
    off = []
    for i, row in enumerate(rows):
        mean, error = map(float, row[3].split("±"))
        off.append((mean - truth["mean"][i]) / error)
        assert float(row[2]) == pytest.approx(step["map"]["posterior"]["x"].values[0, 0, i], rel=1e-2)
    assert np.abs(off).max() < 5
    assert np.std(off) < 1.5


def test_numbers_that_are_not_to_be_trusted_are_withheld(step):
    """The same draws, but for one observation whose chains disagree, and one climb that did not end."""
    posterior, modes = step["posterior"].copy(deep=True), step["map"].copy(deep=True)
    posterior["diagnostics"]["x"].loc[{"observation": 3, "diagnostic": "r_hat"}] = 1.7
    modes["sample_stats"]["converged"].values[..., 5] = False
    assert np.flatnonzero(~show.judge(posterior).ok).tolist() == [3]
    assert show.judge(step["posterior"]).ok.all()
    lines = show.comparison_table(modes, posterior, rows=100).text.splitlines()
    assert [i for i, line in enumerate(lines[2:102]) if show.WITHHELD in line] == [3, 5]
    assert lines[2 + 3].count(show.WITHHELD) == 5  # its MAP is shown
    assert "R\\-hat 1\\.70 \\> 1\\.05" in "\n".join(lines)
    assert show.WITHHELD not in show.comparison_table(step["map"], step["posterior"], rows=100).text


def test_one_inversion_alone_is_summed_up(step):
    """The same means and errors as in the table of both, and a climb that did not end is withheld."""
    both = show.comparison_table(step["map"], step["posterior"], rows=100).text.splitlines()
    alone = show.summary_table(step["posterior"], rows=100).text.splitlines()
    means = [[line.split("|")[column].strip() for line in lines[2:102]] for lines, column in ((both, 4), (alone, 3))]
    assert means[0] == means[1]
    assert "5 of 100 rows are shown" in show.summary_table(step["posterior"], rows=5).text
    modes = step["map"].copy(deep=True)
    modes["sample_stats"]["converged"].values[..., 5] = False
    lines = show.summary_table(modes, rows=100).text.splitlines()
    assert [i for i, line in enumerate(lines[2:]) if show.WITHHELD in line] == [5]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [(1.23456, 0.02, "1.23"), (1.23456, 0.2, "1.2"), (1234.5, 30.0, "1230"), (0.0, 0.1, "0.0"), (np.nan, 1.0, "–")],
)
def test_digits_follow_the_error(value, error, said):
    assert show.rounded(value, error) == said


def test_names_of_users_are_shown_and_not_run(tmp_path, chromium):
    name = EVIL.replace("/", "")  # PyMC takes no slash
    with pm.Model(coords={f"{name} too": ["$\\frac", "<b>"]}) as prior:
        pm.Normal(name, dims=f"{name} too")
        pm.Normal("$a$")
    o = {name: [1.0, 2.0], "$a$": 1.0}
    run = {"map": bd.find_map(prior, o, sigma=2, **QUIET)}
    with opened(chromium, write_report(run, tmp_path / "a.html")) as (page, seen):
        assert f"{name}[$\\frac]" in page.inner_text("table >> nth=0")
    assert (seen.errors, seen.requests) == ([], [])


# ----------------------------------------------------------------------------------------------------- Quarto or not


def test_quarto_is_used_where_it_is_and_gets_the_same_source(tmp_path, monkeypatch):
    prior = gaussian.prior()
    run = bd.save(bd.find_map(prior, 3.0, sigma=10, **QUIET), tmp_path / "run.zarr")
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


def test_a_document_of_ones_own(tmp_path):
    (tmp_path / "a.qmd").write_text(GOOD)
    text = render(tmp_path / "a.qmd", tmp_path / "a.html").read_text(encoding="utf-8")
    assert "There are 2." in text
    assert "Figure 1" in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "a.qmd"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("plt.plot([1, 2]);", "1 / 0", "line 14: the cell fig-a raised ZeroDivisionError: division by zero"),
        ("@sec-one.", "@tbl-two.", "@tbl-two refers to nothing"),
        ('#| fig-alt: "A line."\n', "", "line 10: the cell fig-a has no text for those who cannot see it"),
        ("{python} 1 + 1", "{python} nothing", "an inline expression raised NameError"),
        ("```{python}\n", "```{r}\n", "line 9: a cell of r. Without Quarto"),
        ("# One", "![x](https://example.com/a.png)\n\n# One", "example.com/a.png"),
    ],
)
def test_a_document_that_makes_no_page(tmp_path, before, after, message):
    assert before in GOOD
    (tmp_path / "a.qmd").write_text(GOOD.replace(before, after, 1))
    (tmp_path / "a.html").write_text("an older page")
    with pytest.raises(ReportError) as caught:
        render(tmp_path / "a.qmd", tmp_path / "a.html")
    assert message in str(caught.value)
    assert (tmp_path / "a.html").read_text() == "an older page"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "a.qmd"]


def test_a_chain_that_was_stopped_is_reported_as_such(tmp_path):
    def stops(prior, o, alpha, sigma, *, start, random_seed):
        if sigma < 1:
            raise ValueError("enough")
        return bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    store = tmp_path / "run.zarr"
    with pytest.raises(bd.ChainError):
        bd.reverse(gaussian.prior(), bd.geometric(5, 0.1, 20.0), stops, draws=20, store=store, **QUIET)
    text = write_report(store, tmp_path / "run.qmd").read_text(encoding="utf-8")
    assert "This run is not finished" in text
    assert "from level 5 to level 2" in text
    page = write_report(store, tmp_path / "run.html").read_text(encoding="utf-8")
    assert "No: the run is not finished" in page
    levels = tmp_path / ".run.zarr.levels"
    (levels / "000003.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"\.run\.zarr\.levels is damaged"):
        write_report(store, tmp_path / "other.html")


def test_bad_input_is_said_before_anything_is_made(step, chain, tmp_path):
    for run, path, error, message in (
        (tmp_path / "none.zarr", "a.html", FileNotFoundError, r"no run at .*none\.zarr"),
        (step["map"], "a.pdf", ValueError, r"must end in \.html .* or in \.qmd"),
        (3, "a.html", TypeError, "The run is a int"),
        ({"a": 3}, "a.html", TypeError, "'a' of the run is a int"),
        ({"a/b": chain}, "a.html", ValueError, "'a/b' cannot be the label of a run"),
        (tree({}), "a.html", ValueError, "is not a run that can be reported"),
        ({"a": step["map"], "b": chain}, "a.html", ValueError, "is not a run that can be reported"),
    ):
        with pytest.raises(error, match=message):
            write_report(run, tmp_path / path)
    assert list(tmp_path.iterdir()) == []


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
    assert "bd.load('run.zarr')" in write_report(run, source, overwrite=True).read_text()


def test_the_file_of_the_model_is_named(step, tmp_path):
    run = bd.save(tree(step, {"model": "mixture.py"}), tmp_path / "run.zarr")
    assert r"The prior p~0~ is that of mixture\.py." in write_report(run, tmp_path / "a.qmd").read_text()


def test_places_that_cannot_be_written(step, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be made"):
        write_report(step, tmp_path / "file" / "a.html")


def test_a_missing_extra_is_named(step, tmp_path, monkeypatch):
    monkeypatch.setattr("bayesdiff.report.render.EXTRA", ("jupytext", "no_such_package"))
    with pytest.raises(ImportError, match=r'need no_such_package: pip install "bayesdiff\[report\]"'):
        write_report(step, tmp_path / "a.html")


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
    ],
)
def test_the_checklist_sees(page, problem):
    whole = f'<html lang="en"><head><title>A</title></head><body>{page}</body></html>'
    assert any(problem in found for found in problems_of(whole))
    assert problems_of(whole.replace(page, "")) == []
