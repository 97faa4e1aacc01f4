"""Collect metadata about images from file names, headers and tables, and assign images to the lesions of a case."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path, PurePath, PureWindowsPath

from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CasePart,
    CasePatient,
    Origin,
    add_images,
    add_lesion,
    describe_imported,
    set_lesion,
    set_patient,
)
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.files import compose_name, open_regular
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import OutsidePaths, PathResolver, count_same_end
from napari_melanoma.data.cell_values import NO_SITE, BodySite, merge_body_sites, parse_body_site
from napari_melanoma.data.formats.dicom import AUXILIARY_IMAGES
from napari_melanoma.data.harmonize import Harmonizer, harmonize_rows
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.io.dicom import DicomHeader, read_header
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, SUFFIXES
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.pillow_images import ExifHints, read_exif
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.privacy.pseudonyms import pseudonym

CASE_FIELDS = ("patient_id", "path")  # fields of a case that no table sets: the pseudonym and the path of the file
DERMATOSCOPES = (  # words in the EXIF name of a camera
    *("dermlite", "fotofinder", "medicam", "molemax", "dermoscope", "dermatoscope", "dermascope", "heine", "illuco"),
    *("dermengine", "molescope", "dermoscan"),
)
TOTAL_BODY = ("vectra", "wb360")
DAY_SOURCES: Mapping[Origin, str] = {"table": "the table", "exif": "the camera", "dicom": "the DICOM header"}
Row = dict[str, str]
Note = tuple[str, str]  # subject, such as the name of a file, and message
MAX_NAMED = 3  # names that a message lists
IMAGE_FOLDERS = ("", "images")  # relative to a table that contains no paths


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of one image.

    ``patient``, ``lesion``: their names in the source; that of the patient is never stored. ``cells``: values by column
    of the harmonized table. ``origins``: sources of the columns, and of the names as "patient" and "lesion".
    """

    patient: str = ""
    lesion: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @classmethod
    def from_source(
        cls, origin: Origin, cells: Mapping[str, str], *, patient: str = "", lesion: str = ""
    ) -> ImageMetadata:
        """Create metadata from one source; empty cells and invalid dates are left out."""
        filled = {name: text for name, text in cells.items() if text and (name != "taken_on" or _is_day(text))}
        names = {"patient": patient, "lesion": lesion}
        present = (*filled, *(name for name, text in names.items() if text))
        return cls(patient, lesion, filled, dict.fromkeys(present, origin))

    def select(self, kind: type[CasePart]) -> tuple[dict[str, str], dict[str, Origin]]:
        """Return the cells that are fields of a patient, a lesion or an image, and their origins."""
        cells = {name: text for name, text in self.cells.items() if name in _allowed_fields(kind)}
        return cells, {name: self.origins[name] for name in cells}


def merge_metadata(sources: Iterable[ImageMetadata]) -> ImageMetadata:
    """Merge the metadata of several sources for one image; the first source of a value takes precedence.

    A sub-site is not added to a site from another source. A side is, unless its source states another site.
    """
    sites = load_taxonomy("site")
    merged = ImageMetadata()
    for source in sources:
        kept = {*merged.cells, "sub_site"} if "site" in merged.cells else {*merged.cells}
        site, other = merged.cells.get("site"), source.cells.get("site")
        if site and other and not (sites.is_within(site, other) or sites.is_within(other, site)):
            kept.add("laterality")
        cells = {name: text for name, text in source.cells.items() if name not in kept}
        names = {name: origin for name, origin in source.origins.items() if name not in source.cells}
        origins = {name: source.origins[name] for name in cells} | names | dict(merged.origins)
        merged = ImageMetadata(
            merged.patient or source.patient, merged.lesion or source.lesion, cells | dict(merged.cells), origins
        )
    return merged


def describe_day_conflict(sources: Iterable[ImageMetadata]) -> str:
    """Describe a conflict between the days that sources state for an image; empty if they agree.

    The day of the first source is used.
    """
    days: dict[str, Origin] = {}
    for source in sources:
        if "taken_on" in source.cells:
            days.setdefault(source.cells["taken_on"], source.origins["taken_on"])
    if len(days) < 2:
        return ""
    used, *others = (f"{day} ({DAY_SOURCES.get(origin, origin)})" for day, origin in days.items())
    return f"has different dates: {used} is used, not {' or '.join(others)}. Check it in the Case dock."


