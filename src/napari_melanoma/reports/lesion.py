"""The HTML report of one analyzed photograph: a single file that names no persons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.validity import Validity
from napari_melanoma.figures.page import data_uri, write_html

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.imaging.masks import Roi
    from napari_melanoma.io.photographs import Photograph

PICTURE_PX = 900
PAGE = """{% extends "page" %}
{% block title %}Lesion report: {{ about.image }}{% endblock %}
{% block style %}
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 18rem; } figure img { width: 100%; border-radius: 4px; display: block; }
figure.region { flex: 0 0 14rem; } figcaption { color: #5c6269; font-size: .9rem; }
td, th { vertical-align: top; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
{% endblock %}
{% block content %}
<h1>{{ about.image }}</h1>
<p class="quiet">{{ facts }}</p>
{% if about.damage %}<p class="notice"><strong>Damaged photograph:</strong> {{ about.damage }}.
The result may be wrong.</p>{% endif %}
<p class="notice">{{ about.notice }}</p>
{% for one in validity %}<p class="notice">{{ one }}</p>
{% endfor %}<div class="pictures">
<figure><img alt="The photograph" src="{{ pictures.photograph }}"><figcaption>Photograph</figcaption></figure>
<figure><img alt="The photograph with the border of the lesion in yellow" src="{{ pictures.overlay }}">
<figcaption>Border{{ ", corrected by hand" if about.corrected_by_hand }}</figcaption></figure>
{% if pictures.region %}<figure class="region"><img alt="The region of interest" src="{{ pictures.region }}">
<figcaption>Region of interest</figcaption></figure>{% endif %}
</div>
<h2>Measurements</h2>
{% if rows %}
<table>
<thead><tr><th>Measurement</th><th>Value</th><th>Definition</th></tr></thead>
<tbody>
{% for row in rows %}<tr><td>{{ row.label }}</td><td class="number">{{ row.value }}</td>
<td class="quiet">{{ row.explanation }}</td></tr>
{% endfor %}</tbody>
</table>
{% else %}<p>{{ empty }}</p>{% endif %}
<h2>Provenance</h2>
<table>
{% for name, value in origin.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% endblock %}
"""


def write_lesion_report(
    path: Path, photograph: Photograph, about: dict[str, Any], overlay: NDArray[np.uint8], roi: Roi | None
) -> Path:
    """Write the report of one photograph.

    ``overlay``: uint8 (row, column, channel=3), the photograph with the border.
    """
    pictures = {
        "photograph": _picture(photograph.rgb),
        "overlay": _picture(overlay),
        "region": None if roi is None else _picture(roi.image),
    }
    validity = Validity.from_json(about.get("validity")) or Validity()
    values = {
        "about": about,
        "facts": _facts(about),
        "pictures": pictures,
        "rows": _rows(about["measurements"]),
        "origin": _origin(about),
        "empty": "No lesion was found." if validity.valid else "The model segmented no lesion.",
        "validity": [f"{one}." for one in (validity.headline(""),) if one] + list(validity.other_reasons),
    }
    write_html(path, PAGE, **values)
    return path


def _rows(values: dict[str, float]) -> list[dict[str, str]]:
    """Measurements in their order, with units."""
    from napari_melanoma.imaging.measurements import MEASUREMENTS

    return [
        {"label": item.label, "value": f"{_number(values[item.name])} {item.unit}", "explanation": item.explanation}
        for item in MEASUREMENTS
        if item.name in values
    ]


def _number(value: float) -> str:
    """Format a number with four digits, all digits before the decimal point, and without powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _facts(about: dict[str, Any]) -> str:
    """Size, modality and scale in one line."""
    rows, columns = about["image_shape"][:2]
    size = about["pixel_size_um"]
    scale = f"{size['x']:.3g} µm per pixel ({size['source']})" if size else "scale unknown"
    return ", ".join(filter(None, (f"{columns} x {rows} pixels", about["modality"], scale)))


def _origin(about: dict[str, Any]) -> dict[str, str]:
    """Model, options and software as labeled values."""
    model, made = about["model"], about["provenance"]
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    return {
        "Model": f"{model['name']} on {model['device']}, weights {model['fingerprint'][:16]}",
        "Threshold": f"{about['threshold']:.2f}" + (" (mask corrected by hand)" if about["corrected_by_hand"] else ""),
        "Photograph": f"SHA-256 of the pixels {about['image_sha256'][:16]}",
        "Program": f"{made['program']} {made['version']}, Python {made['python']} on {made['platform']}",
        "Packages": packages,
        "Created": str(made["created"]),
    }


def _picture(rgb: NDArray[np.uint8]) -> str:
    """Encode an image of at most ``PICTURE_PX`` pixels a side as a data URI without metadata."""
    import io

    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")
