"""What a reproduction found: the paper's tables with our figures beside its own, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import INTERVAL, Estimate
from napari_melanoma.core.files import write_text
from napari_melanoma.io.results import write_table
from napari_melanoma.report.reproduction import write_page
from napari_melanoma.report.tables import Table
from napari_melanoma.workflows.reproduce_figures import draw_figures
from napari_melanoma.workflows.reproduce_found import Found, Line, collect, estimates_of, lines
from napari_melanoma.workflows.reproduce_papers import Paper, PaperTable
from napari_melanoma.workflows.reproduce_rows import Work

NOTHING_FOUND = "No row has been judged."
COLUMNS = (
    *("table", "row", "title", "paper_sets", "data_sets", "paper_parameters", "parameters", "paper_T", "T", "n"),
    *(column for m in METRICS for column in (f"paper_{m}", m, f"{m}_low", f"{m}_high")),
    *("remark", "reduced"),
)


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
        columns=(*columns, "Remarks"),
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
        old, new = ({(image["domain"], image["image_id"]): image for image in one.images} for one in (other, item))
        both = [key for key in old if key in new]
        if not both:
            continue
        table = [[float(new[key][metric]) - float(old[key][metric]) for metric in METRICS] for key in both]
        of = estimates_of(np.array(table), [old[key] for key in both], bounds=(-1, 1))
        changes = [f"{m} {100 * of[m].mean:+.1f} ({of[m].interval('+.1f', factor=100)})" for m in metrics]
        said.append(f"{item.row.file.title} less {other.row.file.title}, on the same images: {', '.join(changes)}.")
    return said


def write_tables(work: Work, failed: Mapping[str, str]) -> list[Found]:
    """Write the tables of what was found so far.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md`` and ``tables.csv``.
    failed : mapping
        Rows that went wrong or that there was no time for, and why.

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
    tables = [table.markdown() for table in _tables(work, found)]
    about = [f"## {_title(work.paper)}", *_about(work, failed), *(tables or [NOTHING_FOUND])]
    write_text(work.place.out / "tables.md", "\n\n".join(about) + "\n")
    write_table(work.place.out / "tables.csv", [_record(line) for line in lines(found)], COLUMNS)
    return found


def write_result(work: Work, failed: Mapping[str, str]) -> list[Found]:
    """Write tables, figures and the page of what was found so far.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md``, ``tables.csv``, ``tables.html`` and ``figures/``.
    failed : mapping
        Rows that went wrong or that there was no time for, and why.

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
    figures = draw_figures(work, found) if found else {}
    about = [*_about(work, failed), *([] if found else [NOTHING_FOUND])]
    write_page(_title(work.paper), about, _tables(work, found), figures, work.place.out / "tables.html")
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
    return (*cells, "; ".join(text for text in (found.remark(line.domains) if ours else "", found.reduced) if text))


def _interval(estimate: Estimate) -> str:
    """Write an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.interval('.1f', factor=100)})"


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
            value = np.nan if estimate is None else 100 * getattr(estimate, end)
            record[name] = round(value, 3) if np.isfinite(value) else None
    return {**record, "remark": found.remark(line.domains) if line.domains else "", "reduced": found.reduced}


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
