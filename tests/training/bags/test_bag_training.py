"""Training on phantom bags with known truth: the network must find the few decisive tiles."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError, RunError
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.bags import Bag, hash_preprocessing
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.slides import evaluate_bags
from napari_melanoma.models.bundle import load_network, read_bundle, read_reference
from napari_melanoma.models.export import export_bundle
from napari_melanoma.runs.train import check_recipe, train
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.whole_slides import prepare_bags

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

pytestmark = pytest.mark.slow

Learnt = tuple[Path, Path, "BundleInfo"]
Draw = Callable[..., Path]
MakeRecipe = Callable[..., TrainRecipe]
Stop = Callable[..., None]


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation" / "metrics.json").read_text())["metrics"]["all"]


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "data.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_few_tiles_decide(learnt: Learnt) -> None:
    _, run, _ = learnt
    assert metrics(run)["AUC"]["mean"] > 0.9
    assert metrics(run)["AUC"]["low"] > 0.5
    assert metrics(run)["AUC"]["count"] == 20


def test_attention_falls_on_the_tiles_that_decide(learnt: Learnt) -> None:
    data, _, bundle = learnt
    truth, model = json.loads((data / "truth.json").read_text()), BagModel.load(bundle, "cpu")
    hits, mass = [], []
    for name, deciding in truth.items():
        if deciding:
            weights = model.predict(Bag.open(data / name).iter_embeddings()).weights
            hits.append(int(weights.argmax()) in deciding)
            mass.append(float(weights[deciding].sum()) / (len(deciding) / len(weights)))
    assert len(hits) == 30
    assert np.mean(hits) >= 0.9  # the pointing game
    assert np.median(mass) > 3  # times as much as with equal weights


def test_random_labels_cannot_be_learned(draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path) -> None:
    coin = np.random.default_rng(5).permutation(np.arange(36) % 2)
    data = draw_cohort(tmp_path / "cohort", 36, label=lambda number: bool(coin[number]))
    train(bag_recipe(data, epochs=3), tmp_path / "run", resume=False, run=RunContext())
    found = metrics(tmp_path / "run")["AUC"]
    assert found["count"] == 12
    assert found["low"] <= 0.5 <= found["high"]


def test_the_run_folder_is_that_of_any_training(learnt: Learnt) -> None:
    data, run, bundle = learnt
    kinds = [event["kind"] for event in events(run)]
    rows = rows_of(run)
    assert read_toml(run / "config.toml", TrainRecipe).bags is not None
    assert kinds[-1] == "finished"
    assert kinds.count("epoch") == len((run / "metrics.csv").read_text().splitlines()) - 1
    assert {row["part"] for row in rows} == {"train", "validation", "test"}
    assert {row["image"] for row in rows} == {str(data / f"slide_{number:02d}") for number in range(60)}
    assert (run / "checkpoints").is_dir()
    assert any("test slides" in event.get("message", "") for event in events(run))
    card = bundle.card
    assert "Research use only" in card
    assert "embeddings of `toy`: 12 features per tile, weights\n`5eed`" in card
    assert "The encoder is not part of this bundle" in card
    assert str(data.parent) not in json.dumps(bundle.config.model_dump(mode="json")) + card


def test_the_bundle_records_its_encoder(learnt: Learnt) -> None:
    config = learnt[2].config
    assert config.encoder is not None
    assert config.encoder.model_dump() == {
        "name": "toy",
        "fingerprint": "5eed",
        "features": 12,
        "licence": "CC0-1.0",
        "stain": "none",
        "preprocessing": hash_preprocessing({}),
    }
    assert config.tile is not None
    assert (config.tile.mpp, config.tile.side_px) == (0.5, 32)
    assert config.classes == ("naevus", "melanoma")
    assert config.is_slide_model
    assert config.classifier is not None
    answers = [row["diagnosis"] == "melanoma" for row in rows_of(learnt[1]) if row["part"] == "validation"]
    assert config.classifier.prevalence == pytest.approx(np.mean(answers))
    assert config.classifier.operating_point is not None
    reference = read_reference(learnt[2])
    assert reference is not None
    assert reference.logits.shape == (len(answers), 2)


@pytest.fixture(scope="module")
def whole(
    draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainRecipe, Path]:
    """A recipe of three epochs, and a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    data = draw_cohort(folder / "cohort", 14)
    recipe = bag_recipe(data, epochs=3, data={"datasets": [str(data)], "validation_fraction": 0.4, "split": "all"})
    train(recipe, folder / "run", resume=False, run=RunContext(), evaluate=False)
    return recipe, folder / "run"


