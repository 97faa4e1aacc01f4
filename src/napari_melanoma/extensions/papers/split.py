"""The tables of a reproduction: the user's images with one split for all rows, or with folds for cross-validated rows.

A table refers to the user's images and masks. The folds of all tables of a folder are in its ``folds.csv``, as those of
any cross-validation, so that a row is trained and tested by the number of its fold.
"""

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
from napari_melanoma.core.paths import real_path
from napari_melanoma.data.collections import guess_source
from napari_melanoma.data.dataset import (
    COHORT_FILE,
    DatasetEntry,
    Key,
    Sample,
    is_phantom_cohort,
    iter_entries,
    make_sample,
    order_by_name,
    raise_faults,
    select_trainable,
)
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.groups import Groups
from napari_melanoma.data.harmonize import harmonize_rows, list_counts
from napari_melanoma.data.splits import FOLD, assign_folds, hold_out, sample_by_name
from napari_melanoma.data.table_schema import SPLIT_WORDS, TEST, TRAIN, VAL
from napari_melanoma.extensions.papers.papers import Role, SourceSplit
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.training.data_selection import diagnosis_includes
from napari_melanoma.training.run_data import FOLD_COLUMNS, FOLDS, read_folds, write_folds

# Further values of the column ``split``; images in folds have the split ``train``.
LEFT_OUT, DUPLICATE, NO_LABEL, UNTOUCHED = "left out", "duplicate", "no answer", "untouched"
CONTROL = "control"  # folder of the tables of controls
HELD_OUT_SHARE = 0.2  # share of the patients in the untouched test set of a cross-validated role
HELD_OUT_SPLITS = (TEST, VAL)  # the first one that a data set has is the test set
MELANOMA = "melanoma"  # the only target that follows from a diagnosis
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")
PATHS = ("path", "mask_path")


@dataclass(frozen=True)
class RoleImages:
    """The images of a role: the folders of their tables, and numbers of images.

    ``splits``: number of images of each split. ``positives``, ``groups``, ``without_mask``: of the images with the
    split ``train``, which are those in folds if there are any.
    """

    role: str
    tables: tuple[Path, ...]
    splits: Counter[str]
    positives: int = 0
    groups: int = 0
    without_mask: int = 0
    untouched_positives: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(folder.name for folder in self.tables)

    @property
    def images(self) -> int:
        """Number of images for training, in folds if there are any."""
        return self.splits[TRAIN]

    @property
    def lacks_masks(self) -> bool:
        """Whether most of its images have no mask."""
        return 2 * self.without_mask > self.images

    @property
    def folds(self) -> Path:
        """The table of the folds."""
        return self.tables[0].parent / FOLDS


@dataclass(frozen=True)
class SplitSetup:
    """Settings of the tables of a reproduction in the folder ``out``: roles, folds, and column of the labels.

    ``labels``: role to a table of labels. ``most``: maximum number of training images of a role with one split; None:
    all. ``search_duplicates``: False reads no image, to only count them.
    """

    roles: Mapping[str, Role]
    out: Path
    folds: int = 5
    target: str = MELANOMA
    positives: str = "melanomas"
    labels: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    search_duplicates: bool = True

    def root(self, role: str, *, cross_validated: bool) -> Path:
        """Return the folder of the tables of a role; controls have one of their own, as data sets share names."""
        root = real_path(self.out) / ("folds" if cross_validated else "data")
        return root / CONTROL if cross_validated and self.roles[role].control_of else root

    def find_copies(self, samples: Sequence[Sample], run: RunContext) -> set[int]:
        """Return the identities of samples that show the same picture as an earlier one."""
        return {id(pair.second) for pair in find_duplicates(samples, run)} if self.search_duplicates else set()


@dataclass(frozen=True)
class AssignedImage:
    """An image with its harmonized row, its label ("" for none), its split and its fold, from 1; 0 for no fold."""

    sample: Sample
    row: dict[str, str]
    label: str
    split: str = NO_LABEL
    fold: int = 0


Images = Mapping[str, Sequence[AssignedImage]]
"""Images of a role, by data set."""


