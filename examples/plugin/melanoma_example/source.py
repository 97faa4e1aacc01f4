"""MED-NODE: macroscopic photographs of nevi and melanomas, a folder for each class."""

from __future__ import annotations

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import SourceRecord, SourceSpec

SPEC = SourceSpec(
    name="med_node",
    title="MED-NODE",
    licence="research only; ask the authors",
    url="https://www.cs.rug.nl/~imaging/databases/melanoma_naevi/",
    modality="macroscopic",
    reference="Giotis et al. 2015, doi:10.1016/j.eswa.2015.04.034",
    layout="""\
melanoma/*.jpg (70)
naevus/*.jpg (100)""",
    images=170,
    folders="med[-_ ]?node",
)
CLASSES = ("melanoma", "naevus")


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; the set has no masks, patients or ages."""
    found = []
    for name in CLASSES:
        for number, image in tree.find_files(rf"(?:^|/){name}$", r"(\d+)\.jpe?g").items():
            values = {"modality": SPEC.modality, "diagnosis": name}
            found.append(SourceRecord(f"{name}_{number}", image, None, values))
    return sorted(found, key=lambda record: record.image_id)
