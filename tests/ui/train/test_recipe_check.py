"""What stands in the way of a training, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train import recipe_check
from napari_melanoma.ui.train.recipe_check import check_network


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"architecture": "unet_p4"}, "its network is deeplabv3plus, the recipe's is unet_p4"),
        ({"options": {"encoder": "resnet18"}}, "its deeplabv3plus has other options than the recipe's"),
    ],
    ids=["network", "options"],
)
def test_a_network_whose_weights_do_not_fit_is_named(model: dict[str, object], message: str) -> None:
    values = {"data": {"datasets": ["data"]}, "model": {"start": "lesion-small", **model}}
    with pytest.raises(ConfigError) as refused:
        check_network(TrainRecipe.parse(values, "the test"))
    # A name is not at the beginning, where a sentence would give it a capital.
    assert str(refused.value).startswith(f"The weights of lesion-small do not fit: {message}. ")


def test_a_start_that_is_downloaded_later_is_not_checked_yet() -> None:
    start = f"hf:clinic/lesion@{'a' * 40}"
    check_network(TrainRecipe.parse({"data": {"datasets": ["data"]}, "model": {"start": start}}, "the test"))


def test_the_job_that_starts_a_run_downloads_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the download, which may fail, then the check, then the process."""
    from napari_melanoma.models import hub
    from napari_melanoma.runs import launching
    from napari_melanoma.ui.train.start import launch_run

    done: list[str] = []
    start = f"hf:clinic/lesion@{'a' * 40}"
    monkeypatch.setattr(hub, "_download", lambda name: done.append(f"download {name}"))
    monkeypatch.setattr(recipe_check, "check_recipe_data", lambda *_: done.append("check"))
    monkeypatch.setattr(launching, "create_run_folder", lambda name: tmp_path)
    monkeypatch.setattr(launching, "launch", lambda *_: done.append("launch"))
    recipe = TrainRecipe.parse({"data": {"datasets": ["data"]}, "model": {"start": start}}, "the test")
    assert launch_run(recipe, RunContext()) == tmp_path
    assert done == [f"download {start}", "check", "launch"]


@pytest.mark.parametrize(("count", "is_advised"), [(120, True), (500, False)])
def test_few_photographs_are_to_be_adapted_first(count: int, is_advised: bool) -> None:
    recipe = TrainRecipe.parse({"data": {"datasets": ["data"]}, "task": "classification"}, "the test")
    assert recipe_check.is_for_adapting(count, recipe) == is_advised
    assert not recipe_check.is_for_adapting(count, recipe.model_copy(update={"modalities": ("slide",)}))
