"""The Paint section without a window: what is drawn, requested, mapped, measured and stated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
from painted_phantoms import CLASSES, draw_phantom
from PIL import Image
from qtpy.QtCore import QObject

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.io.results import TISSUE
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import LevelInfo, SlideInfo
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CellGrid, list_cells
from napari_melanoma.slides.tissue_classifier.classifier import (
    TissueClassifier,
    TissueFitOptions,
    fit_tissue_classifier,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells, Validation
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.sections.paint import mapping
from napari_melanoma.ui.sections.paint.cell_lists import find_suggestions
from napari_melanoma.ui.sections.paint.layers import (
    COARSE,
    COARSE_OPACITY,
    ClassMap,
    add_stroke_shapes,
    create_strokes_layer,
)
from napari_melanoma.ui.sections.paint.mapping import (
    Assessment,
    AssessmentReport,
    Choice,
    FeatureCache,
    FitReport,
    MapPart,
    MapReport,
    MapRequest,
    PaintedSlide,
    PaintLoop,
    update_map,
)
from napari_melanoma.ui.sections.paint.view import (
    advise,
    describe_confusions,
    describe_progress,
    list_bars,
)
from napari_melanoma.ui.viewer.camera import ViewRectangle

Report = TypeVar("Report", bound=Progress)
slow = pytest.mark.slow  # the phantom is drawn
RADIUS, CELL = 30.0, 16.0
CELL_PX = 64  # of 32 µm
BLOCK = np.zeros((1, 2), np.int32)
VALIDATION = Validation(
    source="texture",
    kind="nearest_mean",
    classes=("Fat", "Dermis", "Tumor"),
    strokes=(3, 2, 1),
    cells=(80, 40, 1),
    accuracy=Estimate(0.85, 0.7, 0.95, 6),
    confusion=np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [np.nan] * 3]),
    advice="More fat.",
)
BOTH = ("Fat", "Dermis")


class OtherTexture(TextureFeatures):
    """The same features under another name."""

    def __init__(self, name: str) -> None:
        self.name, self.fingerprint = name, f"fingerprint of {name}"


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


@slow
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


def list_parts(reports: list[Progress]) -> list[MapPart]:
    return [part for report in reports if isinstance(report, MapReport) for part in report.parts]


@slow
def test_a_coarse_map_is_reported_first_and_changes_nothing_else(
    request_of_phantom: MapRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map after its refinement, the accuracy and the stored features are those without a coarse map."""
    maps, stored, chosen = [], [], []
    slide = request_of_phantom.slides[0]
    strokes = tuple(stroke for stroke in slide.strokes if max(stroke.points[0]) < 1024)
    for start in (1, 10**6):
        monkeypatch.setattr(mapping, "COARSE_FROM", start)
        folder, stores = tmp_path / str(start), FeatureCache()
        painted = replace(slide, folder=folder, strokes=strokes)
        request = replace(request_of_phantom, slides=(painted,), view=Box(0, 0, 1536, 1536), whole=True)
        reports = update(request, stores)
        fit = last(reports, FitReport).fit
        assert fit is not None
        parts, class_map = list_parts(reports), ClassMap(stores.get(painted, "texture").grid)
        coarse = {part.block for part in parts if part.is_coarse}
        assert bool(coarse) == (start == 1)
        assert not {part.block for part in parts[: len(coarse)] if not part.is_coarse} & coarse
        assert coarse <= {part.block for part in parts if not part.is_coarse}
        class_map.add(parts, fit.classifier.classes)
        maps.append((class_map.labels, class_map.certainty))
        chosen.append(last(reports, AssessmentReport).assessment.chosen)
        stored.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("c/*/*/0")})
        texts = [report.message for report in reports if isinstance(report, MapReport)]
        assert any(text.startswith("Coarse map: ") for text in texts) == (start == 1)
    np.testing.assert_array_equal(*(labels for labels, _ in maps))
    np.testing.assert_array_equal(*(certainty for _, certainty in maps))
    assert stored[0] == stored[1]
    assert stored[0]
    assert chosen[0].accuracy == chosen[1].accuracy


