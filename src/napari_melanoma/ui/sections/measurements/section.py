"""The Measurements section of a photograph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.ui.sections import PhotographSection
from napari_melanoma.ui.sections.measurements.resolve import resolve_measurements
from napari_melanoma.ui.sections.measurements.view import LesionList, MeasurementTable
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.widgets.style import column

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class MeasurementsSection(PhotographSection):
    """Shows the measurements of the mask, and a list of several lesions, in which a click shows one."""

    def show(self, session: HostedPhotograph) -> None:
        """Use the session of a photograph."""
        self._session, self._signals = session, (session.shown, session.events.request, session.events.prediction)

    def open(self, session: HostedPhotograph) -> QWidget:
        """Show the measurements of a photograph."""
        self._lesions, self._table = LesionList(), MeasurementTable()
        self._lesions.chosen.connect(partial(_show_lesion, session))
        for signal in self._signals:
            signal.connect(self._update)
        self._update()
        return column(self._lesions, self._table)

    def close(self) -> None:
        """Stop following the photograph."""
        for signal in self._signals:
            signal.disconnect(self._update)
        del self._session, self._signals

    def _update(self) -> None:
        lesion, outcome = self._session.lesion, self._session.current_prediction
        result = None if lesion is None else lesion.result
        view = resolve_measurements(result, () if outcome is None else outcome.lesions)
        self._table.show_rows(view.rows)
        self._lesions.show_rows(view.lesions, view.positive)


def _show_lesion(session: HostedPhotograph, index: int) -> None:
    """Bring a lesion into view."""
    if session.lesion is not None:
        layers.show_box(session.viewer, session.image, session.lesion.result.lesion_boxes[index])
