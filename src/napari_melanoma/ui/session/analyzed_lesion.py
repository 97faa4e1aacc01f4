"""The analyzed lesion of a photograph as a value: result, options, and the origin of each mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.lesion.mask_record import mark_painted, without_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptStep
from napari_melanoma.ui.session.stated_values import StatedValues

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult, ModelStamp

MASK_OPTIONS, ROI_OPTIONS = ("threshold", "refinement"), ("roi",)  # fields of LesionOptions
Point = tuple[int, int]  # row, column
MakeUpdate = Callable[["AnalyzedLesion", "NDArray[np.uint8]"], "LesionUpdate"]
"""Makes an update with a new result from the current lesion and the current mask, uint8 (row, column)."""
MAX_ORIGINS = 100  # as many steps as napari can undo
MAX_PROBABILITIES = 3  # each is as large as the photograph


def effective_threshold(model: ModelStamp, options: LesionOptions) -> float:
    """Return the threshold of the options, or the model's default, in [0, 1]."""
    return model.threshold if options.threshold is None else options.threshold


class MaskOrigin(NamedTuple):
    """The origin of a mask: prediction, model, options, provenance and prompts.

    ``probability``: float32 (row, column) in [0, 1]. ``chosen``: a point in the lesion that the user selected.
    ``spread``: float32 (2, side, side), the extremes over test-time augmentation. ``prompts``: the state after the
    latest prompt; None without prompts. Edits by hand since then are not included.
    """

    probability: NDArray[np.float32]
    model: ModelStamp
    options: LesionOptions
    chosen: Point | None
    corrected: bool
    provenance: dict[str, object]
    spread: NDArray[np.float32] | None = None
    prompts: PromptStep | None = None

    @classmethod
    def from_result(cls, result: LesionResult, chosen: Point | None, prompts: PromptStep | None = None) -> MaskOrigin:
        """Return the origin of the mask of a result."""
        fields = (result.probability, result.model, result.options, chosen, result.corrected, result.provenance)
        return cls(*fields, result.spread, prompts)

    def restore(self, result: LesionResult, mask: NDArray[np.bool_], roi: RoiConfig) -> LesionResult:
        """Restore the result of a mask, with its model, options and provenance.

        ``mask``: bool (row, column), the mask of this origin.
        """
        from napari_melanoma.lesion.analysis import find_uncertain_band, remeasure, smooth_prediction

        smoothing, smoothed = self.options.refinement.smoothing, result.smoothed
        if self.probability is not result.probability or smoothing != result.options.refinement.smoothing:
            smoothed = smooth_prediction(self.probability, self.options)
        options = self.options.model_copy(update={"roi": roi})
        base = replace(
            result,
            probability=self.probability,
            smoothed=smoothed,
            threshold=effective_threshold(self.model, options),
            options=options,
            model=self.model,
            provenance=self.provenance,
            spread=self.spread,
        )
        restored = replace(remeasure(base, mask, options), corrected=self.corrected)
        if self.corrected:
            return restored
        band = find_uncertain_band(restored.prediction, mask, restored.threshold, options.refinement)
        return replace(restored, band=band)


@dataclass(frozen=True)
class LesionUpdate:
    """The outcome of a computation for a photograph, applied if the mask has not changed in the meantime.

    ``chosen``: a point in the selected lesion. ``prompts``: the state after the latest prompt. ``previous_mask``: the
    current mask, uint8 (row, column); ``changed_pixels``: the pixels in which the new mask differs. Both are None if
    the mask does not change. ``mask_digest``: the digest of the new mask. A preview has ``contours``, and
    ``other_contours`` of lesions outside the mask, instead of a result. ``outdated``: whether the mask was edited in
    the meantime. ``restored``: whether undo restored the mask.
    """

    result: LesionResult | None = None
    chosen: Point | None = None
    prompts: PromptStep | None = None
    contours: list[NDArray[np.float32]] | None = None
    mask_digest: str = ""
    previous_mask: NDArray[np.uint8] | None = None
    changed_pixels: tuple[NDArray[np.intp], ...] | None = None
    restored: bool = False
    outdated: bool = False
    other_contours: list[NDArray[np.float32]] | None = None

    def __post_init__(self) -> None:
        if self.result is not None:
            self.result.compute_properties()  # here, in a thread


