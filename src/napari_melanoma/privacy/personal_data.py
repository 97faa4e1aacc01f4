"""Rules that recognize personal data in free text, and properties of slides that are harmless."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

# Parts of patterns
CAPITAL = r"[^\W\d_a-zà-ÿ][\w'’-]*"
YEAR = r"(?:19|20)\d\d"
DATE = rf"\b(?:{YEAR}[-/.:](?:0?[1-9]|1[0-2])[-/.:](?:0?[1-9]|[12]\d|3[01])|\d\d?[./-]\d\d?[./-]{YEAR})(?!\d)"
_MAYBE_DATE = re.compile(r"\d[-/.:]\d\d?[-/.:]\d")
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}")
_ROOT_FOLDERS = (
    r"home|Users|root|mnt|media|data|work|workspace|tmp|var|opt|srv|scratch|Volumes|net|nfs|private|cluster|projects?"
)
_PATH_START = r"(?:file://|(?<![\w./:<>-]))"  # not within a web address or a relative path
_PATH = re.compile(
    rf"{_PATH_START}/(?:{_ROOT_FOLDERS})/[^\s\"'<>|,;:)\]}}]+"
    r"|(?<![\w])[A-Za-z]:\\{1,2}(?=[\w.$~ -])[^\s\"'<>|*?,;)\]}]+"
    r"|(?<![\\\w])\\\\[A-Za-z][\w.-]*\\[\w$.-]+"
)
_ACCOUNT = re.compile(rf"(?:{_PATH_START}/(?:home|Users)/|:\\{{1,2}}Users\\{{1,2}})([^/\\\s\"']+)")
_SHARED_ACCOUNTS = ("shared", "public", "runner", "user", "ubuntu", "root")
# A name as in DICOM: Doe^Jane
CARET_NAME = re.compile(r"\b[^\W\d_][\w'-]+\^[^\W\d_][\w'-]*")
_WORD_START = r"(?<![^\W_])"  # also after an underscore, as in patient_name
_NAME_FIELD = re.compile(
    rf"{_WORD_START}(?:patient(?:'s)?(?:[ _]name)?|name of (?:the )?patient|surname|(?:last|first)[ _]name|"
    r"patientenname|nachname|vorname|apellidos?|nombre|cognome|sobrenome|prénom|achternaam)[\"']?[ \t]*[:=][ \t]*[\"']?"
    rf"(?-i:({CAPITAL}(?:,? {CAPITAL}){{0,3}}))",
    re.I,
)
_BORN = re.compile(
    rf"{_WORD_START}(?:born|birth|dob|geb\.|geboren|nacid|nascid|née?)\W[^\n]{{0,24}}?"
    rf"({DATE}|\d\d?[./]\d\d?[./]\d\d(?!\d))",
    re.I,
)
_VISIT = re.compile(
    rf"\b(?:visit|admitted|biops\w+|acquired|taken|examin\w+|excis\w+|operated|consult\w+)\W[^\n]{{0,24}}?({DATE})",
    re.I,
)
AGES = ("age", "age approx", "patient age")  # normalized names of fields
MAX_AGE = 89  # the Safe Harbor method of HIPAA requires that higher ages are combined


def find_in_text(text: str) -> Iterator[tuple[str, str]]:
    """Yield the first identifying information of each type in free text: its type, and the text.

    Types: ``contact``, ``path``, ``user``, ``person``, ``birth``, ``date``.
    """
    # Most texts have none of these characters; checking for them first takes a tenth of the time.
    if "@" in text and (hit := EMAIL.search(text)):
        yield "contact", hit.group()
    if "/" in text or "\\" in text:
        if hit := _PATH.search(text):
            yield "path", hit.group()
        account = next((name for name in _ACCOUNT.findall(text) if name.lower() not in _SHARED_ACCOUNTS), "")
        if account:
            yield "user", account
    if "^" in text and (hit := CARET_NAME.search(text)):
        yield "person", hit.group()
    elif (":" in text or "=" in text) and (hit := _NAME_FIELD.search(text)):
        yield "person", hit.group(1)
    if _MAYBE_DATE.search(text):
        for kind, rule in (("birth", _BORN), ("date", _VISIT)):
            if hit := rule.search(text):
                yield kind, hit.group(1)


# Properties of slides

_MAX_TEXT = 200  # characters of a property; longer values are descriptions, which may contain anything
# Last part of the name of a property that cannot identify anyone; names, dates, ids, users and files are not listed
_HARMLESS_PROPERTY = re.compile(
    r"(mpp(-?[xy])?|app ?mag|objective.*|magnification|.*objectivepower|objective-power|vendor|level-count|"
    r"(tile-?)?(height|width)|downsample|bounds-(x|y|width|height)|background-color|"
    r"make|model|manufacturer(modelname)?|product|software(versions)?|acquisitionsoftware|descriptionversion|"
    r"[xy]resolution|resolutionunit|physicalsize[xyz](unit)?|size[xyczt]|type|dimensionorder|"
    r"compression|quality|jpeg.?quality|imagetype|exposure ?time|signalunits|icc ?profile|"
    r"pixelspacing(\[\d\])?|totalpixelmatrix(rows|columns|focalplanes)|imagedvolume(depth|height|width)|numberofframes|"
    r"numberofopticalpaths|photometricinterpretation|modality|focusmethod|sourcelens|stripewidth|filtered|gamma)",
    re.IGNORECASE,
)


def filter_private_properties(properties: Mapping[str, str]) -> Mapping[str, str]:
    """Return the properties of a slide that cannot identify a patient, read-only and sorted.

    Only properties with a harmless name and a short value are returned.
    """
    harmless = {
        name: value for name, value in sorted(properties.items()) if _is_harmless(name) and len(value) <= _MAX_TEXT
    }
    return MappingProxyType(harmless)


def _is_harmless(name: str) -> bool:
    """Whether the name of a property, or its last part, is known to be harmless."""
    return _HARMLESS_PROPERTY.fullmatch(re.split(r"[.\s](?=[^.\s]*$)", name)[-1]) is not None or (
        _HARMLESS_PROPERTY.fullmatch(name) is not None
    )
