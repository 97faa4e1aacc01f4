"""Read, check and create data sets on disk: folders with ``dataset.csv``, images and masks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

from napari_melanoma.core.csv_files import CsvWriter
from napari_melanoma.core.errors import DataSetError, InputError, RunError, ScaleMissing
from napari_melanoma.core.files import (
    atomic_file,
    compose_name,
    is_same_folder,
    move,
    remove_file,
    save_error,
    write_json,
)
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.locks import describe_lock_holder, hold_lock
from napari_melanoma.core.parsing import read_object_or_empty, shorten
from napari_melanoma.core.paths import (
    PathResolver,
    UnsafePath,
    allow_outside_files,
    describe_invalid_id,
    is_file,
    real_path,
)
from napari_melanoma.data.cell_values import strip_image_suffix
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.groups import Group, Groups, describe_patient_ids
from napari_melanoma.data.row_values import read_value
from napari_melanoma.data.table_schema import COLUMN_NAMES

Key = tuple[str, str]  # name of the data set, and image id
Item = TypeVar("Item")
CLASSES_FILE = "classes.json"  # names of the values of label images
TABLE_NAMES = ("dataset.csv", "metadata.csv")
COHORT_FILE = "cohort.json"  # in data sets of synthetic patients; describes the risk law that they follow
PHANTOM_SOURCE = "phantom"  # beginning of the source of synthetic images, also after a merge
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MODALITY_WORDS = ("dermoscopic", "macroscopic", "tbp_tile")
Review = Literal["unreviewed", "accepted", "corrected", "rejected"]
REVIEWS: tuple[Review, ...] = ("unreviewed", "accepted", "corrected", "rejected")
TRAINING_REVIEWS: tuple[Review, ...] = ("accepted", "corrected")
OUTSIDE_ADVICE = (
    "A data set names files in its own folder, by paths such as images/a.png: put the file there, or, if you trust the "
    "data set and want to use files elsewhere, allow it (command line: --allow-outside)."
)
# Columns that every written table has, even without values
SHARED_COLUMNS = (
    *("image_id", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality", "diagnosis", "diagnosis_by"),
    *("target", "melanoma", "age", "sex", "site", "sub_site", "fitzpatrick", "diameter_1_mm", "split"),
)


class OutsideFolderError(DataSetError):
    """A data set names a file outside its folder without the user's permission."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its reference mask.

    ``group`` identifies the images that must stay in one split (``data.groups``), ``joined`` are the names of its
    patients, lesions and images, if it has several, and ``patients`` those of its patients, likewise. ``split`` is ""
    if none is assigned; ``domain`` is the name of the data set's folder.
    ``review`` is the review state of the mask, normally one of ``REVIEWS``, or None if the row has none. ``synthetic``
    images are phantoms. ``pixel_size`` is that of the table, None if the row has none. ``mask_model`` is the model that
    drew the mask, before a correction; "" if it was drawn without one, None if that is unknown.
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
    pixel_size: PixelSize | None = None
    mask_model: str | None = None
    joined: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()

    @property
    def group_names(self) -> tuple[str, ...]:
        """All names under which the group may be known elsewhere."""
        return self.joined or (self.group,)

    @property
    def has_accepted_prediction(self) -> bool:
        """Whether the mask of a model, or of unknown origin, was accepted without correction."""
        return self.review == "accepted" and self.mask_model != ""

    @property
    def key(self) -> Key:
        """Identify the image across data sets, which may use the same image id."""
        return self.domain, self.image_id

    @property
    def full_name(self) -> str:
        """The key as text."""
        return f"{self.domain}/{self.image_id}"


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One row of a data set: its cells, and its image and mask, None if there is no such file."""

    row: dict[str, str]
    image: Path | None
    mask: Path | None

    @property
    def image_id(self) -> str:
        return self.row["image_id"]


def read_dataset(folder: Path) -> list[Sample]:
    """Read a data set.

    The table ``dataset.csv`` (or ``metadata.csv``) needs the column ``image_id``. The columns ``path`` and
    ``mask_path``, relative to the folder, are needed only for files other than ``images/<image_id>.*`` and
    ``masks/<image_id>.*``; ``patient_id``, ``lesion_id``, ``near_duplicate_of``, ``split``, ``modality``, ``diagnosis``
    and ``review`` are optional.

    Returns the samples in the order of the table; raises for the first faulty row.
    """
    return list(raise_faults(list(iter_samples(folder))))


def raise_faults(items: Iterable[Item | DataSetError]) -> Iterator[Item]:
    """Yield samples or entries; raises the first fault among them."""
    for item in items:
        if isinstance(item, DataSetError):
            raise item
        yield item


def read_rows(folders: Iterable[Path]) -> dict[Key, dict[str, str]]:
    """Read the table row of each image of several data sets; faulty rows are left out."""
    return {
        (folder.name, entry.image_id): entry.row
        for folder in folders
        for entry in iter_entries(folder)
        if isinstance(entry, DatasetEntry)
    }


def read_datasets(folders: Iterable[Path]) -> list[Sample]:
    """Read several data sets in their order; their folders need different names."""
    all_folders = list(folders)
    check_distinct_datasets(all_folders)
    return [sample for folder in all_folders for sample in read_dataset(folder)]


def order_by_name(samples: Iterable[Sample]) -> list[Sample]:
    """Return samples in an order that neither rows nor arguments change: of their data sets, then of their ids."""
    return sorted(samples, key=lambda sample: sample.key)


def check_dataset_names(folders: Iterable[Path]) -> None:
    """Raise if different folders have the same name: their patients could not be kept apart."""
    first_by_name: dict[str, Path] = {}
    for folder in folders:
        first = first_by_name.setdefault(folder.name, folder)
        if real_path(first) != real_path(folder):
            raise DataSetError(
                f"two data sets have the name '{folder.name}': {first} and {folder}. Their patients could not be kept "
                "apart; rename one of the folders."
            )


def check_distinct_datasets(folders: Sequence[Path]) -> None:
    """Raise if a data set is named twice, because its images would count twice, or if two have the same name."""
    check_dataset_names(folders)
    if any(is_same_folder(real_path(first), real_path(second)) for first, second in combinations(folders, 2)):
        raise DataSetError(
            f"each data set must be specified once, or its images would count twice; found "
            f"{', '.join(map(str, folders))}."
        )


def require_outside_datasets(out: Path, folders: Iterable[Path]) -> None:
    """Raise if an output folder is a data set or lies in one: results would be mixed with data."""
    output = Path(os.path.realpath(out))
    for folder in folders:
        dataset = Path(os.path.realpath(folder))
        inside = next((path for path in (output, *output.parents) if is_same_folder(path, dataset)), None)
        if inside is not None:
            relation = "is" if inside == output else "lies in"
            raise InputError(
                f"{out} {relation} the data set {folder}, which results must not change. Choose a folder outside of it."
            )


def list_surrounding_datasets(folder: Path) -> list[Path]:
    """Return the folders with a ``dataset.csv`` among a folder and its parents."""
    path = Path(os.path.realpath(folder))
    return [parent for parent in (path, *path.parents) if (parent / TABLE_NAMES[0]).is_file()]


def check_are_datasets(folders: Iterable[Path]) -> None:
    """Raise if a folder is not a data set; for use before slow work begins."""
    for folder in folders:
        find_table(folder)


def is_phantom_cohort(folder: Path) -> bool:
    """Whether a folder is a data set of synthetic patients; the analysis of real slides writes a file of that name."""
    return "law" in read_object_or_empty(folder / COHORT_FILE)


def iter_samples(folder: Path) -> Iterator[Sample | DataSetError]:
    """Read the images of a data set row by row; continues after a faulty row.

    Yields a sample for each row, or the fault of the row, in the order of the table.
    """
    synthetic = is_phantom_cohort(folder)
    groups = read_groups(folder)
    for entry in iter_entries(folder):
        sample = make_sample(entry, folder, groups) if isinstance(entry, DatasetEntry) else entry
        yield replace(sample, synthetic=True) if synthetic and isinstance(sample, Sample) else sample


def iter_entries(folder: Path) -> Iterator[DatasetEntry | DataSetError]:
    """Read a data set row by row, including rows without an image; continues after a faulty row.

    Yields each row with its files, or its fault (a repeated or invalid id, a file that is missing or lies outside the
    folder), in the order of the table.
    """
    table, paths = find_table(folder), PathResolver(folder)
    images, masks = _files_by_stem(folder / "images"), _files_by_stem(folder / "masks")
    list_files = cache(_files_by_composed_name)
    seen, named = set[str](), set[Path]()
    number = 0
    for number, row in enumerate(iter_table_rows(table), start=1):
        image_id = row["image_id"]
        if problem := describe_invalid_id(image_id):
            yield row_error(table, number, "image_id", image_id, problem, "Give the image another id.")
            continue
        if image_id in seen:
            yield DataSetError(f"{table} repeats image_id {image_id}: each row needs its own id.")
            continue
        seen.add(image_id)
        column = "path"
        try:
            image = _find_file(row, "path", images, paths, list_files)
            column = "mask_path"
            mask = _find_file(row, "mask_path", masks, paths, list_files)
        except UnsafePath as error:
            fault = row_error(table, number, column, row.get(column) or image_id, str(error), OUTSIDE_ADVICE)
            yield OutsideFolderError(str(fault))
            continue
        if image is not None and not row.get("path"):
            if image in named:  # with and without suffix
                yield DataSetError(f"{table} names {image.name} in several rows, also as {image_id}: keep one of them.")
                continue
            named.add(image)
        missing = [(kind, path) for kind, path in (("image", image), ("mask", mask)) if path and not is_file(path)]
        yield _missing_file_error(folder, *missing[0], image_id) if missing else DatasetEntry(row, image, mask)
    if not number:
        raise DataSetError(f"{table} needs at least one row, one for each image; found only a header.")
    paths.report_outside()


def describe_outside_files(folder: Path) -> str:
    """Describe how many files of a data set lie outside its folder, and the first of them; none is opened.

    "" if no file lies outside.
    """
    files: list[str] = []
    with allow_outside_files(lambda outside: files.append(str(outside))):
        for _ in iter_entries(folder):
            pass
    return "; ".join(files)


def row_error(table: Path, number: int, column: str, value: str, problem: str, advice: str) -> DataSetError:
    """Describe a faulty cell of a table; rows are counted from 1, without the header."""
    return DataSetError(f"{table}, row {number}, {column} {value[:200]!r} {problem}. {advice}")


def find_table(folder: Path) -> Path:
    """Find the table of a data set: the first of ``TABLE_NAMES`` that exists."""
    table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
    if table is None:
        found = "found none" if folder.is_dir() else "but there is no such folder"
        if folder.is_file():
            found = f"but it is a file. Select its folder, {folder.parent}"
        raise DataSetError(f"{folder} is not a data set: expected a table {' or '.join(TABLE_NAMES)} in it, {found}.")
    try:
        return PathResolver(folder).check(table)
    except UnsafePath as error:
        raise OutsideFolderError(
            f"{table} {error}. Copy the table itself into the folder, or allow files elsewhere (command line: "
            "--allow-outside)."
        ) from None


def read_groups(folder: Path) -> Groups:
    return Groups(iter_table_rows(find_table(folder)))


def make_sample(entry: DatasetEntry, folder: Path, groups: Groups) -> Sample | DataSetError:
    """Return the sample of a row, or an error if the row has no image; ``groups``: of all rows of the data set."""
    row, modality = entry.row, read_value(entry.row, "modality")
    if entry.image is None:
        return _missing_file_error(folder, "image", None, entry.image_id)
    sample = Sample(
        image_id=entry.image_id,
        image=entry.image,
        mask=entry.mask,
        group="",
        split=(row.get("split") or "").strip(),
        domain=folder.name,
        modality=modality if modality in MODALITY_WORDS else None,
        diagnosis=row.get("diagnosis") or row.get("diagnostic") or None,
        review=(row.get("review") or "").strip().lower() or None,
        synthetic=(row.get("source") or "").strip().lower().startswith(PHANTOM_SOURCE),
        pixel_size=read_pixel_size(row),
        mask_model=(row.get("model") or "").strip(),
    )
    return put_in_group(sample, groups.find_of_row(row))


def put_in_group(sample: Sample, group: Group) -> Sample:
    joined, patients = (
        tuple(f"{sample.domain}/{name}" for name in names) if len(names) > 1 else ()
        for names in (group.names, group.patients)
    )
    return replace(sample, group=f"{sample.domain}/{group.name}", joined=joined, patients=patients)


def describe_patients_of(samples: Iterable[Sample]) -> list[str]:
    """Ask about ids of patients that a spreadsheet may have changed, in sentences."""
    names = (tuple(name.removeprefix(f"{one.domain}/") for name in one.group_names) for one in samples)
    return describe_patient_ids(names)


def read_pixel_size(row: Mapping[str, str]) -> PixelSize | None:
    """Return the scale of an image in its row; None if it states none."""
    try:
        return PixelSize(float(read_value(row, "mpp_y") or "nan"), float(read_value(row, "mpp_x") or "nan"))
    except ScaleMissing:
        return None


def read_class_names(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the classes of the label images of a data set, with their values; empty if it does not name them."""
    tiles = read_object_or_empty(folder / "tiles.json").get("labels")
    if isinstance(tiles, list):  # names of the values 0, 1, 2 ...
        return {str(name): (value,) for value, name in enumerate(tiles) if value}
    path, classes = folder / CLASSES_FILE, dict[str, tuple[int, ...]]()
    for name, values in read_object_or_empty(path).items():
        if not (isinstance(values, list) and values and all(isinstance(one, int) and 0 < one < 256 for one in values)):
            raise DataSetError(
                f"{path}: expected a list of values from 1 to 255 for '{name}', found {shorten(str(values))}."
            )
        classes[name] = tuple(values)
    return classes


