"""Plots by their structure (which artists there are, at which coordinates), and figures in which nothing is cut."""

import ast
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from bayesdiff import plots
from bayesdiff.plots import plot_compare, plot_population, plot_step
from bayesdiff.results import dataset, tree

mpl.use("agg")
SAMPLE = ("chain", "draw")
SCHOOLS = ["Choate", "Phillips Andover", "St. Paul's"]


@pytest.fixture(autouse=True)
def _close_figures_and_keep_the_style():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before  # no global style


def trees(draws, modes, *, o, sigma, prior=None, alpha=1.0, forward=None, dims=None, coords=None, batch=False):
    """The two trees of one step from unconstrained draws and modes; `forward` makes the constrained values."""
    lead = ("observation",) if batch else ()
    own = {name: (*lead, *(dims or {}).get(name, ())) for name in {*draws, *(dims or {})}}
    step = {
        "step": dataset(
            {"alpha": alpha, "sigma": sigma},
            dims={k: lead for k, v in (("alpha", alpha), ("sigma", sigma)) if np.ndim(v)},
        ),
        "step/o": dataset(o, dims=own, coords=coords),
    }
    made = []
    for kind, free in {"map": modes, "posterior": draws}.items():
        values = forward(free) if forward else free
        shape = next(iter(free.values())).shape[: 2 + len(lead)]
        groups = {
            "posterior": dataset(values, sample_dims=SAMPLE, dims=own, coords=coords),
            "unconstrained_posterior": dataset(free, sample_dims=SAMPLE, dims=own, coords=coords),
            "sample_stats": dataset({"lp": np.zeros(shape)}, sample_dims=SAMPLE, dims={"lp": lead}),
            **step,
        }
        if prior is not None:
            values = forward(prior) if forward else prior
            groups["prior"] = dataset(values, sample_dims=SAMPLE, dims=dims, coords=coords)
        if kind == "map":
            groups["laplace"] = dataset({k: np.ones(v.shape[2:]) for k, v in free.items()}, dims=own, coords=coords)
        made.append(tree(groups, {"inversion": kind}))
    return tuple(made)


def article(o=15.0, sigma=10.0, alpha=1.0, prior=True):
    rng = np.random.default_rng(1)
    total = alpha**2 + sigma**2
    mean, sd = alpha * o / total, sigma / np.sqrt(total)
    return trees(
        {"x": mean + sd * rng.normal(size=(4, 1000))},
        {"x": np.array([[mean]])},
        o={"x": o},
        sigma=sigma,
        alpha=alpha,
        prior={"x": rng.normal(size=(1, 1000))} if prior else None,
    )


def many(n=100, sigma=10.0, width=None):
    rng = np.random.default_rng(2)
    shape = (n,) if width is None else (n, width)
    o = rng.normal(size=shape) * np.sqrt(1 + sigma**2)
    mean, sd = o / (1 + sigma**2), sigma / np.sqrt(1 + sigma**2)
    return trees(
        {"x": mean + sd * rng.normal(size=(2, 50, *shape))},
        {"x": mean[None, None]},
        o={"x": o},
        sigma=np.full(n, sigma),
        prior={"x": rng.normal(size=(1, 1000, *shape[1:]))},
        dims={"x": ("pixel",)} if width else None,
        batch=True,
    )


def mixture():
    """Two modes 8 apart: the mode says -4, the posterior keeps both."""
    rng = np.random.default_rng(3)

    def sample(shape):
        return np.where(rng.random(shape) < 0.7, -4, 4) + 0.5 * rng.normal(size=shape)

    prior = {"x": sample((1, 1000))}
    return trees({"x": sample((4, 1000))}, {"x": np.array([[-4.0]])}, o={"x": 0.5}, sigma=8.0, prior=prior)


