"""The answers of a classification: which class each row of the data sets is of, and what else its row says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import counted, first_few
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.tabular import UNKNOWN
from napari_melanoma.data.dataset import Entry, Sample, each_entry, usable
from napari_melanoma.data.features.joining import with_features
from napari_melanoma.data.features.unread import rare_words, unread_numbers
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.table_schema import AS_GIVEN, column_named
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.training.drawn_masks import drawn_mask

if TYPE_CHECKING:
    from napari_melanoma.training.classifying import ClassificationConfig
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.survey import Chosen

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
OTHER = "other"
MORE_IMAGES = "Add images of {missing} of other patients, or name the classes in classification.classes."
MORE_REGIONS = "Draw another region of {missing}, in another place or on another slide, and make the data set anew."
Key = tuple[str, str]


NEW_HEAD = (
    "To learn them too, name them in classification.classes; where these are those of the model that it starts from, "
    "take its encoder alone (model.take = 'encoder')."
)


@dataclass(frozen=True)
class ClassTable:
    """What the tables of data sets say.

    ``names``: the classes, in the order of the logits.
    """

    names: tuple[str, ...]
    answers: dict[Key, str]
    rows: dict[Key, dict[str, str]]
    others: dict[Key, str] = field(default_factory=dict)

    def label(self, sample: Sample) -> int:
        """Give the place of a sample's class among the names."""
        return self.names.index(self.answers[key_of(sample)])


def key_of(sample: Sample) -> Key:
    """Tell a row from all others."""
    return sample.domain, sample.image_id


def read_classes(
    folders: Iterable[str], asked: ClassificationConfig, learnt: Sequence[Sample], unanswered: Iterable[str] = ()
) -> ClassTable:
    """Read the answers of data sets.

    ``learnt``: of whose classes there are logits, where none are named.
    """
    rows, there = _read(folders, asked)
    if asked.target not in there:
        raise DataSetError(
            f"no table has a column '{asked.target}' (found: {', '.join(sorted(there))}). Set classification.target to "
            "the column that holds the answer."
        )
    answers = answers_of(rows, asked.target)
    known = sorted({answers[key_of(sample)] for sample in learnt if key_of(sample) in answers})
    binary = {OTHER, asked.target}.issuperset(answers.values())
    names = asked.classes or ((OTHER, asked.target) if binary and len(known) > 1 else tuple(known))
    _check(names, known, asked)
    beside, _ = _read(unanswered, asked)
    rows |= {key: {name: cell for name, cell in row.items() if name != asked.target} for key, row in beside.items()}
    others = {key: answer for key, answer in answers.items() if answer not in names}
    return ClassTable(names, {key: answer for key, answer in answers.items() if answer in names}, rows, others)


def strata_of(folders: Iterable[Path], target: str) -> dict[Key, str]:
    """Read what rows answer, whatever classes are asked for: what splits are stratified by.

    Data set and image id to the class; rows without an answer are not in it.
    """
    rows = {
        (folder.name, entry.image_id): {target: entry.row.get(target, "")}
        for folder in folders
        for entry in each_entry(folder)
        if isinstance(entry, Entry)
    }
    return answers_of(rows, target)


def looked_at(samples: Iterable[Sample], asked: ClassificationConfig) -> list[Sample]:
    """Keep the images that a classifier can look at, with the masks that it looks at.

    In their order.
    """
    if asked.view.region == "photograph":
        return [replace(sample, mask=None) for sample in samples]
    if asked.masks == "predicted":
        segmenter = find_bundle(asked.segmenter)
        return [replace(sample, mask=drawn_mask(sample, segmenter), review=None) for sample in samples]
    return usable(samples)


def class_counts(samples: Iterable[Sample], table: ClassTable) -> dict[str, int]:
    """Count the images of each class.

    In the order of the classes.
    """
    counts = Counter(table.answers[key_of(sample)] for sample in samples)
    return {name: counts[name] for name in table.names}


def with_answers(chosen: Chosen, table: ClassTable) -> tuple[Chosen, list[str]]:
    """Keep the images whose class is known."""
    strange = {table.others[key_of(one)] for one in (*chosen.read, *chosen.judged) if key_of(one) in table.others}
    why = f"are {', '.join(sorted(strange))}, which is not among the classes that are learnt,"
    chosen, notices = kept(chosen, lambda sample: key_of(sample) not in table.others, why)
    chosen, more = kept(chosen, lambda sample: key_of(sample) in table.answers, "have no answer")
    return chosen, [*(f"{notice} {NEW_HEAD}" for notice in notices), *more]


def unread_notices(chosen: Chosen, table: ClassTable, asked: ClassificationConfig) -> list[str]:
    """Describe cells of the chosen columns that count as unknown although something stands in them."""
    rows = {sample.image_id: table.rows.get(key_of(sample), {}) for sample in (*chosen.read, *chosen.judged)}
    numbers = [column.name for column in asked.tabular.numbers] if asked.tabular else []
    numbers += [asked.depth.column] if asked.depth and asked.depth.column not in numbers else []
    learn = {sample.image_id: table.rows.get(key_of(sample), {}) for sample in chosen.parts.learn}
    return [*unread_numbers(rows, numbers), *rare_words(learn, asked.tabular.words if asked.tabular else ())]


