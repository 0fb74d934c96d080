"""What the cells of a report show: tables with the digits that their errors allow, and the graph of the model.

All read a run. A number that is not to be trusted is withheld, and the table says why.
"""

from __future__ import annotations

import math
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

from bayesdiff.comparison import compare, mcse_mean
from bayesdiff.pictures import pictures_of, shown_levels, strip, tiled
from bayesdiff.report.reading import (
    SAMPLE,
    agreement_of,
    components,
    escaped,
    highest_mode,
    mode_of,
    standing,
    stands,
    transformed,
    trusted_part,
    why_no_evidence,
)
from bayesdiff.verdict import read, reason

__all__ = [
    "chain_table",
    "comparison_table",
    "diagnostics_table",
    "draw_graph",
    "evidence_table",
    "ladder_table",
    "levels_table",
    "marginals",
    "modes_table",
    "picture_paths",
    "pictures",
    "plane",
    "population_table",
    "shares",
    "summary_table",
    "trusted_part",
    "variables_table",
]

MOST_ROWS = 24
MOST_MODES = 12  # so many modes are listed and drawn, the heaviest
MOST_COLUMNS = 4  # of so many numbers it is said where a mode is
MOST_PANELS = 8
# Colours that colour-blind readers can tell apart (Okabe and Ito): of the heaviest modes, of the rest, and of the MAP.
OF_MODES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
OF_REST, OF_MAP = "#999999", "#D55E00"
OF_CHAINS = ("o", "s", "^", "D", "v", "P", "X", "*")
WITHHELD = "withheld"


@dataclass(frozen=True)
class Markdown:
    """Text that a notebook, and a report, shows as Markdown."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text


@dataclass(frozen=True)
class Verbatim:
    """Text that a notebook, and a report, shows as it is. No character of it means anything to either."""

    text: str

    def _repr_html_(self) -> str:
        told = "".join(c if c.isalnum() or c in " \n" else f"&#{ord(c)};" for c in self.text)
        return f'<pre class="equations"><code>{told}</code></pre>'


# ------------------------------------------------------------------------------------------------------------- numbers


def rounded(value: float, error: float | None = None, digits: int = 3) -> str:
    """A number with the digits that its error allows; without an error, with so many significant ones."""
    if not np.isfinite(value):
        return "–"
    if error is None or not np.isfinite(error) or error <= 0:
        return "0" if value == 0 else f"{value:.{digits}g}" if 1e-4 <= abs(value) < 1e5 else f"{value:.{digits - 1}e}"
    places = -math.floor(math.log10(error))
    value = round(value, places) + 0.0  # + 0: there is no -0.00
    if value and (places > 8 or abs(value) >= 1e6):
        return f"{value:.{max(math.floor(math.log10(abs(value))) + places, 0)}e}"
    return f"{value:.{max(places, 0)}f}"


def with_error(value: float, error: float) -> str:
    """Such as 1.24 ± 0.03."""
    if not np.isfinite(error) or error <= 0:
        return rounded(value)
    return f"{rounded(value, error)} ± {rounded(error, error)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are text. Cells are Markdown."""
    rules = [":--"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [list(head), rules, *map(list, rows)])


def even(total: int, most: int) -> list[int]:
    """At most so many indices, evenly over all."""
    return [int(i) for i in np.unique(np.linspace(0, total - 1, min(total, most)).round())]


def _note(shown: int, total: int, what: str) -> str:
    return f"\n\n{shown} of {total:,} {what} are shown, evenly spread." if shown < total else ""


# ---------------------------------------------------------------------------------------------------------------- step


