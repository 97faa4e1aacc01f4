"""The figures of a reproduction: what is drawn from what its rows found."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.report.reproduction import SizePoint, draw_curves, draw_samples, draw_size
from napari_melanoma.workflows.reproduce_data import judged_samples
from napari_melanoma.workflows.reproduce_found import Found
from napari_melanoma.workflows.reproduce_rows import Place, Work, picture_name, pictures_of


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
    paper, data, place = work.paper, work.data, work.place
    metric, folder = paper.file.chosen_by, place.figures
    figures = {
        f"{metric} against size": folder / f"{metric.lower()}-against-size.png",
        "Curves of learning": folder / "curves.png",
    }
    points = []
    for item in found:
        table = paper.file.tables.get(item.row.file.table or "")
        if not item.parameters or item.row.file.model_of or (table and not table.drawn):
            continue
        estimate = item.estimates()[metric]
        ends = (100 * estimate.mean, 100 * estimate.low, 100 * estimate.high)
        figure = item.row.file.paper.get("", {}).get(metric)
        points.append(SizePoint(item.row.file.title, item.parameters, *ends, item.row.file.parameters, figure))
    draw_size(points, metric, folder / f"{metric.lower()}-against-size.png")
    curves = {item.row.file.title: _curve(place, item.row.name) for item in found if item.row.file.learn}
    draw_curves({title: rows for title, rows in curves.items() if rows}, folder / "curves.png")
    for role in data:
        names = [picture_name(sample) for sample in judged_samples(data[role])]
        photographs = pictures_of(folder / "photographs", names)
        rows = {"Photograph": photographs}
        for item in found:
            if item.row.file.judged == role and item.row.grid is None:
                rows[item.row.file.title] = pictures_of(place.judged(item.row.name) / "pictures", list(photographs))
        if photographs:
            figures[f"Sample outputs, {role}"] = folder / f"samples-{role.lower()}.png"
            draw_samples(rows, folder / f"samples-{role.lower()}.png")
    return figures


def _curve(place: Place, name: str) -> list[dict[str, float]]:
    """Read how a row learnt."""
    path = place.run(name).path / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as table:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(table)]
