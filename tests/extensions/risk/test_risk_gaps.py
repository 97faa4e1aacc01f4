"""Meaningless risk predictions are refused or cause a warning; comparators remain available."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.extensions.risk import batch
from napari_melanoma.extensions.risk.batch import assess_risk_of_files
from napari_melanoma.extensions.risk.inputs import make_patch_case
from napari_melanoma.extensions.risk.patches import PatchImage, read_patch_image
from napari_melanoma.extensions.risk.prediction import MissingValuesError, RiskOptions, RiskPrediction, required_columns
from napari_melanoma.extensions.risk.predictor import predict_risk
from napari_melanoma.extensions.risk.slide_files import read_risk
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

WHOLE = {"age": "64", "sex": "male", "depth_mm": "2.4"}
NEVER = {"drop_form": 0.0, "drop_field": 0.0}


@pytest.fixture(scope="module")
def loaded(info: BundleInfo) -> Classifier:
    """The network, which has learnt with empty cells."""
    return Classifier.load(info, "cpu")


def learnt(loaded: Classifier, classification: dict[str, float], **known: int) -> Classifier:
    """The same as if it had been learnt so; with the columns known in so many training rows."""
    encoding = loaded.info.config.tabular
    assert encoding is not None
    numbers = tuple(one.model_copy(update={"known": known.get(one.name, one.known)}) for one in encoding.numbers)
    config = loaded.info.config.model_copy(
        update={
            "provenance": {"recipe": {"classification": classification}},
            "tabular": encoding.model_copy(update={"numbers": numbers}),
        }
    )
    return Classifier(replace(loaded.info, config=config), loaded.network)


def requested(patches: Path, form: dict[str, str], model: Classifier) -> RiskPrediction:
    """Its answer to the first patch."""
    picture = PatchImage(read_photograph(patches / "p0.png").rgb, "patch", width_mm=3.0)
    return predict_risk([picture], make_patch_case(form), model, RiskOptions(model=model.info.name))


def test_model_trained_without_missing_values_requires_complete_rows(patches: Path, loaded: Classifier) -> None:
    model = learnt(loaded, NEVER)
    answer = requested(patches, WHOLE, model)
    assert answer.shares is None
    assert any("trained without missing values" in one for one in answer.warnings)
    with pytest.raises(
        MissingValuesError, match=r"age, sex are missing, and 'tiny-risk' .*no case lacked one, drop_form = 0"
    ) as message:
        requested(patches, {"depth_mm": "2.4"}, model)
    assert "Breslow thickness alone 0." in str(message.value)
    with pytest.raises(MissingValuesError, match=r"age \('400' is not recognized\) is missing"):
        requested(patches, {**WHOLE, "age": "400"}, model)
    assert message.value.depth.mm == 2.4
    assert message.value.comparisons["breslow"].probability is not None
    assert requested(patches, {}, loaded).missing == ("age", "depth_mm", "sex")  # this one has learnt what that means


def test_a_column_that_was_empty_in_training_often_enough_may_be_empty(patches: Path, loaded: Classifier) -> None:
    model = learnt(loaded, NEVER, age=40)  # of 60
    assert {*required_columns(model.info.config)} == {"depth_mm", "sex"}
    assert requested(patches, {"sex": "male", "depth_mm": "2.4"}, model).missing == ("age",)
    with pytest.raises(MissingValuesError, match="sex is missing"):
        requested(patches, {"depth_mm": "2.4"}, model)
    assert required_columns(learnt(loaded, {"drop_form": 0.0, "drop_field": 0.1}).info.config) == {}


def test_rejected_patients_keep_their_row_and_simpler_predictions(
    patches: Path, loaded: Classifier, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "load_risk_model", lambda name: learnt(loaded, NEVER))
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age,sex,depth_mm,clark\np0,64,male,2.4,4\np1,,,1.2,3\n", encoding="utf-8")
    paths = [patches / "p0.png", patches / "p1.png"]
    done = assess_risk_of_files(
        paths, tmp_path / "out", RiskOptions(model=str(model)), PatientTable({}, table), run=RunContext()
    )
    first, second = read_table(done.table)
    assert (done.done, done.failed) == (1, 1)
    assert first["probability"] != ""
    assert (second["status"], second["probability"], second["depth_mm"]) == ("failed", "", "1.2")
    assert "age, sex are missing" in second["error"]
    assert 0 < float(second["probability_breslow_alone"]) < 1
    assert not (tmp_path / "out/p1/risk.json").exists()


def test_the_table_keeps_rows_of_earlier_runs_and_added_columns(patches: Path, model: Path, tmp_path: Path) -> None:
    options, out = RiskOptions(model=str(model)), tmp_path / "out"

    def assess(*names: str) -> list[dict[str, str]]:
        paths = [patches / f"{name}.png" for name in names]
        return read_table(assess_risk_of_files(paths, out, options, PatientTable(WHOLE), run=RunContext()).table)

    first = assess("p1")
    assert [row["case"] for row in first] == ["p1"]
    both = assess("p0")
    assert [row["case"] for row in both] == ["p1", "p0"]
    assert both[0] == first[0]
    write_table(out / "risk.csv", [{**row, "remark": row["case"]} for row in both])
    again = assess("p1")
    assert {row["case"]: row["remark"] for row in again} == {"p1": "p1", "p0": "p0"}
    (out / "risk.csv").write_text("no table\np0\n")
    assert assess("p1") == first
    assert len(list(out.glob("risk-*.csv"))) == 1  # the backup


def test_what_a_rejected_prediction_leaves_is_not_valid_if_its_analysis_is_not(
    patches: Path, loaded: Classifier, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = learnt(loaded, NEVER)
    analyzed = replace(
        make_patch_case({"depth_mm": "1.2"}), validity=ValidityInputs("m", distance=2.0, limit=1.0).check()
    )
    with pytest.raises(MissingValuesError) as message:
        picture = read_patch_image(patches / "p0.png", {}, RiskOptions(model=str(model)))
        predict_risk([picture], analyzed, never, RiskOptions(model=str(model)))
    assert not message.value.validity.valid
    assert "Available without them" not in str(message.value)
    monkeypatch.setattr(batch, "load_risk_model", lambda name: never)
    monkeypatch.setattr(batch, "make_patch_case", lambda metadata: analyzed)
    done = assess_risk_of_files(
        [patches / "p0.png"], tmp_path / "out", RiskOptions(model=str(model)), PatientTable({}), run=RunContext()
    )
    (row,) = read_table(done.table)
    assert (row["status"], row["depth_mm"], row["valid"]) == ("failed", "1.2", "false")
    assert "out of distribution" in row["validity"]


def test_rejected_prediction_does_not_show_the_previous_one(
    patches: Path, loaded: Classifier, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "load_risk_model", lambda name: learnt(loaded, NEVER))
    path, out, options = patches / "p0.png", tmp_path / "out", RiskOptions(model=str(model))
    assert assess_risk_of_files([path], out, options, PatientTable(WHOLE), run=RunContext()).done == 1
    before = (out / "p0/risk.json").read_text(encoding="utf-8")
    done = assess_risk_of_files([path], out, options, PatientTable({"depth_mm": "2.4"}), run=RunContext())
    assert done.failed == 1
    assert not read_risk(out / "p0").prediction
    (aside,) = (out / "p0").glob("risk-*.json")
    assert aside.read_text(encoding="utf-8") == before
    assert f"it was backed up as {aside.name}" in read_table(done.table)[0]["warnings"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [("2400", r"2400 µm would be 2.4 mm"), ("-1", "0 to 100 mm"), ("thick", "is 'thick', expected a thickness")],
)
def test_an_impossible_thickness_is_rejected(cell: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_patch_case({"depth_mm": cell})


def test_numbers_and_patches_far_from_the_training_are_warned_of(patches: Path, loaded: Classifier) -> None:
    usual = requested(patches, WHOLE, loaded)
    assert not [one for one in usual.warnings if "far" in one]
    assert any(
        "depth_mm 60: far outside the training cases" in one
        for one in requested(patches, {**WHOLE, "depth_mm": "60"}, loaded).warnings
    )
    assert any("age: unknown value" in one for one in requested(patches, {**WHOLE, "age": "400"}, loaded).warnings)
    classifier = loaded.info.config.classifier
    assert classifier is not None
    config = loaded.info.config.model_copy(
        update={"classifier": classifier.model_copy(update={"novelty_threshold": 1e-6})}
    )
    strange = requested(patches, WHOLE, Classifier(replace(loaded.info, config=config), loaded.network))
    assert strange.patches[0].out_of_distribution
    assert strange.headline.startswith("Not valid: the image is out of distribution.")
    assert not usual.patches[0].out_of_distribution


@pytest.mark.parametrize(
    ("shape", "form", "message"),
    [
        ((60, 90, 3), {}, r"90 x 60 pixels, expected a slide or a square patch"),
        ((60, 60, 3), {"modality": "dermoscopic"}, r"photograph of skin \(dermoscopic\)"),
    ],
)
def test_a_photograph_is_no_patch(
    tmp_path: Path, shape: tuple[int, int, int], form: dict[str, str], message: str
) -> None:
    write_rgb(tmp_path / "skin.png", np.full(shape, 180, np.uint8))
    with pytest.raises(InputError, match=message):
        read_patch_image(tmp_path / "skin.png", form, RiskOptions(model="any"))


def test_a_square_photograph_of_skin_is_classified_as_skin(tmp_path: Path, patches: Path) -> None:
    phantom = lesion_phantom(LesionPhantomConfig(seed=2, modality="dermoscopic", size=(300, 300)))
    write_rgb(tmp_path / "skin.png", phantom.rgb)
    options = RiskOptions(model="any")
    assert "dermoscopic photograph of skin" in read_patch_image(tmp_path / "skin.png", {}, options).notes[0]
    assert not any("skin" in one for one in read_patch_image(patches / "p0.png", {}, options).notes)


def test_patch_of_unknown_width_is_reported(patches: Path, loaded: Classifier) -> None:
    picture = read_patch_image(patches / "p0.png", {}, RiskOptions(model="any"))
    answer = predict_risk([picture, picture], make_patch_case(WHOLE), loaded, RiskOptions(model="any"))
    assert sum("the width of the patch is unknown and assumed to be 3 mm" in one for one in answer.warnings) == 1