@cache
def _allowed_fields(kind: type[CasePart]) -> frozenset[str]:
    """Return the fields of a part that a table may set: those that are named like a column, and ``taken_on``."""
    columns = {name for name in kind.field_names() if find_column(name)} - set(CASE_FIELDS)
    return frozenset(columns | (kind.model_fields.keys() & {"taken_on"}))


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@dataclass(frozen=True)
class CollectedImage:
    """An image that has no id yet, and its metadata."""

    image: CaseImage
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


@dataclass(frozen=True)
class FilingResult:
    """A case with added images, and notes for the user."""

    case: Case
    notes: tuple[Note, ...] = ()


def file_images(case: Case, found: Iterable[CollectedImage], lesion_id: str = "") -> FilingResult:
    """Add images and their values to a case; known values are not replaced.

    An image is assigned to the lesion with its label, or if it has no label, to the lesion at its body site; a missing
    lesion is added. An image with neither remains unassigned. Images that are in the case already are left out. New
    lesions are listed in the order of the numbers in their labels. The notes list the values that were read from the
    files, contradictions and omissions.

    ``lesion_id``: of the lesion to which all images are assigned, even if their names suggest another one.
    """
    filing = _CaseFiling(case, lesion_id)
    for image in found:
        filing.add(image)
    return filing.finish()


def is_other_patient(case: Case, patient_name: str) -> bool:
    """Return whether files name another patient than the case; False if either is unknown."""
    patient_id = case.patient.patient_id
    return bool(patient_name and patient_id) and patient_id not in (patient_name, pseudonym(patient_name))


