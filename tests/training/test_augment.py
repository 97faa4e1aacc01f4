"""Augmentation: image and mask move together, the key determines the result, disabled options change nothing."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.appearance_augmentation import RGB_TO_YIQ, recompress
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.random_numbers import NAMES, BatchRandomNumbers, draw_random_numbers

SIDE = 64
OFF = AugmentationConfig(
    scale=(1, 1),
    aspect=1,
    shift=0,
    rotation=0,
    flip=False,
    elsewhere_probability=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur_probability=0,
    sharpen_probability=0,
    coarse_probability=0,
    jpeg_probability=0,
    noise_probability=0,
)
GEOMETRY = {"scale": (0.6, 1.6), "aspect": 1.25, "shift": 0.15, "rotation": 180.0, "flip": True}
LOOKS = sorted(name for name in AugmentationConfig.model_fields if name.endswith("_probability"))
for other in ("elsewhere", "mosaic", "cutmix", "vignette"):  # tests/training/test_mixing.py and test_covers.py
    LOOKS.remove(f"{other}_probability")
COVERS = ("hair_probability", "bubbles_probability")
COLORS = ("brightness", "contrast", "saturation", "hue")


def changed(**values: object) -> AugmentationConfig:
    return OFF.model_copy(update=values)


def keys(*images: int, epoch: int = 0) -> np.ndarray:
    return np.array([(epoch, image) for image in images])


def batch(count: int, side: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of smooth colors with an off-center ellipse, which is their mask."""
    rows, columns = np.mgrid[:side, :side]
    mask = ((rows - 30) ** 2 / 400 + (columns - 45) ** 2 / 200) < 1
    skin = np.stack([200 + 30 * np.sin(rows / 9), 150 + 20 * np.cos(columns / 7), 120 + rows / 4])
    rgb = np.where(mask, np.array([90, 60, 50])[:, None, None], skin).astype(np.uint8)
    images = torch.from_numpy(rgb)[None].repeat(count, 1, 1, 1)
    return images, torch.from_numpy(mask[None, None].astype(np.uint8) * 255).repeat(count, 1, 1, 1)


def as_image(mask: torch.Tensor) -> torch.Tensor:
    return mask.repeat(1, 3, 1, 1)


def vary(config: AugmentationConfig, places: np.ndarray, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return BatchAugmentation(config, SIDE, seed)(*batch(len(places)), places)


def test_disabled_augmentation_changes_nothing() -> None:
    images, masks = batch(3, SIDE)
    varied, moved = BatchAugmentation(OFF, SIDE, 0)(images, masks, keys(0, 1, 2))
    assert torch.equal(moved, masks)
    assert torch.equal(varied, images.float())


def test_flips_alone_keep_the_pixels_exactly() -> None:
    images, masks = batch(8, SIDE)
    mirroring = OFF.model_copy(update={"flip": True})
    varied, moved = BatchAugmentation(mirroring, SIDE, 0)(images, masks, keys(*range(8)))
    warped, _ = BatchAugmentation(mirroring.model_copy(update={"aspect": 1.0 + 1e-9}), SIDE, 0)(
        images, masks, keys(*range(8))
    )
    mirrored = [torch.equal(one, image.float().flip(-1)) for one, image in zip(varied, images, strict=True)]
    plain = [torch.equal(one, image.float()) for one, image in zip(varied, images, strict=True)]
    assert [one != other for one, other in zip(mirrored, plain, strict=True)] == [True] * 8
    assert any(mirrored)
    assert any(plain)
    assert torch.equal(moved[0], masks[0].flip(-1) if mirrored[0] else masks[0])
    torch.testing.assert_close(varied, warped, atol=1e-2, rtol=0)


def test_half_of_the_images_are_flipped_vertically() -> None:
    images, masks = batch(16, SIDE)
    varied, moved = BatchAugmentation(changed(vertical_flip=True), SIDE, 0)(images, masks, keys(*range(16)))
    flipped = [torch.equal(mask, masks[0].flip(-2)) for mask in moved]
    assert 4 < sum(flipped) < 12
    assert all(torch.equal(mask, masks[0]) for mask, turned in zip(moved, flipped, strict=True) if not turned)
    expected = torch.stack([image.flip(-2) if turned else image for image, turned in zip(images, flipped, strict=True)])
    torch.testing.assert_close(varied, expected.float(), atol=1e-2, rtol=0)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 1000), elsewhere=st.sampled_from([0.0, 1.0]))
def test_an_image_that_equals_its_mask_still_does_when_moved(seed: int, epoch: int, elsewhere: float) -> None:
    masks = batch(4)[1]
    config = changed(**GEOMETRY, elsewhere_probability=elsewhere)
    varied, moved = BatchAugmentation(config, SIDE, seed)(as_image(masks), masks, keys(0, 1, 2, 3, epoch=epoch))
    assert varied.shape == (4, 3, SIDE, SIDE)
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 255}
    assert torch.equal(as_image(moved) == 255, varied >= 127.5)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), places=st.lists(st.integers(0, 10**6), min_size=2, max_size=5, unique=True))
def test_the_result_for_an_image_does_not_depend_on_its_batch(seed: int, places: list[int]) -> None:
    augment = BatchAugmentation(AugmentationConfig(), SIDE, seed)
    together = augment(*batch(len(places)), keys(*places))
    alone = augment(*batch(1), keys(places[-1]))
    assert (together[0][-1:] - alone[0]).abs().mean() < 0.01  # the order of summation may differ
    assert torch.equal(together[1][-1:], alone[1])


