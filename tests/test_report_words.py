"""What a report says: its verdict, what it concludes, and what it withholds with all that rests on it.

Documents are read with their run as a page would be made of them, but no figure is drawn.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from pages import told

import bayesdiff as bd
from bayesdiff.multimodal.honesty import agreement
from bayesdiff.plots import plot_population
from bayesdiff.priors import equations
from bayesdiff.report import numbers, show, tables
from bayesdiff.report.write import write_report
from bayesdiff.results import dataset, tree
from bayesdiff.verdict import of_calibration, of_chain, of_tempering, read, told_of_climbs, told_of_draws
from models import gaussian

QUIET = {"random_seed": 1, "progressbar": False}
CONCLUDES = ("stand for", "near the posterior mean", "the spread of the draws", "times that of p0")


@pytest.fixture(scope="module")
def school():
    """A positive variable in a model with data, and something computed: one observation."""
    with pm.Model() as prior:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfNormal("tau", 5)
        pm.Deterministic("ratio", mu / tau)
        pm.Normal("y", mu, 10, observed=28.0)
    o = {"mu": 5.0, "tau": 1.0}
    return {
        "map": bd.find_map(prior, o, sigma=2, **QUIET),
        "posterior": bd.sample_posterior(prior, o, sigma=2, draws=500, tune=300, **QUIET),
    }


def copies(run):
    return {name: part.copy(deep=True) for name, part in run.items()}


def part_of(run, **at):
    """Some observations, or some draws."""
    return {name: part.isel(at, missing_dims="ignore") for name, part in run.items()}


def judged(part, code, where, **numbers):
    """Change the verdict on some observations, and what it comes to."""
    group, at = part["verdict"].to_dataset().copy(deep=True), {"observation": where}
    group["ok"].loc[at] = code == "ok"
    group["code"].loc[at] = group["code"].attrs["flag_meanings"].split().index(code)
    for name, value in numbers.items():
        group[name].loc[at] = value
    told = told_of_climbs(group) if part.attrs["inversion"] == "map" else told_of_draws(group, "")
    part["verdict"] = xr.DataTree(group.assign_attrs(told))


def written(run, folder):
    """What a page would show: all of its text, its abstract, and its figures, but for the graph."""
    folder = folder / str(len(list(folder.iterdir())))
    folder.mkdir()
    text, abstract, figures = told(write_report(run, folder / "a.qmd"))
    figures.pop("fig-graph", None)
    return text, abstract, figures


def made(x, *, prior=None, p=(0.5, 0.5, 0.5), again=0.5, given=False, **attrs):
    """A chain by hand, of three levels: x (chain, draw), as `reverse` returns it."""
    sample, level = ("chain", "draw"), ["level"]
    noise = dataset({"alpha": np.ones(4), "sigma": [0.0, 0.5, 2.0, 9.0]}, dims={"alpha": level, "sigma": level})
    path = x[..., None] + noise["sigma"].values * np.random.default_rng(3).normal(size=(*x.shape, 4))
    stats = {"lineages_p_value": np.array(p), "lost": np.zeros(3)}
    groups = {
        "posterior": dataset({"x": x}, sample_dims=sample),
        "unconstrained_posterior": dataset({"x": x}, sample_dims=sample),
        "path": dataset({"x": path}, sample_dims=sample, dims={"x": level}),
        "level_stats": dataset(stats, dims=dict.fromkeys(stats, level), coords={"level": [1, 2, 3]}),
        "schedule": noise,
        "diagnostics": dataset({"diffused_again_p_value": again}),
    }
    if prior is not None:
        known = dataset({"x": prior[None]}, sample_dims=sample)
        groups |= {"prior": known, "unconstrained_prior": known}
    about = {
        "inversion": "reverse",
        "inverter": "bayesdiff.invert.inverters.draw",
        "carries": "draw",
        "form": "clean",
        **attrs,
    }
    groups["verdict"] = of_chain(
        x.reshape(-1, 1),
        levels=[1, 2, 3],
        p_values=stats["lineages_p_value"],
        lost=stats["lost"],
        again=again,
        prior=None if prior is None else prior[:, None],
        labels=["x"],
        given=given,
        carries=about["carries"],
        finished=bool(about.get("finished", 1)),
    )
    return tree(groups, about)


NORMAL = np.random.default_rng(1).normal(size=(4, 100))
PRIOR = np.random.default_rng(2).normal(size=1000)


# ---------------------------------------------------------------------------------------------------------- the verdict


def test_too_few_draws_are_not_judged_and_nothing_rests_on_them(article, tmp_path):
    prior = bd.compile_prior(gaussian.prior())
    o = article["map"]["step/o"]["x"].values[:5]
    few = {
        "map": bd.find_map(prior, o, sigma=10, **QUIET),
        "posterior": bd.sample_posterior(prior, o, sigma=10, draws=20, tune=100, chains=2, **QUIET),
    }
    text, abstract, figures = written(few, tmp_path)
    assert "callout-tip" not in text
    assert abstract.startswith("Too few draws to be judged: 40, 100 are needed. What rests on it is withheld.")
    assert not any(words in text for words in CONCLUDES)
    assert not figures
    for table in (tables.comparison_table(few["map"], few["posterior"]), tables.summary_table(few["posterior"])):
        rows = table.text.splitlines()[2:7]
        assert all(tables.WITHHELD in row for row in rows)
        assert "±" not in table.text
    assert "| – | – | – | no: too few draws to be judged |" in tables.diagnostics_table(few["posterior"]).text


def test_the_abstract_says_whether_to_trust_before_any_number(article, tmp_path):
    for run in (article, {"a": made(NORMAL, prior=PRIOR)}):
        first = written(run, tmp_path)[1].split(". ")[0]
        assert first in ("The draws can be trusted, as far as the chains can tell", "No check failed")


def test_a_map_near_the_mean_is_said_to_be_near_and_no_more(article, tmp_path):
    """The case that the article warns of: every MAP is near its posterior mean, and all have a tenth of the spread."""
    text, abstract, _ = written(article, tmp_path)
    modes = article["map"]["posterior"]["x"].values.ravel()
    draws = article["posterior"]["posterior"]["x"].values[0, -1]
    ratio = modes.std(ddof=1) / draws.std(ddof=1)
    assert "Each MAP is near the posterior mean" in abstract
    assert "says nothing of how wide the posterior is" in abstract
    assert f"the MAPs have not the spread of the draws: their sd is {ratio:.2g} times" in abstract
    assert "stands" not in text


# ---------------------------------------------------------------------------------------------- withheld, and its heirs


def test_a_map_that_is_withheld_takes_along_what_rests_on_it(article, tmp_path):
    run = copies(article)
    judged(run["map"], "no_maximum", 3)
    for group in ("posterior", "unconstrained_posterior"):
        run["map"][group]["x"].values[..., 3] = 7.0
    row = tables.comparison_table(run["map"], run["posterior"], rows=100).text.splitlines()[2 + 3]
    assert row.count(tables.WITHHELD) == 4  # MAP, share, offset, Laplace ratio: not mean and sd of the draws
    assert "±" in row
    population = tables.population_table(run["map"], run["posterior"]).text
    others = np.delete(article["map"]["posterior"]["x"].values.ravel(), 3)
    assert f"| {others.std(ddof=1):.3g} |" in population
    assert "1 of 100 observations are left out" in population
    _, abstract, figures = written(run, tmp_path)
    assert "near the posterior mean" in abstract  # the 7 would be 7 sd off
    assert "1 of 100 observations are left out" in figures["fig-compare"].caption


def test_where_no_map_is_a_maximum_nothing_is_compared(article, tmp_path):
    run = copies(article)
    judged(run["map"], "no_maximum", slice(None))
    text, _, figures = written(run, tmp_path)
    assert not any(words in text for words in CONCLUDES)
    assert not figures


def test_draws_that_are_withheld_are_not_drawn_either(article, tmp_path):
    run = copies(article)
    judged(run["posterior"], "r_hat", slice(None), r_hat=2.0)
    text, abstract, figures = written(run, tmp_path)
    assert not figures
    assert "There is no picture" in text
    assert abstract.startswith("The draws of 100 of 100 observations are not to be trusted")
    assert not any(words in text for words in CONCLUDES)


def test_figures_leave_out_what_the_tables_withhold(article, tmp_path, monkeypatch):
    run = copies(article)
    judged(run["posterior"], "r_hat", 0, r_hat=2.0)
    modes, draws = numbers.trusted_part(run["map"], run["posterior"])
    assert modes["posterior"]["observation"].values.tolist() == list(range(1, 100))
    assert draws["diagnostics"].sizes["observation"] == 99
    bd.plot_compare(modes, draws, backend="none")
    figures, seen = written(run, tmp_path)[2], []
    for name in ("plot_compare", "plot_step"):
        monkeypatch.setattr(bd, name, lambda *trees, **asked: seen.append((trees, asked)))
    for name in ("fig-compare", "fig-step"):
        figures[name].draw()
    for part in seen[0][0]:
        assert part["posterior"]["observation"].values.tolist() == list(range(1, 100))
    assert seen[1][1] == {"observation": 1, "var_names": ["x"]}


def test_the_figure_and_the_table_say_the_same_sd(article):
    few = part_of(article, observation=slice(4))
    titles = plot_population(few["map"], few["posterior"], backend="matplotlib")
    said = [target.get_title() for target in titles.get_viz("plot", "x").values.ravel()]
    cells = tables.population_table(few["map"], few["posterior"]).text.splitlines()[2].split("|")
    for title, cell in zip(said, cells[2:4], strict=True):
        assert f"sd {float(cell):.2g}" in title


@pytest.mark.parametrize("lost", [200, 400])
def test_lost_trajectories_withhold_what_the_others_say(tmp_path, lost):
    x = NORMAL.copy()
    x.ravel()[:lost] = np.nan
    run = made(x, prior=PRIOR)
    text, abstract, figures = written(run, tmp_path)
    assert f"{lost} of 400 trajectories were lost" in text
    assert f"Of 400 particles that were sent from noise, {400 - lost} came to x" in abstract
    assert not any(words in text for words in CONCLUDES)
    assert [*figures] == ["fig-schedule"]
    table = tables.chain_table({"a": run}).text
    assert table.splitlines()[2].count(tables.WITHHELD) == 2
    assert "*Withheld*: too many trajectories were lost." in table


def test_a_few_lost_trajectories_leave_the_others_their_say(tmp_path):
    x = NORMAL.copy()
    x.ravel()[:4] = np.nan  # one in a hundred
    run = made(x, prior=PRIOR)
    _, abstract, _ = written(run, tmp_path)
    assert "Of 400 particles that were sent from noise, 396 came to x" in abstract
    assert tables.WITHHELD not in tables.chain_table({"a": run}).text


# --------------------------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize(
    ("x", "wrong"),
    [
        (NORMAL, False),
        (0 * NORMAL + 5, True),  # an inverter that always returns 5
        (0.3 * NORMAL, True),  # collapsed
        (NORMAL + 0.5, True),
        (np.sign(NORMAL), True),  # mean and sd are right
    ],
)
def test_a_chain_is_compared_with_p0(tmp_path, x, wrong):
    text, abstract, figures = written(made(x, prior=PRIOR), tmp_path)
    assert ("x is not distributed as p0" in text) == wrong
    assert ("callout-tip" in text) != wrong
    assert ("fig-path" in figures) != wrong
    assert ("times that of p0" in abstract) != wrong


def test_checks_that_were_not_made_are_named(tmp_path):
    run = made(NORMAL, p=(np.nan,) * 3)
    text, abstract, _ = written(run, tmp_path)
    assert "Not checked: the two halves of the trajectories were not compared" in text
    assert "x was not compared with draws of p0: there are none" in text
    assert "callout-tip" not in text
    assert "most were not made." in abstract
    text, abstract, _ = written(made(5 + NORMAL, prior=PRIOR, again=np.nan, given=True), tmp_path)
    assert "its o was given" in text
    assert "withheld" not in abstract  # x given an o need not be distributed as p0
    assert "times that of p0" not in abstract


def test_ten_particles_are_too_few(tmp_path):
    text, _, _ = written(made(NORMAL[:2, :5], prior=PRIOR), tmp_path)
    assert "Too few trajectories to be judged: 10, 100 are needed." in text
    assert "callout-tip" not in text
    assert "±" not in tables.chain_table({"a": made(NORMAL[:2, :5], prior=PRIOR)}).text


def test_modes_are_no_draws(tmp_path):
    text, _, _ = written(made(NORMAL, prior=PRIOR, carries="mode"), tmp_path)
    assert "modes are no draws" in text
    assert "callout-tip" not in text


def test_a_last_level_that_is_too_narrow_withholds_what_comes_of_it(tmp_path):
    prior = bd.gaussian_mixture([0.7, 0.3], [-2.0, 2.0], [1.0, 0.1])
    with pytest.warns(UserWarning, match="The last level is too narrow"):
        run = bd.reverse(prior, bd.one_step(1.0), bd.laplace, draws=50, **QUIET)
    text, _, figures = written(run, tmp_path)
    assert "The last level is too narrow: with alpha 1 and sigma 1, o_K is not nearly normal" in text
    assert [*figures] == ["fig-schedule"]


def test_a_single_chain_has_no_label(tmp_path):
    text = written(made(0 * NORMAL, prior=PRIOR), tmp_path)[0]
    assert "reverse:" not in text
    assert "The inverter: bayesdiff" in text


def test_chains_that_differ_in_more_than_their_inverter_are_refused(tmp_path, monkeypatch):
    one = made(NORMAL, prior=PRIOR)
    other = one.copy(deep=True)
    other["schedule"]["sigma"].values[-1] = 8.0
    named = tree({k: c.to_dataset().rename(x="z") if "x" in c else c.to_dataset() for k, c in one.children.items()})
    named.attrs = dict(one.attrs)
    for second, what in (
        (other, "schedules"),
        (made(NORMAL, form="next level"), "forms"),
        (named, "variables"),
        (made(NORMAL, finished=0), "states"),
    ):
        with pytest.raises(ValueError, match=rf"'a' and 'b' have different {what}.*Write one report for each"):
            write_report({"a": one, "b": second}, tmp_path / "a.qmd")
    assert list(tmp_path.iterdir()) == []
    _, _, figures = written({"a": one, "b": made(0 * NORMAL + 5, prior=PRIOR)}, tmp_path)
    assert "Left out, as not to be trusted: b." in figures["fig-path"].caption
    monkeypatch.setattr(bd, "plot_chain", lambda runs: seen.extend(runs))
    seen = []
    figures["fig-path"].draw()
    assert seen == ["a"]


def test_a_stopped_chain_says_what_it_knows(tmp_path):
    def stops(prior, o, alpha, sigma, *, start, random_seed):
        if sigma < 1:
            raise ValueError("enough")
        return bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    store = tmp_path / "run.zarr"
    with pytest.raises(bd.ChainError):
        bd.reverse(gaussian.prior(), bd.geometric(5, 0.1, 20.0), stops, draws=50, path=True, store=store, **QUIET)
    text, abstract, _ = written(store, tmp_path)
    assert "undated" not in text
    assert "could not be drawn" not in text
    assert "written at the end of a run" in text
    assert "unknown" not in text
    assert "draws 50, chains 4, seed 1" in text
    assert "to level 2 (right), as far as it came" in text
    assert "200 particles are on their way" in abstract


def test_the_plane_says_how_many_levels_it_shows(tmp_path):
    run = made(NORMAL, prior=PRIOR)
    flat = {}
    for name, child in run.children.items():
        ds = child.to_dataset()
        flat[name] = ds.assign(y=ds["x"]) if "x" in ds else ds
    plane = tree(flat, run.attrs)
    assert "at 4 levels" in written(plane, tmp_path)[0]


# ------------------------------------------------------------------------------------------------ what there is to say


def test_offsets_in_other_coordinates_say_so(school, article, tmp_path):
    table = tables.comparison_table(school["map"], school["posterior"]).text
    assert "offset / sd, unconstrained | Laplace sd / sd, unconstrained |" in table
    assert "tau has others than its values" in table
    assert "unconstrained" not in tables.comparison_table(article["map"], article["posterior"]).text
    assert "tau has others than its values" in written(school, tmp_path)[0]


def test_the_caption_of_a_step_names_what_is_drawn(school, article, tmp_path):
    step = written(school, tmp_path)[2]["fig-step"].caption
    assert "Densities over x: likelihood and posterior, and the MAP" in step
    assert "The likelihood (of mu) pulls x to o." in step
    assert "prior pulls" not in step
    step = written(article, tmp_path)[2]["fig-step"].caption
    assert "Densities over x: prior, likelihood and posterior" in step


def test_a_map_far_off_does_not_squeeze_the_picture(school, tmp_path):
    run = copies(school)
    run["map"]["posterior"]["ratio"].values[:] = 5460.0
    assert "Not drawn: ratio" in written(run, tmp_path)[2]["fig-step"].caption
    assert numbers.one_step(run) == {"var_names": ["mu", "tau"]}


def test_observations_that_could_not_be_inverted(article, tmp_path):
    run = copies(part_of(article, observation=slice(5)))
    for part in run.values():
        for group in ("posterior", "unconstrained_posterior"):
            part[group]["x"].values[..., 2] = np.nan
    run["map"]["sample_stats"]["starts_agreed"].values[..., 2] = 0
    for part in run.values():
        judged(part, "not_finite", 2)
    judged(run["posterior"], "not_finite", 2, r_hat=np.nan, ess=np.nan, diverging=np.nan)
    text, _, _ = written(run, tmp_path)
    assert "1 of 5 observations are not finite and came back as NaN: index 2." in text
    assert "did not end" not in text
    assert "Between 0" not in text
    line = tables.diagnostics_table(run["posterior"]).text.splitlines()[2]
    assert line == "| 2 | – | – | – | no: could not be inverted |"


def test_one_observation_is_spoken_of_as_one(article, tmp_path):
    run = copies(part_of(article, observation=slice(7, 8)))
    judged(run["posterior"], "r_hat", slice(None), r_hat=1.4)
    judged(run["map"], "ok", slice(None))
    text, _, _ = written(run, tmp_path)
    assert "1 of 1" not in text
    assert "1 observations" not in text
    assert "The draws are not to be trusted: R-hat 1.40," in text


def test_a_run_without_a_verdict_is_reported_and_nothing_of_it_is_shown(article, tmp_path):
    for whole in (article, {"chain": made(NORMAL, prior=PRIOR)}, {"sample": drawn()}):
        run = {}
        for name, part in whole.items():
            run[name] = part.filter(lambda node: node.name != "verdict")
            run[name].attrs = part.attrs
        text, abstract, figures = written(run, tmp_path)
        assert abstract.startswith("This run holds no verdict: whether its numbers can be trusted is not known. What")
        assert "callout-tip" not in text
        assert not any(words in text for words in CONCLUDES)
        assert {*figures} <= {"fig-schedule", "fig-shares"}


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (1234567.8, 10.0, "1.23457e+06 ± 10"),
        (-0.001, 0.02, "0.00 ± 0.02"),
        (1234567.8, 0.0, "1.23e+06"),
        (1.5e-12, 1e-13, "1.5e-12 ± 1e-13"),
    ],
)
def test_errors_and_values_have_the_same_digits(value, error, said):
    assert numbers.with_error(value, error) == said


def test_a_model_is_told_with_its_numbers(tmp_path):
    schedule = bd.geometric(3, 0.1, 9.0)
    full = bd.gaussian_mixture([0.5, 0.5], [[0.0, 1.0], [2.0, 3.0]], [np.eye(2), [[1.0, 0.5], [0.5, 2.0]]])
    assert "C = [[[1 0] [0 1]] [[1 0.5] [0.5 2]]]" in equations(full)
    level = bd.compile_prior(bd.gaussian_mixture([0.7, 0.3], [-2.0, 2.0], [1.0, 1e-8], schedule)).at_level(0).model
    told = equations(level).splitlines()
    assert told[0].startswith("x ~ sum_k w_k N(m_k, C_k), at level j: ")
    assert told[1:] == ["    w = [0.7 0.3]", "    m = [-2 2]", "    C = [1 1e-08]"]
    many = bd.gaussian_mixture(np.full(100, 0.01), np.arange(100.0), 1.0)
    assert max(map(len, equations(many).splitlines())) < 60
    ring = bd.density(lambda x: -((x**2).sum()), shape=2)
    assert equations(ring) == "x ~ Density, known up to a constant"
    tilted = bd.tilt(bd.gaussian_mixture([0.7, 0.3], [-2.0, 2.0], 1.0), lambda x: x)
    assert "w = [0.7 0.3]" in equations(tilted)
    run = bd.find_map(bd.gaussian_mixture([0.7, 0.3], [-2.0, 2.0], 1.0), 1.0, **QUIET)
    assert run.attrs["model_equations"].splitlines()[2] == "    m = [-2 2]"
    assert "The prior p~0~ is the model below." in written(run, tmp_path)[0]


# ---------------------------------------------------------------------------------------------------------- a sample


def drawn(shares=(0.7, 0.7, 0.7, 0.7), *, numbers=1, draws=250, modes=2, arrivals=500, pareto=0.2, **told_too):
    """A run of `sample` by hand: chains with these shares of draws at the mode of -2, all others at 2 or beyond."""
    rng, chains, sample = np.random.default_rng(1), len(shares), ("chain", "draw")
    second = 1 + rng.integers(max(modes - 1, 1), size=(chains, draws))
    at = np.where(rng.random((chains, draws)) < np.array(shares)[:, None], 0, second) if modes > 1 else None
    at = np.zeros((chains, draws), int) if at is None else at
    x = np.where(at == 0, -2.0, 1.0 + at)[..., None] + 0.3 * rng.normal(size=(chains, draws, numbers))
    told = agreement(x)
    weight = np.array([(at == k).mean() for k in range(modes)])
    by_chain = np.array([0.01, -0.01, 0.02, 0.0])[:chains]
    names = ("lp", "weight", "weight_se", "starts", "chains_found")
    found = dict(zip(names, (np.arange(modes) - 1.0, weight, 0.01, 7, chains), strict=True))
    found = {name: np.broadcast_to(value, modes) for name, value in found.items()}
    where = np.where(np.arange(modes) == 0, -2.0, 1.0 + np.arange(modes))
    evidence = {"log_evidence": 0.005, "log_evidence_se": 0.01} | dict.fromkeys(
        ("by_chain", "upwards", "downwards"), by_chain
    )
    rungs = {"beta": [0.0, 0.3, 1.0], "rejection": [0.1, 0.1, np.nan], "pareto_k": [0.1, pareto, np.nan]}
    rungs |= {"acceptance": [1.0, 0.8, 0.8]}
    counts = {"arrivals": np.full(chains, arrivals), "evaluations": 1e5}
    own = ["number"]
    groups = {
        "posterior": dataset({"x": x}, sample_dims=sample, dims={"x": own}),
        "unconstrained_posterior": dataset({"x": x}, sample_dims=sample, dims={"x": own}),
        "sample_stats": dataset({"lp": -(x[..., 0] ** 2)} | ({"mode": at} if modes else {}), sample_dims=sample),
        "log_evidence": dataset(evidence, dims={name: ["chain"] for name in evidence if "log" not in name}),
        "modes": dataset(
            {"x": np.repeat(where[:, None], numbers, axis=1), **found},
            dims={"x": ["mode", *own]} | {name: ["mode"] for name in names},
        ),
        "mixture": dataset({"weight": weight}, dims={"weight": ["component"]}),
        "tempering": dataset(rungs | counts, dims={name: ["rung"] for name in rungs} | {"arrivals": ["chain"]}),
        "diagnostics": dataset(
            {"x": np.stack(told, axis=-1)},
            dims={"x": [*own, "diagnostic"]},
            coords={"diagnostic": ["r_hat", "ess_bulk"]},
        ),
    }
    shares_of = (
        [agreement((at == k)[..., None].astype(float)) for k in np.flatnonzero(weight > 0.005)] if modes > 1 else []
    )
    r_hat, ess = (np.concatenate([told[i], *[share[i] for share in shares_of]]) for i in (0, 1))
    groups["verdict"] = of_tempering(
        **{
            "chains": chains, "draws": draws, "finite": True, "r_hat": r_hat, "ess": ess,
            "names": [f"x[{i}]" for i in range(numbers)] + [f"the share of mode {i}" for i in range(len(shares_of))],
            "weights": weight, "found_by": np.full((modes, chains), 7), "given": np.zeros(modes, bool),
            "on_edge": np.zeros(modes, bool), "unseen": 0.0, "nowhere": 0.0, "stones": np.zeros((2, chains)),
            "arrivals": counts["arrivals"], "invalid": 0.0, "pareto_k": np.array([0.1, pareto]),
            "by_chain": by_chain, "by_chain_se": np.full(chains, 0.01), "contradicts": False, "drift": None,
            "grew": None,
        }
        | told_too
    )  # fmt: skip
    return tree(groups, {"inversion": "sample"})


def test_a_sample_that_can_be_trusted_says_so_first(tmp_path):
    run = drawn(numbers=2)
    text, abstract, figures = written(run, tmp_path)
    assert abstract.startswith("The draws can be trusted, as far as the chains can tell. R-hat is at most 1.0")
    assert "The log evidence is 0.00 ± 0.01." in abstract or "The log evidence is 0.01 ± 0.01." in abstract
    # The second mode is higher here, and lighter.
    weight = run["modes"]["weight"].values
    assert f"The highest of 2 modes (MAP) has {weight[1]:.0%} of the weight, the heaviest {weight[0]:.0%}." in abstract
    assert "it does not stand for it" in abstract
    assert "callout-tip" in text
    assert tables.WITHHELD not in text
    assert [*figures] == ["fig-shares", "fig-marginals", "fig-plane"]
    for figure in (show.shares(run), show.marginals(run), show.plane(run)):
        figure.draw_without_rendering()
        plt.close(figure)


def test_chains_that_disagree_are_seen_and_nothing_of_theirs_is_read(tmp_path):
    """Weights of 1 and .4: the draws, the weights and the evidence are withheld; what each chain says is not."""
    run = drawn((1.0, 0.4, 0.4, 0.4))
    assert not read(run).attrs["ok"]
    text, abstract, figures = written(run, tmp_path)
    assert abstract.startswith("The chains do not agree: R-hat is ")
    assert "Draws and weights are not to be trusted yet. Ask for more draws. What rests on it is withheld." in abstract
    assert "callout-tip" not in text
    assert not any(words in text for words in (*CONCLUDES, "of the weight", "agree on the weights"))
    assert [*figures] == ["fig-shares"]
    assert "differ by at most 0.6" in text
    for line in tables.variables_table(run).text.splitlines()[2:3]:
        assert line.count(tables.WITHHELD) == 4
    weight, each = tables.modes_table(run).text.splitlines()[2].split("|")[2:4]
    assert weight.strip() == tables.WITHHELD
    assert [float(share) for share in each.split(",")] == pytest.approx([1.0, 0.4, 0.4, 0.4], abs=0.1)
    assert tables.evidence_table(run).text.splitlines()[-3].count(tables.WITHHELD) == 4
    bars = show.shares(run).axes[0].patches
    assert len(bars) == 0


def test_draws_that_are_trusted_and_an_evidence_that_is_not(tmp_path):
    """NaN where the chains' evidences contradict each other, or a heavy tail."""
    apart = drawn(contradicts=True)
    heavy = drawn(pareto=0.9, stones=np.array([[0.3] * 4, [0.6] * 4]))
    for name in ("log_evidence", "log_evidence_se"):
        apart["log_evidence"][name] = np.nan
    for run, why in (
        (apart, "farther apart than their errors allow"),
        (heavy, "upwards and downwards it is 0.30 apart"),
    ):
        text, abstract, _ = written(run, tmp_path)
        assert "The log evidence is withheld." in abstract
        assert why in text
        assert "callout-tip" not in text
        last = tables.evidence_table(run).text.split("| **all** |")[1].splitlines()[0]
        assert last.split("|")[:4] == [" withheld "] * 4
        assert tables.WITHHELD not in tables.variables_table(run).text


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (partial(drawn, draws=10), "too few draws to be judged"),
        (partial(drawn, (0.7,)), "one chain has no other to be compared with"),
        (partial(drawn, arrivals=3), "3 states of one chain came all the way from q, 20 are needed for weights"),
        (partial(drawn, grew=(0, 99.0)), "probably improper"),
    ],
)
def test_what_makes_a_sample_unreadable(tmp_path, run, why):
    run = run()
    text, abstract, figures = written(run, tmp_path)
    assert f"There is no picture: {why}" in text or f"There is no picture: the posterior is {why}" in text
    assert "What rests on it is withheld." in abstract
    assert "The log evidence is withheld." in abstract
    assert "±" not in text
    assert [*figures] == ["fig-shares"]


