"""The border of a mask as polygons, and drawn on the photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.masks import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

YELLOW = (255, 221, 0)
RED, DAMAGED = (200, 0, 0), "DAMAGED"
DARK = (25, 25, 25)
TOLERANCE_PX = 0.35
ROUNDS = 16


def contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Borders of the lesions and of their holes as closed polygons.

    Marching squares between pixel centres (Lorensen and Cline 1987, doi:10.1145/37402.37422), then simplified such that
    no point of the exact border is further than 0.35 pixels from the polygon.

    ``mask``: boolean, (row, column). A lesion cut by the image's border is closed half a pixel outside the outermost
    pixel centres, which is the edge of the image as napari draws it. Returns float32, each (vertex, 2) as (row, column)
    with whole numbers at pixel centres; first vertex repeated at the end; longest polygon first. Empty where the mask
    is.
    """
    from skimage.measure import find_contours

    box = bounding_box(mask)
    if box is None:
        return []
    part = np.pad(mask[box.slices], 1).astype(np.float32)
    origin = np.array([box.top - 1, box.left - 1], np.float32)
    # Pixels that touch at a corner are one lesion here as in ``masks.components``.
    found = find_contours(part, 0.5, fully_connected="high")
    found.sort(key=len, reverse=True)
    return [(_simplified(line, TOLERANCE_PX) + origin).astype(np.float32) for line in found]


def draw_overlay(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    width_px: int | None = None,
    colour: tuple[int, int, int] = YELLOW,
) -> NDArray[np.uint8]:
    """Draw the contour of a mask on its photograph: yellow between dark edges, so that it is seen on every skin.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: boolean, (row, column). ``colour``: red, green, blue
    of the line, 0 to 255; yellow by default. Returns uint8, same shape as the photograph; a copy.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(rgb))
    draw = ImageDraw.Draw(image)
    width = width_px or max(1, round(min(rgb.shape[:2]) / 250))
    lines = [[(float(column), float(row)) for row, column in line] for line in contours(mask)]
    for ink, extent in ((DARK, width + 2 * max(1, width // 3)), (colour, width)):
        for line in lines:
            draw.line(line, fill=ink, width=extent, joint="curve")
    return np.array(image)


def draw_damage(picture: NDArray[np.uint8], damage: str | None) -> NDArray[np.uint8]:
    """Mark a picture of a damaged photograph with a red frame and a word that stay with it wherever it is shown.

    ``picture``: uint8, (row, column, channel=3). Returns uint8, same shape; a copy where it is marked.
    """
    if not damage:
        return picture
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image)
    width = max(2, min(image.size) // 60)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=RED, width=width)
    font = ImageFont.load_default(max(10, min(image.size) // 16))
    box = draw.textbbox((2 * width, 2 * width), DAMAGED, font=font)
    draw.rectangle((box[0] - width, box[1] - width, box[2] + width, box[3] + width), fill=RED)
    draw.text((2 * width, 2 * width), DAMAGED, fill=(255, 255, 255), font=font)
    return np.array(image)


def _simplified(line: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Leave out every other vertex, again and again, wherever the original stays within a tolerance of the chord.

    Works on all vertices at once, unlike ``skimage.measure.approximate_polygon``, which takes 10 times as long.
    """
    kept = np.arange(len(line))
    for turn in range(ROUNDS):
        ends = kept[turn % 2 :: 2]
        starts = np.repeat(ends[:-1], np.diff(ends))
        chord = line[np.repeat(ends[1:], np.diff(ends))] - line[starts]
        away = line[ends[0] : ends[-1]] - line[starts]
        length = np.maximum((chord**2).sum(axis=1), 1e-12)
        along = np.clip((away * chord).sum(axis=1) / length, 0, 1)
        distance = np.hypot(*(away - along[:, None] * chord).T)
        furthest = np.maximum.reduceat(distance, ends[:-1] - ends[0])
        between = np.searchsorted(kept, ends[:-1]) + 1
        kept = np.delete(kept, between[furthest <= tolerance])
    return line[kept]
