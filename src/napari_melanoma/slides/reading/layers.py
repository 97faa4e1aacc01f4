"""Display a slide as napari layers: multiscale arrays that are read tile by tile."""

from __future__ import annotations

import math
import operator
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.samples.catalog import find_credit
from napari_melanoma.slides.reading.slide import channel_color, contrast_limits

if TYPE_CHECKING:
    from napari.utils.colormaps import Colormap

    from napari_melanoma.slides.reading.tiled import TiledSlide


MAX_COLORED_PIXELS = 1 << 25  # larger requests are not cached; as scanned and displayed, this takes 200 MB
MAX_SCANNED_SHARE = 0.95  # of the slide: if the scanned part is smaller, only this part is shown

SlideLayer = tuple[list["LevelArray"], dict[str, Any], str]  # levels, keywords and type of a napari layer


class _ColoredTile(NamedTuple):
    """A tile as scanned, and as displayed with some colors; uint8 (row, column, channel=3)."""

    colors: DisplayColors
    scan: NDArray[np.uint8]
    shown: NDArray[np.uint8]


class LevelArray:
    """One level of a slide, or a box of it, as an array that napari can display; damaged tiles are shown as stripes.

    ``box``: in pixels of the level; the whole level by default. ``channel``: index of a fluorescence channel, so that
    the array is (row, column); without it, (row, column, channel).
    """

    def __init__(self, slide: TiledSlide, level: int, box: Box | None = None, channel: int | None = None) -> None:
        size = slide.info.levels[level]
        self.slide, self.level, self.channel = slide, level, channel
        self._colors = DisplayColors()
        self._colored: dict[tuple[int, int], _ColoredTile] = {}  # tiles of the last request, by row and column
        self.box = box or Box(0, 0, size.height, size.width)
        source, number = slide.sources[level], len(slide.info.channels)
        self.dtype = slide.dtype
        self.shape: tuple[int, ...] = (self.box.height, self.box.width)
        self.chunks: tuple[int, ...] = (source.tile_height, source.tile_width)
        if channel is None:
            self.shape, self.chunks = (*self.shape, number), (*self.chunks, number)

    @property
    def colors(self) -> DisplayColors:
        """How brightfield is displayed; may be set at any time."""
        return self._colors

    @colors.setter
    def colors(self, colors: DisplayColors) -> None:
        if colors != self._colors:
            self._colors, self._colored = colors, {}

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Size of the whole level in bytes."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray:  # noqa: ANN401 - any index of numpy
        """Read slices and integer positions; only the box around them is decoded."""
        row_key, column_key, *rest = _expand_index(key, self.ndim)
        top, bottom, rows = _span(row_key, self.shape[0])
        left, right, columns = _span(column_key, self.shape[1])
        box = Box(self.box.top + top, self.box.left + left, bottom - top, right - left)
        colors = self.colors  # once: they may be changed while this thread reads
        pixels = self.slide.read_for_display(self.level, box)
        if self.channel is not None:
            pixels = pixels[..., self.channel]
        elif not colors.is_default:
            pixels = self._apply_colors(box, pixels, colors)
        return pixels[(rows, columns, *rest)]

    def _apply_colors(self, box: Box, scan: NDArray[np.uint8], colors: DisplayColors) -> NDArray[np.uint8]:
        """Convert scanned to displayed colors; tiles of the last request are cached, for views that are moved."""
        height, width = self.chunks[:2]
        rows = range(box.top // height, math.ceil((box.top + box.height) / height))
        columns = range(box.left // width, math.ceil((box.left + box.width) / width))
        cached, colored = self._colored, {}
        is_cached = box.height * box.width <= MAX_COLORED_PIXELS
        shown = np.empty_like(scan)
        for row, column in product(rows, columns):
            top, left = row * height - box.top, column * width - box.left
            part = slice(max(0, top), top + height), slice(max(0, left), left + width)
            tile = cached.get((row, column))
            if tile is None or tile.colors != colors or not np.array_equal(tile.scan, scan[part]):
                tile = _ColoredTile(colors, scan[part].copy(), colors.apply(scan[part]))
            if is_cached:
                colored[row, column] = tile
            shown[part] = tile.shown
        if colors == self.colors:
            self._colored = colored
        return shown

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        """Read the whole level; intended for the coarsest level."""
        pixels = self[...]
        return pixels if dtype is None else pixels.astype(dtype, copy=False)


def _expand_index(key: Any, ndim: int) -> tuple[Any, ...]:  # noqa: ANN401 - any index of numpy
    """Return an index for each axis, without ellipsis."""
    keys = key if isinstance(key, tuple) else (key,)
    if Ellipsis not in keys:
        keys = (*keys, Ellipsis)
    before = keys.index(Ellipsis)
    fill = (slice(None),) * (ndim - len(keys) + 1)
    return (*keys[:before], *fill, *keys[before + 1 :])


def _span(key: Any, length: int) -> tuple[int, int, int | slice]:  # noqa: ANN401 - a slice or an integer
    """Return the first pixel of an index, the end after the last one, and the index relative to the first."""
    if isinstance(key, slice):
        chosen = range(length)[key]
        if chosen.step < 0:
            raise IndexError("levels of a slide support positive steps only")
        return (chosen[0], chosen[-1] + 1, slice(None, None, chosen.step)) if chosen else (0, 0, slice(None))
    index = range(length)[operator.index(key)]
    return index, index + 1, 0


def make_slide_layers(slide: TiledSlide) -> list[SlideLayer]:
    """Make the layers of an open slide: one RGB layer, or one for each fluorescence channel.

    If the file states the scanned part, only this part is shown; ``translate`` sets its position, so that a pixel of
    level 0 is always at its row and column times the pixel size.

    The metadata of a layer has a key ``napari_melanoma`` with ``role`` (``"slide"``), ``path``, ``info``
    (``SlideInfo``), ``slide`` (open), ``pixel_size``, ``warnings`` and ``credit`` (the attribution; empty if none is
    required).
    """
    boxes = _shown_boxes(slide)
    keywords = _layer_keywords(slide, boxes[0])
    if slide.info.kind == "brightfield":
        levels = [LevelArray(slide, index, box) for index, box in enumerate(boxes)]
        return [(levels, {**keywords, "name": slide.info.name, "rgb": True, "contrast_limits": (0, 255)}, "image")]
    return [_channel_layer(slide, boxes, keywords, channel) for channel in range(len(slide.info.channels))]


def _channel_layer(slide: TiledSlide, boxes: list[Box], keywords: dict[str, Any], channel: int) -> SlideLayer:
    """Make the layer of a fluorescence channel; ``keywords``: those shared by all layers of the slide."""
    levels = [LevelArray(slide, index, box, channel) for index, box in enumerate(boxes)]
    name = slide.info.channels[channel]
    is_gray = slide.info.channels == ("gray",)
    channel_keywords = {
        "name": f"{slide.info.name} {name}",
        "rgb": False,
        "colormap": "gray" if is_gray else make_colormap(name, channel_color(channel, slide.info.colors)),
        "blending": "additive",
        "contrast_limits": contrast_limits(np.asarray(levels[-1])),
    }
    return levels, {**keywords, **channel_keywords}, "image"


def make_colormap(name: str, color: tuple[int, int, int]) -> Colormap:
    """Return napari's colormap of a channel, from black to an 8-bit RGB color."""
    from napari.utils.colormaps import Colormap

    colors = np.array([(0, 0, 0, 255), (*color, 255)]) / 255
    return Colormap(colors, name=f"{name} #{bytes(color).hex()}")  # unique for each color


def _layer_keywords(slide: TiledSlide, box: Box) -> dict[str, Any]:
    """Return the keywords shared by all layers of a slide; ``box``: the shown part in pixels of level 0."""
    info = slide.info
    metadata = {
        "role": "slide",
        "path": str(info.path.absolute()),
        "info": info,
        "slide": slide,
        "pixel_size": info.pixel_size,
        "warnings": info.warnings,
        "credit": find_credit(info.path),
    }
    keywords: dict[str, Any] = {"multiscale": True, "metadata": {"napari_melanoma": metadata}}
    size = info.pixel_size
    if size is None:
        return {**keywords, "translate": (box.top, box.left)}
    translate = (box.top * size.y_um, box.left * size.x_um)
    return {**keywords, "scale": (size.y_um, size.x_um), "units": ("um", "um"), "translate": translate}


def _shown_boxes(slide: TiledSlide) -> list[Box]:
    """Return the shown box of each level: all of it, or the scanned part, aligned to pixels of the coarsest level."""
    info = slide.info
    full, bounds = info.levels[0], info.bounds
    whole = [Box(0, 0, level.height, level.width) for level in info.levels]
    if bounds is None or bounds.height * bounds.width > MAX_SCANNED_SHARE * full.height * full.width:
        return whole
    step = max(1, round(info.levels[-1].downsample))
    top, left = max(bounds.top, 0) // step * step, max(bounds.left, 0) // step * step
    bottom, right = min(bounds.top + bounds.height, full.height), min(bounds.left + bounds.width, full.width)
    return [_box_at(level.downsample, (top, left, bottom, right), (level.height, level.width)) for level in info.levels]


def _box_at(downsample: float, edges: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """Convert edges (top, left, bottom, right) in pixels of level 0 to a box of a level with a height and width."""
    top, left = round(edges[0] / downsample), round(edges[1] / downsample)
    bottom, right = (min(math.ceil(edge / downsample), side) for edge, side in zip(edges[2:], size, strict=True))
    return Box(top, left, max(bottom - top, 1), max(right - left, 1))
