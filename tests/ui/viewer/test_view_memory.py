"""The view of each image is fitted at first and restored later; Ctrl+0 fits the visible image."""

from __future__ import annotations

import numpy as np
import pytest
import slide_fixtures
import tifffile
from fake_slides import draw_slide
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QCheckBox
from slide_fixtures import Pathologist

from conftest import wait_until_idle
from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion
from napari_melanoma.slides.notes import SlideNotes, SlideView, write_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar, get_visible_region
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.viewer.view_memory import center_view, get_current_picture, show_photograph
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import DockSettings

user, launched, slide_path, person, analysed = map(pytest.fixture, slide_fixtures.UNSEEN)


def plain_slide(path, side, um):
    """A slide of one color that is tiled and has a scale, or none."""
    pixels = np.full((side, side, 3), (215, 150, 190), np.uint8)
    scale = {} if um is None else {"resolution": (10_000 / um,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", metadata=None, **scale)
    return path


def is_fitted(viewer):
    """Whether the picture in view fills most of the canvas, and no part of it lies outside."""
    [first, *_] = get_current_picture(viewer)
    low, high = np.asarray(first.extent.world)[:, -2:]
    now, size = get_camera(viewer), np.array(viewer.canvas.size)
    half = size / now.zoom / 2
    center = np.array(now.center[-2:])
    inside = (low >= center - half - 1e-6).all() and (high <= center + half + 1e-6).all()
    return bool(inside and ((high - low) / (2 * half)).max() > 0.8)


@pytest.fixture
def several(person, tmp_path):
    """A user who has opened slides of different sizes: 4 mm, 0.1 mm, and one without a scale."""
    sizes = {"large": (1024, 4.0), "small": (256, 0.4), "unscaled": (512, None)}
    person.paths = {name: plain_slide(tmp_path / f"{name}.tif", *size) for name, size in sizes.items()}
    for name, path in person.paths.items():
        person.opens_slides(path)
        assert person.dock.slide.info.name == name
        assert is_fitted(person.viewer), name
    return person


def test_a_slide_is_fitted_at_first_and_its_view_restored(shown_viewer, several):
    dock, viewer = several.dock, several.viewer
    left = {}
    for number in range(3):
        dock.picker.step(1)
        assert is_fitted(viewer)
        center_view(viewer, dock.slide, (60 + number, 70), 100 + number)
        left[dock.slide.identity] = (*get_camera(viewer).center[-2:], get_camera(viewer).zoom)
    for _ in range(3):
        dock.picker.step(1)
        now = (*get_camera(viewer).center[-2:], get_camera(viewer).zoom)
        assert now == pytest.approx(left[dock.slide.identity])

    # A slide that is rotated while a photograph is in view is restored at the same pixel.
    layer, center = dock.slide.layers[0], get_visible_region(viewer, dock.slide).center
    photograph = viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True, units=layer.units)
    show_photograph(viewer, photograph)
    assert not layer.visible
    several.clicks("rotate_right")
    dock.picker.combo.activated.emit(dock.picker.combo.currentIndex())
    assert layer.visible
    assert get_visible_region(viewer, dock.slide).center == pytest.approx(center)
    assert get_camera(viewer).zoom == pytest.approx(left[dock.slide.identity][-1])
    several.clicks("rotate_left")
    viewer.layers.remove(photograph)

    # Button and key bring the slide in view.
    dock.picker.step(-1)
    assert dock.slide.info.name == "small"
    center_view(viewer, dock.slide, (10, 10), 50)
    several.clicks("fit_slide")
    assert is_fitted(viewer)
    center_view(viewer, dock.slide, (10, 10), 50)
    window = viewer.window._qt_window
    window.activateWindow()
    several.until(lambda: QApplication.activeWindow() is window)
    several.qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_0, Qt.KeyboardModifier.ControlModifier)
    several.until(lambda: is_fitted(viewer))

    # A slide that is dropped again is shown and not added again.
    several.opens_slides(several.paths["large"])
    assert dock.slide.info.name == "large"
    assert dock.slide.layers[0].visible
    assert len(viewer.layers) == 3


def test_a_photograph_that_napari_has_fitted_is_fitted_again_after_a_slide(
    shown_viewer, shared_client, qtbot, tmp_path
):
    viewer = shown_viewer
    viewer.add_image(np.zeros((120, 160, 3), np.uint8), rgb=True, name="mole")  # before a dock narrows the canvas
    docks = [viewer.window.add_plugin_dock_widget("napari-melanoma", name)[1] for name in ("Lesion", "Slide")]
    lesion, slide = docks
    wait_until_idle(qtbot, *docks)
    slide.show_file(plain_slide(tmp_path / "large.tif", 1024, 4.0))
    wait_until_idle(qtbot, *docks)
    assert get_current_picture(viewer)[0].name == "large"
    lesion.hidden_notice.linkActivated.emit("show")
    assert get_current_picture(viewer)[0].name == "mole"
    assert is_fitted(viewer)


