"""A public set into a data set of ours, file by file: it can be stopped, goes on, and is there whole or not at all.

Its tables are harmonised on the way. A table alone becomes a data set too, of rows without images.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import DataSetError, SaveError, describe_error
from napari_melanoma.core.files import save_error, sweep_once, temporary_name, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import describe_invalid_id, ids_to_file_names
from napari_melanoma.core.pipeline import StageLimit, map_ahead, usable_cores
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import assemble_folder, write_dataset_table
from napari_melanoma.data.duplicates import read_hash_thumbnail
from napari_melanoma.data.harmonize import Harmonizer, HarmonizeReport, describe_renamed
from napari_melanoma.data.masks.label_values import (
    LabelImageError,
    LesionValues,
    describe_label_images,
    read_lesion_mask,
    read_nnunet_labels,
    resolve_class_values,
)
from napari_melanoma.data.packed_rows import PackedRow, unpack_row
from napari_melanoma.data.source_files import close_archives
from napari_melanoma.data.sources import NO_MAPPING, DataSource, SourceRecord, SourceSpec
from napari_melanoma.data.splits import check_patients_named
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.photographs import accepts_damaged, find_damage, read_image_size
from napari_melanoma.io.results import write_labels, write_mask

JOURNAL_FILE, ORIGIN_FILE = "imported.jsonl", "source.json"
MAX_THREADS = 8
READ_AHEAD = 32


@dataclass
class SourceImportReport:
    """What an import did: how many images and masks it took, what could not be taken, and how many the set has.

    ``found`` counts what the folder holds; ``expected`` what the complete set has, 0 where that is not fixed;
    ``resumed`` those that an earlier try had taken; ``rows`` the rows of the table, more than ``images`` where a table
    is all there was; ``left`` the rows of the set's tables whose images are not there although others are. ``notes``
    say what was noticed about the tables: about what, and a sentence.
    """

    found: int
    expected: int
    images: int = 0
    rows: int = 0
    left: int = 0
    masks: int = 0
    resumed: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class SourceImportOptions:
    """How a set is read.

    ``mapping`` says what the columns and words of its tables mean, where they are not the published ones;
    ``no_patients`` that the user has confirmed that nothing names the patients of their own set; ``values`` which
    values of a label image are lesion.
    """

    mapping: TableMapping = NO_MAPPING
    no_patients: bool = False
    values: LesionValues = None


def import_source(
    source: DataSource,
    folder: Path,
    out: Path,
    options: SourceImportOptions = SourceImportOptions(),
    *,
    run: RunContext,
) -> SourceImportReport:
    """Import a public set, or images or a table of one's own, into the new data set ``out``.

    Images are copied byte for byte, masks become PNG of 0 and 255. Where the folder holds a table and no image, the
    data set has rows without images (``path`` is empty). All is gathered in a hidden folder beside ``out``, which takes
    its name once it is complete; the same command goes on after a stop or a crash. An image that cannot be read, or
    whose mask cannot or has another size, is left out and named in the report.
    """
    found = source.read_folder(folder, options.mapping)
    records, renamed = _assign_file_names(found.importable)
    left = [] if len(records) == len(found.records) else [one for one in found.records if one.image is None]
    report = SourceImportReport(
        len(records), source.spec.images, left=len(found.records) - len(records), notes=found.notes
    )
    if renamed:
        report.notes.append(("image_id", describe_renamed(renamed)))
    if not source.spec.public:
        report.notes += _check_patients(records, left, options.no_patients, found.unread, folder)
    masks = _MaskReading(options.values, read_nnunet_labels(folder) if folder.is_dir() else {})
    if isinstance(options.values, tuple):
        resolve_class_values(options.values, masks.names)  # a name that stands for no value, before anything is copied
    with assemble_folder(out, discard_on=_LabelImagesError) as place:
        said = "" if options.values is None else f" {options.values}"
        journal = _ImportJournal(place / JOURNAL_FILE, f"{source.spec.name} {folder.absolute()}{said}")
        try:
            taken = _import_records(records, masks, journal, report, run)
        finally:
            close_archives(file for record in records for file in (record.image, record.mask) if file)
        if not taken:
            raise DataSetError(_describe_failure(folder, report))
        rows, met = _harmonize_records(source.spec, taken, run)
        report.rows = len(rows)
        report.notes += [*met.describe_unrecognized(similar_only=source.spec.public), *met.describe_findings()]
        write_dataset_table(place / "dataset.csv", rows)
        write_json(place / ORIGIN_FILE, {**_describe_origin(source, report), "not_understood": met.unmapped})
        journal.path.unlink()
    return report


def _check_patients(
    records: Sequence[SourceRecord],
    others: Sequence[SourceRecord],
    no_patients: bool,
    unread: Sequence[str],
    folder: Path,
) -> list[tuple[str, str]]:
    """Refuse images that no patient is named for, before anything is copied."""
    at_work = Harmonizer()
    named = sum("patient_id" in at_work.harmonize_row(unpack_row(record.values)) for record in records)
    if others and not named and not no_patients and "patient_id" in at_work.harmonize_row(unpack_row(others[0].values)):
        raise DataSetError(
            f"the tables in {folder} have rows for {format_names([one.image_id for one in others])}, but for none of the "
            f"{len(records)} images, such as {format_names([one.image_id for one in records])}. Expected the images' "
            "names, with or without suffix, in the column that names them."
        )
    how = (
        "rename the table that describes the images to metadata.csv (a workbook: save its sheet as CSV), or read "
        f"tables of any name with napari-melanoma data import table {folder}; it needs a column that names the images"
    )
    return check_patients_named(named, len(records), at_work.make_report(), no_patients, unread=unread, how=how)


def _assign_file_names(records: Sequence[SourceRecord]) -> tuple[list[SourceRecord], dict[str, str]]:
    """Give images ids that are file names, as archives and tables may name them anything; also gives those changed."""
    names = ids_to_file_names(
        one.image_id for one in records if one.image is not None or describe_invalid_id(one.image_id)
    )
    renamed = {old: new for old, new in names.items() if old != new}
    return [
        replace(one, image_id=renamed[one.image_id]) if one.image_id in renamed else one for one in records
    ], renamed


def _harmonize_records(
    spec: SourceSpec, records: Sequence[SourceRecord], run: RunContext
) -> tuple[list[PackedRow], HarmonizeReport]:
    """The rows in our columns and words, and what was met on the way."""
    at_work = Harmonizer(spec.name if spec.public else "")
    common = {"licence": spec.licence} if spec.public else {}
    alone = {**common, "path": ""}
    rows = []
    for record in run.track(records, "Harmonising"):
        row = at_work.harmonize_row({**unpack_row(record.values), "image_id": record.image_id})
        rows.append(PackedRow(row, alone if record.image is None else common))
    return rows, at_work.make_report()


class _ImportJournal:
    """Which images an import has taken, a line each; one of another set or folder counts for nothing."""

    def __init__(self, path: Path, about: str) -> None:
        self.path = path
        self._import_key = about
        self.masks: dict[str, bool] = {}
        with suppress(FileNotFoundError, ValueError, TypeError):
            head, *lines = path.read_text(encoding="utf-8").splitlines()
            if parse_json(head, str(path)) == about:
                for line in lines:  # the last one may be cut off
                    image_id, mask = parse_json(line, str(path))
                    self.masks[image_id] = mask

    def contains(self, record: SourceRecord) -> bool:
        """Whether an image was taken, and its files are still there."""
        place = self.path.parent
        return record.image_id in self.masks and _image_path(record, place).exists()

    @contextmanager
    def open_for_writing(self) -> Iterator[Callable[[str, bool], None]]:
        """Give a function that notes an image, and whether it has a mask."""
        with self.path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(self._import_key) + "\n")

            def note(image_id: str, mask: bool) -> None:
                file.write(json.dumps([image_id, mask]) + "\n")
                file.flush()

            for image_id, mask in self.masks.items():
                note(image_id, mask)
            yield note


@dataclass(frozen=True)
class _ImportedRecord:
    """What came of one record; ``fault`` is "" where it was taken."""

    record: SourceRecord
    fault: str = ""
    labels: LabelImageError | None = None


class _LabelImagesError(DataSetError):
    """Masks are label images, and the user has not named the values that are lesion."""


class _MaskReading(NamedTuple):
    """How the masks of a set are read: which values are lesion, and the names of nnU-Net's classes."""

    values: LesionValues
    names: dict[str, int]


