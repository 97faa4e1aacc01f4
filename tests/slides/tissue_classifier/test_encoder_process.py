"""Features of an encoder that a child process computes: the same values, errors, and a child that ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.core.errors import BundleError, WorkerTerminated
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.cells import block_px
from napari_melanoma.slides.tissue_classifier.classifier import compute_painted
from napari_melanoma.slides.tissue_classifier.encoder_files import inspect_encoder
from napari_melanoma.slides.tissue_classifier.encoder_process import EncoderFeatures, EncoderProcess
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
from napari_melanoma.slides.tissue_classifier.strokes import read_strokes
from napari_melanoma.slides.tissue_classifier.validation import validate

pytestmark = pytest.mark.slow  # a process is started
NAME = "timm:test_vit"  # of 0.3 million weights
FAKE = Path(__file__).with_name("fake_encoder.py")
STROKES_PER_CLASS = 5
BLOCKS = np.full((1, 44, 44, 3), 7, np.uint8)


@pytest.fixture
def process() -> Iterator[EncoderProcess]:
    process = EncoderProcess([sys.executable, str(FAKE)])
    yield process
    process.close()
    assert process.pid is None


def test_a_child_starts_once_and_computes(process: EncoderProcess) -> None:
    features = EncoderFeatures(NAME, Path("fine"), process)
    assert (features.name, features.length, features.mpp) == (NAME, 3, 32 / 56)
    pid = process.pid
    np.testing.assert_array_equal(features.compute(BLOCKS), np.full((1, 16, 16, 3), 7, np.float16))
    assert process.pid == pid


def test_a_killed_child_is_started_again(process: EncoderProcess) -> None:
    features = EncoderFeatures(NAME, Path("fine"), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    assert process._child is not None
    process._child.wait()
    assert (features.compute(BLOCKS) == 7).all()


def test_a_child_that_ends_is_reported_with_its_last_message(process: EncoderProcess) -> None:
    features = EncoderFeatures(NAME, Path("dies"), process)
    with pytest.raises(WorkerTerminated, match=r"exit code 3; last message: out of memory\)\. Strokes and computed"):
        features.compute(BLOCKS)


def test_an_error_of_the_child_keeps_its_type(process: EncoderProcess) -> None:
    with pytest.raises(BundleError, match="belong to another network"):
        EncoderFeatures(NAME, Path("foreign"), process)


def test_a_child_computes_the_features_of_this_process(tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights, changed = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    for path in (weights, changed):
        save_file(timm.create_model(NAME.removeprefix("timm:"), num_classes=0).state_dict(), path)
    expected, process = open_feature_source(NAME, weights), EncoderProcess()
    side = block_px(expected.mpp)
    blocks = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    features = EncoderFeatures(NAME, weights, process)
    assert (features.fingerprint, features.licence) == (expected.fingerprint, expected.licence)
    np.testing.assert_array_equal(features.compute(blocks), expected.compute(blocks))
    changed.replace(weights)
    with pytest.raises(Exception, match="have changed since the encoder was opened"):
        features.compute(blocks)
    process.close()


def test_real_weights_are_recognized_and_separate_epidermis_from_dermis(shared_data: Path) -> None:
    weights = shared_data / "weights" / "vit_small_patch14_dinov2.safetensors"
    path = shared_data / "slides" / "morphea_section1_20x.tif"
    if not (weights.is_file() and path.is_file()):
        pytest.skip(f"needs {weights.name} and {path.name}")
    encoder, process = inspect_encoder(weights), EncoderProcess()
    assert encoder.name == "timm:vit_small_patch14_dinov2"
    source = EncoderFeatures(encoder.name, weights, process)
    assert source.fingerprint == encoder.fingerprint
    with open_slide(path) as slide, SlideFeatures.open(slide, source) as features:
        drawn = read_strokes(Path(__file__).parent / "real_skin" / "morphea_strokes.geojson")
        strokes = [
            stroke
            for name in ("epidermis", "dermis")
            for stroke in [one for one in drawn if one.class_name == name][:STROKES_PER_CLASS]
        ]
        cells = TrainingCells.gather(*([part] for part in compute_painted(strokes, features, NULL_CONTEXT)), ())
        best = validate(cells)[0]
    process.close()
    assert best.accuracy is not None
    assert best.accuracy.mean > 0.6
