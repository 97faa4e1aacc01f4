"""The shipped recipes: each can be completed, has a summary, and sets the documented values."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from slide_models import SKIN_TEST, TILE_TEST
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.errors import BundleError, ConfigError, RunError
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.runs.shipped_recipes import ShippedRecipe, find_shipped_recipe, list_shipped_recipes
from napari_melanoma.runs.starting_weights import create_network, describe_start, find_parent
from napari_melanoma.runs.train import _check_classes
from napari_melanoma.slides.tile_sets import TileSet, write_tile_set
from napari_melanoma.training.data_selection import ClassTable, SelectedSamples, keep_labeled
from napari_melanoma.training.recipe import TrainRecipe

SHIPPED = list_shipped_recipes()


@pytest.mark.parametrize("shipped", [one for one in SHIPPED if not one.is_of_whole_slides], ids=lambda one: one.name)
@pytest.mark.parametrize("start", ["none", "imagenet", "lesion-small"])
def test_each_is_complete_with_data_and_a_start(shipped: ShippedRecipe, start: str) -> None:
    recipe = shipped.complete(["corrections"], start)
    assert (recipe.data.datasets, recipe.model.start) == (("corrections",), start)
    assert TrainRecipe.parse(recipe.model_dump(mode="json", exclude_none=True), "again") == recipe


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda recipe: recipe.name)
def test_each_has_a_summary(shipped: ShippedRecipe) -> None:
    assert 20 < len(shipped.summary) < 120
    assert shipped.title
    assert "datasets" not in shipped.values.get("data", {})


def test_a_recipe_file_starts_with_its_purpose() -> None:
    package = resources.files("napari_melanoma")
    for folder in (package / "training" / "recipes", package / "extensions" / "papers" / "recipes"):
        texts = {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}
        assert [name for name, text in texts.items() if not text.startswith("# ")] == []


def test_the_recipe_for_corrections_is_first() -> None:
    assert [recipe.name for recipe in SHIPPED] == [
        "fine-tune",
        "classify",
        "classify-p1",
        "classify-p2",
        "classify-tiles",
        "from-imagenet",
        "from-scratch",
        "paint-network",
        "risk",
        "risk-small",
        "segment-p4",
        "segment-tiles",
        "slide-mil",
        "slide-patients",
    ]


def test_the_recipe_for_whole_slides_starts_from_scratch() -> None:
    shipped = find_shipped_recipe("slide-mil")
    assert shipped.start == "none"
    recipe = shipped.complete(["embeddings"], shipped.start)
    assert (recipe.model.architecture, recipe.bags is not None) == ("attention_mil", True)
    with pytest.raises(ConfigError, match=r"model\.start = 'imagenet'.*embeddings"):
        shipped.complete(["embeddings"], "imagenet")


def test_fine_tuning_has_small_learning_rates() -> None:
    recipe = find_shipped_recipe("fine-tune").complete(["corrections"], "lesion-small", data={"replay": ["known"]})
    first = TrainRecipe.parse({"data": {"datasets": ["x"]}}, "the defaults")
    assert recipe.learning_rate < first.learning_rate
    assert recipe.model.freeze_normalisation
    assert 0 < recipe.ema_decay < 1
    assert recipe.patience >= recipe.epochs, "few validation images do not stop the run"
    assert (recipe.data.replay, recipe.data.replay_share) == (("known",), 0.5)


def test_the_network_is_that_of_the_bundle(tiny_bundle: BundleInfo) -> None:
    recipe = find_shipped_recipe("from-imagenet").complete(["x"], str(tiny_bundle.path))
    assert recipe.model.options == tiny_bundle.config.options
    assert recipe.name == "tiny-tuned"
    again = find_shipped_recipe("fine-tune").complete(["x"], str(tiny_bundle.path))
    assert again.model.input_size == 64


def test_a_classifier_takes_the_encoder_of_another_model(tiny_bundle: BundleInfo) -> None:
    recipe = find_shipped_recipe("classify").complete(["x"], str(tiny_bundle.path))
    assert (recipe.name, recipe.model.architecture, recipe.model.input_size) == ("melanoma", "image_tabular", 160)
    assert recipe.model.start == str(tiny_bundle.path)


def test_overrides_win(tiny_bundle: BundleInfo) -> None:
    recipe = find_shipped_recipe("fine-tune").complete(
        ["x"], str(tiny_bundle.path), name="mine", epochs=3, data={"validation_fraction": 0.3}, model={"input_size": 96}
    )
    assert (recipe.name, recipe.epochs, recipe.data.validation_fraction, recipe.model.input_size) == (
        "mine",
        3,
        0.3,
        96,
    )
    assert recipe.data.datasets == ("x",)


def test_invalid_values_are_reported() -> None:
    with pytest.raises(ConfigError, match="there is no recipe 'fast'"):
        find_shipped_recipe("fast")
    with pytest.raises(ConfigError, match="unknown key 'speed'"):
        SHIPPED[0].complete(["x"], "none", speed=3)
    with pytest.raises(ConfigError, match=r"data\.datasets"):
        SHIPPED[0].complete([], "none")
    with pytest.raises(BundleError, match="no model named 'gone'"):
        SHIPPED[0].complete(["x"], "gone")


@pytest.mark.parametrize("name", ["risk", "risk-small"])
def test_patches_with_a_patient_are_a_data_set_like_any_other(name: str) -> None:
    shipped = find_shipped_recipe(name)
    assert not shipped.is_of_slides, "no tiles that were cut from regions"
    recipe = shipped.complete(["cohort"], "none")
    assert recipe.modalities == ("slide",), "it must not be used for photographs"
    assert recipe.classification is not None
    assert recipe.classification.depth is not None
    assert (recipe.classification.target, recipe.classification.positive) == ("metastasis", "metastasis")


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A data set of tiles of four classes, one of which no shipped model has."""
    labels = ("background", "benign tissue", "melanoma", "naevus", "necrosis")
    tile = TileConfig(mpp=1.0, side_px=128)
    write_tile_set(tmp_path, TileSet(tile=tile, labels=labels, classes=labels[1:]))
    return tmp_path


