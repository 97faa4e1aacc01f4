"""Evaluate a multi-class model: metrics, files, errors, and separation from models of photographs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, InputError, UnreadableImage
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation import labels as labels_module
from napari_melanoma.evaluation.labels import evaluate_labels
from napari_melanoma.evaluation.model_comparison import compare_evaluation_folders
from napari_melanoma.evaluation.pipeline import SelectionOptions
from napari_melanoma.io.results import read_labels, write_labels, write_rgb, write_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle
from napari_melanoma.models.installed_bundles import (
    install_bundle,
    list_bundles,
    list_default_classifiers,
    list_photograph_models,
    require_photograph_model,
)
from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

pytestmark = pytest.mark.usefixtures("user_folders")

CLASSES = ("glass", "stroma", "nest")
GRAYS = np.array([240, 150, 60], np.uint8)
SIDE = 32


class ByGray:
    """Read the class from the gray value, and label nests of marked images as stroma."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"")
        config = BundleConfig(
            name="grey", title="Grey", architecture="none", classes=CLASSES, options={"classes": len(CLASSES)}
        )
        self.info = BundleInfo(folder, config)

    def predict_labels(self, rgb: np.ndarray) -> np.ndarray:
        found = np.abs(rgb[..., :1].astype(int) - GRAYS).argmin(-1).astype(np.uint8)
        return np.where(rgb[..., 2] == 1, np.minimum(found, 1), found).astype(np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> ByGray:
    return ByGray(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six images; in the last one nests are missed."""
    folder = tmp_path / "tiles"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = []
    for index in range(6):
        labels = random.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
        rgb = np.repeat(GRAYS[labels][..., None], 3, axis=2)
        if index == 5:
            rgb[..., 2] = 1
        write_rgb(folder / f"images/t{index}.png", rgb)
        write_labels(folder / f"masks/t{index}.png", labels)
        rows.append({"image_id": f"t{index}", "patient_id": f"s{index // 2}", "split": "train" if index < 2 else "val"})
    write_table(folder / "dataset.csv", rows)
    return folder


def test_its_evaluations_cannot_be_compared_without_the_models(model: ByGray, data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        evaluate_labels(model, [data], tmp_path / name, SelectionOptions(), run=RunContext())
    with pytest.raises(InputError, match=r"first is the evaluation of a model of several classes \(glass"):
        compare_evaluation_folders([tmp_path / "first", tmp_path / "second"], tmp_path / "out")


def test_the_mean_is_over_the_classes_that_occur(model: ByGray, tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[:4] = 1
    write_rgb(tmp_path / "set/images/t.png", np.repeat(GRAYS[labels][..., None], 3, axis=2))
    write_labels(tmp_path / "set/masks/t.png", labels)
    write_table(tmp_path / "set/dataset.csv", [{"image_id": "t"}])
    found = evaluate_labels(model, [tmp_path / "set"], tmp_path / "out", SelectionOptions(), run=RunContext())
    assert "mean over 2 classes" in found.lead


def test_figures_and_files(model: ByGray, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = evaluate_labels(model, [data], out, SelectionOptions(), run=RunContext())
    whole = found.parts["all"]
    assert found.images == 6
    assert whole["DI glass"].mean == 1
    assert whole["DI nest"].low < whole["DI nest"].mean < 1
    labels = [read_labels(data / f"masks/t{index}.png") for index in range(6)]
    nests, missed = sum(int((each == 2).sum()) for each in labels), int((labels[5] == 2).sum())
    assert whole["DI nest"].mean == pytest.approx(2 * (nests - missed) / (2 * nests - missed))
    about = json.loads((out / "metrics.json").read_text())
    assert about["classes"] == list(CLASSES)
    assert about["metrics"]["all"]["DI nest"]["mean"] == whole["DI nest"].mean
    assert np.sum(about["confusion_px"]) == 6 * SIDE * SIDE
    with (out / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 6
    assert float(rows[5]["DI nest"]) == 0
    assert float(rows[0]["DI"]) == 1
    assert "lowest for nest" in (out / "summary.html").read_text()
    assert (out / "figures" / "worst.png").is_file()


def test_an_image_that_cannot_be_drawn_is_left_out(
    model: ByGray, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all images were measured, the evaluation must not fail for a picture; here of the worst image."""
    real, read = labels_module.read_image_and_labels, []

    def read_once(sample: Sample, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        read.append(sample.image_id)
        if sample.image_id == "t5" and read.count("t5") > 1:
            raise UnreadableImage("the drive was removed")
        return real(sample, classes)

    monkeypatch.setattr(labels_module, "read_image_and_labels", read_once)
    found = evaluate_labels(model, [data], tmp_path / "out", SelectionOptions(), run=RunContext())
    assert (found.images, read.count("t5")) == (6, 2)
    assert (tmp_path / "out/figures/worst.png").is_file()


def test_one_split(model: ByGray, data: Path, tmp_path: Path) -> None:
    found = evaluate_labels(model, [data], tmp_path / "out", SelectionOptions(split="train"), run=RunContext())
    assert list(found.table["image_id"]) == ["t0", "t1"]
    assert not found.parts["all"]["DI"].has_interval  # one slide


def _unknown(labels: np.ndarray) -> np.ndarray:
    return labels + 5


def _cut(labels: np.ndarray) -> np.ndarray:
    return labels[:-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [(_unknown, "expected the values 0 glass, 1 stroma, 2 nest"), (_cut, "the size of its upright")],
)
def test_an_image_that_fails_is_reported(
    change: Callable[[np.ndarray], np.ndarray], message: str, model: ByGray, data: Path, tmp_path: Path
) -> None:
    path = data / "masks" / "t3.png"
    write_labels(path, change(read_labels(path)))
    found = evaluate_labels(model, [data], tmp_path / "out", SelectionOptions(), run=RunContext())
    assert found.images == 5
    assert [item.sample.image_id for item in found.failed] == ["t3"]
    assert message in found.failed[0].error


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle of three classes with random weights."""
    from napari_melanoma.models.zoo import build_network

    options = {"encoder": "test_efficientnet", "decoder_channels": 16, "classes": 3}
    config = BundleConfig(
        name="three",
        title="Three",
        architecture="deeplabv3plus",
        options=options,
        input_size=32,
        classes=CLASSES,
        modalities=("slide",),
        tile=TileConfig(mpp=1.0, side_px=32),
    )
    return write_bundle(
        tmp_path_factory.mktemp("bundles") / "three", config, build_network("deeplabv3plus", options), ""
    )


def test_the_most_probable_class_counts(several: BundleInfo) -> None:
    model = TissueSegmenter.load(several, "cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    probability = model.probabilities(rgb)
    assert probability.shape == (3, 50, 70)
    assert np.allclose(probability.sum(0), 1, atol=1e-5)
    assert np.array_equal(model.predict_labels(rgb), probability.argmax(0))


def test_slide_models_are_rejected_for_photographs(several: BundleInfo) -> None:
    assert install_bundle(several).name in [bundle.name for bundle in list_bundles()]
    assert "three" not in [bundle.name for bundle in list_photograph_models("segmentation")]
    with pytest.raises(BundleError, match=r"'three' is a slide model \(glass, stroma, nest\).*lesion-small"):
        require_photograph_model(several, "segmentation")
    with pytest.raises(BundleError, match="expected a lesion segmentation model"):
        Segmenter.load(several)
    assert not any(bundle.config.is_slide_model for bundle in list_default_classifiers())


def test_a_lesion_model_is_no_tissue_model(tiny_bundle: BundleInfo) -> None:
    with pytest.raises(BundleError, match="does not segment several classes"):
        TissueSegmenter.load(tiny_bundle)


def test_the_command_line_checks_the_model(several: BundleInfo, data: Path, tmp_path: Path) -> None:
    out, photograph = str(tmp_path / "out"), str(data / "images" / "t0.png")
    refused = CliRunner().invoke(app, ["lesion", photograph, "--model", str(several.path), "--out", out])
    assert refused.exit_code == 2
    assert "is a slide model" in refused.output
    words = ["evaluate", "--model", str(several.path), "--data", str(data), "--out", out]
    refused = CliRunner().invoke(app, [*words, "--threshold", "0.4"])
    assert refused.exit_code == 2
    assert "segmentation of several classes; not applicable: --threshold" in refused.output
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output.splitlines()[-1])["classes"] == list(CLASSES)


def test_the_command_line_compares_two_models(several: BundleInfo, data: Path, tmp_path: Path) -> None:
    models = ["--model", str(several.path), "--model", str(several.path)]
    words = ["compare", *models, "--data", str(data), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["advice"] == "inconclusive"
    assert (tmp_path / "out" / "comparison.html").is_file()
    refused = CliRunner().invoke(app, [*words, "--flips"])
    assert refused.exit_code == 2
    assert "masks of one lesion" in refused.output
    refused = CliRunner().invoke(app, [*words, *models[:2]])
    assert refused.exit_code == 2
    assert "two at a time" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": {"mpp": 0.5, "side_px": 224}}, "add 'slide'"),
        ({"tile": {"mpp": 0, "side_px": 224}, "modalities": ["slide"]}, "tile.mpp"),
        ({"classes": ["a", "b"]}, "expected 1 as in the network's options"),
        ({"classes": ["a", "a"], "options": {"classes": 2}}, "each once"),
        ({"options": {"classes": 3}}, "expected 3"),
    ],
)
def test_invalid_bundle_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BundleConfig.parse({"name": "x", "title": "X", "architecture": "unet", **values}, "config.json")
