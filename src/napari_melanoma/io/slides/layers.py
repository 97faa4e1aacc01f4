"""A slide as layers of napari: multiscale, in micrometres where the scale is known, channels by themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.io.slides.arrays import LevelArray
from napari_melanoma.io.slides.pictures import channel_colour, limits

if TYPE_CHECKING:
    from napari_melanoma.io.slides.tiled import TiledSlide

SlideLayer = tuple[list[LevelArray], dict[str, Any], str]

_WORTH_CUTTING = 0.95  # share of the slide below which only the part that was scanned is shown


def slide_layers(slide: TiledSlide) -> list[SlideLayer]:
    """Make the layers of an open slide.

    Only the part that was scanned is shown, where the scanner says which; ``translate`` puts it to its place, so that
    a pixel of level 0 always lies at its row and column times the pixel size.

    Returns (levels, keywords, ``"image"``): one RGB layer, or one for each channel of fluorescence, in its colour and
    added to the others. The keywords' metadata holds ``napari_melanoma`` with ``role`` ``"slide"``, ``path``, ``info``
    (``SlideInfo``), ``slide`` (open), ``pixel_size``, ``warnings`` and ``given_scale`` to tell whose it is.
    """
    boxes = _shown(slide)
    keywords = _keywords(slide, boxes[0])
    if slide.info.kind == "brightfield":
        levels = [LevelArray(slide, index, box) for index, box in enumerate(boxes)]
        return [(levels, {**keywords, "name": slide.info.name, "rgb": True, "contrast_limits": (0, 255)}, "image")]
    return [_channel_layer(slide, boxes, keywords, channel) for channel in range(len(slide.info.channels))]


def _channel_layer(slide: TiledSlide, boxes: list[Box], keywords: dict[str, Any], channel: int) -> SlideLayer:
    """One channel of fluorescence."""
    from napari.utils.colormaps import Colormap

    levels = [LevelArray(slide, index, box, channel) for index, box in enumerate(boxes)]
    name = slide.info.channels[channel]
    colour = np.array([(0, 0, 0, 255), (*channel_colour(channel, slide.info.colours), 255)]) / 255
    grey = slide.info.channels == ("grey",)
    of_channel = {
        "name": f"{slide.info.name} {name}",
        "rgb": False,
        "colormap": "gray" if grey else Colormap(colour, name=f"{name} {_hexadecimal(colour[1])}"),
        "blending": "additive",
        "contrast_limits": limits(np.asarray(levels[-1])),
    }
    return levels, {**keywords, **of_channel}, "image"


def _keywords(slide: TiledSlide, box: Box) -> dict[str, Any]:
    """What all layers of a slide have in common."""
    info = slide.info
    about = {
        "role": "slide",
        "path": str(info.path.absolute()),
        "info": info,
        "slide": slide,
        "pixel_size": info.pixel_size,
        "warnings": info.warnings,
    }
    shown: dict[str, Any] = {"multiscale": True, "metadata": {"napari_melanoma": about}}
    size = info.pixel_size
    if size is None:
        return {**shown, "translate": (box.top, box.left)}
    place = (box.top * size.y_um, box.left * size.x_um)
    return {**shown, "scale": (size.y_um, size.x_um), "units": ("um", "um"), "translate": place}


def _shown(slide: TiledSlide) -> list[Box]:
    """What of each level is shown: all, or what was scanned, from pixels on that all levels share."""
    info = slide.info
    full, bounds = info.levels[0], info.bounds
    whole = [Box(0, 0, level.height, level.width) for level in info.levels]
    if bounds is None or bounds.height * bounds.width > _WORTH_CUTTING * full.height * full.width:
        return whole
    step = max(1, round(info.levels[-1].downsample))
    top, left = max(bounds.top, 0) // step * step, max(bounds.left, 0) // step * step
    bottom, right = min(bounds.top + bounds.height, full.height), min(bounds.left + bounds.width, full.width)
    return [_box_at(level.downsample, (top, left, bottom, right), (level.height, level.width)) for level in info.levels]


def _box_at(downsample: float, edges: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """A box of level 0 in pixels of a level."""
    top, left = round(edges[0] / downsample), round(edges[1] / downsample)
    bottom, right = (min(math.ceil(edge / downsample), side) for edge, side in zip(edges[2:], size, strict=True))
    return Box(top, left, max(bottom - top, 1), max(right - left, 1))


def _hexadecimal(colour: np.ndarray) -> str:
    """A colour as ``#00ff00``; makes the name of a colour map its own."""
    return "#" + "".join(f"{round(255 * value):02x}" for value in colour[:3])
