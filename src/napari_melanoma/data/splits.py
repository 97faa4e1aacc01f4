"""Splits that keep patients, lesions and equal pictures together."""

from __future__ import annotations

import hashlib
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
from napari_melanoma.core.formatting import format_names
from napari_melanoma.data.dataset import Sample, find_table, iter_entries, make_sample, select_trainable
from napari_melanoma.data.duplicates import Duplicate, find_duplicates, merge_groups
from napari_melanoma.data.harmonize import HarmonizeReport, quote_toml_key
from napari_melanoma.data.table_cells import find_column_meanings, suggest_column
from napari_melanoma.data.table_file import TableFile

ALL_SPLITS = "all"
HELD_OUT_SALT = "held out for judging"  # fixed: who is held out once is held out in every later run
MIN_GROUPS = 3  # groups of a data set: one for each part


class SplitRules(Protocol):
    """What a recipe says about its parts; ``training.recipe.DataConfig`` is one."""

    @property
    def split(self) -> str:
        """The split that is learnt from; ``"all"``: every image."""

    @property
    def held_out_split(self) -> str:
        """The split that the new model is judged on."""

    @property
    def held_out_fraction(self) -> float:
        """Share of the groups of images without a split that is held out."""

    @property
    def tuning_fraction(self) -> float:
        """Share of the groups to learn from that picks epoch and threshold instead."""


@dataclass(frozen=True)
class TrainingSplit:
    """The images of a run: learnt from, steering (epoch, threshold), and unseen; no group is learnt and held out.

    ``left_out`` are those that were to be learnt from, although others of their group are held out.
    """

    training: list[Sample]
    validation: list[Sample]
    test: list[Sample]
    left_out: tuple[Sample, ...] = ()


def get_diagnosis(sample: Sample) -> str:
    """Give the class that a sample is of where a split is stratified.

    Its diagnosis; "" where it is not known.
    """
    return sample.diagnosis or ""


def split_trainable(samples: Iterable[Sample], rules: SplitRules, seed: int) -> TrainingSplit:
    """Split the images of a run into its parts, those that are not ``data.dataset.usable`` left out."""
    return split_samples(select_trainable(samples), rules, seed)


