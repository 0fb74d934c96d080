"""compare against closed forms, and its Monte Carlo errors against ArviZ's."""

import ast
import inspect
import time
from functools import partial

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from arviz_stats import mcse

from bayesdiff import comparison
from bayesdiff.comparison import SUMMARY, compare, holds
from bayesdiff.results import dataset, load, save, tree

SAMPLE = ("chain", "draw")


def inversions(draws, modes, *, o, laplace, sigma=10.0, lp=None, forward=None, more=None, dims=None, coords=None):
    """The two trees of one step, from unconstrained draws (chain, draw, [observation], *dims) and modes (1, 1, ...).

    `forward` maps a variable to its constrained values, `more` makes Deterministics of those, `lp` a log density.
    """
    batch = ("observation",) if np.ndim(sigma) else ()
    own = {name: (*batch, *(dims or {}).get(name, ())) for name in draws}
    step = {
        "step": dataset({"alpha": 1.0, "sigma": sigma}, dims={"sigma": batch}),
        "step/o": dataset(o, dims=own, coords=coords),
    }
    trees = []
    for kind, free in {"map": modes, "posterior": draws}.items():
        constrained = {name: (forward or {}).get(name, lambda x: x)(value) for name, value in free.items()}
        constrained |= more(constrained) if more else {}
        shapes = {n: own[n] if n in own and v.shape == free[n].shape else batch for n, v in constrained.items()}
        groups = {
            "posterior": dataset(constrained, sample_dims=SAMPLE, dims=shapes, coords=coords),
            "unconstrained_posterior": dataset(free, sample_dims=SAMPLE, dims=own, coords=coords),
            "sample_stats": dataset(
                {"lp": lp(free) if lp else np.zeros(next(iter(free.values())).shape[: 2 + len(batch)])},
                sample_dims=SAMPLE,
                dims={"lp": batch},
            ),
            **step,
        }
        groups |= {"laplace": dataset(laplace, dims=own, coords=coords)} if kind == "map" else {}
        trees.append(tree(groups, {"inversion": kind}))
    return tuple(trees)


def article(n=50, sigma=10.0, draws=500, seed=1, shift=0.0):
    """x ~ N(0, 1), o | x ~ N(x, sigma^2): the posterior is N(o / (1 + sigma^2), sigma^2 / (1 + sigma^2))."""
    rng = np.random.default_rng(seed)
    o = rng.normal(size=n) * np.sqrt(1 + sigma**2)
    mean, sd = o / (1 + sigma**2), np.sqrt(sigma**2 / (1 + sigma**2))
    return inversions(
        {"x": mean + sd * rng.normal(size=(4, draws, n))},
        {"x": (mean + shift * sd)[None, None]},
        o={"x": o},
        sigma=np.full(n, sigma),
        laplace={"x": np.full(n, sd)},
        lp=lambda free: -(free["x"] ** 2) / 2 - (o - free["x"]) ** 2 / (2 * sigma**2),
    )


def schools(seed=2):
    """A vector, a positive scalar (exp), a Dirichlet-like simplex (softmax: one number fewer), and a Deterministic."""
    rng = np.random.default_rng(seed)
    free = {
        "eta": rng.normal(size=(2, 200, 3)),
        "tau": 0.5 + 0.3 * rng.normal(size=(2, 200)),
        "w": rng.normal(size=(2, 200, 2)),
    }
    modes = {"eta": np.array([[[0.1, 0.2, -0.3]]]), "tau": np.array([[0.4]]), "w": np.array([[[0.5, 0.0]]])}

    def softmax(x):
        e = np.exp(np.concatenate([x, -x.sum(-1, keepdims=True)], -1))
        return e / e.sum(-1, keepdims=True)

    return inversions(
        free,
        modes,
        o={"eta": np.zeros(3), "tau": np.array(0.0), "w": np.zeros(2)},
        laplace={"eta": np.ones(3), "tau": np.array(0.3), "w": np.array([1.0, np.nan])},
        forward={"tau": np.exp, "w": softmax},
        more=lambda x: {"theta": 5 + x["tau"][..., None] * x["eta"]},
        dims={"eta": ("school",), "w": ("w_unconstrained_dim_0",)},
        coords={"school": ["A", "B", "C"]},
    )