def write_tables(
    folders: Mapping[str, tuple[Path, ...]], setup: SplitSetup, run: RunContext, *, cross_validated: bool
) -> dict[str, str]:
    """Write the tables of roles, and their folds; return the roles whose images cannot be used, with reasons.

    ``folders``: role to data sets. Rows are harmonized.
    """
    folds, faults = defaultdict[Path, list[tuple[Sample, str, int]]](list), dict[str, str]()
    for role, members in folders.items():
        try:
            images = {folder.name: list(read_labeled_images(folder, setup.target)) for folder in members}
            assigned = (assign_to_folds if cross_validated else assign_to_sides)(images, role, setup, run)
        except InputError as error:
            faults[role] = str(error)
            continue
        root = setup.root(role, cross_validated=cross_validated)
        for folder in members:
            own = [image for image in assigned if image.sample.domain == folder.name]
            rows = [_table_row(image, setup.roles[role], setup.target) for image in own]
            _write_table(rows, root / folder.name, setup.target)
            if is_phantom_cohort(folder):  # marks the patients as synthetic
                shutil.copy(folder / COHORT_FILE, root / folder.name)
        folds[root] += [(image.sample, image.sample.group, image.fold) for image in assigned if image.fold]
    for root, plan in folds.items() if cross_validated else ():
        write_folds(root / FOLDS, plan)
    return faults


def _write_table(rows: Sequence[dict[str, str]], place: Path, target: str) -> None:
    """Write the table of a data set; ``rows``: with absolute paths."""
    columns = list(dict.fromkeys([*COLUMNS, target, *(name for row in rows for name in row)]))
    paths = ({key: relative_path(Path(row[key]), place) for key in PATHS if row[key]} for row in rows)
    with atomic_folder(place) as temporary:
        write_table(temporary / TABLE, [row | changed for row, changed in zip(rows, paths, strict=True)], columns)


def _table_row(image: AssignedImage, role: Role, target: str) -> dict[str, str]:
    """Return the row of an image, with absolute paths."""
    sample = image.sample
    return {
        **{name: text for name, text in image.row.items() if name not in ("lesion_id", "near_duplicate_of", FOLD)},
        "image_id": sample.image_id,
        "path": str(sample.image),
        "mask_path": str(sample.mask or ""),
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": image.split,
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or image.row.get("diagnosis", ""),
        target: image.label,
    }