@slow
def test_another_classifier_of_the_same_strokes_does_not_make_a_map_coarse_again(
    request_of_phantom: MapRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "COARSE_FROM", 1)
    assess = mapping.assess

    def choose_other(*arguments: Any) -> Assessment:
        found = assess(*arguments)
        return replace(found, chosen=replace(found.chosen, source="other"))

    monkeypatch.setattr(mapping, "assess", choose_other)
    monkeypatch.setattr(mapping, "open_source", OtherTexture)
    slide = replace(request_of_phantom.slides[0], folder=tmp_path, strokes=request_of_phantom.slides[0].strokes[:4])
    request = replace(request_of_phantom, slides=(slide,), view=Box(0, 0, 1536, 1536))
    reports, refined = update(request, FeatureCache()), False
    assert [report.fit.choice.source for report in reports if isinstance(report, FitReport) and report.fit] == [
        "texture",
        "other",
    ]
    for report in reports:
        refined |= isinstance(report, AssessmentReport)
        assert not (refined and any(part.is_coarse for part in list_parts([report])))
    assert any(part.is_coarse for part in list_parts(reports))


@slow
def test_strokes_of_one_class_give_the_classes_of_the_model_of_the_start(
    request_of_phantom: MapRequest, tmp_path: Path
) -> None:
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile

    slide = request_of_phantom.slides[0]
    file = PaintedSlideFile(slide.slide.info.path, slide.strokes, classes=dict(CLASSES))
    options = TissueFitOptions(sources=("texture",), kinds=("logistic",))
    model = write_tissue_bundle(tmp_path / "model", fit_tissue_classifier([file], options))
    tumor = tuple(stroke for stroke in slide.strokes if stroke.class_name == "tumor")
    alone = replace(request_of_phantom, slides=(replace(slide, strokes=tumor),))
    assert last(update(alone, FeatureCache()), FitReport).fit is None
    reports = update(replace(alone, start=str(model.path)), FeatureCache())
    fit, assessment = last(reports, FitReport).fit, last(reports, AssessmentReport).assessment
    assert fit is not None
    assert set(fit.classifier.classes) == set(CLASSES)
    assert {choice.source for choice in assessment.candidates} == {"texture"}
    assert dict(zip(assessment.chosen.classes, assessment.chosen.strokes, strict=True))["tumor"] == len(tumor)
    assert assessment.make_classifier([replace(file, strokes=tumor)]).start == "model"
    assert any(isinstance(one, MapReport) and one.parts for one in reports)
    nothing = replace(alone, slides=(replace(slide, strokes=()),), start=str(model.path))
    assert last(update(nothing, FeatureCache()), FitReport).fit is None


def test_a_model_that_is_saved_again_under_its_name_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, read = SimpleNamespace(fingerprint="first"), []
    monkeypatch.setattr(mapping, "find_bundle", lambda name, of_slides: bundle)
    monkeypatch.setattr(mapping, "load_start", lambda name: read.append(name) or bundle.fingerprint)
    assert [mapping.open_start("mine"), mapping.open_start("mine")] == ["first", "first"]
    bundle.fingerprint = "second"
    assert mapping.open_start("mine") == "second"
    assert read == ["mine", "mine"]


def test_features_of_a_closed_slide_do_not_come_back(request_of_phantom: MapRequest, tmp_path: Path) -> None:
    """A job may still run when its slide is closed."""
    slide, stores = replace(request_of_phantom.slides[0], folder=tmp_path), FeatureCache()
    stores.set_open({slide.identity: slide.slide})
    features = stores.get(slide, "texture")
    assert stores.get(slide, "texture") is features
    stores.set_open({})
    with pytest.raises(Cancelled):
        stores.get(slide, "texture")
    with open_slide(slide.slide.info.path) as again:  # the same file, opened again
        stores.set_open({slide.identity: again})
        with pytest.raises(Cancelled):
            stores.get(slide, "texture")
        opened = stores.get(replace(slide, slide=again), "texture")
        assert opened is not features
        assert opened.slide is again
        with pytest.raises(Cancelled):
            update_map(request_of_phantom, stores, RunContext())


@slow
def test_cells_without_features_are_not_suggested(request_of_phantom: MapRequest, tmp_path: Path) -> None:
    slide, stores = replace(request_of_phantom.slides[0], folder=tmp_path), FeatureCache()
    fit = last(update(replace(request_of_phantom, slides=(slide,)), stores), FitReport).fit
    assert fit is not None
    features = stores.get(slide, fit.choice.source)
    cells = list_cells(Box(0, 0, *features.grid.shape))
    unknown = cells[~features.known(cells)]
    assert len(unknown)
    assert find_suggestions(fit, slide, unknown, stores, RunContext()) == ()


