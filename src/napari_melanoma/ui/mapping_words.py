"""The words of a table that nobody understood, each with its count and a choice of ours."""

from __future__ import annotations

from collections.abc import Mapping as Mapped

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_melanoma.data.table_schema import column_named
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.ui.body import words as body_words
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import named, quiet

MOST = 150  # rows that are shown; the most frequent words come first
PLACES = ("site", "sub_site")

Words = dict[str, dict[str, str]]


class WordsTable(QWidget):
    """A row a word that was not understood; what was chosen stays when other words come."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "mapping_words", "Words that were not understood").setToolTip("")
        self._models: dict[str, QStandardItemModel] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._chosen: dict[tuple[str, str], str] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(2, 2, 2, 2)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)

    @property
    def words(self) -> Words:
        """What a mapping says of words: for each of our columns their word to ours."""
        found: Words = {}
        for (column, word), ours in self._chosen.items():
            if ours:
                found.setdefault(column, {})[word] = ours
        return found

    @property
    def any(self) -> bool:
        """Whether there is a word to choose for."""
        return bool(self._counts)

    @property
    def left(self) -> int:
        """How many cells hold a word for which nothing is chosen."""
        return sum(count for key, count in self._counts.items() if not self._chosen.get(key))

    def set_words(self, words: Mapped[str, Mapped[str, str]]) -> None:
        """Take over what a mapping says."""
        self._chosen = {(column, word): ours for column, found in words.items() for word, ours in found.items()}

    def show_unmapped(self, unmapped: Mapped[str, Mapped[str, int]]) -> None:
        """Show other words."""
        found = {
            (column, word): count
            for column, words in unmapped.items()
            if column_named(column) is not None
            for word, count in words.items()
        }
        self._counts = dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
        self._clear()
        for number, (column, word) in enumerate(list(self._counts)[:MOST]):
            self._add(number, column, word)
        if len(self._counts) > MOST:
            more = quiet(f"and {len(self._counts) - MOST:,} words more, none of them in more rows")
            self._grid.addWidget(more, MOST, 0, 1, 4)
        self._grid.setRowStretch(MOST + 1, 1)

    def _clear(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def _add(self, number: int, column: str, word: str) -> None:
        known, count = column_named(column), self._counts[column, word]
        title = known.title if known else column
        said = QLabel(word)
        said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box = named(StillCombo(), f"word_{column}_{word}", f"What {word} means", f"{title}: what '{word}' means")
        box.setModel(self._model(column))
        box.setMinimumContentsLength(22)
        box.setCurrentIndex(max(0, box.findData(self._chosen.get((column, word), ""))))
        box.activated.connect(lambda _, key=(column, word), box=box: self._on_chosen(key, box.currentData()))
        rows = quiet(f"{count:,} row{'' if count == 1 else 's'}")
        for place, widget in enumerate((quiet(title), said, rows, box)):
            self._grid.addWidget(widget, number, place)

    def _model(self, column: str) -> QStandardItemModel:
        """Our words for a column; one model for all the boxes."""
        if column not in self._models:
            model = self._models[column] = QStandardItemModel(self)
            for said, word in (("keep it as it is", ""), ("Unknown", UNKNOWN), *_words(column)):
                item = QStandardItem(said)
                item.setData(word, Qt.ItemDataRole.UserRole)
                model.appendRow(item)
        return self._models[column]

    def _on_chosen(self, key: tuple[str, str], ours: str) -> None:
        self._chosen[key] = ours
        self.changed.emit()


def _words(column: str) -> list[tuple[str, str]]:
    """What may stand in a column: titles and words."""
    if column in PLACES:
        return [(body_words.title(word), word) for word in body_words.words()]
    known = column_named(column)
    if known is None or known.kind not in ("word", "yes_no"):
        return []
    words = taxonomy(known.taxonomy or "yes_no")
    return [(words.title(word), word) for word in words.words if word != UNKNOWN]