def split_samples(
    samples: Iterable[Sample], rules: SplitRules, seed: int, stratum: Callable[[Sample], str] = get_diagnosis
) -> TrainingSplit:
    """Split images into the parts of a run.

    A row that names its split goes where it says: ``rules.split`` is learnt from, ``rules.held_out_split`` is held
    out, any other is left alone. Rows without a split are held out by a hash of their group alone, never by the seed
    or by what else is in the table, so that rows which come, go, or change their review move no other group. Only
    where that holds none of three or more groups of a data set out, the one with the smallest hash is. A group of
    which anything is held out is not learnt from. With the split ``"all"`` every image is learnt from.

    Returns any part may be empty; whoever trains says what is too few.
    """
    found = list(samples)
    if rules.split == ALL_SPLITS:
        return TrainingSplit(*hold_out(found, rules.tuning_fraction, seed, stratum), [])
    aside = _choose_test_groups([s for s in found if not s.split], rules.held_out_fraction)
    held_out = [s for s in found if (s.group in aside if not s.split else s.split == rules.held_out_split)]
    unseen, judged = {s.group for s in held_out}, {id(s) for s in held_out}
    named = [s for s in found if s.split in ("", rules.split) and id(s) not in judged]
    learn, tuning = hold_out([s for s in named if s.group not in unseen], rules.tuning_fraction, seed, stratum)
    return TrainingSplit(learn, tuning, held_out, tuple(s for s in named if s.group in unseen))


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int, stratum: Callable[[Sample], str] = get_diagnosis
) -> tuple[list[Sample], list[Sample]]:
    """Set a share of the groups aside, spread over domains and diagnoses; at least one group where there are two.

    Which group goes where depends on its name and the seed, so that adding images moves few others.

    ``fraction``: share of the groups that is set aside, 0 to 1.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, sample in {sample.group: sample for sample in reversed(samples)}.items():
        strata[sample.domain, stratum(sample)].append(group)
    groups = sum(map(len, strata.values()))
    wanted = min(max(round(fraction * groups), fraction > 0), groups - 1) if groups else 0
    aside: set[str] = set()
    for key, share in _apportion({key: len(names) for key, names in strata.items()}, wanted, str(seed)).items():
        aside.update(sorted(strata[key], key=lambda group: _hash_to_unit_interval(str(seed), group))[:share])
    return (
        [sample for sample in samples if sample.group not in aside],
        [sample for sample in samples if sample.group in aside],
    )


def validate_on_each_class(parts: TrainingSplit, get_class: Callable[[Sample], str]) -> TrainingSplit:
    """Tune on each class of which two groups or more are there: few regions make few groups, and chance misses some.

    Of a class that was learnt from alone, the group with the fewest images is tuned on instead. No class of the part to
    learn from is lost.
    """
    learn, tuning = list(parts.training), list(parts.validation)
    for name in sorted({get_class(sample) for sample in learn} - {get_class(sample) for sample in tuning} - {""}):
        sizes = Counter(sample.group for sample in learn)
        for group in sorted(
            {sample.group for sample in learn if get_class(sample) == name}, key=lambda g: (sizes[g], g)
        ):
            left = [sample for sample in learn if sample.group != group]
            if {get_class(sample) for sample in learn} <= {get_class(sample) for sample in left}:
                tuning += [sample for sample in learn if sample.group == group]
                learn = left
                break
    return replace(parts, training=learn, validation=tuning)


def assign_folds(
    groups: Sequence[str], classes: Sequence[str], count: int, seed: int, kept: Mapping[str, int] | None = None
) -> list[int]:
    """Deal images out to the folds of a cross-validation: each group in one, each class as evenly as groups allow.

    A group counts for the rarest class that it has. Those with the most images of a class are dealt first, each to the
    fold that has the fewest images of that class, of these to the one with the fewest images. What is drawn depends on
    names and the seed, not on the order of the table.

    Returns the fold of each image, 0 to ``count`` - 1.
    """
    has: dict[str, Counter[str]] = defaultdict(Counter)
    for group, name in zip(groups, classes, strict=True):
        has[group][name] += 1
    if len(has) < count:
        raise DataSetError(
            f"{count} folds need as many patients, lesions or single images; found {len(has)}. Ask for fewer folds."
        )
    found, rarest, common = dict(kept or {}), find_rarest_classes(groups, classes), Counter(classes)
    dealt = [Counter[str]() for _ in range(count)]

    def turn(group: str) -> tuple[object, ...]:
        """Who has a fold is first; then the rarest class, which has the least room to be evened out."""
        rare = rarest[group]
        return (
            group not in found,
            common[rare],
            rare,
            -has[group][rare],
            -has[group].total(),
            _hash_to_unit_interval(str(seed), group),
        )

    for group in sorted(has, key=turn):
        if group not in found:
            rare = rarest[group]
            found[group] = min(range(count), key=lambda fold: (dealt[fold][rare], dealt[fold].total(), fold))
        dealt[found[group]].update(has[group])
    return [found[group] for group in groups]


def find_rarest_classes(groups: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Say which class each group counts for.

    Group to the one of its classes that the fewest images have; of equals the first in the alphabet.
    """
    common = Counter(classes)
    rarest: dict[str, str] = {}
    for group, name in zip(groups, classes, strict=True):
        rarest[group] = min(rarest.get(group, name), name, key=lambda one: (common[one], one))
    return rarest


def sample_by_name(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Draw some of many images, group by group: the same ones each time, whatever else there is.

    In the order of ``samples``.
    """
    first = sorted(
        samples,
        key=lambda sample: (
            _hash_to_unit_interval("drawn", sample.group),
            _hash_to_unit_interval("drawn", sample.image_id),
        ),
    )
    chosen = {id(sample) for sample in first[:count]}
    return [sample for sample in samples if id(sample) in chosen]


def _choose_test_groups(samples: Iterable[Sample], fraction: float) -> set[str]:
    """Groups that are held out, of each data set by itself."""
    domains: dict[str, dict[str, None]] = defaultdict(dict)
    for sample in samples:
        domains[sample.domain].setdefault(sample.group)
    return {group for groups in domains.values() for group in _choose_test_groups_of_set(groups, fraction)}


def _choose_test_groups_of_set(groups: Iterable[str], fraction: float) -> list[str]:
    """Hold groups out by their hash; of three or more at least one, where any is asked for."""
    draws = {group: _hash_to_unit_interval(HELD_OUT_SALT, group) for group in groups}
    held = [group for group, draw in draws.items() if draw < fraction]
    if not held and fraction > 0 and len(draws) >= MIN_GROUPS:
        held = [min(draws, key=draws.__getitem__)]
    return held


def _apportion(sizes: dict[tuple[str, str], int], wanted: int, salt: str) -> dict[tuple[str, str], int]:
    """Share ``wanted`` places out by size; what division leaves goes to the largest remainders."""
    total = sum(sizes.values())
    exact = {key: wanted * size / total for key, size in sizes.items()}
    shares = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(
        sizes, key=lambda key: (shares[key] - exact[key], _hash_to_unit_interval(salt, "/".join(key)))
    )
    for key in by_remainder[: wanted - sum(shares.values())]:
        shares[key] += 1
    return shares


def _hash_to_unit_interval(salt: str, name: str) -> float:
    """Draw a number in [0, 1) that belongs to a name: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(f"{salt} {name}".encode()).digest()[:6]) / 2**48


