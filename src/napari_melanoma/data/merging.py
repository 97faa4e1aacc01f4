"""Several data sets merged into one."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import discard, normalize_name, sweep_once, temporary_name, write_json
from napari_melanoma.core.paths import free_name, ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Sample,
    assemble_folder,
    check_dataset_names,
    find_table,
    iter_entries,
    make_sample,
    row_error,
    write_dataset_table,
)
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.packed_rows import PackedRow, unpack_row
from napari_melanoma.data.sources import list_sources
from napari_melanoma.data.splits import held_back_rank
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.discovery import is_image_file
from napari_melanoma.io.results import write_table

DATASET_COLUMNS = ("image_id", "path", "mask_path", "source", "near_duplicate_of", "split", "review")
COLUMN_FAMILIES = (  # who is contradicted in one of these is believed in none
    ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma"),
    ("site", "sub_site", "laterality"),
)
ALSO_IN = "also_in"
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row with its name and data set; of several about one image the one of the highest ``rank`` is preferred."""

    row: PackedRow
    data_set: str
    image_id: str
    rank: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """That two data sets say different things of one image: what was taken and what was not."""

    image_id: str
    column: str
    taken: str
    taken_from: str
    other: str
    other_from: str


def identify_image(image_id: str, source: str) -> str:
    """Say which image a row is about."""
    found = _published_id_pattern().fullmatch(image_id)
    return next(filter(None, found.groups())).lower() if found else f"{source}/{image_id}"


@cache
def _published_id_pattern() -> re.Pattern[str]:
    """Names that one archive alone gives; a group inside is what tells images apart."""
    patterns = dict.fromkeys(source.spec.ids for source in list_sources().values() if source.spec.ids)
    return re.compile("|".join(one if re.compile(one).groups else f"({one})" for one in patterns), re.IGNORECASE)


def group_by_image(origins: Sequence[DatasetRow]) -> list[list[DatasetRow]]:
    """Put the rows of each image together.

    In the order of the first row of each; the preferred one of each image first.
    """
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
    """Make one row of those that are about one image.

    What the preferred one says, and what it leaves open or says less exactly from the others in their order; of a row
    that contradicts it in the diagnosis nothing that follows from a diagnosis is taken, and likewise of the site.
    ``also_in`` names the other data sets. Where another row contradicts what was taken.
    """
    first, *others = group
    row, conflicts = unpack_row(first.row), list[MergeConflict]()
    said_by = dict.fromkeys(row, first.data_set)
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
                taken = (row.get(column, ""), said_by.get(column, ""))
                conflicts.append(MergeConflict(first.image_id, column, *taken, differ[column], other.data_set))
            elif agreed and agreed != row.get(column):
                row[column], said_by[column] = agreed, other.data_set
    return row | ({ALSO_IN: " ".join(other.data_set for other in others)} if others else {}), conflicts


def tabulate_conflicts(conflicts: Iterable[MergeConflict]) -> Iterator[dict[str, object]]:
    """Write conflicts as rows of a table."""
    for one in conflicts:
        yield {column: getattr(one, column) for column in CONFLICT_COLUMNS}


CONFLICT_COLUMNS = ("image_id", "column", "taken", "taken_from", "other", "other_from")


def _merge_values(column: str, one: str, other: str) -> str | None:
    """The better of two values that do not contradict each other: the more exact one; None where they do."""
    if not one or one == UNKNOWN:
        return other
    if not other or other == UNKNOWN:
        return one
    return _choose_comparison(column)(one, other)


@cache
def _choose_comparison(column: str) -> Callable[[str, str], str | None]:
    """How two values of a column are compared."""
    known = find_column(column)
    if known is not None and known.kind == "number":
        return _compare_numbers
    if known is not None and known.taxonomy:
        within = load_taxonomy(known.taxonomy).is_within
        return lambda one, other: one if within(one, other) else other if within(other, one) else None
    return lambda one, other: one if one == other else None


def _compare_numbers(one: str, other: str) -> str | None:
    """A number that is written in two ways."""
    try:
        return one if float(one) == float(other) else None
    except ValueError:
        return None


FILE_COLUMNS = ("path", "mask_path")
NO_IMAGE = {"path": ""}
FILLED_COLUMNS = (
    *("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma", "age", "sex", "site", "sub_site"),
    *("laterality", "fitzpatrick", "patient_id", "lesion_id"),
)


