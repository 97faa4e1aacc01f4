"""iToBoS 2024: regions of skin of about 7 x 9 cm, cut from 3D total-body photographs.

The reader is based on the published names of columns and files; no table was available for a test.
"""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import join_records, read_image_rows

SPEC = SourceSpec(
    name="itobos2024",
    title="iToBoS 2024",
    licence="as its page states",
    url="https://www.kaggle.com/competitions/itobos-2024-detection",
    modality="tbp_tile",
    reference="Saha et al. 2025, arXiv:2501.18270",
    layout="""\
train/images/*.png, test/images/*.png (16954 together); a folder, or a zip file
train/metadata.csv, test/metadata.csv with the columns image_id, age_at_baseline, body_part, sun_damage_score
(the boxes of train/labels are not masks and are left out)""",
    images=16954,
    folders="itobos([-_ ]?2024)?",
    lacks="labels of melanoma, and no masks",
)
IMAGE = r"(.+)\.(?:png|jpe?g)"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; an image shows many lesions, so there is no diagnosis and no mask."""
    records: dict[str, SourceRecord] = {}
    for split in ("train", "test"):
        part = tree.filter_files(lambda file, split=split: f"/{split}/" in f"/{file.name.lower()}")  # type: ignore[misc]
        rows = read_image_rows(part, r"(?:\w+_)?metadata\.csv", SPEC.name)
        images = part.find_files(r"(?:^|/)images(?:/|$)", IMAGE)
        for record in join_records(images, {}, rows, {"modality": SPEC.modality, "split": split}):
            records.setdefault(record.image_id, record)
    return [records[image_id] for image_id in sorted(records)]