@dataclass(frozen=True, eq=False)
class AnalyzedLesion:
    """The state of an analyzed photograph.

    ``image_digest``, ``mask_digest``: digests of the pixels and of the mask. ``chosen``: a point in the lesion that the
    user selected. ``prompts``: the state after the latest prompt; None without prompts. ``unsaved``: whether there are
    unsaved corrections. ``origins``: the origins of the latest masks by digest, with which undo restores model, options
    and prompts. ``default_options``: the options that all photographs shared when this one was analyzed.
    """

    result: LesionResult
    image_digest: str
    mask_digest: str = ""
    chosen: Point | None = None
    origins: dict[str, MaskOrigin] = field(default_factory=dict)
    unsaved: bool = False
    default_options: LesionOptions = field(default_factory=LesionOptions)
    prompts: PromptStep | None = None

    @classmethod
    def from_model(
        cls,
        result: LesionResult,
        image_digest: str,
        mask_digest: str,
        chosen: Point | None,
        prompts: PromptStep | None = None,
    ) -> AnalyzedLesion:
        """Create the state for a predicted mask, with nothing to save.

        ``image_digest``, ``mask_digest``: digests of the photograph's pixels and of the mask.
        """
        origins = {mask_digest: MaskOrigin.from_result(result, chosen, prompts)}
        return cls(result, image_digest, mask_digest, chosen, origins, prompts=prompts)

    @property
    def corrected(self) -> bool:
        """Whether the mask was edited manually."""
        return self.result.corrected

    @property
    def is_user_edited(self) -> bool:
        """Whether the user changed this mask: by drawing, own options, or selecting a lesion.

        Options shared by all photographs do not count.
        """
        model, options = self.result.model, self.result.options
        is_own = effective_threshold(model, options) != effective_threshold(model, self.default_options)
        is_own = is_own or options.refinement != self.default_options.refinement
        return self.corrected or is_own or self.chosen is not None

    @property
    def model_digests(self) -> frozenset[str]:
        """Digests of predicted masks, which may be replaced without losing corrections."""
        return frozenset(digest for digest, origin in self.origins.items() if not origin.corrected)

    def apply(self, update: LesionUpdate) -> AnalyzedLesion:
        """Return the lesion after an update with a result."""
        result, digest = update.result, update.mask_digest
        assert result is not None
        unsaved = result.corrected and (self.unsaved or digest != self.mask_digest)
        origins = self._add_origin(digest, MaskOrigin.from_result(result, update.chosen, update.prompts))
        return replace(
            self,
            result=result,
            mask_digest=digest,
            chosen=update.chosen,
            prompts=update.prompts,
            unsaved=unsaved,
            origins=origins,
        )

    def _add_origin(self, digest: str, origin: MaskOrigin) -> dict[str, MaskOrigin]:
        """Add the origin of a mask; keep the latest origins only, and only those of the latest predictions."""
        previous = self.origins.get(digest, origin)
        origins = {other: item for other, item in self.origins.items() if other != digest}
        is_new = previous.corrected or not origin.corrected
        origins[digest] = origin if is_new else previous._replace(prompts=origin.prompts)
        probabilities: dict[int, None] = {id(item.probability): None for item in reversed(origins.values())}
        kept = list(probabilities)[:MAX_PROBABILITIES]
        recent = [item for item in origins.items() if id(item[1].probability) in kept]
        return dict(recent[-MAX_ORIGINS:])


class RecoveredLesion(NamedTuple):
    """A stored state of a photograph: the predicted result, the current mask, and strokes that were not applied.

    ``mask``: bool (row, column). ``scribbles``: uint8 (row, column), 1 inside and 2 outside the lesion.
    ``mask_digest``, ``image_digest``: the digests of the predicted mask and of the photograph's pixels. ``chosen``: a
    point in the lesion that the user selected. ``saved_at``: Unix time in seconds. ``folder``: the recovery folder.
    ``origin``: the part of the provenance that describes the corrected mask. ``prompts``: the states after the latest
    prompt of the predicted and of the corrected mask; None without prompts. ``stated``: scale, type and patient data.
    """

    result: LesionResult
    mask_digest: str
    image_digest: str
    chosen: Point | None
    mask: NDArray[np.bool_]
    scribbles: NDArray[np.uint8] | None = None
    saved_at: float = 0.0
    folder: Path = Path()
    origin: Mapping[str, object] = MappingProxyType({})
    prompts: tuple[PromptStep | None, PromptStep | None] = (None, None)
    stated: StatedValues = StatedValues()

    @property
    def options_text(self) -> str:
        """The threshold if the user has set it, such as ``threshold (0.70)``; else empty."""
        threshold = self.result.options.threshold
        return "" if threshold is None else f"threshold ({threshold:.2f})"


def keep_prediction_options(options: LesionOptions, used: LesionOptions) -> LesionOptions:
    """Return options with the model, flips and prompts that a result was predicted with.

    In ``options``, these may already be set for the next analysis.
    """
    return options.model_copy(update={"model": used.model, "flips": used.flips, "prompts": used.prompts})


