"""Drive one path through a dock, in a process of its own."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from pathlib import Path


def drive(path: str) -> int:
    """Drive a path in the current folder; what went wrong is written to standard error."""
    with suppress(ImportError):  # before a software-rendered canvas: triton and Mesa bring clashing versions of LLVM
        import triton  # noqa: F401
    from golden.paths import PATHS
    from golden.session import Session

    session = Session(Path.cwd())
    try:
        PATHS[path](session)
    except Exception:  # noqa: BLE001 - what is seen at a failure is part of the recording
        traceback.print_exc()
        session.note("failed")
        sys.stderr.flush()
        session.end(1)
    session.end(0)
    return 0
