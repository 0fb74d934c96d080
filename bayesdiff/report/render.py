"""Render a Quarto document as one self-contained page.

    .qmd -> its cells run in a kernel -> pandoc -> one .html: no network, every reference resolved, every picture told

Quarto does it where it is installed. Elsewhere the route built in here does: jupytext reads the document, nbclient runs
its cells, pandoc writes the page, with a filter (``quarto.lua``) for the subset of Quarto that our reports use. The
source is the same for both, and so is the check of the page at the end.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bayesdiff.report.files import write_whole
from bayesdiff.report.page import problems_of

INLINE = re.compile(r"`\{python\}\s+([^`]+)`")
CHUNK = re.compile(r"^(`{3,})\{(\w+)[^}\n]*\}[ \t]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
# One figure style for all machines: nobody's own matplotlibrc, and the same bytes twice.
STYLE = """\
backend: agg
svg.hashsalt: bayesdiff
svg.fonttype: path
figure.figsize: 7, 4
savefig.dpi: 110
text.parse_math: {math}
"""
EXTRA = ("jupytext", "nbclient", "ipykernel", "pypandoc", "yaml")
PICTURES = (("image/svg+xml", "svg"), ("image/png", "png"), ("image/jpeg", "jpg"), ("image/gif", "gif"))


class ReportError(RuntimeError):
    """Raised when a page cannot be made, or is not fit to be read: what is wrong, and where."""


@dataclass(frozen=True)
class _Cell:
    """A code cell: its options, its source, and the line of the document that its source begins at."""

    options: Mapping[str, Any]
    source: str
    line: int

    @property
    def name(self) -> str:
        return str(self.options["label"]) if "label" in self.options else f"at line {self.line}"


def render(source: str | os.PathLike[str], out: str | os.PathLike[str], *, math: bool = True) -> Path:
    """Run the cells of a Quarto document and write it as one self-contained page.

    Parameters
    ----------
    source : path
        A ``.qmd`` file. Its cells run in its folder, as a kernel of this Python.
    out : path
        The ``.html`` file, replaced when the new page is complete. Missing parent folders are made.
    math : bool
        Whether ``$`` in the labels of figures begins mathematics.

    Returns
    -------
    pathlib.Path
        Where the page was written.

    Raises
    ------
    FileNotFoundError, ValueError
        If `source` is no ``.qmd`` file, or `out` does not end in ``.html``.
    ImportError
        If Quarto is not installed, and a package of the built-in route is not either.
    ReportError
        If a cell raises (the cell, the line, the error), a reference is not resolved, a figure has no caption or
        alternative text, or the page would need the network. Nothing is written then.

    Examples
    --------
    >>> render("no-such-report.qmd", "page.html")
    Traceback (most recent call last):
    FileNotFoundError: There is no report at no-such-report.qmd.
    """
    source, out = Path(source), Path(out)
    if source.suffix != ".qmd":
        raise ValueError(f"{source} must end in .qmd: a Quarto document.")
    if out.suffix != ".html":
        raise ValueError(f"{out} must end in .html.")
    if not source.is_file():
        raise FileNotFoundError(f"There is no report at {source}.")
    if out.is_dir():
        raise ValueError(f"{out} is a folder. Write the name of a file that ends in .html.")
    quarto = shutil.which("quarto")
    if quarto is None:
        _need_extra()
    check_folder(out)
    with tempfile.TemporaryDirectory(prefix="bayesdiff-report-") as folder:
        work = Path(folder)
        environment = _environment(work, math)
        write = _built_in if quarto is None else partial(_by_quarto, quarto)
        page = write(source, work, environment).read_text(encoding="utf-8")
        found = problems_of(page)
        if found:
            raise ReportError(f"{source} does not make a page that can be read: {'; '.join(found)}.")
        put(page, out)
    return out


def check_folder(out: Path) -> None:
    """Make the folder that ``out`` will be written to, and raise now if that cannot be done."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"The folder {out.parent} cannot be made ({error.strerror}). Choose another place for the report."
        ) from error
    if not os.access(out.parent, os.W_OK):
        raise ReportError(f"The folder {out.parent} cannot be written to. Choose another place for the report.")


