"""Form for the analysis options that have no control elsewhere in the Slide dock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_class
from napari_melanoma.core.prediction_config import StainMethod
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.ui.widgets.config_form import ConfigForm, FormField
from napari_melanoma.ui.widgets.editors import ChoiceEditor
from napari_melanoma.ui.widgets.style import FormRows, ThemedIcons, form_layout, named

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import DockSettings

PREFIX = "slide."
OWN_FIELDS = ("stain", "target")  # fields with their own control in this module
NONE = "none"


class TargetEditor(ChoiceEditor):
    """Choose one of the classes of the model; empty for the model's default."""

    def __init__(self) -> None:
        self._title = lambda name: format_class(name) or "model default"
        super().__init__([""], self._title)

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

    def set_classes(self, classes: Sequence[str]) -> None:
        """List the classes of a model; a selected class that is not among them stays."""
        chosen = self.value
        self._combo.blockSignals(True)
        self._combo.clear()
        for name in ("", *classes):
            self._combo.addItem(self._title(name), name)
        self._combo.blockSignals(False)
        self.value = chosen


class SlideOptionsForm(QWidget):
    """Form for stain, tiles, tissue, score and computation."""

    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons, excluded: Mapping[str, Any]) -> None:
        super().__init__()
        named(self, "slide_options", "Options of the analysis").setToolTip("")
        fields = SlideOptions.model_fields
        self._target_editor = TargetEditor()
        self._stain_field = FormField(f"{PREFIX}stain", fields["stain"], ChoiceEditor(get_args(StainMethod)), icons)
        self._target_field = FormField(f"{PREFIX}target", fields["target"], self._target_editor, icons)
        self._stain_form = ConfigForm(
            StainConfig, settings, icons, lambda key: not key.endswith("method"), f"{PREFIX}stain."
        )
        self._options_form = ConfigForm(SlideOptions, settings, icons, partial(_is_form_field, excluded), PREFIX)
        above = FormRows()
        rows = form_layout(above)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in (self._target_field, self._stain_field):
            rows.addRow(field.label, field)
            field.changed.connect(self._on_changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        for part in (above, self._stain_form, self._options_form):
            layout.addWidget(part)
        self._stain_form.changed.connect(self._on_changed)
        self._options_form.changed.connect(self._on_changed)
        self.set_defaults(SlideOptions())

    @property
    def errors(self) -> list[str]:
        """Errors in the fields, a sentence each."""
        return [*(self._stain_form.faults if self._uses_stain else []), *self._options_form.faults]

    def values(self) -> dict[str, Any]:
        """Return the shown values by name, nested as in ``SlideOptions``."""
        stain = {"method": self._stain_field.value, **self._stain_form.values()} if self._uses_stain else None
        return {**self._options_form.values(), "stain": stain, "target": self._target_field.value}

    def set_defaults(self, options: SlideOptions) -> None:
        """Show options and make them the defaults, without emitting a signal."""
        self._stain_field.set_default(_stain_method(options))
        self._target_field.set_default(options.target)
        self._stain_form.set_defaults(options.stain or StainConfig())
        self._options_form.set_defaults(options)
        self._update_stain_form()

    def set_values(self, options: SlideOptions) -> None:
        """Show options, without emitting a signal."""
        self._stain_field.set_value(_stain_method(options))
        self._target_field.set_value(options.target)
        self._stain_form.set_values(options.stain or StainConfig())
        self._options_form.set_values(options)
        self._update_stain_form()

    def set_classes(self, classes: Sequence[str]) -> None:
        """List the classes of a model."""
        self._target_editor.set_classes(classes)

    @property
    def _uses_stain(self) -> bool:
        return bool(self._stain_field.value != NONE)

    def _update_stain_form(self) -> None:
        self._stain_form.setVisible(self._uses_stain)

    def _on_changed(self) -> None:
        self._update_stain_form()
        self.changed.emit()


def _is_form_field(excluded: Mapping[str, Any], key: str) -> bool:
    """Return whether a field has its control in the generated form; ``excluded``: True, or the fields inside it."""
    name, _, inner = key.removeprefix(PREFIX).partition(".")
    inside = excluded.get(name, ())
    return name not in OWN_FIELDS and inside is not True and inner not in inside


def _stain_method(options: SlideOptions) -> str:
    return NONE if options.stain is None else options.stain.method
