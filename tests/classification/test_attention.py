"""The attention of a network as a heatmap, and the pointing game."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.classification import explanation
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.explanation import (
    METHODS,
    PointingOptions,
    explain,
    explanation_methods,
    run_pointing_game,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import ClassifierConfig, DepthOutputConfig, DepthScale, ViewConfig
from napari_melanoma.io.results import write_mask, write_table
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle

pytestmark = pytest.mark.slow

OPTIONS = {"encoder": "test_efficientnet", "depth_channels": (4, 4), "depth_grid": 4, "hidden": (8,)}
SCALE = DepthScale(log=True, mean=0.8, std=0.4)
NOT_OLD = {"age": "50"}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """An untrained network with attention that predicts a depth."""
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    options = {**OPTIONS, "depth_log": True, "depth_mean": SCALE.mean, "depth_std": SCALE.std, "heteroscedastic": True}
    config = BundleConfig(
        name="deep",
        title="Deep",
        task="classification",
        architecture="biomarker",
        options=options,
        input_size=96,
        classes=("other", "metastasis"),
        classifier=ClassifierConfig(
            positive="metastasis",
            view=ViewConfig(region="photograph"),
            depth=DepthOutputConfig(scale=SCALE, margin=1.5),
        ),
    )
    folder = tmp_path_factory.mktemp("bundles") / "deep"
    network: Any = build_network("biomarker", options).eval()
    torch.nn.init.normal_(network.attention.weigh.weight, std=0.2)
    info = write_bundle(folder, config, network, "# deep\n")
    return Classifier.load(info, "cpu")


def test_attention_is_shown_where_its_places_look(deep: Classifier, picture: Any) -> None:
    import torch

    from napari_melanoma.models.inference import to_tensor

    rgb = picture(np.random.default_rng(0), True).rgb
    heat = explain(deep, LesionInput(rgb), "attention")
    assert (heat.shape, heat.dtype) == (rgb.shape[:2], np.float32)
    assert 0 <= heat.min() < 0.01
    assert heat.max() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        weights = deep.torch_network.compute_attention(to_tensor([rgb], deep.info.config))
    assert weights is not None
    places = weights[0, 0].numpy()
    stride = 96 / len(places)
    strongest = np.unravel_index(places.argmax(), places.shape)
    expected = (np.array(strongest) + 0.5) * stride - 0.5 + deep.view_offset
    found = np.unravel_index(heat.argmax(), heat.shape)
    assert np.abs(np.clip(expected, 0, 95) - found).max() <= stride / 2 + 1


def test_attention_is_independent_of_the_class(deep: Classifier, picture: Any) -> None:
    lesion = LesionInput(picture(np.random.default_rng(0), True).rgb)
    np.testing.assert_array_equal(explain(deep, lesion, "attention", "other"), explain(deep, lesion, "attention"))


def test_a_network_without_attention_does_not_offer_it(
    deep: Classifier, classifier_bundle: BundleInfo, picture: Any
) -> None:
    plain = Classifier.load(classifier_bundle, "cpu")
    assert (explanation_methods(deep), explanation_methods(plain)) == ((*METHODS, "attention"), METHODS)
    with pytest.raises(InputError, match="'violet' has no explanation method 'attention'"):
        explain(plain, LesionInput(picture(np.random.default_rng(0), True).rgb), "attention")


@pytest.mark.parametrize("method", METHODS)
def test_each_method_explains_a_network_that_predicts_a_depth(deep: Classifier, picture: Any, method: Any) -> None:
    heat = explain(deep, LesionInput(picture(np.random.default_rng(0), True).rgb), method)
    assert heat.shape == (96, 96)
    assert np.isfinite(heat).all()


def test_depths_come_with_their_intervals(deep: Classifier, picture: Any) -> None:
    rng = np.random.default_rng(0)
    looked = deep.run_encoder([picture(rng, True).rgb for _ in range(3)])
    found = deep.depths(looked)
    assert found is not None
    predicted = np.array([one.depth for one in looked])
    np.testing.assert_allclose(found.mm, np.maximum(np.expm1(predicted[:, 0] * SCALE.std + SCALE.mean), 0), rtol=1e-5)
    reach = 1.5 * np.exp(predicted[:, 1] / 2)
    expected = np.expm1((predicted[:, 0] + reach) * SCALE.std + SCALE.mean)
    np.testing.assert_allclose(found.high, expected, rtol=1e-5)
    assert (found.low < found.mm).all()


def draw(folder: Path, picture: Any, count: int = 8) -> Path:
    """A data set of violet patches with their masks, and an image without a patch."""
    rng = np.random.default_rng(4)
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(count):
        drawn = picture(rng, index > 0)
        Image.fromarray(drawn.rgb).save(folder / f"images/v{index}.png")
        mask = np.zeros(drawn.rgb.shape[:2], bool)
        if drawn.patch is not None:
            mask[tuple(slice(round(middle - 9), round(middle + 9)) for middle in drawn.patch)] = True
        write_mask(folder / f"masks/v{index}.png", mask)
        rows.append({"image_id": f"v{index}", "patient_id": f"p{index}", "age": 50, "split": "test"})
    write_table(folder / "dataset.csv", rows)
    return folder


def test_heatmaps_point_at_the_patch_that_decides(classifier_bundle: BundleInfo, picture: Any, tmp_path: Path) -> None:
    model, data = Classifier.load(classifier_bundle, "cpu"), draw(tmp_path / "data", picture)
    options = PointingOptions(("grad_cam", "occlusion"), split="test", tolerance=1 / 12)  # half a place of the map
    games = run_pointing_game(model, [data], tmp_path / "out", options, run=RunContext())
    assert set(games) == {"grad_cam", "occlusion"}
    for game in games.values():
        assert game.share.count == 7, "a picture without the patch has nothing to point at"
        assert game.share.mean > 0.7 > 0.2 > game.by_chance
    with (tmp_path / "out" / "pointing.csv").open() as file:
        rows = list(csv.DictReader(file))
    hits = [int(row["hit"]) for row in rows if row["method"] == "grad_cam"]
    assert np.mean(hits) == pytest.approx(games["grad_cam"].share.mean)
    assert "v0" not in {row["image_id"] for row in rows}
    about = json.loads((tmp_path / "out" / "pointing.json").read_text())
    assert (about["class"], set(about["methods"])) == ("melanoma", {"grad_cam", "occlusion"})


def test_the_view_follows_the_lesion_and_not_the_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that marks the middle of its view does not point at a structure elsewhere in the lesion."""
    data, structures = tmp_path / "data", tmp_path / "structures"
    lesion, structure = np.zeros((2, 96, 96), bool)
    lesion[20:80, 20:80] = True
    structure[25:35, 60:75] = True
    for folder in (data / "images", data / "masks", structures):
        folder.mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (96, 96), "white").save(data / f"images/{name}.png")
        write_mask(data / f"masks/{name}.png", lesion)
        write_mask(structures / f"{name}.png", structure)
    write_table(data / "dataset.csv", [{"image_id": name, "patient_id": name} for name in "ab"])

    def mark_middle(classifier: Any, lesion: LesionInput, *_: Any) -> np.ndarray:
        rows, columns = np.nonzero(lesion.mask)
        heat = np.zeros(lesion.rgb.shape[:2])
        heat[round(rows.mean()), round(columns.mean())] = 1.0
        return heat

    monkeypatch.setattr(explanation, "explain", mark_middle)
    config = ClassifierConfig(view=ViewConfig(region="roi"))
    model: Any = SimpleNamespace(
        config=config, info=SimpleNamespace(name="model", fingerprint="f", patient_data_columns=())
    )
    options, run = PointingOptions(masks=structures), RunContext()
    game = run_pointing_game(model, [data], tmp_path / "out", options, run=run)["cam"]
    assert game.share.mean == 0
    moved = run_pointing_game(model, [data], tmp_path / "out", options, segment=lambda rgb: structure, run=run)["cam"]
    assert moved.share.mean == 1
    (data / "masks/b.png").unlink()
    with pytest.raises(InputError, match=r"'b' has no mask of the lesion.*--masks predicted"):
        run_pointing_game(model, [data], tmp_path / "out", options, run=run)


def test_other_masks_can_be_named_and_nothing_to_point_at_is_reported(
    classifier_bundle: BundleInfo, picture: Any, tmp_path: Path
) -> None:
    model, data = Classifier.load(classifier_bundle, "cpu"), draw(tmp_path / "data", picture, 3)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_mask(elsewhere / "v1.png", np.ones((96, 96), bool))
    run = RunContext()
    games = run_pointing_game(model, [data], tmp_path / "out", PointingOptions(masks=elsewhere), run=run)
    assert (games["cam"].share.count, games["cam"].share.mean, games["cam"].by_chance) == (1, 1.0, 1.0)
    with pytest.raises(InputError, match="nothing to point at"):
        run_pointing_game(model, [data], tmp_path / "out", PointingOptions(split="val"), run=run)
    write_mask(elsewhere / "v2.png", np.ones((20, 96), bool))
    with pytest.raises(InputError, match="mask of 'v2' has 20 x 96 pixels"):
        run_pointing_game(model, [data], tmp_path / "out", PointingOptions(masks=elsewhere), run=run)
