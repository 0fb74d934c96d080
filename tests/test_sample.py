"""bd.sample: mode weights and evidence that are known exactly; what it says of itself; what it refuses."""

import warnings
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy.special import betaln, gammaln
from scipy.stats import beta, kstest, norm

import bayesdiff as bd
from bayesdiff.multimodal import honesty, rounds, sampling
from bayesdiff.multimodal.tuning import TEMPERING
from bayesdiff.results import levels_folder

CIRCLE = 10 * np.stack([np.sin(np.arange(8) * np.pi / 4), np.cos(np.arange(8) * np.pi / 4)], axis=1)


def sampled(model=None, **options):
    return bd.sample(model, **({"random_seed": 1, "progressbar": False} | options))


def evidence(run):
    return float(run["log_evidence"]["log_evidence"]), float(run["log_evidence"]["log_evidence_se"])


def two_modes(n):
    means = np.stack([-np.ones(n), np.ones(n)])

    def logp(x):
        return pt.logsumexp(np.log([2 / 3, 1 / 3]) - 0.5 * ((x - means) ** 2).sum(-1) / 0.05) - 0.5 * n * np.log(
            2 * np.pi * 0.05
        )

    return bd.density(logp, shape=n)


def eight():
    def logp(x):
        return pt.logsumexp(-0.5 * ((x - CIRCLE) ** 2).sum(-1) / 0.7) - np.log(8 * 2 * np.pi * 0.7)

    return bd.density(logp, shape=2)


def forty():
    means = np.random.default_rng(0).uniform(-40, 40, size=(40, 2))
    variance = np.log1p(np.e) ** 2

    def logp(x):
        return pt.logsumexp(-0.5 * ((x - means) ** 2).sum(-1) / variance) - np.log(40 * 2 * np.pi * variance)

    return bd.density(logp, shape=2), means


def funnel():
    with pm.Model() as model:
        v = pm.Normal("v", 0, 3)
        pm.Normal("x", 0, pm.math.exp(v / 2), shape=9)
    return model


def label_switching():
    y = np.random.default_rng(1).normal(np.repeat([-4.0, 0.0, 4.0], 30), 1.0)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(3))
        mu = pm.Normal("mu", 0, 5, shape=3)
        s = pm.HalfNormal("s", 2, shape=3)
        pm.NormalMixture("y", w, mu, s, observed=y)
    return model


