"""Print the pages of a report as PDF with Qt; a separate program, since Qt may abort it.

It reads a ``PrintJob`` as JSON from standard input, and writes the PDF file to standard output.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Iterator

from qtpy.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QRectF, QSizeF, Qt, QUrl
from qtpy.QtGui import (
    QColor,
    QFont,
    QGuiApplication,
    QImage,
    QPageLayout,
    QPageSize,
    QPainter,
    QPdfWriter,
    QTextBlock,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextOption,
    QTextTable,
    QTextTableCell,
)
from qtpy.QtSvg import QSvgRenderer

from napari_melanoma.core.parsing import parse_json
from napari_melanoma.reports.page import SHORT_ROWS
from napari_melanoma.reports.printed_page import PrintJob

PAGE_SIZES = {"a4": QPageSize.PageSizeId.A4, "letter": QPageSize.PageSizeId.Letter}
MARGINS_MM = QMarginsF(15, 21, 15, 19)  # left, top, right, bottom
RESOLUTION = 600  # dots per inch
CSS_RESOLUTION = 96
FONTS = ("Segoe UI", "Helvetica Neue", "Noto Sans", "DejaVu Sans", "Arial")
NO_LIGATURES = 0.02  # letter spacing in pixels: invisible, but letters with a spacing are not joined
QUIET, ACCENT = "#5c6269", "#2c628f"
CORNER_PT = 8.5
CORNER_GAP_MM = 8.0  # between the text of a margin and the content
RULE_GAP_PX, RULE_PX = 13, 2  # above the heading of a main section
KEPT_SHARE = 0.4  # of a page: longer paragraphs and rows may be split
ROW_GAP_PX = 1.0  # at the end of a page, so small that no row fits
DATES = re.compile(rb"\(D:\d{14}[Z+\-\d']*\)|Date=\"[\dT:+-]+\"")  # in the metadata: when the file was written
MAX_MOVES = 4
IMAGE_CHARACTER = "\ufffc"
Unit = QTextBlock | QTextTable


class _Document(QTextDocument):
    """A text document that reads neither files nor addresses."""

    def loadResource(self, type: int, name: QUrl) -> None:  # noqa: N802 - Qt's name
        """Return nothing: only resources that were added before are used."""


def print_pages(job: PrintJob) -> bytes:
    """Lay out and print a job, and return the PDF file; a QGuiApplication must exist."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(RESOLUTION)
    writer.setPageSize(QPageSize(PAGE_SIZES[job.paper]))
    writer.setPageMargins(MARGINS_MM, QPageLayout.Unit.Millimeter)
    writer.setTitle(job.title)
    writer.setCreator(job.creator)
    document = lay_out(job, writer)
    extras = find_extras(document, job)
    painter = QPainter(writer)
    for page in range(document.pageCount()):
        if page:
            writer.newPage()
        _paint_page(painter, document, job, page)
        for rect, drawing in extras.get(page, ()):
            rect.translate(0, -page * document.pageSize().height())
            if drawing is None:
                painter.fillRect(rect, QColor(ACCENT))
            else:
                drawing.render(painter, rect)
    painter.end()
    return DATES.sub(_clear_date, bytes(buffer.data().data()))


def _clear_date(match: re.Match[bytes]) -> bytes:
    """Replace a date in the metadata by 1970-01-01, since a report shows its date only on request."""
    digits = iter(b"19700101" + bytes(len(match[0]) * b"0"))
    return bytes(next(digits) if byte in b"0123456789" else byte for byte in match[0])


def lay_out(job: PrintJob, writer: QPdfWriter) -> QTextDocument:
    """Lay out the pages of a job."""
    document = _Document()
    document.setDocumentMargin(0)
    document.setUseDesignMetrics(True)
    document.documentLayout().setPaintDevice(writer)
    document.setDefaultFont(_choose_font(QFont()))
    document.setDefaultTextOption(_wrap_anywhere())
    for name, uri in job.pictures.items():
        image = QImage.fromData(base64.b64decode(uri.partition(",")[2]))
        document.addResource(QTextDocument.ResourceType.ImageResource, QUrl(name), image)
    placeholder = QImage(1, 1, QImage.Format.Format_ARGB32)
    placeholder.fill(Qt.GlobalColor.transparent)
    for name in job.drawings:
        document.addResource(QTextDocument.ResourceType.ImageResource, QUrl(name), placeholder)
    document.setHtml(job.html)
    document.setPageSize(QSizeF(writer.width(), writer.height()))
    keep_together(document)
    split_at_pages(document)
    return document


def _choose_font(font: QFont) -> QFont:
    """Choose a font of the system, without ligatures: text with ligatures cannot be searched in the file."""
    font.setFamilies(FONTS)
    font.setStyleHint(QFont.StyleHint.SansSerif)
    font.setLetterSpacing(QFont.SpacingType.AbsoluteSpacing, NO_LIGATURES)
    return font


