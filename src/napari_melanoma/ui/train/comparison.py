"""The comparison of the new and the old model after a run: metrics, recommendation, and the decision of the user."""

from __future__ import annotations

import math
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.metric_table import METRIC_TABLE
from napari_melanoma.models.bundle import SLIDE
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.train.samples import ThumbnailGrid, ThumbnailItem
from napari_melanoma.ui.widgets.charts import ForestPlot, MetricChange
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.evaluation.comparison import Comparison, ImageChange
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.runs.launching import RunReport


class ModelDecision(QObject):
    """Activate or discard the model of a run, in the background."""

    activated = Signal(object, object)  # Path of the run, BundleInfo of the installed model
    discarded = Signal(object)  # Path of the run
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    def activate(self, run: Path) -> None:
        """Install the model of a run in the user's model folder, unless that has been done."""
        self._latest.submit(str(run), lambda: partial(_activate, run))

    def discard(self, run: Path) -> None:
        """Mark the model of a run as discarded; its files are kept."""
        self._latest.submit(str(run), lambda: partial(_discard, run))

    def _on_done(self, run_and_bundle: tuple[Path, BundleInfo | None]) -> None:
        run, bundle = run_and_bundle  # no bundle: the model was discarded
        if bundle is None:
            self.discarded.emit(run)
        else:
            models_changed().changed.emit(bundle.name)
            self.activated.emit(run, bundle)


def _activate(path: Path, run: RunContext) -> tuple[Path, BundleInfo]:
    from napari_melanoma.runs.acceptance import activate_model

    return path, activate_model(path)


def _discard(path: Path, run: RunContext) -> tuple[Path, None]:
    from napari_melanoma.runs.acceptance import discard_model

    discard_model(path)
    return path, None


CONTOUR_LEGEND = (  # name, color in dark themes, color in light themes
    ("old", "#d648a0", "#d648a0"),
    ("new", "#ffdd00", "#b39700"),
    ("reference mask", "#5cdbf0", "#1897ad"),
)
PENDING_TEXTS = {"activate": "Activating ...", "discard": "Discarding ..."}
METRICS = {
    "segmentation": ("JA", "DI"),
    "classification": ("AUC", "sensitivity", "specificity", "ECE"),
    "cells": ("class_balanced_accuracy",),
}
ADVICE = {
    "activate": "Recommendation: use the new model.",
    "keep": "Recommendation: keep the old model.",
    "inconclusive": "No recommendation: the result is inconclusive.",
}
NO_ADVICE = "No recommendation: the models were not compared."
ONE_IMAGE = "one image: no interval"
OVERLAP_UNKNOWN = (
    "Whether the models were trained on some of these images was not checked by the version that compared them."
)
NOT_COMPARED = (
    "The new model was not compared with the old one: the comparison was canceled or failed, or there is no test set "
    "(see the log). Whether it is better is unknown. To compare them: napari-melanoma compare {run}"
)
EVALUATED_ALONE = (
    "The run did not start from a classifier, so there is no model to compare it with. Test results of the new model: "
    "{page}"
)


