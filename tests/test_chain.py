"""The reverse chain: exact answers, resumed runs, failures, bad input.

Distances between samples come from reports/scores.py; what counts is their ratio to the floor, the same distance
between two exact samples.
"""

import pickle
import warnings
from functools import cache, partial

import exact
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.stats import ks_2samp

import bayesdiff as bd
from bayesdiff import chain
from models import linear_inverse, rings
from reports.scores import floor, sliced_w2

QUIET = {"progressbar": False}
WIDE = bd.geometric(6, 0.3, 30.0)
CIRCLE = np.arange(8) * np.pi / 4

# name: (weights, means, variances), all seen from level K = 30 as one blob
MIXTURES = {
    "gaussian": ([1.0], [0.0], 1.0),
    "line": ([0.7, 0.3], [-2.0, 2.0], [1.0, 0.1]),
    "four": ([0.4, 0.3, 0.2, 0.1], [[-2, -2], [-2, 2], [2, -2], [2, 2]], 0.25),
    "eight": ([1 / 8] * 8, 10 * np.stack([np.sin(CIRCLE), np.cos(CIRCLE)], 1), 0.7),
    "ten": ([0.5, 0.3, 0.2], np.random.default_rng(7).normal(size=(3, 10)), [1.0, 0.6, 0.8]),
}


@cache  # a prior is compiled once for all tests
def level_prior(name, schedule):
    return bd.compile_prior(bd.gaussian_mixture(*MIXTURES[name], schedule))


@cache
def plain():
    with pm.Model() as model:
        pm.Normal("x", 0, 1)
    return bd.compile_prior(model)


def flat(run, name="x"):
    x = run["unconstrained_posterior"][name].values
    return x.reshape(x.shape[0] * x.shape[1], -1)


# ----------------------------------------------------------------------------------------------------------- gaussian


@pytest.fixture(scope="module")
def gaussian():
    return level_prior("gaussian", WIDE)


@pytest.mark.parametrize("next_level", [False, True], ids=["clean", "next level"])
@pytest.mark.parametrize(
    ("invert", "spread"), [(bd.draw, 1.0), (bd.laplace, 1.0), (bd.mode, 0.0)], ids=["draw", "laplace", "mode"]
)
def test_the_variance_at_every_level_of_a_gaussian(gaussian, invert, spread, next_level):
    run = bd.reverse(gaussian, WIDE, invert, draws=500, next_level=next_level, path=True, random_seed=1, **QUIET)
    last = WIDE.alpha[-1] ** 2 + WIDE.sigma[-1] ** 2
    want = exact.gaussian_chain(1.0, WIDE.alpha, WIDE.sigma, last, spread, next_level)
    o = run["path"]["x"]
    assert o["level"].values.tolist() == list(range(7))
    n = o.sizes["chain"] * o.sizes["draw"]
    variance = (o**2).mean(("chain", "draw")).values
    np.testing.assert_allclose(variance, want, rtol=4 * np.sqrt(2 / n))
    exactly = exact.gaussian_chain(1.0, WIDE.alpha, WIDE.sigma, last, 1.0, next_level)
    # The negative control: a chain of modes has not the marginals that the draws have.
    assert np.allclose(want, exactly, rtol=4 * np.sqrt(2 / n)) == (spread == 1.0)


def test_modes_telescope_to_one_step(gaussian):
    """Next-level modes of a Gaussian lead from o_K to the article's o / (1 + sigma^2), whatever lies between."""
    run = bd.reverse(gaussian, WIDE, bd.mode, draws=50, random_seed=2, **QUIET)
    last = run["path"]["x"].sel(level=6).values
    np.testing.assert_allclose(run["posterior"]["x"].values, last / (1 + 30.0**2), rtol=1e-8)


def test_one_step_is_the_step():
    o = np.random.default_rng(3).normal(0, np.sqrt(101), size=40)
    run = bd.reverse(plain(), bd.one_step(10.0), bd.mode, draws=10, o=o, random_seed=1, **QUIET)
    np.testing.assert_allclose(run["posterior"]["x"].values.ravel(), o / 101, rtol=1e-9)
    np.testing.assert_array_equal(run["path"]["x"].values.ravel(), o)
    assert run.attrs["form"] == "clean"
    assert np.isnan(run["diagnostics"]["diffused_again_p_value"])


@pytest.mark.slow
def test_means_are_those_of_a_chain_of_means(gaussian):
    """bd.mean, of 400 draws, adds their Monte Carlo error to each step: a known share of the posterior variance."""
    schedule = WIDE
    run = bd.reverse(
        gaussian, schedule, partial(bd.mean, draws=100, tune=50), draws=500, next_level=False, random_seed=4, **QUIET
    )
    last = 1 + schedule.sigma[-1] ** 2
    low, high = (exact.gaussian_chain(1.0, schedule.alpha, schedule.sigma, last, s, False)[0] for s in (0.0, 0.2))
    variance = (run["posterior"]["x"] ** 2).mean().item()
    slack = 4 * np.sqrt(2 / 2000)
    assert low * (1 - slack) < variance < high * (1 + slack)


