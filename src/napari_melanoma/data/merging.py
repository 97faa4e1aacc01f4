"""Merge several data sets into one."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import discard, move, normalize_name, sweep_once, temporary_name, write_json
from napari_melanoma.core.paths import free_name, ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import (
    DatasetEntry,
    PackedRow,
    Sample,
    assemble_folder,
    check_dataset_names,
    find_table,
    iter_entries,
    make_sample,
    require_outside_datasets,
    row_error,
    unpack_row,
    write_dataset_table,
)
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.sources import list_sources
from napari_melanoma.data.splits import held_back_rank
from napari_melanoma.data.table_schema import FILE_COLUMNS, find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.discovery import is_image_file
from napari_melanoma.io.results import write_table

DATASET_COLUMNS = ("image_id", "path", "mask_path", "source", "near_duplicate_of", "split", "review")
COLUMN_FAMILIES = (  # a row that contradicts the preferred one in one of these columns supplies none of them
    ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma"),
    ("site", "sub_site", "laterality"),
)
ALSO_IN = "also_in"
NO_IMAGE = {"path": ""}
FILLED_COLUMNS = (
    *("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma", "age", "sex", "site", "sub_site"),
    *("laterality", "fitzpatrick", "patient_id", "lesion_id"),
)
PAIR_COLUMNS = ("data_set_1", "image_1", "split_1", "data_set_2", "image_2", "split_2", "likeness", "same_group")
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row with its image id and data set; of the rows about one image that with the highest ``rank`` is preferred."""

    row: PackedRow
    data_set: str
    image_id: str
    rank: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """A value that differs between data sets for one image: which was taken, and which was not."""

    image_id: str
    column: str
    taken: str
    taken_from: str
    other: str
    other_from: str


CONFLICT_COLUMNS = tuple(field.name for field in fields(MergeConflict))


@dataclass
class _MergedRow:
    """The merged row of one image; ``first`` is the preferred original row, whose image is used if there is one."""

    first: DatasetRow
    members: Sequence[DatasetRow]
    row: PackedRow
    sample: Sample | None


def identify_image(image_id: str, source: str) -> str:
    """Return a key for the image: its published id, or source and id."""
    found = _published_id_pattern().fullmatch(image_id)
    return next(filter(None, found.groups())).lower() if found else f"{source}/{image_id}"


@cache
def _published_id_pattern() -> re.Pattern[str]:
    """Ids that only one archive assigns; a group in a pattern is the part that identifies the image."""
    patterns = dict.fromkeys(source.spec.ids for source in list_sources().values() if source.spec.ids)
    return re.compile("|".join(one if re.compile(one).groups else f"({one})" for one in patterns), re.IGNORECASE)


def group_by_image(origins: Sequence[DatasetRow]) -> list[list[DatasetRow]]:
    """Group rows by image, in the order of the first row of each; the preferred row of each image comes first."""
    groups: dict[str, list[DatasetRow]] = {}
    for origin in origins:
        name = identify_image(origin.image_id, origin.row.get("source", origin.data_set))
        group = groups.setdefault(name, [])
        if any(other.data_set == origin.data_set for other in group):
            group = groups.setdefault(f"{name}/{origin.data_set}/{origin.image_id}", [])
        group.append(origin)
    for group in groups.values():
        group.sort(key=lambda origin: origin.rank, reverse=True)
    return list(groups.values())


def merge_rows(group: Sequence[DatasetRow]) -> tuple[Row, list[MergeConflict]]:
    """Merge the rows about one image into one.

    Takes the values of the preferred row; what it leaves empty or gives less exactly comes from the others, in their
    order. A row that contradicts the preferred one in the diagnosis supplies no diagnosis column, and likewise for the
    site. ``also_in`` names the other data sets. Returns the row and the conflicts.
    """
    first, *others = group
    row, conflicts = unpack_row(first.row), list[MergeConflict]()
    origins = dict.fromkeys(row, first.data_set)
    for other in others:
        differ = {
            c: text for c, text in unpack_row(other.row).items() if c not in DATASET_COLUMNS and text != row.get(c)
        }
        better = {column: _merge_values(column, row.get(column, ""), text) for column, text in differ.items()}
        refused = {column for column, agreed in better.items() if agreed is None}
        for family in COLUMN_FAMILIES:
            if not refused.isdisjoint(family):
                refused |= better.keys() & set(family)
        for column, agreed in better.items():
            if column in refused:
                taken = (row.get(column, ""), origins.get(column, ""))
                conflicts.append(MergeConflict(first.image_id, column, *taken, differ[column], other.data_set))
            elif agreed and agreed != row.get(column):
                row[column], origins[column] = agreed, other.data_set
    return row | ({ALSO_IN: " ".join(other.data_set for other in others)} if others else {}), conflicts


