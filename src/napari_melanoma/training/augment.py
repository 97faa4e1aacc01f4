"""Variation of training images: image and mask move together, and the same seed gives the same variation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.recipe import AugmentationConfig


class Augmentation:
    """The variation of one image; draws from torch's global generator, so seed that before each call.

    Parameters
    ----------
    config : AugmentationConfig
        How much of what.
    side : int
        Side in pixels of what comes out.
    """

    def __init__(self, config: AugmentationConfig, side: int) -> None:
        from torchvision.transforms import v2

        self._config = config
        self._side = side
        self._flips = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])
        self._colour = v2.Compose(
            [
                v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue),
                v2.RandomApply([_coarsen], p=config.coarse_probability),
                v2.RandomApply([v2.GaussianBlur(9, (0.3, 2.0))], p=config.blur_probability),
                v2.RandomAdjustSharpness(4.0, p=config.sharpen_probability),
                v2.RandomApply([_add_noise], p=config.noise_probability),
                v2.RandomApply([_recompress], p=config.jpeg_probability),
            ]
        )

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Vary an image and its mask together.

        Parameters
        ----------
        image, mask : torch.Tensor
            uint8 (3, row, column) and (1, row, column).

        Returns
        -------
        image, mask : torch.Tensor
            uint8, with ``side`` rows and columns.
        """
        import torch
        from torchvision import tv_tensors

        moved, moved_mask = _warp(image, mask, _random_affine(self._config), self._side)
        pair = self._flips(tv_tensors.Image(moved), tv_tensors.Mask(moved_mask))
        return self._colour(pair[0]).as_subclass(torch.Tensor), pair[1].as_subclass(torch.Tensor)


def _random_affine(config: AugmentationConfig) -> Tensor:
    """Draw a rotation, magnification, stretch and shift: the 2 x 3 matrix from output to input coordinates."""
    import torch

    low, high = (torch.tensor(value).log() for value in config.scale)
    elsewhere = bool(torch.rand(()) < config.elsewhere_probability)
    zoom = torch.exp(low + (high - low) * torch.rand(())) * (2 if elsewhere else 1)
    stretch = torch.exp((2 * torch.rand(()) - 1) * torch.tensor(config.aspect).log() / 2)
    angle = 2 * torch.pi * torch.rand(())
    cos, sin = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    matrix = rotation @ torch.diag(torch.stack([stretch / zoom, 1 / (stretch * zoom)]))
    shift = (0.5 if elsewhere else config.shift) * 2 * (2 * torch.rand(2) - 1)
    return torch.cat([matrix, shift[:, None]], dim=1)


def _warp(image: Tensor, mask: Tensor, matrix: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Sample image and mask through one affine map; beyond the border the image is mirrored."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    grid = affine_grid(matrix[None], [1, 3, side, side], align_corners=False)
    both = torch.cat([image, mask])[None].float()
    moved = grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    return moved[:3].round().to(torch.uint8), torch.where(moved[3:] >= 127.5, 255, 0).to(torch.uint8)


def _coarsen(image: Tensor) -> Tensor:
    """Shrink an image and enlarge it again, as a small or distant photograph looks."""
    import torch
    from torchvision.transforms.v2 import functional

    side = image.shape[-1]
    small = int(side * (1 / 3 + 0.6 * float(torch.rand(()))))
    return functional.resize(functional.resize(image, [small, small], antialias=True), [side, side], antialias=True)


def _add_noise(image: Tensor) -> Tensor:
    """Add gaussian noise of a standard deviation up to 0.04 of the range."""
    import torch

    noisy = image.float() + torch.randn(image.shape) * (255 * 0.04 * torch.rand(()))
    return noisy.clamp(0, 255).round().to(torch.uint8).as_subclass(type(image))


def _recompress(image: Tensor) -> Tensor:
    """Send an image through JPEG of a quality between 30 and 95; with Pillow, as torchvision gives its codecs up."""
    from io import BytesIO

    import numpy as np
    import torch
    from PIL import Image

    quality, file = int(torch.randint(30, 96, ())), BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(file)))
    return decoded.permute(2, 0, 1).contiguous().as_subclass(type(image))
