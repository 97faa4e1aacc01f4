"""The analyzed lesion of a photograph as a value that follows from its mask: result, options, origin of each mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import mark_painted, without_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptStep
from napari_melanoma.ui.session.stated_values import StatedValues

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult, ModelStamp

MASK_OPTIONS, ROI_OPTIONS = ("threshold", "refinement"), ("roi",)  # fields of LesionOptions
Point = tuple[int, int]  # row, column
Contours = list[NDArray[np.float32]]  # each (point, 2), (row, column), closed
MakeChange = Callable[["AnalyzedLesion", "NDArray[np.uint8]"], "MaskChange"]
"""Makes a change from the current lesion and the current mask, uint8 (row, column)."""
MAX_ORIGINS = 100  # as many steps as napari can undo
MAX_PROBABILITIES = 3  # each is as large as the photograph


def effective_threshold(model: ModelStamp, options: LesionOptions) -> float:
    """Return the threshold of the options, or the model's default, in [0, 1]."""
    return model.threshold if options.threshold is None else options.threshold


class MaskOrigin(NamedTuple):
    """How a mask was made, which its pixels do not show: prediction, model, options, provenance and prompts.

    ``probability``: float32 (row, column) in [0, 1]. ``chosen``: a point in the lesion that the user selected.
    ``spread``: float32 (2, side, side), the extremes over test-time augmentation; ``band``: of a stored result, which
    has no spread. ``prompts``: the state after the latest prompt; None without prompts. ``is_painted``: whether pixels
    were changed by hand or by strokes since.
    """

    probability: NDArray[np.float32]
    model: ModelStamp
    options: LesionOptions
    chosen: Point | None
    corrected: bool
    provenance: dict[str, object]
    spread: NDArray[np.float32] | None = None
    band: NDArray[np.bool_] | None = None
    prompts: PromptStep | None = None
    is_painted: bool = False

    @classmethod
    def from_result(cls, result: LesionResult, chosen: Point | None, prompts: PromptStep | None = None) -> MaskOrigin:
        """Return the origin of the mask of a result."""
        fields = (result.probability, result.model, result.options, chosen, result.corrected, result.provenance)
        return cls(*fields, result.spread, result.band if result.spread is None else None, prompts)

    def paint(self) -> MaskOrigin:
        """Return the origin of a mask that was made from this one by hand."""
        return self._replace(corrected=True, provenance=mark_painted(self.provenance), is_painted=True)

    def make_result(self, previous: LesionResult, mask: NDArray[np.bool_], roi: RoiConfig) -> LesionResult:
        """Return the result of a mask of this origin, bool (row, column); ``previous``: of the same photograph."""
        from napari_melanoma.lesion.analysis import find_uncertain_band, remeasure, smooth_prediction

        smoothing, smoothed = self.options.refinement.smoothing, previous.smoothed
        if self.probability is not previous.probability or smoothing != previous.options.refinement.smoothing:
            smoothed = smooth_prediction(self.probability, self.options)
        options = self.options.model_copy(update={"roi": roi})
        base = replace(
            previous,
            probability=self.probability,
            smoothed=smoothed,
            threshold=effective_threshold(self.model, options),
            options=options,
            model=self.model,
            provenance=self.provenance,
            spread=self.spread,
        )
        result = replace(remeasure(base, mask, options), corrected=self.corrected)
        is_same = self.probability is previous.probability
        if self.corrected and is_same and have_equal_fields(options, previous.options, MASK_OPTIONS):
            return result  # with the uncertain area of the predicted mask
        band, predicted = self.band, mask
        if self.spread is not None:
            if self.corrected:
                predicted = threshold_mask(result, options, self.chosen)
            band = find_uncertain_band(result.prediction, predicted, result.threshold, options.refinement)
        return replace(result, band=band)


class MaskChange(NamedTuple):
    """A mask, bool (row, column), to be written into the layer, and its origin."""

    mask: NDArray[np.bool_]
    origin: MaskOrigin


