"""The longest stall of the window while a slide is opened and shown, and the time to open the Slide dock.

    python benchmarks/slide_stall.py SLIDE...

Measured as in ``gui_stall.py``: the time of napari itself and of garbage collection is reported separately. Run it
under Xvfb without a display. The exit code is 1 if a limit is exceeded: 100 ms while a slide is added to the window,
50 ms otherwise.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import Any

import napari
from gui_stall import OPEN_MS, STALL_MS, Collections, Stalls, Stopwatch, stall_of, wait
from qtpy.QtWidgets import QApplication

AFTER_S = 3.0
SHOW_MS = 100.0  # perceived as immediate while the picture changes


def open_dock(viewer: napari.Viewer) -> tuple[Any, float]:
    """Open the dock; returns it and the time in ms, including imports."""
    started = time.perf_counter()
    from napari_melanoma.ui.slide.dock import SlideDock

    imported = time.perf_counter()
    dock = SlideDock(viewer)
    made = time.perf_counter()
    viewer.window.add_dock_widget(dock, name="Slide", area="right")
    QApplication.processEvents()
    opened = time.perf_counter()
    parts = zip(("import", "make", "add"), (imported - started, made - imported, opened - made), strict=True)
    print("dock: " + ", ".join(f"{what} {1000 * seconds:.0f} ms" for what, seconds in parts))
    return dock, 1000 * (opened - started)


def rest(seconds: float) -> None:
    """Process Qt events for a while."""
    until = time.monotonic() + seconds
    wait(lambda: time.monotonic() > until)


def main() -> int:
    """Print the times; the exit code is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--slack", type=float, default=1.0, help="factor of the limits, for a busy machine")
    arguments = parser.parse_args()

    stopwatch = Stopwatch()
    with stopwatch.watching():
        viewer = napari.Viewer()
        QApplication.processEvents()
        dock, open_ms = open_dock(viewer)
        from napari_melanoma.ui.widgets.job import tasks

        collections = Collections(stopwatch)
        gc.callbacks.append(collections)
        stalls = Stalls(stopwatch, collections)
        shown = []
        longest = [stall_of(stalls, "after opening", lambda: rest(AFTER_S))]
        longest += [stall_of(stalls, "idle", lambda: rest(AFTER_S))]
        for slide in arguments.slides:

            def opens(slide: Path = slide) -> None:
                dock.opener.open([slide])
                wait(tasks.is_idle)

            shown += [stall_of(stalls, f"opening {slide.name}", opens)]
            longest += [stall_of(stalls, f"after opening {slide.name}", lambda: rest(AFTER_S))]
        viewer.close()
    found = {
        "opening the dock": (open_ms, OPEN_MS),
        "the longest stall while a slide is opened": (max(shown), SHOW_MS),
        "the longest stall": (max(longest), STALL_MS),
    }
    broken = [
        f"{what} took {value:.0f} ms, the limit is {arguments.slack * limit:.0f} ms"
        for what, (value, limit) in found.items()
        if value > arguments.slack * limit
    ]
    print("\n".join(broken) or "within all limits")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
