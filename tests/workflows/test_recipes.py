"""The shipped recipes: each is complete with data and a start, says what it is for, and does what it claims."""

from __future__ import annotations

from importlib import resources

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.recipes import ShippedRecipe, shipped_recipe, shipped_recipes

SHIPPED = shipped_recipes()


@pytest.mark.parametrize("shipped", [one for one in SHIPPED if not one.is_of_whole_slides], ids=lambda one: one.name)
@pytest.mark.parametrize("start", ["none", "imagenet", "lesion-small"])
def test_each_is_complete_with_data_and_a_start(shipped: ShippedRecipe, start: str) -> None:
    recipe = shipped.recipe(["corrections"], start)
    assert (recipe.data.datasets, recipe.model.start) == (("corrections",), start)
    assert TrainRecipe.parse(recipe.model_dump(mode="json", exclude_none=True), "again") == recipe


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda recipe: recipe.name)
def test_each_says_what_it_is_for(shipped: ShippedRecipe) -> None:
    assert 20 < len(shipped.summary) < 120
    assert shipped.title
    assert "datasets" not in shipped.values.get("data", {})
    text = (resources.files("napari_melanoma.training") / "recipes" / f"{shipped.name}.toml").read_text()
    assert text.startswith("# "), "a recipe begins with what it is for"


def test_the_one_for_corrections_stands_first() -> None:
    assert [recipe.name for recipe in SHIPPED] == [
        "fine-tune",
        "classify",
        "classify-p1",
        "classify-p2",
        "classify-quick-look",
        "classify-tiles",
        "from-imagenet",
        "from-scratch",
        "quick-look",
        "risk",
        "risk-small",
        "segment-tiles",
        "slide-mil",
    ]


def test_the_one_for_whole_slides_starts_from_nothing() -> None:
    shipped = shipped_recipe("slide-mil")
    assert shipped.start == "none"
    recipe = shipped.recipe(["embeddings"], shipped.start)
    assert (recipe.model.architecture, recipe.bags is not None) == ("attention_mil", True)
    with pytest.raises(ConfigError, match=r"model\.start = 'imagenet'.*embeddings"):
        shipped.recipe(["embeddings"], "imagenet")


def test_fine_tuning_is_gentle() -> None:
    recipe = shipped_recipe("fine-tune").recipe(["corrections"], "lesion-small", data={"base": ["known"]})
    first = TrainRecipe.parse({"data": {"datasets": ["x"]}}, "the defaults")
    assert recipe.learning_rate < first.learning_rate
    assert recipe.model.freeze_normalisation
    assert 0 < recipe.ema_decay < 1
    assert recipe.patience >= recipe.epochs, "the few tuning images are no reason to stop"
    assert (recipe.data.base, recipe.data.base_share) == (("known",), 0.5)


def test_the_network_is_that_of_the_bundle(tiny_bundle: BundleInfo) -> None:
    recipe = shipped_recipe("from-imagenet").recipe(["x"], str(tiny_bundle.path))
    assert recipe.model.options == tiny_bundle.config.options
    assert recipe.name == "tiny-tuned"
    again = shipped_recipe("fine-tune").recipe(["x"], str(tiny_bundle.path))
    assert again.model.input_size == 64


def test_a_classifier_takes_the_encoder_of_another_model(tiny_bundle: BundleInfo) -> None:
    recipe = shipped_recipe("classify").recipe(["x"], str(tiny_bundle.path))
    assert (recipe.name, recipe.model.architecture, recipe.model.input_size) == ("melanoma", "image_tabular", 160)
    assert recipe.model.start == str(tiny_bundle.path)


def test_overrides_win(tiny_bundle: BundleInfo) -> None:
    recipe = shipped_recipe("fine-tune").recipe(
        ["x"], str(tiny_bundle.path), name="mine", epochs=3, data={"tuning_fraction": 0.3}, model={"input_size": 96}
    )
    assert (recipe.name, recipe.epochs, recipe.data.tuning_fraction, recipe.model.input_size) == ("mine", 3, 0.3, 96)
    assert recipe.data.datasets == ("x",)


def test_what_is_not_allowed_is_said() -> None:
    with pytest.raises(ConfigError, match="there is no recipe 'fast'"):
        shipped_recipe("fast")
    with pytest.raises(ConfigError, match="unknown key 'speed'"):
        SHIPPED[0].recipe(["x"], "none", speed=3)
    with pytest.raises(ConfigError, match=r"data\.datasets"):
        SHIPPED[0].recipe([], "none")
    with pytest.raises(BundleError, match="no model named 'gone'"):
        SHIPPED[0].recipe(["x"], "gone")


def test_the_risk_is_learnt_as_the_paper_says() -> None:
    recipe = shipped_recipe("risk").recipe(["cohort"], "imagenet")
    assert (recipe.optimiser, recipe.learning_rate, recipe.batch_size) == ("adam", 1e-3, 32)
    assert (recipe.epochs, recipe.patience, recipe.model.input_size) == (50, 10, 512)
    assert (recipe.model.options["encoder"], recipe.model.pixels, recipe.data.sampling) == (
        "resnet50",
        "unit",
        "balanced",
    )
    assert recipe.classification is not None
    assert recipe.classification.tabular is not None
    columns = [*recipe.classification.tabular.numbers, *recipe.classification.tabular.words]
    assert {column.name: column.encoding for column in columns} == dict.fromkeys(("age", "sex", "site"), "one_hot")


@pytest.mark.parametrize("name", ["risk", "risk-small"])
def test_patches_with_a_patient_are_a_data_set_like_any_other(name: str) -> None:
    shipped = shipped_recipe(name)
    assert not shipped.is_of_slides, "no tiles that were cut from regions"
    recipe = shipped.recipe(["cohort"], "none")
    assert recipe.modalities == ("slide",), "so that no photograph is shown to it"
    assert recipe.classification is not None
    assert recipe.classification.depth is not None
    assert (recipe.classification.target, recipe.classification.positive) == ("metastasis", "metastasis")
