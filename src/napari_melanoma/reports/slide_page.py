"""The HTML report of a slide."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.figures.page import data_uri, write_html
from napari_melanoma.imaging.colormaps import draw_heatmap
from napari_melanoma.reports.risk_section import BLOCK, MAPS, NO_MAPS, STYLE, RiskPart, create_risk_part
from napari_melanoma.risk.slide_files import patch_boxes, read_risk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.risk.slide_files import RiskMap, StoredRisk
    from napari_melanoma.slides.reading.slide import Slide

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
{% if picture %}<figure><img alt="Measurement line on the slide" src="{{ picture }}">
<figcaption>Measurement line from the surface to the deepest cell.</figcaption></figure>{% endif %}
"""
    + BLOCK
    + """{% if about.readers|length > 1 %}<h2>Readers</h2>
{{ table(about.columns, about.readers) }}{% endif %}
<h2>Changes</h2>
{% if about.record %}{{ table(("time", "reader", "field", "before", "after"), about.record) }}
{% else %}<p>None.</p>{% endif %}
<p class="quiet">{{ about.made }}</p>
{% endblock %}
"""
)
NOTICE = "Research use only; not for diagnosis."
SIDE_PX, MAX_PATCHES = 320, 3  # side of a picture; maximum number of patches
TITLES = {"attention": "attention", "grad_cam": "Grad-CAM"}
NO_SLIDE = "Patches are not shown: the slide can no longer be read."


@dataclass(frozen=True)
class DepthPage:
    """Content of the page."""

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
    """Write the page; ``picture``: uint8 (row, column, channel=3), the slide around the measurement line."""
    shown = None if picture is None else _jpeg(picture)
    write_html(path, PAGE, about=about, picture=shown, risk=risk, risk_style=STYLE)


def _jpeg(picture: NDArray[np.uint8]) -> str:
    """Encode a picture as a data URI without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")


def read_risk_part(folder: Path, slide: Path | None) -> RiskPart | None:
    """Read the risk section of a slide; None if there is no readable prediction."""
    stored = read_risk(folder)
    if not stored.prediction:
        return None
    pictures, note = _create_pictures(stored, slide)
    return create_risk_part(stored.prediction, _list_changes(stored), pictures, note)


def _list_changes(stored: StoredRisk) -> tuple[str, ...]:
    """List changes of the inputs since the prediction."""
    used = stored.prediction["depth"]
    before = None if used.get("source") == "predicted" else used.get("mm")
    if before == stored.depth.mm:
        return ()
    now = "unknown" if stored.depth.mm is None else f"{stored.depth.mm:.2f} mm"
    return (f"outdated: the thickness has changed since this prediction and is now {now}. Estimate the risk again",)


def _create_pictures(stored: StoredRisk, path: Path | None) -> tuple[list[tuple[str, str]], str]:
    """Draw the patches, without and with the maps; and the note on them."""
    from napari_melanoma.slides.reading.opening import open_slide

    boxes = patch_boxes(stored.prediction)[:MAX_PATCHES]
    if path is None or not boxes:
        return [], NO_SLIDE if boxes else ""
    try:
        with open_slide(path) as slide:
            patches = [_read_patch(slide, box) for box in boxes]
    except (MelanomaError, OSError):
        return [], NO_SLIDE
    found = [
        one
        for number, pair in enumerate(zip(patches, boxes, strict=True))
        for one in _create_patch_pictures(stored, number, *pair)
    ]
    return found, MAPS if stored.maps else NO_MAPS


def _read_patch(slide: Slide, box: Box) -> NDArray[np.uint8]:
    """Read a patch, uint8 (row, column, channel=3)."""
    from napari_melanoma.core.geometry import Box as Part
    from napari_melanoma.slides.reading.slide import resize_rgb

    index = slide.best_level(min(box.height, box.width) / SIDE_PX)
    down = slide.info.levels[index].downsample
    part = Part(*(round(value / down) for value in (box.top, box.left, box.height, box.width)))
    return resize_rgb(slide.read_region(index, part).astype("uint8", copy=False), SIDE_PX, SIDE_PX)


def _create_patch_pictures(
    stored: StoredRisk, number: int, rgb: NDArray[np.uint8], box: Box
) -> Sequence[tuple[str, str]]:
    """Draw a patch and its maps, with captions."""
    one = stored.prediction["patches"][number]
    title = f"{str(one.get('what', 'patch')).capitalize()}: {one['probability']:.2f}"
    maps = [
        (f"{title}, {TITLES[each.method]}", draw_heatmap(rgb, _crop_map(each, box, rgb.shape))) for each in stored.maps
    ]
    return [(caption, _jpeg(picture)) for caption, picture in ((title, rgb), *maps)]


def _crop_map(found: RiskMap, box: Box, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Crop a map to a patch and resize it to the picture, float32 in [0, 1]."""
    from PIL import Image

    placement = found.placement
    top, left = (
        round((box.top - placement.top) / placement.step_y),
        round((box.left - placement.left) / placement.step_x),
    )
    rows, columns = max(1, round(box.height / placement.step_y)), max(1, round(box.width / placement.step_x))
    cells = np.nan_to_num(found.values[top : top + rows, left : left + columns]).astype(np.float32)
    size = (shape[1], shape[0])
    grown = np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR), np.float32)
    return np.clip(grown / max(float(grown.max()), 1e-6), 0, 1)