@slow
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


@slow
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


@slow
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


@pytest.mark.parametrize(
    ("points", "top_left", "bottom_right"),
    [
        (((2000.5, 3000.5),), (1970, 2970), (2030, 3030)),
        (((2000.5, 3000.5), (2000.5, 3020.5)), (1970, 2980), (2030, 3040)),
    ],
    ids=["a click", "a click with a moved pointer"],
)
def test_a_click_is_drawn_as_a_disk_of_the_brush(points, top_left, bottom_right):
    layer = create_strokes_layer()
    add_stroke_shapes(layer, Stroke("a", "Fat", "brush", points, RADIUS), (255, 0, 0), CELL)
    assert layer.shape_type == ["ellipse"]
    (corners,) = layer.data
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [top_left, bottom_right])


def test_a_longer_stroke_is_drawn_as_wide_as_the_brush():
    layer = create_strokes_layer()
    add_stroke_shapes(layer, Stroke("a", "Fat", "brush", ((0.0, 0.0), (0.0, 400.0)), RADIUS), (255, 0, 0), CELL)
    assert (layer.shape_type, layer.edge_width) == (["path"], [2 * RADIUS])


def test_holes_of_an_area_are_not_filled():
    """QuPath exports areas with holes; napari fills all of a shape."""
    outer = ((0.0, 0.0), (0.0, 400.0), (300.0, 400.0), (300.0, 0.0))
    holes = tuple(
        tuple((top + row, left + column) for row, column in ((0.0, 0.0), (0.0, 60.0), (60.0, 60.0), (60.0, 0.0)))
        for top, left in ((50.0, 50.0), (70.0, 200.0), (200.0, 300.0))
    )
    layer = create_strokes_layer()
    add_stroke_shapes(layer, Stroke("a", "Fat", "polygon", outer, holes=holes), (255, 0, 0), CELL)
    filled = [data for data, color in zip(layer.data, layer.face_color, strict=True) if color[3] > 0]
    covered = sum(rasterize_rings([ring + 0.5], (300, 400)).astype(int) for ring in filled)
    assert covered.max() == 1
    expected = np.ones((300, 400), int)
    for hole in holes:
        (top, left), (bottom, right) = hole[0], hole[2]
        expected[int(top) : int(bottom), int(left) : int(right)] = 0
    np.testing.assert_array_equal(covered, expected)
    outlines = [data for data, width in zip(layer.data, layer.edge_width, strict=True) if width > 0]
    assert len(outlines) == 4


def make_map(height, width):
    levels = (LevelInfo(height, width, 1.0),)
    info = SlideInfo(Path("slide.tif"), "slide", "TIFF", levels, PixelSize(0.5, 0.5, "file"))
    return ClassMap(CellGrid.plan(info, 1.0))


def part(top, left, probability):
    return MapPart(Box(top, left, 1, 2), np.array([[probability, probability]], np.float16))


def test_the_least_certain_cells_are_found():
    class_map = make_map(2 * CELL_PX, 4 * CELL_PX)
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.45, 0.55])], ("Fat", "Dermis"))
    assert class_map.find_uncertain(2).tolist() == [[1, 2], [1, 3]]
    assert len(class_map.find_uncertain(9)) == 4


def test_classes_keep_their_label_when_others_are_added():
    class_map, size = make_map(2 * CELL_PX, 4 * CELL_PX), (2 * CELL_PX, 4 * CELL_PX)
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    class_map.add([part(1, 2, [0.1, 0.2, 0.7])], ("Epidermis", "Fat", "Dermis"))
    assert class_map.labels.tolist() == [[2, 2, 0, 0], [0, 0, 2, 2]]
    assert class_map.certainty[0, 0] == pytest.approx(0.8, abs=1e-3)
    assert class_map.measure_areas(BLOCK, size) == {"Dermis": pytest.approx(4 * 0.032**2)}
    assert class_map.measure_areas(BLOCK[:0], size) == {}
    colors = class_map.make_colors({"Dermis": (255, 0, 0)})
    assert colors == {
        None: "transparent",
        0: "transparent",
        2: (1.0, 0.0, 0.0, 1.0),
        COARSE + 2: (1.0, 0.0, 0.0, COARSE_OPACITY),
    }
    class_map.clear()
    assert class_map.measure_areas(BLOCK, size) == {}


