"""Several data sets made into one: images that are in more than one are taken once, and nothing they know is lost."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.file_names import file_names, free_name
from napari_melanoma.core.files import plain_name, write_json
from napari_melanoma.core.leftovers import discard, sweep_once, temporary_name
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Entry, Sample, check_names, each_entry, row_fault, sample_of, table_of
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.new_dataset import gathered, write_dataset_table
from napari_melanoma.data.packed_rows import PackedRow, as_dict
from napari_melanoma.data.same_rows import (
    CONFLICT_COLUMNS,
    Conflict,
    Origin,
    conflict_rows,
    groups_of,
    united,
)
from napari_melanoma.io.finding import is_image_file
from napari_melanoma.io.results import write_table
from napari_melanoma.workflows.data_split import held_back

OWN = ("path", "mask_path")
NO_IMAGE = {"path": ""}
FILLED = (
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
    conflicts: list[Conflict]
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
    check_names(folders)
    if len({folder.resolve() for folder in folders}) < 2:
        raise DataSetError(f"expected two or more data sets to merge, found {len(folders)}. Name another one.")
    read = [_Read(folder, number) for number, folder in enumerate(folders)]
    origins = [origin for one in read for origin in one.origins(run)]
    samples = {key: sample for one in read for key, sample in one.samples.items()}
    groups = [[origin] for origin in origins] if options.keep_duplicates else groups_of(origins)
    merged, conflicts = _united(groups, samples)
    with gathered(out) as place:
        left_out = [] if options.keep_duplicates else _left_out([one.sample for one in merged if one.sample], run)
        taken, otherwise = _without(merged, left_out)
        report = MergeReport(
            rows=dict(Counter(one.first.data_set for one in taken)),
            images=dict(Counter(one.first.data_set for one in taken if one.sample is not None)),
            left_out=left_out,
            joined=len(origins) - len(groups),
            conflicts=[*conflicts, *otherwise],
            notes=[note for one in read for note in one.notes()],
        )
        _write(place, taken, report, run)
    return report


def _write(place: Path, taken: Sequence[_Merged], report: MergeReport, run: RunContext) -> None:
    """Copy the images and write the tables."""
    names = _names(taken)
    files = file_names(names)
    shown = [(one, one.sample, files[name]) for one, name in zip(taken, names, strict=True) if one.sample is not None]
    for _, sample, name in run.track(shown, "Copying images"):
        _copy(sample, name, place)
    _name_rows(taken, names)
    # Beside rows that say that they have no image, and where an id is no file name, the table names the files.
    for one, sample, name in shown if len(shown) < len(taken) or any(map(str.__ne__, files, files.values())) else ():
        one.row = PackedRow({**as_dict(one.row), **_paths(sample, name)})
    write_dataset_table(place / "dataset.csv", [one.row for one in taken])
    write_table(place / "left_out.csv", [pair_row(pair) for pair in report.left_out], PAIR_COLUMNS)
    write_table(place / "conflicts.csv", list(conflict_rows(report.conflicts)), CONFLICT_COLUMNS)
    counts = {"merged_from": report.rows, "rows": len(taken), "images": len(shown)}
    write_json(place / "source.json", {**counts, "merged_with": provenance()})


@dataclass
class _Merged:
    """The rows about one image made into one; ``first`` is the preferred one, whose image it has if any has one."""

    first: Origin
    members: Sequence[Origin]
    row: PackedRow
    sample: Sample | None


class _Read:
    """The rows of a data set in our columns and words, and the samples of those that have an image."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.samples: dict[int, Sample] = {}
        self._harmoniser = Harmoniser()

    def notes(self) -> list[tuple[str, str]]:
        """Say what was not understood in the rows that were read."""
        return [(f"{self.folder.name}/{about}", said) for about, said in self._harmoniser.report().findings()]

    def origins(self, run: RunContext) -> Iterator[Origin]:
        """Read the rows."""
        entries = run.track(each_entry(self.folder), f"Reading {self.folder.name}")
        for number, entry in enumerate(entries, start=1):
            if isinstance(entry, DataSetError):
                raise entry
            self._refuse_other_files(entry, number)
            row = {column: text for column, text in entry.row.items() if text and column not in OWN}
            row = {"source": self.folder.name, **self._harmoniser.row(row), "image_id": entry.image_id}
            sample = None if entry.image is None else sample_of(entry, self.folder)
            if isinstance(sample, DataSetError):
                raise sample
            rank = (sample is not None, entry.mask is not None, -self.number)
            origin = Origin(PackedRow(row), self.folder.name, entry.image_id, rank)
            if sample is not None:
                self.samples[id(origin)] = sample
            yield origin

    def _refuse_other_files(self, entry: Entry, number: int) -> None:
        """Raise where a row names a file that is no image: nothing else is copied."""
        for column, path in (("path", entry.image), ("mask_path", entry.mask)):
            if path is not None and not is_image_file(path):
                value = entry.row.get(column) or str(path.relative_to(self.folder))
                advice = "Only images are copied, whose suffix and content are of one: correct the row."
                raise row_fault(table_of(self.folder), number, column, value, "is no image", advice)


