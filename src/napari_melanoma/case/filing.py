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
from napari_melanoma.core.paths import NamedPaths, Outside
from napari_melanoma.data.cells import NOWHERE, Place, joined, place
from napari_melanoma.data.harmonize import Harmoniser, harmonise
from napari_melanoma.data.mapping import TableMapping
from napari_melanoma.data.sources.dicom import BESIDE
from napari_melanoma.data.table_schema import column_named
from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.io.dicom import DicomHeader, read_header
from napari_melanoma.io.finding import SLIDE_SUFFIXES, SUFFIXES
from napari_melanoma.io.formats import HEAD_BYTES, identify
from napari_melanoma.io.pillow_images import ExifHints, read_exif
from napari_melanoma.io.tables import each_row
from napari_melanoma.privacy.pseudonyms import pseudonym

OURS = ("patient_id", "path")  # columns that a case fills in by itself: with a pseudonym, and with where the file is


@dataclass(frozen=True)
class Facts:
    """What is said of one image: ``patient`` and ``lesion`` are what they are called there, never what is stored.

    ``cells`` are ours, column to text, and ``origins`` says where each of them, and the two names, come from.
    """

    patient: str = ""
    lesion: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @classmethod
    def said(cls, origin: Origin, cells: Mapping[str, str], *, patient: str = "", lesion: str = "") -> Facts:
        """Make facts that come from one place."""
        known = {name: text for name, text in cells.items() if text and (name != "taken_on" or _is_day(text))}
        names = {"patient": patient, "lesion": lesion}
        said = (*known, *(name for name, text in names.items() if text))
        return cls(patient, lesion, known, dict.fromkeys(said, origin))

    def of(self, kind: type[CasePart]) -> tuple[dict[str, str], dict[str, Origin]]:
        """Give those that are about a patient, a lesion or an image.

        Returns the cells and their origins, by field.
        """
        found = {name: text for name, text in self.cells.items() if name in _fields(kind)}
        return found, {name: self.origins[name] for name in found}


def together(sources: Iterable[Facts]) -> Facts:
    """Put together what several places say of one image; the first that says something counts.

    A place on the body is taken as a whole from the first that names its site, and its side from another where that one
    does not say it.
    """
    facts = Facts()
    for more in sources:
        cells = {name: text for name, text in more.cells.items() if _adds(facts, name)}
        names = {name: origin for name, origin in more.origins.items() if name not in more.cells}
        origins = {name: more.origins[name] for name in cells} | names | dict(facts.origins)
        facts = Facts(facts.patient or more.patient, facts.lesion or more.lesion, cells | dict(facts.cells), origins)
    return facts


@cache
def _fields(kind: type[CasePart]) -> frozenset[str]:
    """What may be said of a part: columns of the table; somebody's own ``id``, ``note`` or ``label`` is not ours."""
    columns = {name for name in kind.model_fields if column_named(name)} - set(OURS)
    return frozenset(columns | (kind.model_fields.keys() & {"taken_on"}))


