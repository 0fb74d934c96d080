"""Calibration: right inverters pass, wrong ones fail, and the chance that a right one fails is what it says."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import exact
import numpy as np
import pymc as pm
import pytest

import bayesdiff as bd
from bayesdiff import calibration
from bayesdiff.calibration import FAMILY, POINTS, uniform_p_values
from models import eight_gaussians, forty_gaussians, funnel, gaussian, mixture, rings, two_modes

SIGMA = 1.5
doubted = pytest.mark.filterwarnings("ignore:The ranks are not uniform:UserWarning")


@pytest.fixture(scope="module")
def normal():
    with pm.Model() as model:
        pm.Normal("x", 0, 1, shape=2)
    return bd.compile_prior(model)


@pytest.fixture(scope="module")
def levels():
    schedule = bd.geometric(4, 0.4, 12.0)
    return bd.compile_prior(
        bd.gaussian_mixture([0.3, 0.7], [[-2.0, 0.0], [1.0, 1.0]], [0.2, 0.4], schedule=schedule)
    ), schedule  # fmt: skip


def right(prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None, wider=1.0, shift=0.0, blind=False):
    """Draws of the closed form, for x ~ N(0, I); or too wide, shifted, or of p0 whatever o is."""
    mean, variance, _ = exact.gaussian_step(o, alpha, sigma)
    mean, variance = (0.0, 1.0) if blind else (mean, variance)
    noise = np.random.default_rng(random_seed).normal(size=o.shape)
    return mean + np.sqrt(variance) * (shift + wider * noise), {}


def run(prior, invert, seed=1, **more):
    how = {"replicates": 400, "draws": 31} | more
    return bd.calibrate(prior, sigma=SIGMA, invert=invert, random_seed=seed, progressbar=False, **how)


def test_exact_draws_pass_in_twenty_seeds_of_twenty(normal):
    p_values = [run(normal, right, seed, replicates=200).attrs["p_value"] for seed in range(20)]
    # Twenty tests are a family too: all of them together at 5%.
    assert 20 * min(p_values) > 0.05
    # And they are no ones: the test sees something.
    assert min(p_values) < 0.5


@doubted
@pytest.mark.parametrize("wrong", [{"wider": 1.35}, {"wider": 0.7}, {"shift": 0.35}, {"blind": True}])
def test_wrong_draws_fail(normal, wrong):
    result = run(normal, partial(right, **wrong))
    assert result.attrs["p_value"] < 1e-3
    assert result.attrs["passed"] == 0
    if "blind" in wrong:
        # p0 itself has uniform ranks of x. That it ignores o is seen in the likelihood alone.
        assert result["uniformity"]["x"].min() > FAMILY / 4
        assert result["uniformity"]["log_likelihood"] < 1e-4


@doubted
def test_modes_fail_and_draws_pass(normal):
    assert run(normal, bd.mode).attrs["p_value"] < 1e-6
    assert run(normal, bd.draw).attrs["passed"] == 1


@doubted
def test_laplace_draws_pass_where_p0_is_normal_and_fail_where_it_is_not(normal):
    assert run(normal, bd.laplace).attrs["passed"] == 1
    with pm.Model() as skew:
        pm.Exponential("s", 1)
    assert run(skew, bd.laplace, replicates=1000).attrs["passed"] == 0


@doubted
def test_chains_of_draws_pass_and_chains_of_modes_fail(levels):
    prior, schedule = levels
    how = {"replicates": 200, "draws": 15, "random_seed": 3, "progressbar": False}
    good = bd.calibrate_chain(prior, schedule, **how)
    assert good.attrs["passed"] == 1
    assert good.attrs["form"] == "next level"
    assert bd.calibrate_chain(prior, schedule, next_level=False, **how).attrs["passed"] == 1
    assert bd.calibrate_chain(prior, schedule, invert=bd.mode, **how).attrs["p_value"] < 1e-6


def test_the_chance_that_uniform_numbers_fail_is_what_it_says():
    rng = np.random.default_rng(5)
    u = rng.random((150, 3000))
    p_values = uniform_p_values(u, rng)
    for level in (0.01, 0.05, 0.5):
        share = (p_values <= level).mean()
        # 4 sd; the p-value is discrete, and the null is itself a simulation of 9,999.
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) * (1 / 3000 + 1 / 9999)) + 0.001
    null = calibration._null(150, rng)
    lower, upper = calibration._band(150, 0.05, null)
    curves = (u[:, :, None] <= np.arange(1, POINTS) / POINTS).mean(axis=0)
    outside = ((curves < lower) | (curves > upper)).any(axis=1).mean()
    assert 0.02 < outside < 0.05 + 4 * np.sqrt(0.05 / 3000)  # a band between counts: never wider, a little narrower


def test_intervals_cover_what_they_should(normal):
    result = run(normal, right, replicates=2000)
    for group in ("coverage", "laplace"):  # p(x | o) is normal here, so the Laplace approximation is exact
        share, error = result[f"{group}/share"], result[f"{group}/mcse"]
        for name in share.data_vars:
            gap = np.abs(share[name] - share["probability"])
            assert (gap < 4 * error[name]).all(), (group, name)
    # (x - mode) / sd is a standard normal number.
    offset = result["laplace/offset"]["x"].values
    assert abs(offset.mean()) < 4 / np.sqrt(offset.size)
    assert abs((offset**2).mean() - 1) < 4 * np.sqrt(2 / offset.size)


@doubted
def test_intervals_of_draws_too_wide_cover_too_much(normal):
    share = run(normal, partial(right, wider=2.0))["coverage/share"]["x"]
    assert (share.sel(probability=0.5) > 0.65).all()


def test_ranks_are_those_of_the_draws(normal):
    result = run(normal, right, replicates=130)  # two blocks, the second of 2
    assert dict(result["ranks"].sizes)["replicate"] == 130
    ranks, u = result["ranks"]["x"], result["prior_sbc"]["x"]
    assert (ranks >= 0).all()
    assert (ranks <= 31).all()
    np.testing.assert_array_equal(np.floor(u.values[0] * 32), ranks)
    # The truth and its o are kept, and o is x in noise.
    gap = (result["observed_data"]["x"] - result["truth"]["x"]).values
    assert abs(gap.std() / SIGMA - 1) < 4 / np.sqrt(2 * gap.size)


@doubted
def test_ties_are_broken_at_random():
    # All draws equal to the truth: nothing is known, and the rank is anywhere.
    def same(prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None):
        return np.full(o.shape, np.log(2.0)), {}

    with pm.Model() as prior:
        pm.Exponential("s", 1)
    result = run(prior, same)
    assert result["uniformity"]["s"] < 1e-6  # the truth is seldom there


def test_a_lost_replicate_disturbs_no_other(normal):
    def moody(prior, o, alpha=1.0, sigma=1.0, *, start=None, random_seed=None):
        x, stats = right(prior, o, alpha, sigma, random_seed=random_seed)
        return np.where(o[:, :1] > 2.5, np.nan, x), stats

    whole = run(normal, right)
    with pytest.warns(UserWarning, match=r"of 400 replicates were lost: their draws are not finite"):
        result = run(normal, moody)
    lost = (result["observed_data"]["x"][:, 0] > 2.5).values
    assert result.attrs["lost"] == lost.sum() > 4
    np.testing.assert_array_equal(result["ranks"]["x"], whole["ranks"]["x"][~lost])


def test_few_replicates_are_said_to_be_few(normal):
    with pytest.warns(UserWarning, match="20 replicates show gross errors alone; ask for 100 or more"):
        run(normal, right, replicates=20)


def test_workers_and_stores_change_nothing(normal, tmp_path):
    alone = run(normal, right)
    store = tmp_path / "run.zarr"
    with ThreadPoolExecutor(2) as pool:
        others = [run(normal, right, executor=pool), run(normal, right, store=store), bd.load(store)]
    for other in [*others, run(normal, right, store=store)]:
        for group in ("prior_sbc", "truth", "laplace/offset"):
            np.testing.assert_array_equal(other[group]["x"].values, alone[group]["x"].values)
    with pytest.raises(ValueError, match=r"invert was .*right there and is .*laplace here"):
        run(normal, bd.laplace, store=store)


def test_arviz_draws_the_ranks(normal):
    from arviz_plots import plot_ecdf_pit

    result = run(normal, right)
    assert set(plot_ecdf_pit(result, backend="none").viz["ecdf_lines"].data_vars) == {"x", "log_p0", "log_likelihood"}
    drawn = bd.plot_calibration(result, backend="none")
    assert drawn.viz["band"].sizes["x_dim_0"] == 2
    # The curve is the distribution function of the ranks, less z.
    curve = drawn.get_viz("ecdf", "log_p0")
    u = result["prior_sbc"]["log_p0"].values.ravel()
    np.testing.assert_allclose(curve["y"][64], (u <= 0.5).mean() - 0.5)


CAN_BE_DRAWN = [gaussian, mixture, two_modes, eight_gaussians, forty_gaussians, rings, funnel]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", CAN_BE_DRAWN, ids=lambda model: model.__name__.split(".")[-1])
def test_draws_of_every_model_that_can_be_drawn_pass(model):
    result = bd.calibrate(model.prior(), sigma=1.0, replicates=400, draws=31, random_seed=1, progressbar=False)
    assert len(CAN_BE_DRAWN) * result.attrs["p_value"] > 0.05


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_draws_pass_in_twenty_seeds_of_twenty(levels):
    prior, schedule = levels
    step = [run(prior, bd.draw, seed, replicates=200).attrs["p_value"] for seed in range(20)]
    chain = [
        bd.calibrate_chain(prior, schedule, replicates=128, draws=15, random_seed=seed, progressbar=False)
        .attrs["p_value"]
        for seed in range(20)
    ]  # fmt: skip
    assert 40 * min(step + chain) > 0.05
