"""PAD-UFES-20: smartphone images with 22 columns of the patient; masks, which others drew, where a folder has them."""

from __future__ import annotations

from pathlib import PurePosixPath

from napari_melanoma.data.source_files import SourceTree, table_rows
from napari_melanoma.data.sources import Record, SourceSpec
from napari_melanoma.data.vocabulary import harmonised

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
where you have them, masks/PAT_*.png or PAT_*_mask.png (the set itself has none)""",
    images=2298,
)
IMAGE = r"(PAT_\d+_\d+_\d+)\.(?:png|jpe?g)"
MASK = r"(PAT_\d+_\d+_\d+)(?:_mask|_segmentation)?\.(?:png|bmp)"
MASKS = r"(?:^|/|[ _-])(?:lesion_)?masks?(?:/|$)"


def find(tree: SourceTree) -> list[Record]:
    """Find its images; the patient is known, and a lesion's number is unique only within its patient.

    Parameters
    ----------
    tree : SourceTree
        Of the folder that it was downloaded into.

    Returns
    -------
    list of Record
        Empty where there are none.
    """
    rows = (harmonised(row) for row in table_rows(tree.text(r"(?:PAD-UFES-20_)?metadata\.csv") or ""))
    known = {PurePosixPath(row.pop("image_id")).stem: row for row in rows if "image_id" in row}
    plain = SourceTree((file for file in tree.files if "mask" not in file.name.lower()), tree.folder)
    masks = {**tree.find("", r"(PAT_\d+_\d+_\d+)_mask\.png"), **tree.find(MASKS, MASK)}
    common = {"source": SPEC.name, "modality": SPEC.modality}
    return [
        Record(image_id, image, masks.get(image_id), {**common, **_patient(image_id), **known.get(image_id, {})})
        for image_id, image in sorted(plain.find("", IMAGE).items())
    ]


def _patient(image_id: str) -> dict[str, str]:
    """Patient and lesion as the name of an image states them, for an image that is missing in the table."""
    _, patient, lesion, _ = image_id.split("_")
    return {"patient_id": f"PAT_{patient}", "lesion_id": lesion}
