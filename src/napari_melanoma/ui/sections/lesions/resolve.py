"""The texts of the Lesions section, as pure functions of lesions and results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import capitalize, format_class, format_count, format_share, format_significant
from napari_melanoma.slides.lesions import LESION_CLASSES, area_noun

if TYPE_CHECKING:
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.results import AnalysisResults

NO_LESIONS = "No lesions yet. Analyze the slide first."
LESIONS_LATER = "Lesions are detected when the analysis has finished."
LESIONS_NOW = "Detecting lesions ..."
NOT_ASSESSED = "Not assessed: the model of these results does not detect lesions."
NO_CLASS = "Choose a class whose areas are listed here, or paint the tumor."


def describe_lesions(state: LesionState | None, results: AnalysisResults, *, is_corrected: bool) -> str:
    """Describe the lesions in one line; ``is_corrected``: lesions were edited since the threshold was changed."""
    if state is None:
        return _explain_missing_lesions(results)
    return _summarize(state) if state.lesions else _describe_no_lesions(state, is_corrected=is_corrected)


def _explain_missing_lesions(results: AnalysisResults) -> str:
    """Explain why there are no lesions, or what to do to get them."""
    if results.is_running:
        return LESIONS_LATER
    if not results.content:
        return NO_LESIONS
    if results.has_lesions:
        return LESIONS_NOW
    return NO_CLASS if results.has_classes else NOT_ASSESSED


def _summarize(state: LesionState) -> str:
    """Return the limit of malignant lesions if it is not 0.5; the answer of the dock has their number and area."""
    limit = state.config.malignant_from
    is_classified = all(lesion.label in LESION_CLASSES for lesion in state.lesions)
    return f"Malignant from a probability of {limit:g}." if is_classified and limit != 0.5 else ""


def _describe_no_lesions(state: LesionState, *, is_corrected: bool) -> str:
    """Describe which lesions were removed; the answer of the dock states that there are none."""
    count, noun = len(state.removed or ()), area_noun(state.source.target)
    if not count:
        return ""
    removed = f"{format_count(count, noun)} {'was' if count == 1 else 'were'} removed manually."
    return f"No {noun}s left: {removed}" if is_corrected else capitalize(removed)


def class_of_probability(lesion: SlideLesion, target: str = "") -> str:
    """Return the class to which ``class_probability`` of a lesion refers: ``malignancy`` for benign lesions too."""
    return "malignancy" if math.isfinite(lesion.malignancy) else format_class(target or lesion.label)


def _describe_label_origin(lesion: SlideLesion) -> str:
    """State that a reader set the class, where the origin of the lesion does not."""
    return ", class set by hand" if lesion.label_origin == "reader" and lesion.origin != "classed" else ""


def describe_lesion(lesion: SlideLesion, target: str = "") -> str:
    probabilities = {class_of_probability(lesion, target): lesion.class_probability}
    probabilities |= {f"{format_class(target)} (mean of the heatmap)": lesion.probability} if target else {}
    name = f"{area_noun(lesion.label)} {lesion.index}"
    lines = [
        f"{name}: {format_class(lesion.label)}, {lesion.origin}{_describe_label_origin(lesion)}",
        *(
            f"probability of {name} {'unknown' if math.isnan(value) else f'{value:.3f}'}"
            for name, value in probabilities.items()
        ),
    ]
    if lesion.area_mm2 is not None and lesion.perimeter_mm is not None:
        lines += [f"area {format_area(lesion)}, perimeter {lesion.perimeter_mm:.3g} mm"]
    if lesion.height_mm is not None and lesion.width_mm is not None:
        lines += [f"{lesion.width_mm:.3g} x {lesion.height_mm:.3g} mm, fills {100 * lesion.extent:.0f} % of that box"]
    return "\n".join([*lines, f"{format_share(lesion.tissue_share)} of the tissue"])


def describe_drawn_lesion(lesion: SlideLesion, target: str) -> str:
    """Describe a drawn lesion in one sentence; ``target``: the class of the probabilities."""
    facts = [lesion.label, format_area(lesion)]
    if not math.isnan(lesion.class_probability):
        facts.append(f"probability of {class_of_probability(lesion, target)} {lesion.class_probability:.2f}")
    return f"{capitalize(area_noun(lesion.label))} {lesion.index} drawn: {', '.join(facts)}."


def format_area(lesion: SlideLesion, *, unit: bool = True) -> str:
    """Return the area of a lesion, with or without its unit."""
    if lesion.area_mm2 is None:
        return f"{lesion.area_px:,.0f}" + " px" * unit
    return format_significant(lesion.area_mm2) + " mm²" * unit


def format_cells(lesion: SlideLesion) -> tuple[str, ...]:
    """Return the texts of a row of the table: number, class, probability, area and share of the tissue."""
    mark = "" if lesion.origin == "found" else " *"
    return (
        str(lesion.index),
        format_class(lesion.label) + mark,
        "–" if math.isnan(lesion.class_probability) else f"{lesion.class_probability:.2f}",
        format_area(lesion, unit=False),
        format_share(lesion.tissue_share),
    )


def sort_key(lesion: SlideLesion, column: int) -> tuple[bool, float | str]:
    """Return the key by which a column of the table is sorted; unknown values are last."""
    values = (lesion.index, lesion.label, lesion.class_probability, lesion.area_px, lesion.tissue_share)
    value = values[column]
    is_unknown = isinstance(value, float) and math.isnan(value)
    return is_unknown, 0.0 if is_unknown else value
