"""Audit files and folders for information that identifies a person: what this program writes, and images.

Files of other programs are searched as text, or reported as not examined.
"""

from __future__ import annotations

import html
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO, StringIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.csv_files import CsvReader
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.parsing import parse_json, parse_toml
from napari_melanoma.core.run_folder import PROCESS_FILE
from napari_melanoma.data.table_mapping import possible_columns
from napari_melanoma.depth.readings import MODEL_READER
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, identify_format
from napari_melanoma.privacy.personal_data import CARET_NAME, DATE, EMAIL, MAX_AGE, YEAR, find_in_text
from napari_melanoma.privacy.pseudonyms import SHAPE

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
REMEDIES = {
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
# Patterns of the names of fields in lowercase words, in English and as the product writes them; the first match counts
_FIELDS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("birth", r"\bbirth(?!\s?name)|\bdob\b|geburtsd|geboren|nacimiento|nascimento|naissance|nascita"),
        (
            "person",
            r"\b(patient|subject|person)s?( s)? ?names?\b|\b(sur|last|first|family|given|full|birth) ?name\b|"
            r"patientenname|nachname|vorname|apellidos?\b|\bnombre\b|cognome|sobrenome|\bpr[eé]nom\b|achternaam|"
            r"^initials$",
        ),
        (
            "record",
            r"\bmrn\b|medical record|\b(hospital|patient|chart|accession|insurance) ?(number|no|nr)\b|\bssn\b|"
            r"patientennummer|\bbarcode( value)?$|other patient ids?",
        ),
        (
            "contact",
            r"\be ?mail\b|\btele ?phone|\bphone\b|\bmobile\b|\baddress\b|\bstreet\b|post ?code|\bzip ?code\b",
        ),
        (
            "staff",
            r"physician|\bdoctor\b|\boperators?( name)?\b|experimenter|technician|\breferring\b|\breviewer\b|"
            r"\bartist\b|\bauthors?\b|\bowner( name)?\b|\buser ?name\b|^user$|^creator$|"
            r"\breaders?$|\b(signed|reviewed|corrected) by$|\binterpreter$",
        ),
        ("device", r"\bserial\b|\bhost ?(name|computer)\b|computer ?name|station name|device id|scan ?scope id"),
        ("location", r"\bgps\b|\blatitude\b|\blongitude\b|\binstitution|hospital name|department name"),
        ("date", r"\bdate of death\b|\bdeath date\b"),
    )
)
_PATIENT_IDS = ("patient id", "patientid", "subject id", "participant id")
_REMARKS = ("notes", "comment", "comments", "remark", "remarks", "free text", "clinical history", "bemerkungen")
# Fields in which a date does not concern a patient, such as the date of a file of this program
_PROGRAM_FIELDS = re.compile(
    r"^(created|updated|modified|written|reviewed at|started|finished|time|at|version|python|licen[cs]e|date released)$"
)
_EMPTY = re.compile(
    r"[\W_x]*|0+|anonym\w*|unknown|removed|none|n/?a|null|nan|redacted|de-?identified|"
    r"not (applicable|assessed|available|determined|disclosed|done|given|known|provided|recorded|reported|stated)",
    re.I,
)
_STARTS_WITH_DATE = re.compile(rf"\s*(?:{DATE}|{YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{6}}.*)?\s*$)")
_DATE_IN_NAME = re.compile(
    rf"(?<!\d)(?:{YEAR}([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|\d\d?([-_.])\d\d?\2{YEAR})(?!\d)"
)
MAX_BYTES = 64 << 20  # of a file; more is searched for paths and accounts only at its beginning


class Entry(NamedTuple):
    """One piece of content.

    ``source``: key of ``REMEDIES``. ``key``: name of the field by which ``value`` is classified. ``kind``: one of
    ``KINDS`` if the location alone determines it. ``free``: whether ``value`` is free text.
    """

    source: str
    where: str
    key: str
    value: str
    kind: str = ""
    free: bool = False