def _merge_values(column: str, one: str, other: str) -> str | None:
    """Return the more exact of two values that do not contradict each other; None if they do."""
    if not one or one == UNKNOWN:
        return other
    if not other or other == UNKNOWN:
        return one
    return _choose_comparison(column)(one, other)


@cache
def _choose_comparison(column: str) -> Callable[[str, str], str | None]:
    """Select how two values of a column are compared."""
    known = find_column(column)
    if known is not None and known.kind == "number":
        return _compare_numbers
    if known is not None and known.taxonomy:
        within = load_taxonomy(known.taxonomy).is_within
        return lambda one, other: one if within(one, other) else other if within(other, one) else None
    return lambda one, other: one if one == other else None


def _compare_numbers(one: str, other: str) -> str | None:
    """Compare two numbers, which may be written differently."""
    try:
        return one if float(one) == float(other) else None
    except ValueError:
        return None


class MergeOptions(Config):
    """How data sets are merged."""

    keep_duplicates: bool = Field(False, description="keep duplicate images of different data sets")


@dataclass(frozen=True)
class MergeReport:
    """The outcome of a merge.

    ``rows`` counts the rows taken from each data set, ``images`` those with an image; ``left_out`` are the pairs of
    duplicates of which the second was left out; ``joined`` counts the rows that were joined to another row about the
    same image, ``conflicts`` are the values in which they differ. ``notes`` list what was not understood, with its data
    set.
    """

    rows: dict[str, int]
    left_out: list[Duplicate]
    images: dict[str, int]
    joined: int
    conflicts: list[MergeConflict]
    notes: list[tuple[str, str]]


def merge_datasets(folders: Sequence[Path], out: Path, options: MergeOptions, *, run: RunContext) -> MergeReport:
    """Merge data sets into a new one; the originals are not changed.

    Columns and words are harmonized. Rows of several data sets about one image (by the name that its archive gave it)
    become one row: the row with the image, else the row of the data set named first, is completed from the others.
    Values that differ are listed in ``conflicts.csv``.

    If a picture is in several data sets, the copy in the most protected split is kept (``test`` before ``val`` before
    ``train``), so that no test image is trained on; else a copy with a mask; else the copy in the data set named first.
    Its empty fields are filled in from the others, and contradictions are listed too. The pairs are listed in
    ``left_out.csv``. Images with the same name in several data sets get the data set's name as a prefix. Patients and
    lesions keep their names: images of a name that two data sets share stay in the same split.
    """
    check_dataset_names(folders)
    require_outside_datasets(out, folders)
    if len({folder.resolve() for folder in folders}) < 2:
        raise DataSetError(f"expected two or more data sets to merge, found {len(folders)}. Name another one.")
    read = [_DatasetReader(folder, number) for number, folder in enumerate(folders)]
    origins = [origin for one in read for origin in one.iter_rows(run)]
    samples = {key: sample for one in read for key, sample in one.samples.items()}
    groups = [[origin] for origin in origins] if options.keep_duplicates else group_by_image(origins)
    merged, conflicts = _merge_groups(groups, samples)
    with assemble_folder(out) as gathering:
        left_out = []
        if not options.keep_duplicates:
            left_out = _choose_left_out([one.sample for one in merged if one.sample], run)
        taken, otherwise = _drop_duplicates(merged, left_out)
        report = MergeReport(
            rows=dict(Counter(one.first.data_set for one in taken)),
            images=dict(Counter(one.first.data_set for one in taken if one.sample is not None)),
            left_out=left_out,
            joined=len(origins) - len(groups),
            conflicts=[*conflicts, *otherwise],
            notes=[note for one in read for note in one.describe_findings()],
        )
        _write_dataset(gathering, taken, report, run)
    return report


