"""The saved result of a photograph: what was predicted, the mask, and what users have stated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, Point, RecoveredLesion
from napari_melanoma.ui.session.open_photograph import SavedPrediction
from napari_melanoma.ui.session.stated_values import StatedValues
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult


class SavedResult(NamedTuple):
    """A saved result of a photograph.

    ``stored``, ``lesion``: as it was read, and with its mask; None if it cannot be read. ``is_of_user``: whether users
    have made the mask. ``prediction``: None without one. ``description``: of the mask, or why it is missing.
    """

    stated: StatedValues
    stored: RecoveredLesion | None = None
    lesion: AnalyzedLesion | None = None
    is_of_user: bool = False
    prediction: SavedPrediction | None = None
    description: str = ""


def read_saved_result(source: LayerPhotographSource, folder: Path, run: RunContext) -> SavedResult | None:
    """Read the saved result of a photograph; call this in a thread.

    Returns None if there is none, or if it is damaged or of another image; without the mask, and with the reason as
    ``description``, if the mask cannot be read or is not the one that was measured.
    """
    from napari_melanoma.io.results import RESULT
    from napari_melanoma.lesion.results import read_result, read_result_mask

    try:
        values = read_result(folder)
        photograph, digest = source.read_with_digest()
        if values["image_sha256"] != digest:
            return None
        saved = SavedResult(StatedValues.from_json(values), prediction=read_saved_prediction(values, folder))
        try:
            read_result_mask(folder, values)
        except MelanomaError as error:
            return saved._replace(description=f"The saved mask is not shown: {error}")
        run.check()
        stored = read_stored_result(folder, saved.stated.describe(photograph), digest)
        saved_at = (folder / RESULT).stat().st_mtime
    except (MelanomaError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # optional: without it, the photograph is analyzed like any other
    return saved if stored is None else _add_mask(saved, stored, values, folder, saved_at)


def _add_mask(
    saved: SavedResult, stored: LesionResult, values: Mapping[str, Any], folder: Path, saved_at: float
) -> SavedResult:
    """Add the mask of a result folder; ``stored``: its result, ``values``: its ``result.json``."""
    from napari_melanoma.lesion.mask_record import get_mask_origin, has_user_mask
    from napari_melanoma.lesion.results import read_result_mask

    stored.compute_properties()
    mask, is_of_user = stored.mask, has_user_mask(values)
    if is_of_user:
        mask = read_result_mask(folder, values)
    origin = get_mask_origin(values.get("provenance") or {}) if is_of_user else {}
    stated, image_digest, chosen = saved.stated, values["image_sha256"], _find_chosen(stored)
    recovered = RecoveredLesion(stored, image_digest, chosen, mask, None, saved_at, folder, origin, stated=stated)
    description = describe_saved_mask(values, saved_at)
    return saved._replace(stored=recovered, lesion=recovered.derive(), is_of_user=is_of_user, description=description)


def _find_chosen(result: LesionResult) -> Point | None:
    """Return a pixel (row, column) of the lesion that the user had selected; None if the mask is the default one."""
    import numpy as np

    from napari_melanoma.ui.session.analyzed_lesion import threshold_mask

    if not result.mask.any() or (threshold_mask(result, result.options, None) & result.mask).any():
        return None
    row, column = np.argwhere(result.mask)[0].tolist()
    return row, column


def read_saved_prediction(values: Mapping[str, Any], folder: Path) -> SavedPrediction | None:
    """Read the prediction of a result folder; None if there is none, or if it is damaged.

    ``values``: of its ``result.json``.
    """
    from napari_melanoma.classification.prediction import ClassPrediction, is_stamp_of
    from napari_melanoma.io.results import read_mask
    from napari_melanoma.models.installed_bundles import find_bundle

    if "prediction" not in values:
        return None
    try:
        prediction = ClassPrediction.from_json(values["prediction"])
        form = {str(name): str(value) for name, value in values["form"].items()}
        digest = str(values.get("mask_sha256") or array_fingerprint(read_mask(folder / "mask.png")))
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return None
    is_same = False
    with suppress(MelanomaError):
        is_same = is_stamp_of(values["prediction"]["model"], find_bundle(prediction.model.name))
    return SavedPrediction(prediction, form, digest, is_same, values.get("modality"))


def describe_saved_mask(values: Mapping[str, Any], saved_at: float) -> str:
    """Describe a saved mask, such as ``Saved mask of 2026-11-27, corrected by hand.``.

    ``values``: of ``result.json``. ``saved_at``: Unix time in seconds.
    """
    from napari_melanoma.lesion.mask_record import describe_mask

    reader = " ".join(str(values.get("reader") or "").split())
    by = f" by {reader}" if reader else ""
    day, made = time.strftime("%Y-%m-%d", time.localtime(saved_at)), describe_mask(values)
    return f"Saved mask of {day}{by}{', ' if made else ''}{made}."


def read_stored_result(folder: Path, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None if it is damaged, of another image, or of an older version."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.analysis import BAND, ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.mask_record import has_user_mask
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.lesion.results import read_result, read_result_mask

    try:
        values = read_result(folder)
        if values["image_sha256"] != digest:
            return None
        mask = read_result_mask(folder, values)
        probability = _to_probability(Image.open(folder / "probability.png"))
        options = LesionOptions.parse(values["options"], str(folder))
        unsmoothed = options.refinement.model_copy(update={"smoothing": 0})  # the stored probability is smoothed
        used = options.model_copy(update={"refinement": unsmoothed})
        whole = replace(derive_result(photograph, probability, used, ModelStamp(**values["model"])), options=options)
        if mask.shape != whole.mask.shape:
            return None
        if values.get("uncertain_area_px") is not None:  # with test-time augmentation
            whole = replace(whole, band=read_mask(folder / BAND))
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
