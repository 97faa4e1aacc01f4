"""The notes of saved predictions."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.results import write_mask
from napari_melanoma.ui.session.open_photograph import SavedPrediction
from napari_melanoma.ui.session.photograph_predictions import read_saved_prediction

ANSWER = SimpleNamespace(
    model=SimpleNamespace(name="small"),
    used_columns=frozenset({"age"}),
    provenance={"created": "2026-11-20T14:05:09+00:00"},
)
RGB = np.zeros((6, 8, 3), np.uint8)
SOURCE = SimpleNamespace(read=lambda: SimpleNamespace(rgb=RGB))


@pytest.mark.parametrize(
    ("model", "digest", "row", "same", "expected"),
    [
        ("small", "abc", {"age": "54"}, True, ""),
        ("small", None, {"age": "54"}, True, ""),
        ("", None, {"age": "54"}, False, ""),
        ("small", "other", {"age": "54"}, True, " Outdated. Changed since then: the mask."),
        ("large", "abc", {"age": "54"}, True, " Outdated. Changed since then: the model."),
        ("small", "abc", {"age": "54"}, False, " Outdated. Changed since then: the model."),
        ("large", "other", {}, True, " Outdated. Changed since then: the mask, the model, the patient data."),
    ],
)
def test_a_note_lists_the_changes(model, digest, row, same, expected):
    earlier = SavedPrediction(ANSWER, {"age": "54"}, "abc", same)
    assert earlier.describe_status(model, digest, row) == f"Saved on 2026-11-20 14:05 UTC.{expected}"


@pytest.mark.parametrize(
    "about",
    [
        None,
        "no JSON",
        json.dumps({"image_sha256": array_fingerprint(RGB)}),
        json.dumps({"image_sha256": array_fingerprint(RGB), "prediction": {"classes": []}, "form": {}}),
        json.dumps({"image_sha256": "of another", "prediction": {}, "form": {}}),
    ],
)
def test_a_folder_without_a_prediction_is_ignored(tmp_path, about):
    write_mask(tmp_path / "mask.png", np.ones((6, 8), bool))
    if about is not None:
        (tmp_path / "result.json").write_text(about)
    assert read_saved_prediction(SOURCE, tmp_path, RunContext()) is None