@pytest.mark.parametrize("at", ["Epoch 2 of", "Calibrating", "Reading the slides"])
def test_a_stopped_run_ends_with_the_same_weights(
    whole: tuple[TrainRecipe, Path], tmp_path: Path, stop: Stop, at: str
) -> None:
    import torch

    (recipe, whole_run), stopped = whole, tmp_path / "stopped"
    stop(recipe, stopped, at, evaluate=False)
    if at.startswith("Reading"):  # before the training starts
        assert not (stopped / "checkpoints").exists()
    train(recipe, stopped, resume=(stopped / "config.toml").exists(), run=RunContext(), evaluate=False)
    one, other = (load_network(read_bundle(run / "bundle")).state_dict() for run in (whole_run, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)
    without = [
        [line.rsplit(",", 1)[0] for line in (run / "metrics.csv").read_text().splitlines()]
        for run in (whole_run, stopped)
    ]
    assert without[0] == without[1]


def test_a_run_with_changed_embeddings_is_not_resumed(
    draw_cohort: Draw, bag_recipe: MakeRecipe, write_bag: Draw, tmp_path: Path, stop: Stop
) -> None:
    data = draw_cohort(tmp_path / "cohort", 14)
    recipe = bag_recipe(data, epochs=3)
    stop(recipe, tmp_path / "run", "Epoch 1 of", evaluate=False)
    shutil.rmtree(data / "slide_01")
    write_bag(data / "slide_01", np.zeros((48, 12)))
    shutil.rmtree(data / "slide_00")
    write_bag(data / "slide_00", np.zeros((48, 12)))
    with pytest.raises(RunError, match="embeddings of this run have changed"):
        train(recipe, tmp_path / "run", resume=True, run=RunContext(), evaluate=False)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"model": "uni"}, "encoder is uni, expected toy"),
        ({"weights": "c0ffee"}, "weights is c0ffee, expected 5eed"),
        ({"mpp": 1.0}, "scale is 1 micrometers per pixel, expected 0.5"),
        ({"settings": {"stain": {"method": "macenko"}}}, "stain normalization is macenko, expected none"),
        ({"features": 5}, "features is 5, expected 12"),
        ({"settings": {"apply_profile": True}}, "stain options, color profile or the input of the encoder are others"),
    ],
    ids=["encoder", "weights", "mpp", "stain", "features", "profile"],
)
def test_embeddings_of_two_kinds_are_refused(
    draw_cohort: Draw, bag_recipe: MakeRecipe, write_bag: Draw, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    data = draw_cohort(tmp_path / "cohort", 14)
    shutil.rmtree(data / "slide_07")
    write_bag(data / "slide_07", np.zeros((48, how.pop("features", 12))), **how)
    with pytest.raises(DataSetError, match=f"have different embeddings: .*{message}"):
        check_recipe(bag_recipe(data), RunContext())


def test_a_scale_that_differs_by_whole_pixels_alone_is_the_same(
    draw_cohort: Draw, bag_recipe: MakeRecipe, write_bag: Draw, tmp_path: Path
) -> None:
    data = draw_cohort(tmp_path / "cohort", 14)
    shutil.rmtree(data / "slide_07")
    write_bag(data / "slide_07", np.zeros((48, 12)), mpp=0.51)
    report = check_recipe(bag_recipe(data), RunContext())
    assert sum(report.counts.values()) == 14
    assert set(report.classes) == {"naevus", "melanoma"}
    assert not (tmp_path / "run").exists()


def test_missing_results_are_named(draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path) -> None:
    data = draw_cohort(tmp_path / "cohort", 14)
    (data / "slide_03").rename(tmp_path / "elsewhere")
    with pytest.raises(DataSetError, match=r"no results found for 1 of 14 slides .*slide_03"):
        check_recipe(bag_recipe(data), RunContext())
    table = (data / "dataset.csv").read_text().splitlines()
    rows = [f"{line},{'result' if not place else ''}" for place, line in enumerate(table)]
    (data / "dataset.csv").write_text(
        "\n".join(rows).replace("slide_03,p3,train,melanoma,", "slide_03,p3,train,melanoma,../elsewhere")
    )
    with allow_outside_files():
        assert sum(check_recipe(bag_recipe(data), RunContext()).counts.values()) == 14


def test_slides_of_a_patient_stay_together(draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path) -> None:
    data = draw_cohort(tmp_path / "cohort", 40, label=lambda number: number % 4 < 2)  # two slides of each patient
    lines = [
        ",".join((*line.split(",")[:2], "", line.split(",")[3]))
        for line in (data / "dataset.csv").read_text().splitlines()
    ]
    (data / "dataset.csv").write_text("\n".join([lines[0].replace(",,", ",split,"), *lines[1:]]))
    (tmp_path / "run").mkdir()
    prepare_bags(bag_recipe(data), RunFolder(tmp_path / "run"), resume=False, run=RunContext())
    rows = rows_of(tmp_path / "run")
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row["group"], set()).add(row["part"])
    assert len(parts) == 20
    assert {len(found) for found in parts.values()} == {1}
    assert {row["part"] for row in rows} == {"train", "validation", "test"}


