"""Which model: a list of the bundles that do what is wanted, and the card that each of them carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.widgets.style import ThemedIcons, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.models.zoo import ArchitectureTask


class ModelPicker(QWidget):
    """A combo box of models that find lesions, and a button that shows the card."""

    changed = Signal()
    failed = Signal(object)

    task: ArchitectureTask = "segmentation"
    object_names = ("model", "card")  # object names of the list and of the button
    accessible_names = ("Model", "Model card")
    tip = "The model that finds the lesion"

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.combo = named(QComboBox(), self.object_names[0], self.accessible_names[0], self.tip)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        about = "What the model was trained on, how good it is, what it is not for"
        self._card_button = tool_button(self.object_names[1], self.accessible_names[1], about)
        icons.add(self._card_button, "info")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self.combo, self._card_button, stretch=0))
        self.refresh()
        self.combo.activated.connect(self._on_activated)
        self._card_button.clicked.connect(self._on_card)
        models_changed().changed.connect(self._on_models)

    @property
    def model(self) -> str:
        """Name or path of the model that is picked."""
        return str(self.combo.currentData() or "")

    @model.setter
    def model(self, name: str) -> None:
        index = self.combo.findData(name)
        if index < 0:
            trouble = _explain_unusable(name, self.task)
            self.combo.addItem(f"{name} ({trouble})" if trouble else name, name)
            index = self.combo.count() - 1
        self.combo.setCurrentIndex(index)

    def refresh(self) -> None:
        """List the models that are there now."""
        from napari_melanoma.models.registry import list_photograph_models

        for bundle in list_photograph_models(self.task):
            if self.combo.findData(bundle.name) < 0:
                self.combo.addItem(bundle.name, bundle.name)
                self.combo.setItemData(self.combo.count() - 1, bundle.config.title, Qt.ItemDataRole.ToolTipRole)
        add_unusable_models(self.combo)

    def _on_models(self, name: str) -> None:
        """List what there is now, and pick the model that was taken over."""
        self.refresh()
        if name and not _explain_unusable(name, self.task):
            self.model = name
            self.changed.emit()

    def _on_activated(self, index: int) -> None:
        self.changed.emit()

    def _on_card(self) -> None:
        from napari_melanoma.models.registry import find_bundle

        try:
            bundle = find_bundle(self.model)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        show_model_card(self.window(), bundle.config.title, bundle.card or "This model came without a card.")


class ClassifierPicker(ModelPicker):
    """The same for models that say what a lesion is; one may go without."""

    task: ArchitectureTask = "classification"
    object_names = ("classifier", "classifier_card")
    accessible_names = ("Model for the answer", "Card of the model for the answer")
    tip = "The model that says what the lesion may be"

    def refresh(self) -> None:
        """List the models that are there now, and first that none may be asked."""
        if self.combo.findData("") < 0:
            self.combo.insertItem(0, "", "")
        super().refresh()
        self.combo.setItemText(0, "no answer" if self.has_models else "none installed")
        self.update_state()

    @property
    def has_models(self) -> bool:
        """Whether there is a model to choose."""
        return self.combo.count() > 1

    def update_state(self) -> None:
        """Offer the card of a model, where one is picked."""
        self._card_button.setEnabled(bool(self.model))


def add_unusable_models(combo: QComboBox) -> None:
    """Add the models of the user's folder that cannot be used, with the reason; they cannot be picked."""
    from napari_melanoma.models.registry import list_unusable_bundles

    items = combo.model()
    for folder, reason in list_unusable_bundles().items():
        if combo.findData(folder) < 0 and isinstance(items, QStandardItemModel):
            combo.addItem(f"{folder.name} (not usable)", folder)
            items.item(combo.count() - 1).setEnabled(False)
            combo.setItemData(combo.count() - 1, reason, Qt.ItemDataRole.ToolTipRole)


def _explain_unusable(name: str, task: ArchitectureTask) -> str:
    """Why a model cannot do a task with photographs, in a few words; empty where it can."""
    from napari_melanoma.models.registry import explain_not_for_photographs, find_bundle

    try:
        found = find_bundle(name).config
    except MelanomaError:
        return "not found"
    return explain_not_for_photographs(found) if found.task == task else f"for {found.task}"


def show_model_card(parent: QWidget, title: str, card: str) -> QDialog:
    """Show a model card beside the work, which goes on."""
    dialog = named(QDialog(parent), "card_dialog", f"Card of {title}")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(title)
    text = named(QTextBrowser(), "card_text", "Model card")
    text.setOpenExternalLinks(True)
    text.setMarkdown(_without_header(card))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(text)
    layout.addWidget(buttons)
    dialog.resize(620, 640)
    dialog.show()
    return dialog


def _without_header(card: str) -> str:
    """Leave out the YAML header that cards on a model hub begin with."""
    parts = card.split("---\n", 2)
    return parts[2] if card.startswith("---\n") and len(parts) == 3 else card
