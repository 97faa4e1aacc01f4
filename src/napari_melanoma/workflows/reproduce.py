"""Reproduce a paper: every row of its tables trained and judged on the user's data, beside the paper's own figures."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, MelanomaError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.runs import PARTS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.models.weights_files import weights_file
from napari_melanoma.workflows.reproduce_data import assign, stage, staged
from napari_melanoma.workflows.reproduce_found import Found
from napari_melanoma.workflows.reproduce_papers import Budget, Paper, Row, read_paper
from napari_melanoma.workflows.reproduce_plan import Plan, in_turn
from napari_melanoma.workflows.reproduce_planning import PlanRequest, make_plan
from napari_melanoma.workflows.reproduce_result import write_result, write_tables
from napari_melanoma.workflows.reproduce_rows import Place, Work, complete_recipe, has_time, judge, learn

log = logging.getLogger(__name__)
MINUTES = 40.0


class ReproduceOptions(Config):
    """What of a paper is reproduced, on what, and how long it may take."""

    paper: str = Field(description="such as 'P4'")
    data: tuple[str, ...] = Field((), description="ROLE=FOLDER, or folders whose role is known by name or modality")
    weights: tuple[str, ...] = Field((), description="NAME=FILE: initial weights of the paper")
    rows: tuple[str, ...] = Field((), description="rows or grids by name; none: the rows of the tables")
    budget: Budget = Field("full", description="small: 128 pixels, reduced widths, few epochs, a limited time")
    minutes: float | None = Field(None, gt=0, description="that it may take on this machine; small: 40 by default")

    @property
    def limit(self) -> float | None:
        """Minutes that it may take; None where there is no limit."""
        return MINUTES if self.minutes is None and self.budget == "small" else self.minutes


@dataclass(frozen=True)
class Reproduction:
    """How far a reproduction came.

    Parameters
    ----------
    paper : Paper
        What is reproduced.
    plan : Plan
        What it does.
    found : list of Found
        Rows that were judged.
    failed : dict
        Rows that went wrong, and why.
    late : dict
        Rows that there was no time for, and why.
    """

    paper: Paper
    plan: Plan
    found: list[Found] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)


def reproduce(options: ReproduceOptions, out: Path, *, run: RunContext) -> Reproduction:
    """Reproduce a paper, or go on where an earlier call ended, however it ended.

    Every row is trained into a run folder of its own and judged on the same held-out images; tables are written as it
    goes, figures at its end. A row that goes wrong is named in them, and the others go on.

    Parameters
    ----------
    options : ReproduceOptions
        Paper, data, budget.
    out : pathlib.Path
        Gets ``tables.md``, ``tables.csv``, ``tables.html``, ``figures/``, ``reproduction.json``, ``recipes/``,
        ``data/`` (the split), ``rows/`` (run folders) and ``judged/``.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Reproduction
        What was found.

    Raises
    ------
    ConfigError
        Where there is no such paper or row.
    InputError
        Where data are missing, with where to get them.
    DataSetError
        Where a data set is faulty.
    RunError
        Where the folder holds another reproduction, or another process works in it.
    Cancelled
        Where the user stopped it; the same call goes on.
    """
    paper, place = read_paper(options.paper), Place(out)
    if not place.plan.is_file():
        _request(paper, options)  # before anything is written
    with locked(out / ".lock"):
        if place.plan.is_file():
            plan = _going_on(_read(place), paper, options, place)
            said = f"{out} goes on as it began: {_said(plan)}"
        else:
            plan = _settle(paper, _request(paper, options), place, run)
            said = _said(plan)
        write_json(place.plan, plan.model_dump(mode="json"))
        for message in (said, *plan.notices):
            run.report(Milestone(0, PARTS * len(plan.rows), message))
        data = staged({role: tuple(map(Path, folders)) for role, folders in plan.data.items()}, place.data)
        work, failed, late = Work(paper, plan, data, place), dict[str, str](), dict[str, str]()
        try:
            _every_row(work, failed, late, run)
        except Cancelled:
            write_result(work, {**failed, **late})
            raise
        return Reproduction(paper, plan, write_result(work, {**failed, **late}), failed, late)


def check(options: ReproduceOptions, *, run: RunContext) -> Reproduction:
    """Say what a reproduction would do, and write nothing.

    Parameters
    ----------
    options : ReproduceOptions
        Paper, data, budget.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Reproduction
        Its plan.

    Raises
    ------
    ConfigError
        Where there is no such paper or row.
    InputError
        Where data are missing, with where to get them.
    DataSetError
        Where a data set is faulty.
    Cancelled
        Where the user stopped it.
    """
    paper = read_paper(options.paper)
    with tempfile.TemporaryDirectory() as folder:
        return Reproduction(paper, _settle(paper, _request(paper, options), Place(Path(folder)), run))


def _every_row(work: Work, failed: dict[str, str], late: dict[str, str], run: RunContext) -> None:
    """Run the rows that have not been judged yet; note those that go wrong, and those that there is no time for."""
    rows = in_turn(work.plan, work.paper)
    for number, planned in enumerate(rows):
        if work.place.judged(planned.name).is_dir():
            continue
        run.check()
        row = work.paper.row(planned.name)
        part = PartContext(run, number, len(rows), f"{row.file.title} ({number + 1} of {len(rows)})")
        if why := _no_time(work, row, late):
            late[row.name] = why
        else:
            _try_row(work, row, failed, part)
        write_tables(work, {**failed, **late})


def _no_time(work: Work, row: Row, late: dict[str, str]) -> str | None:
    """Say that there is no time for a row, if so."""
    if without := [name for name in row.file.needs if name in late]:
        return f"time: it needs the row '{without[0]}', which there was none for."
    return None if has_time(work, row.name) else f"time: it would have ended after the {work.plan.minutes:g} min."


def _try_row(work: Work, row: Row, failed: dict[str, str], run: RunContext) -> None:
    """Run a row; note it where it goes wrong."""
    try:
        _one_row(work, row, failed, run)
    except Cancelled:
        raise
    except Exception as error:
        log.warning("the row %s failed", row.name, exc_info=error)
        failed[row.name] = str(error) if isinstance(error, MelanomaError) else f"{type(error).__name__}: {error}"


def _one_row(work: Work, row: Row, failed: dict[str, str], run: RunContext) -> None:
    """Train and judge a row."""
    if without := [name for name in row.file.needs if name in failed]:
        raise RunError(f"it needs the row '{without[0]}', which failed.")
    if row.file.learn is not None:
        learn(complete_recipe(row, work), row.name, work.place, work.plan.row(row.name).threads, run)
    judge(row, work.data[row.file.judged], work.place, run)


def _read(place: Place) -> Plan:
    """Read what a reproduction does that has begun."""
    try:
        values = json.loads(place.plan.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {place.plan}: {error}. Name another folder.") from error
    return Plan.parse(values, str(place.plan))


def _request(paper: Paper, options: ReproduceOptions) -> PlanRequest:
    """Find the data and the weights that are asked for; nothing is written."""
    folders, notices = _folders(paper, options)
    return PlanRequest(
        options.rows,
        options.budget,
        options.limit,
        folders,
        _weights(paper, options.weights),
        tuple(notices),
    )


def _settle(paper: Paper, request: PlanRequest, place: Place, run: RunContext) -> Plan:
    """Split the data, and plan."""
    stage(request.folders, paper.file.roles, None, place.data, run)
    plan = make_plan(paper, request, staged(request.folders, place.data), run)
    if plan.images is not None:
        stage(request.folders, paper.file.roles, plan.images, place.data, run)
    return plan


def _weights(paper: Paper, named: Sequence[str]) -> dict[str, str]:
    """Read which files hold which initial weights."""
    found = {}
    for text in named:
        name, _, file = text.partition("=")
        if name not in paper.file.weights:
            known = ", ".join(paper.file.weights) or "none"
            raise ConfigError(f"{paper.name} starts from no weights '{name}' (known: {known}). Write NAME=FILE.")
        path = weights_file(file)
        if path is None or not path.exists():
            raise ConfigError(f"there is no file of weights {file}. Get it from {paper.file.weights[name].where}")
        found[name] = str(path.resolve())
    return found


def _going_on(plan: Plan, paper: Paper, options: ReproduceOptions, place: Place) -> Plan:
    """Refuse a folder that holds a reproduction of something else; only another time is taken over."""
    names = {row.name for row in paper.select(options.rows)}
    known = {row.name for row in plan.rows} | set(plan.left_out)
    if (plan.paper, plan.budget, known) != (paper.name, options.budget, names):
        raise RunError(
            f"{place.out} holds another reproduction: {plan.paper}, budget {plan.budget}, {len(known)} rows. Name "
            "another folder, or give the options that it began with."
        )
    other = []
    if options.data and _folders(paper, options)[0] != {role: tuple(map(Path, of)) for role, of in plan.data.items()}:
        other.append("--data")
    if options.weights and _weights(paper, options.weights) != plan.weights:
        other.append("--weights")
    if options.minutes is not None and plan.minutes is None:
        other.append("--minutes")
    if other:
        raise RunError(
            f"{place.out} began with other {' and '.join(other)}: {_said(plan)} Name another folder, or leave out "
            f"{' and '.join(other)} to go on as it began."
        )
    return plan if options.minutes is None else plan.model_copy(update={"minutes": options.minutes})


def _folders(paper: Paper, options: ReproduceOptions) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Find the data sets of the roles that the rows need, and say which were not taken."""
    needed = [role for row in paper.select(options.rows) for role in (row.file.learn, row.file.judged) if role]
    folders, notices = assign(paper, options.data, needed)
    return {role: found for role, found in folders.items() if role in needed}, notices


def _said(plan: Plan) -> str:
    """Say what a reproduction rests on, and how long it may take."""
    data = ", ".join(f"{role}={folder}" for role, folders in plan.data.items() for folder in folders)
    weights = "".join(f", weights {name}={file}" for name, file in plan.weights.items())
    epochs = sorted({row.epochs for row in plan.rows if row.epochs})
    steps = max((row.steps * row.epochs for row in plan.rows if row.steps and row.epochs), default=0)
    long = f", {'/'.join(map(str, epochs))} epochs (up to {steps} steps)" if epochs else ""
    time = "" if plan.seconds is None else f", about {plan.seconds / 60:.0f} min"
    most = "" if plan.minutes is None else f" of at most {plan.minutes:g}"
    return f"{len(plan.rows)} rows of {plan.paper}, data {data}{weights}{long}{time}{most}."
