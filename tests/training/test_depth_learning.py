"""Depth as a second target: trained on the rows that have one, in one or two stages, and resumed exactly."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.io.results import write_table
from napari_melanoma.models.bundle import BundleInfo, load_network, read_bundle
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
Change = Callable[..., TrainRecipe]
Stop = Callable[..., None]
SIDE, MM_PX = 64, 14  # pixels per millimeter
EVERY = 7  # one of so many rows has no depth
OPTIONS = {"encoder": "test_efficientnet", "depth_channels": [4, 4, 8], "depth_grid": 4, "hidden": [16, 8]}
COLUMNS = {"numbers": [{"name": "age"}], "words": [{"name": "sex"}]}


def draw_slabs(folder: Path, count: int = 56) -> Path:
    """Write sections with a slab below the surface: its color is the class, its thickness the depth."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(count):
        blue, depth = bool(rng.random() < 0.5), rng.uniform(0.3, 3.8)
        rgb = np.full((SIDE, SIDE, 3), 220.0) + np.kron(rng.normal(0, 8, (16, 16, 1)), np.ones((4, 4, 1)))
        rgb[6 : 6 + round(depth * MM_PX)] -= (170, 160, 60) if blue else (60, 160, 170)
        Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(folder / f"images/s{index:02}.png")
        row: dict[str, object] = {"image_id": f"s{index:02}", "patient_id": f"p{index}", "split": "train"}
        row |= {"age": int(rng.integers(20, 80)), "sex": rng.choice(["male", "female"])}
        row |= {"depth_mm": round(depth, 2) if index % EVERY else "", "metastasis": "yes" if blue else "no"}
        rows.append(row)
    write_table(folder / "dataset.csv", rows)
    return folder


@pytest.fixture(scope="session")
def slabs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_slabs(tmp_path_factory.mktemp("slabs") / "slabs")


@pytest.fixture(scope="session")
def few_slabs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_slabs(tmp_path_factory.mktemp("slabs") / "few", 28)


@pytest.fixture
def deep(few_slabs: Path) -> TrainRecipe:
    """Two epochs of the smallest network that predicts a depth."""
    return TrainRecipe.parse(
        {
            "name": "deep",
            "task": "classification",
            "epochs": 2,
            "batch_size": 8,
            "samples": 0,
            "device": "cpu",
            "precision": "fp32",
            "learning_rate": 1e-2,
            "data": {
                "datasets": [str(few_slabs)],
                "validation_fraction": 0.33,
                "cache_size": SIDE,
                "test_fraction": 0.0,
            },
            "model": {"architecture": "biomarker", "start": "none", "input_size": SIDE, "options": OPTIONS},
            "augmentation": {"scale": (1.0, 1.0), "aspect": 1.0, "rotation": 0, "flip": False, "shift": 0.0},
            "classification": {
                "target": "metastasis",
                "positive": "metastasis",
                "view": {"region": "photograph"},
                "depth": {},
                "tabular": COLUMNS,
                "drop_form": 0.0,
                "drop_field": 0.0,
            },
        },
        "the test",
    )


def learnt(recipe: TrainRecipe, out: Path) -> BundleInfo:
    bundle = train(recipe, out, resume=False, run=RunContext())
    assert bundle is not None
    return bundle


def metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_class_and_depth_are_trained_together(deep: TrainRecipe, slabs: Path, tmp_path: Path, change: Change) -> None:
    data = {"datasets": [str(slabs)]}
    recipe = change(deep, epochs=8, keep="last", data=data, model={"options": {**OPTIONS, "depth_log": True}})
    bundle = learnt(recipe, tmp_path / "run")
    first, *_, last = metrics(tmp_path / "run")
    assert last["validation_auc"] > 0.95
    assert last["validation_depth_r"] > 0.9
    assert last["validation_depth_mae_mm"] < min(0.6, 0.7 * first["validation_depth_mae_mm"])
    config = bundle.config
    assert config.classifier is not None
    found = config.classifier.depth
    assert found is not None
    assert found.column == "depth_mm"
    assert found.scale.log
    assert (found.scale.mean, found.scale.std) == (config.options["depth_mean"], config.options["depth_std"])
    assert found.mae_mm == pytest.approx(
        last["validation_depth_mae_mm"], rel=0.05
    )  # weights are stored in half precision
    assert found.pearson == pytest.approx(last["validation_depth_r"], abs=0.02)
    assert found.margin is not None
    assert 0 < found.images < config.provenance["data"]["validation"], "some rows have no depth"


