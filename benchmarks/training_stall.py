"""Stalls of the window during a training: at rest, and while a photograph is moved.

A timer fires every few milliseconds; the excess of the gap between two calls is a stall. Stalls are measured at rest,
during panning, and during panning and zooming, with 30 camera moves per second, first without a training, then with
one: a child process that trains the shipped network on phantoms at 256 pixels, started as by the Train dock at low
priority, while the dock shows its curves.

While a photograph moves, the window is busy drawing it: napari's commands, the renderer, and Qt, which displays the
picture. Without a graphics card this alone takes longer than the limit, with or without a training. Therefore each
frame is timed as a whole, reported separately, and subtracted from its gap.

Run with ``python benchmarks/training_stall.py [--columns 3000 --rows 2000] [--seconds 20]``, under
``xvfb-run -s "-screen 0 1600x1200x24"`` without a display. The exit code is 1 if the 99th percentile during a training
reaches 50 ms: of all stalls at rest, and of stalls outside frames while the photograph moves. The lines without a
training show the stalls of the machine itself: if they are long, it is too busy for a measurement.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import napari
import numpy as np
from harness import Stopwatch, photograph, wait
from qtpy.QtCore import QSettings, Qt, QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from vispy.scene import SceneCanvas

from napari_melanoma.core.processes import send_command
from napari_melanoma.runs.launching import create_run_folder, launch, read_run
from napari_melanoma.ui.train.dock import TrainDock
from napari_melanoma.ui.widgets.job import tasks

TICK_MS, PAN_MS = 5, 33
LIMIT_MS = 50.0
PHANTOMS, SIDE_PX = 48, 288
STARTED_S, ENDED_S = 300.0, 120.0
FOLDERS = ("XDG_DATA_HOME", "XDG_STATE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA")


class Frames:
    """Times whole frames of napari's canvas, in ms: from the first command to the picture on the screen."""

    def __init__(self, drawing: Stopwatch) -> None:
        self.found: list[float] = []
        self._drawing = drawing
        self._begun = self._commanded = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the canvases created meanwhile; ``Stopwatch.watching`` counts their commands."""
        commands = SceneCanvas.on_draw

        @wraps(commands)
        def on_draw(canvas: SceneCanvas, event: object) -> None:
            self._begun = time.perf_counter()
            commands(canvas, event)
            self._commanded = time.perf_counter()

        with mock.patch.object(SceneCanvas, "on_draw", on_draw):
            yield

    def on_shown(self) -> None:
        """Record a displayed frame; Qt has done nothing else since its commands."""
        if self._commanded:
            now = time.perf_counter()
            self.found.append(1000 * (now - self._begun))
            self._drawing.seconds += now - self._commanded
            self._commanded = 0.0


class Gaps:
    """Records the excess of the gaps between the calls of a timer, with and without the frames in them, in ms."""

    def __init__(self, drawing: Stopwatch) -> None:
        self.found: list[float] = []
        self.apart: list[float] = []
        self._drawing = drawing
        self._last = self._drawn = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)

    def start(self) -> None:
        """Start recording."""
        self.found, self.apart = [], []
        self._last, self._drawn = time.perf_counter(), self._drawing.seconds
        self._timer.start()

    def stop(self) -> None:
        """Stop recording."""
        self._on_tick()
        self._timer.stop()

    def _on_tick(self) -> None:
        now, drawn = time.perf_counter(), self._drawing.seconds
        gap = 1000 * (now - self._last) - TICK_MS
        self.found.append(max(0.0, gap))
        self.apart.append(max(0.0, gap - 1000 * (drawn - self._drawn)))
        self._last, self._drawn = now, drawn


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of the values, in ms; 0 without values."""
    return float(np.percentile(values, 100 * share)) if values else 0.0


def report(what: str, gaps: Gaps, frames: list[float], *, moving: bool) -> float:
    """Print the stalls of a phase; returns the 99th percentile for the limit, in ms."""
    whole, apart = percentile(gaps.found, 0.99), percentile(gaps.apart, 0.99)
    print(
        f"{what:34} stalls p99 {whole:5.1f}, max {max(gaps.found):4.0f} ms; outside frames p99 {apart:5.1f} ms; "
        f"{len(frames):4} frames p50 {percentile(frames, 0.5):5.1f}, p99 {percentile(frames, 0.99):5.1f} ms",
        flush=True,
    )
    return apart if moving else whole


def measure(what: str, gaps: Gaps, frames: Frames, seconds: float, *moves: Callable[[], None]) -> float:
    """Record the stalls for a while, with moves 30 times per second."""
    timer, until = QTimer(), time.monotonic() + seconds
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    for move in moves:
        timer.timeout.connect(move)
    frames.found = []
    gaps.start()
    if moves:
        timer.start(PAN_MS)
    wait(lambda: time.monotonic() > until)
    timer.stop()
    gaps.stop()
    return report(what, gaps, frames.found, moving=bool(moves))


