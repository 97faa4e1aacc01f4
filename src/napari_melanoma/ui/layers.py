"""Results as napari layers: how each looks, and how it is reused on the next run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_melanoma.ui.linked import Role, add_part, part

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels, Layer, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.analysis.roi import Roi
    from napari_melanoma.workflows.lesion import LesionResult

COLOURS, OPAQUE_FROM = 128, 0.35
YELLOW, WHITE, BLUE, ORANGE, SKY, PURPLE = "#ffe100", "#ffffff", "#0072b2", "#e69f00", "#56b4e9", "#cc79a7"


def show_mask(viewer: Viewer, image: Image, mask: NDArray[np.uint8]) -> Labels:
    """Show a mask for the first time; a mask that is shown already is changed with ``write_mask``.

    ``mask``: uint8 (row, column), 0 or 1; from now on the layer's own. Editable, in one colour, the brush set to
    lesion.
    """
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    colours = DirectLabelColormap(color_dict={None: WHITE, 0: "transparent", 1: WHITE})
    labels = Labels(mask, opacity=0.08, colormap=colours)  # a coloured veil would change how the lesion looks
    labels.selected_label = 1
    labels.brush_size = max(3, round(min(mask.shape) / 40))
    add_part(viewer, image, "mask", labels)
    return labels


def write_mask(labels: Labels, where: tuple[NDArray[np.intp], ...], mask: NDArray[np.bool_]) -> None:
    """Change a mask as one step that Ctrl+Z takes back.

    ``where``: rows and columns of the pixels that differ, as ``numpy.nonzero`` gives them. ``mask``: bool (row,
    column), the new mask.
    """
    if not labels.visible:
        labels.set_view_slice()  # napari slices no layer that was never in sight, and cannot write into no slice
    labels.data_setitem(where, mask[where].astype(labels.data.dtype))


def show_probability(viewer: Viewer, image: Image, probability: NDArray[np.float32]) -> None:
    """Show the smoothed probability; hidden until the user wants to see it.

    ``probability``: float32 (row, column) in [0, 1].
    """
    from napari.layers import Image as ImageLayer

    def make() -> ImageLayer:
        limits = {"contrast_limits": (0.0, 1.0), "colormap": "magma", "opacity": 0.5, "visible": False}
        return ImageLayer(probability, **limits)

    layer = _layer(viewer, image, "probability", make)
    if layer.data is not probability:
        layer.data = probability


def show_heatmap(viewer: Viewer, image: Image, heat: NDArray[np.float32], opacity: float) -> Image:
    """Show where an answer comes from: magma, the hotter the less is seen through it, nothing where it is cold.

    ``heat``: float32 (row, column) in [0, 1], of the photograph's size. Returns the layer, in sight where the
    photograph is.
    """
    import numpy as np
    from napari.layers import Image as ImageLayer
    from napari.utils import Colormap
    from napari.utils.colormaps import ensure_colormap

    def make() -> ImageLayer:
        steps = np.linspace(0, 1, COLOURS, dtype=np.float32)
        colours = ensure_colormap("magma").map(steps).copy()
        colours[:, 3] = np.minimum(1, steps / OPAQUE_FROM)
        shown = Colormap(colours, name="magma, clear where it is cold")
        return ImageLayer(heat, contrast_limits=(0.0, 1.0), colormap=shown, opacity=opacity)

    layer: Image = _layer(viewer, image, "heatmap", make)
    if layer.data is not heat:
        layer.data = heat
    layer.visible = image.visible
    return layer


def show_band(viewer: Viewer, image: Image, band: NDArray[np.bool_] | None) -> None:
    """Show in blue where the answers about the mirror images disagree; the layer's eye switches it off.

    ``band``: bool (row, column); None where the model was asked once, which takes away what an earlier analysis showed.
    """
    from napari.layers import Image as ImageLayer
    from napari.utils import Colormap

    if band is None:
        layer = part(viewer, image, "band")
        if layer is not None:
            viewer.layers.remove(layer)
        return

    def make() -> ImageLayer:
        colours = Colormap([[0.0, 0.0, 0.0, 0.0], SKY], name="uncertain band", interpolation="zero")
        return ImageLayer(band.astype("uint8"), contrast_limits=(0, 1), colormap=colours, opacity=0.6)

    layer = _layer(viewer, image, "band", make)
    if (layer.data != band).any():
        layer.data = band.astype("uint8")


def show_contours(viewer: Viewer, image: Image, outlines: Sequence[NDArray[np.float32]]) -> None:
    """Draw the border of the lesion in yellow.

    ``outlines``: each float32 (point, 2), (row, column), closed.
    """
    _show_shapes(viewer, image, "contour", "path", outlines)


def show_others(viewer: Viewer, image: Image, result: LesionResult) -> None:
    """Outline the lesions that were found and are not in the mask."""
    from napari_melanoma.analysis.contours import contours

    show_other_contours(viewer, image, [] if result.others is None else contours(result.others))


def show_other_contours(viewer: Viewer, image: Image, outlines: Sequence[NDArray[np.float32]]) -> None:
    """Draw thin outlines of other lesions, in a layer that is made with the first of them.

    ``outlines``: each float32 (point, 2), (row, column), closed.
    """
    if outlines or part(viewer, image, "other lesions") is not None:
        _show_shapes(viewer, image, "other lesions", "path", outlines)


def show_roi(viewer: Viewer, image: Image, roi: Roi | None) -> None:
    """Draw the square region of interest in white, or nothing where there is no lesion."""
    import numpy as np

    corners = []
    if roi is not None:
        top, left = roi.box.top - 0.5, roi.box.left - 0.5
        bottom, right = top + roi.box.height, left + roi.box.width
        corners = [np.array([[top, left], [top, right], [bottom, right], [bottom, left]], np.float32)]
    _show_shapes(viewer, image, "ROI", "rectangle", corners)


def _show_shapes(viewer: Viewer, image: Image, role: Role, kind: str, outlines: Sequence[NDArray[np.float32]]) -> None:
    """Draw outlines into the photograph's layer of a role."""
    from napari.layers import Shapes

    layer = _layer(viewer, image, role, lambda: Shapes(ndim=2, opacity=0.6 if role == "ROI" else 0.9))
    width = line_width(image) * (0.6 if role == "other lesions" else 1)
    layer.data = []
    if outlines:
        colour = {"contour": YELLOW, "other lesions": PURPLE}.get(role, WHITE)
        layer.add(list(outlines), shape_type=kind, edge_width=width, edge_color=colour, face_color="transparent")
    layer.editable = False


