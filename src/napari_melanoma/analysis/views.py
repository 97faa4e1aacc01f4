"""What a classifier sees of a photograph: the one way there, in learning, in measuring and in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.analysis.roi import extract_roi
from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.preprocessing import PreprocessingConfig
    from napari_melanoma.core.region import ViewConfig


@dataclass(frozen=True)
class View:
    """What is seen, uint8 (side, side, channel=3), and which box of the photograph it was made from.

    The box may reach outside the photograph where the lesion is longer than its shorter side; what lies there is black.
    """

    box: Box
    image: NDArray[np.uint8]


def view_of(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    view: ViewConfig,
    side: int,
    preprocessing: PreprocessingConfig,
) -> View | None:
    """Cut out what a classifier looks at, and fit it to its square.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``mask``: bool (row, column): the lesion. Not
    looked at where the view is the whole photograph. ``side``: of the square, in pixels. None where there is no lesion
    to cut around.
    """
    if view.region == "photograph":
        return View(Box(0, 0, rgb.shape[0], rgb.shape[1]), network_input(rgb, side, preprocessing))
    if mask is None:
        return None
    cut_at = max(side, preprocessing.working_size) if preprocessing.is_on else side
    roi = extract_roi(rgb, mask, view.roi(cut_at))
    return None if roi is None else View(roi.box, network_input(roi.image, side, preprocessing))