def _import_records(
    records: Sequence[SourceRecord],
    masks: _MaskReading,
    journal: _ImportJournal,
    report: SourceImportReport,
    run: RunContext,
) -> list[SourceRecord]:
    """Copy every image and mask that an earlier try has not copied, in threads."""
    taken = {record.image_id: record for record in records if record.image is None or journal.contains(record)}
    rest = [record for record in records if record.image_id not in taken]
    report.resumed = sum(record.image is not None for record in taken.values())
    threads = min(MAX_THREADS, usable_cores() + 1)
    undecided: dict[str, LabelImageError] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="importing") as pool, journal.open_for_writing() as note:
        work = map_ahead(
            pool, partial(_import_record, place=journal.path.parent, masks=masks), rest, StageLimit(READ_AHEAD), run
        )
        for done, one in enumerate(work, start=1):
            if one.labels is not None and one.record.mask is not None:
                undecided[one.record.mask.name] = one.labels
            elif one.fault:
                report.faults.append((one.record.image_id, one.fault))
            else:
                taken[one.record.image_id] = one.record
                note(one.record.image_id, one.record.mask is not None)
            run.report(Progress(report.resumed + done, len(records), "Importing images"))
    if undecided:
        raise _LabelImagesError(describe_label_images(undecided, sum(record.mask is not None for record in records)))
    report.images = sum(record.image is not None for record in taken.values())
    report.masks = sum(record.mask is not None for record in taken.values())
    return [record for record in records if record.image_id in taken]


