"""Pictures of augmentation and preprocessing, on photographs of the samples and examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pictures import EXAMPLES, save_picture
from PIL import Image, ImageDraw, ImageFont

from napari_melanoma.imaging.color import illuminant_gains, scale_channels
from napari_melanoma.imaging.hair import hair_mask, inpaint_hair
from napari_melanoma.imaging.masks import draw_overlay
from napari_melanoma.io.results import read_mask
from napari_melanoma.samples.catalog import NEVUS, get_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHOTOGRAPHS = ("ISIC_0012221", "ISIC_0012288", "ISIC_0013637")  # a nevus, a melanoma, a seborrheic keratosis
SIDE, GAP, TITLE = 168, 4, 22  # of the gallery in pixels
ENLARGED = ("blur", "sharpen", "coarse", "jpeg", "noise")
# Title, and the fields of a recipe that differ from no augmentation
ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("As it is", {}),
    ("Rotation and flip", {"rotation": 180, "flip": True}),
    ("Zoom, stretch and shift", {"scale": (0.6, 1.6), "aspect": 1.25, "shift": 0.15}),
    ("Elsewhere", {"elsewhere_probability": 1}),
    ("Light and color", {"brightness": 0.35, "contrast": 0.3, "saturation": 0.25, "hue": 0.03}),
    ("Blur", {"blur_probability": 1}),
    ("Sharpness", {"sharpen_probability": 1}),
    ("Coarseness", {"coarse_probability": 1}),
    ("JPEG", {"jpeg_probability": 1}),
    ("Noise", {"noise_probability": 1}),
    ("Mosaic", {"mosaic_probability": 1}),
    ("CutMix", {"cutmix_probability": 1}),
    ("Artificial hair", {"hair_probability": 1}),
    ("Gel bubbles", {"bubbles_probability": 1}),
    ("Vignette", {"vignette_probability": 1}),
    ("Cutout", {"cutout_probability": 1}),
)


def gallery_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture each augmentation of three photographs, and the preprocessing of one."""
    augmentation_picture(out / "augmentation-gallery.webp")
    preprocessing_picture(out / "preprocessing-gallery.webp")


def augmentation_picture(path: Path) -> None:
    """Picture three photographs after each augmentation, with the outline of the augmented mask."""
    from napari_melanoma.training.augmentation import preview_augmentation
    from napari_melanoma.training.augmentation_config import NO_VARIATION, AugmentationConfig

    images, masks = zip(*map(read_square, PHOTOGRAPHS), strict=True)
    count, plain = len(images), dict.fromkeys(AugmentationConfig.model_fields, 0) | {"flip": False, "plugins": None}
    plain |= {"mosaic_seam": "random", **NO_VARIATION}
    width, height = count * (SIDE + GAP) + GAP, SIDE + TITLE + GAP
    gallery = Image.new("RGB", (2 * width, len(ROWS) // 2 * height), "white")
    draw, font, small = ImageDraw.Draw(gallery), ImageFont.load_default(14), ImageFont.load_default(11)
    for number, (title, fields) in enumerate(ROWS):
        config = AugmentationConfig(**(plain | fields))
        changed, warped = preview_augmentation(config, np.stack(images), np.stack(masks), count, seed=3)
        left, top = number % 2 * width, number // 2 * height
        draw.text((left, top + 3), title, fill="black", font=font)
        names = ", ".join(fields)
        draw.text((left + width - 2 * GAP, top + 6), names, fill="gray", font=small, anchor="ra")
        for column, (rgb, mask) in enumerate(zip(changed, warped, strict=True)):
            panel = draw_panel(rgb, mask > 0, is_enlarged=any(name in names for name in ENLARGED))
            gallery.paste(panel, (left + column * (SIDE + GAP), top + TITLE))
    save_picture(gallery, path, quality=80)


def read_square(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the middle square of an example and its mask (0 or 255)."""
    rgb = np.asarray(Image.open(EXAMPLES / "images" / f"{name}.jpg"))
    mask = read_mask(EXAMPLES / "masks" / f"{name}.png")
    side = min(mask.shape) // 16 * 16
    top, left = ((length - side) // 2 for length in mask.shape)
    part = slice(top, top + side), slice(left, left + side)
    small = (SIDE * 2, SIDE * 2)
    square = Image.fromarray(rgb[part]).resize(small, Image.Resampling.LANCZOS)
    return np.asarray(square), np.asarray(Image.fromarray(mask[part]).resize(small)).astype(np.uint8) * 255


def draw_panel(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], *, is_enlarged: bool) -> Image.Image:
    """Draw the outline of a mask on a photograph, or on its middle half, at the size of the gallery."""
    if is_enlarged:
        part = slice(len(rgb) // 4, len(rgb) // 4 + SIDE)
        rgb, mask = rgb[part, part], mask[part, part]
    return Image.fromarray(draw_overlay(rgb, mask)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def preprocessing_picture(path: Path) -> None:
    """Picture the preprocessing of a photograph: the hairs that are found, without them, and with shades of gray."""
    rgb = np.asarray(Image.open(get_sample(NEVUS).path).resize((512, 341), Image.Resampling.LANCZOS).convert("RGB"))
    hair = hair_mask(rgb)
    marked, without = rgb.copy(), inpaint_hair(rgb, hair)
    marked[hair] = (255, 225, 50)
    panels = {
        "Photograph": rgb,
        "Hairs that are found": marked,
        "Without hair": without,
        "Shades of gray": scale_channels(without, illuminant_gains(without)),
    }
    (width, height), gap, title = (400, 266), 8, 26
    strip = Image.new("RGB", (len(panels) * (width + gap) - gap, height + title), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(18)
    for number, (name, pixels) in enumerate(panels.items()):
        panel = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        strip.paste(panel, (number * (width + gap), title))
        draw.text((number * (width + gap), 2), name, fill="black", font=font)
    save_picture(strip, path)
