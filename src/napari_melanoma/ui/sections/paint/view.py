"""The widgets of the Paint section, and what they state at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel, QLayout, QProgressBar, QSizePolicy, QSlider, QWidget
from superqt import QElidingLabel

from napari_melanoma.core.formatting import format_count
from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.slides.tissue_classifier.feature_sources import IMAGENET, JOIN
from napari_melanoma.slides.tissue_classifier.fitting import KIND_NAMES
from napari_melanoma.ui.sections.paint.stroke_tool import StrokeToolName
from napari_melanoma.ui.widgets.charts import Bar, BarChart
from napari_melanoma.ui.widgets.class_list import ClassKind, RegionClassList
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    column,
    fill_column,
    named,
    row,
    show_text,
    tool_button,
)

if TYPE_CHECKING:
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.slides.tissue_classifier.fitting import Validation
    from napari_melanoma.ui.sections.paint.mapping import Assessment, PaintLoop
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

# Colors that differ from each other, also with protanopia and deuteranopia (CIEDE2000 at least 18, with tritanopia 12),
# and from pink tissue and dark background; most of them are those of Okabe and Ito (2008).
TISSUE_CLASSES = ClassKind(
    "slide/tissue_classes",
    (
        RegionClass("Epidermis", (0, 114, 178)),
        RegionClass("Dermis", (0, 158, 115)),
        RegionClass("Fat", (240, 228, 66)),
        RegionClass("Adnexa", (110, 60, 20)),
        RegionClass("Tumor", (213, 94, 0)),
        RegionClass("Background", (221, 221, 221)),
    ),
    "tissue",
    "Classes of tissue",
    "Class of the strokes that you paint",
    "strokes",
    "Remove the class with its strokes, on all slides displayed so far; undo restores them",
)
TOOLS: dict[StrokeToolName, tuple[str, str, str]] = {  # name, icon, and what it does
    "brush": (
        "Brush",
        "paint",
        "hold the mouse button and paint on tissue of the class; Space moves the view",
    ),
    "polygon": (
        "Area",
        "polygon_lasso",
        "draw around an area with the button held, or click its corners: a double click or Return closes it, Backspace "
        "removes the last corner, Escape drops it",
    ),
    "cells": ("Cells", "picker", "click single cells of the map (squares of 32 µm), or drag across them"),
    "erase": ("Erase", "erase", "click a stroke to remove it"),
    "similar": (
        "Find similar",
        "zoom",
        "click a cell to find the most similar ones of this slide and its folder",
    ),
}
ICON_TOOLS: tuple[StrokeToolName, ...] = ("brush", "polygon", "cells", "erase")  # without a text
EDITS = {  # text and tooltip
    "undo": ("↶", "Undo the last change of the strokes (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
SIZES_PX, DEFAULT_SIZE_PX = (4, 80), 20  # width of the brush on the screen
STEPS, DEFAULT_OPACITY = 100, 45
START_TIP = (
    "Model whose strokes are used with yours, so that a stroke of one class, such as the tumor, gives a complete map; "
    "four of your strokes weigh as much as all of its strokes of the class"
)
SAVE_TIP = "Save a model of the strokes of all slides displayed so far, for analyses, cohorts and reports"
APPLY_TIP = "Analyze this slide with the saved model, in the background: areas, lesions and report"
MIN_CONFUSION, MAX_CONFUSIONS = 0.05, 3  # shares of cells that are listed, and their number
STROKES_TIP = "Balanced accuracy on strokes that were left out of the training, with a 95 % interval"
SLIDES_TIP = "Balanced accuracy on slides that were left out of the training, with a 95 % interval"
NOT_LEFT_OUT = "The only stroke of this class cannot be left out: its accuracy is unknown."
CORNERS = (  # by number of corners of an unfinished area
    "Click the second corner of the area. Backspace removes a corner, Escape drops the area.",
    "Click the third corner of the area. Backspace removes a corner, Escape drops the area.",
    "Click the next corner. A double click or Return closes the area, Backspace removes a corner, Escape drops it.",
)


class PaintView(QWidget):
    """Classes, tools, display of the map, progress and accuracy.

    ``cells``: lists of cells, shown above the accuracy. ``tool_clicked``: the button of a tool was clicked.
    ``display_changed``: visibility or opacity of the map.
    """

    tool_clicked = Signal(str)
    display_changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons, *cells: QWidget) -> None:
        super().__init__()
        self._settings = settings
        self.advice_label = named(WrappedLabel(), "paint_advice", "What to do next")
        self.class_list = RegionClassList(settings, icons, TISSUE_CLASSES)
        self.start_box = named(NoWheelComboBox(), "paint_start", "Start from", START_TIP)
        self.start_box.addItem("nothing", "")
        self.tools = {name: _create_tool_button(name, icons) for name in get_args(StrokeToolName)}
        self.edit_buttons = {name: tool_button(f"paint_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Width of the brush on the screen ([ and ] on the canvas)"
        self.size_slider = named(QSlider(Qt.Orientation.Horizontal), "paint_size", "Width of the brush", tip)
        self.size_slider.setRange(*SIZES_PX)
        self.size_slider.setValue(settings.get("paint/size", DEFAULT_SIZE_PX))
        tip = "Show the map of classes above the slide"
        self.visible_check = named(QCheckBox("Map"), "paint_map", "Map of classes", tip)
        self.visible_check.setChecked(settings.get("paint/map", True))
        self.opacity_slider = named(QSlider(Qt.Orientation.Horizontal), "paint_opacity", "Opacity of the map")
        self.opacity_slider.setRange(0, STEPS)
        self.opacity_slider.setValue(settings.get("paint/opacity", DEFAULT_OPACITY))
        self.save_button = tool_button("paint_save", "Save as model", SAVE_TIP, "Save as model...")
        self.apply_button = tool_button("paint_apply", "Apply to this slide", APPLY_TIP, "Apply to this slide")
        self.save_note = named(WrappedLabel(), "paint_save_note", "Features of the saved model")
        self.progress_label = named(QElidingLabel(), "paint_progress_text", "Progress of the map")
        self.progress_bar = named(QProgressBar(), "paint_progress", "Progress of the map")
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setFixedHeight(4)  # with the text, no higher than the button beside it
        self.pause_button = tool_button("paint_pause", "Pause", "", "Pause")
        self.chart = BarChart(icons, "paint_accuracy", "Accuracy of the classes")
        self.confusion_label = named(WrappedLabel(), "paint_confusions", "Confusions of classes")
        self.area_label = named(WrappedLabel(), "paint_areas", "Areas of the classes")
        self.warning_label = named(WrappedLabel(), "paint_warnings", "What the accuracy does not cover")
        self.warning_label.setProperty("fault", True)
        quiet: tuple[QLabel, ...] = self.progress_label, self.save_note, self.confusion_label, self.area_label
        for label in quiet:
            label.setProperty("quiet", True)
        for label in (self.advice_label, self.save_note, self.progress_label, *self._results_labels):
            label.setToolTip("")
        for name, button in self.tools.items():
            button.clicked.connect(lambda _=False, name=name: self.tool_clicked.emit(name))
        self.size_slider.valueChanged.connect(lambda size: settings.set("paint/size", size))
        self.visible_check.toggled.connect(self._on_display)
        self.opacity_slider.valueChanged.connect(self._on_display)
        self._results = self._lay_out(*cells)

    @property
    def _results_labels(self) -> tuple[QLabel, ...]:
        return self.confusion_label, self.area_label, self.warning_label

    def _lay_out(self, *cells: QWidget) -> QWidget:
        """Lay out the widgets, those that come and go last; return the area of the results."""
        progress = column(self.progress_label, self.progress_bar, spacing=0)
        progress.layout().setAlignment(Qt.AlignmentFlag.AlignVCenter)
        controls = column(
            row(QLabel("Start from"), self.start_box, stretch=1),
            self.class_list,
            row(*(self.tools[name] for name in ICON_TOOLS), *self.edit_buttons.values(), self.tools["similar"]),
            _share_row(QLabel("Width"), self.size_slider, self.visible_check, self.opacity_slider),
            row(self.pause_button, progress, stretch=1),
            row(self.save_button, self.apply_button),
        )
        # Otherwise they are squeezed or spread when results appear below, until the section has its new height.
        controls.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        controls.layout().setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        results = column(*cells, self.warning_label, self.chart, self.confusion_label, self.area_label, self.save_note)
        results.layout().addStretch(1)
        results.hide()
        fill_column(self, controls, results, self.advice_label, spacing=5)
        self.layout().addStretch(1)  # takes what shorter texts have left, until the section has its new height
        return results

    @property
    def opacity(self) -> float:
        """Opacity of the map."""
        return float(self.opacity_slider.value() / STEPS)

    def show_starts(self, names: Sequence[str], selected: str) -> None:
        """List the models to start from, and select one; empty for none."""
        self.start_box.blockSignals(True)
        self.start_box.clear()
        for text, name in (("nothing", ""), *((name, name) for name in names)):
            self.start_box.addItem(text, name)
        self.start_box.setCurrentIndex(max(0, self.start_box.findData(selected)))
        self.start_box.blockSignals(False)

    def show_results_area(self, is_painted: bool) -> None:
        """Show the area of results, once there are strokes or a tool is used."""
        if is_painted:
            self._results.show()

    def show_tool(self, name: str) -> None:
        """Show the active tool; empty for none."""
        self.show_results_area(bool(name))
        for tool, button in self.tools.items():
            button.setChecked(tool == name)

    def show_size(self, size_px: int) -> None:
        """Show the width of the brush that was set on the canvas."""
        self.size_slider.blockSignals(True)
        self.size_slider.setValue(size_px)
        self.size_slider.blockSignals(False)
        self._settings.set("paint/size", self.size_slider.value())

    def show_progress(self, text: str, share: float | None, *, is_paused: bool) -> None:
        """Show the progress of the map; ``share``: what is done; None if nothing is to do."""
        show_text(self.progress_label, text)
        self.progress_label.setToolTip(text)
        self.progress_bar.setValue(round(STEPS * (share or 0.0)))
        self.progress_bar.setEnabled(share is not None)
        self.pause_button.setEnabled(share is not None)
        self.pause_button.setText("Continue" if is_paused else "Pause")
        tip = "Compute the map of the whole slide" if is_paused else "Compute the map of the view only"
        self.pause_button.setToolTip(tip if share is not None else "Nothing is being computed.")

    def show_results(self, rows: Sequence[Bar], confusions: str, areas: str, warnings: str) -> None:
        """Show the accuracy of the classes, see ``list_bars``, with texts, which are hidden if they are empty."""
        self.chart.show_rows(rows)
        for label, text in zip(self._results_labels, (confusions, areas, warnings), strict=True):
            show_text(label, text)

    def _on_display(self, _: object = None) -> None:
        self._settings.set("paint/map", self.visible_check.isChecked())
        self._settings.set("paint/opacity", self.opacity_slider.value())
        self.display_changed.emit()


def _share_row(*widgets: QWidget) -> QWidget:
    """Put widgets side by side, in which the sliders share the width."""
    holder = row(*widgets)
    for index, widget in enumerate(widgets):
        holder.layout().setStretch(index, int(isinstance(widget, QSlider)))
    holder.layout().setStretch(len(widgets), 0)
    return holder


def _create_tool_button(name: StrokeToolName, icons: ThemedIcons) -> QAbstractButton:
    title, icon, use = TOOLS[name]
    tip = f"{title}: {use}"
    button = tool_button(f"paint_{name}", tip, tip, "" if name in ICON_TOOLS else title, checkable=True)
    icons.add(button, icon)
    return button


def advise(painted: Sequence[str], loop: PaintLoop, selected: str, tool: str, corners: int = 0) -> str:
    """Return what to do next, in one or two sentences.

    ``painted``: the classes with strokes. ``selected``: the selected class. ``tool``: the active tool, empty if there
    is none. ``corners``: number of those of an unfinished area.
    """
    if corners:
        return CORNERS[min(corners, len(CORNERS)) - 1]
    if tool == "similar":
        return "Click a cell of the slide; the most similar ones are listed below."
    if not painted:
        how = f"Paint a stroke on {selected.lower()}" if tool else "Select a class, then the brush, and paint a stroke"
        others = f"with the other classes of {loop.start}" if loop.start else "when two classes have a stroke"
        return f"{how}. The map appears {others}."
    if len(painted) == 1 and not loop.start:
        return f"Select a second class and paint it: so far only {painted[0].lower()} has strokes."
    if loop.fit is None and loop.is_running:
        return "Computing the first map of the view ..."
    if loop.fit is None:
        return "There is no map yet: too few strokes are on tissue that could be read. The warnings below state why."
    if not tool:
        return "Select the brush, and paint where the map is wrong."
    best = "" if loop.assessment is None else loop.assessment.chosen.advice
    return f"Paint where the map is wrong. {best}".strip()


def describe_progress(loop: PaintLoop) -> str:
    """Return the progress as text; empty if nothing is computed and there is no map."""
    if loop.activity:
        return loop.activity
    if loop.total is None:
        return "Updating the view ..." if loop.is_running else ""
    if loop.is_complete and loop.fit is None:
        return ""
    if loop.is_complete:
        return "Updating the map ..." if loop.is_running else "The map of the slide is complete."
    share = f"{loop.done:,} of {loop.total:,} blocks"
    if loop.is_paused:
        return f"Paused: map of {share}; the view is still updated."
    return f"{'Features' if loop.fit is None else 'Map'} of the slide: {share}"


def describe_features(loop: PaintLoop) -> str:
    """Return which features a saved model would have, those of the map, and why; empty without a map."""
    if loop.fit is None:
        return ""
    text = f"Saved as shown, with the features of this map: {name_features(loop.fit.choice.source)}"
    if loop.assessment is None:
        return f"{text}. The features are still being compared, so the map may change."
    is_compared = len(_best_accuracies(loop.assessment.candidates)) > 1
    return f"{text}, chosen by the accuracy on left-out strokes." if is_compared else f"{text}."


def describe_choice(assessment: Assessment) -> str:
    """Return which features and classifier are used, and the accuracy of all features, by which they were chosen."""
    chosen, candidates = assessment.chosen, assessment.candidates
    best = _best_accuracies(candidates)
    text = f"{name_features(chosen.source)}, {KIND_NAMES[chosen.kind]}: chosen among {len(candidates)} combinations "
    text += "of features and classifier by strokes that were left out"
    listed = ", ".join(f"{name_features(name)} {accuracy:.2f}" for name, accuracy in best.items())
    return f"{text} (accuracy: {listed})" if best else text


def name_features(source: str) -> str:
    return " + ".join({IMAGENET: "ImageNet"}.get(part, part) for part in source.split(JOIN))


def _best_accuracies(candidates: Sequence[Validation]) -> dict[str, float]:
    """Return the best accuracy of each source of features, of those whose accuracy is known."""
    best: dict[str, float] = {}
    for one in candidates:
        if one.accuracy is not None:
            best[one.source] = max(best.get(one.source, 0.0), one.accuracy.mean)
    return best


def list_bars(strokes: Mapping[str, int], validation: Validation | None) -> list[Bar]:
    """Return the accuracy, then the classes; until it is known, the number of strokes of each class, ``strokes``."""
    if validation is None or validation.accuracy is None:
        return [Bar(name, format_count(count, "stroke")) for name, count in strokes.items()]
    rows = [_accuracy_bar("Accuracy", validation.accuracy, STROKES_TIP)]
    if validation.slides is not None:
        rows.append(_accuracy_bar("Other slides", validation.slides, SLIDES_TIP))
    for index, (name, count, cells) in enumerate(
        zip(validation.classes, validation.strokes, validation.cells, strict=True)
    ):
        if not count:  # of the model that the fit starts from
            continue
        text, share = f"{format_count(count, 'stroke')}, {format_count(cells, 'cell')}", validation.recall[name]
        is_known = math.isfinite(share)
        tip = _describe_row(validation, index) if is_known else NOT_LEFT_OUT
        rows.append(Bar(name, text, share if is_known else None, tip=tip))
    return rows


def _accuracy_bar(name: str, accuracy: Estimate, tip: str) -> Bar:
    interval = (accuracy.low, accuracy.high) if accuracy.has_interval else None
    text = f"{accuracy.mean:.2f}" + (f" ({accuracy.low:.2f}–{accuracy.high:.2f})" if interval else "")
    return Bar(name, text, accuracy.mean, interval, strong=True, tip=tip)


def _describe_row(validation: Validation, index: int) -> str:
    """Describe the predictions for the left-out cells of a class, the most frequent first."""
    shares = dict(zip(validation.classes, validation.confusion[index].tolist(), strict=True))
    parts = [f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda one: -one[1]) if share >= 0.005]
    return f"Left-out cells of {validation.classes[index]} are predicted as: {', '.join(parts)}"


def describe_confusions(validation: Validation) -> str:
    """Name the most frequent confusions of two classes; empty if there are none."""
    if validation.accuracy is None:
        return ""
    pairs = [
        (float(validation.confusion[row, column]), true, predicted)
        for row, true in enumerate(validation.classes)
        for column, predicted in enumerate(validation.classes)
        if row != column and validation.confusion[row, column] >= MIN_CONFUSION
    ]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:MAX_CONFUSIONS]
    return "; ".join(f"{true} predicted as {predicted}: {share:.0%}" for share, true, predicted in worst)
