"""Ratings of photographs: the model that is used, and the order of uncertainty."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma import worker
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.dataset import read_dataset, select_for_split
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.uncertainty_ratings import (
    UNCERTAINTY_MEASURES,
    Rating,
    load_ratings,
    rate_photograph,
    score_pixels,
    store_rating,
)
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

SIDE = 32
Logits = Callable[[np.ndarray], np.ndarray]


class Model:
    """Answers with a function of the photograph, which it keeps."""

    def __init__(self, folder: Path, answer: Logits) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")
        self.info = BundleInfo(
            folder, BundleConfig(name="fake", title="Fake", architecture="none", input_size=SIDE, threshold=0.6)
        )
        self._answer = answer
        self.requested: list[np.ndarray] = []

    def logits(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        self.requested += inputs
        return np.stack([self._answer(image.astype(np.float32).mean(-1)) for image in inputs]).astype(np.float32)


def dark(grey: np.ndarray) -> np.ndarray:
    """The same whichever way the photograph is turned."""
    return (120 - grey) / 8


def upper(grey: np.ndarray) -> np.ndarray:
    """Finds whatever is dark in the upper half only, so it depends on how the photograph is turned."""
    return np.where(np.arange(SIDE)[:, None] < SIDE // 2, dark(grey), -20)


def nothing(grey: np.ndarray) -> np.ndarray:
    return np.full_like(grey, -0.1)  # 0.475, below the threshold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dark square off the middle, on light skin, not square."""
    rgb = np.full((60, 90, 3), 220, np.uint8)
    rgb[6:26, 12:60] = 60
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_rating_records_rater_and_image(tmp_path: Path, path: Path) -> None:
    model = Model(tmp_path, dark)
    found = rate_photograph(model, path)
    assert (found.how, found.lesion_found, found.model) == ("entropy", True, "fake")
    assert found.model_fingerprint == model.info.fingerprint
    assert found.image_sha256 == array_fingerprint(read_photograph(path).rgb)
    assert 0 < found.score < 0.2
    assert [image.shape for image in model.requested] == [(SIDE, SIDE, 3)]


def test_disagreement_uses_eight_different_views(tmp_path: Path, path: Path) -> None:
    model = Model(tmp_path, dark)
    assert rate_photograph(model, path, "disagreement").score == 0.0
    assert len({image.tobytes() for image in model.requested}) == 8
    assert rate_photograph(Model(tmp_path, upper), path, "disagreement").score > 0.5


@pytest.mark.parametrize("how", UNCERTAINTY_MEASURES)
def test_an_empty_mask_has_maximal_uncertainty(tmp_path: Path, path: Path, how: str) -> None:
    found = rate_photograph(Model(tmp_path, nothing), path, how)
    assert (found.score, found.lesion_found) == (1.0, False)


def test_photographs_that_cannot_be_rated(tmp_path: Path, path: Path) -> None:
    model = Model(tmp_path, dark)
    with pytest.raises(InputError, match="'guess' is not a measure of uncertainty"):
        rate_photograph(model, path, "guess")
    with pytest.raises(UnreadableImage):
        rate_photograph(model, tmp_path / "none.png")


def test_the_worker_rates(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "load_segmenter", lambda name: Model(tmp_path, dark))
    assert worker.rate("fake", path, "entropy", RunContext()) == rate_photograph(Model(tmp_path, dark), path)


def test_uncertain_masks_of_real_photographs_have_more_errors(shared_data: Path) -> None:
    from scipy.stats import spearmanr

    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.models.installed_bundles import find_bundle

    model = Segmenter.load(find_bundle(DEFAULT_BUNDLE), "cpu")
    scores, errors = [], []
    for sample in select_for_split(read_dataset(shared_data / "pad_ufes"), "val")[::7]:
        rgb = read_photograph(sample.image).rgb
        mask = model.probability(rgb) >= model.info.config.threshold
        errors.append(1 - overlap_metrics(mask, read_mask(sample.mask))["DI"])
        scores.append(score_pixels(model, rgb, "entropy")[0])
    assert spearmanr(scores, errors).statistic > 0.5  # 0.80 over all 141


RATING = Rating(0.25, "entropy", True, "f" * 64, "model", "weights")
MOLE = Path("mole.png")


@pytest.fixture
def ratings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    return tmp_path / "cache" / "ratings.jsonl"


def test_stored_ratings_are_found_by_path_time_size_model_and_measure(ratings_file: Path) -> None:
    assert load_ratings("weights", "entropy") == {}
    newer = replace(RATING, score=0.5)
    store_rating(MOLE, 1.5, 9, RATING)
    store_rating(MOLE, 1.5, 9, newer)
    store_rating(MOLE, 1.5, 10, RATING)
    store_rating(MOLE, 2.5, 9, RATING)
    store_rating(MOLE, 3.5, 9, replace(RATING, how="disagreement"))
    store_rating(MOLE, 4.5, 9, replace(RATING, model_fingerprint="other weights"))
    expected = {("mole.png", 1.5, 9): newer, ("mole.png", 1.5, 10): RATING, ("mole.png", 2.5, 9): RATING}
    assert load_ratings("weights", "entropy") == expected


@pytest.mark.parametrize(
    "damage",
    [
        b'{"path": "torn.png", "modif',  # by a session that was killed
        b"5\n",
        b"\xff\n",
        b"{}\n",
        json.dumps({"path": "text.png", "modified": 1.5, "size": 9, **vars(RATING), "score": "0.5"}).encode() + b"\n",
        json.dumps({"path": ["list.png"], "modified": 1.5, "size": 9, **vars(RATING)}).encode() + b"\n",
        json.dumps({"path": "more.png", "modified": 1.5, "size": 9, **vars(RATING), "more": 1}).encode() + b"\n",
    ],
)
def test_a_damaged_line_does_not_affect_the_other_ratings(ratings_file: Path, damage: bytes) -> None:
    store_rating(MOLE, 1.5, 9, RATING)
    with ratings_file.open("ab") as file:
        file.write(damage)
    store_rating(MOLE, 2.5, 9, RATING)
    assert load_ratings("weights", "entropy") == {("mole.png", 1.5, 9): RATING, ("mole.png", 2.5, 9): RATING}


def test_without_write_access_no_rating_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("in the way")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *args, **kwargs: tmp_path / "a file")
    store_rating(MOLE, 1.5, 9, RATING)
    assert load_ratings("weights", "entropy") == {}
