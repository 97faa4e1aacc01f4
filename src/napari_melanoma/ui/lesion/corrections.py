"""What the corrections bar does with the photograph in view, and what it says of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.wording import counted
from napari_melanoma.ui.lesion.corrections_store import CorrectionsDesk, Stored, Verdict, store_result
from napari_melanoma.ui.lesion.notices import ask_about_others
from napari_melanoma.ui.viewer.photographs import KEY

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Review
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.footer import Stage
    from napari_melanoma.ui.lesion.state import Lesion
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.ui.widgets.job import Work

Key = tuple[str, str, str, str, Path]


class Collecting(QObject):
    """Stores photographs with their masks in the corrections, each wish once."""

    stored = Signal(str, object)
    failed = Signal(object)

    def __init__(self, controls: LesionControls, work: LesionWork) -> None:
        super().__init__(controls)
        self._controls = controls
        self._work = work
        self._bar = controls.corrections
        self._said: dict[str, str] = {}
        self._last: dict[str, Key] = {}
        self._stored: dict[str, Stored] = {}
        self._storing: dict[str, str] = {}  # fingerprint of the mask that is being stored, by photograph
        self._in_corrections: dict[str, str] = {}  # and of the one that was stored last
        self._others: dict[str, tuple[str, bool]] = {}  # what was said of other lesions, and of which mask
        self.desk = CorrectionsDesk(controls.review_settings, self)
        self.desk.changed.connect(self.show)
        self.desk.taken_back.connect(self._on_taken_back)
        self.desk.failed.connect(self._on_failed)
        self._bar.added.connect(self.add)
        self._bar.rejected.connect(self.reject)
        self._bar.taken_back.connect(self.desk.undo)
        self._bar.folder_chosen.connect(self._on_folder)
        self._bar.diagnosed.connect(self._on_diagnosis)

    @property
    def busy(self) -> bool:
        """Whether something is being stored or read."""
        return self.desk.busy

    def show(self) -> None:
        """Say of the photograph in view what can be stored, and what stands there already."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        standing = None if lesion is None else self.desk.standing.rows.get(lesion.image_digest)
        state = None if lesion is None else "corrected" if lesion.touched else "accepted"
        self._bar.set_photograph(state, identity is not None, self._stage(str(identity), lesion, state))
        self._bar.set_folder(self.desk.folder, self.desk.standing.total)
        self._bar.set_row(standing)
        self._bar.offer(self.desk.standing.diagnoses)
        known = "" if standing is None else standing.get("diagnosis", "")
        self._bar.blockSignals(True)
        self._bar.set_diagnosis(self._said.get(str(identity), known))
        self._bar.blockSignals(False)

    def _stage(self, identity: str, lesion: Lesion | None, state: str | None) -> Stage:
        """Whether the mask of a photograph, as it is now, is in the corrections."""
        if identity in self._storing:
            return "storing"
        row = None if lesion is None else self.desk.standing.rows.get(lesion.image_digest)
        if lesion is None or row is None or row.get("review") != state:
            return "open"
        return "stored" if not lesion.touched or self._in_corrections.get(identity) == lesion.digest else "open"

    def add(self) -> None:
        """Store the photograph in view with its mask as it is drawn now."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        if identity is None or lesion is None or not self._bar.add.isEnabled():
            return
        known, with_others = self._others.get(identity, ("", False))
        if not lesion.result.other_masks or known == lesion.digest:
            self._store(identity, with_others=with_others and known == lesion.digest)
        else:
            ask_about_others(self._controls, lesion.result, partial(self._on_others, identity, lesion.digest))

    def _on_others(self, identity: str, digest: str, with_others: bool) -> None:
        """Store the photograph as the user said of the other lesions, unless the mask changed meanwhile."""
        lesion = self._lesion(identity)
        if lesion is not None and lesion.digest == digest:
            self._others[identity] = (digest, with_others)
            self._store(identity, with_others=with_others)

    def reject(self) -> None:
        """Store that the photograph in view is of no use; it need not be analysed for that."""
        identity = self._controls.picker.identity
        if identity is None:
            return
        if self._lesion(identity) is not None:
            self._store(identity, "rejected")
            return
        source = self._work.book.source(identity)
        if source is not None:
            self._controls.status.begin("storing", "Storing ...")
            verdict = replace(self._verdict(identity, "rejected"), keeps_mask=True)
            self.desk.reject(source, verdict, partial(self._on_stored, identity))

    def forget(self) -> None:
        """Take nothing for stored: the same wish is fulfilled again, as after an error."""
        self._last.clear()
        self._stored.clear()
        self._storing.clear()
        self.show()

    def _store(self, identity: str, review: Review | None = None, *, with_others: bool = False) -> None:
        self._controls.status.begin("storing", "Storing ...")

        def use(lesion: Lesion) -> Work | None:
            image = self._work.book.image(identity)
            verdict = self._verdict(identity, review or ("corrected" if lesion.touched else "accepted"))
            if review == "rejected" and not lesion.unsaved:
                verdict = replace(verdict, keeps_mask=True)
            verdict = replace(verdict, with_others=with_others)
            said = f"{verdict.review} {with_others}"
            key = (lesion.digest, said, verdict.diagnosis or "", verdict.reviewer, self.desk.folder)
            if self._last.get(identity) == key or image is None:
                self._say_again(identity)
                return None
            self._last[identity] = key
            if review is None:
                self._storing[identity] = lesion.digest
                self.show()
            folder, result, name = self.desk.folder, lesion.result, image.name
            return lambda run: store_result(folder, result, name, verdict)

        self._work.hand_over("store", identity, use, partial(self._on_stored, identity))

    def _lesion(self, identity: str | None) -> Lesion | None:
        """What is known of a photograph that was analysed and still has its mask."""
        known = identity is not None and self._work.book.mask(identity) is not None
        return self._work.book.lesions[str(identity)] if known else None

    def _verdict(self, identity: str, review: Review) -> Verdict:
        image = self._work.book.image(identity)
        path = None if image is None else image.metadata.get(KEY, {}).get("path")
        settings = self._controls.review_settings
        if identity == self._controls.picker.identity and self._bar.diagnosis:  # none counts where the user said so
            settings.use_diagnosis(self._bar.diagnosis)
            self._said[identity] = self._bar.diagnosis
        return Verdict(review, settings.reviewer, self._said.get(identity), Path(path) if path else None)

    def _on_stored(self, identity: str, stored: Stored) -> None:
        if not self._said.get(identity):
            self._said.pop(identity, None)  # it is emptied once: what somebody else fills in later stays
        self._stored[identity] = stored
        if identity in self._storing:
            self._in_corrections[identity] = self._storing.pop(identity)
        self.desk.take(stored)
        self._say(f"{stored.image_id} stored as {stored.review}")
        self.stored.emit(identity, stored)

    def _say_again(self, identity: str) -> None:
        """Say of what is wished for twice that it stands there, and where to go from there."""
        stored = self._stored.get(identity)
        if stored is None:
            self._controls.status.end("storing")
        else:
            self._say(f"{stored.image_id} stored already as {stored.review}")

    def _say(self, what: str) -> None:
        link, standing = self._controls.icons.link, self.desk.standing
        train = f" {link('train', 'Train on them')}." if standing.total else ""
        where = link(standing.folder.as_uri(), standing.folder.name)
        self._controls.status.end(
            "storing", f"{what} in {where}: {counted(standing.total, 'image')} with masks in all.{train}"
        )

    def _on_taken_back(self, image_id: str | None) -> None:
        for identity in self._last:
            lesion = self._lesion(identity)
            standing = {} if lesion is None else self.desk.standing.rows.get(lesion.image_digest, {})
            if lesion is not None and lesion.corrected and standing.get("image_id", image_id) == image_id:
                lesion.unsaved = True  # what is drawn stands nowhere else now
                self._work.keeper.keep(identity, self._work.book)
        self.forget()
        self._said.clear()
        self._in_corrections.clear()
        self.show()
        count = self.desk.standing.total
        there = f"Took back what was stored last of {image_id}: {counted(count, 'image')} with masks in all."
        self._controls.status.say(there if image_id else "There is nothing to take back.")

    def _on_failed(self, error: Exception) -> None:
        self._controls.status.end("storing")
        self.forget()
        self.failed.emit(error)

    def _on_folder(self, folder: Path) -> None:
        self.forget()
        self._in_corrections.clear()
        self.desk.folder = folder

    def _on_diagnosis(self, diagnosis: str) -> None:
        identity = self._controls.picker.identity
        if identity is not None:
            self._said[identity] = diagnosis.strip()
