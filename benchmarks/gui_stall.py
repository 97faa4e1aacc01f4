"""The longest stall of the window while Analyse runs, and how long the Lesion dock takes to open.

A timer fires every few milliseconds; the longest gap between two of its calls is the longest stall. What napari itself
takes to add and draw new layers is recorded apart, by timing the turns in which that happens.

Run with ``python benchmarks/gui_stall.py [--columns 3000 --rows 2000] [--model NAME]``, under Xvfb where there is no
display. A model that is not installed is replaced by a worker without a network, which says nothing of the model's
speed and all of the window's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication

TICK_MS = 2

STAND_IN = """
import numpy as np
from napari_melanoma.worker import main

def segment(arguments, run):
    grey = np.load(arguments["image"]).astype(np.float32).mean(axis=2) / 255
    np.save(arguments["out"], (1 / (1 + np.exp(20 * (grey - 0.5)))).astype(np.float32))
    return {"model": {"name": "stand-in", "fingerprint": "0" * 64, "device": "cpu", "threshold": 0.5}}

raise SystemExit(main({"segment": segment}))
"""


class Stalls:
    """Records the gaps between the calls of a timer, and which of them held napari's own work."""

    def __init__(self) -> None:
        self.gaps: list[tuple[float, bool]] = []
        self._drawing = False
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)

    def start(self) -> None:
        """Begin to record."""
        self.gaps.clear()
        self._last = time.perf_counter()
        self._timer.start()

    def stop(self) -> None:
        """End recording."""
        self._timer.stop()

    def drawing(self, *event: object) -> None:
        """Say that the gap that is now open holds work of napari."""
        self._drawing = True

    def _on_tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append((1000 * (now - self._last), self._drawing))
        self._last, self._drawing = now, False

    def longest(self, drawing: bool) -> float:
        """Longest gap in ms, of those with or without napari's own drawing."""
        return max((gap for gap, drew in self.gaps if drew is drawing), default=0.0)


def photograph(rows: int, columns: int) -> np.ndarray:
    """Skin with noise and one dark lesion with a wavy border, uint8 (row, column, channel)."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    angle = np.arctan2(y - rows / 2, x - columns / 2)
    radius = rows / 4 * (1 + 0.1 * np.sin(9 * angle))
    inside = np.hypot(y - rows / 2, x - columns / 2) < radius
    noise = np.random.default_rng(0).normal(0, 6, (rows, columns, 1))
    colour = np.where(inside[..., None], (90, 60, 50), (215, 170, 150))
    return np.clip(colour + noise, 0, 255).astype(np.uint8)


def wait(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Let Qt work until a condition holds, sleeping in Qt and not in Python."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited too long")
        loop = QEventLoop()
        QTimer.singleShot(5, loop.quit)
        loop.exec()


def watch_drawing(viewer: napari.Viewer, stalls: Stalls) -> None:
    """Mark the gaps in which napari adds a layer, takes new data or draws the canvas."""

    def watch_layer(layer: Layer) -> None:
        for name in ("data", "set_data", "features", "labels_update"):
            if name in layer.events.emitters:
                layer.events.emitters[name].connect(stalls.drawing)

    viewer.layers.events.inserting.connect(stalls.drawing)
    viewer.layers.events.inserted.connect(stalls.drawing)
    viewer.layers.events.inserted.connect(lambda event: watch_layer(event.value))
    viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(stalls.drawing)


def main() -> int:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=3000)
    parser.add_argument("--model", default="lesion-small")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    viewer = napari.Viewer()
    QApplication.processEvents()
    started, cpu = time.perf_counter(), time.process_time()
    from napari_melanoma.core.errors import BundleError
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.ui.lesion import LesionDock
    from napari_melanoma.ui.worker_client import WorkerClient

    imported = time.perf_counter()
    script = Path(tempfile.mkdtemp()) / "stand_in.py"
    script.write_text(STAND_IN)
    try:
        find_bundle(arguments.model)
        client = WorkerClient()
    except BundleError:
        client = WorkerClient([sys.executable, str(script)])
    dock = LesionDock(viewer, client)
    viewer.window.add_dock_widget(dock, name="Lesion", area="right")
    QApplication.processEvents()
    opened = time.perf_counter()
    print(
        f"dock: import {1000 * (imported - started):.0f} ms, open {1000 * (opened - imported):.0f} ms, "
        f"processor {1000 * (time.process_time() - cpu):.0f} ms"
    )
    viewer.add_image(photograph(arguments.rows, arguments.columns), name="lesion", rgb=True)
    wait(lambda: not dock.busy)
    stalls = Stalls()
    watch_drawing(viewer, stalls)
    stalls.start()
    until = time.monotonic() + 5
    wait(lambda: time.monotonic() > until)
    stalls.stop()
    print(f"idle: longest stall {stalls.longest(False):.0f} ms")
    for repeat in range(arguments.repeats):
        begun = time.perf_counter()
        stalls.start()
        dock.analyse.click()
        wait(lambda: not dock.busy)
        seconds = time.perf_counter() - begun
        stalls.stop()
        print(
            f"Analyse {repeat + 1}: {seconds:.2f} s, longest stall {stalls.longest(False):.0f} ms, "
            f"with napari's drawing {stalls.longest(True):.0f} ms, torch here: {'torch' in sys.modules}"
        )
    client.close()
    viewer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
