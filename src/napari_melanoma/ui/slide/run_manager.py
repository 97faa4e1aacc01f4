"""What happens to the analysis of a slide: found again, started, told, resumed, let go; in threads, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.slides.notes import SlideNotes
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
RUN_FOLDER_PATTERNS = (
    "*",
    "*/*",
    *(f"{at}/{within}/*" for within in (VIEW_FOLDER, DEPTH_FOLDER) for at in ("*", "*/*")),
)  # below which folders of results slides are being analysed


@dataclass(frozen=True)
class SlideResultLocation:
    """Where the results of a slide lie, and what is there: notes, tissue corrected by hand, whether it was analysed."""

    identity: str
    out: Path
    folder: Path
    notes: SlideNotes
    is_analyzed: bool
    view_folder: Path  # of the results of what was in view, within the slide's own folder
    is_view_analyzed: bool = False
    tissue: NDArray[np.bool_] | None = field(default=None, compare=False)  # (row, column) of the whole slide
    tissue_error: str = ""  # why tissue that was corrected is not there
    slide_folder: Path | None = None  # the slide's own folder, also where ``folder`` is that of the view

    @property
    def view_out(self) -> Path:
        """Where the results of what was in view go, as ``launch_slide`` takes it."""
        return self.view_folder.parent


@dataclass(frozen=True)
class SlideAnalysisRequest:
    """An analysis that is asked for: slide, place, how, tissue that was corrected by hand, whether lesions are anew."""

    info: SlideInfo
    location: SlideResultLocation
    options: SlideOptions
    tissue: NDArray[np.bool_] | None = None
    force: bool = False
    reset_lesions: bool = False


class SlideRunManager(QObject):
    """Finds the results of slides, and starts and asks the processes that make them."""

    results_found = Signal(object)
    started = Signal(object)
    options_differ = Signal(object, str)
    running_slides_found = Signal(object)
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

    @property
    def root(self) -> Path:
        """Where results go: what the user chose, or a folder of the program's own."""
        kept = self._settings.get(ROOT_SETTING, "")
        if kept and Path(kept).is_dir():
            return Path(kept)
        from platformdirs import user_data_path

        return user_data_path("napari-melanoma", appauthor=False) / "slides"

    @root.setter
    def root(self, folder: Path) -> None:
        self._settings.set(ROOT_SETTING, str(folder))

    @property
    def is_starting(self) -> bool:
        """Whether an analysis is being launched."""
        return self._job is not None

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; an analysis at work is not meant."""
        return self.is_starting or self._search_tasks.busy or self._write_tasks.busy

    def find_results(self, info: SlideInfo, identity: str) -> None:
        """Find the results of a slide."""
        work = partial(_find_results, self.root, info, identity)
        self._search_tasks.submit(identity, lambda: work)

    def find_running_slides(self) -> None:
        """Find the slides that are being analysed, whether they are open or not."""
        work = partial(_find_running_slides, self.root)
        self._search_tasks.submit("at work", lambda: work)

    def start(self, request: SlideAnalysisRequest) -> None:
        """Launch an analysis; nothing happens while one is being launched."""
        if self._job is not None:
            return
        self._job = BackgroundJob(partial(_launch_analysis, request))
        self._job.succeeded.connect(self._on_started)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def send_command(self, folder: Path, command: RunCommand) -> None:
        """Tell an analysis to go on, pause or end."""
        self._write_tasks.submit(str(folder), lambda: partial(_send_command, folder, command))

    def save_notes(self, folder: Path, notes: SlideNotes) -> None:
        """Keep bookmarks and scale with the results."""
        self._write_tasks.submit(f"{folder} notes", lambda: partial(_save_notes, folder, notes))

    def _on_found(self, found: Any) -> None:  # noqa: ANN401 - a place, or slides at work
        if isinstance(found, SlideResultLocation):
            self.results_found.emit(found)
        else:
            self.running_slides_found.emit(found)

    def _on_started(self, launch_result: tuple[SlideAnalysisRequest, str, Path]) -> None:
        self._launch_result = launch_result

    def _on_finished(self) -> None:
        """Tell what came of it when nothing is on its way any more: whoever hears it may start the next."""
        self._job, told, self._launch_result = None, self._launch_result, None
        self.changed.emit()
        if told is not None:
            request, differs, folder = told
            if differs:
                self.options_differ.emit(request, differs)
            else:
                self.started.emit(folder)


def preload(run: RunContext) -> None:
    """Import what a slide would otherwise wait for."""
    from importlib import import_module

    for name in (
        "napari_melanoma.depth.readings",
        "napari_melanoma.slides.lesion_edits",
        "napari_melanoma.slides.reading.layers",
        "napari_melanoma.slides.reading.opening",
        "napari_melanoma.slides.saved_results",
        "napari_melanoma.slides.options",
        "napari_melanoma.slides.runs",
        "scipy.ndimage",
        "zarr",
        "pandas",  # napari does so with the first Labels or Shapes layer, which would stop the window for as long
    ):
        run.check()
        import_module(name)


def _find_results(root: Path, info: SlideInfo, identity: str, run: RunContext) -> SlideResultLocation:
    """Find the folder of a slide's results, and what is noted there."""
    from napari_melanoma.slides.notes import read_notes
    from napari_melanoma.slides.result_folder import slide_folder

    folder = slide_folder(root, info.path)
    view = slide_folder(
        folder / VIEW_FOLDER, info.path
    )  # has another name where the folder is named by the slide's content
    tissue, fault = _read_corrected_mask((folder, view))
    place = SlideResultLocation(
        identity, root, folder, read_notes(folder), _is_analyzed(folder), view, _is_analyzed(view)
    )
    return replace(place, tissue=tissue, tissue_error=fault, slide_folder=folder)


