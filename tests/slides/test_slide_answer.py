"""The headline of a slide: the areas of the chosen class, or what to do next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from napari_melanoma.core.headline import Headline
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.slides.lesions import SlideLesion, lesions_table
from napari_melanoma.slides.slide_answer import NO_RESULTS, describe_slide_answer

AREA = SlideLesion(
    index=1,
    label="Adnexa",
    probability=0.6,
    presence=0.6,
    area_px=100.0,
    perimeter_px=40.0,
    area_mm2=0.05,
    perimeter_mm=1.0,
    height_mm=0.2,
    width_mm=0.2,
    extent=0.8,
    tissue_share=0.02,
    seed=(1.0, 1.0),
    polygons=(),
)
VALID = Validity().to_json()
AREAS = {
    "Dermis": {"mm2": 1.5, "percent": 68.2},
    "Adnexa": {"mm2": 0.1, "percent": 4.9},
    "Fat": {"mm2": 0.6, "percent": 26.9},
}
PAINTED: dict[str, Any] = {
    "validity": VALID,
    "model": {"name": "skin", "kind": "dense"},
    "areas": AREAS,
    "class_map": {"tumor": None},
    "target": None,
    "lesions": [],
}
TILES: dict[str, Any] = {
    "validity": VALID,
    "model": {"name": "tiles", "kind": "classification"},
    "target": "melanoma",
    "probability": 0.91,
    "probability_method": "top_k",
    "scores": {"mean": {"melanoma": 0.22}, "maximum": {"melanoma": 0.97}, "top_k": {"melanoma": 0.91}},
    "tiles_done": 350,
    "lesions": lesions_table([replace(AREA, label="malignant"), replace(AREA, index=2, label="benign")]),
}
NO_PEAK = "Tissue, not tumor"  # the first part
LESIONS = [AREA, replace(AREA, index=2, area_mm2=0.057, tissue_share=0.029)]


@pytest.mark.parametrize(
    ("content", "target", "lesions", "highest", "text", "peak"),
    [
        (
            PAINTED,
            "Adnexa",
            LESIONS,
            0.7,
            "Adnexa: 2 areas, 0.107 mm² (4.9 % of the analyzed area)",
            "Highest on the map 0.70",
        ),
        (PAINTED, "Adnexa", [], 0.31, "Adnexa: no area at this threshold", "Highest on the map 0.31"),
        (PAINTED, "Adnexa", None, None, "Adnexa: areas are being detected", NO_PEAK),
        (
            PAINTED,
            "Adnexa",
            [replace(AREA, area_mm2=None)],
            None,
            "Adnexa: 1 area, 2.0 % of the analyzed area",
            NO_PEAK,
        ),
        (TILES, "", None, None, "Melanoma: 2 lesions, 0.1 mm² (4.0 % of the tissue)", "Highest on the map 0.97"),
        (TILES, "nevus", None, None, "Nevus: lesions are being detected", None),
        (
            {**TILES, "lesions": []},
            "melanoma",
            None,
            None,
            "Melanoma: no lesion at this threshold",
            "Highest on the map 0.97",
        ),
    ],
)
def test_the_areas_of_the_chosen_class(
    content: dict[str, Any],
    target: str,
    lesions: list[SlideLesion] | None,
    highest: float | None,
    text: str,
    peak: str | None,
) -> None:
    found = describe_slide_answer(content, target, lesions, highest)
    assert found.text == text
    assert next(iter(found.parts), None) == peak


def test_the_parts_give_the_slide_as_a_whole() -> None:
    found = describe_slide_answer(TILES)
    assert found.parts == (
        "Highest on the map 0.97",
        "1 malignant",
        "slide: melanoma 0.91, mean of the 10 highest tiles",
    )
    assert found.detail == "melanoma: mean of all tiles 0.22, highest value 0.97."
    assert describe_slide_answer(PAINTED, "Adnexa", LESIONS).parts == ("Tissue, not tumor",)
    attention = {"validity": VALID, "target": "melanoma", "scores": {"attention": {"melanoma": 0.34}}, "lesions": []}
    assert describe_slide_answer(attention).text == "Melanoma 0.34, attention over all tiles"


def test_what_to_do_next() -> None:
    assert describe_slide_answer({}) == Headline("", (NO_RESULTS,))
    found = describe_slide_answer(PAINTED)
    assert found.text == "Tissue, not tumor: choose a class to see its areas"
    assert found.parts == ("Dermis 1.5 mm² (68.2 %)", "Fat 0.6 mm² (26.9 %)", "Adnexa 0.1 mm² (4.9 %)")
    numbers = {"validity": VALID, "target": None, "scores": {"mean": {"depth": 1.2}}, "lesions": []}
    assert describe_slide_answer(numbers).text == "Analyzed: the model of these results detects no areas"


def test_results_that_are_not_valid_have_no_numbers_until_they_are_requested() -> None:
    strange = ValidityInputs("tiles", distance=2.0, limit=1.0).check()
    content = TILES | {"validity": strange.to_json()}
    found = describe_slide_answer(content)
    reason = "It differs from the data that 'tiles' was trained on"
    assert found == Headline("Not valid: the image is out of distribution", (reason,), tone="invalid")
    assert describe_slide_answer(content, is_shown_anyway=True).text.startswith("Melanoma: 2 lesions, ")
    assert describe_slide_answer({name: value for name, value in TILES.items() if name != "validity"}).tone == "invalid"


def test_a_demonstration_says_so_first() -> None:
    content = TILES | {"validity": Validity(demonstration=True).to_json()}
    assert describe_slide_answer(content).text.startswith("Demonstration model: Melanoma: 2 lesions")
