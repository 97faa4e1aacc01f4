"""ISIC 2016 (ISBI challenge), part 1: dermoscopic images with masks; tables of part 3 state the malignancy."""

from __future__ import annotations

from napari_melanoma.core.csv_files import CsvReader
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import ID_PATTERN, ChallengePart, find_challenge_records

SPEC = SourceSpec(
    name="isic2016",
    title="ISIC 2016 (part 1)",
    licence="CC0",
    url="https://challenge.isic-archive.com/data/#2016",
    modality="dermoscopic",
    reference="Gutman et al. 2016, arXiv:1605.01397",
    layout="""\
ISBI2016_ISIC_Part1_Training_Data/ISIC_*.jpg (900), ISBI2016_ISIC_Part1_Test_Data (379)
ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_*_Segmentation.png, ISBI2016_ISIC_Part1_Test_GroundTruth
each a folder, or the zip file of that name; optional:
ISBI2016_ISIC_Part3_Training_GroundTruth.csv, ISBI2016_ISIC_Part3_Test_GroundTruth.csv""",
    images=1279,
    ids=ID_PATTERN,
    folders="isic[-_ ]?2016",
)
PARTS = (
    ChallengePart("train", "ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
    ChallengePart("test", "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
)
MALIGNANT = ("malignant", "1", "1.0")


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; the challenge does not publish the diagnosis of benign lesions."""
    rows_by_image: dict[str, dict[str, str]] = {}
    for part, split in (("Training", "train"), ("Test", "test")):
        text = tree.read_text(rf"ISBI2016_ISIC_Part3B?_{part}_GroundTruth\.csv")
        rows = CsvReader((text or "").splitlines())  # the table has no header
        for image_id, word, *_ in (row for row in rows if len(row) > 1):  # a blank line is an empty row
            malignant = word.strip().lower() in MALIGNANT
            diagnosis = {"diagnosis": "melanoma"} if malignant else {"target": "0"}
            rows_by_image[image_id.strip()] = {"melanoma": str(int(malignant)), **diagnosis, "split": split}
    return find_challenge_records(tree, PARTS, SPEC, rows_by_image)
