"""The form of a synoptic report: the findings with the T category, the signature and addenda; it stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QInputDialog, QLabel, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_count, to_sentence
from napari_melanoma.depth.readings import format_time
from napari_melanoma.depth.shown_blocks import CHANGED, BlockChange, count_changed
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.ui.session.depth import describe_signature
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.editors import ReaderField
from napari_melanoma.ui.widgets.findings_form import FindingsForm
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    enable,
    fill_column,
    named,
    row,
    set_shown,
    show_text,
    state_label,
)

FAULTY = "Correct the input that is marked first."
CONFIRM_TIP = "Confirm all suggested values after a review"
SIGN_TIP = "Lock the report with your name; it can be reopened"
LOCKED = "The report is locked: {} has signed it. Reopen it to change it."
HIDDEN = "The findings of {} are shown after you have measured, to keep your reading independent."
INDENT = "    "  # of the values of a change, below its name
LOCK_NOTE = "The report and the measurement that it rests on will be locked until the report is reopened."


class ChangeNotice(QFrame):
    """What has changed since the signature, whole: the name of each value, and both values in a line each."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.heading = state_label("synoptic_changed", "Whether the report has changed since the signature")
        self.heading.setProperty("loud", True)
        self.label = state_label("synoptic_changes", "What has changed since the signature")
        for label in (self.heading, self.label):
            label.setTextFormat(Qt.TextFormat.PlainText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(2)
        layout.addWidget(self.heading)
        layout.addWidget(self.label)
        self.hide()

    def show_changes(self, changes: Sequence[str | BlockChange]) -> None:
        """Show changes and other statements about the report; hidden without any."""
        count = count_changed(changes)
        show_text(self.heading, f"{CHANGED}: {format_count(count, 'value')}" if count else "")
        show_text(self.label, "\n".join(map(_describe_change, changes)))
        self.setVisible(bool(changes))


class ReportForm(QWidget):
    """The signature, the T category with its reason, the findings of a report, and the confirmation of suggestions.

    ``list_contradictions``: called before signing, states what contradicts each other in what is shown.
    """

    reader_entered = Signal(str)
    confirm_requested = Signal(str)  # a field, or "" for all
    sign_requested = Signal()
    reopen_requested = Signal()
    addendum_entered = Signal(str)
    reveal_requested = Signal()  # to show findings that are hidden
    _dialogs_closed = Signal()

    def __init__(self, list_contradictions: Callable[[], Sequence[str]] = tuple) -> None:
        super().__init__()
        self._list_contradictions = list_contradictions
        self._report = SynopticReport()
        self._blocker = ""  # why the report cannot be signed, except for faults in the form
        self._is_editable = False
        self.signature_label = state_label("synoptic_signature", "Signature")
        self.change_notice = ChangeNotice()
        self.reader_field = ReaderField("synoptic_reader", "Recorded with your changes and your signature")
        self.reader_row = row(QLabel("Reader"), self.reader_field, self.reader_field.change_button, stretch=1)
        self.stage_label = named(WrappedLabel(), "synoptic_stage", "T category, AJCC 8th edition")
        self.stage_label.setProperty("loud", True)
        self.reason_label = state_label("synoptic_reason", "What decides the T category", quiet=True)
        self.findings = FindingsForm("synoptic", has_groups=True)
        self.confirm_button = named(QPushButton(), "synoptic_confirm", "Confirm the suggestions", CONFIRM_TIP)
        self.check_label = state_label("synoptic_check", "What is missing or contradictory", quiet=True)
        self.addenda_label = state_label("synoptic_addenda", "Addenda to the signed report")
        self._create_buttons()
        head = (self.signature_label, self.reader_row, self.button_row, self.change_notice)
        answer = (self.stage_label, self.reason_label, self.reveal_button)
        fill_column(self, *head, *answer, self.findings, self.confirm_button, self.check_label, self.addenda_label)
        self._connect()

    def _create_buttons(self) -> None:
        self.sign_button = named(QPushButton("Sign"), "synoptic_sign", "Sign", SIGN_TIP)
        tip = "Unlock the signed report; this is recorded"
        self.reopen_button = named(QPushButton("Reopen"), "synoptic_reopen", "Reopen", tip)
        tip = "Add a text to the signed report, which it leaves unchanged"
        self.addendum_button = named(QPushButton("Addendum..."), "synoptic_addendum", "Add an addendum", tip)
        tip = "Show the findings of the reader who has signed, although you have not measured"
        self.reveal_button = named(QPushButton("Show findings"), "synoptic_reveal", "Show findings", tip)
        self.button_row = row(self.sign_button, self.reopen_button, self.addendum_button)

    def _connect(self) -> None:
        self.findings.confirm_requested.connect(self._on_confirm)
        self.findings.fault_changed.connect(self._update_buttons)
        self.reader_field.editingFinished.connect(self._on_reader)
        self.confirm_button.clicked.connect(lambda: self._on_confirm(""))
        self.reveal_button.clicked.connect(self.reveal_requested)
        self.sign_button.clicked.connect(self._on_sign)
        self.reopen_button.clicked.connect(self._on_reopen)
        self.addendum_button.clicked.connect(self._on_addendum)

    def close_dialogs(self) -> None:
        """Close a dialog about the report, because another one is shown."""
        self._dialogs_closed.emit()

    def show_report(
        self,
        report: SynopticReport,
        reader: str,
        changes: Sequence[str | BlockChange],
        *,
        is_editable: bool,
        hides_findings: bool = False,
    ) -> None:
        """Show a report; input that is being typed stays.

        ``reader``: name of the person who would sign it. ``changes``: what has changed since it was signed.
        ``hides_findings``: the report lacks findings that the reader may not see yet.
        """
        self._report, self._is_editable, stage = report, is_editable, report.stage
        if not self.reader_field.hasFocus():
            self.reader_field.show_name(reader)
        self.stage_label.setText("T category hidden" if hides_findings else stage.category or "No T category")
        self.reason_label.setText(HIDDEN.format(report.signed_by) if hides_findings else to_sentence(stage.reason))
        set_shown(self.reveal_button, hides_findings)
        self._blocker = "" if is_editable else "The report cannot be changed."
        self.findings.show_report(report, LOCKED.format(report.signed_by) if report.is_signed else self._blocker)
        count = len(report.suggested)
        self.confirm_button.setText(f"Confirm {format_count(count, 'suggested value')}")
        set_shown(self.confirm_button, count > 0 and not report.is_signed)
        set_shown(self.sign_button, not report.is_signed)
        for button in (self.reopen_button, self.addendum_button):
            set_shown(button, report.is_signed)
            button.setEnabled(is_editable)
        addenda = [f"Addendum by {one.reader}, {format_time(one.when)}: {one.text}" for one in report.addenda]
        self.signature_label.setText(describe_signature(report) or "Not signed.")
        self.change_notice.show_changes(changes)
        for label, text in (
            (self.check_label, "" if hides_findings else "\n".join(report.check())),
            (self.addenda_label, "\n".join(addenda)),
        ):
            show_text(label, text)
        if is_editable and not reader:
            self._blocker = "Enter your name first."
        elif is_editable and report.suggested:
            self._blocker = "Confirm or change the suggested values first."
        self._update_buttons()

    def _update_buttons(self) -> None:
        """Enable the buttons, or show why they are disabled: rejected input must be corrected first."""
        fault = FAULTY if self.findings.has_fault else ""
        enable(self.sign_button, SIGN_TIP, fault or self._blocker)
        enable(self.confirm_button, CONFIRM_TIP, fault or ("" if self._is_editable else self._blocker))

    def _on_reader(self) -> None:
        self.reader_entered.emit(self.reader_field.name)

    def _on_confirm(self, name: str) -> None:
        self.findings.flush()
        if self.confirm_button.isEnabled():
            self.confirm_requested.emit(name)

    def _on_sign(self) -> None:
        self._on_reader()
        self.findings.flush()
        if self.sign_button.isEnabled():
            question = f"Sign the synoptic report as {self.reader_field.name}?"
            contradictions = self._list_contradictions()
            if contradictions:
                question = f"{format_count(len(contradictions), 'contradiction')}. {question}"
            details = (*contradictions, *_describe_signing(self._report), LOCK_NOTE)
            self._ask("Sign", question, "\n\n".join(details), self.sign_requested.emit)

    def _on_reopen(self) -> None:
        question = f"Reopen the report that {self._report.signed_by} signed?"
        details = "The signature is removed, which is recorded. The report counts as unsigned until it is signed again."
        self._ask("Reopen", question, details, self.reopen_requested.emit)

    def _ask(self, action: str, question: str, details: str, on_confirmed: Callable[[], object]) -> None:
        """Ask before an action; the question is withdrawn when another report is shown."""
        box = create_question(self, f"synoptic_{action.lower()}_question", question, details, action)
        box.addButton(action, QMessageBox.ButtonRole.AcceptRole)
        box.setEscapeButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.accepted.connect(on_confirmed)
        self._dialogs_closed.connect(box.reject)
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_addendum(self) -> None:
        self._on_reader()
        dialog = QInputDialog(self.window())
        dialog.setObjectName("synoptic_addendum_dialog")
        dialog.setWindowTitle("Addendum")
        dialog.setOption(QInputDialog.InputDialogOption.UsePlainTextEditForTextInput)
        dialog.setLabelText("Addendum to the signed report; enter no name and no date:")
        dialog.textValueSelected.connect(self.addendum_entered)
        self._dialogs_closed.connect(dialog.reject)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()


def _describe_change(change: str | BlockChange) -> str:
    """Return a change with its values below its name, or another statement as it is."""
    if isinstance(change, str):
        return change.removeprefix(f"{CHANGED}: ")
    before, after = change.texts()
    return f"{change.label}\n{INDENT}signed: {before}\n{INDENT}now: {after}"


def _describe_signing(report: SynopticReport) -> list[str]:
    """Describe what will be signed: the T category, warnings, and empty fields."""
    required, other = report.list_empty_fields()
    empty = {"Required, but empty": required, "Other empty fields": other}
    return [
        f"T category: {report.stage.category or 'none'} ({report.stage.reason}).",
        *(warning for warning in report.check() if not warning.startswith("Not filled in")),
        *(f"{title}: {'; '.join(labels)}." for title, labels in empty.items() if labels),  # labels have commas
    ]
