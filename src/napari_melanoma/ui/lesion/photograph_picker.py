"""The list of photographs in the viewer, with a description of the selected one, and a notice on its type."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from weakref import WeakSet

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from napari_melanoma.core.validity import format_modality
from napari_melanoma.io.formats import Modality
from napari_melanoma.ui.lesion.scale_panel import RulerPanel
from napari_melanoma.ui.session.photograph_scale import PhotographScale
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import get_own_units, list_facts
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.viewer.view_memory import fit_view, show_photograph
from napari_melanoma.ui.widgets.dock_layout import FactsLine
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, row, tool_button

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event

    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.open_photograph import PhotographSessions
    from napari_melanoma.ui.session.photograph import PhotographServices, PhotographSession

SLIDE_LINK = "slide"  # opens the photograph as a slide
MODALITY_LINKS = ("dermoscopic", "macroscopic")  # set this type of photograph


class PhotographPicker(QWidget):
    """A combo box of the viewer's photographs, with buttons to fit the view and to set the scale."""

    changed = Signal()
    list_changed = Signal()
    scale_changed = Signal(object)  # PhotographSession
    modality_changed = Signal(object)  # PhotographSession
    visibility_changed = Signal()

    def __init__(
        self, sessions: PhotographSessions[PhotographSession], dock: PhotographServices, connections: Connections
    ) -> None:
        super().__init__()
        self._sessions, self._viewer, icons = sessions, sessions.viewer, dock.icons
        self.ruler = RulerPanel(sessions.viewer, dock.settings)
        self._connections = connections
        self._last_identity: str | None = None
        self._watched_slides: WeakSet[Image] = WeakSet()  # layers
        viewer = sessions.viewer
        keys = f"{format_key('lesion.next')}, {format_key('lesion.previous')}"
        tip = f"Select a photograph to show it and hide the others ({keys})"
        self.combo = named(NoWheelComboBox(), "photograph", "Photograph", tip)
        self.combo.setProperty("holds_names", True)
        self.combo.elide_mode = Qt.TextElideMode.ElideMiddle  # names often differ only at their end
        self.ruler_button = tool_button("ruler", "Ruler", "Ruler: draw a known length to set the scale", checkable=True)
        icons.add(self.ruler_button, "line")
        self.fit_button = tool_button("fit_photograph", "Fit", f"Fit the photograph to the view ({format_key('fit')})")
        self.fit_button.clicked.connect(lambda: fit_view(viewer))
        icons.add(self.fit_button, "home")
        tip = "Type of the photograph; it selects the classification model"
        self.modality = named(NoWheelComboBox(), "photograph_type", "Type of photograph", tip)
        self.modality.addItem("not stated", None)
        for name in get_args(Modality):
            self.modality.addItem(format_modality(name), name)
        self.modality.activated.connect(lambda: self.set_modality(self.modality.currentData()))
        self._description = FactsLine("photograph_description", "Size, scale and origin")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self.fit_button, self.ruler_button, stretch=0))
        layout.addWidget(self._description)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            connections.connect(emitter, self._on_layers)
        connections.connect(viewer.layers.selection.events.active, self._on_active)
        self.combo.activated.connect(self.show_current)
        self.ruler_button.toggled.connect(self._on_ruler)

    @property
    def identity(self) -> str | None:
        """Identity of the selected photograph; None if there is none."""
        return self.combo.currentData()

    @property
    def session(self) -> PhotographSession | None:
        """The selected photograph; None if there is none."""
        return self._sessions.find(self.identity)

    @property
    def hidden_reason(self) -> str:
        """How the selected photograph is hidden; empty if it is in view, or if there is none."""
        if self.session is None or not self.session.is_open:  # just removed, and not updated yet
            return ""
        image = self.session.image
        if not image.visible:
            return "hidden"
        above = list(self._viewer.layers)[self._viewer.layers.index(image) :]
        is_covered = any(one.is_shown and one.layers[0] in above for one in list_slides(self._viewer))
        return "behind a slide" if is_covered else ""

    def set_modality(self, modality: str | None) -> None:
        """Set the type of the selected photograph as stated by the user; None: not stated."""
        session = self.session
        if session is not None:
            photographs.set_modality(session.image, modality)
            self._update_state()
            self.modality_changed.emit(session)

    def step(self, by: int) -> None:
        """Select the next or previous photograph."""
        if self.combo.count():
            self.combo.setCurrentIndex((self.combo.currentIndex() + by) % self.combo.count())
            self.show_current()

    def correct_scale(self) -> None:
        """Start the ruler tool on the line of a proposed scale."""
        self.ruler_button.setChecked(False)
        self.ruler_button.setChecked(True)

    def refresh(self) -> None:
        """List the photographs of the viewer; the selection does not change if possible."""
        sessions = self._sessions.update()
        identities = [session.identity for session in sessions]
        previous = self.identity
        selected = previous if previous in identities or not identities else identities[-1]
        self.combo.clear()
        for session in sessions:
            self.combo.addItem(session.name, session.identity)
            self._watch_photograph(session)
        self.combo.setCurrentIndex(self.combo.findData(selected))
        for layer in (layer for slide in list_slides(self._viewer) for layer in slide.layers):
            layer = getattr(layer, "__wrapped__", layer)  # napari passes proxies to docks, which are short-lived
            if layer not in self._watched_slides:
                self._watched_slides.add(layer)
                self._connections.connect(layer.events.visible, self._on_slide_visible)
        current = self.session
        if current is not None and previous not in (None, selected) and not current.image.visible:
            show_photograph(self._viewer, current.image)  # the visible one was removed
        self._update_state()
        self.list_changed.emit()

    def _watch_photograph(self, session: PhotographSession) -> None:
        """Connect the events of a photograph, once."""
        if not session.scale:
            session.scale = _get_scale(session.image)
            session.stated_changed.connect(self._update_state)
            events = session.image.events
            self._connections.connect(events.name, self._on_name)
            self._connections.connect(events.scale, self._on_scale)
            self._connections.connect(events.units, self._on_scale)
            self._connections.connect(events.visible, self._on_visible)

    def _update_state(self) -> None:
        image = None if self.session is None else self.session.image
        facts = [] if image is None else list_facts(image)
        self._description.set_facts(facts)
        if image is not None and (credit := photographs.get_credit(image)):
            self._description.setToolTip("\n".join((*facts[:-1], credit)))  # with its identifier
        self.modality.setCurrentIndex(0 if image is None else self.modality.findData(photographs.get_modality(image)))
        self.ruler_button.setEnabled(image is not None)
        self.fit_button.setEnabled(image is not None)
        if self.identity != self._last_identity:
            self._last_identity = self.identity
            self.ruler_button.setChecked(False)
            self.changed.emit()

    def _on_ruler(self, on: bool) -> None:
        session = self.session
        if on and session is not None:
            self.ruler.start(session)
        else:
            self.ruler.stop()

    def _on_layers(self, event: Event) -> None:
        self.refresh()

    def _on_name(self, event: Event) -> None:
        photographs.rename_layers(self._viewer, event.source)
        self.refresh()

    def _on_scale(self, event: Event) -> None:
        session, scale = self._sessions.find(photographs.get_identity(event.source)), _get_scale(event.source)
        if session is not None and session.scale != scale:  # not if only the substitute unit changed
            session.scale = scale
            session.part(PhotographScale).update()
            self._update_state()
            self.scale_changed.emit(session)

    def _on_visible(self, event: Event) -> None:
        """Emit that the photograph was shown or hidden, such as when a slide is opened."""
        if photographs.get_identity(event.source) == self.identity:
            self.visibility_changed.emit()

    def _on_slide_visible(self, event: Event) -> None:
        """Emit that a slide was shown or hidden, which may cover the photograph."""
        self.visibility_changed.emit()

    def _on_active(self, event: Event) -> None:
        """Select the photograph of the layer that the user selected."""
        index = -1 if event.value is None else self.combo.findData(photographs.get_identity(event.value))
        if index >= 0 and photographs.get_identity(event.value) is not None:
            self.combo.setCurrentIndex(index)
            self._update_state()

    def show_current(self, index: int = 0) -> None:
        """Show the selected photograph."""
        session = self.session
        if session is not None and (self.combo.count() > 1 or self.hidden_reason):
            show_photograph(self._viewer, session.image)
        self._update_state()


def _get_scale(image: Image) -> tuple[object, ...]:
    """Return the scale and units of a photograph, on which the measurements depend."""
    return (*image.scale[-2:], *get_own_units(image))


class ModalityNotice(QFrame):
    """Shows the warning of a result, such as a mismatch of modality and model, and asks for an uncertain type."""

    link_activated = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._icons = icons
        self._label = named(WrappedLabel(), "modality_warning", "Photograph and model")
        self._label.linkActivated.connect(self.link_activated)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        self.hide()

    def show_result(self, result: LesionResult | None, path: Path | None) -> None:
        """Show the warning of a result, if any; offer to open an image that does not show skin as a slide.

        ``path``: the file of the photograph; None if it was not read from a file.
        """
        warning = "" if result is None else html.escape(result.warning)
        if result is not None and result.modality == "neither" and path is not None:
            link = self._icons.link(SLIDE_LINK, "Open it in the Slide dock")
            warning += f" Is it a tissue section? {link}."
        elif result is not None and result.is_modality_assumed:
            links = " or ".join(self._icons.link(name, name) for name in MODALITY_LINKS)
            # The prediction states the type that its model assumes
            warning += f" Is this photograph {links}?"
        self._label.setText(warning.strip())
        self.setVisible(bool(warning))
