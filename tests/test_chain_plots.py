"""Plots of chains by their structure (which artists there are, at which coordinates), a few figures, and the GIFs."""

import matplotlib as mpl
import numpy as np
import pymc as pm
import pytest
from PIL import Image, ImageSequence

import bayesdiff as bd
from bayesdiff.plots.animation import animate_chain
from bayesdiff.plots.chain import plot_chain, plot_chain_plane
from bayesdiff.plots.schedule import plot_schedule
from bayesdiff.results import dataset, tree

mpl.use("agg")
SAMPLE = ("chain", "draw")
SCHOOLS = ["Choate", "Phillips Andover", "St. Paul's"]


@pytest.fixture(autouse=True)
def _close_figures_and_keep_the_style():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before  # no global style


def chain(x, schedule=None, *, spread=1.0, prior=True, levels=None, dims=None, coords=None, **attrs):
    """The tree of a chain that ends in `x`, by name (chain, draw, ...): its path is x, diffused level by level.

    With `spread` below 1 the noise of each level is too small by that factor; `levels` are those that the path holds.
    """
    schedule = schedule or bd.geometric(6, 0.3, 20.0)
    rng = np.random.default_rng(1)
    levels = list(range(schedule.levels + 1)) if levels is None else levels
    path = {}
    for name, clean in x.items():
        o = [np.asarray(clean, dtype=float)]
        for k in range(1, schedule.levels + 1):
            a, s = schedule.step(k)
            o.append(a * o[-1] + spread * s * rng.normal(size=o[-1].shape))
        path[name] = np.stack([o[k] for k in levels], axis=2)
    by_level = {name: ["level", *(dims or {}).get(name, [])] for name in x}
    noise = {"alpha": schedule.alpha, "sigma": schedule.sigma}
    groups = {
        "path": dataset(path, sample_dims=SAMPLE, dims=by_level, coords={**(coords or {}), "level": levels}),
        "schedule": dataset(noise, dims={name: ["level"] for name in noise}),
    }
    if prior:
        p0 = {name: np.asarray(clean).reshape(1, -1, *np.shape(clean)[2:])[:, ::-1] for name, clean in x.items()}
        groups["unconstrained_prior"] = dataset(p0, sample_dims=SAMPLE, dims=dims, coords=coords)
    return tree(groups, attrs)


def normal(n=100, mean=3.0, sd=2.0, **more):
    return chain({"x": mean + sd * np.random.default_rng(2).normal(size=(4, n))}, **more)


def plane(n=100, **more):
    return chain({"x": 5 + np.random.default_rng(3).normal(size=(4, n, 2))}, **more)


def schools(**more):
    rng = np.random.default_rng(4)
    x = {"eta": rng.normal(size=(2, 50, 3)), "mu": 5 * rng.normal(size=(2, 50))}
    return chain(x, dims={"eta": ["school"]}, coords={"school": SCHOOLS}, **more)


def lines(artist):
    """The lines of an artist, which are broken by NaN: a list of (x, y)."""
    x, y = np.asarray(artist["x"]), np.asarray(artist["y"])
    gaps = np.flatnonzero(np.isnan(x) | np.isnan(y))
    parts = np.split(np.stack([x, y]), gaps, axis=1)
    return [part for part in (p[:, ~np.isnan(p).any(axis=0)] for p in parts) if part.size]


def said(collection, name, function, **at):
    return [a["string"] for a in collection.get_viz("plot", name, **at) if a["function"] == function]


# plot_chain.


def test_the_paths_are_those_of_the_tree():
    run = normal()
    artist = plot_chain(run, particles=5, rescale=False, backend="none").get_viz("particles", "x")
    o = run["path"]["x"].values.reshape(400, 7)
    rows = np.linspace(0, 399, 5).round().astype(int)
    found = lines(artist)
    assert len(found) == 5
    for row, (level, y) in zip(rows, found, strict=True):
        np.testing.assert_array_equal(level, np.arange(7)[::-1])  # noise at the left
        np.testing.assert_array_equal(y, o[row, ::-1])


