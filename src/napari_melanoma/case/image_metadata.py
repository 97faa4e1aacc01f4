"""Images filed in a case by what their names, headers and tables state."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path, PurePath, PureWindowsPath

from napari_melanoma.case.edits import add_images, add_lesion, set_lesion, set_patient
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, CasePart, CasePatient, Origin
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.paths import OutsidePaths, PathResolver
from napari_melanoma.data.harmonize import Harmonizer, harmonize_rows
from napari_melanoma.data.sources.dicom import AUXILIARY_IMAGES
from napari_melanoma.data.table_cells import NO_SITE, BodySite, merge_body_sites, parse_body_site
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.dicom import DicomHeader, read_header
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, SUFFIXES
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.pillow_images import ExifHints, read_exif
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.privacy.pseudonyms import pseudonym

CASE_FIELDS = (
    "patient_id",
    "path",
)  # columns that a case fills in by itself: with a pseudonym, and with where the file is


@dataclass(frozen=True)
class ImageMetadata:
    """What is said of one image: ``patient`` and ``lesion`` are what they are called there, never what is stored.

    ``cells`` are ours, column to text, and ``origins`` says where each of them, and the two names, come from.
    """

    patient: str = ""
    lesion: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @classmethod
    def from_source(
        cls, origin: Origin, cells: Mapping[str, str], *, patient: str = "", lesion: str = ""
    ) -> ImageMetadata:
        """Make facts that come from one place."""
        known = {name: text for name, text in cells.items() if text and (name != "taken_on" or _is_day(text))}
        names = {"patient": patient, "lesion": lesion}
        said = (*known, *(name for name, text in names.items() if text))
        return cls(patient, lesion, known, dict.fromkeys(said, origin))

    def select(self, kind: type[CasePart]) -> tuple[dict[str, str], dict[str, Origin]]:
        """Give those that are about a patient, a lesion or an image.

        Returns the cells and their origins, by field.
        """
        found = {name: text for name, text in self.cells.items() if name in _allowed_fields(kind)}
        return found, {name: self.origins[name] for name in found}


def merge_metadata(sources: Iterable[ImageMetadata]) -> ImageMetadata:
    """Put together what several places say of one image; the first that says something counts.

    A place on the body is taken as a whole from the first that names its site, and its side from another where that one
    does not say it.
    """
    facts = ImageMetadata()
    for more in sources:
        cells = {name: text for name, text in more.cells.items() if _is_addition(facts, name)}
        names = {name: origin for name, origin in more.origins.items() if name not in more.cells}
        origins = {name: more.origins[name] for name in cells} | names | dict(facts.origins)
        facts = ImageMetadata(
            facts.patient or more.patient, facts.lesion or more.lesion, cells | dict(facts.cells), origins
        )
    return facts


@cache
def _allowed_fields(kind: type[CasePart]) -> frozenset[str]:
    """What may be said of a part: columns of the table; somebody's own ``id``, ``note`` or ``label`` is not ours."""
    columns = {name for name in kind.model_fields if find_column(name)} - set(CASE_FIELDS)
    return frozenset(columns | (kind.model_fields.keys() & {"taken_on"}))


