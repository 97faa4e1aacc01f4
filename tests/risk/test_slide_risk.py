"""The worker's verbs about the risk of a slide: told, explained, read again, and what is not taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.risk.slide import slide_biomarkers, slide_risk, slide_risk_map
from napari_melanoma.risk.slide_files import kept_risk
from napari_melanoma.slides.result_folder import slide_folder

LINE = {"surface": [400, 500], "deepest": [680, 500], "mm": 1.4, "interval_mm": [1.2, 1.6], "section": 0}
ROW = {"age": "64", "sex": "male", "shoe": "44"}


@pytest.fixture
def told(slide: Path, tmp_path: Path, model: Path) -> dict[str, str]:
    """A slide whose thickness was measured and whose risk was told: what the worker is asked with."""
    folder = tmp_path / "section"
    content = {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": {"candidates": [LINE], "notes": []}}
    write_json(folder / "result.json", content)
    asked = {"slide": str(slide), "folder": str(folder), "model": str(model)}
    slide_risk({**asked, "row": ROW, "options": {"model": str(model)}}, RunContext())
    return asked


def test_a_risk_is_kept_beside_the_slide_and_found_again(told: dict[str, str], slide: Path) -> None:
    folder = Path(told["folder"])
    kept = kept_risk(folder)
    assert 0 < kept.answer["probability"] < 1
    assert kept.answer["known"] == {"age": "64", "sex": "male", "depth_mm": "1.4"}
    assert (kept.depth.mm, kept.depth.source, kept.places) == (1.4, "automatic", 1)
    assert kept.maps == ()
    assert slide_folder(folder.parent, slide) == folder  # noted as this slide's own


@pytest.mark.parametrize("method", ["attention", "grad_cam"])
def test_a_map_lies_on_the_patch_and_goes_with_its_answer(told: dict[str, str], method: str) -> None:
    slide_risk_map({**told, "method": method}, RunContext())
    folder = Path(told["folder"])
    (found,) = kept_risk(folder).maps
    top, left, height, width = kept_risk(folder).answer["patches"][0]["box"]
    assert (found.method, found.place.top, found.place.left) == (method, top, left)
    cells = np.array(found.values.shape) * (found.place.step_y, found.place.step_x)
    np.testing.assert_allclose(cells, (height, width))
    inside = found.values[np.isfinite(found.values)]
    assert inside.min() >= 0
    assert inside.max() <= 1

    asked = {**told, "row": {"age": "20"}, "options": {"model": told["model"]}}
    slide_risk(asked, RunContext())
    assert kept_risk(folder).maps == ()


def test_features_are_ranked_with_places_on_the_slide(told: dict[str, str]) -> None:
    slide_biomarkers(told, RunContext())
    kept = kept_risk(Path(told["folder"]))
    features = kept.gallery["features"]
    assert len(features) == 15
    strength = [round(abs(one["auc"] - 0.5), 9) for one in features]
    assert strength == sorted(strength, reverse=True)
    assert all(one["auc_interval"][0] <= one["auc"] <= one["auc_interval"][1] for one in features)
    top, left, height, width = kept.answer["patches"][0]["box"]
    places = [place for one in features for place in one["places"]]
    assert places
    for place in places:
        row, column = place["box"][0] + place["box"][2] / 2, place["box"][1] + place["box"][3] / 2
        assert top <= row <= top + height
        assert left <= column <= left + width


def test_without_an_answer_or_with_another_model_nothing_is_explained(told: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Estimate it first"):
        slide_biomarkers({**told, "folder": str(tmp_path / "none")}, RunContext())
    with pytest.raises(BundleError, match="no model named"):
        slide_risk({**told, "row": {}, "options": {"model": "nowhere"}}, RunContext())
    path = Path(told["folder"]) / "risk.json"
    answer = json.loads(path.read_text())
    path.write_text(json.dumps({**answer, "model": {**answer["model"], "fingerprint": "elsewhere"}}))
    with pytest.raises(InputError, match="another model than"):
        slide_risk_map({**told, "method": "attention"}, RunContext())


def test_a_model_that_remembers_nothing_ranks_nothing(
    told: dict[str, str], write_model: object, tmp_path: Path
) -> None:
    bare = str(write_model(tmp_path / "bare" / "tiny-risk", reference=False))  # type: ignore[operator]
    slide_risk({**told, "row": {}, "options": {"model": bare}}, RunContext())
    slide_biomarkers({**told, "model": bare}, RunContext())
    assert kept_risk(Path(told["folder"])).gallery["features"] == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"probability": null}', '{"probability": 0.5, "patches": 3}'])
def test_what_is_damaged_is_named_and_not_shown(told: dict[str, str], damage: str) -> None:
    folder = Path(told["folder"])
    (folder / "risk.json").write_text(damage)
    kept = kept_risk(folder)
    assert "estimate again" in kept.fault
    assert kept.answer == {}
    assert kept.depth.mm == 1.4


def test_half_of_a_map_is_no_map(told: dict[str, str]) -> None:
    slide_risk_map({**told, "method": "attention"}, RunContext())
    folder = Path(told["folder"])
    about = json.loads((folder / "risk" / "attention.json").read_text())
    (folder / "risk" / "attention.tif").write_bytes(b"half")
    assert kept_risk(folder).maps == ()
    slide_risk_map({**told, "method": "attention"}, RunContext())
    assert len(kept_risk(folder).maps) == 1
    (folder / "risk" / "attention.json").write_text(json.dumps({**about, "place": [1, 2]}))
    assert kept_risk(folder).maps == ()


def test_damaged_readings_are_named(told: dict[str, str]) -> None:
    (Path(told["folder"]) / "depth.json").write_text("{")
    kept = kept_risk(Path(told["folder"]))
    assert kept.fault
    assert kept.places == 0