def have_equal_fields(first: LesionOptions, second: LesionOptions, names: tuple[str, ...]) -> bool:
    """Return whether two options agree in some fields."""
    return all(getattr(first, name) == getattr(second, name) for name in names)


def result_for_mask(result: LesionResult, mask: NDArray[np.bool_]) -> LesionResult:
    """Return the result for an edited mask, bool (row, column); marked as corrected if the mask differs."""
    from napari_melanoma.lesion.analysis import remeasure

    corrected = result.corrected or bool((mask != result.mask).any())
    return replace(remeasure(result, mask, result.options), corrected=corrected)


def restore_mask(recovered: RecoveredLesion) -> LesionUpdate:
    """Return the update to the corrected mask of recovered corrections."""
    result = result_for_mask(recovered.result, recovered.mask)
    result = replace(result, provenance={**recovered.result.provenance, **recovered.origin})
    return LesionUpdate(result, recovered.chosen, recovered.prompts[1])


def redraw_from_strokes(
    strokes: NDArray[np.uint8], lesion: AnalyzedLesion, previous_mask: NDArray[np.uint8]
) -> LesionUpdate:
    """Recompute the mask from strokes inside (1) and outside (2).

    ``strokes``: uint8 (row, column). ``previous_mask``: uint8 (row, column), a copy of the current mask.
    """
    from napari_melanoma.imaging.scribbles import redraw_border

    result = lesion.result
    mask = redraw_border(result.probability, result.photograph.rgb, previous_mask != 0, strokes)
    redrawn = replace(result_for_mask(result, mask), provenance=mark_painted(result.provenance))
    return LesionUpdate(redrawn, lesion.chosen, lesion.prompts)


def rederive(result: LesionResult, options: LesionOptions, chosen: Point | None) -> LesionResult:
    """Threshold and refine again; the probability is smoothed again only if the smoothing changed.

    ``chosen``: a point (row, column) in the selected lesion.
    """
    from napari_melanoma.lesion.analysis import derive_result, find_uncertain_band, remeasure

    options = keep_prediction_options(options, result.options)
    if options.refinement.smoothing != result.options.refinement.smoothing:
        return derive_result(result.photograph, result.prediction, options, result.model, chosen)
    threshold = effective_threshold(result.model, options)
    measured = remeasure(result, threshold_mask(result, options, chosen), options, threshold)
    band = find_uncertain_band(result.prediction, measured.mask, threshold, options.refinement)
    provenance = without_mask_origin(result.provenance)
    return replace(measured, options=options, corrected=False, threshold=threshold, band=band, provenance=provenance)


def predict_default_mask(result: LesionResult) -> NDArray[np.bool_]:
    """Return the predicted mask with default threshold and refinement, bool (row, column)."""
    from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask, smooth_probability

    default, smoothed = RefinementConfig(), result.smoothed
    if default.smoothing != result.options.refinement.smoothing:
        smoothed = smooth_probability(result.probability, default)
    return refine_mask(smoothed >= result.model.threshold, default)


def preview_contours(result: LesionResult, options: LesionOptions, chosen: Point | None) -> LesionUpdate:
    """Compute the contours for other options, without a new forward pass.

    ``chosen``: a point (row, column) in the selected lesion.
    """
    from napari_melanoma.imaging.masks import trace_contours
    from napari_melanoma.lesion.analysis import find_others

    mask = threshold_mask(result, options, chosen)
    options = keep_prediction_options(options, result.options)
    others = find_others(result.smoothed >= effective_threshold(result.model, options), mask, options)
    return LesionUpdate(contours=trace_contours(mask), other_contours=trace_contours(others))


def threshold_mask(result: LesionResult, options: LesionOptions, chosen: Point | None) -> NDArray[np.bool_]:
    """Return the predicted mask for some options, bool (row, column); ``chosen``: a point in the selected lesion."""
    from napari_melanoma.lesion.analysis import select_lesions

    options = keep_prediction_options(options, result.options)
    return select_lesions(result.smoothed >= effective_threshold(result.model, options), options, chosen)


def describe_other_lesions(result: LesionResult, *, with_advice: bool = False) -> str:
    """Describe detected lesions that are not in the mask, such as ``2 lesions found; showing the largest.``.

    Empty if all lesions are in the mask.
    """
    others = len(result.other_masks)
    if not others:
        return ""
    if result.corrected or len(result.mask_parts) != 1:
        text = f"{others} other lesion{'s' if others > 1 else ''} found outside the mask (thin outlines)."
    else:
        shown = "the largest" if result.has_largest_in_mask else "the selected one"
        text = f"{result.lesions_found} lesions found; showing {shown}."
    if with_advice:
        text += " Measurements and prediction refer to the mask only. Use Select lesion for another lesion, "
        text += "or clear 'largest only' to include all."
    return text
