"""All that can be said of the analysis of a slide and has no place elsewhere in the dock, made from its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.stain import StainConfig, StainMethod
from napari_melanoma.ui.widgets.config_form import ConfigForm, FormField
from napari_melanoma.ui.widgets.editors import ChoiceEditor
from napari_melanoma.ui.widgets.look import ThemedIcons, form, named

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import Settings

PREFIX = "slide."
HERE = ("stain", "target")  # fields with a control that is made here
# Each has a control elsewhere in the dock, or follows from what is done there.
ELSEWHERE = ("model", "mpp", "region", "tissue_mask", "tissue.method", "lesions", "score.positive")
NONE = "none"


class TargetEditor(ChoiceEditor):
    """One of the classes of the model; empty for the model's own."""

    def __init__(self) -> None:
        super().__init__([""], lambda name: name or "the model's own")
        self._title = lambda name: name or "the model's own"

    @property
    def value(self) -> Any:  # noqa: ANN401
        """Name of the class."""
        return str(self._combo.currentData() or "")

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._combo.blockSignals(True)
        if self._combo.findData(value) < 0:
            self._combo.addItem(self._title(value), value)
        self._combo.setCurrentIndex(self._combo.findData(value))
        self._combo.blockSignals(False)

    def offer(self, classes: Sequence[str]) -> None:
        """Offer the classes of another model; one that is chosen and not among them stays."""
        chosen = self.value
        self._combo.blockSignals(True)
        self._combo.clear()
        for name in ("", *classes):
            self._combo.addItem(self._title(name), name)
        self._combo.blockSignals(False)
        self.value = chosen


class SlideOptionsForm(QWidget):
    """Colours, tiles, tissue, score, and how it is computed."""

    changed = Signal()

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "slide_options", "Options of the analysis").setToolTip("")
        fields = SlideOptions.model_fields
        self._targets = TargetEditor()
        self._stain = FormField(f"{PREFIX}stain", fields["stain"], ChoiceEditor(get_args(StainMethod)), icons)
        self._target = FormField(f"{PREFIX}target", fields["target"], self._targets, icons)
        self._how = ConfigForm(StainConfig, settings, icons, lambda key: not key.endswith("method"), f"{PREFIX}stain.")
        self._rest = ConfigForm(SlideOptions, settings, icons, _is_here, PREFIX)
        above = QWidget()
        rows = form(above)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in (self._target, self._stain):
            rows.addRow(field.label, field)
            field.changed.connect(self._on_changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        for part in (above, self._how, self._rest):
            layout.addWidget(part)
        self._how.changed.connect(self._on_changed)
        self._rest.changed.connect(self._on_changed)
        self.give(SlideOptions())

    @property
    def faults(self) -> list[str]:
        """What is wrong with what was typed, a sentence each."""
        return [*(self._how.faults if self._is_stained else []), *self._rest.faults]

    def values(self) -> dict[str, Any]:
        """Give the values as the controls show them.

        By name, nested as ``SlideOptions`` is, without those that have their place elsewhere.
        """
        stain = {"method": self._stain.value, **self._how.values()} if self._is_stained else None
        return {**self._rest.values(), "stain": stain, "target": self._target.value}

    def give(self, options: SlideOptions) -> None:
        """Show options, and take them for the ones to come back to; nobody is told."""
        self._stain.give(_method(options))
        self._target.give(options.target)
        self._how.give(options.stain or StainConfig())
        self._rest.give(options)
        self._show_how()

    def set_values(self, options: SlideOptions) -> None:
        """Show options; nobody is told."""
        self._stain.set_value(_method(options))
        self._target.set_value(options.target)
        self._how.set_values(options.stain or StainConfig())
        self._rest.set_values(options)
        self._show_how()

    def offer(self, classes: Sequence[str]) -> None:
        """Offer the classes of a model."""
        self._targets.offer(classes)

    @property
    def _is_stained(self) -> bool:
        return bool(self._stain.value != NONE)

    def _show_how(self) -> None:
        self._how.setVisible(self._is_stained)

    def _on_changed(self) -> None:
        self._show_how()
        self.changed.emit()


def _is_here(key: str) -> bool:
    """Whether a field has its control in the form that is made of the options themselves."""
    name = key.removeprefix(PREFIX)
    return not any(name == other or name.startswith(f"{other}.") for other in (*HERE, *ELSEWHERE))


def _method(options: SlideOptions) -> str:
    return NONE if options.stain is None else options.stain.method
