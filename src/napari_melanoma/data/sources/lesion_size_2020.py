"""Lesion size 2020: dermoscopic images of consecutive biopsies at one center, with the diameter of each lesion."""

from __future__ import annotations

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import ID_PATTERN, IMAGE_PATTERN, join_records, read_image_rows

SPEC = SourceSpec(
    name="lesion-size-2020",
    title="Lesion size 2020",
    licence="CC BY",
    url="https://api.isic-archive.com/collections/",
    modality="dermoscopic",
    reference="the collection of the ISIC archive of that name",
    layout="""\
lesion-size-2020_metadata.csv, lesion-size-2020_data_joined.csv (1295 rows each; one of them is enough)
optional: the images ISIC_*.jpg in any folder""",
    images=1295,
    ids=ID_PATTERN,
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; a ``patient_id`` that only repeats the image id is left out."""
    rows = read_image_rows(tree, r"lesion-size-2020_\w+\.csv", SPEC.name)
    for image_id, row in rows.items():
        if row.get("patient_id") == image_id:
            rows[image_id] = PackedRow({name: text for name, text in row.items() if name != "patient_id"})
    images = {image_id: image for image_id, image in tree.find_files("", IMAGE_PATTERN).items() if image_id in rows}
    return join_records(images, {}, rows, {"modality": SPEC.modality})
