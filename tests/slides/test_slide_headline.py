"""The probability that stands for a slide: its value, its name, and the values of other methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.results import (
    describe_other_scale,
    describe_other_scores,
    describe_prediction,
    describe_slide_score,
)
from napari_melanoma.slides.slide_table import SlideStatus, status_to_row

SCORES = {"mean": {"melanoma": 0.22}, "maximum": {"melanoma": 0.97}, "top_k": {"melanoma": 0.91}}
FOUND = {
    "target": "melanoma",
    "probability": 0.22,
    "probability_method": "mean",
    "scores": SCORES,
    "lesions": [],
    "tiles_done": 350,
}
ATTENTION = {
    "target": "melanoma",
    "probability": 0.34,
    "scores": {"attention": {"melanoma": 0.34}},
    "calibration": {"positive": "melanoma", "stated_prevalence": 0.05, "probability": 0.61},
}


def made(method: str, **options: Any) -> dict[str, Any]:
    return {
        **FOUND,
        "probability_method": method,
        "probability": SCORES[method]["melanoma"],
        "options": {"score": {"method": method, **options}},
    }


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "default": (
        made("top_k", top_k=10),
        "melanoma 0.91, mean of the 10 highest tiles",
        "melanoma: mean of all tiles 0.22, highest value 0.97.",
    ),
    "fewer tiles than k": (
        made("top_k", top_k=10) | {"tiles_done": 7},
        "melanoma 0.91, mean of the 7 highest tiles",
        "melanoma: mean of all tiles 0.22, highest value 0.97.",
    ),
    "mean on request": (
        made("mean", top_k=4),
        "melanoma 0.22, mean of all tiles",
        "melanoma: highest value 0.97, mean of the 4 highest tiles 0.91.",
    ),
    "maximum on request": (
        made("maximum"),
        "melanoma 0.97, highest value",
        "melanoma: mean of all tiles 0.22, mean of the 10 highest tiles 0.91.",
    ),
    "attention": (
        ATTENTION,
        "melanoma 0.34, attention over all tiles, at a stated prevalence of 0.05 (melanoma 0.61 without)",
        "",
    ),
    "attention as calibrated": (
        {**ATTENTION, "calibration": {"stated_prevalence": None, "probability": 0.34}},
        "melanoma 0.34, attention over all tiles",
        "",
    ),
    "no probability": ({"target": None, "probability": None, "scores": {}}, "", ""),
    "numbers": ({"target": None, "scores": {"mean": {"depth": 1.2}}}, "", ""),
}


@pytest.mark.parametrize(("content", "headline", "others"), CASES.values(), ids=CASES)
def test_the_headline_names_how_tiles_were_pooled(content: dict[str, Any], headline: str, others: str) -> None:
    assert describe_slide_score(content) == headline
    assert describe_other_scores(content) == others


def test_the_summary_counts_lesions() -> None:
    lesions = [{"label": "malignant"}, {"label": "benign"}]
    expected = "melanoma 0.22, mean of all tiles; 2 lesions, 1 malignant"
    assert describe_prediction(FOUND | {"lesions": lesions}) == expected
    assert describe_prediction({"target": None, "scores": {}}) == "analyzed"


def test_the_table_of_slides_has_the_same_number_as_the_headline() -> None:
    content = FOUND | dict.fromkeys(
        (
            "tissue_mm2",
            "breslow_mm",
            "breslow_interval_mm",
            "t_category",
            "tiles_failed",
            "tiles_total",
            "seconds",
            "mpp",
        )
    )
    content |= {"model": {"name": "tiles"}, "warnings": []}
    row = status_to_row(SlideStatus(Path("s.tif"), Path("s"), "done", content))
    assert (row["probability"], row["probability_method"]) == (0.22, "mean")
    assert row["probability_mean"] == 0.22
    whole = status_to_row(SlideStatus(Path("s.tif"), Path("s"), "done", {**content, **ATTENTION}))
    assert (whole["probability"], whole["probability_attention"]) == (0.34, 0.34)


@pytest.mark.parametrize(("now", "warns"), [(0.25, False), (0.5, True)])
def test_a_result_of_another_scale_has_a_warning(now: float, warns: bool) -> None:
    text = describe_other_scale({"mpp": [0.25, 0.25]}, PixelSize(now, now))
    assert ("measured at 0.25 µm per pixel; the slide is now set to 0.5." in text) is warns
