"""Body sites: their words in the table columns ``site`` and ``sub_site``, their titles, and which contains which."""

from __future__ import annotations

from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy

LEFT, RIGHT, MIDLINE = "left", "right", "midline"
SiteKey = tuple[str, str]  # the word for a site, and its laterality; "" if unknown
# Unpaired sites, whose titles need no "midline"
MIDLINE_SITES = ("scalp", "forehead", "face", "nose", "lip", "chin", "nape", "mouth", "genital", "perianal")


def list_sites() -> tuple[str, ...]:
    """Return the words for all known sites, each followed by its sub-sites."""
    sites, sub_sites = load_taxonomy("site"), load_taxonomy("sub_site")
    return tuple(
        word
        for site in sites.words
        if site != UNKNOWN
        for word in (site, *(sub_site for sub_site in sub_sites.words if sub_sites.parent(sub_site) == site))
    )


def site_columns(word: str) -> tuple[str, str]:
    """Return the cells of the table columns ``site`` and ``sub_site`` for a word; "" if unknown."""
    sub_sites = load_taxonomy("sub_site")
    if word in sub_sites.words and word != UNKNOWN:
        return sub_sites.parent(word), word
    return ("", "") if word == UNKNOWN else (word, "")


def site_word(site: str, sub_site: str) -> str:
    """Return the narrower of two words, from the table columns ``site`` and ``sub_site``; "" if both are unknown."""
    return next((word for word in (sub_site, site) if word not in ("", UNKNOWN)), "")


def site_title(word: str, laterality: str = "") -> str:
    """Format a site for display, such as ``Left forearm`` or ``Chest, midline``."""
    if word in ("", UNKNOWN):
        return "Site unknown"
    taxonomy = next(
        (candidate for name in ("sub_site", "site") if word in (candidate := load_taxonomy(name)).words), None
    )
    title = taxonomy.title(word) if taxonomy else word
    if laterality in (LEFT, RIGHT):
        return f"{laterality.capitalize()} {title[0].lower()}{title[1:]}"
    return f"{title}, midline" if laterality == MIDLINE and word not in MIDLINE_SITES else title


def is_site_within(body_site: SiteKey, whole: SiteKey) -> bool:
    """Return whether a site or sub-site equals ``whole`` or lies within it; False if either is unknown."""
    (word, laterality), (whole_word, whole_laterality) = body_site, whole
    needs_side = whole_laterality not in ("", UNKNOWN) and word not in MIDLINE_SITES
    if {word, whole_word} & {"", UNKNOWN} or (needs_side and whole_laterality != laterality):
        return False
    sub_sites = load_taxonomy("sub_site")
    site = sub_sites.parent(word) if word in sub_sites.words else word
    return whole_word == word or load_taxonomy("site").is_within(site, whole_word)
