"""The Synoptic report section of a slide: a form whose content is saved with the slide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QWidget

from napari_melanoma.case.model import set_lesion_report
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.readings import FINDINGS, DepthReading
from napari_melanoma.extensions.synoptic.ui.form import SynopticForm
from napari_melanoma.slides.synoptic_files import list_other_changes
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.depth import DEPTH_DOCUMENT
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.synoptic import SYNOPTIC_DOCUMENT
from napari_melanoma.ui.widgets.status_line import show_outcome
from napari_melanoma.ui.widgets.style import fill_column, tool_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
    from napari_melanoma.ui.session.document import Edited, HistoryStep
    from napari_melanoma.ui.session.slide import SlideSession

NOT_READ = "The depth readings of the slide are still being read. Reopen the report in a moment."
CHANGED_ELSEWHERE = (
    "Not signed: another program has changed the reading, the report or the scale of this slide{}. Review what is "
    "shown now, and sign again."
)
SIGNED = "The synoptic report is signed by {}, and locked until it is reopened."
EMPTY_REPORT = "the synoptic report is empty: fill in the form first."


class SynopticSection(Section):
    """Fill in the synoptic report of a slide, with suggestions from the depth reading and from the case."""

    documents = (DEPTH_DOCUMENT, SYNOPTIC_DOCUMENT)
    keeps_widget = True  # takes 0.5 s

    def __init__(self) -> None:
        self.controller: SynopticController | None = None
        self._view: SynopticView | None = None

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets, which show the report of a slide."""
        self._view = self._view or SynopticView()
        self.controller = SynopticController(session, self._view)
        return self._view

    def has_content(self, session: SlideSession) -> bool:
        """Whether a field of the report is filled in."""
        return bool(session.synoptic.value.with_findings(session.depth.state.reading).answers)

    def close(self) -> None:
        """Disconnect all signals."""
        if self.controller is not None:
            self.controller.close()
            self.controller = None


