"""The page of an evaluation or of a comparison of models: one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.report.page import png_uri, write_html

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Heading, names of the columns, rows of words."""

PAGE = """{% extends "page" %}
{% block title %}{{ page.title }}{% endblock %}
{% block width %}70rem{% endblock %}
{% block style %}
.quiet, table { font-size: .9rem; } td, th { padding: .25rem .8rem .25rem 0; }
{% endblock %}
{% block content %}
<h1>{{ page.title }}</h1>
<p class="quiet">{{ page.facts }}; research use only</p>
{% for warning in page.warnings %}<p class="notice">{{ warning }}</p>
{% endfor %}
<p class="lead">{{ page.lead }}</p>
{% if page.next %}<p>{{ page.next }}</p>
{% endif %}
{% for heading, columns, rows in page.tables %}{% if rows %}<h2>{{ heading }}</h2>
{{ table(columns, rows) }}
{% endif %}{% endfor %}
{% for title, picture in pictures %}<h2>{{ title }}</h2>
<p class="wide figure"><img alt="{{ title }}" src="{{ picture }}"></p>
{% endfor %}
{% if page.failed %}<h2>Not measured</h2>
<ul>{% for name, error in page.failed %}<li>{{ name }}: {{ error }}</li>{% endfor %}</ul>{% endif %}
{% for note in page.notes %}<p class="quiet">{{ note }}</p>
{% endfor %}
{% endblock %}
"""


@dataclass(frozen=True)
class Page:
    """What a page says: heading, facts in one line, what to know first, tables, figures, what failed, small print.

    ``warnings`` are what a reader should beware of, and stand above all that was found; ``next`` says what a reader
    would do with it.
    """

    title: str
    facts: str
    lead: str
    tables: Sequence[Table]
    figures: Mapping[str, Path] = field(default_factory=dict)
    failed: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    next: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write a page with its figures inside."""
    pictures = [(title, png_uri(picture)) for title, picture in page.figures.items()]
    write_html(path, PAGE, page=page, pictures=pictures)