# ---------------------------------------------------------------------------------------------------------- distances


def from_nearest(centres):
    """Sliced W2 of x less its nearest centre: the shape of the modes, whatever their shares."""
    centres = np.asarray(centres, float).reshape(len(centres), -1)

    def rest(x):
        return x - centres[((x[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)]

    return lambda x, y: sliced_w2(rest(x), rest(y))


@cache
def floor_of(draw_exact, score, size):
    return floor(draw_exact, score, size, 1000, 0)


def is_right(run, draw_exact, *scores):
    """Judge the chains of a run, each a sample of its own, by their distances to exact samples.

    19 of 20 below the 99.9th percentile of 1,000 pairs of exact samples, and the mean within 1.1 of theirs (or within
    four Monte Carlo errors, where 20 samples say no more), by every score.
    """
    x = run["unconstrained_posterior"]["x"].values
    x = x.reshape(*x.shape[:2], -1)
    rng = np.random.default_rng(99)
    others = [draw_exact(x.shape[1], rng) for _ in x]
    for score in scores:
        bound = floor_of(draw_exact, score, x.shape[1])
        distances = np.array([score(chain, other) for chain, other in zip(x, others, strict=True)])
        error = 4 * bound.std() / np.sqrt(len(x)) / bound.mean()
        if (distances > np.quantile(bound, 0.999)).sum() > 1 or distances.mean() > max(1.1, 1 + error) * bound.mean():
            return False
    return True


@cache
def judges(name):
    """Exact draws of a prior, and the scores that its samples are judged by."""
    if name == "rings":
        return ring_draws, sliced_w2, lambda x, y: sliced_w2(np.hypot(*x.T)[:, None], np.hypot(*y.T)[:, None])
    mixture = exact.mixture(*MIXTURES[name])
    return lambda size, rng: exact.mixture_draws(mixture, size, rng), sliced_w2, from_nearest(MIXTURES[name][1])


# Eight modes take longer than both others; the benchmark runs them too.
@pytest.mark.parametrize(
    ("name", "next_level"),
    [
        pytest.param("line", False, id="line-clean"),
        pytest.param("line", True, id="line-next level"),
        pytest.param("eight", False, id="eight-clean", marks=pytest.mark.slow),
        pytest.param("eight", True, id="eight-next level", marks=pytest.mark.slow),
    ],
)
def test_draws_reach_the_floor_and_modes_do_not(name, next_level):
    schedule = bd.geometric(4, 0.5, 40.0)
    prior = level_prior(name, schedule)
    o = bd.diffuse(prior.at_level(0).draws(20 * 100, 5), 1.0, 40.0, random_seed=6)
    o = o[:, 0] if prior.n == 1 else o
    how = {"draws": 100, "chains": 20, "o": o, "next_level": next_level, "random_seed": 7, **QUIET}
    assert is_right(bd.reverse(prior, schedule, bd.draw, **how), *judges(name))
    assert not is_right(bd.reverse(prior, schedule, bd.mode, **how), *judges(name))


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 4, 16, 64])
@pytest.mark.parametrize(
    ("name", "next_level"),
    [*[(name, form) for name in MIXTURES for form in (False, True)], ("rings", False)],  # no p_k of rings is known
)
def test_every_prior_at_every_number_of_levels(name, levels, next_level):
    schedule = bd.geometric(levels, 0.2 if levels > 1 else 40.0, 40.0)
    prior = bd.compile_prior(rings.prior()) if name == "rings" else level_prior(name, schedule)
    clean = judges(name)[0](20 * 250, np.random.default_rng(8))
    o = bd.diffuse(clean, 1.0, 40.0, random_seed=9)
    o = o[:, 0] if name in ("gaussian", "line") else o
    how = {"draws": 250, "chains": 20, "o": o, "next_level": next_level, "random_seed": 10, **QUIET}
    assert is_right(bd.reverse(prior, schedule, **how), *judges(name))
    # The negative control. In the clean form, modes are right in the limit where they are means (a Gaussian) or where
    # symmetry makes up for them (eight equal modes on a circle); in the other form they collapse there, too.
    how["next_level"] = next_level or name in ("gaussian", "eight")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Two halves")  # which is what they say themselves
        collapsed = bd.reverse(prior, schedule, bd.mode, **how)
    assert not is_right(collapsed, *judges(name))


