"""How two ways to write one word are seen to be the same: case, accents, hyphens and blanks do not count."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NEGATIVE = re.compile(r"\s*-\d+(?:\.\d+)?\s*")  # -1 is not 1
_SEPARATORS = re.compile(r"[^\w/+<>.]+|_+")
_SINGLE_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l"})  # no accent that falls off
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@lru_cache(maxsize=4096)
def normalize_wording(word: str) -> str:
    """Write a word in the one way in which words are compared.

    Lower case without accents, its parts with single blanks between them.
    """
    if _NEGATIVE.fullmatch(word):
        return word.strip()
    parts = unicodedata.normalize("NFKD", word.lower().translate(_SINGLE_LETTERS))
    bare = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return _SEPARATORS.sub(" ", bare).strip(" .")


def normalized_spellings(word: str) -> tuple[str, ...]:
    """Give the plain forms of a word: with an umlaut without its dots, and spelt out with an e.

    One or two.
    """
    composed = unicodedata.normalize("NFC", word.lower())
    return tuple(dict.fromkeys((normalize_wording(word), normalize_wording(composed.translate(_SPELT_OUT)))))
