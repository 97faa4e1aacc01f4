"""That the measure of stalls counts our own work, and only that."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QTimer

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gui_stall.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("gui_stall", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_slot(event):
    time.sleep(0.1)


def test_slow_slots_are_counted_inside_and_outside_napari_calls(bench, qtbot, monkeypatch):
    from napari.components import LayerList
    from napari.layers import Image

    def insert(layers, index, layer, real=LayerList.insert):
        time.sleep(1.0)
        real(layers, index, layer)

    monkeypatch.setattr(LayerList, "insert", insert)
    monkeypatch.setattr(our_slot, "__module__", "napari_melanoma.ui.slow")
    stopwatch = bench.Stopwatch()
    with stopwatch.watching():
        layers, image = LayerList(), Image(np.zeros((8, 8)))
        layers.events.inserted.connect(our_slot)
        stalls = bench.Stalls(stopwatch, bench.Collections(stopwatch))

        def turn():
            time.sleep(0.2)
            layers.append(image)

        stalls.start()
        QTimer.singleShot(20, turn)
        qtbot.waitUntil(lambda: len(layers) == 1)
        ours, of_napari, _ = stalls.stop()
    assert 290 <= ours < 1000
    assert of_napari >= 990
    assert LayerList.insert is insert


def test_a_collection_of_garbage_is_pythons_own_unless_it_is_napari_that_waits_for_it(bench, qtbot):
    stopwatch = bench.Stopwatch()
    collections = bench.Collections(stopwatch)
    stalls = bench.Stalls(stopwatch, collections)

    def collect():
        collections("start", {})
        time.sleep(0.3)
        collections("stop", {})

    def turn():
        time.sleep(0.2)
        collect()
        with stopwatch.inside(of_napari=True):
            collect()
        done.append(True)

    done = []
    stalls.start()
    QTimer.singleShot(20, turn)
    qtbot.waitUntil(lambda: bool(done))
    ours, of_napari, of_python = stalls.stop()
    assert 190 <= ours < 490  # not also one of the collections, however late the machine wakes
    assert 290 <= of_napari < 490
    assert 290 <= of_python < 490
