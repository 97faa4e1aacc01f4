"""Reproduce a paper, row by row."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

from napari_melanoma.core.context import SCALE_STEPS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError, RunError
from napari_melanoma.core.files import temporary_prefix, write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.reproduction.budget import TABLES_S
from napari_melanoma.reproduction.options import (
    ReproduceOptions,
    default_phantom,
    draft_plan,
    ensure_phantom,
    phantom_notices,
    preview_phantom,
    read_begun_plan,
)
from napari_melanoma.reproduction.paper_rows import (
    RowResult,
    cross_validate,
    evaluate_row,
    find_data_faults,
    mask_notices,
    train_model,
)
from napari_melanoma.reproduction.papers import Paper, Row, read_paper
from napari_melanoma.reproduction.planning import (
    PlannedRow,
    ReproductionContext,
    ReproductionFolder,
    ReproductionImages,
    ReproductionPlan,
    complete_plan,
)
from napari_melanoma.reproduction.split import (
    CrossValidatedRole,
    CrossValidationSetup,
    RoleData,
    read_folds,
    read_split,
    write_folds,
    write_split,
)
from napari_melanoma.reproduction.tables import write_result, write_tables

log = logging.getLogger(__name__)
SILENCE_S = 120.0  # maximum time between events of an active run


@dataclass(frozen=True)
class MissingRows:
    """Planned rows without results, with reasons: failed ones, and those without time."""

    failed: dict[str, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Failed and late rows."""
        return {**self.failed, **self.late}


def run_rows(work: ReproductionContext, missing: MissingRows, run: RunContext) -> None:
    """Run the remaining rows; failed ones and those without time are recorded."""
    rows = work.plan.ordered_rows(work.paper)
    for number, planned in enumerate(rows):
        if work.folder.row(planned.name).evaluated.is_dir():
            continue
        run.check()
        row = work.paper.rows[planned.name]
        part = PartContext(run, number, len(rows), f"{row.file.title} ({number + 1} of {len(rows)})")
        if why := _time_shortage(work, row, missing):
            missing.late[row.name] = why
        else:
            _try_row(work, row, missing, part)
        write_tables(work, missing.all)


def has_time(work: ReproductionContext, name: str) -> bool:
    """Return whether there is time for a row, extrapolated from the rows that have been trained.

    True for a row that has begun, or without a time limit.
    """
    plan, place = work.plan, work.folder
    if plan.minutes is None or place.row(name).has_begun:
        return True
    begun = [row for row in plan.rows if place.row(row.name).has_begun]
    trained = [row for row in begun if row.epochs and _is_trained(work, row.name)]
    planned = sum(row.seconds or 0.0 for row in trained)
    slower = sum(_spent(work, row) for row in trained) / planned if planned else 1.0
    evaluated = [row for row in plan.rows if row not in begun and place.row(row.name).evaluated.is_dir()]
    spent = sum(_spent(work, row) for row in (*begun, *evaluated)) + plan.planning_s
    return spent + slower * (plan.by_name[name].seconds or 0.0) + TABLES_S <= 60 * plan.minutes


def _spent(work: ReproductionContext, planned: PlannedRow) -> float:
    """Return the seconds of a row over all sessions; longer gaps between events are interruptions."""
    gaps: list[float] = []
    for folder in work.folder.row(planned.name).runs:
        times = [event.get("time") for event in folder.read_events()]
        known = [float(time) for time in times if isinstance(time, int | float)]
        gaps += [later - earlier for earlier, later in pairwise(known)]
    return (planned.fixed_s or 0.0) + sum(gap for gap in gaps if 0 < gap < SILENCE_S)


def _is_trained(work: ReproductionContext, name: str) -> bool:
    """Return whether a row is trained; for a cross-validated one, whether it was evaluated."""
    place = work.folder.row(name)
    return place.evaluated.is_dir() if work.paper.rows[name].kind.crossed else place.is_trained


def _time_shortage(work: ReproductionContext, row: Row, missing: MissingRows) -> str | None:
    """Return the reason if there is no time for a row."""
    if without := [name for name in row.file.needs if name in missing.late]:
        return f"time: it needs the row '{without[0]}', for which there was no time."
    return None if has_time(work, row.name) else f"time: it would exceed the limit of {work.plan.minutes:g} min."


