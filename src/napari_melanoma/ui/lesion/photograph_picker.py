"""Which photograph the dock is about: a list that follows the viewer's layers, and a line that says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.viewer.photographs import describe, own_units
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.viewer.view_memory import fit, turn_to
from napari_melanoma.ui.widgets.look import Connections, ThemedIcons, named, quiet, row, tool

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event
    from napari.viewer import Viewer


class PhotographPicker(QWidget):
    """A combo box of the viewer's photographs, with the ruler beside it."""

    changed = Signal()
    listed = Signal()
    scaled = Signal(str)
    ruler = Signal(bool)
    seen = Signal()

    def __init__(self, viewer: Viewer, icons: ThemedIcons, connections: Connections) -> None:
        super().__init__()
        self._viewer = viewer
        self._connections = connections
        self._followed: dict[str, tuple[object, ...]] = {}  # scale of each photograph, by its identity
        self._shown: str | None = None
        keys = f"{shown_key('lesion.next')}, {shown_key('lesion.previous')}"
        tip = f"Which photograph; picking one shows it and hides the others ({keys})"
        self.combo = named(QComboBox(), "photograph", "Photograph", tip)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.ruler_button = tool("ruler", "Ruler", "Ruler: draw a known length to set the scale", checkable=True)
        icons.add(self.ruler_button, "line")
        self.fit = tool("fit_photograph", "Fit", f"Fit: bring the whole photograph into view ({shown_key('fit')})")
        self.fit.clicked.connect(lambda: fit(viewer))
        icons.add(self.fit, "home")
        self._about = quiet()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self.fit, self.ruler_button, stretch=0))
        layout.addWidget(self._about)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            connections.connect(emitter, self._on_layers)
        connections.connect(viewer.layers.selection.events.active, self._on_active)
        self.combo.activated.connect(self._on_picked)
        self.ruler_button.toggled.connect(self.ruler)

    @property
    def identity(self) -> str | None:
        """Identity of the photograph, or None where there is none."""
        return self.combo.currentData()

    @property
    def image(self) -> Image | None:
        """The photograph, or None where there is none."""
        return next((image for image in linked.identify(self._viewer) if linked.identity(image) == self.identity), None)

    def step(self, by: int) -> None:
        """Go to the next or previous photograph."""
        if self.combo.count():
            self.combo.setCurrentIndex((self.combo.currentIndex() + by) % self.combo.count())
            self._on_picked()

    def refresh(self) -> None:
        """List the photographs as they are now; the one that is picked stays so."""
        images = linked.identify(self._viewer)
        identities = [linked.identity(image) for image in images]
        before = self.identity
        kept = before if self.identity in identities else (identities or [None])[-1]
        self.combo.clear()
        for image, identity in zip(images, identities, strict=True):
            self.combo.addItem(image.name, identity)
            self._follow(image, str(identity))
        self.combo.setCurrentIndex(self.combo.findData(kept))
        image = self.image
        if image is not None and before not in (None, kept) and not image.visible:
            turn_to(self._viewer, image)  # the one that was in view is gone
        self._tell()
        self.listed.emit()

    def _follow(self, image: Image, identity: str) -> None:
        """Hear of a photograph's new name and scale, once."""
        if identity not in self._followed:
            self._followed[identity] = _scale_of(image)
            self._connections.connect(image.events.name, self._on_name)
            self._connections.connect(image.events.scale, self._on_scale)
            self._connections.connect(image.events.units, self._on_scale)
            self._connections.connect(image.events.visible, self._on_visible)

    def _tell(self) -> None:
        image = self.image
        self._about.setText("" if image is None else describe(image))
        self.ruler_button.setEnabled(image is not None)
        self.fit.setEnabled(image is not None)
        if self.identity != self._shown:
            self._shown = self.identity
            self.ruler_button.setChecked(False)
            self.changed.emit()

    def _on_layers(self, event: Event) -> None:
        self.refresh()

    def _on_name(self, event: Event) -> None:
        linked.rename_parts(self._viewer, event.source)
        self.refresh()

    def _on_scale(self, event: Event) -> None:
        identity = str(linked.identity(event.source))
        scale = _scale_of(event.source)
        if self._followed[identity] != scale:  # not where the unit is a stand-in
            self._followed[identity] = scale
            self._tell()
            self.scaled.emit(identity)

    def _on_visible(self, event: Event) -> None:
        """Tell when the photograph comes into view or goes, such as when a slide is opened."""
        if linked.identity(event.source) == self.identity:
            self.seen.emit()

    def _on_active(self, event: Event) -> None:
        """Go along when the user selects a layer of another photograph."""
        index = -1 if event.value is None else self.combo.findData(linked.identity(event.value))
        if index >= 0 and linked.identity(event.value) is not None:
            self.combo.setCurrentIndex(index)
            self._tell()

    def show_picked(self) -> None:
        """Bring the photograph that is picked into view."""
        self._on_picked()

    def _on_picked(self, index: int = 0) -> None:
        image = self.image
        if image is not None and (self.combo.count() > 1 or not image.visible):
            turn_to(self._viewer, image)
        self._tell()


def _scale_of(image: Image) -> tuple[object, ...]:
    """What the measurements of a photograph depend on."""
    return (*image.scale[-2:], *own_units(image))
