"""Words: sentences of a report whose wording depends on its numbers, as plain text. Where one is empty, there is none.

Whether numbers are to be trusted is not said here: those words are the run's own, in its verdict. Nothing here is
Markdown: what a run holds of names and labels is text of somebody's, and is escaped where it comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayesdiff.pictures import SAMPLE
from bayesdiff.report import numbers
from bayesdiff.report.graph import read_graph
from bayesdiff.report.numbers import Parts, rounded, stands, with_error
from bayesdiff.verdict import read, reason

FAR = 0.5  # so many posterior sd from the mean, a MAP is said not to be near it


def plural(count: int, what: str) -> str:
    """Such as 1 mode, and 2,000 modes."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def listed(words: Sequence[str]) -> str:
    """Such as a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def who(parts: Parts, name: str, word: str = "") -> str:
    """Of which run a sentence speaks, where there are several."""
    return f"{name}: {word}" if len(parts) > 1 else f"{word[:1].upper()}{word[1:]}"


# ----------------------------------------------------------------------------------------------------------- of any run


def verdict(parts: Parts) -> str:
    """Whether the numbers are to be trusted, as the runs themselves say it."""
    said = []
    several = "map" not in parts
    for name, part in parts.items() if several else sorted(parts.items(), reverse=True):  # draws before their MAP
        told = read(part).attrs
        said.append((who(parts, name) if several else "") + str(told["sentence"]))
        withheld = not told["ok"] and part.attrs["inversion"] != "calibration"  # which is a verdict all of it
        said += ["What rests on it is withheld."] if withheld else []
    return " ".join(dict.fromkeys(said))


def no_picture(run: xr.DataTree) -> str:
    """Why there is none of what rests on a whole run."""
    return "" if stands(run) else f"There is no picture: {reason(read(run))}."


def model(run: xr.DataTree) -> str:
    """Where the model is found."""
    file = str(run.attrs.get("model", ""))
    below = "the model below" if run.attrs.get("model_equations") else "a model that the run does not tell"
    return f"the model of {file}" if file else below


def draws_of_prior(run: xr.DataTree) -> str:
    """Where draws of the prior lie, or why there are none."""
    if "prior" in run.children:
        told = []
        for name, values in list(run["prior"].to_dataset().items())[:8]:
            low, high = np.quantile(values.values, [0.05, 0.95])
            told.append(f"{name} lies between {rounded(low)} and {rounded(high)}")
        return f"Of {run['prior'].sizes['draw']:,} draws of the prior, nine in ten times: {'; '.join(told)}."
    if not run.attrs.get("finished", 1):
        return "The model's equations, its graph and draws of the prior are written at the end of a run, so not yet."
    return "The run holds no draws of the prior: it has data, a Potential, or no random draws."


def edges(run: xr.DataTree, least: int = 1) -> str:
    """The graph of the model, to be read out, where it has so many variables."""
    graph = read_graph(str(run.attrs.get("model_graph", "")))
    if graph is None or len(graph.nodes) < least:
        return ""
    told = [f"{start} to {end}" for start, end in graph.edges] or [f"{name} alone" for name in graph.nodes]
    return f"The graph of the model: {'; '.join(told)}."


# ---------------------------------------------------------------------------------------------------------------- step


def step(parts: Parts) -> str:
    """What was inverted, and how."""
    run, n = next(iter(parts.values())), numbers.observations(parts)
    seen = "One observation" if n == 1 else f"{n:,} observations"
    how = {"map": "the mode of its posterior (MAP)", "posterior": "draws of its posterior"}
    return f"{seen} of x through noise, {noise(run)}, inverted by {' and by '.join(how[kind] for kind in parts)}."


def noise(run: xr.DataTree) -> str:
    """Such as alpha = 1, sigma = 2 to 10."""
    told = []
    for name in ("alpha", "sigma"):
        values = run["step"].to_dataset()[name].values
        low, high = rounded(float(values.min())), rounded(float(values.max()))
        told.append(f"{name} = {low}{f' to {high}' if high != low else ''}")
    return ", ".join(told)


def beside(parts: Parts) -> str:
    """How far the two inversions are apart, as far as that is known.

    An offset says where the MAP is, and nothing of how wide the posterior is: so does the sentence.
    """
    off, name = numbers.farthest_map(parts) if len(parts) == 2 else (np.nan, "")
    if np.isnan(off):
        return ""
    draws, several = parts["posterior"], numbers.observations(parts) > 1
    free = numbers.transformed(draws)
    there = name.removesuffix("_unconstrained") in free or name not in draws["posterior"]
    of = f"for {name}{', in unconstrained coordinates' if there else ''}"
    if off < FAR:
        far = "less than 0.01" if off < 0.005 else f"{'at most ' if several else ''}{off:.2f}"
        said = f"{'Each' if several else 'The'} MAP is near the posterior mean ({far} posterior sd off, {of}). "
        said += "That says nothing of how wide the posterior is."
    else:
        said = f"{'MAPs are up to' if several else 'The MAP is'} {off:.2f} posterior sd from the posterior mean ({of})"
        said += ": there a MAP does not stand for it."
    ratio, name = numbers.spread_of_maps(parts)
    if np.isnan(ratio) or 0.5 < ratio < 2:
        return said
    of = f"for {name}{', in unconstrained coordinates' if name in free else ''}"
    return (
        f"{said} Over all {numbers.standing(*parts.values()).sum():,} observations the MAPs have not the spread of the "
        f"draws: their sd is {rounded(ratio, digits=2)} times that of one posterior draw each ({of})."
    )


def left_out(parts: Parts) -> str:
    """How many observations are left out, and why."""
    ok = numbers.standing(*parts.values())
    if ok.all():
        return ""
    return f"{(~ok).sum():,} of {len(ok):,} observations are left out: their numbers are not to be trusted."


def together(parts: Parts) -> str:
    """What a batch can be compared with."""
    if len(parts) == 1 or numbers.observations(parts) == 1:
        return ""
    if not numbers.together(parts):
        return "Too few observations have numbers that can be trusted to say how x spreads over all of them."
    return (
        "If the o came from the model, one posterior draw for each is a draw of the prior again. The modes are no "
        f"draws. So both are spread out over {numbers.standing(*parts.values()).sum():,} observations below."
    )


def densities(parts: Parts) -> str:
    """What is drawn of one observation, and what that tells."""
    draws, asked = parts["posterior"], numbers.one_step(parts)
    names = asked["var_names"]
    gone = [str(name) for name in draws["posterior"].data_vars if name not in names]
    known = "prior" in draws.children and any(name in draws["prior"] for name in names)
    free = set(map(str, draws["unconstrained_posterior"].data_vars)) - set(numbers.transformed(draws))
    seen = [name for name in names if name in free]  # what `plot_step` draws the likelihood for
    curves = [*(["prior"] if known else []), *(["likelihood"] if seen else []), "posterior"]
    said = [f"Observation {asked['observation']}."] if numbers.observations(parts) > 1 else []
    said.append(f"Densities over x: {listed(curves)}{', and the MAP as a line' if 'map' in parts else ''}.")
    if seen:
        said.append(f"The likelihood{'' if len(seen) == len(names) else f' (of {", ".join(seen)})'} pulls x to o.")
    if seen and known:
        said.append("The prior pulls it to where x usually is: the posterior is the compromise.")
    if not known:
        said.append("The run holds no draws of the prior to draw.")
    if gone:
        said.append(f"Not drawn: {', '.join(gone)}, whose MAP is too far from the posterior for one picture.")
    return " ".join(said)


def climbs(parts: Parts) -> str:
    """How many climbs ended at the MAPs."""
    if "map" not in parts:
        return ""
    stats = parts["map"]["sample_stats"].to_dataset()
    ok = numbers.standing(parts["map"])
    agreed, starts = (stats[name].values.ravel()[ok] for name in ("starts_agreed", "starts"))
    if not np.isfinite(agreed).any():
        return ""
    low, most, middle = int(np.nanmin(agreed)), int(np.nanmax(starts)), rounded(float(np.nanmedian(agreed)))
    return (
        f"Each MAP is the highest end of {most} climbs. {f'Between {low} and all' if low < most else 'All'} of them "
        f"ended there{f', {middle} in the median' if low < most and len(agreed) > 1 else ''}. It cannot be proved that "
        "no higher one was missed."
    )


# --------------------------------------------------------------------------------------------------------------- chain


def sent(runs: Parts) -> str:
    """How many particles were sent down, and how many are left."""
    told = []
    for name, run in runs.items():
        count, arrived = numbers.particles(run)
        if not numbers.finished(run):
            said = f"{count:,} particles are on their way from noise to x"
        elif arrived < count:
            said = f"of {count:,} particles that were sent from noise, {arrived:,} came to x"
        else:
            said = f"{count:,} particle{'s were' if count > 1 else ' was'} brought from noise to x"
        told.append(who(runs, name, said))
    schedule = next(iter(runs.values()))["schedule"].to_dataset()
    levels = plural(schedule.sizes["level"] - 1, "step")
    return f"{'; '.join(told)}, in {levels}, from sigma = {rounded(float(schedule['sigma'][-1]))} down."


def beside_p0(runs: Parts) -> str:
    """How far the spread of x is from that of p0, of the chains whose numbers are shown."""
    told = {name: numbers.spread_beside_p0(run) for name, run in runs.items()}
    return " ".join(
        f"{f'Of {name}, the' if len(runs) > 1 else 'The'} sd of x is {ratio:.2f} times that of p0."
        for name, ratio in told.items()
        if np.isfinite(ratio)
    )


def unfinished(runs: Parts) -> str:
    """How far chains came, and which call goes on."""
    if all(map(numbers.finished, runs.values())):
        return ""
    levels = next(iter(runs.values()))["schedule"].sizes["level"] - 1
    reached = [int(run["path"].coords["level"].values.min()) for run in runs.values() if "path" in run.children]
    low = min(reached, default=levels)
    came = f"It came down from level {levels} to level {low}" if low < levels else f"It is still at level {levels}"
    calls = []
    for name, run in runs.items():
        known = [f"{key} {run.attrs[key]}" for key in ("inverter", "draws", "chains", "seed") if key in run.attrs]
        calls += [who(runs, name, ", ".join(known)) if len(runs) > 1 else ", ".join(known)] * bool(known)
    call = f"The call that began it: {'; '.join(calls)}. " if calls else ""
    rest = "Where it has a store, the same call goes on from there."
    return f"{came}. What follows is what there is; there is no x yet. {call}{rest}"


def how(runs: Parts) -> str:
    """Which form a chain has, and which inverter."""
    forms = dict.fromkeys(str(run.attrs["form"]) for run in runs.values() if "form" in run.attrs)
    used = [who(runs, name) + str(run.attrs["inverter"]) for name, run in runs.items() if "inverter" in run.attrs]
    told = (
        f"This is the {listed([form.replace(' ', '-') for form in forms])} form."
        if forms
        else "Which form this is, the run does not tell."
    )
    return f"{told} The inverter: {'; '.join(used)}." if used else told


def no_path(runs: Parts) -> str:
    """Why the particles are not seen on their way."""
    if not numbers.with_path(runs):
        done = all(map(numbers.finished, runs.values()))
        return "The levels between were not kept." + (" Run reverse(..., path=True) to see them." if done else "")
    if numbers.of_pictures(runs):
        return ""
    if not numbers.few(runs, "path"):
        return "x has too many numbers for a picture of each path."
    return "" if numbers.shown(runs) else "There is no picture: the particles are not to be trusted."


def outlines(runs: Parts) -> str:
    """What to look for where p0 is known."""
    known = any("unconstrained_prior" in run.children for run in numbers.shown(runs).values())
    return "Where the chain is exact, the two outlines agree at every level." if known else ""


def some_of(run: xr.DataTree, most: int = 100) -> str:
    """How many of the pictures are shown."""
    count = numbers.particles(run)[1]
    return f", {most} of {count:,}" if count > most else ""


def end(runs: Parts) -> str:
    """Where a picture of the particles on their way ends."""
    last = int(next(iter(runs.values()))["path"].coords["level"].values.min())
    return "x (right)" if last == 0 else f"level {last} (right), as far as it came"


def not_shown(runs: Parts) -> str:
    """Which chains are left out."""
    gone = ", ".join(name for name in runs if name not in numbers.shown(runs))
    return f"Left out, as not to be trusted: {gone}." if gone else ""


def halves(run: xr.DataTree) -> str:
    """Whether two halves of the trajectories agree, level by level."""
    p = run["level_stats"].to_dataset()["lineages_p_value"].values
    if not np.isfinite(p).any():
        return "The two halves of the trajectories were not compared: too few of them."
    return f"The two halves of the trajectories differ most with p = {rounded(float(np.nanmin(p)), digits=2)}."


# -------------------------------------------------------------------------------------------------------------- sample


def sample(run: xr.DataTree) -> str:
    """How many draws, and modes."""
    sizes, count = run["posterior"].sizes, run["modes"].sizes["mode"]
    found = f"{plural(count, 'mode')} found" if count else "no mode found"
    return (
        f"{sizes['chain'] * sizes['draw']:,} draws of a posterior in {plural(sizes['chain'], 'chain')}, {found}. "
        f"{evidence(run)}"
    )


def evidence(run: xr.DataTree) -> str:
    """The log evidence, or that it is withheld."""
    if numbers.why_no_evidence(run):
        return "The log evidence is withheld."
    value, error = (float(run["log_evidence"][name]) for name in ("log_evidence", "log_evidence_se"))
    return f"The log evidence is {with_error(value, error)}."


def highest(run: xr.DataTree) -> str:
    """Whether the highest mode stands for the posterior, as far as that is known."""
    at, said, count = numbers.highest_mode(run), [], run["modes"].sizes["mode"]
    if at is None or not stands(run):
        return ""
    if count > 1:
        weights, same = run["modes"].to_dataset()["weight"].values, len(numbers.highest_modes(run))
        equal = f"The MAP, one of {same} modes that are equally high,"
        first = f"{equal if same > 1 else f'The highest of {count} modes (MAP)'} has {weights[at]:.0%} of the weight"
        said.append(first + (f", the heaviest {weights.max():.0%}." if at else ", and is the heaviest."))
    worst, where = numbers.farthest_highest(run)
    if worst < FAR and count == 1:
        far = "less than 0.01" if worst < 0.005 else f"at most {worst:.2f}"
        said.append(f"The MAP is near the posterior mean ({far} posterior sd off, for {where}).")
        said.append("That says nothing of how wide the posterior is.")
    elif worst >= FAR:
        said.append(f"The MAP is {worst:.2f} posterior sd from the mean (for {where}): it does not stand for it.")
    return " ".join(said)


def data(run: xr.DataTree) -> str:
    """What was observed, and how many numbers each is."""
    seen = run["observed_data"].to_dataset().items() if "observed_data" in run.children else ()
    told = [f"{name}: {plural(values.size, 'number')}" for name, values in seen]
    return f"Its data: {'; '.join([*told[:8], *(['more'] if len(told) > 8 else [])])}." if told else ""


def posterior(run: xr.DataTree) -> str:
    """Whether chains agree, or why the numbers are withheld."""
    return "The chains agree on every number." if stands(run) else f"Its numbers are withheld: {reason(read(run))}."


def no_mode(run: xr.DataTree) -> str:
    """Why none is listed."""
    also = " Draws need none." if stands(run) else ""
    none = f"No climb ended at a mode: the density is flat, or has no highest point.{also}"
    return "" if run["modes"].sizes["mode"] else none


def weights(run: xr.DataTree) -> str:
    """Which modes are how heavy."""
    if not stands(run):
        return "Which mode is how heavy is withheld, as the chains cannot tell."
    if run["modes"].sizes["mode"] == 1:
        return "All draws are at the one mode that was found."
    modes = run["modes"].to_dataset()
    first, second = (with_error(float(modes["weight"][k]), float(modes["weight_se"][k])) for k in (0, 1))
    return f"The heaviest has {first} of the weight, the second {second}."


def shares(run: xr.DataTree) -> str:
    """What each chain says of the weights."""
    ok, agree = stands(run), "There is one chain, which nothing was compared with."
    if run["posterior"].sizes["chain"] > 1:
        apart = float(np.ptp(numbers.shares_of(run)[:, : numbers.MOST_MODES], axis=0).max())
        agree = f"The shares of the chains differ by at most {apart:.2f}: "
        agree += "they agree on the weights." if ok else "no weight of all chains is shown."
    head = "Weights of the modes (bars), and" if ok else "The weights are withheld;"
    return f"{head} each chain's own share of its draws (markers). {agree}"


def marginals(run: xr.DataTree) -> str:
    """What is drawn of the posterior, number by number."""
    count, most, gone = len(numbers.numbers_of(run)), numbers.MOST_PANELS, numbers.outside(run)
    said = [f"Marginal posterior of {f'{most} of {count} numbers' if count > most else 'every number'}"]
    said[0] += f"{', coloured by mode' if run['modes'].sizes['mode'] > 1 else ''}: nearly all draws."
    if numbers.highest_mode(run) is not None:
        said.append("The dashed line is the highest mode (MAP).")
    if gone:
        said.append(f"Of {', '.join(gone[:8])} it lies outside the picture: it does not stand for these draws.")
    return " ".join([*said, highest(run)])


def plane(run: xr.DataTree) -> str:
    """What is drawn of a posterior of two numbers."""
    labels, draws, _ = zip(*numbers.numbers_of(run), strict=True)
    r = float(np.corrcoef([each.transpose(*SAMPLE).values.ravel() for each in draws])[0, 1])
    concludes = f"Over all draws their correlation is {r:.2f}." if np.isfinite(r) else "One of them does not vary."
    by = ", coloured by mode" if run["modes"].sizes["mode"] > 1 else ""
    return f"Draws of {' and '.join(labels)}{by}; the cross is the highest mode (MAP). {concludes}"


def evidences(run: xr.DataTree) -> str:
    """How the log evidences of the chains differ."""
    if numbers.why_no_evidence(run):
        return "What the chains say each is shown, to see how they differ; it is no estimate."
    up, down = (float(run["log_evidence"][name].mean()) for name in ("upwards", "downwards"))
    apart = rounded(abs(up - down), digits=2)
    return f"Upwards and downwards differ by {apart}: the less, the better do the rungs overlap."


def why_no_evidence(run: xr.DataTree) -> str:
    """The log evidence, or why it is withheld."""
    why = numbers.why_no_evidence(run)
    return f"The log evidence is withheld: {why}." if why else evidence(run)


def arrivals(run: xr.DataTree) -> str:
    """How many states came all the way, and what it cost."""
    told = run["tempering"].to_dataset()
    arrived = ", ".join(f"{int(count):,}" for count in told["arrivals"].values[:12])
    more = " (the first 12 chains)" if told.sizes["chain"] > 12 else ""
    return (
        f"States that came all the way from q, by chain: {arrived}{more}. The search and the ladder took "
        f"{float(told['evaluations']):,.0f} evaluations of the density with its gradient."
    )


def rungs(run: xr.DataTree) -> str:
    """Whether the rungs of the ladder overlap."""
    rejected, pareto = (float(run["tempering"][name].max()) for name in ("rejection", "pareto_k"))
    verdict, tail = read(run), "for Pareto k there is too little."
    if np.isfinite(pareto):
        heavy = "pareto_ok" in verdict and not bool(verdict["pareto_ok"])
        tail = (
            f"Pareto k is at most {pareto:.2f}{': too much for the evidence' if heavy else ', below its limit of 0.7'}."
        )
    return f"Of exchanges between neighbours at most {rejected:.0%} were rejected; {tail}"


# --------------------------------------------------------------------------------------------------------- calibration


def ranked(run: xr.DataTree) -> str:
    """How many true x were ranked, among draws of what."""
    verdict, draws, inverter = read(run), run.attrs.get("draws", "some"), run.attrs.get("inverter", "an inverter")
    count = f"{int(verdict['replicates']):,}" if "replicates" in verdict else "Some"
    return f"{count} true x were ranked, each among {draws} of what {inverter} gave for its o."
