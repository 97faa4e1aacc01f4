"""The Patient section of a photograph: the patient data that its classifier uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.widgets.patient_form import PatientForm
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.ui.session.photograph import PhotographSession

TYPING_DELAY_MS = 120  # pause after which typing is considered finished


class PatientSection(PhotographSection):
    """Edits the patient data of a photograph, and requests its prediction after a pause."""

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._form = PatientForm()
        self.add(self._form)
        self._timer = DebounceTimer(self, TYPING_DELAY_MS)
        self._timer.timeout.connect(self._request_prediction)
        self._form.edited.connect(self._on_edited)
        self._form.reset_requested.connect(self._on_reset)
        self.follow(session.commit_requested, self._timer.flush)
        self.follow(session.events.classifier, self._show_fields)
        self.follow(session.patient_changed, self._show_row)
        self._show_fields()

    def _show_fields(self) -> None:
        self._form.set_encoding(_find_encoding(self.session.classifier))
        self._show_row()

    def _show_row(self) -> None:
        data = self.session.patient_data
        if data.row != self._form.row:  # otherwise an invalid text, which counts as unknown, would disappear
            self._form.show_row(data.row)
        self._form.show_origin(data.origin, changed=data.has_edits)

    def _on_edited(self) -> None:
        self.session.patient_data.set_row(self._form.row)
        self._show_row()
        self._timer.start()

    def _request_prediction(self) -> None:
        self.session.services.predictions.follow_patient_data(self.session)

    def _on_reset(self) -> None:
        self.session.patient_data.reset()
        self._show_row()
        self._request_prediction()


def _find_encoding(model: str) -> TabularEncoding | None:
    """Return the encoding of the patient data that a model uses; None without patient data or model."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(model).config.tabular if model else None
    except MelanomaError:
        return None  # the worker reports the error with the prediction
