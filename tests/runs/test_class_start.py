"""The start of a classifier: its images are normalized as for its starting weights."""

from __future__ import annotations

from typing import Any

import pytest

from napari_melanoma.core.errors import RunError
from napari_melanoma.runs.starting_weights import (
    check_start,
    create_network,
    describe_start,
    find_normalization,
    find_parent,
)
from napari_melanoma.training.recipe import TrainRecipe

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TABLE_ALONE = {"architecture": "image_tabular", "options": {"fusion": "tabular"}}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def recipe_of(task: str = "classification", **model: Any) -> TrainRecipe:
    return TrainRecipe.parse({"task": task, "data": {"datasets": ["somewhere"]}, "model": model}, "recipe")


CASES = [
    pytest.param({"start": "imagenet"}, HALF, id="the package's encoder"),
    pytest.param({"start": "imagenet", "options": {"encoder": "resnet50"}}, IMAGENET, id="the papers' encoder"),
    pytest.param({"start": "r50.pth", "options": {"encoder": "resnet50"}}, IMAGENET, id="its official file"),
    pytest.param({"start": "own.pth", **TABLE_ALONE}, {}, id="a file of a network without an encoder"),
    pytest.param({"start": "none", "options": {"encoder": "resnet50"}}, {}, id="random weights"),
    pytest.param({"start": "lesion-small"}, HALF, id="the encoder of a segmentation model"),
]


@pytest.mark.parametrize(("model", "expected"), CASES)
def test_images_are_normalized_as_for_the_weights(model: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = recipe_of(**model)
    assert find_normalization(recipe, find_parent(recipe)) == expected


def test_a_segmentation_has_no_normalization_of_its_own() -> None:
    assert find_normalization(recipe_of("segmentation", options={"encoder": "resnet34"}), None) == {}


@pytest.mark.slow
def test_a_classifier_starts_from_the_encoder_of_the_shipped_segmentation_model() -> None:
    from napari_melanoma.models.bundle import load_network
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.models.zoo import find_encoder

    recipe, notices = recipe_of(start="lesion-small", options={"output_stride": 16}), []
    check_start(recipe)
    own, reference = (
        find_encoder(network)
        for network in (create_network(recipe, notify=notices.append), load_network(find_bundle("lesion-small")))
    )
    assert own is not None
    assert reference is not None
    state = reference.state_dict()
    assert all(bool((value == state[name]).all()) for name, value in own.state_dict().items())
    assert notices == ["start: the encoder (240 tensors) is from 'lesion-small'; all other weights are random."]
    assert describe_start(recipe, find_parent(recipe)).startswith("encoder of lesion-small, weights ")


def test_a_network_without_published_weights_cannot_start_from_them() -> None:
    recipe = recipe_of(start="imagenet", **TABLE_ALONE)
    with pytest.raises(RunError, match="there are no ImageNet weights for image_tabular"):
        find_normalization(recipe, None)


@pytest.mark.parametrize(("options", "is_offered"), [({}, True), ({"encoder": "resnet18"}, False)])
def test_other_columns_than_those_of_the_start_need_a_new_head(options: dict[str, str], is_offered: bool) -> None:
    """Which is offered only if the encoders are the same."""
    recipe = recipe_of(start="melanoma-small", options=options)
    with pytest.raises(RunError, match=r"the columns age, sex, the recipe names none\. Set classification.tab") as info:
        check_start(recipe)
    assert ("or model.start_weights to 'encoder' for a new head" in str(info.value)) is is_offered
    if is_offered:
        check_start(recipe.model_copy(update={"model": recipe.model.model_copy(update={"start_weights": "encoder"})}))
