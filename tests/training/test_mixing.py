"""Mosaics and patches: image and mask are mixed alike, and the key alone determines the partners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.training.augmentation import SEAMS, BatchAugmentation, cutmix_boxes, make_mosaics, mix
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.random_numbers import MixingTargets, PartnerSampler, draw_random_numbers

SIDE = 32
IMAGES = 12
LOOKS = ("blur", "sharpen", "coarse", "jpeg", "noise", "mosaic", "cutmix", "hair", "bubbles", "vignette", "cutout")
NO_LOOKS = {f"{name}_probability": 0.0 for name in LOOKS} | {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
STILL = {"scale": (1, 1), "aspect": 1, "shift": 0, "rotation": 0, "flip": False, "elsewhere_probability": 0}
MIXED = {"mosaic_probability": 0.5, "cutmix_probability": 0.5}
seeds = st.integers(0, 2**32)


def config(**values: object) -> AugmentationConfig:
    return AugmentationConfig(**{**NO_LOOKS, **values})


def keys(*images: int, epoch: int = 0) -> np.ndarray:
    return np.array([(epoch, image) for image in images])


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    """Return ellipses of many sizes and positions, uint8 (image, 1, row, column)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    drawn = [
        ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
        for row, column, height, width in rng.uniform((10, 10, 4, 4), (30, 30, 14, 14), (IMAGES, 4))
    ]
    return torch.from_numpy(np.stack(drawn)[:, None].astype(np.uint8) * 255)


def vary(how: AugmentationConfig, masks: torch.Tensor, places: np.ndarray, seed: int = 0) -> list[torch.Tensor]:
    """Augment images that equal their masks."""
    partners = PartnerSampler(how, seed, len(masks)).sample(places)
    whole = masks[np.concatenate([places[:, 1] % len(masks), partners])]
    return list(BatchAugmentation(how, SIDE, seed)(whole.repeat(1, 3, 1, 1), whole, places))


@settings(max_examples=20)
@given(seed=seeds, epoch=st.integers(0, 1000), still=st.booleans(), places=st.lists(st.integers(0, 99), min_size=1))
def test_an_image_that_equals_its_mask_still_does_when_mixed(
    masks: torch.Tensor, seed: int, epoch: int, still: bool, places: list[int]
) -> None:
    how = config(**MIXED, **(STILL if still else {}))
    varied, moved = vary(how, masks, keys(*places[:5], epoch=epoch), seed)
    assert varied.shape == (len(places[:5]), 3, SIDE, SIDE)
    assert set(moved.unique().tolist()) <= {0, 255}
    assert torch.equal(moved.repeat(1, 3, 1, 1) == 255, varied >= 127.5)


@settings(max_examples=20)
@given(seed=seeds, places=st.lists(st.integers(0, 10**6), min_size=2, max_size=5, unique=True))
def test_partners_of_an_image_do_not_depend_on_its_batch(masks: torch.Tensor, seed: int, places: list[int]) -> None:
    how = config(**MIXED)
    together, alone = vary(how, masks, keys(*places), seed), vary(how, masks, keys(places[-1]), seed)
    assert (together[0][-1:] - alone[0]).abs().max() < 1e-2
    assert torch.equal(together[1][-1:], alone[1])
    partners = PartnerSampler(how, seed, IMAGES)
    apart = [
        MixingTargets(how, draw_random_numbers(seed, key)).mosaic.size * [0, 1, 2] for key in keys(*places)[:, None]
    ]
    expected = [partners.sample(key)[: len(three)] for key, three in zip(keys(*places)[:, None], apart, strict=True)]
    assert partners.sample(keys(*places))[: sum(map(len, apart))].tolist() == np.concatenate(expected).tolist()


@settings(max_examples=30)
@given(seed=seeds, train=st.integers(1, 50), replay=st.integers(0, 50), places=st.lists(st.integers(0, 10**5)))
def test_partners_are_others_of_the_same_part(seed: int, train: int, replay: int, places: list[int]) -> None:
    how = config(mosaic_probability=1, cutmix_probability=1)
    requested = keys(*places).reshape(-1, 2)
    found, own = PartnerSampler(how, seed, train, replay).sample(requested), requested[:, 1] % (train + replay)
    for partner, place in zip(found, np.concatenate([np.repeat(own, 3), own]), strict=True):
        assert 0 <= partner < train + replay
        assert (partner >= train) == (place >= train)
        assert partner != place or (train, replay)[int(place >= train)] == 1


