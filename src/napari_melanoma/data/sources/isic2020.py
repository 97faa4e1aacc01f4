"""ISIC 2020 (SIIM-ISIC): dermoscopic images of 2,056 patients, with a table of duplicates."""

from __future__ import annotations

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import (
    ID_PATTERN,
    IMAGE_PATTERN,
    RowsByImage,
    join_records,
    read_image_rows,
    read_table_rows,
)

SPEC = SourceSpec(
    name="isic2020",
    title="ISIC 2020 (SIIM-ISIC)",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2020",
    modality="dermoscopic",
    reference="Rotemberg et al. 2021, doi:10.1038/s41597-021-00815-z",
    layout="""\
ISIC_2020_Training_JPEG/train/ISIC_*.jpg (33126), ISIC_2020_Training_Input or train
ISIC_2020_Training_GroundTruth_v2.csv, ISIC_2020_Training_GroundTruth.csv or train.csv
optional: ISIC_2020_Training_Duplicates.csv and the test part, which has no labels:
ISIC_2020_Test_JPEG or test (10982), ISIC_2020_Test_Metadata.csv or test.csv
each image folder a folder, or the zip file of that name""",
    images=33126,
    folders="isic[-_ ]?2020",
    ids=ID_PATTERN,
)
# Split, and patterns of the tables and folders of its images
PARTS = (
    ("train", r"(?:ISIC_2020_Training_GroundTruth(?:_v2)?|train)\.csv", r"ISIC_2020_Training_(?:JPEG|Input)|train"),
    ("test", r"(?:ISIC_2020_Test_Metadata|test)\.csv", r"ISIC_2020_Test_(?:JPEG|Input)|test"),
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; the second image of a duplicate pair, by name, gets ``near_duplicate_of``."""
    rows_by_image: RowsByImage = {}
    images: dict[str, SourceFile] = {}
    for split, tables, folders in PARTS:
        rows = read_image_rows(tree, tables, SPEC.name)
        images |= (images_of_part := tree.find_files(rf"(?:^|/)(?:{folders})(?:/|$)", IMAGE_PATTERN))
        rows |= {
            image_id: PackedRow({})
            for image_id in images_of_part
            if image_id not in rows and image_id not in rows_by_image
        }
        rows_by_image |= {image_id: row.with_defaults({"split": split}) for image_id, row in rows.items()}
    for row in read_table_rows(tree, r"ISIC_2020_Training_Duplicates\.csv"):
        first, second = sorted((row.get("image_name_1", ""), row.get("image_name_2", "")))
        if first in rows_by_image and second in rows_by_image:
            rows_by_image[second] = PackedRow({"near_duplicate_of": first, **rows_by_image[second]})
    return join_records(images, {}, rows_by_image, {"modality": SPEC.modality})