def rows(table, name):
    return {label: table[name].sel(summary=label).values for label in SUMMARY}


def autoregressive(rng, shape, phi):
    noise = rng.normal(size=shape)
    x = noise.copy()
    for t in range(1, shape[1]):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    return x


# The numbers.


def test_the_article():
    table = compare(*article())
    row = rows(table, "x")
    sd = np.sqrt(100 / 101)
    z = (row["mean"] - row["mode"]) / row["mcse_mean"]
    assert np.abs(z).max() < 4.5
    assert 0.5 < z.std() < 1.6  # and the Monte Carlo error is no excuse: it is as large as the errors are
    np.testing.assert_allclose(row["sd"], sd, rtol=5 / np.sqrt(2 * 2000))
    np.testing.assert_allclose(row["laplace_ratio"], 1, rtol=5 / np.sqrt(2 * 2000))
    np.testing.assert_allclose(row["offset"], 0, atol=5 / np.sqrt(2000))
    np.testing.assert_allclose(row["quantile"], 0.5, atol=5 * 0.5 / np.sqrt(2000))
    np.testing.assert_array_equal(rows(table, "lp")["quantile"], 1.0)  # no draw beats the mode


def test_a_mode_that_is_off_shows():
    """The negative control: the mode moved by one posterior sd."""
    row = rows(compare(*article(shift=1.0)), "x")
    np.testing.assert_allclose(row["offset"], 1, atol=0.15)
    np.testing.assert_allclose(row["quantile"], 0.8413, atol=0.05)
    assert (rows(compare(*article(shift=1.0)), "lp")["quantile"] < 0.5).all()


def test_every_number_by_its_definition():
    modes, posterior = schools()
    table = compare(modes, posterior)
    for name in ("eta", "tau", "w", "theta"):
        x = posterior["posterior"][name].values
        mode = modes["posterior"][name].values[0, 0]
        row = rows(table, name)
        np.testing.assert_allclose(row["mode"], mode, rtol=1e-14)
        np.testing.assert_allclose(row["mean"], x.mean((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(row["sd"], x.std((0, 1), ddof=1), rtol=1e-12)
        np.testing.assert_allclose(row["quantile"], (x < mode).mean((0, 1)), rtol=1e-12)
    u, mode = posterior["unconstrained_posterior"], modes["unconstrained_posterior"]
    for name, target in {"eta": "eta", "tau": "tau", "w": "w_unconstrained"}.items():
        x = u[name].values
        sd = x.std((0, 1), ddof=1)
        row = rows(table, target)
        np.testing.assert_allclose(row["offset"], (mode[name].values[0, 0] - x.mean((0, 1))) / sd, rtol=1e-10)
        np.testing.assert_allclose(row["laplace_ratio"], modes["laplace"][name].values / sd, rtol=1e-12)
    np.testing.assert_allclose(rows(table, "w_unconstrained")["mode"], [0.5, 0.0])
    for name in ("w", "theta"):  # no such numbers: another shape, no coordinate of the state
        assert np.isnan(table[name].sel(summary=["offset", "laplace_ratio"])).all()
    assert np.isnan(rows(table, "lp")["offset"])


def test_offset_of_a_positive_variable_is_taken_in_logs():
    modes, posterior = schools()
    x, row = posterior["posterior"]["tau"].values, rows(compare(modes, posterior), "tau")
    constrained = (np.exp(0.4) - x.mean()) / x.std(ddof=1)
    assert abs(row["offset"] - constrained) > 0.01


def test_mean_sd_and_error_are_those_of_arviz_summary():
    posterior = article(n=5)[1]
    ours = compare(*article(n=5))["x"]
    theirs = arviz_stats.summary(posterior, kind="all", fmt="xarray", round_to="none")["x"]
    for label in ("mean", "sd", "mcse_mean"):
        np.testing.assert_allclose(ours.sel(summary=label), theirs.sel(summary=label), rtol=1e-10)


@pytest.mark.parametrize("shape", [(4, 500), (1, 4), (2, 5), (4, 7), (3, 8), (4, 25), (1, 1000), (2, 101)])
@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.5, 0.99])
def test_mcse_is_that_of_arviz(shape, phi):
    rng = np.random.default_rng(5)
    x = autoregressive(rng, (*shape, 40), phi)
    x[..., 0] = 3.0  # never moves
    x[..., 1] = np.round(x[..., 1])  # ties
    x[..., 2] = x[:, :1, 2]  # each chain stuck at its own place
    x[0, -1, 3] = np.nan
    x[..., 4] *= 1e-9
    x[..., 5] += 1e6
    trees = inversions({"x": x}, {"x": np.zeros((1, 1, 40))}, o={"x": np.zeros(40)}, laplace={"x": np.ones(40)})
    ours = compare(*trees)["x"].sel(summary="mcse_mean").values
    theirs = mcse(trees[1]["posterior"].to_dataset(), method="mean")["x"].values
    assert np.isnan(ours[3])
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-300)