class SynopticController(QObject):
    """Synchronize the form with the report of a slide, and with the values that it rests on."""

    def __init__(self, session: SlideSession, view: SynopticView) -> None:
        super().__init__(view)
        self.view = view
        self._session, self._services, self._document = session, session.services, session.synoptic
        self._connections = SectionConnections(self)
        self._connect(view)
        self._show(is_other=True)

    def _connect(self, view: SynopticView) -> None:
        form = view.form
        for signal, slot in (
            # The depth readings change with the report, too, as it locks them.
            (self._session.depth.changed, self._update),
            (self._session.lesions.changed, self._update),
            (self._session.results.changed, self._show_changes),
            (self._services.reader_changed, self._update),
            (self._session.commit_requested, form.flush),
            (form.answered, self.set_answer),
            (form.confirm_requested, self.confirm),
            (form.sign_requested, self._sign),
            (form.reopen_requested, self._reopen),
            (form.addendum_entered, self._add_addendum),
            (form.reader_entered, self._services.set_reader),
            (view.history_buttons["undo"].clicked, lambda: self._step("undo")),
            (view.history_buttons["redo"].clicked, lambda: self._step("redo")),
            (view.case_button.clicked, lambda: show_outcome(self._services.status, self._add_to_case)),
        ):
            self._connections.connect(signal, slot)
        case: Any = getattr(self._services.window.findChild(QWidget, "case_dock"), "controller", None)
        if case is not None:
            case.changed.connect(self._show_changes)  # until this is deleted, as the dock may be deleted first

    def close(self) -> None:
        """Disconnect all signals, and close a dialog about the report."""
        self.view.form.close_dialogs()
        self._connections.close()
        self.deleteLater()

    def set_answer(self, name: str, answer: SynopticAnswer | None) -> None:
        """Set or clear (None) a field, as one undo step."""
        self._apply(lambda report: report.set_answer(name, answer, self._reader, utc_time()))

    @property
    def _reader(self) -> str:
        return self._services.reader

    def _apply(self, edit: Callable[[SynopticReport], SynopticReport]) -> None:
        """Edit the report with its suggestions; findings are set in the depth reading."""
        self._move_findings()
        before, findings = self._suggest(self._document.value), {}

        def change(report: SynopticReport) -> SynopticReport:
            edited = edit(before)
            if edited.is_signed:
                return edited
            for name in FINDINGS:
                if (answer := edited.answers.get(name)) != before.answers.get(name):
                    findings[name] = answer
            is_unchanged = edited.without_findings().answers == before.without_findings().answers
            return report if is_unchanged else report.with_form(edited)

        self._document.apply(change)
        if findings:
            self._session.depth.set_findings(findings)
            self._document.set_reader(self._reader)

    def _move_findings(self) -> None:
        """Save findings that earlier versions stored in a draft with the reading, which contains them already."""
        report, depth = self._document.value, self._session.depth
        if report.is_signed or report.answers.keys().isdisjoint(FINDINGS) or not depth.is_ready or depth.problem:
            return
        depth.save()
        depth.flush()
        self._document.complete(lambda one: one if one.is_signed else one.without_findings())
        self._document.save()

    def confirm(self, name: str = "") -> None:
        """Confirm the suggested answer of a field, or all suggestions if ``name`` is empty."""
        names = (name,) if name else ()
        self._apply(lambda report: report.confirm(*names, reader=self._reader, when=utc_time()))

    def _sign(self) -> None:
        """Sign the report, and lock it and the reading that it rests on; not if they are shown as they were before."""
        document, slide, reader = self._document, self._session.slide_folder, self._reader
        shown, basis = document.value, document.read_basis(reader)
        if self._session.check_files():
            self._services.status.show_message(CHANGED_ELSEWHERE.format(""))
            document.submit(
                lambda run: list_other_changes(slide.folder, slide.slide, shown, basis, reader), self._name_changes
            )
            return
        self._apply(self._document.sign)
        lesions, signed = self._session.lesions, self._document.value
        if not signed.is_signed:
            return
        self._services.status.show_message(SIGNED.format(signed.signed_by))  # not why it was refused before
        if not lesions.is_saved and self._document.shows_stored_lesions:
            lesions.save()

    def _name_changes(self, changes: tuple[str, ...]) -> None:
        """Add what another program has changed to the message that the report is not signed."""
        if changes and self._services.status.text == CHANGED_ELSEWHERE.format(""):
            self._services.status.show_message(CHANGED_ELSEWHERE.format(f" ({'; '.join(changes)})"))

    def _add_addendum(self, text: str) -> None:
        self._document.apply(lambda report: report.add_addendum(text, self._reader, utc_time()))

    def _reopen(self) -> None:
        """Unlock a signed report; its reading then follows a scale that was set elsewhere."""
        depth, signed = self._session.depth, self._document.value
        if not depth.is_ready or depth.problem:
            self._services.status.show_message(depth.problem or NOT_READ)
            return
        self._document.apply(lambda report: report.reopen(self._reader, utc_time()).without_findings())
        if signed.is_signed and not self._document.value.is_signed:
            depth.restore_findings(signed)
            depth.rescale()

    def _step(self, direction: HistoryStep) -> None:
        """Undo the last step, of the report or of its findings, or redo the first undone one."""
        self.view.form.flush()
        undone, redone = self._find_steps()
        document = undone if direction == "undo" else redone
        if document is not None:
            document.step(direction)

    def _find_steps(self) -> tuple[Edited[Any] | None, Edited[Any] | None]:
        """Return the documents of the steps to undo and to redo; None if there is none."""
        documents: tuple[Edited[Any], ...] = (self._document, self._session.depth)
        undone = max((one for one in documents if one.can_undo), key=lambda one: one.last_step, default=None)
        redone = min((one for one in documents if one.can_redo), key=lambda one: one.undone_step, default=None)
        return undone, redone

    def _suggest(self, report: SynopticReport) -> SynopticReport:
        """Fill empty fields with suggestions from the slide's depth reading and from its lesion in the open case."""
        lesion, depth = find_slide_lesion(self._services.window, self._session.slide), self._session.depth.state
        return report.prefill(depth.reading, lesion, depth.predicted.proposals.validity)

    def _update(self, _: object = None) -> None:
        self._show(is_other=False)

    def _show(self, *, is_other: bool) -> None:
        view, report = self.view, self._document.value
        shown = self._suggest(report)
        view.form.show_report(shown, self._reader, is_editable=True, is_other=is_other)
        self._show_changes()
        for button, step in zip(view.history_buttons.values(), self._find_steps(), strict=True):
            button.setEnabled(step is not None and not report.is_signed)
        view.case_button.setEnabled(bool(shown.answers))

    def _show_changes(self, _: object = None) -> None:
        self.view.form.show_changes(self._document.list_changes())

    def _add_to_case(self) -> str:
        """Copy the report to the slide's lesion in the open case; return a message for the user."""
        slide, window = self._session.slide, self._services.window
        reading = self._session.depth.value.reading_by(self._reader) or DepthReading()
        report = self._document.value.with_findings(reading)
        if not report.answers:
            raise InputError(EMPTY_REPORT)
        controller, image = find_open_case(window, slide)
        lesion = find_slide_lesion(window, slide)
        if lesion is None:
            raise InputError("the slide belongs to no lesion of the open case: drop it on its lesion in the Case dock.")
        is_other = lesion.synoptic is not None and lesion.synoptic.answers != report.answers
        if is_other and lesion.synoptic is not None and lesion.synoptic.is_signed:
            raise InputError("the lesion has a signed synoptic report in the case. Reopen it in the Case dock first.")
        controller.edit(set_lesion_report(controller.case, lesion.id, report), "the synoptic report")
        replaced = " It replaces the previous one; Undo in the Case dock restores it." if is_other else ""
        return f"Added to the case, with the lesion of {image.path.name}: the synoptic report.{replaced}"


class SynopticView(QWidget):
    """The widgets of the section: the form, buttons for undo and redo, and a button that copies it to the case."""

    def __init__(self) -> None:
        super().__init__()
        self.form = SynopticForm()
        steps = {"undo": ("↶", "Undo the last change in this section"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            name: tool_button(f"synoptic_{name}", tip, tip, text) for name, (text, tip) in steps.items()
        }
        for button in self.history_buttons.values():
            self.form.reader_row.layout().addWidget(button)
        tip = "Copy the report to the lesion of the case that is open in the Case dock"
        self.case_button = tool_button("synoptic_case", tip, tip, "Add to case")
        row = self.form.button_row.layout()
        row.addWidget(self.case_button)
        row.setAlignment(self.case_button, Qt.AlignmentFlag.AlignTop)
        fill_column(self, self.form)
