"""Consistent units of this package's layers, as napari demands of a viewer, and a scale bar that is true.

Where one layer is in pixels and another in micrometers, hidden or not, napari 0.9 warns for each layer that is added
and takes the unit off the scale bar (``VispyCanvas._update_world_units``). So a layer of ours without a scale gets a
stand-in unit beside layers with a scale, and a layer with a scale one beside pixels of another plugin. Positions stay,
for napari does not convert between the two. The unit by which a layer is measured is kept in its metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.ui.photographs import KEY, STAND_IN, own_units
from napari_melanoma.ui.settings import Settings
from napari_melanoma.ui.slide.camera import scale_bar
from napari_melanoma.ui.view_memory import pictures

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.ui.connections import Connections

BY_USER = frozenset({"photograph", "ruler"})  # what is known of an image that somebody else added to the viewer


class LayerUnits(QObject):
    """Keeps the units of layers consistent, and hides the scale bar where it would say something false.

    Layers of the user and of other plugins are not touched. Each dock has one; the second finds nothing left to do.
    """

    def __init__(self, viewer: Viewer, connections: Connections, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._connections = viewer, connections
        self._hid_bar = False
        connections.connect_first(viewer.layers.events.inserted, self._on_inserted)  # napari warns as it draws
        connections.connect(viewer.layers.events.removed, self._on_changed)
        scale_bar(viewer).events.visible.connect(self._on_visible)  # psygnal's, which lets go by itself
        for layer in viewer.layers:
            self._follow(layer)
        self._on_changed()

    def _follow(self, layer: Layer) -> None:
        self._connections.connect(layer.events.units, self._on_units)
        self._connections.connect(layer.events.scale, self._on_changed)
        self._connections.connect(layer.events.visible, self._on_visible)

    def _on_inserted(self, event: Event) -> None:
        self._follow(event.value)
        self._on_changed()

    def _on_units(self, event: Event) -> None:
        """Forget the stand-in of a layer whose unit was set by somebody else."""
        layer = event.source
        if STAND_IN in layer.metadata and str(layer.units[-1]) != layer.metadata[STAND_IN]["shown"]:
            forget_stand_in(layer)
        self._on_changed()

    def _on_changed(self, event: Event | None = None) -> None:
        make_consistent(self._viewer)
        self._on_visible()

    def _on_visible(self, event: Event | None = None) -> None:
        """Hide a bar that is not true, and show it again, unless the user does not want it any more."""
        bar, is_true = scale_bar(self._viewer), is_bar_true(self._viewer)
        if bar.visible and not is_true:
            self._hid_bar = True
            bar.visible = False
        elif self._hid_bar and is_true:
            self._hid_bar = False
            bar.visible = Settings().kept("slide/scale_bar", True)


def make_consistent(viewer: Viewer) -> None:
    """Give the layers of this package units of one kind: that of others, else lengths where there are any."""
    ours = [layer for layer in viewer.layers if _is_ours(layer)]
    others = [layer for layer in viewer.layers if not _is_ours(layer)]
    decisive = others or [layer for layer in ours if not _is_made(layer)]
    kinds = [_is_length(unit) for layer in decisive for unit in own_units(layer)]
    if not kinds:
        return
    length = all(kinds) if others else any(kinds)
    for layer in ours:
        _show_unit(layer, length)


def is_bar_true(viewer: Viewer) -> bool:
    """Say whether the scale bar is true for what is in view.

    False where a picture is visible that is measured by another unit than the bar.
    """
    shown = [layer for picture in pictures(viewer) for layer in picture if layer.visible]
    return all(_is_length(own_units(layer)[-1]) == _is_length(layer.units[-1]) for layer in shown)


def forget_stand_in(layer: Layer) -> None:
    """Let the unit that a layer has be its own again, before it is set."""
    if STAND_IN in layer.metadata:
        layer.metadata = {key: value for key, value in layer.metadata.items() if key != STAND_IN}


def _show_unit(layer: Layer, length: bool) -> None:
    """Give a layer its own unit where that is of the kind, else one that stands for it."""
    own = own_units(layer)
    if all(_is_length(unit) == length for unit in own):
        if STAND_IN in layer.metadata:
            forget_stand_in(layer)
            layer.units = (*layer.units[:-2], *own)
        return
    unit = "micrometer" if length else "pixel"
    if not _is_made(layer):
        layer.metadata = {**layer.metadata, STAND_IN: {"own": own, "shown": unit}}
    if any(str(shown) != unit for shown in layer.units[-2:]):
        layer.units = (*layer.units[:-2], unit, unit)


def _is_ours(layer: Layer) -> bool:
    """Whether this package read or made a layer."""
    return bool(set(layer.metadata.get(KEY, {})) - BY_USER)


def _is_made(layer: Layer) -> bool:
    """Whether a layer was made of a picture, whose unit it goes by."""
    return layer.metadata.get(KEY, {}).get("role", "slide") != "slide"


def _is_length(unit: Any) -> bool:  # noqa: ANN401 - a unit of pint, which napari depends on
    return bool(unit.is_compatible_with("micrometer"))
