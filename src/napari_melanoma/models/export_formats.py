"""The formats in which a model is exported for other programs, by ``napari_melanoma.export`` and ``models export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo


class ModelFormat(StrEnum):
    """Formats of exported models."""

    onnx = "onnx"
    bioimageio = "bioimageio"
    hub = "hub"


def export_model(info: BundleInfo, model_format: ModelFormat, path: Path | None = None) -> Path:
    """Write a model as a file, or for the hub as a new folder; by default by its name, in the working folder."""
    from napari_melanoma.models import bioimageio, export, hub

    write, suffix = {
        ModelFormat.onnx: (export.export_bundle, export.SUFFIX),
        ModelFormat.bioimageio: (bioimageio.export_package, bioimageio.SUFFIX),
        ModelFormat.hub: (hub.export_repository, ""),
    }[model_format]
    return write(info, Path(f"{info.name}{suffix}") if path is None else path)
