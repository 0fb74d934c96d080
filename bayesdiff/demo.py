"""The article's step, shown: x ~ N(0, 1), o = x + 10 e, inverted by MAP and by posterior; and where the two differ.

    one o          MAP = o/101,  posterior N(o/101, 100/101)
    100 of them    the MAPs spread by sqrt(101)/101, the posterior draws by 1, as the prior does
    100,000        the same, without the doubt that 100 leave
    two modes      the MAP goes to the higher one, the draws go to each as often as they should

Everything is computed first and told afterwards: no sentence claims what its numbers do not say.
"""

from __future__ import annotations

import html
import importlib.resources
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import arviz_stats
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.gridspec import GridSpec
from rich.console import Console
from scipy.stats import norm

from bayesdiff.comparison import compare
from bayesdiff.compiled import CompiledPrior, compile_prior
from bayesdiff.inversion import find_map, sample_posterior
from bayesdiff.plots import plot_population, plot_step
from bayesdiff.report.files import write_whole
from bayesdiff.results import save, tree
from bayesdiff.version import __version__

SIGMA = 10.0
SPLIT = 1.0  # the density of the mixture is lowest here, between its modes at -2 and 2

Exact = Callable[..., Mapping[str, Any]]
Run = dict[str, xr.DataTree]


@dataclass(frozen=True)
class Figure:
    """A picture: ``file`` without suffix, what it shows (``alt``), and what to conclude (``caption``)."""

    file: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One step of the story, in its order: ``text`` (paragraphs), a ``table`` (numbers, as text), what follows."""

    title: str
    text: Sequence[str]
    table: pd.DataFrame
    conclusion: str
    figures: Sequence[Figure]


def demo(
    gaussian: tuple[pm.Model, Exact],
    mixture: tuple[pm.Model, Exact],
    out: Path,
    *,
    seed: int = 1,
    few: int = 100,
    many: int = 100_000,
    mixed: int = 400,
    draws: int = 500,
    console: Console | None = None,
) -> dict[str, Run]:
    """Invert the article's step and a mixture's, print what came out and write it to a folder.

    Parameters
    ----------
    gaussian, mixture : (pm.Model, callable)
        The article's prior, N(0, 1), and one with two modes on either side of 1, each with its
        ``exact(o, alpha, sigma)``.
    out : path
        The folder: ``index.html``, the figures, and the runs ``article.zarr`` (`few` observations),
        ``population.zarr`` (`many`) and ``mixture.zarr`` (`mixed`). What it holds under these names is replaced.
    seed : int
        The source of randomness.
    few, many, mixed, draws : int
        Observations of the first, second and third run; draws of each of four chains in the first and the third.
    console : rich.console.Console, optional
        Where to print.

    Returns
    -------
    dict of dict of DataTree
        The three runs, by name, each with the trees ``map`` and ``posterior``.

    Raises
    ------
    ValueError
        If `gaussian` is not the article's prior.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as prior:
    ...     x = pm.Normal("x", 0, 2)
    >>> exact = lambda o, alpha, sigma: {"mean": 4 * o / 104, "variance": 400 / 104}
    >>> demo((prior, exact), (prior, exact), "nowhere")
    Traceback (most recent call last):
    ValueError: the demo shows the article's prior, N(0, 1), ... got mean 3.88462 and variance 3.84615
    """
    check = gaussian[1](101.0, 1.0, SIGMA)
    if not np.allclose([check["mean"], check["variance"]], [1.0, 100 / 101]):
        raise ValueError(
            "the demo shows the article's prior, N(0, 1), where exact(101, 1, 10) is mean 1 and variance 0.990099; "
            f"got mean {check['mean']:.6g} and variance {check['variance']:.6g}"
        )
    out = Path(out)
    console = console or Console(highlight=False)
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    seeds = iter(int(value) for value in rng.integers(2**31, size=3))
    prior, two = compile_prior(gaussian[0]), compile_prior(mixture[0])
    o_few, o_many = (rng.normal(0.0, np.sqrt(1 + SIGMA**2), size) for size in (few, many))
    drawn = two.draws(mixed, rng)
    assert drawn is not None, "a mixture can be drawn"
    o_mixed = drawn[:, 0] + SIGMA * rng.normal(size=len(drawn))

    sections: list[Section] = []
    runs: dict[str, Run] = {}

    def invert(name: str, prior: CompiledPrior, o: np.ndarray, **sampling: int) -> float:
        """Keep and save a run before anything else is written: a folder left by Ctrl-C is known as a demo's."""
        runs[name], seconds = _invert(prior, o, next(seeds), **sampling)
        save(tree(runs[name], {"inference_library": "bayesdiff"}), out / f"{name}.zarr", overwrite=True)
        return seconds

    def tell(section: Section, seconds: float | None = None) -> None:
        sections.append(section)
        _print(console, len(sections), section, seconds)

    seconds = invert("article", prior, o_few, draws=draws)
    tell(_one(runs["article"], gaussian[1], out))
    tell(_several(runs["article"], out, "few", ", the one above is the first of them"), seconds)
    # A draw for each o, and a short warm-up: the step is so wide that nearly every jump to a draw of p0 is accepted.
    seconds = invert("population", prior, o_many, draws=1, tune=30, chains=1)
    tell(_several(runs["population"], out, "many"), seconds)
    seconds = invert("mixture", two, o_mixed, draws=draws)
    tell(_two_modes(runs["mixture"], mixture[1], out), seconds)

    write_whole(out / "index.html", _page(sections, seed))
    console.print(f"\nAll this took {time.perf_counter() - begun:.0f} s, compiling and drawing included.")
    return runs


