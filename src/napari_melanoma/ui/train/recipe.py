"""Select a recipe and edit its values, including the target and the patient data of a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.config import overlay_values
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.paths import expand_user
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe
from napari_melanoma.ui.train.data_sets import DataTable
from napari_melanoma.ui.widgets.config_form import ConfigForm
from napari_melanoma.ui.widgets.dialogs import choose_file, choose_new_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    form_layout,
    named,
    quiet_label,
    row,
    section,
    tool_button,
)

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TabularConfig
    from napari_melanoma.runs.shipped_recipes import ShippedRecipe


FILE_KIND = "Recipes"  # in file dialogs
VISIBLE_FIELDS = ("name", "epochs")
# Fields with controls of their own, here or elsewhere in the dock
EXCLUDED_FIELDS = ("task", "data.datasets", "data.replay", "model.start", "model.start_weights", "classification")


class RecipeForm(QWidget):
    """Form for all values of a recipe except its data and its starting model."""

    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._icons = icons
        self._recipe: TrainRecipe | None = None
        self._visible_form = ConfigForm(TrainRecipe, settings, icons, VISIBLE_FIELDS.__contains__)
        self._visible_form.changed.connect(self._on_changed)
        self._advanced_form: ConfigForm | None = None
        self.classification_form = ClassificationForm(settings, icons)
        self.classification_form.changed.connect(self._on_changed)
        self._holder = QWidget()
        QVBoxLayout(self._holder).setContentsMargins(0, 0, 0, 0)
        self._advanced_section = section("More", "advanced_section", self._holder, settings, False)
        icons.add_sections(self._advanced_section)
        self._advanced_section.toggled.connect(self._on_section_toggled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self._visible_form)
        layout.addWidget(self.classification_form)
        layout.addWidget(self._advanced_section)
        if self._advanced_section.is_expanded:
            self._create_advanced_form()

    @property
    def faults(self) -> list[str]:
        """Errors of the entered values, one sentence each."""
        return [*(fault for part in self._forms for fault in part.faults), *self.classification_form.faults]

    def values(self) -> dict[str, Any]:
        """Return all values of the recipe, including the edited ones; without a recipe, only the displayed values."""
        values = {} if self._recipe is None else self._recipe.model_dump()
        for part in self._forms:
            values = overlay_values(values, part.values())
        classification = self.classification_form.values()
        return overlay_values(values, {"classification": classification}) if classification else values

    def set_recipe(self, recipe: TrainRecipe) -> None:
        """Show a recipe, and discard the changes of the user."""
        self._recipe = recipe
        for part in self._forms:
            part.set_defaults(recipe)
        self.classification_form.set_config(recipe.classification)
        self._update_change_count()

    def update_recipe(self, recipe: TrainRecipe) -> None:
        """Show the recipe for other data or another starting model, and keep the changes of the user."""
        self._recipe = recipe
        for part in self._forms:
            part.update_defaults(recipe)
        self.classification_form.update_config(recipe.classification)
        self._update_change_count()

    def set_values(self, recipe: TrainRecipe) -> None:
        """Show values as if the user had entered them."""
        self._create_advanced_form()
        for part in self._forms:
            part.set_values(recipe)
        self.classification_form.set_config(recipe.classification)
        self._update_change_count()

    @property
    def _forms(self) -> list[ConfigForm]:
        return [part for part in (self._visible_form, self._advanced_form) if part is not None]

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self._create_advanced_form()

    def _create_advanced_form(self) -> None:
        """Create the controls of the section More when they are first needed, because that takes a moment."""
        if self._advanced_form is None:
            hidden = (*VISIBLE_FIELDS, *EXCLUDED_FIELDS)
            self._advanced_form = ConfigForm(TrainRecipe, self._settings, self._icons, lambda key: key not in hidden)
            self._advanced_form.changed.connect(self._on_changed)
            self._holder.layout().addWidget(self._advanced_form)
            if self._recipe is not None:
                self._advanced_form.set_defaults(self._recipe)

    def _on_changed(self) -> None:
        self._update_change_count()
        self.changed.emit()

    def _update_change_count(self) -> None:
        changes = 0 if self._advanced_form is None else self._advanced_form.change_count
        self._advanced_section.title_button.setText(f"More  ({changes} changed)" if changes else "More")


class RecipePicker(QWidget):
    """A combo box of recipes, with a menu to load a recipe from a file and to save the current one."""

    changed = Signal()
    save_requested = Signal(object)  # Path of the new file
    failed = Signal(object)  # the exception

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        from napari_melanoma.runs.shipped_recipes import list_shipped_recipes

        self._shipped = {recipe.name: recipe for recipe in list_shipped_recipes()}
        self._loaded: dict[str, TrainRecipe] = {}
        self.combo = named(NoWheelComboBox(), "recipe", "Recipe", "Training settings")
        self.combo.setProperty("holds_names", True)
        for recipe in self._shipped.values():
            self.combo.addItem(recipe.title, recipe.name)
            self.combo.setItemData(self.combo.count() - 1, recipe.summary, Qt.ItemDataRole.ToolTipRole)
        self._menu_button = tool_button(
            "more_recipe", "Load or save a recipe", "Load a recipe from a file, or save the current one", "..."
        )
        self._menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu_button.setMenu(self._create_menu())
        self.summary = named(WrappedLabel(), "recipe_summary", "Purpose of the recipe")
        self.summary.setToolTip("")
        self.summary.setProperty("quiet", True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self._menu_button, stretch=0))
        self.combo.activated.connect(self._on_activated)
        self._update_summary()

    @property
    def shipped_recipe(self) -> ShippedRecipe | None:
        """The selected recipe if it is part of this package, else None."""
        return self._shipped.get(str(self.combo.currentData()))

    @property
    def loaded_recipe(self) -> TrainRecipe | None:
        """The selected recipe if it was loaded from a file, else None."""
        return self._loaded.get(str(self.combo.currentData()))

    def select(self, name: str) -> None:
        """Select a shipped recipe without emitting ``changed``."""
        index = self.combo.findData(name)
        if index >= 0:
            self.combo.setCurrentIndex(index)
            self._update_summary()

    def load(self, path: Path) -> None:
        from napari_melanoma.core.config import read_toml

        try:
            self._loaded[str(path)] = read_toml(path, TrainRecipe)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        if self.combo.findData(str(path)) < 0:
            text = f"{path.parent.name}/{path.name}" if path.name == "config.toml" else path.name
            self.combo.addItem(text, str(path))
        self.select(str(path))
        self.changed.emit()

    def _create_menu(self) -> QMenu:
        menu = QMenu(self)
        for name, text, tip, slot in (
            ("load_recipe", "Load a recipe...", "A TOML file, such as config.toml of a run", self._open_load_dialog),
            (
                "save_recipe",
                "Save this recipe...",
                "As a TOML file, which can also be run on the command line",
                self._open_save_dialog,
            ),
        ):
            action = menu.addAction(text)
            action.setObjectName(name)
            action.setToolTip(tip)
            action.triggered.connect(slot)
        menu.setToolTipsVisible(True)
        return menu

    def _open_load_dialog(self) -> None:
        choose_file(self, "load_recipe_dialog", "Load a recipe", [f"{FILE_KIND} (*.toml)"], self.load)

    def _open_save_dialog(self) -> None:
        suggested = expand_user("~") / "recipe.toml"
        choose_new_file(self, "save_recipe_dialog", "Save the recipe", FILE_KIND, self.save_requested.emit, suggested)

    def _on_activated(self, index: int) -> None:
        self._update_summary()
        self.changed.emit()

    def _update_summary(self) -> None:
        shipped, loaded = self.shipped_recipe, self.loaded_recipe
        # The combo box elides the text in a narrow dock.
        self.combo.setToolTip(f"Training settings: {self.combo.currentText()}")
        self.summary.setText(shipped.summary if shipped is not None else loaded.title if loaded is not None else "")


TOP_LEVEL_FIELDS = (  # set by the controls above the Classification section, or derived from them
    "classification.target",
    "classification.tabular",
    "classification.classes",
    "classification.positive",
)
MIN_VISIBLE_ROWS, MAX_VISIBLE_ROWS = 3, 8
COLUMN_NAME_ROLE = Qt.ItemDataRole.UserRole  # the name of the column, without the reason why it is excluded
MAX_CLASSES = 12  # a column with more values is not a target


class ClassificationForm(QWidget):
    """Form for classification recipes: the target, the columns of patient data, and other options."""

    changed = Signal()
    failed = Signal(object)  # the exception

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "class_form", "Target and patient data of the classifier").setToolTip("")
        self._config: ClassificationConfig | None = None  # of the recipe, without changes; None for segmentation
        self._tables: tuple[DataTable, ...] = ()
        self._selected_columns: tuple[str, ...] = ()  # may include columns that the current tables lack
        self._tables_read = False
        self._positive = ""  # positive class of the selected target; empty until chosen
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
    def faults(self) -> list[str]:
        """Errors of the entered values, one sentence each."""
        return self._advanced_form.faults if self._config is not None else []

    @property
    def changes(self) -> int:
        """Number of fields in the Classification section that differ from the recipe."""
        return self._advanced_form.change_count if self._config is not None else 0

    @property
    def available_classes(self) -> tuple[str, ...]:
        """Classes in the target column; empty until the tables were read, or without a classification recipe."""
        return tuple(self._table_columns.targets.get(str(self.target.currentData() or ""), ())) if self._config else ()

    def values(self) -> dict[str, Any]:
        """Return the displayed values of ``classification``; empty for other recipes."""
        config = self._config
        if config is None:
            return {}
        target = str(self.target.currentData() or config.target)
        values = {**self._advanced_form.values(), "target": target, "positive": self._positive or config.positive}
        if target != config.target:
            values["classes"] = ()
        ticked = [
            name for name in self._selected_columns if name in self._table_columns.inputs or not self._tables_read
        ]
        if set(ticked) != set(_configured_columns(config)):
            columns = self._table_columns.select(ticked)
            values["tabular"] = keep_encodings(columns, config.tabular).model_dump() if columns else None
        return values

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
        """Use the values of a recipe as new defaults; if they are unchanged, keep the changes of the user."""
        if config is None or self._config is None or config != self._config:
            self.set_config(config)
            return
        self._advanced_form.update_defaults(config)

    def load_tables(self, tables: Sequence[DataTable]) -> None:
        """Read the tables of data sets, unless they are those that were read last, and unchanged."""
        if tuple(tables) != self._tables:
            self._tables = tuple(tables)
            self._read_tables()

    def _read_tables(self) -> None:
        if self._config is not None and self._tables:
            folders, recipe_target = [table.folder for table in self._tables], self._config.target
            target = str(self.target.currentData() or recipe_target)
            self._table_reader.submit("tables", lambda: partial(read_table_columns, folders, target, recipe_target))

    def _on_read(self, table_columns: TableColumns) -> None:
        self._table_columns, self._tables_read = table_columns, True
        previous = str(self.target.currentData() or "")
        self.target.clear()
        for name in table_columns.targets:
            self.target.addItem(name, name)
        self._show_target(previous)
        self._show_counts()
        self._show_columns()
        self.changed.emit()

    def _on_target(self, index: int) -> None:
        self._positive = ""
        self._selected_columns = tuple(name for name in self._selected_columns if name != self.target.currentData())
        self._show_counts()
        self._read_tables()  # which columns are excluded depends on the target
        self.changed.emit()

    def _on_ticked(self, item: QListWidgetItem) -> None:
        items = [self.columns.item(index) for index in range(self.columns.count())]
        ticked = [item.data(COLUMN_NAME_ROLE) for item in items if item.checkState() == Qt.CheckState.Checked]
        other = [name for name in self._selected_columns if name not in self._table_columns.inputs]
        self._selected_columns = (*ticked, *other)
        self.changed.emit()

    def _show_target(self, target: str) -> None:
        """Select a target, which is added to the list if it is missing."""
        if self.target.findData(target) < 0 and target:
            self.target.insertItem(0, target, target)
        self.target.setCurrentIndex(self.target.findData(target))

    def _show_counts(self) -> None:
        target = str(self.target.currentData() or "")
        classes = self._table_columns.targets.get(target, {})
        self._positive = self._choose_positive(classes, target)
        text = ", ".join(f"{name} {count:,}" for name, count in classes.items())
        self.counts.setText(text or f"No table has a column '{target}' with classes.")
        self.counts.setToolTip(f"Positive class (for sensitivity): {self._positive}")

    def _choose_positive(self, classes: Mapping[str, int], target: str) -> str:
        """Choose the positive class, by the recipe and the data sets, but not by those that were ticked before."""
        config = self._config
        stated = config.positive if config is not None and target == config.target else ""
        if config is not None and stated in config.classes:
            return stated  # also if the data sets lack the class
        return choose_positive_class(classes, target, stated) if classes else stated

    def _show_columns(self) -> None:
        """List the columns that can be ticked, then the excluded ones with the reason."""
        self.columns.blockSignals(True)
        self.columns.clear()
        for name in self._table_columns.inputs:
            item = QListWidgetItem(name, self.columns)
            item.setData(COLUMN_NAME_ROLE, name)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsSelectable)
            item.setCheckState(Qt.CheckState.Checked if name in self._selected_columns else Qt.CheckState.Unchecked)
        for name, reason in self._table_columns.excluded.items():
            item = QListWidgetItem(f"{name} {reason}", self.columns)
            item.setData(COLUMN_NAME_ROLE, name)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setToolTip(f"{name} {reason}")
        self.columns.blockSignals(False)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Set the height of the list to a number of whole rows."""
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
    tabular = config.tabular
    return () if tabular is None else tuple(column.name for column in (*tabular.numbers, *tabular.words))


