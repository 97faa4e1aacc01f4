"""Which Python starts our child processes: asked by the docks for the worker and by whoever launches a run."""

from __future__ import annotations

import sys
from pathlib import Path


def python_executable() -> str:
    """Find the Python that runs this program; inside an application bundle ``sys.executable`` may be napari itself."""
    here = Path(sys.executable)
    if here.stem.lower().startswith("python") and here.stem.lower() != "pythonw":
        return sys.executable
    folder = Path(sys.prefix)
    candidates = (here.with_name("python.exe"), folder / "python.exe", folder / "bin" / "python3")
    return next((str(path) for path in candidates if path.is_file()), sys.executable)
