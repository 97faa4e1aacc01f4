"""The comparison of the new and the old model after a run: recommendation, metrics, and the decision of the user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.metric_table import METRIC_TABLE
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models import AUTOMATIC
from napari_melanoma.models.bundle import SLIDE
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.dialogs import confirm
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.model_picker import store_used_model
from napari_melanoma.ui.widgets.style import elide, named, quiet_label, row

if TYPE_CHECKING:
    from napari_melanoma.evaluation.comparison_results import Comparison
    from napari_melanoma.runs.launching import RunReport


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
EVALUATED_ALONE = "The run did not start from a classifier, so there is no model to compare it with."
FORMER_PX = 200  # for the name of a model on a button in a narrow dock
PAGES = {  # files in the run folder by the name of the button that opens them; the first that exists is offered
    "Open comparison": "comparison/comparison.html",
    "Open test results": "evaluation/summary.html",
}


class RunComparisonView(QWidget):
    """The comparison after a run, with buttons that open its page, and activate or discard the new model."""

    decided = Signal(str)  # message for the user
    failed = Signal(object)  # the exception

    def __init__(self) -> None:
        super().__init__()
        named(self, "gate", "Comparison of the new and the old model").setToolTip("")
        self._report: RunReport | None = None
        self._decisions = LatestJobQueue(self)
        self._pending = ""  # text while a decision is carried out
        self._title = named(QLabel(), "gate_title", "Compared models")
        self._advice = named(QLabel(), "gate_advice", "Recommendation")
        self._reason = named(QLabel(), "gate_reason", "Reason for the recommendation")
        self._metrics = named(QLabel(), "gate_metrics", "Metrics of the old and the new model")
        self._counts = named(quiet_label(), "gate_counts", "Compared images")
        self._choice = named(QLabel(), "gate_done", "Decision")
        self.page_button = named(QPushButton(), "gate_page", "Open the page of the comparison")
        self.page_button.setToolTip("All metrics, each data set, and the images that improved or got worse")
        self.activate_button = named(QPushButton("Use this model"), "gate_activate", "Use this model")
        self.discard_button = named(QPushButton("Discard"), "gate_discard", "Discard")
        self.return_button = named(QPushButton(), "gate_return", "Use the model again that was used before")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        for label in (self._title, self._advice, self._reason, self._metrics, self._counts, self._choice):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setToolTip("")
            layout.addWidget(label)
        for label in (self._title, self._advice):
            font = label.font()
            font.setBold(True)
            label.setFont(font)
        for buttons in ((self.page_button,), (self.activate_button, self.discard_button)):
            layout.insertWidget(layout.count() - 1, row(*buttons))
        layout.addWidget(self.return_button)
        self.page_button.clicked.connect(self._on_page)
        self.activate_button.clicked.connect(self._on_activate)
        self.discard_button.clicked.connect(self._on_discard)
        self.return_button.clicked.connect(self._on_return)
        self._decisions.succeeded.connect(self._on_decided)
        self._decisions.failed.connect(self._on_failed)
        self.show_comparison(None)

    def show_comparison(self, report: RunReport | None) -> None:
        """Show the comparison of a run; hide the view if the run has no new model."""
        self._report = report
        self.setVisible(report is not None and report.bundle is not None)
        if report is None or report.bundle is None:
            return
        comparison = report.comparison
        page = self._find_page()
        self._metrics.setVisible(comparison is not None and comparison.images > 0)
        self._counts.setVisible(comparison is not None)
        self.page_button.setVisible(page is not None)
        self.page_button.setText("" if page is None else page[0])
        if comparison is not None:
            self._title.setText(f"{comparison.new.name} (new) compared with {comparison.old.name} (old)")
            self._advice.setText(ADVICE[comparison.advice])
            self._reason.setText(comparison.reason)
            self._metrics.setText(format_metrics(comparison))
            self._counts.setText(format_image_counts(comparison))
            self._counts.setToolTip("\n".join(f"{name}: {error}" for name, error in comparison.failed))
        else:
            alone = page is not None and page[0] == "Open test results"
            self._title.setText("New model")
            self._advice.setText(NO_ADVICE)
            self._reason.setText(EVALUATED_ALONE if alone else NOT_COMPARED.format(run=report.path))
        self._update_choice()

    def _update_choice(self) -> None:
        """Update the buttons, and show the decision."""
        report, pending = self._report, self._pending
        if report is None:
            return
        is_active = report.activated_as is not None
        use_tip = "Add the new model to the list of models; you can return to the old one"
        discard_tip = "Do not use the new model; it is kept in the run folder and can be used later"
        discarded = "The model was discarded" if report.discarded else ""
        for button, obstacle, tip in (
            (self.activate_button, "The model is in use" if is_active else "", use_tip),
            (self.discard_button, "The model is in use" if is_active else discarded, discard_tip),
        ):
            button.setEnabled(not (pending or obstacle))
            button.setToolTip(pending or obstacle or tip)
        self._choice.setText(pending or format_choice(report))
        self._choice.setVisible(bool(self._choice.text()))
        former = self._former_models
        name = name_choice(*former)
        self.return_button.setText(f"Use {elide(self.fontMetrics(), name, FORMER_PX)} again")
        self.return_button.setToolTip(
            pending or f"Select {name} instead of {report.activated_as}, which stays in the list"
        )
        self.return_button.setVisible(bool(former))
        self.return_button.setEnabled(not pending)

    @property
    def _former_models(self) -> set[str]:
        """The models to return to: those selected before, else the old one; empty if the new one is not in use."""
        report = self._report
        if report is None or report.activated_as is None:
            return set()
        old = set() if report.comparison is None else {report.comparison.old.name}
        return set(user_data().former[report.activated_as].values()) or old

    def _find_page(self) -> tuple[str, Path] | None:
        """Return the text of the button and the page that it opens; None if the run has none."""
        pages = [] if self._report is None else [(text, self._report.path / name) for text, name in PAGES.items()]
        return next((page for page in pages if page[1].is_file()), None)

    def _on_page(self) -> None:
        page = self._find_page()
        if page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(page[1])))

    def _on_activate(self) -> None:
        if self._report is not None and self._confirm_activation(self._report):
            self._carry_out("Activating ...", partial(_activate, self._report.path))

    def _on_discard(self) -> None:
        if self._report is not None:
            self._carry_out("Discarding ...", partial(_discard, self._report.path))

    def _on_return(self) -> None:
        if self._report is not None:
            self._carry_out("Returning ...", partial(_return, self._report, self._former_models))

    def _carry_out(self, text: str, work: JobFunction) -> None:
        self._pending = text
        self._decisions.submit("decision", lambda: work)
        self._update_choice()

    def _on_decided(self, decision: Decision) -> None:
        self._pending = ""
        self._update_choice()
        if decision.model:
            store_used_model(decision.model, decision.replaced)
        if decision.replaced:
            user_data().model_returned.emit(decision.replaced, decision.model)
        elif decision.model:
            user_data().models_changed.emit(decision.model)
        self.decided.emit(decision.message)

    def _on_failed(self, error: Exception) -> None:
        self._pending = ""
        self._update_choice()
        self.failed.emit(error)

    def _confirm_activation(self, report: RunReport) -> bool:
        """Return whether the model may be activated; ask the user if there is an objection."""
        from napari_melanoma.runs.acceptance import explain_objection

        objection = explain_objection(report.comparison, discarded=report.discarded)
        if not objection:
            return True
        return confirm(self, "activate_anyway", "Use this model anyway?", objection, "Use it anyway", "Train")


@dataclass(frozen=True)
class Decision:
    """What was decided about the model of a run.

    ``model``: the activated one, or the one that is used again by docks without a former one; empty if it was
    discarded. ``replaced``: the one that is no longer used; empty if there is none.
    """

    message: str
    model: str = ""
    replaced: str = ""


def _activate(path: Path, run: RunContext) -> Decision:
    from napari_melanoma.runs.acceptance import activate_model

    name = activate_model(path).name
    return Decision(f"{name} is in use: docks select it, also those that you open later.", name)


def _discard(path: Path, run: RunContext) -> Decision:
    from napari_melanoma.runs.acceptance import discard_model

    discard_model(path)
    return Decision(f"The model of {path.name} was discarded. Its files are kept.")


def _return(report: RunReport, former: set[str], run: RunContext) -> Decision:
    """Record that other models are used again."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.runs.acceptance import replace_activated_model

    for model in former - {AUTOMATIC}:
        find_bundle(model)  # raises an error if it was removed
    replace_activated_model(report.path, next(iter(former)) if len(former) == 1 else "")
    compared = "" if report.comparison is None else report.comparison.old.name
    return Decision(f"Now in use again: {name_choice(*former)}.", compared, report.activated_as or "")


