"""Write the tables of a reproduction as Markdown, CSV and part of the page, with the texts above and below them."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from napari_melanoma.core.files import write_text
from napari_melanoma.core.paths import real_path
from napari_melanoma.extensions.papers.comparisons import (
    describe_claims,
    describe_controls,
    describe_differences,
    format_percent,
)
from napari_melanoma.extensions.papers.figures import (
    PATH_NOTE,
    NextStep,
    agreement_table,
    depth_table,
    draw_figures,
    write_page,
)
from napari_melanoma.extensions.papers.kinds import CALIBRATED, METRICS, SCORES, STORED
from napari_melanoma.extensions.papers.paper_rows import (
    RowResult,
    TableLine,
    is_in_size_figure,
    read_row_results,
    results_by_table,
    table_lines,
)
from napari_melanoma.extensions.papers.papers import Budget, Paper, PaperTable, Row
from napari_melanoma.extensions.papers.planning import ANY_DATA, ReproductionContext, phantom_notices
from napari_melanoma.extensions.papers.split import DUPLICATE, LEFT_OUT, NO_LABEL, TEST, UNTOUCHED
from napari_melanoma.figures.page import NOTHING, ReportTable
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.metric_table import PAPER_METRICS
from napari_melanoma.metrics.statistics import describe_intervals
from napari_melanoma.training.recipe import TrainRecipe

INTERVAL_WORDS = "95 % interval"
NOTHING_FOUND = "No row has been evaluated."
SMALL = "Small budget: a trial of the experiment, not of the paper's claims; the tables list the reductions."
CALIBRATION_NOTE = (
    "The same predictions after temperature and offset were fitted on the validation set: this undoes balanced "
    "sampling, so that a probability of one half is reached by fewer images."
)
CLASSIFICATION_NOTE = (
    "Classifiers decide at a probability of one half, of the network's probabilities as trained, as in the papers; a "
    "second table has calibrated probabilities. "
    + "; ".join(f"{metric.key}: {metric.definition}" for metric in PAPER_METRICS.values())
    + "."
)
FOLD_PREDICTION = " Each image is predicted by a model that was not trained on its fold."
# Columns of tables.csv before the metrics.
ABOUT = ("table", "row", "title", "paper_sets", "data_sets", "paper_parameters", "parameters", "paper_T", "T", "n")


def write_result_tables(context: ReproductionContext, missing: Mapping[str, str]) -> list[RowResult]:
    """Write the tables of the results so far, and return the results.

    ``missing``: rows without results, with reasons.
    """
    results, out = read_row_results(context), context.folder.out
    tables = [table.to_markdown() for table in paper_tables(context.paper, results)]
    parts = [f"## {title(context)}", *page_notes(context, missing, results), *tables]
    if steps := next_steps(context, missing, results):
        parts += ["### Next steps", PATH_NOTE, "\n".join(f"- {step.text}: `{step.command}`" for step in steps)]
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    metrics = context.paper.metrics
    metric_columns = [column for m in metrics for column in (f"paper_{m}", m, f"{m}_low", f"{m}_high")]
    columns = (*ABOUT, *metric_columns, "remark", "reduced")
    records = [_record(line, metrics) for line in table_lines(results)]
    write_table(out / "tables.csv", [*records, *literature_records(context.paper, results)], columns)
    return results


def write_result(context: ReproductionContext, missing: Mapping[str, str]) -> list[RowResult]:
    """Write tables, figures and the page, and return the results."""
    results = write_result_tables(context, missing)
    about, steps = page_notes(context, missing, results), next_steps(context, missing, results)
    tables, pictures = paper_tables(context.paper, results), draw_figures(context, results)
    write_page(title(context), about, tables, pictures, steps, context.folder.out / "tables.html")
    return results


def paper_tables(paper: Paper, results: Sequence[RowResult]) -> list[ReportTable]:
    """Create a table for each table of the paper that has results, and one for the grids of each type.

    Metrics are in per cent, ours with intervals. A table of classifiers is followed by one of calibrated probabilities.
    The comparison with the literature and tables of depths in mm come last, if there are results for them.
    """
    tables = list[ReportTable]()
    for _, table, rows in results_by_table(paper, results):
        tables.append(_table(paper, table, rows, results))
        tables += _calibrated_table(table, rows, results)
    more = (literature_table(paper, results), depth_table(paper, results), agreement_table(results))
    return [*tables, *filter(None, more)]


def literature_table(paper: Paper, results: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of published methods, the paper's results and ours; None without results of ours."""
    literature = paper.file.literature
    own_results = _compared_with_literature(paper, results)
    if literature is None or not own_results:
        return None
    published = [(method.title, method.data, "", method.figures) for method in literature.methods]
    own = paper.rows[literature.row].file
    published += [
        (f"{own.title}, the paper", name or literature.data, "", figures) for name, figures in own.paper.items()
    ]
    rows = [
        (*about, *(f"{figures[m]:.2f}" if m in figures else NOTHING for m in literature.metrics))
        for *about, figures in published
    ]
    for item in own_results:
        sets = ", ".join(sorted({image["domain"] for image in item.images}))
        about = (f"{item.row.file.title}, here", sets, str(len(item.images)))
        rows.append((*about, *(format_percent(item.estimates[m]) for m in literature.metrics)))
    sources = "; ".join(f"{method.title}: {method.source}" for method in literature.methods)
    notes = (*filter(None, [literature.note]), f"Sources: {sources}.")
    return ReportTable(literature.title, ("Method", "Images", "n", *literature.metrics), tuple(rows), notes=notes)


