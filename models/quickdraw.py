"""Drawings of cats, as a network that knows noise from drawings would have them.

    p_k(x | cat)        28 x 28 pixels in -1 (paper) .. 1 (ink), at every level k of noise

The network learned from Quick, Draw! (345 words, 90 drawings of each; the last ten of each word were held out), twenty
words by name. Run as a script this file trains it, in hours:

    python models/quickdraw.py

It keeps what it has learned beside the file, and the same command goes on from there.
"""

import argparse
from pathlib import Path

import numpy as np
import pymc as pm

from bayesdiff.images.data import quickdraw, scaled, split
from bayesdiff.images.networks import PictureNet, load_network, save_network
from bayesdiff.images.priors import classifier_prior
from bayesdiff.images.training import Course, redrawn, train

WORDS = (
    "cat", "dog", "face", "smiley face", "rabbit", "lion", "tiger", "bear", "panda", "pig",
    "mouse", "owl", "bird", "fish", "flower", "tree", "house", "sun", "star", "apple",
)  # fmt: skip
# Of what is shown: a third cats, a third the other nineteen words, a third drawings of all else.
CATS, OTHERS = 1 / 3, 1 / 3

WEIGHTS = Path(__file__).with_suffix(".npz")


def prior() -> pm.Model:
    """The prior: ``x``, a drawing (28, 28, 1)."""
    return classifier_prior(load_network(WEIGHTS), "cat")


def main() -> None:
    """Train the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=WEIGHTS)
    parser.add_argument("--cache", help="where the data are kept")
    parser.add_argument("--guess-steps", type=int, default=40_000)
    parser.add_argument("--density-steps", type=int, default=6000)
    args = parser.parse_args()
    drawings, _ = split(quickdraw(cache=args.cache))
    number = {word: i for i, word in enumerate(WORDS)}
    labels = np.array([number.get(word, len(WORDS)) for word in drawings.words])[drawings.labels]
    cats, rest = labels == 0, labels == len(WORDS)
    others = ~cats & ~rest
    share = CATS * cats / cats.sum() + OTHERS * others / others.sum() + (1 - CATS - OTHERS) * rest / rest.sum()
    pictures = scaled(drawings.images)
    net = PictureNet(
        pictures.shape[1:], WORDS, mean=round(float(pictures.mean()), 3), sd=round(float(pictures.std()), 3)
    )
    made = {
        "command": f"python models/quickdraw.py --guess-steps {args.guess_steps} --density-steps {args.density_steps}",
        "data": f"{drawings.source}, {drawings.licence}",
        "sha256": drawings.sha256,
    }
    course = Course(args.guess_steps, args.density_steps)
    network = train(
        net, pictures, labels, course=course, share=share, warp=redrawn, store=f"{args.out}.kept", made=made
    )
    save_network(network, args.out)


if __name__ == "__main__":
    main()
