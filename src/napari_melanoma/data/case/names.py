"""What names of files and folders say of an image: ``back_left_2_dermoscopy.jpg``, ``PAT_1516_1765_530.png``.

People name files in their own way, so all that is found here is a guess. A file's own name counts before those of its
folders, the inner folder before the outer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from napari_melanoma.data.case.facts import Facts, together
from napari_melanoma.data.places import NOWHERE, Place, joined, place
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.io.finding import SLIDE_SUFFIXES

LONGEST = 5  # words that are looked up together
SHORTEST = 3  # letters of a word that may name a place; side and modality have abbreviations that mean much else
LARGEST_NUMBER, MOST_DIGITS = 99, 3  # of a lesion; more is a counter of a camera
EARLIEST = "1995"  # a day before there were digital photographs is one of birth

_PAD_UFES = re.compile(r"(PAT_\d+)_(\d+)_\d+")
_PATIENT = re.compile(
    r"(?<![A-Za-z])(?:patient(?:in)?|paziente|paciente|pat|pt|case|fall)[ _.-]*[A-Za-z]{0,2}\d+"
    r"|(?<![A-Za-z\d])[Pp](?:[_-]\d{2,}|\d{2,6}|\d{8,})(?!\d)"  # P and seven digits is a counter of some cameras
    r"|(?<![A-Za-z\d])P-[0-9A-Z]{6}-[0-9A-Z]{6}(?![A-Za-z\d])",
    re.IGNORECASE,
)
_MONTH_AND_DAY = r"(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
_DAY = re.compile(rf"(?<!\d)((?:19|20)\d\d)([-_.]?){_MONTH_AND_DAY}(?!\d)")
_DAY_FIRST = re.compile(r"(?<!\d)(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.((?:19|20)\d\d)(?!\d)")
_NO_LESION = re.compile(
    r"(?<!\d)(?:[01]?\d|2[0-3])(?P<part>[-_.:])[0-5]\d(?P=part)[0-5]\d(?!\d)"  # a time
    r"|(?<!\d)\d{1,2}[-_.]\d{1,2}[-_.](?:19|20)\d\d(?!\d)"  # a day, who knows which
    r"|(?<!\d)\d+(?:[.,]\d+)?(?:x|mm|cm|[uµ]m|px|y|yo|yrs?|years?|jahre?|anos|años|ans|anni|jaar)(?![^\W\d_])"
    r"|(?<!\d)\d+of\d+(?!\d)|(?<![^\W\d_])v\d+(?!\d)"  # which of some, a version
    r"|\(\d+\)$",  # of a copy, or of many files that were renamed at once
    re.IGNORECASE,
)
_LESION = re.compile(r"(?<![A-Za-z\d])L(\d{1,2})(?!\d)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+|\d+")

LESION_WORDS = frozenset(
    (
        "lesion",
        "läsion",
        "laesion",
        "lesione",
        "lesao",
        "lesão",
        "lésion",
        "mole",
        "naevus",
        "nevus",
        "spot",
        "nr",
        "no",
    )
)
COUNTER_WORDS = frozenset(
    ("img", "dsc", "dscn", "dscf", "pxl", "isic", "image", "photo", "pic", "picture", "scan", "frame", "foto", "view")
)
TOO_GENERAL = frozenset(("photo", "photograph", "slide", "side", "mid"))  # what folders are called for other reasons


def facts_from_name(path: PurePath) -> Facts:
    """Guess from the names of a file and its folders."""
    is_slide = path.name.lower().endswith(SLIDE_SUFFIXES)
    kind = Facts.said("name", {"modality": "wsi" if is_slide else ""})
    stem = path.name.split(".")[0] if is_slide else path.stem
    return together((kind, *(_facts(name) for name in (stem, *reversed(path.parent.parts)))))


@dataclass
class _Reading:
    """One name being read: its words, and which of them have been understood."""

    words: list[str]
    used: set[int] = field(default_factory=set)

    def phrases(self) -> Iterator[tuple[range, str]]:
        """Words beside each other that are neither understood yet nor numbers, the most first."""
        for length in range(min(LONGEST, len(self.words)), 0, -1):
            for start in range(len(self.words) - length + 1):
                places = range(start, start + length)
                if self.used.isdisjoint(places) and not any(self.words[n].isdigit() for n in places):
                    yield places, " ".join(self.words[n] for n in places)

    def numbers(self) -> Iterator[tuple[int, int]]:
        """Where numbers stand that are not understood yet and may be of lesions, and the numbers."""
        for n, word in enumerate(self.words):
            if word.isdecimal() and n not in self.used and len(word) <= MOST_DIGITS and int(word) <= LARGEST_NUMBER:
                yield n, int(word)


def _facts(name: str) -> Facts:
    """What one name says."""
    cells: dict[str, str] = {}
    patient, lesion, rest = _patient(name)
    cells["taken_on"], rest = _day(rest)
    rest = _NO_LESION.sub(" ", rest)
    if numbered := _LESION.search(rest):
        lesion = lesion or numbered.group(1)
        rest = rest.replace(numbered.group(), " ", 1)
    reading = _Reading(_WORD.findall(_CAMEL.sub(" ", rest)))
    lesion = lesion or _named_lesion(reading)
    end, cells["modality"] = _modality(reading)
    found = _place(reading)
    cells |= found._asdict()
    if not lesion and (found != NOWHERE or cells["modality"]):
        lesion = next((str(number) for n, number in reading.numbers() if n < end), "")
    return Facts.said("name", cells, patient=patient, lesion=lesion.lstrip("0"))


def _patient(name: str) -> tuple[str, str, str]:
    """What a name calls the patient and, in the manner of PAD-UFES-20, the lesion; and what is left of it."""
    if pad := _PAD_UFES.fullmatch(name):
        return pad.group(1), pad.group(2), ""
    found = _PATIENT.search(name)
    return (found.group(), "", name.replace(found.group(), " ", 1)) if found else ("", "", name)


def _day(name: str) -> tuple[str, str]:
    """The day that a name tells, the latest of several, as one may be of birth; and what is left of the name."""
    days = ["-".join(found.group(1, 3, 4)) for found in _DAY.finditer(name)]
    days += [f"{year}-{month:>02}-{day:>02}" for day, month, year in _DAY_FIRST.findall(name)]
    rest = _DAY_FIRST.sub(" ", _DAY.sub(" ", name))
    return max((day for day in days if day >= EARLIEST), default=""), rest


def _named_lesion(reading: _Reading) -> str:
    """The number behind a word for a lesion; numbers of cameras are passed over."""
    lesion = ""
    for n, word in enumerate(reading.words[:-1]):
        if not reading.words[n + 1].isdigit():
            continue
        if word.lower() in LESION_WORDS and not lesion:
            lesion = reading.words[n + 1]
            reading.used |= {n, n + 1}
        elif word.lower() in COUNTER_WORDS:
            reading.used |= {n, n + 1}
    return lesion


def _modality(reading: _Reading) -> tuple[int, str]:
    """How the image was taken, and where in the name that stands: a number behind it counts images, not lesions."""
    for places, phrase in reading.phrases():
        found = None if phrase.lower() in TOO_GENERAL else taxonomy("modality").translate(phrase)
        if found and found != UNKNOWN:
            reading.used |= set(places)
            return places.start, found
    return len(reading.words), ""


def _place(reading: _Reading) -> Place:
    """Where on the body, from all phrases that name a place and do not contradict each other."""
    known = NOWHERE
    sides = {side for n, word in enumerate(reading.words) if _is_clear((n,), reading.words) and (side := _side(word))}
    for places, phrase in list(reading.phrases()):
        if not reading.used.isdisjoint(places) or phrase.lower() in TOO_GENERAL or len(phrase) < SHORTEST:
            continue
        found = place(phrase)
        both = joined(known, found) if found and found != NOWHERE else None
        if both is not None and (both.site or _is_clear(places, reading.words)):
            known = both
            reading.used |= set(places)
    return known if len(sides) < 2 else known._replace(laterality="")


def _side(word: str) -> str:
    """The side that a word is, "" where it is none."""
    side = taxonomy("laterality").translate(word)
    return side if side in ("left", "right") else ""


def _is_clear(places: Sequence[int], words: Sequence[str]) -> bool:
    """Whether a side that is named alone is spelt out: ``dir`` and ``sin`` are other things in other names."""
    return len(places) == 1 and len(words[places[0]]) > SHORTEST
