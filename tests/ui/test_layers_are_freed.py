"""What was opened in the docks is freed once its layers are removed."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication
from slide_fixtures import UNSEEN, Pathologist

from napari_melanoma.io.results import write_rgb

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
ROUNDS = 3


@pytest.mark.both_qts
def test_removed_layers_are_freed(person: Pathologist, slide_path: Path, tmp_path: Path, qtbot: QtBot) -> None:
    viewer = person.viewer
    viewer.window.add_plugin_dock_widget("napari-melanoma", "Lesion")
    photograph = tmp_path / "mole.png"
    write_rgb(photograph, np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    opened: weakref.WeakSet[Layer] = weakref.WeakSet()
    for _ in range(ROUNDS):
        viewer.open(photograph, plugin="napari-melanoma")
        person.waits()
        person.opens_slides(slide_path)
        opened.update(viewer.layers)
        assert opened
        viewer.layers.clear()
        person.waits()

    def are_freed() -> bool:
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.unfreeze()
        gc.collect()
        return not opened

    qtbot.waitUntil(are_freed)
