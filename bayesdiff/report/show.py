"""How a report shows things: sentences, figures and tables with a number, and pictures of what a run holds.

Here words become Markdown. What a run holds of names and labels is text of somebody's: it is escaped here, as it comes
out. A figure is drawn when it is shown.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesdiff.pictures import SAMPLE, even, pictures_of, strip, tiled
from bayesdiff.report import numbers, words
from bayesdiff.report.graph import cut, draw_graph
from bayesdiff.report.numbers import Parts, stands

OF_MAP = "#D55E00"  # Okabe and Ito's, as those of `coloured`

# ---------------------------------------------------------------------------------------------------- how it comes out


def escaped(text: Any) -> str:
    r"""Text of anybody as Markdown that shows it as it is, and begins nothing in it.

    Examples
    --------
    >>> print(escaped("a_b <b>\n# c"))
    a\_b \<b\> \# c
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


@dataclass(frozen=True)
class Markdown:
    """Text that a notebook, and a report, shows as Markdown."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text


@dataclass(frozen=True)
class Plot:
    """A figure that is drawn when it is shown: its label, its caption, what it shows in words, and how to draw it."""

    label: str
    caption: str
    alt: str
    draw: Callable[[], Any]

    def _repr_markdown_(self) -> str:
        # The same bytes twice; and labels of the user are no mathematics: a single $ would be, and could not be drawn.
        with (
            plt.rc_context({"svg.hashsalt": "bayesdiff", "text.parse_math": False}),
            io.BytesIO() as file,
        ):
            self.draw()
            plt.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
            plt.close()
            data = base64.b64encode(file.getvalue()).decode()
        image = f'<img class="plot" alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,{data}">'
        return f"::: {{#{self.label}}}\n\n```{{=html}}\n{image}\n```\n\n{escaped(self.caption)}\n\n:::"


@dataclass(frozen=True)
class These:
    """What stands below each other."""

    parts: Sequence[Markdown | Plot]

    def _repr_markdown_(self) -> str:
        return "\n\n".join(part._repr_markdown_() for part in self.parts)


def text(*sentences: str) -> Markdown:
    """Show sentences as they are; the empty ones are left out."""
    return Markdown(escaped(" ".join(filter(None, sentences))))


def these(*parts: Markdown | Plot | str | bool | None) -> These:
    """Show what there is of these: sentences, figures and tables. Where a part is empty or false, there is none."""
    return These([text(part) if isinstance(part, str) else part for part in parts if part and part is not True])


def figure(label: str, caption: str, alt: str, draw: Callable[[], Any]) -> Plot:
    """Show a figure with a number: its caption, and the same for who cannot see it. It is drawn when it is shown."""
    return Plot(label, caption, " ".join(alt.split()), draw)


def table(label: str, caption: str, rows: Markdown) -> Markdown:
    """Show a table with a number."""
    return Markdown(f"::: {{#{label}}}\n\n{rows.text}\n\n{escaped(caption)}\n\n:::")


def callout(kind: str, title: str, said: str) -> Markdown:
    """Show something in a box, if there is anything to say."""
    return Markdown(f"::: {{.callout-{kind}}}\n## {title}\n\n{escaped(said)}\n:::" if said else "")


def verdict(parts: Parts) -> Markdown:
    """Show whether the numbers are to be trusted: green only where there is nothing to object."""
    kind = "tip" if numbers.fine(parts) else "important"
    return callout(kind, "Are these numbers to be trusted?", words.verdict(parts))


# ------------------------------------------------------------------------------------------------------------ pictures


def equations(run: xr.DataTree) -> Markdown | None:
    """Show the model of a run as PyMC writes it, without the data that it only holds; None where it is not told."""
    lines = [line.rstrip() for line in str(run.attrs.get("model_equations", "")).splitlines()]
    told = "\n".join(line for line in lines if " = Data(" not in line)
    plain = "".join(c if c.isalnum() or c in " \n" else f"&#{ord(c)};" for c in told)  # no character means anything
    return Markdown(f'```{{=html}}\n<pre class="equations"><code>{plain}</code></pre>\n```') if told.strip() else None


def graph(run: xr.DataTree, noise: bool = True) -> Plot | None:
    """Show the graph of the model, with the ``noise`` of a step, unless it is a box alone, or not told."""
    caption = "The variables of the model. Free ones are white. Grey was observed, square is computed."
    if noise:
        caption += " Each free variable is seen through noise as its o (green)."
    alt = words.edges(run, 1 if noise else 2)
    return figure("fig-graph", caption, alt, lambda: draw_graph(run, noise)) if alt else None


def pictures(run: xr.DataTree, most: int = 100) -> Figure:
    """Draw the pictures that a chain ended with, in a grid."""
    found = pictures_of(run)
    return _drawn(tiled(found[even(len(found), most)]))


def picture_paths(run: xr.DataTree, most: int = 6, steps: int = 9) -> Figure:
    """Draw the way of a few pictures from noise (left) to x (right)."""
    columns = len(even(run["path"].sizes["level"], steps))
    return _drawn(tiled(strip(run, most, steps), columns))


def _drawn(pixels: np.ndarray) -> Figure:
    height, width = pixels.shape[:2]
    figure = plt.figure(figsize=(7, 7 * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(pixels, interpolation="nearest", aspect="equal")
    return figure


def shares(run: xr.DataTree, most: int = numbers.MOST_MODES) -> Figure:
    """Draw the weights of the modes as bars with their standard errors, and each chain's own share as a marker.

    Bars are left out where weights are withheld. What chains say is drawn, so that disagreement is seen.
    """
    modes, each = run["modes"].to_dataset(), numbers.shares_of(run)[:, :most]
    chains, count = each.shape
    figure, axes = _axes(7, 3)
    x = np.arange(count)
    if stands(run):
        weight, error = (modes[name].values[:count] for name in ("weight", "weight_se"))
        axes.bar(x, weight, width=0.6, color="#9CC4E0", label="all chains, with 2 standard errors")
        axes.errorbar(x, weight, 2 * error, fmt="none", ecolor="#333333", capsize=5)
    marks = "os^DvPX*" if chains <= 8 else "." * chains
    for k, aside in enumerate(np.linspace(-0.2, 0.2, chains) if chains > 1 else [0.0]):
        label = f"chain {k}" if chains <= 8 else "_" if k else "one chain"
        axes.plot(x + aside, each[k], marks[k], color="#333333", markerfacecolor="white", markersize=6, label=label)
    axes.set(xticks=x, xticklabels=[f"mode {int(k)}" if count <= 8 else str(int(k)) for k in modes["mode"][:count]])
    axes.set(xlabel="" if count <= 8 else "mode", ylabel="share of the draws", xlim=(-0.6, count - 0.4))
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    _legend(figure, ncols=3)
    return figure


def marginals(run: xr.DataTree, most: int = numbers.MOST_PANELS) -> Figure:
    """Draw a histogram of every number of the posterior, coloured by mode, and the highest mode as a line."""
    every = numbers.numbers_of(run)
    every = [every[k] for k in numbers.chosen([str(draws.name) for _, draws, _ in every], most)]
    parts = coloured(run)
    columns = min(len(every), 2 if len(every) in (2, 4) else 3)
    rows = -(-len(every) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(7, 0.5 + 1.9 * rows), squeeze=False, layout="constrained")
    for axes in grid.ravel()[len(every) :]:
        axes.remove()
    for axes, (label, draws, mode) in zip(grid.ravel(), every, strict=False):
        values = draws.transpose(*SAMPLE).values
        low, high = numbers.view_of(values, mode)
        axes.hist(
            [values[which] for _, _, which in parts], bins=50, range=(low, high), stacked=True,
            histtype="stepfilled", color=[color for _, color, _ in parts], label=[name for name, _, _ in parts],
        )  # fmt: skip
        if low <= mode <= high:
            axes.axvline(mode, color=OF_MAP, linestyle="--", label="MAP")
        axes.set(xlim=(low, high), yticks=[])
        axes.set_title(cut(label), fontsize=10)
        axes.spines[["top", "left", "right"]].set_visible(False)
    _legend(figure, ncols=4)
    return figure


def plane(run: xr.DataTree, most: int = 1000) -> Figure:
    """Draw a posterior of two numbers as a scatter, coloured by mode, and the highest mode as a cross."""
    (one, of_x, mode_x), (other, of_y, mode_y) = numbers.numbers_of(run)
    x, y = (values.transpose(*SAMPLE).values for values in (of_x, of_y))
    kept = np.zeros(x.size, bool)
    kept[even(x.size, most)] = True
    figure, axes = _axes(4.8, 4.4)
    for label, color, which in coloured(run):
        some = which & kept.reshape(x.shape)
        axes.scatter(x[some], y[some], s=7, color=color, alpha=0.6, linewidths=0, label=label)
    left, right = numbers.view_of(x, mode_x)
    low, high = numbers.view_of(y, mode_y)
    if left <= mode_x <= right and low <= mode_y <= high:
        axes.plot(mode_x, mode_y, "X", color=OF_MAP, markeredgecolor="white", markersize=12, label="MAP")
    axes.set(xlim=(left, right), ylim=(low, high), xlabel=cut(one), ylabel=cut(other))
    _legend(figure, ncols=4, markerscale=1.5)
    return figure


def coloured(
    run: xr.DataTree,
    colors: Sequence[str] = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"),
    of_rest: str = "#999999",
) -> list[tuple[str, str, np.ndarray]]:
    """The draws by mode, as label, colour and which (chain, draw): the heaviest, and all others together."""
    at, count = numbers.mode_of(run), max(run["modes"].sizes["mode"], 1)
    parts = [(f"mode {k}" if count > 1 else "draws", color, at == k) for k, color in enumerate(colors[:count])]
    return [*parts, *([("lighter modes", of_rest, at >= len(colors))] if count > len(colors) else [])]


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """One panel, open above and at the right."""
    figure = plt.figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, **how: Any) -> None:
    """One legend for all panels, above them: each label once, the MAP last."""
    told = {label: mark for axes in figure.axes for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = sorted(told, key=lambda label: (label == "MAP", label.startswith("lighter"), label))
    figure.legend([told[label] for label in order], order, loc="outside upper left", frameon=False, fontsize=9, **how)
