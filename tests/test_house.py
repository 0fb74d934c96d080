"""The house rules: who may import whom, what an import costs, and what a public docstring holds.

The imports are read from the source, those inside functions included, so nothing needs to run.
"""

import ast
import importlib
import inspect
import io
import json
import re
import statistics
import subprocess
import sys
import time
import tokenize
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

import bayesdiff
import bayesdiff.images

PACKAGE = Path(bayesdiff.__file__).parent
ROOMS = sorted({p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")} - {"__init__"})

# A room is a module of the package, or a folder of them. Each may import the rooms named here.
STEP = {"checks", "schedule", "typed", "step", "priors"}
INVERT = STEP | {"compiled", "invert", "results", "labels"}
CALLS = {"calls", "growing", "fingerprints"}
CHAIN = INVERT | CALLS | {"inversion", "verdict", "chain"}
MAY_IMPORT = {
    "version": set(),
    "checks": set(),
    "files": set(),
    "schedule": {"checks"},
    "step": {"checks", "schedule", "typed"},
    "priors": {"checks", "schedule", "step"},
    "derivatives": set(),
    "translated": {"derivatives"},
    "forward": STEP,
    "compiled": STEP | {"derivatives", "translated", "forward"},
    "invert": STEP | {"compiled"},
    "foreign": set(),
    "typed": {"checks"},
    "verdict": set(),
    "results": {"checks", "files", "foreign", "typed", "version"},
    "stopped": {"foreign", "results", "verdict"},
    "labels": STEP | {"compiled", "results", "version"},
    "fingerprints": {"compiled", "version"},
    "growing": {"files", "results", "version"},
    "calls": {"checks", "files", "fingerprints", "foreign", "growing", "results"},
    "inversion": INVERT | {"verdict", *CALLS},
    "chain": INVERT | {"verdict", *CALLS},
    "uniformity": set(),
    "calibration": CHAIN | {"uniformity"},
    "multimodal": CHAIN,
    "images": CHAIN | {"files", "pictures"},
    "comparison": set(),
    "pictures": {"checks", "files"},
    "plots": {"checks", "comparison", "files", "pictures"},
    "report": {"checks", "files", "foreign", "results", "stopped", "verdict", "version"}
    | {"comparison", "plots", "pictures"},
    "demo": INVERT | {"inversion", "comparison", "plots", "report", "version"},
    "explore": INVERT | {"chain", "version"},
    "cli": CHAIN
    | {"calibration", "multimodal", "images", "comparison", "plots", "pictures", "report"}
    | {"demo", "explore", "version"},
    "__main__": {"cli"},
}

# The stages of invert/, in the order of the story: each may import those before it. The first ones are kernels, arrays
# in, arrays out: they know no model and no tree, and nothing else of the package.
STAGES = ["tuning", "newton", "kinks", "moves", "chunks", "steps", "tops", "modes", "draws", "inverters"]
KERNELS = STAGES[: STAGES.index("steps")]

# These read what was computed and must not be able to compute it: "a report cannot sample".
READERS = ["comparison", "plots", "pictures", "report"]
COMPUTE = {
    "pymc",
    "pymc_extras",
    "pytensor",
    "jax",
    "jaxlib",
    "blackjax",
    "nutpie",
    "numpyro",
    "optax",
    "flax",
    "torch",
}
COMPUTE |= {"emcee", "dynesty", "ultranest", "zeus", "pocomc", "bambi"}

# Beside the package, never inside it: a wheel does not hold them.
OUTSIDE = {"models", "tests", "reports"}

HEAVY = ["pymc", "pytensor", "jax", "arviz", "matplotlib", "xarray"]


def imported(source: str, module: str, *, package: bool = False) -> set[str]:
    """Absolute dotted names of all that a module's source imports: at its top, in functions, by `import_module("...")`.

    `from a import b` gives "a.b", which may be a module or a name in one. `module` is where the source stands: relative
    imports start there; `package` says that it is an __init__.py.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = []
            if node.level:
                parts = module.split(".") if package else module.split(".")[:-1]
                base = parts[: len(parts) - (node.level - 1)]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func).split(".")[-1]
            if function in {"import_module", "_import_module", "__import__"}:
                names.add(str(node.args[0].value))
    return names


def offences(source: str, module: str, *, package: bool = False) -> list[str]:
    """What a module of the package imports and must not."""
    room = module.split(".")[1]
    found = []
    for name in sorted(imported(source, module, package=package)):
        top, _, rest = name.partition(".")
        if top in OUTSIDE:
            found.append(f"{module} imports {name}: the package stands alone")
        elif top in COMPUTE and room in READERS:
            found.append(f"{module} imports {name}: it must not be able to sample")
        elif top == "bayesdiff":
            target = rest.split(".")[0]
            if target not in MAY_IMPORT:
                found.append(f"{module} imports {name}: name the module that it comes from")
            elif target != room and target not in MAY_IMPORT[room]:
                found.append(f"{module} imports {name}: {room} may import {sorted(MAY_IMPORT[room]) or 'no room'}")
    return found


def sources(room: str) -> list[tuple[str, str, bool]]:
    """(source, dotted name, is an __init__.py) for every file of a room."""
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).rglob("*.py"))
    found = []
    for file in files:
        parts = ["bayesdiff", *file.relative_to(PACKAGE).with_suffix("").parts]
        package = parts[-1] == "__init__"
        found.append((file.read_text(encoding="utf-8"), ".".join(parts[:-1] if package else parts), package))
    return found


def loaded(statement: str) -> set[str]:
    """Names in sys.modules after a statement in a fresh interpreter."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_rules_have_no_circle():
    order = list(TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError
    assert set(order) == set(MAY_IMPORT), "a rule names a room that has no rule"


def test_readers_cannot_reach_what_computes():
    reached, todo = set(), list(READERS)
    while todo:
        room = todo.pop()
        reached.add(room)
        todo += MAY_IMPORT[room] - reached
    assert reached == {*READERS, "checks", "files", "foreign", "results", "stopped", "typed", "verdict", "version"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_downwards(room):
    assert room in MAY_IMPORT, f"give bayesdiff.{room} its place in MAY_IMPORT, as in the design"
    files = sources(room)
    assert files
    assert [offence for file in files for offence in offences(file[0], file[1], package=file[2])] == []


def stage_offences(source: str, stage: str) -> list[str]:
    """What a stage of invert/ imports and must not."""
    found = []
    for name in sorted(name for name in imported(source, f"bayesdiff.invert.{stage}") if name.startswith("bayesdiff.")):
        room, target = name.split(".")[1:3]
        if room == "invert" and target not in STAGES[: STAGES.index(stage)]:
            found.append(f"{stage} imports {name}: it comes later")
        elif room != "invert" and stage in KERNELS:
            found.append(f"{stage} imports {name}: a kernel knows arrays")
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_stages_go_downwards(stage):
    assert {name.split(".")[-1] for _, name, _ in sources("invert")} == {*STAGES, "invert"}
    assert stage_offences((PACKAGE / "invert" / f"{stage}.py").read_text(encoding="utf-8"), stage) == []


@pytest.mark.parametrize(
    ("stage", "source", "reason"),
    [
        ("newton", "from bayesdiff.compiled import Density", "knows arrays"),
        ("newton", "from bayesdiff.invert.kinks import settle", "comes later"),
        ("moves", "from .draws import Drawn", "comes later"),
        ("modes", "def f():\n    import bayesdiff.invert.inverters", "comes later"),
    ],
)
def test_a_bad_import_of_a_stage_is_flagged(stage, source, reason):
    [offence] = stage_offences(source, stage)
    assert reason in offence


@pytest.mark.parametrize("face", [bayesdiff, bayesdiff.images])
def test_a_face_imports_nothing_but_what_makes_it_lazy(face):
    source = Path(face.__file__).read_text(encoding="utf-8")
    assert imported(source, face.__name__, package=True) <= {"lazy_loader", "bayesdiff.version.__version__"}


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("bayesdiff.schedule", "import bayesdiff.chain", "schedule may import"),
        ("bayesdiff.step", "from bayesdiff.compiled import compile_prior", "step may import"),
        ("bayesdiff.step", "from .compiled import compile_prior", "step may import"),
        ("bayesdiff.step", "from . import invert", "step may import"),
        ("bayesdiff.images.priors", "from ..cli import main", "images may import"),
        ("bayesdiff.images.priors", "from models.pictures import data", "stands alone"),
        ("bayesdiff.images", "from bayesdiff.report.page import page", "images may import"),
        ("bayesdiff.compiled", "def f():\n    from bayesdiff import inversion", "compiled may import"),
        ("bayesdiff.results", "class A:\n    def f(self):\n        import bayesdiff.plots as p", "results may import"),
        ("bayesdiff.results", "import importlib\nimportlib.import_module('bayesdiff.chain')", "results may import"),
        ("bayesdiff.chain", "from bayesdiff import draw", "name the module"),
        ("bayesdiff.results", "from bayesdiff import __version__", "name the module"),
        ("bayesdiff.chain", "import bayesdiff as bd", "name the module"),
        ("bayesdiff.plots", "import jax.numpy as jnp", "able to sample"),
        ("bayesdiff.comparison", "def f():\n    from pymc import sample", "able to sample"),
        ("bayesdiff.report.page", "import blackjax", "able to sample"),
        ("bayesdiff.report.page", "from bayesdiff.inversion import sample_posterior", "report may import"),
        ("bayesdiff.cli", "from models.gaussian import prior", "stands alone"),
        ("bayesdiff.inversion", "import tests.exact", "stands alone"),
    ],
)
def test_a_bad_import_is_flagged(module, source, reason):
    [offence] = offences(source, module)
    assert reason in offence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bayesdiff.compiled", "import jax\nfrom bayesdiff.step import step_model\nfrom .priors import density"),
        (
            "bayesdiff.images.inverters",
            "from .networks import Net\nfrom bayesdiff.images import networks\nfrom ..chain import reverse",
        ),
        ("bayesdiff.results", "from bayesdiff.version import __version__\nimport xarray"),
        ("bayesdiff.cli", "def main():\n    from bayesdiff import inversion\n    import pymc"),
    ],
)
def test_a_good_import_is_not(module, source):
    assert offences(source, module) == []


