"""A model that was painted and saved in the dock gives the same result in the dock, on the command line, in cohorts,
through the API, and in the reports.
"""

from __future__ import annotations

import json
import re
from itertools import count
from uuid import UUID

import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from painted_phantoms import CELL_PX, PURE, draw_phantom
from pypdf import PdfReader
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QDialog, QListWidget
from slide_fixtures import FIXTURES, PAINT_SECTION
from typer.testing import CliRunner

import napari_melanoma as nm
from conftest import wait_until_idle
from napari_melanoma.cli import app
from napari_melanoma.io.results import read_table
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.reports.slide import AREA_UNITS
from napari_melanoma.slides.class_regions import describe_class_areas
from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.depth.section import DepthSection
from napari_melanoma.ui.sections.paint import section
from napari_melanoma.ui.sections.slide_prediction import SlidePredictionSection
from napari_melanoma.ui.widgets.settings import DockSettings

pytestmark = pytest.mark.slow  # paints, saves a model and analyzes a slide five times: 60 s
user, person = pytest.fixture(FIXTURES[0]), pytest.fixture(FIXTURES[3])
# Painted classes, and those of the phantom
PAINTED = {"Dermis": "dermis", "Epidermis": "epidermis", "Tumor": "tumor", "Background": "glass"}
STROKES = 5  # of each class
DEPTH_FIELDS = ("breslow_mm", "breslow_interval_mm", "t_category")


@pytest.fixture
def painting(user, person, monkeypatch, tmp_path):
    """User with a phantom, which is a slide of a case, in the Paint section."""
    DockSettings()._store.remove(f"sections/{PAINT_SECTION}")
    hosted = {"Paint": section.PaintSection, "Prediction": SlidePredictionSection, "Depth": DepthSection}
    monkeypatch.setattr(host, "find_sections", lambda base: hosted if base is SlideSection else {})
    numbers = count()
    monkeypatch.setattr(section, "uuid4", lambda: UUID(int=next(numbers)))  # cells are divided by the ids of strokes
    monkeypatch.chdir(tmp_path)
    (tmp_path / "P-0042").mkdir()
    person.phantom = draw_phantom(tmp_path / "P-0042" / "back_left_1_slide.tif")
    person.opens_slides(person.phantom.path)
    person.until(lambda: paint_section(person) is not None)
    person.mouse = CanvasMouse(person)
    return person


def paint_section(person):
    hosted = person.dock.sections.hosted.sections.get("Paint")
    return None if hosted is None else hosted.widget


def paint_cells(person):
    """Click cells of each class with the mouse."""
    controller = paint_section(person)
    names = [one.name for one in controller.view.class_list.classes]
    person.clicks("paint_cells")
    for label, (name, true) in enumerate(PAINTED.items()):
        index = ("glass", "dermis", "epidermis", "tumor").index(true)
        pure = np.argwhere(person.phantom.truth[..., index] >= PURE)
        controller.view.class_list.select_class(names.index(name) + 1)
        for cell in np.random.default_rng(label).permutation(pure)[:STROKES]:
            before = len(controller.session.painted.value.strokes)
            person.mouse.drags(tuple(CELL_PX * (cell + 0.4)), tuple(CELL_PX * (cell + 0.6)))
            person.until(lambda before=before: len(controller.session.painted.value.strokes) == before + 1)
    person.waits()


def save_model(person):
    """Press *Save as model*, and accept the roles; return the name."""
    person.clicks("paint_save")
    windows = QApplication.topLevelWidgets()
    dialog = next(one for one in windows if one.objectName() == "paint_model_dialog" and one.isVisible())
    assert dialog.roles == {"tumor": "Tumor", "epidermis": "Epidermis", "background": "Background", "nevus": ""}
    person.qtbot.mouseClick(dialog.save_button, Qt.MouseButton.LeftButton)
    person.until(person.finds(QAbstractButton, "paint_apply").isEnabled)
    person.waits()
    return paint_section(person)._memory.model.value


def read_map(folder):
    return np.asarray(SlideResult.open(folder).array("map")[:])


def run_command(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def measure_shown(person):
    """Return the area of each class on the map of the section, in the blocks that an analysis predicts."""
    controller = paint_section(person)
    return controller.map.measure_areas(controller.loop.tissue, person.session.slide.size)


def check_report(html, pdf, content):
    """Compare the numbers in both files with those of the analysis."""
    pages = " ".join(" ".join(page.extract_text().split()) for page in PdfReader(pdf).pages)
    text = " ".join(re.sub(r"<[^>]+>", " ", html.read_text(encoding="utf-8")).split())
    sentence = describe_class_areas(content["areas"])
    for shown in (text, pages):
        assert sentence[1:] in shown
        table = shown[shown.index(" ".join(("Class", *AREA_UNITS.values()))) :]
        for name, area in content["areas"].items():
            found = re.search(rf"{name} ([\d.]+) ([\d.]+) ", table)
            assert found is not None, name
            assert float(found[1]) == pytest.approx(area["mm2"], rel=5e-3)
            assert float(found[2]) == pytest.approx(area["percent"], rel=5e-3)
        assert f"{content['breslow_mm']:.2f} mm" in shown
        assert "uggestion from a painted classifier, not measured by a reader" in shown


def test_a_painted_model_gives_the_same_result_everywhere(painting, tmp_path):
    person, slide = painting, painting.phantom.path
    paint_cells(person)
    model = save_model(person)
    shown = measure_shown(person)
    person.clicks("paint_apply")
    person.until(lambda: bool(person.session.results.value.content))
    person.waits()
    folder = person.dock.result_location.folder
    content, expected = json.loads((folder / "result.json").read_text()), read_map(folder)
    assert set(content["areas"]) == set(PAINTED)
    assert content["breslow_mm"] > 0
    assert content["validity"]["valid"]
    assert describe_class_areas(content["areas"])[1:] in person.label_text("slide_answer")
    assert shown == pytest.approx({name: area["mm2"] for name, area in content["areas"].items()}), (
        "the map of the section has the areas of the analysis"
    )

    person.dock.depth_section.expand()
    person.waits()
    lines = person.finds(QListWidget, "depth_lines")
    assert f"{content['breslow_mm']:.2f} mm" in lines.item(0).text()

    run_command("tissue", "apply", slide, "--model", model, "--out", "applied")
    run_command("slide", slide.parent, "--model", model, "--out", "cohort", "--processes", "2")
    nm.analyze_slide(slide, tmp_path / "api" / folder.name, model)
    for route in ("applied", "cohort", "api"):
        result = tmp_path / route / folder.name
        np.testing.assert_array_equal(read_map(result), expected, err_msg=route)
        other = json.loads((result / "result.json").read_text())
        for field in ("areas", "depth", "lesions", *DEPTH_FIELDS):
            assert other[field] == content[field], (route, field)
        assert nm.measure_breslow(result).mm == content["breslow_mm"]
    [row] = read_table(tmp_path / "cohort" / "slides.csv")
    assert float(row["breslow_mm"]) == pytest.approx(content["breslow_mm"])

    _, case = person.viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    case.drops.dropped.emit([slide.parent])
    wait_until_idle(person.qtbot)
    person.qtbot.mouseClick(case.findChild(QAbstractButton, "case_report"), Qt.MouseButton.LeftButton)
    wait_until_idle(person.qtbot)
    dialog = case.window().findChild(QDialog, "report_dialog")
    case.report_writer.write(dialog.options._replace(pdf=True), tmp_path / "case.html")
    dialog.reject()
    wait_until_idle(person.qtbot)
    check_report(tmp_path / "case.html", tmp_path / "case.pdf", content)
