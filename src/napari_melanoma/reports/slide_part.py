"""A slide in the report of cases and results: overview, lesions, regions, depth, and the sections of packages."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_class, format_count
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.polygons import joint_area
from napari_melanoma.core.validity import read_slide_validity
from napari_melanoma.depth.readings import (
    MODEL_READER,
    DepthReading,
    SlideDepthProposals,
    automatic_reading,
    latest_reading,
)
from napari_melanoma.figures.page import Block, Notice, Section, Table, Text, fields
from napari_melanoma.io.results import RESULT
from napari_melanoma.lesion.results import read_result
from napari_melanoma.reports.disclosure import disclose_changes, disclose_readings
from napari_melanoma.reports.formatting import to_sentence
from napari_melanoma.reports.pictures import MAX_LESIONS, draw_slide_overview, make_figure
from napari_melanoma.reports.report_sections import SlidePart, add_slide_sections
from napari_melanoma.reports.slide import (
    create_slide_reading,
    depth_blocks,
    describe_scale,
    find_slide_info,
    list_changes,
    list_scale_changes,
    reader_sections,
    reading_scale,
)
from napari_melanoma.reports.slide_export import is_slide_folder
from napari_melanoma.slides.depth_readings import (
    ReadingCollection,
    SlideReadings,
    compare_readers,
    describe_agreement,
    list_readers,
    read_proposals,
)
from napari_melanoma.slides.lesion_files import read_lesions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.region_files import load_regions
from napari_melanoma.slides.saved_results import describe_other_scale, describe_other_scores, describe_prediction

if TYPE_CHECKING:
    from napari_melanoma.core.validity import Validity
    from napari_melanoma.figures.page import Figure
    from napari_melanoma.io.geojson import Annotation
    from napari_melanoma.reports.collector import Collector
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.slides.regions import Regions

LESION_TABLE = ("Lesion", "Class", "Probability", "Area, mm²", "Height, mm", "Width, mm", "Origin")
AREA_UNITS = {"mm2": "Area, mm²", "percent": "Share of the analyzed area, %"}
ORIGINS = {"found": "model", "classed": "model, class set by hand"}
NO_FOLDER = "No result folder of this slide was found or specified: its analysis is not included."
NO_READING = "its readings or its synoptic report are damaged, and are not shown."


def is_slide_result(folder: Path) -> bool:
    """Return whether a folder contains results, readings or a risk of a slide."""
    return is_slide_folder(folder) or "slide" in read_object_or_empty(folder / RESULT)


def slide_section(part: SlidePart, title: str, subtitle: str, name: str, collector: Collector) -> Section:
    """Return the section on a slide; ``name``: of the slide in texts and problems."""
    latest, content = latest_reading(part.depth), part.content
    scale = reading_scale(latest) or part.pixel_size or part.notes.pixel_size
    info = find_slide_info(part.folder or Path(name), part.path, scale)
    problems: list[Block] = [collector.add_problem(name, NO_READING, fault) for fault in part.faults]
    if part.folder and (part.folder / RESULT).is_file() and not content:
        problems.append(_add_fault(part.folder, name, collector))
    validity = read_slide_validity(content) if content else None
    lesions = _read_lesions(part, name, collector, problems)
    regions = _read_regions(part, name, collector, problems)
    if validity is not None and not validity.valid:
        lesions = tuple(one for one in lesions if one.origin not in ORIGINS)
    picture = _overview(part, info, lesions, regions, name, collector, problems)
    if content:
        collector.add_origin(name, content)
    collector.add_changes(name, list_scale_changes(part.notes, collector.readers))
    collector.add_strokes(name, part.strokes)
    if part.folder is None:
        problems.append(Text(NO_FOLDER, quiet=True))
    blocks = (
        *problems,
        *picture,
        *add_slide_sections(part, name, collector, is_first=True),
        *_depth_sections(part, info, latest, name, collector),
        *_analysis_blocks(content, validity, info.pixel_size),
        *_lesion_blocks(lesions, validity, content),
        *_region_blocks(regions, info.pixel_size),
        *add_slide_sections(part, name, collector, is_first=False),
    )
    return Section(title, blocks, subtitle)


def _add_fault(folder: Path, name: str, collector: Collector) -> Notice:
    """Add the problem that the result of an analysis cannot be read."""
    try:
        read_result(folder)
    except InputError as error:
        return collector.add_problem(name, "the result of its analysis is damaged, and is not shown.", error)
    return collector.add_problem(name, "the result of its analysis is empty.", f"{folder / RESULT} is empty.")


def _read_lesions(part: SlidePart, name: str, collector: Collector, problems: list[Block]) -> tuple[SlideLesion, ...]:
    try:
        return (read_lesions(part.folder) or ()) if part.folder else ()
    except MelanomaError as error:
        problems.append(collector.add_problem(name, "its lesions cannot be read, and are not shown.", error))
        return ()


def _read_regions(part: SlidePart, name: str, collector: Collector, problems: list[Block]) -> Regions:
    try:
        return load_regions(part.folder).regions if part.folder else ()
    except MelanomaError as error:
        problems.append(collector.add_problem(name, "its regions cannot be read, and are not shown.", error))
        return ()


def _overview(
    part: SlidePart,
    info: SlideInfo,
    lesions: Sequence[SlideLesion],
    regions: Regions,
    name: str,
    collector: Collector,
    problems: list[Block],
) -> tuple[Figure, ...]:
    """Draw the slide with lesions and regions; add a problem if it can no longer be read."""
    try:
        if part.path is None:
            raise InputError(f"{part.folder}: the slide of these results is not recorded.")
        with open_slide(part.path, info.pixel_size) as slide:
            picture = draw_slide_overview(slide, lesions, regions, part.notes.angle)
    except (MelanomaError, OSError) as error:
        text = "the slide is missing, moved or damaged; its pictures are not shown."
        problems.append(collector.add_problem(name, text, error))
        return ()
    outlined = [format_count(len(found), what) for found, what in ((lesions, "lesion"), (regions, "region")) if found]
    caption = " with ".join(filter(None, ("Overview", " and ".join(outlined))))
    caption += " (dashed)" if regions else ""
    return (make_figure(picture, f"Overview of {name}", caption),)


def _analysis_blocks(
    content: Mapping[str, Any], validity: Validity | None, size: PixelSize | None
) -> Iterator[Section]:
    """Yield the section on the analysis: its prediction and warnings."""
    if validity is None:
        return
    values = {"Prediction": to_sentence(validity.headline(describe_prediction(content)))}
    if validity.valid and (others := describe_other_scores(content)):
        values["Other values of the slide"] = to_sentence(others)
    if content.get("tissue_mm2"):
        values["Tissue"] = f"{content['tissue_mm2']:.1f} mm²"
    reasons = validity.cautions if validity.valid else validity.other_reasons
    texts = (describe_other_scale(content, size), *reasons, *(content.get("warnings") or ()))
    notices = (Notice(to_sentence(str(text))) for text in texts if text)
    areas = content.get("areas") if validity.valid else None
    yield Section("Analysis", (fields("Analysis", values), *notices, *([_area_table(areas)] if areas else [])))


def _area_table(areas: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return the table of the areas of the classes on the map of a tissue classifier."""
    rows = (
        (name, *("–" if area[unit] is None else f"{area[unit]:.3g}" for unit in AREA_UNITS))
        for name, area in areas.items()
    )
    return Table("Areas of classes", ("Class", *AREA_UNITS.values()), tuple(rows))


