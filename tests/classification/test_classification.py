"""A loaded classifier predicts from image and clinical metadata, alone or in a batch, and rejects other input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.classify import EncodedLesion, encode_lesion
from napari_melanoma.classification.explanation import explain
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.prediction_config import ViewConfig
from napari_melanoma.lesion import worker_requests
from napari_melanoma.lesion.loaded_models import load_classifier
from napari_melanoma.lesion.worker_requests import ClassificationRequests
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


def test_the_worker_predicts_again_and_explains(classifier: Classifier, picture, tmp_path) -> None:
    drawn = picture(np.random.default_rng(14), True)
    image, out = tmp_path / "image.npy", tmp_path / "heat.npy"
    np.save(image, drawn.rgb)
    requested = {"model": "violet", "image": str(image), "mask": None, "row": {"age": "50"}}
    desk = ClassificationRequests(lambda name: classifier)
    with pytest.raises(InputError, match="has not classified a lesion yet"):
        desk.reclassify({"model": "violet", "row": {}}, RunContext())

    first = desk.classify(requested, RunContext())["prediction"]
    young = desk.reclassify({"model": "violet", "row": {"age": "30"}}, RunContext())["prediction"]
    reply = desk.explain({**requested, "method": "occlusion", "out": str(out)}, RunContext())

    assert first["probabilities"][1] > 0.5 > young["probabilities"][1]
    assert (
        young["probabilities"]
        == desk.classify({**requested, "row": {"age": "30"}}, RunContext())["prediction"]["probabilities"]
    )
    assert reply == {"heatmap": str(out), "method": "occlusion", "class": "melanoma"}
    place = np.unravel_index(np.load(out).argmax(), drawn.rgb.shape[:2])
    assert np.hypot(*np.subtract(place, drawn.patch)) < 15


@pytest.mark.slow
def test_only_lesions_that_changed_are_encoded_again(tmp_path, monkeypatch) -> None:
    rgb = np.random.default_rng(3).integers(150, 200, (96, 160, 3), np.uint8)
    np.save(tmp_path / "image.npy", rgb)
    encoded: list[int] = []

    def count(photograph: object, mask: np.ndarray, *given: object) -> EncodedLesion:
        encoded.append(int(mask.sum()))
        return encode_lesion(photograph, mask, *given)

    monkeypatch.setattr(worker_requests, "encode_lesion", count)
    service = ClassificationRequests(load_classifier)
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[20:70, 10:60], labels[30:60, 100:130] = 1, 2

    def classify() -> list[int]:
        encoded.clear()
        for name, array in {"mask": labels > 0, "lesions": labels}.items():
            np.save(tmp_path / f"{name}.npy", array)
        paths = {name: str(tmp_path / f"{name}.npy") for name in ("image", "mask", "lesions")}
        service.classify({"model": "melanoma-small", "row": {}, **paths}, RunContext())
        return encoded

    assert classify() == [3400, 2500, 900]
    labels[30:60, 130:140] = 2
    assert classify() == [3700, 1200], "the first lesion is the same"
    labels[30:60, 130:140] = 0
    assert classify() == [], "undo"
    np.save(tmp_path / "image.npy", 255 - rgb)
    assert classify() == [3400, 2500, 900], "another photograph"


def test_each_of_several_lesions_has_its_own_prediction(tmp_path) -> None:
    random = np.random.default_rng(3)
    rgb = random.integers(150, 200, (96, 160, 3), np.uint8)
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[20:70, 10:60], labels[30:60, 100:130] = 1, 2
    rgb[labels == 1], rgb[labels == 2] = (90, 60, 50), (40, 20, 30)
    for name, array in {"image": rgb, "mask": labels > 0, "lesions": labels, "second": labels == 2}.items():
        np.save(tmp_path / f"{name}.npy", array)
    desk = ClassificationRequests(load_classifier)
    requested = {"model": "melanoma-small", "image": str(tmp_path / "image.npy"), "row": {"age": "50"}}

    whole = desk.classify(
        {**requested, **{name: str(tmp_path / f"{name}.npy") for name in ("mask", "lesions")}}, RunContext()
    )
    older = desk.reclassify({"model": "melanoma-small", "row": {"age": "80"}}, RunContext())
    alone = desk.classify({**requested, "mask": str(tmp_path / "second.npy")}, RunContext())

    assert len(whole["lesions"]) == len(older["lesions"]) == 2
    assert whole["lesions"][1]["probabilities"] == pytest.approx(alone["prediction"]["probabilities"], abs=1e-4)
    assert whole["lesions"][0]["probabilities"] != whole["lesions"][1]["probabilities"]
    assert older["lesions"][1]["probabilities"] != whole["lesions"][1]["probabilities"]
    assert alone["lesions"] == []
