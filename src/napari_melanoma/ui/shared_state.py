"""State and signals shared by all docks: data of the open cases, and changes of corrections and models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal

Row = dict[str, str]  # values by column of the harmonized table


class CaseRows(QObject):
    """Rows of the harmonized tables of the open cases, by image file."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[int, tuple[str, dict[Path, Row]]] = {}

    def set_rows(self, owner: int, case: str, rows: Mapping[Path, Row]) -> None:
        """Set the rows of the case in a Case dock; they replace the previous rows of this dock.

        ``owner``: ``id`` of the dock. ``case``: name of the case. ``rows``: by image file; empty removes the case.
        """
        entry = (case, {path.absolute(): dict(row) for path, row in rows.items()})
        if rows and self._rows.get(owner) != entry:
            self._rows[owner] = entry
            self.changed.emit()
        elif not rows and self._rows.pop(owner, None) is not None:
            self.changed.emit()

    def find(self, path: Path) -> tuple[str, Row]:
        """Return the name of the case that contains an image and the image's row; both empty if no case does."""
        for case, rows in self._rows.values():
            if path.absolute() in rows:
                return case, rows[path.absolute()]
        return "", {}


@cache
def case_rows() -> CaseRows:
    """Return the rows shared by all docks."""
    return CaseRows()


class CorrectionsChanged(QObject):
    """Notifies all docks of changed corrections."""

    changed = Signal(object)  # path of the corrections folder that was changed or selected


@cache
def corrections_changed() -> CorrectionsChanged:
    """Return the object shared by all docks."""
    return CorrectionsChanged()


class LivePredictions(QObject):
    """Predictions of the photographs that are being labeled, as text: by the model, and by the fit to the labels."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._texts: Mapping[Path, str] = {}

    def set_texts(self, texts: Mapping[Path, str]) -> None:
        """Set the predictions by the file of the photograph."""
        if texts != self._texts:
            self._texts = texts
            self.changed.emit()

    def find(self, path: Path | None) -> str:
        """Return the predictions of a photograph; empty if there are none."""
        return "" if path is None else self._texts.get(path, "")


@cache
def live_predictions() -> LivePredictions:
    """Return the predictions shared by all docks."""
    return LivePredictions()


class ReaderChanged(QObject):
    """Notifies all docks of another reader."""

    changed = Signal(str)  # the name


@cache
def reader_changed() -> ReaderChanged:
    """Return the object shared by all docks."""
    return ReaderChanged()


class ModelsChanged(QObject):
    """Notifies all docks of changed models.

    ``changed``: name of the model of a training run that was activated, or empty. ``returned``: name of such a model
    that is no longer used, and of the one it was compared with, for docks that do not know what they had before.
    """

    changed = Signal(str)
    returned = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._former: dict[str, WeakKeyDictionary[QObject, str]] = {}  # by an activated model, and by list of models

    def add_former(self, activated: str, picker: QObject, model: str) -> None:
        """Record the model that a list of models had selected before a model was activated."""
        self._former.setdefault(activated, WeakKeyDictionary())[picker] = model

    def find_former(self, activated: str) -> set[str]:
        """Return the models that lists of models had selected before a model was activated."""
        return set(self._former.get(activated, {}).values())

    def take_former(self, activated: str, picker: QObject) -> str | None:
        """Return and remove the model that a list of models had selected before; None if it had no other one."""
        return self._former.get(activated, WeakKeyDictionary()).pop(picker, None)


@cache
def models_changed() -> ModelsChanged:
    """Return the object shared by all docks."""
    return ModelsChanged()
