"""Scale bars of pictures are as long as they state, also for oblong pixels, turned and reduced pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_slides import draw_fluorescence, draw_slide

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.reports.pictures import (
    NO_SCALE,
    WHITE,
    Picture,
    choose_bar_mm,
    draw_depth_line,
    draw_photograph,
    draw_scale_bar,
    draw_slide_overview,
    fit_picture,
    make_figure,
    turn_picture,
)
from napari_melanoma.slides.lesion_files import LABEL_COLORS
from napari_melanoma.slides.lesions import SlideLesion
from napari_melanoma.slides.reading.opening import open_slide

SIDE_MM = 8.0  # of the square in a phantom


def bar_length(picture: Picture) -> int:
    """Length of the longest run of white pixels in the lower right quarter, in pixels."""
    rows, columns = picture.rgb.shape[:2]
    white = (picture.rgb[3 * rows // 4 :, columns // 2 :] == WHITE).all(axis=2)
    best = 0
    for row in white:
        run = 0
        for value in row:
            run = run + 1 if value else 0
            best = max(best, run)
    return best


def phantom(size: PixelSize, shape: tuple[int, int] = (900, 1200)) -> np.ndarray:
    """A gray picture with a black square of ``SIDE_MM``."""
    rgb = np.full((*shape, 3), 120, np.uint8)
    height, width = round(SIDE_MM / size.mm[0]), round(SIDE_MM / size.mm[1])
    rgb[50 : 50 + height, 50 : 50 + width] = 0
    return rgb


def square_side(picture: Picture, axis: int) -> int:
    """Extent of the black square in pixels."""
    dark = picture.rgb[:, : picture.rgb.shape[1] * 13 // 20].max(axis=2) < 60  # left of the scale bar
    return int(dark.any(axis=1 - axis).sum())


@pytest.mark.parametrize(
    "size", [PixelSize(20, 20), PixelSize(13.7, 13.7), PixelSize(10, 20), PixelSize(33, 16), PixelSize(40, 40)]
)
def test_the_bar_is_as_long_as_it_states(size: PixelSize) -> None:
    picture = draw_photograph(phantom(size), size)
    assert picture.bar_mm is not None
    expected = square_side(picture, 1) / SIDE_MM * picture.bar_mm
    assert abs(bar_length(picture) - expected) <= 1
    assert abs(square_side(picture, 0) - square_side(picture, 1)) <= 2  # pixels are square now
    assert picture.bar_mm <= picture.rgb.shape[1] * (picture.um_per_px or 0) / 1000 / 4 + 1e-9


def test_a_rotated_picture_keeps_its_scale() -> None:
    fitted = fit_picture(phantom(PixelSize(20, 20)), PixelSize(20, 20))
    turned = draw_scale_bar(turn_picture(fitted, 30, (0, 0, 0)))
    assert turned.um_per_px == fitted.um_per_px
    assert turned.bar_mm is not None
    assert abs(bar_length(turned) - 1000 * turned.bar_mm / turned.um_per_px) <= 1
    assert turn_picture(fitted, 360) is fitted
    corner = turn_picture(Picture(np.zeros((10, 20, 3), np.uint8)), 90).rgb
    assert corner.shape[:2] == (20, 10)


def test_a_picture_rotates_clockwise() -> None:
    rgb = np.zeros((9, 9, 3), np.uint8)
    rgb[0, :] = 255  # the upper edge becomes the right one
    assert (turn_picture(Picture(rgb), 90).rgb[:, -1] == 255).all()


def test_without_a_scale_there_is_no_bar() -> None:
    rgb = phantom(PixelSize(20, 20))
    picture = draw_photograph(rgb, None)
    assert picture.bar_mm is None
    assert not (picture.rgb == WHITE).all(axis=2).any()
    figure = make_figure(picture, "Photograph", "Contour")
    assert (figure.caption, figure.alt) == (f"Contour; {NO_SCALE}.", f"Photograph, {NO_SCALE}")
    assert figure.picture.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("width_mm", "expected"), [(12, 2), (8, 2), (7.9, 1), (40, 10), (0.9, 0.2), (0.03, 0.005), (4, 1), (399, 50)]
)
def test_lengths_are_round(width_mm: float, expected: float) -> None:
    assert choose_bar_mm(width_mm) == pytest.approx(expected)


def test_the_overview_of_a_slide_has_its_scale(tmp_path: Path) -> None:
    with open_slide(draw_slide(tmp_path / "section.tif"), PixelSize(1.0, 2.0)) as slide:
        picture = draw_slide_overview(slide)
        assert picture.rgb.shape[1] == pytest.approx(2 * picture.rgb.shape[0], abs=1)
        assert picture.um_per_px == pytest.approx(1024 / picture.rgb.shape[1])
        assert picture.bar_mm == 0.2
        assert abs(bar_length(picture) - 200 / (picture.um_per_px or 1)) <= 1
    with open_slide(draw_slide(tmp_path / "unknown.tif", mpp=None)) as slide:
        assert draw_slide_overview(slide).scale_text == NO_SCALE


@pytest.mark.parametrize("size", [PixelSize(0.5, 0.5), PixelSize(0.5, 1.0), PixelSize(2.0, 1.0)])
def test_a_line_has_the_length_of_the_scale_bar(size: PixelSize, tmp_path: Path) -> None:
    ends = ((60.0, 100.0), (360.0, 100.0))
    with open_slide(draw_slide(tmp_path / "section.tif"), size) as slide:
        picture = draw_depth_line(slide, ends)
    assert picture is not None
    assert picture.bar_mm is not None
    rows, _ = np.nonzero((np.abs(picture.rgb.astype(int) - (11, 60, 255)) < 3).all(axis=2))
    length_mm = (rows.max() - rows.min()) / bar_length(picture) * picture.bar_mm
    assert length_mm == pytest.approx(300 * size.mm[0], rel=0.04)


def test_fluorescence_has_an_overview_and_no_line(tmp_path: Path) -> None:
    draw_fluorescence(tmp_path / "channels.ome.tif")
    with open_slide(tmp_path / "channels.ome.tif") as slide:
        assert draw_depth_line(slide, ((10.0, 10.0), (90.0, 10.0))) is None
        assert draw_slide_overview(slide, angle=45.0).bar_mm is not None


def test_outlines_of_regions_are_dashed(tmp_path: Path) -> None:
    """A lesion and a region of the same color can be told apart."""
    outline = Polygon(((100.0, 100.0), (100.0, 400.0), (400.0, 400.0), (400.0, 100.0)))
    color = LABEL_COLORS["malignant"]
    lesion = SlideLesion(
        1, "malignant", 0.9, 0.9, 9e4, 1200.0, 0.02, 0.6, 0.15, 0.15, 1.0, 0.2, (250.0, 250.0), (outline,)
    )
    with open_slide(draw_slide(tmp_path / "section.tif")) as slide:
        full = draw_slide_overview(slide, lesions=[lesion], numbered=0)
        dashed = draw_slide_overview(slide, regions=[Annotation((outline,), "Tumor", color)])
    counts = [int((picture.rgb == color).all(axis=2).sum()) for picture in (full, dashed)]
    assert 0.4 * counts[0] < counts[1] < 0.65 * counts[0]
