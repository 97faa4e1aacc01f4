"""The split of the user's data for rows with one split, and the folds for cross-validated rows.

Both are tables in the folder of the reproduction, which refer to the user's images and masks.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.paths import allow_folders, real_path
from napari_melanoma.core.prediction_config import UNKNOWN
from napari_melanoma.data.collections import guess_source
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Key,
    Sample,
    iter_entries,
    make_sample,
    order_by_name,
    raise_faults,
    read_dataset,
    select_trainable,
)
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.groups import Groups
from napari_melanoma.data.harmonize import harmonize_rows, list_counts
from napari_melanoma.data.splits import assign_folds, hold_out, sample_by_name
from napari_melanoma.data.table_schema import SPLIT_WORDS
from napari_melanoma.data.tabular_encoding import explain_ineligible
from napari_melanoma.extensions.papers.papers import PaperFile, Role, SourceSplit
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.training.data_selection import diagnosis_includes

TRAIN, TEST = "train", "test"
LEFT_OUT, DUPLICATE = "left out", "duplicate"  # further values of the column ``split``
HELD_OUT_SHARE = 0.2  # share of the patients in the untouched test set of a cross-validated role
HELD_OUT_SPLITS = ("test", "val")  # the first one that a data set has is the test set
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")


@dataclass(frozen=True)
class RoleData:
    """The images of a role with one split: the folders of their tables, and numbers of images."""

    role: str
    tables: tuple[Path, ...]
    training: int
    test: int
    left_out: int = 0
    duplicates: int = 0

    @property
    def names(self) -> str:
        """Names of the data sets."""
        return ", ".join(folder.name for folder in self.tables)

    def folders(self, fold: int = 0) -> tuple[Path, ...]:
        """Return the data sets, with splits ``train`` and ``test``; there is one split, number 0."""
        return self.tables


def write_split(
    folders: Mapping[str, tuple[Path, ...]],
    roles: Mapping[str, Role],
    most: int | None,
    out: Path,
    run: RunContext,
    *,
    search_duplicates: bool = True,
) -> None:
    """Split the data sets of every role, and write the tables.

    ``folders``: role to data sets. ``most``: maximum number of training images of a role; None: all.
    ``search_duplicates``: False reads no image, to only count them.

    The split ``test`` of a data set, or else ``val``, is the test set, and the rest is used for training; without
    either, a fifth of the patients is held out, stratified by diagnosis. A data set for which the role has its own
    split is divided as in the paper. No patient is in both sets, and of duplicate images only one is used, preferably
    in the test set.
    """
    for role, members in folders.items():
        parts = _split_role(members, roles[role])
        training, test = (order_by_name(sample for part in parts for sample in part[side]) for side in (0, 1))
        found = find_duplicates([*test, *training], run) if search_duplicates else []
        duplicates = {id(pair.second) for pair in found}
        training, test = ([sample for sample in side if id(sample) not in duplicates] for side in (training, test))
        if not training or not test:
            raise InputError(
                f"{role}: {len(training)} training images with masks and {len(test)} test images were found in "
                f"{', '.join(folder.name for folder in members)}; both are needed."
            )
        used = training if most is None else sample_by_name(training, most)
        split_of = {id(sample): TRAIN for sample in used} | {id(sample): TEST for sample in test}
        split_of |= dict.fromkeys(duplicates, DUPLICATE)
        all_samples = [sample for part in parts for side in part for sample in side]
        for folder in members:
            place = real_path(out / folder.name)
            samples = [sample for sample in all_samples if sample.domain == folder.name]
            rows = [_table_row(sample, split_of.get(id(sample), LEFT_OUT), roles[role], place) for sample in samples]
            write_table(place / TABLE, rows, COLUMNS)


def read_split(folders: Mapping[str, tuple[Path, ...]], out: Path) -> dict[str, RoleData]:
    """Read the split that ``write_split`` wrote; ``folders``: role to data sets."""
    roles = {}
    for role, members in folders.items():
        tables = tuple(out / folder.name for folder in members)
        with allow_folders(members):  # the tables refer to images in these folders
            counts = Counter(sample.split for table in tables for sample in read_dataset(table))
        roles[role] = RoleData(role, tables, counts[TRAIN], counts[TEST], counts[LEFT_OUT], counts[DUPLICATE])
    return roles


def _split_role(members: Sequence[Path], role: Role) -> list[tuple[list[Sample], list[Sample]]]:
    """Split each data set of a role into training and test images.

    It is split as in the paper; if that leaves no test images in any of them, all are split as other data sets are.
    """
    usual = SourceSplit()
    samples_by_folder = {folder: select_trainable(read_dataset(folder)) for folder in members}
    plans = {folder: role.splits.get(guess_source(folder.name) or "", usual) for folder in members}
    parts = [_split(samples, plans[folder]) for folder, samples in samples_by_folder.items()]
    if any(evaluated for _, evaluated in parts):
        return parts
    return [_split(samples, usual) for samples in samples_by_folder.values()]


def _split(samples: Sequence[Sample], plan: SourceSplit) -> tuple[list[Sample], list[Sample]]:
    """Split a data set into training and test images."""
    splits = {sample.split for sample in samples}
    _check_splits(samples, (*plan.train, *(plan.test or ())))
    default = next(((split,) for split in HELD_OUT_SPLITS if split in splits), ())
    test_splits = default if plan.test is None else plan.test
    if not splits & {*plan.train, *test_splits}:
        return hold_out(samples, plan.test_fraction, SEED)
    evaluated = [sample for sample in samples if sample.split in test_splits]
    test_groups = {sample.group for sample in evaluated}
    training = [sample for sample in samples if sample.split not in test_splits and sample.group not in test_groups]
    return [sample for sample in training if not plan.train or sample.split in plan.train], evaluated


def _check_splits(samples: Sequence[Sample], named: tuple[str, ...] = ()) -> None:
    """Raise an error for unknown splits, such as typing errors: their images would be trained on."""
    unknown = Counter(sample.split for sample in samples if sample.split not in ("", *SPLIT_WORDS, *named))
    if unknown:
        raise DataSetError(
            f"{samples[0].domain}: expected {', '.join(SPLIT_WORDS)} or nothing in the column split, found "
            f"{list_counts(unknown)}. Correct these cells, or empty them for a split by patient."
        )


def _table_row(sample: Sample, split: str, role: Role, place: Path) -> dict[str, str]:
    """Return the columns of an image that all tables have; ``place``: the folder of the table."""
    return {
        "image_id": sample.image_id,
        "path": relative_path(sample.image, place),
        "mask_path": relative_path(sample.mask, place) if sample.mask else "",
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": split,
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or "",
    }


def relative_path(path: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder; absolute on different drives."""
    try:
        return Path(os.path.relpath(real_path(path), folder)).as_posix()
    except ValueError:
        return real_path(path).as_posix()


