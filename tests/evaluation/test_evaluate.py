"""Evaluate a segmentation model on squares: metrics, files, subgroups, resuming and errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape

from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.data import partial_results
from napari_melanoma.data.dataset import Sample, read_dataset, select_for_split
from napari_melanoma.evaluation import masks
from napari_melanoma.evaluation.any_task import check_evaluation_folder, evaluate_model
from napari_melanoma.evaluation.masks import (
    EvaluationOptions,
    MaskTask,
    choose_cases,
)
from napari_melanoma.evaluation.masks import evaluate_masks as evaluate
from napari_melanoma.evaluation.model_comparison import check_comparison_folder
from napari_melanoma.evaluation.pipeline import describe_failure, make_table, predict_tables, select_images
from napari_melanoma.figures.evaluation import comparison_image, overlay_image
from napari_melanoma.io.results import write_mask, write_rgb, write_table

pytestmark = pytest.mark.usefixtures("trained_on_nothing")


class Darkness:
    """Segment dark pixels."""

    device = "cpu"
    info = SimpleNamespace(
        name="darkness",
        fingerprint="0" * 64,
        settings_digest="",
        config=SimpleNamespace(
            threshold=0.5,
            is_demonstration=False,
            modalities=(),
            is_slide_model=False,
            closer_views=(),
            turned_views=None,
        ),
    )

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        return (1 - rgb.mean(2) / 255).astype(np.float32)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Four images; in the last one the reference is twice as wide as the dark area."""
    folder = tmp_path / "squares"
    for index in range(4):
        dark, reference = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
        dark[20:40, 20:30] = True
        reference[20:40, 20 : 40 if index == 3 else 30] = True
        write_rgb(folder / f"images/s{index}.png", np.where(dark[..., None], 0, 255).astype(np.uint8).repeat(3, 2))
        write_mask(folder / f"masks/s{index}.png", reference)
    rows = [{"image_id": f"s{i}", "split": "val" if i > 1 else "train", "diagnosis": "ab"[i % 2]} for i in range(4)]
    write_table(folder / "dataset.csv", rows)
    return folder


EXACT = EvaluationOptions.parse({"refinement": {"smoothing": 0.0}}, "the test")


def test_figures(squares: Path, tmp_path: Path) -> None:
    found = evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext())
    assert found.parts["all"]["DI"].mean == pytest.approx((3 + 2 / 3) / 4)
    assert found.parts["all"]["TJA"].mean == pytest.approx(3 / 4)
    assert found.parts["squares: a"]["JA"].mean == 1
    assert set(found.parts) == {"all", "squares", "squares: a", "squares: b"}


def test_files(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(Darkness(), [squares], out, EXACT.model_copy(update={"split": "val"}), run=RunContext())
    written = json.loads((out / "metrics.json").read_text())
    assert written["metrics"]["all"]["DI"]["count"] == 2
    assert written["metrics"]["all"]["DI"]["low"] <= written["metrics"]["all"]["DI"]["mean"]
    rows = list(csv.DictReader((out / "per_image.csv").read_text().splitlines()))
    assert [row["image_id"] for row in rows] == ["s2", "s3"]
    assert {path.name for path in (out / "figures").iterdir()} == {"dice.png", "cases.png", "subgroups.png"}
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert "darkness on squares" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("val", "val"), "No image is of the split 'test', only 2 validation images."),
        (("val", "test", ""), "several splits (test 1, val 1, without a split 1). For the test set alone, choose"),
        (("train", "val"), "The images are of several splits (train 1, val 1)."),
        (("val", ""), "The images are of several splits (val 1, without a split 1)."),
        (("test", ""), "The images are of several splits (test 1, without a split 1)."),
        (("train", "train"), ""),  # of another data set, all images are new to the model
        (("", ""), ""),
    ],
)
def test_validation_images_are_not_taken_for_a_test_set(splits: tuple[str, ...], expected: str) -> None:
    samples = [Sample(str(index), Path(), None, "g", split, "data") for index, split in enumerate(splits)]
    _, warnings = select_images(MaskTask([Darkness()], EXACT), samples, run=RunContext())
    assert len(warnings) == bool(expected)
    assert expected in " ".join(warnings)


def test_nothing_of_an_earlier_evaluation_stays(squares: Path, tmp_path: Path) -> None:
    """Figures of another task and a pointing game of another model would look like those of this model."""
    out = tmp_path / "out"
    evaluate(Darkness(), [squares], out, EvaluationOptions(), run=RunContext())
    files = {path.relative_to(out) for path in out.rglob("*")}
    for name in ("pointing.json", "pointing.csv", "figures/roc.png", "notes.txt"):
        (out / name).write_text("{}", encoding="utf-8")
    evaluate(Darkness(), [squares], out, EvaluationOptions(), run=RunContext())
    assert {path.relative_to(out) for path in out.rglob("*")} == {*files, Path("notes.txt")}


