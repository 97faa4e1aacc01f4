"""The slides among napari's layers, and the layers derived from a slide, which have its position and scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args
from weakref import ref

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QListView, QWidget

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.ui.viewer.photographs import (
    METADATA_KEY,
    STANDBY,
    SUBSTITUTE_UNIT_KEY,
    insert_unselected,
    show_flat,
)

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.slides.reading.tiled import TiledSlide

# The kinds of layers derived from a slide
Role = Literal[
    "tissue",
    "heatmap",
    "classes",
    "class map",
    "risk heatmap",
    "lesions",
    "view",
    "strokes",
    "stroke",
    "regions",
    "bookmarks",
    "measures",
    "counts",
    "readings",
    "depth",
    "ruler",
    "drawing",
    "painting",
    "clicks",
]
ORDER: tuple[Role, ...] = get_args(Role)  # from bottom to top
TOOL_ROLES: tuple[Role, ...] = ("stroke",)  # of layers that are hidden while their tool is not active
# Of layers that serve a tool or another layer: napari's list of layers does not show them.
UNLISTED_ROLES = ("stroke", "readings", "ruler", "drawing", "painting", "clicks", STANDBY)
REQUESTED_SCALE = "requested_scale"  # in the metadata of a slide, until its stored scale was read
SLIDE_IDENTITY_KEY = "slide_identity"  # in the metadata of layers derived from a slide


class ViewerSlide(NamedTuple):
    """The layers of a slide in the viewer: one, or one for each fluorescence channel."""

    layers: tuple[Image, ...]

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.layers[0].metadata[METADATA_KEY]
        return metadata

    @property
    def slide(self) -> TiledSlide:
        slide: TiledSlide = self.metadata["slide"]
        return slide

    @property
    def info(self) -> SlideInfo:
        """The properties of the slide, with the pixel size set by the user."""
        info: SlideInfo = self.metadata["info"]
        return info

    @property
    def identity(self) -> str:
        """The absolute path, which identifies the slide in the viewer."""
        return str(self.info.path.absolute())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the finest level."""
        finest = self.info.levels[0]
        return finest.height, finest.width

    @property
    def pixel_um(self) -> tuple[float, float]:
        """Height and width of a pixel in the viewer's unit: micrometers, or 1 without a scale."""
        size = self.info.pixel_size
        return (1.0, 1.0) if size is None else (size.y_um, size.x_um)

    def to_world(self, point: tuple[float, float]) -> tuple[float, float]:
        """Convert a point on the slide to the viewer's world coordinates.

        ``point``: (row, column) in pixels of the finest level, from the outer corner of the first pixel. Returns (y,
        x); napari's origin is the center of the first pixel.
        """
        return self._rotate(((point[0] - 0.5) * self.pixel_um[0], (point[1] - 0.5) * self.pixel_um[1]), self.angle)

    def to_slide(self, world: tuple[float, float]) -> tuple[float, float]:
        """Convert world coordinates to a point on the slide, the inverse of ``to_world``.

        ``world``: (y, x) in the viewer. Returns (row, column) in pixels of the finest level.
        """
        y, x = self._rotate(world, -self.angle)
        return y / self.pixel_um[0] + 0.5, x / self.pixel_um[1] + 0.5

    @property
    def angle(self) -> float:
        """The rotation in the view, in degrees clockwise; the same for all derived layers."""
        return float(self.metadata.get("angle", 0.0))

    @property
    def is_shown(self) -> bool:
        """Whether the slide is visible; for a fluorescence slide, whether any of its channels is."""
        return any(layer.visible for layer in self.layers)

    @property
    def shows_overlays(self) -> bool:
        """Whether layers on the slide may be shown; False while the user hides all of them."""
        return not self.metadata.get("hidden_roles")

    @property
    def affine(self) -> list[list[float]]:
        """The rotation about the center of the slide, as a 3 x 3 matrix for (y, x, 1)."""
        cosine, sine = _cosine_sine(self.angle)
        y, x = self._rotate((0.0, 0.0), self.angle)
        return [[cosine, sine, y], [-sine, cosine, x], [0.0, 0.0, 1.0]]

    def _rotate(self, position: tuple[float, float], angle: float) -> tuple[float, float]:
        """Rotate a position (y, x) in the viewer about the center of the slide, in degrees clockwise."""
        if not angle:
            return position
        cosine, sine = _cosine_sine(angle)
        middle = (self.size[0] - 1) / 2 * self.pixel_um[0], (self.size[1] - 1) / 2 * self.pixel_um[1]
        y, x = position[0] - middle[0], position[1] - middle[1]
        return middle[0] + cosine * y + sine * x, middle[1] - sine * y + cosine * x


