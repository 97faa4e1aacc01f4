"""Black around the view and padding do not count as skin: the contrast of a lesion does not depend on them."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_melanoma.core.geometry import Box
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.imaging.color import black_around_view, find_picture, find_view, illuminant_gains
from napari_melanoma.imaging.measurements import color_measurements, measure_lesion
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph and the mask of its lesion."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]

    @property
    def contrast(self) -> float:
        return measure_lesion(self.mask, self.rgb, None)["color_difference"]

    @property
    def contrast_to_everything(self) -> float:
        """The contrast if all pixels around the lesion count as skin."""
        return color_measurements(self.mask, self.rgb, np.ones_like(self.mask))["color_difference"]


@cache
def phantom(seed: int = 0, centre: tuple[float, float] = (0.5, 0.5), skin_type: int = 2) -> Scene:
    """A lesion without black around it."""
    config = LesionPhantomConfig(seed=seed, size=(300, 400), skin_type=skin_type, field_mm=16.0)
    lesion = config.lesion.model_copy(update={"centre": centre, "diameter_mm": 7.0})
    camera = config.camera.model_copy(update={"aperture": False})
    made = lesion_phantom(config.model_copy(update={"lesion": lesion, "camera": camera}))
    return Scene(made.rgb, made.mask)


def in_round_view(one: Scene) -> Scene:
    """The scene through a dermatoscope, whose edge is blurred over some pixels; the mask ends there."""
    rows, columns = np.indices(one.mask.shape)
    away = np.hypot(rows - 150, columns - 200)
    return Scene((one.rgb * np.clip((150 - away) / 4, 0, 1)[..., None]).astype(np.uint8), one.mask & (away < 148))


def turned(one: Scene, degrees: float) -> Scene:
    rgb = Image.fromarray(one.rgb).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    mask = Image.fromarray(one.mask.view(np.uint8)).rotate(degrees, expand=True)
    return Scene(np.asarray(rgb), np.asarray(mask) > 0)


def padded(one: Scene, value: int) -> Scene:
    rgb = np.pad(one.rgb, ((90, 10), (60, 0), (0, 0)), constant_values=value)
    return Scene(rgb, np.pad(one.mask, ((90, 10), (60, 0))))


def cropped(one: Scene) -> Scene:
    return Scene(np.ascontiguousarray(one.rgb[20:, 45:-20]), one.mask[20:, 45:-20])


ROUND = [(1, (0.35, 0.35)), (3, (0.5, 0.12)), (5, (0.6, 0.7))]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "centre"), ROUND)
def test_contrast_is_invariant_to_rotation_padding_and_cropping(seed: int, centre: tuple[float, float]) -> None:
    one = in_round_view(phantom(seed, centre))
    changed = [turned(one, 30), turned(one, 75), padded(one, 0), padded(one, 255), cropped(one)]
    assert [other.contrast for other in changed] == pytest.approx([one.contrast] * 5, abs=1)
    assert abs(padded(one, 255).contrast_to_everything - one.contrast) > 1.5  # or there would be nothing to exclude


@pytest.mark.parametrize(("seed", "degrees"), [(1, 20), (3, 45)])
def test_black_corners_of_a_rotated_photograph_are_not_skin(seed: int, degrees: float) -> None:
    one = phantom(seed, (0.5, 0.12))
    other = turned(one, degrees)
    assert other.contrast == pytest.approx(one.contrast, abs=1)
    assert abs(other.contrast_to_everything - one.contrast) > 4


@pytest.mark.parametrize("value", [0, 12, 255])
def test_padding_is_no_skin_whether_black_or_white(value: int) -> None:
    one = phantom(1, (0.12, 0.5))
    assert padded(one, value).contrast == pytest.approx(one.contrast, abs=1)
    assert abs(padded(one, value).contrast_to_everything - one.contrast) > 2


def test_a_clipped_lesion_is_compared_with_the_visible_skin() -> None:
    skin, lesion = np.array((215, 175, 155)), np.array((110, 75, 55))
    rows, columns = np.indices((300, 400))
    view, spot = np.hypot(rows - 150, columns - 200) < 140, np.hypot(rows - 150, columns - 310) < 60
    rgb = (np.where(spot[..., None], lesion, skin) * view[..., None]).astype(np.uint8)
    whole = np.where(spot[..., None], lesion, skin).astype(np.uint8)
    assert Scene(rgb, spot & view).contrast == pytest.approx(Scene(whole, spot).contrast, abs=1)


def test_without_skin_in_the_round_view_there_is_no_contrast() -> None:
    away = np.hypot(*(np.indices((200, 200)) - 100))
    rgb = np.where((away < 95)[..., None], (110, 75, 55), 0).astype(np.uint8)
    assert math.isnan(Scene(rgb, away < 95).contrast)


@pytest.mark.parametrize("skin_type", [1, 6])
def test_a_photograph_without_black_around_it_is_measured_as_before(skin_type: int) -> None:
    one = phantom(2, (0.5, 0.12), skin_type)
    assert find_view(one.rgb, one.mask).all()
    assert color_measurements(one.mask, one.rgb) == color_measurements(one.mask, one.rgb, np.ones_like(one.mask))


def test_a_black_lesion_and_dark_skin_are_in_view() -> None:
    rows, columns = np.indices((200, 300))
    spot = np.hypot(rows - 100, columns - 20) < 60  # extends to the edge
    rgb = np.where(spot[..., None], 4, (52, 38, 32)).astype(np.uint8)
    assert find_view(rgb, spot).all()
    moved = Scene(np.roll(rgb, 100, 1), np.roll(spot, 100, 1))
    assert Scene(rgb, spot).contrast == pytest.approx(moved.contrast, abs=1)
    inner = np.hypot(rows - 100, columns - 150) < 40
    another = np.where((inner | (np.hypot(rows - 100, columns - 230) < 20))[..., None], 0, (52, 38, 32))
    assert find_view(another.astype(np.uint8), inner).all()  # a second black lesion, which is not at the edge


def test_a_black_hair_and_a_ruler_at_the_edge_are_in_view() -> None:
    rgb = np.full((400, 600, 3), (215, 175, 155), np.uint8)
    rgb[198:201] = 0
    rgb[:30, 100:103] = 5
    mask = np.zeros((400, 600), bool)
    mask[150:250, 250:350] = True
    assert not black_around_view(rgb, mask).any()


def test_a_large_photograph_and_a_small_one_have_the_same_view() -> None:
    one = in_round_view(phantom(1, (0.35, 0.35)))
    large = Scene(one.rgb.repeat(6, 0).repeat(6, 1), one.mask.repeat(6, 0).repeat(6, 1))
    assert large.contrast == pytest.approx(one.contrast, abs=0.5)
    assert find_view(large.rgb, large.mask).mean() == pytest.approx(find_view(one.rgb, one.mask).mean(), abs=0.01)
    tiny = np.zeros((3, 4, 3), np.uint8)
    assert not find_view(tiny, np.zeros((3, 4), bool)).any()


FRAMES = {
    "all around": ((30, 50), (70, 20)),
    "bars left and right": ((0, 0), (120, 120)),
    "a bar below": ((0, 90), (0, 0)),
    "none": ((0, 0), (0, 0)),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("is_round", [False, True])
@pytest.mark.slow
def test_the_picture_is_found_in_a_black_frame(name: str, is_round: bool) -> None:
    (top, bottom), (left, right) = FRAMES[name]
    one = phantom(3)
    rgb = in_round_view(one).rgb if is_round else one.rgb
    alone = find_picture(rgb)
    framed = np.pad(rgb, ((top, bottom), (left, right), (0, 0)))
    framed[: top // 10, left : left + 3] = 255  # dust
    expected = Box(top + alone.top, left + alone.left, alone.height, alone.width)
    file = io.BytesIO()
    Image.fromarray(framed).save(file, "jpeg", quality=75)
    for pixels, tolerance in ((framed, 1 if is_round else 0), (np.asarray(Image.open(file)), 8)):  # a block of JPEG
        found = find_picture(pixels)
        ends = [(box.top, box.left, box.top + box.height, box.left + box.width) for box in (found, expected)]
        assert np.abs(np.subtract(*ends)).max() <= tolerance


def test_a_dark_lesion_at_the_edge_is_no_frame() -> None:
    rgb = np.full((200, 300, 3), (60, 42, 36), np.uint8)  # dark skin
    rgb[:, :90] = 3
    rgb[:8, :90] = (60, 42, 36)  # the lesion extends over 96 % of this side
    assert find_picture(rgb) == Box(0, 0, 200, 300)
    black = np.zeros((200, 300, 3), np.uint8)
    assert find_picture(black) == Box(0, 0, 200, 300)
    black[90:95, 140:150] = 200  # too small for a picture
    assert find_picture(black) == Box(0, 0, 200, 300)


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["ph2", "isic2017"])
def test_real_lesions_at_the_edge_are_in_the_picture(shared_data: Path, folder: str) -> None:
    touching = cut = 0
    for sample in read_dataset(shared_data / folder)[:: 1 if folder == "ph2" else 5]:
        assert sample.mask is not None
        mask = read_mask(sample.mask)
        if not any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
            continue
        picture = find_picture(read_photograph(sample.image).rgb)
        touching += 1
        cut += bool(mask.sum() - mask[picture.slices].sum())
    assert touching >= 20
    assert cut == 0


@pytest.mark.parametrize("power", [1.0, 6.0])
def test_black_around_the_view_does_not_change_the_color_of_the_light(power: float) -> None:
    one = phantom(1)
    assert illuminant_gains(padded(one, 0).rgb, power) == pytest.approx(illuminant_gains(one.rgb, power), rel=1e-6)
