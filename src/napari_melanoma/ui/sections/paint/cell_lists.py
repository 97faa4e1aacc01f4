"""Cells as thumbnails: those that are worth painting, and those that are most similar to a clicked one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QWidget

from napari_melanoma.core.context import PartContext, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Point
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM
from napari_melanoma.slides.tissue_classifier.feature_store import StoredFeatures
from napari_melanoma.slides.tissue_classifier.suggestions import SimilarCell, SimilarCells
from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, PaintedSlide, PaintLoop, open_source
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import cancel_jobs, is_job_running, run_job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

COLUMNS = 4
SUGGESTED, SIMILAR = 8, 11  # thumbnails of suggested cells; of similar cells, after that of the clicked one
CANDIDATES = 2000  # least certain cells, whose features are compared
SHOWN_CELLS, SIDE_PX = 7, 64  # side of a thumbnail: on the slide, and on the screen
VIEW_CELLS = 40  # width of the view of a cell
NAMED_SLIDES = 3
SUGGESTION_HINT = "Least certain: click to go there. Return accepts the class, 1 to 9 assign another one."
SIMILAR_HINT = "Click to go there. Return paints the selected class on it, 1 to 9 another one."
INVITATION = "Click a cell (a square of 32 µm): the most similar cells of this slide and of its folder are listed here."
SEARCHING = "Searching for similar cells ..."
NONE_YET = "No similar cells yet: the features of this slide are being computed."
NONE_FOUND = "All cells with features are next to the clicked one."
COMPUTE_TIP = "Compute and store the features of the other slides of the folder, then search again"
ACCEPT_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


@dataclass(frozen=True, eq=False)
class ShownCell:
    """A cell in a list, with its texts.

    ``image``: its surroundings; None if they cannot be read. ``center``: (row, column) in pixels of the finest level.
    ``slide``: the file of its slide. ``class_name``: predicted, of a suggested cell.
    """

    image: QImage | None
    text: str
    tip: str
    center: Point
    slide: Path
    class_name: str = ""


class CellStrip(QWidget):
    """Thumbnails of cells.

    ``cell_clicked``: a ``ShownCell`` to go to. ``cell_assigned``: a ``ShownCell`` and the number of its class, 0 for
    the key Return. ``left``: Escape was pressed on a thumbnail.
    """

    cell_clicked = Signal(object)
    cell_assigned = Signal(object, int)
    left = Signal()

    def __init__(self, name: str, title: str, hint: str, count: int) -> None:
        super().__init__()
        named(self, f"{name}s", title).setToolTip("")
        self.cells: Sequence[ShownCell] = ()
        self.buttons = [self._create_button(f"{name}_{index + 1}", index) for index in range(count)]
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(quiet_label(hint), 0, 0, 1, COLUMNS)
        for index, button in enumerate(self.buttons):
            grid.addWidget(button, 1 + index // COLUMNS, index % COLUMNS)
        self.hide()

    def show_cells(self, cells: Sequence[ShownCell]) -> None:
        self.cells = cells
        self.setVisible(bool(cells))
        for index, button in enumerate(self.buttons):
            button.setVisible(index < len(cells))
        for button, cell in zip(self.buttons, cells, strict=False):
            button.setIcon(QIcon() if cell.image is None else QIcon(QPixmap.fromImage(cell.image)))
            button.setText(cell.text)
            button.setAccessibleName(cell.text)
            button.setToolTip(cell.tip)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Assign the class of the focused thumbnail with a key."""
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        index = next((number for number, button in enumerate(self.buttons) if button is watched), len(self.cells))
        is_digit = Qt.Key.Key_1 <= event.key() <= Qt.Key.Key_9
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        if index >= len(self.cells) or not (is_digit or event.key() in ACCEPT_KEYS):
            return False
        self.buttons[(index + 1) % len(self.cells)].setFocus()
        self.cell_assigned.emit(self.cells[index], event.key() - Qt.Key.Key_0 if is_digit else 0)
        return True

    def _create_button(self, name: str, index: int) -> QToolButton:
        button = named(QToolButton(), name, "Cell")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(SIDE_PX, SIDE_PX))
        button.setStyleSheet("font-size: 8pt; padding: 2px 0px")  # for a class such as Background
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.clicked.connect(partial(self._on_clicked, index))
        button.installEventFilter(self)
        return button

    def _on_clicked(self, index: int, checked: bool = False) -> None:
        if index < len(self.cells):
            self.buttons[index].setFocus()
            self.cell_clicked.emit(self.cells[index])


