"""The Options section of the Slide dock: options of the analysis, stored in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import ConfigError, MelanomaError
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.model_picker import SlideModelPicker
    from napari_melanoma.ui.slide.options_form import SlideOptionsForm
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

OPTIONS_SETTING, TITLE = "slide/options", "Options"
# Options that have a control elsewhere in the dock, or follow from one: True, or the names inside.
EXCLUDED_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("model", "mpp", "region", "tissue_mask", "lesions"), True),
    "tissue": {"method"},
    "score": {"positive"},
}


class SlideOptionsController(QObject):
    """Hold the options, even before the section was opened; its title shows how many differ from the defaults."""

    changed = Signal()

    def __init__(
        self, section: QCollapsible, model_picker: SlideModelPicker, settings: DockSettings, icons: ThemedIcons
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
        self._on_section_toggled(self._section.isExpanded())

    @property
    def error(self) -> str:
        """Why the options are not valid; empty if they are."""
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
        """Return the shown options, with defaults for those that are set elsewhere in the dock."""
        from napari_melanoma.slides.options import SlideOptions

        if self._form is not None:
            return SlideOptions.parse(self._form.values(), "the options")
        try:
            return SlideOptions.parse(self._changed_values, "the stored options")
        except ConfigError:  # stored by another version
            return SlideOptions()

    def set_options(self, options: SlideOptions | None = None) -> None:
        """Show options, such as those of previous results, without storing them; None shows the stored ones."""
        self._changed_values = (
            self._settings.get(OPTIONS_SETTING, {}) if options is None else get_changed_options(options)
        )
        if self._form is not None:
            self._form.set_values(self._saved_options())
        self._update_title()

    def _saved_options(self) -> SlideOptions:
        """Return the options without those that were typed and not stored."""
        form, self._form = self._form, None
        try:
            return self.get_options()
        finally:
            self._form = form

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the form when the section is first opened."""
        if is_open and self._form is None:
            from napari_melanoma.ui.slide.options_form import SlideOptionsForm

            options = self._saved_options()
            self._form = SlideOptionsForm(self._settings, self._icons, EXCLUDED_FIELDS)
            self._form.set_values(options)
            self._form.changed.connect(self._on_changed)
            self._section.content().layout().itemAt(0).widget().layout().addWidget(self._form)
            self._on_model()

    def _on_changed(self) -> None:
        if self._form is not None and not self.error:
            self._changed_values = get_changed_options(self.get_options())
            self._settings.set(OPTIONS_SETTING, self._changed_values)
        self._update_title()
        self.changed.emit()

    def _on_model(self) -> None:
        if self._form is not None:
            self._latest.submit("classes", lambda: partial(_read_classes, self._model_picker.model))

    def _on_classes(self, classes: tuple[str, ...]) -> None:
        if self._form is not None:
            self._form.set_classes(classes)

    def _update_title(self) -> None:
        changes = sum(len(value) if isinstance(value, Mapping) else 1 for value in self._changed_values.values())
        self._section.setText(f"{TITLE}  ({changes} changed)" if changes else TITLE)


def get_changed_options(options: SlideOptions) -> dict[str, Any]:
    """Return the options of this section that differ from the defaults, as JSON, nested as in ``SlideOptions``."""
    dumped = options.model_dump(mode="json", exclude=EXCLUDED_FIELDS, exclude_defaults=True)
    values = {name: value for name, value in dumped.items() if value or name not in EXCLUDED_FIELDS}
    if (values.get("stain") or {}).get("method") == "none":
        values.pop("stain")
    if options.stain is not None and "stain" in values:
        values["stain"].setdefault("method", options.stain.method)
    return values


def _read_classes(model: str, run: RunContext) -> tuple[str, ...]:
    """Return the classes of a model bundle; none if it is not installed."""
    from napari_melanoma.models.registry import find_bundle

    try:
        return tuple(find_bundle(model).config.classes)
    except MelanomaError:
        return ()
