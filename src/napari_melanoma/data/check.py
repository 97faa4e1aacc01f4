"""Checks of a data set or a table before training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.dataset import (
    REVIEWS,
    DatasetEntry,
    Sample,
    get_group_id,
    iter_entries,
    make_sample,
    select_trainable,
)
from napari_melanoma.data.dataset_report import min_median_max
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.harmonize import Harmonizer, HarmonizeReport, list_counts, track_rows
from napari_melanoma.data.splits import SPLIT_RISK, PatientLeakDetector
from napari_melanoma.data.table_mapping import TableMapping, suggest_mapping
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_mask
from napari_melanoma.io.tables import iterate_rows

NO_REVIEW = "not reviewed"
MASK_VALUE = 255  # of a mask of one lesion
MAX_NAMED = 5  # rows without an image that a note names
NO_VALUE = "(none)"
MAX_NAMED_ROWS = 3  # patients or rows that a note names
PREVIEW_ROWS = 500  # rows from which samples and guesses are taken
MAX_SAMPLES = 4
Finding = tuple[str, str]


@dataclass(frozen=True)
class ImageCheck:
    """What was found in the files of one image; ``digest`` is the fingerprint of its pixels, "" if it cannot be read.

    ``labels`` are the values of a mask that is a label image of several classes.
    """

    sample: Sample
    digest: str = ""
    shape: tuple[int, int] | None = None
    lesion_fraction: float | None = None
    fault: str = ""
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class DataCheck:
    """Counts, faults and notes of a data set; each fault and note names the image, group or column it is about.

    ``rows`` counts those of the table, ``images`` those that name an image. Sides are in pixels, ``lesion_percent`` is
    of the image's area; both are smallest, median and largest, and empty if no file could be read.
    """

    rows: int
    images: int
    masks: int
    usable: int
    groups: int
    reviews: dict[str, int]
    splits: dict[str, int]
    diagnoses: dict[str, int]
    shorter_side_px: tuple[int, ...]
    longer_side_px: tuple[int, ...]
    lesion_percent: tuple[float, ...]
    faults: list[tuple[str, str]]
    notes: list[tuple[str, str]]


class TableChecker:
    """Check rows as they are read; a large table need not be in memory."""

    def __init__(self) -> None:
        self._harmonizer = Harmonizer()
        self._groups: dict[str, set[str]] = defaultdict(set)
        self._split_of: dict[str, str] = {}
        self._duplicate_of: dict[str, str] = {}
        self._folds: dict[str, set[str]] = defaultdict(set)
        self._splits: Counter[str] = Counter()
        self._diagnoses: Counter[str] = Counter()
        self._set_aside: dict[str, Counter[str]] = defaultdict(Counter)
        self._leak_detector = PatientLeakDetector()
        self._named_patients = 0
        self._without_patient: list[str] = []

    @property
    def splits(self) -> dict[str, int]:
        """Number of rows of each split, the most frequent first."""
        return dict(self._splits.most_common())

    @property
    def diagnoses(self) -> dict[str, int]:
        """Number of rows of each harmonized diagnosis, the most frequent first."""
        return dict(self._diagnoses.most_common())

    @property
    def report(self) -> HarmonizeReport:
        """What harmonizing the rows would report."""
        return self._harmonizer.make_report()

    @property
    def groups(self) -> int:
        """Number of patients, lesions or pictures that must stay in one split."""
        return len(self._groups)

    def check_row(self, row: Mapping[str, str]) -> dict[str, str]:
        """Check a row, and return it harmonized, without the values stored as given."""
        found = self._harmonizer.harmonize_row(
            {column: text for column, text in row.items() if not self._count_set_aside(column, text)}
        )
        self._leak_detector.add_row(row, found)
        if found.get("patient_id"):
            self._named_patients += 1
        else:
            self._without_patient.append(found.get("image_id") or str(self._splits.total() + 1))
        split = found.get("split", NO_VALUE)
        self._splits[split] += 1
        self._diagnoses[found.get("diagnosis", NO_VALUE)] += 1
        if "image_id" in found:
            self._groups[get_group_id(found)].add(split)
            if split != NO_VALUE:
                self._split_of[found["image_id"]] = split
            if other := found.get("near_duplicate_of"):
                self._duplicate_of[found["image_id"]] = other
            if fold := found.get("fold"):
                self._folds[get_group_id(found)].add(fold)
        return found

    def _count_set_aside(self, column: str, text: str) -> bool:
        """Count a value that an earlier import stored as given: it is noted, but no longer a fault."""
        if text and column.endswith(AS_GIVEN_SUFFIX):
            self._set_aside[column][text] += 1
        return column.endswith(AS_GIVEN_SUFFIX)

    def faults(self) -> Iterator[Finding]:
        """Yield what is wrong: a patient, lesion or column, and a sentence."""
        for what, parts_of in (("split", self._groups), ("fold", self._folds)):
            for group, parts in parts_of.items():
                if len(named := parts - {NO_VALUE}) > 1:
                    yield group, f"is in more than one {what}: {', '.join(sorted(named))}"
        for image, other in self._duplicate_of.items():
            splits = [self._split_of[one] for one in (image, other) if one in self._split_of]
            if len({*splits}) > 1:
                yield image, f"shows the same as {other}, but is in another split ({' and '.join(splits)})"
        yield from ((about, message) for about, message, leaks in self._leak_detector.describe_findings() if leaks)
        report = self.report
        if report.duplicates:
            yield "image_id", f"each row needs its own id; found several times: {list_counts(report.duplicates)}"
        for column, values in report.impossible.items():
            rows = _describe_row_count(sum(values.values()))
            yield column, f"impossible in {rows}: {report.list_cells('impossible', column)}"

    def notes(self) -> Iterator[Finding]:
        """Yield what a user should know: a column, and a sentence."""
        yield from ((about, message) for about, message, leaks in self._leak_detector.describe_findings() if not leaks)
        if (lacking := self._without_patient) and self._named_patients:
            total = len(lacking) + self._named_patients
            lack = f"{len(lacking)} of {total} rows name no patient ({format_names(lacking)})"
            yield "patient_id", f"{lack}: {SPLIT_RISK}; fill it in, or leave these rows out of training"
        report = self.report
        if partly := [group for group, parts in self._groups.items() if NO_VALUE in parts and len(parts) == 2]:
            yield (
                "split",
                f"missing in some rows {_describe_groups(partly)}: data split assigns them the split of the others",
            )
        for column, words in report.unmapped.items():
            rows = _describe_row_count(sum(words.values()))
            yield column, f"not understood in {rows}: {report.list_cells('unmapped', column)}"
        for column, texts in self._set_aside.items():
            yield column, f"stored as given in {_describe_row_count(texts.total())}: {list_counts(texts)}"
        for message, count in report.disagreements.items():
            yield "columns", f"{message} in {_describe_row_count(count)}"
        if report.empty:
            yield "columns", f"no row has a value in {', '.join(report.empty)}"


def check_data(folder: Path, *, run: RunContext) -> DataCheck:
    """Read every file of a data set, and return counts, faults and notes."""
    table = TableChecker()
    if folder.is_file():
        return _check_table(folder, table, run)
    samples, faults, bare = _read_entries(folder, table, run)
    checks = [_check_image(sample) for sample in run.track(samples, "Reading images and masks")]
    faults += [(one.sample.image_id, one.fault) for one in checks if one.fault]
    parted, beside = _find_similar_images(checks, run)
    faults += [*_find_unknown_reviews(samples), *table.faults(), *_find_identical_images(checks), *parted]
    sides = [one.shape for one in checks if one.shape]
    rows = table.report.rows
    return DataCheck(
        rows=rows,
        images=rows - len(bare),
        masks=sum(sample.mask is not None for sample in samples),
        usable=len(select_trainable(samples)),
        groups=table.groups,
        reviews=_count_values(sample.review or NO_REVIEW for sample in samples),
        splits=table.splits,
        diagnoses=table.diagnoses,
        shorter_side_px=tuple(int(side) for side in min_median_max([min(shape) for shape in sides])),
        longer_side_px=tuple(int(side) for side in min_median_max([max(shape) for shape in sides])),
        lesion_percent=min_median_max([100 * one.lesion_fraction for one in checks if one.lesion_fraction is not None]),
        faults=faults,
        notes=[
            *_note_label_images(checks),
            *_find_unusual_masks(checks),
            *beside,
            *_note_unlisted_files(folder, samples),
            *_note_missing_images(bare),
            *table.notes(),
        ],
    )


def _check_table(path: Path, table: TableChecker, run: RunContext) -> DataCheck:
    """Check a table that is not in a data set folder."""
    for row in track_rows(iter_table_rows(path), run, "Reading rows"):
        table.check_row(row)
    return DataCheck(
        rows=table.report.rows,
        images=0,
        masks=0,
        usable=0,
        groups=table.groups,
        reviews={},
        splits=table.splits,
        diagnoses=table.diagnoses,
        shorter_side_px=(),
        longer_side_px=(),
        lesion_percent=(),
        faults=list(table.faults()),
        notes=list(table.notes()),
    )


def _read_entries(folder: Path, table: TableChecker, run: RunContext) -> tuple[list[Sample], list[Finding], list[str]]:
    """Read the rows of a data set: samples, faults, and the ids of rows that are marked as having no image."""
    samples: list[Sample] = []
    faults: list[Finding] = []
    bare: list[str] = []
    for entry in iter_entries(folder):
        run.check()
        if isinstance(entry, DatasetEntry):
            table.check_row(entry.row)
            if entry.image is None and "path" in entry.row:
                bare.append(entry.image_id)
                continue
        found = make_sample(entry, folder) if isinstance(entry, DatasetEntry) else entry
        if isinstance(found, Sample):
            samples.append(found)
        else:
            faults.append(("the table", str(found)))
    return samples, faults, bare


def _note_missing_images(bare: Sequence[str]) -> Iterator[Finding]:
    if bare:
        yield (
            "path",
            f"{len(bare)} row{'s have' if len(bare) > 1 else ' has'} no image: {format_names(bare, MAX_NAMED)}",
        )


def _check_image(sample: Sample) -> ImageCheck:
    """Read the image and the mask of a sample."""
    try:
        rgb = read_photograph(sample.image).rgb
        shape = (rgb.shape[0], rgb.shape[1])
        digest = array_fingerprint(rgb)
        if sample.mask is None:
            return ImageCheck(sample, digest, shape)
        mask = read_mask(sample.mask)
        labels = _read_label_values(sample)
    except UnreadableImage as error:
        return ImageCheck(sample, fault=str(error))
    if mask.shape != shape:
        fault = f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image {shape[1]} x {shape[0]}"
        return ImageCheck(sample, digest, shape, fault=fault)
    return ImageCheck(sample, digest, shape, None if labels else float(mask.mean()), labels=labels)


def _read_label_values(sample: Sample) -> tuple[int, ...]:
    """Values of a mask that is a label image of several classes; empty for a mask of one lesion (255 or 1)."""
    assert sample.mask is not None
    try:
        values = np.flatnonzero(np.bincount(read_labels(sample.mask).ravel(), minlength=MASK_VALUE + 1))
    except UnreadableImage:  # such as a JPEG, which read_mask accepts
        return ()
    return tuple(values.tolist()) if values[-1] not in (0, 1, MASK_VALUE) else ()


def _note_label_images(checks: Sequence[ImageCheck]) -> list[tuple[str, str]]:
    found = [one for one in checks if one.labels]
    if not found:
        return []
    values = ", ".join(map(str, sorted({value for one in found for value in one.labels})))
    count = "1 is a label image" if len(found) == 1 else f"{len(found)} are label images"
    return [("masks", f"{count} (values {values}): name the classes in a recipe's 'classes'")]


def _find_unknown_reviews(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Find rows that are never trained on because their review is misspelled."""
    for sample in samples:
        if sample.review is not None and sample.review not in REVIEWS:
            yield sample.image_id, f"its review is '{sample.review}': expected {', '.join(REVIEWS)}"


