"""One split of the user's data for all rows, and folds of a cross-validation."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.core.prediction_config import UNKNOWN
from napari_melanoma.data.dataset import DatasetEntry, Sample, iter_entries, make_sample, read_dataset, select_trainable
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.features.encoding import explain_ineligible
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.sources import guess_source
from napari_melanoma.data.splits import assign_folds, hold_out, sample_by_name
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.reproduction.papers import PaperFile, Role
from napari_melanoma.training.data_selection import diagnosis_includes

LEARN, JUDGED = "train", "test"
LEFT_OUT, DUPLICATE = "left out", "duplicate"
HELD_OUT_SHARE = 0.2  # both papers keep a fifth for the test
HELD_OUT_SPLITS = ("test", "val")  # the first that a data set has judges; all else is learnt from
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")


@dataclass(frozen=True)
class RoleData:
    """The images of a role: data sets of the reproduction, a table each over the user's own files, and counts."""

    role: str
    folders: tuple[Path, ...]
    learn: int
    judged: int
    left_out: int = 0
    duplicates: int = 0

    @property
    def names(self) -> str:
        """Names of the data sets."""
        return ", ".join(folder.name for folder in self.folders)

    @property
    def test_samples(self) -> list[Sample]:
        """The images that judge, the same for every row, read from the tables."""
        return [sample for folder in self.folders for sample in read_dataset(folder) if sample.split == JUDGED]


def write_split(
    folders: Mapping[str, tuple[Path, ...]], roles: Mapping[str, Role], most: int | None, out: Path, run: RunContext
) -> None:
    """Split the data sets of every role once, and write the split down.

    Where a data set names a split ``test``, or else ``val``, that judges, and all else is learnt from; where it names
    none, a fifth of the patients judges, spread over diagnoses. Of one patient nothing is on both sides, and of images
    that show the same picture one is taken, before all one that judges.
    """
    for role, members in folders.items():
        parts = [_split(select_trainable(read_dataset(folder))) for folder in members]
        learn, judged = ([sample for part in parts for sample in part[side]] for side in (0, 1))
        again = {id(pair.second) for pair in find_duplicates([*judged, *learn], run)}
        learn, judged = ([sample for sample in side if id(sample) not in again] for side in (learn, judged))
        if not learn or not judged:
            raise InputError(
                f"{role}: {len(learn)} images with masks to learn from and {len(judged)} to judge were found in "
                f"{', '.join(folder.name for folder in members)}; both are needed."
            )
        kept = learn if most is None else sample_by_name(learn, most)
        sides = {id(sample): LEARN for sample in kept} | {id(sample): JUDGED for sample in judged}
        sides |= dict.fromkeys(again, DUPLICATE)
        everything = [sample for part in parts for side in part for sample in side]
        for folder in members:
            place = (out / folder.name).resolve()
            samples = [sample for sample in everything if sample.domain == folder.name]
            rows = [_row(sample, sides.get(id(sample), LEFT_OUT), roles[role], place) for sample in samples]
            write_table(place / TABLE, rows, COLUMNS)


def read_split(folders: Mapping[str, tuple[Path, ...]], out: Path) -> dict[str, RoleData]:
    """Read back what ``write_split`` wrote."""
    found = {}
    for role, members in folders.items():
        places = tuple(out / folder.name for folder in members)
        with allow_folders(members):  # where the tables, which are ours, name their images
            counts = Counter(sample.split for place in places for sample in read_dataset(place))
        found[role] = RoleData(role, places, counts[LEARN], counts[JUDGED], counts[LEFT_OUT], counts[DUPLICATE])
    return found


