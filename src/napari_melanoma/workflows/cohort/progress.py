"""How far a cohort is: the slides that are at work are followed through their folders, as every run is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.core.runs import ManyProgress, Progress
from napari_melanoma.workflows.runs import RunState
from napari_melanoma.workflows.slide_runs import read_slide_run

MOST_SHOWN = 12


def cohort_progress(at_work: Sequence[Path], done: int, total: int, workers: int) -> ManyProgress:
    """Say how far a cohort is.

    In slides; of each slide at work, of the first dozen, in tiles.
    """
    if not workers:
        return ManyProgress(done, total, "slides; waiting for workers")
    if not at_work:
        return ManyProgress(done, total, "slides")
    parts = tuple(_part(folder) for folder in at_work[:MOST_SHOWN])
    more = f" and {len(at_work) - len(parts)} more" if len(at_work) > len(parts) else ""
    said = ", ".join(_share(folder.name, part) for folder, part in zip(at_work, parts, strict=False))
    return ManyProgress(done, total, f"slides, {len(at_work)} on {workers} workers: {said}{more}", parts)


def _part(folder: Path) -> Progress:
    """How far a slide is."""
    found = read_slide_run(folder)
    if found.state is not RunState.running or not found.total:
        return Progress(0, None, f"{folder.name}: starting")
    return Progress(found.done, found.total, found.message)


def _share(name: str, part: Progress) -> str:
    """A slide in a word."""
    return name if part.fraction is None else f"{name} {100 * part.fraction:.0f} %"
