"""ISIC 2024 (SLICE-3D): tiles of 15 mm cut from 3D total-body photographs, with measurements by the camera's software.

The reader is based on the published names of columns and files; it was tested with the challenge's public test table
and a list of labels.
"""

from __future__ import annotations

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import ID_PATTERN, IMAGE_PATTERN, join_records, read_image_rows

SPEC = SourceSpec(
    name="isic2024",
    title="ISIC 2024 (SLICE-3D)",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2024",
    modality="tbp_tile",
    reference="Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w",
    layout="""\
train-image/image/ISIC_*.jpg (401059), image or ISIC_2024_Training_Input; a folder, or the zip file of that name
train-metadata.csv, or ISIC_2024_Training_GroundTruth.csv and ISIC_2024_Training_Supplement.csv
optional: test-metadata.csv and lists of labels, ISIC_2024_label_list*.csv
(train-image.hdf5 is not read: unpack train-image.zip; copyright_license has the licence of the permissive part)""",
    images=401059,
    folders="isic[-_ ]?2024(?![-_ ]?path)",
    ids=ID_PATTERN,
)
TABLES = (
    r"train-metadata\.csv",
    r"ISIC_2024_(?:Training|Permissive_Training)_(?:GroundTruth|Supplement|Metadata)\.csv",
    r"(?:ISIC_2024_)?test-metadata(?:_sample)?\.csv",
    r"ISIC_2024_label_list\w*\.csv",
)
LIST_SPLIT = "split_of_the_list"  # column: the split in a list of labels
IMAGES = r"(?:^|/)(?:image|train-image|ISIC_2024_(?:Permissive_)?Training_Input)(?:/|$)"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; in the full table all have a ``patient_id``, but few a ``lesion_id``.

    The set has no official splits. The split in a list of labels is by the author of the list and may separate images
    of one patient, so it is kept under another name.
    """
    rows = read_image_rows(tree, "|".join(TABLES), SPEC.name)
    for image_id, row in rows.items():
        if "split" in row:
            rows[image_id] = PackedRow({LIST_SPLIT if name == "split" else name: text for name, text in row.items()})
    return join_records(tree.find_files(IMAGES, IMAGE_PATTERN), {}, rows, {"modality": SPEC.modality})
