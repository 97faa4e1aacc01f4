"""Write the tables of a reproduction, and the notes on them."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from napari_melanoma.core.files import write_text
from napari_melanoma.figures.page import NOTHING, ReportTable
from napari_melanoma.io.results import write_table
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.reproduction.figures import (
    PATH_NOTE,
    NextStep,
    ReproductionPage,
    agreement_table,
    depth_table,
    draw_figures,
    write_page,
)
from napari_melanoma.reproduction.options import phantom_notices
from napari_melanoma.reproduction.paper_rows import (
    PARTS,
    RowResult,
    TableLine,
    images_in_part,
    is_in_size_figure,
    parts_of,
    read_row_results,
    results_by_table,
    table_lines,
)
from napari_melanoma.reproduction.papers import Budget, Claim, Paper, PaperTable, PublishedMethod, Role, Row
from napari_melanoma.reproduction.planning import ANY_DATA, ReproductionContext
from napari_melanoma.reproduction.predictions import CALIBRATED, CHANCE, METRICS, SCORES, STORED
from napari_melanoma.training.recipe import TrainRecipe

INTERVAL_WORDS = "95 % interval"
NOTHING_FOUND = "No row has been evaluated."
SMALL = "Small budget: a trial of the experiment, not of the paper's claims; the tables list the reductions."
CALIBRATION_NOTE = (
    "The same predictions after temperature and offset were fitted on the validation set: this undoes balanced "
    "sampling, so that a probability of one half is reached by fewer images."
)
ABOUT = ("table", "row", "title", "paper_sets", "data_sets", "paper_parameters", "parameters", "paper_T", "T", "n")


def write_tables(work: ReproductionContext, missing: Mapping[str, str]) -> list[RowResult]:
    """Write the tables of the results so far."""
    found, out = read_row_results(work), work.folder.out
    tables = [table.to_markdown() for table in paper_tables(work.paper, found)]
    parts = [f"## {title(work)}", *page_notes(work, missing, found), *tables]
    if steps := next_steps(work, missing, found):
        parts += ["### Next steps", PATH_NOTE, "\n".join(f"- {step.text}: `{step.command}`" for step in steps)]
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    metrics = work.paper.metrics
    figures = [column for m in metrics for column in (f"paper_{m}", m, f"{m}_low", f"{m}_high")]
    columns = (*ABOUT, *figures, "remark", "reduced")
    records = [_record(line, metrics) for line in table_lines(found)]
    write_table(out / "tables.csv", [*records, *literature_records(work.paper, found)], columns)
    return found


def write_result(work: ReproductionContext, missing: Mapping[str, str]) -> list[RowResult]:
    """Write tables, figures and the page of the results."""
    found = write_tables(work, missing)
    page = ReproductionPage(
        title=title(work),
        about=page_notes(work, missing, found),
        tables=paper_tables(work.paper, found),
        pictures=draw_figures(work, found),
        steps=next_steps(work, missing, found),
    )
    write_page(page, work.folder.out / "tables.html")
    return found


def paper_tables(paper: Paper, found: Sequence[RowResult]) -> list[ReportTable]:
    """Create a table for each of the paper's that has rows, and one of the grids.

    Metrics in per cent, ours with intervals. A table of classifiers is followed by one of the calibrated
    probabilities; the last tables contain depths in mm, if rows predict them.
    """
    tables = list[ReportTable]()
    for _, table, rows in results_by_table(paper, found):
        tables.append(_table(paper, table, rows, found))
        tables += _calibrated_table(table, rows, found)
    more = (literature_table(paper, found), depth_table(paper, found), agreement_table(found))
    return [*tables, *filter(None, more)]


def literature_table(paper: Paper, found: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of other methods beside the paper's and ours; None without a result of ours to compare."""
    known = paper.file.literature
    ours = _compared_with_literature(paper, found)
    if known is None or not ours:
        return None
    published = [(one.title, one.data, "", one.figures) for one in known.methods]
    own = paper.rows[known.row].file
    published += [(f"{own.title}, the paper", name or known.data, "", of) for name, of in own.paper.items()]
    rows = [(*about, *(_percent(of.get(m)) for m in known.metrics)) for *about, of in published]
    for item in ours:
        sets = ", ".join(sorted({image["domain"] for image in item.images}))
        about = (f"{item.row.file.title}, here", sets, str(len(item.images)))
        rows.append((*about, *(_interval(item.estimates[m]) for m in known.metrics)))
    sources = "; ".join(f"{one.title}: {one.source}" for one in known.methods)
    contradictions = (text for one in known.methods if (text := _accuracy_contradiction(one)))
    notes = (*filter(None, [known.note]), f"Sources: {sources}.", *contradictions)
    return ReportTable(known.title, ("Method", "Images", "n", *known.metrics), tuple(rows), notes=notes)


