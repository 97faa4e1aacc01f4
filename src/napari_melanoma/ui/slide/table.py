"""The lesions of a slide as rows: number, class, probability, area; a selected row is a lesion to fly to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_melanoma.ui.look import named

if TYPE_CHECKING:
    from napari_melanoma.analysis.slide_lesions import SlideLesion

AnyIndex = QModelIndex | QPersistentModelIndex
COLUMNS = ("#", "class", "p", "area", "tissue")
ABOUT = (
    "Number: malignant ones first, of those the largest",
    "Malignant or benign, where the model can tell; an asterisk where you said so or changed the lesion",
    "Probability of the class named, for benign lesions too: mean of the heatmap over the lesion",
    "Area; in mm² where the slide has a scale",
    "Share of the slide's tissue",
)
LARGEST_FIRST = ("p", "area", "tissue")  # when they are clicked for the first time
MALIGNANT, BENIGN = QColor("#e0673a"), QColor("#3f9bd8")  # told apart by eyes that see fewer colours
ROWS_SEEN = 7


class LesionRows(QAbstractTableModel):
    """Lesions in the order in which they were found."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.lesions: tuple[SlideLesion, ...] = ()
        self.target = ""  # the class that the probabilities are of

    def show(self, lesions: Sequence[SlideLesion]) -> None:
        """Show other lesions."""
        self.beginResetModel()
        self.lesions = tuple(lesions)
        self.endResetModel()

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Say how many lesions there are, as Qt asks."""
        return 0 if parent.isValid() else len(self.lesions)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Say how many columns there are, as Qt asks."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, place: int, way: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Name the columns, as Qt asks."""
        if way != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{ABOUT[place]} (click to sort; a third click puts all back)"
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            return int(COLUMNS[place] in LARGEST_FIRST)  # of Qt's orders, as a number
        title = f"p {self.target}".rstrip() if COLUMNS[place] == "p" else COLUMNS[place]
        return title if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give text, colour or explanation of a cell, as Qt asks."""
        lesion = self.lesions[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _cell(lesion, index.column())
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            return BENIGN if lesion.label == "benign" else MALIGNANT
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() != 1:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return said_lesion(lesion, self.target)
        return None


class LesionTable(QTableView):
    """Select rows: the first is flown to, several can be merged; Delete removes them."""

    chosen = Signal(object)
    removing = Signal()
    picked = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "lesion_table", "Lesions of the slide").setToolTip("")
        self.rows = LesionRows(self)
        self.setModel(self.rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.sortIndicatorChanged.connect(self._on_sort)
        self.selectionModel().selectionChanged.connect(self._on_selection)
        self._given: tuple[SlideLesion, ...] = ()  # in the order in which they were found
        self._silent = False
        self.show_lesions(())

    @property
    def selected(self) -> list[int]:
        """Numbers of the lesions whose rows are selected, from top to bottom."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return [self.rows.lesions[row].index for row in rows]

    def show_lesions(self, lesions: Sequence[SlideLesion]) -> None:
        """Show other lesions, sorted as the user likes; rows of lesions that stay are still selected."""
        kept, header = self.selected, self.horizontalHeader()
        self._silent = True
        self._given = tuple(lesions)
        is_falling = header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        self.rows.show(sorted_lesions(lesions, header.sortIndicatorSection(), is_falling=is_falling))
        for row, lesion in enumerate(self.rows.lesions):
            if lesion.index in kept:
                self._select(row, QItemSelectionModel.SelectionFlag.Select)
        self._silent = False
        height = self.horizontalHeader().sizeHint().height() + 22 * min(max(len(lesions), 1), ROWS_SEEN) + 4
        self.setFixedHeight(height)
        self.picked.emit()

    def pick(self, index: int) -> None:
        """Select the row of a lesion, without flying there."""
        for row, lesion in enumerate(self.rows.lesions):
            if lesion.index == index:
                self._silent = True
                self._select(row, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                self.scrollTo(self.rows.index(row, 0))
                self._silent = False
                self.picked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Remove with Delete."""
        if event.key() == Qt.Key.Key_Delete and self.selected:
            self.removing.emit()
        else:
            super().keyPressEvent(event)

    def _select(self, row: int, how: QItemSelectionModel.SelectionFlag) -> None:
        self.selectionModel().select(self.rows.index(row, 0), how | QItemSelectionModel.SelectionFlag.Rows)

    def _on_sort(self, column: int, order: Qt.SortOrder) -> None:
        self.show_lesions(self._given)

    def _on_selection(self, *_: object) -> None:
        if self._silent:
            return
        self.picked.emit()
        chosen = self.selected
        if len(chosen) == 1:
            self.chosen.emit(next(lesion for lesion in self.rows.lesions if lesion.index == chosen[0]))


def sorted_lesions(lesions: Sequence[SlideLesion], column: int, *, is_falling: bool) -> tuple[SlideLesion, ...]:
    """Sort lesions by a column."""
    if not 0 <= column < len(COLUMNS):
        return tuple(lesions)
    values = [
        (one.index, one.label, one.probability, one.area_px, one.tissue_share)[column]  # as the cells show them
        for one in lesions
    ]
    unknown = [isinstance(value, float) and math.isnan(value) for value in values]
    known = [at for at, missing in enumerate(unknown) if not missing]
    places = sorted(known, key=lambda at: values[at], reverse=is_falling)
    return tuple(lesions[at] for at in (*places, *(at for at, missing in enumerate(unknown) if missing)))


def class_of_probability(label: str, target: str = "") -> str:
    """Name the class that the probability of a lesion is of.

    Returns ``malignant`` for benign lesions too, where nothing else is known.
    """
    return target or ("malignant" if label == "benign" else label)


def said_lesion(lesion: SlideLesion, target: str = "") -> str:
    """Say all that is known of a lesion."""
    known = "not known" if math.isnan(lesion.probability) else f"{lesion.probability:.3f}"
    named_class = class_of_probability(lesion.label, target)
    lines = [f"lesion {lesion.index}: {lesion.label}, {lesion.origin}", f"probability of {named_class} {known}"]
    if lesion.area_mm2 is not None and lesion.perimeter_mm is not None:
        lines += [f"area {lesion.area_mm2:.3g} mm², perimeter {lesion.perimeter_mm:.3g} mm"]
    if lesion.height_mm is not None and lesion.width_mm is not None:
        lines += [f"{lesion.height_mm:.3g} x {lesion.width_mm:.3g} mm, fills {100 * lesion.extent:.0f} % of that box"]
    return "\n".join([*lines, f"{_percent(lesion.tissue_share)} of the tissue"])


def _cell(lesion: SlideLesion, column: int) -> str:
    """Text of a cell."""
    area = f"{lesion.area_px:,.0f} px" if lesion.area_mm2 is None else f"{lesion.area_mm2:.3g} mm²"
    changed = "" if lesion.origin == "found" else " *"
    cells = (
        str(lesion.index),
        lesion.label + changed,
        "–" if math.isnan(lesion.probability) else f"{lesion.probability:.2f}",
        area,
        _percent(lesion.tissue_share),
    )
    return cells[column]


def _percent(share: float) -> str:
    """A share with two digits that mean something."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
