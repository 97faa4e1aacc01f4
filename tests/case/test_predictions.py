"""Answers of a case: fused over images, the odd one found, kept in the folder, and known to be old when it changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.case.edits import add_images, add_lesion, set_correction, set_image, set_lesion, set_patient
from napari_melanoma.case.model import Case, CaseImage
from napari_melanoma.case.predictions import (
    PREDICTIONS_FILE,
    PatientOutlier,
    collect_metadata,
    fuse_predictions,
    predict_case,
    read_predictions,
    save_predictions,
)
from napari_melanoma.case.store import CaseStore, write_correction
from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.classification.predictor import EncoderOutput, PredictionCalibration
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.prediction_config import ClassifierConfig, TabularConfig, TabularEncoding
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.features.encoding import TableValues, fit_encoding
from napari_melanoma.imaging.preprocessing import crop_view
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_rgb
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases

SIDE = 80
CLASSES = ("other", "melanoma")


class Redness:
    """A model whose logit of melanoma is how red the view is, and a year of age adds a hundredth."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"none")
        rows = [{"age": "40"}, {"age": "60"}]
        choices = TabularConfig(words=())
        self.encoding: TabularEncoding = fit_encoding(rows, choices)
        config = ClassifierConfig(unlike=3.0)
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
        self.judge = PredictionCalibration(config, CLASSES, reference)

    def seen(self, rgb, mask):
        config = self.info.config
        found = crop_view(rgb, mask, config.classifier.view, config.input_size, config.preprocessing)
        if found is None:
            raise InputError("there is no lesion to look at.")
        return found

    def look(self, views):
        means = [view.mean(axis=(0, 1)).astype(np.float32) / 255 for view in views]
        return [EncoderOutput(mean[:, None, None], mean) for mean in means]

    def decide_values(self, looked, values: TableValues) -> np.ndarray:
        age = np.nan_to_num(values.numbers[:, 0], nan=50.0)
        red = np.array([4 * one.embedding[0] - 2 for one in looked]) + (age - 50) / 100
        return np.stack([0 * red, red], axis=1).astype(np.float32)


COLOURS = {"I1": 200, "I2": 60, "I3": 70, "I4": 75, "I5": 65, "I6": 90}
LESIONS = {"L1": ("I1", "I2"), "L2": ("I3",), "L3": ("I4",), "L4": ("I5",)}


@pytest.fixture
def model(tmp_path: Path) -> Redness:
    """It answers at once."""
    (tmp_path / "model").mkdir()
    return Redness(tmp_path / "model")