def literature_records(paper: Paper, found: Sequence[RowResult]) -> Iterator[dict[str, object]]:
    """Yield the lines of ``tables.csv`` of other methods, with their results in the columns of the paper."""
    known = paper.file.literature
    if known is None or not _compared_with_literature(paper, found):
        return
    for one in known.methods:
        figures = {f"paper_{metric}": f"{value:.2f}" for metric, value in one.figures.items()}
        yield {"table": "literature", "title": one.title, "paper_sets": one.data, **figures, "remark": one.source}


def _compared_with_literature(paper: Paper, found: Sequence[RowResult]) -> list[RowResult]:
    """Return our results that are listed beside the literature."""
    known = paper.file.literature
    names = (known.row, *known.ours) if known else ()
    return [item for item in found if item.row.name in names and item.estimates]


def _accuracy_contradiction(method: PublishedMethod) -> str:
    """Describe an accuracy that sensitivity and specificity of the same two classes exclude; empty if there is none.

    It is their mean, weighted by the share of each class.
    """
    accuracy, ends = method.figures.get("AC"), [method.figures[m] for m in ("SE", "SP") if m in method.figures]
    if accuracy is None or len(ends) < 2 or min(ends) <= accuracy <= max(ends):
        return ""
    return (
        f"{method.title}: an accuracy of {accuracy:.2f} is not possible for two classes with a sensitivity of "
        f"{method.figures['SE']:.2f} and a specificity of {method.figures['SP']:.2f}; it may refer to other classes."
    )


def _percent(value: float | None) -> str:
    """Format a result of others."""
    return NOTHING if value is None else f"{value:.2f}"


def _table(paper: Paper, table: PaperTable, found: Sequence[RowResult], among: Sequence[RowResult]) -> ReportTable:
    """Create a table with the paper's results and ours; empty columns are omitted."""
    common = _in_every_row(found)
    pairs = [(group, name) for group in ("Parameters", "T") for name in ("paper", "ours")]
    pairs += [(metric, name) for metric in table.metrics for name in ("paper", f"ours ({INTERVAL_WORDS})")]
    headings = [("", "Row"), ("Images", "paper"), ("Images", "ours"), ("", "n"), *pairs, ("", "Remarks")]
    rows = [_cells(line, table.metrics, common) for line in table_lines(found)]
    shown = [column for column in range(len(headings)) if any(row[column] for row in rows)]
    return ReportTable(
        title=table.title,
        columns=tuple(headings[column][1] for column in shown),
        rows=tuple(tuple(row[column] for column in shown) for row in rows),
        notes=(
            *filter(None, [table.note]),
            *describe_controls(found, paper.file.roles),
            *describe_differences(found, table.metrics, among),
        ),
        groups=tuple(headings[column][0] for column in shown),
        introduction=(f"Differences from the paper {_figures_owner(found)}: {'; '.join(common)}.",) if common else (),
    )


def _calibrated_table(
    table: PaperTable, found: Sequence[RowResult], among: Sequence[RowResult]
) -> Iterator[ReportTable]:
    """Create a table of the metrics of calibrated probabilities, which the papers do not have, if rows have any."""
    lines = [line for line in table_lines(found) if line.result.estimates]
    known = {name for line in lines for name in line.result.estimates}
    if known.isdisjoint(STORED):
        return
    metrics = [name for name in METRICS if name in known and name not in SCORES]
    yield ReportTable(
        title=f"{table.title}: calibrated probabilities",
        columns=("Row", "Images", "n", *(name.removeprefix(CALIBRATED) for name in metrics)),
        rows=tuple(_calibrated_cells(line, metrics) for line in lines),
        notes=tuple(describe_differences(found, metrics, among)),
        introduction=(f"{CALIBRATION_NOTE} With the {INTERVAL_METHOD}.",),
    )


def _calibrated_cells(line: TableLine, metrics: Sequence[str]) -> tuple[str, ...]:
    """Format a line of the table of calibrated probabilities."""
    ours = line.result.estimates
    count = str(next(iter(ours.values())).count)
    figures = (_interval(ours[name]) if name in ours else NOTHING for name in metrics)
    return (line.result.row.file.title, " / ".join(line.set_names), count, *figures)


