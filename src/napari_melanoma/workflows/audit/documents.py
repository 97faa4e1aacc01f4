"""What text files say: JSON, TOML, XML and HTML by the names of their fields, other text line by line."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from typing import Any

from napari_melanoma.core.parsing import parse_json, parse_toml
from napari_melanoma.workflows.audit.finding import Entry, Place

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)")
_BETWEEN_CELLS = re.compile(r"</t[dh]>\s*<t[dh][^>]*>|</d[td]>\s*<d[td][^>]*>", re.I)
_TAG = re.compile(r"<[^>]{0,2000}>")
_WRITTEN_BY_PEOPLE = re.compile(
    r"title|description|subject|headline|instructions|usercomment|comments?|remarks?|notes?|captionwriter|credit|rights|"
    r"keywords|label|nickname|personinimage|location|city|source",
    re.I,
)
_EMBEDDED_XML = re.compile(r"^\s*(<\?xml|<[A-Za-z][\w:]*[\s>])")


def json_entries(text: str) -> Iterator[Entry]:
    """Read the fields of a JSON text; one a line (JSON lines) will do.

    One for each text or number, with its path such as ``patient.name``.
    """
    try:
        yield from _fields(parse_json(text, "JSON"), "")
    except ValueError:
        yield from _json_lines(text)


def toml_entries(text: str) -> Iterator[Entry]:
    """Read the fields of a TOML text.

    One for each text or number.
    """
    try:
        yield from _fields(parse_toml(text, "TOML"), "")
    except ValueError:
        yield from text_entries(text)


def xml_entries(text: str, place: Place = "text", before: str = "") -> Iterator[Entry]:
    """Read elements and attributes of XML, such as OME-XML and XMP.

    One for each text and each attribute, by its name without a name space.
    """
    from xml.etree import ElementTree

    try:
        if "<!ENTITY" in text:
            raise ValueError("entities")
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xpacket[^>]*\?>|<\?xpacket end[^>]*\?>\s*$", "", text))
    except (ElementTree.ParseError, ValueError):
        yield from text_entries(text, place, before)
        return
    for element in root.iter():
        name = _local(element.tag)
        for attribute, value in element.attrib.items():
            key = "" if _local(attribute) in ("Name", "ID", "Creator") else _local(attribute)
            yield Entry(place, f"{before}{name}/{_local(attribute)}", key, value, free=_is_free(key, place))
        if element.text and element.text.strip():
            inner = element.text.strip()
            if _EMBEDDED_XML.match(inner):
                yield from xml_entries(inner, place, before)
            else:
                key = _above(root, element) if name in ("li", "Name") else name
                yield Entry(place, f"{before}{name}", key, inner, free=_is_free(key, place))


def html_entries(text: str) -> Iterator[Entry]:
    """Read a page: its source without the pictures in it, and its words without the tags."""
    bare = _DATA_URI.sub("data:", text)
    words = html.unescape(_TAG.sub("\n", _BETWEEN_CELLS.sub(": ", bare)))
    yield from text_entries(bare)
    yield Entry("text", "words of the page", "", words)


def pictures_inside(text: str) -> Iterator[bytes]:
    """Give the pictures that a page or an SVG carries within.

    Content of each ``data:`` address that can be decoded.
    """
    for match in _DATA_URI.finditer(text):
        try:
            yield base64.b64decode(match.group(1))
        except (binascii.Error, ValueError):
            continue


def text_entries(text: str, place: Place = "text", before: str = "") -> Iterator[Entry]:
    """Give a text as it is.

    One; which line something stands on is told when it was found.
    """
    yield Entry(place, before + "text", "", text)


def _json_lines(text: str) -> Iterator[Entry]:
    """Fields of JSON lines; a line that is none is read as text."""
    for line in text.splitlines():
        try:
            yield from _fields(parse_json(line, "JSON"), "")
        except ValueError:
            yield from text_entries(line)


def _fields(value: Any, path: str) -> Iterator[Entry]:  # noqa: ANN401 - whatever JSON can hold
    """Texts and numbers of nested lists and dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield Entry("text", f"a key of {path or 'the file'}", "", str(key))
            yield from _fields(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item, path)
    elif value is not None and not isinstance(value, bool | float):
        yield Entry("text", path or "value", path.rsplit(".", 1)[-1], str(value))


def _local(tag: str) -> str:
    """Name of an element or attribute without its name space."""
    return tag.rsplit("}", 1)[-1]


def _is_free(name: str, place: Place) -> bool:
    """Whether people write what they like in an element: in a picture; other XML says what its schema wants."""
    return place != "text" and _WRITTEN_BY_PEOPLE.fullmatch(name) is not None


def _above(root: Any, item: Any) -> str:  # noqa: ANN401 - elements of ElementTree
    """Names of what an item belongs to: of a list of XMP ``creator``, of a name ``Dye Name``."""
    parents = {child: parent for parent in root.iter() for child in parent}
    above = parents.get(item)
    if _local(item.tag) == "li":
        above = parents.get(above)
        return _local(above.tag) if above is not None else "li"
    return f"{_local(above.tag) if above is not None else 'other'} Name"
