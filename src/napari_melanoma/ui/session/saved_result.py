"""The saved result of a photograph: what was predicted, and the mask that users have made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.session.analyzed_lesion import LesionUpdate, RecoveredLesion, restore_mask
from napari_melanoma.ui.session.lesion_updates import prepare_replacement
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult


class SavedMask(NamedTuple):
    """A mask that users have made, with the update from the predicted mask to it; ``description``: as a sentence."""

    lesion: RecoveredLesion
    update: LesionUpdate
    description: str


def read_saved_mask(source: LayerPhotographSource, folder: Path, run: RunContext) -> SavedMask | None:
    """Read the mask of a saved result that users have made; call this in a thread.

    Returns None if the mask was predicted, or if the result is damaged or of another image.
    """
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.results import RESULT, read_mask
    from napari_melanoma.lesion.mask_record import get_mask_origin, has_user_mask
    from napari_melanoma.lesion.results import read_result

    try:
        values = read_result(folder)
        if not has_user_mask(values):
            return None
        photograph = source.read()
        digest = array_fingerprint(photograph.rgb)
        run.check()
        predicted, mask = read_stored_result(folder, photograph, digest), read_mask(folder / "mask.png")
        saved_at, origin = (folder / RESULT).stat().st_mtime, get_mask_origin(values.get("provenance") or {})
    except (MelanomaError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # optional: without it, the photograph is analyzed like any other
    if predicted is None:
        return None
    predicted.compute_properties()
    lesion = RecoveredLesion(
        predicted, array_fingerprint(predicted.mask), digest, None, mask, None, saved_at, folder, origin
    )
    previous = predicted.mask.astype("uint8")
    update = prepare_replacement(restore_mask(lesion), previous, None)
    return SavedMask(lesion, update, describe_saved_mask(values, saved_at))


def describe_saved_mask(values: Mapping[str, Any], saved_at: float) -> str:
    """Describe a mask of users, such as ``Saved mask of 2026-11-27, corrected by hand.``.

    ``values``: of ``result.json``. ``saved_at``: Unix time in seconds.
    """
    from napari_melanoma.lesion.mask_record import describe_mask

    reader = " ".join(str(values.get("reader") or "").split())
    by = f" by {reader}" if reader else ""
    return f"Saved mask of {time.strftime('%Y-%m-%d', time.localtime(saved_at))}{by}, {describe_mask(values)}."


def read_stored_result(folder: Path, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None if it is damaged, of another image, or of an older version."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.mask_record import has_user_mask
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.lesion.results import read_result

    try:
        values = read_result(folder)
        if values["image_sha256"] != digest:
            return None
        mask = read_mask(folder / "mask.png")
        probability = _to_probability(Image.open(folder / "probability.png"))
        options = LesionOptions.parse(values["options"], str(folder))
        unsmoothed = options.refinement.model_copy(update={"smoothing": 0})  # the stored probability is smoothed
        used = options.model_copy(update={"refinement": unsmoothed})
        whole = replace(derive_result(photograph, probability, used, ModelStamp(**values["model"])), options=options)
        if mask.shape != whole.mask.shape:
            return None
        if has_user_mask(values):
            return whole
        measured = replace(remeasure(whole, mask, options), corrected=False, options=options)
        return replace(measured, threshold=float(values["threshold"]), smoothed=probability)
    except (MelanomaError, OSError, ValueError, KeyError, TypeError):
        return None  # it is analyzed again


def _to_probability(picture: object) -> NDArray[np.float32]:
    """Convert an 8-bit image to probabilities, float32 (row, column) in [0, 1]."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)
