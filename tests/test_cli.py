"""The command line: what it computes, against closed forms; what it refuses, in which words; what asking costs."""

import functools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import browser, contrast, opened, overflow

import bayesdiff as bd
from bayesdiff import cli, results
from bayesdiff.cli import tables

MODELS = Path(__file__).parents[1] / "models"
GAUSSIAN, MIXTURE = MODELS / "gaussian.py", MODELS / "mixture.py"

PAIR = """
import pymc as pm

def prior():
    with pm.Model(coords={"place": ["a", "b", "c"]}) as model:
        pm.Normal("mu")
        pm.Normal("z", dims="place")
    return model
"""


def run(*args):
    """The exit status of a command, whether `main` returned it or argparse left with it."""
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as error:
        return error.code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def compiled_once(known, monkeypatch):
    """A prior is compiled once for all tests of what is done with o: they tell priors apart by their variables."""
    compile_prior = bd.compile_prior

    def compiled(model):
        names = tuple(model.named_vars)
        known[names] = known[names] if names in known else compile_prior(model)
        return known[names]

    monkeypatch.setattr("bayesdiff.compiled.compile_prior", compiled)


# ------------------------------------------------------------------------------------------------------- what it costs


@pytest.mark.parametrize(
    "args",
    [
        [["--help"], ["--version"], ["run", "--help"], ["demo", "--help"], ["sample", "--help"], ["explore", "--help"]],
        [["run"]],
    ],
)
def test_asking_imports_nothing_heavy(args):
    code = f"""
import sys
from bayesdiff.cli import main
for asked in {args!r}:
    try:
        main(asked)
    except SystemExit:
        pass
print("\\n" + __import__("json").dumps(list(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint({"pymc", "pytensor", "jax", "arviz", "xarray", "numpy", "matplotlib", "rich"})


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"bayesdiff {bd.__version__}\n"


# ------------------------------------------------------------------------------------------------------ what it answers


def test_both_inversions_of_the_article(folder, capsys):
    assert run("run", GAUSSIAN, "--o", "-30.3", "--sigma", 10, "--out", "r.zarr", "--draws", 500, "--seed", 1) == 0
    saved = bd.load("r.zarr")
    assert set(saved.children) == {"map", "posterior"}
    assert saved.attrs["model"] == "gaussian.py"
    mode, draws = saved["map"]["posterior"]["x"], saved["posterior"]["posterior"]["x"]
    assert mode.item() == pytest.approx(-30.3 / 101, rel=1e-9)
    assert dict(draws.sizes) == {"chain": 4, "draw": 500}
    sd = np.sqrt(100 / 101)
    error = bd.compare(saved["map"], saved["posterior"])["x"].sel(summary="mcse_mean").item()
    assert abs(draws.mean().item() + 30.3 / 101) < 4 * error
    assert draws.std().item() == pytest.approx(sd, abs=4 * sd / np.sqrt(2 * 500))
    out = capsys.readouterr().out
    [row] = [line.split() for line in out.splitlines() if line.split()[:1] == ["x"]]
    assert row[1] == "-0.3"
    assert float(row[2]) == pytest.approx(draws.mean().item(), rel=1e-3)
    assert 'Saved in r.zarr. In Python: bayesdiff.load("r.zarr")' in out


def test_the_posterior_alone(folder, capsys):
    args = ["run", GAUSSIAN, "--o", "5", "--sigma", "10", "--invert", "posterior", "--out", "r.zarr"]
    assert run(*args, "--draws", 100, "--tune", 40, "--chains", 2, "--seed", 3) == 0
    saved = bd.load("r.zarr")
    assert list(saved.children) == ["posterior"]
    assert dict(saved["posterior"]["posterior"].sizes) == {"chain": 2, "draw": 100}
    assert [saved["posterior"].attrs[name] for name in ("random_seed", "draws", "tune", "chains")] == [3, 100, 40, 2]
    out = capsys.readouterr().out
    assert {"r_hat", "ess_bulk"} <= set(out.split())


@pytest.mark.parametrize(
    ("o", "expected"),
    [
        ("5.0", 5.0),
        ("-3.2", -3.2),
        ("-3.2,5", [-3.2, 5.0]),
        ("-1e1", -10.0),
        ("-.5", -0.5),
        ("x=-7,8,9", [-7.0, 8.0, 9.0]),
        ("one.npy", 2.5),
        ("many.npy", [1.0, 2.0]),
        ("x=many.npy", [1.0, 2.0]),
        ("many.npz", [3.0, 4.0]),
        ("bare.csv", [1.0, -2.0]),
        ("named.csv", [5.0, 6.0]),
        ("gaps.csv", [1e-3, 0.1, -3.0]),
    ],
)
@pytest.mark.usefixtures("compiled_once")
def test_every_way_to_write_one_variable(folder, o, expected):
    np.save("one.npy", 2.5)
    np.save("many.npy", [1.0, 2.0])
    np.savez("many.npz", x=[3.0, 4.0])
    Path("bare.csv").write_text("1\n-2\n")
    Path("gaps.csv").write_text('1e-3\n\n .1\n"-3"\n  \n')
    Path("named.csv").write_text("\ufeffx\r\n5\r\n6\r\n\r\n")
    assert run("run", GAUSSIAN, "--o", o, "--sigma", 10, "--invert", "map", "--out", "r.zarr") == 0
    found = bd.load("r.zarr")["map"]["posterior"]["x"].values[0, 0]
    np.testing.assert_allclose(found, np.array(expected) / 101, rtol=1e-9)
    assert found.shape == np.shape(expected)


PARTS = ["--o", "mu=-1", "--o", "z=1,2,3"]


@pytest.mark.parametrize(
    ("args", "mu", "z"),
    [
        (PARTS, -1.0, [1.0, 2.0, 3.0]),
        (["--o", "z=1,2,3,4,5,6", "--o", "mu=-1,-2"], [-1.0, -2.0], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (["--o", "pair.csv"], [-1.0, 7.0], [[1.0, 2.0, 3.0], [8.0, 9.0, 10.0]]),
        (["--o", "pair.npz"], 0.5, [4.0, 5.0, 6.0]),
    ],
)
@pytest.mark.usefixtures("compiled_once")
def test_every_way_to_write_several_variables(folder, args, mu, z):
    Path("pair.py").write_text(PAIR)
    Path("pair.csv").write_text('"z[1]",mu, z[0] ,z[2]\n2,-1,1,3\n9,7,8,10\n')
    np.savez("pair.npz", mu=0.5, z=[4.0, 5.0, 6.0])
    # sigma = 1: the mode is o / 2.
    assert run("run", "pair.py", *args, "--sigma", 1, "--invert", "map", "--out", "r.zarr") == 0
    found = bd.load("r.zarr")["map"]["posterior"]
    np.testing.assert_allclose(found["mu"].values[0, 0], np.array(mu) / 2, atol=1e-9)
    np.testing.assert_allclose(found["z"].values[0, 0], np.array(z) / 2, atol=1e-9)
    assert found["z"].coords["place"].values.tolist() == ["a", "b", "c"]


@pytest.mark.usefixtures("compiled_once")
def test_alpha_and_sigma_per_observation(folder, capsys):
    args = ["--o", "1,-2", "--alpha", "-1,.5", "--sigma", "1,2", "--invert", "map", "--out", "r.zarr"]
    assert run("run", GAUSSIAN, *args) == 0
    expected = np.array([-1 * 1 / 2, 0.5 * -2 / 4.25])  # alpha o / (alpha^2 + sigma^2)
    np.testing.assert_allclose(bd.load("r.zarr")["map"]["posterior"]["x"].values[0, 0], expected, rtol=1e-9)
    out = capsys.readouterr().out
    assert re.search(r"x at observation 1 +-0\.2353", out)


@pytest.mark.usefixtures("compiled_once")
def test_a_long_batch_prints_its_first_rows(folder, capsys):
    np.save("o.npy", np.arange(100.0))
    assert run("run", GAUSSIAN, "--o", "o.npy", "--sigma", 10, "--invert", "map", "--out", "r.zarr") == 0
    assert f"... and {3 * 100 - tables.MOST_ROWS} rows more, in the saved run" in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 200])
def test_the_first_rows_of_a_posterior_and_how_many_there_are_more(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    x = np.random.default_rng(1).normal(size=(2, 10, 30, 2))
    about = {"sample_dims": ("chain", "draw"), "coords": {"place": ["a", "b"]}}
    run = results.dataset({"x": x}, dims={"x": ["observation", "place"]}, **about)
    tables.show({"posterior": results.tree({"posterior": run})})
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith("x[b] at observation 9 ")]
    assert rows[0][4] == f"{x[:, :, 9, 1].mean():.4g}"
    assert len(rows) == (1 if width == 200 else 2)  # where the columns do not fit beside each other
    assert max(map(len, out.splitlines()[2:])) <= width
    assert "... and 40 rows more, in the saved run" in out
    tables.show({"posterior": results.tree({"posterior": run.isel(observation=slice(10))})})
    assert "rows more" not in capsys.readouterr().out


def test_modes_are_listed_best_first(folder, capsys):
    assert run("run", MIXTURE, "--o", "0", "--sigma", 10, "--invert", "map", "--seed", 1, "--out", "r.zarr") == 0
    [row] = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["x"]]
    # Between components that hardly overlap, the modes are those of N(m, v) times N(0; x, 100): m / (1 + v / 100).
    np.testing.assert_allclose([float(value) for value in row[1:]], [2 / 1.000625, -2 / 1.01], atol=2e-3)


@pytest.mark.usefixtures("compiled_once")
def test_overwrite_replaces_a_run(folder):
    args = ["run", GAUSSIAN, "--sigma", "1", "--invert", "map", "--out", "r.zarr", "--overwrite"]
    assert run(*args, "--o", "2") == 0
    assert run(*args, "--o", "4") == 0
    assert bd.load("r.zarr")["map"]["posterior"]["x"].item() == pytest.approx(2.0)


def test_a_file_may_import_those_beside_it(folder):
    Path("deep").mkdir()
    Path("deep/beside_it.py").write_text("SCALE = 2.0\n")
    source = "import pymc as pm\nfrom beside_it import SCALE\ndef prior():\n    with pm.Model() as m:\n"
    Path("deep/mine.py").write_text(source + "        pm.Normal('x', 0, SCALE)\n    return m\n")
    try:
        args = ["--o", "2", "--sigma", "2", "--invert", "map", "--out", "new/r.zarr"]
        assert run("run", "deep/mine.py", *args) == 0
    finally:
        sys.modules.pop("beside_it", None)
    assert bd.load("new/r.zarr")["map"]["posterior"]["x"].item() == pytest.approx(1.0)
    # Some other module's import may have added a folder of its own.
    assert str(Path("deep").resolve()) not in sys.path


# ------------------------------------------------------------------------------------------------------ what it refuses

FILES = {
    "empty.py": "x = 1\n",
    "number.py": "prior = 3\n",
    "raises.py": "def helper():\n    return 1 / 0\n\n\ndef prior():\n    return helper()\n",
    "deep.py": "import pymc as pm\n\n\ndef prior():\n    with pm.Model():\n        pm.Normal('x', dims='nowhere')\n",
    "syntax.py": "def prior():\n    return (\n",
    "top.py": "\nraise RuntimeError('no\\n  data')\n",
    "leaves.py": "import sys\nsys.exit('bye')\n",
    "none.py": "def prior():\n    pass\n",
    "argument.py": "def prior(level):\n    pass\n",
    "discrete.py": PAIR.replace('Normal("mu"', 'Poisson("k", 3'),
    "pair.py": PAIR,
    "nothing.csv": "x\n",
    "ragged.csv": "1\n2,3\n",
    "text.csv": "x\n1\ntwo\n",
    "gaps.csv": "a,b\n\n,\n1,2\n1, 2 3\n",
    "short.csv": "1,2\n3\n",
    "two.csv": "1,2\n3,4\n",
    "other.csv": "y\n1\n",
    "bad.npy": "no array",
    "prior.txt": "def prior(): ...",
}

REFUSED = [
    ("nowhere.py --o 1", "there is no file nowhere.py"),
    ("prior.txt --o 1", "prior.txt is not a Python file; its name must end in .py"),
    ("empty.py --o 1", "empty.py has no function `prior`; write `def prior() -> pm.Model: ...`"),
    ("number.py --o 1", "number.py has no function `prior`; write `def prior() -> pm.Model: ...`"),
    ("raises.py --o 1", "raises.py, line 2: prior() raised ZeroDivisionError: division by zero"),
    ("top.py --o 1", "top.py, line 2: it raised RuntimeError: no data"),
    ("leaves.py --o 1", "leaves.py, line 2: it raised SystemExit: bye"),
    ("syntax.py --o 1", "syntax.py, line 2: it raised SyntaxError: '(' was never closed"),
    ("none.py --o 1", "prior() of none.py returned NoneType; it must return a pm.Model"),
    (
        "argument.py --o 1",
        "argument.py: prior() raised TypeError: prior() missing 1 required positional argument: 'level'",
    ),
    (
        "discrete.py --o 1",
        "Gaussian noise needs continuous variables, but ['k'] of the prior are discrete; sum them out (pm.Mixture, or "
        "marginalize of pymc-extras) or observe them",
    ),
    (
        "GAUSSIAN --o 5,x",
        "--o 5,x: '5,x' is not a number, nor numbers with commas between them, nor a file that ends in .npy, .npz or "
        ".csv",
    ),
    ("GAUSSIAN --o nan", "o is nan at 'x'; write a finite number"),
    ("GAUSSIAN --o y=1", "o has unknown names ['y'] and no ['x']; write one entry per free variable, ['x']"),
    ("GAUSSIAN --o x=1 --o 2", "several --o must each name another variable: --o mu=1 --o z=0,0,1"),
    ("GAUSSIAN --o x=1 --o x=2", "several --o must each name another variable: --o mu=1 --o z=0,0,1"),
    ("pair.py --o 1", "the prior has 2 variables; write one --o for each: --o mu=... --o z=..."),
    (
        "pair.py --o mu=1 --o z=1,2",
        "--o gives z 2 numbers, its unconstrained shape (3,) takes 3: write 3 for one observation, 6 for two, and so "
        "on",
    ),
    (
        "pair.py --o mu=1 --o z=1,2,3,4,5,6",
        "o has different batch lengths: {'mu': None, 'z': 2} (None: no batch); give every name the same",
    ),
    ("pair.py --o mu=1", "o has no ['z']; write one entry per free variable, ['mu', 'z']"),
    ("GAUSSIAN --o no.npy", "--o no.npy: there is no file no.npy"),
    ("GAUSSIAN --o x=a.npz", "--o x=a.npz: a .npz file names its variables itself; write --o a.npz"),
    ("GAUSSIAN --o nothing.csv", "--o nothing.csv: nothing.csv cannot be read: it has no line of numbers"),
    (
        "GAUSSIAN --o ragged.csv",
        "--o ragged.csv: ragged.csv cannot be read: Expected 1 fields in line 2, saw 2; write one number for each "
        "column into each line",
    ),
    (
        "GAUSSIAN --o text.csv",
        "--o text.csv: text.csv cannot be read: line 3 has 'two' in column 1, which is no number",
    ),
    (
        "pair.py --o gaps.csv",
        "--o gaps.csv: gaps.csv cannot be read: line 5 has '2 3' in column 2, which is no number",
    ),
    (
        "pair.py --o short.csv",
        "--o short.csv: short.csv cannot be read: line 2 has '' in column 2, which is no number",
    ),
    ("GAUSSIAN --o two.csv", "the .csv has 2 columns, x has 1: x"),
    ("GAUSSIAN --o other.csv", "the .csv has the columns y; the prior needs x"),
    ("pair.py --o two.csv", "the first line of the .csv must name its columns: mu, z[0], z[1], z[2]"),
    ("GAUSSIAN --o 1 --sigma 0", "sigma is 0.0; write a finite number > 0"),
    ("GAUSSIAN --o 1 --sigma -1", "sigma is -1.0; write a finite number > 0"),
    ("GAUSSIAN --o 1 --alpha 0", "alpha is 0.0; write a finite number other than 0"),
    ("GAUSSIAN --o 1 --sigma 1,2", "sigma has shape (2,); write one number"),
    ("GAUSSIAN --o 1,2 --sigma 1,2,3", "sigma has shape (3,); write one number, or one per observation (shape (2,))"),
    ("GAUSSIAN --o 1 --invert map --draws 5", "--draws needs --invert posterior or both: a MAP has no draws"),
    ("GAUSSIAN --o 1 --out r.txt", "r.txt must end in .zarr (a folder) or in .nc (a NetCDF file)."),
    (
        "GAUSSIAN --o 1 --out there.zarr",
        "there.zarr exists. To replace it: overwrite=True in Python, --overwrite on the command line. Or choose "
        "another path.",
    ),
    (
        "GAUSSIAN --o 1 --out there.zarr --overwrite",
        "there.zarr is not a run, so it is not overwritten. Remove it, or choose another path.",
    ),
    ("GAUSSIAN --o 1 --draws 0", "argument --draws: '0' is not a whole number >= 1 (see bayesdiff run --help)"),
    ("GAUSSIAN --o 1 --seed -1", "argument --seed: '-1' is not a whole number >= 0 (see bayesdiff run --help)"),
    ("GAUSSIAN --o", "argument --o: expected one argument (see bayesdiff run --help)"),
    ("GAUSSIAN --o --seed 1", "argument --o: expected one argument (see bayesdiff run --help)"),
    (
        "GAUSSIAN --o 1 --sigma ten",
        "argument --sigma: 'ten' is not a number, nor numbers with commas between them (see bayesdiff run --help)",
    ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "there.zarr").mkdir()
    (folder / "there.zarr" / "precious").touch()
    return folder


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_one_line_for_each_mistake(files, monkeypatch, capsys, line, message):
    monkeypatch.chdir(files)

    def computes(*args, **kwargs):
        pytest.fail("it computed before it refused")

    monkeypatch.setattr("bayesdiff.inversion.find_modes_from", computes)
    monkeypatch.setattr("bayesdiff.inversion.sample_from", computes)
    args = [str(GAUSSIAN) if word == "GAUSSIAN" else word for word in line.split()]
    for option, value in (("--sigma", "10"), ("--out", "r.zarr")):
        if option not in args:
            args[1:1] = [option, value]
    before = sorted(path.name for path in files.iterdir() if path.name != "__pycache__")
    assert run("run", *args) == 2
    out, err = capsys.readouterr()
    assert err == f"bayesdiff run: error: {message}\n"
    assert out == ""
    assert sorted(path.name for path in files.iterdir() if path.name != "__pycache__") == before


def test_an_error_of_pymc_names_the_users_line(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    assert run("run", "deep.py", "--o", 1, "--sigma", 1, "--out", "r.zarr") == 2
    assert re.fullmatch(r"bayesdiff run: error: deep\.py, line 6: prior\(\) raised \w+: .+\n", capsys.readouterr().err)


def test_an_array_that_cannot_be_read(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    assert run("run", GAUSSIAN, "--o", "bad.npy", "--sigma", 1, "--out", "r.zarr") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("bayesdiff run: error: --o bad.npy: bad.npy cannot be read: ")


def test_the_path_is_checked_before_the_file_runs(folder, capsys):
    Path("slow.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    Path("r.zarr").mkdir()
    assert run("run", "slow.py", "--o", 1, "--sigma", 1, "--out", "r.zarr") == 2
    assert "r.zarr exists" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_ctrl_c_is_one_line(folder, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesdiff.inversion.find_map", interrupted)
    assert run("run", GAUSSIAN, "--o", 1, "--sigma", 1, "--out", "r.zarr") == 130
    assert capsys.readouterr().err == "bayesdiff run: interrupted\n"
    assert not Path("r.zarr").exists()


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def bug(*args, **kwargs):
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr("bayesdiff.inversion.find_map", bug)
    with pytest.raises(ValueError, match="operands"):
        run("run", GAUSSIAN, "--o", 1, "--sigma", 1, "--out", "r.zarr")


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("compiled_once")
def test_a_warning_is_one_line(folder, capsys):
    assert run("run", GAUSSIAN, "--o", "1,nan", "--sigma", 1, "--invert", "map", "--out", "r.zarr") == 0
    message = "1 of 2 observations are not finite and came back as NaN: index 1."
    assert f"bayesdiff: warning: {message}\n" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- sample


def test_sample_prints_modes_and_evidence_and_saves_the_run(folder, capsys):
    assert run("sample", MIXTURE, "--out", "r.zarr", "--draws", 300, "--seed", 1) == 0
    saved = bd.load("r.zarr")
    modes, found = saved["modes"], saved["log_evidence"]
    assert dict(saved["posterior"]["x"].sizes) == {"chain": 4, "draw": 300}
    assert saved.attrs["model"] == "mixture.py"
    np.testing.assert_allclose(modes["weight"], [0.7, 0.3], atol=4.5 * modes["weight_se"].values.max())
    assert abs(found["log_evidence"].item()) < 4.5 * found["log_evidence_se"].item() + 0.01
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    for k, (weight, se, lp) in enumerate(
        zip(*(modes[name].values for name in ("weight", "weight_se", "lp")), strict=True)
    ):
        assert [str(k), f"{weight:.4f}", f"{se:.4f}", f"{lp:.2f}"] in rows
    said = re.search(r"log evidence +(\S+) \+- (\S+)\nevaluations +([\d,]+) .+\nseconds +([\d.]+)\n", out).groups()
    assert float(said[0]) == pytest.approx(found["log_evidence"].item(), abs=6e-4)
    assert float(said[1]) == pytest.approx(found["log_evidence_se"].item(), abs=6e-4)
    assert int(said[2].replace(",", "")) == saved["tempering"]["evaluations"].item()
    assert 'Saved in r.zarr. In Python: bayesdiff.load("r.zarr")' in out
    assert [path.name for path in folder.iterdir()] == ["r.zarr"]

    assert run("sample", MIXTURE, "--out", "r.zarr", "--draws", 300, "--seed", 1) == 2
    assert capsys.readouterr().err.startswith("bayesdiff sample: error: r.zarr exists. To replace it:")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("prior.txt", "prior.txt is not a Python file; its name must end in .py"),
        ("empty.py", "empty.py has no function `prior`; write `def prior() -> pm.Model: ...`"),
        ("raises.py", "raises.py, line 2: prior() raised ZeroDivisionError: division by zero"),
        ("none.py", "prior() of none.py returned NoneType; it must return a pm.Model"),
        ("discrete.py", "['k'] of the prior are discrete"),
        ("GAUSSIAN --out r.txt", "r.txt must end in .zarr (a folder) or in .nc (a NetCDF file)."),
        ("GAUSSIAN --out there.zarr", "there.zarr exists. To replace it:"),
        ("GAUSSIAN --out there.zarr --overwrite", "there.zarr is not a run, so it is not overwritten."),
        ("GAUSSIAN --draws 0", "argument --draws: '0' is not a whole number >= 1 (see bayesdiff sample --help)"),
    ],
)
def test_sample_refuses_in_one_line(files, monkeypatch, capsys, line, message):
    monkeypatch.chdir(files)
    monkeypatch.setattr("bayesdiff.multimodal.sampling.scout", lambda *_: pytest.fail("it computed before it refused"))
    args = [str(GAUSSIAN) if word == "GAUSSIAN" else word for word in line.split()]
    before = sorted(path.name for path in files.iterdir() if path.name != "__pycache__")
    assert run("sample", *args, *([] if "--out" in args else ["--out", "r.zarr"])) == 2
    out, err = capsys.readouterr()
    assert err.startswith("bayesdiff sample: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert sorted(path.name for path in files.iterdir() if path.name != "__pycache__") == before


def test_a_model_can_be_corrected_after_a_refusal(folder, capsys):
    source = "import pymc as pm\n\ndef prior():\n    with pm.Model() as m:\n        pm.Normal('x')\n"
    wrong = "        pm.Potential('p', pm.math.log(-m['x'] ** 2))\n"
    Path("mine.py").write_text(source + wrong + "    return m\n")
    assert run("sample", "mine.py", "--out", "r.zarr") == 2
    assert "log p is not finite at any of" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["mine.py"]


@pytest.mark.slow  # half a minute: two whole runs
def test_a_sample_that_was_stopped_goes_on(folder, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    args = ["sample", GAUSSIAN, "--out", "r.zarr", "--draws", 200, "--seed", 1]
    with monkeypatch.context() as patch:
        patch.setattr("bayesdiff.multimodal.sampling.result_of", stopped)
        assert run(*args) == 130
    files = list(results.levels_folder(Path("r.zarr")).glob("*.npz"))
    assert len(files) >= 4
    assert not Path("r.zarr").exists()
    capsys.readouterr()
    assert run(*args[:-1], 2) == 2
    assert (
        "r.zarr belongs to a call that was stopped, and was written by another call: random_seed was"
        in capsys.readouterr().err
    )
    assert run(*args) == 0
    first = bd.load("r.zarr")["posterior"]["x"].values
    assert [path.name for path in folder.iterdir()] == ["r.zarr"]
    assert run(*args[:-1], 2, "--overwrite") == 0
    again = bd.load("r.zarr")["posterior"]["x"].values
    assert first.shape == again.shape
    assert (first != again).any()


@pytest.mark.filterwarnings("default")
def test_sample_says_what_is_not_to_be_trusted(folder, capsys):
    Path("flat.py").write_text(
        "import pymc as pm\n\ndef prior():\n    with pm.Model() as m:\n        pm.Flat('x')\n    return m\n"
    )
    assert run("sample", "flat.py", "--out", "r.zarr", "--draws", 20, "--chains", 2, "--seed", 1) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"bayesdiff: warning: .*improper.*\n", err)
    assert err == f"bayesdiff: warning: {bd.load('r.zarr')['verdict'].attrs['sentence']}\n"
    assert "No mode was found." in out


# ------------------------------------------------------------------------------------------------------------- the demo


class Page(HTMLParser):
    """What a page links to, and what it says of its pictures."""

    def __init__(self, text):
        super().__init__()
        self.files, self.alts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.files += [attrs[name] for name in ("src", "srcset", "href") if name in attrs]
        self.alts += [attrs["alt"]] if tag == "img" else []
        if tag not in {"meta", "img", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def demo_sizes():
    return {"few": 100, "many": 1000, "mixed": 60, "draws": 250}  # the first: the programs of conftest's article


@pytest.fixture(scope="module")
def small(tmp_path_factory, demo_sizes):
    """A small demo, through the command: its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "d"
    import contextlib
    import io

    import bayesdiff.demo

    whole = bayesdiff.demo.demo
    bayesdiff.demo.demo = functools.partial(whole, **demo_sizes)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert run("demo", GAUSSIAN, MIXTURE, "--out", out) == 0
    finally:
        bayesdiff.demo.demo = whole
    return out, said.getvalue()


