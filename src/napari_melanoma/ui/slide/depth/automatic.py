"""The depth measured by a model: started beside the work, followed, resumed; its results lie within the slide's own."""

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

BACKGROUND_MESSAGE = "The depth is being measured; that goes on if you close napari."


class DepthRunReader:
    """Looks at the folder of an analysis for how it fares; its maps are not read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_new(self, run: RunContext) -> SlideRunUpdate:
        """Read how it fares."""
        from napari_melanoma.io.results import read_slide_result
        from napari_melanoma.slides.runs import read_slide_run_status

        return SlideRunUpdate(
            self.path, SlideRunReport(read_slide_run_status(self.path)), None, read_slide_result(self.path)
        )


class DepthRunPanel(SlideRunPanel):
    """Follows the analysis for the depth while its fold is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("depth_run")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow it while somebody looks."""
        super().showEvent(event)
        self.watch.set_active(self.watch.path is not None)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Leave it alone while nobody looks; it goes on."""
        super().hideEvent(event)
        if not self.isHidden():  # it is what is around it that went
            self.watch.set_active(False)

    def _create_reader(self, path: Path) -> DepthRunReader:
        return DepthRunReader(path)


class DepthAnalysis(QObject):
    """Starts the analysis of a slide for its depth, and asks it to pause, end or go on."""

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
        """Whether it is being started, or something is read; an analysis at work is not meant."""
        return self._job is not None or self._search_tasks.busy or self._panel.busy

    @property
    def active(self) -> bool:
        """Whether it is being started, or at work."""
        return self._job is not None or self._panel.active

    def set_folder(self, slide_folder: Path | None) -> None:
        """Follow what was begun for another slide."""
        if slide_folder != self._slide_folder:
            self._slide_folder, self._state = slide_folder, ""
            self._panel.set_folder(None)
            slide = self._context.slide
            if slide_folder is not None and slide is not None:
                self._search_tasks.submit("begun", lambda: partial(_find_models_and_run, slide_folder, slide.info.path))

    def start(self) -> None:
        """Start it, or let it go on where it stopped; nothing happens while one is being started."""
        slide, own = self._context.slide, self._slide_folder
        if self._job is not None or slide is None or own is None:
            return
        self._context.status.begin("starting", "Starting ...")
        self._job = BackgroundJob(partial(_launch_analysis, slide.info, own, (self.models or ("",))[0]))
        self._job.succeeded.connect(partial(self._on_started, own))
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def _on_run_found(self, known: tuple[Path, tuple[str, ...], Path | None]) -> None:
        own, self.models, begun = known
        if own == self._slide_folder and begun is not None:
            self._panel.set_folder(begun)
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

    def _on_run_update(self, sight: SlideRunUpdate) -> None:
        state = str(sight.report.state)
        if state != self._state:
            before, self._state = self._state, state
            if state == "finished" and before:
                from napari_melanoma.depth.readings import parse_proposals

                found = parse_proposals(sight.content)
                self.finished.emit(bool(found.proposals), found.validity.valid)
        self.changed.emit()

    def _on_command_requested(self, wish: RunCommand) -> None:
        folder = self._panel.watch.path
        if folder is not None:
            self._context.run_manager.send_command(folder, wish)


def _find_models_and_run(slide_folder: Path, slide: Path, run: RunContext) -> tuple[Path, tuple[str, ...], Path | None]:
    """Which models can measure, and where an analysis was begun."""
    from napari_melanoma.slides.depth_readings import depth_analysis_folder, list_depth_models

    folder = depth_analysis_folder(slide_folder, slide)
    return slide_folder, list_depth_models(), folder if (folder / "events.jsonl").is_file() else None


def _launch_analysis(info: SlideInfo, slide_folder: Path, model: str, run: RunContext) -> Path:
    """Launch the analysis; one that was made another way is made anew, for nobody corrects anything there."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.depth_readings import depth_analysis_folder
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.result_folder import record_slide, recorded_slide
    from napari_melanoma.slides.runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.saved_results import describe_difference

    if not model:
        raise InputError("no model that draws the epidermis is installed: measure by hand, or install one.")
    folder = depth_analysis_folder(slide_folder, info.path)
    if is_run_alive(folder) and read_slide_run_status(folder).state.active:
        return folder
    if recorded_slide(slide_folder) is None:
        record_slide(slide_folder, info.path, record_name=True)
    size = info.pixel_size
    given = size.x_um if size is not None and size.source in ("given", "ruler") else None
    options = SlideOptions(model=model, mpp=given)
    return launch_slide(info.path, folder.parent, options, force=bool(describe_difference(folder, options)))
