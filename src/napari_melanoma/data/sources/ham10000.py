"""HAM10000: dermoscopic images of the Harvard Dataverse, with their table, and the masks of its fourth version."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import ID_PATTERN, IMAGE_PATTERN, MASK_PATTERN, join_records, read_image_rows

SPEC = SourceSpec(
    name="ham10000",
    title="HAM10000",
    licence="CC BY-NC 4.0",
    url="https://doi.org/10.7910/DVN/DBW86T",
    modality="dermoscopic",
    reference="Tschandl et al. 2018, doi:10.1038/sdata.2018.161; masks: 2020, doi:10.1038/s41591-020-0942-0",
    layout="""\
HAM10000_images_part_1/ISIC_*.jpg, HAM10000_images_part_2/ISIC_*.jpg (10015 together)
HAM10000_segmentations_lesion_tschandl/ISIC_*_segmentation.png
HAM10000_metadata.tab, HAM10000_metadata.csv or HAM10000_metadata
each image folder a folder, or the zip file of that name""",
    images=10015,
    ids=ID_PATTERN,
    folders="ham10000|ham$",
)
IMAGES = r"(?:^|/)(?:HAM10000_images(?:_part_[12])?|ISIC2018_Task3_Training_Input)(?:/|$)"
MASKS = r"(?:^|/)HAM10000_segmentations_lesion_tschandl(?:/|$)"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; several may show one lesion (``lesion_id``). The set has no splits."""
    rows = read_image_rows(tree, r"HAM10000_metadata(?:\.tab|\.csv|\.txt)?", SPEC.name)
    return join_records(
        tree.find_files(IMAGES, IMAGE_PATTERN), tree.find_files(MASKS, MASK_PATTERN), rows, {"modality": SPEC.modality}
    )
