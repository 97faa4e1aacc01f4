"""Cross-validation: folds without leaks, a run for each, continuing it, the page, and the ensemble."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import napari_melanoma as nm
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import SplitOptions, split_dataset
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.pipeline import estimates_to_json
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_table
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.models.graphs import find_graphs
from napari_melanoma.models.inference import using_backend
from napari_melanoma.runs import folds as workflow
from napari_melanoma.runs.folds import estimate_mean, fold_recipe, plan_folds, train_folds
from napari_melanoma.runs.launching import read_run
from napari_melanoma.training.data_selection import select_samples
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, choose_split, read_data, read_folds, write_data, write_folds

RUN = RunContext()


def change_rows(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    rows = [change(dict(row)) for row in iterate_rows(folder / "dataset.csv")]
    write_table(folder / "dataset.csv", rows)


def on(recipe: TrainRecipe, *folders: Path, **values: object) -> TrainRecipe:
    content = recipe.model_dump(mode="json")
    content["data"] |= {"datasets": [str(folder) for folder in folders]}
    return TrainRecipe.parse(content | values, "the test")


@pytest.fixture
def patients(draw, tmp_path: Path) -> Path:
    """Twelve patients with two images each, of two diagnoses, and a copy of an image under another patient's name."""
    folder = draw(tmp_path / "patients")
    copied = Image.open(folder / "images/b00.png")
    copied.resize((60, 60)).resize((48, 48)).save(folder / "images/b22.png")

    def change(row: dict[str, str]) -> dict[str, str]:
        number = int(row["image_id"][1:])
        return {**row, "split": "", "diagnosis": "melanoma" if number % 6 < 2 else "nevus"}

    change_rows(folder, change)
    return folder


def test_patients_and_copies_stay_in_one_fold(recipe: TrainRecipe, patients: Path) -> None:
    plan = plan_folds(on(recipe, patients), 3, RUN)
    folds = {sample.image_id: fold for sample, _, fold in plan}
    assert len(folds) == 24
    patients_of_folds = defaultdict(set)
    for sample, _, fold in plan:
        patients_of_folds[sample.group].add(fold)
    assert {len(found) for found in patients_of_folds.values()} == {1}
    assert folds["b00"] == folds["b22"] == folds["b23"]  # the copy, and the other image of its patient
    counts = [
        sum(fold == number and sample.diagnosis == "melanoma" for sample, _, fold in plan) for number in range(1, 4)
    ]
    assert max(counts) - min(counts) <= 2
    again = plan_folds(on(recipe, patients), 3, RUN)
    assert [fold for *_, fold in again] == [fold for *_, fold in plan]
    other = plan_folds(on(recipe, patients, seed=5), 3, RUN)
    assert [fold for *_, fold in other] != [fold for *_, fold in plan]


def test_no_patient_is_in_two_parts_of_a_fold(recipe: TrainRecipe, patients: Path, tmp_path: Path) -> None:
    """Each image is tested once, and its patient is neither trained nor validated on in that run."""
    recipe = on(recipe, patients)
    write_folds(tmp_path / "folds.csv", plan_folds(recipe, 4, RUN))
    tested = []
    for number in range(1, 5):
        parts = select_samples(fold_recipe(recipe, number, tmp_path / "folds.csv")).parts
        groups = [{sample.group for sample in part} for part in (parts.training, parts.validation, parts.test)]
        assert all(groups)
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        assert not groups[0] & groups[1]
        assert not parts.left_out
        tested += [sample.image_id for sample in parts.test]
    assert sorted(tested) == [f"b{number:02}" for number in range(24)]


def test_an_edited_table_of_folds_cannot_leak(recipe: TrainRecipe, patients: Path, tmp_path: Path) -> None:
    """An image whose patient is in the tested fold is left out, whatever the table states."""
    recipe = on(recipe, patients)
    moved = [
        (sample, group, fold % 3 + 1 if sample.image_id == "b05" else fold)
        for sample, group, fold in plan_folds(recipe, 3, RUN)
    ]
    write_folds(tmp_path / "folds.csv", moved)
    tested = next(fold for sample, _, fold in moved if sample.image_id == "b04")
    parts = select_samples(fold_recipe(recipe, tested, tmp_path / "folds.csv")).parts
    assert [sample.image_id for sample in parts.left_out] == ["b05"]
    assert "b05" not in {sample.image_id for sample in (*parts.training, *parts.validation, *parts.test)}


