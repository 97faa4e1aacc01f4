"""Keeps corrections in recovery folders while they are drawn, and looks for those that a crash left behind."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui import recovery
from napari_melanoma.ui.job import Latest, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.lesion.book import LesionBook
    from napari_melanoma.ui.lesion.state import Lesion
    from napari_melanoma.ui.photographs import Source

KEEP_MS = 600


class Keeper(QObject):
    """Writes, finds and removes recovery folders in a thread, one thing at a time."""

    found = Signal(str, object)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = Latest(self, delay_ms=KEEP_MS)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is still to be written."""
        return self._latest.busy

    def keep(self, identity: str, book: LesionBook) -> None:
        """Write corrections soon; of several wishes in a row the last is written."""

        def prepare() -> Work | None:
            lesion, labels = book.lesions.get(identity), book.mask(identity)
            strokes = book.strokes(identity)
            if lesion is None or labels is None or not (lesion.unsaved or strokes is not None):
                return None
            return partial(_save, lesion, recovery.place(lesion.image_digest, identity), labels.data != 0, strokes)

        self._latest.submit(f"keep {identity}", prepare)

    def keep_last(
        self, identity: str, lesion: Lesion, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None
    ) -> None:
        """Write what is not saved of a photograph that was removed.

        ``mask``: bool (row, column), the mask as it was. ``strokes``: uint8 (row, column); None where there were none.
        """
        place = recovery.place(lesion.image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_save_last, lesion, place, mask, strokes))

    def forget(self, identity: str, book: LesionBook) -> None:
        """Remove what was kept of a photograph, because it is saved or undone."""
        place = recovery.place(book.lesions[identity].image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_remove, place))

    def discard(self, found: recovery.Recovered) -> None:
        """Remove what a crash left, because nobody wants it."""
        self._latest.submit(f"discard {found.place}", lambda: partial(_remove, found.place))

    def adopt(self, identity: str, found: recovery.Recovered) -> None:
        """Let what a crash left become what is kept of a photograph."""
        place = recovery.place(found.image_digest, identity)
        self._latest.submit(f"adopt {identity}", lambda: partial(_adopt, found, place))

    def look_for(self, identity: str, source: Source, others: Collection[str]) -> None:
        """Look whether a crash left corrections of a photograph; costs nothing where nothing was ever left."""
        self._latest.submit(f"look {identity}", lambda: partial(_look, identity, source, others))

    def _on_done(self, found: tuple[str, recovery.Recovered] | None) -> None:
        if found is not None:
            self.found.emit(*found)


def _save(
    lesion: Lesion, place: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    run.check()
    recovery.save(place, lesion.result, mask, lesion.chosen, strokes)


def _save_last(
    lesion: Lesion, place: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    if lesion.unsaved or strokes is not None or fingerprint(mask) != lesion.digest:
        _save(lesion, place, mask, strokes, run)
    else:
        _remove(place, run)


def _remove(place: Path, run: RunContext) -> None:
    run.check()
    recovery.remove(place)


def _adopt(found: recovery.Recovered, place: Path, run: RunContext) -> None:
    run.check()
    recovery.adopt(found, place)


def _look(
    identity: str, source: Source, others: Collection[str], run: RunContext
) -> tuple[str, recovery.Recovered] | None:
    run.check()
    recovery.prune()
    if not any(recovery.folder().glob("*/recovery.json")):
        return None
    photograph = source.read()
    found = recovery.find(fingerprint(photograph.rgb), photograph, others)
    return None if found is None else (identity, found)