def test_mcse_of_correlated_draws_is_larger():
    """The negative control: sd / sqrt(draws) would not be."""
    rng = np.random.default_rng(6)
    x = autoregressive(rng, (4, 10_000, 3), 0.9)
    trees = inversions({"x": x}, {"x": np.zeros((1, 1, 3))}, o={"x": np.zeros(3)}, laplace={"x": np.ones(3)})
    row = rows(compare(*trees), "x")
    ratio = row["mcse_mean"] / (row["sd"] / np.sqrt(40_000))
    np.testing.assert_allclose(ratio, np.sqrt(1.9 / 0.1), rtol=0.3)


def test_long_batches_are_cut_into_blocks_that_agree(monkeypatch):
    whole = compare(*article(n=50))
    monkeypatch.setattr(comparison, "_blocks", partial(comparison._blocks, held=7 * 2000))
    assert compare(*article(n=50)).identical(whole)


def test_a_draw_that_beats_the_mode_shows_in_lp():
    """Two modes, the search in the lower one: draws in the other have a higher log density."""
    x = np.array([[-4.0, -4.0, 4.0, -4.0], [-4.0, 4.0, 4.0, -4.0]])
    trees = inversions(
        {"x": x},
        {"x": np.array([[4.0]])},
        o={"x": np.array(0.0)},
        laplace={"x": np.array(1.0)},
        lp=lambda free: np.where(free["x"] < 0, np.log(0.7), np.log(0.3)),
    )
    row = rows(compare(*trees), "lp")
    assert row["quantile"] == 0.0
    np.testing.assert_allclose(row["mode"], np.log(0.3))
    np.testing.assert_allclose(row["mean"], (5 * np.log(0.7) + 3 * np.log(0.3)) / 8)


# Its shape.


def test_dims_coords_and_labels():
    table = compare(*schools())
    assert list(table.data_vars) == ["eta", "tau", "w", "w_unconstrained", "theta", "lp"]
    assert table["eta"].dims == ("school", "summary")
    assert table["w_unconstrained"].dims == ("w_unconstrained_dim_0", "summary")
    assert table["tau"].dims == ("summary",)
    assert table["school"].values.tolist() == ["A", "B", "C"]
    assert table["summary"].values.tolist() == list(SUMMARY) == list(table["summary"].attrs)
    batch = compare(*article(n=3))
    assert batch["x"].dims == batch["lp"].dims == ("observation", "summary")
    named = arviz_stats.summary(article(n=3)[1], fmt="xarray")
    assert "summary" in named.dims
    assert {"mean", "sd", "mcse_mean"} <= set(named["summary"].values)


def test_the_table_is_saved_with_a_run(tmp_path):
    run = tree({"comparison": compare(*schools())})
    assert load(save(run, tmp_path / "run.zarr")).identical(run)
    assert load(save(run, tmp_path / "run.nc")).identical(run)


def test_a_bad_observation_is_a_row_of_nan_alone():
    modes, posterior = article(n=4)
    clean = compare(modes, posterior)
    for result in (modes, posterior):
        for group in ("posterior", "unconstrained_posterior", "sample_stats", "step/o", "laplace"):
            if holds(result, group):
                for variable in result[group].data_vars.values():
                    variable.loc[{"observation": 2}] = np.nan
    table = compare(modes, posterior)
    assert all(np.isnan(x.sel(observation=2)).all() for x in table.data_vars.values())
    others = [0, 1, 3]
    assert table.sel(observation=others).identical(clean.sel(observation=others))