def _lesion_blocks(
    lesions: Sequence[SlideLesion], validity: Validity | None, content: Mapping[str, Any]
) -> Iterator[Block]:
    """Yield the table of lesions; ``validity``: of the analysis; ``content``: of ``result.json``."""
    if not lesions:
        return
    is_demonstration = validity is not None and validity.demonstration
    origins = (
        {name: text.replace("model", "demonstration") for name, text in ORIGINS.items()}
        if is_demonstration
        else ORIGINS
    )
    rows = tuple(
        (
            str(lesion.index),
            format_class(lesion.label) or "lesion",
            _format_probability(lesion, str(content.get("target") or "")),
            *(
                "–" if value is None else f"{value:.3g}"
                for value in (lesion.area_mm2, lesion.height_mm, lesion.width_mm)
            ),
            origins.get(lesion.origin, "by hand"),
        )
        for lesion in lesions[:MAX_LESIONS]
    )
    unlisted = len(lesions) - len(rows)
    limit = ((content.get("options") or {}).get("lesions") or {}).get("malignant_from", 0.5)
    notes = (
        *(
            [
                Text(
                    f"{format_count(unlisted, 'further lesion')} {'is' if unlisted == 1 else 'are'} not listed.",
                    quiet=True,
                )
            ]
            if unlisted
            else []
        ),
        *([Text(f"Malignant from a probability of {limit:g}.", quiet=True)] if limit != 0.5 else []),
    )
    yield Section("Lesions", (Table("Lesions", LESION_TABLE, rows), *notes))


