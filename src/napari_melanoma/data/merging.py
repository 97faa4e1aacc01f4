"""Merge several data sets into one."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import combinations
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import discard, move, normalize_name, sweep_once, temporary_name, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.paths import free_name, ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.collections import list_sources
from napari_melanoma.data.dataset import (
    PackedRow,
    Sample,
    assemble_folder,
    check_distinct_datasets,
    find_table,
    iter_entries,
    make_sample,
    read_class_names,
    read_groups,
    require_outside_datasets,
    row_error,
    unpack_row,
    write_class_names,
    write_dataset_table,
)
from napari_melanoma.data.diagnosis_labels import LABELS, join_labels, read_diagnoses
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.groups import normalize_patient
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.row_values import read_text
from napari_melanoma.data.splits import LeakChecker
from napari_melanoma.data.table_schema import FILE_COLUMNS, find_column, held_back_rank
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.discovery import is_image_file
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.io.results import write_table

# Columns that are not merged, because they belong to the row of one data set, or to the files that it names
DATASET_COLUMNS = (
    *("image_id", "source", "near_duplicate_of", "split", "fold", "review", "reviewer", "reviewed_at", "model"),
    *("model_fingerprint", "image_sha256", "damage", *FILE_COLUMNS),
)
SCALE_COLUMNS = ("mpp_x", "mpp_y")  # of the file: a copy of another size has another scale
# Related columns: a row that contradicts the preferred row in one of them supplies none of them
COLUMN_FAMILIES = (
    ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma"),
    ("site", "sub_site", "laterality"),
    ("mpp_x", "mpp_y"),
)
ALSO_IN = "also_in"  # column: the other data sets with a row about the image
NO_IMAGE = {"path": ""}  # cell that marks a row without an image
# Columns that are filled in from a duplicate that is left out
FILLED_COLUMNS = (
    *("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma", "age", "sex", "site", "sub_site"),
    *("laterality", "fitzpatrick", "patient_id", "lesion_id", LABELS),
)
FILLING_COLUMNS = (*FILLED_COLUMNS, "reviewer", "reviewed_at")  # with who gave the diagnosis
PAIR_COLUMNS = ("data_set_1", "image_1", "split_1", "data_set_2", "image_2", "split_2", "similarity", "same_group")
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row with its image id and data set, and its image, if it has one.

    ``rank`` is (has an image, has a mask, minus the number of the data set); of the rows about one image, the one with
    the highest rank is preferred.
    """

    row: PackedRow
    data_set: str
    image_id: str
    rank: tuple[int, ...]
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Contradicting values of two data sets for one image: the value that was used, and the other one."""

    image_id: str
    column: str
    taken: str
    taken_from: str
    other: str
    other_from: str


CONFLICT_COLUMNS = tuple(field.name for field in fields(MergeConflict))


@dataclass
class _MergedRow:
    """The merged row of one image.

    ``first`` is the preferred original row, ``members`` are all original rows; ``sample`` is the image of ``first``
    with the merged split, None if it has none.
    """

    first: DatasetRow
    members: Sequence[DatasetRow]
    row: PackedRow
    sample: Sample | None


def identify_image(image_id: str, source: str) -> str:
    """Return a key that identifies an image across data sets: its published id, or source and id."""
    match = _published_id_pattern().fullmatch(image_id)
    return next(filter(None, match.groups())).lower() if match else f"{source}/{image_id}"


@cache
def _published_id_pattern() -> re.Pattern[str]:
    """Return a pattern of ids that an archive assigns; the group that matches identifies the image."""
    patterns = dict.fromkeys(source.spec.ids for source in list_sources().values() if source.spec.ids)
    return re.compile("|".join(one if re.compile(one).groups else f"({one})" for one in patterns), re.IGNORECASE)


def group_by_image(origins: Sequence[DatasetRow]) -> list[list[DatasetRow]]:
    """Group rows by image, in the order of their first rows; in each group, the preferred row comes first."""
    groups: dict[str, list[DatasetRow]] = {}
    for origin in origins:
        source = origin.row.get("source", origin.data_set)
        name = identify_image(origin.image_id, source)
        is_public = source in list_sources() or not name.startswith(f"{source}/")
        group = groups.setdefault(name, [])
        if not all(_show_one_image(origin, other, is_public) for other in group):
            group = groups.setdefault(f"{name}/{origin.data_set}/{origin.image_id}", [])
        group.append(origin)
    for group in groups.values():
        group.sort(key=lambda origin: origin.rank, reverse=True)
    return list(groups.values())


def _show_one_image(one: DatasetRow, other: DatasetRow, is_public: bool) -> bool:
    """Whether two rows of one source and name are about one image.

    Cameras of two clinics give different photographs one name: outside public sets, their files must be equal. Copies
    that were changed are found by their pictures.
    """
    if one.data_set == other.data_set:
        return False
    if is_public or one.sample is None or other.sample is None:
        return True
    return filecmp.cmp(one.sample.image, other.sample.image, shallow=False)


def merge_rows(group: Sequence[DatasetRow]) -> tuple[Row, list[MergeConflict]]:
    """Merge the rows about one image into one.

    The first, preferred row counts; the others, in their order, fill in values that are missing or more exact. A row
    that contradicts the preferred one in a diagnosis column supplies none of the diagnosis columns, and likewise for
    the site. If diagnoses differ, the diagnosis is empty, whichever row is preferred, and ``diagnosis_labels`` has all.
    ``also_in`` names the other data sets. Returns the row and the conflicts.
    """
    first, *others = group
    cells = _join_labels([unpack_row(member.row) for member in group])
    row, conflicts = unpack_row(first.row) | cells, list[MergeConflict]()
    origins = dict.fromkeys(row, first.data_set)
    is_disputed = bool(cells) and not cells["diagnosis"]
    if is_disputed:
        conflicts += [
            MergeConflict(first.image_id, column, "", "", text, member.data_set)
            for column in COLUMN_FAMILIES[0]
            for member in group
            if (text := member.row.get(column, "")) not in ("", UNKNOWN, row.get(column))
        ]
    for other in others:
        own = DATASET_COLUMNS if _have_one_scale(first, other) else (*DATASET_COLUMNS, *SCALE_COLUMNS)
        differing = {
            column: text
            for column, text in unpack_row(other.row).items()
            if column not in own and text != row.get(column) and not (cells and column == LABELS)
        }
        if is_disputed:  # a value of one reading would count for all
            differing = {column: text for column, text in differing.items() if column not in COLUMN_FAMILIES[0]}
        merged = {column: _merge_values(column, row.get(column, ""), text) for column, text in differing.items()}
        refused = {column for column, value in merged.items() if value is None}
        for family in COLUMN_FAMILIES:
            if not refused.isdisjoint(family):
                refused |= merged.keys() & set(family)
        if "patient_id" in refused:  # a lesion is named within its patient
            refused |= merged.keys() & {"lesion_id"}
        for column, value in merged.items():
            if column in refused:
                taken = (row.get(column, ""), origins.get(column, ""))
                conflicts.append(MergeConflict(first.image_id, column, *taken, differing[column], other.data_set))
            elif value and value != row.get(column):
                row[column], origins[column] = value, other.data_set
    return row | ({ALSO_IN: " ".join(other.data_set for other in others)} if others else {}), conflicts


def _have_one_scale(first: DatasetRow, other: DatasetRow) -> bool:
    """Whether the scale of one row is that of the image of the other: not if their images have different sizes."""
    if first.sample is None or other.sample is None:
        return True
    return read_image_size(first.sample.image) == read_image_size(other.sample.image)


def _merge_values(column: str, first: str, second: str) -> str | None:
    """Return the more exact of two values that do not contradict each other; None if they do."""
    if not first or first == UNKNOWN:
        return second
    if not second or second == UNKNOWN:
        return first
    return _choose_comparison(column)(first, second)


@cache
def _choose_comparison(column: str) -> Callable[[str, str], str | None]:
    """Return a function that compares two values of a column; it returns the more exact one, None if they differ."""
    schema_column = find_column(column)

    def compare_numbers(first: str, second: str) -> str | None:  # they may be written differently
        try:
            return first if float(first) == float(second) else None
        except ValueError:
            return None

    if schema_column is not None and schema_column.kind == "number":
        return compare_numbers
    if schema_column is not None and schema_column.taxonomy:
        within = load_taxonomy(schema_column.taxonomy).is_within
        return lambda first, second: first if within(first, second) else second if within(second, first) else None
    return lambda first, second: first if first == second else None


def _join_labels(group: Sequence[Row]) -> Row:
    """Return the cells of the first row with the labels of all, none if these cannot be read.

    There are none either without labels, unless diagnoses differ. A diagnosis without labels counts as one by its
    reviewer.
    """
    rows = [row for row in group if row.get(LABELS) or row.get("diagnosis", UNKNOWN) not in ("", UNKNOWN)]
    pairs = combinations(dict.fromkeys(row.get("diagnosis", "") for row in rows), 2)
    if not any(row.get(LABELS) for row in rows) and all(_merge_values("diagnosis", *pair) for pair in pairs):
        return {}
    try:
        labels = [label for row in rows for label in read_diagnoses(row)]
    except DataSetError:
        return {}
    return join_labels(labels, group[0])


class MergeOptions(Config):
    """How data sets are merged."""

    keep_duplicates: bool = Field(False, description="keep duplicate images of different data sets")


@dataclass(frozen=True)
class MergeReport:
    """The outcome of a merge.

    ``rows`` counts the merged rows by the data set of their preferred row, ``images`` those with an image; ``left_out``
    are pairs of duplicates whose second image was left out; ``joined`` counts the rows that were joined to another row
    about the same image; ``conflicts`` are contradicting values of joined rows and of duplicates. ``notes`` list what
    was not understood: the data set with the column, and a message.
    """

    rows: dict[str, int]
    left_out: list[Duplicate]
    images: dict[str, int]
    joined: int
    conflicts: list[MergeConflict]
    notes: list[tuple[str, str]]


def merge_datasets(folders: Sequence[Path], out: Path, options: MergeOptions, *, run: RunContext) -> MergeReport:
    """Merge data sets into a new one; the originals are not changed.

    Columns and words are harmonized. Rows of several data sets about one image (by the name that its archive gave it,
    or by source, name and file) become one row: a row with an image and a mask is preferred to one with an image only,
    this to one without, and of equal rows that of the data set named first. The preferred row is completed from the
    others.
    Values that differ are listed in ``conflicts.csv``.

    If a picture is in several data sets, the copy in the most protected split is kept (``test`` before ``val`` before
    ``train``), so that no test image is trained on; else a copy with a mask; else the copy in the data set named first.
    Its empty fields are filled in from the others, and contradictions are listed too. The pairs are listed in
    ``left_out.csv``. Images with the same name in several data sets get the data set's name as a prefix. Patients and
    lesions keep their names: a name that two data sets share is one patient. ``notes`` list these, and those in several
    splits.
    """
    check_distinct_datasets(folders)
    require_outside_datasets(out, folders)
    if len(folders) < 2:
        raise DataSetError(f"expected two or more data sets to merge, found {len(folders)}. Name another one.")
    harmonizers = [Harmonizer() for _ in folders]
    origins = [
        origin
        for number, (folder, harmonizer) in enumerate(zip(folders, harmonizers, strict=True))
        for origin in _iter_rows(folder, number, harmonizer, run)
    ]
    classes = merge_class_names(folders)
    groups = [[origin] for origin in origins] if options.keep_duplicates else group_by_image(origins)
    merged, conflicts = _merge_groups(groups)
    with assemble_folder(out) as gathering:
        left_out = []
        if not options.keep_duplicates:
            left_out = _choose_left_out([entry.sample for entry in merged if entry.sample], run)
        kept, duplicate_conflicts = _drop_duplicates(merged, left_out)
        conflicts += duplicate_conflicts
        names = _assign_names(kept)
        _rename_rows(kept, names)
        notes = [
            (f"{folder.name}/{about}", message)
            for folder, harmonizer in zip(folders, harmonizers, strict=True)
            for about, message in harmonizer.make_report().describe_findings()
        ]
        report = MergeReport(
            rows=dict(Counter(entry.first.data_set for entry in kept)),
            images=dict(Counter(entry.first.data_set for entry in kept if entry.sample is not None)),
            left_out=left_out,
            joined=len(origins) - len(groups),
            conflicts=conflicts,
            notes=[
                *notes,
                *_describe_shared_patients(kept),
                *_describe_renamed_patients(kept, conflicts),
                *_describe_groups(kept),
            ],
        )
        _write_dataset(gathering, kept, names, report, run)
        if classes:
            write_class_names(gathering, classes)
    return report


def merge_class_names(folders: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return the classes of the label images of several data sets; raises if a name or a value has two meanings."""
    merged: dict[str, tuple[int, ...]] = {}
    for folder in folders:
        classes = read_class_names(folder)
        differing = [name for name, values in classes.items() if merged.get(name, values) != values]
        others = {value for name, values in merged.items() if name not in classes for value in values}
        differing += [name for name, values in classes.items() if name not in merged and others.intersection(values)]
        if differing:
            raise DataSetError(
                f"the class {format_names(differing)} of {folder.name} has other values in the masks than in the "
                "data sets before it. Import the data sets again with the same classes."
            )
        merged.update(classes)
    return merged


