"""Select the model for the tiles of a slide: an installed bundle, or a published encoder by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QInputDialog

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.ui.widgets.model_picker import ExtensibleModelPicker, show_model_card
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

OTHER_MODEL_PROMPT = (
    "Name of a published network, such as timm:resnet18 or uni, or folder of a bundle or a run.\n"
    "Networks without classes output a feature vector for each tile, and no heatmap.\n"
    "Weights are loaded from this computer; nothing is downloaded."
)
ENCODER_CARD = (
    "**{name}** is a published network that is not part of this program. It outputs a feature vector for each tile, "
    "``embedding`` in ``result.zarr``. Its weights must be on this computer; check their license first."
)


class SlideModelPicker(ExtensibleModelPicker):
    """Combo box of slide models, with a last entry for published networks and other bundles."""

    object_names = ("slide_model", "slide_model_card")
    accessible_names = ("Slide model", "Card of the slide model")
    tip = "Model that predicts each tile"

    def __init__(self, icons: ThemedIcons) -> None:
        self._reads_fluorescence: dict[str, bool] = {}  # by name of a model
        super().__init__(icons)

    def ensure_listed(self) -> None:
        """List the models once; without a stored model, select the default one."""
        if not self._is_listed:
            super().ensure_listed()
            self.combo.setPlaceholderText("Select a model")
            self._select_default()

    @property
    def reads_fluorescence(self) -> bool:
        """Whether the selected model was fitted on channels of fluorescence slides."""
        name = self.model
        if name and name not in self._reads_fluorescence:
            bundle = self.find_accepted(name)
            tissue = None if bundle is None else bundle.config.tissue
            self._reads_fluorescence[name] = tissue is not None and tissue.channels is not None
        return self._reads_fluorescence.get(name, False)

    def refresh(self) -> None:
        self._reads_fluorescence.clear()
        super().refresh()

    def offer_demonstrations(self, on: bool) -> None:
        """List demonstrations, too, or only other models; instead of one that is no longer listed, use the default."""
        super().offer_demonstrations(on)
        self._select_default()

    def _select_default(self) -> None:
        if not self.model and self.can_use(DEFAULT_TILE_MODEL):
            self.model = DEFAULT_TILE_MODEL

    def display_name(self, name: str) -> str | None:
        """Return the text for a model that is not listed yet; None for one that is no longer part of the program."""
        from napari_melanoma.models.installed_bundles import FORMER_BUNDLES

        return None if name in FORMER_BUNDLES and not self.can_use(name) else name

    def accepts(self, bundle: BundleInfo) -> bool:
        return bundle.config.is_slide_model and bundle.config.task != "embedding"

    def open_other_dialog(self) -> None:
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

    def show_missing_card(self, error: MelanomaError) -> None:
        """Describe a published network, which has no model card."""
        if ":" in self.model or ("/" not in self.model and self.model):
            card = ENCODER_CARD.format(name=self.model)
            show_model_card(self.window(), self.model, card, self.icons.palette.link)
        else:
            super().show_missing_card(error)