def _write_dataset(folder: Path, taken: Sequence[_MergedRow], report: MergeReport, run: RunContext) -> None:
    """Copy the images and write the tables."""
    names = _assign_names(taken)
    files = ids_to_file_names(names)
    shown = [(one, one.sample, files[name]) for one, name in zip(taken, names, strict=True) if one.sample is not None]
    for _, sample, name in run.track(shown, "Copying images"):
        _copy_files(sample, name, folder)
    _rename_rows(taken, names)
    # Paths are written if some rows have no image, or if an id is not a valid file name.
    for one, sample, name in shown if len(shown) < len(taken) or any(map(str.__ne__, files, files.values())) else ():
        one.row = PackedRow({**unpack_row(one.row), **_target_paths(sample, name)})
    write_dataset_table(folder / "dataset.csv", [one.row for one in taken])
    write_table(folder / "left_out.csv", [tabulate_duplicate(pair) for pair in report.left_out], PAIR_COLUMNS)
    write_table(folder / "conflicts.csv", [asdict(one) for one in report.conflicts], CONFLICT_COLUMNS)
    counts = {"merged_from": report.rows, "rows": len(taken), "images": len(shown)}
    write_json(folder / "source.json", {**counts, "merged_with": collect_provenance()})


class _DatasetReader:
    """Read the rows of a data set harmonized, and the samples of those with an image."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.samples: dict[int, Sample] = {}
        self._harmonizer = Harmonizer()

    def describe_findings(self) -> list[tuple[str, str]]:
        """Describe what was not understood in the rows read so far."""
        findings = self._harmonizer.make_report().describe_findings()
        return [(f"{self.folder.name}/{about}", message) for about, message in findings]

    def iter_rows(self, run: RunContext) -> Iterator[DatasetRow]:
        entries = run.track(iter_entries(self.folder), f"Reading {self.folder.name}")
        for number, entry in enumerate(entries, start=1):
            if isinstance(entry, DataSetError):
                raise entry
            self._check_is_image(entry, number)
            row = {column: text for column, text in entry.row.items() if text and column not in FILE_COLUMNS}
            row = {"source": self.folder.name, **self._harmonizer.harmonize_row(row), "image_id": entry.image_id}
            sample = None if entry.image is None else make_sample(entry, self.folder)
            if isinstance(sample, DataSetError):
                raise sample
            rank = (sample is not None, entry.mask is not None, -self.number)
            origin = DatasetRow(PackedRow(row), self.folder.name, entry.image_id, rank)
            if sample is not None:
                self.samples[id(origin)] = sample
            yield origin

    def _check_is_image(self, entry: DatasetEntry, number: int) -> None:
        """Raise if a row names a file that is not an image: other files are not copied."""
        for column, path in (("path", entry.image), ("mask_path", entry.mask)):
            if path is not None and not is_image_file(path):
                value = entry.row.get(column) or str(path.relative_to(self.folder))
                advice = "Only image files are copied (by suffix and content): correct the row."
                raise row_error(find_table(self.folder), number, column, value, "is not an image", advice)


def _merge_groups(
    groups: Iterable[Sequence[DatasetRow]], samples: Mapping[int, Sample]
) -> tuple[list[_MergedRow], list[MergeConflict]]:
    """Merge the rows of each image; the most protected split of them is kept."""
    merged, conflicts = [], list[MergeConflict]()
    for group in groups:
        first, sample = group[0], samples.get(id(group[0]))
        packed = first.row
        if len(group) > 1:
            row, found = merge_rows(group)
            conflicts += found
            split = max((origin.row.get("split", "") for origin in group), key=held_back_rank)
            packed = PackedRow(row | {"split": split} if split else row)
            sample = sample and replace(sample, split=split)
        merged.append(_MergedRow(first, group, packed if sample else packed.with_defaults(NO_IMAGE), sample))
    return merged, conflicts


def _drop_duplicates(
    merged: Sequence[_MergedRow], left_out: Sequence[Duplicate]
) -> tuple[list[_MergedRow], list[MergeConflict]]:
    """Leave out duplicates, and fill empty fields of the image that is kept from them."""
    rows = {id(one.sample): one for one in merged if one.sample}
    conflicts: list[MergeConflict] = []
    for pair in left_out:
        kept, dropped = rows[id(pair.first)], rows[id(pair.second)]
        values = PackedRow({c: text for c, text in unpack_row(dropped.row).items() if c in FILLED_COLUMNS})
        row, found = merge_rows([replace(kept.first, row=kept.row), replace(dropped.first, row=values)])
        filled = {column: row[column] for column in FILLED_COLUMNS if column in row}
        kept.row = PackedRow({**unpack_row(kept.row), **filled})
        kept.members = [*kept.members, *dropped.members]
        conflicts += found
    left_out_samples = {id(pair.second) for pair in left_out}
    return [one for one in merged if one.sample is None or id(one.sample) not in left_out_samples], conflicts


def tabulate_duplicate(pair: Duplicate) -> dict[str, object]:
    """Describe two images that show the same picture as a row of a table."""
    one, two = pair.first, pair.second
    values = (one.domain, one.image_id, one.split, two.domain, two.image_id, two.split)
    return dict(zip(PAIR_COLUMNS, (*values, round(pair.likeness, 3), pair.same_group), strict=True))


def _choose_left_out(samples: Sequence[Sample], run: RunContext) -> list[Duplicate]:
    """Find duplicates across data sets: ``first`` of each pair is kept, ``second`` is left out."""
    order = {domain: number for number, domain in enumerate(dict.fromkeys(sample.domain for sample in samples))}
    numbers = [order[sample.domain] for sample in samples]
    found = find_duplicates(samples, run, across=numbers)

    def rank(sample: Sample) -> tuple[int, bool, int]:
        return held_back_rank(sample.split), sample.mask is not None, -order[sample.domain]

    pairs = []
    for pair in sorted(found, key=lambda pair: max(rank(pair.first), rank(pair.second)), reverse=True):
        first, second = sorted((pair.first, pair.second), key=rank, reverse=True)
        pairs.append(Duplicate(first, second, pair.likeness))
    removed: set[int] = set()
    kept = []
    for pair in pairs:  # best first: an image that is removed already does not replace others
        if removed.isdisjoint((id(pair.first), id(pair.second))):
            removed.add(id(pair.second))
            kept.append(pair)
    return kept


def _assign_names(merged: Sequence[_MergedRow]) -> list[str]:
    """Name each image; the data set's name is put before an id that several data sets share."""
    domains: dict[str, set[str]] = defaultdict(set)
    for one in merged:
        domains[normalize_name(one.first.image_id)].add(one.first.data_set)
    names: list[str] = []
    taken: set[str] = set()
    for one in merged:
        image_id = one.first.image_id
        shared = len(domains[normalize_name(image_id)]) > 1
        name = free_name(f"{one.first.data_set}-{image_id}" if shared else image_id, taken)
        names.append(name)
        taken.add(name.lower())
    return names


