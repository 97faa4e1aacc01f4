"""Tables of rows that have not learned, of a single patient, and of images with the same name in two data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.extensions.papers import papers
from napari_melanoma.extensions.papers.kinds import MASK_COLUMNS
from napari_melanoma.extensions.papers.paper_rows import RowResult, table_lines
from napari_melanoma.extensions.papers.papers import Budget, read_paper
from napari_melanoma.extensions.papers.tables import describe_validation, paper_tables
from napari_melanoma.metrics.statistics import NO_INTERVAL_TEXT, Estimate


def evaluated(row: str, domain: str, value: float, count: int = 3, found: str = "1") -> list[dict[str, str]]:
    about = [{"image_id": str(n), "domain": domain, "group": f"{domain}/{n}", "found": found} for n in range(count)]
    return [{**image, **dict.fromkeys(MASK_COLUMNS, str(value))} for image in about]


def found(row: str, images: list[dict[str, str]], *less: str, parameters: int | None = 1000) -> RowResult:
    return RowResult(read_paper("P4").rows[row], 0.5, images, parameters, less)


def noted(rows: list[RowResult]) -> tuple[str, ...]:
    return paper_tables(read_paper("P4"), rows)[0].notes


def written(row: RowResult) -> tuple[str, ...]:
    return paper_tables(read_paper("P4"), [row, found("r2-unet", evaluated("", "dermofit", 0.5), "other")])[0].rows[0]


def test_images_with_the_same_name_in_two_data_sets() -> None:
    old = found("transfer-m", evaluated("", "dermofit", 0.5) + evaluated("", "smartskins", 0.9))
    new = found("transfer-zero-shot", evaluated("", "smartskins", 0.7) + evaluated("", "dermofit", 0.5))
    assert "JA -10.0 (" in noted([old, new])[0]
    other = found("transfer-zero-shot", evaluated("", "elsewhere", 0.5))
    assert noted([old, other]) == ()


@pytest.mark.parametrize(
    ("images", "remark"),
    [
        (evaluated("", "dermofit", 0, found="0"), "found no lesion in 3 of 3: training failed; less"),
        (
            evaluated("", "dermofit", 0.1, found="0") + evaluated("", "dermofit", 0.1, 1),
            "found no lesion in 3 of 4; less",
        ),
        (evaluated("", "dermofit", 0.7), "less"),
    ],
)
def test_a_row_that_finds_nothing_is_noted(images: list[dict[str, str]], remark: str) -> None:
    assert written(found("unet", images, "less"))[-1] == remark


def test_one_patient_gives_no_interval() -> None:
    one = found("unet", evaluated("", "dermofit", 0.7, 1))
    assert f"70.0 ({NO_INTERVAL_TEXT})" in written(one)
    assert np.isnan(one.estimates["JA"].low)


def test_common_reductions_are_listed_once() -> None:
    images = evaluated("", "dermofit", 0.5)
    rows = [
        found("unet", images, "128 px", "8 channels"),
        found("r2-unet", images, "128 px"),
        found("attention-unet", []),
    ]
    baseline = replace(rows[2], parameters=None)
    table = paper_tables(read_paper("P4"), [*rows[:2], baseline])[0]
    assert table.introduction == ("Differences from the paper in every trained row: 128 px.",)
    assert [row[-1] for row in table.rows[:2]] == ["8 channels", ""]
    alone = paper_tables(read_paper("P4"), rows[:1])[0]
    assert alone.introduction == ("Differences from the paper in every row: 128 px; 8 channels.",)
    assert "Remarks" not in alone.columns
    untrained = paper_tables(read_paper("P4"), [replace(row, parameters=None) for row in rows[:2]])[0]
    assert untrained.introduction == ()


def test_columns_name_paper_and_reproduction() -> None:
    transfer = found("transfer-m", evaluated("", "pad_ufes", 0.5))
    table = paper_tables(read_paper("P4"), [transfer])[0]
    headings = [f"{group}, {name}" if group else name for group, name in zip(table.groups, table.columns, strict=True)]
    assert headings[:7] == ["Row", "Images, paper", "Images, ours", "n", "Parameters, ours", "T, paper", "T, ours"]
    cells = dict(zip(headings, table.rows[0], strict=True))
    assert (cells["Images, paper"], cells["JA, paper"]) == ("SMARTSKINS / Dermofit", "82.64 / 80.26")
    assert cells["JA, ours (95 % interval)"].startswith("50.0 (")


@pytest.mark.parametrize(
    ("paper", "budget", "role", "rows", "text"),
    [
        ("P1", "full", "A", ("a-only",), "20 % are used to choose the epoch and for calibration."),
        ("P3", "full", "S", ("multi-modal",), "20 % are used to choose the epoch and for calibration."),
        ("P3", "small", "S", ("multi-modal", "breslow"), "20 % are used for calibration."),
        (
            "P2",
            "small",
            "HAM10000",
            ("unetpp-folds", "cls-lite0", "cls-resnet50", "chain-lite0"),
            "10 % are used to choose the epoch (U-Net++ and refinement, five folds); 20 % are used to choose the epoch "
            "and for calibration (all others).",
        ),
        ("P3", "full", "S", ("breslow",), ""),
        ("P3", "full", "C", ("multi-modal",), ""),
    ],
)
def test_the_use_of_the_validation_set_is_that_of_the_recipes(
    paper: str, budget: Budget, role: str, rows: tuple[str, ...], text: str
) -> None:
    predicted = describe_validation([read_paper(paper).rows[name] for name in rows], budget, role)
    assert predicted == (f" Of the patients of the other folds, {text}" if text else "")


def test_the_metrics_of_a_row_are_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    row, counts = found("transfer-m", evaluated("", "dermofit", 0.5) + evaluated("", "elsewhere", 0.9)), list[int]()
    estimates = row.row.kind.estimates

    def counted(images: Sequence[Mapping[str, str]], others: Sequence[Mapping[str, str]]) -> dict[str, Estimate]:
        counts.append(len(images))
        return estimates(images, others)

    kind = replace(row.row.kind, estimates=counted)
    monkeypatch.setattr(papers, "kinds", lambda: {row.row.file.kind: kind})
    for _ in range(2):
        assert [line.result.estimates["JA"].count for line in table_lines([row])] == [3, 3]
    assert counts == [3, 3]
