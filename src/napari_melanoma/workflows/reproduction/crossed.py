"""The folds of a cross-validation, written down as tables over the user's own files, one data set for each fold.

Rows of classification share them: what a fold judges, no network of that fold has seen, and no patient is on both
sides.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.core.tabular import UNKNOWN
from napari_melanoma.data.dataset import Entry, Sample, each_entry, sample_of
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.features.leaks import why_not
from napari_melanoma.data.harmonise import harmonise
from napari_melanoma.data.sources import source_of
from napari_melanoma.data.splits import folds
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.training.class_rows import is_of
from napari_melanoma.workflows.reproduction.papers import Role
from napari_melanoma.workflows.reproduction.split import DUPLICATE, JUDGED, LEARN, SEED, TABLE, relative

TARGET = "melanoma"  # the question of both papers
UNANSWERED = "no answer"
UNLABELLED = "unlabelled"
UNTOLD = ("image_id", "path", "mask_path", "patient_id", "split", "fold", "modality")  # whatever the question is
FIRST = (*UNTOLD, "diagnosis", TARGET)


@dataclass(frozen=True)
class CrossedRole:
    """The images of a role that a cross-validation deals out, and counts of those that it does not."""

    role: str
    place: Path
    names: tuple[str, ...]
    folds: int
    images: int
    positives: int
    groups: int
    duplicates: int = 0
    unanswered: int = 0
    without_mask: int = 0

    def folders(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold.

        Parameters
        ----------
        fold : int
            From 1.

        Returns
        -------
        tuple of pathlib.Path
            Their split ``test`` is judged; what is learnt from is ``train``.
        """
        return tuple(self.place / f"fold-{fold}" / name for name in self.names)

    def unlabelled(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold's images to learn from, in tables that hold no answers.

        Parameters
        ----------
        fold : int
            From 1.

        Returns
        -------
        tuple of pathlib.Path
            Without the images that are judged.
        """
        return tuple(self.place / f"fold-{fold}" / UNLABELLED / name for name in self.names)


@dataclass(frozen=True)
class _Dealt:
    """An image with its row in our columns, its answer ("" for none) and its fold, from 1."""

    sample: Sample
    row: dict[str, str]
    answer: str
    fold: int = 0
    duplicate: bool = False


def write_crossed(
    folders: Mapping[str, tuple[Path, ...]], roles: Mapping[str, Role], count: int, place: Path, run: RunContext
) -> None:
    """Deal the images of each role out to folds, by patient or lesion, each class evenly; write a table for each fold.

    Tables are in our columns and words. Images without an answer and those that show the picture of another are in no
    fold.

    Parameters
    ----------
    folders : mapping
        Role to data sets.
    roles : mapping
        What each role is.
    count : int
        Folds.
    place : pathlib.Path
        Gets ``fold-1/`` ..., each with a data set for each of the user's.
    run : RunContext
        Told of the progress, asked whether to go on.

    Raises
    ------
    DataSetError
        Where a data set is faulty, or has fewer patients than folds.
    InputError
        Where a role has no answers, or only one.
    SaveError
        Where a table cannot be written.
    Cancelled
        Where the user stopped it.
    """
    place = place.resolve()
    for role, members in folders.items():
        dealt = _deal([one for folder in members for one in _read(folder)], count, run)
        positives = sum(one.answer == "1" for one in dealt if one.fold)
        negatives = sum(one.answer == "0" for one in dealt if one.fold)
        if min(positives, negatives) < count:
            raise InputError(
                f"{role}: {positives} melanomas and {negatives} others have an answer in {_names(members)}; {count} "
                f"folds need {count} of both. Name other data sets, with a column '{TARGET}' (0 or 1) or 'diagnosis'."
            )
        for folder in members:
            own = [one for one in dealt if one.sample.domain == folder.name]
            for fold in range(1, count + 1):
                with atomic_folder(place / f"fold-{fold}" / folder.name) as written:
                    _write(own, fold, roles[role], place / f"fold-{fold}" / folder.name, written)
                hidden = place / f"fold-{fold}" / UNLABELLED / folder.name
                with atomic_folder(hidden) as written:
                    _write(own, fold, roles[role], hidden, written, hide=True)


def read_crossed(folders: Mapping[str, tuple[Path, ...]], count: int, place: Path) -> dict[str, CrossedRole]:
    """Read back what ``write_crossed`` wrote.

    Parameters
    ----------
    folders : mapping
        Role to data sets.
    count : int
        Folds.
    place : pathlib.Path
        As it was told.

    Returns
    -------
    dict
        Role to its images.

    Raises
    ------
    InputError
        Where a table cannot be read.
    """
    return {role: _role(role, members, count, place) for role, members in folders.items()}


def discard(place: Path) -> None:
    """Remove the tables of a cross-validation, before others are written.

    Parameters
    ----------
    place : pathlib.Path
        As ``write_crossed`` was told; it need not be there.
    """
    shutil.rmtree(place, ignore_errors=True)


def _role(role: str, members: Sequence[Path], count: int, place: Path) -> CrossedRole:
    """Count the images of a role in the tables of its first fold."""
    names = tuple(folder.name for folder in members)
    rows = [row for name in names for row in read_table(place / "fold-1" / name / TABLE)]
    splits = Counter(row["split"] for row in rows)
    dealt = [row for row in rows if row["fold"]]
    return CrossedRole(
        role=role,
        place=place,
        names=names,
        folds=count,
        images=len(dealt),
        positives=sum(row[TARGET] == "1" for row in dealt),
        groups=len({row["patient_id"] for row in dealt}),
        duplicates=splits[DUPLICATE],
        unanswered=splits[UNANSWERED],
        without_mask=sum(not row["mask_path"] for row in dealt),
    )


def _read(folder: Path) -> Iterator[_Dealt]:
    """Read a data set in our columns and words."""
    entries = []
    for entry in each_entry(folder):
        if isinstance(entry, DataSetError):
            raise entry
        entries.append(entry)
    rows = harmonise((entry.row for entry in entries), source_of(folder.name) or "").rows
    for entry, row in zip(entries, rows, strict=True):
        sample = sample_of(Entry({**entry.row, **row}, entry.image, entry.mask), folder)
        if isinstance(sample, DataSetError):
            raise sample
        yield _Dealt(sample, row, answer_of(row))


def answer_of(row: Mapping[str, str]) -> str:
    """Say whether a row is a melanoma.

    Parameters
    ----------
    row : mapping
        In our columns and words.

    Returns
    -------
    str
        ``"1"`` or ``"0"`` as the column ``melanoma`` says, or else the diagnosis; "" where neither does.
    """
    said = row.get(TARGET, "").strip()
    if said in ("0", "1"):
        return said
    diagnosis = row.get("diagnosis", "").strip().lower()
    return "" if diagnosis in ("", UNKNOWN) else str(int(is_of(diagnosis, TARGET)))


def _deal(found: Sequence[_Dealt], count: int, run: RunContext) -> list[_Dealt]:
    """Give each image with an answer a fold, those that show the picture of another none."""
    answered = [one.sample for one in found if one.answer]
    again = {id(pair.second) for pair in find_duplicates(answered, run)}
    taken = [one for one in found if one.answer and id(one.sample) not in again]
    dealt = folds([one.sample.group for one in taken], [one.answer for one in taken], count, SEED) if taken else []
    fold_of = {id(one.sample): fold + 1 for one, fold in zip(taken, dealt, strict=True)}
    return [
        _Dealt(one.sample, one.row, one.answer, fold_of.get(id(one.sample), 0), id(one.sample) in again)
        for one in found
    ]


def _write(dealt: Sequence[_Dealt], fold: int, role: Role, place: Path, out: Path, *, hide: bool = False) -> None:
    """Write the table of a fold; with ``hide``, of what is learnt from alone, and without what gives answers away."""
    rows = [_row(one, fold, role, place) for one in dealt]
    if hide:
        rows = [row for row in rows if row["split"] == LEARN]
    columns = dict.fromkeys([*FIRST, *(name for row in rows for name in row)])
    kept = [name for name in columns if not hide or name in UNTOLD or not why_not(name, TARGET)]
    write_table(out / TABLE, [{name: row.get(name, "") for name in kept} for row in rows], kept)


def _row(one: _Dealt, fold: int, role: Role, place: Path) -> dict[str, str]:
    """Row of the table over the user's own files."""
    sample = one.sample
    apart = DUPLICATE if one.duplicate else UNANSWERED
    return {
        **{name: text for name, text in one.row.items() if name not in ("lesion_id", "near_duplicate_of")},
        "image_id": sample.image_id,
        "path": relative(sample.image, place),
        "mask_path": relative(sample.mask, place) if sample.mask else "",
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": (JUDGED if one.fold == fold else LEARN) if one.fold else apart,
        "fold": str(one.fold or ""),
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or one.row.get("diagnosis", ""),
        TARGET: one.answer,
    }


def _names(members: Sequence[Path]) -> str:
    """Names of data sets."""
    return ", ".join(folder.name for folder in members)
