"""Slides opened with ``open``: units, notifications, and refresh of approximate overviews."""

from __future__ import annotations

import threading

import napari.utils.notifications
import numpy as np
import pytest
import tifffile

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.reading import tiled
from napari_melanoma.ui.launch import show_slide
from napari_melanoma.ui.viewer.slide_layers import LayerRefresher


@pytest.fixture
def notifications(monkeypatch):
    """Collect notifications."""
    shown = []
    for kind in ("show_error", "show_warning"):
        monkeypatch.setattr(napari.utils.notifications, kind, lambda text, kind=kind: shown.append((kind, text)))
    return shown


@pytest.fixture
def slide_path(tmp_path):
    """Write a flat slide of 1536 x 640 pixels without a scale."""
    rows, columns = np.mgrid[:1536, :640]
    image = np.stack([rows // 8, columns // 4, 255 - rows // 8], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", image, photometric="rgb", tile=(64, 64), compression="zlib", metadata=None)
    return tmp_path / "flat.tif"


def test_warnings_and_errors_are_notifications_and_a_given_pixel_size_is_used(
    viewer, slide_path, tmp_path, notifications
) -> None:
    show_slide(viewer, slide_path)
    (tmp_path / "bad.svs").write_bytes(b"no slide")
    assert show_slide(viewer, tmp_path / "bad.svs") == []
    assert [kind for kind, _ in notifications] == ["show_warning", "show_error"]
    assert "flat.tif: the file states no pixel size" in notifications[0][1]
    assert "bad.svs has an unknown format" in notifications[1][1]
    assert len(viewer.layers) == 1

    # The pixel size that is given scales the layer.
    viewer.layers.clear()
    notifications.clear()
    [layer] = show_slide(viewer, slide_path, PixelSize(0.5, 0.5))
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
    qtbot.waitUntil(lambda: kept.threads == [threading.main_thread()], timeout=20_000)


def test_proxied_layer_is_refreshed(qtbot) -> None:
    from napari.utils._proxies import PublicOnlyProxy

    kept = Picture()
    refresher = LayerRefresher([PublicOnlyProxy(kept)])  # docks get such short-lived proxies
    refresher.request_refresh()
    qtbot.waitUntil(lambda: len(kept.threads) == 1, timeout=20_000)


def test_approximate_overview_becomes_exact(make_napari_viewer, slide_path, notifications, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(tiled, "ROUGH_PX", 64 * 64)
    monkeypatch.setattr(tiled, "ROUGH_DEPTH", 1)
    refreshed, draw = [], LayerRefresher._refresh_layers
    monkeypatch.setattr(LayerRefresher, "_refresh_layers", lambda self: refreshed.append(draw(self)))
    [layer] = show_slide(make_napari_viewer(), slide_path)  # the layer's thumbnail is made of the coarsest level
    exact = layer.data[0][:, :].reshape(768, 2, 320, 2, 3).mean(axis=(1, 3))
    qtbot.waitUntil(lambda: bool(refreshed), timeout=20_000)
    assert np.abs(layer.data[1][:, :] - exact).max() <= 1
    shown = layer._slice.thumbnail.raw  # napari keeps the coarsest level as it was first read
    assert np.abs(shown - exact).max() <= 1