def _write_dataset(
    folder: Path, merged: Sequence[_MergedRow], names: Sequence[str], report: MergeReport, run: RunContext
) -> None:
    """Copy the images and write the tables; ``names``: of the images."""
    files = ids_to_file_names(names)
    named = zip(merged, names, strict=True)
    with_image = [(entry, entry.sample, files[name]) for entry, name in named if entry.sample is not None]
    for _, sample, name in run.track(with_image, "Copying images"):
        _copy_files(sample, name, folder)
    # Paths are written if some rows have no image, or if an id is not a valid file name.
    if len(with_image) < len(merged) or any(map(str.__ne__, files, files.values())):
        for entry, sample, name in with_image:
            entry.row = PackedRow({**unpack_row(entry.row), **_target_paths(sample, name)})
    write_dataset_table(folder / "dataset.csv", [entry.row for entry in merged])
    write_table(folder / "left_out.csv", [tabulate_duplicate(pair) for pair in report.left_out], PAIR_COLUMNS)
    # asdict copies each text: a tenth of the time of a merge
    conflicts = [{name: getattr(conflict, name) for name in CONFLICT_COLUMNS} for conflict in report.conflicts]
    write_table(folder / "conflicts.csv", conflicts, CONFLICT_COLUMNS)
    counts = {"merged_from": report.rows, "rows": len(merged), "images": len(with_image)}
    write_json(folder / "source.json", {**counts, "merged_with": collect_provenance()})


