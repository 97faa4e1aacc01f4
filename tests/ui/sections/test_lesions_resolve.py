"""What the Lesions section states: summary, cells of the table and their order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, build_lesion_maps, find_lesions
from napari_melanoma.ui.sections.lesions.resolve import (
    LESIONS_LATER,
    LESIONS_NOW,
    NO_LESIONS,
    NOT_ASSESSED,
    describe_lesion,
    describe_lesions,
    format_cells,
    sort_key,
)
from napari_melanoma.ui.session.lesions import LesionSource, LesionState
from napari_melanoma.ui.session.results import AnalysisResults

PLACEMENT = MapPlacement(0, 0, 100, 100, PixelSize(1, 1))
CONFIG = LesionConfig(malignant_from=0.65)
HEATMAP: Any = SimpleNamespace(is_probability=True)
TARGET = {"target": "melanoma"}


def find_example():
    """Return a large lesion, a small one with higher probability, and a benign one."""
    presence = np.zeros((20, 30), np.float32)
    presence[2:8, 2:20] = 0.7
    presence[10, 2] = 0.99
    presence[14:18, 2:12] = 0.61
    return find_lesions(LesionMaps(presence, PLACEMENT), CONFIG)


LESIONS = find_example()
STATE = LesionState(LesionSource(Path(), "melanoma", (2000, 3000)), LESIONS, CONFIG)
EMPTY = replace(STATE, lesions=())
P_TEXT = "p: probability of malignancy"


@dataclass
class Case:
    name: str
    state: LesionState | None
    summary: str
    results: AnalysisResults = field(default_factory=AnalysisResults)
    is_corrected: bool = False


CASES = [
    Case("before an analysis", None, NO_LESIONS),
    Case("while it runs", None, LESIONS_LATER, AnalysisResults(is_running=True, heatmap=HEATMAP)),
    Case("while they are detected", None, LESIONS_NOW, AnalysisResults(content=TARGET, heatmap=HEATMAP)),
    Case("a model without lesions", None, NOT_ASSESSED, AnalysisResults(content={"score": 1})),
    Case("classified ones", STATE, f"3 lesions, 2 malignant, 1.49 mm² in total. {P_TEXT}, malignant from 0.65."),
    Case(
        "of a class without a scale",
        replace(STATE, lesions=(replace(LESIONS[0], label="nevus", area_mm2=None, malignancy=math.nan),)),
        "1 lesion. p: probability of melanoma, malignant from 0.65.",
    ),
    Case("none at this threshold", EMPTY, "No lesion at this threshold."),
    Case(
        "all removed",
        replace(EMPTY, removed=LESIONS[:2]),
        "No lesions left: 2 lesions were removed manually.",
        is_corrected=True,
    ),
    Case(
        "one removed, others not detected",
        replace(EMPTY, removed=LESIONS[:1]),
        "No lesion at this threshold; 1 lesion was removed manually.",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_summary(case):
    assert describe_lesions(case.state, case.results, is_corrected=case.is_corrected) == case.summary


def test_malignant_lesions_come_first_by_size():
    assert [(one.label, round(one.area_mm2, 2)) for one in LESIONS] == [
        ("malignant", 1.08),
        ("malignant", 0.01),
        ("benign", 0.4),
    ]


def test_cells_and_their_order():
    drawn = replace(LESIONS[0], origin="drawn", probability=math.nan, malignancy=math.nan, area_mm2=None)
    assert format_cells(LESIONS[0])[:4] == ("1", "malignant", "0.70", "1.08 mm²")
    assert format_cells(drawn)[1:4] == ("malignant *", "–", f"{drawn.area_px:,.0f} px")
    for column in range(5):
        assert all(sort_key(lesion, column)[0] is False for lesion in LESIONS)
    assert sort_key(drawn, 2) > max(sort_key(lesion, 2) for lesion in LESIONS)  # unknown values are last


def test_the_number_next_to_the_class_determines_it():
    values = np.broadcast_to(np.array([0.36, 0.28, 0.36], np.float32)[:, None, None], (3, 4, 4))
    classes = ("normal", "nevus", "melanoma")
    maps = build_lesion_maps(values, PLACEMENT, classes, "melanoma", is_dense=False)
    (lesion,) = find_lesions(maps, LesionConfig())
    assert format_cells(lesion)[1:3] == ("malignant", "0.56")
    tip = describe_lesion(lesion, "melanoma")
    assert "probability of malignancy 0.563\nprobability of melanoma (mean of the heatmap) 0.360" in tip