class RunComparisonView(QWidget):
    """The comparison after a run, with buttons that activate or discard the new model."""

    activate_requested = Signal(object)  # Path of the run
    discard_requested = Signal(object)  # Path of the run
    image_requested = Signal(str)  # path of an image

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "gate", "Comparison of the new and the old model").setToolTip("")
        self._icons = icons
        self._report: RunReport | None = None
        self._pending_choice = ""  # key of PENDING_TEXTS; empty if no decision is being carried out
        self._shown_comparison = ""  # repr of the comparison
        self._title = named(QLabel(), "gate_title", "Compared models")
        self._advice = named(QLabel(), "gate_advice", "Recommendation")
        self._reason = named(QLabel(), "gate_reason", "Reason for the recommendation")
        self._counts = named(quiet_label(), "gate_counts", "Compared images")
        self._choice_label = named(QLabel(), "gate_done", "Decision")
        for label in (self._title, self._advice, self._reason, self._counts, self._choice_label):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setToolTip("")
        for label in (self._title, self._advice):
            font = label.font()
            font.setBold(True)
            label.setFont(font)
        self._metric_table = _MetricTable()
        self._forest = ForestPlot(icons)
        self._legend = quiet_label()
        self._headings = {name: QLabel() for name in ("better", "worse")}
        self.images = {
            "better": ThumbnailGrid("gate_better", "Improved images", icons),
            "worse": ThumbnailGrid("gate_worse", "Images that got worse", icons),
        }
        self.activate_button = named(QPushButton("Use this model"), "gate_activate", "Use this model")
        self.discard_button = named(QPushButton("Discard"), "gate_discard", "Discard")
        self._lay_out()
        self.activate_button.clicked.connect(self._on_activate)
        self.discard_button.clicked.connect(self._on_discard)
        for images in self.images.values():
            images.opened.connect(self.image_requested)
        icons.changed.connect(self._on_theme)
        self._on_theme()
        self.show_comparison(None)

    def show_comparison(self, report: RunReport | None) -> None:
        """Show the comparison of a run; hide the view if the run has no new model."""
        previous, self._report = self._report, report
        self.setVisible(report is not None and report.bundle is not None)
        if report is None or report.bundle is None:
            self._pending_choice = ""
            return
        same = previous is not None and previous.path == report.path
        if not same or report.activated_as or report.discarded:
            self._pending_choice = ""
        comparison = repr(report.comparison)  # not the object: a comparison with NaN is not equal to itself
        if comparison != self._shown_comparison:
            self._shown_comparison = comparison
            self._update_comparison(report.comparison)
        if report.comparison is None:
            self._reason.setText(explain_missing_comparison(report))
        self._show_choice(report)

    def reset_choice(self) -> None:
        """Enable the buttons again after a failure."""
        self._pending_choice = ""
        if self._report is not None:
            self._show_choice(self._report)

    def _update_comparison(self, comparison: Comparison | None) -> None:
        for widget in (self._metric_table, self._forest, self._image_panel, self._counts):
            widget.setVisible(comparison is not None)
        if comparison is None:
            self._title.setText("New model")
            self._advice.setText(NO_ADVICE)
            return
        self._title.setText(f"{comparison.new.name} (new) compared with {comparison.old.name} (old)")
        self._metric_table.show_comparison(comparison)
        self._counts.setText(format_image_counts(comparison))
        self._counts.setToolTip("\n".join(f"{name}: {error}" for name, error in comparison.failed))
        self._advice.setText(ADVICE[comparison.advice])
        self._reason.setText(comparison.reason)
        self._forest.show_changes(list_changes(comparison))
        for name, changes in (("better", comparison.better), ("worse", comparison.worse)):
            self._headings[name].setText(format_heading(name, len(changes)))
            self.images[name].show_items([_thumbnail(change) for change in changes])
        self._image_panel.setVisible(comparison.task == "segmentation")  # classifications have no contours
        self._legend.setVisible(bool(comparison.better or comparison.worse))

    def _show_choice(self, report: RunReport) -> None:
        """Update the buttons, and show the decision."""
        is_active, is_pending = report.activated_as is not None, bool(self._pending_choice)
        for button, possible, tip, reason in (
            (
                self.activate_button,
                not is_active,
                "Add the new model to the list of models; the old one stays in the list",
                "The model is in use",
            ),
            (
                self.discard_button,
                not is_active and not report.discarded,
                "Do not use the new model; it is kept in the run folder and can be used later",
                "The model is in use" if is_active else "The model was discarded",
            ),
        ):
            button.setEnabled(possible and not is_pending)
            button.setToolTip(PENDING_TEXTS[self._pending_choice] if is_pending else tip if possible else reason)
        self._choice_label.setText(PENDING_TEXTS[self._pending_choice] if is_pending else format_choice(report))
        self._choice_label.setVisible(bool(self._choice_label.text()))

    def _choose(self, choice: str, signal: object) -> None:
        """Emit a request for the run; ``choice``: key of ``PENDING_TEXTS``."""
        if self._report is not None and not self._pending_choice:
            self._pending_choice = choice
            self._show_choice(self._report)
            signal.emit(self._report.path)  # type: ignore[attr-defined]

    def _on_activate(self) -> None:
        if self._report is not None and not self._pending_choice and self._confirm_activation(self._report):
            self._choose("activate", self.activate_requested)

    def _confirm_activation(self, report: RunReport) -> bool:
        """Return whether the model may be activated; ask the user if there is an objection."""
        from napari_melanoma.runs.acceptance import explain_objection

        objection = explain_objection(report.comparison, discarded=report.discarded)
        if not objection:
            return True
        box = create_question(self, "activate_anyway", "Use this model anyway?", objection, "Train")
        use = box.addButton("Use it anyway", QMessageBox.ButtonRole.DestructiveRole)
        use.setObjectName("activate_anyway_yes")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        return exec_question(box) is use

    def _on_discard(self) -> None:
        self._choose("discard", self.discard_requested)

    def _on_theme(self) -> None:
        dark = self._icons.palette.dark
        marks = (
            f"<span style='color: {on_dark if dark else on_light}'>━</span> {name}"
            for name, on_dark, on_light in CONTOUR_LEGEND
        )
        self._legend.setText(" &nbsp; ".join(marks))

    def _lay_out(self) -> None:
        self._image_panel = QWidget()
        compared = _column(self._image_panel)
        for name, images in self.images.items():
            compared.addWidget(self._headings[name])
            compared.addWidget(images)
        compared.addWidget(self._legend)
        self._button_row = QWidget()
        choice = QHBoxLayout(self._button_row)
        choice.setContentsMargins(0, 0, 0, 0)
        for button in (self.activate_button, self.discard_button):  # of equal width, so that neither looks preferred
            choice.addWidget(button, 1)
        layout = _column(self)
        for widget in (
            self._title,
            self._metric_table,
            self._counts,
            self._advice,
            self._reason,
            self._forest,
            self._image_panel,
            self._button_row,
            self._choice_label,
        ):
            layout.addWidget(widget)