def ring_draws(size, rng):
    """Exact draws of models/rings.py: the radius from its density r sum exp(...) on a fine grid, any angle."""
    r = np.arange(0.5e-4, 9.0, 1e-4)
    density = np.exp(-0.5 * ((r[:, None] - rings.RADII) / rings.WIDTH) ** 2).sum(axis=1) * r
    cumulative = np.cumsum(density) / density.sum()
    radius = np.interp(rng.random(size), cumulative, r)
    angle = rng.uniform(0, 2 * np.pi, size)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_a_density_without_draws_starts_from_a_pilot_run():
    """Nothing but the density of the rings is known: o_K comes from a pilot's mean and covariance."""
    run = bd.reverse(rings.prior(), bd.geometric(3, 1.0, 40.0), draws=250, random_seed=3, **QUIET)
    radius_share = (np.hypot(*flat(run).T) > 3.5).mean()
    truth = 5 / 7  # the area of a ring grows with its radius
    assert abs(radius_share - truth) < 4 * np.sqrt(truth * (1 - truth) / 1000)
    last = run["path"]["x"].sel(level=3).values
    variance = 40.0**2 + (2 / 7 * 4 + 5 / 7 * 25) / 2  # to the width of a ring
    np.testing.assert_allclose(last.var(axis=(0, 1)), variance, rtol=4 * np.sqrt(2 / 1000))


@pytest.mark.slow
def test_a_prior_with_data_through_the_chain():
    """linear_inverse: everything Gaussian, p0 itself a posterior."""
    truth = linear_inverse.exact()
    run = bd.reverse(linear_inverse.prior(), bd.geometric(2, 0.5, 20.0), draws=100, random_seed=5, **QUIET)
    x = flat(run)
    z = (x.mean(axis=0) - truth["mean"]) / np.sqrt(truth["covariance"].diagonal() / len(x))
    assert np.abs(z).max() < 4.5  # of 24
    white = np.linalg.solve(np.linalg.cholesky(truth["covariance"]), (x - truth["mean"]).T)
    # Trace of the whitened covariance, chi-squared with 24 n degrees of freedom.
    assert abs((white**2).sum() / white.size - 1) < 4 * np.sqrt(2 / white.size)
    assert run["posterior"]["x"].dims == ("chain", "draw", "time")


@pytest.mark.parametrize("next_level", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_equal_signal_to_noise_is_the_same_chain(next_level):
    preserving = bd.Schedule([1.0, 0.8, 0.4, 0.05], [0.0, 0.6, np.sqrt(1 - 0.16), np.sqrt(1 - 0.0025)])
    exploding = bd.Schedule(np.ones(4), preserving.sigma / preserving.alpha)
    o = bd.diffuse(np.zeros((200, 2)), 1.0, exploding.sigma[-1], random_seed=1)
    how = {"draws": 50, "next_level": next_level, "random_seed": 2, **QUIET}
    a = bd.reverse(level_prior("four", preserving), preserving, bd.laplace, o=0.05 * o, **how)
    b = bd.reverse(level_prior("four", exploding), exploding, bd.laplace, o=o, **how)
    # The same random numbers in other units; a climb that ends in another mode by rounding would be one of 200.
    same = np.isclose(flat(a), flat(b), rtol=1e-5, atol=1e-5).all(axis=1)
    assert same.mean() > 0.98


# ------------------------------------------------------------------------------------------------------ other tools


def test_pymc_samplers_and_optimisers_run_a_small_chain():
    with pm.Model() as model:
        pm.Normal("x", 2.0, 1.0)
    schedule, o = bd.geometric(2, 1.0, 3.0), [3.0, -1.0]
    find_map = bd.from_pymc(pm.find_MAP, progressbar=False, return_inferencedata=True, jitter=False)
    how = {"draws": 2, "chains": 1, "o": o, "random_seed": 3, **QUIET}
    run, ours = bd.reverse(model, schedule, find_map, **how), bd.reverse(model, schedule, bd.mode, **how)
    np.testing.assert_allclose(flat(run), flat(ours), atol=1e-4)
    assert run["sample_stats"]["evaluations"].values.tolist() == [[0.0, 0.0]]
    sample = bd.from_pymc(
        pm.sample,
        draws=20,
        tune=100,
        chains=1,
        cores=1,
        nuts_sampler="pymc",
        progressbar=False,
        compute_convergence_checks=False,
    )
    run = bd.reverse(model, schedule, sample, **how)
    assert np.isfinite(flat(run)).all()
    assert "pymc" in run.attrs["inverter"] or "from_pymc" in run.attrs["inverter"]


def test_results_are_labelled_saved_and_read(tmp_path):
    with pm.Model(coords={"who": ["a", "b"]}) as model:
        s = pm.HalfNormal("s")
        t = pm.Normal("t", 0, 1, dims="who")
        pm.Deterministic("product", s * t, dims="who")
    run = bd.reverse(model, bd.geometric(3, 0.3, 20.0), bd.laplace, draws=20, path=True, random_seed=1, **QUIET)
    assert run["posterior"]["product"].dims == ("chain", "draw", "who")
    np.testing.assert_allclose(run["posterior"]["product"], run["posterior"]["s"] * run["posterior"]["t"])
    np.testing.assert_allclose(np.log(run["posterior"]["s"]), run["unconstrained_posterior"]["s"])
    assert run["path"]["t"].dims == ("chain", "draw", "level", "who")
    np.testing.assert_array_equal(run["path"]["t"].sel(level=0), run["unconstrained_posterior"]["t"])
    assert run["level_stats"]["level"].values.tolist() == [1, 2, 3]
    assert (run["level_stats"]["evaluations"] > 0).all()
    total = run["level_stats"]["evaluations"].sum().item()
    assert run["sample_stats"]["evaluations"].mean().item() == pytest.approx(total)
    np.testing.assert_array_equal(run["schedule"]["sigma"], bd.geometric(3, 0.3, 20.0).sigma)
    assert bd.load(bd.save(run, tmp_path / "run.zarr")).identical(run)


# -------------------------------------------------------------------------------------------------- stopped and lost


class Moody:
    """An inverter that raises at the noise it dislikes."""

    def __init__(self):
        self.dislikes = None
        self.calls = 0

    def __getstate__(self):
        """Its mood is no part of what it gives: the same call goes on whatever that is."""

    def __call__(self, prior, o, alpha, sigma, *, start, random_seed):
        self.calls += 1
        if sigma == self.dislikes:
            raise ArithmeticError("not this one")
        return bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)


