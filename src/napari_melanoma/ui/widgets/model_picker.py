"""Combo boxes of the installed models for a task, with a button that shows the model card."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QShowEvent, QStandardItemModel
from qtpy.QtWidgets import QComboBox, QDialog, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models import AUTOMATIC
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.dialogs import show_markdown
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.models.zoo import ArchitectureTask

OTHER = "other"  # data of the last entry


class ModelPicker(QWidget):
    """A combo box of segmentation models, and a button that shows the model card.

    The models are listed when the list is first needed, because reading them takes a tenth of the time in which a dock
    opens. Until then, only the name of the selected model is stored.
    """

    changed = Signal()
    failed = Signal(object)  # Exception

    task: ArchitectureTask = "segmentation"
    object_names = ("model", "card")  # object names of the list and of the button
    accessible_names = ("Model", "Model card")
    tip = "Segmentation model"

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._combo = named(NoWheelComboBox(), self.object_names[0], self.accessible_names[0], self.tip)
        self._combo.setProperty("holds_names", True)
        self._combo.elide_mode = Qt.TextElideMode.ElideMiddle
        self._is_listed = False
        self._installed: set[str] = set()  # names of the listed models
        self._stored_model: str | None = None
        card_tip = "Show the model card: training data, performance and limitations"
        self._card_button = tool_button(self.object_names[1], self.accessible_names[1], card_tip)
        self.icons = icons
        icons.add(self._card_button, "info")
        fill_column(self, row(self._combo, self._card_button, stretch=0))
        self._combo.activated.connect(self._on_activated)
        self._combo.opening.connect(self._on_opening)
        self._card_button.clicked.connect(self._on_card)
        user_data().models_changed.connect(self._on_models)
        user_data().model_returned.connect(self._on_return)

    @property
    def combo(self) -> QComboBox:
        self.ensure_listed()
        return self._combo

    def ensure_listed(self) -> None:
        """List the models once, and select the stored model; after an error, the next call retries."""
        if not self._is_listed:
            self._is_listed = True  # beforehand, because a change of the list reads the selected model
            try:
                self.refresh()
            except Exception:
                self._is_listed = False
                raise
            if self._stored_model is not None:
                self.select_stored(self._stored_model)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """List the models before a user sees the list."""
        self.ensure_listed()
        super().showEvent(event)

    @property
    def model(self) -> str:
        """Name or path of the selected model; empty if none is selected."""
        if not self._is_listed and self._stored_model is not None:
            return self._stored_model
        return str(self.combo.currentData() or "")

    @model.setter
    def model(self, name: str) -> None:
        if self.combo.findData(name) < 0 and (text := self.display_name(name)):
            index = self.combo.count() - len(self.list_last([]))
            self.combo.insertItem(index, text, name)
            self.combo.setItemData(index, name, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(self.combo.findData(name))

    def display_name(self, name: str) -> str | None:
        """Return the text for a model that is not listed yet; None if it cannot be selected."""
        reason = _explain_unusable(name, self.task)
        return f"{name} ({reason})" if reason else name

    def select_stored(self, name: str) -> None:
        """Select the model of stored options, now or when the models are listed."""
        if self._is_listed:
            self.model = name
        else:
            self._stored_model = name

    @property
    def card_model(self) -> str:
        return self.model

    def list_models(self) -> list[BundleInfo]:
        from napari_melanoma.models.installed_bundles import list_photograph_models

        return list_photograph_models(self.task)

    def list_first(self, bundles: list[BundleInfo]) -> list[tuple[str, str, str]]:
        """Return the entries above the models: text, data and tooltip."""
        return []

    def list_last(self, bundles: list[BundleInfo]) -> list[tuple[str, str, str]]:
        """Return the entries below all others."""
        return []

    def refresh(self) -> None:
        """List the models that are installed now; a selected one that was removed stays, named as not found."""
        bundles, combo = self.list_models(), self._combo
        selected, text = combo.currentData(), combo.currentText()
        names = {bundle.name for bundle in bundles}
        if selected in self._installed - names:
            text = f"{selected} (not found)"
        self._installed = names
        combo.blockSignals(True)
        combo.clear()
        models = [(bundle.name, bundle.name, bundle.config.title) for bundle in bundles]
        last = self.list_last(bundles)
        for label, data, tip in (*self.list_first(bundles), *models, *last):
            combo.addItem(label, data)
            combo.setItemData(combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        if selected is not None and combo.findData(selected) < 0:
            combo.insertItem(combo.count() - len(last), text, selected)
        add_unusable_models(combo, len(last))
        if selected is not None or last:
            combo.setCurrentIndex(combo.findData(selected))
        combo.blockSignals(False)

    def _on_opening(self) -> None:
        """Refresh the list: another program may have installed or removed a model."""
        if self._is_listed:
            with suppress(OSError):  # the folder of models is not available at the moment
                self.refresh()

    def _on_models(self, name: str) -> None:
        """Refresh the list, and select the model that was activated."""
        if self._is_listed:
            self.refresh()
        self.ensure_listed()
        if name and self.can_use(name):
            if self.model != name and self.can_use(self.model):
                user_data().former[name][self] = self.model
            self.model = name
            self.changed.emit()

    def _on_return(self, name: str, compared: str) -> None:
        """Select what was selected here before a model was activated, unless the user has selected another one."""
        former = user_data().former[name].pop(self, None) or compared
        if self.model == name and self.can_use(former):
            self.model = former
            self.changed.emit()

    def can_use(self, name: str) -> bool:
        return bool(name) and not _explain_unusable(name, self.task)

    def _on_activated(self, index: int) -> None:
        self.changed.emit()

    def _on_card(self) -> None:
        from napari_melanoma.models.installed_bundles import find_bundle

        try:
            bundle = find_bundle(self.card_model)
        except MelanomaError as error:
            self.show_missing_card(error)
            return
        card = bundle.card or "This model has no model card."
        show_model_card(self.window(), bundle.config.title, card, self.icons.palette.link)

    def show_missing_card(self, error: MelanomaError) -> None:
        """Show why there is no model card: the model is not installed."""
        self.failed.emit(error)


class ClassifierPicker(ModelPicker):
    """A combo box of classification models, with choices for no model and for an automatic one.

    The automatic choice uses the default model for the type of each photograph.
    """

    task: ArchitectureTask = "classification"
    object_names = ("classifier", "classifier_card")
    accessible_names = ("Classification model", "Card of the classification model")
    tip = "Classification model"

    def __init__(self, icons: ThemedIcons) -> None:
        self._automatic = ""  # the model for the photograph in view
        self._defaults: list[BundleInfo] = []
        super().__init__(icons)
        self._combo.currentIndexChanged.connect(self._update_card_button)

    def select_stored(self, name: str) -> None:
        """Select a stored choice; ``auto`` selects the only default model, or none, if there are fewer than two."""
        if self._is_listed and name == AUTOMATIC and len(self._defaults) < 2:
            name = "".join(bundle.name for bundle in self._defaults)
        super().select_stored(name)

    def list_first(self, bundles: list[BundleInfo]) -> list[tuple[str, str, str]]:
        """Return the choices for no model and for an automatic one."""
        from napari_melanoma.models.installed_bundles import list_default_classifiers

        self._defaults = list_default_classifiers(bundles)
        entries = [("no prediction" if bundles else "none installed", "", "")]
        if len(self._defaults) > 1:
            names = " or ".join(bundle.name for bundle in self._defaults)
            entries.append((self._automatic_text, AUTOMATIC, f"{names}, by the type of photograph"))
        return entries

    def refresh(self) -> None:
        """List the models that are installed now."""
        super().refresh()
        self._update_card_button()

    def can_use(self, name: str) -> bool:
        """Return whether a model is installed and can be selected, or the automatic choice is offered."""
        return super().can_use(name) or (name == AUTOMATIC and len(self._defaults) > 1)

    @property
    def has_models(self) -> bool:
        return self.combo.count() > 1

    @property
    def card_model(self) -> str:
        """The model whose card is shown: the selected one, or the one in use for the photograph in view."""
        return self._automatic if self.model == AUTOMATIC else self.model

    def model_for(self, modality: str | None) -> str:
        """Return the selected model, or if automatic, the default model for a type of photograph; empty for none."""
        from napari_melanoma.models.installed_bundles import select_classifier

        if self.model != AUTOMATIC:
            return self.model
        self.ensure_listed()
        return select_classifier(self._defaults, modality).name if self._defaults else ""

    def show_automatic(self, name: str) -> None:
        """Show the name of the model for the photograph in view, if the model is selected automatically."""
        if self.model == AUTOMATIC and name != self._automatic:
            self._automatic = name
            self.combo.setItemText(self.combo.currentIndex(), self._automatic_text)
            self._update_card_button()

    @property
    def _automatic_text(self) -> str:
        return f"{self._automatic} (auto)" if self._automatic else "automatic"

    def _update_card_button(self) -> None:
        self._card_button.setEnabled(bool(self.card_model))


class ExtensibleModelPicker(ModelPicker):
    """Combo box of installed models, with a last entry to select any other model.

    Subclasses define which models are listed, and the dialog of the last entry.
    """

    other_texts = ("Another model...", "none installed: enter one")  # text of the last entry; if it is the only one

    def __init__(self, icons: ThemedIcons) -> None:
        self._last_model = ""
        self._offers_demonstrations = True
        self.has_own_models = False  # whether a model is listed that is not a demonstration
        super().__init__(icons)

    def offer_demonstrations(self, on: bool) -> None:
        """List demonstrations, or only other models; a demonstration is not valid for a real image."""
        self.ensure_listed()
        if on != self._offers_demonstrations:
            self._offers_demonstrations = on
            if not self._is_offered(self.model):
                self.combo.setCurrentIndex(-1)
                self._last_model = ""
            self.refresh()

    def _is_offered(self, name: str) -> bool:
        """Whether a model may be selected; a demonstration may not while those are not offered."""
        bundle = None if self._offers_demonstrations or not name else self.find_accepted(name)
        return bundle is None or not bundle.config.is_demonstration

    def list_installed(self) -> Sequence[BundleInfo]:
        """Return the installed models, from which ``accepts`` selects."""
        from napari_melanoma.models.installed_bundles import list_bundles

        return list_bundles()

    def accepts(self, bundle: BundleInfo) -> bool:
        raise NotImplementedError

    def find_accepted(self, name: str) -> BundleInfo | None:
        """Find a model by its name or path; None if it is not installed or not accepted."""
        from napari_melanoma.models.installed_bundles import find_bundle

        try:
            bundle = find_bundle(name)
        except MelanomaError:
            return None
        return bundle if self.accepts(bundle) else None

    def can_use(self, name: str) -> bool:
        return self.find_accepted(name) is not None

    def display_name(self, name: str) -> str | None:
        """Return the text for a model that is not listed yet; None if it cannot be selected."""
        return name

    @property
    def model(self) -> str:
        """Name or path of the selected model; empty if none is selected."""
        selected = super().model
        return "" if selected == OTHER else selected

    @model.setter
    def model(self, name: str) -> None:
        if name and self._is_offered(name) and self.display_name(name) is not None:
            ModelPicker.model.fset(self, name)  # type: ignore[attr-defined]
            self._last_model = name

    def list_models(self) -> list[BundleInfo]:
        """Return the accepted models; demonstrations only if they are offered."""
        accepted = list(filter(self.accepts, self.list_installed()))
        own = [bundle for bundle in accepted if not bundle.config.is_demonstration]
        self.has_own_models = bool(own)
        return accepted if self._offers_demonstrations else own

    def list_last(self, bundles: list[BundleInfo]) -> list[tuple[str, str, str]]:
        return [(self.other_texts[0 if bundles else 1], OTHER, "")]

    def open_other_dialog(self) -> None:
        """Ask for another model; call ``_restore_selection`` if the user cancels."""
        raise NotImplementedError

    def _on_activated(self, index: int) -> None:
        if self.combo.currentData() == OTHER:
            self.open_other_dialog()
        else:
            self._last_model = self.model
            self.changed.emit()

    def _restore_selection(self) -> None:
        """Select the previous model again."""
        self.combo.setCurrentIndex(self.combo.findData(self._last_model))


def add_unusable_models(combo: QComboBox, last_entries: int) -> None:
    """List the unusable models of the user's folder, disabled and with the reason as tooltip.

    ``last_entries``: number of entries that stay below them.
    """
    from napari_melanoma.models.installed_bundles import list_unusable_bundles

    items = combo.model()
    assert isinstance(items, QStandardItemModel)
    for folder, reason in list_unusable_bundles().items():
        index = combo.count() - last_entries
        combo.insertItem(index, f"{folder.name} (not usable)", folder)
        items.item(index).setEnabled(False)
        combo.setItemData(index, reason, Qt.ItemDataRole.ToolTipRole)


def store_used_model(name: str, replaced: str = "") -> None:
    """Let docks that are opened later select a model; ``replaced``: only those that would select this one."""
    from napari_melanoma.models.installed_bundles import find_bundle

    settings = DockSettings()
    try:
        config = find_bundle(name).config
    except MelanomaError:
        return  # it was removed: docks select their default
    if config.is_slide_model:
        if replaced in ("", settings.get("slide/model", "")):
            settings.set("slide/model", name)
    elif config.task == "segmentation":
        if replaced in ("", settings.options.model):
            settings.options = settings.options.model_copy(update={"model": name})
    elif config.task == "classification" and replaced in ("", settings.classifier):
        settings.classifier = name


def _explain_unusable(name: str, task: ArchitectureTask) -> str:
    """Briefly explain why a model cannot be used for a task on photographs; empty if it can."""
    from napari_melanoma.models.installed_bundles import explain_not_for_photographs, find_bundle

    try:
        config = find_bundle(name).config
    except MelanomaError:
        return "not found"
    return explain_not_for_photographs(config) if config.task == task else f"for {config.task}"


def show_model_card(parent: QWidget, title: str, card: str, link_color: str) -> QDialog:
    """Show a model card in a dialog that is not modal."""
    return show_markdown(parent, "card", title, _without_header(card), link_color)


def _without_header(card: str) -> str:
    """Remove the YAML header of model cards from a model hub."""
    parts = card.split("---\n", 2)
    return parts[2] if card.startswith("---\n") and len(parts) == 3 else card