def _invert(
    prior: CompiledPrior, o: np.ndarray, seed: int, draws: int, tune: int | None = None, chains: int = 4
) -> tuple[Run, float]:
    begun = time.perf_counter()
    run = {
        "map": find_map(prior, o, sigma=SIGMA, random_seed=seed, progressbar=False),
        "posterior": sample_posterior(
            prior, o, sigma=SIGMA, draws=draws, tune=tune or draws, chains=chains, random_seed=seed, progressbar=False
        ),
    }
    return run, time.perf_counter() - begun


# ----------------------------------------------------------------------------------------------------------- the story


def _one(run: Run, exact: Exact, out: Path) -> Section:
    """The first observation of the run."""
    name, o, _, all_draws = _numbers(run)
    o, draws = o[0], all_draws.isel(observation=0)
    mode, mean, error, sd = _first(compare(run["map"], run["posterior"])[name])
    answer = exact(o, 1.0, SIGMA)
    truth, spread = float(answer["mean"]), float(np.sqrt(answer["variance"]))
    sd_error = float(arviz_stats.mcse(draws, method="sd"))
    _write(plot_step(run["posterior"], run["map"], observation=0, backend="matplotlib"), out / "one")
    apart = abs(mode - mean) / sd
    return Section(
        "One o",
        [
            "The article's step: x ~ N(0, 1) is blurred to o = x + 10 e, with e ~ N(0, 1). "
            f"So o ~ N(0, 101). One o drawn from there: o = {o:.4f}.",
            "Bayes inverts it: p(x | o) is N(o/101, 100/101). Its mode, the MAP, is o/101, and so is its mean.",
        ],
        _table(
            ("computed", "exact", "Monte Carlo error"),
            {
                "MAP": (f"{mode:.6f}", f"{truth:.6f}", "none"),
                "posterior mean": _three(mean, truth, error),
                "posterior sd": _three(sd, spread, sd_error),
            },
        ),
        f"The MAP is o/101 to {_digits(abs(mode - truth))}. {_agreement('The posterior mean', mean, truth, error)} "
        f"For one o the two inversions put x {apart:.2f} posterior sd apart: the MAP is one number in the middle, "
        f"the posterior says how sure it is: mean ± 2 sd reaches from {mean - 2 * sd:.1f} to {mean + 2 * sd:.1f}.",
        [
            Figure(
                "one",
                f"Densities over x: a likelihood around o = {o:.1f} with sd {SIGMA:g}, the prior with sd 1, the "
                f"posterior with sd {sd:.2f}, and the MAP as a vertical line at {mode:.2f}.",
                f"The likelihood is {SIGMA / sd:.0f} times as wide as the posterior: such an o says little. The "
                f"posterior has sd {sd:.2f}, the prior 1, and the MAP lies at {mode:.2f}.",
            )
        ],
    )