@pytest.mark.parametrize("schedule", [bd.geometric(6, 0.3, 20.0), bd.cosine(6)])
def test_a_level_is_drawn_at_the_spread_of_p0(schedule):
    run = normal(schedule=schedule)
    artist = plot_chain(run, particles=400, backend="none").get_viz("particles", "x")
    drawn = np.stack([y for _, y in lines(artist)])[:, ::-1]  # (particle, level 0..K)
    o, p0 = run["path"]["x"].values.reshape(400, 7), run["unconstrained_prior"]["x"].values
    m, v = p0.mean(), p0.var()
    total = schedule.alpha**2 * v + schedule.sigma**2
    np.testing.assert_allclose(drawn, m + np.sqrt(v / total) * (o - schedule.alpha * m))
    np.testing.assert_array_equal(drawn[:, 0].round(9), o[:, 0].round(9))  # x itself
    # 400 draws: the relative error of a sd is 1 / sqrt(800), that of a mean .05 sd
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(v), rtol=0.18)
    np.testing.assert_allclose(drawn.mean(axis=0), m, atol=0.25 * np.sqrt(v))


def test_runs_stand_side_by_side_on_one_scale():
    right, collapsed = normal(), chain({"x": np.full((4, 100), 3.0)}, spread=0.2, prior=False)
    collection = plot_chain({"draw": right, "mode": collapsed}, backend="none")
    assert collection.viz["plot"]["x"].dims == ("run",)
    assert collection.viz["plot"]["run"].values.tolist() == ["draw", "mode"]
    spread = {
        run: np.stack([y for _, y in lines(collection.get_viz("particles", "x", run=run))]).std(axis=0)
        for run in ("draw", "mode")
    }
    assert (spread["draw"][1:] > 1).all()
    assert (spread["mode"] < 0.7).all()  # seen to collapse, though it has no draws of p0 itself
    one, other = (
        [a for a in collection.get_viz("plot", "x", run=run) if a["function"] == "ylim"] for run in ("draw", "mode")
    )
    assert one == other
    assert said(collection, "x", "title", run="mode") == ["mode: x"]


def test_runs_may_differ_in_length():
    collection = plot_chain({"long": normal(), "short": normal(schedule=bd.cosine(3))}, particles=3, backend="none")
    for run, levels in {"long": 7, "short": 4}.items():
        assert [part.shape[1] for part in lines(collection.get_viz("particles", "x", run=run))] == [levels] * 3


def test_the_marginals_are_those_of_all_particles():
    run = normal(n=1000)
    collection = plot_chain(run, particles=0, backend="none")
    assert "particles" not in collection.viz.children
    fill = collection.get_viz("marginal", "x")
    x, y = fill["x"], fill["y_top"]
    assert (fill["y_bottom"] == y.min()).all()
    for level in range(7):  # all seven fit
        here = (x <= level) & (x > level - 0.999)
        weight = level - x[here]
        mean = np.sum(weight * y[here]) / weight.sum()
        sd = np.sqrt(np.sum(weight * (y[here] - mean) ** 2) / weight.sum())
        np.testing.assert_allclose([mean, sd], [3, 2], atol=0.25)


def test_p0_is_diffused_to_each_level():
    run = normal(n=1000)
    collection = plot_chain(run, rescale=False, backend="none")
    outline = collection.get_viz("prior", "x")
    x, y = np.asarray(outline["x"]), np.asarray(outline["y"])
    parts = np.split(np.stack([x, y]), np.flatnonzero(np.isnan(y)), axis=1)
    parts = [part[:, ~np.isnan(part).any(axis=0)] for part in parts][:-1]
    sigma = run["schedule"]["sigma"].values
    for level, (across, grid) in zip(range(7)[::-1], parts, strict=True):
        height = level - across
        total = np.sqrt(4 + sigma[level] ** 2)
        exact = np.exp(-0.5 * ((grid - 3) / total) ** 2)
        np.testing.assert_allclose(height / height.max(), exact, atol=0.15)
    assert "prior" not in plot_chain(normal(prior=False), backend="none").viz.children


