"""Photographs of cats, as a network that knows noise from photographs would have them.

    p_k(x | cat)        32 x 32 pixels of three colours in -1..1, at every level k of noise

The network learned from CIFAR-10: six animals, 5,000 photographs of each; the other 1,000 of each were held out. Run as
a script this file trains it, in four minutes on an NVIDIA H200 (and one and a half to compile):

    python models/photos.py

Without a GPU, take a quarter of the pixels, each the mean of four, and an hour on two cores:

    python models/photos.py --size 16 --guess-steps 4000 --density-steps 3000 --batch 64

It keeps what it has learned beside the file, and the same command goes on from there. The photographs are fetched, and
stay where they are kept: their licence is not stated, so none comes with bayesdiff.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pymc as pm

from bayesdiff.images.networks import TRAINED, PictureNet, load_network, photos_network, save_network
from bayesdiff.images.priors import classifier_prior

ANIMALS = ("cat", "dog", "bird", "deer", "frog", "horse")
# By pixels in a row; the file of the larger one has 3.5 MB.
SIZES: dict[int, dict[str, int]] = {16: {}, 32: {"channels": 64, "width": 160, "depth": 4, "heads": 5}}


def prior() -> pm.Model:
    """The prior: ``x``, a photograph (32, 32, 3)."""
    return classifier_prior(photos_network(), "cat")


def smaller(pictures: np.ndarray, size: int) -> np.ndarray:
    """Average pixels: pictures (n, 32, 32, 3) to (n, size, size, 3)."""
    n, height, width, colours = pictures.shape
    return pictures.reshape(n, size, height // size, size, width // size, colours).mean((2, 4), dtype=pictures.dtype)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the network."""
    from models.pictures.data import chosen, cifar10, scaled, split
    from models.pictures.training import Course, mirrored, train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TRAINED / "photos.npz")
    parser.add_argument("--start", type=Path, help="a network that goes on learning")
    parser.add_argument("--cache", help="where the data are kept")
    parser.add_argument("--size", type=int, choices=(16, 32), default=32, help="pixels in a row; 32 needs a GPU")
    parser.add_argument("--guess-steps", type=int, default=4100)
    parser.add_argument("--density-steps", type=int, default=12400)
    parser.add_argument("--batch", type=int, default=256, help="pictures in a step")
    parser.add_argument(
        "--store", type=Path, help="where it keeps what it has learned (default: OUT.kept or OUT.more.kept)"
    )
    args = parser.parse_args(argv)
    shown, _ = split(chosen(cifar10(cache=args.cache), ANIMALS), held_out=1000)
    pictures = smaller(scaled(shown.images), args.size)
    net = PictureNet(
        pictures.shape[1:], shown.words, mean=round(float(pictures.mean()), 3), sd=round(float(pictures.std()), 3),
        **SIZES[args.size],
    )  # fmt: skip
    started = "" if args.start is None else f" --start {args.start.name}"
    made = {
        "command": f"python models/photos.py --size {args.size} --guess-steps {args.guess_steps} "
        f"--density-steps {args.density_steps} --batch {args.batch}{started}",
        "data": f"{shown.source}, {shown.licence}",
        "sha256": shown.sha256,
    }
    network = train(
        net,
        pictures,
        shown.labels,
        course=Course(args.guess_steps, args.density_steps, args.batch),
        warp=mirrored,
        start=None if args.start is None else load_network(args.start),
        store=args.store or f"{args.out}{'' if args.start is None else '.more'}.kept",
        made=made,
    )
    save_network(network, args.out)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `models` is
    main()
