"""Read the metadata of JPEG, PNG, WebP, HEIC, TIFF and DICOM files for the audit.

Each function yields entries, which ``privacy.personal_data`` classifies.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from napari_melanoma.extensions.privacy_audit.documents import read_text_entries, read_xml_entries
from napari_melanoma.extensions.privacy_audit.entries import EMPTY_VALUE, EntrySource, MetadataEntry
from napari_melanoma.io.formats import DAMAGE_ERRORS, Format
from napari_melanoma.io.tiff import check_page_chain

if TYPE_CHECKING:
    from PIL.Image import Exif
    from pydicom import DataElement, Dataset
    from tifffile import TiffPage

# EXIF tags of the coordinates, of the camera's block, and of the thumbnail
_GPS, _EXIF_BLOCK, _THUMBNAIL = 0x8825, 0x8769, 0x0201
_MAX_BYTES = 16 << 20  # of a segment with metadata; longer segments contain none
# Chunks with pixels
_IMAGE_SEGMENTS = (b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
# EXIF tags with free text
_FREE_TAGS = (
    *("ImageDescription", "UserComment", "XPComment", "XPTitle", "XPSubject", "XPKeywords", "DocumentName"),
    *("Copyright", "ImageHistory", "SecurityClassification", "SpectralSensitivity"),
)
# EXIF tags without text
_NO_TEXT = ("PrintImageMatching", "ComponentsConfiguration", "FileSource", "SceneType", "CFAPattern")
# Names of IPTC records by number; numbers of records with places, and of those with versions, codes, programs or hours
_IPTC = {80: "author", 85: "author title", 122: "author", 116: "copyright", 118: "contact", 120: "caption", 5: "title"}
_IPTC_PLACES = (26, 27, 90, 92, 95, 100, 101)
_IPTC_TECHNICAL = (0, 3, 4, 10, 20, 42, 60, 62, 63, 65, 70, 130, 131, 135)
_PNG_TECHNICAL = re.compile(r"Software|Gamma|Compression|(date|exif|icc|png|jpeg|tiff|photoshop|Thumb):.*", re.I)
_PNG_RAW = "Raw profile type "  # PNG texts in which ImageMagick and others store the metadata blocks of a JPEG
# Beginnings of JPEG segments of known content; other segments are reported
_JPEG_KNOWN = (b"JFIF", b"JFXX", b"ICC_PROFILE", b"Adobe", b"FPXR", b"Ducky", b"http://ns.adobe.com", b"Exif", b"MPF")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # within pixels, 0xff is followed by zero or a restart marker
_TRAILING_DATA = "after the end of the image"


def read_picture_entries(file: IO[bytes], kind: Format) -> Iterator[MetadataEntry]:
    """Read the metadata of an image: EXIF, XMP, IPTC, comments, PNG texts and embedded images."""
    if kind == "JPEG":
        yield from _read_jpeg(file)
    elif kind == "PNG":
        yield from _read_png(file)
    elif kind == "WebP":
        yield from _read_webp(file)
    elif kind == "HEIC":
        yield from _read_heic(file)


def read_exif_entries(block: bytes, source: EntrySource = "picture") -> Iterator[MetadataEntry]:
    """Read an EXIF block: an entry for each tag with text, for coordinates and for a thumbnail."""
    from PIL.Image import Exif

    exif = Exif()
    try:
        exif.load(block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block)
        yield from _read_exif(exif, source)
    except DAMAGE_ERRORS:
        yield MetadataEntry(source, "EXIF (damaged)", "exif", block[:200].decode("latin-1"), free=True)


def read_xmp_entries(packet: bytes, source: EntrySource = "picture") -> Iterator[MetadataEntry]:
    yield from read_xml_entries(packet.decode("utf-8", "replace").strip("\0"), source, "XMP ")


def read_iptc_entries(block: bytes, source: EntrySource = "picture") -> Iterator[MetadataEntry]:
    """Read the IPTC records in a block that may identify a person, such as author, city, date and caption."""
    for match in re.finditer(rb"\x1c\x02(.)(..)", block, re.DOTALL):
        number = match.group(1)[0]
        length = int.from_bytes(match.group(2), "big")
        value = block[match.end() : match.end() + length].decode("utf-8", "replace")
        key = _IPTC.get(number, f"record {number}")
        if number in _IPTC_PLACES:
            yield MetadataEntry(source, f"IPTC {key}", key, value, "location")
        elif number not in _IPTC_TECHNICAL and value.isprintable():
            yield MetadataEntry(source, f"IPTC {key}", key, value, free=True)


def _read_exif(exif: Exif, source: EntrySource) -> Iterator[MetadataEntry]:
    from PIL.ExifTags import IFD, TAGS

    for block in (dict(exif), exif.get_ifd(_EXIF_BLOCK)):
        for tag, value in block.items():
            name = TAGS.get(tag, f"tag {tag}")
            if name == "MakerNote" and isinstance(value, bytes) and value.strip(b"\0"):
                yield MetadataEntry(source, "EXIF MakerNote", name, f"{len(value)} bytes of the manufacturer", "text")
            elif name not in _NO_TEXT and isinstance(value, str | bytes | tuple):
                # the rules of ``privacy.personal_data`` know these tags by other names
                yield MetadataEntry(
                    source,
                    f"EXIF {name}",
                    {"XPAuthor": "author", "ImageUniqueID": "image id", "CameraSerialNumber": "serial"}.get(name, name),
                    _decode_tag(name, value),
                    free=name in _FREE_TAGS,
                )
    coordinates = {tag: value for tag, value in exif.get_ifd(_GPS).items() if tag in (2, 4)}
    if coordinates:
        yield MetadataEntry(source, "EXIF GPSInfo", "gps", f"{coordinates.get(2)} {coordinates.get(4)}", "location")
    if _THUMBNAIL in exif.get_ifd(IFD.IFD1):
        yield MetadataEntry(
            source, "EXIF thumbnail", "thumbnail", "may show parts that were cropped or covered later", "picture"
        )


def _decode_tag(name: str, value: Any) -> str:  # noqa: ANN401 - whatever Pillow made of a tag
    """Decode the text of an EXIF tag: Windows tags are UTF-16, comments start with the name of their encoding."""
    if isinstance(value, tuple):
        value = bytes(value) if name.startswith("XP") and all(isinstance(n, int) and n < 256 for n in value) else ""
    if isinstance(value, bytes):
        if name.startswith("XP"):
            return value.decode("utf-16-le", "replace").strip("\0 ")
        value = value[8:] if name == "UserComment" else value
        value = value.decode("utf-8", "ignore")
    return "".join(letter for letter in value if letter.isprintable() or letter == "\n").strip()


def _read_jpeg(file: IO[bytes]) -> Iterator[MetadataEntry]:
    """Read all segments of a JPEG, including those between and after the scans, and data after the end."""
    data = file.read()
    position, has_more_images = 2, False
    while (match := _MARKER.search(data, position)) is not None:
        marker, position = data[match.start() + 1], match.end()
        if marker == 0xD9:
            if not has_more_images:  # otherwise these images follow
                yield from _report_trailing_data(data[position:])
            return
        body = data[position + 2 : position + max(2, int.from_bytes(data[position : position + 2], "big"))]
        position += 2 + len(body)
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            has_more_images = has_more_images or body.startswith(b"MPF\0")
            yield from _read_jpeg_segment(marker, body)


def _read_jpeg_segment(marker: int, body: bytes) -> Iterator[MetadataEntry]:
    if marker == 0xFE:
        yield MetadataEntry(
            "picture", "JPEG comment", "comment", body.decode("utf-8", "replace").strip("\0"), free=True
        )
    elif marker == 0xE1 and body.startswith(b"Exif"):
        yield from read_exif_entries(body)
    elif marker == 0xE1 and b"ns.adobe.com" in body[:40]:
        yield from read_xmp_entries(body[body.find(b"\0") + 1 :])
    elif marker == 0xED:
        yield from read_iptc_entries(body)
    elif marker == 0xE2 and body.startswith(b"MPF\0"):
        yield MetadataEntry("picture", "further images (MPF)", "picture", "more than one image in the file", "picture")
    elif not body.startswith(_JPEG_KNOWN):
        yield MetadataEntry("picture", f"JPEG segment {marker - 0xE0}", "segment", _printable_text(body), free=True)


def _report_trailing_data(data: bytes) -> Iterator[MetadataEntry]:
    """Report data after the end of an image, which viewers do not show."""
    trailing = data.strip(b"\0\r\n \xff")
    if trailing.startswith((b"\xff\xd8", b"\xd8\xff", b"\x89PNG")):
        yield MetadataEntry("picture", _TRAILING_DATA, "picture", "another image", "picture")
    elif trailing:
        text = _printable_text(trailing) or f"{len(trailing)} bytes"
        yield MetadataEntry("picture", _TRAILING_DATA, "picture", text, "text")


def _printable_text(data: bytes) -> str:
    return " ".join(part.decode("ascii") for part in re.findall(rb"[\x20-\x7e]{4,}", data[:65536])).strip()


def _read_png(file: IO[bytes]) -> Iterator[MetadataEntry]:
    file.read(8)
    for name, body in _read_chunks(file, ">I4s", 4, named_first=False):
        if name == b"IEND":
            yield from _report_trailing_data(file.read(_MAX_BYTES)[4:])  # after the checksum
            return
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, rest = body.partition(b"\0")
            yield from _read_png_text(keyword.decode("latin-1"), _decode_png_text(name, rest))
        elif name == b"eXIf":
            yield from read_exif_entries(body)
        elif name == b"tIME" and len(body) == 7:
            year, month, day, *_ = struct.unpack(">H5B", body)
            yield MetadataEntry("picture", "PNG time", "time stamp", f"{year}-{month:02}-{day:02}")
        elif not name[1:2].isupper():  # a private chunk of another program
            yield MetadataEntry(
                "picture", f"PNG chunk {name.decode('latin-1')}", "chunk", _printable_text(body), free=True
            )


def _read_png_text(key: str, text: str) -> Iterator[MetadataEntry]:
    """Read the text of a PNG chunk with its keyword; texts about programs and pixels are not treated as free text."""
    raw = key.removeprefix(_PNG_RAW)
    if key == "XML:com.adobe.xmp":
        yield from read_xmp_entries(text.encode())
    elif raw != key:
        packed = bytes.fromhex("".join(text.split()[2:]))
        readers = {
            "exif": read_exif_entries,
            "APP1": read_exif_entries,
            "iptc": read_iptc_entries,
            "8bim": read_iptc_entries,
        }
        if raw == "xmp" or b"ns.adobe.com" in packed[:40]:
            yield from read_xmp_entries(packed[packed.find(b"<") :])
        elif raw in readers:
            yield from readers[raw](packed)
    elif key != "Software":
        yield MetadataEntry("picture", f"PNG text {key}", key, text, free=not _PNG_TECHNICAL.fullmatch(key))


def _decode_png_text(name: bytes, body: bytes) -> str:
    """Decode the text of a chunk after its keyword; compressed text is truncated to 1 MB."""
    if name == b"tEXt":
        return body.decode("latin-1")
    packed = name == b"zTXt" or body[:1] == b"\1"
    text = body[1:] if name == b"zTXt" else body[2:].split(b"\0", 2)[-1]
    if packed:
        text = zlib.decompressobj().decompress(text, 1 << 20)
    return text.decode("utf-8" if name == b"iTXt" else "latin-1", "replace")


def _read_webp(file: IO[bytes]) -> Iterator[MetadataEntry]:
    file.read(12)
    for name, body in _read_chunks(file, "<4sI", 0, named_first=True):
        if name == b"EXIF":
            yield from read_exif_entries(body)
        elif name == b"XMP ":
            yield from read_xmp_entries(body)


def _read_chunks(file: IO[bytes], form: str, tail: int, *, named_first: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and contents of chunks, except those with pixels.

    ``form``: struct format of name and length. ``tail``: bytes after a chunk. ``named_first``: whether the name comes
    before the length, as in WebP, whose chunks have an even length.
    """
    while len(head := file.read(8)) == 8:
        first, second = struct.unpack(form, head)
        name, length = (first, second) if named_first else (second, first)
        skipped = name in _IMAGE_SEGMENTS or length > _MAX_BYTES
        if skipped:
            file.seek(length, 1)
        else:
            yield name, file.read(length)
        file.seek(tail + (length % 2 if named_first else 0), 1)


