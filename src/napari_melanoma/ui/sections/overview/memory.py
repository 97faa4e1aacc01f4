"""The display memory of a slide: its view and the display of its layers are saved in the notes, and restored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_melanoma.slides.notes import LayerDisplay, SlideNotes, SlideView
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.channel_layers import (
    get_channel_color,
    get_channel_colormap,
    get_channel_name,
    set_channel_color,
    set_channel_colormap,
)
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.slide_layers import Role
from napari_melanoma.ui.viewer.view_memory import is_fitted, show_view

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.utils.events import Event

    from napari_melanoma.ui.session.slide import SlideSession

SAVE_MS = 5000  # delay after the last change
MISSING_KEY = "missing_colormap"  # in the metadata of a layer
# Roles of layers whose display is stored; other layers are added on request, and must be visible then.
REMEMBERED_ROLES: tuple[Role, ...] = (
    "heatmap",
    "lesions",
    "regions",
    "measures",
    "counts",
    "readings",
    "depth",
)


def _name_slide_layer(layer: Image) -> str:
    """Return the key in the notes for an image layer of a slide, which contains the name of a fluorescence channel."""
    return "slide 1" if layer.rgb else f"channel {get_channel_name(layer)}"


class DisplayMemory:
    """Save the view and the display of the layers in the notes of a slide, and restore them when it is opened again."""

    def __init__(self, session: SlideSession) -> None:
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self._view: SlideView | None = session.notes.value.view  # last recorded view; None for the whole slide
        # By the keys of the layers in the notes:
        self._initial: dict[str, LayerDisplay] = {}  # when the slide was displayed, or the layers were added
        self._removed: dict[str, LayerDisplay] = {}  # when the layers were removed
        self._pending: dict[str, LayerDisplay] = {}  # stored displays of layers that have not been added yet
        self._timer = QTimer(session.owner)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_MS)
        self._timer.timeout.connect(self.save)
        events = self._viewer.layers.events
        session.follow(events.inserted, self._on_inserted)
        session.follow(events.removing, self._on_removing)
        session.follow(session.commit_requested.drawn, self.save)
        session.follow(session.view_history.recorded, self._on_recorded)
        for layer in () if self._slide.layers[0].rgb else self._slide.layers:
            own = layer.events
            for emitter in (own.visible, own.opacity, own.contrast_limits, own.gamma, own.colormap):
                session.follow(emitter, self._on_display)
        self._restore()

    def save(self) -> None:
        """Save view and display, if they have changed."""
        self._session.view_history.record_now()
        self._timer.stop()
        self._session.edit_notes(self._describe_slide)

    def _restore(self) -> None:
        """Restore the display once after the slide was opened; the view only if the user has not moved it."""
        notes = self._session.notes.value
        if not self._session.is_display_restored:
            self._session.is_display_restored = True
            self._pending = dict(notes.layers)
            if notes.view is not None and is_fitted(self._viewer, tuple(self._slide.layers)):
                show_view(self._viewer, self._slide, notes.view)
            else:
                self._view = None
        for layer in slide_layers.list_own_layers(self._viewer, self._slide):
            self._apply(layer)

    def _describe_slide(self, notes: SlideNotes) -> SlideNotes:
        """Return notes with the current view and display of layers."""
        own = slide_layers.list_own_layers(self._viewer, self._slide)
        layers = {self._key(layer): self._describe(layer) for layer in own}
        layers = {
            key: display
            for key, display in {**self._removed, **layers}.items()
            if key and (key in notes.layers or display != self._initial.get(key))
        }
        return replace(notes, view=self._view, layers={**notes.layers, **layers})

    def _on_recorded(self, view: SlideView) -> None:
        self._view = None if is_fitted(self._viewer, tuple(self._slide.layers)) else view
        self._timer.start()

    def _on_display(self, event: Event) -> None:
        """Schedule saving after a change of the display of a channel."""
        self._timer.start()

    def _key(self, layer: Layer) -> str:
        """Return the key of a layer in the notes; empty for a layer whose display is not stored."""
        if any(layer == own for own in self._slide.layers):
            return _name_slide_layer(layer)
        role = layer.metadata.get(METADATA_KEY, {}).get("role", "")
        return role if role in REMEMBERED_ROLES else ""

    def _describe(self, layer: Layer) -> LayerDisplay:
        """Return the display of a layer, with its visibility while its slide is shown."""
        display = LayerDisplay(slide_layers.is_visible_on(self._slide, layer), float(layer.opacity))
        if not any(layer == own for own in self._slide.layers):
            return display
        low, high = layer.contrast_limits
        display = replace(display, contrast_limits=(float(low), float(high)))
        if layer.rgb:
            return display
        color, colormap = get_channel_color(layer), get_channel_colormap(layer)
        # The colormap that is shown instead of a stored one that this napari lacks, and the name of the stored one
        shown, missing = layer.metadata[METADATA_KEY].get(MISSING_KEY, (None, ""))
        if layer.colormap is shown:  # the user has not selected another colormap
            color, colormap = None, missing
        return replace(display, gamma=float(layer.gamma), color=color, colormap=colormap)

    def _apply(self, layer: Layer) -> None:
        """Apply the stored display to a layer, the first time it is added."""
        slide = self._slide
        if layer not in self._viewer.layers:
            return
        self._initial.setdefault(self._key(layer), self._describe(layer))
        display = self._pending.pop(self._key(layer), None)
        if display is None:
            return
        layer.opacity = display.opacity
        if display.contrast_limits is not None and hasattr(layer, "contrast_limits"):
            layer.contrast_limits = display.contrast_limits
        if display.gamma is not None and hasattr(layer, "gamma"):
            layer.gamma = display.gamma
        if display.color is not None and layer in slide.layers:
            set_channel_color(layer, display.color)
        elif display.colormap and layer in slide.layers and not set_channel_colormap(layer, display.colormap):
            layer.metadata[METADATA_KEY][MISSING_KEY] = layer.colormap, display.colormap
        is_selected = layer == self._viewer.layers.selection.active and layer not in slide.layers
        if slide.is_shown and not is_selected:  # the layer of a tool that was just selected stays visible
            layer.visible = display.visible

    def _on_inserted(self, event: Event) -> None:
        """Apply the stored display to a layer of the slide, after the code that adds the layer has set its own."""
        layer = event.value
        if self._is_own(layer):
            QTimer.singleShot(0, lambda: self._apply(layer))

    def _on_removing(self, event: Event) -> None:
        """Record the display of a layer of the slide; save the notes when the slide is closed."""
        layer = self._viewer.layers[event.index]
        if self._is_own(layer):
            key = self._key(layer)
            if key:
                self._removed[key] = self._describe(layer)
            if layer == self._slide.layers[0]:
                self.save()

    def _is_own(self, layer: Layer) -> bool:
        return slide_layers.find_slide_identity(self._viewer, layer) == self._slide.identity
