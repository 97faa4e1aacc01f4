"""Models that predict the risk of metastasis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.ui.slide.models import OpenPicker
from napari_melanoma.ui.widgets.model_picker import show_card

if TYPE_CHECKING:
    from napari_melanoma.core.prediction import TabularEncoding
    from napari_melanoma.models.bundle import BundleInfo


class RiskPicker(OpenPicker):
    """A combo box of models that tell metastasis from patches, at its end any other one."""

    names = ("risk_model", "risk_model_card")
    spoken = ("Model of the risk", "Card of the model of the risk")
    tip = "The model that says how likely it has spread"

    others = ("a folder ...", "none installed: choose a folder")

    def installed(self) -> Sequence[BundleInfo]:
        """List the models that may be offered, the user's own first: what ships is a demonstration."""
        from napari_melanoma.models.registry import SHIPPED

        return sorted(super().installed(), key=lambda bundle: bundle.path.parent == SHIPPED)

    def fits(self, bundle: BundleInfo) -> bool:
        """Say whether a model tells metastasis."""
        return tells_risk(bundle)

    def shown_as(self, name: str) -> str | None:
        """Say what a model is called in the list.

        None of one that tells something else.
        """
        found = told_by(name)
        return None if found is None else found.name

    @property
    def bundle(self) -> BundleInfo | None:
        """The model that is picked; None where there is none, or it is gone."""
        return told_by(self.model) if self.model else None

    def refresh(self) -> None:
        """List the models that are there now, the first one picked."""
        super().refresh()
        if self.combo.count() > 1 and not self._kept:
            self.combo.setCurrentIndex(0)
            self._kept = self.model

    def _on_models(self, name: str) -> None:
        """List what there is now, and pick a model of the risk that was taken over."""
        self.refresh()
        taken = told_by(name) if name else None
        if taken is not None:
            self.model = name
        self.changed.emit()

    def ask(self) -> None:
        """Ask for the folder of a bundle."""
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
        from napari_melanoma.risk.predictor import risk_model

        try:
            risk_model(name)
        except MelanomaError as error:
            self._go_back()
            self.failed.emit(error)
            return
        self.model = name
        self.changed.emit()

    def _on_card(self) -> None:
        found = self.bundle
        if found is not None:
            show_card(self.window(), found.config.title, found.card or "This model came without a card.")


POSITIVE = "metastasis"


def tells_risk(bundle: BundleInfo) -> bool:
    """Say whether a model tells metastasis from patches."""
    config = bundle.config
    return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE


def told_by(name: str) -> BundleInfo | None:
    """Find a model that tells metastasis.

    None where there is none of that name, or it tells something else.
    """
    try:
        found = find_bundle(name)
    except MelanomaError:
        return None
    return found if tells_risk(found) else None


def asked_of_patient(encoding: TabularEncoding | None, elsewhere: tuple[str, ...]) -> TabularEncoding | None:
    """Leave out of what a model takes what is said at another place of the dock."""
    if encoding is None:
        return None
    numbers = tuple(column for column in encoding.numbers if column.name not in elsewhere)
    words = tuple(column for column in encoding.words if column.name not in elsewhere)
    return encoding.model_copy(update={"numbers": numbers, "words": words})


def is_phantom(bundle: BundleInfo) -> bool:
    """Say whether a model has learnt from drawn patients alone.

    False where nothing says so.
    """
    from napari_melanoma.risk.comparators import read_comparators

    try:
        return bundle.config.drawn_share == 1 or read_comparators(bundle.path).phantom
    except MelanomaError:
        return False
