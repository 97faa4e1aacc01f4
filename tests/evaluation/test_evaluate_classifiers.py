"""Evaluate a classifier that uses brightness and age: metrics, files, resuming and errors."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.classifier import EncoderOutput, PredictionCalibration
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, InputError
from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    FittedNumbers,
    OperatingPoint,
    TabularEncoding,
    ViewConfig,
)
from napari_melanoma.data.dataset import read_dataset, read_rows
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.tabular_encoding import TableValues, make_network_inputs
from napari_melanoma.evaluation import classes as class_evaluation
from napari_melanoma.evaluation import pipeline, training_overlap
from napari_melanoma.evaluation import slides as slide_evaluation
from napari_melanoma.evaluation.classes import (
    ClassEvaluation,
    draw_evaluation,
    evaluate_classifier,
    left_out_warnings,
    read_predictions,
)
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, find_labeled_images
from napari_melanoma.evaluation.pipeline import (
    NOT_KNOWN,
    OTHERS,
    combine_rare_values,
    is_evaluation,
    read_evaluation,
)
from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.imaging.preprocessing import ClassifierView, crop_view
from napari_melanoma.io.results import read_table, write_labels, write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases
from napari_melanoma.runs.clinic_photographs import read_classes

SIDE = 32
POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.5,
    sensitivity=0.9,
    sensitivity_interval=(0.8, 1.0),
    specificity=0.8,
    specificity_interval=(0.7, 0.9),
)
AGE = TabularEncoding(numbers=(FittedNumbers(name="age", mean=50.0, std=10.0, median=50.0),))


@dataclass
class Darkness:
    """Predict melanoma from dark images and a high age; count the predictions."""

    info: BundleInfo
    device: str = "cpu"
    calls: int = 0
    fail_after: int = 10**9
    encoding: TabularEncoding = AGE

    @property
    def calibration(self) -> PredictionCalibration:
        random = np.random.default_rng(0)
        labels = np.repeat([0, 1], 40)
        logits = np.stack([np.zeros(80), 4.0 * labels - 2 + random.normal(size=80)], axis=1).astype(np.float32)
        reference = ReferenceCases(
            logits, labels, np.arange(80), np.zeros((0, 1), np.float16), np.zeros(0, np.int64), ()
        )
        assert self.info.config.classifier is not None
        return PredictionCalibration(self.info.config.classifier, self.info.config.classes, reference)

    def make_view(self, rgb: np.ndarray, mask: np.ndarray | None) -> ClassifierView:
        config = self.info.config
        assert config.classifier is not None
        found = crop_view(rgb, mask, config.classifier.view, SIDE, config.preprocessing)
        if found is None:
            raise InputError("there is no lesion in the image")
        return found

    def run_encoder(self, views) -> list[EncoderOutput]:
        self.calls += len(views)
        if self.calls > self.fail_after:
            raise Cancelled
        return [
            EncoderOutput(np.zeros((1, 1, 1), np.float32), np.array([128 - one.mean()], np.float32)) for one in views
        ]

    def run_head_on_values(self, encoded, values: TableValues) -> np.ndarray:
        age = make_network_inputs(values, self.encoding).continuous[:, 0]
        dark = np.array([one.embedding[0] for one in encoded]) / 32
        return np.stack([np.zeros(len(dark)), dark + age], axis=1).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def without_figures() -> Iterator[None]:
    """Draw no figures, which takes half of the time of an evaluation, except in the test of the files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_evaluation, "draw_evaluation", lambda evaluation, name, folder: {})
        yield


@pytest.fixture
def model(tmp_path: Path) -> Darkness:
    return darkness(tmp_path / "bundle")


def darkness(folder: Path) -> Darkness:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    config = BundleConfig(
        name="darkness",
        title="Darkness",
        task="classification",
        architecture="image_tabular",
        input_size=SIDE,
        classes=("other", "melanoma"),
        classifier=ClassifierConfig(view=ViewConfig(region="roi", background="keep"), operating_point=POINT),
        tabular=AGE,
    )
    return Darkness(BundleInfo(folder, config))


