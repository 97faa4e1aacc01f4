"""The page of a comparison: one HTML file that needs no other, with the figures, the advice and the pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import write_text

if TYPE_CHECKING:
    from napari_melanoma.workflows.comparison import Comparison

PAGE_NAME = "comparison.html"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ found.old.name }} and {{ found.new.name }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f23; background: #f5f5f3; margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.5rem; background: #fff; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.advice { border-left: 4px solid #3b6fa0; background: #eef3f8; padding: .5rem .9rem; margin: 1rem 0; }
.quiet { color: #5c6269; font-size: .9rem; } img { max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: #5c6269; font-size: .85rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e4e4e0; }
td { font-variant-numeric: tabular-nums; }
.old { color: #a8327c; } .new { color: #8a7400; } .reference { color: #12788a; }
</style>
</head>
<body>
<main>
<h1>{{ found.old.name }} and {{ found.new.name }}</h1>
<p class="quiet">{{ found.images }} images of {{ found.patients }} patients or lesions; research use only</p>
<p class="advice"><b>{{ found.advice | capitalize }}.</b> {{ found.reason }}</p>
<table>
<thead><tr><th>Images</th><th>n</th><th>Metric</th><th>Old</th><th>New</th>
<th>Difference (95 % interval)</th></tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
<p><img alt="Each image before and after, and the mean difference of each data set" src="{{ figure }}"></p>
{% for title, pictures in sides %}{% if pictures %}<h2>{{ title }}</h2>
<p class="quiet">Contours: <b class="old">old purple</b>, <b class="new">new yellow</b>,
<b class="reference">reference blue</b>.</p>
<div class="pictures">
{% for picture in pictures %}<figure><img alt="Contours of both models on {{ picture.name }}" src="{{ picture.data }}">
<figcaption>{{ picture.name }}<br>JA {{ picture.change }}</figcaption></figure>
{% endfor %}</div>
{% endif %}{% endfor %}
{% if found.failed %}<h2>Not compared</h2>
<ul>{% for name, error in found.failed %}<li>{{ name }}: {{ error }}</li>{% endfor %}</ul>{% endif %}
<p class="quiet">Old: weights {{ found.old.fingerprint[:12] }}, threshold {{ found.old.threshold }}. New: weights
{{ found.new.fingerprint[:12] }}, threshold {{ found.new.threshold }}. {{ found.facts.interval }}.</p>
</main>
</body>
</html>
"""


def write_page(found: Comparison, folder: Path) -> None:
    """Write ``comparison.html`` beside the other files of a comparison.

    Parameters
    ----------
    found : Comparison
        Its thumbnails are written already.
    folder : pathlib.Path
        Has ``changes.png``.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from jinja2 import Environment

    sides = [("Better", _pictures(found.better)), ("Worse", _pictures(found.worse))]
    page = Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    figure = _data(folder / "changes.png")
    write_text(folder / PAGE_NAME, page.render(found=found, rows=table_rows(found), sides=sides, figure=figure))


def table_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Give the figures of a comparison as a table of words.

    Parameters
    ----------
    found : Comparison
        The comparison.

    Returns
    -------
    list of tuple of str
        Images, n, metric, old, new, difference; all images first, then each data set where there are several.
    """
    parts = [("all", found.images, found.old.metrics, found.new.metrics, found.difference)]
    if len(found.domains) > 1:
        parts += [(d.name, d.difference["JA"].count, d.old, d.new, d.difference) for d in found.domains]
    rows: list[tuple[str, ...]] = []
    for name, count, old, new, difference in parts:
        for metric, change in difference.items():
            interval = f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
            rows.append((name, str(count), metric, f"{old[metric].mean:.3f}", f"{new[metric].mean:.3f}", interval))
    return rows


def _pictures(images: tuple) -> list[dict[str, str]]:
    """Name, change and data of each picture."""
    return [
        {
            "name": item.image_id,
            "change": f"{item.old:.2f} to {item.new:.2f} ({item.change:+.2f})",
            "data": _data(item.thumbnail),
        }
        for item in images
    ]


def _data(path: Path) -> str:
    """Encode a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
