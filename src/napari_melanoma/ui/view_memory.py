"""The view of each picture: fitted when it is first shown, and as it was left when the user comes back to it.

A picture is a photograph or a slide. All lie at the origin of napari's world, so the view of one says nothing about
another: without this, a slide of 20 mm is a stamp in the corner, or out of view, after one of 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_melanoma.ui import linked
from napari_melanoma.ui.photographs import KEY as OURS
from napari_melanoma.ui.photographs import is_photograph
from napari_melanoma.ui.slide.camera import camera
from napari_melanoma.ui.slide.layers import open_slides
from napari_melanoma.ui.slide.layers import parts as slide_parts

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.ui.connections import Connections

KEY = "napari_melanoma_view"  # in the metadata of a picture's first layer, so that it ends with the picture
FILLED = 0.95  # of the canvas, along the side that decides, as napari fits
FIT_KEY = "Ctrl+0"  # napari's own for fitting all layers

Picture = tuple["Layer", ...]


@dataclass(frozen=True)
class SavedView:
    """The view of a picture: what is in the middle (y, x) at which zoom, and the scale of the picture by then."""

    center: tuple[float, float]
    zoom: float
    scale: tuple[float, float]


def pictures(viewer: Viewer) -> list[Picture]:
    """List the photographs and slides of a viewer.

    Returns the layers of each: one, or one for each channel of a slide; in the order of the layer list.
    """
    slides: list[Picture] = [tuple(slide.layers) for slide in open_slides(viewer)]
    found = [*slides, *((layer,) for layer in viewer.layers if is_photograph(layer))]
    return sorted(found, key=lambda picture: viewer.layers.index(picture[0]))


def picture_in_view(viewer: Viewer) -> Picture | None:
    """Find the picture that the view belongs to.

    Returns the one that was turned to last, as long as it is visible; else the topmost that is visible.
    """
    shown = [picture for picture in pictures(viewer) if any(layer.visible for layer in picture)]
    current = next((picture for picture in shown if _state(picture).get("current")), None)
    return current or (shown[-1] if shown else None)


def change_view(viewer: Viewer, picture: Picture) -> None:
    """Move the camera to a picture: to its view of before, or to all of it; not where the view is its already."""
    if _state(picture).get("current"):
        return
    now = camera(viewer)
    for other in pictures(viewer):
        if _state(other).get("current"):
            view = SavedView((now.center[-2], now.center[-1]), float(now.zoom), _scale(other))
            fitted = _state(other).get("fitted") == _now(viewer)  # it is fitted again, for the canvas may change
            _set_state(other, {"view": None if fitted else view, "current": False})
    kept: SavedView | None = _state(picture).get("view")
    _set_state(picture, {**_state(picture), "current": True})
    if kept is None:
        fit(viewer, picture)
        return
    y, x = (new / old for new, old in zip(_scale(picture), kept.scale, strict=True))
    now.center = (*tuple(now.center)[:-2], kept.center[0] * y, kept.center[1] * x)
    now.zoom = kept.zoom / (y * x) ** 0.5


def fit(viewer: Viewer, picture: Picture | None = None) -> None:
    """Bring all of a picture into view, whatever else is open."""
    picture = picture or picture_in_view(viewer)
    if picture is None:
        return
    if viewer.dims.ndisplay == 2 and hasattr(viewer, "canvas"):
        # reset_view(layers=...) fails where another layer has more dimensions (napari 0.9).
        corners = np.concatenate([np.asarray(layer.extent.world)[:, -2:] for layer in picture])
        half = np.array(_scale(picture)) / 2  # extents end in the middle of a pixel
        low, high = corners.min(axis=0) - half, corners.max(axis=0) + half
        now = camera(viewer)
        now.center = (*tuple(now.center)[:-2], *(float(middle) for middle in (low + high) / 2))
        now.zoom = FILLED * float(np.min(np.array(viewer.canvas.size) / (high - low)))
    else:
        viewer.reset_view()
    _set_state(picture, {**_state(picture), "fitted": _now(viewer)})


def show_only(viewer: Viewer, image: Image) -> None:
    """Show one photograph, and hide the others and the slides, which lie in the same place."""
    linked.show_only(viewer, image)
    hide_other_kind(viewer, (image,))


def hide_other_kind(viewer: Viewer, picture: Picture) -> None:
    """Hide the photographs that lie in the place of a slide, or the slides in that of a photograph."""
    if is_photograph(picture[0]):
        for slide in open_slides(viewer):
            for layer in (*slide.layers, *slide_parts(viewer, slide.identity)):
                layer.visible = False
        return
    for layer in viewer.layers:
        if is_photograph(layer) or linked.identity(layer) is not None:
            layer.visible = False


class ViewMemory(QObject):
    """Changes the view when another picture is shown, by whatever means: a dock, the layer list, a file that is opened.

    Each dock has one; the second finds nothing left to do.
    """

    def __init__(self, viewer: Viewer, connections: Connections, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self._connections = viewer, connections
        connections.connect(viewer.layers.events.inserted, self._on_inserted)
        connections.connect(viewer.layers.events.removed, self._on_visible)
        for layer in viewer.layers:
            self._follow(layer)
        shown = picture_in_view(viewer)
        if shown is not None:
            _set_state(shown, {**_state(shown), "current": True})  # the view is as the user left it
        if hasattr(viewer, "canvas"):  # since napari 0.9
            connections.connect(viewer.canvas.events.size, self._on_size)

    def _follow(self, layer: Layer) -> None:
        self._connections.connect(layer.events.visible, self._on_visible)

    def _on_inserted(self, event: Event) -> None:
        """Go to a picture that was read from a file; not for another channel of a slide that is there.

        A photograph is shown alone, by whatever means it was opened: an earlier one would look out from behind it.
        """
        self._follow(event.value)
        if OURS not in event.value.metadata:
            return  # the user's own, which may lie over a picture on purpose
        for picture in pictures(self.viewer):
            new = any(layer == event.value for layer in picture)
            if new and event.value.visible and "view" not in _state(picture):
                change_view(self.viewer, picture)
                if is_photograph(event.value):
                    show_only(self.viewer, event.value)

    def _on_size(self, size: object = None) -> None:
        """Fit once more what was fitted, and not moved since, as when the docks have taken their room."""
        shown = picture_in_view(self.viewer)
        if shown is not None and _state(shown).get("fitted") == _now(self.viewer):
            fit(self.viewer, shown)

    def _on_visible(self, event: Event | None = None) -> None:
        """Go to a picture that is shown instead of the one that the view belongs to."""
        shown = picture_in_view(self.viewer)
        if shown is not None:
            change_view(self.viewer, shown)


def _now(viewer: Viewer) -> tuple[tuple[float, ...], float]:
    """The view as it is."""
    return tuple(camera(viewer).center), float(camera(viewer).zoom)


def _state(picture: Picture) -> dict[str, Any]:
    found: dict[str, Any] = picture[0].metadata.get(KEY, {})
    return found


def _set_state(picture: Picture, state: dict[str, Any]) -> None:
    picture[0].metadata = {**picture[0].metadata, KEY: state}


def _scale(picture: Picture) -> tuple[float, float]:
    return float(picture[0].scale[-2]), float(picture[0].scale[-1])
