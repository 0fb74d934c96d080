"""Calibration: right inverters pass, wrong ones fail, and its p-values, bands and coverages are what theory says."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from math import factorial, prod

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from exact import gaussian_step
from pages import REPORTS, execute, problems
from scipy.stats import norm

import bayesdiff as bd
from bayesdiff.calibration import ALSO_RANKED, PROBABILITIES, _block, _Task
from bayesdiff.calls import Call
from bayesdiff.uniformity import band, below, cuts, p_value, statistic, tails
from models import mixture
from reports import calibration as study

SEEDS = 20
# All seeds together: a right inverter fails one of them once in a hundred times.
TOGETHER = 1 - 0.01 / SEEDS
SIGMA = 2.0


@pytest.fixture(scope="module")
def prior():
    """x ~ N(0, I), two numbers."""
    with pm.Model(coords={"place": ["a", "b"]}) as model:
        pm.Normal("x", dims="place")
    return bd.compile_prior(model)


SCHEDULE = bd.geometric(6, 0.3, 4.0)


@pytest.fixture(scope="module")
def levels():
    """The same as a level prior: at level k it is N(0, (alpha_k^2 + sigma_k^2) I)."""
    return bd.compile_prior(bd.gaussian_mixture([1.0], [[0.0, 0.0]], 1.0, SCHEDULE))


def variance_of(prior):
    level = prior.level or 0
    return 1.0 if prior.schedule is None else float(SCHEDULE.alpha[level] ** 2 + SCHEDULE.sigma[level] ** 2)


def normal(prior, o, alpha, sigma, *, start=None, random_seed=None, width=1.0, shift=0.0):
    """Draws from N(mean + shift sd, (width sd)^2), with mean and sd those of p(x | o): exact with width 1, shift 0."""
    mean, variance, _ = gaussian_step(o, alpha, sigma, 0.0, variance_of(prior))
    noise = np.random.default_rng(random_seed).normal(size=o.shape)
    return mean + np.sqrt(variance) * (shift + width * noise), {}


def top(prior, o, alpha, sigma, *, start=None, random_seed=None, scale=1.0):
    """The mode of p(x | o), and its Laplace sd times `scale`."""
    mean, variance, _ = gaussian_step(o, alpha, sigma, 0.0, variance_of(prior))
    return mean, {"sd": np.full(o.shape, scale * np.sqrt(variance))}


def ignorant(prior, o, alpha, sigma, *, start=None, random_seed=None):
    """Draws from p0, whatever o is."""
    return np.random.default_rng(random_seed).normal(size=o.shape), {}


def quick(prior, invert=normal, seed=1, replicates=200, draws=19, **more):
    return bd.calibrate(
        prior,
        sigma=SIGMA,
        invert=invert,
        replicates=replicates,
        draws=draws,
        random_seed=seed,
        progressbar=False,
        **more,
    )


def of_width(width):
    """What normal intervals of p cover that are `width` times as wide as they should be: P(|Z| <= width z_p)."""
    known = 2 * norm.cdf(width * norm.ppf(0.5 + np.array(PROBABILITIES) / 2)) - 1
    return xr.DataArray(known, dims="probability", coords={"probability": list(PROBABILITIES)})


def passes(result):
    return bool(result["verdict"]["calibrated"])


# --------------------------------------------------------------------------------------------------------- uniformity


@pytest.mark.parametrize(("replicates", "draws"), [(4, 2), (5, 3), (6, 1)])
def test_p_values_are_those_of_all_possible_ranks(replicates, draws):
    tail = tails(replicates, draws)
    least = {}
    for cells in product(range(replicates + 1), repeat=draws + 1):
        if sum(cells) == replicates:
            weight = factorial(replicates) / prod(map(factorial, cells)) / (draws + 1) ** replicates
            least[cells] = statistic(np.cumsum(cells)[:draws], tail), weight
    assert sum(weight for _, weight in least.values()) == pytest.approx(1)
    for gamma, _ in least.values():
        known = sum(weight for other, weight in least.values() if other <= gamma * (1 + 1e-9))
        assert p_value(gamma, tail) == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize(("replicates", "draws", "probability"), [(100, 19, 0.95), (100, 19, 0.8), (60, 99, 0.9)])
def test_the_band_holds_uniform_ranks_as_often_as_it_says(replicates, draws, probability):
    tail = tails(replicates, draws)
    low, high = band(probability, tail)
    size = 4000
    ranks = np.random.default_rng(1).integers(0, draws + 1, size=(replicates, size))
    counts = below(ranks, draws)
    outside = ((counts < low[:, None]) | (counts > high[:, None])).any(axis=0)
    # What the level is, counts being whole numbers: the probability of the last band that is wide enough.
    step = min(tail[np.arange(draws), low].min(), tail[np.arange(draws), high].min())
    exact = 1 - p_value(step * (1 - 1e-6), tail)
    assert probability <= exact <= probability + 0.03
    error = np.sqrt(exact * (1 - exact) / size)
    assert abs((1 - outside.mean()) - exact) < 4 * error
    some = counts[:, :200]
    p_values = np.array([p_value(statistic(count, tail), tail) for count in some.T])
    assert ((p_values <= 1 - probability) == outside[:200]).all()


def test_p_values_of_uniform_ranks_are_uniform_and_of_others_small():
    replicates, draws = 200, 19
    tail, rng = tails(replicates, draws), np.random.default_rng(2)
    p_values = np.array(
        [p_value(statistic(below(rng.integers(0, 20, replicates), draws), tail), tail) for _ in range(1500)]
    )
    for level in (0.05, 0.2, 0.5):
        share = (p_values <= level).mean()
        assert level - 0.03 < share + 4 * np.sqrt(level * (1 - level) / 1500)  # discrete, so a little below
        assert share < level + 4 * np.sqrt(level * (1 - level) / 1500)
    assert p_value(statistic(np.zeros(draws, int), tail), tail) < 1e-100


def test_counts_below_each_cut():
    ranks = np.array([[0, 3], [1, 3], [3, 0], [1, 2]])
    assert below(ranks, 3).tolist() == [[1, 1], [3, 1], [3, 2]]
    assert cuts(3).tolist() == [0.25, 0.5, 0.75]


# ------------------------------------------------------------------------------------------------------------ one step


def test_exact_draws_pass_in_all_seeds(prior):
    assert [seed for seed in range(SEEDS) if not passes(quick(prior, seed=seed, probability=TOGETHER))] == []


@pytest.mark.parametrize(
    ("invert", "at_least"),
    [
        pytest.param(top, 4, id="the mode"),
        pytest.param(partial(normal, width=1.4), 3, id="too wide"),
        pytest.param(partial(normal, width=0.7), 3, id="too narrow"),
        pytest.param(partial(normal, shift=-0.4), 2, id="too low"),
        pytest.param(ignorant, 1, id="the prior"),
    ],
)
def test_wrong_draws_fail_in_all_seeds(prior, invert, at_least):
    for seed in range(3):
        result = quick(prior, invert, seed=seed, replicates=400, probability=TOGETHER)
        assert not passes(result)
        failed = re.search(
            r"Not calibrated, by (\d) of 4 quantities, most of all (\S+) \(p [=<] ", result["verdict"].attrs["sentence"]
        )
        assert int(failed[1]) >= at_least


def test_only_the_likelihood_sees_draws_that_ignore_o(prior):
    result = quick(prior, ignorant, replicates=400)
    p_family = result["diagnostics"].to_dataset().sel(diagnostic="p_family")
    assert (p_family["x"] > 0.01).all()
    assert p_family["log_prior"] > 0.01
    assert p_family["log_likelihood"] < 1e-6


def test_the_curve_leaves_the_band_where_the_verdict_says_so(prior):
    for invert in (normal, partial(normal, shift=-0.2), partial(normal, width=1.15)):
        result = quick(prior, invert, replicates=400)
        ecdf, limits = result["ecdf"].to_dataset(), result["band"].to_dataset()
        p_family = result["diagnostics"].to_dataset().sel(diagnostic="p_family")
        for name in ecdf:
            slack = 1e-12
            outside = (ecdf[name] < limits["lower"] - slack) | (ecdf[name] > limits["upper"] + slack)
            assert (outside.any("fraction") == (p_family[name] <= 1 - result.attrs["probability"])).all()
        assert passes(result) == (min(p_family.min().values()) > 1 - result.attrs["probability"])


def test_shifted_draws_move_the_curve_to_the_side_that_is_said(prior):
    low = quick(prior, partial(normal, shift=-0.5))["ecdf"]["x"]
    narrow = quick(prior, partial(normal, width=0.5))["ecdf"]["x"]
    assert (low.mean("fraction") < -0.05).all()  # draws too low: the truth lies above them, below zero all along
    assert (narrow.sel(fraction=0.1) > 0.05).all()
    assert (narrow.sel(fraction=0.9) < -0.05).all()


# ------------------------------------------------------------------------------------------------------------ coverage


@pytest.mark.parametrize("width", [1.0, 0.5, 1.5])
def test_coverage_of_draws(prior, width):
    result = quick(prior, partial(normal, width=width), replicates=2000, draws=499)
    row = result["coverage"]["x"]
    known = of_width(width)
    gap = row.sel(summary="coverage") - known
    # Of L draws the ends of an interval are known to some 1 / L.
    assert (abs(gap) < 4.5 * row.sel(summary="error") + 2 / 499).all()
    share = row.sel(summary="coverage").where(known < 0.95)
    np.testing.assert_allclose(row.sel(summary="error").where(known < 0.95), np.sqrt(share * (1 - share) / 2000), 0.02)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_coverage_of_the_laplace_interval(prior, scale):
    result = quick(prior, partial(top, scale=scale), replicates=2000)
    row = result["laplace"]["x"]
    # With scale 1 the interval is exact, as everything is normal here.
    assert (abs(row.sel(summary="coverage") - of_width(scale)) < 4.5 * row.sel(summary="error")).all()
    offset = result["offset"]["x"]  # in Laplace sd: N(0, 1 / scale^2)
    assert abs(float(offset.std()) * scale - 1) < 0.08
    assert abs(float(offset.mean()) * scale) < 0.1
    covered = result["coverage"]["x"].sel(probability=[0.5, 0.8])
    assert (covered.sel(summary="coverage") == 0).all()  # of a point: none
    assert (covered.sel(summary="error") > 0).all()


def test_the_mode_of_bayesdiff_is_such_a_point(prior):
    result = quick(prior, bd.mode, replicates=1000)
    assert not passes(result)
    row = result["laplace"]["x"]
    assert (abs(row.sel(summary="coverage") - row["probability"]) < 4.5 * row.sel(summary="error")).all()
    assert "laplace" not in quick(prior)


def test_an_sd_beside_draws_is_no_interval(prior):
    def draws_with_sd(*args, **kwargs):
        x, _ = normal(*args, **kwargs)
        return x, {"sd": np.ones(x.shape)}

    assert "offset" not in quick(prior, draws_with_sd, replicates=100).children


def test_points_without_a_curvature_are_counted(prior):
    def some_flat(*args, **kwargs):
        x, stats = top(*args, **kwargs)
        stats["sd"][x[:, 0] > 1] = np.nan
        return x, stats

    with pytest.warns(UserWarning, match=r"The point of \d+ of 200 replicates has no sd"):
        result = quick(prior, some_flat)
    known = result["offset"]["x"].notnull().all("place")
    assert f"{int((~known).sum())} of 200" in result["verdict"].attrs["sentence"]
    assert result["laplace"]["x"].notnull().all()


# --------------------------------------------------------------------------------------------------------------- chain


def chain(prior, invert, seed=1, replicates=200, **more):
    return bd.calibrate_chain(
        prior, SCHEDULE, invert, replicates=replicates, draws=19, random_seed=seed, progressbar=False, **more
    )


@pytest.mark.parametrize("next_level", [True, False])
def test_exact_chains_pass(levels, next_level):
    seeds = range(5)
    together = 1 - 0.01 / len(seeds) / 2
    assert [s for s in seeds if not passes(chain(levels, normal, s, next_level=next_level, probability=together))] == []


def test_chains_of_modes_fail(prior, levels):
    assert not passes(chain(levels, top, next_level=True, probability=TOGETHER))
    # In the clean form noise is added between the levels. Where modes are means, many levels make up for what a mode
    # lacks; two do not.
    few = bd.geometric(2, 1.0, 4.0)
    clean = bd.calibrate_chain(prior, few, top, replicates=400, draws=19, random_seed=1, progressbar=False)
    assert not passes(clean)
    wide = chain(levels, partial(normal, width=1.4), replicates=400, probability=TOGETHER)
    assert not passes(wide)


def test_a_chain_of_one_step_is_the_step(prior):
    """The same law: K = 1, alpha and sigma those of the step, and the last x is the draw."""
    schedule = bd.one_step(SIGMA)
    by_chain = bd.calibrate_chain(prior, schedule, top, replicates=2000, draws=1, random_seed=1, progressbar=False)
    assert not passes(by_chain)
    for invert in (normal, partial(normal, width=1.5)):
        rows = [
            bd.calibrate_chain(prior, schedule, invert, replicates=500, draws=19, random_seed=1, progressbar=False),
            quick(prior, invert, replicates=500),
        ]
        assert len({passes(row) for row in rows}) == 1
        assert rows[0]["unconstrained_truth"].equals(rows[1]["unconstrained_truth"])
        assert rows[0]["step/o"].equals(rows[1]["step/o"])


# -------------------------------------------------------------------------------------------------- blocks and failure


def test_a_block_depends_on_its_number_alone(prior):
    long, short = quick(prior, replicates=250), quick(prior, replicates=200)
    for group in ("ranks", "prior_sbc", "truth", "step/o"):
        assert long[group].to_dataset().isel(replicate=slice(200)).equals(short[group].to_dataset())
    task = _Task(1.0, SIGMA, None, None, normal, 250, 19)
    assert task.blocks(prior.n) == 3
    alone = _block(prior, task, 1, 2)
    assert len(alone["x"]) == 50
    np.testing.assert_array_equal(alone["rank"][:, :2], long["ranks"]["x"].values[200:])
    np.testing.assert_array_equal(alone["x"], long["truth"]["x"].values[200:])


def test_who_works_on_a_block_does_not_matter(prior):
    """Neither another worker nor another order changes a number."""
    for schedule in (None, SCHEDULE):
        sigma = SIGMA if schedule is None else float(SCHEDULE.sigma[-1])
        task = _Task(1.0, sigma, schedule, None, normal, 150, 4)
        here = [_block(prior, task, 1, number) for number in range(2)]
        with ThreadPoolExecutor(1) as pool:
            there = Call("calibrate", 1, executor=pool).spread(_block, (prior, task, 1), [1, 0])
        for number in range(2):
            for name, values in here[number].items():
                np.testing.assert_array_equal(values, there[1 - number][name])


def test_the_seed_decides(prior):
    same = quick(prior)["ranks"].equals(quick(prior)["ranks"])
    other = quick(prior)["ranks"].equals(quick(prior, seed=2)["ranks"])
    assert (same, other) == (True, False)


def test_lost_replicates_are_left_out_and_said(prior):
    def fails_far_out(prior, o, alpha, sigma, *, start=None, random_seed=None):
        x, stats = normal(prior, o, alpha, sigma, random_seed=random_seed)
        x[o[:, 0] > 4] = np.nan
        return x, stats

    with pytest.warns(UserWarning, match=r"\d+ of 200 replicates were lost.* not lost at random"):
        result = quick(prior, fails_far_out)
    lost = result["step/o"]["x"].values[:, 0] > 4
    assert 0 < lost.sum() < 40
    assert (np.isnan(result["ranks"]["x"].values).all(axis=1) == lost).all()
    assert result["verdict"]["lost"] == lost.sum()
    assert result["verdict"]["replicates"] == 200 - lost.sum()
    whole = quick(prior)
    assert result["ranks"]["x"].where(~lost[:, None]).equals(whole["ranks"]["x"].where(~lost[:, None]))


@pytest.mark.parametrize("by", [quick, chain])
def test_one_that_raises_does_not_disturb_the_others(prior, by):
    def raises(prior, o, alpha, sigma, *, start=None, random_seed=None):
        if far(o, sigma).any():
            raise FloatingPointError("too far out")
        return normal(prior, o, alpha, sigma, random_seed=random_seed)

    def far(o, sigma):
        return o[:, 0] > 2.2 * np.sqrt(1 + sigma**2)

    with pytest.warns(UserWarning, match="replicates were lost"):
        result = by(prior, raises)
    lost = np.isnan(result["ranks"]["x"].values).any(axis=1)
    assert 0 < lost.sum() < 100
    if by is quick:
        assert (lost == far(result["step/o"]["x"].values, SIGMA)).all()
        assert passes(result)


def test_one_that_always_raises_is_an_error(prior):
    def broken(prior, o, alpha, sigma, *, start=None, random_seed=None):
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        quick(prior, broken)
    with pytest.raises(bd.ChainError, match="not today"):
        chain(prior, broken)
    with pytest.raises(ValueError, match=r"all 200 replicates were lost: .*nowhere gave no x that is finite"):
        quick(prior, nowhere)


def nowhere(prior, o, alpha, sigma, *, start=None, random_seed=None):
    return np.where(o > 0, np.inf, np.nan), {}


def from_prior(prior, o, alpha, sigma, *, start=None, random_seed=None):
    """Right where o says nothing."""
    return prior.draws(8 * len(o), random_seed)[: len(o)], {}


def test_x_is_drawn_again_where_it_falls_outside():
    """Two numbers in order: half of all draws are rejected, and what is left has the law that the density says."""
    with pm.Model() as model:
        pm.Normal("x", shape=2, initval=[-1.0, 1.0], transform=pm.distributions.transforms.ordered)
    result = bd.calibrate(
        model, 1.0, 1e6, from_prior, replicates=300, draws=19, random_seed=1, progressbar=False, probability=0.999
    )
    assert passes(result)
    x = result["truth"]["x"].values
    assert x.shape == (300, 2)
    assert (x[:, 0] < x[:, 1]).all()
    assert abs((x[:, 1] - x[:, 0]).mean() - 2 / np.sqrt(np.pi)) < 4 * np.sqrt(2) / np.sqrt(300)


def test_few_replicates_are_said(prior):
    with pytest.warns(UserWarning, match=r"50 replicates see gross errors alone: an ECDF .* replicates=1000") as said:
        result = quick(prior, replicates=50)
    assert said[0].filename == __file__
    width = float(re.search(r"off by (\d?\.\d+)", result["verdict"].attrs["sentence"])[1])
    assert width == pytest.approx(float(result["band"]["upper"].sel(fraction=0.5)), abs=0.01)


def test_ties_are_broken_at_random(prior):
    """Draws on a lattice, and the truth on it too: without random places low ranks would be too many."""

    def lattice(prior, o, alpha, sigma, *, start=None, random_seed=None):
        return np.random.default_rng(random_seed).integers(0, 3, size=o.shape).astype(float), {}

    task = _Task(1.0, SIGMA, None, None, lattice, 100, 19)

    class Lattice:
        """As a prior, as far as a block asks for one."""

        n = 1

        def draws(self, size, rng):
            return rng.integers(0, 3, size=(size, 1)).astype(float)

        def logp(self, x):
            return np.zeros(len(x))

    ranks = np.concatenate([_block(Lattice(), task, 1, number)["rank"] for number in range(1)])
    many = np.concatenate([_block(Lattice(), task, seed, 0)["rank"] for seed in range(10)])
    assert ranks.shape == (100, 3)
    tail = tails(len(many), 19)
    for column in (0, 1):  # x, and log p0, which is the same everywhere
        assert p_value(statistic(below(many[:, column].astype(int), 19), tail), tail) > 1e-3


# ------------------------------------------------------------------------------------------------------------- results


@pytest.fixture(scope="module")
def several():
    """Two variables, one of them positive, calibrated by an inverter that gives the truth's own law: the prior's."""
    with pm.Model(coords={"school": ["A", "B", "C"]}) as model:
        mu = pm.Normal("mu", dims="school")
        pm.HalfNormal("tau")
        pm.Deterministic("twice", 2 * mu, dims="school")
    compiled = bd.compile_prior(model)

    # So wide that o says nothing: p(x | o) is p0.
    return bd.calibrate(compiled, 1.0, 1e6, from_prior, replicates=200, draws=19, random_seed=1, progressbar=False)


def test_the_groups_of_a_result(several):
    assert passes(several)
    assert set(several["ranks"].data_vars) == {"mu", "tau", *ALSO_RANKED}
    assert several["ranks"]["mu"].dims == ("replicate", "school")
    assert several["ecdf"]["mu"].dims == ("fraction", "school")
    assert several["coverage"]["mu"].dims == ("probability", "summary", "school")
    assert several["diagnostics"]["tau"].dims == ("diagnostic",)
    assert several["truth"]["twice"].equals(2 * several["truth"]["mu"])
    assert (several["truth"]["tau"] > 0).all()
    np.testing.assert_allclose(np.log(several["truth"]["tau"]), several["unconstrained_truth"]["tau"])
    assert several["step"]["sigma"] == 1e6
    pit, rank = several["prior_sbc"]["mu"], several["ranks"]["mu"]
    assert (np.floor(pit * 20) == rank).all()
    assert several["verdict"]["quantities"] == 6
    assert several.attrs["inverter"].endswith("from_prior")
    chain_like = {"inference_library", "seed", "model_equations", "carries", "versions"}
    assert chain_like <= set(several.attrs)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_result_is_saved_whole(several, tmp_path, suffix):
    assert bd.load(bd.save(several, tmp_path / f"calibration{suffix}")).identical(several)


def test_arviz_draws_it(several):
    collection = az.plot_ecdf_pit(several, backend="none")
    assert set(collection.viz["ecdf_lines"].data_vars) == {"mu", "tau", *ALSO_RANKED}


def test_the_plot_holds_the_numbers(several):
    collection = bd.plot_calibration(several, backend="none")
    line = collection.get_viz("ecdf", "mu", result="", school="B")
    np.testing.assert_allclose(line["y"][1:-1], several["ecdf"]["mu"].sel(school="B"))
    np.testing.assert_allclose(line["x"], [0, *several["ecdf"]["fraction"], 1])
    lens = collection.get_viz("band", "tau")
    np.testing.assert_allclose(lens["y_top"][1:-1], several["band"]["upper"])
    np.testing.assert_allclose(lens["y_bottom"][1:-1], several["band"]["lower"])
    some = bd.plot_calibration({"a": several, "b": several}, "mu", coords={"school": ["B"]}, backend="none")
    assert dict(some.viz["ecdf"]["mu"].sizes) == {"result": 2, "school": 1}
    bd.plot_calibration(several, backend="matplotlib")
    titles = [ax.get_title() for ax in plt.gcf().axes]
    assert any(re.fullmatch(r"mu\[A\]: p = [\d.e-]+", title) for title in titles)


# -------------------------------------------------------------------------------------------------- our own inverters


def test_draws_of_a_mixture_pass_in_all_seeds():
    compiled = bd.compile_prior(mixture.prior())
    small = {"sigma": 3.0, "replicates": 100, "draws": 9, "progressbar": False, "probability": TOGETHER}
    results = [bd.calibrate(compiled, **small, random_seed=seed) for seed in range(SEEDS)]
    assert [seed for seed, result in enumerate(results) if not passes(result)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", study.STEPS)
def test_draws_pass_in_all_seeds_for_every_model_that_can_be_drawn(name):
    model, sigma = study.STEPS[name]
    compiled = bd.compile_prior(model.prior())
    small = {"sigma": sigma, "replicates": 100, "draws": 9, "progressbar": False, "probability": TOGETHER}
    results = [bd.calibrate(compiled, **small, random_seed=seed) for seed in range(SEEDS)]
    assert [seed for seed, result in enumerate(results) if not passes(result)] == []
    assert not passes(bd.calibrate(compiled, **small, invert=bd.mode, random_seed=1))


@pytest.mark.slow
def test_chains_of_draws_pass_in_all_seeds_and_those_of_modes_fail():
    schedule = bd.geometric(6, 0.3, 8.0)
    compiled = bd.compile_prior(bd.gaussian_mixture(mixture.WEIGHTS, mixture.MEANS, mixture.VARIANCES, schedule))
    small = {"replicates": 100, "draws": 19, "progressbar": False, "probability": TOGETHER}
    for next_level in (True, False):
        by = partial(bd.calibrate_chain, compiled, schedule, next_level=next_level, **small)
        assert [seed for seed in range(SEEDS) if not passes(by(random_seed=seed))] == []
        assert not passes(by(bd.mode, random_seed=1))


# -------------------------------------------------------------------------------------------------------- the study


def test_the_study_takes_every_model_or_says_why_not():
    scripts = {"fashion", "photos", "quickdraw", "format_1"}
    files = {path.stem for path in (REPORTS.parent / "models").glob("*.py")}
    assert set(study.STEPS) | set(study.REFUSED) | scripts == files
    assert all(name == model.__name__.rpartition(".")[2] for name, (model, _) in study.STEPS.items())


def test_the_controls_are_what_they_say(prior):
    for name, invert in study.CONTROLS.items():
        assert passes(quick(prior, invert, replicates=600, probability=TOGETHER)) == (name == "exact")


def test_the_page_has_what_a_page_needs():
    assert problems((REPORTS / "calibration.qmd").read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_the_study_and_its_page(tmp_path, monkeypatch):
    study.main(["--quick", "--out", str(tmp_path / "calibration.zarr")])
    run = bd.load(tmp_path / "calibration.zarr")
    assert passes(run["controls/exact"])
    assert not passes(run["steps/mixture/laplace"])
    assert "observed data" in run.attrs["refused"]["eight_schools"]
    shown, _ = execute("calibration.qmd", tmp_path, monkeypatch)
    assert "mixture" in shown["tbl-steps"][0]
    assert all(figures == label.startswith("fig-") for label, (_, figures) in shown.items())
