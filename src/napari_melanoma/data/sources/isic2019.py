"""ISIC 2019: dermoscopic images of eight classes without masks, most of them from HAM10000 and BCN20000."""

from __future__ import annotations

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import (
    ID_PATTERN,
    IMAGE_PATTERN,
    RowsByImage,
    join_records,
    parse_one_hot,
    read_image_rows,
    read_table_rows,
)
from napari_melanoma.data.table_mapping import strip_image_suffix

SPEC = SourceSpec(
    name="isic2019",
    title="ISIC 2019",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2019",
    modality="dermoscopic",
    reference="Tschandl et al. 2018, doi:10.1038/sdata.2018.161; Codella et al. 2018, arXiv:1710.05006; "
    "Hernandez-Perez et al. 2024, doi:10.1038/s41597-024-03387-w",
    layout="""\
ISIC_2019_Training_Input/ISIC_*.jpg (25331), a folder or the zip file of that name
ISIC_2019_Training_GroundTruth.csv, ISIC_2019_Training_Metadata.csv
optional: ISIC_2019_Test_Input (8238), ISIC_2019_Test_Metadata.csv, ISIC_2019_Test_GroundTruth.csv""",
    images=25331,
    folders="isic[-_ ]?2019",
    ids=ID_PATTERN,
)
PARTS = (("train", "Training"), ("test", "Test"))
IMAGES = r"(?:^|/)ISIC_2019_(?:Training|Test)_Input(?:/|$)"
STEM = IMAGE_PATTERN.replace(r"(ISIC_\d+)", r"(ISIC_\d+(?:_downsampled)?)")  # in the names of some files
CLASSES = {name: name for name in ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")}  # UNK is not a class


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; several images may show one lesion (``lesion_id``)."""
    rows_by_image: RowsByImage = {}
    for split, part in PARTS:
        rows = read_image_rows(tree, rf"ISIC_2019_{part}_Metadata\.csv", SPEC.name)
        for row in read_table_rows(tree, rf"ISIC_2019_{part}_GroundTruth\.csv"):
            image_id, word = strip_image_suffix(row.get("image", "")), parse_one_hot(row, CLASSES)
            if image_id:
                diagnosis = {"diagnosis": word} if word else {}
                rows[image_id] = PackedRow({**rows.get(image_id, {}), **diagnosis})
        rows_by_image |= {image_id: row.with_defaults({"split": split}) for image_id, row in rows.items()}
    return join_records(tree.find_files(IMAGES, STEM), {}, rows_by_image, {"modality": SPEC.modality})
