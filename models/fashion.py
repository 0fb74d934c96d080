"""Pictures of clothes, as a network that knows noise from pictures would have them.

    p_k(x)        28 x 28 pixels in -1 (nothing) .. 1, at every level k of noise

The network learned from Fashion-MNIST, 6,000 pictures of each of ten words; the other 1,000 of each were held out. Run
as a script this file trains it, in an hour or more:

    python models/fashion.py

It keeps what it has learned beside the file, and the same command goes on from there. What comes with bayesdiff went on
learning twice, for half an hour on two cores and for two minutes on an NVIDIA H200:

    start=bayesdiff/images/trained/fashion.npz
    python models/fashion.py --start $start --guess-steps 6000 --density-steps 4000
    python models/fashion.py --start $start --guess-steps 3700 --density-steps 7300 --batch 256

On Linux, ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1`` before the command saves a fifth of the time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pymc as pm

from bayesdiff.images.networks import fashion_network
from bayesdiff.images.priors import classifier_prior


def prior() -> pm.Model:
    """The prior: ``x``, a picture (28, 28, 1) of any of the ten words."""
    return classifier_prior(fashion_network())


def main(argv: Sequence[str] | None = None) -> None:
    """Train the network."""
    from models.pictures.data import fashion, scaled, split
    from models.pictures.script import learn, options
    from models.pictures.training import Course

    parser = options("fashion", __doc__, Course(1500, 800))
    parser.add_argument("--cache", help="where the data are kept")
    args = parser.parse_args(argv)
    shown, _ = split(fashion(cache=args.cache), held_out=1000)
    learn("python models/fashion.py", args, shown, scaled(shown.images))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `models` is
    main()
