"""What a function does and reads, by its bytecode."""

from __future__ import annotations

import dis
import inspect
import re
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from bayesdiff.fingerprints.parts import BOOKKEEPING


class Code(NamedTuple):
    """A piece of bytecode, without names of local variables, lines, and where its constants lie."""

    label: str
    constants: list[Any]
    names: frozenset[str]  # global
    attributes: frozenset[str]
    imports: frozenset[tuple[str, int, tuple[str, ...]]]


@lru_cache(maxsize=4096)
def read_code(code: CodeType) -> Code:
    """Read one piece of bytecode; those within it are constants of it."""
    instructions = dis.Bytecode(code)
    rows: list[dis.Instruction] = []
    two_in_one = re.compile("((?:LOAD|STORE)_FAST(?:_BORROW)?)_((?:LOAD|STORE)_FAST(?:_BORROW)?)")
    for step in instructions:
        # What depends on how lines are broken: what a line begins with for debuggers, and two instructions that are one
        # where they stand on one line.
        if step.opname == "NOP":
            continue
        pair = two_in_one.fullmatch(step.opname)
        if pair and step.arg is not None:
            rows += [step._replace(opname=pair[1], arg=step.arg >> 4), step._replace(opname=pair[2], arg=step.arg & 15)]
            continue
        if step.opname == "STORE_NAME" and step.argval in BOOKKEEPING:  # the docstring, line and name of a class
            rows.pop()
            continue
        rows.append(step)
    offsets = np.array([step.offset for step in rows])

    def place(offset: int) -> int:
        return int(np.searchsorted(offsets, offset))

    text: list[str] = []
    constants, names, attributes, imports = [], set(), set(), set()
    for before, step in zip([None, None, *rows], rows, strict=False):
        argument: Any = step.arg
        if step.opcode in dis.hasconst:
            constants.append(step.argval)
            argument = "constant"
        elif step.opcode in dis.hasname:
            argument = step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(step.argval)
            attributes.add(step.argval)
            if step.opname == "IMPORT_NAME" and before is not None:
                wanted = rows[len(text) - 1].argval
                imports.add((step.argval, before.argval, tuple(wanted or ())))
        elif step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            argument = place(step.argval)
        text.append(f"{step.opname} {argument}")
    caught = [
        (place(entry.start), place(entry.end), place(entry.target), entry.depth, entry.lasti)
        for entry in getattr(instructions, "exception_entries", ())
    ]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    # What tells callers or iteration how to deal with it: *args, **kwargs, generator, coroutine.
    flags = (
        inspect.CO_VARARGS
        | inspect.CO_VARKEYWORDS
        | inspect.CO_GENERATOR
        | inspect.CO_COROUTINE
        | inspect.CO_ITERABLE_COROUTINE
        | inspect.CO_ASYNC_GENERATOR
    )
    label = repr((counts, arguments, code.co_flags & flags, text, caught))
    return Code(label, constants, frozenset(names), frozenset(attributes), frozenset(imports))


def all_reads(code: CodeType) -> Code:
    """What a function reads, the functions and classes that are written in it included."""
    found = [read_code(code)]
    for read in found:
        found += [read_code(constant) for constant in read.constants if isinstance(constant, CodeType)]
    return Code(
        "",
        [],
        frozenset().union(*(read.names for read in found)),
        frozenset().union(*(read.attributes for read in found)),
        frozenset().union(*(read.imports for read in found)),
    )
