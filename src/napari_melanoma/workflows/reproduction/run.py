"""Reproduce a paper: every row of its tables trained and judged on the user's data, beside the paper's own figures."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from napari_melanoma.core.files import write_json
from napari_melanoma.core.leftovers import temporary_prefix
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.paths import also_in
from napari_melanoma.core.runs import PARTS, Cancelled, Milestone, RunContext
from napari_melanoma.workflows.reproduction.crossed import CrossedRole, Crossing, read_crossed, write_crossed
from napari_melanoma.workflows.reproduction.found import Found
from napari_melanoma.workflows.reproduction.paper_files import read_paper
from napari_melanoma.workflows.reproduction.papers import Paper
from napari_melanoma.workflows.reproduction.phantom import said_of, stands_in, with_phantom, would_draw
from napari_melanoma.workflows.reproduction.place import Place, Work
from napari_melanoma.workflows.reproduction.plan import Plan, PlannedRow
from napari_melanoma.workflows.reproduction.planner import Images, complete_plan
from napari_melanoma.workflows.reproduction.request import ReproduceOptions, draft_plan, plan_begun
from napari_melanoma.workflows.reproduction.rows import Missing, run_rows
from napari_melanoma.workflows.reproduction.split import RoleData, read_split, write_split
from napari_melanoma.workflows.reproduction.tables import write_result


@dataclass(frozen=True)
class Reproduction:
    """How far a reproduction came: what it does, the rows that were judged, and those that were not."""

    paper: Paper
    plan: Plan
    found: list[Found] = field(default_factory=list)
    missing: Missing = field(default_factory=Missing)


def reproduce(options: ReproduceOptions, out: Path, *, run: RunContext) -> Reproduction:
    """Reproduce a paper, or go on where an earlier call ended, however it ended.

    Every row is trained into a run folder of its own and judged on the same held-out images; tables are written as it
    goes, figures at its end. A row that goes wrong is named in them, and the others go on.
    """
    place, missing = Place(out), Missing()
    if not place.plan.is_file() and not stands_in(options):
        draft_plan(options)  # what is wrong is said before anything is written
    with locked(out / ".lock"):
        work = _begin(options, place, run)
        with also_in(chain(*work.plan.folders.values())):  # where the tables, which are ours, name their images
            try:
                run_rows(work, missing, run)
            except Cancelled:
                write_result(work, missing.all)
                raise
            finally:
                _forget()
            return Reproduction(work.paper, work.plan, write_result(work, missing.all), missing)


def check(options: ReproduceOptions, *, run: RunContext) -> Reproduction:
    """Say what a reproduction would do, and write nothing."""
    if would := would_draw(options):
        draft, roles = would
        rows = read_paper(options.paper).select(options.rows)
        return Reproduction(read_paper(options.paper), complete_plan(draft, rows, Images({}, roles), run))
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("plan")) as folder:
        return Reproduction(read_paper(options.paper), _settle(options, Place(Path(folder)), run))


def _begin(options: ReproduceOptions, place: Place, run: RunContext) -> Work:
    """Settle what is done, or read what has been settled, and say so."""
    begun = place.plan.is_file()
    plan = plan_begun(options, place) if begun else _settle(with_phantom(options, place.out, run), place, run)
    write_json(place.plan, plan.model_dump(mode="json"))
    said = f"{place.out} goes on as it began: {plan.sentence}" if begun else plan.sentence
    phantoms = said_of(folder for folders in plan.folders.values() for folder in folders)
    for message in (said, *phantoms, *plan.notices, *plan.late):
        run.report(Milestone(0, PARTS * len(plan.rows), message))
    split, crossed = _read_images(plan, place)
    return Work(read_paper(options.paper), plan, split, place, crossed)


def _settle(options: ReproduceOptions, place: Place, run: RunContext) -> Plan:
    """Split the data, and plan; split again where the plan takes fewer images."""
    paper, draft = read_paper(options.paper), draft_plan(options)
    rows = paper.select(options.rows)
    asked = draft.model_copy(update={"rows": tuple(PlannedRow(name=row.name) for row in rows)})
    split = asked.folders_of(paper, crossed=False)
    write_split(split, paper.file.roles, None, place.data, run)
    write_crossed(asked.folders_of(paper, crossed=True), Crossing.of(paper.file, place.crossed), run)
    with also_in(chain(*asked.folders.values())):
        plan = complete_plan(draft, rows, Images(*_read_images(asked, place)), run)
    if plan.images is not None:
        write_split(split, paper.file.roles, plan.images, place.data, run)
    return plan


def _read_images(plan: Plan, place: Place) -> tuple[dict[str, RoleData], dict[str, CrossedRole]]:
    """Read the split and the folds of the rows that need them."""
    paper = read_paper(plan.paper)
    return (
        read_split(plan.folders_of(paper, crossed=False), place.data),
        read_crossed(plan.folders_of(paper, crossed=True), Crossing.of(paper.file, place.crossed)),
    )


def _forget() -> None:
    """Let go of what frozen encoders saw, which rows and folds have shared."""
    from napari_melanoma.training.remembering import forget

    forget()
