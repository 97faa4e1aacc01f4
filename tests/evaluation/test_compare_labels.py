"""Compare two multi-class models: metrics by hand, advice with the veto of the lesion class, files and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.evaluation.comparison_results import Comparison, read_comparison
from napari_melanoma.evaluation.labels import LabelTask
from napari_melanoma.evaluation.model_comparison import ComparisonOptions, compare_pair, compare_segmenters
from napari_melanoma.io.results import read_table, write_labels, write_rgb, write_table
from napari_melanoma.metrics.overlap import estimate_label_metrics, label_differences, label_metrics

pytestmark = pytest.mark.usefixtures("trained_on_nothing")

CLASSES = ("glass", "dermis", "tumour")
SIDE = 24


class Misreading:
    """Read the class of a pixel from its gray value, and mislabel a share of the rows of some classes."""

    device = "cpu"

    def __init__(self, name: str, wrong: dict[int, float], classes: tuple[str, ...] = CLASSES) -> None:
        config = SimpleNamespace(
            classes=classes,
            threshold=0.5,
            is_demonstration=False,
            modalities=(),
            is_slide_model=False,
            segments_one_class=False,
        )
        self.info: Any = SimpleNamespace(name=name, fingerprint=name * 8, settings_digest="", config=config)
        self._wrong = wrong

    def predict_labels(self, rgb: np.ndarray) -> np.ndarray:
        truth = rgb[..., 0] // 50
        found = truth.copy()
        for label, share in self._wrong.items():
            rows = slice(0, round(share * len(rgb)))
            found[rows][truth[rows] == label] = (label + 1) % len(CLASSES)
        return found.astype(np.uint8)


def tiles(folder: Path, count: int = 8, each: int = 1) -> list[Sample]:
    """Tiles with columns of glass, dermis and tumour; a few per slide."""
    truth = np.repeat(np.arange(3, dtype=np.uint8), SIDE // 3)[None].repeat(SIDE, 0)
    for index in range(count):
        write_rgb(folder / f"images/t{index}.png", np.repeat((50 * truth + index)[..., None], 3, axis=2))
        write_labels(folder / f"masks/t{index}.png", truth)
    write_table(folder / "dataset.csv", [{"image_id": f"t{i}", "patient_id": f"s{i // each}"} for i in range(count)])
    return read_dataset(folder)


def compared(
    samples: list[Sample], out: Path, old: Misreading, new: Misreading, options: ComparisonOptions | None = None
) -> Comparison:
    chosen = options or ComparisonOptions()
    return compare_pair(LabelTask([old, new], chosen), samples, out, chosen, run=RunContext())


OLD = Misreading("old", {1: 0.5})  # half of the dermis is labeled as tumour
BETTER = Misreading("new", {1: 0.25})


def test_metrics_by_hand(tmp_path: Path) -> None:
    found = compared(tiles(tmp_path / "slides"), tmp_path / "out", OLD, BETTER)
    expected_old = {"JA glass": 1.0, "JA dermis": 0.5, "JA tumour": 1 / 1.5}
    expected_new = {"JA glass": 1.0, "JA dermis": 0.75, "JA tumour": 1 / 1.25}
    for name, value in expected_old.items():
        assert found.old.metrics[name].mean == pytest.approx(value)
        assert found.new.metrics[name].mean == pytest.approx(expected_new[name])
        assert found.difference[name].mean == pytest.approx(expected_new[name] - value)
    assert found.old.metrics["JA"].mean == pytest.approx(np.mean(list(expected_old.values())))
    assert found.difference["DI dermis"].mean == pytest.approx(2 * 0.75 / 1.75 - 2 * 0.5 / 1.5)
    assert (found.images, found.patients, found.task) == (8, 8, "segmentation")
    assert (found.facts["classes"], found.facts["lesion_class"]) == (list(CLASSES), "tumour")
    assert found.advice == "activate"
    assert "Lesion class 'tumour': Jaccard (IoU) +0.133" in found.reason


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = compared(tiles(tmp_path / "slides"), out, OLD, BETTER)
    read = read_comparison(out)
    assert replace(read, better=found.better) == found
    assert [one.image_id for one in read.better] == [one.image_id for one in found.better]
    rows = read_table(out / "per_image.csv")
    assert float(rows[0]["JA_difference"]) == pytest.approx(found.difference["JA"].mean, abs=1e-4)
    page = (out / "comparison.html").read_text()
    assert "Contours show the class tumour" in page
    assert "threshold" not in page
    assert "Jaccard (IoU), dermis" in page
    assert len(found.better) == len(list((out / "thumbnails").iterdir())) == 8
    assert (out / "changes.png").is_file()


CASES = [
    ("better", OLD, BETTER, "activate", "is better on 8 images: Jaccard (IoU)"),
    ("worse", BETTER, OLD, "keep", "is worse"),
    ("the same", OLD, Misreading("new", {1: 0.5}), "inconclusive", "perform equally well"),
    (
        "dermis gains, tumour loses",
        Misreading("old", {0: 0.9}),
        Misreading("new", {2: 0.5}),
        "keep",
        "is worse on 'tumour'",
    ),
]


@pytest.mark.parametrize(("name", "old", "new", "advice", "text"), CASES, ids=[case[0] for case in CASES])
def test_advice(name: str, old: Misreading, new: Misreading, advice: str, text: str, tmp_path: Path) -> None:
    found = compared(tiles(tmp_path / "slides"), tmp_path / "out", old, new)
    assert found.advice == advice
    assert text in found.reason


def test_a_loss_on_replay_data_keeps_the_old_model(tmp_path: Path) -> None:
    kept = tiles(tmp_path / "known")
    for sample in kept:  # of another color, which only the old model can read
        labels = np.repeat(np.arange(3, dtype=np.uint8), SIDE // 3)[None].repeat(SIDE, 0)
        write_rgb(sample.image, np.stack([50 * labels, 50 * labels, labels * 0 + 9], axis=2))

    class WorseOnReplay(Misreading):
        def predict_labels(self, rgb: np.ndarray) -> np.ndarray:
            return super().predict_labels(rgb) if rgb[0, 0, 2] != 9 else np.zeros(rgb.shape[:2], np.uint8)

    options = ComparisonOptions(replay=("known",), notes=("A note.",))
    samples = [*tiles(tmp_path / "slides"), *kept]
    found = compared(samples, tmp_path / "out", OLD, WorseOnReplay("new", {1: 0.25}), options)
    assert found.advice == "keep"
    assert "is worse on known" in found.reason
    assert found.reason.endswith("A note.")
    assert [(domain.name, domain.replay) for domain in found.domains] == [("known", True), ("slides", False)]


def test_an_image_that_fails_is_named(tmp_path: Path) -> None:
    samples = tiles(tmp_path / "slides")
    write_labels(samples[2].mask, np.full((SIDE, SIDE), 7, np.uint8))  # type: ignore[arg-type]
    found = compared(samples, tmp_path / "out", OLD, BETTER)
    ((name, why),) = found.failed
    assert (name, found.images) == ("t2", 7)
    assert "expected the values" in why
    with pytest.raises(DataSetError, match="none of 1 images could be measured; 't2'"):
        compared(samples[2:3], tmp_path / "none", OLD, BETTER)


def test_different_classes_and_more_than_two_models_are_rejected(tmp_path: Path) -> None:
    other = Misreading("other", {}, (*CLASSES[:2], "nest"))
    with pytest.raises(InputError, match="no label images fit both"):
        compare_segmenters([OLD.info, other.info], [], tmp_path, ComparisonOptions(), run=RunContext())
    with pytest.raises(InputError, match="two at a time"):
        compare_segmenters([OLD.info] * 3, [], tmp_path, ComparisonOptions(), run=RunContext())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_difference_is_antisymmetric(seed: int) -> None:
    random = np.random.default_rng(seed)
    old, new = random.integers(0, 50, (2, 9, 3, 3))
    groups = random.integers(0, 4, 9)
    forth, back = label_differences(old, new, groups, CLASSES), label_differences(new, old, groups, CLASSES)
    alone = estimate_label_metrics(new, groups, CLASSES)
    for name, change in forth.items():
        before, after = (float(label_metrics(table.sum(0), CLASSES)[name]) for table in (old, new))
        assert change.mean == pytest.approx(after - before)
        assert (back[name].mean, back[name].low) == (pytest.approx(-change.mean), pytest.approx(-change.high))
        assert alone[name].mean == pytest.approx(after)
    assert all(one.low == one.high == 0 for one in label_differences(old, old, groups, CLASSES).values())
    with pytest.raises(ValueError, match="counts of the same images"):
        label_differences(old, new[:3], groups, CLASSES)
