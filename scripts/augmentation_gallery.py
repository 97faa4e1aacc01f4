"""Draw the pictures of docs/reference/augmentation.md: phantoms, each augmentation and preprocessing.

The tiles are computed by the code of a training run, and show the outline of the training mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pictures import save_picture
from PIL import Image, ImageDraw, ImageFont

from napari_melanoma.imaging.color import illuminant_gains, scale_channels
from napari_melanoma.imaging.hair import hair_mask, remove_hair
from napari_melanoma.imaging.masks import draw_overlay
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import (
    ArtifactOptions,
    CameraOptions,
    LesionPhantomConfig,
    PhantomLesionOptions,
)
from napari_melanoma.training.augmentation_config import AugmentationConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images"
SIDE, TILE, GAP, EDGE, LINE, LINE_PX = 320, 168, 4, 20, 26, 3
SHOWN, COLUMNS = 3, 2
INK, PAPER = (45, 45, 48), (255, 255, 255)
FAINT = (120, 120, 124)
# Seed, modality and skin type: the first three are shown, the others are mixing partners.
PHANTOMS = (
    (15, "dermoscopic", 2), (53, "dermoscopic", 5), (13, "macroscopic", 3),
    (35, "dermoscopic", 1), (26, "macroscopic", 5), (24, "dermoscopic", 3),
)  # fmt: skip
FIELD_MM = {"dermoscopic": 15.0, "macroscopic": 32.0}
FILLED = 0.48  # diameter of a lesion, as a share of the field
CLEAN = ArtifactOptions(hairs=0, ruler=False, bubbles=0, ink=False)
STUDIO = CameraOptions(aperture=False, vignette=0.0, noise=0.0, blur_mm=0.0)
NOTHING: dict[str, Any] = {
    "scale": (1, 1), "aspect": 1, "shift": 0, "rotation": 0, "flip": False,
    "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0,
}  # fmt: skip


class Panel(NamedTuple):
    """An augmentation: its title, the recipe fields with values, and the random seed."""

    title: str
    fields: str
    values: dict[str, Any]
    seed: int = 0
    near: bool = False  # crop without scaling, for effects that scaling would hide


PANELS = (
    Panel("Unchanged", "", {}),
    Panel("Rotation and flip", "rotation, flip", {"rotation": 180, "flip": True}, 5),
    Panel("Zoom, stretch and shift", "scale, aspect, shift", {"scale": (0.6, 1.6), "aspect": 1.25, "shift": 0.15}, 5),
    Panel("Elsewhere", "elsewhere_probability", {"elsewhere_probability": 1}, 8),
    Panel(
        "Light and color",
        "brightness, contrast, saturation, hue",
        {"brightness": 0.35, "contrast": 0.3, "saturation": 0.25, "hue": 0.03},
        7,
    ),
    Panel("Blur", "blur_probability", {"blur_probability": 1}, 2, True),
    Panel("Sharpness", "sharpen_probability", {"sharpen_probability": 1}, 0, True),
    Panel("Coarseness", "coarse_probability", {"coarse_probability": 1}, 3, True),
    Panel("JPEG", "jpeg_probability", {"jpeg_probability": 1}, 3, True),
    Panel("Noise", "noise_probability", {"noise_probability": 1}, 5, True),
    Panel("Mosaic", "mosaic_probability", {"mosaic_probability": 1}, 9),
    Panel("Cutmix", "cutmix_probability", {"cutmix_probability": 1}, 8),
    Panel("Artificial hair", "hair_probability", {"hair_probability": 1}, 3),
    Panel("Gel bubbles", "bubbles_probability", {"bubbles_probability": 1}, 5),
    Panel("Vignette", "vignette_probability", {"vignette_probability": 1}, 7),
    Panel("Cutout", "cutout_probability", {"cutout_probability": 1}, 4),
)


def augmentation_gallery() -> Image.Image:
    """Draw a panel of three phantoms for each augmentation."""
    images, masks = _phantoms()
    rows = [
        _row([_panel(panel, images, masks) for panel in PANELS[first : first + COLUMNS]])
        for first in range(0, len(PANELS), COLUMNS)
    ]
    return _framed(np.concatenate(rows))


def preprocessing_gallery() -> Image.Image:
    """Draw a hairy phantom in tinted light: unchanged, with detected hairs, without hair, with white balance."""
    config = LesionPhantomConfig(
        seed=24,
        size=(512, 512),
        skin_type=2,
        artefacts=ArtifactOptions(hairs=22, ruler=False, bubbles=0, ink=False),
        camera=CameraOptions(aperture=False, vignette=0.0, noise=0.0, cast=1.0),
    )
    rgb = lesion_phantom(config).rgb
    bald = remove_hair(rgb)
    found = np.where(hair_mask(rgb)[..., None], np.array([255, 214, 0], np.uint8), (rgb * 0.6).astype(np.uint8))
    steps = {
        "Photograph": rgb,
        "Detected hairs": found,
        "Without hair": bald,
        "Shades of gray": scale_channels(bald, illuminant_gains(bald)),
    }
    tile = (SHOWN * TILE) // 2
    parts = [_titled(_strip([_small(picture, tile)]), title, "") for title, picture in steps.items()]
    return _framed(_row(parts))


def _phantoms() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photographs (phantom, row, column, 3) and masks (phantom, row, column) of 0 and 255."""
    drawn = [
        lesion_phantom(
            LesionPhantomConfig(
                seed=seed,
                modality=kind,
                skin_type=skin,
                size=(SIDE, SIDE),
                field_mm=FIELD_MM[kind],
                lesion=PhantomLesionOptions(diameter_mm=FILLED * FIELD_MM[kind], irregularity=0.3, centre=(0.5, 0.5)),
                artefacts=CLEAN,
                camera=STUDIO,
            )
        )
        for seed, kind, skin in PHANTOMS
    ]
    return np.stack([each.rgb for each in drawn]), np.stack([each.mask for each in drawn]).astype(np.uint8) * 255


