"""Time until the Lesion dock updates its prediction after a mask edit, and after a change of clinical metadata.

Run with ``python benchmarks/prediction_updates.py [--columns 3000 --rows 2000]``, under Xvfb without a display. A
stroke is painted as with napari's brush; the time is from its end until the dock shows the prediction for the current
mask. The first measurement of each type is discarded. The exit code is 1 if the median of one type is above 0.3 s.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from gui_stall import open_dock, photograph, wait
from qtpy.QtWidgets import QApplication

from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.patient_form import PatientForm

ALLOWED_S = 0.3


def seconds_until_predicted(dock: Any, change: Callable[[], None]) -> float:  # noqa: ANN401 - imported when timed
    """Make a change, and wait until the dock shows a new valid prediction."""
    before = dock.predictions.current_prediction(dock.picker.session)

    def follows() -> bool:
        now = dock.predictions.current_prediction(dock.picker.session)
        return now is not None and now is not before

    begun = time.perf_counter()
    change()
    wait(follows, 60)
    return time.perf_counter() - begun


def strokes(dock: Any, count: int) -> list[float]:  # noqa: ANN401 - as above
    """Paint at the border of the mask at different rows."""
    labels = dock.picker.session.mask
    labels.brush_size = max(labels.data.shape) // 40
    rows = np.flatnonzero(labels.data.any(axis=1))
    if not len(rows):
        raise SystemExit("the model found no lesion on the phantom, so there is no border to paint at")
    times = []
    for row in np.quantile(rows, np.linspace(0.2, 0.8, count), method="nearest").tolist():
        edge = int(np.flatnonzero(labels.data[row])[-1])
        times.append(seconds_until_predicted(dock, lambda at=(row, edge): labels.paint(at, 1)))
        wait(tasks.is_idle)
    return times


def enter_ages(dock: Any, count: int) -> list[float]:  # noqa: ANN401 - as above
    """Enter a different age each time."""
    times = []
    for age in range(30, 30 + 5 * count, 5):

        def fill(age: int = age) -> None:
            dock.findChild(PatientForm).show_row({"age": str(age), "sex": "female"})
            dock.findChild(PatientForm).edited.emit()

        times.append(seconds_until_predicted(dock, fill))
        wait(tasks.is_idle)
    return times


def main() -> int:
    """Print the times; the exit code is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    viewer = napari.Viewer()
    QApplication.processEvents()
    dock, _ = open_dock(viewer, "lesion-small")
    viewer.add_image(photograph(arguments.rows, arguments.columns), name="lesion", rgb=True)
    wait(tasks.is_idle)
    dock.analyze_button.click()
    wait(tasks.is_idle)
    medians = []
    for what, measure in (("stroke", strokes), ("metadata", enter_ages)):
        times = measure(dock, arguments.repeats)[1:]
        medians.append(statistics.median(times))
        print(f"{what}: median {medians[-1]:.2f} s ({min(times):.2f} to {max(times):.2f}), {len(times)} times")
    viewer.close()
    return int(max(medians) > ALLOWED_S)


if __name__ == "__main__":
    raise SystemExit(main())
