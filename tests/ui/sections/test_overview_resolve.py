"""What the Overview section states: entered positions, magnifications, bookmarks and the history of views."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.slides.notes import Bookmark, SlideView
from napari_melanoma.ui.sections.overview.resolve import (
    parse_position,
    rename_bookmark,
    resolve_magnification,
    resolve_position,
)
from napari_melanoma.ui.session.navigation import MAX_VIEWS, NO_SCALE, ViewTrail, normalize_angle

STEPS = (4, 20, 40)


def slide(size_um: float | None = 0.5, origin: tuple[int, int] = (0, 0)) -> Any:
    info = SimpleNamespace(pixel_size=size_um, origin=origin)
    return SimpleNamespace(info=info, pixel_um=(size_um or 1.0,) * 2, size=(512, 512))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1, 0.05", (100, 200)),
        ("0.1 x 0.05 mm", (100, 200)),
        ("0,1; 0,05", (100, 200)),
        ("0,1 0,05", (100, 200)),
        ("0,1;0,05 mm", (100, 200)),
        ("0,1, 0,05", (100, 200)),
        ("100, 50 um", (100, 200)),
        ("30, 40 px", (40, 30)),
        ("30,40 px", (40, 30)),  # a lone comma lies between the two
        ("  .1;.05  MM ", (100, 200)),
    ],
)
def test_parse_position(text: str, expected: tuple[float, float]) -> None:
    assert parse_position(slide(), text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "size_um", "message"),
    [
        ("7, 1", 0.5, "lies outside the slide, which ends at 0.256, 0.256 mm"),
        ("over there", 0.5, "is not a position on the slide. Enter x, y in mm"),
        ("over there", None, "Enter x, y in pixels"),
        ("-1, 5 px", 0.5, "outside"),
        ("1, 2 mm", None, "has no scale"),
        ("600, 2", None, "ends at 512, 512 px"),
    ],
)
def test_positions_that_cannot_be_shown(text: str, size_um: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_position(slide(size_um), text)


def test_how_to_enter_a_position() -> None:
    with_scale, without = resolve_position(slide().info), resolve_position(slide(None, (7, 9)).info)
    assert (with_scale.placeholder, without.placeholder) == ("go to x, y mm", "go to x, y px")
    assert "QuPath" not in with_scale.tip
    assert without.tip.endswith("QuPath counts from x = 9, y = 7 px.")
    assert "Set it with Scale" in without.scale_bar_tip


@pytest.mark.parametrize(
    ("native", "magnification", "value", "checked", "enlarged"),
    [
        (20.0, 20.0, "20x", (20,), (40,)),
        (20.0, 3.2, "3.2x", (), (40,)),
        (20.0, 19.7, "19.7x", (20,), (40,)),
        (37.0, 40.0, "40x", (40,), ()),  # scanners report 40x for it
        (2.0, 4.0, "4x", (4,), (4, 20, 40)),
    ],
)
def test_magnifications(
    native: float, magnification: float, value: str, checked: tuple[int, ...], enlarged: tuple[int, ...]
) -> None:
    texts = resolve_magnification(native, magnification, STEPS)
    assert (texts.value, texts.checked) == (value, checked)
    assert "1x is 10 µm" in texts.value_tip
    assert tuple(step for step, tip in texts.tips.items() if "pixels are enlarged" in tip) == enlarged


def test_magnifications_without_a_scale() -> None:
    texts = resolve_magnification(None, None, STEPS)
    assert (texts.value, texts.checked, set(texts.tips.values())) == ("", (), {NO_SCALE})


@pytest.mark.parametrize(("name", "expected"), [("ulcer", "ulcer"), (" ulcer ", "ulcer"), ("  ", "place 2")])
def test_bookmarks_are_renamed(name: str, expected: str) -> None:
    bookmarks = tuple(Bookmark(f"place {number}", 1.0, 2.0, 3.0) for number in (1, 2, 3))
    assert [one.name for one in rename_bookmark(bookmarks, 1, name)] == ["place 1", expected, "place 3"]


@pytest.mark.parametrize(("angle", "expected"), [(0, 0), (190, -170), (-180, 180), (180, 180), (450, 90), (-95, -95)])
def test_normalize_angle(angle: float, expected: float) -> None:
    assert normalize_angle(angle) == expected


def test_a_new_view_replaces_those_that_followed() -> None:
    views = tuple(SlideView(100.0 * number, 120.0, 60.0) for number in range(3))
    trail = ViewTrail()
    for view in views:
        trail = trail.add(view).add(SlideView(view.row + 1e-3, view.column, view.width_px))  # closer than one can see
    assert (trail, trail.can_step(-1), trail.can_step(1)) == (ViewTrail(views, 2), True, False)
    trail = ViewTrail(views, 0)
    assert (trail.can_step(-1), trail.can_step(1)) == (False, True)
    assert trail.add(views[2]) == ViewTrail((views[0], views[2]), 1)
    for number in range(2 * MAX_VIEWS):
        trail = trail.add(SlideView(number, 0.0, 10.0))
    assert len(trail.views) == MAX_VIEWS == trail.current + 1