def total_variation(x, means, weights):
    label = ((x[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    return np.abs(np.bincount(label, minlength=len(means)) / len(x) - weights).sum() / 2


# ------------------------------------------------------------------------------------------------------ exact answers


@pytest.fixture(scope="module")
def sixteen():
    """Two modes in 16 dimensions, 36 sd apart."""
    return sampled(two_modes(16))


@pytest.fixture(scope="module")
def plane():
    """Two modes in the plane: one model for all who ask the same of it, since a model keeps what was compiled."""
    return two_modes(2)


@pytest.fixture(scope="module")
def circle():
    return eight()


def test_two_modes_have_their_weights_and_the_evidence_is_exact(sixteen):
    weight = sixteen["modes"]["weight"].values
    assert len(weight) == 2
    assert abs(weight[0] - 2 / 3) < max(0.015, 4 * sixteen["modes"]["weight_se"].values[0])
    log_z, se = evidence(sixteen)
    assert abs(log_z) < 0.08
    assert abs(log_z) < 5 * se
    np.testing.assert_allclose(sixteen["modes"]["x"].values, [-np.ones(16), np.ones(16)], atol=1e-6)
    x = sixteen["posterior"]["x"].values.reshape(-1, 16)
    assert abs((x.mean(axis=1) < 0).mean() - 2 / 3) < 4 * np.sqrt(2 / 9 / len(x)) * 1.3
    near = np.where(x.mean(axis=1, keepdims=True) < 0, x + 1, x - 1)
    np.testing.assert_allclose(near.std(axis=0), np.sqrt(0.05), rtol=0.06)
    assert sixteen["verdict"].attrs["code"] == "ok"


def test_one_chain_gets_stuck_where_sample_does_not():
    """The negative control: NUTS, from the same model, leaves the weights to where its chains begin."""
    with two_modes(16), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stuck = pm.sample(200, tune=200, chains=2, cores=1, nuts_sampler="pymc", progressbar=False, random_seed=1)
    left = (stuck["posterior"]["x"].values.mean(axis=-1) < 0).mean(axis=1)
    assert set(left) <= {0.0, 1.0}


def test_eight_modes(circle):
    run = sampled(circle)
    assert run["modes"].sizes["mode"] == 8
    weight = run["modes"]["weight"].values
    assert np.abs(weight - 1 / 8).sum() / 2 < 0.02
    log_z, se = evidence(run)
    assert abs(log_z) < max(0.02, 5 * se)
    # Which of the draws is where, by their own numbers: as near as independent draws would be.
    x = run["posterior"]["x"].values.reshape(-1, 2)
    counts = np.random.default_rng(0).multinomial(len(x), np.full(8, 1 / 8), size=200)
    floor = np.abs(counts / len(x) - 1 / 8).sum(axis=1) / 2
    assert total_variation(x, CIRCLE, 1 / 8) < np.quantile(floor, 0.999) * 1.2
    nearest = run["modes"]["x"].values[run["sample_stats"]["mode"].values.ravel()]
    assert (np.abs(x - nearest) < 6).all()


def test_a_constrained_variable_and_its_evidence():
    """Beta(2, 3) and 7 of 10: p(theta | y) = Beta(9, 6), p(y) = C(10, 7) B(9, 6) / B(2, 3)."""
    with pm.Model():
        theta = pm.Beta("theta", 2, 3)
        pm.Deterministic("odds", theta / (1 - theta))
        pm.Binomial("y", 10, theta, observed=7)
        run = sampled()  # the model of the block
    exact = gammaln(11) - gammaln(8) - gammaln(4) + betaln(9, 6) - betaln(2, 3)
    log_z, se = evidence(run)
    assert abs(log_z - exact) < max(0.01, 5 * se)
    draws = run["posterior"]["theta"].values
    assert kstest(draws.ravel()[::4], beta(9, 6).cdf).pvalue > 1e-3
    np.testing.assert_allclose(run["posterior"]["odds"], draws / (1 - draws))
    assert run["observed_data"]["y"].item() == 7


def test_many_dimensions_of_many_scales():
    sd = np.geomspace(0.01, 100, 20)
    with pm.Model(coords={"i": range(20)}) as model:
        pm.Normal("x", np.arange(20.0), sd, dims="i")
    run = sampled(model)
    x = run["posterior"]["x"]
    assert x.dims == ("chain", "draw", "i")
    ess = run["diagnostics"]["x"].sel(diagnostic="ess_bulk").values
    assert (np.abs(x.mean(("chain", "draw")).values - np.arange(20)) < 5 * sd / np.sqrt(ess)).all()
    np.testing.assert_allclose(x.std(("chain", "draw")).values / sd, 1, atol=5 / np.sqrt(2 * ess.min()))
    log_z, se = evidence(run)
    assert abs(log_z) < max(0.02, 5 * se)


def test_a_funnel():
    run = sampled(funnel(), random_seed=2)  # with others Pareto's k may be .73, of .7, and is told
    v = run["posterior"]["v"].values.ravel()
    assert kstest(v, norm(0, 3).cdf).statistic < 0.05
    log_z, _ = evidence(run)
    assert abs(log_z) < 0.1
    assert float(run["tempering"]["evaluations"]) < 2.5e6
    assert run["modes"].sizes.get("mode", 0) == 0  # its density has no maximum


def test_a_density_on_a_plateau():
    """Uniform on (-1, 1), by a density that is -inf outside: no slope shows the way. log Z = log 2."""
    run = sampled(bd.density(lambda x: pt.switch(pt.abs(x) < 1, 0.0, -np.inf)))
    log_z, se = evidence(run)
    assert abs(log_z - np.log(2)) < max(0.02, 5 * se)
    assert np.abs(run["posterior"]["x"].values).max() < 1
    assert kstest(run["posterior"]["x"].values.ravel()[::4], "uniform", (-1, 2)).pvalue > 1e-3


# -------------------------------------------------------------------------------------- targets of the literature, slow

SEEDS = range(1, 6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # its caution is tested elsewhere: here its numbers are
@pytest.mark.parametrize("seed", SEEDS)
def test_targets_of_the_literature(seed):
    run = sampled(eight(), random_seed=seed)
    assert np.abs(run["modes"]["weight"].values - 1 / 8).sum() / 2 < 0.02
    model, means = forty()
    run = sampled(model, random_seed=seed)
    x = run["posterior"]["x"].values.reshape(-1, 2)
    label = ((x[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert len(set(label)) == 40
    assert total_variation(x, means, 1 / 40) < 0.06
    for n in (16, 64):
        run = sampled(two_modes(n), random_seed=seed)
        assert abs(run["modes"]["weight"].values[0] - 2 / 3) < 0.015
        assert abs(evidence(run)[0]) < 0.08
        assert float(run["tempering"]["evaluations"]) < 2e6
    run = sampled(funnel(), random_seed=seed)
    assert kstest(run["posterior"]["v"].values.ravel(), norm(0, 3).cdf).statistic < 0.05
    assert abs(evidence(run)[0]) < 0.1
    run = sampled(label_switching(), random_seed=seed)
    weight, se = run["modes"]["weight"].values, run["modes"]["weight_se"].values
    assert (np.abs(weight[:6] - weight[:6].mean()) < 4 * se[:6]).all()  # six of one weight, by symmetry
    assert (np.abs(weight[6:12] - weight[6:12].mean()) < 4 * se[6:12]).all()  # six more, one normal wide
    order = np.argsort(run["posterior"]["mu"].values.reshape(-1, 3), axis=1) @ [1, 3, 9]
    shares = np.unique(order, return_counts=True)[1] / len(order)
    assert len(shares) == 6
    assert np.abs(shares - 1 / 6).max() < 4 * np.sqrt(5 / 36 / 2000)


@pytest.mark.slow
def test_eight_schools_against_its_integral():
    from models.eight_schools import exact, prior

    run, answer = sampled(prior()), exact()
    x = run["unconstrained_posterior"]
    for name, of in (("mu", "mu"), ("tau", "log_tau")):
        draws = x[name].values
        ess = float(run["diagnostics"][name].sel(diagnostic="ess_bulk"))
        mean, variance = answer[of]["mean"], answer[of]["variance"]
        assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / ess)
        assert abs(draws.var() / variance - 1) < 8 * np.sqrt(2 / ess)


# -------------------------------------------------------------------------------------------------------- how it is run


def test_same_seed_same_bits_whatever_the_cores(plane, monkeypatch):
    short = {"draws": 60, "chains": 3, "random_seed": 5}
    first = sampled(plane, **short)
    monkeypatch.setattr(sampling.os, "cpu_count", lambda: 1)
    again = sampled(plane, **short)
    np.testing.assert_array_equal(first["posterior"]["x"], again["posterior"]["x"])
    assert evidence(first) == evidence(again)
    other = sampled(plane, **(short | {"random_seed": 6}))
    assert (first["posterior"]["x"].values != other["posterior"]["x"].values).any()


def test_a_run_that_was_stopped_goes_on(plane, tmp_path, monkeypatch):
    options = {"draws": 60, "chains": 3, "random_seed": 2}
    whole = sampled(plane, **options)
    store = tmp_path / "run.zarr"
    draw, calls = rounds._drawn, []

    def stops(prior, moving, seed, stretch):
        calls.append(stretch.purpose)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(prior, moving, seed, stretch)

    monkeypatch.setattr(rounds, "_drawn", stops)
    monkeypatch.setattr(sampling.os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        sampled(plane, store=store, **options)
    assert len(list(levels_folder(store).glob("*.npz"))) == 2
    went_on = sampled(plane, store=store, **options)
    drawn_again = [purpose for purpose in calls[3:] if purpose[1] == 0]
    assert len(drawn_again) == 1  # of three chains, the one that was not finished
    np.testing.assert_array_equal(went_on["posterior"]["x"], whole["posterior"]["x"])
    assert not levels_folder(store).exists()
    assert bd.load(store).identical(went_on)
    count = len(calls)
    assert sampled(two_modes(2), store=store, **options)["posterior"].identical(went_on["posterior"])
    assert len(calls) == count  # read, not computed
    with pytest.raises(ValueError, match="written by another call: draws was 60 there and is 61 here"):
        sampled(two_modes(2), store=store, **(options | {"draws": 61}))


def test_what_was_tuned_can_be_varied(plane, tmp_path):
    """One keyword, down to every stage; a store tells calls apart by it."""
    varied = replace(
        TEMPERING,
        scouting=replace(TEMPERING.scouting, rounds=1, starts=16, looks=16),
        fitting=replace(TEMPERING.fitting, wide=TEMPERING.fitting.wide[:1], most_components=4),
        moving=replace(TEMPERING.moving, chunk=32, most_leaps=2),
        rungs=4,
        most_rungs=4,
        collect=(1, 1),
        again=0,
        most_thin=2,
    )
    options = {"draws": 40, "chains": 2, "random_seed": 3, "store": tmp_path / "run.zarr"}
    run = sampled(plane, tempering=varied, **options)
    ladder = run["tempering"]
    assert ladder.sizes["rung"] == 4
    assert int(ladder["sweeps_per_draw"]) == 2
    assert float(ladder["evaluations"]) < 20_000
    assert run["modes"]["starts"].sum() <= 16
    assert run["mixture"].sizes["component"] <= 3
    assert sampled(plane, tempering=replace(varied, again=0), **options).identical(run)  # read, not computed
    with pytest.raises(ValueError, match=r"another call: tempering was .*Tempering.* there and is None here"):
        sampled(plane, **options)
    with pytest.raises(TypeError, match=r"tempering is float; write dataclasses\.replace"):
        sampled(plane, tempering=0.1)


def test_a_model_that_was_wrong_leaves_no_claim_on_its_store(tmp_path):
    with pm.Model() as wrong:
        x = pm.Normal("x")
        pm.Potential("nowhere", pt.switch(pt.gt(x, 1e9), 0.0, -np.inf))
    with pytest.raises(ValueError, match="not finite at any"):
        sampled(wrong, store=tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


def test_modes_that_the_search_missed_are_found_in_the_draws(circle, monkeypatch):
    scout = sampling.scout
    monkeypatch.setattr(sampling, "scout", lambda *call: (found := scout(*call)).only(np.arange(len(found.x) - 2)))
    run = sampled(circle)
    assert run["modes"].sizes["mode"] == 8
    assert np.abs(run["modes"]["weight"].values - 1 / 8).sum() / 2 < 0.02


def test_the_tree_is_arvizs_and_is_saved(sixteen, tmp_path):
    assert {"posterior", "unconstrained_posterior", "sample_stats", "log_evidence", "modes", "mixture"} <= set(
        sixteen.children
    )
    assert dict(sixteen["posterior"].sizes) == {"chain": 4, "draw": 1000, "x_dim_0": 16}
    assert bd.load(bd.save(sixteen, tmp_path / "run.zarr")).identical(sixteen)
    assert float(sixteen["tempering"]["evaluations"]) < 2e6
    assert (sixteen["tempering"]["arrivals"] > 100).all()


def test_the_mixture_serves_as_a_prior(sixteen):
    """What was fitted is a `gaussian_mixture` in closed form: with a schedule, a level prior."""
    fitted = sixteen["mixture"]
    prior = bd.gaussian_mixture(
        fitted["weight"].values, fitted["mean"].values, fitted["covariance"].values, schedule=bd.geometric(3, 0.1, 9.0)
    )
    x = bd.compile_prior(prior).at_level(2).draws(100, 0)
    assert np.isfinite(x).all()


def test_one_chain_and_few_draws(plane):
    with pytest.warns(UserWarning, match="With one chain nothing can be compared") as said:
        run = sampled(plane, chains=1, draws=10)
    assert said[0].filename == __file__  # it points to the line that called
    assert run["posterior"]["x"].shape == (1, 10, 2)
    assert np.isfinite(run["log_evidence"]["by_chain_se"].values).all()
    assert np.isnan(evidence(run)).all()  # what nothing can be compared with is withheld


def test_starts_of_the_users_are_used():
    """A mode so narrow and far that no search comes near."""

    def logp(x):
        narrow = -0.5 * ((x - 30) ** 2).sum() / 1e-4 + 4 * np.log(1e4)
        return pt.logaddexp(-0.5 * (x**2).sum(), narrow) - np.log(2) - 4 * np.log(2 * np.pi)

    model = bd.density(logp, shape=8)
    blind = sampled(model)
    assert abs(evidence(blind)[0] - np.log(0.5)) < 0.05  # half of the mass, and no way to know
    seen = sampled(model, initvals={"x": np.full(8, 30.01)})
    assert abs(evidence(seen)[0]) < 0.05
    np.testing.assert_allclose(seen["modes"]["weight"].values, [0.5, 0.5], atol=0.03)


# -------------------------------------------------------------------------------------------------------------- honesty


def test_an_improper_posterior_is_said_to_be_one():
    with pm.Model() as model:
        pm.Flat("a")
        pm.Normal("b")
    with pytest.warns(UserWarning, match="spread of a grew round after round.*probably improper.*proper prior"):
        run = sampled(model, draws=300)
    assert run["verdict"].attrs["code"] == "improper"
    assert np.isnan(evidence(run)[0])


def test_a_density_that_is_no_number_is_said_to_be_none():
    with pytest.warns(UserWarning, match="log p was not a number for"):
        run = sampled(bd.density(lambda x: -0.5 * x**2 + 1e-12 * pt.log(x + 0.5)))
    assert run["posterior"]["x"].values.min() > -0.5
    assert abs(evidence(run)[0] - (0.5 * np.log(2 * np.pi) + norm.logsf(-0.5))) < 0.03


def measured(**changes):
    """The numbers of a run with which nothing is wrong, but for what is changed."""
    rng = np.random.default_rng(0)
    betas = np.array([0.0, 0.5, 1.0])
    x = rng.normal(size=(4, 2000, 3)) / np.sqrt(1 + 0.2 * betas)
    call = {
        "betas": betas,
        "gains": list(-0.1 * x**2 + 0.5 * np.log(1.2)),
        "evidences": [(0.0, 0.01), (0.0, 0.01)],
        "spreads": [np.zeros((4, 2)) + 0.01 * rng.normal(size=(4, 2)) for _ in range(3)],
    }
    for name, change in changes.items():
        call[name] = change(call[name]) if callable(change) else change
    history = honesty.History(call.pop("evidences"), call.pop("spreads"))
    return honesty.measured(**call, history=history, how=TEMPERING.agreeing)


def shifted(gains):
    return [gain + 3.0 * (chain == 2) for chain, gain in enumerate(gains)]


def grown(spreads, size=1.0):
    return [spread + k * size * np.array([0.0, 1.0]) for k, spread in enumerate(spreads)]


def test_of_a_good_run_nothing_is_measured_that_is_doubtful():
    good = measured()
    assert not good.contradicts
    assert good.drift is None
    assert good.grew is None
    assert abs(good.log_evidence) < 0.02


def test_rounds_that_differ():
    before, now, where, growth = measured(spreads=grown).drift
    assert (before, now, where) == (0.0, 0.0, 1)
    assert growth == pytest.approx(np.e, rel=0.02)
    assert measured(evidences=[(0.0, 0.01), (0.4, 0.01)]).drift[:2] == (0.0, 0.4)
    assert measured(evidences=[(0.0, 0.2), (0.4, 0.2)]).drift is None


def test_a_spread_without_an_end():
    assert measured(spreads=grown).grew is None  # twice by 2.7: not yet
    endless = measured(spreads=lambda spreads: grown(spreads, 5.0))
    assert endless.grew[0] == 1
    assert endless.grew[1] == pytest.approx(np.exp(10), rel=0.05)
    assert np.isnan(endless.log_evidence)
    with np.errstate(invalid="ignore"):
        assert measured(spreads=lambda spreads: [*spreads[:2], spreads[2] * np.nan]).grew == (0, np.inf)


def test_an_evidence_that_chains_contradict_is_withheld():
    got = measured(gains=shifted)
    assert got.contradicts
    assert np.isnan(got.log_evidence)
    assert np.isnan(got.log_evidence_se)
    assert np.ptp(got.by_chain) > 2.9  # what each says is still there to be read


# ------------------------------------------------------------------------------------------------------------ bad input


def normal():
    with pm.Model() as model:
        pm.HalfNormal("s")
    return model


def discrete():
    with pm.Model() as model:
        pm.Poisson("k", 3)
    return model


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: sampled(), TypeError, "there is no model; write sample"),
        (lambda: sampled(3), TypeError, "int"),
        (lambda: sampled(discrete()), TypeError, "discrete"),
        (lambda: sampled(pm.Model()), ValueError, "no free"),
        (lambda: sampled(normal(), draws=0), ValueError, "draws is 0; write an int >= 1"),
        (lambda: sampled(normal(), chains=2.5), TypeError, "chains is 2.5; write an int >= 1"),
        (lambda: sampled(normal(), random_seed="a"), TypeError, "random_seed is 'a'"),
        (lambda: sampled(normal(), initvals=[1.0]), TypeError, "initvals is list; write a mapping"),
        (lambda: sampled(normal(), initvals={"t": 1.0}), ValueError, r"unknown names \['t'\] and no \['s'\]"),
        (lambda: sampled(normal(), initvals={"s": -1.0}), ValueError, "number 0 lies outside the support"),
        (lambda: sampled(normal(), initvals={"s": np.ones((2, 3))}), ValueError, "shape"),
        (lambda: sampled(normal(), store="run.txt"), ValueError, "zarr"),
    ],
)
def test_bad_input_gets_one_clear_error(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_a_likelihood_that_raises_is_named():
    from pytensor.raise_op import Assert

    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Potential("bad", Assert("no such x")(x, pt.lt(x, -1e9)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match=r"no such x|CheckAndRaise|Assert|not finite"):
            sampled(model, draws=20, chains=1)


# --------------------------------------------------------------------------------------------- the bank of prior draws


def test_draws_of_sample_are_a_bank_for_a_wide_step(sixteen):
    """A prior with data, two modes far apart, and a wide step: its posterior's shares are exact."""
    n, sigma = 16, 6.0
    means = np.stack([-np.ones(n), np.ones(n)])
    prior, run = two_modes(n), sixteen
    o = np.full(n, 0.4)
    # p(x | o) of each mode: o ~ N(m, .05 + sigma^2).
    log = np.log([2 / 3, 1 / 3]) - 0.5 * ((o - means) ** 2).sum(axis=1) / (0.05 + sigma**2)
    right = np.exp(log[1]) / np.exp(log).sum()
    call = {"sigma": sigma, "draws": 500, "tune": 100, "random_seed": 1, "progressbar": False}
    with_bank = bd.sample_posterior(prior, o, bank=run["unconstrained_posterior"], **call)
    share = (with_bank["posterior"]["x"].values.mean(axis=-1) > 0).mean()
    weight = run["modes"]["weight"].values[1]  # the bank's own error counts too
    assert abs(share - right) < 4 * np.sqrt(right * (1 - right) / 1500) + abs(weight - 1 / 3)
    assert (with_bank["sample_stats"]["jump_rate"] > 0.3).all()


def test_a_bank_that_is_none():
    with pytest.raises(ValueError, match=r"bank of .x. has shape \(5, 3\)"):
        bd.draw(two_modes(2), np.zeros((1, 2)), bank=np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"bank has 0 finite draws.*unconstrained_posterior"):
        bd.draw(two_modes(2), np.zeros((1, 2)), bank=np.full((5, 2), np.nan))


# ------------------------------------------------------------------------------------------------ what a reviewer broke


def test_stores_tell_apart_models_that_differ_far_from_zero(tmp_path):
    def cut(c):
        where = lambda x: pt.switch(pt.all(x > 50), -0.5 * pt.sum((x - c) ** 2), -np.inf)  # noqa: E731
        return bd.density(where, shape=2, initval=[60.0, 60.0])

    def observed(y):
        with pm.Model() as model:
            x = pm.Normal("x", 0, 2000)
            pm.Normal("y", x, 1e-3, observed=y)
        return model

    def derived(factor):
        with pm.Model(coords={"k": ["a", "b"]}) as model:
            x = pm.Normal("x", dims="k")
            pm.Deterministic("twice", factor * x)
        return model

    from bayesdiff.compiled import compile_prior
    from bayesdiff.fingerprints import of_prior

    for make, these in ((cut, (60, 70)), (observed, (2020.0, 2020.001)), (derived, (2.0, 3.0))):
        first, second, again = (of_prior(compile_prior(make(value))) for value in (*these, these[0]))
        assert first != second
        assert first == again


def test_an_unidentified_posterior_is_said_to_be_improper():
    with pm.Model() as model:
        a, b = pm.Flat("a"), pm.Flat("b")
        pm.Normal("y", a + b, 1.0, observed=1.0)
    with pytest.warns(UserWarning, match="probably improper"):
        run = sampled(model, draws=300)
    assert np.isnan(evidence(run)[0])


@pytest.mark.filterwarnings("ignore:.*(one chain|states came all the way)")
def test_one_draw(plane):
    run = sampled(plane, draws=1, chains=2)
    assert run["posterior"]["x"].shape == (2, 1, 2)


def simplex():
    with pm.Model() as model:
        pm.Dirichlet("p", np.ones(3))
        pm.Normal("z")
    return model


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sampled(simplex(), initvals={"p": [0.5, 0.5, 0.5], "z": 0.0}), "number 0 lies outside the support"),
        (
            lambda: sampled(simplex(), initvals={"p": [0.5, 0.5], "z": 0.0}),
            r"initvals\['p'\] has shape \(2,\); write \(3,\), or \(batch, 3\)",
        ),
        (
            lambda: sampled(simplex(), initvals={"p": np.full((3, 3), 1 / 3), "z": [0.0, 1.0]}),
            "has 2 starts and others have 3",
        ),
        (lambda: sampled(simplex(), store="/proc/no/run.zarr"), "cannot be written"),
        (lambda: sampled(named("weight")), "has a variable 'weight', which the result needs"),
        (lambda: sampled(dimension("lp")), "has a dimension 'lp', which the result needs"),
    ],
)
def test_more_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_dimensions_of_other_groups_are_the_users_to_use():
    """Mixtures have components: a model may call its own dimension so."""
    with pm.Model(coords={"component": ["a", "b"], "rung": [1, 2, 3]}) as model:
        pm.Normal("x", dims=("component", "rung"))
    run = sampled(model, draws=100, chains=2)
    assert run["posterior"]["x"].dims == ("chain", "draw", "component", "rung")
    assert run["posterior"]["component"].values.tolist() == ["a", "b"]
    assert run["mixture"]["mean"].dims == ("component", "coordinate")


def named(name):
    with pm.Model() as model:
        pm.Normal(name)
    return model


def dimension(name):
    with pm.Model(coords={name: ["a", "b"]}) as model:
        pm.Normal("x", dims=name)
    return model


@pytest.mark.parametrize("text", ["[1]", "null", "{}", "{"])
def test_a_call_that_is_damaged(tmp_path, text):
    store = tmp_path / "run.zarr"
    levels_folder(store).mkdir()
    (levels_folder(store) / "call.json").write_text(text)
    with pytest.raises(ValueError, match=r"call.json is damaged.*remove .*levels to begin anew"):
        sampled(two_modes(2), store=store, draws=10, random_seed=1)


def test_a_bank_that_is_constrained_is_refused_and_a_whole_run_is_read():
    with pm.Model() as model:
        pm.HalfNormal("t")
    run = sampled(model, draws=200, chains=2)
    with pytest.raises(ValueError, match="bank is the constrained group"):
        bd.draw(model, np.zeros((3, 1)), bank=run["posterior"])
    x, _ = bd.draw(model, np.zeros((500, 1)), sigma=50.0, bank=run, random_seed=1)
    assert abs(np.exp(x).mean() - np.sqrt(2 / np.pi)) < 5 * 0.6 / np.sqrt(300)
