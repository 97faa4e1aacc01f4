"""What a reproduction leaves for people: the paper's tables with our figures beside, what these rest on, a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.analysis.statistics import INTERVAL, Estimate
from napari_melanoma.core.files import write_text
from napari_melanoma.io.results import write_table
from napari_melanoma.report.reproduction import write_page
from napari_melanoma.report.tables import Table
from napari_melanoma.workflows.reproduction.figures import draw_figures
from napari_melanoma.workflows.reproduction.found import Found, Line, collect, lines
from napari_melanoma.workflows.reproduction.papers import Paper, PaperTable
from napari_melanoma.workflows.reproduction.place import Work

NOTHING_FOUND = "No row has been judged."
ABOUT = ("table", "row", "title", "paper_sets", "data_sets", "paper_parameters", "parameters", "paper_T", "T", "n")


def write_tables(work: Work, missing: Mapping[str, str]) -> list[Found]:
    """Write the tables of what was found so far.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md`` and ``tables.csv``.
    missing : mapping
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
    found, out = collect(work), work.place.out
    tables = [table.markdown() for table in paper_tables(work.paper, found)]
    parts = [f"## {_title(work)}", *_about(work, missing, found), *tables]
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    metrics = work.paper.metrics
    figures = [column for m in metrics for column in (f"paper_{m}", m, f"{m}_low", f"{m}_high")]
    columns = (*ABOUT, *figures, "remark", "reduced")
    write_table(out / "tables.csv", [_record(line, metrics) for line in lines(found)], columns)
    return found


def write_result(work: Work, missing: Mapping[str, str]) -> list[Found]:
    """Write tables, figures and the page of what was found.

    Parameters
    ----------
    work : Work
        Its folder gets ``tables.md``, ``tables.csv``, ``tables.html`` and ``figures/``.
    missing : mapping
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
    found = write_tables(work, missing)
    tables, figures = paper_tables(work.paper, found), draw_figures(work, found) if found else {}
    write_page(_title(work), _about(work, missing, found), tables, figures, work.place.out / "tables.html")
    return found


def paper_tables(paper: Paper, found: Sequence[Found]) -> list[Table]:
    """Make a table for each of the paper's that has rows, and one of the grids.

    Parameters
    ----------
    paper : Paper
        Its tables.
    found : sequence of Found
        Rows.

    Returns
    -------
    list of Table
        Figures in per cent, ours with their intervals.
    """
    tables = paper.file.tables
    parts = [(table, [item for item in found if item.row.file.table == name]) for name, table in tables.items()]
    grids = PaperTable(title="Grids", metrics=next(iter(tables.values())).metrics)
    parts.append((grids, [item for item in found if item.row.grid]))
    return [_table(table, rows) for table, rows in parts if rows]


def _differences(found: Sequence[Found], metrics: Sequence[str]) -> Iterator[str]:
    """Say by how much rows differ from those that they are compared with, image by image."""
    known = {item.row.name: item for item in found}
    for item in found:
        other = known.get(item.row.file.against or "")
        if other is None:
            continue
        old, new = ({(image["domain"], image["image_id"]): image for image in one.images} for one in (other, item))
        both = [key for key in old if key in new]
        if not both:
            continue
        of = item.row.kind.changes([old[key] for key in both], [new[key] for key in both])
        changes = [f"{m} {100 * of[m].mean:+.1f} ({of[m].interval('+.1f', factor=100)})" for m in metrics]
        yield f"{item.row.file.title} less {other.row.file.title}, on the same images: {', '.join(changes)}."


def _title(work: Work) -> str:
    """Name the paper."""
    return f"{work.paper.name}: {work.paper.file.title}"


def _about(work: Work, missing: Mapping[str, str], found: Sequence[Found]) -> list[str]:
    """Say what the figures rest on, and what is missing."""
    paper, plan = work.paper.file, work.plan
    said = [f"{paper.reference}. Figures in per cent; ours with the {INTERVAL}."]
    for role, images in work.data.items():
        what = paper.roles[role]
        less = f" ({images.left_out} more were left out to keep to the time)" if images.left_out else ""
        twice = f"{images.duplicates} left out as they show a picture that is there already"
        said.append(
            f"{role}, {what.title}: the paper used {what.used}; here {images.names}, {images.learn} images to learn "
            f"from and tune with{less}, {images.judged} held out, the same for every row"
            f"{f'; {twice}' if images.duplicates else ''}."
        )
    if plan.budget == "small":
        said.append("Small budget: a trial of the experiment, not of the paper's claims; each row says what is less.")
    nothing = "" if found else NOTHING_FOUND
    not_run = [f"Not run: {name}: {why}" for name, why in {**plan.left_out, **missing}.items()]
    return [text for text in (*said, *plan.notices, paper.note, paper.later, *not_run, nothing) if text]


def _table(table: PaperTable, found: Sequence[Found]) -> Table:
    """Make a table of the paper with our figures beside."""
    columns = ["Row", "Images", "n", "Parameters, paper", "ours", "T, paper", "ours"]
    for metric in table.metrics:
        columns += [f"{metric}, paper", "ours (95 % interval)"]
    return Table(
        title=table.title,
        columns=(*columns, "Remarks"),
        rows=tuple(_cells(line, table.metrics) for line in lines(found)),
        notes=tuple(_differences(found, table.metrics)),
    )


def _cells(line: Line, metrics: Sequence[str]) -> tuple[str, ...]:
    """Write a line of a table: the paper's figure and ours by turns; remarks last."""
    found, file = line.found, line.found.row.file
    ours = found.estimates
    count = str(next(iter(ours.values())).count) if ours else ""
    sets = " / ".join(dict.fromkeys([*(name for name in line.sets if name), *line.domains]))
    written = [file.title, sets, count, _millions(file.parameters), _millions(found.parameters)]
    written += [_paper(line, "T"), f"{found.threshold:.2f}" if ours else ""]
    for metric in metrics:
        written += [_paper(line, metric), _interval(ours[metric]) if ours else ""]
    return (*written, "; ".join(text for text in (found.remark, found.reduced) if text))


def _paper(line: Line, metric: str) -> str:
    """Write the paper's figure, of each of its sets; ``"T"`` is a threshold."""
    figures = [(name, line.found.row.file.paper[name].get(metric)) for name in line.sets]
    known = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
    return ", ".join(f"{figure} ({name})" if name and len(known) > 1 else figure for name, figure in known)


def _interval(estimate: Estimate) -> str:
    """Write an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.interval('.1f', factor=100)})"


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
        "data_sets": "; ".join(line.domains),
        "paper_parameters": file.parameters,
        "parameters": found.parameters,
        "paper_T": _paper(line, "T"),
        "T": found.threshold if estimates else None,
        "n": next(iter(estimates.values())).count if estimates else None,
        "remark": found.remark,
        "reduced": found.reduced,
    }
    for metric in metrics:
        record[f"paper_{metric}"] = _paper(line, metric)
        estimate = estimates.get(metric)
        for end, name in (("mean", metric), ("low", f"{metric}_low"), ("high", f"{metric}_high")):
            value = 100 * getattr(estimate, end, math.nan)
            record[name] = round(value, 3) if math.isfinite(value) else None
    return record
