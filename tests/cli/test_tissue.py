"""``tissue fit`` and ``tissue apply``: from strokes to a bundle, which every interface uses with the same result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_phantoms import CELL_PX, CLASSES, Phantom, draw_phantom
from slide_models import SKIN_TEST

import napari_melanoma as nm
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.slides.results import describe_class_areas
from napari_melanoma.slides.tissue_classifier import classifier
from napari_melanoma.slides.tissue_classifier.feature_sources import read_encoders
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, write_strokes

pytestmark = pytest.mark.slow  # renders a slide, computes its features and analyzes it several times: 20 s
FIT = ("--sources", "texture", "--kind", "logistic")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    drawn = draw_phantom(tmp_path_factory.mktemp("phantom") / "skin.tif")
    write_strokes(drawn.path.with_suffix(".geojson"), drawn.strokes(5), dict(CLASSES))
    return drawn


def read_map(folder: Path) -> np.ndarray:
    return np.asarray(SlideResult.open(folder).array("map")[:])


def test_the_file_of_an_encoder_is_remembered(
    phantom: Phantom, run: Callable[..., Any], tmp_path: Path, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    monkeypatch.setattr(classifier, "is_published", lambda name: name == "texture")
    fitted = run("tissue", "fit", phantom.path, "--out", "layers", *FIT, "--weights", "weights.bin")
    assert fitted.exit_code == 0, fitted.output
    assert [(one.name, one.weights) for one in read_encoders()] == [("texture", tmp_path / "weights.bin")]


def test_a_classifier_of_strokes_gives_the_same_map_everywhere(
    phantom: Phantom, run: Callable[..., Any], lines: Callable[[str], list[dict]], tmp_path: Path
) -> None:
    fitted = run("tissue", "fit", phantom.path, "--out", "layers", *FIT, "--json")
    assert fitted.exit_code == 0, fitted.output
    *_, last = lines(fitted.stdout)
    assert (last["classes"], last["source"], last["classifier"]) == (list(CLASSES), "texture", "logistic")
    assert 0.8 < last["accuracy"][0] <= 1
    assert last["advice"].startswith("More strokes of '")
    assert "skin" not in (tmp_path / "layers" / "README.md").read_text().replace("skin-", "")

    applied = run("tissue", "apply", phantom.path, "--model", "layers", "--out", "applied")
    assert applied.exit_code == 0, applied.output
    assert "skin: glass " in applied.output
    again = run("tissue", "apply", phantom.path, "--model", "layers", "--out", "applied")
    assert "skin: already analyzed, nothing was changed" in again.output, "as slide"
    content = json.loads((tmp_path / "applied" / "skin" / "result.json").read_text())
    check_areas(content["areas"], phantom, tmp_path / "applied" / "skin")
    expected = read_map(tmp_path / "applied" / "skin")

    painted = [replace(stroke, reader="Ada Reader") for stroke in phantom.strokes(5)]
    write_strokes(tmp_path / "applied" / "skin" / STROKES, painted)
    assert run("report", "applied/skin", "--out", "report.html").exit_code == 0
    assert "Strokes of tissue classes" not in (tmp_path / "report.html").read_text(), "only if requested"
    assert run("report", "applied/skin", "--out", "report.html", "--strokes").exit_code == 0
    report = (tmp_path / "report.html").read_text()
    assert describe_class_areas(content["areas"])[1:] in report
    assert "Share of the analyzed area, %" in report  # background is part of it
    assert "Suggestion from a painted classifier, not measured by a reader." in report
    assert "Strokes of tissue classes" in report
    assert "Ada Reader" not in report  # initials only

    copy = tmp_path / "slides"
    copy.mkdir()
    for name in ("a.tif", "b.tif"):
        shutil.copyfile(phantom.path, copy / name)
    assert run("slide", copy, "--model", "layers", "--out", "cohort", "--processes", "2").exit_code == 0
    for name in "ab":
        np.testing.assert_array_equal(read_map(tmp_path / "cohort" / name), expected)
    for row in read_table(tmp_path / "cohort" / "slides.csv"):
        for name, area in content["areas"].items():
            assert float(row[f"area_mm2_{name}"]) == pytest.approx(area["mm2"], rel=1e-5)
            assert float(row[f"area_percent_{name}"]) == pytest.approx(area["percent"], rel=1e-5)
        assert float(row["breslow_mm"]) == pytest.approx(content["breslow_mm"])

    with pytest.warns(UserWarning, match="accuracy on other slides is unknown"):
        model = nm.fit_tissue_classifier(
            phantom.path, folder=tmp_path / "api", options={"sources": ("texture",), "kinds": ("logistic",)}
        )
    assert model.fingerprint == nm.load_model(tmp_path / "layers").fingerprint
    found = nm.analyze_slide(phantom.path, tmp_path / "found", model)
    np.testing.assert_array_equal(read_map(found.folder), expected)
    assert found.valid


def check_areas(areas: dict[str, dict[str, float]], phantom: Phantom, folder: Path) -> None:
    """Compare the areas with the true ones, and with those of the outlines."""
    cell_mm2 = (CELL_PX / 1000) ** 2
    for label, name in enumerate(CLASSES):
        if name != "glass":  # only a part of which is analyzed
            truth = phantom.truth[..., label].sum() * cell_mm2
            assert areas[name]["mm2"] == pytest.approx(truth, rel=0.25, abs=0.03)
    assert sum(area["percent"] for area in areas.values()) == pytest.approx(100)
    regions = read_geojson(folder / "classes.geojson").annotations
    assert {region.class_name for region in regions} == set(CLASSES)
    assert {region.color for region in regions if region.class_name == "tumor"} == {CLASSES["tumor"]}
    outlined = sum(region.measurements["area_mm2"] for region in regions if region.class_name == "tumor")
    assert outlined == pytest.approx(areas["tumor"]["mm2"], rel=0.1)


REFUSED = {
    "a model of another kind": (("apply", "{slide}", "--model", str(SKIN_TEST)), "is not a tissue classifier"),
    "two files for one slide": (
        ("fit", "{slide}", "--strokes", "{strokes}", "--strokes", "{strokes}"),
        "found 2 files of strokes for 1 slide",
    ),
    "no strokes": (("fit", "{slide}", "--strokes", "empty"), "skin.tif has no strokes: found neither strokes.geojson"),
    "an unknown kind": (("fit", "{slide}", "--kind", "network"), "--kind is network: input should be 'logistic', "),
    "unknown features": (("fit", "{slide}", "--sources", "nothing"), "there are no features named 'nothing'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_requests_state_what_to_do(
    phantom: Phantom, run: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    words, message = REFUSED[name]
    paths = {"slide": phantom.path, "strokes": phantom.path.with_suffix(".geojson")}
    result = run("tissue", *(word.format(**paths) for word in words), "--out", "out")
    assert result.exit_code == 2
    assert message in result.output
