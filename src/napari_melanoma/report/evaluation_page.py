"""The page of an evaluation or of a comparison of models: one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.core.files import write_text

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Heading, names of the columns, rows of words."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f23; background: #f5f5f3; margin: 0; }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1.5rem; background: #fff; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.lead { border-left: 4px solid #3b6fa0; background: #eef3f8; padding: .5rem .9rem; margin: 1rem 0; }
.quiet { color: #5c6269; font-size: .9rem; } img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; } td, th { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e4e4e0; }
td { font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } main { padding: 0; } }
</style>
</head>
<body>
<main>
<h1>{{ page.title }}</h1>
<p class="quiet">{{ page.facts }}; research use only</p>
<p class="lead">{{ page.lead }}</p>
{% for heading, columns, rows in page.tables %}{% if rows %}<h2>{{ heading }}</h2>
<div class="wide"><table>
<thead><tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endif %}{% endfor %}
{% for title, picture in pictures %}<h2>{{ title }}</h2>
<p><img alt="{{ title }}" src="{{ picture }}"></p>
{% endfor %}
{% if page.failed %}<h2>Not measured</h2>
<ul>{% for name, error in page.failed %}<li>{{ name }}: {{ error }}</li>{% endfor %}</ul>{% endif %}
{% for note in page.notes %}<p class="quiet">{{ note }}</p>
{% endfor %}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Page:
    """What a page says: heading, facts in one line, what to know first, tables, figures, what failed, small print."""

    title: str
    facts: str
    lead: str
    tables: Sequence[Table]
    figures: Mapping[str, Path] = field(default_factory=dict)
    failed: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def write_page(page: Page, path: Path) -> None:
    """Write a page with its figures inside.

    Parameters
    ----------
    page : Page
        Its figures are PNG files that are written already.
    path : pathlib.Path
        The HTML file, replaced where it exists.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from jinja2 import Environment

    pictures = [
        (title, "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii"))
        for title, picture in page.figures.items()
    ]
    template = Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    write_text(path, template.render(page=page, pictures=pictures))
