"""The HTML page of a slide."""

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


SIDE_PX, MAX_PATCHES = 320, 3  # of a picture; patches that are shown, at most
TITLES = {"attention": "attention", "grad_cam": "Grad-CAM"}
NO_SLIDE = "The patches are not shown: the slide cannot be read any more."


def read_risk_part(folder: Path, slide: Path | None) -> RiskPart | None:
    """Say for a page what was told of a slide's risk.

    None where nothing was told, or what was cannot be read.
    """
    kept = read_risk(folder)
    if not kept.prediction:
        return None
    pictures, note = _create_pictures(kept, slide)
    return create_risk_part(kept.prediction, _list_changes(kept), pictures, note)


def _list_changes(kept: StoredRisk) -> tuple[str, ...]:
    """What is another now than when the answer was given."""
    used = kept.prediction["depth"]
    before = None if used.get("source") == "predicted" else used.get("mm")
    if before == kept.depth.mm:
        return ()
    now = "not known" if kept.depth.mm is None else f"{kept.depth.mm:.2f} mm"
    return (f"this answer is of before: the depth has been changed since, and is {now} now. Estimate the risk again",)


def _create_pictures(kept: StoredRisk, path: Path | None) -> tuple[list[tuple[str, str]], str]:
    """The patches, each as it is and under the maps that were asked for; and what to say of them."""
    from napari_melanoma.slides.reading.opening import open_slide

    boxes = patch_boxes(kept.prediction)[:MAX_PATCHES]
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
        for one in _create_patch_pictures(kept, number, *pair)
    ]
    return found, MAPS if kept.maps else NO_MAPS


def _read_patch(slide: Slide, box: Box) -> NDArray[np.uint8]:
    """A patch as it is looked at, uint8 (row, column, channel=3)."""
    from napari_melanoma.core.geometry import Box as Part
    from napari_melanoma.slides.reading.slide import resize_rgb

    index = slide.best_level(min(box.height, box.width) / SIDE_PX)
    down = slide.info.levels[index].downsample
    part = Part(*(round(value / down) for value in (box.top, box.left, box.height, box.width)))
    return resize_rgb(slide.read_region(index, part).astype("uint8", copy=False), SIDE_PX, SIDE_PX)


def _create_patch_pictures(
    kept: StoredRisk, number: int, rgb: NDArray[np.uint8], box: Box
) -> Sequence[tuple[str, str]]:
    """A patch and its maps with their captions."""
    one = kept.prediction["patches"][number]
    what = f"{str(one.get('what', 'patch')).capitalize()}: {one['probability']:.2f}"
    maps = [
        (f"{what}, {TITLES[each.method]}", draw_heatmap(rgb, _crop_map(each, box, rgb.shape))) for each in kept.maps
    ]
    return [(caption, _patch_jpeg(picture)) for caption, picture in ((what, rgb), *maps)]


def _crop_map(found: RiskMap, box: Box, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map where a patch lies, of a picture's size, float32 in [0, 1]."""
    from PIL import Image

    place = found.placement
    top, left = round((box.top - place.top) / place.step_y), round((box.left - place.left) / place.step_x)
    rows, columns = max(1, round(box.height / place.step_y)), max(1, round(box.width / place.step_x))
    cells = np.nan_to_num(found.values[top : top + rows, left : left + columns]).astype(np.float32)
    size = (shape[1], shape[0])
    grown = np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR), np.float32)
    return np.clip(grown / max(float(grown.max()), 1e-6), 0, 1)


def _patch_jpeg(rgb: NDArray[np.uint8]) -> str:
    """A picture as a data URI, pixels alone."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")