def check_lesion_masks(folders: Iterable[Path]) -> None:
    """Raise if the masks of a data set are label images of several classes: a class alone in its image may be hair."""
    for folder in folders:
        if len(classes := read_class_names(folder)) > 1:
            raise DataSetError(
                f"the masks of {folder} are label images with the classes {format_names(classes)}, but masks of one "
                "lesion are needed. Import the images again with the classes that are lesion (--class)."
            )


def write_class_names(folder: Path, classes: Mapping[str, Sequence[int]]) -> None:
    """Write the classes of the label images of a data set, with their values."""
    write_json(folder / CLASSES_FILE, {name: list(values) for name, values in classes.items()})


def select_not_rejected(samples: Iterable[Sample]) -> list[Sample]:
    """Select the samples that can be used without their mask: all except rejected ones; the order is kept."""
    return [sample for sample in samples if sample.review != "rejected"]


def select_trainable(samples: Iterable[Sample]) -> list[Sample]:
    """Select the samples to train on: with a mask, and a review in ``TRAINING_REVIEWS`` or none; the order is kept."""
    return [s for s in samples if s.mask is not None and (s.review is None or s.review in TRAINING_REVIEWS)]


def select_for_split(samples: Iterable[Sample], split: str | None = None) -> list[Sample]:
    """Select the samples to train on, of one split if given; raises if there are none."""
    candidates = list(samples)
    selected = [sample for sample in select_trainable(candidates) if split in (None, sample.split)]
    if not selected:
        splits = ", ".join(sorted({sample.split or "(none)" for sample in candidates})) or "(no rows)"
        skipped = sum(sample.mask is not None for sample in candidates) - len(select_trainable(candidates))
        reviews = f", {skipped} masks not reviewed or rejected" if skipped else ""
        raise DataSetError(
            f"no image with a mask in the split '{split or 'any'}': {len(candidates)} rows, splits {splits}{reviews}. "
            "Name another split, put the masks into masks/ under the names of the images, or review them."
        )
    return selected


