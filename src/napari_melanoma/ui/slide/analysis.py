"""Start, resume and detach the analysis of the displayed slide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.run_manager import SlideAnalysisRequest
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.run_panel import SlideRunPanel

DETACHED_MESSAGE = "The analysis continues in the background. Press Analyze or reopen the slide to see its progress."


class SlideAnalysisController(QObject):
    """Pass the user's requests to the run manager, and show the state of the run.

    ``view_chosen``: the view (or the whole slide) is about to be analyzed. ``started``: the region of the analysis that
    runs now; None for the whole slide. ``not_started``: the previous results count again.
    """

    view_chosen = Signal(bool)
    started = Signal(object)
    not_started = Signal()
    detached = Signal()

    def __init__(
        self,
        context: SlideContext,
        run_panel: SlideRunPanel,
        make_request: Callable[[bool], SlideAnalysisRequest | None],
        make_options: Callable[[SlideInfo], SlideOptions],
    ) -> None:
        super().__init__(context)
        self._context, self._run_panel = context, run_panel
        self._make_request, self._make_options = make_request, make_options
        self._requested_options: SlideOptions | None = None  # of the analysis that is being started
        self._failed = False
        context.run_manager.started.connect(self._on_started)
        context.run_manager.options_differ.connect(self._on_options_differ)
        context.run_manager.changed.connect(self._on_changed)
        context.run_manager.failed.connect(self._on_failed)
        run_panel.command_requested.connect(self._on_command_requested)
        run_panel.resume_requested.connect(self._on_resume)
        run_panel.detached.connect(self._on_detached)

    def start(self, *, view: bool) -> None:
        """Analyze the whole slide, or the view only."""
        context = self._context
        try:
            request = self._make_request(view)
        except InputError as error:
            context.run_manager.failed.emit(error)
            return
        if request is None or (request.reset_lesions and not self._confirm_replacing_edits(request.info.name)):
            return
        self.view_chosen.emit(view)
        context.settings.set("slide/model", request.options.model)
        if context.result_location is not None:  # another one than in the request where the view was chosen
            self._start(replace(request, location=context.result_location), "Starting ...")

    def _confirm_replacing_edits(self, name: str) -> bool:
        """Ask before an analysis detects again the lesions that were drawn or changed by hand."""
        question = f"Detect the lesions of '{name}' again?"
        details = "Lesions that you drew or changed are backed up in a file next to the results."
        box = create_question(self._context.dock, "replace_lesions", question, details, "Slide")
        box.addButton("Detect again", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _on_resume(self) -> None:
        """Resume with the options of the run, whatever the controls show now."""
        slide, location, status = self._context.slide, self._context.result_location, self._run_panel.run_status
        if slide is not None and location is not None and status is not None:
            options = status.run.options or self._make_options(slide.info)
            self._start(SlideAnalysisRequest(slide.info, location, options), "Resuming ...")

    def _start(self, request: SlideAnalysisRequest, message: str) -> None:
        self._requested_options = request.options
        self._context.status.begin("starting", message)
        self._context.run_manager.start(request)

    def _on_options_differ(self, request: SlideAnalysisRequest, difference: str) -> None:
        """Ask before results are replaced."""
        self._context.status.end("starting")
        self._run_panel.clear_pending_command()
        question = f"Replace the results of '{request.info.name}'?"
        details = f"They were made with other options ({difference})."
        box = create_question(self._context.dock, "replace_result", question, details, "Slide")
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        if pressed is not None and pressed.objectName() == "replace":
            self._start(replace(request, force=True), "Starting ...")
        else:
            self._requested_options = None
            self.not_started.emit()

    def _on_started(self, folder: Path) -> None:
        context, options = self._context, self._requested_options
        context.status.end("starting", "The analysis continues if you close napari.")
        if (
            context.slide is not None
            and context.result_location is not None
            and folder == context.result_location.folder
        ):
            self.started.emit(None if options is None else options.region)
            self._run_panel.set_folder(folder)
        self._requested_options = None

    def _on_failed(self, _: Exception) -> None:
        self._failed = self._requested_options is not None

    def _on_changed(self) -> None:
        """Show the previous results again if the analysis could not be started."""
        if self._failed and not self._context.run_manager.is_starting:
            self._failed, self._requested_options = False, None
            self.not_started.emit()

    def _on_command_requested(self, command: RunCommand) -> None:
        if self._context.result_location is not None:
            self._context.run_manager.send_command(self._context.result_location.folder, command)

    def _on_detached(self) -> None:
        self._run_panel.set_folder(None)
        self._context.status.show_message(DETACHED_MESSAGE)
        self.detached.emit()
