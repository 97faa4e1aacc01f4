"""How a mask and all that follows from it become others, off the GUI thread; knows neither Qt nor layers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.lesion.state import Change, Lesion
from napari_melanoma.ui.origin import Point, threshold_of
from napari_melanoma.workflows.lesion import LesionOptions, LesionResult, band_of, derive, remeasure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize

BAND_ROWS = 128


def drawn(result: LesionResult, mask: NDArray[np.bool_]) -> LesionResult:
    """Give the result for a mask that was drawn by hand.

    ``mask``: bool (row, column). Marked as corrected where the mask is another one.
    """
    corrected = result.corrected or bool((mask != result.mask).any())
    return replace(remeasure(result, mask, result.options), corrected=corrected)


def replacement(
    identity: str,
    result: LesionResult,
    before: NDArray[np.uint8],
    chosen: Point | None,
    allowed: Collection[str] | None,
) -> Change:
    """Prepare that a result takes the place of a mask.

    ``before``: uint8 (row, column), a copy of the mask as it is. With the pixels that differ; outdated where the mask
    may not be replaced.
    """
    mask = before != 0
    if allowed is not None and fingerprint(mask) not in allowed:
        return Change(identity, outdated=True)
    return Change(identity, result, None, fingerprint(result.mask), chosen, before, _where(mask != result.mask))


def _where(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Do what ``numpy.nonzero`` does, in bands: as a whole it would hold Python, and the window, for 60 ms."""
    import numpy as np

    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [found[0] + BAND_ROWS * index for index, found in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([found[1] for found in bands])


def again(identity: str, lesion: Lesion, options: LesionOptions, pixel_size: PixelSize | None) -> Change:
    """Crop and measure the same mask anew, after the scale or the options of the region changed."""
    result = lesion.result
    scaled = replace(result, photograph=replace(result.photograph, pixel_size=pixel_size))
    measured = replace(remeasure(scaled, result.mask, options), corrected=result.corrected)
    return Change(identity, measured, None, lesion.digest, lesion.chosen)


def by_strokes(result: LesionResult, before: NDArray[np.uint8], strokes: NDArray[np.uint8]) -> LesionResult:
    """Redraw the border from strokes inside (1) and outside (2).

    ``before``: uint8 (row, column), a copy of the mask as it is. ``strokes``: uint8 (row, column).
    """
    from napari_melanoma.analysis.scribbles import redraw

    return drawn(result, redraw(result.probability, result.photograph.rgb, before != 0, strokes))


def follow(lesion: Lesion, identity: str, mask: NDArray[np.bool_], options: LesionOptions) -> Change | None:
    """Let everything follow a mask that may have been drawn on, or brought back by undo.

    ``mask``: bool (row, column), a copy of the mask as it is. None where the mask is the one that is known.
    """
    digest = fingerprint(mask)
    if digest == lesion.digest:
        return None
    origin = lesion.origins.get(digest)
    if origin is None:
        return Change(identity, remeasure(lesion.result, mask, options), None, digest, lesion.chosen)
    result = origin.restore(lesion.result, mask, options.roi)
    return Change(identity, result, None, digest, origin.chosen, restored=True)


def rederive(result: LesionResult, options: LesionOptions, chosen: Point | None) -> LesionResult:
    """Threshold and refine anew; the probability is smoothed again only where the smoothing changed.

    ``chosen``: a point (row, column) of the lesion that is meant.
    """
    # Another model, and flips or not, may be picked for next time.
    options = options.model_copy(update={"model": result.options.model, "flips": result.options.flips})
    if options.refinement.smoothing != result.options.refinement.smoothing:
        return derive(result.photograph, result.answer, options, result.model, chosen)
    threshold = threshold_of(result.model, options)
    followed = remeasure(result, _thresholded(result, options, chosen), options, threshold)
    band = band_of(result.answer, followed.mask, threshold, options.refinement)
    return replace(followed, options=options, corrected=False, threshold=threshold, band=band)


def prediction(result: LesionResult) -> NDArray[np.bool_]:
    """Give the mask that the model gives by itself: default threshold and refinement, no click, nothing drawn.

    Returns bool (row, column).
    """
    from napari_melanoma.analysis.refinement import RefinementConfig, refine_mask, smooth_probability

    usual, smoothed = RefinementConfig(), result.smoothed
    if usual.smoothing != result.options.refinement.smoothing:
        smoothed = smooth_probability(result.probability, usual)
    return refine_mask(smoothed >= result.model.threshold, usual)


def preview(identity: str, result: LesionResult, options: LesionOptions, chosen: Point | None) -> Change:
    """Find the contour that a threshold would give, without a new forward pass.

    ``chosen``: a point (row, column) of the lesion that is meant.
    """
    from napari_melanoma.analysis.contours import contours
    from napari_melanoma.analysis.refinement import other_lesions

    mask = _thresholded(result, options, chosen)
    others = other_lesions(result.smoothed >= threshold_of(result.model, options), mask, options.refinement)
    return Change(identity, contours=contours(mask), others=contours(others))


def _thresholded(result: LesionResult, options: LesionOptions, chosen: Point | None) -> NDArray[np.bool_]:
    from napari_melanoma.analysis.refinement import refine_mask

    return refine_mask(result.smoothed >= threshold_of(result.model, options), options.refinement, chosen)
