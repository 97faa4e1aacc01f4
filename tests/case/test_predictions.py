"""Predictions for a case: combined over images, outliers, storage, and detection of outdated predictions."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.case import results
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    add_images,
    add_lesion,
    remove_lesion,
    set_correction,
    set_image,
    set_lesion,
    set_patient,
)
from napari_melanoma.case.results import (
    OUTDATED_COMPARISON,
    PREDICTIONS_FILE,
    collect_metadata,
    fuse_predictions,
    predict_case,
    predict_case_with,
    read_predictions,
    save_predictions,
)
from napari_melanoma.case.store import CaseStore, write_correction
from napari_melanoma.classification.classifier import EncoderOutput, PredictionCalibration
from napari_melanoma.classification.prediction import ClassifyOptions, NearestCase
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import CaseChanged, InputError, SaveError
from napari_melanoma.core.prediction_config import ClassifierConfig, TabularConfig, TabularEncoding
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.tabular_encoding import TableValues, fit_encoding
from napari_melanoma.imaging.preprocessing import crop_view
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_rgb
from napari_melanoma.lesion.analysis import LesionResult, ModelStamp, derive_result
from napari_melanoma.lesion.results import read_result
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases
from napari_melanoma.reports.case_report import collect_report

SIDE = 80
CLASSES = ("other", "melanoma")


class Redness:
    """A model whose logit of melanoma is the redness of the image plus 0.01 per year of age."""

    device, backend = "cpu", "torch"

    def __init__(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"none")
        rows = [{"age": "40"}, {"age": "60"}]
        choices = TabularConfig(words=())
        self.encoding: TabularEncoding = fit_encoding(rows, choices)
        config = ClassifierConfig(novelty_threshold=3.0)
        self.info = BundleInfo(
            folder,
            BundleConfig(
                name="redness",
                title="how red it is",
                task="classification",
                architecture="image_tabular",
                classes=CLASSES,
                classifier=config,
                tabular=self.encoding,
                input_size=32,
            ),
        )
        random = np.random.default_rng(0)
        scores = random.normal(size=200).astype(np.float32) * 2
        reference = ReferenceCases(
            logits=np.stack([np.zeros_like(scores), scores], axis=1),
            labels=(random.random(200) < 1 / (1 + np.exp(-scores))).astype(np.int64),
            groups=np.arange(200),
            embeddings=random.normal(size=(50, 3)).astype(np.float16),
            embedded_labels=np.zeros(50, np.int64),
        )
        self.calibration = PredictionCalibration(config, CLASSES, reference)

    def make_view(self, rgb, mask):
        config = self.info.config
        found = crop_view(rgb, mask, config.classifier.view, config.input_size, config.preprocessing)
        if found is None:
            raise InputError("there is no lesion in the image.")
        return found

    def run_encoder(self, views):
        means = [view.mean(axis=(0, 1)).astype(np.float32) / 255 for view in views]
        return [EncoderOutput(mean[:, None, None], mean) for mean in means]

    def run_head_on_values(self, encoded, values: TableValues) -> np.ndarray:
        age = np.nan_to_num(values.numbers[:, 0], nan=50.0)
        red = np.array([4 * one.embedding[0] - 2 for one in encoded]) + (age - 50) / 100
        return np.stack([0 * red, red], axis=1).astype(np.float32)


COLORS = {"I1": 200, "I2": 60, "I3": 70, "I4": 75, "I5": 65, "I6": 90}
LESIONS = {"L1": ("I1", "I2"), "L2": ("I3",), "L3": ("I4",), "L4": ("I5",)}


@pytest.fixture
def model(tmp_path: Path) -> Redness:
    """A model without a network."""
    (tmp_path / "model").mkdir()
    return Redness(tmp_path / "model")


@pytest.fixture
def store(tmp_path: Path):
    """Four lesions, the first with two images; all images with masks except the unassigned one."""
    case = set_patient(Case(), age=60)
    for lesion, names in LESIONS.items():
        case = add_lesion(case, site="head/neck")
        for name in names:
            case = add_images(case, [picture(tmp_path, name)], lesion)
    case = add_images(case, [picture(tmp_path, "I6")])
    with CaseStore.create(tmp_path / "case", case) as opened:
        for name in COLORS.keys() - {"I6"}:
            case = drawn(opened, case, name, SIDE // 4)
        opened.save(case)
        yield opened


def picture(folder: Path, name: str) -> CaseImage:
    """Write a photograph with one shade of red."""
    rgb = np.full((SIDE, SIDE, 3), 80, np.uint8)
    rgb[..., 0] = COLORS[name]
    write_rgb(folder / f"{name}.png", rgb)
    return CaseImage(id=name, path=folder / f"{name}.png", modality="dermoscopic")


def drawn(store: CaseStore, case: Case, image_id: str, margin: int) -> Case:
    """Add a mask to an image."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[margin:-margin, margin:-margin] = True
    digest = array_fingerprint(read_photograph(case.find_image(image_id).path).rgb)
    return set_correction(case, image_id, write_correction(store, image_id, mask, image_digest=digest, model=""))


