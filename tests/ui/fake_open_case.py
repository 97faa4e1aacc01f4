"""A case that is open in a viewer, without its dock and its files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_patient
from napari_melanoma.ui.session.workspace import Workspace


class FakeOpenCase:
    """The open case; ``provided`` ends with ``dock``."""

    opened, changed = Signal(), Signal()
    is_editable = True

    def __init__(self, workspace: Workspace, case: Case, read_only: str = "") -> None:
        self.case: Case | None = case
        self.read_only, self.store, self.dock = read_only, SimpleNamespace(folder=Path("case")), QObject()
        workspace.cases.provide(self, self.dock)

    def edit(self, case: Case, description: str = "") -> bool:
        self.case = case
        self.changed.emit()
        return True

    def close(self) -> None:
        self.case = None
        self.opened.emit()


def make_case(path: Path, patient: dict[str, Any], **lesion: Any) -> Case:
    """A case of one image with its lesion."""
    case = add_lesion(set_patient(Case(), **patient), **lesion)
    return add_images(case, [CaseImage(id="", path=path)], "L1")
