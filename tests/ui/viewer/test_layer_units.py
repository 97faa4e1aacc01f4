"""A session with all kinds of pictures brings no warning of napari about units, and a scale bar that is always true."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import slide_fixtures
import tifffile
from napari.utils.notifications import notification_manager
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from slide_fixtures import Pathologist

from conftest import wait_until_idle
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui import sample_data
from napari_melanoma.ui.viewer import photographs, slide_layers
from napari_melanoma.ui.viewer.camera import get_scale_bar
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.photographs import get_pixel_size

user, launched, slide_path, person, analyzed = map(pytest.fixture, slide_fixtures.UNSEEN)
WORDS = "units"  # of napari's "Inconsistent units across layers; units will not be used for rendering."


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


@pytest.fixture
def shown_docks(user, shared_client, shown_viewer, qtbot):
    """A user with a window in which all five docks are open, and which is drawn after each event."""
    yield from with_docks(shown_viewer, qtbot)


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


def test_mixed_units_give_a_warning_without_a_dock(viewer):
    notification_manager.records.clear()
    viewer.add_points(np.zeros((1, 2)), units=("um", "um"))
    viewer.add_points(np.zeros((1, 2)))
    draw(viewer)
    assert warnings()  # one for each time that napari compares the units


def test_a_mixed_session_gives_no_warning_and_no_wrong_scale_bar(shown_docks, tmp_path):
    check_session(shown_docks, tmp_path, 1)


def test_a_mixed_session_in_reverse_gives_no_warning_and_no_wrong_scale_bar(docks, tmp_path):
    check_session(docks, tmp_path, -1)


def check_session(docks, tmp_path, order):
    viewer = docks.viewer
    for name, step in list(steps(docks, tmp_path).items())[::order]:
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
def test_images_opened_without_a_dock_give_no_warning(user, make_napari_viewer, tmp_path, monkeypatch):
    make = sample_data._make_layers
    monkeypatch.setattr(sample_data, "_make_layers", lambda name, values: make(name, values | {"size": (180, 240)}))
    viewer = make_napari_viewer()
    notification_manager.records.clear()
    files = (
        slide_file(tmp_path / "scaled.tif", 0.5),
        photograph_file(tmp_path / "mole.png"),
        slide_file(tmp_path / "unscaled.tif", None),
        dicom_file(tmp_path / "clinic.dcm"),
        None,
    )
    for order in (1, -1):
        viewer.layers.clear()
        for path in files[::order]:
            if path is None:
                viewer.open_sample("napari-melanoma", "dermoscopic")
            else:
                viewer.open(path, plugin="napari-melanoma")
            draw(viewer)
            assert warnings() == [], (order, path)
            assert len(kinds(viewer)) == 1, (order, path)
        assert kinds(viewer) == {"micrometer"}
        assert get_pixel_size(viewer.layers["mole"]) is None
        assert get_pixel_size(viewer.layers["clinic"]).x_um == 50.0
