"""Places where the map of a trained network differs: thumbnails that lead there, and are painted with a key."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import SIDE, draw_slide
from qtpy.QtCore import Qt
from slide_fixtures import PAINT_SECTION, UNSEEN

from napari_melanoma.core.run_folder import RunState
from napari_melanoma.evaluation.comparison import ComparedModel, Comparison
from napari_melanoma.evaluation.map_difference import FACT, ClassDifference, DifferentPlace, MapDifference
from napari_melanoma.io.results import write_rgb
from napari_melanoma.runs import launching
from napari_melanoma.runs.launching import RunReport
from napari_melanoma.runs.stroke_training import DATA_SET
from napari_melanoma.slides.tissue_classifier.unpainted_tiles import UNPAINTED
from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.paint import section
from napari_melanoma.ui.sections.paint.different_places import NOT_OPEN
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
CENTERS = ((SIDE / 4 + 8.0, SIDE / 4 + 8.0), (SIDE / 2 + 8.0, SIDE / 4 + 8.0), (24.0, 24.0))
MODEL = ComparedModel("n", "", 0.5, {})


@pytest.fixture(autouse=True)
def installed(user, monkeypatch):
    """Host the Paint section alone, whatever is installed; the user has not expanded or collapsed it."""
    DockSettings()._store.remove(f"sections/{PAINT_SECTION}")
    monkeypatch.setattr(host, "find_sections", lambda _: {"Paint": section.PaintSection})


def opened(person):
    return person.dock.sections.hosted.sections["Paint"].section._controller


def is_open(person, name):
    hosted = person.dock.sections.hosted.sections.get("Paint")
    slide = person.dock.slide
    return hosted is not None and hosted.widget is not None and slide is not None and slide.info.name == name


@pytest.fixture
def compared(person, tmp_path, monkeypatch):
    """User of two slides whose network was trained, and differs at a position of each and of a slide not open."""
    for name, tint in (("other", 9), ("section", 0)):
        person.opens_slides(draw_slide(tmp_path / f"{name}.tif", tint=tint))
        person.until(lambda name=name: is_open(person, name))
    fingerprints = {one.slide.info.name: one.slide.info.fingerprint for one in opened(person)._session.sessions}
    slides = (fingerprints["section"], fingerprints["other"], "unknown")
    places = tuple(
        DifferentPlace("slide-01-01", slide, center, 12, "Dermis", "Tumor")
        for slide, center in zip(slides, CENTERS, strict=True)
    )
    run = tmp_path / "run"
    write_rgb_tile(run)
    difference = MapDifference(400, 0.2, (ClassDifference("Dermis", 300, 0.27, "Tumor"),), places)
    facts = {FACT: difference.to_json()}
    text = f"Balanced accuracy 0.95 against 0.87. {difference.describe()}"
    comparison = Comparison(MODEL, MODEL, {}, (), (), (), "inconclusive", text, 1, 1, facts=facts, task="cells")
    report = RunReport(run, RunState.finished, "Done.", comparison=comparison)
    monkeypatch.setattr(launching, "read_run", lambda path: report)
    trainer = opened(person)._trainer
    trainer._follow(run)
    person.until(lambda: len(trainer._panel.places.cells) == len(places))
    return person


def write_rgb_tile(run):
    (run / DATA_SET / UNPAINTED).mkdir(parents=True)
    ramp = np.linspace(80, 220, 448, dtype=np.uint8)
    rgb = np.stack([np.tile(ramp, (448, 1)), np.tile(ramp[:, None], (1, 448)), np.full((448, 448), 170, np.uint8)], -1)
    write_rgb(run / DATA_SET / UNPAINTED / "slide-01-01.png", rgb)


def test_thumbnails_lead_to_the_places_of_all_open_slides(compared):
    person = compared
    assert "The maps differ widely: 27% of 'Dermis' become mostly 'Tumor'." in person.label_text("paint_network_text")
    panel = opened(person)._trainer._panel
    assert panel.use_button.isVisibleTo(panel)
    assert [cell.text for cell in panel.places.cells] == ["Dermis\n→ Tumor"] * 3
    assert all(cell.image is not None for cell in panel.places.cells)
    person.qtbot.mouseClick(panel.places.buttons[0], Qt.MouseButton.LeftButton)
    assert person.sees(CENTERS[0])
    person.qtbot.keyClick(panel.places.buttons[0], Qt.Key.Key_Return)
    stroke = opened(person)._session.painted.value.strokes[-1]
    assert (stroke.class_name, stroke.points) == ("Dermis", (CENTERS[0],))
    person.qtbot.keyClick(panel.places.buttons[0], Qt.Key.Key_5)
    assert opened(person)._session.painted.value.strokes[-1].class_name == "Tumor"

    person.qtbot.mouseClick(panel.places.buttons[2], Qt.MouseButton.LeftButton)
    assert person.dock.status.text == NOT_OPEN
    person.qtbot.mouseClick(panel.places.buttons[1], Qt.MouseButton.LeftButton)
    person.until(lambda: is_open(person, "other"))
    person.waits()
    assert person.sees(CENTERS[1])
    assert not opened(person)._session.painted.value.strokes
