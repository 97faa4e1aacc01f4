"""What several benchmarks share: processes, stalls of a window, and a slide of any size.

A benchmark of ``benchmarks/`` repeats figures of ``docs/explanation/measurements.md`` before a release. Windows are
imported inside functions: torch and a window must not be in one process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

TICK_MS = 2

TILE = 256
# A worker without a network, which is sufficient for measuring the window
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


class Usage(NamedTuple):
    """What a process took: seconds on the clock and of the processor, and the peak of its memory in MB."""

    seconds: float
    processor_s: float
    memory_mb: float


def run_process(arguments: list[str], variables: dict[str, str], expected: int = 0) -> Usage:
    """Run a command and return what it took; its children count for the processor only. ``expected``: exit status."""
    started = time.perf_counter()
    with subprocess.Popen(
        arguments, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}.")
    scale = 2**20 if sys.platform == "darwin" else 1024  # bytes there, else KiB
    return Usage(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale)


def isolate(folder: Path) -> dict[str, str]:
    """Return an environment in which settings and data of the user are neither read nor changed."""
    names = ("CONFIG", "DATA", "CACHE", "STATE")
    return {
        **os.environ,
        **{f"XDG_{name}_HOME": str(folder / name.lower()) for name in names},
        "NAPARI_CONFIG": str(folder / "napari.yaml"),
    }


def _napari_calls() -> list[tuple[type, str]]:
    """List napari's own work that this package triggers, and its drawing."""
    from napari.components import LayerList
    from napari.layers import Image, Labels, Shapes
    from napari.utils.events.containers import Selection
    from vispy.scene import SceneCanvas

    return [
        (LayerList, "insert"),
        *((kind, name) for kind in (Image, Labels, Shapes) for name in ("__init__", "data")),
        (Labels, "data_setitem"),
        (Labels, "features"),
        (Shapes, "add"),
        (Selection, "active"),
        (SceneCanvas, "on_draw"),
    ]


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
        from napari.utils.events import EventEmitter

        invoke = EventEmitter._invoke_callback

        def invoke_and_count(emitter: Any, callback: Any, event: Any) -> None:  # noqa: ANN401 - napari's own
            own = str(getattr(callback, "__module__", "")).startswith("napari_melanoma")
            with self.inside(False) if own else nullcontext():
                invoke(emitter, callback, event)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(EventEmitter, "_invoke_callback", invoke_and_count))
            for kind, name in _napari_calls():
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
        from qtpy.QtCore import Qt, QTimer

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
    from qtpy.QtCore import QEventLoop, QTimer

    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the condition was not met in time")
        loop = QEventLoop()
        QTimer.singleShot(5, loop.quit)
        loop.exec()


def rest(seconds: float) -> None:
    """Process Qt events for a while."""
    until = time.monotonic() + seconds
    wait(lambda: time.monotonic() > until)


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


def write_noise(path: Path, side: int, mpp: float, level: int = 80) -> Path:
    """Write a pyramid of tissue-colored noise from a few repeated JPEG tiles, in seconds.

    ``side``: in pixels of ``mpp`` micrometers. ``level``: quality of the tiles, which take 15 KB each at 80.
    """
    import imagecodecs
    import tifffile

    random = np.random.default_rng(0)
    encoded = []
    for _ in range(24):
        rough = np.kron(random.normal(0, 25, (32, 32, 3)), np.ones((8, 8, 1)))
        tile = np.clip(np.array((205, 140, 180)) + rough + random.normal(0, 10, (TILE, TILE, 3)), 0, 255)
        encoded.append(imagecodecs.jpeg8_encode(tile.astype(np.uint8), level=level, subsampling="420"))
    sides = [side]
    while sides[-1] > 1024:
        sides.append(sides[-1] // 2)

    def tiles(length: int) -> Iterator[bytes]:
        rows = -(-length // TILE)
        return (encoded[index] for index in random.integers(0, len(encoded), rows * rows))

    how: dict[str, Any] = {"dtype": np.uint8, "tile": (TILE, TILE), "photometric": "ycbcr", "metadata": None}
    how |= {"compression": "jpeg", "subsampling": (2, 2), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, length in enumerate(sides):
            size = 1e4 / (mpp * 2**number)
            how["subfiletype"] = int(number > 0)  # levels are pages, which OpenSlide reads, too
            tiff.write(tiles(length), shape=(length, length, 3), resolution=(size, size), **how)
    return path
