"""What a paper says of its own rows, held against its table and ours."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.reproduction.paper_rows import RowResult
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.tables import describe_claims

PAPER = read_paper("P1")
TABLE = "Its own table contradicts this: SE 92.35 compared with 67.05, AUC 77.21 compared with 70.95."


def found(name: str, skill: float) -> RowResult:
    """A row that is right about so many images in ten."""
    draw = np.random.default_rng(0).random(200)
    values = ["0.9" if (n % 2 == 1) == (draw[n] < skill) else "0.1" for n in range(200)]
    images = [
        {"group": str(n), "label": str(n % 2), "as_trained": value, "probability": value}
        for n, value in enumerate(values)
    ]
    return RowResult(PAPER.rows[name], 0.5, images, None, ())


@pytest.mark.parametrize(
    ("skills", "text"),
    [
        ((0.6, 0.7, 0.9), "Here it holds for all metrics, on all images together"),
        ((0.6, 0.9, 0.7), "it holds for no metric, not for AC "),
    ],
)
def test_a_claim_is_compared_with_both_tables(skills: tuple[float, ...], text: str) -> None:
    rows = [found(name, skill) for name, skill in zip(("a-only", "b-only", "adapted"), skills, strict=True)]
    (sentence,) = describe_claims(PAPER, rows)
    assert TABLE in sentence
    assert text in sentence


def test_without_our_rows_only_the_papers_table_is_compared() -> None:
    (sentence,) = describe_claims(PAPER, [found("a-only", 0.6)])
    assert sentence.endswith(TABLE)
    assert describe_claims(read_paper("P4"), []) == []
