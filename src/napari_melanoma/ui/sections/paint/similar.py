"""Find similar: the cells of a slide and of its folder that are most similar to a clicked one, as thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.context import PartContext, RunContext
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.ui.sections.paint.loop import LoopState
from napari_melanoma.ui.sections.paint.mapping import open_source
from napari_melanoma.ui.sections.paint.suggestions import SHOWN_CELLS, CellStrip, read_thumbnail
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import BackgroundJob, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from qtpy.QtGui import QImage

    from napari_melanoma.core.polygons import Point
    from napari_melanoma.slides.reading.slide import Slide
    from napari_melanoma.slides.tissue_classifier.similar import SimilarCell, SimilarCells
    from napari_melanoma.slides.tissue_classifier.stored_features import StoredFeatures
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, PaintedSlide
    from napari_melanoma.ui.session.slide import SlideSession

COUNT = 11  # thumbnails of found cells, after that of the clicked one
VIEW_CELLS = 40  # width of the view of a found cell
NAMED_SLIDES = 3
TEXT_LINES = 3
HINT = "Click to go there. Return paints the selected class on it, 1 to 9 another one."
INVITATION = "Click a cell (a square of 32 µm): the most similar cells of this slide and of its folder are listed here."
SEARCHING = "Searching for similar cells ..."
NONE_YET = "No similar cells yet: the features of this slide are being computed."
NONE_FOUND = "All cells with features are next to the clicked one."
COMPUTE_TIP = "Compute and store the features of the other slides of the folder, then search again"


@dataclass(frozen=True)
class SimilarRequest:
    """A clicked position of the displayed slide, (row, column) in pixels of the finest level.

    ``source``: of the features. ``open_slides``: result folders of the other open slides by their files.
    """

    slide: PaintedSlide
    at: Point
    source: str
    open_slides: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file of the displayed slide."""
        return self.slide.slide.info.path


@dataclass(frozen=True, eq=False)
class SimilarThumbnail:
    """A thumbnail of the strip."""

    cell: SimilarCell
    image: QImage | None
    is_query: bool = False

    @property
    def text(self) -> str:
        """The text below the thumbnail."""
        return "clicked" if self.is_query else f"{self.cell.similarity:.2f}"

    @property
    def tip(self) -> str:
        """The tooltip."""
        what = "The clicked cell" if self.is_query else f"Similarity {self.cell.similarity:.2f}"
        return f"{what}, {self.cell.slide.name}. {HINT}"


@dataclass(frozen=True, eq=False)
class SimilarResult:
    """What was found. ``known``: number of tissue blocks of the displayed slide with features, and of all.

    ``missing``: other slides of the folder that have no features yet.
    """

    request: SimilarRequest
    thumbnails: tuple[SimilarThumbnail, ...]
    searched: SimilarCells
    known: tuple[int, int]
    missing: tuple[Path, ...]


def search_folder(request: SimilarRequest, stores: FeatureCache, run: RunContext) -> SimilarResult:
    """Search the stored features of the displayed slide, of other open slides and of the folder of the slide."""
    from napari_melanoma.slides.tissue_classifier.similar import compute_query, find_similar_cells
    from napari_melanoma.slides.tissue_classifier.stored_features import find_stored_features

    features = stores.get(request.slide, request.source)
    query, values = compute_query(request.path, features, request.at, run)
    features.wait_until_written()
    folders = {request.path: request.slide.folder, **request.open_slides}
    slides = [*folders, *_list_other_slides(request.path, folders, run)]
    found, missing = find_stored_features(slides, request.slide.folder.parent, features.source, folders)
    searched = find_similar_cells(values, found, COUNT, exclude=(request.path, query.cell), run=run)
    thumbnails = _read_thumbnails(features.slide, (query, *searched.found), found, run)
    others = tuple(slide for slide in missing if slide != request.path)
    return SimilarResult(request, thumbnails, searched, features.progress, others)


def _list_other_slides(path: Path, known: Mapping[Path, Path], run: RunContext) -> list[Path]:
    """List the slides in the folder of a slide that are not open."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.slides.tissue_classifier.stored_features import list_folder_slides

    # A DICOM slide is listed as the folder of its files, but opened as one of them.
    opened = {one for slide in known for one in (slide.absolute(), slide.absolute().parent)}
    try:
        return [slide for slide in list_folder_slides(path.absolute().parent, run) if slide.absolute() not in opened]
    except InputError:
        return []  # the slide is open, but its folder cannot be listed


def _read_thumbnails(
    displayed: Slide, cells: Sequence[SimilarCell], stores: Sequence[StoredFeatures], run: RunContext
) -> tuple[SimilarThumbnail, ...]:
    """Read the thumbnails of cells, opening each slide once; ``displayed``: the slide that is open."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.reading.opening import open_slide

    images: dict[SimilarCell, QImage | None] = {}
    for store in stores:
        own, side = [cell for cell in cells if cell.slide == store.slide], round(SHOWN_CELLS * max(store.spec.step))
        if store.slide == displayed.info.path:
            images |= {cell: read_thumbnail(displayed, cell.center, side, run) for cell in own}
        elif own:
            try:
                with open_slide(store.slide) as opened:
                    images |= {cell: read_thumbnail(opened, cell.center, side, run) for cell in own}
            except MelanomaError:
                continue  # shown without an image; opening it states why
    return tuple(SimilarThumbnail(cell, images.get(cell), is_query=index == 0) for index, cell in enumerate(cells))


