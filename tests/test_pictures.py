"""Pictures in grids, strips and animations: every pixel is where it should be."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image, ImageSequence

from bayesdiff.pictures import (
    animate_pictures,
    even,
    is_picture,
    path_of,
    pictures_of,
    save_pictures,
    strip,
    tiled,
)

DIMS = ("chain", "draw", "row", "column", "colour")


def run(n=6, levels=5, size=4, colours=1, seed=0):
    """A run as `reverse` gives it: o_k is k + its number / 100, everywhere."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.2, 1.2, size=(2, n // 2, size, size, colours))
    o = rng.normal(size=(2, n // 2, levels + 1, size, size, colours))
    o[:, :, 0] = x
    level = np.arange(levels + 1)
    noise = xr.Dataset({"alpha": ("level", 1 / (1 + level)), "sigma": ("level", level / 2)}, {"level": level})
    path = xr.DataArray(o, dims=("chain", "draw", "level", *DIMS[2:]), coords={"level": level})
    return xr.DataTree.from_dict({
        "posterior": xr.Dataset({"x": xr.DataArray(x, dims=DIMS)}),
        "path": xr.Dataset({"x": path}),
        "schedule": noise,
    })  # fmt: skip


def test_pictures_come_chain_after_chain_and_clipped():
    one = run()
    x = one["posterior"]["x"].values
    np.testing.assert_array_equal(pictures_of(one), np.clip(np.concatenate([x[0], x[1]]), -1, 1))


def test_lost_pictures_are_left_out():
    one = run()
    one["posterior"]["x"].values[1, 0, 2, 2] = np.nan
    assert len(pictures_of(one)) == 5


def test_a_path_goes_from_noise_to_x_in_units_of_its_level():
    one = run()
    path, level = path_of(one)
    assert level.tolist() == [5, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(path[:, -1], pictures_of(one))
    scale = np.hypot(1 / 6, 5 / 2)
    np.testing.assert_allclose(path[3, 0], np.clip(one["path"]["x"].values[1, 0, 5] / scale, -1, 1))


def test_a_grid_holds_every_picture_once():
    shades = np.linspace(-1, 1, 5)
    grid = tiled(np.ones((5, 8, 8, 1)) * shades[:, None, None, None], columns=3, negative=False)
    assert grid.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    for i, shade in enumerate(shades):
        row, column = 2 + 10 * (i // 3), 2 + 10 * (i % 3)
        assert (grid[row : row + 8, column : column + 8] == round((shade + 1) * 127.5)).all()
    assert (grid[12:20, 22:30] == 255).all()  # the place that is left
    assert (grid[:2] == 255).all()


def test_ink_is_black_on_grey_pictures_and_colours_stay():
    ink = -np.ones((1, 4, 4, 1))
    ink[0, 1, 1] = 1
    grid = tiled(ink)
    assert (grid[3, 3] == 0).all()
    assert (np.delete(grid.reshape(-1, 3), 3 * 8 + 3, axis=0) == 255).all()
    red = -np.ones((1, 4, 4, 3))
    red[..., 0] = 1
    assert (tiled(red)[2:6, 2:6] == [255, 0, 0]).all()


def test_zoom_repeats_pixels():
    x = np.random.default_rng(1).uniform(-1, 1, size=(4, 5, 6, 3))
    np.testing.assert_array_equal(tiled(x, zoom=3)[1::3, 2::3], tiled(x))


def test_a_strip_begins_with_noise_and_ends_with_x():
    one = run(n=6, levels=5)
    shown = strip(one, pictures=2, steps=3)
    path, _ = path_of(one)
    np.testing.assert_array_equal(shown[[0, 2, 3, 5]], path[[0, 0, 1, 1], [0, -1, 0, -1]])
    assert len(strip(one, pictures=99, steps=99)) == 6 * 6


@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (2, 9), (25, 9), (129, 7)])
def test_the_first_and_the_last_level_are_shown(levels, steps):
    shown = even(levels, steps)
    assert shown[0] == 0
    assert shown[-1] == levels - 1
    assert len(set(shown.tolist())) == min(steps, levels)


@pytest.mark.parametrize("colours", [1, 3])
def test_files_hold_what_was_shown(tmp_path, colours):
    one = run(colours=colours, size=8)
    path = save_pictures(pictures_of(one), tmp_path / "grid.png", zoom=2)
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), tiled(pictures_of(one), zoom=2))
    with Image.open(animate_pictures(one, tmp_path / "path.gif")) as film:
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    way, _ = path_of(one)
    assert len(frames) == 6
    for frame, x in zip(frames, way.swapaxes(0, 1), strict=True):
        off = np.abs(frame - tiled(x, zoom=2))
        # Greys are all there; of colours, which here are of chance, the 256 best.
        assert off.max() == 0 if colours == 1 else off.mean() < 6
    assert sorted(file.name for file in tmp_path.iterdir()) == ["grid.png", "path.gif"]


