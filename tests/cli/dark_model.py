"""A model without torch that predicts a high probability for dark pixels; as a script, the command line with it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from napari_melanoma.lesion import batch
from napari_melanoma.models import installed_bundles
from napari_melanoma.models.bundle import BundleConfig, BundleInfo


def logits(inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Predict logits that decrease with the brightness."""
    return (110.0 - np.stack(inputs).mean(-1, dtype=np.float32)) / 8.0


def use_dark_model(folder: Path, replace: Callable[[object, str, object], None] = setattr) -> None:
    """Replace the shipped model; the file with its weights is written to a folder."""
    (folder / "model.safetensors").write_bytes(b"weights")
    info = BundleInfo(folder, BundleConfig(name="dark", title="Dark", architecture="none", input_size=32))
    model = SimpleNamespace(info=info, device="cpu", backend="torch", logits=logits)
    replace(installed_bundles, "require_photograph_model", lambda bundle, task: info)
    replace(batch, "_load_segmenter", lambda info, run: model)


if __name__ == "__main__":
    use_dark_model(Path())
    runpy.run_module("napari_melanoma", run_name="__main__")