def _in_every_row(found: Sequence[RowResult]) -> tuple[str, ...]:
    """Return the reductions that all trained rows have in common."""
    first, *others = [item for item in found if item.parameters] or found
    return tuple(part for part in first.reduced if all(part in item.reduced for item in others))


def _figures_owner(found: Sequence[RowResult]) -> str:
    """Name the rows that common reductions apply to."""
    return "in every row" if all(item.parameters for item in found) else "in every trained row"


def _cells(line: TableLine, metrics: Sequence[str], common: Sequence[str]) -> tuple[str, ...]:
    """Format a line of a table: the paper's result and ours for each metric; remarks last."""
    found, file = line.result, line.result.row.file
    ours = found.estimates
    count = str(next(iter(ours.values())).count) if ours else ""
    written = [file.title, " / ".join(name for name in line.sets if name), " / ".join(line.set_names), count]
    written += [_millions(file.parameters), _millions(found.parameters)]
    written += [_side_by_side(line, "T"), _threshold(found) if ours else ""]
    for metric in metrics:
        written += [_side_by_side(line, metric), _interval(ours[metric]) if metric in ours else ""]
    own = [part for part in found.reduced if part not in common]
    return (*written, "; ".join(text for text in (found.remark, *own) if text))


def _side_by_side(line: TableLine, metric: str) -> str:
    """Format the paper's results in the order of its data sets; ``"T"`` is a threshold."""
    figures = [line.result.row.file.paper[name].get(metric) for name in line.sets]
    written = [NOTHING if figure is None else f"{figure:.2f}" for figure in figures]
    return " / ".join(written) if any(figure is not None for figure in figures) else ""


def _paper(line: TableLine, metric: str) -> str:
    """Format the paper's results for CSV, with data sets if there are several."""
    figures = [(name, line.result.row.file.paper[name].get(metric)) for name in line.sets]
    known = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
    return ", ".join(f"{figure} ({name})" if name and len(known) > 1 else figure for name, figure in known)


