"""How many rulers are proposed, how exact their scale is, and how often one is proposed where there is none.

    python benchmarks/rulers.py --data ../shared/data
    python benchmarks/rulers.py --part development

``truth/rulers.csv`` has rulers that were marked by hand: two points at the feet of ticks, (row, column) in pixels of
the photograph, the millimeters between them, and whether they served the development or are for the final figure.
``truth/without_ruler.csv`` lists photographs that show none. Photographs that are not there are counted as left out.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from napari_melanoma.imaging.ruler import Ruler, find_ruler
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.calibration import wilson_interval

TRUTH = Path(__file__).parent / "truth"
ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data"
SAMPLES = "samples"  # collection of the photographs in the repository; others are folders of the data
SAMPLE_FOLDERS = (ROOT / "src/napari_melanoma/samples/dermoscopic", ROOT / "examples/photographs")
SUFFIXES = (".jpg", ".png", ".bmp")
TOLERANCE = 0.03  # of the marked distance
Part = Literal["development", "final"]


class MarkedRuler(NamedTuple):
    """A ruler that was marked by hand, in the photograph of a collection."""

    collection: str
    image: str
    px_per_mm: float
    part: Part


class Search(NamedTuple):
    """What was found in a photograph, and the seconds of the processor that it took."""

    found: Ruler | None
    seconds: float


def read_rulers() -> list[MarkedRuler]:
    """Read the rulers that were marked by hand."""
    names = ("start_row", "start_column", "end_row", "end_column", "millimeters")
    rulers = []
    for row in _read_rows("rulers.csv"):
        top, left, bottom, right, millimeters = (float(row[name]) for name in names)
        length = math.dist((top, left), (bottom, right))
        part: Part = "final" if row["part"] == "final" else "development"
        rulers.append(MarkedRuler(row["collection"], row["image"], length / millimeters, part))
    return rulers


def read_photographs_without() -> list[tuple[str, str]]:
    """Read collection and name of the photographs that show no ruler."""
    return [(row["collection"], row["image"]) for row in _read_rows("without_ruler.csv")]


def _read_rows(name: str) -> list[dict[str, str]]:
    with (TRUTH / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def find_photograph(collection: str, image: str, data: Path) -> Path | None:
    """Return the file of a photograph; None if it is not there."""
    folders = SAMPLE_FOLDERS if collection == SAMPLES else (data / collection,)
    files = (folder / "images" / f"{image}{suffix}" for folder in folders for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def search(file: Path) -> Search:
    """Search for a ruler in a photograph."""
    rgb = read_photograph(file).rgb
    started = time.process_time()
    found = find_ruler(rgb)
    return Search(found, time.process_time() - started)


def share_text(count: int, total: int) -> str:
    """Return a count of a total, with its share and its 95 % interval in percent."""
    if total == 0:
        return "0 of 0"
    low, high = (100 * float(end) for end in wilson_interval(count, total))
    return f"{count} of {total} ({100 * count / total:.1f} %, {low:.1f} to {high:.1f})"


def report(rulers: Sequence[MarkedRuler], data: Path) -> Iterator[str]:
    """Yield lines with the figures of the marked rulers, and of the photographs without one."""
    files = [(one, find_photograph(one.collection, one.image, data)) for one in rulers]
    searches = [(one, search(file)) for one, file in files if file is not None]
    errors = [(one, done.found.px_per_mm / one.px_per_mm - 1) for one, done in searches if done.found is not None]
    exact = [error for _, error in errors if abs(error) <= TOLERANCE]
    yield f"with a ruler: {len(rulers)}, left out: {len(rulers) - len(searches)}"
    yield f"proposed: {share_text(len(errors), len(searches))}"
    yield f"within {100 * TOLERANCE:g} % of the marked distance: {share_text(len(exact), len(errors))}"
    if errors:
        median, worst = (function(abs(error) for _, error in errors) for function in (statistics.median, max))
        yield f"error: median {100 * median:.2f} %, largest {100 * worst:.2f} %"
    for one, done in searches:
        if done.found is None:
            yield f"  not proposed: {one.collection}/{one.image}"
    for one, error in errors:
        if abs(error) > TOLERANCE:
            yield f"  wrong: {one.collection}/{one.image}, {100 * error:+.1f} %"
    without = [(name, find_photograph(*name, data)) for name in read_photographs_without()]
    empty = [(name, search(file)) for name, file in without if file is not None]
    false = [name for name, done in empty if done.found is not None]
    yield f"without a ruler: {len(without)}, left out: {len(without) - len(empty)}"
    yield f"proposed all the same: {share_text(len(false), len(empty))}"
    for collection, image in false:
        yield f"  wrong: {collection}/{image}"
    seconds = sorted(done.seconds for _, done in (*searches, *empty))
    if seconds:
        yield f"seconds of the processor: median {statistics.median(seconds):.2f}, largest {seconds[-1]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the collections")
    parser.add_argument("--part", choices=get_args(Part), default="final", help="which rulers; final")
    arguments = parser.parse_args()
    rulers = [ruler for ruler in read_rulers() if ruler.part == arguments.part]
    for line in report(rulers, arguments.data):
        print(line)


if __name__ == "__main__":
    main()
