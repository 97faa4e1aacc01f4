"""An evaluation measures predicted depths if the table contains the true ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import ClassifierConfig, DepthOutputConfig, DepthScale, ViewConfig
from napari_melanoma.evaluation.classes import evaluate_classifier
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.pipeline import measured_rows, read_evaluation
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.metrics.metric_table import DEPTH_METRICS
from napari_melanoma.models.bundle import BundleConfig, write_bundle

SIDE, COUNT = 64, 12


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    scale = DepthScale(mean=2.0, std=1.0)
    options = {"encoder": "test_efficientnet", "depth_mean": scale.mean, "depth_std": scale.std, "use_table": False}
    config = BundleConfig(
        name="deep",
        title="Deep",
        task="classification",
        architecture="biomarker",
        options=options,
        input_size=SIDE,
        classes=("other", "metastasis"),
        classifier=ClassifierConfig(
            positive="metastasis",
            view=ViewConfig(region="photograph"),
            depth=DepthOutputConfig(scale=scale, margin=0.5),
        ),
    )
    network = build_network("biomarker", options).eval()
    return Classifier.load(write_bundle(tmp_path_factory.mktemp("b") / "deep", config, network, "# deep\n"), "cpu")


def make(folder: Path, model: Classifier, errors: list[float | None]) -> Path:
    """Images whose measured depth differs from the prediction by a known error; None: not measured."""
    rng = np.random.default_rng(0)
    rows = []
    for index, error in enumerate(errors):
        rgb = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        write_rgb(folder / f"images/d{index}.png", rgb)
        predicted = model.depths(model.run_encoder([rgb]))
        assert predicted is not None
        depth = "" if error is None else float(predicted.mm[0]) - error
        row = {"image_id": f"d{index}", "patient_id": f"p{index}", "depth_mm": depth}
        rows.append(row | {"metastasis": ["no", "yes"][index % 2]})
    write_table(folder / "dataset.csv", rows)
    return folder


def test_depths_are_measured_if_the_table_contains_them(deep: Classifier, tmp_path: Path) -> None:
    errors = [0.4, -0.2] * (COUNT // 2 - 1) + [None, None]
    data, out = make(tmp_path / "data", deep, errors), tmp_path / "out"
    found = evaluate_classifier(deep, [data], out, ClassEvaluationOptions(), run=RunContext())
    whole = found.parts["all"]
    assert set(DEPTH_METRICS) <= set(whole)
    assert whole["depth_mae_mm"].mean == pytest.approx(0.3, abs=1e-3)
    assert whole["depth_bias_mm"].mean == pytest.approx(0.1, abs=1e-3)
    assert whole["depth_coverage"].mean == 1.0
    assert whole["depth_mae_mm"].count == COUNT - 2
    assert found.parts["data"]["depth_r"].mean == whole["depth_r"].mean
    about = json.loads((out / "metrics.json").read_text())
    assert about["metrics"]["all"]["depth_mae_mm"]["mean"] == whole["depth_mae_mm"].mean
    with (out / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["depth_predicted_mm"]) - float(row["depth_mm"]) for row in rows[:-2]] == pytest.approx(
        errors[:-2], abs=1e-3
    )
    assert [row["depth_mm"] for row in rows[-2:]] == ["", ""]
    assert all(float(row["depth_low"]) < float(row["depth_predicted_mm"]) < float(row["depth_high"]) for row in rows)
    assert (out / "figures" / "depth.png").is_file()
    assert "mean absolute error of the depth" in (out / "summary.html").read_text()
    assert len(measured_rows(read_evaluation(out).table)) == COUNT


def test_an_impossible_depth_is_unknown_as_in_a_training(deep: Classifier, tmp_path: Path) -> None:
    data, out = make(tmp_path / "data", deep, [0.3] * (COUNT - 1) + [-900]), tmp_path / "out"
    found = evaluate_classifier(deep, [data], out, ClassEvaluationOptions(), run=RunContext())
    assert found.parts["all"]["depth_mae_mm"].mean == pytest.approx(0.3, abs=1e-3)
    assert found.parts["all"]["depth_mae_mm"].count == COUNT - 1


def test_a_table_without_depths_is_evaluated_without_depth_metrics(deep: Classifier, tmp_path: Path) -> None:
    data, out = make(tmp_path / "data", deep, [None] * COUNT), tmp_path / "out"
    found = evaluate_classifier(deep, [data], out, ClassEvaluationOptions(), run=RunContext())
    assert not set(DEPTH_METRICS) & set(found.parts["all"])
    assert not (out / "figures" / "depth.png").exists()