def test_cells_of_a_coarse_map_are_neither_measured_nor_suggested():
    class_map, size = make_map(2 * CELL_PX, 4 * CELL_PX), (2 * CELL_PX, 4 * CELL_PX)
    class_map.add([part(0, 0, [0.2, 0.8])], ("Fat", "Dermis"))
    measured = class_map.measure_areas(BLOCK, size)
    class_map.add([part(1, 2, [0.55, 0.45])._replace(is_coarse=True)], ("Fat", "Dermis"))
    assert class_map.labels.tolist() == [[2, 2, 0, 0], [0, 0, COARSE + 1, COARSE + 1]]
    assert class_map.measure_areas(BLOCK, size) == measured
    assert class_map.find_uncertain(9).tolist() == [[0, 0], [0, 1]]
    class_map.add([part(1, 2, [0.55, 0.45])], ("Fat", "Dermis"))  # refined
    assert class_map.measure_areas(BLOCK, size) == {"Dermis": measured["Dermis"], "Fat": measured["Dermis"]}
    assert not class_map.remove_coarse()
    class_map.add([part(0, 0, [0.9, 0.1])._replace(is_coarse=True)], ("Fat", "Dermis"))
    assert class_map.remove_coarse()
    assert class_map.labels.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize(("height", "width"), [(100, 180), (130, 200), (128, 256)])
def test_the_areas_of_a_slide_that_ends_within_cells_are_those_of_the_slide(height, width):
    class_map = make_map(height, width)
    rows, columns = class_map.grid.shape
    probability = np.full((rows, columns, 2), (0.1, 0.9), np.float16)
    class_map.add([MapPart(Box(0, 0, rows, columns), probability)], ("Fat", "Dermis"))
    assert class_map.measure_areas(BLOCK, (height, width)) == {"Dermis": pytest.approx(height * width * 0.0005**2)}


def assess(validation: Validation, *candidates: Validation) -> Assessment:
    cells = TrainingCells.gather([], [])
    return Assessment(frozenset(), cells, TextureFeatures(), validation, candidates or (validation,))


def make_loop(**values: Any) -> Any:
    """Return what the texts are about, by default an idle loop with an assessed classifier."""
    fit = SimpleNamespace(choice=Choice("texture"))
    loop = {"fit": fit, "assessment": assess(VALIDATION), "is_running": False, "is_paused": False, "activity": ""}
    loop |= {"done": 0, "total": None, "start": ""} | values
    return SimpleNamespace(**loop, is_complete=loop["total"] is not None and loop["done"] >= loop["total"])


@dataclass(frozen=True)
class Advice:
    name: str
    painted: tuple[str, ...]
    expected: str
    tool: str = "brush"
    corners: int = 0
    loop: dict[str, Any] = field(default_factory=dict)


ADVICE = [
    Advice("nothing painted, no tool", (), "Select a class, then the brush", tool=""),
    Advice("nothing painted, with a tool", (), "Paint a stroke on dermis."),
    Advice("an unfinished area", BOTH, "Click the second corner of the area.", "polygon", 1),
    Advice("a search", ("Fat",), "Click a cell", "similar"),
    Advice("one class", ("Fat",), "Select a second class and paint it: so far only fat has strokes."),
    Advice("one class, with those of a model", ("Fat",), "Paint where the map", loop={"start": "skin-tissue"}),
    Advice(
        "nothing painted, a model", (), "Paint a stroke on dermis. The map appears with", loop={"start": "skin-tissue"}
    ),
    Advice("the first map is computed", BOTH, "Computing the first map", loop={"fit": None, "is_running": True}),
    Advice("strokes beyond the slide", BOTH, "There is no map yet", loop={"fit": None}),
    Advice("a map, no tool", BOTH, "Select the brush, and paint where the map is wrong.", tool=""),
    Advice("not assessed yet", BOTH, "Paint where the map is wrong.", loop={"assessment": None}),
    Advice("a map", BOTH, "Paint where the map is wrong. More fat."),
]