@pytest.fixture
def store(tmp_path: Path):
    """Four lesions, the first of two images; all with masks but that of no lesion."""
    case = set_patient(Case(), age=60)
    for lesion, names in LESIONS.items():
        case = add_lesion(case, site="head/neck")
        for name in names:
            case = add_images(case, [picture(tmp_path, name)], lesion)
    case = add_images(case, [picture(tmp_path, "I6")])
    with CaseStore.create(tmp_path / "case", case) as opened:
        for name in COLOURS.keys() - {"I6"}:
            case = drawn(opened, case, name, SIDE // 4)
        opened.save(case)
        yield opened


def picture(folder: Path, name: str) -> CaseImage:
    """A photograph of one red."""
    rgb = np.full((SIDE, SIDE, 3), 80, np.uint8)
    rgb[..., 0] = COLOURS[name]
    write_rgb(folder / f"{name}.png", rgb)
    return CaseImage(id=name, path=folder / f"{name}.png", content=name, modality="dermoscopic")


def drawn(store: CaseStore, case: Case, image_id: str, margin: int) -> Case:
    """The case with a mask drawn by hand."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[margin:-margin, margin:-margin] = True
    digest = array_fingerprint(read_photograph(case.find_image(image_id).path).rgb)
    return set_correction(case, image_id, write_correction(store, image_id, mask, image_digest=digest, model=""))


def chance(red: float, age: float = 60) -> float:
    """What the model says of a red."""
    return float(1 / (1 + np.exp(-(4 * red / 255 - 2 + (age - 50) / 100))))


def test_each_lesion_is_answered_over_its_images(store: CaseStore, model: Redness) -> None:
    """One image: its own answer; two: that at the mean of their logits. What is of no lesion is said."""
    found = predict_case(store, model, RunContext())
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
    assert found.notes == (("I6", "is of no lesion yet: file it, and answer again."),)


def test_the_odd_one_is_found(store: CaseStore, model: Redness) -> None:
    """The lesion with a red image is least like the three that are alike."""
    found = predict_case(store, model, RunContext())
    odd = {one.lesion_id: one.outlier for one in found.lesions}
    assert odd["L1"].rank == 1
    assert odd["L1"].lesions == 4
    assert "among the 4 lesions of this patient" in odd["L1"].description
    assert sorted(one.rank for one in odd.values()) == [1, 2, 3, 4]
    assert [name for name, one in odd.items() if one.is_outlier] == ["L1"]


def test_two_lesions_have_no_odd_one(store: CaseStore, model: Redness) -> None:
    """Of two, neither is."""
    case = store.case
    for name in ("I4", "I5"):
        case = set_image(case, name, modality="macroscopic")
    store.save(case)
    assert [one.outlier for one in predict_case(store, model, RunContext()).lesions] == [None] * 4


WORDS = [
    (PatientOutlier(5, 1, 0.4, 6.0), "the odd one out among the 5 lesions of this patient"),
    (PatientOutlier(5, 1, 0.1, 1.0), "least like the others among the 5 lesions of this patient"),
    (PatientOutlier(5, 3, 0.1, 0.0), "number 3 of the 5 lesions of this patient by how unlike the others it is"),
]


@pytest.mark.parametrize(("odd", "words"), WORDS)
def test_the_odd_one_in_words(odd: PatientOutlier, words: str) -> None:
    """Only what lies far out is called odd."""
    assert odd.description == words


def test_an_image_without_a_mask_is_drawn_or_left_out(store: CaseStore, model: Redness) -> None:
    """With the reason; the other image of the lesion answers alone."""
    store.save(set_correction(store.case, "I1", None))
    left_out = predict_case(store, model, RunContext())
    assert left_out.find_lesion("L1").image_ids == ("I2",)
    assert ("I1", "there is no lesion to look at.") in left_out.notes

    def everything(photograph) -> np.ndarray:
        return np.ones(photograph.rgb.shape[:2], bool)

    with_drawn = predict_case(store, model, RunContext(), segment=everything)
    assert with_drawn.find_lesion("L1").image_ids == ("I1", "I2")


def test_a_missing_file_costs_its_image_alone(store: CaseStore, model: Redness) -> None:
    """The others are answered."""
    store.case.find_image("I3").path.unlink()
    found = predict_case(store, model, RunContext())
    assert [one.lesion_id for one in found.lesions] == ["L1", "L3", "L4"]
    assert "I3" in dict(found.notes)


def test_a_stop_is_a_stop(store: CaseStore, model: Redness) -> None:
    """Between images."""
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        predict_case(store, model, run)


def test_answers_survive_in_the_case_folder(store: CaseStore, model: Redness) -> None:
    """Equal to what was said; there is none before."""
    assert read_predictions(store.folder) is None
    found = predict_case(store, model, RunContext())
    assert save_predictions(store, found) == store.folder / PREDICTIONS_FILE
    assert read_predictions(store.folder) == found


def test_answers_get_old_when_the_case_changes(store: CaseStore, model: Redness) -> None:
    """By mask, by patient, by image; those of other lesions stay as they are."""
    found = predict_case(store, model, RunContext())
    case = store.case
    assert all(found.is_current(case, name) for name in LESIONS)
    redrawn = drawn(store, case, "I3", SIDE // 8)
    assert [found.is_current(redrawn, name) for name in LESIONS] == [True, False, True, True]
    assert not found.is_current(set_patient(case, age=61), "L1")
    assert not found.is_current(add_lesion(case), "L5")


def test_the_truth_makes_no_answer_old(store: CaseStore, model: Redness) -> None:
    """No model looks at the diagnosis or the depth, so the answer to compare them with stays."""
    found = predict_case(store, model, RunContext())
    known = set_lesion(store.case, "L1", diagnosis="melanoma", depth_mm=0.8)
    assert found.is_current(known, "L1")
    assert not found.is_current(set_lesion(known, "L1", site="torso"), "L1")


def test_nothing_is_kept_where_the_case_is_only_looked_at(store: CaseStore, model: Redness) -> None:
    """It says why."""
    found = predict_case(store, model, RunContext())
    with pytest.raises(SaveError, match="cannot save answers"):
        save_predictions(CaseStore.open_read_only(store.folder), found)
    assert not (store.folder / PREDICTIONS_FILE).exists()


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '{"version": 1}'])
def test_damaged_answers_are_refused(tmp_path: Path, text: str) -> None:
    """With advice."""
    (tmp_path / PREDICTIONS_FILE).write_text(text)
    with pytest.raises(InputError, match="Answer the case again"):
        read_predictions(tmp_path)


def test_answers_of_a_newer_version_are_refused(store: CaseStore, model: Redness) -> None:
    """They may mean something else."""
    path = save_predictions(store, predict_case(store, model, RunContext()))
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match="version 2, expected 1"):
        read_predictions(store.folder)


def test_a_row_has_what_the_case_knows(store: CaseStore) -> None:
    """Of patient, lesion and image, in the table's columns; no notes."""
    case = set_patient(store.case, note="private", sex="female")
    row = collect_metadata(case, case.find_lesion("L2"), case.find_image("I3"))
    assert (row["age"], row["sex"], row["site"], row["modality"]) == ("60", "female", "head/neck", "dermoscopic")
    assert not {"note", "images", "id", "results"} & row.keys()
    assert "site" not in collect_metadata(case, None, case.find_image("I6"))


def test_likeness_and_warnings_of_several_images(store: CaseStore, model: Redness) -> None:
    """The image most unlike the training cases counts; each warning is said once."""
    one = predict_case(store, model, RunContext()).find_lesion("L2").prediction
    far = replace(one, likeness=replace(one.likeness, distance=99.0), warnings=("look", "again"))
    both = fuse_predictions([replace(one, warnings=("look",)), far], model.judge, ClassifyOptions())
    assert both.likeness.distance == 99
    assert both.is_out_of_distribution
    assert both.warnings == ("look", "again")
    assert both.probability == pytest.approx(one.probability)
