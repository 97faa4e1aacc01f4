"""Lesion classification: use of metadata and mask, uncertainty, and reading back from JSON; without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.classification.classify import classify, classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import ClassifyOptions, ClassPrediction
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction_config import (
    AgeGroup,
    ClassifierConfig,
    FittedNumbers,
    FittedWords,
    OperatingPoint,
    PreprocessingConfig,
    TabularEncoding,
    ViewConfig,
)
from napari_melanoma.imaging.modality import ModalityEstimate, ModalityKind
from napari_melanoma.imaging.preprocessing import ClassifierView, crop_view
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, ReferenceCases
from napari_melanoma.models.installed_bundles import find_bundle

CLASSES = ("other", "melanoma")
POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.3,
    sensitivity=0.91,
    sensitivity_interval=(0.85, 0.96),
    specificity=0.6,
    specificity_interval=(0.5, 0.7),
)
ENCODING = TabularEncoding(
    numbers=(FittedNumbers(name="age", mean=50.0, std=10.0, median=50.0),),
    words=(FittedWords(name="sex", words=("female", "male")),),
)


class RedModel:
    """The probability of melanoma increases with redness and age, and is higher for men."""

    device, backend = "cpu", "torch"
    encoding = ENCODING

    def __init__(self, folder, reference: ReferenceCases | None = None, **options) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")
        settings = ClassifierConfig(view=ViewConfig(margin=0.0), operating_point=POINT, **options)
        config = BundleConfig(
            name="red",
            title="Red",
            task="classification",
            architecture="none",
            input_size=64,
            classes=CLASSES,
            classifier=settings,
            tabular=ENCODING,
        )
        self.info = BundleInfo(folder, config)
        self.calibration = PredictionCalibration(settings, CLASSES, reference)
        self.views_encoded = 0

    def make_view(self, rgb: np.ndarray, mask: np.ndarray | None) -> ClassifierView:
        found = crop_view(rgb, mask, ViewConfig(margin=0.0), 64, PreprocessingConfig())
        if found is None:
            raise InputError("there is no lesion to look at")
        return found

    def run_encoder(self, views: Sequence[np.ndarray]) -> list:
        self.views_encoded += len(views)
        return [SimpleNamespace(embedding=np.array([view[..., 0].mean() / 255, 0.5], np.float32)) for view in views]

    def run_head_on_values(self, encoded, values) -> np.ndarray:
        red = np.array([one.embedding[0] for one in encoded])
        age = np.nan_to_num((values.numbers[:, 0] - 50) / 10)
        logit = 8 * (red - 0.5) + age + (values.codes[:, 0] == 2)
        return np.stack([np.zeros_like(logit), logit], axis=1).astype(np.float32)


@pytest.fixture
def reference() -> ReferenceCases:
    random = np.random.default_rng(0)
    logit = random.normal(0, 2, 400)
    labels = (random.random(400) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    embeddings = random.normal([0.5, 0.5], [0.1, 0.05], (60, 2)).astype(np.float16)
    ids = tuple(f"case-{place}" for place in range(60))
    logits = np.stack([np.zeros(400), logit], 1).astype(np.float32)
    return ReferenceCases(logits, labels, np.arange(400), embeddings, (np.arange(60) % 2).astype(np.int64), ids)


def photograph(red: int = 128) -> tuple[Photograph, np.ndarray]:
    rgb = np.full((80, 100, 3), 200, np.uint8)
    rgb[20:60, 30:70] = (red, 60, 60)
    mask = np.zeros((80, 100), bool)
    mask[20:60, 30:70] = True
    return Photograph(rgb, "red", modality="dermoscopic"), mask


def ask(model: RedModel, row=None, red: int = 128, **options) -> ClassPrediction:
    picture, mask = photograph(red)
    return classify(picture, mask, row or {}, model, ClassifyOptions(**options), run=RunContext())


def test_an_age_that_cannot_be_is_not_known(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    for age, found in (("540", "540"), ("old", "'old'")):
        answer = ask(model, {"age": age})
        assert answer.probabilities == ask(model).probabilities
        expected = f"Age: expected a number from 0 to 120 years; found {found}, so it is treated as unknown"
        assert expected in answer.warnings


def test_a_training_image_is_reported(tmp_path, reference: ReferenceCases) -> None:
    picture, mask = photograph()
    corners = np.array([[1.5, 1.5], [-0.5, 1.5], [1.5, -0.5], [-0.5, -0.5]], np.float16)  # around what it sees of red
    cases = {"embedded_labels": np.zeros(4, np.int64), "embedded_ids": ("a", "b", "c", "d")}
    far = RedModel(tmp_path, replace(reference, embeddings=corners, **cases))
    assert not any("looks the same" in text for text in ask(far).warnings)
    corners[3] = encode_lesion(picture, mask, far).encoded.embedding
    twin = RedModel(tmp_path, replace(reference, embeddings=corners, **cases))
    assert any("an image that looks the same (d)" in text for text in ask(twin).warnings)


def test_a_prediction_set_contains_every_more_probable_class(tmp_path) -> None:
    logit = np.concatenate(
        [np.linspace(-3, -1.5, 100), np.linspace(-3, 3, 100)]
    )  # the other class is always predicted with certainty, so that 0.6 is unusual for it
    logits = np.stack([np.zeros(200), logit], 1).astype(np.float32)
    nobody = np.zeros((0, 2), np.float16), np.zeros(0, np.int64), ()
    references = ReferenceCases(logits, np.repeat([0, 1], 100), np.arange(200), *nobody)
    unsure = ask(RedModel(tmp_path, references), red=118)
    assert unsure.probability < 0.5
    assert unsure.possible == ("other", "melanoma")
    assert unsure.headline.parts == ("Cannot be ruled out: other diagnoses",)


def test_metadata_and_mask_change_the_prediction(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    assert ask(model, {"age": "70"}).probability > ask(model).probability > ask(model, {"age": "30"}).probability
    assert ask(model, red=220).probability > ask(model, red=90).probability
    picture, mask = photograph()
    moved = classify(picture, ~mask, {}, model, ClassifyOptions(), run=RunContext())
    assert moved.probability != pytest.approx(ask(model).probability, abs=1e-3)


def test_changed_patient_data_do_not_run_the_encoder_again(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    picture, mask = photograph()
    seen = encode_lesion(picture, mask, model)
    row = {"age": "70", "sex": "male"}
    again = classify_encoded(seen, row, model, ClassifyOptions())
    assert model.views_encoded == 1
    assert again.probabilities == ask(model, row).probabilities


def test_the_contribution_of_a_column_is_the_change_without_it(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    both = ask(model, {"age": "70", "sex": "male"})
    adds = {one.field: one.change for one in both.contributions}
    assert adds["age"] == pytest.approx(both.probability - ask(model, {"sex": "male"}).probability)
    assert adds["sex"] == pytest.approx(both.probability - ask(model, {"age": "70"}).probability)
    assert both.from_image == pytest.approx(ask(model).probability)
    assert [one.value for one in both.contributions] == ["70", "male"]


def test_missing_and_unused_metadata_are_reported(tmp_path, reference: ReferenceCases) -> None:
    answer = ask(RedModel(tmp_path, reference), {"sex": "robot", "site": "head/neck", "image_id": "a", "clark": ""})
    assert answer.missing == ("age", "sex")
    assert answer.unused == ("site",)
    assert "sex: the model was not trained on 'robot', so it is treated as unknown" in answer.warnings
    assert answer.contributions == ()


@pytest.mark.parametrize(("red", "possible"), [(20, ("other",)), (128, CLASSES), (250, ("melanoma",))])
def test_prediction_set_has_one_class_if_certain_and_several_if_not(tmp_path, reference, red, possible) -> None:
    answer = ask(RedModel(tmp_path, reference), red=red, coverage=0.8)
    assert answer.possible == possible
    assert answer.is_inconclusive is (len(possible) > 1)
    assert answer.interval[0] <= answer.probability <= answer.interval[1]


def test_more_coverage_leaves_more_classes(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    reds = range(20, 250, 10)
    sizes = [sum(len(ask(model, red=red, coverage=level).possible) for red in reds) for level in (0.6, 0.8, 0.99)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_dermoscopic_model_rejects_certain_smartphone_photographs(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    config = model.info.config.model_copy(update={"modalities": ("dermoscopic",)})
    model.info = BundleInfo(model.info.path, config)
    picture, mask = photograph()

    def assess(kind: ModalityKind, probability: float) -> ClassPrediction:
        estimate = ModalityEstimate(kind, probability)
        lesion = encode_lesion(replace(picture, modality=None), mask, model, estimate)
        return classify_encoded(lesion, {}, model, ClassifyOptions())

    smartphone = assess("macroscopic", 0.92)
    assert smartphone.headline.text.startswith("Not valid: 'red' cannot assess a macroscopic photograph")
    assert "mask" not in " ".join((smartphone.headline.statement, *smartphone.warnings))
    for uncertain in (assess("macroscopic", 0.55), assess("dermoscopic", 0.55)):
        (caution,) = uncertain.validity.cautions
        assert caution.startswith("Type assumed: dermoscopic.")


YOUNG = AgeGroup(
    at_least=0,
    below=50,
    images=100,
    positives=12,
    sensitivity=0.58,
    sensitivity_interval=(0.4, 0.7),
    specificity=0.8,
    specificity_interval=(0.7, 0.9),
)
OLD = YOUNG.model_copy(update={"at_least": 50.0, "below": None, "sensitivity": 0.94})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("age", "group"),
    [("0", YOUNG), ("49.9", YOUNG), ("50", OLD), (" 80 ", OLD), ("", None), ("unknown", None), ("540", None)],
)
def test_figures_of_the_age_group_are_reported(tmp_path, reference, age: str, group) -> None:
    answer = ask(RedModel(tmp_path, reference, ages=(YOUNG, OLD)), {"age": age})
    assert answer.age_group == group
    assert ("in patients aged" in answer.threshold_text) is (group is not None)
    assert ClassPrediction.from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_threshold_text_contains_the_figures_of_the_age_group(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference, ages=(YOUNG, OLD))
    assert ask(model, {"age": "30"}).threshold_text.endswith(
        "; in patients aged 0 to under 50 (cross-validation on 12 melanoma and 88 other images): "
        "sensitivity 58 % (40–70), specificity 80 % (70–90)"
    )
    assert "; in patients aged 50 or older (" in ask(model, {"age": "70"}).threshold_text
    # Measured at the model's own cut: of another nothing is known.
    assert ask(model, {"age": "30"}, sensitivity=0.5).age_group is None


def test_another_sensitivity_moves_the_threshold(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    cuts = [ask(model, sensitivity=level).operating_point.threshold for level in (0.99, 0.8, 0.5)]
    assert cuts == sorted(cuts)
    assert ask(model, sensitivity=0.9).operating_point == POINT


def test_a_different_picture_is_out_of_distribution(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference, novelty_threshold=3.0)
    assert not ask(model).is_out_of_distribution
    far = ask(model, red=255)
    assert far.is_out_of_distribution
    assert far.novelty.distance > 3.0


@pytest.mark.parametrize(
    ("kind", "probability", "stated", "flagged"),
    [
        ("dermoscopic", 0.95, None, False),
        ("dermoscopic", 0.4, None, False),
        ("macroscopic", 0.6, None, False),  # 0.4 for dermoscopic
        ("macroscopic", 0.8, None, True),
        ("neither", 1.0, None, True),
        ("neither", 1.0, "dermoscopic", False),  # what is stated is not recognized
    ],
)
def test_an_improbable_type_is_out_of_distribution(
    tmp_path, reference: ReferenceCases, kind: ModalityKind, probability: float, stated: str | None, flagged: bool
) -> None:
    model = RedModel(tmp_path, reference, novelty_threshold=3.0, type_threshold=0.3)
    model.calibration.modalities = ("dermoscopic",)
    usual = encode_lesion(*photograph(), model, ModalityEstimate(kind, probability))
    found = classify_encoded(replace(usual, modality=stated), {}, model, ClassifyOptions())
    assert found.is_out_of_distribution is flagged
    assert ("out_of_distribution" in found.validity.codes) is flagged


def test_the_type_at_its_threshold_is_at_the_limit(tmp_path, reference: ReferenceCases) -> None:
    config = ClassifierConfig(novelty_threshold=3.0, type_threshold=0.3)
    embedding = reference.embeddings[0].astype(np.float32)
    at_threshold = ModalityEstimate("macroscopic", 0.7)
    distances = [
        PredictionCalibration(config.model_copy(update=values), CLASSES, reference, modalities).distance(
            embedding, at_threshold
        )
        for values, modalities in (
            ({}, ("dermoscopic",)),
            ({"type_threshold": None}, ("dermoscopic",)),  # as in bundles without it
            ({}, ("slide",)),
            ({}, ()),
        )
    ]
    assert distances[0] == pytest.approx(3.0)
    assert distances[1] == distances[2] == distances[3] < 3.0


def test_prediction_sets_have_a_margin_for_other_clinics(reference: ReferenceCases) -> None:
    probabilities = np.stack([np.linspace(0, 1, 101), 1 - np.linspace(0, 1, 101)], axis=1)
    plain, careful = (
        PredictionCalibration(ClassifierConfig(shift_margin=margin), CLASSES, reference) for margin in (0.0, 0.5)
    )
    sets = careful.prediction_sets(probabilities, 0.6)
    np.testing.assert_array_equal(sets, plain.prediction_sets(probabilities, 0.8))
    assert sets.sum() > plain.prediction_sets(probabilities, 0.6).sum()
    balanced = careful.prediction_sets(probabilities, 0.6, balanced=True)
    np.testing.assert_array_equal(balanced, plain.prediction_sets(probabilities, 0.6))


def test_the_nearest_cases_are_named(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    found = ask(model, neighbours=4).neighbours
    assert len(found) == 4
    assert [one.distance for one in found] == sorted(one.distance for one in found)
    assert {one.diagnosis for one in found} <= set(CLASSES)
    assert ask(model, neighbours=0).neighbours == ()


def test_a_photograph_is_listed_once_among_the_nearest_cases(reference: ReferenceCases) -> None:
    """Copies of another size count as the photograph; other names with a number are photographs of their own."""
    ids = ["A", "A_512", "A_1024", "B_512", "PAT_1_2_345", "PAT_1_2_346", "C_12", "C"]
    embeddings = np.random.default_rng(0).normal(size=(len(ids) * 4, 8)).astype(np.float16)
    embeddings[: len(ids)] = np.arange(len(ids))[:, None] / 100  # in this order
    embedded_ids = (*ids, *(f"far{number}" for number in range(len(ids) * 3)))
    labels = np.zeros(len(embeddings), np.int64)
    cases = replace(reference, embeddings=embeddings, embedded_labels=labels, embedded_ids=embedded_ids)
    calibration = PredictionCalibration(ClassifierConfig(), CLASSES, cases)
    found = calibration.nearest_cases(np.zeros(8, np.float32), 6)
    assert [one.image_id for one in found] == ["A", "B_512", "PAT_1_2_345", "PAT_1_2_346", "C_12", "C"]


def test_a_shipped_model_lists_a_photograph_once() -> None:
    calibration = PredictionCalibration.from_bundle(find_bundle("melanoma-small"))
    assert calibration.reference is not None
    position = calibration.reference.embedded_ids.index("ISIC_0014904_512")
    found = calibration.nearest_cases(calibration.reference.embeddings[position].astype(np.float32), 10)
    names = [one.image_id.removesuffix("_512") for one in found]
    assert names[0] == "ISIC_0014904"
    assert len({*names}) == len(found) == 10


def test_without_reference_cases_all_classes_are_possible(tmp_path) -> None:
    answer = ask(RedModel(tmp_path), red=250)
    assert answer.interval is None
    assert answer.possible == CLASSES
    assert answer.headline.text.startswith("Not valid: the error is unknown")
    assert answer.threshold_text == ""


def test_prediction_survives_json(tmp_path, reference: ReferenceCases) -> None:
    for model in (RedModel(tmp_path, reference, novelty_threshold=3.0), RedModel(tmp_path)):
        answer = ask(model, {"age": "70", "site": "back"})
        assert ClassPrediction.from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_an_empty_mask_is_rejected_and_a_stop_request_is_followed(tmp_path, reference: ReferenceCases) -> None:
    model = RedModel(tmp_path, reference)
    picture, mask = photograph()
    with pytest.raises(InputError, match="no lesion to look at"):
        classify(picture, np.zeros_like(mask), {}, model, ClassifyOptions(), run=RunContext())
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        classify(picture, mask, {}, model, ClassifyOptions(), run=run)


def test_a_kind_of_photograph_that_is_known_is_not_sought_again(tmp_path, reference: ReferenceCases) -> None:
    picture, mask = photograph()
    known = ModalityEstimate("macroscopic", 0.99)
    assert encode_lesion(picture, mask, RedModel(tmp_path, reference), known).recognized is known


def test_the_view_is_the_square_around_the_lesion() -> None:
    picture, mask = photograph()
    view = crop_view(picture.rgb, mask, ViewConfig(margin=0.0), 64, PreprocessingConfig())
    assert view.box == Box(20, 30, 40, 40)
    assert (view.image == (128, 60, 60)).all()
    assert crop_view(picture.rgb, None, ViewConfig(), 64, PreprocessingConfig()) is None
    whole = crop_view(picture.rgb, None, ViewConfig(region="photograph"), 64, PreprocessingConfig())
    assert whole.box == Box(0, 0, 80, 100)
    hairless = crop_view(picture.rgb, mask, ViewConfig(margin=0.0), 64, PreprocessingConfig(remove_hair=True))
    assert hairless.image.shape == (64, 64, 3)


def test_the_view_does_not_depend_on_black_around_the_photograph() -> None:
    picture, mask = photograph()
    frame = ((60, 20), (0, 90))
    framed, framed_mask = np.pad(picture.rgb, (*frame, (0, 0))), np.pad(mask, frame)
    for view in (ViewConfig(margin=2.0), ViewConfig(region="photograph")):
        alone = crop_view(picture.rgb, mask, view, 64, PreprocessingConfig())
        inside = crop_view(framed, framed_mask, view, 64, PreprocessingConfig())
        assert inside.box == replace(alone.box, top=alone.box.top + 60)
        np.testing.assert_array_equal(inside.image, alone.image)
    framed_mask[:10, -10:] = True  # drawn in the black
    drawn = crop_view(framed, framed_mask, ViewConfig(margin=0.0), 64, PreprocessingConfig())
    assert drawn.box.united(Box(0, 30, 120, 160)) == drawn.box
