"""Connect the patient form of the Lesion dock with the case and the photographs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.session.photograph import PhotographSession

TYPING_DELAY_MS = 120  # pause after which typing is considered finished


class PatientDataController(QObject):
    """Shows the patient data of the photograph in view, and emits edits after a pause."""

    changed = Signal(object)  # PhotographSession

    def __init__(self, controls: LesionControls, parent: QObject) -> None:
        super().__init__(parent)
        self._controls = controls
        self._edited: PhotographSession | None = None  # the photograph whose data are being edited
        self._typing_timer = DebounceTimer(self, TYPING_DELAY_MS)
        self._typing_timer.timeout.connect(self._on_typing_finished)
        controls.patient.edited.connect(self._on_edited)
        controls.patient.reset_requested.connect(self._on_reset)
        case_rows().changed.connect(self._on_cases)

    def restore(self, session: PhotographSession, row: Mapping[str, str]) -> None:
        """Restore the data of a saved result, unless there is a case or newer edits."""
        data = session.patient_data
        if session.is_open and not data.case and not data.has_edits:
            data.set_row(row)
            self.update_view()
            self.changed.emit(session)

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._typing_timer.flush()

    def set_model(self, model: str) -> None:
        """Show the fields that a model uses."""
        self._controls.patient.set_encoding(_find_encoding(model))
        self.update_view()

    def update_view(self) -> None:
        """Show the patient data of the photograph in view."""
        controls, session = self._controls, self._controls.picker.session
        controls.show_patient_section(bool(controls.classifier.model) and session is not None)
        if session is not None:
            controls.patient.show_row(session.patient_data.row)
            self._show_origin(session)

    def _show_origin(self, session: PhotographSession) -> None:
        data = session.patient_data
        self._controls.patient.show_origin(data.case, changed=data.has_edits)

    def _on_cases(self) -> None:
        """Use the data of the open cases."""
        self.update_view()
        for session in self._controls.sessions:
            self.changed.emit(session)

    def _on_edited(self) -> None:
        session = self._controls.picker.session
        if session is not None:
            session.patient_data.set_row(self._controls.patient.row)
            self._show_origin(session)
            self._edited = session
            self._typing_timer.start()

    def _on_typing_finished(self) -> None:
        session, self._edited = self._edited, None
        if session is not None:
            self.changed.emit(session)

    def _on_reset(self) -> None:
        session = self._controls.picker.session
        if session is not None:
            session.patient_data.reset()
            self.update_view()
            self.changed.emit(session)


def _find_encoding(model: str) -> TabularEncoding | None:
    """Return the encoding of the patient data that a model uses; None without patient data or model."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(model).config.tabular if model else None
    except MelanomaError:
        return None  # the worker reports the error with the prediction
