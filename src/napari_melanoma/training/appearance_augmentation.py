"""Augmentation of color, sharpness, noise and compression, and by hairs, bubbles and dark corners; imports torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augmentation_config import AugmentationConfig
    from napari_melanoma.training.random_numbers import BatchRandomNumbers


class RandomAugmentation(v2.Transform):
    """An augmentation that is applied to randomly selected images of a batch; the others cost nothing."""

    name: str  # name of the random number, and of the field ``<name>_probability``

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._probability: float = getattr(config, f"{self.name}_probability")

    @property
    def is_enabled(self) -> bool:
        """Whether the probability is greater than 0."""
        return self._probability > 0

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, chance: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Augment the selected images in place, float32 in [0, 255], and their masks of 0 and 255."""
        chosen = chance.select(self.name, self._probability)
        if len(chosen):
            images, masks = image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)
            indices = torch.from_numpy(chosen).to(images.device, non_blocking=True)
            self._augment(images, masks, indices, chance.subset(chosen))
        return image, mask, chance

    @abstractmethod
    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, chance: BatchRandomNumbers) -> None:
        """Augment the images and masks at some indices of a batch; ``chance`` holds the numbers of these images."""


class AppearanceAugmentation(RandomAugmentation):
    """A change of appearance, which leaves masks unchanged."""

    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, chance: BatchRandomNumbers) -> None:
        images[indices] = self._augment_images(images[indices], chance).clamp_(0, 255)

    @abstractmethod
    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Augment images.

        ``images``: float32 (chosen, 3, row, column) in [0, 255], a copy. Returns the same type; values outside the
        range are clipped by the caller.
        """


def to_device(device: torch.device, values: NDArray[np.float64]) -> Tensor:
    """Move one number per image to the device of the images.

    ``values``: float64 (image, ...). Returns float32 of the same shape.
    """
    return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)


def pixel_centers(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel centers, as a share of the sides.

    ``images``: float (batch, 3, row, column). Returns (1, row, 1) and (1, 1, column) of the same dtype, in [0, 1].
    """
    rows, columns = (
        (torch.arange(count, device=images.device, dtype=images.dtype) + 0.5) / count for count in images.shape[-2:]
    )
    return rows[None, :, None], columns[None, None, :]


# Luma and the two color axes of NTSC (ITU-R BT.470): gray lies on the first, hue is an angle in the others.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


class ColorJitter(v2.Transform):
    """Changes brightness, contrast, saturation and hue of each image, in this order.

    Each of the four is linear in the colors (contrast moves towards the mean gray, hue is a rotation about the gray
    axis), so that together they are one 3 x 3 matrix and one offset per image, and one multiplication for the batch.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._config = config

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, chance: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Change the colors of float32 images in [0, 255]; masks are unchanged."""
        config = self._config
        if not any((config.brightness, config.contrast, config.saturation, config.hue)):
            return image, mask, chance
        images = image.as_subclass(torch.Tensor)
        matrix, gray_shares = color_maps(config, chance)
        gray = images.mean((2, 3)) @ to_device(images.device, YIQ[0])
        offset = to_device(images.device, gray_shares) * gray
        changed = offset.view(-1, 1, 1, 1).expand_as(images).contiguous()
        for channel, weights in enumerate(to_device(images.device, matrix).unbind(2)):
            changed.addcmul_(images[:, channel, None], weights[:, :, None, None])
        return tv_tensors.Image(changed.clamp_(0, 255)), mask, chance


