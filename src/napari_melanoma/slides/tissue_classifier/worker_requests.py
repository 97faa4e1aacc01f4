"""Requests to the worker process for the features of a published encoder, which torch runs.

The worker keeps one encoder. Each request states it, so that a restarted worker opens it again.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import MelanomaError

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource


def open_encoder(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Open a published encoder.

    ``arguments``: ``model``: its name, see ``open_feature_source``; ``weights``: the file with its weights. Returns
    ``fingerprint``, ``length``, ``licence`` and ``mpp`` of ``FeatureSource``.
    """
    run.report(Progress(0, None, "Loading the encoder"))
    source = _open(arguments)
    names = ("fingerprint", "length", "licence", "mpp")
    return {name: getattr(source, name) for name in names}


def encode_blocks(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Compute the features of the cells of blocks.

    ``arguments``: ``model``, ``weights``: see ``open_encoder``; ``fingerprint``: that it returned; ``image``: a
    ``.npy`` of uint8 (block, row, column, channel=3); ``out``: output file, a ``.npy`` of float16 (block, cell row,
    cell column, feature). Returns nothing.
    """
    import numpy as np

    source = _open(arguments)
    if source.fingerprint != arguments["fingerprint"]:
        raise MelanomaError(
            f"the weights in {arguments['weights']} have changed since the encoder was opened. Select the file again."
        )
    np.save(arguments["out"], source.compute(np.load(arguments["image"])))
    return {}


def _open(arguments: dict[str, Any]) -> FeatureSource:
    path = Path(arguments["weights"])
    try:
        version = path.stat().st_mtime_ns
    except OSError as error:
        raise MelanomaError(f"cannot read {path}: {error.strerror}. Select the file of the encoder again.") from error
    return _open_version(arguments["model"], path, version)


@lru_cache(maxsize=1)
def _open_version(name: str, weights: Path, version: int) -> FeatureSource:
    from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source

    return open_feature_source(name, weights)
