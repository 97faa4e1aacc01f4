"""Values of DICOM headers for the table of a data set, without elements that identify the patient."""

from __future__ import annotations

from zipfile import BadZipFile

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.io.dicom import DETECTOR_SCALE, DicomHeader, read_header
from napari_melanoma.privacy.pseudonyms import pseudonym

DICOM_SUFFIXES = (".dcm", ".dicom")
MAGIC, MAGIC_OFFSET = b"DICM", 128  # by which a file without suffix is recognized as DICOM


def read_dicom_header(file: SourceFile, tree: SourceTree) -> DicomHeader | None:
    """Read the header of a DICOM file; None for other files, and for unreadable ones, which are noted."""
    try:
        with file.open() as opened:
            opened.seek(MAGIC_OFFSET)
            if opened.read(len(MAGIC)) != MAGIC and not file.suffix:
                return None
            opened.seek(0)
            header = read_header(opened)
    except (UnreadableImage, OSError, BadZipFile) as error:
        tree.notes.append((file.name, str(error)))
        return None
    if header.has_detector_scale:
        tree.notes.append((file.name, DETECTOR_SCALE))
    return header


def list_header_values(header: DicomHeader) -> dict[str, str]:
    """Return the values of a header, under column names that are known to the harmonization."""
    values = {
        "patient_id": pseudonym(header.patient),
        "lesion_id": pseudonym(header.lesion, "lesion"),
        "modality": header.modality,
        "age": "" if header.age is None else f"{header.age:.2f}".rstrip("0").rstrip("."),
        "PatientSex": header.sex,
        "Body Part Examined": header.body_part,
        "laterality": header.laterality,
        "ethnicity": header.ethnicity,
    }
    if header.pixel_size is not None:
        values |= {"mpp_x": f"{header.pixel_size.x_um:g}", "mpp_y": f"{header.pixel_size.y_um:g}"}
    return {name: text for name, text in values.items() if text}
