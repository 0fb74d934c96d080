"""The command line: the article's step as a demonstration, and the same for anybody's own prior.

    bayesdiff demo                          the article, step by step, with a page that shows it
    bayesdiff report RUN.zarr               a page that shows a saved run
    bayesdiff run FILE.py --o 5 --sigma 10  p(x | o) of a prior of your own, by its mode and by its posterior
    bayesdiff sample FILE.py --out RUN.zarr draws, modes and evidence of a posterior where one chain gets stuck
    bayesdiff explore [FILE.py ...]         a page on which o and sigma are dragged, and p(x | o) moves
    bayesdiff kittens --out DIR             pictures of kittens, from inverting noise

PyMC, JAX and ArviZ cost seconds to import: only a command that computes does so.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from bayesdiff.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pymc as pm
    import xarray as xr

# A value of these options may start with a minus, which argparse takes for an option where a comma or an exponent
# follows.
NUMERIC = ("--o", "--alpha", "--sigma")
NEGATIVE = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)
MOST_ROWS = 20
# Typical cats: as the density has them, some drawings are of nothing that people would name.
STRENGTH = 3.0
SETTLE = 12  # moves at level 0, where the levels above are not p0 in noise
CLIMBS = 16  # of MAP steps, at each level: 64 pictures in a minute on two cores
WIDTH = 100  # of what is written to a file or a pipe

DEMO = """\
The article, step by step: x ~ N(0, 1) is blurred to o = x + 10 e, and inverted by MAP and by posterior, for one o, for
100, and for 100,000. Then a prior with two modes, where the two inversions differ. Prints the numbers, and writes them
with figures and the runs to a folder; open its index.html.
"""
RUN = """\
Invert one diffusion step, o | x ~ N(alpha x, sigma^2 I), for the prior that FILE.py defines:

    import pymc as pm

    def prior() -> pm.Model:
        with pm.Model() as model:
            pm.Normal("x")
        return model
"""
SAMPLE = """\
Draw from the posterior of the model that FILE.py defines, all its modes in their right weights, and compute its
evidence. Nothing is blurred here: observed data make the model a posterior, as for pm.sample.

    import pymc as pm

    def prior() -> pm.Model:
        with pm.Model() as model:
            x = pm.Normal("x", 0, 3)
            pm.Normal("y", x**2, 0.5, observed=4.0)
        return model

Continuous variables only, some 100 numbers at most.
"""
SAMPLE_EXAMPLE = """\
example:
  bayesdiff sample models/two_modes.py --out run.zarr --seed 1
  Prints the modes with their weights and the log evidence. A call that was stopped goes on by the same call, with the
  chains that were finished; --overwrite begins anew.
"""
EXPLORE = """\
Write a page on which o and sigma are dragged, and prior, likelihood, posterior, its mode and its draws move; and on
which a chain is followed level by level. One HTML file, which any browser opens: it needs no server and no network.
Each FILE.py defines a prior() of one unconstrained number, as for `bayesdiff run`.
"""
REPORT = """\
Write a report of a saved run as one page that needs no network: the model, what came out (both inversions beside each
other, the path from noise, or modes and evidence), and whether to trust it. Or run a Quarto document of your own and
write its page. Quarto does it where it is installed.
"""
KITTENS = """\
Draw kittens: from noise to pictures by small steps, each inverted with a network that tells noise levels apart as its
prior. Writes to DIR the pictures (kittens.png), the way of some from noise (path.png), that of all of them as an
animation (path.gif), and the run (run.zarr). A run that was stopped goes on where it was, by the same call.
"""
PROMPTS = """\
prompts:
  cat                  a word that the network knows
  cat and face         both: the densities of a cat and of a face, multiplied
  cat not dog          a cat rather than a dog
  Any word may stand alone; all words of the network are listed where one is not known.
"""
O_RULE = """\
the observation, --o:
  Noise acts on the unconstrained x (log x for a positive variable), so o has its shape and its units.
    --o 5.0                 one number
    --o 1,-2.5,3            numbers with commas between them. As many as x has: one observation; twice, three times as
                            many: so many observations, one after the other
    --o mu=1 --o z=0,0,1    by variable, where the prior has several
    --o FILE.npy            an array: of x's shape, or with one leading axis more for several observations
    --o z=FILE.npy          the same for one of several variables
    --o FILE.npz            one such array for each variable, under its name
    --o FILE.csv            one line for each observation, one column for each number in x. A first line of names (x, or
                            z[0], z[1], ...) is needed where there are several variables
