"""Who is in which fold of a cross-validation, who is kept from all of them, and a control's answers dealt out anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.core.tabular import UNKNOWN
from napari_melanoma.data.dataset import Entry, Sample, each_entry, sample_of
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.harmonise import harmonise
from napari_melanoma.data.sources import source_of
from napari_melanoma.data.splits import folds, hold_out
from napari_melanoma.training.class_rows import is_of
from napari_melanoma.workflows.reproduction.papers import Role
from napari_melanoma.workflows.reproduction.split import HELD_OUT_SHARE, JUDGED, SEED

MELANOMA = "melanoma"  # the one question that a diagnosis answers


@dataclass(frozen=True)
class Dealt:
    """An image with its row in our columns, its answer ("" for none) and its fold, from 1.

    ``untouched`` says that it is in no fold, as it is kept for the networks of all folds together.
    """

    sample: Sample
    row: dict[str, str]
    answer: str
    fold: int = 0
    duplicate: bool = False
    untouched: bool = False


def read_answers(folder: Path, target: str) -> Iterator[Dealt]:
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
        yield Dealt(sample, row, answer_of(row, target))


def answer_of(row: Mapping[str, str], target: str = MELANOMA) -> str:
    """Say what a row answers.

    Returns ``"1"`` or ``"0"`` as the column says; of ``melanoma`` or else as the diagnosis does; "" where neither does.
    """
    said = row.get(target, "").strip()
    if said in ("0", "1"):
        return said
    diagnosis = row.get("diagnosis", "").strip().lower() if target == MELANOMA else ""
    return "" if diagnosis in ("", UNKNOWN) else str(int(is_of(diagnosis, MELANOMA)))


def deal(found: Sequence[Dealt], role: Role, count: int, run: RunContext) -> list[Dealt]:
    """Give each image with an answer a fold; those that show the picture of another, and those kept apart, get none.

    In their order.
    """
    apart = _kept_apart([one.sample for one in found if one.answer]) if role.untouched else frozenset[str]()
    asked = sorted((one for one in found if one.answer), key=lambda one: one.sample.group not in apart)
    again = {id(pair.second) for pair in find_duplicates([one.sample for one in asked], run)}
    taken = [one for one in asked if id(one.sample) not in again]
    answers = _anew(taken) if role.control_of else [one.answer for one in taken]
    answer_now = {id(one.sample): answer for one, answer in zip(taken, answers, strict=True)}
    dealt = [one for one in taken if one.sample.group not in apart]
    groups = [one.sample.group for one in dealt]
    places = folds(groups, [answer_now[id(one.sample)] for one in dealt], count, SEED) if dealt else []
    fold_of = {id(one.sample): fold + 1 for one, fold in zip(dealt, places, strict=True)}
    return [
        replace(
            one,
            answer=answer_now.get(id(one.sample), one.answer),
            fold=fold_of.get(id(one.sample), 0),
            duplicate=id(one.sample) in again,
            untouched=id(one.sample) in answer_now and one.sample.group in apart,
        )
        for one in found
    ]


def _kept_apart(samples: Sequence[Sample]) -> frozenset[str]:
    """Patients of whom an image is in the split ``test``; where the data name none, a fifth of all."""
    named = {sample.group for sample in samples if sample.split == JUDGED}
    return frozenset(named or {sample.group for sample in hold_out(samples, HELD_OUT_SHARE, SEED)[1]})


def _anew(taken: Sequence[Dealt]) -> list[str]:
    """Deal the answers out anew among patients: nothing that is known of an image tells them any more."""
    of_group: dict[str, str] = defaultdict(str)
    for one in taken:
        of_group[one.sample.group] = max(of_group[one.sample.group], one.answer)
    names = sorted(of_group)
    drawn = np.random.default_rng(SEED).permutation([of_group[name] for name in names])
    answers = dict(zip(names, map(str, drawn), strict=True))
    return [answers[one.sample.group] for one in taken]
