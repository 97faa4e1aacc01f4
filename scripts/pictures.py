"""Write pictures of the documentation."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

QUALITY = 90  # at 85, small text in screenshots has visible artifacts


def save_picture(picture: Image.Image, path: Path) -> None:
    """Save a picture as WebP: without loss if that is smaller, as for drawings and plain forms."""
    rgb, encoded = picture.convert("RGB"), []
    ways: tuple[dict[str, Any], ...] = ({"lossless": True}, {"quality": QUALITY, "use_sharp_yuv": True})
    for options in ways:
        buffer = BytesIO()
        rgb.save(buffer, "WEBP", method=6, **options)
        encoded.append(buffer.getvalue())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(min(encoded, key=len))


def preprocessing_picture(folder: Path, out: Path, theme: str) -> None:
    """Picture the preprocessing of a photograph: the hairs that are found, without them, and with shades of gray."""
    import numpy as np

    from napari_melanoma.imaging.color import illuminant_gains, scale_channels
    from napari_melanoma.imaging.hair import hair_mask, inpaint_hair
    from napari_melanoma.samples.catalog import NEVUS, get_sample

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
    save_picture(strip, out / "preprocessing-gallery.webp")