@dataclass(frozen=True)
class TableColumns:
    """Columns of the tables of some data sets.

    ``targets``: columns that can be predicted, with the number of rows of each class. ``inputs``: columns that a
    network may use. ``excluded``: reasons why other columns must not be used. ``encoding``: of all inputs.
    """

    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    encoding: TabularConfig | None = None

    def select(self, names: Sequence[str]) -> TabularConfig | None:
        """Return the encoding of some of the inputs; None if there are none."""
        if self.encoding is None or not names:
            return None
        selected = {
            part: tuple(column for column in getattr(self.encoding, part) if column.name in names)
            for part in ("numbers", "words")
        }
        return self.encoding.model_copy(update=selected)


def read_table_columns(folders: Sequence[str], target: str, recipe_target: str, run: RunContext) -> TableColumns:
    """Read the columns of data sets.

    ``target``: the selected target, on which it depends which columns are excluded. ``recipe_target``: target of the
    recipe, which can be selected even if the tables lack it, if it can be derived from other columns.
    """
    from napari_melanoma.data.dataset import DatasetEntry, iter_entries
    from napari_melanoma.data.tabular_encoding import choose_encodings, explain_ineligible, list_eligible_columns
    from napari_melanoma.training.data_selection import ColumnReader

    rows: list[dict[str, str]] = []
    for folder in folders:
        run.check()
        rows += [entry.row for entry in iter_entries(expand_user(folder)) if isinstance(entry, DatasetEntry)]
    columns = dict.fromkeys(name for row in rows for name in row)
    targets = {name: counts for name in columns if (counts := count_classes(rows, name))}
    for name in dict.fromkeys((target, recipe_target)):  # derived as in a run, for example melanoma from the diagnosis
        targets |= {name: counts} if (counts := count_classes(map(ColumnReader({name}).read, rows), name)) else {}
    inputs = tuple(name for name in list_eligible_columns(rows, target) if name != target)
    reasons = {name: explain_ineligible(name, target) for name in columns if name not in inputs}
    excluded = {name: reason for name, reason in reasons.items() if reason and name in targets}
    return TableColumns(targets, inputs, excluded, choose_encodings(inputs, rows) if inputs else None)


