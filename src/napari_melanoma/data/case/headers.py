"""What DICOM elements and EXIF of an image say of it, brought to our words; never a name or a birth date."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.pseudonyms import pseudonym
from napari_melanoma.data.case.facts import Facts
from napari_melanoma.data.harmonise import harmonise
from napari_melanoma.data.sources.dicom import BESIDE
from napari_melanoma.io.dicom_header import DicomHeader, read_header
from napari_melanoma.io.exif import ExifHints, read_exif
from napari_melanoma.io.formats import HEAD_BYTES, identify

DERMATOSCOPES = (
    *("dermlite", "fotofinder", "medicam", "molemax", "dermoscope", "dermatoscope", "dermascope", "heine", "illuco"),
    *("dermengine", "molescope", "dermoscan"),
)
TOTAL_BODY = ("vectra", "wb360")


def facts_from_headers(path: Path) -> tuple[Facts, ...]:
    """Read what the headers of a file say.

    With the origin ``dicom`` or ``exif``.
    """
    try:
        with open_regular(path) as file:
            if identify(file.read(HEAD_BYTES)) == "DICOM":
                file.seek(0)
                return (_from_dicom(read_header(file)),)
    except OSError as error:
        raise UnreadableImage(f"it cannot be read: {error.strerror or error}.") from error
    return (_from_exif(read_exif(path)),)


def _from_dicom(header: DicomHeader) -> Facts:
    """Facts of a DICOM header."""
    if not header.has_image:
        raise UnreadableImage("it holds no image.")
    if header.shows in BESIDE:
        raise UnreadableImage(f"it shows the {header.shows} of a slide, no tissue.")
    row = {
        "age": "" if header.age is None else f"{header.age:g}",
        "sex": header.sex,
        "site": header.body_part,
        "laterality": header.laterality,
        "ethnicity": header.ethnicity,
        "modality": header.modality,
    }
    cells = harmonise([row], "dicom").rows[0]
    names = {"patient": pseudonym(header.patient), "lesion": pseudonym(header.lesion, "lesion")}
    return Facts.said("dicom", {**cells, "taken_on": header.taken_on}, **names)


def _from_exif(hints: ExifHints) -> Facts:
    """Facts of the EXIF: some cameras and lenses take one kind of image alone."""
    modality = "dermoscopic" if any(word in hints.camera for word in DERMATOSCOPES) else ""
    modality = modality or ("tbp_tile" if any(word in hints.camera for word in TOTAL_BODY) else "")
    return Facts.said("exif", {"modality": modality, "taken_on": hints.taken_on})
