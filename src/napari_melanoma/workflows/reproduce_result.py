"""What a reproduction found: the paper's tables with our figures beside its own, as values, files and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import INTERVAL, Estimate, bootstrap_means
from napari_melanoma.core.files import write_text
from napari_melanoma.io.results import write_table
from napari_melanoma.report.reproduction import SizePoint, draw_curves, draw_samples, draw_size, write_page
from napari_melanoma.report.tables import Table
from napari_melanoma.workflows.reproduce_data import RoleData, judged_samples, source_of
from napari_melanoma.workflows.reproduce_papers import Paper, PaperTable, Row
from napari_melanoma.workflows.reproduce_reduced import reduced
from napari_melanoma.workflows.reproduce_rows import JUDGEMENT, Place, Work, judged_rows, pictures_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Found:
    """How a row did.

    Parameters
    ----------
    row : Row
        The row.
    threshold : float
        From which probability on a pixel is lesion.
    images : list of dict
        What each image gave, as ``per_image.csv`` has it.
    parameters : int or None
        Of the network that was trained.
    reduced : str
        What is less than in the paper.
    """

    row: Row
    threshold: float
    images: list[dict[str, str]]
    parameters: int | None
    reduced: str

    def estimates(self, domains: Sequence[str] | None = None) -> dict[str, Estimate]:
        """Estimate every metric.

        Parameters
        ----------
        domains : sequence of str, optional
            Only images of these data sets.

        Returns
        -------
        dict
            Metric to its mean, 0 to 1, with a 95 % interval over patients or lesions.
        """
        images = [image for image in self.images if domains is None or image["domain"] in domains]
        return _estimates(np.array([[float(image[name]) for name in METRICS] for image in images]), images)


@dataclass(frozen=True)
class Line:
    """A line of a table: a row on one of the paper's sets, on ours, or on both where they are the same.

    Parameters
    ----------
    found : Found
        How the row did.
    sets : tuple of str
        The paper's sets whose figures stand beside ours.
    domains : tuple of str
        Data sets of ours; none: only the paper's figures.
    """

    found: Found
    sets: tuple[str, ...]
    domains: tuple[str, ...]

    def paper(self, metric: str) -> str:
        """Give the paper's figure, of each of its sets.

        Parameters
        ----------
        metric : str
            ``"T"`` or a metric.

        Returns
        -------
        str
            Empty where it has none.
        """
        figures = [(name, self.found.row.file.paper[name].get(metric)) for name in self.sets]
        known = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
        return ", ".join(f"{figure} ({name})" if name and len(known) > 1 else figure for name, figure in known)


def collect(work: Work) -> list[Found]:
    """Read what the rows found so far.

    Parameters
    ----------
    work : Work
        Of the reproduction.

    Returns
    -------
    list of Found
        Rows that were judged, in the paper's order.
    """
    paper, plan, place, found = work.paper, work.plan, work.place, []
    for planned in plan.rows:
        file = place.judged(planned.name) / JUDGEMENT
        if not file.is_file():
            continue
        row = paper.row(planned.name)
        maker = row if row.file.model_of is None else paper.row(row.file.model_of)
        found.append(
            Found(
                row,
                float(json.loads(file.read_text(encoding="utf-8"))["threshold"]),
                judged_rows(place, row.name),
                plan.row(maker.name).parameters,
                reduced(maker, paper, work.data, place),
            )
        )
    return found


def lines(found: Sequence[Found]) -> Iterator[Line]:
    """Put our data sets beside the paper's.

    Parameters
    ----------
    found : sequence of Found
        Rows.

    Yields
    ------
    Line
        One for each set that both have; and one for our other sets together, beside the paper's other ones.
    """
    for item in found:
        ours = sorted({image["domain"] for image in item.images})
        same = {name: d for name in item.row.file.paper for d in ours if name and source_of(d) == source_of(name)}
        for name, domain in same.items():
            yield Line(item, (name,), (domain,))
        others = tuple(domain for domain in ours if domain not in same.values())
        sets = tuple(name for name in item.row.file.paper if name not in same)
        if others or sets:
            yield Line(item, sets, others)


def make_table(table: PaperTable, found: Sequence[Found], notes: Sequence[str]) -> Table:
    """Make a table of the paper with our figures beside.

    Parameters
    ----------
    table : PaperTable
        Its title and metrics.
    found : sequence of Found
        Its rows.
    notes : sequence of str
        What stands below it.

    Returns
    -------
    Table
        Figures in per cent, ours with their intervals.
    """
    columns = ["Row", "Images", "n", "Parameters, paper", "ours", "T, paper", "ours"]
    for metric in table.metrics:
        columns += [f"{metric}, paper", "ours (95 % interval)"]
    return Table(
        title=table.title,
        columns=(*columns, "Reduced"),
        rows=tuple(_cells(line, table.metrics) for line in lines(found)),
        notes=tuple(notes),
    )


def differences(found: Sequence[Found], metrics: Sequence[str]) -> list[str]:
    """Say by how much rows differ from those that they are compared with, image by image.

    Parameters
    ----------
    found : sequence of Found
        Rows.
    metrics : sequence of str
        What is compared.

    Returns
    -------
    list of str
        A sentence for each pair.
    """
    known = {item.row.name: item for item in found}
    said = []
    for item in found:
        other = known.get(item.row.file.against or "")
        if other is None:
            continue
        old, new = ({image["image_id"]: image for image in one.images} for one in (other, item))
        both = [name for name in old if name in new]
        table = [[float(new[name][metric]) - float(old[name][metric]) for metric in METRICS] for name in both]
        of = _estimates(np.array(table), [old[name] for name in both], bounds=(-1, 1))
        changes = [f"{m} {_signed(of[m].mean)} ({_signed(of[m].low)} to {_signed(of[m].high)})" for m in metrics]
        said.append(f"{item.row.file.title} less {other.row.file.title}, on the same images: {', '.join(changes)}.")
    return said


def write_tables(work: Work, failed: Mapping[str, str]) -> list[Found]:
    """Write the tables of what was found so far.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md`` and ``tables.csv``.
    failed : mapping
        Rows that went wrong, and why.

    Returns
    -------
    list of Found
        What stands in them.

    Raises
    ------
    SaveError
        Where a file cannot be written.
    """
    found = collect(work)
    if found:
        about = [
            f"## {_title(work.paper)}",
            *_about(work, failed),
            *(table.markdown() for table in _tables(work, found)),
        ]
        write_text(work.place.out / "tables.md", "\n\n".join(about))
        write_table(work.place.out / "tables.csv", [_record(line) for line in lines(found)])
    return found


def write_result(work: Work, failed: Mapping[str, str]) -> list[Found]:
    """Write tables, figures and the page of what was found so far.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md``, ``tables.csv``, ``tables.html`` and ``figures/``.
    failed : mapping
        Rows that went wrong, and why.

    Returns
    -------
    list of Found
        What stands in them.

    Raises
    ------
    SaveError
        Where a file cannot be written.
    """
    found = write_tables(work, failed)
    if found:
        figures = _draw(work.paper, found, work.data, work.place)
        page = work.place.out / "tables.html"
        write_page(_title(work.paper), _about(work, failed), _tables(work, found), figures, page)
    return found


def _title(paper: Paper) -> str:
    """Name a paper."""
    return f"{paper.name}: {paper.file.title}"


def _tables(work: Work, found: Sequence[Found]) -> list[Table]:
    """Make a table for each of the paper's that has rows, and one of the grids."""
    tables = []
    for name, table in work.paper.file.tables.items():
        if rows := [item for item in found if item.row.file.table == name]:
            tables.append(make_table(table, rows, differences(rows, table.metrics)))
    if rows := [item for item in found if item.row.grid]:
        metrics = next(iter(work.paper.file.tables.values())).metrics
        tables.append(make_table(PaperTable(title="Grids", metrics=metrics), rows, ()))
    return tables


