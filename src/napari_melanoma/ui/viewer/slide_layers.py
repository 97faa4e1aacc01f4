"""Which layers are slides, and the layers made of a slide: named after it, above it, in its place and scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_melanoma.ui.viewer.photographs import KEY, STAND_IN

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.placement import MapPlace
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
OF_SLIDE = "slide_identity"  # in the metadata of what was made of a slide


@dataclass(frozen=True)
class OpenSlide:
    """A slide in the viewer: its layers, one for each channel where it shows fluorescence."""

    layers: tuple[Image, ...]

    @property
    def about(self) -> dict[str, Any]:
        """What the reader left in the metadata of its layers."""
        found: dict[str, Any] = self.layers[0].metadata[KEY]
        return found

    @property
    def slide(self) -> TiledSlide:
        """The open slide."""
        found: TiledSlide = self.about["slide"]
        return found

    @property
    def info(self) -> SlideInfo:
        """What is known of it, with the scale that the user gave."""
        found: SlideInfo = self.about["info"]
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
    def um(self) -> tuple[float, float]:
        """Height and width of a pixel in the viewer's unit: micrometres, or 1 without a scale."""
        size = self.info.pixel_size
        return (1.0, 1.0) if size is None else (size.y_um, size.x_um)

    def to_world(self, point: tuple[float, float]) -> tuple[float, float]:
        """Where a point lies in the viewer.

        ``point``: (row, column) in pixels of the finest level, counted from the outer corner of the first. Returns (y,
        x); napari counts from the centre of the first pixel.
        """
        return self._turned(((point[0] - 0.5) * self.um[0], (point[1] - 0.5) * self.um[1]), self.angle)

    def to_slide(self, world: tuple[float, float]) -> tuple[float, float]:
        """The inverse of ``to_world``.

        ``world``: (y, x) in the viewer. Returns (row, column) in pixels of the finest level.
        """
        y, x = self._turned(world, -self.angle)
        return y / self.um[0] + 0.5, x / self.um[1] + 0.5

    @property
    def angle(self) -> float:
        """By how many degrees it is turned in the view, clockwise; the same for all that was made of it."""
        return float(self.about.get("angle", 0.0))

    @property
    def affine(self) -> list[list[float]]:
        """What turns a layer of it about the slide's middle, 3 x 3 for (y, x, 1)."""
        cosine, sine = _direction(self.angle)
        y, x = self._turned((0.0, 0.0), self.angle)
        return [[cosine, sine, y], [-sine, cosine, x], [0.0, 0.0, 1.0]]

    def _turned(self, at: tuple[float, float], angle: float) -> tuple[float, float]:
        """A place in the viewer, turned about the middle of the slide."""
        if not angle:
            return at
        cosine, sine = _direction(angle)
        middle = (self.size[0] - 1) / 2 * self.um[0], (self.size[1] - 1) / 2 * self.um[1]
        y, x = at[0] - middle[0], at[1] - middle[1]
        return middle[0] + cosine * y + sine * x, middle[1] - sine * y + cosine * x


def open_slides(viewer: Viewer) -> list[OpenSlide]:
    """List the slides of a viewer.

    In the order of the layer list.
    """
    found: dict[str, list[Image]] = {}
    for layer in viewer.layers:
        about = layer.metadata.get(KEY, {})
        if about.get("role") == "slide" and "slide" in about:
            found.setdefault(str(about.get("path")), []).append(layer)
    return [OpenSlide(tuple(layers)) for layers in found.values()]


def slide_of(viewer: Viewer, layer: Layer | None) -> str | None:
    """Say which slide a layer is, or was made of.

    Its identity; None where it has nothing to do with a slide.
    """
    if layer is None:
        return None
    for slide in open_slides(viewer):
        if any(layer == own for own in slide.layers):
            return slide.identity
    made: str | None = layer.metadata.get(KEY, {}).get(OF_SLIDE)
    return made


def part(viewer: Viewer, slide: OpenSlide, role: Role) -> Any:  # noqa: ANN401 - the kind of layer goes with the role
    """Find the layer of one role that was made of a slide.

    None where there is none.
    """
    return next((layer for layer in parts(viewer, slide.identity) if layer.metadata[KEY].get("role") == role), None)


def parts(viewer: Viewer, identity: str) -> list[Layer]:
    """List the layers that were made of a slide.

    In the order of the layer list.
    """
    return [layer for layer in viewer.layers if layer.metadata.get(KEY, {}).get(OF_SLIDE) == identity]


