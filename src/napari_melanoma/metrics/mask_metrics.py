"""All metrics of the masks of one lesion: those of this package, and those of plug-ins."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.plugins import Family, expect, expect_name
from napari_melanoma.metrics.metric_table import MASK_METRICS, METRIC_TABLE, Metric
from napari_melanoma.metrics.overlap import boundary_metrics, overlap_metrics

MaskFunction = Callable[["NDArray", "NDArray", "PixelSize | None"], float]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskMetric:
    """A metric of a plug-in.

    ``compute``: maps a mask and its reference, bool (row, column), and the pixel size, None if unknown, to the value;
    not-a-number where it is undefined.
    """

    spec: Metric
    compute: MaskFunction


def mask_metric(spec: Metric) -> Callable[[MaskFunction], MaskMetric]:
    """Make a metric of the decorated function, for evaluations of masks."""
    return partial(MaskMetric, spec)


def _convert(name: str, found: object) -> MaskMetric:
    metric = expect(found, MaskMetric, "a function with mask_metric of napari_melanoma.metrics.mask_metrics")
    expect_name(name, metric.spec.key)
    if name in METRIC_TABLE:
        raise ValueError(f"expected a new name, found that of the metric '{METRIC_TABLE[name].title}'")
    return metric


# The metrics of this package are computed together, as they share areas and borders.
METRICS: Family[MaskMetric] = Family("metrics", dict, _convert, lambda metric: metric.spec.title)


def list_mask_metrics() -> dict[str, Metric]:
    """Return the metrics of masks by key, those of plug-ins last."""
    return MASK_METRICS | {name: metric.spec for name, metric in METRICS.members.items()}


def find_metric(key: str) -> Metric:
    return METRIC_TABLE[key] if key in METRIC_TABLE else METRICS.members[key].spec


def measure_mask(mask: NDArray, reference: NDArray, pixel_size: PixelSize | None) -> dict[str, float]:
    """Compare a mask with its reference, both bool (row, column), by all metrics of this package and of plug-ins.

    A metric of a plug-in that raises an error is not-a-number, and the error is logged.
    """
    values = overlap_metrics(mask, reference) | boundary_metrics(mask, reference, pixel_size)
    for name, metric in METRICS.members.items():
        try:
            value = float(metric.compute(mask.copy(), reference.copy(), pixel_size))
        except Exception as error:  # whatever the code of a plug-in raises
            plugin = METRICS.find_plugin(name)
            log.warning("the metric %s of %s failed: %s", name, plugin and plugin.origin, error, exc_info=True)
            value = math.nan
        values[name] = value if math.isfinite(value) else math.nan
    return values
