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

import sys
from collections.abc import Sequence

from bayesdiff.cli.options import build_parser, joined
from bayesdiff.cli.refusals import Failure, one_line, short_warnings


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
    args = build_parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    try:
        with short_warnings():
            args.command(args)
    except Failure as failure:
        print(f"bayesdiff {args.name}: error: {one_line(failure)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:  # a call with a store says what is kept, and how to go on
        print(f"bayesdiff {args.name}: interrupted{'; ' * bool(str(error))}{error}", file=sys.stderr)
        return 130
    return 0
