"""Blocks: a long batch in pieces of fixed size, worked on here or by an executor's workers.

Observations, trajectories and replicates do not know of one another. So a block's result depends on its place in the
batch alone, never on who computed it, when, or beside how many others.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import cloudpickle

# Blocks on their way at once: enough for many workers, and what the results of all may take is a few GB.
WINDOW = 32


class ExecutorError(RuntimeError):
    """An executor took no work, or lost its workers: no fault of what they were to do."""


def check_executor(executor: Executor | None) -> None:
    """Raise what is wrong with an executor, before it is given work.

    Raises
    ------
    TypeError
        If it is none.
    ValueError
        If its workers would be forks: JAX runs threads, and a fork of a process with threads may wait forever.
    """
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            f"executor is {reprlib.repr(executor)}; write a concurrent.futures.Executor, as ThreadPoolExecutor(4), or "
            "client.get_executor() of a Dask client"
        )
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, ProcessPoolExecutor) and context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "executor forks its workers, and JAX does not survive a fork; write "
            'ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn"))'
        )


def cut(total: int, size: int) -> list[slice]:
    """Cut rows 0..total into blocks of `size`; the last may be smaller."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def ready(work: Callable[..., Any], about: tuple[Any, ...], executor: Executor | None) -> Callable[..., Any]:
    """Make a function of a part of ``work(*about, part)``, fit to be sent to the workers of an executor.

    Threads see what is here. Others get a copy, packed once, unpacked (and compiled) once by each worker.
    """
    if executor is None or isinstance(executor, ThreadPoolExecutor):
        return partial(work, *about)
    return _Packed(cloudpickle.dumps((work, about)))


def each(
    work: Callable[..., Any],
    parts: Sequence[Any],
    *,
    done: Collection[int] = (),
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
    rows: Callable[[Any], int] = len,
) -> Iterator[tuple[int, Any]]:
    """Give (i, ``work(parts[i])``) for each part but those `done`, in the order in which they finish.

    Parameters
    ----------
    work : callable
        As `ready` makes it. Without an executor it is also given ``progress=``.
    parts : sequence
        One argument for each block.
    done : collection of int
        Left out.
    executor : Executor, optional
        Who works. Without one: this process, part after part.
    progress : callable, optional
        Told the rows that are done.
    rows : callable
        How many rows a part has.

    Raises
    ------
    ExecutorError
        If the executor takes no work, or lost its workers.
    """
    left = [i for i in range(len(parts)) if i not in done]
    if executor is None:
        for i in left:
            yield i, work(parts[i], progress=progress)
        return
    waiting = iter(left)
    running: dict[Future[Any], int] = {}
    try:
        while True:
            for i in waiting:
                running[_submitted(executor, work, parts[i])] = i
                if len(running) >= WINDOW:
                    break
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                i = running.pop(future)
                yield i, future.result()
                if progress:
                    progress(rows(parts[i]))
    except BrokenExecutor as error:
        raise ExecutorError(
            f"the executor lost its workers ({error or type(error).__name__}); a new one goes on, from what a store has"
        ) from error
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, work: Callable[..., Any], part: Any) -> Future[Any]:
    try:
        return executor.submit(work, part)
    except BrokenExecutor:
        raise
    except RuntimeError as error:
        raise ExecutorError(
            f"the executor takes no work ({error}); make a new one, and call inside its with"
        ) from error


@dataclass(frozen=True)
class _Packed:
    """A function and what all parts have in common, as bytes: called, it works on a part."""

    content: bytes

    def __call__(self, part: Any) -> Any:
        work, about = _unpacked(self.content)
        return work(*about, part)


@lru_cache(maxsize=2)  # a worker sees the same bytes again and again; what they hold compiles in seconds
def _unpacked(content: bytes) -> Any:
    return cloudpickle.loads(content)
