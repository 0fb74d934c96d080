"""Speed of the chain, on demand: `make bench`. Times are medians, imports and compiling are not counted."""

import time

import exact
import numpy as np
import pytest

import bayesdiff as bd
from reports.scores import floor, sliced_w2

pytestmark = pytest.mark.bench

CIRCLE = np.arange(8) * np.pi / 4
EIGHT = exact.mixture([1 / 8] * 8, 10 * np.stack([np.sin(CIRCLE), np.cos(CIRCLE)], 1), 0.7)


def eight(schedule):
    return bd.compile_prior(bd.gaussian_mixture(EIGHT.weights, EIGHT.means, EIGHT.covariances, schedule))


def chain(prior, schedule, draws, seed, next_level=None):
    begun = time.perf_counter()
    run = bd.reverse(
        prior, schedule, draws=draws // 4, chains=4, next_level=next_level, random_seed=seed, progressbar=False
    )
    seconds = time.perf_counter() - begun
    x = run["posterior"]["x"].values.reshape(-1, 2)
    return seconds, x, run["sample_stats"]["evaluations"].mean().item()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("next_level", [True, False], ids=["next level", "clean"])
def test_eight_gaussians(report, next_level):
    """1,024 draws by 16 levels. For comparison, not run here: SLIPS 65 s, 142,892 gradients a draw; DiGS 17.5 s."""
    schedule = bd.geometric(16, 0.3, 40.0)
    prior = eight(schedule)
    chain(prior, schedule, 1024, 0, next_level)
    runs = [chain(prior, schedule, 1024, seed, next_level) for seed in range(1, 21)]

    def draw_exact(size, rng):
        return exact.mixture_draws(EIGHT, size, rng)

    rng = np.random.default_rng(0)
    distance = np.mean([sliced_w2(x, draw_exact(1024, rng)) for _, x, _ in runs])
    ratio = distance / floor(draw_exact, sliced_w2, 1024, 1000, 1).mean()
    seconds, evaluations = np.median([run[0] for run in runs]), np.mean([run[2] for run in runs])
    form = "next level" if next_level else "clean"
    report(f"8 Gaussians, 1,024 draws, 16 levels, {form}", f"{seconds:.2f} s", "3 s", seconds <= 3)
    report("  evaluations a draw", f"{evaluations:,.0f}", "10,000", evaluations <= 10_000)
    report("  sliced W2 over that of exact samples, 20 seeds", f"{ratio:.2f}", "1.1", ratio <= 1.1)


@pytest.mark.timeout(1800)
def test_work_is_linear_in_levels_and_draws(report):
    def line(what, sizes, of):
        seconds, evaluations = zip(*[of(size) for size in sizes], strict=True)
        each = np.array(evaluations)
        for size, second, count in zip(sizes, seconds, each, strict=True):
            report(f"{what} = {size:,}", f"{second:.2f} s", "", True)
            report("  evaluations a draw and level", f"{count:,.0f}", "", True)
        growth = each[-1] / each[0]  # small steps are easier, so it may fall
        report(f"  the last over the first of {what}", f"{growth:.2f}", "1.1", growth <= 1.1)

    def by_levels(levels):
        schedule = bd.geometric(levels, 0.3, 40.0)
        prior = eight(schedule)
        chain(prior, schedule, 1000, 0)
        seconds, _, evaluations = chain(prior, schedule, 1000, 1)
        return seconds, evaluations / levels

    schedule = bd.geometric(4, 0.3, 40.0)
    prior = eight(schedule)

    def by_draws(draws):
        chain(prior, schedule, draws, 0)
        seconds, _, evaluations = chain(prior, schedule, draws, 1)
        return seconds, evaluations / 4

    line("levels, 1,000 draws: K", [4, 16, 64], by_levels)
    line("draws, 4 levels: draws", [100, 1_000, 10_000, 100_000], by_draws)