MEASURED = {"numbers": [{"name": "age"}, {"name": "depth_mm", "missing": "unknown"}], "words": []}


def test_a_resumed_run_equals_an_uninterrupted_one(
    deep: TrainRecipe, tmp_path: Path, change: Change, stop: Stop
) -> None:
    """In two stages, with mixed images, predicted uncertainty, and measured depths."""
    options = {"heteroscedastic": True, "depth_module": "attention", "depth_source": "measured"}
    options |= {"depth_encoding": "both", "head_dropout": 0.3}
    classification = {"stages": 2, "first_stage": 0.34, "mixup": 0.3, "drop_field": 0.3, "tabular": MEASURED}
    classification |= {"depth": {"loss": "gaussian_nll"}}
    model = {"options": {**OPTIONS, **options}}
    recipe = change(deep, keep="last", epochs=3, model=model, classification=classification)
    whole = learnt(recipe, tmp_path / "whole")
    stop(recipe, tmp_path / "parts", "Epoch 3 of 3, ")
    parts = train(recipe, tmp_path / "parts", resume=True, run=RunContext())
    assert parts is not None
    assert parts.config.classifier == whole.config.classifier
    weights = [load_network(read_bundle(tmp_path / name / "bundle")).state_dict() for name in ("whole", "parts")]
    assert all(bool((value == weights[1][name]).all()) for name, value in weights[0].items())


def test_the_second_stage_trains_the_head_only(deep: TrainRecipe, tmp_path: Path, change: Change) -> None:
    staged = change(deep, keep="last", schedule="constant", classification={"stages": 2, "first_stage": 0.34})
    first, both = (
        load_network(learnt(change(staged, epochs=epochs), tmp_path / str(epochs))).state_dict() for epochs in (1, 2)
    )
    held = {name: bool((value == both[name]).all()) for name, value in first.items()}
    assert not any(name.startswith("_first") for name in held), "the head of the first stage is not a part of the model"
    assert {name for name, same in held.items() if not same} == {
        name for name in held if name.startswith(("head.", "fusion."))
    }


def test_the_depth_head_does_not_affect_the_first_stage(deep: TrainRecipe, tmp_path: Path, change: Change) -> None:
    staged = change(deep, epochs=1, keep="last", gradient_clip=1e6, classification={"stages": 2})
    forms = {"shown": staged, "taken away": change(staged, classification={"drop_form": 0.9})}
    one, two = (load_network(learnt(recipe, tmp_path / name)).state_dict() for name, recipe in forms.items())
    same = {name: bool((value == two[name]).all()) for name, value in one.items()}
    assert all(same[name] for name in same if name.startswith(("encoder.", "attention.", "depth.")))
    assert not all(same[name] for name in same if name.startswith("head."))


def test_the_image_module_is_trained_without_the_depth_in_the_first_stage() -> None:
    import torch

    from napari_melanoma.models.zoo import build_network
    from napari_melanoma.training.tasks.classification import FirstStage

    network: Any = build_network("biomarker", {**OPTIONS, "depth_mean": 1.5, "depth_std": 0.5})
    stage = FirstStage(network, 2, 3)
    features = torch.rand(2, network.image_maps + 1)
    deeper = features.clone()
    deeper[:, -1] += 5
    assert torch.equal(stage(features), stage(deeper))
    features[:, 0] += 5
    assert not torch.equal(stage(features), stage(deeper))