def put(viewer: Viewer, slide: OpenSlide, role: Role, make: Callable[[], Layer], place: MapPlace | None = None) -> Any:  # noqa: ANN401
    """Give the layer of one role, made where there is none: above the slide, in its place; what is selected stays so.

    ``place``: where its cells lie; by default its coordinates are pixels of the slide's finest level.
    """
    layer = part(viewer, slide, role)
    if layer is None:
        layer = make()
        layer.name = f"{slide.info.name} {role}"
        layer.metadata = {KEY: {OF_SLIDE: slide.identity, "role": role}}
        set_place(slide, layer, place)
        _insert(viewer, slide, layer, role)
    else:
        set_place(slide, layer, place)
    return layer


def set_place(slide: OpenSlide, layer: Layer, place: MapPlace | None) -> None:
    """Put a layer where its cells lie on the slide.

    ``place``: none where its coordinates are pixels of the finest level.
    """
    layer.metadata = {**layer.metadata, KEY: {**layer.metadata[KEY], "place": place}}
    at = None if place is None else replace(place, pixel_size=slide.info.pixel_size)
    scale, translate = (slide.um, (0.0, 0.0)) if at is None else (at.scale, at.translate)
    if tuple(layer.scale) != tuple(scale):
        layer.scale = scale
    if tuple(layer.translate) != tuple(translate):
        layer.translate = translate
    if tuple(layer.units) != tuple(slide.layers[0].units):
        layer.units = slide.layers[0].units
    _turn(slide, layer)


def set_pixel_size(viewer: Viewer, slide: OpenSlide, size: PixelSize | None) -> None:
    """Give a slide, and all that was made of it, another scale.

    ``size``: micrometres per pixel of the finest level, with who says so; None for what its file says.
    """
    told = slide.slide.info.pixel_size if size is None else size
    before = slide.um
    info = replace(slide.info, pixel_size=told)
    unit = "pixel" if told is None else "um"
    for layer in slide.layers:
        at = [float(step) / one for step, one in zip(layer.translate, before, strict=True)]
        about = {**layer.metadata[KEY], "info": info, "pixel_size": told}
        kept = {key: value for key, value in layer.metadata.items() if key != STAND_IN}
        layer.metadata = {**kept, KEY: about}
        layer.scale = slide.um
        layer.translate = [step * one for step, one in zip(at, slide.um, strict=True)]
        layer.units = (unit, unit)
        _turn(slide, layer)
    for layer in parts(viewer, slide.identity):
        set_place(slide, layer, layer.metadata[KEY].get("place"))


def set_angle(viewer: Viewer, slide: OpenSlide, angle: float) -> None:
    """Turn a slide, and all that was made of it.

    ``angle``: in degrees clockwise from how it was scanned.
    """
    for layer in slide.layers:
        layer.metadata = {**layer.metadata, KEY: {**layer.metadata[KEY], "angle": angle}}
    for layer in (*slide.layers, *parts(viewer, slide.identity)):
        _turn(slide, layer)


def _turn(slide: OpenSlide, layer: Layer) -> None:
    """Turn a layer as its slide is."""
    import numpy as np

    wanted = np.array(slide.affine)
    if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], wanted):
        layer.affine = wanted


def _direction(angle: float) -> tuple[float, float]:
    """Cosine and sine of a clockwise turn where rows count downwards; exact for quarters."""
    quarters = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    return quarters.get(angle % 360) or (math.cos(math.radians(angle)), math.sin(math.radians(angle)))


def show_only(viewer: Viewer, slide: OpenSlide) -> None:
    """Show one slide and hide the others, with all that was made of them; the view goes to it."""
    for other in open_slides(viewer):
        if (other.identity == slide.identity) != other.layers[0].visible:
            for layer in (*other.layers, *parts(viewer, other.identity)):
                layer.visible = other.identity == slide.identity
    viewer.layers.selection.active = slide.layers[-1]


def slide_layers_of(path: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """Open a slide as layer data; not in the thread of the window."""
    from napari_melanoma.slides.reading.layers import slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return list(slide_layers(open_slide(path)))


def _insert(viewer: Viewer, slide: OpenSlide, layer: Layer, role: Role) -> None:
    """Put a layer above its slide and what lies below it; the selection stays."""
    below = ORDER[: ORDER.index(role)]
    layer.visible = layer.visible and slide.layers[0].visible
    top = max(
        index
        for index, other in enumerate(viewer.layers)
        if any(other == own for own in slide.layers)
        or (other.metadata.get(KEY, {}).get(OF_SLIDE) == slide.identity and other.metadata[KEY].get("role") in below)
    )
    selection = viewer.layers.selection
    selected = set(selection)
    with selection.events.active.blocker(), selection.events.changed.blocker():
        viewer.layers.insert(top + 1, layer)
        selection.update(selected)
        selection.discard(layer)
