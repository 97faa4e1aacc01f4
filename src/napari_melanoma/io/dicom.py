"""DICOM photographs: decoding with pydicom, values of the header, and checks of the pixel data for damage."""

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

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io import jpeg_damage
from napari_melanoma.io.color_conversion import ValueRange, find_value_range, to_eight_bit, to_srgb8
from napari_melanoma.io.formats import (
    DAMAGE_ERRORS,
    DecodedPhotograph,
    Modality,
    check_accepted,
    check_image_size,
)
from napari_melanoma.io.image_damage import check_plausible

if TYPE_CHECKING:
    from pydicom import Dataset


_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
DERMOSCOPIC_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.7"
_MODALITIES: dict[str, Modality] = {"DMS": "dermoscopic", "XC": "macroscopic"}
DETECTOR_SCALE = "the pixel size in the file is that of the camera's detector, not of the skin, so it is not used"
_SLIDE_MODALITY = "SM"
_DATES = ("AcquisitionDate", "ContentDate", "StudyDate")
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # in years, of the value representation AS


def decode(file: IO[bytes], accept_damaged: bool = False) -> DecodedPhotograph:
    """Decode the photograph in a DICOM file; raise ``DamagedImage`` for a damaged one, unless this is accepted.

    Modality and VOI transformations in the file are applied to gray values. Returns sRGB, with pixel size (source
    ``"dicom"``) and modality if the file states them.
    """
    from pydicom import dcmread

    with damage_as_value_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of damage, which ``find_pixel_damage`` detects
        head = dcmread(file, stop_before_pixels=True)
        pixel_data_offset = file.tell()
        fault = why_not_a_photograph(head)
        if fault:
            raise UnreadableImage(fault)
        check_image_size(head.Columns, head.Rows)
        _check_codec(head)
        file.seek(0)
        content = file.read()
        damage = find_pixel_damage(content, pixel_data_offset, head)
        check_accepted(damage, accept_damaged)
        dataset = dcmread(io.BytesIO(content))
        rgb, note = _rgb(dataset)
    notes = tuple(filter(None, (note, DETECTOR_SCALE if states_detector_scale(dataset) else None)))
    return DecodedPhotograph(rgb, read_pixel_size(dataset), read_modality(dataset), damage, notes)


def why_not_a_photograph(dataset: Dataset) -> str | None:
    """Return why a DICOM file is not a single photograph, as the end of a message; None if it is.

    ``dataset``: the elements of the file; pixel data are not needed.
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
    """Whether a DICOM file is a slide, a stack or without an image, so that other readers may open it.

    False for a damaged file, which other readers cannot open either.
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
    """Convert pydicom's own errors into ValueError, which callers can catch without importing pydicom."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


def _check_codec(head: Dataset) -> None:
    """Raise an error if no decoder for the compression is installed."""
    from pydicom.pixels import get_decoder

    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise UnreadableImage(
            f"is compressed as {syntax.name}, for which no decoder is installed. "
            "Install one with 'pip install pylibjpeg[all]', or export the image uncompressed."
        )


def _rgb(dataset: Dataset) -> tuple[NDArray[np.uint8], str | None]:
    """Decode the pixels to sRGB, uint8 (row, column, channel=3); also return a note on their assumed range, if any."""
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and "PlanarConfiguration" in dataset:
        dataset.PlanarConfiguration = 0  # compressed data state their own order, but pydicom would apply this as well
    samples = pixel_array(dataset)  # colors in YCbCr arrive as RGB
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        samples = apply_color_lut(samples, dataset)
        values = ValueRange(65535 if samples.max(initial=0) > 255 else 255)  # 8-bit colors may be in 16-bit tables
        pixels = to_eight_bit(samples, values)
    elif dataset.SamplesPerPixel == 1:
        values = _gray_range(samples, dataset)
        pixels = _to_display_values(samples, dataset, int(values.white))
    else:
        values = find_value_range(samples, dataset.BitsStored)
        pixels = to_eight_bit(samples, values)
    return to_srgb8(Image.fromarray(pixels), dataset.get("ICCProfile")), values.note


def _gray_range(stored: NDArray, dataset: Dataset) -> ValueRange:
    """Return the range of gray values: what can be stored if they are signed or the file states what is shown."""
    bits, states_window = dataset.BitsStored, "WindowCenter" in dataset or "VOILUTSequence" in dataset
    if dataset.PixelRepresentation or states_window or stored.dtype not in (np.uint8, np.uint16):
        return ValueRange(2 ** (bits - bool(dataset.PixelRepresentation)) - 1)
    return find_value_range(stored, bits)


def _to_display_values(stored: NDArray, dataset: Dataset, largest: int) -> NDArray[np.uint8]:
    """Convert stored gray values to displayed ones: the smallest and largest ones become black and white."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    extremes = np.array([lowest, largest], dtype=stored.dtype)
    black, white = sorted(apply_voi_lut(apply_modality_lut(extremes, dataset), dataset).astype(np.float64))
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    gray = np.clip((values - black) / max(white - black, 1.0), 0.0, 1.0)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        gray = 1.0 - gray
    return to_eight_bit(gray)


