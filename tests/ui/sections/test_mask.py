"""What the Mask section shows of a photograph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox, QLabel, QSlider

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptState, PromptStep
from napari_melanoma.ui.sections.mask.clicks import list_prompts
from napari_melanoma.ui.sections.mask.proposals import find_hypotheses
from napari_melanoma.ui.sections.mask.section import CORRECTED, NOT_PREDICTED_NOTICE, PROTECTED_NOTICE, MaskControls
from napari_melanoma.ui.session.open_photograph import PromptedPhotograph, PromptResponse

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion

DEFAULT, OWN = LesionOptions(), LesionOptions(threshold=0.9)


def analyzed(*, corrected: bool = False, is_predicted: bool = True, **values: object) -> AnalyzedLesion:
    result = SimpleNamespace(
        corrected=corrected, is_predicted=is_predicted, model=SimpleNamespace(threshold=0.4), other_masks=()
    )
    result.prompt_record = values.pop("record", None)
    return cast("AnalyzedLesion", SimpleNamespace(result=result, corrected=corrected, unsaved=corrected, **values))


@pytest.mark.parametrize(
    ("lesion", "options", "threshold", "notice", "can_revert", "can_reset"),
    [
        pytest.param(None, DEFAULT, 0.6, "", False, False, id="before the analysis"),
        pytest.param(None, OWN, 0.9, "", False, True, id="a threshold set before the analysis"),
        pytest.param(analyzed(), DEFAULT, 0.4, "", False, False, id="the default of the model of the mask"),
        pytest.param(analyzed(), OWN, 0.9, "", False, True, id="an own threshold"),
        pytest.param(
            analyzed(corrected=True), OWN, 0.9, f"{CORRECTED} {PROTECTED_NOTICE}", True, False, id="a corrected mask"
        ),
        pytest.param(
            analyzed(corrected=True, is_predicted=False), OWN, 0.9, NOT_PREDICTED_NOTICE, False, False, id="of labels"
        ),
    ],
)
def test_the_controls_of_the_mask(
    qtbot: QtBot,
    lesion: AnalyzedLesion | None,
    options: LesionOptions,
    threshold: float,
    notice: str,
    can_revert: bool,
    can_reset: bool,
) -> None:
    services = SimpleNamespace(options=Mock(get=lambda session: options, default_threshold=0.6), controller=Mock())
    controls = MaskControls(cast("Any", SimpleNamespace(lesion=lesion, saved_mask="", services=services)))
    qtbot.addWidget(controls)
    box, slider = controls.findChild(QDoubleSpinBox, "threshold"), controls.findChild(QSlider, "threshold_slider")
    assert (box.value(), slider.value()) == (threshold, round(100 * threshold))
    assert box.isEnabledTo(controls) is slider.isEnabledTo(controls) is (notice == "")
    qtbot.addWidget(state := controls.state)
    state.resize(320, 60)
    assert state.findChild(QLabel, "mask_state").text() == notice
    assert state.findChild(QAbstractButton, "revert").isVisibleTo(state) is can_revert
    assert controls.findChild(QAbstractButton, "threshold_reset").isEnabled() is can_reset


CLICK = PromptOptions(include=((1.0, 1.0),))
STEP = PromptStep.of(PromptState(np.ones((2, 2), np.uint8), (CLICK,), 0), answer=3, chosen=1)
HYPOTHESES: Any = SimpleNamespace(by_area=[2, 1, 0])


@pytest.mark.parametrize(
    ("is_painted", "number", "hypotheses", "chosen"),
    [
        pytest.param(False, 3, HYPOTHESES, 1, id="the mask is one of the last response"),
        pytest.param(True, 3, HYPOTHESES, None, id="it was edited by hand since"),
        pytest.param(False, 4, HYPOTHESES, None, id="undo has restored a mask of an earlier response"),
        pytest.param(False, 3, None, None, id="the last response has no hypotheses"),
    ],
)
def test_hypotheses_of_the_mask(is_painted: bool, number: int, hypotheses: Any, chosen: int | None) -> None:
    lesion = analyzed(prompts=STEP, origin=SimpleNamespace(is_painted=is_painted))
    prompted = PromptedPhotograph(response=PromptResponse(number, {}, hypotheses))
    found = find_hypotheses(cast("Any", SimpleNamespace(lesion=lesion, prompted=prompted)))
    assert found == (None if chosen is None else (hypotheses, chosen))
    assert list_prompts(lesion) == [CLICK]


def test_the_prompts_of_a_recovered_mask_are_those_of_its_record() -> None:
    recovered = analyzed(prompts=None, record=SimpleNamespace(lesions=(CLICK,)))
    assert [list_prompts(lesion) for lesion in (None, analyzed(prompts=None), recovered)] == [[], [], [CLICK]]