def show_cell(session: SlideSession, center: Point) -> None:
    width = VIEW_CELLS * CELL_UM / min(session.slide.pixel_um)
    center_view(session.services.viewer, session.slide, center, width)


def find_suggestions(
    fit: Fit, slide: PaintedSlide, cells: NDArray[np.int32], stores: FeatureCache, run: RunContext
) -> tuple[ShownCell, ...]:
    """Choose among the least certain ``cells`` of a slide, int32 (cell, 2), away from strokes and from each other."""
    from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells
    from napari_melanoma.slides.tissue_classifier.suggestions import suggest_cells

    features, classifier = stores.get(slide, fit.choice.source), fit.classifier
    values = features.read(cells)
    known = np.isfinite(values).all(axis=1)  # the map may still be that of other features
    cells, values = cells[known], values[known]
    run.check()
    probability = classifier.predict(values)
    painted = PaintedCells.of_slide(slide.strokes, features.grid).cells
    chosen = suggest_cells(probability, values, cells, painted, SUGGESTED)
    centers = features.grid.center_of(cells[chosen]).tolist()
    side = round(SHOWN_CELLS * max(features.grid.placement.step_y, features.grid.placement.step_x))
    shown = []
    for index, (y, x) in zip(chosen, centers, strict=True):
        name = classifier.classes[probability[index].argmax()]
        image = read_thumbnail(features.slide, (y, x), side, run)
        tip = f"Predicted: {name}, {probability[index].max():.2f}. {SUGGESTION_HINT}"
        shown.append(ShownCell(image, f"{name}?", tip, (y, x), features.slide.info.path, name))
    return tuple(shown)


def read_thumbnail(slide: Slide, center: Point, side: int, run: RunContext) -> QImage | None:
    """Read the surroundings of a cell; None if they cannot be read."""
    run.check()
    top, left = (round(at - side / 2) for at in center)
    try:
        return to_qimage(slide.read_square(Box(top, left, side, side), 2 * SIDE_PX))
    except MelanomaError:
        return None


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
class SimilarResult:
    """What was found. ``known``: number of tissue blocks of the displayed slide with features, and of all.

    ``missing``: other slides of the folder that have no features yet.
    """

    request: SimilarRequest
    thumbnails: tuple[ShownCell, ...]
    searched: SimilarCells
    known: tuple[int, int]
    missing: tuple[Path, ...]

    def describe(self) -> str:
        """State what was searched, and what is missing."""
        searched, (done, total) = self.searched, self.known
        parts = [f"Searched {format_count(searched.cells, 'cell')} of {format_count(searched.slides, 'slide')}."]
        if not searched.found:
            parts = [NONE_YET if done < total else NONE_FOUND]
        elif done < total:
            parts.append(f"This slide is computed to {done / total:.0%}; the list is updated meanwhile.")
        if self.missing:
            have = "has" if len(self.missing) == 1 else "have"
            names = format_names([slide.name for slide in self.missing], NAMED_SLIDES)
            parts.append(f"{format_count(len(self.missing), 'slide')} of the folder {have} no features yet: {names}.")
        return " ".join(parts)


def search_folder(request: SimilarRequest, stores: FeatureCache, run: RunContext) -> SimilarResult:
    """Search the stored features of the displayed slide, of other open slides and of the folder of the slide."""
    from napari_melanoma.slides.tissue_classifier.feature_store import find_stored_features
    from napari_melanoma.slides.tissue_classifier.suggestions import compute_query, find_similar_cells

    features = stores.get(request.slide, request.source)
    query, values = compute_query(request.path, features, request.at, run)
    features.wait_until_written()
    folders = {request.path: request.slide.folder, **request.open_slides}
    slides = [*folders, *_list_other_slides(request.path, folders, run)]
    found, missing = find_stored_features(slides, request.slide.folder.parent, features.source, folders)
    searched = find_similar_cells(values, found, SIMILAR, exclude=(request.path, query.cell), run=run)
    thumbnails = _read_thumbnails(features.slide, (query, *searched.found), found, run)
    others = tuple(slide for slide in missing if slide != request.path)
    return SimilarResult(request, thumbnails, searched, features.progress, others)


