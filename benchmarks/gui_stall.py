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
import time
from functools import partial
from pathlib import Path
from typing import Any

import napari
import psutil
from harness import STAND_IN, Collections, Stalls, Stopwatch, photograph, stall_of, wait
from qtpy.QtWidgets import QApplication

AFTER_S, IDLE_S = 2.0, 5.0
STALL_MS, OPEN_MS = 50.0, 150.0  # not noticeable for users, and the limit of the dock


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
