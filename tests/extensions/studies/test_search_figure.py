"""The figure of a search: numbers as in a recipe, and values of a list next to each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from napari_melanoma.extensions.studies.search import FinishedTrial, plot_search


def test_axis_labels_match_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *at, **how: (drawn.append(figure), save(figure, *at, **how)))
    trials = [
        FinishedTrial(number, result, {"learning_rate": rate, "side": side})
        for number, (result, rate, side) in enumerate([(0.6, 0.0028, "96"), (0.7, 0.014, "128"), (0.5, 0.003, "64")])
    ]
    plot_search(trials, tmp_path / "search.png", ["learning_rate"])
    rates, sides = drawn[0].axes[1:3]
    assert [label.get_text() for label in sides.get_xticklabels()] == ["64", "96", "128"]
    low, high = rates.get_xlim()
    major = [label for label in rates.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert [label.get_text() for label in major] == ["0.005", "0.01"]
    assert not any(label.get_text() for label in rates.get_xticklabels(minor=True))