SPLIT_RISK = "images of one patient may then be in both training and test set"
MAX_NAMED = 3  # examples in a message
_LAST_PART = re.compile(r"^(?P<owner>.*\d.*?)(?:[ ._-]+[A-Za-z]*\d*|(?<=\d)[A-Za-z])$")
_MIN_SHARED_SHARE = 0.2  # share of all rows below which common beginnings are chance
_MAX_NAME_PARTS = 3  # last parts of a name that may tell the images of a patient apart
_MAX_PREFIX_SHARE = 0.5  # share of all rows above which a common beginning is a prefix of the data set, and no patient
_DATE = re.compile(r"(19|20)\d\d[-_.]?[01]\d([-_.]?[0-3]\d)?")


def check_patients_named(
    named: int,
    images: int,
    report: HarmonizeReport,
    no_patients: bool,
    option: str = "--no-patients",
    unread: Sequence[str] = (),
    how: str = "",
) -> list[tuple[str, str]]:
    """Refuse a data set in which no row names a patient, unless the user has confirmed it.

    Notes: about what, and a sentence.
    """
    if 0 < named < images:
        return [("patient_id", f"{images - named} of {images} rows name no patient: {SPLIT_RISK}")]
    if named or not images:
        return []
    if no_patients:
        return [("patient_id", f"no row names a patient, as confirmed: {SPLIT_RISK}")]
    raise DataSetError(_describe_missing_patients(report, option, unread, how))


def _describe_missing_patients(report: HarmonizeReport, option: str, unread: Sequence[str], how: str) -> str:
    """Describe what was expected of the tables, what was found, and what to do."""
    found = list(report.columns) + list(report.own)
    listed = format_names(found, 12)
    if unread and not listed:
        return (
            f"expected a table with a column that names the patient of each image; {format_names(unread)} was not read. "
            f"Without patients {SPLIT_RISK}. {how[:1].upper()}{how[1:]}; if nothing is known of the patients, confirm "
            f"with {option}."
        )
    likely = next((theirs for theirs, ours in report.unrecognized.items() if ours == "patient_id"), "")
    if likely:
        advice = f'if "{likely}" names the patient, map it with --map FILE ([columns] {quote_toml_key(likely)} = "patient_id")'
    else:
        advice = "add a column patient_id to the table, or map the column that names the patient with --map FILE"
    return (
        f"expected a column that names the patient of each image, found {listed or 'no table'}. Without it "
        f"{SPLIT_RISK}. {advice[:1].upper()}{advice[1:]}; if nothing is known of the patients, confirm with {option}."
    )


class PatientLeakDetector:
    """Finds patients who are probably in more than one split of a data set that does not name them.

    Two signs are looked for in rows without a ``patient_id``: a column with an unknown name that resembles that of a
    patient, and image names that begin alike and differ in their last part (``P012_a``, ``P012_b``).
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._columns: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._like_patient: dict[str, bool] = {}

    def add_row(self, row: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Take a row up."""
        if found.get("patient_id"):
            return
        split = found.get("split", "")
        if image_id := found.get("image_id"):
            self._names[image_id] = split
        for column, text in row.items():
            if column not in self._like_patient:
                self._like_patient[column] = not find_column_meanings(column) and suggest_column(column) == "patient_id"
            if text and self._like_patient[column]:
                self._columns[column][text].add(split)

    def describe_findings(self) -> Iterator[tuple[str, str, bool]]:
        """Describe what was found.

        A column, and a sentence. Whether the patients are in several splits; else a later split may separate them.
        """
        for column, of_column in self._columns.items():
            yield self._finding(column, f"the column {column}", of_column, f'map it to patient_id ("{column}")')
        owners = group_by_name(self._names)
        if owners and not self._columns:
            of_names = {owner: {self._names[name] for name in names} for owner, names in owners.items()}
            yield self._finding("image_id", "names that begin alike", of_names, "add a column patient_id")

    @staticmethod
    def _finding(about: str, what: str, owners: Mapping[str, set[str]], advice: str) -> tuple[str, str, bool]:
        parted = sorted(owner for owner, splits in owners.items() if len(splits - {""}) > 1)
        if not parted:
            said = f"{what} suggest {len(owners)} patients, but patient_id is empty: {advice} before you split"
            return about, said, False
        said = (
            f"probable patient leak: {what} suggest {len(owners)} patients, of whom {len(parted)} are in several splits"
        )
        return about, f"{said} ({format_names(parted)}); {advice} and split again", True


