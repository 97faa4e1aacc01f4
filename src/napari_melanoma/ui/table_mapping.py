"""The dialog that maps the columns and values of a clinical table to the table schema."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPainter, QPaintEvent, QStandardItem, QStandardItemModel
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.data.body_sites import list_sites, site_title
from napari_melanoma.data.harmonize import HarmonizeReport, list_counts
from napari_melanoma.data.table_mapping import TableMapping, find_column_meanings, write_mapping
from napari_melanoma.data.table_schema import COLUMNS, find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import PRIMARY, WrappedLabel, elide, named, quiet_label

if TYPE_CHECKING:
    from napari_melanoma.data.check import TablePreview

AUTOMATIC, KEEP_COLUMN, DROP_COLUMN = "=", "*", ""  # values of the choices "automatic", "keep unchanged", "leave out"
KEPT_PREFIX = "own_"  # of columns that are kept although their name has another meaning in the schema
GUESSED = "guess"
WIDTH_PX, HEIGHT_PX = 680, 620
READING = "Reading the table ..."
ALL_MAPPED = "All values are mapped."
MAX_VALUES = 3  # listed of those outside the allowed range, for each column
MAX_ROWS = 150  # rows that are shown; the most frequent values come first
SITE_COLUMNS = ("site", "sub_site")
WordMapping = dict[str, dict[str, str]]  # by column of the schema: value in the table to word of the schema


class ColumnsTable(QWidget):
    """A grid with one row for each column of the table and its target column in the schema.

    ``samples``: by column, some of its values. ``guess``: the suggested mapping.
    """

    changed = Signal()

    def __init__(self, samples: Mapping[str, tuple[str, ...]], guess: TableMapping) -> None:
        super().__init__()
        named(self, "mapping_columns", "Columns of the table").setToolTip("")
        self._choices: dict[str, NoWheelComboBox] = {}
        self._guess_labels: dict[str, QLabel] = {}
        self._model = _make_column_model(self)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(2, 2, 2, 2)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        for index, title in enumerate(("column in the table", "values", "maps to", "")):
            self._grid.addWidget(quiet_label(title), 0, index)
        for number, (name, values) in enumerate(samples.items(), start=1):
            self._add(number, name, values, guess)
        self._grid.setRowStretch(len(samples) + 1, 1)

    @property
    def columns(self) -> dict[str, str]:
        """The mapping from columns of the table to columns of the schema.

        Columns understood by their names and those kept unchanged are not listed, but a kept column whose name has a
        meaning in the schema is renamed with ``KEPT_PREFIX``.
        """
        targets = {name: box.currentData() for name, box in self._choices.items()}
        renamed = {
            name: KEPT_PREFIX + name
            for name, target in targets.items()
            if target == KEEP_COLUMN and find_column_meanings(name)
        }
        return {name: target for name, target in targets.items() if target not in (AUTOMATIC, KEEP_COLUMN)} | renamed

    def set_columns(self, columns: Mapping[str, str]) -> None:
        """Show a mapping of columns, also to names outside the schema; ``changed`` is not emitted."""
        for name, box in self._choices.items():
            target = columns.get(name, _find_default(name))
            if target == KEPT_PREFIX + name:
                target = KEEP_COLUMN
            if box.findData(target) < 0:
                _add_choice(self._model, f"rename to {target}", target, "Keep the column under this name")
            box.setCurrentIndex(box.findData(target))
            self._guess_labels[name].clear()

    def _add(self, number: int, name: str, values: tuple[str, ...], guess: TableMapping) -> None:
        name_label = QLabel(name)
        name_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        values_label = _ElidedLabel(", ".join(values) if values else "(no values)")
        values_label.setToolTip("\n".join(values))
        box = named(NoWheelComboBox(), f"column_{name}", f"Meaning of column {name}")
        box.setModel(self._model)
        box.setMinimumContentsLength(22)
        target = guess.columns.get(name, _find_default(name))
        box.setCurrentIndex(box.findData(target))
        guess_label = quiet_label("" if target == KEEP_COLUMN else GUESSED)
        meanings = ", ".join(meaning.column_name for meaning in find_column_meanings(name))
        guess_label.setToolTip(f"Guessed from the column's name{meanings and f': {meanings}'}")
        box.activated.connect(lambda _, name=name: self._on_chosen(name))
        for index, widget in enumerate((name_label, values_label, box, guess_label)):
            self._grid.addWidget(widget, number, index)
        self._choices[name], self._guess_labels[name] = box, guess_label

    def _on_chosen(self, name: str) -> None:
        self._guess_labels[name].clear()
        self.changed.emit()


def _find_default(name: str) -> str:
    """Return the choice for a column that a mapping does not list: it is understood by its name, or else kept."""
    return AUTOMATIC if find_column_meanings(name) else KEEP_COLUMN


class _ElidedLabel(QLabel):
    """A label whose text is elided if it does not fit."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setProperty("quiet", True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        fitting = elide(self.fontMetrics(), self.text(), self.contentsRect().width())
        alignment = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), alignment, fitting)