def keep_encodings(columns: TabularConfig, recipe: TabularConfig | None) -> TabularConfig:
    """Return columns with the encodings of a recipe for those that it has.

    If all of its numbers mark unknown values, so do the others.
    """
    if recipe is None:
        return columns
    numbers, words = ({column.name: column for column in part} for part in (recipe.numbers, recipe.words))
    marks_unknown = bool(numbers) and all(column.missing == "unknown" for column in numbers.values())
    default = {"missing": "unknown"} if marks_unknown else {}
    update = {
        "numbers": tuple(numbers.get(one.name, one.model_copy(update=default)) for one in columns.numbers),
        "words": tuple(words.get(one.name, one) for one in columns.words),
    }
    return columns.model_copy(update=update)


def count_classes(rows: Iterable[Mapping[str, str]], column: str) -> dict[str, int]:
    """Count the rows of each class in a column, the most frequent first; empty if the column does not contain classes.

    For a column of truth values, such as 1 and 0, the classes are those of a run, such as the name of the column and
    ``other``.
    """
    from napari_melanoma.training.data_selection import row_labels

    counts = Counter(row_labels({("", str(number)): row for number, row in enumerate(rows)}, column).values())
    is_few = not 2 <= len(counts) <= MAX_CLASSES or sum(counts.values()) < 2 * len(counts)
    return {} if is_few or all(map(_is_number, counts)) else dict(counts.most_common())


def choose_positive_class(classes: Mapping[str, int], target: str, stated: str) -> str:
    """Choose the positive class: that of the recipe, the name of the target, melanoma or alike, or the rarest class.

    ``stated``: by the recipe for this target; empty for another one.
    """
    from napari_melanoma.runs.shipped_recipes import POSITIVE

    malignant = (name for word in POSITIVE for name in classes if name.lower() == word)
    preferred = (stated, target, *malignant)
    return next(
        (name for name in preferred if name in classes), min(classes, key=lambda name: classes[name], default="")
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