def test_partners_are_drawn_evenly_and_differ_between_epochs() -> None:
    partners = PartnerSampler(config(cutmix_probability=1), 0, 10)
    found = np.array([partners.sample(keys(0, epoch=epoch))[0] for epoch in range(900)])
    counts = np.bincount(found, minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 70
    assert counts[1:].max() < 130


def test_a_mosaic_is_of_four_images_where_there_are_four() -> None:
    found = PartnerSampler(config(mosaic_probability=1), 0, 4).sample(keys(*range(4))).reshape(4, 3)
    assert [sorted({place, *three}) for place, three in enumerate(found.tolist())] == [[0, 1, 2, 3]] * 4


def test_no_partner_is_drawn_without_mixing(masks: torch.Tensor) -> None:
    how = config()
    assert not PartnerSampler(how, 0, 10)
    assert PartnerSampler(config(mosaic_probability=0.1), 0, 10)
    images, same = mix(masks.repeat(1, 3, 1, 1), masks, draw_random_numbers(0, keys(*range(IMAGES))), how)
    assert images.data_ptr() != same.data_ptr()
    assert torch.equal(same, masks)


def test_missing_partners_are_an_error(masks: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected 36 partners after 12 images, found 0"):
        mix(masks.repeat(1, 3, 1, 1), masks, draw_random_numbers(0, keys(*range(IMAGES))), config(mosaic_probability=1))


def test_a_mosaic_shows_four_images_in_its_corners() -> None:
    tiles = torch.arange(50, 250, 50, dtype=torch.uint8).view(1, 4, 1, 1, 1).expand(20, 4, 1, 41, 41)
    found = make_mosaics(tiles.contiguous(), draw_random_numbers(0, keys(*range(20))), SEAMS["random"])
    assert found.dtype == torch.uint8
    for one in found[:, 0]:
        corners = [one[0, 0], one[0, -1], one[-1, 0], one[-1, -1]]
        assert sorted(int(corner) for corner in corners) == [50, 100, 150, 200]
        for corner in corners:  # rectangles that fill the image, each between a tenth and a half of it
            assert 0.1 < float((one == corner).float().mean()) < 0.5
        assert set(one.unique().tolist()) == {50, 100, 150, 200}
    assert len({int(one[0, 0, 0]) for one in found}) == 4  # any of the four may be at the top left


def test_a_mosaic_preserves_the_aspect_ratio(masks: torch.Tensor) -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disk = ((rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 16**2).to(torch.uint8) * 255
    numbers = draw_random_numbers(1, keys(*range(10)))
    found = make_mosaics(disk.expand(10, 4, 1, 64, 64), numbers, SEAMS["random"])[:, 0] > 127
    area = found.sum((1, 2)) / (4 * np.pi * 8**2)  # at half the size
    assert area.min() > 0.9
    assert area.max() < 1.7  # a corner may be larger than a quarter


def test_a_mosaic_of_p2_shows_four_whole_images_at_half_their_size() -> None:
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (6, 4, 2, 32, 32), dtype=np.uint8))
    halves = torch.nn.functional.avg_pool2d(tiles.flatten(0, 1).float(), 2).unflatten(0, (6, 4))
    found = make_mosaics(tiles, draw_random_numbers(0, keys(*range(6))), SEAMS["center"])
    for one, parts in zip(found, halves, strict=True):
        corners = [one[:, row : row + 16, column : column + 16].float() for row in (0, 16) for column in (0, 16)]
        assert all(any(bool(((corner - part).abs() <= 1).all()) for part in parts) for corner in corners)
        assert all(any(bool(((corner - part).abs() <= 1).all()) for corner in corners) for part in parts)


def test_a_patch_is_a_rectangle_of_the_other_image_at_the_same_position() -> None:
    how = config(cutmix_probability=1)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 255, (16, 3, 24, 24), dtype=np.uint8))
    masks = images[:, :1].clone()
    mixed, moved = mix(images, masks, draw_random_numbers(0, keys(*range(8))), how)
    inside = cutmix_boxes(24, draw_random_numbers(0, keys(*range(8))), images.device)
    assert torch.equal(mixed, torch.where(inside, images[8:], images[:8]))
    assert torch.equal(moved, torch.where(inside, masks[8:], masks[:8]))
    for one in inside[:, 0]:
        rows, columns = one.any(1).nonzero()[:, 0], one.any(0).nonzero()[:, 0]
        assert int(one.sum()) == len(rows) * len(columns)
        assert 0.2 * 24 < len(rows) < 0.65 * 24
        assert torch.equal(rows, torch.arange(rows[0], rows[-1] + 1))