def _iter_rows(folder: Path, number: int, harmonizer: Harmonizer, run: RunContext) -> Iterator[DatasetRow]:
    groups = read_groups(folder)
    for position, entry in enumerate(run.track(iter_entries(folder), f"Reading {folder.name}"), start=1):
        if isinstance(entry, DataSetError):
            raise entry
        for column, path in (("path", entry.image), ("mask_path", entry.mask)):
            if path is not None and not is_image_file(path):
                value = entry.row.get(column) or str(path.relative_to(folder))
                advice = "Only image files are copied (by suffix and content): correct the row."
                raise row_error(find_table(folder), position, column, value, "is not an image", advice)
        row = {column: text for column, text in entry.row.items() if text and column not in FILE_COLUMNS}
        row = {"source": folder.name, **harmonizer.harmonize_row(row), "image_id": entry.image_id}
        sample = None if entry.image is None else make_sample(entry, folder, groups)
        if isinstance(sample, DataSetError):
            raise sample
        if sample is not None:  # the column may have another name in the table
            sample = replace(sample, split=row.get("split", ""))
        rank = (sample is not None, entry.mask is not None, -number)
        yield DatasetRow(PackedRow(row), folder.name, entry.image_id, rank, sample)


def _merge_groups(groups: Iterable[Sequence[DatasetRow]]) -> tuple[list[_MergedRow], list[MergeConflict]]:
    """Merge the rows of each image; the merged row gets the most protected of their splits."""
    merged, conflicts = [], list[MergeConflict]()
    for group in groups:
        first, sample, packed = group[0], group[0].sample, group[0].row
        if len(group) > 1:
            row, differences = merge_rows(group)
            conflicts += differences
            split = max((origin.row.get("split", "") for origin in group), key=held_back_rank)
            packed = PackedRow(row | {"split": split} if split else row)
            sample = sample and replace(sample, split=split)
        merged.append(_MergedRow(first, group, packed if sample else packed.with_defaults(NO_IMAGE), sample))
    return merged, conflicts