def test_the_demo_is_right(small, demo_sizes):
    out, _ = small
    for name, size in (("article", "few"), ("population", "many")):
        saved = bd.load(out / f"{name}.zarr")
        assert set(saved.children) == {"map", "posterior"}
        o = saved["map"]["step/o"]["x"].values
        mode = saved["map"]["posterior"]["x"].values.ravel()
        last = saved["posterior"]["posterior"]["x"].isel(chain=0, draw=-1).values
        n = len(o)
        assert n == demo_sizes[size]
        np.testing.assert_allclose(mode, o / 101, rtol=1e-9, atol=1e-14)
        assert mode.std() == pytest.approx(np.sqrt(101) / 101, rel=4 / np.sqrt(2 * n))
        assert last.std() == pytest.approx(1.0, rel=4 / np.sqrt(2 * n))
        # Given o the draws are N(o/101, 100/101): not only the prior again.
        z = (last - o / 101) / np.sqrt(100 / 101)
        assert abs(z.mean()) < 4 / np.sqrt(n)
        assert z.std() == pytest.approx(1.0, rel=4 / np.sqrt(2 * n))


def test_the_demos_mixture_is_right(small):
    saved = bd.load(small[0] / "mixture.zarr")
    high = (saved["posterior"]["posterior"]["x"] > 1).mean(("chain", "draw")).values
    o = saved["map"]["step/o"]["x"].values
    # Shares of the two components by Bayes: N(o; m, v + 100), .7 and .3. Their tails across 1 are below .002.
    weight = [
        w * np.exp(-0.5 * (o - m) ** 2 / (v + 100)) / np.sqrt(v + 100) for w, m, v in ((0.7, -2, 1), (0.3, 2, 0.0625))
    ]
    share = weight[1] / sum(weight)
    assert np.abs(high - share).max() < 4.5 * np.sqrt(0.25 / 250) + 0.002  # a quarter as many effective draws
    modes = saved["map"]["posterior"]["x"].values.ravel()
    assert (modes[o > -13] > 1).all()  # and below -13.5 the other mode is the higher one: models/mixture.py
    assert (modes[o < -14] < 1).all()


