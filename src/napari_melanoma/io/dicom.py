"""Decoding of DICOM through pydicom: visible light photographs of one frame, with their pixel size and modality."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.color import eight_bit, real_depth, srgb
from napari_melanoma.io.damage import dicom_pixels
from napari_melanoma.io.formats import DAMAGE, Decoded, Modality, check_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DERMOSCOPIC_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.7"
_MODALITIES: dict[str, Modality] = {"DMS": "dermoscopic", "XC": "macroscopic"}
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def decode(file: IO[bytes]) -> Decoded:
    """Decode the photograph in a DICOM file.

    Grey values go through the modality and VOI transformations that the file asks for.

    SRGB; the pixel size (source ``"dicom"``) and the modality where the file has them.
    """
    from pydicom import dcmread

    with damage_as_value_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom warns of in damaged files is checked here
        head = dcmread(file, stop_before_pixels=True)
        place = file.tell()
        fault = not_a_photograph(head)
        if fault:
            raise UnreadableImage(fault)
        check_size(head.Columns, head.Rows)
        _refuse_codec(head)
        file.seek(0)
        checked = dicom_pixels.check(file.read(), place, head)
        dataset = dcmread(io.BytesIO(checked.content))
        rgb, note = _rgb(dataset)
    notes = (note,) if note else ()
    return Decoded(rgb, pixel_size_of(dataset), modality_of(dataset), checked.damage, notes)


def not_a_photograph(dataset: Dataset) -> str | None:
    """Say why a DICOM file is no single photograph.

    ``dataset``: its elements; the pixel data may be left out. Returns the end of a message, or None where it is a
    photograph.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    if dataset.get("SOPClassUID") == _SLIDE_CLASS:
        return "is a whole slide (DICOM), but a photograph was expected. Open it with a reader for slides."
    if frames > 1:
        return (
            f"has {frames} frames, but a photograph has one. "
            "Open it with a reader for stacks, or export the frame that is meant."
        )
    if "Rows" not in dataset:
        return "is a DICOM file without an image (a report or a directory, say). Name the file that holds the image."
    return None


def is_for_others(file: IO[bytes]) -> bool:
    """Whether a DICOM file is a slide or has several frames or none, which other readers open.

    False also where the file is damaged, as another reader cannot open it either.
    """
    from pydicom import dcmread

    try:
        with damage_as_value_error():
            return not_a_photograph(dcmread(file, stop_before_pixels=True)) is not None
    except DAMAGE:
        return False


def stored_size(file: IO[bytes]) -> tuple[int, int]:
    """Width and height of a DICOM image, from its elements.

    In pixels.
    """
    from pydicom import dcmread

    with damage_as_value_error():
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(dataset.Columns), int(dataset.Rows)


@contextmanager
def damage_as_value_error() -> Iterator[None]:
    """Give the errors that pydicom derives from Exception alone a kind that can be named without importing it."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


def _refuse_codec(head: Dataset) -> None:
    """Refuse a compression that cannot be decoded here."""
    from pydicom.pixels import get_decoder

    syntax = head.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise UnreadableImage(
            f"is compressed as {syntax.name}, for which no decoder is installed. "
            "Install one with 'pip install pylibjpeg[all]', or export the image uncompressed."
        )


def _rgb(dataset: Dataset) -> tuple[NDArray[np.uint8], str | None]:
    """Decode the pixels: uint8 (row, column, channel=3), sRGB; with what was assumed of their range."""
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    samples = pixel_array(dataset)  # colours in YCbCr arrive as RGB
    note = None
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = eight_bit(apply_color_lut(samples, dataset))
    elif dataset.SamplesPerPixel == 1:
        pixels = _displayed(samples, dataset)
    else:
        bits, note = real_depth(samples) if dataset.BitsStored == 16 else (dataset.BitsStored, None)
        pixels = eight_bit(samples, bits or dataset.BitsStored)
    return srgb(Image.fromarray(pixels), dataset.get("ICCProfile")), note


def _displayed(stored: NDArray, dataset: Dataset) -> NDArray[np.uint8]:
    """Grey values as a screen shows them: what the smallest and largest storable values become is black and white."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    bits = dataset.BitsStored
    lowest = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    extremes = np.array([lowest, lowest + 2**bits - 1], dtype=stored.dtype)
    black, white = sorted(apply_voi_lut(apply_modality_lut(extremes, dataset), dataset).astype(np.float64))
    shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    grey = np.clip((shown - black) / max(white - black, 1.0), 0.0, 1.0)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1.0 - grey
    return eight_bit(grey)


def pixel_size_of(dataset: Dataset) -> PixelSize | None:
    """Give the real size of a pixel, from the first of the spacings (mm, rows before columns) that is one.

    A pixel aspect ratio alone states a shape and no size.

    ``dataset``: its elements; the pixel data may be left out. None where there is no spacing.
    """
    groups = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence") or [{}]
    spacings = [item.get(name) for item in (dataset, measures[0]) for name in _SPACINGS]
    for spacing in spacings:
        if spacing is not None and len(spacing) == 2 and min(spacing) > 0:
            return PixelSize(1000.0 * float(spacing[0]), 1000.0 * float(spacing[1]), "dicom")
    return None


def modality_of(dataset: Dataset) -> Modality | None:
    """Say how the photograph was taken.

    ``dataset``: its elements; the pixel data may be left out. None where the file does not code it.
    """
    if dataset.get("SOPClassUID") == _DERMOSCOPIC_CLASS:
        return "dermoscopic"
    return _MODALITIES.get(dataset.get("Modality", ""))