def put(text: str, out: Path) -> None:
    """Put a finished report in its place, whole or not at all."""
    try:
        write_whole(out, text)
    except OSError as error:
        raise ReportError(
            f"{out} cannot be written ({error.strerror}). Choose another place for the report."
        ) from error


def _need_extra() -> None:
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'Reports need {", ".join(missing)}: pip install "bayesdiff[report]". Or install Quarto, and it is used '
            "instead. A report that ends in .qmd needs neither."
        )


def _environment(work: Path, math: bool) -> dict[str, str]:
    """The variables that a run of the cells depends on: one style, no settings of the user, no date in the figures."""
    style = work / "matplotlibrc"
    style.write_text(STYLE.format(math=math), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return kept | {
        "MATPLOTLIBRC": str(style),
        "SOURCE_DATE_EPOCH": "0",
        "QUARTO_PYTHON": sys.executable,
        "IPYTHONDIR": str(work / "ipython"),
        "PYTHONHASHSEED": "0",
    }


# -------------------------------------------------------------------------------------------------------------- Quarto


def _by_quarto(quarto: str, source: Path, work: Path, environment: Mapping[str, str]) -> Path:
    command = [quarto, "render", source.name, "--to", "html", "--output", "page.html", "--output-dir", str(work)]
    command += ["--metadata", "embed-resources:true", "--metadata", "html-math-method:mathml"]
    done = subprocess.run(
        command, cwd=source.resolve().parent, env=dict(environment), capture_output=True, text=True, check=False
    )
    page = work / "page.html"
    if done.returncode or not page.exists():
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ReportError(f"quarto could not render {source}: {said}")
    return page


# ------------------------------------------------------------------------------------------------------ built-in route


def _built_in(source: Path, work: Path, environment: Mapping[str, str]) -> Path:
    import jupytext
    import pypandoc
    import yaml

    text = source.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="Rmd")
    meta = _front_matter(notebook, source)
    web = meta.get("format", {}).get("html", {}) if isinstance(meta.get("format"), dict) else {}
    web = {**meta, **(web if isinstance(web, dict) else {})}
    defaults = {
        "echo": True,
        "eval": True,
        "output": True,
        "include": True,
        "warning": True,
        **(meta.get("execute") or {}),
    }
    defaults |= {name: web[name] for name in ("code-fold", "code-summary") if name in web}
    parts = _parts(notebook, text, defaults, source)
    outputs = _execute(parts, source, work, environment, str(web.get("fig-format", "svg")))
    media = work / "media"
    media.mkdir()
    body = "\n\n".join(_markdown(parts, outputs, media))

    told = ("title", "subtitle", "author", "date", "abstract", "bibliography", "csl", "lang", "keywords")
    about = {"lang": "en"} | {name: meta[name] for name in told if name in meta}
    about = {name: str(value) if name == "date" else value for name, value in about.items()}
    (work / "about.yml").write_text(yaml.safe_dump(about, allow_unicode=True), encoding="utf-8")
    command = [pypandoc.get_pandoc_path(), "--from", "markdown", "--to", "html5", "--standalone", "--embed-resources"]
    command += [
        "--metadata-file",
        str(work / "about.yml"),
        "--mathml",
        "--columns=10000",
        "--syntax-highlighting=pygments",
    ]
    command += ["--resource-path", os.pathsep.join([str(source.resolve().parent), str(media)])]
    for option, name in (("--lua-filter", "quarto.lua"), ("--css", "page.css"), ("--template", "page.html")):
        copy = work / f"our-{name}"
        copy.write_text(importlib.resources.files(__package__).joinpath(name).read_text("utf-8"), encoding="utf-8")
        command += [option, str(copy)]
    if web.get("toc"):
        command += ["--toc", f"--toc-depth={web.get('toc-depth', 3)}"]
        command += ["--variable", f"toc-title={web.get('toc-title', 'On this page')}"]
    if web.get("number-sections"):
        command += ["--number-sections"]
    if meta.get("bibliography"):
        command += ["--citeproc"]
    page = work / "page.html"
    done = subprocess.run(
        [*command, "--output", str(page)],
        input=body,
        encoding="utf-8",
        capture_output=True,
        check=False,
        cwd=source.resolve().parent,
    )
    found = [line.removeprefix("problem: ") for line in done.stderr.splitlines() if line.startswith("problem: ")]
    found += [line.removeprefix("[WARNING] ") for line in done.stderr.splitlines() if line.startswith("[WARNING] ")]
    if done.returncode:
        raise ReportError(f"pandoc could not write {source}: {done.stderr.strip()}")
    if found:
        raise ReportError(f"{source} does not make a page that can be read: {'; '.join(dict.fromkeys(found))}.")
    return page