def _read_heic(file: IO[bytes]) -> Iterator[MetadataEntry]:
    """Read the metadata of a HEIC file; its pixels are not decoded."""
    from pillow_heif import open_heif

    heif = open_heif(BytesIO(file.read()))
    for number in range(len(heif)):
        info = heif[number].info
        if info.get("exif"):
            yield from read_exif_entries(info["exif"])
        if info.get("xmp"):
            yield from read_xmp_entries(info["xmp"])
        if info.get("thumbnails"):
            yield MetadataEntry(
                "picture", "HEIC thumbnail", "thumbnail", "may show parts that were cropped or covered later", "picture"
            )


# Codes of TIFF tags
_XMP, _IPTC_TAG, _PHOTOSHOP, _EXIF, _GPS_IFD = 700, 33723, 34377, 34665, 34853
_TIFF_TEXTS = {
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
    33432: "Copyright",
    269: "DocumentName",
    285: "PageName",
}
_FREE = (269, 285, 33432)  # tags with free text
_PRIVATE = 65000  # first private tag (TIFF 6.0); descriptions of pixels in private tags are not text
_NDPI_SERIAL, _NDPI_LENS = 65442, 65421
_OTHER_PICTURE = re.compile(r"\b(label|macro|overview|thumbnail)\b", re.I)
_MAX_PAGES = 64  # further pages are levels of a pyramid, or repeat the metadata of a stack


