"""DICOM photographs: decoding with pydicom, integrity of the pixel data, and values of the header."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io import jpeg_damage
from napari_melanoma.io.color_conversion import detect_bit_depth, to_eight_bit, to_srgb8
from napari_melanoma.io.formats import DAMAGE_ERRORS, DecodedPhotograph, Modality, check_image_size
from napari_melanoma.io.image_damage import (
    IntegrityCheck,
    check_plausible,
    describe_missing_bytes,
    describe_missing_rows,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset


_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DERMOSCOPIC_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.7"
_MODALITIES: dict[str, Modality] = {"DMS": "dermoscopic", "XC": "macroscopic"}
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_SLIDE = "SM"
_DATES = ("AcquisitionDate", "ContentDate", "StudyDate")
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # units of the value representation AS


def decode(file: IO[bytes]) -> DecodedPhotograph:
    """Decode the photograph in a DICOM file.

    Modality and VOI transformations in the file are applied to gray values. Returns sRGB, with pixel size (source
    ``"dicom"``) and modality if the file states them.
    """
    from pydicom import dcmread

    with damage_as_value_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damage that pydicom warns of is checked here
        head = dcmread(file, stop_before_pixels=True)
        place = file.tell()
        fault = why_not_a_photograph(head)
        if fault:
            raise UnreadableImage(fault)
        check_image_size(head.Columns, head.Rows)
        _check_codec(head)
        file.seek(0)
        checked = check_pixel_data(file.read(), place, head)
        dataset = dcmread(io.BytesIO(checked.content))
        rgb, note = _rgb(dataset)
    notes = (note,) if note else ()
    return DecodedPhotograph(rgb, read_pixel_size(dataset), read_modality(dataset), checked.damage, notes)


def why_not_a_photograph(dataset: Dataset) -> str | None:
    """Describe why a DICOM file is not a single photograph; None if it is.

    ``dataset``: its elements; the pixel data may be left out. Returns the end of a message.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    if dataset.get("SOPClassUID") == _SLIDE_CLASS:
        return "is a whole slide (DICOM), but a photograph was expected. Open it with a reader for slides."
    if frames > 1:
        return (
            f"has {frames} frames, but a photograph must have one. "
            "Open it with a reader for stacks, or export a single frame."
        )
    if "Rows" not in dataset:
        return "is a DICOM file without an image (such as a report or a directory). Select the file of the image."
    return None


def is_not_for_this_reader(file: IO[bytes]) -> bool:
    """Whether a DICOM file is a slide or does not have exactly one frame, for which there are other readers.

    False also where the file is damaged, as other readers cannot open it either.
    """
    from pydicom import dcmread

    try:
        with damage_as_value_error():
            return why_not_a_photograph(dcmread(file, stop_before_pixels=True)) is not None
    except DAMAGE_ERRORS:
        return False


def stored_size(file: IO[bytes]) -> tuple[int, int]:
    """Return width and height of a DICOM image in pixels, from its header."""
    from pydicom import dcmread

    with damage_as_value_error():
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(dataset.Columns), int(dataset.Rows)


@contextmanager
def damage_as_value_error() -> Iterator[None]:
    """Convert errors that pydicom derives from Exception only into ValueError, which needs no import to be caught."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


def _check_codec(head: Dataset) -> None:
    """Refuse a compression without an installed decoder."""
    from pydicom.pixels import get_decoder

    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise UnreadableImage(
            f"is compressed as {syntax.name}, for which no decoder is installed. "
            "Install one with 'pip install pylibjpeg[all]', or export the image uncompressed."
        )


def _rgb(dataset: Dataset) -> tuple[NDArray[np.uint8], str | None]:
    """Decode the pixels: uint8 (row, column, channel=3), sRGB; with a note on their assumed range."""
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    samples = pixel_array(dataset)  # colors in YCbCr arrive as RGB
    note = None
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = to_eight_bit(apply_color_lut(samples, dataset))
    elif dataset.SamplesPerPixel == 1:
        pixels = _to_display_values(samples, dataset)
    else:
        bits, note = detect_bit_depth(samples) if dataset.BitsStored == 16 else (dataset.BitsStored, None)
        pixels = to_eight_bit(samples, bits or dataset.BitsStored)
    return to_srgb8(Image.fromarray(pixels), dataset.get("ICCProfile")), note


def _to_display_values(stored: NDArray, dataset: Dataset) -> NDArray[np.uint8]:
    """Gray values as displayed: the smallest and largest storable values become black and white."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    bits = dataset.BitsStored
    lowest = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    extremes = np.array([lowest, lowest + 2**bits - 1], dtype=stored.dtype)
    black, white = sorted(apply_voi_lut(apply_modality_lut(extremes, dataset), dataset).astype(np.float64))
    shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    gray = np.clip((shown - black) / max(white - black, 1.0), 0.0, 1.0)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        gray = 1.0 - gray
    return to_eight_bit(gray)