# Folds.

MELANOMA = "melanoma"  # the only target that follows from a diagnosis


@dataclass(frozen=True)
class AssignedImage:
    """An image with its harmonized row, its label ("" for none) and its fold, from 1; 0 for no fold.

    ``untouched``: images outside of all folds, which are evaluated by the networks of all folds.
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
    joined = [
        DatasetEntry({**entry.row, **row}, entry.image, entry.mask) for entry, row in zip(entries, rows, strict=True)
    ]
    groups = Groups(entry.row for entry in joined)
    for entry, row in zip(joined, rows, strict=True):
        sample = make_sample(entry, folder, groups)
        if isinstance(sample, DataSetError):
            raise sample
        yield AssignedImage(sample, row, row_label(row, target))


def _with_labels(images: Sequence[AssignedImage], role: str, setup: CrossValidationSetup) -> Sequence[AssignedImage]:
    """Replace the labels of images by the labels in the user's table for the role, if there is one, by image id.

    A control uses the table of the role whose images it has. Images that are not in the table keep their labels; an
    empty cell means that the label is unknown.
    """
    file = setup.labels.get(role) or setup.labels.get(setup.roles[role].control_of or "")
    if file is None:
        return images
    rows = harmonize_rows(read_table(Path(file)), guess_source(Path(file).stem) or "").rows
    labels = dict[str, str]()
    for row in rows:
        name, label = row.get("image_id", ""), row_label(row, setup.target)
        if labels.setdefault(name, label) != label:
            raise InputError(f"{role}: {file} has different labels for the image '{name}'. Keep one row of each image.")
    labeled = [image.sample for image in images if image.sample.image_id in labels]
    if not labeled:
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise InputError(
            f"{role}: {file} labels none of {len(images)} images: expected a column image_id with their names, such as "
            f"'{images[0].sample.image_id}', and a column '{setup.target}' (0 or 1); found {columns}."
        )
    if twice := [name for name, count in Counter(sample.image_id for sample in labeled).items() if count > 1]:
        raise InputError(
            f"{role}: {file} names '{twice[0]}', which is an image of several data sets of this role. Write the labels "
            "into the tables of these data sets instead."
        )
    return [replace(image, label=labels.get(image.sample.image_id, image.label)) for image in images]


def row_label(row: Mapping[str, str], target: str = MELANOMA) -> str:
    """Return the label of a row, "1" or "0", from the column ``target``, for ``melanoma`` also from the diagnosis.

    Returns "" if the label is unknown.
    """
    cell = row.get(target, "").strip()
    if cell in ("0", "1"):
        return cell
    diagnosis = row.get("diagnosis", "").strip().lower() if target == MELANOMA else ""
    return "" if diagnosis in ("", UNKNOWN) else str(int(diagnosis_includes(diagnosis, MELANOMA)))


def assign_to_folds(
    images: Sequence[AssignedImage], role: Role, count: int, run: RunContext, *, search_duplicates: bool = True
) -> list[AssignedImage]:
    """Assign each labeled image to one of ``count`` folds, except for duplicates and untouched images."""
    test_groups = (
        _test_patients([image.sample for image in images if image.label]) if role.untouched else frozenset[str]()
    )
    labeled = sorted(
        (image for image in images if image.label),
        key=lambda image: (image.sample.group not in test_groups, image.sample.key),
    )
    found = find_duplicates([image.sample for image in labeled], run) if search_duplicates else []
    duplicates = {id(pair.second) for pair in found}
    distinct = [image for image in labeled if id(image.sample) not in duplicates]
    labels = _permute_labels(distinct) if role.control_of else [image.label for image in distinct]
    label_of = {id(image.sample): label for image, label in zip(distinct, labels, strict=True)}
    assigned = [image for image in distinct if image.sample.group not in test_groups]
    groups = [image.sample.group for image in assigned]
    folds = assign_folds(groups, [label_of[id(image.sample)] for image in assigned], count, SEED) if assigned else []
    fold_of = {id(image.sample): fold + 1 for image, fold in zip(assigned, folds, strict=True)}
    return [
        replace(
            image,
            label=label_of.get(id(image.sample), image.label),
            fold=fold_of.get(id(image.sample), 0),
            duplicate=id(image.sample) in duplicates,
            untouched=id(image.sample) in label_of and image.sample.group in test_groups,
        )
        for image in images
    ]


def _test_patients(samples: Sequence[Sample]) -> frozenset[str]:
    """Return the patients of the split ``test``, or a fifth of all patients if there is no such split."""
    _check_splits(samples)
    named = {sample.group for sample in samples if sample.split == TEST}
    return frozenset(named or {sample.group for sample in hold_out(samples, HELD_OUT_SHARE, SEED)[1]})


def _permute_labels(images: Sequence[AssignedImage]) -> list[str]:
    """Permute the labels among patients, so that they are independent of the images; returns one label per image.

    A patient is positive if any of the images is.
    """
    label_of_group: dict[str, str] = defaultdict(str)
    for image in images:
        label_of_group[image.sample.group] = max(label_of_group[image.sample.group], image.label)
    names = sorted(label_of_group)
    permuted = np.random.default_rng(SEED).permutation([label_of_group[name] for name in names])
    labels = dict(zip(names, map(str, permuted), strict=True))
    return [labels[image.sample.group] for image in images]


PHANTOM = "cohort.json"  # file that marks a data set as a phantom cohort
UNTOUCHED = "untouched"  # split of images outside of all folds, and part of their predictions
NO_LABEL = "no answer"  # split of images without a label
UNLABELLED, CONTROL = "unlabelled", "control"  # folders
# Columns that reveal no label, whatever the target is.
NEUTRAL_COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "fold", "modality")


@dataclass(frozen=True)
class CrossValidatedRole:
    """The images of a role in a cross-validation, and numbers of images.

    ``root``: folder of the tables. ``names``: of the data sets. ``images``, ``positives``, ``groups``,
    ``without_mask``: of the images in folds. ``duplicates``, ``unlabeled``, ``untouched``: images in no fold.
    """

    role: str
    root: Path
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
        return tuple(self.root / f"fold-{fold}" / name for name in self.names)

    def unlabelled(self, fold: int) -> tuple[Path, ...]:
        """Return the data sets of the training images of a fold, without labels."""
        return tuple(self.root / f"fold-{fold}" / UNLABELLED / name for name in self.names)


@dataclass(frozen=True)
class CrossValidationSetup:
    """Settings of a cross-validation: roles, number of folds, folder of the tables, and column of the labels.

    ``search_duplicates``: False reads no image, to only count them.
    """

    roles: Mapping[str, Role]
    folds: int
    root: Path
    target: str = MELANOMA
    positives: str = "melanomas"
    labels: Mapping[str, str] = field(default_factory=dict)  # role to a table of labels
    search_duplicates: bool = True

    @classmethod
    def from_paper(cls, paper: PaperFile, root: Path, labels: Mapping[str, str] | None = None) -> CrossValidationSetup:
        """Create the settings of a paper."""
        return cls(paper.roles, paper.folds, root, paper.target, paper.positives, labels or {})

    def root_of(self, role: str) -> Path:
        """Return the folder of the tables of a role; controls have one of their own, as data sets share names."""
        root = real_path(self.root)
        return root / CONTROL if self.roles[role].control_of else root


def write_folds(folders: Mapping[str, tuple[Path, ...]], setup: CrossValidationSetup, run: RunContext) -> None:
    """Assign the images of each role to folds, by patient or lesion and stratified by class; write their tables.

    The rows are harmonized. Images without a label, duplicates and untouched images are in no fold. The tables in
    ``UNLABELLED`` have the training images alone, without columns that reveal labels.
    """
    for role, members in folders.items():
        images = [image for folder in members for image in read_labeled_images(folder, setup.target)]
        labeled = _with_labels(images, role, setup)
        assigned = assign_to_folds(
            labeled, setup.roles[role], setup.folds, run, search_duplicates=setup.search_duplicates
        )
        _require_both_classes(role, members, assigned, setup)
        for folder, fold in product(members, range(1, setup.folds + 1)):
            own = [image for image in assigned if image.sample.domain == folder.name]
            root = setup.root_of(role) / f"fold-{fold}"
            for place, hide in ((root / folder.name, False), (root / UNLABELLED / folder.name, True)):
                rows = [_fold_row(image, fold, setup, setup.roles[role], place) for image in own]
                rows = [row for row in rows if not hide or row["split"] == TRAIN]
                known = dict.fromkeys(name for row in rows for name in row)
                columns = [
                    name
                    for name in dict.fromkeys([*NEUTRAL_COLUMNS, "diagnosis", setup.target, *known])
                    if not hide or name in NEUTRAL_COLUMNS or not explain_ineligible(name, setup.target)
                ]
                with atomic_folder(place) as temporary:
                    write_table(
                        temporary / TABLE, [{name: row.get(name, "") for name in columns} for row in rows], columns
                    )
                    if (folder / PHANTOM).is_file() and not hide:  # marks the patients as synthetic
                        shutil.copy(folder / PHANTOM, temporary / PHANTOM)


def read_fold_tables(folders: Iterable[Path]) -> dict[Key, dict[str, str]]:
    """Read the tables of the data sets of a fold: rows by data set and image id."""
    return {(folder.name, row["image_id"]): row for folder in folders for row in read_table(folder / TABLE)}


def read_folds(folders: Mapping[str, tuple[Path, ...]], setup: CrossValidationSetup) -> dict[str, CrossValidatedRole]:
    """Read the folds that ``write_folds`` wrote; ``folders``: role to data sets."""
    return {role: _read_role(role, members, setup) for role, members in folders.items()}


def _read_role(role: str, members: Sequence[Path], setup: CrossValidationSetup) -> CrossValidatedRole:
    """Count the images of a role in the tables of its first fold."""
    names, root = tuple(folder.name for folder in members), setup.root_of(role)
    rows = [row for name in names for row in read_table(root / "fold-1" / name / TABLE)]
    splits = Counter(row["split"] for row in rows)
    assigned = [row for row in rows if row["fold"]]
    return CrossValidatedRole(
        role=role,
        root=root,
        names=names,
        folds=setup.folds,
        images=len(assigned),
        positives=sum(row[setup.target] == "1" for row in assigned),
        groups=len({row["patient_id"] for row in assigned}),
        duplicates=splits[DUPLICATE],
        unlabeled=splits[NO_LABEL],
        without_mask=sum(not row["mask_path"] for row in assigned),
        untouched=splits[UNTOUCHED],
        untouched_positives=sum(row[setup.target] == "1" for row in rows if row["split"] == UNTOUCHED),
    )


def _require_both_classes(
    role: str, members: Sequence[Path], assigned: Sequence[AssignedImage], setup: CrossValidationSetup
) -> None:
    """Reject a role if a class has too few images for all folds."""
    positives = sum(image.label == "1" for image in assigned if image.fold)
    negatives = sum(image.label == "0" for image in assigned if image.fold)
    if min(positives, negatives) >= setup.folds:
        return
    alternative = " or 'diagnosis'" if setup.target == MELANOMA else ""
    raise InputError(
        f"{role}: {positives} {setup.positives} and {negatives} others have a label in "
        f"{', '.join(folder.name for folder in members)}; {setup.folds} folds need {setup.folds} of both. Name other "
        f"data sets, with a column '{setup.target}' (0 or 1){alternative}, or a table of labels: --labels {role}=FILE."
    )


def _fold_row(image: AssignedImage, fold: int, setup: CrossValidationSetup, role: Role, place: Path) -> dict[str, str]:
    """Return a row of the table of a fold."""
    own = _table_row(image.sample, _split_of(image, fold), role, place)
    return {
        **{name: text for name, text in image.row.items() if name not in ("lesion_id", "near_duplicate_of")},
        **own,
        "fold": str(image.fold or ""),
        "diagnosis": own["diagnosis"] or image.row.get("diagnosis", ""),
        setup.target: image.label,
    }


def _split_of(image: AssignedImage, fold: int) -> str:
    if image.fold:
        return TEST if image.fold == fold else TRAIN
    if image.untouched:
        return UNTOUCHED
    return DUPLICATE if image.duplicate else NO_LABEL