def compute_missing(slides: Sequence[Path], root: Path, request: SimilarRequest, run: RunContext) -> list[str]:
    """Compute the features of slides as those of a request; return why some could not be computed."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.result_folder import slide_folder
    from napari_melanoma.slides.tissue_classifier.stored_features import compute_slide_features

    source, failures = open_source(request.source), []
    for number, slide in enumerate(slides):
        part = PartContext(run, number, len(slides), f"Slide {number + 1} of {len(slides)}")
        try:
            compute_slide_features(slide, slide_folder(root, slide), source, part)
        except MelanomaError as error:
            failures.append(f"{slide.name}: {error}")
    return failures


def describe_search(result: SimilarResult) -> str:
    """State what was searched, and what is missing."""
    searched, (done, total) = result.searched, result.known
    parts = [f"Searched {format_count(searched.cells, 'cell')} of {format_count(searched.slides, 'slide')}."]
    if not searched.found:
        parts = [NONE_YET if done < total else NONE_FOUND]
    elif done < total:
        parts.append(f"This slide is computed to {done / total:.0%}; the list is updated meanwhile.")
    if result.missing:
        have = "has" if len(result.missing) == 1 else "have"
        names = format_names([slide.name for slide in result.missing], NAMED_SLIDES)
        parts.append(f"{format_count(len(result.missing), 'slide')} of the folder {have} no features yet: {names}.")
    return " ".join(parts)


class SimilarView(QWidget):
    """The thumbnails, what was searched, and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.label = named(WrappedLabel(lines=TEXT_LINES), "paint_similar_text", "What was searched")
        self.label.setToolTip("")
        self.label.setProperty("quiet", True)
        self.strip = CellStrip("paint_similar_cell", "Similar cells", HINT, COUNT + 1)
        self.compute_button = tool_button("paint_similar_compute", "Compute features", COMPUTE_TIP, "Compute features")
        tip = "Search again, with the features that were computed since"
        self.again_button = tool_button("paint_similar_again", "Search again", tip, "Search again")
        self.close_button = tool_button("paint_similar_close", "Close", "Close the list of similar cells (Escape)", "✕")
        fill_column(self, self.label, row(self.close_button, self.again_button, self.compute_button), self.strip)
        self.hide()


@dataclass
class SimilarMemory:
    """The latest result, which is shown on each of its slides, and what to do when another slide is displayed.

    ``target``: the cell to go to, ``class_name``: to paint on it, empty for none.
    """

    result: SimilarResult | None = None
    target: SimilarCell | None = None
    class_name: str = ""


