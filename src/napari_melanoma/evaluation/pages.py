"""HTML pages of evaluations and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.figures.page import (
    Block,
    Figure,
    Gallery,
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
    blocks += [_failed_section("Not measured", page.failed)] if page.failed else []
    write_analysis(path, page.title, page.facts, [*blocks, *(Text(note, quiet=True) for note in page.notes)])


def _failed_section(title: str, failed: Sequence[tuple[str, str]]) -> Section:
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
COLUMNS = ("Images", "n", "Metric", "Old", "New", "Difference (95 % interval)")


@dataclass(frozen=True)
class PicturedChange:
    """An image that changed: its name, its Jaccard index with the old and the new model, and the PNG with contours."""

    name: str
    old: float
    new: float
    picture: Path


@dataclass(frozen=True)
class ComparisonPage:
    """Content of a comparison page: heading, facts in one line, warnings, advice with reason, metrics, pictures, notes.

    ``advice`` is ``activate``, ``keep`` or ``inconclusive``; the title names the old model first.
    """

    title: str
    facts: str
    advice: str
    reason: str
    rows: Sequence[Sequence[str]]
    better: Sequence[PicturedChange]
    worse: Sequence[PicturedChange]
    note: str
    failed: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


def write_comparison_page(page: ComparisonPage, figure: Path, path: Path) -> None:
    """Write the page with its pictures embedded."""
    alt = "Each image before and after, and the mean difference of each data set"
    blocks: list[Block] = [
        *map(Notice, page.warnings),
        Notice(page.reason, lead=True, headline=ADVICE[page.advice]),
        Text(NEXT_STEPS[page.advice]),
        Table("Metrics", COLUMNS, tuple(map(tuple, page.rows))),
        Figure(png_uri(figure), alt, plot=True),
    ]
    for title, changes in (("Better", page.better), ("Worse", page.worse)):
        if changes:
            blocks.append(Section(title, (Text(CONTOURS, quiet=True), Gallery(tuple(map(_changed_image, changes))))))
    blocks += [_failed_section("Not compared", page.failed)] if page.failed else []
    write_analysis(path, page.title, page.facts, [*blocks, Text(page.note, quiet=True)])


def _changed_image(change: PicturedChange) -> Figure:
    caption = f"{change.name}: Jaccard (IoU) {change.old:.2f} to {change.new:.2f} ({change.new - change.old:+.2f})"
    return Figure(png_uri(change.picture), f"Contours of both models on {change.name}", caption, small=True)