@pytest.mark.parametrize("path", [False, True])
def test_a_chain_that_stopped_goes_on_with_the_same_bits(tmp_path, gaussian, path):
    schedule, invert = WIDE, Moody()
    how = {"draws": 50, "next_level": False, "path": path, "random_seed": 1, **QUIET}
    unbroken = bd.reverse(gaussian, schedule, invert, **how)
    store, invert.dislikes, invert.calls = tmp_path / "run.zarr", float(schedule.sigma[2]), 0
    with pytest.raises(bd.ChainError, match=r"Moody failed at level 2 of 6 .*ArithmeticError: not this one.*goes on"):
        bd.reverse(gaussian, schedule, invert, **how, store=store)
    assert invert.calls == 2 * 4 + 1  # levels 6 to 3, two lineages each
    assert not store.exists()
    invert.dislikes, invert.calls = None, 0
    run = bd.reverse(gaussian, schedule, invert, **how, store=store)
    assert invert.calls == 2 * 2
    for group in ("posterior", "path", "level_stats", "sample_stats", "diagnostics"):
        assert run[group].to_dataset().identical(unbroken[group].to_dataset()), group
    assert [file.name for file in tmp_path.iterdir()] == ["run.zarr"]
    # Once more: it is there already.
    invert.calls = 0
    assert bd.reverse(gaussian, schedule, invert, **how, store=store).identical(run)
    assert invert.calls == 0


