"""The data set contract: a folder with ``dataset.csv``, images and masks; read, checked and created."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_melanoma.core.csv_files import CsvWriter
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.files import atomic_file, save_error
from napari_melanoma.core.locks import describe_lock_holder, hold_lock
from napari_melanoma.core.paths import PathResolver, UnsafePath, allow_outside_files, describe_invalid_id, is_file
from napari_melanoma.data.packed_rows import unpack_row
from napari_melanoma.data.table_file import iter_table_rows
from napari_melanoma.data.table_schema import COLUMN_NAMES
from napari_melanoma.io.results import read_object

TABLE_NAMES = ("dataset.csv", "metadata.csv")
COHORT_FILE = "cohort.json"  # of drawn patients: the law that they follow
PHANTOM_SOURCE = "phantom"  # begins the source of what was drawn, wherever its rows have gone since
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MODALITY_WORDS = ("dermoscopic", "macroscopic", "tbp_tile")
Review = Literal["unreviewed", "accepted", "corrected", "rejected"]
REVIEWS: tuple[Review, ...] = ("unreviewed", "accepted", "corrected", "rejected")
TRAINING_REVIEWS: tuple[Review, ...] = ("accepted", "corrected")
OUTSIDE_ADVICE = (
    "A data set names files in its own folder, by paths such as images/a.png: put the file there, or, if you trust the "
    "data set and want to use files elsewhere, allow it (--allow-outside)."
)


class OutsideFolderError(DataSetError):
    """A data set names a file outside its folder, which the user has not allowed."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its reference mask; ``group`` is what must stay on one side of a split.

    The group is the patient where one is named, else the lesion, else the image that it nearly duplicates. ``review``
    is what a person said of the mask: one of ``REVIEWS``, or None where the data set does not ask. ``drawn`` are
    phantoms: no camera has seen them.
    """

    image_id: str
    image: Path
    mask: Path | None
    group: str
    split: str
    domain: str
    modality: str | None = None
    diagnosis: str | None = None
    review: str | None = None
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One row of a data set: what it says, and its files; None for an image that the set does not hold."""

    row: dict[str, str]
    image: Path | None
    mask: Path | None

    @property
    def image_id(self) -> str:
        """Its name."""
        return self.row["image_id"]


def read_dataset(folder: Path) -> list[Sample]:
    """Read a data set.

    ``dataset.csv`` names ``image_id`` and, where they are not ``images/<image_id>.*`` and ``masks/<image_id>.png``,
    ``path`` and ``mask_path`` relative to the folder; ``patient_id``, ``lesion_id``, ``near_duplicate_of``, ``split``,
    ``modality``, ``diagnosis`` and ``review`` are used where they are there. A ``metadata.csv`` with these columns will
    do.

    In the order of the table.
    """
    samples = list(iter_samples(folder))
    for fault in samples:
        if isinstance(fault, DataSetError):
            raise fault
    return [sample for sample in samples if isinstance(sample, Sample)]


def read_datasets(folders: Iterable[Path]) -> list[Sample]:
    """Read several data sets; the name of the folder tells them, their patients and their figures apart.

    In their order.
    """
    found = list(folders)
    check_dataset_names(found)
    return [sample for folder in found for sample in read_dataset(folder)]


def check_dataset_names(folders: Iterable[Path]) -> None:
    """Refuse different folders of one name, whose patients nobody could tell apart."""
    known: dict[str, Path] = {}
    for folder in folders:
        first = known.setdefault(folder.name, folder)
        if first.resolve() != folder.resolve():
            raise DataSetError(
                f"two data sets have the name '{folder.name}': {first} and {folder}. Their patients could not be told "
                "apart; rename one of the folders."
            )


def check_are_datasets(folders: Iterable[Path]) -> None:
    """Refuse folders that are no data sets, before anything slow begins."""
    for folder in folders:
        find_table(folder)


