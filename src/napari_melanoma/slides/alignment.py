"""Registration of two slides, such as serial sections with different stains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.registration import Registration, register_images
from napari_melanoma.imaging.stain import optical_density
from napari_melanoma.slides.reading.slide import Slide

THUMBNAIL_PX = 1500
GLASS_DENSITY = 0.04  # optical density up to which a pixel is glass
# Relative scales to try for slides without pixel sizes.
UNKNOWN_SCALES = tuple(float(scale) for scale in np.geomspace(0.25, 4.0, 9))


def register_slides(
    first: Slide, second: Slide, first_size: PixelSize | None, second_size: PixelSize | None
) -> Registration:
    """Register the second slide to the first by their tissue at low resolution; takes some seconds.

    ``first_size``, ``second_size``: the pixel sizes in use, from the file or set by the user.

    Positions of the registration are (y, x) in µm from the outer corner of the first pixel, or in pixels of the finest
    level if neither slide has a scale. Raises InputError if only one slide has a scale, and MelanomaError if the slides
    do not match.
    """
    if (first_size is None) != (second_size is None):
        unscaled = first if first_size is None else second
        raise InputError(f"{unscaled.info.name} has no scale, the other slide has one. Set its scale first.")
    scales = (1.0,) if first_size is not None else UNKNOWN_SCALES
    (fixed, fixed_um), (moving, moving_um) = _read_tissue(first, first_size), _read_tissue(second, second_size)
    return register_images(fixed, moving, fixed_um, moving_um, scales=scales)


def _read_tissue(slide: Slide, size: PixelSize | None) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Read an image of the amount of tissue (row, column), and the height and width of its pixels in µm, or pixels."""
    thumbnail, _ = slide.thumbnail_around_damage(THUMBNAIL_PX)
    if slide.info.kind == "brightfield":
        amount = optical_density(thumbnail).mean(axis=-1) - GLASS_DENSITY
    else:
        amount = thumbnail.mean(axis=-1) / 255
    full = slide.info.levels[0]
    um = (1.0, 1.0) if size is None else (size.y_um, size.x_um)
    rows, columns = amount.shape
    return amount.clip(0).astype(np.float32), (um[0] * full.height / rows, um[1] * full.width / columns)
