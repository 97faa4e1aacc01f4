"""Compare stored evaluations of classifiers: paired differences, files and errors."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.evaluation.model_comparison import compare_evaluation_folders
from napari_melanoma.io.results import read_table, write_table


def written(folder: Path, noise: float, count: int = 120, classes: tuple[str, ...] = ("other", "melanoma")) -> Path:
    """Write the evaluation of a model with noisy predictions."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    scores = np.clip(0.3 + 0.4 * labels + random.normal(0, 1, count) * noise, 0.01, 0.99)
    rows = [
        {"image_id": f"i{n}", "domain": "set", "split": "", "group": f"p{n // 2}", "diagnosis": "", "status": "done"}
        | {"error": "", "label": classes[labels[n]]}
        | {f"probability_{classes[0]}": 1 - scores[n], f"probability_{classes[1]}": scores[n]}
        for n in range(count)
    ]
    write_table(folder / "per_image.csv", rows)
    about = {"task": "classification", "model": {"name": "model", "fingerprint": "0"}, "classes": list(classes)}
    about |= {"positive": classes[1], "threshold": 0.5, "options": {}, "warnings": []}
    write_json(folder / "metrics.json", about | {"training_overlap": {"included": False, "models": []}})
    return folder


def test_the_better_model_is_reported(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = compare_evaluation_folders([written(tmp_path / "blurred", 0.5), written(tmp_path / "sharp", 0.15)], out)
    old, new = found.parts[0].models
    assert (old.model, new.model) == ("blurred", "sharp")
    assert new.difference["AUC"].low > 0
    assert new.difference["AUC"].mean == pytest.approx(new.metrics["AUC"].mean - old.metrics["AUC"].mean)
    assert not old.difference
    rows = list(csv.DictReader((out / "models.csv").read_text().splitlines()))
    assert {row["model"] for row in rows} == {"blurred", "sharp"}
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "Highest AUC: sharp" in page
    assert "significant (interval excludes 0)" in page
    assert page.count("data:image/png;base64,") == 2


def test_images_that_failed_in_any_evaluation_are_listed(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a", 0.3), written(tmp_path / "b", 0.2)
    rows = read_table(other / "per_image.csv")
    rows[5] = {name: rows[5][name] for name in ("image_id", "domain", "split", "group", "diagnosis")}
    rows[5] |= {"status": "failed", "error": "the mask is empty"}
    write_table(other / "per_image.csv", rows)
    found = compare_evaluation_folders([first, other], tmp_path / "out")
    assert [(item.sample.key, item.error) for item in found.failed] == [(("set", "i5"), "the mask is empty")]
    assert found.parts[0].images == 119
    assert "i5: the mask is empty" in (tmp_path / "out/comparison.html").read_text(encoding="utf-8")


def test_patients_are_those_of_the_first_evaluation(tmp_path: Path) -> None:
    """As for masks: the table of the data set may have been completed between the evaluations."""
    first, other = written(tmp_path / "a", 0.3), written(tmp_path / "b", 0.2)
    rows = read_table(other / "per_image.csv")
    write_table(other / "per_image.csv", [{**row, "group": f"set/{row['image_id']}"} for row in rows])
    found = compare_evaluation_folders([first, other], tmp_path / "out")
    assert found.parts[0].patients == 60
    assert "AUC" in found.parts[0].models[1].difference


def test_different_labels_are_rejected(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a", 0.3), written(tmp_path / "b", 0.3)
    text = (other / "per_image.csv").read_text()
    (other / "per_image.csv").write_text(text.replace("done,,other", "done,,melanoma", 1))
    with pytest.raises(InputError, match="1 of 120 images have different classes"):
        compare_evaluation_folders([first, other], tmp_path / "out")


def test_different_classes_are_rejected(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a", 0.3), written(tmp_path / "b", 0.3, classes=("other", "nevus"))
    with pytest.raises(InputError, match="same classes"):
        compare_evaluation_folders([first, other], tmp_path / "out")


def test_different_positive_classes_are_rejected(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a", 0.3), written(tmp_path / "b", 0.3)
    about = read_json(other / "metrics.json")
    write_json(other / "metrics.json", about | {"positive": "other"})
    with pytest.raises(InputError, match="positive class of 'model' is melanoma, that of 'model' is other"):
        compare_evaluation_folders([first, other], tmp_path / "out")
