"""The findings of a slide, as the current reader edits them, and the form of the synoptic report, a view of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, cast

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import file_stamp
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, describe_earlier_files, read_findings
from napari_melanoma.depth.readings import (
    FINDINGS,
    LINE_FIELDS,
    MODEL_READER,
    DepthReading,
    Line,
    SlideDepthProposals,
    SlideDepthReadings,
    add_reading,
    automatic_reading,
    current_reading,
    format_time,
    has_measured,
    hides_others,
    rename_reader,
    rescale_readings,
    set_values,
    values_for_line,
)
from napari_melanoma.depth.report_blocks import list_contradictions
from napari_melanoma.depth.shown_blocks import BlockChange, count_changed
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides.depth_readings import NetworkDepth
from napari_melanoma.slides.slide_content import SlideContent, read_slide_content
from napari_melanoma.slides.synoptic_files import (
    DAMAGED,
    SHOWN_FILES,
    StoredContent,
    list_slide_changes,
    read_stored_content,
    store_findings,
)
from napari_melanoma.ui.session.annotations import REGION_DOCUMENT
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.document import Document, DocumentKind, SlideFolder, Stored
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.session.lesions import LesionDocument
from napari_melanoma.ui.session.open_case import find_slide_lesion
from napari_melanoma.ui.session.open_slide import OpenSlide

BLIND_SETTING = "slide/depth_blind"
LOCK, LOCK_TIMEOUT_S = ".findings.lock", 20.0  # while findings are saved
READING_NAMED = "The reading without a name is now the reading of {}."
LOCKED = "The reading is locked: {} has signed. Reopen the synoptic report to change it."
READER_MEASURED = "the reader has measured this slide before"
READER_EXISTS = "{} has measured this slide before. The reading without a name is kept separately."

SCALE_LOCKED = "The scale is locked: {} has signed. Reopen the synoptic report to change it."
UNREADABLE = (
    "The {} is locked: the findings of the slide cannot be read, and they may be signed. Restore or remove their file "
    "findings.json, and open the slide again."
)
HIDDEN_CHANGES = "What has changed since the signature is shown after you have measured."
NOT_READ = "The synoptic report, which may be signed, is still being read. Set the scale again in a moment."


def describe_signature(report: SynopticReport) -> str:
    """Describe who has signed a report and when; empty if it is not signed."""
    return f"Signed by {report.signed_by}, {format_time(report.signed_at)}." if report.is_signed else ""


@dataclass(frozen=True)
class DepthPredictions:
    """The proposals of the analysis, and the depth that a network predicted for the Risk section, if any."""

    proposals: SlideDepthProposals = field(default_factory=SlideDepthProposals)
    network: NetworkDepth | None = None


@dataclass(frozen=True)
class DepthState:
    """The readings of a slide as one reader sees them.

    ``reader``: the name; empty if unknown. ``size``: pixel size of the slide. ``predicted``: also what is hidden.
    ``selected``: index of the selected proposal. ``is_blind``: results of the model are hidden until the reader has
    measured. ``shows_invalid``: the user wants to see results that are not valid.
    """

    readings: SlideDepthReadings = field(default_factory=SlideDepthReadings)
    reader: str = ""
    size: PixelSize | None = None
    predicted: DepthPredictions = field(default_factory=DepthPredictions)
    selected: int = 0
    is_blind: bool = False
    shows_invalid: bool = False

    @property
    def hides_model(self) -> bool:
        """Whether the results of the model are hidden, because the reader has not measured yet."""
        own = self.readings.reading_by(self.reader)
        return self.is_blind and (own is None or not own.when or own.line is None)

    @property
    def proposals(self) -> SlideDepthProposals:
        """The proposals of the analysis; none while they are hidden, and only why if they are not valid."""
        found = self.predicted.proposals
        if self.hides_model:
            return SlideDepthProposals()
        return found if found.validity.valid or self.shows_invalid else SlideDepthProposals(validity=found.validity)

    @property
    def network(self) -> NetworkDepth | None:
        """The depth that a network predicted; None while it is hidden."""
        return None if self.hides_model else self.predicted.network

    @property
    def automatic_reading(self) -> DepthReading:
        """The selected proposal of the analysis as a reading."""
        return automatic_reading(self.proposals, self.selected, self.size)

    @property
    def reading(self) -> DepthReading:
        """The current reading: the reader's own, or the automatic one if the reader has set no value."""
        return current_reading(self.readings, self.automatic_reading, self.reader)

    @property
    def risk_reading(self) -> DepthReading:
        """The reading that the Risk section uses: the reader's own, else the first proposal of the analysis."""
        own = self.reading
        if own.when and own.mm is not None:
            return own
        return automatic_reading(self.proposals, size=self.size).model_copy(update={"reader": self.reader})