def test_folds_of_the_table_are_used(recipe: TrainRecipe, patients: Path) -> None:
    split_dataset(patients, SplitOptions(test=0.2, folds=3), run=RUN)
    written = {row["image_id"]: row for row in map(dict, iterate_rows(patients / "dataset.csv"))}
    plan = plan_folds(on(recipe, patients), 3, RUN)
    assert {sample.image_id: str(fold) for sample, _, fold in plan} == {
        name: row["fold"] for name, row in written.items() if row["split"] != "test"
    }
    with pytest.raises(DataSetError, match=r"have the folds 1, 2, 3, expected 1 to 4"):
        plan_folds(on(recipe, patients), 4, RUN)
    leaking = {"b00": "2", "b01": "1"}
    change_rows(
        patients, lambda row: {**row, "split": "", "fold": leaking.get(row["image_id"], "") or row["fold"] or "3"}
    )
    with pytest.raises(DataSetError, match=r"are in several folds of the tables: .*Split again"):
        plan_folds(on(recipe, patients), 3, RUN)


def test_test_patients_are_in_no_fold(recipe: TrainRecipe, patients: Path) -> None:
    change_rows(patients, lambda row: {**row, "split": "test" if row["image_id"] == "b02" else ""})
    names = {sample.image_id for sample, *_ in plan_folds(on(recipe, patients), 2, RUN)}
    assert names == {f"b{number:02}" for number in range(24)} - {"b02", "b03"}


def test_the_interval_accounts_for_shared_training_images() -> None:
    values = [0.81, 0.84, 0.79, 0.88, 0.83]
    found = estimate_mean(values)
    plain = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.high - found.low) / (plain.high - plain.low) == pytest.approx(np.sqrt((1 / 5 + 1 / 4) * 5))
    assert estimate_mean([0.99, 0.5], "JA").high == 1


def test_folds_of_one_patient_have_no_interval(recipe: TrainRecipe, tmp_path: Path) -> None:
    """In JSON, an undefined interval is null, and so is a metric that the images of a fold do not define."""
    write_toml(tmp_path / workflow.RECIPE, recipe)
    folds = [RunFolder(tmp_path / f"fold-{number}") for number in (1, 2)]
    for fold, undefined in zip(folds, ("BF1", "SP"), strict=True):
        fold.evaluation.mkdir(parents=True)
        write_data(fold.data, [])
        metrics = dict.fromkeys(("JA", "BF1", "SP"), Estimate(0.8, np.nan, np.nan, 2))
        metrics[undefined] = Estimate(np.nan, np.nan, np.nan, 0)
        write_json(fold.evaluation / "metrics.json", {"metrics": {"all": estimates_to_json(metrics)}})
    found = workflow.summarize_folds(folds)
    assert {name: one.mean for name, one in found.items()} == {"JA": 0.8}
    result = workflow.FoldsResult(tmp_path, tuple(fold.path for fold in folds), found, None)
    workflow._write_summary(result, folds)
    page = (tmp_path / "folds.html").read_text()
    assert page.count("0.800 (no interval: one patient or lesion)") == 2


@pytest.mark.parametrize(
    "classification", [None, {}, {"view": {"region": "photograph"}}, {"masks": "predicted"}], ids=str
)
def test_the_ensemble_is_evaluated_on_the_data_sets_with_test_images(
    recipe: TrainRecipe,
    class_recipe: TrainRecipe,
    draw_classes,
    change,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    classification: dict[str, object] | None,
) -> None:
    """One of two data sets has a test split; only the reference masks of the data sets may be needed."""
    folders = [draw_classes(tmp_path / name, "image", 8) for name in ("first", "second")]
    change_rows(folders[1], lambda row: {**row, "split": "test" if row["image_id"] == "c003" else "train"})
    if classification:
        for folder in folders:
            shutil.rmtree(folder / "masks")
    recipe = on(recipe if classification is None else change(class_recipe, classification=classification), *folders)
    write_folds(tmp_path / "folds.csv", [])
    calls = []
    monkeypatch.setattr(workflow, "_read_ensemble", lambda *_: "ensemble")
    monkeypatch.setattr(workflow, "evaluate_model", lambda *call, **_: calls.append(call))
    workflow._make_ensemble(recipe, RunFolder(tmp_path), [], {}, RUN)
    ((_, datasets, out, options),) = calls
    assert (datasets, out) == ([folders[1]], tmp_path / "evaluation")
    if recipe.classification is None:
        assert options == {"split": "test"}
    else:
        assert ClassEvaluationOptions.parse(options, "train").masks == recipe.classification.masks


