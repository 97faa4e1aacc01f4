"""Show the results of a photograph as napari layers, and keep the units of layers consistent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar
from napari_melanoma.ui.viewer.photographs import (
    METADATA_KEY,
    SUBSTITUTE_UNIT_KEY,
    Role,
    find_layer,
    get_identity,
    get_own_units,
    get_role,
    get_shape,
    insert_layer,
    show_flat,
)
from napari_melanoma.ui.viewer.shape_layers import end_lines_at_pointer
from napari_melanoma.ui.viewer.view_memory import list_pictures
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels, Layer, Shapes
    from napari.utils.events import Event
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.imaging.masks import Roi
    from napari_melanoma.imaging.prompts import PromptOptions
    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.viewer.mask_layer import MaskLabels
    from napari_melanoma.ui.widgets.signals import Connections

COLORMAP_SIZE, OPAQUE_FROM = 128, 0.35  # of the heatmap: colors, and the value from which it is opaque
YELLOW, WHITE, BLUE, ORANGE, SKY, PURPLE = "#ffe100", "#ffffff", "#0072b2", "#e69f00", "#56b4e9", "#cc79a7"
GREEN = "#00c48f"
PROPOSED = "#5a5a5a"  # gray
THIN = 0.6  # width of the outlines of other masks, in widths of the contour
TICK_LENGTH = 0.6  # half of the length of a tick of a proposed scale, in distances between two ticks
MAX_TICKS = 60  # of a proposed scale that are drawn: 300 would block the window for a second
LABEL_SHIFT = 1 / 16  # distance of the label of a proposed scale from its line, in lengths of the photograph
USER_KEYS = frozenset({"photograph", "ruler"})  # metadata that layers of the user or of other plugins may have as well


def show_mask(viewer: Viewer, image: Image, mask: NDArray[np.uint8]) -> MaskLabels:
    """Add the mask layer of a photograph; change an existing one with ``write_mask``.

    ``mask``: uint8 (row, column), 0 or 1; the layer edits this array. The brush is set to the lesion label.
    """
    from napari.utils.colormaps import DirectLabelColormap

    from napari_melanoma.ui.viewer.mask_layer import MaskLabels

    colors = DirectLabelColormap(color_dict={None: WHITE, 0: "transparent", 1: WHITE})
    # Faint and white: a colored overlay would change the appearance of the lesion
    labels = MaskLabels(mask, opacity=0.08, colormap=colors)
    labels.selected_label = 1
    labels.brush_size = max(3, round(min(mask.shape) / 40))
    complete_brush_strokes(labels)
    insert_layer(viewer, image, "mask", labels)
    return labels


def write_mask(labels: Labels, where: tuple[NDArray[np.intp], ...], mask: NDArray[np.bool_]) -> None:
    """Change the mask of a layer in one step that Ctrl+Z undoes.

    ``where``: rows and columns of the pixels that differ, as returned by ``numpy.nonzero``. ``mask``: bool (row,
    column), the new mask.
    """
    if not labels.visible:
        labels.set_view_slice()  # napari cannot write into a layer that has never been visible
    labels.data_setitem(where, mask[where].astype(labels.data.dtype))


def restart_labels(labels: Labels, data: NDArray[np.integer]) -> None:
    """Replace the data of a layer, and forget the steps of its undo, which belong to the previous data.

    napari keeps them when ``data`` is set, and clears them when a layer becomes read-only.
    """
    mode = labels.mode
    labels.editable = False
    labels.data = data
    labels.editable = True
    labels.mode = mode


def complete_brush_strokes(labels: Labels) -> None:
    """Draw quick strokes of napari's brush and eraser to the point where the mouse button is released.

    vispy drops moves within 10 ms of another event, and napari delays others: the release may arrive before the last.
    """
    labels.mouse_drag_callbacks.insert(0, _complete_stroke)  # before napari's brush, which ends the step of the undo


def _complete_stroke(labels: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
    import numpy as np

    mode = str(labels.mode)
    filled_stroke = labels._overlays.get("brush_stroke")  # not in every version of napari
    is_busy = labels.cursor == "circle_frozen" or (filled_stroke is not None and filled_stroke.active)
    if mode not in ("paint", "erase") or event.button != 1 or is_busy:  # not the left button; napari draws nothing
        return
    last = np.array(labels.world_to_data(event.position))
    yield
    while event.type == "mouse_move":
        last = np.array(labels.world_to_data(event.position))
        yield
    end = np.array(labels.world_to_data(event.position))
    steps = int(np.ceil(4 * np.abs(end - last).max() / labels.brush_size))  # as far apart as those of napari
    if str(labels.mode) == mode:
        label = labels.selected_label if mode == "paint" else labels.colormap.background_value
        with labels.block_history():
            for point in np.linspace(last, end, steps + 1)[1:]:
                labels.paint(point, label)


def show_probability(viewer: Viewer, image: Image, probability: NDArray[np.float32]) -> None:
    """Add the smoothed probability of the lesion as a hidden layer, or update it.

    ``probability``: float32 (row, column) in [0, 1].
    """
    from napari.layers import Image as ImageLayer

    def create_layer() -> ImageLayer:
        limits = {"contrast_limits": (0.0, 1.0), "colormap": "magma", "opacity": 0.5, "visible": False}
        return ImageLayer(probability, **limits)

    layer = _get_or_add_layer(viewer, image, "probability", create_layer)
    if layer.data is not probability:
        layer.data = probability


def show_heatmap(viewer: Viewer, image: Image, heatmap: NDArray[np.float32], opacity: float) -> Image:
    """Show a class-activation heatmap in magma: more opaque for higher values, transparent near zero.

    ``heatmap``: float32 (row, column) in [0, 1], of the photograph's size. Returns the layer, which is visible if the
    photograph is.
    """
    import numpy as np
    from napari.layers import Image as ImageLayer
    from napari.utils import Colormap
    from napari.utils.colormaps import ensure_colormap

    def create_layer() -> ImageLayer:
        steps = np.linspace(0, 1, COLORMAP_SIZE, dtype=np.float32)
        colors = ensure_colormap("magma").map(steps).copy()
        colors[:, 3] = np.minimum(1, steps / OPAQUE_FROM)
        colormap = Colormap(colors, name="magma, clear 0")
        return ImageLayer(heatmap, contrast_limits=(0.0, 1.0), colormap=colormap, opacity=opacity)

    layer: Image = _get_or_add_layer(viewer, image, "heatmap", create_layer)
    if layer.data is not heatmap:
        layer.data = heatmap
    layer.visible = image.visible
    return layer


def fade_heatmaps(viewer: Viewer, opacity: float) -> None:
    """Set the opacity, 0 to 1, of the heatmaps of all photographs."""
    for layer in viewer.layers:
        if get_identity(layer) is not None and get_role(layer) == "heatmap" and layer.opacity != opacity:
            layer.opacity = opacity


def show_band(viewer: Viewer, image: Image, band: NDArray[np.bool_] | None) -> None:
    """Show in light blue where the predictions of the test-time augmentation disagree.

    ``band``: bool (row, column); None without test-time augmentation, which removes an existing layer.
    """
    from napari.layers import Image as ImageLayer
    from napari.utils import Colormap

    if band is None:
        layer = find_layer(viewer, image, "band")
        if layer is not None:
            viewer.layers.remove(layer)
        return

    def create_layer() -> ImageLayer:
        colors = Colormap([[0.0, 0.0, 0.0, 0.0], SKY], name="uncertain band", interpolation="zero")
        return ImageLayer(band.astype("uint8"), contrast_limits=(0, 1), colormap=colors, opacity=0.6)

    layer = _get_or_add_layer(viewer, image, "band", create_layer)
    if (layer.data != band).any():
        layer.data = band.astype("uint8")


def show_contours(viewer: Viewer, image: Image, outlines: Sequence[NDArray[np.float32]]) -> None:
    """Draw the contours of the lesion in yellow.

    ``outlines``: each float32 (point, 2), (row, column), closed.
    """
    _show_shapes(viewer, image, "contour", "path", outlines)


def show_published_mask(viewer: Viewer, image: Image, mask: NDArray[np.bool_]) -> None:
    """Outline the published mask of a sample in blue; ``mask``: bool (row, column)."""
    from napari_melanoma.imaging.masks import trace_contours

    _show_shapes(viewer, image, "published mask", "path", trace_contours(mask))


def show_other_contours(viewer: Viewer, image: Image, outlines: Sequence[NDArray[np.float32]]) -> None:
    """Draw thin outlines of other lesions; the layer is added with the first outline.

    ``outlines``: each float32 (point, 2), (row, column), closed.
    """
    if outlines or find_layer(viewer, image, "other lesions") is not None:
        _show_shapes(viewer, image, "other lesions", "path", outlines)


def show_proposals(
    viewer: Viewer, image: Image, proposals: Mapping[int, Sequence[NDArray[np.float32]]], highlighted: int | None
) -> None:
    """Draw the outlines of masks to choose from, the highlighted one wider; the layer is added with the first outline.

    ``proposals``: the outlines of each mask, each float32 (point, 2), (row, column), closed.
    """
    outlines = [outline for proposal in proposals.values() for outline in proposal]
    if not outlines and find_layer(viewer, image, "proposals") is None:
        return
    layer = _show_shapes(viewer, image, "proposals", "path", outlines)
    width = THIN * line_width(image)
    widths = [2 * width if one == highlighted else width for one, proposal in proposals.items() for _ in proposal]
    if widths and list(layer.edge_width) != widths:
        layer.edge_width = widths


def show_roi(viewer: Viewer, image: Image, roi: Roi | None) -> None:
    """Draw the square region of interest in white; None clears it."""
    import numpy as np

    corners = []
    if roi is not None:
        top, left = roi.box.top - 0.5, roi.box.left - 0.5
        bottom, right = top + roi.box.height, left + roi.box.width
        corners = [np.array([[top, left], [top, right], [bottom, right], [bottom, left]], np.float32)]
    _show_shapes(viewer, image, "ROI", "rectangle", corners)


def _show_shapes(
    viewer: Viewer, image: Image, role: Role, kind: str, outlines: Sequence[NDArray[np.float32]]
) -> Shapes:
    from napari.layers import Shapes

    layer: Shapes = _get_or_add_layer(
        viewer, image, role, lambda: Shapes(ndim=2, opacity=0.6 if role == "ROI" else 0.9)
    )
    if not _have_equal_points(layer.data, outlines):  # drawing again would block the window
        show_flat(viewer)
        if len(layer.data) == len(outlines):
            layer.data = [(outline, kind) for outline in outlines]  # keeps width and colors, and draws only once
        else:
            width = line_width(image) * (THIN if role in ("other lesions", "proposals") else 1)
            colors = {"contour": YELLOW, "other lesions": PURPLE, "published mask": SKY, "proposals": GREEN}
            color = colors.get(role, WHITE)
            _clear(layer)
            layer.add(list(outlines), shape_type=kind, edge_width=width, edge_color=color, face_color="transparent")
    layer.editable = False
    return layer


def _clear(layer: Shapes) -> None:
    """Remove all shapes; an empty layer is not changed, as napari and the docks would update without need."""
    if len(layer.data):
        layer.data = []


def _have_equal_points(shown: Sequence[NDArray[np.floating]], outlines: Sequence[NDArray[np.floating]]) -> bool:
    import numpy as np

    return len(shown) == len(outlines) and all(map(np.array_equal, shown, outlines))


def _get_or_add_layer(viewer: Viewer, image: Image, role: Role, create: Callable[[], Layer]) -> Any:  # noqa: ANN401 - by the role
    """Return the layer of a role that was derived from a photograph; add it if it is missing."""
    layer = find_layer(viewer, image, role)
    if layer is None:
        layer = create()
        insert_layer(viewer, image, role, layer)
    return layer


def line_width(image: Image) -> float:
    """Return a line width, in pixels, that is visible on the whole photograph without covering detail."""
    return max(1.0, min(get_shape(image)) / 250)


def show_result(viewer: Viewer, image: Image, result: LesionResult) -> None:
    """Show everything that is derived from a mask; the measurements become features of the mask layer."""
    show_band(viewer, image, result.band)
    show_contours(viewer, image, result.contours)
    show_other_contours(viewer, image, result.other_contours)
    show_numbers(viewer, image, result.lesion_boxes)
    show_roi(viewer, image, result.roi)
    show_measurements(viewer, image, result)


def show_measurements(viewer: Viewer, image: Image, result: LesionResult) -> None:
    labels = find_layer(viewer, image, "mask")
    if labels is not None:
        rows = {name: [value] for name, value in result.measurements.items()}
        labels.features = {"index": [1], **rows} if rows else {}


def get_scribbles_layer(viewer: Viewer, image: Image) -> MaskLabels:
    """Return the layer of strokes inside (1) and outside (2) the lesion, uint8 (row, column); add it if missing."""
    import numpy as np
    from napari.utils.colormaps import DirectLabelColormap

    from napari_melanoma.ui.viewer.mask_layer import MaskLabels

    def create_layer() -> MaskLabels:
        shape = get_shape(image)
        colors = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: BLUE, 2: ORANGE})
        layer = MaskLabels(np.zeros(shape, np.uint8), opacity=0.85, colormap=colors)
        layer.brush_size = max(3, round(min(shape) / 100))
        complete_brush_strokes(layer)
        return layer

    return _get_or_add_layer(viewer, image, "scribbles", create_layer)


def show_prompts(viewer: Viewer, image: Image, lesions: Sequence[PromptOptions]) -> None:
    """Show clicks as disks, blue inside and orange outside the lesion, and boxes in blue."""
    import numpy as np
    from napari.layers import Shapes

    layer = _get_or_add_layer(viewer, image, "clicks", partial(Shapes, ndim=2, opacity=0.9))
    radius = 4 * line_width(image)
    shapes: list[tuple[str, NDArray[np.float64], str]] = []  # type, corners (4, 2) and color
    for prompts in lesions:
        for points, color in ((prompts.include, BLUE), (prompts.exclude, ORANGE)):
            shapes += [("ellipse", _square(point, radius), color) for point in points]
        if prompts.box is not None:
            top, left, bottom, right = prompts.box
            corners = [[top, left], [top, right], [bottom, right], [bottom, left]]
            shapes.append(("rectangle", np.array(corners), BLUE))
    colors = [color for _, _, color in shapes]
    is_drawn = layer.metadata[METADATA_KEY].get("colors") == colors
    if is_drawn and _have_equal_points(layer.data, [data for _, data, _ in shapes]):
        return  # drawing again would block the window
    show_flat(viewer)
    layer.editable = True
    _clear(layer)
    if shapes:
        faces = ["transparent" if kind == "rectangle" else color for kind, _, color in shapes]
        edges = [color if kind == "rectangle" else "white" for kind, _, color in shapes]
        pairs = [(data, kind) for kind, data, _ in shapes]
        layer.add(pairs, edge_width=line_width(image), edge_color=edges, face_color=faces)
    layer.metadata[METADATA_KEY]["colors"] = colors
    layer.editable = False


def _square(center: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """Return the corners of the square around a circle, float64 (4, 2); ``center``: (row, column)."""
    import numpy as np

    return np.array(center) + radius * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float64)


SHOWN_SHARE = 0.5  # share of the view that a lesion fills after zooming to it


def show_box(viewer: Viewer, image: Image, box: Box) -> None:
    """Zoom to a box, in pixels of the photograph, and its surroundings."""
    import numpy as np

    rows, columns = (
        start - 0.5 + np.array([0, length]) for start, length in ((box.top, box.height), (box.left, box.width))
    )
    corners = np.array([image.data_to_world((row, column))[-2:] for row in rows for column in columns])
    low, high = corners.min(0), corners.max(0)  # of all corners, as the photograph may be rotated
    camera = get_camera(viewer)
    camera.zoom = SHOWN_SHARE * float((np.array(viewer.canvas.size) / (high - low)).min())
    camera.center = (*tuple(camera.center)[:-2], *((low + high) / 2).tolist())


def show_numbers(viewer: Viewer, image: Image, boxes: Sequence[Box]) -> None:
    """Show the number of each lesion at the upper right of its bounding box; a single lesion has no number."""
    from napari.layers import Points

    corners = [[float(box.top), float(box.left + box.width)] for box in boxes] if len(boxes) > 1 else []
    layer = find_layer(viewer, image, "numbers")
    if layer is not None and layer.data.tolist() == corners:
        return
    if layer is not None:
        viewer.layers.remove(layer)
    if corners:
        texts = [str(number) for number, _ in enumerate(corners, start=1)]
        text = {"string": texts, "color": "yellow", "size": 14, "anchor": "upper_left"}
        points = Points(corners, size=1, text=text, face_color="transparent", border_color="transparent")
        insert_layer(viewer, image, "numbers", points)
        points.editable = False


def get_ruler_layer(viewer: Viewer, image: Image) -> Shapes:
    """Return the layer for a line over a known length, in the photograph's pixels; add it if it is missing."""
    from napari.layers import Shapes

    def create_layer() -> Shapes:
        layer = Shapes(ndim=2, edge_color=SKY, edge_width=1.5 * line_width(image))
        layer.current_edge_color, layer.current_edge_width = SKY, 1.5 * line_width(image)
        end_lines_at_pointer(layer)
        return layer

    show_flat(viewer)
    return _get_or_add_layer(viewer, image, "ruler", create_layer)


