"""The graph of a model: read from the text that PyMC writes of it, its boxes laid out, and drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path


@dataclass(frozen=True)
class Graph:
    """A model's variables: label and kind by name, edges, and the plate each stands in."""

    nodes: Mapping[str, tuple[str, str]]
    edges: Sequence[tuple[str, str]]
    plates: Mapping[str, str]


def read_graph(mermaid: str) -> Graph | None:
    r"""Read the Mermaid text that ``pm.model_to_mermaid`` writes; None where it is of another form.

    Examples
    --------
    >>> read_graph("graph TD\nmu([mu ~ Normal])\nx([x ~ Normal])\nstyle x fill:#757575\nmu --> x").edges
    [('mu', 'x')]
    """
    labels: dict[str, str] = {}
    edges, plates, plate, observed = [], {}, "", set()
    for line in map(str.strip, mermaid.splitlines()):
        if match := re.fullmatch(r"subgraph \"(.*)\"", line):
            plate = match[1]
        elif line == "end":
            plate = ""
        elif match := re.fullmatch(r"(\S+) --> (\S+)", line):
            edges.append((match[1], match[2]))
        elif match := re.fullmatch(r"style (\S+) .*", line):
            observed.add(match[1])
        elif match := re.fullmatch(r"([^\s@(\[]+)[(\[]+(.*?)[)\]]+", line):
            labels[match[1]] = match[2]
        elif plate and line in labels:
            plates[line] = plate
    nodes = {}
    for name, label in labels.items():
        computed = label.endswith(("~ Deterministic", "~ Data", "~ Potential"))
        if name != "level" and not name.startswith(("schedule::", "schedule__")):  # of a level prior: not the user's
            nodes[name] = (label, "observed" if name in observed else "derived" if computed else "free")
    return Graph(nodes, [edge for edge in edges if set(edge) <= nodes.keys()], plates) if nodes else None


def draw_graph(run: xr.DataTree, noise: bool = True) -> Figure | None:
    """Draw the graph of the model of a run, and the ``noise`` that makes o of its free variables.

    Free variables are round and white, what is computed is square, what was observed is grey; o, which one step
    observes, is green. In brackets: the dimensions and their sizes.
    """
    graph = read_graph(str(run.attrs.get("model_graph", "")))
    if graph is None:
        return None
    nodes, edges = dict(graph.nodes), list(graph.edges)
    for name in [name for name, (_, kind) in graph.nodes.items() if noise and kind == "free"]:
        nodes[f"o::{name}"] = (f"o of {name}", "noise")
        edges.append((name, f"o::{name}"))
    figure = plt.figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    colors = {"free": "#ffffff", "derived": "#f0f0f0", "observed": "#c9c9c9", "noise": "#d7efe6"}
    texts, sizes = {}, {}
    for name, (label, _) in nodes.items():
        told = cut(label) + (f"\n[{cut(graph.plates[name])}]" if name in graph.plates else "")
        texts[name] = axes.text(0, 0, told, ha="center", va="center", fontsize=9, parse_math=False, zorder=3)
    figure.draw_without_rendering()  # only a drawn text knows how wide it is
    for name, text in texts.items():
        extent = text.get_window_extent()
        sizes[name] = (extent.width / figure.dpi + 0.24, extent.height / figure.dpi + 0.16)
    places, routes, (width, height) = arrange(sizes, edges)
    figure.set_size_inches(width, height)
    axes.set_xlim(0, width)  # one unit is one inch, so that boxes can be placed around their texts
    axes.set_ylim(0, height)
    for name, (x, y) in places.items():
        kind, (w, h) = nodes[name][1], sizes[name]
        shape = "square,pad=0" if kind == "derived" else "round,pad=0,rounding_size=0.08"
        edge = (x - w / 2, y - h / 2)
        axes.add_patch(FancyBboxPatch(edge, w, h, shape, facecolor=colors[kind], edgecolor="#333333", zorder=2))
        texts[name].set_position((x, y))
    for route in routes.values():
        arrow = FancyArrowPatch(path=Path(route), arrowstyle="-|>", mutation_scale=10, color="#555555", zorder=1)
        axes.add_patch(arrow)
    return figure


