"""Columns that a network must not get, because they are names, hold the answer, or exist only where it is known."""

from __future__ import annotations

import re

from napari_melanoma.data.column_names import meant_by_any
from napari_melanoma.data.table_schema import AS_GIVEN, READER

NAMES = ("image_id", "patient_id", "lesion_id", "near_duplicate_of", "path", "mask_path")
PLACES = ("split", "fold", "review", "licence", "attribution", "copyright_license")
DIAGNOSES = ("diagnosis", "diagnosis_detail", "diagnosis_by", "target", "melanoma")
# As sources call them (PAD-UFES-20, PH2, ISIC 2017, 2020 and 2024, Fitzpatrick17k, lesion sizes) beside what the table
# knows to mean a diagnosis: the answers of other models and of crowds, and what is filled in for one diagnosis alone.
LIKE_A_DIAGNOSIS = re.compile(
    r"diagnos|histo(log|path)|malignan|benign|biops|label|mpath|\bdx|iddx|seborrheic_keratosis|_score$|_confidence$"
    r"|^(mel|bcc|scc|nevus)_|^melanocytic$|^atypia$|^derm_fib$"
)
A_NAME = re.compile(r"(.*_)?(id|name)|mrn", re.IGNORECASE)
OTHERWISE = "other_"  # before the name of a column: what a second row of an image says there
FOUND_LATER = ("depth_mm", "ulceration", "mitoses_per_mm2", "clark", "metastasis", "mel_thick_mm", "mel_mitotic_index")
DEPTHS = ("depth_mm", "clark", "mel_thick_mm")  # one says the other


def why_not(name: str, target: str = "diagnosis") -> str:
    """Say why a column cannot be an input.

    Returns "" where it can be one; else a clause that goes after the column's name.
    """
    column = name.removesuffix(AS_GIVEN).removeprefix(OTHERWISE)
    column = "depth_mm" if READER.fullmatch(column) else column
    return next(filter(None, (_why_not(one, target) for one in (column, *sorted(meant_by_any(column))))), "")


def _why_not(column: str, target: str) -> str:
    """Why a column of this meaning cannot be an input."""
    if column in NAMES or A_NAME.fullmatch(column):
        return "is a name, which says nothing of another patient"
    if column in PLACES or column.startswith("split_"):
        return "says how a row is kept, not what is seen"
    if column == target or (column in DEPTHS and target in DEPTHS):
        return "holds the answer"
    if target not in DIAGNOSES:
        return ""
    if column in DIAGNOSES or LIKE_A_DIAGNOSIS.search(column.lower()):
        return "holds the answer, or was decided by whoever suspected it"
    return "is found only once the diagnosis is known" if column in FOUND_LATER else ""
