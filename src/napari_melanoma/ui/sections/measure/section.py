"""The Measure section of a slide: measurements and counted points, on the canvas and in the dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QListWidget, QWidget

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.measure.count_layer import CountLayer
from napari_melanoma.ui.sections.measure.count_panel import CountPanel
from napari_melanoma.ui.sections.measure.layer import MODES, MeasureLayer, bounding_box
from napari_melanoma.ui.viewer.shortcuts import format_key, is_delete_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.style import fill_column, follow, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.slides.notes import SlideMeasurement
    from napari_melanoma.ui.session.slide import SlideSession

TOOLS = {"line": "Measure a length", "area": "Measure an area", "angle": "Measure an angle by three clicks"}
STEPS = {"undo": ("↶", "Undo the last change of the measurements"), "redo": ("↷", "Redo")}
HINTS = {
    "angle": "Click the end of one leg, the vertex, and the end of the other leg.",
    "line": "Press the mouse button at one end, release it at the other.",
    "area": "Click each corner; finish with a double click or Escape.",
}
DEFAULT_HINT = "Saved with the results of the slide. You can move or delete shapes in the layer."
LIST_PX = 90


class MeasureSection(SlideSection):
    """Measure lengths, areas and angles, and count points by class."""

    tools = tuple(MODES)
    parts = (MeasureLayer, CountLayer)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._measures = session.part(MeasureLayer)
        self.column.setSpacing(5)
        self.add(MeasurePanel(session, self._measures), CountPanel(session, session.part(CountLayer)))

    def toggle_tool(self, name: str) -> None:
        """Start a tool that measures, or stop it if it is active."""
        self._measures.toggle_tool(name)


class MeasurePanel(QWidget):
    """Tools, and the list of the measurements of a session: click to go there, Delete to remove."""

    def __init__(self, session: SlideSession, layer: MeasureLayer) -> None:
        super().__init__()
        self._session, self._layer = session, layer
        tips = {kind: f"{text} ({format_key(f'slide.{kind}')})" for kind, text in TOOLS.items()}
        self.tools = {
            kind: tool_button(f"measure_{kind}", tip, tip, kind, checkable=True) for kind, tip in tips.items()
        }
        self.history_buttons = {
            step: tool_button(f"measure_{step}", tip, tip, text) for step, (text, tip) in STEPS.items()
        }
        self.hint_label = named(quiet_label(DEFAULT_HINT), "measure_hint", "How to measure")
        self.list = named(QListWidget(), "measures", "Measurements", "Click to go there, Delete to remove")
        self.list.setFixedHeight(LIST_PX)
        fill_column(self, row(*self.tools.values(), *self.history_buttons.values()), self.hint_label, self.list)
        self._connect()
        self._show_tool(layer.tool)
        self._show_measures()

    def _connect(self) -> None:
        session, layer = self._session, self._layer
        session.services.tool_buttons += self.tools.values()
        for kind, button in self.tools.items():
            button.clicked.connect(lambda on, kind=kind: layer.set_tool(kind if on else ""))
        for step, button in self.history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: session.measures.step(step))
        self.list.itemClicked.connect(lambda item: self._go_to(self.list.row(item)))
        self.list.currentRowChanged.connect(session.selected_measure.set)
        self.list.installEventFilter(self)
        layer.tool_changed.connect(self._show_tool)
        follow(self, session.measures.changed, self._show_measures)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key in the list."""
        if is_delete_key(event):
            self._session.measures.apply(partial(_remove, self.list.currentRow()))
            return True
        return False

    def _show_tool(self, kind: str) -> None:
        for name, button in self.tools.items():
            button.setChecked(name == kind)
        self.hint_label.setText(HINTS.get(kind, DEFAULT_HINT))

    def _show_measures(self) -> None:
        measures, row_index = self._session.measures, self.list.currentRow()
        self.list.clear()
        self.list.addItems(self._layer.describe_measures())
        self.list.setCurrentRow(min(row_index, self.list.count() - 1))
        self.history_buttons["undo"].setEnabled(measures.can_undo)
        self.history_buttons["redo"].setEnabled(measures.can_redo)

    def _go_to(self, index: int) -> None:
        box = bounding_box(self._session.measures.value[index])
        zoom_to_box(self._session.services.viewer, self._session.slide, box)


def _remove(index: int, measures: tuple[SlideMeasurement, ...]) -> tuple[SlideMeasurement, ...]:
    return measures if index < 0 else (*measures[:index], *measures[index + 1 :])
