"""Which model tells the risk: the bundles about metastasis that are installed, and any other by its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.registry import list_bundles
from napari_melanoma.ui.look import ThemedIcons
from napari_melanoma.ui.model_picker import ModelPicker, show_card
from napari_melanoma.ui.slide.risk_bundles import tells_risk, told_by

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

OTHER = "other"


class RiskPicker(ModelPicker):
    """A combo box of models that tell metastasis from patches, at its end any other one.

    Parameters
    ----------
    icons : ThemedIcons
        Gives the icon of the card.
    """

    names = ("risk_model", "risk_model_card")
    spoken = ("Model of the risk", "Card of the model of the risk")
    tip = "The model that says how likely it has spread"

    def __init__(self, icons: ThemedIcons) -> None:
        self._kept = ""
        super().__init__(icons)

    @property
    def model(self) -> str:
        """Name or path of the model that is picked; empty where there is none."""
        picked = str(self.combo.currentData() or "")
        return "" if picked == OTHER else picked

    @model.setter
    def model(self, name: str) -> None:
        if not name or told_by(name) is None:
            return
        index = self.combo.findData(name)
        if index < 0:
            found = told_by(name)
            index = self.combo.count() - 1
            self.combo.insertItem(index, name if found is None else found.name, name)
            self.combo.setItemData(index, name, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(index)
        self._kept = name

    @property
    def bundle(self) -> BundleInfo | None:
        """The model that is picked; None where there is none, or it is gone."""
        return told_by(self.model) if self.model else None

    def refresh(self) -> None:
        """List the models that are there now."""
        for bundle in list_bundles():
            if tells_risk(bundle) and self.combo.findData(bundle.name) < 0:
                self.combo.insertItem(max(0, self.combo.count() - 1), bundle.name, bundle.name)
                place = self.combo.findData(bundle.name)
                self.combo.setItemData(place, bundle.config.title, Qt.ItemDataRole.ToolTipRole)
        if self.combo.findData(OTHER) < 0:
            self.combo.addItem("", OTHER)
        last = self.combo.count() - 1
        self.combo.setItemText(last, "a folder ..." if last else "none installed: choose a folder")
        if last and not self._kept:
            self.combo.setCurrentIndex(0)
        self._kept = self.model or self._kept

    def _on_models(self, name: str) -> None:
        """List what there is now, and pick a model of the risk that was taken over."""
        self.refresh()
        taken = told_by(name) if name else None
        if taken is not None:
            self.model = name
        self.changed.emit()

    def _on_activated(self, index: int) -> None:
        if self.combo.currentData() != OTHER:
            self._kept = self.model
            self.changed.emit()
            return
        dialog = QFileDialog(self.window(), "Folder of a bundle that tells metastasis")
        dialog.setObjectName("risk_bundle_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.rejected.connect(self._go_back)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        """Take a bundle by its folder; one that tells something else is refused."""
        from napari_melanoma.workflows.risk import risk_model

        try:
            risk_model(name)
        except MelanomaError as error:
            self._go_back()
            self.failed.emit(error)
            return
        self.model = name
        self.changed.emit()

    def _go_back(self) -> None:
        """Pick again what was picked before."""
        index = self.combo.findData(self._kept)
        if index >= 0:
            self.combo.setCurrentIndex(index)

    def _on_card(self) -> None:
        found = self.bundle
        if found is not None:
            show_card(self.window(), found.config.title, found.card or "This model came without a card.")
