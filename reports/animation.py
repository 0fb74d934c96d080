"""Make the README's animation: eight modes in the plane, from noise to x, by draws and by modes.

python reports/animation.py         (writes reports/small_steps.gif)
"""

from pathlib import Path

import numpy as np

import bayesdiff as bd


def main() -> None:
    """Run both chains and write the GIF beside this file."""
    angle = np.arange(8) * np.pi / 4
    centres = 10 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    schedule = bd.geometric(24, 0.2, 40.0)
    prior = bd.compile_prior(bd.gaussian_mixture(np.full(8, 1 / 8), centres, 0.7, schedule))
    runs = {
        "draws": bd.reverse(prior, schedule, bd.draw, draws=250, path=True, random_seed=1),
        "modes": bd.reverse(prior, schedule, bd.mode, draws=250, path=True, random_seed=1),
    }
    print(bd.animate_chain(runs, Path(__file__).with_name("small_steps.gif"), overwrite=True))


if __name__ == "__main__":
    main()
