"""A heatmap is a hit if its maximum lies in the structure or near it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
import pytest

from napari_melanoma.classification import explanation
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.explanation import (
    PointingOptions,
    _pointing_samples,
    run_pointing_game,
    score_pointing,
    summarize_pointing,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.results import write_mask, write_rgb

SIDE = 32


def structure() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[4:10, 4:10] = True
    return mask


class Case(NamedTuple):
    name: str
    peaks: tuple[tuple[int, int], ...]
    tolerance: float
    place: tuple[int, int] | None
    hit: bool


CASES = [
    Case("in it", ((5, 6),), 0.0, (5, 6), True),
    Case("beside it", ((5, 13),), 0.0, (5, 13), False),
    Case("beside it, within the tolerance", ((5, 13),), 4.0, (5, 13), True),
    Case("just beyond the tolerance", ((5, 14),), 4.0, (5, 14), False),
    Case("several as strong: the one nearest to their middle", ((0, 0), (6, 6), (12, 13)), 0.0, (6, 6), True),
    Case("nowhere", (), 40.0, None, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_where_a_map_points(case: Case) -> None:
    heat = np.full((SIDE, SIDE), 0.1, np.float32)
    for peak in case.peaks:
        heat[peak] = 1.0
    found = score_pointing(heat, structure(), case.tolerance)
    assert (found.place, found.hit) == (case.place, case.hit)
    if case.place is not None:
        row, column = case.place
        nearest = np.hypot(*(np.argwhere(structure()) - (row, column)).T).min()
        assert found.distance_px == pytest.approx(nearest)


def test_chance_is_the_share_of_the_picture_that_would_be_a_hit() -> None:
    heat = np.random.default_rng(0).random((SIDE, SIDE))
    assert score_pointing(heat, structure()).by_chance == pytest.approx(36 / SIDE**2)
    near = score_pointing(heat, structure(), 3.0).by_chance
    assert 36 / SIDE**2 < near < 144 / SIDE**2  # less than the square around it, whose corners are farther


def test_random_maps_hit_as_often_as_chance() -> None:
    rng = np.random.default_rng(1)
    found = [score_pointing(rng.random((SIDE, SIDE)), structure(), 2.0) for _ in range(400)]
    game = summarize_pointing(found, [f"p{place // 2}" for place in range(400)])
    assert game.share.low < game.by_chance < game.share.high
    assert (game.share.count, game.share.mean) == (400, np.mean([one.hit for one in found]))


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE + 1), bool)])
def test_a_mask_of_another_shape_or_without_target_is_rejected(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a mask of shape"):
        score_pointing(np.ones((SIDE, SIDE)), mask)


def test_patient_data_are_read_by_their_synonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an evaluation, and in the training."""
    write_rgb(tmp_path / "set/images/a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(tmp_path / "set/masks/a.png", structure())
    (tmp_path / "set/dataset.csv").write_text("image_id,age_approx\na,60\n", encoding="utf-8")
    given: list[LesionInput] = []

    def explain(classifier: object, lesion: LesionInput, *_: object) -> np.ndarray:
        given.append(lesion)
        return np.zeros((SIDE, SIDE), np.float32)

    monkeypatch.setattr(explanation, "explain", explain)
    info = SimpleNamespace(name="m", fingerprint="f", patient_data_columns=("age",))
    classifier = cast("Classifier", SimpleNamespace(info=info, config=SimpleNamespace(positive="melanoma")))
    run_pointing_game(classifier, [tmp_path / "set"], tmp_path / "out", PointingOptions(), run=RunContext())
    assert given[0].row["age"] == "60"


def test_a_mask_file_of_two_images_is_refused(tmp_path: Path) -> None:
    """On Windows and macOS the masks of the ids 'a' and 'A' are one file, as those of one id in two data sets are."""
    masks = tmp_path / "masks"
    masks.mkdir()
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        write_rgb(folder / "images" / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
        (folder / "dataset.csv").write_text("image_id,path\na,images/a.png\n", encoding="utf-8")
    write_mask(masks / "a.png", structure())
    assert [mask for _, mask in _pointing_samples(folders[:1], PointingOptions(masks=masks))] == [masks / "a.png"]
    with pytest.raises(InputError, match=r"mask of both 'first/a' and 'second/a'"):
        list(_pointing_samples(folders, PointingOptions(masks=masks)))
