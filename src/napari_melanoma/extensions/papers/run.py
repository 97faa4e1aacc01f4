"""Reproduce a paper: split the data, plan, run each row, and write the tables.

A row is a row of the paper's tables, that is an experiment; a role is a type of data that it needs.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path

from napari_melanoma.core.context import SCALE_STEPS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError, RunError
from napari_melanoma.core.files import temporary_prefix, write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.extensions.papers.budget import TABLES_S
from napari_melanoma.extensions.papers.options import (
    ReproduceOptions,
    default_phantom,
    draft_plan,
    ensure_phantom,
    phantom_notices,
    preview_phantom,
    read_begun_plan,
)
from napari_melanoma.extensions.papers.paper_rows import (
    RowResult,
    cross_validate,
    evaluate_row,
    find_data_faults,
    mask_notices,
    train_model,
)
from napari_melanoma.extensions.papers.papers import Paper, Row, read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproductionContext,
    ReproductionFolder,
    ReproductionImages,
    ReproductionPlan,
    complete_plan,
)
from napari_melanoma.extensions.papers.split import (
    CrossValidatedRole,
    CrossValidationSetup,
    RoleData,
    read_folds,
    read_split,
    write_folds,
    write_split,
)
from napari_melanoma.extensions.papers.tables import write_result, write_tables

log = logging.getLogger(__name__)
SILENCE_S = 120.0  # maximum time between events of an active run


@dataclass(frozen=True)
class MissingRows:
    """Planned rows without results, by name, with the reasons: those that failed, and those without time."""

    failed: dict[str, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Failed and late rows."""
        return {**self.failed, **self.late}


def run_rows(context: ReproductionContext, missing: MissingRows, run: RunContext) -> None:
    """Run the remaining rows; failed ones and those without time are recorded."""
    rows = context.plan.ordered_rows(context.paper)
    for number, planned in enumerate(rows):
        if context.folder.row(planned.name).evaluated.is_dir():
            continue
        run.check()
        row = context.paper.rows[planned.name]
        part = PartContext(run, number, len(rows), f"{row.file.title} ({number + 1} of {len(rows)})")
        if why := _time_shortage(context, row, missing):
            missing.late[row.name] = why
        else:
            _try_row(context, row, missing, part)
        write_tables(context, missing.all)


def has_time(context: ReproductionContext, name: str) -> bool:
    """Return whether there is time for a row, by its estimate and the actual time of the rows so far.

    Always True without a time limit, and for a row that has begun.
    """
    plan, folder = context.plan, context.folder
    if plan.minutes is None or folder.row(name).has_begun:
        return True
    begun_rows = [row for row in plan.rows if folder.row(row.name).has_begun]
    trained_rows = [row for row in begun_rows if row.epochs and _is_trained(context, row.name)]
    planned_s = sum(row.seconds or 0.0 for row in trained_rows)
    slowdown = sum(_spent(context, row) for row in trained_rows) / planned_s if planned_s else 1.0
    without_training = [row for row in plan.rows if row not in begun_rows and folder.row(row.name).evaluated.is_dir()]
    spent = sum(_spent(context, row) for row in (*begun_rows, *without_training)) + plan.planning_s
    return spent + slowdown * (plan.by_name[name].seconds or 0.0) + TABLES_S <= 60 * plan.minutes


def _spent(context: ReproductionContext, planned: PlannedRow) -> float:
    """Return the time of a row in seconds: of its training in all sessions, plus the estimate for everything else.

    Gaps of two minutes or more between its events are interruptions, which do not count.
    """
    gaps: list[float] = []
    for folder in context.folder.row(planned.name).runs:
        times = [event.get("time") for event in folder.read_events()]
        known = [float(time) for time in times if isinstance(time, int | float)]
        gaps += [later - earlier for earlier, later in pairwise(known)]
    return (planned.fixed_s or 0.0) + sum(gap for gap in gaps if 0 < gap < SILENCE_S)


def _is_trained(context: ReproductionContext, name: str) -> bool:
    """Return whether a row has been trained; a cross-validated row, whether it has been evaluated."""
    row_folder = context.folder.row(name)
    return row_folder.evaluated.is_dir() if context.paper.rows[name].kind.cross_validated else row_folder.is_trained


def _time_shortage(context: ReproductionContext, row: Row, missing: MissingRows) -> str | None:
    """Return why there is no time for a row; None if there is."""
    if without := [name for name in row.file.needs if name in missing.late]:
        return f"time: it needs the row '{without[0]}', for which there was no time."
    return None if has_time(context, row.name) else f"time: it would exceed the limit of {context.plan.minutes:g} min."


def _try_row(context: ReproductionContext, row: Row, missing: MissingRows, run: RunContext) -> None:
    """Train and evaluate a row; a failure is recorded in ``missing``."""
    try:
        if without := [name for name in row.file.needs if name in missing.failed]:
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
        missing.failed[row.name] = message


@dataclass(frozen=True)
class Reproduction:
    """State of a reproduction: plan, results, and missing rows."""

    paper: Paper
    plan: ReproductionPlan
    results: list[RowResult] = field(default_factory=list)
    missing: MissingRows = field(default_factory=MissingRows)


