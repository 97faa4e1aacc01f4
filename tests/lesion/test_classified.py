"""Classification in a batch: table columns, existing results, and photographs without a lesion."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors

from napari_melanoma.classification.classify import classifier_stamp
from napari_melanoma.classification.prediction import (
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NoveltyDistance,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.prediction_config import ViewConfig
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.io.formats import Modality
from napari_melanoma.lesion import analysis, batch_classifier
from napari_melanoma.lesion.batch import BatchOptions, analyze_files, find_inputs, result_row
from napari_melanoma.models.bundle import BundleInfo, read_bundle

CONFIG = {
    "name": "teller",
    "title": "Teller",
    "task": "classification",
    "architecture": "image_tabular",
    "classes": ["other", "melanoma"],
    "classifier": {"positive": "melanoma"},
    "tabular": {"numbers": [{"name": "age"}]},
}

PREDICTION = {  # of a result.json
    "classes": ["other", "melanoma"],
    "positive": "melanoma",
    "probabilities": [0.4, 0.6],
    "interval": None,
    "operating_point": None,
    "verdict": "",
    "side": "",
    "possible": ["melanoma"],
    "inconclusive": False,
    "out_of_distribution": False,
    "model": {"name": "derm"},
    "contributions": [],
    "missing": [],
}


@pytest.fixture
def teller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A classifier on disk whose answer is the age in per cent; counts how often it is asked."""
    folder = tmp_path / "teller"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors.serialize({}, None))
    recorder = SimpleNamespace(folder=folder, requested=[])

    def answer(photograph, mask, row, model, options, *, run, recognized) -> ClassPrediction:
        recorder.requested.append(photograph.name)
        assert recognized == analysis.recognize_modality(photograph.rgb)
        share = float(row.get("age", 50)) / 100
        return ClassPrediction(
            classes=("other", "melanoma"),
            positive="melanoma",
            probabilities=(1 - share, share),
            interval=(share - 0.1, share + 0.1),
            possible=("other", "melanoma") if 0.3 < share < 0.7 else ("melanoma",),
            coverage=0.9,
            operating_point=None,
            novelty=NoveltyDistance(2.0, 1.0) if share > 0.8 else None,
            contributions=(Contribution("age", str(row.get("age")), 0.1),),
            from_image=0.5,
            neighbours=(),
            missing=(),
            unused=(),
            warnings=("sex: odd",),
            model=classifier_stamp(SimpleNamespace(info=model.info, device="cpu", backend="")),
            options=options,
        )

    def loaded(_: batch_classifier.BatchClassifier, bundle: BundleInfo) -> SimpleNamespace:
        return SimpleNamespace(config=SimpleNamespace(view=ViewConfig()), info=bundle)

    monkeypatch.setattr(batch_classifier, "classify", answer)
    monkeypatch.setattr(batch_classifier.BatchClassifier, "_load", loaded)
    return recorder


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_the_table_contains_the_prediction_set_of_each_lesion(tmp_path: Path, model, draw, teller) -> None:
    for name, radius in (("one", 20), ("two", 20), ("none", 0)):
        draw(tmp_path / "photos" / f"{name}.png", radius)
    patients = tmp_path / "patients.csv"
    patients.write_text("image_id,age\none,90\n", encoding="utf-8")
    requested = ClassifyOptions(model=str(teller.folder))
    options = BatchOptions(classify=requested, form={"age": "50"}, metadata=patients, workers=2)

    heard: list[str] = []

    def go(options: BatchOptions):
        run = RunContext(lambda progress: heard.append(progress.message))
        return analyze_files(find_inputs([tmp_path / "photos"]), tmp_path / "out", options, run=run, segmenter=model)

    go(options)
    assert any("the table has no row for 2 of 3 photographs (none, two). The column image_id" in one for one in heard)
    found = rows(tmp_path / "out")
    assert [found["one"][name] for name in ("prediction_set", "inconclusive", "out_of_distribution", "classifier")] == [
        "melanoma", "0", "1", "teller",
    ]  # fmt: skip
    assert float(found["one"]["probability_melanoma"]) == pytest.approx(0.9)
    assert float(found["two"]["probability_melanoma_low"]) == pytest.approx(0.4)
    assert found["two"]["prediction_set"] == "other|melanoma"
    assert found["one"]["valid"] == "false"
    assert "out of distribution" in found["one"]["validity"]
    assert "mask" not in found["one"]["validity"]
    assert found["none"]["probability_melanoma"] == ""
    assert found["none"]["note"] == "no lesion found"
    assert found["one"]["verdict"].startswith("Not valid: the image is out of distribution.")
    assert found["one"]["side"] == ""
    assert found["two"]["verdict"].startswith("No melanoma threshold in this model: melanoma 0.")
    assert [found[name]["used_age"] for name in ("one", "two", "none")] == ["90", "50", ""]
    stored = json.loads((tmp_path / "out" / "one" / "result.json").read_text())
    assert stored["prediction"]["number"] == "melanoma 0.90 (95 % interval 0.80–1.00)"
    assert stored["prediction"]["validity"]["reasons"][0]["code"] == "out_of_distribution"
    assert stored["form"] == {"age": "90"}

    assert sorted(teller.requested) == ["one", "two"]
    assert go(options).skipped == 3
    assert sorted(teller.requested) == ["one", "two"]
    assert go(options.model_copy(update={"form": {"age": "60"}})).skipped == 2  # the form of 'two' alone is another
    assert teller.requested.count("two") == 2
    assert go(BatchOptions(workers=2)).skipped == 3  # nobody asks: the results that are there will do
    assert go(options.model_copy(update={"form": {"age": "60"}})).skipped == 3
    recalibrated = {**CONFIG, "classifier": {"positive": "melanoma", "temperature": 2.0}}
    (teller.folder / "config.json").write_text(json.dumps(recalibrated))
    assert go(options.model_copy(update={"form": {"age": "60"}})).skipped == 1  # "none" needs no prediction