def test_the_demo_says_what_its_numbers_say(small):
    out, said = small
    text = " ".join(said.split())
    saved = bd.load(out / "population.zarr")
    sd = saved["map"]["posterior"]["x"].values.std(ddof=1)
    assert f"The MAPs spread by {sd:.3f}: {1 / sd:.1f} times too little." in text
    assert "3. 1,000 of them" in text
    assert "DOES NOT AGREE" not in text
    o = bd.load(out / "article.zarr")["map"]["step/o"]["x"].values[0]
    assert f"One o drawn from there: o = {o:.4f}." in text
    assert text.endswith(f"Open {out / 'index.html'}")


def test_disagreement_would_be_said():
    from bayesdiff.demo import _agreement

    assert (
        _agreement("The mean", 1.0, 1.3, 0.1) == "The mean agrees with the exact one: it is 3.0 Monte Carlo errors off."
    )
    assert "DOES NOT AGREE with the exact one: it is 5.0 Monte" in _agreement("The mean", 1.0, 1.5, 0.1)


def test_the_page_stands_alone(small):
    out, _ = small
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.alts) == 5
    assert min(map(len, page.alts)) > 60
    assert len(page.files) == 10
    assert all((out / file).is_file() for file in page.files), page.files
    assert "://" not in text, "a page that needs a network"
    assert "$" not in text, "a place that was not filled in"
    for number in re.findall(r"<td[^>]*>([^<]*)</td>", text):
        assert number == "" or number == "none" or np.isfinite(float(number))


