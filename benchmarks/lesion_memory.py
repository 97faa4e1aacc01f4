"""Memory growth per photograph that is opened, analyzed and closed, compared with the same in plain napari.

One cycle opens a photograph, analyzes it in the Lesion dock, waits until everything is drawn, and removes its layers.
``--plain`` adds, draws and removes the same layers in napari alone. The growth is the slope of a line through the
second half of the cycles, for the memory of the process (RSS) and, with ``--trace``, for the memory of Python objects
(tracemalloc).

Run with ``python benchmarks/lesion_memory.py [--cycles 200] [--plain] [--trace]``, under Xvfb without a display; the
exit code is 1 if RSS grows by more than 0.2 MB per cycle. The worker has no network, which does not affect the memory
of the window. ``--model NAME`` uses a real one.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
import psutil
from harness import STAND_IN
from napari.layers import Image, Labels, Shapes
from qtpy.QtCore import QEventLoop, QSettings, QTimer
from qtpy.QtWidgets import QApplication

from napari_melanoma.ui.widgets.job import tasks

LIMIT_MB = 0.2
MB = 1024**2


def photograph(columns: int, rows: int, seed: int) -> np.ndarray:
    """Return skin with a dark disk and different noise for each seed, uint8 (row, column, channel)."""
    y, x = np.mgrid[:rows, :columns]
    rgb = np.full((rows, columns, 3), (215, 170, 150), np.uint8)
    rgb[(y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (rows / 3) ** 2] = (70, 45, 40)
    return rgb + np.random.default_rng(seed).integers(0, 20, rgb.shape, dtype=np.uint8)


def settle(done: Callable[[], bool], seconds: float = 0.1, at_most: float = 300.0) -> None:
    """Process Qt events until something is done, and a little longer, so that everything is drawn."""
    since = time.monotonic()
    while not done():
        wait(20)
        if time.monotonic() - since > at_most:
            raise SystemExit(f"the condition was not met within {at_most:.0f} s.")
    wait(round(1000 * seconds))


def wait(milliseconds: int) -> None:
    """Run an event loop of Qt: ``processEvents`` does not delete objects that wait for ``deleteLater``."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Plain:
    """napari alone, with the layers that the Lesion dock shows for a photograph."""

    def __init__(self, viewer: napari.Viewer, app: QApplication) -> None:
        self._viewer, self._app = viewer, app

    def cycle(self, rgb: np.ndarray) -> None:
        """Add, draw and remove the layers of one photograph."""
        shape = rgb.shape[:2]
        corners = np.array([[0, 0], [0, shape[1]], shape, [shape[0], 0]], np.float32) / 2
        square = Shapes(ndim=2)
        square.add([corners], shape_type="rectangle", edge_width=4)
        outline = Shapes(ndim=2)
        turn = np.linspace(0, 2 * np.pi, 400)
        outline.add([200 + 100 * np.stack([np.sin(turn), np.cos(turn)], axis=1)], shape_type="path", edge_width=4)
        probability = Image((rgb[..., 0] / 255).astype(np.float32), visible=False)
        layers = (Image(rgb, rgb=True), probability, Labels((rgb[..., 0] < 128).astype(np.uint8)), square, outline)
        for layer in layers:
            self._viewer.add_layer(layer)
            settle(lambda: True, 0.02)
        settle(lambda: True)
        for layer in reversed(layers):
            self._viewer.layers.remove(layer)
        settle(lambda: True)


class Dock:
    """The Lesion dock."""

    def __init__(self, viewer: napari.Viewer, app: QApplication, model: str | None) -> None:
        from napari_melanoma.ui.lesion.dock import LesionDock
        from napari_melanoma.ui.worker_client import WorkerClient

        self._viewer, self._app = viewer, app
        self._client = WorkerClient(None if model else [sys.executable, "-c", STAND_IN])
        self._dock = LesionDock(viewer, self._client)
        if model:
            self._dock.model.model = model
        else:
            self._dock.classifier.model = ""
        viewer.window.add_dock_widget(self._dock, name="Lesion", area="right")

    def cycle(self, rgb: np.ndarray) -> None:
        """Open, analyze and close one photograph."""
        self._viewer.add_image(rgb, name="photograph", rgb=True)
        settle(lambda: self._dock.analyze_button.isEnabled())
        self._dock.analyze_button.click()
        settle(tasks.is_idle)
        if not any(session.lesion for session in self._dock.sessions):
            raise SystemExit("the photograph was not analyzed.")
        for layer in list(reversed(self._viewer.layers)):
            self._viewer.layers.remove(layer)
        settle(tasks.is_idle)

    def close(self) -> None:
        """End the worker."""
        self._client.close()


def slope(values: list[float]) -> float:
    """Growth per cycle over the second half, in the unit of the values."""
    late = values[len(values) // 2 :]
    return float(np.polyfit(np.arange(len(late)), late, 1)[0])


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--columns", type=int, default=1200)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--plain", action="store_true", help="plain napari with the same layers")
    parser.add_argument("--model", help="an installed model; by default a worker without a network")
    parser.add_argument("--trace", action="store_true", help="trace the memory of Python objects; slower")
    return parser.parse_args()


def main() -> int:
    """Run the cycles and print the growth."""
    options = parse()
    home = tempfile.mkdtemp(prefix="napari-melanoma-memory-")
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, home)
    viewer = napari.Viewer()
    app: Any = QApplication.instance()
    viewer.window.resize(1200, 900)
    subject = Plain(viewer, app) if options.plain else Dock(viewer, app, options.model)
    settle(lambda: True, 2.0)
    rss, traced = [], []
    process = psutil.Process()
    if options.trace:
        tracemalloc.start()
    for number in range(options.cycles):
        subject.cycle(photograph(options.columns, options.rows, number))
        gc.collect()
        rss.append(process.memory_info().rss / MB)
        traced.append(tracemalloc.get_traced_memory()[0] / MB)
        if number % max(1, options.cycles // 20) == 0 or number == options.cycles - 1:
            sys.stdout.write(f"cycle {number + 1:4}  RSS {rss[-1]:7.1f} MB  traced {traced[-1]:7.2f} MB\n")
            sys.stdout.flush()
    grown = slope(rss)
    traces = f", traced {slope(traced):.3f} MB per cycle" if options.trace else ""
    what = "plain napari" if options.plain else "Lesion dock"
    sys.stdout.write(
        f"{what}: RSS grows by {grown:.3f} MB per cycle{traces} (second half of {options.cycles} cycles)\n"
    )
    if isinstance(subject, Dock):
        subject.close()
    viewer.close()
    return 0 if grown <= LIMIT_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
