"""The Depth section of the Slide dock: measure the depth, edit the reading, and export it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import InputError, MelanomaError, ScaleMissing
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.slide.context import NO_CASE, find_open_case
from napari_melanoma.ui.slide.depth_layers import (
    DepthLineLayer,
    MitosisLayers,
    select_compared_lines,
    show_compared_lines,
)
from napari_melanoma.ui.slide.depth_store import DepthReadingStore
from napari_melanoma.ui.slide.export import ReportExporter
from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.shape_layers import is_slide_open
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.style import add_to_section

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.depth.readings import DepthReading, Line, SlideDepthReadings
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.session.run_status import SlideRunUpdate
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.depth_view import DepthAnalysis, DepthView
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.job import JobFunction

MODEL_MEASURED = "The model has measured the depth. Review its line, then accept it, move it or draw your own."
MODEL_HIDDEN = "The model's result is hidden until you have measured, because 'blind' is selected."
MODEL_FOUND_NOTHING = "The model found nothing to measure: see the reason in the Depth section. Measure manually."
MODEL_NOT_VALID = "The result of the model is not valid: see the reason in the Depth section. Measure manually."


class SlideDepthSection(QObject):
    """Synchronize layers, widgets and file of the depth readings; the widgets are created when first needed."""

    failed = Signal(object)
    scale_requested = Signal()

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer, self._section = context, context.viewer, section
        self._slide: ViewerSlide | None = None
        self._view: DepthView | None = None
        self.analysis: DepthAnalysis | None = None
        self._last_analysis: tuple[object, ...] = ()  # identity of the analysis that was read last
        self.store = DepthReadingStore(self)
        self.store.is_blind = bool(context.settings.get(BLIND_SETTING, False))
        keys = {
            "Control-Z": partial(self.store.step_history, "undo"),
            "Control-Shift-Z": partial(self.store.step_history, "redo"),
        }
        self.line_layer = DepthLineLayer(self._viewer, self, keys)
        self.mitosis_layers = MitosisLayers(self._viewer, self, keys)
        self._last_message = ""  # the last message about readings in the status line
        self._sync_reader()
        self.store.changed.connect(self._on_changed)
        self.store.message.connect(self._show_message)
        self.store.failed.connect(self.failed)
        self.controller = DepthController(self, context)
        self.exporter = DepthExporter(context, self.store)
        self.exporter.failed.connect(self.failed)
        context.run_updated.connect(self._on_run_update)
        context.flush_requested.connect(self._flush_pending)
        context.reader_changed.connect(self._sync_reader)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def view(self) -> DepthView:
        """The widgets, created when they are first needed."""
        if self._view is None:
            from napari_melanoma.ui.slide.depth_view import DepthAnalysis, DepthView

            view = self._view = DepthView(self.store.reader, self._context.icons)
            view.blind_check.setChecked(self.store.is_blind)
            view.blind_check.toggled.connect(self._on_blind)
            add_to_section(self._section, view)
            self.analysis = DepthAnalysis(self._context, view.run_panel)
            self._connect(view, self.analysis)
            state = self.store.state
            self.analysis.set_folder(None if state is None else state.folder)
        return self._view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same one with another scale."""
        is_other = slide is None or self._slide is None or slide.identity != self._slide.identity
        if self._view is not None and is_other:
            self._view.fields.notes_timer.flush()  # the notes are about the previous slide
        self.line_layer.set_slide(slide)
        self.mitosis_layers.set_slide(slide)
        self._slide = slide
        if is_other:
            self._last_analysis = ()
            if self.analysis is not None:
                self.analysis.set_folder(None)
        self.store.set_slide(slide)
        if is_other:
            self._sync_reader()

    def _sync_reader(self) -> None:
        """Show the name of the reader that was entered in any section, and switch to the readings of this reader."""
        name = self._context.reader
        if name != self.store.reader and name.lower() != "model":
            if self._view is not None:
                self._view.reader_field.setText(name)
            self.store.set_reader(name)

    def _on_blind(self, on: bool) -> None:
        self._context.settings.set(BLIND_SETTING, on)
        self.store.is_blind = on
        self.store.refresh()

    def _show_message(self, text: str) -> None:
        """Show a message; an empty text clears the previous one, unless another part of the dock has replaced it."""
        status = self._context.status
        if text or status.text == self._last_message:
            status.show_message(text)
        self._last_message = text

    @property
    def viewer(self) -> Viewer:
        """The viewer with the layers."""
        return self._viewer

    @property
    def slide(self) -> ViewerSlide | None:
        """The displayed slide."""
        return self._slide

    @property
    def created_view(self) -> DepthView | None:
        """The widgets; None before they were created."""
        return self._view

    def _connect(self, view: DepthView, analysis: DepthAnalysis) -> None:
        self.controller.connect_signals(view)
        self.exporter.connect_signals(view)
        view.automatic_requested.connect(analysis.start)
        analysis.finished.connect(self._on_analysis_finished)
        analysis.changed.connect(self._update_view)
        analysis.failed.connect(self.failed)

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self._update_view()

    def expand(self) -> None:
        """Open the section in the dock."""
        if not self._section.isExpanded():
            self._section.expand()

    def load(self, location: SlideResultLocation) -> None:
        """Read the stored readings of the slide."""
        self.store.load(location.identity, location.slide_folder or location.folder)
        if self.analysis is not None and self._slide is not None and self._slide.identity == location.identity:
            self.analysis.set_folder(location.slide_folder or location.folder)

    def _flush_pending(self) -> None:
        """Write pending changes: the window may be about to close."""
        if self._view is not None:
            self._view.fields.notes_timer.flush()
        self.store.flush()

    def _on_run_update(self, update: SlideRunUpdate) -> None:
        """Read the proposals again when an analysis of the slide has finished."""
        state, analysis = self.store.state, analysis_identity(update.content)
        if state is not None and update.status.path == state.folder and str(update.status.state) == "finished":
            previous, self._last_analysis = self._last_analysis, analysis
            if previous != analysis:
                self.store.reload_proposals()

    def _on_analysis_finished(self, has_proposals: bool, is_valid: bool) -> None:
        """Show the outcome of the depth analysis."""
        outcome = MODEL_NOT_VALID if not is_valid else MODEL_MEASURED if has_proposals else MODEL_FOUND_NOTHING
        self._context.status.show_message(MODEL_HIDDEN if self.store.hides_model else outcome)
        self.store.reload_proposals()

    def _on_changed(self) -> None:
        """Show the current reading in layers and widgets."""
        from napari_melanoma.depth.t_category import format_thickness

        slide, state = self._slide, self.store.state
        if slide is not None and state is not None and is_slide_open(self._viewer, slide):
            reading = self.store.reading
            is_shown = reading.when or self.store.proposed.validity.valid
            mm = reading.mm if is_shown else None
            self.line_layer.show(reading.line, "" if mm is None else format_thickness(mm))
            self.mitosis_layers.show(reading.mitoses)
            show_compared_lines(
                self._viewer,
                slide,
                select_compared_lines(state.history.current, self.store.reader, self.store.proposed, reading.line),
            )
        self._update_view()

    def _update_view(self) -> None:
        """Show the current state, if the section is open or was opened before."""
        if self._view is None and not self._section.isExpanded():
            return
        from napari_melanoma.depth import reading_texts

        view, state, reading = self.view, self.store.state, self.store.reading
        view.setEnabled(state is not None)
        self._show_reading(reading)
        is_valid = state is None or self.store.proposed.validity.valid
        view.fields.show_reading(reading, self.store.automatic_reading if is_valid else None)
        if state is not None:
            depth, proposed = state.history.current, self.store.proposed
            tips = ["; ".join(proposal.notes) for proposal in proposed.proposals]
            summary = reading_texts.describe_proposals(proposed, reading, state.selected)
            view.show_proposals(reading_texts.format_proposals(proposed.proposals), tips, state.selected, summary)
            view.validity.show_validity(proposed.validity, (self._slide and self._slide.identity, proposed.proposals))
            rows = reading_texts.reader_rows(depth, self.store.reader, self.store.automatic_reading, proposed.validity)
            view.show_readers(rows, reading_texts.describe_other_readings(depth, self.store.reader))
            for step, values in (("undo", state.history.past), ("redo", state.history.undone)):
                view.history_buttons[step].setEnabled(bool(values))
        lock = self.store.find_lock()
        if lock:
            self.line_layer.set_tool("")
            self.mitosis_layers.set_tool("")
        view.show_tool(self.line_layer.tool, has_line=reading.line is not None and not lock)
        view.show_lock(lock)
        for button in (view.report_button, view.case_button):
            button.setEnabled(bool(reading.when))
        if self.analysis is not None:
            view.update_automatic_button(self.analysis.models, self._find_blocker())

    def _show_reading(self, reading: DepthReading) -> None:
        """Show thickness, category and warnings, without an automatic thickness if the model's result is not valid."""
        from napari_melanoma.depth import reading_texts

        view, slide = self.view, self._slide
        state = self.store.state
        validity = None if state is None else self.store.proposed.validity
        view.thickness_label.setText(reading_texts.format_headline(reading, validity))
        if validity is not None and not validity.valid and not reading.when:
            reading = reading.model_copy(update={"mm": None})
        view.source_label.setText(reading_texts.describe_origin(reading))
        view.source_label.setVisible(bool(view.source_label.text()))
        network = None if state is None or self.store.hides_model else state.network
        text = "" if network is None else network.describe(self.store.risk_reading, self.store.size)
        view.network_label.setText(text)
        view.network_label.setVisible(network is not None)
        warnings = list(reading_texts.reading_warnings(reading, self.store.size))
        if slide is not None and slide.info.pixel_size is None:
            warnings.insert(0, f"No scale: a depth requires one. {self._context.icons.link('scale', 'Set the scale')}.")
        view.warning_label.setText("<br>".join(warnings))
        view.warning_label.setVisible(bool(warnings))

    def _find_blocker(self) -> str:
        """Return why the depth cannot be measured automatically now; empty if it can."""
        slide = self._slide
        if slide is None or slide.info.pixel_size is None:
            return "A depth requires a scale: set it first, with the ruler next to the slide's name."
        if slide.info.kind != "brightfield":
            return "The models were trained on brightfield stains: measure manually."
        return "The analysis is running." if self.analysis is not None and self.analysis.active else ""


