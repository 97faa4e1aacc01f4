"""Several data sets made into one: pictures that are in more than one are taken once, and nothing they know is lost."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import TABLES, Sample, check_names, read_dataset
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.new_dataset import gathered, write_dataset_table
from napari_melanoma.data.safe_names import free_name
from napari_melanoma.data.table_file import TableFile
from napari_melanoma.io.results import write_table
from napari_melanoma.workflows.data_split import held_back

OWN = ("path", "mask_path", "image_id")
FILLED = ("diagnosis", "melanoma", "age", "sex", "site", "fitzpatrick", "patient_id", "lesion_id", "diagnosis_by")

Row = dict[str, str]


class MergeOptions(Config):
    """How data sets are merged."""

    keep_duplicates: bool = Field(False, description="take a picture from each data set that has it")


@dataclass(frozen=True)
class MergeReport:
    """What a merge did: images of each data set, and the pairs of the same picture of which the second was left out."""

    images: dict[str, int]
    left_out: list[Duplicate]


def merge_datasets(folders: Sequence[Path], out: Path, options: MergeOptions, *, run: RunContext) -> MergeReport:
    """Merge data sets into a new one; the old ones stay as they are.

    Of a picture that several of them have, one is taken: the one that is kept back the most (``test`` before ``val``
    before ``train``), so that nothing that is judged on is learnt from; else the one with a mask; else that of the data
    set named first. What its row does not know is filled in from the others. The pairs are listed in ``left_out.csv``.
    Images of one name in several data sets get the data set's name before theirs. Patients and lesions keep their
    names: where two data sets use one, their images stay on one side of a split.

    Parameters
    ----------
    folders : sequence of pathlib.Path
        Two or more data sets.
    out : pathlib.Path
        The new one, which must not exist.
    options : MergeOptions
        How.
    run : RunContext
        Takes the progress; may stop it, and the same command goes on.

    Returns
    -------
    MergeReport
        What was taken and what was left out.

    Raises
    ------
    DataSetError
        Where a data set is missing or faulty, two have one name, fewer than two are named, or ``out`` exists.
    SaveError
        Where it cannot be written.
    Cancelled
        Where the user stopped it.
    """
    check_names(folders)
    if len({folder.resolve() for folder in folders}) < 2:
        raise DataSetError(f"expected two or more data sets to merge, found {len(folders)}. Name another one.")
    samples = [sample for folder in folders for sample in read_dataset(folder)]
    rows = [_known(row, folder) for folder in folders for row in _rows(folder)]
    with gathered(out) as place:
        left_out = [] if options.keep_duplicates else _left_out(samples, run)
        _fill_in(rows, samples, left_out)
        dropped = {id(pair.second) for pair in left_out}
        taken = [(sample, row) for sample, row in zip(samples, rows, strict=True) if id(sample) not in dropped]
        names = _names([sample for sample, _ in taken])
        for (sample, _), name in run.track(list(zip(taken, names, strict=True)), "Copying images"):
            _copy(sample, name, place)
        merged = [{**row, "image_id": name} for (_, row), name in zip(taken, names, strict=True)]
        _mark_near(merged, taken, names)
        write_dataset_table(place / "dataset.csv", merged)
        write_table(place / "left_out.csv", [pair_row(pair) for pair in left_out], PAIR_COLUMNS)
        counts = dict(Counter(sample.domain for sample, _ in taken))
        write_json(place / "source.json", {"merged_from": counts, "merged_with": provenance()})
    return MergeReport(counts, left_out)


PAIR_COLUMNS = ("data_set_1", "image_1", "split_1", "data_set_2", "image_2", "split_2", "likeness", "same_group")


def pair_row(pair: Duplicate) -> dict[str, object]:
    """Describe two images that show the same picture, for a table.

    Parameters
    ----------
    pair : Duplicate
        The two.

    Returns
    -------
    dict
        In ``PAIR_COLUMNS``.
    """
    one, two = pair.first, pair.second
    values = (one.domain, one.image_id, one.split, two.domain, two.image_id, two.split)
    return dict(zip(PAIR_COLUMNS, (*values, round(pair.likeness, 3), pair.same_group), strict=True))


def _rows(folder: Path) -> list[Row]:
    """Rows of the table of a data set."""
    return TableFile.read(next(folder / name for name in TABLES if (folder / name).is_file())).rows()


def _known(row: Row, folder: Path) -> Row:
    """What a row says that holds in another folder too, and where it comes from."""
    kept = {column: value for column, value in row.items() if value and column not in OWN}
    return {"source": folder.name, **kept}


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


def _fill_in(rows: Sequence[Row], samples: Sequence[Sample], left_out: Iterable[Duplicate]) -> None:
    """Let a row that is taken know what the rows knew that are left out for it."""
    row_of: Mapping[int, Row] = {id(sample): row for sample, row in zip(samples, rows, strict=True)}
    for pair in left_out:
        taken, gone = row_of[id(pair.first)], row_of[id(pair.second)]
        for column in FILLED:
            if not taken.get(column) and gone.get(column):
                taken[column] = gone[column]


def _names(samples: Sequence[Sample]) -> list[str]:
    """A name for each image; where data sets share one, with the data set's before it."""
    domains: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        domains[sample.image_id.lower()].add(sample.domain)
    names: list[str] = []
    taken: set[str] = set()
    for sample in samples:
        shared = len(domains[sample.image_id.lower()]) > 1
        name = free_name(f"{sample.domain}-{sample.image_id}" if shared else sample.image_id, taken)
        names.append(name)
        taken.add(name.lower())
    return names


def _mark_near(merged: Sequence[Row], taken: Sequence[tuple[Sample, Row]], names: Sequence[str]) -> None:
    """Let ``near_duplicate_of`` name the images as they are called now."""
    called = {(sample.domain, sample.image_id): name for (sample, _), name in zip(taken, names, strict=True)}
    for row, (sample, _) in zip(merged, taken, strict=True):
        if named := row.get("near_duplicate_of"):
            row["near_duplicate_of"] = called.get((sample.domain, named), named)


def _copy(sample: Sample, name: str, place: Path) -> None:
    """Copy an image and its mask, unless an earlier try has."""
    files = [(sample.image, place / "images" / f"{name}{sample.image.suffix.lower()}")]
    if sample.mask is not None:
        files.append((sample.mask, place / "masks" / f"{name}{sample.mask.suffix.lower()}"))
    for source, target in files:
        there = target.stat() if target.exists() else None
        wanted = source.stat()
        if there is None or (there.st_size, there.st_mtime_ns) != (wanted.st_size, wanted.st_mtime_ns):
            temporary = target.with_name(f".{target.name}.part")
            shutil.copy2(source, temporary)
            temporary.replace(target)
