"""A report with a text in every field of every block."""

from __future__ import annotations

from napari_melanoma.figures.page import Bar, Figure, Gallery, Notice, Report, Section, Table, Text, fields
from napari_melanoma.reports.body_map import BodyMap, SiteMark


def make_report(text: str) -> Report:
    """Return the report."""
    rows = ((text, text, Bar(text, 0.3, (0.2, 0.4))), (text, text, Bar(text, -0.3, signed=True)))
    figure = Figure("data:image/png;base64,AAAA", text, text)
    blocks = (
        Text(text),
        Notice(text),
        BodyMap((SiteMark(text, "chest", "left"), SiteMark(text, text, text))),
        Section(text, (Table(text, (text, text, text), rows, titled=True), fields(text, {text: text})), text),
        Section(text, (figure, Gallery((figure, figure))), folded=True),
    )
    return Report(text, text, blocks, text, text)