def _interval(estimate: Estimate) -> str:
    """Format an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.format_interval('.1f', factor=100)})"


def _threshold(found: RowResult) -> str:
    """Format the threshold of a model; empty for cross-validated rows, which use one half."""
    return "" if found.row.kind.crossed else f"{found.threshold:.2f}"


def _millions(parameters: float | None) -> str:
    """Format a number of parameters in millions."""
    if parameters is None:
        return ""
    millions = parameters / 1e6
    return f"{millions:.2g}M" if millions < 10 else f"{millions:.0f}M"


def _record(line: TableLine, metrics: Sequence[str]) -> dict[str, object]:
    """Return a line of ``tables.csv``."""
    found, file = line.result, line.result.row.file
    estimates = found.estimates
    record: dict[str, object] = {
        "table": file.table or found.row.grid,
        "row": found.row.name,
        "title": file.title,
        "paper_sets": "; ".join(name for name in line.sets if name),
        "data_sets": "; ".join(line.set_names),
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


def title(work: ReproductionContext) -> str:
    return f"{work.paper.name}: {work.paper.file.title}"


def page_notes(work: ReproductionContext, missing: Mapping[str, str], found: Sequence[RowResult]) -> list[str]:
    """Describe data and methods, and missing rows; each text is a paragraph."""
    paper, plan = work.paper.file, work.plan
    rows_by_reason = defaultdict[str, list[str]](list)
    for name, reason in {**plan.left_out, **missing}.items():
        rows_by_reason[reason].append(name)
    not_run = [f"Not run: {', '.join(names)}: {reason}" for reason, names in rows_by_reason.items()]
    notes = [f"{paper.reference}. Results in per cent; ours with the {INTERVAL_METHOD}."]
    for role, images in work.data.items():
        what = paper.roles[role]
        less = f" ({images.left_out} more were left out because of the time limit)" if images.left_out else ""
        twice = f"{images.duplicates} left out as they show a picture that already exists"
        notes.append(
            f"{role}, {what.title}: the paper used {what.used}; here {images.names}, {images.training} images for "
            f"training and validation{less}, {images.test} held out for testing, the same for every row"
            f"{f'; {twice}' if images.duplicates else ''}."
        )
    if plan.budget == "small":
        notes.append(SMALL)
    nothing = "" if found else NOTHING_FOUND
    waiting = {row.name for row in plan.rows if row.waits} - {item.row.name for item in found}
    notices = (*plan.notices, *(plan.late if waiting else ()))
    phantoms = phantom_notices(folder for folders in plan.folders.values() for folder in folders)
    parts = (*not_run, *phantoms, *notes, *_about_folds(work), *notices)
    parts = (*parts, paper.note, paper.later, *describe_claims(work.paper, found))
    return [_without_folders(work, text) for text in (*parts, nothing) if text]


def next_steps(work: ReproductionContext, missing: Mapping[str, str], found: Sequence[RowResult]) -> list[NextStep]:
    """Recommend next steps; paths are relative to the folder of the reproduction."""
    plan, metric, steps = work.plan, work.paper.file.chosen_by, list[NextStep]()
    command = f"napari-melanoma reproduce {plan.paper}"
    if missing:
        more = "" if plan.minutes is None else " --minutes MORE"
        again = f"{command} --budget {plan.budget}{more} --out THIS_FOLDER"  # the data are stored in the folder
        steps.append(NextStep("Run the missing rows, with the same --rows if any were given", again))
    if models := [item for item in found if is_in_size_figure(work, item) and not item.unlearned]:
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


def _about_folds(work: ReproductionContext) -> Iterator[str]:
    """Describe the images in the folds."""
    folds, rows = work.paper.file.folds, [work.paper.rows[planned.name] for planned in work.plan.rows]
    for role, images in work.crossed.items():
        what = work.paper.file.roles[role]
        aside = [(images.duplicates, "show a picture that already exists"), (images.unlabeled, "have no label")]
        left = "".join(f"; {count} left out as they {why}" for count, why in aside if count)
        yield (
            f"{role}, {what.title}: the paper used {what.used}; here {', '.join(images.names)}, {images.images} images "
            f"of {images.groups} patients or lesions, {images.positives} {work.paper.file.positives}, in {folds} folds "
            f"by patient or lesion{left}. Each image is predicted by a model that was not trained on its fold."
            f"{describe_validation(rows, work.plan.budget, role)}{_untouched(work, role)}"
        )


def describe_validation(rows: Iterable[Row], budget: Budget, role: str) -> str:
    """Describe the validation sets of the networks that are trained on a role; empty if there are none."""
    titles = defaultdict[str, list[str]](list)
    for row in rows:
        if row.file.predictor == "network" and role in row.file.learns:
            titles[_validation_use(row.recipe(budget, **ANY_DATA))].append(row.file.title)
    if not titles:
        return ""
    *fewer, most = sorted(titles, key=lambda use: len(titles[use]))
    uses = [f"{use} ({', '.join(titles[use])})" for use in fewer] + [f"{most} (all others)" if fewer else most]
    return f" Of the patients of the other folds, {'; '.join(uses)}."


def _validation_use(recipe: TrainRecipe) -> str:
    """Return the share of the patients in the validation set, and what it is used for."""
    chosen = {
        "epoch": recipe.keep == "best",
        "threshold": not recipe.classification and recipe.threshold_rule != "half",
    }
    names = " and the ".join(name for name, is_chosen in chosen.items() if is_chosen)
    uses = [f"to choose the {names}"] * bool(names) + ["for calibration"] * bool(recipe.classification)
    share = f"{100 * recipe.data.tuning_fraction:g} %"
    return f"{share} are used {' and '.join(uses) or 'to monitor the training'}"


def _untouched(work: ReproductionContext, role: str) -> str:
    """Describe the untouched images, and the permuted labels of a control."""
    images, what, note = work.crossed[role], work.paper.file.roles[role], ""
    if images.untouched:
        note = (
            f" {images.untouched} more, {images.untouched_positives} {work.paper.file.positives}, are in no fold, and "
            "evaluated once by the mean of the networks of all folds."
        )
    if what.control_of:
        note += f" These are the images of {what.control_of}, with labels permuted at random among the patients."
    return note


def _without_folders(work: ReproductionContext, text: str) -> str:
    """Shorten paths to names, without folders of this machine."""
    plan = work.plan
    files = [work.folder.out.resolve(), *map(Path, plan.weights.values())]
    files += [folder for folders in plan.folders.values() for folder in folders]
    for parent in sorted({str(path.parent) for path in files}, key=len, reverse=True):
        text = text.replace(parent + os.sep, "")
    return text


def describe_differences(
    found: Sequence[RowResult], metrics: Sequence[str], among: Sequence[RowResult] = ()
) -> Iterator[str]:
    """Describe the paired differences between rows, a sentence for each pair and part of the images.

    Rows that have not learned are not compared.
    """
    known = {item.row.name: item for item in among or found}
    for item in found:
        for other in (known[name] for name in item.row.file.against if name in known):
            if without := _unlearned_rows((item, other)):
                yield f"{item.row.file.title} is not compared with {other.row.file.title}: {without}."
                continue
            for part in parts_of(item):
                of = paired_changes(other, item, part)
                differences = [f"{m.removeprefix(CALIBRATED)} {_format_signed(of[m])}" for m in metrics if m in of]
                if differences:
                    titles = f"{item.row.file.title} minus {other.row.file.title}"
                    where = f", {PARTS[part]}" if part else ""
                    yield f"{titles}, on the same images{where}: {', '.join(differences)}."


def paired_changes(other: RowResult, item: RowResult, part: str = "") -> dict[str, Estimate]:
    """Estimate the differences between two rows on common images of a part, with paired bootstrap intervals."""
    old, new = (
        {(image["domain"], image["image_id"]): image for image in images_in_part(one.images, part)}
        for one in (other, item)
    )
    both = [key for key in old if key in new]
    return item.row.kind.changes([old[key] for key in both], [new[key] for key in both]) if both else {}


def describe_controls(found: Sequence[RowResult], roles: Mapping[str, Role]) -> Iterator[str]:
    """Report whether rows with permuted labels are at chance level, a sentence for each row and part."""
    for item in found:
        if roles[item.row.file.evaluated].control_of is None:
            continue
        for part in parts_of(item):
            area = item.row.kind.estimates(images_in_part(item.images, part)).get("AUC")
            if area is None:
                continue
            holds = area.low <= CHANCE <= area.high
            result = (
                "includes 50, as expected" if holds else "excludes 50: the labels are not independent of the images"
            )
            where = f", {PARTS[part]}" if part else ""
            yield f"{item.row.file.title}{where}: AUC {_interval(area)}; its interval {result}."


def _unlearned_rows(found: Iterable[RowResult]) -> str:
    """Name the rows that have not learned; empty if all have."""
    titles = [item.row.file.title for item in found if item.unlearned]
    return f"not learned: {'; '.join(titles)}" if titles else ""


def _format_signed(change: Estimate) -> str:
    """Format a difference in per cent."""
    return f"{100 * change.mean:+.1f} ({change.format_interval('+.1f', factor=100)})"


def describe_claims(paper: Paper, found: Sequence[RowResult]) -> list[str]:
    """Compare each claim with the paper's own results and with ours, in a few sentences."""
    return [
        " ".join([f"Claim of the paper: {claim.said}.", *_in_table(paper, claim), *_in_ours(claim, found)])
        for claim in paper.file.claims
    ]


