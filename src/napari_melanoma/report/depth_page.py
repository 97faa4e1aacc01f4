"""The page of a slide: the fields of a synoptic report, the line on the slide, the risk, readers, and the record."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.report.page import data_uri, write_html
from napari_melanoma.report.risk_part import BLOCK, STYLE, RiskPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAGE = (
    """{% extends "page" %}
{% block title %}{{ "Depth and risk" if risk else "Depth" }}: {{ about.name }}{% endblock %}
{% block style %}
figure { margin: 1rem 0; max-width: 38rem; } figure img { border-radius: 4px; display: block; }
figcaption { color: #5c6269; font-size: .9rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
{{ risk_style }}
{% endblock %}
{% block content %}
<h1>{{ about.name }}</h1>
<p class="quiet">{{ about.facts }}</p>
<p class="notice">{{ about.notice }}</p>
<table>
{% for name, value in about.fields.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% for one in about.warnings %}<p class="notice">{{ one }}</p>
{% endfor %}
{% if picture %}<figure><img alt="The line on the slide" src="{{ picture }}">
<figcaption>From the surface to the deepest cell, as it was measured.</figcaption></figure>{% endif %}
"""
    + BLOCK
    + """{% if about.readers|length > 1 %}<h2>Readers</h2>
{{ table(about.columns, about.readers) }}{% endif %}
<h2>What was changed</h2>
{% if about.record %}{{ table(("when", "who", "what", "before", "after"), about.record) }}
{% else %}<p>Nothing.</p>{% endif %}
<p class="quiet">{{ about.made }}</p>
{% endblock %}
"""
)
NOTICE = "Research use only; not for diagnosis."


@dataclass(frozen=True)
class DepthPage:
    """What the page says, in words."""

    name: str
    facts: str
    fields: Mapping[str, str]
    warnings: tuple[str, ...]
    columns: tuple[str, ...]
    readers: Sequence[Sequence[str]]
    record: Sequence[Sequence[str]]
    made: str
    notice: str = NOTICE


def write_depth_page(
    path: Path, about: DepthPage, picture: NDArray[np.uint8] | None, risk: RiskPart | None = None
) -> None:
    """Write the page.

    ``picture``: uint8 (row, column, channel=3), the slide around the line.
    """
    shown = None if picture is None else _jpeg(picture)
    write_html(path, PAGE, about=about, picture=shown, risk=risk, risk_style=STYLE)


def _jpeg(picture: NDArray[np.uint8]) -> str:
    """Encode a picture as a data URI, pixels alone."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")
