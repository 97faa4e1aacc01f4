"""The selection of the model in the Risk section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.model_picker import ExtensibleModelPicker

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

POSITIVE = "metastasis"


class RiskModelPicker(ExtensibleModelPicker):
    """Combo box of the installed models that predict metastasis; the last entry opens a bundle from a folder."""

    object_names = ("risk_model", "risk_model_card")
    accessible_names = ("Risk model", "Card of the risk model")
    tip = "Model that predicts the probability of metastasis"

    other_texts = ("A folder...", "none installed: choose a folder")

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the installed models, those of the user first: the models of this program are for demonstration."""
        from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER

        return sorted(super().list_installed(), key=lambda bundle: bundle.path.parent == SHIPPED_FOLDER)

    def accepts(self, bundle: BundleInfo) -> bool:
        """Return whether a model predicts metastasis from patches."""
        config = bundle.config
        return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE

    def display_name(self, name: str) -> str | None:
        """Return the name of a model in the list; None if it does not predict metastasis."""
        bundle = self.find_accepted(name)
        return None if bundle is None else bundle.name

    @property
    def bundle(self) -> BundleInfo | None:
        """The selected model; None if none is selected, or it has been removed."""
        return self.find_accepted(self.model) if self.model else None

    def refresh(self) -> None:
        """List the installed models, and select the first one if none was selected."""
        super().refresh()
        if not self._last_model and self.combo.count() > 1 and isinstance(self.combo.itemData(0), str):
            self.combo.setCurrentIndex(0)
            self._last_model = self.model

    def _on_models(self, name: str) -> None:
        """Update the list after a model was installed or activated, and select an activated risk model."""
        self.refresh()
        if name and self.can_use(name):
            self.model = name
        self.changed.emit()

    def open_other_dialog(self) -> None:
        """Open a dialog to choose the folder of a bundle."""
        dialog = choose_folder(
            self, "risk_bundle_dialog", "Folder of a bundle that predicts metastasis", None, self._on_folder
        )
        dialog.rejected.connect(self._restore_selection)

    def _on_folder(self, folder: Path) -> None:
        """Select the bundle in a folder, if it predicts metastasis."""
        from napari_melanoma.extensions.risk.predictor import find_risk_model

        name = str(folder)
        try:
            find_risk_model(name)
        except MelanomaError as error:
            self._restore_selection()
            self.failed.emit(error)
            return
        self.model = name
        self.changed.emit()

    def _on_card(self) -> None:
        if self.bundle is not None:
            super()._on_card()
