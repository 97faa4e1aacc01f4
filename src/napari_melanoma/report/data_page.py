"""The page of a data set report: one HTML file that needs no other; numbers and figures, no picture of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.report.page import png_uri, write_html
from napari_melanoma.report.tables import Table

PAGE = """{% extends "page" %}
{% block title %}{{ title }}{% endblock %}
{% block width %}76rem{% endblock %}
{% block style %}
.quiet, table { font-size: .9rem; } td, th { padding: .25rem .8rem .25rem 0; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin: .5rem 0; } summary { cursor: pointer; color: #3b6fa0; }
nav a { margin-right: 1rem; }
{% endblock %}
{% block content %}
<h1>{{ title }}</h1>
<p class="quiet">{{ facts }}; research use only</p>
{% for warning in warnings %}<p class="notice">{{ warning }}</p>
{% endfor %}
<p class="lead">{{ lead }}</p>
<nav class="quiet">{% for part in parts %}<a href="#part{{ loop.index }}">{{ part.title }}</a>{% endfor %}</nav>
{% for part in parts %}<h2 id="part{{ loop.index }}">{{ part.title }}</h2>
{% for line in part.lines %}<p>{{ line }}</p>
{% endfor %}
{% if part.picture %}<p><img alt="{{ part.title }}" src="{{ part.picture }}"></p>
{% endif %}
{% for table in part.tables %}{% if part.picture %}<details><summary>{{ table.title }}</summary>
{% endif %}<div class="wide"><table>
<thead><tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell or "–" }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% for note in table.notes %}<p class="quiet">{{ note }}</p>
{% endfor %}{% if part.picture %}</details>
{% endif %}{% endfor %}{% endfor %}
{% for note in notes %}<p class="quiet">{{ note }}</p>
{% endfor %}
{% endblock %}
"""


@dataclass(frozen=True)
class Part:
    """One part of the page: what it says, its figure, and tables, which are folded away where there is a figure."""

    title: str
    lines: tuple[str, ...] = ()
    figure: Path | None = None
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class DataPage:
    """What the page says: title, facts in one line, what to beware of, what to know first, its parts, small print."""

    title: str
    facts: str
    lead: str
    parts: Sequence[Part]
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def write_data_page(page: DataPage, path: Path) -> None:
    """Write the page with its figures inside."""
    parts = [{**vars(part), "picture": part.figure and png_uri(part.figure)} for part in page.parts]
    write_html(path, PAGE, **{**vars(page), "parts": parts})
