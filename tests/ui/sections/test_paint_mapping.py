"""The assessment of the painted classes, and the map request: the same classifier as without a window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from painted_phantoms import CLASSES, draw_phantom
from PIL import Image

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.results import TISSUE
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.classifier import (
    TissueClassifier,
    TissueFitOptions,
    fit_tissue_classifier,
)
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.sections.paint import mapping
from napari_melanoma.ui.sections.paint.layers import ClassMap
from napari_melanoma.ui.sections.paint.mapping import (
    AssessmentReport,
    Choice,
    FeatureCache,
    FitReport,
    MapReport,
    MapRequest,
    PaintedSlide,
    update_map,
)

Report = TypeVar("Report", bound=Progress)
pytestmark = pytest.mark.slow  # the phantom is drawn
OUTSIDE = Stroke("far", "tumor", "brush", ((-900.0, -900.0), (-800.0, -800.0)), 5.0)


@pytest.fixture(autouse=True)
def one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "DEFAULT_SOURCES", ("texture",))


@pytest.fixture(scope="module")
def request_of_phantom(tmp_path_factory: pytest.TempPathFactory) -> MapRequest:
    folder = tmp_path_factory.mktemp("painted")
    phantom = draw_phantom(folder / "skin.tif")
    slide = open_slide(phantom.path)
    painted = PaintedSlide("skin", slide, slide.info.pixel_size, folder / "out", phantom.strokes(3))
    return MapRequest((painted,), tuple(CLASSES), Box(0, 0, 64, 64), Choice("texture"), whole=False)


def update(request: MapRequest, stores: FeatureCache) -> list[Progress]:
    reports: list[Progress] = []
    update_map(request, stores, RunContext(reports.append))
    return reports


def last(reports: list[Progress], kind: type[Report]) -> Report:
    return next(report for report in reversed(reports) if isinstance(report, kind))


def test_the_classifier_of_an_assessment_is_that_of_the_command_line(request_of_phantom: MapRequest) -> None:
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile

    request, stores = request_of_phantom, FeatureCache()
    reports = update(request, stores)
    fitted, assessment = last(reports, FitReport).fit, last(reports, AssessmentReport).assessment
    assert fitted is not None
    assert fitted.choice == assessment.choice
    slide = request.slides[0]
    files = [PaintedSlideFile(slide.slide.info.path, slide.strokes, slide.folder, dict(CLASSES))]
    expected = fit_tissue_classifier(files, TissueFitOptions(sources=("texture",)))
    found = assessment.make_classifier(files)
    assert assessment.strokes == frozenset(slide.strokes)
    assert (found.source, found.classes) == (expected.source, expected.classes)
    assert found.cell_classifier.kind == expected.cell_classifier.kind
    assert found.cell_classifier.temperature == expected.cell_classifier.temperature
    assert found.colors == expected.colors
    assert len(found.candidates) == len(expected.candidates)
    for name, values in expected.cell_classifier.arrays.items():
        np.testing.assert_array_equal(found.cell_classifier.arrays[name], values)


def test_strokes_beyond_the_slide_are_reported_also_without_a_map(request_of_phantom: MapRequest) -> None:
    slide = request_of_phantom.slides[0]
    one_class = tuple(stroke for stroke in slide.strokes if stroke.class_name == "dermis")
    request = replace(request_of_phantom, slides=(replace(slide, strokes=(*one_class, OUTSIDE)),))
    report = last(update(request, FeatureCache()), FitReport)
    assert report.fit is None
    assert report.notes == ("1 stroke outside the slide: left out.",)


def test_features_are_released_when_a_slide_is_closed(request_of_phantom: MapRequest) -> None:
    stores, slide = FeatureCache(), request_of_phantom.slides[0]
    first = stores.get(slide, "texture")
    assert stores.get(slide, "texture") is first
    stores.release("another")
    assert stores.get(slide, "texture") is first
    stores.release(slide.identity)
    assert stores.get(slide, "texture") is not first


def test_blocks_beyond_tissue_follow_the_classifier(request_of_phantom: MapRequest, tmp_path: Path) -> None:
    slide, stores = replace(request_of_phantom.slides[0], folder=tmp_path / "dock"), FeatureCache()
    mask = np.full((48, 48), 255, np.uint8)  # a pixel for each cell
    mask[:BLOCK_CELLS, :BLOCK_CELLS] = 0
    slide.folder.mkdir()
    Image.fromarray(mask).save(slide.folder / TISSUE)
    request = replace(request_of_phantom, slides=(slide,), view=Box(0, 0, 64, 64))
    update(request, stores)  # the first block is in view
    reports = update(replace(request, view=Box(1400, 1400, 64, 64)), stores)
    parts = [part for report in reports if isinstance(report, MapReport) for part in report.parts]
    assert (0, 0) in {(part.cells.top, part.cells.left) for part in parts}


def test_areas_are_those_of_an_analysis_with_the_saved_model(request_of_phantom: MapRequest, tmp_path: Path) -> None:
    """Neither of them counts a block with 3 % tissue."""
    slide, stores = request_of_phantom.slides[0], FeatureCache()
    slide = replace(slide, folder=tmp_path / "dock")
    mask = np.full((48, 48), 255, np.uint8)  # a pixel for each cell
    mask[:BLOCK_CELLS, :BLOCK_CELLS] = 0
    mask[:2, :4] = 255
    slide.folder.mkdir()
    Image.fromarray(mask).save(slide.folder / TISSUE)
    request = replace(request_of_phantom, slides=(slide,), view=Box(0, 0, 1536, 1536), whole=True)
    reports = update(request, stores)
    fitted, chosen = last(reports, FitReport).fit, last(reports, AssessmentReport).assessment.chosen
    maps = [report for report in reports if isinstance(report, MapReport)]
    assert fitted is not None
    features = stores.get(slide, "texture")
    class_map = ClassMap(features.grid)
    for report in maps:
        class_map.add(report.parts, fitted.classifier.classes)
    tissue = maps[-1].tissue
    assert tissue is not None
    assert len(tissue) == features.grid.blocks.rows * features.grid.blocks.columns - 1
    classifier = TissueClassifier.fit(features.source, fitted.cells, chosen)
    bundle = write_tissue_bundle(tmp_path / "bundle", classifier)
    options = SlideOptions(model=str(bundle.path), tissue_mask=slide.folder / TISSUE)
    result = analyze_slide(slide.slide.info.path, tmp_path / "out", options, RunContext())
    expected = {name: area["mm2"] for name, area in result.content["areas"].items() if area["mm2"]}
    assert class_map.measure_areas(tissue, (1536, 1536)) == pytest.approx(expected)


def test_a_known_classifier_predicts_only_what_is_missing(request_of_phantom: MapRequest) -> None:
    stores = FeatureCache()
    reports = update(request_of_phantom, stores)
    request = replace(
        request_of_phantom,
        view=Box(1400, 1400, 64, 64),
        fit=last(reports, FitReport).fit,
        assessment=last(reports, AssessmentReport).assessment,
        predicted=frozenset({(0, 0)}),
    )
    again = update(request, stores)
    assert not any(isinstance(report, (FitReport, AssessmentReport)) for report in again)
    tops = [
        (part.cells.top, part.cells.left) for report in again if isinstance(report, MapReport) for part in report.parts
    ]
    assert (0, 0) not in tops
    assert len(tops) == len(set(tops)) > 0