@pytest.mark.parametrize("name", ["comparison.json", "models.json"])
def test_comparison_and_evaluation_share_no_folder(name: str, squares: Path, tmp_path: Path) -> None:
    for folder, files in (("evaluation", ("metrics.json", "per_image.csv")), ("comparison", (name,))):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="contains a comparison"):
        check_evaluation_folder(tmp_path / "comparison", [squares])
    with pytest.raises(InputError, match="contains an evaluation"):
        check_comparison_folder([], tmp_path / "evaluation")


def test_boundary_metrics(squares: Path, tmp_path: Path) -> None:
    """In one of four images the boundary is off by 10 pixels; the diagonal has 85."""
    found = evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext()).parts["all"]
    assert found["HD95_px"].mean == pytest.approx(10 / 4)
    assert found["HD95_relative"].mean == pytest.approx(10 / 4 / np.hypot(60, 60))
    assert 0.7 < found["BF1"].mean < 1
    assert "HD95_mm" not in found
    assert "band_share" not in found


def test_subgroups(squares: Path, tmp_path: Path) -> None:
    """Subgroups by columns of the table and by the size of the reference."""
    rows = [
        {"image_id": f"s{i}", "diagnosis": "ab"[i % 2], "region": ["FACE", "", "BACK", "BACK"][i], "fitspatrick": "2.0"}
        for i in range(4)
    ]
    write_table(squares / "dataset.csv", rows)
    found = evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext())
    counts = {(group.by, group.value): group.count for group in found.subgroups}
    assert counts == {
        ("diagnosis", "a"): 2, ("diagnosis", "b"): 2,
        ("site", "head/neck"): 1, ("site", "posterior torso"): 2, ("site", "not known"): 1,
    }  # fmt: skip
    (worst,) = (group for group in found.subgroups if (group.by, group.value) == ("diagnosis", "b"))
    assert worst.metrics["JA"].mean == pytest.approx(0.75)
    table = list(csv.DictReader((tmp_path / "out/subgroups.csv").read_text().splitlines()))
    assert {(row["by"], row["value"]): int(row["images"]) for row in table} == counts


def test_flips_give_the_uncertain_band(squares: Path, tmp_path: Path) -> None:
    class Leaning(Darkness):
        config = SimpleNamespace(
            threshold=0.5,
            is_demonstration=False,
            modalities=(),
            is_slide_model=False,
            input_size=60,
            preprocessing=PreprocessingConfig(),
            closer_views=(),
            turned_views=None,
        )
        info = SimpleNamespace(name="leaning", fingerprint="0" * 64, settings_digest="", config=config)

        def logits(self, inputs) -> np.ndarray:
            """Segment dark pixels in the left half only."""
            lean = np.where(np.arange(60) < 30, 4.0, -4.0)
            return np.stack([np.where(image.mean(2) < 128, 2.0 + lean, -9.0) for image in inputs]).astype(np.float32)

    options = EXACT.model_copy(update={"flips": True})
    found = evaluate(Leaning(), [squares], tmp_path / "out", options, run=RunContext()).parts["all"]
    assert (found["DI"].mean, found["band_share"].mean) == (pytest.approx((3 + 2 / 3) / 4), 1.0)
    assert (found["errors_in_band"].mean, found["errors_in_band"].count) == (0.0, 1)
    assert "test-time augmentation (flips)" in (tmp_path / "out/summary.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (0, 0, 1)), (2, (0, 1, 1)), (3, (1, 1, 1)), (40, (6, 6, 6))],
)
def test_best_median_and_worst_are_different_images(count: int, expected: tuple[int, int, int]) -> None:
    samples = [Sample(str(index), Path(), None, "g", "", "data") for index in range(count)]
    cases = choose_cases(make_table(samples, [""] * count, {"DI": [index / 40 for index in range(count)]}))
    assert tuple(len(cases[kind]) for kind in ("best", "median", "worst")) == expected
    chosen = [int(sample.image_id) for samples in cases.values() for sample in samples]
    assert len(set(chosen)) == len(chosen)
    assert cases["worst"][0].image_id == "0"
    if count == 40:
        assert (cases["best"][0].image_id, cases["median"][0].image_id) == ("39", "17")


def cut_image(squares: Path) -> None:
    (squares / "images/s1.png").write_bytes((squares / "images/s1.png").read_bytes()[:70])


def cut_mask(squares: Path) -> None:
    (squares / "masks/s1.png").write_bytes(b"no image")


