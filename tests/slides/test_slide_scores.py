"""Scores of slides from the predictions of their tiles."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.slides.scores import SlideScoreConfig, score_slide

TILES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [np.nan, np.nan]])
CASES = [
    ("mean", SlideScoreConfig(method="mean"), None, 1.3 / 3),
    ("mean by tissue", SlideScoreConfig(method="mean"), [1, 0.5, 0.5, 1], 0.35),
    ("maximum", SlideScoreConfig(method="maximum"), None, 0.8),
    ("maximum where there is tissue", SlideScoreConfig(method="maximum"), [1, 0, 1, 1], 0.4),
    ("top two", SlideScoreConfig(method="top_k", top_k=2), None, 0.6),
    ("top of more than there are", SlideScoreConfig(method="top_k", top_k=9), None, 1.3 / 3),
    ("top of another class", SlideScoreConfig(method="maximum", positive=0), None, 0.1),
]


@pytest.mark.parametrize(("name", "config", "shares", "expected"), CASES, ids=[case[0] for case in CASES])
def test_scores(name: str, config: SlideScoreConfig, shares: list[float] | None, expected: float) -> None:
    score = score_slide(TILES, config, shares)
    assert score[1] == pytest.approx(expected), name
    assert score.sum() == pytest.approx(1)


@pytest.mark.parametrize("tiles", [np.empty((0, 2)), np.full((3, 2), np.nan)])
def test_no_tile_no_score(tiles: np.ndarray) -> None:
    assert np.isnan(score_slide(tiles, SlideScoreConfig())).all()


def test_given_shares_are_left_alone() -> None:
    shares = np.ones(4)
    score_slide(TILES, SlideScoreConfig(), shares)
    assert shares.tolist() == [1, 1, 1, 1]
