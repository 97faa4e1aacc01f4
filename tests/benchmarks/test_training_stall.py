"""That the measure of stalls beside a training counts what a person feels, and whose it is."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from qtpy.QtCore import QTimer

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_stall.py"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)  # it takes some tools of the other measure
    spec = importlib.util.spec_from_file_location("training_stall", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gaps_are_counted_whole_and_apart_from_drawing(bench, qtbot, capsys):
    drawing = bench.Stopwatch()
    gaps, done = bench.Gaps(drawing), []

    def stall():
        time.sleep(0.1)
        with drawing.inside(True):
            time.sleep(0.2)
        done.append(True)

    gaps.start()
    QTimer.singleShot(20, stall)
    qtbot.waitUntil(lambda: bool(done))
    gaps.stop()
    assert max(gaps.found) >= 300 - bench.TICK_MS
    assert 99 - bench.TICK_MS <= max(gaps.apart) <= max(gaps.found) - 199
    assert bench.report("at rest", gaps, [], moving=False) == bench.percentile(gaps.found, 0.99)
    assert bench.report("panning", gaps, [30.0], moving=True) == bench.percentile(gaps.apart, 0.99)
    predicted = capsys.readouterr().out
    assert f"max {max(gaps.found):4.0f} ms" in predicted
    assert "1 frames p50  30.0" in predicted


def test_a_frame_counts_as_drawing_until_it_is_on_the_screen(bench, monkeypatch):
    drawing = bench.Stopwatch()
    frames = bench.Frames(drawing)
    monkeypatch.setattr(bench.SceneCanvas, "on_draw", lambda canvas, event: time.sleep(0.02))
    with frames.watching():
        frames.on_shown()  # one that was begun before
        bench.SceneCanvas.on_draw(None, None)
    time.sleep(0.1)
    frames.on_shown()
    frames.on_shown()  # Qt composes again where another widget has changed
    assert len(frames.found) == 1
    assert frames.found[0] >= 119
    assert 0.1 <= drawing.seconds <= frames.found[0] / 1000 - 0.019


def test_the_phantoms_are_a_data_set_that_can_be_learnt(bench, tmp_path, monkeypatch):
    from napari_melanoma.data.dataset import read_dataset, select_for_split

    monkeypatch.setattr(bench, "PHANTOMS", 7)
    samples = select_for_split(read_dataset(bench.write_phantoms(tmp_path / "phantoms")), None)
    assert [sample.split for sample in samples] == ["val", *["train"] * 5, "val"]
