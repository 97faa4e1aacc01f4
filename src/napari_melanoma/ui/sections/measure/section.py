"""The Measure section of a slide: measurements and counted points, on the canvas and in the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.measure.count_layer import CountLayer
from napari_melanoma.ui.sections.measure.count_panel import CountPanel
from napari_melanoma.ui.sections.measure.layer import MODES, MeasureLayer
from napari_melanoma.ui.sections.measure.panel import MeasurePanel
from napari_melanoma.ui.widgets.style import column

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.slide import SlideSession


class MeasureSection(Section):
    """Measure lengths, areas and angles, and count points by class."""

    tools = tuple(MODES)

    def __init__(self) -> None:
        self._panels: tuple[MeasurePanel, CountPanel] | tuple[()] = ()

    def show(self, session: SlideSession) -> None:
        """Draw the measurements and points of a slide."""
        self._measures, self._counts = MeasureLayer(session), CountLayer(session)

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a slide."""
        self._panels = MeasurePanel(session, self._measures), CountPanel(session, self._counts)
        return column(*self._panels)

    def toggle_tool(self, name: str) -> None:
        """Start a tool that measures, or stop it if it is active."""
        self._measures.toggle_tool(name)

    def close(self) -> None:
        """Stop the tools, and disconnect all signals; the layers stay with their slide."""
        panels, self._panels = self._panels, ()
        for panel in panels:
            panel.close_session()
        self._measures.close()
        self._counts.close()
        del self._measures, self._counts  # with the session and the layers of a slide that may be closed