def comparison_table(map_tree: xr.DataTree, posterior_tree: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Put the MAP of every number beside its posterior, as `bayesdiff.compare` does, one row each.

    Parameters
    ----------
    map_tree, posterior_tree : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same step.
    rows : int
        At most so many, spread evenly over all.

    Returns
    -------
    Markdown
        Posterior numbers of observations that are not to be trusted are withheld; so are MAPs whose search did not
        end at a maximum, and all that rests on either.
    """
    compared = compare(map_tree, posterior_tree)
    of_map, of_draws = standing(map_tree), standing(posterior_tree)
    batch = "observation" in compared.dims
    labels = compared["observation"].values if batch else [None]
    numbers = [
        (label, each.transpose("observation", "summary").values if batch else each.values[None])
        for name, values in compared.data_vars.items()
        if name != "lp"
        for label, each in components(values, ["observation", "summary"])
    ]
    total = len(numbers) * len(labels)
    reasons: dict[str, list[str]] = {}
    shown = []
    for k in even(total, rows):
        (label, lines), i = numbers[k // len(labels)], k % len(labels)
        mode, mean, error, sd, quantile, offset, ratio = lines[i]
        cells = [f"{escaped(label)}", *([escaped(labels[i])] if batch else [])]
        cells.append(rounded(mode) if of_map[i] else WITHHELD)
        cells += [with_error(mean, error), rounded(sd, error)] if of_draws[i] else [WITHHELD] * 2
        # What compares the two rests on both.
        both = of_draws[i] and of_map[i]
        cells += [rounded(value, 0.01) for value in (quantile, offset, ratio)] if both else [WITHHELD] * 3
        for tree, ok in ((map_tree, of_map), (posterior_tree, of_draws)):
            if not ok[i]:
                reasons.setdefault(reason(read(tree), i), []).append(str(labels[i]))
        shown.append(cells)
    free = transformed(posterior_tree)
    where = ", unconstrained" if free else ""
    head = ["x", *(["observation"] if batch else []), "MAP", "posterior mean", "sd", "share below MAP"]
    text = table([*head, f"offset / sd{where}", f"Laplace sd / sd{where}"], shown, left=1 + batch)
    text += _note(len(shown), total, "rows")
    if free:
        text += (
            f"\n\nThe noise acts on unconstrained coordinates, and {escaped(', '.join(free))} has others than its "
            "values: offset and Laplace sd are taken in them, and are not those of the MAP, mean and sd beside them."
        )
    return Markdown(text + _withheld(reasons, batch))


def _withheld(reasons: Mapping[str, Sequence[str]], batch: bool) -> str:
    text = ""
    for why, where in reasons.items():
        who = f" (observation {escaped(', '.join(dict.fromkeys(where)))})" if batch else ""
        text += f"\n\n*Withheld*{who}: {why}."
    return text


def summary_table(tree: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Sum up one inversion: the modes that ``find_map`` found, or the draws of ``sample_posterior``, one row a number.

    Parameters
    ----------
    tree : xarray.DataTree
    rows : int
        At most so many.
    """
    x = tree["posterior"].to_dataset()
    batch = "observation" in x.dims
    numbers = [each for values in x.data_vars.values() for each in components(values, [*SAMPLE, "observation"])]
    n = x.sizes.get("observation", 1)
    total = len(numbers) * n
    labels = x["observation"].values if batch else [None]
    by_map = tree.attrs["inversion"] == "map"
    ok = standing(tree)
    shown = []
    for k in even(total, rows):
        (label, several), i = numbers[k // n], k % n
        one = several.isel(observation=i) if batch else several
        cells = [escaped(label), *([escaped(labels[i])] if batch else [])]
        if not ok[i]:
            cells += [f"{WITHHELD}: {reason(read(tree), i)}", *([] if by_map else ["", ""])]
        elif by_map:
            cells.append(rounded(float(one.item())))
        else:
            draws = one.transpose(*SAMPLE).values[None]
            error = float(mcse_mean(draws)[0])
            sd = draws.std(ddof=1) if draws.size > 1 else np.nan
            low, high = np.quantile(draws, [0.05, 0.95])
            cells += [
                with_error(draws.mean(), error),
                rounded(sd, error),
                f"{rounded(low, error)} to {rounded(high, error)}",
            ]
        shown.append(cells)
    head = ["x", *(["observation"] if batch else []), *(["MAP"] if by_map else ["mean", "sd", "90% interval"])]
    return Markdown(table(head, shown, left=1 + batch) + _note(len(shown), total, "rows"))


def population_table(map_tree: xr.DataTree, posterior_tree: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Sum up a batch: how the MAPs spread over the observations, and how one posterior draw of each does.

    Parameters
    ----------
    map_tree, posterior_tree : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same batch.
    rows : int
        At most so many numbers of x.
    """
    compared, ok = compare(map_tree, posterior_tree), standing(map_tree, posterior_tree)
    modes, draws = map_tree["posterior"].to_dataset(), posterior_tree["posterior"].to_dataset()
    prior = posterior_tree["prior"].to_dataset() if "prior" in posterior_tree.children else None
    entries = []
    for name, values in modes.data_vars.items():
        same = zip(
            components(values.isel(chain=0, draw=0), ["observation"]),
            components(draws[name].isel(chain=0, draw=-1), ["observation"]),
            components(compared[name], ["observation", "summary"]),
            strict=True,
        )
        known = [] if prior is None else [float(p0.std()) for _, p0 in components(prior[name], SAMPLE)]
        for k, ((label, mode), (_, draw), (_, row)) in enumerate(same):
            offset = row.sel(summary="offset").values[ok]
            sd = [np.std(v[ok], ddof=1) if ok.sum() > 1 else np.nan for v in (mode.values, draw.values)]
            share = np.mean(np.abs(offset) > 1) if np.isfinite(offset).any() else np.nan
            cells = [escaped(label), rounded(sd[0]), rounded(sd[1])]
            cells += [rounded(known[k])] if known else []
            entries.append([*cells, "–" if np.isnan(share) else f"{share:.0%}"])
    head = ["x", "sd of the MAPs", "sd of one draw each", *([] if prior is None else ["sd of the prior"])]
    shown = [entries[k] for k in even(len(entries), rows)]
    text = table([*head, "MAP more than 1 sd off the mean"], shown) + _note(len(shown), len(entries), "numbers")
    return Markdown(text + (f"\n\n{left_out(ok)}" if not ok.all() else ""))


def left_out(ok: np.ndarray) -> str:
    """Say how many observations are left out, and why."""
    return f"{int((~ok).sum()):,} of {len(ok):,} observations are left out: their numbers are not to be trusted."


def diagnostics_table(posterior_tree: xr.DataTree, rows: int = 10) -> Markdown:
    """List the observations whose draws are least to be trusted, worst first.

    Parameters
    ----------
    posterior_tree : xarray.DataTree
        What ``sample_posterior`` returned.
    rows : int
        At most so many.
    """
    verdict, ok = read(posterior_tree), standing(posterior_tree)
    labels = posterior_tree["posterior"].coords.get("observation", np.array(["the only one"]))
    told = [
        verdict[name].values.reshape(len(ok)) if name in verdict else np.full(len(ok), np.nan)
        for name in ("r_hat", "ess", "diverging")
    ]
    lines = []
    for i in np.lexsort([-np.nan_to_num(told[0], nan=np.inf), ok])[:rows]:
        numbers = [f"{told[0][i]:.3f}", f"{told[1][i]:,.0f}", f"{told[2][i]:.1%}"]
        known = numbers if np.isfinite(told[1][i]) else ["–"] * 3
        lines.append([
            escaped(np.atleast_1d(labels)[i]), *known, "yes" if ok[i] else f"no: {reason(verdict, i)}"
        ])  # fmt: skip
    return Markdown(table(["observation", "R-hat", "effective draws", "diverging", "trusted"], lines))


# --------------------------------------------------------------------------------------------------------------- chain


def chain_table(runs: Mapping[str, xr.DataTree], rows: int = MOST_ROWS) -> Markdown:
    """Sum up the x that chains end with, beside draws of p0 where a run holds them. What failed a check is withheld.

    Parameters
    ----------
    runs : mapping of str to xarray.DataTree
        What ``reverse`` returned, by label.
    rows : int
        At most so many numbers of x, for each run.
    """
    entries: list[list[list[str]]] = []
    several = len(runs) > 1
    withheld = ""
    for label, run in runs.items():
        ok = stands(run)
        if not ok:
            withheld += f"\n\n*Withheld*{f' ({escaped(label)})' if several else ''}: {reason(read(run))}."
        x = run["posterior"].to_dataset()
        prior = run["prior"].to_dataset() if "prior" in run.children else None
        lines = []
        for name, values in x.data_vars.items():
            reference = [] if prior is None else [numbers for _, numbers in components(prior[name], SAMPLE)]
            for i, (number, draws) in enumerate(components(values, SAMPLE)):
                cells = [escaped(number), *([escaped(label)] if several else [])]
                if ok:
                    flat = draws.values.ravel()
                    n, sd = flat.size, flat.std(ddof=1)
                    cells += [with_error(flat.mean(), sd / np.sqrt(n)), with_error(sd, sd / np.sqrt(2 * n))]
                else:
                    cells += [WITHHELD] * 2
                if reference:
                    known = reference[i].values.ravel()
                    cells += [
                        rounded(known.mean(), known.std() / np.sqrt(known.size)),
                        rounded(known.std(), known.std() / np.sqrt(2 * known.size)),
                    ]
                else:
                    cells += ["–", "–"]
                lines.append(cells)
        entries.append(lines)
    total = len(entries[0])
    shown = [lines[k] for k in even(total, rows) for lines in entries]
    head = ["x", *(["run"] if several else []), "mean", "sd", "mean of p0 draws", "sd of p0 draws"]
    return Markdown(table(head, shown, left=1 + several) + _note(min(total, rows), total, "numbers") + withheld)


def levels_table(run: xr.DataTree, rows: int = 16) -> Markdown:
    """List the levels of a chain: noise, work, and whether two halves of the trajectories agree.

    Parameters
    ----------
    run : xarray.DataTree
        What ``reverse`` returned, or what a ``ChainError`` holds.
    rows : int
        At most so many levels.
    """
    schedule = run["schedule"].to_dataset()
    stats = run["level_stats"].to_dataset()
    levels = stats["level"].values
    extra = [name for name in ("evaluations", "acceptance_rate") if name in stats and stats[name].ndim == 1]
    head = ["level", "alpha", "sigma", *[name.replace("_", " ") for name in extra], "lost", "p of two halves"]
    lines = []
    for k in even(len(levels), rows)[::-1]:
        at, noise = stats.isel(level=k), schedule.sel(level=levels[k])
        cells = [str(levels[k]), rounded(float(noise["alpha"])), rounded(float(noise["sigma"]))]
        cells += [rounded(float(at[name])) for name in extra]
        lines.append([*cells, str(int(at["lost"])), rounded(float(at["lineages_p_value"]), digits=2)])
    return Markdown(table(head, lines, left=0) + _note(len(lines), len(levels), "levels"))


# -------------------------------------------------------------------------------------------------------------- sample


def variables_table(run: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Sum up the draws of `sample`, with the highest mode beside them, one row a number.

    Parameters
    ----------
    run : xarray.DataTree
    rows : int
        At most so many.

    Returns
    -------
    Markdown
        What rests on the draws is withheld where they are not to be trusted. R-hat and effective draws are not: they
        say why.
    """
    verdict, ok, highest = read(run), stands(run), highest_mode(run)
    few = verdict.attrs["code"] in ("too_few", "one_chain")
    shown = []
    numbers, pairs = numbers_of(run), _diagnosed(run)
    for k in even(len(numbers), rows):
        label, draws, mode = numbers[k]
        values = draws.transpose(*SAMPLE).values
        error = float(mcse_mean(values[None])[0])
        sd = values.std(ddof=1) if values.size > 1 else np.nan
        low, high = np.quantile(values, [0.05, 0.95])
        cells = [escaped(label)]
        if ok:
            cells += [with_error(values.mean(), error), rounded(sd, error)]
            cells.append(f"{rounded(low, error)} to {rounded(high, error)}")
        else:
            cells += [WITHHELD] * 3
        if highest is not None:
            cells.append(rounded(mode))
            cells.append(rounded(float((values < mode).mean()), 0.01) if ok else WITHHELD)
        pair = pairs[k] or agreement_of(values)
        shown.append([*cells, *(["–"] * 2 if few else [f"{pair[0]:.3f}", f"{pair[1]:,.0f}"])])
    head = ["x", "mean", "sd", "90% interval"]
    head += [] if highest is None else ["MAP", "share below MAP"]
    text = table([*head, "R-hat", "effective draws"], shown) + _note(len(shown), len(numbers), "numbers")
    return Markdown(text + _why(run))


def _why(run: xr.DataTree) -> str:
    """Why the numbers of a whole run are withheld, where they are."""
    return "" if stands(run) else f"\n\n*Withheld*: {reason(read(run))}."


def _diagnosed(run: xr.DataTree) -> list[tuple[float, float] | None]:
    """R-hat and effective draws of every number, as the run holds them; None of those that are not free numbers."""
    told = run["diagnostics"].to_dataset()
    found: list[tuple[float, float] | None] = []
    for name, values in run["posterior"].to_dataset().items():
        own = [dim for dim in values.dims if dim not in SAMPLE]
        if name in told and set(told[name].dims) == {*own, "diagnostic"}:
            each = told[name].transpose(*own, "diagnostic").sel(diagnostic=["r_hat", "ess_bulk"]).values.reshape(-1, 2)
            found += [(float(r_hat), float(ess)) for r_hat, ess in each]
        else:
            found += [None] * values.isel(chain=0, draw=0).size
    return found


def numbers_of(run: xr.DataTree) -> list[tuple[str, xr.DataArray, float]]:
    """Every number of the posterior: its label, its draws (chain, draw), and its value at the highest mode, or NaN."""
    found, highest = [], highest_mode(run)
    for name, values in run["posterior"].to_dataset().items():
        at = run["modes"].to_dataset()[name] if highest is not None else None
        modes = [float(one) for _, one in components(at.isel(mode=highest))] if at is not None else []
        for i, (label, draws) in enumerate(components(values, SAMPLE)):
            found.append((label, draws, modes[i] if modes else np.nan))
    return found


def modes_table(run: xr.DataTree, rows: int = MOST_MODES) -> Markdown:
    """List the modes that `sample` found, heaviest first: weight, height, where, and the share of each chain.

    Parameters
    ----------
    run : xarray.DataTree
    rows : int
        At most so many. The rest is summed up in a line.
    """
    ok, modes = stands(run), run["modes"].to_dataset()
    each = shares_of(run)
    numbers = [
        pair for name, values in modes.items() if name in run["posterior"] for pair in components(values, ["mode"])
    ]
    where = [numbers[k] for k in chosen([str(values.name) for _, values in numbers], MOST_COLUMNS)]
    lines = []
    for k in range(min(rows, modes.sizes["mode"])):
        at = modes.isel(mode=k)
        weight, error = float(at["weight"]), float(at["weight_se"])
        lines.append([
            str(int(modes["mode"][k])),
            with_error(weight, error) if ok else WITHHELD,
            ", ".join(f"{share:.2f}" for share in each[:, k]),
            rounded(float(at["lp"]), 0.01),
            f"{int(at['starts'])} ({int(at['chains_found'])})",
            *(rounded(float(values.isel(mode=k))) for _, values in where),
        ])  # fmt: skip
    head = ["mode", "weight", "its share in each chain", "log density", "climbs (of chains)"]
    text = table([*head, *(escaped(label) for label, _ in where)], lines, left=0)
    left = modes.sizes["mode"] - len(lines)
    if left:
        rest = f" ({float(modes['weight'][rows:].sum()):.2g} of the weight)" if ok else ""
        text += f"\n\nThe {left} lighter modes{rest} are not shown."
    if len(where) < len(numbers):
        text += f"\n\nOf {len(numbers)} numbers of x, {len(where)} are shown."
    return Markdown(text + _why(run))


def chosen(names: Sequence[str], most: int) -> list[int]:
    """At most so many of numbers, given by the names of their variables: one of each variable before a second of any.

    Examples
    --------
    >>> chosen(["mu", "tau", "z", "z", "z", "z"], 4)
    [0, 1, 2, 5]
    """
    firsts = [k for k, name in enumerate(names) if name not in names[:k]]
    others = [k for k in range(len(names)) if k not in firsts][::-1]
    kept = firsts[:most]
    kept += [others[k] for k in even(len(others), most - len(kept))] if others and len(kept) < most else []
    return sorted(kept)


def shares_of(run: xr.DataTree) -> np.ndarray:
    """The share of each chain's draws that is at each mode (chain, mode)."""
    at = mode_of(run)
    return np.stack([(at == k).mean(axis=1) for k in range(run["modes"].sizes["mode"])], axis=1)


def shares(run: xr.DataTree, most: int = MOST_MODES) -> Figure:
    """Draw the weights of the modes as bars with their standard errors, and each chain's own share as a marker.

    Bars are left out where weights are withheld. What chains say is drawn, so that disagreement is seen.
    """
    modes, each = run["modes"].to_dataset(), shares_of(run)[:, :most]
    chains, count = each.shape
    figure = plt.figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    x = np.arange(count)
    if stands(run):
        weight, error = (modes[name].values[:count] for name in ("weight", "weight_se"))
        axes.bar(x, weight, width=0.6, color="#9CC4E0", label="all chains, with 2 standard errors")
        axes.errorbar(x, weight, 2 * error, fmt="none", ecolor="#333333", capsize=5)
    side = np.linspace(-0.2, 0.2, chains) if chains > 1 else np.zeros(1)
    for k in range(chains):
        label = f"chain {k}" if chains <= len(OF_CHAINS) else "one chain"
        axes.plot(
            x + side[k], each[k], OF_CHAINS[k % len(OF_CHAINS)] if chains <= len(OF_CHAINS) else ".",
            color="#333333", markerfacecolor="white", markersize=6,
            label=label if chains <= len(OF_CHAINS) or not k else "_",
        )  # fmt: skip
    axes.set(xticks=x, xticklabels=[f"mode {int(k)}" if count <= 8 else str(int(k)) for k in modes["mode"][:count]])
    axes.set(xlabel="" if count <= 8 else "mode", ylabel="share of the draws", xlim=(-0.6, count - 0.4))
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9, ncols=3)
    return figure


def coloured(run: xr.DataTree) -> list[tuple[str, str, np.ndarray]]:
    """The draws by mode, as label, colour and which (chain, draw): the heaviest, and all others together."""
    at = mode_of(run)
    count = max(run["modes"].sizes["mode"], 1)
    named = min(count, len(OF_MODES))
    parts = [(f"mode {k}" if count > 1 else "draws", OF_MODES[k], at == k) for k in range(named)]
    return [*parts, *([("lighter modes", OF_REST, at >= named)] if count > named else [])]


def view_of(draws: np.ndarray, mode: float) -> tuple[float, float]:
    """What of one number to draw: nearly all draws, and the mode where it is not far from them."""
    low, high = np.quantile(draws, [0.002, 0.998])
    reach = high - low
    if low - reach < mode < high + reach:
        low, high = min(low, mode), max(high, mode)
    pad = 0.04 * (high - low) or 0.5
    return float(low - pad), float(high + pad)


def marginals(run: xr.DataTree, most: int = MOST_PANELS) -> Figure:
    """Draw a histogram of every number of the posterior, coloured by mode, and the highest mode as a line."""
    numbers = numbers_of(run)
    numbers = [numbers[k] for k in chosen([str(draws.name) for _, draws, _ in numbers], most)]
    parts = coloured(run)
    columns = min(len(numbers), 2 if len(numbers) in (2, 4) else 3)
    rows = -(-len(numbers) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(7, 0.5 + 1.9 * rows), squeeze=False, layout="constrained")
    for axes in grid.ravel()[len(numbers) :]:
        axes.remove()
    for axes, (label, draws, mode) in zip(grid.ravel(), numbers, strict=False):
        values = draws.transpose(*SAMPLE).values
        low, high = view_of(values, mode)
        axes.hist(
            [values[which] for _, _, which in parts], bins=50, range=(low, high), stacked=True,
            histtype="stepfilled", color=[color for _, color, _ in parts], label=[name for name, _, _ in parts],
        )  # fmt: skip
        if low <= mode <= high:
            axes.axvline(mode, color=OF_MAP, linestyle="--", label="MAP")
        axes.set_xlim(low, high)
        axes.set_title(_cut(label), fontsize=10)
        axes.yaxis.set_visible(False)
        axes.spines[["top", "left", "right"]].set_visible(False)
    _named(figure, grid.ravel()[: len(numbers)])
    return figure


def _named(figure: Figure, several: Iterable[Any]) -> None:
    """One legend for all panels, above them."""
    told = {label: mark for axes in several for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = sorted(told, key=lambda label: (label == "MAP", label.startswith("lighter"), label))
    figure.legend([told[label] for label in order], order, loc="outside upper left", frameon=False, fontsize=9, ncols=4)


def plane(run: xr.DataTree, most: int = 1000) -> Figure:
    """Draw a posterior of two numbers as a scatter, coloured by mode, and the highest mode as a cross."""
    (one, of_x, mode_x), (other, of_y, mode_y) = numbers_of(run)
    x, y = (values.transpose(*SAMPLE).values for values in (of_x, of_y))
    kept = np.zeros(x.size, bool)
    kept[even(x.size, most)] = True
    figure = plt.figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for label, color, which in coloured(run):
        some = which & kept.reshape(x.shape)
        axes.scatter(x[some], y[some], s=7, color=color, alpha=0.6, linewidths=0, label=label)
    left, right = view_of(x, mode_x)
    low, high = view_of(y, mode_y)
    if left <= mode_x <= right and low <= mode_y <= high:
        axes.plot(mode_x, mode_y, "X", color=OF_MAP, markeredgecolor="white", markersize=12, label="MAP")
    axes.set(xlim=(left, right), ylim=(low, high), xlabel=_cut(one), ylabel=_cut(other))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9, ncols=4, markerscale=1.5)
    return figure


def evidence_table(run: xr.DataTree) -> Markdown:
    """The log evidence of each chain by three ways, and that of all together, withheld where it is not to be trusted.

    Parameters
    ----------
    run : xarray.DataTree
        What ``sample`` returned.
    """
    why, told = why_no_evidence(run), run["log_evidence"].to_dataset()
    error = float(told["log_evidence_se"])
    digits = 0.01 if not np.isfinite(error) else min(max(error, 1e-4), 0.01)
    ways = ("by_chain", "upwards", "downwards")
    lines = [
        [str(int(told["chain"][k])), *(rounded(float(told[way][k]), digits) for way in ways), "–"]
        for k in range(told.sizes["chain"])
    ]
    # The mean of what is withheld says as much as what is withheld.
    means = [WITHHELD] * 4
    if not why:
        means = [rounded(float(told[name].mean()), digits) for name in ("log_evidence", "upwards", "downwards")]
        means.append(rounded(error, error))
    lines.append(["**all**", *means])
    text = table(["chain", "bridge sampling", "stones upwards", "stones downwards", "standard error"], lines)
    return Markdown(text + (f"\n\n*Withheld*: {why}." if why else ""))


def ladder_table(run: xr.DataTree, rows: int = 16) -> Markdown:
    """List the rungs of the ladder from the mixture (beta = 0) to the posterior (beta = 1).

    Parameters
    ----------
    run : xarray.DataTree
        What ``sample`` returned.
    rows : int
        At most so many.
    """
    told = run["tempering"].to_dataset()
    names = ("beta", "rejection", "pareto_k", "acceptance")
    shown = even(told.sizes["rung"], rows)
    lines = [
        [str(k), *(rounded(float(told[name][k]), 0.01 if name != "beta" else None) for name in names)] for k in shown
    ]
    head = ["rung", "beta", "exchanges rejected", "Pareto k to the next", "moves accepted"]
    return Markdown(table(head, lines, left=0) + _note(len(lines), told.sizes["rung"], "rungs"))


# --------------------------------------------------------------------------------------------------------------- model


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


def pictures(run: xr.DataTree, most: int = 100) -> Figure:
    """Draw the pictures that a chain ended with, in a grid."""
    found = pictures_of(run)
    return _drawn(tiled(found[even(len(found), most)]))


def picture_paths(run: xr.DataTree, most: int = 6, steps: int = 9) -> Figure:
    """Draw the way of a few pictures from noise (left) to x (right)."""
    columns = len(shown_levels(run["path"].sizes["level"], steps))
    return _drawn(tiled(strip(run, most, steps), columns))


def _drawn(pixels: np.ndarray) -> Figure:
    height, width = pixels.shape[:2]
    figure = plt.figure(figsize=(7, 7 * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(pixels, interpolation="nearest", aspect="equal")
    return figure


def equations(run: xr.DataTree) -> Verbatim:
    """Show the model of a run as PyMC writes it, without the data that it only holds."""
    lines = str(run.attrs.get("model_equations", "")).splitlines()
    return Verbatim("\n".join(line.rstrip() for line in lines if " = Data(" not in line))


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
        told = _cut(label) + (f"\n[{_cut(graph.plates[name])}]" if name in graph.plates else "")
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


def _cut(label: str, most: int = 24) -> str:
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
