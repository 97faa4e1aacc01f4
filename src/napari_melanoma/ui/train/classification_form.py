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
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, form_layout, named, quiet_label, section

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TabularConfig

TOP_LEVEL_FIELDS = (  # set above the section, directly or indirectly
    "classification.target",
    "classification.tabular",
    "classification.classes",
    "classification.positive",
)
MIN_VISIBLE_ROWS, MAX_VISIBLE_ROWS = 3, 8
COLUMN_NAME_ROLE = Qt.ItemDataRole.UserRole  # the name of the column, without its explanation
MAX_CLASSES = 12
TRUE_VALUES = ("1", "1.0", "true", "yes")
BOOLEAN_VALUES = (*TRUE_VALUES, "0", "0.0", "false", "no")


class ClassificationForm(QWidget):
    """Form for classification recipes: target, classes, patient data columns and options."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "class_form", "Target and patient data of the classifier").setToolTip("")
        self._config: ClassificationConfig | None = None
        self._folders: tuple[str, ...] = ()
        self._selected_columns: tuple[str, ...] = ()  # may include columns that the current tables lack
        self._tables_read = False  # whether any table was read
        self._positive = ""
        self._table_columns = TableColumns()
        self._table_reader = LatestJobQueue(self)
        self._table_reader.succeeded.connect(self._on_read)
        self._table_reader.failed.connect(self.failed)
        self.target = named(
            NoWheelComboBox(), "class_target", "Target", "The column of the table that the model predicts"
        )
        self.counts = named(quiet_label(), "class_counts", "Images of each class")
        self.columns = named(
            QListWidget(), "class_columns", "Columns", "Patient data used by the model; tick the columns"
        )
        self.columns.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._fit_columns()
        self._advanced_form = ConfigForm(
            ClassificationConfig, settings, icons, lambda key: key not in TOP_LEVEL_FIELDS, "classification."
        )
        options_section = section("Classification", "form_classification_section", self._advanced_form, settings, False)
        icons.add_sections(options_section)
        self._lay_out(options_section)
        self.target.activated.connect(self._on_target)
        self.columns.itemChanged.connect(self._on_ticked)
        self._advanced_form.changed.connect(self.changed)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether tables are being read."""
        return self._table_reader.busy

    @property
    def faults(self) -> list[str]:
        """Errors of the entered values, one sentence each."""
        return self._advanced_form.faults if self._config is not None else []

    @property
    def changes(self) -> int:
        """Number of fields in the section that differ from the recipe."""
        return self._advanced_form.change_count if self._config is not None else 0

    @property
    def available_classes(self) -> tuple[str, ...]:
        """Classes in the target column; empty until the tables were read, or without a classification recipe."""
        return tuple(self._table_columns.targets.get(str(self.target.currentData() or ""), ())) if self._config else ()

    def values(self) -> dict[str, Any]:
        """Return the displayed values of ``classification``; empty for other recipes."""
        given = self._config
        if given is None:
            return {}
        target = str(self.target.currentData() or given.target)
        shown = {**self._advanced_form.values(), "target": target, "positive": self._positive or given.positive}
        if target != given.target:
            shown["classes"] = ()
        ticked = [
            name for name in self._selected_columns if name in self._table_columns.inputs or not self._tables_read
        ]
        if set(ticked) != set(_configured_columns(given)):
            columns = self._table_columns.select(ticked)
            shown["tabular"] = columns.model_dump() if columns else None
        return shown

    def set_config(self, config: ClassificationConfig | None) -> None:
        """Show the values of a recipe without emitting ``changed``."""
        self._config = config
        self.setVisible(config is not None)
        if config is None:
            return
        self._advanced_form.set_defaults(config)
        self._selected_columns, self._positive = _configured_columns(config), config.positive
        self._show_target(config.target)
        self._read_tables()

    def update_config(self, config: ClassificationConfig | None) -> None:
        """Use another variant of the recipe as defaults; ticked columns are kept."""
        if config is None or self._config is None or config != self._config:
            self.set_config(config)
            return
        self._advanced_form.update_defaults(config)

    def load_tables(self, folders: Sequence[str]) -> None:
        """Read the tables of data sets, if they are new."""
        if tuple(folders) != self._folders:
            self._folders = tuple(folders)
            self._read_tables()

    def _read_tables(self) -> None:
        if self._config is not None and self._folders:
            folders, target = self._folders, str(self.target.currentData() or self._config.target)
            self._table_reader.submit("tables", lambda: partial(read_table_columns, folders, target))

    def _on_read(self, offer: TableColumns) -> None:
        self._table_columns, self._tables_read = offer, True
        previous = str(self.target.currentData() or "")
        self.target.clear()
        for name in offer.targets:
            self.target.addItem(name, name)
        self._show_target(previous)
        self._show_counts()
        self._show_columns()
        self.changed.emit()

    def _on_target(self, index: int) -> None:
        self._positive = ""
        self._selected_columns = tuple(name for name in self._selected_columns if name != self.target.currentData())
        self._show_counts()
        self._read_tables()  # other columns would reveal the new target
        self.changed.emit()

    def _on_ticked(self, item: QListWidgetItem) -> None:
        items = [self.columns.item(index) for index in range(self.columns.count())]
        ticked = [item.data(COLUMN_NAME_ROLE) for item in items if item.checkState() == Qt.CheckState.Checked]
        other = [name for name in self._selected_columns if name not in self._table_columns.inputs]
        self._selected_columns = (*ticked, *other)
        self.changed.emit()

    def _show_target(self, target: str) -> None:
        if self.target.findData(target) < 0 and target:
            self.target.insertItem(0, target, target)
        self.target.setCurrentIndex(self.target.findData(target))

    def _show_counts(self) -> None:
        target = str(self.target.currentData() or "")
        classes = self._table_columns.targets.get(target, {})
        self._positive = choose_positive_class(classes, target, self._positive) if classes else self._positive
        text = ", ".join(f"{name} {count:,}" for name, count in classes.items())
        self.counts.setText(text or f"No table has a column '{target}' with classes.")
        self.counts.setToolTip(f"Positive class (for sensitivity): {self._positive}")

    def _show_columns(self) -> None:
        """List the available columns, then the excluded ones with the reason."""
        self.columns.blockSignals(True)
        self.columns.clear()
        for name in self._table_columns.inputs:
            item = QListWidgetItem(name, self.columns)
            item.setData(COLUMN_NAME_ROLE, name)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsSelectable)
            item.setCheckState(Qt.CheckState.Checked if name in self._selected_columns else Qt.CheckState.Unchecked)
        for name, why in self._table_columns.excluded.items():
            item = QListWidgetItem(f"{name} {why}", self.columns)
            item.setData(COLUMN_NAME_ROLE, name)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setToolTip(f"{name} {why}")
        self.columns.blockSignals(False)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Set the height of the list to whole rows."""
        count = min(max(MIN_VISIBLE_ROWS, self.columns.count()), MAX_VISIBLE_ROWS)
        row = self.columns.sizeHintForRow(0) if self.columns.count() else self.columns.fontMetrics().lineSpacing()
        self.columns.setFixedHeight(count * row + 2 * self.columns.frameWidth())

    def _lay_out(self, options_section: QWidget) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        rows = QWidget()
        layout = form_layout(rows)
        layout.addRow("target", self.target)
        layout.addRow("", self.counts)
        layout.addRow("columns", self.columns)
        column.addWidget(rows)
        column.addWidget(options_section)


def _configured_columns(config: ClassificationConfig) -> tuple[str, ...]:
    found = config.tabular
    return () if found is None else tuple(column.name for column in (*found.numbers, *found.words))


@dataclass(frozen=True)
class TableColumns:
    """Columns of the tables.

    ``targets``: columns that can be predicted, with the rows of each class; ``inputs``: columns that a network may
    use; ``excluded``: why others may not be used; ``encoding``: encoding of the inputs.
    """

    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    encoding: TabularConfig | None = None

    def select(self, names: Sequence[str]) -> TabularConfig | None:
        """Return the encoding of some columns; None without columns."""
        if self.encoding is None or not names:
            return None
        kept = {
            part: tuple(c for c in getattr(self.encoding, part) if c.name in names) for part in ("numbers", "words")
        }
        return self.encoding.model_copy(update=kept)


def read_table_columns(folders: Sequence[str], target: str, run: RunContext) -> TableColumns:
    from napari_melanoma.data.dataset import DatasetEntry, iter_entries
    from napari_melanoma.data.features.encoding import choose_encodings, explain_ineligible, list_eligible_columns

    rows: list[dict[str, str]] = []
    for folder in folders:
        run.check()
        rows += [entry.row for entry in iter_entries(Path(folder).expanduser()) if isinstance(entry, DatasetEntry)]
    columns = dict.fromkeys(name for row in rows for name in row)
    targets = {name: found for name in columns if (found := count_classes(rows, name))}
    inputs = tuple(name for name in list_eligible_columns(rows, target) if name != target)
    reasons = {name: explain_ineligible(name, target) for name in columns if name not in inputs}
    excluded = {name: reason for name, reason in reasons.items() if reason and name in targets}
    return TableColumns(targets, inputs, excluded, choose_encodings(inputs, rows) if inputs else None)


def count_classes(rows: Sequence[Mapping[str, str]], column: str) -> dict[str, int]:
    """Count the rows of each class in a column, the most frequent first; empty if it is not a column of classes.

    For a column of 1 and 0, the classes are the column's name and ``other``.
    """
    found = Counter(word for row in rows if (word := (row.get(column) or "").strip()) and word.lower() != "unknown")
    if not 2 <= len(found) <= MAX_CLASSES or sum(found.values()) < 2 * len(found):
        return {}
    if {word.lower() for word in found} <= set(BOOLEAN_VALUES):
        yes = sum(count for word, count in found.items() if word.lower() in TRUE_VALUES)
        return dict(Counter({column: yes, "other": sum(found.values()) - yes}).most_common())
    if all(_is_number(word) for word in found):
        return {}
    return dict(found.most_common())


def choose_positive_class(classes: Mapping[str, int], target: str, previous: str) -> str:
    """Choose the positive class: the previous one, the column's name, melanoma, or the rarest class."""
    preferred = (previous, target, "melanoma")
    return next(
        (name for name in preferred if name in classes), min(classes, key=lambda name: classes[name], default="")
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
