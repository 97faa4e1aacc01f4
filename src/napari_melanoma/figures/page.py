"""Base template of HTML pages and reports, and tables as Markdown and HTML."""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import write_text

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

# A page extends "page" and fills the blocks; its style rules come last and take precedence.
BASE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{% block head %}{% endblock %}
<title>{% block title %}{% endblock %}</title>
<style>
:root { --ground: #f5f5f3; --paper: #fff; --ink: #1c1f23; --quiet: #5c6269; --rule: #dfdfda; --accent: #2c628f;
--lead: #eef3f8; --caution: #fbf6e3; --caution-edge: #d3a400; --bar: #eceeec; --band: #b9cfe4; --less: #a85f00; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0; }
main { max-width: {% block width %}62rem{% endblock %}; margin: 0 auto; padding: 2rem 1.5rem;
background: var(--paper); }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.lead { border-left: 4px solid var(--accent); background: var(--lead); padding: .5rem .9rem; margin: 1rem 0; }
.notice { border-left: 4px solid var(--caution-edge); background: var(--caution); padding: .5rem .9rem;
margin: 1rem 0; }
.quiet { color: var(--quiet); } img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); }
.number { text-align: right; font-variant-numeric: tabular-nums; } td.number span { white-space: nowrap; }
.group { text-align: center; } .long { min-width: 18rem; } .figure img { min-width: 36rem; background: #fff; }
@media screen and (prefers-color-scheme: dark) {
:root { --ground: #121417; --paper: #1b1e22; --ink: #e4e6e8; --quiet: #a7aeb5; --rule: #363b41; --accent: #7fb3dd;
--lead: #202c37; --caution: #322b16; --caution-edge: #c79a10; --bar: #2c3137; --band: #3d5873; --less: #e0993c; }
}
{% block style %}{% endblock %}
@media print { body { background: none; } main { padding: 0; max-width: none; }
thead { display: table-header-group; } tr, figure, .notice, .lead { break-inside: avoid; }
h1, h2, h3, h4, h5, h6 { break-after: avoid; } details:not([open]) { display: none; } }
</style>
</head>
<body>
<main>
{% block content %}{% endblock %}
</main>
</body>
</html>
"""


def write_html(path: Path, template: str, **values: object) -> None:
    """Render a template and write it."""
    write_text(path, render_html(template, **values))


def render_html(template: str, **values: object) -> str:
    """Render a template."""
    # Names of files that are not UTF-8 contain halves of surrogate pairs.
    return _compile(template).render(**values).encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=16)  # one for each kind of page
def _compile(template: str) -> Template:
    from jinja2 import DictLoader, Environment

    pages = Environment(autoescape=True, trim_blocks=True, finalize=_printable, loader=DictLoader({"page": BASE}))
    pages.globals["table"] = _render_table
    return pages.from_string(template)


def _printable(value: object) -> object:
    """Replace control characters, which HTML does not allow."""
    return CONTROL.sub("\ufffd", value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _render_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Render a table as escaped HTML."""
    from markupsafe import Markup

    return Markup(html_table(columns, rows))


def png_uri(path: Path) -> str:
    """Encode a PNG as a data URI."""
    return data_uri(path.read_bytes(), "image/png")


def data_uri(content: bytes, media: str) -> str:
    """Encode an image as a data URI."""
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"


NOTHING = "–"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
# A number, optionally with a unit (8M, 12 %), a difference or second number, and an interval in brackets.
NUMBER = re.compile(r"([-+]?\d[\d.]*(?: ?[%A-Za-z]{1,2})?(?:(?:, [-+]| / )\d[\d.]*)*)(?: (\([^()]*\d\)))?")
LONG = 60  # characters above which a text needs a wide column


@dataclass(frozen=True)
class ReportTable:
    """A table of a report: a title, columns, rows of text, and sentences above and below it.

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
        """Format as GitHub Markdown."""
        lines = [
            f"### {self.title}",
            "",
            *(line for text in self.introduction for line in (text, "")),
            markdown_row([f"{group}, {name}" if group else name for group, name in self._headings]),
            "|" + "|".join(" --- " for _ in self.columns) + "|",
        ]
        lines += [markdown_row(row) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Format as escaped HTML: a heading, a ``table``, and a ``p`` for each sentence above and below it."""
        title, table = html.escape(self.title), html_table(self.columns, self.rows, self.groups)
        return f"<h2>{title}</h2>\n{_paragraphs(self.introduction)}{table}{_paragraphs(self.notes)}"

    @property
    def _headings(self) -> list[tuple[str, str]]:
        """The heading of the group, and the heading, of each column."""
        return list(zip(self.groups or ("",) * len(self.columns), self.columns, strict=True))


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[str] = ()) -> str:
    """Format a table as escaped HTML, which scrolls horizontally in a narrow window.

    Columns of numbers are right-aligned; an interval in brackets is not broken, and a column of sentences is wide.

    Returns a ``div`` of the class ``wide`` with the table, whose cells have the classes ``number`` and ``long``, and
    headings of several columns ``group``.
    """
    attributes = [_cell_attribute([row[index] for row in rows]) for index in range(len(columns))]
    head = "</tr><tr>".join(_html_head(groups or [""] * len(columns), columns, attributes))
    body = "\n".join(f"<tr>{_html_cells(row, attributes)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f'<p class="quiet">{html.escape(text)}</p>\n' for text in texts)


def _html_head(groups: Sequence[str], columns: Sequence[str], attributes: Sequence[str]) -> Iterator[str]:
    """Yield the rows of headings: one, or two where columns share a heading."""
    headings = list(zip(groups, columns, attributes, strict=True))
    if not any(groups):
        yield "".join(f"<th{attribute}>{html.escape(name)}</th>" for _, name, attribute in headings)
        return
    upper = ""
    for group, members in itertools.groupby(headings, key=itemgetter(0)):
        below = list(members)
        if group:
            upper += f'<th class="group" colspan="{len(below)}">{html.escape(group)}</th>'
        else:
            upper += "".join(f'<th{attribute} rowspan="2">{html.escape(name)}</th>' for _, name, attribute in below)
    yield upper
    yield "".join(f"<th{attribute}>{html.escape(name)}</th>" for group, name, attribute in headings if group)


def _cell_attribute(texts: Sequence[str]) -> str:
    """Return the HTML attribute of the cells of a column, by their content."""
    filled = [text for text in texts if text not in ("", NOTHING)]
    if filled and all(NUMBER.fullmatch(text) for text in filled):
        return ' class="number"'
    return ' class="long"' if any(len(text) > LONG for text in filled) else ""


def markdown_row(cells: Sequence[str]) -> str:
    """Format a row; a vertical bar in a text would end its cell."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") or NOTHING for cell in cells) + " |"


def _html_cells(cells: Sequence[str], attributes: Sequence[str]) -> str:
    return "".join(f"<td{attribute}>{_html_text(cell)}</td>" for cell, attribute in zip(cells, attributes, strict=True))


def _html_text(cell: str) -> str:
    """Format the text of a cell; a line may break between a number and its interval, not within the interval."""
    found = NUMBER.fullmatch(cell)
    if found and found[2]:
        return f"{html.escape(found[1])} <span>{html.escape(found[2])}</span>"
    if found:
        return html.escape(cell).replace(" / ", "&nbsp;/ ")
    return html.escape(cell or NOTHING)
