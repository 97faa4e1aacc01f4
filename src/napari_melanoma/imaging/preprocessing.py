"""A photograph as a network sees it: preprocessing and the views of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import extract_roi
from napari_melanoma.io.thumbnails import fit_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.prediction_config import PreprocessingConfig, ViewConfig


def prepare_network_input(rgb: NDArray[np.uint8], side: int, config: PreprocessingConfig) -> NDArray[np.uint8]:
    """Prepare a photograph and fit it to the network's square.

    Hairs are sought, and the light is judged, in a square of ``config.working_size`` whatever ``side`` is: the images
    that are learnt from are kept at another size than those that are answered, and both must be treated alike. What is
    found there is done to the photograph at the larger of both sizes, so that no detail is lost.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``side``: of the square, in pixels. Returns uint8
    (side, side, channel).
    """
    if not config.is_on:
        return fit_input(rgb, side)
    if config.remove_hair:
        from napari_melanoma.imaging.hair import hair_mask, inpaint_hair

        hair = hair_mask(fit_input(rgb, config.working_size))
        rgb = inpaint_hair(fit_input(rgb, max(side, config.working_size)), hair)
    square = fit_input(rgb, side)
    if config.color_constancy:
        from napari_melanoma.imaging.color import illuminant_gains, scale_channels

        square = scale_channels(square, illuminant_gains(fit_input(rgb, config.working_size), config.grey_power))
    return square


@dataclass(frozen=True)
class ClassifierView:
    """What is seen, uint8 (side, side, channel=3), and which box of the photograph it was made from.

    The box may reach outside the photograph where the lesion is longer than its shorter side; what lies there is black.
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
    """Cut out what a classifier looks at, and fit it to its square.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``mask``: bool (row, column): the lesion. Not
    looked at where the view is the whole photograph. ``side``: of the square, in pixels. None where there is no lesion
    to cut around.
    """
    if view.region == "photograph":
        return ClassifierView(Box(0, 0, rgb.shape[0], rgb.shape[1]), prepare_network_input(rgb, side, preprocessing))
    if mask is None:
        return None
    cut_at = max(side, preprocessing.working_size) if preprocessing.is_on else side
    roi = extract_roi(rgb, mask, view.roi(cut_at))
    return None if roi is None else ClassifierView(roi.box, prepare_network_input(roi.image, side, preprocessing))