def test_a_warning_is_no_clear_yes(tmp_path):
    run = drawn(drift=(0.0, 0.4, 0, 2.7))
    text, abstract, _ = written(run, tmp_path)
    assert abstract.startswith("The last two rounds differ: the log evidence went from 0.00 to 0.40")
    assert "callout-tip" not in text
    assert tables.WITHHELD not in tables.variables_table(run).text


@pytest.mark.parametrize("modes", [0, 1, 20])
def test_no_mode_one_mode_and_many(tmp_path, modes):
    run = drawn(modes=modes, numbers=9)
    if not modes:
        run["sample_stats"] = xr.DataTree(run["sample_stats"].to_dataset().drop_vars("mode", errors="ignore"))
    text, _, figures = written(run, tmp_path)
    assert ("No climb ended at a mode" in text) == (modes == 0)
    assert [*figures] == (["fig-shares", "fig-marginals"] if modes > 1 else ["fig-marginals"])
    assert "8 of 9 numbers" in text
    show.marginals(run).draw_without_rendering()
    if modes:
        told = tables.modes_table(run).text
        assert ("lighter modes (0." in told) == (modes > 12)
        assert "Of 9 numbers of x, 4 are shown" in told


def test_of_modes_that_are_equally_high_the_heaviest_is_the_map(tmp_path):
    run = drawn()
    run["modes"]["lp"] = run["modes"]["lp"].copy(data=[0.0, 1e-9])
    abstract = written(run, tmp_path)[1]
    weight = float(run["modes"]["weight"][0])
    assert f"one of 2 modes that are equally high, has {weight:.0%} of the weight, and is the heaviest" in abstract
    assert float(tables.variables_table(run).text.splitlines()[2].split("|")[5]) == -2


