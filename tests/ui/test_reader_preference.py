"""Files that users drop on napari: its choice of the reader is the user's, and other images go to other readers."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari.settings import get_settings
from patience import PATIENCE_MS
from qtpy.QtCore import QTimer

from napari_melanoma.ui.viewer.photographs import METADATA_KEY

RGB = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
OURS = {"*.tif": "napari-melanoma"}


@pytest.fixture
def drop(shown_viewer, qtbot, monkeypatch):
    """Drop a file on the window; a dialog of napari is answered with Melanoma, and ``remember`` in its check box."""
    asked = []

    def choose(dialog):
        asked.append(dialog)
        return "Melanoma", drop.remember

    monkeypatch.setattr("napari._qt.dialogs.qt_reader_dialog.QtReaderDialog.get_user_choices", choose)
    get_settings().plugins.extension2reader = {}

    def drop(path):
        before, count, errors = len(asked), len(shown_viewer.layers), []

        def open_path():
            try:
                shown_viewer.window._qt_viewer._qt_open([str(path)], stack=False)
            except Exception as error:  # noqa: BLE001 - raised in the test
                errors.append(error)

        QTimer.singleShot(0, open_path)
        qtbot.waitUntil(lambda: errors or len(shown_viewer.layers) > count, timeout=PATIENCE_MS)
        assert not errors
        return shown_viewer.layers[-1], len(asked) - before

    drop.remember = False
    yield drop
    get_settings().plugins.extension2reader = {}


def write_tiff(path, data):
    tifffile.imwrite(path, data, photometric="rgb" if data.shape[-1] == 3 else "minisblack")
    return path


def test_napari_asks_until_the_choice_is_remembered_and_other_images_go_to_other_readers(drop, tmp_path):
    for name in ("one.tif", "two.tif"):
        assert drop(write_tiff(tmp_path / name, RGB))[1] == 1
    assert not get_settings().plugins.extension2reader, "the check box of napari was left empty"
    drop.remember = True
    layer, asked = drop(write_tiff(tmp_path / "first.tif", RGB))
    assert (METADATA_KEY in layer.metadata, asked) == (True, 1)
    assert dict(get_settings().plugins.extension2reader) == OURS
    layer, asked = drop(write_tiff(tmp_path / "second.tif", RGB))
    assert (METADATA_KEY in layer.metadata, asked) == (True, 0)
    layer, asked = drop(write_tiff(tmp_path / "stack.tif", np.zeros((3, 20, 30), np.uint16)))
    assert (METADATA_KEY in layer.metadata, asked) == (False, 0)
    assert layer.data.shape == (3, 20, 30)
    layer, asked = drop(write_tiff(tmp_path / "cells.tif", np.full((20, 30), 900, np.uint16)))
    assert (layer.data.dtype, layer.rgb, asked) == (np.uint16, False, 0), "16-bit gray is not converted to 8-bit RGB"


def test_a_gray_image_that_no_other_reader_opens(drop, tmp_path, monkeypatch):
    get_settings().plugins.extension2reader = OURS

    def fail(*_, **__):
        raise ValueError("unknown compression")

    monkeypatch.setattr("napari_melanoma.ui.reader_preference.find_other_reader", lambda _: fail)
    layer, asked = drop(write_tiff(tmp_path / "gray.tif", np.full((20, 30), 90, np.uint8)))
    assert (METADATA_KEY in layer.metadata, asked) == (True, 0)


def test_a_choice_of_the_user_is_kept(drop, tmp_path):
    get_settings().plugins.extension2reader = {"*.tif": "napari"}
    layer, asked = drop(write_tiff(tmp_path / "first.tif", RGB))
    assert (METADATA_KEY in layer.metadata, asked) == (False, 0)
    assert dict(get_settings().plugins.extension2reader) == {"*.tif": "napari"}
