"""The features that distinguish the classes are found, named and located in the image."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
from napari_melanoma.io.results import write_table
from napari_melanoma.models.bundle import BundleInfo


@pytest.fixture(scope="module")
def classifier(classifier_bundle: BundleInfo) -> Classifier:
    return Classifier.load(classifier_bundle, "cpu")


def draw(folder: Path, picture: Any, count: int, positives: int) -> dict[str, tuple[float, float] | None]:
    """Images with a violet patch, which are melanomas, and without; returns the center of each patch."""
    rng = np.random.default_rng(4)
    (folder / "images").mkdir(parents=True)
    rows, patches = [], {}
    for index in range(count):
        drawn = picture(rng, index < positives)
        Image.fromarray(drawn.rgb).save(folder / f"images/v{index}.png")
        patches[f"v{index}"] = drawn.patch
        row = {"image_id": f"v{index}", "patient_id": f"p{index // 2}", "melanoma": int(index < positives)}
        rows.append(row | {"mpp_x": 0.5, "mpp_y": 0.5})
    write_table(folder / "dataset.csv", rows)
    return patches


@pytest.mark.slow
def test_the_strongest_feature_is_found_and_shown(classifier: Classifier, picture: Any, tmp_path: Path) -> None:
    patches = draw(tmp_path / "data", picture, 24, 12)
    out, options = tmp_path / "out", BiomarkerOptions(count=4, shown=2)
    found = find_biomarkers(classifier, [tmp_path / "data"], out, options, run=RunContext())
    assert len(found.features) == 4
    best = found.features[0]
    assert abs(best.marker.strength) > 0.9
    assert best.marker.q < 0.01
    risen = [one for one in found.features if one.marker.strength > 0.9]
    off = [
        np.hypot(*np.subtract(excited.position, patches[excited.sample.image_id]))
        for one in risen
        for excited in one.activated
        if patches[excited.sample.image_id] is not None
    ]
    assert len(off) >= 2
    assert np.median(off) < 20, "strongest at the patch, which is 20 pixels wide"
    with (out / "biomarkers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[0]["auc"]) == pytest.approx(best.marker.auc.mean, abs=1e-4)
    assert rows[0]["higher_in"] == ("melanoma" if best.marker.strength > 0 else "others")
    with (out / "exciting.csv").open() as file:
        exciting = list(csv.DictReader(file))
    assert len(exciting) == 8
    assert all((out / row["picture"]).is_file() for row in exciting)
    assert len({row["image_id"] for row in exciting[:2]}) == 2
    about = json.loads((out / "biomarkers.json").read_text())
    assert (about["images"], about["positives"], about["positive"]) == (24, 12, "melanoma")
    assert about["statistic"].startswith("AUC")
    assert {row["name"] for row in about["measures"]} >= {"haematoxylin_share", "haematoxylin_density"}
    with Image.open(out / "figures" / "gallery.png") as gallery:
        assert min(gallery.size) > 300
    assert (out / "figures" / "ranking.png").is_file()


@pytest.mark.slow
def test_too_few_patients_are_reported(classifier: Classifier, picture: Any, tmp_path: Path) -> None:
    draw(tmp_path / "data", picture, 8, 2)
    with pytest.raises(DataSetError, match=r"at least 3 patients per class.*found 1 positive.*Name another split"):
        find_biomarkers(classifier, [tmp_path / "data"], tmp_path / "out", BiomarkerOptions(), run=RunContext())
