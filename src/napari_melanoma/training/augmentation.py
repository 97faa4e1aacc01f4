"""Augmentation of a whole batch on its device: order of the transforms, geometry, mosaics and CutMix; imports torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample
from torchvision import tv_tensors
from torchvision.transforms import v2

from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.training.appearance_augmentation import (
    Blur,
    Bubbles,
    Coarsen,
    ColorJitter,
    Cutout,
    Hair,
    Noise,
    PluginAugmentation,
    Recompress,
    Sharpen,
    Vignette,
    to_device,
)
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.random_numbers import (
    NEIGHBORS,
    BatchRandomNumbers,
    MixingTargets,
    PartnerSampler,
    draw_random_numbers,
    is_mixing,
)


class BatchAugmentation:
    """Augments batches of images and masks; the result for an image depends on the seed and its key only.

    ``side``: side of the output in pixels, a multiple of 16. ``classes``: number of classes; masks of more than one
    class hold class indices.
    """

    def __init__(self, config: AugmentationConfig, side: int, seed: int, classes: int = 1) -> None:
        self._config = config
        self._seed = seed
        self._classes = classes
        self._only_flips = classes == 1 and config.is_off
        self._side = side
        # Both in the order in which they affect a photograph: objects on the skin, then light, lens, sensor and file.
        on_skin = [augmentation(config) for augmentation in (Hair, Bubbles)]
        in_camera = [augmentation(config) for augmentation in (Cutout, Coarsen, Blur, Sharpen, Noise, Recompress)]
        self._transforms = v2.Compose(
            [
                GeometricWarp(config, side, classes),
                *(step for step in on_skin if step.is_enabled),
                ColorJitter(config),
                *(step for step in (Vignette(config, classes), *in_camera) if step.is_enabled),
                *(PluginAugmentation(name, probability) for name, probability in (config.plugins or {}).items()),
            ]
        )

    def __call__(self, images: Tensor, masks: Tensor, keys: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        ``images``, ``masks``: uint8 (batch + partners, 3, row, column) and (batch + partners, 1, row, column), on any
        device; the partners for mosaics and CutMix follow the batch. ``keys``: int64 (batch, 2): epoch and key of each
        image. Returns images, float32 (batch, 3, side, side) in [0, 255], and masks, uint8 (batch, 1, side, side), 0
        or 255, or class indices.
        """
        if self._only_flips and images.shape[-2:] == (self._side, self._side):
            return self._flip(images, masks, keys)
        with torch.no_grad():
            rng = draw_random_numbers(self._seed, keys)
            if self._classes > 1:
                masks = one_hot(masks, self._classes).mul_(255)
            if is_mixing(self._config):
                images, masks = mix(images, masks, rng, self._config)
            image, mask, _ = self._transforms(tv_tensors.Image(images), tv_tensors.Mask(masks), rng)
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)

    def _flip(self, images: Tensor, masks: Tensor, keys: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Flip some images and leave the values of all exactly unchanged, so that an encoder cache recognizes them."""
        chosen = torch.from_numpy(draw_flips(self._config, draw_random_numbers(self._seed, keys))).to(images.device)
        chosen = chosen[:, None, None, None]
        images, masks = (torch.where(chosen, values.flip(-1), values) for values in (images, masks))
        return images.float(), masks


def preview_augmentation(
    config: AugmentationConfig, images: NDArray[np.uint8], masks: NDArray[np.uint8], shown: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Augment the first ``shown`` images as in training; any of the images may be a partner for mosaics and CutMix.

    ``images``: uint8 (image, side, side, 3). ``masks``: uint8 (image, side, side), 0 or 255. Returns the
    augmented images and masks, ``shown`` of each, in the same format.
    """
    side = images.shape[1]
    keys = np.stack([np.full(shown, seed), np.arange(shown)], axis=1)
    indices = np.concatenate([np.arange(shown), PartnerSampler(config, 0, len(images)).sample(keys)])
    pixels = torch.from_numpy(images[indices]).permute(0, 3, 1, 2).contiguous()
    augmented, warped = BatchAugmentation(config, side, 0)(pixels, torch.from_numpy(masks[indices])[:, None], keys)
    return augmented.round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), warped[:, 0].numpy()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Encode labels as one map per class.

    ``labels``: uint8 (batch, 1, row, column), class indices, or ``UNLABELED_PIXEL``. Returns uint8 0 or 1 (batch,
    class, row, column); 0 for all classes where a pixel has no label.
    """
    indices = torch.arange(classes, dtype=labels.dtype, device=labels.device)
    return (labels == indices[:, None, None]).to(torch.uint8)


class GeometricWarp(v2.Transform):
    """Warps each image and its mask by a random affine map; both are reflected beyond the border.

    ``side``: side of the output in pixels. ``classes``: number of maps of a mask; more than one are those of classes.
    """

    def __init__(self, config: AugmentationConfig, side: int, classes: int = 1) -> None:
        super().__init__()
        self._classes = classes
        self._config = config
        self._side = side

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, rng: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Warp images and masks.

        ``image``: uint8 (batch, 3, row, column). ``mask``: uint8 (batch, 1 or class, row, column), 0 to 255. Returns
        images, float32 (batch, 3, side, side), and masks, uint8 (batch, 1, side, side), 0 or 255, or class indices.
        """
        matrix = torch.from_numpy(affine_matrices(self._config, rng)).to(image.device, non_blocking=True)
        channels = torch.cat([image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)], dim=1).float()
        grid = sampling_grid(matrix, self._side)
        warped = grid_sample(channels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        labels = warped[:, 3:]
        if self._classes > 1:
            is_labeled = labels.sum(1, keepdim=True) >= 127.5
            warped_mask = torch.where(is_labeled, labels.argmax(1, keepdim=True), UNLABELED_PIXEL).to(torch.uint8)
        else:
            warped_mask = (labels >= 127.5).to(torch.uint8).mul_(255)
        return tv_tensors.Image(warped[:, :3]), tv_tensors.Mask(warped_mask), rng


def sampling_grid(matrix: Tensor, side: int) -> Tensor:
    """Return the sampling points of affine maps for the pixels of a square.

    The result equals ``torch.nn.functional.affine_grid`` without aligned corners. It is a sum of terms for rows and
    columns; the matrix product for each pixel in ``affine_grid`` takes a third of the time of the sampling itself.

    ``matrix``: float32 (batch, 2, 3). ``side``: side of the square in pixels. Returns float32 (batch, row, column, 2)
    in [-1, 1], (x, y) order.
    """
    centers = (2 * torch.arange(side, device=matrix.device) + 1) / side - 1
    along_rows = matrix[:, :, 1, None] * centers + matrix[:, :, 2, None]
    along_columns = matrix[:, :, 0, None] * centers
    return (along_rows[:, :, :, None] + along_columns[:, :, None, :]).permute(0, 2, 3, 1)


def affine_matrices(config: AugmentationConfig, rng: BatchRandomNumbers) -> NDArray[np.float32]:
    """Compute the random maps from output to input coordinates, both in [-1, 1] with (x, y) order.

    Returns float32 (batch, 2, 3).
    """
    elsewhere = rng.uniform("elsewhere", 0, 1) < config.elsewhere_probability
    zoom = np.exp(rng.uniform("zoom", *np.log(config.scale))) * np.where(elsewhere, 2, 1)
    stretch = np.exp(rng.uniform("stretch", -1, 1) * np.log(config.aspect) / 2)
    mirror = np.where(draw_flips(config, rng), -1, 1)
    angle = np.deg2rad(rng.uniform("angle", -config.rotation, config.rotation))
    upside_down = np.where(config.vertical_flip & (rng.uniform("vertical_flip", 0, 1) < 0.5), -1, 1)
    along_x, along_y = mirror * stretch / zoom, upside_down / (stretch * zoom)
    maps = np.empty((len(rng), 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 0, 1] = np.cos(angle) * along_x, -np.sin(angle) * along_y
    maps[:, 1, 0], maps[:, 1, 1] = np.sin(angle) * along_x, np.cos(angle) * along_y
    max_shift = 2 * np.where(elsewhere, 0.5, config.shift)
    maps[:, 0, 2] = max_shift * rng.uniform("shift_x", -1, 1)
    maps[:, 1, 2] = max_shift * rng.uniform("shift_y", -1, 1)
    return maps


def draw_flips(config: AugmentationConfig, rng: BatchRandomNumbers) -> NDArray[np.bool_]:
    """Return which images of a batch are flipped horizontally, bool (batch,)."""
    return np.asarray(config.flip & (rng.uniform("flip", 0, 1) < 0.5))


# Range of the position at which the four images of a mosaic meet, as a share of the side.
SEAMS = {"random": (0.35, 0.65), "center": (0.5, 0.5)}
PATCH = (0.25, 0.6)  # height and width of a CutMix patch, as a share of the side
TILES = 1 + len(NEIGHBORS)  # images of a mosaic


def mix(images: Tensor, masks: Tensor, rng: BatchRandomNumbers, config: AugmentationConfig) -> tuple[Tensor, Tensor]:
    """Combine the selected images of a batch with their partners.

    A mosaic shows four images at half their size, one in each corner (Bochkovskiy et al. 2020, arXiv:2004.10934);
    a patch is a rectangle of another image at the same position (CutMix, Yun et al. 2019,
    doi:10.1109/ICCV.2019.00612). Masks are processed like further channels.

    ``images``, ``masks``: uint8 (batch + partners, 3, row, column) and (batch + partners, 1 or class, row, column); the
    partners in the order of ``PartnerSampler.sample``. Returns both for the batch, in the same format; masks of mosaics
    have intermediate values.
    """
    targets, count = MixingTargets(config, rng), len(rng)
    if len(images) != count + targets.partner_count:
        raise ValueError(f"expected {targets.partner_count} partners after {count} images, found {len(images) - count}")
    if not targets.partner_count:
        return images, masks
    channels = torch.cat([images, masks], dim=1)
    mixed, partners = channels[:count], channels[count:]
    neighbors, donors = partners.split([len(NEIGHBORS) * len(targets.mosaic), len(targets.cutmix)])
    if len(targets.mosaic):
        indices = torch.from_numpy(targets.mosaic).to(channels.device, non_blocking=True)
        tiles = torch.cat([mixed[indices, None], neighbors.unflatten(0, (-1, len(NEIGHBORS)))], dim=1)
        mixed[indices] = make_mosaics(tiles, rng.subset(targets.mosaic), SEAMS[config.mosaic_seam])
    if len(targets.cutmix):
        indices = torch.from_numpy(targets.cutmix).to(channels.device, non_blocking=True)
        patch = cutmix_boxes(channels.shape[-1], rng.subset(targets.cutmix), channels.device)
        mixed[indices] = torch.where(patch, donors, mixed[indices])
    return mixed[:, :3], mixed[:, 3:]


def make_mosaics(tiles: Tensor, rng: BatchRandomNumbers, seam: tuple[float, float]) -> Tensor:
    """Show four images at about half their size, each in a corner of one image and cropped to that corner.

    ``tiles``: uint8 (mosaic, 4, channel, side, side). ``seam``: range of the position at which they meet, as a
    share of the side; at 0.5 no image is cropped. Returns uint8 (mosaic, channel, side, side).
    """
    side = tiles.shape[-1]
    first = to_device(tiles.device, rng.uniform("corner", 0, TILES)).long()[:, None]
    order = (first + torch.arange(TILES, device=tiles.device)) % TILES
    turned = tiles.gather(1, order.view(-1, TILES, 1, 1, 1).expand_as(tiles))
    halved = avg_pool2d(turned.flatten(0, 1).float(), 2).unflatten(0, (-1, 2, 2))
    sheet = halved.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    grid = _mosaic_grid(side, halved.shape[-1], rng, seam, tiles.device)
    return grid_sample(sheet, grid, mode="bilinear", align_corners=False).round_().to(torch.uint8)


def cutmix_boxes(side: int, rng: BatchRandomNumbers, device: torch.device) -> Tensor:
    """Draw the rectangle of each patch.

    ``side``: side of the images in pixels. Returns bool (image, 1, side, side), True in the patch.
    """
    centers = (torch.arange(side, device=device) + 0.5) / side
    inside = []
    for size, position in (("patch_height", "patch_y"), ("patch_width", "patch_x")):
        length = rng.uniform(size, *PATCH)
        start = to_device(device, rng.uniform(position, 0, 1) * (1 - length))[:, None]
        inside.append((centers >= start) & (centers < start + to_device(device, length)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _mosaic_grid(
    side: int, tile_px: int, rng: BatchRandomNumbers, seam: tuple[float, float], device: torch.device
) -> Tensor:
    """Draw the seams, and return the position of each mosaic pixel on the sheet of four halved images.

    ``side``, ``tile_px``: sides of the mosaic and of a halved image in pixels. Returns (mosaic, row, column, 2) in
    [-1, 1], (x, y) order.
    """
    centers = (torch.arange(side, device=device) + 0.5) / side
    is_beyond, from_center, length = [], [], []
    for name in ("split_y", "split_x"):
        split = to_device(device, rng.uniform(name, *seam))[:, None]
        beyond = centers >= split
        is_beyond.append(beyond)
        length.append(torch.where(beyond, 1 - split, split))
        from_center.append(centers - torch.where(beyond, (1 + split) / 2, split / 2))
    longer = torch.maximum(length[0][:, :, None], length[1][:, None, :])
    rows = (0.5 + from_center[0][:, :, None] / longer).clamp_(0.5 / tile_px, 1 - 0.5 / tile_px)
    columns = (0.5 + from_center[1][:, None, :] / longer).clamp_(0.5 / tile_px, 1 - 0.5 / tile_px)
    return torch.stack([columns + is_beyond[1][:, None, :], rows + is_beyond[0][:, :, None]], dim=-1) - 1
