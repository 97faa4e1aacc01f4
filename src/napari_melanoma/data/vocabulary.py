"""The words of the public sets in ours: diagnosis, site, sex, age and the other columns that every data set shares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

COLUMNS = (
    *("image_id", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality", "diagnosis", "melanoma"),
    *("age", "sex", "site", "fitzpatrick", "diameter_1_mm", "diameter_2_mm", "diagnosis_by", "split"),
)
UNKNOWN = ("", "unknown", "unk", "na", "n/a", "nan", "none", "null", "uncertain")
NO_DIAGNOSIS = ("benign", "malignant", "indeterminate", "other", "true", "false", "yes", "no")  # nor is a number one

Words = dict[str, tuple[str, ...]]

DIAGNOSES: Words = {
    "nevus": (
        *("nv", "nev", "ml", "nevus", "naevus", "common nevus", "atypical nevus", "melanocytic nevus", "nevus nos"),
        *("blue nevus", "clark nevus", "combined nevus", "compound nevus", "congenital nevus", "dermal nevus"),
        *("dysplastic nevus", "halo nevus", "junctional nevus", "recurrent nevus", "reed nevus", "spitz nevus"),
        "reed or spitz nevus",
    ),
    "melanoma": (
        *("mel", "melanoma", "malignant melanoma", "melanoma nos", "acral lentiginous melanoma", "amelanotic melanoma"),
        *("desmoplastic melanoma", "nodular melanoma", "superficial spreading melanoma"),
    ),
    "melanoma in situ": (
        *("melanoma in situ", "in situ melanoma", "malignant melanoma in situ", "melanoma (in situ)", "mis"),
        "lentigo maligna",
    ),
    "invasive melanoma": (
        *("invasive melanoma", "melanoma invasive", "malignant melanoma invasive", "lentigo maligna melanoma"),
        *("melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)", "melanoma (more than 1.5 mm)"),
    ),
    "melanoma metastasis": ("melanoma metastasis", "metastatic melanoma", "melanoma metastatic"),
    "seborrheic keratosis": ("sk", "sek", "seborrheic keratosis", "seborrheic_keratosis", "seborrhoeic keratosis"),
    "benign keratosis": (
        *("bkl", "benign keratosis", "pigmented benign keratosis", "lichenoid keratosis"),
        *("lichen planus like keratosis", "solar lentigo"),
    ),
    "lentigo": ("lentigo", "lentigo nos", "lentigo simplex"),
    "basal cell carcinoma": ("bcc", "basal cell carcinoma"),
    "squamous cell carcinoma": ("scc", "squamous cell carcinoma"),
    "intraepithelial carcinoma": ("iec", "bod", "intraepithelial carcinoma", "bowen's disease"),
    "actinic keratosis": ("ak", "ack", "akiec", "actinic keratosis"),
    "dermatofibroma": ("df", "dermatofibroma"),
    "vascular lesion": ("vasc", "vascular lesion", "haemangioma", "hemangioma", "angioma"),
    "pyogenic granuloma": ("pyo", "pyogenic granuloma"),
}
MELANOMAS = ("melanoma", "melanoma in situ", "invasive melanoma", "melanoma metastasis")
SITES: Words = {
    "anterior torso": ("anterior torso", "abdomen", "chest"),
    "posterior torso": ("posterior torso", "back"),
    "lateral torso": ("lateral torso",),
    "torso": ("torso", "trunk"),
    "head/neck": ("head/neck", "face", "scalp", "neck", "ear", "nose", "lip"),
    "upper extremity": ("upper extremity", "arm", "forearm", "hand"),
    "lower extremity": ("lower extremity", "thigh", "foot", "leg"),
    "palms/soles": ("palms/soles", "acral"),
    "oral/genital": ("oral/genital", "genital"),
}
SEXES: Words = {"female": ("female", "f"), "male": ("male", "m")}
CONFIRMED: Words = {
    "histopathology": ("histopathology", "histo", "histology", "biopsy"),
    "consensus": ("consensus", "single image expert consensus"),
    "follow-up": ("follow_up", "follow-up", "serial imaging showing no change"),
    "confocal microscopy": ("confocal", "confocal microscopy"),
}
ALIASES: Words = {
    "image_id": ("image", "image_name", "isic_id", "img_id", "filename", "file_name", "file"),
    "age": ("age_approx", "age_approximate", "age_at_baseline"),
    "sex": ("gender",),
    "site": (
        *("anatom_site_general", "anatom_site_general_challenge", "anatom_site", "localization", "localisation"),
        *("location", "body_part", "region", "tbp_lv_location"),
    ),
    "diagnosis": ("dx", "diagnostic", "label", "class"),
    "diagnosis_by": ("dx_type", "diagnosis_confirm_type"),
    "fitzpatrick": ("fitspatrick", "fitzpatrick_scale", "fitzpatrick_skin_type", "skin_type"),
    "diameter_1_mm": ("diameter_1", "diameter_mm", "clin_size_long_diam_mm"),
    "diameter_2_mm": ("diameter_2",),
}


def harmonised(row: Mapping[str, str]) -> dict[str, str]:
    """Bring a row of a set's table to our columns and words.

    Parameters
    ----------
    row : mapping
        Column name to text, in the names and words of ISIC, HAM10000, PAD-UFES-20, iToBoS and their like.

    Returns
    -------
    dict
        Our column where one is meant, else the set's own; cells that say nothing are left out. Where two of its columns
        mean one of ours, the first that says something counts. ``melanoma`` follows from the diagnosis where that
        is one of ``DIAGNOSES``. A ``label`` or ``class`` that is no diagnosis stays under that name.
    """
    found: dict[str, str] = {}
    for name, word in row.items():
        column = _COLUMN.get(name.strip().lower(), name.strip())
        value = _TRANSLATORS[column](word) if column in _TRANSLATORS else word.strip()
        if column == "diagnosis" and not value and _plain(word) not in UNKNOWN:
            column, value = name.strip(), word.strip() if name.strip().lower() != "diagnosis" else ""
        if value and not found.get(column):
            found[column] = value
    if is_melanoma := melanoma(found.get("diagnosis", "")):
        found.setdefault("melanoma", is_melanoma)
    return found


def diagnosis(word: str) -> str:
    """Translate a diagnosis.

    Parameters
    ----------
    word : str
        A set's own word or code.

    Returns
    -------
    str
        Ours; the word itself in lower case where it is not known here, "" where it says that nobody knows, or where it
        is none: a number, or only that something is benign or malignant.
    """
    found = _translated(word, _DIAGNOSIS)
    return "" if found in NO_DIAGNOSIS or number(found) else found


def site(word: str) -> str:
    """Translate a place on the body to those of the ISIC archive.

    Parameters
    ----------
    word : str
        A set's own word.

    Returns
    -------
    str
        As ``diagnosis`` does.
    """
    return _translated(word, _SITE)


def sex(word: str) -> str:
    """Translate a sex.

    Parameters
    ----------
    word : str
        A set's own word.

    Returns
    -------
    str
        ``female``, ``male``, or "".
    """
    found = _translated(word, _SEX)
    return found if found in SEXES else ""


def number(word: str) -> str:
    """Write a number without a needless point, such as an age that a table states as ``55.0``.

    Parameters
    ----------
    word : str
        A number, perhaps with a point or a comma.

    Returns
    -------
    str
        The number, "" where it is none.
    """
    try:
        value = float(word.replace(",", "."))
    except ValueError:
        return ""
    return "" if value != value else f"{value:g}"


def melanoma(name: str) -> str:
    """Say whether a diagnosis is melanoma.

    Parameters
    ----------
    name : str
        In our words.

    Returns
    -------
    str
        ``1`` for those of ``MELANOMAS``, ``0`` for the others of ``DIAGNOSES``, "" for any other word: it may mean
        either.
    """
    return str(int(name in MELANOMAS)) if name in DIAGNOSES else ""


def _reversed(words: Words) -> dict[str, str]:
    """Each of their words to ours."""
    return {_plain(theirs): ours for ours, all_theirs in words.items() for theirs in (*all_theirs, ours)}


def _plain(word: str) -> str:
    """A word without what is written in many ways: case, commas, hyphens, underscores, spaces."""
    return re.sub(r"[\s,_-]+", " ", word).strip().lower()


def _translated(word: str, words: dict[str, str]) -> str:
    """Look a word up, however it is written."""
    plain = _plain(word)
    return "" if plain in UNKNOWN else words.get(plain, word.strip().lower())


_DIAGNOSIS, _SITE, _SEX, _BY = (_reversed(words) for words in (DIAGNOSES, SITES, SEXES, CONFIRMED))
_COLUMN = {theirs: ours for ours, all_theirs in ALIASES.items() for theirs in all_theirs} | {
    column: column for column in COLUMNS
}
_TRANSLATORS: dict[str, Callable[[str], str]] = {
    "diagnosis": diagnosis,
    "site": site,
    "sex": sex,
    "diagnosis_by": partial(_translated, words=_BY),
    **dict.fromkeys(("age", "fitzpatrick", "diameter_1_mm", "diameter_2_mm"), number),
}
