"""Try the product on generated hostile and unusual inputs (tests/hostile), as `make hostile` does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Compiled modules are not output of the product; otherwise each would be reported as a file outside the sandbox.
sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

if __name__ == "__main__":  # not in its child processes
    from hostile.runner import main

    raise SystemExit(main())
