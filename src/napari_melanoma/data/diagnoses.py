"""What a diagnosis says: its class, its subtype, and whether that is malignant or a melanoma."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy

MELANOMA = "melanoma"


class Diagnosis(NamedTuple):
    """A diagnosis in the columns of the table; each is "" where it is not said.

    ``group`` is a word that is less than a diagnosis, such as ``benign``.
    """

    diagnosis: str = ""
    detail: str = ""
    target: str = ""
    melanoma: str = ""
    group: str = ""


@lru_cache(maxsize=16384)
def diagnosis_word(text: str, source: str = "") -> str | None:
    """Look a diagnosis up.

    A word of the taxonomy; ``unknown`` where nobody knows, None where it is not understood.
    """
    words = taxonomy("diagnosis")
    found = (words.translate(part, source) for part in reversed(text.split("::")) if part.strip())
    return next((word for word in found if word is not None), None)


def is_exact(text: str, source: str = "") -> bool:
    """Tell whether a diagnosis is understood as exactly as it is written.

    False where the last part of a path is not known.
    """
    parts = [part for part in text.split("::") if part.strip()]
    return bool(parts) and taxonomy("diagnosis").translate(parts[-1], source) is not None


@lru_cache(maxsize=4096)
def told(word: str) -> Diagnosis:
    """Say what follows from a diagnosis.

    Its class and, where the word is more exact, the word itself.
    """
    words = taxonomy("diagnosis")
    if word in ("", UNKNOWN):
        return Diagnosis()
    target = words.fact(word, "target")
    surely_not = words.fact(word, "melanoma") or ("0" if target and not words.within(MELANOMA, word) else "")
    melanoma = "1" if words.within(word, MELANOMA) else surely_not
    level = words.fact(word, "level")
    if level == "group":
        return Diagnosis(target=target, melanoma=melanoma, group=word)
    above = next(up for up in words.line(word) if words.fact(up, "level") == "diagnosis")
    return Diagnosis(above, word if word != above else "", target, melanoma)
