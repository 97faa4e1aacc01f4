"""Gaps of the event loop while a slide is dragged with the mouse and everything is shown.

    python benchmarks/slide_pan.py [SLIDE...] [--side 16384] [--seconds 10] [--window 1366x768] [--plain]

Shown are the heatmap and the lesions of an analysis with the model of ``--model``, 40 regions, the overview with the
visited area, and the display of a single stain; ``--plain`` shows the slide alone. Without a slide, a phantom is
generated. For each magnification, the mouse presses, moves and releases as a hand would, in a visible window. A timer
fires every 2 ms; its gaps are what a user waits for. Reported are their median, 99th percentile and maximum, those of
the processor time of the thread within them, which other work on the machine hardly changes, and the share of napari
and its drawing. The line "idle" shows the gaps of the machine itself. Run it under Xvfb without a display; there the
processor draws, which takes most of the time. The exit code is 1 if the 99th percentile of a gap exceeds 50 ms.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import math
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from harness import isolate

from napari_melanoma.models import DEFAULT_TILE_MODEL

LIMIT_MS = 50.0
MAGNIFICATIONS = (2.5, 10.0, 40.0)
REGIONS, CORNERS = 40, 60
MOVE_MS = 8  # between two events of the mouse
SPEED = 700.0  # in pixels of the canvas per second
DRAG_S, REST_S, IDLE_S = 0.6, 0.25, 2.0
WINDOW = "1600x1000"


def write_results(slide: Path, root: Path, model: str) -> None:
    """Analyze a slide, and write regions beside the results."""
    command = [sys.executable, "-m", "napari_melanoma", "slide", slide, "--out", root, "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no heatmap: {done.stderr.strip().splitlines()[-1:]}")
    from napari_melanoma.slides.background_runs import slide_folder
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.slides.regions import save_regions

    finest = open_slide(slide).info.levels[0]
    save_regions(slide_folder(root, slide), slide, tuple(make_regions(finest.height, finest.width)), None)


def make_regions(height: int, width: int) -> Iterator[Any]:
    """Yield outlined areas that are spread over a slide."""
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.io.geojson import Annotation

    columns = math.ceil(math.sqrt(REGIONS))
    for number in range(REGIONS):
        row, column = divmod(number, columns)
        radius = 0.4 / columns
        angles = [2 * math.pi * corner / CORNERS for corner in range(CORNERS)]
        outline = tuple(
            (
                height * ((row + 0.5) / columns + radius * math.sin(one)),
                width * ((column + 0.5) / columns + radius * math.cos(one)),
            )
            for one in angles
        )
        yield Annotation((Polygon(outline),), f"region {number}", (200, 40, 40))


class Hand:
    """Drags the canvas of a viewer to and fro with real mouse events."""

    def __init__(self, viewer: Any) -> None:  # noqa: ANN401 - napari's viewer
        from qtpy.QtCore import QTimer

        self._canvas = viewer.window._qt_viewer.canvas.native
        self._timer = QTimer()
        self._timer.setInterval(MOVE_MS)
        self._timer.timeout.connect(self._move)
        self._path: Iterator[tuple[str, float, float]] = iter(())

    def drag(self, seconds: float) -> None:
        """Drag for some time, with short rests in which the view glides on."""
        from harness import wait

        until = time.monotonic() + seconds
        self._path = self._moves(until)
        self._timer.start()
        wait(lambda: not self._timer.isActive())

    def _moves(self, until: float) -> Iterator[tuple[str, float, float]]:
        """Yield what the mouse does and where; the direction turns from drag to drag."""
        turn = 0.0
        while time.monotonic() < until:
            center = self._canvas.width() / 2, self._canvas.height() / 2
            x, y = center[0] - SPEED * DRAG_S / 2 * math.cos(turn), center[1] - SPEED * DRAG_S / 2 * math.sin(turn)
            yield "press", x, y
            begin = time.monotonic()
            while (passed := time.monotonic() - begin) < DRAG_S:
                yield "move", x + SPEED * passed * math.cos(turn), y + SPEED * passed * math.sin(turn)
            yield "release", x + SPEED * DRAG_S * math.cos(turn), y + SPEED * DRAG_S * math.sin(turn)
            rest = time.monotonic() + REST_S
            while time.monotonic() < rest:
                yield "rest", 0.0, 0.0
            turn += 2.4  # radians; consecutive drags lead back over what was seen

    def _move(self) -> None:
        kind, x, y = next(self._path, ("end", 0.0, 0.0))
        if kind == "end":
            self._timer.stop()
        elif kind != "rest":
            self._send(kind, x, y)

    def _send(self, kind: str, x: float, y: float) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        types = {
            "press": QEvent.Type.MouseButtonPress,
            "move": QEvent.Type.MouseMove,
            "release": QEvent.Type.MouseButtonRelease,
        }
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        point = QPointF(x, y)
        whole = QPointF(self._canvas.mapToGlobal(point.toPoint()))
        button, buttons = none if kind == "move" else left, none if kind == "release" else left
        event = QMouseEvent(types[kind], point, whole, button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(self._canvas, event)


def show_everything(dock: Any, root: Path) -> None:  # noqa: ANN401 - the Slide dock
    """Show heatmap, lesions, regions, visited area and a single stain."""
    from harness import wait
    from qtpy.QtWidgets import QCheckBox, QComboBox

    wait(lambda: dock.context.location is not None and dock.context.location.folder.is_relative_to(root))
    for name in ("slide_heatmap", "visited_shown"):
        check = dock.findChild(QCheckBox, name)
        if check.isEnabled() and not check.isChecked():
            check.click()
    dock.display_section.expand()
    wait(lambda: dock.findChild(QComboBox, "display_stain") is not None)
    stain = dock.findChild(QComboBox, "display_stain")
    stain.setCurrentIndex(1)
    stain.activated.emit(1)


def measure(slide: Path, root: Path | None, seconds: float, size: tuple[int, int], profile: Path | None) -> bool:
    """Print the gaps at each magnification; returns whether they are within the limit."""
    import napari
    from harness import Collections, Stalls, Stopwatch, rest, stall_of, wait
    from qtpy.QtWidgets import QApplication

    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.camera import get_camera
    from napari_melanoma.ui.widgets.job import tasks

    stopwatch = Stopwatch()
    with stopwatch.watching():
        viewer = napari.Viewer()
        window = viewer.window._qt_window
        window.resize(*size)
        dock = SlideDock(viewer)
        viewer.window.add_dock_widget(dock, name="Slide", area="right")
        if root is not None:
            dock.run_manager.root = root
        dock.opener.open([slide])
        wait(lambda: dock.slide is not None and tasks.is_idle())
        if root is not None:
            show_everything(dock, root)
        window.activateWindow()
        rest(IDLE_S)
        wait(tasks.is_idle)
        canvas = viewer.window._qt_viewer.canvas.native
        print(f"window {window.width()} x {window.height()}, canvas {canvas.width()} x {canvas.height()} pixels")
        print(
            "layers: " + ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in viewer.layers if layer.visible)
        )
        collections = Collections(stopwatch)
        gc.callbacks.append(collections)
        stalls, hand = Stalls(stopwatch, collections), Hand(viewer)
        stall_of(stalls, "idle", lambda: rest(IDLE_S))
        frames: list[object] = []
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(frames.append)
        good = True
        profiler = cProfile.Profile(time.thread_time) if profile else None
        for magnification in MAGNIFICATIONS:
            frames.clear()
            get_camera(viewer).zoom = magnification / 10  # screen pixels for each µm
            rest(1.0)
            with profiler or nullcontext():
                busy = time.process_time()
                stall_of(stalls, f"{magnification:g}x", lambda: hand.drag(seconds))
                busy = time.process_time() - busy
            rate, cost = len(frames) / seconds, 1000 * busy / max(len(frames), 1)
            print(f"    {rate:.1f} pictures per second, each {cost:.0f} ms of processor time in all threads")
            good &= report(stalls, seconds)
        if profiler is not None:
            pstats.Stats(profiler).dump_stats(profile)
        viewer.close()
    QApplication.processEvents()
    return good


def report(stalls: Any, seconds: float) -> bool:  # noqa: ANN401 - of the harness
    """Print the distribution of the gaps; returns whether the 99th percentile is within the limit."""
    import numpy as np

    measured: dict[str, Callable[[Any], float]] = {
        "waited": lambda gap: gap.end - gap.begin,
        "computed": lambda gap: gap.cpu,
        "napari": lambda gap: gap.napari,
    }
    p99 = {}
    for what, value in measured.items():
        ms = 1000 * np.array([value(gap) for gap in stalls.gaps])
        p50, p99[what] = np.percentile(ms, (50, 99))
        long = ms[ms > LIMIT_MS].sum() / 10 / seconds
        print(
            f"    {what:<9} p50 {p50:5.1f}, p99 {p99[what]:5.1f}, longest {ms.max():6.1f} ms; "
            f"{long:4.1f} % of the time in gaps above {LIMIT_MS:g} ms"
        )
    return p99["waited"] <= LIMIT_MS


def parse_size(text: str) -> tuple[int, int]:
    """Read width and height from a text such as 1366x768."""
    width, height = text.split("x")
    return int(width), int(height)


def main() -> int:
    """Measure each slide in a process of its own; the exit code is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--side", type=int, default=16384, help="side of the generated slide in pixels")
    parser.add_argument("--seconds", type=float, default=10.0, help="of dragging at each magnification")
    parser.add_argument("--model", default=DEFAULT_TILE_MODEL, help="of the analysis")
    parser.add_argument("--window", type=parse_size, default=WINDOW, help="its size in pixels")
    parser.add_argument("--plain", action="store_true", help="show the slide alone")
    parser.add_argument("--profile", type=Path, help="write a profile of processor time of the last slide, for pstats")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)  # measure in this process
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return int(not measure(options.slides[0], options.root, options.seconds, options.window, options.profile))
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slides = options.slides
        if not slides:
            command = ["phantom", "slide", "--out", folder, "--size", str(options.side), "--seed", "7"]
            subprocess.run([sys.executable, "-m", "napari_melanoma", *command], check=True, capture_output=True)
            slides = list(folder.glob("*.tif"))
        for slide in slides:
            print(f"== {slide.name}", flush=True)
            command = [sys.executable, __file__, slide.resolve(), "--here", "--seconds", str(options.seconds)]
            command += ["--window", "{}x{}".format(*options.window)]
            if not options.plain:
                write_results(slide.resolve(), folder / "results", options.model)
                command += ["--root", folder / "results"]
            if options.profile:
                command += ["--profile", options.profile]
            failed |= subprocess.run(command, env=isolate(folder), check=False).returncode
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