def narrow_mask(squares: Path) -> None:
    write_mask(squares / "masks/s1.png", np.zeros((60, 50), bool))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(cut_image, "s1.png is damaged"), (cut_mask, "the mask of 's1'"), (narrow_mask, "has 60 x 50 pixels")],
    ids=["an image that is cut off", "a mask that is none", "a mask of another size"],
)
def test_an_image_that_fails_is_named_and_the_others_are_measured(
    spoil, message, squares: Path, tmp_path: Path
) -> None:
    spoil(squares)
    out = tmp_path / "out"
    found = evaluate(Darkness(), [squares], out, EXACT, run=RunContext())
    (failed,) = found.failed
    assert failed.sample.image_id == "s1"
    assert message in failed.error
    assert found.parts["all"]["DI"].mean == pytest.approx((2 + 2 / 3) / 3)
    assert found.parts["all"]["DI"].count == 3
    rows = {row["image_id"]: row for row in csv.DictReader((out / "per_image.csv").read_text().splitlines())}
    assert {name: row["status"] for name, row in rows.items()} == {
        "s0": "done", "s1": "failed", "s2": "done", "s3": "done",
    }  # fmt: skip
    assert (rows["s1"]["error"], rows["s1"]["DI"], rows["s0"]["error"]) == (failed.error, "", "")
    written = json.loads((out / "metrics.json").read_text())
    assert written["failed"] == [{"image_id": "s1", "error": failed.error}]
    assert str(tmp_path) not in (out / "per_image.csv").read_text() + json.dumps(written)


def test_a_model_that_fails_on_one_image(squares: Path, tmp_path: Path) -> None:
    class FailsOnce(Darkness):
        calls = 0

        def probability(self, rgb: np.ndarray) -> np.ndarray:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("out of memory")
            return super().probability(rgb)

    found = evaluate(FailsOnce(), [squares], tmp_path / "out", EXACT, run=RunContext())
    assert [item.error for item in found.failed] == ["unexpected RuntimeError: out of memory"]


def test_a_data_set_of_which_all_images_fail_has_empty_cells(squares: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    write_mask(broken / "masks/s9.png", np.ones((60, 60), bool))
    (broken / "images").mkdir()
    (broken / "images/s9.png").write_bytes(b"no image")
    write_table(broken / "dataset.csv", [{"image_id": "s9"}])
    found = evaluate(Darkness(), [squares, broken], tmp_path / "out", EXACT, run=RunContext())
    assert [item.sample.key for item in found.failed] == [("broken", "s9")]
    assert set(found.parts) >= {"all", "squares"}
    assert "darkness on broken, squares" in (tmp_path / "out/summary.html").read_text(encoding="utf-8")


def test_an_error_of_an_image_without_a_mask_is_kept_as_it_is(tmp_path: Path) -> None:
    sample = Sample("s0", tmp_path / "data/s0.png", None, "p0", "val", "data")
    error = DataSetError(f"None of the tiles of {sample.image} can be read.")
    assert describe_failure(sample, error, tmp_path) == "None of the tiles of s0.png can be read."


def test_no_measured_image_is_an_error(squares: Path, tmp_path: Path) -> None:
    for index in range(4):
        (squares / f"images/s{index}.png").write_bytes(b"no image")
    with pytest.raises(DataSetError, match=r"none of 4 images could be measured; 's0': s0\.png holds text"):
        evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext())
    assert not (tmp_path / "out").exists()


class Counting(Darkness):
    """Count the predictions."""

    calls = 0

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().probability(rgb)


def half_done(squares: Path, out: Path) -> None:
    """Measure two of four images."""
    predict_tables(MaskTask([Darkness()], EXACT), select_for_split(read_dataset(squares))[:2], out, run=RunContext())


def measured_again(squares: Path, out: Path, options: EvaluationOptions = EXACT) -> int:
    """Number of images that are predicted when an evaluation resumes."""
    model = Counting()
    samples = select_for_split(read_dataset(squares))
    (table,) = predict_tables(MaskTask([model], options), samples, out, run=RunContext())
    assert len(table) == 4
    return model.calls