def _is_day(text: str) -> bool:
    """Whether a text is a day as a case holds it, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _adds(facts: Facts, name: str) -> bool:
    """Whether a further source may say something in a column: not a place within another site than is known."""
    return name not in facts.cells and not (name == "sub_site" and "site" in facts.cells)


Note = tuple[str, str]


@dataclass(frozen=True)
class FoundImage:
    """An image without an id, and what is said of it."""

    image: CaseImage
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True)
class Filed:
    """A case with further images, and what a person should know: about what, and what is said."""

    case: Case
    notes: tuple[Note, ...] = ()


def file_images(case: Case, found: Iterable[FoundImage]) -> Filed:
    """Add images to a case; all that is filled in is a guess, and nothing that is known is replaced.

    An image goes to the lesion of its name (``label``), or of its place where it has none; where there is no such
    lesion it gets a new one, and where nothing is said of a lesion it goes to the images of no lesion. An image that
    is in the case already, by its content or its path, is left out.

    Returns the case after it; what contradicts what was known, and what was left out.
    """
    filing = _Filing(case)
    for one in found:
        filing.take(one)
    return filing.done()


def is_of_another(case: Case, called: str) -> bool:
    """Say whether files speak of somebody else than a case does.

    False where either is not said. The pseudonym of a case whose patient had no name is another than any.
    """
    ours = case.patient.patient_id
    return bool(called and ours) and ours not in (called, pseudonym(called))


class _Filing:
    """A case being filled: images are kept back by lesion and added together."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.notes: list[Note] = []
        self.there = {image.content: image.path for _, image in case.each_image() if image.content}
        self.paths = {image.path for _, image in case.each_image()}
        self.of_others = 0
        self.waiting: dict[str, list[CaseImage]] = {"": []}

    def take(self, found: FoundImage) -> None:
        """Find the lesion of an image, and fill in what is said of lesion and patient."""
        image, facts = found.image, found.facts
        known = self.there.get(image.content) if image.content else None
        if known is not None:
            if known != image.path:
                self.notes.append((image.path.name, f"was left out: it is the same as {known.name}."))
            return
        if image.path in self.paths:
            self.notes.append((image.path.name, "was changed since it was added, and is not added again."))
            return
        self.there[image.content] = image.path
        self.paths.add(image.path)
        self.of_others += is_of_another(self.case, facts.patient)
        self._patient(image.name, facts)
        lesion_id = self._lesion(image.name, facts)
        cells, origins = facts.of(CaseImage)
        if lesion_id:
            origins["lesion"] = facts.origins.get("lesion", facts.origins.get("site", "name"))
        filled = CaseImage.parse({**dict(image), **cells, "guesses": origins}, image.name)
        self.waiting.setdefault(lesion_id, []).append(filled)

    def done(self) -> Filed:
        """Add the images."""
        case = self.case
        for lesion_id, images in self.waiting.items():
            case = add_images(case, images, lesion_id)
        if self.of_others:
            self.notes.append(
                ("patient", f"{self.of_others} of the images name another one: see that they belong here.")
            )
        return Filed(case, tuple(dict.fromkeys(self.notes)))

    def _patient(self, about: str, facts: Facts) -> None:
        """Fill in what is said of the patient."""
        fresh, origins = self._news(about, self.case.patient, *facts.of(CasePatient))
        if fresh:
            self.case = set_patient(self.case, **fresh, guesses={**self.case.patient.guesses, **origins})

    def _lesion(self, about: str, facts: Facts) -> str:
        """Find the lesion, or make it; gives its id, "" for none."""
        cells, origins = facts.of(CaseLesion)
        if not facts.lesion and not _place(cells).site:
            return ""
        known = next((lesion for lesion in self.case.lesions if self._fits(lesion, facts, cells, origins)), None)
        if known is None:
            self.case = add_lesion(self.case, **cells, label=facts.lesion, guesses=origins)
            return self.case.lesions[-1].id
        if joined(_place_of(known), _place(cells)) is None:
            self.notes.append((about, f"says {_said(_place(cells))}, where {_said(_place_of(known))} is known."))
            cells = {name: text for name, text in cells.items() if name not in Place._fields}
        fresh, new_origins = self._news(about, known, cells, origins)
        if fresh:
            self.case = set_lesion(self.case, known.id, **fresh, guesses={**known.guesses, **new_origins})
        return known.id

    def _fits(self, lesion: CaseLesion, facts: Facts, cells: Mapping[str, str], origins: Mapping[str, Origin]) -> bool:
        """Whether an image is of a lesion: of the same name and no other place, or of no name and the same place.

        A table or a header tells the region alone, where a patient may have many lesions: a second image that was taken
        in the same way is one of another lesion then.
        """
        place = _place_of(lesion)
        if facts.lesion:
            is_sure = facts.origins["lesion"] != "name"
            return lesion.label == facts.lesion and (is_sure or joined(place, _place(cells)) is not None)
        if lesion.label or place != _place(cells):
            return False
        there = {image.modality for image in (*lesion.images, *self.waiting.get(lesion.id, ()))}
        return origins.get("site", "name") == "name" or facts.cells.get("modality", "") not in there

    def _news(
        self, about: str, part: CasePart, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> tuple[dict[str, object], dict[str, Origin]]:
        """What is not known yet of a patient or lesion; what contradicts it is noted."""
        for name, text in cells.items():
            if part.cell(name) not in ("", text) and not _is_wider(name, text, part):
                self.notes.append((about, f"says {name} {text}, where {part.cell(name)} is known, which stays."))
        fresh = {name: text for name, text in cells.items() if not part.cell(name)}
        return dict(fresh), {name: origins[name] for name in fresh}


def _is_wider(name: str, text: str, part: CasePart) -> bool:
    """Whether a site is only less exact than the one that is known."""
    return name == "site" and joined(Place(part.cell("site")), Place(text)) is not None


def _place_of(lesion: CaseLesion) -> Place:
    """Where on the body a lesion is."""
    return Place(lesion.site, lesion.sub_site, lesion.laterality)


def _said(place: Place) -> str:
    """A place for people."""
    return " ".join(filter(None, reversed(place)))


def _place(cells: Mapping[str, str]) -> Place:
    """Where on the body some cells say."""
    return Place(*(cells.get(name, "") for name in Place._fields))


DERMATOSCOPES = (
    *("dermlite", "fotofinder", "medicam", "molemax", "dermoscope", "dermatoscope", "dermascope", "heine", "illuco"),
    *("dermengine", "molescope", "dermoscan"),
)
TOTAL_BODY = ("vectra", "wb360")


def facts_from_headers(path: Path) -> tuple[Facts, ...]:
    """Read what the headers of a file say.

    With the origin ``dicom`` or ``exif``.
    """
    try:
        with open_regular(path) as file:
            if identify(file.read(HEAD_BYTES)) == "DICOM":
                file.seek(0)
                return (_from_dicom(read_header(file)),)
    except OSError as error:
        raise UnreadableImage(f"it cannot be read: {error.strerror or error}.") from error
    return (_from_exif(read_exif(path)),)


def _from_dicom(header: DicomHeader) -> Facts:
    """Facts of a DICOM header."""
    if not header.has_image:
        raise UnreadableImage("it holds no image.")
    if header.shows in BESIDE:
        raise UnreadableImage(f"it shows the {header.shows} of a slide, no tissue.")
    row = {
        "age": "" if header.age is None else f"{header.age:g}",
        "sex": header.sex,
        "site": header.body_part,
        "laterality": header.laterality,
        "ethnicity": header.ethnicity,
        "modality": header.modality,
    }
    cells = harmonise([row], "dicom").rows[0]
    names = {"patient": pseudonym(header.patient), "lesion": pseudonym(header.lesion, "lesion")}
    return Facts.said("dicom", {**cells, "taken_on": header.taken_on}, **names)


def _from_exif(hints: ExifHints) -> Facts:
    """Facts of the EXIF: some cameras and lenses take one kind of image alone."""
    modality = "dermoscopic" if any(word in hints.camera for word in DERMATOSCOPES) else ""
    modality = modality or ("tbp_tile" if any(word in hints.camera for word in TOTAL_BODY) else "")
    return Facts.said("exif", {"modality": modality, "taken_on": hints.taken_on})


LONGEST = 5  # words that are looked up together
SHORTEST = 3  # letters of a word that may name a place; side and modality have abbreviations that mean much else
LARGEST_NUMBER, MOST_DIGITS = 99, 3  # of a lesion; more is a counter of a camera
EARLIEST = "1995"  # a day before there were digital photographs is one of birth
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
TOO_GENERAL = frozenset(("photo", "photograph", "slide", "side", "mid"))  # what folders are called for other reasons


def facts_from_name(path: PurePath) -> Facts:
    """Guess from the names of a file and its folders."""
    is_slide = path.name.lower().endswith(SLIDE_SUFFIXES)
    kind = Facts.said("name", {"modality": "wsi" if is_slide else ""})
    stem = path.name.split(".")[0] if is_slide else path.stem
    return together((kind, *(_facts(name) for name in (stem, *reversed(path.parent.parts)))))


@dataclass
class _Reading:
    """One name being read: its words, and which of them have been understood."""

    words: list[str]
    used: set[int] = field(default_factory=set)

    def phrases(self) -> Iterator[tuple[range, str]]:
        """Words beside each other that are neither understood yet nor numbers, the most first."""
        for length in range(min(LONGEST, len(self.words)), 0, -1):
            for start in range(len(self.words) - length + 1):
                places = range(start, start + length)
                if self.used.isdisjoint(places) and not any(self.words[n].isdigit() for n in places):
                    yield places, " ".join(self.words[n] for n in places)

    def numbers(self) -> Iterator[tuple[int, int]]:
        """Where numbers stand that are not understood yet and may be of lesions, and the numbers."""
        for n, word in enumerate(self.words):
            if word.isdecimal() and n not in self.used and len(word) <= MOST_DIGITS and int(word) <= LARGEST_NUMBER:
                yield n, int(word)


def _facts(name: str) -> Facts:
    """What one name says."""
    cells: dict[str, str] = {}
    patient, lesion, rest = _patient(name)
    cells["taken_on"], rest = _day(rest)
    rest = _NO_LESION.sub(" ", rest)
    if numbered := _LESION.search(rest):
        lesion = lesion or numbered.group(1)
        rest = rest.replace(numbered.group(), " ", 1)
    reading = _Reading(_WORD.findall(_CAMEL.sub(" ", rest)))
    lesion = lesion or _named_lesion(reading)
    end, cells["modality"] = _modality(reading)
    found = _position(reading)
    cells |= found._asdict()
    if not lesion and (found != NOWHERE or cells["modality"]):
        lesion = next((str(number) for n, number in reading.numbers() if n < end), "")
    return Facts.said("name", cells, patient=patient, lesion=lesion.lstrip("0"))


def _patient(name: str) -> tuple[str, str, str]:
    """What a name calls the patient and, in the manner of PAD-UFES-20, the lesion; and what is left of it."""
    if pad := _PAD_UFES.fullmatch(name):
        return pad.group(1), pad.group(2), ""
    found = _PATIENT.search(name)
    return (found.group(), "", name.replace(found.group(), " ", 1)) if found else ("", "", name)


def _day(name: str) -> tuple[str, str]:
    """The day that a name tells, the latest of several, as one may be of birth; and what is left of the name."""
    days = ["-".join(found.group(1, 3, 4)) for found in _DAY.finditer(name)]
    days += [f"{year}-{month:>02}-{day:>02}" for day, month, year in _DAY_FIRST.findall(name)]
    rest = _DAY_FIRST.sub(" ", _DAY.sub(" ", name))
    return max((day for day in days if day >= EARLIEST), default=""), rest


def _named_lesion(reading: _Reading) -> str:
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


def _modality(reading: _Reading) -> tuple[int, str]:
    """How the image was taken, and where in the name that stands: a number behind it counts images, not lesions."""
    for places, phrase in reading.phrases():
        found = None if phrase.lower() in TOO_GENERAL else taxonomy("modality").translate(phrase)
        if found and found != UNKNOWN:
            reading.used |= set(places)
            return places.start, found
    return len(reading.words), ""


def _position(reading: _Reading) -> Place:
    """Where on the body, from all phrases that name a place and do not contradict each other."""
    known = NOWHERE
    sides = {side for n, word in enumerate(reading.words) if _is_clear((n,), reading.words) and (side := _side(word))}
    for places, phrase in list(reading.phrases()):
        if not reading.used.isdisjoint(places) or phrase.lower() in TOO_GENERAL or len(phrase) < SHORTEST:
            continue
        found = place(phrase)
        both = joined(known, found) if found and found != NOWHERE else None
        if both is not None and (both.site or _is_clear(places, reading.words)):
            known = both
            reading.used |= set(places)
    return known if len(sides) < 2 else known._replace(laterality="")


def _side(word: str) -> str:
    """The side that a word is, "" where it is none."""
    side = taxonomy("laterality").translate(word)
    return side if side in ("left", "right") else ""


def _is_clear(places: Sequence[int], words: Sequence[str]) -> bool:
    """Whether a side that is named alone is spelt out: ``dir`` and ``sin`` are other things in other names."""
    return len(places) == 1 and len(words[places[0]]) > SHORTEST


Row = dict[str, str]
NAMED = 3  # names that a message lists
PLACES = ("", "images")  # where the images of a table lie, relative to it, where it names no path


@dataclass(frozen=True)
class CaseTable:
    """A table in our columns and words: rows about images that are there, and what a person should know of it."""

    path: Path
    count: int
    by_name: Mapping[str, Row]
    by_path: Mapping[Path, Row]
    beside: Mapping[str, Path]
    shared: frozenset[str] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> list[Path]:
        """Files that the table names, by path or by name, in its order."""
        named = {row.get("image_id", "") for row in self.by_path.values()}
        return [*self.by_path, *(self.beside[n] for n in self.by_name if n in self.beside and n not in named)]

    def facts(self, image: Path) -> Facts:
        """Say what the row of an image says.

        Empty where no row is about it.
        """
        row = self.by_path.get(image) or ({} if image.stem in self.shared else self.by_name.get(image.stem, {}))
        return Facts.said("table", row, patient=row.get("patient_id", ""), lesion=row.get("lesion_id", ""))

    def rows_without(self, images: Iterable[Path]) -> int:
        """Count the rows that are about none of some images.

        0 where each row has one.
        """
        there = set(images)
        stems = {path.stem for path in there} - self.shared
        with_image = {id(row) for path, row in self.by_path.items() if path in there}
        with_image |= {id(row) for name, row in self.by_name.items() if name in stems}
        return self.count - len(with_image)


def read_case_table(path: Path, images: Iterable[Path] = (), mapping: TableMapping | None = None) -> CaseTable:
    """Read a table and bring it to our columns and words; rows about images that are not there are only counted.

    Without rows, and with a note, where it is no table that names images.
    """
    beside, harmoniser, there = _beside(path), Harmoniser(), set(images)
    names = {image.stem for image in there.union(beside)}
    by_name, by_path, named, notes = dict[str, Row](), dict[Path, Row](), 0, list[tuple[str, str]]()
    paths, outside = NamedPaths(path.parent, allow_outside=False), Outside(path.parent)
    try:
        for given in each_row(path):
            row = harmoniser.row(mapping.apply(given) if mapping else given)
            name = row.get("image_id") or PureWindowsPath(row.get("path", "")).stem
            named += bool(name)
            if name in names:  # of two rows that name one image the first counts
                by_name.setdefault(name, row)
            if "path" in row:
                file = _meant(row["path"], path.parent)
                if file not in there and not paths.holds(file):
                    outside.add(row["path"])
                elif file.is_file():
                    by_path.setdefault(file, row)
    except InputError as error:
        notes.append((path.name, f"was left out: {error}"))
    if outside.count:
        notes.append((path.name, f"{outside}. These images were not taken: name them or their folder, too."))
    report = harmoniser.report()
    unknown = report.unrecognized_columns("left out", "if it is that, map it in the dialog for the table's columns")
    notes += [(path.name, f"{about}: {said}.") for about, said in (*unknown, *report.findings())]
    if report.rows and not named:
        notes.append((path.name, "no column of it is known to name images: say with a mapping which one does."))
    shared = _shared(there.union(beside, by_path))
    clear = {id(row) for row in by_path.values()}
    unclear = [name for name, row in by_name.items() if name in shared and id(row) not in clear]
    if unclear:
        notes.append((path.name, _said_unclear(unclear)))
    by_stem = {file.stem: file for file in beside}
    return CaseTable(path, report.rows, by_name, by_path, by_stem, shared, tuple(notes))


def names_no_image(path: Path) -> bool:
    """Say whether a table has rows, but no column that is known to name images.

    False where it is no table at all.
    """
    try:
        with closing(each_row(path)) as rows:
            first = next(rows, None)
    except InputError:
        return False
    row = None if first is None else Harmoniser().row(first)
    return row is not None and not {"image_id", "path"} & row.keys()


def _meant(text: str, folder: Path) -> Path:
    """The file that a table means by a path, which Windows may have written."""
    return Path(os.path.normpath(folder / PureWindowsPath(text).as_posix()))


def _shared(files: Iterable[Path]) -> frozenset[str]:
    """Names that files of several folders have."""
    folders = defaultdict[str, set[Path]](set)
    for file in files:
        folders[file.stem].add(file.parent)
    return frozenset(name for name, found in folders.items() if len(found) > 1)


def _said_unclear(names: list[str]) -> str:
    """Say which names could be of several images."""
    listed = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
    return f"images of several folders are called {listed}: these rows were not used. Give their paths, too."


def _beside(path: Path) -> list[Path]:
    """Images that lie where those of a table lie: in its folder, or in ``images`` there."""
    folders = [folder for place in PLACES if (folder := path.parent / place).is_dir()]
    files = (file for folder in folders for file in sorted(folder.iterdir()))
    return [file for file in files if file.suffix.lower() in SUFFIXES]