def read_pixel_size(dataset: Dataset) -> PixelSize | None:
    """Return the real size of a pixel, from the first valid spacing (mm, rows before columns).

    A pixel aspect ratio states a shape only, not a size.

    ``dataset``: its elements; the pixel data may be left out. None without a spacing.
    """
    groups = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence") or [{}]
    spacings = [item.get(name) for item in (dataset, measures[0]) for name in _SPACINGS]
    for spacing in spacings:
        if (
            isinstance(spacing, Sequence)
            and len(spacing) == 2
            and all(mm and 0 < float(mm) < math.inf for mm in spacing)
        ):
            return PixelSize(1000.0 * float(spacing[0]), 1000.0 * float(spacing[1]), "dicom")
    return None


def read_modality(dataset: Dataset) -> Modality | None:
    """Return the photographic modality.

    ``dataset``: its elements; the pixel data may be left out. None where the file does not state it.
    """
    if dataset.get("SOPClassUID") == _DERMOSCOPIC_CLASS:
        return "dermoscopic"
    return _MODALITIES.get(dataset.get("Modality", ""))


@dataclass(frozen=True)
class DicomHeader:
    """Metadata of a DICOM file.

    ``age``: in years, as stated, else from the dates of birth and of the image. ``taken_on``: date of the image,
    YYYY-MM-DD; "" if unknown.
    """

    patient: str
    age: float | None
    sex: str
    body_part: str
    laterality: str
    ethnicity: str
    modality: str
    pixel_size: PixelSize | None
    has_image: bool
    lesion: str = ""
    taken_on: str = ""
    shows: str = ""


def read_header(file: IO[bytes]) -> DicomHeader:
    from pydicom import dcmread

    try:
        with damage_as_value_error():
            return _header(dcmread(file, stop_before_pixels=True))
    except DAMAGE_ERRORS as error:
        raise UnreadableImage(f"is not a readable DICOM file: {error}. Export it again.") from error


