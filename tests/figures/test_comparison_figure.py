"""The legend of the comparison figure covers no image."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from napari_melanoma.figures.evaluation import plot_changes
from napari_melanoma.metrics.statistics import Estimate


def test_the_legend_hides_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *at, **how: (drawn.append(figure), save(figure, *at, **how)))
    images = [("a", 0.9, 0.0), ("b", 0.9, 0.1)]
    estimate = Estimate(-0.8, -0.9, -0.7, 1)
    plot_changes(images, {"a": estimate, "b": estimate}, tmp_path / "changes.png")
    scatter = drawn[0].axes[0]
    legend = scatter.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert not legend.get_window_extent().overlaps(scatter.get_window_extent())
