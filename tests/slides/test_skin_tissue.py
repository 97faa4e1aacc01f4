"""The shipped tissue model of skin on two real slides that it was not fitted on, by points that were marked by eye."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.samples.catalog import get_sample
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.results import describe_prediction
from napari_melanoma.slides.tissue_classifier.bundle import map_tissue
from napari_melanoma.slides.tissue_classifier.start import list_starts, load_start

POINTS = Path(__file__).parent / "skin_points"
SAMPLE_SLIDE, OTHER = get_sample("skin_morphea_20x").path, "CMU-1-Small-Region.svs"
LEAST = {SAMPLE_SLIDE.name: 0.9, OTHER: 0.8}  # share of points of epidermis, dermis and glass; measured: 0.95 and 0.86
# Corners (row, column) of a tumor that was drawn from the granular layer into the dermis of the sample, which it
# reaches 0.23 mm below; the granular layer is within 15 micrometers of the line through these two points.
TUMOR = ((1000, 3000), (1160, 3140), (1420, 2960), (1300, 2780))
GRANULAR = ((960, 3030), (1210, 3260))


@pytest.fixture
def other_slide(shared_data: Path) -> Path:
    return shared_data / "slides" / OTHER


@pytest.mark.slow
def test_points_of_the_sample() -> None:
    check_points(SAMPLE_SLIDE)


@pytest.mark.slow
def test_points_of_a_slide_of_another_scanner(other_slide: Path) -> None:
    check_points(other_slide)


def check_points(path: Path) -> None:
    with open_slide(path) as slide:
        maps = map_tissue(slide, find_bundle(DEFAULT_TILE_MODEL), RunContext())
    classes = np.array(find_bundle(DEFAULT_TILE_MODEL).config.classes)
    with (POINTS / f"{path.stem}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] in ("Epidermis", "Dermis", "Background")]
    hits = []
    for row in rows:
        cell = np.floor(maps.placement.to_map((float(row["row"]), float(row["column"])))).astype(int)
        values = maps.probability[:, cell[0], cell[1]]
        predicted = "Background" if np.isnan(values).any() else classes[values.argmax()]  # glass is not analyzed
        hits.append(predicted == row["class"])
    assert len(rows) >= 35
    assert np.mean(hits) >= LEAST[path.name]


def write_outline(path: Path) -> Path:
    ring = [[column, row] for row, column in (*TUMOR, TUMOR[0])]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "Melanoma"}}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


@pytest.mark.slow
def test_the_thickness_of_an_outlined_tumor_starts_at_the_granular_layer(tmp_path: Path) -> None:
    options = SlideOptions(model=DEFAULT_TILE_MODEL, tumor_outlines=write_outline(tmp_path / "tumor.geojson"))
    content = analyze_slide(SAMPLE_SLIDE, tmp_path / "out", options, RunContext()).content
    (best,) = content["depth"]["candidates"]
    um, (start, end) = content["mpp"][0], np.array(GRANULAR, float)
    along = (end - start) / np.linalg.norm(end - start)
    offset = np.array(best["surface"]) - start
    assert abs(along[0] * offset[1] - along[1] * offset[0]) * um < 25  # less than a cell
    assert np.abs(np.array(best["deepest"]) - TUMOR[3]).max() * um < 10
    assert best["mm"] == pytest.approx(0.24, abs=0.03)
    assert content["validity"]["valid"]
    assert describe_prediction(content).startswith("Tissue, not tumor: ")


def test_readers_start_from_the_shipped_strokes() -> None:
    start = load_start(DEFAULT_TILE_MODEL)
    assert DEFAULT_TILE_MODEL in list_starts()
    assert start.roles == {"epidermis": "Epidermis", "background": "Background", "keratin": "Keratin"}
    assert (np.bincount(start.cells.labels) > 30).all()
    assert all(start.colors.values())