class _CaseFiling:
    """Collect images by lesion, and add them to a case together."""

    def __init__(self, case: Case, lesion_id: str) -> None:
        self.case, self.lesion_id = case, lesion_id
        self.notes: list[Note] = []
        self.imported: list[tuple[str, Mapping[str, Origin]]] = []  # see ``describe_imported``
        self.known_lesions = len(case.lesions)
        self.paths = {image.path for _, image in case.iterate_images()}
        self.other_patient_count = 0
        self.pending: dict[str, list[CaseImage]] = {"": []}  # by the id of the lesion; "" for unassigned images

    def add(self, found: CollectedImage) -> None:
        """Find or add the lesion of an image, and fill in metadata of lesion and patient."""
        image, metadata = found.image, found.metadata
        if image.path in self.paths:
            return
        self.paths.add(image.path)
        self.other_patient_count += is_other_patient(self.case, metadata.patient)
        self._update_patient(image.name, metadata)
        lesion_id = self.lesion_id or self._find_or_add_lesion(image.name, metadata)
        cells, origins = metadata.select(CaseImage)
        if lesion_id and not self.lesion_id:
            origins["lesion"] = metadata.origins.get("lesion", metadata.origins.get("site", "name"))
        self.imported.append(("image", origins))
        self.pending.setdefault(lesion_id, []).append(CaseImage.parse({**dict(image), **cells}, image.name))

    def finish(self) -> FilingResult:
        """Add the collected images to the case."""
        case = self.case
        for lesion_id, images in self.pending.items():
            case = add_images(case, images, lesion_id)
        known, new = case.lesions[: self.known_lesions], case.lesions[self.known_lesions :]
        case = case.model_copy(update={"lesions": (*known, *sorted(new, key=_label_number))})
        if self.other_patient_count:
            count = format_count(self.other_patient_count, "image")
            self.notes.append(("patient", f"another patient in {count}: check that they belong to this case."))
        if text := describe_imported(self.imported):
            case = case.model_copy(update={"imports": (*case.imports, text)})
            self.notes.insert(0, ("The case", f"contains values that were read from the files: check them. {text}"))
        return FilingResult(case, tuple(dict.fromkeys(self.notes)))

    def _update_patient(self, subject: str, metadata: ImageMetadata) -> None:
        values, origins = self._select_new_values(subject, self.case.patient, *metadata.select(CasePatient))
        if values:
            self.case = set_patient(self.case, **values)
            self.imported.append(("patient", origins))

    def _find_or_add_lesion(self, subject: str, metadata: ImageMetadata) -> str:
        """Return the id of the lesion of an image, which is added if necessary; empty for an unassigned image."""
        cells, origins = metadata.select(CaseLesion)
        if not metadata.lesion and not _site_from_cells(cells).site:
            return ""
        lesion = next((lesion for lesion in self.case.lesions if self._fits(lesion, metadata, cells, origins)), None)
        if lesion is None:
            self.case = add_lesion(self.case, **cells, label=metadata.lesion)
            self.imported.append(("lesion", origins))
            return self.case.lesions[-1].id
        if merge_body_sites(_site_of_lesion(lesion), _site_from_cells(cells)) is None:
            new_site, known_site = _format_site(_site_from_cells(cells)), _format_site(_site_of_lesion(lesion))
            self.notes.append((subject, f"contains the site {new_site}; the known site {known_site} is kept."))
            cells = {name: text for name, text in cells.items() if name not in BodySite._fields}
        values, new_origins = self._select_new_values(subject, lesion, cells, origins)
        if values:
            self.case = set_lesion(self.case, lesion.id, **values)
            self.imported.append(("lesion", new_origins))
        return lesion.id

    def _fits(
        self, lesion: CaseLesion, metadata: ImageMetadata, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> bool:
        """Return whether an image is assumed to show a lesion.

        It has the same label, or if it has none, the lesion has no label and the same site. If the label was guessed
        from a file name, the sites must be compatible. Tables and headers contain only the region of the body, where a
        patient may have several lesions: a second image with the same modality is assigned to another lesion there.
        """
        site = _site_of_lesion(lesion)
        if metadata.lesion:
            is_certain = metadata.origins["lesion"] != "name"
            return lesion.label == metadata.lesion and (
                is_certain or merge_body_sites(site, _site_from_cells(cells)) is not None
            )
        if lesion.label or site != _site_from_cells(cells):
            return False
        modalities = {image.modality for image in (*lesion.images, *self.pending.get(lesion.id, ()))}
        return origins.get("site", "name") == "name" or metadata.cells.get("modality", "") not in modalities

    def _select_new_values(
        self, subject: str, part: CasePart, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> tuple[dict[str, object], dict[str, Origin]]:
        """Return the values that a patient or lesion lacks, and their origins; add notes about contradictions."""
        for name, text in cells.items():
            if part.cell(name) not in ("", text) and not _is_compatible_site(name, text, part):
                self.notes.append((subject, f"contains {name} {text}; the known value {part.cell(name)} is kept."))
        values = {name: text for name, text in cells.items() if not part.cell(name)}
        return dict(values), {name: origins[name] for name in values}


def _is_compatible_site(name: str, text: str, part: CasePart) -> bool:
    """Return whether a field is the site, and a value does not contradict the known site."""
    return name == "site" and merge_body_sites(BodySite(part.cell("site")), BodySite(text)) is not None


def _label_number(lesion: CaseLesion) -> float:
    """Return the number in a label; infinity if it is no number."""
    return int(lesion.label) if lesion.label.isdecimal() else math.inf


def _site_of_lesion(lesion: CaseLesion) -> BodySite:
    return BodySite(lesion.site, lesion.sub_site, lesion.laterality)


def _format_site(site: BodySite) -> str:
    """Format a body site, such as ``left lower leg``."""
    return " ".join(filter(None, reversed(site)))


def _site_from_cells(cells: Mapping[str, str]) -> BodySite:
    return BodySite(*(cells.get(name, "") for name in BodySite._fields))


def read_header_metadata(path: Path) -> tuple[ImageMetadata, ...]:
    """Read the metadata in the DICOM or EXIF header of an image; raise ``UnreadableImage`` if there is no image."""
    try:
        with open_regular(path) as file:
            if identify_format(file.read(HEAD_BYTES)) == "DICOM":
                file.seek(0)
                return (_read_dicom_metadata(read_header(file)),)
    except OSError as error:
        raise UnreadableImage(f"it cannot be read: {error.strerror or error}.") from error
    return (_read_exif_metadata(read_exif(path)),)


def _read_dicom_metadata(header: DicomHeader) -> ImageMetadata:
    """Return the metadata of a DICOM header, with pseudonyms of patient and lesion."""
    if not header.has_image:
        raise UnreadableImage("it contains no image.")
    if header.shows in AUXILIARY_IMAGES:
        raise UnreadableImage(f"it shows the {header.shows} of a slide, not tissue.")
    from napari_melanoma.data.source_records import list_header_values

    values = list_header_values(header)
    names = {"patient": values.pop("patient_id", ""), "lesion": values.pop("lesion_id", "")}
    row = {name: text for name, text in values.items() if name not in SCALE_FIELDS}  # read with the pixels
    cells = harmonize_rows([row], "dicom").rows[0]
    return ImageMetadata.from_source("dicom", {**cells, "taken_on": header.taken_on}, **names)


def _read_exif_metadata(hints: ExifHints) -> ImageMetadata:
    """Return the metadata of an EXIF header; the modality is known if the camera takes only one type of image."""
    modality = "dermoscopic" if any(word in hints.camera for word in DERMATOSCOPES) else ""
    modality = modality or ("tbp_tile" if any(word in hints.camera for word in TOTAL_BODY) else "")
    return ImageMetadata.from_source("exif", {"modality": modality, "taken_on": hints.taken_on})


SCALE_FIELDS = ("mpp_x", "mpp_y")
MIN_SITE_LETTERS = 3  # of the words for a body site; shorter ones are ambiguous
MAX_DIGITS = 2  # of a lesion number; larger ones are counters of cameras
IMAGE_DAY_COLUMNS = (
    *("taken_on", "date_taken", "image_date", "photo_date", "acquisition_date", "aufnahmedatum", "opnamedatum"),
)
"""Names of columns for the day on which an image was taken, in lower case, in the order of their precedence."""
ROW_DAY_COLUMNS = ("exam_date", "study_date", "data_exame", "date_examen", "date", "datum", "fecha", "data")
"""Names of columns for a day that may also be that of a visit, a biopsy or an entry: a header takes precedence."""
ROW_DAY = "row_day"  # key for a day of ROW_DAY_COLUMNS in a harmonized row
EARLIEST_DAY = "1995"  # earlier dates, before digital photography, are dates of birth
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
_LESION = re.compile(
    r"(?<![^\W\d_])(?:lesion|läsion|laesion|lesione|lesao|lesão|lésion|mole|naevus|nevus)[ _.-]?0*(\d+)(?!\d)",
    re.IGNORECASE,
)
# Not looked up: "photo" is a word for macroscopic, but also stands before the number of a file
NEUTRAL_WORDS = frozenset(("photo", "photograph", "slide"))


def parse_name_metadata(path: PurePath) -> ImageMetadata:
    """Guess metadata from the names of a file and its folders; inner names take precedence."""
    is_slide = path.name.lower().endswith(SLIDE_SUFFIXES)
    kind = ImageMetadata.from_source("name", {"modality": "wsi" if is_slide else ""})
    stem = path.name.split(".")[0] if is_slide else path.stem
    return merge_metadata((kind, *(_parse_name(name) for name in (stem, *reversed(path.parent.parts)))))


def _parse_name(name: str) -> ImageMetadata:
    """Guess metadata from the name of one file or folder.

    Without patient, day, lesion and modality, all its words must name a body site, or none of them is used.
    """
    cells: dict[str, str] = {}
    patient, lesion, rest = _parse_patient(name)
    cells["taken_on"], rest = _parse_day(rest)
    if match := _LESION.search(rest):
        lesion, rest = lesion or match.group(1), rest.replace(match.group(), " ", 1)
    words = re.split(r"[\s_]+", rest)
    modality_index, cells["modality"] = _find_modality(words)
    others = words[:modality_index] + words[modality_index + 1 :]
    site_parts = [word for word in others if word.isalpha() and word.lower() not in NEUTRAL_WORDS]
    cells |= _parse_site(" ".join(site_parts))._asdict()
    if not lesion and (cells["site"] or cells["modality"]):
        # A number after the modality counts images, not lesions
        numbers = [word for word in words[:modality_index] if word.isdecimal()]
        lesion = numbers[0] if len(numbers) == 1 and len(numbers[0]) <= MAX_DIGITS else ""
    return ImageMetadata.from_source("name", cells, patient=patient, lesion=lesion.lstrip("0"))


def _parse_patient(name: str) -> tuple[str, str, str]:
    """Return patient, lesion and the rest of a name; only names of PAD-UFES-20 contain a lesion here."""
    if pad_ufes := _PAD_UFES.fullmatch(name):
        return pad_ufes.group(1), pad_ufes.group(2), ""
    match = _PATIENT.search(name)
    return (match.group(), "", name.replace(match.group(), " ", 1)) if match else ("", "", name)


def _parse_day(name: str) -> tuple[str, str]:
    """Return the date in a name, empty if there is none, and the rest of the name.

    Of several dates, the latest is returned, because another one may be a date of birth.
    """
    days = ["-".join(match.group(1, 3, 4)) for match in _DAY.finditer(name)]
    days += [f"{year}-{month:>02}-{day:>02}" for day, month, year in _DAY_FIRST.findall(name)]
    rest = _DAY_FIRST.sub(" ", _DAY.sub(" ", name))
    return max((day for day in days if day >= EARLIEST_DAY), default=""), rest


def _find_modality(words: Sequence[str]) -> tuple[int, str]:
    """Return the index of the word for the modality, and the modality; the number of words if there is none."""
    for index, word in enumerate(words):
        modality = None if word.lower() in NEUTRAL_WORDS else load_taxonomy("modality").translate(word)
        if modality and modality != UNKNOWN:
            return index, modality
    return len(words), ""


def _parse_site(words: str) -> BodySite:
    """Return the body site, or the side alone if it is spelled out: abbreviations such as ``dir`` are ambiguous."""
    site = parse_body_site(words) if len(words) >= MIN_SITE_LETTERS else None
    return site if site and (site.site or len(words) > MIN_SITE_LETTERS) else NO_SITE


@dataclass(frozen=True)
class CaseTable:
    """A harmonized table, with the rows that belong to existing images, and notes for the user.

    ``count``: number of all rows. ``by_name``, ``by_path``: rows by the normalized name or by the path of their image.
    Of several rows of a name, that with the most folders in common with the image is used, or else the first.
    ``by_stem``: images near the table by normalized name. ``ambiguous``: names of images in several folders.
    """

    path: Path
    count: int
    by_name: Mapping[str, Sequence[Row]]
    by_path: Mapping[Path, Row]
    by_stem: Mapping[str, Path]
    ambiguous: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()

    @property
    def images(self) -> list[Path]:
        """Images that the table lists, first those with paths, then those with names only."""
        named = {compose_name(row.get("image_id", "")) for row in self.by_path.values()}
        return [
            *self.by_path,
            *(self.by_stem[name] for name in self.by_name if name in self.by_stem and name not in named),
        ]

    def image_metadata(self, image: Path) -> ImageMetadata:
        """Return the metadata in the row of an image; empty if there is none."""
        row = self._find_row(image)
        return ImageMetadata.from_source(
            "table", row, patient=row.get("patient_id", ""), lesion=row.get("lesion_id", "")
        )

    def row_day(self, image: Path) -> ImageMetadata:
        """Return the day in the row of an image that may be that of a visit or biopsy, such as ``date``."""
        return ImageMetadata.from_source("table", {"taken_on": self._find_row(image).get(ROW_DAY, "")})

    def _find_row(self, image: Path) -> Row:
        name = compose_name(image.stem)
        named = () if name in self.ambiguous else self.by_name.get(name, ())
        return self.by_path.get(image) or max(named, key=lambda row: _count_folders(row, image), default={})

    def count_rows_without(self, images: Iterable[Path]) -> int:
        """Return the number of rows that belong to none of some images."""
        return self.count - len({id(row) for image in images if (row := self._find_row(image))})


def _count_folders(row: Row, image: Path) -> int:
    """Return how many folders at the end of the path in a row are those of an image; the path may be of Windows."""
    return count_same_end(PureWindowsPath(row.get("path", "")).parent, image.parent)


def read_case_table(path: Path, images: Iterable[Path] = (), mapping: TableMapping | None = None) -> CaseTable:
    """Read and harmonize a table; rows without an existing image are only counted.

    ``images``: selected images, which the table may describe wherever they are. A file that is not a table, or that
    names no images, results in no rows and a note.
    """
    nearby, harmonizer, present = _list_nearby_images(path), Harmonizer(), set(images)
    names = {compose_name(image.stem) for image in present.union(nearby)}
    by_name, by_path, named, notes = defaultdict[str, list[Row]](list), dict[Path, Row](), 0, list[Note]()
    paths, outside = PathResolver(path.parent, allow_outside=False), OutsidePaths(path.parent)
    try:
        for raw_row in iterate_rows(path):
            day, columns = _split_day(mapping.apply(raw_row) if mapping else raw_row)
            row = {**harmonizer.harmonize_row(columns), **day}
            name = compose_name(row.get("image_id") or PureWindowsPath(row.get("path", "")).stem)
            named += bool(name)
            if name in names:
                by_name[name].append(row)
            if "path" in row:
                # The path may have been written on Windows
                file = Path(os.path.normpath(path.parent / PureWindowsPath(row["path"]).as_posix()))
                if file not in present and not paths.contains(file):
                    outside.add(row["path"])
                elif file.is_file():
                    by_path.setdefault(file, row)
    except InputError as error:
        notes.append((path.name, f"was left out: {error}"))
    if outside.count:
        notes.append((path.name, f"{outside}. These images were not added: select them or their folder as well."))
    report = harmonizer.make_report()
    advice = "if they mean the same, map it in the dialog for the table's columns"
    unknown = report.describe_unrecognized("left out", advice)
    notes += [(path.name, f"{column}: {message}.") for column, message in (*unknown, *report.describe_findings())]
    if report.rows and not named:
        notes.append((path.name, "no column contains image names: map one of its columns."))
    ambiguous = _find_ambiguous_names(present.union(nearby, by_path))
    rows_with_path = {id(row) for row in by_path.values()}
    unused = [
        name
        for name, rows in by_name.items()
        if name in ambiguous and not all(id(row) in rows_with_path for row in rows)
    ]
    if unused:
        listed = ", ".join(unused[:MAX_NAMED]) + (" ..." if len(unused) > MAX_NAMED else "")
        note = f"several folders contain images called {listed}: these rows were not used. Add the paths of the images."
        notes.append((path.name, note))
    by_stem = {compose_name(file.stem): file for file in nearby}
    return CaseTable(path, report.rows, by_name, by_path, by_stem, ambiguous, tuple(notes))


def _split_day(row: Row) -> tuple[dict[str, str], Row]:
    """Split a row into the day of its image and the other columns, since the harmonized table has no column for a day.

    The key of the day is ``taken_on``, or ``ROW_DAY`` if it comes from ``ROW_DAY_COLUMNS``. A cell that is not a date
    remains in the row, so that it is reported.
    """
    columns = {name: name.strip().casefold() for name in row}
    days = {
        name: _parse_day(row[name])[0] for name, key in columns.items() if key in (*IMAGE_DAY_COLUMNS, *ROW_DAY_COLUMNS)
    }
    # reversed: of columns with equal names, the first is used
    by_key = {columns[name]: day for name, day in reversed(days.items()) if day}
    rest = {name: cell for name, cell in row.items() if name not in days or (cell.strip() and not days[name])}
    for key, day_columns in (("taken_on", IMAGE_DAY_COLUMNS), (ROW_DAY, ROW_DAY_COLUMNS)):
        if day := next((by_key[name] for name in day_columns if name in by_key), ""):
            return {key: day}, rest
    return {}, rest


def names_no_image(path: Path) -> bool:
    """Return whether a table has rows, but no column with names or paths of images; False if it is not a table."""
    try:
        with closing(iterate_rows(path)) as rows:
            first = next(rows, None)
    except InputError:
        return False
    row = None if first is None else Harmonizer().harmonize_row(first)
    return row is not None and not {"image_id", "path"} & row.keys()


def _find_ambiguous_names(files: Iterable[Path]) -> frozenset[str]:
    folders = defaultdict[str, set[Path]](set)
    for file in files:
        folders[compose_name(file.stem)].add(file.parent)
    return frozenset(name for name, parents in folders.items() if len(parents) > 1)


def _list_nearby_images(path: Path) -> list[Path]:
    """Return the images in the folder of a table or its subfolder ``images``."""
    folders = [folder for name in IMAGE_FOLDERS if (folder := path.parent / name).is_dir()]
    files = (file for folder in folders for file in sorted(folder.iterdir()))
    return [file for file in files if file.suffix.lower() in SUFFIXES]
