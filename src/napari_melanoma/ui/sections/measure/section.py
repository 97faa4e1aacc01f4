"""The Measure section of a slide: measurements and counted points, on the canvas and in the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QListWidget

from napari_melanoma.core.formatting import capitalize
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.measure.counting import CountPanel
from napari_melanoma.ui.sections.measure.layer import CountLayer, MeasureLayer
from napari_melanoma.ui.session.annotations import REDO_TIP, UNDO_TIP
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.viewer.shortcuts import format_key, is_delete_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.style import fit_rows, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

TOOLS = {"line": "Measure a length", "area": "Measure an area", "angle": "Measure an angle by three clicks"}
ICONS = {"line": "line", "area": "polygon", "angle": "path"}
STEPS = {
    "undo": ("↶", UNDO_TIP),
    "redo": ("↷", REDO_TIP),
}
HINTS = {
    "angle": "Click the end of one leg, the vertex, and the end of the other leg.",
    "line": "Press the mouse button at one end, release it at the other.",
    "area": "Click each corner; finish with a double click or Escape.",
}
DEFAULT_HINT = "Saved with the results of the slide. You can move or delete shapes in the layer."
MAX_ROWS = 10  # visible measurements


class MeasureSection(SlideSection):
    """Measure lengths, areas and angles, and count points by class.

    The list of the measurements: click to go there, Delete to remove.
    """

    tools = tuple(MeasureLayer.modes)
    parts = (MeasureLayer, CountLayer)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._layer = layer = session.part(MeasureLayer)
        tips = {kind: f"{text} ({format_key(f'slide.{kind}')})" for kind, text in TOOLS.items()}
        self.tool_buttons = {
            kind: tool_button(f"measure_{kind}", tip, tip, capitalize(kind), checkable=True)
            for kind, tip in tips.items()
        }
        self.history_buttons = {
            step: tool_button(f"measure_{step}", tip, tip, text) for step, (text, tip) in STEPS.items()
        }
        self.hint_label = named(quiet_label(DEFAULT_HINT), "measure_hint", "How to measure")
        self.list = named(QListWidget(), "measures", "Measurements", "Click to go there, Delete to remove")
        self.column.setSpacing(5)
        counts = CountPanel(session, session.part(CountLayer))
        tools = row(*self.tool_buttons.values(), *self.history_buttons.values())
        self.add(tools, counts, self.list, self.hint_label)  # last, what comes and goes
        self.column.addStretch(1)
        session.services.tool_buttons += self.tool_buttons.values()
        for kind, button in self.tool_buttons.items():
            session.services.icons.add(button, ICONS[kind])
            button.clicked.connect(lambda on, kind=kind: layer.set_tool(kind if on else ""))
        self.history_buttons["undo"].clicked.connect(session.annotations.undo)
        self.history_buttons["redo"].clicked.connect(session.annotations.redo)
        self.list.itemClicked.connect(lambda item: self._go_to(self.list.row(item)))
        self.list.currentRowChanged.connect(session.selected_measure.set)
        self.list.installEventFilter(self)
        layer.tool_changed.connect(self._show_tool)
        self.follow(session.measures.changed, self._show_measures)
        self.follow(session.annotations.changed, self._update_history)
        self.add_history_shortcuts()
        self._show_tool(layer.tool)
        self._show_measures()
        self._update_history()

    def toggle_tool(self, name: str) -> None:
        """Start a tool that measures, or stop it if it is active."""
        self._layer.toggle_tool(name)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key in the list."""
        if not is_delete_key(event):
            return False
        index = self.list.currentRow()
        if index >= 0:
            self.session.measures.apply(lambda measures: (*measures[:index], *measures[index + 1 :]))
        return True

    def _show_tool(self, kind: str) -> None:
        for name, button in self.tool_buttons.items():
            button.setChecked(name == kind)
        self.hint_label.setText(HINTS.get(kind, DEFAULT_HINT))

    def _show_measures(self) -> None:
        row_index = self.list.currentRow()
        self.list.clear()
        self.list.addItems(self._layer.describe_measures())
        self.list.setVisible(self.list.count() > 0)
        fit_rows(self.list, min(self.list.count(), MAX_ROWS))
        self.list.setCurrentRow(min(row_index, self.list.count() - 1))

    def _update_history(self) -> None:
        self.history_buttons["undo"].setEnabled(self.session.annotations.can_undo)
        self.history_buttons["redo"].setEnabled(self.session.annotations.can_redo)

    def _go_to(self, index: int) -> None:
        rows, columns = zip(*self.session.measures.value[index].points, strict=True)
        box = ViewRectangle(min(rows), min(columns), max(rows) - min(rows), max(columns) - min(columns))
        zoom_to_box(self.session.services.viewer, self.session.slide, box)
