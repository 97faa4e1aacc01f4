"""A report as data, which consists of blocks, and its page: one self-contained HTML file for screens and printers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from napari_melanoma.core.files import write_text
from napari_melanoma.core.validity import NOTICE
from napari_melanoma.figures.page import render_html
from napari_melanoma.reports.body_map import SVG, BodyMap

if TYPE_CHECKING:
    from markupsafe import Markup

GENERATOR = "napari-melanoma report"
HEAD_BYTES = 1024  # first bytes of a file, which contain the generator
HEADER_LENGTH = 60  # characters of the running header
MAX_LEVEL = 6  # of headings in HTML
MANY_COLUMNS = 3  # a table with more columns scrolls on a phone
SHORT_ROWS = 8  # a table with at most as many rows is kept on one page
LINE_LETTERS = 16  # a cell with at most as many letters is kept on one line


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Notice:
    """A statement that readers must not overlook; ``lead`` marks a main result and not a caution."""

    kind: ClassVar[str] = "notice"
    text: str
    lead: bool = False


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

    ``caption`` describes it to screen readers, and is shown if ``titled``.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    titled: bool = False

    @property
    def classes(self) -> str:
        """The classes in CSS.

        ``fields`` for labeled values; ``many`` for many columns; ``short`` if it is not broken between pages;
        ``narrow`` if the heading of each row is kept on one line.
        """
        conditions = {
            "fields": not self.columns,
            "many": len(self.columns) > MANY_COLUMNS,
            "short": len(self.rows) <= SHORT_ROWS,
            "narrow": bool(self.columns) and all(len(str(row[0])) <= LINE_LETTERS for row in self.rows),
        }
        return " ".join(name for name, holds in conditions.items() if holds)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column contains numbers only, and is aligned at the right."""
        columns = list(zip(*self.rows, strict=True)) if self.columns else []
        return tuple(number > 0 and all(map(_is_number, column)) for number, column in enumerate(columns))


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with alternative text and caption; ``small`` pictures are narrower."""

    kind: ClassVar[str] = "figure"
    picture: str
    alt: str
    caption: str
    small: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side where they fit."""

    kind: ClassVar[str] = "gallery"
    figures: tuple[Figure | BodyMap, ...]


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


Block = Text | Notice | Table | Figure | Gallery | BodyMap | Section


@dataclass(frozen=True)
class Report:
    """A report: its title, a line below it, its blocks, and the text that identifies it on each printed page."""

    title: str
    subtitle: str
    blocks: tuple[Block, ...]
    identity: str = ""
    program: str = ""

    @cached_property
    def page_rule(self) -> Markup:
        """The CSS of printed pages: header with identity and notice, footer with program and page number."""
        from markupsafe import Markup

        return Markup(PAGE_RULE).format(
            identity=css_string(self.identity or self.title),
            notice=css_string(NOTICE),
            program=css_string(self.program),
        )