def make(folder: Path, count: int = 48, share: float = 0.5, seed: int = 0) -> Path:
    """Squares on skin; melanomas are darker and their patients older."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        positive = bool(random.random() < share)
        mask = np.zeros((48, 60), bool)
        mask[12:36, 20:44] = True
        gray = int(np.clip(random.normal(100 if positive else 150, 30), 5, 250))
        write_rgb(folder / f"images/i{index}.png", np.where(mask[..., None], gray, 200).astype(np.uint8).repeat(3, 2))
        write_mask(folder / f"masks/i{index}.png", mask)
        age = int(np.clip(random.normal(60 if positive else 45, 10), 5, 90))
        sex = ["male", "female"][index % 2]
        row = {
            "image_id": f"i{index}",
            "patient_id": f"p{index // 2}",
            "melanoma": int(positive),
            "age": age,
            "sex": sex,
        }
        rows.append(row | {"diagnosis": "melanoma" if positive else "nevus", "split": "val" if index < 40 else "train"})
    write_table(folder / "dataset.csv", rows)
    return folder


def run_it(model: Darkness, out: Path, *data: Path, **options: object) -> ClassEvaluation:
    given = ClassEvaluationOptions.parse(options, "the test")
    return evaluate_classifier(model, data, out, given, run=RunContext())


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that is only read, of all images of a data set."""

    found: ClassEvaluation
    data: Path
    out: Path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    data, out = make(folder / "set"), folder / "out"
    return Evaluated(run_it(darkness(folder / "bundle"), out, data), data, out)


def test_figures(evaluated: Evaluated) -> None:
    found = evaluated.found
    whole = found.parts["all"]
    assert whole["AUC"].mean > 0.75
    assert whole["AUC"].low < whole["AUC"].mean < whole["AUC"].high
    assert 0 <= whole["coverage"].mean <= 1
    assert set(found.auc_changes or {}) == {"without_age", "empty"}
    assert (found.auc_changes or {})["without_age"].mean < 0  # age helps, so without it the area is smaller
    ways = {(group.by, group.value) for group in found.subgroups}
    assert {("sex", "male"), ("diagnosis", "nevus"), ("age", "30 to 49")} <= ways


def test_files(model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_evaluation, "draw_evaluation", draw_evaluation)
    out = tmp_path / "out"
    found = run_it(model, out, make(tmp_path / "set"), split="val")
    about = json.loads((out / "metrics.json").read_text())
    assert (about["task"], about["images"], about["threshold"]) == ("classification", 40, 0.5)
    rows = list(csv.DictReader((out / "per_image.csv").read_text().splitlines()))
    assert len(rows) == 40
    assert float(rows[0]["probability_melanoma"]) == pytest.approx(found.predictions.scores[0], abs=1e-5)
    assert {row["label"] for row in rows} == {"other", "melanoma"}
    names = {path.name for path in (out / "figures").iterdir()}
    assert {"roc.png", "precision_recall.png", "reliability.png", "confusion.png", "contributions.png"} <= names
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(names)
    assert "darkness on set" in page
    assert str(tmp_path) not in page
    assert not list(out.glob("unfinished-*"))


def test_a_stored_evaluation_is_read(evaluated: Evaluated, tmp_path: Path) -> None:
    found = evaluated.found
    shutil.copytree(evaluated.out, tmp_path / "out")
    read = read_evaluation(tmp_path / "out")
    predictions = read_predictions(read.table, read.classes, read.positive, read.threshold)
    # Exact, so that a probability at the threshold is on the same side of it.
    assert np.array_equal(predictions.probabilities, found.predictions.probabilities)
    assert (predictions.labels == found.predictions.labels).all()
    assert (read.name, read.threshold) == ("darkness", 0.5)
    (tmp_path / "out/metrics.json").write_text("{}")
    with pytest.raises(InputError, match="contains no evaluation that this version can read"):
        read_evaluation(tmp_path / "out")