def test_chains_that_stand_still_agree_on_nothing():
    """ArviZ calls them independent."""
    assert np.isnan(numbers.agreement_of(np.ones((4, 100)))).all()


@pytest.mark.parametrize(
    ("kind", "group", "name"),
    [
        ("sample", "modes", None),
        ("sample", "log_evidence", "by_chain"),
        ("sample", "tempering", "arrivals"),
        ("sample", "sample_stats", None),
        ("map", "step", None),
        ("map", "step/o", None),
        ("posterior", "step", "sigma"),
        ("map", "sample_stats", "starts_agreed"),
        ("map", "verdict", "ok"),
        ("map", "posterior", None),
        ("map", "laplace", None),
        ("posterior", "verdict", "r_hat"),
        ("posterior", "sample_stats", "lp"),
        ("chain", "verdict", "arrived"),
        ("sample", "verdict", "evidence_ok"),
        ("chain", "schedule", None),
        ("chain", "posterior", None),
    ],
)
def test_a_run_that_lacks_what_a_report_reads_is_damaged(article, tmp_path, kind, group, name):
    whole = {**article, "chain": made(NORMAL), "sample": drawn()}[kind]
    groups = {node.path[len(whole.path) :].strip("/"): node.to_dataset(inherit=False) for node in whole.subtree}
    if name is None:
        groups = {path: ds for path, ds in groups.items() if path != group and not path.startswith(f"{group}/")}
    else:
        groups[group] = groups[group].drop_vars(name)
    run = xr.DataTree.from_dict(groups)
    with pytest.raises(ValueError, match=f"no {'group ' if name is None else ''}'{name or group}'.*damaged"):
        write_report(run, tmp_path / "a.qmd")
    assert list(tmp_path.iterdir()) == []