def kept(chosen: Chosen, wanted: Callable[[Sample], bool], why: str) -> tuple[Chosen, list[str]]:
    """Leave images out of every part, and say how many.

    A sentence, or none.
    """
    samples = [*chosen.read, *chosen.judged]
    gone = [sample for sample in samples if not wanted(sample)]
    if not gone:
        return chosen, []
    parts = chosen.parts
    parts = replace(
        parts,
        learn=[sample for sample in parts.learn if wanted(sample)],
        tuning=[sample for sample in parts.tuning if wanted(sample)],
        held_out=[sample for sample in parts.held_out if wanted(sample)],
    )
    base, aside = (tuple(filter(wanted, part)) for part in (chosen.base, chosen.base_held_out))
    notice = f"{len(gone)} of {len(samples)} images {why} and are left out: {first_few([s.image_id for s in gone])}."
    return replace(chosen, parts=parts, base=base, base_held_out=aside), [notice]


def check_classes(chosen: Chosen, table: ClassTable, what: str = "images", advice: str = MORE_IMAGES) -> None:
    """Refuse data in which a class is missing where it is needed."""
    parts = {"learn from": chosen.parts.learn, "tune with": chosen.parts.tuning}
    for part, samples in parts.items():
        counts = class_counts(samples, table)
        missing = [name for name in table.names if not counts[name]]
        if missing and (part == "learn from" or len(counts) - len(missing) < 2):
            raise DataSetError(
                f"among the {len(samples)} {what} to {part} none is of the class {' or '.join(missing)}. "
                f"{advice.format(missing=' and of '.join(missing))}"
            )


def check_every_answer(chosen: Chosen, recipe: TrainRecipe, table: ClassTable) -> None:
    """Refuse data in which a class is missing where it is needed, in the words of what they are of."""
    of_tiles = recipe.tile is not None
    check_classes(chosen, table, *(("tiles", MORE_REGIONS) if of_tiles else ("images", MORE_IMAGES)))


def answers_of(rows: Mapping[Key, Mapping[str, str]], target: str) -> dict[Key, str]:
    """Read the class of each row that says one.

    Data set and image id to the word in it; of a column of 1 and 0 to its name and 'other'.
    """
    said = {key: (row.get(target) or "").strip() for key, row in rows.items()}
    said = {key: word for key, word in said.items() if word and word.lower() != UNKNOWN}
    if {word.lower() for word in said.values()} <= {*YES, *NO}:
        return {key: target if word.lower() in YES else OTHER for key, word in said.items()}
    return said


def is_of(words: str, name: str) -> bool:
    """Say whether a diagnosis is of a class, as 'melanoma in situ' is of 'melanoma'.

    True where it is among the words.
    """
    return name in words.lower().split()


def _read(folders: Iterable[str], asked: ClassificationConfig) -> tuple[dict[Key, dict[str, str]], set[str]]:
    """Rows with the columns that are asked for alone, as tables may be large, and the names of all that there are."""
    chosen = (*asked.tabular.numbers, *asked.tabular.words) if asked.tabular else ()
    wanted = {asked.target, *(column.name for column in chosen), *([asked.depth.column] if asked.depth else [])}
    rows: dict[Key, dict[str, str]] = {}
    there: set[str] = set()
    for folder in (Path(name).expanduser() for name in folders):
        entries = [entry.row for entry in each_entry(folder) if isinstance(entry, Entry)]
        found = with_features(entries, Path(asked.features).expanduser()) if asked.features else entries
        for row in found if asked.features else found[:1]:  # all rows of a table have the same columns
            there.update(row)
        reading = _Reading(wanted)
        rows |= {(folder.name, str(row["image_id"])): reading.of({k: str(v) for k, v in row.items()}) for row in found}
    return rows, there | {name for row in rows.values() for name in row}


class _Reading:
    """Reads chosen columns; those that a table has under another name, in our words."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted
        self._harmoniser = Harmoniser()

    def of(self, row: dict[str, str]) -> dict[str, str]:
        """Take what was asked for from a row."""
        found = {name: row[name] for name in self._wanted if name in row}
        lacking = self._wanted - found.keys()
        if not lacking:
            return found
        ours = self._harmoniser.row(row)
        for name in lacking:
            column = column_named(name)
            given = f"{name}{AS_GIVEN}" if column and column.kind == "number" else name  # an impossible one is reported
            if text := ours.get(name) or ours.get(given):
                found[name] = text
        return found


def _check(names: Sequence[str], known: Sequence[str], asked: ClassificationConfig) -> None:
    """Refuse classes that nothing can be learnt from."""
    if len(known) < 2:
        raise DataSetError(
            f"the column '{asked.target}' has {counted(len(known), 'class')} among what is learnt from "
            f"({', '.join(known) or 'none'}), expected two or more: there is nothing to tell apart. Add some of "
            "another class, or set classification.target to another column."
        )
    if asked.positive not in names:
        raise DataSetError(
            f"classification.positive is '{asked.positive}', but the classes of '{asked.target}' are "
            f"{', '.join(names)}. Set it to one of them."
        )
