"""What a report shows of a slide: its content, and the tree of blocks that pages and signatures are made of."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_class, to_sentence
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.polygons import Polygon, joint_area
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.data.table_schema import field_title, format_field_value
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import NO_NAME, SlideDepthProposals, SlideDepthReadings, parse_proposals
from napari_melanoma.depth.report_blocks import (
    ANALYSIS,
    LESION,
    LESIONS,
    MEASUREMENTS,
    OTHER_READINGS,
    PICTURE,
    READING,
    REGIONS,
    RISK,
    SLIDE,
    is_private_cell,
    lesion_block,
    reading_block,
    synoptic_block,
)
from napari_melanoma.depth.report_blocks import IN_REGIONS as COUNTED_IN_REGIONS
from napari_melanoma.depth.shown_blocks import DRAWN, KeyPath, ShownBlock, group, known
from napari_melanoma.depth.synoptic import SynopticLesion, SynopticReport
from napari_melanoma.depth.t_category import format_thickness, t_category
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction, read_slide_result
from napari_melanoma.slides.counts import (
    IN_REGIONS,
    WHOLE_SLIDE,
    CountedPoints,
    count_by_area,
    list_measurements,
    read_counts,
)
from napari_melanoma.slides.lesion_files import read_saved_lesions
from napari_melanoma.slides.lesions import LESION_CLASSES, SlideLesion, area_noun, is_lesion_area
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.regions import Regions, load_regions
from napari_melanoma.slides.result_folder import open_fingerprint, recorded_slide
from napari_melanoma.slides.results import describe_other_scores, describe_prediction, slide_probability

DEPTH_ANALYSIS = "depth"  # subfolder of a result folder, for analyses of the depth only
MAX_LESIONS = 12  # lesions with a number in the overview of a slide, and a row in the table of a report
ORIGINS = {"found": "model", "classed": "model, class set by hand"}
BY_HAND = "by hand"
AREA_UNITS = {"mm2": "Area, mm²", "percent": "Share of the analyzed area, %"}

# What depends on the scale, which is unknown if the file of a slide is missing
SCALED: frozenset[KeyPath] = frozenset(
    (
        (SLIDE, "scale"),
        (MEASUREMENTS,),
        *((READING, PICTURE, key) for key in ("marked", "breslow")),
    )
)

# What cannot be compared if a file cannot be read; counts depend on the regions that they are within
DEPENDENT: Mapping[str, set[KeyPath]] = {
    "points": {(MEASUREMENTS,)},
    "regions": {(MEASUREMENTS,), (REGIONS,)},
    "proposals": {(ANALYSIS, "depth")},
}


@dataclass(frozen=True)
class SlideContent:
    """What is known of a slide.

    ``fingerprint``: of its file; empty if the file is missing. ``shape``: height and width in pixels of the finest
    level; None if unknown. ``threshold``: of the lesions, which are None before an analysis. ``analysis``: the content
    of ``result.json``. ``risk``: that of ``risk.json``. ``lesion``: the one of a case that the slide belongs to.
    ``unread``: keys of blocks that cannot be read now.
    """

    depth: SlideDepthReadings = field(default_factory=SlideDepthReadings)
    fingerprint: str = ""
    pixel_size: PixelSize | None = None
    shape: tuple[int, int] | None = None
    lesions: Sequence[SlideLesion] | None = None
    threshold: float | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    proposals: SlideDepthProposals = field(default_factory=SlideDepthProposals)
    measures: Sequence[SlideMeasurement] = ()
    points: CountedPoints = ()
    regions: Regions = ()
    risk: Mapping[str, Any] = field(default_factory=dict)
    lesion: SynopticLesion | None = None
    unread: frozenset[KeyPath] = frozenset()

    def list_unread(self) -> frozenset[KeyPath]:
        """Return the keys of blocks that cannot be compared now."""
        missing = {(SLIDE, "file"): self.fingerprint, (LESION,): self.lesion}
        unread = self.unread | {path for path, value in missing.items() if not value}
        if self.shape is not None or self.pixel_size is not None:
            return unread
        return unread | SCALED | {(REGIONS, region.class_name, "area") for region in self.regions}

    def list_blocks(self, report: SynopticReport | None, reader: str) -> tuple[ShownBlock, ...]:
        """Return the tree that a report on the slide shows; ``reader``: who signs, or has signed."""
        own = self.depth.reading_by(reader)
        groups = (
            group(SLIDE, "Slide", self._slide_blocks()),
            None if report is None else synoptic_block(report),
            None if own is None else reading_block(own, self.pixel_size),
            group(OTHER_READINGS, "", self._list_other_readings(reader)),
            None if self.lesion is None else lesion_block(self.lesion),
            analysis_block(self.analysis, self.proposals),
            None if self.lesions is None else lesions_block(self.lesions, self.analysis, self.threshold),
            regions_block(self.regions, self.pixel_size),
            self._measurement_block(),
            risk_block(self.risk),
        )
        return tuple(one for one in groups if one is not None and (one.blocks or one.key == SLIDE))

    def _slide_blocks(self) -> Iterator[ShownBlock | None]:
        size = self.pixel_size
        yield known("file", "slide file", self.fingerprint, f"{self.fingerprint[:12]} (hash of its size and samples)")
        if size is not None:
            value = [size.y_um, size.x_um, size.source]
            yield known("scale", "scale", value, format_sourced_scale(value))

    def _list_other_readings(self, reader: str) -> Iterator[ShownBlock | None]:
        own = self.depth.reading_by(reader)
        others = [one for one in self.depth.readings if one is not own]
        for number, one in enumerate(others, start=1):
            label = "Reading of another reader" + (f" ({number})" if len(others) > 1 else "")
            yield reading_block(one, self.pixel_size, one.reader or NO_NAME, label)

    def _measurement_block(self) -> ShownBlock:
        counts = count_by_area(self.points, self.regions, self.shape, self.pixel_size) if self.shape else {}
        return measurements_block(list_measurements(self.measures, counts, self.pixel_size))


def read_slide_content(
    folder: Path,
    lesion: SynopticLesion | None = None,
    slide: Path | None = None,
    **values: Any,  # noqa: ANN401 - values of any field
) -> SlideContent:
    """Read the content of the result folder of a slide.

    ``lesion``: of its case, if known. ``slide``: its file; by default the recorded one. ``values``: those of fields
    that are not read. What cannot be read is stated elsewhere.
    """
    path, unread = slide or recorded_slide(folder), set[KeyPath]()
    notes = SlideNotes()
    try:
        notes = read_notes(folder)
    except InputError:
        unread |= SCALED
    if not {"analysis", "lesions"} <= values.keys():
        values = _read_lesions(folder, unread) | values
    if "fingerprint" not in values:
        values |= _read_file(path, notes.pixel_size)
    read: dict[str, Callable[[], Any]] = {
        "depth": lambda: read_findings(folder),
        "proposals": lambda: read_proposals(folder),
        "risk": lambda: read_risk_prediction(folder / RISK_FILE),
        "measures": lambda: notes.measures,
        "points": lambda: read_counts(folder).points,
        "regions": lambda: load_regions(folder).regions,
    }
    for name in read.keys() - values.keys():
        try:
            values[name] = read[name]()
        except (MelanomaError, OSError):
            if name == "depth":  # which may have been changed
                raise
            unread |= DEPENDENT.get(name, set())
    if values["shape"] is None and values.get("points"):
        unread.add((MEASUREMENTS,))
    return SlideContent(lesion=lesion, unread=frozenset(unread), **values)


def _read_lesions(folder: Path, unread: set[KeyPath]) -> dict[str, Any]:
    """Read the analysis, its lesions and their threshold; those that cannot be read are added to ``unread``."""
    analysis = read_slide_result(folder)
    try:
        if (saved := read_saved_lesions(folder)) is not None:
            analysis = saved.add_to(analysis) if analysis else {}
            return {"analysis": analysis, "lesions": saved.lesions, "threshold": saved.config.high}
    except InputError:
        unread.add((LESIONS,))
    return {"analysis": analysis, "lesions": None, "threshold": None}


def _read_file(path: Path | None, own: PixelSize | None) -> dict[str, Any]:
    """Read fingerprint, size and scale of a slide; ``own``: the scale that a user has set."""
    found: dict[str, Any] = {"fingerprint": "", "pixel_size": own, "shape": None}
    if path is None:
        return found
    found["fingerprint"] = open_fingerprint(path)
    with suppress(MelanomaError, OSError), open_slide(path) as opened:
        finest = opened.info.levels[0]
        found |= {"pixel_size": own or opened.info.pixel_size, "shape": (finest.height, finest.width)}
    return found


def read_proposals(folder: Path) -> SlideDepthProposals:
    """Read the depth proposals in the result folder of a slide.

    Those of the slide analysis have precedence over those of analyses of the depth only; proposals without a line,
    which only explain why there is none, come last.
    """
    folders = [folder, *sorted(path.parent for path in folder.glob(f"{DEPTH_ANALYSIS}/*/result.json"))]
    all_proposals = [parse_proposals(read_slide_result(analyzed)) for analyzed in folders]
    with_lines = [proposals for proposals in all_proposals if proposals.proposals]
    not_empty = [proposals for proposals in all_proposals if proposals != SlideDepthProposals()]
    return next(iter((*with_lines, *not_empty)), SlideDepthProposals())


def format_sourced_scale(value: Sequence[Any]) -> str:
    """Format a pixel size, (height, width), as ``format_scale`` does, with all digits and its source."""
    y_um, x_um, source = value
    return f"{format_scale(y_um, x_um, 6)} µm per pixel ({source})"


def analysis_block(content: Mapping[str, Any], proposals: SlideDepthProposals | None = None) -> ShownBlock:
    """Return the values of the analysis of a slide; the rows of its table, and the areas of classes below them.

    ``content``: of ``result.json``.
    """
    validity = read_validity(content) if content else Validity()
    model, tissue, mpp = content.get("model") or {}, content.get("tissue_mm2"), content.get("mpp")
    prediction, others = (describe_prediction(content), describe_other_scores(content)) if content else ("", "")
    scale = mpp and [*mpp, content.get("mpp_source") or "unknown"]
    scores, areas = content.get("scores") or None, content.get("areas") or {}
    others = to_sentence(others) if validity.valid else ""
    blocks = (
        _prediction_block(content, to_sentence(validity.headline(prediction))) if content else None,
        ShownBlock(key="scores", label="Other values of the slide", value=scores, text=others) if scores else None,
        known("tissue", "Tissue", tissue or None, f"{tissue or 0:.1f} mm²", unit="mm²"),
        group("origin", "", _list_analysis_origin(model, validity, scale)),
        group("areas", "Areas of classes", (_area_block(name, area) for name, area in areas.items())),
        None if proposals is None else _depth_block(proposals),
    )
    # Why a map of classes is not valid is stated, although it has neither a probability nor a class of interest.
    stated = (one for one in blocks if one and (one.blocks or one.value or (one.text and not validity.valid)))
    return group(ANALYSIS, "Analysis", stated)


def _prediction_block(content: Mapping[str, Any], text: str) -> ShownBlock:
    """Return the headline of the prediction for a slide, with its values."""
    probability = slide_probability(content)
    values = (
        known("probability", "probability", probability, f"{probability or 0:.3f}"),
        known("class", "class", str(content.get("target") or "")),
    )
    return group("prediction", "Prediction", values).model_copy(update={"text": text})


def _list_analysis_origin(
    model: Mapping[str, Any], validity: Validity, scale: Sequence[Any] | None
) -> Iterator[ShownBlock | None]:
    """Yield what is in the notes on an analysis, and in the provenance."""
    names = [str(model.get("name") or ""), str(model.get("fingerprint") or "")]
    yield known("model", "model", names if model else None, f"{names[0]} ({names[1][:8]})")
    yield known("validity", "notes", list(validity.codes), ", ".join(validity.codes).replace("_", " "))
    yield known("scale", "scale of the analysis", scale, format_sourced_scale(scale) if scale else "")


def _area_block(name: str, area: Mapping[str, float | None]) -> ShownBlock:
    cells = ((unit, label, area.get(unit)) for unit, label in AREA_UNITS.items())
    return group(
        name,
        name,
        (
            ShownBlock(key=unit, label=label, value=value, text="–" if value is None else f"{value:.3g}")
            for unit, label, value in cells
        ),
    )


def _depth_block(proposals: SlideDepthProposals) -> ShownBlock:
    """Return the thickness that the analysis has measured."""
    best = proposals.proposals[0] if proposals.proposals else None
    blocks: list[ShownBlock | None] = [known("clark", "Clark level", proposals.clark)]
    if best is not None:
        category = t_category(best.mm, best.ulcerated) if best.mm else ""
        text = proposals.validity.headline(format_thickness(best.mm, best.interval_mm, at_least=best.at_least))
        ulceration = {None: None, True: "present", False: "not identified"}[best.ulcerated]
        value = [best.mm, best.interval_mm, best.at_least]
        blocks += [
            known("breslow", "Breslow thickness", value, text, unit="mm"),
            known("t_category", "T category", category),
            known("ulceration", "ulceration", ulceration),
        ]
    return group("depth", "depth", blocks)


def lesions_block(
    lesions: Sequence[SlideLesion], content: Mapping[str, Any], threshold: float | None = None
) -> ShownBlock:
    """Return the lesions of a slide: a block with the cells of its row for each, and their number, area and outlines.

    ``content``: of ``result.json``. ``threshold``: at which they were detected.
    """
    is_demonstration = bool(content) and read_validity(content).demonstration
    labels, target = [lesion.label for lesion in lesions], str(content.get("target") or "")
    name = labels[0] if labels else target
    is_lesions = is_lesion_area(name)
    rows = (_lesion_row(lesion, target, is_demonstration=is_demonstration) for lesion in lesions[:MAX_LESIONS])
    areas = [lesion.area_mm2 for lesion in lesions if lesion.area_mm2 is not None]
    # Labels of a model that does not distinguish malignant lesions are the name of its class
    malignant = labels.count("malignant") if labels and {*labels} <= LESION_CLASSES else None
    limit = ((content.get("options") or {}).get("lesions") or {}).get("malignant_from", 0.5)
    mm2 = float(f"{sum(areas):.3g}") if areas else None  # as it is formatted: files contain rounded outlines
    digest = digest_outlines((one.label, one.polygons) for one in lesions)
    numbers = (
        known("count", "number", len(lesions)),
        known("malignant", "malignant", malignant),
        known("mm2", "total area", mm2, f"{mm2 or 0:.3g} mm²", unit="mm²"),
        known("threshold", "threshold", threshold, f"{threshold or 0:.2f}"),
        known("malignant_from", "malignant from a probability of", limit if is_lesions else None, f"{limit:g}"),
        known("outlines", "classes and outlines", digest, DRAWN, is_drawing=True),
    )
    title = "Lesions" if is_lesions else f"Areas of {format_class(name)}"
    return group(LESIONS, title, (group("rows", "", rows), group("summary", "", numbers)))


def _lesion_row(lesion: SlideLesion, target: str, *, is_demonstration: bool) -> ShownBlock:
    origin = ORIGINS.get(lesion.origin, BY_HAND)
    cells = (
        ("class", "Class", lesion.label, format_class(lesion.label) or "lesion"),
        ("probability", "Probability", lesion.class_probability, _format_probability(lesion, target)),
        ("area", "Area, mm²", lesion.area_mm2, _format_digits(lesion.area_mm2)),
        ("height", "Height, mm", lesion.height_mm, _format_digits(lesion.height_mm)),
        ("width", "Width, mm", lesion.width_mm, _format_digits(lesion.width_mm)),
        (
            "origin",
            "Origin",
            lesion.origin,
            origin.replace("model", "demonstration") if is_demonstration and lesion.origin in ORIGINS else origin,
        ),
    )
    return group(
        f"lesion {lesion.index}",
        f"{area_noun(lesion.label)} {lesion.index}",
        (ShownBlock(key=key, label=label, value=_round(value), text=text) for key, label, value, text in cells),
    )


def _round(value: Any) -> Any:  # noqa: ANN401 - text or number
    """Round a number as it is printed: lesions are measured again when their rounded outlines are read."""
    return float(f"{value:.3g}") if isinstance(value, float) and math.isfinite(value) else value


def _format_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _format_probability(lesion: SlideLesion, target: str) -> str:
    """Format the probability beside the class of a lesion, with the class that it refers to."""
    if math.isnan(lesion.class_probability):
        return "–"
    name = format_class(target or lesion.label) if math.isnan(lesion.malignancy) else "malignancy"
    return f"{name} {lesion.class_probability:.2f}"


def digest_outlines(shapes: Iterable[tuple[str, Sequence[Polygon]]]) -> str:
    """Return a text that identifies classes and outlines; positions are rounded to a tenth of a pixel."""
    digest = hashlib.sha256()
    for name, polygons in shapes:
        digest.update(f"{name}, {len(polygons)} parts".encode())
        for ring in (ring for part in polygons for ring in part.rings):
            digest.update(f"{len(ring)} points".encode())
            digest.update((np.round(np.asarray(ring, np.float64), 1) + 0.0).tobytes())  # -0.0 becomes 0.0
    return digest.hexdigest()[:8]


def regions_block(regions: Regions, size: PixelSize | None) -> ShownBlock:
    """Return the regions of a slide by class: their number and area, and their outlines."""
    classes: dict[str, list[Annotation]] = defaultdict(list)
    for region in regions:
        classes[region.class_name].append(region)
    return group(REGIONS, "Regions", (_region_row(name, own, size) for name, own in sorted(classes.items())))


def _region_row(name: str, regions: Sequence[Annotation], size: PixelSize | None) -> ShownBlock:
    pixels = joint_area([polygon for one in regions for polygon in one.polygons])
    mm2 = None if size is None else pixels * size.pixel_area_mm2
    cells = (
        ("count", "Count", len(regions), str(len(regions))),
        ("area", "Area, mm²", mm2, "–" if mm2 is None else f"{mm2:.3f}"),
    )
    digest = digest_outlines((name, one.polygons) for one in regions)
    outlines = ShownBlock(key="outlines", label="outlines", value=digest, text=DRAWN, is_drawing=True)
    return group(
        name,
        name or "without a class",
        (*(ShownBlock(key=key, label=label, value=value, text=text) for key, label, value, text in cells), outlines),
    )


def measurements_block(rows: Sequence[Mapping[str, Any]]) -> ShownBlock:
    """Return the measurements and counts of a slide; ``rows``: as of ``list_measurements``."""
    return group(MEASUREMENTS, "Measured on the slide", (_measurement_row(row) for row in rows))


def _measurement_row(row: Mapping[str, Any]) -> ShownBlock:
    if row["kind"] != "count":
        text = f"{row['value']:.4g} {row['unit']}"
        return ShownBlock(key=row["name"], label=row["name"], value=row["value"], unit=row["unit"], text=text)
    density, low, high = (row[name] for name in ("per_mm2", "per_mm2_low", "per_mm2_high"))
    density_text = "–" if density is None else f"{density:.3g} ({low:.3g} to {high:.3g})"
    whole, name = row["within"] == WHOLE_SLIDE, row["within"].removeprefix(IN_REGIONS.partition("{}")[0])
    label = f"{row['name']} in {row['within']}"
    text = str(row["count"]) + ("" if density is None else f", {density:.3g} per mm²")
    cells = (
        ShownBlock(key="class", label="Class", text=row["name"]),
        ShownBlock(key="within", label="Within", text=row["within"]),
        ShownBlock(key="count", label="Count", text=str(row["count"])),
        ShownBlock(key="density", label="Per mm² (95 % interval)", text=density_text),
    )
    key = f"{'slide' if whole else COUNTED_IN_REGIONS + name}: {row['name']}"
    return ShownBlock(key=key, label=label, value=[row["count"], density], text=text, blocks=cells)


def risk_block(prediction: Mapping[str, Any]) -> ShownBlock:
    """Return the risk of metastasis; ``prediction``: the content of ``risk.json``."""
    model, interval = prediction.get("model") or {}, prediction.get("interval")
    probability = prediction.get("probability")
    names = [str(model.get(key) or "") for key in ("name", "fingerprint")]
    is_number = isinstance(probability, int | float)
    methods, shares = prediction.get("comparators") or {}, prediction.get("shares") or {}
    data, patches = prediction.get("known") or {}, prediction.get("patches") or []
    return group(
        RISK,
        "Risk of metastasis",
        (
            known("probability", "probability", [probability, interval] if is_number else None, str(probability)),
            known("verdict", "result", str(prediction.get("verdict") or "")) if not is_number else None,
            known("model", "model", names if model else None, f"{names[0]} ({names[1][:8]})"),
            known("depth", "thickness used", (prediction.get("depth") or {}).get("mm"), unit="mm"),
            known("without", "without any data", prediction.get("without")),
            known("missing", "unknown", list(prediction.get("missing") or ())),
            known("validity", "notes", list(read_validity(prediction).codes) if prediction else None),
            group("methods", "", (_method_block(name, one) for name, one in methods.items())),
            group("shares", "contributions", (known(name, name, value) for name, value in shares.items())),
            group(
                "known",
                "patient and melanoma",
                (
                    known(
                        name,
                        field_title(name),
                        str(cell),
                        format_field_value(name, str(cell)),
                        is_private=is_private_cell(name, str(cell)),
                    )
                    for name, cell in data.items()
                ),
            ),
            group(
                "patches",
                "",
                (
                    known(f"patch {number}", f"patch {number}", [one.get("probability"), one.get("depth_mm")])
                    for number, one in enumerate(patches, start=1)
                ),
            ),
        ),
    )


def _method_block(name: str, method: Mapping[str, Any]) -> ShownBlock | None:
    value = method.get("probability")
    return known(name, str(method.get("title") or name), value if value is not None else method.get("why"))
