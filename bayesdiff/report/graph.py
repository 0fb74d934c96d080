"""The graph of a model: read from the text that PyMC writes of it, its boxes laid out, and drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

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
    nodes: dict[str, tuple[str, str]] = {}
    edges, plates, plate = [], {}, ""
    for raw in mermaid.splitlines():
        line = raw.strip()
        if match := re.fullmatch(r"subgraph \"(.*)\"", line):
            plate = match[1]
        elif line == "end":
            plate = ""
        elif match := re.fullmatch(r"(\S+) --> (\S+)", line):
            edges.append((match[1], match[2]))
        elif match := re.fullmatch(r"style (\S+) .*", line):
            if match[1] in nodes:
                nodes[match[1]] = (nodes[match[1]][0], "observed")
        elif match := re.fullmatch(r"([^\s@(\[]+)[(\[]+(.*?)[)\]]+", line):
            label = match[2]
            if match[1] == "level" or match[1].startswith(
                ("schedule::", "schedule__")
            ):  # of a level prior: not the user's
                continue
            nodes[match[1]] = (
                label,
                "derived" if label.endswith(("~ Deterministic", "~ Data", "~ Potential")) else "free",
            )
        elif plate and line in nodes:
            plates[line] = plate
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
        arrow.set_joinstyle("round")
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

    An arrow that crosses rows has a narrow place of its own in each of them, as if a box stood there. So it only ever
    runs between two rows, or through its own place.

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
    depth = _depths(sizes, edges)
    rows: list[list[Any]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in sizes:
        rows[depth[name]].append(name)
    chains: dict[tuple[str, str], list[Any]] = {}
    for start, end in dict.fromkeys(edges):
        through = [(start, end, row) for row in range(depth[start] + 1, depth[end])]
        for place in through:
            rows[place[2]].append(place)
        chains[start, end] = [start, *through, end]
    up: dict[Any, list[Any]] = {}
    down: dict[Any, list[Any]] = {}
    for chain in chains.values():
        for above, below in pairwise(chain):
            up.setdefault(below, []).append(above)
            down.setdefault(above, []).append(below)

    def wide(place: Any) -> float:
        return sizes[place][0] if place in sizes else 0.1

    width = max(sum(map(wide, row)) + gap * len(row) for row in rows)
    x: dict[Any, float] = {}

    def spread(row: list[Any]) -> None:
        free = (width - sum(map(wide, row))) / len(row)
        at = 0.0
        for place in row:
            x[place] = at + (free + wide(place)) / 2
            at += free + wide(place)

    def middle_of(place: Any, near: Mapping[Any, list[Any]]) -> float:
        return float(np.mean([x[at] for at in near.get(place, [place])]))

    for row in rows:
        spread(row)
    for _ in range(4):  # each row in the order of its neighbours: fewer arrows cross
        for order, near in ((rows, up), (rows[::-1], down)):
            for row in order:
                row.sort(key=partial(middle_of, near=near))
                spread(row)

    tall = [max((sizes[place][1] for place in row if place in sizes), default=0.3) for row in rows]
    height = sum(tall) + between * (len(rows) - 1) + 0.2
    middle, y = [], height - 0.1
    for size in tall:
        middle.append(y - size / 2)
        y -= size + between
    places = {name: (x[name], middle[depth[name]]) for name in sizes}

    def port(name: str, other: Any, near: Mapping[Any, list[Any]], side: int) -> Point:
        """Where at the edge of a box an arrow begins or ends: side by side, in the order of where they come from."""
        others = sorted(near[name], key=lambda place: x[place])
        share = (others.index(other) + 0.5) / len(others) - 0.5
        return x[name] + 0.7 * share * sizes[name][0], places[name][1] + side * sizes[name][1] / 2

    routes = {}
    for edge, chain in chains.items():
        first, last = port(edge[0], chain[1], down, -1), port(edge[1], chain[-2], up, 1)
        route = [first]
        if first[1] > (low := middle[depth[edge[0]]] - tall[depth[edge[0]]] / 2):
            route.append((first[0], low))  # out of the row of a taller box, straight down
        for place in chain[1:-1]:
            half = tall[place[2]] / 2
            route += [(x[place], middle[place[2]] + half), (x[place], middle[place[2]] - half)]
        if last[1] < (high := middle[depth[edge[1]]] + tall[depth[edge[1]]] / 2):
            route.append((last[0], high))
        routes[edge] = [*route, last]
    return places, routes, (width, height)


def _depths(nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = dict.fromkeys(nodes, 0)
    for _ in depth:
        for start, end in edges:
            depth[end] = max(depth[end], depth[start] + 1)
    return depth
