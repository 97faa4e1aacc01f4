"""What the Tissue section shows, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_melanoma.ui.sections.tissue.resolve import (
    CORRECTED_TEXT,
    DETECTED_TEXT,
    NOT_BRIGHTFIELD,
    NOT_DETECTED,
    TissueTexts,
    resolve_tissue,
)
from napari_melanoma.ui.session.tissue import DetectedTissue, TissueState

QUARTER = np.array([[True, False], [False, False]])
DETECTED = DetectedTissue(QUARTER, ("pen marks were removed",), "otsu")


@dataclass(frozen=True)
class Case:
    name: str
    state: TissueState
    expected: TissueTexts
    is_brightfield: bool = True


CASES = [
    Case("not detected", TissueState(), TissueTexts("auto", NOT_DETECTED)),
    Case("another method is selected", TissueState("entropy"), TissueTexts("entropy", NOT_DETECTED)),
    Case(
        "detected, with a warning",
        TissueState("otsu", DETECTED),
        TissueTexts("otsu", f"{DETECTED_TEXT.format(25)}\npen marks were removed", can_reset=True),
    ),
    Case(
        "corrected before an earlier analysis",
        TissueState(stored=QUARTER),
        TissueTexts("auto", CORRECTED_TEXT.format(25), can_reset=True),
    ),
    Case(
        "fluorescence",
        TissueState(stored=QUARTER),
        TissueTexts("auto", NOT_BRIGHTFIELD, is_enabled=False),
        is_brightfield=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tissue(case: Case) -> None:
    assert resolve_tissue(case.state, is_brightfield=case.is_brightfield) == case.expected
