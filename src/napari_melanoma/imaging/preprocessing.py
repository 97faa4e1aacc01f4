"""Prepare an image for a network: preprocessing, and the view of a classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import bounding_box, extract_roi
from napari_melanoma.io.thumbnails import fit_input

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import PreprocessingConfig, StainMethod, ViewConfig

# Test-time augmentation, as lesions have no orientation: the eight views of a square, each by whether rows and columns
# are exchanged, and the axes that are flipped afterwards. The first one is the image itself.
VIEWS: tuple[tuple[bool, tuple[int, ...]], ...] = tuple(
    (transposed, axes) for transposed in (False, True) for axes in ((), (-2,), (-1,), (-2, -1))
)
TURNED = tuple(VIEWS[number] for number in (0, 6, 3, 5))  # those that are not mirrored


def select_views(count: int) -> tuple[tuple[bool, tuple[int, ...]], ...]:
    """Return so many of the ``VIEWS``: 1: the image itself; 4: turned by quarter turns; 8: mirrored, too."""
    return {1: VIEWS[:1], len(TURNED): TURNED, len(VIEWS): VIEWS}[count]


def turn_back(maps: NDArray[Any], view: tuple[bool, tuple[int, ...]]) -> NDArray[Any]:
    """Return a map of one of the ``VIEWS``, (..., row, column), in the orientation of the image."""
    transposed, axes = view
    flipped = np.flip(maps, axes)
    return flipped.swapaxes(-2, -1) if transposed else flipped


def prepare_network_input(rgb: NDArray[np.uint8], side: int, config: PreprocessingConfig) -> NDArray[np.uint8]:
    """Preprocess an image and scale it to the network's square.

    Hairs are detected, and light and stain are estimated, in a square of ``config.working_size`` instead of ``side``:
    training images may be cached at another size, and must be treated like images for predictions. Hair is removed and
    stain normalized at the larger of both sizes, so that no detail is lost.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``side``: of the square, in pixels. Returns uint8
    (side, side, channel).
    """
    if not config.is_on:
        return fit_input(rgb, side)
    if config.remove_hair:
        from napari_melanoma.imaging.hair import hair_mask, inpaint_hair

        hair = hair_mask(fit_input(rgb, config.working_size))
        rgb = inpaint_hair(fit_input(rgb, max(side, config.working_size)), hair)
    # Stain methods are not linear: applied to a smaller image, they would give other colors.
    stain_side = side if config.stain == "none" else max(side, config.working_size)
    square = fit_input(rgb, stain_side)
    if config.color_constancy:
        from napari_melanoma.imaging.color import illuminant_gains, scale_channels

        square = scale_channels(square, illuminant_gains(fit_input(rgb, config.working_size), config.grey_power))
    if config.stain != "none":
        square = fit_input(_normalize_stain(square, fit_input(square, config.working_size), config.stain), side)
    return square


def _normalize_stain(square: NDArray[np.uint8], sample: NDArray[np.uint8], method: StainMethod) -> NDArray[np.uint8]:
    """Normalize the colors of a patch by its own tissue; a patch with too little tissue is unchanged."""
    from napari_melanoma.imaging.stain import StainConfig, fit_stain, normalize_stain_exact

    try:
        fit = fit_stain(sample, StainConfig(method=method))
    except InputError:
        return square
    return np.rint(normalize_stain_exact(square, fit)).astype(np.uint8)


@dataclass(frozen=True)
class ClassifierView:
    """The input of a classifier, uint8 (side, side, channel=3), and its box in the photograph.

    The box extends outside the photograph if the lesion is longer than the photograph's shorter side; pixels there are
    black.
    """

    box: Box
    image: NDArray[np.uint8]


def crop_view(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    view: ViewConfig,
    side: int,
    preprocessing: PreprocessingConfig,
) -> ClassifierView | None:
    """Crop a photograph to the view of a classifier, and scale it to the network's square.

    The black around a photograph (``find_picture``) is left out, as far as no lesion is drawn there.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``mask``: bool (row, column), the lesion; not used
    if the view is the whole photograph. ``side``: of the square, in pixels. Returns None without a lesion.
    """
    from napari_melanoma.imaging.color import find_picture

    picture = find_picture(rgb)
    if view.region == "photograph":
        return ClassifierView(picture, prepare_network_input(rgb[picture.slices], side, preprocessing))
    lesion = None if mask is None else bounding_box(mask)
    if mask is None or lesion is None:
        return None
    part = picture.united(lesion)
    roi_side = max(side, preprocessing.working_size) if preprocessing.is_on else side
    roi = extract_roi(rgb[part.slices], mask[part.slices], view.roi(roi_side))
    assert roi is not None  # as there is a lesion
    box = replace(roi.box, top=roi.box.top + part.top, left=roi.box.left + part.left)
    return ClassifierView(box, prepare_network_input(roi.image, side, preprocessing))
