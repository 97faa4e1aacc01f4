"""Depth (Breslow thickness) of slides in their result folders: readings, proposals, and that which a network predicted.

Readings are collected over folders, and the agreement of two readers is measured.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import distinct_names, format_count
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.reader_names import unify_names
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.depth.findings import EARLIER_FILES, FINDINGS_FILE, read_findings
from napari_melanoma.depth.readings import (
    MODEL_READER,
    NO_NAME,
    DepthReading,
    SlideDepthProposals,
    SlideDepthReadings,
    automatic_reading,
    latest_reading,
    merge_readings,
)
from napari_melanoma.depth.synoptic import SynopticLesion, describe_finding
from napari_melanoma.depth.t_category import format_thickness, t_category
from napari_melanoma.depth.tumor_maps import ClassRoles
from napari_melanoma.figures.evaluation import plot_bland_altman
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction, read_slide_result, write_table
from napari_melanoma.metrics.agreement import MIN_CASES, BlandAltman, bland_altman, intraclass_correlation
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.marked_tumor import has_surface
from napari_melanoma.slides.result_folder import slide_folder, stated_fingerprint
from napari_melanoma.slides.slide_content import DEPTH_ANALYSIS, read_proposals
from napari_melanoma.slides.synoptic_files import read_synoptic

READINGS, AGREEMENT, FIGURE = "readings.csv", "agreement.json", "figures/bland_altman.png"
UNNAMED_READER = NO_NAME  # a reader without a name, in tables and on the command line
SECOND_UNNAMED = f"{UNNAMED_READER} 2"
SEVERAL_UNNAMED = (
    "several readers have no name, and who has measured which slide is unknown. Enter the names in the Slide dock, or "
    "select readers with a name with --reader."
)
UNNAMED_LEFT_OUT = "{} left out, on which several readings have no name"


@dataclass(frozen=True)
class SlideReadings:
    """All readings of one slide, by reader, and the proposals of the analysis.

    ``signed``: what has changed since a synoptic report was signed, by the reader who signed it.
    """

    name: str
    readings: dict[str, DepthReading] = field(default_factory=dict)
    automatic: SlideDepthProposals = field(default_factory=SlideDepthProposals)
    signed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadingCollection:
    """Readings collected from folders.

    ``slides``: sorted by name. ``failed``: name of a folder that cannot be read, and the reason. ``notes``: messages
    for the user.
    """

    slides: tuple[SlideReadings, ...]
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def depth_analysis_folder(folder: Path, slide: Path) -> Path:
    """Return the folder for an analysis of the depth only; ``folder``: result folder of the slide."""
    return slide_folder(folder / DEPTH_ANALYSIS, slide)


def list_depth_models(*, demonstrations: bool = True) -> tuple[str, ...]:
    """List the bundles that can measure depth, demonstrations last if at all, else skin models first."""
    from napari_melanoma.models.installed_bundles import list_bundles

    suitable = [
        bundle
        for bundle in list_bundles()
        if bundle.config.is_slide_model
        and bundle.config.task == "segmentation"
        and ClassRoles.from_names(bundle.config.role_names) is not None
        and (demonstrations or not bundle.config.is_demonstration)
    ]
    ordered = sorted(suitable, key=lambda bundle: (bundle.config.is_demonstration, "skin" not in bundle.name))
    return tuple(bundle.name for bundle in ordered)


def list_surface_models() -> tuple[str, ...]:
    """List the bundles that segment epidermis and background but no tumor, which a reader has to outline."""
    from napari_melanoma.models.installed_bundles import list_bundles

    return tuple(
        bundle.name
        for bundle in list_bundles()
        if bundle.config.tissue is not None and has_surface(bundle.config.role_names)
    )


def collect_readings(folders: Sequence[Path], lesion: SynopticLesion | None = None) -> ReadingCollection:
    """Collect the readings of slides, also of two readers with separate result folders.

    Readings of the same slide are combined, regardless of the names of the folders; if no folder states the fingerprint
    of its slide, those of the same name are combined, with a note. A slide is named after its first folder, with as
    much of the path as is needed to distinguish slides of the same name.

    ``folders``: result folders, or folders that contain them. ``lesion``: of the case of a single slide, if known.
    """
    depths: list[tuple[str, SlideDepthReadings]] = []  # fingerprint, or else name of the folder; readings
    first_folder: dict[str, Path] = {}
    proposals: dict[str, SlideDepthProposals] = {}
    signatures: list[tuple[str, str, str]] = []  # fingerprint, reader, and what has changed since
    folders_by_name: dict[str, list[Path]] = defaultdict(list)  # folders of slides that are known by name only
    failed: dict[Path, str] = {}
    for folder in _find_reading_folders(folders):
        try:
            depth = read_findings(folder)
        except InputError as error:
            failed[folder] = str(error)
            continue
        key = depth.fingerprint or stated_fingerprint(folder) or folder.name
        if key == folder.name:
            folders_by_name[key].append(folder)
        first_folder.setdefault(key, folder)
        if not (key in proposals and proposals[key].proposals):  # the analysis may be in the folder of either reader
            proposals[key] = read_proposals(folder)
        report, changes = read_synoptic(folder, lesion)
        if report is not None and report.is_signed:
            signatures.append((key, report.signed_by, " ".join(changes)))
        depths.append((key, depth))
    if not depths and not failed:
        raise InputError(
            f"no {FINDINGS_FILE} in {', '.join(map(str, folders))}. Expected result folders with depth readings that "
            "were saved in the Slide dock."
        )
    names = distinct_names([*first_folder.values(), *failed])
    slides = {key: SlideReadings(names[folder], automatic=proposals[key]) for key, folder in first_folder.items()}
    notes = [
        f"{name}: the readings in {' and '.join(map(str, same))} are combined by the name of the folder, since they do "
        "not state which slide they are of. Rename one of the folders if the slides differ"
        for name, same in folders_by_name.items()
        if len(same) > 1
    ]
    shown = unify_names(one.reader for _, depth in depths for one in depth.readings)
    for key, slide in slides.items():
        own = [depth for of, depth in depths if of == key]
        slide.readings.update({shown.get(one.reader, one.reader): one for one in merge_readings(own).readings})
        slide.signed.update({shown.get(one, one): changed for of, one, changed in signatures if of == key})
        notes += _note_several(slide, own)
    ordered = sorted(slides.values(), key=lambda slide: slide.name)
    failures = tuple((names[folder], error) for folder, error in failed.items())
    return ReadingCollection(tuple(ordered), failures, tuple(notes))


def _find_reading_folders(folders: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder. Expected result folders of slides.")
        for below in ("", "*/", "*/*/"):
            paths = {path.parent for name in (FINDINGS_FILE, *EARLIER_FILES) for path in folder.glob(below + name)}
            found |= dict.fromkeys(sorted(path for path in paths if not _is_export(path)))
    return list(found)


def _is_export(folder: Path) -> bool:
    """Whether a report in a folder is an exported one, whose name is that of reports in results of earlier versions."""
    has_readings = any((folder / name).is_file() for name in (FINDINGS_FILE, EARLIER_FILES[0]))
    return not has_readings and not stated_fingerprint(folder)


def _note_several(slide: SlideReadings, depths: Sequence[SlideDepthReadings]) -> Iterator[str]:
    """Yield a note for each reader with several readings, and one if several readings have no name."""
    for name, used in slide.readings.items():
        found = (depth.reading_by(name) for depth in depths if name)
        if any(one is not None and one.when and one != used for one in found):
            yield f"{slide.name}: '{name}' has several readings; the latest is used"
    if SECOND_UNNAMED in slide.readings:
        yield f"{slide.name}: several readings have no name, and may be of several readers"


@dataclass(frozen=True)
class ReaderAgreement:
    """Agreement of two readers on the thickness of the slides that both have measured.

    ``slides``: number of these slides. ``bland_altman``, ``icc``: None if they are too few. ``same_category``: number
    of slides with the same T category. ``same_ulceration``: number of slides with the same finding, and of those on
    which both have assessed ulceration.
    """

    readers: tuple[str, str]
    slides: int
    bland_altman: BlandAltman | None
    icc: Estimate | None
    same_category: int = 0
    same_ulceration: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def list_readers(collection: ReadingCollection) -> tuple[str, ...]:
    """List the readers, those with most slides first; ``(no name)`` for readers without a name."""
    counts = Counter(name or UNNAMED_READER for slide in collection.slides for name in slide.readings)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def list_comparable_readers(collection: ReadingCollection) -> tuple[str, ...]:
    """List the readers with readings that can be compared: not those of slides with several without a name."""
    names = {name for slide in collection.slides for name in slide.readings if not _is_ambiguous(slide, name)}
    return tuple(one for one in list_readers(collection) if ("" if one == UNNAMED_READER else one) in names)


def _is_ambiguous(slide: SlideReadings, name: str) -> bool:
    """Whether a reading has no name, and is one of several such readings of a slide."""
    return SECOND_UNNAMED in slide.readings and (not name or name.startswith(UNNAMED_READER))


def compare_readers(collection: ReadingCollection, readers: Sequence[str]) -> ReaderAgreement:
    """Compare the measurements of two readers, one of whom may be ``MODEL_READER``."""
    if len(set(readers)) != 2 or len(readers) != 2:
        raise InputError(f"agreement requires two readers. Select two of {_list_names(collection)} with --reader.")
    first, second = readers
    for name in readers:
        if name not in (MODEL_READER, *list_comparable_readers(collection)) and name in list_readers(collection):
            raise InputError(SEVERAL_UNNAMED)
        if not any(_thickness_reading(slide, name) for slide in collection.slides):
            raise InputError(f"'{name}' has no measurement in these folders. Readers are {_list_names(collection)}.")
    both = [
        (a, b)
        for slide in collection.slides
        if (a := _thickness_reading(slide, first)) and (b := _thickness_reading(slide, second))
    ]
    thicknesses = [(float(a.mm or 0), float(b.mm or 0)) for a, b in both]
    unclear = sum(any(_is_ambiguous(slide, name) for name in readers) for slide in collection.slides)
    unnamed = [UNNAMED_LEFT_OUT.format(format_count(unclear, "slide"))] if unclear else []
    notes = (*_agreement_notes(both, readers), *_validity_notes(collection, readers), *unnamed)
    ulcerations = [(a.ulcerated, b.ulcerated) for a, b in both if a.ulcerated is not None and b.ulcerated is not None]
    is_enough = len(both) >= MIN_CASES
    return ReaderAgreement(
        (first, second),
        len(both),
        bland_altman(*zip(*thicknesses, strict=True)) if is_enough else None,
        intraclass_correlation(thicknesses) if is_enough else None,
        same_category=sum(_category(a) == _category(b) for a, b in both),
        same_ulceration=(sum(a == b for a, b in ulcerations), len(ulcerations)),
        notes=notes,
    )


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
    """Return a row for each reading, for each slide that of the analysis last.

    The columns include those of the harmonized table. Notes are left out, as free text may identify a patient.
    """
    rows: list[dict[str, object]] = []
    for slide in collection.slides:
        unassessed: dict[str, object] = dict.fromkeys(Validity().to_columns())
        for name, reading in sorted(slide.readings.items()):
            of_reader = {"slide": slide.name, "reader": name or UNNAMED_READER}
            changed = {"changed_after_signature": slide.signed.get(name, "")}
            rows.append({**of_reader, **_reading_columns(reading), **changed, **unassessed})
        if slide.automatic.proposals:
            of_model = {"slide": slide.name, "reader": MODEL_READER}
            values = _reading_columns(automatic_reading(slide.automatic))
            changed = {"changed_after_signature": ""}
            rows.append({**of_model, **values, **changed, **slide.automatic.validity.to_columns()})
    return rows


def agreement_to_json(agreement: ReaderAgreement) -> dict[str, Any]:
    """Return the content of ``agreement.json``; figures are null with too few common slides."""
    result = agreement.bland_altman
    figures: dict[str, Any] = dict.fromkeys(("bias_mm", "lower_limit_mm", "upper_limit_mm", "slope", "sd_mm"))
    if result is not None:
        estimates = {
            "bias_mm": result.bias,
            "lower_limit_mm": result.low,
            "upper_limit_mm": result.high,
            "slope": result.slope,
        }
        figures = {**{name: asdict(estimate) for name, estimate in estimates.items()}, "sd_mm": result.sd}
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
    """Summarize the agreement of two readers in up to three lines."""
    first, second = agreement.readers
    head = f"{first} and {second}: {format_count(agreement.slides, 'slide')} measured by both"
    result, icc = agreement.bland_altman, agreement.icc
    if result is None or icc is None:
        return f"{head}; agreement requires {MIN_CASES} or more."
    bias = f"bias ({second} minus {first}) {result.bias.mean:+.2f} mm ({result.bias.format_interval('+.2f')})"
    limits = f"limits of agreement {result.low.mean:+.2f} to {result.high.mean:+.2f} mm"
    same = f"same T category in {agreement.same_category} of {agreement.slides}"
    return "\n".join(
        [f"{head}.", f"  {bias}, {limits}", f"  ICC(2,1) {icc.mean:.3f} ({icc.format_interval('.3f')}), {same}"]
    )


def _thickness_reading(slide: SlideReadings, name: str) -> DepthReading | None:
    """Return the reading of a reader if it has a thickness; else None."""
    if name == MODEL_READER:
        reading: DepthReading | None = automatic_reading(slide.automatic)
    else:
        own = slide.readings.get("" if name == UNNAMED_READER else name)
        own = None if _is_ambiguous(slide, name) else own
        reading = None if own is None else own.without_predicted_findings()
    return None if reading is None or reading.mm is None else reading


def _category(reading: DepthReading) -> str | None:
    """Return the T category of a reading; None without a thickness, or for a melanoma in situ (0 mm)."""
    return t_category(reading.mm, reading.ulcerated) if reading.mm else None


def _agreement_notes(both: Sequence[tuple[DepthReading, DepthReading]], readers: Sequence[str]) -> list[str]:
    """List reasons for agreement or differences other than the judgment of the readers."""
    notes = []
    accepted = sum(a.method == b.method == "automatic" for a, b in both)
    if accepted and MODEL_READER not in readers:
        notes.append(
            f"on {format_count(accepted, 'slide')} both readers accepted the predicted line, which increases agreement"
        )
    incomplete = sum(a.at_least or b.at_least for a, b in both)
    if incomplete:
        notes.append(
            f"on {format_count(incomplete, 'slide')} the melanoma reaches the edge of the section: the depth is a "
            "lower bound"
        )
    return notes


def _validity_notes(collection: ReadingCollection, readers: Sequence[str]) -> Iterator[str]:
    """Yield why predictions that readers are compared with are not valid, or are those of a demonstration model."""
    if MODEL_READER in readers:
        compared = (one for one in collection.slides if all(_thickness_reading(one, name) for name in readers))
        headlines = Counter(slide.automatic.validity.headline("") for slide in compared)
        yield from (f"on {format_count(count, 'slide')}: {text}" for text, count in headlines.items() if text)


def _list_names(collection: ReadingCollection) -> str:
    """Format the names of the readers for a message, with the model if it has proposals."""
    has_proposals = any(slide.automatic.proposals for slide in collection.slides)
    return ", ".join((*list_readers(collection), *([MODEL_READER] if has_proposals else [])))


def _reading_columns(reading: DepthReading) -> dict[str, object]:
    low, high = reading.interval_mm or (None, None)
    return {
        "depth_mm": reading.mm,
        "depth_low_mm": low,
        "depth_high_mm": high,
        "at_least": reading.at_least,
        "t_category": _category(reading),
        "ulceration": reading.ulcerated,
        "clark": reading.clark,
        "depth_by": reading.author("mm"),
        "ulceration_by": reading.author("ulcerated"),
        "clark_by": reading.author("clark"),
        "mitoses_by": reading.author("mitoses"),
        "margins_by": reading.author("margins"),
        "mitoses": reading.mitoses.counted,
        "mitoses_mm2": reading.mitoses.mm2,
        "mitoses_per_mm2": reading.mitoses.per_mm2,
        "margin_lateral_mm": reading.margins.lateral_mm,
        "margin_deep_mm": reading.margins.deep_mm,
        "method": reading.method,
        "when": reading.when,
        "changes": len(reading.history),
        **{f"{name}_answer": describe_finding(reading, name) for name in ("ulceration", "clark", "mitotic_rate")},
    }


DepthSource = Literal["reader", "automatic", "metadata", "predicted", "unknown"]
DEPTH_SOURCES: dict[DepthSource, str] = {
    "reader": "measured by {}",
    "automatic": "measured by the analysis of the slide",
    "metadata": "from the patient table",
    "predicted": "predicted by the network from the image",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class KnownDepth:
    """The depth (Breslow thickness) used for a prediction, and its source.

    ``mm``: None if unknown. ``at_least``: whether the depth may be greater. ``reader``: who measured it. ``not_valid``:
    why a depth of the slide analysis is not valid; empty if it is valid.
    """

    mm: float | None
    source: DepthSource
    interval_mm: tuple[float, float] | None = None
    at_least: bool = False
    reader: str = ""
    not_valid: str = ""

    @property
    def description(self) -> str:
        """Depth and source, such as ``depth 1.80 mm, measured by A``; without the number if it is not valid."""
        source = DEPTH_SOURCES[self.source].format(self.reader or "a reader without a name")
        if self.not_valid:
            return f"{self.not_valid} (depth {source})"
        if self.mm is None:
            return f"depth {source}"
        return f"depth {format_thickness(self.mm, self.interval_mm, at_least=self.at_least)}, {source}"


UNKNOWN_DEPTH = KnownDepth(None, "unknown")


def read_known_depth(folder: Path) -> KnownDepth:
    """Read the depth of a slide from its results: that of the latest reading, else that of the analysis."""
    reading, proposals = latest_reading(read_findings(folder)), read_proposals(folder)
    return depth_from_reading(reading) or depth_from_analysis(read_slide_result(folder), proposals) or UNKNOWN_DEPTH


def depth_from_reading(reading: DepthReading | None) -> KnownDepth | None:
    """Return the depth of a reading; None if there is none."""
    if reading is None or reading.mm is None:
        return None
    return KnownDepth(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def find_validity(content: Mapping[str, Any], proposals: SlideDepthProposals) -> Validity:
    """Return the validity of the analysis of a slide and of the depth that it measured."""
    return proposals.validity.with_reasons(read_validity(content))


def depth_from_analysis(content: Mapping[str, Any], proposals: SlideDepthProposals) -> KnownDepth | None:
    """Return the depth that an analysis measured; None if it measured none. ``content``: of its ``result.json``."""
    mm = content.get("breslow_mm")
    is_own = isinstance(mm, int | float)  # else the proposals are of an analysis of the depth only
    validity = find_validity(content, proposals) if is_own else proposals.validity
    not_valid = "" if validity.valid else validity.headline("")
    best = proposals.proposals[0] if proposals.proposals else None
    if isinstance(mm, int | float):
        ends = content.get("breslow_interval_mm")
        interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
        return KnownDepth(float(mm), "automatic", interval, best is not None and best.at_least, not_valid=not_valid)
    if best is None:
        return None
    return KnownDepth(best.mm, "automatic", best.interval_mm, best.at_least, not_valid=not_valid)


DEEPEST_PATCH, LESION_PATCH = "deepest place", "lesion"  # where a patch was cut
PATCH_POSITIONS = {DEEPEST_PATCH: " at the deepest position", LESION_PATCH: " at a lesion"}
MEASURED_SOURCES = ("reader", "automatic")  # sources of a depth that was measured along a line
SAME_MM = 1e-4  # tolerance for equal depths


@dataclass(frozen=True)
class NetworkDepth:
    """The depth in mm that the network of a stored risk prediction predicted from the first patch.

    ``patch``: description of the patch. ``known``: the depth that was known at the time of the prediction. ``mpp``: the
    scale that was set for the slide at that time; None if the scale of its file was used.
    """

    mm: float
    model: str
    validity: Validity
    patch: str
    known: KnownDepth
    mpp: float | None

    def describe(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the depth and its difference from a reading, or why the prediction is not valid.

        ``reading``: the current reading, else the first line of the analysis. ``size``: current pixel size.
        """
        origin = f"Predicted by {self.model} from a patch{PATCH_POSITIONS.get(self.patch, '')}"
        if not self.validity.valid:
            return f"{origin}: {self.validity.headline('')}."
        return f"{origin}: {self.mm:.2f} mm{self._describe_difference(reading, size)}."

    def _describe_difference(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the difference from a confirmed reading, or why the two cannot be compared."""
        known_mm = self.known.mm if self.known.source in MEASURED_SOURCES else None
        if known_mm is None or reading.mm is None:
            is_same = known_mm == reading.mm
        else:
            is_same = abs(known_mm - reading.mm) < SAME_MM
        if not is_same and self.known.reader not in ("", reading.reader):
            return ", of the line of another reader"
        if not is_same or self._is_rescaled(size):
            return f"{'' if known_mm is None else ', of an earlier line'}; estimate the risk again"
        if reading.mm is None or not reading.when or reading.at_least or self.patch != DEEPEST_PATCH:
            return ""
        return f" ({self.mm - reading.mm:+.2f} mm)"

    def _is_rescaled(self, size: PixelSize | None) -> bool:
        """Whether the scale was changed since the prediction."""
        if size is None:
            return True
        if self.mpp is None:
            return size.source in ("given", "ruler")
        return not math.isclose(self.mpp, size.x_um, rel_tol=1e-6)


def read_network_depth(folder: Path) -> NetworkDepth | None:
    """Read the depth that a network predicted for a slide; None if there is none, or if the file is incomplete."""
    prediction = read_risk_prediction(folder / RISK_FILE)
    if not is_complete_risk(prediction) or not prediction["patches"]:
        return None
    first, depth, mpp = prediction["patches"][0], prediction["depth"], prediction["options"].get("mpp")
    if first.get("depth_mm") is None:
        return None
    return NetworkDepth(
        float(first["depth_mm"]),
        str(prediction["model"].get("name") or "a network"),
        read_validity(prediction),
        str(first.get("what", "")),
        KnownDepth(depth.get("mm"), depth.get("source", "unknown"), reader=str(depth.get("reader") or "")),
        mpp if _is_number(mpp) else None,
    )


def is_complete_risk(prediction: Mapping[str, Any]) -> bool:
    """Return whether a risk prediction (``risk.json``) has all values that are displayed, of the expected types."""
    model = prediction.get("model")
    types = {"patches": list, "known": dict, "comparators": dict, "depth": dict, "options": dict, "verdict": str}
    return (
        _is_number(prediction.get("probability"))
        and isinstance(model, dict)
        and "fingerprint" in model
        and all(isinstance(prediction.get(name), expected_type) for name, expected_type in types.items())
        and all(isinstance(prediction.get(name) or [], list) for name in ("warnings", "missing"))
        and _is_number(prediction["depth"].get("mm") or 0)
        and all(map(_is_complete_patch, prediction["patches"]))
    )


def _is_complete_patch(patch: object) -> bool:
    return isinstance(patch, dict) and _is_number(patch.get("probability")) and _is_number(patch.get("depth_mm") or 0)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and math.isfinite(value)
