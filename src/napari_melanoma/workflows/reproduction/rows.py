"""The loop over the rows of a reproduction: each is trained and judged, or named as failed, or as too late."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field

from napari_melanoma.core.errors import MelanomaError, RunError
from napari_melanoma.core.runs import Cancelled, PartContext, RunContext
from napari_melanoma.workflows.reproduction.budget import TABLES_S
from napari_melanoma.workflows.reproduction.crossing import cross_validate
from napari_melanoma.workflows.reproduction.judging import judge
from napari_melanoma.workflows.reproduction.learning import learn
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import Work
from napari_melanoma.workflows.reproduction.plan import PlannedRow
from napari_melanoma.workflows.reproduction.tables import write_tables

log = logging.getLogger(__name__)
SILENCE_S = 120.0  # events of a run at work are closer than this


@dataclass(frozen=True)
class Missing:
    """Rows that were planned and have no figures, and why: those that went wrong, and those there was no time for."""

    failed: dict[str, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Both."""
        return {**self.failed, **self.late}


def run_rows(work: Work, missing: Missing, run: RunContext) -> None:
    """Run the rows that have not been judged yet; note those that go wrong, and those that there is no time for."""
    rows = work.plan.in_turn(work.paper)
    for number, planned in enumerate(rows):
        if work.place.row(planned.name).judged.is_dir():
            continue
        run.check()
        row = work.paper.rows[planned.name]
        part = PartContext(run, number, len(rows), f"{row.file.title} ({number + 1} of {len(rows)})")
        if why := _no_time(work, row, missing):
            missing.late[row.name] = why
        else:
            _try_row(work, row, missing, part)
        write_tables(work, missing.all)


def has_time(work: Work, name: str) -> bool:
    """Say whether there is time for a row, as quick as those that have learnt already.

    True for one that has begun, and where no time was named.
    """
    plan, place = work.plan, work.place
    if plan.minutes is None or place.row(name).has_begun:
        return True
    begun = [row for row in plan.rows if place.row(row.name).has_begun]
    learnt = [row for row in begun if row.epochs and _has_learnt(work, row.name)]
    thought = sum(row.seconds or 0.0 for row in learnt)
    slower = sum(_spent(work, row) for row in learnt) / thought if thought else 1.0
    judged = [row for row in plan.rows if row not in begun and place.row(row.name).judged.is_dir()]
    spent = sum(_spent(work, row) for row in (*begun, *judged)) + plan.planning_s
    return spent + slower * (plan.by_name[name].seconds or 0.0) + TABLES_S <= 60 * plan.minutes


def _spent(work: Work, planned: PlannedRow) -> float:
    """Seconds that a row took, all its lives together; a longer silence is no work but the time between two lives."""
    silences: list[float] = []
    for folder in work.place.row(planned.name).runs:
        times = [event.get("time") for event in folder.read_events()]
        known = [float(time) for time in times if isinstance(time, int | float)]
        silences += [later - earlier for earlier, later in itertools.pairwise(known)]
    return (planned.fixed_s or 0.0) + sum(silence for silence in silences if 0 < silence < SILENCE_S)


def _has_learnt(work: Work, name: str) -> bool:
    """Say whether a row's model is there; of a cross-validated one, whether it was judged."""
    place = work.place.row(name)
    return place.judged.is_dir() if work.paper.rows[name].kind.crossed else place.has_learnt


def _no_time(work: Work, row: Row, missing: Missing) -> str | None:
    """Say that there is no time for a row, if so."""
    if without := [name for name in row.file.needs if name in missing.late]:
        return f"time: it needs the row '{without[0]}', which there was none for."
    return None if has_time(work, row.name) else f"time: it would have ended after the {work.plan.minutes:g} min."


def _try_row(work: Work, row: Row, missing: Missing, run: RunContext) -> None:
    """Train and judge a row; note it where it goes wrong."""
    try:
        if without := [name for name in row.file.needs if name in missing.failed]:
            raise RunError(f"it needs the row '{without[0]}', which failed.")
        if row.kind.crossed:
            cross_validate(work, row, run)
            return
        if row.file.learn is not None:
            learn(work, row, run)
        judge(work, row, run)
    except Cancelled:
        raise
    except Exception as error:
        log.warning("the row %s failed", row.name, exc_info=error)
        said = str(error) if isinstance(error, MelanomaError) else f"{type(error).__name__}: {error}"
        missing.failed[row.name] = said
