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

import numpy as np
import psutil
import pytest
from filelock import FileLock

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
        # Compiling is half of what the suite takes, and a fifth of that is LLVM's optimising of what runs once.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
        if hasattr(config, "workerinput"):  # a worker of xdist's has it from who started it
            return
        config.stash[KEPT] = tempfile.TemporaryDirectory(prefix="bayesdiff-compiled-", ignore_cleanup_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[KEPT].name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_unconfigure(config):
    if KEPT in config.stash:
        config.stash[KEPT].cleanup()


@pytest.fixture(autouse=True)
def memory_is_kept(request, monkeypatch):
    """It is given back before each compiling, which takes .4 s among all that tests import: here after the file."""
    if "bayesdiff.compiled" in sys.modules and request.path.stem not in ("test_growth", "test_speed"):
        monkeypatch.setattr("bayesdiff.compiled.give_back_memory", int)


@pytest.fixture(scope="session")
def article(tmp_path_factory):
    """The article's 100 o of N(0, 1), sigma = 10, both ways: made once for all workers."""
    import bayesdiff as bd
    from models import gaussian

    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "article.zarr"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            prior = bd.compile_prior(gaussian.prior())
            o, quiet = np.random.default_rng(1).normal(0, 101**0.5, 100), {"random_seed": 1, "progressbar": False}
            modes = bd.find_map(prior, o, sigma=10, **quiet)
            draws = bd.sample_posterior(prior, o, sigma=10, draws=250, tune=100, **quiet)
            bd.save(bd.results.tree({"map": modes, "posterior": draws}), path)
    return dict(bd.load(path).children)
