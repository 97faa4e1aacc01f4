"""The figures of a reproduction: what is drawn from what its rows found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.io.results import read_table
from napari_melanoma.report.reproduction import SizePoint, draw_curves, draw_samples, draw_size
from napari_melanoma.workflows.reproduction.found import Found
from napari_melanoma.workflows.reproduction.judging import read_pictures
from napari_melanoma.workflows.reproduction.place import Place, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def draw_figures(work: Work, found: Sequence[Found]) -> dict[str, Path]:
    """Draw the metric against size, the curves of learning, and answers on a few images.

    Parameters
    ----------
    work : Work
        Its folder gets ``figures/``.
    found : sequence of Found
        Rows.

    Returns
    -------
    dict
        Title to PNG.

    Raises
    ------
    SaveError
        Where one cannot be written.
    """
    metric, folder = work.paper.file.chosen_by, work.place.figures
    size, learning = folder / f"{metric.lower()}-against-size.png", folder / "curves.png"
    draw_size([_point(item, metric) for item in found if _sized(work, item)], metric, size)
    curves = {item.row.file.title: _curve(work.place, item.row.name) for item in found if item.row.file.learn}
    draw_curves({title: rows for title, rows in curves.items() if rows}, learning)
    figures = {f"{metric} against size": size, "Curves of learning": learning}
    for role in work.data:
        if answers := _answers(work, role, found):
            path = figures[f"Sample outputs, {role}"] = folder / f"samples-{role.lower()}.png"
            draw_samples(answers, path)
    return figures


def _sized(work: Work, found: Found) -> bool:
    """Say whether a row stands in the figure of the metric against size: once for a network, where its table does."""
    table = work.paper.file.tables.get(found.row.file.table or "")
    return bool(found.parameters and not found.row.file.model_of and (table is None or table.drawn))


def _point(found: Found, metric: str) -> SizePoint:
    """Place a row in the figure of the metric against size."""
    estimate, file = found.estimates[metric], found.row.file
    ends = (100 * estimate.mean, 100 * estimate.low, 100 * estimate.high)
    return SizePoint(file.title, found.parameters or 0, *ends, file.parameters, file.paper.get("", {}).get(metric))


def _curve(place: Place, name: str) -> list[dict[str, float]]:
    """Read how a row learnt."""
    path = place.row(name).run.path / "metrics.csv"
    rows = read_table(path) if path.is_file() else []
    return [{key: float(value) for key, value in row.items()} for row in rows]


def _answers(work: Work, role: str, found: Sequence[Found]) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Read the pictures of a role, photographs first; none where there are no photographs."""
    samples = work.data[role].judging
    photographs = read_pictures(work.place.photographs, samples)
    judged = [item.row for item in found if item.row.file.judged == role and item.row.grid is None]
    folders = {row.file.title: work.place.row(row.name).pictures for row in judged}
    answers = {title: read_pictures(folder, samples) for title, folder in folders.items()}
    return {"Photograph": photographs, **answers} if photographs else {}
