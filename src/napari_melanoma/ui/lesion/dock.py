"""The Lesion dock: segment, measure and classify a lesion, correct the mask, and save.

``LesionDockLink`` gives other docks access to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QShowEvent
from qtpy.QtWidgets import QWidget

from napari_melanoma import worker
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.analysis import LesionAnalysisController, preload_libraries
from napari_melanoma.ui.lesion.controls import LesionControls
from napari_melanoma.ui.lesion.photograph_picker import MODALITY_LINKS, SLIDE_LINK
from napari_melanoma.ui.lesion.saving import DicomReportWriter, LesionCloseGuard
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.session.adoption import LabelsAdoption
from napari_melanoma.ui.session.corrections_store import PhotographCorrections
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.photograph import PhotographOptions
from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
from napari_melanoma.ui.session.prompting import PromptController
from napari_melanoma.ui.session.recovery import remove_saved_recoveries
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.camera import find_main_window
from napari_melanoma.ui.viewer.docking import find_frame, show_dock
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.viewer.view_memory import PhotographOpener
from napari_melanoma.ui.widgets.file_drop import RECENT_PHOTOGRAPHS, RecentFiles, RecentList, RecentPaths
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks
from napari_melanoma.ui.widgets.report_writer import ReportWriter
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import at_end
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.readers import LayerData
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.widgets.job import JobFunction


PRELOAD_DELAY_MS = 300  # by then the dock is complete


class LesionDock(LesionControls):
    """Analyze photographs: mask, region of interest, measurements and prediction.

    This class creates the controllers, and connects them with the controls.
    """

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
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
        self.opener = PhotographOpener(napari_viewer, self)
        self.report_writer = ReportWriter(self, self.status, self.icons, self.settings)
        self.dicom_writer = DicomReportWriter(self, self.status, self.settings)
        photograph_list = RecentList(
            "Recent photographs", RecentPaths(self.settings, RECENT_PHOTOGRAPHS), self.opener.open
        )
        self.recent = RecentFiles(self.welcome, self.icons, (photograph_list,))
        self.close_guard = LesionCloseGuard(self, self.sessions)
        self.model.select_stored(self.settings.options.model)
        self.flips.setChecked(self.settings.options.flips)
        self._connect()
        self._add_shortcuts()
        self.picker.refresh()
        self._on_photograph()
        self._library_freeze = LibraryFreeze(self, napari_viewer, self.connections)
        self._preload = BackgroundJob(preload_libraries)
        self._preload.finished.connect(self._library_freeze.freeze)
        self.deferred.opened.connect(self._show_work_area)
        self.deferred.drawn.connect(self._library_freeze.freeze)
        # Not earlier: nothing would stop the worker of a dock that is closed before it is drawn.
        self.deferred.drawn.connect(self._start_preparing)
        self.deferred.start()
        QTimer.singleShot(PRELOAD_DELAY_MS, self._preload.start)
        QTimer.singleShot(PRELOAD_DELAY_MS, self.recent.find_missing)
        QTimer.singleShot(PRELOAD_DELAY_MS, self.corrections.store.refresh)
        at_end(self, self.connections.close)
        at_end(self, self.controller.watcher.connections.close)
        at_end(self, partial(remove_saved_recoveries, self.sessions))
        if client is None:
            at_end(self, release_worker)

    def _connect(self) -> None:
        self.analyze_button.clicked.connect(self._on_analyze)
        self.analyze_all_button.clicked.connect(self.analysis_controller.analyze_all)
        self.analysis_controller.changed.connect(self._refresh)
        self.model.changed.connect(self.options.update_dock_options)
        self.flips.toggled.connect(self.options.update_dock_options)
        self.picker.changed.connect(self._on_photograph)
        self.picker.list_changed.connect(self._refresh)
        self.picker.visibility_changed.connect(self._refresh)
        self.picker.scale_changed.connect(self._on_scaled)
        self.picker.modality_changed.connect(self.controller.remeasure)
        self.picker.ruler.message.connect(self.status.show_message)
        self.save_bar.save_requested.connect(self._on_save)
        self.save_bar.report_requested.connect(self._on_report)
        self.save_bar.dicom_requested.connect(self._on_dicom_report)
        for writer in (self.report_writer, self.dicom_writer):
            writer.failed.connect(self._on_failed)
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
        models_changed().changed.connect(self.show_classifier)
        for source in (
            self.analysis_controller,
            self.prompts,
            self.labels,
            self.classifier,
            self.controller,
            self.controller.autosave,
            self.close_guard,
            self.picker.ruler,
            self.model,
            self.opener,
            self.corrections,
            self.recent,
            self.hosted,
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
        self._show_lesion(session)
        self._refresh()
        if session is not None and session.lesion is None and not session.is_searched:
            session.is_searched = True
            others = {other.identity for other in self.sessions.update() if other is not session}
            self.controller.autosave.find_recovered(session, others)
            if self.settings.folder is not None:
                folder = saving.result_folder(self.settings.folder, session.name)
                self.predictions.load_saved(session, folder)

    def _on_analyze(self) -> None:
        session = self.picker.session
        if session is not None:
            self.analysis_controller.analyze(session)

    def _get_dock_options(self) -> LesionOptions:
        return LesionOptions(model=self.model.model, flips=self.flips.isChecked())

    def _on_changed(self, session: PhotographSession) -> None:
        if session is self.picker.session:
            self._show_lesion(session)

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
        elif link == "show":
            self.picker.show_current()
        elif link in MODALITY_LINKS:
            self.picker.set_modality(link)
        elif link == "train":
            show_dock(self._viewer, "Train")
        elif link == SLIDE_LINK:
            session, slide_dock = self.picker.session, show_dock(self._viewer, "Slide")
            if session is not None:
                slide_dock.show_file(session.path)
        else:
            QDesktopServices.openUrl(QUrl(link))

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
            self.dicom_writer.ask(folder, session.path)

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
        is_current = session.saved.version == saving.result_version(result, lesion.mask_digest)
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
        self.save_bar.show_session(self.picker.session, self.hidden.value)
        self.status.end("saving", f"Saved to {self.icons.link(folder.as_uri(), str(folder))}.")

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
    """Finds or opens the Lesion dock for another dock, and finds open photographs."""

    changed = Signal()

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.connected_dock: LesionDock | None = None
        self._dock = dock

    def open_lesion_dock(self) -> LesionDock:
        """Return the Lesion dock of this window; open and connect it if needed."""
        window = find_main_window(self._dock)
        dock = None if window is None else window.findChild(LesionDock, "lesion_dock")
        if dock is None:
            opened = show_dock(self.viewer, "Lesion")
            assert isinstance(opened, LesionDock)
            dock = opened
        elif (frame := find_frame(dock)) is not None:
            frame.show()
        if dock is not self.connected_dock:
            self.connected_dock = dock
            self.connect_lesion_dock(dock)
            dock.destroyed.connect(self._clear_dock)
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

    def _clear_dock(self) -> None:
        self.connected_dock = None


def read_photograph_layers(
    path: Path, run: RunContext, *, accept_damaged: bool | None = None
) -> tuple[Path, list[LayerData]]:
    """Read a photograph as layers, and return its path and the layers; call this in a thread."""
    from napari_melanoma.ui.readers import read_layers

    layers = read_layers(str(path), accept_damaged)
    run.check()
    return path, layers
