"""Readings of depth beside the results of slides, and the agreement of two readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.depth.category import t_category
from napari_melanoma.depth.readings import (
    DEPTH_FILE,
    MODEL_READER,
    DepthReading,
    SlideDepthProposals,
    SlideDepthReadings,
    automatic_reading,
    parse_proposals,
    read_depth,
    write_depth,
)
from napari_melanoma.figures.evaluation import plot_bland_altman
from napari_melanoma.io.results import read_slide_result, write_table
from napari_melanoma.metrics.agreement import MIN_CASES, BlandAltman, bland_altman, intraclass_correlation
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.result_folder import open_fingerprint, record_slide, recorded_slide, slide_folder

ANALYSIS = "depth"  # folder within a slide's own: of an analysis that was started for the depth alone
SURFACE = "epidermis"  # the class without which a model cannot say where the surface is


@dataclass(frozen=True)
class StoredDepth:
    """Readings of a slide and, in words, what a user should know; ``stamp`` tells the file from a later one."""

    depth: SlideDepthReadings = field(default_factory=SlideDepthReadings)
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True)
class SlideReadings:
    """All that was read of one slide, wherever it lies."""

    name: str
    readings: dict[str, DepthReading] = field(default_factory=dict)
    automatic: SlideDepthProposals = field(default_factory=SlideDepthProposals)


@dataclass(frozen=True)
class ReadingCollection:
    """What folders hold: the slides by name, what could not be read with the reason, and what to know."""

    slides: tuple[SlideReadings, ...]
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def load_depth(folder: Path) -> StoredDepth:
    """Read what was measured on a slide.

    Empty where nothing was measured yet; also where the file is damaged, which is then said, and put aside when
    something is kept.
    """
    stamp = file_stamp(folder / DEPTH_FILE)
    try:
        return StoredDepth(read_depth(folder), stamp=stamp)
    except InputError as error:
        return StoredDepth(notes=(f"{error} It is put aside when you measure.",))


def save_depth(folder: Path, slide: Path, depth: SlideDepthReadings, known: tuple[int, int] | None) -> StoredDepth:
    """Keep readings with a slide's results, at once and atomically; another's file is put aside, not overwritten.

    With the new stamp, and a note where another program or window had written the file meanwhile.
    """
    path = folder / DEPTH_FILE
    if recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)
    if not depth.fingerprint:
        depth = depth.model_copy(update={"fingerprint": open_fingerprint(slide)})
    notes = back_up_if_changed(path, known)
    write_depth(folder, depth)
    return StoredDepth(depth, notes, file_stamp(path))


def depth_analysis_folder(own: Path, slide: Path) -> Path:
    """Say where the results of an analysis go that is started for the depth alone."""
    return slide_folder(own / ANALYSIS, slide)


def read_proposals(own: Path) -> SlideDepthProposals:
    """Say what an analysis found of the depth: that of the slide itself, else the one that was started for it.

    Returns the first that has a line; else the first that says why there is none.
    """
    folders = [own, *sorted(path.parent for path in own.glob(f"{ANALYSIS}/*/result.json"))]
    found = [parse_proposals(read_slide_result(folder)) for folder in folders]
    with_lines = [one for one in found if one.proposals]
    return next(iter((*with_lines, *(one for one in found if one != SlideDepthProposals()))), SlideDepthProposals())


def list_depth_models() -> tuple[str, ...]:
    """List the models that can measure by themselves: those that draw tissue, epidermis among it.

    Names of bundles, those whose training was about skin first.
    """
    from napari_melanoma.models.registry import list_bundles

    able = [
        bundle
        for bundle in list_bundles()
        if bundle.config.is_slide_model
        and bundle.config.task == "segmentation"
        and SURFACE in (name.lower() for name in bundle.config.classes)
    ]
    return tuple(bundle.name for bundle in sorted(able, key=lambda bundle: "skin" not in bundle.name))


def collect_readings(folders: Sequence[Path]) -> ReadingCollection:
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
            depth.fingerprint or folder.name, SlideReadings(folder.name, automatic=read_proposals(folder))
        )
        notes += _add_readings(slide, depth)
    if not slides and not failed:
        raise InputError(
            f"{', '.join(map(str, folders))} holds no {DEPTH_FILE}: expected folders of results in which the Slide "
            "dock kept readings of depth."
        )
    ordered = sorted(slides.values(), key=lambda slide: slide.name)
    return ReadingCollection(tuple(ordered), tuple(failed), tuple(notes))


def _own_folders(folders: Sequence[Path]) -> list[Path]:
    """Result folders with readings, each once."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: expected folders of results of slides.")
        for pattern in (DEPTH_FILE, f"*/{DEPTH_FILE}", f"*/*/{DEPTH_FILE}"):
            found |= dict.fromkeys(path.parent for path in sorted(folder.glob(pattern)))
    return list(found)


