"""HTML pages: their blocks as data, their rendering as self-contained files by one template, and Markdown tables."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from napari_melanoma.core.files import write_text
from napari_melanoma.core.validity import NOTICE

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

GENERATOR = "napari-melanoma report"
HEAD_BYTES = 1024  # first bytes of a file, which contain the generator
HEADER_LENGTH = 60  # characters of the running header
WIDE = "76rem"  # width of pages with many columns and plots
MAX_LEVEL = 6  # of headings in HTML
MANY_COLUMNS = 3  # a table with more columns scrolls on a phone
DENSE_COLUMNS = 6  # a table with more columns is printed in small letters
SHORT_ROWS = 8  # a table with at most as many rows is kept on one page
LINE_LETTERS = 16  # a cell with at most as many letters is kept on one line
LONG = 60  # characters above which a text needs a wide column
NOTHING = "–"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
# A number, optionally with a unit (8M, 12 %), a difference or second number, and an interval in brackets.
NUMBER = re.compile(r"([-+–]?\d[\d.,]*(?: ?[%A-Za-z]{1,2})?(?:(?:, [-+]| / )\d[\d.]*)*)(?: (\([^()]*\d\)))?")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Notice:
    """A statement that readers must not overlook; ``lead`` marks a main result and not a caution.

    ``headline``: its first sentence, which is emphasized.
    """

    kind: ClassVar[str] = "notice"
    text: str
    lead: bool = False
    headline: str = ""


@dataclass(frozen=True)
class Bar:
    """A value on a bar with its interval, from 0 to 1; a ``signed`` bar is from -1 to 1 and starts in the middle."""

    text: str
    value: float
    interval: tuple[float, float] | None = None
    signed: bool = False


Cell = str | Bar


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading. Without columns, it is a list of labeled values.

    ``caption`` describes it to screen readers, and is shown if ``titled``. ``groups``: heading above each column, ""
    for none; adjacent columns share equal ones.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    titled: bool = False
    groups: tuple[str, ...] = ()

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The headings of adjacent columns, and the number of columns of each."""
        return [(group, len(list(members))) for group, members in itertools.groupby(self.groups)]

    @property
    def classes(self) -> str:
        """The classes in CSS.

        ``fields`` for labeled values; ``many`` and ``dense`` for many columns; ``short`` if it is not broken between
        pages; ``narrow`` if the heading of each row is kept on one line.
        """
        conditions = {
            "fields": not self.columns,
            "many": len(self.columns) > MANY_COLUMNS,
            "dense": len(self.columns) > DENSE_COLUMNS,
            "short": len(self.rows) <= SHORT_ROWS,
            "narrow": bool(self.columns) and all(len(str(row[0])) <= LINE_LETTERS for row in self.rows),
        }
        return " ".join(name for name, holds in conditions.items() if holds)

    @property
    def column_classes(self) -> tuple[str, ...]:
        """The class of each column: ``number`` if it is aligned at the right, ``long`` if it contains sentences."""
        columns = list(zip(*self.rows, strict=True)) if self.columns else []
        return tuple(_column_class(column) if number else "" for number, column in enumerate(columns))

    @staticmethod
    def split_interval(cell: str) -> tuple[str, str]:
        """Split a number and its interval, between which a line may break; otherwise, the second text is empty."""
        found = NUMBER.fullmatch(cell)
        return (found[1], found[2]) if found and found[2] else (cell, "")


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with alternative text and caption, if any.

    ``small`` pictures are narrower; a ``plot`` keeps its size, and scrolls on a phone.
    """

    kind: ClassVar[str] = "figure"
    picture: str
    alt: str
    caption: str = ""
    small: bool = False
    plot: bool = False


class Drawing(Protocol):
    """A drawing as SVG with its caption."""

    kind: ClassVar[str] = "drawing"

    def to_svg(self, number: int) -> Markup:
        """Return the SVG element; ``number``: of the drawing on the page, for unique ids."""

    @property
    def caption(self) -> str: ...


@dataclass(frozen=True)
class Gallery:
    """Figures side by side where they fit."""

    kind: ClassVar[str] = "gallery"
    figures: tuple[Figure | Drawing, ...]


@dataclass(frozen=True)
class Items:
    """A list of texts, each with the code that follows it, if any."""

    kind: ClassVar[str] = "items"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A heading and its blocks.

    A ``folded`` section is opened by the reader, and is not printed. ``layout`` of printed pages: a ``whole`` section
    is on one page if it fits; after a ``page`` follows a new page.
    """

    kind: ClassVar[str] = "section"
    title: str
    blocks: tuple[Block, ...]
    subtitle: str = ""
    folded: bool = False
    layout: Literal["", "whole", "page"] = ""


Block = Text | Notice | Table | Figure | Gallery | Items | Drawing | Section


