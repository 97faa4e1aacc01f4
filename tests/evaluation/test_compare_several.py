"""Compare several models with known differences on squares: loaded models and stored evaluations."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.evaluation import masks
from napari_melanoma.evaluation.comparison_results import ModelsComparison
from napari_melanoma.evaluation.masks import EvaluationOptions, MaskTask
from napari_melanoma.evaluation.masks import evaluate_masks as evaluate
from napari_melanoma.evaluation.model_comparison import compare_evaluation_folders, compare_masks
from napari_melanoma.evaluation.pipeline import is_evaluation, predict_tables, read_evaluation
from napari_melanoma.io.results import write_mask, write_rgb, write_table

pytestmark = pytest.mark.usefixtures("trained_on_nothing")

EXACT = EvaluationOptions.parse({"refinement": {"smoothing": 0.0}}, "the test")
COUNT = 8


class Reader:
    """Segment the dark square of a photograph, without its last columns."""

    device = "cpu"

    def __init__(self, name: str, missed: int, threshold: float = 0.5) -> None:
        config = SimpleNamespace(
            threshold=threshold,
            is_demonstration=False,
            modalities=(),
            is_slide_model=False,
            closer_views=(),
            turned_views=None,
        )
        self.info = SimpleNamespace(name=name, fingerprint=name * 8, settings_digest="", config=config)
        self._missed = missed

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        found = (rgb[..., 0] < 200).astype(np.float32)
        found[:, 40 - self._missed :] = 0.0
        return found * 0.6


MODELS = [Reader("half", 10), Reader("all", 0), Reader("most", 5), Reader("alike", 10)]


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Squares of 20 x 20 pixels, two of each patient."""
    return squares(tmp_path / "clinic", COUNT)


def squares(folder: Path, count: int) -> Path:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    for index in range(count):
        write_rgb(folder / f"images/s{index}.png", np.where(mask[..., None], index, 255).astype(np.uint8).repeat(3, 2))
        write_mask(folder / f"masks/s{index}.png", mask)
    write_table(folder / "dataset.csv", [{"image_id": f"s{i}", "patient_id": f"p{i // 2}"} for i in range(count)])
    return folder


def compared(folder: Path, out: Path) -> ModelsComparison:
    return compare_masks(MODELS, read_dataset(folder), out, EXACT, run=RunContext())


