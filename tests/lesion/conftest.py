"""Photographs of dark disks, and a model that segments dark pixels, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.models.bundle import BundleConfig, BundleInfo


class DarkModel:
    """Answers with the darkness of its input; remembers how many photographs each pass had."""

    device: ClassVar[str] = "cpu"
    backend: ClassVar[str] = "torch"

    def __init__(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")
        self.info = BundleInfo(folder, BundleConfig(name="dark", title="Dark", architecture="none", input_size=32))
        self.passes: list[int] = []

    def logits(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        self.passes.append(len(inputs))
        return (110.0 - np.stack(inputs).mean(-1, dtype=np.float32)) / 8.0

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        raise AssertionError("a batch asks for logits")


@pytest.fixture
def model(tmp_path: Path) -> DarkModel:
    folder = tmp_path / "dark"
    folder.mkdir()
    return DarkModel(folder)


@pytest.fixture
def draw() -> Callable[..., Path]:
    """A function that draws a photograph of a dark disc (radius 0: none) and returns its path."""

    def photograph(path: Path, radius: int = 20, shape: tuple[int, int] = (80, 100)) -> Path:
        rows, columns = np.indices(shape)
        rgb = np.full((*shape, 3), (225, 180, 160), np.uint8)
        rgb[np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < radius] = (60, 40, 30)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
        return path

    return photograph
