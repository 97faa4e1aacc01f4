"""The Depth section of a slide: measure the thickness, review the lines of a model, and compare those of readers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFocusEvent, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFrame,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.readings import (
    compare_readings,
    describe_hidden_readings,
    describe_origin,
    describe_proposals,
    format_headline,
    proposal_row,
    reading_warnings,
)
from napari_melanoma.depth.t_category import describe_contradiction
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.depth.analysis import DepthAnalysis
from napari_melanoma.ui.sections.depth.layer import DepthLayer
from napari_melanoma.ui.session.depth import FINDINGS_DOCUMENT
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.report_file import choose_report_file
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.dock_layout import SummarySection, menu_button
from napari_melanoma.ui.widgets.findings_form import FindingsForm
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.status_line import show_outcome
from napari_melanoma.ui.widgets.style import (
    column,
    enable,
    named,
    row,
    show_text,
    state_label,
    tool_button,
)
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QMouseEvent

    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.depth import DepthState
    from napari_melanoma.ui.session.document import HistoryStep
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.job import JobFunction

NEEDS_SCALE = "A depth requires a scale: set it first, with the ruler next to the slide's name."
NEEDS_BRIGHTFIELD = "The models were trained on brightfield stains: measure manually."
RUNNING = "The analysis is running."
NO_MODEL = "No model that segments epidermis and tumor is installed: measure manually, or paint both."
NO_TUMOR = (
    "{} segments the epidermis, but no tumor: outline it in Regions as Melanoma, or paint it in Paint and save a model."
)
TUMOR_TIP = "Segment the tissue of the whole slide with '{}', and find the thickest position of the tumor in Regions"
LISTING_MODELS = "The installed models are being listed."
AUTOMATIC_TIP = "Segment the tissue of the whole slide with '{}' and find the thickest positions, in the background"
MODEL_MEASURED = "The model has measured the depth. Review its line, then accept it, move it or draw your own."
MODEL_HIDDEN = "The model's result is hidden until you have measured, because Blind is selected."
MODEL_FOUND_NOTHING = "The model found nothing to measure: see the reason in the Depth section. Measure manually."
MODEL_NOT_VALID = "The result of the model is not valid: see the reason in the Depth section. Measure manually."
DRAW_TIP = f"Draw a line ({format_key('slide.depth')})"
ACCEPT_TIP = "Accept the selected line of the model as your reading"
HOW_TO_MEASURE = "From the top of the granular layer, or the base of the ulcer, to the deepest invasive cell."
HINTS = {
    "": "",
    "draw": "Drag from the top of the granular layer (or the ulcer's base) to the deepest invasive cell. Hold the "
    "space bar to pan.",
    "move": "Drag either end of the line; the thickness is updated.",
}
REPORT = "Report"  # title of the section with all other findings
OTHER_FINDINGS = "Other findings and signature: {}"
SIGNED = "Locked since the report was signed: {}"
NETWORK_TIP = (
    "For comparison only: the network of the Risk section predicts a depth from a patch. It does not measure a "
    "line, and cannot see cells below the patch. In parentheses, its difference from your reading, if the patch is at "
    "the deepest position of that reading"
)
STEPS: dict[HistoryStep, tuple[str, str]] = {
    "undo": ("↶", "Undo the last change in this section"),
    "redo": ("↷", "Redo"),
}
NUMBER, NOTES, WITH_NOTES = "Thickness as a number", "notes", "with notes"  # what the folded rows are
NOTES_PX, ROW_PX, MAX_ROWS = 58, 22, 5  # height of the notes, of a row of a table; visible rows


class DepthSection(SlideSection):
    """Measure the Breslow thickness of a slide; all other findings are entered in the section Report."""

    documents = (FINDINGS_DOCUMENT,)
    tools = ("depth",)
    parts = (DepthLayer,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services, self._document = session.services, session.findings
        self.layer = session.part(DepthLayer)
        self.analysis = DepthAnalysis(session)
        self.column.setSpacing(5)
        self._create_tools()
        self._create_answer()
        self._create_proposals()
        self._network_label = state_label("depth_network", "Depth predicted by a network", quiet=True)
        self._network_label.setToolTip(NETWORK_TIP)
        self._reader_table = ThicknessTable(("Reader", "Thickness", "From yours"))
        named(self._reader_table, "depth_readers", "Readings of others", "How much each is above your thickness")
        self._reader_table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self._others_label = state_label("depth_others", "Other readers", quiet=True)
        self._lock_label = state_label("depth_lock", "Why the reading cannot be changed", quiet=True)
        self._blocker_label = state_label("depth_blocker", "Why the model cannot measure", quiet=True)
        self._hint_label = state_label("depth_hint", "How to use the tool", quiet=True)
        self.add(  # what comes and goes
            self._warning_label,
            self._validity,
            self.analysis,
            self._network_label,
            self._reader_table,
            self._others_label,
            self._lock_label,
            self._blocker_label,
            self._hint_label,
        )
        self._connect()
        self._update()

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        """Whether a reader has measured."""
        return bool(session.findings.value.readings)

    def toggle_tool(self, name: str) -> None:
        """Start drawing a line, or stop it."""
        self.layer.set_tool("" if self.layer.tool == "draw" else "draw")
        if self.layer.tool == "draw":  # the section may not be in sight
            self._services.status.show_briefly(HINTS["draw"])

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """State why the reading cannot be changed: Qt passes clicks on disabled controls to the section."""
        super().mousePressEvent(event)
        if lock := self._document.find_reading_lock():
            self._services.status.show_message(lock)

    def _create_tools(self) -> None:
        draw = named(QPushButton("Measure manually"), "depth_draw", "Measure manually", DRAW_TIP)
        move = named(QPushButton("Move the ends"), "depth_move", "Move the ends", "Drag the line by its ends")
        self._automatic_button = named(QPushButton("Measure automatically"), "depth_automatic", "Measure automatically")
        self._tool_buttons = {"draw": draw, "move": move}
        for tool, button in self._tool_buttons.items():
            button.setCheckable(True)
            button.clicked.connect(lambda on, tool=tool: self.layer.set_tool(tool if on else ""))
        self._services.tool_buttons += self._tool_buttons.values()
        tip = "Hide the lines and results of the model until you have measured"
        self._blind_check = named(QCheckBox("Blind"), "depth_blind", "Blind reading", tip)
        self._blind_check.setChecked(self._document.state.is_blind)
        self._history_buttons = {
            step: tool_button(f"depth_{step}", tip, tip, text) for step, (text, tip) in STEPS.items()
        }
        tip = "Save a page of the reading, or copy it to the open case"
        session, status = self.session, self._services.status
        entries = {
            "depth_report": ("Report on the depth...", self._choose_report),
            "depth_case": ("Add to case", lambda: show_outcome(status, partial(_add_to_case, session))),
        }
        self._more_button = menu_button("depth_more", "More", tip, entries)
        self.add(
            row(draw, self._automatic_button, stretch=1),
            row(move, *self._history_buttons.values(), self._blind_check, self._more_button),
        )

    def _create_answer(self) -> None:
        self._thickness_label = state_label("depth_head", "Breslow thickness and T category")
        self._thickness_label.setProperty("loud", True)
        self._thickness_label.setToolTip("Breslow thickness with its interval, and T category (AJCC, 8th edition)")
        self._source_label = state_label("depth_origin", "Source of the thickness", quiet=True)
        self._report_link = state_label("depth_link", "Where the other findings are", quiet=True)
        self._form = FindingsForm("depth", ("breslow",))
        self._notes = NotesField()
        notes = column(QLabel("Notes"), self._notes)
        notes.setProperty("legible", True)
        services = self._services
        self._folded = SummarySection(
            f"{NUMBER}, {NOTES}", "depth_folded", services.settings, column(self._form, notes)
        )
        services.icons.add_sections(self._folded)
        self._warning_label = state_label("depth_warning", "Warnings about the reading")
        self._warning_label.setProperty("fault", True)
        self.add(self._thickness_label, self._source_label, self._report_link, self._folded)

    def _create_proposals(self) -> None:
        self._proposal_label = state_label("depth_found", "Result of the model", quiet=True)
        self._proposal_table = ThicknessTable(("Line of the model", "Thickness"))
        named(self._proposal_table, "depth_lines", "Lines measured by the model", "Click to go there")
        self._accept_button = tool_button("depth_take", ACCEPT_TIP, ACCEPT_TIP, "Accept this line")
        proposals = (self._proposal_table, row(self._accept_button), self._proposal_label)
        self._validity = ValidityNotice(self._services.icons, "depth", *proposals)

    def _connect(self) -> None:
        session, document, services = self.session, self._document, self._services
        self.follow(document.changed, self._update)  # also with the synoptic report, which may lock it
        self.follow(session.commit_requested, self._flush)
        self.layer.tool_changed.connect(self._update_tools)
        self.layer.line_moving.connect(self._on_moving)
        self.analysis.changed.connect(self._update)
        self.analysis.finished.connect(self._on_analysis_finished)
        self._automatic_button.clicked.connect(self.analysis.start)
        self._blind_check.toggled.connect(document.set_blind)
        self._validity.show_anyway_button.toggled.connect(document.show_invalid)
        self._accept_button.clicked.connect(document.accept_proposal)
        self._proposal_table.cellClicked.connect(lambda index, _: self._select_proposal(index))
        for step, button in self._history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: self._step(step))
        self._form.answered.connect(lambda name, answer: document.set_findings({name: answer}))
        self._form.confirm_requested.connect(self._confirm)
        self._notes.edited.connect(lambda text: document.set_values(notes=text))
        self._warning_label.linkActivated.connect(lambda _: services.scale_requested.emit())
        self._report_link.linkActivated.connect(services.section_requested)

    def _update(self, _: object = None) -> None:
        """Show the reading, what the model has measured, and other readers."""
        document, state, lock = self._document, self._document.state, self._document.find_reading_lock()
        reading, proposals = state.reading, state.proposals
        # The thickness of a model is not shown if its result is not valid
        is_hidden = not proposals.validity.valid and not reading.when
        shown = reading.model_copy(update={"mm": None}) if is_hidden else reading
        warnings = list(reading_warnings(shown, state.size, of_findings=False))
        if state.size is None:
            link = self._services.icons.link("scale", "Set the scale")
            warnings.insert(0, f"No scale: a depth requires one. {link}.")
        self._thickness_label.setText(format_headline(reading, proposals.validity))
        self._source_label.setText(describe_origin(shown) or HOW_TO_MEASURE)
        is_signed = bool(lock) and self.session.synoptic.value.is_signed
        if lock:
            self._services.status.end_message(MODEL_MEASURED)
        link = self._services.icons.link(REPORT, REPORT)
        self._report_link.setText((SIGNED if is_signed else OTHER_FINDINGS).format(link))
        for label, text in (
            (
                self._network_label,
                "" if state.network is None else state.network.describe(state.risk_reading, state.size),
            ),
            (self._warning_label, "<br>".join(warnings)),
            (self._lock_label, "" if is_signed else lock),
            (self._others_label, describe_hidden_readings(state.readings, state.reader)),
        ):
            show_text(label, text)
        self._form.show_report(self.session.synoptic.shown_findings, lock)
        self._notes.show_text(reading.notes, lock)
        self._folded.set_summary((NUMBER, WITH_NOTES if reading.notes else NOTES))
        enable(self._tool_buttons["draw"], DRAW_TIP, lock)
        enable(self._accept_button, ACCEPT_TIP, lock)
        self._tool_buttons["move"].setEnabled(reading.line is not None and not lock)
        self._history_buttons["undo"].setEnabled(document.can_undo and not lock)
        self._history_buttons["redo"].setEnabled(document.can_redo and not lock)
        self._more_button.setEnabled(bool(reading.when))
        analysis = self.analysis
        blocker = find_blocker(self.session.slide.info, analysis.models, is_running=analysis.is_running)
        if blocker == NO_MODEL and analysis.surface_models:
            blocker = "" if analysis.tumor else NO_TUMOR.format(analysis.surface_models[0])
        tip = TUMOR_TIP if analysis.tumor else AUTOMATIC_TIP
        enable(self._automatic_button, tip.format(analysis.model), blocker)
        show_text(self._blocker_label, "" if blocker in (RUNNING, LISTING_MODELS) else blocker)
        self._show_proposals(state)
        self._reader_table.show_rows(compare_readings(state.readings, state.reader))
        self._update_tools()

    def _show_proposals(self, state: DepthState) -> None:
        proposals, table = state.proposals, self._proposal_table
        rows = [proposal_row(number, one) for number, one in enumerate(proposals.proposals, start=1)]
        summary = describe_proposals(proposals, state.reading, state.selected)
        self._proposal_label.setText(summary)
        self._proposal_label.setVisible(bool(summary))
        self._accept_button.setVisible(bool(rows))
        table.show_rows(rows, ["; ".join(one.notes) for one in proposals.proposals])
        if rows:
            table.selectRow(state.selected)
        self._validity.show_validity(proposals.validity, None)
        self._validity.show_anyway_button.setChecked(state.shows_invalid)

    def _update_tools(self) -> None:
        """Show the active tool, and how to use it; without a line, there is no end to drag."""
        tool = self.layer.tool if self.layer.tool != "move" or self._tool_buttons["move"].isEnabled() else ""
        for name, button in self._tool_buttons.items():
            button.setChecked(name == tool)
        show_text(self._hint_label, HINTS[tool])

    def _on_moving(self, moved: DepthReading) -> None:
        if moved.mm:
            self._thickness_label.setText(format_headline(moved))

    def _on_analysis_finished(self, has_proposals: bool, is_valid: bool) -> None:
        outcome = MODEL_NOT_VALID if not is_valid else MODEL_MEASURED if has_proposals else MODEL_FOUND_NOTHING
        message = MODEL_HIDDEN if self._document.state.hides_model else outcome
        self._services.status.show_until(message, self._document.edited)

    def _select_proposal(self, index: int) -> None:
        """Select a line of the model, which is the reading unless the reader has set a value, and zoom to it."""
        proposals = self._document.state.proposals.proposals
        self._document.select_proposal(index)
        (top, left), (bottom, right) = proposals[index].line
        box = ViewRectangle(min(top, bottom), min(left, right), abs(bottom - top), abs(right - left))
        zoom_to_box(self._services.viewer, self.session.slide, box)

    def _flush(self) -> None:
        """Store what is being typed."""
        self._form.flush()
        self._notes.flush()

    def _step(self, step: HistoryStep) -> None:
        """Undo or redo a step, after pending input."""
        self._flush()
        self._document.step(step)

    def _confirm(self, name: str) -> None:
        """Accept a suggested thickness as that of the reader."""
        if (answer := self.session.synoptic.shown_findings.answer(name)) is not None:
            self._document.set_findings({name: answer.confirm()})

    def _choose_report(self) -> None:
        """Ask for a file, and write the report of the reading."""
        session = self.session
        info = session.slide.info

        def prepare(path: Path) -> JobFunction:
            lesion = find_slide_lesion(session.services.workspace.case, session.slide)
            return partial(_write_report, path, info, session.findings.state, session.folder, lesion)

        title = "Save the report of the reading"
        choose_report_file(self._services, "depth_report_dialog", title, f"{info.name}-depth.html", prepare)


def find_blocker(info: SlideInfo, models: tuple[str, ...] | None, *, is_running: bool) -> str:
    """Return why a model cannot measure the depth now; empty if it can.

    ``models``: names of those that can; None until they are listed.
    """
    if info.pixel_size is None:
        return NEEDS_SCALE
    if info.kind != "brightfield":
        return NEEDS_BRIGHTFIELD
    if is_running:
        return RUNNING
    return LISTING_MODELS if models is None else "" if models else NO_MODEL


def _add_to_case(session: SlideSession) -> str:
    """Set depth, ulceration, Clark level and mitoses of the slide's lesion in the open case; return a message."""
    from napari_melanoma.case.model import add_slide_findings
    from napari_melanoma.core.provenance import utc_time
    from napari_melanoma.reports.slide import set_lesion_reading

    session.commit_requested.emit()  # opening a menu does not end what is being typed
    reading = session.findings.state.reading
    if contradiction := describe_contradiction(reading.mm, reading.clark):
        raise InputError(f"the reading was not added to the case. {contradiction}")
    open_case, _, case, image = find_open_case(session.services.workspace.case, session.slide)
    changed = set_lesion_reading(case, image.id, reading)
    changed = add_slide_findings(changed, image.id, session.findings.value, utc_time())
    open_case.edit(changed, "what was read from the slide")
    return f"Added to the case, with {image.path.name}: depth, ulceration, Clark level, mitoses, as far as known."


