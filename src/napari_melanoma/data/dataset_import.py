"""Import public sets, or a user's own images and tables, as data sets.

Tables are harmonized; a table alone becomes a data set of rows without images. A data set appears only when it is
complete; an interrupted import continues where it stopped.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.core.context import Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import DataSetError, SaveError, UnreadableImage, describe_error
from napari_melanoma.core.files import move, remove_file, save_error, sweep_once, temporary_name, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import describe_invalid_id, ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.annotators import MAJORITY, select_annotator
from napari_melanoma.data.dataset import PackedRow, assemble_folder, unpack_row, write_dataset_table
from napari_melanoma.data.harmonize import Harmonizer, HarmonizeReport, describe_renamed
from napari_melanoma.data.mask_areas import draw_objects, number_classes
from napari_melanoma.data.mask_values import (
    ClassValues,
    LabelImageError,
    LesionValues,
    covers_border,
    describe_label_images,
    note_inverted,
    note_turned,
    read_lesion_mask,
    resolve_class_values,
)
from napari_melanoma.data.nnunet import merge_channels, read_channel_order, read_nnunet_labels
from napari_melanoma.data.source_catalog import NO_MAPPING, DataSource, SourceContents, SourceRecord, SourceSpec
from napari_melanoma.data.source_files import close_archives
from napari_melanoma.data.source_records import join_table
from napari_melanoma.data.splits import NAME_TABLE, check_patients_named
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.photographs import (
    accepts_damaged,
    find_damage,
    is_stored_upright,
    read_image_size,
    read_photograph,
)
from napari_melanoma.io.results import write_labels, write_mask, write_rgb, write_table
from napari_melanoma.io.thumbnails import read_thumbnail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOURNAL_FILE, ORIGIN_FILE = "imported.jsonl", "source.json"
MAX_THREADS = 8
THUMBNAIL_PX = 64
READ_AHEAD = 32  # records that are imported at once or waiting for their turn


@dataclass
class SourceImportReport:
    """The outcome of an import.

    ``found`` counts the records to import: the images in the folder, or the rows of a table without images.
    ``expected`` is the number of images in the complete public set, 0 if it is not fixed. ``images``, ``masks`` and
    ``rows`` count what was imported (``rows`` includes those without an image), ``resumed`` the images imported by an
    earlier attempt, and ``left`` the rows that were left out because their images are missing although others are
    present. ``faults`` are image ids and reasons why the image was left out, ``notes`` topics and messages.
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

    ``mapping`` maps the columns and words of tables that differ from the published ones; ``no_patients``: the user has
    confirmed that the patients of their own set are unknown; ``values``: which values of masks mark the lesion;
    ``annotator``: whose masks are used, as for ``select_annotator``; ``metadata``: a table that is joined to the
    images.
    """

    mapping: TableMapping = NO_MAPPING
    no_patients: bool = False
    values: LesionValues = None
    annotator: str = ""
    metadata: Path | None = None


def import_source(
    source: DataSource,
    folder: Path,
    out: Path,
    options: SourceImportOptions = SourceImportOptions(),
    *,
    run: RunContext,
) -> SourceImportReport:
    """Import a public set, or a user's own images or table, into the new data set ``out``.

    Images are copied byte for byte, except DICOM, HEIC and channels in several files, which become PNG; masks become
    PNG of 0 and 255. The files of images whose ids are pseudonyms are listed in a private table next to the data set.
    If the folder has a table and no image, the data set has rows without images (``path`` is empty). Files are
    collected in a hidden folder next to ``out``, which is renamed when it is complete; after a stop or a crash, the
    same command continues. An image that cannot be read, or whose mask cannot be read or has another size, is left out
    and reported.
    """
    contents = source.read_folder(folder, options.mapping)
    records, renamed = _assign_file_names(_select_records(contents, options))
    without_image = (
        [] if len(records) == len(contents.records) else [record for record in contents.records if record.image is None]
    )
    report = SourceImportReport(
        len(records), source.spec.images, left=len(contents.records) - len(records), notes=contents.notes
    )
    if renamed:
        report.notes.append(("image_id", describe_renamed(renamed)))
    if not source.spec.public:
        report.notes += _check_patients(records, without_image, options.no_patients, contents.unread, folder)
    masks = _prepare_masks(records, folder, options, report)
    copy = partial(_import_record, masks=masks, order=read_channel_order(folder))
    with assemble_folder(out, discard_on=_LabelImagesError) as gathering:
        choice = "" if options.values is None else f" {options.values}"
        choice += f" {options.annotator}" if options.annotator else ""
        journal = _ImportJournal(gathering / JOURNAL_FILE, f"{source.spec.name} {folder.absolute()}{choice}")
        try:
            imported = _import_records(records, copy, journal, report, run)
        finally:
            close_archives(file for record in records for file in (record.image, record.mask) if file)
        if not imported:
            name, fault = report.faults[0]
            raise DataSetError(
                f"none of the {report.found} images in {folder} could be imported. The first: {name} {fault}"
            )
        rows, harmonized = _harmonize_records(source.spec, imported, run)
        report.rows = len(rows)
        report.notes += harmonized.describe_unrecognized(similar_only=source.spec.public)
        report.notes += harmonized.describe_findings()
        write_dataset_table(gathering / "dataset.csv", rows)
        write_json(gathering / ORIGIN_FILE, {**_describe_origin(source, report), "not_understood": harmonized.unmapped})
        remove_file(journal.path)
    report.notes += _write_private_table(out, imported)
    return report


def _select_records(contents: SourceContents, options: SourceImportOptions) -> list[SourceRecord]:
    """Return the records to import, with the objects of the selected annotator and the rows of a table; adds notes."""
    records, notes = contents.importable, list[tuple[str, str]]()
    if options.annotator or any(record.objects for record in records):
        objects_of = {record.image_id: record.objects for record in records}
        selected, notes = select_annotator(objects_of, options.annotator)
        records = [replace(record, objects=tuple(selected[record.image_id])) for record in records]
    if options.metadata is not None:
        records, joined = join_table(records, options.metadata, options.mapping)
        notes += joined
    contents.notes.extend(notes)
    return records


def _prepare_masks(
    records: Sequence[SourceRecord], folder: Path, options: SourceImportOptions, report: SourceImportReport
) -> _MaskReading:
    """Find the classes of the masks; raises for a class that they do not have before anything is copied."""
    names = number_classes(one for record in records for one in record.objects)
    class_values = names or (read_nnunet_labels(folder) if folder.is_dir() else {})
    if len(names) > 1 and options.values == "keep":
        values = ", ".join(f"{value} {name}" for name, (value,) in names.items())
        report.notes.append(("classes", f"the masks have the values {values}"))
    if isinstance(options.values, tuple):
        resolve_class_values(options.values, class_values)
    return _MaskReading(options.values, class_values, majority=options.annotator == MAJORITY)


def _check_patients(
    records: Sequence[SourceRecord],
    without_image: Sequence[SourceRecord],
    no_patients: bool,
    unread: Sequence[str],
    folder: Path,
) -> list[tuple[str, str]]:
    """Check a user's own tables for patients before anything is copied; returns notes (topic and message).

    ``records`` will be imported; ``without_image`` are rows that will not. Raises if no patient is named and
    the user has not confirmed that they are unknown.
    """
    harmonizer = Harmonizer()
    with_patient = sum("patient_id" in harmonizer.harmonize_row(unpack_row(record.values)) for record in records)
    if (
        without_image
        and not with_patient
        and not no_patients
        and "patient_id" in harmonizer.harmonize_row(unpack_row(without_image[0].values))
    ):
        raise DataSetError(
            f"the tables in {folder} have rows for {format_names([row.image_id for row in without_image])}, but none "
            f"for the {len(records)} images, such as {format_names([row.image_id for row in records])}. Expected the "
            "images' names, with or without suffix, in the column that names them."
        )
    return check_patients_named(
        with_patient, len(records), harmonizer.make_report(), no_patients, unread=unread, how=NAME_TABLE
    )


def _assign_file_names(records: Sequence[SourceRecord]) -> tuple[list[SourceRecord], dict[str, str]]:
    """Replace ids that are not valid file names; also returns the replaced ids, old to new."""
    names = ids_to_file_names(
        record.image_id for record in records if record.image is not None or describe_invalid_id(record.image_id)
    )
    renamed = {old: new for old, new in names.items() if old != new}
    return [
        replace(record, image_id=renamed[record.image_id]) if record.image_id in renamed else record
        for record in records
    ], renamed


def _harmonize_records(
    spec: SourceSpec, records: Sequence[SourceRecord], run: RunContext
) -> tuple[list[PackedRow], HarmonizeReport]:
    """Harmonize the rows; also returns the report."""
    harmonizer = Harmonizer(spec.name if spec.public else "")
    common = {"licence": spec.licence} if spec.public else {}
    without_image = {**common, "path": ""}
    rows = []
    for record in run.track(records, "Harmonizing rows"):
        row = harmonizer.harmonize_row({**unpack_row(record.values), "image_id": record.image_id})
        rows.append(PackedRow(row, without_image if record.image is None else common))
    return rows, harmonizer.make_report()


class _ImportJournal:
    """A file with one line for each imported image; a journal of another set, folder or choice of values is ignored."""

    def __init__(self, path: Path, import_key: str) -> None:
        self.path = path
        self._import_key = import_key
        self.has_mask: dict[str, bool] = {}
        with suppress(FileNotFoundError, ValueError, TypeError):
            head, *lines = path.read_text(encoding="utf-8").splitlines()
            if parse_json(head, str(path)) == import_key:
                for line in lines:  # the last one may be truncated
                    image_id, mask = parse_json(line, str(path))
                    self.has_mask[image_id] = mask

    def contains(self, record: SourceRecord) -> bool:
        """Whether an image was imported and its file exists."""
        return record.image_id in self.has_mask and _image_path(record, self.path.parent).exists()

    @contextmanager
    def open_for_writing(self) -> Iterator[Callable[[str, bool], None]]:
        """Yield a function that records an image id, and whether the image has a mask."""
        with self.path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(self._import_key) + "\n")

            def add_image(image_id: str, mask: bool) -> None:
                file.write(json.dumps([image_id, mask]) + "\n")
                file.flush()

            for image_id, mask in self.has_mask.items():
                add_image(image_id, mask)
            yield add_image


@dataclass(frozen=True)
class _ImportedRecord:
    """The outcome of one record.

    ``fault`` is "" if it was imported; ``labels`` is set if its mask is a label image with unknown lesion values;
    ``covers_border``: the mask covers the border of the image; ``is_turned``: the image has an EXIF orientation.
    """

    record: SourceRecord
    fault: str = ""
    labels: LabelImageError | None = None
    covers_border: bool = False
    is_turned: bool = False


class _LabelImagesError(DataSetError):
    """Masks are label images, and the user has not stated which values mark the lesion."""


class _MaskReading(NamedTuple):
    """How the masks of a set are read: the values that mark the lesion, and nnU-Net's class names with their values.

    ``majority``: annotators vote on each pixel.
    """

    values: LesionValues
    names: ClassValues
    majority: bool = False


def _import_records(
    records: Sequence[SourceRecord],
    copy: Callable[..., _ImportedRecord],
    journal: _ImportJournal,
    report: SourceImportReport,
    run: RunContext,
) -> list[SourceRecord]:
    """Copy the images and masks that an earlier attempt has not copied, in threads; returns the imported records."""
    imported = {record.image_id: record for record in records if record.image is None or journal.contains(record)}
    remaining = [record for record in records if record.image_id not in imported]
    report.resumed = sum(record.image is not None for record in imported.values())
    threads = min(MAX_THREADS, usable_cores() + 1)
    label_images: dict[str, LabelImageError] = {}
    covering = turned = 0
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="importing") as pool,
        journal.open_for_writing() as add_to_journal,
    ):
        work = map_ahead(
            pool,
            partial(copy, folder=journal.path.parent),
            remaining,
            StageLimit(READ_AHEAD),
            run,
        )
        for done, outcome in enumerate(work, start=1):
            if outcome.labels is not None:
                label_images[outcome.record.mask.name if outcome.record.mask else outcome.record.image_id] = (
                    outcome.labels
                )
            elif outcome.fault:
                report.faults.append((outcome.record.original or outcome.record.image_id, outcome.fault))
            else:
                imported[outcome.record.image_id] = outcome.record
                covering += outcome.covers_border
                turned += outcome.is_turned and outcome.record.has_mask
                add_to_journal(outcome.record.image_id, outcome.record.has_mask)
            run.report(Progress(report.resumed + done, len(records), "Importing images"))
    if label_images:
        raise _LabelImagesError(describe_label_images(label_images, sum(record.has_mask for record in records)))
    report.images = sum(record.image is not None for record in imported.values())
    report.masks = sum(record.has_mask for record in imported.values())
    report.notes += note_inverted(covering, report.masks) + note_turned(turned)
    return [record for record in records if record.image_id in imported]


def _import_record(record: SourceRecord, folder: Path, masks: _MaskReading, order: tuple[int, ...]) -> _ImportedRecord:
    """Copy an image and its mask; errors of this image are returned as its fault. ``order``: that of channels."""
    assert record.image is not None
    image = _image_path(record, folder)
    labels, covering, is_turned = None, False, False
    try:
        if record.is_converted:
            _convert_image(record, image, order)
        else:
            _write_atomically(image, record.image.read())
        fault, covering = _import_mask(record, image, folder, masks)
        is_turned = not is_stored_upright(image)
    except SaveError:
        raise
    except DataSetError as error:
        fault, labels = str(error), error if isinstance(error, LabelImageError) else None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise save_error(image, error) from error
        fault = f"cannot be read: {describe_error(error)}"
    if fault:
        remove_file(image)
    return _ImportedRecord(record, fault.replace(f"{folder}{os.sep}", ""), labels, covering, is_turned)


def _convert_image(record: SourceRecord, image: Path, order: tuple[int, ...]) -> None:
    """Write an image as PNG; ``order``: indices of red, green and blue in channels that are several files."""
    assert record.image is not None
    files = record.channels or (record.image,)
    copies = [image.with_name(f".{image.stem}_{number}{file.suffix}") for number, file in enumerate(files)]
    try:
        for copy, file in zip(copies, files, strict=True):
            _write_atomically(copy, file.read())
        if len(files) > 1:
            write_rgb(image, merge_channels(copies, order))
        else:  # the PNG would not show any more that the file is damaged
            write_rgb(image, read_photograph(copies[0], accept_damaged=False).rgb)
    finally:
        for copy in copies:
            remove_file(copy)


def _write_private_table(out: Path, records: Sequence[SourceRecord]) -> list[tuple[str, str]]:
    """List the files of images whose ids are pseudonyms, next to the data set; returns a note on the table."""
    rows = [
        {"image_id": record.image_id, "file": record.original}
        | {column: unpack_row(record.values).get(column, "") for column in ("patient_id", "lesion_id")}
        for record in records
        if record.original
    ]
    if not rows:
        return []
    path = out.with_name(f"{out.name}-private.csv")
    write_table(path, rows)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return [("image_id", f"{path} lists the file of each pseudonym. Keep it private, and do not pass it on")]


def _import_mask(record: SourceRecord, image: Path, folder: Path, masks: _MaskReading) -> tuple[str, bool]:
    """Check a copied image and import its mask; returns the fault, "" if there is none.

    Also returns whether the mask covers the border of the image.
    """
    try:
        thumbnail = read_thumbnail(image, THUMBNAIL_PX)
    except UnreadableImage as error:
        return str(error), False
    damage = None if accepts_damaged() else find_damage(image)  # a thumbnail of a damaged JPEG can be read
    if damage:
        return f"is damaged: {damage}. Copy it again, or accept it with --accept-damaged.", False
    if record.objects:
        shape = _find_upright_shape(image, read_image_size(image) or (0, 0), thumbnail)
        drawn = draw_objects(record.objects, shape, masks.values, masks.names, majority=masks.majority)
        return _store_mask(drawn, record, folder)
    if record.mask is None:
        return "", False
    copy = folder / "masks" / f".{record.image_id}{record.mask.suffix}"
    _write_atomically(copy, record.mask.read())
    size, mask_size = read_image_size(image), read_image_size(copy)
    try:
        # compared before decoding: the mask's header may declare a huge size
        if size and mask_size and mask_size not in (size, size[::-1]):
            return f"has {size[0]} x {size[1]} pixels, its mask {mask_size[0]} x {mask_size[1]}", False
        mask = read_lesion_mask(copy, record.mask.name, masks.values, masks.names)
    finally:
        remove_file(copy)
    rows, columns = _find_upright_shape(image, size, thumbnail) if size else (0, 0)
    if mask.shape != (rows, columns):
        image_size = f"has {columns} x {rows} pixels" if size else "has no known size"
        return f"{image_size}, its mask {mask.shape[1]} x {mask.shape[0]}", False
    return _store_mask(mask, record, folder)


def _store_mask(mask: NDArray, record: SourceRecord, folder: Path) -> tuple[str, bool]:
    """Write a mask; returns no fault, and whether it covers the border of the image."""
    write = write_mask if mask.dtype == bool else write_labels
    write(folder / "masks" / f"{record.image_id}.png", mask)
    return "", mask.dtype == bool and covers_border(mask)


def _find_upright_shape(image: Path, stored: tuple[int, int], thumbnail: NDArray[np.uint8]) -> tuple[int, int]:
    """Return rows and columns of the upright image, which the EXIF orientation may exchange.

    ``stored``: width and height in the header. ``thumbnail``: uint8 (row, column, channel=3), upright.
    """
    width, height = stored
    rows, columns = thumbnail.shape[:2]
    if width != height and rows == columns:  # nearly square
        full = read_photograph(image).rgb.shape
        return full[0], full[1]
    return (height, width) if (height < width) == (rows < columns) else (width, height)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first; without fsync, as the journal is not synced either."""
    temporary = temporary_name(path, path.suffix)
    sweep_once(path.parent)
    temporary.write_bytes(content)
    move(temporary, path)


def _image_path(record: SourceRecord, folder: Path) -> Path:
    suffix = ".png" if record.is_converted else record.image.suffix if record.image else ""
    return folder / "images" / f"{record.image_id}{suffix}"


def _describe_origin(source: DataSource, report: SourceImportReport) -> dict[str, object]:
    """Return the content of ``source.json``: the origin of the images."""
    spec = source.spec
    origin = {"source": spec.name, "title": spec.title, "licence": spec.licence, "url": spec.url}
    counts = {"rows": report.rows, "images": report.images, "masks": report.masks}
    counts["images_of_the_complete_set"] = spec.images
    return {**origin, "reference": spec.reference, **counts, "imported_with": collect_provenance()}
