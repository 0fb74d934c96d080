"""Drawings of cats, as a network that knows noise from drawings would have them.

    p_k(x | cat)        28 x 28 pixels in -1 (paper) .. 1 (ink), at every level k of noise

The network learned from Quick, Draw!: 21 words, 90 drawings of each, as they come with bayesdiff (the last ten of each
word were held out). Run as a script this file trains it, in hours:

    python models/quickdraw.py

It keeps what it has learned beside the file, and the same command goes on from there. What comes with bayesdiff went on
learning once more, its densities alone:

    python models/quickdraw.py --start bayesdiff/images/trained/quickdraw.npz --guess-steps 0 --density-steps 6000
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pymc as pm

from bayesdiff.images.networks import TRAINED, PictureNet, load_network, quickdraw_network, save_network
from bayesdiff.images.priors import classifier_prior

CATS = 0.4  # of what is shown; the other words share the rest


def prior() -> pm.Model:
    """The prior: ``x``, a drawing (28, 28, 1)."""
    return classifier_prior(quickdraw_network(), "cat")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the network."""
    from models.pictures.data import quickdraw_sample, scaled, split
    from models.pictures.training import Course, redrawn, train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TRAINED / "quickdraw.npz")
    parser.add_argument("--start", type=Path, help="a network that goes on learning")
    parser.add_argument("--guess-steps", type=int, default=12_500)
    parser.add_argument("--density-steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=32, help="pictures in a step")
    parser.add_argument(
        "--store", type=Path, help="where it keeps what it has learned (default: OUT.kept or OUT.more.kept)"
    )
    args = parser.parse_args(argv)
    shown, _ = split(quickdraw_sample())
    cats = shown.labels == shown.words.index("cat")
    pictures = scaled(shown.images)
    net = PictureNet(
        pictures.shape[1:], shown.words, mean=round(float(pictures.mean()), 3), sd=round(float(pictures.std()), 3)
    )
    started = "" if args.start is None else f" --start {args.start.name}"
    made = {
        "command": "python models/quickdraw.py "
        f"--guess-steps {args.guess_steps} --density-steps {args.density_steps} "
        f"--batch {args.batch}{started}",
        "data": f"{shown.source}, {shown.licence}",
        "sha256": shown.sha256,
    }
    network = train(
        net,
        pictures,
        shown.labels,
        course=Course(args.guess_steps, args.density_steps, args.batch),
        share=np.where(cats, CATS / cats.sum(), (1 - CATS) / (~cats).sum()),
        warp=redrawn,
        start=None if args.start is None else load_network(args.start),
        store=args.store or f"{args.out}{'' if args.start is None else '.more'}.kept",
        made=made,
    )
    save_network(network, args.out)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `models` is
    main()