@dataclass(frozen=True)
class PrivacyFinding:
    """Identifying information in a file: one of ``KINDS``, its location, a masked example and what to do."""

    file: str
    kind: str
    where: str
    example: str
    what_to_do: str
    count: int = 1


@dataclass
class AuditResult:
    """The result of an audit: numbers of findings by type, and why some files and folders were not inspected."""

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file was inspected."""
        return not self.counts and not self.skipped


class NotInspected(Exception):  # noqa: N818 - a result of the audit, not an error
    """The reason why a file could not be inspected."""


def audit(paths: Iterable[Path], on_finding: Callable[[PrivacyFinding], None], *, run: RunContext) -> AuditResult:
    """Inspect files and folders for information that identifies a person, without writing anything.

    ``on_finding`` is called with each finding.
    """
    result = AuditResult()
    for top in paths:
        if not top.exists():
            raise InputError(f"{top} does not exist. Name a file or folder that you want to share.")
        for path in _walk(top, result):
            run.check()
            name = path.name if path == top else path.relative_to(top).as_posix()
            try:
                for finding in find_in_entries(_read_path(path, name), name):
                    result.counts[finding.kind] += 1
                    on_finding(finding)
            except NotInspected as reason:
                result.skipped[name] = str(reason)
            except (*DAMAGE_ERRORS, zipfile.BadZipFile, MelanomaError) as error:
                result.skipped[name] = f"it cannot be read ({getattr(error, 'strerror', None) or error})"
            if not path.is_dir():
                result.files += 1
                run.report(Progress(result.files, None, "Reading files"))
    return result


def _walk(top: Path, result: AuditResult) -> Iterator[Path]:
    """Yield a file, or a folder and everything in it, sorted by name; unreadable folders are added to the result."""
    if not top.is_dir():
        yield top
        return

    def skip(error: OSError) -> None:
        folder = Path(error.filename)
        name = top.name if folder == top else folder.relative_to(top).as_posix()
        result.skipped[name] = f"it cannot be read ({error.strerror})"

    for parent, folders, names in os.walk(top, onerror=skip):
        folders.sort()
        yield Path(parent)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def find_in_entries(entries: Iterable[Entry], name: str) -> Iterator[PrivacyFinding]:
    """Yield a finding for each location and type in the entries of a file, with the number of occurrences.

    If the file cannot be read to its end, what was found before is yielded first.
    """
    first: dict[tuple[str, str], tuple[Entry, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    reason: Exception | None = None
    try:
        is_process = PurePosixPath(name).name == PROCESS_FILE
        for entry in entries:
            if is_process and entry.key == "pid":  # the number of a process, not of a patient
                continue
            for kind, value in classify_entry(entry):
                first.setdefault((entry.where, kind), (entry, value))
                counts[entry.where, kind] += 1
    except (NotInspected, *DAMAGE_ERRORS, zipfile.BadZipFile, MelanomaError) as error:
        reason = error
    for (where, kind), (entry, value) in first.items():
        example = value if kind == "picture" else mask_text(value)
        yield PrivacyFinding(name, kind, where, example, REMEDIES[entry.source], counts[where, kind])
    if reason is not None:
        raise reason


def classify_entry(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the identifying information in an entry: its type, and the relevant part of the value."""
    value, key = entry.value.strip(), normalize_name(entry.key)
    if entry.kind:
        yield entry.kind, value
    elif not _EMPTY.fullmatch(value):
        kind = _classify_field(entry.source, key, value)
        hits = [(kind, value)] if kind else list(find_in_text(value))
        yield from hits
        if entry.free and not hits:
            yield "text", value