def _write_report(
    path: Path, info: SlideInfo, state: DepthState, folder: Path, lesion: CaseLesion | None, run: RunContext
) -> Path:
    """Write the report, with the risk if it was estimated; ``lesion``: of the slide in the open case."""
    from napari_melanoma.reports.report_sections import SlidePart
    from napari_melanoma.reports.slide import write_depth_report

    part = SlidePart.from_folder(folder, lesion, info.path)
    return write_depth_report(path, info, state.readings, state.reading, state.automatic_reading, part)


class NotesField(QPlainTextEdit):
    """Free text; ``edited`` emits it when typing pauses or the field loses the focus."""

    edited = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        named(self, "depth_notes", "Notes", "Free text; saved with the slide, never exported")
        self.setFixedHeight(NOTES_PX)
        self.setTabChangesFocus(True)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._timer = DebounceTimer(self)
        self._timer.timeout.connect(lambda: self.edited.emit(self.toPlainText()))
        self.textChanged.connect(self._timer.start)
        self.flush = self._timer.flush

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the text."""
        super().focusOutEvent(event)
        self.flush()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the text."""
        super().hideEvent(event)
        self.flush()

    def show_text(self, text: str, lock: str) -> None:
        """Show the stored text, unless another one is being typed; ``lock``: why it must not be changed."""
        self.setEnabled(not lock)
        if not self._timer.isActive() and self.toPlainText() != text:
            self.blockSignals(True)
            self.setPlainText(text)
            self.blockSignals(False)


