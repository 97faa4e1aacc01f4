"""The Patient section of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.sections import PhotographSection
from napari_melanoma.ui.widgets.patient_form import PatientForm
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph

TYPING_DELAY_MS = 120  # pause after which typing is considered finished


class PatientSection(PhotographSection):
    """Edits the patient data of a photograph, and requests its prediction after a pause."""

    def show(self, session: HostedPhotograph) -> None:
        """Use the session of a photograph."""
        self._session = session

    def open(self, session: HostedPhotograph) -> PatientForm:
        """Show the fields that the classifier of the photograph uses."""
        self._form = form = PatientForm()
        self._timer = DebounceTimer(form, TYPING_DELAY_MS)
        self._timer.timeout.connect(self._on_typing_finished)
        form.edited.connect(self._on_edited)
        form.reset_requested.connect(self._on_reset)
        session.commit_requested.connect(self._timer.flush)
        session.events.classifier.connect(self._show_fields)
        session.patient_changed.connect(self._show_row)
        self._show_fields()
        return form

    def close(self) -> None:
        """Stop following the photograph."""
        session = self._session
        if hasattr(self, "_form"):
            session.commit_requested.disconnect(self._timer.flush)
            session.events.classifier.disconnect(self._show_fields)
            session.patient_changed.disconnect(self._show_row)
            del self._form, self._timer
        del self._session

    def _show_fields(self) -> None:
        self._form.set_encoding(_find_encoding(self._session.classifier))
        self._show_row()

    def _show_row(self) -> None:
        data = self._session.patient_data
        if data.row != self._form.row:  # otherwise an invalid text, which counts as unknown, would disappear
            self._form.show_row(data.row)
        self._form.show_origin(data.case, changed=data.has_edits)

    def _on_edited(self) -> None:
        self._session.patient_data.set_row(self._form.row)
        self._show_row()
        self._timer.start()

    def _on_typing_finished(self) -> None:
        self._session.services.predictions.follow_patient_data(self._session)

    def _on_reset(self) -> None:
        self._session.patient_data.reset()
        self._show_row()
        self._on_typing_finished()


def _find_encoding(model: str) -> TabularEncoding | None:
    """Return the encoding of the patient data that a model uses; None without patient data or model."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(model).config.tabular if model else None
    except MelanomaError:
        return None  # the worker reports the error with the prediction