def _classify_field(source: str, key: str, value: str) -> str:
    """Return the type of information by the name of a field and its value; "" if there is none."""
    columns = _find_columns(key)
    if "patient_id" in columns:
        is_id = key in _PATIENT_IDS
        identifies = (is_id and source in ("dicom", "slide", "picture")) or (value.isdigit() and len(value) > 4)
        if is_id or identifies:
            return "record" if identifies and not SHAPE.fullmatch(value) else ""
    if "age" in columns:
        years = re.match(r"\d+(?:\.\d+)?", value)
        return "age" if years and MAX_AGE < float(years.group()) < 130 else ""
    if source == "table" and key in _REMARKS:
        return "text" if " " in value else ""
    kind = find_field_kind(key)
    if kind == "staff" and (value == MODEL_READER or not re.search(r"[^\W\d_]{2}", value)):
        kind = ""
    return kind or ("date" if _STARTS_WITH_DATE.match(value) and not _PROGRAM_FIELDS.match(key) else "")


def find_field_kind(key: str) -> str:
    """Return the type of information that the normalized name of a field indicates; "" if none."""
    return next((kind for kind, pattern in _FIELDS if pattern.search(key)), "")


@lru_cache(maxsize=4096)
def _find_columns(key: str) -> frozenset[str]:
    """Return the columns of our tables that a field may mean, as when a table is harmonized."""
    return possible_columns(key)


