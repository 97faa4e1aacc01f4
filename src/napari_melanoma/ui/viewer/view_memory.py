"""The view of each photograph and slide, which is saved and restored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from qtpy.QtCore import QObject

from napari_melanoma.ui.viewer import photographs, slide_layers
from napari_melanoma.ui.viewer.camera import ViewRectangle, get_camera, get_view_width, get_visible_region
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, is_photograph
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, hide_slide, list_slides

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.notes import SlideView
    from napari_melanoma.ui.widgets.signals import Connections

MAX_BOX_SHARE = 0.6  # largest share of the view that a box fills after zooming to it
VIEW_KEY = "napari_melanoma_view"  # metadata key of the image's first layer, with its view and state
FIT_SHARE = 0.95  # share of the canvas that a fitted image fills, as in napari
MOVED_PX = 0.01  # smaller movements on the screen are rounding errors
NO_SKIN_FROM = 0.99  # probability from which it is asked whether an image is a slide; of tissue, it is above 0.998
FIT_KEY = "Ctrl+0"  # napari's key for fitting all layers
Picture = tuple["Layer", ...]  # the layers of a photograph or slide
LayerData = tuple[Any, dict[str, Any], str]  # data, attributes and type of a layer, as napari's readers return


class SavedView(NamedTuple):
    """The view of an image: center (row, column) in its pixels, zoom, and the scale of the image at that time.

    The center stays at the same pixel if the image is rotated or scaled before the view is restored.
    """

    center: tuple[float, float]
    zoom: float
    scale: tuple[float, float]


def list_pictures(viewer: Viewer) -> list[Picture]:
    """List the photographs and slides of a viewer in layer order.

    Returns the layers of each: a single one, or one for each channel of a fluorescence slide.
    """
    slides: list[Picture] = [tuple(slide.layers) for slide in list_slides(viewer)]
    pictures = [*slides, *((layer,) for layer in viewer.layers if is_photograph(layer))]
    return sorted(pictures, key=lambda picture: viewer.layers.index(picture[0]))


def get_current_picture(viewer: Viewer) -> Picture | None:
    """Return the image that the view belongs to: the image shown last, or the topmost one if that is not visible."""
    visible = [picture for picture in list_pictures(viewer) if any(layer.visible for layer in picture)]
    current = next((picture for picture in visible if _state(picture).get("current")), None)
    return current or (visible[-1] if visible else None)


def is_in_view(viewer: Viewer, picture: Picture) -> bool:
    """Return whether the view belongs to an image, or no image is visible; False if another image is shown."""
    current = get_current_picture(viewer)
    return current is None or picture[0] in current


def restore_view(viewer: Viewer, picture: Picture) -> None:
    """Move the camera to the saved view of an image, or fit the image; no effect if it is already the current one."""
    if _state(picture).get("current"):
        return
    camera = get_camera(viewer)
    save_view(viewer)
    saved: SavedView | None = _state(picture).get("view")
    _set_state(picture, {**_state(picture), "current": True})
    if saved is None:
        fit_view(viewer, picture)
        return
    y, x = (new / old for new, old in zip(_scale(picture), saved.scale, strict=True))
    camera.center = (*tuple(camera.center)[:-2], *picture[0].data_to_world(saved.center)[-2:])
    camera.zoom = saved.zoom / (y * x) ** 0.5


def save_view(viewer: Viewer) -> None:
    """Save the view of the current image; afterwards, no image is the current one."""
    camera = get_camera(viewer)
    for picture in list_pictures(viewer):
        if _state(picture).get("current"):
            row, column = picture[0].world_to_data(camera.center)[-2:]
            view = SavedView((float(row), float(column)), float(camera.zoom), _scale(picture))
            # A fitted view is not saved: the image is fitted again, since the canvas may have another size then
            _set_state(picture, {"view": None if is_fitted(viewer, picture) else view, "current": False})


def fit_view(viewer: Viewer, picture: Picture | None = None) -> None:
    """Fit an image, by default the current one, to the view; other layers are ignored."""
    picture = picture or get_current_picture(viewer)
    if picture is None:
        return
    if viewer.dims.ndisplay == 2 and hasattr(viewer, "canvas"):
        # reset_view(layers=...) fails if another layer has more dimensions (napari 0.9).
        low, high = _find_extent(picture)
        camera = get_camera(viewer)
        camera.center = (*tuple(camera.center)[:-2], *(float(middle) for middle in (low + high) / 2))
        camera.zoom = FIT_SHARE * float(np.min(np.array(viewer.canvas.size) / (high - low)))
    else:
        viewer.reset_view()
    _set_state(picture, {**_state(picture), "fitted": _current_view(viewer)})


def center_view(viewer: Viewer, slide: ViewerSlide, point: tuple[float, float], width_px: float | None = None) -> None:
    """Center the view on a point of a slide, which is shown first if another image is in view.

    ``point``: (row, column) in pixels of the finest level. ``width_px``: width of the view in these pixels; unchanged
    by default.
    """
    if not is_in_view(viewer, slide.layers):
        show_only_picture(viewer, slide.layers)
    camera = get_camera(viewer)
    y, x = slide.to_world(point)
    if width_px is not None:
        camera.zoom = viewer.canvas.size[1] / (width_px * slide.pixel_um[1])
    camera.center = (*tuple(camera.center)[:-2], y, x)


def get_view(viewer: Viewer, slide: ViewerSlide) -> SlideView:
    """Return the current view of a slide."""
    from napari_melanoma.slides.notes import SlideView

    return SlideView(*get_visible_region(viewer, slide).center, get_view_width(viewer, slide))


def show_view(viewer: Viewer, slide: ViewerSlide, view: SlideView) -> None:
    """Move the camera to a view of a slide."""
    center_view(viewer, slide, (view.row, view.column), view.width_px)


def zoom_to_box(viewer: Viewer, slide: ViewerSlide, box: ViewRectangle) -> None:
    """Zoom to a box and its surroundings, up to one screen pixel for each pixel of the finest level.

    ``box``: in pixels of the finest level.
    """
    height, width = viewer.canvas.size
    view_width = max(box.width, box.height * width / max(height, 1)) / MAX_BOX_SHARE
    center_view(viewer, slide, box.center, max(view_width, width))


def zoom_to_polygons(viewer: Viewer, slide: ViewerSlide, polygons: tuple[Polygon, ...]) -> None:
    """Zoom to polygons, in pixels of the finest level, and their surroundings."""
    from napari_melanoma.core.polygons import joint_box

    box = joint_box(polygons)
    zoom_to_box(viewer, slide, ViewRectangle(box.top, box.left, box.height, box.width))


def is_fitted(viewer: Viewer, picture: Picture) -> bool:
    """Return whether the view was neither moved nor zoomed since an image was fitted to it."""
    fitted: tuple[tuple[float, ...], float] | None = _state(picture).get("fitted")
    if fitted is None:
        return False
    (fitted_center, fitted_zoom), (center, zoom) = fitted, _current_view(viewer)
    is_near = all(abs(a - b) * fitted_zoom < MOVED_PX for a, b in zip(fitted_center, center, strict=True))
    return is_near and math.isclose(fitted_zoom, zoom, rel_tol=1e-6)


def show_only(viewer: Viewer, image: Image) -> None:
    """Show one photograph, and hide other photographs and all slides, which lie at the same position."""
    photographs.show_only(viewer, image)
    hide_other_pictures(viewer, (image,))


def show_only_picture(viewer: Viewer, picture: Picture) -> None:
    """Show one photograph or slide, and hide all others."""
    if is_photograph(picture[0]):
        show_only(viewer, picture[0])
        return
    for slide in list_slides(viewer):
        if picture[0] in slide.layers:
            slide_layers.show_only(viewer, slide)
    hide_other_pictures(viewer, picture)


def hide_other_pictures(viewer: Viewer, picture: Picture) -> None:
    """Hide all slides if the image is a photograph, or all photographs if it is a slide."""
    if is_photograph(picture[0]):
        for slide in list_slides(viewer):
            hide_slide(viewer, slide)
        return
    for layer in viewer.layers:
        if is_photograph(layer) or photographs.get_identity(layer) is not None:
            layer.visible = False


class ViewMemory(QObject):
    """Restores the view of an image when it is shown from a dock or the layer list, or opened.

    Each dock has an instance; more than one have no further effect.
    """

    def __init__(self, viewer: Viewer, connections: Connections, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self._connections = viewer, connections
        connections.connect(viewer.layers.events.inserted, self._on_inserted)
        connections.connect(viewer.layers.events.removed, self._on_visible)
        connections.connect(viewer.dims.events.ndisplay, self._on_ndisplay)
        for layer in viewer.layers:
            self._watch_layer(layer)
        shown = get_current_picture(viewer)
        if shown is not None:
            state = {**_state(shown), "current": True}  # keeps the user's view
            center = np.mean(_find_extent(shown), axis=0)
            if "fitted" not in state and np.allclose(
                get_camera(viewer).center[-2:], center, atol=max(_scale(shown)) / 2
            ):
                state["fitted"] = _current_view(viewer)  # by napari, which centers an image when it is opened
            _set_state(shown, state)
            everything = np.mean(np.asarray(viewer.layers.extent.world)[:, -2:], axis=0)
            if "fitted" not in state and np.allclose(
                get_camera(viewer).center[-2:], everything, atol=max(_scale(shown)) / 2
            ):
                fit_view(viewer, shown)  # napari has fitted all images that were opened at once
        if hasattr(viewer, "canvas"):  # since napari 0.9
            connections.connect(viewer.canvas.events.size, self._on_size)

    def _watch_layer(self, layer: Layer) -> None:
        self._connections.connect(layer.events.visible, self._on_visible)

    def _on_ndisplay(self, event: Event) -> None:
        """Stay in 2D without a volume: in 3D, napari cannot change flat shapes, and masks cannot be painted."""
        viewer = self.viewer
        if list_pictures(viewer) and all(layer.ndim == 2 for layer in viewer.layers):
            photographs.show_flat(viewer)

    def _on_inserted(self, event: Event) -> None:
        """Show an image that was read from a file, unless it is another channel of an open slide.

        For a photograph, other images are hidden, as a larger one would be visible behind it.
        """
        self._watch_layer(event.value)
        if METADATA_KEY not in event.value.metadata:
            return  # a layer of the user may be an overlay
        for picture in list_pictures(self.viewer):
            is_new = any(layer == event.value for layer in picture)
            if is_new and event.value.visible and "view" not in _state(picture):
                restore_view(self.viewer, picture)
                if is_photograph(event.value):
                    show_only(self.viewer, event.value)

    def _on_size(self, size: object = None) -> None:
        """Fit the image again after a change of the canvas size, unless the view was changed since the last fit."""
        shown = get_current_picture(self.viewer)
        if shown is not None and is_fitted(self.viewer, shown):
            fit_view(self.viewer, shown)

    def _on_visible(self, event: Event | None = None) -> None:
        """Restore the view of the current image, if another image was the current one before."""
        shown = get_current_picture(self.viewer)
        if shown is not None:
            restore_view(self.viewer, shown)


def _find_extent(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first and the last corner (row, column) of an image, in world units."""
    corners = np.concatenate([np.asarray(layer.extent.world)[:, -2:] for layer in picture])
    half = np.array(_scale(picture)) / 2  # napari's extents end at pixel centers
    return corners.min(axis=0) - half, corners.max(axis=0) + half