def _find_file(
    row: Mapping[str, str],
    column: str,
    by_stem: Mapping[str, Path],
    paths: PathResolver,
    list_files: Callable[[Path], Mapping[str, Path]],
) -> Path | None:
    """Find the file that a row names in a column, or else the file named like the image; None if there is none.

    A named file is also found if its accented letters are composed differently (Unicode NFC and NFD), and one named
    like the image also if the name of the image has a suffix, as in other tables.
    """
    if text := row.get(column):
        path = paths.resolve(text)
        if text.isascii() or is_file(path):
            return path
        composed = list_files(path.parent).get(compose_name(path.name))
        return path if composed is None else paths.check(composed)
    name = row["image_id"]
    file = by_stem.get(compose_name(name)) or by_stem.get(compose_name(strip_image_suffix(name)))
    return None if file is None else paths.check(file)


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Map composed stems to the images of a folder; empty if there is no folder."""
    if not folder.is_dir():
        return {}
    return {compose_name(file.stem): file for file in sorted(folder.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES}


def _files_by_composed_name(folder: Path) -> dict[str, Path]:
    """Map composed names to the files of a folder; empty if it cannot be listed."""
    try:
        return {compose_name(file.name): file for file in folder.iterdir()}
    except OSError:
        return {}


def _missing_file_error(folder: Path, kind: str, path: Path | None, image_id: str) -> DataSetError:
    return DataSetError(
        f"{folder}: the {kind} of '{image_id}' is missing (looked for {path or 'images/' + image_id + '.*'})."
    )


@contextmanager
def assemble_folder(out: Path, *, discard_on: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Yield a hidden folder with ``images`` and ``masks`` to assemble a data set; it is renamed to ``out`` at the end.

    After a failure the folder remains, and a later call continues with its content; after an error of the types
    ``discard_on`` it is deleted, unless an earlier call created it.
    """
    if out.exists():
        raise DataSetError(f"{out} already exists. Name another folder for the data set, or remove this one.")
    gathering = out.with_name(f".{out.name}.gathering")
    lock = gathering.with_name(f"{gathering.name}.lock")
    is_new = not gathering.exists()
    try:
        for part in ("images", "masks"):
            (gathering / part).mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(lock))
            except RunError as error:
                raise DataSetError(
                    f"another command is gathering {out} ({describe_lock_holder(lock)}). Wait for it, or name "
                    "another data set."
                ) from error
            try:
                yield gathering
            except discard_on:
                if is_new:  # under the lock: afterwards another command may gather there
                    shutil.rmtree(gathering, ignore_errors=True)  # the current error matters more
                    with suppress(OSError):  # Windows removes it on release
                        lock.unlink(missing_ok=True)
                raise
        remove_file(lock)
        move(gathering, out)
    except OSError as error:
        raise save_error(out, error) from error