def relative_path(path: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder; absolute on different drives."""
    try:
        return Path(os.path.relpath(real_path(path), folder)).as_posix()
    except ValueError:
        return real_path(path).as_posix()


def read_images(
    folders: Mapping[str, tuple[Path, ...]], setup: SplitSetup, *, cross_validated: bool
) -> dict[str, RoleImages]:
    """Read the tables of roles that ``write_tables`` wrote; ``folders``: role to data sets."""
    found = dict[str, RoleImages]()
    for role, members in folders.items():
        root = setup.root(role, cross_validated=cross_validated)
        if cross_validated:
            _convert_folds(root, setup.target)
        tables = tuple(root / folder.name for folder in members)
        rows = read_tables(tables).values()
        used = [row for row in rows if row["split"] == TRAIN]
        found[role] = RoleImages(
            role,
            tables,
            Counter(row["split"] for row in rows),
            positives=sum(row.get(setup.target) == "1" for row in used),
            groups=len({row["patient_id"] for row in used}),
            without_mask=sum(not row["mask_path"] for row in used),
            untouched_positives=sum(row.get(setup.target) == "1" for row in rows if row["split"] == UNTOUCHED),
        )
    return found


def read_tables(tables: Iterable[Path]) -> dict[Key, dict[str, str]]:
    """Read tables: rows by data set and image id, with the fold of each image, "" for none."""
    rows = {(folder.name, row["image_id"]): row for folder in tables for row in read_table(folder / TABLE)}
    folds: dict[Key, int] = {}
    for path in {folder.parent / FOLDS for folder in tables}:
        folds |= read_folds(path) if path.is_file() else {}
    return {key: {**row, FOLD: str(folds.get(key, ""))} for key, row in rows.items()}


def part_in_fold(row: Mapping[str, str], fold: int) -> str:
    """Return the part of an image in a fold: ``train``, ``test``, or the split of an image in no fold.

    ``row``: of ``read_tables``.
    """
    return TEST if row[FOLD] == str(fold) else row["split"]


def _convert_folds(root: Path, target: str) -> None:
    """Write the tables of a reproduction that was begun when each fold had tables of its own."""
    if (root / FOLDS).is_file():
        return
    plan = list[dict[str, str]]()
    for old in sorted(path.parent for path in root.glob(f"fold-1/*/{TABLE}")):
        rows = read_table(old / TABLE)
        for row in rows:
            row |= {key: str(old / row[key]) for key in PATHS if row[key]} | {
                "split": TRAIN if row[FOLD] else row["split"]
            }
        plan += [{"data_set": old.name, "group": row["patient_id"], **row} for row in rows if row[FOLD]]
        rows = [{name: text for name, text in row.items() if name != FOLD} for row in rows]
        _write_table(rows, root / old.name, target)
    write_table(root / FOLDS, plan, FOLD_COLUMNS)


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


# One split for all rows.


def assign_to_sides(images: Images, role: str, setup: SplitSetup, run: RunContext) -> list[AssignedImage]:
    """Split the images with masks of a role into training and test images; others are left out.

    The split ``test`` of a data set, or else ``val``, is the test set, and the rest is used for training; without
    either, a fifth of the patients is held out, stratified by diagnosis. A data set for which the role has its own
    split is divided as in the paper. No patient is in both sets, and of duplicate images only one is used, preferably
    in the test set.
    """
    parts = _split_role(images, setup.roles[role])
    training, test = (order_by_name(sample for part in parts for sample in part[side]) for side in (0, 1))
    copies = setup.find_copies([*test, *training], run)
    used, tested = ([sample for sample in side if id(sample) not in copies] for side in (training, test))
    if not used or not tested:
        raise InputError(
            f"{role}: {len(used)} training images with masks and {len(tested)} test images were found in "
            f"{', '.join(images)}; both are needed."
        )
    split_of = {id(sample): LEFT_OUT for sample in training} | {id(sample): TEST for sample in tested}
    split_of |= {id(sample): TRAIN for sample in (used if setup.most is None else sample_by_name(used, setup.most))}
    split_of |= dict.fromkeys(copies, DUPLICATE)
    every = [image for members in images.values() for image in members if id(image.sample) in split_of]
    return [replace(image, split=split_of[id(image.sample)]) for image in every]


def _split_role(images: Images, role: Role) -> list[tuple[list[Sample], list[Sample]]]:
    """Split each data set of a role into training and test images.

    It is split as in the paper; if that leaves no test images in any of them, all are split as other data sets are.
    """
    usual = SourceSplit()
    samples_by_name = {name: select_trainable([image.sample for image in every]) for name, every in images.items()}
    plans = {name: role.splits.get(guess_source(name) or "", usual) for name in images}
    parts = [_split(samples, plans[name]) for name, samples in samples_by_name.items()]
    if any(evaluated for _, evaluated in parts):
        return parts
    return [_split(samples, usual) for samples in samples_by_name.values()]


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


# Folds.


def _with_labels(images: Sequence[AssignedImage], role: str, setup: SplitSetup) -> Sequence[AssignedImage]:
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
    included = diagnosis_includes(diagnosis, MELANOMA)
    return "" if included is None else str(int(included))


def assign_to_folds(images: Images, role: str, setup: SplitSetup, run: RunContext) -> list[AssignedImage]:
    """Assign the labeled images of a role to folds, by patient or lesion and stratified by class.

    Images without a label, duplicates and untouched images are in no fold.
    """
    every, role_file = (
        _with_labels([image for each in images.values() for image in each], role, setup),
        setup.roles[role],
    )
    test_groups = (
        _test_patients([image.sample for image in every if image.label]) if role_file.untouched else frozenset()
    )
    labeled = sorted(
        (image for image in every if image.label),
        key=lambda image: (image.sample.group not in test_groups, image.sample.key),
    )
    copies = setup.find_copies([image.sample for image in labeled], run)
    distinct = [image for image in labeled if id(image.sample) not in copies]
    labels = _permute_labels(distinct) if role_file.control_of else [image.label for image in distinct]
    label_of = {id(image.sample): label for image, label in zip(distinct, labels, strict=True)}
    in_folds = [image for image in distinct if image.sample.group not in test_groups]
    labels = [label_of[id(image.sample)] for image in in_folds]
    _require_both_classes(role, images, labels, setup)
    folds = assign_folds([image.sample.group for image in in_folds], labels, setup.folds, SEED)
    fold_of = {id(image.sample): fold + 1 for image, fold in zip(in_folds, folds, strict=True)}
    split_of = dict.fromkeys(label_of, UNTOUCHED) | dict.fromkeys(fold_of, TRAIN) | dict.fromkeys(copies, DUPLICATE)
    return [
        replace(
            image,
            label=label_of.get(id(image.sample), image.label),
            split=split_of.get(id(image.sample), NO_LABEL),
            fold=fold_of.get(id(image.sample), 0),
        )
        for image in every
    ]


def _require_both_classes(role: str, members: Iterable[str], labels: Sequence[str], setup: SplitSetup) -> None:
    """Reject a role if a class has too few images for all folds."""
    positives, negatives = labels.count("1"), labels.count("0")
    if min(positives, negatives) >= setup.folds:
        return
    alternative = " or 'diagnosis'" if setup.target == MELANOMA else ""
    raise InputError(
        f"{role}: {positives} {setup.positives} and {negatives} others have a label in {', '.join(members)}; "
        f"{setup.folds} folds need {setup.folds} of both. Name other data sets, with a column '{setup.target}' (0 or "
        f"1){alternative}, or a table of labels: --labels {role}=FILE."
    )


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
