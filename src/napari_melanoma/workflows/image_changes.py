"""The images of a comparison of two models: what changed on each, pictures of the greatest changes, and all files."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.file_names import free_name, safe_name
from napari_melanoma.data.dataset import Sample
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.report.comparison import draw_changes, draw_contours
from napari_melanoma.report.comparison_page import write_page
from napari_melanoma.workflows.comparison import SHOWN, Comparison, ImageChange, page_of
from napari_melanoma.workflows.training_overlap import Overlap, marked_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Masks = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]

PICTURED = 12  # images that got most better, and as many that got most worse
PAGE_NAME = "comparison.html"
NOTABLE = 0.005  # a smaller change of an image's Jaccard index is neither


@dataclass
class Pair:
    """One image under both models."""

    sample: Sample
    old: dict[str, float] = field(default_factory=dict)
    new: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def change(self) -> float:
        """Difference in Jaccard index."""
        return self.new["JA"] - self.old["JA"]

    def row(self) -> dict[str, object]:
        """Give the row of ``per_image.csv``."""
        about = {name: getattr(self.sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        found: dict[str, object] = {"status": "failed" if self.error else "done", "error": self.error}
        for metric in SHOWN:
            old, new = self.old.get(metric), self.new.get(metric)
            change = None if old is None or new is None else new - old
            found |= {f"{metric}_old": old, f"{metric}_new": new, f"{metric}_difference": change}
        return {**about, **found}


class Extremes:
    """Keeps pictures of the images that changed most, and no others: a data set may have thousands."""

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[float, int, Pair, NDArray[np.uint8]]]] = {1: [], -1: []}
        self._count = 0
        self._names: set[str] = set()

    def offer(self, pair: Pair, masks: Masks, rgb: NDArray[np.uint8]) -> None:
        """Keep an image if it is among those that changed most in its direction.

        ``masks``: bool (row, column): of the old model, of the new one, and the reference. ``rgb``: uint8 (row, column,
        channel).
        """
        if abs(pair.change) < NOTABLE:
            return
        heap, change = self._heaps[1 if pair.change > 0 else -1], abs(pair.change)
        if len(heap) == PICTURED and change <= heap[0][0]:
            return
        self._count += 1
        item = (change, -self._count, pair, draw_contours(rgb, *masks))
        if len(heap) < PICTURED:
            heapq.heappush(heap, item)
        else:
            heapq.heapreplace(heap, item)

    def write(self, direction: int, folder: Path) -> tuple[ImageChange, ...]:
        """Write the pictures of one direction.

        Returns the greatest change first.
        """
        found = []
        for *_, pair, picture in sorted(self._heaps[direction], key=lambda item: item[:2], reverse=True):
            sample = pair.sample
            path = self._path(sample, folder / "thumbnails")
            write_rgb(path, picture)
            figures = (pair.old["JA"], pair.new["JA"], pair.old["DI"], pair.new["DI"])
            found.append(ImageChange(sample.image_id, sample.domain, sample.image, *figures, path))
        return tuple(found)

    def _path(self, sample: Sample, folder: Path) -> Path:
        """Find a file name for the picture of an image; data sets may have images of one name."""
        image, domain = safe_name(sample.image_id), safe_name(sample.domain)
        name = free_name(image if image.lower() not in self._names else f"{domain}-{image}", self._names)
        self._names.add(name.lower())
        return folder / f"{name}.png"


def measured_of(pairs: Sequence[Pair]) -> list[Pair]:
    """Give the images that could be measured."""
    measured = [pair for pair in pairs if not pair.error]
    if not measured:
        why = f"; '{pairs[0].sample.image_id}': {pairs[0].error}" if pairs else ""
        raise DataSetError(f"none of {len(pairs)} images could be compared{why}")
    return measured


def write_comparison(
    comparison: Comparison, pairs: Sequence[Pair], extremes: Extremes, out: Path, overlap: Overlap | None = None
) -> Comparison:
    """Write all files of a comparison."""
    shutil.rmtree(out / "thumbnails", ignore_errors=True)  # of an earlier comparison
    rows = marked_rows((pair.row() for pair in pairs), [pair.sample for pair in pairs], overlap)
    write_table(out / "per_image.csv", list(rows))
    written = replace(comparison, better=extremes.write(1, out), worse=extremes.write(-1, out), path=out)
    figures = [(pair.sample.domain, pair.old["JA"], pair.new["JA"]) for pair in measured_of(pairs)]
    intervals = {domain.name: domain.difference["JA"] for domain in written.domains}
    draw_changes(figures, intervals, out / "changes.png")
    write_page(page_of(written), out / "changes.png", out / PAGE_NAME)
    written.write(out)  # last: whoever reads takes it for the sign that all is there
    return written
