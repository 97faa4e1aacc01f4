"""Evaluation of a classifier on the test set after its run, with or without an initial model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.evaluation.comparison_results import table_rows
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.runs.acceptance import activate_model, compare_run
from napari_melanoma.runs.launching import read_run
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
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
    lines[61:] = [line.replace("train", "test") for line in lines[61:]]
    (data / "dataset.csv").write_text("\n".join(lines) + "\n")
    return change(class_recipe, epochs=1, samples=0, learning_rate=1e-6, data={"datasets": [str(data)]})


@pytest.fixture(scope="module")
def first(evaluated: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """The classifier of a run without an initial model."""
    return learnt(evaluated, tmp_path_factory.mktemp("first") / "run")


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
