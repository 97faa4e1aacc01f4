"""A loaded classifier predicts from image and clinical metadata, alone or in a batch, and rejects other input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma import worker
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.classify import EncodedLesion, encode_lesion
from napari_melanoma.classification.explanation import explain
from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.context import KeptArray, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.prediction_config import ViewConfig
from napari_melanoma.models.bundle import BundleInfo


@pytest.fixture(scope="module")
def classifier(classifier_bundle: BundleInfo) -> Classifier:
    return Classifier.load(classifier_bundle, "cpu")


def test_image_and_form_decide(classifier: Classifier, picture) -> None:
    random = np.random.default_rng(11)
    pictures = [picture(random, bool(place % 2)).rgb for place in range(12)]
    middle = classifier.logits([LesionInput(rgb, row={"age": "50"}) for rgb in pictures]).argmax(axis=1)
    young = classifier.logits([LesionInput(rgb, row={"age": "30"}) for rgb in pictures]).argmax(axis=1)
    old = classifier.logits([LesionInput(rgb, row={"age": "70"}) for rgb in pictures]).argmax(axis=1)
    assert (middle == np.arange(12) % 2).mean() > 0.8
    assert young.mean() < 0.2
    assert old.mean() > 0.8


def test_together_and_one_by_one_are_the_same(classifier: Classifier, picture) -> None:
    random = np.random.default_rng(12)
    lesions = [LesionInput(picture(random, True).rgb, row={"sex": word}) for word in ("male", "female", "")]
    alone = np.concatenate([classifier.logits([lesion]) for lesion in lesions])
    np.testing.assert_allclose(classifier.logits(lesions), alone, atol=1e-4)
    assert classifier.logits([]).shape == (0, 2)


def test_encoded_images_are_reused_for_other_patient_data(classifier: Classifier, picture) -> None:
    rgb = picture(np.random.default_rng(13), True).rgb
    looked = classifier.run_encoder([classifier.crop_image(rgb, None)])
    for row in ({}, {"age": "70", "sex": "female"}):
        np.testing.assert_allclose(classifier.run_head(looked, [row]), classifier.logits([LesionInput(rgb, row=row)]))
    assert looked[0].embedding.shape == (classifier.calibration.reference.embeddings.shape[1],)


@pytest.mark.slow
def test_turned_and_mirrored_photographs_get_the_same_prediction(
    classifier: Classifier, classifier_bundle: BundleInfo, picture
) -> None:
    config = classifier_bundle.config
    assert config.classifier is not None
    updates = {"classifier": config.classifier.model_copy(update={"test_time_augmentation": True})}
    augmented = Classifier.load(BundleInfo(classifier_bundle.path, config.model_copy(update=updates)), "cpu")
    rgb = picture(np.random.default_rng(14), True).rgb
    turned = [np.ascontiguousarray(np.rot90(rgb[:: 1 - 2 * (place // 4)], place)) for place in range(8)]
    lesions = [LesionInput(view, row={"age": "70"}) for view in turned]
    each, found = classifier.logits(lesions), augmented.logits(lesions)
    assert np.ptp(each, axis=0).max() > 1e-3  # the single views differ, their mean does not
    np.testing.assert_allclose(found, np.repeat(each.mean(axis=0, keepdims=True), 8, axis=0), atol=1e-4)
    embeddings = [one.embedding for one in augmented.run_encoder(turned)]
    np.testing.assert_allclose(embeddings, np.repeat(embeddings[:1], 8, axis=0), atol=1e-4)
    for method in ("cam", "occlusion"):
        heat = [explain(augmented, lesion, method, "melanoma") for lesion in lesions]
        back = [np.rot90(one, -place)[:: 1 - 2 * (place // 4)] for place, one in enumerate(heat)]
        assert np.ptp(heat[0]) > 0.5
        np.testing.assert_allclose(back, np.repeat(heat[:1], 8, axis=0), atol=1e-3)


def test_a_lesion_needs_a_mask_of_its_photograph(classifier: Classifier) -> None:
    config = classifier.info.config
    around = config.classifier.model_copy(update={"view": ViewConfig()})
    info = replace(classifier.info, config=config.model_copy(update={"classifier": around}))
    cut, rgb = Classifier(info, classifier.network), np.zeros((50, 60, 3), np.uint8)
    for mask in (None, np.zeros((50, 60), bool)):
        with pytest.raises(InputError, match="no lesion to classify: 'violet' needs the crop"):
            cut.crop_image(rgb, mask)
    with pytest.raises(InputError, match="mask has 5 x 5 pixels, but the photograph 50 x 60"):
        cut.crop_image(rgb, np.ones((5, 5), bool))


def test_lesion_segmentation_model_is_rejected(tiny_bundle: BundleInfo) -> None:
    with pytest.raises(BundleError, match="'tiny' is a segmentation model: it segments lesions"):
        Classifier.load(tiny_bundle)


def test_the_worker_predicts_again_and_explains(classifier: Classifier, picture, monkeypatch) -> None:
    drawn, run = picture(np.random.default_rng(14), True), RunContext()
    monkeypatch.setattr(worker, "load_classifier", lambda name: classifier)
    pixels = KeptArray("violet", drawn.rgb)
    (first,), (young,) = (
        worker.classify("violet", pixels, (None, None), (None, None), {"age": age}, run) for age in ("50", "30")
    )
    heat = worker.explain("violet", pixels, None, {"age": "50"}, "occlusion", "melanoma", run)
    assert first.probabilities[1] > 0.5 > young.probabilities[1]
    place = np.unravel_index(heat.argmax(), drawn.rgb.shape[:2])
    assert np.hypot(*np.subtract(place, drawn.patch)) < 15


@pytest.mark.slow
def test_only_lesions_that_changed_are_encoded_again(monkeypatch) -> None:
    rgb = np.random.default_rng(3).integers(150, 200, (96, 160, 3), np.uint8)
    encoded: list[int] = []

    def count(photograph: object, mask: np.ndarray, *given: object) -> EncodedLesion:
        encoded.append(int(mask.sum()))
        return encode_lesion(photograph, mask, *given)

    monkeypatch.setattr("napari_melanoma.classification.classify.encode_lesion", count)
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[20:70, 10:60], labels[30:60, 100:130] = 1, 2

    def classify(digest: str = "one", age: str = "") -> list[int]:
        encoded.clear()
        masks = labels > 0, labels
        worker.classify("melanoma-small", KeptArray(digest, rgb), (None, None), masks, {"age": age}, RunContext())
        return encoded

    assert classify() == [3400, 2500, 900]
    assert classify(age="80") == [], "other patient data"
    labels[30:60, 130:140] = 2
    assert classify() == [3700, 1200], "the first lesion is the same"
    labels[30:60, 130:140] = 0
    assert classify() == [], "undo"
    assert classify("another photograph") == [3400, 2500, 900]


def test_each_of_several_lesions_has_its_own_prediction() -> None:
    rgb = np.random.default_rng(3).integers(150, 200, (96, 160, 3), np.uint8)
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[20:70, 10:60], labels[30:60, 100:130] = 1, 2
    rgb[labels == 1], rgb[labels == 2] = (90, 60, 50), (40, 20, 30)

    def classify(mask: np.ndarray, lesions: np.ndarray | None, age: str) -> list[ClassPrediction]:
        pixels, row = KeptArray("several", rgb), {"age": age}
        return worker.classify("melanoma-small", pixels, (None, None), (mask, lesions), row, RunContext())

    whole, older = (classify(labels > 0, labels, age) for age in ("50", "80"))
    (alone,) = classify(labels == 2, None, "50")
    assert len(whole) == len(older) == 3
    assert whole[2].probabilities == pytest.approx(alone.probabilities, abs=1e-4)
    assert whole[1].probabilities != whole[2].probabilities
    assert older[2].probabilities != whole[2].probabilities
