"""Pictures of reports: photographs and slides at a size for paper, with outlines, and a scale bar if possible.

All pictures have square pixels, so that one bar is right in every direction, and are encoded again without metadata.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import Line
from napari_melanoma.figures.page import Figure, data_uri
from napari_melanoma.imaging.masks import DARK, draw_overlay
from napari_melanoma.slides.lesion_files import LABEL_COLORS, UNLABELED_COLOR
from napari_melanoma.slides.lesions import SlideLesion
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.regions import Regions
from napari_melanoma.slides.slide_content import MAX_LESIONS

if TYPE_CHECKING:
    from PIL import ImageDraw


SIDE_PX, OVERVIEW_PX, PATCH_PX = 900, 1100, 320  # longer side of a picture and of an overview; side of a patch
QUALITY = 88  # of JPEG
NO_SCALE = "no scale"
BAR_SHARE = 0.25  # longest scale bar, as a share of the width
ROUND_STEPS = (1, 2, 5)  # times a power of ten, in mm
LINE_COLOR, LINE_PX = (11, 60, 255), 4  # color and width of a Breslow line
LINE_MARGIN = 0.35  # shown around a line, as a share of its length
REGION_COLOR = (60, 90, 160)  # of a region that has no color
DASH_PX = 9
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """A picture with square pixels, uint8 (row, column, channel=3).

    ``um_per_px``: None without a scale. ``bar_mm``: length of the scale bar that is drawn on it; None without one.
    """

    rgb: NDArray[np.uint8]
    um_per_px: float | None = None
    bar_mm: float | None = None

    @property
    def scale_text(self) -> str:
        """The length of the scale bar in words."""
        return NO_SCALE if self.bar_mm is None else f"scale bar {self.bar_mm:g} mm"


def fit_picture(rgb: NDArray[np.uint8], pixel_size: PixelSize | None, side_px: int = SIDE_PX) -> Picture:
    """Reduce a picture to a longest side, with square pixels if its own are not.

    ``rgb``: uint8 (row, column, channel=3). ``pixel_size``: of its pixels; None if unknown, then they are square.
    """
    from PIL import Image

    y_um, x_um = (1.0, 1.0) if pixel_size is None else (pixel_size.y_um, pixel_size.x_um)
    finest = min(y_um, x_um)
    height, width = rgb.shape[0] * y_um / finest, rgb.shape[1] * x_um / finest
    factor = min(1.0, side_px / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    um = None if pixel_size is None else rgb.shape[1] * x_um / size[0]
    return Picture(np.asarray(image), um)


def turn_picture(picture: Picture, angle: float, background: tuple[int, int, int] = WHITE) -> Picture:
    """Turn a picture clockwise by an angle in degrees; it grows, and the corners have the color of the background."""
    from PIL import Image

    if angle % 360 == 0:
        return picture
    image = Image.fromarray(picture.rgb).rotate(-angle, Image.Resampling.BICUBIC, expand=True, fillcolor=background)
    return replace(picture, rgb=np.asarray(image))


def choose_bar_mm(width_mm: float) -> float:
    """Choose the longest round length, 1, 2 or 5 times a power of ten in mm, of at most a quarter of a width."""
    longest = BAR_SHARE * width_mm
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in ROUND_STEPS if step * power <= longest * (1 + 1e-9))


def draw_scale_bar(picture: Picture) -> Picture:
    """Draw a scale bar with its length at the lower right; unchanged without a scale."""
    from PIL import Image, ImageDraw, ImageFont

    if picture.um_per_px is None:
        return picture
    height, width = picture.rgb.shape[:2]
    bar_mm = choose_bar_mm(width * picture.um_per_px / 1000)
    length = max(1, round(1000 * bar_mm / picture.um_per_px))
    thick, margin = max(3, width // 150), max(6, width // 60)
    font_px = max(13, width // 30)
    font = ImageFont.load_default(font_px)
    image = Image.fromarray(picture.rgb)
    draw, label = ImageDraw.Draw(image), f"{bar_mm:g} mm"
    content_width = max(length, int(draw.textlength(label, font)))
    right, bottom = width - 2 * margin, height - 2 * margin
    background = (
        right - content_width - margin,
        bottom - thick - font_px - 1.5 * margin,
        right + margin,
        bottom + margin,
    )
    draw.rounded_rectangle(background, margin / 2, fill=DARK)
    middle = right - content_width / 2
    draw.rectangle((round(middle - length / 2), bottom - thick, round(middle - length / 2) + length - 1, bottom), WHITE)
    draw.text((middle, bottom - thick - margin / 2), label, WHITE, font, anchor="mb")
    return replace(picture, rgb=np.asarray(image), bar_mm=bar_mm)


def make_figure(picture: Picture, alt: str, caption: str, *, small: bool = False) -> Figure:
    """Encode a picture as JPEG; the caption ends with the length of the scale bar."""
    return Figure(encode(picture.rgb), f"{alt}, {picture.scale_text}", f"{caption}; {picture.scale_text}.", small)


def encode(rgb: NDArray[np.uint8]) -> str:
    """Encode pixels, uint8 (row, column, channel=3), as a data URI without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")


def draw_photograph(
    rgb: NDArray[np.uint8], pixel_size: PixelSize | None, mask: NDArray[np.bool_] | None = None
) -> Picture:
    """Draw a photograph with the contour of a mask and a scale bar.

    ``rgb``: uint8 (row, column, channel=3). ``mask``: bool (row, column).
    """
    return draw_scale_bar(fit_picture(rgb if mask is None else draw_overlay(rgb, mask), pixel_size))