def _drop_duplicates(
    merged: Sequence[_MergedRow], left_out: Sequence[Duplicate]
) -> tuple[list[_MergedRow], list[MergeConflict]]:
    """Leave out duplicates, and fill empty fields of the images that are kept from them; also returns conflicts."""
    rows = {id(entry.sample): entry for entry in merged if entry.sample}
    conflicts: list[MergeConflict] = []
    left_out_of: dict[int, list[_MergedRow]] = defaultdict(list)
    for pair in left_out:
        left_out_of[id(pair.first)].append(rows[id(pair.second)])
    for key, dropped in left_out_of.items():
        kept, group = rows[key], [replace(rows[key].first, row=rows[key].row)]
        for entry in dropped:
            filling = {name: text for name, text in unpack_row(entry.row).items() if name in FILLING_COLUMNS}
            group.append(replace(entry.first, row=PackedRow(filling)))
            kept.members = [*kept.members, *entry.members]
        row, differences = merge_rows(group)
        filled = {name: row[name] for name in FILLED_COLUMNS if name in row}
        kept.row = PackedRow({**unpack_row(kept.row), **filled})
        conflicts += differences
    left_out_samples = {id(pair.second) for pair in left_out}
    return [entry for entry in merged if id(entry.sample) not in left_out_samples], conflicts


