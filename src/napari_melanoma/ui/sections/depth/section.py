"""The Depth section of a slide: measure the depth, edit the reading, and export it."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFocusEvent, QHideEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFrame,
    QHeaderView,
    QLabel,
    QListWidget,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.depth.readings import (
    NOT_MEASURED,
    READER_COLUMNS,
    count_mitoses,
    describe_mitoses,
    describe_origin,
    describe_other_readings,
    describe_proposals,
    format_headline,
    format_proposal,
    reader_rows,
    reading_warnings,
)
from napari_melanoma.depth.synoptic import SynopticAnswer
from napari_melanoma.depth.t_category import describe_contradiction
from napari_melanoma.slides.counts import list_mitoses
from napari_melanoma.slides.notes import measure_shape
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.depth.analysis import DepthAnalysis
from napari_melanoma.ui.sections.depth.layer import NO_SCALE, DepthLayer
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.depth import FINDINGS_DOCUMENT, describe_signature
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.session.report_file import choose_report_file
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.editors import ReaderField
from napari_melanoma.ui.widgets.findings_form import FindingsForm
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.status_line import show_failure, show_outcome
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    column,
    enable,
    fit_rows,
    named,
    quiet_label,
    reserve_space,
    row,
    scroll_area,
    show_text,
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
MODEL_HIDDEN = "The model's result is hidden until you have measured, because 'blind' is selected."
MODEL_FOUND_NOTHING = "The model found nothing to measure: see the reason in the Depth section. Measure manually."
MODEL_NOT_VALID = "The result of the model is not valid: see the reason in the Depth section. Measure manually."
NO_MITOSES = "No mitosis is counted there: count mitoses in Measure, or press 'none found'."
HOLES = "the selected regions have holes, which a counted area cannot have. Select regions without holes."
NO_RULER = "there is no line to use: open Measure, draw a line from the melanoma to the edge, then press ruler again."
DRAW_TIP = f"Draw a line ({format_key('slide.depth')})"
ACCEPT_TIP = "Accept the selected line of the model as your reading"
HINTS = {
    "": "From the top of the granular layer, or the base of the ulcer, to the deepest invasive cell.",
    "draw": "Drag from the top of the granular layer (or the ulcer's base) to the deepest invasive cell. Hold the "
    "space bar to pan.",
    "move": "Drag either end of the line; the thickness is updated.",
}
NETWORK_TIP = (
    "For comparison only: the network of the Risk section predicts a depth from a patch. It does not measure a "
    "line, and cannot see cells below the patch. In parentheses, its difference from your reading, if the patch is at "
    "the deepest position of that reading"
)
MARGINS = ("peripheral_distance_invasive", "deep_distance_invasive")
FIELDS = ("ulceration", "clark", "mitotic_rate", *MARGINS)  # of the synoptic report
MITOSES = {  # text and tooltip
    "mitoses_measured": (
        "use counts",
        "Use the mitoses that are counted in Measure, within the selected regions, such as its circle of 1 mm²",
    ),
    "none_found": ("none found", "Record 0 mitoses: you have searched the selected regions, and there are none"),
}
STEPS: dict[HistoryStep, tuple[str, str]] = {
    "undo": ("↶", "Undo the last change in this section"),
    "redo": ("↷", "Redo"),
}
WARNINGS_PX = 54  # the list of warnings scrolls
NOTES_PX, ROW_PX, MAX_ROWS = 58, 24, 4  # visible lines of the model


class DepthSection(SlideSection):
    """Measure the Breslow thickness of a slide, and edit the reading."""

    documents = (FINDINGS_DOCUMENT,)
    awaited = (COUNT_DOCUMENT,)
    tools = ("depth",)
    parts = (DepthLayer,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services, self._document = session.services, session.findings
        self.layer = session.part(DepthLayer)
        self.analysis = DepthAnalysis(session)
        self.column.setSpacing(5)
        self._create_measurement()
        self._create_findings()
        self._create_proposals()
        tip = "Saved with your readings; each reader has separate readings"
        self._reader_field = ReaderField("depth_reader", tip)
        self._reader_field.show_name(self._document.reader)
        self._history_buttons = {
            step: tool_button(f"depth_{step}", tip, tip, text) for step, (text, tip) in STEPS.items()
        }
        tip = "Save a report of the reading, with an image of the line and the record of changes"
        self._report_button = tool_button("depth_report", tip, tip, "Report ...")
        tip = "Copy depth, ulceration, Clark level and mitoses to the lesion of the case that is open in the Case dock"
        self._case_button = tool_button("depth_case", tip, tip, "Add to case")
        self._signature_label = named(quiet_label(lines=1), "depth_signature", "Signature")
        self._lock_label = named(WrappedLabel(), "depth_lock", "Why the reading cannot be changed")
        self._network_label = named(quiet_label(), "depth_network", "Depth predicted by a network", NETWORK_TIP)
        self._reader_table = ReaderTable()
        self._others_label = named(quiet_label(), "depth_others", "Other readers")
        history = self._history_buttons.values()
        self.add(
            self._signature_label,
            row(QLabel("reader"), self._reader_field, self._reader_field.change_button, *history, stretch=1),
            row(self._report_button, self._case_button),
            self._validity,
            self.analysis,  # what comes and goes moves nothing below
            self._lock_label,
            self._network_label,
            self._reader_table,
            self._others_label,
        )
        self.column.addStretch(1)  # takes the space that a text has left
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

    def _create_measurement(self) -> None:
        self._warning_label = named(WrappedLabel(), "depth_warning", "Warnings about the reading")
        self._warning_label.setProperty("fault", True)
        self._thickness_label = named(
            WrappedLabel(NOT_MEASURED, lines=2), "depth_head", "Breslow thickness and T category"
        )
        self._thickness_label.setProperty("loud", True)
        self._thickness_label.setToolTip("Breslow thickness with its interval, and T category (AJCC, 8th edition)")
        self._source_label = named(quiet_label(lines=2), "depth_origin", "Source of the thickness")
        reserve_space(self._source_label)
        draw = named(QPushButton("Measure manually"), "depth_draw", "Measure manually", DRAW_TIP)
        move = named(QPushButton("Move the ends"), "depth_move", "Move the ends", "Drag the line by its ends")
        self._tool_buttons = {"draw": draw, "move": move}
        for tool, button in self._tool_buttons.items():
            button.setCheckable(True)
            button.clicked.connect(lambda on, tool=tool: self.layer.set_tool(tool if on else ""))
        self._services.tool_buttons += self._tool_buttons.values()
        tip = "Hide the lines and results of the model until you have measured"
        self._blind_check = named(QCheckBox("blind"), "depth_blind", "Blind reading", tip)
        self._blind_check.setChecked(self._document.state.is_blind)
        self._hint_label = named(quiet_label(HINTS[""], lines=3), "depth_hint", "How to measure")
        self._automatic_button = named(QPushButton("Measure automatically"), "depth_automatic", "Measure automatically")
        self._blocker_label = named(quiet_label(lines=2), "depth_blocker", "Why the model cannot measure")
        self.add(
            scroll_area(column(self._warning_label), "depth_warning_area", WARNINGS_PX),
            self._thickness_label,
            self._source_label,
            row(*self._tool_buttons.values(), self._blind_check),
            self._hint_label,
            self._automatic_button,
            self._blocker_label,
        )

    def _create_findings(self) -> None:
        self._form = FindingsForm("depth", FIELDS)
        for name in MARGINS:
            tip = "Use the length of the line that is selected in Measure, or of the last one"
            ruler = tool_button(f"depth_{name}_ruler", tip, tip, "ruler")
            ruler.clicked.connect(lambda _=False, name=name: self._use_ruler(name))
            self._form.editors[name].add_button(ruler)
        self._mitosis_buttons = {
            name: tool_button(f"depth_{name}", tip, tip, text) for name, (text, tip) in MITOSES.items()
        }
        for name, button in self._mitosis_buttons.items():
            button.clicked.connect(lambda _=False, name=name: self.count_mitoses(none_found=name == "none_found"))
        self._mitosis_label = named(quiet_label(lines=3), "depth_mitoses", "Mitoses")
        self._mitosis_label.setToolTip("")
        self._notes = NotesField()
        mitoses = row(QLabel("mitoses"), *self._mitosis_buttons.values(), stretch=0)
        notes = column(QLabel("notes"), self._notes)
        notes.setProperty("legible", True)
        self.add(self._form, mitoses, self._mitosis_label, notes)

    def _create_proposals(self) -> None:
        self._proposal_label = named(quiet_label(), "depth_found", "Result of the model")
        self._proposal_list = named(QListWidget(), "depth_lines", "Lines measured by the model", "Click to go there")
        self._accept_button = tool_button("depth_take", ACCEPT_TIP, ACCEPT_TIP, "accept this line")
        proposals = (self._proposal_label, self._proposal_list, row(self._accept_button))
        self._validity = ValidityNotice(self._services.icons, "depth", *proposals)

    def _connect(self) -> None:
        session, document, services = self.session, self._document, self._services
        self.follow(document.changed, self._update)  # also with the synoptic report, which may lock it
        self.follow(session.commit_requested, self._flush)
        self.follow(services.reader_changed, self._reader_field.show_name)
        self.layer.tool_changed.connect(self._update_tools)
        self.layer.line_moving.connect(self._on_moving)
        self.analysis.changed.connect(self._update)
        self.analysis.finished.connect(self._on_analysis_finished)
        self._automatic_button.clicked.connect(self.analysis.start)
        self._blind_check.toggled.connect(document.set_blind)
        self._validity.show_anyway_button.toggled.connect(document.show_invalid)
        self._accept_button.clicked.connect(document.accept_proposal)
        self._proposal_list.itemClicked.connect(lambda item: self._select_proposal(self._proposal_list.row(item)))
        for step, button in self._history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: self._step(step))
        self._reader_field.editingFinished.connect(lambda: services.set_reader(self._reader_field.name))
        self._form.answered.connect(lambda name, answer: document.set_findings({name: answer}))
        self._form.confirm_requested.connect(self._confirm)
        self._notes.edited.connect(lambda text: document.set_values(notes=text))
        self._warning_label.linkActivated.connect(lambda _: services.scale_requested.emit())
        self._report_button.clicked.connect(self._choose_report)
        self._case_button.clicked.connect(lambda: show_outcome(services.status, partial(_add_to_case, session)))

    def _update(self, _: object = None) -> None:
        """Show the reading, what the model has measured, and other readers."""
        document, state, lock = self._document, self._document.state, self._document.find_reading_lock()
        reading, proposals = state.reading, state.proposals
        # The thickness of a model is not shown if its result is not valid
        is_hidden = not proposals.validity.valid and not reading.when
        shown = reading.model_copy(update={"mm": None}) if is_hidden else reading
        changes = (escape(one, quote=False) for one in self.session.synoptic.list_changes())  # with names of classes
        warnings = [*changes, *reading_warnings(shown, state.size)]
        if state.size is None:
            link = self._services.icons.link("scale", "Set the scale")
            warnings.insert(0, f"No scale: a depth requires one. {link}.")
        self._thickness_label.setText(format_headline(reading, proposals.validity))
        self._signature_label.setText(describe_signature(self.session.synoptic.value) or "Not signed.")
        for label, text in (
            (self._source_label, describe_origin(shown)),
            (
                self._network_label,
                "" if state.network is None else state.network.describe(state.risk_reading, state.size),
            ),
            (self._warning_label, "<br>".join(warnings)),
            (self._lock_label, lock),
            (self._others_label, describe_other_readings(state.readings, state.reader)),
        ):
            show_text(label, text)
        self._form.show_report(self.session.synoptic.shown_findings, lock)
        self._mitosis_label.setText(describe_mitoses(reading))
        self._notes.show_text(reading.notes, lock)
        for name, button in self._mitosis_buttons.items():
            enable(button, MITOSES[name][1], lock)
            button.setEnabled(not lock and (name != "none_found" or reading.mitoses.counted is None))
        enable(self._tool_buttons["draw"], DRAW_TIP, lock)
        enable(self._accept_button, ACCEPT_TIP, lock)
        self._tool_buttons["move"].setEnabled(reading.line is not None and not lock)
        self._history_buttons["undo"].setEnabled(document.can_undo and not lock)
        self._history_buttons["redo"].setEnabled(document.can_redo and not lock)
        for button in (self._report_button, self._case_button):
            button.setEnabled(bool(reading.when))
        analysis = self.analysis
        blocker = find_blocker(self.session.slide.info, analysis.models, is_running=analysis.is_running)
        if blocker == NO_MODEL and analysis.surface_models:
            blocker = "" if analysis.tumor else NO_TUMOR.format(analysis.surface_models[0])
        tip = TUMOR_TIP if analysis.tumor else AUTOMATIC_TIP
        enable(self._automatic_button, tip.format(analysis.model), blocker)
        self._blocker_label.setText("" if blocker in (RUNNING, LISTING_MODELS) else blocker)
        self._show_proposals(state)
        rows = reader_rows(state.readings, state.reader, state.automatic_reading, proposals.validity)
        self._reader_table.show_rows(rows)
        self._update_tools()

    def _show_proposals(self, state: DepthState) -> None:
        proposals, shown = state.proposals, self._proposal_list
        labels = [format_proposal(number, one) for number, one in enumerate(proposals.proposals, start=1)]
        summary = describe_proposals(proposals, state.reading, state.selected)
        self._proposal_label.setText(summary)
        self._proposal_label.setVisible(bool(summary))
        for widget in (shown, self._accept_button):
            widget.setVisible(bool(labels))
        if [shown.item(index).text() for index in range(shown.count())] != labels:
            shown.clear()
            shown.addItems(labels)
            for index, proposal in enumerate(proposals.proposals):
                shown.item(index).setToolTip("; ".join(proposal.notes) or shown.toolTip())
        fit_rows(shown, min(len(labels), MAX_ROWS))
        shown.setCurrentRow(state.selected if labels else -1)
        self._validity.show_validity(proposals.validity, None)
        self._validity.show_anyway_button.setChecked(state.shows_invalid)

    def _update_tools(self) -> None:
        """Show the active tool, and how to use it; without a line, there is no end to drag."""
        tool = self.layer.tool if self.layer.tool != "move" or self._tool_buttons["move"].isEnabled() else ""
        for name, button in self._tool_buttons.items():
            button.setChecked(name == tool)
        self._hint_label.setText(HINTS[tool])

    def _on_moving(self, moved: DepthReading) -> None:
        if moved.mm:
            self._thickness_label.setText(format_headline(moved))

    def _on_analysis_finished(self, has_proposals: bool, is_valid: bool) -> None:
        outcome = MODEL_NOT_VALID if not is_valid else MODEL_MEASURED if has_proposals else MODEL_FOUND_NOTHING
        message = MODEL_HIDDEN if self._document.state.hides_model else outcome
        self._services.status.show_until(message, self.layer.line_drawn)

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
        """Accept a suggested value as the reader's finding."""
        if (answer := self.session.synoptic.shown_findings.answer(name)) is not None:
            self._document.set_findings({name: answer.confirm()})

    def _use_ruler(self, field: str) -> None:
        """Set a margin to the length of the line that is selected in the Measure section, or of the last one."""
        line, size = self.session.ruler_line, self._document.state.size
        if size is None:
            missing = ScaleMissing(NO_SCALE.format("This slide"))
            show_failure(self._services.status, missing, self._document.changed)
        elif line is None:
            show_failure(self._services.status, InputError(NO_RULER))
        else:
            self._form.editors[field].discard_typed()
            self._document.set_findings({field: SynopticAnswer(value=round(measure_shape(line, size), 4))})

    def count_mitoses(self, *, none_found: bool) -> None:
        """Record the mitoses that are counted in Measure, within the selected regions or on the whole slide."""
        session, document = self.session, self._document
        selected = set(session.selected_regions.value)
        polygons = [part for region in session.regions.value if region.id in selected for part in region.polygons]
        if any(polygon.holes for polygon in polygons):
            show_failure(self._services.status, InputError(HOLES))
            return
        points, areas = list_mitoses(session.document(COUNT_DOCUMENT).value), tuple(one.outer for one in polygons)
        mitoses = count_mitoses(points, areas, document.state.size, none_found=none_found)
        if mitoses.counted is None:
            self._services.status.show_briefly(NO_MITOSES)
        else:
            document.set_values(mitoses=mitoses)

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


class ReaderTable(QTableWidget):
    """The readings of all readers."""

    def __init__(self) -> None:
        super().__init__(0, len(READER_COLUMNS))
        named(self, "depth_readers", "Readings of all readers")
        self.setHorizontalHeaderLabels(list(READER_COLUMNS))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.horizontalHeaderItem(len(READER_COLUMNS) - 1).setToolTip("Mitoses per mm²")
        self.hide()

    def show_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Show cells in the order of the columns; hidden with less than two readings."""
        self.setRowCount(len(rows))
        for index, cells in enumerate(rows):
            for place, cell in enumerate(cells):
                self.setItem(index, place, QTableWidgetItem(cell))
        self.setFixedHeight(ROW_PX * (len(rows) + 1) + 4)
        self.setVisible(len(rows) > 1)
