"""The one place where docks hear that the corrections are other ones than before."""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, Signal


class CorrectionsChanged(QObject):
    """Tells every dock of a correction that was added, updated or taken back."""

    changed = Signal(object)


@cache
def corrections_changed() -> CorrectionsChanged:
    """Give the object that tells."""
    return CorrectionsChanged()