def _add_readings(slide: SlideReadings, depth: SlideDepthReadings) -> list[str]:
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


READINGS, AGREEMENT, FIGURE = "readings.csv", "agreement.json", "figures/bland_altman.png"
UNNAMED_READER = "(no name)"  # of a reader who gave none, in tables and on the command line


@dataclass(frozen=True)
class ReaderAgreement:
    """How two readers agree on the depth; ``found`` and ``icc`` are None where too few slides have both."""

    readers: tuple[str, str]
    slides: int
    bland_altman: BlandAltman | None
    icc: Estimate | None
    same_category: int = 0
    same_ulceration: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def list_readers(collection: ReadingCollection) -> tuple[str, ...]:
    """Name those who measured.

    By how many slides they measured, the most first; ``(no name)`` for who gave none.
    """
    counts = Counter(name or UNNAMED_READER for slide in collection.slides for name in slide.readings)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def compare_readers(collection: ReadingCollection, readers: Sequence[str]) -> ReaderAgreement:
    """Compare what two readers measured."""
    if len(set(readers)) != 2 or len(readers) != 2:
        raise InputError(f"agreement is of two readers: name two of {_list_names(collection)} with --reader.")
    first, second = readers
    for name in readers:
        if not any(_thickness_reading(slide, name) for slide in collection.slides):
            raise InputError(f"'{name}' measured no slide here. Readers are {_list_names(collection)}.")
    both = [
        (a, b)
        for slide in collection.slides
        if (a := _thickness_reading(slide, first)) and (b := _thickness_reading(slide, second))
    ]
    depths = [(float(a.mm or 0), float(b.mm or 0)) for a, b in both]
    notes = tuple(_notes(both, readers))
    said = [(a.ulcerated, b.ulcerated) for a, b in both if a.ulcerated is not None and b.ulcerated is not None]
    alike = sum(_category(a) == _category(b) for a, b in both)
    ulcers = (sum(a == b for a, b in said), len(said))
    if len(both) < MIN_CASES:
        return ReaderAgreement((first, second), len(both), None, None, alike, ulcers, notes)
    found = bland_altman(*zip(*depths, strict=True))
    return ReaderAgreement((first, second), len(both), found, intraclass_correlation(depths), alike, ulcers, notes)


def write_readings(collection: ReadingCollection, agreement: ReaderAgreement | None, out: Path) -> list[Path]:
    """Write the table of all readings and, where there is one, the agreement with its figure."""
    write_table(out / READINGS, readings_rows(collection))
    written = [out / READINGS]
    if agreement is not None:
        write_json(out / AGREEMENT, agreement_to_json(agreement))
        written.append(out / AGREEMENT)
        if agreement.bland_altman is not None:
            plot_bland_altman(agreement.bland_altman, agreement.readers, out / FIGURE)
            written.append(out / FIGURE)
    return written


def readings_rows(collection: ReadingCollection) -> list[dict[str, object]]:
    """Give a row a reading; notes are free text, and stay in the slide's folder.

    In the columns of the harmonised table and what else is known; of each slide the analysis's own last.
    """
    return [row for slide in collection.slides for row in _rows(slide)]


