"""The longest stall of the window while Analyse runs, and how long the Lesion dock takes to open.

A timer fires every few milliseconds; the longest gap between two of its calls is the longest stall. What napari itself
takes to add a layer, to take new data and to draw is timed call by call and counted apart; all else in a gap is ours.

Run with ``python benchmarks/gui_stall.py [--columns 3000 --rows 2000] [--model NAME]``, under Xvfb where there is no
display; the exit code is 1 where a stall, or the opening of the dock, takes longer than is allowed. The line "idle"
says how long the machine stands still by itself: where that is long, others are at work on it, and nothing can be
judged. A model that is not installed is replaced by a worker without a network, which says nothing of the model's
speed and all of the window's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import napari
import numpy as np
from napari.components import LayerList
from napari.layers import Image, Labels, Shapes
from napari.utils.events import EventEmitter
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication
from vispy.scene import SceneCanvas

TICK_MS = 2
IDLE_S = 5.0
STALL_MS, OPEN_MS = 50.0, 150.0  # what a person does not feel, and what the dock promises

# Where napari does work of its own that this package asks for, and where it draws.
NAPARI_CALLS: tuple[tuple[type, str], ...] = (
    (LayerList, "insert"),
    (Image, "__init__"),
    (Labels, "__init__"),
    (Shapes, "__init__"),
    (Image, "data"),
    (Labels, "data"),
    (Labels, "data_setitem"),
    (Labels, "features"),
    (Shapes, "data"),
    (Shapes, "add"),
    (SceneCanvas, "on_draw"),
)

STAND_IN = """
import numpy as np
from napari_melanoma.worker import main

def segment(arguments, run):
    grey = np.load(arguments["image"]).astype(np.float32).mean(axis=2) / 255
    np.save(arguments["out"], (1 / (1 + np.exp(20 * (grey - 0.5)))).astype(np.float32))
    return {"model": {"name": "stand-in", "fingerprint": "0" * 64, "device": "cpu", "threshold": 0.5}}

raise SystemExit(main({"segment": segment}))
"""


class Stopwatch:
    """Adds up what napari itself takes; time in callbacks of this package, also inside napari's calls, is our own."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0
        self._inside: list[bool] = []

    @contextmanager
    def inside(self, of_napari: bool) -> Iterator[None]:
        """Count what follows as napari's, or as ours."""
        self._lap()
        self._inside.append(of_napari)
        try:
            yield
        finally:
            self._lap()
            self._inside.pop()

    def _lap(self) -> None:
        now = time.perf_counter()
        if self._inside and self._inside[-1]:
            self.seconds += now - self._since
        self._since = now

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function of napari that is counted as such."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever napari takes and gives
            with self.inside(True):
                return function(*args, **kwargs)

        return run

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time napari where it adds a layer, takes new data or draws."""
        invoke = EventEmitter._invoke_callback

        def invoke_and_tell(emitter: Any, callback: Any, event: Any) -> None:  # noqa: ANN401 - napari's own
            ours = str(getattr(callback, "__module__", "")).startswith("napari_melanoma")
            with self.inside(False) if ours else nullcontext():
                invoke(emitter, callback, event)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(EventEmitter, "_invoke_callback", invoke_and_tell))
            for kind, name in NAPARI_CALLS:
                owner = next(owner for owner in kind.__mro__ if name in vars(owner))
                member = vars(owner)[name]
                if isinstance(member, property):
                    member = property(member.fget, self.timed(member.fset), member.fdel)
                else:
                    member = self.timed(member)
                stack.enter_context(mock.patch.object(owner, name, member))
            yield


class Stalls:
    """Records the gaps between the calls of a timer, less what napari itself took in each."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.ours: list[float] = []
        self.napari: list[float] = []
        self._stopwatch = stopwatch
        self._last = self._counted = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)

    def start(self) -> None:
        """Begin to record."""
        self.ours, self.napari = [0.0], [0.0]
        self._last, self._counted = time.perf_counter(), self._stopwatch.seconds
        self._timer.start()

    def stop(self) -> None:
        """End recording."""
        self._on_tick()
        self._timer.stop()

    def _on_tick(self) -> None:
        now, counted = time.perf_counter(), self._stopwatch.seconds
        drawing = counted - self._counted
        self.napari.append(1000 * drawing)
        self.ours.append(1000 * (now - self._last - drawing))
        self._last, self._counted = now, counted


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


def open_dock(viewer: napari.Viewer, model: str) -> tuple[Any, float]:
    """Open the dock; gives it and the ms that this took, imports included."""
    started = time.perf_counter()
    from napari_melanoma.core.errors import BundleError
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.ui.lesion import LesionDock
    from napari_melanoma.ui.worker_client import WorkerClient

    imported = time.perf_counter()
    try:
        find_bundle(model)
        client = WorkerClient()
    except BundleError:
        script = Path(tempfile.mkdtemp()) / "stand_in.py"
        script.write_text(STAND_IN)
        client = WorkerClient([sys.executable, str(script)])
    dock = LesionDock(viewer, client)
    dock.destroyed.connect(client.close)
    viewer.window.add_dock_widget(dock, name="Lesion", area="right")
    QApplication.processEvents()
    opened = time.perf_counter()
    print(f"dock: import {1000 * (imported - started):.0f} ms, open {1000 * (opened - imported):.0f} ms")
    return dock, 1000 * (opened - started)


def stall_of(stalls: Stalls, what: str, work: Callable[[], None]) -> float:
    """Do something and print how long the window stood still; gives our own longest stall in ms."""
    begun = time.perf_counter()
    stalls.start()
    work()
    stalls.stop()
    seconds, ours, drawing = time.perf_counter() - begun, max(stalls.ours), max(stalls.napari)
    print(f"{what}: {seconds:.2f} s, longest stall {ours:.0f} ms, and napari's own work {drawing:.0f} ms")
    return ours


def main() -> int:
    """Print the times; the exit code is 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=3000)
    parser.add_argument("--model", default="lesion-small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slack", type=float, default=1.0, help="multiplies the limits, for a machine that is busy")
    arguments = parser.parse_args()

    stopwatch = Stopwatch()
    with stopwatch.watching():
        viewer = napari.Viewer()
        QApplication.processEvents()
        dock, open_ms = open_dock(viewer, arguments.model)
        stalls = Stalls(stopwatch)
        viewer.add_image(photograph(arguments.rows, arguments.columns), name="lesion", rgb=True)
        wait(lambda: not dock.busy)
        until = time.monotonic() + IDLE_S
        longest = [stall_of(stalls, "idle", lambda: wait(lambda: time.monotonic() > until))]

        def analyse() -> None:
            dock.analyse.click()
            wait(lambda: not dock.busy)

        longest += [stall_of(stalls, f"Analyse {repeat + 1}", analyse) for repeat in range(arguments.repeats)]
        viewer.close()
    found = {"opening the dock": (open_ms, OPEN_MS), "the longest stall": (max(longest), STALL_MS)}
    broken = [
        f"{what} took {value:.0f} ms, allowed are {arguments.slack * limit:.0f} ms"
        for what, (value, limit) in found.items()
        if value > arguments.slack * limit
    ]
    if "torch" in sys.modules:
        broken.append("torch was imported by the viewer")
    print("\n".join(broken) or "within all limits")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
