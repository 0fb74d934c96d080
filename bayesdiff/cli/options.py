"""The commands and their options, as argparse has them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bayesdiff.cli import commands
from bayesdiff.cli.files import numbers
from bayesdiff.version import __version__


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    parser = Parser(
        prog="bayesdiff",
        description="Diffusion, one Bayesian step at a time: blur, then invert by mode and by posterior.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bayesdiff {__version__}")
    under = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name", required=True)

    def command(run: Callable[[argparse.Namespace], None], what: str, epilog: str | None = None) -> Any:
        made = under.add_parser(
            run.__name__, help=what, description=inspect.getdoc(run), epilog=epilog, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(command=run)
        return made

    _demo(command(commands.demo, "the article, step by step"))
    _run(command(commands.run, "invert a step of your own prior", inspect.cleandoc("""
        the observation, --o:
          Noise acts on the unconstrained x (log x for a positive variable), so o has its shape and its units.
            --o 5.0                 one number
            --o 1,-2.5,3            numbers with commas between them. As many as x has: one observation; twice, three
                                    times as many: so many observations, one after the other
            --o mu=1 --o z=0,0,1    by variable, where the prior has several
            --o FILE.npy            an array: of x's shape, or with one leading axis more for several observations
            --o z=FILE.npy          the same for one of several variables
            --o FILE.npz            one such array for each variable, under its name
            --o FILE.csv            one line for each observation, one column for each number in x. A first line of
                                    names (x, or z[0], z[1], ...) is needed where there are several variables
        """)))  # fmt: skip
    _sample(command(commands.sample, "draws, modes and evidence where one chain gets stuck", inspect.cleandoc("""
        example:
          bayesdiff sample models/two_modes.py --out run.zarr --seed 1
          Prints the modes with their weights and the log evidence. A call that was stopped goes on by the same call,
          with the chains that were finished; --overwrite begins anew.
        """)))  # fmt: skip
    _explore(command(commands.explore, "a page on which o and sigma are dragged"))
    _report(command(commands.report, "a page that shows a saved run"))
    # Not listed: it has left the package. Its prefix is none that anybody types, so that all that follows is taken.
    data = under.add_parser("data", add_help=False, prefix_chars="\0")
    data.add_argument("rest", nargs="*")
    data.set_defaults(command=commands.data)
    _kittens(command(commands.kittens, "pictures of kittens, from inverting noise", inspect.cleandoc("""
        prompts:
          cat                  a word that the network knows
          cat and face         both: the densities of a cat and of a face, multiplied
          cat not dog          a cat rather than a dog
          Any word may stand alone; all words of the network are listed where one is not known.
        """)))  # fmt: skip
    return parser


def _demo(demo: argparse.ArgumentParser) -> None:
    for name, what in (("gaussian", "the article's prior, N(0, 1)"), ("mixture", "the prior with two modes")):
        demo.add_argument(
            name, nargs="?", type=Path, default=Path("models", f"{name}.py"), metavar=f"{name.upper()}.py",
            help=f"{what}, with its exact() answer (default: models/{name}.py, in a clone)",
        )  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path("bayesdiff-demo"), metavar="DIR", help="default: bayesdiff-demo")
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo in DIR")
    _counts(demo, seed=(0, "default: 1; the same seed, the same demo", 1))


def _run(run: argparse.ArgumentParser) -> None:
    run.add_argument("file", type=Path, metavar="FILE.py", help="defines prior() -> pm.Model")
    run.add_argument("--o", action="append", required=True, metavar="O", help="the noisier x: see below")
    run.add_argument("--sigma", type=numbers, required=True, metavar="S", help="noise, > 0; a,b,... per observation")
    run.add_argument("--alpha", type=numbers, default=[1.0], metavar="A", help="signal, default: 1; or one each")
    run.add_argument("--invert", choices=("map", "posterior", "both"), default="both", help="default: both")
    run.add_argument("--out", type=Path, required=True, metavar="RUN.zarr", help="where the run is saved (or RUN.nc)")
    run.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    _counts(
        run,
        draws=(1, "kept of each chain, default: 1000"),
        tune=(1, "sweeps before them, default: 1000"),
        chains=(1, "of each observation, default: 4"),
        seed=(0, "default: another one each time"),
    )
    _progress(run)


def _sample(sample: argparse.ArgumentParser) -> None:
    sample.add_argument("file", type=Path, metavar="FILE.py", help="defines prior() -> pm.Model")
    sample.add_argument("--out", type=Path, required=True, metavar="RUN.zarr", help="where it is saved (or RUN.nc)")
    sample.add_argument("--overwrite", action="store_true", help="begin anew, and replace a run that is there")
    _counts(
        sample,
        draws=(1, "of each chain, default: 1000"),
        chains=(1, "default: 4; of one, nothing can be compared"),
        seed=(0, "default: another one each time"),
    )
    _progress(sample)


def _explore(explore: argparse.ArgumentParser) -> None:
    explore.add_argument(
        "files", nargs="*", type=Path, metavar="FILE.py",
        help="defines prior() -> pm.Model (default: models/gaussian.py models/mixture.py, in a clone)",
    )  # fmt: skip
    page = Path("explore.html")
    explore.add_argument("-o", "--out", type=Path, default=page, metavar="PAGE.html", help=f"default: {page}")
    _counts(explore, seed=(0, "default: 1; the same seed, the same page", 1))
    explore.add_argument("--overwrite", action="store_true", help="replace a file that is not a page of bayesdiff")
    _progress(explore)


def _report(report: argparse.ArgumentParser) -> None:
    report.add_argument("source", type=Path, metavar="RUN.zarr|FILE.qmd", help="a saved run, or a Quarto document")
    where = "a page (.html), or of a run its source (.qmd); default: as RUN, .html"
    report.add_argument("-o", "--out", type=Path, metavar="OUT", help=where)
    report.add_argument("--title", metavar="TEXT", help="of a run's report; default: what was inverted, and how")
    report.add_argument("--overwrite", action="store_true", help="replace a file that is not a page of bayesdiff")


def _kittens(kittens: argparse.ArgumentParser) -> None:
    kittens.add_argument("--prompt", default="cat", metavar="WORDS", help="default: cat; see below")
    kittens.add_argument("-n", type=_count(1), default=64, metavar="N", help="how many, default: 64")
    how = "each step by its mode or by a draw (default)"
    kittens.add_argument("--invert", choices=("map", "posterior"), default="posterior", help=how)
    # Typical cats: as the density has them, some drawings are of nothing that people would name.
    strength = "of the words: 1 is the density that was learned, more is more typical, default: 3"
    kittens.add_argument("--strength", type=_strength, default=3.0, metavar="S", help=strength)
    kittens.add_argument("--levels", type=_count(2), default=24, metavar="K", help="steps, default: 24")
    kittens.add_argument("--network", type=Path, metavar="FILE.npz", help="default: the one that comes with bayesdiff")
    kittens.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder for what is written")
    _counts(kittens, seed=(0, "default: 1; the same seed, the same ones", 1))
    _progress(kittens)


def _counts(parser: argparse.ArgumentParser, **options: tuple[int, str] | tuple[int, str, int]) -> None:
    """Options that are whole numbers: the least one, what it is, and the default if there is one."""
    for name, (least, what, *default) in options.items():
        parser.add_argument(f"--{name}", type=_count(least), metavar="N", help=what, default=next(iter(default), None))


def _progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def joined(argv: Sequence[str]) -> list[str]:
    """Write ``--o -3,4`` as ``--o=-3,4``."""
    # Which argparse takes for an option where a comma or an exponent follows.
    negative = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)
    args: list[str] = []
    for arg in argv:
        if args and args[-1] in ("--o", "--alpha", "--sigma") and negative.match(arg):
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


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number > 0")
    return value
