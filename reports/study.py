"""What every study's script has in common: what its run was made on, and its command line."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from platform import machine, python_version
from typing import Any

PACKAGES = ("arviz", "bayesdiff", "jax", "matplotlib", "numpy", "pymc", "scipy", "xarray")


def made_on(begun: float) -> dict[str, Any]:
    """Attributes of a run: the versions, the machine, and the seconds since ``begun``, by ``time.perf_counter``."""
    return {
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
        "machine": machine(),
        "wall_time": time.perf_counter() - begun,
    }


def command_line(
    name: str,
    study: Callable[..., Any],
    quick: Mapping[str, Any],
    quick_says: str,
    argv: Sequence[str] | None = None,
    full: Mapping[str, Any] | None = None,
    arguments: Mapping[str, tuple[int, str]] | None = None,
) -> None:
    """Make the run that a page shows: ``study(out, **full)``, or with ``--quick`` ``study(out, **quick)``.

    ``arguments``: whole numbers that `study` takes as options of their own, by name: their default, and what they are.
    With ``--quick``, `quick` decides.
    """
    parser = argparse.ArgumentParser(description=f"Make the run that {name}.qmd shows.")
    parser.add_argument("--out", default=f"reports/{name}.zarr", help="where the run is saved")
    parser.add_argument("--quick", action="store_true", help=quick_says)
    for argument, (default, says) in (arguments or {}).items():
        parser.add_argument(f"--{argument}", type=int, default=default, help=f"{says} (default {default})")
    args = parser.parse_args(argv)
    begun = time.perf_counter()
    own = {argument: getattr(args, argument) for argument in arguments or {}}
    study(args.out, **(own | dict(quick if args.quick else full or {})), say=partial(print, flush=True))
    print(f"{args.out} in {time.perf_counter() - begun:.0f} s")