def test_a_run_of_other_folds_is_not_continued(recipe: TrainRecipe, patients: Path, tmp_path: Path) -> None:
    """Otherwise, an image could be held out by no network or by two, after an edit of the table."""
    table, fold = tmp_path / "folds.csv", RunFolder(tmp_path / "fold-1")
    plan = plan_folds(on(recipe, patients), 2, RUN)
    write_folds(table, plan)
    own = fold_recipe(on(recipe, patients), 1, table)
    fold.path.mkdir()
    write_toml(fold.config, own)
    assert workflow._is_of_folds(own, fold)
    parts = ("train", "test")
    write_data(fold.data, [DataRow(parts[number == 1], sample, "", "") for sample, _, number in plan])
    assert workflow._is_of_folds(own, fold)
    write_folds(table, [(sample, group, 3 - number) for sample, group, number in plan])
    with pytest.raises(RunError, match=r"fold-1 does not match folds\.csv"):
        workflow._train_fold(own, fold, RUN)


def test_the_provenance_of_an_ensemble_counts_the_images_of_all_folds(tmp_path: Path) -> None:
    """Its card states how many images it was calibrated on, which are not those of the first network."""
    folds = [RunFolder(tmp_path / f"fold-{number}") for number in (1, 2)]
    replay = Sample("r", Path("r.png"), None, "old/r", "train", "old", synthetic=True)
    for number, fold in enumerate(folds):
        fold.path.mkdir()
        own, other = (
            Sample(f"b{index}", Path(f"b{index}.png"), None, f"new/b{index}", "", "new", review="corrected")
            for index in (number, 1 - number)
        )
        write_data(fold.data, [DataRow("test", own, "", ""), DataRow("validation", other, "", "")])
        write_data(fold.data, [*read_data(fold.data), DataRow("replay", replay, "", "")])
    first = {"data": {"fingerprint": "f"}, "recipe": {"data": {}}, "corrections": 1, "validation_images": 1}
    dices = {
        "validation_jaccard": 0.5,
        "validation_dice": 0.6,
        "validation_dice_of_classes": {"skin": 0.6, "hair": None},
    }
    members = [
        SimpleNamespace(name="m", fingerprint="m", config=SimpleNamespace(provenance=facts, classifier=None))
        for facts in ({**first, **dices}, {**first, **dices, "validation_dice_of_classes": {"skin": 0.8}})
    ]
    found = workflow._create_provenance(members, folds, 0)
    assert (found["validation_images"], found["validation_groups"], found["corrections"]) == (2, 2, 2)
    assert found["train_images"] == {"new": 2, "old": 1}
    assert (found["data"]["train"], found["data"]["replay"], found["data"]["drawn"]) == (2, 1, 1)
    assert found["validation_dice_of_classes"] == {"skin": 0.7}


def test_a_fold_that_is_trained_again_replaces_its_evaluation_and_the_ensemble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, folds = RunFolder(tmp_path), [RunFolder(tmp_path / f"fold-{number}") for number in (1, 2)]
    weights = {fold.bundle: "old" for fold in folds} | {folder.bundle: "ensemble"}
    provenance = {"members": [{"name": fold.path.name, "fingerprint": "old"} for fold in folds]}

    def read(path: Path) -> SimpleNamespace:
        return SimpleNamespace(fingerprint=weights[path], config=SimpleNamespace(provenance=provenance))

    monkeypatch.setattr(workflow, "read_bundle", read)
    write_json(folder.bundle / "config.json", {})
    write_json(folds[1].evaluation / "metrics.json", {"model": {"fingerprint": "old"}})
    assert workflow._read_ensemble(folder, folds) is not None
    assert workflow._is_evaluated(folds[1])
    weights[folds[1].bundle] = "new"
    assert workflow._read_ensemble(folder, folds) is None
    assert not workflow._is_evaluated(folds[1])


