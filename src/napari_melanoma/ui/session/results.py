"""The results of a slide that are shown, those of the whole slide or of the view, and how its heatmap is displayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.slides.notes import LayerDisplay
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.run_status import ClassMapData, HeatmapData, SlideRunUpdate, analysis_identity
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap, transparent_colormap_name
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from napari.layers import Image


FINAL_STATES = ("finished", "failed", "cancelled", "lost")
COLORMAPS = ("magma", "viridis", "inferno", "plasma", "gray")  # suitable for color vision deficiency
PERCENT = 100


@dataclass(frozen=True, eq=False)
class AnalysisResults:
    """The results that are shown.

    ``is_view``: those of the view, not of the whole slide. ``state``: of the analysis; empty until it was read.
    ``content``: of result.json; empty while there is none and while the analysis runs, because the file is that of the
    previous analysis then. ``shows_invalid``: the user wants to see numbers that are not valid.
    """

    is_view: bool = False
    state: str = ""
    is_running: bool = False
    heatmap: HeatmapData | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    shows_invalid: bool = False

    @cached_property
    def validity(self) -> Validity | None:
        """Whether the prediction is valid; None without a prediction."""
        return read_validity(self.content) if self.content else None

    @property
    def shows_numbers(self) -> bool:
        """Whether the predicted numbers are shown."""
        return self.validity is None or self.validity.valid or self.shows_invalid

    @property
    def shown_heatmap(self) -> HeatmapData | None:
        """The heatmap; None if there is none, and while numbers that are not valid are hidden."""
        return self.heatmap if self.shows_numbers else None

    @property
    def shown_class_map(self) -> ClassMapData | None:
        """The map of all classes of a tissue classifier, if it is shown instead of a heatmap."""
        heat = self.shown_heatmap
        return heat.class_map if heat is not None and heat.shows_classes else None

    @property
    def has_lesions(self) -> bool:
        """Whether lesions can be detected: an analysis has finished whose heatmap shows probabilities of a class."""
        return bool(self.content.get("target")) and self.has_classes

    @property
    def has_classes(self) -> bool:
        """Whether a class can be selected whose areas are detected: an analysis has finished with their maps."""
        return bool(self.content) and self.heatmap is not None and self.heatmap.is_probability

    def follow(self, update: SlideRunUpdate) -> AnalysisResults:
        """Return the results after an update of the analysis; the same object if nothing has changed."""
        state, is_running = str(update.status.state), bool(update.status.state.active)
        content = {} if is_running else update.content
        if (state, update.heatmap) == (self.state, None) and content == self.content:
            return self
        heatmap = self.heatmap if update.heatmap is None else update.heatmap
        results = AnalysisResults(self.is_view, state, is_running, heatmap, content)
        is_same = analysis_identity(content) == analysis_identity(self.content) and results.validity == self.validity
        return replace(results, shows_invalid=self.shows_invalid and is_same)


class SlideResults(Shared[AnalysisResults]):
    """The shown results of a slide, which follow its analysis.

    ``ended``: an analysis has ended, or that of an earlier session was found; whether it was seen running.
    ``target_selected``: the user has selected the class of heatmap and lesions. ``threshold_selected``: the user has
    set the threshold of the lesions.
    """

    ended = Signal(object, bool)  # SlideRunUpdate
    target_selected = Signal(str)
    threshold_selected = Signal(float)

    def follow(self, update: SlideRunUpdate) -> None:
        """Show an update of the analysis."""
        previous = self.value
        results = previous.follow(update)
        self.set(results)
        states = [(one.state, analysis_identity(one.content), not one.content) for one in (results, previous)]
        is_new = states[0] != states[1]  # not if lesions were saved
        if is_new and results.state in FINAL_STATES:
            self.ended.emit(update, previous.state not in ("", *FINAL_STATES))

    def add_lesions(self, content: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
        """Show content with lesions that were saved, unless it was replaced since; ``content``: without them."""
        if self.value.content is content and saved != content:
            self.set(replace(self.value, content=saved))

    def reopen(self, *, is_view: bool) -> None:
        """Follow the analysis of a slide that is displayed again, as one of an earlier session.

        Numbers that are not valid are hidden again.
        """
        if is_view == self.value.is_view:
            self.set(replace(self.value, state="", shows_invalid=False))
        else:
            self.reset(is_view=is_view)

    def reset(self, *, is_view: bool) -> None:
        """Show no results, because an analysis has started or other results will be shown."""
        self.set(AnalysisResults(is_view))

    def show_invalid(self, shown: bool) -> None:
        """Show numbers that are not valid, or hide them."""
        if shown != self.value.shows_invalid:
            self.set(replace(self.value, shows_invalid=shown))


@dataclass(frozen=True)
class HeatmapDisplay:
    """How the heatmap of a slide is displayed.

    ``opacity``: in percent. ``threshold``: probability from which there is a lesion. ``is_masked``: the heatmap is
    hidden below the threshold.
    """

    visible: bool = True
    opacity: int = 60
    colormap: str = COLORMAPS[0]
    is_masked: bool = False
    threshold: float = 0.6

    def apply(self, layer: Image, *, is_hidden: bool = False) -> None:
        """Apply visibility, opacity and colormap to a layer, which stays hidden with its slide or with all overlays."""
        if layer.colormap.name != transparent_colormap_name(self.colormap):
            layer.colormap = make_transparent_colormap(self.colormap)
        layer.visible, layer.opacity = self.visible and not is_hidden, self.opacity / PERCENT


class SlideHeatmapDisplay(Shared[HeatmapDisplay]):
    """How the heatmap of a slide is displayed; what the user changes is stored in the settings."""

    def __init__(self, settings: DockSettings, stored: LayerDisplay | None) -> None:
        default = HeatmapDisplay()
        values: dict[str, Any] = {key: settings.get(name, getattr(default, key)) for key, name in SETTINGS.items()}
        if values["colormap"] not in COLORMAPS:
            values["colormap"] = default.colormap
        super().__init__(HeatmapDisplay(**values))
        self._settings = settings
        if stored is not None:
            self.show_layer(visible=stored.visible, opacity=stored.opacity)

    def edit(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        """Change the display, also for slides that are opened next."""
        for key, value in changes.items():
            self._settings.set(SETTINGS[key], value)
        self.update(**changes)

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        """Change the display of this slide only."""
        display = replace(self.value, **changes)
        if display != self.value:
            self.set(display)

    def show_layer(self, *, visible: bool, opacity: float) -> None:
        """Use visibility and opacity, 0 to 1, of a layer."""
        self.update(visible=visible, opacity=round(PERCENT * opacity))


SETTINGS = {
    "visible": "slide/heatmap",
    "opacity": "slide/opacity",
    "colormap": "slide/colours",
    "is_masked": "slide/above",
    "threshold": "slide/threshold",
}
