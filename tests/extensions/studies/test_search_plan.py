"""The trials of a search: reproducible samples within their ranges; wrong keys are reported before training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.extensions.studies.search import (
    SearchConfig,
    SearchRecipe,
    SearchTrial,
    create_recipes,
    draw_trials,
    find_best_trial,
    format_value,
)

TEXT = """
name = "lesion"
loss = "bce_dice"
[data]
datasets = ["data/isic2017"]
[model]
architecture = "unet"
[model.options]
encoder = "tf_efficientnet_lite0"
[search]
trials = 6
[search.options]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
weight_decay = { low = 0.0, high = 0.1 }
batch_size = { low = 4, high = 32, step = 4 }
loss = ["ce", "soft_dice"]
model.input_size = [64, 96]
"augmentation.hue" = { low = 0.0, high = 0.1, step = 0.025 }
"""


def written(folder: Path, text: str = TEXT) -> SearchRecipe:
    (folder / "recipe.toml").write_text(text)
    return read_toml(folder / "recipe.toml", SearchRecipe)


def drawn(**values: Any) -> list[dict[str, Any]]:
    return draw_trials(SearchConfig.parse(values, "the test"))


def test_the_best_trial_has_the_highest_known_result(tmp_path: Path) -> None:
    (recipe,) = create_recipes(written(tmp_path), [{}])
    results = (None, math.nan, 0.0, 0.9, 0.9)
    trials = [SearchTrial(number, {}, recipe, tmp_path, result=result) for number, result in enumerate(results)]
    assert find_best_trial(trials) is trials[3]
    assert find_best_trial(trials[:3]) is trials[2]
    assert find_best_trial(trials[:2]) is None


def test_draws_stay_in_their_ranges(tmp_path: Path) -> None:
    search = written(tmp_path).search.model_copy(update={"trials": 60})
    draws = draw_trials(search)
    assert len(draws) == 60
    assert list(draws[0]) == [
        "learning_rate", "weight_decay", "batch_size", "loss", "model.input_size", "augmentation.hue"
    ]  # fmt: skip
    rates = [draw["learning_rate"] for draw in draws]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 12 < sum(rate < 1e-3 for rate in rates) < 48  # half of them, where the logarithm is even
    assert all(0 <= draw["weight_decay"] <= 0.1 for draw in draws)
    assert {draw["batch_size"] for draw in draws} == set(range(4, 33, 4))
    assert {draw["loss"] for draw in draws} == {"ce", "soft_dice"}
    assert {draw["augmentation.hue"] for draw in draws} == {0, 0.025, 0.05, 0.075, 0.1}


def test_numbers_are_short() -> None:
    for draw in drawn(trials=20, options={"learning_rate": {"low": 1e-5, "high": 0.123456, "log": True}}):
        assert float(f"{draw['learning_rate']:.4g}") == draw["learning_rate"]


def test_numbers_with_a_step_are_on_its_grid() -> None:
    draws = drawn(trials=20, options={"learning_rate": {"low": 1.2335, "high": 1.235, "step": 0.0005}})
    assert {draw["learning_rate"] for draw in draws} == {1.2335, 1.234, 1.2345, 1.235}
    old = [{"hue": 0.0}, {"hue": 0.0333}, {"hue": 0.0667}]  # sampled with four digits, of four numbers
    search = SearchConfig.parse({"trials": 50, "options": {"hue": {"low": 0, "high": 0.1, "step": 0.1 / 3}}}, "")
    assert draw_trials(search, old) == [*old, {"hue": 0.1}]


def test_draws_follow_from_the_seed_and_more_trials_change_none(tmp_path: Path) -> None:
    search = written(tmp_path).search
    first = draw_trials(search)
    assert first == draw_trials(search)
    assert first == draw_trials(search.model_copy(update={"trials": 9}))[:6]
    assert first != draw_trials(search.model_copy(update={"seed": 1}))


def test_previous_trials_are_kept(tmp_path: Path) -> None:
    search = written(tmp_path).search
    kept = draw_trials(search.model_copy(update={"seed": 5, "trials": 3}))
    assert draw_trials(search, kept)[:3] == kept
    assert draw_trials(search.model_copy(update={"trials": 2}), kept) == kept  # one that was trained is not lost


def test_trials_are_unique_and_may_be_exhausted() -> None:
    draws = drawn(trials=50, options={"loss": ["ce", "bce"], "samples": {"low": 0, "high": 2}})
    assert len(draws) == 6
    assert len({format_value(draw) for draw in draws}) == 6


def test_the_recipe_of_each_trial(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    draws = draw_trials(recipe.search)
    recipes = create_recipes(recipe, draws)
    assert [each.name for each in recipes][:2] == ["lesion-001", "lesion-002"]
    for draw, each in zip(draws, recipes, strict=True):
        assert type(each) is type(recipe.base)
        assert (each.learning_rate, each.loss) == (draw["learning_rate"], draw["loss"])
        assert (each.model.input_size, each.augmentation.hue) == (draw["model.input_size"], draw["augmentation.hue"])
        assert each.model.options == recipe.model.options


def test_a_table_sets_several_keys(tmp_path: Path) -> None:
    text = TEXT.split("[search.options]")[0]
    networks = """[search.options]
