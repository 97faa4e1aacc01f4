"""Read texts, tables and workbooks for the audit.

Texts and workbooks are read into entries, which ``audit`` inspects; tables are inspected here.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.core.csv_files import CsvError, CsvReader
from napari_melanoma.core.parsing import parse_json, parse_toml
from napari_melanoma.extensions.privacy_audit.entries import (
    PATIENT_IDS,
    REMARKS,
    EntrySource,
    MetadataEntry,
    PrivacyFinding,
    classify_field,
    create_finding,
    find_in_entry,
    is_date,
    normalize_name,
)
from napari_melanoma.privacy.personal_data import AGES, find_in_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)")
_BETWEEN_CELLS = re.compile(r"</t[dh]>\s*<t[dh][^>]*>|</d[td]>\s*<d[td][^>]*>", re.I)
_TAG = re.compile(r"<[^>]{0,2000}>")
# Names of XML elements with text that people write
_FREE_TEXT_NAME = re.compile(
    r"title|description|subject|headline|instructions|usercomment|comments?|remarks?|notes?|captionwriter|credit|rights|"
    r"keywords|label|nickname|personinimage|location|city|source",
    re.I,
)
_EMBEDDED_XML = re.compile(r"^\s*(<\?xml|<[A-Za-z][\w:]*[\s>])")


def read_json_entries(text: str) -> Iterator[MetadataEntry]:
    """Read JSON or JSON lines: an entry for each key, text and integer, with a path such as ``patient.name``."""
    try:
        yield from _flatten_fields(parse_json(text, "JSON"), "")
    except ValueError:
        for line in text.splitlines():
            try:
                yield from _flatten_fields(parse_json(line, "JSON"), "")
            except ValueError:
                yield from read_text_entries(line)


def read_toml_entries(text: str) -> Iterator[MetadataEntry]:
    """Read TOML: an entry for each key, text, integer and date."""
    try:
        yield from _flatten_fields(parse_toml(text, "TOML"), "")
    except ValueError:
        yield from read_text_entries(text)


def read_xml_entries(text: str, source: EntrySource = "text", before: str = "") -> Iterator[MetadataEntry]:
    """Read the elements and attributes of XML, such as OME-XML and XMP, by their names without namespace.

    ``before`` is a prefix of the locations.
    """
    from defusedxml import ElementTree

    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xpacket[^>]*\?>|<\?xpacket end[^>]*\?>\s*$", "", text))
    except (ElementTree.ParseError, ValueError):
        yield from read_text_entries(text, source, before)
        return
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in root.iter():
        name = _local_name(element.tag)
        for attribute, value in element.attrib.items():
            key = "" if _local_name(attribute) in ("Name", "ID", "Creator") else _local_name(attribute)
            yield MetadataEntry(
                source, f"{before}{name}/{_local_name(attribute)}", key, value, free=_is_free_text(key, source)
            )
        if element.text and element.text.strip():
            inner = element.text.strip()
            if _EMBEDDED_XML.match(inner):
                yield from read_xml_entries(inner, source, before)
            else:
                key = _parent_name(parents, element) if name in ("li", "Name") else name
                yield MetadataEntry(source, f"{before}{name}", key, inner, free=_is_free_text(key, source))


def read_html_entries(text: str) -> Iterator[MetadataEntry]:
    """Read an HTML page as two entries: its source without embedded images, and its text without tags."""
    page_source = _DATA_URI.sub("data:", text)
    visible_text = html.unescape(_TAG.sub("\n", _BETWEEN_CELLS.sub(": ", page_source)))
    yield from read_text_entries(page_source)
    yield MetadataEntry("text", "text of the page", "", visible_text)


def extract_pictures(text: str) -> Iterator[bytes]:
    """Yield the images that are embedded in a page or an SVG as ``data:`` URIs."""
    for match in _DATA_URI.finditer(text):
        try:
            yield base64.b64decode(match.group(1))
        except (binascii.Error, ValueError):
            continue


def read_text_entries(text: str, source: EntrySource = "text", before: str = "") -> Iterator[MetadataEntry]:
    """Yield a text as one entry; its findings get line numbers later."""
    yield MetadataEntry(source, before + "text", "", text)


def _flatten_fields(value: Any, path: str) -> Iterator[MetadataEntry]:  # noqa: ANN401 - whatever JSON can hold
    """Yield entries for the keys, texts and integers in nested lists and dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield MetadataEntry("text", f"a key of {path or 'the file'}", "", str(key))
            yield from _flatten_fields(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _flatten_fields(item, path)
    elif value is not None and not isinstance(value, bool | float):
        yield MetadataEntry("text", path or "value", path.rsplit(".", 1)[-1], str(value))


def _local_name(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _is_free_text(name: str, source: EntrySource) -> bool:
    """Whether an element of XML in an image contains free text; other XML follows its schema."""
    return source != "text" and _FREE_TEXT_NAME.fullmatch(name) is not None


def _parent_name(parents: Mapping[Element, Element], item: Element) -> str:
    """Name an element after its parent: ``creator`` for an item of that XMP list, ``Dye Name`` for a dye's name."""
    parent = parents.get(item)
    if _local_name(item.tag) == "li":
        parent = None if parent is None else parents.get(parent)
        return _local_name(parent.tag) if parent is not None else "li"
    return f"{_local_name(parent.tag) if parent is not None else 'other'} Name"


# Workbooks

MAX_BYTES = (
    64 << 20
)  # of an uncompressed part; workbooks with larger ones are skipped here, and reported by the archive


def is_workbook(archive: zipfile.ZipFile) -> bool:
    """Whether an archive is a workbook that can be read: with sheets, and of moderate size."""
    parts = [member for member in archive.infolist() if member.filename.endswith(".xml")]
    return any(part.filename.startswith("xl/worksheets/") for part in parts) and not any(
        part.file_size > MAX_BYTES or part.flag_bits & 1 for part in parts
    )


def read_sheet_entries(file: IO[bytes]) -> Iterator[MetadataEntry]:
    """Read the cells of a workbook; the first row with two or more cells has the titles of the columns."""
    from openpyxl import load_workbook
    from openpyxl.utils import get_column_letter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions that openpyxl does not read
        workbook = load_workbook(file, read_only=True, data_only=True)
    for number, sheet in enumerate(workbook.worksheets, start=1):
        titles: dict[int, str] = {}
        for row in sheet.iter_rows(values_only=True):
            texts = (str(value).strip() if value is not None else "" for value in row)
            cells = {column: text for column, text in enumerate(texts, start=1) if text}
            if not titles:
                titles = cells if len(cells) > 1 else {}
                continue
            for column, text in cells.items():
                title = titles.get(column, get_column_letter(column))
                yield MetadataEntry("table", f"sheet {number}, column '{title}'", title, text)


# Tables

SAMPLED_CELLS = 200  # rows by which a column is classified
BLOCK_ROWS = 5_000  # rows that are inspected at once
SEPARATORS = ",;\t|"


def inspect_table(file: IO[str], name: str) -> Iterator[PrivacyFinding]:
    """Inspect a table; yields one finding for each column and type, with the number of rows."""
    while (header_line := file.readline()).startswith("#"):  # comments above the header, as in exports
        entry = MetadataEntry("table", "comment above the header", "", header_line)
        yield from (create_finding(name, entry, kind, value) for kind, value in find_in_entry(entry))
    separator = max(SEPARATORS, key=header_line.count)
    header = [cell.strip() for cell in next(CsvReader([header_line], separator), [])]
    rows = _read_rows(file, separator)
    first = list(islice(rows, SAMPLED_CELLS))
    inspected = [
        index
        for index, column in enumerate(header)
        if _needs_inspection(column, [row[index] for row in first if index < len(row)])
    ]
    seen: dict[tuple[str, str], tuple[MetadataEntry, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    rows = chain(first, rows)
    while block := list(islice(rows, BLOCK_ROWS)):
        hits = chain(_find_in_columns(block, header, inspected), _find_in_block(block, header))
        for key, entry, value, count in hits:
            seen.setdefault(key, (entry, value))
            counts[key] += count
    yield from (create_finding(name, entry, key[1], value, counts[key]) for key, (entry, value) in seen.items())


def _read_rows(file: Iterable[str], separator: str) -> Iterator[list[str]]:
    reader = CsvReader((line.replace("\0", "") for line in file), separator)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except CsvError:  # such as an extremely long cell
            continue


class TableHit(NamedTuple):
    """Identifying information in a column: its name and the type, an entry, the information, the number of rows."""

    key: tuple[str, str]  # column, type
    entry: MetadataEntry
    value: str
    rows: int


def _find_in_columns(block: list[list[str]], header: list[str], columns: list[int]) -> Iterator[TableHit]:
    """Yield hits in some columns, by the names of the columns and each different value."""
    for index in columns:
        for value, count in Counter(row[index] for row in block if index < len(row)).items():
            entry = MetadataEntry("table", f"column '{header[index]}'", header[index], value)
            for kind, part in find_in_entry(entry):
                yield TableHit((header[index], kind), entry, part, count)


def _find_in_block(block: list[list[str]], header: list[str]) -> Iterator[TableHit]:
    """Yield hits in the text of all columns; for speed, the whole block is searched first."""
    if not any(True for _ in find_in_text("\n".join("\t".join(row) for row in block))):
        return
    for index in range(max(len(row) for row in block)):
        column = header[index] if index < len(header) else f"{index + 1}"
        cells = [row[index] for row in block if index < len(row)]
        for kind, part in find_in_text("\n".join(cells)):
            entry = MetadataEntry("table", f"column '{column}'", column, part)
            yield TableHit((column, kind), entry, part, sum(part in cell for cell in cells))


def _needs_inspection(column: str, cells: list[str]) -> bool:
    """Whether the values of a column must be inspected one by one, by its name or its sampled cells."""
    is_named = bool(classify_field(column)) or normalize_name(column) in (*AGES, *PATIENT_IDS, *REMARKS)
    return is_named or any(map(is_date, cells))
