"""Area of the union of polygons."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.polygons import Polygon, joint_area


def box(top: float, left: float, height: float, width: float) -> tuple[tuple[float, float], ...]:
    return (top, left), (top, left + width), (top + height, left + width), (top + height, left)


SQUARE = Polygon(box(0, 0, 10, 10))
CASES = {
    "nothing": ([], 0),
    "one": ([SQUARE], 100),
    "the other way round": ([Polygon(SQUARE.outer[::-1])], 100),
    "apart": ([SQUARE, Polygon(box(0, 20, 10, 10))], 200),
    "edge to edge": ([SQUARE, Polygon(box(0, 10, 10, 10))], 200),
    "twice the same": ([SQUARE, SQUARE], 100),
    "one corner over the other": ([SQUARE, Polygon(box(5, 5, 10, 10))], 175),
    "one within the other": ([SQUARE, Polygon(box(2, 2, 3, 3))], 100),
    "a cross": ([Polygon(box(0, 4, 10, 2)), Polygon(box(4, 0, 2, 10))], 36),
    "three": ([SQUARE, Polygon(box(5, 5, 10, 10)), Polygon(box(5, 0, 5, 15))], 175),
    "a hole": ([Polygon(box(0, 0, 10, 10), (box(2, 2, 4, 4),))], 84),
    "a hole that is half filled": ([Polygon(box(0, 0, 10, 10), (box(2, 2, 4, 4),)), Polygon(box(2, 2, 2, 4))], 92),
    "triangles": ([Polygon(((0, 0), (10, 0), (10, 10))), Polygon(((0, 10), (10, 10), (10, 0)))], 75),
}


@pytest.mark.parametrize(("polygons", "expected"), CASES.values(), ids=list(CASES))
def test_an_area_in_several_polygons_counts_once(polygons: list[Polygon], expected: float) -> None:
    assert joint_area(polygons) == pytest.approx(expected)
    assert joint_area(polygons[::-1]) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_random_areas_match_their_rasterization(seed: int) -> None:
    from skimage.draw import polygon2mask

    random, side = np.random.default_rng(seed), 600
    stars = []
    for _ in range(4):
        turns = np.sort(random.uniform(0, 2 * np.pi, 12))
        reach = random.uniform(40, 150, 12)
        middle = random.uniform(200, 400, 2)
        stars.append(np.stack([middle[0] + reach * np.sin(turns), middle[1] + reach * np.cos(turns)], axis=1))
    picture = np.any([polygon2mask((side, side), star - 0.5) for star in stars], axis=0)
    found = joint_area([Polygon(tuple((float(y), float(x)) for y, x in star)) for star in stars])
    assert found == pytest.approx(picture.sum(), rel=0.01)
    assert joint_area([Polygon(tuple(map(tuple, star + 1e6))) for star in stars]) == pytest.approx(found, rel=1e-6)