def _read_corrected_mask(folders: tuple[Path, Path]) -> tuple[NDArray[np.bool_] | None, str]:
    """Tissue that was corrected, or why it cannot be read: the slide is shown all the same."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.ui.slide.tissue import read_corrected_mask

    try:
        return read_corrected_mask(folders), ""
    except (MelanomaError, OSError) as error:
        return None, str(error)


def _is_analyzed(folder: Path) -> bool:
    """Whether an analysis was begun there."""
    from napari_melanoma.io.slide_store import STORE

    return (folder / STORE).is_dir() or (folder / "events.jsonl").is_file()


def _find_running_slides(root: Path, run: RunContext) -> list[tuple[Path, Path]]:
    """Slides that are being analysed, with the folders of their results."""
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.runs import read_slide_run_status

    folders = [path.parent for place in RUN_FOLDER_PATTERNS for path in root.glob(f"{place}/process.json")]
    reports = [read_slide_run_status(folder) for folder in folders if is_run_alive(folder)]
    return [(report.slide, report.folder) for report in reports if report.slide is not None and report.state.active]


def _launch_analysis(request: SlideAnalysisRequest, run: RunContext) -> tuple[SlideAnalysisRequest, str, Path]:
    """Launch an analysis, unless what is there was made another way."""
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.lesion_files import back_up_corrected_lesions
    from napari_melanoma.slides.runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.saved_results import describe_difference
    from napari_melanoma.ui.slide.tissue import back_up_corrected_masks, write_corrected_mask

    place, options = request.location, request.options
    if is_run_alive(place.folder) and read_slide_run_status(place.folder).state.active:
        return request, "", place.folder
    if request.tissue is not None:
        options = options.model_copy(update={"tissue_mask": write_corrected_mask(place.folder, request.tissue)})
    said = "" if request.force else describe_difference(place.folder, options)
    asked = replace(request, options=options)
    if said:
        return asked, said, place.folder
    if request.reset_lesions and not request.force:  # an analysis that has ended is otherwise left alone
        back_up_corrected_lesions(place.folder)
    if options.tissue_mask is None:
        back_up_corrected_masks((place.slide_folder or place.folder, place.view_folder))
    _save_fingerprint(place, request.info)
    return asked, "", launch_slide(request.info.path, place.out, options, force=request.force)


def _save_fingerprint(place: SlideResultLocation, info: SlideInfo) -> None:
    """Say from the beginning whose results lie here."""
    from napari_melanoma.slides.notes import read_notes, write_notes

    notes = read_notes(place.folder)
    if notes.fingerprint != info.fingerprint:
        write_notes(place.folder, replace(notes, fingerprint=info.fingerprint))


def _send_command(folder: Path, command: RunCommand, run: RunContext) -> None:
    from napari_melanoma.core.processes import send_command
    from napari_melanoma.slides.runs import cancel_slide

    if command == "cancel":
        cancel_slide(folder)
    else:
        send_command(folder, command)


def _save_notes(folder: Path, notes: SlideNotes, run: RunContext) -> None:
    from napari_melanoma.slides.notes import write_notes

    write_notes(folder, notes)
