"""Reproduce a paper: split the data, plan, run each row, and write the tables.

A row is a row of the paper's tables, that is an experiment; a role is a type of data that it needs.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from napari_melanoma.core.context import SCALE_STEPS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError, RunError
from napari_melanoma.core.files import temporary_prefix, write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.extensions.papers.paper_rows import (
    RowResult,
    cross_validate,
    evaluate_row,
    find_data_faults,
    mask_notices,
    train_model,
)
from napari_melanoma.extensions.papers.papers import BUDGETS, Paper, Row, read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproduceOptions,
    ReproductionContext,
    ReproductionFolder,
    ReproductionPlan,
    complete_plan,
    default_phantom,
    draft_plan,
    ensure_phantom,
    phantom_notices,
    preview_phantom,
    read_begun_plan,
)
from napari_melanoma.extensions.papers.split import SplitSetup, read_images, write_tables
from napari_melanoma.extensions.papers.tables import write_result, write_result_tables

log = logging.getLogger(__name__)


def run_rows(context: ReproductionContext, failed: dict[str, str], run: RunContext) -> None:
    """Run the remaining rows; the reasons of failed ones are added to ``failed``."""
    rows = context.plan.rows
    for number, planned in enumerate(rows):
        if context.folder.row(planned.name).evaluated.is_dir():
            continue
        run.check()
        row = context.paper.rows[planned.name]
        part = PartContext(run, number, len(rows), f"{row.file.title} ({number + 1} of {len(rows)})")
        _try_row(context, row, failed, part)
        write_result_tables(context, failed)


def _try_row(context: ReproductionContext, row: Row, failed: dict[str, str], run: RunContext) -> None:
    """Train and evaluate a row; the reason of a failure is added to ``failed``."""
    try:
        if without := [name for name in row.file.needs if name in failed]:
            raise RunError(f"it needs the row '{without[0]}', which failed.")
        if row.kind.cross_validated:
            cross_validate(context, row, run)
            return
        if row.file.train is not None:
            train_model(context, row, run)
        evaluate_row(context, row, run)
    except Cancelled:
        raise
    except Exception as error:
        log.warning("the row %s failed", row.name, exc_info=error)
        message = str(error) if isinstance(error, MelanomaError) else f"{type(error).__name__}: {error}"
        failed[row.name] = message


@dataclass(frozen=True)
class Reproduction:
    """State of a reproduction: plan, results, and the reasons of failed rows."""

    paper: Paper
    plan: ReproductionPlan
    results: list[RowResult] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def reproduce(options: ReproduceOptions, out: Path, *, run: RunContext) -> Reproduction:
    """Reproduce a paper, or resume an earlier call.

    A row that is trained has a run folder of its own, or one for each fold. Rows of the same role are evaluated on the
    same test images. Tables are written after each row, figures at the end. Tables list failed rows; the other rows
    continue.
    """
    folder, failed = ReproductionFolder(out), dict[str, str]()
    if not folder.plan.is_file() and not default_phantom(options):
        draft_plan(options)  # only for its errors, before anything is written
    with hold_lock(out / ".lock"):
        context = _begin(options, folder, run)
        with allow_folders(chain(*context.plan.folders.values())):  # the tables of the split have paths in them
            from napari_melanoma.training.tasks.task import clear_encoder_caches

            try:
                run_rows(context, failed, run)
            except Cancelled:
                write_result(context, failed)
                raise
            finally:
                clear_encoder_caches()  # which rows and folds share
            return Reproduction(context.paper, context.plan, write_result(context, failed), failed)


def check(options: ReproduceOptions, *, run: RunContext) -> Reproduction:
    """Plan a reproduction without writing to its folder."""
    paper = read_paper(options.paper)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("plan")) as name:
        folder = ReproductionFolder(Path(name))
        if preview := preview_phantom(options, folder):
            return Reproduction(paper, complete_plan(preview, paper.select(options.rows), {}, run))
        return Reproduction(paper, _make_plan(options, folder, run, search_duplicates=False))


def _begin(options: ReproduceOptions, folder: ReproductionFolder, run: RunContext) -> ReproductionContext:
    """Create the plan of a new reproduction, or read the plan of a begun one, and report it."""
    begun = folder.plan.is_file()
    plan = (
        read_begun_plan(options, folder) if begun else _make_plan(ensure_phantom(options, folder.out, run), folder, run)
    )
    write_json(folder.plan, plan.model_dump(mode="json"))
    message = f"{folder.out} continues: {plan.sentence}" if begun else plan.sentence
    phantoms = phantom_notices(dataset for datasets in plan.folders.values() for dataset in datasets)
    for text in (message, *phantoms, *plan.notices):
        run.report(Milestone(0, SCALE_STEPS * len(plan.rows), text))
    return _read_context(plan, folder)


def _make_plan(
    options: ReproduceOptions, folder: ReproductionFolder, run: RunContext, *, search_duplicates: bool = True
) -> ReproductionPlan:
    """Split the data and plan the rows."""
    paper, draft = read_paper(options.paper), draft_plan(options)
    rows = paper.select(options.rows)
    faults = _write_splits(draft, rows, folder, run, search_duplicates=search_duplicates)
    if len(faults) == len(rows):
        raise InputError("\n".join(dict.fromkeys(faults.values())))
    draft = _with_rows(draft, [row for row in rows if row.name not in faults])
    with allow_folders(chain(*draft.folders.values())):
        context = _read_context(draft, folder)
        faults |= find_data_faults(context, run)
        draft = draft.model_copy(update={"notices": (*draft.notices, *mask_notices(context))})
        return complete_plan(replace(context, plan=draft), rows, faults, run)


def _with_rows(draft: ReproductionPlan, rows: Sequence[Row]) -> ReproductionPlan:
    """Return a plan with these rows, whose training is not planned yet."""
    return draft.model_copy(update={"rows": tuple(PlannedRow(name=row.name) for row in rows)})


def _write_splits(
    draft: ReproductionPlan,
    rows: Sequence[Row],
    folder: ReproductionFolder,
    run: RunContext,
    *,
    search_duplicates: bool,
) -> dict[str, str]:
    """Write the split and the folds of each role; return the rows whose images cannot be used, with reasons."""
    paper, faults = read_paper(draft.paper), dict[str, str]()
    setup = replace(_split_setup(paper, folder), labels=draft.labels, search_duplicates=search_duplicates)
    setup = replace(setup, most=BUDGETS[draft.budget].images)
    for cross_validated in (False, True):
        folders = _with_rows(draft, rows).folders_of(paper, cross_validated=cross_validated)
        for role, why in write_tables(folders, setup, run, cross_validated=cross_validated).items():
            needing = (row for row in rows if row.kind.cross_validated == cross_validated and role in row.file.roles)
            faults |= {row.name: why for row in needing}
    return faults


def _split_setup(paper: Paper, folder: ReproductionFolder) -> SplitSetup:
    file = paper.file
    return SplitSetup(file.roles, folder.out, file.folds, file.target, file.positives)


def _read_context(plan: ReproductionPlan, folder: ReproductionFolder) -> ReproductionContext:
    """Read the images of each role in the split, and in the folds."""
    paper = read_paper(plan.paper)
    setup = _split_setup(paper, folder)
    split, folds = (
        read_images(plan.folders_of(paper, cross_validated=crossed), setup, cross_validated=crossed)
        for crossed in (False, True)
    )
    return ReproductionContext(paper, plan, split, folder, folds)