def test_a_package_resolves_its_own_relative_imports():
    assert imported("from .page import write", "bayesdiff.report", package=True) == {"bayesdiff.report.page.write"}
    assert imported("from .page import write", "bayesdiff.report.html") == {"bayesdiff.report.page.write"}
    assert imported("from ..plots import plot_step", "bayesdiff.report", package=True) == {"bayesdiff.plots.plot_step"}


@pytest.mark.parametrize("module", ["bayesdiff", "bayesdiff.images", *(["bayesdiff.cli"] if "cli" in ROOMS else [])])
def test_import_is_light(module):
    assert loaded(f"import {module}").isdisjoint(HEAVY)


def test_heavy_imports_would_be_seen():
    assert "xarray" in loaded("import bayesdiff, xarray")


def test_readers_load_nothing_that_computes():
    # ArviZ itself loads JAX where that is installed and NumPyro is not: a lazy import that its lazy_loader sets off.
    readers = [room for room in READERS if room in ROOMS]
    assert loaded("\n".join(f"import bayesdiff.{room}" for room in readers)).isdisjoint(COMPUTE - {"jax", "jaxlib"})


def seconds(*command: str) -> float:
    """Median wall time of five runs of a command, after one that is not counted: it writes bytecode."""

    def once():
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(5))