def normalize_name(key: str) -> str:
    """Split the name of a field into lowercase words."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", key)
    return re.sub(r"[^\w]+|_+", " ", words).casefold().strip()


def mask_text(text: str) -> str:
    """Mask a text for display: in each word, all characters but the first become ``*``; at most 40 characters."""
    masked = re.sub(r"(?<=[^\W_])[^\W_]", "*", " ".join(text.split()))
    return masked if len(masked) <= 40 else masked[:39] + "…"


def _read_path(path: Path, name: str) -> Iterator[Entry]:
    """Yield the name, the target of a link, and the content of a file or folder."""
    yield from _read_name(path.name)
    if path.name.lower() in ("thumbs.db", ".ds_store"):
        yield Entry("name", "system file", "", "shows what is or was in the folder", "picture")
    if path.is_symlink():
        yield Entry("name", "link", "", os.fspath(path.readlink()))
    elif path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if identify_format(head) in ("TIFF", "DICOM"):  # may be slides, which are not read into memory
            yield from (_read_dicom(path) if identify_format(head) == "DICOM" else _read_tiff(path))
        elif path.stat().st_size <= MAX_BYTES:
            yield from read_content(path.read_bytes(), name)
        else:
            yield from _read_text_in_parts(path)


def _read_name(name: str) -> Iterator[Entry]:
    for kind, rule in (("date", _DATE_IN_NAME), ("contact", EMAIL), ("person", CARET_NAME)):
        if hit := rule.search(name):
            yield Entry("name", "name", "", hit.group(), kind)


def _read_text_in_parts(path: Path) -> Iterator[Entry]:
    """Yield a large file as text, in parts."""
    with path.open("rb") as file:
        while part := file.read(MAX_BYTES):
            yield _read_binary(part)


def read_content(content: bytes, name: str, depth: int = 0) -> Iterator[Entry]:
    """Yield the entries of a file; ``depth``: number of archives around it."""
    suffix = PurePosixPath(name.lower()).suffix
    kind = identify_format(content[:HEAD_BYTES])
    if kind == "DICOM":
        yield from _read_dicom(BytesIO(content))
    elif kind == "TIFF":
        yield from _read_picture(BytesIO(content), "slide")
    elif kind:
        yield from _read_picture(BytesIO(content), "picture")
        yield from _read_trailing_data(content)
    elif content.startswith(b"PK\x03\x04"):
        yield from _read_archive(content, depth)
    elif b"\0" in content[:8192] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield _read_binary(content)
        if suffix not in (".safetensors", ".npy", ".pt", ".ckpt", ".onnx", ".bin", "") and name.lower() != "thumbs.db":
            raise NotInspected("its format is not supported: only paths and accounts were searched")
    elif content.startswith((b"%PDF", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc", b"Rar!", b"GIF8")):
        raise NotInspected("its format is not supported")
    else:
        yield from _read_document(_decode(content), suffix)


def _read_binary(content: bytes) -> Entry:
    """Return the paths in home folders in weights and other binary files, and in parts of large files."""
    paths = re.findall(rb"(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[\x21-\x7e]{2,200}", content)
    return Entry("text", "content", "", b"\n".join(paths).decode("ascii"))


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_archive(content: bytes, depth: int) -> Iterator[Entry]:
    """Yield the entries of the files in a ZIP archive."""
    if depth > 2:
        raise NotInspected("it is inside nested archives")
    not_inspected: list[str] = []
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if any(name.startswith("xl/worksheets/") for name in archive.namelist()):
            not_inspected.append("workbooks are not read: export the sheets as CSV")
        for member in archive.infolist():
            inside = [*_read_name(PurePosixPath(member.filename).name)]
            try:
                if member.flag_bits & 1 or member.file_size > MAX_BYTES:
                    raise NotInspected("it is encrypted or too large")
                for entry in (*inside, *read_content(archive.read(member), member.filename, depth + 1)):
                    yield entry._replace(where=f"{member.filename}: {entry.where}")
            except (NotInspected, *DAMAGE_ERRORS, zipfile.BadZipFile) as error:
                not_inspected.append(f"{member.filename} inside: {error}")
    if not_inspected:
        raise NotInspected("; ".join(not_inspected))


def _read_document(text: str, suffix: str) -> Iterator[Entry]:
    """Yield the entries of a text in one of the formats of this program; of other text, its lines."""
    try:
        if suffix in (".csv", ".tsv"):
            comments = re.match(r"(?:#.*\n)*", text)
            start = 0 if comments is None else comments.end()
            yield Entry("table", "comment above the header", "", text[:start])
            header = text[start : text.find("\n", start)]
            yield from _read_table(CsvReader(StringIO(text[start:]), max(",;\t|", key=header.count)))
        elif suffix in (".json", ".geojson", ".ipynb", ".zattrs"):
            yield from _flatten(parse_json(text, "JSON"), "")
        elif suffix == ".jsonl":
            for number, line in enumerate(text.split("\n"), start=1):
                yield from _read_json_line(line, number)
        elif suffix == ".toml":
            yield from _flatten(parse_toml(text, "TOML"), "")
        elif suffix in (".html", ".htm"):
            yield from _read_page(text)
        elif suffix in (".xml", ".svg", ".xmp"):
            yield from _read_xml(text, "text")
        else:
            yield from _read_lines(text)
    except ValueError:
        yield from _read_lines(text)


def _read_json_line(line: str, number: int) -> Iterator[Entry]:
    """Yield the entries of a line of JSON; one that is incomplete, such as the last one of a stopped run, is a text."""
    try:
        content = parse_json(line, "JSON")
    except ValueError:
        yield from _read_lines(line, number)
    else:
        yield from _flatten(content, "")


def _read_lines(text: str, first: int = 1) -> Iterator[Entry]:
    """Yield the first information of each type in a text, with its line; ``first``: number of the first line."""
    for kind, value in find_in_text(text):
        yield Entry("text", f"line {text.count(chr(10), 0, text.find(value)) + first}", "", value, kind)


def _read_table(rows: Iterable[list[str]]) -> Iterator[Entry]:
    """Yield the cells of columns whose name or values indicate personal data; other columns as one text."""
    rows = iter(rows)
    header = next(rows, [])
    columns: list[Counter[str]] = [Counter() for _ in header]
    for row in rows:
        columns.extend(Counter() for _ in range(len(row) - len(columns)))
        for counts, cell in zip(columns, row, strict=False):
            counts[cell.replace("\0", "")] += 1
    for index, cells in enumerate(columns):
        title = header[index].strip() if index < len(header) else str(index + 1)
        key, where = normalize_name(title), f"column '{title}'"
        is_named = bool(find_field_kind(key)) or key in _REMARKS or bool({"age", "patient_id"} & _find_columns(key))
        if is_named or any(map(_STARTS_WITH_DATE.match, cells)):
            yield from (Entry("table", where, title, cell) for cell in cells.elements())
        else:
            yield Entry("table", where, title, "\n".join(cells))


def _flatten(value: Any, path: str) -> Iterator[Entry]:  # noqa: ANN401 - whatever JSON can hold
    """Yield entries for the keys, texts, integers and ages in nested lists and dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield Entry("text", f"a key of {path or 'the file'}", "", str(key))
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _flatten(item, path)
    elif value is not None and not isinstance(value, bool):
        names = [name for name in path.split(".") if name not in ("li", "Seq", "Bag", "Alt", "text")]  # of XMP
        name = names[-2 if names[1:] and names[-1] == "display" else -1] if names else ""  # ``display`` of FHIR
        if not isinstance(value, float) or "age" in _find_columns(normalize_name(name)):
            yield Entry("text", path or "value", name, str(value))


