"""The mask as it is drawn, a moment before all that is derived from it: so much is enough to ask a classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.job import Latest, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.workflows.lesion import LesionResult

STROKE_MS = 20  # napari tells of one stroke several times


@dataclass(frozen=True)
class Drawn:
    """A mask, bool (row, column), with its fingerprint and the identity of its photograph."""

    identity: str
    digest: str
    mask: NDArray[np.bool_]


class AskingAhead(QObject):
    """Knows masks that were drawn on before contour, region and measurements have followed."""

    drawn = Signal(str)

    def __init__(self, work: LesionWork, parent: QObject) -> None:
        super().__init__(parent)
        self._book = work.book
        self._drawn: dict[str, Drawn] = {}
        self._latest = Latest(self, delay_ms=STROKE_MS)
        self._latest.succeeded.connect(self._on_looked)
        work.watcher.touched.connect(self._on_touched)
        work.changed.connect(self._on_followed)

    @property
    def busy(self) -> bool:
        """Whether a mask was drawn on that is not looked at yet."""
        return self._latest.busy

    def digest(self, identity: str) -> str | None:
        """Give the fingerprint of a mask as it is drawn now.

        None where the photograph was not analysed.
        """
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        return None if lesion is None else lesion.digest if drawn is None else drawn.digest

    def find(self, identity: str, digest: str) -> LesionResult | None:
        """Give a photograph with a mask; what is derived from the mask may be of the one before.

        None where the mask is another one by now.
        """
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        if lesion is None or self.digest(identity) != digest:
            return None
        return lesion.result if drawn is None else replace(lesion.result, mask=drawn.mask)

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._latest.drop(identity)
        self._drawn.pop(identity, None)

    def _on_touched(self, identity: str) -> None:
        def prepare() -> Work | None:
            labels = self._book.mask(identity)
            if labels is None:
                return None
            mask = labels.data != 0
            return lambda run: _looked_at(identity, mask, run)

        self._latest.submit(identity, prepare)

    def _on_looked(self, drawn: Drawn) -> None:
        lesion = self._book.lesions.get(drawn.identity)
        before = self.digest(drawn.identity)
        if lesion is None or lesion.digest == drawn.digest:
            self._drawn.pop(drawn.identity, None)
        else:
            self._drawn[drawn.identity] = drawn
        if self.digest(drawn.identity) != before:
            self.drawn.emit(drawn.identity)

    def _on_followed(self, identity: str) -> None:
        """Go by what was derived, as soon as that is of the mask that was drawn."""
        lesion, drawn = self._book.lesions.get(identity), self._drawn.get(identity)
        if drawn is not None and (lesion is None or lesion.digest == drawn.digest):
            del self._drawn[identity]


def _looked_at(identity: str, mask: NDArray[np.bool_], run: RunContext) -> Drawn:
    """Take the fingerprint of a mask (in a thread)."""
    return Drawn(identity, fingerprint(mask), mask)
