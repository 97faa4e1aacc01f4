"""What the Paint section shows, as pure functions of what was painted and computed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_count, format_duration
from napari_melanoma.slides.tissue_classifier.feature_sources import IMAGENET, JOIN
from napari_melanoma.slides.tissue_classifier.fitting import KIND_NAMES
from napari_melanoma.ui.widgets.charts import Bar

if TYPE_CHECKING:
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.assessment import Assessment
    from napari_melanoma.ui.sections.paint.loop import LoopState

NO_AREAS: Mapping[str, float] = MappingProxyType({})
MIN_CONFUSION, MAX_CONFUSIONS = 0.05, 3  # shares of cells that are listed, and their number
STROKES_TIP = "Balanced accuracy on strokes that were left out of the training, with a 95 % interval"
SLIDES_TIP = "Balanced accuracy on slides that were left out of the training, with a 95 % interval"
NOT_LEFT_OUT = "The only stroke of this class cannot be left out: its accuracy is unknown."
CORNERS = (  # by number of corners of an unfinished area
    "Click the second corner of the area. Backspace removes a corner, Escape drops the area.",
    "Click the third corner of the area. Backspace removes a corner, Escape drops the area.",
    "Click the next corner. A double click or Return closes the area, Backspace removes a corner, Escape drops it.",
)
FLUORESCENCE = (
    "Only brightfield slides are painted here. Classifiers of fluorescence slides are fitted with 'napari-melanoma "
    "tissue fit --channels'."
)
NO_SCALE = "The pixel size of this slide is unknown. Set it with Scale, the ruler above, to paint classes."


@dataclass(frozen=True)
class Painted:
    """The strokes of all slides displayed so far.

    ``strokes``: number of each class. ``slides``: number of slides with strokes of each class.
    """

    strokes: Mapping[str, int] = field(default_factory=dict)
    slides: Mapping[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes with strokes."""
        return tuple(self.strokes)


def count_strokes(slides: Sequence[Sequence[Stroke]]) -> Painted:
    """Count the strokes; ``slides``: the strokes of each slide."""
    strokes = Counter(stroke.class_name for slide in slides for stroke in slide)
    return Painted(strokes, Counter(name for slide in slides for name in {stroke.class_name for stroke in slide}))


def resolve_advice(
    painted: Painted, loop: LoopState, selected: str, tool: str, best: str = "", corners: int = 0
) -> str:
    """Return what to do next, in one or two sentences.

    ``selected``: the selected class. ``tool``: the active tool, empty if there is none. ``best``: which strokes would
    help most, by the validation; empty if unknown. ``corners``: number of those of an unfinished area.
    """
    names = painted.classes
    if corners:
        return CORNERS[min(corners, len(CORNERS)) - 1]
    if tool == "similar":
        return "Click a cell of the slide; the most similar ones are listed below."
    if not names:
        how = f"Paint a stroke on {selected.lower()}" if tool else "Select a class, then the brush, and paint a stroke"
        return f"{how}. The map appears when two classes have a stroke."
    if len(names) == 1:
        return f"Select a second class and paint it: so far only {names[0].lower()} has strokes."
    if not loop.is_fitted and loop.is_running:
        return "Computing the first map of the view ..."
    if not loop.is_fitted:
        return "There is no map yet: too few strokes are on tissue that could be read. The warnings below state why."
    if not tool:
        return "Select the brush, and paint where the map is wrong."
    return f"Paint where the map is wrong. {best}".strip()


def resolve_progress(loop: LoopState) -> str:
    """Return the progress as text; empty if nothing is computed and there is no map."""
    if loop.activity:
        return loop.activity
    if loop.total is None:
        return "Updating the view ..." if loop.is_running else ""
    if loop.done >= loop.total and not loop.is_fitted:
        return ""
    if loop.done >= loop.total:
        return "Updating the map ..." if loop.is_running else "The map of the slide is complete."
    share = f"{loop.done:,} of {loop.total:,} blocks"
    if loop.is_paused:
        return f"Paused: map of {share}; the view is still updated."
    left = "" if loop.left_s is None else f", {format_duration(loop.left_s)} left"
    return f"{'Map' if loop.is_fitted else 'Features'} of the slide: {share}{left}"


@dataclass(frozen=True)
class PanelView:
    """What the panel shows of a validation. ``rows``: the accuracy, then the classes."""

    rows: tuple[Bar, ...] = ()
    confusions: str = ""
    areas: str = ""
    warnings: str = ""
    choice: str = ""


