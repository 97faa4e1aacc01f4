"""Import masks that were made elsewhere: match them with photographs, draw and unite them, and store them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, describe_error
from napari_melanoma.core.files import normalize_name, open_regular
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.annotators import DESCRIPTION, MAJORITY, select_annotator
from napari_melanoma.data.corrections import CLINICAL, Correction, Corrections
from napari_melanoma.data.dataset import TRAINING_REVIEWS, Review
from napari_melanoma.data.dicom_headers import DICOM_SUFFIXES, list_header_values
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.mask_areas import ImageFileArea, MaskObject, Size, find_majority, group_by_annotator
from napari_melanoma.data.mask_formats import MaskFormat, list_image_files, read_masks
from napari_melanoma.data.mask_values import (
    ImageNames,
    LabelImageError,
    covers_border,
    describe_label_images,
    find_common_suffix,
    nnunet_case_name,
    note_inverted,
    note_suffix,
    note_turned,
    read_lesion_mask,
    resolve_class_values,
    strip_mask_suffix,
)
from napari_melanoma.data.nnunet import find_channels, merge_channels, note_merged, read_channel_order
from napari_melanoma.data.source_records import describe_contradictions, fill_gaps
from napari_melanoma.data.splits import NAME_TABLE, check_patients_named
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX
from napari_melanoma.io.dicom import read_header
from napari_melanoma.io.discovery import find_photographs, note_without_suffix
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.photographs import Photograph, find_damage, is_stored_upright, read_image_size, read_photograph
from napari_melanoma.io.tables import iterate_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".xlsx", ".xls", ".ods")
_ASPECT_TOLERANCE = 0.01  # relative difference of aspect ratios


class MaskImportOptions(Config):
    """How masks made elsewhere are imported."""

    format: Literal["auto", MaskFormat] = Field(
        "auto", description="format of the masks; auto: detected from the content"
    )
    classes: tuple[str, ...] = Field((), description="import only objects of these classes; by default all")
    class_is_diagnosis: bool = Field(False, description="use the class of the objects as the diagnosis of the image")
    resize: bool = Field(False, description="scale masks of another size but the same aspect ratio")
    replace: bool = Field(False, description="replace accepted or corrected masks of the data set")
    review: Review = Field("accepted", description="review state of the imported masks")
    reviewer: str = Field("", description="name of the person who drew or checked the masks")
    annotator: str = Field("", description=DESCRIPTION)
    modality: Modality | None = Field(None, description="modality of all photographs")
    metadata: Path | None = Field(
        None, description="table with image_id, patient_id, lesion_id, diagnosis, age, sex, site ..."
    )
    mapping: TableMapping = Field(TableMapping(), description="meaning of the columns and words of the table")
    no_patients: bool = Field(False, description="the user has confirmed that the patients are unknown")
    split: bool = Field(
        False, description="assign four of five new patients to the split train, the others to test; by default none"
    )
    values: tuple[str, ...] | Literal["all"] | None = Field(
        None, description="values that mark the lesion in masks with several values; without it these masks are refused"
    )


@dataclass
class MaskImportReport:
    """The outcome of an import: what was imported, and what was not and why.

    ``added`` are the ids of the imported images; ``faults`` are images or masks that could not be imported, with the
    reason; ``kept`` are photographs whose mask in the data set was accepted or corrected before; ``without_mask`` are
    photographs without a mask; ``left_out`` counts objects that were not imported, by kind; ``points_cut_off`` counts
    points outside their image, ``resized`` scaled masks, ``covering`` masks that cover the border of their image,
    ``turned`` those of images with an EXIF orientation; ``notes`` are topics and messages about files that were not
    used, the metadata table and the masks.
    """

    added: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    without_mask: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    points_cut_off: int = 0
    resized: int = 0
    covering: int = 0
    turned: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)


def import_masks(
    masks: Path, images: Path, out: Path, options: MaskImportOptions, *, run: RunContext
) -> MaskImportReport:
    """Import masks that were made elsewhere into a data set.

    The data set ``out`` is one of corrections (``data.corrections``): photographs are stored upright as PNG without
    metadata, photographs that it has already are updated, and the changes can be undone one by one.
    """
    run.report(Progress(0, None, "Reading the masks"))
    objects, left_out = read_masks(masks, None if options.format == "auto" else options.format)
    report = MaskImportReport(left_out=Counter(left_out))
    mask_files = {entry.area.path.resolve() for entry in objects if isinstance(entry.area, ImageFileArea)}
    without_suffix: list[Path] = []
    paths = [path for path in find_photographs([images], without_suffix) if path.resolve() not in mask_files]
    report.notes += note_without_suffix(without_suffix)
    if masks.is_dir() and not mask_files:
        unused = {file.resolve() for file in list_image_files(masks)} - {path.resolve() for path in paths}
        report.left_out += Counter({"image files (--format png reads them as masks)": len(unused)})  # without zeros
    if not paths:
        raise InputError(f"{images} contains no photograph besides the masks. Name the folder of the photographs.")
    matched = _match_photographs(_select_classes(objects, options, report), paths, report)
    selected, notes = select_annotator(dict(matched), options.annotator)
    matched = [(path, of_path) for path, of_path in selected.items() if of_path]
    report.notes += notes
    matched_paths = {path for path, _ in matched}
    channels_of = {path: find_channels(path) if _is_case(path, objects) else [path] for path, objects in matched}
    report.notes += note_merged(map(len, channels_of.values()))
    used = {channel for channels in channels_of.values() for channel in channels}
    report.without_mask = [path.name for path in paths if path not in used]
    _check_values(matched, options, run)
    corrections = Corrections(out)
    tables = _list_tables(images, masks)
    if tables and options.metadata is None:
        report.notes.append(("tables", f"not used: {format_names(tables)}. To use one, name it with --metadata FILE"))
    rows = _read_metadata(options, matched_paths, tables, report)
    reader = _PhotographReader(channels_of, read_channel_order(images if images.is_dir() else images.parent))
    drawn_corrections = _make_corrections(matched, reader, corrections, options, report, run)
    report.added = corrections.add_all(
        (_add_metadata(drawn, rows.get(drawn.name, {})) for drawn in drawn_corrections), run=run
    )
    report.notes += note_inverted(report.covering, len(report.added)) + note_turned(report.turned)
    return report


def _list_tables(*paths: Path) -> list[str]:
    """List the tables next to photographs and masks, to be suggested to a user who has named none."""
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
    return [
        str(file) for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES
    ]


def _read_metadata(
    options: MaskImportOptions, paths: Iterable[Path], tables: list[str], report: MaskImportReport
) -> dict[str, dict[str, str]]:
    """Read the table of metadata, and return a harmonized row for each photograph's stem.

    DICOM headers fill the gaps. Raises if no photograph has a row, or if no row names a patient. ``tables`` are
    suggested in that error.
    """
    harmonizer, rows, contradictions = Harmonizer(), dict[str, dict[str, str]](), Counter[str]()
    if options.metadata is not None:
        for given in iterate_rows(options.metadata):
            row = harmonizer.harmonize_row(options.mapping.apply(given))
            if "image_id" in row:
                contradictions.update(fill_gaps(rows.setdefault(row["image_id"], row), row))
        if not rows:
            raise InputError(
                f"{options.metadata} has no rows with an image_id, the photograph's name without suffix. "
                "Add that column."
            )
    report_of_table, names = harmonizer.make_report(), sorted(path.stem for path in paths)
    matched = _match_rows(names, rows)
    if rows and names and not matched:
        raise InputError(
            f"{options.metadata} has rows for {format_names(list(rows))}, but none for the {len(names)} photographs "
            f"with a mask, such as {format_names(names)}. Expected the photographs' names, with or without suffix, in "
            "the column that names the images."
        )
    without_row = [name for name in names if name not in matched] if rows else []
    unused = len(rows) - len({row["image_id"] for row in matched.values()})
    for path in paths:
        if header := _read_header(path):
            matched[path.stem] = {**header, **matched.get(path.stem, {})}
    with_patient = sum("patient_id" in row for row in matched.values())
    patients = check_patients_named(
        with_patient, len(names), report_of_table, options.no_patients, unread=tables, how=NAME_TABLE
    )
    report.notes += patients
    report.notes += report_of_table.describe_unrecognized("left out")
    report.notes += report_of_table.describe_findings(kept_in={"diagnosis": "diagnosis"})
    report.notes += [(column, describe_contradictions(count)) for column, count in contradictions.items()]
    if unused:
        report.notes.append(("image_id", f"rows not used: {format_count(unused, 'image')} without a mask"))
    if without_row:
        report.notes.append(("image_id", f"the table has no row for {format_names(without_row)}"))
    return matched


def _read_header(path: Path) -> dict[str, str]:
    """Read the values of a DICOM header, harmonized, with pseudonyms; empty for other files."""
    if path.suffix.lower() not in DICOM_SUFFIXES:
        return {}
    try:
        with open_regular(path) as file:
            return Harmonizer().harmonize_row(list_header_values(read_header(file)))
    except (InputError, OSError):  # _make_corrections reports it
        return {}


def _match_rows(names: Sequence[str], rows: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Find the row of each photograph by its name or the name of its nnU-Net case, regardless of case."""
    normalized = {normalize_name(name): row for name, row in rows.items()}
    matched = {}
    for name in names:
        key = normalize_name(name)
        row = rows.get(name) or normalized.get(key) or normalized.get(nnunet_case_name(key))
        if row is not None:
            matched[name] = row
    return matched


