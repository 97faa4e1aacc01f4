"""What the header of a DICOM file says of an image and its patient; no pixel is read.

Apart from ``dicom`` because a table of a thousand files needs their headers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.dicom import damage_as_value_error, modality_of, pixel_size_of
from napari_melanoma.io.formats import DAMAGE

if TYPE_CHECKING:
    from pydicom import Dataset

_SLIDE = "SM"
_DATES = ("AcquisitionDate", "ContentDate", "StudyDate")
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # units of the value representation AS


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM file says beside its pixels.

    ``age``: in years, as stated, else from the dates of birth and of the image. ``taken_on``: day of the image, YYYY-
    MM-DD; "" where it is not said.
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
    """Read the header of a DICOM file."""
    from pydicom import dcmread

    try:
        with damage_as_value_error():
            return _header(dcmread(file, stop_before_pixels=True))
    except DAMAGE as error:
        raise UnreadableImage(f"is no DICOM file that can be read: {error}. Export it again.") from error


def _header(dataset: Dataset) -> DicomHeader:
    """Take from the elements what says something."""
    photograph = modality_of(dataset)
    return DicomHeader(
        patient=_text(dataset, "PatientID") or " ".join(_texts(dataset, "PatientName", "PatientBirthDate")),
        age=_age(dataset),
        sex=_text(dataset, "PatientSex"),
        body_part=_text(dataset, "BodyPartExamined") or _coded(dataset, "AnatomicRegionSequence"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        ethnicity=_text(dataset, "EthnicGroup"),
        modality=photograph or ("wsi" if _text(dataset, "Modality") == _SLIDE else ""),
        pixel_size=pixel_size_of(dataset),
        has_image="Rows" in dataset,
        lesion=_text(dataset, "TrackingID") or _text(dataset, "TrackingUID"),
        taken_on=_taken_on(dataset),
        shows=_shows(dataset),
    )


def _text(dataset: Dataset, name: str) -> str:
    """An element as text, "" where it is missing or empty."""
    return str(dataset.get(name) or "").strip()


def _texts(dataset: Dataset, *names: str) -> list[str]:
    """Those of some elements that are there."""
    return [text for name in names if (text := _text(dataset, name))]


def _coded(dataset: Dataset, name: str) -> str:
    """The meaning of the first code of a sequence."""
    items = dataset.get(name) or []
    return _text(items[0], "CodeMeaning") if items else ""


def _age(dataset: Dataset) -> float | None:
    """The age as it is stated (``045Y``), else by the dates."""
    stated = _text(dataset, "PatientAge").upper()
    if stated[:-1].isdigit() and stated[-1:] in _YEARS:
        return int(stated[:-1]) * _YEARS[stated[-1]]
    born = _day(dataset, "PatientBirthDate")
    taken = _taken(dataset)
    return float((taken - born) // 10_000) if 0 < born <= taken else None


def _taken(dataset: Dataset) -> int:
    """The day of the image as a number, 0 where it is not said."""
    return next(filter(None, (_day(dataset, name) for name in _DATES)), 0)


def _taken_on(dataset: Dataset) -> str:
    """The day of the image as people write it."""
    day = str(_taken(dataset))
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else ""


def _shows(dataset: Dataset) -> str:
    """What an image of a slide shows: the third value of its type."""
    values = [str(value).lower() for value in dataset.get("ImageType") or []]
    return values[2] if _text(dataset, "Modality") == _SLIDE and len(values) > 2 else ""


def _day(dataset: Dataset, name: str) -> int:
    """A date as the number YYYYMMDD, 0 where there is none; of a difference of two, all but four digits are years."""
    text = _text(dataset, name)[:8]
    return int(text) if text.isdigit() and len(text) == 8 else 0
