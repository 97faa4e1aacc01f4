"""Closer views of the lesion, with a network that is exact at its input size: it segments what is dark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.lesion.analysis import find_uncertain_band
from napari_melanoma.lesion.batch import BatchOptions, analyze_files
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.segmentation import SPREAD_PX, find_closer_views, predict_lesions
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.inference import restore_size

SKIN, LESION = 225, 60
VIEWS = (1.4, 2.4)


def _disk(shape: tuple[int, int], middle: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - middle[0], columns - middle[1]) < radius


def _photograph(mask: np.ndarray) -> np.ndarray:
    return np.repeat(np.where(mask, LESION, SKIN).astype(np.uint8)[..., None], 3, axis=2)


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def _with_views(model, *views: float):
    config = model.info.config.model_copy(update={"closer_views": views})
    model.info = replace(model.info, config=config)
    return model


def _predict(model, *images: np.ndarray, flips: bool = False):
    return list(predict_lesions(model, images, flips=flips))


SMALL = _disk((400, 600), (120, 300), 21)


def test_a_small_lesion_gets_a_better_border(model) -> None:
    image = _photograph(SMALL)
    plain = _dice(_predict(model, image)[0].probability >= 0.5, SMALL)
    closer = _dice(_predict(_with_views(model, *VIEWS), image)[0].probability >= 0.5, SMALL)
    assert plain < 0.75
    assert closer > 0.95


@pytest.mark.parametrize("shape", [(64, 64), (301, 97), (40, 30)])
def test_without_closer_views_every_bit_is_that_of_the_whole_view(model, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    config = model.info.config
    expected = restore_size(model.logits([prepare_network_input(image, 32, config.preprocessing)])[0], shape)
    np.testing.assert_array_equal(_predict(model, image)[0].probability, expected)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(_disk((200, 260), (100, 130), 95), id="a lesion that fills the photograph"),
        pytest.param(np.zeros((200, 260), bool), id="no lesion"),
        pytest.param(_disk((45, 45), (20, 20), 6), id="a photograph smaller than the smallest view"),
    ],
)
def test_a_prediction_without_anything_to_enlarge_is_unchanged(model, mask: np.ndarray) -> None:
    image = _photograph(mask)
    expected = _predict(model, image)[0].probability
    np.testing.assert_array_equal(_predict(_with_views(model, *VIEWS), image)[0].probability, expected)
    assert model.passes == [1, 1]


def test_other_lesions_keep_the_prediction_of_the_whole_photograph(model) -> None:
    image = _photograph(SMALL | _disk(SMALL.shape, (330, 520), 15))
    plain = _predict(model, image)[0].probability
    closer = _predict(_with_views(model, *VIEWS), image)[0].probability
    changed = np.argwhere(plain != closer)
    assert (changed.min(0) >= (70, 250)).all()
    assert (changed.max(0) < (171, 351)).all()


def test_a_batch_equals_its_images_and_needs_no_more_memory(model) -> None:
    _with_views(model, *VIEWS)
    masks = [SMALL, np.zeros((90, 80), bool), _disk((300, 200), (250, 150), 30)]
    images = [_photograph(mask) for mask in masks]
    alone = [_predict(model, image)[0].probability for image in images]
    model.passes.clear()
    for together, single in zip(_predict(model, *images), alone, strict=True):
        np.testing.assert_array_equal(together.probability, single)
    assert model.passes == [3, 3, 1]


class Case(NamedTuple):
    """The boxes for lesions (row, column, height, width) in a map of 100 x 100 pixels."""

    name: str
    lesions: list[tuple[int, int, int, int]]
    shape: tuple[int, int]
    expected: list[Box]
    views: tuple[float, ...] = VIEWS


CASES = [
    Case("the largest view first", [(40, 40, 20, 20)], (500, 500), [Box(130, 130, 240, 240), Box(180, 180, 140, 140)]),
    Case("at the border a view moves inside", [(0, 90, 10, 10)], (900, 900), [Box(0, 774, 126, 126)], (1.4,)),
    Case("a single pixel has one view of the least size", [(50, 20, 1, 1)], (200, 200), [Box(77, 17, 48, 48)]),
    Case("the longer side counts in pixels of the photograph", [(40, 45, 20, 10)], (200, 2000), []),
    Case("an elongated photograph", [(40, 50, 20, 2)], (300, 3000), [Box(78, 1458, 144, 144), Box(108, 1488, 84, 84)]),
    Case("the largest lesion", [(5, 5, 9, 9), (70, 70, 10, 10)], (400, 400), [Box(272, 272, 56, 56)], (1.4,)),
    Case("a view that is too large is left out", [(20, 20, 60, 60)], (100, 100), [Box(8, 8, 84, 84)]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_boxes(case: Case) -> None:
    logits = np.full((100, 100), -5, np.float32)
    for row, column, height, width in case.lesions:
        logits[row : row + height, column : column + width] = 5
    config = BundleConfig(name="a", title="a", architecture="none", closer_views=case.views)
    assert find_closer_views(logits, case.shape, config) == case.expected


@pytest.mark.parametrize("shape", [(400, 600), (1600, 1200)])
def test_flips_enclose_the_mean_and_their_band_is_at_the_border(model, shape: tuple[int, int]) -> None:
    class Leaning(type(model)):
        def logits(self, inputs):
            return super().logits(inputs) + np.linspace(-8, 8, 32, dtype=np.float32)

    mask = _disk(shape, (shape[0] / 3, shape[1] / 2), shape[0] / 16)
    leaning = _with_views(Leaning(model.info.path), *VIEWS)
    prediction = _predict(leaning, _photograph(mask), flips=True)[0]
    assert max(prediction.spread.shape[1:]) == min(SPREAD_PX, max(shape))
    low, high = (restore_size(extreme, shape) for extreme in prediction.spread)
    tolerance = 1e-4  # share of the pixels, as the extremes of the large photograph are smaller than it
    assert (low > prediction.probability + 0.02).mean() < tolerance
    assert (high < prediction.probability - 0.02).mean() < tolerance
    found = prediction.probability >= 0.5
    band = find_uncertain_band(prediction, found, 0.5, LesionOptions().refinement)
    assert 0 < band.sum() < found.sum()
    rows, columns = np.nonzero(band)
    distance = np.abs(np.hypot(rows - shape[0] / 3, columns - shape[1] / 2) - shape[0] / 16)
    assert distance.max() < shape[0] / 32


def test_a_folder_of_photographs_gets_the_same_masks_and_states_the_views(model, draw, tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"p{number}.png", 9 + 3 * number, (300, 400)) for number in range(3)]

    def analyse() -> list[dict]:
        analyze_files(paths, tmp_path / "out", BatchOptions(), run=RunContext(), segmenter=model)
        return [json.loads((tmp_path / "out" / path.stem / "result.json").read_text()) for path in paths]

    truth = [np.pi * radius**2 for radius in (9, 12, 15)]
    before = analyse()
    _with_views(model, *VIEWS)
    after = analyse()
    assert {tuple(result["model"]["closer_views"] or ()) for result in after} == {VIEWS}
    errors = [
        [abs(result["measurements"]["area_px"] / area - 1) for result, area in zip(results, truth, strict=True)]
        for results in (before, after)
    ]
    assert (np.array(errors[1]) < np.array(errors[0]) / 2).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"closer_views": (2.4, 1.4)}, "ascending"),
        ({"closer_views": (1.4, 1.4)}, "ascending"),
        ({"closer_views": (1,)}, "above 1"),
        ({"closer_views": (1.2, 1.4, 1.6, 1.8, 2)}, "at most 4"),
        ({"closer_views": VIEWS, "classes": ("a", "b"), "options": {"classes": 2}}, "one class"),
        ({"closer_views": VIEWS, "modalities": ("slide",)}, "photographs"),
        ({"closer_views": VIEWS, "architecture": "prompted_unet"}, "prompts"),
        ({"closer_views": VIEWS, "task": "embedding"}, "one class"),
        ({"turned_views": 2}, "turned_views"),
        ({"turned_views": 4, "classes": ("a", "b"), "options": {"classes": 2}}, "one class"),
        ({"turned_views": 4, "modalities": ("slide",)}, "photographs"),
        ({"turned_views": 4, "architecture": "prompted_unet"}, "prompts"),
    ],
)
def test_views_that_a_model_cannot_have(values: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        BundleConfig.parse({"name": "a", "title": "a", "architecture": "unet", **values}, "config.json")


def test_bundles_without_closer_views_do_not_state_them() -> None:
    config = BundleConfig(name="a", title="a", architecture="unet")
    assert "closer_views" not in config.model_dump(mode="json")
    stated = BundleConfig(name="a", title="a", architecture="unet", closer_views=VIEWS).model_dump(mode="json")
    assert stated["closer_views"] == [*VIEWS]
    (text,) = BundleConfig.parse(stated, "config.json").describe_views()
    assert "1.4 and 2.4 times" in text
