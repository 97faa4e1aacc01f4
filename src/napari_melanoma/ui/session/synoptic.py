"""The synoptic report of a slide as the current reader edits it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.files import file_stamp
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.readings import FINDINGS, DepthReading
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.io.results import OUTLINES, RESULT
from napari_melanoma.slides.synoptic_files import (
    ANALYSIS_ENTRIES,
    BASIS_FILES,
    DAMAGED,
    LESION_ENTRIES,
    SYNOPTIC_FILE,
    SignatureBasis,
    list_changes_since_signature,
    read_signature_basis,
    read_stated_synoptic,
    read_stored_synoptic,
    store_synoptic,
)
from napari_melanoma.ui.session.document import Document, DocumentKind, Edited, SlideFolder, Stored
from napari_melanoma.ui.session.open_case import find_slide_lesion

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.depth.synoptic import SynopticAnswer
    from napari_melanoma.ui.session.history import History
    from napari_melanoma.ui.session.slide import SlideSession

SCALE_LOCKED = "The scale is locked: {} has signed. Reopen the synoptic report to change it."
UNREADABLE = (
    "The scale is locked: the synoptic report cannot be read, and it may be signed. Restore or remove its file "
    "synoptic.json, and open the slide again."
)
NOT_READ = "The synoptic report, which may be signed, is still being read. Set the scale again in a moment."


class SynopticDocument(Document[SynopticReport]):
    """The synoptic report of a slide; a signed report locks the depth reading of its signer (``DepthDocument``)."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(SYNOPTIC_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._session, self._services = session, session.services
        self._compared: tuple[object, ...] = (None,) * 6  # the state that ``_changes`` is about
        self._changes: tuple[str, ...] = ()
        self._compared_files: tuple[object, ...] = ()  # the versions of the files that ``_file_changes`` is about
        self._file_changes: tuple[str, ...] = ()

    @property
    def shows_stored_lesions(self) -> bool:
        """Whether the lesions of the whole slide and of the class of its analysis are shown, not those of another."""
        lesions, target = self._session.lesions.value, self._session.results.value.content.get("target")
        if lesions is None or lesions.source.folder != self._session.folder:
            return False
        return not target or lesions.source.target == target

    @property
    def shown(self) -> SynopticReport:
        """The report with the findings of the reading, and with suggestions from it and from the lesion in the case."""
        return self._prefill(self.value)

    @property
    def shown_findings(self) -> SynopticReport:
        """The findings of the current reader: as signed, or as in ``shown`` also if another reader has signed."""
        report = self.value
        is_other = report.is_signed and report.signed_by != self._session.depth.reader
        return self._prefill(SynopticReport() if is_other else report)

    def _prefill(self, report: SynopticReport) -> SynopticReport:
        lesion, depth = find_slide_lesion(self._services.window, self._session.slide), self._session.depth.state
        reading, model, validity = depth.reading, depth.automatic_reading, depth.predicted.proposals.validity
        if validity.valid and not reading.author("ulcerated"):  # suggested also after the reader has measured
            authors = {**reading.all_authors(), "ulcerated": "model"}
            reading = reading.model_copy(update={"ulcerated": model.ulcerated, "authors": authors})
        return report.prefill(reading, lesion, validity)

    def set_answer(self, name: str, answer: SynopticAnswer | None) -> None:
        """Set or clear (None) a field, as one undo step."""
        self.edit(lambda report: report.set_answer(name, answer, self._services.reader, utc_time()))

    def confirm(self, *names: str) -> None:
        """Confirm the suggested answers of fields, or all suggestions if none is named."""
        self.edit(lambda report: report.confirm(*names, reader=self._services.reader, when=utc_time()))

    def edit(self, edit: Callable[[SynopticReport], SynopticReport]) -> None:
        """Edit the report with its suggestions; findings are set in the depth reading."""
        self._move_findings()
        before, findings = self.shown, {}

        def change(report: SynopticReport) -> SynopticReport:
            edited = edit(before)
            if edited.is_signed:
                return edited
            for name in FINDINGS:
                if (answer := edited.answers.get(name)) != before.answers.get(name):
                    findings[name] = answer
            is_unchanged = edited.without_findings().answers == before.without_findings().answers
            return report if is_unchanged else report.with_form(edited)

        self.apply(change)
        if findings:
            self._session.depth.set_findings(findings)
            self.set_reader(self._services.reader)

    def _move_findings(self) -> None:
        """Save findings that earlier versions stored in a draft with the reading, which contains them already."""
        report, depth = self.value, self._session.depth
        if report.is_signed or report.answers.keys().isdisjoint(FINDINGS) or not depth.is_ready or depth.problem:
            return
        depth.save()
        depth.flush()
        self.complete(lambda one: one if one.is_signed else one.without_findings())
        self.save()

    def find_steps(self) -> tuple[Edited[Any] | None, Edited[Any] | None]:
        """Return the documents of the report and its findings whose steps to undo and redo are next; None for none."""
        documents: tuple[Edited[Any], ...] = (self, self._session.depth)
        undone = max((one for one in documents if one.can_undo), key=lambda one: one.last_step, default=None)
        redone = min((one for one in documents if one.can_redo), key=lambda one: one.undone_step, default=None)
        return undone, redone

    def read_basis(self, reader: str) -> SignatureBasis:
        """Return what a report that a reader signs rests on, as the window shows it."""
        session = self._session
        lesions, results = session.lesions.value, session.results.value
        analysis, left_out = {} if results.is_view else results.content, frozenset[str]()
        if not self.shows_stored_lesions:
            lesions = None
        if lesions is None and (session.folder / OUTLINES).is_file():  # others are shown, or they are not read yet
            left_out |= LESION_ENTRIES
        if not analysis and (session.folder / RESULT).is_file():
            left_out |= ANALYSIS_ENTRIES
        return SignatureBasis(
            reading=session.depth.value.reading_by(reader) or DepthReading(),
            fingerprint=session.slide.info.fingerprint,
            pixel_size=session.slide.info.pixel_size,
            lesions=None if lesions is None else lesions.lesions,
            threshold=None if lesions is None else lesions.config.high,
            analysis=analysis,
            lesion=find_slide_lesion(self._services.window, session.slide),
            left_out=left_out,
        )

    def sign(self, report: SynopticReport) -> SynopticReport:
        """Sign a report with its findings as the current reader."""
        session, reader = self._session, self._session.depth.reader
        basis = self.read_basis(reader)
        values = basis.values()
        if basis.left_out:
            stored = read_signature_basis(session.folder, session.depth.value, reader, slide=self.location.slide)
            values |= {name: value for name, value in stored.values().items() if name in basis.left_out}
        return report.sign(reader, utc_time(), values)

    def list_changes(self) -> tuple[str, ...]:
        """State what has changed since the report was signed; empty if it is not signed."""
        report, session = self.value, self._session
        if self.problem:
            return (DAMAGED,)
        if not report.is_signed:
            return ()
        lesion = find_slide_lesion(self._services.window, session.slide)
        state = (report, session.depth.value, session.lesions.value, session.results.value, session.slide.info, lesion)
        if any(one is not other for one, other in zip(state, self._compared, strict=True)):  # outlines may be many
            self._compared = state
            self._changes = list_changes_since_signature(report, self.read_basis(report.signed_by))
        return tuple(dict.fromkeys((*self._changes, *self._file_changes)))

    def compare_files(self) -> None:
        """Compare what is stored with what the report rested on when signed, as other programs see it, if it is new."""
        folder, slide = self.location.folder, self.location.slide
        stamps = tuple(file_stamp(path) for path in (*(folder / name for name in BASIS_FILES), slide))
        if not self.value.is_signed or stamps == self._compared_files:
            return
        self._compared_files = stamps
        self.submit(lambda run: read_stated_synoptic(folder, slide=slide)[1], self._on_compared)

    def update_file_changes(self) -> None:
        """Compare the files again if they differed: this window has written one of them."""
        if self._file_changes:
            self.compare_files()

    def _on_compared(self, changes: tuple[str, ...]) -> None:
        if changes != self._file_changes:
            self._session.lesions.saved.connect(self.update_file_changes, unique=True)
            self._file_changes = changes
            self.refresh()

    def _on_written(self, stored: Stored[SynopticReport] | None) -> None:
        super()._on_written(stored)
        self.update_file_changes()

    def set_reader(self, reader: str) -> None:
        """Record whose findings the report contains until it is signed, in its file, from which it is exported."""
        if not self.has_file or self.value.reader != reader:
            self.complete(lambda one: one if one.is_signed else one.model_copy(update={"reader": reader}))
            self.save()

    def find_scale_lock(self) -> str:
        """Return why the scale of the slide must not be changed now; empty if it may."""
        if self.problem:
            return UNREADABLE
        if not self.is_ready:
            return NOT_READ
        return SCALE_LOCKED.format(self.value.signed_by) if self.value.is_signed else ""

    def _restore(self, previous: History[SynopticReport], restored: History[SynopticReport]) -> History[SynopticReport]:
        """Restore the answers of an earlier state, and record this change; undo does not remove a signature."""
        report = previous.current
        edited = report.restore(restored.current, self._services.reader, utc_time())
        return replace(restored, current=report.with_form(edited))  # findings are those of the reading


def _read(location: SlideFolder) -> Stored[SynopticReport]:
    stored = read_stored_synoptic(location.folder)
    return Stored(stored.report, stored.stamp, stored.notes)


def _write(location: SlideFolder, report: SynopticReport, stored: Stored[SynopticReport]) -> Stored[SynopticReport]:
    saved = store_synoptic(location.folder, location.slide, report, stored.stamp)
    return Stored(saved.report, saved.stamp, saved.notes, replaces=saved.report is not report)


SYNOPTIC_DOCUMENT = DocumentKind("synoptic", SynopticReport(), _read, _write, SynopticDocument, SYNOPTIC_FILE)