def read_tiff_entries(file: IO[bytes]) -> Iterator[MetadataEntry]:
    """Read the metadata of a TIFF: tags, descriptions, and associated images of a slide."""
    from tifffile import TiffFile, TiffPage

    check_page_chain(file)
    with TiffFile(file, name="") as tiff:
        if not tiff.pages:
            raise ValueError("it contains no page")
        previous = None
        for number, page in enumerate(tiff.pages[:_MAX_PAGES]):
            full_page = page if isinstance(page, TiffPage) else page.aspage()
            kind = _describe_other_picture(full_page, number)
            yield from _read_tags(full_page)
            yield from _read_tiff_exif(full_page)
            if kind:
                size = f"{full_page.imagewidth} x {full_page.imagelength} pixels"
                yield MetadataEntry("slide", f"page {number + 1}: {kind}", "picture", size, "picture")
            if full_page.description != previous:
                yield from _read_description(full_page.description, is_associated=bool(kind))
                previous = full_page.description


def _describe_other_picture(page: TiffPage, number: int) -> str:
    """Return the type of an associated image, such as label or macro; "" for levels."""
    lens = page.tags.get(_NDPI_LENS)
    if lens is not None and lens.value == -1:
        return "macro"
    match = _OTHER_PICTURE.search(page.description[:2000])
    return match.group(1).lower() if match and number and not page.is_ome else ""


