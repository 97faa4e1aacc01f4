"""Mosaics of four images and CutMix patches, with their masks; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import avg_pool2d, grid_sample

from napari_melanoma.training.augment.appearance import to_device
from napari_melanoma.training.augment.random_numbers import NEIGHBORS, MixingTargets

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.augment.random_numbers import BatchRandomNumbers
    from napari_melanoma.training.recipe import AugmentationConfig

SPLIT = (0.35, 0.65)  # position at which the four images of a mosaic meet, as a share of the side
PATCH = (0.25, 0.6)  # sides of a patch, as a share of the side
TILES = 1 + len(NEIGHBORS)


def mix(images: Tensor, masks: Tensor, chance: BatchRandomNumbers, config: AugmentationConfig) -> tuple[Tensor, Tensor]:
    """Combine the selected images of a batch with their partners.

    A mosaic shows four images at about half their size, one in each corner (Bochkovskiy et al. 2020, arXiv:2004.10934);
    a patch is a rectangle of another image at the same position (CutMix, Yun et al. 2019,
    doi:10.1109/ICCV.2019.00612). Masks are processed like a fourth channel.

    ``images``, ``masks``: uint8 (batch + partners, 3, row, column) and (batch + partners, 1, row, column); the partners
    in the order of ``PartnerSampler.sample``. Returns uint8 (batch, 3, row, column) and (batch, 1, row, column); masks
    of mosaics have intermediate values.
    """
    takers, count = MixingTargets(config, chance), len(chance)
    if len(images) != count + takers.partner_count:
        raise ValueError(f"expected {takers.partner_count} partners after {count} images, found {len(images) - count}")
    if not takers.partner_count:
        return images, masks
    both = torch.cat([images, masks], dim=1)
    whole, partners = both[:count], both[count:]
    neighbors, donors = partners.split([len(NEIGHBORS) * len(takers.mosaic), len(takers.cutmix)])
    if len(takers.mosaic):
        indices = torch.from_numpy(takers.mosaic).to(both.device, non_blocking=True)
        tiles = torch.cat([whole[indices, None], neighbors.unflatten(0, (-1, len(NEIGHBORS)))], dim=1)
        whole[indices] = make_mosaics(tiles, chance.subset(takers.mosaic))
    if len(takers.cutmix):
        indices = torch.from_numpy(takers.cutmix).to(both.device, non_blocking=True)
        patch = cutmix_boxes(both.shape[-1], chance.subset(takers.cutmix), both.device)
        whole[indices] = torch.where(patch, donors, whole[indices])
    return whole[:, :3], whole[:, 3:]


def make_mosaics(tiles: Tensor, chance: BatchRandomNumbers) -> Tensor:
    """Show four images in the corners of one, at about half their size, each cropped to its corner.

    ``tiles``: uint8 (mosaic, 4, channel, side, side). Returns uint8 (mosaic, channel, side, side).
    """
    side = tiles.shape[-1]
    turn = to_device(tiles.device, chance.uniform("corner", 0, TILES)).long()[:, None] + torch.arange(
        4, device=tiles.device
    )
    turned = tiles.gather(1, (turn % TILES).view(-1, TILES, 1, 1, 1).expand_as(tiles))
    halved = avg_pool2d(turned.flatten(0, 1).float(), 2).unflatten(0, (-1, 2, 2))
    sheet = halved.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    grid = _draw_corners(side, halved.shape[-1], chance, tiles.device)
    return grid_sample(sheet, grid, mode="bilinear", align_corners=False).round_().to(torch.uint8)


def cutmix_boxes(side: int, chance: BatchRandomNumbers, device: torch.device) -> Tensor:
    """Draw the rectangle of each patch.

    ``side``: of the images, in pixels. Returns bool (image, 1, side, side).
    """
    centers = (torch.arange(side, device=device) + 0.5) / side
    inside = []
    for size, position in (("patch_height", "patch_y"), ("patch_width", "patch_x")):
        length = chance.uniform(size, *PATCH)
        start = to_device(device, chance.uniform(position, 0, 1) * (1 - length))[:, None]
        inside.append((centers >= start) & (centers < start + to_device(device, length)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _draw_corners(side: int, tile_px: int, chance: BatchRandomNumbers, device: torch.device) -> Tensor:
    """Sampling positions of mosaic pixels on the sheet of four halved images: (mosaic, row, column, 2)."""
    centers = (torch.arange(side, device=device) + 0.5) / side
    far, middle, length = [], [], []
    for name in ("split_y", "split_x"):
        split = to_device(device, chance.uniform(name, *SPLIT))[:, None]
        beyond = centers >= split
        far.append(beyond)
        length.append(torch.where(beyond, 1 - split, split))
        middle.append(centers - torch.where(beyond, (1 + split) / 2, split / 2))
    longer = torch.maximum(length[0][:, :, None], length[1][:, None, :])
    rows = (0.5 + middle[0][:, :, None] / longer).clamp_(0.5 / tile_px, 1 - 0.5 / tile_px)
    columns = (0.5 + middle[1][:, None, :] / longer).clamp_(0.5 / tile_px, 1 - 0.5 / tile_px)
    return torch.stack([columns + far[1][:, None, :], rows + far[0][:, :, None]], dim=-1) - 1
