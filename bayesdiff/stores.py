"""Stores: what a long call has finished, kept beside its result until that is saved.

A store belongs to one call. The same call again finds what was finished and goes on from there; another call (another
prior, number of draws or seed) is refused, with the first difference named.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from filelock import FileLock, Timeout
from pymc.backends.arviz import find_observations

from bayesdiff.compiled import CompiledPrior
from bayesdiff.results import FORMAT, check_target, levels_folder, load

LOCK = "lock"
# What a disk answers that is full, has a limit, or fails.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK = (*FULL, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class Place:
    """Where a call keeps what it has finished, and what an equal call has left there.

    Attributes
    ----------
    store : Path
        Where the result will be.
    folder : Path
        Where parts are kept until then, with the call in ``call.json``: see `keep`.
    call : dict
        What tells calls apart, as JSON has it, its ``seed`` included.
    finished : DataTree or None
        The result, if there is one already.
    """

    store: Path
    folder: Path
    call: dict[str, Any]
    finished: xr.DataTree | None = None


@contextmanager
def opened(
    store: str | os.PathLike[str], call: Mapping[str, Any], *, seed: int, given: bool, what: str, units: str
) -> Iterator[Place]:
    """Open a store for one call and no other, as long as the context lasts.

    Parameters
    ----------
    store : path
        Where the result will be.
    call : mapping
        What tells calls apart, as JSON has it.
    seed : int
        The seed of this call; an earlier one's is taken if none was `given`.
    given : bool
        Whether the user gave a seed.
    what : str
        The name of the function, for messages.
    units : str
        What is kept, in plural: blocks, levels.

    Raises
    ------
    ValueError
        If the store cannot be written, is damaged, was written by another call, or is being written by another process.
    KeyboardInterrupt
        With what is kept and how to go on.
    OSError
        Where the disk is full or fails, with the same.
    """
    store = Path(store)
    folder = levels_folder(store)
    check_target(store, overwrite=True)
    if store.exists():
        place = _compared(store, folder, call, seed, given, what)
        _tidied(folder)  # what a run leaves that was killed at its very end
        yield place
        return
    lock = _locked(store, folder)

    def kept_so_far() -> str:
        count = sum(1 for _ in folder.glob("*.npz"))
        return f"{count} are kept in {folder}, and the same call goes on from there" if count else "none is kept"

    try:
        yield _compared(store, folder, call, seed, given, what)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{what} was stopped: of its {units} {kept_so_far()}") from error
    except OSError as error:
        if error.errno not in DISK:
            raise
        advice = "make room" if error.errno in FULL else "choose a disk that works"
        raise OSError(
            error.errno, f"{store} cannot be written ({error.strerror}), {advice}: of its {units} {kept_so_far()}"
        ) from error
    finally:
        _tidied(folder, only_if_empty=True)
        lock.release()


def _locked(store: Path, folder: Path) -> FileLock:
    """A store's lock. The system lets go of it when a process ends, however it ends."""
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / LOCK, timeout=0)
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
                f"{store} is being written by another process or thread; wait until that is done, or choose another "
                "store"
            ) from None
        raise ValueError(f"{store} cannot be written ({error}); choose another store") from error


def _tidied(folder: Path, only_if_empty: bool = False) -> None:
    """Remove a folder that no run needs any more."""
    if only_if_empty and any(file.name != LOCK for file in folder.glob("*")):
        return
    shutil.rmtree(folder, ignore_errors=True)


