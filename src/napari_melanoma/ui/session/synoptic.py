"""The synoptic report of a slide as the current reader edits it; once signed, it locks the depth reading."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.slides.synoptic_files import read_stored_synoptic, store_synoptic
from napari_melanoma.ui.session.document import Document, DocumentKind, SlideFolder, Stored

if TYPE_CHECKING:
    from napari_melanoma.ui.session.history import History
    from napari_melanoma.ui.session.slide import SlideSession

LOCKED = "The reading is locked: {} has signed the synoptic report that rests on it. Reopen the report to change it."


class SynopticDocument(Document[SynopticReport]):
    """The synoptic report of a slide; a signed report locks the depth reading of its signer."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(SYNOPTIC_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._services, self._depth = session.services, session.depth
        self._depth.find_lock = self._find_depth_lock
        self.changed.connect(self._depth.refresh)

    def _find_depth_lock(self) -> str:
        """Return why the reading of the current reader is locked; empty if it is not."""
        report = self.value
        is_locked = report.is_signed and report.signed_by == self._depth.reader
        return LOCKED.format(report.signed_by) if is_locked else ""

    def _restore(self, previous: History[SynopticReport], restored: History[SynopticReport]) -> History[SynopticReport]:
        """Restore the answers of an earlier state, and record this change; undo does not remove a signature."""
        report = previous.current.restore(restored.current, self._services.reader, utc_time())
        return replace(restored, current=report)


def _read(location: SlideFolder) -> Stored[SynopticReport]:
    stored = read_stored_synoptic(location.folder)
    return Stored(stored.report, stored.stamp, stored.notes)


def _write(location: SlideFolder, report: SynopticReport, stored: Stored[SynopticReport]) -> Stored[SynopticReport]:
    saved = store_synoptic(location.folder, location.slide, report, stored.stamp)
    return Stored(saved.report, saved.stamp, saved.notes)


SYNOPTIC_DOCUMENT = DocumentKind("synoptic", SynopticReport(), _read, _write, SynopticDocument)
