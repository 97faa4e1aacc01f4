"""Colors and colormaps of the layers of a slide: the channels of a fluorescence slide, and maps above the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.io.geojson import Color
from napari_melanoma.slides.reading.layers import LevelArray, make_colormap

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.colormaps import Colormap


def get_channel_name(layer: Image) -> str:
    """Return the name of a layer's channel, with its number if several channels have the same name."""
    level: LevelArray = layer.data[0]
    assert level.channel is not None
    names = level.slide.info.channels
    name = names[level.channel]
    return name if names.count(name) == 1 else f"{level.channel + 1} {name}"


def get_channel_color(layer: Image) -> Color | None:
    """Return the 8-bit RGB color of a channel; None for a colormap with several colors, such as viridis."""
    black, middle, color = layer.colormap.map(np.array([0.0, 0.5, 1.0]))[:, :3]
    if black.any() or not np.allclose(2 * middle, color, atol=0.02):
        return None
    red, green, blue = (round(255 * float(value)) for value in color)
    return red, green, blue


def get_channel_colormap(layer: Image) -> str:
    """Return the name of a channel's colormap, to restore it later; empty for a single color.

    Also empty for a colormap that is not among napari's own: another colormap could have the same name later.
    """
    from napari.utils.colormaps import ALL_COLORMAPS

    name = str(layer.colormap.name)
    return name if name in ALL_COLORMAPS and get_channel_color(layer) is None else ""


def set_channel_colormap(layer: Image, name: str) -> bool:
    """Display a channel in one of napari's colormaps; return whether this version of napari has it."""
    from napari.utils.colormaps import ALL_COLORMAPS

    if name in ALL_COLORMAPS:
        layer.colormap = name
    return name in ALL_COLORMAPS


def set_channel_color(layer: Image, color: Color) -> None:
    """Display a channel in a color (8-bit RGB)."""
    if get_channel_color(layer) != color:
        layer.colormap = make_colormap(get_channel_name(layer), color)


def transparent_colormap_name(name: str) -> str:
    """Return the name of the transparent version of a colormap; napari identifies colormaps by their names.

    A longer one than those of napari would widen its layer controls.
    """
    return f"{name}, clear"


def make_transparent_colormap(name: str) -> Colormap:
    """Return a version of a colormap in which low values are transparent, so that the tissue is visible there."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    steps = np.linspace(0, 1, 65)
    colors = np.array(ensure_colormap(name).map(steps))
    colors[:, 3] = np.clip(2 * steps, 0, 1)
    return Colormap(colors, name=transparent_colormap_name(name), display_name=transparent_colormap_name(name))
