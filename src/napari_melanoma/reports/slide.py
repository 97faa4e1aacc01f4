"""The HTML report of a slide, and the transfer of depth readings to a case."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.case.model import set_lesion
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth import category
from napari_melanoma.depth.readings import DEPTH_FILE, DepthReading, SlideDepthProposals, automatic_reading, read_depth
from napari_melanoma.figures.page import data_uri, write_html
from napari_melanoma.imaging.masks import draw_heatmap
from napari_melanoma.io.results import RESULT, RISK_FILE
from napari_melanoma.reports.risk_section import BLOCK, MAPS, NO_MAPS, STYLE, RiskPart, create_risk_part, to_sentence
from napari_melanoma.risk.slide_files import patch_boxes, read_risk
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.result_folder import recorded_slide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.case.model import Case, CaseImage
    from napari_melanoma.depth.readings import Line, ReadingChange, SlideDepthReadings
    from napari_melanoma.risk.slide_files import RiskMap, StoredRisk
    from napari_melanoma.slides.reading.slide import Slide


SIDE_PX, MARGIN, LINE_PX = 900, 0.35, 4  # of the picture; share of the line's length around it; width of the line
LINE_COLOR = (11, 60, 255)
READINGS = "depth"  # folder of a case
NO_READER = "No reader has reviewed this slide: the values are those of the analysis."


def read_depth_picture(slide: Slide, line: Line) -> NDArray[np.uint8] | None:
    """Read the slide around a line, with the line on it.

    ``line``: both ends, in pixels of the finest level. Returns uint8 (row, column, channel=3), at most 900 pixels a
    side; None for fluorescence.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    if slide.info.kind != "brightfield":
        return None
    ends = np.array(line)
    side = max(2.0 * MARGIN, 1.0) * float(np.hypot(*(ends[1] - ends[0]))) * (1 + MARGIN)
    middle, full = ends.mean(axis=0), slide.info.levels[0]
    level = next((n for n, one in enumerate(slide.info.levels) if side * one.height / full.height <= SIDE_PX), -1)
    level %= len(slide.info.levels)
    one = slide.info.levels[level]
    scale = np.array((one.height / full.height, one.width / full.width))
    top, left = np.floor((middle - side / 2) * scale).astype(int)
    height, width = np.maximum(1, np.ceil(side * scale).astype(int))
    pixels = slide.read_region(level, Box(int(top), int(left), int(height), int(width)))
    picture = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
    drawn = [tuple(float(value) for value in (end * scale - (top, left))[::-1]) for end in ends]
    ImageDraw.Draw(picture).line(drawn, fill=LINE_COLOR, width=LINE_PX)
    return np.asarray(picture)


def write_depth_report(
    path: Path,
    info: SlideInfo,
    depth: SlideDepthReadings,
    reading: DepthReading,
    base: DepthReading,
    folder: Path | None = None,
) -> Path:
    """Write the reading of a slide, and its risk if predicted, as an HTML page."""
    risk = None if folder is None else read_risk_part(folder, info.path)
    if not reading.when and risk is None:
        raise InputError("nothing is measured yet: draw a line, or accept the model's.")
    validity = read_proposals(folder).validity if folder is not None else Validity()
    if not validity.valid:  # unconfirmed predictions are left out
        base, reading = DepthReading(), reading if reading.when else DepthReading()
    made, size = collect_provenance(), info.pixel_size
    scale = "no scale" if size is None else f"{size.y_um:.4g} x {size.x_um:.4g} µm per pixel ({size.source})"
    about = DepthPage(
        info.name,
        ", ".join(part for part in (scale, category.describe_origin(reading) if reading.when else "") if part),
        format_report_fields(reading, validity),
        (*category.reading_warnings(reading, size), *_list_warnings(reading, folder)),
        category.READER_COLUMNS,
        category.reader_rows(depth, reading.reader, base),
        [_format_record_row(one) for one in reading.history],
        f"{made['program']} {made['version']}, {category.format_time(str(made['created'])) or made['created']}",
    )
    write_depth_page(path, about, _read_picture_if_available(info, reading.line), risk)
    return path


def _list_warnings(reading: DepthReading, folder: Path | None) -> tuple[str, ...]:
    """List the warnings on values that no reader has confirmed."""
    if reading.when and reading.method != "automatic":
        return ()
    found = SlideDepthProposals() if folder is None else read_proposals(folder)
    if not found.validity.valid:
        origin = "The line was predicted by a model. " if reading.when else ""
        warnings = [f"{origin}{found.validity.headline('')}.", *found.validity.other_reasons]
    else:
        notes = (*found.validity.cautions, *found.notes)
        warnings = [to_sentence(f"analysis: {note}") for note in dict.fromkeys(notes)]
    return tuple(warnings) if reading.when else (NO_READER, *warnings)


def format_report_fields(reading: DepthReading, validity: Validity | None = None) -> dict[str, str]:
    """Return the fields of a synoptic report as text; a dash if unknown."""
    thickness = category.format_headline(reading, validity)
    clark = category.format_clark_level(reading.clark) + (
        " (estimate of the model)" if reading.clark_by == "estimate" else ""
    )
    margins = {"lateral": reading.margins.lateral_mm, "deep": reading.margins.deep_mm}
    margin_fields = {f"Margin, {name}": "–" if mm is None else f"{mm:.3g} mm" for name, mm in margins.items()}
    return {
        "Breslow thickness and T category (AJCC 8)": "–" if thickness == category.NOT_MEASURED else thickness,
        "Ulceration": {None: "unknown", True: "present", False: "absent"}[reading.ulcerated],
        "Mitoses": category.format_mitoses(reading.mitoses),
        "Clark level": clark,
        **margin_fields,
        "Notes": reading.notes or "–",
    }


