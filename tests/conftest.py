"""What all tests share: nothing that they see.

A worker of the suite compiles thousands of functions with JAX, many of them alike. What one test compiled is kept on
disk for the next, for the other workers, and for the processes that they start. Each function in memory takes a few
memory maps, of which Linux allows a process 65,530, and then XLA aborts. So what one file compiled is dropped from
there before the next begins, and memory that is free is given back: between files, and after a test that leaves much.
Figures are closed after each test.
"""

import gc
import os
import sys
import tempfile

import psutil
import pytest

KEPT = pytest.StashKey[tempfile.TemporaryDirectory]()
MUCH = 2**28  # bytes that a worker holds more than when it last gave some back


class DropWhatIsLeft:
    """Runs for the examples in the docstrings too, which lie outside of this folder."""

    held = 0

    @pytest.hookimpl(trylast=True)  # when fixtures are gone
    def pytest_runtest_teardown(self, item, nextitem):
        if "matplotlib.pyplot" in sys.modules:  # a figure that one test leaves would be counted by another
            sys.modules["matplotlib.pyplot"].close("all")
        compiled = sys.modules.get("bayesdiff.compiled")  # nothing is compiled without it, but by networks
        last = nextitem is None or nextitem.path != item.path
        if last and "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        process = psutil.Process()
        if compiled and (last or process.memory_info().rss > self.held + MUCH):
            compiled.give_back_memory()
            self.held = process.memory_info().rss
        if last:
            gc.freeze()  # what is left are modules: a collection that looks at all of them takes .6 s


def pytest_configure(config):
    config.pluginmanager.register(DropWhatIsLeft())
    if config.option.markexpr != "bench":  # where compiling is part of what is measured
        assert "jax" not in sys.modules  # it reads this when it is imported
        if hasattr(config, "workerinput"):  # a worker of xdist's has it from who started it
            return
        config.stash[KEPT] = tempfile.TemporaryDirectory(prefix="bayesdiff-compiled-", ignore_cleanup_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[KEPT].name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_unconfigure(config):
    if KEPT in config.stash:
        config.stash[KEPT].cleanup()
