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

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pymc as pm

from bayesdiff.images.networks import photos_network
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
    from models.pictures.script import learn, options
    from models.pictures.training import Course, mirrored

    parser = options("photos", __doc__, Course(4100, 12_400, 256))
    parser.add_argument("--cache", help="where the data are kept")
    parser.add_argument("--size", type=int, choices=(16, 32), default=32, help="pixels in a row; 32 needs a GPU")
    args = parser.parse_args(argv)
    shown, _ = split(chosen(cifar10(cache=args.cache), ANIMALS), held_out=1000)
    pictures = smaller(scaled(shown.images), args.size)
    command = f"python models/photos.py --size {args.size}"
    learn(command, args, shown, pictures, parts=SIZES[args.size], warp=mirrored)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `models` is
    main()