def _current_view(viewer: Viewer) -> tuple[tuple[float, ...], float]:
    """Return center and zoom of the camera."""
    return tuple(get_camera(viewer).center), float(get_camera(viewer).zoom)


def _state(picture: Picture) -> dict[str, Any]:
    """Return the state of an image: its saved ``view``, whether it is ``current``, and its view when ``fitted``."""
    state: dict[str, Any] = picture[0].metadata.get(VIEW_KEY, {})
    return state


def _set_state(picture: Picture, state: dict[str, Any]) -> None:
    picture[0].metadata = {**picture[0].metadata, VIEW_KEY: state}


def _scale(picture: Picture) -> tuple[float, float]:
    return float(picture[0].scale[-2]), float(picture[0].scale[-1])


def show_photograph(viewer: Viewer, image: Image) -> None:
    """Show one photograph and hide the others; select its mask, and restore its view.

    If a layer of this photograph is selected, neither selection nor view change, since the user may have zoomed in. If
    a layer that belongs to no photograph is selected, it stays selected.
    """
    show_only(viewer, image)
    active = viewer.layers.selection.active
    active_identity = None if active is None else photographs.get_identity(active)
    if active_identity == photographs.get_identity(image):
        return
    if active is None or active_identity is not None:
        mask = photographs.find_layer(viewer, image, "mask")
        viewer.layers.selection.active = image if mask is None else mask
    restore_view(viewer, (image,))
