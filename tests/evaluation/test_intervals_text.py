"""The text of an interval is made from what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.pipeline import interval_text
from napari_melanoma.metrics.statistics import bootstrap_interval


def images(groups: list[str]) -> list[Sample]:
    """Images of a data set; an empty group is that of an image whose patient and lesion are unknown."""
    return [
        Sample(f"i{number}", Path(), None, f"set/{group or f'i{number}'}", "", "set")
        for number, group in enumerate(groups)
    ]


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (
            ["p1", "p1", "p2"],
            "95 % bootstrap interval (2000 rounds, seed 0), widened by 816.8 %, over 2 patients or lesions",
        ),
        ([""] * 40, "(2000 rounds, seed 0), widened by 4.5 %, over 40 images; patients unknown"),
        (["p1", "p1", "", ""], "over 3 patients or lesions (of 2 images the patient is unknown: each counts as one)"),
        ([f"p{number}" for number in range(10_000)], "95 % normal interval over 10,000 patients or lesions"),
        (["p1", "p1"], "no interval: one patient or lesion"),
    ],
    ids=["few patients", "no patients", "some patients", "many patients", "one patient"],
)
def test_text(groups: list[str], text: str) -> None:
    assert text in interval_text(images(groups))


def test_the_interval_of_a_calibration_error_is_widened_for_few_patients() -> None:
    drawn = np.random.default_rng(3).normal(0.2, 0.02, 2000)
    few, many = (bootstrap_interval(0.2, drawn, groups, biased=True) for groups in (5, 5000))
    reach = (many[1] - many[0]) / 2
    assert reach == pytest.approx(1.96 * drawn.std(ddof=1), rel=1e-3)
    # Student's t with 4 degrees of freedom is 2.776; the variance of a bootstrap of 5 is too small by 4 / 5.
    assert (few[1] - few[0]) / 2 == pytest.approx(reach * 2.776 / 1.96 * np.sqrt(5 / 4), rel=1e-3)
