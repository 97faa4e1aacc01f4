"""Augmentations that change the appearance of training images but not their geometry; imports torch.

Colors, sharpness, noise and JPEG compression; vignettes, covered squares, hairs and air bubbles. ``BatchAugmentation``
applies them in order.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from napari_melanoma.core.plugins import describe_plugin_error
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.training.augmentation_config import AUGMENTATIONS, AugmentationConfig
from napari_melanoma.training.random_numbers import BatchRandomNumbers


class RandomAugmentation(v2.Transform):
    """An augmentation of randomly selected images of a batch."""

    name: str  # of the random number that selects images, and of the recipe's field ``<name>_probability``

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._probability: float = getattr(config, f"{self.name}_probability")

    @property
    def is_enabled(self) -> bool:
        """Whether the probability is greater than 0."""
        return self._probability > 0

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, rng: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Augment the selected images and their masks in place.

        ``image``: float32 (batch, 3, row, column) in [0, 255]. ``mask``: uint8 (batch, 1, row, column), 0 or 255, or
        class indices.
        """
        chosen = rng.select(self.name, self._probability)
        if len(chosen):
            images, masks = image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)
            indices = torch.from_numpy(chosen).to(images.device, non_blocking=True)
            self._augment(images, masks, indices, rng.subset(chosen))
        return image, mask, rng

    @abstractmethod
    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, rng: BatchRandomNumbers) -> None:
        """Augment images and masks at ``indices`` of a batch; ``rng`` has the random numbers of these images only."""


class AppearanceAugmentation(RandomAugmentation):
    """A random augmentation that leaves the masks unchanged."""

    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, rng: BatchRandomNumbers) -> None:
        images[indices] = self._augment_images(images[indices], rng).clamp_(0, 255)

    @abstractmethod
    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        """Augment the selected images.

        ``images``: float32 (image, 3, row, column) in [0, 255], a copy that may be changed. Returns the same dtype and
        shape; the caller clips values outside the range.
        """


class PluginAugmentation(v2.Transform):
    """An augmentation of a plug-in; its random numbers are independent of those of the other augmentations."""

    def __init__(self, name: str, probability: float) -> None:
        super().__init__()
        self._name, self._probability, self._augmentation = name, probability, AUGMENTATIONS.members[name]

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, rng: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Augment the selected images in place; the shapes are those of ``RandomAugmentation``."""
        generators = [np.random.default_rng((seed, *self._name.encode())) for seed in rng.seeds]
        chosen = [index for index, generator in enumerate(generators) if generator.random() < self._probability]
        if chosen:
            images = image.as_subclass(torch.Tensor)
            images[chosen] = self._augment(images[chosen], [generators[index] for index in chosen]).clamp_(0, 255)
        return image, mask, rng

    def _augment(self, images: Tensor, generators: list[np.random.Generator]) -> Tensor:
        shape, plugin = images.shape, AUGMENTATIONS.find_plugin(self._name)
        try:
            augmented = self._augmentation.function(images, generators)
            if augmented.shape != shape or not augmented.isfinite().all():
                raise ValueError(f"expected finite images of shape {tuple(shape)}, found {tuple(augmented.shape)}")
        except Exception as error:
            raise (plugin.make_error(describe_plugin_error(error)) if plugin else error) from error
        return augmented.to(images.dtype)


def to_device(device: torch.device, values: NDArray[np.float64]) -> Tensor:
    """Convert an array to a float32 tensor of the same shape on a device."""
    return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)


def pixel_centers(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the pixel centers, as shares of the image sides.

    ``images``: float (batch, 3, row, column). Returns (1, row, 1) and (1, 1, column) of the same dtype, in [0, 1].
    """
    rows, columns = (
        (torch.arange(count, device=images.device, dtype=images.dtype) + 0.5) / count for count in images.shape[-2:]
    )
    return rows[None, :, None], columns[None, None, :]


# From RGB to luma and the two color axes of NTSC (ITU-R BT.470). A hue is an angle in the plane of the color axes.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