def _united(groups: Iterable[Sequence[Origin]], samples: Mapping[int, Sample]) -> tuple[list[_Merged], list[Conflict]]:
    """Make one of the rows of each image; its split is the one that is kept back the most."""
    merged, conflicts = [], list[Conflict]()
    for group in groups:
        first, sample = group[0], samples.get(id(group[0]))
        packed = first.row
        if len(group) > 1:
            row, found = united(group)
            conflicts += found
            split = max((origin.row.get("split", "") for origin in group), key=held_back)
            packed = PackedRow(row | {"split": split} if split else row)
            sample = sample and replace(sample, split=split)
        merged.append(_Merged(first, group, packed if sample else packed.over(NO_IMAGE), sample))
    return merged, conflicts


def _without(merged: Sequence[_Merged], left_out: Sequence[Duplicate]) -> tuple[list[_Merged], list[Conflict]]:
    """Leave out what shows the same picture as another one, which is let know what it knew and stands for it."""
    of = {id(one.sample): one for one in merged if one.sample}
    conflicts: list[Conflict] = []
    for pair in left_out:
        taken, gone = of[id(pair.first)], of[id(pair.second)]
        knew = PackedRow({column: text for column, text in as_dict(gone.row).items() if column in FILLED})
        row, found = united([replace(taken.first, row=taken.row), replace(gone.first, row=knew)])
        taken.row = PackedRow({**as_dict(taken.row), **{column: row[column] for column in FILLED if column in row}})
        taken.members = [*taken.members, *gone.members]
        conflicts += found
    dropped = {id(pair.second) for pair in left_out}
    return [one for one in merged if one.sample is None or id(one.sample) not in dropped], conflicts


PAIR_COLUMNS = ("data_set_1", "image_1", "split_1", "data_set_2", "image_2", "split_2", "likeness", "same_group")


def pair_row(pair: Duplicate) -> dict[str, object]:
    """Describe two images that show the same picture, for a table."""
    one, two = pair.first, pair.second
    values = (one.domain, one.image_id, one.split, two.domain, two.image_id, two.split)
    return dict(zip(PAIR_COLUMNS, (*values, round(pair.likeness, 3), pair.same_group), strict=True))


def _left_out(samples: Sequence[Sample], run: RunContext) -> list[Duplicate]:
    """Pairs of data sets that show the same picture: which one is taken, then which one is left out for it."""
    order = {domain: number for number, domain in enumerate(dict.fromkeys(sample.domain for sample in samples))}
    numbers = [order[sample.domain] for sample in samples]
    found = find_duplicates(samples, run, across=numbers)

    def rank(sample: Sample) -> tuple[int, bool, int]:
        return held_back(sample.split), sample.mask is not None, -order[sample.domain]

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


def _names(merged: Sequence[_Merged]) -> list[str]:
    """A name for each image; where data sets share one, with the data set's before it."""
    domains: dict[str, set[str]] = defaultdict(set)
    for one in merged:
        domains[plain_name(one.first.image_id)].add(one.first.data_set)
    names: list[str] = []
    taken: set[str] = set()
    for one in merged:
        image_id = one.first.image_id
        shared = len(domains[plain_name(image_id)]) > 1
        name = free_name(f"{one.first.data_set}-{image_id}" if shared else image_id, taken)
        names.append(name)
        taken.add(name.lower())
    return names


def _name_rows(merged: Sequence[_Merged], names: Sequence[str]) -> None:
    """Write the names of images as they are called now, those that ``near_duplicate_of`` names too."""
    named = list(zip(merged, names, strict=True))
    called = {(origin.data_set, origin.image_id): name for one, name in named for origin in one.members}
    for one, name in named:
        said = next((origin for origin in one.members if "near_duplicate_of" in origin.row), None)
        if said is None and name == one.first.image_id:
            continue
        row = {**as_dict(one.row), "image_id": name}
        if said is not None:
            near = said.row["near_duplicate_of"]
            near = called.get((said.data_set, near), near)
            row["near_duplicate_of"] = "" if near == name else near
        one.row = PackedRow(row)


def _paths(sample: Sample, name: str) -> dict[str, str]:
    """Where an image and its mask go, from the table."""
    found = {"path": f"images/{name}{sample.image.suffix.lower()}"}
    return found if sample.mask is None else found | {"mask_path": f"masks/{name}{sample.mask.suffix.lower()}"}


def _copy(sample: Sample, name: str, place: Path) -> None:
    """Copy an image and its mask, unless an earlier try has."""
    for source, goal in zip((sample.image, sample.mask), _paths(sample, name).values(), strict=False):
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