def slide_display_name(info: SlideInfo) -> str:
    """Return the name of the file, or of the folder if the files of the slide are only numbered."""
    return info.path.name if info.path.name.startswith(info.name) else info.name


def list_slides(viewer: Viewer) -> list[ViewerSlide]:
    """List the slides of a viewer, in layer order."""
    layers_by_path: dict[str, list[Image]] = {}
    for layer in viewer.layers:
        metadata = layer.metadata.get(METADATA_KEY, {})
        if metadata.get("role") == "slide" and "slide" in metadata:
            layers_by_path.setdefault(str(metadata.get("path")), []).append(layer)
    return [ViewerSlide(tuple(layers)) for layers in layers_by_path.values()]


def find_slide(viewer: Viewer, identity: str) -> ViewerSlide | None:
    """Return an open slide; None if it is not open."""
    return next((one for one in list_slides(viewer) if one.identity == identity), None)


def list_paths(viewer: Viewer) -> list[Path]:
    """List the files of the slides of a viewer, in layer order."""
    return [slide.info.path.absolute() for slide in list_slides(viewer)]


def find_slide_identity(viewer: Viewer, layer: Layer | None) -> str | None:
    """Return the identity of the slide that a layer belongs to or was derived from; None for other layers."""
    if layer is None:
        return None
    for slide in list_slides(viewer):
        if any(layer == own for own in slide.layers):
            return slide.identity
    identity: str | None = layer.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY)
    return identity


def find_layer(viewer: Viewer, slide: ViewerSlide, role: Role) -> Any:  # noqa: ANN401 - the kind of layer goes with the role
    """Find the layer of a role that was derived from a slide; None if there is none."""
    return next(
        (layer for layer in find_layers(viewer, slide.identity) if layer.metadata[METADATA_KEY].get("role") == role),
        None,
    )


def find_layers(viewer: Viewer, identity: str) -> list[Layer]:
    """List the layers derived from a slide, in layer order."""
    return [
        layer for layer in viewer.layers if layer.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY) == identity
    ]


def hide_unlisted(window: QWidget) -> None:
    """Leave layers of ``UNLISTED_ROLES`` out of the list of layers in napari's window, from now on."""
    for view in window.findChildren(QListView):
        if type(view).__name__ == "QtLayerList" and not view.property(UNLISTED):
            view.setProperty(UNLISTED, True)
            for signal in (view.model().rowsInserted, view.model().rowsMoved):
                signal.connect(partial(_hide_rows, view))
            _hide_rows(view)


def _hide_rows(view: QListView, *_: object) -> None:
    model = view.model()
    for row in range(model.rowCount()):
        layer = model.index(row, 0).data(Qt.ItemDataRole.UserRole)
        is_unlisted = layer is not None and layer.metadata.get(METADATA_KEY, {}).get("role") in UNLISTED_ROLES
        if view.isRowHidden(row) != is_unlisted:
            view.setRowHidden(row, is_unlisted)


def toggle_overlays(viewer: Viewer, slide: ViewerSlide, kept: Layer | None) -> bool:
    """Hide the layers on a slide, or show those that were hidden last, or all; return whether they are hidden now.

    ``kept``: the layer of the active tool, which stays as it is, because napari ends the tools of hidden layers.
    """
    layers = {
        layer.metadata[METADATA_KEY].get("role"): layer
        for layer in find_layers(viewer, slide.identity)
        if layer != kept and layer.metadata[METADATA_KEY].get("role") not in TOOL_ROLES
    }
    visible = [role for role, layer in layers.items() if layer.visible]
    shown = () if visible else slide.metadata.get("hidden_roles") or tuple(layers)
    slide.metadata["hidden_roles"] = visible  # also for new results, which must not show their layer meanwhile
    for role, layer in layers.items():
        layer.visible = role in shown
    return bool(visible)


