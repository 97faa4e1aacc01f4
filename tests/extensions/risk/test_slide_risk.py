"""The worker's verbs about the risk of a slide: told, explained, read again, and what is not taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.extensions.risk.slide_files import read_risk
from napari_melanoma.extensions.risk.worker_requests import (
    explain_slide_risk,
    find_slide_biomarkers,
    predict_slide_risk,
)
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.slides.slide_depth import read_network_depth

LINE = {"surface": [400, 500], "deepest": [680, 500], "mm": 1.4, "interval_mm": [1.2, 1.6], "section": 0}
ROW = {"age": "64", "sex": "male", "shoe": "44"}


@pytest.fixture
def reported(slide: Path, tmp_path: Path, model: Path) -> dict[str, str]:
    """A slide whose thickness was measured and whose risk was told: what the worker is asked with."""
    folder = tmp_path / "section"
    content = {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": {"candidates": [LINE], "notes": []}}
    write_json(folder / "result.json", content)
    requested = {"slide": str(slide), "folder": str(folder), "model": str(model)}
    predict_slide_risk({**requested, "row": ROW, "options": {"model": str(model)}}, RunContext())
    return requested


def test_saved_risk_of_a_slide_is_read_again(reported: dict[str, str], slide: Path) -> None:
    folder = Path(reported["folder"])
    kept = read_risk(folder)
    assert 0 < kept.prediction["probability"] < 1
    assert kept.prediction["known"] == {"age": "64", "sex": "male", "depth_mm": "1.4"}
    assert (kept.depth.mm, kept.depth.source, kept.n_patches) == (1.4, "automatic", 1)
    assert kept.maps == ()
    assert slide_folder(folder.parent, slide) == folder  # noted as this slide's own


def test_depth_of_the_network_is_read_with_its_origin(reported: dict[str, str]) -> None:
    folder = Path(reported["folder"])
    found = read_network_depth(folder)
    assert found is not None
    assert found.mm == read_risk(folder).prediction["patches"][0]["depth_mm"]
    assert (found.model, found.patch, found.mpp) == ("tiny-risk", "deepest place", None)
    assert (found.known.mm, found.known.source) == (1.4, "automatic")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"warnings": 3},
        {"patches": []},
        {"patches": [{"depth_mm": 1.2}]},
        {"patches": ["x"]},
        {"patches": [{"probability": 0.5, "depth_mm": "1.2"}]},
        {"depth": {"mm": "1.4"}},
        {"options": None},
    ],
    ids=json.dumps,
)
def test_incomplete_results_have_no_depth_of_the_network(reported: dict[str, str], change: dict[str, object]) -> None:
    folder = Path(reported["folder"])
    path = folder / "risk.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert read_network_depth(folder) is None
    if change != {"patches": []}:
        assert read_risk(folder).fault == "risk.json has an unexpected format. Estimate the risk again."


@pytest.mark.parametrize("method", ["attention", "cam"])
def test_a_map_overlays_the_patch_and_is_removed_with_its_prediction(reported: dict[str, str], method: str) -> None:
    explain_slide_risk({**reported, "method": method}, RunContext())
    folder = Path(reported["folder"])
    (found,) = read_risk(folder).maps
    top, left, height, width = read_risk(folder).prediction["patches"][0]["box"]
    assert (found.method, found.placement.top, found.placement.left) == (method, top, left)
    cells = np.array(found.values.shape) * (found.placement.step_y, found.placement.step_x)
    np.testing.assert_allclose(cells, (height, width))
    inside = found.values[np.isfinite(found.values)]
    assert inside.min() >= 0
    assert inside.max() <= 1

    requested = {**reported, "row": {"age": "20"}, "options": {"model": reported["model"]}}
    predict_slide_risk(requested, RunContext())
    assert read_risk(folder).maps == ()


def test_features_are_ranked_with_places_on_the_slide(reported: dict[str, str]) -> None:
    find_slide_biomarkers(reported, RunContext())
    kept = read_risk(Path(reported["folder"]))
    features = kept.gallery["features"]
    assert len(features) == 15
    strength = [round(abs(one["auc"] - 0.5), 9) for one in features]
    assert strength == sorted(strength, reverse=True)
    assert all(one["auc_interval"][0] <= one["auc"] <= one["auc_interval"][1] for one in features)
    top, left, height, width = kept.prediction["patches"][0]["box"]
    places = [place for one in features for place in one["places"]]
    assert places
    for place in places:
        row, column = place["box"][0] + place["box"][2] / 2, place["box"][1] + place["box"][3] / 2
        assert top <= row <= top + height
        assert left <= column <= left + width


def test_explanations_need_a_prediction_of_the_same_model(reported: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Run the risk prediction first"):
        find_slide_biomarkers({**reported, "folder": str(tmp_path / "none")}, RunContext())
    with pytest.raises(BundleError, match="no model named"):
        predict_slide_risk({**reported, "row": {}, "options": {"model": "nowhere"}}, RunContext())
    path = Path(reported["folder"]) / "risk.json"
    answer = json.loads(path.read_text())
    path.write_text(json.dumps({**answer, "model": {**answer["model"], "fingerprint": "elsewhere"}}))
    with pytest.raises(InputError, match="another model than"):
        explain_slide_risk({**reported, "method": "attention"}, RunContext())


def test_a_model_without_reference_ranks_nothing(reported: dict[str, str], write_model: object, tmp_path: Path) -> None:
    bare = str(write_model(tmp_path / "bare" / "tiny-risk", reference=False))  # type: ignore[operator]
    predict_slide_risk({**reported, "row": {}, "options": {"model": bare}}, RunContext())
    find_slide_biomarkers({**reported, "model": bare}, RunContext())
    assert read_risk(Path(reported["folder"])).gallery["features"] == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"probability": null}', '{"probability": 0.5, "patches": 3}'])
def test_damaged_files_are_reported_and_not_shown(reported: dict[str, str], damage: str) -> None:
    folder = Path(reported["folder"])
    (folder / "risk.json").write_text(damage)
    kept = read_risk(folder)
    assert "Estimate the risk again" in kept.fault
    assert kept.prediction == {}
    assert kept.depth.mm == 1.4


def test_half_of_a_map_is_no_map(reported: dict[str, str]) -> None:
    explain_slide_risk({**reported, "method": "attention"}, RunContext())
    folder = Path(reported["folder"])
    about = json.loads((folder / "risk" / "attention.json").read_text())
    (folder / "risk" / "attention.tif").write_bytes(b"half")
    assert read_risk(folder).maps == ()
    explain_slide_risk({**reported, "method": "attention"}, RunContext())
    assert len(read_risk(folder).maps) == 1
    (folder / "risk" / "attention.json").write_text(json.dumps({**about, "place": [1, 2]}))
    assert read_risk(folder).maps == ()


def test_damaged_readings_are_named(reported: dict[str, str]) -> None:
    (Path(reported["folder"]) / "depth.json").write_text("{")
    kept = read_risk(Path(reported["folder"]))
    assert kept.fault
    assert kept.n_patches == 0