def test_few_draws_give_nan_where_nothing_can_be_said():
    posterior = {"x": np.array([[1.0]])}
    trees = inversions(posterior, posterior, o={"x": np.array(1.0)}, laplace={"x": np.array(1.0)})
    row = rows(compare(*trees), "x")
    assert row["mean"] == 1.0
    assert np.isnan([row["sd"], row["mcse_mean"], row["offset"]]).all()


def test_trees_are_left_as_they_were():
    trees, copies = schools(), schools()
    compare(*trees)
    assert all(a.identical(b) for a, b in zip(trees, copies, strict=True))


# Bad input.


def without(result, group):
    kept = {node.path[1:]: node.to_dataset(inherit=False) for node in result.subtree}
    return tree({path: ds for path, ds in kept.items() if not f"{path}/".startswith(f"{group}/")}, result.attrs)


def changed(result, group, name, value):
    other = result.copy(deep=True)
    other[f"{group}/{name}"] = other[group][name] * 0 + value
    return other


M, P = article(n=3)
BAD = {
    "a dict": (({}, P), TypeError, "map_tree is a dict"),
    "a dataset": ((M, P["posterior"].to_dataset()), TypeError, "posterior_tree is a Dataset"),
    "swapped": ((P, M), ValueError, "arguments are swapped"),
    "two modes": ((M, M), ValueError, "posterior_tree is an inversion by map"),
    "two posteriors": ((P, P), ValueError, "map_tree is an inversion by posterior"),
    "the run": ((tree({"map": M, "posterior": P}), P), ValueError, r"run\['map'\], run\['posterior'\]"),
    "no laplace": ((without(M, "laplace"), P), ValueError, "map_tree has no group 'laplace'"),
    "no step": ((without(M, "step"), P), ValueError, "map_tree has no group 'step'"),
    "no o": ((M, without(P, "step/o")), ValueError, "posterior_tree has no group 'step/o'"),
    "no lp": ((M, without(P, "sample_stats")), ValueError, "posterior_tree has no group 'sample_stats'"),
    "another o": ((changed(M, "step/o", "x", 1.0), P), ValueError, r"'x' is 1\.0 in map_tree.*observation 0"),
    "another sigma": ((M, changed(P, "step", "sigma", 9.0)), ValueError, r"'sigma' is 10\.0 .* 9\.0"),
    "another alpha": ((M, changed(P, "step", "alpha", 0.5)), ValueError, r"'alpha' is 1\.0 .* 0\.5"),
    "another batch": ((article(n=4)[0], P), ValueError, "'x' has the dimensions {'observation': 4}"),
    "another prior": ((schools()[0], P), ValueError, r"different variables: \['eta', 'tau', 'theta', 'w', 'x'\]"),
}


@pytest.mark.parametrize(("trees", "error", "message"), BAD.values(), ids=BAD)
def test_one_clear_error(trees, error, message):
    with pytest.raises(error, match=message):
        compare(*trees)


def test_a_name_that_compare_needs():
    draws = {"w": np.zeros((1, 4)), "w_unconstrained": np.zeros((1, 4))}
    mode = {name: x[:, :1] for name, x in draws.items()}
    o = dict.fromkeys(draws, np.array(0.0))
    with pytest.raises(ValueError, match="'w_unconstrained', which compare needs"):
        compare(*inversions(draws, mode, o=o, laplace=o))


def test_o_that_is_nan_in_both_is_the_same_o():
    nan = [changed(result, "step/o", "x", np.nan) for result in (M, P)]
    assert isinstance(compare(*nan), xr.Dataset)


def test_neither_a_sampler_nor_jax_is_imported():
    nodes = [
        n for n in ast.walk(ast.parse(inspect.getsource(comparison))) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for n in nodes for alias in n.names} | {
        n.module for n in nodes if isinstance(n, ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in names if name} & {
        "pymc",
        "jax",
        "blackjax",
        "pytensor",
        "bayesdiff",
    } == set()


@pytest.mark.bench
@pytest.mark.parametrize(("n", "draws", "limit"), [(2_000, 500, 2.0), (100_000, 25, 4.0)])
def test_speed(n, draws, limit):
    trees = article(n=n, draws=draws)
    start = time.perf_counter()
    compare(*trees)
    assert time.perf_counter() - start < limit
