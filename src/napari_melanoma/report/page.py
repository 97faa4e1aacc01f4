"""What all pages have in common: one HTML file that needs no other, the style, and pictures that are part of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import write_text
from napari_melanoma.report.tables import html_table

if TYPE_CHECKING:
    from markupsafe import Markup

# A page extends "page" and fills the blocks; what it adds to the style comes last, and so wins.
BASE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f23; background: #f5f5f3; margin: 0; }
main { max-width: {% block width %}62rem{% endblock %}; margin: 0 auto; padding: 2rem 1.5rem; background: #fff; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.lead { border-left: 4px solid #3b6fa0; background: #eef3f8; padding: .5rem .9rem; margin: 1rem 0; }
.notice { border-left: 4px solid #e3b617; background: #fbf6e3; padding: .5rem .9rem; margin: 1rem 0; }
.quiet { color: #5c6269; } img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e4e4e0; }
.number { text-align: right; font-variant-numeric: tabular-nums; } td.number span { white-space: nowrap; }
.group { text-align: center; } .long { min-width: 18rem; } .figure img { min-width: 36rem; }
{% block style %}{% endblock %}
@media print { body { background: #fff; } main { padding: 0; } }
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
    """Fill a template and write it."""
    from jinja2 import DictLoader, Environment

    pages = Environment(autoescape=True, trim_blocks=True, loader=DictLoader({"page": BASE}))
    pages.globals["table"] = _table
    write_text(path, pages.from_string(template).render(**values))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Write a table, which is escaped already."""
    from markupsafe import Markup

    return Markup(html_table(columns, rows))


def png_uri(path: Path) -> str:
    """Encode a PNG as a data URI."""
    return data_uri(path.read_bytes(), "image/png")


def data_uri(content: bytes, media: str) -> str:
    """Encode a picture as a data URI."""
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"
