"""How well networks tell the depth from the image: a table beside the paper's figure, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.agreement import FEWEST, bland_altman
from napari_melanoma.analysis.resampling import bootstrap_figure
from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.report.reproduction_page import Picture
from napari_melanoma.report.risk_figures import draw_depths
from napari_melanoma.report.tables import Table
from napari_melanoma.workflows.reproduction.found import PARTS, Found, in_part, parts_of
from napari_melanoma.workflows.reproduction.papers import Paper

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURES = ("MAE, mm", "SD of the error, mm", "Pearson r", "mean difference, mm", "95 % limits, mm")
COLUMNS = ("Row", "Images", "n", *MEASURES)
DRAWN = "Told less measured. Beyond the height of a patch the deepest place is out of view."


@dataclass(frozen=True, eq=False)
class Told:
    """Depths of a row on a part of the images: told and measured, mm, float64 (image,), and the patient of each."""

    title: str
    where: str
    said: NDArray[np.float64]
    true: NDArray[np.float64]
    groups: list[str]


def told(found: Sequence[Found]) -> Iterator[Told]:
    """Read the depths that rows tell.

    One for each part of the images of a row that tells a depth where one was measured.
    """
    for item in found:
        for part in parts_of(item):
            known = [one for one in in_part(item.images, part) if one.get("depth_said") and one.get("depth_mm")]
            if len(known) >= FEWEST:
                said, true = (np.array([float(one[name]) for one in known]) for name in ("depth_said", "depth_mm"))
                groups = [one["group"] for one in known]
                yield Told(item.row.file.title, PARTS.get(part, "all"), said, true, groups)


def depth_table(paper: Paper, found: Sequence[Found]) -> Table | None:
    """Put what the rows tell of the depth beside the paper's figure.

    None where no row tells a depth.
    """
    rows = [_row(one) for one in told(found)]
    known = paper.file.depth
    if not rows or known is None:
        return None
    first = ("the paper's module", "", "", f"{known.mae_mm:g}", f"{known.sd_mm:g}", "", "", "")
    return Table(known.title, COLUMNS, (first, *rows), notes=tuple(filter(None, [known.note])))


def depth_pictures(found: Sequence[Found], folder: Path) -> list[Picture]:
    """Draw told and measured depths of the last row that tells one.

    None where no row tells a depth.
    """
    rows = list(told(found))
    if not rows:
        return []
    path = folder / "depth.png"
    panels = {f"{one.title}: {one.where}": (one.said, one.true) for one in rows if one.title == rows[0].title}
    draw_depths(panels, path)
    return [Picture("Depth as the image tells it, and as it was measured", path, DRAWN)]


def _row(one: Told) -> tuple[str, ...]:
    """A line of the table."""
    found, error = bland_altman(one.true, one.said), np.abs(one.said - one.true)
    mean_error = bootstrap_figure(partial(_mean, error), one.groups, bounds=(0, np.inf))
    related = bootstrap_figure(partial(_pearson, one.said, one.true), one.groups, bounds=(-1, 1))
    limits = f"{found.low.mean:+.2f} to {found.high.mean:+.2f}"
    written = [_written(mean_error), f"{error.std(ddof=1):.2f}", _written(related), f"{found.bias.mean:+.2f}", limits]
    return (one.title, one.where, str(len(error)), *written)


def _written(estimate: Estimate) -> str:
    """An estimate with its interval."""
    return f"{estimate.mean:.2f} ({estimate.interval('.2f')})"


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted mean."""
    return float(weights @ values / weights.sum())


def _pearson(first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted correlation; NaN where one of the two is the same everywhere."""
    one, other = first - _mean(first, weights), second - _mean(second, weights)
    together = np.sqrt((weights @ one**2) * (weights @ other**2))
    return float(weights @ (one * other) / together) if together > 0 else float("nan")