def _list_other_slides(path: Path, known: Mapping[Path, Path], run: RunContext) -> list[Path]:
    """List the slides in the folder of a slide that are not open."""
    from napari_melanoma.slides.tissue_classifier.feature_store import list_folder_slides

    # A DICOM slide is listed as the folder of its files, but opened as one of them.
    opened = {one for slide in known for one in (slide.absolute(), slide.absolute().parent)}
    try:
        return [slide for slide in list_folder_slides(path.absolute().parent, run) if slide.absolute() not in opened]
    except InputError:
        return []  # the slide is open, but its folder cannot be listed


def _read_thumbnails(
    displayed: Slide, cells: Sequence[SimilarCell], stores: Sequence[StoredFeatures], run: RunContext
) -> tuple[ShownCell, ...]:
    """Read the thumbnails of cells, opening each slide once; ``displayed``: the slide that is open."""
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
    shown = []
    for index, cell in enumerate(cells):
        text = f"{cell.similarity:.2f}" if index else "clicked"
        what = f"Similarity {text}" if index else "The clicked cell"
        tip = f"{what}, {cell.slide.name}. {SIMILAR_HINT}"
        shown.append(ShownCell(images.get(cell), text, tip, cell.center, cell.slide))
    return tuple(shown)


def compute_missing(slides: Sequence[Path], root: Path, request: SimilarRequest, run: RunContext) -> list[str]:
    """Compute the features of slides as those of a request; return why some could not be computed."""
    from napari_melanoma.slides.result_folder import slide_folder
    from napari_melanoma.slides.tissue_classifier.feature_store import compute_slide_features

    source, failures = open_source(request.source), []
    for number, slide in enumerate(slides):
        part = PartContext(run, number, len(slides), f"Slide {number + 1} of {len(slides)}")
        try:
            compute_slide_features(slide, slide_folder(root, slide), source, part)
        except MelanomaError as error:
            failures.append(f"{slide.name}: {error}")
    return failures


@dataclass
class SimilarMemory:
    """What several slides share: the latest result, which is shown on each of its slides.

    ``target``: the cell to go to when its slide is displayed, and the class to paint on it, empty for none.
    """

    result: SimilarResult | None = None
    target: tuple[ShownCell, str] | None = None


