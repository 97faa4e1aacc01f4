"""Time to open napari with and without this plugin, in pairs of processes.

Run: scripts/with-display.sh python benchmarks/viewer_start.py [--pairs 10]

Each process creates the viewer, shows its window, and ends when the event loop is idle. Without the plugin, its package
is hidden from napari's search for plugins. The first pair, which reads files from the disk, does not count.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from first_prediction import Usage, run_process

LIMIT_S = 0.05  # aim for the difference
OPEN = """
import napari, sys
from npe2 import PluginManager
from qtpy.QtCore import QTimer

viewer = napari.Viewer()
QTimer.singleShot(0, viewer.close)
napari.run()
sys.exit("napari-melanoma" in PluginManager.instance())
"""
HIDE = """
from importlib import metadata

found = metadata.distributions
# By the folder: reading the name of each package takes 0.1 s
metadata.distributions = lambda **kw: (one for one in found(**kw) if "napari_melanoma-" not in str(one._path))
"""


def measure_pair(*, with_first: bool) -> tuple[Usage, Usage]:
    """Open napari with and without the plugin, in this order or the other."""
    first, second = (_open_napari(shown) for shown in (with_first, not with_first))
    return (first, second) if with_first else (second, first)


def _open_napari(shown: bool) -> Usage:
    program = OPEN if shown else HIDE + OPEN
    return run_process([sys.executable, "-W", "ignore", "-c", program], {}, expected=int(shown))


def main() -> int:
    """Measure and print medians and the quartiles of the differences; returns 1 if the aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    pairs = np.array([measure_pair(with_first=number % 2 == 0) for number in range(options.pairs + 1)][1:])
    for column, name in ((0, "s on the clock"), (1, "s of the processor")):
        times = pairs[:, :, column]
        low, middle, high = np.quantile(times[:, 0] - times[:, 1], (0.25, 0.5, 0.75))
        print(
            f"{name:20} with {np.median(times[:, 0]):.2f}, without {np.median(times[:, 1]):.2f}, difference in pairs "
            f"{middle:+.3f} ({low:+.3f} to {high:+.3f})"
        )
    return int(np.median(pairs[:, 0, 1] - pairs[:, 1, 1]) > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