def color_maps(
    config: AugmentationConfig, chance: BatchRandomNumbers
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the color maps of a batch.

    Returns float64 (batch, 3, 3), from color to color, and float64 (batch,), the share of an image's mean gray that is
    added to it.
    """
    brightness = _draw_factor(chance, "brightness", config.brightness)
    contrast = _draw_factor(chance, "contrast", config.contrast)
    saturation = _draw_factor(chance, "saturation", config.saturation)
    angle = 2 * np.pi * chance.uniform("hue", -config.hue, config.hue)
    rotation = np.zeros((len(chance), 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = saturation * np.cos(angle)
    rotation[:, 1, 2], rotation[:, 2, 1] = -saturation * np.sin(angle), saturation * np.sin(angle)
    matrix = np.linalg.inv(YIQ) @ rotation @ YIQ * (brightness * contrast)[:, None, None]
    return matrix, brightness * (1 - contrast)


def _draw_factor(chance: BatchRandomNumbers, name: str, amount: float) -> NDArray[np.float64]:
    """Random factor of each image, around one."""
    return chance.uniform(name, max(0.0, 1 - amount), 1 + amount)


BLUR_RADIUS = 4  # pixels: twice the largest sigma
SIGMA = (0.3, 2.0)
SHARPENING = 4.0
MIN_SCALE = 1 / 3
MAX_SCALE = MIN_SCALE + 0.6
MAX_NOISE = 255 * 0.04


class Coarsen(AppearanceAugmentation):
    """Downsamples an image and upsamples it again, as in a small or distant photograph."""

    name = "coarse"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Use a random size for each image."""
        side = images.shape[-1]
        for image, share in zip(images, chance.uniform("coarseness", MIN_SCALE, MAX_SCALE), strict=True):
            small = functional.resize(image, [int(side * share)] * 2, antialias=True)
            image.copy_(functional.resize(small, [side, side], antialias=True))
        return images


class Blur(AppearanceAugmentation):
    """Blurs each image with a Gaussian of random width."""

    name = "blur"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Convolve along one axis, then along the other."""
        sigma = chance.uniform("sigma", *SIGMA)[:, None]
        kernel = np.exp(-0.5 * (np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1) / sigma) ** 2)
        weights = to_device(images.device, kernel / kernel.sum(1, keepdims=True))
        padded = pad(images, (BLUR_RADIUS,) * 4, mode="reflect")
        return _filter(_filter(padded, weights, axis=2), weights, axis=3)


class Sharpen(AppearanceAugmentation):
    """Sharpens, as smartphone cameras do."""

    name = "sharpen"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Move each inner pixel away from the mean of its neighborhood; its own weight is five in thirteen."""
        ones = images.new_ones(len(images), 3)
        inside = images[..., 1:-1, 1:-1]
        mean = _filter(_filter(images, ones, axis=2), ones, axis=3).add_(inside, alpha=4).div_(13)
        inside.lerp_(mean, 1 - SHARPENING)
        return images


class Noise(AppearanceAugmentation):
    """Adds Gaussian noise of random strength to each image."""

    name = "noise"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Add noise that depends on the seed of each image."""
        source = torch.Generator(images.device)
        for image, seed, deviation in zip(images, chance.seeds, chance.uniform("deviation", 0, MAX_NOISE), strict=True):
            noise = torch.randn(image.shape, generator=source.manual_seed(seed), device=images.device)
            image.add_(noise, alpha=float(deviation))
        return images


def _filter(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sum shifted images with weights per image, in a sixth of the time of a grouped convolution."""
    length = images.shape[axis] - weights.shape[1] + 1
    total = torch.zeros_like(images.narrow(axis, 0, length))
    for shift, weight in enumerate(weights.unbind(1)):
        total.addcmul_(images.narrow(axis, shift, length), weight[:, None, None, None])
    return total


BLOCK = 8
QUALITY = (30, 95)
# T.81, Annex K: the quantization tables for luma and color at quality 50.
LUMA_QUANTIZATION = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_QUANTIZATION = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *[99] * 32,
)
# JFIF: luma, and the differences of blue and red from it.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
RGB = np.linalg.inv(YCBCR)


class Recompress(AppearanceAugmentation):
    """Compresses each image as JPEG of random quality; image sides are multiples of 16."""

    name = "jpeg"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        return recompress(images, np.floor(chance.uniform("quality", QUALITY[0], QUALITY[1] + 1)))


