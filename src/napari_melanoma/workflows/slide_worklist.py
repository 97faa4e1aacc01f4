"""The slides of a folder, and how far each is: waiting, running, done with which model, failed and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slide_folder import read_content
from napari_melanoma.io.slide_results import STORE
from napari_melanoma.io.slides.recognising import find_slides
from napari_melanoma.workflows.slide_folders import SlideFolders
from napari_melanoma.workflows.slide_runs import RunState, SlideRun, read_slide_run

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext

ItemState = Literal["waiting", "running", "stopped", "done", "failed"]


@dataclass(frozen=True)
class WorkItem:
    """One slide of a folder, and what became of it, in a word and in words."""

    slide: Path
    state: ItemState
    said: str


def worklist(folder: Path, out: Path, run: RunContext) -> tuple[WorkItem, ...]:
    """List the slides of a folder.

    In natural order of the names; empty where the folder holds no slide.
    """
    try:
        slides = find_slides([folder])
    except InputError:
        return ()
    places = SlideFolders(out)
    items = []
    for slide in slides:
        run.check()
        items.append(_item(slide, places.place(slide)))
    return tuple(items)


def _item(slide: Path, results: Path) -> WorkItem:
    """How far one slide is."""
    if not (results / "events.jsonl").is_file() and not (results / STORE).is_dir():
        return WorkItem(slide, "waiting", "waiting")
    report = read_slide_run(results)
    state, content = report.state, read_content(results)
    if state.active:
        return WorkItem(slide, "running", _so_far("paused" if state is RunState.paused else "running", report))
    if state is RunState.failed:
        return WorkItem(slide, "failed", f"failed: {report.message}")
    if content and state is not RunState.cancelled:
        model = (content.get("model") or {}).get("name")
        return WorkItem(slide, "done", f"done with {model}" if model else "done")
    return WorkItem(slide, "stopped", _so_far("stopped", report))


def _so_far(word: str, report: SlideRun) -> str:
    """A word with the share of the tiles that are done."""
    return word if report.fraction is None else f"{word} {report.fraction:.0%}".replace("%", " %")
