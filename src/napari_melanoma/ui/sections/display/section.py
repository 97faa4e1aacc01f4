"""The Display section of a slide: the stain and the colors in which a brightfield slide is displayed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.display.view import DisplayView
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.widgets.style import named, quiet_label

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.slides.notes import SlideNotes
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

CHANNELS = (
    "Each channel is a layer: change its visibility, contrast limits, gamma and colormap with napari's layer list and "
    "layer controls. They are restored with the slide."
)


class DisplaySection(Section):
    """Display a brightfield slide in the colors of its notes.

    The channels of a fluorescence slide are layers, whose display is saved with that of all layers.
    """

    def show(self, session: SlideSession) -> None:
        """Apply the colors of the notes."""
        self._session, self._owner = session, QObject(session.sessions.parent)
        self._connections = SectionConnections(self._owner)
        if session.slide.info.kind == "brightfield":
            self._connections.connect(session.notes.changed, self._on_notes)
            self._on_notes(session.notes.value)

    def open(self, session: SlideSession) -> QWidget:
        """Return the controls of the colors; for a fluorescence slide, where those of the channels are."""
        if session.slide.info.kind != "brightfield":
            return named(quiet_label(CHANNELS), "display_hint", "Display of the channels")
        view = DisplayView()
        view.show_colors(session.notes.value.colors)
        view.changed.connect(self._on_changed)
        self._connections.connect(session.notes.changed, lambda notes: view.show_colors(notes.colors))
        self._connections.connect(session.commit_requested, view.timer.flush)
        return view

    def close(self) -> None:
        """Disconnect all signals."""
        self._connections.close()
        self._owner.deleteLater()
        del self._session, self._owner, self._connections  # with the layers of a slide that may be closed

    def _on_notes(self, notes: SlideNotes) -> None:
        _display(self._session.slide, notes.colors)

    def _on_changed(self, colors: DisplayColors) -> None:
        self._session.edit_notes(lambda notes: replace(notes, colors=colors))


def _display(slide: ViewerSlide, colors: DisplayColors) -> None:
    """Display a slide in other colors."""
    if colors == getattr(slide.layers[0].data[0], "colors", DisplayColors()):
        return
    for layer in slide.layers:
        for level in layer.data:
            level.colors = colors
        layer.data = layer.data  # reads the coarsest level again, which napari keeps
        layer.refresh()
