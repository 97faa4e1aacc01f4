"""The one place where docks hear that the models on this machine are other ones than before."""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, Signal


class ModelsChanged(QObject):
    """Tells every dock of a model that came or went.

    Attributes
    ----------
    changed : Signal(str)
        Lists of models should be read again; the name of the model that was taken over, empty where none was.
    """

    changed = Signal(str)


@cache
def models_changed() -> ModelsChanged:
    """Give the object that tells.

    Returns
    -------
    ModelsChanged
        The same one to all docks of this program.
    """
    return ModelsChanged()
