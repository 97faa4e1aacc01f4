"""Splits and folds written into a data set: by patient, the same pictures together, the classes in each as in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, each_entry, sample_of, table_of
from napari_melanoma.data.duplicates import Duplicate, find_duplicates, joined_groups
from napari_melanoma.data.splits import folds, hold_out, rarest_classes
from napari_melanoma.data.table_file import TableFile

LEARNT, TUNED, JUDGED = "train", "val", "test"
FOLD = "fold"  # column: 1, 2 ... of a cross-validation, empty for what is judged on at the end
KEPT_BACK = {JUDGED: 3, TUNED: 2, LEARNT: 1}


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
    def _something_is_learnt(self) -> SplitOptions:
        if self.val + self.test >= 1:
            raise ValueError(f"val and test together are {self.val + self.test:g}: expected less than 1")
        if self.folds and "val" in self.model_fields_set and self.val:
            raise ValueError("with folds each of them is val in its turn: expected no val beside them. Leave val out")
        return self

    @property
    def tuned(self) -> float:
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


def held_back(split: str) -> int:
    """Say how far a split is kept away from learning.

    3 for ``test``, 2 for ``val``, 1 for ``train``, 2 for any other name and 0 for none.
    """
    return KEPT_BACK.get(split, 2 if split else 0)


def split_dataset(folder: Path, options: SplitOptions, *, run: RunContext) -> SplitReport:
    """Write the column ``split`` of a data set, and ``fold`` where folds are asked for.

    All images of a patient (else lesion) get the same split, and so do those that show the same picture as one of
    theirs, whether that is seen or ``near_duplicate_of`` says so. Each split has the diagnoses in the shares that all
    have, each patient counted by the rarest of its images. A row without an image is split like the others, by what the
    table says. Images that have a split keep it, and the others of their patient get the same; so it is with folds,
    where the table has as many as are asked for.
    """
    samples, seen = _read(folder)
    path = table_of(folder)
    table = TableFile.read(path).with_columns(("split",))
    rows = table.rows()
    duplicates = [pair for pair in find_duplicates(seen, run) if not pair.same_group] if options.look else []
    together = joined_groups(samples, [*duplicates, *_named_duplicates(samples, rows)])
    stand_ins = _stand_ins(samples, together, rows)
    splits = choose_splits(stand_ins, options)
    table = table.fill("split", splits)
    dealt: list[str] = []
    if options.folds:
        before = [row.get(FOLD, "") for row in rows]
        dealt = choose_folds(stand_ins, splits, before, options)
        table = table.with_columns((FOLD,)).fill(FOLD, dealt)
    table.write(path)
    groups = Counter(split for _, split in {(s.group, split) for s, split in zip(stand_ins, splits, strict=True)})
    changed = sum(sample.split != split for sample, split in zip(samples, splits, strict=True))
    return SplitReport(_counted(samples, splits), dict(groups), changed, duplicates, _counted(samples, dealt))


def choose_folds(
    samples: Sequence[Sample], splits: Sequence[str], before: Sequence[str], options: SplitOptions
) -> list[str]:
    """Choose a fold for each image that is not kept apart to the end.

    Returns ``"1"``, ``"2"`` ..., or "" where the split of anything of the group is ``test``.
    """
    assert options.folds
    apart = {sample.group for sample, split in zip(samples, splits, strict=True) if split == JUDGED}
    places = [place for place, sample in enumerate(samples) if sample.group not in apart]
    numbers = {before[place] for place in places} - {""}
    names = [str(number) for number in range(1, options.folds + 1)]
    kept: dict[str, int] = {}
    if not options.replace and numbers == set(names):
        for place in places:
            if before[place]:
                kept.setdefault(samples[place].group, int(before[place]) - 1)
    some = [samples[place] for place in places]
    dealt = folds([s.group for s in some], [s.diagnosis or "" for s in some], options.folds, options.seed, kept)
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
            if held_back(sample.split) > held_back(named.get(sample.group, "")):
                named[sample.group] = sample.split
    free = [sample for sample in samples if sample.group not in named]
    needed = 1 + (options.tuned > 0) + (options.test > 0)
    groups = len({sample.group for sample in free})
    if 0 < groups < needed:
        raise DataSetError(
            f"{groups} patients, lesions or single images have no split: expected at least {needed}, one for each "
            "split. Add images, ask for fewer splits, or draw all anew."
        )
    rest, judged = hold_out(free, options.test, options.seed)
    _, tuned = hold_out(rest, options.tuned / (1 - options.test), options.seed)
    drawn = {sample.group: JUDGED for sample in judged} | {sample.group: TUNED for sample in tuned}
    if options.replace:
        return [drawn.get(sample.group, LEARNT) for sample in samples]
    return [sample.split or named.get(sample.group) or drawn.get(sample.group, LEARNT) for sample in samples]


def _read(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """All rows of a data set, and those whose image it holds; of the others nobody can see what they show."""
    samples: list[Sample] = []
    seen: list[Sample] = []
    for entry in each_entry(folder):
        if isinstance(entry, DataSetError):
            raise entry
        sample = sample_of(replace(entry, image=entry.image or folder), folder)
        assert isinstance(sample, Sample)
        samples.append(sample)
        seen += [sample] if entry.image else []
    return samples, seen


def _named_duplicates(samples: Sequence[Sample], rows: Sequence[Mapping[str, str]]) -> Iterator[Duplicate]:
    """Pairs that the table says show the same picture, whoever their patients and lesions are said to be."""
    named = {sample.image_id: sample for sample in samples}
    for sample, row in zip(samples, rows, strict=True):
        if other := named.get(row.get("near_duplicate_of", "")):
            yield Duplicate(other, sample, 1.0)


def _counted(samples: Sequence[Sample], parts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images of each part and diagnosis; images without a part are left out."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, part in zip(samples, parts, strict=bool(parts)):
        if part:
            counts[part][sample.diagnosis or "(none)"] += 1
    return {part: dict(found) for part, found in counts.items()}


def _stand_ins(samples: Sequence[Sample], groups: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[Sample]:
    """Samples with their wider group and with the rarest class of it; where no diagnosis is known, melanoma or not."""
    classes = [
        sample.diagnosis or f"melanoma {row.get('melanoma', '')}" for sample, row in zip(samples, rows, strict=True)
    ]
    rarest = rarest_classes(groups, classes)
    return [
        replace(sample, group=group, diagnosis=rarest[group]) for sample, group in zip(samples, groups, strict=True)
    ]
