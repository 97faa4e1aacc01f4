"""Files of earlier versions are read with the names of this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.config import Config
from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.core.renamed_keys import KEYS, VALUES, rename_keys
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import read_risk_prediction
from napari_melanoma.runs.launching import read_run
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

from ..test_configs import all_configs

CONFIGS: dict[str, type[Config]] = {config.__name__: config for config in all_configs()}


def test_configurations_read_old_keys() -> None:
    measured = {"sensitivity": 0.9, "sensitivity_interval": (0.8, 1.0), "specificity": 0.5}
    old: dict[str, Any] = {"asked": 0.9, "cut": 0.3, **measured, "specificity_interval": (0.4, 0.6)}
    point = OperatingPoint.parse(old, "a stored model")
    assert (point.target_sensitivity, point.threshold) == (0.9, 0.3)
    assert {"asked", "cut"}.isdisjoint(point.model_dump())


@pytest.mark.parametrize("name", sorted({*KEYS, *VALUES} & CONFIGS.keys()))
def test_each_old_key_of_a_configuration_has_a_field(name: str) -> None:
    fields = CONFIGS[name].model_fields.keys()
    assert KEYS.get(name, {}).keys().isdisjoint(fields)
    assert fields >= {*KEYS.get(name, {}).values(), *VALUES.get(name, {})}


def test_other_objects_read_old_keys() -> None:
    assert rename_keys("evaluation", {"task": "classification", "cut": 0.3}) == {
        "task": "classification",
        "threshold": 0.3,
    }
    assert rename_keys("prediction", {"likeness": None}) == {"novelty": None}


def test_contained_objects_read_old_keys() -> None:
    old = {"tuning_auc": 0.9, "data": {"learn": 9, "base": 3}, "recipe": {"data": {"tuning_fraction": 0.2}}}
    new = {"validation_auc": 0.9, "data": {"train": 9, "replay": 3}, "recipe": {"data": {"validation_fraction": 0.2}}}
    assert rename_keys("provenance", old) == new


def test_an_older_run_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('name = "old"\n[data]\ndatasets = ["d"]\ntuning_fraction = 0.2\n')
    (tmp_path / "metrics.csv").write_text("epoch,loss,tuning_loss,tuning_jaccard\n0,0.5,0.6,0.7\n1,0.4,0.5,0.8\n")
    (tmp_path / "events.jsonl").write_text('{"kind": "started", "time": 1, "learn": 9, "tuning": 2, "held_out": 3}\n')
    images = "part,image_id,domain,group,split,diagnosis,modality,review,image,mask,image_sha,mask_sha,drawn\n"
    (tmp_path / "data.csv").write_text(
        f"{images}held_out,one,d,one,,,,,one.png,,0,,0\nbase,two,e,two,,,,,two.png,,0,,0\n"
    )
    run = read_run(tmp_path)
    assert run.recipe is not None
    assert run.recipe.data.validation_fraction == 0.2
    assert run.metrics[1]["validation_jaccard"] == run.best == 0.8
    (event,) = RunFolder(tmp_path).read_events()
    assert (event["train"], event["validation"], event["test"]) == (9, 2, 3)
    assert [row.part for row in read_data(tmp_path / "data.csv")] == ["test", "replay"]
    RunFolder(tmp_path).drop_metrics_from(1)
    assert (tmp_path / "metrics.csv").read_text().startswith("epoch,loss,validation_loss,validation_jaccard\n")


def test_an_older_recipe_is_read() -> None:
    old = {"name": "old", "pieces": 2, "blend": 0.6, "model": {"take": "encoder", "pixels": "usual"}}
    recipe = TrainRecipe.parse({**old, "data": {"datasets": ["d"], "held_out_fraction": 0.3}}, "an old recipe")
    assert (recipe.accumulate_batches, recipe.wise_ft_weight) == (2, 0.6)
    assert (recipe.model.start_weights, recipe.model.pixels) == ("encoder", "standardized")
    assert recipe.data.test_fraction == 0.3
    replay = TrainRecipe.parse(
        {"name": "old", "data": {"datasets": ["d"], "base": ["e"], "base_share": 0.3}}, "one"
    ).data
    assert (replay.replay, replay.replay_share) == (("e",), 0.3)


def test_an_older_comparison_is_read() -> None:
    old = {"advice": "cannot tell", "domains": [{"name": "clinic", "base": True}]}
    new = {"advice": "inconclusive", "domains": [{"name": "clinic", "replay": True}]}
    assert rename_keys("comparison", old) == new


def test_an_older_risk_is_read(tmp_path: Path) -> None:
    old = {"beside": {"breslow": {}}, "depth_in_words": "depth 1.40 mm", "patches": [{"unlike": True}]}
    (tmp_path / "risk.json").write_text(json.dumps(old))
    new = {"comparators": {"breslow": {}}, "depth_text": "depth 1.40 mm", "patches": [{"out_of_distribution": True}]}
    assert read_risk_prediction(tmp_path / "risk.json") == new
    assert rename_keys("per_image", {"said": "nevus", "depth_said": "1.2"}) == {
        "predicted_class": "nevus",
        "depth_predicted_mm": "1.2",
    }
