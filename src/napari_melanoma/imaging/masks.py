"""Masks: bounding box, holes, components, contours, the square region of interest, and overlays."""

from __future__ import annotations

import colorsys
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon, to_polygons
from napari_melanoma.core.provenance import array_fingerprint

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import RoiConfig


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the smallest box that contains every pixel of a mask.

    ``mask``: boolean, (row, column). None if the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1))


def mask_key(mask: NDArray[np.bool_]) -> tuple[Box, str] | None:
    """Return a value that identifies the pixels of a mask; faster than a digest of the whole mask.

    ``mask``: boolean, (row, column). None if the mask is empty.
    """
    box = bounding_box(mask)
    return None if box is None else (box, array_fingerprint(mask[box.slices]))


def grow_box(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    """Enlarge a box by a margin on every side, cropped at the borders of the image.

    ``margin``: pixels added on each side. ``shape``: of the image, (rows, columns).
    """
    top, left = max(0, box.top - margin), max(0, box.left - margin)
    bottom = min(shape[0], box.top + box.height + margin)
    right = min(shape[1], box.left + box.width + margin)
    return Box(top, left, bottom - top, right - left)


def fill_mask_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a mask: background that no path of edge neighbors connects to the outside.

    Labeling the background is several times faster than ``scipy.ndimage.binary_fill_holes``, which dilates repeatedly.

    ``mask``: boolean, (row, column). Returns boolean, same shape; a notch open to the image's border is not a hole.
    """
    from scipy import ndimage

    background, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask.copy()
    return background[1:-1, 1:-1] != background[0, 0]


def separate_components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Separate the components of a mask, the largest first.

    ``mask``: boolean, (row, column). Returns boolean masks of the same shape; none for an empty mask.
    """
    from scipy import ndimage

    box = bounding_box(mask)
    if box is None:
        return []
    labels, _ = label_components(mask[box.slices])
    positions = ndimage.find_objects(labels)
    parts = [labels[position] == number for number, position in enumerate(positions, start=1)]
    components = []
    for index in np.argsort([-np.count_nonzero(part) for part in parts], kind="stable"):
        component = np.zeros_like(mask)
        component[box.slices][positions[index]] = parts[index]
        components.append(component)
    return components


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Label the components of a mask; pixels that touch at a corner belong together.

    ``mask``: boolean, (row, column). Returns int32, (row, column); 0 is background, components are numbered from 1.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3), bool))
    return labels, int(count)


def resample_labels(
    labels: NDArray[np.integer], matrix: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.integer]:
    """Resample labels to another grid by nearest neighbor; pixels outside the labels are 0.

    ``labels``: integers, (row, column). ``matrix``: float64 (2, 3), which maps (row, column, 1) of the grid to (row,
    column) of the labels. ``shape``: of the grid, (rows, columns). Returns integers of this shape.
    """
    from scipy import ndimage

    if labels.shape == shape and np.allclose(matrix, np.eye(2, 3), atol=1e-6):
        return labels
    return ndimage.affine_transform(labels, matrix[:, :2], matrix[:, 2], shape, order=0, mode="grid-constant")


