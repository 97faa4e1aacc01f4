"""Import masks that were made elsewhere into a data set of corrections, by the rules of ``data.dataset_import``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, describe_error
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.corrections import CLINICAL, Correction, Corrections
from napari_melanoma.data.dataset import TRAINING_REVIEWS, Review
from napari_melanoma.data.dataset_import import (
    PlannedImport,
    SourceImportOptions,
    check_patients,
    harmonize_records,
    plan_import,
    read_record_image,
    write_private_table,
)
from napari_melanoma.data.formats.masks import MaskFormat, detect_format
from napari_melanoma.data.mask_areas import ImageFileArea
from napari_melanoma.data.mask_values import LabelImageError, LesionValues, describe_label_images
from napari_melanoma.data.splits import check_patients_of
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.photographs import is_stored_upright, read_image_size


class MaskImportOptions(SourceImportOptions):
    """How masks made elsewhere are imported."""

    format: Literal["auto", MaskFormat] = Field(
        "auto", description="format of the masks; auto: detected from the content"
    )
    replace: bool = Field(False, description="replace accepted or corrected masks of the data set")
    review: Review = Field("accepted", description="review state of the imported masks")
    reviewer: str = Field("", description="name of the person who drew or checked the masks")
    modality: Modality | None = Field(None, description="modality of all photographs")
    split: bool = Field(
        False,
        description="assign four of five new patients without a split to train, the others to test; by default none",
    )

    @field_validator("values")
    @classmethod
    def _refuse_classes(cls, values: LesionValues) -> LesionValues:
        if values == "keep":
            raise InputError(
                "--values keep is not available here: this data set stores one lesion mask an image, not classes. "
                "Expected values or names with commas (--values 1,2) or all; to keep classes, use napari-melanoma data "
                "import folder DIR --values keep."
            )
        return values


@dataclass
class MaskImportReport:
    """The outcome of an import: what was imported, and what was not and why.

    ``added`` are the ids of the imported images; ``faults`` are images or masks that could not be imported, with the
    reason; ``kept`` are photographs whose mask in the data set was accepted or corrected before; ``without_mask`` are
    photographs without a mask; ``leaks`` are patients in several splits; ``notes`` are topics and messages about files
    that were not used, the metadata table and the masks.
    """

    added: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    without_mask: list[str] = field(default_factory=list)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def import_masks(
    masks: Path, images: Path, out: Path, options: MaskImportOptions, *, run: RunContext
) -> MaskImportReport:
    """Import masks that were made elsewhere into a data set.

    Images, masks and tables are found and read as by ``import_source``. The data set ``out`` is one of corrections
    (``data.corrections``): photographs are stored upright as PNG without metadata, photographs that it has already are
    updated, and the changes can be undone one by one.
    """
    run.report(Progress(0, None, "Reading the masks"))
    format_ = detect_format(masks) if options.format == "auto" else options.format
    source = find_source("folder" if format_ == "png" else format_)
    contents = source.read_folder(images, options.mapping, masks, options.metadata)
    if not any(record.image for record in contents.records):
        raise InputError(f"{images} contains no photograph besides the masks. Name the folder of the photographs.")
    plan = plan_import(contents, images, options, masks)
    report = MaskImportReport(faults=contents.faults, notes=contents.notes)
    with_mask = {record.image_id for record in plan.records}
    report.without_mask = [one.image.name for one in contents.records if one.image and one.image_id not in with_mask]
    report.notes += check_patients(plan.records, [], options.no_patients, contents.unread, images)
    _check_values(plan, run)
    rows, harmonized = harmonize_records(source.spec, plan.records, run)
    report.notes += harmonized.describe_unrecognized("left out")
    report.notes += harmonized.describe_findings(kept_in={"diagnosis": "diagnosis"})
    corrections, by_id = Corrections(out), {row["image_id"]: row.to_dict() for row in rows}
    try:
        report.added = corrections.add_all(_make_corrections(plan, by_id, corrections, options, report, run), run=run)
    finally:
        plan.close()
    report.notes += plan.describe([message for _, message in report.notes]) + write_private_table(
        out, plan.records if report.added else []
    )
    report.leaks, questions = check_patients_of(corrections.rows())
    report.notes += questions
    return report


def _check_values(plan: PlannedImport, run: RunContext) -> None:
    """Raise for label images whose lesion values are not given, before the first mask is stored."""
    with_file = [record for record in plan.records if record.mask is not None]
    refused: dict[str, LabelImageError] = {}
    for record in run.track(with_file if plan.reading.values is None else [], "Checking masks"):
        assert record.image is not None
        assert record.mask is not None
        try:
            with record.image.on_disk() as path:
                stored = read_image_size(path) if is_stored_upright(path) else None
            shape = None if stored is None else stored[::-1]
            ImageFileArea(record.mask).read(plan.reading, shape)
        except LabelImageError as error:
            refused[PurePosixPath(record.mask.name).name] = error
        except InputError:
            continue  # _make_corrections reports it
    if refusal := describe_label_images(refused, len(with_file), keep=""):
        raise DataSetError(refusal)


def _make_corrections(
    plan: PlannedImport,
    rows: Mapping[str, Mapping[str, str]],
    corrections: Corrections,
    options: MaskImportOptions,
    report: MaskImportReport,
    run: RunContext,
) -> Iterator[Correction]:
    """Read each photograph and draw its mask; photographs that cannot be imported are reported."""
    seen: set[str] = set()
    for record in run.track(plan.records, "Importing masks"):
        assert record.image is not None
        name = record.original or record.image.name
        try:
            photograph = read_record_image(record, plan.order)
            plan.add_notes(record, photograph.notes)
            digest = array_fingerprint(photograph.rgb)
            known = corrections.find_row(digest, record.image_id)
            if known and known.get("review") in TRAINING_REVIEWS and not options.replace and digest not in seen:
                report.kept.append(name)
                continue
            if digest in seen:
                raise DataSetError("shows the same pixels as another photograph: only one mask is imported")
            with record.image.on_disk() as path:
                is_upright = is_stored_upright(path)
            rows_, columns = photograph.rgb.shape[:2]
            mask = plan.draw(record, (rows_, columns), is_upright)
        except Exception as error:  # noqa: BLE001 - any error of a library concerns this photograph alone
            report.faults.append((name, describe_error(error)))
            continue
        seen.add(digest)
        row = rows[record.image_id]
        yield Correction(
            name=record.image_id,
            rgb=photograph.rgb,
            mask=mask,
            review=options.review,
            reviewer=options.reviewer,
            patient_id=row.get("patient_id") or None,
            lesion_id=row.get("lesion_id") or None,
            diagnosis=row.get("diagnosis") or row.get(f"diagnosis{AS_GIVEN_SUFFIX}") or None,
            modality=row.get("modality") or options.modality or photograph.modality,
            clinical={column: text for column, text in row.items() if column in CLINICAL},
            source="" if record.original else PurePosixPath(record.image.name).name,
            damage=photograph.damage,
            pixel_size=photograph.pixel_size,
            split=row.get("split", ""),
            assign_split=options.split,
        )
