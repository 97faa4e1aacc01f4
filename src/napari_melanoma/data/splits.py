"""Split data sets into training, validation and test sets, or folds, without separating the images of a patient.

Images that must stay together form a group (``groups.py``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.cell_values import normalize_diagnosis
from napari_melanoma.data.dataset import (
    Key,
    Sample,
    describe_patients_of,
    find_table,
    iter_entries,
    make_sample,
    raise_faults,
    read_groups,
    select_trainable,
)
from napari_melanoma.data.dataset_table import SharedTable, TableFile, iter_table_rows
from napari_melanoma.data.duplicates import Duplicate, find_duplicates, merge_groups
from napari_melanoma.data.groups import Group, Groups, Node, describe_patient_ids, hash_to_unit_interval
from napari_melanoma.data.harmonize import HarmonizeReport, quote_toml_key
from napari_melanoma.data.table_mapping import find_column_meanings, suggest_column
from napari_melanoma.data.table_schema import TEST, TRAIN, VAL, held_back_rank

ALL_SPLITS = "all"
HELD_OUT_SALT = "held out for judging"  # fixed: a group that is held out once is held out in every later run
MIN_GROUPS = 3  # least number of groups of which one is always held out: one for each part
NAME_TABLE = (
    "name the table with --metadata FILE; it needs a column that names the images (image_id) and one that names the "
    "patients (patient_id)"
)
SPLIT_RISK = "images of one patient may then be in both training and test set"
FOLD = "fold"  # column: 1, 2 ... of a cross-validation, empty for the test set
# The owner of an image (probably the patient) in a name: all but the last part, such as _a or -02
_LAST_PART = re.compile(r"^(?P<owner>.*\d.*?)(?:[ ._-]+[A-Za-z]*\d*|(?<=\d)[A-Za-z])$")
_MIN_SHARED_SHARE = 0.2  # share of the images below which common prefixes are considered chance
_MAX_NAME_PARTS = 3  # number of last parts of a name that may distinguish the images of a patient
_MAX_PREFIX_SHARE = 0.5  # share of the images above which a common prefix names the data set, not a patient
# Dates, possibly followed by the time, as in the file names of cameras. After a letter, year and month may be the
# number of a patient: P200112.
_YEAR, _MONTH, _DAY = r"(19|20)\d\d", r"[-_.]?(0[1-9]|1[0-2])", r"[-_.]?(0[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"(?<!\d){_YEAR}{_MONTH}{_DAY}(\d{{4}}|\d{{6}})?(?!\d)|(?<![A-Za-z\d]){_YEAR}{_MONTH}(?!\d)"
    rf"|(?<!\d)\d\d[-_.]\d\d[-_.]{_YEAR}(?!\d)"
)


class SplitRules(Protocol):
    """The split options of a recipe; ``training.recipe.DataConfig`` has them."""

    @property
    def split(self) -> str:
        """The split to train on; ``"all"`` for every image."""

    @property
    def validation_split(self) -> str:
        """The split that epoch and threshold are chosen on; "" for none."""

    @property
    def test_split(self) -> str:
        """The split that the new model is tested on."""

    @property
    def test_fraction(self) -> float:
        """Share of groups that goes to the test set, among images without a split."""

    @property
    def validation_fraction(self) -> float:
        """Share of the training groups that goes to the validation set, in data sets without a validation split."""


@dataclass(frozen=True)
class TrainingSplit:
    """The training, validation and test images of a run; a group in the test set is in no other part.

    The validation images serve to choose the epoch and the threshold. ``left_out`` are images that are not used
    because other images of their group are in the test or validation set, ``other_splits`` images of splits that the
    run does not use.
    """

    training: list[Sample]
    validation: list[Sample]
    test: list[Sample]
    left_out: tuple[Sample, ...] = ()
    other_splits: tuple[Sample, ...] = ()


def get_diagnosis(sample: Sample) -> str:
    """Return the stratum of a sample: its diagnosis in one spelling, "" if unknown."""
    return normalize_diagnosis(sample.diagnosis or "")


def split_trainable(samples: Iterable[Sample], rules: SplitRules, seed: int) -> TrainingSplit:
    """Split the trainable images of a run; others are left out."""
    return split_samples(select_trainable(samples), rules, seed)


def find_validation_split(rules: SplitRules) -> str | None:
    """Return the split whose images are the validation set; None without one: the test split is no validation set."""
    is_used = rules.split != ALL_SPLITS and rules.validation_split != rules.test_split
    return (rules.validation_split or None) if is_used else None


def split_samples(
    samples: Iterable[Sample], rules: SplitRules, seed: int, stratum: Callable[[Sample], str] = get_diagnosis
) -> TrainingSplit:
    """Split images into the parts of a run.

    Rows with the split ``rules.split`` are trained on, those with ``rules.validation_split`` are the validation set and
    those with ``rules.test_split`` the test set; those with another split are ignored. Rows without a split are
    selected for the test set by a hash of their patient, else of their lesion or image, and else trained on. The hash
    is independent of the seed and of other rows, so that added, removed or newly reviewed rows move no other group. If
    it selects none of three or more groups of a data set, the group with the smallest hash goes to the test set. In
    data sets without the validation split, the validation set is held out from the images to train on. A group in the
    test set is in no other part, and one in the validation set is not trained on. If ``rules.split`` is ``"all"``, the
    column is not used: every image is trained on or validated on.

    Any part may be empty; the caller must check. Raises if the images to train on are also those to evaluate.
    """
    all_samples = list(samples)
    for name in ("validation_split", "test_split"):
        if rules.split == getattr(rules, name):
            raise DataSetError(
                f"data.split and data.{name} are both '{rules.split}': expected other images than those to train on. "
                "Name another split."
            )
    if rules.split == ALL_SPLITS:
        return TrainingSplit(*hold_out(all_samples, rules.validation_fraction, seed, stratum), [])
    validation_split = find_validation_split(rules)
    used = {"", rules.split, validation_split, rules.test_split}
    test_groups = _choose_test_groups([sample for sample in all_samples if not sample.split], rules.test_fraction)
    test = [
        sample
        for sample in all_samples
        if (sample.group in test_groups if not sample.split else sample.split == rules.test_split)
    ]
    tested_groups, test_ids = {sample.group for sample in test}, {id(sample) for sample in test}
    requested = [sample for sample in all_samples if sample.split in used and id(sample) not in test_ids]
    usable = [sample for sample in requested if sample.group not in tested_groups]
    validation = [sample for sample in usable if sample.split == validation_split]
    validated_groups = {sample.group for sample in validation}
    candidates = [sample for sample in usable if sample.group not in validated_groups]
    validated_domains = {sample.domain for sample in validation}
    unvalidated = [sample for sample in candidates if sample.domain not in validated_domains]
    _, held_out = hold_out(unvalidated, rules.validation_fraction, seed, stratum)
    held_out_ids = {id(sample) for sample in held_out}
    training = [sample for sample in candidates if id(sample) not in held_out_ids]
    kept = {*map(id, training), *map(id, validation), *held_out_ids}
    left_out = tuple(sample for sample in requested if id(sample) not in kept)
    other_splits = tuple(sample for sample in all_samples if sample.split not in used)
    return TrainingSplit(training, [*validation, *held_out], test, left_out, other_splits)


def split_fold(
    samples: Iterable[Sample],
    folds: Mapping[Key, int],
    number: int,
    rules: SplitRules,
    seed: int,
    stratum: Callable[[Sample], str] = get_diagnosis,
) -> TrainingSplit:
    """Split images by the folds of a cross-validation.

    ``folds``: fold of each image by data set and image id; images without one are not trained on. Those of the fold
    ``number`` are the test set. No image of their groups is in another part. The validation set is held out from the
    other folds.
    """
    all_samples = [*samples]
    unassigned = tuple(sample for sample in all_samples if sample.key not in folds)
    test = [sample for sample in all_samples if folds.get(sample.key) == number]
    others = [sample for sample in all_samples if folds.get(sample.key, number) != number]
    tested_groups = {sample.group for sample in test}
    usable = [sample for sample in others if sample.group not in tested_groups]
    training, validation = hold_out(usable, rules.validation_fraction, seed, stratum)
    left_out = tuple(sample for sample in others if sample.group in tested_groups)
    return TrainingSplit(training, validation, test, left_out, unassigned)


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int, stratum: Callable[[Sample], str] = get_diagnosis
) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of the groups, stratified by domain and ``stratum``.

    The choice depends on the names of the groups and the seed, so that adding images moves few others.

    ``fraction``: share of the groups that is held out, 0 to 1; if it is above 0, at least one of two groups. Returns
    the remaining and the held-out samples.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    by_name = sorted(samples, key=lambda sample: sample.key, reverse=True)  # the first image stands for its group
    for group, sample in {sample.group: sample for sample in by_name}.items():
        strata[sample.domain, stratum(sample)].append(group)
    groups = sum(map(len, strata.values()))
    target = min(max(round(fraction * groups), fraction > 0), groups - 1) if groups else 0
    chosen: set[str] = set()
    for key, share in _apportion({key: len(names) for key, names in strata.items()}, target, str(seed)).items():
        chosen.update(sorted(strata[key], key=lambda group: hash_to_unit_interval(str(seed), group))[:share])
    return (
        [sample for sample in samples if sample.group not in chosen],
        [sample for sample in samples if sample.group in chosen],
    )


def validate_on_each_class(
    parts: TrainingSplit, rules: SplitRules, get_class: Callable[[Sample], str]
) -> TrainingSplit:
    """Move groups from the training to the validation set until it has all classes; with few groups it may lack some.

    For each missing class, its training group with the fewest images is moved, unless the training set would lose a
    class. A validation set that the table assigns is not changed.
    """
    if rules.split != ALL_SPLITS and any(sample.split == rules.validation_split != "" for sample in parts.validation):
        return parts
    training, validation = list(parts.training), list(parts.validation)
    missing = {get_class(sample) for sample in training} - {get_class(sample) for sample in validation} - {""}
    for class_ in sorted(missing):
        sizes = Counter(sample.group for sample in training)
        for group in sorted(
            {sample.group for sample in training if get_class(sample) == class_},
            key=lambda name_of_group: (sizes[name_of_group], name_of_group),
        ):
            remaining = [sample for sample in training if sample.group != group]
            if {get_class(sample) for sample in training} <= {get_class(sample) for sample in remaining}:
                validation += [sample for sample in training if sample.group == group]
                training = remaining
                break
    return replace(parts, training=training, validation=validation)


def assign_folds(
    groups: Sequence[str], classes: Sequence[str], count: int, seed: int, kept_folds: Mapping[str, int] | None = None
) -> list[int]:
    """Assign images to cross-validation folds: each group to one fold, and the classes as evenly as possible.

    A group counts for its rarest class. Groups with rare classes, then those with most images of the class, are
    assigned first. Each goes to the fold with the fewest images of its class, then with the fewest images. The result
    depends on names and the seed, not on the order of the table.

    ``groups`` and ``classes``: group and class of each image; ``kept_folds``: folds of groups that keep them. Returns
    the fold of each image, 0 to ``count`` - 1.
    """
    class_counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, name in zip(groups, classes, strict=True):
        class_counts[group][name] += 1
    if len(class_counts) < count:
        raise DataSetError(
            f"{count} folds need as many patients, lesions or single images; found {len(class_counts)}. "
            "Choose fewer folds."
        )
    fold_of_group, rarest, common = dict(kept_folds or {}), find_rarest_classes(groups, classes), Counter(classes)
    assigned = [Counter[str]() for _ in range(count)]

    def sort_key(group: str) -> tuple[object, ...]:
        """Order groups that keep their fold first, then by the rarest class, which is the hardest to balance."""
        rare = rarest[group]
        return (
            group not in fold_of_group,
            common[rare],
            rare,
            -class_counts[group][rare],
            -class_counts[group].total(),
            hash_to_unit_interval(str(seed), group),
        )

    for group in sorted(class_counts, key=sort_key):
        if group not in fold_of_group:
            rare = rarest[group]
            fold_of_group[group] = min(
                range(count), key=lambda fold: (assigned[fold][rare], assigned[fold].total(), fold)
            )
        assigned[fold_of_group[group]].update(class_counts[group])
    return [fold_of_group[group] for group in groups]


def find_rarest_classes(groups: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Map each group to the rarest of its classes, the alphabetically first of equally rare ones."""
    common = Counter(classes)
    rarest: dict[str, str] = {}
    for group, name in zip(groups, classes, strict=True):
        rarest[group] = min(rarest.get(group, name), name, key=lambda class_: (common[class_], class_))
    return rarest