def resolve_panel(
    painted: Painted,
    assessment: Assessment | None,
    areas_mm2: Mapping[str, float] = NO_AREAS,
    notes: Sequence[str] = (),
) -> PanelView:
    """Return what the panel shows; without an assessment, the numbers of strokes only.

    ``areas_mm2``: area of each class on the map. ``notes``: messages about the strokes.
    """
    areas = ", ".join(f"{name} {area:.3g} mm²" for name, area in areas_mm2.items())
    areas = f"Areas of the tissue on the map: {areas}" if areas else ""
    validation = None if assessment is None else assessment.chosen
    notices = () if assessment is None else (assessment.notice, *assessment.chosen.warnings)
    warnings = "\n".join(filter(None, (*notes, *notices)))
    if validation is None or validation.accuracy is None:
        counts = tuple(Bar(name, format_count(count, "stroke")) for name, count in painted.strokes.items())
        return PanelView(counts, "", areas, warnings)
    known = validation.recall
    rows = [_accuracy_bar("Accuracy", validation.accuracy, STROKES_TIP)]
    if validation.slides is not None:
        rows.append(_accuracy_bar("Other slides", validation.slides, SLIDES_TIP))
    for index, (name, strokes, cells) in enumerate(
        zip(validation.classes, validation.strokes, validation.cells, strict=True)
    ):
        text = f"{format_count(strokes, 'stroke')}, {format_count(cells, 'cell')}"
        share = known.get(name, math.nan)
        tip = _describe_row(validation, index) if math.isfinite(share) else NOT_LEFT_OUT
        rows.append(Bar(name, text, share if math.isfinite(share) else None, tip=tip))
    choice = "" if assessment is None else _describe_choice(validation, assessment.candidates)
    return PanelView(tuple(rows), _describe_confusions(validation), areas, warnings, choice)


def _describe_choice(chosen: Validation, candidates: Sequence[Validation]) -> str:
    """Return which features and classifier are used, and the accuracy of all features, by which they were chosen."""
    text = f"{name_features(chosen.source)}, {KIND_NAMES[chosen.kind]}"
    best = _best_accuracies(candidates)
    if len(candidates) > 1:
        kinds = "combinations of features and classifier" if len(best) > 1 else "kinds of classifiers"
        text += f": chosen among {len(candidates)} {kinds} by strokes that were left out"
    listed = ", ".join(f"{name_features(name)} {accuracy:.2f}" for name, accuracy in best.items())
    return f"{text} (accuracy: {listed})" if len(best) > 1 else text


def name_features(source: str) -> str:
    """Return the name of features for the user."""
    return " + ".join({IMAGENET: "ImageNet"}.get(part, part) for part in source.split(JOIN))


def _accuracy_bar(name: str, accuracy: Estimate, tip: str) -> Bar:
    interval = (accuracy.low, accuracy.high) if accuracy.has_interval else None
    text = f"{accuracy.mean:.2f}" + (f" ({accuracy.low:.2f}–{accuracy.high:.2f})" if interval else "")
    return Bar(name, text, accuracy.mean, interval, strong=True, tip=tip)


def _describe_row(validation: Validation, index: int) -> str:
    """Describe the predictions for the left-out cells of a class, the most frequent first."""
    shares = dict(zip(validation.classes, validation.confusion[index].tolist(), strict=True))
    parts = [f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda one: -one[1]) if share >= 0.005]
    return f"Left-out cells of {validation.classes[index]} are predicted as: {', '.join(parts)}"


def _describe_confusions(validation: Validation) -> str:
    """Name the most frequent confusions of two classes; empty if there are none."""
    pairs = [
        (float(validation.confusion[row, column]), true, predicted)
        for row, true in enumerate(validation.classes)
        for column, predicted in enumerate(validation.classes)
        if row != column and validation.confusion[row, column] >= MIN_CONFUSION
    ]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:MAX_CONFUSIONS]
    return "; ".join(f"{true} predicted as {predicted}: {share:.0%}" for share, true, predicted in worst)


def resolve_save_blocker(painted: Painted, *, is_saving: bool) -> str:
    """Return why no model can be saved; empty if one can."""
    if is_saving:
        return "A model is being saved."
    return "" if len(painted.classes) > 1 else "Paint at least two classes first."


def resolve_save_note(loop: LoopState, source: str, assessment: Assessment | None, *, is_assessing: bool) -> str:
    """Return which features a saved model would have, those of the map, and why; empty without a map.

    ``source``: of the features of the map. ``is_assessing``: whether features are being compared.
    """
    if not loop.is_fitted:
        return ""
    text = f"Saved as shown, with the features of this map: {name_features(source)}"
    if is_assessing:
        return f"{text}. The features are still being compared, so the map may change."
    accuracies = _best_accuracies(() if assessment is None else assessment.candidates)
    if len(accuracies) < 2:
        return f"{text}."
    return f"{text}, chosen by the accuracy on left-out strokes (see Options)."


def _best_accuracies(candidates: Sequence[Validation]) -> dict[str, float]:
    """Return the best accuracy of each source of features, of those whose accuracy is known."""
    best: dict[str, float] = {}
    for one in candidates:
        if one.accuracy is not None:
            best[one.source] = max(best.get(one.source, 0.0), one.accuracy.mean)
    return best


def resolve_apply_blocker(model: str) -> str:
    """Return why no model can be applied; empty if one can. ``model``: that was saved here; empty if there is none."""
    return "" if model else "Save a model first."
