"""Where on the body a lesion is, put together from the columns that say it: site, place within it, and side."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.data.taxonomy.wording import plain

FILLERS = frozenset(
    (
        *("the", "of", "on", "side", "aspect", "der", "die", "das", "am", "an", "den", "la", "el", "los", "le", "les"),
        *("do", "da", "de", "del", "della", "il", "lo", "sur", "no", "na"),
    )
)
LEVELS = frozenset(("middle", "mid", "central", "center", "centre", "mitte", "mittig", "midden"))
_ELIDED = re.compile(r"\b(?:l|d|all|dell|nell|sull)['’]", re.IGNORECASE)  # or the l of l'aine would mean left


class Place(NamedTuple):
    """A place on the body; each part is "" where it is not said."""

    site: str = ""
    sub_site: str = ""
    laterality: str = ""


NOWHERE = Place()


@lru_cache(maxsize=16384)
def place(text: str, source: str = "") -> Place | None:
    """Understand a word for a place, such as ``left forearm`` or ``Torso Back Top Third``.

    Empty where it says that nobody knows, None where it is not understood.
    """
    words = plain(_ELIDED.sub(" ", text))
    whole = _looked_up(words, source)
    if whole is not None:
        return whole
    alone = taxonomy("laterality").translate(words)
    if alone is not None:
        return Place(laterality=alone)
    sides, rest = _parted(words.split())
    if len(sides) > 1:
        return None
    side = sides.pop() if sides else ""
    bare = [word for word in rest if word not in FILLERS]
    if not bare:
        return Place(laterality=side) if side else None
    found = _looked_up(" ".join(rest), source) or _looked_up(" ".join(bare), source)
    return found._replace(laterality=side) if found else None


def joined(first: Place, second: Place) -> Place | None:
    """Add to a place what another column says of it.

    Returns as exact as both together; None where they contradict each other, for then the first one holds.
    """
    sites = taxonomy("site")
    if first.site and second.site and not sites.within(second.site, first.site):
        if not sites.within(first.site, second.site) or second.sub_site:
            return None
        second = second._replace(site="")
    if first.sub_site and second.sub_site not in ("", first.sub_site):
        return None
    if first.laterality and second.laterality not in ("", first.laterality):
        return None
    return Place(*(new or old for old, new in zip(first, second, strict=True)))


def _looked_up(word: str, source: str) -> Place | None:
    """A word of the taxonomies; the most exact meaning counts."""
    sub_sites = taxonomy("sub_site")
    found = sub_sites.translate(word, source)
    if found and found != UNKNOWN:
        return Place(sub_sites.parent(found), found)
    site = taxonomy("site").translate(word, source)
    return None if site is None else NOWHERE if site == UNKNOWN else Place(site)


def _parted(words: Iterable[str]) -> tuple[set[str], list[str]]:
    """The sides that are named among some words, and the other words.

    Beside a place, ``middle`` and the like are passed over: of a finger or the back they do not mean the midline.
    """
    sides, rest = set[str](), list[str]()
    for word in words:
        side = taxonomy("laterality").translate(word)
        if side and side != UNKNOWN and word not in LEVELS:
            sides.add(side)
        elif word not in LEVELS:
            rest.append(word)
    return sides, rest
