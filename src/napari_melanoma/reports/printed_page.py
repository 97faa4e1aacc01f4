"""A report in the few HTML elements that Qt's text documents support, to print it if WeasyPrint cannot be loaded."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.validity import NOTICE
from napari_melanoma.figures.page import make_printable, render_html
from napari_melanoma.reports.body_map import SVG
from napari_melanoma.reports.page import GENERATOR, Report, shorten

if TYPE_CHECKING:
    from markupsafe import Markup

CONTENT_PX = {"a4": 680, "letter": 702}  # width between the margins, at 96 pixels per inch
MAX_HEIGHT_PX = 219  # maximum height of a picture, 58 mm
SMALL_PX = 170  # maximum width of a small picture
BODY_PX = 265  # width of the body map
MAX_LEVEL = 4  # of headings: Qt ignores the size of deeper ones


@dataclass(frozen=True)
class PrintJob:
    """The input of the process that prints with Qt.

    ``html`` refers by name to ``pictures``, which are data URIs, and ``drawings``, which are SVG. ``corners``: texts of
    the margins, at the top left, top right and bottom left; the page number is at the bottom right.
    """

    html: str
    pictures: dict[str, str]
    drawings: dict[str, str]
    paper: str
    title: str
    creator: str
    corners: tuple[str, str, str]


def prepare_print(report: Report, paper: str) -> PrintJob:
    """Describe the pages of a report, with the same sections and texts, in the same order, as WeasyPrint prints."""
    pictures = _Pictures(CONTENT_PX[paper])
    html = render_html(
        PAGE,
        report=report,
        notice=NOTICE,
        max_level=MAX_LEVEL,
        body_px=BODY_PX,
        add_picture=pictures.add_picture,
        add_drawing=pictures.add_drawing,
    )
    corners = shorten(report.identity or report.title), NOTICE, shorten(report.program)
    top_left, top_right, bottom_left = (make_printable(text) for text in corners)
    title = make_printable(report.title)
    return PrintJob(
        html, pictures.pictures, pictures.drawings, paper, title, GENERATOR, (top_left, top_right, bottom_left)
    )


class _Pictures:
    """Collects the pictures and drawings of a page by name; ``content_px``: width of the page between the margins."""

    def __init__(self, content_px: int) -> None:
        self._content_px = content_px
        self.pictures: dict[str, str] = {}
        self.drawings: dict[str, str] = {}

    def add_picture(self, uri: str, columns: int, *, is_small: bool) -> dict[str, object] | None:
        """Add a picture that is printed in one of ``columns`` columns.

        Returns its ``name``, ``width`` and ``height`` in pixels; None if it cannot be read.
        """
        from PIL import Image

        try:
            with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
                width, height = image.size
        except OSError:
            return None
        widest = SMALL_PX if is_small else self._content_px if columns == 1 else 0.9 * self._content_px / columns
        factor = min(1.0, widest / width, MAX_HEIGHT_PX / height)
        name = f"picture:{len(self.pictures)}"
        self.pictures[name] = uri
        return {"name": name, "width": max(1, round(width * factor)), "height": max(1, round(height * factor))}

    def add_drawing(self, svg: Markup) -> str:
        """Add a drawing and return its name."""
        name = f"drawing:{len(self.drawings)}"
        self.drawings[name] = make_printable(str(svg))
        return name


PAGE = (
    SVG
    + """
{% macro show_bar(cell) %}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 130 15">
<rect y="2" width="130" height="11" rx="3" fill="#eceeec"/>
{% if cell.signed %}<rect x="{{ 65 + 65 * [cell.value, 0]|min }}" y="2" width="{{ 65 * cell.value|abs }}" height="11"
fill="{{ '#a85f00' if cell.value < 0 else '#2c628f' }}"/><rect x="64.5" y="2" width="1" height="11" fill="#5c6269"/>
{% else %}{% if cell.interval %}<rect x="{{ 130 * cell.interval[0] }}" y="2" width="{{
130 * (cell.interval[1] - cell.interval[0]) }}" height="11" rx="3" fill="#b9cfe4"/>{% endif %}
<rect x="{{ 130 * cell.value - 1.5 }}" width="3" height="15" fill="#2c628f"/>{% endif %}</svg>{% endmacro %}
{% macro show_cell(cell) %}{% if cell is string %}{{ cell or "–" }}{% else %}{{ cell.text }}
<p class="bar"><img src="{{ add_drawing(show_bar(cell)) }}" width="104" height="12"></p>{% endif %}{% endmacro %}
{% macro show_table(one) %}{% if one.titled %}<h4>{{ one.caption }}</h4>
{% endif %}<table class="data" width="100%" cellspacing="0" cellpadding="0">
{% if one.columns %}<thead><tr>{% for name in one.columns %}<th class="head{{ ' right' if one.numeric and
one.numeric[loop.index0] }}">{{ name }}</th>{% endfor %}</tr></thead>
{% endif %}<tbody>
{% for row in one.rows %}{% set first = loop.first and not one.columns %}
<tr>{% for cell in row %}<td class="{{ 'name' if loop.first and not one.columns else 'cell' }}{{
' right' if one.numeric and one.numeric[loop.index0] }}{{ ' first' if first }}"{{ ' width="34%"'|safe if loop.first and
not one.columns }}>{{ show_cell(cell) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endmacro %}
{% macro show_figure(one, columns) %}{% set found = add_picture(one.picture, columns, is_small=one.small) %}
<p class="picture">{% if found %}<img src="{{ found.name }}" width="{{ found.width }}" height="{{ found.height }}">{%
else %}{{ one.alt }}{% endif %}</p><p class="caption">{{ one.caption }}</p>{% endmacro %}
{% macro show_map(one) %}<p class="picture"><img src="{{ add_drawing(show_body(one)) }}" width="{{ body_px }}"
height="{{ (body_px * one.height / one.width)|round|int }}"></p><p class="caption">{{ one.caption }}</p>{% endmacro %}
{% macro show_figures(figures) %}{% set columns = 3 if figures|selectattr("small")|list|length == figures|length else 2
%}
{% for row in figures|batch(columns) %}<table class="figures" width="100%" cellspacing="0" cellpadding="0"><tr>
{% for one in row %}<td width="{{ 100 // columns }}%">{{ show_map(one) if one.kind == "body_map" else show_figure(one,
columns) }}</td>{% endfor %}
{% for empty in range(columns - row|length) %}<td width="{{ 100 // columns }}%"></td>{% endfor %}</tr></table>
{% endfor %}{% endmacro %}
{% macro show(block, level) %}
{% if block.kind == "text" %}<p class="{{ 'quiet' if block.quiet else 'text' }}">{{ block.text }}</p>
{% elif block.kind == "notice" %}{{ show_box(block.text, "lead" if block.lead else "notice") }}
{% elif block.kind == "table" %}{{ show_table(block) }}
{% elif block.kind == "figure" %}<table class="figures" width="100%" cellspacing="0" cellpadding="0"><tr>
<td>{{ show_figure(block, 1) }}</td></tr></table>
{% elif block.kind == "gallery" %}{{ show_figures(block.figures) }}
{% elif block.kind == "body_map" %}<table class="figures" width="100%" cellspacing="0" cellpadding="0"><tr><td>{{
show_map(block) }}</td></tr></table>
{% elif not block.folded %}<h{{ level }}>{{ block.title }}</h{{ level }}>{{ show_subtitle(block.subtitle) }}
{% for one in block.blocks %}{{ show(one, [level + 1, max_level]|min) }}{% endfor %}
{% endif %}
{% endmacro %}
{# A heading, as titles of tables are: it stays with what follows. #}
{% macro show_subtitle(text) %}{% if text %}<h4 class="subtitle">{{ text }}</h4>{% endif %}{% endmacro %}
{% macro show_box(text, kind) %}<table class="box" width="100%" cellspacing="0" cellpadding="0"><tr><td class="{{ kind
}}">{{ text }}</td></tr></table>
{% endmacro %}
<html><head><style>
/* Qt does not scale the margins of tables, and of headings before them: their cells have paddings. */
body { color: #1c1f23; font-size: 9.5pt; }
h1 { font-size: 18pt; margin: 0 0 2px 0; } h2 { font-size: 13.5pt; margin: 22px 0 6px 0; }
h3 { font-size: 11pt; margin: 13px 0 4px 0; } h4 { font-size: 9.5pt; margin: 9px 0 3px 0; }
.text { margin: 5px 0 8px 0; } .quiet { color: #5c6269; margin: 5px 0 8px 0; }
.subtitle { color: #5c6269; font-weight: normal; margin: 0 0 8px 0; }
.data { margin: 0 0 6px 0; } .figures { margin: 2px 0 4px 0; } .box { margin: 6px 0 12px 0; }
.head { color: #5c6269; font-size: 9pt; text-align: left; vertical-align: bottom; padding: 7px 10px 3px 0;
border-bottom: 2px solid #dfdfda; }
.name, .cell { padding: 2px 10px 2px 0; border-bottom: 1px solid #dfdfda; vertical-align: top; }
.first { padding-top: 4px; } .name { color: #5c6269; }
.right { text-align: right; padding-right: 24px; }
.notice { background-color: #fbf6e3; border-left: 3px solid #d3a400; padding: 7px 12px; }
.lead { background-color: #eef3f8; border-left: 3px solid #2c628f; padding: 7px 12px; }
.research { font-weight: bold; } .bar { margin: 3px 0 1px 0; }
.picture { margin: 6px 0 3px 0; } .caption { color: #5c6269; font-size: 9pt; margin: 0 0 6px 0; }
</style></head><body>
<h1>{{ report.title }}</h1>{{ show_subtitle(report.subtitle) }}
{{ show_box(notice, "notice research") }}
{% for one in report.blocks %}{{ show(one, 2) }}{% endfor %}
</body></html>
"""
)
