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
    assert max(gaps.found) >= 300
    assert 99 <= max(gaps.apart) <= max(gaps.found) - 199
    assert bench.report("at rest", gaps) == bench.percentile(gaps.found, 0.99)
    assert f"max {max(gaps.found):5.0f} ms" in capsys.readouterr().out


def test_the_phantoms_are_a_data_set_that_can_be_learnt(bench, tmp_path, monkeypatch):
    from napari_melanoma.data.dataset import read_dataset, with_masks

    monkeypatch.setattr(bench, "PHANTOMS", 7)
    samples = with_masks(read_dataset(bench.write_phantoms(tmp_path / "phantoms")), None)
    assert [sample.split for sample in samples] == ["val", *["train"] * 5, "val"]