def _header(dataset: Dataset) -> DicomHeader:
    """Collect the relevant elements."""
    photograph = read_modality(dataset)
    named = (_text(dataset, "PatientName"), _text(dataset, "PatientBirthDate"))
    return DicomHeader(
        patient=_text(dataset, "PatientID") or " ".join(filter(None, named)),
        age=_age(dataset),
        sex=_text(dataset, "PatientSex"),
        body_part=_text(dataset, "BodyPartExamined") or _code_meaning(dataset, "AnatomicRegionSequence"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        ethnicity=_text(dataset, "EthnicGroup"),
        modality=photograph or ("wsi" if _text(dataset, "Modality") == _SLIDE else ""),
        pixel_size=read_pixel_size(dataset),
        has_image="Rows" in dataset,
        lesion=_text(dataset, "TrackingID") or _text(dataset, "TrackingUID"),
        taken_on=_acquisition_date(dataset),
        shows=_slide_image_type(dataset),
    )


def _text(dataset: Dataset, name: str) -> str:
    """An element as text, "" where it is missing or empty."""
    return str(dataset.get(name) or "").strip()


def _code_meaning(dataset: Dataset, name: str) -> str:
    """The meaning of the first code of a sequence."""
    items = dataset.get(name) or []
    return _text(items[0], "CodeMeaning") if items else ""


def _age(dataset: Dataset) -> float | None:
    """The stated age (``045Y``), else that from the dates."""
    stated = _text(dataset, "PatientAge").upper()
    if stated[:-1].isdigit() and stated[-1:] in _YEARS:
        return int(stated[:-1]) * _YEARS[stated[-1]]
    born = _day(dataset, "PatientBirthDate")
    taken = _acquisition_day(dataset)
    return float((taken - born) // 10_000) if 0 < born <= taken else None


def _acquisition_day(dataset: Dataset) -> int:
    """The date of the image as a number; 0 if unknown."""
    return next(filter(None, (_day(dataset, name) for name in _DATES)), 0)


def _acquisition_date(dataset: Dataset) -> str:
    """The date of the image as text."""
    day = str(_acquisition_day(dataset))
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else ""


def _slide_image_type(dataset: Dataset) -> str:
    """Content of a slide image: the third value of its type."""
    values = [str(value).lower() for value in dataset.get("ImageType") or []]
    return values[2] if _text(dataset, "Modality") == _SLIDE and len(values) > 2 else ""


def _day(dataset: Dataset, name: str) -> int:
    """A date as the number YYYYMMDD, 0 if missing; in a difference of two, all but the last four digits are years."""
    text = _text(dataset, name)[:8]
    return int(text) if text.isdigit() and len(text) == 8 else 0


_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_RLE_HEADER = 64
_ZEROS = re.compile(rb"\x00{128,}")  # the arithmetic coder of JPEG 2000 writes none; empty packets take a byte each


def check_pixel_data(content: bytes, place: int, head: Dataset) -> IntegrityCheck:
    """Check that the pixel data of a file with one frame are complete; missing bytes are filled.

    ``place``: offset of the pixel data element. ``head``: the elements before it, with the file meta information.
    """
    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_deflated or content[place : place + 4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        return IntegrityCheck(content)  # pydicom reports the error
    if syntax.is_encapsulated:
        return _check_frame(content, place + 12, head)
    return _check_plain(content, place, head)


def _check_plain(content: bytes, place: int, head: Dataset) -> IntegrityCheck:
    """Check uncompressed pixels."""
    from pydicom.pixels.utils import get_expected_length

    syntax = head.file_meta.TransferSyntaxUID
    start = place + (8 if syntax.is_implicit_VR else 12)
    order = "<I" if syntax.is_little_endian else ">I"
    stated = struct.unpack_from(order, content, start - 4)[0]
    expected = get_expected_length(head)
    found = min(stated, len(content) - start)
    check_plausible(head.Columns, head.Rows, found, "raw")
    if found >= expected:
        return IntegrityCheck(content)
    planes = head.SamplesPerPixel if head.get("PlanarConfiguration") else 1
    last = max(0, found - (planes - 1) * expected // planes)  # a row is complete only with its last plane
    damage = describe_missing_rows(last * head.Rows * planes // expected, head.Rows)
    length = struct.pack(order, expected + expected % 2)
    pixels = content[start : start + found].ljust(expected + expected % 2, b"\0")
    return IntegrityCheck(content[: start - 4] + length + pixels, damage)


def _check_frame(content: bytes, start: int, head: Dataset) -> IntegrityCheck:
    """Check a compressed frame."""
    fragments, missing, stop = _fragments(content, start)
    frame = b"".join(fragments)
    syntax = str(head.file_meta.TransferSyntaxUID)
    check_plausible(head.Columns, head.Rows, len(frame), _packing(syntax, frame))
    damage = describe_missing_bytes(len(frame), len(frame) + missing) if missing else None
    if syntax in _JPEG and jpeg_damage.JpegStream.parse(frame).precision == 8:
        checked = jpeg_damage.check(frame)
        frame, damage = checked.content, checked.damage
    elif syntax in _JPEG2000 and not damage and (zeros := _ZEROS.search(frame)):
        damage = f"its compressed data are corrupt (a run of {zeros.end() - zeros.start()} zero bytes)"
    elif syntax == _RLE:
        checked = _check_run_lengths(frame, head)
        frame, damage = checked.content, checked.damage
    if not damage and stop is not None:
        return IntegrityCheck(content)
    items = _ITEM + bytes(4) + _ITEM + struct.pack("<I", len(frame) + len(frame) % 2) + frame + bytes(len(frame) % 2)
    rest = content[stop:] if stop is not None else _END + bytes(4)
    return IntegrityCheck(content[:start] + items + rest, damage)


def _packing(syntax: str, frame: bytes) -> str:
    """Key of ``image_damage.PIXELS_PER_BYTE`` for a compressed frame; "" where a uniform image takes nearly no data."""
    if syntax == _RLE:
        return "rle"
    return "JPEG" if syntax in _JPEG and not jpeg_damage.JpegStream.parse(frame).is_arithmetic else ""


def _fragments(content: bytes, position: int) -> tuple[list[bytes], int, int | None]:
    """The fragments after the offset table, the number of missing bytes, and the offset of the end marker."""
    found: list[bytes] = []
    while position + 8 <= len(content):
        tag, length = content[position : position + 4], struct.unpack_from("<I", content, position + 4)[0]
        if tag == _END:
            return found[1:], 0, position
        if tag != _ITEM or length == _UNDEFINED:
            break
        found.append(content[position + 8 : position + 8 + length])
        if position + 8 + length > len(content):
            return found[1:], position + 8 + length - len(content), None
        position += 8 + length
    return found[1:], 0, None


def _check_run_lengths(frame: bytes, head: Dataset) -> IntegrityCheck:
    """Check that each segment of a run-length encoded frame decodes to one byte per pixel (PS3.5, annex G)."""
    import imagecodecs

    if len(frame) < _RLE_HEADER:
        return IntegrityCheck(frame, describe_missing_bytes(0, 1))
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = head.Rows * head.Columns
    offsets = offsets[: min(count, 15)]
    ends = [*offsets[1:], len(frame)]
    segments, rows, corrupt = [], head.Rows, False
    for begin, end in zip(offsets, ends, strict=True):
        try:
            raw = bytes(imagecodecs.packbits_decode(frame[begin:end], out=expected + 2))
        except DAMAGE_ERRORS:
            raw = b""
        rows = min(rows, len(raw) // head.Columns)
        corrupt = corrupt or len(raw) > expected + 1
        segments.append(raw[:expected].ljust(expected, b"\0"))
    if rows == head.Rows and not corrupt:
        return IntegrityCheck(frame)
    packed = [bytes(imagecodecs.packbits_encode(one)) for one in segments]
    packed = [one + bytes(len(one) % 2) for one in packed]
    starts = [_RLE_HEADER + sum(map(len, packed[:number])) for number in range(len(packed))]
    table = struct.pack("<16L", len(packed), *starts, *[0] * (15 - len(packed)))
    fault = "its compressed data are corrupt: an unknown part of the picture is wrong"
    return IntegrityCheck(
        table + b"".join(packed), fault if rows == head.Rows else describe_missing_rows(rows, head.Rows)
    )
