"""Import public sets, or a user's own images and tables, as data sets.

Tables are harmonized; a table alone becomes a data set of rows without images. A data set appears only when it is
complete; an interrupted import continues where it stopped.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, field_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import DataSetError, InputError, SaveError, UnreadableImage, describe_error
from napari_melanoma.core.files import move, remove_file, save_error, sweep_once, temporary_name, write_json
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import describe_invalid_id, ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import (
    CLASSES_FILE,
    TABLE_NAMES,
    PackedRow,
    assemble_folder,
    read_class_names,
    unpack_row,
    write_class_names,
    write_dataset_table,
)
from napari_melanoma.data.formats.nnunet import (
    is_nnunet_image,
    merge_channels,
    read_channel_order,
    read_nnunet_labels,
)
from napari_melanoma.data.groups import check_rounded_ids
from napari_melanoma.data.harmonize import Harmonizer, HarmonizeReport, describe_renamed
from napari_melanoma.data.mask_areas import (
    DESCRIPTION,
    MAJORITY,
    UNNAMED,
    ImageFileArea,
    MaskObject,
    MaskReading,
    Size,
    draw_mask,
    number_classes,
    select_annotator,
)
from napari_melanoma.data.mask_values import (
    LabelImageError,
    LesionValues,
    check_classes,
    covers_border,
    describe_label_images,
    note_inverted,
    note_turned,
    parse_values,
    resolve_class_values,
)
from napari_melanoma.data.source_files import close_archives
from napari_melanoma.data.source_records import DataSource, SourceContents, SourceRecord, SourceSpec, join_table
from napari_melanoma.data.splits import NAME_TABLE, check_patients_named, check_patients_of
from napari_melanoma.data.table_mapping import TableMapping, read_mapping
from napari_melanoma.io.photographs import (
    Photograph,
    accepts_damaged,
    find_damage,
    is_stored_upright,
    read_image_size,
    read_photograph,
    summarize_notes,
)
from napari_melanoma.io.results import read_table, write_labels, write_mask, write_rgb, write_table
from napari_melanoma.io.thumbnails import read_noted_thumbnail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOURNAL_FILE, ORIGIN_FILE = "imported.jsonl", "source.json"
MAX_THREADS = 8
MAX_CLASSES = 255  # values of a label image
THUMBNAIL_PX = 64
READ_AHEAD = 32  # records that are imported at once or waiting for their turn
_RESUMED = ("values", "classes", "annotator", "resize")  # options that must be the same to continue an import


@dataclass
class SourceImportReport:
    """The outcome of an import.

    ``found`` counts the records to import: the images in the folder, or the rows of a table without images.
    ``expected`` is the number of images in the complete public set, 0 if it is not fixed. ``images``, ``masks`` and
    ``rows`` count what was imported (``rows`` includes those without an image), ``resumed`` the images imported by an
    earlier attempt, and ``left`` the rows that were left out because their images are missing although others are
    present. ``faults`` are images or masks and reasons why they were left out, ``leaks`` patients in several splits,
    and ``notes`` topics and messages.
    """

    found: int
    expected: int
    images: int = 0
    rows: int = 0
    left: int = 0
    masks: int = 0
    resumed: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


class SourceImportOptions(Config):
    """How a set is read."""

    classes: tuple[str, ...] = Field((), description="class of the masks that is lesion, of several")
    class_is_diagnosis: bool = Field(False, description="use the class of the objects as the diagnosis of the image")
    resize: bool = Field(False, description="scale masks of another size but the same aspect ratio")
    annotator: str = Field("", description=DESCRIPTION)
    metadata: Path | None = Field(
        None, description="table with image_id, patient_id, lesion_id, diagnosis, age, sex, site ..."
    )
    mapping: TableMapping = Field(TableMapping(), description="meaning of the columns and words of tables")
    no_patients: bool = Field(False, description="the user has confirmed that the patients are unknown")
    values: tuple[str, ...] | Literal["all", "keep"] | None = Field(
        None, description="values that mark the lesion in masks with several values; without it these masks are refused"
    )

    @field_validator("mapping", mode="before")
    @classmethod
    def _read_mapping(cls, mapping: object) -> object:
        return read_mapping(Path(mapping)) if isinstance(mapping, str | Path) else mapping

    @field_validator("values", mode="before")
    @classmethod
    def _parse_values(cls, values: object) -> object:
        if isinstance(values, Mapping) or not isinstance(values, Iterable | None):
            return values
        return parse_values(values)

    @property
    def lesion(self) -> LesionValues:
        return (*self.classes, *(self.values if isinstance(self.values, tuple) else ())) or self.values


NO_OPTIONS = SourceImportOptions()


class ImageFindings(NamedTuple):
    """What was noticed when an image was read and its mask was drawn.

    ``resized``: objects that were scaled. ``cut_off``: points outside. ``turned``: whether the image has an EXIF
    orientation. ``covering``: whether the mask covers the border of the image. ``notes``: what was assumed in reading
    the image. ``hidden``: objects of which nothing is in the mask.
    """

    resized: int = 0
    cut_off: int = 0
    turned: bool = False
    covering: bool = False
    notes: Sequence[str] = ()
    hidden: int = 0


@dataclass
class PlannedImport:
    """What an import will do: the records, and how their masks are read.

    ``order``: indices of red, green and blue in channels that are several files. ``findings``: of each image with a
    mask or with notes, by image id; filled in by ``draw`` and ``add_notes``, and by a continued import for the images
    of the earlier attempt.
    """

    records: list[SourceRecord]
    reading: MaskReading
    order: tuple[int, ...]
    findings: dict[str, ImageFindings] = field(default_factory=dict)

    def draw(self, record: SourceRecord, shape: Size, is_upright: bool) -> NDArray:
        """Draw the mask of an image of ``shape``; raises if it cannot be used."""
        objects = record.objects
        if record.mask is not None:
            objects = (MaskObject(record.image_id, ImageFileArea(record.mask)),)
        drawn = draw_mask(objects, shape, self.reading)
        covering = drawn.mask.dtype == bool and bool(covers_border(drawn.mask))
        notes = self.findings.get(record.image_id, ImageFindings()).notes
        self.findings[record.image_id] = ImageFindings(
            int(drawn.resized), int(drawn.points_cut_off), not is_upright, covering, notes, int(drawn.hidden)
        )
        return drawn.mask

    def add_notes(self, record: SourceRecord, notes: Sequence[str]) -> None:
        """Add what was assumed in reading an image."""
        if notes:
            known = self.findings.get(record.image_id, ImageFindings())
            self.findings[record.image_id] = known._replace(notes=[*known.notes, *notes])

    def describe(self, stated: Collection[str] = ()) -> list[tuple[str, str]]:
        """Describe what was noticed when images were read and masks were drawn: topics and messages.

        ``stated``: messages of the report so far, which are not repeated.
        """
        covering = sorted(image_id for image_id, found in self.findings.items() if found.covering)
        notes = note_inverted(covering) + note_turned(sum(found.turned for found in self.findings.values()))
        for count, noun, outcome in (
            (sum(found.resized for found in self.findings.values()), "object", "scaled to the size of the image"),
            (sum(found.cut_off for found in self.findings.values()), "point", "outside the image cut off"),
        ):
            notes += [("masks", f"{format_count(count, noun)} {outcome}")] if count else []
        if hiding := sorted(image_id for image_id, found in self.findings.items() if found.hidden):
            hidden = format_count(sum(found.hidden for found in self.findings.values()), "object")
            notes.append(("masks", f"{hidden} lost below later ones of other classes: {format_names(hiding)}"))
        new = {
            image_id: [note for note in found.notes if note not in stated] for image_id, found in self.findings.items()
        }
        return notes + summarize_notes(dict(sorted(new.items())))

    def close(self) -> None:
        """Close the archives of all files."""
        close_archives(file for record in self.records for file in (record.image, record.mask) if file)


def plan_import(
    contents: SourceContents, folder: Path, options: SourceImportOptions, masks: Path | None = None
) -> PlannedImport:
    """Select the records to import, with the objects of the selected annotators and classes and the rows of a table.

    ``masks``: folder or file of the masks, if ``folder`` has only the images; those without a mask are left out then.
    Adds to the notes of ``contents``. Raises for several classes of which the user has not selected those of the
    lesion, and for channels that are no colors.
    """
    records, notes = contents.importable, contents.notes
    objects_of = {record.image_id: record.objects for record in records}
    if options.annotator or any(objects_of.values()):
        selected, noted = select_annotator(objects_of, options.annotator)
        records = [replace(record, objects=tuple(selected[record.image_id])) for record in records]
        notes += noted
    names, stored = (
        number_classes(one for record in records for one in record.objects),
        _find_class_names(folder, notes),
    )
    if all(len(stored.get(name, ())) == 1 for name in names):  # as numbered when they were exported
        names = {name: stored[name] for name in names}
    class_values = names or read_nnunet_labels(masks or folder) or stored
    reading = MaskReading(options.lesion, class_values, options.annotator == MAJORITY, options.resize)
    if reading.values is None:
        check_classes(reading.names, keep=masks is None)
    elif isinstance(reading.values, tuple):
        chosen = resolve_class_values(reading.values, reading.names)
        others = {name for name, (value,) in names.items() if value not in chosen}
        left_out = sum((one.label or UNNAMED) in others for record in records for one in record.objects)
        if left_out:
            notes.append(("classes", f"{format_count(left_out, 'object')} of other classes left out"))
            records = [
                replace(record, objects=tuple(one for one in record.objects if (one.label or UNNAMED) not in others))
                for record in records
            ]
    elif reading.values == "keep" and reading.names:
        if len(names) > MAX_CLASSES:
            raise DataSetError(
                f"the outlines have {len(names)} classes: expected at most {MAX_CLASSES} to keep them. Name those of "
                "the lesion with --class, or use all with --values all. Nothing was imported."
            )
        values = (f"{', '.join(map(str, of_class))} {name}" for name, of_class in reading.names.items())
        notes.append(("classes", f"the masks have the values {', '.join(values)}"))
    records = [
        _add_diagnosis(record, options.class_is_diagnosis, notes)
        for record in records
        if masks is None or (record.image and record.has_mask)
    ]
    if options.metadata is not None:
        records, joined = join_table(records, options.metadata, options.mapping)
        notes += joined
    has_channels = any(record.channels or (record.image and is_nnunet_image(record.image.stem)) for record in records)
    return PlannedImport(records, reading, read_channel_order(folder) if has_channels else ())


def _find_class_names(folder: Path, notes: list[tuple[str, str]]) -> dict[str, tuple[int, ...]]:
    """Return the classes that an export names; a file of the same name of another program is not used."""
    try:
        return read_class_names(folder)
    except DataSetError:
        if (folder / TABLE_NAMES[0]).is_file():
            raise
        notes.append(("classes", f"{CLASSES_FILE} is not used: it has no list of values for each class"))
        return {}


def _add_diagnosis(record: SourceRecord, is_class: bool, notes: list[tuple[str, str]]) -> SourceRecord:
    """Add the diagnosis that the objects of an image state, or their class, if it is only one."""
    diagnoses = sorted({one.label if is_class else one.diagnosis for one in record.objects} - {""})
    if len(diagnoses) > 1:
        notes.append((record.image_id, f"its objects have several diagnoses, none is used: {', '.join(diagnoses)}"))
    return replace(record, values={"diagnosis": diagnoses[0], **record.values}) if len(diagnoses) == 1 else record


def import_source(
    source: DataSource,
    folder: Path,
    out: Path,
    options: SourceImportOptions = NO_OPTIONS,
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
    contents = source.read_folder(folder, options.mapping, table=options.metadata)
    plan = plan_import(contents, folder, options)
    plan.records, renamed = _assign_file_names(plan.records)
    records = plan.records
    without_image = (
        [] if len(records) == len(contents.records) else [record for record in contents.records if record.image is None]
    )
    report = SourceImportReport(
        len(records),
        source.spec.images,
        left=len(contents.records) - len(records),
        faults=contents.faults,
        notes=contents.notes,
    )
    unmatched = len(report.faults)
    if renamed:
        report.notes.append(("image_id", describe_renamed(renamed)))
    if not source.spec.public:
        report.notes += check_patients(records, without_image, options.no_patients, contents.unread, folder)
    with assemble_folder(out, discard_on=_LabelImagesError) as gathering:
        choice = {name: value for name, value in options.model_dump(mode="json").items() if name in _RESUMED and value}
        journal = _ImportJournal(gathering / JOURNAL_FILE, f"{source.spec.name} {folder.absolute()} {choice or ''}")
        try:
            imported = _import_records(plan, journal, report, run)
        finally:
            plan.close()
        if not imported:
            name, fault = report.faults[unmatched]
            raise DataSetError(
                f"none of the {report.found} images in {folder} could be imported. The first: {name} {fault}"
            )
        rows, harmonized = harmonize_records(source.spec, imported, run)
        report.rows = len(rows)
        report.notes += harmonized.describe_unrecognized(similar_only=source.spec.public)
        report.notes += [*harmonized.describe_findings(), *plan.describe([message for _, message in report.notes])]
        report.leaks, questions = check_patients_of(rows)
        report.notes += questions
        write_dataset_table(gathering / "dataset.csv", rows)
        if plan.reading.values == "keep" and plan.reading.names:
            write_class_names(gathering, plan.reading.names)
        write_json(gathering / ORIGIN_FILE, {**_describe_origin(source, report), "not_understood": harmonized.unmapped})
        remove_file(journal.path)
    report.notes += [*write_private_table(out, imported), *_describe_missing(report)]
    return report


def _describe_missing(report: SourceImportReport) -> Iterator[tuple[str, str]]:
    """Yield a note (topic and message) on images of the complete set, and on images of the tables, that are missing."""
    what = "images" if report.images else "rows"
    if report.found < report.expected:
        yield what, f"the folder has {report.found} of the {report.expected} {what} of the complete set"
    if report.left:
        yield "rows", f"{report.left} rows of its tables are left out because their images are missing"


def check_patients(
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
    patients = [harmonizer.harmonize_row(unpack_row(record.values)).get("patient_id", "") for record in records]
    check_rounded_ids(patients, no_patients)
    with_patient = sum(map(bool, patients))
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


def harmonize_records(
    spec: SourceSpec, records: Sequence[SourceRecord], run: RunContext
) -> tuple[list[PackedRow], HarmonizeReport]:
    """Harmonize the rows; also returns the report."""
    harmonizer = Harmonizer(spec.name if spec.public else "")
    common = {"licence": spec.licence} if spec.public else {}
    without_image = {**common, "path": ""}
    rows = []
    for record in run.track(records, "Harmonizing rows"):
        row = harmonizer.harmonize_row({**unpack_row(record.values), "image_id": record.image_id})
        row["image_id"] = record.image_id  # that of its files, which may end in .jpg
        rows.append(PackedRow(row, without_image if record.image is None else common))
    return rows, harmonizer.make_report()


class _ImportJournal:
    """A file with one line for each imported image; a journal of another set, folder or choice of values is ignored.

    ``findings``: what was noticed in each image, by image id; None if nothing, as without a mask and notes.
    """

    def __init__(self, path: Path, import_key: str) -> None:
        self.path = path
        self._import_key = import_key
        self.findings: dict[str, ImageFindings | None] = {}
        with suppress(FileNotFoundError, ValueError, TypeError):
            head, *lines = path.read_text(encoding="utf-8").splitlines()
            if parse_json(head, str(path)) == import_key:
                for line in lines:  # the last one may be truncated
                    image_id, found = parse_json(line, str(path))
                    self.findings[image_id] = None if found is None else ImageFindings(*found)

    def contains(self, record: SourceRecord) -> bool:
        """Whether an image was imported and its file exists."""
        return record.image_id in self.findings and _image_path(record, self.path.parent).exists()

    @contextmanager
    def open_for_writing(self) -> Iterator[Callable[[str, ImageFindings | None], None]]:
        """Yield a function that records an image id, and the findings in its mask."""
        with self.path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(self._import_key) + "\n")

            def add_image(image_id: str, found: ImageFindings | None) -> None:
                file.write(json.dumps([image_id, found]) + "\n")
                file.flush()

            for image_id, found in self.findings.items():
                add_image(image_id, found)
            yield add_image


class _ImportedRecord(NamedTuple):
    """The outcome of one record: why it was not imported, "" if it was.

    ``labels`` is set if its mask is a label image with unknown lesion values.
    """

    record: SourceRecord
    fault: str = ""
    labels: LabelImageError | None = None


class _LabelImagesError(DataSetError):
    """Masks are label images, and the user has not stated which values mark the lesion."""


def _import_records(
    plan: PlannedImport, journal: _ImportJournal, report: SourceImportReport, run: RunContext
) -> list[SourceRecord]:
    """Copy the images and masks that an earlier attempt has not copied, in threads; returns the imported records."""
    records = plan.records
    imported = {record.image_id: record for record in records if record.image is None or journal.contains(record)}
    remaining = [record for record in records if record.image_id not in imported]
    report.resumed = sum(record.image is not None for record in imported.values())
    earlier = {image_id: journal.findings.get(image_id) for image_id in imported}
    plan.findings |= {image_id: found for image_id, found in earlier.items() if found is not None}
    threads = min(MAX_THREADS, usable_cores() + 1)
    label_images: dict[str, LabelImageError] = {}
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="importing") as pool,
        journal.open_for_writing() as add_to_journal,
    ):
        work = map_ahead(
            pool,
            partial(_import_record, plan=plan, folder=journal.path.parent),
            remaining,
            StageLimit(READ_AHEAD),
            run,
        )
        for done, outcome in enumerate(work, start=1):
            record = outcome.record
            if outcome.labels is not None:
                label_images[record.mask.name if record.mask else record.image_id] = outcome.labels
            if outcome.fault:
                report.faults.append((record.original or record.image_id, outcome.fault))
            else:
                imported[record.image_id] = record
                add_to_journal(record.image_id, plan.findings.get(record.image_id))
            run.report(Progress(report.resumed + done, len(records), "Importing images"))
    if refusal := describe_label_images(label_images, sum(record.has_mask for record in records)):
        raise _LabelImagesError(refusal)
    report.images = sum(record.image is not None for record in imported.values())
    report.masks = sum(record.has_mask for record in imported.values())
    return [record for record in records if record.image_id in imported]


def _import_record(record: SourceRecord, plan: PlannedImport, folder: Path) -> _ImportedRecord:
    """Copy an image and its mask; errors of this image are returned as its fault."""
    assert record.image is not None
    image = _image_path(record, folder)
    labels = None
    try:
        if record.is_converted:
            photograph = read_record_image(record, plan.order, accept_damaged=False)
            plan.add_notes(record, photograph.notes)
            write_rgb(image, photograph.rgb)
        else:
            _write_atomically(image, record.image.read())
        fault = _import_mask(record, image, folder, plan)
    except SaveError:
        raise
    except InputError as error:
        fault, labels = str(error), error if isinstance(error, LabelImageError) else None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise save_error(image, error) from error
        fault = f"cannot be read: {describe_error(error)}"
    if fault:
        remove_file(image)
    return _ImportedRecord(record, fault.replace(f"{folder}{os.sep}", ""), labels)


def read_record_image(
    record: SourceRecord, order: tuple[int, ...], *, accept_damaged: bool | None = None
) -> Photograph:
    """Read the image of a record, upright; ``order``: indices of red, green and blue in channels of several files."""
    files = record.channels or tuple(filter(None, (record.image,)))
    with ExitStack() as stack:
        paths = [stack.enter_context(file.on_disk()) for file in files]
        if len(files) == 1:
            photograph = read_photograph(paths[0], accept_damaged=accept_damaged)
            if record.channels and (photograph.rgb == photograph.rgb[..., :1]).all():
                raise DataSetError(f"{files[0].name} is gray, and other channels of the case are missing")
            return photograph
        for path, file in zip(paths, files, strict=True):
            if damage := find_damage(path):
                raise DataSetError(f"{file.name} is damaged: {damage}. Copy it again.")
        return Photograph(merge_channels(paths, order), record.image_id)


def write_private_table(out: Path, records: Sequence[SourceRecord]) -> list[tuple[str, str]]:
    """List the files of images whose ids are pseudonyms, next to the data set; returns a note on the table.

    Rows of an earlier import into the data set are kept.
    """
    rows = [
        {"image_id": record.image_id, "file": record.original}
        | {column: unpack_row(record.values).get(column, "") for column in ("patient_id", "lesion_id")}
        for record in records
        if record.original
    ]
    if not rows:
        return []
    path = out.with_name(f"{out.name}-private.csv")
    known = {row["image_id"] for row in rows}
    rows = [row for row in (read_table(path) if path.exists() else []) if row["image_id"] not in known] + rows
    write_table(path, rows)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return [("image_id", f"{path} lists the file of each pseudonym. Keep it private, and do not pass it on")]


def _import_mask(record: SourceRecord, image: Path, folder: Path, plan: PlannedImport) -> str:
    """Check a copied image and import its mask; returns the fault, "" if there is none."""
    try:
        thumbnail, notes = read_noted_thumbnail(image, THUMBNAIL_PX)
    except UnreadableImage as error:
        return str(error)
    plan.add_notes(record, notes)
    damage = None if accepts_damaged() else find_damage(image)  # a thumbnail of a damaged JPEG can be read
    if damage:
        return f"is damaged: {damage}. Copy it again, or accept it with --accept-damaged."
    if record.has_mask:
        shape = _find_upright_shape(image, read_image_size(image) or (0, 0), thumbnail)
        mask = plan.draw(record, shape, is_stored_upright(image))
        write = write_mask if mask.dtype == bool else write_labels
        write(folder / "masks" / f"{record.image_id}.png", mask)
    return ""


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
