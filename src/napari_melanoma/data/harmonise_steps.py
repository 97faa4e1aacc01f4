"""The steps of harmonising a row, each a pure function from the cells that say something to what they say in ours.

Site, place within it and side are one step, diagnosis and what follows from it another; every other column is alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from napari_melanoma.data.cells import number, said
from napari_melanoma.data.column_names import Meaning
from napari_melanoma.data.diagnoses import Diagnosis, diagnosis_word, is_exact, told
from napari_melanoma.data.places import NOWHERE, joined, place
from napari_melanoma.data.table_schema import AS_GIVEN, column_named
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy

PLACES = ("site", "sub_site", "laterality")
DIAGNOSES = ("diagnosis", "diagnosis_detail")
FOLLOWS = ("target", "melanoma")
BESIDE = " // "  # between texts that are kept in one cell; no word has it, so that they mean nothing together


class Cell(NamedTuple):
    """A cell that says something: its column, its text, and what the column means."""

    column: str
    text: str
    meaning: Meaning


@dataclass
class Outcome:
    """What some cells of a row say."""

    found: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def not_understood(self, cell: Cell, fault: str = "unmapped") -> None:
        """Keep a cell as it is; a number in a column that may hold anything is no word that we should know."""
        if not cell.meaning.only_words:
            self.faults.append((fault, cell.meaning.ours, cell.text))
        elif number(cell.text) is None:
            self.faults.append((fault, cell.column, cell.text))
        self.keep(cell)

    def disagrees(self, cell: Cell) -> None:
        """Keep a cell that says otherwise than a better one, under its own name where that is not ours."""
        other = cell.meaning.ours if cell.column != cell.meaning.ours else "another column"
        self.disagreements.append(f"{cell.column} says otherwise than {other}")
        if column_named(cell.column):
            self.keep(cell)
        else:
            self.other[cell.column] = cell.text

    def keep(self, cell: Cell) -> None:
        """Keep a cell as it was given: beside our column, or under its own name where it may hold anything."""
        if cell.meaning.only_words:
            self.other[cell.column] = cell.text
        elif not cell.meaning.keeps:
            name = cell.meaning.ours + AS_GIVEN
            before = [self.other[name]] if name in self.other else []
            texts = BESIDE.join((*before, cell.text)).split(BESIDE)
            self.other[name] = BESIDE.join(dict.fromkeys(texts))


Step = Callable[[Iterable[Cell], str], Outcome]


def step_of(ours: str) -> tuple[str, Step]:
    """Say which step a column of ours belongs to.

    Takes the cells, those of our first column first and of one column the best first, and the source.
    """
    if ours in PLACES:
        return "place", understand_place
    if ours in DIAGNOSES or ours in FOLLOWS:
        return "diagnosis", understand_diagnosis
    return ours, understand_column


def understand_column(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand cells that mean one column of ours.

    Returns the first that says something counts.
    """
    outcome = Outcome()
    for cell in cells:
        column = column_named(cell.meaning.ours)
        assert column is not None
        value, fault = said(column, cell.text, source)
        if fault:
            outcome.not_understood(cell, fault)
        elif value and outcome.found.setdefault(column.name, value) != value:
            outcome.disagrees(cell)
    return outcome


def understand_place(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand site, place within it and side, each of which may be said with the others."""
    outcome, known = Outcome(), NOWHERE
    for cell in cells:
        found = place(cell.text, source)
        if found is None:
            outcome.not_understood(cell)
        elif (both := joined(known, found)) is None:
            outcome.disagrees(cell)
        else:
            known = both
    outcome.found = {ours: value for ours, value in zip(PLACES, known, strict=True) if value}
    return outcome


def understand_diagnosis(cells: Iterable[Cell], source: str) -> Outcome:
    """Understand class and subtype, and what follows from them for malignancy where the row does not say it.

    Returns the most exact diagnosis that does not contradict the first one.
    """
    given = list(cells)
    outcome = understand_column((cell for cell in given if cell.meaning.ours in FOLLOWS), source)
    words = taxonomy("diagnosis")
    best, vague, unsure = "", list[tuple[Cell, str]](), False
    against: list[Cell] = []
    for cell in (cell for cell in given if cell.meaning.ours in DIAGNOSES):
        word = None if BESIDE in cell.text else diagnosis_word(cell.text, source)
        exact = word is not None and is_exact(cell.text, source)
        if not exact:
            outcome.not_understood(cell)  # and kept: what is understood of it may count all the same
        unsure = unsure or word is None
        if word is None or word == UNKNOWN or (best and words.within(best, word)):
            continue
        if told(word).group:
            vague.append((cell, word))
        elif not best or words.within(word, best):
            best = word
        elif exact and not (cell.meaning.keeps and told(word).diagnosis == told(best).diagnosis):
            against.append(cell)  # not two subtypes of one class, such as in situ and superficial spreading
    _keep(outcome, best, vague, against, source)
    _follow(outcome, told(best), Diagnosis() if best or unsure else _vaguely([told(word) for _, word in vague]))
    return outcome


def _vaguely(words: Sequence[Diagnosis]) -> Diagnosis:
    """What words that are less than a diagnosis say together of malignancy; nothing where they differ."""
    targets = {word.target for word in words}
    melanomas = {word.melanoma for word in words if word.melanoma}
    return Diagnosis(target=targets.pop(), melanoma="".join(melanomas)) if len(targets) == 1 else Diagnosis()


def _keep(outcome: Outcome, best: str, vague: Iterable[tuple[Cell, str]], against: Iterable[Cell], source: str) -> None:
    """Keep words that contradict the diagnosis, and those that are less than one where there is none."""
    for cell in against:
        outcome.disagrees(cell)
    for cell, word in vague:
        if not is_exact(cell.text, source):
            continue  # kept already
        if not best:
            outcome.keep(cell)
        elif not taxonomy("diagnosis").within(best, word):
            outcome.disagrees(cell)


def _follow(outcome: Outcome, known: Diagnosis, vaguely: Diagnosis) -> None:
    """Fill in what a diagnosis says; a row's own word on malignancy comes first, vague words last."""
    found = outcome.found
    found |= {"diagnosis": known.diagnosis} if known.diagnosis else {}
    found |= {"diagnosis_detail": known.detail} if known.detail else {}
    for column, value in (("melanoma", known.melanoma), ("target", known.target)):
        if value and found.setdefault(column, value) != value:
            outcome.disagreements.append(f"{column} says otherwise than the diagnosis")
    if target := "1" if found.get("melanoma") == "1" else vaguely.target:
        found.setdefault("target", target)
    if found.get("melanoma") == "1" and found.get("target") == "0" and not known.diagnosis:  # else said above
        outcome.disagreements.append("target says otherwise than melanoma")
    if found.get("target") == "0" or (vaguely.melanoma == "0" and found.get("target") == vaguely.target):
        found.setdefault("melanoma", "0")