def _split(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Split a data set into what is learnt from and what judges."""
    splits = {sample.split for sample in samples}
    side = next((split for split in HELD_OUT_SPLITS if split in splits), None)
    if side is None:
        return hold_out(samples, HELD_OUT_SHARE, SEED)
    judged = [sample for sample in samples if sample.split == side]
    unseen = {sample.group for sample in judged}
    return [sample for sample in samples if sample.split != side and sample.group not in unseen], judged


def _row(sample: Sample, split: str, role: Role, place: Path) -> dict[str, str]:
    """Row of the table over the user's own files."""
    assert sample.mask is not None
    return {
        "image_id": sample.image_id,
        "path": relative_path(sample.image, place),
        "mask_path": relative_path(sample.mask, place),
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": split,
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or "",
    }


def relative_path(path: Path, folder: Path) -> str:
    """Name a file as seen from a folder; as it is where they are on different drives."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


MELANOMA = "melanoma"  # the one question that a diagnosis answers


@dataclass(frozen=True)
class AssignedImage:
    """An image with its row in our columns, its answer ("" for none) and its fold, from 1.

    ``untouched`` says that it is in no fold, as it is kept for the networks of all folds together.
    """

    sample: Sample
    row: dict[str, str]
    label: str
    fold: int = 0
    duplicate: bool = False
    untouched: bool = False


def read_labeled_images(folder: Path, target: str) -> Iterator[AssignedImage]:
    """Read a data set in our columns and words."""
    entries = []
    for entry in iter_entries(folder):
        if isinstance(entry, DataSetError):
            raise entry
        entries.append(entry)
    rows = harmonize_rows((entry.row for entry in entries), guess_source(folder.name) or "").rows
    for entry, row in zip(entries, rows, strict=True):
        sample = make_sample(DatasetEntry({**entry.row, **row}, entry.image, entry.mask), folder)
        if isinstance(sample, DataSetError):
            raise sample
        yield AssignedImage(sample, row, row_label(row, target))


def row_label(row: Mapping[str, str], target: str = MELANOMA) -> str:
    """Say what a row answers.

    Returns ``"1"`` or ``"0"`` as the column says; of ``melanoma`` or else as the diagnosis does; "" where neither does.
    """
    said = row.get(target, "").strip()
    if said in ("0", "1"):
        return said
    diagnosis = row.get("diagnosis", "").strip().lower() if target == MELANOMA else ""
    return "" if diagnosis in ("", UNKNOWN) else str(int(diagnosis_includes(diagnosis, MELANOMA)))


def assign_to_folds(found: Sequence[AssignedImage], role: Role, count: int, run: RunContext) -> list[AssignedImage]:
    """Give each image with an answer a fold; those that show the picture of another, and those kept apart, get none.

    In their order.
    """
    apart = _test_patients([one.sample for one in found if one.label]) if role.untouched else frozenset[str]()
    asked = sorted((one for one in found if one.label), key=lambda one: one.sample.group not in apart)
    again = {id(pair.second) for pair in find_duplicates([one.sample for one in asked], run)}
    taken = [one for one in asked if id(one.sample) not in again]
    answers = _permute_labels(taken) if role.control_of else [one.label for one in taken]
    answer_now = {id(one.sample): answer for one, answer in zip(taken, answers, strict=True)}
    dealt = [one for one in taken if one.sample.group not in apart]
    groups = [one.sample.group for one in dealt]
    places = assign_folds(groups, [answer_now[id(one.sample)] for one in dealt], count, SEED) if dealt else []
    fold_of = {id(one.sample): fold + 1 for one, fold in zip(dealt, places, strict=True)}
    return [
        replace(
            one,
            label=answer_now.get(id(one.sample), one.label),
            fold=fold_of.get(id(one.sample), 0),
            duplicate=id(one.sample) in again,
            untouched=id(one.sample) in answer_now and one.sample.group in apart,
        )
        for one in found
    ]


def _test_patients(samples: Sequence[Sample]) -> frozenset[str]:
    """Patients of whom an image is in the split ``test``; where the data name none, a fifth of all."""
    named = {sample.group for sample in samples if sample.split == JUDGED}
    return frozenset(named or {sample.group for sample in hold_out(samples, HELD_OUT_SHARE, SEED)[1]})


def _permute_labels(taken: Sequence[AssignedImage]) -> list[str]:
    """Deal the answers out anew among patients: nothing that is known of an image tells them any more."""
    of_group: dict[str, str] = defaultdict(str)
    for one in taken:
        of_group[one.sample.group] = max(of_group[one.sample.group], one.label)
    names = sorted(of_group)
    drawn = np.random.default_rng(SEED).permutation([of_group[name] for name in names])
    answers = dict(zip(names, map(str, drawn), strict=True))
    return [answers[one.sample.group] for one in taken]


PHANTOM = "cohort.json"  # in a phantom cohort
UNTOUCHED = "untouched"  # the split of images that no fold learns from or judges, and the part of their answers
NO_LABEL = "no answer"
UNLABELLED, CONTROL = "unlabelled", "control"
NEUTRAL_COLUMNS = (
    "image_id",
    "path",
    "mask_path",
    "patient_id",
    "split",
    "fold",
    "modality",
)  # whatever the question is


@dataclass(frozen=True)
class CrossValidatedRole:
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
    untouched: int = 0
    untouched_positives: int = 0

    def folders(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold.

        Returns their split ``test`` is judged; what is learnt from is ``train``.
        """
        return tuple(self.place / f"fold-{fold}" / name for name in self.names)

    def unlabelled(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold's images to learn from, in tables that hold no answers."""
        return tuple(self.place / f"fold-{fold}" / UNLABELLED / name for name in self.names)


@dataclass(frozen=True)
class CrossValidationSetup:
    """What is dealt out how: the roles, the folds, the column that holds the answer, and where tables go."""

    roles: Mapping[str, Role]
    folds: int
    place: Path
    target: str = MELANOMA
    positives: str = "melanomas"

    @classmethod
    def from_paper(cls, paper: PaperFile, place: Path) -> CrossValidationSetup:
        """Take it from what a paper says."""
        return cls(paper.roles, paper.folds, place, paper.target, paper.positives)

    def place_of(self, role: str) -> Path:
        """Say where the tables of a role go; those of a control are over the same images as another role's."""
        place = self.place.resolve()
        return place / CONTROL if self.roles[role].control_of else place


def write_folds(folders: Mapping[str, tuple[Path, ...]], how: CrossValidationSetup, run: RunContext) -> None:
    """Deal the images of each role out to folds, by patient or lesion, each class evenly; write a table for each fold.

    Tables are in our columns and words. Images without an answer and those that show the picture of another are in no
    fold, nor are those that a role keeps apart for the networks of all folds.
    """
    for role, members in folders.items():
        found = [one for folder in members for one in read_labeled_images(folder, how.target)]
        dealt = assign_to_folds(found, how.roles[role], how.folds, run)
        _check(role, members, dealt, how)
        place = how.place_of(role)
        for folder in members:
            own = [one for one in dealt if one.sample.domain == folder.name]
            for fold in range(1, how.folds + 1):
                with atomic_folder(place / f"fold-{fold}" / folder.name) as written:
                    _write(own, fold, (how, role), place / f"fold-{fold}" / folder.name, written)
                    if (folder / PHANTOM).is_file():  # that the patients were drawn goes with them
                        shutil.copy(folder / PHANTOM, written / PHANTOM)
                hidden = place / f"fold-{fold}" / UNLABELLED / folder.name
                with atomic_folder(hidden) as written:
                    _write(own, fold, (how, role), hidden, written, hide=True)


def read_folds(folders: Mapping[str, tuple[Path, ...]], how: CrossValidationSetup) -> dict[str, CrossValidatedRole]:
    """Read back what ``write_crossed`` wrote."""
    return {role: _role(role, members, how) for role, members in folders.items()}


def _role(role: str, members: Sequence[Path], how: CrossValidationSetup) -> CrossValidatedRole:
    """Count the images of a role in the tables of its first fold."""
    names, place = tuple(folder.name for folder in members), how.place_of(role)
    rows = [row for name in names for row in read_table(place / "fold-1" / name / TABLE)]
    splits = Counter(row["split"] for row in rows)
    dealt = [row for row in rows if row["fold"]]
    return CrossValidatedRole(
        role=role,
        place=place,
        names=names,
        folds=how.folds,
        images=len(dealt),
        positives=sum(row[how.target] == "1" for row in dealt),
        groups=len({row["patient_id"] for row in dealt}),
        duplicates=splits[DUPLICATE],
        unanswered=splits[NO_LABEL],
        without_mask=sum(not row["mask_path"] for row in dealt),
        untouched=splits[UNTOUCHED],
        untouched_positives=sum(row[how.target] == "1" for row in rows if row["split"] == UNTOUCHED),
    )


def _check(role: str, members: Sequence[Path], dealt: Sequence[AssignedImage], how: CrossValidationSetup) -> None:
    """Refuse a role of which not every fold can have both answers."""
    positives = sum(one.label == "1" for one in dealt if one.fold)
    negatives = sum(one.label == "0" for one in dealt if one.fold)
    if min(positives, negatives) >= how.folds:
        return
    or_else = " or 'diagnosis'" if how.target == MELANOMA else ""
    raise InputError(
        f"{role}: {positives} {how.positives} and {negatives} others have an answer in "
        f"{', '.join(folder.name for folder in members)}; {how.folds} folds need {how.folds} of both. Name other data "
        f"sets, with a column '{how.target}' (0 or 1){or_else}."
    )


def _write(
    dealt: Sequence[AssignedImage],
    fold: int,
    of: tuple[CrossValidationSetup, str],
    place: Path,
    out: Path,
    *,
    hide: bool = False,
) -> None:
    """Write the table of a fold; with ``hide``, of what is learnt from alone, and without what gives answers away."""
    how, role = of
    rows = [_fold_row(one, fold, how, how.roles[role], place) for one in dealt]
    if hide:
        rows = [row for row in rows if row["split"] == LEARN]
    columns = dict.fromkeys([*NEUTRAL_COLUMNS, "diagnosis", how.target, *(name for row in rows for name in row)])
    kept = [name for name in columns if not hide or name in NEUTRAL_COLUMNS or not explain_ineligible(name, how.target)]
    write_table(out / TABLE, [{name: row.get(name, "") for name in kept} for row in rows], kept)


def _fold_row(one: AssignedImage, fold: int, how: CrossValidationSetup, role: Role, place: Path) -> dict[str, str]:
    """Row of the table over the user's own files."""
    sample = one.sample
    return {
        **{name: text for name, text in one.row.items() if name not in ("lesion_id", "near_duplicate_of")},
        "image_id": sample.image_id,
        "path": relative_path(sample.image, place),
        "mask_path": relative_path(sample.mask, place) if sample.mask else "",
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": _split_of(one, fold),
        "fold": str(one.fold or ""),
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or one.row.get("diagnosis", ""),
        how.target: one.label,
    }


def _split_of(one: AssignedImage, fold: int) -> str:
    """What an image is to a fold."""
    if one.fold:
        return JUDGED if one.fold == fold else LEARN
    if one.untouched:
        return UNTOUCHED
    return DUPLICATE if one.duplicate else NO_LABEL
