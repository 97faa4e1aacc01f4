"""Findings that are taken from the canvas of a slide: margins from the ruler, mitoses from the counted points."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.depth.readings import MitosisCount, count_mitoses
from napari_melanoma.depth.synoptic import SynopticAnswer
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.slides.counts import list_mitoses
from napari_melanoma.slides.notes import measure_shape
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import column, enable, row, show_text, state_label, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.findings_form import FindingsForm

NO_SCALE = "This slide has no scale, but a distance is in mm. Set the scale with the ruler next to the slide's name."
NO_RULER = "there is no line to use: open Measure, draw a line from the melanoma to the edge, then press Ruler again."
NO_MITOSES = "No mitosis is counted there: count mitoses in Measure, or press None found."
HOLES = "the selected regions have holes, which a counted area cannot have. Select regions without holes."
RULER_TIP = "Use the length of the line that is selected in Measure, or of the last one"
MITOSES = {  # text and tooltip
    "mitoses_measured": (
        "Use counts",
        "Use the mitoses that are counted in Measure, within the selected regions, such as its circle of 1 mm²",
    ),
    "none_found": ("None found", "Record 0 mitoses: you have searched the selected regions, and there are none"),
}
SMALL_MM2 = 0.95  # a smaller area does not round to the square millimeter that is to be counted


class SlideEntries(QObject):
    """Adds buttons to a form of findings that take margins and mitoses from the slide.

    ``prefix``: of their names. ``set_answer``: stores the answer to a field.
    """

    def __init__(
        self,
        session: SlideSession,
        form: FindingsForm,
        prefix: str,
        set_answer: Callable[[str, SynopticAnswer], object],
    ) -> None:
        super().__init__(form)
        self._session, self._form, self._set_answer = session, form, set_answer
        for name in (one for one in form.editors if "_distance_" in one):
            ruler = tool_button(f"{prefix}_{name}_ruler", RULER_TIP, RULER_TIP, "Ruler")
            ruler.clicked.connect(lambda _=False, name=name: self._use_ruler(name))
            form.editors[name].add_button(ruler)
        self._buttons = {name: tool_button(f"{prefix}_{name}", tip, tip, text) for name, (text, tip) in MITOSES.items()}
        for name, button in self._buttons.items():
            button.clicked.connect(lambda _=False, name=name: self.count_mitoses(none_found=name == "none_found"))
        self._note = state_label(f"{prefix}_mitoses", "Notes on the counted mitoses", quiet=True)
        form.editors["mitotic_rate"].add_below(column(row(*self._buttons.values()), self._note, spacing=2))

    def update(self, lock: str) -> None:
        """Show what is to be said of the counted mitoses; ``lock``: why they must not be changed."""
        mitoses = self._session.findings.state.reading.mitoses
        for name, button in self._buttons.items():
            enable(button, MITOSES[name][1], lock)
            button.setEnabled(not lock and (name != "none_found" or mitoses.counted is None))
        show_text(self._note, describe_count(mitoses))

    def count_mitoses(self, *, none_found: bool) -> None:
        """Record the mitoses that are counted in Measure, within the selected regions or on the whole slide."""
        session, document = self._session, self._session.findings
        selected = set(session.selected_regions.value)
        polygons = [part for region in session.regions.value if region.id in selected for part in region.polygons]
        if any(polygon.holes for polygon in polygons):
            show_failure(session.services.status, InputError(HOLES))
            return
        points, areas = list_mitoses(session.document(COUNT_DOCUMENT).value), tuple(one.outer for one in polygons)
        mitoses = count_mitoses(points, areas, document.state.size, none_found=none_found)
        if mitoses.counted is None:
            session.services.status.show_briefly(NO_MITOSES)
        else:
            document.set_values(mitoses=mitoses)

    def _use_ruler(self, field: str) -> None:
        """Set a margin to the length of the line that is selected in the Measure section, or of the last one."""
        session, status = self._session, self._session.services.status
        line, size = session.ruler_line, session.findings.state.size
        if size is None:
            show_failure(status, ScaleMissing(NO_SCALE), session.findings.changed)
        elif line is None:
            show_failure(status, InputError(NO_RULER))
        else:
            self._form.editors[field].discard_typed()
            self._set_answer(field, SynopticAnswer(value=round(measure_shape(line, size), 4)))


def describe_count(mitoses: MitosisCount) -> str:
    """Describe what the fields of a report do not state of counted mitoses; empty if they state all."""
    notes = []
    if mitoses.counted is not None and mitoses.mm2 is None and mitoses.points and not mitoses.areas:
        notes.append("Select the counted region to get the number per mm².")
    if mitoses.counted is not None and mitoses.mm2 is not None and mitoses.mm2 < SMALL_MM2:
        notes.append("Imprecise: the counted area is below 1 mm².")
    if mitoses.per_mm2 is not None and mitoses.per_mm2 > (most := FIELDS_BY_NAME["mitotic_rate"].most):
        notes.append(f"{mitoses.per_mm2:,.0f} per mm² is above the limit of {most:,.0f}. Select a larger region.")
    inside = count_mitoses(mitoses.points, mitoses.areas, None, none_found=True).counted or 0
    if outside := len(mitoses.points) - inside:
        notes.append(f"{outside} outside the area not counted.")
    return " ".join(notes)
