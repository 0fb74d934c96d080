"""The same calls on every kind of device that JAX has here, on demand: `make bench ARGS="-k gpu"`.

Where JAX's CUDA plugin is installed, a GPU is among them, and what the CPU takes is shown beside it. Without one the
CPU is measured alone, and the table says so. Times are medians of calls after the first, which compiles.
"""

import time

import jax
import numpy as np
import pytest

from reports import speed

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


def kinds():
    """The first device of each kind, JAX's own choice first, the CPU last."""
    found = {device.platform: device for device in reversed(jax.devices())}
    return {kind: device for kind, device in found.items() if kind != "cpu"} | {"cpu": jax.devices("cpu")[0]}


DEVICES = kinds()
CALLS = {
    "10^6 MAP, mixture in the plane": lambda: speed.by_map(10**6),
    "1,000 posteriors of it, 4 x 500 draws": lambda: speed.by_draws(1000, draws=500, tune=500),
    "100 posteriors in 1,000 dimensions, 4 x 100 draws": lambda: speed.by_draws(
        100, draws=100, tune=100, prior="independent", n=1000
    ),
    "10,000 trajectories, 16 levels": lambda: speed.by_levels(16, 10_000, True),
}


def seconds(make, device, repeats=3):
    """The median, and what came out. The prior is compiled anew: what was compiled for a device stays there."""
    speed.prior_of.cache_clear()
    speed.levels_of.cache_clear()
    with jax.default_device(device):
        call = make()
        run, took = call(None, None), []
        for _ in range(repeats):
            begun = time.perf_counter()
            run = call(None, None)
            took.append(time.perf_counter() - begun)
    return float(np.median(took)), run


@pytest.fixture(scope="module")
def on_cpu():
    """What the CPU takes, by call, measured once: every other kind is compared with it."""
    return {}


@pytest.mark.filterwarnings("ignore::UserWarning")  # few draws in many dimensions; the table is about speed
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", DEVICES)
def test_the_same_calls_on_each_device(kind, name, on_cpu, report):
    if name not in on_cpu:
        on_cpu[name] = seconds(CALLS[name], DEVICES["cpu"])
    cpu_seconds, cpu_run = on_cpu[name]
    if kind == "cpu":
        alone = ", no GPU found: the CPU alone" if len(DEVICES) == 1 else ""
        report(f"{name}, cpu{alone}", f"{cpu_seconds:.2f} s", "", True)
        assert np.isfinite(cpu_run["posterior"]["x"]).all()
        return
    took, run = seconds(CALLS[name], DEVICES[kind])
    report(f"{name}, {kind} ({DEVICES[kind].device_kind})", f"{took:.2f} s", "", True)
    report("  seconds of the CPU over its own", f"{cpu_seconds / took:.2f} x", "", True)
    assert np.isfinite(run["posterior"]["x"]).all()
    # A last digit differs from device to device: the same bits would mean that one of them did the work of both.
    assert not np.array_equal(run["posterior"]["x"], cpu_run["posterior"]["x"])
    if "MAP" in name:  # the others draw: a last digit that differs makes another chain
        np.testing.assert_allclose(run["posterior"]["x"], cpu_run["posterior"]["x"], atol=1e-5)
