"""Try the product on generated hostile and unusual inputs (tests/hostile), as `make hostile` does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

if __name__ == "__main__":  # not in the processes that it starts
    from hostile.runner import main

    raise SystemExit(main())
