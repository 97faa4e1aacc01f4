"""Rules that recognize personal data in the fields of files and in file names, and the findings of an audit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from napari_melanoma.privacy.personal_data import (
    AGES,
    CAPITAL,
    CARET_NAME,
    DATE,
    EMAIL,
    MAX_AGE,
    YEAR,
    find_in_text,
)
from napari_melanoma.privacy.pseudonyms import SHAPE

# Type of information, and a pattern of normalized field names that indicate it; the first match counts
_FIELD_PATTERNS = (
    (
        "birth",
        r"\bbirth(?!\s?name)|\bdob\b|birthday|geburtsd|geburtsj|geboren|^geb$|\bgeb (datum|am)\b|nacimiento|"
        r"\bfecha nac\b|nascimento|naissance|nascita",
    ),
    (
        "person",
        r"\b(patient|subject|person|participant)s?( s)? ?names?\b|"
        r"\b(sur|last|first|family|given|middle|maiden|full|birth) ?name\b|^names?$|^patient$|patientenname|nachname|"
        r"vorname|familienname|apellidos?\b|\bnombre\b|cognome|sobrenome|nom de famille|\bpr[eé]nom\b|achternaam|"
        r"voornaam|^(nom|nome|naam)$|^initials$|\bpatient initials\b",
    ),
    (
        "record",
        r"\bmrn\b|medical record|"
        r"\b(hospital|patient|chart|accession|insurance|passport|nhs|health card|social security) ?(number|no|nr|id)\b|"
        r"\b(fall|kv|krankenkassen|akten) ?(nummer|nr|no|id)\b|codice fiscale|"
        r"^(rut|nif|nie|dni|cpf|nir|bsn|ahv)( nr)?$|"
        r"\bssn\b|fallnummer|patientennummer|versicher|\bbarcode( value)?$|other patient ids?",
    ),
    (
        "contact",
        r"\be ?mail\b|\btele ?phone|\bphone\b|\bmobile\b|\bfax\b|^tel( nr)?$|^handy$|\baddress\b|\bstreet\b|post ?code|"
        r"\bzip ?code\b|^zip$|telefon|anschrift|strasse|\bplz\b|direcci[oó]n|endere[cç]o|\badresse\b",
    ),
    (
        "staff",
        r"physician|\bdoctor\b|\boperators?( name)?\b|experimenter|technician|\breferring\b|\breviewer\b|\bartist\b|"
        r"\bauthors?\b|\bowner( name)?\b|\buser ?name\b|^user$|last modified by|^creator$",
    ),
    (
        "device",
        r"\bserial\b|\bhost ?(name|computer)\b|computer ?name|station name|machine name|device id|scan ?scope id",
    ),
    (
        "location",
        r"\bgps\b|\blatitude\b|\blongitude\b|\binstitution|hospital name|clinic name|department name|^wohnort$|^city$",
    ),
    ("date", r"\bdate of death\b|\bdeath date\b|\bdod\b|sterbedatum"),
)
_FIELD_RULES = tuple((kind, re.compile(rule)) for kind, rule in _FIELD_PATTERNS)
# Fields in which a date does not concern a patient, such as the date of a file of this program
_PROGRAM_FIELDS = re.compile(
    r"^(created|updated|modified|written|reviewed at|started|finished|time|at|version|python|licen[cs]e|date released)$"
)
# Values without information
EMPTY_VALUE = re.compile(
    r"[\W_x]*|0+|anonym.*|unknown|removed|none|n/?a|null|nan|not .*|redacted|de-?identified.*", re.I
)
_PERSON_NAME = re.compile(rf"{CAPITAL}(?:(?:, ?| |\^){CAPITAL}\.?){{1,4}}\^*")
_STARTS_WITH_DATE = re.compile(rf"\s*(?:{DATE}|{YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{6}}.*)?\s*$)")
_DATE_IN_NAME = re.compile(r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)")
_SENTENCE = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}")
# Normalized field names of patient ids, and of free text
PATIENT_IDS = (
    *("patient id", "patientid", "subject id", "participant id", "pat id", "patid", "pat nr", "pat no", "patienten id"),
    *("paciente id", "id paciente", "id patient"),
)
_REMARKS = (
    "notes, comment, comments, remark, remarks, free text, clinical notes, clinical history, medical history, "
    "patient history, kommentar, kommentare, bemerkung, bemerkungen, anmerkung, anmerkungen, anamnese, freitext, "
    "observaciones, comentario, comentarios, observações, commentaire, commentaires, remarques, osservazioni, "
    "opmerkingen"
)
REMARKS = frozenset(_REMARKS.split(", "))
"""Table columns that contain free text."""


@lru_cache(4096)
def classify_field(key: str) -> str:
    """Return the type of information that the name of a column, tag or key indicates: one of ``KINDS``, or ""."""
    words = normalize_name(key)
    return next((kind for kind, rule in _FIELD_RULES if rule.search(words)), "")


@lru_cache(4096)
def normalize_name(key: str) -> str:
    """Split the name of a field into lowercase words."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", key)
    return re.sub(r"[^\w]+|_+", " ", words).casefold().strip()