def literature_records(paper: Paper, results: Sequence[RowResult]) -> Iterator[dict[str, object]]:
    """Yield the lines of ``tables.csv`` for published methods, whose results are in the columns of the paper."""
    literature = paper.file.literature
    if literature is None or not _compared_with_literature(paper, results):
        return
    for method in literature.methods:
        figures = {f"paper_{metric}": f"{value:.2f}" for metric, value in method.figures.items()}
        row: dict[str, object] = {"table": "literature", "title": method.title, "paper_sets": method.data}
        yield {**row, **figures, "remark": method.source}


def _compared_with_literature(paper: Paper, results: Sequence[RowResult]) -> list[RowResult]:
    """Return our results that are listed beside the literature."""
    literature = paper.file.literature
    names = (literature.row, *literature.own_rows) if literature else ()
    return [item for item in results if item.row.name in names and item.estimates]


def _table(
    paper: Paper, table: PaperTable, results: Sequence[RowResult], all_results: Sequence[RowResult]
) -> ReportTable:
    """Create a table with the paper's results and ours; empty columns are omitted.

    ``all_results``: those of all tables, with which rows can be compared.
    """
    common = _common_reductions(results)
    pairs = [(group, name) for group in ("Parameters", "T") for name in ("paper", "ours")]
    pairs += [(metric, name) for metric in table.metrics for name in ("paper", f"ours ({INTERVAL_WORDS})")]
    headings = [("", "Row"), ("Images", "paper"), ("Images", "ours"), ("", "n"), *pairs, ("", "Remarks")]
    rows = [_cells(line, table.metrics, common) for line in table_lines(results)]
    shown = [column for column in range(len(headings)) if any(row[column] for row in rows)]
    rows_text = "in every row" if all(item.parameters for item in results) else "in every trained row"
    introduction = (f"Differences from the paper {rows_text}: {'; '.join(common)}.",) if common else ()
    return ReportTable(
        title=table.title,
        columns=tuple(headings[column][1] for column in shown),
        rows=tuple(tuple(row[column] for column in shown) for row in rows),
        notes=(
            *filter(None, [table.note]),
            *describe_controls(results, paper.file.roles),
            *describe_differences(results, table.metrics, all_results),
        ),
        groups=tuple(headings[column][0] for column in shown),
        introduction=introduction,
    )


