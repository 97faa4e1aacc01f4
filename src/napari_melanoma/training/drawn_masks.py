"""Where the masks lie that a model draws for a classification: beside decoded images, named by image and model."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_melanoma.data.dataset import Sample
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.training.store import user_store

DRAWN = "drawn"


def drawn_mask(sample: Sample, segmenter: BundleInfo) -> Path:
    """Name the mask that a model draws of an image.

    Returns another one once the image or the model has changed; it may not have been drawn yet.
    """
    status = sample.image.stat()
    said = f"{sample.image.absolute()} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.sha256(said.encode()).hexdigest()[:32]
    return user_store() / DRAWN / segmenter.fingerprint[:16] / f"{name}.png"