def _rename_rows(merged: Sequence[_MergedRow], names: Sequence[str]) -> None:
    """Write the new names of images into their rows, ``near_duplicate_of`` included."""
    named = list(zip(merged, names, strict=True))
    new_names = {(origin.data_set, origin.image_id): name for one, name in named for origin in one.members}
    for one, name in named:
        origin = next((origin for origin in one.members if "near_duplicate_of" in origin.row), None)
        if origin is None and name == one.first.image_id:
            continue
        row = {**unpack_row(one.row), "image_id": name}
        if origin is not None:
            near = origin.row["near_duplicate_of"]
            near = new_names.get((origin.data_set, near), near)
            row["near_duplicate_of"] = "" if near == name else near
        one.row = PackedRow(row)


def _target_paths(sample: Sample, name: str) -> dict[str, str]:
    """Paths of an image and its mask, relative to the table."""
    paths = {"path": f"images/{name}{sample.image.suffix.lower()}"}
    return paths if sample.mask is None else paths | {"mask_path": f"masks/{name}{sample.mask.suffix.lower()}"}


def _copy_files(sample: Sample, name: str, folder: Path) -> None:
    """Copy an image and its mask, unless an earlier attempt has."""
    for source, goal in zip((sample.image, sample.mask), _target_paths(sample, name).values(), strict=False):
        assert source is not None
        target = folder / goal
        existing = target.stat() if target.exists() else None
        original = source.stat()
        if existing is None or (existing.st_size, existing.st_mtime_ns) != (original.st_size, original.st_mtime_ns):
            temporary = temporary_name(target, target.suffix)
            sweep_once(target.parent)
            try:
                shutil.copy2(source, temporary)
                move(temporary, target)
            finally:
                discard(temporary)
