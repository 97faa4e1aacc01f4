"""The Depth section of a slide: measure the depth, edit the reading, and export it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.depth.reading_texts import format_headline
from napari_melanoma.depth.readings import FINDINGS, count_mitoses
from napari_melanoma.depth.synoptic import SynopticAnswer
from napari_melanoma.slides.counts import list_mitoses
from napari_melanoma.slides.notes import measure_shape
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.depth.analysis import DepthAnalysis, DepthLauncher
from napari_melanoma.ui.sections.depth.canvas import NO_SCALE, DepthCanvas
from napari_melanoma.ui.sections.depth.export import add_to_case, export_report
from napari_melanoma.ui.sections.depth.resolve import DepthFacts, resolve_depth
from napari_melanoma.ui.sections.depth.view import HINTS, DepthView
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.depth import DEPTH_DOCUMENT
from napari_melanoma.ui.session.report_file import ReportFile
from napari_melanoma.ui.session.synoptic import SYNOPTIC_DOCUMENT
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.status_line import show_failure, show_outcome

if TYPE_CHECKING:
    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.ui.session.document import HistoryStep
    from napari_melanoma.ui.session.slide import SlideSession

MODEL_MEASURED = "The model has measured the depth. Review its line, then accept it, move it or draw your own."
MODEL_HIDDEN = "The model's result is hidden until you have measured, because 'blind' is selected."
MODEL_FOUND_NOTHING = "The model found nothing to measure: see the reason in the Depth section. Measure manually."
MODEL_NOT_VALID = "The result of the model is not valid: see the reason in the Depth section. Measure manually."
NO_MITOSES = "No mitosis is counted there: count mitoses in Measure, or press 'none found'."
HOLES = "the selected regions have holes, which a counted area cannot have. Select regions without holes."
NO_RULER = "there is no line to use: open Measure, draw a line from the melanoma to the edge, then press ruler again."


class DepthSection(Section):
    """Measure the Breslow thickness of a slide, and edit the reading."""

    documents = (DEPTH_DOCUMENT,)
    awaited = (SYNOPTIC_DOCUMENT, COUNT_DOCUMENT)  # a signed report locks the reading
    tools = ("depth",)

    def __init__(self) -> None:
        self.canvas: DepthCanvas | None = None
        self.controller: DepthController | None = None
        self._report_file: ReportFile | None = None  # continues when another slide is displayed
        self._launcher: DepthLauncher | None = None  # as well

    def show(self, session: SlideSession) -> None:
        """Show the reading on the slide."""
        session.depth.follow_reader()
        session.depth.follow_scale()
        if self._launcher is not None and session.folder in self._launcher.unfinished:
            session.depth.reload_predictions()  # it may have finished while another slide was displayed
        self.canvas = DepthCanvas(session)

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a slide."""
        assert self.canvas is not None, "show is called first"
        if self._report_file is None:
            self._report_file = ReportFile(session.services)
        if self._launcher is None:
            self._launcher = DepthLauncher(session.services.status)
        self.controller = DepthController(session, self.canvas, self._report_file, self._launcher)
        return self.controller.view

    def toggle_tool(self, name: str) -> None:
        """Start drawing a line, or stop it."""
        if self.controller is not None:
            self.controller.toggle_drawing()

    def close(self) -> None:
        """End the tools, and disconnect all signals; the layers stay with their slide."""
        canvas, controller, self.canvas, self.controller = self.canvas, self.controller, None, None
        if controller is not None:
            controller.close()
        if canvas is not None:
            canvas.close()