def test_the_result_depends_on_seed_epoch_and_image_only() -> None:
    first = vary(AugmentationConfig(), keys(1, 2, 3))[0]
    torch.rand(7)
    assert torch.equal(vary(AugmentationConfig(), keys(1, 2, 3))[0], first)
    for other in (
        vary(AugmentationConfig(), keys(1, 2, 3), seed=1),
        vary(AugmentationConfig(), keys(1, 2, 3, epoch=1)),
    ):
        assert all(not torch.equal(one, another) for one, another in zip(first, other[0], strict=True))


@pytest.mark.parametrize("field", LOOKS)
def test_appearance_changes_the_image_and_not_the_mask(field: str) -> None:
    images, masks = batch(4, SIDE)
    varied, moved = BatchAugmentation(changed(**{field: 1.0}), SIDE, 0)(images, masks, keys(0, 1, 2, 3))
    assert torch.equal(moved, masks)
    assert varied.dtype == torch.float32
    assert float(varied.min()) >= 0
    assert float(varied.max()) <= 255
    difference = (varied - images).abs().mean((1, 2, 3))
    assert all(0.05 < each < 40 for each in difference.tolist())
    lightened = (varied.mean((1, 2, 3)) - images.float().mean((1, 2, 3))).abs().max()
    assert lightened < (15 if field in COVERS else 2)  # no other option shifts the brightness


@pytest.mark.parametrize("field", LOOKS)
def test_augmentation_changes_the_requested_share_of_images(field: str) -> None:
    images, masks = batch(64, SIDE)
    varied = BatchAugmentation(changed(**{field: 0.5}), SIDE, 3)(images, masks, keys(*range(64)))[0]
    touched = ((varied - images).abs().amax((1, 2, 3)) > 0.01).sum()
    assert 20 <= int(touched) <= 44


@pytest.mark.parametrize("field", COLORS)
def test_each_color_change_has_its_effect(field: str) -> None:
    images, masks = batch(16, SIDE)
    varied = BatchAugmentation(changed(**{field: 0.2}), SIDE, 0)(images, masks, keys(*range(16)))[0].double()
    before, after = (torch.einsum("ij,bjyx->biyx", torch.from_numpy(RGB_TO_YIQ), x.double()) for x in (images, varied))
    chroma = [x[:, 1:].norm(dim=1) for x in (before, after)]
    if field in ("saturation", "hue"):
        torch.testing.assert_close(
            after[:, 0], before[:, 0], atol=2.0, rtol=0
        )  # luma is unchanged, except where it was clipped
    if field == "hue":
        torch.testing.assert_close(chroma[1], chroma[0], atol=2.5, rtol=0)
    if field == "contrast":
        torch.testing.assert_close(after[:, 0].mean((1, 2)), before[:, 0].mean((1, 2)), atol=1.0, rtol=0)
    if field == "brightness":
        ratio = (after[:, 0] / before[:, 0]).flatten(1)
        assert (ratio.std(1) < 0.02).all()
        assert ratio.mean(1).min() < 0.9 < 1.1 < ratio.mean(1).max()
    assert (varied - images).abs().amax((1, 2, 3)).min() > 0.05


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_recompression_equals_jpeg(quality: int) -> None:
    rgb = np.ascontiguousarray(batch(1, SIDE)[0][0].permute(1, 2, 0).numpy())
    file = BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)).astype(float)
    found = recompress(torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), np.array([quality]))
    difference = np.abs(found.clamp(0, 255)[0].permute(1, 2, 0).numpy() - expected).mean()
    assert difference < 1.0
    assert difference < 0.5 * np.abs(expected - rgb).mean() + 0.5


def test_sharpening_is_that_of_torchvision() -> None:
    images, masks = batch(2, SIDE)
    varied = BatchAugmentation(changed(sharpen_probability=1.0), SIDE, 0)(images, masks, keys(0, 1))[0]
    torch.testing.assert_close(varied, 255 * functional.adjust_sharpness(images / 255, 4.0), atol=1e-2, rtol=0)


def test_random_numbers_are_uniform_and_independent_between_names() -> None:
    numbers = draw_random_numbers(5, [(epoch, image) for epoch in range(20) for image in range(50)]).numbers
    assert numbers.shape == (1000, len(NAMES))
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.04)
    correlation = np.corrcoef(numbers.T) - np.eye(len(NAMES))
    assert np.abs(correlation).max() < 0.12


def test_chosen_follows_the_probability() -> None:
    drawn = BatchRandomNumbers((1, 2, 3), np.tile([[0.1], [0.5], [0.9]], (1, len(NAMES))))
    assert drawn.select("blur", 0.0).tolist() == []
    assert drawn.select("blur", 0.6).tolist() == [0, 1]
    assert drawn.subset(np.array([2])).seeds == (3,)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (-1.0, 2.0), (1.0, float("inf"))])
def test_a_magnification_is_above_0(scale: tuple[float, float]) -> None:
    """Otherwise all pixels would be NaN, and the training would diverge."""
    with pytest.raises(ConfigError, match="expected two magnifications above 0"):
        AugmentationConfig.parse({"scale": scale}, "the test")