def _wrap_anywhere() -> QTextOption:
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    return option


def keep_together(document: QTextDocument) -> None:
    """Keep short paragraphs, tables and pictures on one page, together with the headings above them."""
    height = document.pageSize().height()
    headings: list[Unit] = []
    for unit in list_units(document):
        if isinstance(unit, QTextBlock) and unit.blockFormat().headingLevel():
            headings.append(unit)
            continue
        first = headings[0] if headings else unit
        top = _find_rect(document, first).top()
        bottom = _find_kept_bottom(document, unit)
        if int(top // height) != int((bottom - 1) // height) and bottom - top <= height:
            _break_before(document, first)
        headings.clear()
        if isinstance(unit, QTextTable):
            _keep_rows(document, unit)


def _lay_out_again(document: QTextDocument) -> None:
    """Lay out everything after a change: Qt uses a wrong end of the page where it lays out only what has changed."""
    document.markContentsDirty(0, document.characterCount())


def _keep_rows(document: QTextDocument, table: QTextTable) -> None:
    """Move rows that a page break would split to the next page, unless they are long."""
    height = document.pageSize().height()
    for row in range(table.format().headerRowCount() + 1, table.rows()):
        top, bottom = _find_row(document, table, row)
        if int(top // height) != int((bottom - 1) // height) and bottom - top <= KEPT_SHARE * height:
            # Qt has no page break before a row: the row above is extended almost to the end of the page.
            cells = [table.cellAt(row - 1, column) for column in range(table.columns())]
            lowest = max(cells, key=lambda cell: _find_cell(document, cell)[1])
            padded = lowest.format().toTableCellFormat()
            rest = (1 + top // height) * height - _find_cell(document, lowest)[1]
            padded.setBottomPadding(rest * CSS_RESOLUTION / RESOLUTION - ROW_GAP_PX)
            lowest.setFormat(padded)
            _lay_out_again(document)


def _find_row(document: QTextDocument, table: QTextTable, row: int) -> tuple[float, float]:
    """Return the top and bottom of the content of a row."""
    cells = [_find_cell(document, table.cellAt(row, column)) for column in range(table.columns())]
    return min(top for top, _ in cells), max(bottom for _, bottom in cells)


def _find_cell(document: QTextDocument, cell: QTextTableCell) -> tuple[float, float]:
    """Return the top and bottom of the content of a cell."""
    get_rect = document.documentLayout().blockBoundingRect
    return get_rect(cell.firstCursorPosition().block()).top(), get_rect(cell.lastCursorPosition().block()).bottom()


def split_at_pages(document: QTextDocument) -> None:
    """Split paragraphs that continue on the next page; otherwise Qt draws the lines at the break on both pages."""
    height = document.pageSize().height()
    block = document.begin()
    while block.isValid():
        rect, layout = document.documentLayout().blockBoundingRect(block), block.layout()
        lines = [layout.lineAt(number) for number in range(layout.lineCount())]
        pages = [int((rect.top() + line.y() + line.height() / 2) // height) for line in lines]
        moved = next((line for line, page in zip(lines, pages, strict=True) if page != pages[0]), None)
        if moved is not None:
            cursor = QTextCursor(block)
            first, second = block.blockFormat(), block.blockFormat()
            first.setBottomMargin(0)
            second.setTopMargin(0)
            cursor.setBlockFormat(first)
            cursor.setPosition(block.position() + moved.textStart())
            cursor.insertBlock(second)
            _lay_out_again(document)
        block = block.next()


def list_units(document: QTextDocument) -> Iterator[Unit]:
    """Yield tables and paragraphs that are not empty, in their order."""
    block = document.begin()
    while block.isValid():
        table = QTextCursor(block).currentTable()
        if table is not None:
            yield table
            block = document.findBlock(table.lastPosition() + 1)
        else:
            if block.text():
                yield block
            block = block.next()


def _find_rect(document: QTextDocument, unit: Unit) -> QRectF:
    """Return the rectangle of a unit; that of a paragraph begins with the first line, below the top margin."""
    if isinstance(unit, QTextTable):
        return document.documentLayout().frameBoundingRect(unit)
    rect = document.documentLayout().blockBoundingRect(unit)
    return rect.adjusted(0, unit.layout().lineAt(0).y(), 0, 0)


def _find_kept_bottom(document: QTextDocument, unit: Unit) -> float:
    """Return the bottom of the part that must be on one page: the whole unit, or the start of a long one."""
    rect = _find_rect(document, unit)
    if isinstance(unit, QTextBlock):
        is_short = rect.height() <= KEPT_SHARE * document.pageSize().height()
        return rect.bottom() if is_short else rect.top() + unit.layout().lineAt(0).height()
    header = unit.format().headerRowCount()
    if unit.rows() - header <= SHORT_ROWS:
        return rect.bottom()
    return _find_row(document, unit, header)[1]


def _break_before(document: QTextDocument, unit: Unit) -> None:
    """Move a unit to the next page."""
    if isinstance(unit, QTextTable):
        table = unit.format()
        table.setPageBreakPolicy(QTextFormat.PageBreakFlag.PageBreak_AlwaysBefore)
        table.setTopMargin(0)
        unit.setFormat(table)
        _lay_out_again(document)
        return
    height, top = document.pageSize().height(), _find_rect(document, unit).top()
    style, margin = unit.blockFormat(), unit.blockFormat().topMargin()
    style.setPageBreakPolicy(QTextFormat.PageBreakFlag.PageBreak_AlwaysBefore)
    style.setTopMargin(0)
    QTextCursor(unit).setBlockFormat(style)
    _lay_out_again(document)
    end = (top // height + 1) * height
    if _find_rect(document, unit).top() < end + height:
        return
    # After a table at the end of a page, Qt skips a page. A top margin moves the block instead; it may have to be
    # enlarged several times, since Qt merges it with other margins.
    style.setPageBreakPolicy(QTextFormat.PageBreakFlag.PageBreak_Auto)
    for _ in range(MAX_MOVES):
        margin += (end - top) * CSS_RESOLUTION / RESOLUTION
        style.setTopMargin(margin)
        QTextCursor(unit).setBlockFormat(style)
        _lay_out_again(document)
        top = _find_rect(document, unit).top()
        if top >= end:
            return


def _paint_page(painter: QPainter, document: QTextDocument, job: PrintJob, page: int) -> None:
    """Paint the content of a page and its margins."""
    size = document.pageSize()
    painter.save()
    painter.translate(0, -page * size.height())
    # The first and last dot are left out: lines that touch them would be in the text of both pages.
    document.drawContents(painter, QRectF(0, page * size.height() + 1, size.width(), size.height() - 2))
    painter.restore()
    _paint_margins(painter, job, size, f"Page {page + 1} of {document.pageCount()}")


Extra = tuple[QRectF, QSvgRenderer | None]  # a drawing and its rectangle; None for the rule above a main section


def find_extras(document: QTextDocument, job: PrintJob) -> dict[int, list[Extra]]:
    """Return what text documents of Qt do not support, by page: rules above main sections, and drawings."""
    scale = RESOLUTION / CSS_RESOLUTION
    extras_by_page: dict[int, list[Extra]] = {}
    block = document.begin()
    while block.isValid():
        rect = _find_rect(document, block)
        extras = extras_by_page.setdefault(int((rect.top() + 1) // document.pageSize().height()), [])
        if block.blockFormat().headingLevel() == 2:
            width = document.pageSize().width()
            extras.append((QRectF(0, rect.top() - RULE_GAP_PX * scale, width, RULE_PX * scale), None))
        elif block.text() == IMAGE_CHARACTER:
            cursor = QTextCursor(block)
            cursor.movePosition(QTextCursor.MoveOperation.NextCharacter)
            image = cursor.charFormat().toImageFormat()
            if image.name() in job.drawings:
                drawing = QSvgRenderer(QByteArray(job.drawings[image.name()].encode()))
                extras.append((QRectF(rect.topLeft(), QSizeF(image.width(), image.height()) * scale), drawing))
        block = block.next()
    return extras_by_page


def _paint_margins(painter: QPainter, job: PrintJob, size: QSizeF, number: str) -> None:
    """Paint the texts of the job's corners: identity and notice above the content, program and page number below."""
    font = _choose_font(QFont(painter.font()))
    font.setPointSizeF(CORNER_PT)
    painter.setFont(font)
    painter.setPen(QColor(QUIET))
    gap, line = CORNER_GAP_MM / 25.4 * RESOLUTION, 2.0 * CORNER_PT / 72 * RESOLUTION
    top = QRectF(0, -gap - line, size.width(), line)
    bottom = QRectF(0, size.height() + gap, size.width(), line)
    left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
    identity, notice, program = job.corners
    corners = ((top, left, identity), (top, right, notice), (bottom, left, program), (bottom, right, number))
    for rect, side, text in corners:
        painter.drawText(rect, int(side | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine), text)


def main() -> None:
    """Read a job, and write the PDF file."""
    if sys.platform == "linux":
        os.environ["QT_QPA_PLATFORM"] = "offscreen"  # no display is needed
    os.environ["QT_MAC_DISABLE_FOREGROUND_APPLICATION_TRANSFORM"] = "1"  # no icon in the Dock
    QGuiApplication.setAttribute(Qt.ApplicationAttribute.AA_Use96Dpi)  # or lengths depend on the screen
    application = QGuiApplication(sys.argv[:1])
    content = parse_json(sys.stdin.buffer.read(), "the pages of the report")
    pages = print_pages(PrintJob(**{**content, "corners": tuple(content["corners"])}))
    sys.stdout.buffer.write(pages)
    application.quit()


if __name__ == "__main__":
    main()
