"""Which layers are slides, and the layers made of a slide: named after it, above it, in its place and scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_melanoma.ui.viewer.photographs import METADATA_KEY, STAND_IN_KEY

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.placement import MapPlacement
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.slides.reading.tiled import TiledSlide

Role = Literal[
    "tissue",
    "heatmap",
    "attention",
    "Grad-CAM",
    "lesions",
    "view",
    "regions",
    "bookmarks",
    "measures",
    "mitosis area",
    "mitoses",
    "readings",
    "depth",
    "ruler",
    "drawing",
    "painting",
]
ORDER: tuple[Role, ...] = get_args(Role)  # from below to above
SLIDE_IDENTITY_KEY = "slide_identity"  # in the metadata of what was made of a slide


@dataclass(frozen=True)
class ViewerSlide:
    """A slide in the viewer: its layers, one for each channel where it shows fluorescence."""

    layers: tuple[Image, ...]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the reader left in the metadata of its layers."""
        found: dict[str, Any] = self.layers[0].metadata[METADATA_KEY]
        return found

    @property
    def slide(self) -> TiledSlide:
        """The open slide."""
        found: TiledSlide = self.metadata["slide"]
        return found

    @property
    def info(self) -> SlideInfo:
        """What is known of it, with the scale that the user gave."""
        found: SlideInfo = self.metadata["info"]
        return found

    @property
    def identity(self) -> str:
        """Tells it from other slides in the viewer."""
        return str(self.info.path.absolute())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the finest level."""
        full = self.info.levels[0]
        return full.height, full.width

    @property
    def pixel_um(self) -> tuple[float, float]:
        """Height and width of a pixel in the viewer's unit: micrometres, or 1 without a scale."""
        size = self.info.pixel_size
        return (1.0, 1.0) if size is None else (size.y_um, size.x_um)

    def to_world(self, point: tuple[float, float]) -> tuple[float, float]:
        """Where a point lies in the viewer.

        ``point``: (row, column) in pixels of the finest level, counted from the outer corner of the first. Returns (y,
        x); napari counts from the centre of the first pixel.
        """
        return self._rotate(((point[0] - 0.5) * self.pixel_um[0], (point[1] - 0.5) * self.pixel_um[1]), self.angle)

    def to_slide(self, world: tuple[float, float]) -> tuple[float, float]:
        """The inverse of ``to_world``.

        ``world``: (y, x) in the viewer. Returns (row, column) in pixels of the finest level.
        """
        y, x = self._rotate(world, -self.angle)
        return y / self.pixel_um[0] + 0.5, x / self.pixel_um[1] + 0.5

    @property
    def angle(self) -> float:
        """By how many degrees it is turned in the view, clockwise; the same for all that was made of it."""
        return float(self.metadata.get("angle", 0.0))

    @property
    def affine(self) -> list[list[float]]:
        """What turns a layer of it about the slide's middle, 3 x 3 for (y, x, 1)."""
        cosine, sine = _cosine_sine(self.angle)
        y, x = self._rotate((0.0, 0.0), self.angle)
        return [[cosine, sine, y], [-sine, cosine, x], [0.0, 0.0, 1.0]]

    def _rotate(self, at: tuple[float, float], angle: float) -> tuple[float, float]:
        """A place in the viewer, turned about the middle of the slide."""
        if not angle:
            return at
        cosine, sine = _cosine_sine(angle)
        middle = (self.size[0] - 1) / 2 * self.pixel_um[0], (self.size[1] - 1) / 2 * self.pixel_um[1]
        y, x = at[0] - middle[0], at[1] - middle[1]
        return middle[0] + cosine * y + sine * x, middle[1] - sine * y + cosine * x


def list_slides(viewer: Viewer) -> list[ViewerSlide]:
    """List the slides of a viewer.

    In the order of the layer list.
    """
    found: dict[str, list[Image]] = {}
    for layer in viewer.layers:
        about = layer.metadata.get(METADATA_KEY, {})
        if about.get("role") == "slide" and "slide" in about:
            found.setdefault(str(about.get("path")), []).append(layer)
    return [ViewerSlide(tuple(layers)) for layers in found.values()]


def find_slide_identity(viewer: Viewer, layer: Layer | None) -> str | None:
    """Say which slide a layer is, or was made of.

    Its identity; None where it has nothing to do with a slide.
    """
    if layer is None:
        return None
    for slide in list_slides(viewer):
        if any(layer == own for own in slide.layers):
            return slide.identity
    made: str | None = layer.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY)
    return made


def find_layer(viewer: Viewer, slide: ViewerSlide, role: Role) -> Any:  # noqa: ANN401 - the kind of layer goes with the role
    """Find the layer of one role that was made of a slide.

    None where there is none.
    """
    return next(
        (layer for layer in find_layers(viewer, slide.identity) if layer.metadata[METADATA_KEY].get("role") == role),
        None,
    )