def _calibrated_table(
    table: PaperTable, results: Sequence[RowResult], all_results: Sequence[RowResult]
) -> Iterator[ReportTable]:
    """Yield the table of metrics of calibrated probabilities, which papers do not state, if rows have any."""
    lines = [line for line in table_lines(results) if line.result.estimates]
    metrics_found = {name for line in lines for name in line.result.estimates}
    if metrics_found.isdisjoint(STORED):
        return
    metrics = [name for name in METRICS if name in metrics_found and name not in SCORES]
    yield ReportTable(
        title=f"{table.title}: calibrated probabilities",
        columns=("Row", "Images", "n", *(name.removeprefix(CALIBRATED) for name in metrics)),
        rows=tuple(_calibrated_cells(line, metrics) for line in lines),
        notes=tuple(describe_differences(results, metrics, all_results)),
        introduction=(f"{CALIBRATION_NOTE} With the {describe_intervals()}.",),
    )


def _calibrated_cells(line: TableLine, metrics: Sequence[str]) -> tuple[str, ...]:
    """Format a line of the table of calibrated probabilities."""
    own_results = line.result.estimates
    count = str(next(iter(own_results.values())).count)
    cells = (format_percent(own_results[name]) if name in own_results else NOTHING for name in metrics)
    return (line.result.row.file.title, " / ".join(line.set_names), count, *cells)


def _common_reductions(results: Sequence[RowResult]) -> tuple[str, ...]:
    """Return the reductions that all trained rows have in common; none without trained rows."""
    trained = [item for item in results if item.parameters]
    return tuple(part for item in trained[:1] for part in item.reduced if all(part in one.reduced for one in trained))


def _cells(line: TableLine, metrics: Sequence[str], common: Sequence[str]) -> tuple[str, ...]:
    """Format a line of a table: the paper's result and ours for each metric; remarks last."""
    result, file = line.result, line.result.row.file
    own_results = result.estimates
    count = str(next(iter(own_results.values())).count) if own_results else ""
    cells = [file.title, " / ".join(name for name in line.sets if name), " / ".join(line.set_names), count]
    cells += [_millions(file.parameters), _millions(result.parameters)]
    has_threshold = own_results and not result.row.kind.cross_validated  # others use one half
    cells += [_side_by_side(line, "T"), f"{result.threshold:.2f}" if has_threshold else ""]
    for metric in metrics:
        cells += [_side_by_side(line, metric), format_percent(own_results[metric]) if metric in own_results else ""]
    own = [part for part in result.reduced if part not in common]
    return (*cells, "; ".join(text for text in (result.remark, *own) if text))


def _side_by_side(line: TableLine, metric: str) -> str:
    """Format the paper's results in the order of its data sets; the metric ``"T"`` is the threshold."""
    figures = [line.result.row.file.paper[name].get(metric) for name in line.sets]
    written = [NOTHING if figure is None else f"{figure:.2f}" for figure in figures]
    return " / ".join(written) if any(figure is not None for figure in figures) else ""


def _paper_cell(line: TableLine, metric: str) -> str:
    """Format the paper's results for a cell of ``tables.csv``, with the data sets if there are several."""
    figures = [(name, line.result.row.file.paper[name].get(metric)) for name in line.sets]
    formatted = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
    return ", ".join(f"{figure} ({name})" if name and len(formatted) > 1 else figure for name, figure in formatted)


def _millions(parameters: float | None) -> str:
    """Format a number of parameters in millions."""
    if parameters is None:
        return ""
    millions = parameters / 1e6
    return f"{millions:.2g}M" if millions < 10 else f"{millions:.0f}M"


