"""The Lesion dock: segment, measure and classify a lesion, correct the mask, and save.

``LesionDockLink`` gives other docks access to it.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma import worker
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.validity import format_modality
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.analysis import LesionAnalysisController, preload_libraries
from napari_melanoma.ui.lesion.photograph_picker import MODALITY_LINKS, SLIDE_LINK, ModalityNotice, PhotographPicker
from napari_melanoma.ui.lesion.saving import LesionCloseGuard, RecoveryNotice, SaveBar
from napari_melanoma.ui.lesion.scale_proposals import ScaleNotice, ScaleProposals
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.session.adoption import LabelsAdoption
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
from napari_melanoma.ui.session.corrections_store import PhotographCorrections, ReviewSettings
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.open_photograph import PhotographOptions, PhotographSessions
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_opener import PhotographOpener
from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
from napari_melanoma.ui.session.photograph_scale import UNDO_SCALE_LINK, PhotographScale
from napari_melanoma.ui.session.prompting import PromptController
from napari_melanoma.ui.session.recovery import remove_saved_recoveries
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import DeferredWidgets, DockPlacement, find_frame
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.viewer.view_memory import show_photograph
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.dock_layout import FACTS_SEPARATOR, DockParts, SummarySection, lay_out_dock
from napari_melanoma.ui.widgets.file_drop import (
    RECENT_PHOTOGRAPHS,
    FileDropHandler,
    RecentFiles,
    RecentList,
    RecentPaths,
    Welcome,
)
from napari_melanoma.ui.widgets.job import JobFunction, tasks
from napari_melanoma.ui.widgets.model_picker import ClassifierPicker, ModelPicker
from napari_melanoma.ui.widgets.report_writer import ReportWriter
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections, at_end, follow
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    KeptRoom,
    ThemedIcons,
    WrappedLabel,
    column,
    elide,
    enable,
    form_layout,
    named,
    remember_height,
    row,
    scroll_area,
    section,
    section_title,
)
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.ui.readers import LayerData


ANALYZE_KEY, ANALYZE_ALL_KEY = format_key("lesion.analyse"), format_key("lesion.analyse_all")
NO_PHOTOGRAPH = "Open a photograph first."
NO_PROPOSAL = "No scale is proposed for the photograph in view."
UNSAVED = "Unsaved changes: the mask was edited after it was saved."
ANALYSIS_RUNNING = "An analysis is running."
FLIPS_TIP = (
    "Average the predictions for the photograph and its three flipped copies. A blue band shows where they disagree. "
    "Takes about four times as long. Applies from the next analysis on."
)
PRELOAD_DELAY_MS = 300  # by then the dock is complete
MIN_SECTIONS_PX = 1  # in a dock that is so low that the pinned parts take all of it
SETUP_MARGIN_PX = 68  # beside the line that sums up type and models


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

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "lesion_dock", "Lesion")
        self.setToolTip("")
        self.settings = DockSettings()
        self.review_settings = ReviewSettings()
        self.connections = Connections(self)
        self.hidden = Shared("")
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = Welcome(self.icons)
        self.sessions = PhotographSessions(viewer, partial(PhotographSession, services=self))
        self.picker = PhotographPicker(self.sessions, self, self.connections)
        self.recovery_notice = RecoveryNotice()
        self.model = ModelPicker(self.icons)
        self.classifier = ClassifierPicker(self.icons)
        self.flips = named(QCheckBox("Test-time augmentation"), "flips", "Test-time augmentation", FLIPS_TIP)
        self.analyze_button = named(QPushButton("Analyze"), "primary", "Analyze")
        self.analyze_all_button = named(QPushButton("All"), "analyse_all", "Analyze all photographs")
        self.modality_notice = ModalityNotice(self.icons)
        self.scale_notice = ScaleNotice()
        self.hidden_notice = named(WrappedLabel(), "photograph_hidden", "Hidden photograph")
        self.save_bar = SaveBar(self.settings)
        self.status = StatusLine(self.icons)
        self.setup = SummarySection("Type and models", "lesion_setup", self.settings, self._make_setup_rows())
        self.choice = SectionChoice(self)
        self.deferred = DeferredWidgets(self)
        self._lay_out()
        self.file_drops = FileDropHandler(self, self.deferred.holder)
        self.icons.apply()

    def list_places(self) -> dict[str, QWidget]:
        """Return where sections are shown, by title."""
        places = {
            "Corrections": self._corrections_place,
            "Prediction summary": self._summary_place,
            "Published": self._published_place,
        }
        return {section_title(frame): frame for frame in self._sections} | places

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
        self.show_setup()

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
        for part in (self._results, self._result_notices):
            part.setVisible(not reason)

    def _show_work_area(self) -> None:
        """Show the parts for a photograph if there is one, all at once, so that the layout does not jump."""
        is_shown = self.picker.session is not None
        if is_shown:
            self.deferred.insert_all()
        for part in (self._head, self._work_area, self._notices, self._store):
            part.setVisible(is_shown)
        # From the start, as results need it: controls would move if it came with them
        bar = Qt.ScrollBarPolicy.ScrollBarAlwaysOn if is_shown else Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self._scroll.setVerticalScrollBarPolicy(bar)

    def show_setup(self) -> None:
        """Sum up the type of the photograph and the models in one line."""
        modality = self.picker.modality.currentData()
        classifier = self.classifier.card_model or ("automatic" if self.classifier.model else "no prediction")
        models = (Path(name).name for name in (self.model.model, classifier))
        flips = self.flips.text().lower() if self.flips.isChecked() else ""
        facts = [format_modality(modality) if modality else "type not stated", *models, flips]
        text = FACTS_SEPARATOR.join(fact for fact in facts if fact)
        width = self.width() - SETUP_MARGIN_PX
        self.setup.set_summary([elide(self.fontMetrics(), text, width)])
        self.setup.title_button.setToolTip(f"Show or hide: {self.setup.title}\n{text}")

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Sum up the type and the models again, as far as they fit."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width() and not self.deferred.is_opening:
            self.show_setup()

    def _add_section(self, widget: QWidget) -> None:
        self._sections_layout.addWidget(widget)

    def _lay_out(self) -> None:
        """Arrange the parts; only the sections scroll."""
        self._work_area = self._make_work_area()
        self._work_area.hide()
        page_widget = QWidget()
        page = QVBoxLayout(page_widget)
        page.setContentsMargins(6, 2, 6, 6)
        page.addWidget(self.welcome)
        page.addStretch(1)
        self.deferred.add_widget(self._work_area, lambda work: page.insertWidget(1, work))
        for widget in self._sections:
            self.deferred.add_widget(widget, self._add_section)
        # In a turn of its own: the import takes as long as everything else in the longest one
        self.deferred.add_task(partial(import_module, "napari_melanoma.models.installed_bundles"))
        for picker in (self.model, self.classifier):
            self.deferred.add_task(picker.ensure_listed)
        self._published_place, self._corrections_place, self._summary_place = column(), KeptRoom(), KeptRoom()
        remember_height(self._corrections_place, "lesion_corrections", self.settings)
        remember_height(self._summary_place, "lesion_answer", self.settings)
        self._result_notices = column(self._published_place, self.modality_notice, self.scale_notice)
        self._notices = column(self.picker.ruler, self._result_notices, self.hidden_notice, self.recovery_notice)
        self._store = column(self._corrections_place, self.save_bar)
        self._scroll = scroll_area(page_widget, "lesion_scroll")
        self._scroll.setMinimumHeight(MIN_SECTIONS_PX)
        parts = DockParts(
            self._scroll,
            subject=(self.picker, self.setup),
            act=(row(self.analyze_button, self.analyze_all_button, stretch=0),),
            answer=(self._summary_place,),
            notices=(self._notices,),
            footer=(self._store, self.status),
        )
        self._head, _ = lay_out_dock(self, parts)
        for part in (self._head, self._notices, self._store):
            part.hide()
        self.choice.update()

    def _make_setup_rows(self) -> QWidget:
        holder = QWidget()
        rows = form_layout(holder)
        rows.addRow("Type", self.picker.modality)
        rows.addRow("Segmentation", self.model)
        rows.addRow("Classifier", self.classifier)
        rows.addRow(self.flips)
        return holder

    def _make_work_area(self) -> QWidget:
        self._patient_section = section("Patient", "patient_section", None, self.settings, True)
        self._sections = sections = (
            section("Mask", "mask_section", None, self.settings, True),  # first: results below do not move its tools
            self._patient_section,
            section("Prediction", "answer_section", None, self.settings, True),
            section("Region of interest", "roi_section", None, self.settings, True),
            section("Measurements", "measurements_section", None, self.settings, True),
        )
        self.icons.add_sections(*sections, self.setup)
        self._results = QWidget()
        results = QVBoxLayout(self._results)
        results.setContentsMargins(0, 0, 0, 0)
        results.setSpacing(7)
        self._sections_layout = QVBoxLayout()
        self._sections_layout.setSpacing(7)
        results.addLayout(self._sections_layout)
        results.addWidget(row(self.choice.button))
        return column(self._results)


class LesionDock(LesionControls):
    """Analyze photographs: mask, region of interest, measurements and prediction.

    This class creates the controllers, and connects them with the controls.
    """

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self._viewer, self.workspace = napari_viewer, Workspace.of(napari_viewer)
        self._client = client or acquire_worker()
        self._analyze_when_loaded: dict[str, Callable[[], object]] = {}  # by identity, while a saved mask is read
        self._saved_message = ""
        self.options = PhotographOptions(self.settings, self._get_dock_options)
        self.controller = LesionController(self.sessions, self.options, self)
        self.analysis_controller = LesionAnalysisController(self.controller, self._client, self.status, self)
        self.prompts = PromptController(self.controller, self._client, self.status, lambda: self.model.model)
        self.labels = LabelsAdoption(self.controller, self.status)
        self.corrections = PhotographCorrections(self.controller, self.review_settings, self.status, self.icons, self)
        self.hosted: SectionHost[PhotographSession] = SectionHost(self, PhotographSection, self.deferred)
        self.classifier.select_stored(self.settings.classifier)
        self.predictions = PhotographPredictions(
            self.controller, self._client, self.classifier, self.status, self.settings, self
        )
        self.deferred.add_task(self.predictions.refresh_all)
        self.deferred.add_task(self.show_classifier)
        self.scale_proposals = ScaleProposals(self._find_complete, self)
        self.opener = PhotographOpener(napari_viewer, self)
        self.report_writer = ReportWriter(self, self.status, self.icons, self.settings)
        photograph_list = RecentList(
            "Recent photographs", RecentPaths(self.settings, RECENT_PHOTOGRAPHS), self.opener.open
        )
        self.recent = RecentFiles(self.welcome, self.icons, (photograph_list,))
        self.close_guard = LesionCloseGuard(self, self.sessions, self.controller, self.corrections)
        self.model.select_stored(self.settings.options.model)
        self.flips.setChecked(self.settings.options.flips)
        self._connect()
        self._add_shortcuts()
        self.picker.refresh()
        self._on_photograph()
        self._library_freeze = LibraryFreeze(self, napari_viewer, self.connections)
        self._preload = preload_libraries()
        self._preload.finished.connect(self._library_freeze.freeze)
        self.deferred.opened.connect(self._show_work_area)
        self.deferred.drawn.connect(self._library_freeze.freeze)
        # Not earlier: nothing would stop the worker of a dock that is closed before it is drawn.
        self.deferred.drawn.connect(self._start_preparing)
        self.deferred.start()
        QTimer.singleShot(PRELOAD_DELAY_MS, self._preload.start)
        QTimer.singleShot(PRELOAD_DELAY_MS, self.recent.find_missing)
        QTimer.singleShot(PRELOAD_DELAY_MS, self.corrections.store.refresh)
        at_end(self, partial(remove_saved_recoveries, self.sessions))
        if client is None:
            at_end(self, release_worker)
        self.workspace.photographs.provide(self, self)

    def _connect(self) -> None:
        self.analyze_button.clicked.connect(self._on_analyze)
        self.analyze_all_button.clicked.connect(self._on_analyze_all)
        self.predictions.loaded.connect(self._on_loaded)
        self.analysis_controller.changed.connect(self._refresh)
        self.model.changed.connect(self.options.update_dock_options)
        self.flips.toggled.connect(self.options.update_dock_options)
        for signal in (self.model.changed, self.flips.toggled, self.picker.modality.currentIndexChanged):
            signal.connect(lambda *_: self.show_setup())
        self.picker.changed.connect(self._on_photograph)
        self.picker.list_changed.connect(self._refresh)
        self.picker.visibility_changed.connect(self._refresh)
        self.picker.scale_changed.connect(self._on_scaled)
        self.picker.modality_changed.connect(self.controller.remeasure)
        self.picker.modality_changed.connect(lambda: self.scale_proposals.update())
        self.scale_notice.accepted.connect(self._on_scale_accepted)
        self.scale_notice.correction_requested.connect(self.picker.correct_scale)
        self.scale_notice.dismissed.connect(self._on_scale_dismissed)
        ruler = self.picker.ruler
        ruler.scaled.connect(self._show_scale_step)
        ruler.failed.connect(lambda error: show_failure(self.status, error, ruler.drawn))
        self.save_bar.save_requested.connect(self._on_save)
        self.save_bar.report_requested.connect(self._on_report)
        self.save_bar.dicom_requested.connect(self._on_dicom_report)
        self.report_writer.failed.connect(self._on_failed)
        for area in (self.welcome, self.file_drops):
            area.dropped.connect(self.opener.open)
        self.welcome.link_activated.connect(self._on_link)
        self.hidden_notice.linkActivated.connect(self._on_link)
        self.modality_notice.link_activated.connect(self._on_link)
        self.status.link_activated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.opener.started.connect(partial(self.status.begin, "opening", "Opening ..."))
        self.opener.progressed.connect(partial(self.status.progress, "opening"))
        self.opener.finished.connect(self._on_opened)
        self.controller.changed.connect(self._on_changed)
        self.sessions.removed.connect(self._on_photograph_removed)
        self.sessions.removed.connect(self.hosted.remove_session)
        self.controller.message.connect(self.status.show_message)
        self.controller.failed.connect(self._on_save_failed)
        self.classifier.changed.connect(self._on_classifier)
        user_data().models_changed.connect(self.show_classifier)
        for source in (
            self.analysis_controller,
            self.prompts,
            self.labels,
            self.classifier,
            self.controller,
            self.controller.autosave,
            self.close_guard,
            self.model,
            self.opener,
            self.corrections,
            self.recent,
            self.hosted,
            self.scale_proposals,
        ):
            source.failed.connect(self._on_failed)
        self.predictions.failed.connect(self._on_heatmap_failed)

    def _start_preparing(self) -> None:
        for signal in (self.picker.changed, self.model.changed, self.classifier.changed):
            signal.connect(self._prepare_models)
        self._prepare_models()

    def _prepare_models(self) -> None:
        """Let the worker open the models for a photograph that is shown, so that its analysis starts at once."""
        if self.picker.session is not None:
            self._client.prepare(worker.prepare_segmenter, self.model.model)
            if self.classifier.model:
                self._client.prepare(worker.prepare_classifier, self.classifier.model)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], object]] = {
            "analyse": self.analyze_button.click,
            "analyse_all": self.analyze_all_button.click,
            "next": partial(self.picker.step, 1),
            "previous": partial(self.picker.step, -1),
            "save": self.save_bar.save,
            "accept_scale": self._accept_scale,
            "undo": partial(self._step_scale, PhotographScale.undo),
            "redo": partial(self._step_scale, PhotographScale.redo),
        }
        for name, slot in slots.items():
            add_shortcut(self, f"lesion.{name}", slot)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that contains the dock."""
        super().showEvent(event)
        self.close_guard.watch()

    def _refresh(self) -> None:
        session = self.picker.session
        image = None if session is None else session.image
        self.show_state(image, self.picker.combo.count(), not tasks.is_idle(self.analysis_controller.queue))
        self.welcome.set_hint(photographs.explain_no_photograph(self._viewer))
        self.save_bar.show_session(session, self.hidden.value)
        self.scale_proposals.update()

    def _on_photograph(self) -> None:
        """Show the results and options of the selected photograph."""
        session = self.picker.session
        if self.hosted.session is not None and tasks.is_idle(self.opener):
            self.status.clear()  # the message is about the previous photograph
        if session is not None and session.path is not None:
            self.recent.add(RECENT_PHOTOGRAPHS, session.path)
            paths = [other.path for other in self.sessions.update() if other.path is not None]
            self.recent.record_session(RECENT_PHOTOGRAPHS, sorted(paths, key=session.path.__eq__))
        if session is not None:
            self.predictions.refresh(session)
        self.hosted.show_session(session)
        self.recovery_notice.show_session(session)
        self.scale_notice.show_scale(None if session is None else session.part(PhotographScale))
        self._show_lesion(session)
        self._refresh()
        if session is not None and session.lesion is None and not session.is_searched:
            session.is_searched = True
            self.controller.autosave.find_recovered(session)
            if self.settings.folder is not None:
                folder = saving.result_folder(self.settings.folder, session.name)
                self.predictions.load_saved(session, folder)

    def _on_analyze(self) -> None:
        session = self.picker.session
        if session is not None and self.predictions.is_loading(session):
            self._analyze_when_loaded[session.identity] = partial(self._analyze_unless_saved, session)
        elif session is not None:
            self.analysis_controller.analyze(session)

    def _on_analyze_all(self) -> None:
        session = self.picker.session
        if session is not None and self.predictions.is_loading(session):
            self._analyze_when_loaded[session.identity] = self.analysis_controller.analyze_all
        else:
            self.analysis_controller.analyze_all()

    def _analyze_unless_saved(self, session: PhotographSession) -> None:
        """Analyze a photograph, unless a saved mask that users have made has been shown in the meantime."""
        if session.is_open and not session.is_corrected:
            self.analysis_controller.analyze(session)

    def _on_loaded(self, session: PhotographSession) -> None:
        self._analyze_when_loaded.pop(session.identity, lambda: None)()
        self.scale_proposals.update()

    def _find_complete(self) -> PhotographSession | None:
        """Return the photograph in view, once its saved result, which may have a scale, was read; otherwise None."""
        session = self.picker.session
        is_complete = session is not None and not self.picker.hidden_reason and not self.predictions.is_loading(session)
        return session if is_complete and session is not None and session.is_open else None

    def _accept_scale(self) -> None:
        if not self.scale_notice.isHidden() and not self.hidden.value:
            self.scale_notice.accept()
        else:
            self.status.show_briefly(self.hidden.value or NO_PROPOSAL)

    def _on_scale_accepted(self, ruler: Ruler) -> None:
        text = f"{photographs.format_pixel_size(ruler.pixel_size)} per pixel, from a ruler of {ruler.millimeters:g} mm"
        self._show_scale_step(f"{text} that was found in the photograph.")

    def _on_scale_dismissed(self) -> None:
        self._show_scale_step("the proposed scale was dismissed.")

    def _show_scale_step(self, text: str) -> None:
        """Show what was done until the scale changes again."""
        session = self.picker.session
        if session is not None:
            message = f"{session.name}: {text} {self.icons.link(UNDO_SCALE_LINK, 'Undo')}"
            self.status.show_until(message, session.part(PhotographScale).changed)

    def _step_scale(self, step: Callable[[PhotographScale], None]) -> None:
        """Undo or redo the last change of the scale of the photograph in view."""
        session = self.picker.session
        if session is not None and not self.hidden.value:
            step(session.part(PhotographScale))

    def _get_dock_options(self) -> LesionOptions:
        return LesionOptions(model=self.model.model, flips=self.flips.isChecked())

    def _on_changed(self, session: PhotographSession) -> None:
        if session is self.picker.session:
            self._show_lesion(session)
            is_unsaved = session.lesion is not None and session.lesion.unsaved
            if is_unsaved and self._saved_message and self.status.text.startswith(self._saved_message):
                self.status.show_message(UNSAVED)
            elif not is_unsaved:
                self.status.end_message(UNSAVED)

    def _show_lesion(self, session: PhotographSession | None) -> None:
        lesion = None if session is None else session.lesion
        result = None if lesion is None else lesion.result
        self.modality_notice.show_result(result, None if session is None else session.path)
        self.save_bar.show_session(session, self.hidden.value)
        self.show_classifier()

    def _on_classifier(self) -> None:
        self.settings.classifier = self.classifier.model
        self.show_classifier()

    def _on_scaled(self, session: PhotographSession) -> None:
        if session.lesion is not None and session.is_open:
            photographs.update_scale(self._viewer, session.image)
            self.controller.remeasure(session)

    def _on_link(self, link: str) -> None:
        if self.recent.follow_link(link):
            return
        if link == "sample":
            self.opener.open_sample()
        elif link == "open":
            self.opener.choose_files()
        elif link == UNDO_SCALE_LINK:
            self._step_scale(PhotographScale.undo)
        elif link == "show":
            self.picker.show_current()
        elif link in MODALITY_LINKS:
            self.picker.set_modality(link)
        elif link == "train":
            self.workspace.training.show()
        elif link == SLIDE_LINK:
            session, slides = self.picker.session, self.workspace.slides.show()
            if session is not None and session.path is not None:
                slides.show_file(session.path)
        else:
            QDesktopServices.openUrl(QUrl(link))

    def show_file(self, path: Path) -> None:
        """Show a photograph; open it if necessary."""
        image = photographs.find_file(self._viewer, path)
        if image is None:
            self.opener.open([path])
        else:
            show_photograph(self._viewer, image)

    def _on_opened(self, count: int) -> None:
        self.status.end("opening")

    def _on_cancelled(self, task: str) -> None:
        if task == "opening":
            self.opener.cancel()

    def _on_report(self, folder: Path) -> None:
        if self._check_saved():
            self.report_writer.ask((folder,), folder.parent, f"{folder.name}-report")

    def _on_dicom_report(self, folder: Path) -> None:
        session = self.picker.session
        if session is not None and session.path is not None and self._check_saved():
            suggested, title = folder.parent / f"{folder.name}-measurements.dcm", "Measurement report (DICOM SR)"
            write = partial(self._write_dicom_report, folder, session.path)
            choose_new_file(self, "dicom_sr_dialog", "Write a measurement report", title, write, suggested)

    def _write_dicom_report(self, folder: Path, photograph: Path, path: Path) -> None:
        write = partial(saving.write_dicom_report, path, folder, photograph, self.settings.reader)
        self.status.run(self, "Writing ...", write, self.status.show_message)

    def _check_saved(self) -> bool:
        """Return whether the saved result is up to date; show a message if it has changed since."""
        session = self.picker.session
        if session is not None:
            session.commit_requested.emit()
        lesion = None if session is None else session.lesion
        if session is None or lesion is None or not tasks.is_idle(self.controller):
            self.status.show_message(saving.CHANGED_MESSAGE)
            return False
        result = self.predictions.add_prediction(session, lesion)
        folder, version = session.saved.folder, saving.result_version(result, lesion.mask_digest)
        is_current = folder is not None and session.saved.version == version and self.save_bar.is_unchanged(folder)
        if not is_current:
            self.status.show_message(saving.CHANGED_MESSAGE)
        return is_current

    def _on_save(self, session: PhotographSession, folder: Path) -> None:
        session.commit_requested.emit()
        if session.lesion is not None and session in self.sessions:
            self.status.begin("saving", "Saving ...")
            self.predictions.run_when_predicted(session, partial(self._save, session, session.name, folder))

    def _save(self, session: PhotographSession, name: str, folder: Path) -> None:
        def prepare(lesion: AnalyzedLesion) -> JobFunction:
            result = self.predictions.add_prediction(session, lesion)
            session.saved = replace(session.saved, prepared=saving.result_version(result, lesion.mask_digest))
            return lambda run: (saving.save_result(result, name, folder), lesion.image_digest)

        self.controller.store("save", session, prepare, partial(self._on_saved, session))

    def _on_saved(self, session: PhotographSession, saved: tuple[Path, str]) -> None:
        folder, image_digest = saved
        self.sessions.set_saved(session, folder, image_digest)
        self.save_bar.add_saved(folder)
        self.save_bar.show_session(self.picker.session, self.hidden.value)
        self._saved_message = f"Saved to {self.icons.link(folder.as_uri(), str(folder))}."
        self.status.end("saving", self._saved_message)

    def _on_save_failed(self, error: Exception) -> None:
        self.corrections.reset()
        self.status.end("storing")
        self.status.end("saving")  # if another computation failed, the progress bar ends slightly early

    def _on_photograph_removed(self, session: PhotographSession) -> None:
        self.status.end("storing")  # if another photograph is being saved, the progress bar ends slightly early
        self.status.end("saving")

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)

    def _on_heatmap_failed(self, error: Exception) -> None:
        show_failure(self.status, error, self.predictions.heatmap_options.changed)


