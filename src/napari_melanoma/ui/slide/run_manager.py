"""Find the results of slides, save their notes, and start and control their analyses, in background threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.garbage_collection import paused_garbage_collection
from napari_melanoma.core.processes import is_run_alive
from napari_melanoma.slides.notes import VIEW_FOLDER, NotesFile, SlideNotes
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.widgets.job import LatestJobQueue, run_job
from napari_melanoma.ui.widgets.latest_writer import LatestStateWriter
from napari_melanoma.ui.widgets.settings import DockSettings, get_user_folder

if TYPE_CHECKING:
    from napari_melanoma.slides.options import SlideOptions

DEPTH_FOLDER = "depth"
PRIVATE_NOTES = "slide-notes"  # folder for notes that cannot be written next to the results
# Patterns, relative to the root folder, of the folders in which an analysis may be running
RUN_FOLDER_PATTERNS = (
    "*",
    "*/*",
    *(f"{slide}/{inner}/*" for inner in (VIEW_FOLDER, DEPTH_FOLDER) for slide in ("*", "*/*")),
)


@dataclass(frozen=True)
class SlideAnalysisRequest:
    """A requested analysis.

    ``tissue``: corrected, bool (row, column) of the whole slide. ``force``: replace previous results that were computed
    with other options. ``reset_lesions``: detect the lesions again, which replaces corrected ones.
    """

    info: SlideInfo
    location: SlideResultLocation
    options: SlideOptions
    tissue: NDArray[np.bool_] | None = None
    force: bool = False
    reset_lesions: bool = False


LaunchResult = tuple[SlideAnalysisRequest, str, Path]  # request, difference in options, folder of the results


class SlideRunManager(QObject):
    """Find the results of slides, and start and control the processes that compute them."""

    results_found = Signal(object)  # SlideResultLocation
    started = Signal(object)  # Path of the results
    options_differ = Signal(object, str)  # SlideAnalysisRequest, the difference from previous results
    running_slides_found = Signal(object)  # list of pairs: Path of the slide, Path of its results
    message = Signal(str)
    failed = Signal(object)  # the exception
    not_started = Signal()  # the launch failed; emitted after ``failed``
    changed = Signal()

    def __init__(self, parent: QObject, settings: DockSettings) -> None:
        super().__init__(parent)
        self._settings = settings
        self.is_starting = False  # whether an analysis is being launched
        self._search_tasks = LatestJobQueue(self)
        self._search_tasks.succeeded.connect(self._on_found)
        self._search_tasks.failed.connect(self.failed)
        # Notes are written in the queue of the searches, so that those of a slide that is opened again are not read
        # before they have been written.
        self._notes = LatestStateWriter(self, self._search_tasks, _save_notes, self._on_notes_saved, self.failed.emit)

    def find_results(self, info: SlideInfo, identity: str, known: SlideNotes | None) -> None:
        """Find the results of a slide in the background. ``known``: the notes of its session, None if it has none."""
        find = partial(_find_results, self._settings.slide_results, info, identity)
        self._search_tasks.submit(identity, lambda: lambda run: replace(find(run), known_notes=known))

    def find_running_slides(self) -> None:
        """Find the slides that are being analyzed, whether they are open or not."""
        work = partial(_find_running_slides, self._settings.slide_results)
        self._search_tasks.submit("running", lambda: work)

    def start(self, request: SlideAnalysisRequest) -> None:
        """Launch an analysis, unless another one is being launched."""
        if not self.is_starting:
            self.is_starting = True
            run_job(self, "launch", partial(_launch_analysis, request), self._on_launched, self._on_not_launched)
            self.changed.emit()

    def save_notes(self, location: SlideResultLocation) -> None:
        """Save the notes of a slide, such as bookmarks, measurements, scale and view, in the background."""
        self._notes.save(location)

    def flush_notes(self) -> None:
        """Save pending notes now."""
        self._notes.flush()

    def _on_notes_saved(self, message: str | None) -> None:
        if message:
            self.message.emit(message)

    def _on_found(self, result: Any) -> None:  # noqa: ANN401 - location, or running slides
        if isinstance(result, SlideResultLocation):
            self.results_found.emit(result)
        else:
            self.running_slides_found.emit(result)

    def _on_launched(self, result: LaunchResult) -> None:
        request, difference, folder = result
        self.is_starting = False
        self.changed.emit()
        if difference:
            self.options_differ.emit(request, difference)
        else:
            self.started.emit(folder)

    def _on_not_launched(self, error: Exception) -> None:
        self.failed.emit(error)
        self.is_starting = False
        self.changed.emit()
        self.not_started.emit()


@paused_garbage_collection()
def preload(run: RunContext) -> None:
    """Import the modules that are required to open a slide; run it in a background thread."""
    from importlib import import_module

    for name in (
        "napari_melanoma.depth.readings",
        "napari_melanoma.depth.synoptic",
        "napari_melanoma.slides.lesion_files",
        "napari_melanoma.slides.reading.layers",
        "napari_melanoma.slides.reading.opening",
        "napari_melanoma.slides.results",
        "napari_melanoma.slides.options",
        "napari_melanoma.slides.background_runs",
        "scipy.ndimage",
        "zarr",
        "pandas",  # napari imports it with the first Labels or Shapes layer, which would block the window
    ):
        run.check()
        import_module(name)


def _find_results(root: Path, info: SlideInfo, identity: str, run: RunContext) -> SlideResultLocation:
    """Find the folders of a slide's results, and read its notes and tissue."""
    from napari_melanoma.phantoms import is_phantom
    from napari_melanoma.slides.result_folder import slide_folder
    from napari_melanoma.ui.session.tissue import read_tissue

    folder = slide_folder(root, info.path)
    # Not folder / VIEW_FOLDER / folder.name: the two names may differ, since some folders are named by content.
    view = slide_folder(folder / VIEW_FOLDER, info.path)
    tissue, error = read_tissue((folder, view))
    private_folder = slide_folder(get_user_folder(PRIVATE_NOTES), info.path)
    file = NotesFile(folder, private_folder)
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
        is_phantom=is_phantom(info.path),
    )