def _cells(line: Line, metrics: Sequence[str]) -> tuple[str, ...]:
    """Write a line of a table."""
    found = line.found
    ours = found.estimates(line.domains) if line.domains else {}
    count = str(next(iter(ours.values())).count) if ours else ""
    sets = " / ".join(dict.fromkeys([*(name for name in line.sets if name), *line.domains]))
    cells = [found.row.file.title, sets, count, _size(found.row.file.parameters), _size(found.parameters)]
    cells += [line.paper("T"), f"{found.threshold:.2f}" if ours else ""]
    for metric in metrics:
        cells += [line.paper(metric), _interval(ours[metric]) if ours else ""]
    return (*cells, found.reduced)


def _estimates(
    table: NDArray[np.float64], images: Sequence[Mapping[str, str]], bounds: tuple[float, float] = (0, 1)
) -> dict[str, Estimate]:
    """Estimate every metric, (image, metric), over patients or lesions."""
    groups = [image["group"] for image in images]
    return dict(zip(METRICS, bootstrap_means(table, groups, bounds=bounds), strict=True))


def _signed(share: float) -> str:
    """Write a difference in per cent."""
    return f"{100 * share:+.1f}"


def _interval(estimate: Estimate) -> str:
    """Write an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _size(parameters: float | None) -> str:
    """Write a number of parameters as papers do."""
    if parameters is None:
        return ""
    millions = parameters / 1e6
    return f"{millions:.2g}M" if millions < 10 else f"{millions:.0f}M"


def _record(line: Line) -> dict[str, object]:
    """Write a line for machines: the paper's figures by set, ours with both ends of their interval, in per cent."""
    found, file = line.found, line.found.row.file
    record: dict[str, object] = {
        "table": file.table or found.row.grid,
        "row": found.row.name,
        "title": file.title,
        "paper_sets": "; ".join(name for name in line.sets if name),
        "data_sets": "; ".join(line.domains),
        "paper_parameters": file.parameters,
        "parameters": found.parameters,
        "paper_T": line.paper("T"),
        "T": found.threshold if line.domains else None,
    }
    estimates = found.estimates(line.domains) if line.domains else {}
    record["n"] = next(iter(estimates.values())).count if estimates else None
    for metric in METRICS:
        record[f"paper_{metric}"] = line.paper(metric)
        estimate = estimates.get(metric)
        for end, name in (("mean", metric), ("low", f"{metric}_low"), ("high", f"{metric}_high")):
            record[name] = None if estimate is None else round(100 * getattr(estimate, end), 3)
    return {**record, "reduced": found.reduced}


