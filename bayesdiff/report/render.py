"""Render a Quarto document as one self-contained page.

    .qmd -> its cells run in a kernel -> pandoc -> one .html: no network, every reference resolved, every picture told

Quarto does it where it is installed. Elsewhere the route built in here does: `bayesdiff.report.document` reads it,
nbclient runs its cells, pandoc writes the page, with a filter (``quarto.lua``) for the subset of Quarto that our
reports use. The source is the same for both, and so is the check of the page at the end.
"""

from __future__ import annotations

import base64
import html
import importlib
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bayesdiff.checks import flag, path_like
from bayesdiff.report.document import Cell, ReportError, Text, fenced, parts_of, read_document
from bayesdiff.report.files import check_place, write_whole
from bayesdiff.report.page import problems_of

# One figure style for all machines: nobody's own matplotlibrc, and the same bytes twice.
STYLE = """\
backend: agg
svg.hashsalt: bayesdiff
svg.fonttype: path
figure.figsize: 7, 4
savefig.dpi: 110
"""
EXTRA = ("yaml", "nbformat", "nbclient", "jupyter_client", "jupyter_core", "ipykernel", "pypandoc")
# The first lines of our pages: only a file that holds the second is replaced unasked.
MARK = "<!-- made by bayesdiff report -->"


def render(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    folder_on_path: bool = True,
) -> Path:
    """Run the cells of a Quarto document and write it as one self-contained page.

    Parameters
    ----------
    source : path
        A ``.qmd`` file. Its cells run in its folder, as a kernel of this Python.
    out : path
        The ``.html`` file. Missing parent folders are made. A page of ours is replaced when the new one is complete.
    overwrite : bool
        Replace a file that is not a page of ours, too.
    folder_on_path : bool
        Whether its cells may import modules from its folder, as in a notebook.

    Returns
    -------
    pathlib.Path
        Where the page was written.

    Raises
    ------
    FileNotFoundError, ValueError
        If `source` is no ``.qmd`` file, or `out` does not end in ``.html``.
    ImportError
        If Quarto is not installed, and a package of the built-in route is not either, or cannot be imported.
    OSError
        If the page cannot be written there, or another file is there.
    ReportError
        If a cell raises (the cell, the line, the error), a reference is not resolved, a figure has no caption,
        alternative text or picture, the page has no title, would need the network or shows a path of this machine.
        Nothing is written then.

    Examples
    --------
    >>> render("no-such-report.qmd", "page.html")
    Traceback (most recent call last):
    FileNotFoundError: There is no report at no-such-report.qmd.
    """
    source, out = path_like(source, "source", "report.qmd"), path_like(out, "out", "report.html")
    flag(overwrite, "overwrite")
    if source.suffix != ".qmd":
        raise ValueError(f"{source} must end in .qmd: a Quarto document.")
    if out.suffix != ".html":
        raise ValueError(f"{out} must end in .html.")
    if not source.is_file():
        raise FileNotFoundError(f"There is no report at {source}.")
    quarto = shutil.which("quarto")
    if quarto is None:
        _need_extra()
    check_place(out, overwrite)
    read_document(source)  # it must be legible and have a title, whoever renders it
    with tempfile.TemporaryDirectory(prefix="bayesdiff-report-") as folder:
        work = Path(folder)
        environment = _environment(work, folder_on_path)
        write = _built_in if quarto is None else partial(_by_quarto, quarto)
        page = write(source, work, environment).read_text(encoding="utf-8")
        found = problems_of(page)
        if found:
            raise ReportError(f"{source} does not make a page that can be read: {'; '.join(found)}.")
        # After the doctype, without which browsers fall back to the layout of old.
        write_whole(out, re.sub(r"\A\s*(<!doctype[^>]*>)?\s*", rf"\1\n{MARK}\n", page, count=1, flags=re.IGNORECASE))
    return out


def _need_extra() -> None:
    """Import what the route needs: what is there, but broken, is as good as missing."""
    missing = {}
    for name in EXTRA:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing[name] = "" if getattr(error, "name", None) == name else f" ({error})"
    if missing:
        needed = ", ".join(name + why for name, why in missing.items())
        raise ImportError(
            f'Reports need {needed}: pip install "bayesdiff[report]". Or install Quarto, and it is used instead. A '
            "report that ends in .qmd needs neither."
        )


