"""The Python interpreter that starts child processes."""

from __future__ import annotations

import sys
from pathlib import Path


def python_executable() -> str:
    """Find the Python interpreter; in an application bundle ``sys.executable`` may be napari itself."""
    here = Path(sys.executable)
    if here.stem.lower().startswith("python") and here.stem.lower() != "pythonw":
        return sys.executable
    folder = Path(sys.prefix)
    candidates = (here.with_name("python.exe"), folder / "python.exe", folder / "bin" / "python3")
    return next((str(path) for path in candidates if path.is_file()), sys.executable)
