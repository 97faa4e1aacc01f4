"""Find, start and control the analyses of slides, in background threads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.slides.notes import NotesFile, SlideNotes
from napari_melanoma.ui.viewer.garbage import collection_paused
from napari_melanoma.ui.widgets.edited_document import LatestStateWriter
from napari_melanoma.ui.widgets.job import BackgroundJob, LatestJobQueue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.widgets.settings import DockSettings

ROOT_SETTING, VIEW_FOLDER, DEPTH_FOLDER = "slide/folder", "view", "depth"
PRIVATE_NOTES = "slide-notes"  # copies of notes that cannot be written next to the results
# Where running analyses are searched below the root folder
RUN_FOLDER_PATTERNS = (
    "*",
    "*/*",
    *(f"{at}/{within}/*" for within in (VIEW_FOLDER, DEPTH_FOLDER) for at in ("*", "*/*")),
)


@dataclass(frozen=True)
class SlideResultLocation:
    """Folders of the results of a slide, with its notes and corrected tissue, and whether it was analyzed."""

    identity: str
    out: Path
    folder: Path
    notes: SlideNotes
    notes_file: NotesFile = field(compare=False)  # from which ``notes`` were read
    is_analyzed: bool
    view_folder: Path  # results of the view, within the slide's own folder
    is_view_analyzed: bool = False
    tissue: NDArray[np.bool_] | None = field(default=None, compare=False)  # (row, column) of the whole slide
    tissue_error: str = ""  # why the corrected tissue cannot be read
    slide_folder: Path | None = None  # the slide's own folder, even if ``folder`` is that of the view

    @property
    def view_out(self) -> Path:
        """Output folder of the view, as ``launch_slide`` takes it."""
        return self.view_folder.parent


@dataclass(frozen=True)
class SlideAnalysisRequest:
    """A requested analysis: slide, folders, options, corrected tissue, and what happens to previous results."""

    info: SlideInfo
    location: SlideResultLocation
    options: SlideOptions
    tissue: NDArray[np.bool_] | None = None
    force: bool = False
    reset_lesions: bool = False


class SlideRunManager(QObject):
    """Find the results of slides, and start and control the processes that compute them."""

    results_found = Signal(object)
    started = Signal(object)
    options_differ = Signal(object, str)
    running_slides_found = Signal(object)
    message = Signal(str)
    failed = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject, settings: DockSettings) -> None:
        super().__init__(parent)
        self._settings = settings
        self._job: BackgroundJob | None = None
        self._launch_result: tuple[SlideAnalysisRequest, str, Path] | None = None
        self._search_tasks, self._write_tasks = LatestJobQueue(self), LatestJobQueue(self)
        self._search_tasks.succeeded.connect(self._on_found)
        self._search_tasks.failed.connect(self.failed)
        self._write_tasks.failed.connect(self.failed)
        # In the queue of the searches, so that a slide that is opened again is not read before it is written.
        self._notes = LatestStateWriter(self, self._search_tasks, _save_notes, self._on_notes_saved, self.failed.emit)

    @property
    def root(self) -> Path:
        """Folder for results: the one that the user chose, else the default."""
        return find_results_root(self._settings)

    @root.setter
    def root(self, folder: Path) -> None:
        self._settings.set(ROOT_SETTING, str(folder))

    @property
    def is_starting(self) -> bool:
        """Whether an analysis is being launched."""
        return self._job is not None

    def find_results(self, info: SlideInfo, identity: str) -> None:
        work = partial(_find_results, self.root, info, identity)
        self._search_tasks.submit(identity, lambda: work)

    def find_running_slides(self) -> None:
        """Find the slides that are being analyzed, open or not."""
        work = partial(_find_running_slides, self.root)
        self._search_tasks.submit("running", lambda: work)

    def start(self, request: SlideAnalysisRequest) -> None:
        """Launch an analysis, unless another one is being launched."""
        if self._job is not None:
            return
        self._job = BackgroundJob(partial(_launch_analysis, request))
        self._job.succeeded.connect(self._on_started)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start(self)
        self.changed.emit()

    def send_command(self, folder: Path, command: RunCommand) -> None:
        """Send a running analysis the command to continue, pause or cancel."""
        self._write_tasks.submit(str(folder), lambda: partial(_send_command, folder, command))

    def save_notes(self, location: SlideResultLocation) -> None:
        """Save bookmarks, measurements, scale and view with the results, in the background."""
        self._notes.save(location)

    def flush_notes(self) -> None:
        """Save notes now that are not saved yet."""
        self._notes.flush()

    def _on_notes_saved(self, message: str | None) -> None:
        if message:
            self.message.emit(message)

    def _on_found(self, found: Any) -> None:  # noqa: ANN401 - a location, running slides, or a function to call
        if isinstance(found, SlideResultLocation):
            self.results_found.emit(found)
        elif callable(found):
            found()
        else:
            self.running_slides_found.emit(found)

    def _on_started(self, launch_result: tuple[SlideAnalysisRequest, str, Path]) -> None:
        self._launch_result = launch_result

    def _on_finished(self) -> None:
        """Emit the result after the job has ended, so that a slot may start the next one."""
        self._job, result, self._launch_result = None, self._launch_result, None
        self.changed.emit()
        if result is not None:
            request, difference, folder = result
            if difference:
                self.options_differ.emit(request, difference)
            else:
                self.started.emit(folder)


@collection_paused()
def preload(run: RunContext) -> None:
    """Import in the background what opening a slide needs."""
    from importlib import import_module

    for name in (
        "napari_melanoma.depth.readings",
        "napari_melanoma.slides.lesion_edits",
        "napari_melanoma.slides.reading.layers",
        "napari_melanoma.slides.reading.opening",
        "napari_melanoma.slides.saved_results",
        "napari_melanoma.slides.options",
        "napari_melanoma.slides.background_runs",
        "scipy.ndimage",
        "zarr",
        "pandas",  # napari imports it with the first Labels or Shapes layer, which would block the window
    ):
        run.check()
        import_module(name)


def find_results_root(settings: DockSettings) -> Path:
    """Return the folder for results of slides: the one that the user chose, else the default."""
    chosen = settings.get(ROOT_SETTING, "")
    return Path(chosen) if chosen and Path(chosen).is_dir() else get_user_folder("slides")


def get_user_folder(name: str) -> Path:
    """Return a folder of the user's own data."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / name