@pytest.mark.parametrize("stored", [None, SlideView(60.0, 50.0, 40.0)])
def test_of_several_images_opened_before_a_dock_the_one_in_view_is_fitted_or_its_stored_view_restored(
    user, make_napari_viewer, tmp_path, qtbot, stored
):
    viewer = make_napari_viewer(show=True)
    paths = [plain_slide(tmp_path / f"{side}.tif", side, um) for side, um in ((1024, 0.5), (256, 0.4))]
    for path in paths:
        folder = slide_folder(DockSettings().slide_results, path)
        write_notes(folder, SlideNotes(slide_fingerprint(path), view=stored))
        viewer.open(path, plugin="napari-melanoma")
    viewer.reset_view()
    assert not is_fitted(viewer)
    dock = show_dock(viewer, "Slide")
    wait_until_idle(qtbot)
    if stored is None:
        assert is_fitted(viewer)
    else:
        shown = get_visible_region(viewer, dock.slide)
        assert shown.center == pytest.approx((stored.row, stored.column))
        assert shown.width == pytest.approx(stored.width_px, rel=0.2)  # the dock makes the canvas narrower


def test_the_view_and_its_units_follow_visibility_and_removal_of_slides(several):
    viewer, dock = several.viewer, several.dock
    # A slide without a scale has no scale bar and no positions in mm.
    check = several.finds(QCheckBox, "scale_bar")
    assert dock.slide.info.name == "unscaled"
    assert (check.isEnabled(), check.isChecked()) == (False, False)
    dock.picker.step(1)
    check = several.finds(QCheckBox, "scale_bar")
    assert (check.isEnabled(), check.isChecked()) == (True, True)
    several.until(lambda: get_scale_bar(viewer).visible)

    dock.picker.step(-1)
    large, small, unscaled = (viewer.layers[name] for name in several.paths)
    assert unscaled.visible
    unscaled.visible = False
    large.visible = True
    assert is_fitted(viewer)
    small.visible = True  # beside another: nothing moves
    before = get_camera(viewer).zoom
    large.opacity = 0.5
    assert get_camera(viewer).zoom == before
    large.visible = small.visible = False
    unscaled.visible = True
    dock.picker.select_slide(list_slides(viewer)[-1].identity)
    viewer.layers.remove(unscaled)
    assert dock.slide is not None
    assert dock.slide.layers[0].visible
    assert is_fitted(viewer)


@pytest.fixture
def case(user, shared_client, shown_viewer, qtbot, tmp_path):
    """A user with a case of a photograph and two slides, one of which is labeled as a photograph."""
    from napari_melanoma.ui.case.controls import CaseControls

    dock = show_dock(shown_viewer, "Case")
    assert isinstance(dock, CaseControls)
    someone = Pathologist(shown_viewer, dock, qtbot)
    Image.fromarray(np.full((300, 400, 3), 180, np.uint8)).save(tmp_path / "mole.png")
    paths = {"mole": tmp_path / "mole.png", "section": draw_slide(tmp_path / "section.tif")}
    paths["mislabeled"] = plain_slide(tmp_path / "mislabeled.tif", 1024, 4.0)
    dock.controller.create(tmp_path / "case", Case())
    someone.until(lambda: dock.controller.case is not None)
    modalities = {"mole": "dermoscopic", "section": "wsi", "mislabeled": "dermoscopic"}
    images = [CaseImage(id="", path=path, modality=modalities[name]) for name, path in paths.items()]
    dock.controller.edit(add_images(add_lesion(dock.controller.case), images, "L1"), "images")
    found = {image.path: image.id for _, image in dock.controller.case.iterate_images()}
    someone.ids = {name: found[path] for name, path in paths.items()}
    yield someone
    for end in (lambda: None, shown_viewer.layers.clear):  # a window that is closed while saving waits for it
        end()
        someone.until(lambda: not dock.controller.saver.has_unsaved_changes and tasks.is_idle())
        qtbot.wait(500)
    wait_until_idle(qtbot)


def test_slides_of_a_case_open_the_slide_dock_and_are_fitted(case):
    case.dock.tree.opened.emit(case.ids["mole"])  # as a double click does
    case.until(lambda: "mole" in case.viewer.layers)
    case.waits()
    for number, name in enumerate(("section", "mislabeled"), start=1):
        case.dock.tree.opened.emit(case.ids[name])
        case.until(lambda number=number: len(list_slides(case.viewer)) == number)
        slide_dock = case.viewer.window._qt_window.findChild(SlideDock, "slide_dock")
        wait_until_idle(case.qtbot, slide_dock)
        assert not slide_dock.parentWidget().visibleRegion().isEmpty()
        assert slide_dock.slide.info.name == name
        assert is_fitted(case.viewer)
        assert not case.viewer.layers["mole"].visible
        seen = slide_dock.findChild(Overview, "overview")._view
        case.dock.tree.opened.emit(case.ids["mole"])  # and back
        case.until(lambda: case.viewer.layers["mole"].visible)
        case.waits()
        assert is_fitted(case.viewer)
        assert not slide_dock.slide.layers[0].visible
        assert slide_dock.findChild(Overview, "overview")._view == seen  # not where the photograph is seen
        case.dock.tree.opened.emit(case.ids[name])
        case.until(lambda dock=slide_dock: dock.slide.layers[0].visible)
        assert len(list_slides(case.viewer)) == number
        assert is_fitted(case.viewer)
