"""Read slides with fastslide: Zeiss CZI that OpenSlide does not support, Olympus VSI and Philips iSyntax."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.packages import is_installed
from napari_melanoma.privacy.personal_data import filter_private_properties
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.slide import SlideInfo, SlideKind, override_pixel_size, validate_scale
from napari_melanoma.slides.reading.tiff import DARK_LEVEL
from napari_melanoma.slides.reading.tiled import SlideExtras, TiledSlide, TileSource, describe_levels, fill_pyramid

if TYPE_CHECKING:
    from fastslide import FastSlide, Image


FORMATS = {
    ".czi": "Zeiss CZI",
    ".vsi": "Olympus VSI",
    ".isyntax": "Philips iSyntax",
    ".i2syntax": "Philips iSyntax",
}
TILE_PX = 512
SAMPLE_PX = 256
INSTALL = 'Install its reader: pip install "napari-melanoma[formats]".'
DAMAGE_NOTE = "the reader of this format shows damaged or missing parts as background, without a message."


class FastSlideSource(TileSource):
    """One level read with fastslide."""

    def __init__(self, slide: FastSlide, level: int) -> None:
        width, height = slide.level_dimensions[level]
        super().__init__(height, width, TILE_PX, TILE_PX)
        self._slide, self._level = slide, level

    def read_tile(self, row: int, column: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Read one tile, (row, column, channel)."""
        height, width = self.size_of(row, column)
        corner = (column * self.tile_width, row * self.tile_height)
        return _to_array(self._slide.read_region(corner, self._level, (width, height)))


def open_with_fastslide(path: Path, pixel_size: PixelSize | None = None, reason: str = "") -> TiledSlide:
    """Open a slide with fastslide.

    ``pixel_size``: that of level 0, set by the user, which takes precedence over that in the file. ``reason``: why
    another library cannot open it. The caller closes the slide. Raises ``UnreadableImage``, also without fastslide.
    """
    if not is_installed("fastslide"):
        cause = f" ({reason})" if reason else ""
        raise UnreadableImage(
            f"{path.name} is a {FORMATS[path.suffix.lower()]} file that no installed library can read{cause}. {INSTALL}"
        )
    from fastslide import FastSlide

    try:
        return _build_slide(path, FastSlide.from_file_path(path), pixel_size)
    except (RuntimeError, ValueError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableImage(
            f"{path.name} cannot be opened as a slide with fastslide: "
            f"{shorten(first_line.rpartition(': ')[2], width=160, placeholder=' ...')}. It is truncated or damaged, or "
            "files that belong to it are missing. Copy it again with all its files."
        ) from error


def _build_slide(path: Path, slide: FastSlide, given: PixelSize | None) -> TiledSlide:
    sources = fill_pyramid([FastSlideSource(slide, level) for level in range(slide.level_count)])
    kind = _detect_kind(slide)
    brightfield = kind == "brightfield"
    x_um, y_um = (float(value) or None for value in slide.mpp)  # 0 if the file states none
    properties = {name: str(value) for name, value in slide.properties.items()}
    power = float(slide.properties.get("objective_magnification") or 0) or None
    scale = override_pixel_size(validate_scale(y_um, x_um, power, fine_camera=path.suffix.lower() == ".czi"), given)
    planes = slide.z_count * slide.t_count
    omitted = (f"the first of {planes} focal planes or times is shown.",) if planes > 1 else ()
    info = SlideInfo(
        path=path,
        name=path.stem,
        format=FORMATS.get(path.suffix.lower(), slide.format),
        levels=describe_levels(sources),
        pixel_size=scale.pixel_size,
        magnification=scale.magnification,
        kind=kind,
        channels=("red", "green", "blue") if brightfield else _channel_names(slide),
        colors=() if brightfield else _channel_colors(slide),
        properties=filter_private_properties(properties),
        associated=tuple(slide.associated_images.keys()),
        has_profile=slide.icc_profile is not None,
        warnings=(*scale.warnings, *omitted, DAMAGE_NOTE),
        scale_warnings=scale.warnings,
        fingerprint=slide_fingerprint(path),
    )
    extras = SlideExtras(
        lambda: slide.icc_profile,
        slide.close,
        lambda name: np.asarray(_to_array(slide.associated_images[name])[..., :3], np.uint8),
    )
    return TiledSlide(info, [level for level, _ in sources], np.dtype(slide.dtype), extras)


def _to_array(image: Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of an image, (row, column, channel)."""
    pixels = np.asarray(image.to_interleaved().numpy())
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _detect_kind(slide: FastSlide) -> SlideKind:
    """Detect whether a slide is brightfield: three channels of 8 bits, light in the middle of the coarsest level."""
    if slide.num_channels != 3 or slide.dtype != "uint8":
        return "fluorescence"
    width, height = slide.level_dimensions[-1]
    size = min(width, SAMPLE_PX), min(height, SAMPLE_PX)
    corner = (width - size[0]) // 2, (height - size[1]) // 2
    pixels = _to_array(slide.read_region(corner, slide.level_count - 1, size))
    return "brightfield" if np.median(pixels.max(axis=2)) >= DARK_LEVEL else "fluorescence"


def _channel_names(slide: FastSlide) -> tuple[str, ...]:
    names = [str(channel.get("name") or "") for channel in slide.channel_metadata]
    return tuple(name or f"channel {number}" for number, name in enumerate(names, start=1))


def _channel_colors(slide: FastSlide) -> tuple[tuple[int, int, int], ...]:
    """Return the colors of the channels; empty if the file states none, which reads as black."""
    colors = tuple(tuple(int(value) for value in channel["color"]) for channel in slide.channel_metadata)
    return colors if all(any(color) for color in colors) else ()  # type: ignore[return-value]
