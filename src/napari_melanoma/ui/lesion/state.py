"""What the Lesion dock knows of a photograph, and what one computation changes of it; plain values without Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.ui.origin import Origin, Point, threshold_of
from napari_melanoma.workflows.lesion import LesionOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.workflows.lesion import LesionResult

STEPS_KNOWN = 100  # as many as napari takes back
ANSWERS_KNOWN = 3  # each is as large as the photograph


@dataclass(frozen=True)
class Change:
    """What one computation found out about a photograph, to be taken over if the mask is still the same.

    ``before`` is the mask it started from, uint8 (row, column), ``where`` the pixels in which the new one differs;
    both are None where the mask does not change. ``digest`` is the new mask's fingerprint. A preview has contours
    (``others`` of lesions beside the mask) and no result; ``outdated`` says that the user drew in the meantime,
    ``restored`` that undo brought the mask back.
    """

    identity: str
    result: LesionResult | None = None
    contours: list[NDArray[np.float32]] | None = None
    digest: str = ""
    chosen: Point | None = None
    before: NDArray[np.uint8] | None = None
    where: tuple[NDArray[np.intp], ...] | None = None
    restored: bool = False
    outdated: bool = False
    others: list[NDArray[np.float32]] | None = None


@dataclass
class Lesion:
    """What the dock knows of one analysed photograph.

    ``origins`` says for each mask (by fingerprint) how it came about, so that undo brings back the model, the options
    and the controls along with the mask. ``standard`` are the options that held for all photographs when
    it was analyzed.
    """

    result: LesionResult
    image_digest: str
    digest: str = ""
    chosen: Point | None = None
    origins: dict[str, Origin] = field(default_factory=dict)
    unsaved: bool = False
    standard: LesionOptions = field(default_factory=LesionOptions)

    @classmethod
    def new(cls, result: LesionResult, image_digest: str, digest: str, chosen: Point | None) -> Lesion:
        """Begin with a mask that the model gave.

        ``image_digest``, ``digest``: fingerprints of the photograph's pixels and of the mask. With nothing to save.
        """
        return cls(result, image_digest, digest, chosen, {digest: Origin.of(result, chosen)})

    @property
    def corrected(self) -> bool:
        """Whether the mask is one that was drawn, not one that the model gave."""
        return self.result.corrected

    @property
    def touched(self) -> bool:
        """Whether a person changed the mask of this photograph: by drawing, options of its own, or a choice.

        Options that were set for all photographs change no mask by hand.
        """
        model, options = self.result.model, self.result.options
        is_own = threshold_of(model, options) != threshold_of(model, self.standard)
        is_own = is_own or options.refinement != self.standard.refinement
        return self.corrected or is_own or self.chosen is not None

    @property
    def given(self) -> frozenset[str]:
        """Fingerprints of the masks that a model gave: nobody drew them, so nothing is lost with one."""
        return frozenset(digest for digest, origin in self.origins.items() if not origin.corrected)

    def take(self, change: Change) -> None:
        """Take a change over."""
        assert change.result is not None
        drawn = change.digest != self.digest
        self.result, self.digest, self.chosen = change.result, change.digest, change.chosen
        if change.result.corrected:
            self.unsaved = self.unsaved or drawn
        else:
            self.unsaved = False
        self._remember(change.digest, Origin.of(change.result, change.chosen))

    def _remember(self, digest: str, origin: Origin) -> None:
        """Know the origin of a mask; of long ago, and of more than a few models, it is forgotten."""
        before = self.origins.pop(digest, origin)
        self.origins[digest] = origin if before.corrected or not origin.corrected else before
        answers: dict[int, None] = {id(known.probability): None for known in reversed(self.origins.values())}
        kept = list(answers)[:ANSWERS_KNOWN]
        recent = [item for item in self.origins.items() if id(item[1].probability) in kept]
        self.origins = dict(recent[-STEPS_KNOWN:])
