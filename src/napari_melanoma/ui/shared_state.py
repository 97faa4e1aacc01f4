"""State and signals shared by all docks: the open cases, changes of corrections and of models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from qtpy.QtCore import QObject, Signal

Row = dict[str, str]


class CaseRows(QObject):
    """Rows of the harmonized tables of the open cases, by image file."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[int, tuple[str, dict[Path, Row]]] = {}

    def set_rows(self, owner: int, case: str, rows: Mapping[Path, Row]) -> None:
        """Set the rows of the case in a Case dock; they replace the previous rows of the same dock."""
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
    """Emits a correction that was added, updated or removed."""

    changed = Signal(object)


@cache
def corrections_changed() -> CorrectionsChanged:
    """Return the signals shared by all docks."""
    return CorrectionsChanged()


class ModelsChanged(QObject):
    """Emits the name of a model that was installed, activated or removed."""

    changed = Signal(str)


@cache
def models_changed() -> ModelsChanged:
    """Return the signals shared by all docks."""
    return ModelsChanged()
