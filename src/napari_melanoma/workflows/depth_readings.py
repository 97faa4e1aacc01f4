"""Readings of depth on the disk: kept with a slide's results, beside what an analysis says, gathered over folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slide_depth import DEPTH, Proposed, Reading, SlideDepth, proposed, read_depth, write_depth
from napari_melanoma.io.slide_folder import read_content
from napari_melanoma.workflows.others_files import put_others_aside, stamp_of
from napari_melanoma.workflows.slide_folders import fingerprint, note_slide, slide_folder, slide_noted

ANALYSIS = "depth"  # folder within a slide's own: of an analysis that was started for the depth alone
SURFACE = "epidermis"  # the class without which a model cannot say where the surface is


@dataclass(frozen=True)
class FoundDepth:
    """Readings of a slide and, in words, what a user should know; ``stamp`` tells the file from a later one."""

    depth: SlideDepth = field(default_factory=SlideDepth)
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True)
class SlideReadings:
    """All that was read of one slide, wherever it lies."""

    name: str
    readings: dict[str, Reading] = field(default_factory=dict)
    automatic: Proposed = field(default_factory=Proposed)


@dataclass(frozen=True)
class Gathered:
    """What folders hold: the slides by name, what could not be read with the reason, and what to know."""

    slides: tuple[SlideReadings, ...]
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def load_depth(folder: Path) -> FoundDepth:
    """Read what was measured on a slide.

    Empty where nothing was measured yet; also where the file is damaged, which is then said, and put aside when
    something is kept.
    """
    stamp = stamp_of(folder / DEPTH)
    try:
        return FoundDepth(read_depth(folder), stamp=stamp)
    except InputError as error:
        return FoundDepth(notes=(f"{error} It is put aside when you measure.",))


def keep_depth(folder: Path, slide: Path, depth: SlideDepth, known: tuple[int, int] | None) -> FoundDepth:
    """Keep readings with a slide's results, at once and atomically; another's file is put aside, not overwritten.

    With the new stamp, and a note where another program or window had written the file meanwhile.
    """
    path = folder / DEPTH
    if slide_noted(folder) is None:
        note_slide(folder, slide, named=True)
    if not depth.fingerprint:
        depth = depth.model_copy(update={"fingerprint": fingerprint(slide)})
    notes = put_others_aside(path, known)
    write_depth(folder, depth)
    return FoundDepth(depth, notes, stamp_of(path))


def analysis_folder(own: Path, slide: Path) -> Path:
    """Say where the results of an analysis go that is started for the depth alone."""
    return slide_folder(own / ANALYSIS, slide)


def proposed_in(own: Path) -> Proposed:
    """Say what an analysis found of the depth: that of the slide itself, else the one that was started for it.

    Returns the first that has a line; else the first that says why there is none.
    """
    folders = [own, *sorted(path.parent for path in own.glob(f"{ANALYSIS}/*/result.json"))]
    found = [proposed(read_content(folder)) for folder in folders]
    with_lines = [one for one in found if one.proposals]
    return next(iter((*with_lines, *(one for one in found if one != Proposed()))), Proposed())


def depth_models() -> tuple[str, ...]:
    """List the models that can measure by themselves: those that draw tissue, epidermis among it.

    Names of bundles, those whose training was about skin first.
    """
    from napari_melanoma.models.registry import list_bundles

    able = [
        bundle
        for bundle in list_bundles()
        if bundle.config.is_of_slides
        and bundle.config.task == "segmentation"
        and SURFACE in (name.lower() for name in bundle.config.classes)
    ]
    return tuple(bundle.name for bundle in sorted(able, key=lambda bundle: "skin" not in bundle.name))


def gather_readings(folders: Sequence[Path]) -> Gathered:
    """Gather the readings of slides, also of two readers who worked in folders of their own.

    One slide for each content: readings of the same slide come together, whatever its folder is called.
    """
    slides: dict[str, SlideReadings] = {}
    failed, notes = [], []
    for folder in _own_folders(folders):
        try:
            depth = read_depth(folder)
        except InputError as error:
            failed.append((folder.name, str(error)))
            continue
        slide = slides.setdefault(
            depth.fingerprint or folder.name, SlideReadings(folder.name, automatic=proposed_in(folder))
        )
        notes += _take(slide, depth)
    if not slides and not failed:
        raise InputError(
            f"{', '.join(map(str, folders))} holds no {DEPTH}: expected folders of results in which the Slide "
            "dock kept readings of depth."
        )
    ordered = sorted(slides.values(), key=lambda slide: slide.name)
    return Gathered(tuple(ordered), tuple(failed), tuple(notes))


def _own_folders(folders: Sequence[Path]) -> list[Path]:
    """Result folders with readings, each once."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: expected folders of results of slides.")
        for pattern in (DEPTH, f"*/{DEPTH}", f"*/*/{DEPTH}"):
            found |= dict.fromkeys(path.parent for path in sorted(folder.glob(pattern)))
    return list(found)


def _take(slide: SlideReadings, depth: SlideDepth) -> list[str]:
    """Add readings to those of a slide; of two of one reader the later counts."""
    notes = []
    for one in depth.readings:
        if not one.when:
            continue
        there = slide.readings.get(one.reader)
        if there is not None and there != one:
            notes.append(f"{slide.name}: '{one.reader}' has several readings, the last one counts")
        if there is None or one.when >= there.when:
            slide.readings[one.reader] = one
    return notes