def test_each_model_against_the_first(clinic: Path, tmp_path: Path) -> None:
    found = compared(clinic, tmp_path / "out")
    (part,) = found.parts
    assert (part.name, part.images, part.patients) == ("all", COUNT, COUNT // 2)
    assert [model.model for model in part.models] == ["half", "all", "most", "alike"]
    assert [model.metrics["JA"].mean for model in part.models] == pytest.approx([0.5, 1.0, 0.75, 0.5])
    assert part.models[0].difference == {}
    differences = [model.difference["JA"] for model in part.models[1:]]
    assert [(item.mean, item.low, item.high) for item in differences] == [
        pytest.approx((0.5,) * 3), pytest.approx((0.25,) * 3), (0.0, 0.0, 0.0),
    ]  # fmt: skip
    assert part.models[1].difference["HD95_px"].mean == pytest.approx(-10)
    assert found.table()[2][2:5] == (
        "most",
        "0.750, +0.750 (+0.750 to +0.750)",
        "0.750, +0.250 (+0.250 to +0.250)",
    )


def test_files(clinic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compared(clinic, out)
    assert {path.name for path in out.iterdir()} == {
        "models.json", "models.csv", "per_image.csv", "comparison.html", "figures",
    }  # fmt: skip
    rows = list(csv.DictReader((out / "models.csv").read_text().splitlines()))
    (row,) = (row for row in rows if (row["model"], row["metric"]) == ("most", "DI"))
    assert (float(row["mean"]), float(row["difference"])) == pytest.approx((6 / 7, 6 / 7 - 2 / 3), abs=1e-5)
    images = list(csv.DictReader((out / "per_image.csv").read_text().splitlines()))
    assert [(row["image_id"], row["JA_half"], row["JA_all"]) for row in images[:2]] == [
        ("s0", "0.5", "1"), ("s1", "0.5", "1"),
    ]  # fmt: skip
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "Highest Jaccard index: all, 1.000" in page
    assert "significant (interval excludes 0)" in page
    assert str(tmp_path) not in page + (out / "models.json").read_text()
    assert [model["name"] for model in json.loads((out / "models.json").read_text())["models"]] == [
        "half", "all", "most", "alike",
    ]  # fmt: skip


def test_an_image_that_fails_is_left_out_for_all(clinic: Path, tmp_path: Path) -> None:
    (clinic / "images/s3.png").write_bytes(b"no image")
    found = compare_masks(MODELS[:2], [*read_dataset(clinic)], tmp_path / "out", EXACT, run=RunContext())
    assert [item.sample.image_id for item in found.failed] == ["s3"]
    assert {model.metrics["JA"].count for model in found.parts[0].models} == {COUNT - 1}


@pytest.mark.slow
def test_stored_evaluations_are_compared_on_common_images(clinic: Path, tmp_path: Path) -> None:
    """The second one has an additional data set; models with the same name are named by their folders."""
    other = squares(tmp_path / "other", 3)
    for name, model, data in (
        ("first", MODELS[0], [clinic]), ("second", Reader("half", 5), [clinic, other]), ("third", MODELS[1], [clinic]),
    ):  # fmt: skip
        evaluate(model, data, tmp_path / name, EXACT, run=RunContext())
    folders = [tmp_path / name for name in ("first", "second", "third")]
    assert all(map(is_evaluation, folders))
    found = compare_evaluation_folders(folders, tmp_path / "out")
    (part,) = found.parts
    assert (part.images, part.patients) == (COUNT, COUNT // 2)
    assert [model.model for model in part.models] == ["first", "second", "third"]
    assert [model.metrics["JA"].mean for model in part.models] == pytest.approx([0.5, 0.75, 1.0])
    page = (tmp_path / "out/comparison.html").read_text()
    assert "Images left out, because they were not measured for all models: 3." in page


def test_each_data_set_by_itself(clinic: Path, tmp_path: Path) -> None:
    other = squares(tmp_path / "other", 3)
    samples = [*read_dataset(clinic), *read_dataset(other)]
    found = compare_masks(MODELS[:3], samples, tmp_path / "out", EXACT, run=RunContext())
    assert [(part.name, part.images) for part in found.parts] == [("all", 11), ("clinic", 8), ("other", 3)]


def test_evaluations_of_different_images_are_rejected(clinic: Path, tmp_path: Path) -> None:
    evaluate(MODELS[0], [clinic], tmp_path / "first", EXACT, run=RunContext())
    evaluate(MODELS[0], [squares(tmp_path / "other", 3)], tmp_path / "second", EXACT, run=RunContext())
    with pytest.raises(InputError, match="no image in common"):
        compare_evaluation_folders([tmp_path / "first", tmp_path / "second"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def two(clinic: Path, tmp_path: Path) -> list[Path]:
    """Evaluations of two models on the same images."""
    for name, model in (("first", MODELS[0]), ("second", MODELS[1])):
        evaluate(model, [clinic], tmp_path / name, EXACT, run=RunContext())
    return [tmp_path / "first", tmp_path / "second"]


@pytest.mark.slow
def test_different_options_give_a_warning(two: list[Path], clinic: Path, tmp_path: Path) -> None:
    assert compare_evaluation_folders(two, tmp_path / "alike").warnings == ()
    other = EvaluationOptions.parse({"threshold": 0.3, "difficulty": False}, "the test")
    evaluate(MODELS[1], [clinic], two[1], other, run=RunContext())
    (warning,) = compare_evaluation_folders(two, tmp_path / "out").warnings
    default = other.refinement.smoothing
    assert warning.endswith(
        f"alone: refinement.smoothing (half: 0.0, all: {default}); threshold (half: none, all: 0.3)."
    )
    assert escape(warning) in (tmp_path / "out/comparison.html").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "out/models.json").read_text())
    assert written["warnings"] == [warning]
    assert [model["options"]["threshold"] for model in written["models"]] == [None, 0.3]


def test_evaluations_with_different_masks_are_rejected(two: list[Path], clinic: Path, tmp_path: Path) -> None:
    write_mask(clinic / "masks/s2.png", np.ones((60, 60), bool))
    evaluate(MODELS[1], [clinic], two[1], EXACT, run=RunContext())
    with pytest.raises(InputError, match=r"1 of 8 images have different reference masks in half and all.*'s2' of"):
        compare_evaluation_folders(two, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_comparison_resumes_and_measures_no_difficulty(
    clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "measure_difficulty", None)

    class Counting(Reader):
        calls = 0

        def probability(self, rgb: np.ndarray) -> np.ndarray:
            self.calls += 1
            return super().probability(rgb)

    models, samples = [Counting("half", 10), MODELS[1]], read_dataset(clinic)
    options = EXACT.model_copy(update={"difficulty": False})
    predict_tables(MaskTask(models, options), samples[:3], tmp_path / "out", run=RunContext())
    found = compare_masks(models, samples, tmp_path / "out", EXACT, run=RunContext())
    assert (models[0].calls, found.parts[0].images) == (COUNT, COUNT)
    assert not list((tmp_path / "out").glob("unfinished-*"))


def test_a_folder_without_evaluation_is_rejected(tmp_path: Path) -> None:
    assert not is_evaluation(tmp_path)
    with pytest.raises(InputError, match="Run it again: napari-melanoma evaluate"):
        read_evaluation(tmp_path)
    with pytest.raises(InputError, match="two or more evaluations"):
        compare_evaluation_folders([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match="was named twice"):
        compare_evaluation_folders([tmp_path, tmp_path / "a" / ".."], tmp_path / "out")