def test_a_store_of_another_call_is_refused(tmp_path, gaussian):
    store = tmp_path / "run.zarr"
    how = {"draws": 5, "random_seed": 1, **QUIET}
    bd.reverse(gaussian, WIDE, bd.mode, **how, store=store)
    four = level_prior("line", WIDE)
    for call, message in (
        (
            lambda: bd.reverse(gaussian, WIDE, bd.laplace, **how, store=store),
            r"invert was .*mode there and is .*laplace",
        ),
        (lambda: bd.reverse(gaussian, WIDE, bd.mode, **how | {"draws": 6}, store=store), "draws was 5 there and is 6"),
        (
            lambda: bd.reverse(gaussian, WIDE, bd.mode, **how | {"random_seed": 2}, store=store),
            "random_seed was 1 there",
        ),
        (lambda: bd.reverse(four, WIDE, bd.mode, **how, store=store), "prior was .* there and is"),
        (
            lambda: bd.reverse(gaussian, WIDE, bd.mode, **how, o=1.0, store=store),
            "o was None there and is",
        ),
        (
            lambda: bd.reverse(gaussian, WIDE, bd.mode, **how, next_level=False, store=store),
            "next_level was True there and is False",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    other = bd.save(bd.find_map(gaussian, 1.0, random_seed=1, **QUIET), tmp_path / "map.zarr")
    with pytest.raises(ValueError, match=r"map\.zarr holds a result that reverse did not write"):
        bd.reverse(gaussian, WIDE, bd.mode, **how, store=other)
    with pytest.raises(ValueError, match=r"must end in \.zarr"):
        bd.reverse(gaussian, WIDE, bd.mode, **how, store=tmp_path / "run")


def test_damaged_levels_are_made_again(tmp_path, gaussian):
    invert, store = Moody(), tmp_path / "run.zarr"
    how = {"draws": 5, "next_level": False, "random_seed": 1, "store": store, **QUIET}
    invert.dislikes = float(WIDE.sigma[2])
    with pytest.raises(bd.ChainError):
        bd.reverse(gaussian, WIDE, invert, **how)
    invert.dislikes = None
    folder = tmp_path / ".run.zarr.levels"
    level = folder / "000003.npz"
    level.write_bytes(level.read_bytes()[:100])
    run = bd.reverse(gaussian, WIDE, invert, **how)
    whole = bd.reverse(gaussian, WIDE, Moody(), **{**how, "store": None})
    np.testing.assert_array_equal(flat(run), flat(whole))
    store = tmp_path / "other.zarr"
    (tmp_path / ".other.zarr.levels").mkdir()
    (tmp_path / ".other.zarr.levels" / "call.json").write_text("{")
    with pytest.raises(ValueError, match=r"call\.json is damaged .*; remove .*levels to begin anew"):
        bd.reverse(gaussian, WIDE, invert, **how | {"store": store})


@pytest.mark.slow
def test_the_neck_of_a_funnel_does_not_hold_a_chain():
    """A hierarchical model has no mode: climbs go up the neck for ever, and chains that began there stayed there."""
    y = np.array([1.0, 2.0])
    with pm.Model(coords={"group": ["a", "b"]}) as model:
        mu, s = pm.Normal("mu"), pm.HalfNormal("s")
        theta = pm.Normal("theta", mu, s, dims="group")
        pm.Normal("y", theta, 1.0, observed=y, dims="group")
    grid = np.arange(0.0005, 8, 0.001)
    # y | s ~ N(0, (1 + s^2) I + 11'), whose eigenvalues are 3 + s^2 (the sum of y) and 1 + s^2 (their difference).
    a, b = 3 + grid**2, 1 + grid**2
    weight = np.exp(-0.5 * (grid**2 + y.sum() ** 2 / 2 / a + (y[0] - y[1]) ** 2 / 2 / b)) / np.sqrt(a * b)
    truth = weight @ grid / weight.sum()
    run = bd.reverse(model, bd.geometric(2, 0.5, 60.0), partial(bd.draw, tune=400), draws=250, random_seed=1, **QUIET)
    s = run["posterior"]["s"].values
    assert abs(s.mean() - truth) < 4 * s.std() / np.sqrt(s.size)  # .2 if the neck holds it


def test_an_error_keeps_what_was_finished(gaussian):
    invert = Moody()
    invert.dislikes = float(WIDE.sigma[4])
    with pytest.raises(bd.ChainError) as caught:
        bd.reverse(gaussian, WIDE, invert, draws=5, next_level=False, path=True, random_seed=1, **QUIET)
    error = caught.value
    assert error.level == 4
    assert isinstance(error.__cause__, ArithmeticError)
    assert error.partial["path"]["level"].values.tolist() == [4, 5, 6]
    assert error.partial["level_stats"]["level"].values.tolist() == [5, 6]
    whole = bd.reverse(gaussian, WIDE, Moody(), draws=5, next_level=False, path=True, random_seed=1, **QUIET)
    np.testing.assert_array_equal(error.partial["path"]["x"], whole["path"]["x"].sel(level=[4, 5, 6]))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: x, r"level 6 of 6 .* it returned ndarray; an inverter returns \(x, stats\)"),
        (
            lambda x: (x[:-1], {}),
            r"level 6 of 6 .* x has shape \(9, 1\) and dtype float64; return real numbers of the s",
        ),
        (lambda x: (x.astype(str), {}), r"level 6 of 6 .* x has shape \(10, 1\) and dtype <U"),
        (lambda x: (x * np.nan, {}), r"level 6 of 6 .* x is not finite for any of the trajectories"),
        (lambda x: (x, {"a": np.zeros(3)}), r"level 6 of 6 .* stats\['a'\] has shape \(3,\); return one row per traj"),
        (lambda x: (x, None), r"level 6 of 6 .* it returned tuple; an inverter returns"),
    ],
)
def test_what_an_inverter_must_not_return(gaussian, result, message):
    def invert(prior, o, alpha, sigma, *, start, random_seed):
        return result(np.array(o))

    with pytest.raises(bd.ChainError, match=message):
        bd.reverse(gaussian, WIDE, invert, draws=5, random_seed=1, **QUIET)