def _find_results(root: Path, info: SlideInfo, identity: str, run: RunContext) -> SlideResultLocation:
    """Find the folder of a slide's results, and read its notes."""
    from napari_melanoma.slides.result_folder import slide_folder

    folder = slide_folder(root, info.path)
    # Its name differs from the folder's where the folder is named by the slide's content.
    view = slide_folder(folder / VIEW_FOLDER, info.path)
    tissue, error = _read_corrected_mask((folder, view))
    private = slide_folder(get_user_folder(PRIVATE_NOTES), info.path)
    file = NotesFile(folder, private)
    return SlideResultLocation(
        identity,
        root,
        folder,
        file.read(),
        file,
        _is_analyzed(folder),
        view,
        _is_analyzed(view),
        tissue,
        error,
        slide_folder=folder,
    )


def _read_corrected_mask(folders: tuple[Path, Path]) -> tuple[NDArray[np.bool_] | None, str]:
    """Return the corrected tissue, or why it cannot be read: the slide is shown in both cases."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.ui.slide.tissue import read_corrected_mask

    try:
        return read_corrected_mask(folders), ""
    except (MelanomaError, OSError) as error:
        return None, str(error)


def _is_analyzed(folder: Path) -> bool:
    from napari_melanoma.io.slide_store import STORE

    return (folder / STORE).is_dir() or (folder / "events.jsonl").is_file()


def _find_running_slides(root: Path, run: RunContext) -> list[tuple[Path, Path]]:
    """Slides that are being analyzed, with the folders of their results."""
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.background_runs import read_slide_run_status

    folders = [path.parent for pattern in RUN_FOLDER_PATTERNS for path in root.glob(f"{pattern}/process.json")]
    reports = [read_slide_run_status(folder) for folder in folders if is_run_alive(folder)]
    return [(report.slide, report.folder) for report in reports if report.slide is not None and report.state.active]


def _launch_analysis(request: SlideAnalysisRequest, run: RunContext) -> tuple[SlideAnalysisRequest, str, Path]:
    """Launch an analysis, unless the existing results were made with other options."""
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.background_runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.lesion_files import back_up_corrected_lesions
    from napari_melanoma.slides.saved_results import describe_difference
    from napari_melanoma.ui.slide.tissue import back_up_corrected_masks, write_corrected_mask

    location, options = request.location, request.options
    if is_run_alive(location.folder) and read_slide_run_status(location.folder).state.active:
        return request, "", location.folder
    if request.tissue is not None:
        options = options.model_copy(update={"tissue_mask": write_corrected_mask(location.folder, request.tissue)})
    difference = "" if request.force else describe_difference(location.folder, options)
    request = replace(request, options=options)
    if difference:
        return request, difference, location.folder
    if request.reset_lesions and not request.force:  # the folder of a finished analysis is otherwise left unchanged
        back_up_corrected_lesions(location.folder)
    if options.tissue_mask is None:
        back_up_corrected_masks((location.slide_folder or location.folder, location.view_folder))
    _save_fingerprint(location, request.info)
    return request, "", launch_slide(request.info.path, location.out, options, force=request.force)


def _save_fingerprint(location: SlideResultLocation, info: SlideInfo) -> None:
    """Record from the start to which slide the results belong."""
    file = NotesFile(location.folder)
    file.save(replace(file.read(), fingerprint=info.fingerprint))


def _send_command(folder: Path, command: RunCommand, run: RunContext) -> None:
    from napari_melanoma.core.processes import send_command
    from napari_melanoma.slides.background_runs import cancel_slide

    if command == "cancel":
        cancel_slide(folder)
    else:
        send_command(folder, command)


def _save_notes(location: SlideResultLocation) -> str:
    """Save the notes with the results; return a message for the user, empty if there is none."""
    return location.notes_file.save(location.notes)