def chance(red: float, age: float = 60) -> float:
    """Return the logit of the model for a shade of red."""
    return float(1 / (1 + np.exp(-(4 * red / 255 - 2 + (age - 50) / 100))))


def test_each_lesion_is_predicted_from_its_images(store: CaseStore, model: Redness) -> None:
    """One image: its own prediction; two: the mean of their logits. Unassigned images are noted."""
    found = predict_case(store, lambda modality: model, RunContext())
    assert [one.lesion_id for one in found.lesions] == list(LESIONS)
    assert found.find_lesion("L2").prediction.probability == pytest.approx(chance(70), abs=1e-4)
    both = found.find_lesion("L1")
    assert both.image_ids == ("I1", "I2")
    assert both.prediction.probability == pytest.approx(chance(130), abs=1e-4)
    low, high = both.prediction.interval
    assert low < both.prediction.probability < high
    (age,) = both.prediction.contributions
    assert age.change == pytest.approx(chance(130) - chance(130, age=50), abs=1e-3)
    assert both.prediction.from_image == pytest.approx(chance(130, age=50), abs=1e-3)
    assert both.prediction.probability_text.startswith(f"melanoma {chance(130):.2f} (95 % interval ")
    assert found.notes == (("I6", "is not assigned to a lesion: assign it, and run the prediction again."),)


def test_a_photograph_of_another_modality_is_left_out(store: CaseStore, model: Redness) -> None:
    """It would make the whole prediction invalid; alone, its own states why it is not valid. Slides have none."""
    config = model.info.config
    model.info = replace(model.info, config=config.model_copy(update={"modalities": ("dermoscopic",)}))
    case = set_image(set_image(store.case, "I2", modality="macroscopic"), "I3", modality="macroscopic")
    store.save(set_image(case, "I6", modality="wsi"))
    found = predict_case(store, lambda modality: model, RunContext())
    both, alone = found.find_lesion("L1"), found.find_lesion("L2")
    assert both.image_ids == ("I1",)
    assert both.prediction.probability == pytest.approx(chance(200), abs=1e-4)
    assert both.prediction.warnings[-1].startswith("1 photograph left out: 'redness' cannot assess a macroscopic")
    assert not any(code == "modality" for code in both.prediction.validity.codes)
    assert alone.image_ids == ("I3",)
    assert not alone.prediction.validity.valid
    assert found.notes == ()
    assert found.is_current(store.case, "L1")


def test_each_photograph_is_predicted_by_the_model_for_its_type(
    store: CaseStore, model: Redness, tmp_path: Path
) -> None:
    """A lesion has one prediction, from dermoscopic photographs if there are any; models are not compared."""
    (tmp_path / "phone").mkdir()
    phone = Redness(tmp_path / "phone")
    for one, name, modality in ((model, "scope", "dermoscopic"), (phone, "phone", "macroscopic")):
        config = one.info.config.model_copy(update={"name": name, "modalities": (modality,)})
        one.info = replace(one.info, config=config)
    case = store.case
    for name in ("I2", "I3"):
        case = set_image(case, name, modality="macroscopic")
    store.save(case)
    found = predict_case(store, lambda modality: phone if modality == "macroscopic" else model, RunContext())
    both, alone = found.find_lesion("L1"), found.find_lesion("L2")
    assert both.image_ids == ("I1",)
    assert both.prediction.model.name == "scope"
    assert both.prediction.warnings[-1] == "1 photograph left out: 'scope' predicts from the dermoscopic ones."
    assert alone.prediction.model.name == "phone"
    assert not any(code == "modality" for one in (both, alone) for code in one.prediction.validity.codes)
    assert [one.outlier and one.outlier.lesions for one in found.lesions] == [3, None, 3, 3]
    assert found.summary == "4 lesions classified by scope, phone"


