"""Check a data set or a table before training, and preview a table before it is imported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.core.formatting import format_names, rank_counts
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.corrections import HISTORY_FILE, ChangeLog
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Sample,
    iter_entries,
    make_sample,
    read_class_names,
    read_groups,
    select_trainable,
)
from napari_melanoma.data.dataset_import import ORIGIN_FILE
from napari_melanoma.data.dataset_report import min_median_max
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.diagnosis_labels import LABELS, read_diagnoses
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.harmonize import Harmonizer, HarmonizeReport, describe_expected, list_counts, track_rows
from napari_melanoma.data.mask_values import covers_border, note_inverted
from napari_melanoma.data.splits import SPLIT_RISK, LeakChecker
from napari_melanoma.data.table_mapping import TableMapping, suggest_mapping
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX
from napari_melanoma.io.photographs import read_photograph, summarize_notes
from napari_melanoma.io.results import read_labels, read_mask
from napari_melanoma.io.tables import iterate_rows

NO_REVIEW = "not reviewed"
MASK_VALUE = 255  # value inside the lesion in a mask of one lesion
MAX_LISTED_IDS = 5  # rows without an image that a note lists
NO_VALUE = "(none)"
MAX_LISTED_GROUPS = 3  # patients, lesions or pictures that a note lists
PREVIEW_ROWS = 500  # rows read for the sample values and the suggested mapping
MAX_SAMPLES = 4  # sample values of a column
Finding = tuple[str, str]  # the image, group, column or folder concerned, and a message


@dataclass(frozen=True)
class ImageCheck:
    """The outcome of reading one image and its mask.

    ``digest`` is the fingerprint of the pixels, "" if a file cannot be read; ``shape`` are the rows and columns of the
    image; ``lesion_fraction`` is the share of the image inside the mask, None without a mask of one lesion; ``fault``
    is the reason why a file cannot be used, "" if there is none; ``labels`` are the values of a label image of several
    classes; ``covers_border``: the mask covers the border of the image; ``notes``: what was assumed in reading it.
    """

    sample: Sample
    digest: str = ""
    shape: tuple[int, int] | None = None
    lesion_fraction: float | None = None
    fault: str = ""
    labels: tuple[int, ...] = ()
    covers_border: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """Counts, faults and notes of a data set.

    ``rows`` counts the rows of the table, ``images`` those that name an image, ``usable`` the samples to train on,
    ``groups`` the patients, lesions or pictures that must stay in one split. ``reviews``, ``splits`` and ``diagnoses``
    map each value to its number of rows. The sides of the images and ``lesion_percent`` (share of the image's area) are
    the smallest, median and largest value; empty if no file could be read.
    """

    rows: int
    images: int = 0
    masks: int = 0
    usable: int = 0
    groups: int = 0
    reviews: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    diagnoses: dict[str, int] = field(default_factory=dict)
    shorter_side_px: tuple[int, ...] = ()
    longer_side_px: tuple[int, ...] = ()
    lesion_percent: tuple[float, ...] = ()
    faults: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


class TableChecker:
    """Check the rows of a table one by one, so that a large table need not be in memory.

    ``splits`` and ``diagnoses`` count rows, the most frequent first; ``groups`` are the patients, lesions or pictures
    that must stay in one split.
    """

    def __init__(self) -> None:
        self._harmonizer = Harmonizer()
        self._splits: Counter[str] = Counter()
        self._diagnoses: Counter[str] = Counter()
        self._set_aside: dict[str, Counter[str]] = defaultdict(Counter)
        self._leaks = LeakChecker()
        self._patients: Counter[str] = Counter()
        self._without_patient: list[str] = []
        self._unreadable_labels: list[Finding] = []

    def check_row(self, row: Mapping[str, str]) -> None:
        set_aside = [column for column in row if column.endswith(AS_GIVEN_SUFFIX)]
        for column in set_aside:  # not understood by an earlier import: a note, not a fault
            if row[column]:
                self._set_aside[column][row[column]] += 1
        others = {column: text for column, text in row.items() if column not in set_aside} if set_aside else row
        harmonized = self._harmonizer.harmonize_row(others)
        self._leaks.add_row(row, harmonized)
        try:
            if row.get(LABELS):
                read_diagnoses(row)
        except DataSetError as error:
            self._unreadable_labels.append((row.get("image_id", ""), str(error)))
        if patient := harmonized.get("patient_id"):
            self._patients[patient] += 1
        else:
            self._without_patient.append(harmonized.get("image_id") or str(self._splits.total() + 1))
        split = harmonized.get("split", NO_VALUE)
        self._splits[split] += 1
        self._diagnoses[harmonized.get("diagnosis", NO_VALUE)] += 1

    def summarize(self, faults: Iterable[Finding] = (), *, has_optional_columns: bool = False) -> DataCheck:
        """Return the counts, faults and notes of the rows.

        ``faults``: those of the files; ``has_optional_columns``: this program wrote columns that may be empty.
        """
        report = self._harmonizer.make_report()
        return DataCheck(
            rows=report.rows,
            groups=len(self._leaks.find_splits()),
            splits=rank_counts(self._splits),
            diagnoses=rank_counts(self._diagnoses),
            faults=[*faults, *self._list_faults(report)],
            notes=list(self._list_notes(report, has_optional_columns)),
        )

    def _list_faults(self, report: HarmonizeReport) -> Iterator[Finding]:
        """Yield what must be corrected."""
        yield from self._leaks.describe_leaks()
        yield from self._unreadable_labels
        if report.duplicates:
            yield "image_id", f"each row needs its own id; found several times: {list_counts(report.duplicates)}"
        for column, values in report.impossible.items():
            rows = _describe_row_count(sum(values.values()))
            yield column, f"impossible in {rows}: {report.list_cells('impossible', column)}"
        yield from (finding for finding in _list_unmapped(report) if finding[0] == "review")

    def _list_notes(self, report: HarmonizeReport, has_optional_columns: bool) -> Iterator[Finding]:
        """Yield what should be reviewed."""
        findings = self._leaks.describe_findings()
        yield from ((about, message) for about, message, leaks in findings if not leaks)
        if (unnamed := self._without_patient) and self._patients:
            message = f"{len(unnamed)} of {len(unnamed) + self._patients.total()} rows name no patient"
            yield (
                "patient_id",
                f"{message} ({format_names(unnamed)}): {SPLIT_RISK}; fill it in, or leave these rows out of training",
            )
        yield from (("patient_id", question) for question in self._leaks.describe_patient_ids())
        if incomplete := [
            group.name for group, parts in self._leaks.find_splits().items() if "" in parts and len(parts) == 2
        ]:
            listed = ", ".join(incomplete[:MAX_LISTED_GROUPS])
            listed = f"such as {listed}" if len(incomplete) > MAX_LISTED_GROUPS else listed
            several = f"{len(incomplete)} patients, lesions or pictures " if len(incomplete) > 1 else ""
            of_groups = f"missing in some rows of {several}{listed}"
            yield "split", f"{of_groups}: data split assigns them the split of the others"
        yield from (finding for finding in _list_unmapped(report) if finding[0] != "review")
        for column, texts in self._set_aside.items():
            yield column, f"stored as given in {_describe_row_count(texts.total())}: {list_counts(texts)}"
        for message, count in report.disagreements.items():
            yield "columns", f"{message} in {_describe_row_count(count)}"
        if report.empty and not has_optional_columns:
            yield "columns", f"no row has a value in {', '.join(report.empty)}"


def _list_unmapped(report: HarmonizeReport) -> Iterator[Finding]:
    for column, words in report.unmapped.items():
        cells = f"{report.list_cells('unmapped', column)}{describe_expected(column)}"
        yield column, f"not understood in {_describe_row_count(sum(words.values()))}: {cells}"


def check_data(folder: Path, *, run: RunContext) -> DataCheck:
    """Check a data set folder with all its files, or a table alone."""
    table = TableChecker()
    if folder.is_file():
        for row in track_rows(iter_table_rows(folder), run, "Reading rows"):
            table.check_row(row)
        return table.summarize()
    samples, faults, without_image = _read_entries(folder, table, run)
    checks = [_check_image(sample) for sample in run.track(samples, "Reading images and masks")]
    faults += [(check.sample.image_id, check.fault) for check in checks if check.fault]
    leaking, similar = _find_similar_images(checks, run)
    written_here = any((folder / name).is_file() for name in (HISTORY_FILE, ORIGIN_FILE))
    of_table = table.summarize(faults, has_optional_columns=written_here)
    shapes = [check.shape for check in checks if check.shape]
    missing = []
    if without_image:
        count = f"{len(without_image)} row{'s have' if len(without_image) > 1 else ' has'}"
        missing = [("path", f"{count} no image: {format_names(without_image, MAX_LISTED_IDS)}")]
    return replace(
        of_table,
        images=of_table.rows - len(without_image),
        masks=sum(sample.mask is not None for sample in samples),
        usable=len(select_trainable(samples)),
        reviews=rank_counts(Counter(sample.review or NO_REVIEW for sample in samples)),
        shorter_side_px=tuple(int(side) for side in min_median_max([min(shape) for shape in shapes])),
        longer_side_px=tuple(int(side) for side in min_median_max([max(shape) for shape in shapes])),
        lesion_percent=min_median_max(
            [100 * check.lesion_fraction for check in checks if check.lesion_fraction is not None]
        ),
        faults=[*of_table.faults, *_find_identical_images(checks), *leaking],
        notes=[
            *_note_label_images(checks, read_class_names(folder)),
            *note_inverted([one.sample.image_id for one in checks if one.covers_border and one.lesion_fraction != 1]),
            *_find_unusual_masks(checks),
            *summarize_notes({check.sample.image_id: check.notes for check in checks}),
            *similar,
            *_note_unlisted_files(folder, samples),
            *missing,
            *of_table.notes,
        ],
    )


def _read_entries(folder: Path, table: TableChecker, run: RunContext) -> tuple[list[Sample], list[Finding], list[str]]:
    """Read the rows of a data set: samples, faults, and the ids of rows without an image (``path`` is empty)."""
    samples: list[Sample] = []
    faults: list[Finding] = []
    without_image: list[str] = []
    groups = read_groups(folder)
    for entry in iter_entries(folder):
        run.check()
        if isinstance(entry, DatasetEntry):
            table.check_row(entry.row)
            if entry.image is None and "path" in entry.row:
                without_image.append(entry.image_id)
                continue
        sample = make_sample(entry, folder, groups) if isinstance(entry, DatasetEntry) else entry
        if isinstance(sample, Sample):
            samples.append(sample)
        else:
            faults.append(("the table", str(sample)))
    return samples, faults, without_image


def _check_image(sample: Sample) -> ImageCheck:
    try:
        photograph = read_photograph(sample.image)
        rgb, notes = photograph.rgb, photograph.notes
        shape = (rgb.shape[0], rgb.shape[1])
        digest = array_fingerprint(rgb)
        if sample.mask is None:
            return ImageCheck(sample, digest, shape, notes=notes)
        labels = _read_label_values(sample)
        mask = read_labels(sample.mask) > 0 if labels else read_mask(sample.mask)
    except UnreadableImage as error:
        return ImageCheck(sample, fault=str(error))
    if mask.shape != shape:
        fault = f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image {shape[1]} x {shape[0]}"
        return ImageCheck(sample, digest, shape, fault=fault, notes=notes)
    covering = not labels and covers_border(mask)
    return ImageCheck(sample, digest, shape, None if labels else float(mask.mean()), "", labels, covering, notes)


def _read_label_values(sample: Sample) -> tuple[int, ...]:
    """Return the values of a label image of several classes; empty for a mask of one lesion (255 or 1)."""
    assert sample.mask is not None
    try:
        values = np.flatnonzero(np.bincount(read_labels(sample.mask).ravel(), minlength=MASK_VALUE + 1))
    except UnreadableImage:  # such as a JPEG, which read_mask accepts
        return ()
    return tuple(values.tolist()) if values[-1] not in (0, 1, MASK_VALUE) else ()


def _note_label_images(checks: Sequence[ImageCheck], names: Mapping[str, Sequence[int]]) -> list[Finding]:
    label_images = [check for check in checks if check.labels]
    if not label_images:
        return []
    values = ", ".join(map(str, sorted({value for check in label_images for value in check.labels})))
    count = "1 is a label image" if len(label_images) == 1 else f"{len(label_images)} are label images"
    if not names:
        return [("masks", f"{count} (values {values}): name the classes in a recipe's 'classes'")]
    classes = ", ".join(f"{name} {', '.join(map(str, of_class))}" for name, of_class in names.items())
    return [("masks", f"{count} (values {values}) of the classes {classes}")]


def _find_identical_images(checks: Iterable[ImageCheck]) -> Iterator[Finding]:
    """Find images with the same pixels in different groups, which could be assigned to different splits."""
    first_by_digest: dict[str, Sample] = {}
    for check in checks:
        original = first_by_digest.setdefault(check.digest, check.sample) if check.digest else check.sample
        if original.group != check.sample.group:
            message = f"shows the same pixels as {original.image_id}: keep one, or name it in near_duplicate_of"
            yield check.sample.image_id, message


def _find_similar_images(checks: Sequence[ImageCheck], run: RunContext) -> tuple[list[Finding], list[Finding]]:
    """Find images that show the same picture with other pixels: first those in different splits, then all others."""
    digests = {id(check.sample): check.digest for check in checks if check.digest}
    duplicates = find_duplicates([check.sample for check in checks if check.digest], run)
    leaking, similar = [], []
    for pair in duplicates:
        if pair.same_group or digests[id(pair.first)] == digests[id(pair.second)]:
            continue
        message = f"shows the same picture as {pair.first.image_id}"
        if pair.leaks:
            splits = f"{pair.second.split} and {pair.first.split}"
            leaking.append((pair.second.image_id, f"{message}, but is in another split ({splits}): use one split"))
        else:
            similar.append((pair.second.image_id, f"{message} (similarity {pair.similarity:.2f})"))
    return leaking, similar


def _find_unusual_masks(checks: Iterable[ImageCheck]) -> Iterator[Finding]:
    """Find masks that are empty or cover the whole image, which may be mistakes."""
    if any(check.labels for check in checks):  # an image without any of several classes is valid
        return
    for check in checks:
        if check.lesion_fraction in (0.0, 1.0):
            yield (
                check.sample.image_id,
                "its mask is empty" if check.lesion_fraction == 0 else "its mask covers the whole image",
            )


def _note_unlisted_files(folder: Path, samples: Iterable[Sample]) -> Iterator[Finding]:
    """Count files that no row names, without earlier masks, which are kept for undo."""
    listed = {path for sample in samples for path in (sample.image, sample.mask) if path}
    listed |= {folder / name for name in ChangeLog(folder / HISTORY_FILE).list_earlier_files()}
    for part in ("images", "masks"):
        files = (path for path in (folder / part).glob("*") if path.is_file() and not path.name.startswith("."))
        unnamed = sum(path not in listed for path in files)
        if unnamed:
            files_of = f"{unnamed} file{'s' if unnamed > 1 else ''} not named in the table"
            yield part, f"{files_of}, so not used: add a row for each, or remove them"


def _describe_row_count(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"


@dataclass(frozen=True)
class TablePreview:
    """Columns of a table with sample values, and the suggested mapping; both from its first ``PREVIEW_ROWS`` rows."""

    path: Path
    samples: Mapping[str, tuple[str, ...]]
    guess: TableMapping


def preview_table(path: Path) -> TablePreview:
    rows = list(islice(iterate_rows(path), PREVIEW_ROWS))
    if not rows:
        raise DataSetError(f"{path} has no rows: expected a header and at least one row below it.")
    header = list(rows[0])
    samples = {
        name: tuple(islice(dict.fromkeys(value for row in rows if (value := row[name])), MAX_SAMPLES))
        for name in header
    }
    return TablePreview(path, samples, suggest_mapping(header))


def survey_table(path: Path, mapping: TableMapping, *, run: RunContext) -> HarmonizeReport:
    """Harmonize a whole table without storing it, and report what was not understood."""
    harmonizer = Harmonizer()
    for row in track_rows(iterate_rows(path), run, "Reading the table"):
        harmonizer.harmonize_row(mapping.apply(row))
    return harmonizer.make_report()