def _add_metadata(correction: Correction, row: dict[str, str]) -> Correction:
    """Add the metadata of a photograph to its correction."""
    return replace(
        correction,
        patient_id=row.get("patient_id") or None,
        lesion_id=row.get("lesion_id") or None,
        diagnosis=row.get("diagnosis") or row.get(f"diagnosis{AS_GIVEN_SUFFIX}") or correction.diagnosis,
        modality=row.get("modality") or correction.modality,
        clinical={name: text for name, text in row.items() if name in CLINICAL},
    )


def _select_classes(
    objects: Sequence[MaskObject], options: MaskImportOptions, report: MaskImportReport
) -> list[MaskObject]:
    """Keep the objects of the requested classes."""
    if not options.classes:
        return list(objects)
    selected = [mask_object for mask_object in objects if mask_object.label in options.classes]
    if not selected:
        classes = ", ".join(sorted({mask_object.label or "(none)" for mask_object in objects}))
        raise InputError(f"no object is of the class {' or '.join(options.classes)}: found the classes {classes}.")
    report.left_out["objects of other classes"] += len(objects) - len(selected)
    return selected


def _match_photographs(
    objects: Sequence[MaskObject], paths: Sequence[Path], report: MaskImportReport
) -> list[tuple[Path, list[MaskObject]]]:
    """Find the photograph of each object; objects that match no photograph, or several, are faults.

    Returns each photograph that has objects with them.
    """
    names, objects_of = ImageNames(paths), defaultdict(list)
    unmatched: dict[str, str] = {}
    stems = {(one.image, one.file): strip_mask_suffix(PureWindowsPath(one.image).stem) for one in objects}
    candidates_of = {(name, file): names.find(name, file) for name, file in stems}
    with_mask = {path for candidates in candidates_of.values() for path in candidates}
    suffix = find_common_suffix(
        (stem for key, stem in stems.items() if not candidates_of[key]),
        ImageNames(path for path in paths if path not in with_mask),
    )
    report.notes += note_suffix(suffix)
    for mask_object in objects:
        key = mask_object.image, mask_object.file
        candidates = candidates_of[key]
        if suffix and not candidates and stems[key].endswith(suffix):
            stem = stems[key].removesuffix(suffix)
            candidates = names.find(f"{stem}.png", mask_object.file)  # a stem may have a dot
            if not with_mask.isdisjoint(candidates):
                unmatched[mask_object.image] = f"not used: {candidates[0].name} has a mask of its own name"
                continue
        if len(candidates) == 1:
            objects_of[candidates[0]].append(mask_object)
        elif candidates:
            unmatched[mask_object.image] = f"may belong to {' or '.join(map(str, candidates[:3]))}: rename one of them"
        else:
            unmatched[mask_object.image] = "no photograph of that name was found"
    report.faults += unmatched.items()
    return [(path, objects_of[path]) for path in paths if path in objects_of]


