"""What happens to the analysis of a slide: found again, started, told, resumed, let go; in threads, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.slides.notes import SlideNotes
from napari_melanoma.ui.widgets.job import Job, Latest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import Wish
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.widgets.settings import Settings

FOLDER, VIEW, DEPTH = "slide/folder", "view", "depth"
AT_WORK = (
    "*",
    "*/*",
    *(f"{at}/{within}/*" for within in (VIEW, DEPTH) for at in ("*", "*/*")),
)  # below which folders of results slides are being analysed


@dataclass(frozen=True)
class Place:
    """Where the results of a slide lie, and what is there: notes, tissue corrected by hand, whether it was analysed."""

    identity: str
    out: Path
    folder: Path
    notes: SlideNotes
    analysed: bool
    view_folder: Path  # of the results of what was in view, within the slide's own folder
    view_analysed: bool = False
    tissue: NDArray[np.bool_] | None = field(default=None, compare=False)  # (row, column) of the whole slide
    fault: str = ""  # why tissue that was corrected is not there
    own: Path | None = None  # the slide's own folder, also where ``folder`` is that of the view

    @property
    def view_out(self) -> Path:
        """Where the results of what was in view go, as ``launch_slide`` takes it."""
        return self.view_folder.parent


@dataclass(frozen=True)
class Request:
    """An analysis that is asked for: slide, place, how, tissue that was corrected by hand, whether lesions are anew."""

    info: SlideInfo
    place: Place
    options: SlideOptions
    tissue: NDArray[np.bool_] | None = None
    force: bool = False
    anew: bool = False


class SlideDesk(QObject):
    """Finds the results of slides, and starts and asks the processes that make them."""

    found = Signal(object)
    started = Signal(object)
    differs = Signal(object, str)
    at_work = Signal(object)
    failed = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject, settings: Settings) -> None:
        super().__init__(parent)
        self._settings = settings
        self._job: Job | None = None
        self._told: tuple[Request, str, Path] | None = None
        self._looking, self._telling = Latest(self), Latest(self)
        self._looking.succeeded.connect(self._on_found)
        self._looking.failed.connect(self.failed)
        self._telling.failed.connect(self.failed)

    @property
    def root(self) -> Path:
        """Where results go: what the user chose, or a folder of the program's own."""
        kept = self._settings.kept(FOLDER, "")
        if kept and Path(kept).is_dir():
            return Path(kept)
        from platformdirs import user_data_path

        return user_data_path("napari-melanoma", appauthor=False) / "slides"

    @root.setter
    def root(self, folder: Path) -> None:
        self._settings.keep(FOLDER, str(folder))

    @property
    def starting(self) -> bool:
        """Whether an analysis is being launched."""
        return self._job is not None

    @property
    def busy(self) -> bool:
        """Whether anything is on its way; an analysis at work is not meant."""
        return self.starting or self._looking.busy or self._telling.busy

    def look_for(self, info: SlideInfo, identity: str) -> None:
        """Find the results of a slide."""
        work = partial(_look, self.root, info, identity)
        self._looking.submit(identity, lambda: work)

    def look_for_work(self) -> None:
        """Find the slides that are being analysed, whether they are open or not."""
        work = partial(_working, self.root)
        self._looking.submit("at work", lambda: work)

    def start(self, request: Request) -> None:
        """Launch an analysis; nothing happens while one is being launched."""
        if self._job is not None:
            return
        self._job = Job(partial(_start, request))
        self._job.succeeded.connect(self._on_started)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()
        self.changed.emit()

    def ask(self, folder: Path, wish: Wish) -> None:
        """Tell an analysis to go on, pause or end."""
        self._telling.submit(str(folder), lambda: partial(_ask, folder, wish))

    def keep(self, folder: Path, notes: SlideNotes) -> None:
        """Keep bookmarks and scale with the results."""
        self._telling.submit(f"{folder} notes", lambda: partial(_keep, folder, notes))

    def _on_found(self, found: Any) -> None:  # noqa: ANN401 - a place, or slides at work
        if isinstance(found, Place):
            self.found.emit(found)
        else:
            self.at_work.emit(found)

    def _on_started(self, told: tuple[Request, str, Path]) -> None:
        self._told = told

    def _on_finished(self) -> None:
        """Tell what came of it when nothing is on its way any more: whoever hears it may start the next."""
        self._job, told, self._told = None, self._told, None
        self.changed.emit()
        if told is not None:
            request, differs, folder = told
            if differs:
                self.differs.emit(request, differs)
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
        "napari_melanoma.slides.findings",
        "napari_melanoma.slides.options",
        "napari_melanoma.slides.runs",
        "scipy.ndimage",
        "zarr",
        "pandas",  # napari does so with the first Labels or Shapes layer, which would stop the window for as long
    ):
        run.check()
        import_module(name)


