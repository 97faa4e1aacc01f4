"""A section of reports on slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.figures.page import Section, Text
from napari_melanoma.reports.report_sections import ReportSection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_melanoma.reports.report_records import ReportRecords
    from napari_melanoma.reports.report_sections import SlidePart


def report_tiles(part: SlidePart, name: str, records: ReportRecords) -> Iterator[Section]:
    """Yield a section with the number of analyzed tiles, if the slide was analyzed."""
    if part.content:
        text = f"{part.content['tiles_done']} of {part.content['tiles_total']} tiles were analyzed."
        yield Section("Tiles", (Text(text),))


TILES = ReportSection("Tiles", report_tiles)