def recompress(images: Tensor, quality: NDArray[np.float64]) -> Tensor:
    """Apply the loss of JPEG with color at half resolution, as most cameras and programs write it.

    ``images``: float32 (batch, 3, row, column) in [0, 255]; rows and columns are multiples of 16. ``quality``: float64
    (batch,), 1 to 99, as in libjpeg. Returns float32 of the same shape, not clipped.
    """
    device = images.device
    planes = torch.einsum("pc,bcyx->bpyx", to_device(device, YCBCR), images)
    luma = _quantize(planes[:, :1] - 128, quantization_steps(LUMA_QUANTIZATION, quality)) + 128
    color = _quantize(avg_pool2d(planes[:, 1:], 2), quantization_steps(CHROMA_QUANTIZATION, quality))
    whole = interpolate(color, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.einsum("cp,bpyx->bcyx", to_device(device, RGB), torch.cat([luma, whole], dim=1))


def quantization_steps(table: tuple[int, ...], quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a quantization table to qualities, as libjpeg does.

    ``quality``: float64 (batch,), 1 to 99. Returns float64 (batch, 64): multiples to which coefficients are rounded.
    """
    percent = np.where(quality < 50, np.floor(5000 / quality), 200 - 2 * quality)
    return np.clip(np.floor((np.array(table) * percent[:, None] + 50) / 100), 1, 255)


def _quantize(planes: Tensor, step: NDArray[np.float64]) -> Tensor:
    """Round the DCT coefficients of the blocks of planes (batch, plane, row, column)."""
    batch, count, rows, columns = planes.shape
    cosines = to_device(planes.device, _dct_matrix())
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4).reshape(batch, -1, BLOCK**2)
    width = to_device(planes.device, step)[:, None]
    rounded = ((blocks @ cosines.T) / width).round_() * width
    restored = (rounded @ cosines).view(batch, count, rows // BLOCK, columns // BLOCK, BLOCK, BLOCK)
    return restored.transpose(3, 4).reshape(batch, count, rows, columns)


def _dct_matrix() -> NDArray[np.float64]:
    """Matrix (64, 64) from the pixels of a block to its coefficients; orthonormal, so its transpose is the inverse."""
    index = np.arange(BLOCK)
    line = np.cos(np.pi * (2 * index[None] + 1) * index[:, None] / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    line[0] /= np.sqrt(2)
    return np.kron(line, line)


OFF_CENTER = 0.06  # greatest share of the side
FADE_RADIUS = (0.4, 0.6)  # radius at which the light starts to fade, as a share of the side; corners are at 0.71
SOFTNESS = (0.01, 0.3)  # share of the side: from the sharp rim of a dermatoscope to the fading of a lens
DARKNESS = (0.4, 1.4)  # lost share of the light; above 1 is black
MIN_LIGHT = 1 / 16  # share of the light: below it a border cannot be drawn
CUTOUT_SIDE = (0.1, 0.3)  # share of the side
HAIR_PURPOSE, BUBBLE_PURPOSE = 1, 2  # separate the random numbers of an image's seed


class Vignette(RandomAugmentation):
    """Darkens the corners; the mask is cleared where hardly any light is left."""

    name = "vignette"

    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, chance: BatchRandomNumbers) -> None:
        """Darken images, and clear their masks in the dark."""
        light = vignette_light(images, chance)
        images[indices] *= light
        masks[indices] *= light >= MIN_LIGHT


def vignette_light(images: Tensor, chance: BatchRandomNumbers) -> Tensor:
    """Share of the light that each pixel keeps.

    ``images``: float32 (any, 3, row, column), for size and device. Returns float32 (image, 1, row, column) in [0, 1].
    """
    rows, columns = pixel_centers(images)
    row, column, stop, softness, darkness = (
        to_device(images.device, chance.uniform(name, *ends))[:, None, None]
        for name, ends in (
            ("stop_y", (0.5 - OFF_CENTER, 0.5 + OFF_CENTER)),
            ("stop_x", (0.5 - OFF_CENTER, 0.5 + OFF_CENTER)),
            ("stop", FADE_RADIUS),
            ("softness", SOFTNESS),
            ("darkness", DARKNESS),
        )
    )
    beyond = ((((rows - row) ** 2 + (columns - column) ** 2).sqrt_() - stop) / softness).clamp_(0, 1)
    return (1 - darkness * beyond**2 * (3 - 2 * beyond)).clamp_(0, 1)[:, None]


class Cutout(AppearanceAugmentation):
    """Covers a square with the mean color of the image (DeVries and Taylor 2017, arXiv:1708.04552).

    The mask is unchanged: the hidden part is to be inferred from its surroundings.
    """

    name = "cutout"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        rows, columns = pixel_centers(images)
        side, row, column = (
            to_device(images.device, chance.uniform(name, *ends))[:, None, None]
            for name, ends in (("cover_side", CUTOUT_SIDE), ("cover_y", (0, 1)), ("cover_x", (0, 1)))
        )
        hidden = ((rows - row).abs() < side / 2) & ((columns - column).abs() < side / 2)
        return torch.where(hidden[:, None], images.mean((2, 3), keepdim=True), images)


FEWEST_HAIRS, MOST_HAIRS = 4, 24
LENGTH, BEND = (0.25, 1.1), 0.12  # share of the side; bend as a share of the length
HALF_WIDTH = (0.0022, 0.0065)  # share of the side
DARK, FAIR = np.array([26.0, 19, 16]), np.array([150.0, 112, 74])  # sRGB
FAIR_SHARE = 0.2
OPACITY = (0.75, 1.0)
SHADOW, SHADOW_PX = 0.18, 5


class Hair(AppearanceAugmentation):
    """Draws 4 to 24 hairs over an image: mostly along one direction, tapered, with a soft shadow beside them.

    P2 draws hairs on its training images; here each is a parabola, whose distance to a pixel has a closed form.
    """

    name = "hair"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Cover each image with hairs of one color."""
        drawn = [_HairStrokes(seed) for seed in chance.seeds]
        strokes = np.stack([each.strokes for each in drawn])
        rows, columns = pixel_centers(images)
        cover = torch.zeros_like(images[:, 0])
        for hair in range(MOST_HAIRS):
            torch.maximum(cover, _render_stroke(rows, columns, to_device(images.device, strokes[:, hair])), out=cover)
        shadow = avg_pool2d(cover[:, None], SHADOW_PX, stride=1, padding=SHADOW_PX // 2).roll((1, 2), dims=(2, 3))
        color = to_device(images.device, np.stack([each.color for each in drawn]))[:, :, None, None]
        return (images * (1 - SHADOW * shadow)).lerp_(color.expand_as(images), cover[:, None])


class _HairStrokes:
    """The hairs of one image, drawn from its seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, HAIR_PURPOSE))
        count = rng.integers(FEWEST_HAIRS, MOST_HAIRS + 1)
        fair = rng.random() if rng.random() < FAIR_SHARE else 0.0
        self.color = DARK + fair * (FAIR - DARK) + rng.normal(0, 4, 3)
        angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, MOST_HAIRS)
        middle = rng.uniform(-0.05, 1.05, (MOST_HAIRS, 2))
        length = rng.uniform(*LENGTH, MOST_HAIRS)
        bend = BEND * rng.normal(0, 1, MOST_HAIRS) * length
        half_width = rng.uniform(*HALF_WIDTH) * rng.uniform(0.7, 1.3, MOST_HAIRS)
        opacity = np.where(np.arange(MOST_HAIRS) < count, rng.uniform(*OPACITY), 0.0)
        self.strokes: NDArray[np.float64] = np.column_stack([angle, middle, length, bend, half_width, opacity])


def _render_stroke(rows: Tensor, columns: Tensor, stroke: Tensor) -> Tensor:
    """Share of each pixel that a hair covers: (image, row, column) from (image, 7)."""
    angle, row, column, length, bend, half_width, opacity = stroke[:, :, None, None].unbind(1)
    down, across = rows - row, columns - column
    along = (down * angle.sin() + across * angle.cos()) / length + 0.5  # 0 at the root, 1 at the tip
    sideways = down * angle.cos() - across * angle.sin()
    sag = 4 * bend * along * (1 - along)
    slope = 4 * bend * (1 - 2 * along) / length
    distance = (sideways - sag).abs_() / (1 + slope**2).sqrt_()
    thickness = half_width * (1.02 - along).clamp_(0, 1).sqrt_()
    pixel = 1 / rows.shape[-2]
    inside = ((along >= 0) & (along <= 1)).to(distance.dtype)
    # A hair thinner than a pixel covers its share of it.
    return ((thickness - distance) / pixel + 0.5).clamp_(0, 1) * (2 * thickness / pixel).clamp_(0, 1) * inside * opacity


FEWEST_BUBBLES, MOST_BUBBLES = 2, 12
RADIUS = (0.008, 0.07)  # share of the side
SPREAD = 0.22  # spread of the bubbles of an image around one position
DEEPEST = 0.25  # share of the light that the dark inner ring absorbs
RIM, GLINT = 0.6, 0.85  # greatest brightness
WHITE = 250.0


class Bubbles(AppearanceAugmentation):
    """Draws 2 to 12 bubbles near each other: a bright rim, a darker ring within it, and a reflection of the lamp."""

    name = "bubbles"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        drawn = np.stack([_draw_bubbles(seed) for seed in chance.seeds])
        rows, columns = pixel_centers(images)
        shade, light = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
        for bubble in range(MOST_BUBBLES):
            dark, bright = _render_bubble(rows, columns, to_device(images.device, drawn[:, bubble]))
            torch.maximum(shade, dark, out=shade)
            torch.maximum(light, bright, out=light)
        return (images * (1 - shade[:, None])).lerp_(torch.full_like(images, WHITE), light[:, None])


def _draw_bubbles(seed: int) -> NDArray[np.float64]:
    """Row, column, radius, direction of the lamp and presence of each bubble of an image: (bubble, 5)."""
    rng = np.random.default_rng((seed, BUBBLE_PURPOSE))
    count = rng.integers(FEWEST_BUBBLES, MOST_BUBBLES + 1)
    centers = rng.random(2) + rng.normal(0, SPREAD, (MOST_BUBBLES, 2))
    least, most = np.log(RADIUS)
    radius = np.exp(rng.uniform(least, most, MOST_BUBBLES))
    lamp = np.full(MOST_BUBBLES, rng.uniform(0, 2 * np.pi))
    return np.column_stack([centers, radius, lamp, np.arange(MOST_BUBBLES) < count])


def _render_bubble(rows: Tensor, columns: Tensor, bubble: Tensor) -> tuple[Tensor, Tensor]:
    """Darkening and brightening of each pixel by a bubble, both (image, row, column)."""
    row, column, radius, lamp, present = bubble[:, :, None, None].unbind(1)
    down, across = (rows - row) / radius, (columns - column) / radius
    reach = (down**2 + across**2).sqrt_()
    soft = 0.8 / (rows.shape[-2] * radius)  # of a pixel, in radii
    rim = (1 - ((reach - 0.95).abs() - 0.04) / (0.03 + soft)).clamp_(0, 1)
    towards = 0.55 + 0.45 * (down * lamp.sin() + across * lamp.cos()) / reach.clamp(min=1e-3)
    ring = ((reach - 0.5) / 0.35).clamp_(0, 1) * ((0.98 - reach) / (0.06 + soft)).clamp_(0, 1)
    off = ((down - 0.5 * lamp.sin()) ** 2 + (across - 0.5 * lamp.cos()) ** 2).sqrt_()
    glint = (1 - (off - 0.08) / (0.1 + soft)).clamp_(0, 1)
    return DEEPEST * ring * present, torch.maximum(RIM * rim * towards, GLINT * glint) * present