def group_by_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Group image names that begin alike and differ in their last part or parts.

    Beginning to the names that have it, at least two each; of several possible beginnings those that group the most
    names. Empty where they group fewer than a fifth, or one groups more than half: then the names follow another rule
    (a running number, a date).
    """
    names = list(names)
    best: dict[str, list[str]] = {}
    owners = dict(zip(names, names, strict=True))
    for _ in range(_MAX_NAME_PARTS):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            match = _LAST_PART.match(owners[name])
            owners[name] = match["owner"] if match else ""
            if owners[name] and not _DATE.fullmatch(owners[name]):
                groups[owners[name]].append(name)
        found = {owner: group for owner, group in groups.items() if len(group) > 1}
        sizes = [len(group) for group in found.values()]
        enough = sum(sizes) >= max(len(names) * _MIN_SHARED_SHARE, 1 + sum(map(len, best.values())))
        if sizes and enough and max(sizes) <= max(2, _MAX_PREFIX_SHARE * len(names)):
            best = found
    return best


TRAIN, VAL, TEST = "train", "val", "test"
FOLD = "fold"  # column: 1, 2 ... of a cross-validation, empty for what is judged on at the end
HELD_BACK_RANKS = {TEST: 3, VAL: 2, TRAIN: 1}


class SplitOptions(Config):
    """How a data set is split."""

    val: float = Field(0.1, ge=0, lt=1, description="share of the patients that a model is tuned or judged on")
    test: float = Field(0.0, ge=0, lt=1, description="share of the patients that is kept apart to the end")
    folds: int | None = Field(
        None, ge=2, le=1000, description="deal what is not kept apart out to so many folds of a cross-validation"
    )
    seed: int = Field(0, ge=0, description="another seed, another split")
    replace: bool = Field(False, description="draw anew also for images that have a split")
    look: bool = Field(True, description="look for images that show the same picture and keep them together")

    @model_validator(mode="after")
    def _check_training_share(self) -> SplitOptions:
        if self.val + self.test >= 1:
            raise ValueError(f"val and test together are {self.val + self.test:g}: expected less than 1")
        if self.folds and "val" in self.model_fields_set and self.val:
            raise ValueError("with folds each of them is val in its turn: expected no val beside them. Leave val out")
        return self

    @property
    def val_share(self) -> float:
        """Share of the patients that is drawn to ``val``: none where there are folds."""
        return 0.0 if self.folds else self.val


@dataclass(frozen=True)
class SplitReport:
    """What a split did: images of each split and diagnosis, groups of each split, images that got another split.

    ``duplicates`` are pairs of images of different groups that show the same picture and were kept together. ``folds``
    are the images of each fold and diagnosis; empty where none were asked for.
    """

    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    changed: int
    duplicates: list[Duplicate]
    folds: dict[str, dict[str, int]] = field(default_factory=dict)


def held_back_rank(split: str) -> int:
    """Say how far a split is kept away from learning.

    3 for ``test``, 2 for ``val``, 1 for ``train``, 2 for any other name and 0 for none.
    """
    return HELD_BACK_RANKS.get(split, 2 if split else 0)


def split_dataset(folder: Path, options: SplitOptions, *, run: RunContext) -> SplitReport:
    """Write the column ``split`` of a data set, and ``fold`` where folds are asked for.

    All images of a patient (else lesion) get the same split, and so do those that show the same picture as one of
    theirs, whether that is seen or ``near_duplicate_of`` says so. Each split has the diagnoses in the shares that all
    have, each patient counted by the rarest of its images. A row without an image is split like the others, by what the
    table says. Images that have a split keep it, and the others of their patient get the same; so it is with folds,
    where the table has as many as are asked for.
    """
    samples, seen = _read_samples(folder)
    path = find_table(folder)
    table = TableFile.read(path).with_columns(("split",))
    rows = table.rows()
    duplicates = [pair for pair in find_duplicates(seen, run) if not pair.same_group] if options.look else []
    together = merge_groups(samples, [*duplicates, *_iter_listed_duplicates(samples, rows)])
    stand_ins = _merge_groups(samples, together, rows)
    splits = choose_splits(stand_ins, options)
    table = table.update_column("split", splits)
    dealt: list[str] = []
    if options.folds:
        before = [row.get(FOLD, "") for row in rows]
        dealt = choose_folds(stand_ins, splits, before, options)
        table = table.with_columns((FOLD,)).update_column(FOLD, dealt)
    table.write(path)
    groups = Counter(split for _, split in {(s.group, split) for s, split in zip(stand_ins, splits, strict=True)})
    changed = sum(sample.split != split for sample, split in zip(samples, splits, strict=True))
    return SplitReport(_count_parts(samples, splits), dict(groups), changed, duplicates, _count_parts(samples, dealt))


def choose_folds(
    samples: Sequence[Sample], splits: Sequence[str], before: Sequence[str], options: SplitOptions
) -> list[str]:
    """Choose a fold for each image that is not kept apart to the end.

    Returns ``"1"``, ``"2"`` ..., or "" where the split of anything of the group is ``test``.
    """
    assert options.folds
    apart = {sample.group for sample, split in zip(samples, splits, strict=True) if split == TEST}
    places = [place for place, sample in enumerate(samples) if sample.group not in apart]
    numbers = {before[place] for place in places} - {""}
    names = [str(number) for number in range(1, options.folds + 1)]
    kept: dict[str, int] = {}
    if not options.replace and numbers == set(names):
        for place in places:
            if before[place]:
                kept.setdefault(samples[place].group, int(before[place]) - 1)
    some = [samples[place] for place in places]
    dealt = assign_folds([s.group for s in some], [s.diagnosis or "" for s in some], options.folds, options.seed, kept)
    found = [""] * len(samples)
    for place, fold in zip(places, dealt, strict=True):
        found[place] = names[fold]
    return found


def choose_splits(samples: Sequence[Sample], options: SplitOptions) -> list[str]:
    """Choose a split for each image.

    Returns ``train``, ``val``, ``test``, or what the group's images had.
    """
    named: dict[str, str] = {}
    if not options.replace:
        for sample in samples:
            if held_back_rank(sample.split) > held_back_rank(named.get(sample.group, "")):
                named[sample.group] = sample.split
    free = [sample for sample in samples if sample.group not in named]
    needed = 1 + (options.val_share > 0) + (options.test > 0)
    groups = len({sample.group for sample in free})
    if 0 < groups < needed:
        raise DataSetError(
            f"{groups} patients, lesions or single images have no split: expected at least {needed}, one for each "
            "split. Add images, ask for fewer splits, or draw all anew."
        )
    rest, judged = hold_out(free, options.test, options.seed)
    _, tuned = hold_out(rest, options.val_share / (1 - options.test), options.seed)
    drawn = {sample.group: TEST for sample in judged} | {sample.group: VAL for sample in tuned}
    if options.replace:
        return [drawn.get(sample.group, TRAIN) for sample in samples]
    return [sample.split or named.get(sample.group) or drawn.get(sample.group, TRAIN) for sample in samples]


def _read_samples(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """All rows of a data set, and those whose image it holds; of the others nobody can see what they show."""
    samples: list[Sample] = []
    seen: list[Sample] = []
    for entry in iter_entries(folder):
        if isinstance(entry, DataSetError):
            raise entry
        sample = make_sample(replace(entry, image=entry.image or folder), folder)
        assert isinstance(sample, Sample)
        samples.append(sample)
        seen += [sample] if entry.image else []
    return samples, seen


def _iter_listed_duplicates(samples: Sequence[Sample], rows: Sequence[Mapping[str, str]]) -> Iterator[Duplicate]:
    """Pairs that the table says show the same picture, whoever their patients and lesions are said to be."""
    named = {sample.image_id: sample for sample in samples}
    for sample, row in zip(samples, rows, strict=True):
        if other := named.get(row.get("near_duplicate_of", "")):
            yield Duplicate(other, sample, 1.0)


def _count_parts(samples: Sequence[Sample], parts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images of each part and diagnosis; images without a part are left out."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, part in zip(samples, parts, strict=bool(parts)):
        if part:
            counts[part][sample.diagnosis or "(none)"] += 1
    return {part: dict(found) for part, found in counts.items()}


def _merge_groups(samples: Sequence[Sample], groups: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[Sample]:
    """Samples with their wider group and with the rarest class of it; where no diagnosis is known, melanoma or not."""
    classes = [
        sample.diagnosis or f"melanoma {row.get('melanoma', '')}" for sample, row in zip(samples, rows, strict=True)
    ]
    rarest = find_rarest_classes(groups, classes)
    return [
        replace(sample, group=group, diagnosis=rarest[group]) for sample, group in zip(samples, groups, strict=True)
    ]