def draw_slide_overview(
    slide: Slide,
    lesions: Sequence[SlideLesion] = (),
    regions: Regions = (),
    angle: float = 0.0,
    numbered: int = MAX_LESIONS,
) -> Picture:
    """Draw a whole slide with outlines of lesions and regions.

    ``angle``: by which the picture is turned clockwise, in degrees. ``numbered``: how many lesions have a number.
    Outlines of regions are dashed, since the colors of both may be the same. Channels of fluorescence are merged in
    their colors.
    """
    from PIL import Image, ImageDraw, ImageFont

    thumbnail, _ = slide.thumbnail_around_damage(OVERVIEW_PX)
    finest = slide.info.levels[0]
    shares = thumbnail.shape[0] / finest.height, thumbnail.shape[1] / finest.width
    size = slide.info.pixel_size
    picture = fit_picture(
        thumbnail, size and PixelSize(size.y_um / shares[0], size.x_um / shares[1], size.source), OVERVIEW_PX
    )
    scale = picture.rgb.shape[0] / finest.height, picture.rgb.shape[1] / finest.width
    image = Image.fromarray(picture.rgb)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(12, image.width // 45))
    for region in regions:
        _draw_outlines(draw, region.polygons, scale, region.color or REGION_COLOR, dashed=True)
    for lesion in lesions:
        color = LABEL_COLORS.get(lesion.label, UNLABELED_COLOR)
        _draw_outlines(draw, lesion.polygons, scale, color)
        if lesion.index <= numbered:
            position = lesion.box.left * scale[1], max(14.0, lesion.box.top * scale[0])
            draw.text(position, str(lesion.index), color, font, anchor="lb", stroke_width=2, stroke_fill=WHITE)
    background = WHITE if slide.info.kind == "brightfield" else (0, 0, 0)
    return draw_scale_bar(turn_picture(replace(picture, rgb=np.asarray(image)), angle, background))


def draw_depth_line(slide: Slide, line: Line, angle: float = 0.0) -> Picture | None:
    """Draw the slide around a measurement line, with the line and a scale bar; None for fluorescence.

    ``line``: both ends, (row, column) in pixels of the finest level. ``angle``: by which the picture is turned
    clockwise, in degrees.
    """
    from PIL import Image, ImageDraw

    if slide.info.kind != "brightfield":
        return None
    finest, size = slide.info.levels[0], slide.info.pixel_size
    ends = np.array(line)
    # A square in micrometers around the middle, wide enough for a line in any direction.
    um_per_px = np.array((1.0, 1.0) if size is None else (size.y_um, size.x_um))
    side = max(2.0, float(np.hypot(*((ends[1] - ends[0]) * um_per_px))) * (1 + LINE_MARGIN)) / um_per_px
    level = next(
        (n for n, shown_level in enumerate(slide.info.levels) if max(side) / shown_level.downsample <= SIDE_PX), -1
    )
    shown_level = slide.info.levels[level]
    level_scale = np.array((shown_level.height / finest.height, shown_level.width / finest.width))
    top, left = np.floor((ends.mean(axis=0) - side / 2) * level_scale).astype(int)
    height, width = np.maximum(1, np.ceil(side * level_scale)).astype(int)
    pixels = slide.read_region(level % len(slide.info.levels), Box(int(top), int(left), int(height), int(width)))
    picture = fit_picture(
        np.ascontiguousarray(pixels, np.uint8),
        size and PixelSize(size.y_um / level_scale[0], size.x_um / level_scale[1]),
    )
    picture_scale = np.array(picture.rgb.shape[:2]) / (height, width)
    image = Image.fromarray(picture.rgb)
    line_px = [
        tuple(float(value) for value in ((end * level_scale - (top, left)) * picture_scale)[::-1]) for end in ends
    ]
    ImageDraw.Draw(image).line(line_px, fill=LINE_COLOR, width=LINE_PX)
    return draw_scale_bar(turn_picture(replace(picture, rgb=np.asarray(image)), angle))


def _draw_outlines(
    draw: ImageDraw.ImageDraw,
    polygons: Iterable[Polygon],
    scale: tuple[float, float],
    color: tuple[int, int, int],
    *,
    dashed: bool = False,
) -> None:
    """Draw the rings of polygons with white edges, which are visible on any stain; ``scale``: of rows and columns."""
    for polygon in polygons:
        for ring in polygon.rings:
            points = [(column * scale[1], row * scale[0]) for row, column in (*ring, ring[0])]
            draw.line(points, fill=WHITE, width=5, joint="curve")
            for part in _split_dashes(points) if dashed else (points,):
                draw.line(part, fill=color, width=3, joint="curve")


def _split_dashes(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Split a line into dashes with gaps of the same length."""
    positions = np.array(points)
    distances = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(positions, axis=0).T))])
    for start in np.arange(0.0, distances[-1], 2 * DASH_PX):
        end = min(start + DASH_PX, distances[-1])
        dash_distances = np.unique([start, *distances[(distances > start) & (distances < end)], end])
        yield list(
            zip(
                np.interp(dash_distances, distances, positions[:, 0]),
                np.interp(dash_distances, distances, positions[:, 1]),
                strict=True,
            )
        )
