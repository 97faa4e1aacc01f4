"""The meaning of class names of models and of other programs: malignant, benign, neither, or open.

Names are read word by word, with negation, in the languages of the taxonomy: *Non-tumor* is no tumor, *non-pigmented
melanoma* and *BRAF-negative melanoma* are melanoma, *tumor stroma* is stroma, and *peritumoral* names no tumor. A name
that is a diagnosis means what the taxonomy states.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy, normalize_wording

# "ambiguous": may be malignant or benign; "structure": no lesion, or not the one that is named; "": unknown.
ClassMeaning = Literal["melanoma", "malignant", "tumor", "ambiguous", "nevus", "benign", "structure", "background", ""]
MALIGNANT: tuple[ClassMeaning, ...] = ("melanoma", "malignant")
BENIGN: tuple[ClassMeaning, ...] = ("nevus", "benign")
UNSPECIFIC: tuple[ClassMeaning, ...] = ("tumor", "ambiguous")
LESIONS = frozenset({"melanoma", "malignant", "spread", "tumor", "nevus", "benign"})
_NOUNS, _ADJECTIVES = ("melanoma", "tumor", "nevus"), ("malignant", "benign")
_STRUCTURES = frozenset({"structure", "background"})
# A negation does not extend beyond these marks and words.
_SEGMENTS = re.compile(r"[,;:/()\[\]|+&]|\b(?:but|aber|sondern|mais|pero|sino|mas|maar)\b", re.IGNORECASE)
_PREPOSITIONS = re.compile(r"\b(?:with|in|mit|im|avec|dans|con|com|em|met)\b", re.IGNORECASE)
_GLUED = re.compile(r"(non|nicht|niet)(\w{4,})")
# Words without a meaning of their own, by their normalized spelling
_FILLERS = frozenset(
    (
        *("a", "an", "the", "of", "for", "cell", "cells", "ein", "eine", "einen", "der", "die", "das", "von", "fur"),
        *("zelle", "zellen", "un", "une", "le", "la", "les", "de", "du", "d", "pour", "cellule", "cellules", "una"),
        *("uno", "el", "los", "las", "del", "para", "celula", "celulas", "il", "lo", "gli", "di", "da", "per"),
        *("cellula", "um", "uma", "o", "os", "do", "een", "het", "van", "voor", "cel", "cellen"),
    )
)
# The meanings of diagnoses by their groups, the first that applies
_GROUPS: tuple[tuple[str, ClassMeaning], ...] = (
    ("melanoma", "melanoma"),
    ("malignant", "malignant"),
    ("nevus", "nevus"),
    ("benign", "benign"),
    ("indeterminate", "ambiguous"),
    ("normal skin", "structure"),
    ("inflammatory", "structure"),
    ("genodermatosis", "structure"),
    ("other", "structure"),
)


@lru_cache(maxsize=4096)
def read_class_name(name: str) -> ClassMeaning:
    """Return the meaning of the name of a class; empty if it is unknown."""
    diagnosis = load_taxonomy("diagnosis").translate(name)
    if diagnosis not in (None, UNKNOWN):
        above = {*load_taxonomy("diagnosis").iter_ancestors(str(diagnosis))}
        return next((meaning for group, meaning in _GROUPS if group in above), "")
    meaning = _combine(*_read_lesions(name))
    return "ambiguous" if "?" in name and meaning in (*MALIGNANT, *BENIGN) else meaning


def excludes_lesion(name: str, lesion: str) -> bool:
    """Whether a name states that it is not of a kind of ``LESIONS``, as *non-melanoma* does of melanoma."""
    stated, negated = _read_lesions(name)
    return lesion in negated - stated and "?" not in name


def _read_lesions(name: str) -> tuple[set[str], set[str]]:
    """Return what a name states, and the lesions that it negates."""
    stated, negated = set[str](), set[str]()
    for segment in _SEGMENTS.split(name.replace("_", " ")):
        parts = [_read_words(part) for part in _PREPOSITIONS.split(segment)]
        known = [words for words in parts if any(words)] or [[]]
        _add_meanings(known[0], [word for words in known[1:] for word in words], stated, negated)
    return stated, negated


def _add_meanings(words: list[str], attributes: list[str], stated: set[str], negated: set[str]) -> None:
    """Add the meanings of a part of a name; ``attributes``: words after *with* or *in*."""
    words, single = _take_negated_words(words)
    negated.update(LESIONS.intersection(single))
    start = words.index("not") if "not" in words else len(words)
    before, after = words[:start], words[start + 1 :]
    lesions = [word for word in before if word in LESIONS]
    if _STRUCTURES & {*before} or ("area" in before and {*lesions} == {"benign"}):
        stated.add("background" if "background" in before else "structure")  # lesions are an attribute of it
    else:
        stated.update(lesions)
        (negated if start < len(words) else stated).update(LESIONS.intersection((*after, *attributes)))


def _take_negated_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the words that are negated alone: the one after *non*, and the one before *negative* or *free*.

    An adjective that follows directly belongs to the lesion before it, as in *non melanoma maligno*.
    """
    rest, negated = list[str](), list[str]()
    for before, word in zip(("", *words), words, strict=False):
        is_adjective = word in _ADJECTIVES and bool(negated) and negated[-1] == before in _NOUNS
        if before == "non" or is_adjective:
            negated.append(word)
        elif word == "non":
            continue
        elif word == "absent" and rest:
            negated.append(rest.pop())
        else:
            rest.append("not" if word == "absent" else word)
    return rest, negated


