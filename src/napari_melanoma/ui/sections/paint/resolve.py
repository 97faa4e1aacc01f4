"""What the Paint section shows, as pure functions of what was painted and computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_count, format_duration

if TYPE_CHECKING:
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.ui.sections.paint.loop import LoopState

GOOD_STROKES = 5  # of each class, from which on a map is worth judging
FLUORESCENCE = "Fluorescence slides can be viewed, but not painted: the features are computed from brightfield stains."
NO_SCALE = "The pixel size of this slide is unknown. Set it with Scale, the ruler above, to paint classes."


@dataclass(frozen=True)
class Painted:
    """The strokes of all open slides.

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


def resolve_advice(painted: Painted, loop: LoopState, selected: str, tool: str) -> str:
    """Return what to do next, in one or two sentences.

    ``selected``: the selected class. ``tool``: the active tool, empty if there is none.
    """
    names = painted.classes
    if not names:
        how = f"Paint a stroke on {selected.lower()}" if tool else "Select a class, then the brush, and paint a stroke"
        return f"{how}. The map appears when two classes have a stroke."
    if len(names) == 1:
        return f"Select a second class and paint it: so far only {names[0].lower()} has strokes."
    few = [name for name, count in painted.strokes.items() if count < GOOD_STROKES]
    if loop.is_running and loop.total is None:
        return "Updating the map of the view ..."
    if few:
        least = min(few, key=lambda name: painted.strokes[name])
        return f"Correct the map where it is wrong. {least} has only {format_count(painted.strokes[least], 'stroke')}."
    return "Correct the map where it is wrong: each stroke updates it."


def resolve_progress(loop: LoopState) -> str:
    """Return the progress as text; empty if nothing is to be shown."""
    if loop.total is None or loop.done >= loop.total:
        return ""
    share = f"{loop.done:,} of {loop.total:,} blocks"
    if loop.is_paused:
        return f"Paused: map of {share}; the view is still updated."
    left = "" if loop.left_s is None else f", {format_duration(loop.left_s)} left"
    return f"Map of the slide: {share}{left}"


def resolve_class_names(names: Sequence[str], painted: Painted) -> list[str]:
    """Return a text for each class with the number of its strokes."""
    return [f"{name}: {format_count(painted.strokes.get(name, 0), 'stroke')}" for name in names]
