"""An analyzed lesion: what undo restores together with a mask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptStep, find_state
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, LesionUpdate

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult

PROBABILITY = np.zeros((4, 5), np.float32)


def make_result(*, corrected: bool = True) -> LesionResult:
    values: dict[str, Any] = {"probability": PROBABILITY, "model": None, "options": LesionOptions(), "spread": None}
    made = SimpleNamespace(**values, corrected=corrected, provenance={}, compute_properties=lambda: None)
    return cast("LesionResult", made)


def test_each_mask_keeps_the_prompts_that_made_it() -> None:
    clicked, painted = (PromptStep.of(find_state(np.full((4, 5), filled), None)) for filled in (False, True))
    lesion = AnalyzedLesion.from_model(make_result(corrected=False), "image", "predicted", None)
    lesion = lesion.apply(LesionUpdate(make_result(), None, clicked, mask_digest="clicked"))
    lesion = lesion.apply(LesionUpdate(make_result(), None, lesion.prompts, mask_digest="painted"))
    lesion = lesion.apply(LesionUpdate(make_result(), None, painted, mask_digest="clicked again"))
    assert lesion.prompts is painted
    prompts = {digest: origin.prompts for digest, origin in lesion.origins.items()}
    assert prompts == {"predicted": None, "clicked": clicked, "painted": clicked, "clicked again": painted}


def test_a_click_that_makes_the_predicted_mask_is_kept_with_its_origin() -> None:
    step = PromptStep.of(find_state(np.zeros((4, 5), bool), None))
    lesion = AnalyzedLesion.from_model(make_result(corrected=False), "image", "predicted", None)
    lesion = lesion.apply(LesionUpdate(make_result(), None, step, mask_digest="predicted"))
    origin = lesion.origins["predicted"]
    assert (origin.corrected, origin.prompts) == (False, step)