def with_rows(folder: Path, rows: str) -> Path:
    (folder / "dataset.csv").write_text(f"image_id,patient_id,diagnosis,split\n{rows}", encoding="utf-8")
    return folder


def test_the_fewest_slides_that_train_are_three_patients_a_class(
    draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path
) -> None:
    known = [("p04", "melanoma", "train")] * 2 + [("p05", "melanoma", "train"), ("p06", "melanoma", "test")]
    known += [("p09", "naevus", "train"), ("p10", "naevus", "train"), ("p11", "naevus", "test")]
    rows = "".join(f"slide_{place:02d},{','.join(row)}\n" for place, row in enumerate(known))
    data = with_rows(draw_cohort(tmp_path / "cohort", len(known)), rows)
    for seed in range(4):
        report = check_recipe(bag_recipe(data, seed=seed), RunContext())
        assert report.counts["validation"] in (2, 3)
        assert report.counts["test"] == 2


@pytest.mark.parametrize("slides", [1, 2])
def test_the_message_about_too_few_cases_counts_slides(
    draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path, slides: int
) -> None:
    rows = "".join(f"slide_{n:02d},p{n},{('melanoma', 'naevus')[n]},train\n" for n in range(slides))
    data = with_rows(draw_cohort(tmp_path / "cohort", slides), rows)
    with pytest.raises(
        RunError, match=r"^the training set has 1 slide and the validation set ..*Add slides of other"
    ) as caught:
        check_recipe(bag_recipe(data), RunContext())
    assert "image" not in str(caught.value)
    assert "validation_fraction" not in str(caught.value)


def test_three_classes_and_their_weights(draw_cohort: Draw, bag_recipe: MakeRecipe, tmp_path: Path) -> None:
    data = draw_cohort(tmp_path / "cohort", 24)
    text = (data / "dataset.csv").read_text().splitlines()
    rare = [line.replace("naevus", "keratosis") if place % 4 == 1 else line for place, line in enumerate(text)]
    (data / "dataset.csv").write_text("\n".join(rare))
    requested = {"target": "diagnosis", "class_weight": "balanced"}
    bundle = train(
        bag_recipe(data, epochs=1, classification=requested), tmp_path / "run", resume=False, run=RunContext()
    )
    assert bundle is not None
    assert bundle.config.classes == ("keratosis", "melanoma", "naevus")
    assert metrics(tmp_path / "run")["macro_AUC"]["count"] == 8


def test_it_is_evaluated_on_the_test_slides(learnt: Learnt, draw_cohort: Draw, write_bag: Draw, tmp_path: Path) -> None:
    other = draw_cohort(tmp_path / "other", 12, seed=9)
    shutil.rmtree(other / "slide_00")
    write_bag(other / "slide_00", np.zeros((48, 12)), weights="c0ffee")
    table = (other / "dataset.csv").read_text().splitlines()
    table[2] = table[2].replace("naevus", "keratosis").replace("melanoma", "keratosis")
    (other / "dataset.csv").write_text("\n".join(table) + "\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    found = evaluate_bags(
        BagModel.load(learnt[2]), [other], tmp_path / "out", ClassEvaluationOptions(), run=RunContext()
    )
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert found.parts["all"]["AUC"].mean > 0.9
    assert len(found.predictions.labels) == 10
    assert [item.error for item in found.failed] == [
        "slide_00 has embeddings that 'phantom-mil' was not trained on: weights is c0ffee, expected 5eed."
    ]
    assert any("1 of 12 images have no class in the column 'diagnosis'" in warning for warning in found.warnings)
    assert (tmp_path / "out" / "summary.html").is_file()


def test_it_is_not_exported_as_a_model_of_images(learnt: Learnt, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not from images"):
        export_bundle(learnt[2], tmp_path / "mil.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "segmentation"}, "the architecture 'deeplabv3plus' is for segmentation, but the task is bags"),
        ({"model": {"start": "imagenet"}}, "model.start = 'imagenet'"),
        ({"model": {"architecture": "image_tabular"}}, "'image_tabular' is for classification, but the task is bags"),
        ({"classification": {"mixup": 0.5}}, "classification.mixup: not available for slides"),
        ({"bags": None}, "'attention_mil' is for bags, but the task is classification"),
        ({"bags": {"tiles": 0}}, "'bags.tiles' is 0; expected a number of at least 1"),
    ],
    ids=["task", "start", "network", "mixup", "none", "tiles"],
)
def test_incompatible_values_are_reported(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"task": "classification", "bags": {}, "data": {"datasets": ["here"]}}
    if change.get("bags", ...) is None:
        change = {"model": {"architecture": "attention_mil", "start": "none"}}
        values.pop("bags")
    with pytest.raises(ConfigError, match=message):
        TrainRecipe.parse({**values, **change}, "test")