def test_a_lost_trajectory_disturbs_no_other(gaussian):
    def loses(prior, o, alpha, sigma, *, start, random_seed):
        x, stats = bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)
        if sigma == WIDE.sigma[3] and not loses.done:
            x[2], loses.done = np.nan, True
        return x, stats

    loses.done = False
    how = {"draws": 10, "next_level": False, "path": True, "random_seed": 1, **QUIET}
    whole = bd.reverse(gaussian, WIDE, bd.laplace, **how)
    with pytest.warns(UserWarning, match="1 of 40 trajectories were lost, the first at level 3"):
        run = bd.reverse(gaussian, WIDE, loses, **how)
    lost = np.isnan(flat(run))[:, 0]
    assert np.flatnonzero(lost).tolist() == [2]
    np.testing.assert_allclose(flat(run)[~lost], flat(whole)[~lost], rtol=1e-9)
    assert run["level_stats"]["lost"].values.tolist() == [1, 1, 1, 0, 0, 0]
    assert np.isfinite(run["path"]["x"].values.reshape(40, 7)[2, 3:]).all()


def test_a_half_that_is_lost_does_not_stop_the_other(gaussian):
    """Two trajectories are two lineages; one of them starts at NaN."""
    how = {"draws": 2, "chains": 1, "random_seed": 1, **QUIET}
    with pytest.warns(UserWarning, match="1 of 2 trajectories were lost, the first at level 6"):
        run = bd.reverse(gaussian, WIDE, bd.mode, o=[5.0, np.nan], **how)
    whole = bd.reverse(gaussian, WIDE, bd.mode, o=[5.0, 7.0], **how)
    assert np.isnan(flat(run)[1, 0])
    np.testing.assert_allclose(flat(run)[0], flat(whole)[0], rtol=1e-12)


# ----------------------------------------------------------------------------------------------------------- warnings


def test_a_last_level_that_is_too_narrow_is_said_with_the_one_to_use():
    prior = bd.compile_prior(bd.gaussian_mixture([0.5, 0.5], [-4.0, 4.0], 0.1))
    with pytest.warns(
        UserWarning, match=r"The last level is too narrow: .* sigma / alpha >= [\d.]+, or pass o="
    ) as said:
        run = bd.reverse(prior, bd.one_step(3.0), bd.laplace, draws=50, random_seed=1, **QUIET)
    text = run["verdict"].attrs["sentence"]
    assert len(said) == 1
    enough = float(text.split(">= ")[1].split(",")[0])
    # By the cumulants of two points at +-4: kappa_4 = -2 (less the width), r^4 kappa_4^2 / 48 = 1e-3.
    share = (1e-3 * 48 / (2 * (16 / 16.1) ** 2) ** 2) ** 0.25
    assert enough == pytest.approx(np.sqrt(16.1 * (1 - share) / share), rel=0.1)
    again = bd.reverse(prior, bd.one_step(1.1 * enough), bd.laplace, draws=50, random_seed=1, **QUIET)
    assert again["verdict"].attrs["code"] == "ok"
    given = bd.reverse(prior, bd.one_step(3.0), bd.laplace, draws=50, o=1.0, random_seed=1, **QUIET)
    assert not given["verdict"].attrs["warned"]


def test_an_inverter_that_stays_where_it_starts_is_found_out():
    def lazy(prior, o, alpha, sigma, *, start, random_seed):
        return start, {}

    with pytest.warns(UserWarning, match=r"Two halves of the trajectories.*disagree at level \d"):
        bd.reverse(plain(), bd.geometric(16, 0.3, 30.0), lazy, draws=2000, random_seed=1, **QUIET)


def test_a_collapse_within_a_narrow_last_level_is_found_out():
    with pm.Model() as model:
        pm.Normal("x", 0, 3)
    with pytest.warns(
        UserWarning, match="The final x, diffused again to the last level, is not distributed as the o_K"
    ):
        # The two sd are 3.67 and 4.24: with 16,000 trajectories the expected p-value is below 1e-8.
        bd.reverse(model, bd.one_step(3.0), bd.mode, draws=4000, random_seed=1, **QUIET)
    run = bd.reverse(model, bd.one_step(3.0), bd.laplace, draws=1000, random_seed=1, **QUIET)
    assert not run["verdict"].attrs["warned"]


# ---------------------------------------------------------------------------------------------------------- bad input


