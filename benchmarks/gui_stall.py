"""Stalls of the window, the time to open the Lesion dock, from Analyze to the mask, and the memory of both processes.

A timer fires every few milliseconds; the longest gap between two calls is the longest stall. The time that napari
itself needs to add a layer, set data and draw is measured call by call and reported separately, as is Python's garbage
collection, which traverses all objects of napari and its libraries; the remaining time of a gap is ours.

Run with ``python benchmarks/gui_stall.py [--columns 3000 --rows 2000] [--model NAME]``, under Xvfb without a display;
the exit code is 1 if a stall, or opening the dock, exceeds the limit. The line "after opening" covers the seconds in
which the dock loads deferred parts. The line "idle" shows the stalls of the machine itself: if they are long, it is
too busy for a measurement. With ``--cold``, Analyze is pressed at once, while the worker still starts and opens the
models. A model that is not installed is replaced by a worker without a network, which is
sufficient for measuring the window.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import napari
import numpy as np
import psutil
from napari.components import LayerList
from napari.layers import Image, Labels, Shapes
from napari.utils.events import EventEmitter
from napari.utils.events.containers import Selection
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication
from vispy.scene import SceneCanvas

TICK_MS = 2
AFTER_S, IDLE_S = 2.0, 5.0
STALL_MS, OPEN_MS = 50.0, 150.0  # not noticeable for users, and the limit of the dock

# napari's own work that this package triggers, and its drawing.
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
    (Selection, "active"),
    (SceneCanvas, "on_draw"),
)

STAND_IN = """
import numpy as np
from napari_melanoma import worker
from napari_melanoma.lesion.analysis import ModelStamp
from napari_melanoma.lesion.segmentation import LesionPrediction

def segment(model, photograph, flips, run):
    gray = photograph.values.astype(np.float32).mean(axis=2) / 255
    probability = (1 / (1 + np.exp(20 * (gray - 0.5)))).astype(np.float32)
    return LesionPrediction(probability), ModelStamp("stand-in", "0" * 64, "cpu", 0.5)

worker.segment = segment
worker.main()
"""


class Stopwatch:
    """Accumulates the time of napari itself; callbacks of this package count as ours, also inside napari's calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0
        self._inside: list[bool] = []

    @property
    def is_in_napari(self) -> bool:
        """Whether a call of napari is being measured."""
        return bool(self._inside and self._inside[-1])

    @contextmanager
    def inside(self, of_napari: bool) -> Iterator[None]:
        """Count the following time as napari's or ours."""
        self._lap()
        self._inside.append(of_napari)
        try:
            yield
        finally:
            self._lap()
            self._inside.pop()

    def _lap(self) -> None:
        now = time.perf_counter()
        if self.is_in_napari:
            self.seconds += now - self._since
        self._since = now

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function of napari so that its time is counted."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any signature
            with self.inside(True):
                return function(*args, **kwargs)

        return run

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measure napari's calls for adding layers, setting data and drawing."""
        invoke = EventEmitter._invoke_callback

        def invoke_and_count(emitter: Any, callback: Any, event: Any) -> None:  # noqa: ANN401 - napari's own
            own = str(getattr(callback, "__module__", "")).startswith("napari_melanoma")
            with self.inside(False) if own else nullcontext():
                invoke(emitter, callback, event)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(EventEmitter, "_invoke_callback", invoke_and_count))
            for kind, name in NAPARI_CALLS:
                owner = next(owner for owner in kind.__mro__ if name in vars(owner))
                member = vars(owner)[name]
                if isinstance(member, property):
                    member = property(member.fget, self.timed(member.fset), member.fdel)
                else:
                    member = self.timed(member)
                stack.enter_context(mock.patch.object(owner, name, member))
            yield


class Collections:
    """Records garbage collections, except inside calls of napari, which are counted there."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._spans: list[tuple[float, float]] = []
        self._since: float | None = None

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Record a phase; called by ``gc.callbacks`` in any thread."""
        if phase == "start":
            in_napari = threading.current_thread() is threading.main_thread() and self._stopwatch.is_in_napari
            self._since = None if in_napari else time.perf_counter()
        elif self._since is not None:
            self._spans.append((self._since, time.perf_counter()))

    def within(self, begin: float, end: float) -> float:
        """Return the seconds of garbage collection between two times."""
        return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in self._spans)


class Gap(NamedTuple):
    """The time between two calls of the timer, the part in napari, and the thread's processor time, in seconds."""

    begin: float
    end: float
    napari: float
    cpu: float


class Stalls:
    """Records the gaps between the calls of a timer, minus the time of napari and of garbage collection."""

    def __init__(self, stopwatch: Stopwatch, collections: Collections) -> None:
        self.gaps: list[Gap] = []
        self._stopwatch = stopwatch
        self._collections = collections
        self._last = self._counted = self._computed = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)

    def start(self) -> None:
        """Start recording."""
        self.gaps = []
        self._last, self._counted, self._computed = self._now()
        self._timer.start()

    def stop(self) -> tuple[float, float, float]:
        """Stop recording; returns the greatest time of ours, napari and garbage collection in one gap, in ms."""
        self._on_tick()
        self._timer.stop()
        collected = [self._collections.within(gap.begin, gap.end) for gap in self.gaps]
        own = [gap.end - gap.begin - gap.napari - of for gap, of in zip(self.gaps, collected, strict=True)]
        return 1000 * max(own), 1000 * max(gap.napari for gap in self.gaps), 1000 * max(collected)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), self._stopwatch.seconds, time.thread_time()

    def _on_tick(self) -> None:
        now, counted, computed = self._now()
        self.gaps.append(Gap(self._last, now, counted - self._counted, computed - self._computed))
        self._last, self._counted, self._computed = now, counted, computed


