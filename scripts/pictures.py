"""Write pictures of the documentation."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

QUALITY = 90  # at 85, small text in screenshots has visible artifacts


def save_picture(picture: Image.Image, path: Path, quality: int = QUALITY) -> None:
    """Save a picture as WebP: without loss if that is smaller, as for drawings and plain forms."""
    rgb, encoded = picture.convert("RGB"), []
    ways: tuple[dict[str, Any], ...] = ({"lossless": True}, {"quality": quality, "use_sharp_yuv": True})
    for options in ways:
        buffer = BytesIO()
        rgb.save(buffer, "WEBP", method=6, **options)
        encoded.append(buffer.getvalue())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(min(encoded, key=len))
