"""``data tiles``: tiles of annotated slides, output and exit codes."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_melanoma.io.geojson import write_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.regions import RegionClass, region_from_vertices

SIDE = 256


@pytest.fixture
def slides(tmp_path):
    """Two slides with regions, and one without."""
    folder = tmp_path / "slides"
    folder.mkdir()
    rgb = np.random.default_rng(0).integers(150, 230, (SIDE, SIDE, 3), dtype=np.uint8)
    corners = np.array([(0, 0), (0, SIDE), (SIDE / 2, SIDE), (SIDE / 2, 0)], float)
    for name in ("a", "b", "bare"):
        tifffile.imwrite(
            folder / f"{name}.tif", rgb, tile=(128, 128), photometric="rgb", resolution=(2e4, 2e4), resolutionunit=3
        )
        if name != "bare":
            drawn = [region_from_vertices(corners, RegionClass("Tumor", (200, 0, 0)))]
            drawn += [region_from_vertices(corners + np.array((SIDE / 2, 0)), RegionClass("Skin", (0, 200, 0)))]
            write_geojson(folder / f"{name}.geojson", drawn)
    return folder


@pytest.mark.slow
def test_tiles_are_extracted_reported_and_checked(run, slides, tmp_path, lines):
    command = ["data", "tiles", "slides/*.tif", "--out", "tiles", "--tile-px", "32", "--class", "Tumor=melanoma"]
    result = run(*command, "--class", "Skin", "--patients", "patients.csv")
    assert result.exit_code == 2
    assert "there is no file patients.csv" in result.output
    (tmp_path / "patients.csv").write_text("image_id,patient_id\na,p1\nb,p1\n")
    result = run(*command, "--class", "Skin", "--patients", "patients.csv", "--json")
    *_, summary = lines(result.stdout)
    assert (summary["exit_code"], summary["tiles"], summary["failed"]) == (1, 128, 1)
    assert summary["classes"] == {"melanoma": 64, "Skin": 64}
    assert summary["patients"] == 1
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert {row["tissue"] for row in rows} == {"melanoma", "Skin"}
    assert "128 images, 128 with a mask" in run("data", "check", "tiles").stdout
    assert run("data", "tiles", "slides/a.tif", "--out", "tiles").exit_code != 0, "it already exists"


def test_a_class_without_regions_is_named(run, slides):
    result = run("data", "tiles", "slides/a.tif", "--out", "none", "--class", "Naevus")
    assert result.exit_code != 0
    assert "no region has the class Nevus" in result.output


def test_slides_that_the_table_of_patients_does_not_list_are_named(run, slides, tmp_path, lines):
    """Each would count as a patient of its own, in the training and in the test set."""
    (tmp_path / "patients.csv").write_text("image_id,patient_id\nb,p1\n")
    command = ["data", "tiles", "slides/a.tif", "--out", "tiles", "--patients", "patients.csv", "--tile-px", "32"]
    result = run(*command, "--json")
    notes = [line["message"] for line in lines(result.stdout) if line.get("event") == "note"]
    assert "a not in patients.csv: each counts as a patient of its own" in notes
