"""What a table says of rows that learnt nothing, of one patient, and of images with the same name in two sets."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import NO_INTERVAL
from napari_melanoma.workflows.reproduce_found import Found
from napari_melanoma.workflows.reproduce_papers import read_paper
from napari_melanoma.workflows.reproduce_result import _cells, differences, lines


def judged(row: str, domain: str, value: float, count: int = 3, found: str = "1") -> list[dict[str, str]]:
    about = [{"image_id": str(n), "domain": domain, "group": f"{domain}/{n}", "found": found} for n in range(count)]
    return [{**image, **dict.fromkeys(METRICS, str(value))} for image in about]


def found(row: str, images: list[dict[str, str]]) -> Found:
    return Found(read_paper("P4").row(row), 0.5, images, 1000, "less")


def test_images_of_two_sets_with_one_name_are_two_images() -> None:
    old = found("transfer-m", judged("", "dermofit", 0.5) + judged("", "smartskins", 0.9))
    new = found("transfer-zero-shot", judged("", "smartskins", 0.7) + judged("", "dermofit", 0.5))
    assert "JA -10.0 (" in differences([old, new], ["JA"])[0]
    other = found("transfer-zero-shot", judged("", "elsewhere", 0.5))
    assert differences([old, other], ["JA"]) == []


@pytest.mark.parametrize(
    ("images", "remark"),
    [
        (judged("", "dermofit", 0, found="0"), "found no lesion in 3 of 3: learnt nothing; less"),
        (judged("", "dermofit", 0.1, found="0") + judged("", "dermofit", 0.1, 1), "found no lesion in 3 of 4; less"),
        (judged("", "dermofit", 0.7), "less"),
    ],
)
def test_a_row_that_finds_nothing_is_no_result(images: list[dict[str, str]], remark: str) -> None:
    line = next(iter(lines([found("unet", images)])))
    assert _cells(line, ["JA"])[-1] == remark


def test_one_patient_gives_no_interval() -> None:
    line = next(iter(lines([found("unet", judged("", "dermofit", 0.7, 1))])))
    assert _cells(line, ["JA"])[-2] == f"70.0 ({NO_INTERVAL})"
    assert np.isnan(line.found.estimates()["JA"].low)
