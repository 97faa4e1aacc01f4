"""Models that predict the risk of metastasis."""

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
    """A combo box of models that tell metastasis from patches, at its end any other one."""

    object_names = ("risk_model", "risk_model_card")
    accessible_names = ("Model of the risk", "Card of the model of the risk")
    tip = "The model that says how likely it has spread"

    other_texts = ("a folder ...", "none installed: choose a folder")

    def list_installed(self) -> Sequence[BundleInfo]:
        """List the models that may be offered, the user's own first: what ships is a demonstration."""
        from napari_melanoma.models.registry import SHIPPED_FOLDER

        return sorted(super().list_installed(), key=lambda bundle: bundle.path.parent == SHIPPED_FOLDER)

    def accepts(self, bundle: BundleInfo) -> bool:
        """Say whether a model tells metastasis."""
        return predicts_metastasis(bundle)

    def display_name(self, name: str) -> str | None:
        """Say what a model is called in the list.

        None of one that tells something else.
        """
        found = find_risk_bundle(name)
        return None if found is None else found.name

    @property
    def bundle(self) -> BundleInfo | None:
        """The model that is picked; None where there is none, or it is gone."""
        return find_risk_bundle(self.model) if self.model else None

    def refresh(self) -> None:
        """List the models that are there now, the first one picked."""
        super().refresh()
        if self.combo.count() > 1 and not self._last_model:
            self.combo.setCurrentIndex(0)
            self._last_model = self.model

    def _on_models(self, name: str) -> None:
        """List what there is now, and pick a model of the risk that was taken over."""
        self.refresh()
        taken = find_risk_bundle(name) if name else None
        if taken is not None:
            self.model = name
        self.changed.emit()

    def open_other_dialog(self) -> None:
        """Ask for the folder of a bundle."""
        dialog = QFileDialog(self.window(), "Folder of a bundle that tells metastasis")
        dialog.setObjectName("risk_bundle_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.rejected.connect(self._restore_selection)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        """Take a bundle by its folder; one that tells something else is refused."""
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
            show_model_card(self.window(), found.config.title, found.card or "This model came without a card.")


POSITIVE = "metastasis"


def predicts_metastasis(bundle: BundleInfo) -> bool:
    """Say whether a model tells metastasis from patches."""
    config = bundle.config
    return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE


def find_risk_bundle(name: str) -> BundleInfo | None:
    """Find a model that tells metastasis.

    None where there is none of that name, or it tells something else.
    """
    try:
        found = find_bundle(name)
    except MelanomaError:
        return None
    return found if predicts_metastasis(found) else None


def exclude_fields(encoding: TabularEncoding | None, excluded: tuple[str, ...]) -> TabularEncoding | None:
    """Leave out of what a model takes what is said at another place of the dock."""
    if encoding is None:
        return None
    numbers = tuple(column for column in encoding.numbers if column.name not in excluded)
    words = tuple(column for column in encoding.words if column.name not in excluded)
    return encoding.model_copy(update={"numbers": numbers, "words": words})


def is_trained_on_phantoms(bundle: BundleInfo) -> bool:
    """Say whether a model has learnt from drawn patients alone.

    False where nothing says so.
    """
    from napari_melanoma.risk.comparators import read_comparators

    try:
        return bundle.config.synthetic_share == 1 or read_comparators(bundle.path).phantom
    except MelanomaError:
        return False
