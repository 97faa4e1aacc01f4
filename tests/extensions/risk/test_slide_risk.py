"""The worker's verbs about the risk of a slide: told, read again, and what is not taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.files import write_json
from napari_melanoma.extensions.risk.slide_files import read_risk
from napari_melanoma.extensions.risk.slide_prediction import predict_slide_risk
from napari_melanoma.slides.depth_readings import read_network_depth
from napari_melanoma.slides.result_folder import slide_folder

LINE = {"surface": [400, 500], "deepest": [680, 500], "mm": 1.4, "interval_mm": [1.2, 1.6], "section": 0}
ROW = {"age": "64", "sex": "male", "shoe": "44"}


@pytest.fixture
def reported(slide: Path, tmp_path: Path, model: Path) -> dict[str, str]:
    """A slide whose thickness was measured and whose risk was told: what the worker is asked with."""
    folder = tmp_path / "section"
    content = {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": {"candidates": [LINE], "notes": []}}
    write_json(folder / "result.json", content)
    requested = {"slide": str(slide), "folder": str(folder), "model": str(model)}
    predict_slide_risk(slide, folder, {"model": str(model)}, ROW, RunContext())
    return requested


def test_saved_risk_of_a_slide_is_read_again(reported: dict[str, str], slide: Path) -> None:
    folder = Path(reported["folder"])
    kept = read_risk(folder)
    assert 0 < kept.prediction["probability"] < 1
    assert kept.prediction["known"] == {"age": "64", "sex": "male", "depth_mm": "1.4"}
    assert (kept.depth.mm, kept.depth.source, kept.n_patches) == (1.4, "automatic", 1)
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


def test_an_unknown_model_is_named(reported: dict[str, str]) -> None:
    with pytest.raises(BundleError, match="no model named"):
        predict_slide_risk(Path(reported["slide"]), Path(reported["folder"]), {"model": "nowhere"}, {}, RunContext())


@pytest.mark.parametrize("damage", ["{", "[]", '{"probability": null}', '{"probability": 0.5, "patches": 3}'])
def test_damaged_files_are_reported_and_not_shown(reported: dict[str, str], damage: str) -> None:
    folder = Path(reported["folder"])
    (folder / "risk.json").write_text(damage)
    kept = read_risk(folder)
    assert "Estimate the risk again" in kept.fault
    assert kept.prediction == {}
    assert kept.depth.mm == 1.4


def test_damaged_readings_are_named(reported: dict[str, str]) -> None:
    (Path(reported["folder"]) / "findings.json").write_text("{")
    kept = read_risk(Path(reported["folder"]))
    assert kept.fault
    assert kept.n_patches == 0
