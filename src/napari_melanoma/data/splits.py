"""Splits that keep the images of one patient or lesion together: what is learnt from, tuned on and held out."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Sample, usable

EVERY_SPLIT = "all"
HELD_OUT_SALT = "held out for judging"  # fixed: who is held out once is held out in every later run
ENOUGH = 3  # groups of a data set: one for each part


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
class Parts:
    """The images of a run: learnt from, steering (epoch, threshold), and unseen; no group is learnt and held out.

    ``left_out`` are those that were to be learnt from, although others of their group are held out.
    """

    learn: list[Sample]
    tuning: list[Sample]
    held_out: list[Sample]
    left_out: tuple[Sample, ...] = ()


def diagnosis_of(sample: Sample) -> str:
    """Give the class that a sample is of where a split is stratified.

    Its diagnosis; "" where it is not known.
    """
    return sample.diagnosis or ""


def split_parts(samples: Iterable[Sample], rules: SplitRules, seed: int) -> Parts:
    """Split the images of a run into its parts, those that are not ``data.dataset.usable`` left out."""
    return parts_of(usable(samples), rules, seed)


def parts_of(
    samples: Iterable[Sample], rules: SplitRules, seed: int, stratum: Callable[[Sample], str] = diagnosis_of
) -> Parts:
    """Split images into the parts of a run.

    A row that names its split goes where it says: ``rules.split`` is learnt from, ``rules.held_out_split`` is held
    out, any other is left alone. Rows without a split are held out by a hash of their group alone, never by the seed
    or by what else is in the table, so that rows which come, go, or change their review move no other group. Only
    where that holds none of three or more groups of a data set out, the one with the smallest hash is. A group of
    which anything is held out is not learnt from. With the split ``"all"`` every image is learnt from.

    Returns any part may be empty; whoever trains says what is too few.
    """
    found = list(samples)
    if rules.split == EVERY_SPLIT:
        return Parts(*hold_out(found, rules.tuning_fraction, seed, stratum), [])
    aside = _held_out_groups([s for s in found if not s.split], rules.held_out_fraction)
    held_out = [s for s in found if (s.group in aside if not s.split else s.split == rules.held_out_split)]
    unseen, judged = {s.group for s in held_out}, {id(s) for s in held_out}
    named = [s for s in found if s.split in ("", rules.split) and id(s) not in judged]
    learn, tuning = hold_out([s for s in named if s.group not in unseen], rules.tuning_fraction, seed, stratum)
    return Parts(learn, tuning, held_out, tuple(s for s in named if s.group in unseen))


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int, stratum: Callable[[Sample], str] = diagnosis_of
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
    for key, share in _apportioned({key: len(names) for key, names in strata.items()}, wanted, str(seed)).items():
        aside.update(sorted(strata[key], key=lambda group: _draw(str(seed), group))[:share])
    return (
        [sample for sample in samples if sample.group not in aside],
        [sample for sample in samples if sample.group in aside],
    )


def tuned_on_each(parts: Parts, answer: Callable[[Sample], str]) -> Parts:
    """Tune on each class of which two groups or more are there: few regions make few groups, and chance misses some.

    Of a class that was learnt from alone, the group with the fewest images is tuned on instead. No class of the part to
    learn from is lost.
    """
    learn, tuning = list(parts.learn), list(parts.tuning)
    for name in sorted({answer(sample) for sample in learn} - {answer(sample) for sample in tuning} - {""}):
        sizes = Counter(sample.group for sample in learn)
        for group in sorted({sample.group for sample in learn if answer(sample) == name}, key=lambda g: (sizes[g], g)):
            left = [sample for sample in learn if sample.group != group]
            if {answer(sample) for sample in learn} <= {answer(sample) for sample in left}:
                tuning += [sample for sample in learn if sample.group == group]
                learn = left
                break
    return replace(parts, learn=learn, tuning=tuning)


def folds(
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
    found, rarest, common = dict(kept or {}), rarest_classes(groups, classes), Counter(classes)
    dealt = [Counter[str]() for _ in range(count)]

    def turn(group: str) -> tuple[object, ...]:
        """Who has a fold is first; then the rarest class, which has the least room to be evened out."""
        rare = rarest[group]
        return group not in found, common[rare], rare, -has[group][rare], -has[group].total(), _draw(str(seed), group)

    for group in sorted(has, key=turn):
        if group not in found:
            rare = rarest[group]
            found[group] = min(range(count), key=lambda fold: (dealt[fold][rare], dealt[fold].total(), fold))
        dealt[found[group]].update(has[group])
    return [found[group] for group in groups]


def rarest_classes(groups: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Say which class each group counts for.

    Group to the one of its classes that the fewest images have; of equals the first in the alphabet.
    """
    common = Counter(classes)
    rarest: dict[str, str] = {}
    for group, name in zip(groups, classes, strict=True):
        rarest[group] = min(rarest.get(group, name), name, key=lambda one: (common[one], one))
    return rarest


def drawn_by_name(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Draw some of many images, group by group: the same ones each time, whatever else there is.

    In the order of ``samples``.
    """
    first = sorted(samples, key=lambda sample: (_draw("drawn", sample.group), _draw("drawn", sample.image_id)))
    chosen = {id(sample) for sample in first[:count]}
    return [sample for sample in samples if id(sample) in chosen]


def _held_out_groups(samples: Iterable[Sample], fraction: float) -> set[str]:
    """Groups that are held out, of each data set by itself."""
    domains: dict[str, dict[str, None]] = defaultdict(dict)
    for sample in samples:
        domains[sample.domain].setdefault(sample.group)
    return {group for groups in domains.values() for group in _held_out(groups, fraction)}


def _held_out(groups: Iterable[str], fraction: float) -> list[str]:
    """Hold groups out by their hash; of three or more at least one, where any is asked for."""
    draws = {group: _draw(HELD_OUT_SALT, group) for group in groups}
    held = [group for group, draw in draws.items() if draw < fraction]
    if not held and fraction > 0 and len(draws) >= ENOUGH:
        held = [min(draws, key=draws.__getitem__)]
    return held


def _apportioned(sizes: dict[tuple[str, str], int], wanted: int, salt: str) -> dict[tuple[str, str], int]:
    """Share ``wanted`` places out by size; what division leaves goes to the largest remainders."""
    total = sum(sizes.values())
    exact = {key: wanted * size / total for key, size in sizes.items()}
    shares = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(sizes, key=lambda key: (shares[key] - exact[key], _draw(salt, "/".join(key))))
    for key in by_remainder[: wanted - sum(shares.values())]:
        shares[key] += 1
    return shares


def _draw(salt: str, name: str) -> float:
    """Draw a number in [0, 1) that belongs to a name: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(f"{salt} {name}".encode()).digest()[:6]) / 2**48
