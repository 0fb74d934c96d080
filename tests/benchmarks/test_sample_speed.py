"""Speed of bd.sample beside PyMC's samplers, on demand: `make bench`.

All three get the same model, in one process, compiling included: that is what a person waits for.
"""

import logging

import numpy as np
import pytest

from models import logistic
from reports.hard_posteriors import CHAINS, RUNS, TARGETS, iid, timed

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
SECONDS, EVALUATIONS = 15.0, 2e6
SEEDS = (1, 2, 3)


@pytest.mark.filterwarnings("ignore")  # PyMC's samplers say what the table says
@pytest.mark.parametrize("name", TARGETS)
def test_hard_posteriors(name, report):
    logging.getLogger("pymc").setLevel(logging.ERROR)
    target = TARGETS[name]()
    error = {}
    for sampler, run in RUNS.items():
        found = [timed(run, target.model(), 1000, seed) for seed in SEEDS]
        seconds = float(np.median([one.seconds for one in found]))
        error[sampler] = float(np.median([target.error(one.x) for one in found]))
        floor = iid(target, CHAINS * 1000)
        over = f"{error[sampler] / floor:.1f} x that of independent draws" if np.isfinite(floor) else ""
        wrong = [abs(one.log_z - target.log_z) for one in found]
        ours = sampler == "bd.sample"
        report(f"{name}, {sampler}: error", f"{error[sampler]:.4f} {over}", "", True)
        if np.isfinite(wrong).all():
            report(
                "  log evidence, error", f"{np.median(wrong):.3f}", "0.08" if ours else "", not ours or max(wrong) < 0.1
            )
        evaluations = np.max([one.evaluations for one in found])
        report("  seconds", f"{seconds:.1f}", "15" if ours else "", not ours or seconds <= SECONDS)
        if np.isfinite(evaluations):
            limit = f"{EVALUATIONS / 1e6:.0f} million" if ours else ""
            report("  evaluations", f"{evaluations / 1e6:.2f} million", limit, not ours or evaluations <= EVALUATIONS)


@pytest.mark.filterwarnings("ignore")
def test_where_nuts_is_at_home(report):
    """A posterior with one mode: the same answer, in at most ten times NUTS's time."""
    model = logistic.prior()
    nuts, ours = (timed(RUNS[name], model, 1000, 1) for name in ("NUTS", "bd.sample"))
    gap = np.abs(nuts.x.mean(axis=(0, 1)) - ours.x.mean(axis=(0, 1))) / nuts.x.std(axis=(0, 1))
    report("logistic regression, largest gap of means, in sd", f"{gap.max():.3f}", "0.1", gap.max() < 0.1)
    ratio = ours.seconds / nuts.seconds
    report("  seconds of bd.sample over NUTS's", f"{ratio:.1f} ({ours.seconds:.1f} s)", "10", ratio <= 10)