def schools():
    rng = np.random.default_rng(4)

    def forward(x):
        tau = np.exp(x["tau"])
        return {"eta": x["eta"], "mu": x["mu"], "tau": tau, "theta": x["mu"][..., None] + tau[..., None] * x["eta"]}

    return trees(
        {
            "eta": rng.normal(size=(4, 250, 3)),
            "mu": 5 + 2 * rng.normal(size=(4, 250)),
            "tau": rng.normal(size=(4, 250)),
        },
        {"eta": np.array([[[0.4, 0.0, -0.4]]]), "mu": np.array([[4.6]]), "tau": np.array([[0.2]])},
        o={"eta": np.array([1.0, 0.0, -1.0]), "mu": 5.5, "tau": 0.4},
        sigma=1.0,
        prior={
            "eta": rng.normal(size=(1, 1000, 3)),
            "mu": 5 * rng.normal(size=(1, 1000)),
            "tau": np.log(np.abs(5 * rng.standard_cauchy(size=(1, 1000)))),
        },
        forward=forward,
        dims={"eta": ("school",), "theta": ("school",)},
        coords={"school": SCHOOLS},
    )


def visuals(collection):
    """Which artists were drawn, without those that are decoration."""
    names = {"posterior", "prior", "likelihood", "map", "observed", "wide", "narrow", "mean", "histogram"}
    return set(collection.viz.children) & names


def area(line):
    return np.trapezoid(line["y"], line["x"])


# plot_step.


def test_step_draws_all_five():
    posterior, mode = reversed(article())
    collection = plot_step(posterior, mode, backend="none")
    assert visuals(collection) == {"posterior", "prior", "likelihood", "map", "observed"}
    assert collection.get_viz("map", "x")["x"] == mode["posterior"]["x"].item()
    assert collection.get_viz("observed", "x")["x"] == 15.0


def test_the_curves_are_densities():
    posterior, mode = reversed(article(o=2.0, sigma=1.0, alpha=2.0))
    collection = plot_step(posterior, mode, backend="none")
    line = {name: collection.get_viz(name, "x") for name in ("posterior", "prior", "likelihood")}
    for name in ("posterior", "prior", "likelihood"):
        np.testing.assert_allclose(area(line[name]), 1, atol=0.02)
    x = line["likelihood"]["x"]
    exact = np.exp(-0.5 * ((2.0 - 2.0 * x) / 1.0) ** 2) * 2 / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(line["likelihood"]["y"], exact, rtol=1e-9)
    mean, sd = 4 / 5, np.sqrt(1 / 5)  # the posterior, by hand
    x = line["posterior"]["x"]
    exact = np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(line["posterior"]["y"], exact, atol=0.1 * exact.max())


def test_a_narrow_likelihood_is_resolved():
    posterior, mode = reversed(article(o=2.0, sigma=1e-4))
    collection = plot_step(posterior, mode, backend="none")
    np.testing.assert_allclose(area(collection.get_viz("likelihood", "x")), 1, atol=0.02)


def test_the_prior_of_a_narrow_step_counts_what_lies_outside_the_panel():
    posterior, mode = reversed(article(o=0.5, sigma=0.05))
    prior = plot_step(posterior, mode, backend="none").get_viz("prior", "x")
    assert np.ptp(prior["x"]) < 2
    np.testing.assert_allclose(np.median(prior["y"]), np.exp(-0.125) / np.sqrt(2 * np.pi), rtol=0.3)