def _read_page(text: str) -> Iterator[Entry]:
    """Yield the source of an HTML page without images, and its visible text."""
    source = re.sub(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\s]+", "data:", text)
    cells = re.sub(r"</t[dh]>\s*<t[dh][^>]*>|</d[td]>\s*<d[td][^>]*>", ": ", source, flags=re.I)
    yield from _read_lines(source)
    yield Entry("text", "text of the page", "", html.unescape(re.sub(r"<[^>]{0,2000}>", "\n", cells)))


def _read_xml(text: str, source: str) -> Iterator[Entry]:
    """Yield the attributes and the texts of the elements of XML, such as OME-XML, by their names."""
    found = False
    for match in re.finditer(r"([\w.:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')|<([\w.:-]+)[^<>]*>([^<]+)</", text):
        key, value = (match[1], match[2] or match[3] or "") if match[1] else (match[4], match[5])
        name = key.rsplit(":", 1)[-1]
        found = True
        yield Entry(source, name, "" if name in ("Name", "ID", "Creator") else name, value)
    if not found:
        yield from _read_lines(text)


# Images

_OTHER_PICTURES = "may show parts that were cropped or covered later"
_FREE_TAGS = (
    *("ImageDescription", "UserComment", "XPComment", "XPTitle", "XPSubject", "XPKeywords", "DocumentName"),
    *("PageName", "Copyright", "ImageHistory", "MakerNote"),
)
_PNG_TECHNICAL = re.compile(r"Software|Gamma|Compression|Raw profile.*|XML:.*|(date|exif|icc|png|jpeg|tiff):.*", re.I)
_IPTC_TECHNICAL = (0, 3, 4, 10, 20, 42, 60, 62, 63, 65, 70, 130, 131, 135)  # versions, codes, programs, hours
_IPTC_PLACES = (26, 27, 90, 92, 95, 100, 101)
_JPEG_KNOWN = (b"JFIF", b"JFXX", b"ICC_PROFILE", b"Adobe", b"FPXR", b"Ducky", b"http://ns", b"Exif", b"Photoshop")


