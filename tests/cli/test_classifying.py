"""Classifier commands with real networks, from photographs and patient data to files and figures.

The classifiers have random weights, so their predictions are meaningless; the shipped model draws the masks.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    FittedNumbers,
    FittedWords,
    OperatingPoint,
    TabularEncoding,
    ViewConfig,
)
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.training_images import FILE_NAME, hash_images, make_training_images, training_images_statement
from napari_melanoma.io.results import read_mask, write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleConfig, ReferenceCases, write_bundle
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

SIDE = 64
OPTIONS = {
    "encoder": "test_efficientnet",
    "out_features": 8,
    "tabular_layers": (8,),
    "tabular": {"continuous": 1, "cardinalities": (3,), "widths": (2,)},
}
ENCODING = TabularEncoding(
    numbers=(FittedNumbers(name="age", mean=50.0, std=10.0, median=50.0),),
    words=(FittedWords(name="sex", words=("female", "male")),),
)
POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.5,
    sensitivity=0.9,
    sensitivity_interval=(0.8, 1.0),
    specificity=0.5,
    specificity_interval=(0.4, 0.6),
)


def bundle(folder: Path, name: str, seed: int) -> Path:
    """A bundle with random weights and reference cases, for the square around the lesion."""
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(seed)
    network = build_network("image_tabular", OPTIONS).eval()
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.normal(size=(40, 3, SIDE, SIDE)).astype(np.float32))
    with torch.inference_mode():
        embeddings = network.embed(network.encode(images)).numpy().astype(np.float16)
    labels = np.arange(40) % 2
    logits = np.stack([np.zeros(40), labels + random.normal(size=40)], axis=1).astype(np.float32)
    config = BundleConfig(
        name=name,
        title=name,
        task="classification",
        architecture="image_tabular",
        options=OPTIONS,
        input_size=SIDE,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(view=ViewConfig(region="roi"), operating_point=POINT, novelty_threshold=1e-6),
        tabular=ENCODING,
    )
    names = tuple(f"case-{number}" for number in range(40))
    reference = ReferenceCases(logits, labels, np.arange(40), embeddings, labels, names)
    return write_bundle(folder / name, config, network, f"# {name}\n", reference).path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("bundles"), "classifier", 0)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of eight phantoms with masks, ages and diagnoses."""
    folder, rows = tmp_path_factory.mktemp("data") / "phantoms", []
    for number in range(8):
        phantom = lesion_phantom(LesionPhantomConfig(seed=number, size=(150, 200)))
        write_rgb(folder / f"images/i{number}.png", phantom.rgb)
        write_mask(folder / f"masks/i{number}.png", phantom.mask)
        row = {"image_id": f"i{number}", "patient_id": f"p{number // 2}", "age": 40 + 3 * number, "split": "val"}
        row |= {"sex": ["male", "female"][number % 2], "melanoma": int(number % 3 == 0)}
        rows.append(row | {"diagnosis": "melanoma" if number % 3 == 0 else "nevus"})
    write_table(folder / "dataset.csv", rows)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_photographs_are_classified(run, classifier: Path, phantoms: Path, tmp_path: Path) -> None:
    """Mask, prediction, heatmap, table and JSON are written; a second call skips everything."""
    pictures = [phantoms / f"images/i{number}.png" for number in (0, 1)]
    (tmp_path / "patients.csv").write_text("image_id,age,sex\ni0,71,F\n", encoding="utf-8")
    words = [
        "lesion",
        *pictures,
        "--out",
        "out",
        "--classifier",
        classifier,
        "--metadata",
        "patients.csv",
        "--age",
        "30",
    ]
    result = run(*words, "--heatmap", "grad_cam", "--coverage", "0.8")
    assert result.exit_code == 0, result.output
    rows = {row["image"]: row for row in table(tmp_path / "out/results.csv")}
    for name, age in (("i0", "71"), ("i1", "30")):
        assert rows[name]["used_age"] == age
        text = "; ".join(filter(None, (rows[name]["verdict"], rows[name]["side"])))
        assert f"{name}: {text}" in " ".join(result.output.split())
        saved = json.loads((tmp_path / f"out/{name}/result.json").read_text(encoding="utf-8"))
        answer = saved["prediction"]
        assert answer["model"]["name"] == "classifier"
        assert answer["coverage"] == 0.8
        assert sum(answer["probabilities"]) == pytest.approx(1)
        assert {one["field"]: one["value"] for one in answer["contributions"]}["age"] == age
        probability = float(rows[name]["probability_melanoma"])
        assert probability == pytest.approx(answer["probabilities"][1], abs=1e-5)
        assert (
            float(rows[name]["probability_melanoma_low"])
            <= probability
            <= float(rows[name]["probability_melanoma_high"])
        )
        with (
            Image.open(phantoms / f"images/{name}.png") as photograph,
            Image.open(tmp_path / f"out/{name}/heatmap.png") as heat,
        ):
            assert heat.size == photograph.size
    assert "had no effect" not in result.output
    again = run(*words, "--heatmap", "grad_cam", "--coverage", "0.8", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["skipped"] == 2


@pytest.mark.slow
def test_patient_data_that_the_classifier_does_not_use_are_named(run, classifier: Path, phantoms: Path) -> None:
    words = ("lesion", phantoms / "images/i0.png", "--out", "out", "--classifier", classifier, "--age", "30")
    result = run(*words, "--site", "lower extremity")
    assert result.exit_code == 0, result.output
    notice = "Warning: 'classifier' uses age, sex; site had no effect on the result."
    assert " ".join(result.output.split()).count(notice) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cat", "text"])
def test_a_photograph_without_skin_is_out_of_distribution(run, classifier: Path, tmp_path: Path, name: str) -> None:
    """A lesion may be found or not: nothing fails, and every prediction is marked as out of distribution."""
    from skimage import data

    shown = getattr(data, name)()
    write_rgb(tmp_path / f"{name}.png", shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2))
    result = run("lesion", f"{name}.png", "--out", "out", "--classifier", classifier)
    assert result.exit_code == 0, result.output
    (row,) = table(tmp_path / "out/results.csv")
    found = read_mask(tmp_path / f"out/{name}/mask.png").any()
    assert bool(row["probability_melanoma"]) == found
    assert row["out_of_distribution"] == ("1" if found else "")


