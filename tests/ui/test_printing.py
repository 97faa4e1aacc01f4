"""The layout of a printed report: nothing that belongs together is separated, and no picture is cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import QBuffer, QIODevice
from qtpy.QtGui import QPageSize, QPdfWriter, QTextBlock, QTextDocument, QTextTable

from napari_melanoma.reports.page import Figure, Gallery, Report, Section, Table, Text
from napari_melanoma.reports.pictures import encode
from napari_melanoma.reports.printed_page import prepare_print
from napari_melanoma.ui.printing import IMAGE_CHARACTER, RESOLUTION, lay_out, list_units


def picture(height: int, width: int, *, small: bool = False) -> Figure:
    return Figure(encode(np.full((height, width, 3), 120, np.uint8)), "alt", "A caption", small)


def lines(number: int) -> Text:
    return Text("A sentence of some length about the lesion. " * number)


def table(rows: int, words: int) -> Table:
    cells = tuple((f"Row {number}", "word " * (words * (number % 5))) for number in range(rows))
    return Table("Values", ("Name", "Value"), cells, titled=True)


FIGURES = tuple(picture(400, 500) for _ in range(3))
SMALL = tuple(picture(300, 300, small=True) for _ in range(4))
REPORTS = {
    f"{count} sentences before": Report(
        "Title",
        "Subtitle",
        (
            Section("First", (lines(count), picture(900, 700), Section("Inner", (Gallery(FIGURES),), "about"))),
            Section("Second", (table(6, 10), lines(count // 2), Gallery(SMALL), table(90, 12))),
            Section("Third", (lines(3), table(5, 40))),
        ),
    )
    for count in (1, 14, 22, 33, 41)
}


@pytest.fixture(scope="module", params=REPORTS)
def document(request: pytest.FixtureRequest, qapp: object) -> Iterator[QTextDocument]:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(RESOLUTION)
    writer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    made = lay_out(prepare_print(REPORTS[request.param], "a4"), writer)
    yield made
    del made, writer, buffer  # in this order


def page_of(document: QTextDocument, y: float) -> int:
    return int(y // document.pageSize().height())


def rects(document: QTextDocument) -> list[tuple[QTextBlock, float, float]]:
    """Each block with its top and bottom."""
    found, block = [], document.begin()
    while block.isValid():
        rect = document.documentLayout().blockBoundingRect(block)
        found.append((block, rect.top(), rect.bottom()))
        block = block.next()
    return found


def test_pictures_are_whole_and_on_the_page_of_their_captions(document: QTextDocument) -> None:
    found = [(one, after) for one, after in pairwise(rects(document)) if one[0].text() == IMAGE_CHARACTER]
    assert len(found) == 8
    for (_, top, bottom), (caption, _, end) in found:
        assert caption.text() == "A caption"
        assert page_of(document, top) == page_of(document, bottom - 1) == page_of(document, end - 1)


def test_headings_are_on_the_page_of_what_follows(document: QTextDocument) -> None:
    units = list(list_units(document))
    layout = document.documentLayout()
    headings = 0
    for one, after in pairwise(units):
        if isinstance(one, QTextBlock) and one.blockFormat().headingLevel():
            top = layout.blockBoundingRect(one).top() + one.layout().lineAt(0).y()
            first = after.cellAt(0, 0).firstCursorPosition().block() if isinstance(after, QTextTable) else after
            assert page_of(document, top) == page_of(document, layout.blockBoundingRect(first).top()), one.text()
            headings += 1
    assert headings >= 8


def test_rows_are_not_broken_and_pages_are_filled(document: QTextDocument) -> None:
    for one in (unit for unit in list_units(document) if isinstance(unit, QTextTable)):
        for row in range(one.rows()):
            cells = [one.cellAt(row, column) for column in range(one.columns())]
            blocks = [cell.firstCursorPosition().block() for cell in cells]
            extents = [document.documentLayout().blockBoundingRect(block) for block in blocks]
            pages = {page_of(document, y) for rect in extents for y in (rect.top(), rect.bottom() - 1)}
            assert len(pages) == 1, row
    used = {page_of(document, top) for _, top, _ in rects(document)}
    assert used == set(range(document.pageCount()))
    assert document.pageCount() <= 9
