"""Speed of pictures, on demand: `make bench`. Times are medians of alternating calls; compiling is not counted."""

import subprocess
import sys
import time

import numpy as np
import pytest

import bayesdiff as bd
from bayesdiff import images
from bayesdiff.images import inverters

pytestmark = pytest.mark.bench


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("strength", "limit"), [(1.0, 1.2), (3.0, 1.4)])
def test_gradients_of_64_drawings_in_pieces_and_at_once(report, strength, limit):
    prior = bd.compile_prior(images.classifier_prior(images.quickdraw_network(), "cat", strength=strength)).at_level(8)
    x = np.random.default_rng(0).normal(size=(64, prior.n))
    ways = {"pieces": lambda: inverters._evaluated(prior, x), "at once": lambda: prior.logp_and_gradient(x)}
    seconds = {name: [] for name in ways}
    for _ in range(8):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    median = {name: np.median(all_[1:]) for name, all_ in seconds.items()}  # the first call compiles
    ratio = median["at once"] / median["pieces"]
    report(f"gradients of 64 drawings, strength {strength:g}", f"{1e3 * median['pieces']:.0f} ms", "", True)
    report("  times as fast as in one call", f"{ratio:.2f}", f"{limit:g}", ratio >= limit)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("more", [(), ("--strength", "1"), ("--invert", "map")], ids=["typical", "as learned", "modes"])
def test_64_kittens_start_and_files_included(report, tmp_path, more):
    begun = time.perf_counter()
    command = [sys.executable, "-c", "from bayesdiff.cli import main; raise SystemExit(main())"]
    subprocess.run([*command, "kittens", "--no-progress", "--out", str(tmp_path / "k"), *more], check=True)
    seconds = time.perf_counter() - begun
    report(" ".join(["bayesdiff kittens", *more]), f"{seconds:.0f} s", "90 s", seconds <= 90)