def _check_values(matched: list[tuple[Path, list[MaskObject]]], options: MaskImportOptions, run: RunContext) -> None:
    """Raise for label images whose lesion values are not given, before the first mask is stored."""
    mask_files = [
        (path, mask_object.area, mask_object.size)
        for path, objects in matched
        for mask_object in objects
        if isinstance(mask_object.area, ImageFileArea)
    ]
    if isinstance(options.values, tuple):
        for names in {tuple(area.class_names.items()) for _, area, _ in mask_files}:
            resolve_class_values(options.values, dict(names))
    if options.values is not None:
        return
    refused: dict[str, LabelImageError] = {}
    for path, area, size in run.track(mask_files, "Checking masks"):
        photograph_size = read_image_size(path)
        if not options.resize and photograph_size and sorted(size or photograph_size) != sorted(photograph_size):
            continue  # not decoded, as its header may declare a huge size; _draw_mask refuses it
        try:
            read_lesion_mask(area.path, area.path.name, None, area.class_names)
        except LabelImageError as error:
            refused[area.path.name] = error
        except InputError:
            continue  # _make_corrections reports it
    if refused:
        raise DataSetError(describe_label_images(refused, len(mask_files), keep=""))


def _is_case(path: Path, objects: Sequence[MaskObject]) -> bool:
    """Whether a photograph ``x_0000`` belongs to masks named ``x``, as in nnU-Net."""
    case = nnunet_case_name(normalize_name(path.stem))
    return case != normalize_name(path.stem) and any(
        strip_mask_suffix(PureWindowsPath(mask_object.image).stem) == case for mask_object in objects
    )


