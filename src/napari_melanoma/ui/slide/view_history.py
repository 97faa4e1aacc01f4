"""The history of the views of a slide, and the memory that restores view and layers when it is opened again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_melanoma.slides.notes import LayerDisplay, SlideView
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_view_width, get_visible_region
from napari_melanoma.ui.viewer.channel_layers import (
    get_channel_color,
    get_channel_colormap,
    get_channel_name,
    set_channel_color,
    set_channel_colormap,
)
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.view_memory import center_view, get_current_picture, is_fitted, is_in_view
from napari_melanoma.ui.widgets.style import Connections, tool_button

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.utils.events import Event

    from napari_melanoma.slides.notes import SlideNotes
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import Role, ViewerSlide

SETTLE_MS = 300  # a view that has not moved for this time is recorded, and counts as seen
SAVE_MS = 5000  # delay after the last change
MAX_VIEWS = 100  # recorded for one slide
TOLERANCE = 1e-3  # relative to the width of a view: views that differ by less are the same
# Roles of layers whose display is stored; other layers are added on request, and must be visible then.
REMEMBERED_ROLES: tuple[Role, ...] = (
    "heatmap",
    "lesions",
    "regions",
    "measures",
    "mitosis area",
    "mitoses",
    "counts",
    "readings",
    "depth",
)


@dataclass
class ViewTrail:
    """Recorded views of one slide, and the index of the current one, -1 if there is none."""

    views: list[SlideView] = field(default_factory=list)
    current: int = -1

    def add(self, view: SlideView) -> None:
        """Add a view after the current one, and remove the views that followed it."""
        if self.views and is_same_view(view, self.views[self.current]):
            return
        self.views[self.current + 1 :] = [view]
        del self.views[:-MAX_VIEWS]
        self.current = len(self.views) - 1


def is_same_view(one: SlideView, other: SlideView) -> bool:
    """Return whether two views differ by less than users can see."""
    differences = one.row - other.row, one.column - other.column, one.width_px - other.width_px
    return max(map(abs, differences)) <= TOLERANCE * max(one.width_px, other.width_px)


class ViewButtons(QWidget):
    """Buttons for 1:1, the previous and the next view."""

    actual_pixels_requested = Signal()
    step_requested = Signal(int)  # -1: previous view, 1: next view

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        key = format_key("slide.actual_pixels")
        actual = tool_button("actual_pixels", "1:1", f"One screen pixel for each pixel of the scan ({key})", "1:1")
        actual.clicked.connect(lambda: self.actual_pixels_requested.emit())
        layout.addWidget(actual)
        back, forward = format_key("slide.back"), format_key("slide.forward")
        self._buttons = {
            -1: tool_button("view_back", "Previous view", f"Previous view ({back}, or the mouse's back button)", "←"),
            1: tool_button("view_forward", "Next view", f"Next view ({forward}, or the mouse's forward button)", "→"),
        }
        for direction, button in self._buttons.items():
            button.clicked.connect(lambda _=False, direction=direction: self.step_requested.emit(direction))
            layout.addWidget(button)

    def show_history(self, history: ViewHistory) -> None:
        """Enable the buttons for which there is a view."""
        for direction, button in self._buttons.items():
            button.setEnabled(history.can_step(direction))


class ViewHistory(QObject):
    """Record the views of the displayed slide, and step back and forward through them.

    ``recorded``: the current view is in the history. ``settled``: the view has not moved for ``SETTLE_MS``.
    """

    recorded = Signal(object)  # SlideView
    settled = Signal(object)  # SlideView
    changed = Signal()

    def __init__(self, context: SlideContext) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._slide: ViewerSlide | None = None
        self._trails: dict[str, ViewTrail] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._on_settled)
        events = get_camera(self._viewer).events
        for emitter in (events.center, events.zoom):
            context.connections.connect(emitter, self._on_camera)

    @property
    def trail(self) -> ViewTrail:
        """The views of the displayed slide."""
        return ViewTrail() if self._slide is None else self._trails.setdefault(self._slide.identity, ViewTrail())

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        self._timer.stop()
        if slide is not None:
            self._timer.start()
        self.changed.emit()

    def can_step(self, direction: int) -> bool:
        """Return whether there is a previous (-1) or next (1) view."""
        return 0 <= self.trail.current + direction < len(self.trail.views)

    def step(self, direction: int) -> None:
        """Show the previous (-1) or next (1) view, unless another image is in view."""
        self.record_now()
        if self._slide is not None and is_in_view(self._viewer, self._slide.layers) and self.can_step(direction):
            self.trail.current += direction
            show_view(self._context, self.trail.views[self.trail.current])
            self.changed.emit()

    def record_now(self) -> None:
        """Record the current view now, if it has moved since the last recorded one; it has not settled yet."""
        if self._timer.isActive():
            self._record()

    def _on_camera(self, event: object = None) -> None:
        if self._slide is not None:
            self._timer.start()

    def _on_settled(self) -> None:
        view = self._record()
        if view is not None:
            self.settled.emit(view)

    def _record(self) -> SlideView | None:
        """Record and return the current view; None if another image is in view."""
        slide = self._slide
        shown = get_current_picture(self._viewer)
        if slide is None or shown is None or not any(layer == slide.layers[0] for layer in shown):
            return None
        view = get_view(self._context, slide)
        self.trail.add(view)
        self.changed.emit()
        self.recorded.emit(view)
        return view


def get_view(context: SlideContext, slide: ViewerSlide) -> SlideView:
    """Return the current view of a slide."""
    center = get_visible_region(context.viewer, slide).center
    return SlideView(*center, get_view_width(context.viewer, slide))


def show_view(context: SlideContext, view: SlideView) -> None:
    """Move the camera to a view of the displayed slide."""
    if context.slide is not None:
        center_view(context.viewer, context.slide, (view.row, view.column), view.width_px)


def _name_slide_layer(layer: Image) -> str:
    """Return the key in the notes for an image layer of a slide, which contains the name of a fluorescence channel."""
    return "slide 1" if layer.rgb else f"channel {get_channel_name(layer)}"


class SlideMemory(QObject):
    """Save the view and the display of the layers in the notes of a slide, and restore them when it is opened again."""

    def __init__(self, context: SlideContext, history: ViewHistory) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._slide: ViewerSlide | None = None
        self._opened: dict[str, ref[TiledSlide]] = {}  # open files whose display was restored, by slide
        self._view: SlideView | None = None  # last recorded view; None for the whole slide
        # By the keys of the layers in the notes:
        self._initial: dict[str, LayerDisplay] = {}  # when the layers were added
        self._removed: dict[str, LayerDisplay] = {}  # when the layers were removed
        self._pending: dict[str, LayerDisplay] = {}  # stored displays of layers that have not been added yet
        # The colormap that is shown instead of a stored one that this napari lacks, and the name of the stored one
        self._missing: WeakKeyDictionary[Layer, tuple[object, str]] = WeakKeyDictionary()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_MS)
        self._timer.timeout.connect(self.save)
        events = self._viewer.layers.events
        context.connections.connect(events.inserted, self._on_inserted)
        context.connections.connect(events.removing, self._on_removing)
        context.flush_requested.connect(self.save)
        self._layer_events = Connections()
        self.destroyed.connect(self._layer_events.close)
        history.recorded.connect(self._on_recorded)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide; call ``save`` first, for the previous one."""
        self._slide = slide
        self._timer.stop()
        self._view = None
        self._initial, self._removed, self._pending = {}, {}, {}
        self._layer_events.close()
        for layer in () if slide is None or slide.layers[0].rgb else slide.layers:
            events = layer.events
            for emitter in (events.visible, events.opacity, events.contrast_limits, events.gamma, events.colormap):
                self._layer_events.connect(emitter, self._on_display)

    def restore(self, location: SlideResultLocation) -> None:
        """Restore the display of a slide once after it was opened; the view only if the user has not moved it."""
        slide, notes = self._slide, location.notes
        if slide is None:
            return
        if self._is_restored(slide):
            self._view = notes.view
            return
        self._opened[slide.identity] = ref(slide.slide)
        self._pending = dict(notes.layers)
        for layer in slide_layers.list_own_layers(self._viewer, slide):
            self._apply(layer)
        if notes.view is not None and is_fitted(self._viewer, tuple(slide.layers)):
            show_view(self._context, notes.view)
            self._view = notes.view

    def save(self) -> None:
        """Save view and display in the background, if they have changed."""
        slide, session = self._slide, self._context.session
        self._timer.stop()
        if slide is not None and session is not None and self._is_restored(slide):
            session.edit_notes(partial(self._describe_slide, slide))

    def _is_restored(self, slide: ViewerSlide) -> bool:
        """Return whether a slide has been restored since it was opened."""
        opened = self._opened.get(slide.identity)
        return opened is not None and opened() is slide.slide

    def _describe_slide(self, slide: ViewerSlide, notes: SlideNotes) -> SlideNotes:
        """Return notes with the current view and display of layers."""
        layers = {self._key(one): self._describe(one) for one in slide_layers.list_own_layers(self._viewer, slide)}
        layers = {
            key: display
            for key, display in {**self._removed, **layers}.items()
            if key and (key in notes.layers or display != self._initial.get(key))
        }
        return replace(notes, view=self._view, layers={**notes.layers, **layers})

    def _on_recorded(self, view: SlideView) -> None:
        slide = self._slide
        if slide is not None:
            self._view = None if is_fitted(self._viewer, tuple(slide.layers)) else view
            self._timer.start()

    def _on_display(self, event: Event) -> None:
        """Schedule saving after a change of the display of a channel."""
        self._timer.start()

    def _key(self, layer: Layer) -> str:
        """Return the key of a layer in the notes; empty for a layer whose display is not stored."""
        assert self._slide is not None
        if any(layer == own for own in self._slide.layers):
            return _name_slide_layer(layer)
        role = layer.metadata.get(METADATA_KEY, {}).get("role", "")
        return role if role in REMEMBERED_ROLES else ""

    def _describe(self, layer: Layer) -> LayerDisplay:
        """Return the display of a layer, with its visibility while its slide is shown."""
        assert self._slide is not None
        visible = layer.visible if self._slide.is_shown else slide_layers.was_visible(layer)
        display = LayerDisplay(bool(visible), float(layer.opacity))
        if not any(layer == own for own in self._slide.layers):
            return display
        low, high = layer.contrast_limits
        display = replace(display, contrast_limits=(float(low), float(high)))
        if layer.rgb:
            return display
        color, colormap = get_channel_color(layer), get_channel_colormap(layer)
        shown, missing = self._missing.get(layer, (None, ""))
        if layer.colormap is shown:  # the user has not selected another colormap
            color, colormap = None, missing
        return replace(display, gamma=float(layer.gamma), color=color, colormap=colormap)

    def _apply(self, layer: Layer) -> None:
        """Apply the stored display to a layer, the first time it is added."""
        slide = self._slide
        if slide is None or layer not in self._viewer.layers:
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
            self._missing[layer] = layer.colormap, display.colormap
        is_selected = layer == self._viewer.layers.selection.active and layer not in slide.layers
        if slide.is_shown and not is_selected:  # the layer of a tool that was just selected stays visible
            layer.visible = display.visible

    def _on_inserted(self, event: Event) -> None:
        """Apply the stored display to a layer of the slide, after the code that adds the layer has set its own."""
        layer = event.value
        if self._slide is not None and self._is_own(layer):
            QTimer.singleShot(0, lambda: self._apply(layer))

    def _on_removing(self, event: Event) -> None:
        """Record the display of a layer of the slide; save the notes when the slide is closed."""
        layer = self._viewer.layers[event.index]
        if self._slide is not None and self._is_own(layer):
            key = self._key(layer)
            if key:
                self._removed[key] = self._describe(layer)
            if layer == self._slide.layers[0]:
                self.save()

    def _is_own(self, layer: Layer) -> bool:
        assert self._slide is not None
        return slide_layers.find_slide_identity(self._viewer, layer) == self._slide.identity
