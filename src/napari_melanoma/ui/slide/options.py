"""The Options section of the Slide dock: options of the analysis that have no control elsewhere in the dock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, MelanomaError
from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.slide.model_picker import SlideModelPicker
from napari_melanoma.ui.widgets.config_form import ConfigForm, FormField
from napari_melanoma.ui.widgets.editors import ChoiceEditor
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    FormRows,
    ThemedIcons,
    fill_column,
    form_layout,
    named,
)

if TYPE_CHECKING:
    from napari_melanoma.slides.options import SlideOptions

OPTIONS_SETTING, TITLE = "slide/options", "Options"
# Options that are set elsewhere in the dock. True: the whole option; a set: only these nested options.
EXCLUDED_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("model", "mpp", "mpp_y", "region", "patient", "tissue_mask", "tumor_outlines", "lesions"), True),
    "tissue": {"method"},
    "score": {"positive"},
}
SPLIT_GROUPS = ("tissue", "score")
FIELD_PREFIX = "slide."
NO_STAIN = "none"


class SlideOptionsController(QObject):
    """Provide and store the options; the form is created when the section is first opened.

    The title of the section shows how many options differ from the defaults.
    """

    changed = Signal()

    def __init__(
        self, section: CollapsibleSection, model_picker: SlideModelPicker, settings: DockSettings, icons: ThemedIcons
    ) -> None:
        super().__init__(section)
        self._section, self._model_picker, self._settings, self._icons = section, model_picker, settings, icons
        self._form: SlideOptionsForm | None = None
        self._changed_values: dict[str, Any] = dict(settings.get(OPTIONS_SETTING, {}))
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_classes)
        self._section.toggled.connect(self._on_section_toggled)
        model_picker.changed.connect(self._on_model)
        self._update_title()
        self._on_section_toggled(self._section.is_expanded)

    @property
    def error(self) -> str:
        """Message about invalid options; empty if all are valid."""
        if self._form is None:
            return ""
        if self._form.errors:
            return f"Options: {'; '.join(self._form.errors)}"
        try:
            self.get_options()
        except ConfigError as error:
            return str(error)
        return ""

    def get_options(self) -> SlideOptions:
        """Return the shown options, with defaults for those that are set elsewhere in the dock.

        Raise ``ConfigError`` if the shown options are not valid.
        """
        from napari_melanoma.slides.options import SlideOptions

        if self._form is None:
            return _parse_or_default(self._changed_values)
        return SlideOptions.parse(self._form.values(), "the options")

    def set_options(self, options: SlideOptions | None = None) -> None:
        """Show options, such as those of previous results, without storing them; None shows the stored ones."""
        self._changed_values = (
            self._settings.get(OPTIONS_SETTING, {}) if options is None else get_changed_options(options)
        )
        if self._form is not None:
            self._form.set_values(_parse_or_default(self._changed_values))
        self._update_title()

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the form when the section is first opened."""
        if is_open and self._form is None:
            self._form = SlideOptionsForm(self._settings, self._icons)
            self._form.set_values(_parse_or_default(self._changed_values))
            self._form.changed.connect(self._on_changed)
            self._section.add_widget(self._form)
            self._on_model()

    def _on_changed(self) -> None:
        """Store what the user has changed, but not the other options of results that are shown."""
        if self._form is not None and not self.error:
            shown, self._changed_values = self._changed_values, get_changed_options(self.get_options())
            stored = get_changed_options(_parse_or_default(self._settings.get(OPTIONS_SETTING, {})))
            self._settings.set(OPTIONS_SETTING, apply_changes(stored, shown, self._changed_values))
        self._update_title()
        self.changed.emit()

    def _on_model(self) -> None:
        if self._form is not None:
            self._latest.submit("classes", lambda: partial(_read_classes, self._model_picker.model))

    def _on_classes(self, classes: tuple[str, ...]) -> None:
        if self._form is not None:
            self._form.set_classes(classes)

    @property
    def change_count(self) -> int:
        """Number of options that differ from the defaults."""
        return sum(len(value) if isinstance(value, Mapping) else 1 for value in self._changed_values.values())

    def _update_title(self) -> None:
        changes = self.change_count
        self._section.title_button.setText(f"{TITLE}  ({changes} changed)" if changes else TITLE)


def _parse_or_default(values: Mapping[str, Any]) -> SlideOptions:
    """Return stored options; the defaults if this version cannot read them."""
    from napari_melanoma.slides.options import SlideOptions

    try:
        return SlideOptions.parse(dict(values), "the stored options")
    except ConfigError:
        return SlideOptions()


