"""Pictures as pictures: many in a grid, their way from noise in a strip, and that way as an animation.

All take arrays (n, height, width, colours) in -1..1, or runs of `reverse` whose x is a picture (its last three
dimensions are row, column and colour), and clip them to -1..1. Nothing here samples.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesdiff.checks import flag, path_like, positive_int
from bayesdiff.files import replacing

AXES = ("row", "column", "colour")
SAMPLE = ("chain", "draw")


def pictures_of(run: xr.DataTree) -> np.ndarray:
    """Give the pictures that a chain ended with, chain after chain.

    Parameters
    ----------
    run : DataTree
        Of ``reverse``, with one variable whose last dimensions are ``row``, ``column`` and ``colour``.

    Returns
    -------
    numpy.ndarray (n, height, width, colours)
        In -1..1: what is outside, as noise makes it, is clipped. A trajectory that was lost is left out.

    Raises
    ------
    TypeError, ValueError
        If `run` holds no pictures.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from bayesdiff.pictures import pictures_of
    >>> x = xr.DataArray(np.full((2, 3, 4, 4, 1), 1.01), dims=("chain", "draw", "row", "column", "colour"))
    >>> pictures_of(xr.DataTree.from_dict({"posterior": xr.Dataset({"x": x})})).shape
    (6, 4, 4, 1)
    """
    return _clipped(_flat(_variable(run, "posterior")))


def path_of(run: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Give the pictures o_K, ..., o_1, x of each trajectory, in the order in which they came about.

    Parameters
    ----------
    run : DataTree
        Of ``reverse(..., path=True)``, as for `pictures_of`.

    Returns
    -------
    path : numpy.ndarray (n, levels, height, width, colours)
        In -1..1, each level divided by the root of alpha_k^2 + sigma_k^2.
    level : numpy.ndarray of int (levels,)
        From K down to 0.

    Raises
    ------
    TypeError, ValueError
        If `run` holds no pictures, or not their path.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from bayesdiff.pictures import path_of
    >>> dims = ("chain", "draw", "level", "row", "column", "colour")
    >>> o = xr.DataArray(np.zeros((1, 3, 2, 4, 4, 1)), dims=dims, coords={"level": [0, 1]})
    >>> noise = xr.Dataset({"alpha": ("level", [1.0, 0.5]), "sigma": ("level", [0.0, 1.0])}, {"level": [0, 1]})
    >>> path, level = path_of(xr.DataTree.from_dict({"path": xr.Dataset({"x": o}), "schedule": noise}))
    >>> path.shape, level.tolist()
    ((3, 2, 4, 4, 1), [1, 0])
    """
    o = _variable(run, "path")
    if o.sizes.get("level", 0) < 2:
        raise ValueError("run does not hold the levels between; make it with reverse(..., path=True)")
    schedule = run["schedule"].to_dataset().sel(level=o["level"])
    flat = _flat((o / np.hypot(schedule["alpha"], schedule["sigma"])).transpose(*SAMPLE, "level", *AXES))
    order = np.argsort(-o["level"].values)
    return _clipped(flat[:, order]), o["level"].values[order]


