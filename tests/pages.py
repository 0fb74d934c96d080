"""Read a .qmd: its cells, the options of each, its expressions in the text, and what it refers to."""

import ast
import contextlib
import dataclasses
import io
import re
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from bayesdiff.report.document import parts_of, read_document
from bayesdiff.report.render import _SETUP, VALUE

mpl.use("agg")
OPTIONS = {"include": True, "output": True}
REPORTS = Path(__file__).resolve().parents[1] / "reports"


@dataclass(frozen=True)
class Cell:
    """The code of a cell and its ``#|`` options, as text."""

    code: str
    options: dict[str, str]

    @property
    def label(self) -> str:
        return self.options.get("label", "")


def parts(text):
    """The cells of a page and, between them, its text, in their order."""
    found = []
    for i, part in enumerate(re.split(r"^```\{python\}\n(.*?)^```$", text, flags=re.M | re.S)):
        if i % 2 == 0:
            found.append(part)
            continue
        lines = part.splitlines()
        options = dict(re.match(r"#\| ([\w-]+): (.*)", line).groups() for line in lines if line.startswith("#|"))
        found.append(Cell("\n".join(line for line in lines if not line.startswith("#|")), options))
    return found


def cells(text):
    return [part for part in parts(text) if isinstance(part, Cell)]


def execute(name, folder, monkeypatch):
    """Run a page's cells and the expressions in its text, in their order, in a folder that holds its run.

    Gives what each labelled cell showed (the value of its last line, the number of its figures), and the page's names.
    """
    shown = types.SimpleNamespace(Markdown=str, HTML=str)  # the tests need no IPython
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.chdir(folder)
    names, results = {}, {}
    for part in parts((REPORTS / name).read_text(encoding="utf-8")):
        if not isinstance(part, Cell):
            for expression in re.findall(r"`\{python\}\s+([^`]+)`", part):
                assert "nan" not in str(eval(expression, names)), expression
            continue
        body = ast.parse(part.code)
        last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
        exec(compile(body, part.label, "exec"), names)
        value = eval(compile(ast.Expression(last.value), part.label, "eval"), names) if last else None
        results[part.label] = value, len(plt.get_fignums())
        plt.close("all")
    return results, names


def executed(parts, source, work, environment, picture):
    """What `render._execute` gives of cells that raise nothing, of this process: a kernel takes 2 s to start."""
    import nbformat

    def publish(data):
        given.append(nbformat.v4.new_output("display_data", data=data))

    def shows(value):
        kinds = {"text/markdown": "_repr_markdown_", "text/html": "_repr_html_", "text/plain": "__repr__"}
        publish({mime: getattr(value, name)() for mime, name in kinds.items() if hasattr(value, name)})

    names, found = {}, []
    publisher = types.SimpleNamespace(publish=publish)
    shell = types.SimpleNamespace(user_ns=names, run_line_magic=print, display_pub=publisher, showtraceback=print)
    names["get_ipython"] = lambda: shell
    with (
        plt.rc_context(fname=environment["MATPLOTLIBRC"]),
        contextlib.chdir(source.parent),
        contextlib.redirect_stdout(io.StringIO()) as said,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # they are errors of tests, not of a page
        exec(_SETUP.format(picture=picture, inline=VALUE), names)
        for part in parts:
            given = []
            said.seek(said.truncate(0))
            found.append(given)
            if not hasattr(part, "options"):
                names["_inline"]([piece.code for piece in part.expressions])
                continue
            code = ast.parse(part.source if part.options["eval"] else "")
            silent = part.source.rstrip().endswith(";") or not code.body or not isinstance(code.body[-1], ast.Expr)
            last = None if silent else code.body.pop()
            exec(compile(code, part.name, "exec"), names)
            value = eval(compile(ast.Expression(last.value), part.name, "eval"), names) if last else None
            if said.getvalue():
                given.append(nbformat.v4.new_output("stream", name="stdout", text=said.getvalue()))
            if value is not None:
                shows(value)
            for number in plt.get_fignums():
                drawn = io.StringIO()
                plt.figure(number).savefig(drawn, format="svg", bbox_inches="tight")
                publish({"image/svg+xml": drawn.getvalue()})
            plt.close("all")
    return found


def told(source):
    """What a document of ours shows of its run: all of its text, its abstract, and its figures by label."""
    text, figures = markdown_of(source)
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    return text, text.split("::: {.abstract}\n")[1].split("\n:::")[0], figures


def markdown_of(source):
    """The Markdown that pandoc gets for a document of ours, whoever renders it, and its figures by label.

    Its cells are run here, its figures are not drawn. What an expression gives is a number, or says itself how it is
    shown: Quarto and Jupyter escape text by rules of their own.
    """
    _, body, line = read_document(source)
    names, text, figures = {}, [], {}
    for part in parts_of(body.replace('bd.load("', f'bd.load("{source.parent}/'), line, OPTIONS, source):
        if not hasattr(part, "options"):
            values = [piece if isinstance(piece, str) else eval(piece.code, names) for piece in part.pieces]
            assert all(isinstance(value, str | int) or hasattr(value, "_repr_markdown_") for value in values)
            text.append("".join(value.text if hasattr(value, "text") else str(value) for value in values))
            continue
        code = ast.parse(part.source)
        last = code.body.pop() if code.body and isinstance(code.body[-1], ast.Expr) else None
        exec(compile(code, part.name, "exec"), names)
        value = eval(compile(ast.Expression(last.value), part.name, "eval"), names) if last else None
        for each in getattr(value, "parts", [value] if last else []):
            if hasattr(each, "draw"):
                figures[each.label] = each
                each = dataclasses.replace(each, draw=plt.figure)
            text.append(each._repr_markdown_())
    return "\n\n".join(text), figures


def problems(text):
    """What a page lacks: options of figures and tables, labels that it refers to; and labels that are there twice."""
    found, labels = [], [cell.label for cell in cells(text) if cell.label]
    for cell in cells(text):
        needed = {"fig": ("fig-cap", "fig-alt"), "tbl": ("tbl-cap",)}.get(cell.label.split("-")[0], ())
        found += [f"{cell.label} has no {option}" for option in needed if not cell.options.get(option)]
    prose = "".join(part for part in parts(text) if isinstance(part, str))
    labels += re.findall(r"\{#((?:eq|sec)-[\w-]+)\}", prose)
    found += [f"{label} is there twice" for label in set(labels) if labels.count(label) > 1]
    referred = set(re.findall(r"@((?:fig|tbl|eq|sec)-[\w-]+)", prose))
    return found + [f"@{label} is nowhere" for label in sorted(referred - set(labels))]
