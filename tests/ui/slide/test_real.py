"""The Slide dock with a real analysis in a separate process."""

from __future__ import annotations

import sys

import numpy as np
from fake_slides import draw_slide
from qtpy.QtWidgets import QAbstractButton

from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.ui.widgets.job import tasks

PATIENCE_MS = 180_000


def test_slide_is_analyzed_by_a_separate_process(home, monkeypatch, viewer, qtbot, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    had_torch = "torch" in sys.modules  # by another test
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    dock.opener.open([draw_slide(tmp_path / "section.tif")])
    qtbot.waitUntil(lambda: dock.result_location is not None and tasks.is_idle(dock), timeout=PATIENCE_MS)
    assert dock.model_picker.model == "", "what ships is not valid on a real slide"
    assert "paint classes" in dock.analyze_button.toolTip()
    sample = draw_slide(tmp_path / "sample.tif")  # demonstration models are for samples
    sample.with_name("sample.truth.json").write_text("{}")
    dock.opener.open([sample])
    qtbot.waitUntil(lambda: dock.model_picker.model == "tile-demo" and tasks.is_idle(dock), timeout=PATIENCE_MS)
    dock.analyze_button.click()
    qtbot.waitUntil(lambda: dock.run_panel.active, timeout=PATIENCE_MS)
    results = dock.context.session.results
    qtbot.waitUntil(lambda: bool(results.value.content) and tasks.is_idle(dock), timeout=PATIENCE_MS)
    output = (dock.result_location.folder / "output.txt").read_text()
    assert str(dock.run_panel.status.state) == "finished", output
    content = results.value.content
    assert content["tiles_done"] == content["tiles_total"] > 0
    assert results.value.heatmap.classes == find_bundle("tile-demo").config.classes
    # A heatmap that was drawn before the result was known to be out of distribution is emptied.
    assert not any(np.isfinite(layer.data).any() for layer in viewer.layers if layer.name == "sample heatmap")
    dock.findChild(QAbstractButton, "slide_anyway").click()
    assert np.isfinite(viewer.layers["sample heatmap"].data).any()
    assert ("torch" in sys.modules) == had_torch
