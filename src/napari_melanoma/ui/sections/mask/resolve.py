"""What the Mask and Region of interest sections show of a photograph, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import (
    describe_other_lesions,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.imaging.prompts import PromptOptions
    from napari_melanoma.lesion.prompting import PromptedMasks
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.prompted import PromptedPhotograph

CORRECTED_NOTICE = "Corrected manually. Threshold and refinement are disabled to protect your corrections."
NOT_PREDICTED_NOTICE = (
    "The mask was not predicted by a model. Analyze the photograph to use the threshold and the refinement."
)


@dataclass(frozen=True)
class MaskView:
    """The state of the controls of the mask.

    ``options``: of the photograph. ``threshold``: of the options, or the model's default. ``notice``: why threshold and
    refinement are disabled; empty if they are not. ``can_correct``: there is an analyzed mask. ``other_lesions``: a
    text about lesions outside the mask.
    """

    options: LesionOptions = field(default_factory=LesionOptions)
    threshold: float = 0.5
    notice: str = ""
    can_revert: bool = False
    can_reset: bool = False
    can_correct: bool = False
    other_lesions: str = ""


class PromptsView(NamedTuple):
    """The clicks and boxes of each lesion, and the masks to choose from.

    ``hypotheses``: None if there are none for the current mask. ``preview``: of the photograph, uint8 (row, column,
    channel). ``chosen``: position of the current mask, from the smallest.
    """

    lesions: list[PromptOptions]
    hypotheses: PromptedMasks | None = None
    preview: NDArray[np.uint8] | None = None
    chosen: int = 0


def resolve_mask(lesion: AnalyzedLesion | None, options: LesionOptions, default_threshold: float) -> MaskView:
    """Return what is shown of a mask; ``lesion``: None before the analysis.

    ``options``: of the photograph. ``default_threshold``: of the model that was used last.
    """
    if lesion is None:
        notice, other_lesions, is_predicted = "", "", True
    else:
        default_threshold, is_predicted = lesion.result.model.threshold, lesion.result.is_predicted
        notice = "" if is_predicted else NOT_PREDICTED_NOTICE
        notice = CORRECTED_NOTICE if lesion.corrected and is_predicted else notice
        other_lesions = describe_other_lesions(lesion.result, with_advice=True)
    return MaskView(
        options,
        threshold=default_threshold if options.threshold is None else options.threshold,
        notice=notice,
        can_revert=bool(notice) and is_predicted,
        can_reset=options.threshold is not None and not notice,
        can_correct=lesion is not None,
        other_lesions=other_lesions,
    )


def resolve_prompts(lesion: AnalyzedLesion | None, prompted: PromptedPhotograph) -> PromptsView:
    """Return the prompts of the current mask, and the hypotheses of the last response if it is one of them."""
    step, pixels, response = None if lesion is None else lesion.prompts, prompted.pixels, prompted.response
    if lesion is None or step is None:  # of a recovered mask, the record is known
        record = None if lesion is None else lesion.result.prompt_record
        return PromptsView([] if record is None else list(record.lesions))
    hypotheses = None if response is None else response.hypotheses
    is_current = response is not None and (step.digest, step.answer) == (lesion.mask_digest, response.number)
    if hypotheses is None or pixels is None or not is_current:
        return PromptsView(step.prompted)
    return PromptsView(step.prompted, hypotheses, pixels.preview, hypotheses.by_area.index(step.chosen))
