"""What the pictures of the documentation have in common: docks in windows, waiting, and files."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from qtpy.QtCore import Qt

from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.viewer.docking import show_dock

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photographs"
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


def picture(widget: QWidget, path: Path) -> None:
    """Save a widget as WebP."""
    process_events(0.6)
    save_picture(Image.fromqpixmap(widget.grab()), path)


def narrow(dock: QWidget) -> None:
    """Set the dock to its smallest supported width."""
    frame = dock.parentWidget()
    dock.window().resizeDocks([frame], [340], Qt.Orientation.Horizontal)


def open_dock(name: str, theme: str, size: tuple[int, int]) -> tuple[Viewer, Any]:
    """Open napari with a dock of the smallest supported width, in a window of some size."""
    import napari

    viewer = napari.Viewer()
    viewer.theme = theme
    dock = show_dock(viewer, name)
    dock.window().resize(*size)
    narrow(dock)
    return viewer, dock


def wait_until(condition: Callable[[], bool], minutes: float = 10.0) -> None:
    """Process Qt events until a condition holds."""
    deadline = time.monotonic() + 60 * minutes
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the condition was not met within {minutes:g} minutes")
        process_events(0.1)