def _describe_shared_patients(merged: Iterable[_MergedRow]) -> list[tuple[str, str]]:
    """Describe patients whom several data sets name: numbers that each counts from one would join strangers."""
    data_sets: dict[str, set[str]] = {}
    for entry in merged:
        if patient := normalize_patient(read_text(entry.row, "patient_id")):
            data_sets.setdefault(patient, set()).add(entry.first.data_set)
    shared = [patient for patient, names in data_sets.items() if len(names) > 1]
    if not shared:
        return []
    patients = "1 patient is" if len(shared) == 1 else f"{len(shared)} patients are"
    message = f"{patients} named in several data sets ({format_names(shared)}): if they are not the same, rename them"
    return [("patient_id", message)]


def _describe_renamed_patients(
    merged: Iterable[_MergedRow], conflicts: Iterable[MergeConflict]
) -> list[tuple[str, str]]:
    """Describe patients who have two names and images under both, which therefore may get different splits."""
    named = {(entry.first.data_set, entry.row.get("patient_id", "")) for entry in merged}
    pairs = dict.fromkeys(
        f"{one.taken} in {one.taken_from} is {one.other} in {one.other_from}"
        for one in conflicts
        if one.column == "patient_id" and (one.other_from, one.other) in named
    )
    if not pairs:
        return []
    patients = "1 patient has" if len(pairs) == 1 else f"{len(pairs)} patients have"
    message = (
        f"{patients} different names in the data sets, as an image in both shows ({format_names(pairs)}): rename them, "
        "otherwise their images may be in both training and test set"
    )
    return [("patient_id", message)]


def _describe_groups(merged: Iterable[_MergedRow]) -> list[tuple[str, str]]:
    """Describe patients, lesions and pictures whose rows have different splits, and ask about ids of patients."""
    checker = LeakChecker()
    for entry in merged:
        checker.add_row(entry.row, entry.row)
    questions = [("patient_id", question) for question in checker.describe_patient_ids()]
    divided = [group.name for group, splits in checker.find_splits().items() if len(splits - {""}) > 1]
    if not divided:
        return questions
    message = (
        f"{len(divided)} of the patients, lesions and pictures are in more than one split ({format_names(divided)}): "
        "training leaves out their images that are not in the test set. Correct the column split, or assign all images "
        "again: napari-melanoma data split DATASET --replace"
    )
    return [*questions, ("split", message)]