def _panel(panel: Panel, images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Augment the phantoms as in a training run, below a title."""
    from napari_melanoma.training.augmentation import preview_augmentation

    off = {name: 0.0 for name in AugmentationConfig.model_fields if name.endswith("_probability")}
    config = AugmentationConfig(**{**NOTHING, **off, **panel.values})
    photographs, warped = preview_augmentation(config, images, masks, SHOWN, panel.seed)
    tiles = [
        _tile(np.ascontiguousarray(photograph), mask > 127, near=panel.near)
        for photograph, mask in zip(photographs, warped, strict=True)
    ]
    return _titled(_strip(tiles), panel.title, panel.fields)


def _tile(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], *, near: bool) -> NDArray[np.uint8]:
    """Draw the outline, and scale to the size of a tile or crop the center."""
    if not near:
        return _small(draw_overlay(rgb, mask, LINE_PX), TILE)
    first = (SIDE - TILE) // 2
    return draw_overlay(rgb, mask, 2)[first : first + TILE, 20 : 20 + TILE]


def _small(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Shrink to the size of a tile."""
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.LANCZOS))


def _strip(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Concatenate tiles horizontally with a white gap."""
    gap = np.full((len(tiles[0]), GAP, 3), PAPER, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)


def _titled(strip: NDArray[np.uint8], title: str, fields: str) -> NDArray[np.uint8]:
    """Write a title above a strip, and the fields of a recipe at the right."""
    head = Image.new("RGB", (strip.shape[1], LINE), PAPER)
    draw = ImageDraw.Draw(head)
    draw.text((0, LINE - 7), title, INK, ImageFont.load_default(16), anchor="ls")
    draw.text((strip.shape[1], LINE - 7), fields, FAINT, ImageFont.load_default(13), anchor="rs")
    return np.concatenate([np.asarray(head), strip])


def _row(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Concatenate panels horizontally, with margins between and below."""
    room = np.full((len(panels[0]), EDGE, 3), PAPER, np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, room)][:-1], axis=1)
    return np.concatenate([row, np.full((EDGE // 2, row.shape[1], 3), PAPER, np.uint8)])


def _framed(picture: NDArray[np.uint8]) -> Image.Image:
    """Add a white border."""
    return Image.fromarray(np.pad(picture, ((EDGE // 2, EDGE // 4), (EDGE, EDGE), (0, 0)), constant_values=255))


def main() -> None:
    """Write both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET, help="the folder to write to")
    folder: Path = parser.parse_args().out
    for name, picture in (
        ("augmentation-gallery.webp", augmentation_gallery()),
        ("preprocessing-gallery.webp", preprocessing_gallery()),
    ):
        save_picture(picture, folder / name)


if __name__ == "__main__":
    main()
