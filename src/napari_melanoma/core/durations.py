"""How long something takes, as a person says it: one wording for progress, docks and the command line."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Say how long something takes.

    In seconds, minutes or hours.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