def _record(line: TableLine, metrics: Sequence[str]) -> dict[str, object]:
    """Return a line of ``tables.csv``."""
    result, file = line.result, line.result.row.file
    estimates = result.estimates
    record: dict[str, object] = {
        "table": file.table or result.row.grid,
        "row": result.row.name,
        "title": file.title,
        "paper_sets": "; ".join(name for name in line.sets if name),
        "data_sets": "; ".join(line.set_names),
        "paper_parameters": file.parameters,
        "parameters": result.parameters,
        "paper_T": _paper_cell(line, "T"),
        "T": result.threshold if estimates else None,
        "n": next(iter(estimates.values())).count if estimates else None,
        "remark": result.remark,
        "reduced": "; ".join(result.reduced),
    }
    for metric in metrics:
        record[f"paper_{metric}"] = _paper_cell(line, metric)
        estimate = estimates.get(metric)
        for end, name in (("mean", metric), ("low", f"{metric}_low"), ("high", f"{metric}_high")):
            value = 100 * getattr(estimate, end, math.nan)
            record[name] = round(value, 3) if math.isfinite(value) else None
    return record


def title(context: ReproductionContext) -> str:
    return f"{context.paper.name}: {context.paper.file.title}"


def page_notes(context: ReproductionContext, missing: Mapping[str, str], results: Sequence[RowResult]) -> list[str]:
    """Return the paragraphs above the tables: missing rows, data, methods, notices and claims."""
    paper, plan = context.paper.file, context.plan
    rows_by_reason = defaultdict[str, list[str]](list)
    for name, reason in {**plan.left_out, **missing}.items():
        rows_by_reason[reason].append(name)
    not_run = [f"Not run: {', '.join(names)}: {reason}" for reason, names in rows_by_reason.items()]
    notes = [f"{paper.reference}. Results in per cent; ours with the {describe_intervals()}."]
    for role, images in context.data.items():
        role_file = paper.roles[role]
        left_out, copies = images.splits[LEFT_OUT], images.splits[DUPLICATE]
        left_out_text = f" ({left_out} more are for the full budget)" if left_out else ""
        duplicates_text = f"{copies} left out as they show a picture that already exists"
        notes.append(
            f"{role}, {role_file.title}: the paper used {role_file.used}; here {', '.join(images.names)}, "
            f"{images.images} images for training and validation{left_out_text}, {images.splits[TEST]} held out for "
            f"testing, the same for every row{f'; {duplicates_text}' if copies else ''}."
        )
    if plan.budget == "small":
        notes.append(SMALL)
    nothing = "" if results else NOTHING_FOUND
    phantoms = phantom_notices(folder for folders in plan.folders.values() for folder in folders)
    parts = (*not_run, *phantoms, *notes, *_about_folds(context), *plan.notices)
    shown_kinds = dict.fromkeys(item.row.file.kind for item in results)
    kind_notes = (values.note for kind, values in paper.of.items() if kind in shown_kinds)
    definitions = [CLASSIFICATION_NOTE] if "classification" in shown_kinds else []
    about = (*definitions, paper.note, *paper.remarks, *kind_notes, paper.later)
    parts = (*parts, *about, *describe_claims(context.paper, results))
    return [_without_folders(context, text) for text in (*parts, nothing) if text]


def next_steps(
    context: ReproductionContext, missing: Mapping[str, str], results: Sequence[RowResult]
) -> list[NextStep]:
    """Recommend next steps; paths are relative to the folder of the reproduction."""
    plan, metric, steps = context.plan, context.paper.file.chosen_by, list[NextStep]()
    command = f"napari-melanoma reproduce {plan.paper}"
    if missing:
        # The folder stores which data are used.
        again = f"{command} --budget {plan.budget} --out THIS_FOLDER"
        steps.append(NextStep("Run the missing rows, with the same --rows if any were given", again))
    if models := [item for item in results if is_in_size_figure(context, item) and not item.unlearned]:
        best = max(models, key=lambda item: item.estimates[metric].mean).row
        use = f"Use the model with the highest {metric} here, {best.file.title}, in the docks and with --model"
        steps.append(NextStep(use, f"napari-melanoma models import rows/{best.name}"))
        train = f"napari-melanoma train --config recipes/{best.name}.toml --out RUN"
        steps.append(NextStep("Edit its recipe, and train again", train))
    if plan.budget == "small":
        data = "".join(f" --data {role}={folder.name}" for role, folders in plan.folders.items() for folder in folders)
        whole = f"{command}{data} --budget full --out NEW_FOLDER"
        steps.append(NextStep("Run the full experiment of the paper, on a GPU", whole))
    return steps


