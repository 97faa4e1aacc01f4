"""From the samples of a TIFF file to pixels of a slide: what is RGB, what are channels, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.color import eight_bit, sample_words
from napari_melanoma.io.slides.pictures import laid_over_white

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffPage

_RGB, _RGBA = 3, 4
_UNPACKED_BY_CODEC = (
    6,
    7,
    33007,
    34892,
    33003,
    33004,
    33005,
    34712,
)  # kinds of JPEG and JPEG 2000, which give RGB for YCbCr
_MINISWHITE, _MINISBLACK, _PHOTO_RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


@dataclass(frozen=True)
class Colours:
    """What pixels of a level are, and how they come out of the samples that a codec gives."""

    kind: Literal["brightfield", "fluorescence"]
    dtype: np.dtype
    convert: Callable[[NDArray], NDArray]


def colours_of(page: TiffPage) -> Colours:
    """Tell what the samples of a page are.

    Brightfield for RGB, YCbCr and palettes, which become 8-bit RGB; channels keep their 8 or 16 bits.
    """
    photometric, samples = int(page.photometric), page.samplesperpixel
    if photometric == _PALETTE and samples == 1:
        return _palette(page)
    packed_ycbcr = photometric == _YCBCR and int(page.compression) in _UNPACKED_BY_CODEC
    if (photometric == _PHOTO_RGB or packed_ycbcr) and samples in (_RGB, _RGBA) and page.dtype in ("u1", "u2"):
        return Colours("brightfield", np.dtype(np.uint8), lambda tile: _rgb(tile, page.bitspersample))
    if photometric in (_MINISWHITE, _MINISBLACK, _PHOTO_RGB) and page.dtype in ("u1", "u2"):
        inverted = photometric == _MINISWHITE
        return Colours("fluorescence", np.dtype(page.dtype), np.invert if inverted else _as_it_is)
    words = sample_words(np.dtype(page.dtype))
    raise UnreadableImage(
        f"has {words} ({samples} a pixel, color space {_words(page.photometric)}), but a slide is 8- or 16-bit RGB, "
        "or has channels of 8- or 16-bit integers. Convert it to an OME-TIFF of one of those."
    )


def _rgb(tile: NDArray, bits: int) -> NDArray[np.uint8]:
    """8-bit RGB of RGB or RGBA samples; what is transparent is laid over white."""
    return laid_over_white(eight_bit(tile, bits))


def _palette(page: TiffPage) -> Colours:
    """Colours looked up in the page's palette."""
    table = eight_bit(np.asarray(page.colormap)).T
    return Colours("brightfield", np.dtype(np.uint8), lambda tile: table[tile[..., 0]])


def _as_it_is(tile: NDArray) -> NDArray:
    """Leave samples as they are."""
    return tile


def _words(value: object) -> str:
    """Name of a value of a tag; its number where it has none."""
    return str(getattr(value, "name", value))
