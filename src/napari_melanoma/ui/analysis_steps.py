"""What an analysis does off the GUI thread before and after the worker answers; knows neither Qt nor layers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.inference.flips import Answer
from napari_melanoma.workflows.lesion import LesionOptions, LesionResult, ModelStamp, derive

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.photographs import Source


def read(source: Source, array: Path) -> tuple[Photograph, str]:
    """Read a photograph and put its pixels where the worker finds them.

    Returns the photograph and the fingerprint of its pixels.
    """
    import numpy as np

    photograph = source.read()
    np.save(array, photograph.rgb)
    return photograph, fingerprint(photograph.rgb)


def conclude(
    photograph: Photograph, array: Path, answer: dict[str, Any], options: LesionOptions
) -> tuple[LesionResult, str]:
    """Do what follows from the worker's answer.

    ``array``: the probability, a ``.npy`` of float32 (row, column).
    """
    import numpy as np

    spread = answer.get("spread")
    said = Answer(np.load(array), None if spread is None else np.load(spread))
    result = derive(photograph, said, options, ModelStamp(**answer["model"]))
    return result, fingerprint(result.mask)


def preload(run: RunContext) -> None:
    """Import, by using it once on a few pixels, what the first analysis would otherwise wait for."""
    import numpy as np

    from napari_melanoma.analysis.scribbles import redraw
    from napari_melanoma.io.photographs import Photograph

    rgb = np.full((32, 32, 3), 200, np.uint8)
    rgb[8:24, 8:24] = 60
    strokes = np.zeros((32, 32), np.uint8)
    strokes[12, 12], strokes[2, 2] = 1, 2
    run.check()
    import_module("pandas")  # napari does so with the first Labels layer, which would stop the window for as long
    stamp = ModelStamp("none", "", "cpu", 0.5)
    probability = (1 - rgb[..., 0] / np.float32(255)).astype(np.float32)
    result = derive(Photograph(rgb, "none"), probability, LesionOptions(), stamp)
    redraw(result.probability, rgb, result.mask, strokes)