def test_a_phone_shows_every_column_of_the_demo(small):
    """In a box that scrolls the last one, the error of the others, would not be seen."""
    scrolled = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
    with browser() as chromium, opened(chromium, small[0] / "index.html", width=360, scheme="dark") as (page, seen):
        assert page.locator("table").count() == 4
        assert page.eval_on_selector_all(".table, pre", scrolled) == 0
        assert overflow(page) == []
        assert contrast(page) > 4.5
        assert seen.errors == []
        page.add_style_tag(content="th, td { padding: 1rem !important }")
        assert page.eval_on_selector_all(".table", scrolled) == 4


def test_a_demo_is_not_overwritten_unasked(small, capsys, monkeypatch):
    out, _ = small
    assert run("demo", GAUSSIAN, MIXTURE, "--out", out) == 2
    assert capsys.readouterr().err == (
        f"bayesdiff demo: error: {out} exists; write --overwrite to replace it, or choose another --out\n"
    )
    asked = []
    monkeypatch.setattr("bayesdiff.demo.demo", lambda *args, **kwargs: asked.append(kwargs))
    assert run("demo", GAUSSIAN, MIXTURE, "--out", out, "--overwrite", "--seed", 7) == 0
    assert [kwargs["seed"] for kwargs in asked] == [7]


