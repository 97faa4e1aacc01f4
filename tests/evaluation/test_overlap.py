"""Models are evaluated on images that they were not trained on, and every output states the overlap."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.training_images import (
    FILE_NAME,
    TrainingImages,
    hash_images,
    make_training_images,
    training_images_statement,
    was_trained_on,
)
from napari_melanoma.evaluation.comparison_results import Comparison
from napari_melanoma.evaluation.masks import EvaluationOptions
from napari_melanoma.evaluation.masks import evaluate_masks as evaluate
from napari_melanoma.evaluation.model_comparison import (
    ComparisonOptions,
    compare_evaluation_folders,
    compare_masks,
    compare_pair,
    make_mask_task,
)
from napari_melanoma.evaluation.training_overlap import find_overlap
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.lesion.analysis import ModelStamp, analyze_lesion, describe_result
from napari_melanoma.lesion.batch import result_row
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.models.bundle import BundleConfig, BundleInfo

pytestmark = pytest.mark.usefixtures("user_folders")
EXACT = RefinementConfig(smoothing=0)
OPTIONS = EvaluationOptions(refinement=EXACT, difficulty=False)
RUN = RunContext()


class Dark:
    """Segment dark pixels, without a margin of columns."""

    device, backend = "cpu", "torch"

    def __init__(self, info: BundleInfo, missed: int = 0) -> None:
        self.info, self._missed = info, missed

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        found = (rgb.mean(-1) < 60).astype(np.float32)
        found[:, : 16 + self._missed] = 0
        return found


def bundle(folder: Path, name: str, listed: TrainingImages | None) -> BundleInfo:
    path = folder / name
    path.mkdir()
    (path / "model.safetensors").write_bytes(name.encode())
    about = {}
    if listed is not None:
        listed.write(path / FILE_NAME)
        about = training_images_statement(path / FILE_NAME)
    return BundleInfo(path, BundleConfig(name=name, title=name, architecture="none", input_size=32, provenance=about))


def compared(models: list[Dark], samples: list[Sample], out: Path, options: ComparisonOptions) -> Comparison:
    return compare_pair(make_mask_task(models, options), samples, out, options, run=RUN)


def data_set(folder: Path, seeds: range, patients: dict[int, str] | None = None) -> Path:
    for seed in seeds:
        random = np.random.default_rng(seed)
        rough = Image.fromarray(random.integers(90, 256, (9, 9, 3), dtype=np.uint8))
        rgb = np.asarray(rough.resize((64, 64), Image.Resampling.BICUBIC)).copy()
        mask = np.zeros((64, 64), bool)
        mask[16:48, 16:48] = True
        rgb[mask] = 30
        write_rgb(folder / f"images/i{seed}.png", rgb)
        write_mask(folder / f"masks/i{seed}.png", mask)
    patient_ids = patients or {}
    write_table(folder / "dataset.csv", [{"image_id": f"i{n}", "patient_id": patient_ids.get(n, "")} for n in seeds])
    return folder


def listed(folder: Path) -> TrainingImages:
    return make_training_images(hash_images(read_dataset(folder), RUN))


@pytest.fixture
def thirty(tmp_path: Path) -> Path:
    return data_set(tmp_path / "thirty", range(30))


@pytest.fixture
def trained(tmp_path: Path) -> BundleInfo:
    """A model that was trained on the first five of the thirty images, under other names."""
    return bundle(tmp_path, "trained", listed(data_set(tmp_path / "training", range(5))))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_images_that_the_model_was_trained_on_are_left_out(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    found = evaluate(Dark(trained), [thirty], tmp_path / "out", OPTIONS, run=RUN)
    assert found.parts["all"]["DI"].count == 25
    message = "Left out: 5 of 30 images (5 patients or lesions), because 'trained' was trained on them."
    assert found.warnings == (message,)
    about = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))
    assert about["training_overlap"]["left_out"] == [f"i{n}" for n in range(5)]
    assert about["training_overlap"]["evaluated"] == 25
    assert escape(message) in (tmp_path / "out/summary.html").read_text(encoding="utf-8")
    assert [row["image_id"] for row in table(tmp_path / "out/per_image.csv")] == [f"i{n}" for n in range(5, 30)]


def test_training_images_can_be_included_and_are_marked(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"include_seen": True})
    found = evaluate(Dark(trained), [thirty], tmp_path / "out", options, run=RUN)
    assert found.parts["all"]["DI"].count == 30
    assert found.warnings[0].startswith("Included: 5 of 30 images")
    rows = table(tmp_path / "out/per_image.csv")
    assert [row["image_id"] for row in rows if row["trained_on"] == "trained"] == [f"i{n}" for n in range(5)]


def test_no_image_left_is_an_error(trained: BundleInfo, tmp_path: Path) -> None:
    data = tmp_path / "training"
    with pytest.raises(DataSetError, match=r"All 5 images are left out, because 'trained' was trained.*--include-seen"):
        evaluate(Dark(trained), [data], tmp_path / "out", OPTIONS, run=RUN)
    assert not (tmp_path / "out").exists()


def test_the_whole_patient_is_left_out(tmp_path: Path) -> None:
    known = data_set(tmp_path / "a/clinic", range(3), {0: "P1", 1: "P1", 2: "P2"})
    model = bundle(tmp_path, "trained", listed(known))
    new = data_set(tmp_path / "b/clinic", range(10, 20), dict.fromkeys(range(10, 13), "P1"))
    found = evaluate(Dark(model), [new], tmp_path / "out", OPTIONS, run=RUN)
    assert found.parts["all"]["DI"].count == 7
    assert "trained on other images of the same patients or lesions (3)" in found.warnings[0]


def test_unknown_training_images_are_reported(thirty: Path, tmp_path: Path) -> None:
    found = evaluate(Dark(bundle(tmp_path, "old", None)), [thirty], tmp_path / "out", OPTIONS, run=RUN)
    assert found.parts["all"]["DI"].count == 30
    assert "'old' does not state which images it was trained on" in found.warnings[0]
    about = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))
    assert about["training_overlap"]["models"][0]["stated"] is False
    assert "None of the 30 images" not in (tmp_path / "out/summary.html").read_text(encoding="utf-8")


def test_no_overlap_is_stated(thirty: Path, tmp_path: Path) -> None:
    model = bundle(tmp_path, "new", listed(data_set(tmp_path / "training", range(40, 45))))
    found = evaluate(Dark(model), [thirty], tmp_path / "out", OPTIONS, run=RUN)
    assert found.warnings == ()
    page = (tmp_path / "out/summary.html").read_text(encoding="utf-8")
    assert "None of the 30 images is among the images that" in page


def test_a_replaced_list_is_rejected(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    TrainingImages().write(trained.path / FILE_NAME)
    (warning,) = evaluate(Dark(trained), [thirty], tmp_path / "out", OPTIONS, run=RUN).warnings
    assert "does not match the bundle 'trained'" in warning


@pytest.mark.slow
def test_two_models_are_compared_on_images_new_to_both(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    other = bundle(tmp_path, "other", listed(data_set(tmp_path / "more", range(3, 9))))
    models, samples = [Dark(trained, 4), Dark(other)], read_dataset(thirty)
    found = compared(models, samples, tmp_path / "out", ComparisonOptions(**dict(OPTIONS)))
    assert (found.images, found.advice) == (21, "activate")
    assert found.facts["training_overlap"]["left_out"] == [f"i{n}" for n in range(9)]
    options = ComparisonOptions(**{**dict(OPTIONS), "include_seen": True})
    found = compared(models, samples, tmp_path / "all", options)
    assert (found.images, found.advice) == (30, "inconclusive")
    assert found.reason.startswith("No verdict")
    assert {row["trained_on"] for row in table(tmp_path / "all/per_image.csv")} == {
        "",
        "trained",
        "other",
        "trained; other",
    }


@pytest.mark.slow
def test_a_new_model_with_unknown_training_images_is_not_recommended(thirty: Path, tmp_path: Path) -> None:
    old, new = bundle(tmp_path, "old", TrainingImages()), bundle(tmp_path, "new", None)
    options, samples = ComparisonOptions(**dict(OPTIONS)), read_dataset(thirty)
    found = compared([Dark(old, 4), Dark(new)], samples, tmp_path / "out", options)
    assert found.advice == "inconclusive"
    assert found.reason.startswith("'new' does not state which images it was trained on")
    assert found.difference["JA"].low > 0, "the figures stay"
    found = compared([Dark(new), Dark(old, 4)], samples, tmp_path / "out", options)
    assert found.advice == "keep"


@pytest.mark.slow
def test_several_models_and_stored_evaluations(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    other = bundle(tmp_path, "other", listed(data_set(tmp_path / "more", range(3, 9))))
    models = [Dark(trained), Dark(other, 2), Dark(other, 4)]
    found = compare_masks(models, read_dataset(thirty), tmp_path / "out", OPTIONS, run=RUN)
    assert found.parts[0].images == 21
    assert len([w for w in found.warnings if w.startswith("Left out")]) == 2
    folders = [tmp_path / "first", tmp_path / "second"]
    for model, folder in zip(models, folders, strict=False):
        evaluate(model, [thirty], folder, OPTIONS, run=RUN)
    found = compare_evaluation_folders(folders, tmp_path / "stored")
    assert found.parts[0].images == 21
    everything = OPTIONS.model_copy(update={"include_seen": True})
    for model, folder in zip(models, folders, strict=False):
        evaluate(model, [thirty], folder, everything, run=RUN)
    compare_evaluation_folders(folders, tmp_path / "stored")
    assert "No verdict" in (tmp_path / "stored/comparison.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("side", "number", "known"), [(64, 3, True), (48, 3, True), (64, 20, False)])
def test_a_result_states_that_the_model_was_trained_on_the_photograph(
    thirty: Path, trained: BundleInfo, side: int, number: int, known: bool
) -> None:
    with Image.open(thirty / f"images/i{number}.png") as image:
        rgb = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    photograph = Photograph(rgb, f"i{number}.png", modality="dermoscopic")
    found = analyze_lesion(photograph, Dark(trained), LesionOptions(), run=RUN)
    message = "The model was trained on this photograph: the mask is not independent"
    assert (f"{message}." in found.warning) is known
    assert (
        message in str(result_row("i", "i.png", json.loads(json.dumps(describe_result(found))))["warning"])
    ) is known
    stored = json.loads(json.dumps(describe_result(found)))
    prediction = {
        "classes": ["other", "melanoma"],
        "probabilities": [0.5, 0.5],
        "positive": "melanoma",
        "interval": None,
    }
    prediction |= {
        "operating_point": None,
        "contributions": [],
        "missing": [],
        "possible": [],
        "verdict": "",
        "side": "",
    }
    prediction |= {"inconclusive": False, "out_of_distribution": False, "model": {"name": "another"}}
    prediction |= {"validity": {"valid": True}}
    # The classifier was trained on it as well.
    of_prediction = message.replace("mask", "prediction")
    stored["prediction"] = {**prediction, "warnings": [of_prediction, "another"]}
    both = str(result_row("i", "i.png", stored)["warning"])
    assert both.endswith(f"{message}; {of_prediction}; another" if known else f"; {of_prediction}; another")
    assert (message in both) is known
    assert ModelStamp(**json.loads(json.dumps(vars(found.model)))) == found.model  # as the worker sends it


def test_a_damaged_list_makes_the_training_images_unknown(thirty: Path, trained: BundleInfo) -> None:
    (trained.path / FILE_NAME).write_bytes(b"damaged")
    with Image.open(thirty / "images/i3.png") as image:
        assert not was_trained_on(trained, np.asarray(image.convert("RGB")))


def test_models_that_share_their_training_images_share_a_sentence(
    thirty: Path, trained: BundleInfo, tmp_path: Path
) -> None:
    child = bundle(tmp_path, "child", TrainingImages.read(trained.path / FILE_NAME))
    overlap = find_overlap([trained, child], read_dataset(thirty), run=RUN)
    message = "Left out: 5 of 30 images (5 patients or lesions), because 'trained' and 'child' were trained on them."
    assert overlap.warnings == (message,)
    assert overlap.summary == message


def test_too_few_images_are_reported_once_with_a_remedy(thirty: Path, trained: BundleInfo, tmp_path: Path) -> None:
    samples = [sample for sample in read_dataset(thirty) if sample.image_id in {"i0", "i1", "i20", "i21", "i22"}]
    overlap = find_overlap([trained], samples, run=RUN)
    (remedy,) = overlap.more_images_notice(0.2)
    options = ComparisonOptions(refinement=EXACT, remedy=remedy)
    found = compared([Dark(trained, 4), Dark(trained)], samples, tmp_path / "out", options)
    everything = " ".join([found.reason, *found.facts["warnings"], found.facts["training_overlap"]["summary"]])
    assert found.reason.count("train again") == 1
    assert everything.count("needed.") == 1
    assert remedy in found.reason
