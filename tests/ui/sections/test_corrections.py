"""What the Corrections section shows, without widgets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from napari_melanoma.ui.sections.corrections import describe_state, find_diagnosis
from napari_melanoma.ui.session.open_photograph import ReviewState

MODEL = SimpleNamespace(model=SimpleNamespace(fingerprint="small"))
PREDICTED: Any = SimpleNamespace(is_before_prompts=False, is_user_edited=False, mask_digest="predicted", result=MODEL)
EDITED: Any = SimpleNamespace(is_before_prompts=False, is_user_edited=True, mask_digest="edited")
BEFORE_CLICK: Any = SimpleNamespace(is_before_prompts=True)
STORED = ReviewState(stored_digest="edited")
ACCEPTED = {"review": "accepted"}


class Case(NamedTuple):
    name: str
    lesion: Any
    review: ReviewState
    row: dict[str, str] | None
    state: str


CASES = [
    Case("not analyzed", None, ReviewState(), None, ""),
    Case("not analyzed, but stored as rejected", None, ReviewState(), {"review": "rejected"}, ""),
    Case("the only click was undone", BEFORE_CLICK, ReviewState(), None, ""),
    Case("a predicted mask", PREDICTED, ReviewState(), None, "not stored"),
    Case(
        "a predicted mask that is being stored", PREDICTED, ReviewState(storing_digest="predicted"), None, "storing..."
    ),
    Case("a mask made elsewhere was imported", PREDICTED, ReviewState(), {"review": "accepted"}, "not stored"),
    Case(
        "an accepted mask of the same model",
        PREDICTED,
        ReviewState(),
        ACCEPTED | {"model_fingerprint": "small"},
        "accepted",
    ),
    Case(
        "the mask of another model was accepted",
        PREDICTED,
        ReviewState(),
        ACCEPTED | {"model_fingerprint": "large"},
        "not stored",
    ),
    Case("another predicted mask was accepted", PREDICTED, ReviewState(stored_digest="flips"), ACCEPTED, "not stored"),
    Case("this mask was accepted", PREDICTED, ReviewState(stored_digest="predicted"), ACCEPTED, "accepted"),
    Case("an accepted mask was edited", EDITED, STORED, {"review": "accepted"}, "not stored"),
    Case("a corrected mask", EDITED, STORED, {"review": "corrected"}, "corrected"),
    Case("a mask by clicks, stored as predicted", EDITED, replace(STORED, row=ACCEPTED), ACCEPTED, "accepted"),
    Case("painted since then", EDITED, ReviewState(stored_digest="clicks", row=ACCEPTED), ACCEPTED, "not stored"),
    Case("a corrected mask of an earlier day", EDITED, ReviewState(), {"review": "corrected"}, "not stored"),
    Case("edited again", EDITED, ReviewState(stored_digest="before"), {"review": "corrected"}, "not stored"),
    Case("reset to the prediction", PREDICTED, STORED, {"review": "corrected"}, "not stored"),
    Case("rejected, but analyzed", PREDICTED, ReviewState(), {"review": "rejected"}, "not stored"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_review_state(case: Case) -> None:
    assert describe_state(case.lesion, case.review, case.row) == case.state


@pytest.mark.parametrize(
    ("entered", "row", "expected"),
    [
        (None, None, ""),
        (None, {"review": "accepted"}, ""),
        (None, {"diagnosis": "nevus"}, "nevus"),
        ("melanoma", {"diagnosis": "nevus"}, "melanoma"),
        ("", {"diagnosis": "nevus"}, ""),
    ],
)
def test_the_entered_diagnosis_comes_before_the_stored_one(
    entered: str | None, row: dict[str, str] | None, expected: str
) -> None:
    assert find_diagnosis(ReviewState(diagnosis=entered), row) == expected
