"""The article's page: its run against exact answers, and its cells."""

import re

import numpy as np
import pytest
from pages import REPORTS, cells, execute, problems
from scipy.integrate import quad
from scipy.stats import norm

import bayesdiff as bd
from models import mixture
from reports import article

PAGE = (REPORTS / "article.qmd").read_text(encoding="utf-8")


# The quick run takes a minute of compiling. The demo's tests hold the same story's numbers in every run of the suite.
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("article")
    article.main(["--quick", "--out", str(out / "article.zarr")])
    return out


@pytest.fixture(scope="module")
def run(folder):
    return bd.load(folder / "article.zarr")


def numbers(run, name):
    both = run[name]
    o, modes = both["map"]["step/o"]["x"].values, both["map"]["posterior"]["x"].values.ravel()
    return o, modes, both["posterior"]["posterior"]["x"], both["posterior"]["diagnostics"]["x"]


def off(estimate, truth, sd, ess):
    """The largest difference, in Monte Carlo errors."""
    return np.abs((estimate - truth) / (sd / np.sqrt(ess))).max()


@pytest.mark.slow
def test_the_numbers_of_r_are_in_the_run_and_the_maxima_are_exact(run):
    o, modes, _, _ = numbers(run, "hundred")
    table = np.loadtxt(article.R_NUMBERS, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(np.stack([run["r"]["o"], run["r"]["map"]], axis=1), table)
    np.testing.assert_array_equal(o, table[:, 0])
    np.testing.assert_allclose(modes, o / 101, atol=1e-9)
    assert 1e-6 < np.abs(table[:, 1] - o / 101).max() < 1e-4  # R stops at a tolerance
    assert np.abs(modes - table[:, 1]).max() < 1e-4


@pytest.mark.slow
def test_the_posterior_of_the_same_o_is_exact(run):
    o, modes, draws, diagnostics = numbers(run, "hundred")
    mean, ess = draws.mean(("chain", "draw")).values, diagnostics.sel(diagnostic="ess_bulk").values
    assert off(mean, o / 101, np.sqrt(100 / 101), ess) < 5
    assert off(mean, o / 11, np.sqrt(100 / 101), ess) > 5  # what noise of variance 10 would give
    pooled = np.sqrt(100 / 101 + (o / 101).var())
    assert draws.values.std() == pytest.approx(pooled, abs=0.02)
    assert modes.std() == pytest.approx(o.std() / 101, rel=1e-6)
    np.testing.assert_allclose(run["hundred_exact"]["mean"], o / 101, rtol=1e-12)
    np.testing.assert_allclose(run["hundred_exact"]["sd"], np.sqrt(100 / 101), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "split"), [("mixture", article.SPLIT), ("classifier", article.CAT_SPLIT)])
def test_a_strange_prior_is_inverted_exactly(run, name, split):
    _, modes, draws, diagnostics = numbers(run, name)
    exact, ess = run[f"{name}_exact"], diagnostics.sel(diagnostic="ess_bulk").values
    np.testing.assert_allclose(modes, exact["mode"], atol=article.STEP)
    truth = exact["above"].values
    share = (draws > split).mean(("chain", "draw")).values
    assert off(share, truth, np.sqrt(truth * (1 - truth)), ess) < 5
    assert off(modes > split, truth, np.sqrt(truth * (1 - truth)), ess) > 5
    assert (modes > split).mean() > truth.mean() + 0.2  # the maxima go to the higher mode


def test_the_grid_gives_the_closed_form_of_the_mixture():
    o = np.array([-30.0, -5.0, 0.0, 12.0])
    got, want = article.by_grid(article.log_mixture_density(), o, article.SPLIT), mixture.exact(o, 1.0, article.SIGMA)
    np.testing.assert_allclose(got["mean"], want["mean"], atol=1e-6)
    above = (want["shares"] * norm.sf(article.SPLIT, want["means"], np.sqrt(want["variances"]))).sum(-1)
    np.testing.assert_allclose(got["above"], above, atol=1e-3)  # half a step of the grid


@pytest.mark.slow
def test_the_classifiers_prior_is_f_times_the_law_of_pictures(run):
    weights = np.array(run["points"].attrs["weights"])

    def joint(x):
        return np.exp(article.log_f(weights, np.array([x]))[0]) * norm.pdf(x, scale=article.SPREAD)

    whole = quad(joint, -12, 12, limit=200)[0]
    at = [700, 2400, 2700]
    want = [joint(x) / whole for x in article.GRID[at]]
    np.testing.assert_allclose(run["curves"]["p0"].values[at], want, rtol=1e-6)
    compiled = bd.compile_prior(article.cat_prior(weights))
    logp = compiled.logp(article.GRID[at][:, None])
    np.testing.assert_allclose(np.diff(logp), np.diff(np.log(want)), rtol=1e-6)


@pytest.mark.slow
def test_the_classifier_knows_cats(run):
    x, cat = run["points"]["x"].values, run["points"]["cat"].values
    says = article.log_f(np.array(run["points"].attrs["weights"]), x) > np.log(0.5)
    assert (says == cat).mean() > 0.65  # half of the others look like cats


@pytest.mark.slow
def test_small_jumps_keep_the_shares_by_draws_and_lose_them_by_modes(run):
    draws, modes = (run["chain"][name]["posterior"]["x"].values.ravel() for name in ("draws", "modes"))
    above = run.attrs["above"]
    assert abs((draws > article.SPLIT).mean() - above) < 5 * np.sqrt(above * (1 - above) / draws.size)
    assert abs((modes > article.SPLIT).mean() - above) > 5 * np.sqrt(above * (1 - above) / draws.size)
    assert modes.std() < 0.5 < run.attrs["mixture_sd"] < draws.std() + 0.5


@pytest.mark.slow
def test_the_page_runs_on_the_quick_run(folder, monkeypatch):
    shown, names = execute("article.qmd", folder, monkeypatch)
    for label, (value, figures) in shown.items():
        assert figures == label.startswith("fig-"), label
        assert isinstance(value, str) == label.startswith("tbl-"), label
        assert "nan" not in str(value), label
    assert "1.0e" in shown["tbl-r"][0] or "e-1" in shown["tbl-r"][0]
    assert names["agreement"]([0.5, -2.0]).endswith("may bring it")
    assert names["agreement"]([0.5, -7.0]).endswith("MORE THAN CHANCE ALLOWS")


def test_every_reference_is_resolved_and_every_section_has_an_equation_and_a_figure_or_table():
    assert problems(PAGE) == []
    sections = re.split(r"\n(?=# [^\n]*\{#sec-)", PAGE)[1:]
    assert len(sections) == 8
    for section in sections[:-1]:
        assert "{#eq-" in section or "hundred" in section, section[:30]
    for section in sections[1:]:
        assert any(cell.label.startswith(("fig-", "tbl-")) for cell in cells(section)), section[:30]


def test_a_page_with_a_dead_reference_is_found():
    assert problems(PAGE + "\nSee @fig-nowhere.") == ["@fig-nowhere is nowhere"]