class Hand:
    """Pans a photograph in circles and zooms in and out, as with a mouse."""

    def __init__(self, viewer: napari.Viewer, rows: int, columns: int) -> None:
        scene = getattr(viewer, "scene", viewer)  # napari 0.9 has moved the camera
        self._camera, self._rows, self._columns = scene.camera, rows, columns
        self._zoom = float(self._camera.zoom)
        self._turn = 0.0

    def pan(self) -> None:
        """Move a little around the center."""
        self._turn += 0.05
        row = self._rows * (0.5 + 0.2 * math.sin(self._turn))
        column = self._columns * (0.5 + 0.2 * math.cos(self._turn))
        self._camera.center = (0.0, row, column)

    def zoom(self) -> None:
        """Zoom a little in or out."""
        self._turn += 0.05
        self._camera.zoom = self._zoom * (2.0 + math.sin(self._turn))


def canvas_of(viewer: napari.Viewer) -> QOpenGLWidget:
    """Find the widget in which napari draws."""
    canvas = viewer.window._qt_window.findChild(QOpenGLWidget)
    if canvas is None:
        raise SystemExit("napari draws in an unexpected widget: its frames cannot be timed")
    return canvas


def write_phantoms(folder: Path) -> Path:
    """Write a data set of phantom lesions."""
    from napari_melanoma.io.results import write_mask, write_rgb, write_table
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantoms
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    rows = []
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, phantom in enumerate(lesion_phantoms(LesionPhantomConfig(size=(SIDE_PX, SIDE_PX)), PHANTOMS)):
        name = f"phantom-{number:02}"
        write_rgb(folder / "images" / f"{name}.png", phantom.rgb)
        write_mask(folder / "masks" / f"{name}.png", phantom.mask)
        rows.append({"image_id": name, "patient_id": name, "split": "train" if number % 6 else "val"})
    write_table(folder / "dataset.csv", rows)
    return folder


def start_training(data: Path, run: Path) -> None:
    """Start the child process like the dock."""
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.training.recipe import TrainRecipe

    bundle = find_bundle(DEFAULT_BUNDLE).config
    values: dict[str, Any] = {
        "name": "stall",
        "epochs": 1000,
        "patience": 1000,
        "data": {"datasets": [str(data)]},
        "model": {
            "architecture": bundle.architecture,
            "options": dict(bundle.options),
            "start": DEFAULT_BUNDLE,
            "input_size": bundle.input_size,
        },
    }
    launch(TrainRecipe.parse(values, "the benchmark"), run)


def learning(run: Path) -> bool:
    """Return whether the child process computes batches; raise an error if it has ended."""
    found = read_run(run)
    if not found.state.active:
        output = run / "output.txt"
        raise SystemExit(f"the training ended: {found.message}\n{output.read_text() if output.exists() else ''}")
    return bool(found.step)


def measure_all(
    viewer: napari.Viewer, home: Path, gaps: Gaps, frames: Frames, arguments: argparse.Namespace
) -> dict[str, float]:
    """Measure every phase without and with a training; returns the percentiles with training in ms."""
    data = write_phantoms(home / "phantoms")
    viewer.window.resize(1400, 900)
    dock = TrainDock(viewer)
    viewer.window.add_dock_widget(dock, name="Train", area="right")
    viewer.add_image(photograph(arguments.rows, arguments.columns), name="lesion", rgb=True)
    wait(tasks.is_idle)
    canvas_of(viewer).frameSwapped.connect(frames.on_shown)
    hand = Hand(viewer, arguments.rows, arguments.columns)
    phases: tuple[tuple[str, tuple[Callable[[], None], ...]], ...] = (
        ("at rest", ()),
        ("panning", (hand.pan,)),
        ("panning and zooming", (hand.pan, hand.zoom)),
    )
    for what, moves in phases:
        measure(f"{what}, no training", gaps, frames, arguments.seconds, *moves)
    run = create_run_folder("stall", home / "runs")
    os.environ["XDG_CACHE_HOME"] = str(home)  # for the child only; napari keeps its icons there
    try:
        start_training(data, run)
        dock.run_controller.show_run(run)
        wait(lambda: learning(run), STARTED_S)
        wait(lambda: dock.run_page.curves is not None, STARTED_S)
        found = {what: measure(f"{what}, training", gaps, frames, arguments.seconds, *moves) for what, moves in phases}
        learning(run)  # still running at the end
    finally:
        send_command(run, "cancel")
        wait(lambda: not read_run(run).state.active, ENDED_S)
    print(f"the training ran at {read_run(run).step.get('images_per_second')} images/s")
    return found


def main() -> int:
    """Print the gaps; the exit code is 1 if they are too long during a training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each of the six phases")
    parser.add_argument("--slack", type=float, default=1.0, help="factor of the limit, for a busy machine")
    arguments = parser.parse_args()

    drawing = Stopwatch()
    frames = Frames(drawing)
    folder = TemporaryDirectory(prefix="training-stall-", ignore_cleanup_errors=True)
    with folder as name, drawing.watching(), frames.watching():
        for variable in FOLDERS:  # do not read or write the user's data, or wait for the user's runs
            os.environ[variable] = name
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, name)
        viewer = napari.Viewer()
        found = measure_all(viewer, Path(name), Gaps(drawing), frames, arguments)
        viewer.close()
    broken = [
        f"{what} during a training: p99 {worst:.0f} ms, the limit is {arguments.slack * LIMIT_MS:.0f} ms"
        for what, worst in found.items()
        if worst >= arguments.slack * LIMIT_MS
    ]
    if "torch" in sys.modules:
        broken.append("torch was imported by the viewer")
    print("\n".join(broken) or "within all limits")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