def test_many_levels_are_not_all_given_a_density():
    run = normal(schedule=bd.geometric(100, 0.1, 20.0))
    fill = plot_chain(run, particles=1, backend="none").get_viz("marginal", "x")
    assert len(fill["x"]) == 9 * (len(fill["x"]) // 9)
    assert fill["x"].max() == 100
    assert fill["x"].min() > -12


def test_each_number_has_its_panel():
    collection = plot_chain(schools(), backend="none")
    assert collection.viz["plot"]["eta"].sizes == {"school": 3}
    assert collection.viz["plot"]["mu"].sizes == {}
    assert said(collection, "eta", "title", school="St. Paul's") == ["eta[St. Paul's]"]
    some = plot_chain(schools(), "eta", coords={"school": SCHOOLS[:2]}, backend="none")
    assert list(some.viz["plot"].data_vars) == ["eta"]
    assert some.viz["plot"]["eta"].sizes == {"school": 2}
    both = plot_chain({"a": schools(), "b": schools(prior=False)}, backend="none")
    assert both.viz["plot"]["eta"].sizes == {"school": 3, "run": 2}
    assert both.viz["plot"]["mu"].sizes == {"run": 2}


def test_a_chain_that_stopped_is_drawn_as_far_as_it_came():
    run = normal(levels=[4, 5, 6], prior=False, finished=0)
    collection = plot_chain(run, particles=2, backend="none")
    assert [part[0].tolist() for part in lines(collection.get_viz("particles", "x"))] == [[6, 5, 4]] * 2
    only_first = normal(levels=[6], prior=False, finished=0)
    assert lines(plot_chain(only_first, particles=2, backend="none").get_viz("particles", "x"))[0].shape == (2, 1)
    beside = plot_chain({"whole": normal(), "part": run}, particles=2, backend="none")
    assert len(lines(beside.get_viz("particles", "x", run="part"))) == 2
    assert plot_chain_plane(plane(levels=[5, 6], finished=0), backend="none").viz["plot"].sizes == {"panel": 2}


def test_lost_particles_end_where_they_were_lost():
    run = normal()
    run["path"]["x"][0, 0, :3] = np.nan
    found = lines(plot_chain(run, particles=2, backend="none").get_viz("particles", "x"))
    assert [part.shape[1] for part in found] == [4, 7]


def test_particles_that_all_are_at_one_place_are_seen():
    run = chain({"x": np.ones((4, 20))}, spread=0.0, prior=False)
    fill = plot_chain(run, backend="none").get_viz("marginal", "x")
    assert np.isfinite(fill["x"]).all()
    assert fill["x"].min() < -0.8


def test_a_real_run_and_what_a_chain_error_kept():
    schedule = bd.geometric(4, 0.3, 10.0)
    with pm.Model() as prior:
        pm.HalfNormal("tau", 2)

    def moody(prior, o, alpha, sigma, *, start, random_seed):
        if sigma < 1:
            raise ValueError("not today")
        return bd.mode(prior, o, alpha, sigma, start=start, random_seed=random_seed)

    how = {"draws": 25, "chains": 2, "path": True, "random_seed": 1, "progressbar": False}
    run = bd.reverse(prior, schedule, bd.mode, **how)
    with pytest.raises(bd.ChainError) as caught:
        bd.reverse(prior, schedule, moody, **how)
    collection = plot_chain({"all": run, "stopped": caught.value.partial}, particles=1, rescale=False, backend="none")
    for label, tree_ in {"all": run, "stopped": caught.value.partial}.items():
        o = tree_["path"]["tau"].sortby("level", ascending=False)
        [(level, y)] = lines(collection.get_viz("particles", "tau", run=label))
        np.testing.assert_array_equal(level, o["level"])
        np.testing.assert_array_equal(y, o[0, 0])


# plot_chain_plane.


def test_the_plane_shows_the_particles_level_by_level():
    run = plane()
    collection = plot_chain_plane(run, levels=3, rescale=False, backend="none")
    assert collection.viz["plot"].sizes == {"panel": 3}
    o = run["path"]["x"].values.reshape(400, 7, 2)
    for panel, level in enumerate([6, 3, 0]):
        points = collection.get_viz("particles", "x", panel=panel)
        np.testing.assert_array_equal(points["x"], o[:, level, 0])
        np.testing.assert_array_equal(points["y"], o[:, level, 1])
        title = said(collection, "x", "title", panel=panel)[0]
        assert title.startswith(f"level {level}\n")
        behind = collection.get_viz("prior", "x", panel=panel)
        assert (behind is not None) == (level == 0)
    fewer = plot_chain_plane(run, levels=[6, 0], particles=10, backend="none")
    assert len(fewer.get_viz("particles", "x", panel=1)["x"]) == 10


def test_the_plane_of_several_runs_and_of_two_variables():
    collection = plot_chain_plane({"a": plane(), "b": plane(prior=False)}, backend="none")
    assert collection.viz["plot"].sizes == {"run": 2, "panel": 5}
    assert said(collection, "x", "ylabel", run="b", panel=0) == ["b\nx[1]"]
    two = plot_chain_plane(schools(), coords={"school": SCHOOLS[0]}, backend="none")
    assert said(two, "eta, mu", "xlabel", panel=0) == ["eta[Choate]"]


# plot_schedule.


def test_the_ratio_of_each_level():
    vp, ve = bd.cosine(8), bd.geometric(5, 0.1, 10.0)
    collection = plot_schedule({"vp": vp, "ve": ve, "run": normal(schedule=vp)}, backend="none")
    for label, schedule in {"vp": vp, "ve": ve, "run": vp}.items():
        [(level, snr)] = lines(collection.get_viz("snr", "snr", schedule=label))
        np.testing.assert_array_equal(level, np.arange(1, schedule.levels + 1))
        np.testing.assert_allclose(snr, schedule.snr[1:])
    assert (
        plot_schedule(ve, backend="none").viz["snr"].sizes == plot_schedule(normal(), backend="none").viz["snr"].sizes
    )


# animate_chain.


def test_a_gif_of_one_number(tmp_path):
    path = animate_chain({"draw": normal(), "mode": normal(prior=False)}, tmp_path / "new" / "chain.gif")
    assert path == tmp_path / "new" / "chain.gif"
    assert path.stat().st_size < 1.5e6
    assert [p.name for p in path.parent.iterdir()] == ["chain.gif"]
    with Image.open(path) as gif:
        assert gif.n_frames == 7
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
    assert frames[0].getpixel((0, 0)) == (255, 255, 255)
    first, last = np.asarray(frames[0], dtype=int), np.asarray(frames[-1], dtype=int)
    assert (np.abs(first - last).sum(axis=2) > 60).sum() > 500  # they move


def test_a_gif_of_a_plane_has_at_most_60_frames(tmp_path):
    run = plane(n=5, schedule=bd.geometric(90, 0.1, 10.0))
    path = animate_chain(run, tmp_path / "plane.gif", particles=10)
    with Image.open(path) as gif:
        assert gif.n_frames == 60
    with pytest.raises(FileExistsError, match="overwrite=True"):
        animate_chain(run, path)
    run = plane(n=250, levels=[5, 6], prior=False, finished=0)
    with Image.open(animate_chain(run, path, overwrite=True)) as gif:
        assert gif.n_frames == 2


# Bad input.

ONE, TWO = normal(), plane()
BAD = {
    "no run": (lambda: plot_chain(3), TypeError, "The run is a int"),
    "no runs": (lambda: plot_chain({}), ValueError, "There is no run to draw"),
    "one is none": (lambda: plot_chain({"a": ONE, "b": None}), TypeError, "The run 'b' is a NoneType"),
    "no path": (lambda: plot_chain(tree({})), ValueError, "no group 'path'"),
    "no schedule": (lambda: plot_chain(tree({"path": ONE["path"]})), ValueError, "no group 'schedule'"),
    "path was not asked for": (lambda: plot_chain(normal(levels=[6])), ValueError, r"level 6 alone.*path=True"),
    "other variables": (lambda: plot_chain({"a": ONE, "b": TWO}), ValueError, "'a' and 'b' have different variables"),
    "no variable": (lambda: plot_chain(ONE, "y"), ValueError, "no variable 'y'. There are 'x'"),
    "no dimension": (lambda: plot_chain(ONE, coords={"level": 1}), ValueError, "no dimension 'level'. There are none"),
    "no label": (lambda: plot_chain(TWO, coords={"x_dim_0": 2}), ValueError, "'x_dim_0' has no label 2"),
    "particles": (lambda: plot_chain(ONE, particles=-1), ValueError, "particles is -1"),
    "panels": (
        lambda: plot_chain(chain({"x": np.ones((1, 2, 50))})),
        ValueError,
        "plot_chain would draw 50 panels, at most 40",
    ),
    "one number": (lambda: plot_chain_plane(ONE), ValueError, "draws two numbers, and 1 are chosen: x"),
    "levels": (lambda: plot_chain_plane(TWO, levels=0), ValueError, "levels is 0"),
    "no such level": (lambda: plot_chain_plane(TWO, levels=[7]), ValueError, "no level 7 in its path"),
    "no level": (lambda: plot_chain_plane(TWO, levels=[]), ValueError, "levels is empty"),
    "no schedules": (lambda: plot_schedule({}), ValueError, "no schedule to draw"),
    "not a schedule": (lambda: plot_schedule({"a": 3}), TypeError, "schedule 'a' is int"),
    "a tree without": (lambda: plot_schedule(tree({})), ValueError, "without a group 'schedule'"),
    "gif": (lambda: animate_chain(ONE, "chain.mp4"), ValueError, "path is 'chain.mp4'; write one that ends in .gif"),
    "gif of many": (lambda: animate_chain(schools(), "no.gif"), ValueError, "one number or two, and 4 are chosen"),
    "gif of none": (lambda: animate_chain(ONE, "no.gif", particles=0), ValueError, "particles is 0"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Figures.

FIGURES = {
    "chain": lambda: plot_chain(normal()),
    "side by side": lambda: plot_chain({"draws": normal(), "no draws of p0": normal(prior=False), "short": normal()}),
    "schools": lambda: plot_chain(schools()),
    "two schools": lambda: plot_chain({"a": schools(), "b": schools()}, coords={"school": SCHOOLS[1]}),
    "plane": lambda: plot_chain_plane({"draws": plane(), "half": plane(levels=[4, 5, 6], finished=0)}),
    "schedules": lambda: plot_schedule({"geometric": bd.geometric(20, 0.1, 10.0), "cosine": bd.cosine(12)}),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_no_text_of_a_figure_is_cut_or_covered(make, tmp_path):
    collection = make()
    collection.savefig(tmp_path / "figure.png", dpi="figure")
    figure = collection.get_viz("figure")
    renderer = figure.canvas.get_renderer()
    texts = [*figure.texts, *figure.legends[0].get_texts()]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    texts = [text for text in texts if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert len(texts) > 5
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        cut = box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1
        assert not cut, f"{text.get_text()!r} is cut"
        for k in range(i):
            covered = box.padded(-1).overlaps(boxes[k].padded(-1))
            assert not covered, f"{text.get_text()!r} and {texts[k].get_text()!r} overlap"


def test_in_matplotlib_noise_is_at_the_left():
    run = normal()
    line = plot_chain(run, particles=1, rescale=False).get_viz("particles", "x")
    left, right = line.axes.get_xlim()
    assert left > 6 > 0 > right
    np.testing.assert_array_equal(line.get_ydata()[:7], run["path"]["x"].values[0, 0, ::-1])
