"""Readings of depth stored with the results of slides, and the agreement of two readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.formatting import distinct_names, format_count
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

ANALYSIS = "depth"  # subfolder of a slide's results, for an analysis of the depth only
SURFACE = "epidermis"  # the class that a model needs to locate the surface
READINGS, AGREEMENT, FIGURE = "readings.csv", "agreement.json", "figures/bland_altman.png"
UNNAMED_READER = "(no name)"  # of a reader without a name, in tables and on the command line


@dataclass(frozen=True)
class StoredDepth:
    """Readings of a slide, with notes for the user; ``stamp`` identifies the version of the file."""

    depth: SlideDepthReadings = field(default_factory=SlideDepthReadings)
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True)
class SlideReadings:
    """All readings of one slide, collected from several folders."""

    name: str
    readings: dict[str, DepthReading] = field(default_factory=dict)
    automatic: SlideDepthProposals = field(default_factory=SlideDepthProposals)


@dataclass(frozen=True)
class ReadingCollection:
    """Readings in folders: slides by name, unreadable folders with the reason, and notes."""

    slides: tuple[SlideReadings, ...]
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def load_depth(folder: Path) -> StoredDepth:
    """Read the depth readings of a slide.

    Empty if there are none, or if the file is damaged; a damaged file is reported, and backed up when readings
    are saved.
    """
    stamp = file_stamp(folder / DEPTH_FILE)
    try:
        return StoredDepth(read_depth(folder), stamp=stamp)
    except InputError as error:
        return StoredDepth(notes=(f"{error} It will be backed up when you save a measurement.",))


def save_depth(folder: Path, slide: Path, depth: SlideDepthReadings, known: tuple[int, int] | None) -> StoredDepth:
    """Save readings with the results of a slide, atomically; a file changed by another program is backed up first.

    Returns the readings with the new stamp, and a note on the backup.
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
    """Return the folder for the results of an analysis of the depth only."""
    return slide_folder(own / ANALYSIS, slide)


def read_proposals(own: Path) -> SlideDepthProposals:
    """Return the depth proposals of the analysis of the slide, else of an analysis of the depth only.

    Returns the first proposals with a line, else the first with an explanation.
    """
    folders = [own, *sorted(path.parent for path in own.glob(f"{ANALYSIS}/*/result.json"))]
    found = [parse_proposals(read_slide_result(folder)) for folder in folders]
    with_lines = [one for one in found if one.proposals]
    return next(iter((*with_lines, *(one for one in found if one != SlideDepthProposals()))), SlideDepthProposals())


def list_depth_models() -> tuple[str, ...]:
    """List the models that can measure depth: segmentation models with an epidermis class.

    Names of bundles, those of skin models first.
    """
    from napari_melanoma.models.registry import list_bundles

    suitable = [
        bundle
        for bundle in list_bundles()
        if bundle.config.is_slide_model
        and bundle.config.task == "segmentation"
        and SURFACE in (name.lower() for name in bundle.config.classes)
    ]
    return tuple(bundle.name for bundle in sorted(suitable, key=lambda bundle: "skin" not in bundle.name))


def collect_readings(folders: Sequence[Path]) -> ReadingCollection:
    """Collect the readings of slides, also of two readers with separate result folders.

    Readings of slides with the same content are combined, regardless of the name of the folder. Slides are named after
    their first folder, and those of the same name with enough of its path to distinguish them.
    """
    read: list[tuple[str, SlideDepthReadings]] = []
    first: dict[str, Path] = {}
    failed: dict[Path, str] = {}
    for folder in _own_folders(folders):
        try:
            depth = read_depth(folder)
        except InputError as error:
            failed[folder] = str(error)
            continue
        key = depth.fingerprint or folder.name
        first.setdefault(key, folder)
        read.append((key, depth))
    if not read and not failed:
        raise InputError(
            f"no {DEPTH_FILE} in {', '.join(map(str, folders))}. Expected result folders with depth readings that were "
            "saved in the Slide dock."
        )
    names = distinct_names([*first.values(), *failed])
    slides = {key: SlideReadings(names[folder], automatic=read_proposals(folder)) for key, folder in first.items()}
    notes = [note for key, depth in read for note in _add_readings(slides[key], depth)]
    ordered = sorted(slides.values(), key=lambda slide: slide.name)
    return ReadingCollection(tuple(ordered), tuple((names[one], error) for one, error in failed.items()), tuple(notes))


