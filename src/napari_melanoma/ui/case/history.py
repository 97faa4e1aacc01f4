"""The steps of a case that can be taken back and again: a case is a value, so a step is the one before it."""

from __future__ import annotations

from napari_melanoma.data.case.edit import set_correction, set_image
from napari_melanoma.data.case.model import Case

STEPS = 200


class CaseHistory:
    """Remembers cases; edits of one field in a row are one step."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._before: list[tuple[Case, str]] = []
        self._after: list[tuple[Case, str]] = []
        self._key = ""

    @property
    def undone(self) -> str:
        """What undo would take back; empty where there is nothing."""
        return self._before[-1][1] if self._before else ""

    @property
    def redone(self) -> str:
        """What redo would do again; empty where there is nothing."""
        return self._after[-1][1] if self._after else ""

    def edit(self, case: Case, what: str, key: str = "") -> bool:
        """Take a step.

        False where the case is the same.
        """
        if case == self.case:
            return False
        if not (key and key == self._key and self._before):
            self._before = [*self._before, (self.case, what)][-STEPS:]
        self._key, self._after, self.case = key, [], case
        return True

    def take_back(self, key: str) -> bool:
        """Take the edits in a row back that are still going on, as if they had not been made.

        False where there are none.
        """
        if not key or key != self._key or not self._before:
            return False
        case, _ = self._before.pop()
        self.case, self._key = with_masks_of(case, self.case), ""
        return True

    def rest(self) -> None:
        """Let the next edit be a step of its own."""
        self._key = ""

    def amend(self, case: Case) -> None:
        """Change the case without a step: a mask, whose steps the viewer takes back."""
        self.case = case

    def undo(self) -> str:
        """Take the last step back.

        What it was; empty where there was none.
        """
        return self._turn(self._before, self._after)

    def redo(self) -> str:
        """Take a step again.

        What it was; empty where there was none.
        """
        return self._turn(self._after, self._before)

    def _turn(self, source: list[tuple[Case, str]], target: list[tuple[Case, str]]) -> str:
        if not source:
            return ""
        case, what = source.pop()
        target.append((self.case, what))
        self.case, self._key = with_masks_of(case, self.case), ""
        return what


def with_masks_of(case: Case, known: Case) -> Case:
    """Give a case the corrections, results and scales of another one.

    With its own images, of which those that both have are as they are now.
    """
    now = {image.id: image for _, image in known.each_image()}
    for _, image in case.each_image():
        other = now.get(image.id)
        if other is not None and (other.correction, other.results) != (image.correction, image.results):
            case = set_correction(set_image(case, image.id, results=other.results), image.id, other.correction)
    return case