def tabulate_duplicate(pair: Duplicate) -> dict[str, object]:
    """Describe two images that show the same picture as a row of a table."""
    first, second = pair.first, pair.second
    values = (first.domain, first.image_id, first.split, second.domain, second.image_id, second.split)
    return dict(zip(PAIR_COLUMNS, (*values, round(pair.similarity, 3), pair.same_group), strict=True))


def _choose_left_out(samples: Sequence[Sample], run: RunContext) -> list[Duplicate]:
    """Find duplicates across data sets: ``first`` of each pair is kept, ``second`` is left out."""
    order = {domain: number for number, domain in enumerate(dict.fromkeys(sample.domain for sample in samples))}
    numbers = [order[sample.domain] for sample in samples]
    duplicates = find_duplicates(samples, run, across=numbers)

    def rank(sample: Sample) -> tuple[int, bool, int]:
        return held_back_rank(sample.split), sample.mask is not None, -order[sample.domain]

    pairs = []
    for pair in sorted(duplicates, key=lambda pair: max(rank(pair.first), rank(pair.second)), reverse=True):
        first, second = sorted((pair.first, pair.second), key=rank, reverse=True)
        pairs.append(Duplicate(first, second, pair.similarity))
    removed: set[int] = set()
    left_out = []
    for pair in pairs:  # best first: an image that is removed already does not replace others
        if removed.isdisjoint((id(pair.first), id(pair.second))):
            removed.add(id(pair.second))
            left_out.append(pair)
    return left_out


def _assign_names(merged: Sequence[_MergedRow]) -> list[str]:
    """Return a unique name for each image: its id, prefixed by the data set's name if several data sets have it."""
    domains: dict[str, set[str]] = defaultdict(set)
    for entry in merged:
        domains[normalize_name(entry.first.image_id)].add(entry.first.data_set)
    names: list[str] = []
    used_names: set[str] = set()
    for entry in merged:
        image_id = entry.first.image_id
        shared = len(domains[normalize_name(image_id)]) > 1
        name = free_name(f"{entry.first.data_set}-{image_id}" if shared else image_id, used_names)
        names.append(name)
        used_names.add(name.lower())
    return names


def _rename_rows(merged: Sequence[_MergedRow], names: Sequence[str]) -> None:
    """Write the new names of images into the columns ``image_id`` and ``near_duplicate_of``."""
    named = list(zip(merged, names, strict=True))
    new_names = {(origin.data_set, origin.image_id): name for entry, name in named for origin in entry.members}
    for entry, name in named:
        origin = next((origin for origin in entry.members if "near_duplicate_of" in origin.row), None)
        if origin is None and name == entry.first.image_id:
            continue
        row = {**unpack_row(entry.row), "image_id": name}
        if origin is not None:
            original = origin.row["near_duplicate_of"]
            original = new_names.get((origin.data_set, original), original)
            row["near_duplicate_of"] = "" if original == name else original
        entry.row = PackedRow(row)


def _target_paths(sample: Sample, name: str) -> dict[str, str]:
    """Return the paths of an image and its mask, relative to the table."""
    paths = {"path": f"images/{name}{sample.image.suffix.lower()}"}
    return paths if sample.mask is None else paths | {"mask_path": f"masks/{name}{sample.mask.suffix.lower()}"}


def _copy_files(sample: Sample, name: str, folder: Path) -> None:
    """Copy an image and its mask, unless an earlier attempt has copied them."""
    for source, path_in_folder in zip((sample.image, sample.mask), _target_paths(sample, name).values(), strict=False):
        assert source is not None
        target = folder / path_in_folder
        copied = target.stat() if target.exists() else None
        original = source.stat()
        if copied is None or (copied.st_size, copied.st_mtime_ns) != (
            original.st_size,
            original.st_mtime_ns,
        ):
            temporary = temporary_name(target, target.suffix)
            sweep_once(target.parent)
            try:
                shutil.copy2(source, temporary)
                move(temporary, target)
            finally:
                discard(temporary)