class SimilarPanel(QWidget):
    """Find similar: searches for cells that are similar to a clicked one, and shows them.

    ``changed``: a search has started or ended. ``cell_painted``: a class was assigned to a ``ShownCell`` of the
    displayed slide.
    """

    changed = Signal()
    cell_painted = Signal(object, str)

    def __init__(self, session: SlideSession, stores: FeatureCache, memory: SimilarMemory, loop: PaintLoop) -> None:
        super().__init__()
        self._session, self._stores, self._memory, self._loop = session, stores, memory, loop
        self._request: SimilarRequest | None = None  # the latest search; None if the list was closed
        self._is_used = False  # whether a cell was used: the list is not updated any more
        self._searched = 0  # blocks with features at the start of the latest search
        self.label = named(WrappedLabel(), "paint_similar_text", "What was searched")
        self.label.setToolTip("")
        self.label.setProperty("quiet", True)
        self.strip = CellStrip("paint_similar_cell", "Similar cells", SIMILAR_HINT, SIMILAR + 1)
        self.compute_button = tool_button("paint_similar_compute", "Compute features", COMPUTE_TIP, "Compute features")
        tip = "Search again, with the features that were computed since"
        self.again_button = tool_button("paint_similar_again", "Search again", tip, "Search again")
        self.close_button = tool_button("paint_similar_close", "Close", "Close the list of similar cells (Escape)", "✕")
        fill_column(self, row(self.close_button, self.again_button, self.compute_button), self.strip, self.label)
        self.layout().addStretch(1)
        self.hide()
        self.strip.cell_clicked.connect(lambda shown: self.assign(shown, ""))
        self.strip.left.connect(self.close_list)
        self.close_button.clicked.connect(lambda: self.close_list())
        self.again_button.clicked.connect(lambda: self._search())
        self.compute_button.clicked.connect(lambda: self._compute())
        loop.changed.connect(self._on_progress)

    @property
    def is_active(self) -> bool:
        """Whether a search is shown, for which the features of the whole slide are computed."""
        return self._request is not None

    def invite(self, is_invited: bool) -> None:
        """State what to do while the tool is active, unless a result is shown."""
        if self._request is None and self._memory.result is None:
            self.strip.show_cells(())
            self.compute_button.hide()
            self.again_button.hide()
            self.label.setText(INVITATION)
            self.setVisible(is_invited)

    def restore(self) -> None:
        """Show the result that was found on another slide, and go to the cell that was clicked there."""
        memory, path = self._memory, self._session.slide.info.path
        target, memory.target = memory.target, None
        if memory.result is None or path not in {shown.slide for shown in memory.result.thumbnails}:
            memory.result = None
            self.strip.show_cells(())
            self.hide()
            return
        self._show_result(memory.result)
        if target is not None and target[0].slide == path:
            show_cell(self._session, target[0].center)
            if target[1]:
                self.cell_painted.emit(*target)

    def search(self, at: Point) -> None:
        """Search for cells that are similar to that at a position of the displayed slide."""
        others = {one.slide.info.path: one.folder for one in self._session.sessions if one is not self._session}
        request = SimilarRequest(self._loop.make_request().slides[0], at, self._loop.choice.source, others)
        if request == self._request and is_job_running(self, "similar"):
            return  # a double click
        self._request, self._is_used = request, False
        self.label.setText(SEARCHING)
        self.show()
        self._search()

    def assign(self, shown: ShownCell, name: str) -> None:
        """Paint a class on a cell, or only go there (empty), after its slide was displayed."""
        if shown.slide != self._session.slide.info.path:
            self._memory.target = shown, name
            self._session.services.status.show_message(f"Opening {shown.slide.name} ...")
            self._session.services.slide_requested.emit(shown.slide)
            return
        self._is_used = True
        if name:
            self.cell_painted.emit(shown, name)
        else:
            show_cell(self._session, shown.center)

    def close_list(self) -> None:
        """Remove the result, and stop searching."""
        self.stop()
        self._memory.result = None
        self.strip.show_cells(())
        self.hide()
        self.changed.emit()

    def stop(self) -> None:
        """Stop searching; the result stays."""
        cancel_jobs(self)
        self._request = None

    def _search(self) -> None:
        request = self._request or (None if self._memory.result is None else self._memory.result.request)
        if request is not None:
            self._searched = self._loop.done
            work = partial(search_folder, request, self._stores)
            run_job(self, "similar", work, self._on_found, self._on_failed).finished.connect(self._on_progress)
            self.changed.emit()

    def _on_progress(self) -> None:
        """Search again when twice as many blocks have features, and when all have, until a cell is used."""
        loop = self._loop
        is_due = loop.done >= 2 * max(1, self._searched) or (loop.is_complete and loop.done > self._searched)
        if self._request is None or not is_due or is_job_running(self, "similar"):
            return
        if self._is_used:
            self.again_button.show()
        else:
            self._search()

    def _on_found(self, result: SimilarResult) -> None:
        self._memory.result = result
        self._show_result(result)

    def _show_result(self, result: SimilarResult) -> None:
        self.strip.show_cells(result.thumbnails if result.searched.found else ())
        self.label.setText(result.describe())
        self.again_button.hide()
        self.compute_button.setVisible(bool(result.missing))
        self.compute_button.setText(f"Compute features of {format_count(len(result.missing), 'slide')}")
        self.show()

    def _on_failed(self, error: Exception) -> None:
        self.close_list()
        show_failure(self._session.services.status, error)

    def _compute(self) -> None:
        """Compute the features of the slides that have none, then search again."""
        if (result := self._memory.result) is None:
            return
        status, count = self._session.services.status, format_count(len(result.missing), "slide")
        work = partial(compute_missing, result.missing, self._session.folder.parent, result.request)

        def show_failures(failures: list[str]) -> None:
            if failures:
                status.show_message("Without features: " + "; ".join(failures))

        self.compute_button.setEnabled(False)
        owner = self._session.owner  # goes on while other slides are displayed
        job = status.run(owner, f"Computing features of {count} ...", work, show_failures)
        job.finished.connect(self._on_computed)

    def _on_computed(self) -> None:
        self.compute_button.setEnabled(True)
        if self._session.displayed.value:
            self._search()
