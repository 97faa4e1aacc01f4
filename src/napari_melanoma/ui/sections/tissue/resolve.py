"""What the Tissue section shows, as a pure function of the tissue of a slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.ui.session.tissue import TissueState

NOT_BRIGHTFIELD = "Tissue is detected on brightfield slides only."
NOT_DETECTED = "Tissue is detected during the analysis. Detect it now to review and correct it."
CORRECTED_TEXT = "{:.0f} % of the slide, corrected by you. The analysis uses this mask until you press Detect again."
DETECTED_TEXT = "{:.0f} % of the slide. Paint or erase in the layer to correct it."


@dataclass(frozen=True)
class TissueTexts:
    """Content of the section; ``can_reset``: there is tissue that can be detected again."""

    method: str
    summary: str
    can_reset: bool = False
    is_enabled: bool = True


def resolve_tissue(state: TissueState, *, is_brightfield: bool) -> TissueTexts:
    """Return the content of the section."""
    if not is_brightfield:
        return TissueTexts(state.method, NOT_BRIGHTFIELD, is_enabled=False)
    if state.stored is not None:
        return TissueTexts(state.method, CORRECTED_TEXT.format(100 * state.stored.mean()), can_reset=True)
    if state.detected is None:
        return TissueTexts(state.method, NOT_DETECTED)
    summary = DETECTED_TEXT.format(100 * state.detected.mask.mean())
    return TissueTexts(state.method, "\n".join((summary, *state.detected.warnings)), can_reset=True)
