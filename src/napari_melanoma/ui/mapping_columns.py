"""The columns of a table, one below the other: their name, what stands in them, and which of our columns each is."""

from __future__ import annotations

from collections.abc import Mapping as Mapped

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPainter, QPaintEvent, QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_melanoma.data.column_names import meanings
from napari_melanoma.data.mapping import Mapping
from napari_melanoma.data.table_schema import COLUMNS
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import named, quiet

OWN, LEFT_OUT = "*", ""  # what a choice holds that is none of our columns
OWN_PREFIX = "own_"  # of a column that is to stay although its name says that it is one of ours
GUESSED = "guess"


class ColumnsTable(QWidget):
    """A row a column."""

    changed = Signal()

    def __init__(self, samples: Mapped[str, tuple[str, ...]], guess: Mapping) -> None:
        super().__init__()
        named(self, "mapping_columns", "Columns of the table").setToolTip("")
        self._choices: dict[str, StillCombo] = {}
        self._guessed: dict[str, QLabel] = {}
        self._model = _choices(self)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(2, 2, 2, 2)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        for place, title in enumerate(("their column", "what stands there", "is our", "")):
            self._grid.addWidget(quiet(title), 0, place)
        for number, (name, values) in enumerate(samples.items(), start=1):
            self._add(number, name, values, guess)
        self._grid.setRowStretch(len(samples) + 1, 1)

    @property
    def columns(self) -> dict[str, str]:
        """What a mapping says of the columns: those that just stay are not named."""
        found = {name: box.currentData() for name, box in self._choices.items()}
        own = {name: OWN_PREFIX + name for name, ours in found.items() if ours == OWN and meanings(name)}
        return {name: ours for name, ours in found.items() if ours != OWN} | own

    def set_columns(self, columns: Mapped[str, str]) -> None:
        """Show what a mapping says; ``changed`` is not emitted."""
        for name, box in self._choices.items():
            ours = columns.get(name, OWN)
            box.setCurrentIndex(max(0, box.findData(OWN if ours == OWN_PREFIX + name else ours)))
            self._guessed[name].clear()

    def _add(self, number: int, name: str, values: tuple[str, ...], guess: Mapping) -> None:
        said = QLabel(name)
        said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        shown = _Elided(", ".join(values) if values else "(nothing)")
        shown.setToolTip("\n".join(values))
        box = named(StillCombo(), f"column_{name}", f"What {name} is")
        box.setModel(self._model)
        box.setMinimumContentsLength(22)
        box.setCurrentIndex(max(0, box.findData(guess.columns.get(name, OWN))))
        mark = quiet(GUESSED if name in guess.columns else "")
        mark.setToolTip("Guessed from the name of the column, or from what stands in it")
        box.activated.connect(lambda _, name=name: self._on_chosen(name))
        for place, widget in enumerate((said, shown, box, mark)):
            self._grid.addWidget(widget, number, place)
        self._choices[name], self._guessed[name] = box, mark

    def _on_chosen(self, name: str) -> None:
        self._guessed[name].clear()
        self.changed.emit()


class _Elided(QLabel):
    """A line that takes the room it gets and shows by dots that there is more."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setProperty("quiet", True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw as much as fits."""
        fitting = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.contentsRect().width())
        where = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), where, fitting)


def _choices(parent: QWidget) -> QStandardItemModel:
    """Our columns to choose from; one model for all the boxes."""
    model = QStandardItemModel(parent)
    for said, value, tip in (
        ("keep it as it is", OWN, "The column stays in the table under its own name"),
        ("leave it out", LEFT_OUT, "The column is not taken"),
        *((f"{column.title} ({column.name})", column.name, column.description) for column in COLUMNS),
    ):
        item = QStandardItem(said)
        item.setData(value, Qt.ItemDataRole.UserRole)
        item.setToolTip(tip)
        model.appendRow(item)
    return model