@dataclass(frozen=True)
class Report:
    """A page: its title, a line below it, its blocks, and the text that identifies it on each printed page.

    ``generator`` states what wrote it. ``width``: of its text, in CSS. ``contents``: whether it lists its sections.
    """

    title: str
    subtitle: str
    blocks: tuple[Block, ...]
    identity: str = ""
    program: str = ""
    generator: str = GENERATOR
    width: str = "58rem"
    contents: bool = False

    @cached_property
    def page_rule(self) -> Markup:
        """The CSS of printed pages: header with identity and notice, footer with program and page number."""
        from markupsafe import Markup

        return Markup(PAGE_RULE).format(
            identity=css_string(self.identity or self.title),
            notice=css_string(NOTICE),
            program=css_string(self.program),
        )


@dataclass(frozen=True)
class ReportTable:
    """A table as a section, also in Markdown: a title, columns, rows of text, and sentences above and below it.

    ``groups``: heading above each column; adjacent columns share equal ones. ``introduction``: above, ``notes``: below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    introduction: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise an error for a row with another number of cells than columns."""
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"'{self.title}' has {len(self.columns)} columns, a row has {len(wrong[0])}: {wrong[0]}")

    def to_markdown(self) -> str:
        groups = self.groups or ("",) * len(self.columns)
        headings = [f"{group}, {name}" if group else name for group, name in zip(groups, self.columns, strict=True)]
        lines = [
            f"### {self.title}",
            "",
            *(line for text in self.introduction for line in (text, "")),
            markdown_row(headings),
            "|" + "|".join(" --- " for _ in self.columns) + "|",
        ]
        lines += [markdown_row(row) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"

    def to_section(self) -> Section:
        table = Table(self.title, self.columns, self.rows, groups=self.groups)
        above, below = ((Text(text, quiet=True) for text in texts) for texts in (self.introduction, self.notes))
        return Section(self.title, (*above, table, *below))


def markdown_row(cells: Sequence[str]) -> str:
    """Format a row; a vertical bar in a text would end its cell."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") or NOTHING for cell in cells) + " |"


def png_uri(path: Path) -> str:
    return data_uri(path.read_bytes(), "image/png")


def data_uri(content: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


def fields(caption: str, values: dict[str, str]) -> Table:
    return Table(caption, (), tuple(values.items()))


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file without references to other files."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Return a report as HTML without references to files."""
    return render_html(read_template(), report=report, notice=NOTICE, max_level=MAX_LEVEL, line_letters=LINE_LETTERS)


def write_analysis(path: Path, title: str, facts: str, blocks: Iterable[Block], *, contents: bool = False) -> None:
    """Write the page of an analysis, which is wide; ``facts``: the line below the title."""
    program = "napari-melanoma"
    write_report(path, Report(title, facts, tuple(blocks), generator=program, width=WIDE, contents=contents))


def is_report(path: Path) -> bool:
    """Return whether a file is a report that was written by this program."""
    with path.open("rb") as file:
        return f'name="generator" content="{GENERATOR}"'.encode() in file.read(HEAD_BYTES)


def css_string(text: str) -> Markup:
    """Return a text as the content of a CSS string, shortened for a running header.

    All characters but letters and digits are escaped, so that none can end the string, the rule or the style element.
    """
    from markupsafe import Markup

    shown = text if len(text) <= HEADER_LENGTH else f"{text[: HEADER_LENGTH - 1]}…"
    return Markup(re.sub(r"[^A-Za-z0-9 ]", lambda found: f"\\{ord(found[0]) or 0xFFFD:x} ", shown))


def _column_class(cells: Sequence[Cell]) -> str:
    filled = [cell for cell in cells if cell not in ("", NOTHING)]
    if filled and all(isinstance(cell, str) and NUMBER.fullmatch(cell) for cell in filled):
        return "number"
    return "long" if any(isinstance(cell, str) and len(cell) > LONG for cell in filled) else ""


@cache
def read_template() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def render_html(template: str, **values: object) -> str:
    # Names of files that are not UTF-8 contain halves of surrogate pairs.
    return _compile(template).render(**values).encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=4)  # one for each template
def _compile(template: str) -> Template:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, finalize=_printable).from_string(template)


def _printable(value: object) -> object:
    """Replace control characters, which HTML does not allow."""
    return CONTROL.sub("\ufffd", value) if isinstance(value, str) and not hasattr(value, "__html__") else value


MARGIN_BOXES = {
    "top-left": '"{identity}"',
    "top-right": '"{notice}"',
    "bottom-left": '"{program}"',
    "bottom-right": '"Page " counter(page) " of " counter(pages)',
}
PAGE_RULE = "@page {{ margin: 21mm 15mm 19mm; %s }}" % " ".join(  # noqa: UP031 - the rest is a format itself
    f"@{box} {{{{ content: {content}; font: 8.5pt sans-serif; color: #5c6269; }}}}"
    for box, content in MARGIN_BOXES.items()
)