def _front_matter(notebook: Any, source: Path) -> dict[str, Any]:
    import yaml

    if not (notebook.cells and notebook.cells[0].cell_type == "raw"):
        return {}
    try:
        meta = yaml.safe_load(notebook.cells.pop(0).source.strip().strip("-"))
    except yaml.YAMLError as error:
        raise ReportError(f"The front matter of {source} is not YAML: {error}") from error
    return meta if isinstance(meta, dict) else {}


def _parts(notebook: Any, text: str, defaults: Mapping[str, Any], source: Path) -> list[str | _Cell]:
    """The document in order: text as it is, and code cells with their lines."""
    chunks = list(CHUNK.finditer(text))
    for chunk in chunks:
        if chunk[2] != "python":
            line = text.count("\n", 0, chunk.start()) + 1
            raise ReportError(f"{source}, line {line}: a cell of {chunk[2]}. Without Quarto only python cells can run.")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if len(cells) != len(chunks):
        raise ReportError(f"{source} has {len(chunks)} cells, {len(cells)} of them could be read. Look at its fences.")
    lines = iter(text.count("\n", 0, chunk.start()) + 2 for chunk in chunks)
    return [
        _cell(cell.source, next(lines), defaults, source) if cell.cell_type == "code" else str(cell.source)
        for cell in notebook.cells
    ]


def _cell(code: str, line: int, defaults: Mapping[str, Any], source: Path) -> _Cell:
    import yaml

    told = []
    for text in code.splitlines():
        if not text.startswith("#|"):
            break
        told.append(text[2:])
    try:
        given = yaml.safe_load("\n".join(told)) or {}
    except yaml.YAMLError as error:
        raise ReportError(f"{source}, line {line}: the options of the cell are not YAML: {error}") from error
    cell = _Cell({**defaults, **given}, code, line)
    label = str(given.get("label", "")) if cell.options["include"] and cell.options["output"] else ""
    wanted = {"fig-": ("fig-cap", "fig-alt"), "tbl-": ("tbl-cap",)}.get(label[:4], ())
    for option in wanted:  # said before anything is computed
        if not given.get(option):
            what = "no text for those who cannot see it" if option == "fig-alt" else "no caption"
            raise ReportError(f"{source}, line {line}: the cell {label} has {what}; write #| {option}.")
    return cell


def _execute(
    parts: Sequence[str | _Cell], source: Path, work: Path, environment: Mapping[str, str], picture: str
) -> list[list[Any]]:
    """Run every cell, and every inline expression, in one kernel; the outputs of each part."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    cells = [nbformat.v4.new_code_cell(_SETUP.format(picture=picture))]
    for part in parts:
        if isinstance(part, _Cell):
            code = part.source if part.options["eval"] else ""
        else:
            asked = INLINE.findall(part)
            code = f"_inline([{', '.join(f'({expression})' for expression in asked)}])" if asked else ""
        cells.append(nbformat.v4.new_code_cell(code))
    notebook = nbformat.v4.new_notebook(cells=cells)
    # This Python's own kernel, and not one of that name that a user may have installed.
    manager = AsyncKernelManager(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True),
        # Over TCP others on the machine may listen. A socket file's path is short, hence the folder of its own.
        **({} if sys.platform == "win32" else {"transport": "ipc", "ip": str(work / "k")}),
    )
    client = NotebookClient(
        notebook, km=manager, timeout=None, resources={"metadata": {"path": str(source.resolve().parent)}}
    )
    try:
        client.execute(env=dict(environment), cleanup_kc=True)
    except CellExecutionError as error:
        raise ReportError(_where(error, parts, notebook, source)) from error
    except DeadKernelError as error:
        raise ReportError(f"The kernel that ran {source} died: {error}") from error
    finally:
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
    return [cell.outputs for cell in cells[1:]]


_SETUP = """\
get_ipython().run_line_magic("config", "InlineBackend.figure_formats = ['{picture}']")
get_ipython().run_line_magic("matplotlib", "inline")


