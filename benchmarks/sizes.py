"""Time and memory of the largest inputs, at several sizes each, so that growth is seen.

    scripts/with-display.sh python benchmarks/sizes.py
    python benchmarks/sizes.py --only geojson table
    scripts/with-display.sh python benchmarks/sizes.py --only slide lesions --sizes 4096 16384 --keep FOLDER

The parts, with their sizes:

* ``slide``: side of a slide in pixels: opening it, jumps at 1:1 beside tifffile in turns, dragging it with the mouse
  (``slide_pan.py``), and from a stroke to the map of a view (``paint_latency.py``);
* ``lesions``: lesions of a slide in the Slide dock: shown, one selected, removed and restored;
* ``review``: photographs in the Review dock, all but 50 rated before: listed, those rated by a worker without a
  network, sorted, filtered, opened one after the other;
* ``labels``: photographs that are labeled with keys at two a second, each time until the next one is on the screen;
* ``table``: rows of a table without images: checked, split and merged with another one; and the comparison of as many
  thumbnails for duplicates;
* ``geojson``: objects of 24 vertices: read, fitted to the slide, written;
* ``case``: images of a case in the Case dock: opened, one image opened, one edit.

Each part and size runs in a process of its own. Printed is a table with seconds on the clock and of the processor, the
longest gap of the event loop of a window, and the peak memory of the process; for the second size and above also the
exponent of growth of the processor time: 1 is linear, 2 quadratic. Windows need a display, see above. ``--keep`` is a
folder for generated slides, 2.6 GB for the largest one, which are then reused.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import isolate, photograph, rest, wait, write_noise

MPP = 0.25
JUMPS, CANVAS_PX = 30, (800, 1200)
JPEG_LEVEL = 55  # so that the largest slide takes 2.6 GB
VERTICES = 24
ROW = "row: "  # begins the lines that a process prints for the table
UNRATED = 50  # photographs that are rated in the window
KEY_S = 0.5  # between two keys that label photographs
PAUSE_S = 1.0  # after an action in a window, in which what it started is noticed
# A worker without a network
WORKER = """
from napari_melanoma import worker
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.lesion.analysis import ModelStamp
from napari_melanoma.lesion.segmentation import LesionPrediction
from napari_melanoma.lesion.uncertainty_ratings import Rating
from napari_melanoma.models.installed_bundles import find_bundle

def rate(model, path, measure, run):
    rgb, found = read_photograph(path).rgb, find_bundle(model).fingerprint
    return Rating(float(rgb[0, 0, 0]) / 255, measure, True, array_fingerprint(rgb), model, found)

def segment(model, photograph, flips, run):
    dark = photograph.values.mean(axis=2) < 128
    return LesionPrediction(dark.astype("float32")), ModelStamp("stand-in", "0" * 64, "cpu", 0.5)

worker.rate, worker.segment = rate, segment
worker.main()
"""


class Row(NamedTuple):
    """A line of the table; ``stall_ms``: None without a window."""

    what: str
    seconds: float
    processor_s: float | None = None
    stall_ms: float | None = None


def add_row(row: Row) -> None:
    """Print a line for the table, from the process of a part."""
    print(ROW + json.dumps(row), flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Measure a block."""
    began, processor = time.perf_counter(), time.process_time()
    yield
    add_row(Row(what, time.perf_counter() - began, time.process_time() - processor))


class Window:
    """A viewer with a dock, whose actions are measured until nothing runs any more."""

    def __init__(self, dock_class: type, name: str, *arguments: object) -> None:
        import gc

        import napari
        from harness import Collections, Stalls, Stopwatch

        stopwatch = Stopwatch()
        collections = Collections(stopwatch)
        gc.callbacks.append(collections)
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1500, 950)
        self.dock = dock_class(self.viewer, *arguments)
        self.viewer.window.add_dock_widget(self.dock, name=name, area="right")
        self._stalls = Stalls(stopwatch, collections)
        self.rest()

    def measure(self, what: str, act: Callable[[], object], until: Callable[[], bool] = lambda: True) -> None:
        """Measure an action until a condition holds and nothing runs."""
        from napari_melanoma.ui.widgets.job import tasks

        began, processor = time.perf_counter(), time.process_time()
        self._stalls.start()
        act()
        wait(lambda: until() and tasks.is_idle(), 1200.0)
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        rest(PAUSE_S)  # drawing and what is delayed
        self._stalls.stop()
        longest = max(gap.end - gap.begin for gap in self._stalls.gaps)
        add_row(Row(what, seconds, processor, 1000 * longest))

    def rest(self) -> None:
        """Wait until nothing runs."""
        from napari_melanoma.ui.widgets.job import tasks

        rest(PAUSE_S)
        wait(tasks.is_idle)

    def close(self) -> None:
        """Close the window."""
        self.rest()
        self.viewer.close()


