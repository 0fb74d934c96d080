"""Chunks: every row comes back in its place, the same whatever the number of cores."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesdiff import calls
from bayesdiff.calls import progress_bar
from bayesdiff.invert import chunks
from bayesdiff.invert.chunks import in_chunks, power_of_two


@jax.jit
def kernel(keys, x):
    noise = jax.vmap(lambda key, part: jax.random.normal(key, part.shape))(keys, x)
    return {"row": x, "noise": noise, "empty": jnp.zeros((*x.shape, 0))}


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 63, 64, 1000])
def test_rows_come_back_in_place(batch):
    seen = []
    out = in_chunks(kernel, [np.arange(batch) * 1.0], chunk=8, random_seed=1, progress=seen.append)
    np.testing.assert_array_equal(out["row"], np.arange(batch))
    assert out["empty"].shape == (batch, 0)
    assert sum(seen) == batch
    assert len(np.unique(out["noise"])) == batch  # no two rows share their randomness


def test_the_number_of_cores_changes_nothing(monkeypatch):
    x = np.arange(1000) * 1.0
    two = in_chunks(kernel, [x], chunk=8, random_seed=1)
    monkeypatch.setattr(chunks.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(chunks, "CHUNKS_PER_CALL", 1)
    one = in_chunks(kernel, [x], chunk=8, random_seed=1)
    np.testing.assert_array_equal(one["noise"], two["noise"])
    assert not np.array_equal(in_chunks(kernel, [x], chunk=8, random_seed=2)["noise"], one["noise"])


def test_an_error_in_a_chunk_comes_through():
    def fails(keys, x):
        raise RuntimeError("chunk")

    with pytest.raises(RuntimeError, match="chunk"):
        in_chunks(fails, [np.zeros(100)], chunk=8, random_seed=1)


def test_power_of_two():
    assert [power_of_two(n) for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 4, 8, 1024]


def test_the_bar_shows_only_what_takes_long(capsys, monkeypatch):
    now = 0.0  # a clock of its own: on a busy machine nothing is quick
    monkeypatch.setattr(calls, "time", SimpleNamespace(perf_counter=lambda: now))
    with progress_bar("quick", 10, True) as advance:
        now += 0.4
        advance(10)
    with progress_bar("never", 10, False) as advance:
        assert advance is None
    assert capsys.readouterr() == ("", "")
    with progress_bar("slow", 10, True) as advance:
        now += 0.6
        advance(10)
    assert "10/10" in capsys.readouterr().err


ELSEWHERE = """
import jax, jax.numpy as jnp, numpy as np
from bayesdiff.invert.chunks import in_chunks, platform, threads

first, second = jax.devices()
seen = set()

def kernel(keys, x):
    seen.update(keys.devices() | jnp.asarray(x).devices())
    return x

for device in (None, second, first, "cpu"):
    seen.clear()
    with jax.default_device(device):
        in_chunks(kernel, [np.arange(300.0)], chunk=64, random_seed=1)
        assert platform() == "cpu"
        with threads(2) as pool:
            seen.update(*pool.map(lambda _: jnp.ones(1).devices(), range(4)))
    assert seen == {second if device is second else first}, (device, seen)
    assert jax.config.jax_default_device is None  # nothing stays set
"""


def test_threads_compute_on_the_device_of_their_caller():
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
