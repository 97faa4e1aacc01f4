"""A user's own DICOM files: a table of values from their headers, without tags that identify the patient."""

from __future__ import annotations

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import SourceRecord, describe_own_files, list_header_values, read_dicom_header
from napari_melanoma.privacy.pseudonyms import pseudonym

SOURCE = describe_own_files(
    name="dicom",
    title="a folder of DICOM files",
    url="your own archive",
    layout="DICOM files (*.dcm, *.dicom, or without a suffix) in folders of any name, or in zip files",
)
SUFFIXES = (".dcm", ".dicom", "")
AUXILIARY_IMAGES = ("label", "overview", "thumbnail")  # additional pictures of a slide scanner


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images and read their headers; files, patients and lesions get pseudonyms, names and dates are left out.

    Returns records without an image, because a copied DICOM file would contain the patient's name.
    """
    records: dict[str, SourceRecord] = {}
    for file in tree.files:
        header = read_dicom_header(file, tree) if file.suffix in SUFFIXES else None
        if header is not None and header.has_image and header.shows not in AUXILIARY_IMAGES:
            image_id = pseudonym(file.name, "image")
            records[image_id] = SourceRecord(image_id, None, None, list_header_values(header), original=file.name)
    return [records[image_id] for image_id in sorted(records)]