def ranked(shift=0.0, name="x"):
    """A calibration by hand, of 500 ranks among 9 draws."""
    rank = np.random.default_rng(1).integers(10, size=(500, 2)) * (shift == 0)
    at, p = np.arange(1, 10) / 10, np.array([[0.4, 0.3], [0.8, 0.6]]) * (1.0 if shift == 0 else 1e-9)
    ecdf = np.stack([(rank < 10 * each).mean(axis=0) - each for each in at])
    label, covered = [name, "log_prior"], np.array([[0.52, 0.48], [0.02, 0.02]])

    def group(values, leading, names=label, **coords):
        return dataset(dict(zip(names, values, strict=True)), dims={name: leading for name in names}, coords=coords)

    groups = {
        "ranks": dataset(dict(zip(label, rank.T, strict=True)), sample_dims=("replicate",)),
        "ecdf": group(ecdf.T, ["fraction"], fraction=at),
        "band": group([-at, at], ["fraction"], ("lower", "upper"), fraction=at),
        "diagnostics": group(p.T, ["diagnostic"], diagnostic=["p_value", "p_family"]),
        "coverage": group(
            covered.T[:, None], ["probability", "summary"], probability=[0.5], summary=["coverage", "error"]
        ),
        "step": dataset({"alpha": 1.0, "sigma": 2.0}),
        "verdict": of_calibration(
            names=label, p_values=p[0], p_family=p[1], probability=0.99, lost=np.zeros(500, bool), width=0.06,
            lineages=np.zeros(0), without=0,
        ),
    }  # fmt: skip
    return tree(groups, {"inversion": "calibration", "inverter": "mine", "draws": 9})