class DepthController(QObject):
    """Connect the widgets with the readings of a slide, with the tools on the canvas and with the analysis."""

    def __init__(
        self, session: SlideSession, canvas: DepthCanvas, report_file: ReportFile, launcher: DepthLauncher
    ) -> None:
        self.view = view = DepthView(session.services.icons)
        super().__init__(view)
        self._session, self._services, self._document = session, session.services, session.depth
        self._canvas, self._connections = canvas, SectionConnections(view)
        self.analysis = DepthAnalysis(session, view.run_panel, launcher)
        view.blind_check.setChecked(self._document.state.is_blind)
        view.reader_field.show_name(self._document.reader)
        self._connect()
        self._connect_view()
        view.report_button.clicked.connect(lambda: export_report(session, report_file))
        view.case_button.clicked.connect(lambda: show_outcome(self._services.status, partial(add_to_case, session)))
        self._update()

    def _connect(self) -> None:
        view, session, canvas = self.view, self._session, self._canvas
        self._connections.connect(self._document.changed, self._update)
        self._connections.connect(session.commit_requested, view.fields.flush)
        self._connections.connect(self._services.reader_changed, view.reader_field.show_name)
        self._services.tool_buttons += view.tool_buttons
        canvas.tool_changed.connect(self._update_tools)
        canvas.line_moving.connect(self._on_moving)
        self.analysis.changed.connect(self._update)
        self.analysis.finished.connect(self._on_analysis_finished)

    def _connect_view(self) -> None:
        view, document, canvas = self.view, self._document, self._canvas
        view.tool_requested.connect(canvas.set_tool)
        view.automatic_button.clicked.connect(self.analysis.start)
        view.blind_check.toggled.connect(lambda on: document.set_blind(on))
        view.validity.show_anyway_button.toggled.connect(lambda on: document.show_invalid(on))
        view.accept_button.clicked.connect(lambda: document.accept_proposal())
        view.proposal_selected.connect(self._on_proposal_selected)
        for step, button in view.history_buttons.items():
            button.clicked.connect(lambda _, step=step: self._step(step))
        view.reader_changed.connect(self._on_reader)
        view.fields.edited.connect(self._on_edited)
        view.fields.input_rejected.connect(self._on_input_rejected)
        view.fields.ruler_requested.connect(self._on_ruler)
        view.fields.mitoses_requested.connect(self._on_mitoses)
        view.warning_label.linkActivated.connect(lambda _: self._services.scale_requested.emit())

    def close(self) -> None:
        """Disconnect all signals that outlive the widgets."""
        self._connections.close()
        self.analysis.close()
        for button in self.view.tool_buttons:
            self._services.tool_buttons.remove(button)

    def toggle_drawing(self) -> None:
        """Start drawing a line, or stop it."""
        self._canvas.set_tool("" if self._canvas.line_layer.tool == "draw" else "draw")
        if self._canvas.line_layer.tool == "draw":  # the section may not be in sight
            self._services.status.show_briefly(HINTS["draw"])

    def _update(self) -> None:
        """Show the current state."""
        document, info = self._document, self._session.slide.info
        facts = DepthFacts(
            document.state,
            is_brightfield=info.kind == "brightfield",
            lock=document.find_lock(),
            changes=self._session.synoptic.list_changes(),
            can_undo=document.can_undo,
            can_redo=document.can_redo,
            models=self.analysis.models,
            is_running=self.analysis.active,
        )
        self.view.show_texts(resolve_depth(facts))
        self._update_tools()

    def _update_tools(self) -> None:
        """Show the active tool."""
        self.view.show_tool(self._canvas.line_layer.tool)

    def _on_moving(self, moved: DepthReading) -> None:
        if moved.mm:
            self.view.thickness_label.setText(format_headline(moved))

    def _on_analysis_finished(self, has_proposals: bool, is_valid: bool) -> None:
        """Show the outcome of the depth analysis."""
        outcome = MODEL_NOT_VALID if not is_valid else MODEL_MEASURED if has_proposals else MODEL_FOUND_NOTHING
        message = MODEL_HIDDEN if self._document.state.hides_model else outcome
        self._services.status.show_until(message, self._canvas.line_layer.line_drawn)

    def _on_proposal_selected(self, index: int) -> None:
        """Select a line of the model, which is the reading unless the reader has set a value, and zoom to it."""
        proposals = self._document.state.proposals.proposals
        self._document.select_proposal(index)
        (top, left), (bottom, right) = proposals[index].line
        box = ViewRectangle(min(top, bottom), min(left, right), abs(bottom - top), abs(right - left))
        zoom_to_box(self._services.viewer, self._session.slide, box)

    def _step(self, step: HistoryStep) -> None:
        """Undo or redo a step, after pending input."""
        self.view.fields.flush()
        self._document.step(step)

    def _on_reader(self, name: str) -> None:
        """Switch to another reader."""
        self._services.set_reader(name)

    def _on_edited(self, field: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Set a finding, as values of an answer or None, or the notes."""
        if field in FINDINGS:
            answer = None if value is None else SynopticAnswer(**value)
            self._document.set_findings({field: answer})
        else:
            self._document.set_values(**{field: value})

    def _on_input_rejected(self, message: str) -> None:
        self._services.status.show_message(message)
        self._document.refresh()

    def _on_ruler(self, field: str) -> None:
        """Set a margin to the length of the line that is selected in the Measure section, or of the last one."""
        line, size = self._session.ruler_line, self._document.state.size
        if size is None:
            show_failure(self._services.status, ScaleMissing(NO_SCALE.format("This slide")))
        elif line is None:
            show_failure(self._services.status, InputError(NO_RULER))
        else:
            self._on_edited(field, {"value": round(measure_shape(line, size), 4)})

    def _on_mitoses(self, none_found: bool) -> None:
        """Record the mitoses that are counted in Measure, within the selected regions or on the whole slide."""
        session, document = self._session, self._document
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
