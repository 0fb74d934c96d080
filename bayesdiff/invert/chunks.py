"""Long batches: cut into chunks, run on all cores, put together again.

Each chunk has a fixed size and its own seed, so the answer does not depend on how many cores there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import jax
import numpy as np

# Chunks in one call of a kernel: enough to make the call itself cheap, few enough to keep both cores busy to the end.
CHUNKS_PER_CALL = 32


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`: XLA compiles once per size, so few sizes are used."""
    return 1 << max(0, number - 1).bit_length()


def chunk_rows(chunk: int, whole: int) -> int:
    """Rows of a chunk of a batch: at most `chunk`, and two chunks where there is work for two cores."""
    # A smaller chunk is not worth a core of its own.
    return min(chunk, power_of_two(-(-whole // 2) if whole >= 2 * 64 else whole))


def platform() -> str:
    """Where this thread computes: "cpu", "gpu" or another of JAX's."""
    device = jax.config.jax_default_device
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


def threads(count: int) -> ThreadPoolExecutor:
    """Make a pool of threads that compute where this one does: none inherits ``with jax.default_device(...)``."""
    inherited = jax.default_device(jax.config.jax_default_device)
    # Entered and never left: the thread ends with the pool.
    return ThreadPoolExecutor(count, initializer=lambda: inherited.__enter__())


def in_chunks(
    kernel: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    *,
    chunk: int,
    random_seed: int,
    progress: Callable[[int], None] | None = None,
    per_call: int | None = None,
    first_row: int = 0,
    whole: int | None = None,
) -> Any:
    """Compute ``kernel(keys, *arrays)`` over a batch, chunk by chunk.

    Parameters
    ----------
    kernel : callable
        (keys (calls,), *arrays (calls, size, ...)) -> a tree of arrays (calls, size, ...), compiled.
    arrays : sequence of ndarray (batch, ...)
        What varies along the batch.
    chunk : int
        Rows of a chunk.
    random_seed : int
        Chunk i runs with the key of (random_seed, i).
    progress : callable, optional
        Told the number of rows whenever some are done.
    per_call : int, optional
        Chunks that a call of the kernel gets. By default many, for chunks that take less time than a call. With a
        number the compiled program is the same whatever the batch, and so are the last bits of what comes out.
    first_row, whole : int
        Where these rows lie in a larger batch (a multiple of its `chunk_rows`), and how many that has: the same numbers
        come out as if all were computed at once.

    Returns
    -------
    tree of ndarray (batch, ...)
    """
    batch, whole = len(arrays[0]), whole or len(arrays[0])
    size = chunk_rows(chunk, whole)
    chunks, before = -(-batch // size), first_row // size
    per_call = per_call or min(CHUNKS_PER_CALL, power_of_two(-(-chunks // (2 if chunks > 1 else 1))))
    key = jax.random.key(random_seed)
    results: list[np.ndarray] = []
    tree = None

    def run(first: int) -> tuple[int, Any]:
        start, stop = first * size, min((first + per_call) * size, batch)
        rows = [array[start:stop] for array in arrays]
        if stop - start < per_call * size:  # pad by the last row: it is valid where the batch is
            rows = [np.concatenate([part, np.repeat(part[-1:], per_call * size - len(part), axis=0)]) for part in rows]
        keys = _keys(key, np.arange(before + first, before + first + per_call))
        parts = kernel(keys, *[part.reshape(per_call, size, *part.shape[1:]) for part in rows])
        return first, jax.tree.map(np.asarray, parts)

    workers = os.cpu_count() or 1
    pending = iter(range(0, chunks, per_call))
    with threads(workers) as pool:
        running = {pool.submit(run, first) for first in islice(pending, 2 * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    running.update(pool.submit(run, first) for first in [next(pending, None)] if first is not None)
                    first, parts = future.result()
                    leaves, tree = jax.tree.flatten(parts)
                    if not results:
                        results = [np.empty((batch, *leaf.shape[2:]), leaf.dtype) for leaf in leaves]
                    start, stop = first * size, min((first + per_call) * size, batch)
                    for result, leaf in zip(results, leaves, strict=True):
                        result[start:stop] = leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])[
                            : stop - start
                        ]
                    if progress:
                        progress(stop - start)
        finally:
            for future in running:
                future.cancel()
    return jax.tree.unflatten(tree, results)


@jax.jit
def _keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