def schedules():
    return bd.geometric(6, 0.3, 31.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"schedule": 10.0}, TypeError, "schedule is float; write one, as bd.geometric"),
        ({"invert": "draw"}, TypeError, "invert is 'draw'; write a function, as bd.draw or bd.mode"),
        ({"draws": 0}, ValueError, "draws is 0; write an int >= 1"),
        ({"draws": 2.5}, TypeError, r"draws is 2\.5; write an int >= 1"),
        ({"chains": -1}, ValueError, "chains is -1; write an int >= 1"),
        ({"prior": 3}, TypeError, "prior must be a pm.Model, got int"),
        (
            {"schedule": schedules()},
            ValueError,
            r"another schedule: level 2 has alpha 1 and sigma 0\.75\d+ there and alpha 1 and sigma 0\.7\d+ here",
        ),
        (
            {"o": np.zeros(7)},
            ValueError,
            r"o has 7 observations, and draws=5 times chains=2 are 10; write as many, or dra",
        ),
        ({"o": np.zeros((10, 2))}, ValueError, r"o of 'x' has shape \(10, 2\); write its unconstrained shape \(\)"),
        ({"o": [np.nan] * 10}, ValueError, "none of the 10 observations is finite"),
        ({"o": {"y": 1.0}}, ValueError, r"o has unknown names \['y'\] and no \['x'\]"),
        ({"random_seed": -1}, ValueError, "random_seed is -1; write an int >= 0"),
        ({"random_seed": "a"}, TypeError, "random_seed is 'a'; write an int"),
    ],
)
def test_bad_input(gaussian, change, error, message):
    call = {"prior": gaussian, "schedule": WIDE, "invert": bd.mode, "draws": 5, "chains": 2, "random_seed": 1, **QUIET}
    with pytest.raises(error, match=message):
        bd.reverse(**call | change)


def test_next_level_needs_a_level_prior():
    prior = bd.density(lambda x: -pt.sum(x**2))
    with pytest.raises(ValueError, match="next_level=True needs a prior whose density depends on the level"):
        bd.reverse(prior, WIDE, next_level=True, **QUIET)


def test_one_trajectory_is_enough(gaussian):
    run = bd.reverse(gaussian, WIDE, bd.mode, draws=1, chains=1, random_seed=1, **QUIET)
    assert np.isfinite(flat(run)).all()
    assert np.isnan(run["level_stats"]["lineages_p_value"]).all()


def test_the_same_seed_gives_the_same_chain(gaussian):
    a, b, c = (bd.reverse(gaussian, WIDE, bd.draw, draws=500, random_seed=seed, **QUIET) for seed in (1, 1, 2))
    np.testing.assert_array_equal(flat(a), flat(b))
    assert not np.allclose(flat(a), flat(c))
    unseeded = bd.reverse(gaussian, WIDE, bd.mode, draws=5, **QUIET)
    again = bd.reverse(gaussian, WIDE, bd.mode, draws=5, random_seed=unseeded.attrs["seed"], **QUIET)
    np.testing.assert_array_equal(flat(unseeded), flat(again))


# ------------------------------------------------------------------------------------- level priors with something more


def with_data():
    """N(0, 1) as a level prior, and y = 3 seen of it with noise 1: x | y ~ N(1.5, .5)."""
    with bd.gaussian_mixture([1.0], [0.0], 1.0, WIDE) as model:
        pm.Normal("y", model["x"], 1.0, observed=3.0)
    return model


@pytest.mark.parametrize(
    "given", [pytest.param(False, id="o_K of its own", marks=pytest.mark.slow), pytest.param(True, id="o_K given")]
)
def test_data_on_a_level_prior_leave_the_clean_form(given):
    # o_K is x | y, diffused. p_K times the likelihood of y given x = o_K would be another law.
    o = 1.5 + np.sqrt(0.5 + 30.0**2) * np.random.default_rng(3).normal(size=4000) if given else None
    run = bd.reverse(with_data(), WIDE, bd.laplace, draws=1000, o=o, random_seed=1, **QUIET)
    x = flat(run)
    assert run.attrs["form"] == "clean"
    assert not run["verdict"].attrs["warned"]
    assert abs(x.mean() - 1.5) < 4 * np.sqrt(0.5 / len(x))
    assert abs(x.var() - 0.5) < 4 * 0.5 * np.sqrt(2 / len(x))


def test_data_that_know_no_level_refuse_the_next_level():
    with pytest.raises(ValueError, match=r"of p0 diffused to every level, and \['y'\] .*are the same"):
        bd.reverse(with_data(), WIDE, draws=5, next_level=True, random_seed=1, **QUIET)
    tilted = bd.tilt(bd.gaussian_mixture([1.0], [0.0], 1.0, WIDE), lambda x: -pt.softplus(-x))
    with pytest.raises(ValueError, match=r"\['tilt'\]"):
        bd.reverse(tilted, WIDE, draws=5, next_level=True, random_seed=1, **QUIET)