def _read_picture(file: BytesIO | Path, source: str) -> Iterator[Entry]:
    """Yield the metadata that Pillow reads: EXIF, XMP, IPTC, comments, PNG texts, segments and thumbnails."""
    from PIL import Image, IptcImagePlugin, PngImagePlugin
    from pillow_heif import register_heif_opener

    register_heif_opener()
    with Image.open(file) as image:
        if isinstance(image, PngImagePlugin.PngImageFile):
            image.load()  # texts may follow the pixels
            for key, text in image.text.items():
                yield Entry(source, f"PNG text {key}", key, text, free=not _PNG_TECHNICAL.fullmatch(key))
            for name, body, *_ in image.private_chunks:
                yield Entry(source, f"PNG chunk {name.decode('latin-1')}", "chunk", body.decode("latin-1"), free=True)
        for name, body in getattr(image, "applist", ()):
            if name == "COM" or not body.startswith((*_JPEG_KNOWN, b"MPF")):
                yield Entry(source, f"JPEG {name}", "comment", body.decode("utf-8", "replace"), free=True)
            elif body.startswith(b"MPF"):
                yield Entry(source, "further images (MPF)", "", "more than one image in the file", "picture")
        for (record, number), value in (IptcImagePlugin.getiptcinfo(image) or {}).items():
            if record == 2 and number not in _IPTC_TECHNICAL:
                text = b" ".join(value if isinstance(value, list) else [value]).decode("utf-8", "replace")
                kind = "location" if number in _IPTC_PLACES else ""
                yield Entry(source, f"IPTC record {number}", "", text, kind, free=True)
        for entry in _flatten(image.getxmp(), ""):
            if entry.key:
                free = entry.key in ("title", "description", "subject", "headline", "rights", "Headline")
                yield entry._replace(source=source, where=f"XMP {entry.key}", free=free)
        if image.info.get("thumbnails"):
            yield Entry(source, "thumbnail", "", _OTHER_PICTURES, "picture")
        yield from _read_exif(image.getexif(), source)


def _read_exif(exif: Any, source: str) -> Iterator[Entry]:  # noqa: ANN401 - of Pillow, which is imported late
    from PIL.ExifTags import IFD, TAGS

    for tag, value in (*exif.items(), *exif.get_ifd(IFD.Exif).items()):
        name = TAGS.get(tag, f"tag {tag}")
        text = _decode_tag(name, value)
        if name in ("XMLPacket", "IPTCNAA", "ImageResources", "InterColorProfile", "JPEGTables"):
            continue  # read above, or not text
        if name == "ImageDescription" and (text.lstrip().startswith("<") or "|" in text):
            yield from _read_description(text)
        elif text:
            key = {"XPAuthor": "author", "CameraSerialNumber": "serial"}.get(name, name)
            yield Entry(source, f"EXIF {name}", key, text, free=name in _FREE_TAGS and not text.startswith("{"))
    if exif.get_ifd(IFD.GPSInfo).keys() & {2, 4}:
        yield Entry(source, "EXIF GPSInfo", "gps", str(exif.get_ifd(IFD.GPSInfo)), "location")
    if 0x0201 in exif.get_ifd(IFD.IFD1):
        yield Entry(source, "EXIF thumbnail", "", _OTHER_PICTURES, "picture")


def _decode_tag(name: str, value: Any) -> str:  # noqa: ANN401 - whatever Pillow made of a tag
    """Decode the text of an EXIF tag: Windows tags are UTF-16, comments start with the name of their encoding."""
    if name.startswith("XP") and isinstance(value, bytes | tuple):
        return bytes(value).decode("utf-16-le", "replace").strip("\0 ")
    if isinstance(value, bytes):
        value = value[8 if name == "UserComment" else 0 :].decode("utf-8", "ignore")
    return "".join(letter for letter in value if letter.isprintable()).strip() if isinstance(value, str) else ""


def _read_description(text: str) -> Iterator[Entry]:
    """Yield the fields of the description of a slide: XML, or ``key = value`` between bars."""
    if text.lstrip().startswith("<"):
        yield from (entry._replace(where=f"description {entry.where}") for entry in _read_xml(text, "slide"))
    for part in text.split("|")[1:]:
        key, _, value = part.partition("=")
        name = {"User": "user name", "Filename": "path"}.get(key.strip(), key)
        yield Entry("slide", f"description {key.strip()}", name, value, free=key.strip() == "Title")


def _read_trailing_data(content: bytes) -> Iterator[Entry]:
    """Yield data after the end of a JPEG or PNG, which viewers do not show."""
    if content.startswith(b"\xff\xd8"):
        rest = content[content.rfind(b"\xff\xd9") + 2 :]
    else:
        rest = content[content.rfind(b"IEND") + 8 :] if content.startswith(b"\x89PNG") else b""
    if rest.strip(b"\0\r\n \xff"):
        yield Entry("picture", "after the end of the image", "", rest.decode("latin-1"), "text")