def test_what_is_a_picture():
    x = run()["posterior"]["x"]
    assert is_picture(x)
    assert not is_picture(x.isel(colour=0))
    assert not is_picture(x.transpose("row", "column", "colour", "chain", "draw"))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tiled(np.zeros((4, 8, 8))), ValueError, r"pictures has shape \(4, 8, 8\); write \(n, height"),
        (lambda: tiled(np.zeros((4, 8, 8, 2))), ValueError, "with 1 or 3 colours"),
        (lambda: tiled(np.full((4, 8, 8, 1), np.nan)), ValueError, "not finite"),
        (lambda: tiled(np.full((1, 2, 2, 1), "a")), TypeError, "write numbers in -1..1"),
        (lambda: tiled(np.zeros((4, 8, 8, 1)), columns=0), ValueError, "columns is 0; write an int >= 1"),
        (lambda: tiled(np.zeros((4, 8, 8, 1)), zoom=1.5), TypeError, "zoom is 1.5; write an int >= 1"),
        (
            lambda: tiled(np.zeros((1, 8, 8, 1), np.uint8)),
            TypeError,
            r"has dtype uint8; .*pictures / 127.5 - 1 of bytes",
        ),
        (lambda: strip(run(), pictures=0), ValueError, "pictures is 0; write an int >= 1"),
        (lambda: strip(run(), steps=1), ValueError, "steps is 1; write an int >= 2"),
        (lambda: animate_pictures(run(), "a.gif", pictures=-1), ValueError, "pictures is -1; write an int >= 1"),
        (lambda: save_pictures(np.zeros((1, 8, 8, 1)), "grid.jpg"), ValueError, "write one that ends in .png"),
        (lambda: animate_pictures(run(), "path.png"), ValueError, "write one that ends in .gif"),
        (lambda: pictures_of(run() * np.nan), ValueError, "all 6 pictures of the run were lost"),
        (
            lambda: pictures_of(run().map_over_datasets(lambda ds: ds.expand_dims(observation=2))),
            ValueError,
            r"with the dimension \['observation'\]; choose one",
        ),
        (
            lambda: path_of(xr.DataTree.from_dict({"path": run()["path"].to_dataset()})),
            ValueError,
            "run has no group 'schedule'",
        ),
        (lambda: pictures_of({"x": 1}), TypeError, "run is dict; write what reverse returned"),
        (lambda: pictures_of(xr.DataTree()), ValueError, "run has no group 'posterior'"),
        (
            lambda: pictures_of(xr.DataTree.from_dict({"posterior": xr.Dataset({"x": (("chain", "draw"), [[1.0]])})})),
            ValueError,
            "run holds no pictures but",
        ),
        (
            lambda: path_of(
                xr.DataTree.from_dict({"path": run()["path"].to_dataset().isel(level=[0]), "schedule": xr.Dataset()})
            ),
            ValueError,
            "make it with reverse",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
