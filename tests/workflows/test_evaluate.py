"""Evaluation of a model that is right, wrong, or right in one half."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.report.evaluation import comparison_image
from napari_melanoma.workflows.evaluate import EvaluationOptions, evaluate


class Darkness:
    """Takes dark pixels for lesion."""

    device = "cpu"
    info = SimpleNamespace(name="darkness", fingerprint="0" * 64, config=SimpleNamespace(threshold=0.5))

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        return (1 - rgb.mean(2) / 255).astype(np.float32)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Four images; in the last one the reference is twice as wide as what is dark."""
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
    assert {path.name for path in (out / "figures").iterdir()} == {"dice.png", "worst.png"}


def test_a_mask_of_another_size(squares: Path, tmp_path: Path) -> None:
    write_mask(squares / "masks/s1.png", np.zeros((60, 50), bool))
    with pytest.raises(DataSetError, match="'s1': the mask has 60 x 50 pixels, the image 60 x 60"):
        evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=RunContext())


def test_cancelled_writes_nothing(squares: Path, tmp_path: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        evaluate(Darkness(), [squares], tmp_path / "out", EXACT, run=run)
    assert not (tmp_path / "out").exists()


def test_comparison_colours() -> None:
    picture = comparison_image(np.array([[True, True, False, False]]), np.array([[True, False, True, False]]))
    assert picture[0].tolist() == [[255, 255, 0], [255, 0, 0], [0, 160, 0], [0, 0, 0]]