def test_a_calibration_says_what_was_seen(tmp_path):
    text, abstract, figures = written(ranked(), tmp_path)
    assert abstract.startswith(
        "No error seen in 500 replicates of 2 quantities (p = 0.6 for all). 500 true x were ranked"
    )
    assert "each among 9 of what mine gave" in abstract
    assert [*figures] == ["fig-ranks"]
    assert len(figures["fig-ranks"].draw().get_viz("ecdf")) == 2
    assert "| x | 0.4 | 0.8 | 0.52 ± 0.02 |" in text
    assert "| log_prior | 0.3 | 0.6 | 0.48 ± 0.02 |" in text
    assert "callout-tip" in text
    text, abstract, _ = written(ranked(1.0, name="{{< env >}}"), tmp_path)
    assert abstract.startswith("Not calibrated, by 2 of 2 quantities")
    assert "callout-tip" not in text
    assert "withheld" not in text
    assert "| {{< env >}} | 4.0e-10 |" in text
    run = ranked()
    del run["coverage"]
    with pytest.raises(ValueError, match="no group 'coverage'"):
        write_report(run, tmp_path / "a.qmd")


# What a run may hold whose author is hostile: what is read of it is checked, and what is wrong is one sentence.


def changed(whole, attrs=None, drop=(), **groups):
    """A run with other attributes, and with groups of which each is changed by a function."""
    kept = {node.path[len(whole.path) :].strip("/"): node.to_dataset() for node in whole.subtree}
    run = xr.DataTree.from_dict({name: groups.get(name, lambda ds: ds)(ds) for name, ds in kept.items()})
    run.attrs = {name: value for name, value in (whole.attrs | (attrs or {})).items() if name not in drop}
    return run