def _layer(viewer: Viewer, image: Image, role: Role, make: Callable[[], Layer]) -> Any:  # noqa: ANN401 - by the role
    """Give a photograph's layer of a role, made where it is missing."""
    layer = part(viewer, image, role)
    if layer is None:
        layer = make()
        add_part(viewer, image, role, layer)
    return layer


def line_width(image: Image) -> float:
    """Width of a line that is seen on the whole photograph and does not cover its detail.

    In pixels of the photograph.
    """
    rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
    return max(1.0, min(rows, columns) / 250)


def show_result(viewer: Viewer, image: Image, result: LesionResult) -> None:
    """Show what follows from a mask: contour, ROI, uncertain band and the measurements as features of the mask."""
    show_band(viewer, image, result.band)
    show_contours(viewer, image, result.contours)
    show_others(viewer, image, result)
    show_roi(viewer, image, result.roi)
    show_measurements(viewer, image, result)


def show_measurements(viewer: Viewer, image: Image, result: LesionResult) -> None:
    """Give the mask its measurements as features."""
    labels = part(viewer, image, "mask")
    if labels is not None:
        rows = {name: [value] for name, value in result.measurements.items()}
        labels.features = {"index": [1], **rows} if rows else {}


def scribbles(viewer: Viewer, image: Image) -> Labels:
    """Give the layer that takes the strokes inside (1) and outside (2) of the lesion, made where it is missing.

    Returns uint8 (row, column).
    """
    import numpy as np
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    def make() -> Labels:
        shape = (image.data[0] if image.multiscale else image.data).shape[:2]
        colours = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: BLUE, 2: ORANGE})
        layer = Labels(np.zeros(shape, np.uint8), opacity=0.85, colormap=colours)
        layer.brush_size = max(3, round(min(shape) / 100))
        return layer

    return _layer(viewer, image, "scribbles", make)


def ruler(viewer: Viewer, image: Image) -> Shapes:
    """Give the layer in which the user draws a line over a known length, made where it is missing.

    In the photograph's pixels.
    """
    from napari.layers import Shapes

    def make() -> Shapes:
        layer = Shapes(ndim=2, edge_color=SKY, edge_width=1.5 * line_width(image))
        layer.current_edge_color, layer.current_edge_width = SKY, 1.5 * line_width(image)
        return layer

    return _layer(viewer, image, "ruler", make)


def add_strokes(strokes: Labels, more: NDArray[np.uint8]) -> None:
    """Add strokes where there are none yet, as one step that Ctrl+Z takes back.

    ``more``: uint8 (row, column).
    """
    where = ((more != 0) & (strokes.data == 0)).nonzero()
    if where[0].size:
        strokes.data_setitem(where, more[where])


def clear(strokes: Labels) -> None:
    """Remove all strokes as one step that Ctrl+Z takes back."""
    where = strokes.data.nonzero()
    if where[0].size:
        strokes.data_setitem(where, 0)
