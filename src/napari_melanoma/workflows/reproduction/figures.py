"""The figures of a reproduction: what is drawn from what its rows found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.io.results import read_table
from napari_melanoma.report.class_figures import draw_bars
from napari_melanoma.report.reproduction import SizePoint, draw_curves, draw_samples, draw_size
from napari_melanoma.report.reproduction_page import Picture
from napari_melanoma.training.monitor import MONITORS
from napari_melanoma.workflows.reproduction.answer_figures import draw_answers
from napari_melanoma.workflows.reproduction.depths import depth_pictures
from napari_melanoma.workflows.reproduction.found import PARTS, Found, has_size, in_part, parts_of
from napari_melanoma.workflows.reproduction.judging import read_pictures
from napari_melanoma.workflows.reproduction.place import Place, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CURVES = "A loss compares rows only where they learn with the same one."
FIRST_FOLD = "Those of the first fold."
TITLES = {"tuning_jaccard": "Jaccard index, tuning"}
SIZE = "Points of nearly the same size stand a little apart, so that none hides another."


def draw_figures(work: Work, found: Sequence[Found]) -> list[Picture]:
    """Draw the metric against size, the curves of learning, and answers on a few images, each where there are any.

    In the order in which they are read.
    """
    metric, folder, pictures = work.paper.file.chosen_by, work.place.figures, list[Picture]()
    if points := [_point(item, metric) for item in found if has_size(work, item)]:
        size = folder / f"{metric.lower()}-against-size.png"
        draw_size(points, metric, size)
        pictures.append(Picture(f"{metric} against size", size, SIZE))
    for crossed in (False, True):
        pictures += _draw_curves(work, [item for item in found if item.row.kind.crossed == crossed], crossed)
    for role, images in work.data.items():
        if answers := _answers(work, role, found):
            path = folder / f"samples-{role.lower()}.png"
            draw_samples(answers, images.names, path)
            pictures.append(Picture(f"Sample outputs on {images.names}, in the role of {role}", path))
    pictures += draw_answers(work, [item for item in found if item.row.kind.crossed])
    return [*pictures, *_draw_bars(work, found), *depth_pictures(_main_first(work, found), folder)]


def _main_first(work: Work, found: Sequence[Found]) -> list[Found]:
    """Rows of the tables, that which the paper's claims are about before the others."""
    claimed = [claim.row for claim in work.paper.file.claims]
    rows = [item for item in found if item.row.file.table]
    return sorted(rows, key=lambda item: item.row.name not in claimed)


def _draw_bars(work: Work, found: Sequence[Found]) -> list[Picture]:
    """Draw one metric of the rows that a paper's figure names, on each part of the images."""
    bars, known = work.paper.file.bars, {item.row.name: item for item in found}
    if bars is None:
        return []
    pictures = []
    for part in dict.fromkeys(part for item in known.values() for part in parts_of(item)):
        rows = [known[name] for name in bars.rows if name in known]
        of = {item.row.file.title: item.row.kind.estimates(in_part(item.images, part)) for item in rows}
        values = {title: figures[bars.metric] for title, figures in of.items() if bars.metric in figures}
        if len(values) > 1:
            said = PARTS.get(part, "all images")
            path = work.place.figures / f"bars-{part or 'all'}.png"
            draw_bars(values, f"{bars.metric}, 95 % interval", path, middle=0.5)
            pictures.append(Picture(f"{bars.title}: {said}", path))
    return pictures


def _draw_curves(work: Work, found: Sequence[Found], crossed: bool) -> list[Picture]:
    """Draw the curves of learning of rows of one kind; those of a cross-validation by their first fold."""
    learnt = [item for item in found if item.row.file.learn and item.row.file.answers == "network"]
    curves = {item.row.file.title: _curve(work.place, item.row.name, crossed) for item in learnt}
    several = {title: rows for title, rows in curves.items() if len(rows) > 1}
    if not several:
        return []
    monitor = MONITORS[learnt[0].row.file.kind]
    path = work.place.figures / ("curves-of-classifiers.png" if crossed else "curves.png")
    draw_curves(several, (monitor.name, TITLES.get(monitor.name, f"{monitor.title}, tuning")), path)
    said = f"{CURVES} {FIRST_FOLD}" if crossed else CURVES
    title = "Curves of learning, classifiers" if crossed else "Curves of learning"
    return [Picture(title, path, said + _without(curves))]


def _without(curves: Mapping[str, Sequence[object]]) -> str:
    """Say which rows have no curve."""
    single = [title for title, rows in curves.items() if len(rows) == 1]
    return f" Not drawn, as they learn for a single epoch: {', '.join(single)}." if single else ""


def _point(found: Found, metric: str) -> SizePoint:
    """Place a row in the figure of the metric against size."""
    estimate, file = found.estimates[metric], found.row.file
    ends = (100 * estimate.mean, 100 * estimate.low, 100 * estimate.high)
    return SizePoint(file.title, found.parameters or 0, *ends, file.parameters, file.paper.get("", {}).get(metric))


def _curve(place: Place, name: str, crossed: bool) -> list[dict[str, float]]:
    """Read how a row learnt."""
    row = place.row(name)
    path = (row.fold(1) if crossed else row).run.path / "metrics.csv"
    rows = read_table(path) if path.is_file() else []
    return [{key: float(value) for key, value in row.items()} for row in rows]


def _answers(work: Work, role: str, found: Sequence[Found]) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Read the pictures of a role, photographs first; none where there are no photographs."""
    samples = work.data[role].judging
    photographs = read_pictures(work.place.photographs, samples)
    judged = [item.row for item in found if item.row.file.judged == role and not item.row.kind.crossed]
    judged = [row for row in judged if row.grid is None]
    folders = {row.file.title: work.place.row(row.name).pictures for row in judged}
    answers = {title: read_pictures(folder, samples) for title, folder in folders.items()}
    return {"Photograph": photographs, **answers} if photographs else {}
