"""``slide`` with ``--processes`` or ``--scheduler``: many slides at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.cli.classifier_options import drop_unset
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.slides.cohort import CohortEntry, CohortSummary
    from napari_melanoma.slides.options import SlideOptions


class WorkerOptions(NamedTuple):
    """Who shares the work, as the command line says it."""

    processes: int | None
    scheduler: str | None
    tries: int | None

    @property
    def is_distributed(self) -> bool:
        """Whether slides are to be analysed by other processes than this one."""
        if self.tries is not None and self.processes is None and self.scheduler is None:
            raise ConfigError("--tries counts attempts of other processes: give --processes or --scheduler too.")
        return self.processes is not None or self.scheduler is not None


def run_cohort(
    current: CommandSession,
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    workers: WorkerOptions,
    *,
    force: bool,
) -> None:
    """Analyse slides on several processes or machines, and say what came of it."""
    from napari_melanoma.slides.cohort import CohortOptions, analyze_cohort

    if workers.processes is not None and workers.scheduler is not None:
        raise ConfigError("--processes starts processes here, --scheduler asks for those of others: give one of them.")
    how = CohortOptions.parse(drop_unset(**workers._asdict()), "the command line")
    summary = analyze_cohort(
        paths, out, options, how, run=current.run, force=force, on_change=lambda entry: _report_slide(current, entry)
    )
    _report_summary(current, summary, out)


def _report_slide(current: CommandSession, entry: CohortEntry) -> None:
    """Report where a slide stands; people are told what went wrong, and see the rest in the bars."""
    if entry.state == "failed":
        text = f"failed: {entry.file}: {entry.error}"
    elif entry.state == "waiting" and entry.error:
        text = f"again: {entry.file} (attempt {entry.attempts}): {entry.error}"
    else:
        text = ""
    current.report.emit("slide", text, **vars(entry))


def _report_summary(current: CommandSession, summary: CohortSummary, out: Path) -> None:
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
    current.finish(f"{text} For research only.", some_failed=bool(summary.failed), out=str(out), **values)
