"""Images of the same tissue are registered at any rotation, flip, stain and pixel size; others are refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.imaging import registration
from napari_melanoma.imaging.registration import (
    FeatureImage,
    register_features,
    register_images,
    register_landmarks,
)

UM = 10.0
FINE_PX = registration.FINE_PX
SHAPE = (300, 420)
SMALL = (200, 280)  # enough for features
pytestmark = pytest.mark.usefixtures("features_found_once")


@pytest.fixture(autouse=True)
def size_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the images in their own resolution: enlarging them takes most of the time."""
    monkeypatch.setattr(registration, "FINE_PX", 512)


def tissue(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A piece of tissue with structure of several sizes on an empty background."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.normal(size=shape), sigma) * sigma for sigma in (2, 4, 8, 16)]
    rows, columns = np.indices(shape)
    bend = ndimage.gaussian_filter(rng.normal(size=shape), 40) * 40
    radius = np.hypot((rows - shape[0] / 2) / shape[0], (columns - shape[1] / 2) / shape[1] * 1.2) + 0.15 * bend
    return np.where(radius < 0.38, np.clip(1.0 + 0.5 * sum(layers), 0.1, None), 0.0).astype(np.float32)


def matrix_of(angle: float, *, flip: bool = False, scale: float = 1.0, shift: tuple[float, float] = (0, 0)):
    turn = np.radians(angle)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (linear @ np.diag([1.0, -1.0]) if flip else linear), np.array(shift, float)


def moved(
    image: np.ndarray, angle: float, *, flip: bool = False, scale: float = 1.0, pixel: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image as another scan shows it; positions there, (point, 2) in pixels of the first, of those in the first."""
    linear, _ = matrix_of(angle, flip=flip, scale=scale)
    side = int(np.hypot(*image.shape) * scale)
    shape = np.array((side, side)) // np.array(pixel)
    center, other = (np.array(image.shape) - 1) / 2, (np.array((side, side)) - 1) / 2
    back = np.linalg.inv(linear) @ np.diag(pixel)
    offset = center - np.linalg.inv(linear) @ (other - (np.array(pixel) - 1) / 2)
    picture = ndimage.affine_transform(image, back, offset, tuple(shape.astype(int)), order=1)
    points = np.array([(90.0, 140.0), (200.0, 150.0), (150.0, 300.0)])
    return picture, points, (points - center) @ linear.T + other


def largest_error(found, here: np.ndarray, there: np.ndarray) -> float:
    """In µm, of positions from the corner."""
    return float(np.linalg.norm(found.transform((there + 0.5) * UM) - (here + 0.5) * UM, axis=1).max())


@pytest.mark.slow
@pytest.mark.parametrize(("angle", "flip"), [(33, False), (181, True)])
def test_a_rotated_or_mirrored_scan_is_registered(angle: float, flip: bool) -> None:
    image = tissue(1)
    picture, here, there = moved(image, angle, flip=flip)
    found = register_images(image, picture, (UM, UM), (UM, UM))
    assert largest_error(found, here, there) < 0.5 * UM
    assert found.is_flipped is flip
    assert found.error is not None
    assert found.error < 0.5 * UM
    assert found.scale == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
def test_another_stain_with_noise_and_bends_is_registered_with_a_correct_error() -> None:
    image, rng = tissue(2), np.random.default_rng(5)
    bend = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 50) * 50 * 2.0 for _ in range(2)]
    rows, columns = np.indices(SHAPE).astype(float)
    bent = ndimage.map_coordinates(image, [rows + bend[0], columns + bend[1]], order=1)
    other = np.clip(np.sqrt(bent) + rng.normal(0, 0.03, SHAPE), 0, None).astype(np.float32)
    picture, here, there = moved(other, 140, flip=False)
    found = register_images(image, picture, (UM, UM), (UM, UM))
    typical = UM * float(np.sqrt(np.mean([np.mean(one**2) for one in bend])))
    assert largest_error(found, here, there) < 4 * typical
    assert found.error is not None
    assert typical / 4 < found.error < 4 * typical


@pytest.mark.slow
def test_a_part_with_other_and_rectangular_pixels_is_found_in_the_whole() -> None:
    image = tissue(3)
    picture, here, there = moved(image, 75, pixel=(2.0, 1.0))
    found = register_images(image, picture, (UM, UM), (2 * UM, UM))
    assert largest_error(found, here, there) < UM
    part = image[60:220, 100:300]
    found = register_images(image, part, (UM, UM), (UM, UM))
    assert largest_error(found, here, here - (60, 100)) < UM


@pytest.mark.slow
def test_the_scale_is_found_where_it_is_not_known() -> None:
    image = tissue(4)
    picture, here, there = moved(image, 20, scale=1.25)
    scales = tuple(np.geomspace(0.64, 1.25, 7))
    found = register_images(image, picture, (UM, UM), (UM, UM), flips=False, scales=scales)
    assert found.scale == pytest.approx(0.8, rel=0.01)
    assert largest_error(found, here, there) < UM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "side_px"),
    [(tissue(7), FINE_PX), (np.zeros(SHAPE, np.float32), 256)],
    ids=["other tissue at the real size", "empty"],
)
def test_images_of_other_tissue_are_refused(other: np.ndarray, side_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "FINE_PX", side_px)  # every rotation is tried
    with pytest.raises(MelanomaError, match=r"do not fit together: .* Set landmarks by hand"):
        register_images(tissue(6), other, (UM, UM), (UM, UM))


@pytest.mark.parametrize("angle", [0.0, 17.0, 200.0])
def test_two_landmarks_give_rotation_and_shift(angle: float) -> None:
    linear, shift = matrix_of(angle, shift=(120.0, -40.0))
    moving = np.array([(10.0, 20.0), (300.0, 80.0)])
    found = register_landmarks(moving, moving @ linear.T + shift)
    np.testing.assert_allclose(found.transform([(50.0, 60.0)]), np.array([(50.0, 60.0)]) @ linear.T + shift, atol=1e-6)
    assert (found.rotation - angle + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-6)
    assert found.error is None  # two always fit


def test_landmarks_near_a_line_are_not_mirrored_by_noise() -> None:
    rng = np.random.default_rng(2)
    moving = np.array([(0.0, 0.0), (40.0, 4000.0), (0.0, 8000.0)])
    flips = [register_landmarks(moving, moving + rng.normal(0, 30, moving.shape)).is_flipped for _ in range(100)]
    assert not any(flips)


def test_landmarks_at_other_distances_keep_the_scale_and_report_the_error() -> None:
    found = register_landmarks([(0, -100), (0, 100), (60, 0)], [(0, -110), (0, 110), (60, 0)])
    assert found.scale == pytest.approx(1.0)
    assert found.error == pytest.approx(10 * np.sqrt(2 / 3), rel=0.05)


def test_three_landmarks_give_a_flip_and_four_an_error() -> None:
    linear, shift = matrix_of(60, flip=True, shift=(7.0, 9.0))
    moving = np.array([(0.0, 0.0), (0.0, 100.0), (50.0, 0.0)])
    found = register_landmarks(moving, moving @ linear.T + shift)
    assert found.is_flipped
    assert found.error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("moving", "message"),
    [([(0, 0)], "found 1 and 1"), ([(3, 3), (3, 3)], "all at the same")],
    ids=["one", "equal"],
)
def test_too_few_landmarks_are_refused(moving: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        register_landmarks(moving, moving)


def test_features_give_rotation_scale_and_their_error() -> None:
    image = tissue(3, SMALL)
    turned, start, end = moved(image, 35.0, scale=0.8)
    found = register_features(FeatureImage(turned, (1.0, 1.0)), FeatureImage(image, (1.0, 1.0)))
    assert found.scale == pytest.approx(0.8, abs=0.005)
    assert abs(found.scale / 0.8 - 1) < 5 * found.scale_error + 0.002
    assert found.error is not None
    assert found.error < 1.0
    assert np.abs(np.linalg.norm(found.transform(start + 0.5) - (end + 0.5), axis=1)).max() < 1.5


def test_features_are_in_the_units_of_the_images() -> None:
    image = tissue(3, SMALL)
    found = register_features(FeatureImage(image[::2], (2 * UM, UM)), FeatureImage(image, (UM, UM)), with_scale=False)
    assert found.scale == pytest.approx(1.0)
    assert found.scale_error == 0.0
    assert np.abs(found.transform([[0.0, 0.0], [1000.0, 2000.0]]) - [[0.0, 0.0], [1000.0, 2000.0]]).max() < 1.5 * UM


def test_excluded_features_are_not_used() -> None:
    image = tissue(3, SMALL)
    one = FeatureImage(image, (1.0, 1.0), np.ones(image.shape, bool))
    with pytest.raises(MelanomaError, match="expected 8 features that both images have in common"):
        register_features(one, FeatureImage(image, (1.0, 1.0)))
    whole, _ = one.without_exclusion().find()
    assert len(whole) > 100


def test_features_of_other_tissue_are_refused() -> None:
    with pytest.raises(MelanomaError, match="expected 8 features"):
        register_features(FeatureImage(tissue(3, SMALL), (1.0, 1.0)), FeatureImage(tissue(4, SMALL), (1.0, 1.0)))


@pytest.mark.slow
def test_features_near_an_excluded_part_are_not_used_in_a_large_image() -> None:
    image = np.kron(tissue(3, SMALL), np.ones((4, 4), np.float32))
    excluded = np.zeros(image.shape, bool)
    excluded[:, :560] = True
    points, _ = FeatureImage(image, (1.0, 1.0), excluded).find()
    assert len(points) > 0
    assert points[:, 1].min() > 560
