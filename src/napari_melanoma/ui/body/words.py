"""Places on the body in words: what the chart's sites are called, and which of them a word of the taxonomies means."""

from __future__ import annotations

from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.ui.body.parts import LEFT, MIDLINE, RIGHT, Place

NOWHERE: Place = ("", "")
# Sites of which a body has one; where they are broad, a click says on which side it was.
ALWAYS_MIDDLE = ("scalp", "forehead", "face", "nose", "lip", "chin", "nape", "mouth", "genital", "perianal")
BROAD = ("scalp", "forehead", "face", "lip", "chin", "nape")
# What a mark for a whole region is put beside; the others are in too many places for that.
WHOLE_REGIONS = {
    "head/neck": "face",
    "upper extremity": "upper arm",
    "lower extremity": "thigh",
    "anterior torso": "chest",
    "posterior torso": "upper back",
    "lateral torso": "flank",
}


def words() -> tuple[str, ...]:
    """Give every word for a place: each body site with the places within it after it."""
    sites, within = taxonomy("site"), taxonomy("sub_site")
    return tuple(
        word
        for site in sites.words
        if site != UNKNOWN
        for word in (site, *(place for place in within.words if within.parent(place) == site))
    )


def columns_of(word: str) -> tuple[str, str]:
    """Say what stands in the table for a place.

    Cells of ``site`` and ``sub_site``; "" where nothing is known.
    """
    within = taxonomy("sub_site")
    if word in within.words and word != UNKNOWN:
        return within.parent(word), word
    return ("", "") if word == UNKNOWN else (word, "")


def word_of(site: str, sub_site: str) -> str:
    """Say which place the cells of a table mean.

    Returns the narrower of the two; "" where neither is known.
    """
    return next((word for word in (sub_site, site) if word not in ("", UNKNOWN)), "")


def title(word: str, laterality: str = "") -> str:
    """Say a place as people do.

    Such as ``Left forearm`` or ``Chest, midline``.
    """
    if word in ("", UNKNOWN):
        return "Site unknown"
    words = next((known for name in ("sub_site", "site") if word in (known := taxonomy(name)).words), None)
    said = words.title(word) if words else word
    if laterality in (LEFT, RIGHT):
        return f"{laterality.capitalize()} {said[0].lower()}{said[1:]}"
    return f"{said}, midline" if laterality == MIDLINE and word not in ALWAYS_MIDDLE else said


def is_within(place: Place, whole: Place) -> bool:
    """Tell whether a place of the chart is one that was chosen, or belongs to it.

    False for what is not known.
    """
    (word, laterality), (wanted, side) = place, whole
    one_sided = side not in ("", UNKNOWN) and word not in ALWAYS_MIDDLE
    if wanted in ("", UNKNOWN) or (one_sided and side != laterality):
        return False
    site = taxonomy("sub_site").parent(word)
    return wanted == word or taxonomy("site").within(site, wanted)