def find_in_entry(entry: MetadataEntry) -> Iterator[tuple[str, str]]:
    """Yield the identifying information in an entry: its type, one of ``KINDS``, and the relevant part of the value."""
    value = entry.value.strip()
    if entry.kind:
        yield entry.kind, value
        return
    if EMPTY_VALUE.fullmatch(value):
        return
    kind = _classify_entry(entry, value)
    if kind:
        yield kind, value
        return
    hits = list(find_in_text(value))
    yield from hits
    if entry.free and not hits:
        yield "text", value


def find_in_name(name: str) -> Iterator[tuple[str, str]]:
    """Yield the identifying information in a file or folder name: its type, one of ``KINDS``, and the text."""
    for kind, rule in (("date", _DATE_IN_NAME), ("contact", EMAIL), ("person", CARET_NAME)):
        if hit := rule.search(name):
            yield kind, hit.group()


def is_date(text: str) -> bool:
    """Return whether a text starts with a full date; False for a year, a month or a plain number."""
    return bool(_STARTS_WITH_DATE.match(text))


def is_person(text: str) -> bool:
    """Return whether a text has the form of a personal name: two or more capitalized words."""
    return _PERSON_NAME.fullmatch(text.strip()) is not None


def _classify_entry(entry: MetadataEntry, value: str) -> str:
    """Return the type of information in an entry by the name of its field and its value; "" if there is none."""
    key = normalize_name(entry.key)
    if key in PATIENT_IDS:
        is_pseudonym = SHAPE.fullmatch(value) is not None
        is_identifier = (
            entry.source in ("dicom", "slide", "picture") or (value.isdigit() and len(value) > 4) or is_person(value)
        )
        return "record" if is_identifier and not is_pseudonym else ""
    if key in AGES:
        years = re.match(r"\d+", value)
        return "age" if years and MAX_AGE < int(years.group()) < 130 else ""
    if entry.source == "table" and key in REMARKS:
        return "text" if _SENTENCE.search(value) else ""
    kind = classify_field(entry.key)
    if kind == "person" and key in ("name", "names", "patient", "nombre"):
        kind = "person" if is_person(value) else ""
    if kind == "staff" and not re.search(r"[^\W\d_]{2}", value):
        kind = ""
    if not kind and is_date(value) and not _PROGRAM_FIELDS.match(key):
        kind = "date"
    return kind


# Entries and findings

EntrySource = Literal["picture", "slide", "dicom", "table", "text", "name"]
MAX_EXAMPLE_LENGTH = 40  # characters
KINDS = {
    "person": "a person's name",
    "birth": "a date or year of birth",
    "record": "a hospital number or id of a patient",
    "contact": "an address, telephone number or e-mail address",
    "staff": "the name of a staff member",
    "date": "a date of a visit, of a photograph or of a specimen",
    "age": "an age above 89, which few people reach",
    "location": "a location: coordinates or the name of an institution",
    "device": "a serial number or the name of a machine",
    "path": "a path in a file system",
    "user": "the name of a user account",
    "picture": "an embedded image: a label, an overview or a thumbnail",
    "text": "free text, which may contain anything",
}
"""Types of findings, with descriptions."""
REMEDIES: dict[EntrySource, str] = {
    "picture": "Share the PNG files that 'napari-melanoma lesion' writes, which contain only pixels, or remove it from "
    "a copy with 'exiftool -all= -tagsfromfile @ -icc_profile -orientation FILE'.",
    "slide": "Share only the regions that are needed, or make a copy without label, overview and description with a "
    "tool that anonymizes slides.",
    "dicom": "Share the output of 'napari-melanoma lesion', or make a copy with a tool that follows the "
    "confidentiality profiles of DICOM PS3.15.",
    "table": "Remove the column from a copy, or replace names and dates by pseudonyms, ages and years.",
    "text": "Remove the line from a copy, or omit the file. Of a run folder, share only bundle/.",
    "name": "Rename the file or folder in a copy.",
}
"""Recommended action by type of file."""


@dataclass(frozen=True)
class MetadataEntry:
    """One piece of metadata.

    ``source`` is the type of file or text, ``where`` describes the location in the file, and ``key`` is the name of the
    field by which ``value`` is classified. ``kind`` is one of ``KINDS`` if the location alone determines it, else "".
    ``free`` marks free text.
    """

    source: EntrySource
    where: str
    key: str
    value: str
    kind: str = ""
    free: bool = False


@dataclass(frozen=True)
class PrivacyFinding:
    """Identifying information in a file.

    ``kind`` is one of ``KINDS``; ``where`` describes the location in the file, ``example`` is masked; ``count`` is the
    number of occurrences.
    """

    file: str
    kind: str
    where: str
    example: str
    what_to_do: str
    count: int = 1

    @property
    def title(self) -> str:
        """The type of the finding in words."""
        return KINDS[self.kind]


def mask_text(text: str) -> str:
    """Mask a text for display: in each word, all characters but the first become ``*``; at most 40 characters."""
    line = " ".join(text.split())
    masked = re.sub(r"(?<=[^\W_])[^\W_]", "*", line)
    return masked if len(masked) <= MAX_EXAMPLE_LENGTH else masked[: MAX_EXAMPLE_LENGTH - 1] + "…"


def create_finding(file: str, entry: MetadataEntry, kind: str, value: str, count: int = 1) -> PrivacyFinding:
    """Create the finding for an entry; the example ``value`` is masked, unless it describes an image."""
    example = value if kind == "picture" else mask_text(value)
    return PrivacyFinding(file, kind, entry.where, example, REMEDIES[entry.source], count)
