"""HTML pages of evaluations and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.figures.page import (
    Block,
    Figure,
    Items,
    Notice,
    Section,
    Table,
    Text,
    png_uri,
    write_analysis,
)

TitledTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Heading, column names, rows of cells."""


@dataclass(frozen=True)
class Page:
    """Content of an evaluation page: heading, facts in one line, main result, tables, figures, failures, notes.

    ``warnings`` are printed above the results; ``next`` recommends the next step.
    """

    title: str
    facts: str
    lead: str
    tables: Sequence[TitledTable]
    figures: Mapping[str, Path] = field(default_factory=dict)
    failed: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    next: str = ""


def write_evaluation_page(page: Page, path: Path) -> None:
    """Write a page with its figures embedded."""
    blocks: list[Block] = [*map(Notice, page.warnings), Notice(page.lead, lead=True)]
    blocks += [Text(page.next)] if page.next else []
    for heading, columns, rows in page.tables:
        if rows:
            blocks.append(Section(heading, (Table(heading, tuple(columns), tuple(map(tuple, rows))),)))
    blocks += [Section(title, (Figure(png_uri(file), title, plot=True),)) for title, file in page.figures.items()]
    blocks += [failed_section("Not measured", page.failed)] if page.failed else []
    write_analysis(path, page.title, page.facts, [*blocks, *(Text(note, quiet=True) for note in page.notes)])


def failed_section(title: str, failed: Sequence[tuple[str, str]]) -> Section:
    return Section(title, (Items(tuple((f"{name}: {error}", "") for name, error in failed)),))


ADVICE = {
    "activate": "Use the new model.",
    "keep": "Keep the old model.",
    "inconclusive": "Inconclusive.",
}
ACTIVATE = "run napari-melanoma models import RUN or activate it in the Train dock"
NEXT_STEPS = {
    "activate": "Review the pictures first, especially the worse ones. To use the new model, "
    f"{ACTIVATE}; the old model stays available.",
    "keep": "The pictures under Worse show where the new model fails; corrected masks of such images may improve it. "
    f"To use the new model anyway, {ACTIVATE}.",
    "inconclusive": "A verdict needs more test images; the pictures show what differs. "
    f"To use the new model anyway, {ACTIVATE}.",
}
CONTOURS = "Contours: old purple, new yellow, reference blue."