@pytest.mark.parametrize(
    ("start_weights", "classes", "name"),
    [
        ("all", ("benign tissue", "naevus", "melanoma"), "tile-test-tuned"),
        ("encoder", ("benign tissue", "melanoma", "naevus", "necrosis"), "tile-test-new"),
    ],
)
def test_a_start_keeps_its_classes_or_provides_its_encoder(
    tiles: Path, start_weights: str, classes: tuple[str, ...], name: str
) -> None:
    recipe = find_shipped_recipe("classify-tiles").complete([tiles], str(TILE_TEST), start_weights)
    assert recipe.classification is not None
    assert (recipe.classification.classes, recipe.name, recipe.model.start_weights) == (classes, name, start_weights)
    assert recipe.model.architecture == "image_tabular"
    assert recipe.model.options["encoder"] == "tf_efficientnet_lite0"
    assert recipe.tile == TileConfig(mpp=1.0, side_px=128)
    parent = find_parent(recipe)
    assert parent is not None
    assert (parent.part, parent.name) == (start_weights, "tile-test")
    assert ("classes" in recipe.model.options) == (start_weights == "all")


def test_the_encoder_is_copied_and_the_head_is_new(tiles: Path) -> None:
    from napari_melanoma.models.bundle import load_network
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.models.zoo import find_encoder

    recipe = find_shipped_recipe("classify-tiles").complete([tiles], str(TILE_TEST), "encoder")
    notices: list[str] = []
    network = create_network(recipe, {**recipe.model.options, "classes": 4, "tabular": {}}, notify=notices.append)
    own, reference = (find_encoder(one) for one in (network, load_network(find_bundle(str(TILE_TEST)))))
    assert own is not None
    assert reference is not None
    known = reference.state_dict()
    assert all(bool((value == known[name]).all()) for name, value in own.state_dict().items())
    heads = [value.shape[0] for name, value in network.state_dict().items() if name.startswith("head") and value.ndim]
    assert heads[-1] == 4
    assert "is from 'tile-test'; all other weights are random" in notices[0]
    assert describe_start(recipe, find_parent(recipe)).startswith("encoder of tile-test, weights ")


def test_a_segmentation_of_other_classes_takes_network_and_encoder_of_the_model(tiles: Path) -> None:
    recipe = find_shipped_recipe("segment-tiles").complete([tiles], str(SKIN_TEST))
    assert recipe.model.options == {
        "encoder": "tf_efficientnet_lite0",
        "levels_left_off": 2,
        "output_stride": 16,
        "decoder_channels": 32,
        "classes": 5,
    }
    parent = find_parent(recipe)
    assert parent is not None
    assert parent.part == "encoder"
    assert create_network(recipe) is not None


def test_the_command_line_states_which_part_is_used(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.toml"
    words = [
        "recipes",
        "write",
        "classify-tiles",
        "--data",
        str(tiles),
        "--start",
        str(TILE_TEST),
        "--start-weights",
        "encoder",
    ]
    done = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert read_toml(out, TrainRecipe).model.start_weights == "encoder"


def test_images_of_unused_classes_are_reported() -> None:
    samples = [Sample(f"i{n}", Path(f"i{n}.png"), None, f"g{n}", "train", "set") for n in range(4)]
    labels = dict(zip((("set", one.image_id) for one in samples), ("a", "b", "new", "new"), strict=True))
    known = {key: label for key, label in labels.items() if label != "new"}
    table = ClassTable(("a", "b"), known, {}, {key: label for key, label in labels.items() if label == "new"})
    chosen, (notice,) = keep_labeled(SelectedSamples(TrainingSplit(samples, [], [])), table)
    assert [one.image_id for one in chosen.parts.training] == ["i0", "i1"]
    assert notice.startswith("2 of 4 images are new, which is not among the trained classes,")
    assert "model.start_weights = 'encoder'" in notice


def test_other_classes_need_a_new_head(tiles: Path) -> None:
    prepared: Any = SimpleNamespace(classes=SimpleNamespace(names=("benign tissue", "melanoma", "naevus", "necrosis")))
    whole = find_shipped_recipe("classify-tiles").complete([tiles], str(TILE_TEST))
    with pytest.raises(RunError, match=r"or model.start_weights to 'encoder'"):
        _check_classes(whole, prepared)
    _check_classes(find_shipped_recipe("classify-tiles").complete([tiles], str(TILE_TEST), "encoder"), prepared)


def test_tiles_are_not_trained_with_preprocessing_that_slides_do_not_get() -> None:
    values = {"task": "classification", "data": {"datasets": ["any"]}, "tile": {"mpp": 1.0, "side_px": 64}}
    with pytest.raises(ConfigError, match=r"stain normalized .macenko.*slides are analyzed without"):
        TrainRecipe.parse({**values, "model": {"preprocessing": {"stain": "macenko"}}}, "a recipe")