def iter_samples(folder: Path) -> Iterator[Sample | DataSetError]:
    """Read a data set row by row, going on where a row is wrong.

    What a row says, or what is wrong with it, in the order of the table.
    """
    drawn = "law" in read_object(folder / COHORT_FILE)
    for entry in iter_entries(folder):
        found = make_sample(entry, folder) if isinstance(entry, DatasetEntry) else entry
        yield replace(found, synthetic=True) if drawn and isinstance(found, Sample) else found


def iter_entries(folder: Path) -> Iterator[DatasetEntry | DataSetError]:
    """Read a data set row by row, rows without an image too: those of a set whose images were not published.

    A row with its files, or what is wrong with it (a name that occurs twice or names a path, a file that it names and
    that is not there, or lies outside the folder), in the order of the table.
    """
    table, paths = find_table(folder), PathResolver(folder)
    images, masks = _files_by_stem(folder / "images"), _files_by_stem(folder / "masks")
    seen: set[str] = set()
    number = 0
    for number, row in enumerate(iter_table_rows(table), start=1):
        image_id = row["image_id"]
        if said := describe_invalid_id(image_id):
            yield row_error(table, number, "image_id", image_id, said, "Give the image another id.")
            continue
        if image_id in seen:
            yield DataSetError(f"{table} repeats image_id {image_id}: each row needs an id of its own.")
            continue
        seen.add(image_id)
        column = "path"
        try:
            image = _find_file(row, "path", images, paths)
            column = "mask_path"
            mask = _find_file(row, "mask_path", masks, paths)
        except UnsafePath as error:
            fault = row_error(table, number, column, row.get(column) or image_id, str(error), OUTSIDE_ADVICE)
            yield OutsideFolderError(str(fault))
            continue
        lost = [(what, path) for what, path in (("image", image), ("mask", mask)) if path and not is_file(path)]
        yield _missing_file_error(folder, *lost[0], image_id) if lost else DatasetEntry(row, image, mask)
    if not number:
        raise DataSetError(f"{table} needs at least one row, one for each image; found a header alone.")
    paths.report_outside()


def describe_outside_files(folder: Path) -> str:
    """Say how many files of a data set lie outside its folder, and name the first; none is opened."""
    found: list[str] = []
    with allow_outside_files(lambda outside: found.append(str(outside))):
        for _ in iter_entries(folder):
            pass
    return "; ".join(found)


def row_error(table: Path, number: int, column: str, value: str, problem: str, advice: str) -> DataSetError:
    """Say what is wrong with a cell of a table; rows are counted from 1, without the header."""
    return DataSetError(f"{table}, row {number}, {column} {value[:200]!r} {problem}. {advice}")


def find_table(folder: Path) -> Path:
    """Find the table of a data set.

    Returns the first of ``TABLES`` that is there.
    """
    table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
    if table is None:
        raise DataSetError(f"{folder} is no data set: expected a table {' or '.join(TABLE_NAMES)} in it, found none.")
    try:
        return PathResolver(folder).check(table)
    except UnsafePath as error:
        raise OutsideFolderError(
            f"{table} {error}. Copy the table itself into the folder, or use --allow-outside."
        ) from None


def make_sample(entry: DatasetEntry, folder: Path) -> Sample | DataSetError:
    """Turn a row into a sample, which needs an image.

    Returns the latter, to be raised or told, where the set does not hold its image.
    """
    row, modality = entry.row, entry.row.get("modality") or None
    if entry.image is None:
        return _missing_file_error(folder, "image", None, entry.image_id)
    return Sample(
        image_id=entry.image_id,
        image=entry.image,
        mask=entry.mask,
        group=f"{folder.name}/{get_group_id(row)}",
        split=row.get("split") or "",
        domain=folder.name,
        modality=modality if modality in MODALITY_WORDS else None,
        diagnosis=row.get("diagnosis") or row.get("diagnostic") or None,
        review=(row.get("review") or "").strip().lower() or None,
        synthetic=(row.get("source") or "").strip().lower().startswith(PHANTOM_SOURCE),
    )


