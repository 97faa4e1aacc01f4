"""The Synoptic report section of a slide: a form whose content is saved with the slide."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtCore import Qt

from napari_melanoma.case.model import add_slide_findings, set_lesion
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.extensions.synoptic.ui.form import ReportForm
from napari_melanoma.slides.synoptic_files import compare_reports, list_other_changes
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.depth import FINDINGS_DOCUMENT
from napari_melanoma.ui.session.document import HistoryStep
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.widgets.status_line import show_outcome
from napari_melanoma.ui.widgets.style import tool_button

CHANGED_ELSEWHERE = (
    "Not signed: another program has changed the reading, the report or the scale of this slide{}. Review what is "
    "shown now, and sign again."
)
SIGNED = "The synoptic report is signed by {}, and locked until it is reopened."
OTHER_IN_CASE = (
    "The lesion has other values in the case: {}. Correct one of the two, or press Add to case to replace those in the "
    "case."
)
EMPTY_REPORT = "the synoptic report is empty: fill in the form first."


class SynopticSection(SlideSection):
    """Fill in the synoptic report of a slide, with suggestions from the depth reading and from the case."""

    documents = (FINDINGS_DOCUMENT,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services, self._document, self._synoptic = session.services, session.findings, session.synoptic
        self._signed_message = ""  # shown until the report is reopened
        self.form = form = ReportForm(self._synoptic.list_contradictions)
        self.add(form)
        steps = {"undo": ("↶", "Undo the last change in this section"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            name: tool_button(f"synoptic_{name}", tip, tip, text) for name, (text, tip) in steps.items()
        }
        for name, button in self.history_buttons.items():
            form.reader_row.layout().addWidget(button)
            button.clicked.connect(lambda _=False, name=name: self._step(name))
        tip = "Copy the report to the lesion of the case that is open in the Case dock"
        self.case_button = tool_button("synoptic_case", tip, tip, "Add to case")
        buttons = form.button_row.layout()
        buttons.addWidget(self.case_button)
        buttons.setAlignment(self.case_button, Qt.AlignmentFlag.AlignTop)
        status, edited = self._services.status, self._document.edited
        self.case_button.clicked.connect(lambda: show_outcome(status, self._add_to_case, edited))
        self._connect()
        self._update()

    def _connect(self) -> None:
        session, form, document, services = self.session, self.form, self._synoptic, self._services
        form.findings.answered.connect(document.set_answer)
        form.findings.lock_pressed.connect(services.status.show_message)
        form.confirm_requested.connect(lambda name: document.confirm(*([name] if name else [])))
        form.sign_requested.connect(self._sign)
        form.reopen_requested.connect(self._reopen)
        form.reveal_requested.connect(document.reveal_findings)
        form.addendum_entered.connect(document.add_addendum)
        form.reader_entered.connect(services.set_reader)
        self.follow(session.findings.changed, self._update)
        self.follow(services.reader_changed, self._update)
        self.follow(session.commit_requested, form.findings.flush)
        self.follow(session.displayed.changed, form.close_dialogs)

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        """Whether a field of the report is filled in."""
        return bool(session.synoptic.value.complete_from(session.findings.state.reading).answers)

    def _update(self, _: object = None) -> None:
        document = self._synoptic
        report = document.shown
        changes = (*document.list_changes(), *self._compare_with_case(report))
        self.form.show_report(
            report, self._services.reader, changes, is_editable=True, hides_findings=document.hides_findings
        )
        if self._signed_message and not report.is_signed:  # it was reopened, here or elsewhere
            self._services.status.end_message(self._signed_message)
            self._signed_message = ""
        for name, button in self.history_buttons.items():
            button.setEnabled(getattr(self._document, f"can_{name}") and not report.is_signed)
        self.case_button.setEnabled(bool(report.answers))

    def _compare_with_case(self, report: SynopticReport) -> Iterator[str]:
        """State what the lesion of the open case has other values of, or that other findings were added to it."""
        opened, slide = self._services.workspace.case, self.session.slide
        lesion = find_slide_lesion(opened, slide)
        if lesion is None or self._synoptic.is_blind:
            return
        added = find_open_case(opened, slide, True).image.findings
        if other := compare_reports(report, lesion.form):
            yield OTHER_IN_CASE.format(other)
        elif added and (other := added.describe_difference(self._document.value, slide.info.path.name)):
            yield other

    def _sign(self) -> None:
        """Sign the report, and lock it and the reading that it rests on; not if they are shown as they were before."""
        document, slide, status = self._synoptic, self.session.slide_folder, self._services.status
        reader = self._services.reader
        shown, content = document.value, document.read_content()
        if self.session.check_files():
            status.show_message(CHANGED_ELSEWHERE.format(""))
            self._document.submit(
                lambda run: list_other_changes(slide.folder, slide.slide, shown, content, reader), self._name_changes
            )
            return
        document.edit(document.sign)
        lesions, signed = self.session.lesions, document.value
        if not signed.is_signed:
            return
        self._signed_message = SIGNED.format(signed.signed_by)
        status.show_message(self._signed_message)  # not why it was refused before
        if not lesions.is_saved and document.shows_stored_lesions:
            lesions.save()

    def _name_changes(self, changes: tuple[str, ...]) -> None:
        """Add what another program has changed to the message that the report is not signed."""
        if changes and self._services.status.text == CHANGED_ELSEWHERE.format(""):
            self._services.status.show_message(CHANGED_ELSEWHERE.format(f" ({'; '.join(changes)})"))

    def _reopen(self) -> None:
        """Unlock a signed report; its reading then follows a scale that was set elsewhere."""
        self._document.apply(lambda findings: findings.reopen(self._services.reader, utc_time()))
        if not self._synoptic.value.is_signed:
            self._document.rescale()

    def _step(self, direction: HistoryStep) -> None:
        """Undo the last step, of the report or of its findings, or redo the first undone one."""
        self.form.findings.flush()
        self._document.step(direction)

    def _add_to_case(self) -> str:
        """Copy the report to the slide's lesion in the open case; return a message for the user."""
        slide, opened = self.session.slide, self._services.workspace.case
        findings = self._document.value.with_report(self._synoptic.value)
        report = findings.view_report(self._services.reader) or SynopticReport()
        if not report.answers:
            raise InputError(EMPTY_REPORT)
        open_case, _, case, image = find_open_case(opened, slide)
        lesion = find_slide_lesion(opened, slide)
        if lesion is None:
            raise InputError("the slide belongs to no lesion of the open case: drop it on its lesion in the Case dock.")
        is_other = lesion.report is not None and lesion.report.answers != report.answers
        if is_other and lesion.report is not None and lesion.report.is_signed:
            raise InputError("the lesion has a signed synoptic report in the case. Reopen it in the Case dock first.")
        case = set_lesion(case, lesion.id, synoptic=report)
        open_case.edit(add_slide_findings(case, image.id, self._document.value, utc_time()), "the synoptic report")
        replaced = " It replaces the previous one; Undo in the Case dock restores it."
        replaced = replaced if is_other and lesion.report is not None and lesion.report.answers else ""
        return f"Added to the case, with the lesion of {image.path.name}: the synoptic report.{replaced}"
