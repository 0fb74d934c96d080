"""``python -m bayesdiff.cli``."""

import sys

from bayesdiff.cli import main

sys.exit(main())
