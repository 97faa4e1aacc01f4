"""Sites of the body in words: those of the table's columns, their titles with a side, and which contain which."""

from __future__ import annotations

from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy

LEFT, RIGHT, MIDLINE = "left", "right", "midline"
SiteKey = tuple[str, str]  # a site and a laterality
# Unpaired sites
MIDLINE_SITES = ("scalp", "forehead", "face", "nose", "lip", "chin", "nape", "mouth", "genital", "perianal")


def list_site_words() -> tuple[str, ...]:
    """Return all words for sites, each site followed by its sub-sites."""
    sites, within = load_taxonomy("site"), load_taxonomy("sub_site")
    return tuple(
        word
        for site in sites.words
        if site != UNKNOWN
        for word in (site, *(site_key for site_key in within.words if within.parent(site_key) == site))
    )


def site_columns(word: str) -> tuple[str, str]:
    """Return the table columns ``site`` and ``sub_site`` of a word; "" if unknown."""
    within = load_taxonomy("sub_site")
    if word in within.words and word != UNKNOWN:
        return within.parent(word), word
    return ("", "") if word == UNKNOWN else (word, "")


def site_word(site: str, sub_site: str) -> str:
    """Return the word for the table columns ``site`` and ``sub_site``, the narrower one; "" if both are unknown."""
    return next((word for word in (sub_site, site) if word not in ("", UNKNOWN)), "")


def site_title(word: str, laterality: str = "") -> str:
    """Format a site, such as ``Left forearm`` or ``Chest, midline``."""
    if word in ("", UNKNOWN):
        return "Site unknown"
    words = next((known for name in ("sub_site", "site") if word in (known := load_taxonomy(name)).words), None)
    title = words.title(word) if words else word
    if laterality in (LEFT, RIGHT):
        return f"{laterality.capitalize()} {title[0].lower()}{title[1:]}"
    return f"{title}, midline" if laterality == MIDLINE and word not in MIDLINE_SITES else title


def is_site_within(body_site: SiteKey, whole: SiteKey) -> bool:
    """Return whether a site on the chart is or belongs to another site; False for unknown sites."""
    (word, laterality), (whole_word, side) = body_site, whole
    one_sided = side not in ("", UNKNOWN) and word not in MIDLINE_SITES
    if whole_word in ("", UNKNOWN) or (one_sided and side != laterality):
        return False
    site = load_taxonomy("sub_site").parent(word)
    return whole_word == word or load_taxonomy("site").is_within(site, whole_word)