class MergeOptions(Config):
    """How data sets are merged."""

    keep_duplicates: bool = Field(False, description="take a picture from each data set that has it")


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    ``rows`` counts what was taken of each data set, ``images`` those that have an image; ``left_out`` are
    the pairs of the same picture of which the second was left out; ``joined`` rows were joined to another one about
    the same image, ``conflicts`` are what they contradict each other in. ``notes`` say what was not understood, and in
    which data set.
    """

    rows: dict[str, int]
    left_out: list[Duplicate]
    images: dict[str, int]
    joined: int
    conflicts: list[MergeConflict]
    notes: list[tuple[str, str]]


def merge_datasets(folders: Sequence[Path], out: Path, options: MergeOptions, *, run: RunContext) -> MergeReport:
    """Merge data sets into a new one; the old ones stay as they are.

    Rows are brought to our columns and words. Rows of several data sets about one image, told by the name that its
    archive gave it, become one: that which has the image, else that of the data set named first, is completed from the
    others. What they contradict each other in is listed in ``conflicts.csv``.

    Of a picture that several of them have, one is taken: the one that is kept back the most (``test`` before ``val``
    before ``train``), so that nothing that is judged on is learnt from; else the one with a mask; else that of the data
    set named first. What its row does not know is filled in from the others, and what they contradict it in is listed
    too. The pairs are listed in ``left_out.csv``.
    Images of one name in several data sets get the data set's name before theirs. Patients and lesions keep their
    names: where two data sets use one, their images stay on one side of a split.
    """
    check_dataset_names(folders)
    if len({folder.resolve() for folder in folders}) < 2:
        raise DataSetError(f"expected two or more data sets to merge, found {len(folders)}. Name another one.")
    read = [_DatasetReader(folder, number) for number, folder in enumerate(folders)]
    origins = [origin for one in read for origin in one.iter_rows(run)]
    samples = {key: sample for one in read for key, sample in one.samples.items()}
    groups = [[origin] for origin in origins] if options.keep_duplicates else group_by_image(origins)
    merged, conflicts = _merge_groups(groups, samples)
    with assemble_folder(out) as place:
        left_out = (
            [] if options.keep_duplicates else _choose_left_out([one.sample for one in merged if one.sample], run)
        )
        taken, otherwise = _drop_duplicates(merged, left_out)
        report = MergeReport(
            rows=dict(Counter(one.first.data_set for one in taken)),
            images=dict(Counter(one.first.data_set for one in taken if one.sample is not None)),
            left_out=left_out,
            joined=len(origins) - len(groups),
            conflicts=[*conflicts, *otherwise],
            notes=[note for one in read for note in one.describe_findings()],
        )
        _write_dataset(place, taken, report, run)
    return report


def _write_dataset(place: Path, taken: Sequence[_MergedRow], report: MergeReport, run: RunContext) -> None:
    """Copy the images and write the tables."""
    names = _assign_names(taken)
    files = ids_to_file_names(names)
    shown = [(one, one.sample, files[name]) for one, name in zip(taken, names, strict=True) if one.sample is not None]
    for _, sample, name in run.track(shown, "Copying images"):
        _copy_files(sample, name, place)
    _rename_rows(taken, names)
    # Beside rows that say that they have no image, and where an id is no file name, the table names the files.
    for one, sample, name in shown if len(shown) < len(taken) or any(map(str.__ne__, files, files.values())) else ():
        one.row = PackedRow({**unpack_row(one.row), **_target_paths(sample, name)})
    write_dataset_table(place / "dataset.csv", [one.row for one in taken])
    write_table(place / "left_out.csv", [tabulate_duplicate(pair) for pair in report.left_out], PAIR_COLUMNS)
    write_table(place / "conflicts.csv", list(tabulate_conflicts(report.conflicts)), CONFLICT_COLUMNS)
    counts = {"merged_from": report.rows, "rows": len(taken), "images": len(shown)}
    write_json(place / "source.json", {**counts, "merged_with": collect_provenance()})


@dataclass
class _MergedRow:
    """The rows about one image made into one; ``first`` is the preferred one, whose image it has if any has one."""

    first: DatasetRow
    members: Sequence[DatasetRow]
    row: PackedRow
    sample: Sample | None


class _DatasetReader:
    """The rows of a data set in our columns and words, and the samples of those that have an image."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.samples: dict[int, Sample] = {}
        self._harmonizer = Harmonizer()

    def describe_findings(self) -> list[tuple[str, str]]:
        """Say what was not understood in the rows that were read."""
        return [
            (f"{self.folder.name}/{about}", said) for about, said in self._harmonizer.make_report().describe_findings()
        ]

    def iter_rows(self, run: RunContext) -> Iterator[DatasetRow]:
        """Read the rows."""
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
        """Raise where a row names a file that is no image: nothing else is copied."""
        for column, path in (("path", entry.image), ("mask_path", entry.mask)):
            if path is not None and not is_image_file(path):
                value = entry.row.get(column) or str(path.relative_to(self.folder))
                advice = "Only images are copied, whose suffix and content are of one: correct the row."
                raise row_error(find_table(self.folder), number, column, value, "is no image", advice)


