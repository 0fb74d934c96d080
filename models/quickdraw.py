"""Drawings of cats, as a network that knows noise from drawings would have them.

    p_k(x | cat)        28 x 28 pixels in -1 (paper) .. 1 (ink), at every level k of noise

The network learned from Quick, Draw!: 21 words, 90 drawings of each, as they lie in models/pictures/ (the last ten of
each word were held out). Run as a script this file trains it, in hours:

    python models/quickdraw.py

It keeps what it has learned beside the file, and the same command goes on from there. What comes with bayesdiff went on
learning once more, its densities alone:

    python models/quickdraw.py --start bayesdiff/images/trained/quickdraw.npz --guess-steps 0 --density-steps 6000
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pymc as pm

from bayesdiff.images.networks import quickdraw_network
from bayesdiff.images.priors import classifier_prior

CATS = 0.4  # of what is shown; the other words share the rest


def prior() -> pm.Model:
    """The prior: ``x``, a drawing (28, 28, 1)."""
    return classifier_prior(quickdraw_network(), "cat")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the network."""
    from models.pictures.data import quickdraw_sample, scaled, split
    from models.pictures.script import learn, options
    from models.pictures.training import Course, redrawn

    args = options("quickdraw", __doc__, Course(12_500, 2400)).parse_args(argv)
    shown, _ = split(quickdraw_sample())
    cats = shown.labels == shown.words.index("cat")
    share = np.where(cats, CATS / cats.sum(), (1 - CATS) / (~cats).sum())
    learn("python models/quickdraw.py", args, shown, scaled(shown.images), share=share, warp=redrawn)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `models` is
    main()
