"""``slide`` with ``--processes`` or ``--scheduler``: many slides at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.cli.answer_options import given
from napari_melanoma.cli.session import Session
from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.slides.cohort import CohortSummary, Entry
    from napari_melanoma.slides.options import SlideOptions


class Sharing(NamedTuple):
    """Who shares the work, as the command line says it."""

    processes: int | None
    scheduler: str | None
    tries: int | None

    @property
    def asked_for(self) -> bool:
        """Whether slides are to be analysed by other processes than this one."""
        if self.tries is not None and self.processes is None and self.scheduler is None:
            raise ConfigError("--tries counts attempts of other processes: give --processes or --scheduler too.")
        return self.processes is not None or self.scheduler is not None


def run_cohort(
    current: Session, paths: Sequence[Path], out: Path, options: SlideOptions, sharing: Sharing, *, force: bool
) -> None:
    """Analyse slides on several processes or machines, and say what came of it."""
    from napari_melanoma.slides.cohort import CohortOptions, analyse_cohort

    if sharing.processes is not None and sharing.scheduler is not None:
        raise ConfigError("--processes starts processes here, --scheduler asks for those of others: give one of them.")
    how = CohortOptions.parse(given(**sharing._asdict()), "the command line")
    summary = analyse_cohort(
        paths, out, options, how, run=current.run, force=force, tell=lambda entry: _tell(current, entry)
    )
    _finish(current, summary, out)


def _tell(current: Session, entry: Entry) -> None:
    """Report where a slide stands; people are told what went wrong, and see the rest in the bars."""
    if entry.state == "failed":
        text = f"failed: {entry.file}: {entry.error}"
    elif entry.state == "waiting" and entry.error:
        text = f"again: {entry.file} (attempt {entry.attempts}): {entry.error}"
    else:
        text = ""
    current.report.tell("slide", text, **vars(entry))


def _finish(current: Session, summary: CohortSummary, out: Path) -> None:
    """Say what was written, where, and what comes next."""
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.skipped:
        counts.append(f"{summary.skipped} of them before")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "the same command tries those that failed again" if summary.failed else "open a slide in napari"
    text = (
        f"{', '.join(counts)}: results in {out}, table in {summary.table}, states in {summary.manifest}; {next_step}."
    )
    values = {**vars(summary), "table": str(summary.table), "manifest": str(summary.manifest)}
    current.done(f"{text} For research only.", some_failed=bool(summary.failed), out=str(out), **values)
