"""The words of the public sets in ours: diagnosis, site, sex, age and the other columns that every data set shares."""

from __future__ import annotations

COLUMNS = (
    *("image_id", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality", "diagnosis", "melanoma"),
    *("age", "sex", "site", "fitzpatrick", "diameter_1_mm", "diameter_2_mm", "diagnosis_by", "split"),
)
UNKNOWN = ("", "unknown", "unk", "na", "n/a", "nan", "none", "null", "uncertain")

DIAGNOSES = {
    "nevus": ("nv", "nev", "ml", "nevus", "naevus", "common nevus", "atypical nevus", "melanocytic nevus"),
    "melanoma": ("mel", "melanoma", "malignant melanoma"),
    "seborrheic keratosis": ("sk", "sek", "seborrheic keratosis", "seborrheic_keratosis", "seborrhoeic keratosis"),
    "benign keratosis": ("bkl", "benign keratosis", "pigmented benign keratosis"),
    "basal cell carcinoma": ("bcc", "basal cell carcinoma"),
    "squamous cell carcinoma": ("scc", "squamous cell carcinoma"),
    "intraepithelial carcinoma": ("iec", "bod", "intraepithelial carcinoma", "bowen's disease"),
    "actinic keratosis": ("ak", "ack", "akiec", "actinic keratosis"),
    "dermatofibroma": ("df", "dermatofibroma"),
    "vascular lesion": ("vasc", "vascular lesion", "haemangioma", "hemangioma"),
    "pyogenic granuloma": ("pyo", "pyogenic granuloma"),
}
SITES = {
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
SEXES = {"female": ("female", "f"), "male": ("male", "m")}


def diagnosis(word: str) -> str:
    """Translate a diagnosis.

    Parameters
    ----------
    word : str
        A set's own word or code.

    Returns
    -------
    str
        Ours; the word itself in lower case where it is not known here, "" where it says that nobody knows.
    """
    return _translated(word, _DIAGNOSIS)


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
        ``1``, ``0``, or "" where the diagnosis is not known.
    """
    return "" if not name else str(int(name == "melanoma"))


def _reversed(words: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Each of their words to ours."""
    return {theirs: ours for ours, all_theirs in words.items() for theirs in all_theirs}


def _translated(word: str, words: dict[str, str]) -> str:
    """Look a word up, whatever its case."""
    plain = word.strip().lower()
    return "" if plain in UNKNOWN else words.get(plain, plain)


_DIAGNOSIS, _SITE, _SEX = _reversed(DIAGNOSES), _reversed(SITES), _reversed(SEXES)
