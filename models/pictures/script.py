"""What the scripts that train a network of pictures have in common: options, and what the network is to remember."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from bayesdiff.images.networks import TRAINED, PictureNet, load_network, save_network
from models.pictures.data import Pictures
from models.pictures.training import Course, train


def options(name: str, doc: str | None, course: Course) -> argparse.ArgumentParser:
    """The options that all of them have; ``course``: how long it learns unless told."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TRAINED / f"{name}.npz")
    parser.add_argument("--start", type=Path, help="a network that goes on learning")
    parser.add_argument("--guess-steps", type=int, default=course.guess_steps)
    parser.add_argument("--density-steps", type=int, default=course.density_steps)
    parser.add_argument("--batch", type=int, default=course.batch, help="pictures in a step")
    parser.add_argument(
        "--store", type=Path, help="where it keeps what it has learned (default: OUT.kept or OUT.more.kept)"
    )
    return parser


def learn(
    command: str, args: argparse.Namespace, shown: Pictures, pictures: np.ndarray, *, parts: Any = None, **how: Any
) -> None:
    """Train a network on pictures in -1..1, those of ``shown``, and write it.

    ``command``: how the script was called, without the options above; ``parts``: of the network; ``how``: for `train`.
    """
    net = PictureNet(
        pictures.shape[1:],
        shown.words,
        mean=round(float(pictures.mean()), 3),
        sd=round(float(pictures.std()), 3),
        **(parts or {}),
    )
    started = "" if args.start is None else f" --start {args.start.name}"
    made = {
        "command": f"{command} --guess-steps {args.guess_steps} --density-steps {args.density_steps} "
        f"--batch {args.batch}{started}",
        "data": f"{shown.source}, {shown.licence}",
        "sha256": shown.sha256,
    }
    network = train(
        net,
        pictures,
        shown.labels,
        course=Course(args.guess_steps, args.density_steps, args.batch),
        start=None if args.start is None else load_network(args.start),
        store=args.store or f"{args.out}{'' if args.start is None else '.more'}.kept",
        made=made,
        **how,
    )
    save_network(network, args.out)
