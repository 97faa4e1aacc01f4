"""A user's own folder of images, optionally with masks and a table."""

from __future__ import annotations

import re

from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import pair_records, read_image_rows
from napari_melanoma.data.sources import SourceRecord, SourceSpec

SPEC = SourceSpec(
    name="folder",
    title="a folder of images",
    licence="that of its images",
    url="your own disk",
    modality="",
    reference="",
    layout="""\
images (JPEG, PNG, TIFF, BMP, WebP, HEIC, DICOM) in folders of any name, or in zip files
masks of the same name (PNG, TIFF, BMP, JPEG, WebP) in a folder with 'mask', 'segmentation' or 'ground truth' in its
name (or 'labels' next to 'images'), or next to the images as <image>_mask.png, <image>_segmentation.png,
<image>_gt.png, <image>_cp_masks.png (Cellpose); or the layout of nnU-Net: imagesTr/<image>_0000.png,
labelsTr/<image>.png, also with red, green and blue in three files
a table metadata.csv, dataset.csv, labels.csv or patients.csv with a column image_id, image, filename ... and,
if known, patient_id""",
    public=False,
)
TABLES = r"(?:dataset|metadata|labels|patients|clinical)\.(?:csv|tsv)"
WORKBOOKS = (".xlsx", ".xls", ".ods")


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images, with their masks and table rows; tables that are not read are noted."""
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    for file in tree.files:
        if file.suffix in WORKBOOKS:
            note = "this workbook was not read: save its sheet as metadata.csv if it describes the images"
        elif file.suffix in (".csv", ".tsv", ".tab") and not _is_read(file):
            note = "this table was not read: name it metadata.csv if it describes the images"
        else:
            continue
        tree.unread.append(file.name)
        tree.notes.append((file.name, note))
    return pair_records(tree, rows, {})


def _is_read(file: SourceFile) -> bool:
    return re.fullmatch(TABLES, file.name.rpartition("/")[2], re.IGNORECASE) is not None