@dataclass(frozen=True, eq=False)
class AnalyzedLesion:
    """What follows from the mask of an analyzed photograph, as it was in its layer.

    ``image_digest``, ``mask_digest``: digests of the pixels and of the mask, by which predictions, stored files and
    origins are assigned to them. ``origin``: of the mask. ``origins``: those of the latest masks by digest, including
    one that was just written into the layer. ``stored_digest``: of the mask that was stored last; empty for none.
    ``default_options``: the options that all photographs shared when this one was analyzed.
    """

    result: LesionResult
    image_digest: str
    mask_digest: str
    origin: MaskOrigin
    origins: Mapping[str, MaskOrigin]
    stored_digest: str = ""
    default_options: LesionOptions = field(default_factory=LesionOptions)

    @classmethod
    def from_model(
        cls, result: LesionResult, image_digest: str, chosen: Point | None = None, prompts: PromptStep | None = None
    ) -> AnalyzedLesion:
        """Return the lesion of a predicted mask; call this in a thread.

        ``image_digest``: the digest of the photograph's pixels.
        """
        origin, mask_digest = MaskOrigin.from_result(result, chosen, prompts), array_fingerprint(result.mask)
        return cls(result, image_digest, mask_digest, origin, {mask_digest: origin})

    @property
    def corrected(self) -> bool:
        """Whether the mask was edited manually."""
        return self.result.corrected

    @property
    def chosen(self) -> Point | None:
        """A point in the lesion that the user selected."""
        return self.origin.chosen

    @property
    def prompts(self) -> PromptStep | None:
        """The state after the latest prompt; None without prompts."""
        return self.origin.prompts

    @property
    def is_before_prompts(self) -> bool:
        """Whether the mask is the empty one before the first prompt on a photograph that was not analyzed."""
        return self.prompts is not None and not self.corrected and not self.result.mask.any()

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
    def unsaved(self) -> bool:
        """Whether the mask was corrected, and is not the one that was stored last."""
        return self.is_unsaved(self.mask_digest)

    def is_unsaved(self, mask_digest: str) -> bool:
        """Return whether a mask would be an unsaved correction."""
        return self.find_origin(mask_digest).corrected and mask_digest != self.stored_digest

    def is_derived_from(self, pixels: NDArray[np.integer]) -> bool:
        """Return whether this is the lesion of the pixels of a mask layer, integers (row, column)."""
        is_own = self.origins.get(self.mask_digest, self.origin) is self.origin
        return is_own and np.array_equal(pixels != 0, self.result.mask)

    def find_origin(self, mask_digest: str) -> MaskOrigin:
        """Return the origin of a mask that was written, or restored by undo; any other mask was painted."""
        current = self.origin if mask_digest == self.mask_digest else None
        return self.origins.get(mask_digest) or current or self.origin.paint()

    def add_origin(self, mask_digest: str, origin: MaskOrigin) -> AnalyzedLesion:
        """Return the lesion before a mask is written into the layer; a predicted mask does not become a corrected one.

        The latest origins are kept only, and only those of the latest predictions.
        """
        previous = self.origins.get(mask_digest, origin)
        if not previous.corrected:
            origin = origin._replace(corrected=False)
        return replace(self, origins=_add_latest(self.origins, mask_digest, origin))


def _add_latest(origins: Mapping[str, MaskOrigin], digest: str, origin: MaskOrigin) -> dict[str, MaskOrigin]:
    latest = {other: item for other, item in origins.items() if other != digest} | {digest: origin}
    probabilities: dict[int, None] = {id(item.probability): None for item in reversed(latest.values())}
    kept = list(probabilities)[:MAX_PROBABILITIES]
    recent = [item for item in latest.items() if id(item[1].probability) in kept]
    return dict(recent[-MAX_ORIGINS:])


def derive_lesion(
    lesion: AnalyzedLesion,
    mask: NDArray[np.bool_],
    roi: RoiConfig | None = None,
    photograph: Photograph | None = None,
) -> AnalyzedLesion:
    """Return the lesion of the mask in the layer, bool (row, column); call this in a thread.

    ``lesion``: the previous one. ``roi``, ``photograph``: options of the region of interest, and the photograph with
    its scale and type; by default those of the previous lesion.
    """
    previous = lesion.result if photograph is None else replace(lesion.result, photograph=photograph)
    digest = lesion.mask_digest if mask is lesion.result.mask else array_fingerprint(mask)
    origin = lesion.find_origin(digest)
    result = origin.make_result(previous, mask, roi or previous.options.roi)
    result.compute_properties()
    origins = _add_latest(lesion.origins, digest, origin)
    return replace(lesion, result=result, mask_digest=digest, origin=origin, origins=origins)


def follow_pixels(lesion: AnalyzedLesion, pixels: NDArray[np.integer]) -> AnalyzedLesion:
    """Return the lesion of the pixels of a mask layer, (row, column), without the delay of a thread."""
    if pixels.shape != lesion.result.mask.shape or lesion.is_derived_from(pixels):
        return lesion
    return derive_lesion(lesion, pixels != 0)


