"""The tables of a report, with the digits that their errors allow.

All read a run. A number that is not to be trusted is withheld, and the table says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from bayesdiff.comparison import compare
from bayesdiff.pictures import SAMPLE, even
from bayesdiff.report import numbers
from bayesdiff.report.numbers import Parts, components, rounded, standing, stands, with_error
from bayesdiff.report.show import Markdown, escaped
from bayesdiff.report.words import left_out
from bayesdiff.verdict import read, reason

MOST_ROWS = 24
WITHHELD = "withheld"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are text. Cells are Markdown."""
    rules = [":--"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [list(head), rules, *map(list, rows)])


def _shown(total: int, most: int, what: str) -> tuple[list[int], str]:
    """At most so many of the rows, spread evenly over all, and a note of how many that is."""
    shown = even(total, most).tolist()
    return shown, f"\n\n{len(shown)} of {total:,} {what} are shown, evenly spread." if len(shown) < total else ""


def _listed(
    head: Sequence[str], row: Callable[[int], Sequence[str]], total: int, most: int, what: str, left: int = 1
) -> str:
    """A table of some of its rows, and how many that is."""
    shown, note = _shown(total, most, what)
    return grid(head, map(row, shown), left) + note


def _entries(ds: xr.Dataset, *leading: str) -> tuple[list[str], int, Callable[[int], Any]]:
    """Every number of every observation: the head of its name, how many, and of each its name, place and values."""
    batch = "observation" in ds.dims
    every = [each for values in ds.values() for each in components(values, [*leading, "observation"])]
    labels = ds["observation"].values if batch else [None]

    def entry(k: int) -> tuple[list[str], int, np.ndarray]:
        (label, values), i = every[k // len(labels)], k % len(labels)
        one = values.isel(observation=i, missing_dims="ignore").transpose(*leading)
        return [escaped(label), *([escaped(labels[i])] if batch else [])], i, one.values

    return ["x", *(["observation"] if batch else [])], len(every) * len(labels), entry


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
    of_map, of_draws = standing(map_tree), standing(posterior_tree)
    named, total, entry = _entries(compare(map_tree, posterior_tree).drop_vars("lp"), "summary")
    reasons: dict[str, list[str]] = {}

    def row(k: int) -> list[str]:
        names, i, (mode, mean, error, sd, *both) = entry(k)
        for tree, ok in ((map_tree, of_map), (posterior_tree, of_draws)):
            if not ok[i]:
                reasons.setdefault(reason(read(tree), i), []).append(names[-1])
        cells = [rounded(mode) if of_map[i] else WITHHELD]
        cells += [with_error(mean, error), rounded(sd, error)] if of_draws[i] else [WITHHELD] * 2
        # What compares the two rests on both.
        stand = of_draws[i] and of_map[i]
        return [*names, *cells, *(rounded(value, 0.01) if stand else WITHHELD for value in both)]

    free = numbers.transformed(posterior_tree)
    where = ", unconstrained" if free else ""
    head = [*named, "MAP", "posterior mean", "sd", "share below MAP", f"offset / sd{where}", f"Laplace sd / sd{where}"]
    text = _listed(head, row, total, rows, "rows", len(named))
    if free:
        text += (
            f"\n\nThe noise acts on unconstrained coordinates, and {escaped(', '.join(free))} has others than its "
            "values: offset and Laplace sd are taken in them, and are not those of the MAP, mean and sd beside them."
        )
    for why, those in reasons.items():
        who = f" (observation {', '.join(dict.fromkeys(those))})" if len(named) > 1 else ""
        text += f"\n\n*Withheld*{who}: {why}."
    return Markdown(text)


def summary_table(tree: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Sum up one inversion: the modes that ``find_map`` found, or the draws of ``sample_posterior``, one row a number.

    Parameters
    ----------
    tree : xarray.DataTree
    rows : int
        At most so many.
    """
    named, total, entry = _entries(tree["posterior"].to_dataset(), *SAMPLE)
    by_map, ok = tree.attrs["inversion"] == "map", standing(tree)
    head = [*named, *(["MAP"] if by_map else ["mean", "sd", "90% interval"])]

    def row(k: int) -> list[str]:
        names, i, values = entry(k)
        if not ok[i]:
            return [*names, f"{WITHHELD}: {reason(read(tree), i)}", *([] if by_map else ["", ""])]
        return [*names, *([rounded(float(values.item()))] if by_map else _summed(values))]

    return Markdown(_listed(head, row, total, rows, "rows", len(named)))


def _summed(draws: np.ndarray) -> list[str]:
    """Mean, sd and the central 90% of draws (chain, draw)."""
    error = float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean"))
    sd = draws.std(ddof=1) if draws.size > 1 else np.nan
    low, high = (rounded(each, error) for each in np.quantile(draws, [0.05, 0.95]))
    return [with_error(draws.mean(), error), rounded(sd, error), f"{low} to {high}"]


def population_table(map_tree: xr.DataTree, posterior_tree: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """Sum up a batch: how the MAPs spread over the observations, and how one posterior draw of each does.

    Parameters
    ----------
    map_tree, posterior_tree : xarray.DataTree
        What ``find_map`` and ``sample_posterior`` returned for the same batch.
    rows : int
        At most so many numbers of x.
    """
    ok = standing(map_tree, posterior_tree)
    modes = map_tree["posterior"].to_dataset().isel(chain=0, draw=0)
    draws = posterior_tree["posterior"].to_dataset().isel(chain=0, draw=-1)
    offsets = compare(map_tree, posterior_tree).sel(summary="offset")
    every = [
        [each for name in modes for each in components(ds[name], ["observation"])] for ds in (modes, draws, offsets)
    ]
    p0: list[float] = []
    if "prior" in posterior_tree.children:
        prior = posterior_tree["prior"].to_dataset()
        p0 = [float(draws.std()) for name in modes for _, draws in components(prior[name], SAMPLE)]

    def row(k: int) -> list[str]:
        mode, draw, offset = (each[k][1].values[ok] for each in every)
        spreads = [np.std(v, ddof=1) if ok.sum() > 1 else np.nan for v in (mode, draw)]
        share = f"{np.mean(np.abs(offset) > 1):.0%}" if np.isfinite(offset).any() else "–"
        return [escaped(every[0][k][0]), *map(rounded, [*spreads, *p0[k : k + 1]]), share]

    head = ["x", "sd of the MAPs", "sd of one draw each", *(["sd of the prior"] if p0 else [])]
    text = _listed([*head, "MAP more than 1 sd off the mean"], row, len(every[0]), rows, "numbers")
    return Markdown(text + f"\n\n{left_out({'map': map_tree, 'posterior': posterior_tree})}")


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

    def row(i: int) -> list[str]:
        r_hat, ess, diverging = (each[i] for each in told)
        known = [f"{r_hat:.3f}", f"{ess:,.0f}", f"{diverging:.1%}"] if np.isfinite(ess) else ["–"] * 3
        return [escaped(np.atleast_1d(labels)[i]), *known, "yes" if ok[i] else f"no: {reason(verdict, i)}"]

    worst = np.lexsort([-np.nan_to_num(told[0], nan=np.inf), ok])[:rows]
    return Markdown(grid(["observation", "R-hat", "effective draws", "diverging", "trusted"], map(row, worst)))


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
    several, entries = len(runs) > 1, []
    for label, run in runs.items():
        ok, named = stands(run), [escaped(label)] if several else []
        prior = run["prior"].to_dataset() if "prior" in run.children else xr.Dataset()
        lines = []
        for name, values in run["posterior"].to_dataset().items():
            p0 = [each.values.ravel() for _, each in components(prior[name], SAMPLE)] if name in prior else []
            for i, (number, draws) in enumerate(components(values, SAMPLE)):
                cells = [with_error(*each) for each in _moments(draws.values.ravel(), 1)] if ok else [WITHHELD] * 2
                cells += [rounded(*each) for each in _moments(p0[i], 0)] if p0 else ["–", "–"]
                lines.append([escaped(number), *named, *cells])
        entries.append(lines)
    shown, note = _shown(len(entries[0]), rows, "numbers")
    head = ["x", *(["run"] if several else []), "mean", "sd", "mean of p0 draws", "sd of p0 draws"]
    text = grid(head, [lines[k] for k in shown for lines in entries], left=1 + several) + note
    return Markdown(text + "".join(_why(run, f" ({escaped(label)})" * several) for label, run in runs.items()))


def _moments(x: np.ndarray, ddof: int) -> list[tuple[float, float]]:
    """Mean and sd of independent numbers, each with its standard error."""
    sd = x.std(ddof=ddof)
    return [(x.mean(), sd / np.sqrt(x.size)), (sd, sd / np.sqrt(2 * x.size))]


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

    def row(k: int) -> list[str]:
        at, noise = stats.isel(level=k), schedule.sel(level=levels[k])
        cells = [escaped(levels[k]), rounded(float(noise["alpha"])), rounded(float(noise["sigma"]))]
        cells += [rounded(float(at[name])) for name in extra]
        return [*cells, str(int(at["lost"])), rounded(float(at["lineages_p_value"]), digits=2)]

    shown, note = _shown(len(levels), rows, "levels")
    return Markdown(grid(head, map(row, shown[::-1]), left=0) + note)


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
    ok, highest = stands(run), numbers.highest_mode(run)
    few, every = read(run).attrs["code"] in ("too_few", "one_chain"), numbers.numbers_of(run)
    x, told = run["posterior"].to_dataset(), run["diagnostics"].to_dataset()
    # What the run holds of its free numbers; of others it is worked out here.
    held = {
        label: tuple(map(float, each.sel(diagnostic=["r_hat", "ess_bulk"])))
        for name, values in told.items()
        if name in x and {*values.dims, *SAMPLE} == {*x[name].dims, "diagnostic"}
        for label, each in components(values, ["diagnostic"])
    }

    def row(k: int) -> list[str]:
        label, draws, mode = every[k]
        values = draws.transpose(*SAMPLE).values
        cells = [escaped(label), *(_summed(values) if ok else [WITHHELD] * 3)]
        if highest is not None:
            cells += [rounded(mode), rounded(float((values < mode).mean()), 0.01) if ok else WITHHELD]
        r_hat, ess = held.get(label) or numbers.agreement_of(values)
        return [*cells, *(["–"] * 2 if few else [f"{r_hat:.3f}", f"{ess:,.0f}"])]

    head = ["x", "mean", "sd", "90% interval", *([] if highest is None else ["MAP", "share below MAP"])]
    text = _listed([*head, "R-hat", "effective draws"], row, len(every), rows, "numbers")
    return Markdown(text + _why(run))


def _why(run: xr.DataTree, who: str = "") -> str:
    """Why the numbers of a whole run are withheld, where they are."""
    return "" if stands(run) else f"\n\n*Withheld*{who}: {reason(read(run))}."


def modes_table(run: xr.DataTree, rows: int = numbers.MOST_MODES) -> Markdown:
    """List the modes that `sample` found, heaviest first: weight, height, where, and the share of each chain.

    Parameters
    ----------
    run : xarray.DataTree
    rows : int
        At most so many. The rest is summed up in a line.
    """
    ok, modes = stands(run), run["modes"].to_dataset()
    each = numbers.shares_of(run)
    every = [
        pair for name, values in modes.items() if name in run["posterior"] for pair in components(values, ["mode"])
    ]
    # Of so many numbers it is said where a mode is
    where = [every[k] for k in numbers.chosen([str(values.name) for _, values in every], 4)]
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
    text = grid([*head, *(escaped(label) for label, _ in where)], lines, left=0)
    left = modes.sizes["mode"] - len(lines)
    if left:
        rest = f" ({float(modes['weight'][rows:].sum()):.2g} of the weight)" if ok else ""
        text += f"\n\nThe {left} lighter modes{rest} are not shown."
    if len(where) < len(every):
        text += f"\n\nOf {len(every)} numbers of x, {len(where)} are shown."
    return Markdown(text + _why(run))


def evidence_table(run: xr.DataTree) -> Markdown:
    """The log evidence of each chain by three ways, and that of all together, withheld where it is not to be trusted.

    Parameters
    ----------
    run : xarray.DataTree
        What ``sample`` returned.
    """
    why, told = numbers.why_no_evidence(run), run["log_evidence"].to_dataset()
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
    text = grid(["chain", "bridge sampling", "stones upwards", "stones downwards", "standard error"], lines)
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

    def row(k: int) -> list[str]:
        return [str(k), *(rounded(float(told[name][k]), 0.01 if name != "beta" else None) for name in names)]

    head = ["rung", "beta", "exchanges rejected", "Pareto k to the next", "moves accepted"]
    return Markdown(_listed(head, row, told.sizes["rung"], rows, "rungs", left=0))


# --------------------------------------------------------------------------------------------------------- calibration


def ranks_table(run: xr.DataTree, rows: int = MOST_ROWS) -> Markdown:
    """List what was ranked: whether its ranks are uniform, and how often central intervals hold the truth.

    Parameters
    ----------
    run : xarray.DataTree
        What ``calibrate`` or ``calibrate_chain`` returned.
    rows : int
        At most so many.
    """
    told, covered = run["diagnostics"].to_dataset(), run["coverage"].to_dataset()
    every = [each for values in told.values() for each in components(values, ["diagnostic"])]
    shares = [share for name in told for _, share in components(covered[name], ["probability", "summary"])]

    def row(k: int) -> list[str]:
        (label, p), share = every[k], shares[k].transpose("probability", "summary").values
        cells = [rounded(float(each), digits=2) for each in p.sel(diagnostic=["p_value", "p_family"])]
        return [escaped(label), *cells, *(with_error(*each) for each in share)]

    head = ["quantity", "p", "p, of all", *(f"{float(p):.0%} interval" for p in covered["probability"])]
    return Markdown(_listed(head, row, len(every), rows, "quantities"))


# ------------------------------------------------------------------------------------------------------------- the end


def made_table(parts: Parts) -> Markdown:
    """List what is needed to make a run again: seeds, versions, machine, and checksums of what went in and came out."""
    columns = []
    for part in parts.values():
        about = part.attrs
        columns.append({
            "seed": about.get("seed", about.get("random_seed")),
            "draws of each chain": about.get("draws"),
            "chains": about.get("chains"),
            "inverter": about.get("inverter"),
            "prompt": about.get("prompt"),
            "strength": about.get("strength"),
            "network": _network(about.get("network")),
            "made at (UTC)": about.get("created_at"),
            "wall time": f"{float(about['sampling_time']):.1f} s" if "sampling_time" in about else None,
            "bayesdiff": about.get("inference_library_version"),
            **{name: about.get("versions", {}).get(name) for name in ("pymc", "jax", "numpy", "python")},
            "machine": about.get("machine"),
            "evaluations": f"{float(part['tempering']['evaluations']):,.0f}" if "tempering" in part.children else None,
            "checksum of what was inverted": numbers.checksum(part, ("step", "step/o", "schedule")),
            "checksum of what came out": numbers.checksum(part, ("unconstrained_posterior", "path", "ranks")),
        })  # fmt: skip
    # What no part says is left out: a MAP has no chains, a run that is not finished no versions yet.
    told = [key for key in columns[0] if any(column[key] not in (None, "") for column in columns)]
    rows = [[key, *("–" if column[key] in (None, "") else escaped(column[key]) for column in columns)] for key in told]
    return Markdown(grid(["", *(map(escaped, parts) if len(parts) > 1 else ["this run"])], rows, left=1 + len(parts)))


def _network(made: Any) -> str | None:
    """Say how a network came about: the command that trained it, and the data's checksum."""
    if not isinstance(made, Mapping) or "command" not in made:
        return None
    return f"{made['command']} (data {str(made.get('sha256', 'unknown'))[:12]})"