def _read_tags(page: TiffPage) -> Iterator[MetadataEntry]:
    tags = page.tags
    for code, name in _TIFF_TEXTS.items():
        if (tag := tags.get(code)) is not None:
            yield MetadataEntry("slide", f"TIFF {name}", name, str(tag.value), free=code in _FREE)
    for code, read in ((_XMP, read_xmp_entries), (_IPTC_TAG, read_iptc_entries), (_PHOTOSHOP, read_iptc_entries)):
        if (tag := tags.get(code)) is not None and isinstance(tag.value, bytes | bytearray):
            yield from read(bytes(tag.value), "slide")
    for tag in tags:
        if tag.code >= _PRIVATE and tag.code != _NDPI_SERIAL and isinstance(tag.value, str):
            yield MetadataEntry("slide", f"TIFF tag {tag.code}", "tag", tag.value)
    if (tag := tags.get(_NDPI_SERIAL)) is not None:
        yield MetadataEntry("slide", "NDPI serial number", "serial", str(tag.value))


def _read_description(text: str, *, is_associated: bool) -> Iterator[MetadataEntry]:
    """Read a description: XML, ``key = value`` between bars as from Aperio scanners, or free text.

    The text of an associated image is not treated as free text.
    """
    if text.lstrip().startswith("<"):
        yield from read_xml_entries(text, "slide", "description ")
    elif "|" in text and "=" in text:
        head, *fields = text.split("|")
        yield from read_text_entries(head, "slide", "description ")
        for field in fields:
            key, _, value = field.partition("=")
            name = {"User": "user name", "Filename": "path", "Title": "title"}.get(key.strip(), key)
            yield MetadataEntry("slide", f"description {key.strip()}", name, value, free=name == "title")
    elif text and not text.startswith("{"):  # tifffile describes shapes as JSON
        yield MetadataEntry("slide", "TIFF ImageDescription", "ImageDescription", text, free=not is_associated)


