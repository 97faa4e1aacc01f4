"""What JPEG, PNG, WebP and HEIC files say besides their pixels, read from their segments: no pixel is decoded."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from napari_melanoma.io.formats import DAMAGE, Format
from napari_melanoma.workflows.audit.documents import xml_entries
from napari_melanoma.workflows.audit.finding import Entry, Place

if TYPE_CHECKING:
    from PIL.Image import Exif

_GPS, _EXIF_BLOCK, _THUMBNAIL = 0x8825, 0x8769, 0x0201
_MOST = 16 << 20  # bytes of one segment; a longer one is pixels or no metadata
_IMAGE_SEGMENTS = (b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_FREE_TAGS = (
    *("ImageDescription", "UserComment", "XPComment", "XPTitle", "XPSubject", "XPKeywords", "DocumentName"),
    *("Copyright", "ImageHistory", "SecurityClassification", "SpectralSensitivity"),
)
_NO_TEXT = ("PrintImageMatching", "ComponentsConfiguration", "FileSource", "SceneType", "CFAPattern")
_IPTC = {80: "author", 85: "author title", 122: "author", 116: "copyright", 118: "contact", 120: "caption", 5: "title"}
_IPTC_PLACES = (26, 27, 90, 92, 95, 100, 101)
_IPTC_TECHNICAL = (0, 3, 4, 10, 20, 42, 60, 62, 63, 65, 70, 130, 131, 135)  # versions, codes, programs, hours
_PNG_TECHNICAL = re.compile(r"Software|Gamma|Compression|(date|exif|icc|png|jpeg|tiff|photoshop|Thumb):.*", re.I)
_PNG_RAW = "Raw profile type "  # how ImageMagick and others keep the blocks of a JPEG
_JPEG_KNOWN = (b"JFIF", b"JFXX", b"ICC_PROFILE", b"Adobe", b"FPXR", b"Ducky", b"http://ns.adobe.com", b"Exif", b"MPF")
_AFTER_PIXELS = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # in the pixels, 0xff is followed by a zero or a restart
_BEYOND = "after the end of the picture"


def picture_entries(file: IO[bytes], kind: Format) -> Iterator[Entry]:
    """Read what a picture says besides its pixels.

    EXIF, XMP, IPTC, comments and PNG texts, and pictures inside it.
    """
    if kind == "JPEG":
        yield from _jpeg(file)
    elif kind == "PNG":
        yield from _png(file)
    elif kind == "WebP":
        yield from _webp(file)
    elif kind == "HEIC":
        yield from _heic(file)


def exif_entries(block: bytes, place: Place = "picture") -> Iterator[Entry]:
    """Read an EXIF block.

    One for each tag that is text, for coordinates and for a thumbnail.
    """
    from PIL.Image import Exif

    exif = Exif()
    try:
        exif.load(block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block)
        yield from _exif(exif, place)
    except DAMAGE:
        yield Entry(place, "EXIF (damaged)", "exif", block[:200].decode("latin-1"), free=True)


def xmp_entries(packet: bytes, place: Place = "picture") -> Iterator[Entry]:
    """Read an XMP packet."""
    yield from xml_entries(packet.decode("utf-8", "replace").strip("\0"), place, "XMP ")


def iptc_entries(block: bytes, place: Place = "picture") -> Iterator[Entry]:
    """Read the IPTC records in a block: author, city, date, caption.

    One for each record that names somebody or something.
    """
    for match in re.finditer(rb"\x1c\x02(.)(..)", block, re.DOTALL):
        number = match.group(1)[0]
        length = int.from_bytes(match.group(2), "big")
        value = block[match.end() : match.end() + length].decode("utf-8", "replace")
        key = _IPTC.get(number, f"record {number}")
        if number in _IPTC_PLACES:
            yield Entry(place, f"IPTC {key}", key, value, "location")
        elif number not in _IPTC_TECHNICAL and value.isprintable():
            yield Entry(place, f"IPTC {key}", key, value, free=True)


def _exif(exif: Exif, place: Place) -> Iterator[Entry]:
    """Entries of the blocks of EXIF: the picture's, the camera's, the coordinates, the thumbnail."""
    from PIL.ExifTags import IFD, TAGS

    for block in (dict(exif), exif.get_ifd(_EXIF_BLOCK)):
        for tag, value in block.items():
            name = TAGS.get(tag, f"tag {tag}")
            if name == "MakerNote" and isinstance(value, bytes) and value.strip(b"\0"):
                yield Entry(place, "EXIF MakerNote", name, f"{len(value)} bytes of the camera's maker", "text")
            elif name not in _NO_TEXT and isinstance(value, str | bytes | tuple):
                yield Entry(place, f"EXIF {name}", _key(name), _text(name, value), free=name in _FREE_TAGS)
    place_found = {tag: value for tag, value in exif.get_ifd(_GPS).items() if tag in (2, 4)}
    if place_found:
        yield Entry(place, "EXIF GPSInfo", "gps", f"{place_found.get(2)} {place_found.get(4)}", "location")
    if _THUMBNAIL in exif.get_ifd(IFD.IFD1):
        yield Entry(place, "EXIF thumbnail", "thumbnail", "may show what was cut off or covered later", "picture")


def _key(name: str) -> str:
    """Name of a tag as the rules know it."""
    return {"XPAuthor": "author", "ImageUniqueID": "image id", "CameraSerialNumber": "serial"}.get(name, name)


def _text(name: str, value: Any) -> str:  # noqa: ANN401 - whatever Pillow made of a tag
    """Text of a tag: Windows' own are UTF-16, comments begin with the name of their encoding."""
    if isinstance(value, tuple):
        value = bytes(value) if name.startswith("XP") and all(isinstance(n, int) and n < 256 for n in value) else ""
    if isinstance(value, bytes):
        if name.startswith("XP"):
            return value.decode("utf-16-le", "replace").strip("\0 ")
        value = value[8:] if name == "UserComment" else value
        value = value.decode("utf-8", "ignore")
    return "".join(letter for letter in value if letter.isprintable() or letter == "\n").strip()


