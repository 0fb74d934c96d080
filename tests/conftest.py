"""What all tests share: nothing that they see.

A worker of the suite compiles thousands of functions with JAX. Each takes a few memory maps, of which Linux allows a
process 65,530, and then XLA aborts. So what one file compiled is dropped before the next begins.
"""

import sys


class DropWhatWasCompiled:
    """Runs for the examples in the docstrings too, which lie outside of this folder."""

    def pytest_runtest_teardown(self, item, nextitem):
        if (nextitem is None or nextitem.path != item.path) and "jax" in sys.modules:
            sys.modules["jax"].clear_caches()


def pytest_configure(config):
    config.pluginmanager.register(DropWhatWasCompiled())