def test_an_interrupted_demo_can_be_started_again(folder, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    run_ = {"map": results.tree({}), "posterior": results.tree({})}
    monkeypatch.setattr("bayesdiff.demo._invert", lambda *args, **kwargs: (run_, 0.0))
    monkeypatch.setattr("bayesdiff.demo._one", interrupted)
    for _ in range(2):
        assert run("demo", GAUSSIAN, MIXTURE, "--out", "d", "--overwrite") == 130
        assert capsys.readouterr().err == "bayesdiff demo: interrupted\n"


def test_the_demo_without_a_clone(folder, capsys):
    assert run("demo") == 2
    assert capsys.readouterr().err == (
        f"bayesdiff demo: error: there is no {Path('models', 'gaussian.py')}: the demo shows priors of the repository. "
        "Run `make demo` in a clone, or name the files: bayesdiff demo GAUSSIAN.py MIXTURE.py\n"
    )


def test_what_the_demo_refuses(folder, capsys):
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    Path("file").touch()
    Path("other.py").write_text(GAUSSIAN.read_text().replace('pm.Normal("x")', 'pm.Normal("x", 0, 2)'))
    Path("inexact.py").write_text("def prior(): ...\n")
    for args, message in (
        (["--out", "mine", "--overwrite"], "mine holds something else than a demo; choose another --out"),
        (["--out", "file", "--overwrite"], "file is a file; choose another --out"),
    ):
        assert run("demo", GAUSSIAN, MIXTURE, *args) == 2
        assert capsys.readouterr().err == f"bayesdiff demo: error: {message}\n"
    assert run("demo", "inexact.py", MIXTURE, "--out", "d") == 2
    assert capsys.readouterr().err == (
        "bayesdiff demo: error: inexact.py has no function `exact`, which the demo compares with\n"
    )
    assert not Path("d").exists()


@pytest.mark.slow
def test_the_whole_demo_agrees_with_itself_and_with_the_truth(folder, capsys):
    pages = []
    for name in ("a", "b"):
        assert run("demo", GAUSSIAN, MIXTURE, "--out", name) == 0
        assert "DOES NOT AGREE" not in capsys.readouterr().out
        pages.append({path.name: path.read_bytes() for path in Path(name).iterdir() if path.is_file()})
    assert len(pages[0]) == 11  # the page, and five figures in two shapes
    assert pages[0] == pages[1]
