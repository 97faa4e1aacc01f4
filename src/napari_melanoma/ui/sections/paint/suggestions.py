"""Cells as a strip of thumbnails, and the suggested ones: uncertain cells of the map that differ from each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QWidget

from napari_melanoma.core.geometry import Box
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named, quiet_label
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Point
    from napari_melanoma.slides.reading.slide import Slide
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, PaintedSlide

COUNT, COLUMNS = 8, 4
CANDIDATES = 2000  # least certain cells, whose features are compared
SHOWN_CELLS, SIDE_PX = 7, 64  # side of a thumbnail: on the slide, and on the screen
HINT = "Least certain: click to go there. Return accepts the class, 1 to 9 assign another one."
ACCEPT_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


@dataclass(frozen=True)
class SuggestedCell:
    """A cell that is worth painting. ``class_name``: its predicted class, with its ``probability``."""

    cell: tuple[int, int]
    class_name: str
    probability: float
    image: QImage | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """The text below the thumbnail."""
        return f"{self.class_name}?"

    @property
    def tip(self) -> str:
        """The tooltip."""
        return f"Predicted: {self.class_name}, {self.probability:.2f}. {HINT}"


@dataclass(frozen=True, eq=False)
class SuggestionRequest:
    """Among which cells of a slide to choose: the least certain ``cells``, int32 (cell, 2), away from the strokes."""

    fit: Fit
    slide: PaintedSlide
    source: str
    cells: NDArray[np.int32]


def find_suggestions(request: SuggestionRequest, stores: FeatureCache, run: RunContext) -> tuple[SuggestedCell, ...]:
    """Choose among uncertain cells; return them with their thumbnails."""
    from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells
    from napari_melanoma.slides.tissue_classifier.suggestions import suggest_cells

    features, classifier, cells = stores.get(request.slide, request.source), request.fit.classifier, request.cells
    values = features.read(cells)
    run.check()
    probability = classifier.predict(values)
    painted = PaintedCells.of_slide(request.slide.strokes, features.grid).cells
    chosen = suggest_cells(probability, values, cells, painted, COUNT)
    centers = features.grid.center_of(cells[chosen]).tolist()
    side = round(SHOWN_CELLS * max(features.grid.placement.step_y, features.grid.placement.step_x))
    return tuple(
        SuggestedCell(
            (int(cells[index, 0]), int(cells[index, 1])),
            classifier.classes[int(probability[index].argmax())],
            float(probability[index].max()),
            read_thumbnail(features.slide, (row, column), side, run),
        )
        for index, (row, column) in zip(chosen, centers, strict=True)
    )


def read_thumbnail(slide: Slide, center: Point, side: int, run: RunContext) -> QImage | None:
    """Read the surroundings of a cell; None if they cannot be read."""
    from napari_melanoma.core.errors import MelanomaError

    run.check()
    top, left = (round(at - side / 2) for at in center)
    try:
        return to_qimage(slide.read_square(Box(top, left, side, side), 2 * SIDE_PX))
    except MelanomaError:
        return None


class ShownCell(Protocol):
    """A cell in a strip, with its thumbnail and texts."""

    @property
    def image(self) -> QImage | None:
        """The surroundings of the cell; None if they cannot be read."""

    @property
    def text(self) -> str:
        """The text below the thumbnail."""

    @property
    def tip(self) -> str:
        """The tooltip."""


class CellStrip(QWidget):
    """Thumbnails of cells.

    ``cell_clicked``: a ``ShownCell`` to go to. ``cell_assigned``: a ``ShownCell`` and the number of its class, 0 for
    the key Return. ``left``: Escape was pressed on a thumbnail.
    """

    cell_clicked = Signal(object)
    cell_assigned = Signal(object, int)
    left = Signal()
    failed = Signal(object)

    def __init__(self, name: str, title: str, hint: str, count: int) -> None:
        super().__init__()
        named(self, f"{name}s", title).setToolTip("")
        self.cells: Sequence[ShownCell] = ()
        self.buttons = [self._create_button(f"{name}_{index + 1}", index) for index in range(count)]
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self.show_cells)
        self._queue.failed.connect(self.failed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        if hint:
            grid.addWidget(quiet_label(hint), 0, 0, 1, COLUMNS)
        for index, button in enumerate(self.buttons):
            grid.addWidget(button, 1 + index // COLUMNS, index % COLUMNS)
        self.hide()

    def update_cells(self, find: Callable[[RunContext], object]) -> None:
        """Find other cells in the background; ``find``: see ``find_suggestions``."""
        self._queue.submit("cells", lambda: find)

    def clear(self) -> None:
        """Remove all cells."""
        self._queue.cancel()
        self.show_cells(())

    def show_cells(self, cells: Sequence[ShownCell]) -> None:
        """Show other cells."""
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


class SuggestionStrip(CellStrip):
    """Thumbnails of suggested cells."""

    def __init__(self) -> None:
        super().__init__("paint_suggestion", "Suggested cells", HINT, COUNT)
