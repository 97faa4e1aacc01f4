"""The HTML page of a reproduced paper: data and methods, tables, figures, and next steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.figures.page import png_uri, write_html

if TYPE_CHECKING:
    from napari_melanoma.figures.page import ReportTable

PATH_NOTE = "Paths are relative to the folder of this page; data sets are listed by name only."
PAGE = """{% extends "page" %}
{% block title %}{{ title }}{% endblock %}
{% block width %}80rem{% endblock %}
{% block style %}
h1 { font-size: 1.5rem; } .quiet, li { font-size: .9rem; } table { width: auto; font-size: .8rem; }
td, th { vertical-align: top; padding-right: .6rem; }
td:first-child, tr:first-child th:first-child { position: sticky; left: 0; background: #fff; min-width: 7rem; }
td:last-child:not(.number) { min-width: 13rem; } code { overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
{% endblock %}
{% block content %}
<h1>{{ title }}</h1>
{% for line in about %}<p class="quiet">{{ line }}</p>
{% endfor %}
{% for table in tables %}{{ table | safe }}
{% endfor %}
{% for picture, data in pictures %}<h2>{{ picture.title }}</h2>
<div class="wide figure"><img alt="{{ picture.title }}" src="{{ data }}"></div>
{% if picture.about %}<p class="quiet">{{ picture.about }}</p>
{% endif %}
{% endfor %}
{% if steps %}<h2>Next steps</h2>
<p class="quiet">{{ seen }}</p>
<ul>
{% for step in steps %}<li>{{ step.said }}: <code>{{ step.command }}</code></li>
{% endfor %}
</ul>
{% endif %}
{% endblock %}
"""


@dataclass(frozen=True)
class ReportPicture:
    """A PNG with its title and a note."""

    title: str
    path: Path
    about: str = ""


@dataclass(frozen=True)
class NextStep:
    """A recommended next step and its command."""

    said: str
    command: str


@dataclass(frozen=True)
class ReproductionPage:
    """Content of the page, from top to bottom."""

    title: str
    about: Sequence[str]
    tables: Sequence[ReportTable]
    pictures: Sequence[ReportPicture]
    steps: Sequence[NextStep]


def write_page(page: ReproductionPage, path: Path) -> None:
    """Write a self-contained HTML file."""
    values: dict[str, object] = {"title": page.title, "about": page.about, "steps": page.steps, "seen": PATH_NOTE}
    values["tables"] = [table.to_html() for table in page.tables]
    values["pictures"] = [(picture, png_uri(picture.path)) for picture in page.pictures]
    write_html(path, PAGE, **values)
