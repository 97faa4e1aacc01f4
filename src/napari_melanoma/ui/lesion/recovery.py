"""Save unsaved corrections after each edit, offer to restore them after a crash, and restore them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.formatting import format_time_ago
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, LesionUpdate, result_for_mask
from napari_melanoma.ui.session.recovery import (
    adopt_recovery,
    find_recovery,
    prune_recoveries,
    recovery_folder,
    recovery_root,
    remove_recovery,
    save_recovery,
)
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.photographs import get_pixel_size
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.ui.lesion.layers import LesionLayers
    from napari_melanoma.ui.session.analyzed_lesion import MakeUpdate
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.session.recovery import RecoveredLesion
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

AUTOSAVE_DELAY_MS = 600
ReplaceMask = Callable[["PhotographSession", "MakeUpdate"], None]
"""Replaces the mask of a photograph by that of a new result."""


def discard_unsaved(sessions: Iterable[PhotographSession]) -> None:
    """Discard unsaved corrections and their recovery folders."""
    for session in sessions:
        if session.lesion is not None and session.lesion.unsaved:
            session.lesion = replace(session.lesion, unsaved=False)
            remove_recovery(recovery_folder(session.lesion.image_digest, session.identity))


def save_unsaved(sessions: Iterable[PhotographSession]) -> None:
    """Write unsaved corrections to recovery folders."""
    for session in sessions:
        lesion, labels = session.lesion, session.mask
        if lesion is not None and lesion.unsaved and labels is not None:
            folder = recovery_folder(lesion.image_digest, session.identity)
            save_recovery(folder, lesion.result, labels.data != 0, lesion.chosen, session.strokes)


def remove_saved_recoveries(sessions: Iterable[PhotographSession]) -> None:
    """Remove the recovery folders of photographs without unsaved corrections; called when the dock closes."""
    for session in sessions:
        if session.lesion is not None and not session.lesion.unsaved:
            remove_recovery(recovery_folder(session.lesion.image_digest, session.identity))


class LesionAutosave(QObject):
    """Writes, finds and removes recovery folders in a thread, one at a time."""

    recovery_found = Signal(object)  # PhotographSession
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = LatestJobQueue(self, delay_ms=AUTOSAVE_DELAY_MS)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    def save(self, session: PhotographSession) -> None:
        """Write the corrections of a photograph after a delay; a new request replaces a pending one."""

        def prepare() -> JobFunction | None:
            lesion, labels, strokes = session.lesion, session.mask, session.strokes
            if lesion is None or labels is None or not (lesion.unsaved or strokes is not None):
                return None
            folder = recovery_folder(lesion.image_digest, session.identity)
            return partial(_save, lesion, folder, labels.data != 0, strokes)

        self._latest.submit(f"keep {session.identity}", prepare)

    def save_removed(
        self, identity: str, lesion: AnalyzedLesion, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None
    ) -> None:
        """Write the unsaved corrections of a photograph that was removed.

        ``mask``: bool (row, column), the last mask. ``strokes``: uint8 (row, column); None if there were none.
        """
        folder = recovery_folder(lesion.image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_save_removed, lesion, folder, mask, strokes))

    def remove(self, identity: str, lesion: AnalyzedLesion) -> None:
        """Remove the recovery folder of a photograph whose corrections are saved or undone."""
        folder = recovery_folder(lesion.image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_remove, folder))

    def discard(self, recovered: RecoveredLesion) -> None:
        """Remove recovered corrections that the user discards."""
        self._latest.submit(f"discard {recovered.folder}", lambda: partial(_remove, recovered.folder))

    def adopt(self, identity: str, recovered: RecoveredLesion) -> None:
        """Assign recovered corrections to an open photograph."""
        folder = recovery_folder(recovered.image_digest, identity)
        self._latest.submit(f"adopt {identity}", lambda: partial(_adopt, recovered, folder))

    def find_recovered(self, session: PhotographSession, others: Collection[str]) -> None:
        """Search for recovered corrections of a photograph; the pixels are read only if there are recovery folders.

        ``others``: identities of the other open photographs.
        """
        source = session.source

        def find(run: RunContext) -> Callable[[], None]:
            return partial(self._on_found, session, _find_recovered(source, others, run))

        self._latest.submit(f"look {session.identity}", lambda: find)

    def _on_found(self, session: PhotographSession, recovered: RecoveredLesion | None) -> None:
        if recovered is not None:
            session.recovered = recovered
            self.recovery_found.emit(session)

    def _on_done(self, done: Callable[[], None] | None) -> None:
        if done is not None:
            done()


def _save(
    lesion: AnalyzedLesion, folder: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    run.check()
    save_recovery(folder, lesion.result, mask, lesion.chosen, strokes)


def _save_removed(
    lesion: AnalyzedLesion, folder: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    if lesion.unsaved or strokes is not None or array_fingerprint(mask) != lesion.mask_digest:
        _save(lesion, folder, mask, strokes, run)
    else:
        _remove(folder, run)


def _remove(folder: Path, run: RunContext) -> None:
    run.check()
    remove_recovery(folder)


def _adopt(recovered: RecoveredLesion, folder: Path, run: RunContext) -> None:
    run.check()
    adopt_recovery(recovered, folder)


def _find_recovered(source: LayerPhotographSource, others: Collection[str], run: RunContext) -> RecoveredLesion | None:
    run.check()
    prune_recoveries()
    if not any(recovery_root().glob("*/recovery.json")):
        return None
    photograph = source.read()
    return find_recovery(array_fingerprint(photograph.rgb), photograph, others)


class LesionRecovery(QObject):
    """Restores recovered corrections in the layers of a photograph."""

    def __init__(
        self,
        lesion_layers: LesionLayers,
        replace_mask: ReplaceMask,
        get_shared_options: Callable[[], LesionOptions],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._layers, self._replace_mask, self._get_shared_options = lesion_layers, replace_mask, get_shared_options

    def restore(self, session: PhotographSession, recovered: RecoveredLesion) -> None:
        """Restore recovered corrections; Ctrl+Z goes back to the current or the predicted mask."""
        lesion = session.masked_lesion
        if lesion is not None and lesion.image_digest == recovered.image_digest:
            self._restore_mask(session, recovered)
        elif session.is_open:
            digests = recovered.image_digest, recovered.mask_digest
            lesion = AnalyzedLesion.from_model(recovered.result, *digests, recovered.chosen, recovered.prompts[0])
            session.lesion = replace(lesion, default_options=self._get_shared_options())
            self._layers.add_layers(session, partial(self._restore_mask, session, recovered))

    def _restore_mask(self, session: PhotographSession, recovered: RecoveredLesion) -> None:
        if not session.is_open:
            return
        if recovered.scribbles is not None:
            strokes = layers.get_scribbles_layer(session.viewer, session.image)
            self._layers.editable_layer_added.emit(strokes)
            layers.add_strokes(strokes, recovered.scribbles)
        photograph = replace(recovered.result.photograph, pixel_size=get_pixel_size(session.image))
        base = replace(recovered.result, photograph=photograph)

        def make_update(lesion: AnalyzedLesion, mask: NDArray[np.uint8]) -> LesionUpdate:
            result = result_for_mask(base, recovered.mask)
            result = replace(result, provenance={**base.provenance, **recovered.origin})
            return LesionUpdate(result, recovered.chosen, recovered.prompts[1])

        self._replace_mask(session, make_update)


class RecoveryNotice(QFrame):
    """Offers to restore or discard recovered corrections of the photograph."""

    accepted = Signal()
    discarded = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._label = quiet_label()
        restore = named(QPushButton("Restore"), "recover", "Restore", "Restore the unsaved corrections")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Delete the unsaved corrections")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(row(restore, discard))
        restore.clicked.connect(self.accepted)
        discard.clicked.connect(self.discarded)
        self.hide()

    def show_offer(self, recovered: RecoveredLesion | None) -> None:
        """Offer to restore corrections; None hides the notice."""
        if recovered is not None:
            time_ago = format_time_ago(time.time() - recovered.saved_at)
            self._label.setText(f"This photograph has unsaved corrections from {time_ago}.")
        self.setVisible(recovered is not None)
