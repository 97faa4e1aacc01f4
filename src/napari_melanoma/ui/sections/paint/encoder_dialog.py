"""The dialog before a published encoder is used: which one it is, its license, and that the user accepts it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from napari_melanoma.models.published_encoders import TIMM
from napari_melanoma.slides.tissue_classifier.encoder_files import (
    EncoderFile,
    describe_encoder,
    list_encoder_names,
)
from napari_melanoma.slides.tissue_classifier.published_features import is_published
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, form_layout, named, quiet_label, top_label

PRIVACY_NOTE = (
    "The encoder runs on this computer, in a process of its own. Nothing is sent or downloaded. The saved model "
    "contains its name and license, not its weights."
)
NAME_TIP = "Encoder whose weights are in the file. Of others in timm, enter timm: and their name, such as timm:resnet50"
ACCEPT = "I have read the license, and it allows my use of the encoder"
NO_NAME = "The file does not show which encoder it contains. Select it, or enter timm: and its name."
UNKNOWN_NAME = "'{}' is not an encoder. Select one, or enter timm: and its name."
NOT_ACCEPTED = "Accept the license to use the encoder."


class EncoderDialog(QDialog):
    """Ask which encoder a file contains, and whether its license is accepted. ``confirmed``: an ``EncoderFile``."""

    confirmed = Signal(object)

    def __init__(self, window: QWidget, encoder: EncoderFile) -> None:
        super().__init__(window)
        self._encoder = encoder
        named(self, "paint_encoder_dialog", "Encoder from a file").setWindowTitle("Encoder from a file")
        self.setToolTip("")
        self.name_box = named(NoWheelComboBox(), "paint_encoder_name", "Encoder", NAME_TIP)
        self.name_box.setEditable(True)
        self.name_box.addItems(list_encoder_names())
        self.name_box.setCurrentText("" if encoder.name == TIMM else encoder.name)
        self.licence_label = named(WrappedLabel(), "paint_encoder_licence", "License of the encoder")
        self.licence_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.accept_check = named(QCheckBox(ACCEPT), "paint_encoder_accept", "The license is accepted")
        self.accept_check.setChecked(bool(encoder.accepted))
        self.warning_label = named(WrappedLabel(), "paint_encoder_warning", "Why the encoder cannot be used")
        self.warning_label.setProperty("fault", True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.use_button = self.buttons.addButton("Use encoder", QDialogButtonBox.ButtonRole.AcceptRole)
        self.use_button.setObjectName("paint_encoder_use")
        fields = QWidget()
        rows = form_layout(fields)
        rows.addRow(QLabel("file"), WrappedLabel(f"{encoder.weights.name} ({encoder.bytes / 1e6:.0f} MB)"))
        rows.addRow(QLabel("encoder"), self.name_box)
        rows.addRow(top_label("license"), self.licence_label)
        box = QVBoxLayout(self)
        for widget in (fields, quiet_label(PRIVACY_NOTE), self.accept_check, self.warning_label, self.buttons):
            box.addWidget(widget)
        box.addStretch(1)
        self.setMinimumWidth(440)
        self.name_box.currentTextChanged.connect(self._on_name)
        self.accept_check.toggled.connect(self._update)
        self.buttons.accepted.connect(self._on_accepted)
        self.buttons.rejected.connect(self.reject)
        self.finished.connect(self.deleteLater)
        self._update()

    @property
    def name(self) -> str:
        """The name of the encoder."""
        return self.name_box.currentText().strip()

    def _on_name(self) -> None:
        self.accept_check.setChecked(False)  # the license is that of another encoder
        self._update()

    def _update(self) -> None:
        terms = describe_encoder(self.name)
        text = f"{terms.licence}\n{terms.page}".strip()
        self.licence_label.setText(text if is_encoder(self.name) else "")
        blocker = find_blocker(self.name, is_accepted=self.accept_check.isChecked())
        self.warning_label.setText(blocker)
        self.use_button.setEnabled(not blocker)
        self.adjustSize()

    def _on_accepted(self) -> None:
        if self.use_button.isEnabled():
            self.confirmed.emit(self._encoder.model_copy(update={"name": self.name}))
            self.accept()


def is_encoder(name: str) -> bool:
    """Return whether a text is the name of a published encoder."""
    return is_published(name) and name != TIMM


def find_blocker(name: str, *, is_accepted: bool) -> str:
    """Return why an encoder cannot be used; empty if it can."""
    if not name or name == TIMM:
        return NO_NAME
    if not is_encoder(name):
        return UNKNOWN_NAME.format(name)
    return "" if is_accepted else NOT_ACCEPTED