@pytest.mark.parametrize(
    ("values", "data", "message"),
    [
        ({"devices": 2}, {}, "each fold is trained on one device"),
        ({"keep": "last", "threshold_rule": "half"}, {"validation_fraction": 0.0}, "need a validation set"),
    ],
)
def test_recipes_that_have_no_folds(recipe: TrainRecipe, tmp_path: Path, values, data, message: str) -> None:
    content = recipe.model_dump(mode="json")
    content["data"] |= data
    with pytest.raises(RunError, match=message):
        train_folds(TrainRecipe.parse(content | values, "the test"), 2, tmp_path / "out", resume=False, run=RUN)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cross_validation_from_start_to_ensemble(
    recipe: TrainRecipe, patients: Path, quick_figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canceled within a fold, resumed, and used as any model."""
    splits = {"p0": "test", "p1": "test", "p8": "val", "p9": "val", "p10": "val"}
    change_rows(patients, lambda row: {**row, "split": splits.get(row["patient_id"], "train")})
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe, out = on(recipe, patients, epochs=1, trackers=["tensorboard"]), tmp_path / "out"
    run = RunContext()

    def stop_in_fold(step: Progress) -> None:
        if "Fold 2 of 2" in step.message:
            run.cancel()

    run.report = stop_in_fold
    with pytest.raises(Cancelled):
        train_folds(recipe, 2, out, resume=False, run=run)
    assert str(read_run(out).state) == "cancelled"
    first = read_bundle(out / "fold-1/bundle").fingerprint
    with pytest.raises(RunError, match="already contains a run"):
        train_folds(recipe, 2, out, resume=False, run=RUN)
    with pytest.raises(RunError, match="--folds 2"):
        train_folds(recipe, 3, out, resume=True, run=RUN)

    trained: list[str] = []
    real = workflow.train

    def train(recipe: TrainRecipe, folder: Path, **options):
        trained.append(folder.name)
        return real(recipe, folder, **options)

    monkeypatch.setattr(workflow, "train", train)
    result = train_folds(recipe, 2, out, resume=True, run=RUN)
    assert trained == ["fold-2"]
    assert read_bundle(out / "fold-1/bundle").fingerprint == first
    assert str(read_run(out).state) == "finished"
    summary = json.loads((out / "folds.json").read_text())
    assert sum(summary["images"]) == 24 - len({"b00", "b01", "b02", "b03", "b22", "b23"})
    evaluations = [json.loads((path / "evaluation/metrics.json").read_text()) for path in result.runs]
    assert not [text for one in evaluations for text in one["warnings"] if "split" in text]
    stored = [one["metrics"]["all"] for one in evaluations]
    assert summary["metrics"]["JA"]["folds"] == [one["JA"]["mean"] for one in stored]
    assert result.metrics["JA"].mean == pytest.approx(np.mean([one["JA"]["mean"] for one in stored]))
    for path, metrics in zip(result.runs, stored, strict=True):
        recorded = EventAccumulator(str(path / "tensorboard")).Reload().Scalars("test/JA")
        assert [item.value for item in recorded] == pytest.approx([metrics["JA"]["mean"]])
    page = (out / "folds.html").read_text()
    assert "Fold 2" in page
    assert str(tmp_path) not in page
    for path in result.runs:
        rows = read_data(RunFolder(path).data)
        tested = {row.sample.group for row in rows if row.part == "test"}
        assert not tested & {row.sample.group for row in rows if row.part != "test"}

    ensemble = result.ensemble
    assert ensemble is not None
    assert (ensemble.config.members, ensemble.name) == (2, "blobs")
    assert json.loads((out / "evaluation/metrics.json").read_text())["metrics"]["all"]["JA"]["count"] == 4
    assert "mean of the logits of 2 networks" in ensemble.card
    assert find_graphs(ensemble) is not None
    image = read_photograph(patients / "images/b05.png").rgb
    assert nm.segment(image, out).probability.shape == image.shape[:2]
    members = [Segmenter.load(read_bundle(path / "bundle")).network for path in result.runs]
    inputs = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    expected = np.mean([member.run("segment", image=inputs)["logits"] for member in members], axis=0)
    for backend in ("onnxruntime", "torch"):
        with using_backend(backend):
            logits = Segmenter.load(ensemble).network.run("segment", image=inputs)["logits"]
        np.testing.assert_allclose(logits, expected, atol=2e-3)
    assert nm.export(ensemble, "onnx", tmp_path / "ensemble.onnx").is_file()
    seen = nm.evaluate(ensemble, patients, tmp_path / "seen")
    assert seen.metrics["JA"].count == 6  # those in no fold: of all others, a network was trained on the patient


@pytest.mark.slow
def test_the_ensemble_of_classifiers_with_patient_data(
    class_recipe: TrainRecipe, draw_classes, quick_figures, tmp_path: Path
) -> None:
    """The networks encode patient data differently: a word is in the training images of one fold only."""
    folder = draw_classes(tmp_path / "lesions", "image", 24)
    change_rows(folder, lambda row: {**row, "sex": "other" if row["image_id"] == "c003" else row["sex"]})
    recipe = on(class_recipe, folder, epochs=1)
    result = train_folds(recipe, 2, tmp_path / "out", resume=False, run=RUN)
    ensemble = result.ensemble
    assert ensemble is not None
    members = [read_bundle(path / "bundle") for path in result.runs]
    encodings = [info.config.tabular for info in members]
    assert encodings[0] != encodings[1]
    assert ensemble.patient_data_columns == ("age", "sex")
    rgb, mask = read_photograph(folder / "images/c000.png").rgb, np.asarray(Image.open(folder / "masks/c000.png")) > 0
    for row in ({"age": "61", "sex": "female"}, {"sex": "other"}, {}):
        lesion, expected = LesionInput(rgb, mask, row), []
        for info in members:
            classifier = info.config.classifier
            assert classifier is not None
            expected.append(
                Classifier.load(info).logits([lesion])[0] / classifier.temperature + np.array(classifier.bias)
            )
        for backend in ("onnxruntime", "torch"):
            with using_backend(backend):
                found = Classifier.load(ensemble).logits([lesion])[0]
            np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=5e-3)
    prediction = nm.classify(folder / "images/c000.png", folder / "masks/c000.png", model=ensemble, age=61)
    assert prediction.interval is not None
    assert set(prediction.contributions) == {"age"}
    assert nm.explain(folder / "images/c000.png", folder / "masks/c000.png", model=ensemble).heatmap.shape == (64, 64)
    with pytest.raises(nm.BundleError, match="encode patient data differently"):
        nm.export(ensemble, "onnx", tmp_path / "ensemble.onnx")
    assert len(set(read_folds(tmp_path / "out/folds.csv").values())) == 2


def test_other_data_sets_are_split_as_usual_also_beside_one_of_the_folds(tmp_path: Path) -> None:
    """Such as those of the target domain of an adaptation: none of them is left out."""
    first, second = (
        [Sample(f"{n}", Path(f"{name}{n}.png"), None, f"{name}/{n}", "train", name) for n in range(10)] for name in "ab"
    )
    write_folds(tmp_path / "folds.csv", [(sample, sample.group, number % 5 + 1) for number, sample in enumerate(first)])
    fold = {"table": str(tmp_path / "folds.csv"), "number": 1}
    recipe = TrainRecipe.parse({"data": {"datasets": ["a"], "fold": fold}}, "the recipe")
    parts = choose_split(recipe, ["a", "b"])([*first, *second], lambda sample: "")
    found = [sample for part in (parts.training, parts.validation, parts.test) for sample in part]
    assert sorted(sample.key for sample in found) == sorted(sample.key for sample in (*first, *second))
    assert {sample.image_id for sample in parts.test if sample.domain == "a"} == {"0", "5"}