def _about_folds(context: ReproductionContext) -> Iterator[str]:
    """Yield a paragraph on the images in the folds for each role."""
    folds, rows = context.paper.file.folds, [context.paper.rows[planned.name] for planned in context.plan.rows]
    for role, images in context.cross_validated.items():
        role_file = context.paper.file.roles[role]
        aside = [(DUPLICATE, "show a picture that already exists"), (NO_LABEL, "have no label")]
        left = "".join(f"; {images.splits[part]} left out as they {why}" for part, why in aside if images.splits[part])
        yield (
            f"{role}, {role_file.title}: the paper used {role_file.used}; here {', '.join(images.names)}, "
            f"{images.images} images of {images.groups} patients or lesions, {images.positives} "
            f"{context.paper.file.positives}, in {folds} folds by patient or lesion{left}."
            f"{FOLD_PREDICTION if any(row.file.is_fitted for row in rows if role in row.file.roles) else ''}"
            f"{describe_validation(rows, context.plan.budget, role)}{_untouched_text(context, role)}"
        )


def describe_validation(rows: Iterable[Row], budget: Budget, role: str) -> str:
    """Describe the validation sets of the networks that are trained on a role; "" if there are none."""
    titles = defaultdict[str, list[str]](list)
    for row in rows:
        if row.file.predictor == "network" and role in row.file.train_roles:
            titles[_validation_use(row.recipe(budget, **ANY_DATA))].append(row.file.title)
    if not titles:
        return ""
    *fewer, most = sorted(titles, key=lambda use: len(titles[use]))
    uses = [f"{use} ({', '.join(titles[use])})" for use in fewer] + [f"{most} (all others)" if fewer else most]
    return f" Of the patients of the other folds, {'; '.join(uses)}."


def _validation_use(recipe: TrainRecipe) -> str:
    """Return the share of the patients in the validation set, and what the set is used for, in words."""
    chosen = {
        "epoch": recipe.keep == "best",
        "threshold": not recipe.classification and recipe.threshold_rule != "half",
    }
    names = " and the ".join(name for name, is_chosen in chosen.items() if is_chosen)
    uses = [f"to choose the {names}"] * bool(names) + ["for calibration"] * bool(recipe.classification)
    share = f"{100 * recipe.data.validation_fraction:g} %"
    return f"{share} are used {' and '.join(uses) or 'to monitor the training'}"


def _untouched_text(context: ReproductionContext, role: str) -> str:
    """Describe the untouched images, and the permuted labels of a control."""
    images, role_file, note = context.cross_validated[role], context.paper.file.roles[role], ""
    if untouched := images.splits[UNTOUCHED]:
        note = (
            f" {untouched} more, {images.untouched_positives} {context.paper.file.positives}, are in no fold, "
            "and evaluated once by the mean of the networks of all folds."
        )
    if role_file.control_of:
        note += f" These are the images of {role_file.control_of}, with labels permuted at random among the patients."
    return note


def _without_folders(context: ReproductionContext, text: str) -> str:
    """Shorten paths in a text to names, so that it contains no folders of this machine."""
    plan = context.plan
    files = [real_path(context.folder.out), *map(Path, plan.weights.values())]
    files += [folder for folders in plan.folders.values() for folder in folders]
    for parent in sorted({str(path.parent) for path in files}, key=len, reverse=True):
        text = text.replace(parent + os.sep, "")
    return text
