"""The list of the regions of a slide: a table that can be sorted and filtered, and in which regions are renamed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QKeySequence, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QWidget

from napari_melanoma.core.formatting import format_significant
from napari_melanoma.slides.regions import is_locked, region_date, region_reader
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR
from napari_melanoma.ui.widgets.row_table import AnyIndex, Column, RowTable, RowTableModel
from napari_melanoma.ui.widgets.style import add_clear_button, fill_column, named, theme_icon

if TYPE_CHECKING:
    from qtpy.QtGui import QIcon

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.io.geojson import Annotation, Color
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.widgets.style import ThemedIcons

NAME, CLASS, AREA, READER, DATE = range(5)
AREA_TITLE = "mm²"
COLUMNS = (
    Column("Name", "Name; F2 or a double click changes it"),
    Column("Class", "Class"),
    Column(AREA_TITLE, "Area without the holes", largest_first=True),
    Column("Reader", "Reader who drew the region"),
    Column("Date", "Date on which the region was drawn; empty if unknown"),
)
SWATCH_PX = 10
WIDTHS = {CLASS: 86, AREA: 60, READER: 56, DATE: 58}
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


class RegionTableModel(RowTableModel[RegionRow, str]):
    """Table model of regions; ``renamed``: id and new name of a region."""

    renamed = Signal(str, str)
    columns: tuple[Column, ...] = COLUMNS

    def __init__(self) -> None:
        super().__init__()
        self.lock_icon: QIcon | None = None
        self._pixel_size: PixelSize | None = None
        self._filter = ""
        self._swatches: dict[Color, QPixmap] = {}

    def measure(self, regions: Regions, pixel_size: PixelSize | None) -> list[RegionRow]:
        """Return the rows of regions; unchanged ones are not measured again."""
        previous_rows = {row.region.id: row for row in self._all}
        self._pixel_size = pixel_size
        unit = "px²" if pixel_size is None else "mm²"
        self.columns = tuple(one._replace(title=unit) if one.title == AREA_TITLE else one for one in COLUMNS)
        return [
            row
            if (row := previous_rows.get(region.id)) is not None and row.region is region
            else RegionRow.measure(region)
            for region in regions
        ]

    def set_filter(self, text: str) -> None:
        """Show only the regions whose name, class, reader or date contains a text."""
        self._filter = text.strip().casefold()
        self.arrange()

    def row_id(self, row: RegionRow) -> str:
        return row.region.id

    def sort_key(self, row: RegionRow, column: int) -> tuple[bool, object]:
        return row.sort_key(column)

    def matches_filter(self, row: RegionRow) -> bool:
        return not self._filter or row.matches(self._filter)

    @property
    def has_readers(self) -> bool:
        return any(region_reader(row.region) for row in self._all)

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

    def _format_area(self, row: RegionRow) -> str:
        if self._pixel_size is None:
            return f"{row.area_px:,.0f}"
        return format_significant(row.area_px * self._pixel_size.pixel_area_mm2)

    def _describe(self, row: RegionRow) -> str:
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


class RegionTable(RowTable[RegionRow, str]):
    """Table of regions. F2 renames, Delete removes, Ctrl+C and Ctrl+V emit "copy" and "paste"."""

    table_model: RegionTableModel

    def __init__(self) -> None:
        super().__init__(RegionTableModel(), least_rows=1)
        named(self, "region_list", "Regions of the slide").setToolTip("")
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.EditKeyPressed | triggers.DoubleClicked)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        for column, width in WIDTHS.items():
            header.resizeSection(column, width)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the action of a key."""
        keys = QKeySequence.StandardKey
        action = "copy" if event.matches(keys.Copy) else "paste" if event.matches(keys.Paste) else ""
        if action:
            self.key_pressed.emit(action)
        else:
            super().keyPressEvent(event)


class RegionListView(QWidget):
    """The table with the field that filters it; hidden until there are regions.

    ``filtered``: the filter has changed, which may have deselected regions.
    """

    filtered = Signal(object)  # tuple of the ids of the regions that are still selected

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        tip = "Show only regions whose name, class, reader or date contains this text"
        self.filter_field = named(QLineEdit(), "region_filter", "Filter the regions", tip)
        self.filter_field.setPlaceholderText("Filter by name, class, reader or date")
        add_clear_button(self.filter_field)
        self.table = RegionTable()
        fill_column(self, self.filter_field, self.table)
        self._icons = icons
        self.filter_field.textChanged.connect(self._on_filter)
        icons.changed.connect(self._update_icon)
        self._update_icon()
        self.hide()

    def show_regions(self, regions: Regions, pixel_size: PixelSize | None, selected: Collection[str]) -> None:
        model = self.table.table_model
        self.table.show_rows(model.measure(regions, pixel_size), selected)
        self.table.setColumnHidden(READER, not model.has_readers)
        self.setVisible(bool(regions) or not self.isHidden())

    def _on_filter(self, text: str) -> None:
        """Filter the rows, and deselect hidden regions, so that users do not change regions that they cannot see."""
        selected = self.table.selected
        self.table.table_model.set_filter(text)
        self.table.select(selected)
        self.filtered.emit(self.table.selected)

    def _update_icon(self) -> None:
        self.table.table_model.lock_icon = theme_icon("lock", self._icons.palette.text)
        self.table.viewport().update()
