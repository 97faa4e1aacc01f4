"""Which model looks at the tiles of a slide: the bundles made for slides, and any encoder by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.widgets.model_picker import ModelPicker, show_model_card
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

OTHER = "other"
OTHER_MODEL_PROMPT = (
    "A published network by its name, such as timm:resnet18 or uni, or the folder of a bundle.\n"
    "Networks without classes leave a vector for each tile, and no heatmap.\n"
    "Weights are taken from this computer; nothing is fetched."
)
ENCODER = (
    "**{name}** is a published network that was not made for this program. It turns each tile into a vector, "
    "``embedding`` in ``result.zarr``. Its weights must be on this computer; see their licence first."
)


class ExtensibleModelPicker(ModelPicker):
    """A combo box of some of the installed models, at its end any other one that the user names."""

    other_texts = ("another one ...", "none installed: name one")  # the last entry, and where it is the only one

    def __init__(self, icons: ThemedIcons) -> None:
        self._last_model = ""
        super().__init__(icons)

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the models that may be offered."""
        from napari_melanoma.models.registry import list_bundles

        return list_bundles()

    def accepts(self, bundle: BundleInfo) -> bool:
        """Say whether an installed model is offered."""
        raise NotImplementedError

    def display_name(self, name: str) -> str | None:
        """Say what a model is called in the list that is not in it yet.

        None of one that cannot be picked.
        """
        return name

    @property
    def model(self) -> str:
        """Name or path of the model that is picked; empty where there is none."""
        picked = str(self.combo.currentData() or "")
        return "" if picked == OTHER else picked

    @model.setter
    def model(self, name: str) -> None:
        shown = self.display_name(name) if name else None
        if shown is None:
            return
        index = self.combo.findData(name)
        if index < 0:
            index = self.combo.count() - 1
            self.combo.insertItem(index, shown, name)
            self.combo.setItemData(index, name, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(index)
        self._last_model = name

    def refresh(self) -> None:
        """List the models that are there now."""
        if self.combo.findData(OTHER) < 0:
            self.combo.addItem("", OTHER)
        for place, bundle in enumerate(one for one in self.list_installed() if self.accepts(one)):
            if self.combo.findData(bundle.name) < 0:
                self.combo.insertItem(min(place, self.combo.count() - 1), bundle.name, bundle.name)
            found = self.combo.findData(bundle.name)
            self.combo.setItemData(found, bundle.config.title, Qt.ItemDataRole.ToolTipRole)
        last = self.combo.count() - 1
        self.combo.setItemText(last, self.other_texts[0] if last else self.other_texts[1])
        if self.model:
            self._last_model = self.model

    def open_other_dialog(self) -> None:
        """Ask for another model; ``_go_back`` where the user does not want one."""
        raise NotImplementedError

    def _on_activated(self, index: int) -> None:
        if self.combo.currentData() == OTHER:
            self.open_other_dialog()
        else:
            self._last_model = self.model
            self.changed.emit()

    def _restore_selection(self) -> None:
        """Pick again what was picked before."""
        index = self.combo.findData(self._last_model)
        if index >= 0:
            self.combo.setCurrentIndex(index)


class SlideModelPicker(ExtensibleModelPicker):
    """A combo box of models of slides, at its end any other one."""

    object_names = ("slide_model", "slide_model_card")
    accessible_names = ("Model of slides", "Card of the model of slides")
    tip = "The model that is asked about each tile"

    def __init__(self, icons: ThemedIcons) -> None:
        self._is_populated = False
        super().__init__(icons)

    def populate(self) -> None:
        """List all models, and pick the usual one where none is; until then the list has the one that is picked.

        What models are takes long to import.
        """
        from napari_melanoma.models.registry import DEFAULT_TILE_MODEL

        self._is_populated = True
        self.refresh()
        if not self.model:
            self.model = DEFAULT_TILE_MODEL

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the models that may be offered.

        Returns the installed ones; none before the list is filled.
        """
        return super().list_installed() if self._is_populated else ()

    def accepts(self, bundle: BundleInfo) -> bool:
        """Say whether a model is one of slides."""
        return bundle.config.is_slide_model

    def _on_models(self, name: str) -> None:
        """List what there is now, and pick a model of slides that was taken over."""
        from napari_melanoma.models.registry import find_bundle

        self.refresh()
        try:
            taken = bool(name) and find_bundle(name).config.is_slide_model
        except MelanomaError:
            return
        if taken:
            self.model = name
            self.changed.emit()

    def open_other_dialog(self) -> None:
        """Ask for a network by its name."""
        dialog = QInputDialog(self.window())
        dialog.setObjectName("encoder_dialog")
        dialog.setWindowTitle("Another model")
        dialog.setLabelText(OTHER_MODEL_PROMPT)
        dialog.textValueSelected.connect(self._on_named)
        dialog.rejected.connect(self._restore_selection)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_named(self, text: str) -> None:
        if not text.strip():
            self._restore_selection()
            return
        self.model = text.strip()
        self.changed.emit()

    def _on_card(self) -> None:
        from napari_melanoma.models.registry import find_bundle

        try:
            bundle = find_bundle(self.model)
        except MelanomaError as error:
            if ":" in self.model or ("/" not in self.model and self.model):
                show_model_card(self.window(), self.model, ENCODER.format(name=self.model))
            else:
                self.failed.emit(error)
            return
        show_model_card(self.window(), bundle.config.title, bundle.card or "This model came without a card.")