class SimilarSearch(QObject):
    """Search for cells that are similar to a clicked one, and show them.

    ``changed``: a search has started or ended. ``cell_painted``: a class was assigned to a ``SimilarCell`` of the
    displayed slide. ``message``: for the user.
    """

    changed = Signal()
    cell_painted = Signal(object, str)
    message = Signal(str)
    failed = Signal(object)

    def __init__(self, session: SlideSession, view: SimilarView, stores: FeatureCache, memory: SimilarMemory) -> None:
        super().__init__(view)
        self.view = view
        self._session, self._stores, self._memory = session, stores, memory
        self._request: SimilarRequest | None = None  # the latest search; None if the list was closed
        self._is_used = False  # whether a cell was used: the list is not updated any more
        self._loop = self._searched = LoopState()  # now, and at the start of the latest search
        self._queue = LatestJobQueue(self)
        self._queue_check = DebounceTimer(self, 0)  # after the queue has ended
        self._queue_check.timeout.connect(lambda: self.update_progress(self._loop))
        self._queue.succeeded.connect(self._on_found)
        self._queue.failed.connect(self._on_failed)
        self._job: BackgroundJob | None = None
        strip = self.view.strip
        strip.cell_clicked.connect(self._on_clicked)
        strip.left.connect(self.close_list)
        self.view.close_button.clicked.connect(lambda: self.close_list())
        self.view.again_button.clicked.connect(lambda: self._search())
        self.view.compute_button.clicked.connect(lambda: self._compute())
        session.services.status.cancelled.connect(self._on_cancelled)

    @property
    def is_active(self) -> bool:
        """Whether a search is shown, for which the features of the whole slide are computed."""
        return self._request is not None

    def invite(self) -> None:
        """State what to do, unless a result is shown."""
        if self._request is None and self._memory.result is None:
            self._show(INVITATION)

    def withdraw(self) -> None:
        """Hide the invitation, when the tool has ended."""
        self.view.setVisible(self._request is not None or self._memory.result is not None)

    def restore(self) -> None:
        """Show the result that was found on another slide, and go to the cell that was clicked there."""
        memory, path = self._memory, self._session.slide.info.path
        result = memory.result
        target, memory.target = memory.target, None
        name, memory.class_name = memory.class_name, ""
        if result is None or path not in {thumbnail.cell.slide for thumbnail in result.thumbnails}:
            memory.result = None
            return
        self._show_result(result)
        if target is not None and target.slide == path:
            self._go_to(target)
            if name:
                self.cell_painted.emit(target, name)

    def search(self, slide: PaintedSlide, at: Point, source: str) -> None:
        """Search for cells that are similar to that at a position of the displayed slide."""
        others = {one.slide.info.path: one.folder for one in self._session.sessions if one is not self._session}
        request = SimilarRequest(slide, at, source, others)
        if request == self._request and self._queue.busy:
            return  # a double click
        self._request, self._is_used = request, False
        self._show(SEARCHING)
        self._search()

    def update_progress(self, loop: LoopState) -> None:
        """Search again when twice as many blocks have features, and when all have."""
        self._loop, before = loop, self._searched
        is_complete = before.is_running and not loop.is_running
        if self._request is None or self._queue.busy or not (is_complete or loop.done >= 2 * max(1, before.done)):
            return
        if self._is_used:
            self.view.again_button.show()
        else:
            self._search()

    def assign(self, thumbnail: SimilarThumbnail, name: str) -> None:
        """Paint a class on a cell, after its slide was displayed."""
        if thumbnail.cell.slide == self._session.slide.info.path:
            self._is_used = True
            self.cell_painted.emit(thumbnail.cell, name)
        else:
            self._display(thumbnail.cell, name)

    def close_list(self) -> None:
        """Remove the result, and stop searching."""
        self._queue.cancel()
        self._request, self._memory.result = None, None
        self.view.strip.clear()
        self.view.hide()
        self.changed.emit()

    def close(self) -> None:
        """Stop all tasks, and disconnect; the result is kept."""
        self._session.services.status.cancelled.disconnect(self._on_cancelled)
        self._queue.cancel()
        if self._job is not None:
            self._job.finished.disconnect(self._on_ended)
            self._job.cancel()
            self._session.services.status.end("searching")

    def _search(self) -> None:
        request = self._request or (None if self._memory.result is None else self._memory.result.request)
        if request is not None:
            self._queue.cancel()
            self._queue.submit("similar", lambda: partial(search_folder, request, self._stores))
            self.changed.emit()
            self._searched = self._loop

    def _on_found(self, result: SimilarResult) -> None:
        self._memory.result = result
        self._show_result(result)
        self._queue_check.start()

    def _show_result(self, result: SimilarResult) -> None:
        view = self.view
        view.strip.show_cells(result.thumbnails if result.searched.found else ())
        self._show(describe_search(result))
        view.again_button.setVisible(False)
        view.compute_button.setVisible(bool(result.missing) and self._job is None)
        view.compute_button.setText(f"Compute features of {format_count(len(result.missing), 'slide')}")

    def _show(self, text: str) -> None:
        view = self.view
        view.label.setText(text)
        if text == INVITATION:
            view.strip.clear()
            view.compute_button.hide()
            view.again_button.hide()
        view.setVisible(True)

    def _on_failed(self, error: Exception) -> None:
        self.close_list()
        self.failed.emit(error)

    def _on_clicked(self, thumbnail: SimilarThumbnail) -> None:
        if thumbnail.cell.slide == self._session.slide.info.path:
            self._is_used = True
            self._go_to(thumbnail.cell)
        else:
            self._display(thumbnail.cell)

    def _display(self, cell: SimilarCell, class_name: str = "") -> None:
        """Display the slide of a cell, which opens this section again, and continue there."""
        self._memory.target, self._memory.class_name = cell, class_name
        self.message.emit(f"Opening {cell.slide.name} ...")
        self._session.services.slide_requested.emit(cell.slide)

    def _go_to(self, cell: SimilarCell) -> None:
        from napari_melanoma.slides.tissue_classifier.cells import CELL_UM

        width = VIEW_CELLS * CELL_UM / min(self._session.slide.pixel_um)
        center_view(self._session.services.viewer, self._session.slide, cell.center, width)

    def _compute(self) -> None:
        """Compute the features of the slides that have none, then search again."""
        result = self._memory.result
        if result is None or self._job is not None:
            return
        root = self._session.folder.parent
        self._job = BackgroundJob(partial(compute_missing, result.missing, root, result.request))
        status = self._session.services.status
        self._job.progressed.connect(partial(status.progress, "searching"))
        self._job.succeeded.connect(self._on_computed)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_ended)
        status.begin("searching", f"Computing features of {format_count(len(result.missing), 'slide')} ...")
        self.view.compute_button.hide()
        self._job.start(self)

    def _on_computed(self, failures: list[str]) -> None:
        if failures:
            self.message.emit("Without features: " + "; ".join(failures))

    def _on_ended(self) -> None:
        self._job = None
        self._session.services.status.end("searching")
        self._search()

    def _on_cancelled(self, task: str) -> None:
        if task == "searching" and self._job is not None:
            self._job.cancel()
