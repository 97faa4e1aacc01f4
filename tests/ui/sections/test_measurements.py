"""What the Measurements section shows, without widgets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from napari_melanoma.imaging.measurements import measure_lesion
from napari_melanoma.ui.sections.measurements import format_value, list_lesions, list_measurements

IN_PIXELS = {"area_px": 1600.0, "max_diameter_px": 51.25}
IN_MM = {"area_mm2": 14.2, "max_diameter_mm": 5.123}
VALID, INVALID = SimpleNamespace(valid=True), SimpleNamespace(valid=False)
MELANOMA = SimpleNamespace(positive="melanoma", probability=0.31, digits=2, interval=(0.2, 0.44), validity=VALID)
WITHOUT_INTERVAL = SimpleNamespace(positive="melanoma", probability=0.04, digits=2, interval=None, validity=VALID)
NOT_VALID = SimpleNamespace(positive="melanoma", probability=0.31, digits=2, interval=(0.2, 0.44), validity=INVALID)


def result(*lesions: dict[str, float], in_mask: int = 1) -> Any:
    first = lesions[0] if lesions else {}
    listed = lesions if len(lesions) > 1 else ()
    return SimpleNamespace(measurements=first, lesion_measurements=listed, mask_parts=(None,) * in_mask)


class Case(NamedTuple):
    name: str
    result: Any
    predictions: tuple[Any, ...]
    lesions: tuple[tuple[str, ...], ...]
    in_mask: tuple[bool, ...]


TWO = result(IN_PIXELS | IN_MM, IN_PIXELS)
PIXELS = ("2", "1,600 px²", "51.2 px")
CASES = [
    Case("no lesion", result(), (), (), ()),
    Case("one lesion has no list", result(IN_PIXELS), (), (), ()),
    Case("not predicted yet", TWO, (), (("1", "14.2 mm²", "5.12 mm", ""), (*PIXELS, "")), (True, False)),
    Case(
        "a prediction for each",
        TWO,
        (MELANOMA, WITHOUT_INTERVAL),
        (("1", "14.2 mm²", "5.12 mm", "0.31 (0.20–0.44)"), (*PIXELS, "0.04")),
        (True, False),
    ),
    Case(
        "no number of a prediction that is not valid",
        TWO,
        (NOT_VALID, WITHOUT_INTERVAL),
        (("1", "14.2 mm²", "5.12 mm", "not valid"), (*PIXELS, "0.04")),
        (True, False),
    ),
    Case(
        "predictions of another number of lesions",
        result(IN_PIXELS, IN_PIXELS, in_mask=2),
        (MELANOMA,),
        (("1", *PIXELS[1:], ""), (*PIXELS, "")),
        (True, True),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_list_of_lesions(case: Case) -> None:
    rows = list_lesions(case.result, case.predictions)
    assert tuple(row.cells for row in rows) == case.lesions
    assert tuple(row.is_in_mask for row in rows) == case.in_mask


def test_measurements_for_statistics_are_not_listed() -> None:
    mask = np.zeros((80, 80), bool)
    mask[20:60, 30:70] = True
    values = measure_lesion(mask, np.full((80, 80, 3), 120, np.uint8), None)
    names = [row.cells[0] for row in list_measurements(values)]
    assert names == [
        *("Area", "Perimeter", "Maximum diameter", "Minimum diameter", "Asymmetry, long axis"),
        *("Asymmetry, short axis", "Border irregularity", "Colors", "Contrast to the skin"),
    ]
    mask[5:10, 5:10] = True
    assert "Parts" in [row.cells[0] for row in list_measurements(measure_lesion(mask, None, None))], "more than one"


def test_a_row_for_each_quantity() -> None:
    rows = {row.cells[0]: row.cells[1:] for row in list_measurements(IN_PIXELS | IN_MM)}
    assert rows["Area"] == ("1,600 px²", "14.2 mm²")
    without_scale = list_measurements(IN_PIXELS)
    assert [row.cells[2] for row in without_scale] == ["", ""]
    assert all(row.tooltip.startswith(f"{row.cells[0]}: ") for row in without_scale)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1600.0, "1,600 px"), (999.6, "1,000 px"), (51.25, "51.2 px"), (3.0, "3 px"), (float("nan"), "–")],
)
def test_significant_digits(value: float, text: str) -> None:
    assert format_value(value, "px") == text
