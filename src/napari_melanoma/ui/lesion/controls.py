"""The controls and layout of the Lesion dock."""

from __future__ import annotations

import html
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.ui.lesion.photograph_picker import ModalityNotice, PhotographPicker
from napari_melanoma.ui.lesion.saving import RecoveryNotice, SaveBar
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.photograph import PhotographOptions, PhotographSession, PhotographSessions
from napari_melanoma.ui.viewer.docking import DeferredWidgets, DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.file_drop import FileDropHandler, Welcome
from napari_melanoma.ui.widgets.model_picker import ClassifierPicker, ModelPicker
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    Connections,
    ThemedIcons,
    WrappedLabel,
    column,
    enable,
    form_layout,
    more_button,
    named,
    row,
    scroll_area,
    section,
    section_title,
    top_label,
)

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.session.adoption import LabelsAdoption
    from napari_melanoma.ui.session.corrections_store import PhotographCorrections
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
    from napari_melanoma.ui.session.prompting import PromptController
    from napari_melanoma.ui.widgets.style import CollapsibleSection

ANALYZE_KEY, ANALYZE_ALL_KEY = format_key("lesion.analyse"), format_key("lesion.analyse_all")
NO_PHOTOGRAPH = "Open a photograph first."
ANALYSIS_RUNNING = "An analysis is running."
FLIPS_TIP = (
    "Average the predictions for the photograph and its three flipped copies. A blue band shows where they disagree. "
    "Takes about four times as long. Applies from the next analysis on."
)


