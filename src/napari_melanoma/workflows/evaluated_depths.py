"""The depths that a classifier told of images, beside what was measured: figures, columns of tables, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.agreement import FEWEST
from napari_melanoma.analysis.depth_told import Depths, depth_figures, depths_told
from napari_melanoma.data.features.reading import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.inference.classification import Looked
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.workflows.evaluation import Figures
    from napari_melanoma.workflows.measuring_classes import Rows

FIGURES = ("depth_told", "depth_spread")  # on the network's scale: the depth, and the logarithm of its variance
COLUMNS = ("depth_said", "depth_low", "depth_high", "depth_mm")
TITLE = "Depth as it is told and as it was measured"


@dataclass(frozen=True, eq=False)
class EvaluatedDepths:
    """Depths of the images that could be measured, in their order.

    ``told``: in mm, with intervals. ``true_mm``: float64 (image,), NaN where the table says nothing.
    """

    told: Depths
    true_mm: NDArray[np.float64]

    def estimates(self, groups: Sequence[object], places: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """Measure some of them.

        ``places``: bool (image,): which are chosen; all by default. Returns as ``analysis.depth_told.MEASURES`` names
        them; empty where hardly any was measured.
        """
        chosen = np.ones(len(self.true_mm), bool) if places is None else places
        return depth_figures(Depths(*(each[chosen] for each in self.told)), self.true_mm[chosen], groups)

    def columns(self, place: int) -> dict[str, object]:
        """Give what is told of an image as cells of ``per_image.csv``.

        Returns ``COLUMNS`` to numbers in mm, "" where there is none.
        """
        numbers = (*(each[place] for each in self.told), self.true_mm[place])
        return {
            name: "" if np.isnan(number) else round(float(number), 4)
            for name, number in zip(COLUMNS, numbers, strict=True)
        }

    def draw(self, folder: Path) -> dict[str, str]:
        """Draw depths that were told over those that were measured, and their differences.

        Title to name of the file; empty where hardly any was measured.
        """
        from napari_melanoma.report.risk_figures import draw_depths

        known = ~np.isnan(self.true_mm)
        if known.sum() < FEWEST:
            return {}
        draw_depths({"": (self.told.mm[known], self.true_mm[known])}, folder / "depth.png")
        return {TITLE: "depth.png"}


def depth_values(looked: Looked) -> dict[str, float]:
    """Give what is kept of the depth of an image."""
    return {} if looked.depth is None else dict(zip(FIGURES, map(float, looked.depth), strict=False))


def depth_names(info: BundleInfo) -> tuple[str, ...]:
    """Name what is kept of the depth of an image.

    Returns ``FIGURES``; none of a bundle that tells no depth.
    """
    return FIGURES if info.config.classifier is not None and info.config.classifier.depth is not None else ()


def evaluated_depths(info: BundleInfo, figures: Figures, rows: Rows) -> EvaluatedDepths | None:
    """Put depths that were told beside those that were measured.

    Of ``figures.measured``; None of a model that tells no depth.
    """
    answer = info.config.classifier.depth if info.config.classifier else None
    if answer is None:
        return None
    places = figures.measured
    told = np.stack([figures.column(name)[places] for name in FIGURES], axis=1)
    told = told if not np.isnan(told[:, 1]).all() else told[:, :1]
    said: list[Mapping[str, str]] = [
        rows.get((sample.domain, sample.image_id), {}) for sample in (figures.samples[place] for place in places)
    ]
    return EvaluatedDepths(
        depths_told(told, answer), np.array([number_of(row.get(answer.column)) for row in said], np.float64)
    )
