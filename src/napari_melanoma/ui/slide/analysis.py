"""Analyze a slide from the Slide dock."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QProgressBar, QVBoxLayout, QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.run_manager import SlideAnalysisRequest
from napari_melanoma.ui.slide.run_status import (
    SlideRunReader,
    SlideRunUpdate,
    describe_progress,
    find_resume_blocker,
    is_running,
)
from napari_melanoma.ui.train.run_buttons import RunButtons
from napari_melanoma.ui.train.run_watch import RunWatcher
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.style import WrappedLabel, named

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.run_status import SlideRunReport

DETACHED_MESSAGE = "The analysis is left to itself. Analyse, or opening the slide again, shows how far it is."


class SlideAnalysisController(QObject):
    """Takes what the user wants of an analysis to the desk, and shows what comes of it."""

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._requested_options: SlideOptions | None = None  # of what is being started
        self._failed = False
        dock.analyze_button.clicked.connect(partial(self._on_analyze, view=False))
        dock.analyze_view_button.clicked.connect(partial(self._on_analyze, view=True))
        dock.run_manager.started.connect(self._on_started)
        dock.run_manager.options_differ.connect(self._on_options_differ)
        dock.run_manager.changed.connect(self._on_changed)
        dock.run_manager.failed.connect(self._on_failed)
        dock.run_panel.command_requested.connect(self._on_command_requested)
        dock.run_panel.resume_requested.connect(self._on_resume)
        dock.run_panel.detached.connect(self._on_detached)

    def _on_analyze(self, _: bool = False, *, view: bool) -> None:
        dock, slide = self._dock, self._dock.slide
        if slide is None or dock.result_location is None or not dock.analyze_button.isEnabled():
            return
        options = dock.get_options(slide.info)
        try:
            region = dock.analysis_region.get_visible_region() if view else None
        except InputError as error:
            dock.run_manager.failed.emit(error)
            return
        found = dock.lesions.findings if view == dock.analysis_region.is_view else None
        anew = found is not None and found.is_corrected
        if anew and not self._confirm_replacing_edits(slide.info.name):
            return
        dock.analysis_region.set_is_view(view)
        dock.settings.set("slide/model", dock.model_picker.model)
        wanted = options.model_copy(update={"region": region})
        self._start(
            SlideAnalysisRequest(
                slide.info,
                dock.result_location,
                wanted,
                dock.tissue_controller.get_corrected_mask(slide),
                reset_lesions=anew,
            ),
            "Starting ...",
        )

    def _confirm_replacing_edits(self, name: str) -> bool:
        """Ask where lesions were drawn or changed, for an analysis finds all of them anew."""
        question = f"Find the lesions of '{name}' anew?"
        details = "Those that you drew or changed are kept in a file beside the results."
        box = create_question(self._dock, "replace_lesions", question, details, "Slide")
        box.addButton("Find anew", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _on_resume(self) -> None:
        """Go on as it was begun, whatever the controls say now."""
        slide, place, at = self._dock.slide, self._dock.result_location, self._dock.run_panel.run_status
        if slide is not None and place is not None and at is not None:
            options = at.run.options or self._dock.get_options(slide.info)
            self._start(SlideAnalysisRequest(slide.info, place, options), "Starting again ...")

    def _start(self, request: SlideAnalysisRequest, message: str) -> None:
        self._requested_options = request.options
        self._dock.status.begin("starting", message)
        self._dock.run_manager.start(request)

    def _on_options_differ(self, request: SlideAnalysisRequest, differs: str) -> None:
        """Ask before results are replaced."""
        self._dock.status.end("starting")
        self._dock.run_panel.clear_pending_command()
        question = f"Replace the results of '{request.info.name}'?"
        box = create_question(
            self._dock, "replace_result", question, f"They were made in another way ({differs}).", "Slide"
        )
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        if pressed is not None and pressed.objectName() == "replace":
            self._start(replace(request, force=True), "Starting ...")
        else:
            self._requested_options = None
            self._dock.analysis_region.restore_results()

    def _on_started(self, folder: Path) -> None:
        dock = self._dock
        dock.status.end("starting", "The analysis goes on if you close napari.")
        if dock.slide is not None and dock.result_location is not None and folder == dock.result_location.folder:
            dock.results.reset()
            dock.analysis_region.mark_started()
            dock.analysis_region.show_frame(None if self._requested_options is None else self._requested_options.region)
            dock.run_panel.set_folder(folder)
        self._requested_options = None

    def _on_failed(self, _: Exception) -> None:
        self._failed = self._requested_options is not None

    def _on_changed(self) -> None:
        """Go back to what there was where something could not be started."""
        if self._failed and not self._dock.run_manager.is_starting:
            self._failed, self._requested_options = False, None
            self._dock.analysis_region.restore_results()

    def _on_command_requested(self, wish: RunCommand) -> None:
        if self._dock.result_location is not None:
            self._dock.run_manager.send_command(self._dock.result_location.folder, wish)

    def _on_detached(self) -> None:
        self._dock.run_panel.set_folder(None)
        self._dock.status.show_message(DETACHED_MESSAGE)
        self._dock.refresh()


STEPS = 1000


class SlideRunPanel(QWidget):
    """Follows the folder of one slide while it is seen; starts and stops nothing itself."""

    command_requested = Signal(str)
    resume_requested = Signal()
    detached = Signal()
    updated = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_run", "Analysis").setToolTip("")
        self.run_status: SlideRunReport | None = None
        self._target = ""
        self.watch = RunWatcher(self, self._create_reader, is_running)
        self._status_label = named(WrappedLabel(), "run_state", "How the analysis fares")
        self._status_label.setToolTip("")
        self._progress_bar = named(QProgressBar(), "run_progress", "Progress of the analysis")
        self._progress_bar.setTextVisible(False)
        self._progress_bar.setRange(0, STEPS)
        self._progress_bar.setFixedHeight(8)
        self.buttons = RunButtons("where it stopped; tiles that are done are not done again")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._status_label, self._progress_bar, self.buttons):
            layout.addWidget(widget)
        self.watch.snapshot_taken.connect(self._on_update)
        self.watch.failed.connect(self.failed)
        self.buttons.command_requested.connect(self._on_command_requested)
        self.buttons.resume_requested.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self.watch.busy

    @property
    def active(self) -> bool:
        """Whether the analysis is at work."""
        return self.run_status is not None and bool(self.run_status.state.active)

    def set_folder(self, folder: Path | None) -> None:
        """Follow another folder, or the same one from its beginning."""
        if folder is None or folder != self.watch.path:
            self.run_status = None
            self.buttons.show_report(None)
            self.hide()
            self._target = ""
        self.watch.set_active(False)
        self.watch.set_run(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Read the map of another class from now on."""
        self._target = target
        self.watch.refresh()

    def clear_pending_command(self) -> None:
        """Take back the word that a wish was heard, where it could not be told."""
        self.buttons.clear_pending()
        self.watch.expecting = False

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path, lambda: self._target)

    def _on_update(self, sight: SlideRunUpdate) -> None:
        self.run_status = sight.report
        run = sight.report.run
        self.buttons.show_report(sight.report, find_resume_blocker(run))
        self.watch.expecting = bool(self.buttons.pending_text)
        state = str(run.state)
        # Of an analysis that is done nothing is left to say or to press here.
        self.setVisible(state != "finished" and (state != "lost" or not sight.content))
        self._status_label.setText(self.buttons.pending_text.capitalize() or describe_progress(run))
        # Not the bar that moves to and fro: where OpenGL is drawn by the processor, each of its steps draws all.
        self._progress_bar.setValue(round(STEPS * (run.fraction or 0)))
        self.updated.emit(sight)

    def _on_command_requested(self, wish: str) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        self.watch.expecting = True
        self.command_requested.emit(wish)

    def _on_resume(self) -> None:
        self._status_label.setText(self.buttons.pending_text.capitalize())
        self.watch.expecting = True
        self.resume_requested.emit()
