"""Fixture: figures of evaluations that show one image of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from napari_melanoma.evaluation import masks
from napari_melanoma.figures.evaluation import EvaluatedCase, plot_cases


def plot_one_case(cases: Mapping[str, Sequence[EvaluatedCase]], path: Path) -> None:
    plot_cases({kind: items[:1] for kind, items in cases.items()}, path)


@pytest.fixture(scope="module", autouse=True)
def one_case_of_each_kind() -> Iterator[None]:
    """Draw the best, the median and the worst image only: many axes take most of the time of an evaluation.

    ``tests/figures/test_evaluation_figures.py`` draws several images of a kind.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "plot_cases", plot_one_case)
        yield