@pytest.fixture
def analyzed(store: CaseStore, model: Redness, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A case whose first image has no mask, and the images that were segmented."""
    monkeypatch.setattr("napari_melanoma.lesion.loaded_models.load_classifier_folder", lambda folder: model)
    monkeypatch.setattr("napari_melanoma.lesion.loaded_models.load_segmenter", lambda name: object())
    store.save(set_image(set_correction(store.case, "I1", None), "I1", mpp_x=50.0, mpp_y=50.0))
    images: list[str] = []

    def analyze(photograph, segmenter, options, run) -> LesionResult:
        images.append(photograph.name)
        probability = np.zeros(photograph.rgb.shape[:2], np.float32)
        probability[20:60, 20:60] = 1
        return derive_result(photograph, probability, options, ModelStamp("m", "0" * 64, "cpu", 0.5, ("dermoscopic",)))

    monkeypatch.setattr("napari_melanoma.lesion.analysis.analyze_lesion", analyze)
    return images


@pytest.mark.usefixtures("analyzed")
def test_masks_are_saved_while_predicting(store: CaseStore) -> None:
    """The predictions are up to date with them."""
    assert predict_case_with(store, "", RunContext()).find_lesion("L1").image_ids == ("I1", "I2")
    assert store.case.find_image("I1").current is None
    found = predict_case_with(store, "", RunContext(), keep=True)
    result = store.case.find_image("I1").current
    assert read_mask(result.path / "mask.png").sum() == 1600
    assert read_result(result.path)["measurements"]["area_mm2"] == pytest.approx(1600 * 0.0025)
    assert found.is_current(CaseStore.open_read_only(store.folder).case, "L1")


def test_a_case_that_another_program_changed_is_not_predicted(store: CaseStore, analyzed: list[str]) -> None:
    """Nothing is segmented, and no result remains that the case does not refer to."""
    path = store.folder / "case.json"
    path.write_text(path.read_text(encoding="utf-8").replace("head/neck", "torso"), encoding="utf-8")
    with pytest.raises(CaseChanged, match="was changed by another program"):
        predict_case_with(store, "", RunContext(), keep=True)
    assert not analyzed
    assert not (store.folder / "results").exists()


@pytest.mark.usefixtures("analyzed")
@pytest.mark.parametrize("error", [SaveError("cannot save"), PermissionError(13, "denied")])
def test_an_error_while_saving_is_not_one_of_the_photograph(
    store: CaseStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lesion is not predicted from its other photographs only."""

    def fail(result, folder) -> Path:
        raise error

    monkeypatch.setattr("napari_melanoma.case.results.save_lesion", fail)
    with pytest.raises(SaveError):
        predict_case_with(store, "", RunContext(), keep=True)


def test_a_lesion_without_a_photograph_is_noted(store: CaseStore, model: Redness) -> None:
    """Slides are not classified."""
    store.save(add_lesion(set_image(store.case, "I3", modality="wsi")))
    found = predict_case(store, lambda modality: model, RunContext())
    assert [one.lesion_id for one in found.lesions] == ["L1", "L3", "L4"]
    assert [about for about, message in found.notes if message.startswith("has no photograph")] == ["L2", "L5"]


def test_a_photograph_that_is_left_out_is_not_compared(store: CaseStore, model: Redness) -> None:
    """The first lesion differs from the others by a photograph that its prediction does not use."""
    config = model.info.config
    model.info = replace(model.info, config=config.model_copy(update={"modalities": ("dermoscopic",)}))
    case = store.case
    for name in ("I2", "I3", "I4"):
        case = set_image(case, name, modality="macroscopic")
    store.save(case)
    found = predict_case(store, lambda modality: model, RunContext())
    assert found.find_lesion("L1").image_ids == ("I1",)
    assert [one.outlier for one in found.lesions] == [None] * 4


def test_an_outlier_is_found(store: CaseStore, model: Redness) -> None:
    """The lesion with a red image differs from the three similar ones."""
    found = predict_case(store, lambda modality: model, RunContext())
    outlier = {one.lesion_id: one.outlier for one in found.lesions}
    assert outlier["L1"].rank == 1
    assert outlier["L1"].lesions == 4
    assert "among 4 lesions of this patient" in outlier["L1"].description
    assert sorted(one.rank for one in outlier.values()) == [1, 2, 3, 4]
    assert [name for name, one in outlier.items() if one.is_outlier] == ["L1"]
    # It is outdated if one of the others has changed, or one was added or removed.
    case = store.case
    assert "outlier among 4 lesions" in found.describe_outlier(case, "L1")
    added = add_images(add_lesion(case), [CaseImage(id="", path=Path("new.png"))], "L5")
    for changed in (set_image(case, "I3", modality="macroscopic"), remove_lesion(case, "L3"), added):
        assert found.is_current(changed, "L1")
        assert found.describe_outlier(changed, "L1") == OUTDATED_COMPARISON
    assert found.is_comparison_current(add_lesion(case))  # without a photograph


def test_a_report_states_that_a_comparison_of_lesions_is_outdated(
    store: CaseStore, model: Redness, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_predictions(store, predict_case(store, lambda modality: model, RunContext()))
    store.save(set_image(store.case, "I3", mpp_x=1.0, mpp_y=1.0))
    compared = list[str]()
    digest = results.compute_input_digest

    def count(case: Case, lesion: CaseLesion, used: Collection[str]) -> str:
        compared.append(lesion.id)
        return digest(case, lesion, used)

    monkeypatch.setattr(results, "compute_input_digest", count)
    report = collect_report([store.folder], run=RunContext())
    assert str(report).count(OUTDATED_COMPARISON) == 4
    assert sorted(compared) == ["L1", "L2", "L3", "L4"], "once for each lesion, however many there are"


def test_photographs_are_compared_by_their_type_if_the_case_does_not_state_it(
    store: CaseStore, model: Redness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.case.results.select_modality", lambda recognized, stated: "dermoscopic")
    store.save(set_image(store.case, "I3", modality=""))
    found = predict_case(store, lambda modality: model, RunContext())
    assert [one.outlier and one.outlier.lesions for one in found.lesions] == [4, 4, 4, 4]


def test_two_lesions_have_no_outlier(store: CaseStore, model: Redness) -> None:

    case = store.case
    for name in ("I4", "I5"):
        case = set_image(case, name, modality="macroscopic")
    store.save(case)
    assert [one.outlier for one in predict_case(store, lambda modality: model, RunContext()).lesions] == [None] * 4


def test_an_image_without_a_mask_is_segmented_or_left_out(store: CaseStore, model: Redness) -> None:

    store.save(set_correction(store.case, "I1", None))
    left_out = predict_case(store, lambda modality: model, RunContext())
    assert left_out.find_lesion("L1").image_ids == ("I2",)
    assert ("I1", "there is no lesion in the image.") in left_out.notes

    def everything(image, photograph) -> np.ndarray:
        return np.ones(photograph.rgb.shape[:2], bool)

    with_drawn = predict_case(store, lambda modality: model, RunContext(), segment=everything)
    assert with_drawn.find_lesion("L1").image_ids == ("I1", "I2")


def test_a_missing_file_is_noted(store: CaseStore, model: Redness) -> None:

    store.case.find_image("I3").path.unlink()
    found = predict_case(store, lambda modality: model, RunContext())
    assert [one.lesion_id for one in found.lesions] == ["L1", "L3", "L4"]
    assert "I3" in dict(found.notes)


def test_a_prediction_can_be_cancelled(store: CaseStore, model: Redness) -> None:

    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        predict_case(store, lambda modality: model, run)


def test_predictions_are_stored_in_the_case_folder(store: CaseStore, model: Redness) -> None:

    assert read_predictions(store.folder) is None
    found = predict_case(store, lambda modality: model, RunContext())
    assert save_predictions(store, found) == store.folder / PREDICTIONS_FILE
    assert read_predictions(store.folder) == found


def test_predictions_are_outdated_when_the_case_changes(store: CaseStore, model: Redness) -> None:
    """By mask, patient or image; predictions for other lesions stay up to date."""
    found = predict_case(store, lambda modality: model, RunContext())
    case = store.case
    assert all(found.is_current(case, name) for name in LESIONS)
    redrawn = drawn(store, case, "I3", SIDE // 8)
    assert [found.is_current(redrawn, name) for name in LESIONS] == [True, False, True, True]
    assert not found.is_current(set_patient(case, age=61), "L1")
    assert not found.is_current(add_lesion(case), "L5")


def test_only_values_that_the_model_uses_outdate_a_prediction(store: CaseStore, model: Redness) -> None:
    """The model uses the age, which is unknown at first; no model uses the diagnosis or the depth."""
    found = predict_case(store, lambda modality: model, RunContext())
    known = set_lesion(store.case, "L1", diagnosis="melanoma", depth_mm=0.8, site="torso")
    known = set_patient(known, sex="female", fitzpatrick="3")
    assert found.is_current(known, "L1")
    assert not found.is_current(set_patient(known, age=61), "L1")
    assert not found.is_current(set_image(known, "I1", modality="macroscopic"), "L1"), "another model"


def test_a_read_only_case_is_not_changed(store: CaseStore, model: Redness) -> None:

    found = predict_case(store, lambda modality: model, RunContext())
    with pytest.raises(SaveError, match="cannot save predictions"):
        save_predictions(CaseStore.open_read_only(store.folder), found)
    assert not (store.folder / PREDICTIONS_FILE).exists()


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '{"version": 1}'])
def test_damaged_predictions_are_rejected(tmp_path: Path, text: str) -> None:

    (tmp_path / PREDICTIONS_FILE).write_text(text)
    with pytest.raises(InputError, match="Run the prediction again"):
        read_predictions(tmp_path)


def test_predictions_of_a_newer_version_are_rejected(store: CaseStore, model: Redness) -> None:

    path = save_predictions(store, predict_case(store, lambda modality: model, RunContext()))
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match="version 2, expected 1"):
        read_predictions(store.folder)


def test_metadata_of_an_image(store: CaseStore) -> None:
    """Of patient, lesion and image, in the columns of the table; without notes."""
    case = set_lesion(set_patient(store.case, note="private", sex="female"), "L2", itch=True, bleed=False)
    row = collect_metadata(case, case.find_lesion("L2"), case.find_image("I3"))
    assert (row["itch"], row["bleed"], row.get("hurt")) == ("1", "0", None)
    assert (row["age"], row["sex"], row["site"], row["modality"]) == ("60", "female", "head/neck", "dermoscopic")
    assert not {"note", "images", "id", "results"} & row.keys()
    assert "site" not in collect_metadata(case, None, case.find_image("I6"))


def test_the_order_of_several_images_has_no_effect(store: CaseStore, model: Redness) -> None:
    """A similar case of several images has the smallest of its distances."""
    one = predict_case(store, lambda modality: model, RunContext()).find_lesion("L2").prediction
    near, far, other = (
        NearestCase(name, "melanoma", distance) for name, distance in (("a", 0.1), ("a", 0.9), ("b", 0.5))
    )
    images = [
        replace(one, probabilities=(0.3, 0.7), neighbours=(near, other), missing=("age",)),
        replace(one, neighbours=(other, far), unused=("note",)),
    ]
    fused = [
        fuse_predictions(order, model.calibration, ClassifyOptions(neighbours=2)) for order in (images, images[::-1])
    ]
    assert fused[0].neighbours == (near, other)
    assert fused[0].neighbours == fused[1].neighbours
    assert fused[0].probabilities == pytest.approx(fused[1].probabilities)
    assert (fused[0].missing, fused[0].unused) == (fused[1].missing, fused[1].unused) == (("age",), ("note",))


def test_novelty_and_warnings_of_several_images(store: CaseStore, model: Redness) -> None:
    """The most unusual image counts; each warning is given once."""
    one = predict_case(store, lambda modality: model, RunContext()).find_lesion("L2").prediction
    far = replace(one, novelty=replace(one.novelty, distance=99.0), warnings=("look", "again"))
    both = fuse_predictions([replace(one, warnings=("look",)), far], model.calibration, ClassifyOptions())
    assert both.novelty.distance == 99
    assert both.is_out_of_distribution
    assert both.warnings == ("look", "again")
    assert both.probability == pytest.approx(one.probability)
