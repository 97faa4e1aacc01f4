"""Measure the depth with a model: start, follow and resume the analysis, whose results are stored with the slide's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QHideEvent, QShowEvent

from napari_melanoma.ui.slide.run_panel import SlideRunPanel
from napari_melanoma.ui.slide.run_status import SlideRunReport, SlideRunUpdate
from napari_melanoma.ui.widgets.job import BackgroundJob, LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.context import SlideContext

BACKGROUND_MESSAGE = "Measuring the depth. This continues if you close napari."


class DepthRunReader:
    """Read the state of a depth analysis from its folder, without its maps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_new(self, run: RunContext) -> SlideRunUpdate:
        """Read state and result."""
        from napari_melanoma.io.results import read_slide_result
        from napari_melanoma.slides.runs import read_slide_run_status

        return SlideRunUpdate(
            self.path, SlideRunReport(read_slide_run_status(self.path)), None, read_slide_result(self.path)
        )


class DepthRunPanel(SlideRunPanel):
    """Show the state of the depth analysis while its section is visible."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("depth_run")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the analysis while the panel is visible."""
        super().showEvent(event)
        self.watch.set_active(self.watch.path is not None)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop following the analysis, which continues."""
        super().hideEvent(event)
        if not self.isHidden():  # a parent was hidden
            self.watch.set_active(False)

    def _create_reader(self, path: Path) -> DepthRunReader:
        return DepthRunReader(path)


class DepthAnalysis(QObject):
    """Start the depth analysis of a slide, and send it commands.

    ``finished``: whether there are proposals, and whether the result is valid.
    """

    finished = Signal(bool, bool)
    changed = Signal()
    failed = Signal(object)

    def __init__(self, context: SlideContext, panel: DepthRunPanel) -> None:
        super().__init__(context)
        self._context, self._panel = context, panel
        self._job: BackgroundJob | None = None
        self._slide_folder: Path | None = None
        self._state = ""
        self.models: tuple[str, ...] | None = None
        self._search_tasks = LatestJobQueue(self)
        self._search_tasks.succeeded.connect(self._on_run_found)
        self._search_tasks.failed.connect(self.failed)
        panel.updated.connect(self._on_run_update)
        panel.failed.connect(self.failed)
        panel.command_requested.connect(self._on_command_requested)
        panel.resume_requested.connect(self.start)
        panel.detached.connect(partial(panel.set_folder, None))

    @property
    def busy(self) -> bool:
        """Whether it is being started, or something is read; a running analysis does not count."""
        return self._job is not None or self._search_tasks.busy or self._panel.busy

    @property
    def active(self) -> bool:
        """Whether it is being started, or running."""
        return self._job is not None or self._panel.active

    def set_folder(self, slide_folder: Path | None) -> None:
        """Follow the analysis of another slide."""
        if slide_folder != self._slide_folder:
            self._slide_folder, self._state = slide_folder, ""
            self._panel.set_folder(None)
            slide = self._context.slide
            if slide_folder is not None and slide is not None:
                self._search_tasks.submit("run", lambda: partial(_find_models_and_run, slide_folder, slide.info.path))

    def start(self) -> None:
        """Start or resume the analysis, unless it is being started."""
        slide, slide_folder = self._context.slide, self._slide_folder
        if self._job is not None or slide is None or slide_folder is None:
            return
        self._context.status.begin("starting", "Starting ...")
        self._job = BackgroundJob(partial(_launch_analysis, slide.info, slide_folder, (self.models or ("",))[0]))
        self._job.succeeded.connect(partial(self._on_started, slide_folder))
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def _on_run_found(self, found: tuple[Path, tuple[str, ...], Path | None]) -> None:
        slide_folder, self.models, run_folder = found
        if slide_folder == self._slide_folder and run_folder is not None:
            self._panel.set_folder(run_folder)
        self.changed.emit()

    def _on_started(self, slide_folder: Path, folder: Path) -> None:
        self._context.status.end("starting", BACKGROUND_MESSAGE)
        if slide_folder == self._slide_folder:
            self._state = ""
            self._panel.set_folder(folder)

    def _on_finished(self) -> None:
        self._job = None
        self._context.status.end("starting")
        self.changed.emit()

    def _on_run_update(self, update: SlideRunUpdate) -> None:
        state = str(update.report.state)
        if state != self._state:
            previous, self._state = self._state, state
            if state == "finished" and previous:
                from napari_melanoma.depth.readings import parse_proposals

                found = parse_proposals(update.content)
                self.finished.emit(bool(found.proposals), found.validity.valid)
        self.changed.emit()

    def _on_command_requested(self, command: RunCommand) -> None:
        folder = self._panel.watch.path
        if folder is not None:
            self._context.run_manager.send_command(folder, command)


def _find_models_and_run(slide_folder: Path, slide: Path, run: RunContext) -> tuple[Path, tuple[str, ...], Path | None]:
    """Return the models that can measure, and the folder of an analysis that was started."""
    from napari_melanoma.slides.depth_readings import depth_analysis_folder, list_depth_models

    folder = depth_analysis_folder(slide_folder, slide)
    return slide_folder, list_depth_models(), folder if (folder / "events.jsonl").is_file() else None


def _launch_analysis(info: SlideInfo, slide_folder: Path, model: str, run: RunContext) -> Path:
    """Launch the analysis; results with other options are replaced, because they cannot have been edited."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.depth_readings import depth_analysis_folder
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.result_folder import record_slide, recorded_slide
    from napari_melanoma.slides.runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.saved_results import describe_difference

    if not model:
        raise InputError("no model that segments the epidermis is installed: measure manually, or install one.")
    folder = depth_analysis_folder(slide_folder, info.path)
    if is_run_alive(folder) and read_slide_run_status(folder).state.active:
        return folder
    if recorded_slide(slide_folder) is None:
        record_slide(slide_folder, info.path, record_name=True)
    size = info.pixel_size
    mpp = size.x_um if size is not None and size.source in ("given", "ruler") else None
    options = SlideOptions(model=model, mpp=mpp)
    return launch_slide(info.path, folder.parent, options, force=bool(describe_difference(folder, options)))