@pytest.mark.bench
def test_import_is_quick():
    bare = seconds(sys.executable, "-c", "import numpy")
    full = seconds(sys.executable, "-c", "import numpy, bayesdiff")
    print(f"import bayesdiff: {full - bare:.3f} s beyond Python and numpy ({bare:.3f} s)")
    assert full - bare <= 0.2


@pytest.mark.bench
def test_help_is_quick():
    full = seconds(str(Path(sys.executable).with_name("bayesdiff")), "--help")
    print(f"bayesdiff --help: {full:.3f} s")
    assert full <= 0.3


@pytest.mark.parametrize(
    ("home", "name"), [(home, name) for home in (bayesdiff, bayesdiff.images) for name in home.__all__]
)
def test_public_docstring(home, name):
    public = getattr(home, name)
    doc = (
        inspect.cleandoc(vars(public).get("__doc__") or "")
        if isinstance(public, type)
        else inspect.getdoc(public) or ""
    )
    first, *_ = doc.splitlines() or [""]
    assert first.endswith("."), f"{name}: the first line of its docstring is one sentence: {first!r}"
    sections = re.findall(r"^(\w[\w ]*)\n-{3,}$", doc, flags=re.MULTILINE)
    assert "Examples" in sections, f"{name}: no Examples section"
    assert ">>> " in doc.split("Examples\n---")[1], f"{name}: no example that runs"
    if not isinstance(public, type) and inspect.signature(public).parameters:
        assert {"Parameters", "Returns"} <= set(sections), f"{name}: sections {sections}"