def _in_table(paper: Paper, claim: Claim) -> Iterator[str]:
    """Compare a claim with the paper's table."""
    figures = {name: _figures(paper, name) for name in (claim.row, *claim.over)}
    wrong = {
        metric: max(figures[name][metric] for name in claim.over)
        for metric in claim.metrics
        if any(figures[name].get(metric, 0) > figures[claim.row].get(metric, 0) for name in claim.over)
    }
    if wrong:
        contradictions = ", ".join(
            f"{m} {best:.2f} compared with {figures[claim.row][m]:.2f}" for m, best in wrong.items()
        )
        yield f"Its own table contradicts this: {contradictions}."
    else:
        yield "Its own table supports this."


def _figures(paper: Paper, name: str) -> Mapping[str, float]:
    """Return the paper's results of a row; for several encoders, those of any of them."""
    alike = [row for row in paper.rows.values() if row.name == name or row.name.startswith(f"{name}-")]
    return next((figures for row in alike for figures in row.file.paper.values()), {})


def _in_ours(claim: Claim, found: Sequence[RowResult]) -> Iterator[str]:
    """Compare a claim with our results on all images together."""
    compared = [item for item in found if item.row.name in (claim.row, *claim.over)]
    if len(compared) <= len(claim.over):
        return
    if without := _unlearned_rows(compared):
        yield f"Here it cannot be compared: {without}."
        return
    ours = {item.row.name: item.estimates for item in compared}
    row = ours[claim.row]
    known = [m for m in claim.metrics if all(m in estimates for estimates in ours.values())]
    better = [m for m in known if all(row[m].mean > ours[name][m].mean for name in claim.over)]
    if not known:
        return
    if len(better) == len(known):
        yield "Here it holds for all metrics, on all images together; see the intervals for the uncertainty."
    else:
        others = ", ".join(f"{m} {100 * row[m].mean:.1f}" for m in known if m not in better)
        yield f"Here, on all images together, it holds for {', '.join(better) or 'no metric'}, not for {others}."