def test_rulers_are_searched_with_the_type_that_the_table_states(
    tmp_path: Path, model, draw, teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str | None] = []
    monkeypatch.setattr("napari_melanoma.imaging.ruler.find_ruler", lambda rgb, modality: searched.append(modality))
    draw(tmp_path / "photos" / "a.png")
    patients = tmp_path / "patients.csv"
    patients.write_text("image_id,modality\na,dermoscopic\n", encoding="utf-8")
    requested = ClassifyOptions(model=str(teller.folder))
    options = BatchOptions(classify=requested, metadata=patients, modality="macroscopic", scale="ruler", workers=1)
    analyze_files(find_inputs([tmp_path / "photos"]), tmp_path / "out", options, run=RunContext(), segmenter=model)
    assert searched == ["dermoscopic"]


def test_each_type_of_photograph_gets_its_default_classifier(
    tmp_path: Path, model, draw, teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = []
    for name, modality in (("derm", "dermoscopic"), ("phone", "macroscopic")):
        folder = tmp_path / name
        shutil.copytree(teller.folder, folder)
        config = {**CONFIG, "name": name, "modalities": [modality], "tabular": {"numbers": [{"name": f"age_{name}"}]}}
        (folder / "config.json").write_text(json.dumps(config))
        defaults.append(read_bundle(folder))
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.list_default_classifiers", lambda: defaults)
    # The most confident guess seen for a dermoscopic photograph was 0.97
    monkeypatch.setattr(analysis, "recognize_modality", lambda rgb: ModalityEstimate("macroscopic", 0.97))
    for name in ("a", "b", "c"):
        draw(tmp_path / "photos" / f"{name}.png")
    patients = tmp_path / "patients.csv"
    patients.write_text("image_id,modality\na,dermoscopic\nb,macroscopic\n", encoding="utf-8")

    def go(modality: Modality | None = None, metadata: Path | None = patients):
        options = BatchOptions(classify=ClassifyOptions(), metadata=metadata, modality=modality, workers=2)
        inputs = find_inputs([tmp_path / "photos"])
        return analyze_files(inputs, tmp_path / "out", options, run=RunContext(), segmenter=model)

    def classifiers() -> dict[str, str]:
        return {name: row["classifier"] for name, row in rows(tmp_path / "out").items()}

    go()
    assert classifiers() == {"a": "derm", "b": "phone", "c": "derm"}
    assert {"used_age_derm", "used_age_phone", "probability_melanoma"} <= rows(tmp_path / "out")["a"].keys()
    assert go().skipped == 3
    assert go(modality="macroscopic", metadata=None).skipped == 0
    assert set(classifiers().values()) == {"phone"}
    assert go(metadata=None).done == 3
    assert set(classifiers().values()) == {"derm"}
    go()
    defaults.pop()
    assert go().skipped == 2  # the model of 'b' is no longer a default one
    assert classifiers()["b"] == "derm"


def test_the_warnings_contain_the_reasons_against_a_prediction() -> None:
    unsure = ValidityInputs("derm", modality="dermoscopic", modalities=("dermoscopic",), modality_certain=False)
    far = ValidityInputs("derm", modality="dermoscopic", modality_certain=False, distance=3.0, limit=2.0)
    other_type = ValidityInputs("derm", modality="macroscopic", modalities=("dermoscopic",))
    stored = {"prediction": {**PREDICTION, "validity": unsure.check().to_json()}}
    row = result_row("a", "a.png", stored)
    assert row["validity"] in row["warning"]
    assert "type assumed: dermoscopic" in row["warning"]
    assert "--modality" in row["warning"]
    stored["modality"] = "dermoscopic"
    assert "--modality" not in result_row("a", "a.png", stored)["warning"]
    for reasons, word in ((far, "out of distribution"), (other_type, "cannot assess a macroscopic photograph")):
        stored["prediction"] = {**PREDICTION, "validity": reasons.check().to_json()}
        assert word in result_row("a", "a.png", stored)["warning"]


def test_a_reason_that_the_mask_shares_is_stated_once() -> None:
    reasons = ValidityInputs("derm", modality="neither").check().to_json()
    warning = "This does not look like a photograph of a skin lesion: its mask may be meaningless."
    stored = {"warning": warning, "validity": reasons, "prediction": {**PREDICTION, "validity": reasons}}
    assert result_row("a", "a.png", stored)["warning"] == warning.removesuffix(".")


def test_a_result_without_a_lesion_is_classified_by_a_model_for_whole_photographs(
    tmp_path: Path, model, draw, teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**CONFIG, "classifier": {"positive": "melanoma", "view": {"region": "photograph"}}}
    (teller.folder / "config.json").write_text(json.dumps(config))
    view = ViewConfig(region="photograph")
    monkeypatch.setattr(
        batch_classifier.BatchClassifier,
        "_load",
        lambda _, bundle: SimpleNamespace(config=SimpleNamespace(view=view), info=bundle),
    )
    path = draw(tmp_path / "none.png", 0)

    def go(options: BatchOptions):
        return analyze_files([path], tmp_path / "out", options, run=RunContext(), segmenter=model)

    go(BatchOptions(workers=1))
    options = BatchOptions(workers=1, classify=ClassifyOptions(model=str(teller.folder)))
    assert go(options).done == 1
    assert rows(tmp_path / "out")["none"]["probability_melanoma"] != ""
    assert go(options).skipped == 1
    assert teller.requested == ["none"]


def test_a_segmentation_model_is_no_classifier_nor_the_reverse(tmp_path: Path, model, draw, teller) -> None:
    path = draw(tmp_path / "one.png")
    wrong = BatchOptions(classify=ClassifyOptions(model="lesion-small"))
    with pytest.raises(BundleError, match="'lesion-small' is a segmentation model"):
        analyze_files([path], tmp_path / "out", wrong, run=RunContext(), segmenter=model)
    reverse = BatchOptions.parse({"lesion": {"model": str(teller.folder)}}, "here")
    with pytest.raises(BundleError, match="'teller' is a classification model: it predicts a diagnosis"):
        analyze_files([path], tmp_path / "out", reverse, run=RunContext())


def test_the_heatmap_explains_the_predicted_class(tmp_path: Path, model, draw, teller, monkeypatch) -> None:
    def explain(classifier, lesion, method, target, run):
        return np.ones(lesion.mask.shape, np.float32)

    monkeypatch.setattr("napari_melanoma.classification.explanation.explain", explain)
    patients = tmp_path / "patients.csv"
    patients.write_text("image_id,age\nlikely,70\nunlikely,20\n", encoding="utf-8")
    options = BatchOptions(
        classify=ClassifyOptions(model=str(teller.folder), heatmap="cam"), metadata=patients, workers=1
    )
    photographs = [draw(tmp_path / "photos" / f"{name}.png", 20) for name in ("likely", "unlikely")]
    analyze_files(photographs, tmp_path / "out", options, run=RunContext(), segmenter=model)
    targets = {
        path.name: json.loads((tmp_path / "out" / path.stem / "result.json").read_text())["heatmap"]["class"]
        for path in photographs
    }
    assert targets == {"likely.png": "melanoma", "unlikely.png": "other"}


def test_an_empty_heatmap_is_among_the_warnings() -> None:
    stored = {"warning": "damaged", "validity": {"valid": True}, "heatmap": {"class": "melanoma", "empty": True}}
    assert str(result_row("a", "a.png", stored)["warning"]).startswith("damaged; the heatmap is empty: the method")
    stored["heatmap"] = {"class": "melanoma", "empty": False}
    assert result_row("a", "a.png", stored)["warning"] == "damaged"


def test_heat_is_drawn_over_the_photograph() -> None:
    from napari_melanoma.imaging.masks import draw_heatmap

    rgb = np.full((4, 6, 3), 200, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1, 2], heat[2, 2] = 1.0, 0.5
    drawn = draw_heatmap(rgb, heat)
    assert (drawn[heat == 0] == 200).all()
    np.testing.assert_array_equal(drawn[1, 2], np.rint(0.4 * 200 + 0.6 * np.array([252, 253, 191])).astype(np.uint8))
    assert drawn[2, 2].sum() < drawn[1, 2].sum()