class LesionControls(SectionDock):
    """The widgets of the Lesion dock, without its logic."""

    name = "lesion"
    corrections: PhotographCorrections
    options: PhotographOptions
    controller: LesionController
    prompts: PromptController
    labels: LabelsAdoption
    predictions: PhotographPredictions
    _sections: tuple[QWidget, ...]
    _page: QVBoxLayout

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "lesion_dock", "Lesion")
        self.setToolTip("")
        self.settings = DockSettings()
        self.review_settings = ReviewSettings()
        self.connections = Connections()
        self.hidden = Shared("")
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = Welcome(self.icons)
        self.sessions = PhotographSessions(viewer, partial(PhotographSession, services=self))
        self.picker = PhotographPicker(self.sessions, self, self.connections)
        self.recovery_notice = RecoveryNotice()
        self.model = ModelPicker(self.icons)
        self.classifier = ClassifierPicker(self.icons)
        self.flips = named(QCheckBox("test-time augmentation"), "flips", "Test-time augmentation", FLIPS_TIP)
        self.analyze_button = named(QPushButton("Analyze"), "primary", "Analyze")
        self.analyze_all_button = named(QPushButton("all"), "analyse_all", "Analyze all photographs")
        self.modality_notice = ModalityNotice(self.icons)
        self.hidden_notice = named(WrappedLabel(), "photograph_hidden", "Hidden photograph")
        self.save_bar = SaveBar(self.settings)
        self.status = StatusLine(self.icons)
        self.choice = SectionChoice(self)
        self.deferred = DeferredWidgets(self)
        self._lay_out()
        self.file_drops = FileDropHandler(self, self.deferred.holder)
        self.icons.apply()

    def list_places(self) -> dict[str, QWidget]:
        """Return where sections are shown, by title."""
        return {section_title(frame): frame for frame in self._sections} | {"Corrections": self._corrections_place}

    def add_section(self, frame: CollapsibleSection) -> None:
        """Add a section below the others."""
        self._sections = (*self._sections, frame)
        self.icons.add_sections(frame)
        self.deferred.add_widget(frame, self._add_section)
        self.deferred.run_after()

    def show_classifier(self) -> None:
        """Show the model for the photograph in view, and the section of the patient data that it may use."""
        session = self.picker.session
        if session is None and self.deferred.is_opening:
            return  # the controls are hidden without a photograph, and filled after the dock is drawn
        self.classifier.show_automatic("" if session is None or session.lesion is None else session.classifier)
        self.choice.set_needed("Patient", bool(self.classifier.model) and session is not None)

    def show_state(self, image: Image | None, count: int, running: bool) -> None:
        """Enable the controls that can be used, and explain the others in their tooltips.

        ``count``: number of open photographs. ``running``: whether an analysis is running.
        """
        self.welcome.setVisible(image is None)
        if not self.deferred.is_opening:
            self._show_work_area()
        self._show_results(image)
        blocker = ANALYSIS_RUNNING if running else NO_PHOTOGRAPH if image is None else ""
        tip = f"Segment and measure the lesion ({ANALYZE_KEY})"
        enable(self.analyze_button, tip, blocker or self.hidden.value)
        tip = f"Analyze all {count} open photographs; corrected masks are kept ({ANALYZE_ALL_KEY})"
        enable(self.analyze_all_button, tip, blocker)
        self.analyze_all_button.setVisible(count > 1)

    def _show_results(self, image: Image | None) -> None:
        """Show results only if the photograph is visible: next to a slide, they could be mistaken for the slide's."""
        reason = self.picker.hidden_reason
        self.hidden.set(
            f"'{image.name}' is {reason}. Show the photograph first." if image is not None and reason else ""
        )
        if image is not None and reason:
            name, show = html.escape(image.name), self.icons.link("show", "Show the photograph")
            self.hidden_notice.setText(f"'{name}' is {reason}: its results are not shown. {show}.")
        self.hidden_notice.setVisible(bool(reason))
        for part in (self._results, self._result_notice):
            part.setVisible(not reason)

    def _show_work_area(self) -> None:
        """Show the work area if there is a photograph, with all parts, so that the layout does not jump."""
        is_shown = self.picker.session is not None
        if is_shown:
            self.deferred.insert_all()
        self._work_area.setVisible(is_shown)

    def _add_section(self, widget: QWidget) -> None:
        index = self._sections_layout.count()
        self._sections_layout.addWidget(widget)
        self._sections_layout.setStretch(index, widget is self._sections[-1])

    def _lay_out(self) -> None:
        """Arrange the widgets; only the upper part scrolls, Save and the status line are always visible."""
        self._work_area = self._make_work_area()
        self._work_area.hide()
        self.deferred.add_widget(self._work_area, lambda work: self._page.insertWidget(1, work, 1))
        for widget in self._sections:
            self.deferred.add_widget(widget, self._add_section)
        # In a turn of its own: the import takes as long as everything else in the longest one
        self.deferred.add_task(partial(import_module, "napari_melanoma.models.installed_bundles"))
        for picker in (self.model, self.classifier):
            self.deferred.add_task(picker.ensure_listed)
        inner = QWidget()
        self._page = page = QVBoxLayout(inner)
        page.setContentsMargins(6, 6, 6, 6)
        page.addWidget(self.welcome)
        page.addStretch(0)
        foot = QWidget()
        foot_column = QVBoxLayout(foot)
        foot_column.setContentsMargins(6, 0, 6, 6)
        foot_column.addStretch(0)
        self._corrections_place = column()
        self._result_notice = column(self.modality_notice)
        notices = (self._result_notice, self.hidden_notice, self.recovery_notice)  # that come and go move nothing here
        for widget in (*notices, self._corrections_place, self.save_bar, self.status):
            foot_column.addWidget(widget)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(4)
        outer.addWidget(scroll_area(inner, "lesion_scroll"), 1)
        outer.addWidget(foot)
        self.choice.update()

    def _make_work_area(self) -> QWidget:
        work_area = QWidget()
        layout = QVBoxLayout(work_area)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        head = QWidget()
        rows = form_layout(head)
        rows.addRow(top_label("photograph"), self.picker)
        rows.addRow(top_label("type"), self.picker.modality)
        rows.addRow(top_label("segmentation"), self.model)
        rows.addRow(top_label("classifier"), self.classifier)
        self._patient_section = section("Patient", "patient_section", None, self.settings, True)
        self._sections = sections = (
            self._patient_section,
            section("Prediction", "answer_section", None, self.settings, True),
            section("Mask", "mask_section", None, self.settings, True),
            section("Region of interest", "roi_section", None, self.settings, True),
            section("Measurements", "measurements_section", None, self.settings, True),
        )
        self.icons.add_sections(*sections)
        layout.addWidget(head)
        layout.addWidget(self.picker.ruler)
        more = more_button("analysis", "test-time augmentation", self.settings, self.flips)
        layout.addWidget(row(self.analyze_button, self.analyze_all_button, more, stretch=0))
        layout.addWidget(self.flips)
        sections[-1].setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._results = QWidget()
        results = QVBoxLayout(self._results)
        results.setContentsMargins(0, 0, 0, 0)
        results.setSpacing(7)
        self._sections_layout = QVBoxLayout()
        self._sections_layout.setSpacing(7)
        results.addLayout(self._sections_layout, 1)
        results.addWidget(row(self.choice.button))
        layout.addWidget(self._results, 1)
        layout.addStretch(0)
        return work_area