@pytest.mark.parametrize("case", ADVICE, ids=lambda case: case.name)
def test_advice(case: Advice) -> None:
    advice = advise(case.painted, make_loop(**case.loop), "Dermis", case.tool, case.corners)
    assert advice.startswith(case.expected)


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({}, ""),
        ({"is_running": True}, "Updating the view ..."),
        (
            {"is_running": True, "activity": "Features of the view: 1 of 9 blocks"},
            "Features of the view: 1 of 9 blocks",
        ),
        ({"fit": None, "is_running": True, "done": 1, "total": 8}, "Features of the slide: 1 of 8 blocks"),
        ({"fit": None, "done": 8, "total": 8}, ""),
        ({"is_running": True, "done": 1200, "total": 8000}, "Map of the slide: 1,200 of 8,000 blocks"),
        ({"is_paused": True, "done": 1, "total": 8}, "Paused: map of 1 of 8 blocks; the view is still updated."),
        ({"is_running": True, "done": 8, "total": 8}, "Updating the map ..."),
        ({"done": 8, "total": 8}, "The map of the slide is complete."),
    ],
)
def test_progress(loop: dict[str, Any], expected: str) -> None:
    assert describe_progress(make_loop(**loop)) == expected


def test_accuracy_before_and_after_the_validation() -> None:
    assert [row.accessible_text for row in list_bars({"Fat": 3, "Dermis": 1}, None)] == [
        "Fat 3 strokes",
        "Dermis 1 stroke",
    ]
    rows = list_bars({}, VALIDATION)
    assert [row.accessible_text for row in rows] == [
        "Accuracy 0.85 (0.70–0.95)",
        "Fat 3 strokes, 80 cells",
        "Dermis 2 strokes, 40 cells",
        "Tumor 1 stroke, 1 cell",
    ]
    assert [row.value for row in rows] == [0.85, 0.9, 0.8, None]
    assert rows[1].tip == "Left-out cells of Fat are predicted as: Fat 90%, Dermis 10%"
    assert describe_confusions(VALIDATION) == "Dermis predicted as Fat: 20%; Fat predicted as Dermis: 10%"
    assert describe_confusions(replace(VALIDATION, accuracy=None)) == ""
    on_two = replace(VALIDATION, slides=Estimate(0.6, np.nan, np.nan, 1))
    assert list_bars({}, on_two)[1].accessible_text == "Other slides 0.60"


def test_another_scale_of_a_painted_slide_replaces_what_was_computed(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = SimpleNamespace(connect=lambda *_: None)
    monkeypatch.setattr(mapping, "follow", lambda *_: None)
    monkeypatch.setattr(mapping, "get_camera", lambda _: SimpleNamespace(events=SimpleNamespace(center=0, zoom=0)))
    monkeypatch.setattr(mapping, "get_visible_region", lambda *_: ViewRectangle(0, 0, 64, 64))
    monkeypatch.setattr(mapping, "run_job", lambda *_: SimpleNamespace(progressed=signal))
    strokes = tuple(Stroke(name, name, "brush", ((1.0, 1.0),), 4.0) for name in BOTH)

    def make_session(name: str) -> Any:
        slide = SimpleNamespace(
            identity=name,
            slide=None,
            size=(64, 64),
            info=SimpleNamespace(pixel_size=PixelSize(0.5, 0.5), is_rgb=True),
        )
        painted = SimpleNamespace(value=SimpleNamespace(strokes=strokes, classes=()))
        return SimpleNamespace(slide=slide, painted=painted, folder=Path(), displayed=SimpleNamespace(value=True))

    class Sessions(list[Any]):
        changed = signal

    shown, other = make_session("shown"), make_session("other")
    shown.displayed.changed, shown.services, shown.sessions = (
        signal,
        SimpleNamespace(viewer=None),
        Sessions([shown, other]),
    )
    parent = QObject()
    loop = PaintLoop(shown, FeatureCache(), parent)
    loop.update()
    known: Any = object()
    loop.fit = loop.assessment = known
    loop.update()
    assert loop.assessment is known, "nothing has changed"
    other.slide.info.pixel_size = PixelSize(0.25, 0.25)
    loop.update()
    assert (loop.fit, loop.assessment) == (None, None)
