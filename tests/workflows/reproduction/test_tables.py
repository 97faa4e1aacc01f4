"""What a table says of rows that learnt nothing, of one patient, and of images with the same name in two sets."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import NO_INTERVAL
from napari_melanoma.workflows.reproduction.found import Found
from napari_melanoma.workflows.reproduction.paper_files import read_paper
from napari_melanoma.workflows.reproduction.tables import paper_tables


def judged(row: str, domain: str, value: float, count: int = 3, found: str = "1") -> list[dict[str, str]]:
    about = [{"image_id": str(n), "domain": domain, "group": f"{domain}/{n}", "found": found} for n in range(count)]
    return [{**image, **dict.fromkeys(METRICS, str(value))} for image in about]


def found(row: str, images: list[dict[str, str]]) -> Found:
    return Found(read_paper("P4").rows[row], 0.5, images, 1000, "less")


def noted(rows: list[Found]) -> tuple[str, ...]:
    return paper_tables(read_paper("P4"), rows)[0].notes


def written(row: Found) -> tuple[str, ...]:
    return paper_tables(read_paper("P4"), [row])[0].rows[0]


def test_images_of_two_sets_with_one_name_are_two_images() -> None:
    old = found("transfer-m", judged("", "dermofit", 0.5) + judged("", "smartskins", 0.9))
    new = found("transfer-zero-shot", judged("", "smartskins", 0.7) + judged("", "dermofit", 0.5))
    assert "JA -10.0 (" in noted([old, new])[0]
    other = found("transfer-zero-shot", judged("", "elsewhere", 0.5))
    assert noted([old, other]) == ()


@pytest.mark.parametrize(
    ("images", "remark"),
    [
        (judged("", "dermofit", 0, found="0"), "found no lesion in 3 of 3: learnt nothing; less"),
        (judged("", "dermofit", 0.1, found="0") + judged("", "dermofit", 0.1, 1), "found no lesion in 3 of 4; less"),
        (judged("", "dermofit", 0.7), "less"),
    ],
)
def test_a_row_that_finds_nothing_is_no_result(images: list[dict[str, str]], remark: str) -> None:
    assert written(found("unet", images))[-1] == remark


def test_one_patient_gives_no_interval() -> None:
    one = found("unet", judged("", "dermofit", 0.7, 1))
    assert f"70.0 ({NO_INTERVAL})" in written(one)
    assert np.isnan(one.estimates["JA"].low)