def _environment(work: Path, folder_on_path: bool) -> dict[str, str]:
    """The variables that a run of the cells depends on: one style, no settings of the user, no date in the figures."""
    style = work / "matplotlibrc"
    style.write_text(STYLE, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return kept | {
        "MATPLOTLIBRC": str(style),
        "SOURCE_DATE_EPOCH": "0",
        "QUARTO_PYTHON": sys.executable,
        "IPYTHONDIR": str(work / "ipython"),
        "PYTHONHASHSEED": "0",
        **({} if folder_on_path else {"PYTHONSAFEPATH": "1"}),  # Python and IPython obey it
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
    meta, body, line = read_document(source)
    web = meta.get("format", {}).get("html", {}) if isinstance(meta.get("format"), dict) else {}
    web = {**meta, **(web if isinstance(web, dict) else {})}
    parts = parts_of(body, line, _defaults(meta, web, source), source)
    outputs = _execute(parts, source, work, environment, str(web.get("fig-format", "svg")))
    media = work / "media"
    media.mkdir()
    written = "\n\n".join(_markdown(parts, outputs, media, source))
    return _pandoc(written, _pandoc_options(meta, web, source, work), source, work / "page.html")


def _defaults(meta: Mapping[str, Any], web: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """The options of every cell that says nothing else."""
    said = meta.get("execute")
    if said is not None and not isinstance(said, Mapping):
        raise ReportError(f"{source}: execute is {said!r} in the front matter. Write `echo: false` below it.")
    known = dict.fromkeys(("echo", "eval", "output", "include", "warning"), True)
    return known | dict(said or {}) | {name: web[name] for name in ("code-fold", "code-summary") if name in web}


def _pandoc_options(meta: Mapping[str, Any], web: Mapping[str, Any], source: Path, work: Path) -> list[str]:
    """What pandoc is told: about the document, our filter, style and template, and what its front matter asks for."""
    import yaml

    told = ("title", "subtitle", "author", "date", "abstract", "bibliography", "csl", "lang", "keywords")
    about = {"lang": "en"} | {name: meta[name] for name in told if name in meta}
    about = {name: str(value) if name == "date" else value for name, value in about.items()}
    (work / "about.yml").write_text(yaml.safe_dump(about, allow_unicode=True), encoding="utf-8")
    options = ["--metadata-file", str(work / "about.yml"), "--mathml", "--columns=10000"]
    options += ["--syntax-highlighting=pygments"]
    options += ["--resource-path", os.pathsep.join([str(source.resolve().parent), str(work / "media")])]
    for option, name in (("--lua-filter", "quarto.lua"), ("--css", "page.css"), ("--template", "page.html")):
        copy = work / f"our-{name}"
        copy.write_text(importlib.resources.files(__package__).joinpath(name).read_text("utf-8"), encoding="utf-8")
        options += [option, str(copy)]
    if web.get("toc"):
        options += ["--toc", f"--toc-depth={web.get('toc-depth', 3)}"]
        options += ["--variable", f"toc-title={web.get('toc-title', 'On this page')}"]
    options += ["--number-sections"] if web.get("number-sections") else []
    return options + (["--citeproc"] if meta.get("bibliography") else [])


def _pandoc(text: str, options: Sequence[str], source: Path, page: Path) -> Path:
    """Write the page; what pandoc or our filter warns of is an error."""
    import pypandoc

    command = [pypandoc.get_pandoc_path(), "--from", "markdown", "--to", "html5", "--standalone", "--embed-resources"]
    done = subprocess.run(
        [*command, *options, "--output", str(page)],
        input=text,
        encoding="utf-8",
        capture_output=True,
        check=False,
        cwd=source.resolve().parent,
    )
    said = done.stderr.splitlines()
    found = [line.removeprefix(head) for head in ("problem: ", "[WARNING] ") for line in said if line.startswith(head)]
    if done.returncode:
        raise ReportError(f"pandoc could not write {source}: {done.stderr.strip()}")
    if found:
        raise ReportError(f"{source} does not make a page that can be read: {'; '.join(dict.fromkeys(found))}.")
    return page


def _execute(
    parts: Sequence[Text | Cell], source: Path, work: Path, environment: Mapping[str, str], picture: str
) -> list[list[Any]]:
    """Run every cell, and every inline expression, in one kernel; the outputs of each part."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    cells = [nbformat.v4.new_code_cell(_SETUP.format(picture=picture, inline=VALUE))]
    for part in parts:
        if isinstance(part, Cell):
            code = part.source if part.options["eval"] else ""
        else:
            asked = [piece.code for piece in part.expressions]
            code = f"_inline({asked!r})" if asked else ""
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
        raise ReportError(_where(parts, notebook, source)) from error
    except DeadKernelError as error:
        raise ReportError(f"The kernel that ran {source} died: {error}") from error
    finally:
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
    return [cell.outputs for cell in cells[1:]]


_SETUP = """\
get_ipython().run_line_magic("config", "InlineBackend.figure_formats = ['{picture}']")
get_ipython().run_line_magic("matplotlib", "inline")


def _inline(asked):
    import re

    for expression in asked:  # one output each: where one raises, those before it tell which
        value = eval(expression, get_ipython().user_ns)
        if hasattr(value, "_repr_markdown_"):
            text = value._repr_markdown_()
        else:
            # A number may stand in mathematics. In other text nothing begins anything, nor a line.
            text = " ".join(str(value).split())
            if not re.fullmatch(r"[-+]?\\d[\\d,]*(\\.\\d+)?(e[-+]?\\d+)?%?", text):
                text = re.sub(r"([!-/:-@\\[-`{{-~])", r"\\\\\\1", text)
        get_ipython().display_pub.publish({{"{inline}": text}})


def _with_lines(shell):
    # Say where sys.exit was called, too: IPython leaves that out.
    shown = shell.showtraceback

    def show(*given, **more):
        more["exception_only"] = False
        return shown(*given, **more)

    shell.showtraceback = show


_with_lines(get_ipython())
"""
VALUE = "text/x-bayesdiff-value"


def _where(parts: Sequence[Text | Cell], notebook: Any, source: Path) -> str:
    """The cell or the expression, the line and the error."""
    failed = ((i, out) for i, cell in enumerate(notebook.cells) for out in cell.outputs if out.output_type == "error")
    index, error = next(failed)
    what = f"{error.ename}: {error.evalue}" if error.evalue else str(error.ename)
    if not index:
        return f"{source}: the kernel could not be set up: {what}"
    part, outputs = parts[index - 1], notebook.cells[index].outputs
    if not isinstance(part, Cell):
        asked = part.expressions[len(_values(outputs))]
        return f"{source}, line {asked.line}: the inline expression {asked.code[:80]} raised {what}"
    said = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    frames = re.findall(r"Cell In\[\d+\], line (\d+)", said)
    line = part.line + int(frames[0]) - 1 if frames else part.line
    return f"{source}, line {line}: the cell {part.name} raised {what}"


def _values(outputs: Sequence[Any]) -> list[str]:
    """The values of the expressions of a text, as far as they were computed."""
    return [out.data[VALUE] for out in outputs if out.output_type == "display_data" and VALUE in out.data]


# The document as markdown for pandoc, with what the cells gave in it.


def _markdown(
    parts: Sequence[Text | Cell], outputs: Sequence[Sequence[Any]], media: Path, source: Path
) -> Iterator[str]:
    for part, given in zip(parts, outputs, strict=True):
        if isinstance(part, Cell):
            yield from _cell_markdown(part, given, media, source)
        else:
            values = iter(_values(given))
            yield "".join(piece if isinstance(piece, str) else next(values) for piece in part.pieces)


def _cell_markdown(cell: Cell, given: Sequence[Any], media: Path, source: Path) -> Iterator[str]:
    options = cell.options
    if not options["include"]:
        return
    if options["echo"]:
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|")).strip("\n")
        shown = fenced(code, " {.python}")
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
    if label.startswith("fig-") and not any(_drawn(out) for out in given):
        raise ReportError(f"{source}, line {cell.line}: the cell {label} draws nothing.")
    if label.startswith(("fig-", "tbl-")):
        got = ["::::::::: {#" + label + "}", *got, str(caption), ":::::::::"]
    yield "\n\n".join(got)


def _drawn(out: Any) -> bool:
    """Whether an output may hold a picture: text alone does not."""
    return any(mime.startswith("image/") or mime in ("text/html", "text/markdown") for mime in out.get("data", {}))


def _output(out: Any, file: Path, alt: str) -> str:
    if out.output_type == "stream":
        return f"::::::: {{.{out.name}}}\n{fenced(out.text.rstrip())}\n:::::::"
    for mime, suffix in (("image/svg+xml", "svg"), ("image/png", "png"), ("image/jpeg", "jpg"), ("image/gif", "gif")):
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
    return fenced(str(out.data.get("text/plain", "")))


def _raw(text: str) -> str:
    return fenced(text, "{=html}")
