"""The particles of a chain on their way, as a GIF."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from bayesdiff.checks import flag, positive_int
from bayesdiff.files import replacing
from bayesdiff.pictures import ending
from bayesdiff.plots import particles as of
from bayesdiff.plots.particles import ALL, PARTICLE, PRIOR, Chain, Number


def animate_chain(
    runs: xr.DataTree | Mapping[str, xr.DataTree],
    path: str | os.PathLike[str],
    var_names: str | Sequence[str] | None = None,
    *,
    coords: Mapping[str, Any] | None = None,
    particles: int = 1000,
    rescale: bool = True,
    overwrite: bool = False,
) -> Path:
    r"""Write a GIF of the particles of a chain going from noise to x: a histogram of one number, or a plane of two.

    .. math:: o_K \to o_{K-1} \to \dots \to o_0 = x

    Parameters
    ----------
    runs : xarray.DataTree or mapping of str to xarray.DataTree
        What ``reverse(..., path=True)`` returned, or several of them by their labels: side by side. The ``partial`` of
        a ``ChainError`` is shown as far as it goes.
    path : str or path
        Ends in ``.gif``. Missing parent folders are made.
    var_names, coords : optional
        The one number or the two, written as for `plot_chain`. Needed where x has more.
    particles : int
        At most so many points in a plane, spread evenly over the run. A histogram is of all.
    rescale : bool
        Show every level at the spread of p0, as `plot_chain` does. If False, o_k as it is.
    overwrite : bool
        Replace a file that is already there.

    Returns
    -------
    pathlib.Path
        Where it was written: one frame for each level (at most 60 spread evenly, fewer with several runs), some 4
        seconds long, then x for 2 seconds.

    Raises
    ------
    TypeError
        If a run is no DataTree.
    ValueError
        As for `plot_chain`, and if `path` ends otherwise, more than two numbers are chosen, or `particles` is below 1.
    FileExistsError
        If there is something at `path` that may not be replaced.

    Notes
    -----
    In a histogram the line is p0, diffused to the level; in a plane draws of p0 stand behind x in the last frame. Both
    where the run has draws of p0.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from bayesdiff.results import dataset, tree
    >>> x, level = np.random.default_rng(1).normal(size=(4, 50, 2)), ["level"]
    >>> o = dataset({"x": x}, sample_dims=("chain", "draw"), dims={"x": level})
    >>> noise = dataset({"alpha": [1.0, 1.0], "sigma": [0.0, 3.0]}, dims={"alpha": level, "sigma": level})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(animate_chain(tree({"path": o, "schedule": noise}), f"{folder}/chain.gif").name)
    chain.gif
    """
    path = ending(path, ".gif", "chain")
    flag(overwrite, "overwrite")
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(f"{path} exists. To replace a file: overwrite=True. Or choose another path.")
    positive_int(particles, "particles")
    wanted = "shows one number or two"
    chains, numbers = of.read(runs, var_names, coords, rescale, "animate_chain", wanted, [1, 2])
    frames = min(max(len(chain.levels) for chain in chains), max(60 // len(chains), 10))
    images = _draw_frames(chains, numbers, frames, particles, rescale)
    # One palette for all, that of the last frame, where everything is seen: only what moves is then stored.
    palette = images[-1].quantize(64)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[(colors > 247).all(axis=1)] = 255  # Pillow matches colours roughly: white would come out as nearly white
    palette.putpalette(colors.ravel().tolist())
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = [int(np.clip(4000 / len(small), 60, 400))] * (len(small) - 1) + [2000]
    with replacing(path) as file:
        small[0].save(file, "gif", save_all=True, append_images=small[1:], duration=duration, loop=0, optimize=False)
    return path


def _draw_frames(
    chains: Sequence[Chain], numbers: Sequence[Number], frames: int, particles: int, rescale: bool
) -> list[Image.Image]:
    """Draw each frame with matplotlib, without pyplot: no window, no global style."""
    flat, number = len(numbers) == 1, numbers[0]
    figure = Figure(figsize=(max(3.2 * len(chains), 4.2), 3.4 if flat else 3.8), dpi=100)
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(chains), squeeze=False)[0]
    limits = [number.view] if flat else of.plane(numbers)
    dots: dict[str, Any] = {"marker": "o", "linestyle": ""}
    handles: list[Any] = [Patch(color=ALL) if flat else Line2D([], [], color=PARTICLE, **dots)]
    labels = ["particles"]
    if any(chain.knows_p0 for chain in chains):
        handles.append(Line2D([], [], color=PRIOR, **({} if flat else dots)))
        labels.append("p0, diffused to the level" if flat else "draws of p0 (at level 0)")
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    images: list[Image.Image] = []
    for way in np.linspace(0, 1, frames):
        for ax, chain in zip(panels, chains, strict=True):
            level = chain.levels[round(way * (len(chain.levels) - 1))]
            ax.clear()
            if flat:
                everyone = number.of(chain.y.sel(level=level), "particle")
                ax.stairs(*np.histogram(everyone, bins=60, range=limits[0], density=True), fill=True, color=ALL)
                if chain.knows_p0:
                    ax.plot(*chain.prior_density(number, level), color=PRIOR, linewidth=1.2)
                ax.set(yticks=[], xlabel=f"{number.label}: {of.scale_of(rescale)}")
            else:
                if level == 0:
                    ax.scatter(*chain.prior(numbers, particles), s=5, color=PRIOR, linewidths=0)
                ax.scatter(*chain.cloud(numbers, level, particles), s=5, color=PARTICLE, alpha=0.6, linewidths=0)
                ax.set(ylim=limits[1], xlabel=number.label, ylabel=numbers[1].label)
                ax.set_box_aspect(1)
            ax.set_xlim(limits[0])
            ax.set_title((f"{chain.label}\n" if chain.label else "") + chain.say(level), fontsize=10)
        canvas.draw()
        if not images:
            # The layout takes a second look, and is then kept: panels must not move.
            canvas.draw()
            figure.set_layout_engine("none")
            canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return images