def get_or_add_layer(
    viewer: Viewer, slide: ViewerSlide, role: Role, make: Callable[[], Layer], placement: MapPlacement | None = None
) -> Any:  # noqa: ANN401
    """Return the layer of a role; if it is missing, insert it above the slide without changing the selection.

    ``make``: creates the layer. ``placement``: position of the cells of a map; by default, the coordinates of the layer
    are pixels of the slide's finest level.
    """
    layer = find_layer(viewer, slide, role)
    if layer is None:
        layer = make()
        layer.name = f"{slide.info.name} {role}"
        layer.metadata = {METADATA_KEY: {SLIDE_IDENTITY_KEY: slide.identity, "role": role}}
        set_placement(slide, layer, placement)
        _insert(viewer, slide, layer, role)
    else:
        set_placement(slide, layer, placement)
    if hasattr(layer, "shape_type"):  # shapes, which are drawn next
        show_flat(viewer)
    return layer


def set_placement(slide: ViewerSlide, layer: Layer, placement: MapPlacement | None) -> None:
    """Position a layer on the slide.

    ``placement``: None if the layer's coordinates are pixels of the finest level.
    """
    layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], "place": placement}}
    scaled = None if placement is None else replace(placement, pixel_size=slide.info.pixel_size)
    scale, translate = (slide.pixel_um, (0.0, 0.0)) if scaled is None else (scaled.scale, scaled.translate)
    if tuple(layer.scale) != tuple(scale):
        layer.scale = scale
    if tuple(layer.translate) != tuple(translate):
        layer.translate = translate
    if tuple(layer.units) != tuple(slide.layers[0].units):
        layer.units = slide.layers[0].units
    _apply_rotation(slide, layer)


def describe_set_scale(size: PixelSize | None) -> dict[str, float | None]:
    """Return the options of an analysis that state a scale set by the user; None for that of the file."""
    if size is None or size.source not in ("given", "ruler"):
        return {"mpp": None, "mpp_y": None}
    return {"mpp": size.x_um, "mpp_y": None if size.y_um == size.x_um else size.y_um}


def set_pixel_size(viewer: Viewer, slide: ViewerSlide, size: PixelSize | None) -> None:
    """Set the scale of a slide and of all layers derived from it.

    ``size``: micrometers per pixel of the finest level, with its source; None restores the scale in the file.
    """
    new_size = slide.slide.info.pixel_size if size is None else size
    old_um = slide.pixel_um
    info = replace(slide.info, pixel_size=new_size)
    unit = "pixel" if new_size is None else "um"
    for layer in slide.layers:
        offset_px = [float(offset) / um for offset, um in zip(layer.translate, old_um, strict=True)]
        plugin_metadata = {**layer.metadata[METADATA_KEY], "info": info, "pixel_size": new_size}
        other_metadata = {key: value for key, value in layer.metadata.items() if key != SUBSTITUTE_UNIT_KEY}
        layer.metadata = {**other_metadata, METADATA_KEY: plugin_metadata}
        layer.scale = slide.pixel_um  # the new one, now that the metadata have changed
        layer.translate = [offset * um for offset, um in zip(offset_px, slide.pixel_um, strict=True)]
        layer.units = (unit, unit)
        _apply_rotation(slide, layer)
    for layer in find_layers(viewer, slide.identity):
        set_placement(slide, layer, layer.metadata[METADATA_KEY].get("place"))


def request_scale(viewer: Viewer, slide: ViewerSlide, size: PixelSize) -> None:
    """Set the scale of a slide that is being opened, and let the Slide dock store it as set by the user."""
    set_pixel_size(viewer, slide, size)
    slide.metadata[REQUESTED_SCALE] = size


def set_angle(viewer: Viewer, slide: ViewerSlide, angle: float) -> None:
    """Rotate a slide and all layers derived from it.

    ``angle``: in degrees clockwise from the scanned orientation.
    """
    for layer in slide.layers:
        layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], "angle": angle}}
    for layer in (*slide.layers, *find_layers(viewer, slide.identity)):
        _apply_rotation(slide, layer)


def _apply_rotation(slide: ViewerSlide, layer: Layer) -> None:
    import numpy as np

    affine = np.array(slide.affine)
    if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], affine):
        layer.affine = affine


def _cosine_sine(angle: float) -> tuple[float, float]:
    """Return cosine and sine of a clockwise rotation in image coordinates; exact for multiples of 90 degrees."""
    quarters = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    return quarters.get(angle % 360) or (math.cos(math.radians(angle)), math.sin(math.radians(angle)))


UNLISTED = "melanoma_unlisted"  # property of a list that leaves layers out
HIDDEN_KEY = "was_visible"  # metadata key of a layer whose slide is hidden


