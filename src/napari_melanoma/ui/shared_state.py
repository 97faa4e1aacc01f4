"""Signals that all docks share: corrections, models and the open case changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from qtpy.QtCore import QObject, Signal

Row = dict[str, str]


class CaseRows(QObject):
    """Rows of the harmonised table by the file of an image."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[int, tuple[str, dict[Path, Row]]] = {}

    def set_rows(self, owner: int, case: str, rows: Mapping[Path, Row]) -> None:
        """Take what a Case dock says; it takes the place of what the same one said before."""
        told = (case, {path.absolute(): dict(row) for path, row in rows.items()})
        if rows and self._rows.get(owner) != told:
            self._rows[owner] = told
            self.changed.emit()
        elif not rows and self._rows.pop(owner, None) is not None:
            self.changed.emit()

    def find(self, path: Path) -> tuple[str, Row]:
        """Give what is known of an image.

        What the case is called, empty where none has the image; and columns to text.
        """
        for case, rows in self._rows.values():
            if path.absolute() in rows:
                return case, rows[path.absolute()]
        return "", {}


@cache
def case_rows() -> CaseRows:
    """Give the object that tells."""
    return CaseRows()


class CorrectionsChanged(QObject):
    """Tells every dock of a correction that was added, updated or taken back."""

    changed = Signal(object)


@cache
def corrections_changed() -> CorrectionsChanged:
    """Give the object that tells."""
    return CorrectionsChanged()


class ModelsChanged(QObject):
    """Tells every dock of a model that came or went."""

    changed = Signal(str)


@cache
def models_changed() -> ModelsChanged:
    """Give the object that tells."""
    return ModelsChanged()