def show_ruler_line(layer: Shapes, image: Image, ends: NDArray[np.float64]) -> None:
    """Add a line to the layer of the ruler tool, unless it is there; ``ends``: float64 (2, 2), (row, column)."""
    if _find_line(layer, ends) is None:
        layer.add_lines(ends, edge_color=SKY, edge_width=1.5 * line_width(image))
        layer.selected_data = set()
    layer.visible = image.visible


def remove_ruler_line(viewer: Viewer, image: Image, ends: NDArray[np.float64]) -> None:
    """Remove a line from the layer of the ruler tool, unless its ends were moved; ``ends``: float64 (2, 2)."""
    layer = find_layer(viewer, image, "ruler")
    index = None if layer is None else _find_line(layer, ends)
    if index is not None:
        show_flat(viewer)
        layer.selected_data = {index}
        layer.remove_selected()


def _find_line(layer: Shapes, ends: NDArray[np.float64]) -> int | None:
    import numpy as np

    lines = (index for index, data in enumerate(layer.data) if np.allclose(data[[0, -1], -2:], ends, atol=0.01))
    return next(lines, None)


def show_proposed_scale(viewer: Viewer, image: Image, ruler: Ruler | None) -> None:
    """Show a millimeter scale that was found, in gray with its ticks and marked as proposed; None removes it."""
    import numpy as np
    from napari.layers import Shapes

    layer = find_layer(viewer, image, "proposed scale")
    if layer is not None:
        was_active = viewer.layers.selection.active == layer
        viewer.layers.remove(layer)
        if was_active and ruler is None:
            viewer.layers.selection.active = image
    if ruler is None:
        return
    start, end = np.array(ruler.start), np.array(ruler.end)
    along = (end - start) / ruler.length_px
    across = np.array([-along[1], along[0]])
    half = TICK_LENGTH * ruler.px_per_mm * ruler.tick_mm * across
    ticks = ruler.ticks[:: math.ceil(len(ruler.ticks) / MAX_TICKS)]
    lines = [np.array([start, end]), *(np.array([tick - half, tick + half]) for tick in ticks)]
    strings = [f"proposed: {ruler.millimeters:g} mm", *[""] * len(ticks)]
    shift = _find_label_shift(image, (start + end) / 2, across)
    text = {"string": strings, "color": PROPOSED, "size": 9, "anchor": "center", "translation": shift}
    width = 0.6 * line_width(image)
    layer = Shapes(lines, shape_type="line", edge_width=width, edge_color=PROPOSED, text=text, opacity=1)
    insert_layer(viewer, image, "proposed scale", layer)
    layer.editable = False


