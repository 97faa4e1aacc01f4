"""The Lesion dock: segment, measure and classify a lesion, correct the mask, and save.

``LesionDockLink`` gives other docks access to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QShowEvent
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.adoption import LabelsAdoption
from napari_melanoma.ui.lesion.analysis import LesionAnalysisController
from napari_melanoma.ui.lesion.controls import LesionControls
from napari_melanoma.ui.lesion.corrections import LesionCorrectionsController
from napari_melanoma.ui.lesion.mask_controls import TOOL_KEYS
from napari_melanoma.ui.lesion.mask_options import (
    DOCK_OPTIONS,
    MaskEditingController,
    PhotographOptions,
    SharedOptionsController,
    copy_fields,
)
from napari_melanoma.ui.lesion.photograph_picker import MODALITY_LINKS, SLIDE_LINK
from napari_melanoma.ui.lesion.prediction import LesionPredictionController
from napari_melanoma.ui.lesion.prompting import PromptController
from napari_melanoma.ui.lesion.queues import preload_libraries
from napari_melanoma.ui.lesion.recovery import remove_saved_recoveries
from napari_melanoma.ui.lesion.result_updates import LesionController
from napari_melanoma.ui.lesion.saving import LesionCloseGuard, SavedVersions, SaveTarget
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.shortcuts import CanvasKeys, add_shortcut
from napari_melanoma.ui.viewer.view_memory import PhotographOpener
from napari_melanoma.ui.widgets.file_drop import RECENT_PHOTOGRAPHS, RecentFiles, RecentList, RecentPaths
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks
from napari_melanoma.ui.widgets.report_writer import ReportWriter
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.ui.lesion.recovery import RecoveredLesion
    from napari_melanoma.ui.readers import LayerData
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource


PRELOAD_DELAY_MS = 300  # by then the dock is complete


class LesionDock(LesionControls):
    """Analyze photographs: mask, region of interest, measurements and prediction.

    This class creates the controllers, and connects them with the controls.
    """

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
        self._searched: set[str] = set()  # photographs whose recovery and saved result were looked up
        self.photograph_options = PhotographOptions(self.settings)
        self.controller = LesionController(napari_viewer, self.options_of, lambda: self.photograph_options.shared, self)
        self.analysis_controller = LesionAnalysisController(self, self.controller, self._client)
        self.mask_controller = MaskEditingController(self, self.controller, napari_viewer)
        self.prompt_controller = PromptController(self, self.controller, self._client, napari_viewer)
        self.labels_adoption = LabelsAdoption(self, self.controller, self.prompt_controller, napari_viewer)
        self.options_controller = SharedOptionsController(
            self, self.controller, self.mask_controller, self.photograph_options
        )
        self.corrections_controller = LesionCorrectionsController(self, self.controller)
        self.classifier.select_stored(self.settings.classifier)
        self.prediction_controller = LesionPredictionController(self, self.controller, self._client)
        self.prediction_controller.predicted.connect(self._show_lesions)
        self._saved_versions = SavedVersions(self.controller.store, self.prediction_controller.result_with_prediction)
        self.opener = PhotographOpener(napari_viewer, self)
        self.report_writer = ReportWriter(self, self.status, self.icons, self.settings)
        photograph_list = RecentList(
            "Recent photographs", RecentPaths(self.settings, RECENT_PHOTOGRAPHS), self.opener.open
        )
        self.recent = RecentFiles(self.welcome, self.icons, (photograph_list,))
        self.close_guard = LesionCloseGuard(self, self.controller.store)
        self.set_options(self.settings.options)
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
        QTimer.singleShot(PRELOAD_DELAY_MS, self.corrections_controller.corrections_store.refresh)
        # Not methods of the dock, which is already deleted when they are called.
        for callback in (
            self.connections.close,
            self.controller.watcher.connections.close,
            partial(remove_saved_recoveries, self.controller.store),
        ):
            self.destroyed.connect(callback)
        if client is None:
            self.destroyed.connect(release_worker)

    def _connect(self) -> None:
        self.analysis_controller.changed.connect(self._refresh)
        self.model.changed.connect(self._on_dock_options)
        self.flips.toggled.connect(self._on_dock_options)
        self.picker.changed.connect(self._on_photograph)
        self.lesion_list.chosen.connect(self._on_lesion)
        self.picker.list_changed.connect(self._refresh)
        self.picker.visibility_changed.connect(self._refresh)
        self.picker.scale_changed.connect(self._on_scaled)
        self.picker.modality_changed.connect(self.controller.remeasure)
        self.picker.ruler_toggled.connect(self._on_ruler)
        self.ruler.message.connect(self.status.show_message)
        self.save_bar.save_requested.connect(self._on_save)
        self.save_bar.report_requested.connect(self._on_report)
        self.report_writer.failed.connect(self._on_failed)
        self.recovery_notice.accepted.connect(self.controller.autosave.adopt)
        self.recovery_notice.accepted.connect(self.controller.recovery.restore)
        self.recovery_notice.discarded.connect(self._on_recovery_discarded)
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
        self.controller.restored.connect(self._on_restored)
        self.controller.saved.connect(self._on_saved)
        self.controller.photograph_removed.connect(self._on_photograph_removed)
        self.controller.message.connect(self.status.show_message)
        self.controller.autosave.recovery_found.connect(self.recovery_notice.add_offer)
        self.controller.failed.connect(self._on_save_failed)
        self.classifier.changed.connect(self._on_classifier)
        for source in (
            self.analysis_controller,
            self.prediction_controller,
            self.prompt_controller,
            self.labels_adoption,
            self.classifier,
            self.controller,
            self.controller.autosave,
            self.close_guard,
            self.ruler,
            self.model,
            self.opener,
            self.corrections_controller,
            self.recent,
        ):
            source.failed.connect(self._on_failed)

    def _start_preparing(self) -> None:
        for signal in (self.picker.changed, self.model.changed, self.classifier.changed):
            signal.connect(self._prepare_models)
        self._prepare_models()

    def _prepare_models(self) -> None:
        """Let the worker open the models for a photograph that is shown, so that its analysis starts at once."""
        if self.picker.identity is not None:
            self._client.prepare("prepare_segmenter", self.model.model)
            if self.classifier.model:
                self._client.prepare("prepare_classifier", self.classifier.model)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], object]] = {
            "analyse": self.analyze_button.click,
            "analyse_all": self.analyze_all_button.click,
            "next": partial(self.picker.step, 1),
            "previous": partial(self.picker.step, -1),
            "save": self.save_bar.save,
            "correct": self.corrections_controller.add,
        }
        slots["click"] = self.prompt_tool.button.click
        prompt_keys = CanvasKeys(
            self,
            {
                "lesion.next_mask": partial(self.prompt_tool.step, 1),
                "lesion.previous_mask": partial(self.prompt_tool.step, -1),
                "lesion.leave_clicks": partial(self.prompt_tool.button.setChecked, False),
            },
        )
        self.prompt_tool.toggled.connect(prompt_keys.set_active)
        slots |= {name: self.correction_tools.buttons[name].click for name in TOOL_KEYS}
        for name, slot in slots.items():
            add_shortcut(self, f"lesion.{name}", slot)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that contains the dock."""
        super().showEvent(event)
        self.close_guard.watch()

    def _refresh(self) -> None:
        self.show_state(self.picker.image, self.picker.combo.count(), not tasks.is_idle(self.analysis_controller.queue))
        self.welcome.set_hint(photographs.explain_no_photograph(self._viewer))
        self._update_target()

    def _on_photograph(self) -> None:
        """Show the results and options of the selected photograph."""
        identity = self.picker.identity
        if self.mask_controller.shown_identity is not None and tasks.is_idle(self.opener):
            self.status.clear()  # the message is about the previous photograph
        path = photographs.get_path(self.picker.image)
        if path is not None:
            self.recent.add(RECENT_PHOTOGRAPHS, path)
            paths = [photographs.get_path(image) for image in photographs.identify_photographs(self._viewer)]
            self.recent.record_session(RECENT_PHOTOGRAPHS, [path for path in paths if path is not None])
        self.mask_controller.set_photograph(identity)
        self.prompt_controller.set_photograph()
        self._show_options(identity)
        self.recovery_notice.set_photograph(identity)
        self._on_changed(identity)
        self.prediction_controller.update_view()
        self._refresh()
        if identity is not None and identity not in self.controller.store.lesions and identity not in self._searched:
            self._searched.add(identity)
            source = self.controller.store.source(identity)
            if source is not None:
                others = {
                    str(photographs.get_identity(image)) for image in photographs.identify_photographs(self._viewer)
                } - {identity}
                self.controller.autosave.find_recovered(identity, source, others)
                self._load_saved(identity, source)

    def _load_saved(self, identity: str, source: LayerPhotographSource) -> None:
        """Load the prediction and the patient data of a saved result of the photograph."""
        folder, image = self.settings.folder, self.controller.store.image(identity)
        if folder is not None and image is not None and identity not in self.controller.store.lesions:
            self.prediction_controller.saved_predictions.load(
                identity, source, saving.result_folder(folder, image.name)
            )

    def options_of(self, identity: str) -> LesionOptions:
        """Return the options of a photograph: those in the controls if it is shown, else its stored ones."""
        shown = self.options()
        if identity == self.mask_controller.shown_identity:
            return shown
        stored = copy_fields(self._stored_options(identity), shown, DOCK_OPTIONS)
        return stored.model_copy(
            update={"prompts": None}
        )  # the prompts of a first click do not apply to the next analysis

    def _stored_options(self, identity: str | None) -> LesionOptions:
        """Return the options of a photograph that is not shown: pending, of its result, or for its first analysis."""
        lesion = self.controller.store.lesions.get(str(identity))
        if lesion is None:
            return self.photograph_options.get(identity)
        return self.controller.pending_options.get(str(identity), lesion.result.options)

    def _show_options(self, identity: str | None) -> None:
        """Show the options of the selected photograph."""
        self.set_options(copy_fields(self._stored_options(identity), self.options(), DOCK_OPTIONS))
        self.options_controller.update_view()

    def _on_restored(self, identity: str) -> None:
        if identity == self.picker.identity:
            self._show_options(identity)

    def _on_dock_options(self) -> None:
        self.photograph_options.set_shared(self.options(), DOCK_OPTIONS)

    def _on_changed(self, identity: str | None) -> None:
        if identity == self.picker.identity:
            image = self.picker.image
            lesion = None if identity is None else self.controller.store.lesions.get(identity)
            self.show_result(None if lesion is None else lesion.result)
            self._show_lesions(identity)
            self.correction_tools.set_image(None if lesion is None else image)
            self._update_target()
            self.corrections_controller.update_view()

    def _show_lesions(self, identity: str | None) -> None:
        """List several lesions with the prediction for each."""
        if identity == self.picker.identity:
            lesion = None if identity is None else self.controller.store.lesions.get(identity)
            predictions = () if identity is None else self.prediction_controller.lesion_predictions(identity)
            self.lesion_list.show_lesions(None if lesion is None else lesion.result, predictions)

    def _on_lesion(self, index: int) -> None:
        """Bring a lesion into view."""
        lesion, image = self.controller.store.lesions.get(str(self.picker.identity)), self.picker.image
        if lesion is not None and image is not None:
            layers.show_box(self._viewer, image, lesion.result.lesion_boxes[index])

    def _update_target(self) -> None:
        """Set the result that Save writes, with the current name of the photograph."""
        image, identity = self.picker.image, str(self.picker.identity)
        lesion = None if image is None else self.controller.store.lesions.get(identity)
        can_save = image is not None and lesion is not None
        self.save_bar.set_target(SaveTarget(identity, lesion.image_digest, image.name) if can_save else None)

    def _on_classifier(self) -> None:
        self.settings.classifier = self.classifier.model

    def _on_scaled(self, identity: str) -> None:
        image = self.controller.store.image(identity)
        if image is not None and identity in self.controller.store.lesions:
            photographs.update_scale(self._viewer, image)
            self.controller.remeasure(identity)

    def _on_ruler(self, on: bool) -> None:
        image = self.picker.image
        if on and image is not None:
            self.ruler.start(image)
        else:
            self.ruler.stop()

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
            slide_dock: Any = show_dock(self._viewer, "Slide")
            slide_dock.show_file(photographs.get_path(self.picker.image))
        else:
            QDesktopServices.openUrl(QUrl(link))

    def _on_opened(self, count: int) -> None:
        self.status.end("opening")

    def _on_cancelled(self, task: str) -> None:
        if task == "opening":
            self.opener.cancel()

    def _on_report(self, folder: Path) -> None:
        """Write a report of a saved result, unless the result has changed since."""
        self.mask_controller.flush()
        if not (tasks.is_idle(self.controller) and self._saved_versions.is_current(str(self.picker.identity))):
            self.status.show_message(saving.CHANGED_MESSAGE)
            return
        self.report_writer.ask((folder,), folder.parent, f"{folder.name}-report")

    def _on_save(self, target: SaveTarget, folder: Path) -> None:
        self.mask_controller.flush()
        if target.identity in self.controller.store.lesions:
            self.status.begin("saving", "Saving ...")
            self.prediction_controller.run_when_predicted(target.identity, partial(self._save, target, folder))

    def _save(self, target: SaveTarget, folder: Path) -> None:
        callback = partial(self.controller.saved.emit, target)
        self.controller.submit_save(
            "save",
            target.identity,
            partial(self._saved_versions.prepare_save, target, folder),
            callback,
        )

    def _on_saved(self, target: SaveTarget, folder: Path) -> None:
        self._saved_versions.set_saved(target.identity)
        self.save_bar.set_saved(target, folder)
        self.status.end("saving", f"Saved to {self.icons.link(folder.as_uri(), str(folder))}.")

    def _on_save_failed(self, error: Exception) -> None:
        self.corrections_controller.reset()
        self.status.end("storing")
        self.status.end("saving")  # if another computation failed, the progress bar ends slightly early

    def _on_photograph_removed(self, identity: str) -> None:
        self._searched.discard(identity)
        self.photograph_options.remove(identity)
        self.recovery_notice.remove_offer(identity)
        self.status.end("storing")  # if another photograph is being saved, the progress bar ends slightly early
        self.status.end("saving")

    def _on_recovery_discarded(self, identity: str, recovered: RecoveredLesion) -> None:
        self.controller.autosave.discard(recovered)

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)


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
        window = self._dock
        while (parent := window.parentWidget()) is not None:
            window = parent
        dock = window.findChild(LesionDock, "lesion_dock")
        if dock is None:
            opened = show_dock(self.viewer, "Lesion")
            assert isinstance(opened, LesionDock)
            dock = opened
        elif isinstance(frame := dock.parentWidget(), QDockWidget):
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

    def find_path(self, identity: str) -> Path | None:
        """Find the file of an open photograph; None if it was removed or was not read from a file."""
        return photographs.get_path(photographs.find_photograph(self.viewer, identity))

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
