"""What the sections of the results show, as pure functions of the results of a slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.run_status import SuspiciousTile

NO_RESULTS = "No results yet. The heatmap appears here and is refined while the analysis runs."
NO_HEATMAP = "The model of these results outputs no heatmap."
NOT_SHOWN = "The heatmap is not shown, because the results are not valid."


@dataclass(frozen=True)
class HeatmapTexts:
    """Content of the Heatmap section.

    ``missing``: why there is no heatmap; empty if there is one. ``classes``: start with an empty one if there is a map
    of all classes, which is shown if ``target`` is empty; ``legend`` has the color of each class. ``shows_values``:
    whether the tiles have their values below them, which is known to be valid only when the analysis has finished.
    """

    missing: str
    classes: tuple[str, ...] = ()
    target: str = ""
    tiles: tuple[SuspiciousTile, ...] = ()
    shows_values: bool = False
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PredictionTexts:
    """Prediction for the slide, with a tooltip, and warnings about it; each may be empty."""

    prediction: str = ""
    tip: str = ""
    warnings: str = ""


def resolve_heatmap(results: AnalysisResults) -> HeatmapTexts:
    """Return the content of the Heatmap section."""
    heat = results.shown_heatmap
    if heat is None:
        return HeatmapTexts(NO_RESULTS if not results.content else NO_HEATMAP if results.heatmap is None else NOT_SHOWN)
    if heat.class_map is not None and heat.shows_classes:
        return HeatmapTexts("", ("", *heat.classes), "", legend=tuple(heat.class_map.colors.items()))
    classes = heat.classes if heat.class_map is None else ("", *heat.classes)
    return HeatmapTexts("", classes, heat.target, heat.tiles, shows_values=bool(results.content))


def resolve_prediction(results: AnalysisResults, size: PixelSize | None) -> PredictionTexts:
    """Return the prediction for a slide with a pixel size, unless that is unknown."""
    from napari_melanoma.slides.saved_results import describe_other_scale, describe_other_scores, describe_slide_score

    content, validity = results.content, results.validity
    text = describe_slide_score(content)
    if validity is not None and validity.valid:
        text = validity.headline(text)
    warnings = (describe_other_scale(content, size), *map(str, content.get("warnings", ())))
    return PredictionTexts(text, describe_other_scores(content), "\n".join(filter(None, warnings)))
