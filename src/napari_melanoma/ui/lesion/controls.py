"""The controls of the Lesion dock in their places: options in and out, results shown, nothing started."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.lesion.analysis import LesionOptions
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.lesion.footer import CorrectionsBar, RecoveryNotice, SaveBar
from napari_melanoma.ui.lesion.mask_controls import CorrectionTools, MaskControls, RoiControls
from napari_melanoma.ui.lesion.measurements import MeasurementTable, RulerPanel
from napari_melanoma.ui.lesion.notices import ModalityNotice, several_in_words
from napari_melanoma.ui.lesion.patient_form import PatientForm
from napari_melanoma.ui.lesion.photograph_picker import PhotographPicker
from napari_melanoma.ui.lesion.prediction_view import AnswerSection, HeatmapControls
from napari_melanoma.ui.viewer.docking import Docking, Waiting
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.look import Connections, ThemedIcons, Words, form, named, row, scrolling, section
from napari_melanoma.ui.widgets.model_picker import ClassifierPicker, ModelPicker
from napari_melanoma.ui.widgets.settings import Settings
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.welcome import FileDrops, Welcome

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.lesion.analysis import LesionResult

ANALYSE_KEY, ALL_KEY = shown_key("lesion.analyse"), shown_key("lesion.analyse_all")
NO_PHOTOGRAPH = "Open a photograph first."
RUNNING = "An analysis is running."
FLIPS_TIP = (
    "Ask the model four times: about the photograph and its mirror images. The mean is steadier, and a blue band shows "
    "where the answers disagree. Takes about four times as long; from the next analysis on."
)


class LesionControls(QWidget):
    """What a user sees of the Lesion dock."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "lesion_dock", "Lesion")
        self.setToolTip("")
        self.settings = Settings()
        self.review_settings = ReviewSettings()
        self.connections = Connections()
        Docking(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = Welcome(self.icons)
        self.picker = PhotographPicker(viewer, self.icons, self.connections)
        self.ruler = RulerPanel(viewer, self.settings)
        self.recovery = RecoveryNotice()
        self.model = ModelPicker(self.icons)
        self.classifier = ClassifierPicker(self.icons)
        self.patient = PatientForm()
        self.heatmap = HeatmapControls(self.settings)
        self.answer = AnswerSection(self.icons, self.heatmap)
        self.flips = named(QCheckBox("with its mirror images"), "flips", "Ask about the mirror images too", FLIPS_TIP)
        self.analyse = named(QPushButton("Analyse"), "primary", "Analyse")
        self.analyse_all = named(QPushButton("all"), "analyse_all", "Analyse all photographs")
        self.modality = ModalityNotice()
        self.hidden = named(Words(), "photograph_hidden", "Why no results are shown")
        self.mask_controls = MaskControls(self.icons)
        self.correction = CorrectionTools(viewer, self.icons)
        self.roi = RoiControls()
        self.table = MeasurementTable()
        self.save_bar = SaveBar(self.settings, self.icons)
        self.corrections = CorrectionsBar(self.review_settings, self.icons)
        self.status = StatusLine(self.icons)
        self.waiting = Waiting(self)
        self._lay_out()
        self.drops = FileDrops(self, self.waiting.aside)
        self.icons.apply()
        self.show_lesion(None)

    def options(self) -> LesionOptions:
        """Give the options as the controls show them."""
        return LesionOptions(
            model=self.model.model,
            threshold=self.mask_controls.threshold,
            refinement=self.mask_controls.refinement,
            roi=self.roi.config,
            flips=self.flips.isChecked(),
        )

    def set_options(self, options: LesionOptions) -> None:
        """Show options; nothing is started."""
        self.model.model = options.model
        self.mask_controls.set_values(options.threshold, options.refinement)
        self.roi.config = options.roi
        self.flips.setChecked(options.flips)

    def show_lesion(self, result: LesionResult | None) -> None:
        """Show what is known of the photograph."""
        self.table.show_values({} if result is None else result.measurements)
        self.roi.show_roi(None if result is None else result.roi)
        self.modality.show_result(result)
        self.mask_controls.set_corrected(result is not None and result.corrected)
        self.mask_controls.set_several("" if result is None else several_in_words(result, with_advice=True))
        if result is not None:
            self.mask_controls.set_own(result.model.threshold)

    def show_form(self, is_asked_for: bool) -> None:
        """Show the form of the patient, where a model asks for it."""
        self._patient_fold.setVisible(is_asked_for)

    def show_state(self, image: Image | None, count: int, running: bool) -> None:
        """Show what can be done now, and why not where it cannot."""
        self.welcome.setVisible(image is None)
        self.corrections.setVisible(image is not None)
        if not self.waiting.is_opening:
            self._show_work()
        why = RUNNING if running else NO_PHOTOGRAPH
        ready = image is not None and not running
        for button, does, key in (
            (self.analyse, "Find the lesion, its border and its measurements", ANALYSE_KEY),
            (self.analyse_all, f"Analyse all {count} photographs that are open; corrected masks stay", ALL_KEY),
        ):
            button.setEnabled(ready)
            button.setToolTip(f"{does} ({key})" if ready else why)
        self.analyse_all.setVisible(count > 1)
        self._show_results(image)

    def _show_results(self, image: Image | None) -> None:
        """Show results of what is in view only: beside a slide they would pass for those of the slide."""
        in_view = image is None or bool(image.visible)
        if not in_view:
            name, show = html.escape(image.name), self.icons.link("show", "Show the photograph")
            self.hidden.setText(f"'{name}' is not in view, so its results are hidden. {show}.")
        self.hidden.setVisible(not in_view)
        self._results.setVisible(in_view)

    def _show_work(self) -> None:
        """Show it where there is a photograph; complete, for nothing shall jump."""
        is_wanted = self.picker.image is not None
        if is_wanted:
            self.waiting.place_all()
        self._work.setVisible(is_wanted)

    def _place(self, fold: QWidget) -> None:
        place = self._folds.count()
        self._folds.addWidget(fold)
        self._folds.setStretch(place, fold is self._folded[-1])

    def _lay_out(self) -> None:
        """Put everything in its place: what is long scrolls, Save and the status line stay in sight."""
        self._work = self._working_part()
        self._work.hide()
        self.waiting.hold(self._work, lambda work: self._page.insertWidget(1, work, 1))
        for fold in self._folded:
            self.waiting.hold(fold, self._place)
        inner = QWidget()
        self._page = column = QVBoxLayout(inner)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.welcome)
        column.addStretch(0)
        foot = QWidget()
        below = QVBoxLayout(foot)
        below.setContentsMargins(6, 0, 6, 6)
        below.addWidget(self.corrections)
        below.addWidget(self.save_bar)
        below.addWidget(self.status)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addWidget(scrolling(inner, "lesion_scroll"), 1)
        whole.addWidget(foot)

    def _working_part(self) -> QWidget:
        part = QWidget()
        column = QVBoxLayout(part)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(7)
        head = QWidget()
        rows = form(head)
        rows.addRow(_label("photograph"), self.picker)
        rows.addRow(_label("model"), self.model)
        rows.addRow("", self.flips)
        rows.addRow(_label("answer"), self.classifier)
        mask = QWidget()
        both = QVBoxLayout(mask)
        both.setContentsMargins(0, 0, 0, 0)
        both.addWidget(self.mask_controls)
        both.addWidget(self.correction)
        self._patient_fold = section("Patient", "patient_section", self.patient, self.settings, True)
        self._folded = sections = (
            self._patient_fold,
            section("Answer", "answer_section", self.answer, self.settings, True),
            section("Mask", "mask_section", mask, self.settings, True),
            section("Region of interest", "roi_section", self.roi, self.settings, True),
            section("Measurements", "measurements_section", self.table, self.settings, True),
        )
        self.icons.fold(*sections)
        column.addWidget(head)
        column.addWidget(self.ruler)
        column.addWidget(self.recovery)
        column.addWidget(row(self.analyse, self.analyse_all, stretch=0))
        column.addWidget(self.hidden)
        sections[-1].setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._results = QWidget()
        results = QVBoxLayout(self._results)
        results.setContentsMargins(0, 0, 0, 0)
        results.setSpacing(7)
        results.addWidget(self.modality)
        self._folds = QVBoxLayout()
        self._folds.setSpacing(7)
        results.addLayout(self._folds, 1)
        column.addWidget(self._results, 1)
        column.addStretch(0)
        return part


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    label.setContentsMargins(0, 4, 0, 0)
    return label