def _own_folders(folders: Sequence[Path]) -> list[Path]:
    """Result folders with readings, without duplicates."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder. Expected result folders of slides.")
        for pattern in (DEPTH_FILE, f"*/{DEPTH_FILE}", f"*/*/{DEPTH_FILE}"):
            found |= dict.fromkeys(path.parent for path in sorted(folder.glob(pattern)))
    return list(found)


def _add_readings(slide: SlideReadings, depth: SlideDepthReadings) -> list[str]:
    """Add readings to those of a slide; of several by the same reader the latest is used."""
    notes = []
    for one in depth.readings:
        if not one.when:
            continue
        previous = slide.readings.get(one.reader)
        if previous is not None and previous != one:
            notes.append(f"{slide.name}: '{one.reader}' has several readings; the latest is used")
        if previous is None or one.when >= previous.when:
            slide.readings[one.reader] = one
    return notes


@dataclass(frozen=True)
class ReaderAgreement:
    """Agreement of two readers on the depth; ``bland_altman`` and ``icc`` are None with too few common slides."""

    readers: tuple[str, str]
    slides: int
    bland_altman: BlandAltman | None
    icc: Estimate | None
    same_category: int = 0
    same_ulceration: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def list_readers(collection: ReadingCollection) -> tuple[str, ...]:
    """List the readers by number of measured slides, in descending order; ``(no name)`` for unnamed readers."""
    counts = Counter(name or UNNAMED_READER for slide in collection.slides for name in slide.readings)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def compare_readers(collection: ReadingCollection, readers: Sequence[str]) -> ReaderAgreement:
    """Compare the measurements of two readers."""
    if len(set(readers)) != 2 or len(readers) != 2:
        raise InputError(f"agreement requires two readers. Select two of {_list_names(collection)} with --reader.")
    first, second = readers
    for name in readers:
        if not any(_thickness_reading(slide, name) for slide in collection.slides):
            raise InputError(f"'{name}' has no measurement in these folders. Readers are {_list_names(collection)}.")
    both = [
        (a, b)
        for slide in collection.slides
        if (a := _thickness_reading(slide, first)) and (b := _thickness_reading(slide, second))
    ]
    depths = [(float(a.mm or 0), float(b.mm or 0)) for a, b in both]
    notes = tuple(_notes(both, readers))
    ulcerations = [(a.ulcerated, b.ulcerated) for a, b in both if a.ulcerated is not None and b.ulcerated is not None]
    same = sum(_category(a) == _category(b) for a, b in both)
    ulcers = (sum(a == b for a, b in ulcerations), len(ulcerations))
    if len(both) < MIN_CASES:
        return ReaderAgreement((first, second), len(both), None, None, same, ulcers, notes)
    found = bland_altman(*zip(*depths, strict=True))
    return ReaderAgreement((first, second), len(both), found, intraclass_correlation(depths), same, ulcers, notes)


def write_readings(collection: ReadingCollection, agreement: ReaderAgreement | None, out: Path) -> list[Path]:
    """Write the table of all readings, and the agreement with its figure if there is one."""
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
    """Return a row for each reading, that of the analysis last; notes are free text and are left out.

    The columns are those of the harmonized table and further values.
    """
    return [row for slide in collection.slides for row in _rows(slide)]


def agreement_to_json(agreement: ReaderAgreement) -> dict[str, Any]:
    """Return the agreement as JSON, in mm; null with too few common slides."""
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
    """Summarize the agreement of two readers."""
    first, second = agreement.readers
    head = f"{first} and {second}: {format_count(agreement.slides, 'slide')} measured by both"
    found, icc = agreement.bland_altman, agreement.icc
    if found is None or icc is None:
        return f"{head}; agreement requires {MIN_CASES} or more."
    bias = f"bias ({second} minus {first}) {found.bias.mean:+.2f} mm ({found.bias.format_interval('+.2f')})"
    limits = f"limits of agreement {found.low.mean:+.2f} to {found.high.mean:+.2f} mm"
    same = f"same T category in {agreement.same_category} of {agreement.slides}"
    return "\n".join(
        [f"{head}.", f"  {bias}, {limits}", f"  ICC(2,1) {icc.mean:.3f} ({icc.format_interval('.3f')}), {same}"]
    )


def _thickness_reading(slide: SlideReadings, name: str) -> DepthReading | None:
    """Reading of a reader with a thickness; else None."""
    if name == MODEL_READER:
        found: DepthReading | None = automatic_reading(slide.automatic)
    else:
        found = slide.readings.get("" if name == UNNAMED_READER else name)
    return None if found is None or found.mm is None else found


def _category(reading: DepthReading) -> str | None:
    """T category of a reading; None without an invasive thickness, as of a melanoma in situ (0 mm)."""
    return t_category(reading.mm, reading.ulcerated) if reading.mm else None


def _notes(both: Sequence[tuple[DepthReading, DepthReading]], readers: Sequence[str]) -> list[str]:
    """Reasons for agreement or differences other than the judgment of the readers."""
    notes = []
    accepted = sum(a.method == b.method == "automatic" for a, b in both)
    if accepted and MODEL_READER not in readers:
        notes.append(
            f"on {format_count(accepted, 'slide')} both readers accepted the predicted line, which increases agreement"
        )
    least = sum(a.at_least or b.at_least for a, b in both)
    if least:
        notes.append(
            f"on {format_count(least, 'slide')} the melanoma reaches the edge of the section: the depth is a lower "
            "bound"
        )
    return notes


def _list_names(collection: ReadingCollection) -> str:
    """Names of the readers, for a message."""
    lines = any(slide.automatic.proposals for slide in collection.slides)
    return ", ".join((*list_readers(collection), *([MODEL_READER] if lines else [])))


def _rows(slide: SlideReadings) -> list[dict[str, object]]:
    """The readings of one slide, that of the analysis last."""
    readings = [(name or UNNAMED_READER, one) for name, one in sorted(slide.readings.items())]
    if slide.automatic.proposals:
        readings.append((MODEL_READER, automatic_reading(slide.automatic)))
    return [{"slide": slide.name, "reader": name, **_row(one)} for name, one in readings]


def _row(one: DepthReading) -> dict[str, object]:
    """A reading in the columns of the harmonized table, with further values."""
    low, high = one.interval_mm or (None, None)
    return {
        "depth_mm": one.mm,
        "depth_low_mm": low,
        "depth_high_mm": high,
        "at_least": one.at_least,
        "t_category": _category(one),
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
