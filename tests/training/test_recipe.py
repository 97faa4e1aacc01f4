"""Contradictory recipes are refused."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.training.losses import losses
from napari_melanoma.training.recipe import TrainRecipe

EARLIER = """
name = "lesion"
loss = "soft_jaccard"
schedule = "cosine"
[data]
datasets = ["data/isic2017"]
[model]
architecture = "deeplabv3plus"
options = { encoder = "tf_efficientnet_lite0", output_stride = 16, decoder_channels = 256 }
"""


def test_a_recipe_of_an_earlier_version_reads_as_it_did(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(EARLIER)
    recipe = read_toml(tmp_path / "config.toml", TrainRecipe)
    assert (recipe.loss, recipe.schedule, recipe.threshold_rule) == ("soft_jaccard", "cosine", "steady")


def test_a_shipped_bundle_still_states_how_it_was_made() -> None:
    config = find_bundle(DEFAULT_BUNDLE).config
    assert config.provenance["loss"] in losses()
    assert 0 < config.threshold < 1


def test_a_fault_among_the_options_of_a_network_names_the_recipe() -> None:
    values = {"data": {"datasets": ["set"]}, "model": {"options": {"x": 1}}}
    with pytest.raises(ConfigError, match=r"my\.toml: the options of 'deeplabv3plus': unknown key 'x'"):
        TrainRecipe.parse(values, "my.toml")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (
            {"task": "classification", "lesion_weight": 2, "threshold_rule": "half"},
            "lesion_weight, threshold_rule: without effect in a recipe for a classifier",
        ),
        ({"classes": ["a", "b"], "threshold_rule": "half"}, "threshold_rule: .* for several classes"),
        (
            {"task": "classification", "bags": {}, "augmentation": {"flip": False}, "data": {"cache_size": 64}},
            "augmentation, data.cache_size: .* for whole slides",
        ),
        ({"task": "classification", "lesion_weight": 1, "threshold_rule": "steady"}, ""),
        ({"classes": ["a", "b"], "keep": "last", "data": {"validation_fraction": 0}}, ""),
    ],
)
def test_options_without_effect_are_refused(values: dict[str, Any], fault: str) -> None:
    values = {**values, "data": {"datasets": ["set"], **values.get("data", {})}}
    with pytest.raises(ConfigError, match=fault) if fault else nullcontext():
        TrainRecipe.parse(values, "my.toml")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, ""),
        ({"modalities": ["dermoscopic"]}, ""),
        ({"task": "classification"}, "for a classifier"),
        ({"classes": ["a", "b"]}, "for several classes"),
        ({"modalities": ["slide"]}, "for prompts or slides"),
        ({"model": {"architecture": "prompted_unet"}}, "for prompts or slides"),
        ({"model": {"closer_views": [2, 1.5]}}, "ascending"),
    ],
)
def test_closer_views_are_those_of_one_lesion_in_photographs(values: dict[str, Any], fault: str) -> None:
    model = {"closer_views": [1.4, 2.4], **values.get("model", {})}
    with pytest.raises(ConfigError, match=fault) if fault else nullcontext():
        TrainRecipe.parse({"data": {"datasets": ["set"]}, **values, "model": model}, "my.toml")
    if "closer_views" not in values.get("model", {}):
        model = {"turned_views": 4, **values.get("model", {})}
        with pytest.raises(ConfigError, match=fault) if fault else nullcontext():
            TrainRecipe.parse({"data": {"datasets": ["set"]}, **values, "model": model}, "my.toml")


def test_a_recipe_of_distillation_is_refused_with_the_reason() -> None:
    values = {"name": "student", "data": {"datasets": ["a"]}, "teacher": {"bundle": "big", "weight": 0.5}}
    with pytest.raises(ConfigError, match=r"^student\.toml: distillation is not supported"):
        TrainRecipe.parse(values, "student.toml")


def test_classes_that_are_no_list_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"my\.toml: 'classes' is 3"):
        TrainRecipe.parse({"data": {"datasets": ["set"]}, "classes": 3}, "my.toml")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "set keep = 'last' and threshold_rule = 'half'"),
        ({"keep": "last"}, "set keep = 'last' and threshold_rule = 'half'"),
        ({"keep": "last", "task": "classification"}, "calibrated on validation images"),
        ({"keep": "last", "threshold_rule": "half"}, ""),
    ],
)
def test_no_validation_images_require_that_nothing_is_selected(more: dict[str, str], message: str) -> None:
    values = {"data": {"datasets": ["data"], "validation_fraction": 0}, **more}
    if not message:
        assert TrainRecipe.parse(values, "my.toml").data.validation_fraction == 0
        return
    with pytest.raises(ConfigError, match=message):
        TrainRecipe.parse(values, "my.toml")
