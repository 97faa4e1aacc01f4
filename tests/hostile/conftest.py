"""Makes the generators importable as in `scripts/hostile.py`: from the package `hostile`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
