"""Names of readers, which may be spelled in several ways."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def identify_reader(name: str) -> str:
    """Return what identifies a reader: the name without differences of case, spaces and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def unify_names(names: Iterable[str]) -> dict[str, str]:
    """Return the spelling to show for each name of a reader: the same for all that identify one reader."""
    known = dict.fromkeys(names)
    shown: dict[str, str] = {}
    for name in sorted(known):
        shown.setdefault(identify_reader(name), name)
    return {name: shown[identify_reader(name)] for name in known}
