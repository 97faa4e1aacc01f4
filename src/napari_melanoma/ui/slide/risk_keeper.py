"""What is known of the risk of each slide in a window: read in threads, and the form of its patient."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.case_rows import case_rows
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.patient_rows import PatientRows, Row
from napari_melanoma.ui.slide.risk_words import ELSEWHERE

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.slide.layers import OpenSlide
    from napari_melanoma.workflows.slide_risk_files import RiskKept

Found = tuple[str, Path, "RiskKept"]


class RiskKeeper(QObject):
    """Reads what lies beside slides, and remembers what stands in the form of each."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: OpenSlide | None = None
        self._known: dict[str, tuple[Path, RiskKept]] = {}
        self._rows = PatientRows()
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self.failed)
        case_rows().changed.connect(self._on_cases)

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._latest.busy

    @property
    def kept(self) -> RiskKept | None:
        """What lies beside the slide that it is about; None until it was read."""
        found = None if self._slide is None else self._known.get(self._slide.identity)
        return None if found is None else found[1]

    @property
    def folder(self) -> Path | None:
        """Where that lies; None until it was read."""
        found = None if self._slide is None else self._known.get(self._slide.identity)
        return None if found is None else found[0]

    @property
    def row(self) -> Row:
        """What is known of the patient of the slide."""
        return {} if self._slide is None else self._rows.row(self._slide.identity, self._slide.layers[0])

    @property
    def case(self) -> str:
        """What the case of the slide is called; empty where it belongs to none."""
        return "" if self._slide is None else self._rows.case(self._slide.identity)

    @property
    def is_tried(self) -> bool:
        """Whether something was filled in that the case does not say."""
        return self._slide is not None and self._rows.is_tried(self._slide.layers[0])

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._on_cases()

    def read(self, identity: str, folder: Path) -> None:
        """Read what lies beside a slide."""
        self._latest.submit(identity, lambda: partial(_read, identity, folder))

    def fill_in(self, row: Row) -> None:
        """Take what stands in the form; nobody is told."""
        if self._slide is not None:
            self._rows.fill_in(self._slide.identity, self._slide.layers[0], row)

    def restore(self) -> None:
        """Go back to what the case says."""
        if self._slide is not None:
            self._rows.forget(self._slide.identity, self._slide.layers[0])
            self.changed.emit()

    def _on_read(self, found: Found) -> None:
        identity, folder, kept = found
        self._known[identity] = folder, kept
        if self._slide is None or self._slide.identity != identity:
            return
        told = kept.answer.get("known") or {}
        if told and not self.case and not self.is_tried:  # as it stood when the answer was given
            row = {str(name): str(cell) for name, cell in told.items() if name not in ELSEWHERE}
            self._rows.fill_in(identity, self._slide.layers[0], row)
        self.changed.emit()

    def _on_cases(self) -> None:
        """Take what the open case says of the slide."""
        if self._slide is not None:
            case, row = case_rows().of(self._slide.info.path)
            self._rows.set_case(self._slide.identity, case, row)
        self.changed.emit()


def _read(identity: str, folder: Path, run: RunContext) -> Found:
    """Read in a thread."""
    from napari_melanoma.workflows.slide_risk_files import kept_risk

    return identity, folder, kept_risk(folder)