@pytest.mark.parametrize("face", [bayesdiff, bayesdiff.images])
def test_the_public_names_are_those_of_the_stub(face):
    """What type checkers read is what there is, each under its own name; nothing else is."""
    stub = ast.parse(Path(face.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    told = {alias.asname: alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert all(name == alias for alias, name in told.items())  # `a as a`: a type checker hides the others
    assert sorted(told) == sorted(face.__all__) == sorted(dir(face))
    with pytest.raises(AttributeError, match=f"No {face.__name__} attribute find_mode"):
        face.__getattr__("find_mode")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train", "models.pictures.training"),
        ("quickdraw", "models.pictures.data"),
        ("novelty", "reports.judges"),
    ],
)
def test_what_left_says_where_it_is(name, place):
    with pytest.raises(AttributeError, match=rf"`from {re.escape(place)} import {name}`"):
        getattr(bayesdiff.images, name)


def test_every_name_that_left_is_where_it_says():
    for file, names in bayesdiff.images._LEFT.items():
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        assert [name for name in names.split() if not hasattr(module, name)] == [], file


def test_the_version_is_that_of_the_distribution():
    assert bayesdiff.__version__ == version("bayesdiff")


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
    assert importlib.util.find_spec("bayesdiff").origin == str(PACKAGE / "__init__.py")


# --- sizes: code lines, without docstrings, comments and blanks; of a document, those of its cells

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
# What the one sentence describes: a prior, a step, its inversions, the chain, the comparison.
READ_FIRST = ("schedule", "priors", "step", "compiled", "invert", "inversion", "chain", "comparison")
# What the house may hold. A limit falls with what leaves; what raises one says why. Aims: 10,000; 2,800; 450; 80; 90.
MOST = {"package": 14_065, "path": 3_655, "file": 450, "function": 80, "constants": 80, "names": 60}


def docstrings(tree):
    """The lines of the docstrings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                found |= set(range(first.lineno, first.end_lineno + 1))
    return found


def code_lines(text):
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings(ast.parse(text)))


def cell_lines(text):
    cells = re.findall(r"^```\{python\}\n(.*?)^```", text, flags=re.M | re.S)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for cell in cells for line in cell.splitlines())


def sizes():
    """Of the package: all of it, the reading path, its largest file and function, its constants, its public names."""
    files = {p: code_lines(p.read_text()) for p in PACKAGE.rglob("*.py")}
    files |= {p: cell_lines(p.read_text()) for p in PACKAGE.rglob("*.qmd")}
    trees = [ast.parse(p.read_text()) for p in files if p.suffix == ".py"]
    functions = [
        node.body[bool(ast.get_docstring(node)) :]
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    targets = [
        target
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return {
        "package": sum(files.values()),
        "path": sum(n for p, n in files.items() if p.relative_to(PACKAGE).parts[0].removesuffix(".py") in READ_FIRST),
        "file": max(files.values()),
        "function": max(body[-1].end_lineno - body[0].lineno + 1 for body in functions if body),
        "constants": sum(isinstance(t, ast.Name) and t.id.lstrip("_").isupper() for t in targets),
        "names": len({*bayesdiff.__all__, *bayesdiff.images.__all__}),
    }


def test_the_house_grows_no_larger():
    now = sizes()
    assert {name: now[name] for name in MOST if now[name] > MOST[name]} == {}


def test_sizes_count_code():
    assert code_lines('"""Words."""\n\n# why\nx = [\n    1,\n]\n\n\ndef f():\n    """Words."""\n    return x\n') == 5
    assert cell_lines("words\n```{python}\n#| label: a\n\nx = 1\n```\nwords\n") == 1
