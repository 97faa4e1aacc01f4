"""The lesions of a slide in the Slide dock, which users can correct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QPushButton, QWidget

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.results import AnalysisResults
from napari_melanoma.ui.slide.export import create_export_button
from napari_melanoma.ui.slide.lesion_drawing import LesionRefinement
from napari_melanoma.ui.slide.lesions import (
    LesionTable,
    class_of_probability,
    make_class_edit,
    make_merge_edit,
    make_remove_edit,
    make_split_edit,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import WrappedLabel, column, named, row, section, tool_button

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.lesions import LesionConfig
    from napari_melanoma.ui.session.run_status import SlideRunUpdate
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import LesionFindings, SlideLesions
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


class SlideResultController(QObject):
    """Show the lesions of the displayed slide as table rows, and handle edits of them."""

    def __init__(self, context: SlideContext, view: SlideResultView, lesions: SlideLesions) -> None:
        super().__init__(context)
        self._context, self._viewer, self._view = context, context.viewer, view
        self._lesions = lesions
        self._slide: ViewerSlide | None = None
        self._results = AnalysisResults()
        self._splitting = False
        self._connections = SectionConnections(context.dock)
        lesions.changed.connect(self._on_lesions)
        lesions.saved.connect(self._on_saved)
        view.lesion_table.selection_changed.connect(self._update_buttons)
        view.lesion_table.remove_requested.connect(lambda: lesions.edit(make_remove_edit(view.lesion_table.selected)))
        view.save_button.clicked.connect(lesions.save)
        edits = {
            "merge": lambda: lesions.edit(make_merge_edit(view.lesion_table.selected)),
            "class": lambda: lesions.edit(make_class_edit(view.lesion_table.selected)),
            "remove": lambda: lesions.edit(make_remove_edit(view.lesion_table.selected)),
            "split": self._on_split,
            "undo": lesions.undo,
            "redo": lesions.redo,
        }
        for name, slot in edits.items():
            view.edit_buttons[name].clicked.connect(slot)
        self._refinement = LesionRefinement(context, lesions, view.lesion_table, view.edit_buttons["refine"])
        self._callback = self._on_press
        callbacks = self._viewer.mouse_drag_callbacks
        callbacks.append(self._callback)
        context.dock.destroyed.connect(partial(_remove_callback, callbacks, self._callback))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, without results until they have been read."""
        self._connections.close()
        self._slide, self._results = slide, AnalysisResults()
        self._splitting = False
        self._update_visible_parts()

    def open(self, session: SlideSession) -> None:
        """Follow the results of the displayed slide."""
        self._connections.close()
        results = session.results
        self._connections.connect(results.changed, self._on_results)
        self._connections.connect(results.ended, self._on_ended)
        self._connections.connect(results.target_selected, self._on_target)
        self._connections.connect(results.threshold_selected, self._on_threshold)
        self._on_results(results.value)

    def _on_results(self, results: AnalysisResults) -> None:
        self._results = results
        if self._slide is not None and results.heatmap is None:
            self._lesions.clear(self._slide.identity)
        self._view.set_predictions_visible(results.shows_numbers)
        self._update_visible_parts()

    def _on_ended(self, update: SlideRunUpdate, was_running: bool) -> None:
        """Read the lesions of an analysis that has ended."""
        session, heat = self._context.session, self._results.heatmap
        if session is not None and heat is not None and self._results.has_lesions:
            config = _read_lesion_config(self._results.content)
            session.heatmap_display.update(threshold=config.high)
            self._lesions.read(session.result_location.folder, heat.target, config)

    def _on_target(self, target: str) -> None:
        session = self._context.session
        if session is not None:
            self._find_lesions(target, session.heatmap_display.value.threshold)

    def _on_threshold(self, threshold: float) -> None:
        if self._results.heatmap is not None:
            self._find_lesions(self._results.heatmap.target, threshold)

    def _find_lesions(self, target: str, threshold: float) -> None:
        heat, location = self._results.heatmap, self._context.result_location
        if heat is not None and heat.is_probability and location is not None:
            self._lesions.find(location.folder, target, threshold)

    def _on_lesions(self, findings: LesionFindings | None) -> None:
        """List the lesions, summarize them, and save them if they were corrected."""
        view = self._view
        lesions = () if findings is None else findings.lesions
        view.lesion_table.table_model.target = "" if findings is None else findings.target
        view.lesion_table.show_lesions(lesions)
        self._update_visible_parts()
        if findings is not None:
            counts = Counter(lesion.label for lesion in lesions)
            all_classified = counts["malignant"] + counts["benign"] == len(lesions)
            malignant = f", {counts['malignant']} malignant" if all_classified else ""
            areas = [lesion.area_mm2 for lesion in lesions if lesion.area_mm2 is not None]
            area = f", {sum(areas):.3g} mm² in total" if areas else ""
            summary = (
                f"{format_count(len(lesions), 'lesion')}{malignant}{area}. {_explain_p(findings)}" if lesions else ""
            )
            view.lesion_count_label.setText(summary or _describe_no_lesions(findings))
            if self._context.session is not None:  # undo may have changed the threshold
                self._context.session.heatmap_display.update(threshold=findings.config.high)
            if findings.is_corrected and not findings.saved:
                self._lesions.save()  # edits are saved at once, a changed threshold only on request
        self._update_buttons()

    def _on_saved(self, folder: Path) -> None:
        icons = self._context.icons
        self._context.status.show_message(f"Saved in {icons.link(folder.as_uri(), folder.name)}.")

    def _update_buttons(self) -> None:
        """Enable the buttons that are possible, such as edits of the selected rows."""
        view, findings = self._view, self._lesions.findings
        count = len(view.lesion_table.selected)
        enabled = {
            "draw": findings is not None,
            "refine": findings is not None,
            "merge": count > 1,
            "split": count == 1,
            "class": count > 0,
            "remove": count > 0,
            "undo": findings is not None and bool(findings.history.past),
            "redo": findings is not None and bool(findings.history.undone),
        }
        for name, on in enabled.items():
            view.edit_buttons[name].setEnabled(on)
        unsaved = findings is not None and not findings.saved
        view.save_button.setEnabled(unsaved)
        blocker = "Analyze the slide first" if findings is None else "All changes are saved"
        target = "" if findings is None else f" into {findings.folder}"
        view.save_button.setToolTip(f"Save the lesions{target} ({SAVE_KEY})" if unsaved else blocker)
        view.export_button.setEnabled(findings is not None or bool(self._results.content))

    def _update_visible_parts(self) -> None:
        findings = self._lesions.findings
        self._view.show_parts(has_lesions=findings is not None)
        if findings is None:
            self._view.lesion_count_label.setText(self._explain_missing_lesions())

    def _explain_missing_lesions(self) -> str:
        """Explain why there are no lesions, or what to do to get them."""
        if self._results.is_running:
            return LESIONS_LATER
        if not self._results.content:
            return NO_LESIONS
        return LESIONS_NOW if self._results.has_lesions else NOT_ASSESSED

    def _on_split(self) -> None:
        """Let the user draw a line across the selected lesion."""
        slide = self._slide
        if slide is None or len(self._view.lesion_table.selected) != 1:
            return
        self._splitting = True
        self._context.status.show_message("Press the mouse button on one side of the lesion, release it on the other.")

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Select the row of a clicked lesion, or split the selected lesion along the line that is dragged."""
        slide = self._slide
        if slide is None or event.button != 1:
            return
        splitting, start = self._splitting, slide.to_slide(tuple(event.position[-2:]))
        line, moved = [start], False
        if splitting:
            event.handled = True
        yield
        while event.type == "mouse_move":
            moved = True
            line.append(slide.to_slide(tuple(event.position[-2:])))
            if splitting:
                event.handled = True
            yield
        if splitting and moved:
            self._split_lesion(line)
        elif not moved:
            index = self._lesions.lesion_at(start)
            layer = slide_layers.find_layer(self._viewer, slide, "lesions")
            if index is not None and layer is not None and layer.visible:
                self._view.lesion_table.select_lesion(index)

    def _split_lesion(self, line: list[tuple[float, float]]) -> None:
        """Split the selected lesion; ``line``: (row, column) in pixels of the finest level."""
        import numpy as np

        self._splitting = False
        selected = self._view.lesion_table.selected
        if len(selected) == 1:
            self._lesions.edit(make_split_edit(selected[0], np.array(line)))


def _explain_p(findings: LesionFindings) -> str:
    """Explain the column p of the lesions, and from which value on a lesion is malignant unless it is a half."""
    named_class = class_of_probability(findings.lesions[0], findings.target)
    limit = findings.config.malignant_from
    return f"p: probability of {named_class}" + (f", malignant from {limit:g}." if limit != 0.5 else ".")


def _describe_no_lesions(findings: LesionFindings) -> str:
    """Describe why there is no lesion: none was detected, or all were removed."""
    count = len(findings.history.current.removed or ())
    removed = "1 lesion was" if count == 1 else f"{count} lesions were"
    if findings.is_corrected and count:
        return f"No lesions left: {removed} removed manually."
    return f"No lesion at this threshold; {removed} removed manually." if count else "No lesion at this threshold."


def _read_lesion_config(content: Mapping[str, Any]) -> LesionConfig:
    """Return the configuration with which lesions were detected; the defaults if this version cannot read it."""
    from napari_melanoma.slides.lesions import LesionConfig

    try:
        return LesionConfig.parse(dict((content.get("options") or {}).get("lesions") or {}), "result.json")
    except ConfigError:
        return LesionConfig()


def _remove_callback(callbacks: list[Any], callback: Any) -> None:  # noqa: ANN401 - napari's list of functions
    """Remove the callback of a dock that was closed."""
    if callback in callbacks:
        callbacks.remove(callback)


SAVE_KEY = format_key("slide.save")
EDITS = {  # text and tooltip
    "draw": ("draw", f"Draw a new lesion on the slide; press again to stop ({format_key('slide.draw')})"),
    "refine": ("refine", f"{CLICK_HINT} ({format_key('slide.click')})"),
    "merge": ("merge", "Merge the selected lesions into one"),
    "split": ("split", "Split a lesion by a line that you draw across it"),
    "class": ("class", "Switch the class of the selected lesions"),
    "remove": ("remove", "Remove the selected lesions (Delete)"),
    "undo": ("undo", "Undo the last change of the lesions"),
    "redo": ("redo", "Redo the last change that was undone"),
}
CANVAS_EDITS = ("draw", "refine")  # tools, which stay active until their button is pressed again
NO_LESIONS = "No lesions yet. Analyze the slide first."
LESIONS_LATER = "Lesions are detected when the analysis has finished."
LESIONS_NOW = "Detecting lesions ..."
NOT_ASSESSED = "Not assessed: the model of these results does not detect lesions."


class SlideResultView:
    """The widgets of the results."""

    def __init__(self, on_export: Callable[[str], None]) -> None:
        self.prediction_area = column()
        self.lesion_count_label = named(WrappedLabel(NO_LESIONS), "lesion_count", "Number of lesions")
        self.lesion_count_label.setProperty("quiet", True)
        self.lesion_table = LesionTable()
        self.edit_buttons = {name: tool_button(f"lesion_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        for name in CANVAS_EDITS:
            self.edit_buttons[name].setCheckable(True)
        for name, arrow in (("undo", "↶"), ("redo", "↷")):
            self.edit_buttons[name].setText(arrow)
        self.save_button = named(QPushButton("Save"), "save", "Save the lesions")
        self.export_button = create_export_button(on_export)
        self._edit_row = row(*(button for name, button in self.edit_buttons.items() if name not in CANVAS_EDITS))
        self._edit_row.layout().setSpacing(2)
        self._lesion_table_area = column(self.lesion_table)

    def create_sections(self, settings: DockSettings) -> tuple[QWidget, ...]:
        """Arrange the widgets in the sections of the dock, which are returned from top to bottom."""
        lesions = column(
            row(self.lesion_count_label, *(self.edit_buttons[name] for name in CANVAS_EDITS), stretch=0),
            self._lesion_table_area,
            self._edit_row,
        )
        return (
            self.prediction_area,
            section("Heatmap", "slide_heatmap_section", column(), settings, True),
            section("Lesions", "slide_lesions_section", lesions, settings, True),
        )

    def show_parts(self, *, has_lesions: bool) -> None:
        """Show the widgets of the lesions if there are any."""
        self.lesion_table.setVisible(has_lesions)
        self._edit_row.setVisible(has_lesions)
        for name in CANVAS_EDITS:
            self.edit_buttons[name].setVisible(has_lesions)

    def set_predictions_visible(self, visible: bool) -> None:
        """Show the predicted numbers; hide them if they are not valid."""
        self._lesion_table_area.setVisible(visible)
        self.lesion_count_label.setVisible(visible)