def _inline(values):
    import json
    import re

    def written(value):
        if hasattr(value, "_repr_markdown_"):
            return value._repr_markdown_()
        return re.sub(r"([\\\\`*_{{}}\\[\\]<>()#|!$^~@])", r"\\\\\\1", str(value))

    print(json.dumps([written(value) for value in values]))
"""


def _where(error: Any, parts: Sequence[str | _Cell], notebook: Any, source: Path) -> str:
    """The cell, the line and the error."""
    index = next(i for i, cell in enumerate(notebook.cells) if any(out.output_type == "error" for out in cell.outputs))
    what = f"{error.ename}: {error.evalue}" if error.evalue else str(error.ename)
    part = parts[index - 1] if index else ""
    if not isinstance(part, _Cell):
        begins = next((line for line in part.splitlines() if INLINE.search(line)), "")
        return f"{source}: an inline expression raised {what}, in the text: {begins.strip()[:80]}"
    output = next(out for out in notebook.cells[index].outputs if out.output_type == "error")
    said = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
    frames = re.findall(r"Cell In\[\d+\], line (\d+)", said)
    line = part.line + int(frames[0]) - 1 if frames else part.line
    return f"{source}, line {line}: the cell {part.name} raised {what}"


# The document as markdown for pandoc, with what the cells gave in it.


def _markdown(parts: Sequence[str | _Cell], outputs: Sequence[Sequence[Any]], media: Path) -> Iterator[str]:
    for part, given in zip(parts, outputs, strict=True):
        if isinstance(part, _Cell):
            yield from _cell_markdown(part, given, media)
        else:
            values = iter(json.loads("".join(out.text for out in given if out.output_type == "stream") or "[]"))
            yield "".join(next(values) if i % 2 else text for i, text in enumerate(INLINE.split(part)))


def _cell_markdown(cell: _Cell, given: Sequence[Any], media: Path) -> Iterator[str]:
    options = cell.options
    if not options["include"]:
        return
    if options["echo"]:
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|")).strip("\n")
        shown = _fenced(code, ".python")
        fold = options.get("code-fold", False)
        if fold:
            summary = html.escape(str(options.get("code-summary", "Code")))
            head = f'<details class="code"{" open" if fold == "show" else ""}><summary>{summary}</summary>'
            shown = f"{_raw(head)}\n\n{shown}\n\n{_raw('</details>')}"
        yield shown
    if not options["output"] or not options["eval"]:
        return
    label = str(options.get("label", ""))
    alts = options.get("fig-alt")
    alt = iter(alts if isinstance(alts, list) else [])
    got: list[str] = []
    for i, out in enumerate(given):
        if out.output_type == "stream" and out.name == "stderr" and not options["warning"]:
            continue
        text = str(next(alt, "")) if isinstance(alts, list) else str(alts or "")
        got.append(_output(out, media / f"{cell.line}-{i}", text))
    caption = options.get("fig-cap") if label.startswith("fig-") else options.get("tbl-cap")
    if label.startswith(("fig-", "tbl-")):
        got = ["::::::::: {#" + label + "}", *got, str(caption), ":::::::::"]
    yield "\n\n".join(got)


def _output(out: Any, file: Path, alt: str) -> str:
    if out.output_type == "stream":
        return f"::::::: {{.{out.name}}}\n{_fenced(out.text.rstrip())}\n:::::::"
    for mime, suffix in PICTURES:
        if mime in out.data:
            path = file.with_suffix(f".{suffix}")
            data = out.data[mime]
            path.write_bytes(data.encode() if suffix == "svg" else base64.b64decode(data))
            return _raw(f'<img class="plot" src="{path.name}" alt="{html.escape(alt)}">')
    if "text/markdown" in out.data:
        return str(out.data["text/markdown"])
    if "text/html" in out.data:
        return _raw(str(out.data["text/html"]))
    if "text/latex" in out.data:
        return str(out.data["text/latex"])
    return _fenced(str(out.data.get("text/plain", "")))


def _fenced(text: str, classes: str = "") -> str:
    """Text as it is, in a fence that no line of it can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{f' {{{classes}}}' if classes else ''}\n{text}\n{fence}"


def _raw(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{{=html}}\n{text}\n{fence}"
