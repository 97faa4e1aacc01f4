"""Changes of the user's data, which all windows share: the reader, corrections, models and the results of slides."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal


class UserData(QObject):
    """Notifies all windows of changes; the data themselves are settings and files.

    ``reader_changed``: the name of the reader. ``corrections_changed``: path of the corrections folder that was changed
    or selected. ``slide_results_changed``: path of the folder that was selected for the results of slides.
    ``models_changed``: name of the model of a training run that was activated, or empty. ``model_returned``: name of
    such a model that is no longer used, and of the one it was compared with, for docks that do not know what they had
    before. ``former``: the model that a list of models had selected before one was activated, by the activated model.
    """

    reader_changed = Signal(str)
    corrections_changed = Signal(object)
    slide_results_changed = Signal(object)
    models_changed = Signal(str)
    model_returned = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.former: defaultdict[str, WeakKeyDictionary[QObject, str]] = defaultdict(WeakKeyDictionary)


@cache
def user_data() -> UserData:
    """Return the object that all windows follow."""
    return UserData()