def _several(run: Run, out: Path, file: str, those: str = "") -> Section:
    """How far the modes of all observations spread, and one draw of each posterior."""
    _, o, modes, all_draws = _numbers(run)
    draws = all_draws.isel(chain=0, draw=-1).values
    n = len(o)
    expected = np.sqrt(101) / 101
    sd_modes, sd_draws = modes.std(ddof=1), draws.std(ddof=1)
    _write(plot_population(run["map"], run["posterior"], backend="matplotlib"), out / file)
    return Section(
        f"{n:,} of them",
        [
            f"{n:,} o from N(0, 101){those}, each inverted both ways. An inversion that undoes the blur gives x "
            "that are spread as the prior is, by 1. The formula says that the MAPs, o/101, spread by sqrt(101)/101 = "
            f"{expected:.4f} instead: all of them near the mode of the prior.",
        ],
        _table(
            ("mean", "sd", "sd by the formula", "sampling error of the sd"),
            {
                label: tuple(f"{value:.4f}" for value in (values.mean(), sd, truth, truth / np.sqrt(2 * n)))
                for label, values, sd, truth in (
                    ("MAP of each o", modes, sd_modes, expected),
                    ("one posterior draw of each o", draws, sd_draws, 1.0),
                )
            }
            | {"the prior": ("0", "1", "1", "none")},
        ),
        f"The MAPs spread by {sd_modes:.3f}: {1 / sd_modes:.1f} times too little. They differ from o/101 by "
        f"{_digits(np.abs(modes - o / 101).max())} at most. "
        + _agreement("The spread of the posterior draws", sd_draws, 1.0, 1 / np.sqrt(2 * n)),
        [
            Figure(
                file,
                f"Two histograms of {n:,} x each, over the prior's density. The MAPs: a spike at {modes.mean():.1f}, "
                f"sd {sd_modes:.2g}. One draw of each posterior: sd {sd_draws:.2g}.",
                f"The MAPs have sd {sd_modes:.3f}: they are values near the mode of X, not draws of it. One draw of "
                f"each posterior: sd {sd_draws:.3f}, the prior's is 1.",
            )
        ],
    )


def _two_modes(run: Run, exact: Exact, out: Path) -> Section:
    """One observation of a prior with two modes, and the shares over all of them."""
    name, o, modes, draws = _numbers(run)
    compared = compare(run["map"], run["posterior"])
    mode, mean, error, sd = _first(compared[name])
    answer = exact(o, 1.0, SIGMA)
    high_exact = _above(answer)
    high_prior = _above(exact(0.0, 1.0, 1e9))  # so blurred that o says nothing: p0 itself
    above = draws > SPLIT
    high = above.mean(("chain", "draw")).values
    high_error = float(arviz_stats.mcse(above.isel(observation=0).astype(float)))
    one_draw = draws.isel(chain=0, draw=-1).values
    n = len(o)
    truth, spread = float(answer["mean"][0]), float(np.sqrt(answer["variance"][0]))
    by_map, by_draw = (modes > SPLIT).mean(), (one_draw > SPLIT).mean()
    by_draw_error = np.sqrt(high_prior * (1 - high_prior) / n)
    beaten = int((compared["lp"].sel(summary="quantile") < 1).sum())
    _write(plot_step(run["posterior"], run["map"], observation=0, backend="matplotlib"), out / "mixture-one")
    _write(plot_population(run["map"], run["posterior"], backend="matplotlib"), out / "mixture")
    side, held = ("above", high[0]) if mode > SPLIT else ("below", 1 - high[0])
    return Section(
        "Two modes: where the two differ",
        [
            f"A prior with a broad mode below {SPLIT:g} and a narrow, higher one above: {1 - high_prior:.0%} of x lie "
            f"below, {high_prior:.0%} above. It is blurred as before, o = x + 10 e. One o, drawn so: o = {o[0]:.4f}. "
            f"And {n:,} of them.",
        ],
        _table(
            ("MAP", "posterior", "exact posterior", "Monte Carlo error"),
            {
                "x, for one o (MAP, mean)": _three(mode, mean, truth, error),
                "its sd": ("", *_three(sd, spread), ""),
                f"share of x > {SPLIT:g}, for that o": (
                    f"{mode > SPLIT:d}",
                    *_three(high[0], high_exact[0], high_error),
                ),
                f"share of x > {SPLIT:g}, {n:,} o, one x each": _three(by_map, by_draw, high_prior, by_draw_error),
            },
        ),
        f"The MAP puts x at {mode:.2f}, in the mode {side} {SPLIT:g}, which holds {held:.0%} of the posterior. "
        f"{_agreement('The share that the draws give the mode above', high[0], high_exact[0], high_error)} "
        f"Over all {n:,} o, {by_map:.0%} of the MAPs lie above {SPLIT:g}, where {high_prior:.0%} of x are: MAP follows "
        f"the height of the density. Of the posterior draws {by_draw:.0%} do: they follow its mass. For each o alone, "
        f"the share is off by {np.abs(high - high_exact).max():.3f} at most. "
        + (
            f"In {beaten} of {n:,} cases a draw beat the MAP."
            if beaten
            else "No draw had a higher density than its MAP."
        ),
        [
            Figure(
                "mixture-one",
                f"Densities over x: prior and posterior with two modes, the MAP as a vertical line at {mode:.2f}.",
                f"One number cannot say that there are two modes, be it the MAP, {mode:.2f}, or the posterior mean, "
                f"{mean:.2f}. Draws can: {1 - high[0]:.0%} lie below {SPLIT:g}, {high[0]:.0%} above.",
            ),
            Figure(
                "mixture",
                f"Two histograms of {n:,} x each over the prior's density, which has two modes. The MAPs: "
                f"{by_map:.0%} in the narrow mode on the right. One draw of each posterior: {by_draw:.0%} there.",
                f"{by_map:.0%} of the MAPs are in the narrow mode. Of one draw of each posterior {by_draw:.0%} are, of "
                f"the prior {high_prior:.0%}.",
            ),
        ],
    )