def test_both_modes_of_a_mixture_are_seen():
    posterior, mode = reversed(mixture())
    line = plot_step(posterior, mode, backend="none").get_viz("posterior", "x")
    height = {x: np.interp(x, line["x"], line["y"]) for x in (-4, 0, 4)}
    peak = 1 / (0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose([height[-4], height[4]], [0.7 * peak, 0.3 * peak], rtol=0.15)
    assert height[0] < 0.01 * height[4]


def test_step_without_prior_likelihood_or_mode():
    mode, posterior = article(prior=False)
    assert visuals(plot_step(posterior, mode, backend="none")) == {"posterior", "likelihood", "map", "observed"}
    mode, posterior = article()
    assert visuals(plot_step(posterior, prior=False, likelihood=False, backend="none")) == {"posterior"}
    assert visuals(plot_step(posterior, mode, likelihood=False, backend="none")) == {"posterior", "prior", "map"}


def test_noise_is_drawn_only_where_it_acts_on_the_axis_shown():
    mode, posterior = schools()
    collection = plot_step(posterior, mode, backend="none")
    for visual in ("posterior", "prior", "map"):
        shown = collection.viz[visual].to_dataset()
        assert set(shown.data_vars) == {"eta", "mu", "tau", "theta"}
        assert all(artist is not None for x in shown.data_vars.values() for artist in x.values.flat)
    for visual in ("likelihood", "observed"):
        shown = collection.viz[visual].to_dataset()
        drawn = {name for name, x in shown.data_vars.items() if any(a is not None for a in x.values.flat)}
        assert drawn == {"eta", "mu"}  # neither tau, which is positive, nor theta, which is a Deterministic
    assert collection.get_viz("observed", "eta", school="St. Paul's")["x"] == -1.0
    np.testing.assert_allclose(collection.get_viz("map", "tau")["x"], np.exp(0.2))
    assert collection.get_viz("prior", "tau")["x"].max() < 200  # a Cauchy's tail does not flatten the panel


def test_step_of_one_observation_in_a_batch():
    mode, posterior = many()
    collection = plot_step(posterior, mode, observation=7, backend="none")
    assert collection.get_viz("map", "x")["x"] == mode["posterior"]["x"].values[0, 0, 7]
    assert collection.get_viz("observed", "x")["x"] == mode["step/o"]["x"].values[7]
    assert collection.viz["figure_title"].item()["string"] == "observation 7 of a batch of 100"
    same = plot_step(posterior, mode, coords={"observation": 7}, backend="none")
    assert same.get_viz("map", "x")["x"] == mode["posterior"]["x"].values[0, 0, 7]
    first = plot_step(posterior, mode, backend="none")
    assert first.get_viz("map", "x")["x"] == mode["posterior"]["x"].values[0, 0, 0]


def test_step_of_some_components():
    mode, posterior = schools()
    collection = plot_step(posterior, mode, var_names="eta", coords={"school": SCHOOLS[:2]}, backend="none")
    assert collection.viz["plot"].to_dataset().sizes == {"school": 2}
    assert list(collection.viz["plot"].data_vars) == ["eta"]


def test_a_component_that_never_moves_is_a_spike():
    mode, posterior = trees(
        {"x": np.full((4, 50), 3.0)}, {"x": np.array([[3.0]])}, o={"x": 3.0}, sigma=1.0, forward=lambda x: x
    )
    collection = plot_step(posterior, mode, backend="none")
    assert set(collection.get_viz("posterior", "x")["x"]) == {3.0}
    assert collection.get_viz("map", "x")["x"] == 3.0


# plot_compare.


def test_compare_draws_every_mode_on_its_interval():
    mode, posterior = schools()
    collection = plot_compare(mode, posterior, backend="none")
    assert visuals(collection) == {"wide", "narrow", "mean", "map"}
    for name, x in posterior["posterior"].data_vars.items():
        rows = max(x.sizes.get("school", 1), 1)
        flat = x.values.reshape(1000, rows)
        points = collection.get_viz("map", name)
        np.testing.assert_array_equal(points["x"], mode["posterior"][name].values.reshape(rows))
        np.testing.assert_array_equal(points["y"], np.arange(rows)[::-1])  # the first at the top
        np.testing.assert_allclose(collection.get_viz("mean", name)["x"], flat.mean(0))
        for visual, levels in {"wide": (0.055, 0.945), "narrow": (0.25, 0.75)}.items():
            line = collection.get_viz(visual, name)
            ends = np.stack([line["x"].reshape(rows, 3)[:, i] for i in range(3)])
            np.testing.assert_allclose(ends[:2], np.quantile(flat, levels, axis=0))
            assert np.isnan(ends[2]).all()  # broken between rows


def test_compare_labels_the_rows():
    mode, posterior = schools()
    collection = plot_compare(mode, posterior, var_names=["mu", "eta"], backend="none")
    ticks = {n: a for n in ("mu", "eta") for a in collection.get_viz("plot", n) if a["function"] == "yticks"}
    assert list(ticks["mu"]["labels"]) == ["mu"]
    assert list(ticks["eta"]["labels"]) == [f"eta[{school}]" for school in SCHOOLS]
    assert list(ticks["eta"]["ticks"]) == [2, 1, 0]


def test_compare_shows_part_of_a_long_batch_and_says_so():
    mode, posterior = many(n=100)
    collection = plot_compare(mode, posterior, max_observations=5, backend="none")
    rows = [0, 25, 50, 74, 99]
    np.testing.assert_array_equal(collection.get_viz("map", "x")["x"], mode["posterior"]["x"].values[0, 0, rows])
    assert collection.viz["figure_title"].item()["string"] == "5 of 100 observations (5%)"
    whole = plot_compare(*many(n=8), backend="none")
    assert len(whole.get_viz("map", "x")["x"]) == 8
    assert whole.viz["figure_title"].item()["string"] == "8 observations"


def test_compare_gives_each_component_of_a_batch_its_panel():
    mode, posterior = many(n=6, width=3)
    collection = plot_compare(mode, posterior, backend="none")
    for pixel in range(3):
        points = collection.get_viz("map", "x", pixel=pixel)
        np.testing.assert_array_equal(points["x"], mode["posterior"]["x"].values[0, 0, :, pixel])


def test_a_bad_observation_is_an_empty_row():
    mode, posterior = many(n=4)
    for result in (mode, posterior):
        for group in ("posterior", "unconstrained_posterior", "step/o"):
            result[group]["x"].loc[{"observation": 1}] = np.nan
    points = plot_compare(mode, posterior, backend="none").get_viz("map", "x")
    assert np.isnan(points["x"]).tolist() == [False, True, False, False]
    assert visuals(plot_step(posterior, mode, observation=2, backend="none")) >= {"posterior", "map"}
    with pytest.raises(ValueError, match="could not be inverted"):
        plot_step(posterior, mode, observation=1, backend="none")


# plot_population.


def test_population_shows_that_modes_collapse_and_draws_do_not():
    mode, posterior = many(n=2000)
    collection = plot_population(mode, posterior, backend="none")
    assert visuals(collection) == {"histogram", "prior"}
    spread = {}
    for inversion in ("map", "posterior"):
        bars = collection.get_viz("histogram", "x", inversion=inversion)
        middle, share = (bars["l_e"] + bars["r_e"]) / 2, bars["y"] * (bars["r_e"] - bars["l_e"])
        np.testing.assert_allclose(share.sum(), 1)
        spread[inversion] = np.sqrt((share * middle**2).sum() - (share * middle).sum() ** 2)
        np.testing.assert_allclose(area(collection.get_viz("prior", "x", inversion=inversion)), 1, atol=0.02)
    # sd of the modes is 1 / sqrt(101), of the draws 1; the error of an sd is sd / sqrt(2 n)
    np.testing.assert_allclose(spread["map"] * np.sqrt(101), 1, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(spread["posterior"], 1, atol=5 / np.sqrt(4000))
    titles = [
        a["string"]
        for i in ("map", "posterior")
        for a in collection.get_viz("plot", "x", inversion=i)
        if a["function"] == "title"
    ]
    assert titles[0].startswith("x: mode of each posterior")
    assert titles[1].startswith("x: one draw of each posterior")


def test_population_of_modes_alone_without_a_prior():
    mode = many()[0]
    bare = tree({"posterior": mode["posterior"].to_dataset()}, mode.attrs)
    assert visuals(plot_population(bare, backend="none")) == {"histogram"}


# Bad input.

ONE, BATCH, WIDE = article(), many(n=5), many(n=5, width=50)
BAD = {
    "no tree": (lambda: plot_step({}), TypeError, "posterior_tree is a dict"),
    "the wrong tree": (lambda: plot_step(ONE[0]), ValueError, "posterior_tree is an inversion by map"),
    "not one step": (lambda: plot_step(ONE[1], mixture()[0]), ValueError, "different steps"),
    "no variable": (lambda: plot_step(ONE[1], var_names="y"), ValueError, "no variable 'y'. There are 'x'"),
    "no observation": (lambda: plot_step(BATCH[1], observation=5), ValueError, "'observation' has no label 5"),
    "two observations": (lambda: plot_step(BATCH[1], observation=[1, 2]), ValueError, r"observation is \[1, 2\]"),
    "coords in a batch": (lambda: plot_step(BATCH[1], coords=3), TypeError, "coords is 3"),
    "no batch": (lambda: plot_step(ONE[1], observation=0), ValueError, "no dimension 'observation'"),
    "no dimension": (lambda: plot_step(ONE[1], coords={"school": "A"}), ValueError, "no dimension 'school'"),
    "too many panels": (lambda: plot_step(WIDE[1]), ValueError, "50 panels, at most 40"),
    "swapped": (lambda: plot_compare(*reversed(ONE)), ValueError, "swapped"),
    "no rows": (lambda: plot_compare(*BATCH, max_observations=0), ValueError, "max_observations is 0"),
    "wide batch": (lambda: plot_compare(*WIDE), ValueError, "plot_compare would draw 50 panels"),
    "one o": (lambda: plot_population(ONE[0]), ValueError, "one observation"),
    "a posterior": (lambda: plot_population(BATCH[1]), ValueError, "map_tree is an inversion by posterior"),
    "which": (lambda: plot_population(schools()[0]), ValueError, "one observation"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Figures.

FIGURES = {
    "article": lambda: plot_step(*reversed(article())),
    "narrow": lambda: plot_step(*reversed(article(o=2.0, sigma=0.05))),
    "mixture": lambda: plot_step(*reversed(mixture())),
    "schools": lambda: plot_step(*reversed(schools())),
    "schools side by side": lambda: plot_compare(*schools()),
    "one number": lambda: plot_compare(*article()),
    "batch": lambda: plot_compare(*many()),
    "pixels": lambda: plot_compare(*many(n=12, width=6)),
    "population": lambda: plot_population(*many()),
    "modes": lambda: plot_population(many()[0]),
}


def drawn_texts(figure):
    """Titles, tick labels within their axes, and the legend's entries."""
    yield from (ax.title for ax in figure.axes)
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
    yield from figure.texts
    yield from figure.legends[0].get_texts()


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_no_text_of_a_figure_is_cut_or_covered(make, tmp_path):
    collection = make()
    collection.savefig(tmp_path / "figure.png", dpi="figure")
    figure = collection.get_viz("figure")
    renderer = figure.canvas.get_renderer()
    texts = [text for text in drawn_texts(figure) if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert len(texts) > 5
    for text, box in zip(texts, boxes, strict=True):
        cut = box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1
        assert not cut, f"{text.get_text()!r} is cut"
    for i, box in enumerate(boxes):
        for k in range(i):
            covered = box.padded(-1).overlaps(boxes[k].padded(-1))
            assert not covered, f"{texts[i].get_text()!r} and {texts[k].get_text()!r} overlap"


def test_in_matplotlib_the_mode_is_a_line_of_its_own():
    mode, posterior = article()
    line = plot_step(posterior, mode).get_viz("map", "x")
    assert line.get_xdata() == [mode["posterior"]["x"].item()] * 2
    low, high = line.axes.get_xlim()
    assert low < line.get_xdata()[0] < high
    assert line.get_visible()
    markers = plot_compare(mode, posterior).get_viz("map", "x")
    np.testing.assert_array_equal(markers.get_offsets(), [[mode["posterior"]["x"].item(), 0]])


def test_neither_a_sampler_nor_jax_is_imported():
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in Path(plots.__file__).parent.glob("*.py")]
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names} | {
        n.module for n in nodes if isinstance(n, ast.ImportFrom)
    }
    ours = {name for name in names if name.startswith("bayesdiff") and not name.startswith("bayesdiff.plots")}
    assert ours == {"bayesdiff.comparison", "bayesdiff.checks", "bayesdiff.files", "bayesdiff.pictures"}
    assert {name.split(".")[0] for name in names} & {"pymc", "jax", "blackjax", "pytensor"} == set()