def test_data_that_know_the_level_may_take_the_next_level():
    """Given o_k of x ~ N(0, 1), y = x + e is N(m_k, v_k): with that likelihood every p_k is x | y, diffused."""
    with bd.gaussian_mixture([1.0], [0.0], 1.0, WIDE) as model:
        level = pt.cast(model["level"], "int64")
        alpha, sigma = (model[name][level] for name in ("schedule::alpha", "schedule::sigma"))
        total = alpha**2 + sigma**2
        pm.Normal("y", alpha * model["x"] / total, pt.sqrt(1.0 + sigma**2 / total), observed=3.0)
    # Every posterior is normal, so that draws of its normal law are draws of it.
    run = bd.reverse(model, WIDE, bd.laplace, draws=250, random_seed=1, **QUIET)
    x = flat(run)
    assert run.attrs["form"] == "next level"
    assert abs(x.mean() - 1.5) < 4 * np.sqrt(0.5 / len(x))
    assert abs(x.var() - 0.5) < 4 * 0.5 * np.sqrt(2 / len(x))


def test_the_form_is_true_false_or_none(gaussian):
    with pytest.raises(TypeError, match="next_level is 'clean'; write True, False or None"):
        bd.reverse(gaussian, WIDE, next_level="clean", **QUIET)


def test_a_prior_without_a_spread_is_refused():
    with pm.Model() as model:
        pm.Flat("x")
    with pytest.raises(ValueError, match=r"p0 has no finite spread.*pass o=, or write a proper prior"):
        bd.reverse(model, WIDE, draws=5, random_seed=1, **QUIET)
    run = bd.reverse(model, WIDE, bd.laplace, draws=500, o=0.0, random_seed=1, **QUIET)  # x | o is proper: N(o, 30^2)
    assert abs(flat(run).std() - 30) < 4 * 30 / np.sqrt(2 * 2000)


# ------------------------------------------------------------------------------------------- inverters that misbehave


def test_an_inverter_may_write_into_what_it_was_given(gaussian):
    def careless(prior, o, alpha, sigma, *, start, random_seed):
        got = bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)
        o *= 0
        start *= 0
        return got

    how = {"draws": 20, "next_level": False, "path": True, "random_seed": 1, **QUIET}
    run, clean = (bd.reverse(gaussian, WIDE, invert, **how) for invert in (careless, bd.laplace))
    np.testing.assert_array_equal(run["path"]["x"], clean["path"]["x"])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("level", lambda k: (), r"the name 'level', which the result needs"),
        ("a/b", lambda k: (), r"the name 'a/b', which the result needs or cannot hold"),
        ("lost", lambda k: (), r"the name 'lost'"),
        ("grows", lambda k: (k,), r"a row of stats\['grows'\] has shape \(2,\), and had \(1,\) before"),
    ],
)
def test_statistics_that_the_result_cannot_hold_are_refused_at_once(gaussian, name, shape, message):
    calls = []

    def odd(prior, o, alpha, sigma, *, start, random_seed):
        calls.append(sigma)
        x, _ = bd.laplace(prior, o, alpha, sigma, start=start, random_seed=random_seed)
        return x, {name: np.zeros((len(o), *shape(len(calls))))}

    with pytest.raises(bd.ChainError, match=f"failed at level 6 of 6 .*{message}") as caught:
        bd.reverse(gaussian, WIDE, odd, draws=5, next_level=False, random_seed=1, **QUIET)
    assert caught.value.level == 6


def test_a_chain_error_crosses_processes(gaussian):
    moody = Moody()
    moody.dislikes = float(WIDE.sigma[2])
    with pytest.raises(bd.ChainError) as caught:
        bd.reverse(gaussian, WIDE, moody, draws=5, next_level=False, random_seed=1, **QUIET)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.level) == (str(caught.value), 2)
    assert copy.partial.identical(caught.value.partial)


def test_stores_tell_bound_options_apart(tmp_path, gaussian):
    def point(model, random_seed, scale):
        return {"x": scale}

    how = {"draws": 2, "chains": 1, "random_seed": 1, "store": tmp_path / "run.zarr", **QUIET}
    one = bd.reverse(gaussian, WIDE, bd.from_pymc(point, scale=1.0), **how)
    assert bd.reverse(gaussian, WIDE, bd.from_pymc(point, scale=1.0), **how).identical(one)
    with pytest.raises(ValueError, match=r"invert was .*1\.0.* there and is .*5\.0"):
        bd.reverse(gaussian, WIDE, bd.from_pymc(point, scale=5.0), **how)


def test_the_least_p_value_of_many_coordinates_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    for shift, decimals in ((0.0, 8), (0.3, 8), (0.0, 0), (0.5, 0)):  # rounded to whole numbers there are ties
        first = rng.normal(size=(60, 30)).round(decimals)
        second = (rng.normal(size=(45, 30)) + shift * (np.arange(30) == 7)).round(decimals)
        loop = min(ks_2samp(a, b, method="asymp").pvalue for a, b in zip(first.T, second.T, strict=True))
        assert chain._same_law(first, second) == pytest.approx(min(1.0, 30 * loop), rel=1e-12)
    same = np.ones((20, 3))
    assert chain._same_law(same, same) == 1.0
