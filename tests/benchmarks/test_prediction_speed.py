"""The measure of answers runs on a real network, and says both times."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from napari_melanoma.core.prediction_config import ClassifierConfig
from napari_melanoma.models.bundle import BundleConfig, write_bundle

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "prediction_speed.py"


def test_both_times_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_melanoma.models.zoo import build_network

    options = {"encoder": "test_efficientnet", "fusion": "none"}
    config = BundleConfig(
        name="tiny",
        title="Tiny",
        task="classification",
        architecture="image_tabular",
        options=options,
        input_size=64,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(),
    )
    written = write_bundle(tmp_path / "tiny", config, build_network("image_tabular", options), "# Tiny\n")
    spec = importlib.util.spec_from_file_location("prediction_speed", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHAPE", (200, 300))
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(sys, "argv", ["prediction_speed.py", str(written.path)])
    module.main()
    assert re.fullmatch(r"metadata \d+\.\d{3} s, mask \d+\.\d{3} s on 300 x 200, \w+\n", capsys.readouterr().out)