def _compared(store: Path, folder: Path, call: Mapping[str, Any], seed: int, given: bool, what: str) -> Place:
    # As it is read from a file: an int of NumPy's is an int.
    ours = json.loads(json.dumps({"format": FORMAT, "function": what, **call}, default=lambda value: value.tolist()))
    file = folder / "call.json"
    finished = load(store, in_memory=None) if store.exists() else None
    before = None
    if finished is not None:
        before = finished.attrs.get("call")
    elif file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(before, dict) or "seed" not in before:
                raise ValueError("it is no call")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is damaged ({error}); remove {file.parent} to begin anew") from error
    if before is not None:
        ours["seed"] = seed if given else before["seed"]
        differs = [name for name in ours if before.get(name) != ours[name]]
        if differs:
            name = differs[0]
            there, here = _brief(str(before.get(name)), str(ours[name]))
            which = store if finished is not None else f"{store} belongs to a call that was stopped, and"
            raise ValueError(
                f"{which} was written by another call: {name} was {there} there and is {here} here; choose another "
                f"store, or remove {store if finished is not None else folder}"
            )
    elif finished is not None:
        raise ValueError(f"{store} holds a result that {what} did not write; choose another store")
    elif any(folder.glob("*.npz")):
        raise ValueError(f"{folder} has parts of an unknown call, since {file.name} is missing; remove the folder")
    else:
        ours["seed"] = seed
    return Place(store, folder, ours, finished)


def concluded(place: Place) -> xr.DataTree:
    """Read a result that was put in its place, and only then remove what was kept until it was there."""
    found = load(place.store, in_memory=None)
    _tidied(place.folder)
    return found


def keep(file: Path, call: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays in a file, whole or not at all, and before them the call that they belong to.

    Not earlier: a call that finished nothing, because of a mistake in its model, must not stand in the way of the next.
    """
    named = file.parent / "call.json"
    if not named.exists():
        with replacing(named) as handle:
            handle.write(json.dumps(dict(call)).encode())
    with replacing(file) as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def kept(file: Path, otherwise: str) -> dict[str, np.ndarray] | None:
    """Read what was kept, or None where nothing was. `otherwise`: what happens when a damaged file is removed.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    if not file.exists():
        return None
    try:
        with open(file, "rb") as handle, np.load(handle) as arrays:
            return {key: arrays[key] for key in arrays}
    except Exception as error:  # the archive raises whatever it likes on bytes that were changed
        raise ValueError(f"{file} is damaged ({error}); remove it, and {otherwise}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Chains that finish together write the same call: each beside the others.
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def digest(arrays: list[np.ndarray]) -> str:
    """Tell arrays apart."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(str((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def fingerprint(prior: CompiledPrior) -> str:
    """Tell priors apart: by their data, their dimensions, and what they make of a few states.

    That is their log density, of a level prior at three levels, and all that people read, Deterministics included.
    """
    normal = np.random.default_rng(0).normal(size=(12, prior.n))
    # Around 0, and around where the model begins: a density may be 0 at most places.
    states = normal + np.where(np.arange(12)[:, None] < 6, 0.0, prior.initial_point())
    model, last = prior.model, None if prior.schedule is None else prior.schedule.levels
    at = [prior] if last is None else [prior.at_level(k) for k in sorted({0, (last + 1) // 2, last})]
    # Rounded: the last digits of a density may depend on the machine, and those of a float32 network do.
    logp = [f"{value:.{8 if last is None else 4}e}" for level in at for value in level.logp(states)]
    read = [f"{name} {value:.4e}" for name, values in prior.constrain(states).items() for value in values.ravel()]
    labels = {dim: None if values is None else list(map(str, values)) for dim, values in sorted(model.coords.items())}
    dims = sorted((name, list(map(str, of))) for name, of in model.named_vars_to_dims.items())
    text = json.dumps([prior.layout.labels, logp, read, labels, dims])
    observed = [np.asarray(values) for _, values in sorted(find_observations(model).items())]
    return digest([np.frombuffer(text.encode(), np.uint8), *(values for values in observed if values.dtype != object)])


def _brief(*texts: str) -> list[str]:
    """Shorten two long texts to where they differ."""
    same = 0
    if max(map(len, texts)) > 60:
        same = next((i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), 0)
    cut = [f"...{text[same - 20 :]}" if same > 20 else text for text in texts]
    return [text if len(text) <= 60 else text[:57] + "..." for text in cut]