def _is_analyzed(folder: Path) -> bool:
    from napari_melanoma.io.slide_store import STORE

    return (folder / STORE).is_dir() or (folder / "events.jsonl").is_file()


def _find_running_slides(root: Path, run: RunContext) -> list[tuple[Path, Path]]:
    """Return the slides that are being analyzed, with the folders of their results."""
    from napari_melanoma.slides.background_runs import read_slide_run_status
    from napari_melanoma.slides.result_folder import recorded_slide

    folders = [path.parent for pattern in RUN_FOLDER_PATTERNS for path in root.glob(f"{pattern}/process.json")]
    running = [folder for folder in folders if is_run_alive(folder) and read_slide_run_status(folder).state.active]
    return [(slide, folder) for folder in running if (slide := recorded_slide(folder)) is not None]


def _launch_analysis(request: SlideAnalysisRequest, run: RunContext) -> LaunchResult:
    """Launch an analysis, unless there are results that were computed with other options.

    In that case, return the difference in words, else an empty text.
    """
    from napari_melanoma.slides.background_runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.lesion_files import request_detection
    from napari_melanoma.slides.results import describe_difference
    from napari_melanoma.ui.session.tissue import back_up_corrected_masks, write_corrected_mask

    location, options = request.location, request.options
    if is_run_alive(location.folder) and read_slide_run_status(location.folder).state.active:
        return request, "", location.folder
    if request.tissue is not None:
        options = options.model_copy(update={"tissue_mask": write_corrected_mask(location.folder, request.tissue)})
    difference = "" if request.force else describe_difference(location.folder, options)
    request = replace(request, options=options)
    if difference:
        return request, difference, location.folder
    if request.reset_lesions and not request.force:  # otherwise a finished analysis would remain unchanged
        request_detection(location.folder)
    if options.tissue_mask is None:
        back_up_corrected_masks((location.slide_folder or location.folder, location.view_folder))
    file = NotesFile(location.folder)  # the fingerprint identifies the slide from the start of the analysis
    file.save(replace(file.read(), fingerprint=request.info.fingerprint))
    return request, "", launch_slide(request.info.path, location.out, options, force=request.force)


def _save_notes(location: SlideResultLocation) -> str:
    """Save the notes with the results; return a message for the user, empty if there is none."""
    return location.notes_file.save(location.notes)