def find_case_image(case: Case, slide: Path) -> CaseImage | None:
    """Find a slide among the images of a case, or return None."""
    path = slide.resolve()
    return next((image for _, image in case.iterate_images() if image.path.resolve() == path), None)


def set_lesion_reading(case: Case, image_id: str, reading: DepthReading) -> Case:
    """Set the values of a reading in the lesion of the slide; unknown values do not change it."""
    lesion = next((of for of, image in case.iterate_images() if image.id == image_id), None)
    if lesion is None:
        raise InputError("the slide is not assigned to a lesion: drag it to its lesion in the Case dock first.")
    per = reading.mitoses.per_mm2
    known = {
        "depth_mm": None if reading.mm is None else round(reading.mm, 3),
        "ulceration": reading.ulcerated,
        "clark": reading.clark,
        "mitoses_per_mm2": None if per is None else round(per, 2),
    }
    return set_lesion(case, lesion.id, **{name: value for name, value in known.items() if value is not None})


def save_readings_to_case(folder: Path, image_id: str, depth: SlideDepthReadings) -> Path:
    """Store all readings of a slide in a case, as ``depth/<image>.json`` in the format of ``depth.json``."""
    path = folder / READINGS / f"{image_id}.json"
    write_json(path, depth.model_dump(mode="json"))
    return path


def _read_picture_if_available(info: SlideInfo, line: Line | None) -> NDArray[np.uint8] | None:
    """Read the slide around the line; None if the slide can no longer be read."""
    if line is None:
        return None
    try:
        with open_slide(info.path) as slide:
            return read_depth_picture(slide, line)
    except (MelanomaError, OSError):
        return None


def _format_record_row(one: ReadingChange) -> tuple[str, ...]:
    """Format a row of the table of changes."""
    return (
        category.format_time(one.when) or one.when,
        one.reader or "(no name)",
        one.field.replace("_", " "),
        _format_short(one.before),
        _format_short(one.after),
    )


def _format_short(value: object) -> str:
    """Format a value of the table of changes."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_format_short(one)}" for name, one in value.items())
    if isinstance(value, list):  # a line's ends, or an interval's
        ends = [
            ", ".join(f"{one:.0f}" for one in end) if isinstance(end, list) else _format_short(end) for end in value
        ]
        return " to ".join(ends)
    return str(value)


def has_something_to_report(folder: Path) -> bool:
    """Return whether a folder contains a reading, a risk or an analysis."""
    return any((folder / name).is_file() for name in (DEPTH_FILE, RISK_FILE, RESULT))


def write_slide_report(path: Path, folder: Path, slide: Path | None = None, *, scale: PixelSize | None = None) -> Path:
    depth, found = read_depth(folder), read_proposals(folder)
    latest = max((one for one in depth.readings if one.when), key=lambda one: one.when, default=None)
    info = _find_slide_info(folder, slide or recorded_slide(folder), _reading_scale(latest) or scale)
    base = automatic_reading(found, 0, info.pixel_size)
    if latest is None and base.mm is None and not (folder / RISK_FILE).is_file():
        reason = found.validity.headline(f"Analysis: {'; '.join(found.notes)}" if found.notes else "")
        reason = f" {reason}." if reason else ""
        raise InputError(f"{folder.name}: neither thickness nor risk is known.{reason}")
    return write_depth_report(path, info, _filled_readings(depth), latest or base, base, folder)


def _filled_readings(depth: SlideDepthReadings) -> SlideDepthReadings:
    """Keep the readings that are not empty."""
    return depth.model_copy(update={"readings": tuple(one for one in depth.readings if one.when)})


def _reading_scale(reading: DepthReading | None) -> PixelSize | None:
    """Return the pixel size of a reading."""
    if reading is None or reading.um_per_px is None:
        return None
    x_um, y_um = reading.um_per_px
    return PixelSize(y_um, x_um)


def _find_slide_info(folder: Path, slide: Path | None, given: PixelSize | None) -> SlideInfo:
    """Return information on the slide, even if its file is missing; a given scale replaces that of the file."""
    if slide is not None:
        try:
            with open_slide(slide) as opened:
                info = opened.info
            own = info.pixel_size
            return info if given is None or (own and own.is_close(given)) else _reopen_with_scale(slide, given)
        except (MelanomaError, OSError):
            pass
    return SlideInfo(slide or folder, folder.name, "", (), pixel_size=given)


def _reopen_with_scale(slide: Path, given: PixelSize) -> SlideInfo:
    """Open the slide with another scale."""
    with open_slide(slide, given) as opened:
        return opened.info


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
PATCH_PX, MAX_PATCHES = 320, 3  # side of a picture; maximum number of patches
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
    boxes = patch_boxes(stored.prediction)[:MAX_PATCHES]
    if path is None or not boxes:
        return [], NO_SLIDE if boxes else ""
    try:
        with open_slide(path) as slide:
            patches = [slide.read_square(box, PATCH_PX) for box in boxes]
    except (MelanomaError, OSError):
        return [], NO_SLIDE
    found = [
        one
        for number, pair in enumerate(zip(patches, boxes, strict=True))
        for one in _create_patch_pictures(stored, number, *pair)
    ]
    return found, MAPS if stored.maps else NO_MAPS


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
