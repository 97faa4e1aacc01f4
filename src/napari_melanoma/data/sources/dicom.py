"""A user's own DICOM files: a table of values from their headers, without tags that identify the patient."""

from __future__ import annotations

from zipfile import BadZipFile

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.sources import SourceRecord, SourceSpec
from napari_melanoma.io.dicom import DicomHeader, read_header
from napari_melanoma.privacy.pseudonyms import pseudonym

SPEC = SourceSpec(
    name="dicom",
    title="a folder of DICOM files",
    licence="that of its images",
    url="your own archive",
    modality="",
    reference="",
    layout="DICOM files (*.dcm, *.dicom, or without a suffix) in folders of any name, or in zip files",
    public=False,
)
SUFFIXES = (".dcm", ".dicom", "")
AUXILIARY_IMAGES = ("label", "overview", "thumbnail")  # additional pictures of a slide scanner
MAGIC, MAGIC_OFFSET = b"DICM", 128  # by which a file without suffix is recognized as DICOM


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images and read their headers; files, patients and lesions get pseudonyms, names and dates are left out.

    Returns records without an image, because a copied DICOM file would contain the patient's name.
    """
    records: dict[str, SourceRecord] = {}
    for file in tree.files:
        header = _read_header(file, tree) if file.suffix in SUFFIXES else None
        if header is not None and header.has_image and header.shows not in AUXILIARY_IMAGES:
            image_id = pseudonym(file.name, "image")
            records[image_id] = SourceRecord(image_id, None, None, _header_values(header))
    return [records[image_id] for image_id in sorted(records)]


def _read_header(file: SourceFile, tree: SourceTree) -> DicomHeader | None:
    """Read the header of a DICOM file; None for other files, and for unreadable ones, which are noted."""
    try:
        with file.open() as opened:
            opened.seek(MAGIC_OFFSET)
            if opened.read(len(MAGIC)) != MAGIC and not file.suffix:
                return None
            opened.seek(0)
            return read_header(opened)
    except (UnreadableImage, OSError, BadZipFile) as error:
        tree.notes.append((file.name, str(error)))
        return None


def _header_values(header: DicomHeader) -> dict[str, str]:
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