def reproduce(options: ReproduceOptions, out: Path, *, run: RunContext) -> Reproduction:
    """Reproduce a paper, or resume an earlier call.

    A row that is trained has a run folder of its own, or one for each fold. Rows of the same role are evaluated on the
    same test images. Tables are written after each row, figures at the end. Tables list failed rows; the other rows
    continue.
    """
    folder, missing = ReproductionFolder(out), MissingRows()
    if not folder.plan.is_file() and not default_phantom(options):
        draft_plan(options)  # only for its errors, before anything is written
    with hold_lock(out / ".lock"):
        context = _begin(options, folder, run)
        with allow_folders(
            chain(*context.plan.folders.values())
        ):  # the tables of the split have paths in these folders
            try:
                run_rows(context, missing, run)
            except Cancelled:
                write_result(context, missing.all)
                raise
            finally:
                _clear_caches()
            return Reproduction(context.paper, context.plan, write_result(context, missing.all), missing)


def check(options: ReproduceOptions, *, run: RunContext) -> Reproduction:
    """Plan a reproduction without writing to its folder."""
    if preview := preview_phantom(options):
        draft, roles = preview
        paper = read_paper(options.paper)
        rows = paper.select(options.rows)
        plan = complete_plan(draft, rows, ReproductionImages({}, roles), {}, run, forecast=True)
        return Reproduction(paper, plan)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("plan")) as folder:
        return Reproduction(
            read_paper(options.paper), _make_plan(options, ReproductionFolder(Path(folder)), run, forecast=True)
        )


def _begin(options: ReproduceOptions, folder: ReproductionFolder, run: RunContext) -> ReproductionContext:
    """Create the plan of a new reproduction, or read the plan of a begun one, and report it."""
    begun = folder.plan.is_file()
    plan = (
        read_begun_plan(options, folder) if begun else _make_plan(ensure_phantom(options, folder.out, run), folder, run)
    )
    write_json(folder.plan, plan.model_dump(mode="json"))
    message = f"{folder.out} continues: {plan.sentence}" if begun else plan.sentence
    phantoms = phantom_notices(dataset for datasets in plan.folders.values() for dataset in datasets)
    for text in (message, *phantoms, *plan.notices, *plan.late):
        run.report(Milestone(0, SCALE_STEPS * len(plan.rows), text))
    split, cross_validated = _read_splits(plan, folder)
    return ReproductionContext(read_paper(options.paper), plan, split, folder, cross_validated)


def _make_plan(
    options: ReproduceOptions, folder: ReproductionFolder, run: RunContext, *, forecast: bool = False
) -> ReproductionPlan:
    """Split the data and plan the rows; split again if the plan limits the number of images."""
    began = time.monotonic()
    paper, draft = read_paper(options.paper), draft_plan(options)
    rows = paper.select(options.rows)
    faults = _write_splits(draft, rows, folder, run, search_duplicates=not forecast)
    if len(faults) == len(rows):
        raise InputError("\n".join(dict.fromkeys(faults.values())))
    provisional_plan = _make_provisional_plan(draft, [row for row in rows if row.name not in faults])
    with allow_folders(chain(*provisional_plan.folders.values())):
        split, cross_validated = _read_splits(provisional_plan, folder)
        context = ReproductionContext(paper, provisional_plan, split, folder, cross_validated)
        faults |= find_data_faults(context, run)
        notices = (*draft.notices, *mask_notices(context))
        draft = draft.model_copy(update={"notices": notices, "planning_s": time.monotonic() - began})
        plan = complete_plan(draft, rows, ReproductionImages(split, cross_validated), faults, run, forecast=forecast)
    if plan.images is not None and not forecast:
        write_split(plan.folders_of(paper, cross_validated=False), paper.file.roles, plan.images, folder.data, run)
    return plan


def _make_provisional_plan(draft: ReproductionPlan, rows: Sequence[Row]) -> ReproductionPlan:
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
    paper, provisional_plan, faults = read_paper(draft.paper), _make_provisional_plan(draft, rows), dict[str, str]()
    setup = CrossValidationSetup.from_paper(paper.file, folder.cross_validated, draft.labels)
    setup = replace(setup, search_duplicates=search_duplicates)
    for cross_validated in (False, True):
        for role, folders in provisional_plan.folders_of(paper, cross_validated=cross_validated).items():
            try:
                if cross_validated:
                    write_folds({role: folders}, setup, run)
                else:
                    roles = paper.file.roles
                    write_split({role: folders}, roles, None, folder.data, run, search_duplicates=search_duplicates)
            except InputError as error:
                needing = (
                    row for row in rows if row.kind.cross_validated == cross_validated and role in row.file.roles
                )
                faults |= {row.name: str(error) for row in needing}
    return faults


def _read_splits(
    plan: ReproductionPlan, folder: ReproductionFolder
) -> tuple[dict[str, RoleData], dict[str, CrossValidatedRole]]:
    """Read the images of each role in the split, and in the folds."""
    paper = read_paper(plan.paper)
    return (
        read_split(plan.folders_of(paper, cross_validated=False), folder.data),
        read_folds(
            plan.folders_of(paper, cross_validated=True),
            CrossValidationSetup.from_paper(paper.file, folder.cross_validated),
        ),
    )


def _clear_caches() -> None:
    """Clear the encoder caches that rows and folds share."""
    from napari_melanoma.training.tasks.task import clear_encoder_caches

    clear_encoder_caches()