def _look(root: Path, info: SlideInfo, identity: str, run: RunContext) -> Place:
    """Find the folder of a slide's results, and what is noted there."""
    from napari_melanoma.slides.notes import read_notes
    from napari_melanoma.slides.result_folder import slide_folder

    folder = slide_folder(root, info.path)
    view = slide_folder(folder / VIEW, info.path)  # has another name where the folder is named by the slide's content
    tissue, fault = _tissue((folder, view))
    place = Place(identity, root, folder, read_notes(folder), _analysed(folder), view, _analysed(view))
    return replace(place, tissue=tissue, fault=fault, own=folder)


def _tissue(folders: tuple[Path, Path]) -> tuple[NDArray[np.bool_] | None, str]:
    """Tissue that was corrected, or why it cannot be read: the slide is shown all the same."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.ui.slide.tissue import read_corrected

    try:
        return read_corrected(folders), ""
    except (MelanomaError, OSError) as error:
        return None, str(error)


def _analysed(folder: Path) -> bool:
    """Whether an analysis was begun there."""
    from napari_melanoma.io.slide_store import STORE

    return (folder / STORE).is_dir() or (folder / "events.jsonl").is_file()


def _working(root: Path, run: RunContext) -> list[tuple[Path, Path]]:
    """Slides that are being analysed, with the folders of their results."""
    from napari_melanoma.core.processes import alive
    from napari_melanoma.slides.runs import read_slide_run

    folders = [path.parent for place in AT_WORK for path in root.glob(f"{place}/process.json")]
    reports = [read_slide_run(folder) for folder in folders if alive(folder)]
    return [(report.slide, report.folder) for report in reports if report.slide is not None and report.state.active]


def _start(request: Request, run: RunContext) -> tuple[Request, str, Path]:
    """Launch an analysis, unless what is there was made another way."""
    from napari_melanoma.core.processes import alive
    from napari_melanoma.slides.findings import differs
    from napari_melanoma.slides.lesion_files import set_aside
    from napari_melanoma.slides.runs import launch_slide, read_slide_run
    from napari_melanoma.ui.slide.tissue import set_corrected_aside, write_corrected

    place, options = request.place, request.options
    if alive(place.folder) and read_slide_run(place.folder).state.active:
        return request, "", place.folder
    if request.tissue is not None:
        options = options.model_copy(update={"tissue_mask": write_corrected(place.folder, request.tissue)})
    said = "" if request.force else differs(place.folder, options)
    asked = replace(request, options=options)
    if said:
        return asked, said, place.folder
    if request.anew and not request.force:  # an analysis that has ended is otherwise left alone
        set_aside(place.folder)
    if options.tissue_mask is None:
        set_corrected_aside((place.own or place.folder, place.view_folder))
    _note_fingerprint(place, request.info)
    return asked, "", launch_slide(request.info.path, place.out, options, force=request.force)


def _note_fingerprint(place: Place, info: SlideInfo) -> None:
    """Say from the beginning whose results lie here."""
    from napari_melanoma.slides.notes import read_notes, write_notes

    notes = read_notes(place.folder)
    if notes.fingerprint != info.fingerprint:
        write_notes(place.folder, replace(notes, fingerprint=info.fingerprint))


def _ask(folder: Path, wish: Wish, run: RunContext) -> None:
    from napari_melanoma.core.processes import ask
    from napari_melanoma.slides.runs import cancel_slide

    if wish == "cancel":
        cancel_slide(folder)
    else:
        ask(folder, wish)


def _keep(folder: Path, notes: SlideNotes, run: RunContext) -> None:
    from napari_melanoma.slides.notes import write_notes

    write_notes(folder, notes)
