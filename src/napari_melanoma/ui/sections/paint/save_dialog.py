"""The dialog before a model is saved: its name, and which classes are tumor, epidermis, background and nevus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.slides.tissue_classifier.roles import ROLES, guess_roles
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import WrappedLabel, form_layout, named, quiet_label

ROLES_SETTING = "paint/roles"
NAME_NOTE = "The model contains no image, and no names of slides and readers."
ROLES_NOTE = (
    "Lesions are detected in the tumor. With tumor, epidermis and background, the Depth section suggests a Breslow "
    "thickness."
)
TIPS = {
    "tumor": "Lesions and the suggested Breslow thickness are measured of this class",
    "epidermis": "The suggested Breslow thickness is measured from the upper side of this class",
    "background": "Glass without tissue, beyond the surface of the skin",
    "nevus": "Counts as benign: its depth is not measured",
}
NO_CLASS = "none"


class SaveModelDialog(QDialog):
    """Ask for the name of a model and the roles of its classes. ``confirmed``: the name, and the class of each role.

    ``used``: states the slides whose strokes are used.
    """

    confirmed = Signal(str, object)

    def __init__(self, window: QWidget, settings: DockSettings, classes: Sequence[str], name: str, used: str) -> None:
        super().__init__(window)
        self._settings = settings
        named(self, "paint_model_dialog", "Save as model").setWindowTitle("Save as model")
        self.setToolTip("")
        self.name_field = named(QLineEdit(name), "paint_model_name", "Name of the model", NAME_NOTE)
        self.role_boxes = {role: self._create_box(role, classes) for role in ROLES}
        self.show_roles(choose_shown_roles(classes, settings.get(ROLES_SETTING, dict[str, str]())))
        self.warning_label = named(WrappedLabel(), "paint_model_warning", "Why the model cannot be saved")
        self.warning_label.setProperty("fault", True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.save_button = self.buttons.addButton("Save", QDialogButtonBox.ButtonRole.AcceptRole)
        self.save_button.setObjectName("paint_model_save")
        fields = QWidget()
        rows = form_layout(fields)
        rows.addRow(QLabel("name"), self.name_field)
        for role, box in self.role_boxes.items():
            rows.addRow(QLabel(role), box)
        column = QVBoxLayout(self)
        notes = [quiet_label(text) for text in (used, NAME_NOTE, ROLES_NOTE)]
        for widget in (*notes[:2], fields, notes[2], self.warning_label, self.buttons):
            column.addWidget(widget)
        column.addStretch(1)
        self.setMinimumWidth(380)
        self.name_field.textChanged.connect(self._update)
        for box in self.role_boxes.values():
            box.currentIndexChanged.connect(self._update)
        self.buttons.accepted.connect(self._on_accepted)
        self.buttons.rejected.connect(self.reject)
        self.finished.connect(self.deleteLater)
        self._update()

    @property
    def roles(self) -> dict[str, str]:
        """The class of each role; empty for none."""
        return {role: box.currentData() or "" for role, box in self.role_boxes.items()}

    def show_roles(self, roles: Mapping[str, str]) -> None:
        """Select the class of each role."""
        for role, box in self.role_boxes.items():
            box.setCurrentIndex(max(0, box.findData(roles.get(role, ""))))

    def _create_box(self, role: str, classes: Sequence[str]) -> NoWheelComboBox:
        box = named(NoWheelComboBox(), f"paint_role_{role}", f"Class of {role}", TIPS[role])
        box.addItem(NO_CLASS, "")
        for name in classes:
            box.addItem(name, name)
        return box

    def _update(self) -> None:
        blocker = find_blocker(self.name_field.text(), self.roles)
        self.warning_label.setText(blocker)
        self.warning_label.setVisible(bool(blocker))
        self.save_button.setEnabled(not blocker)
        self.adjustSize()  # otherwise the fields shrink while the warning is shown

    def _on_accepted(self) -> None:
        if self.save_button.isEnabled():
            self._settings.set(ROLES_SETTING, {**self._settings.get(ROLES_SETTING, dict[str, str]()), **self.roles})
            self.confirmed.emit(self.name_field.text().strip(), self.roles)
            self.accept()


def choose_shown_roles(classes: Sequence[str], latest: Mapping[str, str]) -> dict[str, str]:
    """Return the class of each role at first: that of the latest model if it is painted, else that with its name."""
    known = {role: name for role, name in latest.items() if name in classes}
    taken = {*known.values()}
    return {**{role: name for role, name in guess_roles(classes).items() if name not in taken}, **known}


def find_blocker(name: str, roles: Mapping[str, str]) -> str:
    """Return why a model cannot be saved; empty if it can."""
    if not name.strip():
        return "Enter a name."
    chosen = [one for one in roles.values() if one]
    twice = next((one for one in chosen if chosen.count(one) > 1), "")
    return f"'{twice}' is selected twice: each class has at most one role." if twice else ""
