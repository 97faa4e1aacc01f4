"""Scribbles on lesions with known truth: missing parts are added, wrong ones removed, the rest is unchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.imaging.scribbles import INSIDE, OUTSIDE, redraw_border
from napari_melanoma.metrics.overlap import overlap_metrics

SHAPE = (240, 320)
BROWN, SKIN = np.array((115, 78, 58)), np.array((218, 178, 158))


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    return overlap_metrics(mask, reference)["DI"]


def disk(row: float, column: float, radius: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) < radius


def photograph(lesions: np.ndarray, noise: float = 5.0) -> np.ndarray:
    """Brown lesions on skin that darkens to one side, with noise."""
    shade = np.linspace(1.0, 0.9, lesions.shape[1])[:, None]
    rgb = np.where(lesions[..., None], BROWN, SKIN) * shade
    return np.clip(rgb + np.random.default_rng(0).normal(0, noise, rgb.shape), 0, 255).astype(np.uint8)


def believed(mask: np.ndarray) -> np.ndarray:
    """A network that is sure of a mask."""
    return np.where(mask, 0.95, 0.05).astype(np.float32)


def stroke(value: int, rows: slice, columns: slice, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    scribbles = np.zeros(shape, np.uint8)
    scribbles[rows, columns] = value
    return scribbles


LEFT, RIGHT = disk(120, 115, 58), disk(120, 205, 52)
LOBES = LEFT | RIGHT
ONE_LOBE = LEFT & ~disk(120, 205, 60)
MOLE = disk(42, 275, 22)
BRIDGE = np.zeros(SHAPE, bool)
BRIDGE[60:120, 205:250] = True


@dataclass(frozen=True)
class Case:
    name: str
    truth: np.ndarray
    start: np.ndarray
    scribbles: np.ndarray
    seen: np.ndarray
    noise: float = 5.0
    reached: float = 0.93


IN_LOBE = stroke(INSIDE, slice(117, 123), slice(190, 235))
ON_MOLE = stroke(OUTSIDE, slice(39, 45), slice(261, 289))
CASES = [
    Case("an inside stroke brings in the missed lobe", LOBES, ONE_LOBE, IN_LOBE, LOBES),
    Case("the same in a noisy photograph", LOBES, ONE_LOBE, IN_LOBE, LOBES, noise=30.0),
    Case("an outside stroke removes a neighbouring mole", LEFT, LEFT | MOLE, ON_MOLE, LEFT | MOLE),
    Case("the same in a noisy photograph, outside", LEFT, LEFT | MOLE, ON_MOLE, LEFT | MOLE, noise=30.0),
    Case(
        "an outside stroke removes skin that was taken for lesion",
        LOBES,
        LOBES | BRIDGE,
        stroke(OUTSIDE, slice(62, 66), slice(225, 245)),
        LOBES,
    ),
    Case(
        "both at once",
        LOBES,
        ONE_LOBE | MOLE,
        np.maximum(IN_LOBE, ON_MOLE),
        LOBES | MOLE,
    ),
    Case("an inside stroke on nothing draws a lesion", RIGHT, np.zeros(SHAPE, bool), IN_LOBE, RIGHT),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_few_strokes_repair_the_border(case: Case) -> None:
    redrawn = redraw_border(believed(case.start), photograph(case.seen, case.noise), case.start, case.scribbles)
    before, after = dice(case.start, case.truth), dice(redrawn, case.truth)
    assert after > max(before, case.reached)


def test_far_from_the_strokes_nothing_changes() -> None:
    far = disk(200, 40, 25)
    start = ONE_LOBE | far
    redrawn = redraw_border(believed(start), photograph(LOBES | far), start, IN_LOBE)
    np.testing.assert_array_equal(redrawn[165:, :90], start[165:, :90])
    np.testing.assert_array_equal(redrawn[:, :60], start[:, :60])


def test_another_lesion_of_the_same_color_is_not_added() -> None:
    redrawn = redraw_border(believed(ONE_LOBE), photograph(LOBES | MOLE), ONE_LOBE, IN_LOBE)
    assert not (redrawn & MOLE).any()


def test_a_large_photograph_gets_the_same_border() -> None:
    def enlarged(values: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(values, 8, axis=0), 8, axis=1)

    start, scribbles = enlarged(ONE_LOBE), enlarged(IN_LOBE)
    redrawn = redraw_border(believed(start), enlarged(photograph(LOBES)), start, scribbles)
    assert dice(redrawn, enlarged(LOBES)) > 0.93


AGREEING = [
    ("no strokes", np.zeros(SHAPE, np.uint8)),
    ("an inside stroke inside", stroke(INSIDE, slice(115, 120), slice(90, 120))),
    ("an outside stroke outside", stroke(OUTSIDE, slice(5, 10), slice(10, 40))),
]


@pytest.mark.parametrize(("name", "scribbles"), AGREEING, ids=[case[0] for case in AGREEING])
def test_strokes_that_agree_with_the_mask_change_nothing(name: str, scribbles: np.ndarray) -> None:
    redrawn = redraw_border(believed(ONE_LOBE), photograph(LOBES), ONE_LOBE, scribbles)
    assert redrawn is not ONE_LOBE
    np.testing.assert_array_equal(redrawn, ONE_LOBE)


def test_an_inside_stroke_limits_an_outside_one() -> None:
    outside = stroke(OUTSIDE, slice(100, 140), slice(196, 214))
    guarded = outside | stroke(INSIDE, slice(112, 128), slice(150, 180))
    plain, defended = (
        redraw_border(believed(LOBES), photograph(LOBES), LOBES, scribbles) for scribbles in (outside, guarded)
    )
    assert plain.sum() < LOBES.sum()
    assert defended.sum() >= plain.sum()
    assert defended[112:128, 150:180].all()


@settings(max_examples=25)
@given(st.data())
def test_every_stroke_is_honoured_to_the_pixel(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    scribbles = data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, INSIDE, OUTSIDE])))
    mask = data.draw(arrays(bool, shape))
    probability = data.draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    before = mask.copy()
    redrawn = redraw_border(probability, photograph(mask), mask, scribbles)
    assert redrawn[scribbles == INSIDE].all()
    assert not redrawn[scribbles == OUTSIDE].any()
    np.testing.assert_array_equal(mask, before)


def test_contradicting_strokes_side_by_side_in_a_large_photograph() -> None:
    shape = (1200, 1500)
    mask = disk(600, 700, 300, shape)
    scribbles = stroke(INSIDE, slice(200, 1000), slice(900, 901), shape)
    scribbles[200:1000, 901] = OUTSIDE
    redrawn = redraw_border(believed(mask), photograph(mask), mask, scribbles)
    assert redrawn[200:1000, 900].all()
    assert not redrawn[200:1000, 901].any()


@pytest.mark.parametrize("folder", ["isic2017", "pad_ufes"])
def test_one_stroke_repairs_real_photographs(shared_data, folder: str) -> None:
    """Right half cut away, one horizontal stroke through it: the mean over photographs improves by a lot."""
    from PIL import Image

    before, after = [], []
    for path in sorted((shared_data / folder / "masks").glob("*.png"))[:200:20]:
        truth = np.asarray(Image.open(path)) > 127
        rgb = np.asarray(Image.open(shared_data / folder / "images" / f"{path.stem}.jpg").convert("RGB"))
        rows, columns = np.nonzero(truth)
        middle = int(np.median(columns))
        start = truth.copy()
        start[:, middle:] = False
        scribbles = np.zeros(truth.shape, np.uint8)
        row = int(np.median(rows))
        scribbles[row - 2 : row + 3, middle : int(np.percentile(columns, 95))] = INSIDE
        scribbles[~truth] = 0
        before.append(dice(start, truth))
        after.append(dice(redraw_border(believed(start), rgb, start, scribbles), truth))
    assert np.mean(before) < 0.7
    assert np.mean(after) > 0.82