def _merge_groups(
    groups: Iterable[Sequence[DatasetRow]], samples: Mapping[int, Sample]
) -> tuple[list[_MergedRow], list[MergeConflict]]:
    """Make one of the rows of each image; its split is the one that is kept back the most."""
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
    """Leave out what shows the same picture as another one, which is let know what it knew and stands for it."""
    of = {id(one.sample): one for one in merged if one.sample}
    conflicts: list[MergeConflict] = []
    for pair in left_out:
        taken, gone = of[id(pair.first)], of[id(pair.second)]
        knew = PackedRow({column: text for column, text in unpack_row(gone.row).items() if column in FILLED_COLUMNS})
        row, found = merge_rows([replace(taken.first, row=taken.row), replace(gone.first, row=knew)])
        taken.row = PackedRow(
            {**unpack_row(taken.row), **{column: row[column] for column in FILLED_COLUMNS if column in row}}
        )
        taken.members = [*taken.members, *gone.members]
        conflicts += found
    dropped = {id(pair.second) for pair in left_out}
    return [one for one in merged if one.sample is None or id(one.sample) not in dropped], conflicts


PAIR_COLUMNS = ("data_set_1", "image_1", "split_1", "data_set_2", "image_2", "split_2", "likeness", "same_group")


def tabulate_duplicate(pair: Duplicate) -> dict[str, object]:
    """Describe two images that show the same picture, for a table."""
    one, two = pair.first, pair.second
    values = (one.domain, one.image_id, one.split, two.domain, two.image_id, two.split)
    return dict(zip(PAIR_COLUMNS, (*values, round(pair.likeness, 3), pair.same_group), strict=True))


def _choose_left_out(samples: Sequence[Sample], run: RunContext) -> list[Duplicate]:
    """Pairs of data sets that show the same picture: which one is taken, then which one is left out for it."""
    order = {domain: number for number, domain in enumerate(dict.fromkeys(sample.domain for sample in samples))}
    numbers = [order[sample.domain] for sample in samples]
    found = find_duplicates(samples, run, across=numbers)

    def rank(sample: Sample) -> tuple[int, bool, int]:
        return held_back_rank(sample.split), sample.mask is not None, -order[sample.domain]

    pairs = []
    for pair in sorted(found, key=lambda pair: max(rank(pair.first), rank(pair.second)), reverse=True):
        first, second = sorted((pair.first, pair.second), key=rank, reverse=True)
        pairs.append(Duplicate(first, second, pair.likeness))
    gone: set[int] = set()
    kept = []
    for pair in pairs:  # the best ones first: one that is gone already takes no other with it
        if id(pair.first) not in gone and id(pair.second) not in gone:
            gone.add(id(pair.second))
            kept.append(pair)
    return kept


def _assign_names(merged: Sequence[_MergedRow]) -> list[str]:
    """A name for each image; where data sets share one, with the data set's before it."""
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
    """Write the names of images as they are called now, those that ``near_duplicate_of`` names too."""
    named = list(zip(merged, names, strict=True))
    called = {(origin.data_set, origin.image_id): name for one, name in named for origin in one.members}
    for one, name in named:
        said = next((origin for origin in one.members if "near_duplicate_of" in origin.row), None)
        if said is None and name == one.first.image_id:
            continue
        row = {**unpack_row(one.row), "image_id": name}
        if said is not None:
            near = said.row["near_duplicate_of"]
            near = called.get((said.data_set, near), near)
            row["near_duplicate_of"] = "" if near == name else near
        one.row = PackedRow(row)


def _target_paths(sample: Sample, name: str) -> dict[str, str]:
    """Where an image and its mask go, from the table."""
    found = {"path": f"images/{name}{sample.image.suffix.lower()}"}
    return found if sample.mask is None else found | {"mask_path": f"masks/{name}{sample.mask.suffix.lower()}"}


def _copy_files(sample: Sample, name: str, place: Path) -> None:
    """Copy an image and its mask, unless an earlier try has."""
    for source, goal in zip((sample.image, sample.mask), _target_paths(sample, name).values(), strict=False):
        assert source is not None
        target = place / goal
        there = target.stat() if target.exists() else None
        wanted = source.stat()
        if there is None or (there.st_size, there.st_mtime_ns) != (wanted.st_size, wanted.st_mtime_ns):
            temporary = temporary_name(target, target.suffix)
            sweep_once(target.parent)
            try:
                shutil.copy2(source, temporary)
                temporary.replace(target)
            finally:
                discard(temporary)
