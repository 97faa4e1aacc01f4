"""Paint tissue classes on a fluorescence slide: channels, limits, the map, and the model."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from canvas_mouse import CanvasMouse
from slide_fixtures import PAINT_SECTION, UNSEEN

from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, read_stroke_file
from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.paint import section
from napari_melanoma.ui.sections.paint.saving import list_painted_slides
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
pytestmark = pytest.mark.slow
NAMES, SIDE = ("CD8", "DAPI", "CK", "AF"), 1024
LEFT, RIGHT = (500, 300), (500, 700)  # nuclei; and the same with keratin


@pytest.fixture(autouse=True)
def installed(user, monkeypatch):
    """Host the Paint section alone, whatever is installed; the user has not expanded or collapsed it."""
    DockSettings()._store.remove(f"sections/{PAINT_SECTION}")
    monkeypatch.setattr(host, "find_sections", lambda _: {"Paint": section.PaintSection})


@pytest.fixture
def painting(person, tmp_path):
    random = np.random.default_rng(0)
    pixels = random.poisson(100, (len(NAMES), SIDE, SIDE)).astype(np.uint16)
    pixels[1, 128:-128, 128:-128] += random.poisson(400, (SIDE - 256, SIDE - 256)).astype(np.uint16)
    pixels[2, 128:-128, SIDE // 2 : -128] += 900
    sizes = {f"PhysicalSize{axis}": 1.0 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    metadata = {"axes": "CYX", "Channel": {"Name": list(NAMES)}, **sizes}
    path = tmp_path / "immune.ome.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(256, 256), metadata=metadata)
    person.opens_slides(path)
    person.until(lambda: opened(person) is not None)
    person.mouse = CanvasMouse(person)
    return person


def opened(person):
    hosted = person.dock.sections.hosted.sections.get("Paint")
    return None if hosted is None or hosted.widget is None else hosted.section._controller


def channels(person):
    return opened(person)._session.painted.value.channels


def paints(person, start, class_number):
    controller = opened(person)
    if controller._tool_name != "brush":
        person.clicks("paint_brush")
    controller.view.class_list.select_class(class_number)
    count = len(controller._session.painted.value.strokes)
    person.mouse.drags(start, (start[0] + 150, start[1] + 50))
    person.until(lambda: len(controller._session.painted.value.strokes) == count + 1)


def test_channels_are_chosen_painted_saved_and_applied(painting):
    person, view = painting, opened(painting).view
    assert view.channels.isVisibleTo(view)
    assert [one.currentText() for one in view.channels.lists] == ["DAPI", "CD8", "CK"]
    assert "DAPI " in person.label_text("paint_limits")
    paints(person, LEFT, 2)
    paints(person, RIGHT, 5)
    person.until(lambda: set(opened(person)._areas_mm2) == {"Dermis", "Tumor"})
    person.waits()

    # Without keratin, another choice makes another map; undo restores both.
    before = channels(person)
    view.channels.lists[2].setCurrentText("AF")
    assert [one.name for one in channels(person).channels] == ["DAPI", "CD8", "AF"]
    assert channels(person).channels[:2] == before.channels[:2]
    person.clicks("paint_undo")
    assert channels(person) == before
    assert view.channels.lists[2].currentText() == "CK"
    person.until(lambda: not opened(person)._loop.state.is_running)

    # The limits of the display become those of the channel.
    layer = person.dock.slide.layers[1]
    layer.contrast_limits = (120, 450)
    person.clicks("paint_display_limits")
    assert channels(person).channels[0].label == "DAPI=120:450"
    assert "DAPI 120–450" in person.label_text("paint_limits")
    person.until(lambda: not opened(person)._loop.state.is_running)
    person.waits()
    stored = read_stroke_file(person.dock.result_location.folder / STROKES)
    assert stored.channels == channels(person)

    part = opened(person)
    part._saver._start(list_painted_slides(part._session), None, part._options.current.fit, "immune", {})
    person.until(lambda: opened(person).model == "immune")
    tissue = find_bundle("immune").config.tissue
    assert tissue is not None
    assert tissue.channels == channels(person)
    person.dock.model_picker.refresh()
    person.dock.model_picker.model = "immune"
    assert person.dock.model_picker.reads_fluorescence
