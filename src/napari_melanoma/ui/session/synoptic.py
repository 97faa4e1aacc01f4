"""The synoptic report of a slide as the current reader edits it."""

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


class SynopticDocument(Document[SynopticReport]):
    """The synoptic report of a slide; a signed report locks the depth reading of its signer (``DepthDocument``)."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(SYNOPTIC_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._services = session.services

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