def tiled(
    pictures: ArrayLike, columns: int | None = None, *, zoom: int = 1, negative: bool | None = None
) -> np.ndarray:
    """Put pictures beside each other in a grid, row by row.

    Parameters
    ----------
    pictures : array_like (n, height, width, colours)
        In -1..1; 1 or 3 colours.
    columns : int, optional
        How many in a row; by default as many as make the grid a square.
    zoom : int
        Each pixel becomes a square of so many.
    negative : bool, optional
        Whether -1 is shown white and 1 black, as ink on paper: by default so for grey pictures.

    Returns
    -------
    numpy.ndarray of uint8 (rows of pixels, columns of pixels, 3)

    Raises
    ------
    TypeError, ValueError
        If pictures have another shape or are not finite, or a number is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesdiff.pictures import tiled
    >>> tiled(np.zeros((5, 8, 8, 1)), columns=3).shape
    (22, 32, 3)
    """
    x = _checked(pictures)
    positive_int(1 if columns is None else columns, "columns")
    positive_int(zoom, "zoom")
    if negative is not None:
        flag(negative, "negative")
    n, height, width, colours = x.shape
    gap = 2  # pixels of paper between pictures
    across = min(n, int(np.ceil(np.sqrt(n))) if columns is None else columns)
    down = -(-n // across)
    if negative is None:
        negative = colours == 1
    pixels = np.rint((_clipped(x) + 1) * 127.5).astype(np.uint8)
    pixels = np.broadcast_to(255 - pixels if negative else pixels, (n, height, width, 3))
    grid = np.full((down * (height + gap) + gap, across * (width + gap) + gap, 3), 255, np.uint8)
    for i, picture in enumerate(pixels):
        row, column = (i // across) * (height + gap) + gap, (i % across) * (width + gap) + gap
        grid[row : row + height, column : column + width] = picture
    return grid.repeat(zoom, axis=0).repeat(zoom, axis=1)


def strip(run: xr.DataTree, pictures: int = 6, steps: int = 9) -> np.ndarray:
    """Give the way of a few pictures from noise, one in a row of the grid that `tiled` makes of them.

    Parameters
    ----------
    run : DataTree
        As for `path_of`.
    pictures, steps : int
        How many ways, and at how many levels each is shown: the first and the last are among them.

    Returns
    -------
    numpy.ndarray (pictures * steps, height, width, colours)
        For ``tiled(..., columns=steps)``; fewer where the run has fewer.

    Raises
    ------
    TypeError, ValueError
        As `path_of` does; if `pictures` is below 1 or `steps` below 2.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from bayesdiff.pictures import strip
    >>> dims = ("chain", "draw", "level", "row", "column", "colour")
    >>> o = xr.DataArray(np.zeros((1, 8, 3, 4, 4, 1)), dims=dims, coords={"level": [0, 1, 2]})
    >>> noise = xr.Dataset({"alpha": ("level", [1, 0.5, 0.1]), "sigma": ("level", [0, 1, 1])}, {"level": [0, 1, 2]})
    >>> strip(xr.DataTree.from_dict({"path": xr.Dataset({"x": o}), "schedule": noise}), 2, 3).shape
    (6, 4, 4, 1)
    """
    positive_int(pictures, "pictures")
    positive_int(steps, "steps", least=2)
    path, level = path_of(run)
    shown = path[:pictures, even(len(level), steps)]
    return shown.reshape(-1, *path.shape[2:])


def even(total: int, most: int) -> np.ndarray:
    """At most so many places of a range, as evenly as whole numbers allow, the first and the last among them.

    Examples
    --------
    >>> from bayesdiff.pictures import even
    >>> even(25, 4).tolist()
    [0, 8, 16, 24]
    """
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(int))


def save_pictures(
    pictures: ArrayLike,
    path: str | os.PathLike[str],
    columns: int | None = None,
    *,
    zoom: int = 3,
    negative: bool | None = None,
) -> Path:
    """Write pictures in a grid to a PNG file.

    Parameters
    ----------
    pictures, columns, zoom, negative
        As for `tiled`.
    path : path
        Ends in ``.png``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError, ValueError
        As `tiled` does, or if `path` ends otherwise.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from bayesdiff.pictures import save_pictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pictures(np.zeros((4, 8, 8, 1)), f"{folder}/grid.png").exists()
    True
    """
    path = ending(path, ".png")
    return _written(path, [tiled(pictures, columns, zoom=zoom, negative=negative)])


def animate_pictures(
    run: xr.DataTree, path: str | os.PathLike[str], *, pictures: int = 64, zoom: int = 2, negative: bool | None = None
) -> Path:
    """Write the way of pictures from noise as an animation, a GIF that goes on for ever.

    Parameters
    ----------
    run : DataTree
        As for `path_of`.
    path : path
        Ends in ``.gif``.
    pictures : int
        How many, in a square; fewer where the run has fewer.
    zoom, negative
        As for `tiled`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError, ValueError
        As `path_of` does, or if `path` ends otherwise.

    Examples
    --------
    >>> import tempfile, numpy as np, xarray as xr
    >>> from bayesdiff.pictures import animate_pictures
    >>> dims = ("chain", "draw", "level", "row", "column", "colour")
    >>> o = xr.DataArray(np.zeros((1, 4, 2, 8, 8, 1)), dims=dims, coords={"level": [0, 1]})
    >>> noise = xr.Dataset({"alpha": ("level", [1.0, 0.5]), "sigma": ("level", [0.0, 1.0])}, {"level": [0, 1]})
    >>> run = xr.DataTree.from_dict({"path": xr.Dataset({"x": o}), "schedule": noise})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate_pictures(run, f"{folder}/path.gif").exists()
    True
    """
    path = ending(path, ".gif")
    positive_int(pictures, "pictures")
    way, _ = path_of(run)
    return _written(path, [tiled(x, zoom=zoom, negative=negative) for x in way[:pictures].swapaxes(0, 1)])


def is_picture(values: xr.DataArray) -> bool:
    """Whether a variable's last dimensions are those of a picture.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from bayesdiff.pictures import is_picture
    >>> is_picture(xr.DataArray(np.zeros((2, 4, 4, 1)), dims=("draw", "row", "column", "colour")))
    True
    """
    return tuple(values.dims[-3:]) == AXES and values.sizes["colour"] in (1, 3)


def _variable(run: Any, group: str) -> xr.DataArray:
    """The one variable of a group that holds pictures."""
    if not isinstance(run, xr.DataTree):
        raise TypeError(f"run is {type(run).__name__}; write what reverse returned")
    for name in (group, "schedule") if group == "path" else (group,):
        if name not in run.children:
            raise ValueError(f"run has no group {name!r}; write what reverse returned, whole")
    found = [values for values in run[group].to_dataset().data_vars.values() if is_picture(values)]
    if len(found) != 1 or any(dim not in found[0].dims for dim in SAMPLE):
        held = {str(name): values.dims for name, values in run[group].to_dataset().data_vars.items()}
        raise ValueError(f"run holds no pictures but {held}; a picture's last dimensions are {', '.join(AXES)}")
    extra = set(found[0].dims) - {*SAMPLE, "level", *AXES}
    if extra:
        raise ValueError(f"run holds pictures with the dimension {sorted(map(str, extra))}; choose one, with .sel")
    return found[0]


def _flat(x: xr.DataArray) -> np.ndarray:
    """Chain after chain, without what was lost."""
    values = x.transpose(*SAMPLE, ...).values
    values = values.reshape(-1, *values.shape[2:])
    there = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not there.any():
        raise ValueError(f"all {len(values)} pictures of the run were lost; there is none to show")
    return values[there]


def _clipped(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1.0, 1.0)


def _checked(pictures: ArrayLike) -> np.ndarray:
    try:
        x = np.asarray(pictures)
    except ValueError as error:
        raise TypeError("pictures is no array: its rows have different lengths; write pictures of one shape") from error
    if x.dtype.kind not in "fi":
        hint = ": pictures / 127.5 - 1 of bytes" if x.dtype.kind == "u" else ""
        raise TypeError(f"pictures has dtype {x.dtype}; write numbers in -1..1{hint}")
    if x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"pictures has shape {x.shape}; write (n, height, width, colours), with 1 or 3 colours")
    if not np.isfinite(x).all():
        raise ValueError("pictures holds numbers that are not finite; leave these pictures out")
    if x.min() >= 0 and x.max() > 16:  # noise of any size has both signs
        raise ValueError(
            f"pictures goes from {x.min():.4g} to {x.max():.4g}; write -1..1: of numbers 0..255 that is "
            "pictures / 127.5 - 1"
        )
    return x


def ending(path: str | os.PathLike[str], suffix: str, name: str = "pictures") -> Path:
    """A path, checked to have this suffix; ``name`` is an example of one."""
    path = path_like(path, "path", f"{name}{suffix}")
    if path.suffix != suffix:
        raise ValueError(f"path is {str(path)!r}; write one that ends in {suffix}")
    return path


def _written(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """One picture, or an animation of several: whole or not at all."""
    from PIL import Image

    shown = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    if len(shown) == 1:
        shown[0].save(file, "png", optimize=True)
    else:
        # Greys need no palette of their own; of colours a frame has its 256 best. The end is looked at longest.
        grey = all((np.ptp(frame, axis=2) == 0).all() for frame in frames)
        few = [frame.convert("L") if grey else frame.quantize(256) for frame in shown]
        few[0].save(file, "gif", save_all=True, append_images=few[1:], loop=0, duration=[120] * (len(few) - 1) + [3000])
    with replacing(path) as written:
        written.write(file.getvalue())
    return path