def read_pixel_size(dataset: Dataset) -> PixelSize | None:
    """Return the real size of a pixel, from the first valid spacing (mm, rows before columns); None without a spacing.

    The spacing on the detector (ImagerPixelSpacing, or a PixelSpacing that repeats it) is none of the skin, unless the
    file states a calibration. A pixel aspect ratio states a shape only, not a size.

    ``dataset``: the elements of the file; pixel data are not needed.
    """
    groups = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence") or [{}]
    detector, spacing = _spacing_um(dataset, "ImagerPixelSpacing"), _spacing_um(dataset, "PixelSpacing")
    if dataset.get("PixelSpacingCalibrationType"):
        spacing = spacing or detector
    elif spacing == detector:
        spacing = None
    stated = (spacing, _spacing_um(measures[0], "PixelSpacing"), _spacing_um(dataset, "NominalScannedPixelSpacing"))
    return next((PixelSize(*found, "dicom") for found in stated if found), None)


def states_detector_scale(dataset: Dataset) -> bool:
    """Whether a file states the spacing of pixels on the detector alone."""
    return read_pixel_size(dataset) is None and _spacing_um(dataset, "ImagerPixelSpacing") is not None


def _spacing_um(item: Dataset | dict[str, object], name: str) -> tuple[float, float] | None:
    """Return the vertical and horizontal spacing of pixels in micrometers; None if it is missing or not valid."""
    spacing = item.get(name)
    if not isinstance(spacing, Sequence) or len(spacing) != 2:
        return None
    if not all(mm and 0 < float(mm) < math.inf for mm in spacing):
        return None
    return 1000.0 * float(spacing[0]), 1000.0 * float(spacing[1])


def read_modality(dataset: Dataset) -> Modality | None:
    """Return the photographic modality; None if the file does not state it.

    ``dataset``: the elements of the file; pixel data are not needed.
    """
    if dataset.get("SOPClassUID") == DERMOSCOPIC_CLASS:
        return "dermoscopic"
    return _MODALITIES.get(dataset.get("Modality", ""))