def _is_day(text: str) -> bool:
    """Whether a text is a day as a case holds it, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_addition(facts: ImageMetadata, name: str) -> bool:
    """Whether a further source may say something in a column: not a place within another site than is known."""
    return name not in facts.cells and not (name == "sub_site" and "site" in facts.cells)


Note = tuple[str, str]


@dataclass(frozen=True)
class FoundImage:
    """An image without an id, and what is said of it."""

    image: CaseImage
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


@dataclass(frozen=True)
class FilingResult:
    """A case with further images, and what a person should know: about what, and what is said."""

    case: Case
    notes: tuple[Note, ...] = ()


def file_images(case: Case, found: Iterable[FoundImage]) -> FilingResult:
    """Add images to a case; all that is filled in is a guess, and nothing that is known is replaced.

    An image goes to the lesion of its name (``label``), or of its place where it has none; where there is no such
    lesion it gets a new one, and where nothing is said of a lesion it goes to the images of no lesion. An image that
    is in the case already, by its content or its path, is left out.

    Returns the case after it; what contradicts what was known, and what was left out.
    """
    filing = _CaseFiling(case)
    for one in found:
        filing.add(one)
    return filing.finish()


def is_other_patient(case: Case, patient_name: str) -> bool:
    """Say whether files speak of somebody else than a case does.

    False where either is not said. The pseudonym of a case whose patient had no name is another than any.
    """
    ours = case.patient.patient_id
    return bool(patient_name and ours) and ours not in (patient_name, pseudonym(patient_name))


class _CaseFiling:
    """A case being filled: images are kept back by lesion and added together."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.notes: list[Note] = []
        self.known_content = {image.content: image.path for _, image in case.iterate_images() if image.content}
        self.paths = {image.path for _, image in case.iterate_images()}
        self.other_patient_count = 0
        self.pending: dict[str, list[CaseImage]] = {"": []}

    def add(self, found: FoundImage) -> None:
        """Find the lesion of an image, and fill in what is said of lesion and patient."""
        image, facts = found.image, found.metadata
        known = self.known_content.get(image.content) if image.content else None
        if known is not None:
            if known != image.path:
                self.notes.append((image.path.name, f"was left out: it is the same as {known.name}."))
            return
        if image.path in self.paths:
            self.notes.append((image.path.name, "was changed since it was added, and is not added again."))
            return
        self.known_content[image.content] = image.path
        self.paths.add(image.path)
        self.other_patient_count += is_other_patient(self.case, facts.patient)
        self._update_patient(image.name, facts)
        lesion_id = self._find_or_add_lesion(image.name, facts)
        cells, origins = facts.select(CaseImage)
        if lesion_id:
            origins["lesion"] = facts.origins.get("lesion", facts.origins.get("site", "name"))
        filled = CaseImage.parse({**dict(image), **cells, "guesses": origins}, image.name)
        self.pending.setdefault(lesion_id, []).append(filled)

    def finish(self) -> FilingResult:
        """Add the images."""
        case = self.case
        for lesion_id, images in self.pending.items():
            case = add_images(case, images, lesion_id)
        if self.other_patient_count:
            self.notes.append(
                ("patient", f"{self.other_patient_count} of the images name another one: see that they belong here.")
            )
        return FilingResult(case, tuple(dict.fromkeys(self.notes)))

    def _update_patient(self, about: str, facts: ImageMetadata) -> None:
        """Fill in what is said of the patient."""
        fresh, origins = self._new_values(about, self.case.patient, *facts.select(CasePatient))
        if fresh:
            self.case = set_patient(self.case, **fresh, guesses={**self.case.patient.guesses, **origins})

    def _find_or_add_lesion(self, about: str, facts: ImageMetadata) -> str:
        """Find the lesion, or make it; gives its id, "" for none."""
        cells, origins = facts.select(CaseLesion)
        if not facts.lesion and not _site_from_cells(cells).site:
            return ""
        known = next((lesion for lesion in self.case.lesions if self._fits(lesion, facts, cells, origins)), None)
        if known is None:
            self.case = add_lesion(self.case, **cells, label=facts.lesion, guesses=origins)
            return self.case.lesions[-1].id
        if merge_body_sites(_site_of_lesion(known), _site_from_cells(cells)) is None:
            self.notes.append(
                (
                    about,
                    f"says {_format_site(_site_from_cells(cells))}, where {_format_site(_site_of_lesion(known))} is known.",
                )
            )
            cells = {name: text for name, text in cells.items() if name not in BodySite._fields}
        fresh, new_origins = self._new_values(about, known, cells, origins)
        if fresh:
            self.case = set_lesion(self.case, known.id, **fresh, guesses={**known.guesses, **new_origins})
        return known.id

    def _fits(
        self, lesion: CaseLesion, facts: ImageMetadata, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> bool:
        """Whether an image is of a lesion: of the same name and no other place, or of no name and the same place.

        A table or a header tells the region alone, where a patient may have many lesions: a second image that was taken
        in the same way is one of another lesion then.
        """
        place = _site_of_lesion(lesion)
        if facts.lesion:
            is_sure = facts.origins["lesion"] != "name"
            return lesion.label == facts.lesion and (
                is_sure or merge_body_sites(place, _site_from_cells(cells)) is not None
            )
        if lesion.label or place != _site_from_cells(cells):
            return False
        there = {image.modality for image in (*lesion.images, *self.pending.get(lesion.id, ()))}
        return origins.get("site", "name") == "name" or facts.cells.get("modality", "") not in there

    def _new_values(
        self, about: str, part: CasePart, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> tuple[dict[str, object], dict[str, Origin]]:
        """What is not known yet of a patient or lesion; what contradicts it is noted."""
        for name, text in cells.items():
            if part.cell(name) not in ("", text) and not _is_less_exact_site(name, text, part):
                self.notes.append((about, f"says {name} {text}, where {part.cell(name)} is known, which stays."))
        fresh = {name: text for name, text in cells.items() if not part.cell(name)}
        return dict(fresh), {name: origins[name] for name in fresh}


def _is_less_exact_site(name: str, text: str, part: CasePart) -> bool:
    """Whether a site is only less exact than the one that is known."""
    return name == "site" and merge_body_sites(BodySite(part.cell("site")), BodySite(text)) is not None


def _site_of_lesion(lesion: CaseLesion) -> BodySite:
    """Where on the body a lesion is."""
    return BodySite(lesion.site, lesion.sub_site, lesion.laterality)


def _format_site(place: BodySite) -> str:
    """A place for people."""
    return " ".join(filter(None, reversed(place)))


def _site_from_cells(cells: Mapping[str, str]) -> BodySite:
    """Where on the body some cells say."""
    return BodySite(*(cells.get(name, "") for name in BodySite._fields))


DERMATOSCOPES = (
    *("dermlite", "fotofinder", "medicam", "molemax", "dermoscope", "dermatoscope", "dermascope", "heine", "illuco"),
    *("dermengine", "molescope", "dermoscan"),
)
TOTAL_BODY = ("vectra", "wb360")


def read_header_metadata(path: Path) -> tuple[ImageMetadata, ...]:
    """Read what the headers of a file say.

    With the origin ``dicom`` or ``exif``.
    """
    try:
        with open_regular(path) as file:
            if identify_format(file.read(HEAD_BYTES)) == "DICOM":
                file.seek(0)
                return (_read_dicom_metadata(read_header(file)),)
    except OSError as error:
        raise UnreadableImage(f"it cannot be read: {error.strerror or error}.") from error
    return (_read_exif_metadata(read_exif(path)),)


def _read_dicom_metadata(header: DicomHeader) -> ImageMetadata:
    """Facts of a DICOM header."""
    if not header.has_image:
        raise UnreadableImage("it holds no image.")
    if header.shows in AUXILIARY_IMAGES:
        raise UnreadableImage(f"it shows the {header.shows} of a slide, no tissue.")
    row = {
        "age": "" if header.age is None else f"{header.age:g}",
        "sex": header.sex,
        "site": header.body_part,
        "laterality": header.laterality,
        "ethnicity": header.ethnicity,
        "modality": header.modality,
    }
    cells = harmonize_rows([row], "dicom").rows[0]
    names = {"patient": pseudonym(header.patient), "lesion": pseudonym(header.lesion, "lesion")}
    return ImageMetadata.from_source("dicom", {**cells, "taken_on": header.taken_on}, **names)


def _read_exif_metadata(hints: ExifHints) -> ImageMetadata:
    """Facts of the EXIF: some cameras and lenses take one kind of image alone."""
    modality = "dermoscopic" if any(word in hints.camera for word in DERMATOSCOPES) else ""
    modality = modality or ("tbp_tile" if any(word in hints.camera for word in TOTAL_BODY) else "")
    return ImageMetadata.from_source("exif", {"modality": modality, "taken_on": hints.taken_on})


MAX_PHRASE_WORDS = 5  # words that are looked up together
MIN_SITE_LETTERS = (
    3  # letters of a word that may name a place; side and modality have abbreviations that mean much else
)
LARGEST_NUMBER, MAX_DIGITS = 99, 3  # of a lesion; more is a counter of a camera
EARLIEST_DAY = "1995"  # a day before there were digital photographs is one of birth
_PAD_UFES = re.compile(r"(PAT_\d+)_(\d+)_\d+")
_PATIENT = re.compile(
    r"(?<![A-Za-z])(?:patient(?:in)?|paziente|paciente|pat|pt|case|fall)[ _.-]*[A-Za-z]{0,2}\d+"
    r"|(?<![A-Za-z\d])[Pp](?:[_-]\d{2,}|\d{2,6}|\d{8,})(?!\d)"  # P and seven digits is a counter of some cameras
    r"|(?<![A-Za-z\d])P-[0-9A-Z]{6}-[0-9A-Z]{6}(?![A-Za-z\d])",
    re.IGNORECASE,
)
_MONTH_AND_DAY = r"(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
_DAY = re.compile(rf"(?<!\d)((?:19|20)\d\d)([-_.]?){_MONTH_AND_DAY}(?!\d)")
_DAY_FIRST = re.compile(r"(?<!\d)(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.((?:19|20)\d\d)(?!\d)")
_NO_LESION = re.compile(
    r"(?<!\d)(?:[01]?\d|2[0-3])(?P<part>[-_.:])[0-5]\d(?P=part)[0-5]\d(?!\d)"  # a time
    r"|(?<!\d)\d{1,2}[-_.]\d{1,2}[-_.](?:19|20)\d\d(?!\d)"  # a day, who knows which
    r"|(?<!\d)\d+(?:[.,]\d+)?(?:x|mm|cm|[uµ]m|px|y|yo|yrs?|years?|jahre?|anos|años|ans|anni|jaar)(?![^\W\d_])"
    r"|(?<!\d)\d+of\d+(?!\d)|(?<![^\W\d_])v\d+(?!\d)"  # which of some, a version
    r"|\(\d+\)$",  # of a copy, or of many files that were renamed at once
    re.IGNORECASE,
)
_LESION = re.compile(r"(?<![A-Za-z\d])L(\d{1,2})(?!\d)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+|\d+")
LESION_WORDS = frozenset(
    (
        "lesion",
        "läsion",
        "laesion",
        "lesione",
        "lesao",
        "lesão",
        "lésion",
        "mole",
        "naevus",
        "nevus",
        "spot",
        "nr",
        "no",
    )
)
COUNTER_WORDS = frozenset(
    ("img", "dsc", "dscn", "dscf", "pxl", "isic", "image", "photo", "pic", "picture", "scan", "frame", "foto", "view")
)
IGNORED_WORDS = frozenset(("photo", "photograph", "slide", "side", "mid"))  # what folders are called for other reasons


def parse_name_metadata(path: PurePath) -> ImageMetadata:
    """Guess from the names of a file and its folders."""
    is_slide = path.name.lower().endswith(SLIDE_SUFFIXES)
    kind = ImageMetadata.from_source("name", {"modality": "wsi" if is_slide else ""})
    stem = path.name.split(".")[0] if is_slide else path.stem
    return merge_metadata((kind, *(_parse_name(name) for name in (stem, *reversed(path.parent.parts)))))


@dataclass
class _FileNameWords:
    """One name being read: its words, and which of them have been understood."""

    words: list[str]
    used: set[int] = field(default_factory=set)

    def phrases(self) -> Iterator[tuple[range, str]]:
        """Words beside each other that are neither understood yet nor numbers, the most first."""
        for length in range(min(MAX_PHRASE_WORDS, len(self.words)), 0, -1):
            for start in range(len(self.words) - length + 1):
                places = range(start, start + length)
                if self.used.isdisjoint(places) and not any(self.words[n].isdigit() for n in places):
                    yield places, " ".join(self.words[n] for n in places)

    def numbers(self) -> Iterator[tuple[int, int]]:
        """Where numbers stand that are not understood yet and may be of lesions, and the numbers."""
        for n, word in enumerate(self.words):
            if word.isdecimal() and n not in self.used and len(word) <= MAX_DIGITS and int(word) <= LARGEST_NUMBER:
                yield n, int(word)


def _parse_name(name: str) -> ImageMetadata:
    """What one name says."""
    cells: dict[str, str] = {}
    patient, lesion, rest = _parse_patient(name)
    cells["taken_on"], rest = _parse_day(rest)
    rest = _NO_LESION.sub(" ", rest)
    if numbered := _LESION.search(rest):
        lesion = lesion or numbered.group(1)
        rest = rest.replace(numbered.group(), " ", 1)
    reading = _FileNameWords(_WORD.findall(_CAMEL.sub(" ", rest)))
    lesion = lesion or _parse_lesion_number(reading)
    end, cells["modality"] = _parse_modality(reading)
    found = _parse_site(reading)
    cells |= found._asdict()
    if not lesion and (found != NO_SITE or cells["modality"]):
        lesion = next((str(number) for n, number in reading.numbers() if n < end), "")
    return ImageMetadata.from_source("name", cells, patient=patient, lesion=lesion.lstrip("0"))


def _parse_patient(name: str) -> tuple[str, str, str]:
    """What a name calls the patient and, in the manner of PAD-UFES-20, the lesion; and what is left of it."""
    if pad := _PAD_UFES.fullmatch(name):
        return pad.group(1), pad.group(2), ""
    found = _PATIENT.search(name)
    return (found.group(), "", name.replace(found.group(), " ", 1)) if found else ("", "", name)


def _parse_day(name: str) -> tuple[str, str]:
    """The day that a name tells, the latest of several, as one may be of birth; and what is left of the name."""
    days = ["-".join(found.group(1, 3, 4)) for found in _DAY.finditer(name)]
    days += [f"{year}-{month:>02}-{day:>02}" for day, month, year in _DAY_FIRST.findall(name)]
    rest = _DAY_FIRST.sub(" ", _DAY.sub(" ", name))
    return max((day for day in days if day >= EARLIEST_DAY), default=""), rest


def _parse_lesion_number(reading: _FileNameWords) -> str:
    """The number behind a word for a lesion; numbers of cameras are passed over."""
    lesion = ""
    for n, word in enumerate(reading.words[:-1]):
        if not reading.words[n + 1].isdigit():
            continue
        if word.lower() in LESION_WORDS and not lesion:
            lesion = reading.words[n + 1]
            reading.used |= {n, n + 1}
        elif word.lower() in COUNTER_WORDS:
            reading.used |= {n, n + 1}
    return lesion


def _parse_modality(reading: _FileNameWords) -> tuple[int, str]:
    """How the image was taken, and where in the name that stands: a number behind it counts images, not lesions."""
    for places, phrase in reading.phrases():
        found = None if phrase.lower() in IGNORED_WORDS else load_taxonomy("modality").translate(phrase)
        if found and found != UNKNOWN:
            reading.used |= set(places)
            return places.start, found
    return len(reading.words), ""


def _parse_site(reading: _FileNameWords) -> BodySite:
    """Where on the body, from all phrases that name a place and do not contradict each other."""
    known = NO_SITE
    sides = {
        side
        for n, word in enumerate(reading.words)
        if _is_unambiguous((n,), reading.words) and (side := _parse_side(word))
    }
    for places, phrase in list(reading.phrases()):
        if not reading.used.isdisjoint(places) or phrase.lower() in IGNORED_WORDS or len(phrase) < MIN_SITE_LETTERS:
            continue
        found = parse_body_site(phrase)
        both = merge_body_sites(known, found) if found and found != NO_SITE else None
        if both is not None and (both.site or _is_unambiguous(places, reading.words)):
            known = both
            reading.used |= set(places)
    return known if len(sides) < 2 else known._replace(laterality="")


def _parse_side(word: str) -> str:
    """The side that a word is, "" where it is none."""
    side = load_taxonomy("laterality").translate(word)
    return side if side in ("left", "right") else ""


def _is_unambiguous(places: Sequence[int], words: Sequence[str]) -> bool:
    """Whether a side that is named alone is spelt out: ``dir`` and ``sin`` are other things in other names."""
    return len(places) == 1 and len(words[places[0]]) > MIN_SITE_LETTERS


Row = dict[str, str]
MAX_NAMED = 3  # names that a message lists
IMAGE_FOLDERS = ("", "images")  # where the images of a table lie, relative to it, where it names no path


@dataclass(frozen=True)
class CaseTable:
    """A table in our columns and words: rows about images that are there, and what a person should know of it."""

    path: Path
    count: int
    by_name: Mapping[str, Row]
    by_path: Mapping[Path, Row]
    by_stem: Mapping[str, Path]
    ambiguous: frozenset[str] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> list[Path]:
        """Files that the table names, by path or by name, in its order."""
        named = {row.get("image_id", "") for row in self.by_path.values()}
        return [*self.by_path, *(self.by_stem[n] for n in self.by_name if n in self.by_stem and n not in named)]

    def image_metadata(self, image: Path) -> ImageMetadata:
        """Say what the row of an image says.

        Empty where no row is about it.
        """
        row = self.by_path.get(image) or ({} if image.stem in self.ambiguous else self.by_name.get(image.stem, {}))
        return ImageMetadata.from_source(
            "table", row, patient=row.get("patient_id", ""), lesion=row.get("lesion_id", "")
        )

    def count_rows_without(self, images: Iterable[Path]) -> int:
        """Count the rows that are about none of some images.

        0 where each row has one.
        """
        there = set(images)
        stems = {path.stem for path in there} - self.ambiguous
        with_image = {id(row) for path, row in self.by_path.items() if path in there}
        with_image |= {id(row) for name, row in self.by_name.items() if name in stems}
        return self.count - len(with_image)


def read_case_table(path: Path, images: Iterable[Path] = (), mapping: TableMapping | None = None) -> CaseTable:
    """Read a table and bring it to our columns and words; rows about images that are not there are only counted.

    Without rows, and with a note, where it is no table that names images.
    """
    beside, harmoniser, there = _list_nearby_images(path), Harmonizer(), set(images)
    names = {image.stem for image in there.union(beside)}
    by_name, by_path, named, notes = dict[str, Row](), dict[Path, Row](), 0, list[tuple[str, str]]()
    paths, outside = PathResolver(path.parent, allow_outside=False), OutsidePaths(path.parent)
    try:
        for given in iterate_rows(path):
            row = harmoniser.harmonize_row(mapping.apply(given) if mapping else given)
            name = row.get("image_id") or PureWindowsPath(row.get("path", "")).stem
            named += bool(name)
            if name in names:  # of two rows that name one image the first counts
                by_name.setdefault(name, row)
            if "path" in row:
                file = _resolve_path(row["path"], path.parent)
                if file not in there and not paths.contains(file):
                    outside.add(row["path"])
                elif file.is_file():
                    by_path.setdefault(file, row)
    except InputError as error:
        notes.append((path.name, f"was left out: {error}"))
    if outside.count:
        notes.append((path.name, f"{outside}. These images were not taken: name them or their folder, too."))
    report = harmoniser.make_report()
    unknown = report.describe_unrecognized("left out", "if it is that, map it in the dialog for the table's columns")
    notes += [(path.name, f"{about}: {said}.") for about, said in (*unknown, *report.describe_findings())]
    if report.rows and not named:
        notes.append((path.name, "no column of it is known to name images: say with a mapping which one does."))
    shared = _find_ambiguous_names(there.union(beside, by_path))
    clear = {id(row) for row in by_path.values()}
    unclear = [name for name, row in by_name.items() if name in shared and id(row) not in clear]
    if unclear:
        notes.append((path.name, _format_ambiguous_names(unclear)))
    by_stem = {file.stem: file for file in beside}
    return CaseTable(path, report.rows, by_name, by_path, by_stem, shared, tuple(notes))


def names_no_image(path: Path) -> bool:
    """Say whether a table has rows, but no column that is known to name images.

    False where it is no table at all.
    """
    try:
        with closing(iterate_rows(path)) as rows:
            first = next(rows, None)
    except InputError:
        return False
    row = None if first is None else Harmonizer().harmonize_row(first)
    return row is not None and not {"image_id", "path"} & row.keys()


def _resolve_path(text: str, folder: Path) -> Path:
    """The file that a table means by a path, which Windows may have written."""
    return Path(os.path.normpath(folder / PureWindowsPath(text).as_posix()))


def _find_ambiguous_names(files: Iterable[Path]) -> frozenset[str]:
    """Names that files of several folders have."""
    folders = defaultdict[str, set[Path]](set)
    for file in files:
        folders[file.stem].add(file.parent)
    return frozenset(name for name, found in folders.items() if len(found) > 1)


def _format_ambiguous_names(names: list[str]) -> str:
    """Say which names could be of several images."""
    listed = ", ".join(names[:MAX_NAMED]) + (" ..." if len(names) > MAX_NAMED else "")
    return f"images of several folders are called {listed}: these rows were not used. Give their paths, too."


def _list_nearby_images(path: Path) -> list[Path]:
    """Images that lie where those of a table lie: in its folder, or in ``images`` there."""
    folders = [folder for place in IMAGE_FOLDERS if (folder := path.parent / place).is_dir()]
    files = (file for folder in folders for file in sorted(folder.iterdir()))
    return [file for file in files if file.suffix.lower() in SUFFIXES]
