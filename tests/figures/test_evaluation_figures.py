"""Figures of evaluations: images are next to their comparisons, and no legend covers an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_melanoma.figures.evaluation import EvaluatedCase, overlay_image, plot_cases, plot_changes
from napari_melanoma.metrics.statistics import Estimate


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *at, **how: (figures.append(figure), save(figure, *at, **how))
    )
    return figures


def test_the_legend_hides_no_image(tmp_path: Path, drawn: list[Figure]) -> None:
    images = [("a", 0.9, 0.0), ("b", 0.9, 0.1)]
    estimate = Estimate(-0.8, -0.9, -0.7, 1)
    plot_changes(images, {"a": estimate, "b": estimate}, tmp_path / "changes.png")
    scatter = drawn[0].axes[0]
    legend = scatter.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert not legend.get_window_extent().overlaps(scatter.get_window_extent())


def case(name: str, dice: float, height: int, width: int) -> EvaluatedCase:
    random = np.random.default_rng(0)
    mask, reference = random.random((2, height, width)) < 0.5
    return EvaluatedCase(name, dice, random.integers(0, 256, (height, width, 3), np.uint8), mask, reference)


def test_images_of_different_sizes_are_next_to_their_comparisons(tmp_path: Path, drawn: list[Figure]) -> None:
    """The kinds have different numbers of images; large images are reduced."""
    large, small = case("large", 0.9, 300, 600), case("small", 0.25, 40, 30)
    plot_cases({"best": [large, small], "median": [], "worst": [small]}, tmp_path / "cases.png")
    axes = np.reshape(drawn[0].axes, (2, 6))
    assert [[axis.get_title(loc="left") for axis in row] for row in axes] == [
        ["best: large", "Dice 0.900", "", "", "worst: small", "Dice 0.250"],
        ["small", "Dice 0.250", "", "", "", ""],
    ]
    pictures = [[np.asarray(axis.images[0].get_array()) if axis.images else None for axis in row] for row in axes]
    assert [[None if one is None else one.shape for one in row] for row in pictures] == [
        [(130, 260, 3), (130, 260, 3), None, None, (40, 30, 3), (40, 30, 3)],
        [(40, 30, 3), (40, 30, 3), None, None, None, None],
    ]
    for photograph, comparison in (pictures[1][:2], pictures[0][4:]):
        np.testing.assert_array_equal(photograph, small.rgb)
        np.testing.assert_array_equal(comparison, overlay_image(small.rgb, small.mask, small.reference))
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["true positive", "false positive", "false negative"]
    assert not any(legend.get_window_extent().overlaps(axis.get_window_extent()) for axis in axes.ravel())