def _read_tiff_exif(page: TiffPage) -> Iterator[MetadataEntry]:
    """Read the EXIF and GPS blocks of a TIFF, which tifffile returns as dicts."""
    if (tag := page.tags.get(_GPS_IFD)) is not None:
        yield MetadataEntry("slide", "EXIF GPSInfo", "gps", str(tag.value), "location")
    if (tag := page.tags.get(_EXIF)) is not None and isinstance(tag.value, dict):
        for name, value in tag.value.items():
            if isinstance(value, str):
                yield MetadataEntry("slide", f"EXIF {name}", name, value, free=name == "UserComment")


_ELEMENTS = {  # type of finding: keywords of DICOM elements
    "birth": "PatientBirthDate PatientBirthTime",
    "record": "PatientID OtherPatientIDs IssuerOfPatientID AccessionNumber MedicalRecordLocator StudyID AdmissionID "
    "InsurancePlanIdentification MilitaryRank SpecimenIdentifier ContainerIdentifier BarcodeValue "
    "PerformedProcedureStepID ScheduledProcedureStepID ClinicalTrialSubjectID ClinicalTrialSubjectReadingID "
    "FillerOrderNumberImagingServiceRequest PlacerOrderNumberImagingServiceRequest ServiceEpisodeID",
    "contact": "PatientAddress PatientTelephoneNumbers PatientTelecomInformation CountryOfResidence RegionOfResidence "
    "ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers PersonAddress PersonTelephoneNumbers "
    "OrderCallbackPhoneNumber DistributionAddress",
    "location": "InstitutionName InstitutionAddress InstitutionalDepartmentName CurrentPatientLocation "
    "PatientInstitutionResidence ResponsibleOrganization RequestingService OrderEntererLocation",
    "device": "DeviceSerialNumber StationName DetectorID PlateID CassetteID DeviceUID GantryID GeneratorID",
    "text": "PatientComments AdditionalPatientHistory ImageComments StudyComments VisitComments Occupation "
    "RequestedProcedureComments LabelText ReasonForStudy AcquisitionComments ClinicalTrialSiteName",
}
KIND_OF_ELEMENT = {name: kind for kind, names in _ELEMENTS.items() for name in names.split()}
"""DICOM elements that identify a person whatever their value is; names and dates are recognized by their VR."""
_MACHINE_WRITTEN = (
    "Manufacturer ManufacturerModelName SoftwareVersions CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator "
    "CodingSchemeVersion CodingSchemeName CodingSchemeResponsibleOrganization ContextIdentifier MappingResource "
    "MappingResourceName SpecificCharacterSet TimezoneOffsetFromUTC LensMake LensModel LensSpecification "
    "DeidentificationMethod OpticalPathIdentifier OpticalPathDescription DerivationDescription SegmentLabel "
    "SegmentDescription SegmentAlgorithmName ContentLabel DimensionDescriptionLabel LUTExplanation "
    "PatientSpeciesDescription PositionReferenceIndicator"
)
_TECHNICAL = frozenset(_MACHINE_WRITTEN.split())
"""Elements with texts of machines or standards; other texts may be written by people and are reported."""
_TEXTS = ("LT", "ST", "UT", "LO", "SH", "UC")  # value representations (VR) of texts
_PATIENT_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson")
_OTHER_PICTURES = ("LABEL", "OVERVIEW", "THUMBNAIL")