class RecoveredLesion(NamedTuple):
    """A stored state of a photograph: the predicted result, the current mask, and strokes that were not applied.

    ``mask``: bool (row, column). ``scribbles``: uint8 (row, column), 1 inside and 2 outside the lesion.
    ``image_digest``: the digest of the photograph's pixels. ``chosen``: a point in the lesion that the user selected.
    ``saved_at``: Unix time in seconds. ``folder``: the recovery folder.
    ``origin``: the part of the provenance that describes the corrected mask. ``prompts``: the states after the latest
    prompt of the predicted and of the corrected mask; None without prompts. ``stated``: scale, type and patient data.
    ``is_predicted``: whether the mask is known to be predicted, although stored probabilities may predict another one.
    """

    result: LesionResult
    image_digest: str
    chosen: Point | None
    mask: NDArray[np.bool_]
    scribbles: NDArray[np.uint8] | None = None
    saved_at: float = 0.0
    folder: Path = Path()
    origin: Mapping[str, object] = MappingProxyType({})
    prompts: tuple[PromptStep | None, PromptStep | None] = (None, None)
    stated: StatedValues = StatedValues()
    is_predicted: bool = False

    @property
    def change(self) -> MaskChange:
        """The current mask; one that was predicted counts as such, also where another mask is replaced by it."""
        provenance, origin = {**self.result.provenance, **self.origin}, MaskOrigin.from_result(self.result, self.chosen)
        origin = origin._replace(corrected=self.is_of_user, provenance=provenance, prompts=self.prompts[1])
        return MaskChange(self.mask, origin)

    @property
    def is_of_user(self) -> bool:
        """Whether users have made the current mask."""
        is_made = self.result.corrected or bool(self.origin)
        return not self.is_predicted and (is_made or not np.array_equal(self.mask, self.result.mask))

    def derive(self) -> AnalyzedLesion:
        """Return the lesion of the current mask, with the predicted mask among its origins; call this in a thread."""
        mask, origin = self.change
        predicted = AnalyzedLesion.from_model(self.result, self.image_digest, self.chosen, self.prompts[0])
        if mask is self.result.mask:
            return predicted
        return derive_lesion(predicted.add_origin(array_fingerprint(mask), origin), mask)

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


def redraw_from_strokes(
    strokes: NDArray[np.uint8], lesion: AnalyzedLesion, previous_mask: NDArray[np.uint8]
) -> MaskChange:
    """Return the mask by strokes inside (1) and outside (2).

    ``strokes``: uint8 (row, column). ``previous_mask``: uint8 (row, column), a copy of the current mask.
    """
    from napari_melanoma.imaging.scribbles import redraw_border

    result = lesion.result
    mask = redraw_border(result.probability, result.photograph.rgb, previous_mask != 0, strokes)
    return MaskChange(mask, lesion.origin.paint())


def rederive(result: LesionResult, options: LesionOptions, chosen: Point | None) -> MaskChange:
    """Threshold and refine again; the probability is smoothed again only if the smoothing changed.

    ``chosen``: a point (row, column) in the selected lesion.
    """
    from napari_melanoma.lesion.analysis import smooth_prediction

    options = keep_prediction_options(options, result.options)
    if options.refinement.smoothing != result.options.refinement.smoothing:
        result = replace(result, smoothed=smooth_prediction(result.probability, options))
    origin = MaskOrigin.from_result(result, chosen)._replace(
        options=options, corrected=False, provenance=without_mask_origin(result.provenance), band=None
    )
    return MaskChange(threshold_mask(result, options, chosen), origin)


def predict_default_mask(result: LesionResult) -> NDArray[np.bool_]:
    """Return the predicted mask with default threshold and refinement, bool (row, column)."""
    from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask, smooth_probability

    default, smoothed = RefinementConfig(), result.smoothed
    if default.smoothing != result.options.refinement.smoothing:
        smoothed = smooth_probability(result.probability, default)
    return refine_mask(smoothed >= result.model.threshold, default)


def preview_contours(result: LesionResult, options: LesionOptions, chosen: Point | None) -> tuple[Contours, Contours]:
    """Return the contours of the mask for other options, and of the lesions outside of it, without a forward pass.

    ``chosen``: a point (row, column) in the selected lesion.
    """
    from napari_melanoma.imaging.masks import trace_contours
    from napari_melanoma.lesion.analysis import find_others

    mask = threshold_mask(result, options, chosen)
    options = keep_prediction_options(options, result.options)
    others = find_others(result.smoothed >= effective_threshold(result.model, options), mask, options)
    return trace_contours(mask), trace_contours(others)


def threshold_mask(result: LesionResult, options: LesionOptions, chosen: Point | None) -> NDArray[np.bool_]:
    """Return the predicted mask for some options, bool (row, column); ``chosen``: a point in the selected lesion."""
    from napari_melanoma.lesion.analysis import select_lesions

    options = keep_prediction_options(options, result.options)
    return select_lesions(result.smoothed >= effective_threshold(result.model, options), options, chosen)


def describe_other_lesions(result: LesionResult) -> str:
    """Describe detected lesions that are not in the mask, such as ``2 lesions found; showing the largest.``.

    Empty if all lesions are in the mask.
    """
    others = len(result.other_masks)
    if not others:
        return ""
    if result.corrected or len(result.mask_parts) != 1:
        return f"{others} other lesion{'s' if others > 1 else ''} found outside the mask (thin outlines)."
    shown = "the largest" if result.has_largest_in_mask else "the selected one"
    return f"{result.lesions_found} lesions found; showing {shown}."
