"""A process of its own, in which texts have other hashes."""

import json
import os
import subprocess
import sys
from pathlib import Path

TELL = """
import json, sys, warnings
from bayesdiff.fingerprints import of_object
"""


def other_process(source, *arguments, folder=None):
    """What a script prints, in a process with other hashes of texts."""
    where = os.pathsep.join([str(Path(__file__).parents[1]), *([] if folder is None else [str(folder)])])
    environment = {**os.environ, "PYTHONPATH": where, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c" if "\n" in source else source,
            *([source] if "\n" in source else []),
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