BLIND_SETTING = "slide/depth_blind"
NO_SCALE = "{} has no scale, but a depth is in mm. Set the scale with the ruler next to the slide's name."
NO_RULER = "there is no line to use: open Measure, draw a line from the melanoma to the edge, then press ruler again."
HOTSPOT_HINT = "Drag the circle to move it. Press 1 mm² again, or Escape, when it is in place."
RESERVED_READER_NAME = "'model' is reserved for the analysis: choose another name."
CLICK_HINT = "That was a click: press the mouse button at one end of the line, and release it at the other."
NO_LINE_VALUES: dict[str, Any] = {"line": None, "mm": None, "interval_mm": None, "at_least": False, "method": "hand"}


class DepthController(QObject):
    """Handle the controls of the Depth section and the tools of its layers."""

    def __init__(
        self,
        section: SlideDepthSection,
        context: SlideContext,
    ) -> None:
        super().__init__(section)
        self._section, self._context = section, context
        section.line_layer.line_drawn.connect(self._on_drawn)
        section.line_layer.clicked.connect(self._on_clicked)
        section.line_layer.line_moving.connect(self._on_moving)
        section.line_layer.tool_changed.connect(self._update_tools)
        section.mitosis_layers.changed.connect(self._on_mitoses)
        section.mitosis_layers.tool_changed.connect(self._update_tools)
        add_shortcut(context.dock, "slide.depth", self._on_key)

    def connect_signals(self, view: DepthView) -> None:
        """Connect the widgets."""
        store = self._section.store
        view.tool_requested.connect(self._on_tool)
        tools = view.draw_button, view.move_button, *view.fields.tools.values()
        self._context.tool_buttons += [button for button in tools if button.isCheckable()]
        view.proposal_accepted.connect(store.accept_proposal)
        view.proposal_selected.connect(self._on_proposal_selected)
        view.history_requested.connect(store.step_history)
        view.reader_changed.connect(self._on_reader)
        view.fields.edited.connect(self._on_edited)
        view.fields.input_rejected.connect(self._on_input_rejected)
        view.fields.ruler_requested.connect(self._on_ruler)
        view.fields.tool_requested.connect(self._on_mitosis_tool)
        view.warning_label.linkActivated.connect(lambda _: self._section.scale_requested.emit())

    def _on_key(self) -> None:
        self._section.expand()
        self._on_tool("" if self._section.line_layer.tool == "draw" else "draw")
        if self._section.line_layer.tool == "draw":  # the section may not be in sight
            from napari_melanoma.ui.slide.depth_view import HINTS

            self._context.status.show_briefly(HINTS["draw"])

    def _on_tool(self, tool: str) -> None:
        """Activate a tool of the line, or deactivate it (empty); measuring requires a scale."""
        section, slide = self._section, self._section.slide
        if tool and (lock := section.store.find_lock()):
            self._context.status.show_message(lock)
            return
        if tool and slide is not None and slide.info.pixel_size is None:
            self._update_tools()
            section.failed.emit(ScaleMissing(NO_SCALE.format(slide.info.name)))
            return
        section.mitosis_layers.set_tool("")
        section.line_layer.set_tool(tool)
        self._update_tools()

    def _update_tools(self) -> None:
        """Show the active tool."""
        view = self._section.created_view
        if view is not None:
            store = self._section.store
            has_line = store.reading.line is not None and not store.find_lock()
            view.show_tool(self._section.line_layer.tool, has_line=has_line)
            view.fields.show_tool(self._section.mitosis_layers.tool)
        status = self._context.status
        if self._section.mitosis_layers.tool != "hotspot" and status.text == HOTSPOT_HINT:
            status.show_message("")

    def _on_drawn(self, line: Line | None) -> None:
        """Set or clear the line of the reading, after the mouse button was released."""
        section = self._section
        if line is None:
            section.store.set_values(**NO_LINE_VALUES)
        else:
            drawn = section.line_layer.tool == "draw"
            if self._context.status.text == MODEL_MEASURED:
                self._context.status.show_message("")
            section.store.set_line(line, drawn=drawn)
            if drawn:  # so that its ends can be dragged immediately
                section.line_layer.set_tool("move")

    def _on_clicked(self) -> None:
        self._context.status.show_message(CLICK_HINT)
        self._section.store.refresh()

    def _on_moving(self, line: Line) -> None:
        """Show the length of the line while it is moved."""
        from napari_melanoma.depth.readings import values_for_line

        section, view = self._section, self._section.created_view
        try:
            moved = section.store.reading.model_copy(
                update=values_for_line(section.store.reading, line, section.store.size)
            )
        except MelanomaError:
            return
        from napari_melanoma.depth.reading_texts import format_headline
        from napari_melanoma.depth.t_category import format_thickness

        section.line_layer.set_label("" if moved.mm is None else format_thickness(moved.mm))
        if view is not None and moved.mm:
            view.thickness_label.setText(format_headline(moved))

    def _on_proposal_selected(self, index: int) -> None:
        """Select a line of the model, which is the reading unless the reader has set a value, and zoom to it."""
        section, state = self._section, self._section.store.state
        if state is None or section.slide is None or not 0 <= index < len(state.proposed.proposals):
            return
        section.store.select_proposal(index)
        (top, left), (bottom, right) = state.proposed.proposals[index].line
        box = camera.ViewRectangle(min(top, bottom), min(left, right), abs(bottom - top), abs(right - left))
        zoom_to_box(section.viewer, section.slide, box)

    def _on_reader(self, name: str) -> None:
        """Switch to another reader."""
        from napari_melanoma.depth.readings import MODEL_READER

        section = self._section
        if name.lower() == MODEL_READER:
            self._context.status.show_message(RESERVED_READER_NAME)
        else:
            self._context.set_reader(name)
            section.store.set_reader(name)

    def _on_edited(self, field: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Set the value of a field."""
        store = self._section.store
        if field in ("lateral_mm", "deep_mm"):
            store.set_values(margins=store.reading.margins.model_copy(update={field: value}))
        else:
            store.set_values(**{field: value})

    def _on_input_rejected(self, message: str) -> None:
        self._context.status.show_message(message)
        self._section.store.refresh()

    def _on_ruler(self, field: str) -> None:
        """Set a margin to the length of the line that is selected in the Measure section, or of the last one."""
        from napari_melanoma.slides.notes import measure_shape

        section, session = self._section, self._context.session
        line = None if session is None else session.ruler_line
        if section.store.size is None:
            section.failed.emit(ScaleMissing(NO_SCALE.format("This slide")))
        elif line is None:
            section.failed.emit(InputError(NO_RULER))
        else:
            self._on_edited(field, round(measure_shape(line, section.store.size), 4))

    def _on_mitosis_tool(self, tool: str) -> None:
        from napari_melanoma.depth.readings import count_mitoses

        section = self._section
        if tool == "none_found":
            mitoses = section.store.reading.mitoses
            counted = count_mitoses(mitoses.points, mitoses.areas, section.store.size, none_found=True)
            section.store.set_values(mitoses=counted)
            tool = ""
        elif tool == "hotspot" and not self._add_hotspot():
            tool = ""
        section.line_layer.set_tool("")
        section.mitosis_layers.set_tool(tool)
        self._update_tools()
        if tool == "hotspot":
            self._context.status.show_message(HOTSPOT_HINT)

    def _add_hotspot(self) -> bool:
        """Set the counting area to a circle of 1 mm²; return whether that is possible, which requires a scale."""
        section = self._section
        if section.store.size is None:
            section.failed.emit(ScaleMissing(NO_SCALE.format("This slide")))
            return False
        section.mitosis_layers.add_hotspot()
        return True

    def _on_mitoses(self, points: Any, areas: Any) -> None:  # noqa: ANN401 - as emitted by MitosisLayers
        from napari_melanoma.depth.readings import count_mitoses

        store = self._section.store
        if (points, areas) != (store.reading.mitoses.points, store.reading.mitoses.areas):
            store.set_values(mitoses=count_mitoses(points, areas, store.size))


class DepthExporter(ReportExporter):
    """Write the report of the reading, and add the reading to the open case."""

    def __init__(self, context: SlideContext, store: DepthReadingStore) -> None:
        super().__init__(context, store)
        self._store = store

    def connect_signals(self, view: DepthView) -> None:
        view.report_button.clicked.connect(self._on_report)
        view.case_button.clicked.connect(self._on_case)

    def _on_report(self) -> None:
        slide = self._context.slide
        if slide is not None:
            title, name = "Save the report of the reading", f"{slide.info.name}-depth.html"
            self.choose_report_file("depth_report_dialog", title, name, partial(self._make_report, slide.info))

    def _make_report(self, info: SlideInfo, path: Path) -> JobFunction | None:
        state, store = self._store.state, self._store
        if state is None:
            return None
        readings = state.history.current, store.reading, store.automatic_reading
        return partial(_write_report, path, info, readings, state.folder)

    def _on_case(self) -> None:
        """Add the reading to the lesion of the slide in the open case, and show the outcome."""
        try:
            message = self._add_to_case()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._context.status.show_message(message)

    def _add_to_case(self) -> str:
        """Set depth, ulceration, Clark level and mitoses of the lesion, and return the message."""
        from napari_melanoma.depth.t_category import describe_contradiction
        from napari_melanoma.reports.slide import save_readings_to_case, set_lesion_reading

        state = self._store.state
        if state is None:
            raise InputError(NO_CASE)
        reading = self._store.reading
        if contradiction := describe_contradiction(reading.mm, reading.clark):
            raise InputError(f"the reading was not added to the case. {contradiction}")
        controller, image = find_open_case(self._context)
        changed = set_lesion_reading(controller.case, image.id, self._store.reading)
        save_readings_to_case(controller.store.folder, image.id, state.history.current)
        controller.edit(changed, "what was read from the slide")
        return f"Added to the case, with {image.path.name}: depth, ulceration, Clark level, mitoses, as far as known."


def _write_report(
    path: Path,
    info: SlideInfo,
    readings: tuple[SlideDepthReadings, DepthReading, DepthReading],
    folder: Path,
    run: RunContext,
) -> Path:
    """Write the report, with the risk if it was estimated; ``readings``: all, the current, and the automatic one."""
    from napari_melanoma.reports.slide import write_depth_report

    return write_depth_report(path, info, *readings, folder)