def prepare_slide(side: int, folder: Path) -> Path:
    """Write a slide, unless it exists."""
    path = folder / f"noise-{side}.tif"
    if not path.exists():
        print(f"writing a slide of {side} px", flush=True)
        write_noise(folder / "unfinished.tif", side, MPP, JPEG_LEVEL).rename(path)
    return path


def measure_slide(side: int, folder: Path) -> None:
    """Open a slide and read it at random positions, in turns with tifffile."""
    import tifffile
    import zarr

    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    path = prepare_slide(side, folder)
    np.asarray(make_slide_layers(open_slide(path))[0][0][-1])  # imports, and the file in memory, for both
    with timed("open, coarsest level"):
        slide = open_slide(path)
        levels = make_slide_layers(slide)[0][0]
        np.asarray(levels[-1])
    with timed("the same by tifffile"):
        pages = zarr.open(tifffile.imread(path, aszarr=True), mode="r")
        np.asarray(pages[str(len(levels) - 1)])
    random, (height, width) = np.random.default_rng(1), CANVAS_PX
    seconds: dict[str, list[tuple[float, float]]] = {"this package": [], "tifffile": []}
    for jump in range(JUMPS):
        top, left = random.integers(0, side - height), random.integers(0, side - width)
        box = slice(top, top + height), slice(left, left + width)
        readers = [("this package", levels[0]), ("tifffile", pages["0"])]
        shown = []
        for name, level in readers if jump % 2 else readers[::-1]:
            began, processor = time.perf_counter(), time.process_time()
            shown.append(np.asarray(level[box]))
            seconds[name].append((time.perf_counter() - began, time.process_time() - processor))
        np.testing.assert_array_equal(*shown)
    own, other = np.array(seconds["this package"]), np.array(seconds["tifffile"])
    for name, values in seconds.items():
        add_row(Row(f"jump at 1:1, {name} (median)", *np.median(values, axis=0)))
    ratios = np.median(own / other, axis=0)
    print(f"jump, this package relative to tifffile: {ratios[0]:.2f} on the clock, {ratios[1]:.2f} of the processor")


def list_slide_runs(side: int, folder: Path) -> list[Row]:
    """Run the benchmarks of dragging and painting on a slide, and return their figures."""
    path, here = prepare_slide(side, folder), Path(__file__).parent
    printed = run_script(here / "slide_pan.py", path, "--plain", "--seconds", 3)
    gaps = re.findall(
        r"^([\d.]+)x: .*?\n\s+waited +p50 +[\d.]+, p99 +([\d.]+), longest +([\d.]+)", printed, re.M | re.S
    )
    rows = [
        Row(f"drag at {zoom}x, 99th percentile of gaps", float(p99) / 1000, None, float(longest))
        for zoom, p99, longest in gaps
    ]
    from paint_latency import CLOCKS

    printed = run_script(here / "paint_latency.py", "--slides", path, "--strokes", 12, "--views", 10, "--follow", 5)
    figures = json.loads(printed.splitlines()[-1])
    for name, what in (
        ("first", "first map"),
        ("known", "stroke, features known"),
        ("new", "stroke right after a jump"),
        ("seen", "stroke 3 s after a jump"),
    ):
        for share, kind in (("p50", "median"), ("p95", "95th percentile")):
            values = [figures.get(f"{name}_{share}_{clock}") for clock in CLOCKS]
            if values[0] is not None and not (name == "first" and share == "p95"):  # there is only one first map
                what_kind = what if name == "first" else f"{what}, {kind}"
                rows += [Row(f"{what_kind}, coarse", *values[:2]), Row(what_kind, *values[2:])]
    memory = [figures[f"memory_{when}_mb"] for when in ("start", "peak")]
    sys.stderr.write(f"painting: {memory[0]:.0f} MB, at most {memory[1]:.0f} MB\n")
    return rows


def run_script(*command: object) -> str:
    """Run a benchmark, whose exit code says whether its limits were met, and return what it printed."""
    with tempfile.TemporaryDirectory() as home:
        arguments = [sys.executable, *map(str, command)]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, env=isolate(Path(home)), check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {done.returncode}.")
    return done.stdout


