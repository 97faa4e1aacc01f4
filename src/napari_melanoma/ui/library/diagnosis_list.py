"""The diagnoses as numbered chips, and the classifiers that can be adapted, of the Review dock."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QToolButton, QWidget
from superqt import QFlowLayout, QSearchableComboBox

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.geojson import Color
from napari_melanoma.ui.session.corrections_store import DIAGNOSES
from napari_melanoma.ui.widgets.class_list import CLASS_KEYS, SQUARE, class_icon
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, named, tool_button

TITLE = "Diagnosis"
SETTING = "review/diagnoses"  # classes that the user has added
COLORS: tuple[Color, ...] = (  # of the keys: those of Okabe and Ito (2008), and three more
    *((213, 94, 0), (0, 114, 178), (0, 158, 115), (230, 159, 0), (204, 121, 167), (86, 180, 233)),
    *((110, 60, 20), (240, 228, 66), (120, 120, 120)),
)
MAX_OF_MODEL = 10  # chips for the classes of a model: of more, those that were used most
ICON_PX, SEARCH_PX, GAP_PX = SQUARE - 4, 150, 4
OTHER = "Other..."


class BasePicker(ModelPicker):
    """A combo box of the classifiers that can be adapted; an adapted one is not selected by itself."""

    task = "classification"
    object_names = ("label_model", "label_model_card")
    accessible_names = ("Classifier", "Card of the classifier")
    tip = "Classifier that is adapted to your diagnoses"

    def _on_models(self, name: str) -> None:
        if self._is_listed:
            self.refresh()


class DiagnosisChips(QWidget):
    """The diagnoses as chips with their keys, in lines that wrap: those of a classifier, then those that were added.

    The search field adds a diagnosis of the table, which gets the next key. ``classes``: the diagnoses in the order of
    their keys, as the chips show them: another window may have changed those that are stored.
    """

    chosen = Signal(int)  # number, from 1
    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "diagnosis_classes", "Diagnoses").setToolTip("")
        self._settings = settings
        self._of_model: tuple[str, ...] = ()
        self._used: Mapping[str, int] = {}
        self._marked = ""
        self.classes: list[str] = []
        self.chips: list[QToolButton] = []
        self.search = named(QSearchableComboBox(), "add_diagnosis", "Add a diagnosis", "Add a diagnosis of the table")
        self.search.setFixedWidth(SEARCH_PX)
        self.search.lineEdit().setPlaceholderText(OTHER)
        self.search.lineEdit().setAcceptDrops(False)
        self.remove_button = tool_button(
            "remove_diagnosis", "Remove the diagnosis from the list", "Remove the last added diagnosis from the list"
        )
        icons.add(self.remove_button, "delete_shape")
        self._flow = QFlowLayout(self)
        self._flow.setContentsMargins(0, 0, 0, 0)
        self._flow.setHorizontalSpacing(GAP_PX)
        self._flow.setVerticalSpacing(GAP_PX)
        # Queued: the completer writes the chosen text into the field after this signal
        self.search.activated.connect(self._on_searched, Qt.ConnectionType.QueuedConnection)
        self.remove_button.clicked.connect(self._remove_class)

    def _list_classes(self) -> list[str]:
        """Return the diagnoses to show: those of the classifier, and those that are stored as added."""
        entries = load_taxonomy("diagnosis").entries
        own = [name for name in self._of_model if name in entries and len(self._of_model) > 2]
        most_used = sorted(own, key=lambda name: -self._used.get(name, 0))[:MAX_OF_MODEL]
        return list(dict.fromkeys([*([name for name in own if name in most_used] or DIAGNOSES[:6]), *self._added]))

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

    def set_used(self, used: Mapping[str, int]) -> None:
        """Set how often each diagnosis was given; call this before photographs are labeled, as keys may change."""
        self._used = used
        if len(self._of_model) > MAX_OF_MODEL:
            self._show_classes()

    def add_class(self, name: str) -> None:
        """Add a diagnosis of the taxonomy."""
        self._settings.set(SETTING, list(dict.fromkeys([*self._added, name])))
        self._show_classes()

    def mark(self, name: str) -> None:
        """Mark a diagnosis; none if it is not in the list."""
        self._marked = name
        for chip in self.chips:
            chip.setChecked(chip.text() == name)

    def _remove_class(self) -> None:
        self._settings.set(SETTING, self._added[:-1])
        self._show_classes()

    def _show_classes(self) -> None:
        while self._flow.count():
            self._flow.takeAt(0)
        for chip in self.chips:
            chip.setParent(None)
            chip.deleteLater()
        self.classes, words = self._list_classes(), load_taxonomy("diagnosis").words
        self.chips = [self._create_chip(number, name) for number, name in enumerate(self.classes, start=1)]
        self.search.clear()
        self.search.addItems([word for word in words if word not in (*self.classes, UNKNOWN)])
        self.search.setCurrentIndex(-1)
        for widget in (*self.chips, self.search, self.remove_button):
            self._flow.addWidget(widget)
        self.remove_button.setVisible(bool(self._added))
        self.mark(self._marked)
        self.changed.emit()

    def _create_chip(self, number: int, name: str) -> QToolButton:
        tip, key = "Store the diagnosis, and go to the next photograph", str(number) if number in CLASS_KEYS else ""
        tip += f" ({number}; with Ctrl while the dock is behind others)" if key else ""
        chip = tool_button(f"diagnosis_{number}", name, tip, name, checkable=True)
        chip.setIcon(class_icon(COLORS[(number - 1) % len(COLORS)], key))
        chip.setIconSize(QSize(ICON_PX, ICON_PX))
        chip.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        chip.clicked.connect(partial(self._on_clicked, number))
        return chip

    def _on_clicked(self, number: int, checked: bool = False) -> None:
        self.mark(self._marked)  # once it is stored
        self.chosen.emit(number)

    def _on_searched(self, index: int) -> None:
        name = self.search.itemText(index)
        if name in load_taxonomy("diagnosis").entries:
            self.add_class(name)
            self.search.clearFocus()  # the next digit labels