@dataclass(frozen=True)
class DicomHeader:
    """Metadata of a DICOM file; texts are empty if unknown.

    ``patient``: patient ID, or name and date of birth. ``age``: in years, as stated, or else from the dates of birth
    and of the image. ``modality``: of a photograph, or ``wsi``. ``lesion``: tracking ID. ``taken_on``: date of the
    image, YYYY-MM-DD. ``shows``: content of an image of a slide in lower case, such as ``volume`` or ``label``.
    ``has_detector_scale``: the file states the spacing of pixels on the detector alone, so there is no pixel size.
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
    has_detector_scale: bool = False


def read_header(file: IO[bytes]) -> DicomHeader:
    from pydicom import dcmread

    try:
        with damage_as_value_error():
            return _header(dcmread(file, stop_before_pixels=True))
    except DAMAGE_ERRORS as error:
        raise UnreadableImage(f"is not a readable DICOM file: {error}. Export it again.") from error


def _header(dataset: Dataset) -> DicomHeader:
    photograph_modality = read_modality(dataset)
    name_and_birth = (_text(dataset, "PatientName"), _text(dataset, "PatientBirthDate"))
    return DicomHeader(
        patient=_text(dataset, "PatientID") or " ".join(filter(None, name_and_birth)),
        age=_age(dataset),
        sex=_text(dataset, "PatientSex"),
        body_part=_text(dataset, "BodyPartExamined") or _code_meaning(dataset, "AnatomicRegionSequence"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        ethnicity=_text(dataset, "EthnicGroup"),
        modality=photograph_modality or ("wsi" if _text(dataset, "Modality") == _SLIDE_MODALITY else ""),
        pixel_size=read_pixel_size(dataset),
        has_image="Rows" in dataset,
        lesion=_text(dataset, "TrackingID") or _text(dataset, "TrackingUID"),
        taken_on=_acquisition_date(dataset),
        shows=_slide_image_type(dataset),
        has_detector_scale=states_detector_scale(dataset),
    )


def _text(dataset: Dataset, name: str) -> str:
    """Return an element as text; empty if it is missing."""
    return str(dataset.get(name) or "").strip()


def _code_meaning(dataset: Dataset, name: str) -> str:
    """Return the meaning of the first code of a sequence; empty if it is missing."""
    items = dataset.get(name) or []
    return _text(items[0], "CodeMeaning") if items else ""


def _age(dataset: Dataset) -> float | None:
    """Return the stated age (``045Y``), or else the age from the dates, in years; None if unknown."""
    stated = _text(dataset, "PatientAge").upper()
    if stated[:-1].isdigit() and stated[-1:] in _AGE_UNITS:
        return int(stated[:-1]) * _AGE_UNITS[stated[-1]]
    born = _day_number(dataset, "PatientBirthDate")
    taken = _acquisition_day(dataset)
    # All digits but the last four of the difference are the number of full years.
    return float((taken - born) // 10_000) if 0 < born <= taken else None


def _acquisition_day(dataset: Dataset) -> int:
    """Return the date of the image as the number YYYYMMDD; 0 if unknown."""
    return next(filter(None, (_day_number(dataset, name) for name in _DATES)), 0)


def _acquisition_date(dataset: Dataset) -> str:
    """Return the date of the image as YYYY-MM-DD; empty if unknown."""
    day = str(_acquisition_day(dataset))
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else ""


def _slide_image_type(dataset: Dataset) -> str:
    """Return the content of an image of a slide, the third value of the image type; empty for other images."""
    values = [str(value).lower() for value in dataset.get("ImageType") or []]
    return values[2] if _text(dataset, "Modality") == _SLIDE_MODALITY and len(values) > 2 else ""


def _day_number(dataset: Dataset, name: str) -> int:
    """Return a date as the number YYYYMMDD; 0 if it is missing."""
    text = _text(dataset, name)[:8]
    return int(text) if text.isdigit() and len(text) == 8 else 0


# Checks of the pixel data

_ITEM = b"\xfe\xff\x00\xe0"
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_RLE_HEADER_BYTES = 64
# Intact JPEG 2000 data have no such run: the arithmetic coder writes none, and empty packets take one byte each.
_ZEROS = re.compile(rb"\x00{128,}")


def find_pixel_damage(content: bytes, offset: int, head: Dataset) -> str | None:
    """Describe damage of the pixel data of a file with one frame; None without damage, or if pydicom reports it.

    ``offset``: position of the pixel data element. ``head``: the elements before it, with the file meta information.
    """
    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_deflated or content[offset : offset + 4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        return None
    if not syntax.is_encapsulated:
        start = offset + (8 if syntax.is_implicit_VR else 12)
        stated = struct.unpack_from("<I" if syntax.is_little_endian else ">I", content, start - 4)[0]
        check_plausible(head.Columns, head.Rows, min(stated, len(content) - start), "raw")
        return None
    frame = b"".join(_read_fragments(content, offset + 12))
    check_plausible(head.Columns, head.Rows, len(frame), _packing(syntax, frame))
    if syntax in _JPEG and jpeg_damage.JpegStream.parse(frame).precision == 8:
        return jpeg_damage.find_damage(frame)
    if syntax in _JPEG2000 and (zeros := _ZEROS.search(frame)):
        return f"its compressed data are corrupt (a run of {zeros.end() - zeros.start()} zero bytes)"
    return _find_run_length_damage(frame, head) if syntax == _RLE else None


def _packing(syntax: str, frame: bytes) -> str:
    """Return the key of ``image_damage.PIXELS_PER_BYTE`` for a compressed frame.

    It is empty for a compression in which a uniform image takes nearly no data.
    """
    if syntax == _RLE:
        return "rle"
    return "JPEG" if syntax in _JPEG and not jpeg_damage.JpegStream.parse(frame).is_arithmetic else ""


def _read_fragments(content: bytes, position: int) -> list[bytes]:
    """Return the fragments of a frame, without the first item, the offset table."""
    items: list[bytes] = []
    while content[position : position + 4] == _ITEM and position + 8 <= len(content):
        length = struct.unpack_from("<I", content, position + 4)[0]
        items.append(content[position + 8 : position + 8 + length])
        position += 8 + length
    return items[1:]


def _find_run_length_damage(frame: bytes, head: Dataset) -> str | None:
    """Check that each segment of a run-length encoded frame decodes to one byte per pixel (PS3.5, annex G)."""
    import imagecodecs

    if len(frame) < _RLE_HEADER_BYTES:
        return "its compressed data are missing"
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = head.Rows * head.Columns
    offsets = offsets[: min(count, 15)]
    for begin, end in zip(offsets, [*offsets[1:], len(frame)], strict=True):
        try:
            decoded = len(imagecodecs.packbits_decode(frame[begin:end], out=expected + 2))
        except DAMAGE_ERRORS:
            decoded = 0
        if not expected <= decoded <= expected + 1:
            return "its compressed data are corrupt: an unknown part of the picture is wrong"
    return None
