"""Descriptions of a slide for users: name, scale, size and warnings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.slides.reading.slide import NOT_STATED
from napari_melanoma.ui.widgets.status_line import remove_option_hints

if TYPE_CHECKING:
    from napari_melanoma.slides.reading.slide import SlideInfo

MAX_WORD_LENGTH = 18  # letters that fit in half the width of a dock
SCALE_SOURCES = {"ruler": "from your ruler", "given": "set by you"}
FLUORESCENCE_NOTICE = "Fluorescence can be viewed but not analyzed: the models were trained on brightfield stains."
NO_SCALE = "The pixel size is unknown: measurement and analysis are disabled. Set it with Scale, the ruler above."


def slide_display_name(info: SlideInfo) -> str:
    """Return the name of the file, or of the folder if the files of the slide are only numbered."""
    return info.path.name if info.path.name.startswith(info.name) else info.name


def describe_slide(info: SlideInfo) -> str:
    """Describe scale, magnification, format and size of a slide in two lines."""
    size = info.pixel_size
    if size is None:
        scale = "no scale"
    else:
        same = abs(size.y_um / size.x_um - 1) < 0.005
        number = f"{size.x_um:.4g}" if same else f"{size.x_um:.4g} x {size.y_um:.4g}"
        scale = f"{number} µm/px" + (f" ({SCALE_SOURCES[size.source]})" if size.source in SCALE_SOURCES else "")
    full = info.levels[0]
    facts = [scale, "" if info.magnification is None else f"{info.magnification:g}x", info.format]
    if info.kind == "fluorescence":
        count = len(info.channels)
        facts.append(f"fluorescence, {count} channel{'' if count == 1 else 's'}")
    extent = f"{full.width:,} x {full.height:,} px"
    if size is not None:
        extent += f", {full.width * size.x_um / 1000:.3g} x {full.height * size.y_um / 1000:.3g} mm"
    return f"{'  ·  '.join(fact for fact in facts if fact)}\n{extent}"


def list_slide_warnings(info: SlideInfo) -> list[str]:
    """List the warnings about a slide; those about the scale end when the user sets it."""
    others = [remove_option_hints(warning) for warning in info.warnings if warning not in info.scale_warnings]
    doubts = [remove_option_hints(doubt) for doubt in info.scale_warnings if doubt != NOT_STATED]
    kind = [FLUORESCENCE_NOTICE] if info.kind == "fluorescence" else []
    if info.pixel_size is None:
        return [*others, *kind, NO_SCALE, *doubts]
    return [*others, *kind, *(() if info.pixel_size.source in SCALE_SOURCES else doubts)]


def add_line_breaks(text: str) -> str:
    """Allow line breaks in a long word, so that it does not widen the dock."""
    parts = re.split(r"(?<=[._\-/\[\]:;,|=])", text)
    return "\u200b".join(
        part[at : at + MAX_WORD_LENGTH] for part in parts for at in range(0, len(part), MAX_WORD_LENGTH)
    )


def is_same_slide(one: Path, other: Path | None) -> bool:
    """Return whether two paths are the same slide; a DICOM slide is opened by a file or by its folder."""
    return other is not None and other.absolute() in (one.absolute(), *(one.absolute() / other.name,))