def read_dicom_entries(file: IO[bytes]) -> Iterator[MetadataEntry]:
    """Read the elements of a DICOM file, including sequences, without pixels.

    Yields an entry for each element that may identify a person, and one entry for all private elements.
    """
    from pydicom import dcmread
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        dataset = dcmread(file, stop_before_pixels=True)
        if not dataset:
            raise ValueError("it contains no element")
        yield from _read_file_level(dataset)
        for element in dataset.iterall():
            yield from _read_element(element)
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


def _read_file_level(dataset: Dataset) -> Iterator[MetadataEntry]:
    """Read what concerns the whole file, such as a label image, text in the pixels, and private elements."""
    kind = next((word for word in dataset.get("ImageType", ()) if word in _OTHER_PICTURES), None)
    if kind:
        yield MetadataEntry(
            "dicom", f"DICOM ImageType {kind}", "picture", f"the {kind.lower()} of the slide", "picture"
        )
    if dataset.get("BurnedInAnnotation") == "YES":
        yield MetadataEntry("dicom", "DICOM BurnedInAnnotation", "picture", "text in the pixels", "picture")
    private = sum(element.tag.is_private and not element.tag.is_private_creator for element in dataset.iterall())
    if private:
        yield MetadataEntry(
            "dicom", "DICOM private elements", "private", f"{private} elements of the manufacturer", "text"
        )
    if "IconImageSequence" in dataset:
        yield MetadataEntry("dicom", "DICOM IconImageSequence", "picture", "a small image", "picture")
    if any(0x6000 <= element.tag.group <= 0x60FF and element.tag.element == 0x3000 for element in dataset):
        yield MetadataEntry("dicom", "DICOM OverlayData", "picture", "an overlay, which may contain text", "picture")
    if "EncapsulatedDocument" in dataset:
        yield MetadataEntry("dicom", "DICOM EncapsulatedDocument", "document", "a document", "picture")


def _read_element(element: DataElement) -> Iterator[MetadataEntry]:
    if element.VR == "SQ" or element.tag.is_private or element.is_empty:
        return
    name, value = element.keyword, str(element.value)
    kind = KIND_OF_ELEMENT.get(name, "")
    if element.VR == "PN":
        kind = "person" if name in _PATIENT_NAMES else "staff"
    elif element.VR in ("DA", "DT") and not kind:
        kind = "date"
    elif element.VR == "AE" and not kind:
        kind = "device"
    if kind and not (EMPTY_VALUE.fullmatch(value.strip()) is not None or value.startswith(("00000000", "19000101"))):
        yield MetadataEntry("dicom", f"DICOM {name}", name, value, kind)
    elif element.VR in (*_TEXTS, "AS"):
        key = "age" if name == "PatientAge" else name if element.VR == "AS" else ""
        yield MetadataEntry("dicom", f"DICOM {name}", key, value, free=element.VR in _TEXTS and name not in _TECHNICAL)
