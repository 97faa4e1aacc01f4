"""What a case has stored of an image, read in a thread, as the Lesion dock takes it: the analysis and the mask."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.recovery import Recovered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import CaseCorrection, CaseImage, CaseResult
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.photographs import Source
    from napari_melanoma.workflows.lesion import LesionResult


def stored(image: CaseImage, source: Source, run: RunContext) -> Recovered | NDArray[np.bool_] | None:
    """Read the analysis of an image and the mask that counts; meant for a thread.

    Returns the analysis with its mask; the corrected mask alone, bool (row, column), where the photograph has to be
    analysed again; None where nothing is stored.
    """
    photograph = source.read()
    digest = fingerprint(photograph.rgb)
    run.check()
    mask = None if image.correction is None else _corrected(image.correction, photograph, digest)
    result = next(filter(None, (_read(kept, photograph, digest) for kept in _in_order(image))), None)
    if result is None:
        return mask
    drawn = result.mask if mask is None else mask
    return Recovered(result, fingerprint(result.mask), digest, None, drawn, None, time.time(), image.path)


def _in_order(image: CaseImage) -> list[CaseResult]:
    """Results of an image: the model's own first, as a correction is drawn on it; then the newest."""
    newest = image.results[::-1]
    return sorted(newest, key=lambda kept: kept.correction != "")


def _corrected(correction: CaseCorrection, photograph: Photograph, digest: str) -> NDArray[np.bool_]:
    from napari_melanoma.data.case.corrections import read_correction

    mask = read_correction(correction)
    if mask.shape != photograph.rgb.shape[:2] or correction.image_digest not in ("", digest):
        raise InputError(
            f"{photograph.name} is not the picture that its mask was drawn on: the file was changed. The mask stays "
            f"in the case ({correction.path.name}); bring the old file back to see it."
        )
    return mask


def _read(kept: CaseResult, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None where it is damaged, of another picture, or of a version that says less."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.workflows.lesion import LesionOptions, ModelStamp, derive, remeasure
    from napari_melanoma.workflows.result_folders import read_result

    try:
        about = read_result(kept.path)
        if about["image_sha256"] != digest:
            return None
        mask = read_mask(kept.path / "mask.png")
        probability = _probability(Image.open(kept.path / "probability.png"))
        options = LesionOptions.parse(about["options"], str(kept.path))
        whole = derive(photograph, probability, options, ModelStamp(**about["model"]))
        if mask.shape != whole.mask.shape:
            return None
        if about["corrected_by_hand"]:
            return whole
        measured = replace(remeasure(whole, mask, options), corrected=False, options=options)
        return replace(measured, threshold=float(about["threshold"]), smoothed=probability)
    except (MelanomaError, OSError, ValueError, KeyError, TypeError):
        return None  # it is analysed again


def _probability(picture: object) -> NDArray[np.float32]:
    """An 8-bit picture as float32 (row, column) in [0, 1]."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)