def photograph(rows: int, columns: int) -> np.ndarray:
    """A phantom lesion that the shipped models segment and classify, uint8 (row, column, channel)."""
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    return lesion_phantom(LesionPhantomConfig(size=(rows, columns), seed=1)).rgb


def wait(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Process Qt events until a condition holds, sleeping in Qt and not in Python."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the condition was not met in time")
        loop = QEventLoop()
        QTimer.singleShot(5, loop.quit)
        loop.exec()


def is_installed(model: str) -> bool:
    """Whether there is such a model; in another process, because an empty dock does not import the list of models."""
    code = "import sys; from napari_melanoma.models.installed_bundles import find_bundle; find_bundle(sys.argv[1])"
    return subprocess.run([sys.executable, "-c", code, model], stderr=subprocess.DEVNULL, check=False).returncode == 0


def open_dock(viewer: napari.Viewer, model: str) -> tuple[Any, float]:
    """Open the dock; returns it and the time in ms, including imports."""
    command = None
    if not is_installed(model):
        script = Path(tempfile.mkdtemp()) / "stand_in.py"
        script.write_text(STAND_IN)
        command = [sys.executable, str(script)]
    started = time.perf_counter()
    from napari_melanoma.ui.lesion.dock import LesionDock
    from napari_melanoma.ui.worker_client import WorkerClient

    imported = time.perf_counter()
    client = WorkerClient() if command is None else WorkerClient(command)
    dock = LesionDock(viewer, client)
    dock.destroyed.connect(client.close)
    viewer.window.add_dock_widget(dock, name="Lesion", area="right")
    QApplication.processEvents()
    opened = time.perf_counter()
    print(f"dock: import {1000 * (imported - started):.0f} ms, open {1000 * (opened - imported):.0f} ms")
    return dock, 1000 * (opened - started)


def stall_of(stalls: Stalls, what: str, work: Callable[[], None]) -> float:
    """Run some work and print the stalls; returns our own longest stall in ms."""
    begun = time.perf_counter()
    stalls.start()
    work()
    own, drawing, collecting = stalls.stop()
    seconds = time.perf_counter() - begun
    print(
        f"{what}: {seconds:.2f} s, longest stall {own:.0f} ms; napari {drawing:.0f} ms, "
        f"garbage collection {collecting:.0f} ms"
    )
    return own


def press_analyze(dock: Any) -> None:  # noqa: ANN401 - imported late
    """Analyze the photograph, and print the time to its mask, and the memory of the viewer and the worker."""
    from napari_melanoma.ui.widgets.job import tasks

    masks: list[float] = []
    connection = dock.analysis_controller.analyzed.connect(lambda analysis: masks.append(time.perf_counter()))
    pressed = time.perf_counter()
    dock.analyze_button.click()
    wait(tasks.is_idle)
    dock.analysis_controller.analyzed.disconnect(connection)
    viewer = psutil.Process()
    resident = [sum(process.memory_info().rss for process in of) / 1e6 for of in ([viewer], viewer.children(True))]
    print(f"press to mask {masks[0] - pressed:.2f} s; viewer {resident[0]:.0f} MB, worker {resident[1]:.0f} MB")


def main() -> int:
    """Print the times; the exit code is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=3000)
    parser.add_argument("--model", default="lesion-small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="press Analyze before the models are open")
    parser.add_argument("--slack", type=float, default=1.0, help="factor of the limits, for a busy machine")
    arguments = parser.parse_args()

    stopwatch = Stopwatch()
    with stopwatch.watching():
        viewer = napari.Viewer()
        QApplication.processEvents()
        dock, open_ms = open_dock(viewer, arguments.model)
        from napari_melanoma.ui.widgets.job import tasks

        collections = Collections(stopwatch)
        gc.callbacks.append(collections)
        stalls = Stalls(stopwatch, collections)
        until = time.monotonic() + AFTER_S
        longest = [stall_of(stalls, "after opening", lambda: wait(lambda: time.monotonic() > until))]
        viewer.add_image(photograph(arguments.rows, arguments.columns), name="lesion", rgb=True)
        was_shown = dock.predictions.heatmap_options.value.is_shown
        dock.predictions.heatmap_options.edit(is_shown=True)
        if arguments.cold:
            wait(dock.analyze_button.isEnabled)
        else:
            wait(tasks.is_idle)
            until = time.monotonic() + IDLE_S
            longest += [stall_of(stalls, "idle", lambda: wait(lambda: time.monotonic() > until))]
        longest += [
            stall_of(stalls, f"Analyze {repeat + 1}, until everything is shown", partial(press_analyze, dock))
            for repeat in range(arguments.repeats)
        ]
        dock.predictions.heatmap_options.edit(is_shown=was_shown)  # the dock saves this setting
        viewer.close()
    found = {"opening the dock": (open_ms, OPEN_MS), "the longest stall": (max(longest), STALL_MS)}
    broken = [
        f"{what} took {value:.0f} ms, the limit is {arguments.slack * limit:.0f} ms"
        for what, (value, limit) in found.items()
        if value > arguments.slack * limit
    ]
    if "torch" in sys.modules:
        broken.append("torch was imported by the viewer")
    print("\n".join(broken) or "within all limits")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