@pytest.mark.parametrize("loss", ["smooth_l1", "gaussian_nll"])
def test_cases_without_a_depth_have_no_effect_on_it(loss: Any) -> None:
    import torch

    from napari_melanoma.models.zoo import build_network
    from napari_melanoma.training.recipe import DepthTargetConfig
    from napari_melanoma.training.tasks.classification import DepthLoss

    network: Any = build_network("biomarker", {**OPTIONS, "depth_mean": 1.5, "depth_std": 0.5})
    criterion = DepthLoss(DepthTargetConfig(loss=loss, weight=2.0))
    predicted = torch.tensor([[0.2, -1.0], [3.0, 0.5], [1.0, 0.0]], requires_grad=True)
    mm = torch.tensor([1.0, torch.nan, 2.5])
    found = criterion(network, predicted, mm)
    assert float(found.detach()) == pytest.approx(float(criterion(network, predicted[[0, 2]], mm[[0, 2]]).detach()))
    found.backward()
    assert predicted.grad is not None
    assert predicted.grad[1].tolist() == [0.0, 0.0]
    assert bool(predicted.grad.isfinite().all())
    nothing = criterion(network, predicted, torch.full((3,), torch.nan))
    assert float(nothing.detach()) == 0.0
    assert nothing.requires_grad, "every weight has a gradient"


def test_the_gaussian_loss_is_smallest_if_the_uncertainty_equals_the_error() -> None:
    import torch

    from napari_melanoma.models.zoo import build_network
    from napari_melanoma.training.recipe import DepthTargetConfig
    from napari_melanoma.training.tasks.classification import DepthLoss

    network: Any = build_network("biomarker", OPTIONS)
    criterion = DepthLoss(DepthTargetConfig(loss="gaussian_nll"))
    spreads = torch.linspace(-3, 3, 61)
    fault = [float(criterion(network, torch.tensor([[0.5, spread]]), torch.tensor([1.0]))) for spread in spreads]
    assert float(spreads[int(np.argmin(fault))]) == pytest.approx(2 * np.log(0.5), abs=0.06)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to teach the module": ({"classification": {"depth": None}}, r"add \[classification\.depth\]"),
    "no module": (
        {"model": {"options": {**OPTIONS, "use_depth": False}}},
        "needs a network with a depth module",
    ),
    "another network": (
        {"model": {"architecture": "image_tabular", "options": {"encoder": "test_efficientnet"}}},
        "needs a network with a depth module",
    ),
    "no spread for the loss": (
        {"classification": {"depth": {"loss": "gaussian_nll"}}},
        "gaussian_nll and .* require each other",
    ),
    "a square of any scale": ({"classification": {"view": {"region": "roi"}}}, "images of constant scale"),
    "magnified": ({"augmentation": {"scale": (0.8, 1.2)}}, "magnified image changes the apparent depth"),
    "stretched": ({"augmentation": {"aspect": 1.2}}, "magnified image changes the apparent depth"),
    "two stages on two devices": (
        {"classification": {"stages": 2}, "devices": 2},
        "two-stage training needs one device",
    ),
}


@pytest.mark.parametrize(("values", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_a_recipe_that_cannot_predict_millimeters_is_refused(
    values: dict[str, Any], fault: str, deep: TrainRecipe, change: Change
) -> None:
    with pytest.raises(ConfigError, match=fault):
        change(deep, **values)


DATA_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no depths": ({"classification": {"depth": {"column": "thickness"}}}, "training images have a depth"),
    "measured depths that nobody gives": (
        {"model": {"options": {**OPTIONS, "depth_source": "measured"}}},
        "measured.* needs .*depth_mm",
    ),
}


@pytest.mark.parametrize(("values", "fault"), DATA_FAULTS.values(), ids=DATA_FAULTS.keys())
def test_data_without_depths_are_refused(
    values: dict[str, Any], fault: str, deep: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    with pytest.raises(DataSetError, match=fault):
        train(change(deep, **values), tmp_path / "run", resume=False, run=RunContext())
