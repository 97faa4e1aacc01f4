"""ISIC 2018, task 1: dermoscopic images with masks, in the three parts of the challenge."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import ID_PATTERN, ChallengePart, find_challenge_records

SPEC = SourceSpec(
    name="isic2018",
    title="ISIC 2018 (task 1)",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2018",
    modality="dermoscopic",
    reference="Codella et al. 2019, arXiv:1902.03368; Tschandl et al. 2018, doi:10.1038/sdata.2018.161",
    layout="""\
ISIC2018_Task1-2_Training_Input/ISIC_*.jpg (2594), _Validation_Input (100), _Test_Input (1000)
ISIC2018_Task1_Training_GroundTruth/ISIC_*_segmentation.png, _Validation_GroundTruth, _Test_GroundTruth
each a folder, or the zip file of that name""",
    images=3694,
    ids=ID_PATTERN,
    folders="isic[-_ ]?2018",
)
PARTS = (
    ChallengePart("train", "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    ChallengePart("val", "ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    ChallengePart("test", "ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; the challenge publishes no diagnosis for this task."""
    return find_challenge_records(tree, PARTS, SPEC, {})
