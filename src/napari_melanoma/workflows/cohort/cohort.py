"""Slides handed to workers one by one: each outcome is kept, and what may go well another time is tried again."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError, DiskFull, SaveError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.cohort.cluster import Cluster, Given, WorkerLost, WorkerSeen
from napari_melanoma.workflows.cohort.progress import cohort_progress
from napari_melanoma.workflows.cohort.records import Records
from napari_melanoma.workflows.cohort.work import Answer, Job
from napari_melanoma.workflows.slide_runs import ask

POLL_S, LOOK_S = 0.05, 1.0  # between two looks at the answers, and at who is there
BUSY_S = 10.0  # between two looks at a slide that somebody else analyses
CUT_OFF = "the connection to its worker broke ({})"
STOP_S = 20.0  # that those at work are given to write what they have
ALL = {
    error.__name__: error for error in (BundleError, ClusterError, ConfigError, DiskFull)
}  # what concerns all slides


@dataclass
class _Waiting:
    """A slide that waits: who had it last, when it is looked at again, and whether somebody may still be at it."""

    job: Job
    last: str = ""
    not_before: float = 0.0
    held: bool = False

    def is_free(self) -> bool:
        """Whether nobody is at it, as far as is known; looks into its folder now and then."""
        if time.monotonic() < self.not_before:
            return False
        self.not_before = time.monotonic() + BUSY_S if self.held else 0.0
        return not (self.held and RunFolder(self.job.folder).is_owned)


@dataclass(frozen=True)
class _AtWork:
    """A slide that a worker has, since when, and the seconds that attempts before took."""

    job: Job
    address: str
    given: Given
    since: float
    before: float

    @property
    def seconds(self) -> float:
        """That all attempts took so far."""
        return self.before + time.monotonic() - self.since


class Cohort:
    """Slides on their way through workers."""

    def __init__(self, cluster: Cluster, records: Records, run: RunContext, tries: int, skipped: int = 0) -> None:
        self._cluster, self._records, self._run, self._tries = cluster, records, run, tries
        self._ended = self._skipped = skipped
        self._todo: deque[_Waiting] = deque()
        self._at_work: list[_AtWork] = []
        self._workers: dict[str, WorkerSeen] = {}
        self._known: dict[str, WorkerSeen] = {}  # also those that have ended, as they were last seen
        self._looked = self._somebody = -math.inf

    def work(self, jobs: Sequence[Job], patience_s: float = math.inf) -> None:
        """Bring all slides to an end, good or bad."""
        self._todo.extend(_Waiting(job) for job in jobs)
        self._somebody = time.monotonic()
        try:
            while self._todo or self._at_work:
                self._run.check()
                self._look(patience_s)
                self._settle()
                self._hand_out()
                time.sleep(POLL_S)
        finally:
            self._stop()
        self._report()

    def _look(self, patience_s: float) -> None:
        """Now and then, look who is there."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        found = self._cluster.workers()
        self._known |= found
        lost = [work for work in self._at_work if work.address not in found and not work.given.ended()]
        for work in lost:
            self._lose(work)
        self._workers = found
        self._somebody = now if self._workers else self._somebody
        if now - self._somebody > patience_s:
            raise ClusterError(
                f"no process has been there for {patience_s:.0f} seconds: they end as soon as they begin. Analyse "
                "one slide without --processes to see why."
            )
        self._report()

    def _settle(self) -> None:
        """Take the answers that are there."""
        for work in [work for work in self._at_work if work.given.ended()]:
            try:
                answer = work.given.answer()
            except WorkerLost:
                found = self._cluster.workers()  # raises where it is not the worker that is lost
                self._lose(work, there=work.address in found)
            else:
                self._at_work.remove(work)
                self._decide(work, answer)

    def _lose(self, work: _AtWork, *, there: bool = False) -> None:
        """Take a slide back from a worker that has ended, or is ``there`` and was cut off for a moment."""
        seen = self._known[work.address]
        if not there:
            self._workers.pop(work.address, None)  # until it is seen again
        self._at_work.remove(work)
        work.given.drop()
        cut_off = Answer("busy", CUT_OFF.format(seen.name))  # it goes on, though nobody hears of it
        self._decide(work, cut_off if there else Answer("again", seen.farewell))

    def _decide(self, work: _AtWork, answer: Answer) -> None:
        """Keep an outcome, or let the slide wait for another attempt."""
        entry = self._records.entry(work.job)
        if answer.outcome == "all":
            self._wait(work, answer.error)
            raise ALL[answer.kind](answer.error)
        held = answer.outcome == "busy"
        if held or (answer.outcome == "again" and entry.attempts < self._tries):
            self._todo.append(_Waiting(work.job, work.address, time.monotonic() + BUSY_S * held, held))
            self._wait(work, answer.error, earlier=(*entry.earlier, answer.error))
            return
        self._ended += 1
        self._records.finish(work.job, answer, seconds=work.seconds)

    def _wait(self, work: _AtWork, error: str = "", **values: object) -> None:
        """Say that a slide waits again."""
        self._records.change(work.job, state="waiting", seconds=work.seconds, error=error, **values)

    def _hand_out(self) -> None:
        """Give idle workers a slide each; one that failed goes to another worker where there is one."""
        busy = {work.address for work in self._at_work}
        ready = [address for address, seen in self._workers.items() if seen.ready]
        elsewhere = len(ready) > 1
        for address in [one for one in ready if one not in busy]:
            fits = (one for one in self._todo if not (elsewhere and one.last == address) and one.is_free())
            chosen = next(fits, None)
            if chosen is not None:
                self._todo.remove(chosen)
                self._give(address, chosen.job)

    def _give(self, address: str, job: Job) -> None:
        """Give a worker a slide."""
        given = self._cluster.give(address, job)
        before = self._records.entry(job)
        self._at_work.append(_AtWork(job, address, given, time.monotonic(), before.seconds))
        name = self._workers[address].name
        self._records.change(job, state="running", worker=name, attempts=before.attempts + 1, error="")

    def _report(self) -> None:
        """Say how far it is."""
        total = self._ended + len(self._todo) + len(self._at_work)
        folders = [work.job.folder for work in self._at_work]
        self._run.report(cohort_progress(folders, self._ended, total, len(self._workers)))

    def _stop(self) -> None:
        """Let those at work write what they have; what is done by then counts, the others wait for the next start."""
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and any(not work.given.ended() for work in self._at_work):
            for work in self._at_work:
                with suppress(SaveError):
                    ask(work.job.folder, "cancel")
            time.sleep(4 * POLL_S)
        stopped, self._at_work = self._at_work, []
        for work in stopped:
            with suppress(SaveError):
                self._leave(work)
        if stopped:
            self._report()

    def _leave(self, work: _AtWork) -> None:
        """Take a slide back in the middle; one that came to its end meanwhile is done."""
        answer = Answer("cancelled")
        with suppress(WorkerLost, ClusterError):
            answer = work.given.answer() if work.given.ended() else answer
        work.given.drop()
        if answer.outcome == "done":
            self._ended += 1
            self._records.finish(work.job, answer, seconds=work.seconds)
        else:
            self._todo.append(_Waiting(work.job))
            self._wait(work)
