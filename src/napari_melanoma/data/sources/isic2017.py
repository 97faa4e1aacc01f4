"""ISIC 2017, part 1: dermoscopic images with masks; tables of part 3 state the diagnosis, others age and sex."""

from __future__ import annotations

from collections.abc import Mapping

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import (
    ID_PATTERN,
    ChallengePart,
    RowsByImage,
    find_challenge_records,
    read_image_rows,
)
from napari_melanoma.data.table_mapping import parse_number

SPEC = SourceSpec(
    name="isic2017",
    title="ISIC 2017 (part 1)",
    licence="CC0",
    url="https://challenge.isic-archive.com/data/#2017",
    modality="dermoscopic",
    reference="Codella et al. 2018, arXiv:1710.05006",
    layout="""\
ISIC-2017_Training_Data/ISIC_*.jpg (2000), ISIC-2017_Validation_Data (150), ISIC-2017_Test_v2_Data (600)
ISIC-2017_Training_Part1_GroundTruth/ISIC_*_segmentation.png, ISIC-2017_Validation_Part1_GroundTruth,
ISIC-2017_Test_v2_Part1_GroundTruth; each a folder, or the zip file of that name; optional:
ISIC-2017_Training_Part3_GroundTruth.csv, ISIC-2017_Training_Data_metadata.csv and those of the other parts""",
    images=2750,
    ids=ID_PATTERN,
    folders="isic[-_ ]?2017",
)
NAMES = (  # split, and the name of the part in files
    ("train", "Training"),
    ("val", "Validation"),
    ("test", "Test_v2"),
)
PARTS = tuple(
    ChallengePart(split, f"ISIC-2017_{name}_Data", f"ISIC-2017_{name}_Part1_GroundTruth") for split, name in NAMES
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; ``nevus`` means, as in the challenge, neither melanoma nor seborrheic keratosis."""
    rows_by_image: RowsByImage = {}
    for split, name in NAMES:
        part = read_image_rows(tree, rf"ISIC-2017_{name}_Data_metadata\.csv")
        for image_id, row in read_image_rows(tree, rf"ISIC-2017_{name}_Part3_GroundTruth\.csv").items():
            part[image_id] = PackedRow({**part.get(image_id, {}), **_translate_columns(row)})
        rows_by_image |= {image_id: row.with_defaults({"split": split}) for image_id, row in part.items()}
    return find_challenge_records(tree, PARTS, SPEC, rows_by_image)


def _translate_columns(row: Mapping[str, str]) -> dict[str, str]:
    """Translate the columns of part 3, which are 0.0 or 1.0, to ours."""
    melanoma, keratosis = ((parse_number(row.get(name, "")) or 0) > 0 for name in ("melanoma", "seborrheic_keratosis"))
    diagnosis = "melanoma" if melanoma else "seborrheic keratosis" if keratosis else "nevus"
    return {"diagnosis": diagnosis, "melanoma": str(int(melanoma))}