def test_metrics_of_an_earlier_evaluation_are_not_beside_another_table(
    model: Darkness, evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(evaluated.out, out)

    def stop(path: Path, values: object) -> None:
        raise Cancelled

    monkeypatch.setattr(pipeline, "write_json", stop)
    with pytest.raises(Cancelled):
        run_it(model, out, evaluated.data, split="val")
    assert not is_evaluation(out)


def test_unknown_values_are_not_counted_among_rare_ones() -> None:
    words = [f"site {index:02}" for index in range(13) for _ in range(2)] + [NOT_KNOWN]
    combined = combine_rare_values(words).tolist()
    assert (combined.count(OTHERS), combined.count(NOT_KNOWN)) == (2, 1)


def test_an_evaluation_resumes(model: Darkness, evaluated: Evaluated, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model.fail_after = 20
    with pytest.raises(Cancelled):
        run_it(model, out, evaluated.data)
    model.calls, model.fail_after = 0, 10**9
    again = run_it(model, out, evaluated.data)
    assert model.calls == 48 - 16
    assert np.allclose(again.predictions.probabilities, evaluated.found.predictions.probabilities)


def test_a_changed_row_is_predicted_again(model: Darkness, tmp_path: Path) -> None:
    """Partial results depend on the clinical metadata."""
    data, out = make(tmp_path / "set"), tmp_path / "out"
    model.fail_after = 20
    with pytest.raises(Cancelled):
        run_it(model, out, data)
    table = (data / "dataset.csv").read_text().replace("i0,p0,", "i0,p0,", 1).splitlines()
    cells = table[1].split(",")
    cells[table[0].split(",").index("age")] = "90"
    (data / "dataset.csv").write_text("\n".join([table[0], ",".join(cells), *table[2:]]) + "\n")
    model.calls, model.fail_after = 0, 10**9
    run_it(model, out, data)
    assert model.calls == 48 - 15


def test_a_changed_configuration_is_predicted_again(model: Darkness, tmp_path: Path) -> None:
    """Partial results of other views, with the same weights, are not used."""
    data, out = make(tmp_path / "set"), tmp_path / "out"
    model.fail_after = 20
    with pytest.raises(Cancelled):
        run_it(model, out, data)
    config = model.info.config
    assert config.classifier is not None
    wider = config.classifier.model_copy(update={"view": ViewConfig(region="photograph")})
    changed = BundleInfo(model.info.path, config.model_copy(update={"classifier": wider}))
    other = Darkness(changed)
    run_it(other, out, data)
    assert other.calls == 48


def test_the_type_of_a_photograph_is_recognized_only_if_it_is_not_stated(
    model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an analysis: a stated type does not count for the distance from the training images."""
    found: list[ModalityEstimate | None] = []

    def distance(self: PredictionCalibration, embedding: np.ndarray, recognized: ModalityEstimate | None) -> float:
        found.append(recognized)
        return 0.0

    monkeypatch.setattr(PredictionCalibration, "distance", distance)
    data = make(tmp_path / "set", count=8)
    rows = read_table(data / "dataset.csv")
    kinds = ["dermoscopic", ""] * 4
    write_table(data / "dataset.csv", [row | {"modality": kind} for row, kind in zip(rows, kinds, strict=True)])
    run_it(model, tmp_path / "out", data)
    assert [one is None for one in found] == [True, False] * 4


@pytest.mark.slow
def test_data_sets_with_different_shares_of_positives_give_a_warning(model: Darkness, tmp_path: Path) -> None:
    sets = (make(tmp_path / "many", share=0.8), make(tmp_path / "few", share=0.15, seed=1))
    found = run_it(model, tmp_path / "out", *sets)
    assert any("recognizing the data set alone" in warning and "'many'" in warning for warning in found.warnings)
    assert {"all", "many", "few"} == set(found.parts)
    assert "AUC_within" in found.parts["all"]
    assert "AUC_within" not in found.parts["few"]


def test_a_data_set_named_all_is_evaluated_by_itself(model: Darkness, tmp_path: Path) -> None:
    """Its results would replace those of all images together."""
    alone, other = make(tmp_path / "all"), make(tmp_path / "set", count=8)
    with pytest.raises(DataSetError, match="named 'all' cannot be evaluated together with others"):
        run_it(model, tmp_path / "out", alone, other)
    run_it(model, tmp_path / "out", alone)
    assert "darkness on all" in (tmp_path / "out/summary.html").read_text(encoding="utf-8")


def test_an_image_without_a_lesion_fails(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set")
    write_mask(data / "masks/i3.png", np.zeros((48, 60), bool))
    found = run_it(model, tmp_path / "out", data)
    assert [(item.sample.image_id, item.error) for item in found.failed] == [("i3", "there is no lesion in the image")]
    assert len(found.predictions.labels) == 47
    rows = list(csv.DictReader((tmp_path / "out/per_image.csv").read_text().splitlines()))
    assert [row["status"] for row in rows].count("failed") == 1


def test_images_without_finite_outputs_fail(model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that diverged, or whose numbers overflow for some images."""
    right, limit = Darkness.run_head_on_values, 0.0

    def overflow(self: Darkness, encoded: list[EncoderOutput], values: TableValues) -> np.ndarray:
        found = right(self, encoded, values)
        found[[one.embedding[0] > limit for one in encoded]] = np.nan
        return found

    monkeypatch.setattr(Darkness, "run_head_on_values", overflow)
    data = make(tmp_path / "set")
    found = run_it(model, tmp_path / "out", data)
    assert 0 < len(found.failed) < 48
    assert found.images == 48 - len(found.failed)
    assert all("outputs of the network are not finite numbers" in item.error for item in found.failed)
    limit = -np.inf
    with pytest.raises(DataSetError, match="none of 48 images could be measured; 'i0': the outputs of the network are"):
        run_it(model, tmp_path / "none", data)


def test_images_of_one_class(model: Darkness, tmp_path: Path) -> None:
    found = run_it(model, tmp_path / "out", make(tmp_path / "set", share=0.0))
    assert "AUC" not in found.parts["all"]
    assert "specificity" in found.parts["all"]
    assert any("No image is melanoma" in warning for warning in found.warnings)


def test_columns_of_all_compared_models_are_read_by_their_synonyms(model: Darkness, tmp_path: Path) -> None:
    """The second model would predict without age, which the first one does not use."""
    data = make(tmp_path / "set", count=6)
    table = data / "dataset.csv"
    table.write_text(table.read_text().replace(",age,", ",age_approx,"))
    first = BundleInfo(model.info.path, model.info.config.model_copy(update={"tabular": None}))
    found = find_labeled_images([data], first, ClassEvaluationOptions(), [model.info])
    assert all(row["age"] == row["age_approx"] for row in found.rows.values())


def test_rows_without_a_class_are_reported(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set")
    lines = (data / "dataset.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index("melanoma")] = ""
    (data / "dataset.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    found = run_it(model, tmp_path / "out", data)
    assert any("1 of 48 images have no class" in warning for warning in found.warnings)


def test_images_without_a_mask_are_reported(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set")
    for index in range(3):
        (data / f"masks/i{index}.png").unlink()
    found = run_it(model, tmp_path / "out", data)
    assert found.images == 45
    assert any("Left out: 3 images with a class, but without a mask" in warning for warning in found.warnings)
    assert not any(
        "without a mask" in warning for warning in run_it(model, tmp_path / "val", data, split="train").warnings
    )


def test_rejected_images_are_left_out_as_in_a_training(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set")
    rows = read_table(data / "dataset.csv")
    reviews = ["rejected", *["accepted"] * (len(rows) - 1)]
    write_table(data / "dataset.csv", [row | {"review": one} for row, one in zip(rows, reviews, strict=True)])
    config = model.info.config
    assert config.classifier is not None
    whole = config.classifier.model_copy(update={"view": ViewConfig(region="photograph")})
    info = BundleInfo(model.info.path, config.model_copy(update={"classifier": whole}))
    for one in (info, model.info):
        found = find_labeled_images([data], one, ClassEvaluationOptions())
        assert (len(found.samples), found.without_mask, found.rejected) == (47, 0, 1)
        assert left_out_warnings(found) == ["Left out: 1 image whose review is rejected."]


def test_label_images_do_not_concern_a_model_of_whole_photographs(model: Darkness, tmp_path: Path) -> None:
    """Those of tiles cannot be read as masks, which such a model does not need."""
    data = make(tmp_path / "set")
    for number, path in enumerate(sorted((data / "masks").iterdir())):
        if number % 2:
            write_labels(path, np.arange(48 * 60, dtype=np.uint8).reshape(48, 60) % 3)
    assert model.info.config.classifier is not None
    whole = model.info.config.classifier.model_copy(update={"view": ViewConfig(region="photograph")})
    info = BundleInfo(model.info.path, model.info.config.model_copy(update={"classifier": whole}))
    assert run_it(Darkness(info), tmp_path / "out", data).images == 48


def test_an_outcome_is_not_derived_from_diagnoses(model: Darkness, tmp_path: Path) -> None:
    config = model.info.config
    assert config.classifier is not None
    outcome = config.classifier.model_copy(update={"positive": "metastasis"})
    classes = {"classifier": outcome, "classes": ("other", "metastasis")}
    spread = Darkness(BundleInfo(model.info.path, config.model_copy(update=classes)))
    with pytest.raises(DataSetError, match="none of 48 images has one of the classes"):
        run_it(spread, tmp_path / "out", make(tmp_path / "set"))


@pytest.mark.slow
def test_missing_clinical_metadata_give_a_warning(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set")
    rows = read_table(data / "dataset.csv")
    write_table(
        data / "dataset.csv", [row | {"age": row["age"] if index < 24 else ""} for index, row in enumerate(rows)]
    )
    found = run_it(model, tmp_path / "half", data)
    assert any("Unknown: age (24 of 48)" in warning for warning in found.warnings)
    write_table(
        data / "dataset.csv", [row | {"age": row["age"] if index < 25 else ""} for index, row in enumerate(rows)]
    )
    assert not any("Unknown: age" in warning for warning in run_it(model, tmp_path / "most", data).warnings)


@pytest.mark.slow
def test_images_out_of_distribution_give_a_warning(
    model: Darkness, evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = model.info.config
    assert config.classifier is not None
    limited = config.model_copy(update={"classifier": config.classifier.model_copy(update={"novelty_threshold": 1.0})})
    strict = Darkness(BundleInfo(model.info.path, limited))
    monkeypatch.setattr(PredictionCalibration, "distance", lambda self, embedding, _: float(embedding[0] > 0) + 0.5)
    found = run_it(strict, tmp_path / "out", evaluated.data)
    count = round(48 * found.parts["all"]["out_of_distribution"].mean)
    warned = [text for text in found.warnings if f"{count} of 48 images are out of distribution for 'darkness'" in text]
    assert bool(warned) == (count >= 24)
    monkeypatch.setattr(PredictionCalibration, "distance", lambda self, _, recognized: 2.0 if recognized else 0.0)
    found = run_it(strict, tmp_path / "all", evaluated.data)
    assert any("48 of 48 images are out of distribution for 'darkness'" in text for text in found.warnings)
    stored = read_evaluation(tmp_path / "all")
    assert any("48 of 48 images are out of distribution" in text for text in stored.warnings)


def test_a_slide_model_is_not_evaluated_on_photographs(
    model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(tmp_path / "set", count=6)
    slides = Darkness(BundleInfo(model.info.path, model.info.config.model_copy(update={"modalities": ("slide",)})))
    run_it(slides, tmp_path / "tiles", data)
    rows = read_table(data / "dataset.csv")
    write_table(data / "dataset.csv", [row | {"modality": "dermoscopic"} for row in rows])
    refused = r"'darkness' is a slide model .* but 6 of 6 images are photographs"
    with pytest.raises(BundleError, match=refused):
        run_it(slides, tmp_path / "out", data)
    write_table(data / "dataset.csv", rows)
    kind = ModalityEstimate("macroscopic", 0.95)
    monkeypatch.setattr(training_overlap, "recognize_modality", lambda rgb: kind)
    with pytest.raises(BundleError, match=refused):  # recognized by their pixels
        run_it(slides, tmp_path / "out", data)
    kind = ModalityEstimate("macroscopic", 0.6)
    run_it(slides, tmp_path / "uncertain", data)


def test_all_other_diagnoses_are_the_other_class(model: Darkness, evaluated: Evaluated, tmp_path: Path) -> None:
    by_word = run_it(model, tmp_path / "word", evaluated.data, target="diagnosis")
    assert by_word.parts["all"]["AUC"] == evaluated.found.parts["all"]["AUC"]
    assert not any("no class" in warning for warning in by_word.warnings)


class ThreeClasses(Darkness):
    """The same with three classes: bright images are of one of two others."""

    @property
    def calibration(self) -> PredictionCalibration:
        assert self.info.config.classifier is not None
        two = super().calibration.reference
        assert two is not None
        logits = np.concatenate([two.logits, two.logits[:, :1]], axis=1)
        no_novelty = np.zeros((0, 1), np.float16), np.zeros(0, np.int64), ()
        return PredictionCalibration(
            self.info.config.classifier,
            self.info.config.classes,
            ReferenceCases(logits, two.labels, two.groups, *no_novelty),
        )

    def run_head_on_values(self, encoded, values: TableValues) -> np.ndarray:
        two = super().run_head_on_values(encoded, values)
        return np.concatenate([two, two[:, :1]], axis=1)


@pytest.mark.slow
def test_a_model_of_three_classes_on_a_binary_column(model: Darkness, tmp_path: Path) -> None:
    classes = ("nevus", "melanoma", "seborrheic keratosis")
    config = model.info.config.model_copy(update={"classes": classes})
    three = ThreeClasses(BundleInfo(model.info.path, config))
    by_word = run_it(three, tmp_path / "word", make(tmp_path / "set"))  # the diagnoses are its classes
    assert by_word.predictions.classes == classes
    assert "coverage" in by_word.parts["all"]
    by_answer = run_it(three, tmp_path / "answer", tmp_path / "set", target="melanoma")
    assert by_answer.predictions.classes == ("other", "melanoma")
    assert by_answer.parts["all"]["AUC"] == by_word.parts["all"]["AUC"]
    assert by_answer.parts["all"]["specificity"] == by_word.parts["all"]["specificity"]
    assert "coverage" not in by_answer.parts["all"]

    rows = read_table(tmp_path / "set/dataset.csv")
    words = {"nevus": "atypical nevus"}  # no class of the model except melanoma
    write_table(tmp_path / "set/dataset.csv", [r | {"diagnosis": words.get(r["diagnosis"], "melanoma")} for r in rows])
    assert run_it(three, tmp_path / "usual", tmp_path / "set").predictions.classes == ("other", "melanoma")


def test_without_reference_cases_there_is_no_coverage(
    model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = model.info.config
    assert config.classifier is not None
    monkeypatch.setattr(Darkness, "calibration", PredictionCalibration(config.classifier, config.classes, None))
    found = run_it(model, tmp_path / "out", make(tmp_path / "set"))
    assert found.parts["all"]["AUC"].mean > 0.75
    assert not {"coverage", "inconclusive"} & set(found.parts["all"])


def test_invalid_columns_and_models_are_rejected(model: Darkness, tmp_path: Path) -> None:
    data = make(tmp_path / "set", count=6)
    with pytest.raises(DataSetError, match="no table has a column 'cancer'"):
        run_it(model, tmp_path / "out", data, target="cancer")
    with pytest.raises(DataSetError, match=r"no image with a mask in the split 'test': .*Python: masks='predicted'"):
        run_it(model, tmp_path / "out", data, split="test")
    with pytest.raises(DataSetError, match="which contains female, male"):
        run_it(model, tmp_path / "out", data, target="sex")
    whole = ClassifierConfig(view=ViewConfig(region="photograph"), operating_point=POINT)
    bundle = BundleInfo(model.info.path, model.info.config.model_copy(update={"classifier": whole}))
    with pytest.raises(DataSetError, match="no image in the split 'tset': 6 rows, splits val"):
        run_it(Darkness(bundle), tmp_path / "out", data, split="tset")
    wrong = BundleInfo(model.info.path, BundleConfig(name="drawing", title="Drawing", architecture="unet"))
    with pytest.raises(BundleError, match="segmentation"):
        run_it(Darkness(wrong), tmp_path / "out", data)


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("lentigo maligna", "melanoma"),
        ("MEL", "melanoma"),
        ("nv", "other"),
        ("other", "other"),  # the name of the class
        ("non melanoma", "other"),
        ("not melanoma", "other"),
        ("non-melanoma", "other"),
        ("malignant", None),
        ("atypical melanocytic proliferation", None),
        ("melanoma?", None),
        ("rule out melanoma", None),
        ("melanoma of the heel", None),
        ("czerniak", None),
    ],
)
def test_a_diagnosis_is_of_the_class_that_the_taxonomy_states(
    given: str, label: str | None, model: Darkness, tmp_path: Path
) -> None:
    """As in a training: a melanoma in other words is no negative image, and what is open is left out."""
    data = make(tmp_path / "set", count=6)
    rows = read_table(data / "dataset.csv")
    rows = [{"image_id": row["image_id"], "diagnosis": row["diagnosis"], "age": row["age"]} for row in rows]
    write_table(data / "dataset.csv", [{**rows[0], "diagnosis": given}, *rows[1:]])
    found = find_labeled_images([data], model.info, ClassEvaluationOptions())
    index = found.label_of.get(("set", rows[0]["image_id"]))
    assert (None if index is None else found.classes[index]) == label
    assert found.left_out == (label is None)


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("melanoma in situ", "melanoma"),
        ("Lentigo maligna", "melanoma"),
        ("dysplastic nevus", "nevus"),
        ("benign keratosis", "seborrheic keratosis"),
        ("basal cell carcinoma", None),
        ("malignant", None),
        ("melanoma?", None),
    ],
)
def test_a_diagnosis_is_of_one_of_several_classes_as_in_an_adaptation(
    given: str, label: str | None, model: Darkness, tmp_path: Path
) -> None:
    data, classes = make(tmp_path / "set", count=6), ("nevus", "melanoma", "seborrheic keratosis")
    rows = [{**row, "melanoma": ""} for row in read_table(data / "dataset.csv")]
    write_table(data / "dataset.csv", [{**rows[0], "diagnosis": given}, *rows[1:]])
    config = model.info.config.model_copy(update={"classes": classes})
    found = find_labeled_images([data], BundleInfo(model.info.path, config), ClassEvaluationOptions())
    key = ("set", rows[0]["image_id"])
    index, raw = found.label_of.get(key), read_rows([data])
    assert (None if index is None else found.classes[index]) == label
    harmonizer = Harmonizer()
    harmonized = {name: harmonizer.harmonize_row(row) for name, row in raw.items()}
    adapted = read_classes(config, raw, harmonized, "melanoma").get(key)
    assert (adapted if adapted in classes else None) == label


def test_columns_under_other_names_are_read_as_in_a_training(
    evaluated: Evaluated, model: Darkness, tmp_path: Path
) -> None:
    """The recipe names the column melanoma and the age, which the table has as a diagnosis and as age_approx."""
    recipe = {"recipe": {"classification": {"target": "melanoma"}}}
    trained = Darkness(BundleInfo(model.info.path, model.info.config.model_copy(update={"provenance": recipe})))
    data = tmp_path / "set"
    shutil.copytree(evaluated.data, data)
    rows = read_table(data / "dataset.csv")
    renamed = [{"age_approx" if name == "age" else name: cell for name, cell in row.items()} for row in rows]
    write_table(data / "dataset.csv", [{n: c for n, c in row.items() if n != "melanoma"} for row in renamed])
    found = run_it(trained, tmp_path / "out", data)
    assert (found.predictions.labels == evaluated.found.predictions.labels).all()
    assert found.predictions.probabilities == pytest.approx(evaluated.found.predictions.probabilities)
    assert not any("Unknown: age" in warning for warning in found.warnings)


def test_the_order_of_compared_models_changes_no_image(model: Darkness, tmp_path: Path) -> None:
    """One model crops around the reference mask, of which some are not reviewed; the other uses whole photographs."""
    data = make(tmp_path / "set", count=8)
    rows = read_table(data / "dataset.csv")
    write_table(data / "dataset.csv", [{**row, "review": "unreviewed" if n < 3 else ""} for n, row in enumerate(rows)])
    assert model.info.config.classifier is not None
    whole = model.info.config.classifier.model_copy(update={"view": ViewConfig(region="photograph")})
    other = BundleInfo(model.info.path, model.info.config.model_copy(update={"classifier": whole}))
    one, two = (
        find_labeled_images([data], models[0], ClassEvaluationOptions(), models[1:])
        for models in ((model.info, other), (other, model.info))
    )
    assert [sample.image_id for sample in one.samples] == [sample.image_id for sample in two.samples]
    assert (len(one.samples), one.without_mask, two.without_mask) == (5, 3, 3)


def test_diagnoses_of_slides_are_read_as_those_of_photographs(
    model: Darkness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(tmp_path / "set", count=4)
    words = ["melanoma in situ", "nevus", "melanoma of the heel", "non-melanoma"]
    rows = read_table(data / "dataset.csv")
    write_table(data / "dataset.csv", [row | {"diagnosis": word} for row, word in zip(rows, words, strict=True)])
    monkeypatch.setattr(slide_evaluation, "bag_samples", read_dataset)
    options = ClassEvaluationOptions(target="diagnosis")
    for images in (
        find_labeled_images([data], model.info, options),
        slide_evaluation._find_labeled_bags(model.info, [data], options),
    ):
        labels = {
            sample.image_id: images.classes[label] for sample, label in zip(images.samples, images.labels, strict=True)
        }
        assert labels == {"i0": "melanoma", "i1": "other", "i3": "other"}
        assert images.left_out == 1