WRONG = (
    "lesion i.png --out out --classifier lesion-small",
    "lesion i.png --out out --model CLASSIFIER",
    "evaluate --model CLASSIFIER --data DATA --out out --masks predicted --segmenter CLASSIFIER",
    "evaluate --model CLASSIFIER --data DATA --out out --flips",
    "evaluate --model lesion-small --data DATA --out out --target melanoma",
    "compare --model CLASSIFIER --model lesion-small --data DATA --out out",
)


@pytest.mark.parametrize("line", WRONG)
def test_a_model_for_another_task_is_rejected(run, classifier: Path, phantoms: Path, tmp_path: Path, line: str) -> None:
    shutil.copy(phantoms / "images/i0.png", tmp_path / "i.png")
    result = run(*({"CLASSIFIER": classifier, "DATA": phantoms}.get(word, word) for word in line.split()))
    assert result.exit_code == 2, result.output
    assert re.search(r"is a (\w+ model:|model for )", " ".join(result.output.split()))
    assert "Traceback" not in result.output
    assert not (tmp_path / "out" / "results.csv").exists()


@pytest.mark.slow
def test_the_pointing_game_is_measured_on_the_images_of_the_evaluation(
    run, classifier: Path, phantoms: Path, tmp_path: Path, quick_figures
) -> None:
    """Images that the model was trained on, and others of their patients, are left out of both."""
    trained = tmp_path / "trained"
    shutil.copytree(classifier, trained)
    training_images = make_training_images(hash_images(read_dataset(phantoms)[:3], RunContext()))  # of two patients
    training_images.write(trained / FILE_NAME)
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    config["provenance"] |= training_images_statement(trained / FILE_NAME)
    (trained / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = ("evaluate", "--model", trained, "--data", phantoms, "--pointing", "cam")
    for more, expected in ((), 4), (("--include-seen",), 8):
        out = f"out-{expected}"
        assert run(*command, *more, "--out", out).exit_code == 0
        measured = [row["image_id"] for row in table(tmp_path / out / "per_image.csv")]
        assert [row["image_id"] for row in table(tmp_path / out / "pointing.csv")] == measured
        assert len(measured) == expected


def test_masks_of_structures_need_a_heatmap(run, classifier: Path, phantoms: Path, tmp_path: Path) -> None:
    command = ("evaluate", "--model", classifier, "--data", phantoms, "--out", "out", "--pointing-masks", phantoms)
    result = run(*command)
    assert result.exit_code == 2
    assert "--pointing-masks needs --pointing METHOD" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_predicted_masks_change_the_predictions(run, classifier: Path, phantoms: Path, tmp_path: Path) -> None:
    """The same images with masks of the shipped model give other predictions, and the report states it."""
    command = ["evaluate", "--model", classifier, "--data", phantoms]
    assert run(*command, "--out", "given").exit_code == 0
    result = run(*command, "--out", "drawn", "--masks", "predicted", "--sensitivity", "0.8")
    assert result.exit_code in (0, 1), result.output  # 1 where no lesion is found in one of them
    given, drawn = (
        {row["image_id"]: row for row in table(tmp_path / f"{out}/per_image.csv")} for out in ("given", "drawn")
    )
    assert all(row["status"] == "done" for row in given.values())
    done = [name for name, row in drawn.items() if row["status"] == "done"]
    assert len(done) >= 5
    assert any(given[name]["probability_melanoma"] != drawn[name]["probability_melanoma"] for name in done)
    about = json.loads((tmp_path / "drawn/metrics.json").read_text(encoding="utf-8"))
    assert about["options"]["masks"] == "predicted"
    assert about["threshold"] != 0.5  # another sensitivity has another decision threshold
    assert "masks predicted by lesion-small" in (tmp_path / "drawn/summary.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_classifiers_are_compared(run, classifier: Path, phantoms: Path, tmp_path: Path) -> None:
    """Bundles and the folders of their evaluations give the same comparison."""
    other = bundle(tmp_path, "other-classifier", 1)
    words = [word for one in (classifier, other) for word in ("--model", one)]
    result = run("compare", *words, "--data", phantoms, "--out", "direct")
    assert result.exit_code == 0, result.output
    for one in (classifier, other):
        assert run("evaluate", "--model", one, "--data", phantoms, "--out", one.name).exit_code == 0
    assert run("compare", "classifier", "other-classifier", "--out", "read").exit_code == 0
    direct, read = (table(tmp_path / out / "models.csv") for out in ("direct", "read"))
    assert {row["model"] for row in direct} == {"classifier", "other-classifier"}
    for one, two in zip(direct, read, strict=True):
        assert (one["model"], one["metric"]) == (two["model"], two["metric"])
        assert float(one["mean"]) == pytest.approx(float(two["mean"]), abs=1e-4)
    assert any(row["difference"] for row in direct)


def test_baseline_of_the_table(run, phantoms: Path) -> None:
    words = ("data", "baseline", phantoms, "--columns", "age,sex", "--folds", "2")
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    *_, listing, done = (json.loads(line) for line in result.stdout.splitlines())
    assert 0 <= listing["metrics"]["AUC"]["mean"] <= 1
    assert (done["rows"], done["left_out"], done["positive"]) == (8, 0, "melanoma")
    wrong = run(*words[:4], "age,shoe_size", "--folds", "2")
    assert (wrong.exit_code, "no column 'shoe_size'" in wrong.output) == (2, True)


@pytest.mark.slow
def test_a_case_is_classified(run, classifier: Path, phantoms: Path, tmp_path: Path) -> None:
    """Photographs of three lesions without masks: segmented by the shipped model, and classified."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rows = []
    for number in range(3):
        shutil.copy(phantoms / f"images/i{number}.png", pictures / f"i{number}.png")
        row = {"image_id": f"i{number}", "path": f"i{number}.png", "patient_id": "p", "lesion_id": f"L{number}"}
        rows.append(row | {"age": 60, "sex": "male", "modality": "dermoscopic"})
    write_table(pictures / "table.csv", rows)
    made = run("case", "K", "--from", pictures / "table.csv")
    assert made.exit_code == 0, made.output
    result = run("case", "K", "--classify", "--classifier", classifier)
    assert result.exit_code == 0, result.output
    answers = json.loads((tmp_path / "K/predictions.json").read_text(encoding="utf-8"))
    assert len(answers["lesions"]) == 3
    assert sorted(one["outlier"]["rank"] for one in answers["lesions"]) == [1, 2, 3]
    assert {one["field"] for one in answers["lesions"][0]["prediction"]["contributions"]} == {"age", "sex"}
    assert "Research use only" in result.output
