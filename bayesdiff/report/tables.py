"""The tables of a report, with the digits that their errors allow.

All read a run. A number that is not to be trusted is withheld, and the table says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesdiff.comparison import compare, mcse_mean
from bayesdiff.report import numbers
from bayesdiff.report.numbers import SAMPLE, Parts, components, even, rounded, standing, stands, with_error
from bayesdiff.report.show import Markdown, escaped
from bayesdiff.report.words import left_out
from bayesdiff.verdict import read, reason

MOST_ROWS = 24
WITHHELD = "withheld"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are text. Cells are Markdown."""
    rules = [":--"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [list(head), rules, *map(list, rows)])


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
    every = [
        (label, each.transpose("observation", "summary").values if batch else each.values[None])
        for name, values in compared.data_vars.items()
        if name != "lp"
        for label, each in components(values, ["observation", "summary"])
    ]
    total = len(every) * len(labels)
    reasons: dict[str, list[str]] = {}
    shown = []
    for k in even(total, rows):
        (label, lines), i = every[k // len(labels)], k % len(labels)
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
    free = numbers.transformed(posterior_tree)
    where = ", unconstrained" if free else ""
    head = ["x", *(["observation"] if batch else []), "MAP", "posterior mean", "sd", "share below MAP"]
    text = grid([*head, f"offset / sd{where}", f"Laplace sd / sd{where}"], shown, left=1 + batch)
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
    every = [each for values in x.data_vars.values() for each in components(values, [*SAMPLE, "observation"])]
    n = x.sizes.get("observation", 1)
    total = len(every) * n
    labels = x["observation"].values if batch else [None]
    by_map = tree.attrs["inversion"] == "map"
    ok = standing(tree)
    shown = []
    for k in even(total, rows):
        (label, several), i = every[k // n], k % n
        one = several.isel(observation=i) if batch else several
        cells = [escaped(label), *([escaped(labels[i])] if batch else [])]
        if not ok[i]:
            cells += [f"{WITHHELD}: {reason(read(tree), i)}", *([] if by_map else ["", ""])]
        elif by_map:
            cells.append(rounded(float(one.item())))
        else:
            cells += _summed(one.transpose(*SAMPLE).values)
        shown.append(cells)
    head = ["x", *(["observation"] if batch else []), *(["MAP"] if by_map else ["mean", "sd", "90% interval"])]
    return Markdown(grid(head, shown, left=1 + batch) + _note(len(shown), total, "rows"))


def _summed(draws: np.ndarray) -> list[str]:
    """Mean, sd and the central 90% of draws (chain, draw)."""
    error = float(mcse_mean(draws[None])[0])
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
    text = grid([*head, "MAP more than 1 sd off the mean"], shown) + _note(len(shown), len(entries), "numbers")
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
    lines = []
    for i in np.lexsort([-np.nan_to_num(told[0], nan=np.inf), ok])[:rows]:
        cells = [f"{told[0][i]:.3f}", f"{told[1][i]:,.0f}", f"{told[2][i]:.1%}"]
        known = cells if np.isfinite(told[1][i]) else ["–"] * 3
        lines.append([
            escaped(np.atleast_1d(labels)[i]), *known, "yes" if ok[i] else f"no: {reason(verdict, i)}"
        ])  # fmt: skip
    return Markdown(grid(["observation", "R-hat", "effective draws", "diverging", "trusted"], lines))


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
    entries, withheld, several = [], "", len(runs) > 1
    for label, run in runs.items():
        ok, lines = stands(run), []
        if not ok:
            withheld += f"\n\n*Withheld*{f' ({escaped(label)})' if several else ''}: {reason(read(run))}."
        prior = run["prior"].to_dataset() if "prior" in run.children else xr.Dataset()
        for name, values in run["posterior"].to_dataset().items():
            p0 = [each.values.ravel() for _, each in components(prior[name], SAMPLE)] if name in prior else []
            for i, (number, draws) in enumerate(components(values, SAMPLE)):
                cells = [escaped(number), *([escaped(label)] if several else [])]
                cells += [with_error(*each) for each in _moments(draws.values.ravel(), 1)] if ok else [WITHHELD] * 2
                lines.append([*cells, *([rounded(*each) for each in _moments(p0[i], 0)] if p0 else ["–", "–"])])
        entries.append(lines)
    shown = [lines[k] for k in even(len(entries[0]), rows) for lines in entries]
    head = ["x", *(["run"] if several else []), "mean", "sd", "mean of p0 draws", "sd of p0 draws"]
    note = _note(min(len(entries[0]), rows), len(entries[0]), "numbers")
    return Markdown(grid(head, shown, left=1 + several) + note + withheld)


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
    lines = []
    for k in even(len(levels), rows)[::-1]:
        at, noise = stats.isel(level=k), schedule.sel(level=levels[k])
        cells = [escaped(levels[k]), rounded(float(noise["alpha"])), rounded(float(noise["sigma"]))]
        cells += [rounded(float(at[name])) for name in extra]
        lines.append([*cells, str(int(at["lost"])), rounded(float(at["lineages_p_value"]), digits=2)])
    return Markdown(grid(head, lines, left=0) + _note(len(lines), len(levels), "levels"))


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
    verdict, ok, highest = read(run), stands(run), numbers.highest_mode(run)
    few = verdict.attrs["code"] in ("too_few", "one_chain")
    shown = []
    every, pairs = numbers.numbers_of(run), _diagnosed(run)
    for k in even(len(every), rows):
        label, draws, mode = every[k]
        values = draws.transpose(*SAMPLE).values
        cells = [escaped(label), *(_summed(values) if ok else [WITHHELD] * 3)]
        if highest is not None:
            cells.append(rounded(mode))
            cells.append(rounded(float((values < mode).mean()), 0.01) if ok else WITHHELD)
        pair = pairs[k] or numbers.agreement_of(values)
        shown.append([*cells, *(["–"] * 2 if few else [f"{pair[0]:.3f}", f"{pair[1]:,.0f}"])])
    head = ["x", "mean", "sd", "90% interval"]
    head += [] if highest is None else ["MAP", "share below MAP"]
    text = grid([*head, "R-hat", "effective draws"], shown) + _note(len(shown), len(every), "numbers")
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
    shown = even(told.sizes["rung"], rows)
    lines = [
        [str(k), *(rounded(float(told[name][k]), 0.01 if name != "beta" else None) for name in names)] for k in shown
    ]
    head = ["rung", "beta", "exchanges rejected", "Pareto k to the next", "moves accepted"]
    return Markdown(grid(head, lines, left=0) + _note(len(lines), told.sizes["rung"], "rungs"))


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
    every = [
        (label, p.sel(diagnostic=["p_value", "p_family"]).values, share.transpose("probability", "summary").values)
        for name, values in told.items()
        for (label, p), (_, share) in zip(
            components(values, ["diagnostic"]), components(covered[name], ["probability", "summary"]), strict=True
        )
    ]
    lines = [
        [escaped(label), *(rounded(float(each), digits=2) for each in p), *(with_error(*each) for each in share)]
        for label, p, share in (every[k] for k in even(len(every), rows))
    ]
    head = ["quantity", "p", "p, of all", *(f"{float(p):.0%} interval" for p in covered["probability"])]
    return Markdown(grid(head, lines) + _note(len(lines), len(every), "quantities"))


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
