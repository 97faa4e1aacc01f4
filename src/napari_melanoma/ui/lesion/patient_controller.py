"""Connect the patient form of the Lesion dock with the case and the photographs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.lesion.patient_form import PatientRows, Row
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.ui.lesion.analyzed_lesions import LesionStore
    from napari_melanoma.ui.lesion.controls import LesionControls

TYPING_DELAY_MS = 120  # pause after which typing is considered finished


class PatientDataController(QObject):
    """Shows the patient data of the photograph in view, and emits edits after a pause."""

    changed = Signal(str)

    def __init__(self, controls: LesionControls, store: LesionStore, parent: QObject) -> None:
        super().__init__(parent)
        self._controls = controls
        self._store = store
        self._rows = PatientRows()
        self._edited_identity = ""  # identity of the photograph whose data are being edited
        self._typing_timer = DebounceTimer(self, TYPING_DELAY_MS)
        self._typing_timer.timeout.connect(self._on_typing_finished)
        controls.patient.edited.connect(self._on_edited)
        controls.patient.reset_requested.connect(self._on_reset)

    def row(self, identity: str) -> Row:
        """Return the patient data of a photograph, column to text; unknown values are left out."""
        return self._rows.row(identity, self._store.image(identity))

    def set_case(self, identity: str, case: str, row: Mapping[str, str]) -> None:
        """Set the data of a case for a photograph."""
        if self._rows.set_case(identity, case, row):
            self.update_view()
            self.changed.emit(identity)

    def restore(self, identity: str, row: Mapping[str, str]) -> None:
        """Restore the data of a saved result, unless there is a case or newer edits."""
        image = self._store.image(identity)
        if image is not None and not self._rows.case(identity) and not self._rows.has_edits(image):
            self._rows.set_row(identity, image, dict(row))
            self.update_view()
            self.changed.emit(identity)

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._typing_timer.flush()

    def set_model(self, model: str) -> None:
        """Show the fields that a model uses."""
        self._controls.patient.set_encoding(_find_encoding(model))
        self.update_view()

    def update_view(self) -> None:
        """Show the patient data of the photograph in view."""
        controls, identity, image = self._controls, self._controls.picker.identity, self._controls.picker.image
        controls.show_patient_section(bool(controls.classifier.model) and image is not None)
        if identity is not None:
            controls.patient.show_row(self.row(identity))
            controls.patient.show_origin(self._rows.case(identity), changed=self._rows.has_edits(image))

    def remove(self, identity: str) -> None:
        """Remove a photograph."""
        self._rows.remove(identity)

    def _on_edited(self) -> None:
        identity, image = self._controls.picker.identity, self._controls.picker.image
        if identity is not None and image is not None:
            self._rows.set_row(identity, image, self._controls.patient.row)
            self._controls.patient.show_origin(self._rows.case(identity), changed=self._rows.has_edits(image))
            self._edited_identity = identity
            self._typing_timer.start()

    def _on_typing_finished(self) -> None:
        self.changed.emit(self._edited_identity)

    def _on_reset(self) -> None:
        identity, image = self._controls.picker.identity, self._controls.picker.image
        if identity is not None and image is not None:
            self._rows.remove(identity, image)
            self.update_view()
            self.changed.emit(identity)


def _find_encoding(model: str) -> TabularEncoding | None:
    """Return the encoding of the patient data that a model uses; None without patient data or model."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(model).config.tabular if model else None
    except MelanomaError:
        return None  # the worker reports the error with the prediction