def find_layers(viewer: Viewer, identity: str) -> list[Layer]:
    """List the layers that were made of a slide.

    In the order of the layer list.
    """
    return [
        layer for layer in viewer.layers if layer.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY) == identity
    ]


def get_or_add_layer(
    viewer: Viewer, slide: ViewerSlide, role: Role, make: Callable[[], Layer], placement: MapPlacement | None = None
) -> Any:  # noqa: ANN401
    """Give the layer of one role, made where there is none: above the slide, in its place; what is selected stays so.

    ``place``: where its cells lie; by default its coordinates are pixels of the slide's finest level.
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
    return layer


def set_placement(slide: ViewerSlide, layer: Layer, placement: MapPlacement | None) -> None:
    """Put a layer where its cells lie on the slide.

    ``place``: none where its coordinates are pixels of the finest level.
    """
    layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], "place": placement}}
    at = None if placement is None else replace(placement, pixel_size=slide.info.pixel_size)
    scale, translate = (slide.pixel_um, (0.0, 0.0)) if at is None else (at.scale, at.translate)
    if tuple(layer.scale) != tuple(scale):
        layer.scale = scale
    if tuple(layer.translate) != tuple(translate):
        layer.translate = translate
    if tuple(layer.units) != tuple(slide.layers[0].units):
        layer.units = slide.layers[0].units
    _apply_rotation(slide, layer)


def set_pixel_size(viewer: Viewer, slide: ViewerSlide, size: PixelSize | None) -> None:
    """Give a slide, and all that was made of it, another scale.

    ``size``: micrometres per pixel of the finest level, with who says so; None for what its file says.
    """
    told = slide.slide.info.pixel_size if size is None else size
    before = slide.pixel_um
    info = replace(slide.info, pixel_size=told)
    unit = "pixel" if told is None else "um"
    for layer in slide.layers:
        at = [float(step) / one for step, one in zip(layer.translate, before, strict=True)]
        about = {**layer.metadata[METADATA_KEY], "info": info, "pixel_size": told}
        kept = {key: value for key, value in layer.metadata.items() if key != STAND_IN_KEY}
        layer.metadata = {**kept, METADATA_KEY: about}
        layer.scale = slide.pixel_um
        layer.translate = [step * one for step, one in zip(at, slide.pixel_um, strict=True)]
        layer.units = (unit, unit)
        _apply_rotation(slide, layer)
    for layer in find_layers(viewer, slide.identity):
        set_placement(slide, layer, layer.metadata[METADATA_KEY].get("place"))


def set_angle(viewer: Viewer, slide: ViewerSlide, angle: float) -> None:
    """Turn a slide, and all that was made of it.

    ``angle``: in degrees clockwise from how it was scanned.
    """
    for layer in slide.layers:
        layer.metadata = {**layer.metadata, METADATA_KEY: {**layer.metadata[METADATA_KEY], "angle": angle}}
    for layer in (*slide.layers, *find_layers(viewer, slide.identity)):
        _apply_rotation(slide, layer)


def _apply_rotation(slide: ViewerSlide, layer: Layer) -> None:
    """Turn a layer as its slide is."""
    import numpy as np

    wanted = np.array(slide.affine)
    if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], wanted):
        layer.affine = wanted


def _cosine_sine(angle: float) -> tuple[float, float]:
    """Cosine and sine of a clockwise turn where rows count downwards; exact for quarters."""
    quarters = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    return quarters.get(angle % 360) or (math.cos(math.radians(angle)), math.sin(math.radians(angle)))


def show_only(viewer: Viewer, slide: ViewerSlide) -> None:
    """Show one slide and hide the others, with all that was made of them; the view goes to it."""
    for other in list_slides(viewer):
        if (other.identity == slide.identity) != other.layers[0].visible:
            for layer in (*other.layers, *find_layers(viewer, other.identity)):
                layer.visible = other.identity == slide.identity
    viewer.layers.selection.active = slide.layers[-1]


def read_slide_layers(path: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """Open a slide as layer data; not in the thread of the window."""
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return list(make_slide_layers(open_slide(path)))


def _insert(viewer: Viewer, slide: ViewerSlide, layer: Layer, role: Role) -> None:
    """Put a layer above its slide and what lies below it; the selection stays."""
    below = ORDER[: ORDER.index(role)]
    layer.visible = layer.visible and slide.layers[0].visible
    top = max(
        index
        for index, other in enumerate(viewer.layers)
        if any(other == own for own in slide.layers)
        or (
            other.metadata.get(METADATA_KEY, {}).get(SLIDE_IDENTITY_KEY) == slide.identity
            and other.metadata[METADATA_KEY].get("role") in below
        )
    )
    selection = viewer.layers.selection
    selected = set(selection)
    with selection.events.active.blocker(), selection.events.changed.blocker():
        viewer.layers.insert(top + 1, layer)
        selection.update(selected)
        selection.discard(layer)
