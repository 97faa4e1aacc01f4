"""Select the model that predicts the risk of metastasis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.ui.slide.model_picker import ExtensibleModelPicker
from napari_melanoma.ui.widgets.model_picker import show_model_card

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.models.bundle import BundleInfo


class RiskModelPicker(ExtensibleModelPicker):
    """Combo box of installed models that predict metastasis, with a last entry for any other one."""

    object_names = ("risk_model", "risk_model_card")
    accessible_names = ("Risk model", "Card of the risk model")
    tip = "Model that predicts the probability of metastasis"

    other_texts = ("a folder ...", "none installed: choose a folder")

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the models, the user's own first: those of this program are for demonstration."""
        from napari_melanoma.models.registry import SHIPPED_FOLDER

        return sorted(super().list_installed(), key=lambda bundle: bundle.path.parent == SHIPPED_FOLDER)

    def accepts(self, bundle: BundleInfo) -> bool:
        """Return whether a model predicts metastasis."""
        return predicts_metastasis(bundle)

    def display_name(self, name: str) -> str | None:
        """Return the name of a model in the list; None if it does not predict metastasis."""
        found = find_risk_bundle(name)
        return None if found is None else found.name

    @property
    def bundle(self) -> BundleInfo | None:
        """The selected model; None if there is none, or it was removed."""
        return find_risk_bundle(self.model) if self.model else None

    def refresh(self) -> None:
        """List the installed models, and select the first one if none was selected."""
        super().refresh()
        if self.combo.count() > 1 and not self._last_model:
            self.combo.setCurrentIndex(0)
            self._last_model = self.model

    def _on_models(self, name: str) -> None:
        """List the installed models, and select a risk model that was activated."""
        self.refresh()
        activated = find_risk_bundle(name) if name else None
        if activated is not None:
            self.model = name
        self.changed.emit()

    def open_other_dialog(self) -> None:
        """Ask for the folder of a bundle."""
        dialog = QFileDialog(self.window(), "Folder of a bundle that predicts metastasis")
        dialog.setObjectName("risk_bundle_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.rejected.connect(self._restore_selection)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        """Use a bundle from a folder, if it predicts metastasis."""
        from napari_melanoma.risk.predictor import find_risk_model

        try:
            find_risk_model(name)
        except MelanomaError as error:
            self._restore_selection()
            self.failed.emit(error)
            return
        self.model = name
        self.changed.emit()

    def _on_card(self) -> None:
        found = self.bundle
        if found is not None:
            show_model_card(self.window(), found.config.title, found.card or "This model has no card.")


POSITIVE = "metastasis"


def predicts_metastasis(bundle: BundleInfo) -> bool:
    """Return whether a model predicts metastasis from patches."""
    config = bundle.config
    return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE


def find_risk_bundle(name: str) -> BundleInfo | None:
    """Find a model that predicts metastasis by its name; None if there is none."""
    try:
        found = find_bundle(name)
    except MelanomaError:
        return None
    return found if predicts_metastasis(found) else None


def exclude_fields(encoding: TabularEncoding | None, excluded: tuple[str, ...]) -> TabularEncoding | None:
    """Remove the fields of the clinical metadata that are set elsewhere in the dock."""
    if encoding is None:
        return None
    numbers = tuple(column for column in encoding.numbers if column.name not in excluded)
    words = tuple(column for column in encoding.words if column.name not in excluded)
    return encoding.model_copy(update={"numbers": numbers, "words": words})


def is_trained_on_phantoms(bundle: BundleInfo) -> bool:
    """Return whether a model is known to be trained on synthetic patients only."""
    from napari_melanoma.risk.comparators import read_comparators

    try:
        return bundle.config.synthetic_share == 1 or read_comparators(bundle.path).phantom
    except MelanomaError:
        return False
