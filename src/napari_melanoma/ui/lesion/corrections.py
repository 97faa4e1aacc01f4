"""What the corrections bar does with the photograph in view, and what it says of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.lesion.corrections_store import CorrectionsStore, ReviewDecision, StoredCorrection, store_result
from napari_melanoma.ui.lesion.notices import confirm_other_lesions
from napari_melanoma.ui.viewer.photographs import METADATA_KEY

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Review
    from napari_melanoma.ui.lesion.controller import LesionController
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.footer import StoreStage
    from napari_melanoma.ui.lesion.state import AnalyzedLesion
    from napari_melanoma.ui.widgets.job import JobFunction

StoreKey = tuple[str, str, str, str, Path]


class LesionCorrectionsController(QObject):
    """Stores photographs with their masks in the corrections, each wish once."""

    stored = Signal(str, object)
    failed = Signal(object)

    def __init__(self, controls: LesionControls, work: LesionController) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = work
        self._bar = controls.corrections_bar
        self._diagnoses: dict[str, str] = {}
        self._last_keys: dict[str, StoreKey] = {}
        self._stored: dict[str, StoredCorrection] = {}
        self._storing: dict[str, str] = {}  # fingerprint of the mask that is being stored, by photograph
        self._stored_digests: dict[str, str] = {}  # and of the one that was stored last
        self._confirmed_others: dict[str, tuple[str, bool]] = {}  # what was said of other lesions, and of which mask
        self.corrections_store = CorrectionsStore(controls.review_settings, self)
        self.corrections_store.changed.connect(self.update_view)
        self.corrections_store.undone.connect(self._on_undone)
        self.corrections_store.failed.connect(self._on_failed)
        self._bar.add_requested.connect(self.add)
        self._bar.reject_requested.connect(self.reject)
        self._bar.undo_requested.connect(self.corrections_store.undo)
        self._bar.folder_chosen.connect(self._on_folder)
        self._bar.diagnosis_changed.connect(self._on_diagnosis)

    @property
    def busy(self) -> bool:
        """Whether something is being stored or read."""
        return self.corrections_store.busy

    def update_view(self) -> None:
        """Say of the photograph in view what can be stored, and what stands there already."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        standing = None if lesion is None else self.corrections_store.index.rows.get(lesion.image_digest)
        state = None if lesion is None else "corrected" if lesion.is_user_edited else "accepted"
        self._bar.set_photograph(state, identity is not None, self._store_stage(str(identity), lesion, state))
        self._bar.set_folder(self.corrections_store.folder, self.corrections_store.index.total)
        self._bar.set_stored_row(standing)
        self._bar.set_diagnoses(self.corrections_store.index.diagnoses)
        known = "" if standing is None else standing.get("diagnosis", "")
        self._bar.blockSignals(True)
        self._bar.set_diagnosis(self._diagnoses.get(str(identity), known))
        self._bar.blockSignals(False)

    def _store_stage(self, identity: str, lesion: AnalyzedLesion | None, state: str | None) -> StoreStage:
        """Whether the mask of a photograph, as it is now, is in the corrections."""
        if identity in self._storing:
            return "storing"
        row = None if lesion is None else self.corrections_store.index.rows.get(lesion.image_digest)
        if lesion is None or row is None or row.get("review") != state:
            return "open"
        return (
            "stored"
            if not lesion.is_user_edited or self._stored_digests.get(identity) == lesion.mask_digest
            else "open"
        )

    def add(self) -> None:
        """Store the photograph in view with its mask as it is drawn now."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        if identity is None or lesion is None or not self._bar.add_button.isEnabled():
            return
        known, with_others = self._confirmed_others.get(identity, ("", False))
        if not lesion.result.other_masks or known == lesion.mask_digest:
            self._store(identity, with_others=with_others and known == lesion.mask_digest)
        else:
            confirm_other_lesions(
                self._controls, lesion.result, partial(self._on_others_confirmed, identity, lesion.mask_digest)
            )

    def _on_others_confirmed(self, identity: str, digest: str, with_others: bool) -> None:
        """Store the photograph as the user said of the other lesions, unless the mask changed meanwhile."""
        lesion = self._lesion(identity)
        if lesion is not None and lesion.mask_digest == digest:
            self._confirmed_others[identity] = (digest, with_others)
            self._store(identity, with_others=with_others)

    def reject(self) -> None:
        """Store that the photograph in view is of no use; it need not be analysed for that."""
        identity = self._controls.picker.identity
        if identity is None:
            return
        if self._lesion(identity) is not None:
            self._store(identity, "rejected")
            return
        source = self._controller.store.source(identity)
        if source is not None:
            self._controls.status.begin("storing", "Storing ...")
            verdict = replace(self._make_decision(identity, "rejected"), keep_mask=True)
            self.corrections_store.reject(source, verdict, partial(self._on_stored, identity))

    def reset(self) -> None:
        """Take nothing for stored: the same wish is fulfilled again, as after an error."""
        self._last_keys.clear()
        self._stored.clear()
        self._storing.clear()
        self.update_view()

    def _store(self, identity: str, review: Review | None = None, *, with_others: bool = False) -> None:
        self._controls.status.begin("storing", "Storing ...")

        def use(lesion: AnalyzedLesion) -> JobFunction | None:
            image = self._controller.store.image(identity)
            verdict = self._make_decision(identity, review or ("corrected" if lesion.is_user_edited else "accepted"))
            if review == "rejected" and not lesion.unsaved:
                verdict = replace(verdict, keep_mask=True)
            verdict = replace(verdict, with_others=with_others)
            said = f"{verdict.review} {with_others}"
            key = (lesion.mask_digest, said, verdict.diagnosis or "", verdict.reviewer, self.corrections_store.folder)
            if self._last_keys.get(identity) == key or image is None:
                self._report_already_stored(identity)
                return None
            self._last_keys[identity] = key
            if review is None:
                self._storing[identity] = lesion.mask_digest
                self.update_view()
            folder, result, name = self.corrections_store.folder, lesion.result, image.name
            return lambda run: store_result(folder, result, name, verdict)

        self._controller.submit_save("store", identity, use, partial(self._on_stored, identity))

    def _lesion(self, identity: str | None) -> AnalyzedLesion | None:
        """What is known of a photograph that was analysed and still has its mask."""
        known = identity is not None and self._controller.store.mask(identity) is not None
        return self._controller.store.lesions[str(identity)] if known else None

    def _make_decision(self, identity: str, review: Review) -> ReviewDecision:
        image = self._controller.store.image(identity)
        path = None if image is None else image.metadata.get(METADATA_KEY, {}).get("path")
        settings = self._controls.review_settings
        if identity == self._controls.picker.identity and self._bar.diagnosis:  # none counts where the user said so
            settings.add_recent_diagnosis(self._bar.diagnosis)
            self._diagnoses[identity] = self._bar.diagnosis
        return ReviewDecision(review, settings.reviewer, self._diagnoses.get(identity), Path(path) if path else None)

    def _on_stored(self, identity: str, stored: StoredCorrection) -> None:
        if not self._diagnoses.get(identity):
            self._diagnoses.pop(identity, None)  # it is emptied once: what somebody else fills in later stays
        self._stored[identity] = stored
        if identity in self._storing:
            self._stored_digests[identity] = self._storing.pop(identity)
        self.corrections_store.set_stored(stored)
        self._report_stored(f"{stored.image_id} stored as {stored.review}")
        self.stored.emit(identity, stored)

    def _report_already_stored(self, identity: str) -> None:
        """Say of what is wished for twice that it stands there, and where to go from there."""
        stored = self._stored.get(identity)
        if stored is None:
            self._controls.status.end("storing")
        else:
            self._report_stored(f"{stored.image_id} stored already as {stored.review}")

    def _report_stored(self, message: str) -> None:
        link, standing = self._controls.icons.link, self.corrections_store.index
        train = f" {link('train', 'Train on them')}." if standing.total else ""
        where = link(standing.folder.as_uri(), standing.folder.name)
        self._controls.status.end(
            "storing", f"{message} in {where}: {format_count(standing.total, 'image')} with masks in all.{train}"
        )

    def _on_undone(self, image_id: str | None) -> None:
        for identity in self._last_keys:
            lesion = self._lesion(identity)
            standing = {} if lesion is None else self.corrections_store.index.rows.get(lesion.image_digest, {})
            if lesion is not None and lesion.corrected and standing.get("image_id", image_id) == image_id:
                lesion.unsaved = True  # what is drawn stands nowhere else now
                self._controller.autosave.save(identity, self._controller.store)
        self.reset()
        self._diagnoses.clear()
        self._stored_digests.clear()
        self.update_view()
        count = self.corrections_store.index.total
        there = f"Took back what was stored last of {image_id}: {format_count(count, 'image')} with masks in all."
        self._controls.status.show_message(there if image_id else "There is nothing to take back.")

    def _on_failed(self, error: Exception) -> None:
        self._controls.status.end("storing")
        self.reset()
        self.failed.emit(error)

    def _on_folder(self, folder: Path) -> None:
        self.reset()
        self._stored_digests.clear()
        self.corrections_store.folder = folder

    def _on_diagnosis(self, diagnosis: str) -> None:
        identity = self._controls.picker.identity
        if identity is not None:
            self._diagnoses[identity] = diagnosis.strip()