def _numbers(run: Run) -> tuple[str, np.ndarray, np.ndarray, xr.DataArray]:
    """The name of the variable, o (observation,), the MAPs (observation,) and the draws (chain, draw, observation)."""
    modes, draws = (run[kind]["posterior"].to_dataset() for kind in ("map", "posterior"))
    [name] = map(str, modes.data_vars)
    return name, run["map"]["step/o"].to_dataset()[name].values, modes[name].values.ravel(), draws[name]


def _first(compared: xr.DataArray) -> list[float]:
    """Of the first observation: the MAP, the posterior mean, its Monte Carlo error, the posterior sd."""
    return compared.isel(observation=0).sel(summary=["mode", "mean", "mcse_mean", "sd"]).values.tolist()


def _above(answer: Mapping[str, Any]) -> Any:
    """The mass of a mixture above the split."""
    return np.sum(answer["shares"] * norm.sf(SPLIT, answer["means"], np.sqrt(answer["variances"])), axis=-1)


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _three(*values: float) -> list[str]:
    """Numbers with three decimals."""
    return [f"{value:.3f}" for value in values]


def _agreement(what: str, value: float, truth: float, error: float) -> str:
    """Say how far a value is from the truth, in Monte Carlo errors, and whether that is agreement."""
    off = abs(value - truth) / error
    verdict = "agrees with" if off <= 4 else "DOES NOT AGREE with"
    return f"{what} {verdict} the exact one: it is {off:.1f} Monte Carlo errors off."


def _digits(difference: float) -> str:
    return "the last digit" if difference == 0 else f"{difference:.0e}"


# ------------------------------------------------------------------------------------------------------------- figures


def _write(collection: Any, path: Path) -> None:
    """Write a figure as SVG, the same bytes for the same numbers; and for phones, its panels one above the other."""
    figure: MatplotlibFigure = collection.viz["figure"].item()
    figure.suptitle("")  # which observation of which batch: the page says it
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        grid = GridSpec(len(figure.axes), 1, figure=figure)
        for i, axes in enumerate(figure.axes):
            axes.set_subplotspec(grid[i, 0])
        figure.set_size_inches(3.6, 2.4 * len(figure.axes) + 0.8)
        figure.savefig(path.with_name(f"{path.name}-narrow.svg"), metadata={"Date": None})
    plt.close(figure)


# ----------------------------------------------------------------------------------------------- the terminal, the page


def _print(console: Console, number: int, section: Section, seconds: float | None) -> None:
    console.print(f"\n[bold]{number}. {section.title}[/bold]\n")
    for paragraph in section.text:
        console.print(paragraph)
    console.print(f"\n{section.table.to_string(line_width=console.width)}\n", soft_wrap=True)
    console.print(section.conclusion)
    if seconds is not None:
        console.print(f"({seconds:.1f} s, compiling included)")


def _page(sections: Sequence[Section], seed: int) -> str:
    """The story as a page that looks like a report."""
    look = importlib.resources.files("bayesdiff.report")
    body = "\n".join(_section(number, section) for number, section in enumerate(sections, 1))
    style = look.joinpath("page.css").read_text("utf-8")
    template = Template(look.joinpath("demo.html").read_text("utf-8"))
    return template.substitute(style=style, body=body, seed=seed, version=__version__)


def _section(number: int, section: Section) -> str:
    text = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in section.text)
    return f"""<h2>{number}. {html.escape(section.title)}</h2>
{text}
<div class="table">
{section.table.to_html(border=0)}
</div>
<p class="callout">{html.escape(section.conclusion)}</p>
{"".join(map(_figure, section.figures))}"""


def _figure(figure: Figure) -> str:
    return f"""<figure>
<div class="wide"><picture>
<source media="(max-width: 600px)" srcset="{figure.file}-narrow.svg">
<img src="{figure.file}.svg" alt="{html.escape(figure.alt)}">
</picture></div>
<figcaption>{html.escape(figure.caption)}</figcaption>
</figure>
"""