def _find_label_shift(image: Image, middle: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the position of a label beside the middle of a line: away from the lesion if it is in the photograph.

    ``across``: unit vector perpendicular to the line.
    """
    import numpy as np

    shape = np.array(get_shape(image))
    outward = across if across @ (middle - shape / 2) > 0 else -across
    shift = LABEL_SHIFT * shape.max() * outward
    is_inside = ((middle + shift > 0) & (middle + shift < shape)).all()
    return shift if is_inside else -shift


def add_strokes(layer: Labels, strokes: NDArray[np.uint8]) -> None:
    """Add strokes to a layer where it has none yet, in one step that Ctrl+Z undoes.

    ``strokes``: uint8 (row, column), 0 where there is none.
    """
    where = ((strokes != 0) & (layer.data == 0)).nonzero()
    if where[0].size:
        layer.data_setitem(where, strokes[where])


def clear_strokes(layer: Labels) -> None:
    """Remove all strokes of a layer in one step that Ctrl+Z undoes."""
    where = layer.data.nonzero()
    if where[0].size:
        layer.data_setitem(where, 0)


class LayerUnits(QObject):
    """Keeps the units of layers consistent, and hides the scale bar while it would be wrong.

    napari needs layers with units of the same type, lengths or pixels. A layer of this package with units of another
    type is shown in a substitute unit; its own is stored in its metadata. Layers of the user and of other plugins are
    not changed. Each dock has an instance; more than one have no further effect.
    """

    def __init__(self, viewer: Viewer, connections: Connections, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._connections = viewer, connections
        self._has_hidden_bar = False
        connections.connect_first(viewer.layers.events.inserted, self._on_inserted)  # before napari draws it and warns
        connections.connect(viewer.layers.events.removed, self._on_changed)
        get_scale_bar(viewer).events.visible.connect(self._on_visible)  # a psygnal signal, which disconnects by itself
        for layer in viewer.layers:
            self._watch_layer(layer)
        self._on_changed()

    def _watch_layer(self, layer: Layer) -> None:
        self._connections.connect(layer.events.units, self._on_units)
        self._connections.connect(layer.events.scale, self._on_changed)
        self._connections.connect(layer.events.visible, self._on_visible)

    def _on_inserted(self, event: Event) -> None:
        self._watch_layer(event.value)
        self._on_changed()

    def _on_units(self, event: Event) -> None:
        """Discard the substitute unit of a layer whose unit was set by others."""
        layer = event.source
        substitute = layer.metadata.get(SUBSTITUTE_UNIT_KEY)
        if substitute is not None and str(layer.units[-1]) != substitute["shown"]:
            discard_substitute_unit(layer)
        self._on_changed()

    def _on_changed(self, event: Event | None = None) -> None:
        make_units_consistent(self._viewer)
        self._on_visible()

    def _on_visible(self, event: Event | None = None) -> None:
        """Hide the scale bar while it is not valid, and show it again unless the user has switched it off."""
        bar, is_valid = get_scale_bar(self._viewer), is_scale_bar_valid(self._viewer)
        if bar.visible and not is_valid:
            self._has_hidden_bar = True
            bar.visible = False
        elif self._has_hidden_bar and is_valid:
            self._has_hidden_bar = False
            bar.visible = DockSettings().get("slide/scale_bar", True)


def make_units_consistent(viewer: Viewer) -> None:
    """Show the layers of this package in units of one type, lengths or pixels.

    The type is that of the layers of the user and of other plugins. Without such layers, it is lengths if any layer of
    this package has lengths.
    """
    own_layers = [layer for layer in viewer.layers if _is_own_layer(layer)]
    others = [layer for layer in viewer.layers if not _is_own_layer(layer)]
    decisive = others or [layer for layer in own_layers if not _has_unit_of_image(layer)]
    are_lengths = [_is_length(unit) for layer in decisive for unit in get_own_units(layer)]
    if not are_lengths:
        return
    is_length = all(are_lengths) if others else any(are_lengths)
    for layer in own_layers:
        _show_unit(layer, is_length=is_length)


def is_scale_bar_valid(viewer: Viewer) -> bool:
    """Return whether there are layers, and all visible images are shown in units of the same type as their own."""
    pictures = [layer for picture in list_pictures(viewer) for layer in picture]
    pictures += [layer for layer in viewer.layers if _is_own_layer(layer) and not _has_unit_of_image(layer)]
    visible = [layer for layer in pictures if layer.visible]
    consistent = (_is_length(get_own_units(layer)[-1]) == _is_length(layer.units[-1]) for layer in visible)
    return bool(viewer.layers) and all(consistent)


def discard_substitute_unit(layer: Layer) -> None:
    """Discard the record of a layer's substitute unit, for example before its unit is set."""
    if SUBSTITUTE_UNIT_KEY in layer.metadata:
        layer.metadata = {key: value for key, value in layer.metadata.items() if key != SUBSTITUTE_UNIT_KEY}


def _show_unit(layer: Layer, *, is_length: bool) -> None:
    """Show a layer in its own units if these are of the type, otherwise in a substitute unit."""
    own = get_own_units(layer)
    if all(_is_length(unit) == is_length for unit in own):
        if SUBSTITUTE_UNIT_KEY in layer.metadata:
            discard_substitute_unit(layer)
            layer.units = (*layer.units[:-2], *own)
        return
    unit = "micrometer" if is_length else "pixel"
    if not _has_unit_of_image(layer):
        layer.metadata = {**layer.metadata, SUBSTITUTE_UNIT_KEY: {"own": own, "shown": unit}}
    if any(str(current) != unit for current in layer.units[-2:]):
        layer.units = (*layer.units[:-2], unit, unit)


def _is_own_layer(layer: Layer) -> bool:
    return bool(set(layer.metadata.get(METADATA_KEY, {})) - USER_KEYS)


def _has_unit_of_image(layer: Layer) -> bool:
    """Return whether a layer always has the unit of the image that it was derived from.

    The registered photographs of a comparison are derived as well, but have a unit of their own.
    """
    return layer.metadata.get(METADATA_KEY, {}).get("role", "slide") not in ("slide", "comparison")


def _is_length(unit: Any) -> bool:  # noqa: ANN401 - a unit of pint, which napari depends on
    return bool(unit.is_compatible_with("micrometer"))
