"""Files of earlier versions are read with the names of this one; ``tests/relations/past`` has whole files of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.config import Config
from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint
from napari_melanoma.core.renamed_keys import ADDED, KEYS, VALUES, rename_keys
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import read_risk_prediction
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.runs.resolved_settings import ResolvedSettings
from napari_melanoma.training.recipe import ClassificationConfig, DataConfig, ModelConfig, TrainRecipe
from napari_melanoma.training.run_data import read_data

CONFIGS: dict[str, type[Config]] = {
    one.__name__: one
    for one in (
        *(BundleConfig, ClassificationConfig, ClassifierConfig, DataConfig, ModelConfig, OperatingPoint),
        *(ResolvedSettings, TrainRecipe),
    )
}


@pytest.mark.parametrize("name", CONFIGS)
def test_each_earlier_key_of_a_configuration_has_a_field(name: str) -> None:
    fields = CONFIGS[name].model_fields.keys()
    assert KEYS.get(name, {}).keys().isdisjoint(fields)
    assert fields >= {*KEYS.get(name, {}).values(), *VALUES.get(name, {}), *ADDED.get(name, ("", {}))[1]}


def test_contained_objects_are_renamed() -> None:
    old = {"tuning_auc": 0.9, "data": {"learn": 9, "base": 3}, "recipe": {"data": {"tuning_fraction": 0.2}}}
    new = {"validation_auc": 0.9, "data": {"train": 9, "replay": 3}, "recipe": {"data": {"validation_fraction": 0.2}}}
    assert rename_keys("provenance", old) == new
    old = {"advice": "cannot tell", "domains": [{"name": "clinic", "base": True}]}
    assert rename_keys("comparison", old) == {"advice": "inconclusive", "domains": [{"name": "clinic", "replay": True}]}


def test_an_earlier_recipe() -> None:
    """Its test set was named *val*, and its validation set was drawn from the training patients."""
    old = {"name": "old", "pieces": 2, "blend": 0.6, "model": {"take": "encoder", "pixels": "usual"}}
    recipe = TrainRecipe.parse({**old, "data": {"datasets": ["d"], "held_out_split": "val"}}, "the test")
    assert (recipe.accumulate_batches, recipe.wise_ft_weight) == (2, 0.6)
    assert (recipe.model.start_weights, recipe.model.pixels) == ("encoder", "standardized")
    assert (recipe.data.test_split, recipe.data.validation_split) == ("val", "")


def test_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss,tuning_loss,tuning_jaccard\n0,0.5,0.6,0.7\n1,0.4,0.5,0.8\n")
    (tmp_path / "events.jsonl").write_text('{"kind": "started", "time": 1, "learn": 9, "tuning": 2, "held_out": 3}\n')
    columns = "part,image_id,domain,group,split,diagnosis,modality,review,image,mask,image_sha,mask_sha,drawn"
    rows = ("held_out,one,d,one,,,,,one.png,,0,,0", "base,two,e,two,,,,,two.png,,0,,0")
    (tmp_path / "data.csv").write_text("\n".join((columns, *rows)) + "\n")
    run = RunFolder(tmp_path)
    assert run.read_metrics()[1]["validation_jaccard"] == 0.8
    (event,) = run.read_events()
    assert (event["train"], event["validation"], event["test"]) == (9, 2, 3)
    assert [row.part for row in read_data(tmp_path / "data.csv")] == ["test", "replay"]


def test_an_earlier_risk(tmp_path: Path) -> None:
    old = {"beside": {"breslow": {}}, "depth_in_words": "depth 1.40 mm", "patches": [{"unlike": True}]}
    (tmp_path / "risk.json").write_text(json.dumps(old))
    new = {"comparators": {"breslow": {}}, "depth_text": "depth 1.40 mm", "patches": [{"out_of_distribution": True}]}
    assert read_risk_prediction(tmp_path / "risk.json") == new