"""


class Failure(Exception):
    """What the user can put right. It is printed as one line, without a traceback."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process, unless given.

    Returns
    -------
    int
        The exit status: 0; 2 for what the user can put right; 130 for Ctrl-C. Wrong arguments, ``--help`` and
        ``--version`` leave by SystemExit, as argparse does.

    Examples
    --------
    >>> main(["run", "no-such-file.py", "--o", "5", "--sigma", "10", "--out", "run.zarr"])  # an error, on stderr
    2
    """
    args = build_parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    try:
        with _short_warnings():
            args.command(args)
    except Failure as failure:
        print(f"bayesdiff {args.name}: error: {_one_line(failure)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:  # a call with a store says what is kept, and how to go on
        print(f"bayesdiff {args.name}: interrupted{'; ' * bool(str(error))}{error}", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    parser = Parser(
        prog="bayesdiff",
        description="Diffusion, one Bayesian step at a time: blur, then invert by mode and by posterior.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bayesdiff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name", required=True)
    style = argparse.RawDescriptionHelpFormatter

    demo = commands.add_parser(
        "demo", help="the article, step by step", description=DEMO, formatter_class=style, allow_abbrev=False
    )
    demo.set_defaults(command=demo_command)
    for name, what in (("gaussian", "the article's prior, N(0, 1)"), ("mixture", "the prior with two modes")):
        demo.add_argument(
            name, nargs="?", type=Path, default=Path("models", f"{name}.py"), metavar=f"{name.upper()}.py",
            help=f"{what}, with its exact() answer (default: models/{name}.py, in a clone)",
        )  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path("bayesdiff-demo"), metavar="DIR", help="default: bayesdiff-demo")
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo in DIR")
    demo.add_argument("--seed", type=_count(0), default=1, metavar="N", help="default: 1; the same seed, the same demo")

    run = commands.add_parser(
        "run",
        help="invert a step of your own prior",
        description=RUN,
        epilog=O_RULE,
        formatter_class=style,
        allow_abbrev=False,
    )
    run.set_defaults(command=run_command)
    run.add_argument("file", type=Path, metavar="FILE.py", help="defines prior() -> pm.Model")
    run.add_argument("--o", action="append", required=True, metavar="O", help="the noisier x: see below")
    run.add_argument("--sigma", type=_numbers, required=True, metavar="S", help="noise, > 0; a,b,... per observation")
    run.add_argument("--alpha", type=_numbers, default=[1.0], metavar="A", help="signal, default: 1; or one each")
    run.add_argument("--invert", choices=("map", "posterior", "both"), default="both", help="default: both")
    run.add_argument("--out", type=Path, required=True, metavar="RUN.zarr", help="where the run is saved (or RUN.nc)")
    run.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    for name, least, what in (
        ("draws", 1, "kept of each chain, default: 1000"),
        ("tune", 1, "sweeps before them, default: 1000"),
        ("chains", 1, "of each observation, default: 4"),
        ("seed", 0, "default: another one each time"),
    ):
        run.add_argument(f"--{name}", type=_count(least), metavar="N", help=what)
    run.add_argument("--no-progress", action="store_true", help="show no progress bar")

    sample = commands.add_parser(
        "sample",
        help="draws, modes and evidence where one chain gets stuck",
        description=SAMPLE,
        epilog=SAMPLE_EXAMPLE,
        formatter_class=style,
        allow_abbrev=False,
    )
    sample.set_defaults(command=sample_command)
    sample.add_argument("file", type=Path, metavar="FILE.py", help="defines prior() -> pm.Model")
    sample.add_argument("--out", type=Path, required=True, metavar="RUN.zarr", help="where it is saved (or RUN.nc)")
    sample.add_argument("--overwrite", action="store_true", help="begin anew, and replace a run that is there")
    for name, least, what in (
        ("draws", 1, "of each chain, default: 1000"),
        ("chains", 1, "default: 4; of one, nothing can be compared"),
        ("seed", 0, "default: another one each time"),
    ):
        sample.add_argument(f"--{name}", type=_count(least), metavar="N", help=what)
    sample.add_argument("--no-progress", action="store_true", help="show no progress bar")

    explore = commands.add_parser(
        "explore",
        help="a page on which o and sigma are dragged",
        description=EXPLORE,
        formatter_class=style,
        allow_abbrev=False,
    )
    explore.set_defaults(command=explore_command)
    explore.add_argument(
        "files", nargs="*", type=Path, metavar="FILE.py",
        help="defines prior() -> pm.Model (default: models/gaussian.py models/mixture.py, in a clone)",
    )  # fmt: skip
    explore.add_argument(
        "-o", "--out", type=Path, default=Path("explore.html"), metavar="PAGE.html", help="default: explore.html"
    )
    explore.add_argument(
        "--seed", type=_count(0), default=1, metavar="N", help="default: 1; the same seed, the same page"
    )
    explore.add_argument("--overwrite", action="store_true", help="replace a file that is not a page of bayesdiff")
    explore.add_argument("--no-progress", action="store_true", help="show no progress bar")

    report = commands.add_parser(
        "report",
        help="a page that shows a saved run",
        description=REPORT,
        formatter_class=style,
        allow_abbrev=False,
    )
    report.set_defaults(command=report_command)
    report.add_argument("source", type=Path, metavar="RUN.zarr|FILE.qmd", help="a saved run, or a Quarto document")
    report.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="a page (.html), or of a run its source (.qmd); default: as RUN, .html",
    )
    report.add_argument("--title", metavar="TEXT", help="of a run's report; default: what was inverted, and how")
    report.add_argument("--overwrite", action="store_true", help="replace a file that is not a page of bayesdiff")

    # Not listed: it has left the package. Its prefix is none that anybody types, so that all that follows is taken.
    data = commands.add_parser("data", add_help=False, prefix_chars="\0")
    data.add_argument("rest", nargs="*")
    data.set_defaults(command=data_command)

    kittens = commands.add_parser(
        "kittens",
        help="pictures of kittens, from inverting noise",
        description=KITTENS,
        epilog=PROMPTS,
        formatter_class=style,
        allow_abbrev=False,
    )
    kittens.set_defaults(command=kittens_command)
    kittens.add_argument("--prompt", default="cat", metavar="WORDS", help="default: cat; see below")
    kittens.add_argument("-n", type=_count(1), default=64, metavar="N", help="how many, default: 64")
    kittens.add_argument(
        "--invert",
        choices=("map", "posterior"),
        default="posterior",
        help="each step by its mode or by a draw (default)",
    )
    kittens.add_argument(
        "--strength",
        type=_strength,
        default=STRENGTH,
        metavar="S",
        help=f"of the words: 1 is the density that was learned, more is more typical, default: {STRENGTH:g}",
    )
    kittens.add_argument("--levels", type=_count(2), default=24, metavar="K", help="steps, default: 24")
    kittens.add_argument("--network", type=Path, metavar="FILE.npz", help="default: the one that comes with bayesdiff")
    kittens.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder for what is written")
    kittens.add_argument(
        "--seed", type=_count(0), default=1, metavar="N", help="default: 1; the same seed, the same ones"
    )
    kittens.add_argument("--no-progress", action="store_true", help="show no progress bar")
    return parser


def _joined(argv: Sequence[str]) -> list[str]:
    """Write ``--o -3,4`` as ``--o=-3,4``."""
    args: list[str] = []
    for arg in argv:
        if args and args[-1] in NUMERIC and NEGATIVE.match(arg):
            args[-1] += f"={arg}"
        else:
            args.append(arg)
    return args


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {least}")
        return number

    return read


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, nor numbers with commas between them") from None


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number > 0")
    return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Print a warning as one line on stderr, without the line of code that gave it."""

    def show(message: Warning | str, *details: Any, **more: Any) -> None:
        print(f"bayesdiff: warning: {' '.join(str(message).split())}", file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _refusals(where: str = "") -> Iterator[None]:
    """Report what this package refuses in one line. An error from anywhere else keeps its traceback: it is a bug."""
    try:
        yield
    except MemoryError as error:
        raise Failure(f"this takes more memory than there is: {error}; ask for less") from error
    except (TypeError, ValueError, RuntimeError, ImportError, OSError) as error:
        *_, innermost = traceback.extract_tb(error.__traceback__)
        if Path(__file__).parent not in Path(innermost.filename).parents and not isinstance(error, OSError):
            raise
        raise Failure(f"{where}: {error}" if where else str(error)) from error


# ---------------------------------------------------------------------------------------------------------------- demo


def demo_command(args: argparse.Namespace) -> None:
    """Show the article, step by step."""
    for path in (args.gaussian, args.mixture):
        if not path.is_file():
            raise Failure(
                f"there is no {path}: the demo shows priors of the repository. Run `make demo` in a clone, or name the "
                "files: bayesdiff demo GAUSSIAN.py MIXTURE.py"
            )
    out = args.out
    if out.exists() and not out.is_dir():
        raise Failure(f"{out} is a file; choose another --out")
    if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        if not (out / "article.zarr").exists():
            raise Failure(f"{out} holds something else than a demo; choose another --out")
        if not args.overwrite:
            raise Failure(f"{out} exists; write --overwrite to replace it, or choose another --out")
    gaussian, mixture = _with_exact(args.gaussian), _with_exact(args.mixture)
    from bayesdiff.demo import demo

    with _refusals():
        demo(gaussian, mixture, out, seed=args.seed, console=_console())
    print(f"\nOpen {out / 'index.html'}")


def _with_exact(path: Path) -> tuple[pm.Model, Callable[..., Mapping[str, Any]]]:
    with user_module(path) as module:
        if not callable(getattr(module, "exact", None)):
            raise Failure(f"{path} has no function `exact`, which the demo compares with")
        return call_prior(module, path), module.exact


# ----------------------------------------------------------------------------------------------------------------- run


def run_command(args: argparse.Namespace) -> None:
    """Invert one step of the prior in a file, print the answer and save it."""
    by_map, by_posterior = args.invert != "posterior", args.invert != "map"
    sampling = {name: getattr(args, name) for name in ("draws", "tune", "chains") if getattr(args, name) is not None}
    if sampling and not by_posterior:
        raise Failure(f"--{next(iter(sampling))} needs --invert posterior or both: a MAP has no draws")
    _check_out(args.out, args.overwrite)
    given = [_read_o(text) for text in args.o]
    model = _model_of(args.file)

    from bayesdiff.compiled import compile_prior
    from bayesdiff.inversion import find_map, sample_posterior
    from bayesdiff.results import save, tree
    from bayesdiff.step import Layout, layout, read_noise

    with _refusals():
        where: Layout = layout(model)
        o = _observation(given, where)
        flat, batched = where.read(o)
        alpha, sigma = (value[0] if len(value) == 1 else value for value in (args.alpha, args.sigma))
        read_noise(alpha, sigma, len(flat) if batched else None)
        options = {"random_seed": args.seed, "progressbar": not args.no_progress and sys.stderr.isatty()}
        prior = compile_prior(model)
        trees = {}
        if by_map:
            trees["map"] = find_map(prior, o, alpha, sigma, **options)
        if by_posterior:
            trees["posterior"] = sample_posterior(prior, o, alpha, sigma, **sampling, **options)
        attrs = {"inference_library": "bayesdiff", "inference_library_version": __version__, "model": args.file.name}
        saved = save(tree(trees, attrs), args.out, overwrite=args.overwrite)
    show(trees)
    print(f'Saved in {saved}. In Python: bayesdiff.load("{saved}")')


def _model_of(path: Path) -> pm.Model:
    if not path.is_file():
        raise Failure(f"there is no file {path}")
    with user_module(path) as module:
        return call_prior(module, path)


def _check_out(path: Path, overwrite: bool) -> None:
    """Refuse, before anything is computed, a path that the run could not be saved to."""
    from bayesdiff.results import check_target

    with _refusals():
        check_target(path, overwrite)


# -------------------------------------------------------------------------------------------------------------- sample


def sample_command(args: argparse.Namespace) -> None:
    """Draw from the posterior of the model in a file, print its modes and evidence, and save the run."""
    _check_out(args.out, args.overwrite)
    model = _model_of(args.file)

    from bayesdiff.multimodal.sampling import sample
    from bayesdiff.results import levels_folder, save

    sampling = {name: getattr(args, name) for name in ("draws", "chains") if getattr(args, name) is not None}
    kept = levels_folder(args.out)
    with _refusals():
        run = sample(
            model,
            **sampling,
            random_seed=args.seed,
            progressbar=not args.no_progress and sys.stderr.isatty(),
            # A store holds on to the call that is there, and --overwrite is for another one.
            store=None if args.overwrite else args.out,
        )
        run.attrs |= {"model": args.file.name}  # what `sample` was not told, and a report should say
        saved = save(run, args.out, overwrite=True)
    if args.overwrite:
        shutil.rmtree(kept, ignore_errors=True)  # of a call that was stopped
    _show_sample(run)
    print(f'Saved in {saved}. In Python: bayesdiff.load("{saved}")')


def _show_sample(run: xr.DataTree) -> None:
    """Print the modes of a posterior, heaviest first, its evidence, and what they cost."""
    import numpy as np

    modes, found = run["modes"].to_dataset(), run["log_evidence"]
    if modes.sizes["mode"]:
        rows = np.stack([modes[name].values[:MOST_ROWS] for name in ("weight", "weight_se", "lp")], axis=1)
        formats = ["{:.4f}".format, "{:.4f}".format, "{:.2f}".format]
        print("\nModes, heaviest first: weight, its standard error, and log density\n")
        _print_table(rows, None, ["weight", "+-", "log p"], formatters=formats)
        if modes.sizes["mode"] > MOST_ROWS:
            print(f"... and {modes.sizes['mode'] - MOST_ROWS:,} modes more, in the saved run")
    else:
        print("\nNo mode was found.")
    value, se = found["log_evidence"].item(), found["log_evidence_se"].item()
    said = f"{value:.3f} +- {se:.3f}" if value == value else "withheld, see the warning"
    print(f"log evidence  {said}")
    print(f"evaluations   {run['tempering']['evaluations'].item():,.0f} of log p and its gradient")
    print(f"seconds       {run.attrs['sampling_time']:.1f}")


# ------------------------------------------------------------------------------------------------------------- explore


def report_command(args: argparse.Namespace) -> None:
    """Write the page of a saved run, or of a Quarto document."""
    out = args.out or Path(args.source.with_suffix(".html").name)
    with _refusals():
        if args.source.suffix == ".qmd":
            if args.title is not None:
                raise Failure("--title is for the report of a run; write title: into the front matter of a .qmd")
            from bayesdiff.report.render import render

            written = render(args.source, out, overwrite=args.overwrite)
        else:
            from bayesdiff.report.write import write_report

            written = write_report(args.source, out, title=args.title, overwrite=args.overwrite)
    print(f"Wrote {written}")


def explore_command(args: argparse.Namespace) -> None:
    """Write the interactive page of one or more priors."""
    files = args.files or [Path("models", f"{name}.py") for name in ("gaussian", "mixture")]
    for path in files:
        if not path.is_file():
            hint = "" if args.files else ": name a prior of yours, as bayesdiff explore FILE.py, or run this in a clone"
            raise Failure(f"there is no file {path}{hint}")
    from bayesdiff.report.files import check_place, write_whole

    with _refusals():
        check_place(args.out, args.overwrite)
    from bayesdiff.explore import explore, page

    seen = []
    for path in files:
        with user_module(path) as module:
            model = call_prior(module, path)
            about = (module.__doc__ or "").strip().partition("\n")[0]
        with _refusals(str(path)):
            found = explore(model, random_seed=args.seed, progressbar=not args.no_progress and sys.stderr.isatty())
        seen.append({"title": path.stem, "about": about, **found})
    with _refusals():
        write_whole(args.out, page(seen, seed=args.seed))
    print(f"Open {args.out} in a browser.")


# ---------------------------------------------------------------------------------------------------------------- data


def data_command(args: argparse.Namespace) -> None:
    """Say where this has gone."""
    raise Failure(
        "pictures are fetched by a script of the repository now: run `python models/pictures/data.py "
        f"{' '.join(args.rest) or 'quickdraw'}` in a clone"
    )


# ------------------------------------------------------------------------------------------------------------- kittens


def kittens_command(args: argparse.Namespace) -> None:
    """Bring pictures from noise, and write them with their way."""
    from bayesdiff.results import levels_folder, save

    out, store = args.out, args.out / "run.zarr"
    for folder in (out, *out.parents):
        if folder.exists() and not folder.is_dir():
            raise Failure(f"{folder} is a file; choose another --out")
    ours = [store, levels_folder(store)]
    if out.exists() and any(out.iterdir()) and not any(path.exists() for path in ours):
        raise Failure(f"{out} holds something else than kittens; choose another --out")
    from bayesdiff.images.networks import load_network, quickdraw_network
    from bayesdiff.images.priors import classifier_prior, diffused, noise, picture_schedule

    with _refusals():
        network = quickdraw_network() if args.network is None else load_network(args.network)
        if len(network.shape) != 3:
            raise Failure(f"{args.network} is a network of vectors, not of pictures")
        schedule = picture_schedule(args.levels)
        model = classifier_prior(network, args.prompt, schedule, strength=args.strength)
    from bayesdiff.chain import reverse
    from bayesdiff.compiled import compile_prior
    from bayesdiff.images import inverters
    from bayesdiff.pictures import animate_pictures, pictures_of, save_pictures, strip

    exact = diffused(args.prompt, network.words, args.strength)
    draw = inverters.draw if exact else partial(inverters.draw, settle=SETTLE)
    invert = partial(inverters.mode, climbs=CLIMBS) if args.invert == "map" else draw
    if store.exists():
        _check_same_kittens(args, store)
    with _refusals():
        prior = compile_prior(model)
        o = noise(prior, args.n, random_seed=args.seed)
        out.mkdir(parents=True, exist_ok=True)
        run = reverse(
            prior,
            schedule,
            invert,
            o=o,
            draws=args.n,
            chains=1,
            path=True,
            random_seed=args.seed,
            store=store,
            progressbar=not args.no_progress and sys.stderr.isatty(),
        )
        if "prompt" not in run.attrs:  # what `reverse` was not told, and a report should say
            about = {name: network.made[name] for name in ("command", "data", "sha256", "seed") if name in network.made}
            run.attrs |= {"prompt": args.prompt, "strength": args.strength, "network": about}
            save(run, store, overwrite=True)
        steps = 9
        written = [
            save_pictures(pictures_of(run), out / "kittens.png"),
            save_pictures(strip(run, pictures=8, steps=steps), out / "path.png", columns=min(steps, args.levels + 1)),
            animate_pictures(run, out / "path.gif"),
        ]
    print("\n".join(f"Wrote {path}" for path in [*written, store]))


def _check_same_kittens(args: argparse.Namespace, store: Path) -> None:
    """Say in the words of this command what differs from the run that is there. `reverse` sees the rest."""
    from bayesdiff.results import load

    try:
        there = load(store, in_memory=False).attrs
    except Exception:  # damaged, or another's: `reverse` looks closely, and says what it is
        return
    here = {"prompt": args.prompt, "strength": args.strength, "draws": args.n, "seed": args.seed}
    option = {"prompt": "--prompt", "strength": "--strength", "draws": "-n", "seed": "--seed"}
    for name, value in here.items():
        if name in there and there[name] != value:
            raise Failure(
                f"{args.out} holds kittens of another call: {option[name]} was {there[name]} there and is {value} "
                "here; choose another --out"
            )


# --------------------------------------------------------------------------------------------------------- user's files


@contextmanager
def user_module(path: Path) -> Iterator[ModuleType]:
    """Run a user's file, which may import others beside it.

    Raises
    ------
    Failure
        If it is no Python file or raises: the exception, and the line of the file.
    """
    spec = importlib.util.spec_from_file_location(f"bayesdiff_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Failure(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    beside = str(path.resolve().parent)
    sys.path.append(beside)  # last: a file beside it that is called random.py must not hide Python's own
    sys.modules[spec.name] = module
    try:
        with _user_errors(path, "it"):
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(beside)
        del sys.modules[spec.name]


def call_prior(module: ModuleType, path: Path) -> pm.Model:
    """Build the model that a user's file defines.

    Raises
    ------
    Failure
        If there is no ``prior``, it raises, or what it returns is no model.
    """
    import pymc as pm

    prior = getattr(module, "prior", None)
    if not callable(prior):
        raise Failure(f"{path} has no function `prior`; write `def prior() -> pm.Model: ...`")
    with _user_errors(path, "prior()"):
        model = prior()
    if not isinstance(model, pm.Model):
        raise Failure(f"prior() of {path} returned {type(model).__name__}; it must return a pm.Model")
    return model


@contextmanager
def _user_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
            lines, message = [error.lineno], error.msg
        else:
            message = _one_line(error)
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise Failure(f"{where}: {what} raised {type(error).__name__}: {message}") from error


def _read_o(text: str) -> tuple[str | None, Any]:
    """Read one ``--o``: the name of its variable, if it has one, and its numbers (a list), or what its file holds."""
    import numpy as np

    name, equals, value = text.partition("=")
    if not equals:
        name, value = "", text
    suffix = Path(value).suffix.lower()
    if suffix not in (".npy", ".npz", ".csv"):
        try:
            return name or None, _numbers(value)
        except argparse.ArgumentTypeError as error:
            raise Failure(f"--o {text}: {error}, nor a file that ends in .npy, .npz or .csv") from None
    if name and suffix != ".npy":
        raise Failure(f"--o {text}: a {suffix} file names its variables itself; write --o {value}")
    if not Path(value).is_file():
        raise Failure(f"--o {text}: there is no file {value}")
    try:
        if suffix == ".csv":
            return None, _read_csv(Path(value))
        loaded = np.load(value)  # never pickles: they can run code
        return name or None, dict(loaded) if suffix == ".npz" else loaded
    except (ValueError, OSError, EOFError) as error:
        raise Failure(f"--o {text}: {value} cannot be read: {_one_line(error)}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Read the numbers of a CSV file. A first line that holds more than numbers names the columns."""
    import numpy as np
    import pandas as pd

    try:
        # As text, blank lines included: what is no number is told as it stands there, with its line.
        as_text = {"header": None, "dtype": str, "keep_default_na": False, "skip_blank_lines": False}
        cells = pd.read_csv(path, **as_text, engine="python", encoding="utf-8-sig").fillna("")
    except pd.errors.EmptyDataError:
        cells = pd.DataFrame()
    except pd.errors.ParserError as error:
        raise ValueError(f"{_one_line(error)}; write one number for each column into each line") from error
    cells = cells.map(str.strip)
    cells = cells[(cells != "").any(axis=1)]
    good = cells.map(_is_number)
    if len(good) and not good.iloc[0].all():
        cells, good = cells.iloc[1:].set_axis(cells.iloc[0].tolist(), axis=1), good.iloc[1:]
    if not cells.size:
        raise ValueError("it has no line of numbers")
    for row, column in np.argwhere(~good)[:1]:
        cell = cells.iat[row, column]
        raise ValueError(f"line {cells.index[row] + 1} has {cell!r} in column {column + 1}, which is no number")
    return cells.map(float)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _observation(given: Sequence[tuple[str | None, Any]], where: Any) -> Any:
    """Put what ``--o`` gave together: an array, or a mapping from the variables' names."""
    import pandas as pd

    named = {name: value for name, value in given if name is not None}
    if len(given) > 1 and len(named) < len(given):
        raise Failure("several --o must each name another variable: --o mu=1 --o z=0,0,1")
    if not named:
        value = given[0][1]
        if isinstance(value, pd.DataFrame):
            return _columns(value, where)
        if isinstance(value, list):
            if len(where.names) > 1:
                raise Failure(
                    f"the prior has {len(where.names)} variables; write one --o for each: "
                    + " ".join(f"--o {name}=..." for name in where.names)
                )
            return _shaped(value, where.names[0], where)
        return value
    return {
        name: _shaped(value, name, where) if isinstance(value, list) and name in where.names else value
        for name, value in named.items()
    }


def _shaped(numbers: list[float], name: str, where: Any) -> np.ndarray:
    """Give numbers the shape of a variable, or of several observations of it."""
    import numpy as np

    shape = where.shapes[where.names.index(name)]
    size = where.sizes[where.names.index(name)]
    if size == 0 or len(numbers) % size:
        raise Failure(
            f"--o gives {name} {len(numbers)} numbers, its unconstrained shape {shape} takes {size}: write {size} for "
            f"one observation, {2 * size} for two, and so on"
        )
    return np.array(numbers).reshape(shape if len(numbers) == size else (-1, *shape))


def _columns(table: pd.DataFrame, where: Any) -> Mapping[str, np.ndarray]:
    """Sort the columns of a CSV file into the variables."""
    names, labels = table.columns.tolist(), where.labels
    if names == list(range(len(names))):  # counted: the file has no names
        if len(where.names) > 1:
            raise Failure(f"the first line of the .csv must name its columns: {_some(labels)}")
        if len(names) != len(labels):
            raise Failure(f"the .csv has {len(names)} columns, x has {len(labels)}: {_some(labels)}")
        table.columns = labels
    elif sorted(names) != sorted(labels):
        raise Failure(f"the .csv has the columns {_some(names)}; the prior needs {_some(labels)}")
    parts: Mapping[str, np.ndarray] = where.split(table[list(labels)].to_numpy())
    return parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


# -------------------------------------------------------------------------------------------------------------- tables


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=WIDTH)


def show(trees: Mapping[str, xr.DataTree]) -> None:
    """Print a run: MAP beside posterior, or what there is of it."""
    if len(trees) == 2:
        from bayesdiff.comparison import SUMMARY, compare

        with _refusals():
            ds = compare(trees["map"], trees["posterior"])
        columns, last, total = list(SUMMARY), "summary", _count_of(ds, "summary")
        title = "MAP beside posterior (offset and laplace_ratio in unconstrained coordinates)"
    elif "map" in trees:
        ds = trees["map"]["modes"].to_dataset()
        ds = ds[["lp", "starts", *(name for name in ds.data_vars if name not in ("lp", "starts"))]]
        columns, last = [f"mode {i + 1}" for i in range(ds.sizes["mode"])], "mode"
        total = _count_of(ds, "mode")
        title = "Modes, best first: log density, starts that ended there, and x"
    else:
        draws = trees["posterior"]["posterior"].to_dataset()
        ds, columns = _summary(draws)
        last, total, title = "summary", _count_of(draws, "chain", "draw"), "Posterior"
    rows = list(itertools.islice(_rows(ds, last), MOST_ROWS))
    print(f"\n{title}\n")
    _print_table([row for _, row in rows], [label for label, _ in rows], columns, float_format="{:.4g}".format)
    if total > len(rows):
        print(f"... and {total - len(rows):,} rows more, in the saved run")


def _count_of(ds: xr.Dataset, *without: str) -> int:
    """How many numbers there are, not counting along some dimensions."""
    return sum(values.isel(dict.fromkeys(without, 0)).size for values in ds.values())


def _summary(draws: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """ArviZ's summary, of the first observations if there are many."""
    import arviz as az

    if "observation" in draws.dims:
        draws = draws.isel(observation=slice(MOST_ROWS))
    ds = az.summary(draws, fmt="xarray", round_to="none")
    keep = [name for name in ds["summary"].values.tolist() if name not in ("ess_tail", "mcse_sd")]
    return ds.sel(summary=keep), keep


def _rows(ds: xr.Dataset, last: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each number's label and what is told of it, along the dimension `last`; observation by observation."""
    import numpy as np

    batch = ds.sizes.get("observation")
    for observation in range(1 if batch is None else batch):
        at = ds if batch is None else ds.isel(observation=observation)
        said = "" if batch is None else f" at observation {observation}"
        for name, values in at.items():
            dims = [dim for dim in values.dims if dim != last]
            told = values.transpose(*dims, last)
            for index in np.ndindex(told.shape[:-1]):
                labels = [str(told[dim].values[i]) for dim, i in zip(dims, index, strict=True)]
                yield (f"{name}[{', '.join(labels)}]" if labels else str(name)) + said, told.values[index]


def _print_table(rows: Any, labels: Sequence[str] | None, columns: Sequence[str], **formats: Any) -> None:
    import pandas as pd

    width = shutil.get_terminal_size((WIDTH, 0)).columns
    print(pd.DataFrame(rows, labels, columns).to_string(na_rep="", line_width=width, **formats), end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
