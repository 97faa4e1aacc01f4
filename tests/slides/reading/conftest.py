"""Small slides with known pixels, written as scanners and programs write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.slides.reading import tiled
from napari_melanoma.slides.reading.tiled import TileCache

APERIO = (
    "Aperio Image Library v11.2.1 \r\n{width}x{height} (64x64) JPEG/RGB Q=90|AppMag = 20|MPP = {mpp}|User = Jane Doe"
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> TileCache:
    """Let each test have an empty cache."""
    cache = TileCache(64 * 2**20)
    monkeypatch.setattr(tiled, "shared_cache", lambda: cache)
    return cache


@pytest.fixture(scope="session")
def tissue() -> np.ndarray:
    """A smooth picture that no rotation or mirroring leaves as it is: uint8 (410, 300, 3)."""
    rows, columns = np.mgrid[:410, :300]
    red = 120 + 100 * np.sin(rows / 40)
    green = 40 + columns / 2
    return np.stack([red, green, 200 - rows / 4], axis=-1).astype(np.uint8)


@pytest.fixture
def write_svs(tmp_path: Path, tissue: np.ndarray) -> Callable[..., Path]:
    """Write an Aperio slide of three levels with a thumbnail and a label."""

    def write(name: str = "slide.svs", mpp: str = "0.5", **options: object) -> Path:
        height, width = tissue.shape[:2]
        common = {"photometric": "rgb", "tile": (64, 64), "metadata": None, "compression": "jpeg"} | options
        message = APERIO.format(width=width, height=height, mpp=mpp)
        with tifffile.TiffWriter(tmp_path / name, bigtiff=False) as tiff:
            tiff.write(tissue, description=message, **common)
            tiff.write(tissue[::8, ::8], photometric="rgb", description=message, metadata=None, compression="jpeg")
            for step in (2, 4):
                tiff.write(tissue[::step, ::step], description=message, **common)
            label = np.full((60, 50, 3), 200, np.uint8)
            tiff.write(label, photometric="rgb", description="Aperio\r\nlabel 50x60", metadata=None, subfiletype=1)
        return tmp_path / name

    return write


@pytest.fixture
def damage() -> Callable[[Path, int, int], None]:
    """Overwrite the bytes of one tile."""

    def overwrite(path: Path, level: int, index: int) -> None:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.series[0].levels[level].keyframe
            offset, count = page.dataoffsets[index], page.databytecounts[index]
        with path.open("rb+") as file:
            file.seek(offset)
            file.write(b"\x5a" * count)

    return overwrite


@pytest.fixture
def damaged_svs(write_svs: Callable[..., Path], damage: Callable[[Path, int, int], None]) -> Path:
    """A slide whose tile in the second row and third column (of 5) of level 0 is damaged."""
    path = write_svs()
    damage(path, 0, 5 + 2)
    return path
