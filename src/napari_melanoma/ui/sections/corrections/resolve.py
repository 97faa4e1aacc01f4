"""What the Corrections section shows of a photograph, and what a request would store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.ui.viewer.shortcuts import format_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.data.dataset import Review
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.photograph import ReviewState

ADD_KEY = format_key("lesion.correct")
NOT_ANALYZED_TIP = "Analyze a photograph first"
STATE_TIPS: dict[Review | None, str] = {
    None: "",
    "accepted": "The predicted mask is unchanged: accepted.",
    "corrected": "The mask was changed: corrected. The predicted mask is stored with it.",
}


@dataclass(frozen=True)
class CorrectionsView:
    """What is shown; ``state``: beside the diagnosis, short to fit there, empty before the analysis."""

    state: str
    state_tip: str
    add_tip: str
    add_blocker: str
    reject_blocker: str
    diagnosis: str


def resolve_corrections(
    lesion: AnalyzedLesion | None, review: ReviewState, stored_row: Mapping[str, str] | None, hidden: str = ""
) -> CorrectionsView:
    """Return what is shown of a photograph.

    ``lesion``: None without a mask. ``stored_row``: the row of the photograph in the corrections table; None if there
    is none. ``hidden``: why the photograph is not stored while it is not in view; empty if it is.
    """
    state = find_review(lesion)
    add_tip = f"Store photograph, mask and diagnosis for training ({ADD_KEY}). {STATE_TIPS[state]}"
    return CorrectionsView(
        state=_describe_state(lesion, review, stored_row),
        state_tip=STATE_TIPS[state],
        add_tip=add_tip,
        add_blocker=hidden or (NOT_ANALYZED_TIP if state is None else ""),
        reject_blocker=hidden,
        diagnosis=find_diagnosis(review, stored_row),
    )


def find_review(lesion: AnalyzedLesion | None) -> Review | None:
    """Return what storing a lesion would state; None without a mask."""
    return None if lesion is None else "corrected" if lesion.is_user_edited else "accepted"


def find_diagnosis(review: ReviewState, stored_row: Mapping[str, str] | None) -> str:
    """Return the diagnosis that the user has entered, or the stored one."""
    stored = "" if stored_row is None else stored_row.get("diagnosis", "")
    return stored if review.diagnosis is None else review.diagnosis


def _describe_state(lesion: AnalyzedLesion | None, review: ReviewState, stored_row: Mapping[str, str] | None) -> str:
    """Describe whether the current mask is stored, is being stored, or is not stored."""
    state = find_review(lesion)
    if lesion is None or state is None:
        return ""
    if review.storing_digest:
        return "storing ..."
    is_current = not lesion.is_user_edited or review.stored_digest == lesion.mask_digest
    is_stored = stored_row is not None and stored_row.get("review") == state and is_current
    return state if is_stored else "not stored"