def agreement_to_json(agreement: ReaderAgreement) -> dict[str, Any]:
    """Give an agreement as JSON has it.

    In mm; null where too few slides have both.
    """
    found = agreement.bland_altman
    figures: dict[str, Any] = dict.fromkeys(("bias_mm", "lower_limit_mm", "upper_limit_mm", "slope", "sd_mm"))
    if found is not None:
        ends = {"bias_mm": found.bias, "lower_limit_mm": found.low, "upper_limit_mm": found.high, "slope": found.slope}
        figures = {**{name: asdict(one) for name, one in ends.items()}, "sd_mm": found.sd}
    return {
        "format_version": 1,
        "readers": list(agreement.readers),
        "slides": agreement.slides,
        **figures,
        "icc_2_1": None if agreement.icc is None else asdict(agreement.icc),
        "same_t_category": agreement.same_category,
        "same_ulceration": list(agreement.same_ulceration),
        "notes": list(agreement.notes),
    }


def describe_agreement(agreement: ReaderAgreement) -> str:
    """Say how two readers agree."""
    first, second = agreement.readers
    head = f"{first} and {second}: {format_count(agreement.slides, 'slide')} measured by both"
    found, icc = agreement.bland_altman, agreement.icc
    if found is None or icc is None:
        return f"{head}; agreement takes {MIN_CASES} or more."
    bias = f"bias ({second} less {first}) {found.bias.mean:+.2f} mm ({found.bias.format_interval('+.2f')})"
    limits = f"limits of agreement {found.low.mean:+.2f} to {found.high.mean:+.2f} mm"
    same = f"T category the same in {agreement.same_category} of {agreement.slides}"
    return "\n".join(
        [f"{head}.", f"  {bias}, {limits}", f"  ICC(2,1) {icc.mean:.3f} ({icc.format_interval('.3f')}), {same}"]
    )


def _thickness_reading(slide: SlideReadings, name: str) -> DepthReading | None:
    """What a reader measured on a slide; None where there is no thickness."""
    if name == MODEL_READER:
        found: DepthReading | None = automatic_reading(slide.automatic)
    else:
        found = slide.readings.get("" if name == UNNAMED_READER else name)
    return None if found is None or found.mm is None else found


def _category(reading: DepthReading) -> str:
    """T category of a thickness that is known."""
    assert reading.mm is not None
    return t_category(reading.mm, reading.ulcerated)


def _notes(both: Sequence[tuple[DepthReading, DepthReading]], readers: Sequence[str]) -> list[str]:
    """What makes two readers agree, or differ, for other reasons than their eyes."""
    notes = []
    taken = sum(a.method == b.method == "automatic" for a, b in both)
    if taken and MODEL_READER not in readers:
        notes.append(f"on {format_count(taken, 'slide')} both took the model's line as it was, which makes them agree")
    least = sum(a.at_least or b.at_least for a, b in both)
    if least:
        notes.append(
            f"on {format_count(least, 'slide')} the melanoma reaches the section's edge: the depth is a least one"
        )
    return notes


def _list_names(gathered: ReadingCollection) -> str:
    """Names of the readers, for a message."""
    lines = any(slide.automatic.proposals for slide in gathered.slides)
    return ", ".join((*list_readers(gathered), *([MODEL_READER] if lines else [])))


def _rows(slide: SlideReadings) -> list[dict[str, object]]:
    """The readings of one slide, the analysis's own last."""
    readings = [(name or UNNAMED_READER, one) for name, one in sorted(slide.readings.items())]
    if slide.automatic.proposals:
        readings.append((MODEL_READER, automatic_reading(slide.automatic)))
    return [{"slide": slide.name, "reader": name, **_row(one)} for name, one in readings]


def _row(one: DepthReading) -> dict[str, object]:
    """A reading in the columns of the harmonised table, and what else is known."""
    low, high = one.interval_mm or (None, None)
    return {
        "depth_mm": one.mm,
        "depth_low_mm": low,
        "depth_high_mm": high,
        "at_least": one.at_least,
        "t_category": None if one.mm is None else _category(one),
        "ulceration": one.ulcerated,
        "clark": one.clark,
        "clark_by": one.clark_by,
        "mitoses": one.mitoses.counted,
        "mitoses_mm2": one.mitoses.mm2,
        "mitoses_per_mm2": one.mitoses.per_mm2,
        "margin_lateral_mm": one.margins.lateral_mm,
        "margin_deep_mm": one.margins.deep_mm,
        "method": one.method,
        "when": one.when,
        "changes": len(one.history),
    }
