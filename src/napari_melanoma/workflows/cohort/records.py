"""Where the outcomes of a cohort are kept: its manifest, the table of slides, and whoever wants to hear of changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from napari_melanoma.workflows.cohort.manifest import Entry, Manifest
from napari_melanoma.workflows.cohort.work import Answer, Job, failed_row
from napari_melanoma.workflows.slide_table import SlideTable

Tell = Callable[[Entry], None]


def ignore(entry: Entry) -> None:
    """Take a change and do nothing with it."""


@dataclass(frozen=True)
class Records:
    """Where outcomes are kept: manifest and table; ``tell`` hears of each change."""

    manifest: Manifest
    table: SlideTable
    tell: Tell = ignore

    def entry(self, job: Job) -> Entry:
        """Give the entry of a slide."""
        return self.manifest.entries[job.folder.name]

    def change(self, job: Job, **values: Any) -> Entry:  # noqa: ANN401 - fields of an entry
        """Change the entry of a slide."""
        entry = self.manifest.put(replace(self.entry(job), **values))
        self.tell(entry)
        return entry

    def finish(self, job: Job, answer: Answer, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        """Keep what became of a slide."""
        done = answer.outcome == "done"
        self.table.put_row(answer.row if done else failed_row(job, answer.error))
        self.change(job, state="done" if done else "failed", error=answer.error, **values)