def get_group_id(row: Mapping[str, str]) -> str:
    """Name what keeps the images of a table together.

    Returns the patient where one is named, else the lesion, else the image that it nearly duplicates, else the image.
    """
    keys = ("patient_id", "lesion_id", "near_duplicate_of")
    return next((row[key] for key in keys if row.get(key)), row["image_id"])


def select_trainable(samples: Iterable[Sample]) -> list[Sample]:
    """Keep the samples that can be learnt from: with a mask that no person has rejected or not looked at yet.

    In their order; those whose review is one of ``LEARNT_FROM``, or not asked.
    """
    return [s for s in samples if s.mask is not None and (s.review is None or s.review in TRAINING_REVIEWS)]


def select_for_split(samples: Iterable[Sample], split: str | None = None) -> list[Sample]:
    """Keep the samples that can be learnt from (``usable``) and, where asked for, belong to one split.

    In their order.
    """
    found = list(samples)
    kept = [s for s in select_trainable(found) if split in (None, s.split)]
    if not kept:
        splits = ", ".join(sorted({s.split or "(none)" for s in found})) or "(no rows)"
        passed_over = sum(s.mask is not None for s in found) - len(select_trainable(found))
        reviews = f", {passed_over} masks not reviewed or rejected" if passed_over else ""
        raise DataSetError(
            f"no image with a mask in the split '{split or 'any'}': {len(found)} rows, splits {splits}{reviews}. "
            "Name another split, put the masks into masks/ under the names of the images, or review them."
        )
    return kept


def _find_file(row: Mapping[str, str], column: str, by_stem: Mapping[str, Path], paths: PathResolver) -> Path | None:
    """The file that a row names, or that is called as its image is."""
    if text := row.get(column):
        return paths.resolve(text)
    found = by_stem.get(row["image_id"])
    return None if found is None else paths.check(found)


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Images of a folder by their stem; empty where there is no folder."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}


def _missing_file_error(folder: Path, what: str, path: Path | None, image_id: str) -> DataSetError:
    """What is wrong with a row whose file is missing."""
    return DataSetError(
        f"{folder}: the {what} of '{image_id}' is not there (looked for {path or 'images/' + image_id + '.*'})."
    )


SHARED_COLUMNS = (
    *("image_id", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality", "diagnosis", "diagnosis_by"),
    *("target", "melanoma", "age", "sex", "site", "sub_site", "fitzpatrick", "diameter_1_mm", "split"),
)


@contextmanager
def assemble_folder(out: Path, *, discard_on: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Give a folder to gather a data set in; on leaving it gets its name, unless something failed: then it stays.

    With ``images`` and ``masks``, and whatever an earlier try left there.
    """
    if out.exists():
        raise DataSetError(f"{out} is there already. Name another folder for the data set, or remove this one.")
    place = out.with_name(f".{out.name}.gathering")
    lock = place.with_name(f"{place.name}.lock")
    is_new = not place.exists()
    try:
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(hold_lock(lock))
            except RunError as error:
                raise DataSetError(
                    f"another command is gathering {out} ({describe_lock_holder(lock)}). Wait for it, or name "
                    "another data set."
                ) from error
            try:
                yield place
            except discard_on:
                if is_new:  # under the lock: afterwards another command may gather there
                    shutil.rmtree(place, ignore_errors=True)  # the error that is under way says more
                    with suppress(OSError):  # Windows removes it on release
                        lock.unlink(missing_ok=True)
                raise
        lock.unlink(missing_ok=True)
        place.rename(out)
    except OSError as error:
        raise save_error(out, error) from error


def write_dataset_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write ``dataset.csv``: the columns that every data set shares and others of the schema, then those of its own."""
    there = dict.fromkeys(column for row in rows for column in row)
    columns = [name for name in COLUMN_NAMES if name in SHARED_COLUMNS or name in there] + [
        name for name in there if name not in COLUMN_NAMES
    ]
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        CsvWriter(file).write_dicts(columns, map(unpack_row, rows))