def show_only(viewer: Viewer, slide: ViewerSlide) -> None:
    """Show one slide and hide the others, each with its derived layers; select the slide."""
    if not slide.is_shown:  # first, so that a slide is in view at any moment
        for layer in list_own_layers(viewer, slide):
            layer.visible = was_visible(layer)
    for other in list_slides(viewer):
        if other.identity != slide.identity:
            hide_slide(viewer, other)
    viewer.layers.selection.active = slide.layers[-1]


def hide_slide(viewer: Viewer, slide: ViewerSlide) -> None:
    """Hide a slide with its derived layers; layers that are visible now are shown again with the slide."""
    layers = list_own_layers(viewer, slide)
    for layer in layers if slide.is_shown else ():
        layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], HIDDEN_KEY: layer.visible}}
    for layer in layers:
        layer.visible = False


def was_visible(layer: Layer) -> bool:
    """Return whether a layer of a hidden slide was visible when the slide was shown."""
    return bool(layer.metadata[METADATA_KEY].get(HIDDEN_KEY, True))


def is_visible_on(slide: ViewerSlide, layer: Layer) -> bool:
    """Return whether a layer of a slide is visible while the slide is shown."""
    return bool(layer.visible if slide.is_shown else was_visible(layer))


def show_layer(slide: ViewerSlide, layer: Layer, visible: bool) -> None:
    """Show or hide a layer of a slide, now or when the slide is shown again."""
    if slide.is_shown:
        layer.visible = visible
    else:
        layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], HIDDEN_KEY: visible}}


def list_own_layers(viewer: Viewer, slide: ViewerSlide) -> list[Layer]:
    return [*slide.layers, *find_layers(viewer, slide.identity)]


def close_slides(viewer: Viewer, paths: Iterable[Path]) -> None:
    """Remove slides with their derived layers; their annotations remain stored in the results folders."""
    identities = {str(path.absolute()) for path in paths}
    for slide in [slide for slide in list_slides(viewer) if slide.identity in identities]:
        if find_slide_identity(viewer, viewer.layers.selection.active) == slide.identity:
            viewer.layers.selection.active = slide.layers[-1]  # deactivates tools, which requires the open slide
        for layer in slide.layers:
            viewer.layers.remove(layer)
        remove_left(viewer, slide.identity)


def remove_left(viewer: Viewer, identity: str) -> None:
    """Remove what is derived from a slide whose image was removed, also by the user from the list of layers.

    It would stay visible beside other slides, and below the same slide if that is opened again.
    """
    if identity not in {slide.identity for slide in list_slides(viewer)}:
        for layer in find_layers(viewer, identity):
            if layer in viewer.layers:  # some are removed together with others
                viewer.layers.remove(layer)


def read_slide_layers(path: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """Open a slide, and return its layer data; call this in a thread."""
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return list(make_slide_layers(open_slide(path)))


def _insert(viewer: Viewer, slide: ViewerSlide, layer: Layer, role: Role) -> None:
    """Insert a layer above its slide and the derived layers of lower roles, without changing the selection."""
    below = ORDER[: ORDER.index(role)]
    layer.visible = layer.visible and slide.is_shown
    top = max(
        index
        for index, other in enumerate(viewer.layers)
        if any(other == own for own in slide.layers)
        or (
            other.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY) == slide.identity
            and other.metadata[METADATA_KEY].get("role") in below
        )
    )
    insert_unselected(viewer, top + 1, layer)


class LayerRefresher(QObject):
    """Refresh layers in the GUI thread when a worker thread has loaded exact pixels."""

    _refresh_requested = Signal()

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        # Docks get short-lived proxies of layers: reference the layers themselves
        self._layers = [ref(getattr(layer, "__wrapped__", layer)) for layer in layers]
        self._refresh_requested.connect(self._refresh_layers, Qt.ConnectionType.QueuedConnection)

    def request_refresh(self) -> None:
        """Request a refresh; may be called in any thread."""
        self._refresh_requested.emit()

    def _refresh_layers(self) -> None:
        """Reload the layers; setting their data makes napari read the coarsest level again."""
        for layer in filter(None, (reference() for reference in self._layers)):
            layer.data = layer.data
            layer.refresh()


def refresh_when_loaded(slide: TiledSlide, layers: Sequence[Layer]) -> None:
    """Refresh the layers of a slide whenever exact pixels replace approximate ones."""
    refresher = LayerRefresher(layers)
    slide.add_watcher(refresher.request_refresh)
    refresher.request_refresh()  # exact pixels may have arrived while the layers were created