model = [
    { architecture = "deeplabv3plus", options = {} },
    { architecture = "unet", options = { encoder = "mobilenetv3_small_050" } },
]
model.input_size = [64]
"""
    with pytest.raises(ConfigError, match="TOML"):
        written(tmp_path, text + networks)  # TOML does not allow further keys of a list
    recipe = written(tmp_path, text + networks.replace("model.input_size", '"model.input_size"'))
    found = {each.model.architecture: each.model for each in create_recipes(recipe, draw_trials(recipe.search))}
    assert found["deeplabv3plus"].options == {}
    assert found["unet"].options == {"encoder": "mobilenetv3_small_050"}
    assert {model.input_size for model in found.values()} == {64}


def test_a_round_trip_through_toml(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    write_toml(tmp_path / "search.toml", recipe)
    assert read_toml(tmp_path / "search.toml", SearchRecipe) == recipe


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loss": []}, "low and high"),
        ({"learning_rate": {"low": 1e-3}}, "low and high"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, "below high"),
        ({"learning_rate": {"low": 0.0, "high": 1e-3, "log": True}}, "above 0"),
        ({"learning_rate": {"low": 0.1, "high": 1, "values": [1]}}, "one of them"),
        ({"learning_rate": {"low": 0.1, "high": 1, "lgo": True}}, "unknown key"),
        ({"learning_rate": {"low": 0.1, "high": math.inf}}, "must be finite"),
        ({"learning_rate": {"low": math.nan, "high": 1}}, "must be finite"),
        ({}, "at least 1"),
    ],
)
def test_invalid_search_spaces(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        drawn(options=options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lernrate": [1]}, "unknown key 'lernrate'"),
        ({"loss": ["ce", "guess"]}, "no such name"),
        ({"model.architecture": ["guess"]}, "trial 1 of the search .model.architecture = guess."),
        ({"model.options.decoder": [1]}, "unknown key 'decoder'"),
        ({"epochs.length": [1]}, "'epochs' of the recipe is not a table"),
    ],
)
def test_a_trial_with_an_invalid_recipe(options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    recipe = written(tmp_path)
    search = SearchConfig.parse({"trials": 4, "options": options}, "the test")
    with pytest.raises(ConfigError, match=expected):
        create_recipes(recipe, draw_trials(search))


@pytest.mark.parametrize(("value", "text"), [("ce", "ce"), (0.5, "0.5"), (True, "true"), ({"a": 1}, '{"a": 1}')])
def test_label(value: object, text: str) -> None:
    assert format_value(value) == text


def test_whole_numbers_are_drawn_where_both_ends_are_whole() -> None:
    whole, broken = (drawn(trials=5, options={"x": {"low": 0, "high": high}}) for high in (1000, 1000.0))
    assert all(isinstance(draw["x"], int) for draw in whole)
    assert any(math.modf(draw["x"])[0] for draw in broken)
