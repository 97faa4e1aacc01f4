"""PH2: dermoscopic images of one clinic with masks, in a folder for each, and a table of dermoscopic criteria."""

from __future__ import annotations

import re
from collections.abc import Iterator

from napari_melanoma.data.dataset import PackedRow
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import join_records

SPEC = SourceSpec(
    name="ph2",
    title="PH2",
    licence="research and education only, no redistribution",
    url="https://www.fc.up.pt/addi/ph2%20database.html",
    modality="dermoscopic",
    reference="Mendonca et al. 2013, doi:10.1109/EMBC.2013.6610779",
    layout="""\
PH2 Dataset images/IMD*/IMD*_Dermoscopic_Image/IMD*.bmp (200)
PH2 Dataset images/IMD*/IMD*_lesion/IMD*_lesion.bmp
PH2_dataset.txt
the archive is a .rar file: unpack it first""",
    images=200,
    folders="ph2(dataset)?",
)
CLINICAL = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
DIAGNOSES = {"0": "nevus", "1": "nevus", "2": "melanoma"}
COLORS = {"1": "white", "2": "red", "3": "light brown", "4": "dark brown", "5": "blue-grey", "6": "black"}
CRITERIA = (
    *("asymmetry_0_1_2", "pigment_network_AT_T", "dots_globules_A_AT_T", "streaks_A_P", "regression_areas_A_P"),
    "blue_whitish_veil_A_P",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; the set has no patients, ages, sexes or splits."""
    rows = {image_id: PackedRow(row) for image_id, row in _parse_table(tree.read_text(r"PH2_dataset\.txt") or "")}
    masks = tree.find_files(r"(?:^|/)IMD\d+_lesion$", r"(IMD\d+)_lesion\.(?:bmp|png)")
    images = tree.find_files("_Dermoscopic_Image$", r"(IMD\d+)\.(?:bmp|png|jpe?g)")
    return join_records(images, masks, rows, {"modality": SPEC.modality})


def _parse_table(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Parse the table, whose cells are between single or double bars; diagnoses and colors are numbers.

    Yields the image id and the values by column.
    """
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"\|+", line.strip().strip("|"))]
        if len(cells) < 10 or not cells[0].startswith("IMD"):
            continue
        image_id, histology, code, *criteria = cells
        values = {"diagnosis": DIAGNOSES.get(code, ""), "clinical_diagnosis": CLINICAL.get(code, "")}
        values |= {"histological_diagnosis": histology, **dict(zip(CRITERIA, criteria, strict=False))}
        values["colors"] = ", ".join(COLORS.get(number, number) for number in criteria[len(CRITERIA)].split())
        yield image_id, values