def _format_probability(lesion: SlideLesion, target: str) -> str:
    """Format the probability beside the class of a lesion, with the class that it refers to."""
    if math.isnan(lesion.class_probability):
        return "–"
    name = format_class(target or lesion.label) if math.isnan(lesion.malignancy) else "malignancy"
    return f"{name} {lesion.class_probability:.2f}"


def _region_blocks(regions: Regions, size: PixelSize | None) -> Iterator[Block]:
    """Yield the table of regions by class."""
    classes: dict[str, list[Annotation]] = defaultdict(list)
    for region in regions:
        classes[region.class_name].append(region)
    rows = [
        (name or "without a class", str(len(own)), _format_area([p for one in own for p in one.polygons], size))
        for name, own in sorted(classes.items())
    ]
    if rows:
        yield Section("Regions", (Table("Regions", ("Class", "Count", "Area, mm²"), tuple(rows)),))


def _format_area(polygons: Sequence[Any], size: PixelSize | None) -> str:
    return "–" if size is None else f"{joint_area(polygons) * size.pixel_area_mm2:.3f}"


def _depth_sections(
    part: SlidePart, info: SlideInfo, latest: DepthReading | None, name: str, collector: Collector
) -> Iterator[Section]:
    """Yield the sections on depth and readers, and record the changes."""
    proposals = read_proposals(part.folder) if part.folder else SlideDepthProposals()
    base = automatic_reading(proposals, 0, info.pixel_size)
    if latest is None and base.mm is None and not proposals.notes:
        return
    depth = disclose_readings(part.depth, collector.readers, personal=collector.personal)
    latest_disclosed = None if latest is None else depth.reading_by(collector.readers[latest.reader])
    shown = create_slide_reading(info, depth, latest_disclosed or base, base, proposals, part.notes.angle)
    blocks = (*map(Notice, part.changes), *depth_blocks(shown))
    yield Section("Depth of invasion", blocks, describe_scale(shown))
    if latest is not None:
        recorded = () if part.synoptic is None else [change.field for change in part.synoptic.history]
        collector.add_changes(name, list_changes(disclose_changes(part.depth, collector.readers, recorded)))
        yield from reader_sections(shown)


def agreement_sections(parts: Sequence[SlidePart], readers: Mapping[str, str]) -> Iterator[Section]:
    """Yield the agreement of each pair of readers over several slides."""
    slides = tuple(
        SlideReadings(str(number), {readers[one.reader]: one for one in part.depth.readings if one.when and one.mm})
        for number, part in enumerate(parts)
    )
    collection = ReadingCollection(slides)
    names = [one for one in list_readers(collection) if one != MODEL_READER]
    pairs = [(first, second) for number, first in enumerate(names) for second in names[number + 1 :]]
    texts = [_describe_pair(collection, pair) for pair in pairs]
    if any(texts):
        yield Section("Agreement of readers", tuple(Text(text) for text in texts if text))


def _describe_pair(collection: ReadingCollection, pair: tuple[str, str]) -> str:
    """Describe the agreement of two readers; empty if they have only one slide in common."""
    agreement = compare_readers(collection, pair)
    if agreement.slides < 2:
        return ""
    notes = "".join(f" {to_sentence(note)}" for note in agreement.notes)
    return " ".join(describe_agreement(agreement).split()) + notes