class ThicknessTable(QTableWidget):
    """A table of names and, right-aligned, lengths: as high as its rows, and hidden without any."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(0, len(columns))
        for place, title in enumerate(columns):
            item = QTableWidgetItem(title)
            item.setTextAlignment(_align(place))
            self.setHorizontalHeaderItem(place, item)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.hide()

    def show_rows(self, rows: Sequence[Sequence[str]], tips: Sequence[str] = ()) -> None:
        """Show cells in the order of the columns; ``tips``: of the rows, besides the whole name."""
        self.setRowCount(len(rows))
        for index, cells in enumerate(rows):
            tip = "\n".join(filter(None, (cells[0], *tips[index : index + 1])))
            for place, cell in enumerate(cells):
                item = QTableWidgetItem(cell)
                item.setTextAlignment(_align(place))
                item.setToolTip(tip)
                self.setItem(index, place, item)
        self._fit_height()
        self.setVisible(bool(rows))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the height again, because the header has the font of the theme now."""
        super().showEvent(event)
        self._fit_height()

    def _fit_height(self) -> None:
        header, rows = self.horizontalHeader().sizeHint().height(), min(self.rowCount(), MAX_ROWS)
        self.setFixedHeight(header + rows * ROW_PX + 2 * self.frameWidth())


def _align(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