class LesionDockLink(QObject):
    """Connects another dock with what is open in the Lesion dock, which is opened if needed.

    ``dock_connected``, ``dock_closed``: a Lesion dock was connected, or closed.
    """

    changed = Signal()
    dock_connected, dock_closed = Signal(), Signal()

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(dock)
        self.viewer, self.workspace = viewer, Workspace.of(viewer)
        self.connected_dock: LesionDock | None = None
        self._dock = dock
        follow(self, self.workspace.photographs.changed, self._on_photographs)
        timer = QTimer(self)  # a child, so that it ends with a dock that is closed early
        timer.setSingleShot(True)
        timer.timeout.connect(self._preload)
        timer.start(PRELOAD_DELAY_MS)

    def _preload(self) -> None:
        """Load what the first photograph needs while the user looks at the list; a Lesion dock does so itself."""
        if self.workspace.photographs.value is None:
            preload_libraries().start()

    def open_lesion_dock(self) -> None:
        """Connect the Lesion dock, and show it; it is opened if needed."""
        if self.connected_dock is None and self.workspace.photographs.value is None:
            self.workspace.photographs.show()
        if (frame := find_frame(self.require_lesion_dock())) is not None:
            frame.show()

    def require_lesion_dock(self) -> LesionDock:
        """Connect the Lesion dock, which is opened hidden if needed; it stays connected until it is closed."""
        dock = self.connected_dock or self.workspace.photographs.require()
        assert isinstance(dock, LesionDock)
        if dock is not self.connected_dock:
            self.connected_dock = dock
            dock.close_guard.watch()  # also while it is hidden
            self.connect_lesion_dock(dock)
            self.dock_connected.emit()
        return dock

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Connect the signals of a Lesion dock; called once for each dock."""
        raise NotImplementedError

    def find_image(self, path: Path) -> Image | None:
        """Find the layer of a photograph; None if it is not open."""
        return photographs.find_file(self.viewer, path)

    def find_session(self, identity: str | None) -> PhotographSession | None:
        """Find the session of an open photograph; None without a Lesion dock."""
        return None if self.connected_dock is None else self.connected_dock.sessions.find(identity)

    def _on_photographs(self) -> None:
        is_open = any(dock is self.connected_dock for dock in self.workspace.photographs)
        if self.connected_dock is not None and not is_open:
            self.connected_dock = None
            self.dock_closed.emit()


def read_photograph_layers(
    path: Path, run: RunContext, *, accept_damaged: bool | None = None
) -> tuple[Path, list[LayerData]]:
    """Read a photograph as layers, and return its path and the layers; call this in a thread."""
    from napari_melanoma.ui.readers import read_layers

    layers = read_layers(str(path), accept_damaged)
    run.check()
    return path, layers
