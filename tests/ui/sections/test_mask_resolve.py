"""What the Mask and Region of interest sections show of a photograph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptState, PromptStep
from napari_melanoma.ui.sections.mask.resolve import (
    CORRECTED_NOTICE,
    NOT_PREDICTED_NOTICE,
    resolve_mask,
    resolve_prompts,
)
from napari_melanoma.ui.session.prompted import PromptedPhotograph, PromptPixels, PromptResponse

if TYPE_CHECKING:
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion

DEFAULT, OWN = LesionOptions(), LesionOptions(threshold=0.9)


def analyzed(*, corrected: bool = False, is_predicted: bool = True, **values: object) -> AnalyzedLesion:
    result = SimpleNamespace(
        corrected=corrected, is_predicted=is_predicted, model=SimpleNamespace(threshold=0.4), other_masks=()
    )
    result.prompt_record = values.pop("record", None)
    return cast("AnalyzedLesion", SimpleNamespace(result=result, corrected=corrected, **values))


@pytest.mark.parametrize(
    ("lesion", "options", "threshold", "notice", "can_revert", "can_reset"),
    [
        pytest.param(None, DEFAULT, 0.6, "", False, False, id="before the analysis"),
        pytest.param(None, OWN, 0.9, "", False, True, id="a threshold set before the analysis"),
        pytest.param(analyzed(), DEFAULT, 0.4, "", False, False, id="the default of the model of the mask"),
        pytest.param(analyzed(), OWN, 0.9, "", False, True, id="an own threshold"),
        pytest.param(analyzed(corrected=True), OWN, 0.9, CORRECTED_NOTICE, True, False, id="a corrected mask"),
        pytest.param(
            analyzed(corrected=True, is_predicted=False), OWN, 0.9, NOT_PREDICTED_NOTICE, False, False, id="of labels"
        ),
    ],
)
def test_the_controls_of_the_mask(
    lesion: AnalyzedLesion | None,
    options: LesionOptions,
    threshold: float,
    notice: str,
    can_revert: bool,
    can_reset: bool,
) -> None:
    view = resolve_mask(lesion, options, default_threshold=0.6)
    shown = view.options, view.threshold, view.notice, view.can_revert, view.can_reset, view.can_correct
    assert shown == (options, threshold, notice, can_revert, can_reset, lesion is not None)


CLICK = PromptOptions(include=((1.0, 1.0),))
STEP = PromptStep.of(PromptState(np.ones((2, 2), np.uint8), (CLICK,), 0), answer=3, chosen=1)
HYPOTHESES: Any = SimpleNamespace(by_area=[2, 1, 0])
PREVIEW = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("digest", "number", "hypotheses", "chosen"),
    [
        pytest.param(STEP.digest, 3, HYPOTHESES, 1, id="the mask is one of the last response"),
        pytest.param("edited", 3, HYPOTHESES, None, id="it was edited by hand since"),
        pytest.param(STEP.digest, 4, HYPOTHESES, None, id="undo has restored a mask of an earlier response"),
        pytest.param(STEP.digest, 3, None, None, id="the last response has no hypotheses"),
    ],
)
def test_prompts_and_hypotheses_of_the_mask(digest: str, number: int, hypotheses: Any, chosen: int | None) -> None:
    pixels, response = PromptPixels(cast("Any", None), "", PREVIEW, None), PromptResponse(number, {}, hypotheses)
    view = resolve_prompts(analyzed(prompts=STEP, mask_digest=digest), PromptedPhotograph((), False, pixels, response))
    assert view.lesions == [CLICK]
    assert (None if view.hypotheses is None else view.chosen) == chosen


def test_the_prompts_of_a_recovered_mask_are_those_of_its_record() -> None:
    recovered = analyzed(prompts=None, record=SimpleNamespace(lesions=(CLICK,)))
    shown = [resolve_prompts(lesion, PromptedPhotograph()) for lesion in (None, analyzed(prompts=None), recovered)]
    assert [view.lesions for view in shown] == [[], [], [CLICK]]