def cut(label: str, most: int = 24) -> str:
    """A label for a box, such as ``theta ~ Normal``: a long name loses its middle. Tables hold it in full."""
    name, tilde, rest = label.rpartition(" ~ ")
    name, rest = (name, tilde + rest) if tilde else (label, "")
    return (name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}") + rest


Point = tuple[float, float]


def arrange(
    sizes: Mapping[str, Point], edges: Sequence[tuple[str, str]], *, gap: float = 0.3, between: float = 0.42
) -> tuple[dict[str, Point], dict[tuple[str, str], list[Point]], Point]:
    """Place the boxes of a graph in rows, and its arrows so that none passes behind a box.

    An arrow to the next row is a straight line between the two. One that crosses rows goes around them: along the space
    below its box, down the right margin, where it has a place of its own, and back above the other box.

    Parameters
    ----------
    sizes : mapping of str to (width, height)
        The boxes.
    edges : sequence of (start, end)
        The arrows; no box is its own ancestor.
    gap, between : float
        The space beside a box, and that between two rows.

    Returns
    -------
    places, routes, size
        The middles of the boxes; the points of each arrow, from the lower edge of a box to the upper edge of another;
        width and height of all.

    Examples
    --------
    >>> places, routes, _ = arrange({"a": (1.0, 0.4), "b": (1.0, 0.4)}, [("a", "b")])
    >>> [round(y, 2) for _, y in routes["a", "b"]], round(places["b"][1] + 0.2, 2)
    ([0.92, 0.5], 0.5)
    """
    depth = dict.fromkeys(sizes, 0)
    for _ in depth:
        for start, end in edges:
            depth[end] = max(depth[end], depth[start] + 1)
    rows = [[name for name in sizes if depth[name] == k] for k in range(max(depth.values()) + 1)]
    tall = [max((sizes[name][1] for name in row), default=0.3) for row in rows]  # a circle leaves a row empty
    width = max(sum(sizes[name][0] + gap for name in row) for row in rows)
    top = sum(tall) + between * (len(rows) - 1) + 0.1
    height = top + 0.1
    places: dict[str, Point] = {}
    for row, size in zip(rows, tall, strict=True):
        above = {name: [places[a][0] for a, b in edges if b == name and a in places] for name in row}
        row.sort(key=lambda name: np.mean(above[name]) if above[name] else width / 2)  # below where it comes from
        free, x = (width - sum(sizes[name][0] for name in row)) / max(len(row), 1), 0.0
        for name in row:
            places[name] = (x + (free + sizes[name][0]) / 2, top - size / 2)
            x += free + sizes[name][0]
        top -= size + between

    def port(name: str, edge: tuple[str, str], side: int) -> Point:
        """Where at a box's upper or lower edge an arrow ends: side by side, in the order of the other ends."""
        mine = [each for each in dict.fromkeys(edges) if each[side > 0] == name]
        mine.sort(key=lambda each: (depth[each[1]] - depth[each[0]] > 1, places[each[side < 0]][0]))
        share = (mine.index(edge) + 0.5) / len(mine) - 0.5
        return places[name][0] + 0.7 * share * sizes[name][0], places[name][1] + side * sizes[name][1] / 2

    routes: dict[tuple[str, str], list[Point]] = {}
    apart = 0.0
    for edge in dict.fromkeys(edges):
        first, last = port(edge[0], edge, -1), port(edge[1], edge, 1)
        low, high = (places[name][1] + side * tall[depth[name]] / 2 for name, side in zip(edge, (-1, 1), strict=True))
        around: list[Point] = []
        if depth[edge[1]] - depth[edge[0]] > 1:
            width, apart = width + 0.1, (apart + 0.1) % 0.4
            out, back = low - between * (0.1 + apart), high + between * (0.2 + apart)
            around = [(first[0], out), (width, out), (width, back), (last[0], back)]
        routes[edge] = [first, *([(first[0], low)] if first[1] > low else []), *around]
        routes[edge] += [*([(last[0], high)] if last[1] < high else []), last]
    return places, routes, (width + 0.1 * (width > max(x for x, _ in places.values())), height)