def write_dataset_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the table of a data set: the shared columns and others of the schema first, then the data set's own."""
    present = dict.fromkeys(column for row in rows for column in row)
    columns = [name for name in COLUMN_NAMES if name in SHARED_COLUMNS or name in present] + [
        name for name in present if name not in COLUMN_NAMES
    ]
    write_rows(path, columns, rows)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table atomically; text that is not valid Unicode is escaped."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        CsvWriter(file).write_dicts(columns, map(unpack_row, rows))


_SEPARATOR = "\x1f"  # the unit separator of ASCII; replaced by a space in cells


class PackedRow(Mapping[str, str]):
    """An immutable row (column to text) that needs little memory, because its cells are stored as one string.

    Reading a cell splits the string; use ``unpack_row`` to read more than one or two.
    """

    __slots__ = ("_defaults", "_names", "_text")

    def __init__(self, values: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> None:
        self._names = _intern_names(tuple(values))
        self._text = _SEPARATOR.join(values.values())
        self._defaults = defaults or {}
        if self._text.count(_SEPARATOR) >= max(len(self._names), 1):
            self._text = _SEPARATOR.join(text.replace(_SEPARATOR, " ") for text in values.values())

    def with_defaults(self, defaults: Mapping[str, str]) -> PackedRow:
        """Return the row with default values for the columns that it lacks."""
        row = PackedRow({}, {**defaults, **self._defaults} if self._defaults else defaults)
        row._names, row._text = self._names, self._text
        return row

    def to_dict(self) -> dict[str, str]:
        own = dict(zip(self._names, self._text.split(_SEPARATOR), strict=bool(self._names)))
        return {**self._defaults, **own} if self._defaults else own

    def __getitem__(self, name: str) -> str:
        """Return one cell."""
        if name in self._names:
            return self._text.split(_SEPARATOR)[self._names.index(name)]
        return self._defaults[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter({**self._defaults, **dict.fromkeys(self._names)} if self._defaults else self._names)

    def __len__(self) -> int:
        return len({*self._defaults, *self._names})


def unpack_row(row: Mapping[str, str]) -> dict[str, str]:
    return row.to_dict() if isinstance(row, PackedRow) else dict(row)


@lru_cache(maxsize=1 << 14)
def _intern_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return one shared tuple for all rows with the same columns."""
    return names
