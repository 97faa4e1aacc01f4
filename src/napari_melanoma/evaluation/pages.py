"""HTML pages of evaluations and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.figures.page import png_uri, write_html

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Heading, column names, rows of cells."""
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
    """Content of an evaluation page: heading, facts in one line, main result, tables, figures, failures, notes.

    ``warnings`` are printed above the results; ``next`` recommends the next step.
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


def write_evaluation_page(page: Page, path: Path) -> None:
    """Write a page with its figures embedded."""
    pictures = [(title, png_uri(picture)) for title, picture in page.figures.items()]
    write_html(path, PAGE, page=page, pictures=pictures)


COMPARISON_PAGE = """{% extends "page" %}
{% block title %}{{ page.title }}{% endblock %}
{% block style %}
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
.quiet { font-size: .9rem; }
.old { color: #a8327c; } .new { color: #8a7400; } .reference { color: #12788a; }
@media screen and (prefers-color-scheme: dark) {
.old { color: #e58cc4; } .new { color: #d8c14a; } .reference { color: #63c3d6; } }
{% endblock %}
{% block content %}
<h1>{{ page.title }}</h1>
<p class="quiet">{{ page.facts }}; research use only</p>
{% for warning in page.warnings %}<p class="notice">{{ warning }}</p>
{% endfor %}
<p class="lead"><b>{{ advice }}</b> {{ page.reason }}</p>
<p>{{ next }}</p>
{{ table(columns, page.rows) }}
<p class="wide figure">
<img alt="Each image before and after, and the mean difference of each data set" src="{{ figure }}"></p>
{% for title, pictures in sides %}{% if pictures %}<h2>{{ title }}</h2>
<p class="quiet">Contours: <b class="old">old purple</b>, <b class="new">new yellow</b>,
<b class="reference">reference blue</b>.</p>
<div class="pictures">
{% for picture in pictures %}<figure><img alt="Contours of both models on {{ picture.name }}" src="{{ picture.data }}">
<figcaption>{{ picture.name }}<br>Jaccard (IoU) {{ picture.change }}</figcaption></figure>
{% endfor %}</div>
{% endif %}{% endfor %}
{% if page.failed %}<h2>Not compared</h2>
<ul>{% for name, error in page.failed %}<li>{{ name }}: {{ error }}</li>{% endfor %}</ul>{% endif %}
<p class="quiet">{{ page.note }}</p>
{% endblock %}
"""
ADVICE = {
    "activate": "Use the new model.",
    "keep": "Keep the old model.",
    "inconclusive": "Inconclusive.",
}
ACTIVATE = "run napari-melanoma models import RUN or activate it in the Train dock"
NEXT_STEPS = {
    "activate": "Review the pictures first, especially the worse ones. To use the new model, "
    f"{ACTIVATE}; the old model stays available.",
    "keep": "The pictures under Worse show where the new model fails; corrected masks of such images may improve it. "
    f"To use the new model anyway, {ACTIVATE}.",
    "inconclusive": "A verdict needs more test images; the pictures show what differs. "
    f"To use the new model anyway, {ACTIVATE}.",
}
COLUMNS = ("Images", "n", "Metric", "Old", "New", "Difference (95 % interval)")


@dataclass(frozen=True)
class PicturedChange:
    """An image that changed: its name, its Jaccard index with the old and the new model, and the PNG with contours."""

    name: str
    old: float
    new: float
    picture: Path


@dataclass(frozen=True)
class ComparisonPage:
    """Content of a comparison page: heading, facts in one line, warnings, advice with reason, metrics, pictures, notes.

    ``advice`` is ``activate``, ``keep`` or ``inconclusive``; the title names the old model first.
    """

    title: str
    facts: str
    advice: str
    reason: str
    rows: Sequence[Sequence[str]]
    better: Sequence[PicturedChange]
    worse: Sequence[PicturedChange]
    note: str
    failed: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


def write_comparison_page(page: ComparisonPage, figure: Path, path: Path) -> None:
    """Write the page with its pictures embedded."""
    sides = [("Better", _pictures(page.better)), ("Worse", _pictures(page.worse))]
    words = {"advice": ADVICE[page.advice], "next": NEXT_STEPS[page.advice], "columns": COLUMNS}
    write_html(path, COMPARISON_PAGE, page=page, sides=sides, figure=png_uri(figure), **words)


def _pictures(images: Sequence[PicturedChange]) -> list[dict[str, str]]:
    """Return ``name``, ``change`` and ``data``, the picture as a data URI, of each image for the template."""
    return [
        {
            "name": item.name,
            "change": f"{item.old:.2f} to {item.new:.2f} ({item.new - item.old:+.2f})",
            "data": png_uri(item.picture),
        }
        for item in images
    ]
