"""Paint with an encoder from a file: select it, accept its license, see its map, save the model and apply it."""

from __future__ import annotations

import subprocess
import sys

import fake_encoder
import numpy as np
import pytest
from canvas_mouse import CanvasMouse
from qtpy.QtWidgets import QApplication, QFileDialog
from slide_fixtures import PAINT_SECTION, UNSEEN

from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.ui.sections import host
from napari_melanoma.ui.sections.paint import section
from napari_melanoma.ui.widgets.settings import DockSettings

from .test_painting import DARK, PALE, is_open, opened, paints, shown_map, strokes

pytestmark = pytest.mark.slow  # a process with torch is started
user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
NAME = "timm:test_vit"
# torch must not be imported in the process of the window
WRITE = """
import sys, timm, torch
from safetensors.torch import save_file
torch.manual_seed(0)
save_file(timm.create_model("test_vit", num_classes=0).state_dict(), sys.argv[1])
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    return path


@pytest.fixture
def painting(person, slide_path, user, monkeypatch):
    settings = DockSettings()
    settings._store.remove(f"sections/{PAINT_SECTION}")
    settings._store.remove("paint")
    monkeypatch.setattr(host, "find_sections", lambda _: {"Paint": section.PaintSection})
    person.opens_slides(slide_path)
    person.until(lambda: is_open(person))
    person.mouse = CanvasMouse(person)
    yield person
    settings._store.remove("paint")


def select(person, text):
    box = opened(person).view.options.features_box
    box.setCurrentText(text)
    box.activated.emit(box.currentIndex())


def window(name):
    return next((one for one in QApplication.topLevelWidgets() if one.objectName() == name and one.isVisible()), None)


def chooses(person, weights):
    """Choose the file, name the encoder and accept its license."""
    select(person, "encoder from a file ...")
    person.until(lambda: window("paint_encoder_file") is not None)
    dialog = window("paint_encoder_file")
    assert isinstance(dialog, QFileDialog)
    dialog.fileSelected.emit(str(weights))
    dialog.reject()
    person.until(lambda: window("paint_encoder_dialog") is not None)
    dialog = window("paint_encoder_dialog")
    assert "does not show which encoder" in dialog.warning_label.text()
    dialog.name_box.setEditText(NAME)
    assert "Accept the license" in dialog.warning_label.text()
    assert not dialog.use_button.isEnabled()
    dialog.accept_check.click()
    dialog.use_button.click()
    assert opened(person)._options.current.encoder.name == NAME


def test_the_map_of_an_encoder_is_that_of_an_analysis_with_the_saved_model(painting, weights, slide_path, tmp_path):
    person = painting
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    person.waits()
    chooses(person, weights)
    assert opened(person)._loop.fit is None, "that of other features is no longer shown as current"
    person.until(lambda: opened(person)._loop.state.is_fitted)
    person.waits()
    assert opened(person)._loop.options.source == NAME
    box = opened(person).view.options.smoothing_box
    box.setCurrentText("strong")
    box.activated.emit(box.currentIndex())
    person.waits()

    person.clicks("paint_save")
    window("paint_model_dialog").save_button.click()
    person.until(lambda: bool(opened(person).model))
    bundle = find_bundle(opened(person).model)
    assert (bundle.config.tissue.source, bundle.config.tissue.smoothing) == (NAME, 1.0)

    # Nothing but the name of the model is stated: the file is known on this computer.
    command = [sys.executable, "-m", "napari_melanoma", "tissue", "apply", slide_path, "--model", bundle.name]
    subprocess.run([*map(str, command), "--out", str(tmp_path / "out")], check=True)
    stored = np.asarray(SlideResult.open(next((tmp_path / "out").glob("*/result.zarr")).parent).array("map")[:])
    shown = opened(person)._map
    classes = [shown._names.index(name) + 1 for name in bundle.config.classes]
    tissue = stored.any(axis=0)
    assert tissue.any()
    np.testing.assert_array_equal(np.array(classes)[stored.argmax(axis=0)][tissue], shown.labels[tissue])


def test_an_encoder_that_stops_loses_nothing_painted(painting, weights):
    person = painting
    chooses(person, weights)
    process = opened(person)._stores.sources._process
    process._command = [sys.executable, "-c", "raise SystemExit('out of memory')"]
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    person.until(lambda: "The process of the encoder stopped unexpectedly" in person.dock.status.text)
    assert "paint or move the view to try again" in person.dock.status.text
    person.waits()
    assert len(strokes(person)) == 2
    assert not shown_map(person)
    process._command = [sys.executable, fake_encoder.__file__]
    paints(person, (PALE[0] + 100, PALE[1]), 2)
    person.until(lambda: set(shown_map(person)) == {"Dermis", "Tumor"})
    pid = process.pid
    paints(person, (DARK[0] + 40, DARK[1]), 5)
    person.waits()
    assert process.pid == pid
    select(person, "texture")
    assert process.pid is None
    person.until(lambda: opened(person)._loop.options.source == "texture" and opened(person)._loop.state.is_fitted)
    person.waits()
