"""Evaluation of a classifier on the test set after its run, with or without an initial model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.evaluation.comparison import DomainChange, advise_by_auc, table_rows
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.runs.acceptance import activate_model, compare_run
from napari_melanoma.runs.launching import read_run
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

pytestmark = pytest.mark.usefixtures("user_folders")
Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]


def learnt(recipe: TrainRecipe, out: Path) -> BundleInfo:
    bundle = train(recipe, out, resume=False, run=RunContext())
    assert bundle is not None
    return bundle


@pytest.fixture(scope="module")
def evaluated(
    class_recipe: TrainRecipe,
    draw_classes: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    change: Change,
) -> TrainRecipe:
    """One epoch at a tiny learning rate, with 36 test images."""
    data = draw_classes(tmp_path_factory.mktemp("data") / "some-held-out", "image")
    lines = (data / "dataset.csv").read_text().splitlines()
    lines[61:] = [line.replace("train", "val") for line in lines[61:]]
    (data / "dataset.csv").write_text("\n".join(lines) + "\n")
    return change(class_recipe, epochs=1, samples=0, learning_rate=1e-6, data={"datasets": [str(data)]})


@pytest.fixture(scope="module")
def first(evaluated: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """The classifier of a run without an initial model."""
    return learnt(evaluated, tmp_path_factory.mktemp("first") / "run")


@pytest.mark.slow
def test_a_classifier_is_compared_with_the_one_it_started_from(
    evaluated: TrainRecipe, first: BundleInfo, tmp_path: Path, change: Change
) -> None:
    better = change(evaluated, epochs=6, learning_rate=1e-2, model={"start": str(first.path)})
    new = learnt(better, tmp_path / "second")
    found = read_run(tmp_path / "second").comparison
    assert found is not None
    assert (found.task, found.metric) == ("classification", "AUC")
    assert (found.old.fingerprint, found.new.fingerprint) == (first.fingerprint, new.fingerprint)
    tested = [row for row in read_data(tmp_path / "second" / "data.csv") if row.part == "test"]
    assert found.images == len(tested)
    assert set(found.difference) == {"AUC", "AP", "sensitivity", "specificity", "ECE"}
    assert found.decisive is not None
    old, now, gain = found.decisive
    assert now.mean > old.mean + 0.1
    assert gain.mean == pytest.approx(now.mean - old.mean)
    assert found.advice == "activate"
    assert found.reason.startswith("The new model is better on 36 images: AUC +0.")
    page = (tmp_path / "second" / "comparison" / "comparison.html").read_text(encoding="utf-8")
    assert "The new model is better on 36 images: AUC +0." in page
    assert table_rows(found)[0][2] == "AUC"
    card = activate_model(tmp_path / "second").card
    assert "**better**" in card
    assert "area under the ROC curve" in card


def test_classifier_without_start_model_is_evaluated_alone(first: BundleInfo, events: Events) -> None:
    run = first.path.parent
    assert not (run / "comparison").exists()
    about = json.loads((run / "evaluation" / "metrics.json").read_text())
    tested = [row for row in read_data(run / "data.csv") if row.part == "test"]
    assert about["images"] == len(tested) > 20
    assert (run / "evaluation" / "summary.html").is_file()
    notices = [event["message"] for event in events(run) if event["kind"] == "notice"]
    auc = about["metrics"]["all"]["AUC"]["mean"]
    assert any(f"On {len(tested)} test images: AUC {auc:.3f}" in message for message in notices)
    with pytest.raises(RunError, match="did not start from a classifier, so there is no model to compare it with"):
        compare_run(run, run=RunContext())


def change_of(
    gain: tuple[float, float], positives: int = 20, others: int = 60, sensitivity: float = 0.0
) -> list[DomainChange]:
    """Return the result on all images of a comparison: number of positives, difference in AUC and in sensitivity."""
    count = positives + others
    new = {
        "AUC": Estimate(0.8, 0.7, 0.9, count),
        "sensitivity": Estimate(0.8, 0.7, 0.9, positives),
        "specificity": Estimate(0.8, 0.7, 0.9, others),
    }
    low, high = gain
    difference = {
        "AUC": Estimate((low + high) / 2, low, high, count),
        "sensitivity": Estimate(sensitivity, sensitivity - 0.01, sensitivity + 0.01, positives),
        "ECE": Estimate(0.0, np.nan, np.nan, count),
    }
    return [DomainChange("all", False, count, new, new, difference)]


CASES = [
    ("a gain", change_of((0.01, 0.05)), "activate", "The new model is better on 80 images: AUC +0.030"),
    ("a loss", change_of((-0.05, -0.01)), "keep", "is worse on 80 images: AUC -0.030"),
    ("perhaps", change_of((-0.02, 0.05)), "inconclusive", "may be due to chance"),
    ("few positives", change_of((0.01, 0.05), 4), "inconclusive", "80 test images, 4 are of the rarer class"),
    ("finds fewer", change_of((0.01, 0.05), sensitivity=-0.1), "activate", "has a lower sensitivity"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "advice", "expected_reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_recommendation_follows_the_auc(changes: list[DomainChange], advice: str, expected_reason: str) -> None:
    found, reason = advise_by_auc(changes, 80, "")
    assert found == advice
    assert expected_reason in reason


def test_images_of_one_class_give_no_recommendation() -> None:
    (whole,) = change_of((0.01, 0.05))
    alone = {"specificity": whole.new["specificity"]}
    assert advise_by_auc([DomainChange("all", False, 60, alone, alone, alone)], 60, "") == (
        "inconclusive",
        "All 60 images of the test set are of one class, so AUC cannot be measured.",
    )
