"""Time from a stroke to the class map of the view, in the Slide dock, and memory while the rest of the slide follows.

    xvfb-run -a python benchmarks/paint_latency.py
    xvfb-run -a python benchmarks/paint_latency.py --sides 16384 --strokes 10 --views 3

The slides are JPEG pyramids of noise at 0.25 micrometers per pixel, all of which is tissue. Each stroke is added to the
session as the brush does; the time ends when all cells in view have the class of the new classifier and the window was
redrawn: that of the full map, and before, that of a map which is partly coarse (``coarse``). The accuracy is measured,
strokes are saved and, on the large slide, the rest is computed meanwhile.

* ``first``: the first map, ``--choose`` seconds after class and brush were selected: as long as a user takes to draw.
* ``known``: strokes in a view whose features are known, ``--pause`` seconds apart.
* ``new``: a stroke right after a jump to a view whose features are not known; as many views as fit, up to ``--views``.
  The rest of the small slide is paused for it, because its features are soon known.
* ``seen``: the same ``--choose`` seconds after the jump, in every second view.
* ``memory``: of the process before, and the highest during ``--follow`` further seconds of the background.

The exit code is 1 if the 95th percentile to the map that may be coarse is above 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import wait, write_noise

MPP = 0.25
VIEW_UM = (1200, 1800)  # height and width, as on a screen at 1 um per pixel
KINDS, LIMIT_S = ("first", "known", "seen", "new"), 1.0
CLOCKS = ("coarse_s", "coarse_processor_s", "s", "processor_s")  # of a stroke
CLASSES = ("Epidermis", "Dermis")
RADIUS_PX = 200.0
SMALL = 2**15  # pixels: side of a slide that has few views


def main() -> int:
    """Print a line of JSON for each slide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[16384, 131072], help="of the slides, in pixels")
    parser.add_argument("--slides", type=Path, nargs="+", default=[], help="files of square slides instead")
    parser.add_argument("--strokes", type=int, default=40)
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between strokes")
    parser.add_argument("--choose", type=float, default=3.0, help="seconds before a stroke")
    parser.add_argument("--follow", type=float, default=15.0, help="seconds in which the rest of the slide follows")
    options = parser.parse_args()
    exceeded = False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ |= {variable: str(folder / variable) for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        for side in options.sides if not options.slides else ():
            exceeded |= measure(write_noise(folder / f"noise-{side}.tif", side, MPP), side, options)
        for path in options.slides:
            exceeded |= measure(path, read_side(path), options)
    return int(exceeded)


def measure(path: Path, side: int, options: argparse.Namespace) -> bool:
    """Measure on one slide; return whether a limit is exceeded."""
    bench = PaintBench.open(path)
    first, *others = list_views(side, options.views + 1)
    bench.look_at(first)
    section = bench.loop.parent().view
    section.class_list.select_class(2)  # as a user does before the first stroke
    section.tools["brush"].click()
    bench.rest(options.choose)
    bench.paint()  # the first class alone has no map
    start = {"first": [bench.time_stroke()]}
    before = bench.memory_mb()
    if side <= SMALL:
        bench.loop.set_paused(True)
    seconds = {"known": [bench.time_stroke(options.pause) for _ in range(options.strokes)], "new": [], "seen": []}
    for number, center in enumerate(others):
        bench.look_at(center)
        is_seen = number % 2
        seconds["seen" if is_seen else "new"].append(bench.time_stroke(options.choose if is_seen else 0.0))
    bench.loop.set_paused(False)
    bench.rest(options.follow)
    report: dict[str, Any] = {"side": side, "strokes": len(seconds["known"]), "views": len(others)}
    for name, times in (start | seconds).items():
        for column, clock in enumerate(CLOCKS if times else ()):
            values = np.array(times)[:, column]
            report |= {f"{name}_p50_{clock}": np.median(values), f"{name}_p95_{clock}": np.quantile(values, 0.95)}
    report |= {"memory_start_mb": before, "memory_peak_mb": max(bench.memory), "memory_end_mb": bench.memory_mb()}
    report |= {"blocks": bench.loop.done, "of": bench.loop.total, "load": os.getloadavg()[0]}
    sys.stdout.write(json.dumps({key: round(float(value or 0), 2) for key, value in report.items()}) + "\n")
    sys.stdout.flush()
    bench.viewer.close()
    return any(report.get(f"{name}_p95_coarse_s", 0) > LIMIT_S for name in KINDS)


def read_side(path: Path) -> int:
    """Return the side of a slide in pixels."""
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(path) as slide:
        return slide.info.levels[0].height


def list_views(side: int, count: int) -> list[tuple[float, float]]:
    """Return centers of views in random order, in pixels of the finest level; those of a small slide adjoin."""
    height, width = ((1.5 if side > SMALL else 1.0) * length / MPP for length in VIEW_UM)
    rows, columns = (np.arange(length / 2, side - length / 2, length) for length in (height, width))
    every = [(float(row), float(column)) for row in rows for column in columns]
    order = np.random.default_rng(0).permutation(len(every))[:count]
    return [every[index] for index in order]


@dataclass
class PaintBench:
    """A window with the Slide dock and a slide, on which strokes are painted and timed."""

    viewer: Any
    session: Any
    loop: Any
    painted: int = 0
    center: tuple[float, float] = (0.0, 0.0)
    shown: set[tuple[int, int]] = field(default_factory=set)  # blocks in the map of the latest classifier
    coarse: set[tuple[int, int]] = field(default_factory=set)  # in its coarse map
    memory: list[float] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> PaintBench:
        """Open a slide in the dock, and the Paint section."""
        import napari

        from napari_melanoma.ui.sections.paint.mapping import PaintLoop
        from napari_melanoma.ui.slide.dock import SlideDock

        viewer = napari.Viewer()
        viewer.window.resize(1500, 950)
        dock = SlideDock(viewer)
        viewer.window.add_dock_widget(dock, name="Slide", area="right")
        dock.opener.open([path])
        wait(lambda: dock.findChild(PaintLoop) is not None)
        (session,) = dock.sections.hosted.sessions
        bench = cls(viewer, session, dock.findChild(PaintLoop))
        bench.loop.fitted.connect(bench.forget_map)
        bench.loop.map_changed.connect(bench.add_parts)
        return bench

    def forget_map(self) -> None:
        """Start a new map."""
        self.shown, self.coarse = set(), set()

    def add_parts(self, parts: Any) -> None:  # noqa: ANN401
        """Note the blocks that are shown."""
        for part in parts:
            (self.coarse if part.is_coarse else self.shown).add(part.block)
        self.memory.append(self.memory_mb())

    def look_at(self, center: tuple[float, float]) -> None:
        """Move the view."""
        from napari_melanoma.ui.viewer.camera import get_camera, get_extent

        camera, self.center = get_camera(self.viewer), center
        extent = get_extent(self.viewer)
        camera.zoom *= min(length / wanted for length, wanted in zip(extent, VIEW_UM, strict=True))
        camera.center = self.session.slide.to_world(center)

    def paint(self) -> None:
        """Add a stroke in view, of the next class."""
        from napari_melanoma.slides.tissue_classifier.strokes import Stroke
        from napari_melanoma.ui.session.strokes import add_stroke

        random = np.random.default_rng(self.painted)
        reach = np.array(VIEW_UM) / MPP / 3
        start = random.uniform(-reach, reach) + self.center
        points = [start, start + random.uniform(-RADIUS_PX, RADIUS_PX, 2)]
        corners = tuple((float(row), float(column)) for row, column in points)
        name = CLASSES[self.painted % len(CLASSES)]
        self.session.painted.apply(add_stroke(Stroke(f"{self.painted}", name, "brush", corners, RADIUS_PX)))
        self.painted += 1

    def time_stroke(self, pause: float = 0.0) -> list[float]:
        """Paint a stroke; return the seconds until a coarse map of the view, and until the full one, see ``CLOCKS``."""
        from qtpy.QtWidgets import QApplication

        from napari_melanoma.slides.tissue_classifier.cells import CellGrid, list_cells

        self.rest(pause)
        grid = CellGrid.plan(self.session.slide.info, 1.0)
        cells = grid.cells_in(self.loop.make_request().view)
        view = {tuple(block) for block in grid.blocks_of(list_cells(cells)).tolist()}
        previous, began, processor = self.loop.fit, time.perf_counter(), time.process_time()
        self.paint()
        self.forget_map()
        seconds = list[float]()
        for is_shown in (lambda: view <= self.shown | self.coarse, lambda: view <= self.shown):
            wait(lambda is_shown=is_shown: self.loop.fit not in (None, previous) and is_shown())
            QApplication.processEvents()  # draws the map
            seconds += time.perf_counter() - began, time.process_time() - processor
        return seconds

    def rest(self, seconds: float) -> None:
        """Process Qt events for a while."""
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)

    def memory_mb(self) -> float:
        """Return the memory of this process."""
        return float(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    sys.exit(main())
