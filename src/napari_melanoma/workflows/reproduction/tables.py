"""What a reproduction leaves for people: the paper's tables with our figures beside, what these rest on, a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.core.files import write_text
from napari_melanoma.io.results import write_table
from napari_melanoma.report.reproduction_page import SEEN, ReproductionPage, write_page
from napari_melanoma.report.tables import NOTHING, Table
from napari_melanoma.workflows.reproduction.about import about, next_steps, title
from napari_melanoma.workflows.reproduction.depths import depth_table
from napari_melanoma.workflows.reproduction.figures import draw_figures
from napari_melanoma.workflows.reproduction.found import Found, Line, collect, lines, of_tables
from napari_melanoma.workflows.reproduction.notes import controls, differences
from napari_melanoma.workflows.reproduction.papers import Paper, PaperTable
from napari_melanoma.workflows.reproduction.place import Work

INTERVAL_WORDS = "95 % interval"
ABOUT = ("table", "row", "title", "paper_sets", "data_sets", "paper_parameters", "parameters", "paper_T", "T", "n")


def write_tables(work: Work, missing: Mapping[str, str]) -> list[Found]:
    """Write the tables of what was found so far."""
    found, out = collect(work), work.place.out
    tables = [table.markdown() for table in paper_tables(work.paper, found)]
    parts = [f"## {title(work)}", *about(work, missing, found), *tables]
    if steps := next_steps(work, missing, found):
        parts += ["### What next", SEEN, "\n".join(f"- {step.said}: `{step.command}`" for step in steps)]
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    metrics = work.paper.metrics
    figures = [column for m in metrics for column in (f"paper_{m}", m, f"{m}_low", f"{m}_high")]
    columns = (*ABOUT, *figures, "remark", "reduced")
    write_table(out / "tables.csv", [_record(line, metrics) for line in lines(found)], columns)
    return found


def write_result(work: Work, missing: Mapping[str, str]) -> list[Found]:
    """Write tables, figures and the page of what was found."""
    found = write_tables(work, missing)
    page = ReproductionPage(
        title=title(work),
        about=about(work, missing, found),
        tables=paper_tables(work.paper, found),
        pictures=draw_figures(work, found),
        steps=next_steps(work, missing, found),
    )
    write_page(page, work.place.out / "tables.html")
    return found


def paper_tables(paper: Paper, found: Sequence[Found]) -> list[Table]:
    """Make a table for each of the paper's that has rows, and one of the grids.

    Figures in per cent, ours with their intervals; last one of depths in mm, where rows tell them.
    """
    tables = [_table(paper, table, rows, found) for _, table, rows in of_tables(paper, found)]
    depths = depth_table(paper, found)
    return [*tables, depths] if depths else tables


def _table(paper: Paper, table: PaperTable, found: Sequence[Found], among: Sequence[Found]) -> Table:
    """Make a table of the paper with our figures beside; a column that says nothing is left out."""
    common = _in_every_row(found)
    pairs = [(group, name) for group in ("Parameters", "T") for name in ("paper", "ours")]
    pairs += [(metric, name) for metric in table.metrics for name in ("paper", f"ours ({INTERVAL_WORDS})")]
    headings = [("", "Row"), ("Images", "paper"), ("Images", "ours"), ("", "n"), *pairs, ("", "Remarks")]
    rows = [_cells(line, table.metrics, common) for line in lines(found)]
    said = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return Table(
        title=table.title,
        columns=tuple(headings[place][1] for place in said),
        rows=tuple(tuple(row[place] for place in said) for row in rows),
        notes=(
            *filter(None, [table.note]),
            *controls(found, paper.file.roles),
            *differences(found, table.metrics, among),
        ),
        groups=tuple(headings[place][0] for place in said),
        above=(f"Not as in the paper, {_whose(found)}: {'; '.join(common)}.",) if common else (),
    )


def _in_every_row(found: Sequence[Found]) -> tuple[str, ...]:
    """Find what is less than in the paper in all rows; those that learn nothing have no say."""
    first, *others = [item for item in found if item.parameters] or found
    return tuple(part for part in first.reduced if all(part in item.reduced for item in others))


def _whose(found: Sequence[Found]) -> str:
    """Say which rows it is that all have something in common."""
    return "in every row" if all(item.parameters for item in found) else "in every row that learns"


def _cells(line: Line, metrics: Sequence[str], common: Sequence[str]) -> tuple[str, ...]:
    """Write a line of a table: the paper's figure and ours by turns; remarks last."""
    found, file = line.found, line.found.row.file
    ours = found.estimates
    count = str(next(iter(ours.values())).count) if ours else ""
    written = [file.title, " / ".join(name for name in line.sets if name), " / ".join(line.named), count]
    written += [_millions(file.parameters), _millions(found.parameters)]
    written += [_side_by_side(line, "T"), _threshold(found) if ours else ""]
    for metric in metrics:
        written += [_side_by_side(line, metric), _interval(ours[metric]) if metric in ours else ""]
    own = [part for part in found.reduced if part not in common]
    return (*written, "; ".join(text for text in (found.remark, *own) if text))


def _side_by_side(line: Line, metric: str) -> str:
    """Write the paper's figures in the order of its sets; ``"T"`` is a threshold."""
    figures = [line.found.row.file.paper[name].get(metric) for name in line.sets]
    written = [NOTHING if figure is None else f"{figure:.2f}" for figure in figures]
    return " / ".join(written) if any(figure is not None for figure in figures) else ""


def _paper(line: Line, metric: str) -> str:
    """Write the paper's figures for machines, each with its set where there are several."""
    figures = [(name, line.found.row.file.paper[name].get(metric)) for name in line.sets]
    known = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
    return ", ".join(f"{figure} ({name})" if name and len(known) > 1 else figure for name, figure in known)


def _interval(estimate: Estimate) -> str:
    """Write an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.interval('.1f', factor=100)})"


def _threshold(found: Found) -> str:
    """Write the threshold of a model; those of a cross-validation have one each, and what is said is said at a half."""
    return "" if found.row.kind.crossed else f"{found.threshold:.2f}"


def _millions(parameters: float | None) -> str:
    """Write a number of parameters as papers do."""
    if parameters is None:
        return ""
    millions = parameters / 1e6
    return f"{millions:.2g}M" if millions < 10 else f"{millions:.0f}M"


def _record(line: Line, metrics: Sequence[str]) -> dict[str, object]:
    """Write a line for machines."""
    found, file = line.found, line.found.row.file
    estimates = found.estimates
    record: dict[str, object] = {
        "table": file.table or found.row.grid,
        "row": found.row.name,
        "title": file.title,
        "paper_sets": "; ".join(name for name in line.sets if name),
        "data_sets": "; ".join(line.named),
        "paper_parameters": file.parameters,
        "parameters": found.parameters,
        "paper_T": _paper(line, "T"),
        "T": found.threshold if estimates else None,
        "n": next(iter(estimates.values())).count if estimates else None,
        "remark": found.remark,
        "reduced": "; ".join(found.reduced),
    }
    for metric in metrics:
        record[f"paper_{metric}"] = _paper(line, metric)
        estimate = estimates.get(metric)
        for end, name in (("mean", metric), ("low", f"{metric}_low"), ("high", f"{metric}_high")):
            value = 100 * getattr(estimate, end, math.nan)
            record[name] = round(value, 3) if math.isfinite(value) else None
    return record