def _try_row(work: ReproductionContext, row: Row, missing: MissingRows, run: RunContext) -> None:
    """Train and evaluate a row, and record a failure."""
    try:
        if without := [name for name in row.file.needs if name in missing.failed]:
            raise RunError(f"it needs the row '{without[0]}', which failed.")
        if row.kind.crossed:
            cross_validate(work, row, run)
            return
        if row.file.learn is not None:
            train_model(work, row, run)
        evaluate_row(work, row, run)
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

    Every row is trained in a run folder and evaluated on the same test images; tables are written after each row,
    figures at the end. Failed rows are listed in them, and the others continue.
    """
    place, missing = ReproductionFolder(out), MissingRows()
    if not place.plan.is_file() and not default_phantom(options):
        draft_plan(options)  # errors are raised before anything is written
    with hold_lock(out / ".lock"):
        work = _begin(options, place, run)
        with allow_folders(chain(*work.plan.folders.values())):  # our tables contain paths in these folders
            try:
                run_rows(work, missing, run)
            except Cancelled:
                write_result(work, missing.all)
                raise
            finally:
                _clear_caches()
            return Reproduction(work.paper, work.plan, write_result(work, missing.all), missing)


def check(options: ReproduceOptions, *, run: RunContext) -> Reproduction:
    """Plan a reproduction without writing anything."""
    if would := preview_phantom(options):
        draft, roles = would
        paper = read_paper(options.paper)
        rows = paper.select(options.rows)
        plan = complete_plan(draft, rows, ReproductionImages({}, roles), {}, run, forecast=True)
        return Reproduction(paper, plan)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("plan")) as folder:
        return Reproduction(
            read_paper(options.paper), _settle_plan(options, ReproductionFolder(Path(folder)), run, forecast=True)
        )


def _begin(options: ReproduceOptions, place: ReproductionFolder, run: RunContext) -> ReproductionContext:
    """Create or read the plan, and report it."""
    begun = place.plan.is_file()
    plan = (
        read_begun_plan(options, place) if begun else _settle_plan(ensure_phantom(options, place.out, run), place, run)
    )
    write_json(place.plan, plan.model_dump(mode="json"))
    message = f"{place.out} continues: {plan.sentence}" if begun else plan.sentence
    phantoms = phantom_notices(folder for folders in plan.folders.values() for folder in folders)
    for text in (message, *phantoms, *plan.notices, *plan.late):
        run.report(Milestone(0, SCALE_STEPS * len(plan.rows), text))
    split, crossed = _read_images(plan, place)
    return ReproductionContext(read_paper(options.paper), plan, split, place, crossed)


def _settle_plan(
    options: ReproduceOptions, place: ReproductionFolder, run: RunContext, *, forecast: bool = False
) -> ReproductionPlan:
    """Split the data and plan; split again if the plan uses fewer images."""
    began = time.monotonic()
    paper, draft = read_paper(options.paper), draft_plan(options)
    rows = paper.select(options.rows)
    faults = _write_images(draft, rows, place, run)
    if len(faults) == len(rows):
        raise InputError("\n".join(dict.fromkeys(faults.values())))
    request = _request(draft, [row for row in rows if row.name not in faults])
    with allow_folders(chain(*request.folders.values())):
        split, crossed = _read_images(request, place)
        work = ReproductionContext(paper, request, split, place, crossed)
        faults |= find_data_faults(work, run)
        notices = (*draft.notices, *mask_notices(work))
        draft = draft.model_copy(update={"notices": notices, "planning_s": time.monotonic() - began})
        plan = complete_plan(draft, rows, ReproductionImages(split, crossed), faults, run, forecast=forecast)
    if plan.images is not None:
        write_split(plan.folders_of(paper, crossed=False), paper.file.roles, plan.images, place.data, run)
    return plan


def _request(draft: ReproductionPlan, rows: Sequence[Row]) -> ReproductionPlan:
    """Return a plan with rows whose training is not planned yet."""
    return draft.model_copy(update={"rows": tuple(PlannedRow(name=row.name) for row in rows)})


def _write_images(
    draft: ReproductionPlan, rows: Sequence[Row], place: ReproductionFolder, run: RunContext
) -> dict[str, str]:
    """Write the split and the folds of each role; returns the rows whose images cannot be used, and why."""
    paper, request, faults = read_paper(draft.paper), _request(draft, rows), dict[str, str]()
    how = CrossValidationSetup.from_paper(paper.file, place.crossed, draft.labels)
    for crossed in (False, True):
        for role, folders in request.folders_of(paper, crossed=crossed).items():
            try:
                if crossed:
                    write_folds({role: folders}, how, run)
                else:
                    write_split({role: folders}, paper.file.roles, None, place.data, run)
            except InputError as error:
                needing = (row for row in rows if row.kind.crossed == crossed and role in row.file.roles)
                faults |= {row.name: str(error) for row in needing}
    return faults


def _read_images(
    plan: ReproductionPlan, place: ReproductionFolder
) -> tuple[dict[str, RoleData], dict[str, CrossValidatedRole]]:
    """Read the split and the folds of the rows that need them."""
    paper = read_paper(plan.paper)
    return (
        read_split(plan.folders_of(paper, crossed=False), place.data),
        read_folds(plan.folders_of(paper, crossed=True), CrossValidationSetup.from_paper(paper.file, place.crossed)),
    )


def _clear_caches() -> None:
    """Clear the encoder caches that rows and folds share."""
    from napari_melanoma.training.tasks.task import clear_encoder_caches

    clear_encoder_caches()
