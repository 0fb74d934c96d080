"""Long calls: asked, seeded, cut into parts, each part kept as soon as it is finished and never lost.

    with long_call("find_map", asked, random_seed=..., store=..., executor=..., progressbar=..., total=...) as call:
        if call.finished is not None:
            return call.finished
        for number, part in call.each(work, about, parts): ...     # computed now, or kept from before
        return call.done(groups, attrs)                            # described, saved, warned of, tidied

Parts do not know of one another. So what a part gives depends on its place in the call alone, never on who computed it,
when, or beside how many others. A store belongs to one call: the same call again goes on from what is kept beside it,
another one (another prior, number of draws or seed) is refused, with the first difference named.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import xarray as xr
from filelock import FileLock, Timeout

from bayesdiff.checks import Seed, flag, path_like, seed_of
from bayesdiff.files import put, replacing
from bayesdiff.fingerprints import Unknown
from bayesdiff.foreign import Elsewhere, held_in
from bayesdiff.growing import Growth
from bayesdiff.results import FORMAT, check_target, levels_folder, load, save, tree

LOCK, CALL = "lock", "call.json"
UNKNOWN = "cannot be compared"
# What a disk answers that is full, has a limit, or fails.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ExecutorError(RuntimeError):
    """An executor took no work, or lost its workers: no fault of what they were to do."""


@dataclass(frozen=True)
class Call:
    """A long call: what was asked, its seed, where parts are kept, who computes them.

    Attributes
    ----------
    function : str
        Its name.
    seed : int
        From which all of its randomness comes: see `rng`.
    random_seed : int, Generator or None
        What the user gave.
    asked : dict
        What tells calls apart, as JSON has it, the seed included. Empty without a store.
    store : Path or None
        Where the result will be.
    folder : Path or None
        Where parts are kept until then.
    finished : DataTree or None
        The result, if an equal call has left one.
    """

    function: str
    seed: int
    random_seed: Seed = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    store: Path | None = None
    folder: Path | None = None
    finished: xr.DataTree | None = None
    executor: Executor | None = None
    progress: Callable[[int], None] | None = None
    begun: float = field(default_factory=time.perf_counter)
    _ready: dict[Any, tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=dict)

    def rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        """The generator of one purpose: none depends on what was computed before."""
        return stream(self.seed, purpose, *numbers)

    def advance(self, rows: int) -> None:
        """Show that so many rows more are done."""
        if self.progress:
            self.progress(rows)

    # ------------------------------------------------------------------------------------------------------------ parts

    def each(
        self,
        work: Callable[..., Any],
        about: tuple[Any, ...],
        parts: Sequence[Any],
        *,
        rows: Callable[[Any], int] = len,
        name: str = "",
        made: Callable[..., Any] = dict,
        then: Callable[[int, Any], Any] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Give (i, ``work(*about, parts[i])``) for each part: first those that are kept, then others as they finish.

        Parameters
        ----------
        work : callable
            (*about, part) -> arrays by name, as a dict or a named tuple. Without an executor it is given ``progress=``.
        about : tuple
            What all parts have in common: a worker of another process unpacks it once.
        parts : sequence
            One argument for each part.
        rows : callable
            How many rows a part has, for the bar.
        name : str
            Tells the parts of one call apart, where it has several sets of them.
        made : callable
            Makes of arrays by name what `work` gives.
        then : callable, optional
            (i, result) -> what is kept of it and given in its place.

        Raises
        ------
        ExecutorError
            If the executor takes no work, or lost its workers.
        """
        left = []
        for number, part in enumerate(parts):
            found = self.kept(f"{name}{number:06d}", made)
            if found is None:
                left.append(number)
                continue
            self.advance(rows(part))
            yield number, found
        for number, result in self._spread(work, about, parts, left, rows):
            found = result if then is None else then(number, result)
            del result  # it may be large, and the next one is computed before this name is given to it
            self.keep(f"{name}{number:06d}", found)
            yield number, found

    def spread(self, work: Callable[..., Any], about: tuple[Any, ...], parts: Sequence[Any]) -> list[Any]:
        """Compute ``work(*about, part)`` of every part, in their order: what is neither kept nor shown."""
        found = dict(self._spread(work, about, parts, range(len(parts)), None))
        return [found[number] for number in range(len(parts))]

    def once(self, name: str, compute: Callable[[], Any], made: Callable[..., Any] = dict) -> Any:
        """Compute something unless it is kept, and keep it: one part, as of a chain, where each needs the last."""
        found = self.kept(name, made)
        if found is None:
            found = compute()
            self.keep(name, found)
        return found

    def kept(self, name: str, made: Callable[..., Any] = dict) -> Any:
        """What is kept under a name. None where nothing is, or what cannot be read back: it is made again then."""
        if self.folder is None:
            return None
        try:
            with open(self.folder / f"{name}.npz", "rb") as handle, np.load(handle) as arrays:
                found = {key: arrays[key] for key in arrays}
            return made(**found) if found.pop("call").item() == self._digest else None
        except Exception:  # the archive raises whatever it likes on bytes that were changed
            return None

    def keep(self, name: str, found: Any) -> None:
        """Keep arrays by name, whole or not at all, and before the first the call that they belong to.

        Not earlier: a call that finished nothing, because of a mistake in its model, must not stand in the way of the
        next.
        """
        if self.folder is None:
            return
        arrays = found._asdict() if hasattr(found, "_asdict") else found
        if not (self.folder / CALL).exists():
            with replacing(self.folder / CALL) as handle:
                handle.write(json.dumps(self.asked).encode())
        with replacing(self.folder / f"{name}.npz") as handle:
            np.savez(handle, allow_pickle=False, call=np.array(self._digest), **arrays)

    def forget(self, numbers: Iterable[int]) -> None:
        """Have parts made again that turned out to be no good."""
        for number in numbers:
            assert self.folder is not None
            (self.folder / f"{number:06d}.npz").unlink(missing_ok=True)

    @property
    def _digest(self) -> str:
        return _digest(self.asked)

    def _spread(
        self,
        work: Callable[..., Any],
        about: tuple[Any, ...],
        parts: Sequence[Any],
        left: Sequence[int],
        rows: Callable[[Any], int] | None,
    ) -> Iterator[tuple[int, Any]]:
        if self.executor is None:
            for i in left:
                yield i, work(*about, parts[i], progress=self.progress if rows else None)
            return
        key = (work, *map(id, about))
        if key not in self._ready:  # with what it is about: no other gets its place in memory
            self._ready[key] = _ready(work, about, self.executor), about
        sent, _ = self._ready[key]
        waiting = iter(left)
        running: dict[Future[Any], int] = {}
        try:
            while True:
                for i in waiting:
                    running[_submitted(self.executor, sent, parts[i])] = i
                    # On their way at once: enough for many workers, and what the results of all may take is a few GB.
                    if len(running) >= 32:
                        break
                if not running:
                    return
                ended = wait(running, return_when=FIRST_COMPLETED).done
                for future in sorted(ended, key=lambda one: one.exception() is not None):  # none is lost to a failure
                    i = running.pop(future)
                    yield i, future.result()
                    if rows:
                        self.advance(rows(parts[i]))
        except BrokenExecutor as error:
            raise ExecutorError(
                f"the executor lost its workers ({error or type(error).__name__}); a new one goes on, from what a "
                "store has"
            ) from error
        finally:
            for future in running:
                future.cancel()

    # ----------------------------------------------------------------------------------------------------------- result

    def done(
        self,
        made: Mapping[str, xr.Dataset] | Growth,
        attrs: Mapping[str, Any],
        verdict: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        """Describe the result, save it, remove what was kept of parts, and warn once of what its verdict says.

        Parameters
        ----------
        made : mapping of str to Dataset, or Growth
            The groups, or the folder where they were written part by part.
        attrs : mapping
            What the tree is to say of itself beside the seed, the time and the call.
        verdict : mapping, optional
            What the group ``verdict`` says of the whole. Without it, its own attributes.
        """
        said = verdict if isinstance(made, Growth) else made["verdict"].attrs
        assert said is not None
        given = self.random_seed
        whole = {
            **attrs,
            "random_seed": int(given) if isinstance(given, int | np.integer) else str(given),
            "seed": self.seed,
            "sampling_time": time.perf_counter() - self.begun,
            **({"call": dict(self.asked)} if self.store else {}),
        }
        if self.store is None:
            assert not isinstance(made, Growth)
            result = tree(made, whole)
        else:
            assert self.folder is not None
            if self.store.exists():  # nobody's result is replaced
                raise ValueError(
                    f"{self.store} was written by others while this call computed; move it away, and the same call "
                    f"goes on from {self.folder}"
                )
            if not isinstance(made, Growth):
                save(tree(made, whole), self.store)
            else:
                made.finish(whole, {"verdict": said})
                if self.store.suffix == ".zarr":
                    put(made.path, self.store)
                else:
                    save(load(made.path, in_memory=False), self.store)
            result = load(self.store, in_memory=None)
            _tidied(self.folder)  # not before the result was read back
        warn_once(said)  # after all is saved: who makes errors of warnings loses nothing
        return result


def warn_once(verdict: Mapping[str, Any]) -> None:
    """Warn of what a verdict (the attributes of its group) says, at the user's line that called this package."""
    if verdict["warned"]:
        warnings.warn(verdict["sentence"], UserWarning, skip_file_prefixes=(os.path.dirname(__file__),))


def stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Make the generator of one purpose of a call: by a hash of its name and numbers, so that no two are the same.

    Examples
    --------
    >>> bool(stream(1, "truth", 2).integers(2**62) == stream(1, "truth", 2).integers(2**62))
    True
    >>> bool(stream(1, "truth", 2).integers(2**62) == stream(1, "truth", 3).integers(2**62))
    False
    """
    text = json.dumps([int(seed), purpose, *map(int, numbers)])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]))


def told(digest: Callable[[Any], str], value: Any) -> Any:
    """What tells a value apart, for `asked`: its digest, or that it has none."""
    try:
        return digest(value)
    except Unknown as error:
        return {UNKNOWN: str(error)}


def cut(total: int, size: int) -> list[slice]:
    """Cut rows 0..total into parts of `size`; the last may be smaller."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


# ------------------------------------------------------------------------------------------------------------- opening


@contextmanager
def long_call(
    function: str,
    asked: Callable[[], Mapping[str, Any]],
    random_seed: Seed,
    store: str | os.PathLike[str] | None,
    executor: Executor | None,
    progressbar: bool,
    *,
    total: int,
    units: str = "parts",
    folder: Path | None = None,
) -> Iterator[Call]:
    """Open a call: checked, seeded, compared with what its store has, which is locked as long as the context lasts.

    Parameters
    ----------
    function : str
        Its name, for messages.
    asked : callable
        () -> what tells calls apart, as JSON has it. Asked for only where there is a store.
    random_seed : int, Generator or None
        The seed; with None, that of the call that was stopped, if it was given none either.
    store : path, optional
        Where the result will be.
    executor : Executor, optional
        Who computes the parts.
    progressbar : bool
        Whether to show one, of `total` rows.
    units : str
        What is kept, in plural: blocks, levels, chains.
    folder : Path, optional
        Where parts are kept and stay, of a call whose result is no tree.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the executor forks its workers; if the store cannot be written, is damaged, was written by another call, or
        is being written by another process.
    KeyboardInterrupt
        With what is kept and how to go on.
    OSError
        Where the disk is full or fails, with the same.
    """
    begun = time.perf_counter()
    flag(progressbar, "progressbar")
    check_executor(executor)
    store = None if store is None else path_like(store, "store", "run.zarr")
    call = partial(Call, function, random_seed=random_seed, executor=executor, begun=begun)
    seed = seed_of(random_seed)
    if store is None and folder is None:
        with progress_bar(function, total, progressbar) as progress:
            yield call(seed, progress=progress)
        return
    given = random_seed is not None
    ours = {"format": FORMAT, "function": function, **asked(), "random_seed": seed if given else None}
    ours = json.loads(json.dumps(ours, default=lambda value: value.tolist()))  # an int of NumPy's is an int
    with _opened(store, folder, ours, seed, given, units) as (place, kept, known, finished):
        # Resolved now: somebody may change the folder while the call runs.
        opened = call(known["seed"], asked=known, store=place, folder=kept, finished=finished)
        if finished is not None:
            yield opened
            return
        with progress_bar(function, total, progressbar) as progress:
            yield call(known["seed"], asked=known, store=place, folder=kept, progress=progress)


Opened = tuple[Path | None, Path, dict[str, Any], xr.DataTree | None]


@contextmanager
def _opened(
    store: Path | None, folder: Path | None, ours: dict[str, Any], seed: int, given: bool, units: str
) -> Iterator[Opened]:
    """Lock a store, and compare the call with what is there."""
    if store is not None:
        check_target(store, overwrite=True)
        folder = levels_folder(store)
    assert folder is not None
    named, place, kept = store or folder, None if store is None else _resolved(store), _resolved(folder)
    lock = None if place is not None and place.exists() else _locked(named, folder)
    if place is not None and place.exists():  # it may have come while this process waited for the lock
        if lock is not None:
            lock.release()
        finished = load(place, in_memory=None)
        known = _compared(named, kept, ours, seed, given, finished)
        _tidied(kept)  # what a run leaves that was killed at its very end
        yield place, kept, known, finished
        return
    assert lock is not None
    try:
        held_in(kept)
    except Elsewhere as error:  # what is written there must not be written elsewhere
        lock.release()
        raise ValueError(f"{folder} is damaged ({error}); remove it to begin anew") from error

    def kept_so_far() -> str:
        count = sum(1 for _ in kept.glob("*.npz"))
        return f"{count} are kept in {folder}, and the same call goes on from there" if count else "none is kept"

    try:
        yield place, kept, _compared(named, kept, ours, seed, given, None), None
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{ours['function']} was stopped: of its {units} {kept_so_far()}") from error
    except OSError as error:
        if error.errno not in (*FULL, errno.EIO, errno.EROFS):
            raise
        advice = "make room" if error.errno in FULL else "choose a disk that works"
        raise OSError(
            error.errno, f"{named} cannot be written ({error.strerror}), {advice}: of its {units} {kept_so_far()}"
        ) from error
    finally:
        _tidied(kept, only_if_empty=True)
        lock.release()


def _resolved(path: Path) -> Path:
    """Where a path lies now: its own name, in the folder that its parent leads to."""
    return path.parent.resolve() / path.name


def _locked(named: Path, folder: Path) -> FileLock:
    """A store's lock. The system lets go of it when a process ends, however it ends."""
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock((folder / LOCK).absolute(), timeout=0)
            with suppress(FileNotFoundError):  # another process has ended just now, and taken the folder away
                lock.acquire()
                with tempfile.TemporaryFile(dir=folder):
                    pass
                if (folder / LOCK).exists():
                    return lock
            lock.release()
    except OSError as error:  # now, not after hours
        if isinstance(error, Timeout):
            raise ValueError(
                f"{named} is being written by another process or thread; wait until that is done, or choose another "
                "store"
            ) from None
        raise ValueError(f"{named} cannot be written ({error}); choose another store") from error


def _tidied(folder: Path, only_if_empty: bool = False) -> None:
    """Remove a folder that no run needs any more."""
    if only_if_empty and any(file.name != LOCK for file in folder.glob("*")):
        return
    shutil.rmtree(folder, ignore_errors=True)


def _compared(
    named: Path, folder: Path, ours: dict[str, Any], seed: int, given: bool, finished: xr.DataTree | None
) -> dict[str, Any]:
    """Our call with its seed, if what is there is of the same."""
    before = finished.attrs.get("call") if finished is not None else _call_in(folder, ours | {"seed": seed}, given)
    if finished is not None and before is None:
        raise ValueError(f"{named} holds a result that {ours['function']} did not write; choose another store")
    if before is None:
        return ours | {"seed": seed}
    ours = ours | {"seed": seed if given else before["seed"]}
    there = named if finished is not None else folder
    advice = f"choose another store, or remove {there}"
    which = named if finished is not None or named == folder else f"{named} belongs to a call that was stopped, and"
    unknown = next((value[UNKNOWN] for value in ours.values() if isinstance(value, dict) and UNKNOWN in value), None)
    if unknown:
        raise ValueError(
            f"{which} may have been written by another call: {unknown} cannot be compared with what was there; {advice}"
        )
    differs = [name for name in ours if before.get(name) != ours[name]]
    if differs:
        name = differs[0]
        was, now = _brief(str(before.get(name)), str(ours[name]))
        raise ValueError(f"{which} was written by another call: {name} was {was} there and is {now} here; {advice}")
    return ours


def _call_in(folder: Path, ours: dict[str, Any], given: bool) -> dict[str, Any] | None:
    """The call that the parts in a folder belong to; None where there is none."""
    file = folder / CALL
    if not file.exists():
        if any(folder.glob("*.npz")):
            raise ValueError(f"{folder} has parts of an unknown call, since {file.name} is missing; remove the folder")
        return None
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(before, dict) or not {"format", "function", "seed"} <= before.keys():
            raise ValueError("it is no call")
        return before
    except (ValueError, RecursionError) as error:
        if given and any(_is_of(part, ours) for part in folder.glob("*.npz")):  # parts know whose they are
            with replacing(file) as handle:
                handle.write(json.dumps(ours).encode())
            return ours
        raise ValueError(f"{file} is damaged ({error}); remove {file.parent} to begin anew") from error


def _is_of(part: Path, asked: Mapping[str, Any]) -> bool:
    try:
        with np.load(part) as arrays:
            return bool(arrays["call"].item() == _digest(asked))
    except Exception:  # as in `Call.kept`
        return False


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _brief(*texts: str) -> list[str]:
    """Shorten two long texts to where they differ."""
    same = 0
    if max(map(len, texts)) > 60:
        differ = (i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1)
        same = next(differ, min(map(len, texts)))  # one may begin with all of the other
    short = [f"...{text[same - 20 :]}" if same > 20 else text for text in texts]
    return [text if len(text) <= 60 else text[:57] + "..." for text in short]


# ----------------------------------------------------------------------------------------------------------- executors


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


def _ready(work: Callable[..., Any], about: tuple[Any, ...], executor: Executor) -> Callable[..., Any]:
    """Make a function of a part of ``work(*about, part)``, fit to be sent to the workers of an executor.

    Threads see what is here. Others get a copy, packed once, unpacked (and compiled) once by each worker.
    """
    if isinstance(executor, ThreadPoolExecutor):
        return partial(work, *about)
    return _Packed(cloudpickle.dumps((work, about)))


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


# ------------------------------------------------------------------------------------------------------------ progress


@contextmanager
def progress_bar(what: str, total: int, show: bool) -> Iterator[Callable[[int], None] | None]:
    """Show how much of `total` is done, on stderr. A call that takes less than half a second shows nothing."""
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(what, total=total)
    started, begun = False, time.perf_counter()

    def advance(rows: int) -> None:
        nonlocal started
        bar.advance(task, rows)
        if not started and time.perf_counter() - begun > 0.5:
            bar.start()
            started = True

    try:
        yield advance
    finally:
        if started:
            bar.stop()
