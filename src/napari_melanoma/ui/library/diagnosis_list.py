"""The diagnoses with their keys, and the classifiers that can be adapted, as lists of the Diagnosis section."""

from __future__ import annotations

from contextlib import suppress

from qtpy.QtCore import QSize, Signal
from qtpy.QtWidgets import QInputDialog, QListWidget, QListWidgetItem, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.geojson import Color
from napari_melanoma.ui.session.corrections_store import DIAGNOSES
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.class_list import CLASS_KEYS, ROW_PX, SQUARE, class_icon
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, column, fill_column, named, row, tool_button

TITLE = "Diagnosis"
SETTING = "review/diagnoses"  # classes that the user has added
COLORS: tuple[Color, ...] = (  # of the keys: those of Okabe and Ito (2008), and three more
    *((213, 94, 0), (0, 114, 178), (0, 158, 115), (230, 159, 0), (204, 121, 167), (86, 180, 233)),
    *((110, 60, 20), (240, 228, 66), (120, 120, 120)),
)
VISIBLE_CLASSES = 4


class BasePicker(ModelPicker):
    """A combo box of the classifiers that can be adapted; an adapted one is not selected by itself."""

    task = "classification"
    object_names = ("label_model", "label_model_card")
    accessible_names = ("Classifier", "Card of the classifier")
    tip = "Classifier that is adapted to your diagnoses"

    def _on_models(self, name: str) -> None:
        if self._is_listed:
            self.refresh()


class DiagnosisList(QWidget):
    """The diagnoses with their keys: those of a classifier, then those that the user has added."""

    chosen = Signal(int)  # number, from 1

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._of_model: tuple[str, ...] = ()
        keys = format_key("review.class_keys")
        tip = f"Store the diagnosis, and go to the next photograph ({keys}; with Ctrl while the dock is behind others)"
        self.list = named(QListWidget(), "diagnosis_classes", "Diagnoses", tip)
        self.list.setIconSize(QSize(SQUARE, SQUARE))
        add = tool_button("add_diagnosis", "Add a diagnosis", "Add a diagnosis of the table to the list")
        self.remove_button = tool_button(
            "remove_diagnosis", "Remove the diagnosis from the list", "Remove the last added diagnosis from the list"
        )
        icons.add(add, "plus")
        icons.add(self.remove_button, "delete_shape")
        fill_column(self, row(self.list, column(add, self.remove_button), stretch=0))
        self.list.itemClicked.connect(lambda item: self.chosen.emit(self.list.row(item) + 1))
        add.clicked.connect(self._choose_class)
        self.remove_button.clicked.connect(self._remove_class)

    @property
    def classes(self) -> list[str]:
        """The diagnoses in the order of their keys."""
        entries = load_taxonomy("diagnosis").entries
        own = [name for name in self._of_model if name in entries and len(self._of_model) > 2]
        return list(dict.fromkeys([*(own or DIAGNOSES[:6]), *self._added]))

    @property
    def _added(self) -> list[str]:
        entries = load_taxonomy("diagnosis").entries
        return [name for name in self._settings.get(SETTING, list[str]()) if name in entries]

    def show_model(self, model: str) -> None:
        """List the classes of a classifier; common diagnoses if it predicts yes or no, or is not installed."""
        from napari_melanoma.models.installed_bundles import find_bundle

        self._of_model = ()
        with suppress(MelanomaError):
            self._of_model = find_bundle(model).config.classes
        self._show_classes()

    def add_class(self, name: str) -> None:
        """Add a diagnosis of the taxonomy."""
        self._settings.set(SETTING, list(dict.fromkeys([*self._added, name])))
        self._show_classes()

    def mark(self, name: str) -> None:
        """Mark a diagnosis; none if it is not in the list."""
        self.list.setCurrentRow(self.classes.index(name) if name in self.classes else -1)

    def _remove_class(self) -> None:
        self._settings.set(SETTING, self._added[:-1])
        self._show_classes()

    def _show_classes(self) -> None:
        self.list.clear()
        for number, name in enumerate(self.classes, start=1):
            key = str(number) if number in CLASS_KEYS else ""
            item = QListWidgetItem(class_icon(COLORS[(number - 1) % len(COLORS)], key), name)
            item.setSizeHint(QSize(0, ROW_PX))
            self.list.addItem(item)
        self.list.setFixedHeight(min(self.list.count(), VISIBLE_CLASSES) * ROW_PX + 4)
        self.remove_button.setEnabled(bool(self._added))

    def _choose_class(self) -> None:
        taxonomy = load_taxonomy("diagnosis")
        dialog = named(QInputDialog(self.window()), "diagnosis_dialog", "Add a diagnosis")
        dialog.setWindowTitle(TITLE)
        dialog.setLabelText("Diagnosis to add to the list:")
        dialog.setComboBoxItems([word for word in taxonomy.words if word not in (*self.classes, UNKNOWN)])
        dialog.textValueSelected.connect(self.add_class)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
