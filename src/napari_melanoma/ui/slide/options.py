"""The options of an analysis in a fold of the Slide dock: remembered for the next day, filled when first opened."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import ConfigError, MelanomaError
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.options_form import SlideOptionsForm

KEPT, TITLE = "slide/options", "Options"
NOT_HERE = {"model", "mpp", "region", "tissue_mask", "lesions"}


class SlideAdvanced(QObject):
    """Knows the options also while nobody has opened the fold; says in its title how many are not the usual ones."""

    changed = Signal()

    def __init__(self, controls: SlideControls) -> None:
        super().__init__(controls)
        self._controls, self._fold = controls, controls.options_fold
        self._form: SlideOptionsForm | None = None
        self._values: dict[str, Any] = dict(controls.settings.kept(KEPT, {}))  # what is not as usual
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_classes)
        self._fold.toggled.connect(self._on_fold)
        controls.model.changed.connect(self._on_model)
        self._count()
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether the classes of a model are being read."""
        return self._latest.busy

    @property
    def fault(self) -> str:
        """Why nothing can be analysed with what was typed; empty where it can."""
        if self._form is None:
            return ""
        if self._form.faults:
            return f"Options: {'; '.join(self._form.faults)}"
        try:
            self.options()
        except ConfigError as error:
            return str(error)
        return ""

    def options(self) -> SlideOptions:
        """Give the options as they are shown, the usual ones in the place of those that are elsewhere in the dock."""
        from napari_melanoma.slides.options import SlideOptions

        if self._form is not None:
            return SlideOptions.parse(self._form.values(), "the options")
        try:
            return SlideOptions.parse(self._values, "the options that were kept")
        except ConfigError:  # kept by another version
            return SlideOptions()

    def show(self, options: SlideOptions | None = None) -> None:
        """Show options, such as those that results were made with; nothing is remembered."""
        self._values = self._controls.settings.kept(KEPT, {}) if options is None else unusual(options)
        if self._form is not None:
            self._form.set_values(self._kept())
        self._count()

    def _kept(self) -> SlideOptions:
        """What the values that are not as usual come to."""
        form, self._form = self._form, None
        try:
            return self.options()
        finally:
            self._form = form

    def _on_fold(self, is_open: bool) -> None:
        """Make the form when somebody looks for the first time."""
        if is_open and self._form is None:
            from napari_melanoma.ui.slide.options_form import SlideOptionsForm

            kept = self._kept()
            self._form = SlideOptionsForm(self._controls.settings, self._controls.icons)
            self._form.set_values(kept)
            self._form.changed.connect(self._on_changed)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(self._form)
            self._on_model()

    def _on_changed(self) -> None:
        if self._form is not None and not self.fault:
            self._values = unusual(self.options())
            self._controls.settings.keep(KEPT, self._values)
        self._count()
        self.changed.emit()

    def _on_model(self) -> None:
        if self._form is not None:
            self._latest.submit("classes", lambda: partial(_classes, self._controls.model.model))

    def _on_classes(self, classes: tuple[str, ...]) -> None:
        if self._form is not None:
            self._form.offer(classes)

    def _count(self) -> None:
        changes = sum(len(value) if isinstance(value, Mapping) else 1 for value in self._values.values())
        self._fold.setText(f"{TITLE}  ({changes} changed)" if changes else TITLE)


def unusual(options: SlideOptions) -> dict[str, Any]:
    """Give what of options is not as usual and has its place in the fold.

    Returns as JSON holds it, nested as ``SlideOptions`` is.
    """
    values = options.model_dump(mode="json", exclude={*NOT_HERE}, exclude_defaults=True)
    for part, name in (("tissue", "method"), ("score", "positive")):
        inside = {key: value for key, value in values.pop(part, {}).items() if key != name}
        values |= {part: inside} if inside else {}
    if (values.get("stain") or {}).get("method") == "none":
        values.pop("stain")
    if options.stain is not None and "stain" in values:
        values["stain"].setdefault("method", options.stain.method)
    return values


def _classes(model: str, run: RunContext) -> tuple[str, ...]:
    """Classes of a bundle; none of what is no bundle here."""
    from napari_melanoma.models.registry import find_bundle

    try:
        return tuple(find_bundle(model).config.classes)
    except MelanomaError:
        return ()