@dataclass(frozen=True)
class _PhotographReader:
    """Reads photographs; ``order``: indices of red, green and blue in the channels of one that is several files."""

    channels_of: Mapping[Path, Sequence[Path]]
    order: Sequence[int]

    def read(self, path: Path) -> Photograph:
        channels = self.channels_of[path]
        if len(channels) == 1:
            return read_photograph(path)
        for channel in channels:
            if damage := find_damage(channel):
                raise DataSetError(f"{channel.name} is damaged: {damage}. Copy it again.")
        return Photograph(merge_channels(channels, self.order), path.stem)


def _make_corrections(
    matched: list[tuple[Path, list[MaskObject]]],
    reader: _PhotographReader,
    corrections: Corrections,
    options: MaskImportOptions,
    report: MaskImportReport,
    run: RunContext,
) -> Iterator[Correction]:
    """Read each photograph and draw its mask; photographs that cannot be imported are reported."""
    seen: set[str] = set()
    for path, objects in run.track(matched, "Importing masks"):
        try:
            photograph = reader.read(path)
        except Exception as error:  # noqa: BLE001 - any error of a library concerns this photograph alone
            report.faults.append((path.name, describe_error(error)))
            continue
        digest = array_fingerprint(photograph.rgb)
        row = corrections.find_row(digest, path.stem)
        if row and row.get("review") in TRAINING_REVIEWS and not options.replace and digest not in seen:
            report.kept.append(path.name)
            continue
        try:
            if digest in seen:
                raise DataSetError("shows the same pixels as another photograph: only one mask is imported")
            correction = _make_correction(photograph, path, objects, options, report)
        except DataSetError as error:
            report.faults.append((path.name, str(error)))
            continue
        seen.add(digest)
        yield correction


def _make_correction(
    photograph: Photograph,
    path: Path,
    objects: Sequence[MaskObject],
    options: MaskImportOptions,
    report: MaskImportReport,
) -> Correction:
    """Make the correction of a photograph, with the union of its objects as the mask."""
    shape = (photograph.rgb.shape[0], photograph.rgb.shape[1])
    groups = group_by_annotator(objects) if options.annotator == MAJORITY else [objects]
    drawn = [[_draw_mask(one, shape, options, report) for one in of_annotator] for of_annotator in groups]
    mask = find_majority([np.logical_or.reduce(masks) for masks in drawn])
    if not mask.any():
        raise DataSetError("its mask is empty")
    report.covering += covers_border(mask)
    report.turned += not is_stored_upright(path)
    diagnoses = {
        mask_object.label if options.class_is_diagnosis else mask_object.diagnosis for mask_object in objects
    } - {""}
    if len(diagnoses) > 1:
        raise DataSetError(f"its objects disagree about the diagnosis: {', '.join(sorted(diagnoses))}")
    return Correction(
        name=path.stem,
        rgb=photograph.rgb,
        mask=mask,
        review=options.review,
        reviewer=options.reviewer,
        diagnosis=next(iter(diagnoses), None),
        modality=options.modality or photograph.modality,
        source=path.name,
        damage=photograph.damage,
        pixel_size=photograph.pixel_size,
        assign_split=options.split,
    )


def _draw_mask(
    mask_object: MaskObject, shape: Size, options: MaskImportOptions, report: MaskImportReport
) -> NDArray[np.bool_]:
    """Draw one object as bool (row, column) of ``shape``, scaled if it was outlined on an image of another size."""
    area, size = mask_object.area, mask_object.size or shape
    if isinstance(area, ImageFileArea):
        area = replace(area, lesion_values=options.values)
    if size != shape:
        problem = f"its mask is for {size[1]} x {size[0]} pixels, the upright photograph has {shape[1]} x {shape[0]}"
        aspect = (size[0] * shape[1]) / (size[1] * shape[0])
        if abs(aspect - 1) > _ASPECT_TOLERANCE:
            turned = " (turned by its EXIF orientation?)" if size == shape[::-1] else ""
            raise DataSetError(f"{problem}{turned}")
        if not options.resize:
            raise DataSetError(f"{problem}: scale it (command line: --resize)")
        report.resized += 1
    report.points_cut_off += area.count_points_outside(size)
    return area.draw(size, shape)
