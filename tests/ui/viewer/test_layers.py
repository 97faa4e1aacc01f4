"""Layers: units and scale bars, outlines, exact overviews, and memory that is freed."""

from __future__ import annotations

import gc
import threading
import weakref

import napari.utils.notifications
import numpy as np
import pydicom
import pytest
import slide_fixtures
import tifffile
from napari.utils.notifications import notification_manager
from patience import PATIENCE_MS
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from qtpy.QtCore import QObject
from qtpy.QtGui import QOpenGLContext
from qtpy.QtWidgets import QDockWidget
from slide_fixtures import Pathologist
from vispy.gloo.glir import GlirProgram

from conftest import wait_until_idle
from napari_melanoma.core.collector import paused_collector
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.slides.reading import tiled
from napari_melanoma.ui.launch import show_slide
from napari_melanoma.ui.viewer import photographs, slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.garbage import LibraryFreeze, free_in_own_context
from napari_melanoma.ui.viewer.layers import show_box, show_contours, show_heatmap
from napari_melanoma.ui.viewer.photographs import find_layer, get_pixel_size, identify_photographs
from napari_melanoma.ui.viewer.slide_layers import LayerRefresher
from napari_melanoma.ui.widgets.signals import Connections

user = pytest.fixture(slide_fixtures.UNSEEN[0])
WORDS = "units"  # of napari's "Inconsistent units across layers; units will not be used for rendering."


def outline(size: float) -> np.ndarray:
    """A closed square, float32 (point, 2)."""
    return np.array([[0, 0], [0, size], [size, size], [size, 0], [0, 0]], np.float32)


@pytest.fixture
def photograph(viewer):
    image = viewer.add_image(np.zeros((100, 200, 3), np.uint8), name="one", rgb=True)
    identify_photographs(viewer)
    return image


@pytest.mark.parametrize("sizes", [(20, 30), ()], ids=["more outlines", "none"])
def test_changed_outlines_keep_their_style(viewer, photograph, sizes):
    show_contours(viewer, photograph, [outline(10)])
    layer = find_layer(viewer, photograph, "contour")
    width, color = layer.edge_width[0], layer.edge_color[0]
    show_contours(viewer, photograph, [outline(size) for size in sizes])
    assert [shown.tolist() for shown in layer.data] == [outline(size).tolist() for size in sizes]
    assert layer.shape_type == ["path"] * len(sizes)
    assert layer.edge_width == [width] * len(sizes)
    assert np.array_equal(layer.edge_color, [color] * len(sizes)) or not sizes
    assert not layer.editable


def test_a_heatmap_does_not_widen_the_layer_controls(viewer, qtbot):
    """As the name of its colormap would, if it were longer than those of napari."""
    image = viewer.add_image(np.zeros((10, 20, 3), np.uint8), name="one", rgb=True)
    viewer.add_image(np.ones((10, 20)), name="other")
    identify_photographs(viewer)
    controls = viewer.window._qt_window.findChild(QDockWidget, "layer controls")
    qtbot.wait(20)
    width = controls.minimumSizeHint().width()
    show_heatmap(viewer, image, np.zeros((10, 20), np.float32), 0.5)
    viewer.add_image(np.ones((10, 20)), colormap=make_transparent_colormap("inferno"))
    qtbot.wait(20)
    assert controls.minimumSizeHint().width() == width


@pytest.mark.parametrize(
    "position",
    [
        {"rotate": 200, "scale": (0.1, 0.1)},
        {"affine": np.array([[0, 2, 5], [-2, 0, 7], [0, 0, 1]], float)},
        {"shear": [0.5]},
    ],
    ids=lambda position: " ".join(position),
)
def test_selecting_a_box_scrolls_to_it_and_outlines_match_the_photograph(viewer, position):
    image = viewer.add_image(np.zeros((100, 200, 3), np.uint8), name="one", rgb=True, **position)
    identify_photographs(viewer)
    show_contours(viewer, image, [outline(10)])
    contour = find_layer(viewer, image, "contour")
    assert contour.data_to_world((10, 10)) == pytest.approx(image.data_to_world((10, 10)))
    show_box(viewer, image, Box(20, 30, 40, 60))
    corners = np.array(
        [image.data_to_world(corner) for corner in ((19.5, 29.5), (19.5, 89.5), (59.5, 29.5), (59.5, 89.5))]
    )
    camera = get_camera(viewer)
    assert tuple(camera.center[-2:]) == pytest.approx(image.data_to_world((39.5, 59.5)))
    shown = np.array(viewer.canvas.size) / camera.zoom
    extent = corners.max(0) - corners.min(0)
    assert (shown > 1.9 * extent).all()
    assert (shown < 2.1 * extent).any()