def name_choice(*models: str) -> str:
    """Name the model to return to; empty, or several: another one in each dock."""
    if len(models) != 1 or not models[0]:
        return "the former model of each dock"
    return "the automatic choice" if models[0] == AUTOMATIC else models[0]


def format_metrics(comparison: Comparison) -> str:
    """Format the metrics of both models and their difference, with intervals, as an HTML table."""
    heads = "".join(f"<th align='left'>{title}</th>" for title in ("", "old", "new", "difference"))
    lines = [f"<tr>{heads}</tr>"]
    for metric in METRICS[comparison.task]:
        about = METRIC_TABLE[metric]
        better = " (lower is better)" if about.better == "lower" else ""
        values = comparison.old.metrics, comparison.new.metrics, comparison.difference
        estimates = [column.get(metric) for column in values]
        means = [format_mean(estimate, signed=number == 2) for number, estimate in enumerate(estimates)]
        lines.append(f"<tr><td>{escape(about.title + better)}</td>{''.join(f'<td>{text}</td>' for text in means)}</tr>")
        intervals = "".join(f"<td><small>{format_interval(estimate)}</small></td>" for estimate in estimates)
        lines.append(f"<tr><td></td>{intervals}</tr>")
    return f"<table cellpadding='4'>{''.join(lines)}</table>"


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


def format_choice(report: RunReport) -> str:
    """Describe the decision, the location of the model, and how to revert it; empty without a decision."""
    old = "The old model" if report.comparison is None else report.comparison.old.name
    if report.activated_as is not None:
        dock = "Slide" if report.recipe is not None and SLIDE in report.recipe.modalities else "Lesion"
        return f"In use as {report.activated_as}, selected in the {dock} dock. {old} is still in the list."
    if report.replaced_by is not None:
        name = name_choice(report.replaced_by)
        return f"Not in use: {name} is used again. The new model stays in the list; press Use this model to use it."
    if report.discarded:
        folder = report.path.name
        return (
            f"Discarded: the docks do not list the new model. It is kept in {folder}; press Use this model to use it."
        )
    return ""


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
