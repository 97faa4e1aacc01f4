"""What happens in between: controls that still move, photographs that change, jobs that overlap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image
from napari.utils.notifications import notification_manager
from PIL import Image as PillowImage
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox, QSlider

from conftest import until, wait_until_idle
from napari_melanoma import worker
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.worker_client import WorkerClient

PATIENCE_MS = 60_000


def gradient(column=80):
    """Dark around a column and lighter outwards, so that each threshold gives another mask."""
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - column)
    return np.repeat(np.clip(2.5 * distance, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def two(person):
    """A user with two analyzed photographs; the mask of the second was edited, the first is in view."""
    person.opens("first", gradient())
    person.opens("second", gradient(90))
    person.clicks("analyse_all")
    person.waits()
    person.draws(person.layer("mask", "second"), [(5, 5), (5, 60)])
    person.waits()
    person.dock.picker.step(-1)
    assert person.dock.picker.session.image.name == "first"
    return person


def test_pending_options_apply_to_their_photograph(two, qtbot):
    first = two.dock.picker.identity
    area = (two.layer("mask", "first").data != 0).sum()
    drawn = two.layer("mask", "second").data.copy()
    two.finds(QSlider, "threshold_slider").setValue(90)
    two.dock.picker.step(1)
    qtbot.wait(400)
    two.waits()
    assert np.array_equal(two.layer("mask", "second").data, drawn)
    assert two.lesion.corrected
    assert two.lesion.unsaved
    assert list(recovery.recovery_root().glob("*/drawn.npz"))
    assert (two.layer("mask", "first").data != 0).sum() < area
    # So do those of the ROI.
    two.dock.picker.step(-1)
    two.finds(QDoubleSpinBox, "margin").setValue(50)
    two.dock.picker.step(1)
    qtbot.wait(400)
    two.waits()
    assert two.dock.sessions.find(first).lesion.result.options.roi.margin == 0.5
    assert two.lesion.result.options.roi.margin == 0.1


def coloured(rgb, kind):
    """The same colors as another program may hand them over, and as the file reader would give them."""
    if kind == "float 0 to 255":
        return rgb.astype(np.float32)
    if kind == "transparent":
        alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
        alpha[:30] = 0
        return np.concatenate([rgb, alpha], axis=2)
    return rgb.astype(np.uint16) * 257 + 120


@pytest.mark.parametrize("kind", ["float 0 to 255", "transparent", "16 bit"])
def test_pixels_of_a_layer_are_read_as_those_of_a_file(kind):
    rgb = gradient()
    image = Image(coloured(rgb, kind), rgb=True)
    expected = rgb.copy()
    if kind == "transparent":
        expected[:30] = 255
    assert np.array_equal(LayerPhotographSource.from_layer(image).read().rgb, expected)


def test_pixels_that_are_not_colors_are_reported(person):
    person.opens("counts", gradient().astype(np.int32))
    person.clicks("primary")
    person.waits()
    message = notification_manager.records[-1].message
    assert "'counts' has 32-bit signed integer samples, but a photograph must have 8 or 16 bits" in message
    assert len(person.viewer.layers) == 1


def test_a_ruler_keeps_the_pixel_aspect(person):
    image = person.opens(scale=(100.0, 50.0), units=("um", "um"), translate=(1000.0, 500.0))
    person.analyses()
    area = person.lesion.result.measurements["area_mm2"]
    person.clicks("ruler")
    ruler = person.layer("ruler")
    for end in ((10.0, 110.0), (110.0, 10.0), (70.0, 90.0)):
        ruler.data = []
        ruler.add_lines(np.array([(10.0, 10.0), end]))
        agreed = np.hypot(0.1 * (end[0] - 10), 0.05 * (end[1] - 10))
        person.finds(QDoubleSpinBox, "ruler_length").setValue(agreed)
        person.finds(QAbstractButton, "ruler_set").click()
        person.waits()
        assert person.lesion.result.measurements["area_mm2"] == pytest.approx(area, rel=1e-3)
        assert np.allclose(image.translate, (1000, 500), rtol=1e-3)
        assert "100 x 50 µm per pixel" in person.dock.status.text


def test_a_scale_moves_each_axis_by_its_own_factor(person):
    image = person.opens(translate=(10.0, 20.0))
    person.analyses()
    photographs.set_pixel_size(person.viewer, image, PixelSize(100.0, 50.0))
    person.waits()
    for layer in person.viewer.layers:
        assert np.allclose(layer.scale, (100, 50)), layer.name
        assert np.allclose(layer.translate, (1000, 1000)), layer.name


def test_a_finished_analysis_keeps_the_active_brush(person):
    for name in ("first", "second"):
        person.opens(name)
    person.analyses()
    person.dock.picker.step(1)
    person.dock.model.model = "slow-0.5"
    person.clicks("primary")
    person.dock.picker.step(1)
    person.clicks("paint")
    person.waits()
    active = person.viewer.layers.selection.active
    assert active == person.layer("mask", "second")
    assert active.mode == "paint"
    assert list(person.viewer.layers.selection) == [active]
    assert person.dock.picker.session.image.name == "second"
    assert not person.layer("mask", "first").visible


def test_analyze_all_selects_only_the_mask_in_view(person):
    for name in ("first", "second", "third"):
        person.opens(name)
    moves = []
    selected = person.viewer.layers.selection.events.active
    note = selected.connect(lambda event: moves.append(event.value))
    person.clicks("analyse_all")
    person.waits()
    selected.disconnect(note)
    assert {layer.name for layer in moves if layer is not None} == {"third mask"}


def files(folder, *names):
    """Photographs on disk, each of other pixels."""
    for number, name in enumerate(names):
        PillowImage.fromarray(gradient(80 + number)).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in names]


def test_cancel_remains_available_during_other_tasks(person, qtbot, tmp_path, monkeypatch):
    person.opens()
    person.dock.model.model = "slow-60"
    person.clicks("primary")
    until(qtbot, lambda: "Finding the lesion" in person.dock.status.text)
    person.dock.opener.open(files(tmp_path, "arm"))
    wait_until_idle(qtbot, person.dock.opener)
    cancel = person.finds(QAbstractButton, "cancel")
    until(qtbot, lambda: cancel.isVisibleTo(person.dock))
    assert "Finding the lesion" in person.dock.status.text
    cancel.click()
    person.waits()
    assert "Canceled" in person.dock.status.text
    assert not cancel.isVisibleTo(person.dock)

    # It works where a file cannot be removed yet.
    def unlink(path, missing_ok=False):
        raise PermissionError(f"{path} is used by another process")

    person.clicks("primary")
    until(qtbot, lambda: "Finding the lesion" in person.dock.status.text)
    monkeypatch.setattr(Path, "unlink", unlink)
    person.clicks("cancel")
    person.waits()
    assert "Canceled" in person.dock.status.text
    assert person.dock.analyze_button.isEnabled()


def test_photographs_dropped_while_others_open_are_opened_too(person, tmp_path):
    person.dock.opener.open(files(tmp_path, *(f"photo {number}" for number in range(20))))
    person.finds(QAbstractButton, "cancel").click()  # opening can be cancelled
    person.waits()
    assert len(person.viewer.layers) == 0
    assert person.dock.status.text == ""
    one, two, three = files(tmp_path, "one", "two", "three")
    counts = []
    person.dock.opener.finished.connect(counts.append)
    person.dock.welcome.dropped.emit([one, two])
    person.dock.welcome.dropped.emit([three])
    assert "Opening" in person.dock.status.text
    person.waits()
    assert [layer.name for layer in person.viewer.layers] == ["one", "two", "three"]
    assert counts == [3]
    assert person.dock.status.text == ""


def test_the_worker_ignores_modules_in_the_current_folder(home, nothing_left, qtbot, monkeypatch):
    (home / "pickle.py").write_text("raise SystemExit('this is not the pickle of Python')")
    monkeypatch.chdir(home)
    client = WorkerClient()
    errors = []
    client.request(worker.prepare_segmenter, "no such model").failed.connect(errors.append)
    until(qtbot, lambda: len(errors) == 1)
    client.close()
    client.deleteLater()
    assert isinstance(errors[0], BundleError)


OPENING = """
import sys, napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=False)
before = set(sys.modules)
from napari_melanoma.ui.lesion import dock as lesion
from napari_melanoma.ui.worker_client import WorkerClient
lesion.PRELOAD_DELAY_MS = 10**8
client = WorkerClient([sys.executable, sys.argv[1]])
viewer.window.add_dock_widget(lesion.LesionDock(viewer, client), name="Lesion")
QApplication.processEvents()
print(*sorted(set(sys.modules) - before))
client.close()
viewer.close()
"""


def test_opening_the_dock_imports_no_slow_modules(home):
    """Counts imports and not seconds, which belong to the machine."""
    command = [sys.executable, "-c", OPENING, str(Path(__file__).parents[1] / "fake_worker.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    imported = done.stdout.split()
    assert "napari_melanoma.ui.lesion.dock" in imported
    heavy = (
        "napari_melanoma.figures",
        "torch",
        "skimage",
        "scipy.ndimage",
        "pandas",
        "matplotlib",
        "sklearn",
        "pydicom",
        "imagecodecs",
    )
    assert [name for name in imported if name.startswith(heavy)] == []


@pytest.mark.both_qts
def test_settings_are_kept_in_a_file_of_the_user(home):
    DockSettings().ruler_mm = 25
    kept = list((home / "settings").rglob("*.ini"))
    assert len(kept) == 1
    assert DockSettings().ruler_mm == 25


def test_icons_follow_the_theme(person):
    def darkness():
        picture = person.finds(QAbstractButton, "paint").icon().pixmap(72, 72).toImage()
        inks = [picture.pixelColor(x, y) for x in range(72) for y in range(72)]
        return np.mean([ink.lightness() for ink in inks if ink.alpha() > 100])

    person.opens("mole", gradient())
    person.viewer.theme = "dark"
    on_dark = darkness()
    person.viewer.theme = "light"
    assert on_dark > darkness() + 50


def test_a_threshold_set_around_an_analysis_is_kept_and_is_not_a_correction(person, qtbot, tmp_path):
    DockSettings().folder = tmp_path
    person.opens("mole", gradient())
    person.dock.model.model = "slow-1"
    slider = person.finds(QSlider, "threshold_slider")
    # It is set during the first analysis, a moment before the next, and meanwhile.
    for position, is_before in ((90, False), (80, True), (70, False)):
        if is_before:
            slider.setValue(position)
        person.clicks("primary")
        if not is_before:
            until(qtbot, lambda: "Finding the lesion" in person.dock.status.text)
            slider.setValue(position)
        person.waits()
        assert "analyzed in" in person.dock.status.text
        assert person.lesion.result.model.name == "slow-1"
        assert person.lesion.result.threshold == position / 100
        assert np.array_equal(person.mask, person.lesion.result.mask)
        assert not person.lesion.corrected
    # Saving uses one that is pending.
    slider.setValue(90)
    person.clicks("save")
    person.waits()
    about = json.loads((person.dock.picker.session.saved.folder / "result.json").read_text(encoding="utf-8"))
    assert about["threshold"] == 0.9
    assert about["measurements"]["area_px"] == person.mask.sum()


def test_redrawing_keeps_a_stroke_that_is_drawn_before_its_turn(person):
    person.opens("mole", gradient())
    person.analyses()
    person.clicks("inside")
    person.draws(person.layer("scribbles"), [(60, 70), (60, 90)], label=1, brush=5)
    person.waits()
    person.clicks("apply")
    person.draws(person.layer("mask"), [(5, 5), (5, 60)])
    drawn = person.mask[5, 5:60].copy()
    assert drawn.all()
    person.waits()
    assert np.array_equal(person.mask[5, 5:60], drawn)