def as_text(*names):
    return lambda ds: ds.assign({name: ds[name].astype(str) for name in names or ds.data_vars})


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("map", {"step": as_text("sigma")}, "'sigma' in its group 'step' holds no numbers, but <U"),
        ("map", {"posterior": as_text()}, "in its group 'posterior' holds no numbers"),
        ("map", {"sample_stats": as_text("starts")}, "'starts' in its group 'sample_stats' holds no numbers"),
        ("map", {"verdict": as_text("ok")}, "'ok' in its group 'verdict' holds no numbers"),
        ("map", {"verdict": lambda ds: ds.isel(observation=slice(3))}, ""),
        (
            "map",
            {"verdict": lambda ds: ds.assign_attrs(sentence=["trust", "me"])},
            "its attribute 'sentence' is no text",
        ),
        ("map", {"verdict": lambda ds: ds.assign_attrs(ok="yes")}, "its attribute 'ok' is no number: 'yes'"),
        ("map", {"verdict": lambda ds: ds.drop_attrs()}, "its group 'verdict' has no attribute 'code'"),
        ("posterior", {"verdict": as_text("r_hat")}, "'r_hat' in its group 'verdict' holds no numbers"),
        ("chain", {"schedule": as_text("sigma")}, "'sigma' in its group 'schedule' holds no numbers"),
        ("sample", {"modes": as_text("weight")}, "'weight' in its group 'modes' holds no numbers"),
        ("sample", {"tempering": as_text("arrivals")}, "'arrivals' in its group 'tempering' holds no numbers"),
        ("map", {"attrs": {"inversion": ["map"]}}, "its attribute 'inversion' is no text: ['map']"),
        ("map", {"attrs": {"inversion": {"map": 1}}}, "its attribute 'inversion' is no text: {'map': 1}"),
        ("map", {"attrs": {"inversion": 1}}, "its attribute 'inversion' is no text: 1"),
        ("map", {"attrs": {"model_graph": ["graph TD"]}}, "its attribute 'model_graph' is no text"),
        ("map", {"attrs": {"carries": ["x" * 10_000]}}, "its attribute 'carries' is no text: ['xxxxxxxxxxxx...xxx"),
        ("map", {"attrs": {"created_at": 20_260_101}}, "its attribute 'created_at' is no text: 20260101"),
        ("map", {"attrs": {"sampling_time": "a while"}}, "its attribute 'sampling_time' is no number: 'a while'"),
        ("map", {"attrs": {"versions": ["9"]}}, "its attribute 'versions' is no list of names and values: ['9']"),
        ("map", {"attrs": {"versions": "9"}}, "its attribute 'versions' is no list of names and values: '9'"),
        ("chain", {"attrs": {"finished": [0]}}, "its attribute 'finished' is no number: [0]"),
        ("chain", {"attrs": {"inverter": {"a": 1}}}, "its attribute 'inverter' is no text: {'a': 1}"),
        ("chain", {"attrs": {"form": ["clean"]}}, "its attribute 'form' is no text: ['clean']"),
        ("chain", {"attrs": {"finished": "no"}}, "its attribute 'finished' is no number: 'no'"),
        ("map", {"posterior": lambda ds: ds.rename(chain="chains")}, ""),
        ("map", {"step": lambda ds: ds.assign(sigma=("none", np.zeros(0)))}, ""),
        ("chain", {"schedule": lambda ds: ds.isel(level=[])}, ""),
        ("chain", {"level_stats": lambda ds: ds.drop_vars("lineages_p_value")}, ""),
        ("sample", {"modes": lambda ds: ds.rename(mode="modes")}, ""),
    ],
)
def test_a_run_of_somebody_elses_is_refused_in_a_sentence(article, tmp_path, kind, change, why):
    whole = {**article, "chain": made(NORMAL), "sample": drawn()}[kind]
    with pytest.raises(ValueError, match=r"^run is no run of bayesdiff, or it is damaged: ") as caught:
        write_report(changed(whole, **change), tmp_path / "a.qmd")
    said = str(caught.value)
    assert why in said
    assert said.endswith(". Run it again.")
    assert said.isprintable()
    assert len(said) < 500
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["map", "posterior", "chain", "sample"])
def test_a_run_of_somebody_elses_that_is_whole_is_reported(article, tmp_path, kind):
    whole = {**article, "chain": made(NORMAL), "sample": drawn()}[kind]
    written(changed(whole, {"sampling_time": np.float64(1), "draws": 9}), tmp_path)
    written(changed(whole, {"versions": {}}, drop=("model_graph", "sampling_time")), tmp_path)
