"""The automatic measurement of the depth of a slide, which runs in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QHideEvent, QShowEvent

from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.readings import parse_proposals
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.run_panel import SlideRunPanel
from napari_melanoma.ui.session.run_status import SlideRunReader, SlideRunUpdate
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.status_line import StatusLine

BACKGROUND_MESSAGE = "Measuring the depth. This continues if you close napari."


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

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path)  # its heatmap is not displayed


class DepthLauncher(QObject):
    """Launches depth analyses, also of slides that are no longer displayed.

    ``launched``: the result folder of the slide, and the folder of its analysis. ``ended``: a launch has ended, also if
    it failed. ``unfinished``: result folders of slides whose analysis was launched, and has not been seen to finish.
    """

    launched = Signal(object, object)  # Path, Path
    ended = Signal()

    def __init__(self, status: StatusLine) -> None:
        super().__init__(status)
        self._status = status
        self._pending: set[Path] = set()  # result folders
        self.unfinished: set[Path] = set()
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_done)

    def is_launching(self, session: SlideSession) -> bool:
        """Return whether the analysis of a slide is being launched."""
        return session.folder in self._pending

    def launch(self, session: SlideSession, model: str) -> None:
        """Start or resume the analysis of a slide, unless it is already being launched."""
        if self.is_launching(session):
            return
        self._pending.add(session.folder)
        self._status.begin("starting", "Starting ...")
        work = partial(_try_launching, session.slide.info, session.folder, model)
        self._queue.submit(str(session.folder), lambda: work)

    def _on_done(self, outcome: tuple[Path, Path | Exception]) -> None:
        """Announce the launch, or show why it failed."""
        slide_folder, launched = outcome
        self._pending.discard(slide_folder)
        if not self._pending:
            self._status.end("starting")
        if isinstance(launched, Exception):
            show_failure(self._status, launched)
        else:
            self.unfinished.add(slide_folder)
            self.launched.emit(slide_folder, launched)
        self.ended.emit()


class DepthAnalysis(QObject):
    """Start the depth analysis of a slide, and follow it; its proposals are read when it ends.

    ``finished``: whether there are proposals, and whether the result is valid. ``changed``: the models or the state of
    the analysis. ``models``: names of the models that can measure; None until they are listed.
    """

    finished = Signal(bool, bool)
    changed = Signal()

    def __init__(self, session: SlideSession, panel: DepthRunPanel, launcher: DepthLauncher) -> None:
        super().__init__(panel)
        self._session, self._panel, self._launcher = session, panel, launcher
        self._connections = SectionConnections(self)
        self._state = ""  # state of the followed run; empty until it was read
        self.models: tuple[str, ...] | None = None
        fail = partial(show_failure, session.services.status)
        self._tasks = LatestJobQueue(self)
        self._tasks.succeeded.connect(self._on_run_found)
        self._tasks.failed.connect(fail)
        panel.updated.connect(self._on_run_update)
        panel.failed.connect(fail)
        panel.resume_requested.connect(self.start)
        panel.detached.connect(partial(panel.set_folder, None))
        self._connections.connect(launcher.launched, self._on_launched)
        self._connections.connect(launcher.ended, self.changed.emit)
        self._tasks.submit("run", lambda: partial(_find_models_and_run, session.location, session.slide.info.path))

    @property
    def active(self) -> bool:
        """Whether the analysis is being started or running."""
        return self._launcher.is_launching(self._session) or self._panel.active

    def start(self) -> None:
        """Start or resume the analysis, unless it is already being started."""
        self._launcher.launch(self._session, (self.models or ("",))[0])
        self.changed.emit()

    def close(self) -> None:
        """Stop following the analysis, which continues."""
        self._connections.close()
        self._tasks.cancel()
        self._panel.set_folder(None)

    def _on_run_found(self, result: tuple[tuple[str, ...], Path | None]) -> None:
        self.models, folder = result
        if folder is not None:
            self._panel.set_folder(folder)
        self.changed.emit()

    def _on_launched(self, slide_folder: Path, folder: Path) -> None:
        if slide_folder == self._session.folder:
            self._session.services.status.show_message(BACKGROUND_MESSAGE)
            self._state = ""
            self._panel.set_folder(folder)

    def _on_run_update(self, update: SlideRunUpdate) -> None:
        previous, self._state = self._state, str(update.status.state)
        if not update.status.state.active:
            self._session.services.status.end_message(BACKGROUND_MESSAGE)
        if self._state == "finished" != previous:
            self._session.depth.reload_predictions()
            # It was not finished before the section was opened, or it has finished while another slide was displayed
            if previous or self._session.folder in self._launcher.unfinished:
                self._launcher.unfinished.discard(self._session.folder)
                proposed = parse_proposals(update.content)
                self.finished.emit(bool(proposed.proposals), proposed.validity.valid)
        self.changed.emit()


def _find_models_and_run(
    location: SlideResultLocation, slide: Path, run: RunContext
) -> tuple[tuple[str, ...], Path | None]:
    """Return the models that can measure, and the folder of an analysis that was started, if any."""
    from napari_melanoma.slides.depth_readings import depth_analysis_folder, list_depth_models

    folder = depth_analysis_folder(location.folder, slide)
    models = list_depth_models(demonstrations=location.is_phantom)
    return models, folder if (folder / "events.jsonl").is_file() else None


def _try_launching(info: SlideInfo, slide_folder: Path, model: str, run: RunContext) -> tuple[Path, Path | Exception]:
    """Launch the analysis; return the result folder of the slide, and the folder of the analysis or an error."""
    try:
        return slide_folder, _launch_analysis(info, slide_folder, model)
    except Exception as error:  # noqa: BLE001 - shown to the user
        return slide_folder, error


def _launch_analysis(info: SlideInfo, slide_folder: Path, model: str) -> Path:
    """Launch the analysis, and return its folder.

    Results with other options are replaced without a question, because they cannot have been edited.
    """
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.background_runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.depth_readings import depth_analysis_folder
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.result_folder import record_slide, recorded_slide
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
