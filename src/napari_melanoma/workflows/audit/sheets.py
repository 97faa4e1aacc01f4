"""What the sheets of a workbook (XLSX, Office Open XML) say: each cell under the title of its column.

It is a module of its own because a workbook keeps its words in one file and says in others in which cell they stand.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from napari_melanoma.workflows.audit.finding import Entry

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 64 << 20  # of a sheet, unpacked; a larger member is told as not looked into
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_WORDS = "xl/sharedStrings.xml"


def sheet_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    """Read the cells of the sheets of a workbook.

    One for each cell with text or a number below the first row that has two cells, by the title of its column.
    """
    sheets = [member for member in archive.infolist() if _SHEET.fullmatch(member.filename)]
    if not sheets:
        return
    words = [_text(item) for item in _root(archive, _WORDS).iter() if _local(item) == "si"]
    for number, member in enumerate(sheets, start=1):
        titles: dict[str, str] = {}
        for row in (item for item in _root(archive, member.filename).iter() if _local(item) == "row"):
            cells = {column: value for column, value in _cells(row, words) if value}
            if not titles:
                titles = cells if len(cells) > 1 else {}
                continue
            for column, value in cells.items():
                title = titles.get(column, column)
                yield Entry("table", f"sheet {number}, column '{title}'", title, value)


def _cells(row: Element, words: list[str]) -> Iterator[tuple[str, str]]:
    """Letters of the column and text of each cell of a row."""
    for cell in row:
        column = re.sub(r"\d+", "", cell.get("r", ""))
        value = _text(cell)
        if cell.get("t") == "s" and value.isdigit() and int(value) < len(words):
            value = words[int(value)]
        yield column, value.strip()


def _text(item: Element) -> str:
    """Words of a cell, which may be in several pieces; its formula is none."""
    return "".join(part.text or "" for part in item.iter() if _local(part) in ("t", "v"))


def _root(archive: zipfile.ZipFile, name: str) -> Element:
    """A part of the workbook; an empty one where it is missing, encrypted, too large or no plain XML."""
    from xml.etree import ElementTree

    known = {member.filename: member for member in archive.infolist()}
    member = known.get(name)
    if member is None or member.flag_bits & 1 or member.file_size > MOST_BYTES:
        return ElementTree.Element("none")
    text = archive.read(member)
    if b"<!ENTITY" in text:
        raise ValueError(f"{name} declares entities")
    return ElementTree.fromstring(text)


def _local(item: Element) -> str:
    """Name of an element without its name space."""
    return item.tag.rsplit("}", 1)[-1]
