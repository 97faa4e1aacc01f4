"""The split of the user's data for all rows, and the folds of cross-validations."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.core.prediction_config import UNKNOWN
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Key,
    Sample,
    iter_entries,
    make_sample,
    raise_faults,
    read_dataset,
    select_trainable,
)
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.sources import guess_source
from napari_melanoma.data.splits import assign_folds, hold_out, sample_by_name
from napari_melanoma.data.tabular_encoding import explain_ineligible
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.reproduction.papers import PaperFile, Role, SourceSplit
from napari_melanoma.training.data_selection import diagnosis_includes

TRAIN, TEST = "train", "test"
LEFT_OUT, DUPLICATE = "left out", "duplicate"
HELD_OUT_SHARE = 0.2  # cross-validated roles have a fifth as untouched test set
HELD_OUT_SPLITS = ("test", "val")  # the first one in a data set is the test set; the rest is used for training
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")


@dataclass(frozen=True)
class RoleData:
    """The images of a role: tables in the reproduction that refer to the user's files, and counts."""

    role: str
    folders: tuple[Path, ...]
    training: int
    test: int
    left_out: int = 0
    duplicates: int = 0

    @property
    def names(self) -> str:
        """Names of the data sets."""
        return ", ".join(folder.name for folder in self.folders)

    @property
    def test_samples(self) -> list[Sample]:
        """The test images, the same for every row."""
        return [sample for folder in self.folders for sample in read_dataset(folder) if sample.split == TEST]


def write_split(
    folders: Mapping[str, tuple[Path, ...]], roles: Mapping[str, Role], most: int | None, out: Path, run: RunContext
) -> None:
    """Split the data sets of every role, and write the split.

    The split ``test`` of a data set, or else ``val``, is the test set, and the rest is used for training; without
    either, a fifth of the patients is held out, stratified by diagnosis. A data set for which the role has its own
    split is divided as in the paper. No patient is in both sets, and of duplicate images only one is used, preferably
    in the test set.
    """
    for role, members in folders.items():
        parts = _split_role(members, roles[role])
        learn, evaluated = ([sample for part in parts for sample in part[side]] for side in (0, 1))
        duplicates = {id(pair.second) for pair in find_duplicates([*evaluated, *learn], run)}
        learn, evaluated = ([sample for sample in side if id(sample) not in duplicates] for side in (learn, evaluated))
        if not learn or not evaluated:
            raise InputError(
                f"{role}: {len(learn)} training images with masks and {len(evaluated)} test images were found in "
                f"{', '.join(folder.name for folder in members)}; both are needed."
            )
        kept = learn if most is None else sample_by_name(learn, most)
        sides = {id(sample): TRAIN for sample in kept} | {id(sample): TEST for sample in evaluated}
        sides |= dict.fromkeys(duplicates, DUPLICATE)
        everything = [sample for part in parts for side in part for sample in side]
        for folder in members:
            place = (out / folder.name).resolve()
            samples = [sample for sample in everything if sample.domain == folder.name]
            rows = [_row(sample, sides.get(id(sample), LEFT_OUT), roles[role], place) for sample in samples]
            write_table(place / TABLE, rows, COLUMNS)


def read_split(folders: Mapping[str, tuple[Path, ...]], out: Path) -> dict[str, RoleData]:
    """Read the split of ``write_split``."""
    found = {}
    for role, members in folders.items():
        tables = tuple(out / folder.name for folder in members)
        with allow_folders(members):  # the tables refer to images in these folders
            counts = Counter(sample.split for table in tables for sample in read_dataset(table))
        found[role] = RoleData(role, tables, counts[TRAIN], counts[TEST], counts[LEFT_OUT], counts[DUPLICATE])
    return found


def _split_role(members: Sequence[Path], role: Role) -> list[tuple[list[Sample], list[Sample]]]:
    """Split the data sets of a role as in the paper, or as others are if the paper has no test images in them."""
    usual = SourceSplit()
    found = {folder: select_trainable(read_dataset(folder)) for folder in members}
    plans = {folder: role.splits.get(guess_source(folder.name) or "", usual) for folder in members}
    parts = [_split(samples, plans[folder]) for folder, samples in found.items()]
    return parts if any(evaluated for _, evaluated in parts) else [_split(samples, usual) for samples in found.values()]