def _read_tiff(path: Path) -> Iterator[Entry]:
    """Yield the tags of a TIFF, and the images that a slide contains beside its levels."""
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(path) as slide:
        for name in slide.info.associated:
            yield Entry("slide", name, "", f"{name} of the slide", "picture")
    yield from _read_picture(path, "slide")


# Types of finding by DICOM keyword, whatever the value; others are recognized by the value representation (VR)
_DICOM = {
    keyword: kind
    for kind, keywords in {
        "birth": "PatientBirthDate PatientBirthTime",
        "record": "PatientID OtherPatientIDs AccessionNumber StudyID AdmissionID SpecimenIdentifier "
        "ContainerIdentifier BarcodeValue ClinicalTrialSubjectID",
        "contact": "PatientAddress PatientTelephoneNumbers CountryOfResidence RegionOfResidence PersonAddress "
        "PersonTelephoneNumbers OrderCallbackPhoneNumber",
        "location": "InstitutionName InstitutionAddress InstitutionalDepartmentName CurrentPatientLocation "
        "PatientInstitutionResidence",
        "device": "DeviceSerialNumber StationName DetectorID PlateID DeviceUID",
    }.items()
    for keyword in keywords.split()
}
_MACHINE_WRITTEN = (  # other texts may be written by people and are reported
    "Manufacturer ManufacturerModelName SoftwareVersions CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator "
    "CodingSchemeVersion CodingSchemeName CodingSchemeResponsibleOrganization ContextIdentifier MappingResource "
    "MappingResourceName SpecificCharacterSet TimezoneOffsetFromUTC LensMake LensModel LensSpecification "
    "DeidentificationMethod OpticalPathIdentifier OpticalPathDescription DerivationDescription SegmentLabel "
    "SegmentDescription SegmentAlgorithmName ContentLabel DimensionDescriptionLabel LUTExplanation "
    "PatientSpeciesDescription PositionReferenceIndicator"
)


def _read_dicom(file: BytesIO | Path) -> Iterator[Entry]:
    """Yield the elements of a DICOM file that may identify a person, including sequences, without pixels."""
    from pydicom import dcmread

    dataset = dcmread(file, stop_before_pixels=True)
    if not dataset:
        raise ValueError("it contains no element")
    for word in dataset.get("ImageType", ()):
        if word in ("LABEL", "OVERVIEW", "THUMBNAIL"):
            yield Entry("dicom", f"DICOM ImageType {word}", "", f"the {word.lower()} of the slide", "picture")
    if dataset.get("BurnedInAnnotation") == "YES":
        yield Entry("dicom", "DICOM BurnedInAnnotation", "", "text in the pixels", "picture")
    for element in dataset.iterall():
        name, value, representation = element.keyword, str(element.value), element.VR
        is_named = representation == "PN" and ("Patient" in name or name == "ResponsiblePerson")
        kind = _DICOM.get(name) or {"DA": "date", "DT": "date", "AE": "device", "PN": "staff"}.get(representation, "")
        if element.tag.is_private:
            if not element.tag.is_private_creator:
                yield Entry("dicom", "DICOM private elements", "", "elements of the manufacturer", "text")
        elif name in ("IconImageSequence", "EncapsulatedDocument") or element.tag.group & 0xFF00 == 0x6000:
            yield Entry("dicom", f"DICOM {name or 'overlay'}", "", "an embedded image or document", "picture")
        elif kind and not (_EMPTY.fullmatch(value) or value.startswith(("00000000", "19000101"))):
            yield Entry("dicom", f"DICOM {name}", name, value, "person" if is_named else kind)
        elif representation in ("LT", "ST", "UT", "LO", "SH", "UC", "AS"):
            key = "age" if name == "PatientAge" else ""
            is_free = representation != "AS" and name not in _MACHINE_WRITTEN.split()
            yield Entry("dicom", f"DICOM {name}", key, value, free=is_free)
