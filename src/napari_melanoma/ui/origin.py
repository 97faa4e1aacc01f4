"""How a mask came about, so that undo brings back its model, options and provenance along with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_melanoma.analysis.refinement import smooth_probability
from napari_melanoma.workflows.lesion import band_of, remeasure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.region import RoiConfig
    from napari_melanoma.workflows.lesion import LesionOptions, LesionResult, ModelStamp

Point = tuple[int, int]


def threshold_of(model: ModelStamp, options: LesionOptions) -> float:
    """Say at which probability the lesion begins.

    In [0, 1].
    """
    return model.threshold if options.threshold is None else options.threshold


@dataclass(frozen=True)
class Origin:
    """How a mask came about: what a result says of it beside what is measured on it."""

    probability: NDArray[np.float32]
    model: ModelStamp
    options: LesionOptions
    chosen: Point | None
    corrected: bool
    provenance: dict[str, object]
    spread: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, result: LesionResult, chosen: Point | None) -> Origin:
        """Keep of a result what is needed to have it again."""
        known = (result.probability, result.model, result.options, chosen, result.corrected, result.provenance)
        return cls(*known, result.spread)

    def restore(self, result: LesionResult, mask: NDArray[np.bool_], roi: RoiConfig) -> LesionResult:
        """Make the result of the mask again.

        ``mask``: bool (row, column), the mask that came about so. With the model, options and provenance that belong to
        the mask.
        """
        smoothing, smoothed = self.options.refinement.smoothing, result.smoothed
        if self.probability is not result.probability or smoothing != result.options.refinement.smoothing:
            smoothed = smooth_probability(self.probability, self.options.refinement)
        options = self.options.model_copy(update={"roi": roi})
        base = replace(
            result,
            probability=self.probability,
            smoothed=smoothed,
            threshold=threshold_of(self.model, options),
            options=options,
            model=self.model,
            provenance=self.provenance,
            spread=self.spread,
        )
        restored = replace(remeasure(base, mask, options), corrected=self.corrected)
        if self.corrected:
            return restored
        band = band_of(restored.answer, mask, restored.threshold, options.refinement)
        return replace(restored, band=band)
