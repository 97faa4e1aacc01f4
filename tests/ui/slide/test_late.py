"""Widgets that the Slide dock creates only after it is drawn or when they are first needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from fake_models import add_risk, make_risk_prediction
from napari.layers import Layer
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QPlainTextEdit
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.depth.readings import DepthReading, MitosisCount, SlideDepthReadings, write_depth
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.models.bundle import user_models_folder
from napari_melanoma.models.installed_bundles import list_bundles
from napari_melanoma.slides.synoptic_files import read_depth
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.docking import DeferredWidgets
from napari_melanoma.ui.widgets.job import tasks

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
FOLDS = ("measurement", "side_by_side", "options", "depth", "risk", "regions")
KEPT = DepthReading(
    when="2026-01-01T10:00:00+00:00",
    line=((60.0, 100.0), (460.0, 100.0)),
    um_per_px=(0.5, 0.5),
    mm=0.2,
    notes="kept before",
    mitoses=MitosisCount(points=((100.0, 100.0),), counted=1),
)
LATE = """
import sys
from napari_melanoma.ui.slide.dock import SlideDock
late = [f"napari_melanoma.{name}" for name in sys.argv[1:]]
raise SystemExit(", ".join(name for name in late if name in sys.modules) or None)
"""


@pytest.fixture
def never(monkeypatch):
    """Never run deferred tasks."""
    monkeypatch.setattr(DeferredWidgets, "add_task", lambda waiting, work: None)


@pytest.fixture
def kept(slide_path, person):
    """User who reopened a slide with a stored reading and risk."""
    person.opens_slides(slide_path)
    folder = person.dock.result_location.folder
    write_depth(folder, SlideDepthReadings(readings=(KEPT,)))
    add_risk(user_models_folder())
    answer = make_risk_prediction(0.3, {"age": "60"}, {"model": str(user_models_folder() / "risk-test")})
    (folder / "risk.json").write_text(json.dumps(answer))
    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    return person


def test_dock_imports_neither_depth_nor_risk_nor_models():
    names = (
        "ui.sections.depth.section",
        "extensions.risk.ui.section",
        "models.bundle",
        "depth.readings",
        "slides.lesions",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATE, *names], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_sections_are_created_after_the_dock_is_drawn(user, nothing_left, shown_viewer, qtbot):
    _, dock = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    assert not tasks.is_idle(dock)
    assert not dock.sections.hosted.sections
    assert dock.model_picker.findChild(QComboBox, "slide_model").count() == 0
    wait_until_idle(qtbot, dock.waiting)
    qtbot.waitUntil(lambda: "Depth" in dock.sections.hosted.sections)
    offered = [dock.model_picker.combo.itemData(at) for at in range(dock.model_picker.combo.count())]
    assert offered == [*(one.name for one in list_bundles() if dock.model_picker.accepts(one)), "other"]
    assert "imagenet-tiles" not in offered  # predicts nothing
    assert dock.model_picker.model == DEFAULT_TILE_MODEL
    wait_until_idle(qtbot, dock)


def test_stored_results_are_shown_and_changed_when_sections_are_first_opened(never, kept):
    around = kept.dock.sections
    assert slide_layers.find_layer(kept.viewer, kept.dock.slide, "depth") is None
    around.hosted._search.start()  # the task that finds the sections
    kept.dock.depth_section.expand()
    kept.until(lambda: "Depth" in around.hosted.sections)
    kept.waits()
    assert kept.label_text("depth_head").startswith("0.20 mm")
    assert kept.finds(QPlainTextEdit, "depth_notes").toPlainText() == "kept before"
    assert len(slide_layers.find_layer(kept.viewer, kept.dock.slide, "depth").data) == 1
    assert [point.at for point in kept.session.document(COUNT_DOCUMENT).value] == [(100.0, 100.0)]
    around.hosted.session.depth.set_values(clark=3)
    kept.waits()
    reading = read_depth(kept.dock.result_location.folder).reading_by("")
    assert (reading.clark, reading.mm, reading.notes) == (3, 0.2, "kept before")
    kept.opens_section("Risk")
    kept.waits()
    assert kept.label_text("risk_verdict").startswith("metastasis 0.30")


@pytest.mark.usefixtures("shown_viewer")
def test_all_sections_appear_and_disappear_with_the_slide(person, slide_path):
    dock = person.dock
    folds = [getattr(dock, f"{name}_section") for name in FOLDS]
    assert not any(fold.isVisibleTo(dock) for fold in folds)
    dock.opener.open([slide_path])
    person.until(lambda: dock.slide is not None)
    assert not tasks.is_idle(dock.waiting)
    assert not any(fold.isVisibleTo(dock) for fold in folds)
    person.waits()
    assert all(fold.isVisibleTo(dock) for fold in folds)
    scale_bar = camera.get_scale_bar(person.viewer)
    assert scale_bar.visible
    assert scale_bar.position == "bottom_left", "napari's notifications cover it at the bottom right"
    tops = [fold.mapTo(dock, fold.rect().topLeft()).y() for fold in folds]
    assert tops[:3] == sorted(tops[:3])
    assert tops[3:5] == sorted(tops[3:5])
    person.viewer.layers.clear()
    person.waits()
    assert not any(fold.isVisibleTo(dock) for fold in folds)
    person.opens_slides(slide_path)
    assert all(fold.isVisibleTo(dock) for fold in folds)


def test_closing_a_slide_early_leaves_no_sections(person, slide_path):
    dock = person.dock
    dock.opener.open([slide_path])
    person.until(lambda: dock.slide is not None)
    person.viewer.layers.clear()
    person.waits()
    assert not dock.depth_section.isVisibleTo(dock)
    assert dock.welcome.isVisibleTo(dock)


def test_dock_opened_after_the_slide_is_complete(user, nothing_left, shown_viewer, qtbot, slide_path):
    viewer = shown_viewer
    for data, attributes, kind in slide_layers.read_slide_layers(slide_path):
        viewer.add_layer(Layer.create(data, attributes, kind))
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    wait_until_idle(qtbot, dock)
    assert all(getattr(dock, f"{name}_section").isVisibleTo(dock) for name in FOLDS)
    assert dock.findChild(QLabel, "slide_about").text()
    assert dock.findChild(QLineEdit, "go_to") is not None
