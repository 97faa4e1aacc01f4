"""Lets tests import the generators as `scripts/hostile.py` does: from the package `hostile`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