def get_changed_options(options: SlideOptions) -> dict[str, Any]:
    """Return the options of this section that differ from the defaults, as JSON, nested as in ``SlideOptions``."""
    dumped = options.model_dump(mode="json", exclude=EXCLUDED_FIELDS, exclude_defaults=True)
    # A nested group of options is empty if only options that are excluded here were changed.
    values = {name: value for name, value in dumped.items() if value or name not in EXCLUDED_FIELDS}
    # With the method "none", the other stain options have no effect, so nothing differs from the default.
    if (values.get("stain") or {}).get("method") == NO_STAIN:
        values.pop("stain")
    # exclude_defaults has removed a default method, but stain options with any method differ from the default: none.
    if options.stain is not None and "stain" in values:
        values["stain"].setdefault("method", options.stain.method)
    return values


def apply_changes(stored: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return stored options with the changes between two others; all as from ``get_changed_options``.

    A group changes option by option, but for the stain, whose options have no effect without its method.
    """
    result = dict(stored)
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name in SPLIT_GROUPS:
            new = apply_changes(stored.get(name) or {}, old or {}, new or {})
        if new is None or (name in SPLIT_GROUPS and not new):
            result.pop(name, None)
        else:
            result[name] = new
    return result


def _read_classes(model: str, run: RunContext) -> tuple[str, ...]:
    """Return the classes of a model bundle; none if it is not installed."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return tuple(find_bundle(model).config.classes)
    except MelanomaError:
        return ()


OWN_FIELDS = ("stain", "target")  # fields with controls of their own in this module, not generated ones


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
        selected = self.value
        self._combo.blockSignals(True)
        self._combo.clear()
        for name in ("", *classes):
            self._combo.addItem(self._title(name), name)
        self._combo.blockSignals(False)
        self.value = selected


class SlideOptionsForm(QWidget):
    """Form for the options that have no control elsewhere in the dock: stain, tiles, tissue, score and computation."""

    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        from napari_melanoma.core.prediction_config import StainMethod
        from napari_melanoma.imaging.stain import StainConfig
        from napari_melanoma.slides.options import SlideOptions

        super().__init__()
        named(self, "slide_options", "Options of the analysis").setToolTip("")
        fields = SlideOptions.model_fields
        self._target_editor = TargetEditor()
        self._stain_field = FormField(
            f"{FIELD_PREFIX}stain", fields["stain"], ChoiceEditor(get_args(StainMethod)), icons
        )
        self._target_field = FormField(f"{FIELD_PREFIX}target", fields["target"], self._target_editor, icons)
        self._stain_form = ConfigForm(
            StainConfig, settings, icons, lambda key: not key.endswith("method"), f"{FIELD_PREFIX}stain."
        )
        self._options_form = ConfigForm(SlideOptions, settings, icons, _is_form_field, FIELD_PREFIX)
        top_rows = FormRows()
        rows = form_layout(top_rows)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in (self._target_field, self._stain_field):
            rows.addRow(field.label, field)
            field.changed.connect(self._on_changed)
        fill_column(self, top_rows, self._stain_form, self._options_form, spacing=5)
        self._stain_form.changed.connect(self._on_changed)
        self._options_form.changed.connect(self._on_changed)
        self._apply(SlideOptions(), FormField.set_default, ConfigForm.set_defaults)

    @property
    def errors(self) -> list[str]:
        """Messages about invalid fields, one sentence each."""
        return [*(self._stain_form.faults if self._uses_stain else []), *self._options_form.faults]

    def values(self) -> dict[str, Any]:
        """Return the shown values by name, nested as in ``SlideOptions``."""
        stain = {"method": self._stain_field.value, **self._stain_form.values()} if self._uses_stain else None
        return {**self._options_form.values(), "stain": stain, "target": self._target_field.value}

    def set_values(self, options: SlideOptions) -> None:
        """Show options, without emitting a signal."""
        self._apply(options, FormField.set_value, ConfigForm.set_values)

    def _apply(
        self,
        options: SlideOptions,
        set_field: Callable[[FormField, Any], None],
        set_form: Callable[[ConfigForm, Any], None],
    ) -> None:
        from napari_melanoma.imaging.stain import StainConfig

        set_field(self._stain_field, NO_STAIN if options.stain is None else options.stain.method)
        set_field(self._target_field, options.target)
        set_form(self._stain_form, options.stain or StainConfig())
        set_form(self._options_form, options)
        self._update_stain_form()

    def set_classes(self, classes: Sequence[str]) -> None:
        self._target_editor.set_classes(classes)

    @property
    def _uses_stain(self) -> bool:
        return bool(self._stain_field.value != NO_STAIN)

    def _update_stain_form(self) -> None:
        self._stain_form.setVisible(self._uses_stain)

    def _on_changed(self) -> None:
        self._update_stain_form()
        self.changed.emit()


def _is_form_field(key: str) -> bool:
    name, _, inner = key.removeprefix(FIELD_PREFIX).partition(".")
    excluded = EXCLUDED_FIELDS.get(name, ())
    return name not in OWN_FIELDS and excluded is not True and inner not in excluded
