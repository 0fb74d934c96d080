"""Read a Quarto document: its front matter, its cells, and the expressions in its text.

One rule says what is run: a cell whose fence stands at the margin, and `` `{python} expression` `` in the text. What is
quoted (in a longer fence, in a code span) is shown, never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ReportError(RuntimeError):
    """Raised when a page cannot be made, or is not fit to be read: what is wrong, and where."""


@dataclass(frozen=True)
class Cell:
    """A code cell: its options, its source, and the line of the document that its source begins at."""

    options: Mapping[str, Any]
    source: str
    line: int

    @property
    def name(self) -> str:
        """What an error calls it."""
        return str(self.options["label"]) if "label" in self.options else f"at line {self.line}"


@dataclass(frozen=True)
class Inline:
    """An expression in the text, and its line."""

    code: str
    line: int


@dataclass(frozen=True)
class Text:
    """What stands between two cells: text as it is, and expressions whose values stand in their place."""

    pieces: tuple[str | Inline, ...]

    @property
    def expressions(self) -> list[Inline]:
        """What is computed in it, in order."""
        return [piece for piece in self.pieces if isinstance(piece, Inline)]


def fenced(text: str, attributes: str = "") -> str:
    """Text as it is, in a fence that no line of it can close.

    Examples
    --------
    >>> print(fenced("a ``` b", "{.text}"))
    ````{.text}
    a ``` b
    ````
    """
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{attributes}\n{text}\n{fence}"


def read_document(source: Path) -> tuple[dict[str, Any], str, int]:
    """Read a file: its front matter, what follows it, and the line at which that begins.

    Raises
    ------
    ReportError
        If it is not UTF-8, its front matter is not YAML, or it has no title.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportError(f"{source} is not text in UTF-8 (byte {error.start + 1}). Save it as UTF-8.") from error
    match = re.match(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", text, re.DOTALL | re.MULTILINE)
    meta = _yaml(match[1], f"The front matter of {source}") if match else {}
    if not str(meta.get("title") or "").strip():
        raise ReportError(f"{source} has no title. Begin it with three lines: ---, title: ..., and ---.")
    end = match.end() if match else 0
    return meta, text[end:], text.count("\n", 0, end) + 1


def parts_of(body: str, line: int, defaults: Mapping[str, Any], source: Path) -> list[Text | Cell]:
    """The document in order. ``line``: where its body begins; ``defaults``: the options of cells that say nothing."""
    parts: list[Text | Cell] = []
    text: list[str | Inline] = []
    for begins, language, lines in blocks(body.split("\n"), line, source):
        if language is None:
            text += inline("\n".join(lines) + "\n", begins)
        elif not language:
            text.append("\n".join(lines) + "\n")
        elif language != "python":
            raise ReportError(
                f"{source}, line {begins}: a cell of {language}. Without Quarto only python cells can run."
            )
        else:
            parts += [Text(tuple(text)), _cell("\n".join(lines[1:-1]), begins + 1, defaults, source)]
            text = []
    return [*parts, Text(tuple(text))]


def blocks(lines: list[str], line: int, source: Path) -> Iterator[tuple[int, str | None, list[str]]]:
    """Text (None), fences that are shown (empty) and cells (their language), each with its first line's number."""
    plain: list[str] = []
    at = 0
    fences = re.compile(r"^([ \t>]*)(`{3,}(?=[^`]*$)|~{3,})(.*)$")
    language = re.compile(r"\{(\w+)[^}]*\}\s*")
    while at < len(lines):
        opens = fences.match(lines[at])
        if not opens:
            plain.append(lines[at])
            at += 1
            continue
        if plain:
            yield line + at - len(plain), None, plain
            plain = []
        indent, fence, told = opens.groups()
        asked = language.fullmatch(told.strip()) if fence[0] == "`" and not indent else None
        closes = re.compile(rf"[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*")
        end = next((i for i in range(at + 1, len(lines)) if closes.fullmatch(lines[i])), None)
        if end is None and asked:
            raise ReportError(f"{source}, line {line + at}: this cell has no end; write {fence} after it.")
        after = len(lines) if end is None else end + 1
        yield line + at, asked[1] if asked else "", lines[at:after]
        at = after
    if plain:
        yield line + at - len(plain), None, plain


def inline(text: str, line: int) -> Iterator[str | Inline]:
    """Text without fences: what is run in it, and what is not."""
    done = 0
    expression = re.compile(r"\{python\}\s+(.+)", re.DOTALL)
    # What an escape hides, a code span (whose ends are as many backticks, and in one paragraph), or backticks alone.
    span = re.compile(r"\\.|(`+)((?:(?!\n[ \t]*\n).)+?)(?<!`)\1(?!`)|`+", re.DOTALL)
    for piece in span.finditer(text):
        asked = expression.fullmatch(piece[2]) if piece[1] == "`" else None
        if asked:
            yield text[done : piece.start()]
            yield Inline(" ".join(asked[1].split("\n")).strip(), line + text.count("\n", 0, piece.start()))
            done = piece.end()
    yield text[done:]


def _cell(code: str, line: int, defaults: Mapping[str, Any], source: Path) -> Cell:
    told = []
    for text in code.splitlines():
        if not text.startswith("#|"):
            break
        told.append(text[2:])
    given = _yaml("\n".join(told), f"{source}, line {line}: what #| says of the cell")
    if not isinstance(given.get("label", ""), str) or given.get("label") == "":
        raise ReportError(f"{source}, line {line}: the label of the cell is no name; write #| label: name.")
    cell = Cell({**defaults, **given}, code, line)
    label = given.get("label", "") if cell.options["include"] and cell.options["output"] else ""
    wanted = {"fig-": ("fig-cap", "fig-alt"), "tbl-": ("tbl-cap",)}.get(label[:4], ())
    for option in wanted:  # said before anything is computed
        if not given.get(option):
            what = "no text for those who cannot see it" if option == "fig-alt" else "no caption"
            raise ReportError(f"{source}, line {line}: the cell {label} has {what}; write #| {option}.")
    return cell


def _yaml(text: str, what: str) -> dict[str, Any]:
    """A mapping of names to values; ``what`` it is, for the error."""
    import yaml

    try:
        meta = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ReportError(f"{what} is not YAML: {error}") from error
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise ReportError(f"{what} is no list of names and values: {str(meta)[:60]!r}. Write `name: value`.")
    return meta
