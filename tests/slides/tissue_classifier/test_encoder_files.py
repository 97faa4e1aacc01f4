"""The file of an encoder is found again by the fingerprint of its features."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.models.weights_files import fingerprint_weights
from napari_melanoma.slides.tissue_classifier.feature_sources import (
    _encoders_path,
    find_weights,
    fingerprint_features,
    read_encoders,
    remember_encoder,
)

NAME = "timm:vit_small_patch14_dinov2"


@pytest.fixture
def weights(tmp_path: Path, user_folders: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def test_an_encoder_is_found_until_its_file_changes(weights: Path) -> None:
    fingerprint = fingerprint_features(NAME, fingerprint_weights(weights))
    assert find_weights(NAME, fingerprint) is None
    for _ in range(2):
        remember_encoder(NAME, weights)
    assert [one.name for one in read_encoders()] == [NAME]
    assert find_weights(NAME, fingerprint) == weights
    assert find_weights("uni", fingerprint) is None
    weights.write_bytes(b"another file")
    assert find_weights(NAME, fingerprint) is None
    weights.unlink()
    assert find_weights(NAME, fingerprint) is None


def test_a_list_of_an_earlier_version_is_read_and_a_damaged_one_counts_as_empty(weights: Path) -> None:
    remember_encoder(NAME, weights)
    stored = read_json(_encoders_path())
    write_json(_encoders_path(), {"encoders": [{**stored["encoders"][0], "accepted": "2026-01-02T03:04:05"}]})
    assert find_weights(NAME, fingerprint_features(NAME, fingerprint_weights(weights))) == weights
    _encoders_path().write_text("{")
    assert read_encoders() == []
