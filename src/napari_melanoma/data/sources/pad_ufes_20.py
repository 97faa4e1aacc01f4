"""PAD-UFES-20: smartphone images with 22 clinical columns, and masks by other authors if present."""

from __future__ import annotations

import re

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import join_records, read_image_rows

SPEC = SourceSpec(
    name="pad-ufes-20",
    title="PAD-UFES-20",
    licence="CC BY 4.0",
    url="https://doi.org/10.17632/zr7vgbcyr2.1",
    modality="macroscopic",
    reference="Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221",
    layout="""\
images/imgs_part_1/PAT_*.png, imgs_part_2, imgs_part_3 (2298 together); each a folder, or the zip file of that name
metadata.csv
optional: masks/PAT_*.png or PAT_*_mask.png (the set itself has none)""",
    images=2298,
    ids=r"PAT_\d+_\d+_\d+",
    folders="pad[-_ ]?ufes([-_ ]?20)?|pad$",
)
IMAGE = r"(PAT_\d+_\d+_\d+)\.(?:png|jpe?g)"
MASK = r"(PAT_\d+_\d+_\d+)(?:_mask|_segmentation)?\.(?:png|bmp)"
MASKS = r"(?:^|/|[ _-])(?:lesion_)?masks?(?:/|$)"


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; file names contain the patient, and the lesion's number, which is unique within the patient."""
    rows = read_image_rows(tree, r"(?:PAD-UFES-20_)?metadata\.csv", SPEC.name)
    rows = {image_id: row for image_id, row in rows.items() if re.fullmatch(SPEC.ids, image_id)}
    plain = tree.filter_files(lambda file: "mask" not in file.name.lower())
    masks = {**tree.find_files("", r"(PAT_\d+_\d+_\d+)_mask\.png"), **tree.find_files(MASKS, MASK)}
    return join_records(plain.find_files("", IMAGE), masks, rows, _ids_from_name)


def _ids_from_name(image_id: str) -> dict[str, str]:
    """Return default values of an image: patient and lesion from its name."""
    _, patient, lesion, _ = image_id.split("_")
    return {"modality": SPEC.modality, "patient_id": f"PAT_{patient}", "lesion_id": lesion}