def fields(caption: str, values: dict[str, str]) -> Table:
    """Return labeled values as a table."""
    return Table(caption, (), tuple(values.items()))


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file without references to other files."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Return a report as HTML without references to files."""
    limits = {"max_level": MAX_LEVEL, "line_letters": LINE_LETTERS}
    return render_html(PAGE, report=report, notice=NOTICE, generator=GENERATOR, **limits)


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


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, str) and re.fullmatch(r"[-+–]?[\d,. ]*", cell) is not None


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
PAGE = (
    """{% extends "page" %}
"""
    + SVG
    + """
{% macro show(block, level) %}
{% if block.kind == "text" %}<p{{ ' class="quiet"'|safe if block.quiet }}>{{ block.text }}</p>
{% elif block.kind == "notice" %}<p class="{{ 'lead' if block.lead else 'notice' }}">{{ block.text }}</p>
{% elif block.kind == "table" %}{{ show_table(block) }}
{% elif block.kind == "figure" %}{{ show_figure(block) }}
{% elif block.kind == "gallery" %}<div class="gallery">
{% for one in block.figures %}{{ show(one, level) }}{% endfor %}</div>
{% elif block.kind == "body_map" %}<figure class="body">{{ show_body(block) }}
<figcaption>{{ block.caption }}</figcaption></figure>
{% elif block.folded %}<details><summary>{{ block.title }}</summary>
{% for one in block.blocks %}{{ show(one, level) }}{% endfor %}</details>
{% else %}<section class="level{{ level }} {{ block.layout }}">
<h{{ level }}>{{ block.title }}</h{{ level }}>
{% if block.subtitle %}<p class="quiet subtitle">{{ block.subtitle }}</p>
{% endif %}
{% for one in block.blocks %}{{ show(one, [level + 1, max_level]|min) }}{% endfor %}</section>
{% endif %}
{% endmacro %}
{% macro show_figure(one) %}<figure{{ ' class="small"'|safe if one.small }}><img alt="{{ one.alt }}" src="{{ one.picture
}}"><figcaption>{{ one.caption }}</figcaption></figure>
{% endmacro %}
{% macro show_cell(cell) %}{% if cell is string %}{{ cell or "–" }}{% else %}<span class="value">{{ cell.text }}</span>
<span class="bar" aria-hidden="true">{% if cell.signed %}<b class="{{ 'less' if cell.value < 0 else 'more' }}"
style="left:{{ 50 + 50 * [cell.value, 0]|min }}%;width:{{ 50 * cell.value|abs }}%"></b><em></em>{% else %}{% if
cell.interval %}<span style="left:{{ 100 * cell.interval[0] }}%;width:{{ 100 * (cell.interval[1] - cell.interval[0])
}}%"></span>{% endif %}<i style="left:{{ 100 * cell.value }}%"></i>{% endif %}</span>{% endif %}{% endmacro %}
{% macro show_table(one) %}<div class="wide {{ one.classes }}"{% if one.columns %} tabindex="0" role="group"
aria-label="{{ one.caption }}"{% endif %}><table class="{{ one.classes }}">
<caption{{ '' if one.titled else ' class="hidden"'|safe }}>{{ one.caption }}</caption>
{% if one.columns %}<thead><tr>{% for name in one.columns %}<th scope="col"{{ ' class="number"'|safe if
one.numeric and one.numeric[loop.index0] }}>{{ name }}</th>{% endfor %}</tr></thead>
{% endif %}<tbody>
{% for row in one.rows %}<tr>{% for cell in row %}{% if loop.first %}<th scope="row">{{ show_cell(cell) }}</th>{% else
%}<td{{ ' class="number"'|safe if one.numeric and one.numeric[loop.index0] else ' class="unbroken"'|safe if
cell is string and cell|length <= line_letters }}>{{ show_cell(cell) }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endmacro %}
{% block head %}<meta name="generator" content="{{ generator }}">{% endblock %}
{% block title %}{{ report.title }}{% endblock %}
{% block width %}58rem{% endblock %}
{% block style %}
{{ report.page_rule }}
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; font-weight: 650; }
h2 { font-size: 1.4rem; margin: 2.6rem 0 .4rem; padding-top: 1.2rem; border-top: 2px solid var(--accent); }
h3 { font-size: 1.12rem; margin: 1.8rem 0 .4rem; } h4, h5, h6 { font-size: 1rem; margin: 1.3rem 0 .3rem; }
h2, h3, h4, h5, h6, p, img, figcaption, caption, summary, .fields td, .fields th { overflow-wrap: anywhere; }
td, th { overflow-wrap: break-word; }
.subtitle { margin: 0 0 .8rem; } p { margin: .6rem 0; max-width: 46rem; } .research { font-weight: 600; }
td, th { vertical-align: top; text-align: left; } table { margin: .6rem 0 1rem; line-height: 1.4; }
thead th { color: var(--quiet); font-size: .85rem; border-bottom: 2px solid var(--rule); }
tbody th { font-weight: 500; } table.fields th { width: 34%; color: var(--quiet); font-weight: 400; }
td.number, thead th.number { padding-right: 1.6rem; } thead th, tbody th { min-width: 4.5rem; }
.narrow tbody th, .number, .unbroken { white-space: nowrap; } .wide:focus-visible { outline: 2px solid var(--accent); }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
caption.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
figure { margin: .8rem 0; } figure img { border-radius: 4px; display: block; } figure.small { max-width: 20rem; }
figcaption { color: var(--quiet); font-size: .88rem; margin-top: .3rem; }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; margin: .8rem 0; }
.gallery figure { flex: 1 1 16rem; margin: 0; max-width: 34rem; } .gallery figure.small { flex: 0 1 13rem; }
.body { max-width: 25rem; } .body svg { width: 100%; height: auto; display: block; }
.bar { display: block; position: relative; height: .7rem; min-width: 8rem; margin: .25rem 0; background: var(--bar);
border-radius: 3px; } .bar span { position: absolute; top: 0; bottom: 0; background: var(--band); border-radius: 3px; }
.bar i { position: absolute; top: -2px; bottom: -2px; width: 3px; margin-left: -1px; background: var(--accent); }
.bar b { position: absolute; top: 0; bottom: 0; background: var(--accent); } .bar b.less { background: var(--less); }
.bar em { position: absolute; top: 0; bottom: 0; left: 50%; width: 1px; background: var(--quiet); }
summary { cursor: pointer; }
@media screen { table.many { min-width: 38rem; } }
@media screen and (max-width: 30rem) { main { padding: 1.2rem 1rem; } table.fields th { width: 42%; } }
@media screen and (prefers-color-scheme: dark) { .body .skin { fill: #5b636f; } .body .edge { stroke: #b4bcc7; }
.body .line { stroke: #d0d6de; } .body .crease { stroke: #434a55; } .body .site { fill: #5b97d3; }
.body .name { fill: #a9b0ba; } }
@media print { body { font-size: 9.5pt; line-height: 1.35; } h1 { font-size: 18pt; } h2 { font-size: 13.5pt; }
h3 { font-size: 11pt; } h4, h5, h6 { font-size: 9.5pt; } h2 { margin: 1.3rem 0 .2rem; padding-top: .6rem; }
h3 { margin: .9rem 0 .2rem; } h4, h5, h6 { margin: .6rem 0 .1rem; } p, .notice, .lead { margin: .35rem 0; }
.subtitle { margin: 0 0 .3rem; } table { margin: .25rem 0 .5rem; line-height: 1.3; } .wide { overflow: visible; }
td, th { overflow-wrap: anywhere; padding: .1rem .6rem .1rem 0; } thead th { overflow-wrap: break-word; }
.long { min-width: 0; } figure { margin: .4rem 0; } figure img { max-height: 58mm; width: auto; }
figcaption { font-size: 8.5pt; }
footer { display: none; } .gallery { display: block; margin: .4rem 0 0; }
.gallery figure { display: inline-block; vertical-align: top; width: 42%;
margin: 0 2% .3rem 0; } .gallery figure.small { width: 25%; } .body { max-width: 70mm; }
.short, .whole { break-inside: avoid; } .page { break-after: page; }
caption { break-after: avoid; } caption.hidden { display: none; } .subtitle { break-after: avoid; }
.lead, .notice { border-left-width: 3px; padding: .3rem .7rem; } }
{% endblock %}
{% block content %}
<header><h1>{{ report.title }}</h1>
{% if report.subtitle %}<p class="quiet subtitle">{{ report.subtitle }}</p>
{% endif %}</header>
<p class="notice research">{{ notice }}</p>
{% for one in report.blocks %}{{ show(one, 2) }}{% endfor %}
<footer><p class="quiet">{{ notice }}{% if report.program %} {{ report.program }}.{% endif %}</p></footer>
{% endblock %}
"""
)