def sample_by_name(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Choose ``count`` images by a hash of their names, one group after the other; their order is kept."""
    ordered = sorted(
        samples,
        key=lambda sample: (
            hash_to_unit_interval("drawn", sample.group),
            hash_to_unit_interval("drawn", sample.image_id),
        ),
    )
    chosen = {id(sample) for sample in ordered[:count]}
    return [sample for sample in samples if id(sample) in chosen]


def _choose_test_groups(samples: Iterable[Sample], fraction: float) -> set[str]:
    """Choose the groups of the test set by their hash, for each data set; at least one of three or more.

    A group is chosen by any of its patients: the test patients of a table stay in the test set after they were
    connected with others. Its lesions and images have no effect, as more of them would enlarge the test set.
    """
    domains: dict[str, dict[str, float]] = defaultdict(dict)
    for sample in samples:
        if sample.group not in domains[sample.domain]:
            names = sample.patients or (sample.group,)
            hashes_of_names = (hash_to_unit_interval(HELD_OUT_SALT, name) for name in names)
            domains[sample.domain][sample.group] = min(hashes_of_names)
    chosen: set[str] = set()
    for hashes in domains.values():
        of_set = {group for group, value in hashes.items() if value < fraction}
        if not of_set and fraction > 0 and len(hashes) >= MIN_GROUPS:
            of_set = {min(hashes, key=hashes.__getitem__)}
        chosen |= of_set
    return chosen


def _apportion(sizes: dict[tuple[str, str], int], target: int, salt: str) -> dict[tuple[str, str], int]:
    """Apportion ``target`` groups to strata by their ``sizes``.

    Shares are rounded down; the remaining groups go to the strata with the largest remainders.
    """
    total = sum(sizes.values())
    exact = {key: target * size / total for key, size in sizes.items()}
    shares = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(sizes, key=lambda key: (shares[key] - exact[key], hash_to_unit_interval(salt, "/".join(key))))
    for key in by_remainder[: target - sum(shares.values())]:
        shares[key] += 1
    return shares


def check_patients_named(
    with_patient: int,
    images: int,
    report: HarmonizeReport,
    no_patients: bool,
    unread: Sequence[str] = (),
    how: str = "",
) -> list[tuple[str, str]]:
    """Raise if no row names a patient, unless the user has confirmed that the patients are unknown.

    ``with_patient`` and ``images`` count the images with a patient and all images; ``report`` is that of the tables;
    ``unread`` are tables that were not read, and ``how`` explains how to read them. Returns notes: topics and messages.
    """
    if 0 < with_patient < images:
        return [("patient_id", f"{images - with_patient} of {images} rows name no patient: {SPLIT_RISK}")]
    if with_patient or not images or no_patients:
        return []
    confirm = "if nothing is known of the patients, confirm with --no-patients."
    columns = format_names([*report.columns, *report.own], 12)
    if not columns:
        found = f"{format_names(unread)} was not read" if unread else "found no table"
        raise DataSetError(
            f"expected a table with a column that names the patient of each image; {found}. Without patients "
            f"{SPLIT_RISK}. {how[:1].upper()}{how[1:]}; {confirm}"
        )
    similar = next((name for name, ours in report.unrecognized.items() if ours == "patient_id"), "")
    advice = "Add a column patient_id to the table, or map the column that names the patient with --map FILE.toml"
    if similar:
        mapping = f'{quote_toml_key(similar)} = "patient_id"'
        advice = f'If "{similar}" names the patient, map it with --map FILE.toml (the line {mapping} below [columns])'
    raise DataSetError(
        f"expected a column that names the patient of each image, found {columns}. Without it {SPLIT_RISK}. "
        f"{advice}; {confirm}"
    )


class LeakChecker:
    """Find patients in several splits or folds of a data set, by the rows of its table: also those it does not name.

    In rows without a ``patient_id``, the patient may be in an unrecognized column with a similar name, or else in the
    common prefix of image names (``P012_a``, ``P012_b``).
    """

    def __init__(self) -> None:
        self._groups = Groups()
        self._rows: list[Node] = []
        self._splits: dict[Node, set[str]] = defaultdict(set)  # "" for rows without one
        self._folds: dict[Node, set[str]] = defaultdict(set)
        self._split_of_image: dict[str, str] = {}
        # Column that may name patients, to patient, to splits
        self._columns: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._may_name_patients: dict[str, bool] = {}

    def add_row(self, row: Mapping[str, str], harmonized: Mapping[str, str]) -> None:
        """Add a row of the table, and the same row harmonized."""
        split = harmonized.get("split", "")
        if "image_id" in harmonized:
            node = self._groups.add(harmonized)
            self._rows.append(node)
            self._splits[node].add(split)
            self._folds[node].add(harmonized.get(FOLD, ""))
        if harmonized.get("patient_id"):
            return
        if image_id := harmonized.get("image_id"):
            self._split_of_image[image_id] = split
        for column, text in row.items():
            if column not in self._may_name_patients:
                self._may_name_patients[column] = (
                    not find_column_meanings(column) and suggest_column(column) == "patient_id"
                )
            if text and self._may_name_patients[column]:
                self._columns[column][text].add(split)

    def describe_patient_ids(self) -> list[str]:
        """Ask about ids of patients that a spreadsheet may have changed."""
        return describe_patient_ids(self._groups.find(node).names for node in self._rows)

    def find_splits(self) -> dict[Group, set[str]]:
        """Return the splits of each group, "" for rows without one."""
        return self._join(self._splits)

    def _join(self, parts: Mapping[Node, set[str]]) -> dict[Group, set[str]]:
        joined: dict[Group, set[str]] = defaultdict(set)
        for node, names in parts.items():
            joined[self._groups.find(node)] |= names
        return joined

    def describe_leaks(self) -> Iterator[tuple[str, str]]:
        """Yield groups in several splits or folds, and columns or names that suggest this, with messages."""
        for kind, parts_by_group in (("split", self._join(self._splits)), ("fold", self._join(self._folds))):
            for group, parts in parts_by_group.items():
                if len(known := parts - {""}) > 1:
                    joined = f" (joined by a lesion or a copy: {format_names(group.names)})" if group.names[1:] else ""
                    yield group.name, f"is in more than one {kind}: {', '.join(sorted(known))}{joined}"
        yield from ((about, message) for about, message, leaks in self.describe_findings() if leaks)

    def describe_findings(self) -> Iterator[tuple[str, str, bool]]:
        """Yield what may name patients that ``patient_id`` does not, a message, and whether they are in several splits.

        If they are not, a later split may do that.
        """
        found = [
            (column, f"the values of the column {column}", by_patient, f'map it to patient_id ("{column}")')
            for column, by_patient in self._columns.items()
        ]
        if not found and (prefixes := group_by_name(self._split_of_image)):
            by_prefix = {prefix: {self._split_of_image[name] for name in names} for prefix, names in prefixes.items()}
            found = [("image_id", "image names with a common prefix", by_prefix, "add a column patient_id")]
        for column, evidence, by_patient, advice in found:
            suggestion = f"{evidence} suggest {len(by_patient)} patients"
            leaking = sorted(patient for patient, splits in by_patient.items() if len(splits - {""}) > 1)
            if leaking:
                message = f"probable patient leak: {suggestion}, {len(leaking)} of them in several splits"
                yield column, f"{message} ({format_names(leaking)}); {advice} and split again", True
            else:
                yield column, f"{suggestion}, but patient_id is empty: {advice} before you split", False


def check_patients_of(rows: Iterable[Mapping[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Check harmonized rows for patients, as the check of a data set does.

    Returns patients in several splits or folds, and questions about their ids, each as topics and messages.
    """
    checker = LeakChecker()
    for row in rows:
        checker.add_row(row, row)
    questions = [("patient_id", question) for question in checker.describe_patient_ids()]
    return list(checker.describe_leaks()), questions


def find_patient_leaks(folder: Path, parts: Mapping[str, str]) -> list[str]:
    """Describe patients that are probably in more than one part of a run; the data set does not name them.

    ``parts``: part of each image by its id; other rows of the table are not compared.
    """
    checker = LeakChecker()
    for row in iter_table_rows(find_table(folder)):
        if part := parts.get(row["image_id"]):
            checker.add_row(row, {**row, "split": part})
    return [f"{folder.name}: {message}" for _, message, leaks in checker.describe_findings() if leaks]


def group_by_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Group image names with a common prefix and different last parts.

    Returns prefix to names, at least two for each prefix. If names have several possible prefixes, those are used that
    group the most names. Empty if prefixes group less than a fifth of the names, or one prefix more than half: then the
    names follow another rule, such as a running number. A prefix whose only number is a date is left out, as images of
    one day show several patients.
    """
    names = list(names)
    best: dict[str, list[str]] = {}
    prefixes = {
        name: _DATE.sub(lambda date: "d" * len(date[0]), name) for name in names
    }  # dates do not count as numbers
    for _ in range(_MAX_NAME_PARTS):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            match = _LAST_PART.match(prefixes[name])
            prefixes[name] = match["owner"] if match else ""
            if prefixes[name]:
                groups[name[: len(prefixes[name])]].append(name)
        shared = {prefix: group for prefix, group in groups.items() if len(group) > 1}
        sizes = [len(group) for group in shared.values()]
        is_better = sum(sizes) >= max(len(names) * _MIN_SHARED_SHARE, 1 + sum(map(len, best.values())))
        if sizes and is_better and max(sizes) <= max(2, _MAX_PREFIX_SHARE * len(names)):
            best = shared
    return best


class SplitOptions(Config):
    """How a data set is split."""

    val: float = Field(0.1, ge=0, lt=1, description="share of the patients for validation")
    test: float = Field(0.2, ge=0, lt=1, description="share of the patients for the test set")
    folds: int | None = Field(
        None, ge=2, le=1000, description="number of cross-validation folds for all patients outside the test set"
    )
    seed: int = Field(0, ge=0, description="random seed")
    replace: bool = Field(False, description="also replace existing splits")
    look: bool = Field(True, description="search for duplicate images to keep them together")

    @model_validator(mode="after")
    def _check_training_share(self) -> SplitOptions:
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val and test together are {self.val_share + self.test_share:g}: expected less than 1")
        if self.folds and "val" in self.model_fields_set and self.val:
            raise ValueError("folds and val exclude each other: each fold is held out once. Leave val out")
        return self

    @property
    def val_share(self) -> float:
        """Share of the patients assigned to ``val``: none where there are folds."""
        return 0.0 if self.folds else self.val

    @property
    def test_share(self) -> float:
        """Share of the patients assigned to ``test``: with folds none unless it is given."""
        return 0.0 if self.folds and "test" not in self.model_fields_set else self.test


@dataclass(frozen=True)
class SplitReport:
    """The outcome of a split.

    ``counts`` maps each split to its numbers of images by diagnosis, ``groups`` each split to its number of groups;
    ``changed`` counts images whose split changed. ``duplicates`` are pairs of images of different groups that show the
    same picture and are in one split. ``folds`` maps each fold to its numbers of images by diagnosis; empty without
    folds. ``questions`` describe groups that remain in several splits, and ask about ids of patients that a spreadsheet
    may have changed.
    """

    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    changed: int
    duplicates: list[Duplicate]
    folds: dict[str, dict[str, int]] = field(default_factory=dict)
    questions: tuple[str, ...] = ()


def split_dataset(folder: Path, options: SplitOptions, *, run: RunContext) -> SplitReport:
    """Write the column ``split`` of a data set, and ``fold`` if folds are requested.

    All images of a group (``data.groups``) get the same split, and so do groups with the same picture. Splits are
    stratified by diagnosis; a patient counts for the rarest diagnosis of its images. Rows without an image are split
    too. Unless ``options.replace``, images with a split keep it, and the other images of their patient get the same;
    likewise for folds, if the table has the requested number of folds.

    Raises ``DataSetError`` and writes nothing if a requested split would be empty, because all images have another one,
    or if the table is changed meanwhile, as the comparison of the images may take minutes.
    """
    samples, with_image = _read_samples(folder)
    path = find_table(folder)
    stored = TableFile.read(path)
    table = stored.with_columns(("split",))
    duplicates = [pair for pair in find_duplicates(with_image, run) if not pair.same_group] if options.look else []
    merged = _merge_groups(samples, merge_groups(samples, duplicates), table.column("melanoma"))
    splits = choose_splits(merged, options)
    counts = _count_parts(samples, splits)
    _check_requested_splits(counts, options)
    table = table.update_column("split", splits)
    folds: list[str] = []
    if options.folds:
        folds = choose_folds(merged, splits, table.column(FOLD), options)
        table = table.with_columns((FOLD,)).update_column(FOLD, folds)
    with SharedTable(path, ()).lock():
        if TableFile.read(path) != stored:
            raise DataSetError(f"{path} was changed while the splits were chosen. Split the data set again.")
        table.write(path)
    parts_of_group = {(sample.group, split) for sample, split in zip(merged, splits, strict=True)}
    groups = Counter(split for _, split in parts_of_group)
    split_of = {id(sample): split for sample, split in zip(samples, splits, strict=True)}
    duplicates = [pair for pair in duplicates if split_of[id(pair.first)] == split_of[id(pair.second)]]
    changed = sum(sample.split != split for sample, split in zip(samples, splits, strict=True))
    questions = (*_describe_divided(group for group, _ in parts_of_group), *describe_patients_of(samples))
    return SplitReport(counts, dict(groups), changed, duplicates, _count_parts(samples, folds), questions)


def _describe_divided(groups: Iterable[str]) -> list[str]:
    """Describe the groups that are still in several splits; ``groups``: each once for each of its splits."""
    divided = sorted(group for group, count in Counter(groups).items() if count > 1)
    if not divided:
        return []
    return [
        f"{format_count(len(divided), 'group')} of images of one patient, lesion or picture "
        f"({format_names(divided)}) in more than one split, as existing splits are kept. Assign all images again "
        "(Python: replace=True, command line: --replace)."
    ]


def _check_requested_splits(counts: Mapping[str, Mapping[str, int]], options: SplitOptions) -> None:
    """Raise if a requested split is empty: all images had another split, as those of imported masks have."""
    shares = {VAL: options.val_share, TEST: options.test_share}
    for split, share in shares.items():
        if share and split in options.model_fields_set and counts and split not in counts:
            found = format_names([f"{name} {sum(images.values())}" for name, images in sorted(counts.items())])
            raise DataSetError(
                f"'{split}' would have no image: expected images without a split, but all have one already ({found}). "
                "Assign all of them again (Python: replace=True, command line: --replace)."
            )


def choose_folds(
    samples: Sequence[Sample], splits: Sequence[str], previous: Sequence[str], options: SplitOptions
) -> list[str]:
    """Choose a fold, ``"1"``, ``"2"`` ..., for each image; "" for groups in the test set.

    ``previous``: fold of each image in the table, "" for none.
    """
    assert options.folds
    test_groups = {sample.group for sample, split in zip(samples, splits, strict=True) if split == TEST}
    indices = [index for index, sample in enumerate(samples) if sample.group not in test_groups]
    numbers = {previous[index] for index in indices} - {""}
    names = [str(number) for number in range(1, options.folds + 1)]
    kept_folds: dict[str, int] = {}
    if not options.replace and numbers == set(names):
        for index in indices:
            if previous[index]:
                kept_folds.setdefault(samples[index].group, int(previous[index]) - 1)
    fold_samples = [samples[index] for index in indices]
    folds = assign_folds(
        [sample.group for sample in fold_samples],
        [get_diagnosis(sample) for sample in fold_samples],
        options.folds,
        options.seed,
        kept_folds,
    )
    chosen = [""] * len(samples)
    for index, fold in zip(indices, folds, strict=True):
        chosen[index] = names[fold]
    return chosen


def choose_splits(samples: Sequence[Sample], options: SplitOptions) -> list[str]:
    """Choose a split for each image: ``train``, ``val``, ``test``, or the split that its group has already."""
    split_of_group: dict[str, str] = {}
    if not options.replace:
        for sample in samples:
            if held_back_rank(sample.split) > held_back_rank(split_of_group.get(sample.group, "")):
                split_of_group[sample.group] = sample.split
    unassigned = [sample for sample in samples if sample.group not in split_of_group]
    requested = {TRAIN, *([VAL] if options.val_share else []), *([TEST] if options.test_share else [])}
    needed = len(requested - set(split_of_group.values()))
    groups = len({sample.group for sample in unassigned})
    if 0 < groups < needed:
        raise DataSetError(
            f"{groups} patients, lesions or single images have no split: expected at least {needed}, one for each "
            "split that is empty. Add images, ask for fewer splits, or replace all splits."
        )
    remaining, test = hold_out(unassigned, options.test_share, options.seed)
    _, validation = hold_out(remaining, options.val_share / (1 - options.test_share), options.seed)
    chosen = {sample.group: TEST for sample in test} | {sample.group: VAL for sample in validation}
    if options.replace:
        return [chosen.get(sample.group, TRAIN) for sample in samples]
    return [sample.split or split_of_group.get(sample.group) or chosen.get(sample.group, TRAIN) for sample in samples]


def _read_samples(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """Read all rows of a data set as samples; also returns those with an image, which can be compared.

    A row without an image gets the folder as its image.
    """
    samples: list[Sample] = []
    with_image: list[Sample] = []
    groups = read_groups(folder)
    for entry in raise_faults(iter_entries(folder)):
        sample = make_sample(replace(entry, image=entry.image or folder), folder, groups)
        assert isinstance(sample, Sample)
        samples.append(sample)
        with_image += [sample] if entry.image else []
    return samples, with_image


def _count_parts(samples: Sequence[Sample], parts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count images by part and diagnosis; images without a part are left out."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, part in zip(samples, parts, strict=bool(parts)):
        if part:
            counts[part][sample.diagnosis or "(none)"] += 1
    return {part: dict(diagnoses) for part, diagnoses in counts.items()}


def _merge_groups(samples: Sequence[Sample], groups: Sequence[str], melanoma: Sequence[str]) -> list[Sample]:
    """Return samples with their merged group, and as diagnosis the rarest class of that group.

    The class of an image is its diagnosis, or whether it is a melanoma if no diagnosis is known. The name of the data
    set's folder is left out: a copy in another folder is split in the same way.
    """
    classes = [get_diagnosis(sample) or f"melanoma {cell}" for sample, cell in zip(samples, melanoma, strict=True)]
    rarest = find_rarest_classes(groups, classes)
    return [
        replace(sample, domain="", group=group.removeprefix(f"{sample.domain}/"), diagnosis=rarest[group])
        for sample, group in zip(samples, groups, strict=True)
    ]