def measure_lesions(count: int, folder: Path) -> None:
    """Show the lesions of a slide, and edit one of them."""
    from napari_melanoma.slides.result_folder import slide_folder
    from napari_melanoma.ui.slide.dock import SlideDock

    slide, window = prepare_slide(8192, folder), Window(SlideDock, "Slide")
    dock: Any = window.dock
    write_spots(slide, slide_folder(dock.settings.slide_results, slide), count)
    window.measure("open the slide with its lesions", lambda: dock.opener.open([slide]), lambda: has_lesions(dock))
    session, hosted = dock.sections.hosted.session, dock.sections.hosted.sections["Lesions"]
    assert len(session.lesions.value.lesions) == count
    if hosted.widget is None:
        window.measure("expand the section", hosted.frame.expand, lambda: hosted.widget is not None)
    table = hosted.widget.table
    window.measure("select one", lambda: table.selectRow(count // 2))
    window.measure("sort by area", lambda: table.sortByColumn(3, table.horizontalHeader().sortIndicatorOrder()))
    window.measure(
        "remove one, until saved",
        hosted.widget.buttons["remove"].click,
        lambda: len(session.lesions.value.lesions) < count and session.lesions.is_saved,
    )
    window.measure(
        "undo, until saved",
        hosted.widget.buttons["undo"].click,
        lambda: len(session.lesions.value.lesions) == count and session.lesions.is_saved,
    )
    window.close()


def has_lesions(dock: Any) -> bool:  # noqa: ANN401 - the Slide dock
    """Return whether the lesions of the slide are known."""
    hosted = dock.sections.hosted
    return bool("Lesions" in hosted.sections and hosted.session and hosted.session.lesions.value)


def write_spots(slide: Path, folder: Path, count: int) -> None:
    """Write the results of a slide with as many lesions, of 3 x 3 tiles each."""
    from napari_melanoma.core.files import write_json
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.validity import Validity
    from napari_melanoma.io.results import write_mask
    from napari_melanoma.io.slide_store import DONE, SlideResult, SlideResultSpec
    from napari_melanoma.slides.lesion_files import SavedLesions, write_detected_lesions
    from napari_melanoma.slides.lesions import LesionConfig, find_lesions
    from napari_melanoma.slides.reading.files import slide_fingerprint
    from napari_melanoma.slides.result_folder import record_slide
    from napari_melanoma.slides.results import read_lesion_maps

    per_row = math.ceil(math.sqrt(count))
    side = 5 * per_row + 1
    melanoma = np.full((side, side), 0.1, np.float32)
    for number in range(count):
        row, column = (5 * place + 1 for place in divmod(number, per_row))
        melanoma[row : row + 3, column : column + 3] = 0.9
    step = 8192 / side
    folder.mkdir(parents=True)
    record_slide(folder, slide, record_name=True)
    order = np.argwhere(np.ones_like(melanoma)).astype(np.int32)
    names = ("benign", "melanoma")
    spec = SlideResultSpec(
        slide=slide.stem, fingerprint=slide_fingerprint(slide), kind="classification", classes=names, rows=side,
        columns=side, corner=(0, 0), step=(step, step), pixel_size_um=(MPP, MPP), tile_px=32,
    )  # fmt: skip
    values = np.stack([1 - melanoma, melanoma], axis=2)[order[:, 0], order[:, 1]]
    writer = SlideResult.create(folder, spec, order).writer()
    writer.put(0, np.full(len(order), DONE, np.uint8), {"probability": values})
    writer.flush()
    write_mask(folder / "tissue.png", np.ones((256, 256), bool))
    with timed("detect the lesions"):
        maps = read_lesion_maps(folder, "melanoma")
        lesions = find_lesions(maps, LesionConfig())
    write_detected_lesions(folder, SavedLesions(lesions, "melanoma", saved_by="model"), maps, Validity())
    content = {
        "slide": slide.stem, "fingerprint": spec.fingerprint, "validity": {"valid": True}, "model": {"name": "none"},
        "target": "melanoma", "probability": 0.2, "scores": {}, "tiles_done": len(order),
        "tiles_total": len(order), "seconds": 1.0, "warnings": [],
        "options": {"lesions": LesionConfig().model_dump(mode="json")},
    }  # fmt: skip
    write_json(folder / "result.json", content)
    RunFolder(folder).append_final_event("finished", tiles=len(order), failed=0)


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Write small photographs, all different."""
    from PIL import Image

    folder.mkdir(parents=True)
    rgb, paths = photograph(120, 160), []
    for number in range(count):
        rgb[0, :3, 0] = number % 251, number // 251 % 251, number // 63001  # the first one is its rating
        paths.append(folder / f"photograph-{number:05}.png")
        Image.fromarray(rgb).save(paths[-1], compress_level=1)
    return paths


def rate_photographs(paths: list[Path]) -> None:
    """Store ratings of photographs by the model that is selected first."""
    from napari_melanoma.lesion.uncertainty_ratings import Rating, store_rating
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.models.installed_bundles import find_bundle

    model = find_bundle(DEFAULT_BUNDLE)
    for number, path in enumerate(paths):
        status, score = path.stat(), number % 251 / 255
        rating = Rating(score, "entropy", True, f"{number:064x}", model.name, model.fingerprint)
        store_rating(path, status.st_mtime, status.st_size, rating)


def make_client(folder: Path) -> Any:  # noqa: ANN401 - imported late
    """Return the client of a worker without a network."""
    from napari_melanoma.ui.worker_client import WorkerClient

    script = folder / "worker.py"
    script.write_text(WORKER)
    return WorkerClient([sys.executable, str(script)])


def measure_review(count: int, folder: Path) -> None:
    """List and rate photographs, and go through them."""
    from napari_melanoma.ui.library.review import ReviewDock

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        photos = Path(name) / "photos"
        rate_photographs(write_photographs(photos, count)[:-UNRATED])
        client = make_client(Path(name))
        window = Window(ReviewDock, "Review", client)
        dock: Any = window.dock
        rows = dock.list_model.rowCount
        window.measure(f"list, and rate {UNRATED}", lambda: dock.open([photos]), lambda: rows() == count)
        window.measure("list again, rated", lambda: dock.open([photos]), lambda: rows() == count)
        for index in range(1, dock.sort_combo.count()):
            window.measure(f"order: {dock.sort_combo.itemText(index)}", partial(choose, dock.sort_combo, index))
        window.measure("filter by a name", lambda: dock.name_field.setText("photograph-00001"), lambda: rows() < count)
        window.measure("all names again", lambda: dock.name_field.setText(""), lambda: rows() == count)
        window.measure("next", dock.next_button.click, lambda: dock.opener.is_shown)
        window.measure("reject, until the next is shown", dock.reject_button.click, lambda: dock.opener.is_shown)
        window.measure("next again", dock.next_button.click, lambda: dock.opener.is_shown)
        window.close()
        client.close()


def measure_labels(count: int, folder: Path) -> None:
    """Label photographs with keys; the time ends when the next one is drawn."""
    from PIL import Image
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    from napari_melanoma.ui.library.review import ReviewDock
    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        photos, settings, rgb = Path(name) / "photos", ReviewSettings(), photograph(1500, 2000)
        photos.mkdir()
        for number in range(count + 10):
            Image.fromarray(np.roll(rgb, 20 * number, axis=1)).save(photos / f"photograph-{number:03}.jpg", quality=90)
        settings.corrections, settings.reviewer = Path(name) / "corrections", "A"
        client = make_client(Path(name))
        window = Window(ReviewDock, "Review", client)
        dock: Any = window.dock
        window.measure("list and rate", lambda: dock.open([photos]), lambda: dock.list_model.rowCount() == count + 10)
        dock.window().activateWindow()
        wait(dock.window().isActiveWindow)
        dock.diagnosis.mode_button.click()
        window.measure("first photograph", dock.next_button.click, lambda: dock.opener.is_shown)
        times = []
        for number in range(count):
            began, processor, previous = time.monotonic(), time.process_time(), dock.opener.path
            QTest.keyClick(dock.window().windowHandle(), (Qt.Key.Key_1, Qt.Key.Key_2)[number % 2])
            wait(lambda previous=previous: dock.opener.path != previous and dock.opener.is_shown)
            shown = time.monotonic() - dock.opener.seconds_in_view
            rest(max(0.0, began + KEY_S - time.monotonic()))
            times.append((shown - began, time.process_time() - processor))
        for share, kind in ((0.5, "median"), (0.95, "95th percentile")):
            add_row(Row(f"label until the next is drawn, {kind}", *np.quantile(times, share, axis=0).tolist()))
        window.close()
        client.close()


def choose(combo: Any, index: int) -> None:  # noqa: ANN401 - a combo box
    """Choose an item as a user does."""
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def measure_case(count: int, folder: Path) -> None:
    """Open a case with several images of each lesion, and change it."""
    from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.ui.case.dock import CaseDock
    from napari_melanoma.ui.worker_client import acquire_worker

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        paths = write_photographs(Path(name) / "photos", count)
        case = Case()
        for first in range(0, count, 5):
            case = add_lesion(case, site="posterior torso")
            images = [CaseImage(id="I1", path=path, modality="dermoscopic") for path in paths[first : first + 5]]
            case = add_images(case, images, case.lesions[-1].id)
        CaseStore.create(Path(name) / "case", case).close()
        window = Window(CaseDock, "Case")
        worker = acquire_worker()
        script = Path(name) / "worker.py"
        script.write_text(WORKER)
        worker._command = [sys.executable, str(script)]
        dock: Any = window.dock
        controller = dock.controller
        window.measure("open", lambda: controller.open(Path(name) / "case"), lambda: controller.case is not None)
        ids = [image.id for _, image in controller.case.iterate_images()]
        window.measure("open an image", lambda: dock.images.open(ids[1:2]))
        window.measure("open the next image", lambda: dock.images.open(ids[2:3]))
        window.measure("open a lesion of five", lambda: dock.images.open(ids[5:10]))
        is_saved = lambda: not controller.saver.has_unsaved_changes  # noqa: E731 - one line
        window.measure("add a lesion, until saved", dock.add_lesion_button.click, is_saved)
        window.measure("undo, until saved", dock.undo_button.click, is_saved)
        window.close()


def measure_table(count: int, folder: Path) -> None:
    """Check, split and merge tables, and compare thumbnails for duplicates."""
    from napari_melanoma.data.duplicates import THUMBNAIL_PX, find_similar_pairs

    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "first", Path(name) / "second"
        write_rows(first, range(count))
        write_rows(second, range(count - count // 10, count))  # a tenth is in both
        run_command("check", first / "dataset.csv", what="data check")
        run_command("split", first, "--no-look", what="data split")
        run_command("merge", first, second, "--out", Path(name) / "merged", what="data merge")
    random = np.random.default_rng(0)
    small = random.normal(128, 40, (count, 8, 8)).astype(np.float32)
    thumbnails = np.empty((count, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for index in range(count):  # in place: as floats they would take 3 GB
        thumbnails[index] = np.clip(np.kron(small[index], np.ones((4, 4))) + random.normal(0, 9, (32, 32)), 0, 255)
    thumbnails[count // 2 : count // 2 + count // 100] = thumbnails[: count // 100]
    with timed("compare thumbnails for duplicates"):
        pairs = find_similar_pairs(thumbnails)
    assert len(pairs) >= count // 100


def write_rows(folder: Path, numbers: range) -> None:
    """Write a data set without images: two images of a lesion, two lesions of a patient."""
    folder.mkdir()
    lines = ["image_id,patient_id,lesion_id,diagnosis,age,sex,site"]
    for number in numbers:
        diagnosis, sex = ("nevus", "melanoma", "bkl")[number % 7 % 3], ("female", "male")[number // 4 % 2]
        age = 20 + number // 4 % 70
        lines.append(
            f"image{number:07},patient{number // 4:06},lesion{number // 2:06},{diagnosis},{age},{sex},posterior torso"
        )
    (folder / "dataset.csv").write_text("\n".join(lines) + "\n")


def run_command(*arguments: object, what: str) -> None:
    """Measure a command of ``napari-melanoma data``; the exit code 1 states faults, such as missing images."""
    from harness import run_process

    command = [sys.executable, "-m", "napari_melanoma", "data", *map(str, arguments)]
    usage = run_process(command, {})
    add_row(Row(f"{what} ({usage.memory_mb:.0f} MB)", usage.seconds, usage.processor_s))


def measure_geojson(count: int, folder: Path) -> None:
    """Read, fit and write objects as QuPath exports them."""
    from napari_melanoma.io.geojson import fit_to_slide, read_geojson, write_geojson

    side = 131072
    with tempfile.TemporaryDirectory() as name:
        path = write_objects(Path(name) / "objects.geojson", count, side)
        with timed(f"read {path.stat().st_size / 1e6:.0f} MB"):
            content = read_geojson(path)
        with timed("fit to the slide"):
            fitted = fit_to_slide(content, (side, side))
        with timed("write"):
            write_geojson(Path(name) / "written.geojson", fitted.annotations)
    assert len(fitted.annotations) == count


def write_objects(path: Path, count: int, side: int) -> Path:
    """Write cells of 24 vertices with a class and measurements, in a separate process, whose memory is not counted."""
    code = f"""
import json, math, random, uuid
draw = random.Random(0)
with open({str(path)!r}, "w") as file:
    file.write('{{"type": "FeatureCollection", "features": [')
    for number in range({count}):
        y, x, radius = draw.uniform(50, {side} - 50), draw.uniform(50, {side} - 50), draw.uniform(15, 40)
        turns = [2 * math.pi * corner / {VERTICES} for corner in range({VERTICES})]
        ring = [[round(x + radius * math.cos(a), 2), round(y + radius * math.sin(a), 2)] for a in turns]
        feature = {{"type": "Feature", "id": str(uuid.UUID(int=draw.getrandbits(128)))}}
        feature["geometry"] = {{"type": "Polygon", "coordinates": [[*ring, ring[0]]]}}
        properties = {{"objectType": "detection", "classification": {{"name": "Tumor", "color": [200, 0, 0]}}}}
        properties["measurements"] = {{"Area": radius**2, "Hematoxylin: mean": draw.random(), "Eosin": draw.random()}}
        file.write(("," if number else "") + "\\n" + json.dumps({{**feature, "properties": properties}}))
    file.write("\\n]}}\\n")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    return path


class Part(NamedTuple):
    """A part: what its process measures, at which sizes, and what is run beside it."""

    measure: Callable[[int, Path], None]
    sizes: tuple[int, ...]
    list_runs: Callable[[int, Path], list[Row]] | None = None


PARTS = {
    "slide": Part(measure_slide, (16384, 131072), list_slide_runs),
    "lesions": Part(measure_lesions, (1250, 5000)),
    "review": Part(measure_review, (1250, 5000)),
    "labels": Part(measure_labels, (60,)),
    "table": Part(measure_table, (100_000, 400_000)),
    "geojson": Part(measure_geojson, (25_000, 100_000)),
    "case": Part(measure_case, (15, 60)),
}


def run_part(name: str, size: int, folder: Path) -> tuple[list[Row], float]:
    """Run a part in a process of its own; return its rows, and its peak memory in MB."""
    command = [sys.executable, __file__, "--only", name, "--sizes", str(size), "--keep", str(folder), "--here"]
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        variables = isolate(Path(home))
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(ROW):
                    rows.append(Row(*json.loads(line.removeprefix(ROW))))
                else:
                    sys.stderr.write(line)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}.")
    return rows, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def print_rows(name: str, size: int, rows: list[Row], memory_mb: float, smaller: tuple[int, list[Row]] | None) -> None:
    """Print lines of the table; ``smaller``: the size before with its rows, from which growth is computed."""
    for row in rows:
        growth = "" if smaller is None else find_growth(row, size, *smaller)
        memory = f"{memory_mb:,.0f}" if row is rows[0] else ""
        processor = "" if row.processor_s is None else f"{row.processor_s:.3g}"
        stall = "" if row.stall_ms is None else f"{row.stall_ms:.0f}"
        print(f"| {name} | {size:,} | {row.what} | {row.seconds:.3g} | {processor} | {stall} | {growth} | {memory} |")
    sys.stdout.flush()


def find_growth(row: Row, size: int, smaller_size: int, smaller_rows: list[Row]) -> str:
    """Return the exponent of growth of a measurement, by processor time where that is known."""

    def value(one: Row) -> float:
        return one.seconds if one.processor_s is None else one.processor_s

    def name(one: Row) -> str:
        return re.sub(r"[\d,.]+ MB", "", one.what)

    previous = next((one for one in smaller_rows if name(one) == name(row)), None)
    if previous is None or value(previous) <= 0 or value(row) <= 0:
        return ""
    return f"{math.log(value(row) / value(previous)) / math.log(size / smaller_size):.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts")
    parser.add_argument("--sizes", nargs="+", type=int, help="instead of those of the parts")
    parser.add_argument("--keep", type=Path, help="folder for generated slides, which are kept")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # measure in this process
    options = parser.parse_args()
    if options.here:
        PARTS[options.only[0]].measure(options.sizes[0], options.keep)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
        print("| part | size | measurement | clock, s | processor, s | longest gap, ms | growth | peak memory, MB |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for name in options.only:
            part, smaller = PARTS[name], None
            for size in sorted(options.sizes or part.sizes):
                rows, memory_mb = run_part(name, size, folder)
                rows += part.list_runs(size, folder) if part.list_runs else []
                print_rows(name, size, rows, memory_mb, smaller)
                smaller = size, rows


if __name__ == "__main__":
    main()