def _jpeg(file: IO[bytes]) -> Iterator[Entry]:
    """Segments of a JPEG, those between and behind the scans too, and what follows its end."""
    data = file.read()
    at, several = 2, False
    while (found := _AFTER_PIXELS.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            if not several:  # else the further pictures are what follows
                yield from _beyond(data[at:])
            return
        body = data[at + 2 : at + max(2, int.from_bytes(data[at : at + 2], "big"))]
        at += 2 + len(body)
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            several = several or body.startswith(b"MPF\0")
            yield from _jpeg_segment(marker, body)


def _jpeg_segment(marker: int, body: bytes) -> Iterator[Entry]:
    """What one segment of a JPEG says."""
    if marker == 0xFE:
        yield Entry("picture", "JPEG comment", "comment", body.decode("utf-8", "replace").strip("\0"), free=True)
    elif marker == 0xE1 and body.startswith(b"Exif"):
        yield from exif_entries(body)
    elif marker == 0xE1 and b"ns.adobe.com" in body[:40]:
        yield from xmp_entries(body[body.find(b"\0") + 1 :])
    elif marker == 0xED:
        yield from iptc_entries(body)
    elif marker == 0xE2 and body.startswith(b"MPF\0"):
        yield Entry("picture", "further pictures (MPF)", "picture", "more than one picture in the file", "picture")
    elif not body.startswith(_JPEG_KNOWN):
        yield Entry("picture", f"JPEG segment {marker - 0xE0}", "segment", _letters(body), free=True)


def _beyond(data: bytes) -> Iterator[Entry]:
    """Say that something follows a picture, where no viewer shows it."""
    left = data.strip(b"\0\r\n \xff")
    if left.startswith((b"\xff\xd8", b"\xd8\xff", b"\x89PNG")):
        yield Entry("picture", _BEYOND, "picture", "another picture", "picture")
    elif left:
        yield Entry("picture", _BEYOND, "picture", _letters(left) or f"{len(left)} bytes", "text")


def _letters(data: bytes) -> str:
    """What can be read in bytes, spaces for the rest."""
    return " ".join(part.decode("ascii") for part in re.findall(rb"[\x20-\x7e]{4,}", data[:65536])).strip()


def _png(file: IO[bytes]) -> Iterator[Entry]:
    """Chunks of a PNG."""
    file.read(8)
    for name, body in _chunks(file, ">I4s", 4, named_first=False):
        if name == b"IEND":
            yield from _beyond(file.read(_MOST)[4:])  # behind the check sum
            return
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, rest = body.partition(b"\0")
            yield from _png_words(keyword.decode("latin-1"), _png_text(name, rest))
        elif name == b"eXIf":
            yield from exif_entries(body)
        elif name == b"tIME" and len(body) == 7:
            year, month, day, *_ = struct.unpack(">H5B", body)
            yield Entry("picture", "PNG time", "time stamp", f"{year}-{month:02}-{day:02}")
        elif not name[1:2].isupper():  # a chunk of some program's own
            yield Entry("picture", f"PNG chunk {name.decode('latin-1')}", "chunk", _letters(body), free=True)


def _png_words(key: str, text: str) -> Iterator[Entry]:
    """What a text of a PNG says; those that name a program or describe the pixels are judged by their form alone."""
    raw = key.removeprefix(_PNG_RAW)
    if key == "XML:com.adobe.xmp":
        yield from xmp_entries(text.encode())
    elif raw != key:
        packed = bytes.fromhex("".join(text.split()[2:]))
        read = {"exif": exif_entries, "APP1": exif_entries, "iptc": iptc_entries, "8bim": iptc_entries}
        if raw == "xmp" or b"ns.adobe.com" in packed[:40]:
            yield from xmp_entries(packed[packed.find(b"<") :])
        elif raw in read:
            yield from read[raw](packed)
    elif key != "Software":
        yield Entry("picture", f"PNG text {key}", key, text, free=not _PNG_TECHNICAL.fullmatch(key))


def _png_text(name: bytes, rest: bytes) -> str:
    """Text of a chunk, unpacked; what unpacks to more than 1 MB is cut."""
    if name == b"tEXt":
        return rest.decode("latin-1")
    packed = name == b"zTXt" or rest[:1] == b"\1"
    text = rest[1:] if name == b"zTXt" else rest[2:].split(b"\0", 2)[-1]
    if packed:
        text = zlib.decompressobj().decompress(text, 1 << 20)
    return text.decode("utf-8" if name == b"iTXt" else "latin-1", "replace")


def _webp(file: IO[bytes]) -> Iterator[Entry]:
    """Chunks of a WebP."""
    file.read(12)
    for name, body in _chunks(file, "<4sI", 0, named_first=True):
        if name == b"EXIF":
            yield from exif_entries(body)
        elif name == b"XMP ":
            yield from xmp_entries(body)


def _chunks(file: IO[bytes], form: str, tail: int, *, named_first: bool) -> Iterator[tuple[bytes, bytes]]:
    """Chunks with a name and a length; those that hold pixels are passed over without reading them."""
    while len(head := file.read(8)) == 8:
        one, other = struct.unpack(form, head)
        name, length = (one, other) if named_first else (other, one)
        skipped = name in _IMAGE_SEGMENTS or length > _MOST
        if skipped:
            file.seek(length, 1)
        else:
            yield name, file.read(length)
        file.seek(tail + (length % 2 if named_first else 0), 1)


def _heic(file: IO[bytes]) -> Iterator[Entry]:
    """What the HEIC library finds; it reads the boxes, not the pixels."""
    from pillow_heif import open_heif

    heif = open_heif(BytesIO(file.read()))
    for number in range(len(heif)):
        info = heif[number].info
        if info.get("exif"):
            yield from exif_entries(info["exif"])
        if info.get("xmp"):
            yield from xmp_entries(info["xmp"])
        if info.get("thumbnails"):
            yield Entry(
                "picture", "HEIC thumbnail", "thumbnail", "may show what was cut off or covered later", "picture"
            )