class _MetricTable(QWidget):
    """Table of the old value, the new value and the difference of each metric, with the intervals below them."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "gate_figures", "Metrics of the old and the new model").setToolTip("")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(1)
        for column, title in enumerate(("", "old", "new", "difference")):
            grid.addWidget(quiet_label(title), 0, column)
            grid.setColumnStretch(column, int(column > 0))
        self._values: dict[tuple[str, str], tuple[QLabel, QLabel]] = {}
        self._rows: dict[str, list[QLabel]] = {}
        for number, metric in enumerate(chain(*METRICS.values())):
            about = METRIC_TABLE[metric]
            direction = "; lower is better" if about.better == "lower" else ""
            name = named(
                QLabel(about.title), f"gate_{metric}", f"{about.definition[0].upper()}{about.definition[1:]}{direction}"
            )
            grid.addWidget(name, 2 * number + 1, 0)
            self._rows[metric] = [name]
            for column, which in enumerate(("old", "new", "difference"), start=1):
                value, interval = QLabel(), quiet_label()
                value.setObjectName(f"gate_{which}_{metric}")
                interval.setObjectName(f"gate_{which}_{metric}_interval")
                # Not setFont, which napari's style overrides
                interval.setStyleSheet("font-size: 8pt; padding: 0px 0px 0px 2px")
                self._values[metric, which] = value, interval
                self._rows[metric] += value, interval
                grid.addWidget(value, 2 * number + 1, column)
                grid.addWidget(interval, 2 * number + 2, column)

    def show_comparison(self, comparison: Comparison) -> None:
        """Show the metrics for the task of a comparison."""
        for metric, labels in self._rows.items():
            for label in labels:
                label.setVisible(metric in METRICS[comparison.task])
        for metric in METRICS[comparison.task]:
            for which, values in (
                ("old", comparison.old.metrics),
                ("new", comparison.new.metrics),
                ("difference", comparison.difference),
            ):
                value, interval = self._values[metric, which]
                estimate = values.get(metric)
                value.setText(format_mean(estimate, signed=which == "difference"))
                interval.setText(format_interval(estimate))


def _thumbnail(change: ImageChange) -> ThumbnailItem:
    tip = f"{change.image_id} ({change.domain}): Jaccard {change.old:.3f} → {change.new:.3f}"
    return ThumbnailItem(f"{change.change:+.2f}", tip, change.image, change.thumbnail)


def _column(holder: QWidget) -> QVBoxLayout:
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(5)
    return layout


def format_image_counts(comparison: Comparison) -> str:
    """Describe the images of a comparison, such as ``On 37 images of 22 patients or lesions; 95 % intervals.``.

    The text also states which images were left out because a model was trained on them, if that is known.
    """
    images = format_count(comparison.images, "image")
    patients = f"{format_count(comparison.patients, 'patient')} or lesion{'' if comparison.patients == 1 else 's'}"
    failed = f" {len(comparison.failed)} more could not be compared." if comparison.failed else ""
    overlap = comparison.facts.get("training_overlap") or {}
    overlap_text = overlap.get("summary") or OVERLAP_UNKNOWN
    return (
        f"On {images} of {patients}; 95 % intervals.{failed} {overlap_text}" if comparison.images else str(overlap_text)
    )


def explain_missing_comparison(report: RunReport) -> str:
    """Explain why there is no comparison."""
    page = report.path / "evaluation" / "summary.html"
    return EVALUATED_ALONE.format(page=page) if page.is_file() else NOT_COMPARED.format(run=report.path)


def format_heading(name: str, count: int) -> str:
    """Format the heading of a list, such as ``Better: 5 images, largest change first``."""
    if not count:
        return f"{name.capitalize()}: no images"
    return f"{name.capitalize()}: {format_count(count, 'image')}, largest change first"


def format_choice(report: RunReport) -> str:
    """Describe the decision, the location of the model, and how to revert it; empty without a decision."""
    old = "The old model" if report.comparison is None else report.comparison.old.name
    if report.activated_as is not None:
        dock = "Slide" if report.recipe is not None and SLIDE in report.recipe.modalities else "Lesion"
        return f"In use as {report.activated_as}: select it as a model in the {dock} dock. {old} is still in the list."
    if report.discarded:
        folder = report.path.name
        return (
            f"Discarded: the docks do not list the new model. It is kept in {folder}; press Use this model to use it."
        )
    return ""


def list_changes(comparison: Comparison) -> list[MetricChange]:
    """List the differences in the decisive metric: for all images, then for each data set if there are several."""
    if comparison.decisive is None:
        return []
    old, new, change = comparison.decisive
    rows = [MetricChange(f"all {format_count(comparison.images, 'image')}", old.mean, new.mean, change)]
    if len(comparison.domains) > 1:
        rows += [
            MetricChange(
                f"{domain.name}{' (replay data)' if domain.replay else ''}, {format_count(domain.images, 'image')}",
                domain.old[comparison.metric].mean,
                domain.new[comparison.metric].mean,
                domain.difference[comparison.metric],
            )
            for domain in comparison.domains
            if comparison.metric in domain.difference
        ]
    return rows


def format_mean(estimate: Estimate | None, *, signed: bool) -> str:
    """Format a mean, such as ``0.863``; a dash if unknown."""
    if estimate is None or not math.isfinite(estimate.mean):
        return "–"
    return f"{estimate.mean:+.3f}" if signed else f"{estimate.mean:.3f}"


def format_interval(estimate: Estimate | None) -> str:
    """Format an interval, such as ``0.821 to 0.886``, or why there is none; empty if unknown."""
    if estimate is not None and estimate.count == 1:
        return ONE_IMAGE
    if estimate is None or not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