def _split(samples: Sequence[Sample], plan: SourceSplit) -> tuple[list[Sample], list[Sample]]:
    """Split a data set into training and test images."""
    splits = {sample.split for sample in samples}
    usual = next(((split,) for split in HELD_OUT_SPLITS if split in splits), ())
    sides = usual if plan.test is None else plan.test
    if not splits & {*plan.train, *sides}:
        return hold_out(samples, plan.held_out, SEED)
    evaluated = [sample for sample in samples if sample.split in sides]
    unseen = {sample.group for sample in evaluated}
    learn = [sample for sample in samples if sample.split not in sides and sample.group not in unseen]
    return [sample for sample in learn if not plan.train or sample.split in plan.train], evaluated


def _row(sample: Sample, split: str, role: Role, place: Path) -> dict[str, str]:
    """Return a row of the table that refers to the user's files."""
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
    """Return the path of a file relative to a folder; absolute on different drives."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


MELANOMA = "melanoma"  # the only target that follows from a diagnosis


@dataclass(frozen=True)
class AssignedImage:
    """An image with its harmonized row, its label ("" for none) and its fold, from 1.

    ``untouched`` images are in no fold; they are evaluated by the networks of all folds.
    """

    sample: Sample
    row: dict[str, str]
    label: str
    fold: int = 0
    duplicate: bool = False
    untouched: bool = False


def read_labeled_images(folder: Path, target: str) -> Iterator[AssignedImage]:
    """Read a data set with harmonized rows and labels."""
    entries = list(raise_faults(iter_entries(folder)))
    rows = harmonize_rows((entry.row for entry in entries), guess_source(folder.name) or "").rows
    for entry, row in zip(entries, rows, strict=True):
        sample = make_sample(DatasetEntry({**entry.row, **row}, entry.image, entry.mask), folder)
        if isinstance(sample, DataSetError):
            raise sample
        yield AssignedImage(sample, row, row_label(row, target))


def _with_labels(found: Sequence[AssignedImage], role: str, how: CrossValidationSetup) -> Sequence[AssignedImage]:
    """Replace the labels of images by those of the user's table, by image id, if there is one for the role.

    A control takes the table of the role whose images it uses. Images that the table does not name keep their labels;
    an empty cell means that the label is unknown.
    """
    file = how.labels.get(role) or how.labels.get(how.roles[role].control_of or "")
    if file is None:
        return found
    rows = harmonize_rows(read_table(Path(file)), guess_source(Path(file).stem) or "").rows
    labels = dict[str, str]()
    for row in rows:
        name, label = row.get("image_id", ""), row_label(row, how.target)
        if labels.setdefault(name, label) != label:
            raise InputError(f"{role}: {file} has different labels for the image '{name}'. Keep one row of each image.")
    named = [one.sample for one in found if one.sample.image_id in labels]
    if not named:
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise InputError(
            f"{role}: {file} labels none of {len(found)} images: expected a column image_id with their names, such as "
            f"'{found[0].sample.image_id}', and a column '{how.target}' (0 or 1); found {columns}."
        )
    if twice := [name for name, count in Counter(sample.image_id for sample in named).items() if count > 1]:
        raise InputError(
            f"{role}: {file} names '{twice[0]}', which is an image of several data sets of this role. Write the labels "
            "into the tables of these data sets instead."
        )
    return [replace(one, label=labels.get(one.sample.image_id, one.label)) for one in found]


def row_label(row: Mapping[str, str], target: str = MELANOMA) -> str:
    """Return the label of a row, ``"1"`` or ``"0"``, from its column; for ``melanoma`` also from the diagnosis.

    "" if unknown.
    """
    cell = row.get(target, "").strip()
    if cell in ("0", "1"):
        return cell
    diagnosis = row.get("diagnosis", "").strip().lower() if target == MELANOMA else ""
    return "" if diagnosis in ("", UNKNOWN) else str(int(diagnosis_includes(diagnosis, MELANOMA)))


def assign_to_folds(found: Sequence[AssignedImage], role: Role, count: int, run: RunContext) -> list[AssignedImage]:
    """Assign each labeled image to a fold, except for duplicates and untouched images."""
    test_groups = _test_patients([one.sample for one in found if one.label]) if role.untouched else frozenset[str]()
    labeled = sorted((one for one in found if one.label), key=lambda one: one.sample.group not in test_groups)
    duplicates = {id(pair.second) for pair in find_duplicates([one.sample for one in labeled], run)}
    taken = [one for one in labeled if id(one.sample) not in duplicates]
    labels = _permute_labels(taken) if role.control_of else [one.label for one in taken]
    label_of = {id(one.sample): label for one, label in zip(taken, labels, strict=True)}
    assigned = [one for one in taken if one.sample.group not in test_groups]
    groups = [one.sample.group for one in assigned]
    folds = assign_folds(groups, [label_of[id(one.sample)] for one in assigned], count, SEED) if assigned else []
    fold_of = {id(one.sample): fold + 1 for one, fold in zip(assigned, folds, strict=True)}
    return [
        replace(
            one,
            label=label_of.get(id(one.sample), one.label),
            fold=fold_of.get(id(one.sample), 0),
            duplicate=id(one.sample) in duplicates,
            untouched=id(one.sample) in label_of and one.sample.group in test_groups,
        )
        for one in found
    ]


def _test_patients(samples: Sequence[Sample]) -> frozenset[str]:
    """Return the patients of the split ``test``; without one, a fifth of all."""
    named = {sample.group for sample in samples if sample.split == TEST}
    return frozenset(named or {sample.group for sample in hold_out(samples, HELD_OUT_SHARE, SEED)[1]})


def _permute_labels(taken: Sequence[AssignedImage]) -> list[str]:
    """Permute the labels among patients, so that they are independent of the images."""
    of_group: dict[str, str] = defaultdict(str)
    for one in taken:
        of_group[one.sample.group] = max(of_group[one.sample.group], one.label)
    names = sorted(of_group)
    drawn = np.random.default_rng(SEED).permutation([of_group[name] for name in names])
    labels = dict(zip(names, map(str, drawn), strict=True))
    return [labels[one.sample.group] for one in taken]


PHANTOM = "cohort.json"  # in a phantom cohort
UNTOUCHED = "untouched"  # images outside of all folds, and the part of their predictions
NO_LABEL = "no answer"
UNLABELLED, CONTROL = "unlabelled", "control"
NEUTRAL_COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "fold", "modality")  # for any target


@dataclass(frozen=True)
class CrossValidatedRole:
    """The images of a role in a cross-validation, and counts of those that are excluded."""

    role: str
    place: Path
    names: tuple[str, ...]
    folds: int
    images: int
    positives: int
    groups: int
    duplicates: int = 0
    unlabeled: int = 0
    without_mask: int = 0
    untouched: int = 0
    untouched_positives: int = 0

    @property
    def lacks_masks(self) -> bool:
        """Whether most of its images have no mask."""
        return 2 * self.without_mask > self.images

    def folders(self, fold: int) -> tuple[Path, ...]:
        """Return the data sets of a fold, with splits ``train`` and ``test``."""
        return tuple(self.place / f"fold-{fold}" / name for name in self.names)

    def unlabelled(self, fold: int) -> tuple[Path, ...]:
        """Return the data sets of the training images of a fold, without labels."""
        return tuple(self.place / f"fold-{fold}" / UNLABELLED / name for name in self.names)


@dataclass(frozen=True)
class CrossValidationSetup:
    """Settings of a cross-validation: roles, folds, label column, and folder of the tables."""

    roles: Mapping[str, Role]
    folds: int
    place: Path
    target: str = MELANOMA
    positives: str = "melanomas"
    labels: Mapping[str, str] = field(default_factory=dict)  # role to a table of labels

    @classmethod
    def from_paper(cls, paper: PaperFile, place: Path, labels: Mapping[str, str] | None = None) -> CrossValidationSetup:
        """Create the settings of a paper."""
        return cls(paper.roles, paper.folds, place, paper.target, paper.positives, labels or {})

    def place_of(self, role: str) -> Path:
        """Return the folder of the tables of a role; controls use the same images as another role."""
        place = self.place.resolve()
        return place / CONTROL if self.roles[role].control_of else place


def write_folds(folders: Mapping[str, tuple[Path, ...]], how: CrossValidationSetup, run: RunContext) -> None:
    """Assign the images of each role to folds, by patient or lesion and stratified by class; write their tables.

    Tables are harmonized. Images without a label, duplicates and untouched images are in no fold.
    """
    for role, members in folders.items():
        found = [one for folder in members for one in read_labeled_images(folder, how.target)]
        assigned = assign_to_folds(_with_labels(found, role, how), how.roles[role], how.folds, run)
        _check(role, members, assigned, how)
        place = how.place_of(role)
        for folder in members:
            own = [one for one in assigned if one.sample.domain == folder.name]
            for fold in range(1, how.folds + 1):
                with atomic_folder(place / f"fold-{fold}" / folder.name) as written:
                    _write(own, fold, (how, role), place / f"fold-{fold}" / folder.name, written)
                    if (folder / PHANTOM).is_file():  # marks the patients as synthetic
                        shutil.copy(folder / PHANTOM, written / PHANTOM)
                hidden = place / f"fold-{fold}" / UNLABELLED / folder.name
                with atomic_folder(hidden) as written:
                    _write(own, fold, (how, role), hidden, written, hide=True)


def read_fold_tables(folders: Iterable[Path]) -> dict[Key, dict[str, str]]:
    """Read the tables of the data sets of a fold: data set and image to row."""
    return {(folder.name, row["image_id"]): row for folder in folders for row in read_table(folder / TABLE)}


def read_folds(folders: Mapping[str, tuple[Path, ...]], how: CrossValidationSetup) -> dict[str, CrossValidatedRole]:
    """Read the folds of ``write_folds``."""
    return {role: _role(role, members, how) for role, members in folders.items()}


def _role(role: str, members: Sequence[Path], how: CrossValidationSetup) -> CrossValidatedRole:
    """Count the images of a role in the tables of its first fold."""
    names, place = tuple(folder.name for folder in members), how.place_of(role)
    rows = [row for name in names for row in read_table(place / "fold-1" / name / TABLE)]
    splits = Counter(row["split"] for row in rows)
    assigned = [row for row in rows if row["fold"]]
    return CrossValidatedRole(
        role=role,
        place=place,
        names=names,
        folds=how.folds,
        images=len(assigned),
        positives=sum(row[how.target] == "1" for row in assigned),
        groups=len({row["patient_id"] for row in assigned}),
        duplicates=splits[DUPLICATE],
        unlabeled=splits[NO_LABEL],
        without_mask=sum(not row["mask_path"] for row in assigned),
        untouched=splits[UNTOUCHED],
        untouched_positives=sum(row[how.target] == "1" for row in rows if row["split"] == UNTOUCHED),
    )


def _check(role: str, members: Sequence[Path], assigned: Sequence[AssignedImage], how: CrossValidationSetup) -> None:
    """Reject a role if a class has too few images for all folds."""
    positives = sum(one.label == "1" for one in assigned if one.fold)
    negatives = sum(one.label == "0" for one in assigned if one.fold)
    if min(positives, negatives) >= how.folds:
        return
    alternative = " or 'diagnosis'" if how.target == MELANOMA else ""
    raise InputError(
        f"{role}: {positives} {how.positives} and {negatives} others have a label in "
        f"{', '.join(folder.name for folder in members)}; {how.folds} folds need {how.folds} of both. Name other data "
        f"sets, with a column '{how.target}' (0 or 1){alternative}, or a table of labels: --labels {role}=FILE."
    )


def _write(
    assigned: Sequence[AssignedImage],
    fold: int,
    of: tuple[CrossValidationSetup, str],
    place: Path,
    out: Path,
    *,
    hide: bool = False,
) -> None:
    """Write the table of a fold; with ``hide``, only training images, without columns that reveal the label."""
    how, role = of
    rows = [_fold_row(one, fold, how, how.roles[role], place) for one in assigned]
    if hide:
        rows = [row for row in rows if row["split"] == TRAIN]
    columns = dict.fromkeys([*NEUTRAL_COLUMNS, "diagnosis", how.target, *(name for row in rows for name in row)])
    kept = [name for name in columns if not hide or name in NEUTRAL_COLUMNS or not explain_ineligible(name, how.target)]
    write_table(out / TABLE, [{name: row.get(name, "") for name in kept} for row in rows], kept)


def _fold_row(one: AssignedImage, fold: int, how: CrossValidationSetup, role: Role, place: Path) -> dict[str, str]:
    """Return a row of the table that refers to the user's files."""
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
    if one.fold:
        return TEST if one.fold == fold else TRAIN
    if one.untouched:
        return UNTOUCHED
    return DUPLICATE if one.duplicate else NO_LABEL
