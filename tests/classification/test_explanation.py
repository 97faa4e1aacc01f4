"""Heatmaps highlight the decisive patch, wherever it is, in pixels of the photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.explanation import (
    METHODS,
    compute_evidence,
    explain,
    place_in_photograph,
    upsample_map,
)
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction_config import ViewConfig
from napari_melanoma.models.bundle import BundleInfo

OLD, NOT_OLD = {"age": "70"}, {"age": "50"}


@pytest.fixture(scope="module")
def classifier(classifier_bundle: BundleInfo) -> Classifier:
    return Classifier.load(classifier_bundle, "cpu")


def middle_of(heat: np.ndarray) -> tuple[float, float]:
    """Mean position of high values."""
    strong = np.where(heat > 0.5, heat, 0.0)
    rows, columns = np.indices(heat.shape)
    return float((strong * rows).sum() / strong.sum()), float((strong * columns).sum() / strong.sum())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_heat_falls_on_the_deciding_patch(classifier: Classifier, picture, method: str) -> None:
    random = np.random.default_rng(3)
    off = []
    for _ in range(5):
        drawn = picture(random, True)
        heat = explain(classifier, LesionInput(drawn.rgb, row=NOT_OLD), method)
        assert heat.shape == drawn.rgb.shape[:2]
        assert heat.dtype == np.float32
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(1, abs=0.1)
        off.append(np.subtract(middle_of(heat), drawn.patch))
    # A patch is 20 pixels wide; the green one, which decides nothing, lies 30 away on average.
    assert np.abs(np.median(off, axis=0)).max() < 5
    assert np.median(np.hypot(*np.transpose(off))) < 10


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_heatmap_is_aligned_with_the_photograph(classifier: Classifier, picture, method: str) -> None:
    """The same view, cropped from a large photograph around a mask, and as a photograph of its own."""
    drawn = picture(np.random.default_rng(5), True)
    rgb = np.full((300, 400, 3), 170, np.uint8)
    rgb[120:216, 250:346] = drawn.rgb
    mask = np.zeros(rgb.shape[:2], bool)
    mask[120:216, 250:346] = True
    config = classifier.info.config
    around = config.classifier.model_copy(update={"view": ViewConfig(region="roi", margin=0.0)})
    info = replace(classifier.info, config=config.model_copy(update={"classifier": around}))
    cut = Classifier(info, classifier.network)

    heat = explain(cut, LesionInput(rgb, mask, NOT_OLD), method)

    assert heat.shape == (300, 400)
    inside = heat[120:216, 250:346]
    assert heat.sum() == pytest.approx(inside.sum())
    np.testing.assert_allclose(inside, explain(classifier, LesionInput(drawn.rgb, row=NOT_OLD), method), atol=1e-3)


def test_the_gradients_add_up_to_the_difference_of_log_odds(classifier: Classifier, picture) -> None:
    drawn = picture(np.random.default_rng(7), True)
    view = classifier.make_view(drawn.rgb, None)
    found = compute_evidence(classifier, view, NOT_OLD, "integrated_gradients", 1, RunContext())
    plain = np.broadcast_to(np.median(rim_of(drawn.rgb), axis=0).astype(np.uint8), drawn.rgb.shape)
    odds = [np.subtract(*classifier.logits([LesionInput(rgb, row=NOT_OLD)])[0][::-1]) for rgb in (drawn.rgb, plain)]
    assert found.sum() == pytest.approx(odds[0] - odds[1], rel=0.15)


def rim_of(rgb: np.ndarray) -> np.ndarray:
    rim = np.ones(rgb.shape[:2], bool)
    rim[6:-6, 6:-6] = False
    return rgb[rim]


@pytest.mark.slow
def test_evidence_of_two_classes_is_opposite(classifier: Classifier, picture) -> None:
    view = classifier.make_view(picture(np.random.default_rng(9), True).rgb, None)
    for method in METHODS:
        of = [compute_evidence(classifier, view, NOT_OLD, method, place, RunContext()) for place in (0, 1)]
        np.testing.assert_allclose(of[0], -of[1], atol=1e-4)


@pytest.mark.slow
def test_metadata_affect_the_explanation(classifier: Classifier, picture) -> None:
    view = classifier.make_view(picture(np.random.default_rng(9), True).rgb, None)
    found = [compute_evidence(classifier, view, row, "occlusion", 1, RunContext()) for row in (OLD, {"age": "30"})]
    assert not np.allclose(*found)


def test_a_missing_class_or_method_is_rejected(classifier: Classifier, picture) -> None:
    lesion = LesionInput(picture(np.random.default_rng(9), True).rgb)
    with pytest.raises(InputError, match=r"has no class 'nevus' \(available: other, melanoma\)"):
        explain(classifier, lesion, "grad_cam", "nevus")
    with pytest.raises(InputError, match="no explanation method 'guess'"):
        explain(classifier, lesion, "guess")  # type: ignore[arg-type]


def test_occlusion_reports_progress_and_can_be_cancelled(classifier: Classifier, picture) -> None:
    reports = []

    def stop(progress) -> None:
        reports.append(progress.fraction or 0.0)
        if len(reports) == 4:
            run.cancel()

    run = RunContext(stop)
    with pytest.raises(Cancelled):
        explain(classifier, LesionInput(picture(np.random.default_rng(9), True).rgb), "occlusion", run=run)
    assert reports == sorted(reports)
    assert 0 < reports[-1] < 0.5


def test_a_map_is_spread_to_where_its_places_look() -> None:
    coarse = np.zeros((4, 4), np.float32)
    coarse[1, 2] = 1
    wide = upsample_map(coarse, 32, 0.0)
    rows, columns = np.indices(wide.shape)
    assert ((wide * rows).sum() / wide.sum(), (wide * columns).sum() / wide.sum()) == pytest.approx((11.5, 19.5))
    moved = upsample_map(coarse, 32, 3.0)
    np.testing.assert_allclose(moved[3:, 3:], wide[:-3, :-3], atol=1e-6)


def test_box_is_clipped_at_the_image() -> None:
    heat = np.arange(16, dtype=np.float32).reshape(4, 4)
    whole = place_in_photograph(heat, Box(-1, 2, 4, 4), (5, 4))
    np.testing.assert_array_equal(whole[:3, 2:], heat[1:, :2])
    assert whole[3:].sum() == whole[:, :2].sum() == 0


def test_padding_is_detected(classifier: Classifier) -> None:
    """The receptive field of a strided convolution with padding on one side is shifted by a known distance."""
    import torch
    from torch import nn

    from napari_melanoma.models.network_functions import measure_offset

    class OneConvolution(nn.Module):
        def __init__(self, padding: tuple[int, int]) -> None:
            super().__init__()
            self.pad = nn.ZeroPad2d((padding[0], padding[1], padding[0], padding[1]))
            self.convolution = nn.Conv2d(3, 8, 3, stride=4, bias=False)
            nn.init.constant_(self.convolution.weight, 0.1)

        def encode(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [self.convolution(self.pad(images))]

    config = classifier.info.config.model_copy(update={"input_size": 64})
    # Place i sees 4i - before ... 4i - before + 2, whose middle is 4i + 1 - before; that of its cell is 4i + 1.5.
    for before, after in ((0, 0), (1, 0), (1, 1)):
        found = measure_offset(OneConvolution((before, after)), config)
        assert found == pytest.approx(1 - before - 1.5, abs=0.3)