def test_an_evaluation_resumes(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    half_done(squares, out)
    assert [path.suffix for path in out.iterdir()] == [".jsonl"]
    found = evaluate(model := Counting(), [squares], out, EXACT, run=RunContext())
    assert model.calls == 2 + 3  # the others, and one case of each kind to draw it
    assert found == evaluate(Darkness(), [squares], tmp_path / "whole", EXACT, run=RunContext())
    for name in ("per_image.csv", "subgroups.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}


def test_cancelling_during_a_prediction_stops(squares: Path, tmp_path: Path) -> None:
    run = RunContext()

    class Stopping(Counting):
        def probability(self, rgb: np.ndarray) -> np.ndarray:
            if self.calls == self.last:
                run.cancel()
                run.check()
            return super().probability(rgb)

    for last in (1, 5):  # among the images, and while the cases are drawn
        model = Stopping()
        model.last = last
        with pytest.raises(Cancelled):
            evaluate(model, [squares], tmp_path / f"out{last}", EXACT, run=run)
        run = RunContext()
    assert [path.suffix for path in (tmp_path / "out5").iterdir()] == [".jsonl"]


def test_an_incomplete_line_is_measured_again(squares: Path, tmp_path: Path) -> None:
    half_done(squares, tmp_path)
    (kept,) = tmp_path.glob("unfinished-*.jsonl")
    kept.write_bytes(kept.read_bytes()[:-30])
    assert measured_again(squares, tmp_path) == 3
    assert measured_again(squares, tmp_path) == 0, "the incomplete line must not affect the following ones"


def change_an_image(squares: Path) -> EvaluationOptions:
    write_rgb(squares / "images/s0.png", np.full((60, 60, 3), 90, np.uint8))
    return EXACT


def change_a_mask(squares: Path) -> EvaluationOptions:
    write_mask(squares / "masks/s1.png", np.ones((60, 60), bool))
    return EXACT


def change_the_options(squares: Path) -> EvaluationOptions:
    return EXACT.model_copy(update={"threshold": 0.7})


@pytest.mark.parametrize(("change", "again"), [(change_an_image, 3), (change_a_mask, 3), (change_the_options, 4)])
def test_changed_files_or_options_are_measured_again(change, again: int, squares: Path, tmp_path: Path) -> None:
    half_done(squares, tmp_path)
    assert measured_again(squares, tmp_path, change(squares)) == again


def test_partial_results_are_written_during_the_evaluation(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process writes nothing at its end."""
    monkeypatch.setattr(partial_results, "LINES_PER_WRITE", 2)
    written: list[int] = []
    run = RunContext(lambda _: written.append(sum(path.stat().st_size > 0 for path in tmp_path.glob("unfinished-*"))))
    predict_tables(MaskTask([Darkness()], EXACT), select_for_split(read_dataset(squares)), tmp_path, run=run)
    assert written == [0, 1, 1, 1]
    assert measured_again(squares, tmp_path) == 0


def test_difficulty_is_optional(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> dict[str, float]:
        raise AssertionError("difficulty must not be measured")

    monkeypatch.setattr(masks, "measure_difficulty", refused)
    found = evaluate(Darkness(), [squares], tmp_path, EXACT.model_copy(update={"difficulty": False}), run=RunContext())
    assert {group.by for group in found.subgroups} == {"diagnosis"}
    assert "Difficulty, measured with" not in (tmp_path / "summary.html").read_text(encoding="utf-8")


def test_images_of_another_type_are_reported(squares: Path, tmp_path: Path) -> None:
    class Dermoscopic(Darkness):
        config = SimpleNamespace(
            threshold=0.5,
            is_demonstration=False,
            modalities=("dermoscopic",),
            is_slide_model=False,
            closer_views=(),
            turned_views=None,
        )
        info = SimpleNamespace(name="darkness", fingerprint="0" * 64, settings_digest="", config=config)

    kinds = ["macroscopic", "macroscopic", "dermoscopic", ""]
    write_table(squares / "dataset.csv", [{"image_id": f"s{i}", "modality": kinds[i]} for i in range(4)])
    reported: list[Progress] = []
    found = evaluate(Dermoscopic(), [squares], tmp_path / "out", EXACT, run=RunContext(reported.append))
    (warning,) = found.warnings
    assert "trained on dermoscopic photographs only, but 2 of 4 images of 'squares' are macroscopic" in warning
    assert reported[0] == Milestone(0, 4, f"Warning: {warning}")
    assert escape(warning) in (tmp_path / "out/summary.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out/metrics.json").read_text())["warnings"] == [warning]
    assert evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext()).warnings == ()


def test_an_overlay_colors_the_masks_on_gray() -> None:
    rgb = np.full((1, 4, 3), (200, 100, 0), np.uint8)
    picture = overlay_image(rgb, np.array([[True, True, False, False]]), np.array([[True, False, True, False]]))
    assert picture[0].tolist() == [[177, 177, 50], [177, 50, 50], [50, 130, 50], [100, 100, 100]]


def test_comparison_colors() -> None:
    picture = comparison_image(np.array([[True, True, False, False]]), np.array([[True, False, True, False]]))
    assert picture[0].tolist() == [[255, 255, 0], [255, 0, 0], [0, 160, 0], [0, 0, 0]]


def test_a_wrong_path_is_reported_before_the_model_is_loaded(tiny_bundle, tmp_path, monkeypatch):
    from napari_melanoma.lesion.segmentation import Segmenter

    monkeypatch.setattr(Segmenter, "load", lambda info: pytest.fail("loaded"))
    with pytest.raises(DataSetError, match="is not a data set: expected a table"):
        evaluate_model(tiny_bundle, [tmp_path], tmp_path.parent / "out", {}, source="the test", run=RunContext())
