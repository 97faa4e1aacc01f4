"""How the area of lesions goes with their probability (P3): Spearman's rank correlation with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from napari_melanoma.analysis.resampling import bootstrap_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.statistics import Estimate

FEWEST = 3  # lesions; of two the rank correlation is always 1, -1 or none


class MeasuredLesion(Protocol):
    """What is needed of a lesion, measured now or read from a table."""

    @property
    def area_px(self) -> float:
        """In pixels of the finest level."""

    @property
    def area_mm2(self) -> float | None:
        """None where the slide has no scale."""

    @property
    def probability(self) -> float:
        """That it is malignant; not-a-number where the model was not asked."""


Measured = TypeVar("Measured", bound=MeasuredLesion)


def with_both(lesions: Sequence[Measured]) -> list[Measured]:
    """Leave out lesions without a probability, such as those drawn where no tile was analysed.

    Returns the others, in their order.
    """
    return [lesion for lesion in lesions if np.isfinite(lesion.probability)]


def area_and_probability(
    lesions: Sequence[MeasuredLesion], slides: Sequence[str] | None = None, *, seed: int = 0
) -> Estimate | None:
    """Spearman's correlation of area and probability with a 95 % bootstrap interval.

    ``lesions``: of one slide or of many; those without a probability do not count. In square millimetres where all have
    a scale, else in pixels. None where there are fewer than three lesions; NaN where all areas or all probabilities are
    alike.
    """
    names = [str(number) for number in range(len(lesions))] if slides is None else list(slides)
    known = [place for place, lesion in enumerate(lesions) if np.isfinite(lesion.probability)]
    lesions, names = [lesions[place] for place in known], [names[place] for place in known]
    if len(lesions) < FEWEST:
        return None
    in_mm2 = all(lesion.area_mm2 is not None for lesion in lesions)
    areas = np.array([lesion.area_mm2 if in_mm2 else lesion.area_px for lesion in lesions], np.float64)
    probabilities = np.array([lesion.probability for lesion in lesions])
    return bootstrap_figure(lambda times: spearman(areas, probabilities, times), names, seed=seed, bounds=(-1.0, 1.0))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    """Spearman's rank correlation, ties at their mean rank, of values that may count several times.

    From -1 to 1; NaN where either does not vary.
    """
    times = np.ones(len(x)) if weights is None else weights
    ranks = [_mean_ranks(values, times) for values in (x, y)]
    away = [rank - np.average(rank, weights=times) for rank in ranks]
    spread = np.sqrt([(times * one**2).sum() for one in away]).prod()
    return float((times * away[0] * away[1]).sum() / spread) if spread > 0 else float("nan")


def _mean_ranks(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each value where each stands as often as it counts, equal ones at the middle of their ranks."""
    _, index = np.unique(values, return_inverse=True)
    counts = np.bincount(index, weights=times)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]