def _make_column_model(parent: QWidget) -> QStandardItemModel:
    """Make the model with the columns of the schema as choices; all boxes share it."""
    model = QStandardItemModel(parent)
    for title, value, tip in (
        ("keep unchanged", KEEP_COLUMN, "Keep the column under its own name"),
        ("automatic", AUTOMATIC, "Use what is known of the column by its name, or keep it"),
        ("leave out", DROP_COLUMN, "Do not import the column"),
        *((f"{column.title} ({column.name})", column.name, column.description) for column in COLUMNS),
    ):
        _add_choice(model, title, value, tip)
    return model


def _add_choice(model: QStandardItemModel, title: str, value: str, tip: str = "") -> None:
    item = QStandardItem(title)
    item.setData(value, Qt.ItemDataRole.UserRole)
    item.setToolTip(tip)
    model.appendRow(item)


class MappingDialog(QDialog):
    """Maps the columns and values of a clinical table to the schema.

    ``table_read``: emitted when the whole table was read with the selected columns.
    """

    mapping_chosen = Signal(object)  # TableMapping
    table_read = Signal()

    def __init__(self, path: Path, parent: QWidget, mapping: TableMapping | None = None) -> None:
        super().__init__(parent)
        named(self, "mapping_dialog", f"Map the columns of {path.name}").setToolTip("")
        self.setWindowTitle(f"Map the columns of {path.name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.path = path
        self._initial_mapping = mapping
        self.columns: ColumnsTable | None = None
        self.words = WordsTable()
        self._report: HarmonizeReport | None = None
        self._job: BackgroundJob | None = None
        self._status_label = WrappedLabel(READING)
        named(self._status_label, "mapping_said", "Result of reading the table").setToolTip("")
        self._words_title = QLabel("<b>Unknown values</b>: select what they mean, or keep them unchanged.")
        self._words_title.setWordWrap(True)
        self._buttons = QDialogButtonBox()
        self._use_button = QPushButton("Use this mapping")
        self._save_button = QPushButton("Save mapping...")
        self._build()
        self.finished.connect(self._stop)
        self._start(partial(_preview, path))

    @property
    def mapping(self) -> TableMapping:
        return TableMapping(columns=self.columns.columns if self.columns else {}, words=self.words.words)

    def save(self, path: Path) -> None:
        """Write the mapping to a TOML file for ``data harmonize --map`` and ``data import --map``."""
        try:
            write_mapping(path, self.mapping)
        except MelanomaError as error:
            self._status_label.setText(describe_failure(error))
        else:
            self._status_label.setText(f"Saved as {path.name}. {self._summarize()}")

    def _build(self) -> None:
        named(self._use_button, "mapping_use", "Use this mapping")
        named(self._save_button, "mapping_save", "Save the mapping", "Save as a TOML file to reuse it for other tables")
        cancel = named(QPushButton("Cancel"), "mapping_cancel", "Cancel", "Close without importing the table")
        for button, role in (
            (self._use_button, QDialogButtonBox.ButtonRole.AcceptRole),
            (self._save_button, QDialogButtonBox.ButtonRole.ActionRole),
            (cancel, QDialogButtonBox.ButtonRole.RejectRole),
        ):
            self._buttons.addButton(button, role)
        self._use_button.setDefault(True)
        self._use_button.setStyleSheet(f"QPushButton:enabled {{ background-color: {PRIMARY}; color: white; }}")
        self._buttons.accepted.connect(self._on_use)
        self._buttons.rejected.connect(self.reject)
        self._save_button.clicked.connect(self._on_save)
        self.words.changed.connect(self._update_text)
        self._columns_area, self._words_area = _make_scroll_area(QWidget()), _make_scroll_area(self.words)
        column = QVBoxLayout(self)
        column.addWidget(quiet_label("Columns marked 'guess' were mapped automatically. Correct them if needed."))
        column.addWidget(self._columns_area, 3)
        column.addWidget(self._words_title)
        column.addWidget(self._words_area, 2)
        column.addWidget(self._status_label)
        column.addWidget(self._buttons)
        self._set_buttons_enabled(False)
        self._set_values_visible(False)
        self.resize(WIDTH_PX, HEIGHT_PX)

    def _set_buttons_enabled(self, is_enabled: bool) -> None:
        for button in (self._use_button, self._save_button):
            button.setEnabled(is_enabled)

    def _set_values_visible(self, is_visible: bool) -> None:
        self._words_title.setVisible(is_visible)
        self._words_area.setVisible(is_visible)

    def _on_read(self, table: TablePreview | HarmonizeReport) -> None:
        self._job = None
        if isinstance(table, HarmonizeReport):
            self._on_report(table)
        else:
            self._on_preview(table)

    def _on_report(self, report: HarmonizeReport) -> None:
        self._report = report
        self.words.show_unmapped(report.unmapped)
        self._set_values_visible(self.words.has_values)
        self._update_text()
        self.table_read.emit()

    def _on_preview(self, preview: TablePreview) -> None:
        self.columns = ColumnsTable(preview.samples, preview.guess)
        if self._initial_mapping is not None:
            self.columns.set_columns(self._initial_mapping.columns)
            self.words.set_values(self._initial_mapping.words)
        self.columns.changed.connect(self._survey)
        self._columns_area.setWidget(self.columns)
        self._set_buttons_enabled(True)
        self._survey()

    def _survey(self) -> None:
        """Read the whole table with the selected columns, but without mapped values, so that these stay listed."""
        self._start(partial(_survey, self.path, self.mapping.model_copy(update={"words": {}})))

    def _start(self, work: JobFunction) -> None:
        """Read the table in a thread; cancel reading for previous choices."""
        self._stop()
        self._status_label.setText(READING)
        job = self._job = BackgroundJob(work)
        job.progressed.connect(self._on_progress)
        job.succeeded.connect(self._on_read)
        job.failed.connect(self._on_failed)
        job.start(self)

    def _stop(self, result: int = 0) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _on_progress(self, progress: Progress) -> None:
        self._status_label.setText(f"{READING} {progress.done:,} rows")

    def _update_text(self) -> None:
        self._status_label.setText(self._summarize())

    def _summarize(self) -> str:
        report = self._report
        if report is None:
            return READING
        cells = self.words.unmapped_count
        unmapped = f"Unknown values in {format_count(cells, 'cell')} are kept unchanged."
        lines = [f"{format_count(report.rows, 'row')} read.", unmapped if cells else ALL_MAPPED]
        lines += [
            f"Values outside the allowed range in {column}: {list_counts(values, MAX_VALUES)}."
            for column, values in report.impossible.items()
        ]
        return " ".join(lines)

    def _on_failed(self, error: Exception) -> None:
        self._job = None
        self._status_label.setText(describe_failure(error))

    def _on_use(self) -> None:
        self.mapping_chosen.emit(self.mapping)
        self.accept()

    def _on_save(self, checked: bool = False) -> None:
        suggested = self.path.with_suffix(".toml")
        choose_new_file(self, "mapping_save_dialog", "Save the mapping", "TOML", self.save, suggested)


def _make_scroll_area(content: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    return area


def _preview(path: Path, run: RunContext) -> TablePreview:
    from napari_melanoma.data.check import preview_table

    return preview_table(path)


def _survey(path: Path, mapping: TableMapping, run: RunContext) -> HarmonizeReport:
    from napari_melanoma.data.check import survey_table

    return survey_table(path, mapping, run=run)


class WordsTable(QWidget):
    """A grid with one row for each unknown value; choices are kept when other values are shown."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "mapping_values", "Unknown values").setToolTip("")
        self._models: dict[str, QStandardItemModel] = {}
        # Both by column of the schema and value in the table.
        self._counts: dict[tuple[str, str], int] = {}  # number of cells
        self._chosen: dict[tuple[str, str], str] = {}  # word of the schema
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(2, 2, 2, 2)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)

    @property
    def words(self) -> WordMapping:
        mapping: WordMapping = {}
        for (column, value), word in self._chosen.items():
            if word:
                mapping.setdefault(column, {})[value] = word
        return mapping

    @property
    def has_values(self) -> bool:
        return bool(self._counts)

    @property
    def unmapped_count(self) -> int:
        """Number of cells whose value is not mapped."""
        return sum(count for key, count in self._counts.items() if not self._chosen.get(key))

    def set_values(self, words: Mapping[str, Mapping[str, str]]) -> None:
        self._chosen = {(column, value): word for column, mapped in words.items() for value, word in mapped.items()}

    def show_unmapped(self, unmapped: Mapping[str, Mapping[str, int]]) -> None:
        """Show unknown values, the most frequent first.

        ``unmapped``: by column of the schema, the number of cells of each value.
        """
        counts = {
            (column, value): count
            for column, values in unmapped.items()
            if find_column(column) is not None
            for value, count in values.items()
        }
        self._counts = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        self._clear()
        for number, (column, value) in enumerate(list(self._counts)[:MAX_ROWS]):
            self._add(number, column, value)
        if len(self._counts) > MAX_ROWS:
            rest_label = quiet_label(
                f"Not shown: {len(self._counts) - MAX_ROWS:,} more values, none of them more frequent"
            )
            self._grid.addWidget(rest_label, MAX_ROWS, 0, 1, 4)
        self._grid.setRowStretch(MAX_ROWS + 1, 1)

    def _clear(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()

    def _add(self, number: int, column: str, value: str) -> None:
        schema_column, count = find_column(column), self._counts[column, value]
        title = schema_column.title if schema_column else column
        value_label = QLabel(value)
        value_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box = named(
            NoWheelComboBox(), f"word_{column}_{value}", f"Meaning of {value}", f"{title}: meaning of '{value}'"
        )
        box.setModel(self._model(column))
        box.setMinimumContentsLength(22)
        box.setCurrentIndex(max(0, box.findData(self._chosen.get((column, value), ""))))
        box.activated.connect(lambda _, key=(column, value), box=box: self._on_chosen(key, box.currentData()))
        count_label = quiet_label(format_count(count, "row"))
        for index, widget in enumerate((quiet_label(title), value_label, count_label, box)):
            self._grid.addWidget(widget, number, index)

    def _model(self, column: str) -> QStandardItemModel:
        """Return the model with the allowed words of a column; all boxes of the column share it."""
        if column not in self._models:
            model = self._models[column] = QStandardItemModel(self)
            for title, word in (("keep unchanged", ""), ("Unknown", UNKNOWN), *_list_values(column)):
                _add_choice(model, title, word)
        return self._models[column]

    def _on_chosen(self, key: tuple[str, str], word: str) -> None:
        self._chosen[key] = word
        self.changed.emit()


def _list_values(column: str) -> list[tuple[str, str]]:
    """List the allowed words of a column of the schema as (title, word)."""
    if column in SITE_COLUMNS:
        return [(site_title(word), word) for word in list_sites()]
    schema_column = find_column(column)
    if schema_column is not None and schema_column.expected:
        return [(word, word) for word in schema_column.expected]
    if schema_column is None or schema_column.kind not in ("word", "yes_no"):
        return []
    taxonomy = load_taxonomy(schema_column.taxonomy or "yes_no")
    return [(taxonomy.title(word), word) for word in taxonomy.words if word != UNKNOWN]
