"""The options of an analysis in a fold of the Slide dock: remembered for the next day, filled when first opened."""

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
EXCLUDED_FIELDS = {"model", "mpp", "region", "tissue_mask", "lesions"}


class SlideOptionsController(QObject):
    """Knows the options also while nobody has opened the fold; says in its title how many are not the usual ones."""

    changed = Signal()

    def __init__(
        self, section: QCollapsible, model_picker: SlideModelPicker, settings: DockSettings, icons: ThemedIcons
    ) -> None:
        super().__init__(section)
        self._section, self._model_picker, self._settings, self._icons = section, model_picker, settings, icons
        self._form: SlideOptionsForm | None = None
        self._changed_values: dict[str, Any] = dict(settings.get(OPTIONS_SETTING, {}))  # what is not as usual
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_classes)
        self._section.toggled.connect(self._on_section_toggled)
        model_picker.changed.connect(self._on_model)
        self._update_title()
        self._on_section_toggled(self._section.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether the classes of a model are being read."""
        return self._latest.busy

    @property
    def error(self) -> str:
        """Why nothing can be analysed with what was typed; empty where it can."""
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
        """Give the options as they are shown, the usual ones in the place of those that are elsewhere in the dock."""
        from napari_melanoma.slides.options import SlideOptions

        if self._form is not None:
            return SlideOptions.parse(self._form.values(), "the options")
        try:
            return SlideOptions.parse(self._changed_values, "the options that were kept")
        except ConfigError:  # kept by another version
            return SlideOptions()

    def set_options(self, options: SlideOptions | None = None) -> None:
        """Show options, such as those that results were made with; nothing is remembered."""
        self._changed_values = (
            self._settings.get(OPTIONS_SETTING, {}) if options is None else get_changed_options(options)
        )
        if self._form is not None:
            self._form.set_values(self._saved_options())
        self._update_title()

    def _saved_options(self) -> SlideOptions:
        """What the values that are not as usual come to."""
        form, self._form = self._form, None
        try:
            return self.get_options()
        finally:
            self._form = form

    def _on_section_toggled(self, is_open: bool) -> None:
        """Make the form when somebody looks for the first time."""
        if is_open and self._form is None:
            from napari_melanoma.ui.slide.options_form import SlideOptionsForm

            kept = self._saved_options()
            self._form = SlideOptionsForm(self._settings, self._icons)
            self._form.set_values(kept)
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
    """Give what of options is not as usual and has its place in the fold.

    Returns as JSON holds it, nested as ``SlideOptions`` is.
    """
    values = options.model_dump(mode="json", exclude={*EXCLUDED_FIELDS}, exclude_defaults=True)
    for part, name in (("tissue", "method"), ("score", "positive")):
        inside = {key: value for key, value in values.pop(part, {}).items() if key != name}
        values |= {part: inside} if inside else {}
    if (values.get("stain") or {}).get("method") == "none":
        values.pop("stain")
    if options.stain is not None and "stain" in values:
        values["stain"].setdefault("method", options.stain.method)
    return values


def _read_classes(model: str, run: RunContext) -> tuple[str, ...]:
    """Classes of a bundle; none of what is no bundle here."""
    from napari_melanoma.models.registry import find_bundle

    try:
        return tuple(find_bundle(model).config.classes)
    except MelanomaError:
        return ()