def slide_file(path, um):
    pixels = np.full((512, 512, 3), (215, 150, 190), np.uint8)
    scale = {} if um is None else {"resolution": (10_000 / um,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", metadata=None, **scale)
    return path


def photograph_file(path):
    Image.fromarray(np.full((120, 160, 3), 180, np.uint8)).save(path)
    return path


def dicom_file(path):
    """A photograph with pixels of 0.05 mm."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.PixelSpacing = "XC", [0.05, 0.05]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 120, 160, 3, 0
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.full((120, 160, 3), 180, np.uint8).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


@pytest.fixture
def docks(user, shared_client, viewer, qtbot):
    """A user with a hidden window in which all five docks are open."""
    yield from with_docks(viewer, qtbot)


def with_docks(viewer, qtbot):
    made = {name: show_dock(viewer, name) for name in ("Review", "Train", "Case", "Lesion", "Slide")}
    someone = Pathologist(viewer, made["Slide"], qtbot)
    someone.lesion_dock = made["Lesion"]
    notification_manager.records.clear()
    yield someone
    wait_until_idle(qtbot)


def warnings():
    return [record.message for record in notification_manager.records if WORDS in record.message.lower()]


def draw(viewer):
    """Let napari compare the units of the layers, as it does when it draws a layer that is new or has other units."""
    canvas = viewer.window._qt_viewer.canvas
    assert hasattr(canvas, "_needs_world_units_update"), "napari compares units in another way"
    canvas._needs_world_units_update = True  # a hidden viewer has no visuals that would set it
    canvas.on_draw()


def opens_photograph(someone, path):
    someone.lesion_dock.opener.open([path])
    wait_until_idle(someone.qtbot, someone.lesion_dock.opener)


def steps(someone, folder):
    """Steps of a session by name."""
    viewer = someone.viewer
    return {
        "slide with a scale": lambda: someone.opens_slides(slide_file(folder / "scaled.tif", 0.5)),
        "slide without": lambda: someone.opens_slides(slide_file(folder / "unscaled.tif", None)),
        "photograph without": lambda: opens_photograph(someone, photograph_file(folder / "mole.png")),
        "photograph with a ruler": lambda: measures(someone, photograph_file(folder / "measured.png")),
        "DICOM photograph": lambda: opens_photograph(someone, dicom_file(folder / "clinic.dcm")),
        "analysis": lambda: analyses(someone),
        "places on the slide": lambda: someone.dock.slide is None or someone.clicks("bookmark"),
        "points of the user": lambda: viewer.add_points(np.zeros((1, 2)), name="points"),
        "labels of another plugin": lambda: viewer.add_labels(np.zeros((20, 20), np.uint8), name="labels"),
        "a stack of another plugin": lambda: viewer.add_image(np.zeros((3, 20, 20), np.uint8), name="stack"),
    }


def measures(someone, path):
    opens_photograph(someone, path)
    photographs.set_pixel_size(someone.viewer, someone.viewer.layers[path.stem], PixelSize(20.0, 20.0))


def analyses(someone):
    if someone.lesion_dock.picker.session is not None:
        someone.lesion_dock.analyze_button.click()
        wait_until_idle(someone.qtbot, someone.lesion_dock)


def kinds(viewer):
    return {str(unit) for layer in viewer.layers for unit in layer.units[-2:]}


def test_a_mixed_session_gives_no_warning_and_no_wrong_scale_bar(docks, tmp_path):
    viewer = docks.viewer
    for name, step in steps(docks, tmp_path).items():
        step()
        docks.waits()
        draw(viewer)
        assert warnings() == [], name
        assert len(kinds(viewer)) == 1, name
    for name in ("points", "labels", "stack"):
        assert {str(unit) for unit in viewer.layers[name].units} == {"pixel"}  # layers of other plugins are not changed
        viewer.layers.remove(name)
    for picker in (docks.lesion_dock.picker, docks.dock.picker):
        for _ in range(picker.combo.count()):
            picker.step(1)
            draw(viewer)
            assert warnings() == []
            assert kinds(viewer) == {"micrometer"}
    sizes = {
        layer.name: get_pixel_size(layer) for layer in viewer.layers if layer.name in ("mole", "measured", "clinic")
    }
    assert sizes["mole"] is None
    assert (sizes["measured"].x_um, sizes["clinic"].x_um) == (20.0, 50.0)


def test_the_scale_bar_is_visible_only_if_it_is_valid(docks, tmp_path):
    viewer = docks.viewer
    docks.opens_slides(slide_file(tmp_path / "scaled.tif", 0.5), slide_file(tmp_path / "unscaled.tif", None))
    assert docks.dock.slide.info.name == "unscaled"
    assert not get_scale_bar(viewer).visible
    docks.dock.picker.step(1)
    assert get_scale_bar(viewer).visible
    get_scale_bar(viewer).visible = True
    docks.dock.picker.step(1)
    get_scale_bar(viewer).visible = True  # by napari's menu
    assert not get_scale_bar(viewer).visible
    docks.dock.picker.step(1)
    points = viewer.add_points(np.zeros((1, 2)))
    assert not get_scale_bar(viewer).visible
    viewer.layers.remove(points)
    assert get_scale_bar(viewer).visible
    slide_layers.set_pixel_size(viewer, docks.dock.slide, None)
    docks.dock.picker.step(1)
    slide_layers.set_pixel_size(viewer, docks.dock.slide, PixelSize(0.25, 0.25))
    assert get_scale_bar(viewer).visible
    draw(viewer)
    assert warnings() == []
    viewer.layers.clear()
    assert not get_scale_bar(viewer).visible  # it would state pixels
    docks.opens_slides(slide_file(tmp_path / "another.tif", 0.5))
    assert get_scale_bar(viewer).visible


def test_a_substitute_unit_is_not_a_scale_and_causes_no_new_measurement(docks, tmp_path):
    docks.opens_slides(slide_file(tmp_path / "unscaled.tif", None))
    opens_photograph(docks, photograph_file(tmp_path / "mole.png"))
    assert kinds(docks.viewer) == {"pixel"}  # nothing has a scale
    image, heard = docks.viewer.layers["mole"], []
    docks.lesion_dock.picker.scale_changed.connect(heard.append)
    docks.opens_slides(slide_file(tmp_path / "scaled.tif", 0.5))
    assert str(image.units[0]) == "micrometer"
    assert get_pixel_size(image) is None
    assert heard == []
    image.units = ("mm", "mm")  # set by the user
    assert get_pixel_size(image) == PixelSize(1000.0, 1000.0)
    assert len(heard) == 1
    photographs.set_pixel_size(docks.viewer, image, PixelSize(10.0, 10.0))
    docks.viewer.layers.remove("scaled")
    assert get_pixel_size(image).x_um == 10.0
    photographs.set_pixel_size(docks.viewer, image, None)
    assert get_pixel_size(image) is None
    assert str(image.units[0]) == "pixel"


@pytest.mark.filterwarnings("ignore:.*the file states no pixel size")
def test_images_opened_without_a_dock_give_no_warning(user, make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    notification_manager.records.clear()
    files = (
        slide_file(tmp_path / "scaled.tif", 0.5),
        photograph_file(tmp_path / "mole.png"),
        slide_file(tmp_path / "unscaled.tif", None),
        dicom_file(tmp_path / "clinic.dcm"),
        None,
    )
    for path in files:
        if path is None:
            viewer.open_sample("napari-melanoma", "melanoma")
        else:
            viewer.open(path, plugin="napari-melanoma")
        draw(viewer)
        assert warnings() == [], path
        assert len(kinds(viewer)) == 1, path
    assert kinds(viewer) == {"micrometer"}
    assert get_pixel_size(viewer.layers["mole"]) is None
    assert get_pixel_size(viewer.layers["clinic"]).x_um == 50.0


@pytest.fixture
def notifications(monkeypatch):
    """Collect notifications."""
    shown = []
    for kind in ("show_error", "show_warning"):
        monkeypatch.setattr(napari.utils.notifications, kind, lambda text, kind=kind: shown.append((kind, text)))
    return shown


@pytest.fixture
def flat_slide(tmp_path):
    """Write a flat slide of 1536 x 640 pixels without a scale."""
    rows, columns = np.mgrid[:1536, :640]
    image = np.stack([rows // 8, columns // 4, 255 - rows // 8], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", image, photometric="rgb", tile=(64, 64), compression="zlib", metadata=None)
    return tmp_path / "flat.tif"


def test_warnings_and_errors_are_notifications_and_a_given_pixel_size_is_used(
    viewer, flat_slide, tmp_path, notifications
) -> None:
    show_slide(viewer, flat_slide)
    (tmp_path / "bad.svs").write_bytes(b"no slide")
    assert show_slide(viewer, tmp_path / "bad.svs") == []
    assert [kind for kind, _ in notifications] == ["show_warning", "show_error"]
    assert "flat.tif: the file states no pixel size" in notifications[0][1]
    assert "bad.svs has an unknown format" in notifications[1][1]
    assert len(viewer.layers) == 1

    # The pixel size that is given scales the layer.
    viewer.layers.clear()
    notifications.clear()
    [layer] = show_slide(viewer, flat_slide, PixelSize(0.5, 0.5))
    assert layer in viewer.layers
    assert layer.scale.tolist() == [0.5, 0.5]
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    assert notifications == []


class Picture:
    """Record in which threads it was refreshed."""

    def __init__(self) -> None:
        self.threads = []
        self.data = None

    def refresh(self) -> None:
        self.threads.append(threading.current_thread())


def test_refresh_from_a_thread_runs_in_the_gui_thread(qtbot) -> None:
    kept, gone = Picture(), Picture()
    refresher = LayerRefresher([kept, gone])
    del gone
    thread = threading.Thread(target=refresher.request_refresh)
    thread.start()
    thread.join()
    assert kept.threads == []
    qtbot.waitUntil(lambda: kept.threads == [threading.main_thread()], timeout=PATIENCE_MS)


def test_approximate_overview_becomes_exact(make_napari_viewer, flat_slide, notifications, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(tiled, "ROUGH_PX", 64 * 64)
    monkeypatch.setattr(tiled, "ROUGH_DEPTH", 1)
    refreshed, draw = [], LayerRefresher._refresh_layers
    monkeypatch.setattr(LayerRefresher, "_refresh_layers", lambda self: refreshed.append(draw(self)))
    [layer] = show_slide(make_napari_viewer(), flat_slide)  # the layer's thumbnail is made of the coarsest level
    exact = layer.data[0][:, :].reshape(768, 2, 320, 2, 3).mean(axis=(1, 3))
    qtbot.waitUntil(lambda: bool(refreshed), timeout=PATIENCE_MS)
    assert np.abs(layer.data[1][:, :] - exact).max() <= 1
    shown = layer._slice.thumbnail.raw  # napari keeps the coarsest level as it was first read
    assert np.abs(shown - exact).max() <= 1


@pytest.fixture
def connections():
    made = Connections()
    yield made
    made.end()


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_frozen_layer_is_freed_when_it_is_removed(viewer, connections, thawed, qtbot):
    gone = [weakref.ref(viewer.add_image(np.zeros((8, 8)))) for _ in range(2)]
    dock = QObject()
    freeze = LibraryFreeze(dock, viewer, connections)
    freeze.freeze()
    viewer.layers.clear()
    assert gc.get_freeze_count() > 0  # the next removal is as fast
    qtbot.waitUntil(lambda: not any(layer() for layer in gone), timeout=PATIENCE_MS)
    assert gc.get_freeze_count() > 0


def opens(viewer, qtbot, name):
    """Open a dock; only a weak reference is kept."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", name)
    wait_until_idle(qtbot, dock)
    return weakref.ref(dock)


@pytest.mark.both_qts
def test_closed_docks_are_freed(viewer, shared_client, thawed, qtbot):
    docks = [opens(viewer, qtbot, name) for name in ("Lesion", "Slide")]
    for dock in docks:
        assert gc.get_freeze_count() > 0
        viewer.window.remove_dock_widget(dock())
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: gc.collect() >= 0 and [dock() for dock in docks] == [None, None], timeout=PATIENCE_MS)


def test_garbage_collection_resumes_after_an_error():
    @paused_collector()
    def load(run):
        assert not gc.isenabled()
        run.check()
        raise ImportError("no such library")

    with pytest.raises(ImportError, match="no such library"):
        load(RunContext())
    assert gc.isenabled()


@pytest.mark.slow
def test_shaders_of_a_removed_layer_are_deleted_in_the_context_of_their_canvas(shown_viewer, monkeypatch):
    free_in_own_context()
    canvas = shown_viewer.window._qt_viewer.canvas.native
    layer = shown_viewer.add_image(np.zeros((8, 8)))
    shown_viewer.screenshot(canvas_only=True, flash=False)
    contexts = []
    delete = GlirProgram.delete
    monkeypatch.setattr(
        GlirProgram, "delete", lambda one: (contexts.append(QOpenGLContext.currentContext()), delete(one))
    )
    canvas.doneCurrent()  # as if Qt had composed the window since
    shown_viewer.layers.remove(layer)
    assert contexts
    assert all(one == canvas.context() for one in contexts)
