"""Collect what the benchmarks measured, and print it as one table of ratios at the end."""

import pytest

ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def report(request):
    """Add a row: what, measured, limit, whether it holds."""

    def add(what, measured, limit, holds):
        request.config.stash[ROWS].append((what, measured, limit, "yes" if holds else "NO"))

    return add


def pytest_terminal_summary(terminalreporter, config):
    rows = [("what", "measured", "limit", "holds"), *config.stash[ROWS]]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    terminalreporter.section("speed")
    for row in rows:
        terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