class FindingsDocument(Document[SlideFindings]):
    """The findings of a slide; edits are those of the current reader, and undo is recorded in the findings.

    ``changed`` is also emitted when another part of ``state`` has changed, such as the predictions. ``form``: a view. A
    signed report locks the reading of its signer.
    """

    @classmethod
    def of(cls, session: OpenSlide) -> FindingsDocument:
        """Return the document of a slide."""
        return cast("FindingsDocument", session.document(FINDINGS_DOCUMENT))

    def __init__(self, session: OpenSlide) -> None:
        super().__init__(FINDINGS_DOCUMENT, session.slide_folder, session.sessions.parent)
        self._session, self._services = session, session.services
        self._size = session.slide.info.pixel_size  # to which the readings were converted last
        self._predicted, self._selected, self._shows_invalid = DepthPredictions(), 0, False
        self._reader_message = ""
        self._reader = ""  # as entered; empty if unknown
        self._is_edited = False  # by this reader, in this session
        self.form = SynopticForm(self, session)
        self.follow_reader()
        self._services.reader_changed.connect(self.follow_reader)
        self._services.workspace.case_changed.connect(self.refresh)  # its lesion is compared, and suggests findings
        session.analysis.changed.connect(self.reload_predictions)
        self.reload_predictions()

    @property
    def state(self) -> DepthState:
        """The readings as the current reader sees them."""
        size, is_blind = self._session.slide.info.pixel_size, bool(self._services.settings.get(BLIND_SETTING, False))
        return DepthState(self.value, self.reader, size, self._predicted, self._selected, is_blind, self._shows_invalid)

    @property
    def reader(self) -> str:
        """The current reader, as the findings spell the name; empty if unknown."""
        return self.value.spelling_of(self._reader)

    def set_blind(self, on: bool) -> None:
        """Hide the results of the model on all slides until the reader has measured, or show them."""
        self._services.settings.set(BLIND_SETTING, on)
        self.refresh()

    def follow_reader(self, _: str = "") -> None:
        """Switch to the reader whose name was entered last, who cannot undo changes of the previous one.

        A reading that was made in this session without a name gets the reader's name and keeps its history.
        """
        name, previous = self._services.reader, self._reader
        if name == previous or name.lower() == MODEL_READER:
            return
        self._reader = name
        self._show_reader_message("")  # it is about the previous reader
        if not previous and self._is_edited and self.can_undo:
            self._assign_reader()
        else:
            self._history = History(self.value)
        self._is_edited = False
        self.refresh()

    def follow_scale(self) -> None:
        """Convert the readings if the slide has another scale than before, unless a signed report rests on them."""
        if self._size != self._session.slide.info.pixel_size and not self.form.value.is_signed:
            self.rescale()

    def rescale(self) -> None:
        """Convert the readings to the scale of the slide, also those to which undo returns, unless they are locked."""
        previous, size, when = self._size, self._session.slide.info.pixel_size, utc_time()
        if not self.is_ready or self.find_reading_lock():
            return
        self._size = size
        before = self.value
        if size is not None:
            self.complete(lambda findings: rescale_readings(findings, size, self.reader, when, previous))
        if self.value is not before:
            self._save()
            self.refresh()

    def reload_predictions(self) -> None:
        """Read the proposals of the analysis and the prediction of a network again."""
        folder = self.location.folder
        self.submit(lambda run: _read_predictions(folder), self._on_predictions)

    def select_proposal(self, index: int) -> None:
        """Select another proposal; the reader's own values are kept."""
        if index != self._selected:
            self._selected = index
            self.refresh()

    def show_invalid(self, shown: bool) -> None:
        """Show results of the model that are not valid, or hide them."""
        if shown != self._shows_invalid:
            self._shows_invalid = shown
            self.refresh()

    def set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Set values of the reader as an undo step."""
        self._is_edited = True
        self.apply(lambda depth: set_values(depth, self.reader, utc_time(), **values))

    def set_findings(self, answers: Mapping[str, SynopticAnswer | None]) -> None:
        """Set findings of the reader, by field of the synoptic report, as one undo step; None makes one unknown."""
        self._is_edited = True
        self.apply(partial(self._set_answers, answers))

    def edit_form(self, before: SynopticReport, edit: Callable[[SynopticReport], SynopticReport]) -> None:
        """Edit the form ``before``, as one undo step: findings are set in the reading, other answers in the report."""

        def change(findings: SlideFindings) -> SlideFindings:
            after = edit(before)
            changed = {one: after.answer(one) for one in FINDINGS if after.answer(one) != before.answer(one)}
            findings = findings.edit_form(before, after)
            if after.is_signed or not changed:
                return findings
            self._is_edited = True
            return self._set_answers(changed, findings).with_report_of(self.reader)

        self.apply(change)

    def _set_answers(self, answers: Mapping[str, SynopticAnswer | None], findings: SlideFindings) -> SlideFindings:
        return findings.set_answers(answers, self.reader, utc_time(), self.state.automatic_reading)

    def accept_proposal(self) -> None:
        """Accept the line of the selected proposal as that of the reader."""
        predicted = self.state.automatic_reading
        if predicted.line is not None:
            self.set_values(**{name: getattr(predicted, name) for name in LINE_FIELDS})

    def set_line(self, line: Line, *, drawn: bool = False) -> None:
        """Set the line of the reading; ``drawn``: it is a new line, not the previous one with an end moved."""
        state, self._is_edited = self.state, True
        self.apply(
            lambda depth: set_values(
                depth, self.reader, utc_time(), **values_for_line(state.reading, line, state.size, drawn=drawn)
            )
        )

    def add_readings(self, readings: Sequence[DepthReading], on_done: Callable[[int, tuple[str, ...]], object]) -> None:
        """Add imported readings, once those of the slide have been read.

        ``on_done``: called with the number of readings that were added, and a note on the others.
        """

        def add(_: object) -> None:
            reason, before, size, when = self.problem or self.find_reading_lock(), self.value, self._size, utc_time()
            if not reason:
                self.apply(
                    lambda depth: reduce(lambda known, one: add_reading(known, one, size, when), readings, depth)
                )
            added = sum(self.value.reading_by(one.reader) is not before.reading_by(one.reader) for one in readings)
            left_out = f"{format_count(len(readings) - added, 'depth reading')} left out: {reason or READER_MEASURED}"
            on_done(added, (left_out,) if added < len(readings) else ())

        self.submit(lambda run: None, add)

    def close(self) -> None:
        """Write pending changes, and stop all tasks: the slide was closed."""
        self._services.reader_changed.disconnect(self.follow_reader)
        self._services.workspace.case_changed.disconnect(self.refresh)
        super().close()

    def find_reading_lock(self) -> str:
        """Return why the reading of the current reader is locked; empty if it is not."""
        if self.problem:
            return UNREADABLE.format("reading")
        report = self.form.value
        return LOCKED.format(report.signed_by) if report.is_signed_by(self.reader) else ""

    def _change(self, change: Callable[[History[SlideFindings]], History[SlideFindings]]) -> None:
        """Change the value, unless readings would change that are locked before and after."""

        def check(history: History[SlideFindings]) -> History[SlideFindings]:
            changed = change(history)
            before, after = history.current, changed.current
            if (
                before.readings != after.readings
                and before.report == after.report
                and (lock := self.find_reading_lock())
            ):
                raise InputError(lock)
            return changed

        super()._change(check)

    def _on_written(self, stored: Stored[SlideFindings] | None) -> None:
        super()._on_written(stored)
        self.form.update_file_changes()

    def _restore(self, previous: History[SlideFindings], restored: History[SlideFindings]) -> History[SlideFindings]:
        """Restore the values of a step of the history; the findings record this as another change."""
        return replace(restored, current=previous.current.restore(restored.current, self.reader, utc_time()))

    def _assign_reader(self) -> None:
        """Assign the reading without a name to the reader, unless the reader already has a reading."""
        own = self.value.reading_by(self.reader)
        if own is not None and own.when:
            self._history = History(self.value)
            self._show_reader_message(READER_EXISTS.format(self.reader))
        else:
            has_author = self.value.report is None or bool(self.form.value.reader)
            self.complete(lambda findings: rename_reader(findings, "", self.reader))
            self.complete(lambda findings: findings if has_author else findings.with_report_of(self.reader))
            self._save()
            self._show_reader_message(READING_NAMED.format(self.reader))

    def _show_reader_message(self, text: str) -> None:
        """Show a message; an empty text clears the previous one, unless another part of the dock has replaced it."""
        self._services.status.end_message(self._reader_message)
        if text:
            self._services.status.show_message(text)
        self._reader_message = text

    def _on_predictions(self, predicted: DepthPredictions) -> None:
        if predicted.proposals != self._predicted.proposals:
            self._selected, self._shows_invalid = 0, False
        self._predicted = predicted
        self.refresh()


class SynopticForm:
    """The form of the synoptic report of a slide: a view of its findings, and what has changed since it was signed."""

    def __init__(self, document: FindingsDocument, session: OpenSlide) -> None:
        self._document, self._session, self._services = document, session, session.services
        self._follows_drawn = self._reveals = False
        self._compared: tuple[object, ...] = ()  # the state that ``_changes`` is about
        self._changes: tuple[str | BlockChange, ...] = ()
        self._compared_files: tuple[object, ...] = ()  # the versions of the files that ``_file_content`` was read from
        self._file_content: StoredContent | None = None  # as other programs see it, if it differs from what was signed

    @property
    def value(self) -> SynopticReport:
        """The stored report; empty if the form was never used."""
        return self._document.value.report or SynopticReport()

    @property
    def _lesions(self) -> LesionDocument:
        return LesionDocument.of(self._session)

    @property
    def _drawn(self) -> tuple[Document[Any], ...]:
        """The points and the regions of the slide."""
        return tuple(self._session.document(kind) for kind in (COUNT_DOCUMENT, REGION_DOCUMENT))

    @property
    def shows_stored_lesions(self) -> bool:
        """Whether the lesions of the whole slide and of the class of its analysis are shown, not those of another."""
        lesions, target = self._lesions.value, self._session.results.value.content.get("target")
        if lesions is None or lesions.source.folder != self._session.folder:
            return False
        return not target or lesions.source.target == target

    @property
    def shown(self) -> SynopticReport:
        """The report with the findings of the reading, and with suggestions from it and from the lesion in the case.

        Without the findings of another reader who has signed, until this reader has measured.
        """
        return self.value.drop_findings() if self.hides_findings else self._prefill(self.value)

    @property
    def hides_findings(self) -> bool:
        """Whether the findings of the reader who has signed are hidden, so that this reader measures independently."""
        report, reader = self.value, self._document.reader
        is_other = report.is_signed and not report.is_signed_by(reader)
        is_measured = self._reveals or has_measured(self._document.value, reader)
        return is_other and not is_measured and has_measured(self._document.value, report.signed_by)

    @property
    def is_blind(self) -> bool:
        """Whether what other readers have measured, also in the case, is hidden until this one has measured."""
        return not self._reveals and hides_others(self._document.value, self._document.reader)

    def reveal_findings(self) -> None:
        """Show the findings of the reader who has signed also before this reader has measured."""
        self._reveals = True
        self._document.refresh()

    @property
    def shown_findings(self) -> SynopticReport:
        """The findings of the current reader: as signed, or as in ``shown`` also if another reader has signed."""
        report = self.value
        is_other = report.is_signed and not report.is_signed_by(self._document.reader)
        return self._prefill(SynopticReport() if is_other else report)

    def _prefill(self, report: SynopticReport) -> SynopticReport:
        lesion, depth = find_slide_lesion(self._services.workspace.case, self._session.slide), self._document.state
        reading, model, validity = depth.reading, depth.automatic_reading, depth.predicted.proposals.validity
        if validity.valid and not reading.author("ulcerated"):  # suggested also after the reader has measured
            authors = {**reading.all_authors(), "ulcerated": "model"}
            reading = reading.model_copy(update={"ulcerated": model.ulcerated, "authors": authors})
        return report.prefill(reading, lesion, validity, is_blind=self.is_blind)

    def set_answer(self, name: str, answer: SynopticAnswer | None) -> None:
        """Set or clear (None) a field, as one undo step."""
        self.edit(lambda report: report.set_answer(name, answer, self._services.reader, utc_time()))

    def confirm(self, *names: str) -> None:
        """Confirm the suggested answers of fields, or all suggestions if none is named."""
        self.edit(lambda report: report.confirm(*names, reader=self._services.reader, when=utc_time()))

    def edit(self, edit: Callable[[SynopticReport], SynopticReport]) -> None:
        """Edit the report with its suggestions; findings are set in the depth reading."""
        self._document.edit_form(self.shown, edit)

    def add_addendum(self, text: str) -> None:
        """Add a text to the signed report."""
        reader = self._services.reader
        self._document.apply(lambda one: one.with_report(self.value.add_addendum(text, reader, utc_time())))

    def read_content(self) -> SlideContent:
        """Return what a report on the slide shows, as the window does."""
        session, info = self._session, self._session.slide.info
        lesions, results, finest = self._lesions.value, session.results.value, info.levels[0]
        shown: dict[str, Any] = {} if results.is_view or not results.content else {"analysis": results.content}
        if self.shows_stored_lesions and lesions is not None:
            shown |= {"lesions": lesions.lesions, "threshold": lesions.config.high}
            shown |= {"analysis": lesions.to_saved().add_to(results.content)} if "analysis" in shown else {}
        for name, document in zip(("points", "regions"), self._drawn, strict=True):
            if document.is_ready and not document.problem:
                shown[name] = document.value
        return read_slide_content(
            session.folder,
            find_slide_lesion(self._services.workspace.case, session.slide),
            info.path,
            depth=self._document.value,
            proposals=self._document.state.predicted.proposals,
            measures=session.measures.value,
            fingerprint=info.fingerprint,
            pixel_size=info.pixel_size,
            shape=(finest.height, finest.width),
            **shown,
        )

    def sign(self, report: SynopticReport) -> SynopticReport:
        """Sign a report with its findings, and what is shown with it, as the current reader."""
        reader = self._document.reader
        return report.sign(reader, utc_time(), self.read_content().list_blocks(report, reader))

    def list_contradictions(self) -> tuple[str, ...]:
        """State what contradicts each other in the report as it would be signed now."""
        content = self.read_content()
        return tuple(one.text for one in list_contradictions(content.list_blocks(self.shown, self._document.reader)))

    def list_changes(self) -> tuple[str | BlockChange, ...]:
        """State what has changed since the report was signed; empty if it is not signed."""
        report, session = self.value, self._session
        if self._document.problem:
            return (DAMAGED,)
        if not report.is_signed:
            return ()
        lesion = find_slide_lesion(self._services.workspace.case, session.slide)
        self._follow_drawn()
        drawn = (document.value for document in self._drawn)
        shown = (self._lesions.value, session.results.value, session.slide.info, lesion, session.measures.value)
        ready, proposals = (one.is_ready for one in self._drawn), self._document.state.predicted.proposals
        state = (self._document.value, proposals, *shown, *drawn, *ready, self._file_content)
        is_same = len(state) == len(self._compared) and all(map(operator.is_, state, self._compared))
        if not is_same:  # outlines may be many
            self._compared = state
            stored = () if self._file_content is None else self._file_content.list_changes(lesion)
            changes = (*list_slide_changes(report, self.read_content()), *stored)
            self._changes = tuple({str(one): one for one in changes}.values())
        return (HIDDEN_CHANGES,) if self._changes and self.hides_findings else self._changes

    @property
    def has_changed_values(self) -> bool:
        """Whether a value has changed since the report was signed; other statements about the report do not count."""
        return count_changed(self.list_changes()) > 0

    def _follow_drawn(self) -> None:
        """Follow what is drawn on the slide, once the report is signed."""
        if self._follows_drawn:
            return
        self._follows_drawn = True
        for document in self._drawn:
            document.changed.connect(self._refresh)
            document.ready.connect(self._refresh)
            document.queue.idle.connect(self.update_file_changes)
        for value in (self._session.measures, self._session.results, self._lesions):
            value.changed.connect(self._refresh)

    def _refresh(self, _: object = None) -> None:
        """Show what has changed, after another value of the slide has changed."""
        if self.value.is_signed:
            self._document.refresh()

    def compare_files(self) -> None:
        """Compare what is stored with what the report showed when signed, as other programs see it, if it is new."""
        folder, slide = self._document.location.folder, self._document.location.slide
        stamps = tuple(file_stamp(path) for path in (*(folder / name for name in SHOWN_FILES), slide))
        if not self.value.is_signed or stamps == self._compared_files:
            return
        self._compared_files = stamps
        self._document.submit(lambda run: read_stored_content(folder, slide), self._on_compared)

    def update_file_changes(self) -> None:
        """Compare the files again if they differed: this window has written one of them."""
        if self._file_content is not None:
            self.compare_files()

    def _on_compared(self, stored: StoredContent) -> None:
        lesion = find_slide_lesion(self._services.workspace.case, self._session.slide)
        found = stored if stored.list_changes(lesion) else None
        if found is not self._file_content:
            self._lesions.saved.connect(self.update_file_changes, unique=True)
            self._file_content = found
            self._document.refresh()

    def find_scale_lock(self) -> str:
        """Return why the scale of the slide must not be changed now; empty if it may."""
        if self._document.problem:
            return UNREADABLE.format("scale")
        if not self._document.is_ready:
            return NOT_READ
        return SCALE_LOCKED.format(self.value.signed_by) if self.value.is_signed else ""


def _read(location: SlideFolder) -> Stored[SlideFindings]:
    stamp = file_stamp(location.folder / FINDINGS_FILE)
    return Stored(read_findings(location.folder), stamp, describe_earlier_files(location.folder))


def _write(location: SlideFolder, findings: SlideFindings, stored: Stored[SlideFindings]) -> Stored[SlideFindings]:
    with hold_lock(location.folder / LOCK, LOCK_TIMEOUT_S):  # nothing that another window saves meanwhile is lost
        saved, notes = store_findings(location.folder, location.slide, findings, stored.value, stored.stamp)
        stamp = file_stamp(location.folder / FINDINGS_FILE)
    is_other = (saved.readings, saved.report) != (findings.readings, findings.report)
    return Stored(saved, stamp, notes, replaces=is_other)


def _read_predictions(folder: Path) -> DepthPredictions:
    from napari_melanoma.slides.depth_readings import read_network_depth
    from napari_melanoma.slides.slide_content import read_proposals

    return DepthPredictions(read_proposals(folder), read_network_depth(folder))


FINDINGS_DOCUMENT = DocumentKind("findings", SlideFindings(), _read, _write, FindingsDocument, FINDINGS_FILE)
