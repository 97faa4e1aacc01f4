"""What the Overview section states, and what was entered in it, as pure functions of the slide and its view."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from napari_melanoma.core.errors import InputError
from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.ui.session.navigation import NO_SCALE, UM_AT_1X
from napari_melanoma.ui.viewer.camera import format_position
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

TOLERANCE = 0.02  # relative difference below which the view has the magnification of a button
SCANNER_TOLERANCE = 1.1  # scanners report 40x for 0.23 to 0.27 µm per pixel


@dataclass(frozen=True)
class PositionTexts:
    """What the field of the position and the check box of the scale bar state."""

    placeholder: str
    tip: str
    scale_bar_tip: str


def resolve_position(info: SlideInfo) -> PositionTexts:
    """Return how to enter a position on a slide, and whether it can have a scale bar."""
    top, left = info.origin
    in_qupath = f" QuPath counts from x = {left}, y = {top} px." if info.origin != (0, 0) else ""
    if info.pixel_size is not None:
        tip = f"Go to x, y in mm, or in pixels as 1200, 3400 px (Enter){in_qupath}"
        return PositionTexts("Go to x, y mm", tip, "Scale bar on the slide, in µm or mm")
    return PositionTexts(
        "Go to x, y px",
        f"Go to x, y in pixels, as 1200, 3400 (Enter). Coordinates in mm require a scale.{in_qupath}",
        "Not available: the slide has no scale. Set it with Scale, the ruler next to the slide's name.",
    )


@dataclass(frozen=True)
class MagnificationTexts:
    """What the buttons of magnifications state; ``checked``: that of the view; ``tips``: by magnification."""

    value: str
    value_tip: str
    checked: tuple[int, ...]
    tips: Mapping[int, str]


def resolve_magnification(
    native: float | None, magnification: float | None, steps: Sequence[int]
) -> MagnificationTexts:
    """Return what the buttons of magnifications state, also which ones are beyond that of the scan.

    ``native``: magnification at which a pixel of the slide fills a pixel of the screen; None without a scale.
    """
    if native is None or magnification is None:
        return MagnificationTexts("", NO_SCALE, (), dict.fromkeys(steps, NO_SCALE))
    beyond = f". The slide was scanned at {native:.3g}x: its pixels are enlarged"
    tips = {
        step: f"Magnify {step}x, about the center of the view{beyond if step > native * SCANNER_TOLERANCE else ''}"
        for step in steps
    }
    checked = tuple(step for step in steps if abs(magnification / step - 1) < TOLERANCE)
    value_tip = f"Magnification of the view: 1x is {UM_AT_1X:g} µm per screen pixel"
    return MagnificationTexts(f"{magnification:.3g}x", value_tip, checked, tips)


def rename_bookmark(bookmarks: tuple[Bookmark, ...], index: int, name: str) -> tuple[Bookmark, ...]:
    """Rename a bookmark; an empty name leaves it as it is."""
    named = replace(bookmarks[index], name=name.strip() or bookmarks[index].name)
    return (*bookmarks[:index], named, *bookmarks[index + 1 :])


NUMBER = r"[-+]?\d+(?:\.\d*)?|[-+]?\.\d+"
POSITION_PATTERN = re.compile(rf"^\s*({NUMBER})\s*(?:,|;|\s|x)\s*({NUMBER})\s*(mm|um|µm|px|)\s*$", re.IGNORECASE)
DECIMAL_COMMA_NUMBER = r"[-+]?\d+(?:[.,]\d+)?"  # as in "3,2 1,08", where a comma without a space is no separator
DECIMAL_COMMA_PATTERN = re.compile(
    rf"^\s*({DECIMAL_COMMA_NUMBER})(?:\s*;\s*|,\s+|\s+)({DECIMAL_COMMA_NUMBER})\s*(mm|um|µm|px|)\s*$", re.IGNORECASE
)


def parse_position(slide: ViewerSlide, text: str) -> tuple[float, float]:
    """Parse coordinates typed by the user.

    ``text``: ``x, y`` with ``mm`` (the default if the slide has a scale), ``um`` or ``px``; with decimal commas ``x;
    y``. Returns (row, column) in pixels of the finest level.
    """
    match = POSITION_PATTERN.match(text) or DECIMAL_COMMA_PATTERN.match(text)
    has_scale = slide.info.pixel_size is not None
    if match is None:
        example = "mm, or in pixels: 1200, 3400 px" if has_scale else "pixels: 1200, 3400"
        raise InputError(f"'{text.strip()}' is not a position on the slide. Enter x, y in {example}.")
    x, y, unit = float(match[1].replace(",", ".")), float(match[2].replace(",", ".")), match[3].lower()
    unit = unit or ("mm" if has_scale else "px")
    if unit != "px":
        if not has_scale:
            raise InputError(f"this slide has no scale. Enter pixels, such as {x:g}, {y:g} px, or set the scale.")
        factor = 1000.0 if unit == "mm" else 1.0
        y, x = y * factor / slide.pixel_um[0], x * factor / slide.pixel_um[1]
    if not (0 <= y <= slide.size[0] and 0 <= x <= slide.size[1]):
        end = format_position(slide, (float(slide.size[0]), float(slide.size[1])))
        raise InputError(f"{text.strip()} lies outside the slide, which ends at {end}.")
    return y, x