class ColorJitter(v2.Transform):
    """Changes brightness, contrast, saturation and hue of each image, in this order.

    All four are linear in the colors: contrast scales the distance to the mean gray, hue rotates about the gray axis.
    Together they are one 3 x 3 matrix and one offset for each image.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._config = config

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, rng: BatchRandomNumbers
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, BatchRandomNumbers]:
        """Change the colors of float32 images in [0, 255]; masks are unchanged."""
        config = self._config
        if not any((config.brightness, config.contrast, config.saturation, config.hue)):
            return image, mask, rng
        images = image.as_subclass(torch.Tensor)
        matrix, gray_shares = color_maps(config, rng)
        gray = images.mean((2, 3)) @ to_device(images.device, RGB_TO_YIQ[0])
        offset = to_device(images.device, gray_shares) * gray
        changed = offset.view(-1, 1, 1, 1).expand_as(images).contiguous()
        for channel, weights in enumerate(to_device(images.device, matrix).unbind(2)):
            changed.addcmul_(images[:, channel, None], weights[:, :, None, None])
        return tv_tensors.Image(changed.clamp_(0, 255)), mask, rng


def color_maps(config: AugmentationConfig, rng: BatchRandomNumbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the linear color maps of a batch.

    Returns the matrices from RGB to RGB, float64 (batch, 3, 3), and float64 (batch,): the multiple of the image's mean
    gray that is added to each channel.
    """
    brightness = _draw_factor(rng, "brightness", config.brightness)
    contrast = _draw_factor(rng, "contrast", config.contrast)
    saturation = _draw_factor(rng, "saturation", config.saturation)
    angle = 2 * np.pi * rng.uniform("hue", -config.hue, config.hue)
    rotation = np.zeros((len(rng), 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = saturation * np.cos(angle)
    rotation[:, 1, 2], rotation[:, 2, 1] = -saturation * np.sin(angle), saturation * np.sin(angle)
    matrix = np.linalg.inv(RGB_TO_YIQ) @ rotation @ RGB_TO_YIQ * (brightness * contrast)[:, None, None]
    return matrix, brightness * (1 - contrast)


def _draw_factor(rng: BatchRandomNumbers, name: str, amount: float) -> NDArray[np.float64]:
    """Draw a factor for each image, float64 (batch,), between 1 - amount (at least 0) and 1 + amount."""
    return rng.uniform(name, max(0.0, 1 - amount), 1 + amount)


BLUR_RADIUS = 4  # pixels: twice the largest sigma
SIGMA = (0.3, 2.0)  # pixels
SHARPENING = 4.0  # factor of the difference from the local mean; 1 leaves the image unchanged
MIN_SCALE = 1 / 3  # share of the side
MAX_SCALE = MIN_SCALE + 0.6
MAX_NOISE = 255 * 0.04  # standard deviation


class Coarsen(AppearanceAugmentation):
    """Downsamples an image and upsamples it again, as in a small or distant photograph."""

    name = "coarse"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        side = images.shape[-1]
        for image, share in zip(images, rng.uniform("coarseness", MIN_SCALE, MAX_SCALE), strict=True):
            small = functional.resize(image, [int(side * share)] * 2, antialias=True)
            image.copy_(functional.resize(small, [side, side], antialias=True))
        return images


class Blur(AppearanceAugmentation):
    """Blurs each image with a Gaussian of random width."""

    name = "blur"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        """Convolve along one axis, then along the other."""
        sigma = rng.uniform("sigma", *SIGMA)[:, None]
        kernel = np.exp(-0.5 * (np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1) / sigma) ** 2)
        weights = to_device(images.device, kernel / kernel.sum(1, keepdims=True))
        padded = pad(images, (BLUR_RADIUS,) * 4, mode="reflect")
        return _filter(_filter(padded, weights, axis=2), weights, axis=3)


class Sharpen(AppearanceAugmentation):
    """Sharpens, as smartphone cameras do."""

    name = "sharpen"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        """Move each inner pixel away from the mean of 3 x 3 pixels; weights: center 5/13, neighbors 1/13."""
        ones = images.new_ones(len(images), 3)
        inside = images[..., 1:-1, 1:-1]
        mean = _filter(_filter(images, ones, axis=2), ones, axis=3).add_(inside, alpha=4).div_(13)
        inside.lerp_(mean, 1 - SHARPENING)
        return images


class Noise(AppearanceAugmentation):
    """Adds Gaussian noise of random strength to each image."""

    name = "noise"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        source = torch.Generator(images.device)
        for image, seed, deviation in zip(images, rng.seeds, rng.uniform("deviation", 0, MAX_NOISE), strict=True):
            noise = torch.randn(image.shape, generator=source.manual_seed(seed), device=images.device)
            image.add_(noise, alpha=float(deviation))
        return images


def _filter(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Filter images along an axis, without padding, in a sixth of the time of a grouped convolution.

    ``weights``: float32 (image, tap), the kernel of each image.
    """
    length = images.shape[axis] - weights.shape[1] + 1
    total = torch.zeros_like(images.narrow(axis, 0, length))
    for shift, weight in enumerate(weights.unbind(1)):
        total.addcmul_(images.narrow(axis, shift, length), weight[:, None, None, None])
    return total


BLOCK = 8  # pixels
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
RGB_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
YCBCR_TO_RGB = np.linalg.inv(RGB_TO_YCBCR)


class Recompress(AppearanceAugmentation):
    """Compresses each image as JPEG of random quality; image sides are multiples of 16."""

    name = "jpeg"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        return recompress(images, np.floor(rng.uniform("quality", QUALITY[0], QUALITY[1] + 1)))


def recompress(images: Tensor, quality: NDArray[np.float64]) -> Tensor:
    """Apply the compression losses of JPEG with chroma at half resolution, as most cameras and programs write it.

    ``images``: float32 (batch, 3, row, column) in [0, 255]; rows and columns are multiples of 16. ``quality``: float64
    (batch,), 1 to 99, as in libjpeg. Returns float32 of the same shape, not clipped.
    """
    device = images.device
    planes = torch.einsum("pc,bcyx->bpyx", to_device(device, RGB_TO_YCBCR), images)
    luma = _quantize(planes[:, :1] - 128, quantization_steps(LUMA_QUANTIZATION, quality)) + 128
    color = _quantize(avg_pool2d(planes[:, 1:], 2), quantization_steps(CHROMA_QUANTIZATION, quality))
    upsampled = interpolate(color, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.einsum("cp,bpyx->bcyx", to_device(device, YCBCR_TO_RGB), torch.cat([luma, upsampled], dim=1))


def quantization_steps(table: tuple[int, ...], quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a quantization table to qualities, as libjpeg does.

    ``quality``: float64 (batch,), 1 to 99. Returns float64 (batch, 64): coefficients are rounded to
    multiples of these steps.
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


OFF_CENTER = 0.06  # greatest offset of a vignette from the center, as a share of the side
FADE_RADIUS = (0.4, 0.6)  # radius at which the light starts to fade, as a share of the side; corners are at 0.71
SOFTNESS = (0.01, 0.3)  # share of the side: from the sharp rim of a dermatoscope to the fading of a lens
DARKNESS = (0.4, 1.4)  # share of the light that is lost at the end of the fading; black from 1 on
MIN_LIGHT = 1 / 16  # share of the light; in darker pixels no border is visible
CUTOUT_SIDE = (0.1, 0.3)  # share of the side
HAIR_PURPOSE, BUBBLE_PURPOSE = 1, 2  # appended to the seed of an image, so that hairs and bubbles are independent


class Vignette(RandomAugmentation):
    """Darkens the corners; where hardly any light is left, the mask is cleared, and pixels of classes have no label.

    ``classes``: number of classes; masks of more than one class hold class indices.
    """

    name = "vignette"

    def __init__(self, config: AugmentationConfig, classes: int = 1) -> None:
        super().__init__(config)
        self._dark_value = UNLABELED_PIXEL if classes > 1 else 0

    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, rng: BatchRandomNumbers) -> None:
        light = vignette_light(images, rng)
        images[indices] *= light
        masks[indices] = masks[indices].masked_fill(light < MIN_LIGHT, self._dark_value)


def vignette_light(images: Tensor, rng: BatchRandomNumbers) -> Tensor:
    """Draw the share of the light that each pixel keeps.

    ``images``: float32 (any, 3, row, column), used for size and device only. Returns float32 (image, 1, row, column) in
    [0, 1].
    """
    rows, columns = pixel_centers(images)
    row, column, stop, softness, darkness = (
        to_device(images.device, rng.uniform(name, *ends))[:, None, None]
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

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        rows, columns = pixel_centers(images)
        side, row, column = (
            to_device(images.device, rng.uniform(name, *ends))[:, None, None]
            for name, ends in (("cover_side", CUTOUT_SIDE), ("cover_y", (0, 1)), ("cover_x", (0, 1)))
        )
        hidden = ((rows - row).abs() < side / 2) & ((columns - column).abs() < side / 2)
        return torch.where(hidden[:, None], images.mean((2, 3), keepdim=True), images)


FEWEST_HAIRS, MOST_HAIRS = 4, 24
LENGTH = (0.25, 1.1)  # share of the side
BEND = 0.12  # standard deviation, as a share of the length
HALF_WIDTH = (0.0022, 0.0065)  # share of the side
DARK, FAIR = np.array([26.0, 19, 16]), np.array([150.0, 112, 74])  # sRGB
FAIR_SHARE = 0.2  # share of the images with hairs of a color between DARK and FAIR; others are DARK
OPACITY = (0.75, 1.0)
SHADOW, SHADOW_PX = 0.18, 5  # lost share of the light, and width


class Hair(AppearanceAugmentation):
    """Draws 4 to 24 hairs over an image: mostly along one direction, tapered, with a soft shadow beside them.

    P2 draws hairs on its training images. Here each hair is a parabola, whose distance to a pixel is approximated in
    closed form. The hairs of an image have one color.
    """

    name = "hair"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        hairs = [_HairStrokes(seed) for seed in rng.seeds]
        strokes = np.stack([image_hairs.strokes for image_hairs in hairs])
        rows, columns = pixel_centers(images)
        cover = torch.zeros_like(images[:, 0])
        for hair in range(MOST_HAIRS):
            torch.maximum(cover, _render_stroke(rows, columns, to_device(images.device, strokes[:, hair])), out=cover)
        shadow = avg_pool2d(cover[:, None], SHADOW_PX, stride=1, padding=SHADOW_PX // 2).roll((1, 2), dims=(2, 3))
        color = to_device(images.device, np.stack([image_hairs.color for image_hairs in hairs]))[:, :, None, None]
        return (images * (1 - SHADOW * shadow)).lerp_(color.expand_as(images), cover[:, None])


class _HairStrokes:
    """The hairs of one image, drawn from its seed.

    ``color``: sRGB, float64 (3,). ``strokes``: float64 (MOST_HAIRS, 7): angle, row and column of the middle, length,
    bend, half width and opacity, which is 0 for hairs that are not drawn; all lengths are shares of the side.
    """

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
    """Compute the share of each pixel that one hair of each image covers, float32 (image, row, column).

    ``stroke``: float32 (image, 7), as in ``_HairStrokes.strokes``.
    """
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
    # A hair thinner than a pixel covers only a part of it.
    return ((thickness - distance) / pixel + 0.5).clamp_(0, 1) * (2 * thickness / pixel).clamp_(0, 1) * inside * opacity


FEWEST_BUBBLES, MOST_BUBBLES = 2, 12
RADIUS = (0.008, 0.07)  # share of the side
SPREAD = 0.22  # standard deviation of the centers in an image, as a share of the side
DEEPEST = 0.25  # share of the light that the dark inner ring absorbs
RIM, GLINT = 0.6, 0.85  # greatest opacity of the white rim and of the reflection
WHITE = 250.0


class Bubbles(AppearanceAugmentation):
    """Draws 2 to 12 bubbles near each other: a bright rim, a darker ring within it, and a reflection of the lamp."""

    name = "bubbles"

    def _augment_images(self, images: Tensor, rng: BatchRandomNumbers) -> Tensor:
        bubbles = np.stack([_draw_bubbles(seed) for seed in rng.seeds])
        rows, columns = pixel_centers(images)
        shade, light = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
        for index in range(MOST_BUBBLES):
            dark, bright = _render_bubble(rows, columns, to_device(images.device, bubbles[:, index]))
            torch.maximum(shade, dark, out=shade)
            torch.maximum(light, bright, out=light)
        return (images * (1 - shade[:, None])).lerp_(torch.full_like(images, WHITE), light[:, None])


def _draw_bubbles(seed: int) -> NDArray[np.float64]:
    """Draw the bubbles of an image.

    Returns float64 (MOST_BUBBLES, 5): row, column and radius as shares of the side, direction of the lamp in radians,
    and 1 or 0 for whether the bubble is drawn.
    """
    rng = np.random.default_rng((seed, BUBBLE_PURPOSE))
    count = rng.integers(FEWEST_BUBBLES, MOST_BUBBLES + 1)
    centers = rng.random(2) + rng.normal(0, SPREAD, (MOST_BUBBLES, 2))
    least, most = np.log(RADIUS)
    radius = np.exp(rng.uniform(least, most, MOST_BUBBLES))
    lamp = np.full(MOST_BUBBLES, rng.uniform(0, 2 * np.pi))
    return np.column_stack([centers, radius, lamp, np.arange(MOST_BUBBLES) < count])


def _render_bubble(rows: Tensor, columns: Tensor, bubble: Tensor) -> tuple[Tensor, Tensor]:
    """Compute how much one bubble of each image darkens and whitens each pixel, both (image, row, column) in [0, 1].

    ``bubble``: float32 (image, 5), as from ``_draw_bubbles``.
    """
    row, column, radius, lamp, present = bubble[:, :, None, None].unbind(1)
    down, across = (rows - row) / radius, (columns - column) / radius
    distance = (down**2 + across**2).sqrt_()  # from the center, in radii
    soft = 0.8 / (rows.shape[-2] * radius)  # width of soft edges: 0.8 pixels, in radii
    rim = (1 - ((distance - 0.95).abs() - 0.04) / (0.03 + soft)).clamp_(0, 1)
    lit = 0.55 + 0.45 * (down * lamp.sin() + across * lamp.cos()) / distance.clamp(min=1e-3)
    ring = ((distance - 0.5) / 0.35).clamp_(0, 1) * ((0.98 - distance) / (0.06 + soft)).clamp_(0, 1)
    from_glint = ((down - 0.5 * lamp.sin()) ** 2 + (across - 0.5 * lamp.cos()) ** 2).sqrt_()
    glint = (1 - (from_glint - 0.08) / (0.1 + soft)).clamp_(0, 1)
    return DEEPEST * ring * present, torch.maximum(RIM * rim * lit, GLINT * glint) * present
