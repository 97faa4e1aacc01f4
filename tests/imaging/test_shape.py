"""Lengths, axes, asymmetry and roughness of geometric shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull
from skimage.measure import regionprops

from napari_melanoma.imaging.measurements import (
    asymmetry,
    crofton_perimeter,
    fractal_dimension,
    measure_lengths,
    principal_axes,
)

MASKS = arrays(bool, st.tuples(st.integers(1, 10), st.integers(1, 10))).filter(np.any)


def ellipse(a: float, b: float, degrees: float = 0, spacing: tuple[float, float] = (1, 1)) -> np.ndarray:
    """Half axes ``a`` (at ``degrees`` from the columns' axis) and ``b``, in the unit of the spacing."""
    half = max(a, b)
    rows = (np.arange(-(half // spacing[0]) - 2, half // spacing[0] + 3) + 0.3) * spacing[0]
    columns = (np.arange(-(half // spacing[1]) - 2, half // spacing[1] + 3) + 0.1) * spacing[1]
    row, column = np.meshgrid(rows, columns, indexing="ij")
    turn = math.radians(degrees)
    along, across = column * math.cos(turn) + row * math.sin(turn), row * math.cos(turn) - column * math.sin(turn)
    return (along / a) ** 2 + (across / b) ** 2 < 1


def rectangle(length: float, width: float, degrees: float) -> np.ndarray:
    """A rectangle turned about its center."""
    half = math.hypot(length, width) / 2 + 3
    row, column = np.mgrid[-half : half + 1, -half : half + 1] + 0.2
    turn = math.radians(degrees)
    along, across = column * math.cos(turn) + row * math.sin(turn), row * math.cos(turn) - column * math.sin(turn)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def round_the_ellipse(a: float, b: float) -> float:
    """Circumference by Ramanujan's second approximation, exact to 1e-5 here."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


@dataclass(frozen=True)
class Case:
    name: str
    mask: np.ndarray
    area: float
    perimeter: float
    longest: float
    narrowest: float


def turned_ellipse(a: float, b: float, degrees: float) -> Case:
    name = f"ellipse {a} x {b} at {degrees}"
    return Case(name, ellipse(a, b, degrees), math.pi * a * b, round_the_ellipse(a, b), 2 * a, 2 * b)


def turned_rectangle(length: float, width: float, degrees: float) -> Case:
    mask = rectangle(length, width, degrees)
    name = f"rectangle {length} x {width} at {degrees}"
    return Case(name, mask, length * width, 2 * (length + width), math.hypot(length, width), width)


CASES = [
    *(turned_ellipse(radius, radius, 0) for radius in (12, 40, 150, 500)),
    *(turned_ellipse(90, 45, degrees) for degrees in (0, 17, 45, 80, 133)),
    *(turned_rectangle(160, 90, degrees) for degrees in (0, 10, 30, 45, 75)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lengths_of_known_shapes(case: Case) -> None:
    found = measure_lengths(case.mask)
    assert found.area == pytest.approx(case.area, rel=0.015)
    assert found.perimeter == pytest.approx(case.perimeter, rel=0.02)
    assert found.max_diameter == pytest.approx(case.longest, abs=1.2)
    assert found.min_diameter == pytest.approx(case.narrowest, abs=1.2)
    assert found.equivalent_diameter == pytest.approx(math.sqrt(4 * case.area / math.pi), rel=0.01)
    assert found.hull_area == pytest.approx(case.area, rel=0.03)
    assert found.hull_perimeter == pytest.approx(case.perimeter, rel=0.02)


@pytest.mark.parametrize("spacing", [(0.02, 0.02), (0.5, 1.0), (1.0, 0.4), (0.3, 0.2)])
@pytest.mark.parametrize("degrees", [0, 35, 90])
def test_pixels_that_are_not_square_measure_the_same_ellipse(spacing: tuple[float, float], degrees: float) -> None:
    scale = 60 * min(spacing)
    found = measure_lengths(ellipse(2 * scale, scale, degrees, spacing), spacing)
    assert found.area == pytest.approx(2 * math.pi * scale**2, rel=0.02)
    assert found.perimeter == pytest.approx(round_the_ellipse(2 * scale, scale), rel=0.035)
    assert found.max_diameter == pytest.approx(4 * scale, abs=1.5 * max(spacing))
    assert found.min_diameter == pytest.approx(2 * scale, abs=1.5 * max(spacing))


@settings(max_examples=30)
@given(MASKS, st.floats(0.01, 100))
def test_lengths_scale_with_the_pixel(mask: np.ndarray, size: float) -> None:
    plain, scaled = measure_lengths(mask), measure_lengths(mask, (size, size))
    assert scaled.area == pytest.approx(plain.area * size**2)
    assert scaled.hull_area == pytest.approx(plain.hull_area * size**2)
    for name in ("perimeter", "equivalent_diameter", "max_diameter", "min_diameter", "hull_perimeter"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name) * size)


@settings(max_examples=30)
@given(MASKS, st.integers(0, 3), st.booleans())
def test_rotations_and_flips_preserve_lengths(mask: np.ndarray, turns: int, mirror: bool) -> None:
    moved = np.rot90(mask[:, ::-1] if mirror else mask, turns)
    for name, value in measure_lengths(mask)._asdict().items():
        assert getattr(measure_lengths(moved), name) == pytest.approx(value), name


def test_the_border_of_a_hole_counts() -> None:
    ring = ellipse(100, 100)
    ring[70:130, 70:130] = False
    assert crofton_perimeter(ring) == pytest.approx(2 * math.pi * 100 + 4 * 60, rel=0.02)


@pytest.mark.parametrize("degrees", [0, 20, 45, 100, 160])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.0)])
def test_axes_of_an_ellipse(degrees: float, spacing: tuple[float, float]) -> None:
    found = principal_axes(ellipse(100, 60, degrees, spacing), spacing)
    assert found.axis_ratio == pytest.approx(0.6, abs=0.005)
    assert found.eccentricity == pytest.approx(0.8, abs=0.005)
    turn = math.radians(degrees)
    assert abs(found.major @ [math.sin(turn), math.cos(turn)]) == pytest.approx(1, abs=1e-3)


@given(mask=MASKS, spacing=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)))
def test_axes_are_those_of_scikit_image(mask: np.ndarray, spacing: tuple[float, float]) -> None:
    found, region = principal_axes(mask, spacing), regionprops(mask.astype(np.uint8), spacing=spacing)[0]
    smaller, larger = np.linalg.eigvalsh(region.inertia_tensor)
    assert found.centroid == pytest.approx(region.centroid)
    assert found.axis_ratio**2 * larger == pytest.approx(smaller if larger > 0 else 0, abs=1e-9 * larger)
    if larger > 1.01 * smaller:
        turned = found.major @ region.inertia_tensor @ found.major
        assert turned == pytest.approx(smaller, abs=1e-9 * larger)


def test_a_single_pixel_is_round() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    found = principal_axes(mask)
    assert (found.axis_ratio, found.eccentricity) == (1, 0)
    assert measure_lengths(mask).max_diameter == pytest.approx(1)
    assert asymmetry(mask, found.major, found) == 0


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))).filter(np.any))
def test_the_convex_hull_is_that_of_scipy(mask: np.ndarray) -> None:
    rows, columns = np.nonzero(mask)
    edges = [(rows - 0.5, columns), (rows + 0.5, columns), (rows, columns - 0.5), (rows, columns + 0.5)]
    hull, found = ConvexHull(np.concatenate([np.stack(edge, axis=1) for edge in edges])), measure_lengths(mask)
    assert (found.hull_area, found.hull_perimeter) == pytest.approx((hull.volume, hull.area), rel=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.8, 1.3)])
@pytest.mark.parametrize("size", [120, 700])
def test_every_point_of_a_mask_is_folded(size: int, spacing: tuple[float, float]) -> None:
    mask = ellipse(size, size / 2, 31)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 2] = False
    found, stride = principal_axes(mask, spacing), max(1, math.isqrt(np.count_nonzero(mask) // 65_536))
    points = np.argwhere(mask[::stride, ::stride]) * float(stride)
    offset = points * spacing - found.centroid
    mirrored = 2 * (offset @ found.major)[:, None] * found.major - offset + found.centroid
    rows, columns = np.rint(mirrored / spacing).astype(int).T
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    expected = 1 - mask[rows[inside], columns[inside]].sum() / len(points)
    assert asymmetry(mask, found.major, found, spacing) == pytest.approx(expected, abs=1e-4)


def folded(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[float, float]:
    """Asymmetry along the long and the short axis."""
    found = principal_axes(mask, spacing)
    minor = np.array([found.major[1], -found.major[0]])
    return asymmetry(mask, found.major, found, spacing), asymmetry(mask, minor, found, spacing)


@pytest.mark.parametrize("degrees", [0, 23, 45, 110])
@pytest.mark.parametrize("size", [12, 50, 300])
def test_a_symmetric_shape_folds_onto_itself(size: int, degrees: float) -> None:
    assert max(folded(ellipse(size, size / 2, degrees))) < 0.1 * 12 / size


def half_disk_overlap() -> float:
    """Share of a half disk left over when it is folded along the line through its centroid parallel to its flat side.

    The chord at height h of the unit half disk is 2 sqrt(1 - h^2); its centroid lies at 4 / (3 pi).
    """
    centroid = 4 / (3 * math.pi)
    heights = np.linspace(0, 1, 200_001)
    mirrored = 2 * centroid - heights
    chord = np.sqrt(1 - heights**2)
    other = np.where((mirrored >= 0) & (mirrored <= 1), np.sqrt(np.clip(1 - mirrored**2, 0, None)), 0)
    return 1 - 2 * float(np.mean(np.minimum(chord, other))) / (math.pi / 2)


@pytest.mark.parametrize("radius", [40, 200, 900])
@pytest.mark.parametrize("turns", [0, 1])
def test_a_half_disk_is_symmetric_about_one_axis_alone(radius: int, turns: int) -> None:
    row, column = np.mgrid[0 : radius + 1, -radius : radius + 1]
    half = np.rot90(row**2 + column**2 <= radius**2, turns)
    along, across = folded(half)
    assert along == pytest.approx(half_disk_overlap(), abs=0.15 / math.sqrt(radius))
    assert across < 0.01


def test_folding_happens_in_physical_space() -> None:
    spacing = (0.4, 1.0)
    assert max(folded(ellipse(120, 70, 30, spacing), spacing)) < 0.02
    # The same pixels taken as square are another ellipse, which folds as well; the axes would be wrong, not the fold.
    sheared = ellipse(120, 70, 30, spacing)
    assert principal_axes(sheared, spacing).axis_ratio == pytest.approx(70 / 120, abs=0.01)
    assert principal_axes(sheared).axis_ratio != pytest.approx(70 / 120, abs=0.05)


def snowflake(side: float, order: int) -> np.ndarray:
    """A Koch snowflake."""
    corners = side * np.exp(1j * np.pi * np.array([0.5, 0.5 - 2 / 3, 0.5 - 4 / 3, 0.5])) / math.sqrt(3)
    for _ in range(order):
        start, step = corners[:-1], np.diff(corners) / 3
        tips = start + step + step * np.exp(1j * np.pi / 3)
        corners = np.append(np.stack([start, start + step, tips, start + 2 * step], axis=1).ravel(), corners[-1])
    points = np.stack([corners.real, corners.imag], axis=1)
    points -= points.min(axis=0) - 2
    drawing = Image.new("1", tuple(np.ceil(points.max(axis=0) + 2).astype(int).tolist()))
    ImageDraw.Draw(drawing).polygon(points.ravel().tolist(), fill=1)
    return np.array(drawing)


@pytest.mark.slow
@pytest.mark.parametrize("size", [40, 60, 100, 250, 600, 1500])
@pytest.mark.parametrize(
    "smooth",
    [
        lambda size: ellipse(size / 2, size / 2),
        lambda size: ellipse(size / 2, size / 6, 30),
        lambda size: rectangle(size, size, 0),
        lambda size: rectangle(size, size, 45),
        lambda size: rectangle(size, size / 4, 20),
    ],
    ids=["disk", "ellipse", "square", "turned square", "bar"],
)
def test_fractal_dimension_of_a_smooth_border_is_one_at_every_size(smooth, size: int) -> None:
    assert 1 <= fractal_dimension(smooth(size)) <= (1.05 if size >= 60 else 1.1)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "order"), [(200, 4), (400, 5), (800, 6), (3000, 7)])
def test_fractal_dimension_of_a_snowflake_is_the_koch_curve_s(side: int, order: int) -> None:
    assert fractal_dimension(snowflake(side, order)) == pytest.approx(math.log(4) / math.log(3), abs=0.02)


def test_fractal_dimension_is_measured_in_physical_space() -> None:
    found = fractal_dimension(ellipse(120, 70, 30, (0.4, 1.0)), (0.4, 1.0))
    assert 1 <= found <= 1.05


@settings(max_examples=30)
@given(MASKS.map(lambda mask: np.kron(mask, np.ones((9, 9), bool))))
def test_fractal_dimension_is_that_of_a_line(mask: np.ndarray) -> None:
    found = fractal_dimension(mask)
    assert math.isnan(found) or 1 <= found <= 2


@pytest.mark.parametrize(("side", "defined"), [(5, False), (31, False), (32, True)])
def test_fractal_dimension_needs_three_sizes_of_box(side: int, defined: bool) -> None:
    assert math.isfinite(fractal_dimension(np.ones((side, side), bool))) == defined
