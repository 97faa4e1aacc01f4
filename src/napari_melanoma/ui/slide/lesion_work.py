"""The lesions of a slide as values: what is known of them, and the functions that a thread runs on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.analysis.lesion_edits import History, Lesions
    from napari_melanoma.analysis.slide_lesions import LesionConfig, LesionMaps
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.slide.layers import OpenSlide

HYSTERESIS = 0.2  # a lesion reaches as far as the probability is at most so much below the threshold
Edit = Callable[["Lesions", "LesionMaps", "LesionConfig"], "Lesions"]


@dataclass(frozen=True)
class LesionState:
    """Lesions at one moment: at which thresholds they were found, and which somebody removed.

    ``gone`` is None where nobody has asked yet, as of lesions that were read.
    """

    lesions: Lesions
    config: LesionConfig
    gone: Lesions | None = None


@dataclass(frozen=True)
class Findings:
    """The lesions of one slide, with what they are measured on and how they came about."""

    identity: str
    folder: Path
    target: str
    history: History[LesionState]
    rings: list[tuple[int, str, NDArray[np.float64]]] = field(default_factory=list)
    saved: bool = True
    anew: bool = False  # whether they were just found again, which is a step that can be undone

    @property
    def lesions(self) -> Lesions:
        """As they are now."""
        return self.history.now.lesions

    @property
    def config(self) -> LesionConfig:
        """The thresholds at which they were found."""
        return self.history.now.config

    @property
    def by_hand(self) -> bool:
        """Whether what somebody made or removed is in them."""
        from napari_melanoma.analysis.kept_edits import made_by_hand

        now = self.history.now
        return bool(made_by_hand(now.lesions) or now.gone)

    @property
    def corrected(self) -> bool:
        """Whether somebody changed what was found, and has not moved the threshold since."""
        return not self.anew and (bool(self.history.past) or self.by_hand)


def config_at(threshold: float) -> LesionConfig:
    """Say what a lesion is at a threshold."""
    from napari_melanoma.analysis.slide_lesions import LesionConfig

    return LesionConfig(high=threshold, low=max(0.0, round(threshold - HYSTERESIS, 4)))


def lesion_at(lesions: Lesions, point: tuple[float, float]) -> int | None:
    """Number of the lesion at a point.

    ``point``: (row, column) in pixels of the finest level. None where there is none.
    """
    for lesion in lesions:
        for polygon in lesion.polygons:
            if _within(polygon.outer, point) and not any(_within(hole, point) for hole in polygon.holes):
                return int(lesion.index)
    return None


def _within(ring: Any, point: tuple[float, float]) -> bool:  # noqa: ANN401 - a ring of a polygon
    """Whether a point lies within a ring: a ray to the right crosses it an odd number of times."""
    row, column = point
    inside = False
    for (r0, c0), (r1, c1) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if (r0 > row) != (r1 > row) and column < c0 + (row - r0) / (r1 - r0) * (c1 - c0):
            inside = not inside
    return inside


def _rings(lesions: Lesions) -> list[tuple[int, str, NDArray[np.float64]]]:
    """Number, class and vertices of each ring, in napari's coordinates: from the centre of the first pixel."""
    import numpy as np

    return [
        (lesion.index, lesion.label, np.asarray(ring, np.float64) - 0.5)
        for lesion in lesions
        for polygon in lesion.polygons
        for ring in (polygon.outer, *polygon.holes)
    ]


def _maps(slide: OpenSlide, folder: Path, target: str) -> LesionMaps:
    from napari_melanoma.workflows.slide_findings import read_maps

    return read_maps(folder, target, slide.size)


def find(slide: OpenSlide, folder: Path, target: str, config: LesionConfig, run: RunContext) -> Findings:
    """Find the lesions of a slide."""
    from napari_melanoma.analysis.lesion_edits import History
    from napari_melanoma.analysis.slide_lesions import find_lesions

    lesions = find_lesions(_maps(slide, folder, target), config)
    history = History(LesionState(lesions, config))
    return Findings(slide.identity, folder, target, history, _rings(lesions), saved=False)


def found_again(
    slide: OpenSlide, folder: Path, target: str, config: LesionConfig, before: Findings | None, run: RunContext
) -> Findings:
    """Find the lesions of a slide at other thresholds; what was corrected by hand is laid over them."""
    from napari_melanoma.analysis.kept_edits import keep_edits
    from napari_melanoma.analysis.lesion_edits import History

    found = find(slide, folder, target, config, run)
    if before is None or (before.folder, before.target) != (folder, target):
        return found
    # The corrections, not each place at which the threshold has rested: there they may have had nothing to act on.
    corrected = before.history.past[-1] if before.anew else before.history.now
    maps = _maps(slide, folder, target)
    gone = _gone(corrected, maps)
    if not before.anew and not before.corrected and not gone:
        return found
    now = LesionState(keep_edits(found.lesions, corrected.lesions, gone, maps, config), config, gone)
    known = replace(corrected, gone=gone)
    past = before.history.past[:-1] if before.anew else before.history.past
    return replace(found, history=History(now, (*past, known)), rings=_rings(now.lesions), anew=True)


def _gone(state: LesionState, maps: LesionMaps) -> Lesions:
    """Which lesions somebody removed; of those that were read, which are missing that would be found."""
    from napari_melanoma.analysis.kept_edits import removed
    from napari_melanoma.analysis.slide_lesions import find_lesions

    if state.gone is not None:
        return state.gone
    return removed(find_lesions(maps, state.config), state.lesions, maps)


def read(slide: OpenSlide, folder: Path, target: str, config: LesionConfig, run: RunContext) -> Findings:
    """Read the lesions that were saved; find them where none were."""
    from napari_melanoma.analysis.lesion_edits import History
    from napari_melanoma.workflows.slide_lesion_files import read_lesions

    lesions = read_lesions(folder)
    if lesions is None:
        return find(slide, folder, target, config, run)
    state = LesionState(lesions, config)
    if not lesions:  # where none is left it must be told whether somebody removed them
        state = replace(state, gone=_gone(state, _maps(slide, folder, target)))
    return Findings(slide.identity, folder, target, History(state), _rings(lesions))


def edited(slide: OpenSlide, now: Findings, change: Edit, run: RunContext) -> Findings:
    """Change lesions by hand."""
    from napari_melanoma.analysis.kept_edits import removed

    maps = _maps(slide, now.folder, now.target)
    lesions = change(now.lesions, maps, now.config)
    gone = removed((*_gone(now.history.now, maps), *now.lesions), lesions, maps)
    return changed(slide, now, now.history.then(LesionState(lesions, now.config, gone)), run)


def changed(slide: OpenSlide, now: Findings, history: History[LesionState], run: RunContext) -> Findings:
    """Turn to other lesions, as undo does."""
    return replace(now, history=history, rings=_rings(history.now.lesions), saved=False, anew=False)


def save(now: Findings, run: RunContext) -> Findings:
    """Write the lesions into the slide's folder."""
    from napari_melanoma.workflows.slide_lesion_files import save_lesions

    save_lesions(now.folder, now.lesions, now.config, corrected=now.corrected or now.by_hand)
    return replace(now, saved=True)