def _read_words(text: str) -> list[str]:
    """Return the meanings of the words of a text, "" for unknown ones."""
    words = list[str]()
    for word in normalize_wording(text).split():
        if word not in _FILLERS:
            words += _read_word(word)
        elif words and words[-1] == "absent":  # "free of", unlike "tumor-free"
            words[-1] = "not"
    return words


def _read_word(text: str) -> tuple[str, ...]:
    """Return the meaning of a word, preceded by a negation that is written in one word with it; "" if unknown."""
    words = load_taxonomy("class_word")
    found = words.translate(text)
    if found in (None, UNKNOWN) and (glued := _GLUED.fullmatch(text)):
        negated = words.translate(glued[2])
        return ("non", negated) if negated not in (None, UNKNOWN) else ("",)
    return ("" if found in (None, UNKNOWN) else str(found),)


def _combine(stated: set[str], negated: set[str]) -> ClassMeaning:
    if "spread" in stated:
        stated = stated | {"malignant"}
    if stated.intersection(MALIGNANT) and stated.intersection(BENIGN):
        return "ambiguous"
    opposite: dict[frozenset[str], ClassMeaning] = {
        frozenset({"malignant"}): "benign",
        frozenset({"benign"}): "malignant",
    }
    if stated <= {"tumor"} and (meaning := opposite.get(frozenset(negated))):
        return meaning
    others: tuple[ClassMeaning, ...] = ("tumor", "structure", "background")
    for meaning in (*MALIGNANT, *BENIGN, *others):
        if meaning in stated:
            return meaning
    return "structure" if negated else ""


def find_lesion_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes for detecting lesions if the user has not selected one; several if it is open which.

    Those named melanoma; without such a class, malignant ones, then tumors and lesions of any kind; then the last
    unknown class, the last nevus, the last benign class, the last structure, the last class. Empty without classes.
    """
    meanings = {name: read_class_name(name) for name in classes}
    for group in (("melanoma",), ("malignant",), UNSPECIFIC):
        if found := tuple(name for name, meaning in meanings.items() if meaning in group):
            return found
    for meaning in ("", "nevus", "benign", "structure", "background"):
        if found := tuple(name for name, own in meanings.items() if own == meaning):
            return found[-1:]
    return ()