def separate_labels(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return the mask of all labels, with a line of background pixels between labels that touch.

    These pixels are taken from the label of larger area, so that small labels do not vanish.

    ``labels``: integers, (row, column); 0 is background. Returns boolean, same shape; each component of
    ``label_components`` belongs to one label.
    """
    from pandas import factorize

    mask = labels != 0
    box = bounding_box(mask)
    if box is None:
        return mask
    part, inside = labels[box.slices], mask[box.slices]
    numbers, values = factorize(part[inside])  # numpy.unique sorts, which takes 10 times as long and holds the GIL
    if len(values) == 1:
        return mask
    rank = np.empty(len(values), np.int32)
    rank[np.argsort(np.bincount(numbers), kind="stable")] = np.arange(len(values))
    ranks = np.full((part.shape[0] + 2, part.shape[1] + 2), len(values), np.int32)  # with a border of background
    own = ranks[1:-1, 1:-1]
    own[inside] = rank[numbers]
    separated = inside.copy()
    for row in range(3):
        for column in range(3):
            separated &= own <= ranks[row : row + part.shape[0], column : column + part.shape[1]]
    mask[box.slices] = separated
    return mask


# Contours and drawings of masks


YELLOW = (255, 221, 0)
RED, DAMAGE_TEXT = (200, 0, 0), "DAMAGED"
DARK = (25, 25, 25)
TOLERANCE_PX = 0.35  # of simplified contours
ROUNDS = 16  # of simplification


def trace_contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Trace the borders of lesions and of their holes as closed polygons.

    Marching squares between pixel centers (Lorensen and Cline 1987, doi:10.1145/37402.37422), then simplified such that
    no point of the exact border is further than 0.35 pixels from the polygon.

    ``mask``: boolean, (row, column). A lesion cut by the image's border is closed half a pixel outside the outermost
    pixel centers, which is the edge of the image as napari draws it. Returns float32, each (vertex, 2) as (row, column)
    with whole numbers at pixel centers; first vertex repeated at the end; longest polygon first. Empty for an empty
    mask.
    """
    from skimage.measure import find_contours

    box = bounding_box(mask)
    if box is None:
        return []
    part = np.pad(mask[box.slices], 1).astype(np.float32)
    origin = np.array([box.top - 1, box.left - 1], np.float32)
    # Pixels that touch at a corner are one lesion here as in ``label_components``.
    contours = find_contours(part, 0.5, fully_connected="high")
    contours.sort(key=len, reverse=True)
    return [(_simplify(contour, TOLERANCE_PX) + origin).astype(np.float32) for contour in contours]


def trace_polygons(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Trace the areas of a mask as polygons with holes, in pixels from the corner of the image.

    ``mask``: boolean, (row, column). See ``trace_contours`` for the accuracy.
    """
    import shapely

    contours = [np.clip(contour.astype(np.float64) + 0.5, 0, mask.shape) for contour in trace_contours(mask)]
    rings = [shapely.make_valid(shapely.polygons(contour)) for contour in contours]
    return to_polygons(reduce(shapely.symmetric_difference, rings)) if rings else ()


def draw_overlay(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    width_px: int | None = None,
    color: tuple[int, int, int] = YELLOW,
) -> NDArray[np.uint8]:
    """Draw the contour of a mask on its photograph: yellow between dark edges, visible on every skin.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: boolean, (row, column). ``color``: red, green, blue
    of the line, 0 to 255; yellow by default. Returns uint8, same shape as the photograph; a copy.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(rgb))
    draw = ImageDraw.Draw(image)
    width = width_px or max(1, round(min(rgb.shape[:2]) / 250))
    lines = [[(float(column), float(row)) for row, column in line] for line in trace_contours(mask)]
    for line_color, line_width in ((DARK, width + 2 * max(1, width // 3)), (color, width)):
        for line in lines:
            draw.line(line, fill=line_color, width=line_width, joint="curve")
    return np.array(image)


def draw_damage(picture: NDArray[np.uint8], damage: str | None) -> NDArray[np.uint8]:
    """Mark an image of a damaged photograph with a red frame and a label, which are part of the image.

    ``picture``: uint8, (row, column, channel=3). Returns uint8, same shape; a copy if it is marked.
    """
    if not damage:
        return picture
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image)
    width = max(2, min(image.size) // 60)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=RED, width=width)
    font = ImageFont.load_default(max(10, min(image.size) // 16))
    box = draw.textbbox((2 * width, 2 * width), DAMAGE_TEXT, font=font)
    draw.rectangle((box[0] - width, box[1] - width, box[2] + width, box[3] + width), fill=RED)
    draw.text((2 * width, 2 * width), DAMAGE_TEXT, fill=(255, 255, 255), font=font)
    return np.array(image)


def _simplify(line: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Simplify a line: in each round, leave out every other vertex if the original stays close to the chord.

    It works on all vertices at once; ``skimage.measure.approximate_polygon`` takes 10 times as long.

    ``line``: (vertex, 2). ``tolerance``: largest distance of the original from the result.
    """
    vertices = np.arange(len(line))  # indices of the remaining vertices
    for round_ in range(ROUNDS):
        ends = vertices[round_ % 2 :: 2]
        starts = np.repeat(ends[:-1], np.diff(ends))
        chord = line[np.repeat(ends[1:], np.diff(ends))] - line[starts]
        offset = line[ends[0] : ends[-1]] - line[starts]
        squared_length = np.maximum((chord**2).sum(axis=1), 1e-12)
        along = np.clip((offset * chord).sum(axis=1) / squared_length, 0, 1)
        distance = np.hypot(*(offset - along[:, None] * chord).T)
        furthest = np.maximum.reduceat(distance, ends[:-1] - ends[0])
        between = np.searchsorted(vertices, ends[:-1]) + 1
        vertices = np.delete(vertices, between[furthest <= tolerance])
    return line[vertices]


# The square region of interest


class Roi(NamedTuple):
    """A square cut from a photograph: its position, and its pixels as uint8 (row, column, channel=3)."""

    box: Box
    image: NDArray[np.uint8]


def square_around(mask: NDArray[np.bool_], margin: float) -> Box | None:
    """Return the smallest square around everything in a mask, with a margin.

    The square is centered on the bounding box and moved inside the image if needed. If the image is too small, the
    margin shrinks. Only if the lesion is longer than the shorter side of the image, the square extends outside, equally
    on both sides.

    ``mask``: boolean, (row, column); several lesions are taken together. Returns a square of whole pixels that contains
    the bounding box; None for an empty mask.
    """
    lesion = bounding_box(mask)
    if lesion is None:
        return None
    longer = max(lesion.height, lesion.width)
    side = max(longer, min(round(longer * (1 + 2 * margin)), *mask.shape))
    top = _square_start(lesion.top, lesion.height, side, mask.shape[0])
    left = _square_start(lesion.left, lesion.width, side, mask.shape[1])
    return Box(top, left, side, side)


def extract_roi(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], config: RoiConfig) -> Roi | None:
    """Cut the square around the lesion and resize it without aliasing, as in paper P2.

    Pixels outside the photograph are zero, also if the background is kept.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: boolean, (row, column); several lesions are taken
    together. None for an empty mask.
    """
    from PIL import Image

    box = square_around(mask, config.margin)
    if box is None:
        return None
    top, left = max(0, box.top), max(0, box.left)
    visible = slice(top, box.top + box.height), slice(left, box.left + box.width)
    lesion = Image.fromarray(mask[visible]) if config.background == "zero" else None
    square = Image.new("RGB", (box.width, box.height))
    square.paste(Image.fromarray(rgb[visible]), (left - box.left, top - box.top), lesion)
    resized = square.resize((config.side_px, config.side_px), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return Roi(box, np.array(resized))


def _square_start(start: int, length: int, side: int, available: int) -> int:
    """Return the first pixel of the square along one axis: centered on the lesion, then moved inside if possible."""
    if side > available:
        return -((side - available) // 2)
    return min(max(0, start - (side - length) // 2), available - side)


# Heatmaps and labels over images

# Colors of matplotlib's magma (van der Walt and Smith, CC0) at 0, 1/8 ... 1. Their lightness increases evenly, so that
# color-blind users can read it.
MAGMA = np.array(
    [
        (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
        (254, 194, 135), (252, 253, 191),
    ],
    float,
)  # fmt: skip
OPACITY = 0.6  # of the largest heatmap value
TINT_STRENGTH = 0.45  # opacity of the colors of labels


def resize_map(values: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Resize a map or image to ``shape``, (row, column): averaged if it becomes smaller, else interpolated linearly."""
    from PIL import Image

    down = shape[0] < values.shape[0]
    method = Image.Resampling.BOX if down else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize((shape[1], shape[0]), method))


def draw_heatmap(rgb: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a heatmap over a photograph; larger values are more opaque.

    ``rgb``: uint8 (row, column, channel=3). ``heat``: float32 (row, column), from 0 to 1. Returns uint8 (row, column,
    channel=3).
    """
    steps = np.linspace(0, 1, len(MAGMA))
    color = np.stack([np.interp(heat, steps, channel) for channel in MAGMA.T], axis=-1)
    share = OPACITY * np.sqrt(np.clip(heat, 0, 1))[..., None]
    return np.rint(rgb * (1 - share) + color * share).astype(np.uint8)


def class_colors(classes: int) -> NDArray[np.uint8]:
    """Choose a color for each class: hues spread evenly, excluding the pink and purple of hematoxylin and eosin.

    ``classes``: their number. Returns uint8 (class, channel); the first is gray.
    """
    hues = 0.12 + 0.56 * np.arange(max(1, classes - 1)) / max(1, classes - 2)
    colors = [(0.6, 0.6, 0.6), *(colorsys.hsv_to_rgb(float(hue), 0.95, 0.95) for hue in hues)]
    return (255 * np.array(colors[:classes])).round().astype(np.uint8)


def overlay_labels(rgb: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Draw the colors of classes over an image; the first class, and pixels of no class, are transparent.

    ``rgb``: uint8 (row, column, channel). ``labels``: uint8 (row, column), numbers of classes. Returns uint8 (row,
    column, channel).
    """
    labels = np.where(labels < classes, labels, 0)
    colors = class_colors(classes).astype(np.float32)[labels]
    mixed = (1 - TINT_STRENGTH) * rgb + TINT_STRENGTH * colors
    return np.where(labels[..., None] > 0, mixed, rgb).round().astype(np.uint8)