def _about(work: Work, failed: Mapping[str, str]) -> list[str]:
    """Say what the figures rest on, and what is missing."""
    paper, plan, data = work.paper, work.plan, work.data
    said = [f"{paper.file.reference}. Figures in per cent; ours with the {INTERVAL}."]
    for role, found in data.items():
        what = paper.file.roles[role]
        less = f" ({found.left_out} more were left out to keep to the time)" if found.left_out else ""
        again = (
            f"; {found.duplicates} left out as they show a picture that is there already" if found.duplicates else ""
        )
        said.append(
            f"{role}, {what.title}: the paper used {what.used}; here {found.names}, {found.learn} images to learn from "
            f"and tune with{less}, {found.judged} held out, the same for every row{again}."
        )
    if plan.budget == "small":
        said.append("Small budget: a trial of the experiment, not of the paper's claims; each row says what is less.")
    not_run = [f"Not run: {name}: {why}" for name, why in {**plan.left_out, **failed}.items()]
    return [text for text in (*said, *plan.notices, paper.file.note, paper.file.later, *not_run) if text]


def _draw(paper: Paper, found: Sequence[Found], data: Mapping[str, RoleData], place: Place) -> dict[str, Path]:
    """Draw the figures, and say under which title."""
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
        names = [sample.image_id for sample in judged_samples(data[role])]
        names = list(pictures_of(folder / "photographs", names))
        rows = {"Photograph": pictures_of(folder / "photographs", names)}
        for item in found:
            if item.row.file.judged == role and item.row.grid is None:
                rows[item.row.file.title] = pictures_of(place.judged(item.row.name) / "pictures", names)
        if len(rows) > 1:
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