def _import_record(record: SourceRecord, place: Path, masks: _MaskReading) -> _ImportedRecord:
    """Copy an image and draw its mask; or say why not."""
    assert record.image is not None
    image = _image_path(record, place)
    labels = None
    try:
        _write_atomically(image, record.image.read())
        fault = _import_mask(record, image, place, masks)
    except SaveError:
        raise
    except DataSetError as error:
        fault, labels = str(error), error if isinstance(error, LabelImageError) else None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise save_error(image, error) from error
        fault = f"cannot be read: {describe_error(error)}"
    if fault:
        image.unlink(missing_ok=True)
    return _ImportedRecord(record, fault.replace(f"{place}{os.sep}", ""), labels)


def _import_mask(record: SourceRecord, image: Path, place: Path, masks: _MaskReading) -> str:
    """Check an image that was copied and write its mask; gives what is wrong, "" where nothing is."""
    look = read_hash_thumbnail(image)
    if isinstance(look, str):
        return look
    damage = None if accepts_damaged() else find_damage(image)  # a thumbnail of a damaged JPEG can be read
    if damage:
        return f"is damaged: {damage}. Copy it again, or accept it with --accept-damaged."
    if record.mask is None:
        return ""
    drawn = place / "masks" / f".{record.image_id}{record.mask.suffix}"
    _write_atomically(drawn, record.mask.read())
    size, of_mask = read_image_size(image), read_image_size(drawn)
    try:
        if size and of_mask and of_mask not in (size, size[::-1]):  # before it is decoded: it may claim to be huge
            return f"has {size[0]} x {size[1]} pixels, its mask {of_mask[0]} x {of_mask[1]}"
        mask = read_lesion_mask(drawn, record.mask.name, masks.values, masks.names)
    finally:
        drawn.unlink()
    if size not in (mask.shape, mask.shape[::-1]):  # an image may lie on its side until its EXIF is followed
        said = f"has {size[0]} x {size[1]} pixels" if size else "states no size"
        return f"{said}, its mask {mask.shape[1]} x {mask.shape[0]}"
    write = write_mask if mask.dtype == bool else write_labels
    write(place / "masks" / f"{record.image_id}.png", mask)
    return ""


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name first; without waiting for the disk, as the journal is no promise either."""
    temporary = temporary_name(path, path.suffix)
    sweep_once(path.parent)
    temporary.write_bytes(content)
    temporary.replace(path)


def _image_path(record: SourceRecord, place: Path) -> Path:
    """Where an image goes."""
    return place / "images" / f"{record.image_id}{record.image.suffix if record.image else ''}"


def _describe_origin(source: DataSource, report: SourceImportReport) -> dict[str, object]:
    """What ``source.json`` says of where the images come from."""
    spec = source.spec
    said = {"source": spec.name, "title": spec.title, "licence": spec.licence, "url": spec.url}
    counts = {"rows": report.rows, "images": report.images, "masks": report.masks}
    counts["images_of_the_complete_set"] = spec.images
    return {**said, "reference": spec.reference, **counts, "imported_with": collect_provenance()}


def _describe_failure(folder: Path, report: SourceImportReport) -> str:
    """Say that an import came to nothing, and why the first image could not be taken."""
    name, fault = report.faults[0]
    return f"none of the {report.found} images in {folder} could be taken. The first: {name} {fault}"
