"""A metric of masks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.metrics.mask_metrics import mask_metric
from napari_melanoma.metrics.metric_table import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize


@mask_metric(
    Metric(
        "area_error",
        "area error",
        "difference of the areas, relative to that of the reference",
        "lower",
        limits=(0.0, math.inf),
    )
)
def area_error(mask: NDArray, reference: NDArray, pixel_size: PixelSize | None) -> float:
    """Relative difference of the areas of two masks, bool (row, column); not-a-number for an empty reference."""
    area = int(reference.sum())
    return abs(int(mask.sum()) - area) / area if area else math.nan
