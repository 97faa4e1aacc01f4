"""Classes, columns and inputs of a classifier to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_melanoma.training.recipe import ClassificationConfig
from napari_melanoma.ui.widgets.config_form import ConfigForm
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.look import ThemedIcons, form, named, quiet, section
from napari_melanoma.ui.widgets.settings import Settings

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction import TabularChoices

HERE = (  # set above the fold, or by what is set there
    "classification.target",
    "classification.tabular",
    "classification.classes",
    "classification.positive",
)
LEAST_IN_SIGHT, ROWS_IN_SIGHT = 3, 8
NAME = Qt.ItemDataRole.UserRole  # of a column, where its row says more


class ClassForm(QWidget):
    """Shown for recipes of classification."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "class_form", "What is told, and from what").setToolTip("")
        self._given: ClassificationConfig | None = None
        self._folders: tuple[str, ...] = ()
        self._ticked: tuple[str, ...] = ()  # wished for, whether or not the tables that are shown now have them
        self._known = False  # whether any table was read
        self._positive = ""
        self._offer = Offer()
        self._reading = Latest(self)
        self._reading.succeeded.connect(self._on_read)
        self._reading.failed.connect(self.failed)
        self.target = named(StillCombo(), "class_target", "Answer", "The column of the table that the model tells")
        self.counts = named(quiet(), "class_counts", "Images of each class")
        self.columns = named(QListWidget(), "class_columns", "Columns", "What of the patient the model gets; tick")
        self.columns.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._fit_columns()
        self._rest = ConfigForm(ClassificationConfig, settings, icons, lambda key: key not in HERE, "classification.")
        fold = section("Classification", "form_classification_section", self._rest, settings, False)
        icons.fold(fold)
        self._lay_out(fold)
        self.target.activated.connect(self._on_target)
        self.columns.itemChanged.connect(self._on_ticked)
        self._rest.changed.connect(self.changed)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether tables are being read."""
        return self._reading.busy

    @property
    def faults(self) -> list[str]:
        """What is wrong with what was typed, a sentence each."""
        return self._rest.faults if self._given is not None else []

    @property
    def changes(self) -> int:
        """How many fields of the fold show another value than was given."""
        return self._rest.changes if self._given is not None else 0

    @property
    def classes_there(self) -> tuple[str, ...]:
        """The classes that the tables hold in the answer's column; none until they were read, or of another recipe."""
        return tuple(self._offer.targets.get(str(self.target.currentData() or ""), ())) if self._given else ()

    def values(self) -> dict[str, Any]:
        """Give the values as they are shown.

        Those of ``classification``; empty for a recipe that is none.
        """
        given = self._given
        if given is None:
            return {}
        target = str(self.target.currentData() or given.target)
        shown = {**self._rest.values(), "target": target, "positive": self._positive or given.positive}
        if target != given.target:
            shown["classes"] = ()
        ticked = [name for name in self._ticked if name in self._offer.inputs or not self._known]
        if set(ticked) != set(_named(given)):
            columns = self._offer.chosen(ticked)
            shown["tabular"] = columns.model_dump() if columns else None
        return shown

    def give(self, config: ClassificationConfig | None) -> None:
        """Show what a recipe says in place of what is shown; nobody is told."""
        self._given = config
        self.setVisible(config is not None)
        if config is None:
            return
        self._rest.give(config)
        self._ticked, self._positive = _named(config), config.positive
        self._show_target(config.target)
        self._read()

    def renew(self, config: ClassificationConfig | None) -> None:
        """Take another variant of a recipe for the one to come back to; columns that were ticked stay so."""
        if config is None or self._given is None or config != self._given:
            self.give(config)
            return
        self._rest.renew(config)

    def look_at(self, folders: Sequence[str]) -> None:
        """Read the tables of data sets, unless they are those that were read."""
        if tuple(folders) != self._folders:
            self._folders = tuple(folders)
            self._read()

    def _read(self) -> None:
        if self._given is not None and self._folders:
            folders, target = self._folders, str(self.target.currentData() or self._given.target)
            self._reading.submit("tables", lambda: partial(read_offer, folders, target))

    def _on_read(self, offer: Offer) -> None:
        self._offer, self._known = offer, True
        before = str(self.target.currentData() or "")
        self.target.clear()
        for name in offer.targets:
            self.target.addItem(name, name)
        self._show_target(before)
        self._show_counts()
        self._show_columns()
        self.changed.emit()

    def _on_target(self, index: int) -> None:
        self._positive = ""
        self._ticked = tuple(name for name in self._ticked if name != self.target.currentData())
        self._show_counts()
        self._read()  # other columns give another answer away
        self.changed.emit()

    def _on_ticked(self, item: QListWidgetItem) -> None:
        items = [self.columns.item(place) for place in range(self.columns.count())]
        ticked = [item.data(NAME) for item in items if item.checkState() == Qt.CheckState.Checked]
        elsewhere = [name for name in self._ticked if name not in self._offer.inputs]
        self._ticked = (*ticked, *elsewhere)
        self.changed.emit()

    def _show_target(self, target: str) -> None:
        if self.target.findData(target) < 0 and target:
            self.target.insertItem(0, target, target)
        self.target.setCurrentIndex(self.target.findData(target))

    def _show_counts(self) -> None:
        target = str(self.target.currentData() or "")
        classes = self._offer.targets.get(target, {})
        self._positive = positive_of(classes, target, self._positive) if classes else self._positive
        said = ", ".join(f"{name} {count:,}" for name, count in classes.items())
        self.counts.setText(said or f"no table has a column '{target}' with classes")
        self.counts.setToolTip(f"Sensitivity is about: {self._positive}")

    def _show_columns(self) -> None:
        """List the columns: what may be ticked, then what must not be an input, with why."""
        self.columns.blockSignals(True)
        self.columns.clear()
        for name in self._offer.inputs:
            item = QListWidgetItem(name, self.columns)
            item.setData(NAME, name)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsSelectable)
            item.setCheckState(Qt.CheckState.Checked if name in self._ticked else Qt.CheckState.Unchecked)
        for name, why in self._offer.refused.items():
            item = QListWidgetItem(f"{name} {why}", self.columns)
            item.setData(NAME, name)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setToolTip(f"{name} {why}")
        self.columns.blockSignals(False)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Make the list as high as the rows that shall be seen, whole ones, however high the style draws a row."""
        count = min(max(LEAST_IN_SIGHT, self.columns.count()), ROWS_IN_SIGHT)
        row = self.columns.sizeHintForRow(0) if self.columns.count() else self.columns.fontMetrics().lineSpacing()
        self.columns.setFixedHeight(count * row + 2 * self.columns.frameWidth())

    def _lay_out(self, fold: QWidget) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        rows = QWidget()
        layout = form(rows)
        layout.addRow("answer", self.target)
        layout.addRow("", self.counts)
        layout.addRow("columns", self.columns)
        column.addWidget(rows)
        column.addWidget(fold)


def _named(config: ClassificationConfig) -> tuple[str, ...]:
    """The columns that a recipe names."""
    found = config.tabular
    return () if found is None else tuple(column.name for column in (*found.numbers, *found.words))


MOST_CLASSES = 12
YES = ("1", "1.0", "true", "yes")
EITHER = (*YES, "0", "0.0", "false", "no")


@dataclass(frozen=True)
class Offer:
    """Columns of the tables.

    ``targets`` is each column that can be told, with its classes and their rows; ``inputs`` are columns that a network
    may get, ``refused`` says of others why not, and ``choices`` how each input is encoded.
    """

    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    choices: TabularChoices | None = None

    def chosen(self, names: Sequence[str]) -> TabularChoices | None:
        """Give the encoding of some columns.

        None where no column is named.
        """
        if self.choices is None or not names:
            return None
        kept = {part: tuple(c for c in getattr(self.choices, part) if c.name in names) for part in ("numbers", "words")}
        return self.choices.model_copy(update=kept)


def read_offer(folders: Sequence[str], target: str, run: RunContext) -> Offer:
    """Read the tables of data sets."""
    from napari_melanoma.data.dataset import Entry, each_entry
    from napari_melanoma.data.features.encoding import choices_for, eligible, why_not

    rows: list[dict[str, str]] = []
    for folder in folders:
        run.check()
        rows += [entry.row for entry in each_entry(Path(folder).expanduser()) if isinstance(entry, Entry)]
    columns = dict.fromkeys(name for row in rows for name in row)
    targets = {name: found for name in columns if (found := classes_in(rows, name))}
    inputs = tuple(name for name in eligible(rows, target) if name != target)
    why = {name: why_not(name, target) for name in columns if name not in inputs}
    refused = {name: said for name, said in why.items() if said and name in targets}
    return Offer(targets, inputs, refused, choices_for(inputs, rows) if inputs else None)


def classes_in(rows: Sequence[Mapping[str, str]], column: str) -> dict[str, int]:
    """Count the classes of a column.

    Class to rows, the most frequent first; empty where it is no column of classes. Of 1 and 0 the classes are ``other``
    and the column's name.
    """
    found = Counter(word for row in rows if (word := (row.get(column) or "").strip()) and word.lower() != "unknown")
    if not 2 <= len(found) <= MOST_CLASSES or sum(found.values()) < 2 * len(found):
        return {}
    if {word.lower() for word in found} <= set(EITHER):
        yes = sum(count for word, count in found.items() if word.lower() in YES)
        return dict(Counter({column: yes, "other": sum(found.values()) - yes}).most_common())
    if all(_is_number(word) for word in found):
        return {}
    return dict(found.most_common())


def positive_of(classes: Mapping[str, int], target: str, before: str) -> str:
    """Choose the class that sensitivity is about.

    Otherwise the column's own name, melanoma, or the rarest class.
    """
    wanted = (before, target, "melanoma")
    return next((name for name in wanted if name in classes), min(classes, key=lambda name: classes[name], default=""))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
