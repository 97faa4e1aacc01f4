"""Normalize wordings for comparison: case, accents, hyphens and spaces do not count."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NEGATIVE = re.compile(r"\s*-\d+(?:\.\d+)?\s*")  # -1 is not 1
_SEPARATORS = re.compile(r"[^\w/+<>.]+|_+")
_SINGLE_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l"}
)  # letters without a separable accent
_SPELLED_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@lru_cache(maxsize=4096)
def normalize_wording(word: str) -> str:
    """Normalize a word: lower case without accents, parts separated by single spaces."""
    if _NEGATIVE.fullmatch(word):
        return word.strip()
    parts = unicodedata.normalize("NFKD", word.lower().translate(_SINGLE_LETTERS))
    bare = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return _SEPARATORS.sub(" ", bare).strip(" .")


def normalized_spellings(word: str) -> tuple[str, ...]:
    """Return the one or two normalized spellings of a word: umlauts as plain letters, and spelled out with an e."""
    composed = unicodedata.normalize("NFC", word.lower())
    return tuple(dict.fromkeys((normalize_wording(word), normalize_wording(composed.translate(_SPELLED_OUT)))))
