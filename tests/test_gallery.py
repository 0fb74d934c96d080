"""The gallery: every plot is in it, and its cells run."""

import re

import numpy as np
import pytest
from pages import REPORTS, cells, execute, problems

import bayesdiff as bd
from bayesdiff import plots
from reports import gallery

PAGE = (REPORTS / "gallery.qmd").read_text(encoding="utf-8")
PLOTS = [name for name in bd.__all__ if name.startswith(("plot_", "animate_"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery")
    gallery.main(["--quick", "--out", str(out / "gallery.zarr")])
    return out


def called(text):
    """What is called in the cells of a page that are shown, by its last name."""
    return {
        name
        for cell in cells(text)
        if cell.options.get("echo") != "false" and cell.label.startswith("fig-")
        for name in re.findall(r"\b(plot_\w+|animate_\w+)\(", cell.code)
    }


def test_every_plot_is_in_a_cell():
    ours = {*PLOTS, *(name for name in vars(plots) if name.startswith("plot_"))}
    assert len(PLOTS) >= 6
    assert ours <= called(PAGE)
    assert len({name for name in called(PAGE) - ours}) >= 3  # ArviZ's own


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_that_is_left_out_is_missed(name):
    assert name not in called(re.sub(rf"\b{name}\(", "left_out(", PAGE))


def test_every_plot_answers_a_question_in_the_table():
    table = [line for line in PAGE.splitlines() if line.startswith("|") and "`" in line]
    assert {name for line in table for name in re.findall(r"(plot_\w+|animate_\w+)\(", line)} == called(PAGE)
    for line in table:
        assert "@fig-" in line


def test_every_reference_is_resolved():
    assert problems(PAGE) == []


@pytest.mark.slow  # some eighty seconds: ten models are compiled
def test_the_page_runs_on_the_quick_run(folder, monkeypatch):
    shown, names = execute("gallery.qmd", folder, monkeypatch)
    for label, (_, figures) in shown.items():
        assert figures == (label.startswith("fig-") and label != "fig-animation"), label
    assert names["gif"][:3] == b"GIF"
    assert len(names["gif"]) < 500_000


@pytest.mark.slow  # some eighty seconds: ten models are compiled
def test_the_run_is_what_the_page_says(folder):
    run = bd.load(folder / "gallery.zarr")
    x = run["plane"]["draws"]["posterior"]["x"].values.reshape(-1, 2)
    shares = np.array([(np.sign(x) == np.sign(corner)).all(axis=1).mean() for corner in gallery.CORNERS])
    error = np.sqrt(gallery.SHARES * (1 - gallery.SHARES) / len(x))
    assert (np.abs(shares - gallery.SHARES) < 5 * error).all()
    assert (np.abs(gallery.SHARES[::-1] - shares) > 5 * error).any()
    assert run["mixture"]["draws"].attrs["inversion"] == "posterior"
    assert "tau" in run["schools"]["modes"]["posterior"]
