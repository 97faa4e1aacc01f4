"""The one place where docks hear that the models on this machine are other ones than before."""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, Signal


class ModelsChanged(QObject):
    """Tells every dock of a model that came or went."""

    changed = Signal(str)


@cache
def models_changed() -> ModelsChanged:
    """Give the object that tells."""
    return ModelsChanged()