def _find_identical_images(checks: Iterable[ImageCheck]) -> Iterator[tuple[str, str]]:
    """Find images with the same pixels that a split could separate."""
    first: dict[str, Sample] = {}
    for one in checks:
        other = first.setdefault(one.digest, one.sample) if one.digest else one.sample
        if other.group != one.sample.group:
            message = f"shows the same pixels as {other.image_id}: keep one, or name it in near_duplicate_of"
            yield one.sample.image_id, message


def _find_similar_images(
    checks: Sequence[ImageCheck], run: RunContext
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Find images that show the same picture with other pixels: those in different splits, and those in one or none."""
    digests = {id(one.sample): one.digest for one in checks if one.digest}
    duplicates = find_duplicates([one.sample for one in checks if one.digest], run)
    leaking, similar = [], []
    for pair in duplicates:
        if pair.same_group or digests[id(pair.first)] == digests[id(pair.second)]:
            continue
        message = f"shows the same picture as {pair.first.image_id}"
        if pair.leaks:
            splits = f"{pair.second.split} and {pair.first.split}"
            leaking.append((pair.second.image_id, f"{message}, but is in another split ({splits}): use one split"))
        else:
            similar.append((pair.second.image_id, f"{message} (likeness {pair.likeness:.2f})"))
    return leaking, similar


def _find_unusual_masks(checks: Iterable[ImageCheck]) -> Iterator[tuple[str, str]]:
    """Find masks that are empty or cover the whole image, which may be a mistake."""
    if any(one.labels for one in checks):  # of several classes: an image of background only is valid
        return
    for one in checks:
        if one.lesion_fraction in (0.0, 1.0):
            yield (
                one.sample.image_id,
                "its mask is empty" if one.lesion_fraction == 0 else "its mask covers the whole image",
            )


def _note_unlisted_files(folder: Path, samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Count files that no row names: older masks that undo may need, or what a crash left behind."""
    named = {path for sample in samples for path in (sample.image, sample.mask) if path}
    for part in ("images", "masks"):
        files = (path for path in (folder / part).glob("*") if path.is_file() and not path.name.startswith("."))
        unnamed = sum(path not in named for path in files)
        if unnamed:
            yield part, f"{unnamed} file{'s' if unnamed > 1 else ''} not named in the table"


def _count_values(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _describe_groups(groups: Sequence[str]) -> str:
    """Count the groups that a note is about, and name a few."""
    many = len(groups) > MAX_NAMED_ROWS
    named = f"such as {', '.join(groups[:MAX_NAMED_ROWS])}" if many else ", ".join(groups)
    return f"of {len(groups)} patients, lesions or pictures {named}" if len(groups) > 1 else f"of {named}"


def _describe_row_count(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"


@dataclass(frozen=True)
class TablePreview:
    """The header, sample values and suggested mapping of the beginning of a table."""

    path: Path
    samples: Mapping[str, tuple[str, ...]]
    guess: TableMapping


def preview_table(path: Path) -> TablePreview:
    """Read the beginning of a table."""
    rows = list(islice(iterate_rows(path), PREVIEW_ROWS))
    if not rows:
        raise DataSetError(f"{path} has no rows: expected a header and at least one row below it.")
    header = list(rows[0])
    samples = {
        name: tuple(islice(dict.fromkeys(value for row in rows if (value := row[name])), MAX_SAMPLES))
        for name in header
    }
    return TablePreview(path, samples, suggest_mapping(header, rows))


def survey_table(path: Path, mapping: TableMapping, source: str = "", *, run: RunContext) -> HarmonizeReport:
    """Harmonize a whole table without storing it, and report what was not understood."""
    harmonizer = Harmonizer(source)
    for row in track_rows(iterate_rows(path), run, "Reading the table"):
        harmonizer.harmonize_row(mapping.apply(row))
    return harmonizer.make_report()
