"""The list of the regions of a slide: a table that can be sorted and filtered, and in which regions are renamed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QKeyEvent, QKeySequence, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QWidget

from napari_melanoma.slides.regions import is_locked, region_date, region_reader
from napari_melanoma.ui.viewer.shortcuts import is_delete_key
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR
from napari_melanoma.ui.widgets.row_table import ROW_PX, VISIBLE_ROWS, RowTable
from napari_melanoma.ui.widgets.style import fill_column, named, theme_icon

if TYPE_CHECKING:
    from qtpy.QtGui import QIcon

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.io.geojson import Annotation, Color
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.widgets.style import ThemedIcons

AnyIndex = QModelIndex | QPersistentModelIndex
NAME, CLASS, AREA, READER, DATE = range(5)
COLUMN_TIPS = (
    "Name; F2 or a double click changes it",
    "Class",
    "Area without the holes",
    "Reader who drew the region",
    "Date on which the region was drawn; empty if unknown",
)
SWATCH_PX = 10
WIDTHS = {CLASS: 90, AREA: 64, READER: 46, DATE: 58}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class RegionRow:
    """A region, with its measured area and the date when it was drawn.

    ``area_px``: in pixels of the finest level. ``date``: year-month-day (ISO 8601) in local time, empty if unknown.
    """

    region: Annotation
    area_px: float
    date: str

    @classmethod
    def measure(cls, region: Annotation) -> RegionRow:
        """Measure the area of a region, and read its date."""
        drawn = region_date(region)
        day = "" if drawn is None else drawn.astimezone().date().isoformat()
        return cls(region, sum(polygon.area for polygon in region.polygons), day)

    @property
    def short_date(self) -> str:
        """Day and month in the current year, else month and year: a full date does not fit into the column."""
        if not self.date:
            return ""
        year, month, day = map(int, self.date.split("-"))
        name = MONTHS[month - 1]
        return f"{day} {name}" if year == datetime.now().astimezone().year else f"{name} {year}"

    @property
    def texts(self) -> tuple[str, str, str]:
        """Name, class and reader."""
        return self.region.name, self.region.class_name, region_reader(self.region)

    def sort_key(self, column: int) -> tuple[bool, object]:
        """Return the key by which a column is sorted; empty cells are last."""
        name, class_name, reader = (text.casefold() for text in self.texts)
        value = (name, class_name, self.area_px, reader, self.date)[column]
        return value == "", value

    def matches(self, text: str) -> bool:
        """Return whether the name, class, reader or date contains ``text``, which must be in lower case."""
        return any(text in one.casefold() for one in (*self.texts, self.date))


class RegionTableModel(QAbstractTableModel):
    """Table model of regions. It sorts and filters the rows itself, which is fast enough for thousands of regions.

    ``renamed``: id and new name of a region.
    """

    renamed = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[RegionRow] = []  # in the displayed order
        self.lock_icon: QIcon | None = None
        self._all: list[RegionRow] = []
        self._pixel_size: PixelSize | None = None
        self._filter, self._column, self._descending = "", -1, False  # column -1: not sorted
        self._swatches: dict[Color, QPixmap] = {}

    def set_regions(self, regions: Regions, pixel_size: PixelSize | None) -> None:
        """Replace the regions; unchanged ones are not measured again."""
        previous_rows = {row.region.id: row for row in self._all}
        self._pixel_size = pixel_size
        self._all = [
            row
            if (row := previous_rows.get(region.id)) is not None and row.region is region
            else RegionRow.measure(region)
            for region in regions
        ]
        self._arrange()

    def set_filter(self, text: str) -> None:
        """Show only the regions whose name, class, reader or date contains a text."""
        self._filter = text.strip().casefold()
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 for the order in which the regions were drawn."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    @property
    def has_readers(self) -> bool:
        """Whether any region has a reader."""
        return any(region_reader(row.region) for row in self._all)

    @property
    def count(self) -> int:
        """Number of regions, including those that the filter hides."""
        return len(self._all)

    def find_rows(self, ids: Collection[str]) -> list[int]:
        """Return the row numbers of regions, without those that the filter hides."""
        wanted = set(ids)
        return [number for number, row in enumerate(self.rows) if row.region.id in wanted] if wanted else []

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Return the number of displayed regions."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMN_TIPS)

    def headerData(self, index: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title or tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{COLUMN_TIPS[index]} (click to sort; a third click restores the order)"
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            return int(index == AREA)  # Qt.SortOrder as an integer: the largest area first
        titles = ("name", "class", "px²" if self._pixel_size is None else "mm²", "reader", "date")
        return titles[index] if role == Qt.ItemDataRole.DisplayRole else None

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        """Allow names to be edited, unless the region is locked."""
        flags = super().flags(index)
        if index.isValid() and index.column() == NAME and not is_locked(self.rows[index.row()].region):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, icon, alignment or tooltip of a cell."""
        row, column = self.rows[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            name, class_name, reader = row.texts
            return (name, class_name or "none", self._format_area(row), reader, row.short_date)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == NAME:
            return self.lock_icon if is_locked(row.region) else None
        if role == Qt.ItemDataRole.DecorationRole and column == CLASS:
            return self._swatch(row.region.color or DEFAULT_COLOR)
        if role == Qt.ItemDataRole.TextAlignmentRole and column == AREA:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleDescriptionRole):
            return self._describe(row)
        return None

    def setData(self, index: AnyIndex, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802 - Qt's name
        """Emit a request to rename the region; the row shows the new name when the regions are replaced."""
        if role != Qt.ItemDataRole.EditRole or index.column() != NAME:
            return False
        region = self.rows[index.row()].region
        if str(value).strip() != region.name:
            self.renamed.emit(region.id, str(value).strip())
        return True

    def _arrange(self) -> None:
        """Filter and sort the rows."""
        self.beginResetModel()
        rows = [row for row in self._all if row.matches(self._filter)] if self._filter else list(self._all)
        if 0 <= self._column < len(COLUMN_TIPS):
            rows.sort(key=lambda row: row.sort_key(self._column), reverse=self._descending)
            if self._descending:  # empty cells stay last
                rows.sort(key=lambda row: row.sort_key(self._column)[0])
        self.rows = rows
        self.endResetModel()

    def _format_area(self, row: RegionRow) -> str:
        if self._pixel_size is None:
            return f"{row.area_px:,.0f}"
        return f"{row.area_px * self._pixel_size.pixel_area_mm2:.3g}"

    def _describe(self, row: RegionRow) -> str:
        """Describe a region in several lines."""
        name, class_name, reader = row.texts
        unit = "px²" if self._pixel_size is None else "mm²"
        lines = [name or "without a name", f"class {class_name or 'none'}", f"{self._format_area(row)} {unit}"]
        lines += [f"reader {reader}"] if reader else []
        lines += [f"drawn {row.date}"] if row.date else []
        return "\n".join([*lines, *(["locked: it cannot be changed or deleted"] if is_locked(row.region) else [])])

    def _swatch(self, color: Color) -> QPixmap:
        if color not in self._swatches:
            self._swatches[color] = QPixmap(SWATCH_PX, SWATCH_PX)
            self._swatches[color].fill(QColor(*color))
        return self._swatches[color]


class RegionTable(RowTable):
    """Table of regions. F2 renames, Delete removes, Ctrl+C and Ctrl+V copy and paste.

    ``chosen``: the user selected other rows.
    """

    chosen = Signal(object)  # tuple of the ids of regions
    key_pressed = Signal(str)  # "remove", "copy" or "paste"

    def __init__(self) -> None:
        self.table_model = RegionTableModel()
        super().__init__(self.table_model)
        named(self, "region_list", "Regions of the slide").setToolTip("")
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.EditKeyPressed | triggers.DoubleClicked)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        for column, width in WIDTHS.items():
            header.resizeSection(column, width)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.setSortingEnabled(True)
        header.sortIndicatorChanged.connect(lambda *_: self.select(self._selected_ids))
        self._selected_ids: tuple[str, ...] = ()

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the selected rows, from top to bottom."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return tuple(self.table_model.rows[row].region.id for row in rows)

    def select(self, ids: Collection[str]) -> None:
        """Select rows, and scroll to the first of them."""
        self._silent, self._selected_ids = True, tuple(ids)
        selection = QItemSelection()
        rows = self.table_model.find_rows(ids)
        for row in rows:
            selection.select(self.table_model.index(row, 0), self.table_model.index(row, DATE))
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            self.scrollTo(self.table_model.index(rows[0], NAME))
            self.selectionModel().setCurrentIndex(
                self.table_model.index(rows[0], NAME), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        self._silent = False

    def scroll_to(self, region_id: str) -> None:
        """Bring the row of a region into view."""
        for row in self.table_model.find_rows((region_id,)):
            self.scrollTo(self.table_model.index(row, NAME))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the action of a key."""
        action = ""
        if is_delete_key(event):
            action = "remove"
        elif event.matches(QKeySequence.StandardKey.Copy):
            action = "copy"
        elif event.matches(QKeySequence.StandardKey.Paste):
            action = "paste"
        if action:
            self.key_pressed.emit(action)
        else:
            super().keyPressEvent(event)

    def _activate_selected(self) -> None:
        self._selected_ids = self.selected
        self.chosen.emit(self._selected_ids)


class RegionListView(QWidget):
    """The table with the field that filters it; hidden while there are no regions.

    ``filtered``: the filter has changed, which may have deselected regions.
    """

    filtered = Signal(object)  # tuple of the ids of the regions that are still selected

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        tip = "Show only regions whose name, class, reader or date contains this text"
        self.filter_field = named(QLineEdit(), "region_filter", "Filter the regions", tip)
        self.filter_field.setPlaceholderText("filter by name, class, reader or date")
        self.filter_field.setClearButtonEnabled(True)
        self.table = RegionTable()
        fill_column(self, self.filter_field, self.table)
        self._icons = icons
        self.filter_field.textChanged.connect(self._on_filter)
        icons.changed.connect(self._update_icon)
        self._update_icon()
        self.hide()

    def show_regions(self, regions: Regions, pixel_size: PixelSize | None, selected: Collection[str]) -> None:
        """Show regions with the current sorting and filter."""
        model = self.table.table_model
        self._update_rows(lambda: model.set_regions(regions, pixel_size), selected)
        self.table.setColumnHidden(READER, not model.has_readers)
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + ROW_PX * min(max(model.count, 2), VISIBLE_ROWS) + 4)
        self.setVisible(bool(regions))

    def _on_filter(self, text: str) -> None:
        """Filter the rows, and deselect hidden regions, so that users do not change regions that they cannot see."""
        self._update_rows(lambda: self.table.table_model.set_filter(text), self.table.selected)
        self.filtered.emit(self.table.selected)

    def _update_rows(self, change: Callable[[], None], selected: Collection[str]) -> None:
        """Change the rows of the model without changing scroll position and selection."""
        position = self.table.verticalScrollBar().value()
        change()
        self.table.verticalScrollBar().setValue(position)
        self.table.select(selected)

    def _update_icon(self) -> None:
        self.table.table_model.lock_icon = theme_icon("lock", self._icons.palette.text)
        self.table.viewport().update()
